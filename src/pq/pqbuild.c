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

#include "access/heaptoast.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xloginsert.h"
#include "catalog/index.h"
#include "commands/progress.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/backend_progress.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "pq/pq.h"
#include "pq/pqbuild.h"

/* Points to learn each list from. */
#define POINTS_PER_LIST 64.0

/*
 * Of queries unlike the rows: how far some lie, of how many coordinates one is left,
 * and how far from the mean those in the middle are, as a part of how far rows are.
 */
#define FAR 4
#define FEW_PART 8
#define MIDDLE 0.0625f

/*
 * What pg_stat_progress_create_index calls a phase; NULL for one that is not ours.
 */
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
	int			space_dims;
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
	float		lost;

	if (isnull[0])
		return;
	old = MemoryContextSwitchTo(state->context);
	if (pq_embed(state->space, state->dims, state->space_dims, state->padded, NULL, values[0], state->point, &lost))
	{
		pq_sample_add(state->sample, state->point, state->space_dims);
		state->tuples++;
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(state->context);
}

/*
 * A sample of the table's vectors, in random order; in the current context.
 */
static PqSample *
sample_table(PqBuild *build, int space_dims, int padded, int capacity, double *tuples)
{
	SampleState state = {0};

	state.space = build->space;
	state.dims = build->dims;
	state.space_dims = space_dims;
	state.padded = padded;
	state.point = palloc(sizeof(float) * padded);
	state.context = AllocSetContextCreate(CurrentMemoryContext, "pq row", ALLOCSET_DEFAULT_SIZES);
	state.sample = pq_sample_begin(capacity, padded);
	set_phase(PQ_PHASE_SAMPLE);
	table_index_build_scan(build->heap, build->index, build->info, false, false,
						   sample_row, &state, NULL);
	pq_sample_finish(state.sample);
	*tuples = state.tuples;
	MemoryContextDelete(state.context);
	pfree(state.point);
	return state.sample;
}

/* Add a centre, if there is one, so many times. */
static void
move_point(float *point, const float *centre, int space_dims, float times)
{
	for (int j = 0; j < space_dims && centre; j++)
		point[j] += times * centre[j];
}

/* Under cosine a point is of unit length, as seen from the origin. */
static void
to_unit_length(const PqModel *model, float *point)
{
	const float *centre = PqModelCentre(model);

	if (model->metric != PQ_METRIC_COSINE)
		return;
	move_point(point, centre, model->space_dims, 1);
	pq_normalize(point, model->space_dims);
	move_point(point, centre, model->space_dims, -1);
}

/* Kinds of queries unlike the rows. */
typedef enum UnlikeKind
{
	UNLIKE_SHUFFLED,			/* each coordinate is that of another row */
	UNLIKE_FAR,					/* far out in a direction in which rows differ */
	UNLIKE_FEW,					/* of a row only few coordinates, and else the
								 * mean */
	UNLIKE_MIDDLE,				/* between the mean and a row, near the mean */
	UNLIKE_AXIS,				/* the mean, but for one coordinate that is
								 * far out */
	UNLIKE_BOX					/* anywhere between the ends of all
								 * coordinates */
} UnlikeKind;

/* Where the coordinates of a sample are. */
typedef struct SampleBox
{
	float	   *mean;
	float	   *low;
	float	   *high;
} SampleBox;

static void
sample_box(const PqSample *sample, SampleBox *box)
{
	int			stride = sample->stride;
	double	   *sums = palloc0(sizeof(double) * stride);

	box->mean = palloc0(sizeof(float) * stride);
	box->low = palloc0(sizeof(float) * stride);
	box->high = palloc0(sizeof(float) * stride);
	for (int i = 0; i < sample->n; i++)
	{
		const float *point = sample->points + (size_t) i * stride;

		for (int j = 0; j < stride; j++)
		{
			sums[j] += point[j];
			box->low[j] = i == 0 ? point[j] : Min(box->low[j], point[j]);
			box->high[j] = i == 0 ? point[j] : Max(box->high[j], point[j]);
		}
	}
	for (int j = 0; j < stride && sample->n > 0; j++)
		box->mean[j] = sums[j] / sample->n;
	pfree(sums);
}

/* A query unlike the rows. */
static void
make_unlike(const PqModel *model, const PqSample *sample, const SampleBox *box, UnlikeKind kind, pg_prng_state *random,
			float *query)
{
	int			stride = sample->stride;
	int			axis = pg_prng_uint64_range(random, 0, model->space_dims - 1);
	const float *rows[3];

	for (int r = 0; r < 3; r++)
		rows[r] = sample->points + (size_t) pg_prng_uint64_range(random, 0, sample->n - 1) * stride;
	for (int j = 0; j < stride; j++)
	{
		float		mean = box->mean[j];

		switch (kind)
		{
			case UNLIKE_SHUFFLED:
				query[j] = sample->points[(size_t) pg_prng_uint64_range(random, 0, sample->n - 1) * stride + j];
				break;
			case UNLIKE_FAR:
				query[j] = rows[0][j] + FAR * (rows[1][j] - rows[2][j]);
				break;
			case UNLIKE_FEW:
				query[j] = pg_prng_uint64_range(random, 0, Min(model->space_dims, FEW_PART) - 1) == 0 ? rows[0][j] : mean;
				break;
			case UNLIKE_MIDDLE:
				query[j] = mean + (rows[0][j] - mean) * MIDDLE;
				break;
			case UNLIKE_AXIS:
				query[j] = mean + (j == axis ? FAR * (rows[0][j] - rows[1][j]) : 0);
				break;
			case UNLIKE_BOX:
				query[j] = box->low[j] + (box->high[j] - box->low[j]) * (float) pg_prng_double(random);
				break;
		}
	}
	to_unit_length(model, query);
}

/*
 * Queries that recall is calibrated with: the first points of a sample, which is
 * centred, and means of two others, for queries do come from where there are no rows.
 *
 * Under inner products a query is a direction, and those of rows that lie far from
 * the origin are nearly one, along which rows may differ much or little.  What
 * rules it teaches is no good for others, so means are directions from the
 * centre, in which the rows differ, wherever they lie.
 */
void
pq_take_queries(PqBuild *build, const PqModel *model, const PqSample *sample)
{
	PqQueries  *queries = &build->queries;
	int			stride = sample->stride;
	int			between;
	SampleBox	box;
	pg_prng_state random;

	queries->nrows = Min(PQ_QUERIES, sample->n / 4);
	between = Min(PQ_BETWEEN, queries->nrows / 2);
	queries->nusual = queries->nrows + between;
	queries->n = queries->nusual + Min(PQ_UNLIKE, queries->nrows / PQ_UNLIKE_KINDS * PQ_UNLIKE_KINDS);
	queries->points = palloc(sizeof(float) * (Size) Max(queries->n, 1) * stride);
	memcpy(queries->points, sample->points, sizeof(float) * (Size) queries->nrows * stride);
	for (int i = 0; i < between; i++)
	{
		const float *a = sample->points + (size_t) (queries->nrows + i) * stride;
		const float *b = a + (size_t) between * stride;
		float	   *query = queries->points + (size_t) (queries->nrows + i) * stride;

		for (int j = 0; j < stride; j++)
			query[j] = (a[j] + b[j]) / 2;
		to_unit_length(model, query);
	}
	sample_box(sample, &box);
	pg_prng_seed(&random, sample->n);
	for (int i = queries->nusual; i < queries->n; i++)
		make_unlike(model, sample, &box, (i - queries->nusual) * PQ_UNLIKE_KINDS / (queries->n - queries->nusual), &random,
					queries->points + (size_t) i * stride);
	for (int i = 0; i < queries->nrows && model->metric == PQ_METRIC_IP; i++)
		move_point(queries->points + (size_t) i * stride, PqModelCentre(model), model->space_dims, 1);
	build->meta.sampled = sample->n;
	pfree(box.mean);
	pfree(box.low);
	pfree(box.high);
}

/*
 * How many points to learn from: 64 per list, within half of the memory.  As many
 * rows are expected as the table's blocks can hold, since statistics may be old;
 * what is too much is cut off when the rows have been counted.
 */
static int
sample_size(const PqBuild *build, int lists, int padded)
{
	double		bytes = RelationGetNumberOfBlocks(build->heap) * (double) BLCKSZ;
	double		value = build->space->type == PQ_TYPE_VECTOR ? sizeof(float) * (double) build->dims :
		build->space->type == PQ_TYPE_HALFVEC ? sizeof(float) / 2 * (double) build->dims : 0;
	double		most = (double) maintenance_work_mem * 1024 / 2 / (sizeof(float) * padded + 16) * 3 / 4;

	/* long values are stored elsewhere, or compressed */
	bytes = bytes / (value < TOAST_TUPLE_TARGET ? 28 + value : 46) + 1;
	return (int) Max(256, Min(most, POINTS_PER_LIST * (lists > 0 ? lists : 2 * sqrt(bytes))));
}

/*
 * Learn a model from the table.  Returns NULL where there are too few rows to
 * learn from, or too few that are distinct while all can be looked at.
 */
static PqTrained *
train_from_table(PqBuild *build)
{
	PqOptions  *options = (PqOptions *) build->index->rd_options;
	int			lists = options ? options->lists : 0;
	int			subvectors = options ? options->subvectors : 0;
	int			space_dims = pq_space_dims(build->space, build->dims);
	int			width;
	int			count;
	int			capacity;
	double		tuples;
	PqSample   *sample;
	PqTrained  *trained;

	pq_model_geometry(space_dims, subvectors, &width, &count);
	capacity = sample_size(build, lists, width * count);
	sample = sample_table(build, space_dims, width * count, capacity, &tuples);
	if ((tuples < PQ_FLAT_ROWS && (lists == 0 || sample->n < lists)) ||
		(tuples < PQ_FLAT_MOST && lists == 0 && sample->n < Min(PQ_FLAT_ROWS, capacity)))
	{
		/* when it may be another matter */
		build->meta.due_tuples = Min(2 * tuples, PQ_FLAT_MOST);
		pq_sample_free(sample);
		return NULL;
	}
	set_phase(PQ_PHASE_TRAIN);
	sample->n = (int) Min(sample->n, Max(256, POINTS_PER_LIST * (lists > 0 ? lists : 2 * sqrt(tuples))));
	trained = pq_train(build->space, build->dims, sample->points, sample->n, tuples,
					   lists, subvectors, (Size) maintenance_work_mem * 1024 / 2);
	pq_take_queries(build, trained->model, sample);
	pq_sample_free(sample);
	return trained;
}

/* A codebook was learned elsewhere, but what recall it gives depends on the table. */
static void
queries_from_table(PqBuild *build)
{
	const PqModel *model = build->trained->model;
	double		tuples;
	PqSample   *sample = sample_table(build, model->space_dims, model->padded, 4 * PQ_QUERIES, &tuples);

	for (int i = 0; i < sample->n; i++)
		move_point(sample->points + (size_t) i * sample->stride, PqModelCentre(model), model->space_dims, -1);
	pq_take_queries(build, model, sample);
	pq_sample_free(sample);
}

/* Load the whole table into a sort, with workers where they may help. */
static void
load_table(PqBuild *build)
{
	PqLoader   *loader;

	if (pq_parallel_load(build))
		return;
	loader = pq_loader_begin(build, NULL, pq_sort_memory(build, 1));
	build->tuples = table_index_build_scan(build->heap, build->index, build->info, true, true,
										   pq_loader_row, loader, NULL);
	build->indexed = pq_loader_end(loader);
}

/*
 * Build the index's main fork, or with no table its initial fork.
 */
static void
build_fork(PqBuild *build, ForkNumber fork)
{
	PqOptions  *options = (PqOptions *) build->index->rd_options;
	PqWriter   *writer;

	build->space = pq_index_space(build->index);
	build->dims = pq_index_dims(build->index, build->space);
	build->meta.nfilters = ix_filter_count(build->index, build->meta.filter_width);
	pq_index_forget(build->index);

	/*
	 * pg_upgrade puts the old index in the place of this one, and codebooks
	 * are not there yet.
	 */
	if (options && options->codebook && !IsBinaryUpgrade)
		build->trained = pq_codebook_load(build, (char *) options + options->codebook);
	if (build->trained && build->heap)
		queries_from_table(build);
	if (!build->trained && build->heap)
		build->trained = train_from_table(build);
	if (!build->trained)
		build->trained = pq_train_nothing(build->space, build->dims, options ? options->subvectors : 0);
	pq_layout_init(&build->layout, build->trained->model, false, build->meta.nfilters, build->meta.filter_width);
	build->meta.generation = build->meta.last_generation = build->meta.swept = build->layout.generation = 1;
	pq_write_start(build->index, fork, build->trained, &build->meta, false);

	writer = pq_writer_begin(build->index, fork, &build->meta, &build->layout, false);
	if (build->heap)
	{
		set_phase(PQ_PHASE_LOAD);
		load_table(build);
		set_phase(PQ_PHASE_WRITE);
		pq_load_write(build, writer);
	}
	pq_writer_end(writer);

	/*
	 * not before: a page that is locked holds interrupts, and so the workers'
	 * last words
	 */
	if (build->parallel)
		pq_parallel_end(build);
	build->meta.tuples = build->indexed;
	build->meta.check_pages = pq_pages_before_check(&build->meta, &build->layout, build->trained->model->nlists, build->indexed);
	pq_write_meta(build->index, fork, &build->meta);
	if (build->heap && build->queries.n > 0 && !PqModelIsFlat(build->trained->model))
	{
		set_phase(PQ_PHASE_CALIBRATE);
		pq_calibrate(build->index, pq_index_get(build->index, CurrentMemoryContext), &build->queries, &build->meta, build);
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

/*
 * CREATE INDEX and REINDEX: learn from a sample, then sort all rows into lists.  The
 * table is locked against writes, unless the build is concurrent.
 */
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
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return result;
}

/* The init fork of an unlogged table's index: one that has learned nothing. */
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
