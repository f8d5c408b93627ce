/*
 * replica.c
 *		A replica: takes requests from its pool, runs them, answers.
 *
 * It is connected as the flow's owner and serves many callers, so each request
 * is a transaction of its own after which nothing of the session is left.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "commands/trigger.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timeout.h"

#include "compat.h"
#include "runtime/call.h"
#include "runtime/control/workers.h"
#include "runtime/deadline.h"
#include "runtime/replica/hygiene.h"
#include "runtime/shared/counters.h"
#include "runtime/shared/message.h"
#include "runtime/shared/pool.h"
#include "runtime/shared/tally.h"
#include "settings.h"

/*
 * The gateway ends a post whose time is up, and says so in its own words.  The
 * replica's timer is there in case that the gateway is not.
 */
#define DEADLINE_GRACE_MS 1000

#define AGAIN_MS 10				/* before a request is run again; doubles */
#define AGAIN_MS_MAX 1000

/* What to call for an endpoint, kept while the definitions hold. */
typedef struct Prepared
{
	MemoryContext context;		/* NULL: nothing prepared */
	char	   *endpoint;
	JflowFlow  *flow;
	const JflowExecutor *executor;
	JflowRunnables runnables;
	JflowTally *tally;
	bool		complete;
} Prepared;

/* What requests need of their post, kept for the next one of the same. */
typedef struct Known
{
	MemoryContext context;
	uint64		id;				/* of the shared; 0: none */
	int			step;
	char	   *endpoint;
	Jsonb	   *parameters;
	JflowStat	stat;
} Known;

/* A request that runs. */
typedef struct Running
{
	JflowSlot  *slot;
	JflowPostShared *shared;
	JflowSharedStep *step;
	Datum		docs;			/* in, then out */
	const int  *parts;
	int			nparts;
	MemoryContext memory;		/* until the request is answered */
	bool		waits;			/* may end the transaction and begin another */
	JflowPlans	plans;
} Running;

int			jflow_my_replica = JFLOW_NONE;

static Prepared prepared;
static Known known;
static bool functions_valid = false;
static bool terminated = false;
static bool reported_idle = false;
static JflowPostShared *current_post = NULL;
static dsa_pointer unsent = InvalidDsaPointer;	/* answer of a transaction
												 * that has not committed yet */
static emit_log_hook_type previous_emit_log = NULL;

/* The post whose request runs, or NULL: posts made inside want it. */
JflowPostShared *
jflow_replica_post(void)
{
	return current_post;
}

/* Runs in a signal handler: somebody may have cancelled what we run. */
static void
look_for_cancel(SIGNAL_ARGS)
{
	int			save_errno = errno;
	int			n = jflow_replicas[jflow_my_replica].slot;

	if (n >= 0 && jflow_slots[n].cancel)
	{
		InterruptPending = true;
		QueryCancelPending = true;
	}
	SetLatch(MyLatch);
	errno = save_errno;
}

static void
functions_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	functions_valid = false;
}

/* Keep what a fatal error says, for the view. */
static void
keep_fatal(ErrorData *error)
{
	if (previous_emit_log)
		previous_emit_log(error);
	if (error->elevel < FATAL || error->message == NULL)
		return;
	terminated = error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN;
	if (!terminated)
		jflow_clip(jflow_pools[jflow_replicas[jflow_my_replica].pool].reason,
				   error->message, JFLOW_REASON_LEN);
}

/*
 * Exit callback.  Registered before the connection is made, so it runs after
 * the transaction was aborted.
 */
static void
leave(int code, Datum arg)
{
	JflowReplica *me = &jflow_replicas[jflow_my_replica];

	jflow_payload_free(unsent);
	jflow_payload_want(false);
	jflow_pool_leave(jflow_my_replica, !me->stop && !terminated);
	jflow_wake_launcher();
	ConditionVariableBroadcast(&jflow_shared->changed);
}

/* Look up what an endpoint runs, unless that is known and still holds. */
static void
prepare(const char *endpoint)
{
	const JflowPool *pool = &jflow_pools[jflow_replicas[jflow_my_replica].pool];
	JflowFunction function;
	MemoryContext old;
	Oid			owner;

	if (prepared.complete && functions_valid && prepared.flow->valid &&
		strcmp(prepared.endpoint, endpoint) == 0)
		return;
	if (prepared.context)
		MemoryContextDelete(prepared.context);
	memset(&prepared, 0, sizeof(prepared));

	prepared.context = AllocSetContextCreate(TopMemoryContext, "jflow endpoint",
											 ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(prepared.context);
	functions_valid = true;		/* unless something changes from here on */
	prepared.endpoint = pstrdup(endpoint);
	prepared.flow = jflow_flow_open(pool->flow, false);
	prepared.executor = jflow_flow_executor(prepared.flow, pool->executor);
	if (prepared.executor == NULL)
		jflow_executor_missing(prepared.flow, pool->executor);
	owner = jflow_flow_owner(prepared.flow);
	if (owner != pool->owner)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the owner of flow \"%s\" has changed", pool->flow)));
	jflow_endpoint_function(prepared.executor, endpoint, &function);
	jflow_runnables_prepare(&prepared.runnables, prepared.executor, &function, owner);
	prepared.tally = jflow_tally_find(pool->flow, prepared.executor, owner);
	prepared.complete = true;
	MemoryContextSwitchTo(old);
}

/* Take over what requests of this post need. */
static void
know(const Running *running)
{
	const JflowPool *pool = &jflow_pools[running->slot->pool];
	JflowPostShared *shared = running->shared;
	Jsonb	   *parameters;
	MemoryContext old;

	if (known.id == shared->id && known.step == running->slot->step)
		return;
	known.id = 0;
	if (known.context)
		MemoryContextReset(known.context);
	else
		known.context = AllocSetContextCreate(TopMemoryContext, "jflow post",
											  ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(known.context);
	known.endpoint = pstrdup(SHARED_AT(shared, shared->endpoint));
	parameters = (Jsonb *) SHARED_AT(shared, running->step->parameters);
	known.parameters = palloc(VARSIZE(parameters));
	memcpy(known.parameters, parameters, VARSIZE(parameters));
	known.stat = jflow_stat_find(pool->flow, pool->executor, known.endpoint, pool->owner);
	known.step = running->slot->step;
	known.id = shared->id;
	MemoryContextSwitchTo(old);
}

/* What jflow_run says of errors in a function, for those around it. */
static void
request_error_context(void *arg)
{
	const Running *running = arg;
	const JflowReplica *me = &jflow_replicas[jflow_my_replica];

	errcontext("executor \"%s\", shard %d, replica %d, request " INT64_FORMAT,
			   jflow_pools[me->pool].executor, running->slot->shard, me->number,
			   running->slot->request);
}

/* Each request begins with a transaction; one that has waited goes on in another. */
static void
begin_transaction(const Running *running)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	if (running->shared->read_only)
		XactReadOnly = true;
}

/*
 * What an executor has left to do needs time: without a transaction, so without
 * snapshot and transaction id.  Nothing was written so far.
 */
static void
wait_and_answer(Running *running, const JflowWaiting *waiting)
{
	ErrorContextCallback callback;

	Assert(!TransactionIdIsValid(GetTopTransactionIdIfAny()));
	callback.callback = request_error_context;
	callback.arg = running;
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	CommitTransactionCommand();
	MemoryContextSwitchTo(running->memory);
	waiting->wait(waiting->arg);
	begin_transaction(running);
	MemoryContextSwitchTo(running->memory);
	running->docs = jflow_docs_complete(waiting->answer(waiting->arg), "answer");
	error_context_stack = callback.previous;
}

static void
call_stages(void *arg)
{
	Running    *running = arg;
	JflowWaiting waiting = {running->memory};
	JflowContext context;

	memset(&context, 0, sizeof(context));
	context.flow = prepared.flow;
	context.executor = prepared.executor;
	context.endpoint = known.endpoint;
	context.shard = running->slot->shard;
	context.shards = running->step->shards; /* as the post was planned */
	context.replica = jflow_replicas[jflow_my_replica].number;
	context.replicas = prepared.executor->replicas;
	context.post = running->shared->post;
	context.request = running->slot->request;
	context.part = running->slot->part;
	context.parts = running->parts;
	context.nparts = running->nparts;
	context.tally = prepared.tally;
	if (running->shared->plans)
	{
		initStringInfo(&running->plans.text);
		context.plans = &running->plans;
	}
	if (running->waits)
		context.waiting = &waiting;
	running->docs = jflow_run_stages(&prepared.runnables, running->slot->stages, &context,
									 running->docs, known.parameters);
	if (running->plans.text.len > 0)
		jflow_messages_add_plans(running->plans.text.data);
	if (waiting.wait)
		wait_and_answer(running, &waiting);
}

/* The same, not beyond the executor's own limit of time. */
static void
call_in_time(void *arg)
{
	Running    *running = arg;

	jflow_run_before_deadline(running->step->timeout_ms,
							  running->step->timeout_ms <= 0 ? NULL :
							  psprintf("executor \"%s\" of flow \"%s\"",
									   prepared.executor->name, prepared.flow->name),
							  call_stages, running);
}

/*
 * Fire deferred triggers while an error is still an ordinary one, and what they
 * set can still be rolled back.
 */
static void
fire_deferred_triggers(void)
{
	ConstraintsSetStmt *stmt = makeNode(ConstraintsSetStmt);
	int			settings = NewGUCNestLevel();

	stmt->constraints = NIL;
	stmt->deferred = false;
	AfterTriggerSetState(stmt);
	AtEOXact_GUC(false, settings);
}

/*
 * Room for an answer.  Waits, since gateways take answers out; raises
 * program_limit_exceeded for one that could never fit.
 */
static dsa_pointer
put_answer(Datum docs)
{
	Size		size = jflow_payload_docs_size(docs, 0);
	dsa_pointer chunk;

	if (size > jflow_payload_max())
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the answer of %zu bytes is too large for jflow.memory_limit", size),
				 errdetail("One request or answer may have %zu bytes.", jflow_payload_max()),
				 errhint("Raise jflow.memory_limit, or lower request_size.")));
	chunk = jflow_payload_put_docs(docs, NULL, 0, PAYLOAD_ANSWER);
	while (!DsaPointerIsValid(chunk))
	{
		jflow_payload_want(true);
		chunk = jflow_payload_put_docs(docs, NULL, 0, PAYLOAD_ANSWER);
		if (DsaPointerIsValid(chunk))
			break;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH, -1, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	jflow_payload_want(false);
	return chunk;
}

/* Notices go along with the answer if there is room; they are not worth waiting. */
static void
put_messages(JflowSlot *slot)
{
	StringInfo	messages = jflow_messages();

	if (messages->len > 0)
		slot->messages = jflow_payload_put_bytes(messages->data, messages->len);
}

/* Where does the answer go?  Counts it accordingly. */
static int
choose_next_step(JflowSlot *slot, JflowSharedStep *step)
{
	if (step->next == JFLOW_NONE || slot->stages == STAGE_FINISH || slot->part > 0 ||
		DsaPointerIsValid(slot->messages))
		return JFLOW_NONE;
	if (jflow_payload_set_class(slot->docs, PAYLOAD_CHAIN))
		return step->next;
	return JFLOW_NONE;
}

/*
 * One request, from its transaction's start to the end of it.  Interrupts are
 * held when this returns.  Returns whether it has touched temporary tables.
 */
static bool
run_request(JflowSlot *slot, Running *running)
{
	dsa_pointer given = slot->docs;
	dsa_pointer answer = given;
	Datum		given_docs;
	JflowReplica *me = &jflow_replicas[jflow_my_replica];
	ErrorContextCallback callback;
	int64		left = 0;
	bool		temp,
				writes;

	callback.callback = request_error_context;
	callback.arg = running;
	callback.previous = error_context_stack;

	begin_transaction(running);
	error_context_stack = &callback;
	know(running);
	jflow_clip(me->endpoint, known.endpoint, NAMEDATALEN);
	prepare(known.endpoint);
	given_docs = running->docs = jflow_payload_docs(given, &running->parts, &running->nparts);
	error_context_stack = callback.previous;

	/*
	 * What is needed behind a wait must not be the transaction's, nor, where
	 * another function calls the one that waits, that function's.
	 */
	running->waits = prepared.executor->class && prepared.executor->class->waits &&
		slot->stages == STAGE_MAIN && prepared.runnables.main &&
		prepared.runnables.main->flinfo.fn_addr == prepared.executor->class->waits;
	if (running->waits)
		MemoryContextSwitchTo(running->memory);
	if (running->shared->deadline != DT_NOEND)
		left = Max((running->shared->deadline - GetCurrentTimestamp()) / 1000, 0) + DEADLINE_GRACE_MS;
	jflow_run_before_deadline(left, "post", call_in_time, running);

	error_context_stack = &callback;
	me->docs += jflow_docs_count(running->docs);
	if (running->docs != given_docs)
		answer = unsent = put_answer(running->docs);
	writes = TransactionIdIsValid(GetTopTransactionIdIfAny());
	if (writes)
		fire_deferred_triggers();
	temp = jflow_hygiene_temp();
	error_context_stack = callback.previous;
	CHECK_FOR_INTERRUPTS();
	HOLD_INTERRUPTS();
	if (writes && !jflow_pool_commit(jflow_my_replica))
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("canceling statement due to user request")));
	CommitTransactionCommand();

	slot->docs = answer;
	unsent = InvalidDsaPointer;
	if (answer != given)
		jflow_payload_free(given);
	else
		(void) jflow_payload_set_class(answer, PAYLOAD_ANSWER);
	slot->commits++;
	slot->outcome = OUTCOME_OK;
	put_messages(slot);
	return temp;
}

/*
 * The request has failed: abort.  Interrupts are held when this returns; returns
 * what run_request does.
 */
static bool
abort_request(JflowSlot *slot)
{
	bool		temp = jflow_hygiene_temp();

	HOLD_INTERRUPTS();
	disable_all_timeouts(false);
	QueryCancelPending = false;
	error_context_stack = NULL;
	EmitErrorReport();
	AbortCurrentTransaction();
	FlushErrorState();
	jflow_payload_want(false);
	jflow_payload_free(unsent);
	unsent = InvalidDsaPointer;
	slot->state = SLOT_RUNNING;
	return temp;
}

/*
 * May a request that has failed and left nothing succeed when it is run again?
 * Transactions that got into each other's way do, here or on another server.
 */
static bool
may_run_again(const Running *running, int sqlstate)
{
	const JflowSlot *slot = running->slot;

	return (sqlstate == ERRCODE_T_R_SERIALIZATION_FAILURE ||
			sqlstate == ERRCODE_T_R_DEADLOCK_DETECTED) &&
		running->step->idempotent && slot->tries < running->step->retries &&
		!slot->nested_wrote && !slot->cancel && !slot->abandoned && !ProcDiePending;
}

/* Let the answer be the error that was collected.  Interrupts are held. */
static void
answer_with_error(JflowSlot *slot)
{
	StringInfo	messages = jflow_messages();

	/* An error that finds no room must not be lost: waiting is all right. */
	while (!slot->abandoned && !ProcDiePending)
	{
		jflow_payload_want(true);
		slot->messages = jflow_payload_put_bytes(messages->data, messages->len);
		if (DsaPointerIsValid(slot->messages))
			break;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH, -1, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
	jflow_payload_want(false);
	slot->outcome = DsaPointerIsValid(slot->messages) ? OUTCOME_ERROR : OUTCOME_LOST;
}

/*
 * Give the slot away, and leave nothing of the request behind.  An error here
 * ends the replica: the slot is no longer ours to answer with it.
 */
static void
end_request(int next_step, bool temp)
{
	jflow_pool_end(jflow_my_replica, next_step);
	QueryCancelPending = false;
	current_post = NULL;
	jflow_hygiene_clean(temp);
	RESUME_INTERRUPTS();
}

/*
 * Wait before a request is run again, about twice as long each time: who was in its
 * way needs time to take the lock that it has let go, or they meet again.
 */
static void
pause_before(int try)
{
	long		ms = Min((long) AGAIN_MS << Min(try - 1, 10), AGAIN_MS_MAX);
	TimestampTz until;

	ms += pg_prng_uint64_range(&pg_global_prng_state, 0, ms);
	until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms);
	while ((ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until)) > 0)
	{
		CHECK_FOR_INTERRUPTS();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}

/*
 * Run a request once, for the how many-th time again.  Returns its error, in the
 * current memory context, after what it has done is undone; NULL: it has
 * succeeded.  Interrupts are held when this returns, and "temp" is set if it has
 * touched temporary tables.
 */
static ErrorData *
try_request(Running *running, int again, bool *temp)
{
	JflowSlot  *slot = running->slot;
	MemoryContext context = CurrentMemoryContext;
	ErrorData  *volatile error = NULL;
	volatile bool touched = false;

	jflow_messages_reset();
	QueryCancelPending = false;
	if (slot->cancel)
		QueryCancelPending = InterruptPending = true;
	PG_TRY();
	{
		if (again > 0)
			pause_before(again);
		touched = run_request(slot, running);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		touched = abort_request(slot);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	*temp |= touched;
	return error;
}

static void
serve(int n)
{
	JflowReplica *me = &jflow_replicas[jflow_my_replica];
	JflowSlot  *slot = &jflow_slots[n];
	TimestampTz started = GetCurrentTimestamp();
	bool		temp = false;
	int			again = 0;
	ErrorData  *error;
	JflowCount	count;
	Running		running;

	memset(&running, 0, sizeof(running));
	running.slot = slot;
	running.memory = CurrentMemoryContext;
	running.shared = current_post = jflow_post_shared(slot->shared);
	running.step = &running.shared->steps[slot->step];
	me->post = running.shared->post;
	me->request = slot->request;
	me->since = started;
	memset(&count, 0, sizeof(count));
	count.docs = jflow_docs_count(jflow_payload_docs(slot->docs, NULL, NULL));
	count.wait_us = Max(started - slot->queued, 0);

	while ((error = try_request(&running, again, &temp)) != NULL &&
		   may_run_again(&running, error->sqlerrcode))
	{
		slot->tries++;
		again++;
		RESUME_INTERRUPTS();
	}
	if (error)
	{
		me->last_sqlstate = error->sqlerrcode;
		count.kind = jflow_count_kind(error->sqlerrcode);
		jflow_clip(me->last_error, error->message ? error->message : "", JFLOW_REASON_LEN);
		answer_with_error(slot);
	}

	/* Before the answer is given away: who has it can see it counted. */
	count.ended = GetCurrentTimestamp();
	count.run_us = count.ended - started;
	slot->replica_number = me->number;
	slot->queue_us = count.wait_us;
	slot->run_us = count.run_us - running.plans.elapsed;
	me->requests++;
	me->errors += count.kind != COUNT_OK;
	me->busy_us += count.run_us;
	if (known.id != 0)
		jflow_stat_count(known.stat, &count);
	end_request(error ? JFLOW_NONE : choose_next_step(slot, running.step), temp);
}

/* Connect and join the pool. */
static void
join_pool(void)
{
	JflowReplica *me = &jflow_replicas[jflow_my_replica];
	JflowPool  *pool = &jflow_pools[me->pool];

	BackgroundWorkerInitializeConnectionByOid(pool->database, pool->owner,
											  BGWORKER_BYPASS_ROLELOGINCHECK_COMPAT);
	if (pool->shard != JFLOW_MOVER)
	{
		/* The scout has looked at the owner, but that may be a while ago. */
		if (!jflow_allow_superuser_flows &&
			strcmp(GetConfigOption("is_superuser", false, false), "on") == 0)
			ereport(FATAL,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("the owner of flow \"%s\" is a superuser and jflow.allow_superuser_flows is off",
							pool->flow)));
	}
	if (pool->shard >= 0)
		jflow_messages_collect();
	SetConfigOption("application_name",
					pool->shard < 0 ?
					psprintf("jflow: %s/%s %s", pool->flow, pool->executor,
							 pool->shard == JFLOW_MOVER ? "moving" : "syncing") :
					psprintf("jflow: %s/%s/%d/%d", pool->flow, pool->executor,
							 pool->shard, me->number), PGC_USERSET, PGC_S_SESSION);
	CacheRegisterSyscacheCallback(PROCOID, functions_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, functions_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, functions_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, functions_changed, (Datum) 0);

	LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
	pool->starting--;
	pool->running++;
	pool->blocked = false;
	pool->reason[0] = '\0';
	me->state = REPLICA_IDLE;
	me->started = me->since = GetCurrentTimestamp();
	LWLockRelease(&pool->lock);
	jflow_wake_launcher();
	ConditionVariableBroadcast(&jflow_shared->changed);
}

/* Entry point of the worker; the argument is the number of its entry. */
void
jflow_replica_main(Datum arg)
{
	JflowReplica *me;
	uint32		generation;
	MemoryContext context;

	memcpy(&generation, MyBgworkerEntry->bgw_extra, sizeof(generation));
	jflow_my_replica = DatumGetInt32(arg);
	me = &jflow_replicas[jflow_my_replica];

	/* The launcher may have lost patience. */
	LWLockAcquire(&jflow_shared->control, LW_SHARED);
	if (me->state != REPLICA_STARTING || me->generation != generation)
	{
		LWLockRelease(&jflow_shared->control);
		proc_exit(0);
	}
	me->pid = MyProcPid;
	me->proc = MyProcNumberCompat;
	LWLockRelease(&jflow_shared->control);
	before_shmem_exit(leave, (Datum) 0);
	previous_emit_log = emit_log_hook;
	emit_log_hook = keep_fatal;

	pqsignal(SIGTERM, die);
	pqsignal(SIGINT, StatementCancelHandler);
	pqsignal(SIGUSR2, look_for_cancel);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	join_pool();
	if (jflow_pools[me->pool].shard == JFLOW_MOVER)
		jflow_mover_run(me);
	if (jflow_pools[me->pool].shard == JFLOW_SYNC)
		jflow_sync_hooks->run(me);

	context = AllocSetContextCreate(TopMemoryContext, "jflow replica", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	for (;;)
	{
		int			n;

		ResetLatch(MyLatch);
		QueryCancelPending = false;
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		n = jflow_pool_next(jflow_my_replica);
		if (n >= 0)
		{
			if (reported_idle)
			{
				pgstat_report_activity(STATE_RUNNING, NULL);
				reported_idle = false;
			}
			serve(n);
			MemoryContextReset(context);
			continue;
		}
		if (me->stop)
			proc_exit(0);
		if (!reported_idle)
		{
			pgstat_report_stat(true);
			pgstat_report_activity(STATE_IDLE, NULL);
			reported_idle = true;
		}
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH, -1, PG_WAIT_EXTENSION);
	}
}
