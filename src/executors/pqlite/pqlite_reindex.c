/*
 * pqlite_reindex.c
 *		jflow_reindex: other indexes in place of a store's.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/inval.h"
#include "utils/snapmgr.h"

#include "common/args.h"
#include "common/json.h"
#include "compat.h"
#include "executors/pqlite/pqlite.h"

PG_FUNCTION_INFO_V1(jflow_reindex);

/* The options of an executor with another index; raises what is wrong with them. */
static Jsonb *
with_index(Jsonb *uses_with, const char *index)
{
	JsonbInState state = {0};
	Jsonb	   *changed;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	jflow_json_push_string(&state, "index", index);
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	changed = DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(uses_with),
												 JsonbPGetDatum(JsonbValueToJsonb(state.result))));
	(void) pqlite_options_read(changed);
	return changed;
}

/* Keep the option with the executor.  The current user owns the flow. */
static void
change_option(const char *flow_name, const char *name, const char *index)
{
	JflowCatalogState state;
	JflowFlow  *flow = jflow_change_begin(&state, flow_name);
	const JflowExecutor *executor = jflow_flow_executor(flow, name);
	JflowParams params = {0};

	if (executor == NULL)
		jflow_executor_missing(flow, name);
	jflow_param_text(&params, flow_name);
	jflow_param_text(&params, name);
	jflow_param_jsonb(&params, with_index(executor->uses_with, index));
	(void) jflow_catalog_run("UPDATE jflow.executor SET uses_with = $3 WHERE flow = $1 AND name = $2", &params);
	jflow_catalog_end(&state);
	CommandCounterIncrement();
}

/* Have a store's indexes made: by the mover, or here if the executor has none. */
static void
make_indexes(const JflowFlow *flow, const JflowExecutor *executor, PqliteStore *store)
{
	bool		many;

	if (!store->own)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the %s stores into table %s, whose indexes are yours", store->what, store->name),
				 errhint("Use CREATE INDEX and REINDEX.")));
	SPI_connect();
	many = store->trained_pages > 0 || store->due || pqlite_has_many_rows(store);
	SPI_finish();
	if (!many)
		return;					/* they will be made when the table is large */
	if (executor->replicas > 0 && store->options->index != PQLITE_NO_INDEX)
	{
		for (int i = 0; i < store->nleaves; i++)
			pqlite_shards_due(store->flow, store->executor, store->leaves[i].shard);
		return;
	}
	pqlite_lock_layout(store->relid, ExclusiveLock);
	AcceptInvalidationMessages();
	if (!store->valid)
		store = pqlite_store_find(flow, executor);
	if (store == NULL)
		return;					/* dropped meanwhile */
	SPI_connect();
	pqlite_index_all(store);
	SPI_finish();
}

typedef struct ReindexWork
{
	const JflowFlow *flow;
	const JflowExecutor *executor;
} ReindexWork;

static void
reindex(void *arg)
{
	const ReindexWork *work = arg;
	PqliteStore *store;

	pqlite_set_owner_settings();
	PushActiveSnapshot(GetTransactionSnapshot());
	pqlite_lock_store_name(work->flow->name, work->executor->name);
	store = pqlite_store_find(work->flow, work->executor);
	if (store)
		make_indexes(work->flow, work->executor, store);
	PopActiveSnapshot();
}

/*
 * jflow_reindex(flow text, executor text, index text DEFAULT NULL) RETURNS void:
 * makes the indexes of a store anew, from now on of that kind if one is given.
 * Searches use those that are there until the new ones are.
 */
Datum
jflow_reindex(PG_FUNCTION_ARGS)
{
	char	   *flow_name = jflow_arg_text(fcinfo, 0, "flow");
	char	   *name = jflow_arg_text(fcinfo, 1, "executor");
	char	   *index = jflow_arg_text_or_null(fcinfo, 2);
	JflowFlow  *flow = jflow_flow_open(flow_name, false);
	const JflowExecutor *executor = jflow_flow_executor(flow, name);
	ReindexWork work;

	jflow_check_flow_owner(flow);
	if (executor == NULL)
		jflow_executor_missing(flow, name);
	if (!jflow_executor_is(executor, PQLITE_CLASS))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("executor \"%s\" of flow \"%s\" is not a PQLiteIndexer", name, flow->name),
				 errdetail("It uses \"%s\".", executor->uses)));
	if (index)
	{
		change_option(flow_name, name, index);
		flow = jflow_flow_open(flow_name, false);
		executor = jflow_flow_executor(flow, name);
	}
	work.flow = flow;
	work.executor = executor;
	jflow_as_flow_owner(flow, reindex, &work);
	PG_RETURN_VOID();
}
