/*
 * fetch.h
 *		Ranking entries of an index by the distance of the rows behind them.
 */
#ifndef INDEX_FETCH_H
#define INDEX_FETCH_H

#include "storage/itemptr.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

/* Rows of a table, by TID, as a scan of one of its indexes sees them. */
typedef struct IxFetch IxFetch;

extern IxFetch *ix_fetch_begin(Relation heap, Relation index);
extern bool ix_fetch_value(IxFetch *fetch, const ItemPointerData *tid, Snapshot snapshot, Datum *value);
extern bool ix_fetch_visible(IxFetch *fetch, const ItemPointerData *tid, Snapshot snapshot);
extern MemoryContext ix_fetch_row_context(const IxFetch *fetch);
extern bool ix_fetch_in_table(IxFetch *fetch, BlockNumber block, OffsetNumber offset);
extern void ix_fetch_end(IxFetch *fetch);

/* A row that may come next: at its exact distance, or at least so far away. */
typedef struct IxRow
{
	double		distance;
	ItemPointerData tid;
	bool		exact;			/* and to be seen, as far as that was asked
								 * for */
	bool		known;			/* the distance is exact, but nobody has
								 * looked whether the row is to be seen */
} IxRow;

/* Rows that may come next, a heap by distance; starts as all zeros. */
typedef struct IxRanking
{
	IxRow	   *rows;
	int			nrows;
	int			maxrows;
} IxRanking;

/* Makes a row exact; false if it is not to be seen. */
typedef bool (*IxExactDistance) (void *arg, IxRow *row);

extern void ix_ranking_reserve(IxRanking *ranking, int more);
extern void ix_ranking_order(IxRanking *ranking);
extern const IxRow *ix_ranking_first(IxRanking *ranking, IxExactDistance exact, void *arg);
extern void ix_ranking_pop(IxRanking *ranking);

#endif							/* INDEX_FETCH_H */
