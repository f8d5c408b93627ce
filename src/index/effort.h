/*
 * effort.h
 *		What a scan of an index has done, for who asks why it takes so long.
 */
#ifndef INDEX_EFFORT_H
#define INDEX_EFFORT_H

#include "access/amapi.h"
#include "access/relscan.h"
#include "lib/stringinfo.h"

/*
 * What a scan has done so far, all its rescans added up.  An access method that is
 * made known here has it at the beginning of what IndexScanDesc calls opaque.
 */
typedef struct IxEffort
{
	int64		searches;		/* rescans of which a row was asked for */
	int64		lists;			/* lists probed, or terms searched */
	int64		candidates;		/* entries whose distance was estimated */
	int64		fetched;		/* rows looked up in the table */
	int64		rounds;			/* of gathering candidates */
	bool		all;			/* entries of the index were read */
	bool		calibrated;		/* it is known how far to look */
} IxEffort;

extern bool jflow_explain_scans;	/* jflow.explain_scans */

extern void ix_effort_init(void);
extern void ix_effort_method(ambeginscan_function method, const char *lists, bool calibrates);
extern void ix_effort_end(IndexScanDesc scan);
extern StringInfo ix_effort_collect(StringInfo to);

#endif							/* INDEX_EFFORT_H */
