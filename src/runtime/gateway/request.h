/*
 * request.h
 *		A running post, its requests, and their visits to executors.
 */
#ifndef JFLOW_REQUEST_H
#define JFLOW_REQUEST_H

#include "runtime/gateway/gateway.h"
#include "runtime/gateway/plan.h"

typedef enum JflowVisitState
{
	VISIT_WAITING,				/* for its inputs */
	VISIT_BUSY,
	VISIT_FINISHED
} JflowVisitState;

/* Where a visit is that is busy. */
typedef enum JflowVisitPhase
{
	PHASE_START,
	PHASE_BEFORE,				/* uses_before is out */
	PHASE_SPREAD,				/* it is back */
	PHASE_SHARDS,				/* shards are being asked */
	PHASE_AFTER					/* one call is out, whose answer is the result */
} JflowVisitPhase;

/*
 * A half of what a call has failed with, or what the halves came from.  The
 * leaves are called; the root's answer is the answer of the call.
 */
typedef struct JflowPiece
{
	Datum		docs;			/* that go in */
	Datum		answer;			/* once nothing is missing */
	int			part;			/* number within the request, from 1 */
	int			missing;		/* halves that are not answered */
	struct JflowPiece *halves[2];
	struct JflowPiece *parent;	/* NULL: the root */
	struct JflowPiece *next;	/* to be sent */

	/* what to call */
	int			shard;
	int			stages;
	int			number;			/* of the call in its visit */
} JflowPiece;

/* One request at one executor. */
typedef struct JflowVisit
{
	JflowVisitState state;
	JflowVisitPhase phase;
	bool		is_output;		/* of the flow */
	Datum		docs;			/* that go in */
	Datum		output;
	const int  *counts;			/* of unmerged inputs */
	int			ncounts;
	Datum		skipped;		/* by "when" */
	int		   *place;			/* of each document: skipped or not */
	int			nplace;
	int		   *hashed;			/* shard of each document */
	int			nhashed;
	Datum	   *parts;			/* to and from the shards */
	int			nparts;
	int			next_part;		/* to be sent */
	int			pending;		/* calls to come back */
	Datum		joined;			/* the answers of all, for uses_after */
	int		   *joined_counts;	/* NULL: not joined yet */
	JflowPiece *unsent;			/* halves of a call that has failed */
} JflowVisit;

/* One request on its way. */
typedef struct JflowRequest
{
	MemoryContext context;		/* of everything about it */
	int64		number;			/* within the post, from 1 */
	int			ndocs;
	Datum		input;
	JflowVisit *visits;			/* one per executor */
	JflowVisit	begun;			/* the one in this process, as it began */
	int			missing;		/* outputs of the flow */
	int			out;			/* slots */
	bool		ready;			/* something may be started */
	bool		failed;			/* has no answer at all */
	bool		delivered;		/* waits for floating executors only */
	bool		wrote;			/* something was committed for it */

	/* run again in halves */
	int			nparts;			/* how many parts there have been */
	int			part;			/* that runs in this process */
	int			at;				/* step that runs in this process, or was last */
	List	   *faulty;			/* ids of documents that it goes on without */
	int			nfaulty;		/* documents that have failed */

	struct JflowRequest *prev;
	struct JflowRequest *next;
} JflowRequest;

/* What of a post is in shared memory, while it has executors with replicas. */
typedef struct JflowRemote
{
	dsa_pointer shared;
	bool		said_blocked;
	int			out;			/* slots */
	int			returned;		/* list of slots that are back */
	int			current;		/* slot of the answer being taken */
	List	   *taken_out;		/* answers of slots that are free again */
	ErrorData  *finish_error;
	struct JflowPost *outer;	/* that this one is nested in */
} JflowRemote;

/* What became of documents at fault. */
typedef struct JflowErrorReport
{
	const char *insert;			/* a statement; NULL: warnings */
	int			warnings;
	int64		untold;			/* documents without a warning */
} JflowErrorReport;

/* A running post. */
typedef struct JflowPost
{
	const JflowPostOptions *options;
	JflowSource *source;
	JflowSink	sink;
	void	   *sink_arg;

	JflowPlan  *plan;
	JflowProgress progress;
	MemoryContext context;		/* of what lives as long as the post */
	int			request_size;
	bool		ordered;
	bool		plain;			/* one chain of pools */
	int			prefetch;		/* requests to have in flight */

	JflowRequest *first;		/* in order of numbers */
	JflowRequest *last;
	int			nrequests;
	int64		number;			/* of the last one */
	bool		exhausted;		/* no more documents */
	MemoryContext *contexts;	/* of requests, to be used again */
	int			ncontexts;

	ErrorData  *error;			/* that ends the post */
	bool		failing;
	int64		committed;		/* requests of which something is */
	int64		partly;			/* and something is not */
	JflowErrorReport report;
	bool		stranger;		/* who posts has not the owner's privileges */
	JflowStat	stat;			/* where it is counted */
	bool		metered;
	JflowRemote remote;
} JflowPost;

/* One call of what an executor runs. */
typedef struct JflowCall
{
	JflowRequest *request;		/* NULL: a finish function */
	int			step;
	int			shard;
	int			stages;
	Datum		docs;
	const int  *counts;			/* of unmerged parts */
	int			ncounts;
	int			ndocs;			/* that went in, once it is out */
	int			number;			/* which of the visit's calls it is */
	JflowPiece *piece;			/* NULL: all of it */
} JflowCall;

extern bool jflow_request_take(JflowPost *post);
extern void jflow_request_forget(JflowPost *post, JflowRequest *request);
extern void jflow_request_end(JflowPost *post, JflowRequest *request, Datum docs, bool ok);

#endif							/* JFLOW_REQUEST_H */
