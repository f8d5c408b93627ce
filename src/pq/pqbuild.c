/*
 * pqbuild.c
 *		CREATE INDEX: sample, train, load, write, calibrate.
 *
 * The table is read twice: once for the sample that the model is learned from
 * (not at all where a codebook is given), once to assign and code all rows.
 * Coded rows are sorted by list and TID and written in one pass.  Workers share
 * the second reading as in a btree build: each sorts what it coded, and the
 * leader merges (pqparallel.c).
 */
#include "postgres.h"

#include <math.h>

#include "access/tableam.h"
#include "access/xact.h"
#include "access/xloginsert.h"
#include "catalog/index.h"
#include "commands/progress.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/backend_progress.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "pq/pq.h"
#include "pq/pqbuild.h"

char *
pq_build_phase(int64 phase)
{
	switch (phase)
	{
		case PROGRESS_CREATEIDX_SUBPHASE_INITIALIZE:
			return "initializing";
		case PQ_PHASE_SAMPLE:
			return "sampling table";
		case PQ_PHASE_TRAIN:
			return "training";
		case PQ_PHASE_LOAD:
			return "coding table";
		case PQ_PHASE_SORT:
			return "sorting codes";
		case PQ_PHASE_WRITE:
			return "writing lists";
		case PQ_PHASE_CALIBRATE:
			return "calibrating recall";
		case PQ_PHASE_LOG:
			return "writing WAL";
		default:
			return NULL;
	}
}

static void
set_phase(int64 phase)
{
	pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE, phase);
}

typedef struct SampleState
{
	const PqSpace *space;
	int			dims;
	int			inner;
	int			padded;
	float	   *point;
	PqSample   *sample;
	double		tuples;
	MemoryContext context;
} SampleState;

static void
sample_row(Relation index, ItemPointer tid, Datum *values, bool *isnull, bool alive, void *arg)
{
	SampleState *state = arg;
	MemoryContext old;

	if (isnull[0])
		return;
	old = MemoryContextSwitchTo(state->context);
	if (pq_embed(state->space, state->dims, state->inner, state->padded, values[0], state->point))
	{
		pq_sample_add(state->sample, state->point, state->inner);
		state->tuples++;
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(state->context);
}

/*
 * Learn a model from the table.  Queries for calibration are the first points
 * of the sample, which is in random order.
 */
static PqTrained *
train_from_table(PqBuild *build)
{
	PqOptions  *options = (PqOptions *) build->index->rd_options;
	int			lists = options ? options->lists : 0;
	int			subvectors = options ? options->subvectors : 0;
	Size		budget = (Size) maintenance_work_mem * 1024;
	SampleState state = {0};
	BlockNumber nblocks = RelationGetNumberOfBlocks(build->heap);
	int			width;
	int			count;
	double		most;
	double		guess;
	float	   *points;
	PqTrained  *trained;

	state.space = build->space;
	state.dims = build->dims;
	state.inner = pq_inner_dims(build->space->type, build->dims);
	pq_model_geometry(state.inner, subvectors, &width, &count);
	state.padded = width * count;
	state.point = palloc(sizeof(float) * state.padded);
	state.context = AllocSetContextCreate(CurrentMemoryContext, "pq row", ALLOCSET_DEFAULT_SIZES);

	/* at most a row per 40 bytes; half of the budget; 64 points per list */
	guess = (double) nblocks * BLCKSZ / 40 + 1;
	if (build->heap->rd_rel->reltuples > 0)
		guess = Min(guess, build->heap->rd_rel->reltuples * 1.5 + 1000);
	else
		guess = Min(guess, (double) nblocks * BLCKSZ / Min(1000, 28 + sizeof(float) * Min(state.dims, 400)) * 2 + 1000);
	most = (double) budget / 2 / (sizeof(float) * state.padded + 12);
	most = Min(most, 64.0 * (lists > 0 ? lists : 2 * sqrt(guess)));
	state.sample = pq_sample_begin((int) Max(256, Min(most, guess)), state.padded);
	set_phase(PQ_PHASE_SAMPLE);
	table_index_build_scan(build->heap, build->index, build->info, false, false,
						   sample_row, &state, NULL);
	points = pq_sample_finish(state.sample);
	set_phase(PQ_PHASE_TRAIN);
	trained = pq_train(build->space, build->dims, points, state.sample->n, state.tuples,
					   lists, subvectors, budget / 2);
	build->nqueries = Min(PQ_QUERIES, state.sample->n / 4);
	build->queries = palloc(sizeof(float) * (Size) Max(build->nqueries, 1) * state.padded);
	memcpy(build->queries, points, sizeof(float) * (Size) build->nqueries * state.padded);
	build->meta.sampled = state.sample->n;
	MemoryContextDelete(state.context);
	pfree(state.sample->points);
	pfree(state.sample->hashes);
	pfree(state.sample->places);
	return trained;
}

/*
 * Build the index's main fork, or with no table its initial fork.
 */
static void
build_fork(PqBuild *build, ForkNumber fork)
{
	PqOptions  *options = (PqOptions *) build->index->rd_options;
	PqWriter   *writer;
	PqTruth    *truth;

	build->space = pq_index_space(build->index);
	build->dims = pq_index_dims(build->index, build->space);
	build->meta.nfilters = pq_filter_count(build->index, build->meta.filter_width);
	pq_index_forget(build->index);

	if (options && options->codebook)
		build->trained = pq_codebook_load(build, (char *) options + options->codebook);
	if (!build->trained && build->heap)
		build->trained = train_from_table(build);
	if (!build->trained)
		build->trained = pq_train(build->space, build->dims, NULL, 0, 0, 1,
								  options ? options->subvectors : 0, (Size) 1 << 30);
	pq_layout_init(&build->layout, build->trained->model, build->meta.nfilters, build->meta.filter_width);
	pq_write_start(build->index, fork, build->trained, &build->meta);

	truth = pq_truth_begin(build->trained->model, build->queries, build->nqueries);
	writer = pq_writer_begin(build->index, fork, &build->meta, &build->layout);
	if (build->heap)
	{
		set_phase(PQ_PHASE_LOAD);
		pq_load(build, truth);
		set_phase(PQ_PHASE_WRITE);
		pq_load_write(build, writer);
	}
	pq_writer_end(writer);
	build->meta.tuples = build->indexed;
	pq_write_meta(build->index, fork, &build->meta);
	if (build->heap && build->nqueries > 0)
	{
		set_phase(PQ_PHASE_CALIBRATE);
		pq_calibrate(build->index, truth, &build->meta);
		pq_write_meta(build->index, fork, &build->meta);
		pq_index_forget(build->index);
	}
	if (RelationNeedsWAL(build->index) || fork == INIT_FORKNUM)
	{
		set_phase(PQ_PHASE_LOG);
		log_newpage_range(build->index, fork, 0,
						  RelationGetNumberOfBlocksInFork(build->index, fork), true);
	}
}

IndexBuildResult *
pq_build(Relation heap, Relation index, IndexInfo *info)
{
	IndexBuildResult *result = palloc(sizeof(IndexBuildResult));
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pq build", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	PqBuild		build = {0};

	if (RelationGetNumberOfBlocks(index) != 0)
		elog(ERROR, "index \"%s\" already contains data", RelationGetRelationName(index));
	build.heap = heap;
	build.index = index;
	build.info = info;
	build_fork(&build, MAIN_FORKNUM);
	result->heap_tuples = build.tuples;
	result->index_tuples = build.indexed;
	if (build.indexed < 1000 && build.meta.codebook[0] == '\0')
		ereport(NOTICE,
				(errmsg("pq index \"%s\" was built from few rows", RelationGetRelationName(index)),
				 errdetail("Recall and speed suffer when the table grows much beyond them."),
				 errhint("REINDEX when the table has grown.")));
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return result;
}

void
pq_buildempty(Relation index)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pq build", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	PqBuild		build = {0};

	build.index = index;
	build_fork(&build, INIT_FORKNUM);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}
