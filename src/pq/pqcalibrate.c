/*
 * pqcalibrate.c
 *		Learning from queries when a scan may stop, for a goal of recall.
 *
 * The true neighbours of some queries are found by reading all refine codes
 * once.  These are as precise as their lists are small (pqencode.c), and what is
 * told of their errors makes scans look at more (see_distance() in pqgather.c).
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
#define MOST_MARGIN_SMALL 1.1f
/* Codes differ from the next by so much nearly always; far less is too much alike. */
#define NEARLY_ALL_DIFFER 0.98
#define DIFFER_MARGIN 0.8

/*
 * Keep a neighbour if it is one of the nearest: a heap, farthest first.
 */
static void
keep(PqCalibration *c, int q, const PqNeighbour *n)
{
	PqNeighbour *heap = c->neighbours + (size_t) q * c->depth;
	int			depth = pq_query_depth(c, q);
	int			at;

	if (c->counts[q] < depth)
	{
		for (at = c->counts[q]++; at > 0 && heap[(at - 1) / 2].distance < n->distance; at = (at - 1) / 2)
			heap[at] = heap[(at - 1) / 2];
		heap[at] = *n;
		if (c->counts[q] == depth)
			c->limits[q] = heap[0].distance;
		return;
	}
	for (at = 0; 2 * at + 1 < depth;)
	{
		int			child = 2 * at + 1;

		child += child + 1 < depth && heap[child + 1].distance > heap[child].distance;
		if (heap[child].distance <= n->distance)
			break;
		heap[at] = heap[child];
		at = child;
	}
	heap[at] = *n;
	c->limits[q] = heap[0].distance;
}

static int
compare_neighbours(const void *a, const void *b)
{
	const PqNeighbour *x = a;
	const PqNeighbour *y = b;

	if (x->distance != y->distance)
		return x->distance < y->distance ? -1 : 1;
	if (x->block != y->block)
		return x->block < y->block ? -1 : 1;
	return x->slot < y->slot ? -1 : x->slot > y->slot;
}

/*
 * See to which queries of a tile an entry is near, given sums of its column's.  A
 * query may be the vector of a row, so what lies on it is that row or a copy and
 * does not count; but such a row has to be found, too.  Under inner products
 * nothing lies on a query.
 */
static void
compare_entry(PqCalibration *c, int t, const float *point, float error, const float *sums, const PqNeighbour *entry)
{
	const PqModel *model = c->pq->model;
	const float *limits = c->limits + t * PQ_TILE;
	const float *distances = sums;
	float		others[PQ_TILE] = {0};
	int			any = 0;

	if (model->metric == PQ_METRIC_IP || model->metric == PQ_METRIC_L1)
	{
		for (int k = 0; k < PQ_TILE && t * PQ_TILE + k < c->nqueries; k++)
		{
			float		l1 = 0;

			if (model->metric == PQ_METRIC_L1)
				l1 = pq_l1(point, c->queries + (size_t) (t * PQ_TILE + k) * model->padded, model->space_dims);
			/* squared, and multiplied later by what is measured */
			others[k] = model->metric == PQ_METRIC_IP ? -sums[k] : l1 * l1;
		}
		distances = others;
	}
	/* mostly there is none, which is seen without a branch for each */
	for (int k = 0; k < PQ_TILE; k++)
		any |= distances[k] < limits[k];
	if (!any)
		return;
	for (int k = 0; k < PQ_TILE; k++)
	{
		int			q = t * PQ_TILE + k;
		PqNeighbour neighbour = *entry;

		if (!(distances[k] < limits[k]))
			continue;
		neighbour.distance = distances[k];
		if (model->metric == PQ_METRIC_IP || sums[k] > error * error * 1.01f + 2e-13f * c->norms[q])
			keep(c, q, &neighbour);
		else if (q < c->nrows && c->own[q].block == InvalidBlockNumber)
			c->own[q] = neighbour;
	}
}

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

	pq_posting_get(page, &c->pq->layout, slot, codes, &term);
	c->wrong[c->nwrong] = pq_code_wrong(model, list, point, c->centroid, codes) / pq_list_length(model, list);
	c->differ[c->nwrong++] = pq_codes_differ(c->pq, page, slot, codes);
}

/*
 * See to which queries the entries of a posting page are near.
 */
static void
measure_page(PqCalibration *c, Page page, BlockNumber block, uint32 list, float *points, float *errors)
{
	const PqModel *model = c->pq->model;
	const PqLayout *layout = PqListLayout(c->pq, list);
	const PqPostingHeader *header = PqPostingGetHeader(page);
	int			slots[64 * PQ_BLOCK];
	float		sums[PQ_BLOCK * PQ_TILE];
	int			n = 0;

	for (int slot = 0; slot < header->nused; slot++)
		if (PqPostingLive(page, layout)[slot / PQ_BLOCK] >> (slot % PQ_BLOCK) & 1)
			slots[n++] = slot;
	for (int start = 0; start < n; start += PQ_BLOCK)
	{
		int			some = Min(PQ_BLOCK, n - start);

		for (int i = 0; i < some; i++)
		{
			float	   *point = points + (size_t) i * model->space_dims;

			pq_read_refined(c->index, c->pq, list, page, slots[start + i], c->origin, point, &errors[i]);
			if (!PqListIsFlat(c->pq, list) && (int64) c->entries % c->step == 0 && c->nwrong < MOST_CODES)
				look_at_code(c, page, list, slots[start + i], point);
			c->entries++;
		}
		for (int t = 0; t < PqRoundTile(c->nqueries) / PQ_TILE; t++)
		{
			const float *tile = c->tiles + (size_t) t * model->space_dims * PQ_TILE;

			memset(sums, 0, sizeof(float) * PQ_TILE * some);
			if (model->metric == PQ_METRIC_IP)
				pq_kernels->tile_dots(points, model->space_dims, some, tile, model->space_dims, sums);
			else
				pq_kernels->tile_l2(points, model->space_dims, some, tile, model->space_dims, sums);
			for (int i = 0; i < some; i++)
			{
				PqNeighbour entry = {0, list, block, slots[start + i]};

				compare_entry(c, t, points + (size_t) i * model->space_dims, errors[i], sums + i * PQ_TILE, &entry);
			}
		}
	}
}

static int
compare_floats(const void *a, const void *b)
{
	float		x = *(const float *) a;
	float		y = *(const float *) b;

	return x < y ? -1 : x > y;
}

/*
 * From which error of a code on, and below which difference of codes, a row is an
 * outlier.
 */
static void
set_outlier_limits(PqCalibration *c)
{
	PqMetaPageData *meta = c->meta;
	float		most;

	meta->outlier = 0;
	meta->usual = 0;
	meta->alike = 0;
	if (c->nwrong == 0)
		return;
	qsort(c->wrong, c->nwrong, sizeof(float), compare_floats);
	qsort(c->differ, c->nwrong, sizeof(float), compare_floats);
	most = c->wrong[(int) (c->nwrong * MOST)];
	meta->usual = most;
	if (meta->tuples < PQ_SMALL_ROWS)
		meta->outlier = most * MOST_MARGIN_SMALL;
	else
		meta->outlier = Min(c->wrong[(int) (c->nwrong * NEARLY_ALL)] * NEARLY_ALL_MARGIN, most * MOST_MARGIN);
	meta->alike = (int32) (c->differ[(int) (c->nwrong * (1 - NEARLY_ALL_DIFFER))] * DIFFER_MARGIN);
}

/* Find the neighbours of all queries. */
static void
find_neighbours(PqCalibration *c)
{
	PqIndex    *pq = c->pq;
	PGAlignedBlock *copy = palloc(sizeof(PGAlignedBlock));
	float	   *points = palloc(sizeof(float) * PQ_BLOCK * pq->model->space_dims);
	float		errors[PQ_BLOCK];

	for (uint32 list = 0; list < PqMetaLists(&pq->meta); list++)
	{
		BlockNumber block = pq_list_head(pq, c->index, list);

		if (block != InvalidBlockNumber && !PqListIsFlat(pq, list))
		{
			pq_read_origin(c->index, pq, list, c->origin);
			pq_read_centroid(c->index, pq, list, c->centroid);
		}
		while (block != InvalidBlockNumber)
		{
			Buffer		buffer = pq_read(pq, c->index, block);

			CHECK_FOR_INTERRUPTS();
			LockBuffer(buffer, BUFFER_LOCK_SHARE);
			pq_posting_check(c->index, buffer, PqListLayout(pq, list), list);
			memcpy(copy->data, BufferGetPage(buffer), BLCKSZ);
			UnlockReleaseBuffer(buffer);
			measure_page(c, copy->data, block, list, points, errors);
			block = PqPostingGetHeader(copy->data)->next;
		}
	}
	for (int q = 0; q < c->nqueries; q++)
		qsort(c->neighbours + (size_t) q * c->depth, c->counts[q], sizeof(PqNeighbour), compare_neighbours);
	pfree(copy);
	pfree(points);
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
			off = pq_code_wrong(model, neighbour->list, point, centroid, codes) / length;
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
 * if there are none the old ones stay.  Returns the highest recall that can be
 * reached for every k measured.
 */
double
pq_calibrate(Relation index, PqIndex *pq, const PqQueries *some, PqMetaPageData *meta)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pq calibration", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	PqCalibration c = {.index = index,.meta = meta,.queries = some->points,.nrows = some->nrows,.nusual = some->nusual,
	.nqueries = some->n};
	const float *queries = some->points;
	int			nrows = some->nrows;
	int			nqueries = some->n;
	const PqModel *model;
	float	   *rows;
	double		least = 1;

	c.pq = pq;
	model = c.pq->model;
	c.search = pq_search_begin(index, c.pq);
	c.depth = 1;
	c.deep_each = Max((nqueries + MOST_DEEP - 1) / MOST_DEEP, 1);
	for (int i = 0; i < PQ_CURVES; i++)
		if (meta->tuples >= (double) rows_wanted[i] * LARGE_ENOUGH)
			c.depth = Max(rows_wanted[i], PQ_NEAREST_TRIED);
	c.tiles = palloc(sizeof(float) * (Size) PqRoundTile(nqueries + 1) * model->space_dims);
	c.norms = palloc0(sizeof(float) * PqRoundTile(nqueries + 1));
	rows = palloc0(sizeof(float) * (Size) (nqueries + 1) * model->space_dims);
	for (int q = 0; q < nqueries; q++)
		memcpy(rows + (size_t) q * model->space_dims, queries + (size_t) q * model->padded, sizeof(float) * model->space_dims);
	pq_make_tiles(rows, nqueries, model->space_dims, c.tiles, c.norms);
	for (int q = 0; q < nqueries; q++)
		c.norms[q] = pq_kernels->dot(rows + (size_t) q * model->space_dims, rows + (size_t) q * model->space_dims, model->space_dims);
	c.origin = palloc(sizeof(float) * model->padded);
	c.centroid = palloc(sizeof(float) * model->padded);
	c.wrong = palloc(sizeof(float) * MOST_CODES);
	c.differ = palloc(sizeof(float) * MOST_CODES);
	c.step = (int64) ceil(Max(meta->tuples, 1) / MOST_CODES);
	pfree(rows);
	c.neighbours = palloc_extended(sizeof(PqNeighbour) * (Size) (nqueries + 1) * c.depth, MCXT_ALLOC_HUGE);
	c.counts = palloc0(sizeof(int) * (nqueries + 1));
	c.own = palloc(sizeof(PqNeighbour) * (nrows + 1));
	for (int q = 0; q < nrows; q++)
		c.own[q].block = InvalidBlockNumber;
	c.taxicab = palloc0(sizeof(double) * (nqueries + 1));
	c.strangeness = palloc0(sizeof(float) * (nqueries + 1));
	c.limits = palloc(sizeof(float) * PqRoundTile(nqueries + 1));
	for (int q = 0; q < PqRoundTile(nqueries + 1); q++)
		c.limits[q] = q < nqueries ? INFINITY : -INFINITY;
	find_neighbours(&c);
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
