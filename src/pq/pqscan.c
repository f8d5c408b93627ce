/*
 * pqscan.c
 *		Index scans: rows in order of distance.
 *
 * Rows behind a batch of candidates are ranked by the least distance each can
 * have, the refine code's less that code's error, and by the exact one where
 * that is in doubt (src/index/fetch.c).
 *
 * When a batch is used up, a larger one follows from more lists, until every
 * entry was returned (jflow.pq_iterative_scan = relaxed), or with what comes
 * too late left out (strict).  A part of a batch is enough to ask for more
 * while batches are small: recall among the last of its candidates is poor.
 */
#include "postgres.h"

#include <math.h>

#include "access/relscan.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "index/fetch.h"
#include "pq/pq.h"

int			jflow_pq_probes = 0;
double		jflow_pq_recall_goal = 0.95;
int			jflow_pq_refine = 0;
int			jflow_pq_iterative_scan = PQ_ITERATIVE_RELAXED;

/* Largest batch: 16,384 candidates of 24 bytes, four times that in all. */
#define MAX_BATCH 16384
/* Candidates, past all filters, to have before the first row is returned. */
#define MIN_ITEMS 50
/* Filters that keep this share of the rows, or more, need no more lists. */
#define WIDE_FILTER (1.0 / 16)

typedef struct PqScanOpaque
{
	MemoryContext context;		/* of one search */
	const PqSpace *space;
	PqSearch   *search;			/* NULL until the first row is asked for */
	Datum		query;			/* the vector asked for, detoasted */
	bool		unordered;		/* the query has no direction or is NULL */
	bool		cut_off;		/* the query's values are too large to tell
								 * distances by */
	bool		never;			/* the filters match nothing */
	bool		more;			/* entries are left */
	int			probes;
	int			calibrated;		/* lists that are enough without a filter */
	int			ranked;			/* lists so far */
	int			want;
	int			returned;
	int			quota;			/* rows to return before the next batch */
	double		last;
	IxRanking	ranking;		/* of what was found and not yet returned */
	IxFetch    *fetch;
} PqScanOpaque;

IndexScanDesc
pq_beginscan(Relation index, int nkeys, int norderbys)
{
	IndexScanDesc scan = RelationGetIndexScan(index, nkeys, norderbys);
	PqScanOpaque *so = palloc0(sizeof(PqScanOpaque));

	so->context = AllocSetContextCreate(CurrentMemoryContext, "pq scan", ALLOCSET_DEFAULT_SIZES);
	so->space = pq_index_space(index);
	scan->opaque = so;
	return scan;
}

static void
end_fetch(PqScanOpaque *so)
{
	if (so->fetch)
		ix_fetch_end(so->fetch);
	so->fetch = NULL;
}

void
pq_rescan(IndexScanDesc scan, ScanKey keys, int nkeys, ScanKey orderbys, int norderbys)
{
	PqScanOpaque *so = scan->opaque;

	end_fetch(so);
	MemoryContextReset(so->context);
	so->search = NULL;
	memset(&so->ranking, 0, sizeof(so->ranking));
	if (keys && scan->numberOfKeys > 0)
		memmove(scan->keyData, keys, scan->numberOfKeys * sizeof(ScanKeyData));
	if (orderbys && scan->numberOfOrderBys > 0)
		memmove(scan->orderByData, orderbys, scan->numberOfOrderBys * sizeof(ScanKeyData));
}

void
pq_endscan(IndexScanDesc scan)
{
	PqScanOpaque *so = scan->opaque;

	end_fetch(so);
	MemoryContextDelete(so->context);
	pfree(so);
	scan->opaque = NULL;
}

/*
 * The least that the operator can answer for a candidate, given the distance of
 * its refine code and that code's error.
 */
static double
lower_bound(const PqScanOpaque *so, double distance, float error)
{
	const PqModel *model = so->search->pq->model;
	double		least;

	if (isinf(error) || so->cut_off)
		return so->space->metric == PQ_METRIC_IP ? -INFINITY : 0;
	if (so->space->metric == PQ_METRIC_IP)
	{
		if (model->distortion > 0)
			return -INFINITY;
		least = (double) distance - (double) error * sqrt(so->search->norm);
		return error > 0 ? least - fabs(distance) * 1e-5 : least;
	}
	least = distance;
	if (model->distortion > 0)
		least *= 1 - model->distortion;
	if (error > 0 || model->distortion > 0)
		least = least * (1 - 1e-5) - error;
	if (least < 0)
		least = 0;
	return so->space->metric == PQ_METRIC_COSINE ? least * least / 2 : least;
}

/*
 * Put the next batch of candidates into the heap of items.
 */
static void
next_batch(IndexScanDesc scan)
{
	PqScanOpaque *so = scan->opaque;
	PqSearch   *search = so->search;
	double	   *distances;
	float	   *errors;
	bool		projected = search->pq->model->distortion > 0;
	bool		left;

	so->ranked = pq_search_rank(search, so->probes);
	left = pq_search_codes(search, so->want);
	so->more = left || so->ranked < search->pq->model->nlists;
	ix_ranking_reserve(&so->ranking, search->ncandidates);
	distances = palloc(sizeof(double) * (search->ncandidates + 1));
	errors = palloc(sizeof(float) * (search->ncandidates + 1));
	pq_search_refine(search, distances, errors);
	for (int i = 0; i < search->ncandidates; i++)
	{
		const PqCandidate *c = &search->candidates[i];
		IxRow	   *row = &so->ranking.rows[so->ranking.nrows++];

		if (!ix_fetch_in_table(so->fetch, PqCandidateBlock(c), c->offset))
			ix_corrupt(scan->indexRelation, c->place >> 16, "An entry leads beyond the end of the table.");
		ItemPointerSet(&row->tid, PqCandidateBlock(c), c->offset);
		row->distance = lower_bound(so, distances[i], errors[i]);
		row->exact = so->unordered || (errors[i] == 0 && !projected && !so->cut_off);
	}
	ix_ranking_order(&so->ranking);
	pfree(distances);
	pfree(errors);

	/* a flat index's batches follow each other in order of distance */
	if (PqModelIsFlat(search->pq->model) && !projected)
		so->quota = so->more ? so->quota + so->want : PG_INT32_MAX;
	else
		so->quota += so->want < MAX_BATCH ? Max(so->want / 3, 20) : PG_INT32_MAX / 4;
	if (so->quota > PG_INT32_MAX / 2)
		so->quota = PG_INT32_MAX;
	so->probes = (int) Min((int64) so->probes * 2, search->pq->model->nlists);
	so->want = Min(so->want * 2, MAX_BATCH);
}

/*
 * The exact distance of a row, from the table.  Returns false if the scan's
 * snapshot sees no such row.
 */
static bool
fetch_distance(void *arg, IxRow *row)
{
	IndexScanDesc scan = arg;
	PqScanOpaque *so = scan->opaque;
	Datum		value;
	MemoryContext old;

	if (!ix_fetch_value(so->fetch, &row->tid, scan->xs_snapshot, &value))
		return false;
	old = MemoryContextSwitchTo(ix_fetch_row_context(so->fetch));
	value = PointerGetDatum(pq_detoast(so->space, so->search->pq->model->dims, value));
	row->distance = DatumGetFloat8(FunctionCall2Coll(index_getprocinfo(scan->indexRelation, 1, PQ_DISTANCE_PROC),
													 scan->indexRelation->rd_indcollation[0], value, so->query));
	MemoryContextSwitchTo(old);
	if (isnan(row->distance))
		row->distance = INFINITY;
	return true;
}

/*
 * How many lists to probe and how many candidates to refine.
 */
void
pq_choose_effort(const PqMetaPageData *meta, int nlists, int *probes, int *refine)
{
	PqCurvePoint point;

	if (jflow_pq_probes > 0)
	{
		*probes = jflow_pq_probes;
		*refine = 200;
		for (int i = 0; i < meta->ncurve; i++)
		{
			*refine = meta->curve[i].refine;
			if (meta->curve[i].probes >= *probes)
				break;
		}
	}
	else
	{
		pq_curve_for(meta, jflow_pq_recall_goal, &point);
		*probes = point.probes;
		*refine = point.refine;
	}
	if (jflow_pq_refine > 0)
		*refine = jflow_pq_refine * 10;
	*probes = Max(1, Min(*probes, nlists));
}

/*
 * How many lists to see before the first row is returned.  Of n rows of which a
 * filter keeps a share, the nearest are among more of the nearest of all, which
 * lie in more lists than calibration, that knew of no filter, has found to be
 * enough.  The cube root is what measurements show (bench/pq, "filter").
 */
static int
least_probes(const PqScanOpaque *so)
{
	const PqSearch *search = so->search;
	double		share = (double) Max(search->passed, 1) / Max(search->tested, 1);

	if (search->nfilters == 0 || jflow_pq_probes > 0 || share >= WIDE_FILTER)
		return 0;
	return (int) Min(so->calibrated * cbrt(WIDE_FILTER / share), search->pq->model->nlists);
}

static void
start_search(IndexScanDesc scan, PqScanOpaque *so)
{
	Relation	index = scan->indexRelation;
	PqIndex    *pq;
	float	   *query;
	float		lost = 0;

	if (scan->numberOfOrderBys != 1)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a scan of pq index \"%s\" needs one ORDER BY of a distance",
						RelationGetRelationName(index)),
				 errdetail("Rows whose vector is NULL are not in the index, so it cannot answer other queries.")));
	if (!IsMVCCSnapshot(scan->xs_snapshot))
		elog(ERROR, "non-MVCC snapshots are not supported with pq");
	pgstat_count_index_scan(index);
	PQ_COUNT_SEARCH_COMPAT(scan);
	pq = pq_index_get(index, so->context);
	query = palloc0(sizeof(float) * pq->model->padded);
	if (scan->orderByData->sk_flags & SK_ISNULL)
		so->unordered = true;
	else
	{
		so->query = PointerGetDatum(pq_detoast(so->space, pq->model->dims, scan->orderByData->sk_argument));
		so->unordered = !pq_embed(so->space, pq->model->dims, pq->model->inner, pq->model->padded,
								  PqQueryCentre(pq->model), so->query, query, &lost);
	}
	so->cut_off = isinf(lost);
	so->fetch = ix_fetch_begin(scan->heapRelation, index);
	so->search = pq_search_begin(index, pq);
	so->search->filters = ix_filters_prepare(index, scan->keyData, scan->numberOfKeys,
											 &so->search->nfilters, &so->never);
	pq_search_query(so->search, query, lost);
	pq_choose_effort(&pq->meta, pq->model->nlists, &so->probes, &so->want);
	so->calibrated = so->probes;
	so->more = true;
	so->returned = 0;
	so->quota = 0;
	so->last = -INFINITY;
}

bool
pq_gettuple(IndexScanDesc scan, ScanDirection direction)
{
	PqScanOpaque *so = scan->opaque;
	MemoryContext old = MemoryContextSwitchTo(so->context);
	bool		found = false;

	if (!ScanDirectionIsForward(direction))
		elog(ERROR, "pq indexes cannot be scanned backward");
	if (!so->search)
	{
		start_search(scan, so);
		if (!so->never)
			next_batch(scan);
	}
	while (!so->never && !found)
	{
		const IxRow *row;
		double		distance;

		/*
		 * too few rows passed the filters, too few lists were seen for them,
		 * or the nearest lists are too short, for the order of what was found
		 * to be believed
		 */
		int			least = so->returned == 0 && so->more ? least_probes(so) : 0;
		bool		starved = so->returned == 0 && so->more &&
			(so->ranking.nrows < MIN_ITEMS || so->ranked < least);

		if (so->ranking.nrows == 0 || so->returned >= so->quota || starved)
		{
			if (so->more && (jflow_pq_iterative_scan != PQ_ITERATIVE_OFF || starved))
			{
				CHECK_FOR_INTERRUPTS();
				so->probes = Max(so->probes, least);
				next_batch(scan);
				continue;
			}
			if (so->ranking.nrows == 0)
				break;
		}
		row = ix_ranking_first(&so->ranking, fetch_distance, scan);
		if (!row)
			continue;
		distance = row->distance;
		scan->xs_heaptid = row->tid;
		ix_ranking_pop(&so->ranking);
		if (jflow_pq_iterative_scan == PQ_ITERATIVE_STRICT && !so->unordered && distance < so->last)
			continue;
		so->last = distance;
		so->returned++;
		scan->xs_recheck = false;
		scan->xs_recheckorderby = false;
		found = true;
	}
	MemoryContextSwitchTo(old);
	return found;
}
