/*
 * meter.c
 *		Counting posts, and calls that run in this process.
 *
 * Replicas count theirs.  Entries are looked up before anything can fail, since
 * that may read the catalog; counting itself cannot fail, and so may be done
 * while an error is on its way.  Without shared memory nothing is counted.
 */
#include "postgres.h"

#include "compat.h"
#include "doc/doc.h"
#include "runtime/gateway/meter.h"
#include "runtime/gateway/plan.h"

/* Executor "": the post as a whole. */
static JflowStat
find(const JflowPost *post, const char *executor)
{
	const JflowFlow *flow = post->plan->flow;
	JflowStat	stat;

	if (!jflow_stat_recall(flow->name, executor, post->plan->endpoint, &stat))
		stat = jflow_stat_find(flow->name, executor, post->plan->endpoint, jflow_flow_owner(flow));
	return stat;
}

/* Once the post is planned. */
void
jflow_meter_begin_post(JflowPost *post)
{
	if (jflow_shared)
		post->stat = find(post, "");
	post->metered = jflow_shared != NULL;
}

/* A post that has failed before it was planned is not counted. */
void
jflow_meter_end_post(const JflowPost *post, JflowCountKind kind)
{
	JflowCount	count;

	if (!post->metered)
		return;
	count.kind = kind;
	count.ended = GetCurrentTimestamp();
	count.docs = post->progress.docs;
	count.run_us = count.ended - post->progress.started;
	count.wait_us = -1;
	jflow_stat_count(post->stat, &count);
}

/* Find the counters of a step's executor, once a post. */
void
jflow_meter_begin_call(JflowPost *post, int step)
{
	JflowStep  *one = &post->plan->steps[step];

	if (!one->metered && jflow_shared)
	{
		one->stat = find(post, one->executor->name);
		one->metered = true;
	}
}

/* Count a call of this process, which has begun then. */
void
jflow_meter_end_call(const JflowPost *post, const JflowCall *call, TimestampTz started,
					 JflowCountKind kind)
{
	const JflowStep *step = &post->plan->steps[call->step];
	JflowCount	count;

	if (!step->metered)
		return;
	count.kind = kind;
	count.ended = GetCurrentTimestamp();
	count.docs = jflow_docs_count(call->docs);
	count.run_us = count.ended - started;
	count.wait_us = -1;
	jflow_stat_count(step->stat, &count);
}
