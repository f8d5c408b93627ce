/*
 * inspect.h
 *		Calling a function that looks into an index.
 */
#ifndef INDEX_INSPECT_H
#define INDEX_INSPECT_H

#include "fmgr.h"
#include "storage/block.h"
#include "utils/relcache.h"

/* An index that a function looks into, with its table. */
typedef struct IxInspected
{
	Relation	heap;
	Relation	index;
} IxInspected;

/* The function; its own result and "isnull" are those of the SQL function. */
typedef Datum (*IxLook) (const IxInspected *inspected, FunctionCallInfo fcinfo);

/* Which pages of an index have been met. */
typedef struct IxPageSet
{
	Relation	index;
	BlockNumber nblocks;
	uint8	   *seen;			/* a bit per block */
} IxPageSet;

extern void ix_pages_init(IxPageSet *pages, Relation index);
extern void ix_pages_meet(IxPageSet *pages, BlockNumber block);
extern Datum ix_inspect(Oid oid, const char *method, IxLook look, FunctionCallInfo fcinfo);

#endif							/* INDEX_INSPECT_H */
