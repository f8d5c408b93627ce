/*
 * inspect.h
 *		Opening an index for a function that looks into it.
 */
#ifndef INDEX_INSPECT_H
#define INDEX_INSPECT_H

#include "utils/relcache.h"

/* An index that a function looks into, and who called it. */
typedef struct IxInspected
{
	Relation	heap;
	Relation	index;
	Oid			userid;
	int			sec_context;
	int			guc_level;
} IxInspected;

extern void ix_inspect_begin(Oid oid, const char *method, IxInspected *inspected);
extern void ix_inspect_end(const IxInspected *inspected);

#endif							/* INDEX_INSPECT_H */
