/*
 * control.c
 *		Starting and stopping flows.
 *
 * That a flow is started is a row of jflow.run_state, which names the cluster
 * and the database by number and is not dumped: a restored or cloned database
 * comes up with all flows stopped.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "common/args.h"
#include "compat.h"
#include "runtime/control/control.h"
#include "runtime/shared/pool.h"
#include "settings.h"

PG_FUNCTION_INFO_V1(jflow_start);
PG_FUNCTION_INFO_V1(jflow_stop);
PG_FUNCTION_INFO_V1(jflow_scale);
PG_FUNCTION_INFO_V1(jflow_restart);
PG_FUNCTION_INFO_V1(jflow_wait);
PG_FUNCTION_INFO_V1(jflow_is_started);
PG_FUNCTION_INFO_V1(jflow_start_obstacle);

/*
 * How long a launcher may not be there: one that ended is started again after a
 * second; one that found no slot at server start never comes.
 */
#define LAUNCHER_PATIENCE_MS 5000

/* Columns of jflow.run_state. */
enum
{
	Anum_run_flow = 1,
	Anum_run_system,
	Anum_run_database
};

static void
require_preload(void)
{
	if (jflow_shared == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("replicas need jflow to be preloaded"),
				 errhint("Add jflow to shared_preload_libraries and restart the server.")));
}

/* Names of the flows that are started here, in the current memory context. */
List *
jflow_started_flows(void)
{
	Relation	rel = table_open(jflow_catalog_relid("run_state"), AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;
	List	   *flows = NIL;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		TupleDesc	desc = RelationGetDescr(rel);

		if (DatumGetInt64(heap_getattr(tuple, Anum_run_system, desc, &isnull)) ==
			(int64) GetSystemIdentifier() &&
			DatumGetInt64(heap_getattr(tuple, Anum_run_database, desc, &isnull)) == MyDatabaseId)
			flows = lappend(flows, TextDatumGetCString(heap_getattr(tuple, Anum_run_flow, desc, &isnull)));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return flows;
}

/* Is a flow of this database started?  Reads jflow.run_state. */
bool
jflow_flow_started(const char *flow)
{
	ListCell   *cell;

	foreach(cell, jflow_started_flows())
		if (strcmp(lfirst(cell), flow) == 0)
		return true;
	return false;
}

static char *
required_text(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", name)));
	return text_to_cstring(PG_GETARG_TEXT_PP(n));
}

static JflowFlow *
own_flow(const char *name)
{
	JflowFlow  *flow = jflow_flow_open(name, false);

	jflow_check_flow_owner(flow);
	return flow;
}

/* Run one statement about a flow on the catalog. */
static void
on_run_state(const char *sql, const char *flow)
{
	JflowCatalogState state;
	Oid			types[3] = {TEXTOID, INT8OID, INT8OID};
	Datum		values[3];

	values[0] = CStringGetTextDatum(flow);
	values[1] = Int64GetDatum((int64) GetSystemIdentifier());
	values[2] = Int64GetDatum(MyDatabaseId);
	jflow_catalog_begin(&state);
	(void) jflow_catalog_execute(sql, 3, types, values, NULL);
	jflow_catalog_end(&state);
}

static int
count_wanted(const JflowFlow *flow)
{
	int			wanted = 0;

	for (int i = 0; i < flow->nexecutors; i++)
		wanted += flow->executors[i].replicas * flow->executors[i].shards;
	return wanted;
}

/*
 * Start a flow that the current user owns, at commit; returns how many replicas will
 * be wanted then.
 */
int
jflow_flow_start(const char *name)
{
	JflowFlow  *flow = own_flow(name);
	char	   *obstacle;
	int			wanted = count_wanted(flow);
	Oid			owner;

	require_preload();
	obstacle = jflow_owner_obstacle(flow, &owner);
	if (obstacle && (wanted > 0 || jflow_sync_hooks->wanted(flow->name) != NIL))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("flow \"%s\" cannot be started", flow->name),
				 errdetail("Its workers cannot connect: %s.", obstacle),
				 errhint("Give the flow an owner that may log in and is no superuser, or set jflow.allow_superuser_flows.")));
	if (wanted > jflow_max_replicas)
		ereport(WARNING,
				(errmsg("flow \"%s\" wants %d replicas, but jflow.max_replicas is %d",
						flow->name, wanted, jflow_max_replicas)));
	on_run_state("INSERT INTO jflow.run_state (flow, system_identifier, database) "
				 "VALUES ($1, $2, $3) ON CONFLICT DO NOTHING", flow->name);
	jflow_pending_dirty();		/* also where it is started already */
	return wanted;
}

/*
 * jflow_start(flow text) RETURNS int4
 */
Datum
jflow_start(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(jflow_flow_start(required_text(fcinfo, 0, "flow")));
}

/*
 * jflow_stop(flow text) RETURNS void
 */
Datum
jflow_stop(PG_FUNCTION_ARGS)
{
	JflowFlow  *flow = own_flow(required_text(fcinfo, 0, "flow"));

	on_run_state("DELETE FROM jflow.run_state WHERE flow = $1 AND system_identifier = $2 "
				 "AND database = $3", flow->name);
	PG_RETURN_VOID();
}

/*
 * Set the numbers of an executor, its flow's row locked first.  A number of shards
 * that is 0, and uses_with that is NULL, stay what they are by then.  With "was" it
 * must still be an executor of that uses_with.
 */
static void
set_numbers(const JflowFlow *flow, const char *executor, int replicas, int shards,
			Jsonb *uses_with, Jsonb *was)
{
	JflowCatalogState state;
	JflowParams params = {0};

	jflow_param_text(&params, flow->name);
	jflow_param_text(&params, executor);
	jflow_param_int(&params, replicas);
	jflow_param_int(&params, shards);
	jflow_param_text(&params, flow->owner);
	jflow_param_jsonb(&params, uses_with);
	jflow_param_jsonb(&params, was);
	jflow_catalog_begin(&state);
	if (jflow_catalog_run("SELECT FROM jflow.flow WHERE flow = $1 AND owner = $5 FOR UPDATE", &params) == 0 ||
		jflow_catalog_run("UPDATE jflow.executor SET replicas = $3, shards = COALESCE(NULLIF($4, 0), shards), "
						  "uses_with = COALESCE($6, uses_with) WHERE flow = $1 AND name = $2 AND uses_with = COALESCE($7, uses_with)",
						  &params) == 0)
		jflow_executor_missing(flow, executor);
	jflow_catalog_end(&state);
	CommandCounterIncrement();
}

static void
check_number(const char *what, int value, int min, int max)
{
	if (value < min || value > max)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be between %d and %d, not %d", what, min, max, value)));
}

/*
 * Rows are moved at once only while no replica can be between the shards of a
 * search: one would look into a shard after the rows have left it, and be told
 * nothing.  Waits for replicas that are about to leave, if the caller has done
 * nothing yet that they could wait for.
 */
static void
await_no_replicas(const JflowFlow *flow, const JflowExecutor *executor, bool wait)
{
	if (jflow_shared == NULL || executor->class == NULL || !executor->class->stores)
		return;
	ConditionVariablePrepareToSleep(&jflow_shared->changed);
	while (jflow_pool_any(flow->name, executor->name))
	{
		if (!wait || (executor->replicas > 0 && jflow_flow_started(flow->name)))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("executor \"%s\" of flow \"%s\" has replicas", executor->name, flow->name),
					 errdetail("Posts in them could miss rows that are moved in one transaction."),
					 errhint("Change the number of shards alone, or stop the flow before, in a transaction of its own.")));
		(void) ConditionVariableTimedSleep(&jflow_shared->changed, 1000, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
}

/*
 * Let documents of an executor move to other servers, which its mover does, or who
 * calls jflow.reshard_step.  Returns the number of shards meanwhile.
 */
static int
scale_servers(const JflowFlow *flow, const JflowExecutor *executor, int replicas, char **servers, int nservers)
{
	JflowExecutor changed = *executor;
	int			shards = executor->shards;
	Jsonb	   *uses_with;
	Jsonb	   *was;

	if (executor->class == NULL || executor->class->scale_servers == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("executor \"%s\" of flow \"%s\" has no servers", executor->name, flow->name),
				 errhint("Executors of class RemoteFlow have.")));
	uses_with = executor->class->scale_servers(flow->name, executor->name, servers, nservers, &shards, &was);
	if (uses_with || replicas != executor->replicas)
		set_numbers(flow, executor->name, replicas, uses_with ? shards : 0, uses_with, was);
	changed.uses_with = uses_with;
	if (uses_with && executor->class->moving(&changed) &&
		(jflow_shared == NULL || !jflow_flow_started(flow->name)))
		ereport(NOTICE,
				(errmsg("documents of executor \"%s\" are moved while flow \"%s\" is started",
						executor->name, flow->name),
				 errhint("Use jflow_start, or call jflow.reshard_step, each time in a transaction of its own, until it returns true.")));
	return shards;
}

/* The argument "servers", or NULL. */
static char **
servers_argument(FunctionCallInfo fcinfo, int n, int *count)
{
	char	  **servers = jflow_arg_texts_or_null(fcinfo, n, "servers", count);

	if (servers == NULL)
		return NULL;
	if (*count == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("servers must not be empty")));
	if (*count > JFLOW_MAX_SHARDS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("an executor can have at most %d servers", JFLOW_MAX_SHARDS)));
	for (int i = 0; i < *count; i++)
		for (int j = 0; j < i; j++)
			if (strcmp(servers[i], servers[j]) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("server \"%s\" is named twice", servers[i])));
	return servers;
}

/*
 * jflow_scale(flow text, executor text, replicas int4, shards int4, servers text[])
 * RETURNS int4: how many replicas the executor will have.
 */
Datum
jflow_scale(PG_FUNCTION_ARGS)
{
	JflowFlow  *flow = own_flow(required_text(fcinfo, 0, "flow"));
	char	   *name = required_text(fcinfo, 1, "executor");
	const JflowExecutor *executor = jflow_flow_executor(flow, name);
	int			replicas,
				shards,
				nservers;
	char	  **servers = servers_argument(fcinfo, 4, &nservers);
	bool		move,
				at_once;

	if (executor == NULL)
		jflow_executor_missing(flow, name);
	replicas = PG_ARGISNULL(2) ? executor->replicas : PG_GETARG_INT32(2);
	shards = PG_ARGISNULL(3) ? executor->shards : PG_GETARG_INT32(3);
	check_number("replicas", replicas, 0, JFLOW_MAX_REPLICAS);
	check_number("shards", shards, 1, JFLOW_MAX_SHARDS);
	jflow_batch_check_replicas(executor, replicas);
	if (servers)
	{
		if (!PG_ARGISNULL(3))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("shards and servers cannot both be given"),
					 errhint("A server is a shard; leave shards out.")));
		PG_RETURN_INT32(replicas * scale_servers(flow, executor, replicas, servers, nservers));
	}

	/* Replicas go on while a mover moves the rows; else nobody would. */
	move = shards != executor->shards;
	at_once = move && (jflow_shared == NULL || replicas == 0 || !jflow_flow_started(flow->name));
	if (at_once)
		await_no_replicas(flow, executor,
						  !jflow_pending_any() && !TransactionIdIsValid(GetTopTransactionIdIfAny()));
	if (replicas != executor->replicas || move)
		set_numbers(flow, name, replicas, move ? shards : 0, NULL, NULL);
	if (move)
		jflow_scale_shards(flow->name, name, shards, at_once);

	/*
	 * A post that has begun since, and has looked into a shard before the
	 * move took its locks, still holds its pools.
	 */
	if (at_once)
		await_no_replicas(flow, executor, false);
	PG_RETURN_INT32(replicas * shards);
}

/*
 * jflow_restart(flow text, executor text) RETURNS void: at commit, each replica
 * is replaced by a new one, one after the other.
 */
Datum
jflow_restart(PG_FUNCTION_ARGS)
{
	JflowFlow  *flow = own_flow(required_text(fcinfo, 0, "flow"));
	char	   *name = required_text(fcinfo, 1, "executor");

	require_preload();
	if (jflow_flow_executor(flow, name) == NULL)
		jflow_executor_missing(flow, name);
	jflow_pending_restart(flow->name, name);
	PG_RETURN_VOID();
}

/* Has a scout seen everything that this database had committed? */
static bool
is_scouted(uint64 dirty)
{
	JflowDatabase *entry;
	bool		scouted;

	LWLockAcquire(&jflow_shared->control, LW_SHARED);
	entry = jflow_database_entry(MyDatabaseId, false);
	scouted = !jflow_shared->rescan &&
		(entry ? entry->scouted >= dirty : jflow_shared->unseen == 0);

	/* Where there was no room, another scout comes if there will be some. */
	if (scouted && entry && entry->no_room)
	{
		scouted = entry->dirty == entry->scouted;
		for (int i = 0; i < jflow_max_pools; i++)
			scouted &= !(jflow_pools[i].used && jflow_pools[i].closed);
	}
	LWLockRelease(&jflow_shared->control);
	return scouted;
}

/* What a scout must have seen that sees all that we see. */
static uint64
dirty_now(void)
{
	JflowDatabase *entry;
	uint64		dirty;

	LWLockAcquire(&jflow_shared->control, LW_SHARED);
	entry = jflow_database_entry(MyDatabaseId, false);
	dirty = entry ? entry->dirty + entry->committing : 0;
	LWLockRelease(&jflow_shared->control);
	return dirty;
}

/* Counts the changes committed in this database. */
uint64
jflow_changes(void)
{
	JflowDatabase *entry;
	uint64		changes;

	LWLockAcquire(&jflow_shared->control, LW_SHARED);
	entry = jflow_database_entry(MyDatabaseId, false);
	changes = entry ? entry->dirty : 0;
	LWLockRelease(&jflow_shared->control);
	return changes;
}

/* Do all pools of a flow have the replicas that its definition wants? */
static bool
is_running(const JflowFlow *flow, bool started)
{
	for (int i = 0; i < flow->nexecutors; i++)
	{
		for (int shard = 0; shard < flow->executors[i].shards; shard++)
		{
			int			wanted = started ? flow->executors[i].replicas : 0;
			int			p = jflow_pool_find(flow->name, flow->executors[i].name, shard, NULL);
			int			fresh = 0;

			if (p < 0 || jflow_pools[p].draining)
			{
				if (wanted > 0)
					return false;
				continue;
			}
			for (int r = 0; r < jflow_max_replicas; r++)
			{
				JflowReplica *replica = &jflow_replicas[r];

				if (replica->state == REPLICA_FREE || replica->pool != p)
					continue;
				if (replica->stop || replica->state == REPLICA_STARTING ||
					replica->started < jflow_pools[p].restart_before)
					return false;
				fresh++;
			}
			if (fresh != wanted)
				return false;
		}
	}
	/* Pools that are not wanted any more may still have replicas. */
	for (int r = 0; r < jflow_max_replicas; r++)
	{
		JflowReplica *replica = &jflow_replicas[r];
		JflowPool  *pool = &jflow_pools[replica->pool];

		if (replica->state != REPLICA_FREE && (pool->closed || pool->draining) && pool->database == MyDatabaseId &&
			strcmp(pool->flow, flow->name) == 0)
			return false;
	}
	return true;
}

/* Why no replica at all can start in this database, or NULL. */
const char *
jflow_find_start_obstacle(void)
{
	JflowDatabase *entry;
	bool		no_room;

	if (jflow_shared == NULL)
		return "jflow is not in shared_preload_libraries";
	if (!jflow_enabled)
		return "jflow.enabled is off";
	if (RecoveryInProgress() && !jflow_standby_replicas)
		return "jflow.standby_replicas is off";
	if (jflow_shared->launcher_pid == 0)
		return "the launcher does not run: if this lasts, raise max_worker_processes";
	if (jflow_shared->no_slot)
		return "there is no free background worker slot: raise max_worker_processes";
	LWLockAcquire(&jflow_shared->control, LW_SHARED);
	entry = jflow_database_entry(MyDatabaseId, false);
	no_room = entry && entry->no_room;
	LWLockRelease(&jflow_shared->control);
	return no_room ? "there are more executors and shards than jflow.max_replicas" : NULL;
}

/*
 * Why a flow does not have the replicas that are wanted: of its pools the first
 * that tells, else what keeps all from starting, else nothing.  Who does not own
 * the flow learns no text of an error: it can be of the owner's tables.  In the
 * current context.
 */
static char *
find_reason(const char *flow)
{
	const char *obstacle;
	char		reason[JFLOW_REASON_LEN] = "";
	char	   *result = NULL;

	for (int i = 0; i < jflow_max_pools && result == NULL; i++)
	{
		JflowPool  *pool = &jflow_pools[i];
		char		executor[NAMEDATALEN];

		LWLockAcquire(&pool->lock, LW_SHARED);
		if (pool->used && !pool->closed && pool->database == MyDatabaseId && strcmp(pool->flow, flow) == 0)
			strlcpy(reason, pool->reason, sizeof(reason));
		strlcpy(executor, pool->executor, NAMEDATALEN);
		LWLockRelease(&pool->lock);
		if (reason[0] && jflow_is_flow_owner(flow, GetUserId()))
			result = psprintf("executor \"%s\": %s", executor, reason);
		else if (reason[0])
			result = psprintf("executor \"%s\" fails", executor);
	}
	obstacle = jflow_find_start_obstacle();
	if (result == NULL && obstacle)
		result = pstrdup(obstacle);
	return result;
}

/* Tell who waited for a flow what it waits for. */
static void
warn_of_waiting(const char *name)
{
	JflowFlow  *flow = jflow_flow_open(name, true);
	char	   *reason = find_reason(name);
	int			running = 0,
				wanted;

	for (int i = 0; i < jflow_max_pools; i++)
		if (jflow_pools[i].used && jflow_pools[i].database == MyDatabaseId &&
			jflow_pools[i].shard >= 0 && strcmp(jflow_pools[i].flow, name) == 0)
			running += jflow_pools[i].running;
	wanted = flow && jflow_enabled && jflow_flow_started(name) ? count_wanted(flow) : 0;
	ereport(WARNING,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the replicas of flow \"%s\" are not yet those that are wanted", name),
			 reason ? errdetail("%d run, %d are wanted: %s.", running, wanted, reason)
			 : errdetail("%d run, %d are wanted.", running, wanted),
			 errhint("See jflow_status.")));
}

/*
 * jflow_wait(flow text, timeout interval) RETURNS bool: waits until the replicas
 * that run are those that are wanted; false, with a WARNING that says why, if that
 * takes too long.
 */
Datum
jflow_wait(PG_FUNCTION_ARGS)
{
	char	   *name = required_text(fcinfo, 0, "flow");
	int64		timeout = PG_ARGISNULL(1) ? 30000 : jflow_interval_ms(PG_GETARG_INTERVAL_P(1));
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout);
	uint64		dirty;
	bool		result = false;

	(void) jflow_flow_for_post(name, NULL);
	if (jflow_shared == NULL)
		PG_RETURN_BOOL(true);
	if (jflow_pending_any())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot wait for replicas that this transaction starts or stops"),
				 errdetail("What it has changed takes effect when it commits.")));
	dirty = dirty_now();
	ConditionVariablePrepareToSleep(&jflow_shared->changed);
	for (;;)
	{
		TimestampTz now = GetCurrentTimestamp();
		JflowFlow  *flow = jflow_flow_open(name, true);

		if (flow == NULL ||
			(is_scouted(dirty) && is_running(flow, jflow_enabled && jflow_flow_started(name))))
		{
			result = true;
			break;
		}
		if (now >= end)
			break;
		(void) ConditionVariableTimedSleep(&jflow_shared->changed,
										   Min((end - now) / 1000 + 1, INT_MAX), PG_WAIT_EXTENSION);
		CHECK_FOR_INTERRUPTS();
	}
	ConditionVariableCancelSleep();
	if (!result)
		warn_of_waiting(name);
	PG_RETURN_BOOL(result);
}

/*
 * jflow.start_obstacle() RETURNS text
 */
Datum
jflow_start_obstacle(PG_FUNCTION_ARGS)
{
	const char *obstacle = jflow_find_start_obstacle();

	if (obstacle == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(obstacle));
}

/*
 * On a standby nobody tells what the primary has committed: what this session
 * sees a scout may not have seen.
 */
static void
ask_for_scout(void)
{
	JflowDatabase *entry;

	LWLockAcquire(&jflow_shared->control, LW_EXCLUSIVE);
	entry = jflow_database_entry(MyDatabaseId, true);
	if (entry)
	{
		entry->dirty++;
		entry->next_scout = 0;
	}
	else
		jflow_shared->rescan = true;
	LWLockRelease(&jflow_shared->control);
	jflow_wake_launcher();
}

/*
 * A post has found no pool.  If the flow is started, a scout is about to make
 * it: wait for that.  Raises object_not_in_prerequisite_state otherwise.
 */
void
jflow_await_pools(const JflowFlow *flow)
{
	TimestampTz started = GetCurrentTimestamp();
	uint64		dirty;

	if (!jflow_flow_started(flow->name) || !jflow_enabled)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("flow \"%s\" is not started", flow->name),
				 jflow_enabled ? errhint("Start its replicas with jflow_start, or add executors with replicas => 0.")
				 : errhint("Replicas are switched off by jflow.enabled.")));
	if (jflow_pending_any())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("flow \"%s\" is not started yet", flow->name),
				 errdetail("It starts when this transaction commits.")));
	if (RecoveryInProgress() && !jflow_standby_replicas)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("flow \"%s\" has no replica on this standby", flow->name),
				 errhint("Replicas run on a hot standby where jflow.standby_replicas is on.")));
	if (RecoveryInProgress())
		ask_for_scout();
	dirty = dirty_now();
	if (is_scouted(dirty))
		return;
	ConditionVariablePrepareToSleep(&jflow_shared->changed);
	while (!is_scouted(dirty))
	{
		if (max_worker_processes == 0 || jflow_shared->no_slot ||
			(jflow_shared->launcher_pid == 0 &&
			 TimestampDifferenceExceeds(started, GetCurrentTimestamp(), LAUNCHER_PATIENCE_MS)))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("flow \"%s\" has no replica", flow->name),
					 errdetail("There is no free background worker slot."),
					 errhint("Raise max_worker_processes.")));
		(void) ConditionVariableTimedSleep(&jflow_shared->changed, LAUNCHER_PATIENCE_MS / 10,
										   PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
}

/*
 * jflow.is_started(flow text) RETURNS bool; false for a flow that the current user
 * may not see.
 */
Datum
jflow_is_started(PG_FUNCTION_ARGS)
{
	char	   *flow = text_to_cstring(PG_GETARG_TEXT_PP(0));

	jflow_check_version();
	PG_RETURN_BOOL(jflow_may_see(flow, GetUserId()) && jflow_flow_started(flow));
}
