/*
 * pqsearch.c
 *		Finding candidates: rank lists, scan codes, refine.
 *
 * A distance is estimated as base(list) + unit(list) * (table sum + term), where
 * what is in brackets is a whole number; see pqtrain.c for what the parts stand
 * for.  Estimates of one query are the same whenever they are computed, so (estimate, TID) orders all entries
 * strictly.  Each probed list remembers the last pair that was handed out: a
 * later call with more lists or more candidates goes on behind it, and every
 * entry is handed out once.
 *
 * Posting pages are read under a share lock and pinned no longer than that.
 * What an entry's TID and refine code are does not change as long as a snapshot
 * can see its row: slots are only used again after VACUUM found the row dead to
 * all.  A slot that was used again meanwhile stands for a row that our (MVCC)
 * snapshot cannot see, so whatever is computed from it is dropped by the heap.
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "miscadmin.h"
#include "utils/rel.h"

#include "pq/pq.h"

#define MIN_CANDIDATES 32
/* Refine pages that are pinned ahead, so that their bytes are on their way. */
#define AHEAD 8
/* Bins of estimates. */
#define HISTOGRAM 256
/* Largest factor of terms that kernels take. */
#define MAX_TERM_FACTOR 32000
PqSearch *
pq_search_begin(Relation index, PqIndex *pq)
{
	PqSearch   *search = palloc0(sizeof(PqSearch));
	const PqModel *model = pq->model;

	search->index = index;
	search->pq = pq;
	search->query = palloc0(sizeof(float) * model->padded);
	search->table = (uint8 *) TYPEALIGN(64, palloc0(model->nquads * PQ_QUAD_BYTES + 64));
	search->refine_query = palloc(sizeof(float) * model->inner);
	search->refine_weight = palloc(sizeof(float) * model->inner);
	return search;
}

/*
 * Tables for estimating distances, in 8 bits per entry.
 */
static void
make_tables(PqSearch *search)
{
	const PqModel *model = search->pq->model;
	int			entries = model->subvectors * PQ_TILE;
	float	   *values = palloc0(sizeof(float) * entries);
	float	   *low = palloc(sizeof(float) * model->subvectors);
	float		factor = model->metric == PQ_METRIC_IP ? -1.0f : -2.0f;
	float		range = 0;
	double		bias = 0;
	float		scale;

	for (int m = 0; m < model->subvectors; m++)
	{
		float	   *v = values + m * PQ_TILE;
		float		high;

		pq_kernels->tile_dots(search->query + m * model->width, 0, 1,
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
	memset(search->table, 0, model->nquads * PQ_QUAD_BYTES);
	for (int m = 0; m < model->subvectors; m++)
		for (int k = 0; k < PQ_TILE; k++)
		{
			float		entry = (values[m * PQ_TILE + k] - low[m]) / scale + 0.5f;

			search->table[m * PQ_TILE + k] = entry < 255 ? (uint8) entry : 255;
		}
	search->table_scale = scale;
	search->table_bias = bias;
	pfree(values);
	pfree(low);
}

/*
 * Start a search for the points nearest to a query of the inner space, which lost
 * so much when it became one.
 */
void
pq_search_query(PqSearch *search, const float *query, float lost)
{
	const PqModel *model = search->pq->model;
	const float *spread = PqModelArray(model, spread, float);
	bool		whole = model->whole && lost == 0;

	memcpy(search->query, query, sizeof(float) * model->padded);
	search->norm = pq_kernels->dot(query, query, model->inner);
	search->nprobes = 0;
	search->ncandidates = 0;
	search->refine_bias = 0;
	search->refine_sum = 0;
	search->slack = lost;
	if (PqModelIsFlat(model))
		return;
	make_tables(search);
	for (int j = 0; j < model->inner && whole; j++)
		whole = query[j] == rintf(query[j]);
	if (!whole)
		search->slack += sqrtf(search->norm) * FLT_EPSILON;
	for (int j = 0; j < model->inner; j++)
	{
		if (model->metric == PQ_METRIC_IP)
		{
			search->refine_query[j] = query[j] * spread[j];
			search->refine_sum += search->refine_query[j];
			search->refine_bias += (double) query[j] * PqModelArray(model, centre, float)[j];
		}
		else
			search->refine_query[j] = query[j] / spread[j];
		search->refine_weight[j] = spread[j] * spread[j];
	}
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

/* Move the n smallest of count to the front (Hoare's selection). */
static void
select_scored(ScoredList *lists, int count, int n)
{
	int			left = 0;
	int			right = count - 1;

	while (left < right)
	{
		float		pivot = lists[(left + right) / 2].score;
		int			i = left;
		int			j = right;

		while (i <= j)
		{
			while (lists[i].score < pivot)
				i++;
			while (lists[j].score > pivot)
				j--;
			if (i <= j)
			{
				ScoredList	swap = lists[i];

				lists[i++] = lists[j];
				lists[j--] = swap;
			}
		}
		if (n <= j)
			right = j;
		else if (n >= i)
			left = i;
		else
			break;
	}
}

/* How far the query is from a centroid: smaller is nearer. */
static inline float
list_score(const PqSearch *search, float dot, float norm)
{
	float		score;

	if (isinf(norm))
		return INFINITY;
	score = search->pq->model->metric == PQ_METRIC_IP && !search->assign ? -dot : search->norm + norm - 2 * dot;
	return isfinite(score) ? score : FLT_MAX;
}

/*
 * Score the lists of tiles first .. end - 1, reading their rows from pages.
 * Pages of centroids never change, so a pin is enough.
 */
static int
score_tiles(PqSearch *search, int first, int end, const uint32 *taken, ScoredList *out)
{
	const PqModel *model = search->pq->model;
	const float *norms = PqModelArray(model, norms, float);
	Size		row = (Size) first * model->inner;
	Buffer		buffer = InvalidBuffer;
	BlockNumber at = InvalidBlockNumber;
	int			n = 0;

	for (int t = first; t < end; t++)
	{
		float		dots[PQ_TILE] = {0};

		for (int j = 0; j < model->inner;)
		{
			BlockNumber block = search->pq->meta.tiles_start + row / PQ_ROWS_PER_PAGE;
			int			offset = row % PQ_ROWS_PER_PAGE;
			int			rows = Min(model->inner - j, PQ_ROWS_PER_PAGE - offset);

			if (block != at)
			{
				if (BufferIsValid(buffer))
					ReleaseBuffer(buffer);
				buffer = pq_read(search->pq, search->index, block);
				pq_page_check(search->index, buffer, PQ_PAGE_TILES);
				at = block;
			}
			pq_kernels->tile_dots(search->query + j, 0, 1,
								  (float *) ((char *) BufferGetPage(buffer) + PQ_STREAM_START + offset * PQ_ROW_BYTES),
								  rows, dots);
			j += rows;
			row += rows;
		}
		for (int c = 0; c < PQ_TILE; c++)
		{
			uint32		slot = t * PQ_TILE + c;
			float		score = list_score(search, dots[c], norms[slot]);

			if (!isinf(score) && !(taken && taken[slot / 32] >> (slot % 32) & 1))
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
		float		dots[PQ_TILE] = {0};

		pq_kernels->tile_dots(search->query, 0, 1,
							  PqModelArray(model, group_tiles, float) + (size_t) t * model->inner * PQ_TILE,
							  model->inner, dots);
		for (int c = 0; c < PQ_TILE; c++)
		{
			int			g = t * PQ_TILE + c;

			groups[g].slot = g;
			groups[g].score = list_score(search, dots[c], PqModelArray(model, group_norms, float)[g]);
		}
	}
	sort_scored(groups, model->ngroups);
	return groups;
}

/*
 * How a list's codes make estimates.
 */
static void
set_units(PqSearch *search, PqProbe *probe)
{
	const PqModel *model = search->pq->model;
	double		scale;
	double		factor;

	if (PqModelIsFlat(model))
		return;
	scale = PqModelArray(model, scales, float)[probe->slot];
	factor = PqModelArray(model, term_steps, float)[probe->slot] / (scale * search->table_scale) * 256;
	probe->unit = scale * search->table_scale;
	probe->base = probe->score + scale * search->table_bias + PqModelArray(model, term_mins, float)[probe->slot];
	/* terms that are large against the table are added by take_page() */
	probe->term_factor = factor <= MAX_TERM_FACTOR ? (int32) rint(factor) : -1;
}

/*
 * See that the nprobes nearest lists are in search->probes, nearest first, as
 * far as there are so many.  Returns how many there are.
 */
int
pq_search_rank(PqSearch *search, int nprobes)
{
	const PqModel *model = search->pq->model;
	const int32 *starts = PqModelArray(model, group_starts, int32);
	int			old = search->nprobes;
	uint32	   *taken = NULL;
	ScoredList *lists;
	ScoredList *groups;
	int			n = 0;
	int			look;
	int			more;

	nprobes = Min(nprobes, model->nlists);
	if (nprobes <= old)
		return old;
	if (old > 0)
	{
		taken = palloc0(sizeof(uint32) * ((PqModelSlots(model) + 31) / 32));
		for (int i = 0; i < old; i++)
			taken[search->probes[i].slot / 32] |= (uint32) 1 << (search->probes[i].slot % 32);
	}
	lists = palloc_extended(sizeof(ScoredList) * PqModelSlots(model), MCXT_ALLOC_HUGE);
	groups = rank_groups(search);
	look = 6 * nprobes + 160;
	for (int g = 0; g < model->ngroups && (n < look || n + old < nprobes); g++)
	{
		int			group = groups[g].slot;

		n += score_tiles(search, starts[group], starts[group + 1], taken, lists + n);
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
		set_units(search, probe);
		probe->used_rank = 0;
		probe->used_offset = 0;
	}
	search->nprobes = old + more;
	pfree(lists);
	pfree(groups);
	if (taken)
		pfree(taken);
	return search->nprobes;
}

/* Is a strictly before b? */
static inline bool
candidate_before(const PqCandidate *a, const PqCandidate *b)
{
	return a->rank != b->rank ? a->rank < b->rank : a->offset < b->offset;
}

/* Move the n + 1 first of count to the front, the n-th to its place. */
static void
select_candidates(PqCandidate *c, int count, int n)
{
	int			left = 0;
	int			right = count - 1;

	while (left < right)
	{
		PqCandidate pivot = c[(left + right) / 2];
		int			i = left;
		int			j = right;

		while (i <= j)
		{
			while (candidate_before(&c[i], &pivot))
				i++;
			while (candidate_before(&pivot, &c[j]))
				j--;
			if (i <= j)
			{
				PqCandidate swap = c[i];

				c[i++] = c[j];
				c[j--] = swap;
			}
		}
		if (n <= j)
			right = j;
		else if (n >= i)
			left = i;
		else
			break;
	}
}

/*
 * Keep the want best candidates, in the order in which they came but for those
 * that are hard to tell.  A histogram of the estimates tells most at once; only
 * those that share the bin of the last are compared.
 */
static void
squeeze(PqSearch *search)
{
	PqReservoir *reservoir = &search->reservoir;
	PqCandidate *c = search->candidates;
	PqCandidate *border = search->candidates + search->maxcandidates;
	uint32		counts[HISTOGRAM] = {0};
	uint32		low = PG_UINT32_MAX;
	uint32		high = 0;
	int			shift = 0;
	uint32		bin = 0;
	int			before = 0;
	int			n = 0;
	int			nborder = 0;

	for (int i = 0; i < search->ncandidates; i++)
	{
		uint32		estimate = c[i].rank >> 32;

		low = Min(low, estimate);
		high = Max(high, estimate);
	}
	while ((high - low) >> shift >= HISTOGRAM)
		shift++;
	for (int i = 0; i < search->ncandidates; i++)
		counts[((uint32) (c[i].rank >> 32) - low) >> shift]++;
	while (before + counts[bin] < reservoir->want)
		before += counts[bin++];
	for (int i = 0; i < search->ncandidates; i++)
	{
		uint32		b = ((uint32) (c[i].rank >> 32) - low) >> shift;

		if (b == bin)
			border[nborder++] = c[i];
		c[n] = c[i];
		n += b < bin;
	}
	select_candidates(border, nborder, reservoir->want - n - 1);
	memcpy(c + n, border, sizeof(PqCandidate) * (reservoir->want - n));
	search->ncandidates = reservoir->want;
	reservoir->full = true;
	reservoir->last = c[reservoir->want - 1];
}

/*
 * Consider an entry: its estimate from 0 up, where its refine code is, and how
 * far the estimate may be off where that is known.
 */
static inline void
offer(PqSearch *search, const PqProbe *probe, uint32 estimate, uint64 place, float error,
	  const ItemPointerData *tid)
{
	PqReservoir *reservoir = &search->reservoir;
	PqCandidate *c = &search->candidates[search->ncandidates];

	c->rank = (uint64) estimate << 32 | ItemPointerGetBlockNumberNoCheck(tid);
	c->offset = ItemPointerGetOffsetNumberNoCheck(tid);
	if (c->rank < probe->used_rank ||
		(c->rank == probe->used_rank && c->offset <= probe->used_offset))
		return;
	if (reservoir->full && !candidate_before(c, &reservoir->last))
		return;
	c->place = place;
	c->error = error;
	if (++search->ncandidates == 2 * reservoir->want)
		squeeze(search);
}

void
pq_search_offer(PqSearch *search, const PqProbe *probe, uint32 estimate, uint64 place, float error,
				const ItemPointerData *tid)
{
	offer(search, probe, estimate, place, error, tid);
}

/*
 * Take what a locked posting page has to offer.
 */
static void
take_page(PqSearch *search, const PqProbe *probe, Page page)
{
	const PqLayout *layout = &search->pq->layout;
	PqReservoir *reservoir = &search->reservoir;
	const PqPostingHeader *header = PqPostingGetHeader(page);
	const uint32 *live = PqPostingLive(page, layout);
	const ItemPointerData *tids = PqPostingTids(page, layout);
	int			nblocks = (header->nused + PQ_BLOCK - 1) / PQ_BLOCK;
	uint32		masks[64];
	int32		sums[64 * PQ_BLOCK];
	double		step = probe->term_factor < 0 ? PqModelArray(search->pq->model, term_steps, float)[probe->slot] : 0;
	PqBlockScan scan;

	scan.codes = (uint8 *) page + layout->codes;
	scan.terms = (uint8 *) page + layout->terms;
	scan.nblocks = nblocks;
	scan.nquads = layout->nquads;
	scan.table = search->table;
	scan.term_factor = Max(probe->term_factor, 0);
	scan.limit = PG_INT32_MAX;
	if (reservoir->full && probe->term_factor >= 0)
	{
		double		limit = ((double) PqEstimateOf(reservoir->last.rank >> 32) - probe->base) / probe->unit + 1;

		/* what the estimate's own rounding may hide is compared later */
		limit += fabs(limit) * 1e-6;
		scan.limit = limit < 0 ? -1 : limit < PG_INT32_MAX ? (int32) limit : PG_INT32_MAX;
	}
	scan.masks = masks;
	scan.sums = sums;
	pq_kernels->scan_blocks(&scan);
	for (int b = 0; b < nblocks; b++)
	{
		uint32		mask = masks[b] & live[b] & PqUsedMask(header, b);

		if (mask && search->nfilters > 0)
		{
			search->tested += pg_popcount32(mask);
			mask &= ix_filters_mask(search->filters, search->nfilters, page, &layout->filters, b);
			search->passed += pg_popcount32(mask);
		}
		for (; mask; mask &= mask - 1)
		{
			int			slot = b * PQ_BLOCK + pg_rightmost_one_pos32(mask);

			offer(search, probe, PqRankOf(probe->base + probe->unit * sums[slot] + step * scan.terms[slot]),
				  (uint64) header->refine[PqRefineNumber(layout, slot)] << 16 | slot % layout->refine_slots,
				  0, &tids[slot]);
		}
	}
}

/*
 * Make room for the want best and as many to choose from, and for as many again
 * that squeeze() needs.
 */
static void
empty_reservoir(PqSearch *search, int want)
{
	search->reservoir.want = want;
	search->reservoir.full = false;
	search->ncandidates = 0;
	if (search->maxcandidates >= 2 * want)
		return;
	if (search->candidates)
		pfree(search->candidates);
	search->maxcandidates = 2 * want;
	search->candidates = palloc(sizeof(PqCandidate) * search->maxcandidates * 2);
}

/* Scan the probed lists from a number on. */
static void
scan_lists(PqSearch *search, int from)
{
	PqIndex    *pq = search->pq;

	for (int i = from; i < search->nprobes; i++)
	{
		PqProbe    *probe = &search->probes[i];
		BlockNumber block;
		BlockNumber steps = 0;

		if (i + 1 < search->nprobes)
			pq_prefetch(pq, pq->heads[search->probes[i + 1].slot]);
		if (probe->used_rank == PQ_ALL_USED)
			continue;
		CHECK_FOR_INTERRUPTS();
		if (PqModelIsFlat(pq->model))
		{
			pq_flat_scan(search, probe);
			continue;
		}
		block = pq_list_head(pq, search->index, probe->slot);
		while (block != InvalidBlockNumber)
		{
			Buffer		buffer = pq_read(pq, search->index, block);

			LockBuffer(buffer, BUFFER_LOCK_SHARE);
			pq_posting_check(search->index, buffer, &pq->layout, probe->slot);
			block = PqPostingGetHeader(BufferGetPage(buffer))->next;
			pq_prefetch(pq, block);
			take_page(search, probe, BufferGetPage(buffer));
			UnlockReleaseBuffer(buffer);
			if ((++steps & 1023) == 0)
			{
				CHECK_FOR_INTERRUPTS();
				if (steps > RelationGetNumberOfBlocks(search->index))
					ix_corrupt(search->index, block, "The pages of a list form a circle.");
			}
		}
	}
}

/*
 * Collect the want best entries of the probed lists that were not handed out
 * before.  Returns whether entries are left in these lists.
 */
bool
pq_search_codes(PqSearch *search, int want)
{
	const PqReservoir *reservoir = &search->reservoir;

	empty_reservoir(search, Max(want, MIN_CANDIDATES));
	scan_lists(search, 0);
	if (search->ncandidates > reservoir->want)
		squeeze(search);
	for (int i = 0; i < search->nprobes; i++)
	{
		PqProbe    *probe = &search->probes[i];

		if (!reservoir->full)
			probe->used_rank = PQ_ALL_USED;
		else if (probe->used_rank < reservoir->last.rank ||
				 (probe->used_rank == reservoir->last.rank && probe->used_offset < reservoir->last.offset))
		{
			probe->used_rank = reservoir->last.rank;
			probe->used_offset = reservoir->last.offset;
		}
	}
	return reservoir->full;
}

/*
 * For measuring: see that the want best entries of the probed lists are among
 * the candidates.  Only lists from a number on are scanned, the others have
 * been; nothing is handed out.
 */
void
pq_search_more(PqSearch *search, int from, int want)
{
	if (from == 0)
		empty_reservoir(search, want);
	scan_lists(search, from);
}

/*
 * For each candidate the distance to its refine code (or minus the inner
 * product), and how far that may be off.  Candidates that share a page mostly
 * follow each other, since they were found that way.
 *
 * Refine pages are neither locked nor checked: the bytes of a live entry do not
 * change, whatever else is written to the page, and bytes of a damaged page are
 * a wrong distance at worst.
 */
void
pq_search_refine(PqSearch *search, double *distances, float *errors)
{
	const PqModel *model = search->pq->model;
	const PqLayout *layout = &search->pq->layout;
	PqCandidate *c = search->candidates;
	int			n = search->ncandidates;
	Buffer		ring[AHEAD];

	if (PqModelIsFlat(model))
	{
		pq_flat_distances(search, distances, errors);
		return;
	}

	for (int i = 0; i < n + AHEAD - 1; i++)
	{
		int			k = i - (AHEAD - 1);
		const char *code;
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
		if (model->metric == PQ_METRIC_IP)
			value = -(search->refine_bias + header.low * search->refine_sum +
					  (double) header.step * pq_kernels->code_dot(search->refine_query, (const uint8 *) code, model->inner));
		else
			value = sqrtf(pq_kernels->code_l2(search->refine_query, search->refine_weight, header.low, header.step,
											  (const uint8 *) code, model->inner));
		distances[k] = isfinite(value) ? value : 0;
		errors[k] = isfinite(value) && header.error >= 0 ? header.error + search->slack : INFINITY;
		ReleaseBuffer(ring[k % AHEAD]);
	}
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
	search.norm = pq_kernels->dot(point, point, model->inner);
	search.assign = true;
	groups = rank_groups(&search);
	for (int g = 0; g < Min(model->ngroups, 8); g++)
	{
		int			n = score_tiles(&search, starts[groups[g].slot], starts[groups[g].slot + 1], NULL, lists);

		for (int i = 0; i < n; i++)
			if (lists[i].score < best.score)
				best = lists[i];
	}
	pfree(groups);
	pfree(lists);
	return best.slot;
}
