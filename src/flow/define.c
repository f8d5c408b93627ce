/*
 * define.c
 *		The SQL functions that define flows and executor classes.
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

#include "compat.h"
#include "flow/filter.h"
#include "flow/flow.h"

PG_FUNCTION_INFO_V1(jflow_create);
PG_FUNCTION_INFO_V1(jflow_add);
PG_FUNCTION_INFO_V1(jflow_remove);
PG_FUNCTION_INFO_V1(jflow_drop);
PG_FUNCTION_INFO_V1(jflow_grant);
PG_FUNCTION_INFO_V1(jflow_revoke);
PG_FUNCTION_INFO_V1(jflow_define);
PG_FUNCTION_INFO_V1(jflow_undefine);

typedef struct OptionsCheck
{
	const char *class_name;
	JflowOptionsCheck check;
	struct OptionsCheck *next;
} OptionsCheck;

static OptionsCheck *options_checks = NULL;
static JflowDropData drop_stored_data = NULL;

/* Let the class that stores documents drop them.  For _PG_init. */
void
jflow_register_storage(JflowDropData drop_data)
{
	drop_stored_data = drop_data;
}

/* Let a built-in class check uses_with.  For _PG_init. */
void
jflow_register_options_check(const char *class_name, JflowOptionsCheck check)
{
	OptionsCheck *entry = MemoryContextAlloc(TopMemoryContext, sizeof(OptionsCheck));

	entry->class_name = class_name;
	entry->check = check;
	entry->next = options_checks;
	options_checks = entry;
}

/* A required text argument. */
static char *
text_arg(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", name)));
	return text_to_cstring(PG_GETARG_TEXT_PP(n));
}

static char *
text_arg_or_null(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

static Jsonb *
jsonb_arg_or_null(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : PG_GETARG_JSONB_P(n);
}

static bool
bool_arg(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? false : PG_GETARG_BOOL(n);
}

/* Raise invalid_name unless a flow's or executor's name can be one. */
static void
check_name(const char *name, const char *what)
{
	if (name[0] == '\0' || strlen(name) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("%s name must have 1 to %d bytes", what, NAMEDATALEN - 1)));
}

/* Parameters of a statement, collected one by one. */
#define MAX_PARAMS 20
typedef struct Params
{
	int			n;
	Oid			types[MAX_PARAMS];
	Datum		values[MAX_PARAMS];
	char		nulls[MAX_PARAMS];
} Params;

static void
add_param(Params *params, Oid type, Datum value, bool isnull)
{
	Assert(params->n < MAX_PARAMS);
	params->types[params->n] = type;
	params->values[params->n] = value;
	params->nulls[params->n] = isnull ? 'n' : ' ';
	params->n++;
}

static void
add_text(Params *params, const char *value)
{
	add_param(params, TEXTOID, value ? CStringGetTextDatum(value) : 0, value == NULL);
}

static void
add_jsonb(Params *params, Jsonb *value)
{
	add_param(params, JSONBOID, value ? JsonbPGetDatum(value) : 0, value == NULL);
}

static uint64
execute(const char *sql, Params *params)
{
	return jflow_catalog_execute(sql, params->n, params->types, params->values,
								 params->nulls);
}

/*
 * Lock the flow's row, so that changes of one flow take turns.  Rights were
 * checked before: if the flow was dropped since and another role has made one of
 * its name, it is not the one that was asked for.
 */
static void
lock_flow(const JflowFlow *flow)
{
	Params		params = {0};

	add_text(&params, flow->name);
	add_text(&params, flow->owner);
	if (execute("SELECT FROM jflow.flow WHERE flow = $1 AND owner = $2 FOR UPDATE",
				&params) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("flow \"%s\" does not exist", flow->name)));
}

/*
 * Run one statement on the catalog, for a change of a flow or (NULL) of none;
 * returns the number of rows.
 */
static uint64
execute_alone(const JflowFlow *flow, const char *sql, Params *params)
{
	JflowCatalogState state;
	uint64		rows;

	jflow_catalog_begin(&state);
	if (flow)
		lock_flow(flow);
	rows = execute(sql, params);
	jflow_catalog_end(&state);
	return rows;
}

/*
 * Delete what belongs to a flow, or to one of its executors.  Parameters are
 * the flow and the executor; the catalog must have been begun.
 */
static void
delete_belongings(Params *params, bool one_executor)
{
	if (one_executor)
	{
		(void) execute("DELETE FROM jflow.model WHERE flow = $1 AND executor = $2", params);
		(void) execute("DELETE FROM jflow.model_part WHERE flow = $1 AND executor = $2", params);
		(void) execute("DELETE FROM jflow.shard WHERE flow = $1 AND executor = $2", params);
		(void) execute("DELETE FROM jflow.executor WHERE flow = $1 AND name = $2", params);
		return;
	}
	(void) execute("DELETE FROM jflow.model WHERE flow = $1", params);
	(void) execute("DELETE FROM jflow.model_part WHERE flow = $1", params);
	(void) execute("DELETE FROM jflow.shard WHERE flow = $1", params);
	(void) execute("DELETE FROM jflow.executor WHERE flow = $1", params);
	(void) execute("DELETE FROM jflow.flow_grant WHERE flow = $1", params);
	(void) execute("DELETE FROM jflow.run_state WHERE flow = $1", params);
}

/* Make an empty flow owned by the current user. */
void
jflow_flow_create(const char *name, const char *description)
{
	JflowCatalogState state;
	Params		params = {0};
	Params		key = {0};

	check_name(name, "flow");
	add_text(&key, name);
	add_text(&params, name);
	add_text(&params, GetUserNameFromId(GetUserId(), false));
	add_text(&params, description);

	jflow_catalog_begin(&state);
	if (execute("INSERT INTO jflow.flow (flow, owner, description) VALUES ($1, $2, $3) "
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
	jflow_flow_create(text_arg(fcinfo, 0, "flow"), text_arg_or_null(fcinfo, 1));
	PG_RETURN_VOID();
}

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

/* Names of the classes, for a hint. */
static const char *
suggest_class(const char *name)
{
	JflowCatalogState state;
	Params		params = {0};
	MemoryContext outer = CurrentMemoryContext;
	const char *suggestion;
	char	   *result = NULL;

	jflow_catalog_begin(&state);
	(void) execute("SELECT class FROM jflow.class ORDER BY class", &params);
	{
		const char **names = palloc(sizeof(char *) * Max(SPI_processed, 1));

		for (uint64 i = 0; i < SPI_processed; i++)
			names[i] = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
		suggestion = jflow_suggest(name, names, SPI_processed);
		if (suggestion)
			result = MemoryContextStrdup(outer, suggestion);
	}
	jflow_catalog_end(&state);
	return result;
}

/*
 * What "uses" stands for, as stored: a class's name without prefix, or a
 * function's with its schema.
 */
static char *
check_uses(const char *uses)
{
	const char *name = jflow_uses_class(uses);
	const char *suggestion;

	if (jflow_class_exists(name))
		return pstrdup(name);
	if (name != uses || strstr(uses, "://") ||
		(strchr(uses, ' ') && strchr(uses, '"') == NULL))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("executor class \"%s\" does not exist", name),
				 errhint("Name it with jflow_define, or use a SQL function.")));
	if (strpbrk(uses, ".\"") == NULL)
	{
		suggestion = suggest_class(uses);
		if (suggestion)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("executor class \"%s\" does not exist", uses),
					 errhint("Did you mean \"%s\"?", suggestion)));
	}
	return jflow_function_qualify(uses);
}

/* Milliseconds of an interval; months count 30 days, as in interval comparison. */
int64
jflow_interval_ms(const Interval *interval)
{
	int64		days = (int64) interval->month * DAYS_PER_MONTH + interval->day;

	return days * (SECS_PER_DAY * INT64CONST(1000)) + interval->time / 1000;
}

static void
check_range(const char *what, int value, int min, int max)
{
	if (value < min || value > max)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be between %d and %d, not %d", what, min, max, value)));
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

static void
check_options(const JflowExecutor *executor)
{
	if (executor->uses_with && !JB_ROOT_IS_OBJECT(executor->uses_with))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("uses_with of executor \"%s\" must be a JSON object", executor->name)));
	for (OptionsCheck *entry = options_checks; entry; entry = entry->next)
		if (strcmp(entry->class_name, executor->uses) == 0)
			entry->check(executor->uses_with);
}

/* Everything about an executor that can be wrong, but its needs. */
static void
check_executor(JflowExecutor *executor)
{
	check_name(executor->name, "executor");
	if (strcmp(executor->name, "gateway") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_RESERVED_NAME),
				 errmsg("executor name \"gateway\" is reserved"),
				 errdetail("It stands for the input of a flow.")));

	executor->uses = check_uses(executor->uses);
	if (executor->uses_with == NULL)
		executor->uses_with = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
																 CStringGetDatum("{}")));
	check_options(executor);
	if (executor->requests)
		jflow_requests_check(executor->requests, &executor->requests);
	check_range("replicas", executor->replicas, 0, JFLOW_MAX_REPLICAS);
	check_range("shards", executor->shards, 1, JFLOW_MAX_SHARDS);
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
}

static Datum
text_array(char **strings, int n)
{
	Datum	   *elems = palloc(sizeof(Datum) * Max(n, 1));

	for (int i = 0; i < n; i++)
		elems[i] = CStringGetTextDatum(strings[i]);
	return PointerGetDatum(construct_array(elems, n, TEXTOID, -1, false, TYPALIGN_INT));
}

/* The flow, if the current user may change it. */
static JflowFlow *
open_own_flow(const char *name)
{
	JflowFlow  *flow = jflow_flow_open(name, false);

	jflow_check_flow_owner(flow);
	return flow;
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
	Params		params = {0};

	flow = open_own_flow(flow_name);
	check_executor(executor);

	jflow_catalog_begin(&state);
	lock_flow(flow);

	/* What was seen before the lock may have changed. */
	flow = jflow_flow_open(flow_name, false);
	check_needs(flow, executor);
	if (jflow_flow_executor(flow, executor->name))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("executor \"%s\" of flow \"%s\" already exists",
						executor->name, flow_name)));

	add_text(&params, flow_name);
	add_text(&params, executor->name);
	add_param(&params, INT4OID,
			  Int32GetDatum(flow->nexecutors == 0 ? 1 :
							flow->executors[flow->nexecutors - 1].position + 1), false);
	add_text(&params, executor->uses);
	add_jsonb(&params, executor->uses_with);
	add_jsonb(&params, executor->requests);
	add_param(&params, TEXTARRAYOID, text_array(executor->needs, executor->nneeds), false);
	add_param(&params, INT4OID, Int32GetDatum(executor->replicas), false);
	add_param(&params, INT4OID, Int32GetDatum(executor->shards), false);
	add_jsonb(&params, executor->polling);
	add_text(&params, executor->workspace);
	add_jsonb(&params, executor->when);
	add_text(&params, executor->uses_before);
	add_text(&params, executor->uses_after);
	add_param(&params, INTERVALOID, IntervalPGetDatum(executor->timeout),
			  executor->timeout == NULL);
	add_param(&params, INT4OID, Int32GetDatum(executor->retries), executor->retries < 0);
	add_param(&params, BOOLOID, BoolGetDatum(executor->floating), false);
	add_param(&params, BOOLOID, BoolGetDatum(executor->disable_reduce), false);
	(void) execute("INSERT INTO jflow.executor (flow, name, \"position\", uses, uses_with, "
				   "requests, needs, replicas, shards, polling, workspace, \"when\", "
				   "uses_before, uses_after, timeout, retries, floating, disable_reduce) "
				   "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, "
				   "$15, $16, $17, $18)", &params);
	jflow_catalog_end(&state);
}

/* "needs", as a text[] argument without NULLs. */
static void
needs_arg(FunctionCallInfo fcinfo, int n, JflowExecutor *executor)
{
	Datum	   *elems;
	bool	   *nulls;

	if (PG_ARGISNULL(n))
		return;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(n), TEXTOID, -1, false, TYPALIGN_INT,
					  &elems, &nulls, &executor->nneeds);
	executor->needs = palloc(sizeof(char *) * Max(executor->nneeds, 1));
	for (int i = 0; i < executor->nneeds; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("needs must not contain NULL")));
		executor->needs[i] = TextDatumGetCString(elems[i]);
	}
}

/*
 * jflow_add(flow text, name text, uses text, ...) RETURNS void; the arguments are
 * those of the SQL definition, in its order.
 */
Datum
jflow_add(PG_FUNCTION_ARGS)
{
	JflowExecutor executor;
	char	   *flow = text_arg(fcinfo, 0, "flow");

	jflow_executor_init(&executor, text_arg(fcinfo, 1, "name"));
	if (!PG_ARGISNULL(2))
		executor.uses = text_to_cstring(PG_GETARG_TEXT_PP(2));
	executor.uses_with = jsonb_arg_or_null(fcinfo, 3);
	executor.requests = jsonb_arg_or_null(fcinfo, 4);
	needs_arg(fcinfo, 5, &executor);
	if (!PG_ARGISNULL(6))
		executor.replicas = PG_GETARG_INT32(6);
	if (!PG_ARGISNULL(7))
		executor.shards = PG_GETARG_INT32(7);
	executor.polling = jsonb_arg_or_null(fcinfo, 8);
	executor.workspace = text_arg_or_null(fcinfo, 9);
	executor.when = jsonb_arg_or_null(fcinfo, 10);
	executor.uses_before = text_arg_or_null(fcinfo, 11);
	executor.uses_after = text_arg_or_null(fcinfo, 12);
	if (!PG_ARGISNULL(13))
		executor.timeout = PG_GETARG_INTERVAL_P(13);
	if (!PG_ARGISNULL(14))
	{
		executor.retries = PG_GETARG_INT32(14);
		if (executor.retries < 0)
			executor.retries = -2;	/* -1 means "not given" */
	}
	executor.floating = bool_arg(fcinfo, 15);
	executor.disable_reduce = bool_arg(fcinfo, 16);

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
	char	   *flow_name = text_arg(fcinfo, 0, "flow");
	char	   *name = text_arg(fcinfo, 1, "name");
	JflowCatalogState state;
	JflowFlow  *flow;
	Params		params = {0};

	flow = open_own_flow(flow_name);
	jflow_catalog_begin(&state);
	lock_flow(flow);

	flow = jflow_flow_open(flow_name, false);
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

	add_text(&params, flow_name);
	add_text(&params, name);
	delete_belongings(&params, true);
	jflow_catalog_end(&state);
	PG_RETURN_VOID();
}

/*
 * jflow_drop(flow text, if_exists bool, drop_data bool) RETURNS void
 */
Datum
jflow_drop(PG_FUNCTION_ARGS)
{
	char	   *name = text_arg(fcinfo, 0, "flow");
	JflowFlow  *flow = jflow_flow_open(name, bool_arg(fcinfo, 1));
	JflowCatalogState state;
	Params		params = {0};

	if (flow == NULL)
	{
		ereport(NOTICE,
				(errmsg("flow \"%s\" does not exist, skipping", name)));
		PG_RETURN_VOID();
	}
	jflow_check_flow_owner(flow);
	add_text(&params, name);
	jflow_catalog_begin(&state);
	lock_flow(flow);
	jflow_catalog_end(&state);
	if (bool_arg(fcinfo, 2) && drop_stored_data)
		drop_stored_data(flow);
	jflow_catalog_begin(&state);
	delete_belongings(&params, false);
	(void) execute("DELETE FROM jflow.flow WHERE flow = $1", &params);
	jflow_catalog_end(&state);
	PG_RETURN_VOID();
}

/* The role of a grant, as a name. */
static char *
role_arg(FunctionCallInfo fcinfo, int n)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", "role")));
	return GetUserNameFromId(PG_GETARG_OID(n), false);
}

/*
 * jflow_grant(flow text, role regrole) RETURNS void
 */
Datum
jflow_grant(PG_FUNCTION_ARGS)
{
	JflowFlow  *flow = open_own_flow(text_arg(fcinfo, 0, "flow"));
	Params		params = {0};

	add_text(&params, flow->name);
	add_text(&params, role_arg(fcinfo, 1));
	(void) execute_alone(flow, "INSERT INTO jflow.flow_grant (flow, grantee) VALUES ($1, $2) "
						 "ON CONFLICT DO NOTHING", &params);
	PG_RETURN_VOID();
}

/*
 * jflow_revoke(flow text, role regrole) RETURNS void
 */
Datum
jflow_revoke(PG_FUNCTION_ARGS)
{
	JflowFlow  *flow = open_own_flow(text_arg(fcinfo, 0, "flow"));
	Params		params = {0};

	add_text(&params, flow->name);
	add_text(&params, role_arg(fcinfo, 1));
	(void) execute_alone(flow, "DELETE FROM jflow.flow_grant WHERE flow = $1 AND grantee = $2",
						 &params);
	PG_RETURN_VOID();
}

/*
 * jflow_define(class text, requests jsonb) RETURNS void
 */
Datum
jflow_define(PG_FUNCTION_ARGS)
{
	char	   *name = text_arg(fcinfo, 0, "class");
	Jsonb	   *requests = jsonb_arg_or_null(fcinfo, 1);
	Params		params = {0};

	if (requests == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", "requests")));
	if (name[0] == '\0' || strlen(name) > 200 || strstr(name, "://"))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("class name must have 1 to 200 bytes and no \"://\"")));
	jflow_requests_check(requests, &requests);

	add_text(&params, name);
	add_text(&params, GetUserNameFromId(GetUserId(), false));
	add_jsonb(&params, requests);
	if (execute_alone(NULL, "INSERT INTO jflow.class (class, owner, requests) VALUES ($1, $2, $3) "
					  "ON CONFLICT DO NOTHING", &params) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("executor class \"%s\" already exists", name),
				 errhint("Remove it with jflow_undefine first.")));
	PG_RETURN_VOID();
}

/*
 * jflow_undefine(class text) RETURNS void
 */
Datum
jflow_undefine(PG_FUNCTION_ARGS)
{
	char	   *name = text_arg(fcinfo, 0, "class");
	Oid			userid = GetUserId();
	JflowCatalogState state;
	Params		params = {0};
	char	   *owner;

	jflow_catalog_begin(&state);
	add_text(&params, name);
	if (execute("SELECT owner FROM jflow.class WHERE class = $1 FOR UPDATE", &params) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("executor class \"%s\" does not exist", name)));
	owner = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	if (owner == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("executor class \"%s\" is built in", name)));
	if (!superuser_arg(userid))
	{
		Oid			role = get_role_oid(owner, true);

		if (!OidIsValid(role) || !has_privs_of_role(userid, role))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("must be owner of executor class \"%s\"", name)));
	}
	if (execute("SELECT flow, name FROM jflow.executor WHERE uses = $1 "
				"ORDER BY flow, name LIMIT 1", &params) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot undefine executor class \"%s\" because executors use it", name),
				 errdetail("One is executor \"%s\" of flow \"%s\".",
						   SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2),
						   SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1))));
	(void) execute("DELETE FROM jflow.class WHERE class = $1", &params);
	jflow_catalog_end(&state);
	PG_RETURN_VOID();
}
