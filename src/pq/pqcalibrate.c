/*
 * pqcalibrate.c
 *		Learning from queries when a scan may stop, for a goal of recall.
 *
 * The true neighbours of some queries are found by reading all refine codes
 * once.  Of each it is known in which list it lies and what its code says of
 * it, and so which cosines (pqgather.c) a rule has to allow for it to be found.
 * The recall that a rule has for the k nearest is the share of neighbours whose
 * cosines it allows, given the distance of the k-th; of the rules that reach a
 * goal the cheapest is kept.  While a scan gathers, its k-th distance is larger
 * than the true one, so it sees rather more than it must.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "pq/pq.h"
#include "pq/pqbuild.h"

/* Rows that recall is measured among, as far as the index is large enough. */
static const int rows_wanted[PQ_CURVES] = {1, 10, 100, 1000};
#define LARGE_ENOUGH 10

static const float goals[] = {0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.875, 0.9, 0.92, 0.94, 0.95, 0.96, 0.97, 0.975, 0.98, 0.985, 0.99, 0.993, 0.995, 0.997, 0.999};

/* Parts of what may be missed that are tried for codes to miss. */
static const float code_parts[] = {0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8};

/* The worst twentieth of queries may fall short of a goal by so much. */
#define WORST_SHORT 0.15
/*
 * One row is not enough to measure recall by: the first, second and so on
 * stand for the nearest, as if there were no nearer ones.
 */
#define NEAREST_TRIED 5

/* An entry that is near to a query. */
typedef struct Neighbour
{
	float		distance;		/* as pq_comparable() has it */
	uint32		list;
	BlockNumber block;
	uint16		slot;
} Neighbour;

/* A neighbour's cosines, by which it is found or not. */
typedef struct Cosines
{
	float		list;
	float		code;
} Cosines;

typedef struct Calibration
{
	Relation	index;
	PqIndex    *pq;
	PqSearch   *search;
	PqMetaPageData *meta;
	const float *queries;		/* [nqueries][padded] */
	int			nqueries;
	int			nrows;			/* of these, the first, are rows */
	int			depth;			/* neighbours of each */
	float	   *tiles;			/* of the queries */
	float	   *norms;
	Neighbour  *neighbours;		/* [nqueries][depth] */
	int		   *counts;
	float	   *scores;			/* [nqueries][nlists] of the lists, rising */
	uint32	   *slots;			/* and which these are */
	double		entries;
	double		lengths;		/* squared, of all entries */
} Calibration;

/*
 * Keep a neighbour if it is one of the nearest: a heap, farthest first.
 */
static void
keep(Calibration *c, int q, const Neighbour *n)
{
	Neighbour  *heap = c->neighbours + (size_t) q * c->depth;
	int			at;

	if (c->counts[q] < c->depth)
	{
		for (at = c->counts[q]++; at > 0 && heap[(at - 1) / 2].distance < n->distance; at = (at - 1) / 2)
			heap[at] = heap[(at - 1) / 2];
		heap[at] = *n;
		return;
	}
	if (n->distance >= heap[0].distance)
		return;
	for (at = 0; 2 * at + 1 < c->depth;)
	{
		int			child = 2 * at + 1;

		child += child + 1 < c->depth && heap[child + 1].distance > heap[child].distance;
		if (heap[child].distance <= n->distance)
			break;
		heap[at] = heap[child];
		at = child;
	}
	heap[at] = *n;
}

static int
compare_neighbours(const void *a, const void *b)
{
	const Neighbour *x = a;
	const Neighbour *y = b;

	if (x->distance != y->distance)
		return x->distance < y->distance ? -1 : 1;
	if (x->block != y->block)
		return x->block < y->block ? -1 : 1;
	return x->slot < y->slot ? -1 : x->slot > y->slot;
}

/*
 * See which entries of a posting page are near to queries.  A query may be the
 * vector of a row, so what lies on it is that row or a copy and does not count.
 * Under inner products nothing lies on a query.
 */
static void
measure_page(Calibration *c, Page page, BlockNumber block, uint32 list, float *points, float *errors)
{
	const PqModel *model = c->pq->model;
	const PqPostingHeader *header = PqPostingGetHeader(page);
	int			slots[64 * PQ_BLOCK];
	float		dots[PQ_BLOCK * PQ_TILE];
	int			n = 0;

	for (int slot = 0; slot < header->nused; slot++)
		if (PqPostingLive(page, &c->pq->layout)[slot / PQ_BLOCK] >> (slot % PQ_BLOCK) & 1)
			slots[n++] = slot;
	for (int start = 0; start < n; start += PQ_BLOCK)
	{
		int			some = Min(PQ_BLOCK, n - start);

		for (int i = 0; i < some; i++)
			pq_read_refined(c->index, c->pq, page, slots[start + i], points + (size_t) i * model->inner, &errors[i]);
		for (int t = 0; t < PqRoundTile(c->nqueries) / PQ_TILE; t++)
		{
			memset(dots, 0, sizeof(float) * PQ_TILE * some);
			pq_kernels->tile_dots(points, model->inner, some, c->tiles + (size_t) t * model->inner * PQ_TILE,
								  model->inner, dots);
			for (int i = 0; i < some; i++)
			{
				const float *point = points + (size_t) i * model->inner;
				float		norm = pq_kernels->dot(point, point, model->inner);

				if (t == 0)
				{
					c->lengths += norm;
					c->entries++;
				}
				for (int k = 0; k < PQ_TILE && t * PQ_TILE + k < c->nqueries; k++)
				{
					int			q = t * PQ_TILE + k;
					float		square = norm + c->norms[q] - 2 * dots[i * PQ_TILE + k];
					Neighbour	neighbour = {square, list, block, slots[start + i]};

					if (model->metric == PQ_METRIC_IP)
						neighbour.distance = -dots[i * PQ_TILE + k];
					else if (square <= errors[i] * errors[i] * 1.01f + 1e-6f * (norm + c->norms[q]))
						continue;
					else if (model->metric == PQ_METRIC_L1)
						neighbour.distance = pq_l1_comparable(pq_l1(point, c->queries + (size_t) q * model->padded, model->inner), model->inner);
					keep(c, q, &neighbour);
				}
			}
		}
	}
}

/* Find the neighbours of all queries. */
static void
find_neighbours(Calibration *c)
{
	PqIndex    *pq = c->pq;
	PGAlignedBlock *copy = palloc(sizeof(PGAlignedBlock));
	float	   *points = palloc(sizeof(float) * PQ_BLOCK * pq->model->inner);
	float		errors[PQ_BLOCK];

	for (uint32 list = 0; list < pq->meta.nslots; list++)
	{
		BlockNumber block = pq_list_head(pq, c->index, list);

		while (block != InvalidBlockNumber)
		{
			Buffer		buffer = pq_read(pq, c->index, block);

			CHECK_FOR_INTERRUPTS();
			LockBuffer(buffer, BUFFER_LOCK_SHARE);
			pq_posting_check(c->index, buffer, &pq->layout, list);
			memcpy(copy->data, BufferGetPage(buffer), BLCKSZ);
			UnlockReleaseBuffer(buffer);
			measure_page(c, copy->data, block, list, points, errors);
			block = PqPostingGetHeader(copy->data)->next;
		}
	}
	for (int q = 0; q < c->nqueries; q++)
		qsort(c->neighbours + (size_t) q * c->depth, c->counts[q], sizeof(Neighbour), compare_neighbours);
	pfree(copy);
	pfree(points);
}

/* The usual distance between two centroids. */
static double
centroid_separation(Calibration *c)
{
	const PqModel *model = c->pq->model;
	const float *norms = PqModelArray(model, norms, float);
	float	   *centroid = palloc(sizeof(float) * model->padded);
	double	   *mean = palloc0(sizeof(double) * model->inner);
	double		square = 0;
	double		of_mean = 0;
	int			n = 0;

	for (int s = 0; s < PqModelSlots(model); s += Max(1, PqModelSlots(model) / 1024))
	{
		if (isinf(norms[s]))
			continue;
		CHECK_FOR_INTERRUPTS();
		pq_read_centroid(c->index, c->pq, s, centroid);
		for (int j = 0; j < model->inner; j++)
			mean[j] += centroid[j];
		square += norms[s];
		n++;
	}
	for (int j = 0; j < model->inner && n > 0; j++)
		of_mean += mean[j] / n * (mean[j] / n);
	pfree(centroid);
	pfree(mean);
	return n > 0 ? sqrt(2 * Max(square / n - of_mean, 0)) : 0;
}

/*
 * The usual lengths of residuals and of the codes' errors, against what is usual
 * in their lists, from some neighbours.
 */
static void
measure_lengths(Calibration *c)
{
	PqIndex    *pq = c->pq;
	const PqModel *model = pq->model;
	float	   *point = palloc(sizeof(float) * model->padded);
	float	   *centroid = palloc(sizeof(float) * model->padded);
	uint8	   *codes = palloc(model->nquads * 4);
	double		spread = 0;
	double		wrong = 0;
	int			n = 0;

	for (int q = 0; q < c->nqueries; q++)
		for (int j = 0; j < Min(c->counts[q], 10); j++)
		{
			const Neighbour *neighbour = c->neighbours + (size_t) q * c->depth + j;
			Buffer		buffer = pq_read(pq, c->index, neighbour->block);
			double		length = pq_list_length(model, neighbour->list);
			double		scale = PqModelArray(model, scales, float)[neighbour->list];
			float		error;
			uint8		term;

			CHECK_FOR_INTERRUPTS();
			memset(point, 0, sizeof(float) * model->padded);
			pq_read_refined(c->index, pq, BufferGetPage(buffer), neighbour->slot, point, &error);
			pq_posting_get(BufferGetPage(buffer), &pq->layout, neighbour->slot, codes, &term);
			ReleaseBuffer(buffer);
			pq_read_centroid(c->index, pq, neighbour->list, centroid);
			for (int i = 0; i < model->inner; i++)
			{
				double		residual = point[i] - centroid[i];
				int			m = i / model->width;
				double		coded = scale * PqModelArray(model, codebooks, float)[((size_t) m * model->width + i % model->width) * PQ_TILE + codes[m]];

				spread += residual / length * (residual / length);
				wrong += (residual - coded) / length * ((residual - coded) / length);
			}
			n++;
		}
	c->meta->spread = n > 0 ? sqrt(spread / n) : 0;
	c->meta->code_error = n > 0 ? sqrt(wrong / n) : 0;
	c->meta->separation = centroid_separation(c);
	c->meta->length = c->entries > 0 ? sqrt(c->lengths / c->entries) : 0;
	pfree(point);
	pfree(centroid);
	pfree(codes);
}

/* What the codes say of an entry's distance. */
static double
estimate_of(Calibration *c, const Neighbour *neighbour, const PqProbe *probe)
{
	Buffer		buffer = pq_read(c->pq, c->index, neighbour->block);
	uint8		codes[PQ_MAX_SUBVECTORS + 4];
	uint8		term;
	int32		sum;

	pq_posting_get(BufferGetPage(buffer), &c->pq->layout, neighbour->slot, codes, &term);
	ReleaseBuffer(buffer);
	sum = (term * Max(probe->term_factor, 0)) >> 8;
	for (int m = 0; m < c->pq->model->subvectors; m++)
		sum += c->search->table[m * PQ_TILE + codes[m]];
	return probe->base + probe->unit * sum + probe->term_step * term;
}

/*
 * The cosines of the neighbours from first to last - 1 of a query, as seen when
 * the last of them is the farthest row wanted.  probes tells where lists are
 * among those of the search, all of which are ranked.
 */
static int
measure_cosines(Calibration *c, int q, const int *probes, int first, int last, Cosines *out)
{
	const Neighbour *neighbours = c->neighbours + (size_t) q * c->depth;
	double		d;

	if (last > c->counts[q])
		return 0;
	d = neighbours[last - 1].distance;
	for (int j = first; j < last; j++)
	{
		const PqProbe *probe = &c->search->probes[probes[neighbours[j].list]];

		out[j - first].list = pq_list_cosine(c->search, c->search->probes[0].score, probe->slot, probe->score, d);
		out[j - first].code = (estimate_of(c, &neighbours[j], probe) - d) / Max(pq_code_reach(c->search, probe), 1e-30);
	}
	return last - first;
}

/* The neighbours of all queries for one k, and how many each query has. */
typedef struct Measured
{
	int			k;
	Cosines    *cosines;
	int		   *ends;			/* of each query's */
	int			nqueries;
	int			nrows;			/* of these are like rows */
	double	   *farthest;		/* distance of the last of each query */
	float	   *lists;			/* cosines of all, sorted */
	float	   *codes;
	int			n;
} Measured;

static int
compare_floats(const void *a, const void *b)
{
	float		x = *(const float *) a;
	float		y = *(const float *) b;

	return x < y ? -1 : x > y;
}

static int
compare_doubles(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return x < y ? -1 : x > y;
}

/*
 * Does a rule reach a goal for the queries from first to last - 1?  If strictly,
 * what was found is taken less a standard error, since the queries are but a
 * sample, and where many rows are wanted the worst queries count, too.
 */
static bool
reaches_for(const Measured *m, int first, int last, const PqRule *rule, double goal, bool strictly, double *recall)
{
	double	   *found = palloc(sizeof(double) * (last - first + 1));
	double		sum = 0;
	double		square = 0;
	int			start = first > 0 ? m->ends[first - 1] : 0;
	int			n = 0;
	bool		enough;

	for (int q = first; q < last; q++)
	{
		int			count = 0;

		for (int i = start; i < m->ends[q]; i++)
			count += m->cosines[i].list <= rule->list && m->cosines[i].code <= rule->code;
		if (m->ends[q] > start)
		{
			found[n] = (double) count / (m->ends[q] - start);
			sum += found[n];
			square += found[n] * found[n];
			n++;
		}
		start = m->ends[q];
	}
	*recall = 1;
	if (n == 0)
	{
		pfree(found);
		return true;
	}
	sum /= n;
	*recall = strictly ? sum - sqrt(Max(square / n - sum * sum, 0) / n) : sum;
	qsort(found, n, sizeof(double), compare_doubles);
	enough = *recall >= goal && (!strictly || m->k < 10 || found[n / 20] >= goal - WORST_SHORT);
	pfree(found);
	return enough;
}

/* Does a rule reach a goal for each kind of queries? */
static bool
reaches(const Measured *m, const PqRule *rule, double goal, double *recall)
{
	double		between;
	bool		enough = reaches_for(m, 0, m->nrows, rule, goal, true, recall);

	if (m->nqueries == m->nrows)
		return enough;
	enough &= reaches_for(m, m->nrows, m->nqueries, rule, goal, false, &between);
	return enough;
}

/* The cosine that lets so much of all through. */
static float
quantile(const float *sorted, int n, double part)
{
	return sorted[Max(0, Min(n - 1, (int) ceil(part * n) - 1))];
}

/*
 * Of the rules with some limit for codes the one with the least limit for lists
 * that reaches a goal; false if none does.
 */
static bool
least_lists(const Measured *m, double goal, PqRule *rule, double *recall)
{
	int			low = 0;
	int			high = m->n - 1;

	rule->list = m->lists[high];
	if (!reaches(m, rule, goal, recall))
		return false;
	while (low < high)
	{
		int			middle = (low + high) / 2;

		rule->list = m->lists[middle];
		if (reaches(m, rule, goal, recall))
			high = middle;
		else
			low = middle + 1;
	}
	rule->list = m->lists[high];
	reaches(m, rule, goal, recall);
	return true;
}

/* How many lists a rule scans, on average. */
static double
lists_scanned(const Calibration *c, const Measured *m, const PqRule *rule)
{
	int			nlists = c->pq->model->nlists;
	double		sum = 0;

	for (int q = 0; q < m->nqueries; q++)
	{
		PqSearch	search = *c->search;
		const float *scores = c->scores + (size_t) q * nlists;
		int			low = 0;
		int			high = nlists;

		search.norm = c->norms[q];
		while (low < high)
		{
			int			middle = (low + high) / 2;

			if (pq_list_cosine(&search, scores[0], c->slots[(size_t) q * nlists + middle], scores[middle], m->farthest[q]) <= rule->list)
				low = middle + 1;
			else
				high = middle;
		}
		sum += low;
	}
	return sum / Max(m->nqueries, 1);
}

/* Bins of cosines, of lists and of codes. */
#define BINS 24
/* Entries looked at for each query. */
#define MOST_COUNTED 100000

/* How many entries there are to each pair of cosines, on average. */
typedef struct Density
{
	float		lists_from;
	float		lists_width;
	float		codes_from;
	float		codes_width;
	double		counts[BINS][BINS];
} Density;

static int
bin_of(double value, double from, double width)
{
	double		bin = (value - from) / Max(width, 1e-30);

	return bin <= 0 ? 0 : bin >= BINS - 1 ? BINS - 1 : (int) bin;
}

/* Count the entries of a list of the search's query. */
static double
count_list(Calibration *c, const PqProbe *probe, double d, Density *density)
{
	PqIndex    *pq = c->pq;
	double		reach = Max(pq_code_reach(c->search, probe), 1e-30);
	double	   *counts = density->counts[bin_of(pq_list_cosine(c->search, c->search->probes[0].score, probe->slot, probe->score, d), density->lists_from, density->lists_width)];
	double		entries = 0;
	BlockNumber block = pq_list_head(pq, c->index, probe->slot);

	while (block != InvalidBlockNumber)
	{
		Buffer		buffer = pq_read(pq, c->index, block);
		Page		page = BufferGetPage(buffer);
		const PqPostingHeader *header = PqPostingGetHeader(page);
		uint32		masks[64];
		int32		sums[64 * PQ_BLOCK];
		PqBlockScan scan = {0};

		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		scan.codes = (uint8 *) page + pq->layout.codes;
		scan.terms = (uint8 *) page + pq->layout.terms;
		scan.nblocks = (header->nused + PQ_BLOCK - 1) / PQ_BLOCK;
		scan.nquads = pq->layout.nquads;
		scan.table = c->search->table;
		scan.term_factor = Max(probe->term_factor, 0);
		scan.limit = PG_INT32_MAX;
		scan.masks = masks;
		scan.sums = sums;
		pq_kernels->scan_blocks(&scan);
		for (int i = 0; i < header->nused; i++)
		{
			double		estimate = probe->base + probe->unit * sums[i] + probe->term_step * scan.terms[i];

			counts[bin_of((estimate - d) / reach, density->codes_from, density->codes_width)]++;
		}
		entries += header->nused;
		block = header->next;
		UnlockReleaseBuffer(buffer);
		CHECK_FOR_INTERRUPTS();
	}
	return entries;
}

/* Count what a query's lists hold, as far as rules may want to see them. */
static void
count_query(Calibration *c, double d, Density *density)
{
	double		most = density->lists_from + density->lists_width * BINS;
	double		entries = 0;

	for (int i = 0; i < c->search->nprobes && entries < MOST_COUNTED; i++)
	{
		if (pq_list_cosine(c->search, c->search->probes[0].score, c->search->probes[i].slot,
						   c->search->probes[i].score, d) > most)
			break;
		entries += count_list(c, &c->search->probes[i], d, density);
	}
}

/* How many candidates a rule ranks, on average. */
static double
codes_ranked(const Density *density, int nqueries, const PqRule *rule)
{
	int			lists = bin_of(rule->list, density->lists_from, density->lists_width);
	int			codes = bin_of(rule->code, density->codes_from, density->codes_width);
	double		sum = 0;

	for (int i = 0; i <= lists; i++)
		for (int j = 0; j <= codes; j++)
			sum += density->counts[i][j];
	return sum / Max(nqueries, 1);
}

/*
 * The cheapest rule that reaches a goal; false if none does.
 */
static bool
cheapest_rule(Calibration *c, const Measured *m, const Density *density, double goal, PqCurvePoint *point)
{
	const PqModel *model = c->pq->model;
	double		per_list = c->entries / model->nlists;
	double		best = INFINITY;

	for (int i = 0; i < (int) lengthof(code_parts); i++)
	{
		PqRule		rule;
		double		recall;
		double		lists;
		double		cost;

		rule.code = quantile(m->codes, m->n, 1 - (1 - goal) * code_parts[i]);
		if (!least_lists(m, goal, &rule, &recall))
			continue;
		lists = lists_scanned(c, m, &rule);
		/* nanoseconds, roughly */
		cost = lists * (300 + per_list * (0.4 + 0.15 * model->nquads)) +
			codes_ranked(density, m->nqueries, &rule) * (120 + 0.25 * model->inner);
		if (cost < best)
		{
			best = cost;
			point->recall = recall;
			point->list = rule.list;
			point->code = rule.code;
			point->probes = (int) ceil(Max(lists, 1));
		}
	}
	return !isinf(best);
}

/*
 * The curve for one k: for each goal the cheapest rule that reaches it, and at
 * its end the rule that finds most.
 */
static void
fill_curve(Calibration *c, const Measured *m, const Density *density, PqCurve *curve)
{
	curve->k = m->k;
	curve->n = 0;
	for (int g = 0; g < (int) lengthof(goals); g++)
	{
		PqCurvePoint point;

		if (!cheapest_rule(c, m, density, goals[g], &point))
			break;
		if (curve->n == 0 || point.recall > curve->points[curve->n - 1].recall)
			curve->points[curve->n++] = point;
	}
	if (curve->n < PQ_MAX_CURVE)
	{
		PqCurvePoint *point = &curve->points[curve->n++];
		PqRule		rule = {m->lists[m->n - 1], m->codes[m->n - 1]};
		double		recall = 0;

		reaches(m, &rule, 0, &recall);
		point->recall = recall;
		point->list = rule.list;
		point->code = rule.code;
		point->probes = (int) ceil(Max(lists_scanned(c, m, &rule), 1));
		if (curve->n > 1 && point->recall <= point[-1].recall)
			curve->n--;
	}
}

/* Measure all queries for one k, and make its curve. */
static void
measure_rows(Calibration *c, int k, PqCurve *curve)
{
	const PqModel *model = c->pq->model;
	int			tries = k == 1 ? NEAREST_TRIED : 1;
	Measured	m = {.k = k,.nrows = c->nrows};
	Density    *density = palloc0(sizeof(Density));
	int		   *probes = palloc0(sizeof(int) * PqModelSlots(model));

	m.cosines = palloc_extended(sizeof(Cosines) * (Size) c->nqueries * k * tries, MCXT_ALLOC_HUGE);
	m.ends = palloc(sizeof(int) * c->nqueries);
	m.farthest = palloc(sizeof(double) * c->nqueries);
	for (int pass = 0; pass < 2; pass++)
		for (int q = 0; q < c->nqueries; q++)
		{
			CHECK_FOR_INTERRUPTS();
			pq_search_query(c->search, c->queries + (size_t) q * model->padded, 0);
			pq_search_rank(c->search, model->nlists);
			m.farthest[q] = c->counts[q] >= k ? c->neighbours[(size_t) q * c->depth + k - 1].distance : INFINITY;
			if (pass == 1)
			{
				if (!isinf(m.farthest[q]))
					count_query(c, m.farthest[q], density);
				continue;
			}
			for (int i = 0; i < model->nlists; i++)
			{
				bool		ranked = i < c->search->nprobes;

				c->scores[(size_t) q * model->nlists + i] = ranked ? c->search->probes[i].score : INFINITY;
				c->slots[(size_t) q * model->nlists + i] = ranked ? c->search->probes[i].slot : 0;
				if (ranked)
					probes[c->search->probes[i].slot] = i;
			}
			for (int try = 0; try < tries; try++)
				m.n += measure_cosines(c, q, probes, try, try + k, m.cosines + m.n);
			m.ends[q] = m.n;
			m.nqueries = q + 1;
			if (q < c->nqueries - 1)
				continue;
			m.lists = palloc_extended(sizeof(float) * (m.n + 1), MCXT_ALLOC_HUGE);
			m.codes = palloc_extended(sizeof(float) * (m.n + 1), MCXT_ALLOC_HUGE);
			for (int i = 0; i < m.n; i++)
			{
				m.lists[i] = m.cosines[i].list;
				m.codes[i] = m.cosines[i].code;
			}
			qsort(m.lists, m.n, sizeof(float), compare_floats);
			qsort(m.codes, m.n, sizeof(float), compare_floats);
			if (m.n == 0)
				return;
			density->lists_from = m.lists[0];
			density->lists_width = (m.lists[m.n - 1] - m.lists[0]) / BINS;
			density->codes_from = m.codes[0];
			density->codes_width = (m.codes[m.n - 1] - m.codes[0]) / BINS;
		}
	fill_curve(c, &m, density, curve);
}

/*
 * Measure an index, which is complete but for its curves, with queries of its
 * inner space (rows of padded floats), and set them.  The first nrows of the
 * queries are vectors of rows, and a goal has to be reached for these and for
 * the others.  Returns the highest recall
 * that can be reached for every k measured.
 */
double
pq_calibrate(Relation index, PqIndex *pq, const float *queries, int nrows, int nqueries, PqMetaPageData *meta)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pq calibration", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Calibration c = {.index = index,.meta = meta,.queries = queries,.nrows = nrows,.nqueries = nqueries};
	const PqModel *model;
	float	   *rows;
	double		least = 1;

	c.pq = pq;
	model = c.pq->model;
	c.search = pq_search_begin(index, c.pq);
	c.depth = 1;
	for (int i = 0; i < PQ_CURVES; i++)
		if (meta->tuples >= (double) rows_wanted[i] * LARGE_ENOUGH)
			c.depth = Max(rows_wanted[i], NEAREST_TRIED);
	c.tiles = palloc(sizeof(float) * (Size) PqRoundTile(nqueries + 1) * model->inner);
	c.norms = palloc0(sizeof(float) * PqRoundTile(nqueries + 1));
	rows = palloc0(sizeof(float) * (Size) (nqueries + 1) * model->inner);
	for (int q = 0; q < nqueries; q++)
		memcpy(rows + (size_t) q * model->inner, queries + (size_t) q * model->padded, sizeof(float) * model->inner);
	pq_make_tiles(rows, nqueries, model->inner, c.tiles, c.norms);
	pfree(rows);
	c.neighbours = palloc_extended(sizeof(Neighbour) * (Size) (nqueries + 1) * c.depth, MCXT_ALLOC_HUGE);
	c.counts = palloc0(sizeof(int) * (nqueries + 1));
	c.scores = palloc_extended(sizeof(float) * (Size) (nqueries + 1) * model->nlists, MCXT_ALLOC_HUGE);
	c.slots = palloc_extended(sizeof(uint32) * (Size) (nqueries + 1) * model->nlists, MCXT_ALLOC_HUGE);
	find_neighbours(&c);
	measure_lengths(&c);
	/* what cosines are made of */
	c.pq->meta.spread = meta->spread;
	c.pq->meta.code_error = meta->code_error;
	c.pq->meta.separation = meta->separation;
	meta->ncurves = 0;
	for (int i = 0; i < PQ_CURVES && nqueries > 0; i++)
	{
		PqCurve    *curve = &meta->curves[meta->ncurves];

		if (rows_wanted[i] > c.depth)
			break;
		curve->n = 0;
		measure_rows(&c, rows_wanted[i], curve);
		if (curve->n == 0)
			break;
		least = Min(least, curve->points[curve->n - 1].recall);
		meta->ncurves++;
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return meta->ncurves > 0 ? least : 0;
}
