/*
 * pqparallel.c
 *		Loading with parallel workers.
 *
 * As in a btree build, the leader and its workers share one scan of the table;
 * each codes the rows it gets and sorts them into a run of its own, and the
 * leader merges the runs.  The model and the centroids lie in shared memory.
 * Which worker met a row makes no difference to the index.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "commands/progress.h"
#include "miscadmin.h"
#include "optimizer/optimizer.h"
#include "pgstat.h"
#include "tcop/tcopprot.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "index/parallel.h"
#include "pq/pq.h"
#include "pq/pqbuild.h"

#define KEY_SHARED UINT64CONST(0x5051000000000001)
#define KEY_SORT UINT64CONST(0x5051000000000002)
#define KEY_MODEL UINT64CONST(0x5051000000000003)
#define KEY_TILES UINT64CONST(0x5051000000000004)
#define KEY_QUERY_TEXT UINT64CONST(0x5051000000000005)

/* What leader and workers share; the table's parallel scan lies behind it. */
typedef struct PqShared
{
	Oid			heap;
	Oid			index;
	bool		concurrent;
	int			participants;
	int			nfilters;
	int16		filter_width[IX_MAX_FILTERS];
	/* under the mutex */
	slock_t		mutex;
	int			done;
	double		tuples;
	double		indexed;
	bool		broken_hot_chain;
	ConditionVariable finished;
} PqShared;

#define PqSharedScan(shared) ((ParallelTableScanDesc) ((char *) (shared) + BUFFERALIGN(sizeof(PqShared))))

struct PqParallel
{
	ParallelContext *context;
	Snapshot	snapshot;
};

PGDLLEXPORT void jflow_pq_build_worker(dsm_segment *segment, shm_toc *toc);

/*
 * Load this process's part of the table.
 */
static void
load_part(PqBuild *build, PqShared *shared, Sharedsort *sort, bool leader)
{
	SortCoordinate coordinate = palloc0(sizeof(SortCoordinateData));
	PqLoader   *loader;
	TableScanDesc scan;
	double		tuples;
	double		indexed;

	coordinate->isWorker = true;
	coordinate->nParticipants = -1;
	coordinate->sharedsort = sort;
	loader = pq_loader_begin(build, coordinate, pq_sort_memory(build, shared->participants));
	scan = table_beginscan_parallel_compat(build->heap, PqSharedScan(shared));
	tuples = table_index_build_scan(build->heap, build->index, build->info, true, leader,
									pq_loader_row, loader, scan);
	indexed = pq_loader_end(loader);
	SpinLockAcquire(&shared->mutex);
	shared->done++;
	shared->tuples += tuples;
	shared->indexed += indexed;
	if (build->info->ii_BrokenHotChain)
		shared->broken_hot_chain = true;
	SpinLockRelease(&shared->mutex);
	ConditionVariableSignal(&shared->finished);
	tuplesort_end(build->sort);
}

/*
 * Where a worker starts.
 */
void
jflow_pq_build_worker(dsm_segment *segment, shm_toc *toc)
{
	PqShared   *shared = shm_toc_lookup(toc, KEY_SHARED, false);
	Sharedsort *sort = shm_toc_lookup(toc, KEY_SORT, false);
	PqTrained	trained = {0};
	PqBuild		build = {0};
	LOCKMODE	heap_lock = shared->concurrent ? ShareUpdateExclusiveLock : ShareLock;
	LOCKMODE	index_lock = shared->concurrent ? RowExclusiveLock : AccessExclusiveLock;
	char	   *text = shm_toc_lookup(toc, KEY_QUERY_TEXT, true);
	Size		floats;

	debug_query_string = text;

	pgstat_report_activity(STATE_RUNNING, debug_query_string);
	build.heap = table_open(shared->heap, heap_lock);
	build.index = index_open(shared->index, index_lock);
	build.info = BuildIndexInfo(build.index);
	build.info->ii_Concurrent = shared->concurrent;
	build.space = pq_index_space(build.index);
	trained.model = shm_toc_lookup(toc, KEY_MODEL, false);
	trained.tiles = shm_toc_lookup(toc, KEY_TILES, false);
	floats = (Size) PqModelSlots(trained.model) * trained.model->space_dims;
	trained.centroids = palloc_extended(sizeof(float) * floats, MCXT_ALLOC_HUGE);
	pq_fill_centroids(&trained);
	build.trained = &trained;
	pq_layout_init(&build.layout, trained.model, false, shared->nfilters, shared->filter_width);
	tuplesort_attach_shared(sort, segment);
	load_part(&build, shared, sort, false);
	index_close(build.index, index_lock);
	table_close(build.heap, heap_lock);
}

/* Sizes of what is shared. */
typedef struct ShareSizes
{
	Size		shared;			/* with the table's parallel scan */
	Size		sort;
	Size		model;
	Size		tiles;
	Size		query;			/* text, 0: there is none */
} ShareSizes;

static ShareSizes
share_sizes(const PqBuild *build, Snapshot snapshot, int participants)
{
	const PqModel *model = build->trained->model;
	ShareSizes	sizes;

	sizes.shared = BUFFERALIGN(sizeof(PqShared)) + table_parallelscan_estimate(build->heap, snapshot);
	sizes.sort = tuplesort_estimate_shared(participants);
	sizes.model = model->size;
	sizes.tiles = sizeof(float) * (Size) PqModelSlots(model) * model->space_dims;
	sizes.query = debug_query_string ? strlen(debug_query_string) + 1 : 0;
	return sizes;
}

/* Shared memory of these sizes; where there is none, context->seg is NULL. */
static void
make_room(ParallelContext *context, const ShareSizes *sizes)
{
	shm_toc_estimate_chunk(&context->estimator, sizes->shared);
	shm_toc_estimate_chunk(&context->estimator, sizes->sort);
	shm_toc_estimate_chunk(&context->estimator, sizes->model);
	shm_toc_estimate_chunk(&context->estimator, sizes->tiles);
	shm_toc_estimate_chunk(&context->estimator, Max(sizes->query, 1));
	shm_toc_estimate_keys(&context->estimator, 5);
	InitializeParallelDSM(context);
}

/* Put there what workers need. */
static PqShared *
share_build(PqBuild *build, const ShareSizes *sizes, int participants, Sharedsort **sort)
{
	ParallelContext *context = build->parallel->context;
	PqShared   *shared = ix_share(context->toc, KEY_SHARED, NULL, sizes->shared);

	memset(shared, 0, sizeof(PqShared));
	shared->heap = RelationGetRelid(build->heap);
	shared->index = RelationGetRelid(build->index);
	shared->concurrent = build->info->ii_Concurrent;
	shared->participants = participants;
	shared->nfilters = build->layout.filters.nfilters;
	memcpy(shared->filter_width, build->layout.filters.width, sizeof(shared->filter_width));
	SpinLockInit(&shared->mutex);
	ConditionVariableInit(&shared->finished);
	table_parallelscan_initialize(build->heap, PqSharedScan(shared), build->parallel->snapshot);
	*sort = ix_share(context->toc, KEY_SORT, NULL, sizes->sort);
	tuplesort_initialize_shared(*sort, participants, context->seg);
	ix_share(context->toc, KEY_MODEL, build->trained->model, sizes->model);
	ix_share(context->toc, KEY_TILES, build->trained->tiles, sizes->tiles);
	if (sizes->query > 0)
		ix_share(context->toc, KEY_QUERY_TEXT, debug_query_string, sizes->query);
	return shared;
}

/* Merge the runs of all. */
static void
merge_runs(PqBuild *build, Sharedsort *sort, int nruns)
{
	SortCoordinate coordinate = palloc0(sizeof(SortCoordinateData));

	coordinate->isWorker = false;
	coordinate->nParticipants = nruns;
	coordinate->sharedsort = sort;
	pq_sort_begin(build, coordinate, pq_sort_memory(build, 1));
	tuplesort_performsort(build->sort);
}

/*
 * Load in parallel.  Returns false where no worker is to be had, and nothing has
 * happened then.
 */
bool
pq_parallel_load(PqBuild *build)
{
	ParallelContext *context;
	PqShared   *shared;
	Sharedsort *sort;
	ShareSizes	sizes;
	int			workers = parallel_workers_compat(build->heap, build->index, build->info);

	/* each participant's sort needs some memory */
	workers = Min(workers, maintenance_work_mem / (16 * 1024) - 1);
	if (workers <= 0)
		return false;
	EnterParallelMode();
	context = CreateParallelContext("jflow", "jflow_pq_build_worker", workers);
	build->parallel = palloc0(sizeof(PqParallel));
	build->parallel->context = context;
	build->parallel->snapshot = build->info->ii_Concurrent ? RegisterSnapshot(GetTransactionSnapshot()) : SnapshotAny;
	sizes = share_sizes(build, build->parallel->snapshot, workers + 1);
	make_room(context, &sizes);
	if (context->seg == NULL)
	{
		pq_parallel_end(build);
		return false;
	}
	shared = share_build(build, &sizes, workers + 1, &sort);
	LaunchParallelWorkers(context);
	if (context->nworkers_launched == 0)
	{
		pq_parallel_end(build);
		return false;
	}
	ereport(DEBUG1, (errmsg_internal("using %d parallel workers", context->nworkers_launched)));
	load_part(build, shared, sort, true);
	/* until all, of which we are one, have sorted what they got */
	ix_wait_until_done(context, &shared->mutex, &shared->done, context->nworkers_launched + 1, &shared->finished);
	build->tuples = shared->tuples;
	build->indexed = shared->indexed;
	build->info->ii_BrokenHotChain |= shared->broken_hot_chain;
	merge_runs(build, sort, context->nworkers_launched + 1);
	return true;
}

/*
 * Let the workers go, once their runs have been read.
 */
void
pq_parallel_end(PqBuild *build)
{
	PqParallel *parallel = build->parallel;

	if (!parallel)
		return;
	if (parallel->context->seg)
		WaitForParallelWorkersToFinish(parallel->context);
	if (IsMVCCSnapshot(parallel->snapshot))
		UnregisterSnapshot(parallel->snapshot);
	DestroyParallelContext(parallel->context);
	ExitParallelMode();
	build->parallel = NULL;
}
