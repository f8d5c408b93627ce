/*
 * filter.h
 *		Filter columns: further columns of an index, whose values lie beside
 *		its entries and are tested a block of entries at a time.
 *
 * An index column from the second on is a filter column; column numbers here
 * count those from 0.
 */
#ifndef INDEX_FILTER_H
#define INDEX_FILTER_H

#include "access/genam.h"
#include "access/skey.h"
#include "utils/relcache.h"

#define IX_MAX_FILTERS (INDEX_MAX_KEYS - 1)
/* Support function of the operator classes of filter columns that are hashed. */
#define IX_FILTER_HASH_PROC 3
/* Entries that are tested together. */
#define IX_FILTER_BLOCK 32

/*
 * Where the values of filter columns are: offsets from the start of a page (or
 * of whatever holds them) to those of its first block.  The blocks of a column
 * follow each other, and so do its null bits, a word per block.
 */
typedef struct IxFilterLayout
{
	int			nfilters;
	int			values[IX_MAX_FILTERS];
	int			nulls[IX_MAX_FILTERS];
	int16		width[IX_MAX_FILTERS];	/* bytes per value */
} IxFilterLayout;

typedef struct IxFilter IxFilter;

/* Conditions on filter columns, as a scan prepares them. */
typedef struct IxFilters
{
	int			n;
	bool		never;			/* no row can pass */
	bool		recheck;		/* rows that pass may still be wrong */
	IxFilter   *filters;
} IxFilters;

extern int	ix_filter_count(Relation index, int16 *widths);
extern int16 ix_filter_width(Relation index, int column);
extern bool ix_filter_class_complete(Oid type, int strategies, bool hashes);
extern uint32 ix_filter_form(Relation index, const Datum *values, const bool *isnull, int64 *out);
extern int	ix_filter_place(IxFilterLayout *layout, int at, int nblocks);
extern void ix_filter_put(char *page, const IxFilterLayout *layout, int slot, const char *values, uint32 nulls);
extern uint32 ix_filter_get(const char *page, const IxFilterLayout *layout, int slot, int64 *values);
extern bool ix_filter_equal(const char *page, const IxFilterLayout *layout, int slot, const int64 *values, uint32 nulls);
extern void ix_filters_prepare(IxFilters *filters, Relation index, ScanKey keys, int nkeys);
extern uint32 ix_filters_mask(const IxFilters *filters, const char *page, const IxFilterLayout *layout, int block, uint32 wanted);

#endif							/* INDEX_FILTER_H */
