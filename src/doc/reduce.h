/*
 * reduce.h
 *		Making one answer of several: shards, branches, parts of a request.
 */
#ifndef JFLOW_REDUCE_H
#define JFLOW_REDUCE_H

#include "doc/doc.h"

#define JFLOW_NO_LIMIT (-1)

/* Which of the matches an answer keeps. */
typedef struct JflowPage
{
	int			offset;			/* so many are left out first */
	int			limit;			/* or JFLOW_NO_LIMIT */
	bool		grouped;		/* of each group the best alone; its name
								 * stands in the tags of a match */
	bool		copies;			/* documents of one id are copies, of which
								 * the first part's is the newest */
} JflowPage;

/* The tag of a match that names its group. */
#define JFLOW_GROUP_TAG "parent_id"

/* Makes one datum of the matches that parts have for a document; NULLs are 0. */
typedef Datum (*JflowFuse) (void *arg, const JflowDoc *doc, const Datum *matches, int nparts);

extern Datum jflow_match_key(const JflowMatch *match, bool grouped);
extern Datum jflow_reduce_shards(const Datum *parts, int nparts, const JflowPage *page);
extern Datum jflow_reduce_branches(const Datum *parts, int nparts);
extern Datum jflow_reduce_fused(Datum docs, const int *counts, int nparts, JflowFuse fuse, void *arg);
extern Datum jflow_concat(const Datum *parts, int nparts, int *counts);

#endif							/* JFLOW_REDUCE_H */
