/*
 * invscan.c
 *		Index scans: rows in the order of their distance.
 *
 * A scan goes through stages: rows whose distance is a number, those where it is
 * NaN, those whose vector is NULL.  In the first, documents that the search
 * found are merged with those that share no term with the query, which all lie at
 * one distance.  What was found is returned only while it is not behind the bound
 * of what was not looked for yet; then the search goes on.
 */
#include "postgres.h"

#include <math.h>

#include "access/relscan.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "sparsevec.h"

#include "index/effort.h"
#include "index/limit.h"
#include "inverted/invsearch.h"

/* Documents that the first search asks for where nobody knows how many. */
#define UNKNOWN_WANT 64
/* A search may keep more if work_mem allows it. */
#define MOST_WANT 16384
/* Rows of one distance that are remembered on a standby. */
#define MOST_REMEMBERED 100000

typedef enum Stage
{
	STAGE_NUMBER,
	STAGE_NAN,
	STAGE_UNMATCHED,			/* where that makes it NaN, too */
	STAGE_NULL,
	STAGE_END
} Stage;

typedef struct InvScanOpaque
{
	IxEffort	effort;
	MemoryContext context;		/* of one scan */
	MemoryContext search_context;	/* of one view of the index */
	const ScanKeyData *orderbys;	/* as the executor knows them */
	IxWanted	wanted;
	InvSearch  *search;			/* NULL until the first row is asked for */
	InvQuery	query;
	Datum		value;			/* the vector asked for, detoasted */
	bool		unordered;		/* it is NULL */
	bool		only_null;		/* vector IS NULL, or IS NOT NULL */
	bool		no_null;
	IxFilters	filters;
	/* of the search */
	Stage		stage;
	IxFetch    *fetch;
	IxRanking	ranking;
	int			want;
	bool		more;			/* documents are left */
	double		floor;			/* none of them is nearer */
	double		unmatched_at;	/* distance of rows without a common term */
	bool		unmatched_done;
	InvStream	stream;
	bool		streaming;
	ItemPointerData *nans;		/* found to be so */
	int			nnans;
	int			maxnans;
	int			nan_at;
	/* what was returned last, where the view may be overtaken */
	Stage		last_stage;
	double		last;
	HTAB	   *same;			/* rows returned at that distance */
	bool		resumed;
} InvScanOpaque;

/* Begin a scan, in the executor's memory context; reads nothing yet. */
IndexScanDesc
inv_beginscan(Relation index, int nkeys, int norderbys)
{
	IndexScanDesc scan = RelationGetIndexScan(index, nkeys, norderbys);
	InvScanOpaque *so = palloc0(sizeof(InvScanOpaque));

	so->context = AllocSetContextCreate(CurrentMemoryContext, "inverted scan", ALLOCSET_DEFAULT_SIZES);
	so->search_context = AllocSetContextCreate(so->context, "inverted search", ALLOCSET_DEFAULT_SIZES);
	scan->opaque = so;
	return scan;
}

/* Let go of the view of the index. */
static void
end_search(InvScanOpaque *so)
{
	if (so->fetch)
		ix_fetch_end(so->fetch);
	if (so->search)
		inv_search_end(so->search);
	so->fetch = NULL;
	so->search = NULL;
	so->streaming = false;
	memset(&so->ranking, 0, sizeof(so->ranking));
	so->nans = NULL;
	so->nnans = so->maxnans = so->nan_at = 0;
	MemoryContextReset(so->search_context);
}

/* Begin anew with other keys. */
void
inv_rescan(IndexScanDesc scan, ScanKey keys, int nkeys, ScanKey orderbys, int norderbys)
{
	InvScanOpaque *so = scan->opaque;
	MemoryContext context = so->context;
	MemoryContext search_context = so->search_context;
	const ScanKeyData *known = so->orderbys;
	IxEffort	effort = so->effort;

	end_search(so);
	MemoryContextDelete(search_context);
	MemoryContextReset(context);
	memset(so, 0, sizeof(*so));
	so->effort = effort;
	so->context = context;
	so->search_context = AllocSetContextCreate(context, "inverted search", ALLOCSET_DEFAULT_SIZES);
	if (keys && scan->numberOfKeys > 0)
		memmove(scan->keyData, keys, scan->numberOfKeys * sizeof(ScanKeyData));
	so->orderbys = known;
	if (orderbys && scan->numberOfOrderBys > 0)
	{
		memmove(scan->orderByData, orderbys, scan->numberOfOrderBys * sizeof(ScanKeyData));
		so->orderbys = orderbys;
	}
}

/* Give back all that a scan holds. */
void
inv_endscan(IndexScanDesc scan)
{
	InvScanOpaque *so = scan->opaque;

	ix_effort_end(scan);
	end_search(so);
	MemoryContextDelete(so->context);
	pfree(so);
	scan->opaque = NULL;
}

/* The query's terms, and at what distance rows without any of them lie. */
static void
read_query(InvScanOpaque *so, Relation index, ScanKey key)
{
	InvQuery   *query = &so->query;
	SparseVector *v;
	double		square;
	float		float_square = 0;

	query->metric = inv_index_metric(index);
	query->dims = inv_index_dims(index);
	so->unmatched_at = query->metric == INV_METRIC_IP ? 0 : 1;
	if (key->sk_flags & SK_ISNULL)
	{
		so->unordered = true;
		return;
	}
	so->value = PointerGetDatum(inv_detoast(query->dims, key->sk_argument));
	v = (SparseVector *) DatumGetPointer(so->value);
	query->nterms = v->nnz;
	query->terms = palloc(sizeof(int32) * Max(v->nnz, 1));
	query->weights = palloc(sizeof(double) * Max(v->nnz, 1));
	memcpy(query->terms, v->indices, sizeof(int32) * v->nnz);
	square = inv_square((struct varlena *) v);
	for (int i = 0; i < v->nnz; i++)
	{
		float		weight = SPARSEVEC_VALUES(v)[i];

		query->weights[i] = weight;
		float_square += weight * weight;
	}
	if (query->metric == INV_METRIC_IP)
		return;
	if (square < INV_LEAST_SQUARE || square > INV_GREATEST_SQUARE)
		query->wild = true;
	else
		for (int i = 0; i < v->nnz; i++)
			query->weights[i] /= sqrt(square);
	/* the operator divides by the product of the squares of both lengths */
	if (float_square == 0)
		so->unmatched_at = NAN;
}

/* Take out what is asked of the vector itself, and prepare the rest. */
static void
read_keys(InvScanOpaque *so, Relation index, IndexScanDesc scan)
{
	ScanKey		keys = palloc(sizeof(ScanKeyData) * Max(scan->numberOfKeys, 1));
	int			nkeys = 0;
	bool		comparison = false;

	for (int i = 0; i < scan->numberOfKeys; i++)
	{
		ScanKey		key = &scan->keyData[i];

		if (key->sk_attno != 1)
			keys[nkeys++] = *key;
		else if (key->sk_flags & SK_SEARCHNULL)
			so->only_null = true;
		else if (key->sk_flags & SK_SEARCHNOTNULL)
			so->no_null = true;
		else
			comparison = true;
	}
	ix_filters_prepare(&so->filters, index, keys, nkeys);
	so->filters.never |= comparison || (so->only_null && so->no_null);
}

/*
 * How many documents to search for at first: those that are wanted, and some more,
 * since their order is not quite that of their bounds.
 */
static int
first_want(const InvScanOpaque *so)
{
	double		rows = so->wanted.rows;

	if (rows < 0)
		return UNKNOWN_WANT;
	if (so->wanted.filtered >= 0)
	{
		double		all = 0;

		for (int i = 0; i < so->search->nparts; i++)
			all += so->search->parts[i].part.ndocs;
		if (all > so->wanted.filtered)
			rows *= all / Max(so->wanted.filtered, 1);
	}
	return (int) Min(rows * 1.25 + 6, MOST_WANT);
}

/* Look at the index as it is now. */
static void
begin_search(IndexScanDesc scan, InvScanOpaque *so)
{
	MemoryContext old;

	end_search(so);
	old = MemoryContextSwitchTo(so->search_context);
	so->search = inv_search_begin(scan->indexRelation, scan->xs_snapshot, &so->query, &so->filters);
	so->fetch = ix_fetch_begin(scan->heapRelation, scan->indexRelation);
	so->stage = so->only_null ? STAGE_NULL : STAGE_NUMBER;
	so->want = first_want(so);
	so->more = true;
	so->floor = -INFINITY;
	so->unmatched_done = isnan(so->unmatched_at);
	MemoryContextSwitchTo(old);
}

static void
start_scan(IndexScanDesc scan, InvScanOpaque *so)
{
	if (scan->numberOfOrderBys != 1)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a scan of inverted index \"%s\" needs one ORDER BY of a distance",
						RelationGetRelationName(scan->indexRelation))));
	if (!IsMVCCSnapshot(scan->xs_snapshot))
		elog(ERROR, "non-MVCC snapshots are not supported with inverted");
	pgstat_count_index_scan(scan->indexRelation);
	COUNT_INDEX_SEARCH_COMPAT(scan);
	read_query(so, scan->indexRelation, &scan->orderByData[0]);
	read_keys(so, scan->indexRelation, scan);
	ix_limit_wanted(so->orderbys, &so->wanted);
	so->effort.searches++;
	so->effort.lists += so->query.nterms;
	begin_search(scan, so);
}

static void
add_nan(InvScanOpaque *so, const ItemPointerData *tid)
{
	if (so->nnans == so->maxnans)
	{
		so->maxnans = Max(64, so->maxnans * 2);
		so->nans = so->nans ? repalloc_huge(so->nans, sizeof(ItemPointerData) * so->maxnans) :
			MemoryContextAlloc(so->search_context, sizeof(ItemPointerData) * so->maxnans);
	}
	so->nans[so->nnans++] = *tid;
}

/* The exact distance of a row, by the operator's own function. */
static bool
exact_distance(void *arg, IxRow *row)
{
	IndexScanDesc scan = arg;
	InvScanOpaque *so = scan->opaque;
	Datum		value;
	Datum		distance;
	MemoryContext old;

	if (so->unordered)
		return true;
	so->effort.fetched++;
	if (!ix_fetch_value(so->fetch, &row->tid, scan->xs_snapshot, &value))
		return false;
	old = MemoryContextSwitchTo(ix_fetch_row_context(so->fetch));
	value = PointerGetDatum(inv_detoast(so->query.dims, value));
	distance = FunctionCall2Coll(index_getprocinfo(scan->indexRelation, 1, INV_DISTANCE_PROC),
								 scan->indexRelation->rd_indcollation[0], value, so->value);
	MemoryContextSwitchTo(old);
	row->distance = DatumGetFloat8(distance);
	if (isnan(row->distance))
	{
		add_nan(so, &row->tid);
		return false;
	}
	return true;
}

/* Search for more documents. */
static void
search_more(IndexScanDesc scan, InvScanOpaque *so)
{
	InvSearch  *search = so->search;
	MemoryContext old = MemoryContextSwitchTo(so->search_context);

	inv_search_more(search, so->want);
	so->effort.rounds++;
	so->effort.candidates += search->nhits;
	if (!search->reader.stale)
	{
		ix_ranking_reserve(&so->ranking, search->nhits);
		for (int i = 0; i < search->nhits; i++)
		{
			const InvHit *hit = &search->hits[i];
			IxRow	   *row = &so->ranking.rows[so->ranking.nrows++];

			/* the heap must not take a damaged TID for a wish to be extended */
			if (!ix_fetch_in_table(so->fetch, ItemPointerGetBlockNumberNoCheck(&hit->tid),
								   ItemPointerGetOffsetNumberNoCheck(&hit->tid)))
				ix_corrupt(scan->indexRelation, search->parts[hit->part].part.first,
						   "An entry leads beyond the end of the table.");
			row->distance = inv_search_distance(search, hit->score);
			row->tid = hit->tid;
			row->exact = false;
			row->known = false;
		}
		ix_ranking_order(&so->ranking);
		so->more = search->full;
		if (search->nhits > 0)
			so->floor = inv_search_distance(search, search->hits[search->nhits - 1].score);
		so->want = (int) Min(Min((Size) so->want * 4, PG_INT32_MAX / 4),
							 Max(MOST_WANT, work_mem * (Size) 1024 / (sizeof(InvHit) + sizeof(IxRow))));
	}
	MemoryContextSwitchTo(old);
}

/* The next row of a stream of this kind; false at its end. */
static bool
next_of_stream(IndexScanDesc scan, InvScanOpaque *so, InvStreamKind kind, ItemPointer tid)
{
	if (!so->streaming)
	{
		MemoryContext old = MemoryContextSwitchTo(so->search_context);

		inv_stream_begin(&so->stream, so->search, kind);
		so->streaming = true;
		MemoryContextSwitchTo(old);
	}
	if (inv_stream_next(&so->stream, tid))
	{
		if (!ix_fetch_in_table(so->fetch, ItemPointerGetBlockNumberNoCheck(tid), ItemPointerGetOffsetNumberNoCheck(tid)))
			ix_corrupt(scan->indexRelation, INV_META_BLOCK, "An entry leads beyond the end of the table.");
		return true;
	}
	if (!so->search->reader.stale)
		so->streaming = false;
	return false;
}

/* The next row whose distance is a number; false at the end of the stage. */
static bool
next_number(IndexScanDesc scan, InvScanOpaque *so, ItemPointer tid, double *distance)
{
	for (;;)
	{
		const IxRow *row = ix_ranking_first(&so->ranking, exact_distance, scan);

		/* what is left to search for may be nearer */
		if (so->more && (!row || row->distance > so->floor) &&
			(so->unmatched_done || so->floor < so->unmatched_at))
		{
			CHECK_FOR_INTERRUPTS();
			search_more(scan, so);
			if (so->search->reader.stale)
				return false;
			continue;
		}
		if (row && (so->unmatched_done || row->distance <= so->unmatched_at))
		{
			*tid = row->tid;
			*distance = row->distance;
			ix_ranking_pop(&so->ranking);
			return true;
		}
		if (so->unmatched_done)
			return false;
		*distance = so->unmatched_at;
		if (next_of_stream(scan, so, INV_STREAM_UNMATCHED, tid))
			return true;
		if (so->search->reader.stale)
			return false;
		so->unmatched_done = true;
	}
}

/* The next row, with its stage and distance; false at the end or when stale. */
static bool
next_row(IndexScanDesc scan, InvScanOpaque *so, ItemPointer tid, double *distance)
{
	*distance = 0;
	for (;;)
	{
		switch (so->stage)
		{
			case STAGE_NUMBER:
				if (next_number(scan, so, tid, distance))
					return true;
				break;
			case STAGE_NAN:
				if (so->nan_at < so->nnans)
				{
					*tid = so->nans[so->nan_at++];
					return true;
				}
				if (next_of_stream(scan, so, INV_STREAM_NAN, tid))
					return true;
				break;
			case STAGE_UNMATCHED:
				if (isnan(so->unmatched_at) && next_of_stream(scan, so, INV_STREAM_UNMATCHED, tid))
					return true;
				break;
			case STAGE_NULL:
				if (!so->no_null && next_of_stream(scan, so, INV_STREAM_NULL, tid))
					return true;
				break;
			case STAGE_END:
				return false;
		}
		if (so->search->reader.stale)
			return false;
		so->stage++;
		so->streaming = false;
	}
}

/*
 * Was this row returned before the view was overtaken?  Else remember it, since
 * that may happen.
 */
static bool
was_returned(InvScanOpaque *so, const ItemPointerData *tid, double distance)
{
	bool		behind = so->stage > so->last_stage || (so->stage == so->last_stage && distance > so->last);
	bool		found = false;

	if (so->resumed && !behind && (so->stage < so->last_stage || distance < so->last))
		return true;
	if (behind || !so->same)
	{
		HASHCTL		control = {.keysize = sizeof(ItemPointerData),.entrysize = sizeof(ItemPointerData),.hcxt = so->context};

		if (so->same)
			hash_destroy(so->same);
		so->same = hash_create("inverted rows", 256, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		so->last_stage = so->stage;
		so->last = distance;
	}
	if (hash_get_num_entries(so->same) <= MOST_REMEMBERED)
		hash_search(so->same, tid, HASH_ENTER, &found);
	return found;
}

/* Start again behind what was returned, with a new view of the index. */
static void
resume(IndexScanDesc scan, InvScanOpaque *so)
{
	if (so->same && hash_get_num_entries(so->same) > MOST_REMEMBERED)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("canceling statement due to conflict with recovery"),
				 errdetail("User query might have needed to see pages of an index that were used again.")));
	CHECK_FOR_INTERRUPTS();
	elog(DEBUG1, "scan of inverted index \"%s\" starts again", RelationGetRelationName(scan->indexRelation));
	so->resumed = true;
	begin_search(scan, so);
}

/* The next row by distance; false when there is none. */
bool
inv_gettuple(IndexScanDesc scan, ScanDirection direction)
{
	InvScanOpaque *so = scan->opaque;
	MemoryContext old = MemoryContextSwitchTo(so->context);
	ItemPointerData tid;
	double		distance;
	bool		found = false;

	if (!ScanDirectionIsForward(direction))
		elog(ERROR, "inverted indexes cannot be scanned backward");
	if (!so->search)
		start_scan(scan, so);
	while (!so->filters.never && !found)
	{
		if (next_row(scan, so, &tid, &distance))
		{
			/* what comes now, the plan's filter turns away */
			if (so->wanted.bounded && !so->unordered && so->stage == STAGE_NUMBER && distance > so->wanted.bound)
			{
				if (!so->wanted.nan_passes)
					break;
				so->stage = STAGE_NAN;
				so->streaming = false;
				continue;
			}
			found = !so->search->reader.standby || !was_returned(so, &tid, distance);
		}
		else if (so->search->reader.stale)
			resume(scan, so);
		else
			break;
	}
	if (found)
	{
		scan->xs_heaptid = tid;
		scan->xs_recheck = so->filters.recheck;
		scan->xs_recheckorderby = false;
	}
	MemoryContextSwitchTo(old);
	return found;
}
