/*
 * invbuild.c
 *		CREATE INDEX: the table is gathered into sorted runs, which are merged
 *		into one segment.
 *
 * Nobody else sees the file yet, so pages are written without WAL and logged as
 * whole pages at the end.
 */
#include "postgres.h"

#include "access/xloginsert.h"
#include "commands/progress.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "inverted/inverted.h"

enum
{
	PHASE_LOAD = PROGRESS_CREATEIDX_SUBPHASE_INITIALIZE + 1,
	PHASE_WRITE,
	PHASE_LOG
};

/*
 * What pg_stat_progress_create_index calls a phase; NULL for one that is not ours.
 */
char *
inv_build_phase(int64 phase)
{
	switch (phase)
	{
		case PROGRESS_CREATEIDX_SUBPHASE_INITIALIZE:
			return "initializing";
		case PHASE_LOAD:
			return "loading rows";
		case PHASE_WRITE:
			return "writing postings";
		case PHASE_LOG:
			return "logging pages";
		default:
			return NULL;
	}
}

static void
set_phase(int phase)
{
	pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE, phase);
}

/* Write the meta page, which is the first. */
static void
write_meta(Relation index, ForkNumber fork, InvMetaPageData *meta, bool first)
{
	Buffer		buffer = ReadBufferExtended(index, fork, first ? P_NEW : INV_META_BLOCK,
											first ? RBM_ZERO_AND_LOCK : RBM_NORMAL, NULL);

	if (!first)
		LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	inv_meta_seal(meta);
	START_CRIT_SECTION();
	inv_page_init(BufferGetPage(buffer), INV_PAGE_META, 0, InvalidBlockNumber);
	memcpy(InvPageGetMeta(BufferGetPage(buffer)), meta, sizeof(*meta));
	MarkBufferDirty(buffer);
	END_CRIT_SECTION();
	UnlockReleaseBuffer(buffer);
}

/*
 * CREATE INDEX and REINDEX: rows to runs, runs to one segment, its pages logged at
 * the end.  The table is locked against writes, unless the build is concurrent.
 */
IndexBuildResult *
inv_build(Relation heap, Relation index, IndexInfo *info)
{
	IndexBuildResult *result = palloc(sizeof(IndexBuildResult));
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "inverted build", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	InvMetaPageData *meta = palloc(sizeof(InvMetaPageData));
	InvLoad		load = {.heap = heap,.index = index,.info = info};
	InvParallel *parallel;
	InvSource **sources;
	int			nsources;

	if (RelationGetNumberOfBlocks(index) != 0)
		elog(ERROR, "index \"%s\" already contains data", RelationGetRelationName(index));
	load.metric = inv_index_metric(index);
	inv_meta_init(meta, index);
	write_meta(index, MAIN_FORKNUM, meta, true);
	load.dims = meta->dims;
	inv_layout_init(&load.layout, meta->nfilters, meta->filter_width);

	set_phase(PHASE_LOAD);
	parallel = inv_parallel_load(&load, &sources, &nsources);
	if (!parallel)
	{
		inv_load(&load, (Size) maintenance_work_mem * 1024, inv_temporary_file, NULL, true, NULL);
		nsources = inv_gather_sources(load.gather, &sources);
	}
	result->heap_tuples = load.tuples;
	result->index_tuples = load.indexed;

	set_phase(PHASE_WRITE);
	if (nsources > 0)
		inv_merge(index, sources, nsources,
				  inv_writer_begin(index, &load.layout, meta->next_id++, false), &meta->parts[meta->nparts++]);
	if (parallel)
		inv_parallel_end(parallel);
	write_meta(index, MAIN_FORKNUM, meta, false);
	if (RelationNeedsWAL(index))
	{
		set_phase(PHASE_LOG);
		log_newpage_range(index, MAIN_FORKNUM, 0, RelationGetNumberOfBlocks(index), true);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return result;
}

/* The init fork of an unlogged table's index: a meta page. */
void
inv_buildempty(Relation index)
{
	InvMetaPageData *meta = palloc(sizeof(InvMetaPageData));

	inv_index_metric(index);
	inv_meta_init(meta, index);
	write_meta(index, INIT_FORKNUM, meta, true);
	log_newpage_range(index, INIT_FORKNUM, 0, 1, true);
	pfree(meta);
}
