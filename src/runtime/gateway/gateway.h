/*
 * gateway.h
 *		A post: what is asked for, where documents come from and go to.
 */
#ifndef JFLOW_GATEWAY_H
#define JFLOW_GATEWAY_H

#include "nodes/execnodes.h"

#include "flow/context.h"
#include "runtime/gateway/progress.h"

/*
 * Told of a document that a post goes on without, instead of a warning: as it was
 * posted or, if executors have made others of it, as it is now.  "of_doc" says that
 * the error is the document's, and not its whole request's.
 */
typedef void (*JflowErrorSink) (void *arg, const JflowDoc *doc, const ErrorData *error, bool of_doc);

/* A call that was answered, for who watches the post. */
typedef struct JflowTraced
{
	int64		request;		/* number within the post, from 1 */
	const char *executor;
	int			shard;
	int			replica;		/* -1: this process, where nothing is queued */
	int			docs_in;
	int			docs_out;
	int64		queue_us;
	int64		run_us;
	int64		hop_us;			/* there and back, without these two */
	const char *plans;			/* of its statements; NULL: none */
} JflowTraced;

/* Is told of each call, in the order in which they are answered. */
typedef void (*JflowTrace) (void *arg, const JflowTraced *call);

/* What the caller of a post asked for; pointers may be NULL. */
typedef struct JflowPostOptions
{
	const char *endpoint;
	const char *flow;
	Jsonb	   *parameters;
	const char *target_executor;
	int			request_size;	/* 0: jflow.request_size */
	bool		show_progress;
	bool		continue_on_error;
	Oid			errors_to;		/* table; InvalidOid: warnings */
	JflowErrorSink error_sink;	/* with continue_on_error */
	void	   *error_arg;
	bool		ordered;
	bool		read_only;		/* as in a read-only transaction */
	bool		moving;			/* for documents that move between servers: in
								 * this process and transaction, also where
								 * there are replicas */
	int64		timeout_ms;		/* 0: none */
	JflowTrace	trace;
	void	   *trace_arg;
} JflowPostOptions;

/*
 * Where the documents come from.  "next" returns the next request as a
 * jflow_doc[] of at most "size" documents in the current memory context, or
 * false at the end.
 */
typedef struct JflowSource
{
	bool		(*next) (struct JflowSource *source, int size, Datum *docs);
	int64		total;			/* number of documents, -1: not known */
	bool		idle;			/* replicas do all of the work, and have some
								 * when the next documents are asked for */
} JflowSource;

/* Where the answers go; called in order, once a request that did not fail. */
typedef void (*JflowSink) (void *arg, Datum docs);

typedef struct JflowPostResult
{
	int64		docs;
	int64		requests;
	int64		failed;
	int64		failed_docs;
	TimestampTz started;
} JflowPostResult;

extern void jflow_post_run(const JflowPostOptions *options, JflowSource *source,
						   JflowSink sink, void *sink_arg, JflowPostResult *result);

#endif							/* JFLOW_GATEWAY_H */
