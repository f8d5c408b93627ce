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
#include "miscadmin.h"
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
#include "runtime/replica/joint.h"
#include "runtime/replica/reply.h"
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

/* A request that runs, or several of them as one call. */
typedef struct Running
{
	JflowSlot  *slot;			/* the first of them */
	JflowJoint	joint;			/* where there are several */
	JflowPostShared *shared;
	JflowSharedStep *step;
	Datum		docs;			/* in, then out */
	const int  *parts;
	int			nparts;
	MemoryContext memory;		/* until the request is answered */
	bool		waits;			/* may end the transaction and begin another */
	bool		refused;		/* must not commit: one of several was
								 * cancelled */
	JflowPlans	plans;
} Running;

int			jflow_my_replica = JFLOW_NONE;

static Prepared prepared;
static Known known;
static bool functions_valid = false;
static bool terminated = false;
static bool reported_idle = false;
static JflowPostShared *current_post = NULL;

static volatile sig_atomic_t interrupted = false;	/* by an administrator */
static emit_log_hook_type previous_emit_log = NULL;

/* The post whose request runs, or NULL: posts made inside want it. */
JflowPostShared *
jflow_replica_post(void)
{
	return current_post;
}

/* Have all requests that we run been cancelled?  Also called in a signal handler. */
static bool
all_cancelled(void)
{
	int			first = jflow_replicas[jflow_my_replica].slot;

	for (int n = first; n >= 0; n = jflow_slots[n].next)
		if (!jflow_slots[n].cancel)
			return false;
	return first >= 0;
}

/* Runs in a signal handler: somebody may have cancelled what we run. */
static void
look_for_cancel(SIGNAL_ARGS)
{
	int			save_errno = errno;

	if (jflow_replicas[jflow_my_replica].split || all_cancelled())
	{
		InterruptPending = true;
		QueryCancelPending = true;
	}
	SetLatch(MyLatch);
	errno = save_errno;
}

/* Runs in a signal handler: an administrator cancels what we run. */
static void
interrupt(SIGNAL_ARGS)
{
	interrupted = true;
	StatementCancelHandler(PASS_SIGNAL_ARGS_COMPAT);
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

	jflow_reply_drop();
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
take_over_post(const Running *running)
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

	if (running->joint.n > 1)
		errcontext("executor \"%s\", shard %d, replica %d, %d requests together",
				   jflow_pools[me->pool].executor, running->slot->shard, me->number,
				   running->joint.n);
	else
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
	Datum		given = running->docs;
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
	if (running->step->batched && (running->slot->stages & STAGE_MAIN))
		context.together = Max(running->joint.n, 1);
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
	if (context.together > 0)
		jflow_check_one_for_one(context.executor, given, running->docs);
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
 * The documents to call the function with: those of the request, where they are in
 * shared memory, or a copy of those of several.
 */
static void
take_documents(Running *running)
{
	JflowSlot  *slot = running->slot;

	if (slot->next >= 0)
	{
		MemoryContext old = MemoryContextSwitchTo(running->memory);

		jflow_joint_make(&running->joint, jflow_my_replica);
		MemoryContextSwitchTo(old);
	}
	if (running->joint.n > 1)
		running->docs = running->joint.docs;
	else
		running->docs = jflow_payload_docs(slot->docs, &running->parts, &running->nparts);
}

/* Make the answers ready to be sent, if there are new ones. */
static void
prepare_answers(Running *running, Datum given)
{
	if (running->docs == given)
		return;
	if (running->joint.n <= 1)
	{
		jflow_reply_put(&running->docs, 1);
		return;
	}
	jflow_joint_divide(&running->joint, running->docs);
	jflow_reply_put(running->joint.answers, running->joint.n);
}

/*
 * One request, or several, from the transaction's start to the end of it.
 * Interrupts are held when this returns.  Returns whether it has touched temporary
 * tables.
 */
static bool
run_request(Running *running)
{
	Datum		given;
	JflowReplica *me = &jflow_replicas[jflow_my_replica];
	ErrorContextCallback callback;
	bool		temp,
				writes;

	callback.callback = request_error_context;
	callback.arg = running;
	callback.previous = error_context_stack;

	begin_transaction(running);
	error_context_stack = &callback;
	take_over_post(running);
	jflow_clip(me->endpoint, known.endpoint, NAMEDATALEN);
	prepare(known.endpoint);
	take_documents(running);
	given = running->docs;
	error_context_stack = callback.previous;

	/*
	 * What is needed behind a wait must not be the transaction's, nor, where
	 * another function calls the one that waits, that function's.
	 */
	running->waits = prepared.executor->class && prepared.executor->class->waits &&
		running->slot->stages == STAGE_MAIN && prepared.runnables.main &&
		prepared.runnables.main->flinfo.fn_addr == prepared.executor->class->waits;
	if (running->waits)
		MemoryContextSwitchTo(running->memory);
	jflow_run_before_deadline(jflow_joint_time_left(running->slot, DEADLINE_GRACE_MS), "post", call_in_time, running);

	error_context_stack = &callback;
	me->docs += jflow_docs_count(running->docs);
	prepare_answers(running, given);
	writes = TransactionIdIsValid(GetTopTransactionIdIfAny());
	if (writes)
		jflow_hygiene_fire_deferred();
	temp = jflow_hygiene_temp();
	error_context_stack = callback.previous;
	CHECK_FOR_INTERRUPTS();
	HOLD_INTERRUPTS();
	if (writes && !jflow_pool_commit(jflow_my_replica))
	{
		running->refused = true;
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("canceling statement due to user request")));
	}
	CommitTransactionCommand();
	jflow_reply_hand_over();
	return temp;
}

/*
 * What ran has failed: abort.  Interrupts are held when this returns; returns what
 * run_request does.
 */
static bool
abort_request(void)
{
	bool		temp = jflow_hygiene_temp();
	int			first = jflow_replicas[jflow_my_replica].slot;

	HOLD_INTERRUPTS();
	disable_all_timeouts(false);
	QueryCancelPending = false;
	error_context_stack = NULL;
	EmitErrorReport();
	AbortCurrentTransaction();
	FlushErrorState();
	jflow_payload_want(false);
	jflow_reply_drop();
	for (int n = first; n >= 0; n = jflow_slots[n].next)
		jflow_slots[n].state = SLOT_RUNNING;
	return temp;
}

/*
 * May a request that has failed and left nothing succeed when it is run again?
 * Transactions that got into each other's way do, here or on another server.  Of
 * several together each is run by itself first.
 */
static bool
may_run_again(const Running *running, int sqlstate)
{
	const JflowSlot *slot = running->slot;

	return (sqlstate == ERRCODE_T_R_SERIALIZATION_FAILURE ||
			sqlstate == ERRCODE_T_R_DEADLOCK_DETECTED) &&
		slot->next < 0 && running->step->idempotent && slot->tries < running->step->retries &&
		!slot->nested_wrote && !slot->cancel && !slot->abandoned && !ProcDiePending;
}

/*
 * A call of several requests has failed, and nobody knows for whose sake: each is
 * run by itself, here or by other replicas.  Where it was given up because one of
 * them was cancelled, the others may be together again.  What an administrator has
 * cancelled ends them all.
 */
static void
separate(bool refused)
{
	JflowReplica *me = &jflow_replicas[jflow_my_replica];
	JflowPool  *pool = &jflow_pools[me->pool];

	if (interrupted)
	{
		LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
		for (int n = me->slot; n >= 0; n = jflow_slots[n].next)
			jflow_slots[n].cancel = true;
		LWLockRelease(&pool->lock);
	}
	jflow_joint_return(jflow_my_replica, !refused);
}

/* Leave nothing of what ran behind.  An error here ends the replica. */
static void
clean_up(bool temp)
{
	QueryCancelPending = false;
	jflow_hygiene_clean(temp);
	RESUME_INTERRUPTS();
}

/*
 * Run what was taken once, for the how many-th time again.  Returns its error, in the
 * current memory context, after what it has done is undone; NULL: it has
 * succeeded.  Interrupts are held when this returns, and "temp" is set if it has
 * touched temporary tables.
 */
static ErrorData *
try_request(Running *running, int again, bool *temp)
{
	MemoryContext context = CurrentMemoryContext;
	ErrorData  *volatile error = NULL;
	volatile bool touched = false;

	jflow_messages_reset();
	QueryCancelPending = false;
	/* what came since the last time is not forgotten */
	if (interrupted || all_cancelled())
		QueryCancelPending = InterruptPending = true;
	PG_TRY();
	{
		if (again > 0)
			jflow_pause_before(again);
		touched = run_request(running);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		touched = abort_request();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	*temp |= touched;
	return error;
}

/* Keep what an error says, for the views; returns how it is counted. */
static JflowCountKind
note_error(const ErrorData *error)
{
	JflowReplica *me = &jflow_replicas[jflow_my_replica];

	me->last_sqlstate = error->sqlerrcode;
	jflow_clip(me->last_error, error->message ? error->message : "", JFLOW_REASON_LEN);
	return jflow_count_kind(error->sqlerrcode);
}

/*
 * Count the first of the replica's requests, and give it away: who has the answer
 * can see it counted.  What telling plans took was not spent on it.
 */
static void
end_request(const JflowCount *count, int64 plans_us, bool ok)
{
	JflowReplica *me = &jflow_replicas[jflow_my_replica];
	JflowSlot  *slot = &jflow_slots[me->slot];

	slot->replica_number = me->number;
	slot->queue_us = count->wait_us;
	slot->run_us = count->run_us - plans_us;
	me->requests++;
	me->errors += !ok;
	if (known.id != 0)
		jflow_stat_count(known.stat, count);
	jflow_pool_end(jflow_my_replica, ok ?
				   choose_next_step(slot, &jflow_post_shared(slot->shared)->steps[slot->step]) : JFLOW_NONE);
}

/* End all requests of a call that has gone well; each has waited by itself. */
static void
end_joint(const JflowJoint *joint, JflowCount *count, TimestampTz started)
{
	for (int i = 0; i < joint->n; i++)
	{
		count->docs = joint->counts[i];
		count->wait_us = Max(started - jflow_slots[joint->slots[i]].queued, 0);
		end_request(count, 0, true);
	}
}

/* Run what was taken from the queue: a request, or the first of several. */
static void
serve(int n)
{
	JflowReplica *me = &jflow_replicas[jflow_my_replica];
	JflowSlot  *slot = &jflow_slots[n];
	TimestampTz started = GetCurrentTimestamp();
	bool		temp = false;
	bool		batched;
	int			again = 0;
	ErrorData  *error;
	JflowCount	count;
	Running		running;

	memset(&running, 0, sizeof(running));
	running.slot = slot;
	running.memory = CurrentMemoryContext;
	running.shared = current_post = jflow_post_shared(slot->shared);
	running.step = &running.shared->steps[slot->step];
	batched = running.step->batched && (slot->stages & STAGE_MAIN);
	me->post = slot->next < 0 ? running.shared->post : 0;
	me->request = slot->next < 0 ? slot->request : 0;
	me->since = started;
	memset(&count, 0, sizeof(count));
	count.docs = jflow_docs_count(jflow_payload_docs(slot->docs, NULL, NULL));
	count.wait_us = Max(started - slot->queued, 0);

	while ((error = try_request(&running, again, &temp)) != NULL &&
		   may_run_again(&running, error->sqlerrcode))
	{
		slot->tries++;
		again++;
		clean_up(temp);
	}
	if (error)
		count.kind = note_error(error);

	count.ended = GetCurrentTimestamp();
	count.run_us = count.ended - started;
	me->busy_us += count.run_us;
	if (batched && known.id != 0)
		jflow_stat_count_call(known.stat, error ? 0 : Max(running.joint.n, 1),
							  running.joint.n > 1 ? running.joint.ndocs : count.docs);
	if (error && (slot->next >= 0 || (me->split && !slot->cancel)))
		separate(running.refused);
	else if (running.joint.n > 1)
		end_joint(&running.joint, &count, started);
	else
	{
		if (error)
			jflow_reply_error(slot);
		end_request(&count, running.plans.elapsed, error == NULL);
	}
	current_post = NULL;
	clean_up(temp);
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
	pqsignal(SIGINT, interrupt);
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
		int64		wait_us;
		int			n;

		ResetLatch(MyLatch);
		QueryCancelPending = interrupted = false;
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		n = jflow_pool_next(jflow_my_replica, &wait_us);
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
		if (wait_us >= 0)
		{
			/* until what is in the queue has waited for others to come */
			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
							 (long) (wait_us + 999) / 1000, PG_WAIT_EXTENSION);
			continue;
		}
		if (!reported_idle)
		{
			pgstat_report_stat(true);
			pgstat_report_activity(STATE_IDLE, NULL);
			reported_idle = true;
		}
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH, -1, PG_WAIT_EXTENSION);
	}
}
