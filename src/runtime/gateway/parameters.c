/*
 * parameters.c
 *		The parameters of a post, as each executor gets them.
 *
 * They go to every executor, but for overrides: those for one alone stand under
 * {"executors": {"name": {...}}}.  An object under the executor's own name means
 * the same, unless some class of the flow has a parameter of that name: then it
 * is that parameter, and no executor's name can take it away.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"

#include "common/json.h"
#include "compat.h"
#include "runtime/gateway/parameters.h"

#define OVERRIDES "executors"
#define LIMIT "limit"			/* the reduce of the shards reads it, too */

static bool
class_knows(const JflowExecutor *executor, const char *key)
{
	if (executor->class == NULL || executor->class->parameters == NULL)
		return false;
	for (const char *const *known = executor->class->parameters; *known; known++)
		if (strcmp(*known, key) == 0)
			return true;
	return false;
}

static bool
any_class_knows(const JflowFlow *flow, const char *key)
{
	for (int i = 0; i < flow->nexecutors; i++)
		if (class_knows(&flow->executors[i], key))
			return true;
	return false;
}

/* The object under a key, or NULL if there is none; it may be something else. */
static JsonbContainer *
object_under(JsonbContainer *object, const char *key)
{
	JsonbValue	buffer;
	JsonbValue *value = getKeyJsonValueFromContainer(object, key, strlen(key), &buffer);

	return value && jflow_json_is_object(value) ? value->val.binary.data : NULL;
}

/* Raise what is wrong with the overrides; null is none. */
static void
check_overrides(void *arg, const char *key, JsonbValue *value)
{
	if (value->type != jbvNull && !jflow_json_is_object(value))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("overrides for executor \"%s\" must be an object", key)));
}

static void
find_overrides(JflowPostParameters *parameters)
{
	JsonbValue	buffer;
	JsonbValue *value = jflow_json_get(parameters->given, OVERRIDES, &buffer);

	if (value == NULL)
		return;
	if (!jflow_json_is_object(value))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("parameter \"%s\" must be an object", OVERRIDES),
				 errdetail("It maps names of executors to parameters for them alone.")));
	parameters->overrides = value->val.binary.data;
	jflow_json_each(parameters->overrides, check_overrides, NULL);
}

/* Find the objects that stand under an executor's name. */
static void
find_by_name(JflowPostParameters *parameters)
{
	const JflowFlow *flow = parameters->flow;

	for (int i = 0; i < flow->nexecutors; i++)
	{
		const char *name = flow->executors[i].name;

		if (strcmp(name, OVERRIDES) == 0 ||
			object_under(&parameters->given->root, name) == NULL || any_class_knows(flow, name))
			continue;
		if (parameters->by_name == NULL)
			parameters->by_name = palloc0(sizeof(bool) * flow->nexecutors);
		parameters->by_name[i] = true;
	}
}

static bool
is_for_one(const JflowPostParameters *parameters, const JsonbValue *key)
{
	if (key->val.string.len == strlen(OVERRIDES) &&
		memcmp(key->val.string.val, OVERRIDES, key->val.string.len) == 0)
		return true;
	for (int i = 0; parameters->by_name && i < parameters->flow->nexecutors; i++)
		if (parameters->by_name[i] &&
			key->val.string.len == strlen(parameters->flow->executors[i].name) &&
			memcmp(key->val.string.val, parameters->flow->executors[i].name, key->val.string.len) == 0)
			return true;
	return false;
}

/* Add the members of an object, or those that are not meant for one executor. */
static void
push_members(JsonbInState *state, JsonbContainer *object,
			 const JflowPostParameters *without)
{
	JsonbIterator *it = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue	value;
	bool		skip = false;

	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		CHECK_FOR_INTERRUPTS();
		if (token == WJB_KEY)
			skip = without && is_for_one(without, &value);
		if ((token == WJB_KEY || token == WJB_VALUE) && !skip)
			pushJsonbValue(state, token, &value);
	}
}

/*
 * Take the parameters of a post apart.  They are an object.  Raises
 * invalid_parameter_value for overrides that are no objects.  What is kept lives
 * in the current memory context.
 */
void
jflow_parameters_init(JflowPostParameters *parameters, const JflowFlow *flow, Jsonb *given)
{
	JsonbInState state = {0};

	memset(parameters, 0, sizeof(*parameters));
	parameters->flow = flow;
	parameters->given = parameters->common = given;
	if (JB_ROOT_COUNT(given) == 0)
		return;
	find_overrides(parameters);
	find_by_name(parameters);
	if (parameters->overrides == NULL && parameters->by_name == NULL)
		return;
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_members(&state, &given->root, parameters);
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	parameters->common = JsonbValueToJsonb(state.result);
}

/* The overrides for an executor: in either place, or NULL. */
static void
overrides_of(const JflowPostParameters *parameters, int executor, JsonbContainer **places)
{
	const char *name = parameters->flow->executors[executor].name;

	places[0] = parameters->by_name && parameters->by_name[executor] ?
		object_under(&parameters->given->root, name) : NULL;
	places[1] = parameters->overrides ? object_under(parameters->overrides, name) : NULL;
}

/* What an executor gets: what is for all, overridden by what is for it. */
Jsonb *
jflow_parameters_of(const JflowPostParameters *parameters, int executor)
{
	JsonbInState state = {0};
	JsonbContainer *places[2];

	overrides_of(parameters, executor, places);
	if (places[0] == NULL && places[1] == NULL)
		return parameters->common;
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_members(&state, &parameters->common->root, NULL);
	for (int i = 0; i < 2; i++)
		if (places[i])
			push_members(&state, places[i], NULL);
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(state.result);
}

/* Names that a parameter may have been meant to be. */
typedef struct Candidates
{
	const JflowPostParameters *parameters;
	const char *executor;		/* that it is for alone, or NULL */
	const char *names[64];
	int			nnames;
} Candidates;

static void
add_candidates(Candidates *candidates, const JflowExecutor *executor)
{
	if (executor->class == NULL || executor->class->parameters == NULL)
		return;
	for (const char *const *known = executor->class->parameters; *known; known++)
		if (candidates->nnames < lengthof(candidates->names))
			candidates->names[candidates->nnames++] = *known;
}

static void
note_if_unknown(void *arg, const char *key, JsonbValue *value)
{
	Candidates *candidates = arg;
	const char *suggestion;

	if (strcmp(key, LIMIT) == 0)
		return;
	for (int i = 0; i < candidates->nnames; i++)
		if (strcmp(candidates->names[i], key) == 0)
			return;
	suggestion = jflow_suggest(key, candidates->names, candidates->nnames);
	ereport(NOTICE,
			(candidates->executor ?
			 errmsg("executor \"%s\" of flow \"%s\" knows no parameter \"%s\"",
					candidates->executor, candidates->parameters->flow->name, key) :
			 errmsg("no executor of flow \"%s\" knows parameter \"%s\"",
					candidates->parameters->flow->name, key),
			 suggestion ? errhint("Did you mean \"%s\"?", suggestion) : 0));
}

/* An executor that overrides are for: is there one, and does it know them? */
static void
note_overrides(void *arg, const char *key, JsonbValue *value)
{
	const JflowPostParameters *parameters = ((Candidates *) arg)->parameters;
	const JflowFlow *flow = parameters->flow;
	Candidates	candidates = {parameters, key};
	const JflowExecutor *executor = jflow_flow_executor(flow, key);
	const char **names;
	const char *suggestion;

	if (executor)
	{
		add_candidates(&candidates, executor);
		if (jflow_executor_is_open(executor) && jflow_json_is_object(value))
			jflow_json_each(value->val.binary.data, note_if_unknown, &candidates);
		return;
	}
	names = palloc(sizeof(char *) * Max(flow->nexecutors, 1));
	for (int i = 0; i < flow->nexecutors; i++)
		names[i] = flow->executors[i].name;
	suggestion = jflow_suggest(key, names, flow->nexecutors);
	ereport(NOTICE,
			(errmsg("flow \"%s\" has no executor \"%s\", which parameters are for",
					flow->name, key),
			 suggestion ? errhint("Did you mean \"%s\"?", suggestion) : 0));
}

/*
 * Tell of parameters that nobody knows, where that can be known: if each
 * executor that sees them is of a class that lists what it reads.
 */
void
jflow_parameters_note_unknown(const JflowPostParameters *parameters, const bool *active)
{
	Candidates	candidates = {parameters};
	const JflowFlow *flow = parameters->flow;
	bool		open = true;
	bool		any = false;

	if (JB_ROOT_COUNT(parameters->given) == 0)
		return;
	if (parameters->overrides)
		jflow_json_each(parameters->overrides, note_overrides, &candidates);
	for (int i = 0; i < flow->nexecutors && open; i++)
	{
		if (!active[i])
			continue;
		any = true;
		open = jflow_executor_is_open(&flow->executors[i]);
		add_candidates(&candidates, &flow->executors[i]);
	}
	if (open && any)
		jflow_json_each(&parameters->common->root, note_if_unknown, &candidates);
}
