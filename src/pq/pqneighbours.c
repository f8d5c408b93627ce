/*
 * pqneighbours.c
 *		Finding the true neighbours of many queries, of one process's part of the
 *		lists.
 *
 * All refine codes are read once, and each is compared with all queries.  What takes
 * the time is to see that most of them are not near, so that is seen by whole numbers
 * where it can be: a query, as seen from the origin of a list and in units of the
 * refine codes, becomes a byte for each dimension, whose products with the bytes of
 * a code a kernel adds.  What is made of them is a lower bound of the distance, since
 * what rounding to bytes has taken from the query is at most the length of that
 * times the length of the code.  Where a bound is within what is wanted the distance
 * is computed from the vectors themselves.  So nothing is missed, and what is found
 * does not depend on the bounds.
 *
 * Nor does it depend on the order in which lists are read, or on which of several
 * processes reads them: of equal distances the one whose place in the index comes
 * first counts as nearer.
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "miscadmin.h"
#include "utils/rel.h"

#include "pq/pqneighbours.h"

/* Entries that are compared together. */
#define BATCH 32

struct PqFinder
{
	Relation	index;
	PqIndex    *pq;
	const PqSought *sought;
	PqFoundPart part;
	pg_atomic_uint32 *shared;	/* ranks of limits of all who seek, or NULL */
	int			ntiles;			/* of queries */
	float	   *norms;			/* squared */
	float	   *limits;			/* distances beyond are not near enough */
	PqNeighbour *edges;			/* the last of those that are */
	PGAlignedBlock *page;
	float	   *read_origin;	/* of the list that is read */

	/* queries as seen from an origin: see see_queries() */
	bool		seen;
	float	   *origin;
	int			nrows;			/* of a tile of bytes */
	int8	   *tiles;
	float	   *terms;			/* [ntiles][PQ_NEAR_TERMS][16] */
	float	   *offsets;		/* the first of those, but for limits */
	float	   *ones;			/* room for [space_dims], of ones and others */
	float	   *way;
	float	   *scaled;
	float	   *rest;
	float		rounding;		/* what floats may be wrong by, relatively */
	float		unit;			/* of refine codes, the usual one */

	/* entries that are compared next */
	int			n;
	float	   *points;			/* [BATCH][space_dims] */
	uint8	   *codes;			/* [BATCH][4 * nrows] */
	float		entries[BATCH * PQ_NEAR_TERMS];
	float		errors[BATCH];
	PqNeighbour places[BATCH];
};

static inline bool
before(const PqNeighbour *a, const PqNeighbour *b)
{
	if (a->distance != b->distance)
		return a->distance < b->distance;
	if (a->block != b->block)
		return a->block < b->block;
	return a->slot < b->slot;
}

/* For qsort: by distance, then place. */
int
pq_compare_neighbours(const void *a, const void *b)
{
	return before(a, b) ? -1 : before(b, a);
}

/*
 * Neighbours that there is room for while they are sought: what comes is put behind
 * the others, and when there is no room left the nearest are kept.
 */
int
pq_sought_room(const PqSought *sought, int q)
{
	int			depth = pq_sought_depth(sought, q);

	return depth + Max(depth / 2, 16);
}

/* What a part takes. */
Size
pq_part_size(const PqSought *sought)
{
	Size		size = MAXALIGN(sizeof(PqNeighbour) * sought->nrows) + MAXALIGN(sizeof(int32) * sought->nqueries);

	for (int q = 0; q < sought->nqueries; q++)
		size += sizeof(PqNeighbour) * pq_sought_room(sought, q);
	return size;
}

/* Where in its memory what is. */
void
pq_part_init(const PqSought *sought, void *memory, PqFoundPart *part)
{
	char	   *at = memory;

	part->own = (PqNeighbour *) at;
	at += MAXALIGN(sizeof(PqNeighbour) * sought->nrows);
	part->counts = (int32 *) at;
	at += MAXALIGN(sizeof(int32) * sought->nqueries);
	part->neighbours = (PqNeighbour *) at;
}

/*
 * Start to seek, with what is found in memory of pq_part_size() bytes.
 */
PqFinder *
pq_finder_begin(Relation index, PqIndex *pq, const PqSought *sought, void *part, pg_atomic_uint32 *limits)
{
	const PqModel *model = pq->model;
	PqFinder   *f = palloc0(sizeof(PqFinder));
	int			dims = model->space_dims;
	double		square = 0;

	f->index = index;
	f->pq = pq;
	f->sought = sought;
	pq_part_init(sought, part, &f->part);
	f->shared = limits;
	f->ntiles = PqRoundTile(sought->nqueries) / PQ_TILE;
	f->norms = palloc0(sizeof(float) * f->ntiles * PQ_TILE);
	f->limits = palloc(sizeof(float) * f->ntiles * PQ_TILE);
	f->edges = palloc0(sizeof(PqNeighbour) * f->ntiles * PQ_TILE);
	for (int q = 0; q < f->ntiles * PQ_TILE; q++)
		f->limits[q] = f->edges[q].distance = q < sought->nqueries ? INFINITY : -INFINITY;
	for (int q = 0; q < sought->nqueries; q++)
	{
		const float *query = sought->queries + (size_t) q * model->padded;

		f->norms[q] = pq_kernels->dot(query, query, dims);
		f->part.counts[q] = 0;
	}
	for (int q = 0; q < sought->nrows; q++)
		f->part.own[q].block = InvalidBlockNumber;
	f->page = palloc(sizeof(PGAlignedBlock));
	f->read_origin = palloc0(sizeof(float) * model->padded);
	f->origin = palloc0(sizeof(float) * model->padded);
	f->nrows = (dims + PQ_NEAR_BYTES - 1) / PQ_NEAR_BYTES;
	f->tiles = palloc0((Size) f->ntiles * f->nrows * PQ_NEAR_BYTES * PQ_TILE);
	f->terms = palloc0(sizeof(float) * f->ntiles * PQ_NEAR_TERMS * PQ_TILE);
	f->offsets = palloc0(sizeof(float) * f->ntiles * PQ_TILE);
	f->ones = palloc(sizeof(float) * dims);
	f->way = palloc(sizeof(float) * dims);
	f->scaled = palloc(sizeof(float) * dims);
	f->rest = palloc(sizeof(float) * dims);
	for (int j = 0; j < dims; j++)
	{
		float		spread = PqModelIsFlat(model) ? 1 : PqModelArray(model, spread, float)[j];

		f->ones[j] = 1;
		square += (double) spread * spread;
	}
	f->unit = (float) sqrt(square / dims);
	/* sums of so many products, of some that were rounded before */
	f->rounding = (2 * dims + 64) * (FLT_EPSILON / 2);
	f->points = palloc(sizeof(float) * BATCH * dims);
	f->codes = palloc0((Size) BATCH * f->nrows * PQ_NEAR_BYTES);
	return f;
}

static inline void
swap(PqNeighbour *a, PqNeighbour *b)
{
	PqNeighbour t = *a;

	*a = *b;
	*b = t;
}

/* Put the k nearest of n > k in front, the farthest of them last. */
static void
select_nearest(PqNeighbour *some, int n, int k)
{
	int			low = 0;
	int			high = n - 1;

	while (low < high)
	{
		int			i = low;
		int			j = high;
		PqNeighbour pivot;

		/* the middle one of three */
		if (before(&some[high], &some[low]))
			swap(&some[high], &some[low]);
		pivot = some[low + (high - low) / 2];
		if (before(&pivot, &some[low]))
			pivot = some[low];
		else if (before(&some[high], &pivot))
			pivot = some[high];
		while (i <= j)
		{
			while (before(&some[i], &pivot))
				i++;
			while (before(&pivot, &some[j]))
				j--;
			if (i <= j)
				swap(&some[i++], &some[j--]);
		}
		if (k - 1 <= j)
			high = j;
		else if (k - 1 >= i)
			low = i;
		else
			break;
	}
}

/* Tell the others what is not near enough, and hear it from them. */
static void
share_limit(PqFinder *f, int q)
{
	uint32		rank = PqRankOf(f->limits[q]);
	uint32		theirs;

	if (!f->shared)
		return;
	theirs = pg_atomic_read_u32(&f->shared[q]);
	while (rank < theirs && !pg_atomic_compare_exchange_u32(&f->shared[q], &theirs, rank))
		;
	if (theirs < rank)
		f->limits[q] = PqEstimateOf(theirs);
}

/* Keep the nearest of a query's neighbours. */
static void
keep_nearest(PqFinder *f, int q, PqNeighbour *some)
{
	int			depth = pq_sought_depth(f->sought, q);

	if (f->part.counts[q] < depth)
		return;
	if (f->part.counts[q] > depth)
		select_nearest(some, f->part.counts[q], depth);
	else
		for (int i = 0; i < depth - 1; i++)
			if (before(&some[depth - 1], &some[i]))
				swap(&some[depth - 1], &some[i]);
	f->part.counts[q] = depth;
	f->edges[q] = some[depth - 1];
	f->limits[q] = Min(f->limits[q], f->edges[q].distance);
	share_limit(f, q);
}

/* Where a query's neighbours are. */
static PqNeighbour *
neighbours_of(PqFinder *f, int q)
{
	const PqSought *sought = f->sought;
	int			deep = (q + sought->deep_each - 1) / sought->deep_each;

	/* queries 0, deep_each, ... are deep, so is query 0 in any case */
	return f->part.neighbours + (Size) deep * pq_sought_room(sought, 0) +
		(q > deep ? (Size) (q - deep) * pq_sought_room(sought, 1) : 0);
}

/*
 * Compare an entry with a query by their vectors.  A query may be the vector of a
 * row, so what lies on it is that row or a copy and is no neighbour; but such a row
 * has to be found, too.  Under inner products nothing lies on a query.
 */
static void
compare(PqFinder *f, int q, const float *point, float error, const PqNeighbour *place)
{
	const PqModel *model = f->pq->model;
	const float *query = f->sought->queries + (size_t) q * model->padded;
	float		on = error * error * 1.01f + 2e-13f * f->norms[q];
	PqNeighbour neighbour = *place;
	float		square;

	if (model->metric == PQ_METRIC_IP)
		neighbour.distance = -pq_kernels->dot(point, query, model->space_dims);
	else if (model->metric == PQ_METRIC_L1)
	{
		neighbour.distance = pq_l1(point, query, model->space_dims);
		/* squared, and multiplied later by what is measured */
		neighbour.distance *= neighbour.distance;
	}
	else
		neighbour.distance = pq_kernels->l2(point, query, model->space_dims);
	if (model->metric != PQ_METRIC_IP &&
		neighbour.distance <= on * (model->metric == PQ_METRIC_L1 ? 1.01f * model->space_dims : 1))
	{
		square = model->metric == PQ_METRIC_L1 ? pq_kernels->l2(point, query, model->space_dims) : neighbour.distance;
		if (square <= on)
		{
			if (q < f->sought->nrows && (f->part.own[q].block == InvalidBlockNumber ||
										 place->block < f->part.own[q].block ||
										 (place->block == f->part.own[q].block && place->slot < f->part.own[q].slot)))
				f->part.own[q] = neighbour;
			return;
		}
	}
	if (!(neighbour.distance <= f->limits[q]) || !before(&neighbour, &f->edges[q]))
		return;
	neighbours_of(f, q)[f->part.counts[q]++] = neighbour;
	if (f->part.counts[q] == pq_sought_room(f->sought, q) ||
		(f->part.counts[q] == pq_sought_depth(f->sought, q) && !isfinite(f->edges[q].distance)))
		keep_nearest(f, q, neighbours_of(f, q));
}

/*
 * A query as the origin sees it: bytes, and what there is to bounds beside their
 * products.  With w the way from the origin to the query (under inner products the
 * query), u the same in units of the refine codes and b * unit + rest that as bytes,
 * and a code that stands for low + step * byte in these units, the inner product of
 * w and the way to the entry is
 *
 * low * sum of u + step * (unit * sum of b * byte + sum of rest * byte),
 *
 * where the last sum is at most that of rest times the mean byte, and the length of
 * rest times that of the bytes' differences from their mean.
 */
static void
see_query(PqFinder *f, int q)
{
	const PqModel *model = f->pq->model;
	const float *spread = PqModelArray(model, spread, float);
	const float *query = f->sought->queries + (size_t) q * model->padded;
	bool		ip = model->metric == PQ_METRIC_IP;
	int			dims = model->space_dims;
	int			column = q % PQ_TILE;
	int			most = pq_kernels->near_most;
	int8	   *tile = f->tiles + (size_t) (q / PQ_TILE) * f->nrows * PQ_NEAR_BYTES * PQ_TILE + column * PQ_NEAR_BYTES;
	float	   *terms = f->terms + (size_t) (q / PQ_TILE) * PQ_NEAR_TERMS * PQ_TILE + column;
	float		largest = 0;
	float		length;
	float		unit;
	float		inverse;

	for (int j = 0; j < dims; j++)
	{
		f->way[j] = query[j] - (ip ? 0 : f->origin[j]);
		f->scaled[j] = f->way[j] * spread[j];
		largest = Max(largest, fabsf(f->scaled[j]));
	}
	length = sqrtf(pq_kernels->dot(f->scaled, f->scaled, dims));
	unit = isfinite(length) && largest > FLT_MIN * 1000 ? largest / most : 0;
	inverse = unit > 0 ? 1 / unit : 0;
	for (int j = 0; j < dims; j++)
	{
		int			byte = unit > 0 ? (int) (f->scaled[j] * inverse + (most + 0.5f)) - most : 0;

		byte = Max(-most, Min(byte, most));
		f->rest[j] = f->scaled[j] - unit * byte;
		tile[j / PQ_NEAR_BYTES * PQ_NEAR_BYTES * PQ_TILE + j % PQ_NEAR_BYTES] = byte;
	}
	terms[1 * PQ_TILE] = pq_kernels->dot(f->scaled, f->ones, dims);
	terms[2 * PQ_TILE] = pq_kernels->dot(f->rest, f->ones, dims);
	terms[3 * PQ_TILE] = sqrtf(pq_kernels->dot(f->rest, f->rest, dims)) * (1 + f->rounding);
	terms[4 * PQ_TILE] = length / f->unit + (ip ? sqrtf(f->norms[q]) : 0);
	terms[5 * PQ_TILE] = unit;
	if (ip)
		f->offsets[q] = -pq_kernels->dot(query, f->origin, dims) -
			f->rounding * sqrtf(f->norms[q] * pq_kernels->dot(f->origin, f->origin, dims));
	else
		f->offsets[q] = pq_kernels->dot(f->way, f->way, dims) * (1 - f->rounding) - 2.1e-13f * f->norms[q];
	/* nothing is known of what cannot be computed */
	if (!isfinite(length) || !isfinite(f->offsets[q]))
		f->offsets[q] = -INFINITY;
}

/* Compare the entries that have come with all queries. */
static void
compare_batch(PqFinder *f)
{
	bool		ip = f->pq->model->metric == PQ_METRIC_IP;
	int			dims = f->pq->model->space_dims;
	uint16		masks[BATCH];
	PqNearScan	scan = {.codes = f->codes,.stride = f->nrows * PQ_NEAR_BYTES,.n = f->n,.nrows = f->nrows,
	.entries = f->entries,.masks = masks};

	for (int t = 0; t < f->ntiles && f->n > 0; t++)
	{
		float	   *terms = f->terms + (size_t) t * PQ_NEAR_TERMS * PQ_TILE;
		const float *limits = f->limits + t * PQ_TILE;

		for (int c = 0; c < PQ_TILE; c++)
			terms[c] = f->offsets[t * PQ_TILE + c] - limits[c] - f->rounding * (ip ? fabsf(limits[c]) : limits[c]);
		/* beyond the last query nothing is near */
		for (int c = f->sought->nqueries - t * PQ_TILE; c < PQ_TILE; c++)
			terms[c] = INFINITY;
		scan.tile = f->tiles + (size_t) t * f->nrows * PQ_NEAR_BYTES * PQ_TILE;
		scan.queries = terms;
		pq_kernels->near_masks(&scan);
		for (int i = 0; i < f->n; i++)
			for (uint32 mask = masks[i]; mask; mask &= mask - 1)
			{
				int			q = t * PQ_TILE + pg_rightmost_one_pos32(mask);

				if (q < f->sought->nqueries)
					compare(f, q, f->points + (size_t) i * dims, f->errors[i], &f->places[i]);
			}
	}
	f->n = 0;
}

/* See all queries from this origin, when what has come from the last one is compared. */
static void
see_queries(PqFinder *f, const float *origin)
{
	Size		bytes = sizeof(float) * f->pq->model->space_dims;

	if (f->seen && memcmp(f->origin, origin, bytes) == 0)
		return;
	compare_batch(f);
	memcpy(f->origin, origin, bytes);
	for (int q = 0; q < f->sought->nqueries; q++)
		see_query(f, q);
	f->seen = true;
}

/*
 * Have an entry compared: with others of its list, or at once with each query where
 * it has no code, or where bounds of Euclidean distances say nothing.
 */
static void
add_entry(PqFinder *f, const PqNeighbour *place)
{
	const PqModel *model = f->pq->model;
	bool		flat = PqListIsFlat(f->pq, place->list);
	bool		ip = model->metric == PQ_METRIC_IP;
	int			dims = model->space_dims;
	float	   *point = f->points + (size_t) f->n * dims;
	float	   *entry = f->entries + f->n * PQ_NEAR_TERMS;
	float		times = ip ? 1 : 2;
	char		code[PQ_MAX_PARTS * PQ_REFINE_BYTES];
	const uint8 *bytes = (const uint8 *) code + sizeof(PqRefineHeader);
	PqRefineHeader header;
	int32		sum = 0;
	int32		squares = 0;
	float		norm;

	pq_read_code(f->index, f->pq, place->list, f->page->data, place->slot, code);
	f->errors[f->n] = pq_refine_decode(model, flat, code, f->read_origin, point);
	if (flat || model->metric == PQ_METRIC_L1)
	{
		for (int q = 0; q < f->sought->nqueries; q++)
			compare(f, q, point, f->errors[f->n], place);
		return;
	}
	memcpy(&header, code, sizeof(header));
	memcpy(f->codes + (size_t) f->n * f->nrows * PQ_NEAR_BYTES, bytes, dims);
	for (int j = 0; j < dims; j++)
	{
		sum += bytes[j];
		squares += bytes[j] * bytes[j];
	}
	norm = pq_kernels->dot(point, point, dims);
	entry[0] = 0;

	/*
	 * the point was rounded, and may be as far from a query as its error
	 * tells
	 */
	if (!ip)
		entry[0] = pq_kernels->l2(point, f->origin, dims) * (1 - 2 * f->rounding) -
			norm * (FLT_EPSILON / 8) - f->errors[f->n] * f->errors[f->n] * 1.02f;
	entry[1] = -times * header.low;
	entry[2] = -times * header.step * ((float) sum / dims);
	entry[3] = -times * header.step * (1 + f->rounding) *
		(float) sqrt(Max(squares - (double) sum * sum / dims, 0));
	entry[4] = -times * f->rounding *
		(f->unit * (fabsf(header.low) * sqrtf(dims) + header.step * sqrtf(squares)) + (ip ? 2 * sqrtf(norm) : 0));
	entry[5] = -times * header.step;
	f->places[f->n++] = *place;
	if (f->n == BATCH)
		compare_batch(f);
}

/*
 * Compare the entries of a list.
 */
void
pq_finder_list(PqFinder *f, uint32 list)
{
	PqIndex    *pq = f->pq;
	const PqModel *model = pq->model;
	const PqLayout *layout = PqListLayout(pq, list);
	BlockNumber block = pq_list_head(pq, f->index, list);
	Page		page = f->page->data;

	if (block == InvalidBlockNumber)
		return;
	if (!PqListIsFlat(pq, list))
	{
		pq_read_origin(f->index, pq, list, f->read_origin);
		if (model->metric != PQ_METRIC_L1 && model->absolute)
			memset(f->read_origin, 0, sizeof(float) * model->space_dims);
		if (model->metric != PQ_METRIC_L1)
			see_queries(f, f->read_origin);
	}
	while (block != InvalidBlockNumber)
	{
		Buffer		buffer = pq_read(pq, f->index, block);

		CHECK_FOR_INTERRUPTS();
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		pq_posting_check(f->index, buffer, layout, list);
		memcpy(page, BufferGetPage(buffer), BLCKSZ);
		UnlockReleaseBuffer(buffer);
		for (int q = 0; q < f->sought->nqueries && f->shared; q++)
			share_limit(f, q);
		for (int slot = 0; slot < PqPostingGetHeader(page)->nused; slot++)
		{
			PqNeighbour place = {0, list, block, slot};

			if (PqPostingLive(page, layout)[slot / PQ_BLOCK] >> (slot % PQ_BLOCK) & 1)
				add_entry(f, &place);
		}
		block = PqPostingGetHeader(page)->next;
	}
}

/*
 * Leave nothing but the nearest.
 */
void
pq_finder_end(PqFinder *f)
{
	compare_batch(f);
	for (int q = 0; q < f->sought->nqueries; q++)
		keep_nearest(f, q, neighbours_of(f, q));
}
