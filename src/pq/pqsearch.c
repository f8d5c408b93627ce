/*
 * pqsearch.c
 *		Finding candidates: rank lists, scan codes, refine.
 *
 * A distance is estimated as base(list) + unit(list) * (table sum + term), where what is
 * in brackets is a whole number.  With centroid c, origin o and residual r of a vector x,
 * |q - x|^2 is |q - c|^2 + (|r|^2 + 2 <c - o, r>) - 2 <q - o, r>: the first part is the
 * list's score, the second the term, and the last comes from a table for the origin, made
 * when a list of that origin is scanned first.  Estimates of one query are the same
 * whenever they are computed, so each list remembers up to which estimate its entries were
 * taken, and is scanned again for the others if more are wanted (pqgather.c).
 *
 * Posting pages are read under a share lock and pinned no longer than that.  What an
 * entry's TID and refine code are does not change as long as a snapshot can see its row:
 * slots are only used again after VACUUM found the row dead to all.  One that was used
 * again meanwhile is of a row that our (MVCC) snapshot cannot see: the heap drops it.
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "compat.h"
#include "pq/pq.h"

/* Refine pages that are pinned ahead, so that their bytes are on their way. */
#define AHEAD 8
/* Lists that say how far a query is from where rows are. */
#define NEAR_LISTS 6
/* Largest factor of terms that kernels take. */
#define MAX_TERM_FACTOR 32000
/* What operators may be off by, for each square root of a dimension. */
#define OPERATOR_ROUNDING 2e-7
/* Sums of whole numbers up to here are exact in floats, whatever their order. */
#define MOST_EXACT 16777216.0

/* A search of an index, without a query yet; in the current memory context. */
PqSearch *
pq_search_begin(Relation index, PqIndex *pq)
{
	PqSearch   *search = palloc0(sizeof(PqSearch));
	const PqModel *model = pq->model;

	search->index = index;
	search->pq = pq;
	search->query = palloc0(sizeof(float) * model->padded);
	if (PqModelIsFlat(model))
		return search;
	search->frame_context = AllocSetContextCreate(CurrentMemoryContext, "pq frames", ALLOCSET_DEFAULT_SIZES);
	search->frames = palloc0(sizeof(PqFrame *) * model->ngroups);
	search->origin = palloc0(sizeof(float) * model->padded);
	search->refine_weight = palloc(sizeof(float) * model->space_dims);
	if (model->metric == PQ_METRIC_L1)
	{
		const float *spread = PqModelArray(model, spread, float);

		search->square_weight = palloc(sizeof(float) * model->space_dims);
		for (int j = 0; j < model->space_dims; j++)
			search->square_weight[j] = spread[j] * spread[j];
	}
	return search;
}

/* See that a locked posting page is one of a list, and not too new for the snapshot. */
void
pq_search_check(const PqSearch *search, Buffer buffer, uint32 list)
{
	pq_posting_check(search->index, buffer, PqListLayout(search->pq, list), list);
	test_old_snapshot_compat(search->snapshot, search->index, BufferGetPage(buffer));
}

/*
 * The table of a frame for estimating distances to a query, in 8 bits per entry.
 */
static void
make_table(const PqModel *model, const float *query, PqFrame *frame)
{
	float		values[PQ_MAX_SUBVECTORS * PQ_TILE];
	float		low[PQ_MAX_SUBVECTORS];
	float		factor = model->metric == PQ_METRIC_IP ? -1.0f : -2.0f;
	float		range = 0;
	double		bias = 0;
	float		scale;

	for (int m = 0; m < model->subvectors; m++)
	{
		float	   *v = values + m * PQ_TILE;
		float		high;

		memset(v, 0, sizeof(float) * PQ_TILE);
		pq_kernels->tile_dots(query + m * model->width, 0, 1,
							  PqModelArray(model, codebooks, float) + (size_t) m * model->width * PQ_TILE,
							  model->width, v);
		low[m] = high = v[0] * factor;
		for (int k = 0; k < PQ_TILE; k++)
		{
			v[k] *= factor;
			low[m] = Min(low[m], v[k]);
			high = Max(high, v[k]);
		}
		range = Max(range, high - low[m]);
		bias += low[m];
	}
	scale = range / 255;
	if (!(scale > 1e-30f) || !isfinite(scale))
		scale = 1e-30f;
	for (int m = 0; m < model->subvectors; m++)
		for (int k = 0; k < PQ_TILE; k++)
		{
			float		entry = (values[m * PQ_TILE + k] - low[m]) / scale + 0.5f;

			frame->table[m * PQ_TILE + k] = entry < 255 ? (uint8) (int32) entry : 255;
		}
	frame->table_scale = scale;
	frame->table_bias = bias;
}

/* Room for a frame. */
static PqFrame *
alloc_frame(PqSearch *search)
{
	const PqModel *model = search->pq->model;
	Size		table = model->nquads * PQ_QUAD_BYTES;
	PqFrame    *frame = MemoryContextAllocZero(search->frame_context, sizeof(PqFrame) + 64 + table + sizeof(float) * model->space_dims);

	frame->table = (uint8 *) TYPEALIGN(64, frame + 1);
	frame->refine_query = (float *) (frame->table + table);
	return frame;
}

/*
 * Look at the query from an origin.  Under inner products, which are sums of those
 * with the origin and with the way from there, the table is the same for all.
 */
static void
fill_frame(PqSearch *search, const float *origin, PqFrame *frame)
{
	const PqModel *model = search->pq->model;
	const float *spread = PqModelArray(model, spread, float);
	float		way[PQ_MAX_SUBVECTORS * PQ_MAX_WIDTH];
	const float *from = model->absolute ? search->query : way;
	bool		whole = model->whole && search->lost == 0;

	if (model->metric == PQ_METRIC_IP)
	{
		frame->refine_bias = search->refine_bias;
		for (int j = 0; j < model->space_dims; j++)
		{
			frame->refine_query[j] = search->query[j] * spread[j];
			frame->refine_bias += model->absolute ? 0 : (double) search->query[j] * origin[j];
		}
		frame->slack = search->lost;
		make_table(model, search->query, frame);
		return;
	}
	memset(way + model->space_dims, 0, sizeof(float) * (model->padded - model->space_dims));
	for (int j = 0; j < model->space_dims; j++)
	{
		way[j] = search->query[j] - origin[j];
		frame->refine_query[j] = from[j] / spread[j];
		whole = whole && from[j] == rintf(from[j]);
	}
	frame->slack = search->lost;
	if (!whole)
		frame->slack += sqrtf(pq_kernels->dot(from, from, model->space_dims)) * FLT_EPSILON;
	make_table(model, way, frame);
}

/*
 * The frame of a list.  That of a list which is its own origin is valid until the
 * next one, unless it is to be kept; then no other shares it.
 */
static PqFrame *
list_frame(PqSearch *search, uint32 list, bool keep)
{
	const PqModel *model = search->pq->model;
	PqFrame    *kept = NULL;
	PqFrame   **frame = keep ? &kept : &search->own;

	if (!PqListIsOwn(model, list))
	{
		frame = &search->frames[pq_list_group(model, list)];
		if (*frame)
			return *frame;
	}
	if (!*frame)
		*frame = alloc_frame(search);
	pq_read_origin(search->index, search->pq, list, search->origin);
	fill_frame(search, search->origin, *frame);
	return *frame;
}

/* No list is ranked. */
static void
forget_ranking(PqSearch *search)
{
	if (!search->groups)
		return;
	pfree(search->groups);
	pfree(search->rest);
	search->groups = search->rest = NULL;
	search->next_group = search->nrest = 0;
}

/*
 * Start a search for the points nearest to a query of the index space, which lost
 * so much when it became one.
 */
void
pq_search_query(PqSearch *search, const float *query, float lost)
{
	const PqModel *model = search->pq->model;
	const float *spread = PqModelArray(model, spread, float);

	memcpy(search->query, query, sizeof(float) * model->padded);
	/* in floats that of a short query would be 0 */
	search->norm = 0;
	for (int j = 0; j < model->space_dims; j++)
		search->norm += (double) query[j] * query[j];
	search->nprobes = 0;
	forget_ranking(search);
	search->ncandidates = 0;
	search->refine_bias = search->refine_sum = search->refine_rounding = 0;
	search->lost = lost;
	search->taxicab = 0;
	if (PqModelIsFlat(model))
		return;
	memset(search->frames, 0, sizeof(PqFrame *) * model->ngroups);
	search->own = NULL;
	MemoryContextReset(search->frame_context);
	for (int j = 0; j < model->space_dims; j++)
	{
		if (model->metric == PQ_METRIC_IP)
		{
			search->refine_sum += query[j] * spread[j];
			search->refine_rounding += spread[j] * spread[j];
			search->refine_bias += (double) query[j] * PqModelArray(model, centre, float)[j];
		}
		search->refine_weight[j] = model->metric == PQ_METRIC_L1 ? spread[j] : spread[j] * spread[j];
	}
	search->refine_rounding = sqrtf(search->refine_rounding) * FLT_EPSILON;
}

typedef struct ScoredList
{
	float		score;
	uint32		slot;
} ScoredList;

#define ST_SORT sort_scored
#define ST_ELEMENT_TYPE ScoredList
#define ST_COMPARE(a, b) ((a)->score < (b)->score ? -1 : (a)->score > (b)->score ? 1 : (a)->slot < (b)->slot ? -1 : 1)
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

#define SELECT_NAME select_scored
#define SELECT_ELEMENT_TYPE ScoredList
#define SELECT_BEFORE(a, b) ((a)->score < (b)->score)
#include "index/select_template.h"

/* Are lists ranked by inner products? */
#define BY_PRODUCT(search) ((search)->pq->model->metric == PQ_METRIC_IP && !(search)->assign)

/*
 * How far the query is from a centroid, smaller being nearer, given the sum of a
 * tile's column.
 */
static inline float
list_score(const PqSearch *search, float sum, float bias)
{
	float		score = BY_PRODUCT(search) ? -sum : sum;

	if (isinf(bias))
		return INFINITY;
	return isfinite(score) ? score : FLT_MAX;
}

/* Add rows of a tile to the sums of its columns. */
static inline void
add_rows(const PqSearch *search, int first, const float *tile, int rows, float *sums)
{
	if (BY_PRODUCT(search))
		pq_kernels->tile_dots(search->query + first, 0, 1, tile, rows, sums);
	else
		pq_kernels->tile_l2(search->query + first, 0, 1, tile, rows, sums);
}

/*
 * Score the lists of tiles first .. end - 1, reading their rows from pages.
 * Pages of centroids never change, so a pin is enough.
 */
static int
score_tiles(PqSearch *search, int first, int end, ScoredList *out)
{
	const PqModel *model = search->pq->model;
	const float *bias = PqModelArray(model, bias, float);
	Size		row = (Size) first * model->space_dims;
	Buffer		buffer = InvalidBuffer;
	BlockNumber at = InvalidBlockNumber;
	int			n = 0;

	for (int t = first; t < end; t++)
	{
		float		sums[PQ_TILE] = {0};

		for (int j = 0; j < model->space_dims;)
		{
			BlockNumber block = search->pq->meta.tiles_start + row / PQ_ROWS_PER_PAGE;
			int			offset = row % PQ_ROWS_PER_PAGE;
			int			rows = Min(model->space_dims - j, PQ_ROWS_PER_PAGE - offset);

			if (block != at)
			{
				if (BufferIsValid(buffer))
					ReleaseBuffer(buffer);
				buffer = pq_read(search->pq, search->index, block);
				at = block;
			}
			pq_page_check(search->index, buffer, PQ_PAGE_TILES);
			add_rows(search, j, (float *) ((char *) BufferGetPage(buffer) + PQ_STREAM_START + offset * PQ_ROW_BYTES), rows, sums);
			j += rows;
			row += rows;
		}
		for (int c = 0; c < PQ_TILE; c++)
		{
			uint32		slot = t * PQ_TILE + c;
			float		score = list_score(search, sums[c], bias[slot]);

			if (!isinf(score))
			{
				out[n].score = score;
				out[n++].slot = slot;
			}
		}
	}
	if (BufferIsValid(buffer))
		ReleaseBuffer(buffer);
	return n;
}

/*
 * Order the groups by distance.
 */
static ScoredList *
rank_groups(PqSearch *search)
{
	const PqModel *model = search->pq->model;
	ScoredList *groups = palloc(sizeof(ScoredList) * PqRoundTile(model->ngroups));

	for (int t = 0; t < PqModelGroupTiles(model); t++)
	{
		float		sums[PQ_TILE] = {0};

		add_rows(search, 0, PqModelArray(model, group_tiles, float) + (size_t) t * model->space_dims * PQ_TILE, model->space_dims, sums);
		for (int c = 0; c < PQ_TILE; c++)
		{
			int			g = t * PQ_TILE + c;

			groups[g].slot = g;
			groups[g].score = list_score(search, sums[c], PqModelArray(model, group_bias, float)[g]);
		}
	}
	sort_scored(groups, model->ngroups);
	return groups;
}

/*
 * How much farther than the nearest group another one is, whatever the scale.
 */
static inline float
group_excess(const PqSearch *search, float score, float nearest)
{
	return (score - nearest) / Max(BY_PRODUCT(search) ? sqrt(search->norm) : nearest, 1e-30f);
}

/*
 * How unlike the rows the query is, after lists were ranked: how far it is from the
 * lists that are nearest, against how large these are.
 */
float
pq_search_strangeness(const PqSearch *search)
{
	int			n = Min(search->nprobes, NEAR_LISTS);
	double		least = INFINITY;

	for (int i = 0; i < n; i++)
	{
		double		length = pq_list_length(search->pq->model, search->probes[i].slot);
		double		unit = length * (BY_PRODUCT(search) ? sqrt(search->norm) : length);

		least = Min(least, search->probes[i].score / Max(unit, 1e-30));
	}
	return least;
}

/* That of all groups, by their numbers. */
float *
pq_search_groups(PqSearch *search)
{
	int			ngroups = search->pq->model->ngroups;
	ScoredList *groups = rank_groups(search);
	float	   *excess = palloc(sizeof(float) * ngroups);

	for (int g = 0; g < ngroups; g++)
		excess[groups[g].slot] = group_excess(search, groups[g].score, groups[0].score);
	pfree(groups);
	return excess;
}

/*
 * See that a probe has its frame, and how its codes make estimates.
 */
void
pq_probe_prepare(PqSearch *search, PqProbe *probe)
{
	const PqModel *model = search->pq->model;
	double		scale;
	double		factor;

	if (probe->frame || PqModelIsFlat(model))
		return;
	probe->frame = list_frame(search, probe->slot, true);
	scale = PqModelArray(model, scales, float)[probe->slot];
	factor = PqModelArray(model, term_steps, float)[probe->slot] / (scale * probe->frame->table_scale) * 256;
	probe->unit = scale * probe->frame->table_scale;
	probe->base = probe->score + scale * probe->frame->table_bias + PqModelArray(model, term_mins, float)[probe->slot];
	/* terms that are large against the table are added later */
	probe->term_factor = factor <= MAX_TERM_FACTOR ? (int32) rint(factor) : -1;
	probe->term_step = factor <= MAX_TERM_FACTOR ? 0 : PqModelArray(model, term_steps, float)[probe->slot];
}

/*
 * See that the nprobes nearest lists are in search->probes, nearest first, as
 * far as there are so many.  Returns how many there are.  Asked for more than before
 * it goes on where it was.
 */
int
pq_search_rank(PqSearch *search, int nprobes)
{
	const PqModel *model = search->pq->model;
	const int32 *starts = PqModelArray(model, group_starts, int32);
	int			old = search->nprobes;
	ScoredList *lists;
	int			n;
	int			more;

	nprobes = Min(nprobes, model->nlists);
	if (nprobes <= old)
		return old;
	if (!search->groups)
	{
		search->groups = rank_groups(search);
		search->rest = palloc_extended(sizeof(ScoredList) * PqModelSlots(model), MCXT_ALLOC_HUGE);
	}
	lists = search->rest;
	n = search->nrest;
	for (; search->next_group < model->ngroups; search->next_group++)
	{
		const ScoredList *group = &search->groups[search->next_group];

		if (n >= PqListsRanked(nprobes) && n + old >= nprobes &&
			group_excess(search, group->score, search->groups[0].score) > search->pq->meta.look)
			break;
		n += score_tiles(search, starts[group->slot], starts[group->slot + 1], lists + n);
	}
	more = Min(n, nprobes - old);
	if (more < n)
		select_scored(lists, n, more - 1);
	sort_scored(lists, more);
	if (search->probes)
		search->probes = repalloc_huge(search->probes, sizeof(PqProbe) * (old + more));
	else
		search->probes = palloc_extended(sizeof(PqProbe) * more, MCXT_ALLOC_HUGE);
	for (int i = 0; i < more; i++)
	{
		PqProbe    *probe = &search->probes[old + i];

		probe->score = lists[i].score;
		probe->slot = lists[i].slot;
		probe->frame = NULL;
		probe->unit = 0;
		probe->taken = probe->limit = -INFINITY;
	}
	search->nprobes = old + more;
	if (old == 0)
	{
		search->near_lists = 0;
		for (int i = 0; i < Min(more, NEAR_LISTS); i++)
			search->near_lists += search->probes[i].score / Min(more, NEAR_LISTS);
	}
	search->nrest = n - more;
	memmove(lists, lists + more, sizeof(ScoredList) * search->nrest);
	return search->nprobes;
}

/*
 * A distance of the index space as estimates and rules know it: squared, or
 * minus the inner product with the centred point.
 */
double
pq_comparable(const PqSearch *search, double distance)
{
	if (search->pq->model->metric == PQ_METRIC_IP)
		return distance + search->refine_bias;
	if (search->pq->model->metric == PQ_METRIC_L1)
		return distance * distance * (search->taxicab > 0 ? search->taxicab :
									  pq_l1_unit(&search->pq->meta, search->pq->model->space_dims));
	return distance * distance;
}

/*
 * The limit for the sums of a list's entries with estimates up to another; what
 * its own rounding may hide is to be compared later.
 */
int32
pq_scan_limit(const PqProbe *probe, float limit)
{
	double		sum = ((double) limit - probe->base) / probe->unit + 1;

	sum += fabs(sum) * 1e-6;
	if (probe->term_factor < 0 || !(sum < PG_INT32_MAX))
		return PG_INT32_MAX;
	return sum < 0 ? -1 : (int32) sum;
}

/*
 * The standard deviation of projected distances at one of them.
 */
double
pq_projection_deviation(const PqSearch *search, double distance)
{
	const PqModel *model = search->pq->model;

	if (model->metric == PQ_METRIC_IP)
		return sqrt(search->norm) * search->pq->meta.length / sqrt(model->space_dims);
	return distance / sqrt(model->space_dims);
}

/*
 * The distance in the index space beyond which an operator's result is certainly
 * larger than this one, or probably if vectors are projected.
 */
double
pq_search_bound(const PqSearch *search, double result)
{
	double		bound = result;

	if (search->pq->model->metric != PQ_METRIC_IP)
		bound = Max(bound, 0);
	if (search->pq->model->metric == PQ_METRIC_COSINE)
		bound = sqrt(2 * bound);
	if (search->pq->model->distortion > 0)
		bound += pq_projection_deviation(search, bound) * PQ_PROJECTION_DEVIATIONS;
	return bound;
}

/*
 * Make all live entries of a copy of a list's posting page that pass the filters
 * candidates, and tell the distances of their refine codes, as
 * pq_search_refine() does.
 */
void
pq_search_page(PqSearch *search, uint32 list, Page page, double *distances, float *errors)
{
	const PqLayout *layout = PqListLayout(search->pq, list);
	const PqPostingHeader *header = PqPostingGetHeader(page);
	const ItemPointerData *tids = PqPostingTids(page, layout);

	search->ncandidates = 0;
	for (int b = 0; b * PQ_BLOCK < header->nused; b++)
	{
		uint32		mask = PqPostingLive(page, layout)[b] & PqUsedMask(header, b);

		if (mask && search->filters.n > 0)
			mask = ix_filters_mask(&search->filters, (char *) page, &layout->filters, b, mask);
		for (; mask; mask &= mask - 1)
		{
			int			slot = b * PQ_BLOCK + pg_rightmost_one_pos32(mask);
			PqCandidate *c = &search->candidates[search->ncandidates++];

			c->rank = PqCandidateRank(0, ItemPointerGetBlockNumberNoCheck(&tids[slot]));
			c->offset = ItemPointerGetOffsetNumberNoCheck(&tids[slot]);
			c->place = (uint64) header->refine[PqRefineNumber(layout, slot)] << 16 | slot % layout->refine_slots;
			c->probe = slot;
		}
	}
	if (PqListIsFlat(search->pq, list))
		pq_flat_distances(search, list, page, distances, errors);
	else
		pq_search_refine(search, list_frame(search, list, false), distances, errors);
}

/*
 * The least that the operator can answer for a candidate, given the distance of
 * its refine code and that code's error.  Of a projected vector nothing is
 * certain.
 */
double
pq_search_least(const PqSearch *search, double distance, float error)
{
	PqMetric	metric = search->pq->model->metric;
	double		least;

	if (isinf(error) || search->cut_off || search->pq->model->distortion > 0)
		return metric == PQ_METRIC_IP ? -INFINITY : 0;
	if (metric == PQ_METRIC_IP)
	{
		least = distance - (double) error * sqrt(search->norm);
		return error > 0 ? least - fabs(distance) * 1e-5 - FLT_MIN -
			sqrt(search->norm) * search->pq->meta.length * OPERATOR_ROUNDING * sqrt(search->pq->model->dims) : least;
	}
	least = distance;
	/* an error is a length, and sums of floats are not exact */
	if (metric == PQ_METRIC_L1)
		return error > 0 ? Max(0, least * (1 - 1e-5 - FLT_EPSILON * search->pq->model->space_dims) - error * sqrt(search->pq->model->space_dims)) : least;
	if (error > 0)
		least = least * (1 - 1e-5) - error;
	if (least < 0)
		least = 0;
	/* one less a sum of floats: near rows are told apart by its rounding */
	if (metric == PQ_METRIC_COSINE)
		least = least * least / 2 - OPERATOR_ROUNDING * sqrt(search->pq->model->dims);
	return Max(least, 0);
}

/*
 * For each candidate the distance to its refine code (or minus the inner
 * product), and how far that may be off; in its probe's frame, or where that is
 * not NULL in this one.  Candidates that share a page mostly
 * follow each other, since they were found that way.
 *
 * On a primary, refine pages are neither locked nor checked: the bytes of a live
 * entry do not change, whatever else is written to the page, and bytes of a damaged
 * page are a wrong distance at worst.
 */
void
pq_search_refine(PqSearch *search, const PqFrame *frame, double *distances, float *errors)
{
	const PqModel *model = search->pq->model;
	const PqLayout *layout = &search->pq->layout;
	PqCandidate *c = search->candidates;
	int			n = search->ncandidates;
	Buffer		ring[AHEAD];

	for (int i = 0; i < n + AHEAD - 1; i++)
	{
		int			k = i - (AHEAD - 1);
		const char *code;
		const PqFrame *f;
		PqRefineHeader header;
		double		value;

		if (i + AHEAD < n)
			pq_prefetch_pin(search->pq, c[i + AHEAD].place >> 16);
		if (i < n)
		{
			BlockNumber block = c[i].place >> 16;
			Buffer		buffer;

			if (i > 0 && block == c[i - 1].place >> 16)
			{
				buffer = ring[(i - 1) % AHEAD];
				IncrBufferRefCount(buffer);
			}
			else
			{
				if (block == InvalidBlockNumber)
					ix_corrupt(search->index, block, "An entry has no refine page.");
				buffer = pq_read(search->pq, search->index, block);
			}
			ring[i % AHEAD] = buffer;
			code = PageGetContents(BufferGetPage(buffer)) + (c[i].place & 0xffff) * layout->refine_size;
			for (int at = 0; at < layout->refine_size && at < 512; at += 64)
				__builtin_prefetch(code + at);
		}
		if (k < 0)
			continue;
		code = PageGetContents(BufferGetPage(ring[k % AHEAD])) + (c[k].place & 0xffff) * layout->refine_size;
		memcpy(&header, code, sizeof(header));
		code += sizeof(header);
		f = frame ? frame : search->probes[c[k].probe].frame;
		if (model->metric == PQ_METRIC_IP)
		{
			value = -(f->refine_bias + header.low * search->refine_sum +
					  (double) header.step * pq_kernels->code_dot(f->refine_query, (const uint8 *) code, model->space_dims));
			/* sums of products are rounded by a part of both lengths */
			header.error += (fabsf(header.low) + 255 * header.step) * search->refine_rounding + FLT_MIN;
		}
		else if (model->metric == PQ_METRIC_L1)
		{
			value = pq_l1_code(f->refine_query, search->refine_weight, header.low, header.step,
							   (const uint8 *) code, model->space_dims);
			if (search->squares)
				search->squares[k] = pq_kernels->code_l2(f->refine_query, search->square_weight, header.low,
														 header.step, (const uint8 *) code, model->space_dims);
		}
		else
			value = sqrt(pq_kernels->code_l2(f->refine_query, search->refine_weight, header.low, header.step,
											 (const uint8 *) code, model->space_dims));
		/* a larger sum is rounded by us as it may not be by the operator */
		if (header.error == 0 && (model->metric == PQ_METRIC_L1 ? value : value * value) >= MOST_EXACT)
			header.error = FLT_MIN;
		distances[k] = isfinite(value) ? value : 0;
		errors[k] = isfinite(value) && header.error >= 0 ? header.error + f->slack : INFINITY;
		ReleaseBuffer(ring[k % AHEAD]);
	}
}

/*
 * The origin of a list, with its centroid read from pages if need be.
 */
void
pq_read_origin(Relation index, PqIndex *pq, uint32 list, float *origin)
{
	if (PqListIsFlat(pq, list))
		return;
	if (PqListIsOwn(pq->model, list))
		pq_read_centroid(index, pq, list, origin);
	pq_list_origin(pq->model, list, origin, origin);
}

/*
 * The refine code of an entry of a posting page, of at most PQ_MAX_PARTS pages.
 */
void
pq_read_code(Relation index, PqIndex *pq, uint32 list, Page page, int slot, char *code)
{
	const PqLayout *layout = PqListLayout(pq, list);

	for (int part = 0; part < layout->refine_parts; part++)
	{
		BlockNumber block = PqPostingGetHeader(page)->refine[PqRefineNumber(layout, slot) + part];
		Buffer		buffer;

		if (block == InvalidBlockNumber)
			ix_corrupt(index, block, "An entry has no refine page.");
		buffer = pq_read(pq, index, block);
		pq_page_check(index, buffer, PQ_PAGE_REFINE);
		memcpy(code + part * PQ_REFINE_BYTES,
			   PageGetContents(BufferGetPage(buffer)) + slot % layout->refine_slots * layout->refine_size,
			   Min(layout->refine_size - part * PQ_REFINE_BYTES, PQ_REFINE_BYTES));
		ReleaseBuffer(buffer);
	}
}

/*
 * The point that such a code stands for, where the list has this origin, and how far
 * that is off.
 */
void
pq_read_refined(Relation index, PqIndex *pq, uint32 list, Page page, int slot, const float *origin, float *point, float *error)
{
	char		code[PQ_MAX_PARTS * PQ_REFINE_BYTES];

	pq_read_code(index, pq, list, page, slot, code);
	*error = pq_refine_decode(pq->model, PqListIsFlat(pq, list), code, origin, point);
}

/*
 * The list that a point belongs to: the one with the nearest centroid, whatever
 * the metric, among those of the nearest groups.
 */
uint32
pq_nearest_list(Relation index, PqIndex *pq, const float *point)
{
	PqSearch	search = {0};
	const PqModel *model = pq->model;
	const int32 *starts = PqModelArray(model, group_starts, int32);
	ScoredList *groups;
	ScoredList *lists = palloc_extended(sizeof(ScoredList) * PqModelSlots(model), MCXT_ALLOC_HUGE);
	ScoredList	best = {INFINITY, starts[0] * PQ_TILE};

	search.index = index;
	search.pq = pq;
	search.query = unconstify(float *, point);
	search.assign = true;
	groups = rank_groups(&search);
	for (int g = 0; g < Min(model->ngroups, 8); g++)
	{
		int			n = score_tiles(&search, starts[groups[g].slot], starts[groups[g].slot + 1], lists);

		for (int i = 0; i < n; i++)
			if (lists[i].score < best.score)
				best = lists[i];
	}
	pfree(groups);
	pfree(lists);
	return best.slot;
}
