#include "postgres.h"
#include "pq/pq.h"
#include "pq/pqbuild.h"
bool
pq_parallel_load(PqBuild *build, PqTruth *truth)
{
	return false;
}
void
pq_parallel_end(PqBuild *build)
{
}
