/*
 * answers.c
 *		Slots that are out, and the way back of their answers.
 *
 * The slots of a post belong to its process until they are back or given up.
 * Posts nest: what comes back for one around the innermost is taken out of
 * shared memory at once, since that post cannot use it before the inner one has
 * ended, and the inner one may be waiting for the very memory and slots.
 *
 * Whatever ends a post (an error, a cancel, the end of the process) gives up the
 * slots that are out.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "utils/datum.h"
#include "utils/memutils.h"

#include "compat.h"
#include "runtime/control/workers.h"
#include "runtime/gateway/remote.h"
#include "runtime/shared/pool.h"
#include "runtime/shared/share.h"
#include "settings.h"

static Call *calls = NULL;		/* entry n is about slot n */
static Engine *engines = NULL;	/* of nested posts, innermost first */

/* Take an answer's slot off the engine's list: it is looked at, and then freed. */
static int
unlist(Engine *engine)
{
	int			n = engine->returned;

	engine->returned = jflow_slots[n].next;
	calls[n].engine = NULL;
	return n;
}

static void
free_current(Engine *engine)
{
	if (engine->current == JFLOW_NONE)
		return;
	jflow_slot_free(engine->current);
	engine->current = JFLOW_NONE;
}

/*
 * Take over what has come back, in the order in which it did; each engine gets
 * its own.
 */
static void
collect_returned(void)
{
	JflowGatewayEntry *entry = &jflow_gateways[MyProcNumberCompat];
	int			n;

	if (pg_atomic_read_u32(&entry->done) == 0)
		return;
	n = (int) pg_atomic_exchange_u32(&entry->done, 0) - 1;
	while (n >= 0)
	{
		int			next = jflow_slots[n].next;
		Engine	   *engine = calls[n].engine;

		Assert(engine != NULL); /* what is abandoned never comes here */
		/* the list has the newest first: pushing turns it round */
		jflow_slots[n].next = engine->returned;
		engine->returned = n;
		n = next;
	}
}

/*
 * This process is itself a replica whose request has posted, and something was
 * committed for that post, or may have been.  To run the request again would do
 * it twice.
 */
static void
note_nested_write(void)
{
	if (jflow_my_replica != JFLOW_NONE)
		jflow_pool_nested_write(jflow_my_replica);
}

/* Give up all slots of an engine that are out. */
static void
give_up(Engine *engine)
{
	int			taken_out = list_length(engine->taken_out);

	for (int n = 0; n < jflow_max_requests && engine->out > taken_out; n++)
	{
		bool		wrote = false;

		if (calls[n].engine != engine)
			continue;
		if (jflow_slot_give_up(n, true, &wrote))
		{
			calls[n].engine = NULL;
			engine->out--;
		}
		if (wrote)
			note_nested_write();
	}

	/*
	 * The others are done: they are in the list, or will be in an instant,
	 * for which it is not worth to sleep on a latch.
	 */
	for (;;)
	{
		collect_returned();
		while (engine->returned != JFLOW_NONE)
		{
			int			n = unlist(engine);

			engine->out--;
			if (jflow_slots[n].wrote)
				note_nested_write();
			jflow_slot_free(n);
		}
		if (engine->out == taken_out)
			break;
		pg_usleep(10);
	}
	free_current(engine);
	engine->out = 0;
	engine->taken_out = NIL;
}

/* The end of the process: nothing of ours may stay in shared memory. */
static void
at_exit(int code, Datum arg)
{
	JflowGatewayEntry *entry = &jflow_gateways[MyProcNumberCompat];

	while (engines)
		jflow_answers_leave(engines);

	/* Who has just handed us the last answer may still be counting it. */
	while (pg_atomic_read_u32(&entry->outstanding) > 0)
		pg_usleep(10);
}

/* A post through replicas begins. */
void
jflow_answers_enter(Engine *engine)
{
	if (calls == NULL)
	{
		calls = MemoryContextAllocZero(TopMemoryContext, sizeof(Call) * jflow_max_requests);
		before_shmem_exit(at_exit, (Datum) 0);
	}
	engine->returned = JFLOW_NONE;
	engine->current = JFLOW_NONE;
	engine->outer = engines;
	if (engines == NULL)
		jflow_share_begin(engine->plan->flow->name);
	engines = engine;
}

/* The innermost post ends, in whatever way. */
void
jflow_answers_leave(Engine *engine)
{
	jflow_payload_want(false);
	give_up(engine);
	engines = engine->outer;
	if (engine->shared_valid)
		jflow_post_shared_unpin(engine->shared);
}

/* A refusal is about a pool: why can it not take the request? */
static void JFLOW_NORETURN
raise_refused(Engine *engine, int step, int shard)
{
	const JflowExecutor *executor = engine->plan->steps[step].executor;
	const JflowPoolRef *ref = &engine->plan->steps[step].pools[shard];
	JflowPool  *pool = &jflow_pools[ref->pool];
	char		reason[JFLOW_REASON_LEN];
	bool		same;

	LWLockAcquire(&pool->lock, LW_SHARED);
	same = pool->generation == ref->generation;
	strlcpy(reason, pool->reason, sizeof(reason));
	LWLockRelease(&pool->lock);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("executor \"%s\" of flow \"%s\" has no replica that can run",
					executor->name, engine->plan->flow->name),
			 same && reason[0] ? errdetail("The reason is: %s.", reason)
			 : errdetail("The flow was stopped, or the executor was changed."),
			 errhint("See jflow_status.")));
}

/*
 * Send a call to a shard's pool.  Returns false if there is no slot or no
 * memory now; raises an error if there never will be.
 */
bool
jflow_answers_ask(Engine *engine, Walk *walk, int step, int shard, int stages, Datum docs,
				  const int *counts, int nparts, int part)
{
	JflowStep  *plan = &engine->plan->steps[step];
	JflowPostShared *shared;
	JflowSlot  *slot;
	Size		size = jflow_payload_docs_size(docs, nparts);
	int			n;

	if (size > jflow_payload_max())
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a request of %zu bytes is too large for jflow.memory_limit", size),
				 errdetail("One request may have %zu bytes.", jflow_payload_max()),
				 errhint("Raise jflow.memory_limit, or lower request_size."),
				 errcontext("executor \"%s\", shard %d, request " INT64_FORMAT,
							plan->executor->name, shard, walk ? walk->number : 0)));
	n = jflow_slot_take();
	if (n == JFLOW_NONE)
		return false;
	slot = &jflow_slots[n];
	slot->docs = jflow_payload_put_docs(docs, counts, nparts, PAYLOAD_IN);
	if (!DsaPointerIsValid(slot->docs))
	{
		jflow_slot_free(n);
		return false;
	}
	shared = jflow_post_shared(engine->shared);
	jflow_post_shared_pin(engine->shared);
	slot->shared = engine->shared;
	slot->step = step;
	slot->stages = stages;
	slot->shard = shard;
	slot->request = walk ? walk->number : engine->post->progress.steps_done + 1;

	calls[n].engine = engine;
	calls[n].walk = walk;
	calls[n].step = step;
	calls[n].part = part;
	engine->out++;
	if (walk)
		walk->out++;
	pg_atomic_add_fetch_u32(&jflow_gateways[MyProcNumberCompat].outstanding, 1);
	if (jflow_pool_put(&SHARED_POOLS(shared, step)[shard], n))
		return true;

	pg_atomic_sub_fetch_u32(&jflow_gateways[MyProcNumberCompat].outstanding, 1);
	calls[n].engine = NULL;
	engine->out--;
	if (walk)
		walk->out--;
	jflow_slot_free(n);
	raise_refused(engine, step, shard);
}

/* Stop the calls of a walk: the queued are gone, those that run come back soon. */
void
jflow_answers_stop(Engine *engine, Walk *walk)
{
	bool		wrote = false;

	for (int n = 0; n < jflow_max_requests && walk->out > 0; n++)
	{
		if (calls[n].engine != engine || calls[n].walk != walk ||
			!jflow_slot_give_up(n, false, &wrote))
			continue;
		calls[n].engine = NULL;
		engine->out--;
		walk->out--;
	}
	if (wrote)
		note_nested_write();
}

static void
look_at(int n, Answer *answer)
{
	JflowSlot  *slot = &jflow_slots[n];

	answer->slot = *slot;
	answer->call = calls[n];
	answer->docs = slot->outcome == OUTCOME_OK ? jflow_payload_docs(slot->docs, NULL, NULL) : (Datum) 0;
	answer->messages = NULL;
	answer->nmessages = 0;
	if (DsaPointerIsValid(slot->messages))
		answer->messages = jflow_payload_bytes(slot->messages, &answer->nmessages);
	answer->is_copy = false;
	if (slot->wrote)
		note_nested_write();
}

/* Move what has come back into the memory of its requests. */
static void
take_out(Engine *engine)
{
	while (engine->returned != JFLOW_NONE)
	{
		int			n = engine->returned;
		Walk	   *walk = calls[n].walk;
		MemoryContext old = MemoryContextSwitchTo(walk ? walk->context : engine->context);
		Answer	   *answer = palloc(sizeof(Answer));

		look_at(n, answer);
		if (answer->docs)
			answer->docs = datumCopy(answer->docs, false, -1);
		if (answer->messages)
			answer->messages = memcpy(palloc(answer->nmessages), answer->messages, answer->nmessages);
		answer->is_copy = true;
		MemoryContextSwitchTo(engine->context);
		engine->taken_out = lappend(engine->taken_out, answer);
		MemoryContextSwitchTo(old);
		jflow_slot_free(unlist(engine));
	}
}

/* Collect what has come back, and take out what is not the innermost post's. */
void
jflow_answers_collect(void)
{
	collect_returned();
	for (Engine *engine = engines->outer; engine; engine = engine->outer)
		take_out(engine);
}

/* Are there answers to take? */
bool
jflow_answers_any(const Engine *engine)
{
	return engine->returned != JFLOW_NONE || engine->taken_out != NIL ||
		pg_atomic_read_u32(&jflow_gateways[MyProcNumberCompat].done) != 0;
}

/*
 * The next answer, if there is one.  What it points to is good until the next
 * call: a slot is kept so long, and so is freed whatever is raised meanwhile; what
 * is reported to the client, or done with an answer, can be interrupted.
 */
bool
jflow_answers_next(Engine *engine, Answer *answer)
{
	free_current(engine);
	jflow_answers_collect();
	if (engine->taken_out != NIL)
	{
		*answer = *(Answer *) linitial(engine->taken_out);
		engine->taken_out = list_delete_first(engine->taken_out);
	}
	else if (engine->returned != JFLOW_NONE)
	{
		look_at(engine->returned, answer);
		engine->current = unlist(engine);
	}
	else
		return false;
	engine->out--;
	if (answer->call.walk)
		answer->call.walk->out--;
	return true;
}
