/*
 * control.c
 *		Pausing, resuming and asking syncs, and the functions behind the views.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/condition_variable.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "common/args.h"
#include "compat.h"
#include "runtime/control/control.h"
#include "runtime/gateway/deadlock.h"
#include "runtime/shared/pool.h"
#include "settings.h"
#include "sync/sync.h"

/* How long there may be no worker, and none be started, before one asks why. */
#define WORKER_PATIENCE_MS 5000

PG_FUNCTION_INFO_V1(jflow_sync_pause);
PG_FUNCTION_INFO_V1(jflow_sync_resume);
PG_FUNCTION_INFO_V1(jflow_sync_retry);
PG_FUNCTION_INFO_V1(jflow_sync_run);
PG_FUNCTION_INFO_V1(jflow_sync_worker_rows);
PG_FUNCTION_INFO_V1(jflow_sync_here);

/*
 * jflow_sync_pause(name text) RETURNS void: from the commit on no more is posted.
 * What changes is kept in the queue.
 */
Datum
jflow_sync_pause(PG_FUNCTION_ARGS)
{
	Sync	   *sync = sync_read_own(jflow_arg_text(fcinfo, 0, "name"));

	if (sync->here)
		sync_set_state(sync, true);
	PG_RETURN_VOID();
}

/*
 * jflow_sync_resume(name text) RETURNS void: goes on, here.  Where nobody has kept
 * what has changed, all rows are compared.
 */
Datum
jflow_sync_resume(PG_FUNCTION_ARGS)
{
	Sync	   *sync = sync_lock_own(jflow_arg_text(fcinfo, 0, "name"));

	sync_attach_as_owner(sync, jflow_flow_open(sync->flow, false), PHASE_COMPARE);
	PG_RETURN_VOID();
}

/* Let nobody forget a sync until the transaction ends; false if that has been done. */
static bool
hold(const Sync *sync)
{
	JflowCatalogState state;
	JflowParams params = {0};
	bool		found;

	jflow_param_int(&params, sync->id);
	jflow_catalog_begin(&state);
	found = jflow_catalog_run("SELECT FROM jflow.sync WHERE id = $1 FOR KEY SHARE", &params) > 0;
	jflow_catalog_end(&state);
	return found;
}

/*
 * jflow_sync_retry(name text) RETURNS int8: what has failed is tried again now, as
 * if it never had; how many rows that are.  It says that they have changed, since rows
 * of sync_row that it wrote to the worker would have to wait for.
 */
Datum
jflow_sync_retry(PG_FUNCTION_ARGS)
{
	char	   *name = jflow_arg_text(fcinfo, 0, "name");
	Sync	   *sync = sync_read_own(name);
	JflowCatalogState state;
	JflowParams params = {0};
	uint64		n;

	/* another may have taken its place */
	while (!hold(sync))
	{
		CHECK_FOR_INTERRUPTS();
		sync = sync_read_own(name);
	}
	jflow_param_int(&params, sync->id);
	sync_param_time(&params, GetCurrentTimestamp());
	jflow_catalog_begin(&state);
	n = jflow_catalog_run("INSERT INTO jflow.sync_queue (sync, changed, key) SELECT sync, $2, key FROM jflow.sync_row "
						  "WHERE sync = $1 AND due IS NOT NULL AND attempts > 0", &params);
	jflow_catalog_end(&state);
	sync_touch(sync->id, true);
	PG_RETURN_INT64((int64) n);
}

/* "why" is what has been told of it, or NULL. */
static void JFLOW_NORETURN
no_worker(const Sync *sync, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the worker of sync \"%s\" does not run", sync->name),
			 why ? errdetail_internal("%s.", why) : 0,
			 !sync->here || sync->paused ? errhint("Call jflow_sync_resume.") :
			 !jflow_flow_started(sync->flow) ? errhint("Start flow \"%s\" with jflow_start.", sync->flow) :
			 errhint("jflow_sync_status and jflow_config tell why.")));
}

/* The pool of a sync's worker, waiting for scouts that are to come. */
static JflowPool *
find_pool(const Sync *sync, uint32 *generation)
{
	JflowPoolRef ref;

	if (jflow_shared == NULL || !sync->here || sync->paused || !jflow_flow_started(sync->flow))
		no_worker(sync, NULL);
	jflow_await_pools(jflow_flow_open(sync->flow, false));
	if (jflow_pool_find(sync->flow, sync->name, JFLOW_SYNC, &ref) < 0)
		no_worker(sync, jflow_find_start_obstacle());
	*generation = ref.generation;
	return &jflow_pools[ref.pool];
}

/* The worker of a pool, or JFLOW_NONE. */
static int
find_worker(const JflowPool *pool)
{
	for (int i = 0; i < jflow_max_replicas; i++)
		if (jflow_replicas[i].state != REPLICA_FREE && jflow_replicas[i].pool == pool - jflow_pools)
			return i;
	return JFLOW_NONE;
}

/* Who waits until the worker of a sync has posted what was committed before. */
typedef struct Asking
{
	const Sync *sync;
	JflowPool  *pool;
	uint32		generation;
	uint64		ticket;
	TimestampTz since;
	TimestampTz last_seen;		/* of a worker that runs, or starts */
	TimestampTz next_look;		/* whether the worker waits for us */
	bool		seen_waiting;	/* then */
	bool		well;			/* what it has answered */
} Asking;

/* Raise an error if there is no worker, and none will come before somebody helps. */
static void
check_worker(Asking *asking, TimestampTz now)
{
	JflowPool  *pool = asking->pool;
	const char *obstacle = NULL;
	char		reason[JFLOW_REASON_LEN];
	bool		gone,
				never;

	LWLockAcquire(&pool->lock, LW_SHARED);
	gone = !pool->used || pool->closed || pool->generation != asking->generation;
	if (gone || pool->running > 0 || pool->starting > 0)
		asking->last_seen = now;
	never = !gone && pool->running == 0 && pool->starting == 0 && (pool->blocked || pool->failures > 0);
	strlcpy(reason, pool->reason, sizeof(reason));
	LWLockRelease(&pool->lock);
	if (gone)
		no_worker(sync_read(asking->sync->name, false), NULL);
	if (never)
		no_worker(asking->sync, reason[0] ? pstrdup(reason) : NULL);
	if (TimestampDifferenceExceeds(asking->last_seen, now, WORKER_PATIENCE_MS))
		obstacle = jflow_find_start_obstacle();
	if (obstacle)
		no_worker(asking->sync, obstacle);
}

/*
 * Raise an error if the worker, or a replica that it waits for, waits for a lock of
 * ours: nobody else would find that cycle.  As with posts, it counts when it is seen
 * twice in a row.
 */
static void
check_cycle(Asking *asking, TimestampTz now)
{
	int			worker = find_worker(asking->pool);

	if (now < asking->next_look)
		return;
	asking->next_look = TimestampTzPlusMilliseconds(now, DeadlockTimeout);
	if (worker < 0 || !jflow_waits_for_us(jflow_replicas[worker].pid))
		asking->seen_waiting = false;
	else if (!asking->seen_waiting)
		asking->seen_waiting = true;
	else
		ereport(ERROR,
				(errcode(ERRCODE_T_R_DEADLOCK_DETECTED),
				 errmsg("deadlock detected"),
				 errdetail("The worker of sync \"%s\" waits for a lock of this session.", asking->sync->name),
				 errhint("Call jflow_sync_run in a transaction of its own.")));
}

/* Has the worker answered?  Wakes it if not. */
static bool
is_answered(Asking *asking)
{
	JflowPool  *pool = asking->pool;
	bool		answered;
	int			worker;

	LWLockAcquire(&pool->lock, LW_SHARED);
	answered = pool->used && pool->generation == asking->generation && pool->answered >= asking->ticket;
	asking->well = pool->answered_well;
	LWLockRelease(&pool->lock);
	worker = answered ? JFLOW_NONE : find_worker(pool);
	if (worker >= 0)
		jflow_wake_process(jflow_replicas[worker].proc);
	return answered;
}

/* Wait for the answer; false: not until then. */
static bool
await_answer(Asking *asking, TimestampTz until)
{
	bool		answered;

	ConditionVariablePrepareToSleep(&jflow_shared->changed);
	while (!(answered = is_answered(asking)))
	{
		TimestampTz now = GetCurrentTimestamp();

		check_worker(asking, now);
		check_cycle(asking, now);
		if (now >= until)
			break;
		(void) ConditionVariableTimedSleep(&jflow_shared->changed, 100, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
	return answered;
}

/*
 * Is nothing left of what was changed before?  What came later may be due already,
 * but not have failed, nor be tried again later on.  The transaction's snapshot may
 * be older than what the worker has done.
 */
static bool
nothing_is_left(const Sync *sync, TimestampTz since)
{
	JflowCatalogState state;
	JflowParams params = {0};
	bool		result;

	jflow_param_int(&params, sync->id);
	sync_param_time(&params, since);
	sync_param_time(&params, GetCurrentTimestamp());
	jflow_catalog_begin(&state);
	result = sync_select("SELECT FROM jflow.sync_queue WHERE sync = $1 AND changed <= $2 LIMIT 1", &params) == 0 &&
		sync_select("SELECT FROM jflow.sync_flight WHERE sync = $1 AND (oldest IS NULL OR oldest <= $2) LIMIT 1", &params) == 0 &&
		sync_select("SELECT FROM jflow.sync_row WHERE sync = $1 AND due < 'infinity' "
					"AND (due <= $2 OR due > $3 OR attempts > 0) LIMIT 1", &params) == 0;
	jflow_catalog_end(&state);
	return result;
}

/*
 * jflow_sync_run(name text, timeout interval) RETURNS bool: lets the worker post
 * all that was committed before, and waits for it.  False if some of it has failed
 * and is to be tried again, or if the time is up.
 *
 * The worker's replicas may have to wait for rows that the caller has locked, so
 * the caller must not have changed anything.
 */
Datum
jflow_sync_run(PG_FUNCTION_ARGS)
{
	Sync	   *sync = sync_read_own(jflow_arg_text(fcinfo, 0, "name"));
	int64		timeout = PG_ARGISNULL(1) ? 0 : jflow_interval_ms(PG_GETARG_INTERVAL_P(1));
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz until = timeout > 0 ? TimestampTzPlusMilliseconds(now, timeout) : DT_NOEND;
	Asking		asking = {.sync = sync,.since = now,.last_seen = now};

	if (sync->mode == SYNC_IMMEDIATE)
		PG_RETURN_BOOL(true);
	if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("jflow_sync_run cannot wait in a transaction that has changed something"),
				 errdetail("Others do not see that before it is committed.")));
	asking.pool = find_pool(sync, &asking.generation);
	LWLockAcquire(&asking.pool->lock, LW_EXCLUSIVE);
	asking.ticket = ++asking.pool->asked;
	LWLockRelease(&asking.pool->lock);
	asking.next_look = TimestampTzPlusMilliseconds(now, DeadlockTimeout);
	if (!await_answer(&asking, until) || !asking.well)
		PG_RETURN_BOOL(false);
	/* another may have taken its place */
	PG_RETURN_BOOL(nothing_is_left(sync_read(sync->name, false), asking.since));
}

/*
 * jflow.sync_workers() RETURNS SETOF record: the workers of syncs that are wanted
 * here, with or without a process.
 */
Datum
jflow_sync_worker_rows(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; jflow_shared && i < jflow_max_pools; i++)
	{
		JflowPool	pool;
		JflowReplica replica = {.state = REPLICA_FREE};
		int			worker;
		Datum		values[7] = {0};
		bool		nulls[7] = {false};

		LWLockAcquire(&jflow_pools[i].lock, LW_SHARED);
		pool = jflow_pools[i];
		LWLockRelease(&jflow_pools[i].lock);
		if (!pool.used || pool.shard != JFLOW_SYNC || pool.database != MyDatabaseId ||
			!jflow_may_see(pool.flow, GetUserId()))
			continue;
		worker = find_worker(&jflow_pools[i]);
		if (worker >= 0)
			replica = jflow_replicas[worker];
		nulls[2] = nulls[3] = nulls[4] = replica.state == REPLICA_FREE || replica.state == REPLICA_STARTING;
		if (pool.closed && (nulls[2] || jflow_pool_find(pool.flow, pool.executor, JFLOW_SYNC, NULL) >= 0))
			continue;
		values[0] = CStringGetTextDatum(pool.executor);
		values[1] = CStringGetTextDatum(pool.flow);
		values[2] = Int32GetDatum(replica.pid);
		values[3] = Int64GetDatum(replica.docs);
		values[4] = Int64GetDatum(replica.errors);
		nulls[5] = nulls[2] || replica.busy_us == 0;
		values[5] = Float8GetDatum(nulls[5] ? 0 : replica.docs * 1e6 / replica.busy_us);
		nulls[6] = pool.reason[0] == '\0' || !jflow_is_flow_owner(pool.flow, GetUserId());
		values[6] = CStringGetTextDatum(pool.reason);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/*
 * jflow.sync_here(sync int4) RETURNS text: active, paused or elsewhere, where also
 * those are that the caller may not know of.
 */
Datum
jflow_sync_here(PG_FUNCTION_ARGS)
{
	Sync	   *sync = sync_read_id(PG_GETARG_INT32(0));

	if (sync && !jflow_may_see(sync->flow, GetUserId()))
		sync = NULL;
	PG_RETURN_TEXT_P(cstring_to_text(sync == NULL || !sync->here ? "elsewhere" :
									 sync->paused ? "paused" : "active"));
}
