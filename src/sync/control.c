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
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "common/args.h"
#include "compat.h"
#include "runtime/control/control.h"
#include "runtime/shared/pool.h"
#include "settings.h"
#include "sync/sync.h"

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

/*
 * jflow_sync_retry(name text) RETURNS int8: what has failed is tried again now, as
 * if it never had; how many rows that are.
 */
Datum
jflow_sync_retry(PG_FUNCTION_ARGS)
{
	Sync	   *sync = sync_read_own(jflow_arg_text(fcinfo, 0, "name"));
	JflowCatalogState state;
	JflowParams params = {0};
	uint64		n;

	jflow_param_int(&params, sync->id);
	jflow_catalog_begin(&state);
	n = jflow_catalog_run("UPDATE jflow.sync_row SET due = pg_catalog.now(), attempts = 0, failed = NULL, "
						  "sqlstate = NULL, message = NULL WHERE sync = $1 AND due IS NOT NULL AND attempts > 0", &params);
	jflow_catalog_end(&state);
	sync_touch(sync->id, true);
	PG_RETURN_INT64((int64) n);
}

static void JFLOW_NORETURN
no_worker(const Sync *sync)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the worker of sync \"%s\" does not run", sync->name),
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
		no_worker(sync);
	jflow_await_pools(jflow_flow_open(sync->flow, false));
	if (jflow_pool_find(sync->flow, sync->name, JFLOW_SYNC, &ref) < 0)
		no_worker(sync);
	*generation = ref.generation;
	return &jflow_pools[ref.pool];
}

/* Wake the worker of a pool. */
static void
wake_worker(const JflowPool *pool)
{
	for (int i = 0; i < jflow_max_replicas; i++)
		if (jflow_replicas[i].state != REPLICA_FREE && jflow_replicas[i].pool == pool - jflow_pools)
			jflow_wake_process(jflow_replicas[i].proc);
}

/* Has everything that was due been posted? */
static bool
nothing_is_due(const Sync *sync)
{
	JflowCatalogState state;
	JflowParams params = {0};
	bool		result;

	jflow_param_int(&params, sync->id);
	jflow_catalog_begin(&state);
	result = sync_statement("SELECT FROM jflow.sync_queue WHERE sync = $1 LIMIT 1", &params) == 0 &&
		sync_statement("SELECT FROM jflow.sync_row WHERE sync = $1 AND due < 'infinity' LIMIT 1",
					   &params) == 0;
	jflow_catalog_end(&state);
	return result;
}

/*
 * jflow_sync_run(name text, timeout interval) RETURNS bool: lets the worker post
 * all that was committed before, and waits for it.  False if some of it has failed
 * and is to be tried again, or if the time is up.
 *
 * The worker's replicas may have to wait for rows that the caller has locked, and
 * nobody would find that cycle: so the caller must not have changed anything.
 */
Datum
jflow_sync_run(PG_FUNCTION_ARGS)
{
	Sync	   *sync = sync_read_own(jflow_arg_text(fcinfo, 0, "name"));
	int64		timeout = PG_ARGISNULL(1) ? 0 : jflow_interval_ms(PG_GETARG_INTERVAL_P(1));
	TimestampTz until = timeout > 0 ? TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout) : DT_NOEND;
	JflowPool  *pool;
	uint32		generation;
	uint64		ticket;
	bool		answered;
	bool		well;

	if (sync->mode == SYNC_IMMEDIATE)
		PG_RETURN_BOOL(true);
	if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("jflow_sync_run cannot wait in a transaction that has changed something"),
				 errdetail("Others do not see that before it is committed.")));
	pool = find_pool(sync, &generation);
	LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
	ticket = ++pool->asked;
	LWLockRelease(&pool->lock);
	ConditionVariablePrepareToSleep(&jflow_shared->changed);
	do
	{
		bool		gone;

		wake_worker(pool);
		LWLockAcquire(&pool->lock, LW_SHARED);
		gone = !pool->used || pool->closed || pool->generation != generation;
		answered = !gone && pool->answered >= ticket;
		well = pool->answered_well;
		LWLockRelease(&pool->lock);
		if (gone)
		{
			ConditionVariableCancelSleep();
			no_worker(sync_read(sync->name, false));
		}
		if (answered || GetCurrentTimestamp() >= until)
			break;
		(void) ConditionVariableTimedSleep(&jflow_shared->changed, 100, PG_WAIT_EXTENSION);
	} while (true);
	ConditionVariableCancelSleep();
	/* another may have taken its place */
	PG_RETURN_BOOL(answered && well && nothing_is_due(sync_read(sync->name, false)));
}

/*
 * jflow.sync_workers() RETURNS SETOF record: the workers of syncs that run here.
 */
Datum
jflow_sync_worker_rows(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; jflow_shared && i < jflow_max_replicas; i++)
	{
		JflowReplica replica = jflow_replicas[i];
		JflowPool	pool;
		Datum		values[7] = {0};
		bool		nulls[7] = {false};

		if (replica.state == REPLICA_FREE || replica.state == REPLICA_STARTING)
			continue;
		LWLockAcquire(&jflow_pools[replica.pool].lock, LW_SHARED);
		pool = jflow_pools[replica.pool];
		LWLockRelease(&jflow_pools[replica.pool].lock);
		if (pool.shard != JFLOW_SYNC || pool.database != MyDatabaseId || !jflow_may_see(pool.flow, GetUserId()))
			continue;
		values[0] = CStringGetTextDatum(pool.executor);
		values[1] = CStringGetTextDatum(pool.flow);
		values[2] = Int32GetDatum(replica.pid);
		values[3] = Int64GetDatum(replica.docs);
		values[4] = Int64GetDatum(replica.errors);
		nulls[5] = replica.busy_us == 0;
		values[5] = Float8GetDatum(replica.busy_us == 0 ? 0 : replica.docs * 1e6 / replica.busy_us);
		nulls[6] = pool.reason[0] == '\0' || !jflow_is_flow_owner(pool.flow, GetUserId());
		values[6] = CStringGetTextDatum(pool.reason);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/*
 * jflow.sync_here(sync int4) RETURNS text: active, paused or elsewhere.
 */
Datum
jflow_sync_here(PG_FUNCTION_ARGS)
{
	Sync	   *sync = sync_read_id(PG_GETARG_INT32(0));

	PG_RETURN_TEXT_P(cstring_to_text(sync == NULL || !sync->here ? "elsewhere" :
									 sync->paused ? "paused" : "active"));
}
