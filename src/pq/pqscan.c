/*
 * pqscan.c
 *		Index scans: rows in order of distance.
 *
 * A scan that knows how many rows it will be asked for (src/index/limit.c)
 * gathers candidates until that many nearest rows are probably among them
 * (pqgather.c), and returns these in order of the exact distance: it is the
 * refine code's, give or take that code's error, and where that is not enough
 * the row itself is asked (src/index/fetch.c).  Rows that cannot be seen do not
 * count, so more is gathered in their place before the first row is returned.
 *
 * What comes after that, and all of a scan that does not know how many rows are
 * wanted, comes from the refine codes of all entries: a row is returned when no
 * other can be nearer.  With jflow.pq_iterative_scan = strict, rows that are
 * nearer than one already returned are left out; relaxed gathers more and more
 * instead, and returns them late; off returns what was gathered first.
 */
#include "postgres.h"

#include <math.h>

#include "access/relscan.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "index/effort.h"
#include "index/fetch.h"
#include "index/limit.h"
#include "pq/pq.h"

int			jflow_pq_probes = 0;
double		jflow_pq_recall_goal = 0.95;
int			jflow_pq_refine = 0;
int			jflow_pq_iterative_scan = PQ_ITERATIVE_STRICT;

/* Rows to gather for where nobody knows how many are wanted. */
#define UNKNOWN_ROWS 100
/* A filter that the planner expects to keep a share may keep less of it. */
#define FILTER_MARGIN 1.5

/* Lists that are ranked at least. */
#define LEAST_PROBES 8

typedef enum PqPhase
{
	PQ_GATHER,					/* rows that were gathered and not yet
								 * returned */
	PQ_REST,					/* nothing else is left */
	PQ_EXACT					/* all entries, by their refine codes */
} PqPhase;

typedef struct PqScanOpaque
{
	IxEffort	effort;
	MemoryContext context;		/* of one search */
	const PqSpace *space;
	const ScanKeyData *orderbys;	/* as the executor knows them */
	IxWanted	wanted;
	PqSearch   *search;			/* NULL until the first row is asked for */
	PqGather   *gather;
	Datum		query;			/* the vector asked for, detoasted */
	bool		unordered;		/* the query has no direction or is NULL */
	PqPhase		phase;
	double		entries;		/* of the index, about */
	IxFetch    *fetch;
	IxRanking	ranking;		/* of what was found and not yet returned */
	int			ranked;			/* of gather->found */
	int64		unseen;			/* rows that the snapshot cannot see */
	IxRow	   *out;			/* the next rows */
	int			nout;
	int			next;
	/* what was returned */
	double		last;
	ItemPointerData *returned;	/* all rows if relaxed, else those at last */
	int			nreturned;
	int			maxreturned;
	int			total;
	/* reading all entries, as many at a time as memory holds */
	bool		started;
	bool		turned_away;	/* entries are left from this one on */
	IxRow		horizon;
} PqScanOpaque;

/* Begin a scan, in the executor's memory context; reads nothing yet. */
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

/* Begin anew with other keys. */
void
pq_rescan(IndexScanDesc scan, ScanKey keys, int nkeys, ScanKey orderbys, int norderbys)
{
	PqScanOpaque *so = scan->opaque;
	PqScanOpaque fresh = {.effort = so->effort,.context = so->context,.space = so->space,.orderbys = so->orderbys};

	if (so->fetch)
		ix_fetch_end(so->fetch);
	so->fetch = NULL;
	MemoryContextReset(so->context);
	*so = fresh;
	if (keys && scan->numberOfKeys > 0)
		memmove(scan->keyData, keys, scan->numberOfKeys * sizeof(ScanKeyData));
	if (orderbys && scan->numberOfOrderBys > 0)
	{
		memmove(scan->orderByData, orderbys, scan->numberOfOrderBys * sizeof(ScanKeyData));
		so->orderbys = orderbys;
	}
}

/* Give back all that a scan holds. */
void
pq_endscan(IndexScanDesc scan)
{
	PqScanOpaque *so = scan->opaque;

	ix_effort_end(scan);
	if (so->fetch)
		ix_fetch_end(so->fetch);
	MemoryContextDelete(so->context);
	pfree(so);
	scan->opaque = NULL;
}

/*
 * See that a row is there, and what its exact distance is.
 */
static bool
look_at_row(void *arg, IxRow *row)
{
	IndexScanDesc scan = arg;
	PqScanOpaque *so = scan->opaque;
	Datum		value;
	MemoryContext old;

	so->effort.fetched++;
	if (row->known)
	{
		if (ix_fetch_visible(so->fetch, &row->tid, scan->xs_snapshot))
			return true;
		so->unseen++;
		return false;
	}
	if (!ix_fetch_value(so->fetch, &row->tid, scan->xs_snapshot, &value))
	{
		so->unseen++;
		return false;
	}
	old = MemoryContextSwitchTo(ix_fetch_row_context(so->fetch));
	value = PointerGetDatum(pq_detoast(so->space, so->search->pq->model->dims, value));
	row->distance = DatumGetFloat8(FunctionCall2Coll(index_getprocinfo(scan->indexRelation, 1, PQ_DISTANCE_PROC),
													 scan->indexRelation->rd_indcollation[0], value, so->query));
	MemoryContextSwitchTo(old);
	if (isnan(row->distance))
		row->distance = INFINITY;
	return true;
}

/* Add a candidate to the ranking, which has room for it. */
static void
rank_row(IndexScanDesc scan, const ItemPointerData *tid, double distance, float error)
{
	PqScanOpaque *so = scan->opaque;
	IxRow	   *row = &so->ranking.rows[so->ranking.nrows++];

	if (!ix_fetch_in_table(so->fetch, ItemPointerGetBlockNumberNoCheck(tid), ItemPointerGetOffsetNumberNoCheck(tid)))
		ix_corrupt(scan->indexRelation, PQ_META_BLOCK, "An entry leads beyond the end of the table.");
	row->tid = *tid;
	row->distance = so->unordered ? 0 : pq_search_least(so->search, distance, error);
	/* the operator rounds a cosine also where the code is exact */
	row->known = so->unordered ||
		(error == 0 && so->space->metric != PQ_METRIC_COSINE && so->search->pq->model->distortion == 0 && !so->search->cut_off);
	/* the executor looks whether it sees a row, if we need not know */
	row->exact = row->known && so->phase == PQ_EXACT;
}

/*
 * Rank what was gathered since the last time.  Of projected vectors, whose rows
 * all have to be fetched, only those whose distance may be small enough.
 */
static void
rank_found(IndexScanDesc scan)
{
	PqScanOpaque *so = scan->opaque;
	PqGather   *g = so->gather;
	double		most = INFINITY;

	if (so->search->pq->model->distortion > 0 && !isinf(g->kth))
		most = g->kth + pq_projection_deviation(so->search, g->kth) * PQ_PROJECTION_DEVIATIONS;
	ix_ranking_reserve(&so->ranking, g->nfound - so->ranked);
	for (int i = so->ranked; i < g->nfound; i++)
	{
		PqFound		found = g->found[i];

		if (found.distance > most)
			continue;
		g->found[i] = g->found[so->ranked];
		g->found[so->ranked++] = found;
		rank_row(scan, &found.tid, found.distance, found.error);
	}
	ix_ranking_order(&so->ranking);
}

/*
 * The rule for k rows.  A query that lies outside of what is usual has one of its own.
 */
static void
rule_for(PqScanOpaque *so, double k, PqCurvePoint *point)
{
	PqSearch   *search = so->search;
	const PqMetaPageData *meta = &search->pq->meta;
	PqCurvePoint unlike;

	pq_curve_for(meta->curves, meta->ncurves, k, jflow_pq_recall_goal, point);
	if (meta->nunlike == 0)
		return;
	(void) pq_search_rank(search, Max(point->probes, LEAST_PROBES));
	if (!pq_curve_unlike(meta, k, jflow_pq_recall_goal, pq_search_strangeness(search), &unlike))
		return;
	point->list = Max(point->list, unlike.list);
	point->code = Max(point->code, unlike.code);
	point->mean = Max(point->mean, unlike.mean);
	point->probes = Max(point->probes, unlike.probes);
	(void) pq_search_rank(search, point->probes);
}

/*
 * Set the rule for k rows, under filters for as many as there are to k that pass:
 * these are a sample of those.  Returns whether more is looked at than before.
 */
static bool
set_rule(PqScanOpaque *so, double k)
{
	PqGather   *g = so->gather;
	PqRule		before = g->rule;
	PqCurvePoint point;

	if (so->search->passed > 0)
		k *= (double) so->search->tested / so->search->passed;
	rule_for(so, k, &point);
	g->rule.list = Max(point.list, before.list);
	g->rule.code = Max(point.code, before.code);
	g->rule.mean = Max(point.mean, before.mean);
	g->expected = point.probes;
	/* nobody knows how many lie within a bound */
	for (double fewer = 1; so->wanted.bounded && fewer < k; fewer *= 10)
	{
		rule_for(so, fewer, &point);
		g->rule.list = Max(g->rule.list, point.list);
		g->rule.code = Max(g->rule.code, point.code);
		g->rule.mean = Max(g->rule.mean, point.mean);
	}
	return g->rule.list > before.list || g->rule.code > before.code;
}

static void start_exact(PqScanOpaque *so);

static void
gather(PqScanOpaque *so)
{
	PqGather   *g = so->gather;
	int			scanned = g->scanned;
	int			nfound = g->nfound;

	pq_gather(g);
	so->effort.rounds++;
	so->effort.lists += g->scanned - scanned;
	so->effort.candidates += g->nfound - nfound;
}

/*
 * Gather until k rows, with those returned before, are known to be the nearest
 * ones found, and line them up.
 */
static void
line_up(IndexScanDesc scan, int k)
{
	PqScanOpaque *so = scan->opaque;
	PqGather   *g = so->gather;
	int64		unseen;

	do
	{
		const IxRow *row;

		CHECK_FOR_INTERRUPTS();
		set_rule(so, g->k);
		gather(so);
		if (so->search->filters.n > 0 && set_rule(so, g->k))
			gather(so);
		/* rows that are lined up may have to let others go first */
		ix_ranking_reserve(&so->ranking, so->nout - so->next);
		while (so->nout > so->next)
			so->ranking.rows[so->ranking.nrows++] = so->out[--so->nout];
		rank_found(scan);
		so->nout = so->next = 0;
		so->out = so->out ? repalloc_huge(so->out, sizeof(IxRow) * k) :
			palloc_extended(sizeof(IxRow) * k, MCXT_ALLOC_HUGE);
		unseen = so->unseen;
		while (so->total + so->nout < k && (row = ix_ranking_first(&so->ranking, look_at_row, scan)))
		{
			so->out[so->nout++] = *row;
			ix_ranking_pop(&so->ranking);
		}
		if (so->unseen == unseen || g->refine > 0 || isinf(g->kth))
			break;
		if (k + 2 * so->unseen > so->entries * PQ_LARGE_PART && jflow_pq_iterative_scan != PQ_ITERATIVE_OFF)
		{
			/* most of what lies there cannot be seen: rather read all */
			start_exact(so);
			return;
		}
		pq_gather_widen(g, (int) Min(k + 2 * so->unseen, PG_INT32_MAX / 8));
	} while (true);

	/* all entries were found, or all that are near enough */
	if ((isinf(g->kth) && g->refine == 0 && g->probes == 0) || g->kth == g->bound)
		so->phase = PQ_REST;
}

static int
compare_tids(const void *a, const void *b)
{
	return ItemPointerCompare((ItemPointer) a, (ItemPointer) b);
}

/*
 * From now on rows come from all entries.
 */
static void
start_exact(PqScanOpaque *so)
{
	so->phase = PQ_EXACT;
	so->ranking.nrows = 0;
	so->nout = so->next = 0;
	so->started = false;
	if (so->nreturned > 1)
		qsort(so->returned, so->nreturned, sizeof(ItemPointerData), compare_tids);
	if (!so->search->candidates)
		so->search->candidates = palloc(sizeof(PqCandidate) * PqMostSlots(so->search->pq));
}

/* Order by the least possible distance, then TID: that of reading all entries. */
static inline bool
least_before(const IxRow *a, const IxRow *b)
{
	if (a->distance != b->distance)
		return a->distance < b->distance;
	return ItemPointerCompare(unconstify(ItemPointerData *, &a->tid), unconstify(ItemPointerData *, &b->tid)) < 0;
}

#define SELECT_NAME select_least
#define SELECT_ELEMENT_TYPE IxRow
#define SELECT_BEFORE least_before
#include "index/select_template.h"

/* Rank the entries of a posting page that lie behind those read before. */
static void
read_page(IndexScanDesc scan, uint32 list, Page page, const IxRow *from, int first, int most)
{
	PqScanOpaque *so = scan->opaque;
	PqSearch   *search = so->search;
	double		distances[64 * PQ_BLOCK];
	float		errors[64 * PQ_BLOCK];
	IxRanking  *ranking = &so->ranking;

	pq_search_page(search, list, page, distances, errors);
	ix_ranking_reserve(ranking, search->ncandidates);
	so->effort.candidates += search->ncandidates;
	for (int i = 0; i < search->ncandidates; i++)
	{
		ItemPointerData tid;
		const IxRow *row = &ranking->rows[ranking->nrows];

		ItemPointerSet(&tid, PqCandidateBlock(&search->candidates[i]), search->candidates[i].offset);
		rank_row(scan, &tid, distances[i], errors[i]);
		if ((from && least_before(row, from)) || (so->turned_away && !least_before(row, &so->horizon)))
			ranking->nrows--;
	}
	if (ranking->nrows - first > 2 * most)
	{
		select_least(ranking->rows + first, ranking->nrows - first, most);
		ranking->nrows = first + most;
		so->horizon = ranking->rows[ranking->nrows];
		so->turned_away = true;
	}
}

/*
 * Rank entries behind those read before, as many as fit in work_mem.
 */
static void
read_entries(IndexScanDesc scan)
{
	PqScanOpaque *so = scan->opaque;
	PqIndex    *pq = so->search->pq;
	int			first = so->ranking.nrows;

	/* twice as many, and a page's, must be a number of rows, too */
	int			most = Max((int) Min(work_mem * (Size) 1024 / 3 / sizeof(IxRow), PG_INT32_MAX / 4), 16384);
	IxRow		from = so->horizon;
	bool		again = so->started;
	PGAlignedBlock *copy = palloc(sizeof(PGAlignedBlock));

	so->started = true;
	so->turned_away = false;
	so->effort.all = true;
	so->effort.rounds++;
	so->effort.lists += pq->model->nlists;
	for (uint32 list = 0; list < PqMetaLists(&pq->meta); list++)
	{
		BlockNumber block = pq_list_head(pq, scan->indexRelation, list);
		BlockNumber steps = 0;

		while (block != InvalidBlockNumber)
		{
			Buffer		buffer = pq_read(pq, scan->indexRelation, block);

			CHECK_FOR_INTERRUPTS();
			LockBuffer(buffer, BUFFER_LOCK_SHARE);
			pq_search_check(so->search, buffer, list);
			/* not to hold the lock while refine pages are read */
			memcpy(copy->data, BufferGetPage(buffer), BLCKSZ);
			UnlockReleaseBuffer(buffer);
			block = PqPostingGetHeader(copy->data)->next;
			read_page(scan, list, copy->data, again ? &from : NULL, first, most);
			if ((++steps & 1023) == 0 && steps > RelationGetNumberOfBlocks(scan->indexRelation))
				ix_corrupt(scan->indexRelation, block, "The pages of a list form a circle.");
		}
	}
	pfree(copy);
	ix_ranking_order(&so->ranking);
}

/*
 * The next row of all, or NULL if there is none.
 */
static const IxRow *
next_exact(IndexScanDesc scan)
{
	PqScanOpaque *so = scan->opaque;

	for (;;)
	{
		const IxRow *row;

		if (!so->started)
			read_entries(scan);
		row = ix_ranking_first(&so->ranking, look_at_row, scan);
		if (!so->turned_away || (row && row->distance <= so->horizon.distance))
			return row;
		read_entries(scan);
	}
}

/*
 * How many rows to gather: what is wanted, or what has to be looked at for a
 * filter of the executor's to let so many through.
 */
static double
rows_to_gather(IndexScanDesc scan)
{
	PqScanOpaque *so = scan->opaque;
	double		rows = so->wanted.rows < 0 ? UNKNOWN_ROWS : Max(so->wanted.rows, 1);

	if (so->wanted.filtered >= 0 && so->wanted.rows >= 0 && jflow_pq_iterative_scan != PQ_ITERATIVE_OFF)
	{
		double		passing = so->entries;

		if (so->search->tested > 0)
			passing *= (double) so->search->passed / so->search->tested;
		if (passing > so->wanted.filtered)
			rows *= FILTER_MARGIN * passing / Max(so->wanted.filtered, 1);
	}
	return rows;
}

/*
 * Choose how to begin, once the search is set up.
 */
static void
start_phase(IndexScanDesc scan)
{
	PqScanOpaque *so = scan->opaque;
	PqSearch   *search = so->search;
	const PqLayout *layout = &search->pq->layout;
	PqRule		none = {-INFINITY, -INFINITY, -INFINITY};
	double		rows;

	so->entries = (double) RelationGetNumberOfBlocks(scan->indexRelation) / (1 + layout->nrefine) * layout->nslots;
	if (scan->heapRelation->rd_rel->reltuples > 0)
		so->entries = Min(so->entries, scan->heapRelation->rd_rel->reltuples * 1.2);
	rows = rows_to_gather(scan);
	if (so->unordered || search->pq->meta.ncurves == 0 ||
		(so->space->metric == PQ_METRIC_L1 && jflow_pq_recall_goal >= 1) || rows > so->entries * PQ_LARGE_PART ||
		(so->wanted.rows < 0 && jflow_pq_iterative_scan == PQ_ITERATIVE_STRICT))
	{
		start_exact(so);
		return;
	}
	so->phase = PQ_GATHER;
	so->gather = pq_gather_begin(search, (int) rows, &none);
	so->gather->probes = jflow_pq_probes;
	if (so->wanted.bounded)
		pq_gather_bound(so->gather, pq_search_bound(search, so->wanted.bound));
	if (jflow_pq_refine > 0)
		pq_gather_refine(so->gather, (int) Min(jflow_pq_refine * rows, 1000000));
	line_up(scan, (int) rows);
	if (search->filters.n > 0 && so->wanted.filtered >= 0 && jflow_pq_refine == 0 && so->phase == PQ_GATHER)
	{
		double		more = rows_to_gather(scan);

		if (more > rows && more <= so->entries * PQ_LARGE_PART)
		{
			pq_gather_widen(so->gather, (int) more);
			line_up(scan, (int) more);
		}
	}
}

static void
start_search(IndexScanDesc scan)
{
	PqScanOpaque *so = scan->opaque;
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
	COUNT_INDEX_SEARCH_COMPAT(scan);
	ix_limit_wanted(so->orderbys, &so->wanted);
	pq = pq_index_get(index, so->context);
	query = palloc0(sizeof(float) * pq->model->padded);
	if (scan->orderByData->sk_flags & SK_ISNULL)
		so->unordered = true;
	else
	{
		so->query = PointerGetDatum(pq_detoast(so->space, pq->model->dims, scan->orderByData->sk_argument));
		so->unordered = !pq_embed(so->space, pq->model->dims, pq->model->space_dims, pq->model->padded,
								  PqQueryCentre(pq->model), so->query, query, &lost);
	}
	so->fetch = ix_fetch_begin(scan->heapRelation, index);
	so->search = pq_search_begin(index, pq);
	so->search->snapshot = scan->xs_snapshot;
	so->effort.searches++;
	so->effort.calibrated = pq->meta.ncurves > 0;
	so->search->cut_off = isinf(lost);
	ix_filters_prepare(&so->search->filters, index, scan->keyData, scan->numberOfKeys);
	/* no row is wanted whose distance is compared with NULL */
	so->search->filters.never |= so->wanted.bounded && so->wanted.bound == -INFINITY;
	pq_search_query(so->search, query, lost);
	so->last = -INFINITY;
	if (!so->search->filters.never)
		start_phase(scan);
}

/*
 * All that was lined up is returned: go on.  Returns false if there is nothing
 * more.
 */
static bool
go_on(IndexScanDesc scan)
{
	PqScanOpaque *so = scan->opaque;
	double		rows;

	if (so->phase == PQ_REST || jflow_pq_iterative_scan == PQ_ITERATIVE_OFF)
	{
		const IxRow *row = ix_ranking_first(&so->ranking, look_at_row, scan);

		if (!row)
			return false;
		so->out[0] = *row;
		so->nout = 1;
		so->next = 0;
		ix_ranking_pop(&so->ranking);
		return true;
	}
	rows = so->gather->k * 4.0;
	if (jflow_pq_iterative_scan == PQ_ITERATIVE_RELAXED && rows <= so->entries * PQ_LARGE_PART && so->gather->refine == 0)
	{
		pq_gather_widen(so->gather, (int) rows);
		line_up(scan, (int) rows);
	}
	else
		start_exact(so);
	return true;
}

/* Was a row returned before reading all entries? */
static bool
was_returned(const PqScanOpaque *so, const IxRow *row)
{
	return so->nreturned > 0 &&
		bsearch(&row->tid, so->returned, so->nreturned, sizeof(ItemPointerData), compare_tids) != NULL;
}

/* Remember a row that is returned while others may have to be told from it. */
static void
note_returned(PqScanOpaque *so, const IxRow *row)
{
	if (so->phase == PQ_EXACT)
		return;
	if (jflow_pq_iterative_scan == PQ_ITERATIVE_STRICT && row->distance != so->last)
		so->nreturned = 0;
	if (so->nreturned == so->maxreturned)
	{
		so->maxreturned = Max(64, 2 * so->maxreturned);
		so->returned = so->returned ? repalloc_huge(so->returned, sizeof(ItemPointerData) * so->maxreturned) :
			palloc(sizeof(ItemPointerData) * so->maxreturned);
	}
	so->returned[so->nreturned++] = row->tid;
}

/*
 * The next row to return.
 */
static bool
next_row(IndexScanDesc scan, IxRow *out)
{
	PqScanOpaque *so = scan->opaque;
	bool		strict = jflow_pq_iterative_scan != PQ_ITERATIVE_RELAXED && !so->unordered;

	while (!so->search->filters.never)
	{
		if (so->phase == PQ_EXACT)
		{
			const IxRow *row = next_exact(scan);

			if (!row)
				return false;
			*out = *row;
			ix_ranking_pop(&so->ranking);
			if ((strict && out->distance < so->last) || was_returned(so, out))
				continue;
		}
		else if (so->next < so->nout)
			*out = so->out[so->next++];
		else if (go_on(scan))
			continue;
		else
			return false;
		if (so->wanted.bounded && out->distance > so->wanted.bound && !so->unordered)
		{
			if (strict || so->phase == PQ_EXACT)
				return false;
			continue;
		}
		if (strict && out->distance < so->last)
			continue;
		return true;
	}
	return false;
}

/* The next row by distance; false when there is none. */
bool
pq_gettuple(IndexScanDesc scan, ScanDirection direction)
{
	PqScanOpaque *so = scan->opaque;
	MemoryContext old = MemoryContextSwitchTo(so->context);
	IxRow		row;
	bool		found;

	if (!ScanDirectionIsForward(direction))
		elog(ERROR, "pq indexes cannot be scanned backward");
	if (!so->search)
		start_search(scan);
	found = next_row(scan, &row);
	if (found)
	{
		note_returned(so, &row);
		so->last = row.distance;
		so->total++;
		scan->xs_heaptid = row.tid;
		scan->xs_recheck = so->search->filters.recheck;
		scan->xs_recheckorderby = false;
	}
	MemoryContextSwitchTo(old);
	return found;
}
