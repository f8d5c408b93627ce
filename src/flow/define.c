/*
 * define.c
 *		The SQL functions that define flows.
 *
 * All checks are made here, with the caller's rights and search_path; only
 * then are rows written, with the rights of the extension's owner.  The row of
 * the flow is locked first by whoever changes the flow, so that two changes of
 * one flow take turns.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "common/args.h"
#include "common/json.h"
#include "compat.h"
#include "flow/filter.h"
#include "flow/flow.h"

PG_FUNCTION_INFO_V1(jflow_create);
PG_FUNCTION_INFO_V1(jflow_add);
PG_FUNCTION_INFO_V1(jflow_remove);
PG_FUNCTION_INFO_V1(jflow_drop);

/* Raise invalid_name unless a flow's or executor's name can be one. */
static void
check_name(const char *name, const char *what)
{
	if (name[0] == '\0' || strlen(name) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("%s name must have 1 to %d bytes", what, NAMEDATALEN - 1)));
}

/*
 * Begin to change a flow that the current user owns: its row is locked, so that
 * changes of one flow take turns, and it is read anew behind the lock, pinned
 * until the catalog is ended.  Raises undefined_object or insufficient_privilege.
 */
JflowFlow *
jflow_change_begin(JflowCatalogState *state, const char *name)
{
	JflowFlow  *flow = jflow_flow_open(name, false);
	JflowParams params = {0};

	jflow_check_flow_owner(flow);	/* nobody else may wait for the lock */
	jflow_catalog_begin(state);
	jflow_param_text(&params, name);
	(void) jflow_catalog_run("SELECT FROM jflow.flow WHERE flow = $1 FOR UPDATE", &params);
	flow = jflow_flow_get(name);
	if (flow == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("flow \"%s\" does not exist", name)));

	/*
	 * It may have been dropped, and another role may have made one of its
	 * name.
	 */
	if (!jflow_is_flow_owner(name, state->userid))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of flow \"%s\"", name)));
	return flow;
}

/* Keep the class of an executor from being removed until it is added. */
static void
lock_class(const JflowExecutor *executor)
{
	JflowParams params = {0};

	if (executor->class_owner == NULL)
		return;
	jflow_param_text(&params, executor->uses);
	jflow_param_text(&params, executor->class_owner);
	if (jflow_catalog_run("SELECT FROM jflow.class WHERE class = $1 AND owner = $2 FOR KEY SHARE",
						  &params) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("executor class \"%s\" does not exist", executor->uses)));
}

/*
 * Delete what belongs to a flow, or to one of its executors.  Parameters are
 * the flow and the executor; the catalog must have been begun.
 */
static void
delete_belongings(JflowParams *params, bool one_executor)
{
	if (one_executor)
	{
		(void) jflow_catalog_run("DELETE FROM jflow.model WHERE flow = $1 AND executor = $2", params);
		(void) jflow_catalog_run("DELETE FROM jflow.model_part WHERE flow = $1 AND executor = $2", params);
		(void) jflow_catalog_run("DELETE FROM jflow.shard WHERE flow = $1 AND executor = $2", params);
		(void) jflow_catalog_run("DELETE FROM jflow.remote_move WHERE flow = $1 AND executor = $2", params);
		(void) jflow_catalog_run("DELETE FROM jflow.executor WHERE flow = $1 AND name = $2", params);
		return;
	}
	(void) jflow_catalog_run("DELETE FROM jflow.model WHERE flow = $1", params);
	(void) jflow_catalog_run("DELETE FROM jflow.model_part WHERE flow = $1", params);
	(void) jflow_catalog_run("DELETE FROM jflow.shard WHERE flow = $1", params);
	(void) jflow_catalog_run("DELETE FROM jflow.remote_move WHERE flow = $1", params);
	(void) jflow_catalog_run("DELETE FROM jflow.executor WHERE flow = $1", params);
	(void) jflow_catalog_run("DELETE FROM jflow.flow_grant WHERE flow = $1", params);
	(void) jflow_catalog_run("DELETE FROM jflow.run_state WHERE flow = $1", params);
}

/* Raise program_limit_exceeded for a flow that grows too large. */
static void
check_total(const JflowFlow *flow, const JflowExecutor *executor)
{
	Size		total = VARSIZE(executor->uses_with);

	if (flow->nexecutors >= JFLOW_MAX_EXECUTORS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("flow \"%s\" has too many executors", flow->name),
				 errdetail("It can have at most %d.", JFLOW_MAX_EXECUTORS)));
	for (int i = 0; i < flow->nexecutors; i++)
		total += VARSIZE(flow->executors[i].uses_with);
	if (total > JFLOW_MAX_FLOW)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("flow \"%s\" is too large", flow->name),
				 errdetail("uses_with of all its executors would have %zu bytes, but at most %d are kept.",
						   total, JFLOW_MAX_FLOW)));
}

/* Make an empty flow owned by the current user. */
void
jflow_flow_create(const char *name, const char *description)
{
	JflowCatalogState state;
	JflowParams params = {0};
	JflowParams key = {0};

	check_name(name, "flow");
	if (description && strlen(description) > JFLOW_MAX_DESCRIPTION)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("description of flow \"%s\" is too long", name),
				 errdetail("It has %zu bytes, but at most %d are kept.",
						   strlen(description), JFLOW_MAX_DESCRIPTION)));
	jflow_param_text(&key, name);
	jflow_param_text(&params, name);
	jflow_param_text(&params, jflow_role_name(GetUserId()));
	jflow_param_text(&params, description);

	jflow_catalog_begin(&state);
	if (jflow_catalog_run("INSERT INTO jflow.flow (flow, owner, description) VALUES ($1, $2, $3) "
						  "ON CONFLICT DO NOTHING", &params) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("flow \"%s\" already exists", name)));

	/* A flow of this name that was deleted by hand may have left something. */
	delete_belongings(&key, false);
	jflow_catalog_end(&state);
}

/*
 * jflow_create(flow text, description text) RETURNS void
 */
Datum
jflow_create(PG_FUNCTION_ARGS)
{
	jflow_flow_create(jflow_arg_text(fcinfo, 0, "flow"), jflow_arg_text_or_null(fcinfo, 1));
	PG_RETURN_VOID();
}

void		(*jflow_flow_drop_hook) (const char *flow) = NULL;

/* An executor with the defaults of jflow_add. */
void
jflow_executor_init(JflowExecutor *executor, const char *name)
{
	memset(executor, 0, sizeof(*executor));
	executor->name = pstrdup(name);
	executor->uses = pstrdup("BaseExecutor");
	executor->replicas = 1;
	executor->shards = 1;
	executor->retries = -1;
}

/* Fill in the default of "needs", and check that each need comes before. */
static void
check_needs(const JflowFlow *flow, JflowExecutor *executor)
{
	if (executor->needs == NULL)
	{
		const char *last = "gateway";

		for (int i = 0; i < flow->nexecutors; i++)
			if (!flow->executors[i].floating)
				last = flow->executors[i].name;
		executor->needs = palloc(sizeof(char *));
		executor->needs[0] = pstrdup(last);
		executor->nneeds = 1;
		return;
	}
	if (executor->nneeds == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("executor \"%s\" needs nothing", executor->name),
				 errhint("Name the executors it follows, or 'gateway' for the flow's input.")));

	if (executor->nneeds > JFLOW_MAX_EXECUTORS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("executor \"%s\" needs too many executors", executor->name),
				 errdetail("It can need at most %d.", JFLOW_MAX_EXECUTORS)));

	for (int i = 0; i < executor->nneeds; i++)
	{
		const char *need = executor->needs[i];
		const JflowExecutor *input = jflow_flow_executor(flow, need);

		for (int j = 0; j < i; j++)
			if (strcmp(need, executor->needs[j]) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("executor \"%s\" needs \"%s\" twice", executor->name, need)));
		if (strcmp(need, executor->name) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
					 errmsg("executor \"%s\" cannot need itself", executor->name),
					 errdetail("A flow is a graph without cycles.")));
		if (strcmp(need, "gateway") == 0)
			continue;
		if (input == NULL)
		{
			const char **names = palloc(sizeof(char *) * (flow->nexecutors + 1));
			const char *suggestion;

			for (int j = 0; j < flow->nexecutors; j++)
				names[j] = flow->executors[j].name;
			names[flow->nexecutors] = "gateway";
			suggestion = jflow_suggest(need, names, flow->nexecutors + 1);
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("executor \"%s\" of flow \"%s\" needs \"%s\", which does not exist",
							executor->name, flow->name, need),
					 errdetail("An executor can need only those added before it, so a flow has no cycles."),
					 suggestion ? errhint("Did you mean \"%s\"?", suggestion) : 0));
		}
		if (input->floating)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
					 errmsg("executor \"%s\" cannot need \"%s\", which is floating",
							executor->name, need),
					 errdetail("Nobody waits for the answer of a floating executor.")));
	}
}

/*
 * Raise what is wrong with the JSON of an executor, and fill in what its class
 * has defaults for.  The class must be known.
 */
void
jflow_executor_check_options(JflowExecutor *executor)
{
	jflow_json_check_size(executor->uses_with, "uses_with", JFLOW_MAX_USES_WITH);
	jflow_json_check_size(executor->requests, "requests", JFLOW_MAX_MAP);
	jflow_json_check_size(executor->polling, "polling", JFLOW_MAX_MAP);
	jflow_json_check_size(executor->when, "when", JFLOW_MAX_MAP);
	jflow_json_check_size(executor->batch, "batch", JFLOW_MAX_MAP);
	if (executor->uses_with && !JB_ROOT_IS_OBJECT(executor->uses_with))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("uses_with of executor \"%s\" must be a JSON object", executor->name)));
	if (executor->class && executor->class->check)
		executor->class->check(executor->uses_with);
	if (executor->class && executor->class->defaults)
		executor->class->defaults(executor);
}

/*
 * Everything about an executor that can be wrong, but its needs, for the role
 * that owns the flow.
 */
static void
check_executor(JflowExecutor *executor, Oid owner)
{
	check_name(executor->name, "executor");
	if (strcmp(executor->name, "gateway") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_RESERVED_NAME),
				 errmsg("executor name \"gateway\" is reserved"),
				 errdetail("It stands for the input of a flow.")));
	if (strcmp(executor->name, "executors") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_RESERVED_NAME),
				 errmsg("executor name \"executors\" is reserved"),
				 errdetail("The parameter of that name has what is meant for one executor.")));

	executor->uses = jflow_uses_resolve(executor->uses, executor->class_owner, owner,
										&executor->class_owner);
	if (executor->class_owner && executor->class_owner[0] == '\0')
		executor->class = jflow_registered_class(executor->uses);
	if (executor->uses_with == NULL)
		executor->uses_with = jflow_json_empty();
	jflow_executor_check_options(executor);
	if (executor->requests)
		jflow_requests_check(executor->requests, InvalidOid, &executor->requests);
	jflow_check_range("replicas", executor->replicas, 0, JFLOW_MAX_REPLICAS);
	jflow_check_range("shards", executor->shards, 1, JFLOW_MAX_SHARDS);
	if (executor->polling)
		jflow_polling_check(executor->polling);
	if (executor->when)
		(void) jflow_filter_parse(executor->when, "when");
	if (executor->workspace)
		check_name(executor->workspace, "workspace");
	if (executor->uses_before)
		executor->uses_before = jflow_function_qualify(executor->uses_before);
	if (executor->uses_after)
		executor->uses_after = jflow_function_qualify(executor->uses_after);
	if (executor->timeout && jflow_interval_ms(executor->timeout) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("timeout must not be negative")));
	if (executor->retries < -1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("retries must not be negative")));
	jflow_batch_check(executor);
}

/*
 * Check an executor and append it to a flow.  Fields of the executor are
 * replaced by what is stored: qualified names, defaults.
 */
void
jflow_executor_add(const char *flow_name, JflowExecutor *executor)
{
	JflowCatalogState state;
	JflowFlow  *flow;
	JflowParams params = {0};

	flow = jflow_flow_open(flow_name, false);
	jflow_check_flow_owner(flow);
	check_executor(executor, jflow_flow_owner(flow));

	flow = jflow_change_begin(&state, flow_name);
	lock_class(executor);
	check_total(flow, executor);
	check_needs(flow, executor);
	if (jflow_flow_executor(flow, executor->name))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("executor \"%s\" of flow \"%s\" already exists",
						executor->name, flow_name)));

	jflow_param_text(&params, flow_name);
	jflow_param_text(&params, executor->name);
	jflow_param_int(&params, flow->nexecutors == 0 ? 1 :
					flow->executors[flow->nexecutors - 1].position + 1);
	jflow_param_text(&params, executor->uses);
	jflow_param_text(&params, executor->class_owner);
	jflow_param_jsonb(&params, executor->uses_with);
	jflow_param_jsonb(&params, executor->requests);
	jflow_param_texts(&params, executor->needs, executor->nneeds);
	jflow_param_int(&params, executor->replicas);
	jflow_param_int(&params, executor->shards);
	jflow_param_jsonb(&params, executor->polling);
	jflow_param_text(&params, executor->workspace);
	jflow_param_jsonb(&params, executor->when);
	jflow_param_text(&params, executor->uses_before);
	jflow_param_text(&params, executor->uses_after);
	jflow_param(&params, INTERVALOID, IntervalPGetDatum(executor->timeout),
				executor->timeout == NULL);
	jflow_param(&params, INT4OID, Int32GetDatum(executor->retries), executor->retries < 0);
	jflow_param_bool(&params, executor->floating);
	jflow_param_bool(&params, executor->disable_reduce);
	jflow_param_jsonb(&params, executor->batch);
	(void) jflow_catalog_run("INSERT INTO jflow.executor (flow, name, \"position\", uses, class_owner, uses_with, "
							 "requests, needs, replicas, shards, polling, workspace, \"when\", "
							 "uses_before, uses_after, timeout, retries, floating, disable_reduce, batch) "
							 "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, "
							 "$15, $16, $17, $18, $19, $20)", &params);
	jflow_catalog_end(&state);
}

/*
 * jflow_add(flow text, name text, uses text, ...) RETURNS void; the arguments are
 * those of the SQL definition, in its order.
 */
Datum
jflow_add(PG_FUNCTION_ARGS)
{
	JflowExecutor executor;
	char	   *flow = jflow_arg_text(fcinfo, 0, "flow");

	jflow_executor_init(&executor, jflow_arg_text(fcinfo, 1, "name"));
	if (!PG_ARGISNULL(2))
		executor.uses = text_to_cstring(PG_GETARG_TEXT_PP(2));
	executor.uses_with = jflow_arg_jsonb_or_null(fcinfo, 3);
	executor.requests = jflow_arg_jsonb_or_null(fcinfo, 4);
	executor.needs = jflow_arg_texts_or_null(fcinfo, 5, "needs", &executor.nneeds);
	if (!PG_ARGISNULL(6))
		executor.replicas = PG_GETARG_INT32(6);
	if (!PG_ARGISNULL(7))
		executor.shards = PG_GETARG_INT32(7);
	executor.polling = jflow_arg_jsonb_or_null(fcinfo, 8);
	executor.workspace = jflow_arg_text_or_null(fcinfo, 9);
	executor.when = jflow_arg_jsonb_or_null(fcinfo, 10);
	executor.uses_before = jflow_arg_text_or_null(fcinfo, 11);
	executor.uses_after = jflow_arg_text_or_null(fcinfo, 12);
	if (!PG_ARGISNULL(13))
		executor.timeout = PG_GETARG_INTERVAL_P(13);
	if (!PG_ARGISNULL(14))
	{
		executor.retries = PG_GETARG_INT32(14);
		if (executor.retries < 0)
			executor.retries = -2;	/* -1 means "not given" */
	}
	executor.floating = jflow_arg_bool(fcinfo, 15);
	executor.disable_reduce = jflow_arg_bool(fcinfo, 16);
	executor.batch = jflow_arg_jsonb_or_null(fcinfo, 17);

	jflow_executor_add(flow, &executor);
	PG_RETURN_VOID();
}

/* Raise undefined_object for an executor of a flow. */
void
jflow_executor_missing(const JflowFlow *flow, const char *name)
{
	const char **names = palloc(sizeof(char *) * Max(flow->nexecutors, 1));
	const char *suggestion;

	for (int i = 0; i < flow->nexecutors; i++)
		names[i] = flow->executors[i].name;
	suggestion = jflow_suggest(name, names, flow->nexecutors);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("executor \"%s\" of flow \"%s\" does not exist", name, flow->name),
			 suggestion ? errhint("Did you mean \"%s\"?", suggestion) : 0));
}

/*
 * jflow_remove(flow text, name text) RETURNS void
 */
Datum
jflow_remove(PG_FUNCTION_ARGS)
{
	char	   *flow_name = jflow_arg_text(fcinfo, 0, "flow");
	char	   *name = jflow_arg_text(fcinfo, 1, "name");
	JflowCatalogState state;
	JflowFlow  *flow;
	JflowParams params = {0};

	flow = jflow_change_begin(&state, flow_name);
	if (jflow_flow_executor(flow, name) == NULL)
		jflow_executor_missing(flow, name);
	for (int i = 0; i < flow->nexecutors; i++)
		for (int j = 0; j < flow->executors[i].nneeds; j++)
			if (strcmp(flow->executors[i].needs[j], name) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
						 errmsg("cannot remove executor \"%s\" of flow \"%s\" because executor \"%s\" needs it",
								name, flow_name, flow->executors[i].name),
						 errhint("Remove that executor first.")));

	jflow_param_text(&params, flow_name);
	jflow_param_text(&params, name);
	delete_belongings(&params, true);
	jflow_catalog_end(&state);
	PG_RETURN_VOID();
}

/*
 * Drop a flow that the current user owns, and with "drop_data" what its executors
 * have stored in tables of their own.  Raises insufficient_privilege.
 */
void
jflow_flow_drop(const char *name, bool drop_data)
{
	JflowFlow  *flow = jflow_flow_open(name, false);
	JflowCatalogState state;
	JflowParams params = {0};

	jflow_param_text(&params, name);
	(void) jflow_change_begin(&state, name);
	jflow_catalog_end(&state);
	if (drop_data)
		jflow_drop_data(flow);
	jflow_catalog_begin(&state);
	delete_belongings(&params, false);
	(void) jflow_catalog_run("DELETE FROM jflow.flow WHERE flow = $1", &params);
	jflow_catalog_end(&state);
}

/*
 * jflow_drop(flow text, if_exists bool, drop_data bool) RETURNS void
 */
Datum
jflow_drop(PG_FUNCTION_ARGS)
{
	char	   *name = jflow_arg_text(fcinfo, 0, "flow");
	JflowCatalogState state;

	if (jflow_flow_open(name, jflow_arg_bool(fcinfo, 1)) == NULL)
	{
		ereport(NOTICE,
				(errmsg("flow \"%s\" does not exist, skipping", name)));
		PG_RETURN_VOID();
	}
	/* before its sync is looked for, since one may just be made */
	(void) jflow_change_begin(&state, name);
	jflow_catalog_end(&state);
	if (jflow_flow_drop_hook)
		jflow_flow_drop_hook(name);
	jflow_flow_drop(name, jflow_arg_bool(fcinfo, 2));
	PG_RETURN_VOID();
}
