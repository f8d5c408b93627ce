/*
 * pqcalibrate.c
 *		Learning from queries when a scan may stop, for a goal of recall.
 *
 * The true neighbours of some queries are found by reading all refine codes
 * once (pqneighbours.c).  These are as precise as their lists are small (pqencode.c),
 * and what is told of their errors makes scans look at more (see_distance() in
 * pqgather.c).
 * What follows from the neighbours is pqrule.c's.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "pq/pqbuild.h"
#include "pq/pqcalibrate.h"

/* Rows that recall is measured among, as far as the index is large enough. */
static const int rows_wanted[PQ_CURVES] = {1, 10, 100, 1000};
#define LARGE_ENOUGH 10
/* Queries that have so many neighbours, if there are more. */
#define MOST_DEEP 360

/* Codes whose errors are looked at for what an outlier is. */
#define MOST_CODES 4096
/*
 * What the limit is made of: the error of nearly all rows and some more, but, since
 * some of them may be the first of others, not much more than most of them have.  In
 * a small index the rest may be outliers, too: these are soon learned from.
 */
#define NEARLY_ALL 0.998
#define NEARLY_ALL_MARGIN 1.25f
#define MOST 0.9
#define MOST_MARGIN 2
#define MOST_MARGIN_SMALL 1.2f
/* Codes differ from the next by so much nearly always; far less is too much alike. */
#define NEARLY_ALL_DIFFER 0.98
#define DIFFER_MARGIN 0.8

/*
 * See how wrong the code of an entry is, in units of its list's length, and how
 * much others of the page differ from it.
 */
static void
look_at_code(PqCalibration *c, Page page, uint32 list, int slot, const float *point)
{
	const PqModel *model = c->pq->model;
	uint8		codes[PQ_MAX_SUBVECTORS + 4];
	uint8		term;
	PqCodeError error;

	pq_posting_get(page, &c->pq->layout, slot, codes, &term);
	error = pq_code_error(model, list, point, c->centroid, codes);
	c->wrong[c->nwrong] = error.length / pq_list_length(model, list);
	c->along[c->nwrong] = error.along / pq_list_length(model, list);
	c->differ[c->nwrong++] = pq_codes_differ(c->pq, page, slot, codes);
}

/*
 * Look at the codes of one of so many entries, and count all.
 */
static void
look_at_codes(PqCalibration *c)
{
	PqIndex    *pq = c->pq;
	PGAlignedBlock *copy = palloc(sizeof(PGAlignedBlock));
	Page		page = copy->data;
	float	   *point = palloc0(sizeof(float) * pq->model->padded);
	float		error;

	for (uint32 list = 0; list < PqMetaLists(&pq->meta); list++)
	{
		BlockNumber block = pq_list_head(pq, c->index, list);
		const PqLayout *layout = PqListLayout(pq, list);
		bool		read = false;	/* origin and centroid? */

		while (block != InvalidBlockNumber)
		{
			Buffer		buffer = pq_read(pq, c->index, block);

			CHECK_FOR_INTERRUPTS();
			LockBuffer(buffer, BUFFER_LOCK_SHARE);
			pq_posting_check(c->index, buffer, layout, list);
			memcpy(page, BufferGetPage(buffer), BLCKSZ);
			UnlockReleaseBuffer(buffer);
			for (int slot = 0; slot < PqPostingGetHeader(page)->nused; slot++)
			{
				if (!(PqPostingLive(page, layout)[slot / PQ_BLOCK] >> (slot % PQ_BLOCK) & 1) ||
					(int64) c->entries++ % c->step != 0 || PqListIsFlat(pq, list) || c->nwrong == MOST_CODES)
					continue;
				if (!read)
				{
					pq_read_origin(c->index, pq, list, c->origin);
					pq_read_centroid(c->index, pq, list, c->centroid);
					read = true;
				}
				pq_read_refined(c->index, pq, list, page, slot, c->origin, point, &error);
				look_at_code(c, page, list, slot, point);
			}
			block = PqPostingGetHeader(page)->next;
		}
	}
	pfree(copy);
	pfree(point);
}

/* The value that a part of some are below, which are sorted. */
static float
quantile(float *values, int n, double part)
{
	qsort(values, n, sizeof(float), pq_compare_floats);
	return values[(int) (n * part)];
}

/*
 * Up to which errors of its code a row is like most, so many times which make it an
 * outlier, and below which difference of codes it is one.
 */
static void
set_outlier_limits(PqCalibration *c)
{
	PqMetaPageData *meta = c->meta;
	float	   *errors = palloc(sizeof(float) * Max(c->nwrong, 1));
	float		length;
	float		along;
	float		most;

	meta->usual = 0;
	meta->usual_along = 0;
	meta->outlier = 1;
	meta->alike = 0;
	if (c->nwrong == 0)
		return;
	memcpy(errors, c->wrong, sizeof(float) * c->nwrong);
	length = quantile(errors, c->nwrong, MOST);
	memcpy(errors, c->along, sizeof(float) * c->nwrong);
	along = Max(quantile(errors, c->nwrong, MOST), 0);
	/* of most neither is larger */
	for (int i = 0; i < c->nwrong; i++)
		errors[i] = Max(length > 0 ? c->wrong[i] / length : 1, along > 0 ? c->along[i] / along : 1);
	most = quantile(errors, c->nwrong, MOST);
	meta->usual = length * most;
	meta->usual_along = along * most;
	if (meta->tuples < PQ_SMALL_ROWS)
		meta->outlier = MOST_MARGIN_SMALL;
	else
		meta->outlier = Min(errors[(int) (c->nwrong * NEARLY_ALL)] / most * NEARLY_ALL_MARGIN, MOST_MARGIN);
	meta->alike = (int32) (quantile(c->differ, c->nwrong, 1 - NEARLY_ALL_DIFFER) * DIFFER_MARGIN);
	pfree(errors);
}

/* The usual distance between two centroids. */
static double
centroid_separation(PqCalibration *c)
{
	const PqModel *model = c->pq->model;
	const float *bias = PqModelArray(model, bias, float);
	float	   *centroid = palloc(sizeof(float) * model->padded);
	double	   *mean = palloc0(sizeof(double) * model->space_dims);
	double		square = 0;
	double		of_mean = 0;
	int			n = 0;

	for (int s = 0; s < PqModelSlots(model); s += Max(1, PqModelSlots(model) / 1024))
	{
		if (isinf(bias[s]))
			continue;
		CHECK_FOR_INTERRUPTS();
		pq_read_centroid(c->index, c->pq, s, centroid);
		for (int j = 0; j < model->space_dims; j++)
			mean[j] += centroid[j];
		square += pq_kernels->dot(centroid, centroid, model->space_dims);
		n++;
	}
	for (int j = 0; j < model->space_dims && n > 0; j++)
		of_mean += mean[j] / n * (mean[j] / n);
	pfree(centroid);
	pfree(mean);
	return n > 0 ? sqrt(2 * Max(square / n - of_mean, 0)) : 0;
}

/*
 * The usual lengths of residuals and of the codes' errors, against what is usual
 * in their lists, and of points, from some neighbours: under inner products these
 * are longer than others.  And what a taxicab distance is.  Rules are made of these,
 * so they stay as they are where only some of these are learned.
 */
static void
measure_lengths(PqCalibration *c)
{
	PqIndex    *pq = c->pq;
	const PqModel *model = pq->model;
	float	   *point = palloc(sizeof(float) * model->padded);
	float	   *centroid = palloc(sizeof(float) * model->padded);
	uint8	   *codes = palloc(model->nquads * 4);
	double		spread = 0;
	double		wrong = 0;
	double		lengths = 0;
	double		units = 0;
	int			nunits = 0;
	int			n = 0;

	for (int q = 0; q < c->nqueries; q++)
	{
		double		own = 0;
		int			nown = 0;

		for (int j = 0; j < Min(c->counts[q], PQ_TAXICAB_ROWS); j++)
		{
			const PqNeighbour *neighbour = c->neighbours + (size_t) q * c->depth + j;
			Buffer		buffer;
			double		length;
			double		off;
			float		error;
			uint8		term;

			CHECK_FOR_INTERRUPTS();
			/* outliers have no codes */
			if (neighbour->list == PqOutlierList(pq))
				continue;
			buffer = pq_read(pq, c->index, neighbour->block);
			length = pq_list_length(model, neighbour->list);
			memset(point, 0, sizeof(float) * model->padded);
			pq_read_origin(c->index, pq, neighbour->list, c->origin);
			pq_read_refined(c->index, pq, neighbour->list, BufferGetPage(buffer), neighbour->slot, c->origin, point, &error);
			pq_posting_get(BufferGetPage(buffer), &pq->layout, neighbour->slot, codes, &term);
			ReleaseBuffer(buffer);
			pq_read_centroid(c->index, pq, neighbour->list, centroid);
			if (model->metric == PQ_METRIC_L1 && neighbour->distance > 0)
			{
				double		square = pq_kernels->l2(point, c->queries + (size_t) q * model->padded, model->space_dims);

				if (square > 0)
				{
					own += log(square / neighbour->distance);
					nown++;
				}
			}
			if (q >= c->nusual)
				continue;
			for (int i = 0; i < model->space_dims; i++)
			{
				double		residual = point[i] - centroid[i];

				spread += residual / length * (residual / length);
			}
			off = pq_code_error(model, neighbour->list, point, centroid, codes).length / length;
			wrong += off * off;
			lengths += pq_kernels->dot(point, point, model->space_dims);
			n++;
		}
		c->taxicab[q] = nown > 0 ? exp(own / nown) : 0;
		if (nown > 0 && q < c->nusual)
		{
			units += own / nown;
			nunits++;
		}
	}
	if (c->nqueries > c->nusual || c->meta->nunlike == 0)
	{
		c->meta->spread = n > 0 ? sqrt(spread / n) : 0;
		c->meta->code_error = n > 0 ? sqrt(wrong / n) : 0;
		c->meta->separation = centroid_separation(c);
		c->meta->taxicab = nunits > 0 ? exp(units / nunits) : 0;
		c->meta->length = n > 0 ? sqrt(lengths / n) : 0;
	}
	pfree(point);
	pfree(centroid);
	pfree(codes);
}

/* Curves for some of the queries, and how many.  Tells the least recall that can be had. */
static int
make_curves(PqCalibration *c, int from, int to, PqCurve *curves, double *least)
{
	int			n = 0;

	for (int i = 0; i < PQ_CURVES && to > from; i++)
	{
		PqCurve    *curve = &curves[n];

		if (rows_wanted[i] > c->depth)
			break;
		curve->n = 0;
		pq_measure_rows(c, from, to, rows_wanted[i], curve);
		if (curve->n == 0)
			break;
		*least = Min(*least, curve->points[curve->n - 1].recall);
		n++;
	}
	return n;
}

/*
 * Measure an index, which is complete but for its curves, with queries of its
 * index space, and set them.  A goal has to be reached for those that are vectors
 * of rows, and for the other usual ones.  Those unlike rows have curves of their own;
 * if there are none the old ones stay.  Where an index is built, or NULL, tells of
 * workers.  Returns the highest recall that can be reached for every k measured.
 */
double
pq_calibrate(Relation index, PqIndex *pq, const PqQueries *some, PqMetaPageData *meta, const PqBuild *build)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pq calibration", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	PqCalibration c = {.index = index,.meta = meta,.queries = some->points,.nrows = some->nrows,.nusual = some->nusual,
	.nqueries = some->n};
	int			nqueries = some->n;
	PqSought	sought = {.queries = some->points,.nqueries = some->n,.nrows = some->nrows,.depth = 1};
	const PqModel *model;
	double		least = 1;

	c.pq = pq;
	model = c.pq->model;
	c.search = pq_search_begin(index, c.pq);
	sought.deep_each = Max((nqueries + MOST_DEEP - 1) / MOST_DEEP, 1);
	for (int i = 0; i < PQ_CURVES; i++)
		if (meta->tuples >= (double) rows_wanted[i] * LARGE_ENOUGH)
			sought.depth = Max(rows_wanted[i], PQ_NEAREST_TRIED);
	c.depth = sought.depth;
	c.origin = palloc(sizeof(float) * model->padded);
	c.centroid = palloc(sizeof(float) * model->padded);
	c.wrong = palloc(sizeof(float) * MOST_CODES);
	c.along = palloc(sizeof(float) * MOST_CODES);
	c.differ = palloc(sizeof(float) * MOST_CODES);
	c.step = (int64) ceil(Max(meta->tuples, 1) / MOST_CODES);
	look_at_codes(&c);
	c.neighbours = palloc_extended(sizeof(PqNeighbour) * (Size) (nqueries + 1) * c.depth, MCXT_ALLOC_HUGE);
	c.counts = palloc0(sizeof(int) * (nqueries + 1));
	c.own = palloc(sizeof(PqNeighbour) * (some->nrows + 1));
	c.taxicab = palloc0(sizeof(double) * (nqueries + 1));
	c.strangeness = palloc0(sizeof(float) * (nqueries + 1));
	pq_find_neighbours(index, pq, &sought, build, c.neighbours, c.counts, c.own);
	set_outlier_limits(&c);
	measure_lengths(&c);
	/* what cosines are made of */
	c.pq->meta.spread = meta->spread;
	c.pq->meta.code_error = meta->code_error;
	c.pq->meta.separation = meta->separation;
	c.pq->meta.taxicab = meta->taxicab;
	for (int q = 0; q < nqueries && model->metric == PQ_METRIC_L1; q++)
		for (int j = 0; j < c.counts[q]; j++)
			c.neighbours[(size_t) q * c.depth + j].distance *=
				c.taxicab[q] > 0 ? c.taxicab[q] : pq_l1_unit(meta, model->space_dims);
	c.pq->meta.look = 0;
	/* with the curves for usual queries it is set which have those for others */
	if (nqueries > c.nusual)
		meta->nunlike = make_curves(&c, c.nusual, nqueries, meta->unlike_curves, &least);
	meta->ncurves = make_curves(&c, 0, c.nusual, meta->curves, &least);
	pq_measure_groups(&c);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return meta->ncurves > 0 ? least : 0;
}
