/*
 * context.h
 *		What an executor function can know about the call it serves.
 */
#ifndef JFLOW_CONTEXT_H
#define JFLOW_CONTEXT_H

#include "flow/flow.h"

typedef struct JflowContext
{
	const JflowFlow *flow;
	const JflowExecutor *executor;
	const char *endpoint;
	int			shard;			/* from 0 */
	int			shards;
	int			replica;		/* from 0; 0 inline */
	int			replicas;
	int64		post;			/* unique among the posts of a server */
	int64		request;		/* within the post, from 1 */
	int			part;			/* of a request that is run again in halves,
								 * from 1; 0: the whole request */
	const int  *parts;			/* with disable_reduce and in uses_after: how
								 * many documents each part has */
	int			nparts;
	Oid			user;			/* whose rights the call has */
	bool		read_only;		/* called as in a read-only transaction */
	struct JflowContext *outer; /* the call this post was made from */
} JflowContext;

/* The innermost running call, or NULL outside of any executor function. */
extern PGDLLIMPORT JflowContext *jflow_context;

extern const JflowContext *jflow_context_required(void);

#endif							/* JFLOW_CONTEXT_H */
