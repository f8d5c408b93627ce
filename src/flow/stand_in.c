/*
 * stand_in.c
 *		A flow that stands in for another while its stores are filled anew.
 *
 * It is defined like the other but for uses_with of some executors, is an ordinary
 * flow in all that it does, and belongs to the same owner.  To exchange the two is
 * one transaction: executors of the flow get the changed uses_with, the models and
 * what was stored; what they had, and the stand-in, are dropped.  Replicas read
 * their definitions at each call, and so go on.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "common/json.h"
#include "compat.h"
#include "flow/flow.h"

/* A statement about a flow ($1) and its stand-in ($2); returns the number of rows. */
static uint64
on_both(const char *sql, const char *flow, const char *stand_in)
{
	JflowCatalogState state;
	JflowParams params = {0};
	uint64		n;

	jflow_param_text(&params, flow);
	jflow_param_text(&params, stand_in);
	jflow_catalog_begin(&state);
	n = jflow_catalog_run(sql, &params);
	jflow_catalog_end(&state);
	CommandCounterIncrement();
	return n;
}

/* What an executor's uses_with is with changes. */
static Jsonb *
changed(const JflowExecutor *executor, const JsonbValue *changes)
{
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(executor->uses_with),
											  JsonbPGetDatum(JsonbValueToJsonb((JsonbValue *) changes))));
}

static void
set_options(const char *flow, const JflowExecutor *executor)
{
	JflowCatalogState state;
	JflowParams params = {0};

	jflow_param_text(&params, flow);
	jflow_param_text(&params, executor->name);
	jflow_param_jsonb(&params, executor->uses_with);
	jflow_catalog_begin(&state);
	(void) jflow_catalog_run("UPDATE jflow.executor SET uses_with = $3 WHERE flow = $1 AND name = $2", &params);
	jflow_catalog_end(&state);
	CommandCounterIncrement();
}

/* Raise what is wrong with a member of changes; "arg" is the flow that they are for. */
static void
check_change(void *arg, const char *key, JsonbValue *value)
{
	const JflowFlow *flow = arg;

	if (jflow_flow_executor(flow, key) == NULL)
		jflow_executor_missing(flow, key);
	if (!jflow_json_is_object(value))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("uses_with of executor \"%s\" must be a JSON object", key)));
}

/* Change uses_with of one executor; "arg" is the flow. */
static void
change_options(void *arg, const char *key, JsonbValue *value)
{
	const JflowFlow *flow = arg;
	JflowExecutor new;

	check_change(arg, key, value);
	new = *jflow_flow_executor(flow, key);
	new.uses_with = changed(&new, value);
	jflow_executor_check_options(&new);
	set_options(flow->name, &new);
}

/* Does an executor say that it writes, to what is nobody's but its own? */
static bool
declares_writes(const JflowExecutor *executor)
{
	Jsonb	   *maps[2];

	maps[0] = executor->requests;
	maps[1] = executor->class_owner && executor->class_owner[0] == '\0' ? NULL : executor->class_requests;
	for (int i = 0; i < lengthof(maps); i++)
	{
		JsonbIterator *it = maps[i] ? JsonbIteratorInit(&maps[i]->root) : NULL;
		JsonbIteratorToken token;
		JsonbValue	value;

		while (it && (token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
		{
			JsonbValue	buffer;
			JsonbValue *writes;

			CHECK_FOR_INTERRUPTS();
			if (token != WJB_VALUE || !jflow_json_is_object(&value))
				continue;
			writes = getKeyJsonValueFromContainer(value.val.binary.data, "writes", 6, &buffer);
			if (writes && writes->type == jbvBool && writes->val.boolean)
				return true;
		}
	}
	return false;
}

static void JFLOW_NORETURN
cannot_stand_in(const JflowFlow *flow, const JflowExecutor *executor)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("the store of executor \"%s\" of flow \"%s\" cannot be filled beside the one that is there",
					executor->name, flow->name),
			 errdetail("Only a PQLiteIndexer can have a second store."),
			 errhint("Make a second flow with a sync of its own, and drop the first when the second has caught up.")));
}

/*
 * Raise feature_not_supported for a flow that keeps documents where none can be kept
 * beside.  The current user is its owner.
 */
static void
check_stores(const JflowFlow *flow, const JflowFlow *stand_in)
{
	int			stores = 0;

	for (int i = 0; i < flow->nexecutors; i++)
	{
		const JflowExecutor *executor = &flow->executors[i];
		const JflowClass *class = executor->class;

		if (class && class->exchange)
		{
			class->check_stand_in(flow, executor, &stand_in->executors[i]);
			stores++;
		}
		else if ((class && (class->stores || class->takes_origin)) || declares_writes(executor))
			cannot_stand_in(flow, executor);
	}
	if (stores == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("flow \"%s\" has no store that could be filled anew", flow->name),
				 errdetail("None of its executors is a PQLiteIndexer.")));
}

/*
 * Make a flow of the current user's, who owns "flow", that stands in for that one.
 * "changes" maps executors to members of uses_with; NULL: none.
 */
void
jflow_stand_in_create(const JflowFlow *flow, const char *name, Jsonb *changes)
{
	if (changes)
		jflow_json_each(&changes->root, check_change, (void *) flow);
	jflow_flow_create(name, psprintf("is filled in place of flow \"%s\"", flow->name));
	(void) on_both("UPDATE jflow.flow SET stands_for = $1 WHERE flow = $2", flow->name, name);
	(void) on_both("INSERT INTO jflow.executor SELECT (pg_catalog.jsonb_populate_record(e, "
				   "pg_catalog.jsonb_build_object('flow', $2))).* FROM jflow.executor e WHERE e.flow = $1",
				   flow->name, name);
	(void) on_both("INSERT INTO jflow.model SELECT (pg_catalog.jsonb_populate_record(m, "
				   "pg_catalog.jsonb_build_object('flow', $2))).* FROM jflow.model m WHERE m.flow = $1",
				   flow->name, name);
	if (changes)
		jflow_json_each(&changes->root, change_options, jflow_flow_open(name, false));
	check_stores(flow, jflow_flow_open(name, false));
}

/* The two flows, their rows locked. */
static void
open_both(const char *name, JflowFlow **flow, JflowFlow **stand_in)
{
	JflowCatalogState state;
	char	   *stands_for;

	*stand_in = jflow_flow_open(name, false);
	stands_for = (*stand_in)->rights.stands_for;
	Assert(stands_for != NULL);
	(void) jflow_change_begin(&state, stands_for);
	jflow_catalog_end(&state);
	(void) jflow_change_begin(&state, name);
	jflow_catalog_end(&state);
	*stand_in = jflow_flow_open(name, false);
	*flow = jflow_flow_open(stands_for, false);
}

/* Raise object_not_in_prerequisite_state for a flow that is not what it was when its stand-in was made. */
static void
check_unchanged(const JflowFlow *flow, const JflowFlow *stand_in)
{
	static const char *const different =
		"WITH e AS (SELECT flow, pg_catalog.to_jsonb(e) - '{flow,uses_with,replicas,shards,timeout,retries,batch}'::pg_catalog.text[] AS d "
		"FROM jflow.executor e WHERE flow IN ($1, $2)) "
		"SELECT FROM (SELECT d FROM e WHERE flow = $1) a FULL JOIN (SELECT d FROM e WHERE flow = $2) b ON a.d = b.d "
		"WHERE a.d IS NULL OR b.d IS NULL";
	static const char *const fitted =
		"SELECT FROM jflow.model m JOIN jflow.model s ON s.executor = m.executor AND s.flow = $2 "
		"WHERE m.flow = $1 AND m.version <> s.version AND m.fitted > s.fitted";
	bool		other = on_both(different, flow->name, stand_in->name) > 0;

	if (other || on_both(fitted, flow->name, stand_in->name) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 other ? errmsg("flow \"%s\" has got other executors since it is being filled anew", flow->name) :
				 errmsg("an executor of flow \"%s\" was fitted again since it is being filled anew", flow->name),
				 errhint("Give that up with jflow_unsync, and call jflow_resync again.")));
}

/* The part of an exchange that takes long, and is in nobody's way. */
void
jflow_stand_in_prepare(const char *name)
{
	JflowFlow  *flow,
			   *stand_in;

	open_both(name, &flow, &stand_in);
	check_unchanged(flow, stand_in);
	check_stores(flow, stand_in);
	for (int i = 0; i < stand_in->nexecutors; i++)
		if (stand_in->executors[i].class && stand_in->executors[i].class->prepare_exchange)
			stand_in->executors[i].class->prepare_exchange(stand_in, &stand_in->executors[i]);
}

/*
 * Let a flow have what its stand-in has, and drop the stand-in.  The current user
 * owns both; "changes" is what the stand-in was made with.
 */
void
jflow_stand_in_exchange(const char *name, Jsonb *changes)
{
	JflowFlow  *flow,
			   *stand_in;

	open_both(name, &flow, &stand_in);
	check_unchanged(flow, stand_in);
	for (int i = 0; i < flow->nexecutors; i++)
		if (flow->executors[i].class && flow->executors[i].class->exchange)
			flow->executors[i].class->exchange(flow, &flow->executors[i], stand_in,
											   jflow_flow_executor(stand_in, flow->executors[i].name));
	(void) on_both("DELETE FROM jflow.model m USING jflow.model s WHERE m.flow = $1 AND s.flow = $2 "
				   "AND m.executor = s.executor AND m.version <> s.version", flow->name, name);
	(void) on_both("UPDATE jflow.model s SET flow = $1 WHERE s.flow = $2 AND NOT EXISTS (SELECT FROM jflow.model m "
				   "WHERE m.flow = $1 AND m.executor = s.executor)", flow->name, name);
	if (changes)
		jflow_json_each(&changes->root, change_options, flow);
	jflow_flow_drop(name, false);
}
