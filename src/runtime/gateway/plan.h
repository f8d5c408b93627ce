/*
 * plan.h
 *		What a post does at each executor, worked out once for all its requests.
 */
#ifndef JFLOW_PLAN_H
#define JFLOW_PLAN_H

#include "doc/reduce.h"
#include "flow/filter.h"
#include "flow/flow.h"
#include "runtime/call.h"
#include "runtime/gateway/gateway.h"
#include "runtime/shared/counters.h"
#include "runtime/shared/post_shared.h"

typedef struct JflowStep
{
	const JflowExecutor *executor;
	bool		active;			/* has something to do in this post */
	int			stages;			/* what there is to call */
	JflowRunnables runnables;	/* of executors without replicas */
	bool		unmerged;		/* gets all parts of a join */
	bool		idempotent;
	bool		batched;		/* each document is answered by itself */
	Jsonb	   *parameters;
	JflowPolling polling;
	JflowFilter *when;
	int64		timeout_ms;
	JflowPage	page;			/* matches kept by the reduce of the shards */
	const char *what;			/* for the error about a timeout */

	JflowStat	stat;			/* where calls in this process are counted */
	bool		metered;		/* stat was looked up */

	/* of executors with replicas */
	bool		remote;			/* runs in them */
	int			next;			/* step to hand answers on to, or JFLOW_NONE */
	bool		handed;			/* gets its documents that way */
	JflowPoolRef *pools;		/* of each shard */
} JflowStep;

typedef struct JflowPlan
{
	JflowFlow  *flow;
	bool		fresh;			/* flow was read since there were so many ... */
	uint64		changes;		/* ... changes in this database */
	const char *endpoint;
	bool		read_only;		/* what writes is refused */
	JflowStep  *steps;			/* one per executor, in order of definition */
	bool		remote;			/* some step runs in replicas */
} JflowPlan;

extern JflowPlan *jflow_plan_post(const JflowPostOptions *options);

#endif							/* JFLOW_PLAN_H */
