/*
 * views.c
 *		The functions behind the views of what runs, and what limits it.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_authid.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "compat.h"
#include "flow/flow.h"
#include "runtime/shared/counters.h"
#include "runtime/shared/payload.h"
#include "runtime/shared/shmem.h"
#include "runtime/shared/tally.h"
#include "settings.h"

PG_FUNCTION_INFO_V1(jflow_pool_rows);
PG_FUNCTION_INFO_V1(jflow_replica_rows);
PG_FUNCTION_INFO_V1(jflow_endpoint_rows);
PG_FUNCTION_INFO_V1(jflow_counter_rows);
PG_FUNCTION_INFO_V1(jflow_request_rows);
PG_FUNCTION_INFO_V1(jflow_memory_row);
PG_FUNCTION_INFO_V1(jflow_config);
PG_FUNCTION_INFO_V1(jflow_stat_reset);

/* May the current user see what a flow does? */
static bool
may_see(const char *name)
{
	return jflow_may_see(name, GetUserId());
}

/*
 * An error of an executor, as the current user may see it: the text for the owner
 * of the flow alone, since it can have data of whoever posted.
 */
static const char *
shown_error(const char *flow, const char *executor, int sqlstate, const char *message)
{
	if (message[0] == '\0' || jflow_is_flow_owner(flow, GetUserId()))
		return message;
	if (sqlstate == 0)
		return psprintf("executor \"%s\" fails", executor);
	return psprintf("executor \"%s\" failed with SQLSTATE %s", executor, unpack_sql_state(sqlstate));
}

static void
begin_rows(FunctionCallInfo fcinfo)
{
	InitMaterializedSRF(fcinfo, 0);
}

static void
put_row(FunctionCallInfo fcinfo, Datum *values, bool *nulls)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * jflow.pools() RETURNS SETOF record: the pools of this database.
 */
Datum
jflow_pool_rows(PG_FUNCTION_ARGS)
{
	begin_rows(fcinfo);
	for (int i = 0; jflow_shared && i < jflow_max_pools; i++)
	{
		JflowPool  *pool = &jflow_pools[i];
		JflowPool	copy;
		Datum		values[9] = {0};
		bool		nulls[9] = {false};

		LWLockAcquire(&pool->lock, LW_SHARED);
		memcpy(&copy, pool, sizeof(copy));
		LWLockRelease(&pool->lock);
		if (!copy.used || copy.closed || copy.database != MyDatabaseId || !may_see(copy.flow))
			continue;
		values[0] = CStringGetTextDatum(copy.flow);
		values[1] = CStringGetTextDatum(copy.executor);
		values[2] = Int32GetDatum(copy.shard);
		nulls[2] = copy.shard < 0;
		values[3] = Int32GetDatum(copy.running);
		values[4] = Int32GetDatum(copy.starting);
		values[5] = Int32GetDatum(copy.length);
		values[6] = Int32GetDatum(copy.failures);
		nulls[7] = copy.reason[0] == '\0';
		values[7] = CStringGetTextDatum(shown_error(copy.flow, copy.executor, 0, copy.reason));
		values[8] = BoolGetDatum(copy.blocked);
		put_row(fcinfo, values, nulls);
	}
	return (Datum) 0;
}

/*
 * jflow.replicas() RETURNS SETOF record: the replicas of this database.
 */
Datum
jflow_replica_rows(PG_FUNCTION_ARGS)
{
	static const char *const states[] = {"free", "starting", "idle", "busy"};

	begin_rows(fcinfo);
	for (int i = 0; jflow_shared && i < jflow_max_replicas; i++)
	{
		JflowReplica copy = jflow_replicas[i];
		JflowPool  *pool = &jflow_pools[copy.pool];
		bool		busy = copy.state == REPLICA_BUSY && pool->shard >= 0;
		Datum		values[16] = {0};
		bool		nulls[16] = {false};

		if (copy.state == REPLICA_FREE || pool->database != MyDatabaseId ||
			!may_see(pool->flow))
			continue;
		values[0] = Int32GetDatum(copy.pid);
		nulls[0] = copy.pid == 0;
		values[1] = CStringGetTextDatum(pool->flow);
		values[2] = CStringGetTextDatum(pool->executor);
		values[3] = Int32GetDatum(pool->shard);
		values[4] = Int32GetDatum(copy.number);
		nulls[3] = nulls[4] = pool->shard < 0;
		values[5] = CStringGetTextDatum(copy.stop ? "stopping" :
										copy.state == REPLICA_STARTING ? states[copy.state] :
										pool->shard == JFLOW_MOVER ? "moving" :
										pool->shard == JFLOW_SYNC ? "syncing" : states[copy.state]);
		values[6] = TimestampTzGetDatum(copy.since);
		values[7] = CStringGetTextDatum(copy.endpoint);
		values[8] = Int64GetDatum(copy.post);
		values[9] = Int64GetDatum(copy.request);
		nulls[7] = !busy;
		nulls[8] = nulls[9] = !busy || copy.request == 0;
		values[10] = Int64GetDatum(copy.requests);
		values[11] = Int64GetDatum(copy.docs);
		values[12] = Int64GetDatum(copy.errors);
		values[13] = Float8GetDatum(copy.busy_us / 1000.0);
		nulls[14] = copy.last_error[0] == '\0';
		values[14] = CStringGetTextDatum(shown_error(pool->flow, pool->executor, copy.last_sqlstate,
													 copy.last_error));
		values[15] = TimestampTzGetDatum(copy.started);
		nulls[15] = copy.started == 0;
		put_row(fcinfo, values, nulls);
	}
	return (Datum) 0;
}

static int64
count_all(const JflowEndpoint *entry)
{
	int64		n = 0;

	for (int i = 0; i < JFLOW_NKINDS; i++)
		n += entry->counts[i];
	return n;
}

/*
 * A quantile of a histogram in milliseconds, interpolated within its bucket,
 * which is twice as wide as the one before.
 */
static double
quantile(const JflowEndpoint *entry, double q)
{
	double		target = q * count_all(entry);
	double		below = 0;

	for (int i = 0; i < JFLOW_BUCKETS; i++)
	{
		int64		n = entry->run_buckets[i];
		double		from = i > 0 ? (double) (UINT64CONST(1) << (i - 1)) : 0;

		if (n > 0 && below + n >= target)
			return (from + Max(from, 1) * (target - below) / n) / 1000.0;
		below += n;
	}
	return 0;
}

/*
 * jflow.endpoints() RETURNS SETOF record
 */
Datum
jflow_endpoint_rows(PG_FUNCTION_ARGS)
{
	begin_rows(fcinfo);
	for (int i = 0; jflow_shared && i < JFLOW_MAX_ENDPOINTS; i++)
	{
		JflowEndpoint copy;
		int64		n;
		Datum		values[13] = {0};
		bool		nulls[13] = {false};

		SpinLockAcquire(&jflow_endpoints[i].mutex);
		copy = jflow_endpoints[i];
		SpinLockRelease(&jflow_endpoints[i].mutex);
		if (copy.database != MyDatabaseId || copy.executor[0] == '\0' || !may_see(copy.flow))
			continue;
		n = count_all(&copy);
		values[0] = CStringGetTextDatum(copy.flow);
		values[1] = CStringGetTextDatum(copy.executor);
		values[2] = CStringGetTextDatum(copy.endpoint);
		values[3] = Int64GetDatum(n);
		values[4] = Int64GetDatum(n - copy.counts[COUNT_OK]);
		values[5] = Int64GetDatum(copy.docs);
		values[6] = Float8GetDatum(n ? copy.run_us / 1000.0 / n : 0);
		values[7] = Float8GetDatum(quantile(&copy, 0.5));
		values[8] = Float8GetDatum(quantile(&copy, 0.95));
		values[9] = Float8GetDatum(quantile(&copy, 0.99));
		nulls[10] = nulls[11] = nulls[12] = copy.calls == 0;
		values[10] = Int64GetDatum(copy.calls);
		values[11] = Int64GetDatum(copy.calls_failed);
		values[12] = Float8GetDatum(copy.calls ? (double) copy.call_docs / copy.calls : 0);
		put_row(fcinfo, values, nulls);
	}
	return (Datum) 0;
}

/*
 * jflow.counters() RETURNS SETOF record: what executors of this database count of
 * their own.
 */
Datum
jflow_counter_rows(PG_FUNCTION_ARGS)
{
	begin_rows(fcinfo);
	for (int i = 0; jflow_shared && i < JFLOW_MAX_TALLIES; i++)
	{
		JflowTallyEntry copy;
		const JflowClass *class;

		LWLockAcquire(&jflow_shared->control, LW_SHARED);
		memcpy(&copy, &jflow_tallies[i], sizeof(copy));
		LWLockRelease(&jflow_shared->control);
		class = jflow_registered_class(copy.class);
		if (copy.database != MyDatabaseId || class == NULL || !may_see(copy.flow))
			continue;
		for (int n = 0; class->counters[n]; n++)
		{
			Datum		values[4];
			bool		nulls[4] = {false};

			values[0] = CStringGetTextDatum(copy.flow);
			values[1] = CStringGetTextDatum(copy.executor);
			values[2] = CStringGetTextDatum(class->counters[n]);
			values[3] = Int64GetDatum((int64) pg_atomic_read_u64(&copy.tally.counts[n]));
			put_row(fcinfo, values, nulls);
		}
	}
	return (Datum) 0;
}

/*
 * jflow_stat_reset() RETURNS void: forgets the counts of this database.
 */
Datum
jflow_stat_reset(PG_FUNCTION_ARGS)
{
	for (int i = 0; jflow_shared && i < JFLOW_MAX_ENDPOINTS; i++)
	{
		JflowEndpoint *entry = &jflow_endpoints[i];

		SpinLockAcquire(&entry->mutex);
		if (entry->database == MyDatabaseId)
			jflow_stat_clear(entry);
		SpinLockRelease(&entry->mutex);
	}
	for (int i = 0; jflow_shared && i < JFLOW_MAX_TALLIES; i++)
		if (jflow_tallies[i].database == MyDatabaseId)
			jflow_tally_clear(&jflow_tallies[i]);
	PG_RETURN_VOID();
}

/*
 * May the current user see a slot?  One that is in no queue yet is of its role
 * alone, and perhaps of another database.
 */
static bool
may_see_slot(const JflowSlot *slot, Oid role)
{
	if (slot->pool >= 0)
		return jflow_pools[slot->pool].database == MyDatabaseId && may_see(jflow_pools[slot->pool].flow);
	return has_privs_of_role(GetUserId(), ROLE_PG_MONITOR) ||
		(OidIsValid(role) && has_privs_of_role(GetUserId(), role));
}

/*
 * jflow.requests() RETURNS SETOF record: slots in use by this database.
 */
Datum
jflow_request_rows(PG_FUNCTION_ARGS)
{
	static const char *const states[] = {"free", "filling", "queued", "running", "committing", "done"};
	TimestampTz now = GetCurrentTimestamp();

	begin_rows(fcinfo);
	for (int i = 0; jflow_shared && i < jflow_max_requests; i++)
	{
		JflowSlot	copy = jflow_slots[i];
		Datum		values[10] = {0};
		bool		nulls[10] = {false};
		Oid			role = jflow_shared->shares[copy.share].role;
		const char *name;

		if (copy.state == SLOT_FREE || !may_see_slot(&copy, role))
			continue;
		values[0] = Int32GetDatum(i);
		values[1] = CStringGetTextDatum(states[copy.state]);
		nulls[2] = nulls[3] = copy.pool < 0;
		if (copy.pool >= 0)
		{
			values[2] = CStringGetTextDatum(jflow_pools[copy.pool].flow);
			values[3] = CStringGetTextDatum(jflow_pools[copy.pool].executor);
		}
		values[4] = Int64GetDatum(copy.request);
		values[5] = BoolGetDatum(copy.abandoned);
		values[6] = Int32GetDatum(GetPGProcByNumber(copy.gateway)->pid);
		nulls[6] = copy.abandoned || copy.pool < 0;
		name = GetUserNameFromId(role, true);
		values[7] = CStringGetTextDatum(name ? name : "");
		nulls[7] = name == NULL || copy.pool < 0;
		values[8] = Int64GetDatum(copy.post);
		nulls[8] = copy.post == 0 || copy.pool < 0;
		values[9] = DirectFunctionCall2(timestamp_mi, TimestampTzGetDatum(now), TimestampTzGetDatum(copy.taken));
		put_row(fcinfo, values, nulls);
	}
	return (Datum) 0;
}

/*
 * jflow.memory() RETURNS record: of the payload area and the slots.
 */
Datum
jflow_memory_row(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	Datum		values[6] = {0};
	bool		nulls[6] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (jflow_shared)
	{
		values[0] = Int64GetDatum(pg_atomic_read_u64(&jflow_shared->payload_total));
		values[1] = Int64GetDatum(jflow_payload_size());
		values[2] = Int64GetDatum(pg_atomic_read_u64(&jflow_shared->payload_peak));
		values[3] = Int32GetDatum(pg_atomic_read_u32(&jflow_shared->payload_waiters));
		values[4] = Int32GetDatum(jflow_shared->slots_used);
		values[5] = Int32GetDatum(jflow_max_requests);
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

static void
put_fact(FunctionCallInfo fcinfo, const char *name, const char *value, const char *note)
{
	Datum		values[3];
	bool		nulls[3] = {false};

	values[0] = CStringGetTextDatum(name);
	values[1] = CStringGetTextDatum(value);
	values[2] = CStringGetTextDatum(note);
	put_row(fcinfo, values, nulls);
}

/*
 * jflow_config() RETURNS SETOF (name, value, note): what limits this server.
 */
Datum
jflow_config(PG_FUNCTION_ARGS)
{
	int			wanted = 0,
				running = 0;

	begin_rows(fcinfo);
	put_fact(fcinfo, "preloaded", jflow_shared ? "yes" : "no",
			 jflow_shared ? "replicas are possible" : "add jflow to shared_preload_libraries");
	put_fact(fcinfo, "max_worker_processes", psprintf("%d", max_worker_processes),
			 "shared with parallel queries, replication and other extensions");
	if (jflow_shared == NULL)
		return (Datum) 0;
	for (int i = 0; i < jflow_max_pools; i++)
	{
		if (jflow_pools[i].used && !jflow_pools[i].closed)
		{
			wanted += jflow_pools[i].wanted;
			running += jflow_pools[i].running;
		}
	}
	put_fact(fcinfo, "launcher", jflow_shared->launcher_pid ? psprintf("%d", jflow_shared->launcher_pid) : "not running",
			 "process that starts replicas");
	put_fact(fcinfo, "replicas wanted", psprintf("%d", wanted), "in all databases");
	put_fact(fcinfo, "replicas running", psprintf("%d", running),
			 running < wanted ? "see jflow_status for the reason" : "all of them");
	put_fact(fcinfo, "jflow.max_replicas", psprintf("%d", jflow_max_replicas), "set at server start");
	put_fact(fcinfo, "jflow.max_requests", psprintf("%d", jflow_max_requests), "set at server start");
	put_fact(fcinfo, "jflow.memory_limit", psprintf("%d kB", jflow_memory_limit),
			 psprintf("one request or answer may have %zu bytes", jflow_payload_max()));
	return (Datum) 0;
}
