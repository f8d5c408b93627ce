/*
 * invparallel.c
 *		Loading with parallel workers.
 *
 * As in a btree build, the leader and its workers share one scan of the table.
 * Each gathers the rows it gets; workers leave their sorted runs in shared files,
 * which the leader merges with its own.  Which process met a row makes no
 * difference to the index.
 */
#include "postgres.h"

#include <fcntl.h>

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "miscadmin.h"
#include "optimizer/optimizer.h"
#include "pgstat.h"
#include "storage/sharedfileset.h"
#include "tcop/tcopprot.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "index/parallel.h"
#include "inverted/inverted.h"

#define KEY_SHARED UINT64CONST(0x494e000000000001)
#define KEY_QUERY_TEXT UINT64CONST(0x494e000000000002)

/* Memory that a process needs to gather in, in kB. */
#define LEAST_MEMORY (16 * 1024)

#define MAX_WORKERS 64

/* What leader and workers share; the table's parallel scan lies behind it. */
typedef struct InvShared
{
	Oid			heap;
	Oid			index;
	bool		concurrent;
	int			participants;
	int			memory;			/* of each, in kB */
	SharedFileSet files;
	/* under the mutex */
	slock_t		mutex;
	int			done;			/* workers */
	int			nruns[MAX_WORKERS];
	double		tuples;
	double		indexed;
	bool		broken_hot_chain;
	ConditionVariable finished;
} InvShared;

#define InvSharedScan(shared) ((ParallelTableScanDesc) ((char *) (shared) + BUFFERALIGN(sizeof(InvShared))))

struct InvParallel
{
	ParallelContext *context;
	Snapshot	snapshot;
};

PGDLLEXPORT void jflow_inverted_build_worker(dsm_segment *segment, shm_toc *toc);

static void
run_name(char *name, int worker, int run)
{
	snprintf(name, MAXPGPATH, "inverted.%d.%d", worker, run);
}

static BufFile *
make_shared_file(void *arg, int run)
{
	char		name[MAXPGPATH];

	run_name(name, ParallelWorkerNumber, run);
	return BufFileCreateFileSet(&((InvShared *) arg)->files.fs, name);
}

/*
 * Where a worker starts.
 */
void
jflow_inverted_build_worker(dsm_segment *segment, shm_toc *toc)
{
	InvShared  *shared = shm_toc_lookup(toc, KEY_SHARED, false);
	InvLoad		load = {0};
	LOCKMODE	heap_lock = shared->concurrent ? ShareUpdateExclusiveLock : ShareLock;
	LOCKMODE	index_lock = shared->concurrent ? RowExclusiveLock : AccessExclusiveLock;
	int16		widths[IX_MAX_FILTERS];
	int			nfilters;
	int			nruns;

	debug_query_string = shm_toc_lookup(toc, KEY_QUERY_TEXT, true);
	pgstat_report_activity(STATE_RUNNING, debug_query_string);
	SharedFileSetAttach(&shared->files, segment);
	load.heap = table_open(shared->heap, heap_lock);
	load.index = index_open(shared->index, index_lock);
	load.info = BuildIndexInfo(load.index);
	load.info->ii_Concurrent = shared->concurrent;
	load.metric = inv_index_metric(load.index);
	load.dims = inv_index_dims(load.index);
	nfilters = ix_filter_count(load.index, widths);
	inv_layout_init(&load.layout, nfilters, widths);
	inv_load(&load, (Size) shared->memory * 1024, make_shared_file, shared, false,
			 table_beginscan_parallel_compat(load.heap, InvSharedScan(shared)));
	nruns = inv_gather_export(load.gather);

	SpinLockAcquire(&shared->mutex);
	shared->done++;
	shared->nruns[ParallelWorkerNumber] = nruns;
	shared->tuples += load.tuples;
	shared->indexed += load.indexed;
	if (load.info->ii_BrokenHotChain)
		shared->broken_hot_chain = true;
	SpinLockRelease(&shared->mutex);
	ConditionVariableSignal(&shared->finished);
	index_close(load.index, index_lock);
	table_close(load.heap, heap_lock);
}

/* The runs of leader and workers as sources. */
static int
collect_sources(InvLoad *load, InvShared *shared, InvSource ***sources)
{
	InvSource **own;
	int			n = inv_gather_sources(load->gather, &own);
	int			all = n;

	for (int w = 0; w < MAX_WORKERS; w++)
		all += shared->nruns[w];
	*sources = palloc(sizeof(InvSource *) * Max(all, 1));
	memcpy(*sources, own, sizeof(InvSource *) * n);
	for (int w = 0; w < MAX_WORKERS; w++)
		for (int run = 0; run < shared->nruns[w]; run++)
		{
			char		name[MAXPGPATH];

			run_name(name, w, run);
			(*sources)[n++] = inv_run_source(BufFileOpenFileSet(&shared->files.fs, name, O_RDONLY, false), &load->layout);
		}
	return n;
}

/*
 * Load in parallel, into sources.  Returns NULL where no worker is to be had, and
 * nothing has happened then.
 */
InvParallel *
inv_parallel_load(InvLoad *load, InvSource ***sources, int *nsources)
{
	InvParallel *parallel;
	ParallelContext *context;
	Snapshot	snapshot;
	InvShared  *shared;
	Size		size;
	Size		query_size = debug_query_string ? strlen(debug_query_string) + 1 : 0;
	int			workers = parallel_workers_compat(load->heap, load->index, load->info);

	workers = Min(workers, maintenance_work_mem / LEAST_MEMORY - 1);
	workers = Min(workers, MAX_WORKERS);
	if (workers <= 0)
		return NULL;
	EnterParallelMode();
	context = CreateParallelContext("jflow", "jflow_inverted_build_worker", workers);
	snapshot = load->info->ii_Concurrent ? RegisterSnapshot(GetTransactionSnapshot()) : SnapshotAny;
	size = BUFFERALIGN(sizeof(InvShared)) + table_parallelscan_estimate(load->heap, snapshot);
	shm_toc_estimate_chunk(&context->estimator, size);
	shm_toc_estimate_chunk(&context->estimator, Max(query_size, 1));
	shm_toc_estimate_keys(&context->estimator, 2);
	InitializeParallelDSM(context);
	parallel = palloc(sizeof(InvParallel));
	parallel->context = context;
	parallel->snapshot = snapshot;
	if (context->seg == NULL)
	{
		inv_parallel_end(parallel);
		return NULL;
	}

	shared = ix_share(context->toc, KEY_SHARED, NULL, size);
	memset(shared, 0, sizeof(InvShared));
	shared->heap = RelationGetRelid(load->heap);
	shared->index = RelationGetRelid(load->index);
	shared->concurrent = load->info->ii_Concurrent;
	shared->participants = workers + 1;
	shared->memory = maintenance_work_mem / shared->participants;
	SharedFileSetInit(&shared->files, context->seg);
	SpinLockInit(&shared->mutex);
	ConditionVariableInit(&shared->finished);
	table_parallelscan_initialize(load->heap, InvSharedScan(shared), snapshot);
	if (query_size > 0)
		ix_share(context->toc, KEY_QUERY_TEXT, debug_query_string, query_size);
	LaunchParallelWorkers(context);
	if (context->nworkers_launched == 0)
	{
		inv_parallel_end(parallel);
		return NULL;
	}
	inv_load(load, (Size) shared->memory * 1024, inv_temporary_file, NULL, true,
			 table_beginscan_parallel_compat(load->heap, InvSharedScan(shared)));
	/* until all workers that were launched have left their runs */
	ix_wait_until_done(context, &shared->mutex, &shared->done, context->nworkers_launched, &shared->finished);
	load->tuples += shared->tuples;
	load->indexed += shared->indexed;
	load->info->ii_BrokenHotChain |= shared->broken_hot_chain;
	*nsources = collect_sources(load, shared, sources);
	return parallel;
}

/*
 * Let the workers go, once their runs have been read.
 */
void
inv_parallel_end(InvParallel *parallel)
{
	if (parallel->context->seg)
		WaitForParallelWorkersToFinish(parallel->context);
	if (IsMVCCSnapshot(parallel->snapshot))
		UnregisterSnapshot(parallel->snapshot);
	DestroyParallelContext(parallel->context);
	ExitParallelMode();
	pfree(parallel);
}
