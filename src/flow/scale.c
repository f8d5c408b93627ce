/*
 * scale.c
 *		jflow_scale: the numbers of replicas and shards of an executor.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "compat.h"
#include "flow/flow.h"

PG_FUNCTION_INFO_V1(jflow_scale);

static JflowScaleShards scale_stored_shards = NULL;

/* Let the class that stores documents move them.  For _PG_init. */
void
jflow_register_scale(JflowScaleShards scale_shards)
{
	scale_stored_shards = scale_shards;
}

/*
 * Move the stored documents of an executor whose number of shards was changed
 * in jflow.executor.
 */
void
jflow_scale_shards(const char *flow, const char *executor, int shards, bool at_once)
{
	if (scale_stored_shards)
		scale_stored_shards(flow, executor, shards, at_once);
}

static void
check_range(const char *what, int value, int min, int max)
{
	if (value < min || value > max)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be between %d and %d, not %d", what, min, max, value)));
}

/*
 * jflow_scale(flow text, executor text, replicas int4, shards int4) RETURNS int4:
 * the number of replicas wanted.
 */
Datum
jflow_scale(PG_FUNCTION_ARGS)
{
	JflowCatalogState state;
	JflowFlow  *flow;
	const JflowExecutor *executor;
	char	   *flow_name;
	char	   *name;
	int			replicas;
	int			shards;
	int			old_shards;
	Oid			types[4] = {TEXTOID, TEXTOID, INT4OID, INT4OID};
	Datum		values[4];

	for (int i = 0; i < 2; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"%s\" must not be null", i == 0 ? "flow" : "executor")));
	flow_name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	flow = jflow_flow_open(flow_name, false);
	jflow_check_flow_owner(flow);

	values[0] = CStringGetTextDatum(flow_name);
	values[1] = CStringGetTextDatum(name);
	jflow_catalog_begin(&state);
	(void) jflow_catalog_execute("SELECT FROM jflow.flow WHERE flow = $1 FOR UPDATE", 1, types, values, NULL);
	flow = jflow_flow_open(flow_name, false);
	executor = jflow_flow_executor(flow, name);
	if (executor == NULL)
		jflow_executor_missing(flow, name);
	old_shards = executor->shards;
	replicas = PG_ARGISNULL(2) ? executor->replicas : PG_GETARG_INT32(2);
	shards = PG_ARGISNULL(3) ? executor->shards : PG_GETARG_INT32(3);
	check_range("replicas", replicas, 0, JFLOW_MAX_REPLICAS);
	check_range("shards", shards, 1, JFLOW_MAX_SHARDS);
	values[2] = Int32GetDatum(replicas);
	values[3] = Int32GetDatum(shards);
	(void) jflow_catalog_execute("UPDATE jflow.executor SET replicas = $3, shards = $4 "
								 "WHERE flow = $1 AND name = $2", 4, types, values, NULL);
	jflow_catalog_end(&state);
	CommandCounterIncrement();

	/* Executors run in their callers' sessions, so rows are moved here. */
	if (shards != old_shards)
		jflow_scale_shards(flow_name, name, shards, true);
	PG_RETURN_INT32(replicas * shards);
}
