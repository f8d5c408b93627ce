/*
 * context.h
 *		What an executor function can know about the call it serves.
 */
#ifndef JFLOW_CONTEXT_H
#define JFLOW_CONTEXT_H

#include "flow/flow.h"
#include "lib/stringinfo.h"
#include "port/atomics.h"

#define JFLOW_MAX_COUNTERS 8

/* What is to be called, in this order. */
#define STAGE_BEFORE	0x01	/* uses_before */
#define STAGE_MAIN		0x02	/* the endpoint's function */
#define STAGE_AFTER		0x04	/* uses_after */
#define STAGE_FINISH	0x08	/* the endpoint's "finish", on its own */

/*
 * What the processes that call an executor share of it, if its class has
 * counters: their values, in the order of the class's names, and the time until
 * which none of them should do what it does.  Zero is none.
 */
typedef struct JflowTally
{
	pg_atomic_uint64 counts[JFLOW_MAX_COUNTERS];
	pg_atomic_uint64 pause_until;	/* a TimestampTz */
} JflowTally;

/* The plans of an executor's statements, where somebody asks for them. */
typedef struct JflowPlans
{
	StringInfoData text;
	int64		elapsed;		/* microseconds that telling them took */
} JflowPlans;

/*
 * How the function of a class that waits can be called: it may return NULL and
 * leave here what remains to be done.  "wait" is then called outside of any
 * transaction, and "answer", which returns the documents, in a new one.  What
 * they need must be in "context", or last as long as the function's arguments.
 */
typedef struct JflowWaiting
{
	MemoryContext context;
	void		(*wait) (void *arg);	/* NULL: nothing remains */
	Datum		(*answer) (void *arg);
	void	   *arg;
} JflowWaiting;

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
	int			together;		/* how many requests the call may be for,
								 * where several are run as one; 0: where none
								 * are */
	const int  *parts;			/* with disable_reduce and in uses_after: how
								 * many documents each part has */
	int			nparts;
	Oid			user;			/* whose rights the call has */
	bool		read_only;		/* called as in a read-only transaction */
	bool		moving;			/* for documents that move between servers */
	TimestampTz until;			/* when it is cancelled, or DT_NOEND */
	JflowTally *tally;			/* NULL: the class has no counters */
	JflowPlans *plans;			/* NULL: nobody asks for them */
	JflowWaiting *waiting;		/* NULL: the function must do all at once */
	struct JflowContext *outer; /* the call this post was made from */
} JflowContext;

/* The innermost running call, or NULL outside of any executor function. */
extern PGDLLIMPORT JflowContext *jflow_context;

extern const JflowContext *jflow_context_required(void);

#endif							/* JFLOW_CONTEXT_H */
