/*
 * pqfind.c
 *		Finding the neighbours of all queries, by parallel workers where an index is
 *		built by some.
 *
 * Leader and workers take some lists at a time until there are none left, and each
 * keeps the nearest that it has met of all queries, in shared memory.  The leader
 * merges them by distance and place, so who has read which list makes no difference.
 */
#include "postgres.h"

#include <math.h>

#include "access/table.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "miscadmin.h"
#include "optimizer/optimizer.h"
#include "pgstat.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "index/parallel.h"
#include "pq/pqbuild.h"
#include "pq/pqneighbours.h"

#define KEY_SHARED UINT64CONST(0x5051000000000011)
#define KEY_QUERIES UINT64CONST(0x5051000000000012)
#define KEY_LIMITS UINT64CONST(0x5051000000000013)
#define KEY_PARTS UINT64CONST(0x5051000000000014)
#define KEY_QUERY_TEXT UINT64CONST(0x5051000000000015)
#define NKEYS 5

/* Lists that are taken at a time: a tile's, most of which have the same origin. */
#define SOME_LISTS PQ_TILE

/* What leader and workers share. */
typedef struct FindShared
{
	Oid			heap;
	Oid			index;
	bool		concurrent;
	PqSought	sought;			/* but for where the queries are */
	Size		part_size;
	pg_atomic_uint32 next;		/* list */
} FindShared;

PGDLLEXPORT void jflow_pq_find_worker(dsm_segment *segment, shm_toc *toc);

/* Find what there is in one's part of the lists. */
static void
find_part(Relation index, PqIndex *pq, const PqSought *sought, void *part, FindShared *shared, pg_atomic_uint32 *limits)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pq neighbours", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	PqFinder   *finder = pq_finder_begin(index, pq, sought, part, limits);
	uint32		nlists = PqMetaLists(&pq->meta);

	for (uint32 list = 0;; list++)
	{
		if (shared && list % SOME_LISTS == 0)
			list = pg_atomic_fetch_add_u32(&shared->next, SOME_LISTS);
		if (list >= nlists)
			break;
		pq_finder_list(finder, list);
	}
	pq_finder_end(finder);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

/*
 * Where a worker starts.
 */
void
jflow_pq_find_worker(dsm_segment *segment, shm_toc *toc)
{
	FindShared *shared = shm_toc_lookup(toc, KEY_SHARED, false);
	char	   *parts = shm_toc_lookup(toc, KEY_PARTS, false);
	PqSought	sought = shared->sought;
	LOCKMODE	heap_lock = shared->concurrent ? ShareUpdateExclusiveLock : ShareLock;
	LOCKMODE	index_lock = shared->concurrent ? RowExclusiveLock : AccessExclusiveLock;
	Relation	heap;
	Relation	index;

	debug_query_string = shm_toc_lookup(toc, KEY_QUERY_TEXT, true);
	pgstat_report_activity(STATE_RUNNING, debug_query_string);
	heap = table_open(shared->heap, heap_lock);
	index = index_open(shared->index, index_lock);
	sought.queries = shm_toc_lookup(toc, KEY_QUERIES, false);
	find_part(index, pq_index_get(index, CurrentMemoryContext), &sought,
			  parts + shared->part_size * (ParallelWorkerNumber + 1), shared, shm_toc_lookup(toc, KEY_LIMITS, false));
	index_close(index, index_lock);
	table_close(heap, heap_lock);
}

/*
 * Join what several have found.  What one of them has found more than is sought is
 * farther away than what another has.
 */
static void
merge_parts(const PqSought *sought, char *parts, int nparts, PqNeighbour *neighbours, int *counts, PqNeighbour *own)
{
	PqFoundPart *some = palloc(sizeof(PqFoundPart) * nparts);
	PqNeighbour *all = palloc_extended(sizeof(PqNeighbour) * (Size) nparts * (sought->depth + 1), MCXT_ALLOC_HUGE);
	Size		start = 0;

	for (int i = 0; i < nparts; i++)
		pq_part_init(sought, parts + pq_part_size(sought) * i, &some[i]);
	for (int q = 0; q < sought->nqueries; q++)
	{
		int			n = 0;

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < nparts; i++)
		{
			memcpy(all + n, some[i].neighbours + start, sizeof(PqNeighbour) * some[i].counts[q]);
			n += some[i].counts[q];
		}
		start += pq_sought_room(sought, q);
		qsort(all, n, sizeof(PqNeighbour), pq_compare_neighbours);
		counts[q] = Min(n, pq_sought_depth(sought, q));
		memcpy(neighbours + (Size) q * sought->depth, all, sizeof(PqNeighbour) * counts[q]);
	}
	for (int q = 0; q < sought->nrows; q++)
	{
		own[q] = some[0].own[q];
		for (int i = 1; i < nparts; i++)
			if (own[q].block == InvalidBlockNumber || some[i].own[q].block < own[q].block ||
				(some[i].own[q].block == own[q].block && some[i].own[q].slot < own[q].slot))
				own[q] = some[i].own[q];
	}
	pfree(all);
	pfree(some);
}

/* How many workers are of use, and fit into the memory that a build may take. */
static int
count_workers(const PqBuild *build, const PqIndex *pq, const PqSought *sought)
{
	Size		queries = sizeof(float) * (Size) sought->nqueries * pq->model->padded;
	Size		each = pq_part_size(sought) + queries / sizeof(float);
	Size		most = (Size) maintenance_work_mem * 1024;
	int			workers;

	if (!build || sought->nqueries == 0)
		return 0;
	workers = parallel_workers_compat(build->heap, build->index, build->info);
	/* what is found is there twice while it is merged */
	most -= Min(most, queries + pq_part_size(sought));
	workers = Min(workers, (int) Min(most / each, 1024) - 1);
	return Min(workers, PqMetaLists(&pq->meta) / SOME_LISTS);
}

/* Make room for what so many processes share. */
static void
make_room(ParallelContext *context, const PqSought *sought, Size queries, int participants)
{
	shm_toc_estimate_chunk(&context->estimator, sizeof(FindShared));
	shm_toc_estimate_chunk(&context->estimator, queries);
	shm_toc_estimate_chunk(&context->estimator, sizeof(pg_atomic_uint32) * sought->nqueries);
	shm_toc_estimate_chunk(&context->estimator, mul_size(pq_part_size(sought), participants));
	shm_toc_estimate_chunk(&context->estimator, debug_query_string ? strlen(debug_query_string) + 1 : 1);
	shm_toc_estimate_keys(&context->estimator, NKEYS);
	InitializeParallelDSM(context);
}

/*
 * Find by workers.  Returns false where none is to be had, and nothing has happened
 * then.
 */
static bool
find_in_parallel(Relation index, PqIndex *pq, const PqSought *sought, const PqBuild *build, int workers,
				 PqNeighbour *neighbours, int *counts, PqNeighbour *own)
{
	Size		queries = sizeof(float) * (Size) sought->nqueries * pq->model->padded;
	Size		size = pq_part_size(sought);
	ParallelContext *context;
	bool		found = false;

	EnterParallelMode();
	context = CreateParallelContext("jflow", "jflow_pq_find_worker", workers);
	make_room(context, sought, queries, workers + 1);
	if (context->seg != NULL)
	{
		FindShared *shared = ix_share(context->toc, KEY_SHARED, NULL, sizeof(FindShared));
		pg_atomic_uint32 *limits = ix_share(context->toc, KEY_LIMITS, NULL, sizeof(pg_atomic_uint32) * sought->nqueries);
		char	   *parts = ix_share(context->toc, KEY_PARTS, NULL, size * (workers + 1));

		shared->heap = RelationGetRelid(build->heap);
		shared->index = RelationGetRelid(index);
		shared->concurrent = build->info->ii_Concurrent;
		shared->sought = *sought;
		shared->part_size = size;
		pg_atomic_init_u32(&shared->next, 0);
		for (int q = 0; q < sought->nqueries; q++)
			pg_atomic_init_u32(&limits[q], PqRankOf(INFINITY));
		ix_share(context->toc, KEY_QUERIES, sought->queries, queries);
		if (debug_query_string)
			ix_share(context->toc, KEY_QUERY_TEXT, debug_query_string, strlen(debug_query_string) + 1);
		LaunchParallelWorkers(context);
		if (context->nworkers_launched > 0)
		{
			ereport(DEBUG1, (errmsg_internal("finding neighbours with %d parallel workers", context->nworkers_launched)));
			find_part(index, pq, sought, parts, shared, limits);
			/* raises what they raise, and if one did not start */
			WaitForParallelWorkersToFinish(context);
			merge_parts(sought, parts, context->nworkers_launched + 1, neighbours, counts, own);
			found = true;
		}
	}
	DestroyParallelContext(context);
	ExitParallelMode();
	return found;
}

/*
 * Find the neighbours of all queries, [nqueries][depth] and their counts, and the rows
 * that queries are.  An index that is built may have workers.
 */
void
pq_find_neighbours(Relation index, PqIndex *pq, const PqSought *sought, const PqBuild *build,
				   PqNeighbour *neighbours, int *counts, PqNeighbour *own)
{
	int			workers = count_workers(build, pq, sought);
	char	   *part;

	if (workers > 0 && find_in_parallel(index, pq, sought, build, workers, neighbours, counts, own))
		return;
	part = palloc_extended(pq_part_size(sought), MCXT_ALLOC_HUGE);
	find_part(index, pq, sought, part, NULL, NULL);
	merge_parts(sought, part, 1, neighbours, counts, own);
	pfree(part);
}
