/*
 * remote.c
 *		A post through replicas: requests in flight, each walking the graph.
 *
 * A walk is one request on its way.  An executor of it starts as soon as its
 * inputs are there, so branches run side by side; where executors follow one
 * another plainly, their pools hand the request on and the walk hears only of
 * the last.  Nothing here blocks but one wait on the latch: a call that finds
 * no slot or no memory is tried again when something was freed.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/datum.h"
#include "utils/memutils.h"

#include "compat.h"
#include "runtime/control/workers.h"
#include "runtime/gateway/deadlock.h"
#include "runtime/gateway/reduce.h"
#include "runtime/gateway/remote.h"
#include "runtime/gateway/visit.h"
#include "runtime/shared/message.h"
#include "runtime/shared/pool.h"
#include "settings.h"

#define AUTO_PREFETCH_MIN 64

static void
forget_walk(Engine *engine, Walk *walk)
{
	if (walk->prev)
		walk->prev->next = walk->next;
	else
		engine->first = walk->next;
	if (walk->next)
		walk->next->prev = walk->prev;
	else
		engine->last = walk->prev;
	engine->nwalks--;
	engine->contexts[engine->ncontexts++] = walk->context;
}

/* The end of a walk, good or bad. */
static void
end_walk(Engine *engine, Walk *walk, Datum docs, bool ok)
{
	Post	   *post = engine->post;

	if (ok && post->sink)
		post->sink(post->sink_arg, docs);
	if (walk->commits > 0)
		engine->committed++;
	if (walk->commits > 0 && !ok)
		engine->partly++;
	jflow_progress_step(&post->progress, walk->ndocs, !ok);
	if (walk->out > 0)
		walk->delivered = true; /* floating executors are not done yet */
	else
		forget_walk(engine, walk);
}

static Datum
join_outputs(Engine *engine, Walk *walk)
{
	const JflowFlow *flow = engine->plan->flow;
	Datum	   *ends = palloc(sizeof(Datum) * Max(flow->noutputs, 1));

	if (flow->noutputs == 0)
		return walk->input;
	for (int i = 0; i < flow->noutputs; i++)
		ends[i] = walk->runs[flow->outputs[i]].output;
	return jflow_reduce_branches(ends, flow->noutputs);
}

/* Hand over answers that are complete, in order if that was asked for. */
static void
deliver(Engine *engine)
{
	Walk	   *walk = engine->first;

	while (walk)
	{
		Walk	   *next = walk->next;

		if (walk->failed && !walk->delivered)
		{
			if (walk->out == 0)
				end_walk(engine, walk, (Datum) 0, false);
		}
		else if (walk->delivered)
		{
			/* A floating executor of several calls may have more to ask. */
			if (walk->out == 0 && !walk->ready)
				forget_walk(engine, walk);
		}
		else if (walk->missing == 0 && !walk->ready)
		{
			MemoryContext old = MemoryContextSwitchTo(walk->context);

			end_walk(engine, walk, join_outputs(engine, walk), true);
			MemoryContextSwitchTo(old);
		}
		else if (engine->ordered)
			break;
		walk = next;
	}
}

static const char *
lost_message(JflowOutcome outcome)
{
	return outcome == OUTCOME_UNKNOWN ?
		"a replica of executor \"%s\" of flow \"%s\" went away while it committed request " INT64_FORMAT :
		"a replica of executor \"%s\" of flow \"%s\" went away while it ran request " INT64_FORMAT;
}

/* Raises the notices that came along; returns the error, or NULL. */
static ErrorData *
answer_error(Engine *engine, const Answer *answer)
{
	const JflowSlot *slot = &answer->slot;
	const JflowExecutor *executor = engine->plan->steps[slot->step].executor;
	ErrorData  *error = NULL;

	if (answer->messages)
		error = jflow_messages_read(answer->messages, answer->nmessages);
	if (slot->outcome == OUTCOME_OK)
		return NULL;
	if (error == NULL)
	{
		error = palloc0(sizeof(ErrorData));
		error->elevel = ERROR;
		error->assoc_context = CurrentMemoryContext;
		if (slot->outcome == OUTCOME_CLOSED)
		{
			error->sqlerrcode = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
			error->message = psprintf("executor \"%s\" of flow \"%s\" takes no more requests",
									  executor->name, engine->plan->flow->name);
			error->detail = pstrdup("The flow was stopped, or its replicas cannot run; see jflow_status.");
		}
		else
		{
			error->sqlerrcode = slot->outcome == OUTCOME_UNKNOWN ?
				ERRCODE_T_R_STATEMENT_COMPLETION_UNKNOWN : ERRCODE_OPERATOR_INTERVENTION;
			error->message = psprintf(lost_message(slot->outcome), executor->name,
									  engine->plan->flow->name, slot->request);
			if (slot->outcome == OUTCOME_UNKNOWN)
				error->hint = pstrdup("The request may or may not have been committed. Endpoints declared idempotent are run again.");
		}
	}
	return error;
}

/* Report a request that failed as a warning, and go on. */
static void
warn(const char *what, ErrorData *error)
{
	ereport(WARNING,
			(errcode(error->sqlerrcode),
			 errmsg("%s failed: %s", what, error->message),
			 error->detail ? errdetail("%s", error->detail) : 0,
			 error->hint ? errhint("%s", error->hint) : 0,
			 error->context ? errcontext("%s", error->context) : 0));
}

/* Stop the other calls of a walk that has failed. */
static void
fail_walk(Engine *engine, Walk *walk)
{
	walk->failed = true;
	jflow_answers_stop(engine, walk);
}

/* A call has failed: so has its request, unless nobody waits for the call. */
static void
take_error(Engine *engine, Walk *walk, int step, ErrorData *error)
{
	const JflowExecutor *executor = engine->plan->steps[step].executor;

	if (executor->floating)
		warn(psprintf("floating executor \"%s\"", executor->name), error);
	else if (!walk->failed && !engine->failing)
	{
		if (engine->post->options->continue_on_error)
			warn(psprintf("request " INT64_FORMAT, walk->number), error);
		else
			engine->error = error;
		fail_walk(engine, walk);
	}
}

/*
 * May an answer go to the sink from where it is?  Not if the walk has more to
 * start: it ends with this answer.
 */
static bool
goes_straight(const Engine *engine, const Walk *walk, const Run *run)
{
	return run->is_output && walk->missing == 1 && !walk->ready &&
		engine->plan->flow->noutputs == 1 && run->place == NULL && !engine->failing &&
		(engine->post->sink == NULL || !engine->ordered || walk == engine->first);
}

/* A call was answered: what does its walk do with it? */
static void
take_docs(Engine *engine, const Answer *answer)
{
	const Call *call = &answer->call;
	Walk	   *walk = call->walk;
	int			step = answer->slot.step;
	Run		   *run = &walk->runs[step];
	Datum		docs = answer->docs;
	bool		complete;

	/* What came along a chain has passed the executors before. */
	for (int i = call->step; i != step; i = engine->plan->steps[i].next)
		walk->runs[i].state = RUN_FINISHED;
	run->state = RUN_BUSY;
	complete = call->step != step || run->phase == PHASE_AFTER;
	if (complete && goes_straight(engine, walk, run))
	{
		run->state = RUN_FINISHED;
		walk->missing--;
		end_walk(engine, walk, docs, true);
		return;
	}
	if (!answer->is_copy)
		docs = datumCopy(docs, false, -1);
	if (complete)
		jflow_walk_finish_run(walk, step, docs);
	else if (run->phase == PHASE_BEFORE)
	{
		run->docs = docs;
		run->counts = NULL;
		run->ncounts = 0;
		run->phase = PHASE_SPREAD;
		walk->ready = true;
	}
	else
	{
		run->parts[call->part] = docs;
		run->pending--;
		walk->ready |= run->pending == 0;
	}
}

static void
take_all_back(Engine *engine)
{
	Answer		answer;

	while (jflow_answers_next(engine, &answer))
	{
		Walk	   *walk = answer.call.walk;
		MemoryContext old = MemoryContextSwitchTo(walk ? walk->context : engine->context);
		ErrorData  *error = answer_error(engine, &answer);

		if (walk == NULL)
			engine->finish_error = error;
		else
		{
			walk->commits += answer.slot.commits;
			if (error)
				take_error(engine, walk, answer.slot.step, error);
			else if (!walk->failed)
				take_docs(engine, &answer);
		}
		MemoryContextSwitchTo(old);
	}
}

/*
 * How many requests may still be out when it is worth to wake up.  Of the shards
 * of one executor nothing can be made before the last has answered; if there is
 * nothing else to do, it alone shall wake us.  What fails always does.
 */
static uint32
choose_wake(const Engine *engine, bool blocked, uint32 outstanding)
{
	if (engine->outer == NULL && !blocked)
	{
		if (engine->plain)
			return engine->exhausted ? 0 : outstanding / 2;
		if (engine->exhausted && engine->nwalks == 1)
			for (int i = 0; i < engine->plan->flow->nexecutors; i++)
				if (engine->first->runs[i].pending == engine->out)
					return 0;
	}
	return outstanding > 0 ? outstanding - 1 : 0;
}

/* Sleep until something came back, or was freed if we wait for that. */
static void
wait_for_something(Engine *engine, bool blocked)
{
	JflowGatewayEntry *entry = &jflow_gateways[MyProcNumberCompat];
	uint32		outstanding = pg_atomic_read_u32(&entry->outstanding);
	uint32		wake_at = choose_wake(engine, blocked, outstanding);

	pg_atomic_write_u32(&entry->wake_at, wake_at);
	pg_memory_barrier();
	if (pg_atomic_read_u32(&entry->outstanding) > wake_at || (blocked && outstanding == 0))
	{
		int			events = WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
									   DeadlockTimeout, PG_WAIT_EXTENSION);

		if (events & WL_TIMEOUT)
			jflow_check_deadlock();
	}
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	jflow_progress_check_cancel(&engine->post->progress);
}

/* One more request from the source; false at the end. */
static bool
new_walk(Engine *engine)
{
	Post	   *post = engine->post;
	const JflowFlow *flow = engine->plan->flow;
	MemoryContext context;
	MemoryContext old;
	Walk	   *walk;
	Datum		docs;

	if (engine->ncontexts > 0)
		context = engine->contexts[--engine->ncontexts];
	else
		context = AllocSetContextCreate(engine->context, "jflow request", ALLOCSET_DEFAULT_SIZES);
	MemoryContextReset(context);
	old = MemoryContextSwitchTo(context);
	if (!post->source->next(post->source, post->request_size, &docs))
	{
		engine->contexts[engine->ncontexts++] = context;
		engine->exhausted = true;
		if (engine->number > 0)
		{
			MemoryContextSwitchTo(old);
			return false;
		}
		/* A post without documents is a request of parameters alone. */
		engine->ncontexts--;
		docs = jflow_docs_empty();
	}
	walk = palloc0(sizeof(Walk));
	walk->context = context;
	walk->number = ++engine->number;
	walk->input = docs;
	walk->ndocs = jflow_docs_count(docs);
	walk->runs = palloc0(sizeof(Run) * Max(flow->nexecutors, 1));
	walk->outputs = palloc0(sizeof(Datum) * Max(flow->nexecutors, 1));
	for (int i = 0; i < flow->noutputs; i++)
		walk->runs[flow->outputs[i]].is_output = true;
	walk->missing = flow->noutputs;
	walk->ready = true;
	walk->prev = engine->last;
	if (engine->last)
		engine->last->next = walk;
	else
		engine->first = walk;
	engine->last = walk;
	engine->nwalks++;
	MemoryContextSwitchTo(old);
	return true;
}

/* A request has failed: stop the others, count, and raise its error. */
static void JFLOW_NORETURN
fail_post(Engine *engine)
{
	ErrorData  *error = engine->error;

	engine->failing = true;
	for (Walk *walk = engine->first; walk; walk = walk->next)
		fail_walk(engine, walk);
	engine->exhausted = true;
	while (engine->out > 0)
	{
		take_all_back(engine);
		if (engine->out > 0)
			wait_for_something(engine, false);
	}
	for (Walk *walk = engine->first; walk; walk = walk->next)
	{
		if (walk->commits > 0 && !walk->delivered)
		{
			engine->committed++;
			engine->partly += walk->missing > 0 || walk->failed;
		}
	}
	if (engine->committed > 0)
	{
		char	   *count = psprintf(INT64_FORMAT " requests of the post had been committed, "
									 INT64_FORMAT " of them in part.",
									 engine->committed, engine->partly);

		error->detail = error->detail ? psprintf("%s\n%s", error->detail, count) : count;
	}
	ThrowErrorData(error);
	pg_unreachable();
}

/* Once all is done, executors whose endpoint asks for it are told. */
static void
finish_executors(Engine *engine)
{
	Post	   *post = engine->post;

	for (int i = 0; i < engine->plan->flow->nexecutors; i++)
	{
		JflowStep  *step = &engine->plan->steps[i];

		if (!step->active || !(step->stages & STAGE_FINISH))
			continue;
		if (!step->remote)
		{
			Visit		visit;

			memset(&visit, 0, sizeof(visit));
			visit.post = post;
			visit.step = step;
			(void) jflow_call_function(&visit, step->finish, 0, jflow_docs_empty(), NULL, 0);
			continue;
		}
		while (!jflow_answers_ask(engine, NULL, i, 0, STAGE_FINISH, jflow_docs_empty(), NULL, 0, 0))
		{
			/* say that we wait, try once more, and only then sleep */
			if (engine->said_blocked)
				wait_for_something(engine, true);
			engine->said_blocked = true;
			jflow_payload_want(true);
		}
		engine->said_blocked = false;
		jflow_payload_want(false);
		while (engine->out > 0)
		{
			take_all_back(engine);
			if (engine->out > 0)
				wait_for_something(engine, false);
		}
		if (engine->finish_error)
			ThrowErrorData(engine->finish_error);
	}
}

static void
run_walks(Engine *engine)
{
	for (;;)
	{
		bool		blocked = false;
		bool		again = false;

		CHECK_FOR_INTERRUPTS();
		take_all_back(engine);
		if (engine->error)
			fail_post(engine);
		for (Walk *walk = engine->first; walk && !blocked; walk = walk->next)
			if (walk->ready && !walk->failed)
				blocked = !jflow_walk_advance(engine, walk);
		deliver(engine);
		while (!blocked && !engine->exhausted && engine->nwalks < engine->prefetch)
		{
			CHECK_FOR_INTERRUPTS();
			if (!new_walk(engine))
				break;
			again = true;
			blocked = !jflow_walk_advance(engine, engine->last);
		}
		if (again && !engine->plain)
			deliver(engine);
		if (engine->exhausted && engine->nwalks == 0)
			break;
		if (jflow_answers_any(engine))
			continue;
		if (blocked)
		{
			/* say so, try once more, and only then sleep */
			jflow_payload_want(true);
			if (!engine->said_blocked)
			{
				engine->said_blocked = true;
				continue;
			}
		}
		else if (engine->said_blocked)
		{
			engine->said_blocked = false;
			jflow_payload_want(false);
		}
		if (engine->out == 0 && !blocked)
			continue;			/* everything ran here */
		wait_for_something(engine, blocked);
	}
}

/* How many requests to have in flight. */
static int
choose_prefetch(const JflowPlan *plan)
{
	int			replicas = 0;

	if (jflow_prefetch > 0)
		return Min(jflow_prefetch, jflow_max_requests);
	for (int i = 0; i < plan->flow->nexecutors; i++)
		if (plan->steps[i].active && plan->steps[i].remote)
			replicas = Max(replicas, plan->flow->executors[i].replicas);
	return Min(Max(4 * replicas, AUTO_PREFETCH_MIN), Max(jflow_max_requests / 4, 1));
}

/* Is the way through replicas one chain, so that answers may come in batches? */
static bool
is_plain(const JflowPlan *plan)
{
	int			starts = 0;

	for (int i = 0; i < plan->flow->nexecutors; i++)
	{
		const JflowStep *step = &plan->steps[i];

		if (!step->active)
			continue;
		if (!step->remote || step->executor->shards != 1)
			return false;
		starts += !step->handed;
	}
	return starts == 1;
}

/*
 * All requests of a post, through replicas.  Returns false, and has done nothing,
 * if a pool is gone that was there when the post was planned.
 */
bool
jflow_walk_post(Post *post)
{
	Engine		engine;

	memset(&engine, 0, sizeof(engine));
	engine.post = post;
	engine.plan = post->plan;
	engine.context = post->request_context;
	engine.prefetch = choose_prefetch(post->plan);
	engine.ordered = post->options->ordered && post->sink != NULL;
	engine.plain = is_plain(post->plan);
	engine.contexts = MemoryContextAlloc(engine.context, sizeof(MemoryContext) * (engine.prefetch + 1));
	jflow_answers_enter(&engine);
	PG_TRY();
	{
		engine.shared = jflow_post_shared_make(post);
		engine.shared_valid = DsaPointerIsValid(engine.shared);
		if (engine.shared_valid)
		{
			run_walks(&engine);
			if (post->progress.failed == 0)
				finish_executors(&engine);
		}
	}
	PG_FINALLY();
	{
		jflow_answers_leave(&engine);
	}
	PG_END_TRY();
	return engine.shared_valid;
}
