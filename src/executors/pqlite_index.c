/*
 * pqlite_index.c
 *		The pq indexes of a store's leaves.
 */
#include "postgres.h"

#include "compat.h"
#include "executors/pqlite.h"

/* What a leaf's index holds. */
void
pqlite_index_status(PqliteStore *store, const PqliteLeaf *leaf, int nqueries,
					PqliteIndexStatus *status)
{
	status->tuples = 0;
	status->recall = -1;
}
