/*
 * remote_shared.c
 *		What all requests of a post share, as the post makes it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"

#include "compat.h"
#include "runtime/control/workers.h"
#include "runtime/deadline.h"
#include "runtime/gateway/answers.h"
#include "runtime/gateway/remote_shared.h"

#define DEADLINE_GRACE_MS 1000

static Size
shared_size(const JflowPlan *plan)
{
	int			nsteps = plan->flow->nexecutors;
	Size		size = MAXALIGN(offsetof(JflowPostShared, steps) + sizeof(JflowSharedStep) * nsteps) +
		MAXALIGN(strlen(plan->endpoint) + 1);

	for (int i = 0; i < nsteps; i++)
		if (plan->steps[i].active && plan->steps[i].remote)
			size += MAXALIGN(sizeof(JflowPoolRef) * plan->steps[i].executor->shards) +
				MAXALIGN(VARSIZE_ANY(plan->steps[i].parameters));
	return size;
}

/* A chunk of payload memory; waits for it. */
static dsa_pointer
wait_for_chunk(Size size)
{
	dsa_pointer chunk;

	if (size > jflow_payload_max())
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("parameters of %zu bytes are too large for jflow.memory_limit", size)));
	while (!DsaPointerIsValid(chunk = jflow_payload_alloc(size, PAYLOAD_IN)))
	{
		jflow_payload_want(true);
		jflow_answers_collect();	/* for the posts around this one */
		if (DsaPointerIsValid(chunk = jflow_payload_alloc(size, PAYLOAD_IN)))
			break;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH, -1, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	jflow_payload_want(false);
	return chunk;
}

/* Copies something to an offset, which moves on. */
static Size
put(JflowPostShared *shared, Size *offset, const void *data, Size size)
{
	Size		at = *offset;

	memcpy(SHARED_AT(shared, at), data, size);
	*offset += MAXALIGN(size);
	return at;
}

static void
fill_step(JflowPostShared *shared, Size *offset, const JflowPlan *plan, int i)
{
	JflowStep  *step = &plan->steps[i];
	JflowSharedStep *to = &shared->steps[i];

	memset(to, 0, sizeof(*to));
	to->next = JFLOW_NONE;
	if (!step->active || !step->remote)
		return;
	if (step->next >= 0)
	{
		to->next = step->next;
		to->stages = plan->steps[step->next].stages & ~STAGE_FINISH;
	}
	to->idempotent = step->idempotent;
	to->retries = step->executor->retries < 0 ? 1 : step->executor->retries;
	to->timeout_ms = step->timeout_ms;
	to->batched = step->batched;
	to->shards = step->executor->shards;
	to->pools = put(shared, offset, step->pools, sizeof(JflowPoolRef) * to->shards);
	to->parameters = put(shared, offset, step->parameters, VARSIZE_ANY(step->parameters));
	if (to->batched && !shared->plans)
		to->batch_key = jflow_post_shared_batch_key(shared, i);
}

/*
 * All about a post that its replicas need, in one chunk; it holds their pools
 * from here on.  InvalidDsaPointer if a pool that the plan found is gone.
 */
dsa_pointer
jflow_post_shared_make(JflowPost *post)
{
	JflowPlan  *plan = post->plan;
	JflowPostShared *outer = jflow_replica_post();
	dsa_pointer chunk = wait_for_chunk(shared_size(plan));
	JflowPostShared *shared = jflow_post_shared(chunk);
	Size		offset;

	pg_atomic_init_u32(&shared->refs, 1);
	shared->id = pg_atomic_fetch_add_u64(&jflow_shared->post_id, 1);
	shared->post = post->progress.post;
	shared->read_only = XactReadOnly || post->options->read_only;
	shared->plans = post->options->trace && !post->stranger;

	/* The limit is kept here; replicas have it, too, in case we are lost. */
	shared->deadline = post->options->timeout_ms > 0 ?
		TimestampTzPlusMilliseconds(post->progress.started,
									Min(post->options->timeout_ms, JFLOW_MAX_TIMEOUT_MS) + DEADLINE_GRACE_MS) : DT_NOEND;
	shared->database = MyDatabaseId;
	shared->nchain = 0;
	if (outer)
	{
		shared->nchain = outer->nchain;
		memcpy(shared->chain, outer->chain, sizeof(shared->chain));
		shared->chain[shared->nchain++] = jflow_replicas[jflow_my_replica].pool;
	}
	shared->nsteps = plan->flow->nexecutors;
	offset = MAXALIGN(offsetof(JflowPostShared, steps) + sizeof(JflowSharedStep) * shared->nsteps);
	shared->endpoint = put(shared, &offset, plan->endpoint, strlen(plan->endpoint) + 1);
	for (int i = 0; i < shared->nsteps; i++)
		fill_step(shared, &offset, plan, i);
	if (jflow_post_shared_hold(shared))
		return chunk;
	jflow_payload_free(chunk);
	return InvalidDsaPointer;
}
