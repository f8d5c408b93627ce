/*
 * limit.h
 *		What the executor will ask of an ordered index scan.
 */
#ifndef INDEX_LIMIT_H
#define INDEX_LIMIT_H

#include "access/skey.h"

/* What is known of a scan when its first row is asked for. */
typedef struct IxWanted
{
	double		rows;			/* to be asked for, or -1 if nobody knows */
	double		filtered;		/* if a filter comes before the count, how
								 * many rows of the table are expected to
								 * pass, else -1 */
	bool		bounded;		/* rows farther than this are not wanted */
	double		bound;
	bool		nan_passes;		/* but those at no distance are, if bounded */
} IxWanted;

extern void ix_limit_init(void);
extern void ix_limit_wanted(const ScanKeyData *orderbys, IxWanted *wanted);
extern void ix_limit_direct(const ScanKeyData *orderbys, double rows, MemoryContext context);

#endif							/* INDEX_LIMIT_H */
