/*
 * metrics.c
 *		Everything that is counted, as rows of one shape, by OpenMetrics' rules:
 *		cumulative values, base units (seconds, bytes), histograms with fixed
 *		buckets.
 *
 * The format is that of OpenMetrics 1.0 (openmetrics.io): the name of a family,
 * its type and help, and samples with labels.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/tuplestore.h"

#include "compat.h"
#include "flow/acl.h"
#include "flow/flow.h"
#include "runtime/shared/counters.h"
#include "runtime/shared/payload.h"
#include "runtime/shared/pool.h"
#include "settings.h"

PG_FUNCTION_INFO_V1(jflow_metric_rows);

typedef struct Family
{
	const char *name;
	const char *type;
	const char *help;
} Family;

/* Samples go to the result's tuple store. */
typedef struct Sink
{
	ReturnSetInfo *rsinfo;
	StringInfoData labels;		/* a JSON object without its end */
} Sink;

static const Family requests = {"jflow_requests", "counter", "Calls of executors by how they ended."};
static const Family documents = {"jflow_documents", "counter", "Documents that executors were called with."};
static const Family run_seconds = {"jflow_request_seconds", "histogram", "How long calls of executors ran."};
static const Family wait_seconds = {"jflow_queue_seconds", "histogram", "How long requests waited for a replica."};
static const Family batches = {"jflow_batches", "counter", "Calls that may be for several requests, by how they ended."};
static const Family batch_requests = {"jflow_batch_requests", "counter", "Requests of the calls that ended well."};
static const Family batch_documents = {"jflow_batch_documents", "counter", "Documents of calls that may be for several requests."};
static const Family posts = {"jflow_posts", "counter", "Posts by how they ended."};
static const Family post_documents = {"jflow_post_documents", "counter", "Documents that were posted."};
static const Family post_seconds = {"jflow_post_seconds", "histogram", "How long posts took."};
static const Family replicas = {"jflow_replicas", "gauge", "Replicas by state, and how many are wanted."};
static const Family queue_length = {"jflow_queue_length", "gauge", "Requests that wait for a replica."};
static const Family failures = {"jflow_replica_failures", "gauge", "Failed starts of a shard's replicas, in a row."};
static const Family memory = {"jflow_memory_bytes", "gauge", "Shared memory for documents on their way."};
static const Family slots = {"jflow_request_slots", "gauge", "Request slots of the server."};
static const Family waiting = {"jflow_waiting_processes", "gauge", "Processes that wait for memory or a slot."};

static const Family counters = {"jflow_executor_events", "counter", "What executors count of their own."};

static const char *const kinds[JFLOW_NKINDS] = {
	[COUNT_OK] = "ok",
	[COUNT_ERROR] = "error",
	[COUNT_CANCELED] = "canceled",
};

static void
begin_labels(Sink *sink)
{
	resetStringInfo(&sink->labels);
	appendStringInfoChar(&sink->labels, '{');
}

static void
label(Sink *sink, const char *name, const char *value)
{
	if (sink->labels.len > 1)
		appendStringInfoChar(&sink->labels, ',');
	escape_json(&sink->labels, name);
	appendStringInfoChar(&sink->labels, ':');
	escape_json(&sink->labels, value);
}

/* One sample; "suffix" is what is behind the family's name. */
static void
sample(Sink *sink, const Family *family, const char *suffix, double value)
{
	Datum		values[5];
	bool		nulls[5] = {false};
	int			len = sink->labels.len;

	appendStringInfoChar(&sink->labels, '}');
	values[0] = CStringGetTextDatum(psprintf("%s%s", family->name, suffix));
	values[1] = CStringGetTextDatum(family->type);
	values[2] = CStringGetTextDatum(family->help);
	values[3] = DirectFunctionCall1(jsonb_in, CStringGetDatum(sink->labels.data));
	values[4] = Float8GetDatum(value);
	tuplestore_putvalues(sink->rsinfo->setResult, sink->rsinfo->setDesc, values, nulls);
	sink->labels.len = len;
	sink->labels.data[len] = '\0';
}

/* The same with one more label. */
static void
sample_with(Sink *sink, const Family *family, const char *suffix, const char *name,
			const char *labelled, double value)
{
	int			len = sink->labels.len;

	label(sink, name, labelled);
	sample(sink, family, suffix, value);
	sink->labels.len = len;
	sink->labels.data[len] = '\0';
}

/* Every second bucket is shown, so bounds are powers of four of a microsecond. */
static void
histogram(Sink *sink, const Family *family, const int64 *buckets, int64 count, int64 sum_us)
{
	int64		below = 0;

	for (int i = 0; i < JFLOW_BUCKETS - 1; i++)
	{
		below += buckets[i];
		if (i % 2 == 0 && i > 0)
			sample_with(sink, family, "_bucket", "le",
						psprintf("%g", (double) (UINT64CONST(1) << i) / 1e6), below);
	}
	sample_with(sink, family, "_bucket", "le", "+Inf", count);
	sample(sink, family, "_count", count);
	sample(sink, family, "_sum", sum_us / 1e6);
}

static void
put_endpoint(Sink *sink, const JflowEndpoint *entry)
{
	bool		is_post = entry->executor[0] == '\0';
	int64		count = 0;

	begin_labels(sink);
	label(sink, "flow", entry->flow);
	if (!is_post)
		label(sink, "executor", entry->executor);
	label(sink, "endpoint", entry->endpoint);
	for (int kind = 0; kind < JFLOW_NKINDS; kind++)
	{
		sample_with(sink, is_post ? &posts : &requests, "_total", "outcome", kinds[kind],
					entry->counts[kind]);
		count += entry->counts[kind];
	}
	sample(sink, is_post ? &post_documents : &documents, "_total", entry->docs);
	histogram(sink, is_post ? &post_seconds : &run_seconds, entry->run_buckets, count, entry->run_us);
	if (!is_post && entry->waited > 0)
		histogram(sink, &wait_seconds, entry->wait_buckets, entry->waited, entry->wait_us);
	if (entry->calls > 0)
	{
		sample_with(sink, &batches, "_total", "outcome", "ok", entry->calls - entry->calls_failed);
		sample_with(sink, &batches, "_total", "outcome", "error", entry->calls_failed);
		sample(sink, &batch_requests, "_total", entry->calls - entry->calls_failed + entry->joined);
		sample(sink, &batch_documents, "_total", entry->call_docs);
	}
}

static void
put_pool(Sink *sink, int p, const JflowPool *pool)
{
	int			busy = 0;

	for (int r = 0; r < jflow_max_replicas; r++)
		busy += jflow_replicas[r].state == REPLICA_BUSY && jflow_replicas[r].pool == p;
	begin_labels(sink);
	label(sink, "flow", pool->flow);
	label(sink, "executor", pool->executor);
	label(sink, "shard", pool->shard == JFLOW_MOVER ? "mover" :
		  pool->shard == JFLOW_SYNC ? "sync" : psprintf("%d", pool->shard));
	sample_with(sink, &replicas, "", "state", "busy", busy);
	sample_with(sink, &replicas, "", "state", "idle", Max(pool->running - busy, 0));
	sample_with(sink, &replicas, "", "state", "starting", pool->starting);
	sample_with(sink, &replicas, "", "state", "wanted", pool->wanted);
	sample(sink, &queue_length, "", pool->length);
	sample(sink, &failures, "", pool->failures);
}

static void
put_tally(Sink *sink, const JflowTallyEntry *entry)
{
	const JflowClass *class = jflow_registered_class(entry->class);

	begin_labels(sink);
	label(sink, "flow", entry->flow);
	label(sink, "executor", entry->executor);
	for (int i = 0; class && class->counters[i]; i++)
		sample_with(sink, &counters, "_total", "counter", class->counters[i],
					pg_atomic_read_u64(unconstify(pg_atomic_uint64 *, &entry->tally.counts[i])));
}

static void
put_server(Sink *sink)
{
	begin_labels(sink);
	sample_with(sink, &memory, "", "kind", "used", pg_atomic_read_u64(&jflow_shared->payload_total));
	sample_with(sink, &memory, "", "kind", "limit", jflow_payload_size());
	sample_with(sink, &memory, "", "kind", "peak", pg_atomic_read_u64(&jflow_shared->payload_peak));
	sample_with(sink, &slots, "", "kind", "used", jflow_shared->slots_used);
	sample_with(sink, &slots, "", "kind", "limit", jflow_max_requests);
	sample(sink, &waiting, "", pg_atomic_read_u32(&jflow_shared->payload_waiters));
}

/*
 * jflow.metrics() RETURNS SETOF (name text, type text, help text, labels jsonb,
 * value float8): of this database what the role may see, and of the server what
 * all share.
 */
Datum
jflow_metric_rows(PG_FUNCTION_ARGS)
{
	Sink		sink;

	InitMaterializedSRF(fcinfo, 0);
	if (jflow_shared == NULL)
		return (Datum) 0;
	sink.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	initStringInfo(&sink.labels);
	for (int i = 0; i < JFLOW_MAX_ENDPOINTS; i++)
	{
		JflowEndpoint copy;

		CHECK_FOR_INTERRUPTS();
		SpinLockAcquire(&jflow_endpoints[i].mutex);
		copy = jflow_endpoints[i];
		SpinLockRelease(&jflow_endpoints[i].mutex);
		if (copy.database == MyDatabaseId && jflow_may_see(copy.flow, GetUserId()))
			put_endpoint(&sink, &copy);
	}
	for (int i = 0; i < jflow_max_pools; i++)
	{
		JflowPool	copy;

		LWLockAcquire(&jflow_pools[i].lock, LW_SHARED);
		memcpy(&copy, &jflow_pools[i], sizeof(copy));
		LWLockRelease(&jflow_pools[i].lock);
		if (copy.used && !copy.closed && copy.database == MyDatabaseId && jflow_may_see(copy.flow, GetUserId()))
			put_pool(&sink, i, &copy);
	}
	for (int i = 0; i < JFLOW_MAX_TALLIES; i++)
	{
		JflowTallyEntry copy;

		LWLockAcquire(&jflow_shared->control, LW_SHARED);
		memcpy(&copy, &jflow_tallies[i], sizeof(copy));
		LWLockRelease(&jflow_shared->control);
		if (copy.database == MyDatabaseId && jflow_may_see(copy.flow, GetUserId()))
			put_tally(&sink, &copy);
	}
	put_server(&sink);
	return (Datum) 0;
}
