/*
 * pqgather.c
 *		Gathering candidates until a query has shown that it has enough.
 *
 * Lists are scanned in the order of their centroids' distances, and candidates
 * ranked by their refine codes as they come, so the distance d of the k-th
 * nearest so far is known early.  Two rules of one kind say when to stop.
 *
 * A row at a distance d from the query that lies in another list than the
 * nearest has its centroid c at least as near as the nearest one, c1.  So the
 * way from the query to the row and that from c1 to c form an angle with a
 * cosine of at least (|q - c|^2 - |q - c1|^2) / (2 d |c - c1|).  A list is left
 * out if that is more than the rule says; instead of |c - c1|, which is not
 * known, the root of the mean of |q - c|^2 and |q - c1|^2 stands there, or, far from
 * all rows, half of the usual distance of centroids.
 *
 * Where nearly all rows are as far from the query as from each other, that angle
 * says little: such lists reach near to the query by their own rows, however far
 * their centroids are.  A row whose residual is as long as is usual in its list is at
 * the distance d if its residual and the way from the centroid to the query form an
 * angle with a cosine of (|q - c|^2 + |r|^2 - d^2) / (2 |q - c| |r|).  The lesser of
 * the two cosines counts.
 *
 * That a single centroid is very near may be by chance: that of few rows, of which
 * the query is one.  It says nothing of the others then, where all neighbours are.
 * So for |q - c1|^2 the mean of the nearest few stands, as far as these are no
 * farther than neighbours may take them, by d^2.
 *
 * What a code tells of a vector is wrong by a vector of length e, which changes the
 * squared distance by up to 2 |q - c| e times another such cosine, so a candidate
 * whose estimate is above d^2 by more than the rule's part of that is not looked at.
 * Under inner product, where lists are ranked by q c, the cosines are those of the
 * query with a residual and with a code's error.
 *
 * The rule allows for errors in all directions.  Where many rows lie closer together
 * than codes can tell, as those may that came since the index learned, all their
 * codes are wrong by nearly the same, and if that is too much for the rule, it is for
 * all of them but the few that are looked at first.  So when all is gathered, the
 * cosines of the rows that were found say whether there may be others: if their mean
 * is larger than for nearly all queries of calibration, lists are scanned once more,
 * with a rule that is wider by as much.
 *
 * Cosines know no scale and no query: what calibration has learned from some queries
 * (pqcalibrate.c) holds for others, far away or under a filter, whose d is larger
 * and who therefore see more lists.  Queries that lie in other directions from the
 * lists than rows do have a rule of their own.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/rel.h"

#include "pq/pq.h"

/* Candidates that are ranked before others are judged by them, for one row. */
#define FIRST 2
#define FIRST_LEAST 64
/* Candidates to choose those from, by their estimates. */
#define CHOICE 4
/*
 * Of a projected row the distance differs from the projected one; lists and codes
 * are judged by so many standard deviations more than that of the k-th.  Inner
 * products need more than lengths do, and taxicab distances are not projected.
 */
static const double projection_margins[] = {
	[PQ_METRIC_L2] = 0.75,
	[PQ_METRIC_COSINE] = 1,
	[PQ_METRIC_IP] = 1.5
};

/* Lists that are scanned before their candidates are ranked. */
#define LISTS_AT_ONCE 4
/* A rule has to be wider by so much more for lists to be scanned again. */
#define LEAST_WIDER 0.02
/* Candidates that are kept at a time. */
#define MOST_CANDIDATES 4096

/*
 * The cosine, between the ways to a row and to the centroid of its list, that rows
 * of a list of this score have at least if they are as near as d.
 */
static double
centroid_cosine(const PqSearch *search, double score, double d)
{
	double		nearest = Min(search->near_lists, search->probes[0].score + Max(d, 0));
	double		way = Min(sqrt(Max((score + nearest) / 2, 0)), search->pq->meta.separation / 2);

	return (score - nearest) / Max(2 * sqrt(Max(d, 0)) * way, 1e-30);
}

/*
 * The one between the ways from the centroid to the query and to rows of the list
 * that are as near as d, and that are as far from the centroid as is usual.
 */
static double
residual_cosine(const PqSearch *search, double length, double score, double d)
{
	if (search->pq->model->metric == PQ_METRIC_IP)
		return (score - d) / Max(sqrt(search->norm) * length, 1e-30);
	return (score + length * length - d) / Max(2 * sqrt(Max(score, 0)) * length, 1e-30);
}

static double
cosine_of_length(const PqSearch *search, double length, double score, double d)
{
	double		cosine = residual_cosine(search, length, score, d);

	return search->pq->model->metric == PQ_METRIC_IP ? cosine : Min(cosine, centroid_cosine(search, score, d));
}

/* How long the residuals of a list usually are. */
static inline double
usual_length(const PqSearch *search, uint32 slot)
{
	return search->pq->meta.spread * pq_list_length(search->pq->model, slot);
}

/*
 * The cosine that leads to rows of a list, of a score, that are as near as d (as
 * pq_comparable() has it): the lesser of two, since either may be too much.
 */
double
pq_list_cosine(const PqSearch *search, uint32 slot, double score, double d)
{
	return cosine_of_length(search, usual_length(search, slot), score, d);
}

/*
 * The least cosine of any list with at least this score.  It is that of the longest,
 * or of one whose rows are nearest to the query where the way to them stands
 * upright on that to the centroid.
 */
static double
least_cosine(const PqSearch *search, double score, double d)
{
	double		length = usual_length(search, search->pq->longest);

	if (search->pq->model->metric != PQ_METRIC_IP)
		length = Min(length, sqrt(Max(score - d, 0)));
	return cosine_of_length(search, length, score, d);
}

/*
 * How much an estimate differs from the distance if the cosine is 1: by the error
 * of the code, and by the steps of its parts.
 */
double
pq_code_reach(const PqSearch *search, const PqProbe *probe)
{
	const PqModel *model = search->pq->model;
	double		wrong = search->pq->meta.code_error * pq_list_length(model, probe->slot);
	double		steps = probe->unit * sqrt(model->subvectors) + PqModelArray(model, term_steps, float)[probe->slot];

	if (model->metric == PQ_METRIC_IP)
		return sqrt(search->norm) * wrong + steps;
	return 2 * sqrt(Max(probe->score, 0)) * wrong + steps;
}

/* What lists and codes are judged by: how far the k-th nearest may be. */
static inline double
judged_by(const PqGather *g)
{
	double		d = g->kth;

	if (g->search->pq->model->distortion > 0)
		d += pq_projection_deviation(g->search, d) * projection_margins[g->search->pq->model->metric];
	return pq_comparable(g->search, d);
}

/*
 * Is there nothing yet to judge lists and codes by?  A condition on the distance, and
 * outliers, tell where the k-th nearest may be before the first candidate is ranked,
 * but not how long near to the query what has a taxicab distance is, squared.
 */
static inline bool
nothing_known(const PqGather *g)
{
	return isinf(g->kth) ||
		(g->ntaxicab == 0 && g->kth > 0 && g->search->pq->model->metric == PQ_METRIC_L1);
}

/* The largest estimate that is looked at in a list. */
static float
code_limit(const PqGather *g, const PqProbe *probe)
{
	if (g->refine > 0)
		return g->nestimates == g->refine ? g->estimates[0] : INFINITY;
	if (nothing_known(g))
		return INFINITY;
	return judged_by(g) + (g->rule.code + g->wider) * pq_code_reach(g->search, probe);
}

/* Is a list left out? */
static inline bool
list_left_out(const PqGather *g, int i)
{
	const PqProbe *probe = &g->search->probes[i];

	return !nothing_known(g) && pq_list_cosine(g->search, probe->slot, probe->score, judged_by(g)) > g->rule.list;
}

/*
 * Are all lists from one on left out, long ones, too?
 */
static inline bool
rest_left_out(const PqGather *g, int i)
{
	if (g->probes > 0)
		return i >= g->probes;
	return !nothing_known(g) && least_cosine(g->search, g->search->probes[i].score, judged_by(g)) > g->rule.list;
}

/* How many candidates show about where the k-th nearest row is. */
static inline int
first_candidates(const PqGather *g)
{
	return Max(FIRST * (g->k - g->nnearest), FIRST_LEAST);
}

/*
 * Start gathering the k nearest of a search's query.
 */
PqGather *
pq_gather_begin(PqSearch *search, int k, const PqRule *rule)
{
	PqGather   *g = palloc0(sizeof(PqGather));

	g->search = search;
	g->rule = *rule;
	g->bound = INFINITY;
	g->kth = INFINITY;
	g->outliers = -INFINITY;
	g->k = k;
	g->nearest = palloc_extended(sizeof(float) * k, MCXT_ALLOC_HUGE);
	g->maxcandidates = Min(CHOICE * first_candidates(g), MOST_CANDIDATES);
	search->candidates = palloc(sizeof(PqCandidate) * (g->maxcandidates + PqMostSlots(search->pq)));
	search->ncandidates = 0;
	return g;
}

/* Put a number among the n least, a heap with the greatest first. */
#define KEEP_LEAST(type, heap, n, most, value) \
	do { \
		int			at_; \
\
		if ((n) < (most)) \
		{ \
			for (at_ = (n)++; at_ > 0 && (heap)[(at_ - 1) / 2] < (value); at_ = (at_ - 1) / 2) \
				(heap)[at_] = (heap)[(at_ - 1) / 2]; \
			(heap)[at_] = (value); \
		} \
		else if ((value) < (heap)[0]) \
		{ \
			for (at_ = 0; 2 * at_ + 1 < (n);) \
			{ \
				int			child_ = 2 * at_ + 1; \
\
				child_ += child_ + 1 < (n) && (heap)[child_ + 1] > (heap)[child_]; \
				if ((heap)[child_] <= (value)) \
					break; \
				(heap)[at_] = (heap)[child_]; \
				at_ = child_; \
			} \
			(heap)[at_] = (value); \
		} \
	} while (0)

/* By how much a row may be nearer or farther than its code, which is so much off. */
static float
reach_of_error(const PqGather *g, float error)
{
	const PqModel *model = g->search->pq->model;

	if (model->metric == PQ_METRIC_IP)
		return error * sqrt(g->search->norm);
	return error * (model->metric == PQ_METRIC_L1 ? sqrtf(model->space_dims) : 1);
}

/*
 * A row may be farther than its code.  Where codes are precise, that makes no
 * difference; where they are not, more is looked at.
 */
static void
see_distance(PqGather *g, const PqFound *found)
{
	float		distance = found->distance + reach_of_error(g, found->error);

	if (!isfinite(distance))
		return;
	KEEP_LEAST(float, g->nearest, g->nnearest, g->k, distance);
	g->kth = Min(g->bound, g->nnearest == g->k ? g->nearest[0] : INFINITY);
}

/*
 * How long, squared, what has a taxicab length of one is in the directions in which
 * rows lie that are near to the query: for queries unlike the rows that is another
 * number than for rows.  How far the code of the query's own row is from it says
 * nothing: errors lie in all directions, rows perhaps in few.
 */
static void
see_taxicab(PqGather *g, const PqFound *found, float square)
{
	double		distance = found->distance;
	int			at = g->ntaxicab;
	double		sum = 0;

	if (!(distance > 2 * reach_of_error(g, found->error)) || !(square > 0) || !isfinite(square) ||
		(at == PQ_TAXICAB_ROWS && distance >= g->taxicab_distances[at - 1]))
		return;
	if (at == PQ_TAXICAB_ROWS)
		at--;
	else
		g->ntaxicab++;
	for (; at > 0 && g->taxicab_distances[at - 1] > distance; at--)
	{
		g->taxicab_distances[at] = g->taxicab_distances[at - 1];
		g->taxicab_logs[at] = g->taxicab_logs[at - 1];
	}
	g->taxicab_distances[at] = distance;
	g->taxicab_logs[at] = log(square / (distance * distance));
	for (int i = 0; i < g->ntaxicab; i++)
		sum += g->taxicab_logs[i];
	g->search->taxicab = exp(sum / g->ntaxicab);
}

/* Make room for so many candidates more. */
static void
reserve_found(PqGather *g, int more)
{
	if (g->nfound + more <= g->maxfound)
		return;
	g->maxfound = Max(2 * g->maxfound, Max(g->nfound + more, 512));
	g->found = g->found ? repalloc_huge(g->found, sizeof(PqFound) * g->maxfound) :
		palloc(sizeof(PqFound) * g->maxfound);
}

/* How near a row may be to be wanted, and how near a candidate may be. */
static double
farthest_wanted(const PqGather *g)
{
	if (g->search->pq->model->distortion > 0 && !isinf(g->kth))
		return g->kth + pq_projection_deviation(g->search, g->kth) * PQ_PROJECTION_DEVIATIONS;
	return g->kth;
}

static double
least_distance(const PqGather *g, const PqFound *found)
{
	return found->distance - reach_of_error(g, found->error);
}

/*
 * Let more rows be wanted.
 */
void
pq_gather_widen(PqGather *g, int k)
{
	g->k = k;
	g->nearest = repalloc_huge(g->nearest, sizeof(float) * k);
	g->nnearest = 0;
	g->kth = g->bound;
	for (int i = 0; i < g->nfound; i++)
		see_distance(g, &g->found[i]);
}

/*
 * Let no rows be wanted that are farther, before anything is gathered: as if the
 * k-th nearest was known to be there.
 */
void
pq_gather_bound(PqGather *g, double bound)
{
	g->bound = g->kth = bound;
}

/*
 * Look at so many candidates, those with the best estimates, whatever the rule.
 */
void
pq_gather_refine(PqGather *g, int refine)
{
	g->refine = refine;
	g->nestimates = 0;
	g->estimates = palloc_extended(sizeof(float) * refine, MCXT_ALLOC_HUGE);
}

/* By which cosine the code of a candidate is wrong, whose distance is known now. */
static inline float
code_cosine(const PqGather *g, const PqCandidate *c, double distance)
{
	return (PqCandidateEstimate(c) - distance) / Max(pq_code_reach(g->search, &g->search->probes[c->probe]), 1e-30);
}

/*
 * Rank candidates from a number on by their refine codes.
 */
static void
rank_candidates(PqGather *g, int from, int end)
{
	PqSearch   *search = g->search;
	int			all = search->ncandidates;
	double		distances[1024];
	float		errors[1024];
	float		squares[1024];
	bool		taxicab = search->pq->model->metric == PQ_METRIC_L1;

	reserve_found(g, end - from);
	for (int start = from; start < end; start += lengthof(distances))
	{
		int			some = Min(end - start, (int) lengthof(distances));

		search->candidates += start;
		search->ncandidates = some;
		search->squares = taxicab ? squares : NULL;
		pq_search_refine(search, NULL, distances, errors);
		search->squares = NULL;
		search->candidates -= start;
		for (int i = 0; i < some; i++)
		{
			PqFound    *found = &g->found[g->nfound++];
			const PqCandidate *c = &search->candidates[start + i];

			found->distance = distances[i];
			found->error = errors[i];
			found->cosine = code_cosine(g, c, pq_comparable(search, distances[i]));
			ItemPointerSet(&found->tid, PqCandidateBlock(c), c->offset);
			see_distance(g, found);
			if (taxicab)
				see_taxicab(g, found, squares[i]);
		}
	}
	search->ncandidates = all;
}

/* Is a strictly before b? */
static inline bool
candidate_before(const PqCandidate *a, const PqCandidate *b)
{
	return a->rank != b->rank ? a->rank < b->rank : a->offset < b->offset;
}

#define SELECT_NAME select_candidates
#define SELECT_ELEMENT_TYPE PqCandidate
#define SELECT_BEFORE candidate_before
#include "index/select_template.h"

/*
 * Rank what was collected.  As long as there is no d to judge by, those with the
 * best estimates come first, and the others only if they may be as near as the
 * d that follows from these.
 */
static void
rank_collected(PqGather *g)
{
	PqSearch   *search = g->search;
	int			first = first_candidates(g);
	float		pivot;
	int			n;

	if (!nothing_known(g) || g->refine > 0 || search->ncandidates <= first)
	{
		rank_candidates(g, 0, search->ncandidates);
		search->ncandidates = 0;
		g->unlimited = nothing_known(g) ? g->unlimited : g->scanning + 1;
		return;
	}
	select_candidates(search->candidates, search->ncandidates, first - 1);
	pivot = PqCandidateEstimate(&search->candidates[first - 1]);
	rank_candidates(g, 0, first);
	for (; g->unlimited <= g->scanning; g->unlimited++)
	{
		PqProbe    *probe = &search->probes[g->unlimited];

		/* what was ranked is known by its estimate, if more is wanted later */
		probe->limit = Max(code_limit(g, probe), pivot);
	}
	n = first;
	for (int i = first; i < search->ncandidates; i++)
		if (PqCandidateEstimate(&search->candidates[i]) <= search->probes[search->candidates[i].probe].limit)
			search->candidates[n++] = search->candidates[i];
	rank_candidates(g, first, n);
	search->ncandidates = 0;
}

/*
 * Collect what a locked posting page has to offer: live entries that pass the
 * filters, with estimates above what was taken before and up to a limit.  There
 * has to be room for a page of candidates.
 */
static void
collect_page(PqGather *g, const PqProbe *probe, Page page)
{
	PqSearch   *search = g->search;
	float		limit = g->refine > 0 ? code_limit(g, probe) : probe->limit;
	const PqLayout *layout = &search->pq->layout;
	const PqPostingHeader *header = PqPostingGetHeader(page);
	const uint32 *live = PqPostingLive(page, layout);
	const ItemPointerData *tids = PqPostingTids(page, layout);
	int			nblocks = (header->nused + PQ_BLOCK - 1) / PQ_BLOCK;
	uint32		masks[64];
	int32		sums[64 * PQ_BLOCK];
	PqBlockScan scan;

	Assert(search->ncandidates <= g->maxcandidates);
	scan.codes = (uint8 *) page + layout->codes;
	scan.terms = (uint8 *) page + layout->terms;
	scan.nblocks = nblocks;
	scan.nquads = layout->nquads;
	scan.table = probe->frame->table;
	scan.term_factor = Max(probe->term_factor, 0);
	scan.limit = pq_scan_limit(probe, limit);
	scan.masks = masks;
	scan.sums = sums;
	pq_kernels->scan_blocks(&scan);
	for (int b = 0; b < nblocks; b++)
	{
		uint32		mask = masks[b] & live[b] & PqUsedMask(header, b);

		if (mask && search->filters.n > 0)
		{
			search->tested += pg_popcount32(mask);
			mask = ix_filters_mask(&search->filters, page, &layout->filters, b, mask);
			search->passed += pg_popcount32(mask);
		}
		for (; mask; mask &= mask - 1)
		{
			int			slot = b * PQ_BLOCK + pg_rightmost_one_pos32(mask);
			float		estimate = probe->base + probe->unit * sums[slot] + probe->term_step * scan.terms[slot];
			PqCandidate *c = &search->candidates[search->ncandidates];

			if (estimate <= probe->taken || estimate > limit)
				continue;
			if (g->refine > 0)
			{
				if (g->nestimates == g->refine && estimate >= g->estimates[0])
					continue;
				KEEP_LEAST(float, g->estimates, g->nestimates, g->refine, estimate);
			}
			c->rank = PqCandidateRank(estimate, ItemPointerGetBlockNumberNoCheck(&tids[slot]));
			c->offset = ItemPointerGetOffsetNumberNoCheck(&tids[slot]);
			c->probe = probe - search->probes;
			c->place = (uint64) header->refine[PqRefineNumber(layout, slot)] << 16 | slot % layout->refine_slots;
			search->ncandidates++;
		}
	}
}

/* Collect from all pages of a list. */
static void
collect_list(PqGather *g, PqProbe *probe)
{
	PqSearch   *search = g->search;
	PqIndex    *pq = search->pq;
	BlockNumber block;
	BlockNumber steps = 0;

	pq_probe_prepare(search, probe);
	probe->limit = code_limit(g, probe);
	if (probe->limit <= probe->taken)
		return;
	CHECK_FOR_INTERRUPTS();
	block = pq_list_head(pq, search->index, probe->slot);
	while (block != InvalidBlockNumber)
	{
		Buffer		buffer = pq_read(pq, search->index, block);

		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		pq_search_check(search, buffer, probe->slot);
		block = PqPostingGetHeader(BufferGetPage(buffer))->next;
		pq_prefetch(pq, block);
		collect_page(g, probe, BufferGetPage(buffer));
		UnlockReleaseBuffer(buffer);
		if (search->ncandidates >= MOST_CANDIDATES)
			rank_collected(g);
		else if (search->ncandidates > g->maxcandidates)
		{
			/* a page may hold several times what there was room for */
			g->maxcandidates = Min(4 * search->ncandidates, MOST_CANDIDATES);
			search->candidates = repalloc(search->candidates, sizeof(PqCandidate) * (g->maxcandidates + pq->layout.nslots));
		}
		if ((++steps & 1023) == 0)
		{
			CHECK_FOR_INTERRUPTS();
			if (steps > RelationGetNumberOfBlocks(search->index))
				ix_corrupt(search->index, block, "The pages of a list form a circle.");
		}
	}
}

/* An outlier; one that was found before is met again. */
static void
keep_outlier(PqGather *g, const PqFound *found)
{
	double		least = least_distance(g, found);

	if (least <= g->outliers)
		return;
	see_distance(g, found);
	if (least > farthest_wanted(g))
		return;
	reserve_found(g, 1);
	g->found[g->nfound++] = *found;
}

/* Find what is near on the pages of outliers, from the first one on. */
static void
gather_outlier_pages(PqGather *g, BlockNumber block)
{
	PqSearch   *search = g->search;
	PqIndex    *pq = search->pq;
	uint32		list = PqOutlierList(pq);
	double		distances[64 * PQ_BLOCK];
	float		errors[64 * PQ_BLOCK];
	PGAlignedBlock copy;
	BlockNumber steps = 0;

	while (block != InvalidBlockNumber)
	{
		Buffer		buffer = pq_read(pq, search->index, block);

		CHECK_FOR_INTERRUPTS();
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		pq_search_check(search, buffer, list);
		/* not to hold the lock while refine pages are read */
		memcpy(copy.data, BufferGetPage(buffer), BLCKSZ);
		UnlockReleaseBuffer(buffer);
		pq_search_page(search, list, copy.data, distances, errors);
		for (int i = 0; i < search->ncandidates; i++)
		{
			const PqCandidate *c = &search->candidates[i];
			PqFound		found = {.distance = distances[i],.error = errors[i],.cosine = NAN};

			ItemPointerSet(&found.tid, PqCandidateBlock(c), c->offset);
			keep_outlier(g, &found);
		}
		block = PqPostingGetHeader(copy.data)->next;
		if ((++steps & 1023) == 0 && steps > RelationGetNumberOfBlocks(search->index))
			ix_corrupt(search->index, block, "The pages of a list form a circle.");
	}
	search->ncandidates = 0;
}

/*
 * Find outliers, before lists are scanned: those that may be among the nearest, as
 * far as it is known how far these are, and that were not found before.
 */
static void
gather_outliers(PqGather *g)
{
	BlockNumber block = pq_list_head(g->search->pq, g->search->index, PqOutlierList(g->search->pq));
	int			first = g->nfound;
	int			n = first;

	if (block == InvalidBlockNumber)
		return;
	gather_outlier_pages(g, block);
	/* what lists have shown since is no reason to meet the same again */
	g->outliers = Max(g->outliers, farthest_wanted(g));
	for (int i = first; i < g->nfound; i++)
		if (least_distance(g, &g->found[i]) <= g->outliers)
			g->found[n++] = g->found[i];
	g->nfound = n;
}

/* What was collected up to now need not be met again. */
static void
set_taken(PqGather *g)
{
	PqSearch   *search = g->search;

	rank_collected(g);
	for (int i = 0; i <= g->scanning; i++)
		search->probes[i].taken = Max(search->probes[i].taken, search->probes[i].limit);
}

/*
 * Are the codes of the rows found to be nearest wrong by so much, on the mean, that
 * the rule may hide others?  Makes it wider then.
 */
static bool
codes_mislead(PqGather *g)
{
	double		sum = 0;
	double		wider;
	int			n = 0;

	if (nothing_known(g) || isinf(g->rule.code) || g->refine > 0)
		return false;
	for (int i = 0; i < g->nfound; i++)
		if (g->found[i].distance <= g->kth && !isnan(g->found[i].cosine))
		{
			sum += g->found[i].cosine;
			n++;
		}
	if (n == 0)
		return false;
	wider = sum / n - g->rule.mean;
	if (!(wider > g->wider + LEAST_WIDER))
		return false;
	g->wider = wider;
	return true;
}

/*
 * Scan once more those lists of which codes may hide rows; few queries have any.
 */
static void
gather_misled(PqGather *g)
{
	PqSearch   *search = g->search;

	while (codes_mislead(g))
	{
		for (int i = 0; i <= g->scanning; i++)
			if (!isinf(search->probes[i].taken))
				collect_list(g, &search->probes[i]);
		set_taken(g);
	}
}

/*
 * Gather until the rules say that it is enough, or all lists were scanned.
 * Called again after more are wanted, it takes what was left out.
 */
void
pq_gather(PqGather *g)
{
	PqSearch   *search = g->search;
	int			nlists = search->pq->model->nlists;
	int			collected = 0;	/* lists since candidates were ranked */

	g->unlimited = 0;
	gather_outliers(g);
	for (g->scanning = 0; g->scanning < nlists; g->scanning++)
	{
		int			i = g->scanning;

		if (i >= search->nprobes)
			pq_search_rank(search, i == 0 ? Max(g->expected, 8) : 2 * i);
		if (i >= search->nprobes || rest_left_out(g, i))
			break;
		if (g->probes == 0 && list_left_out(g, i))
			continue;
		if (i + 1 < search->nprobes)
			pq_prefetch(search->pq, search->pq->heads[search->probes[i + 1].slot]);
		collect_list(g, &search->probes[i]);
		if (nothing_known(g) && g->refine == 0 ? search->ncandidates >= CHOICE * first_candidates(g) :
			++collected >= LISTS_AT_ONCE)
		{
			rank_collected(g);
			collected = 0;
		}
	}
	g->scanning--;
	g->scanned = Max(g->scanned, g->scanning + 1);
	set_taken(g);
	gather_misled(g);
}
