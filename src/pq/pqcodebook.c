#include "postgres.h"
#include "pq/pq.h"
#include "pq/pqbuild.h"
PqTrained *
pq_codebook_load(PqBuild *build, const char *name)
{
	return NULL;
}
