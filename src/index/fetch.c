/*
 * fetch.c
 *		Rows behind entries of an index, in order of their exact distance.
 *
 * An index knows the least distance that each of its entries can have.  Entries
 * go into a heap by that.  When one comes up whose exact distance is not known,
 * its row is fetched from the table, and it goes back with that; when one comes
 * up with its exact distance, no other can be nearer.  So rows leave in exact
 * order, and few of them are fetched.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/tableam.h"
#include "executor/executor.h"
#include "nodes/execnodes.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "compat.h"
#include "index/fetch.h"

struct IxFetch
{
	Relation	heap;
	Relation	index;
	MemoryContext row_context;	/* of one row's value */
	IndexFetchTableData *fetch;
	TupleTableSlot *slot;
	EState	   *estate;			/* for an indexed expression, else NULL */
	ExprState  *expression;
	BlockNumber nblocks;		/* of the table, as far as known */
};

/*
 * Start fetching rows; all is allocated in the current context, which may be
 * reset only after ix_fetch_end().
 */
IxFetch *
ix_fetch_begin(Relation heap, Relation index)
{
	IxFetch    *fetch = palloc0(sizeof(IxFetch));

	fetch->heap = heap;
	fetch->index = index;
	fetch->row_context = AllocSetContextCreate(CurrentMemoryContext, "index row", ALLOCSET_DEFAULT_SIZES);
	fetch->fetch = table_index_fetch_begin_compat(heap);
	fetch->slot = table_slot_create(heap, NULL);
	if (index->rd_index->indkey.values[0] == 0)
	{
		/*
		 * Only the expression that the query itself names: the other columns'
		 * are the table owner's code, which the reader has not asked for and
		 * must not run.
		 */
		fetch->estate = CreateExecutorState();
		fetch->expression = ExecPrepareExpr(linitial(RelationGetIndexExpressions(index)), fetch->estate);
	}
	return fetch;
}

/* Give back the table's slot and all memory. */
void
ix_fetch_end(IxFetch *fetch)
{
	ExecDropSingleTupleTableSlot(fetch->slot);
	table_index_fetch_end(fetch->fetch);
	if (fetch->estate)
		FreeExecutorState(fetch->estate);
	MemoryContextDelete(fetch->row_context);
	pfree(fetch);
}

/*
 * A context that lasts until the next row is fetched.
 */
MemoryContext
ix_fetch_row_context(const IxFetch *fetch)
{
	return fetch->row_context;
}

static bool
fetch_row(IxFetch *fetch, const ItemPointerData *tid, Snapshot snapshot)
{
	ItemPointerData at = *tid;	/* becomes that of a HOT chain's member, which
								 * is not where to start */
	bool		again = false;
	bool		dead = false;

	return table_index_fetch_tuple(fetch->fetch, &at, snapshot, fetch->slot, &again, &dead);
}

/*
 * Does the snapshot see a row behind a TID?
 */
bool
ix_fetch_visible(IxFetch *fetch, const ItemPointerData *tid, Snapshot snapshot)
{
	return fetch_row(fetch, tid, snapshot);
}

/*
 * The value of the index's first column in the row behind a TID.  Returns false
 * if the snapshot sees no such row, or the value is NULL.  The value lasts until
 * the next call.
 */
bool
ix_fetch_value(IxFetch *fetch, const ItemPointerData *tid, Snapshot snapshot, Datum *value)
{
	int			column = fetch->index->rd_index->indkey.values[0];
	bool		isnull;

	MemoryContextReset(fetch->row_context);
	if (!fetch_row(fetch, tid, snapshot))
		return false;
	if (fetch->expression)
	{
		ExprContext *econtext = GetPerTupleExprContext(fetch->estate);

		econtext->ecxt_scantuple = fetch->slot;
		ResetExprContext(econtext);
		*value = ExecEvalExprSwitchContext(fetch->expression, econtext, &isnull);
	}
	else
		*value = slot_getattr(fetch->slot, column, &isnull);
	return !isnull;
}

/*
 * Can a row be there?  A TID from a damaged page must not reach the table,
 * which might take it for a wish to be extended.
 */
bool
ix_fetch_in_table(IxFetch *fetch, BlockNumber block, OffsetNumber offset)
{
	if (block >= fetch->nblocks)
		fetch->nblocks = RelationGetNumberOfBlocks(fetch->heap);
	return block < fetch->nblocks && offset != InvalidOffsetNumber;
}

/*
 * Make room for so many rows more, which the caller appends; the array is
 * allocated in the current context if there is none.
 */
void
ix_ranking_reserve(IxRanking *ranking, int more)
{
	if (ranking->nrows + more <= ranking->maxrows)
		return;
	ranking->maxrows = Max(ranking->nrows + more, 64);
	ranking->rows = ranking->rows ? repalloc_huge(ranking->rows, sizeof(IxRow) * ranking->maxrows) :
		palloc_extended(sizeof(IxRow) * ranking->maxrows, MCXT_ALLOC_HUGE);
}

/* Exact rows come before others that are at least so far away. */
static inline bool
row_before(const IxRow *a, const IxRow *b)
{
	if (a->distance != b->distance)
		return a->distance < b->distance;
	return a->exact && !b->exact;
}

static void
sift_down(IxRow *rows, int n, int i)
{
	IxRow		row = rows[i];

	for (;;)
	{
		int			child = 2 * i + 1;

		if (child >= n)
			break;
		if (child + 1 < n && row_before(&rows[child + 1], &rows[child]))
			child++;
		if (!row_before(&rows[child], &row))
			break;
		rows[i] = rows[child];
		i = child;
	}
	rows[i] = row;
}

/*
 * Bring rows into order after some were appended.
 */
void
ix_ranking_order(IxRanking *ranking)
{
	for (int i = ranking->nrows / 2 - 1; i >= 0; i--)
		sift_down(ranking->rows, ranking->nrows, i);
}

/*
 * Take out the first row.
 */
void
ix_ranking_pop(IxRanking *ranking)
{
	ranking->rows[0] = ranking->rows[--ranking->nrows];
	if (ranking->nrows > 1)
		sift_down(ranking->rows, ranking->nrows, 0);
}

/*
 * The nearest row, at its exact distance, or NULL if there is none.  It stays
 * where it is.
 */
const IxRow *
ix_ranking_first(IxRanking *ranking, IxExactDistance exact, void *arg)
{
	while (ranking->nrows > 0 && !ranking->rows[0].exact)
	{
		if (exact(arg, &ranking->rows[0]))
		{
			ranking->rows[0].exact = true;
			sift_down(ranking->rows, ranking->nrows, 0);
		}
		else
			ix_ranking_pop(ranking);
	}
	return ranking->nrows > 0 ? &ranking->rows[0] : NULL;
}
