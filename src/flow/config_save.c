/*
 * config_save.c
 *		A flow as one document, which jflow_load makes the same flow of again.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "common/json.h"
#include "compat.h"
#include "flow/config.h"
#include "flow/flow.h"
#include "flow/yaml.h"

PG_FUNCTION_INFO_V1(jflow_save);
PG_FUNCTION_INFO_V1(jflow_save_yaml);

/* The text of an interval, whatever the session's IntervalStyle. */
static char *
interval_text(const Interval *interval)
{
	struct pg_itm itm;
	char	   *text = palloc(MAXDATELEN + 1);

	interval2itm(*interval, &itm);
	EncodeInterval(&itm, INTSTYLE_POSTGRES, text);
	return text;
}

/* One executor; what has its default is left out, but for the needs. */
static void
push_executor(JsonbInState *state, const JflowFlow *flow, const JflowExecutor *executor)
{
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	jflow_json_push_string(state, "name", executor->name);
	if (strcmp(executor->uses, "BaseExecutor") != 0)
		jflow_json_push_string(state, "uses", executor->uses);
	if (executor->class_owner && executor->class_owner[0] != '\0' &&
		strcmp(executor->class_owner, flow->owner) != 0)
		jflow_json_push_string(state, "class_owner", executor->class_owner);
	if (JB_ROOT_COUNT(executor->uses_with) > 0)
		jflow_json_push_json(state, "uses_with", executor->uses_with);
	jflow_json_push_json(state, "requests", executor->requests);
	jflow_json_push_strings(state, "needs", executor->needs, executor->nneeds);
	if (executor->replicas != 1)
		jflow_json_push_int(state, "replicas", executor->replicas);
	if (executor->shards != 1)
		jflow_json_push_int(state, "shards", executor->shards);
	jflow_json_push_json(state, "polling", executor->polling);
	jflow_json_push_string(state, "workspace", executor->workspace);
	jflow_json_push_json(state, "when", executor->when);
	jflow_json_push_string(state, "uses_before", executor->uses_before);
	jflow_json_push_string(state, "uses_after", executor->uses_after);
	if (executor->timeout)
		jflow_json_push_string(state, "timeout", interval_text(executor->timeout));
	if (executor->retries >= 0)
		jflow_json_push_int(state, "retries", executor->retries);
	if (executor->floating)
		jflow_json_push_bool(state, "floating", true);
	if (executor->disable_reduce)
		jflow_json_push_bool(state, "disable_reduce", true);
	jflow_json_push_json(state, "batch", executor->batch);
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/* The document; with "literals", one that says that nothing in it is a variable. */
static Jsonb *
build(const JflowFlow *flow, bool literals)
{
	JsonbInState state = {0};

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	jflow_json_push_string(&state, "jtype", "Flow");
	jflow_json_push_string(&state, "version", "1");
	jflow_json_push_string(&state, "name", flow->name);
	jflow_json_push_string(&state, "description", flow->description);
	jflow_json_push_key(&state, "executors");
	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < flow->nexecutors; i++)
		push_executor(&state, flow, &flow->executors[i]);
	pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	jflow_grants_save(flow, &state);
	if (literals)
		jflow_json_push_bool(&state, "literals", true);
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(state.result);
}

/* Would something in the document be taken for a variable, or for a path? */
static bool
needs_literals(const JflowFlow *flow, Jsonb *json)
{
	for (int i = 0; i < flow->nexecutors; i++)
		if (flow->executors[i].workspace && strchr(flow->executors[i].workspace, '/'))
			return true;
	return jflow_find_variable(&json->root) != NULL;
}

static Jsonb *
save(const char *name)
{
	JflowFlow  *flow = jflow_flow_open(name, false);
	Jsonb	   *json;

	jflow_check_flow_owner(flow);
	json = build(flow, false);
	return needs_literals(flow, json) ? build(flow, true) : json;
}

/*
 * jflow_save(flow text) RETURNS jsonb
 */
Datum
jflow_save(PG_FUNCTION_ARGS)
{
	PG_RETURN_JSONB_P(save(text_to_cstring(PG_GETARG_TEXT_PP(0))));
}

/*
 * jflow_save_yaml(flow text) RETURNS text
 */
Datum
jflow_save_yaml(PG_FUNCTION_ARGS)
{
	Jsonb	   *json = save(text_to_cstring(PG_GETARG_TEXT_PP(0)));

	PG_RETURN_TEXT_P(cstring_to_text(jflow_jsonb_to_yaml(json)));
}
