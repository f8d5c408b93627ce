/*
 * pqcalibrate.c
 *		Measuring recall against effort, and choosing the effort for a goal.
 *
 * Some sample rows serve as queries; their true neighbours are collected while
 * the table is loaded.  A row's nearest neighbours may be near copies of it, as
 * a query from elsewhere would have none, so recall is measured over its ten
 * neighbours behind those.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/memutils.h"

#include "pq/pq.h"
#include "pq/pqbuild.h"

#define DEPTH 3000				/* candidates looked at */

/* Fewer than the first cost nothing less, and a table may grow. */
static const int refine_steps[] = {100, 125, 150, 200, 250, 300, 400, 500, 600, 800, 1000, 1250, 1500, 2000, 2500, DEPTH};
static const float goals[] = {0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.875, 0.9, 0.92, 0.94, 0.95, 0.96, 0.97, 0.975, 0.98, 0.985, 0.99, 0.993, 0.995, 0.997, 0.999};

#define NREFINE ((int) lengthof(refine_steps))
#define PROBE_STEPS 32

PqTruth *
pq_truth_begin(const PqModel *model, const float *queries, int nqueries)
{
	PqTruth    *truth = palloc0(sizeof(PqTruth));
	float	   *norms = palloc(sizeof(float) * PqRoundTile(nqueries + 1));
	float	   *rows = palloc0(sizeof(float) * (Size) (nqueries + 1) * model->inner);

	truth->model = model;
	truth->queries = queries;
	truth->nqueries = nqueries;
	truth->tiles = palloc(sizeof(float) * (Size) PqRoundTile(nqueries + 1) * model->inner);
	for (int q = 0; q < nqueries; q++)
		memcpy(rows + (size_t) q * model->inner, queries + (size_t) q * model->padded, sizeof(float) * model->inner);
	pq_make_tiles(rows, nqueries, model->inner, truth->tiles, norms);
	truth->neighbours = palloc(sizeof(PqNeighbour) * (nqueries + 1) * PQ_NEIGHBOURS);
	for (int i = 0; i < nqueries * PQ_NEIGHBOURS; i++)
	{
		truth->neighbours[i].distance = INFINITY;
		ItemPointerSetInvalid(&truth->neighbours[i].tid);
	}
	pfree(norms);
	pfree(rows);
	return truth;
}

static bool
nearer(const PqNeighbour *a, const PqNeighbour *b)
{
	BlockNumber x = ItemPointerGetBlockNumberNoCheck(&a->tid);
	BlockNumber y = ItemPointerGetBlockNumberNoCheck(&b->tid);

	if (a->distance != b->distance)
		return a->distance < b->distance;
	if (x != y)
		return x < y;
	return ItemPointerGetOffsetNumberNoCheck(&a->tid) < ItemPointerGetOffsetNumberNoCheck(&b->tid);
}

/* Insert a row among the n neighbours of a query, if it is one. */
static void
offer(PqNeighbour *neighbours, int n, const PqNeighbour *offered)
{
	int			at = n - 1;

	if (!nearer(offered, &neighbours[at]))
		return;
	for (; at > 0 && nearer(offered, &neighbours[at - 1]); at--)
		neighbours[at] = neighbours[at - 1];
	neighbours[at] = *offered;
}

/*
 * Rows go by: keep those that are among the nearest of a query.
 */
void
pq_truth_rows(PqTruth *truth, const float *points, const ItemPointerData *tids, int n)
{
	const PqModel *model = truth->model;
	bool		dot_only = model->metric == PQ_METRIC_IP;
	int			last = PqLastNeighbour(model);
	float	   *dots = palloc(sizeof(float) * PQ_TILE * n);
	float	   *norms = palloc(sizeof(float) * n);

	for (int i = 0; i < n; i++)
		norms[i] = dot_only ? 0 :
			pq_kernels->dot(points + (size_t) i * model->padded, points + (size_t) i * model->padded, model->inner);
	for (int t = 0; t < PqRoundTile(truth->nqueries) / PQ_TILE; t++)
	{
		int			queries = Min(PQ_TILE, truth->nqueries - t * PQ_TILE);

		memset(dots, 0, sizeof(float) * PQ_TILE * n);
		pq_kernels->tile_dots(points, model->padded, n,
							  truth->tiles + (size_t) t * model->inner * PQ_TILE, model->inner, dots);
		for (int c = 0; c < queries; c++)
		{
			PqNeighbour *neighbours = truth->neighbours + (t * PQ_TILE + c) * PQ_NEIGHBOURS;

			for (int i = 0; i < n; i++)
			{
				PqNeighbour row;

				row.distance = norms[i] - 2 * dots[i * PQ_TILE + c];
				if (row.distance > neighbours[last - 1].distance)
					continue;
				row.tid = tids[i];
				offer(neighbours, last, &row);
			}
		}
	}
	pfree(dots);
	pfree(norms);
}

/*
 * Take over what a worker has found.
 */
void
pq_truth_merge(PqTruth *truth, const PqNeighbour *neighbours)
{
	for (int q = 0; q < truth->nqueries; q++)
		for (int i = 0; i < PqLastNeighbour(truth->model); i++)
			if (!isinf(neighbours[q * PQ_NEIGHBOURS + i].distance))
				offer(truth->neighbours + q * PQ_NEIGHBOURS, PqLastNeighbour(truth->model),
					  &neighbours[q * PQ_NEIGHBOURS + i]);
}

/* What was found with some effort: sums over the queries. */
typedef struct Found
{
	double		neighbours;
	double		squares;		/* of a query's neighbours */
} Found;

/*
 * Count how many neighbours of one query are found at each refine step; returns
 * how many there are to find.
 */
static int
count_found(const PqSearch *search, const PqNeighbour *neighbours, Found *found)
{
	const PqCandidate *c = search->candidates;
	int			counts[NREFINE] = {0};
	int			looked = 0;

	for (int i = PQ_PASSED_OVER; i < PqLastNeighbour(search->pq->model); i++)
	{
		const ItemPointerData *tid = &neighbours[i].tid;
		int			at = 0;
		int			rank = 0;

		if (!ItemPointerIsValid(tid))
			continue;
		looked++;
		while (at < search->ncandidates &&
			   (PqCandidateBlock(&c[at]) != ItemPointerGetBlockNumberNoCheck(tid) ||
				c[at].offset != ItemPointerGetOffsetNumberNoCheck(tid)))
			at++;
		if (at == search->ncandidates)
			continue;
		for (int k = 0; k < search->ncandidates; k++)
			rank += c[k].rank < c[at].rank;
		for (int r = 0; r < NREFINE; r++)
			counts[r] += rank < refine_steps[r];
	}
	for (int r = 0; r < NREFINE; r++)
	{
		found[r].neighbours += counts[r];
		found[r].squares += (double) counts[r] * counts[r];
	}
	return looked;
}

/*
 * The recall that an effort has: what was found, less one standard error, since
 * a goal is to be reached and the queries are but a sample.
 */
static double
recall_of(const Found *found, double looked, int nqueries)
{
	double		mean = found->neighbours / nqueries;
	double		variance = Max(found->squares / nqueries - mean * mean, 0) / nqueries;

	return Max(mean - sqrt(variance), 0) * nqueries / looked;
}

/* Numbers of lists to try, from one to half of many, evenly by ratio. */
static int
choose_steps(const PqModel *model, int *steps)
{
	double		most = Max(Min(256, model->nlists), model->nlists / 2);
	double		ratio = Max(1.2, pow(most, 1.0 / (PROBE_STEPS - 2)));
	int			nsteps = 0;

	for (double p = 1; nsteps < PROBE_STEPS; p *= ratio)
	{
		int			probes = (int) rint(Min(p, most));

		if (nsteps == 0 || probes > steps[nsteps - 1])
			steps[nsteps++] = probes;
		if (p >= most)
			break;
	}
	return nsteps;
}

/*
 * Measure the index, which is complete but for its curve, and set the curve:
 * for each goal the cheapest effort that reaches it.
 */
void
pq_calibrate(Relation index, PqTruth *truth, PqMetaPageData *meta)
{
	const PqModel *model = truth->model;
	PqIndex    *pq = pq_index_get(index, CurrentMemoryContext);
	int			steps[PROBE_STEPS];
	int			nsteps = choose_steps(model, steps);
	Found		found[PROBE_STEPS][NREFINE] = {0};
	double		looked = 0;
	double		per_list = meta->tuples / model->nlists;
	double		last_recall = -1;
	PqSearch   *search = pq_search_begin(index, pq);

	for (int q = 0; q < truth->nqueries; q++)
	{
		int			n = 0;
		int			scanned = 0;

		pq_search_query(search, truth->queries + (size_t) q * model->padded, 0);
		for (int s = 0; s < nsteps; s++)
		{
			int			ranked;

			CHECK_FOR_INTERRUPTS();
			ranked = pq_search_rank(search, steps[s]);
			pq_search_more(search, scanned, DEPTH);
			scanned = ranked;
			n = count_found(search, truth->neighbours + q * PQ_NEIGHBOURS, found[s]);
		}
		looked += n;
	}
	meta->ncurve = 0;
	for (int g = 0; g < (int) lengthof(goals) && looked > 0; g++)
	{
		double		best = INFINITY;
		PqCurvePoint point = {0};

		for (int s = 0; s < nsteps; s++)
			for (int r = 0; r < NREFINE; r++)
			{
				/* nanoseconds, roughly */
				double		cost = steps[s] * (300 + per_list * (0.4 + 0.15 * model->nquads)) + refine_steps[r] * 170.0;
				double		recall = recall_of(&found[s][r], looked, truth->nqueries);

				if (recall >= goals[g] && cost < best)
				{
					best = cost;
					point.recall = recall;
					point.probes = steps[s];
					point.refine = refine_steps[r];
				}
			}
		if (!isinf(best) && point.recall > last_recall)
		{
			meta->curve[meta->ncurve++] = point;
			last_recall = point.recall;
		}
	}
}

/*
 * The effort for a goal, between the points of the curve that lie around it.
 * Beyond the curve twice the effort is taken to halve what is missed, up to four
 * times its end; without a curve an eighth of the lists is probed.
 */
const PqCurvePoint *
pq_curve_for(const PqMetaPageData *meta, double recall, PqCurvePoint *point)
{
	const PqCurvePoint *curve = meta->curve;
	int			n = meta->ncurve;
	int			i = 0;

	point->recall = recall;
	point->probes = Max(8, meta->nslots / 8);
	point->refine = 300;
	if (n == 0)
		return point;
	while (i < n && curve[i].recall < recall)
		i++;
	if (i == n)
	{
		double		factor = (1 - curve[n - 1].recall) / Max(1 - recall, 0.001);

		factor = Max(1, Min(4, factor));
		point->probes = (int) ceil(curve[n - 1].probes * factor);
		point->refine = (int) ceil(curve[n - 1].refine * Min(factor, 2));
	}
	else if (i == 0)
		*point = curve[0];
	else
	{
		double		t = (recall - curve[i - 1].recall) / (curve[i].recall - curve[i - 1].recall);

		point->probes = (int) ceil(curve[i - 1].probes + t * (curve[i].probes - curve[i - 1].probes));
		point->refine = (int) ceil(curve[i - 1].refine + t * (curve[i].refine - curve[i - 1].refine));
	}
	return point;
}
