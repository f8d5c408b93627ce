/*
 * visit.h
 *		A post and its visits to executors, as its two walks share them.
 */
#ifndef JFLOW_VISIT_H
#define JFLOW_VISIT_H

#include "runtime/deadline.h"
#include "runtime/gateway/gateway.h"
#include "runtime/gateway/plan.h"

/* A running post. */
typedef struct Post
{
	const JflowPostOptions *options;
	JflowSource *source;
	JflowSink	sink;
	void	   *sink_arg;
	JflowPostResult *result;

	JflowPlan  *plan;
	JflowProgress progress;
	MemoryContext request_context;
	int			request_size;
} Post;

/* One request at one executor. */
typedef struct Visit
{
	Post	   *post;
	JflowStep  *step;
	Datum		docs;			/* in: what it gets; out: what it gives */
	const int  *parts;			/* sizes of the unmerged inputs, or NULL */
	int			nparts;
} Visit;

/* gateway.c: within this process */
extern Datum jflow_call_function(const Visit *visit, JflowRunnable *runnable, int shard,
								 Datum docs, const int *parts, int nparts);
extern Datum jflow_restore_order(const Datum *parts, int nparts, const int *place, int ndocs);
extern void jflow_split_docs(Datum *elems, const int *place, int ndocs, Datum *parts,
							 int *counts, int nparts);
extern Datum jflow_join_inputs(Visit *visit, const Datum *outputs, Datum input);
extern void jflow_visit_before_deadline(Visit *visit);
extern void jflow_visit_floating(Visit *visit);
extern bool jflow_run_in_subtransaction(JflowGuarded function, void *arg, const char *what);

/* remote.c: through replicas */
extern bool jflow_walk_post(Post *post);

#endif							/* JFLOW_VISIT_H */
