/*
 * pqrule.c
 *		The cheapest rules that reach goals of recall.
 *
 * Of each true neighbour of a query it is known in which list it lies and what
 * its code says of it, and so which cosines (pqgather.c) a rule has to allow for
 * it to be found.  The recall that a rule has for the k nearest is the share of
 * neighbours whose cosines it allows, given the distance of the k-th; of the rules
 * that reach a goal the cheapest is kept.  While a scan gathers, its k-th distance
 * is larger than the true one, so it sees rather more than it must.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/rel.h"

#include "pq/pqbuild.h"
#include "pq/pqcalibrate.h"

static const double goals[] = {0.5, 0.7, 0.8, 0.85, 0.875, 0.9, 0.92, 0.935, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99, 0.995, 0.999};

/* Parts of what may be missed that are tried for codes to miss. */
static const float code_parts[] = {0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9};

/*
 * A query that is a row's vector misses that row less often than others, by so much,
 * and where that is fewer than one of those measured, by what still tells an odd one
 * from many.
 */
#define OWN_PART 0.2
#define OWN_PART_MOST 0.4
#define OWN_ODD 1.5
/* Of many neighbours some are measured. */
#define MOST_MEASURED 100
/* Queries of which one is used to count lists and entries. */
#define COUNT_EACH 8
/*
 * Neighbours that may be missed since their groups are not looked at, of rows'
 * queries, of those between rows, and of those unlike rows.
 */
static const double groups_miss[] = {0.004, 0.02, 0.02};

/* Such a part of queries find neighbours of which the codes are wrong as usual. */
#define MOST_MEANS 0.95
#define MOST_KINDS Max(2, PQ_UNLIKE_KINDS)

/*
 * What the rule for queries unlike rows may cost those of rows: a part of what these
 * cost, with what a query takes besides, or so many nanoseconds divided by the number
 * of rows: few take little time anyway.  Each goal's rule has such a price of its
 * own, also as that of queries which are not unlike enough for a higher goal's.
 */
#define UNLIKE_PRICE 0.06
#define UNLIKE_SMALL 1e9
#define PREPARING 20000
#define HIGH_GOAL 0.95
/* The worst part of queries may fall short of a goal by so much. */
#define WORST_PART 0.05
#define WORST_SHORT 0.15
/* A neighbour's cosines, by which it is found or not. */
typedef struct Cosines
{
	float		list;
	float		code;
	float		own;			/* of the code, if it was the farthest wanted */
} Cosines;

/* What the codes say of an entry's distance. */
static double
estimate_of(PqCalibration *c, const PqNeighbour *neighbour, PqProbe *probe)
{
	Buffer		buffer = pq_read(c->pq, c->index, neighbour->block);
	uint8		codes[PQ_MAX_SUBVECTORS + 4];
	uint8		term;
	int32		sum;

	pq_probe_prepare(c->search, probe);
	pq_posting_get(BufferGetPage(buffer), &c->pq->layout, neighbour->slot, codes, &term);
	ReleaseBuffer(buffer);
	sum = (term * Max(probe->term_factor, 0)) >> 8;
	for (int m = 0; m < c->pq->model->subvectors; m++)
		sum += probe->frame->table[m * PQ_TILE + codes[m]];
	return probe->base + probe->unit * sum + probe->term_step * term;
}

/* The cosines of an entry if the k-th nearest is so far. */
static Cosines
cosines_of(PqCalibration *c, const PqNeighbour *neighbour, PqProbe *probe, double d)
{
	double		estimate = estimate_of(c, neighbour, probe);
	Cosines		cosines;

	cosines.list = pq_list_cosine(c->search, probe->slot, probe->score, d);
	cosines.code = (estimate - d) / Max(pq_code_reach(c->search, probe), 1e-30);
	cosines.own = (estimate - neighbour->distance) / Max(pq_code_reach(c->search, probe), 1e-30);
	return cosines;
}

/*
 * The cosines of the neighbours from first to last - 1 of a query, as seen when
 * the last of them is the farthest row wanted.  probes tells where lists are
 * among those of the search, all of which are ranked.
 */
static int
measure_cosines(PqCalibration *c, int q, const int *probes, int first, int last, Cosines *out)
{
	const PqNeighbour *neighbours = c->neighbours + (size_t) q * c->depth;
	int			step = Max(1, (last - first) / MOST_MEASURED);
	int			n = 0;
	double		d;

	if (last > c->counts[q])
		return 0;
	d = neighbours[last - 1].distance;
	for (int j = first; j < last; j += step)
	{
		PqProbe    *probe;

		/* an outlier is always found */
		if (neighbours[j].list == PqOutlierList(c->pq))
			continue;
		probe = &c->search->probes[probes[neighbours[j].list]];
		out[n++] = cosines_of(c, &neighbours[j], probe, d);
	}
	return n;
}

/* The neighbours of all queries for one k, and how many each query has. */
typedef struct Measured
{
	int			k;
	Cosines    *cosines;
	int		   *ends;			/* of each query's */
	int			nqueries;
	bool		usual;			/* the first kind of queries is of rows */
	int			kinds[MOST_KINDS];	/* where kinds of queries end */
	int			nkinds;
	float	   *seen;			/* [ncounted][nlists], cosines of all lists,
								 * sorted */
	int		   *counted;		/* the queries whose these are */
	int			ncounted;
	PqDensity **densities;		/* [ncounted] */
	float	   *lists;			/* cosines of all, sorted */
	float	   *codes;
	int			n;
	float	   *own_lists;		/* of the rows that queries are, sorted */
	float	   *own_codes;
	int			nown;
} Measured;

/*
 * Does a rule reach a goal for the queries from first to last - 1, and where many
 * rows are wanted for the worst of them?  If strictly, what was found is taken less
 * a standard error, since the queries are but a sample.
 */
static bool
reaches_for(const Measured *m, int first, int last, const PqRule *rule, double goal, bool strictly, double *recall)
{
	double		sum = 0;
	double		square = 0;
	int			start = first > 0 ? m->ends[first - 1] : 0;
	int			n = 0;
	int			nshort = 0;
	double		worst;

	for (int q = first; q < last; q++)
	{
		int			count = 0;

		for (int i = start; i < m->ends[q]; i++)
			count += (m->cosines[i].list <= rule->list) & (m->cosines[i].code <= rule->code);
		if (m->ends[q] > start)
		{
			double		found = (double) count / (m->ends[q] - start);

			sum += found;
			square += found * found;
			nshort += found < goal - WORST_SHORT - 1e-6;
			n++;
		}
		start = m->ends[q];
	}
	*recall = 1;
	if (n == 0)
		return true;
	sum /= n;
	*recall = strictly ? sum - sqrt(Max(square / n - sum * sum, 0) / n) : sum;
	worst = n * WORST_PART;
	if (strictly)
		worst = Max(worst - sqrt(worst * (1 - WORST_PART)), 0);
	return *recall >= goal && (m->k < 10 || nshort <= (int) worst);
}

/* Does a rule reach a goal for each kind of queries?  Tells the lesser recall. */
static bool
reaches(const Measured *m, const PqRule *rule, double goal, double *recall)
{
	bool		enough = true;
	int			first = 0;

	*recall = 1;
	for (int i = 0; i < m->nkinds; i++)
	{
		double		of_kind;

		enough &= reaches_for(m, first, m->kinds[i], rule, goal, m->usual && i == 0, &of_kind);
		*recall = Min(*recall, of_kind);
		first = m->kinds[i];
	}
	return enough;
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

/* How many of these cosines are within a limit. */
static int
count_within(const float *sorted, int n, float limit)
{
	int			low = 0;
	int			high = n;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (sorted[middle] <= limit)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* How many lists a rule scans, on average. */
static double
lists_scanned(const PqCalibration *c, const Measured *m, const PqRule *rule)
{
	int			nlists = c->pq->model->nlists;
	double		sum = 0;

	for (int q = 0; q < m->ncounted; q++)
		sum += count_within(m->seen + (size_t) q * nlists, nlists, rule->list);
	return sum / Max(m->ncounted, 1);
}

/* What a search costs that scans so many lists and ranks so many codes; nanoseconds, roughly. */
static double
rule_cost(const PqCalibration *c, double lists, double codes)
{
	const PqModel *model = c->pq->model;
	double		per_list = c->entries / model->nlists;

	return lists * (300 + per_list * (0.4 + 0.15 * model->nquads)) + codes * (120 + 0.25 * model->space_dims);
}

/* The part of queries that are rows' for which a rule finds that row. */
static double
own_part(const Measured *m, double goal)
{
	return 1 - Max((1 - goal) * OWN_PART, Min((1 - goal) * OWN_PART_MOST, OWN_ODD / Max(m->nown, 1)));
}

/*
 * The cheapest rule that reaches a goal, and what it costs; false if none does.
 */
static bool
cheapest_rule(PqCalibration *c, const Measured *m, const PqDensity *density, double goal, PqCurvePoint *point, double *best)
{
	double		own_goal = own_part(m, goal);

	*best = INFINITY;
	for (int i = 0; i < (int) lengthof(code_parts); i++)
	{
		PqRule		rule;
		double		recall;
		double		lists;
		double		cost;

		rule.code = pq_quantile(m->codes, m->n, 1 - (1 - goal) * code_parts[i]);
		if (m->nown > 0)
			rule.code = Max(rule.code, pq_quantile(m->own_codes, m->nown, own_goal));
		if (!least_lists(m, goal, &rule, &recall))
			continue;
		if (m->nown > 0)
			rule.list = Max(rule.list, pq_quantile(m->own_lists, m->nown, own_goal));
		lists = lists_scanned(c, m, &rule);
		cost = rule_cost(c, lists, pq_density_ranked(density, &rule) / Max(m->ncounted, 1));
		if (cost < *best)
		{
			*best = cost;
			/* what is more than the goal may be the worst queries' due */
			point->recall = goal;
			point->strange = INFINITY;
			point->list = rule.list;
			point->code = rule.code;
			point->probes = (int) ceil(Max(lists, 1));
		}
	}
	return !isinf(*best);
}

/*
 * Up to where the mean lies, for most queries, of the codes' cosines of neighbours
 * that a rule finds.
 */
static float
usual_mean(const Measured *m, float code)
{
	float	   *means = palloc(sizeof(float) * m->nqueries);
	int			n = 0;

	for (int q = 0, i = 0; q < m->nqueries; q++)
	{
		double		sum = 0;
		int			found = 0;

		for (; i < m->ends[q]; i++)
			if (m->cosines[i].code <= code && ++found)
				sum += m->cosines[i].own;
		if (found > 0)
			means[n++] = sum / found;
	}
	qsort(means, n, sizeof(float), pq_compare_floats);
	return n > 0 && m->k > 1 ? pq_quantile(means, n, MOST_MEANS) : code;
}

/*
 * The curve for one k: for each goal the cheapest rule that reaches it, and at
 * its end the rule that finds most.
 */
static void
fill_curve(PqCalibration *c, const Measured *m, const PqDensity *density, PqCurve *curve)
{
	double		costs[lengthof(goals)];

	memset(curve, 0, sizeof(*curve));
	curve->k = m->k;
	while (curve->n < (int) lengthof(goals) &&
		   cheapest_rule(c, m, density, goals[curve->n], &curve->points[curve->n], &costs[curve->n]))
		curve->n++;
	for (int i = curve->n - 2; i >= 0; i--)
	{
		/* other rules are tried for a higher goal, and one may be cheaper */
		if (costs[i] <= costs[i + 1])
			continue;
		costs[i] = costs[i + 1];
		curve->points[i] = curve->points[i + 1];
		curve->points[i].recall = goals[i];
	}
	if (curve->n < PQ_MAX_CURVE)
	{
		PqCurvePoint *point = &curve->points[curve->n++];
		PqRule		rule = {m->lists[m->n - 1], m->codes[m->n - 1]};
		double		recall = 0;

		reaches(m, &rule, 0, &recall);
		point->recall = recall;
		point->strange = INFINITY;
		point->list = rule.list;
		point->code = rule.code;
		point->probes = (int) ceil(Max(lists_scanned(c, m, &rule), 1));
		if (curve->n > 1 && point->recall <= point[-1].recall)
			curve->n--;
	}
	for (int i = 0; i < curve->n; i++)
		curve->points[i].mean = usual_mean(m, curve->points[i].code);
}

/*
 * How much farther than the nearest group others are that hold neighbours, for
 * all kinds of queries.  Rules are made for lists that were all looked at.
 */
void
pq_measure_groups(PqCalibration *c)
{
	float	   *excess = palloc(sizeof(float) * (Size) c->nqueries * MOST_MEASURED);
	int			starts[] = {0, c->nrows, c->nusual, c->nqueries};

	/*
	 * queries unlike rows look no less far than others did that were measured
	 * with them
	 */
	if (c->nqueries > c->nusual)
		c->meta->look = 0;
	for (int kind = 0; kind < (int) lengthof(groups_miss); kind++)
	{
		int			n = 0;

		for (int q = starts[kind]; q < starts[kind + 1]; q++)
		{
			float	   *of_groups;

			CHECK_FOR_INTERRUPTS();
			pq_search_query(c->search, c->queries + (size_t) q * c->pq->model->padded, 0);
			of_groups = pq_search_groups(c->search);
			for (int j = 0; j < Min(c->counts[q], MOST_MEASURED); j++)
			{
				uint32		list = c->neighbours[(size_t) q * c->depth + j].list;

				if (list != PqOutlierList(c->pq))
					excess[n++] = of_groups[pq_list_group(c->pq->model, list)];
			}
			pfree(of_groups);
		}
		qsort(excess, n, sizeof(float), pq_compare_floats);
		if (n > 0)
			c->meta->look = Max(c->meta->look, pq_quantile(excess, n, 1 - groups_miss[kind]));
	}
	pfree(excess);
}

/* Rank all lists for a query. */
static void
rank_all(PqCalibration *c, int q)
{
	CHECK_FOR_INTERRUPTS();
	pq_search_query(c->search, c->queries + (size_t) q * c->pq->model->padded, 0);
	pq_search_rank(c->search, c->pq->model->nlists);
}

/* Note the cosines of all lists that are ranked, if the k-th nearest is so far. */
static void
see_lists(PqCalibration *c, Measured *m, double d)
{
	const PqModel *model = c->pq->model;
	float	   *seen = m->seen + (size_t) m->ncounted * model->nlists;

	for (int i = 0; i < model->nlists; i++)
	{
		const PqProbe *probe = &c->search->probes[i];

		seen[i] = i < c->search->nprobes ? pq_list_cosine(c->search, probe->slot, probe->score, d) : INFINITY;
	}
	qsort(seen, model->nlists, sizeof(float), pq_compare_floats);
}

/*
 * The cosines of the neighbours of a query, of the row that it may be, and of all
 * lists if it is one of those that are used to count these.
 */
static void
measure_query(PqCalibration *c, Measured *m, int q, int *probes)
{
	int			tries = m->k == 1 ? PQ_NEAREST_TRIED : 1;
	double		d = c->neighbours[(size_t) q * c->depth + m->k - 1].distance;

	rank_all(c, q);
	c->strangeness[q] = pq_search_strangeness(c->search);
	for (int i = 0; i < c->search->nprobes; i++)
		probes[c->search->probes[i].slot] = i;
	if (m->nqueries % COUNT_EACH == 0)
	{
		see_lists(c, m, d);
		m->counted[m->ncounted++] = q;
	}
	for (int try = 0; try < tries; try++)
		m->n += measure_cosines(c, q, probes, try, try + m->k, m->cosines + m->n);
	m->ends[m->nqueries++] = m->n;
	if (q < c->nrows && c->own[q].block != InvalidBlockNumber && c->own[q].list != PqOutlierList(c->pq))
	{
		Cosines		own = cosines_of(c, &c->own[q], &c->search->probes[probes[c->own[q].list]], d);

		m->own_lists[m->nown] = own.list;
		m->own_codes[m->nown++] = own.code;
	}
}

/* Sort the cosines of all. */
static void
sort_cosines(Measured *m)
{
	m->lists = palloc_extended(sizeof(float) * m->n, MCXT_ALLOC_HUGE);
	m->codes = palloc_extended(sizeof(float) * m->n, MCXT_ALLOC_HUGE);
	for (int i = 0; i < m->n; i++)
	{
		m->lists[i] = m->cosines[i].list;
		m->codes[i] = m->cosines[i].code;
	}
	qsort(m->lists, m->n, sizeof(float), pq_compare_floats);
	qsort(m->codes, m->n, sizeof(float), pq_compare_floats);
	qsort(m->own_lists, m->nown, sizeof(float), pq_compare_floats);
	qsort(m->own_codes, m->nown, sizeof(float), pq_compare_floats);
}

/* Count the entries that each pair of cosines stands for, of each query and of all. */
static PqDensity *
measure_density(PqCalibration *c, Measured *m)
{
	PqDensity  *density = palloc0(sizeof(PqDensity));
	PqDensity  *one = NULL;
	float		lists = m->lists[m->n - 1];
	float		codes = m->codes[m->n - 1];

	for (int i = 0; m->usual && i < c->meta->nunlike; i++)
		for (int j = 0; j < c->meta->unlike_curves[i].n && c->meta->unlike_curves[i].k == m->k; j++)
		{
			lists = Max(lists, c->meta->unlike_curves[i].points[j].list);
			codes = Max(codes, c->meta->unlike_curves[i].points[j].code);
		}
	pq_scale_set(&density->lists, m->lists, m->n, lists);
	pq_scale_set(&density->codes, m->codes, m->n, codes);
	m->densities = palloc(sizeof(PqDensity *) * Max(m->ncounted, 1));
	for (int i = 0; i < m->ncounted; i++)
	{
		int			q = m->counted[i];
		bool		keep = m->usual && q < c->nrows;

		/* those of rows' queries are kept */
		if (!one)
			one = palloc(sizeof(PqDensity));
		one->lists = density->lists;
		one->codes = density->codes;
		rank_all(c, q);
		pq_density_count(c, c->neighbours[(size_t) q * c->depth + m->k - 1].distance, one);
		pq_density_add(density, one);
		m->densities[i] = keep ? one : NULL;
		if (keep)
			one = NULL;
	}
	return density;
}

/* A query of a row's, by its number among those that are counted. */
typedef struct Counted
{
	float		strangeness;
	int			number;
} Counted;

/* The strangest first. */
static int
compare_counted(const void *a, const void *b)
{
	float		x = ((const Counted *) a)->strangeness;
	float		y = ((const Counted *) b)->strangeness;

	return x > y ? -1 : x < y;
}

/* What a query costs with a rule, where so many of the nearest lists are looked for. */
static double
cost_of(const PqCalibration *c, const Measured *m, const Counted *query, const PqRule *rule, int probes)
{
	const PqModel *model = c->pq->model;
	const float *seen = m->seen + (size_t) query->number * model->nlists;
	int			lists = count_within(seen, model->nlists, rule->list);
	double		codes = pq_density_ranked(m->densities[query->number], rule);

	return PREPARING + Min(PqListsRanked(probes), model->nlists) * (20 + 0.25 * model->space_dims) + rule_cost(c, lists, codes);
}

/*
 * From which strangeness on queries have a rule for those unlike rows: from the
 * least that lets rows' queries, the strangest first, not cost much more than by
 * their own.
 */
static float
least_strangeness(const PqCalibration *c, const Measured *m, const Counted *queries, int n, const PqCurvePoint *usual,
				  const PqCurvePoint *unlike)
{
	PqRule		own = {usual->list, usual->code};
	PqRule		both = {Max(usual->list, unlike->list), Max(usual->code, unlike->code)};
	double		cost = 0;
	double		most;
	double		more = 0;

	for (int i = 0; i < n; i++)
		cost += cost_of(c, m, &queries[i], &own, usual->probes);
	most = Max(cost * UNLIKE_PRICE, n * UNLIKE_SMALL / Max(c->meta->tuples, 1));
	for (int i = 0; i < n; i++)
	{
		more += cost_of(c, m, &queries[i], &both, Max(usual->probes, unlike->probes)) -
			cost_of(c, m, &queries[i], &own, usual->probes);
		if (more > most)
			return queries[i].strangeness;
	}
	return -INFINITY;
}

/*
 * Set which queries have the rules for those unlike rows, for k and each goal, given
 * the curve of usual ones.  Of few queries a high goal is learned badly, and more so
 * of strange ones, so there the rule is for all, if it costs rows' queries not much,
 * or for none like them.
 */
static void
set_strange(PqCalibration *c, const Measured *m, const PqCurve *curve)
{
	Counted    *queries = palloc(sizeof(Counted) * Max(m->ncounted, 1));
	int			n = 0;

	for (int i = 0; i < m->ncounted && m->counted[i] < c->nrows; i++)
	{
		queries[n].strangeness = c->strangeness[m->counted[i]];
		queries[n++].number = i;
	}
	qsort(queries, n, sizeof(Counted), compare_counted);
	for (int i = 0; i < c->meta->nunlike && n > 0; i++)
	{
		PqCurve    *unlike = &c->meta->unlike_curves[i];

		for (int j = 0; j < unlike->n && unlike->k == curve->k; j++)
		{
			PqCurvePoint *point = &unlike->points[j];
			PqCurvePoint usual;

			pq_curve_for(curve, 1, curve->k, point->recall, &usual);
			point->strange = least_strangeness(c, m, queries, n, &usual, point);
			if (point->recall > HIGH_GOAL && !isinf(point->strange))
				point->strange = queries[0].strangeness;
		}
	}
	pfree(queries);
}

/*
 * Measure queries, those of some that have k neighbours, and make the curve for k.
 */
void
pq_measure_rows(PqCalibration *c, int from, int to, int k, PqCurve *curve)
{
	const PqModel *model = c->pq->model;
	int			tries = k == 1 ? PQ_NEAREST_TRIED : 1;
	int			most = (to - from) / COUNT_EACH + 1;
	Measured	m = {.k = k,.usual = from == 0};
	int		   *probes = palloc0(sizeof(int) * PqModelSlots(model));

	m.cosines = palloc_extended(sizeof(Cosines) * (Size) (to - from) * Min(k, 2 * MOST_MEASURED) * tries, MCXT_ALLOC_HUGE);
	m.ends = palloc(sizeof(int) * (to - from));
	m.seen = palloc_extended(sizeof(float) * (Size) most * model->nlists, MCXT_ALLOC_HUGE);
	m.counted = palloc(sizeof(int) * most);
	m.own_lists = palloc(sizeof(float) * (c->nrows + 1));
	m.own_codes = palloc(sizeof(float) * (c->nrows + 1));
	for (int q = from; q < to; q++)
	{
		if (c->counts[q] >= k)
			measure_query(c, &m, q, probes);
		if (pq_kind_ends(c, q + 1))
			m.kinds[m.nkinds++] = m.nqueries;
	}
	if (m.n == 0)
		return;
	sort_cosines(&m);
	fill_curve(c, &m, measure_density(c, &m), curve);
	if (m.usual)
		set_strange(c, &m, curve);
	for (int i = 0; i < m.ncounted; i++)
		if (m.densities[i])
			pfree(m.densities[i]);
}
