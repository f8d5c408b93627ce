/*
 * config.c
 *		A whole flow in one document: jflow_load, jflow_save and their YAML forms.
 *
 * The keys are those of a Jina Flow YAML.  A key that has a meaning only where
 * executors are processes of their own (ports, images, requirements) is
 * ignored, and one notice lists what was; a key that nobody knows is an error.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "flow/flow.h"
#include "flow/yaml.h"

PG_FUNCTION_INFO_V1(jflow_load);
PG_FUNCTION_INFO_V1(jflow_load_yaml);
PG_FUNCTION_INFO_V1(jflow_save);
PG_FUNCTION_INFO_V1(jflow_save_yaml);
PG_FUNCTION_INFO_V1(jflow_yaml);

static const char *const flow_keys[] = {
	"jtype", "version", "name", "description", "with", "metas", "executors", "grants"
};

static const char *const executor_keys[] = {
	"name", "uses", "class_owner", "uses_with", "uses_metas", "uses_requests", "requests", "needs",
	"replicas", "shards", "polling", "workspace", "when", "uses_before", "uses_after",
	"timeout", "timeout_send", "retries", "floating", "disable_reduce", "no_reduce",
	"method", "with", "metas"
};

/* Keys of Jina that mean nothing inside a server. */
static const char *const ignored_keys[] = {
	"allow_concurrent", "asyncio", "compress", "compress_min_bytes", "compress_min_ratio",
	"compression", "cors", "daemon", "default_swagger_ui", "deployments", "deployments_addresses",
	"docker_kwargs", "endpoints_configuration", "entrypoint", "env", "env_from_secret",
	"exit_on_exceptions", "expose_endpoints", "expose_graphql_endpoint", "external",
	"extra_search_paths", "force_update", "gateway", "gpus", "graph_conditions", "graph_description",
	"grpc_channel_options", "grpc_metadata", "grpc_server_options", "host", "host_in", "hosts",
	"https", "image_pull_secrets", "inspect", "install_requirements", "jcloud", "labels", "log_config",
	"metrics", "metrics_exporter_host", "metrics_exporter_port", "monitoring", "native",
	"no_crud_endpoints", "no_debug_endpoints", "noblock_on_start", "output_array_type",
	"peer_ports", "pod_role", "port", "port_expose", "port_in", "port_jinad", "port_monitoring",
	"prefer_platform", "prefetch", "protocol", "provider", "proxy", "pull_latest", "py_modules",
	"quiet", "quiet_error", "quiet_remote_logs", "raft_configuration", "reload", "replica_id",
	"results_in_order", "return_responses", "runtime_backend", "runtime_cls", "shard_id", "ssl_certfile",
	"ssl_keyfile", "stateful", "timeout_ctrl", "timeout_ready", "title", "tls", "tracing",
	"traces_exporter_host", "traces_exporter_port", "upload_files", "uses_dynamic_batching",
	"uvicorn_kwargs", "volumes", "warmup", "workspace_id"
};

/* What is being loaded. */
typedef struct Loader
{
	StringInfoData ignored;		/* keys that were ignored, for the notice */
	char	   *name;
	char	   *description;
	JsonbValue	executors;		/* jbvNull: none */
	JsonbValue	grants;			/* jbvNull: none */

	/* given for the flow, hold for executors that say nothing */
	Jsonb	   *polling;
	char	   *workspace;
	Interval   *timeout;
} Loader;

typedef void (*MemberFunction) (void *arg, const char *key, JsonbValue *value);

static char *
string_value(const JsonbValue *value)
{
	return pnstrdup(value->val.string.val, value->val.string.len);
}

static bool
is_object(const JsonbValue *value)
{
	return value->type == jbvBinary && JsonContainerIsObject(value->val.binary.data);
}

static bool
is_array(const JsonbValue *value)
{
	return value->type == jbvBinary && JsonContainerIsArray(value->val.binary.data);
}

static void JFLOW_NORETURN
wrong_value(const char *key, const char *expected)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("value of \"%s\" must be %s", key, expected)));
}

/* Call a function for each member of an object. */
static void
each_member(JsonbContainer *object, MemberFunction function, void *arg)
{
	JsonbIterator *it = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue	value;
	char	   *key = NULL;

	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			key = string_value(&value);
		else if (token == WJB_VALUE)
			function(arg, key, &value);
	}
}

static char *
read_string(const char *key, const JsonbValue *value)
{
	if (value->type == jbvNull)
		return NULL;
	if (value->type != jbvString)
		wrong_value(key, "a string");
	return string_value(value);
}

static int
read_int(const char *key, const JsonbValue *value)
{
	bool		error = false;
	int			result;

	if (value->type != jbvNumeric)
		wrong_value(key, "an integer");
	result = numeric_int4_opt_error(value->val.numeric, &error);
	if (error)
		wrong_value(key, "an integer");
	return result;
}

static bool
read_bool(const char *key, const JsonbValue *value)
{
	if (value->type != jbvBool)
		wrong_value(key, "a boolean");
	return value->val.boolean;
}

static Jsonb *
read_jsonb(JsonbValue *value)
{
	return value->type == jbvNull ? NULL : JsonbValueToJsonb(value);
}

/* Raises invalid_parameter_value where an interval cannot hold the time. */
static Interval *
interval_of_ms(const char *key, double ms)
{
	Interval   *interval = palloc0(sizeof(Interval));

	if (!(ms >= 0 && ms < (double) PG_INT64_MAX / 1000))
		wrong_value(key, "a time that is not negative and not too long");
	interval->time = (TimeOffset) (ms * 1000);
	return interval;
}

/* A time: the text of an interval, or a number of units. */
static Interval *
read_interval(const char *key, const JsonbValue *value, double unit_ms)
{
	if (value->type == jbvNull)
		return NULL;
	if (value->type == jbvString)
		return DatumGetIntervalP(DirectFunctionCall3(interval_in,
													 CStringGetDatum(string_value(value)),
													 ObjectIdGetDatum(InvalidOid),
													 Int32GetDatum(-1)));
	if (value->type != jbvNumeric)
		wrong_value(key, "an interval or a number");
	return interval_of_ms(key, unit_ms * DatumGetFloat8(DirectFunctionCall1(numeric_float8,
																			NumericGetDatum(value->val.numeric))));
}

/*
 * A workspace is a schema here; of a path, the last component is taken.
 */
static char *
read_workspace(const char *key, const JsonbValue *value)
{
	char	   *workspace = read_string(key, value);
	char	   *name;
	size_t		len;

	if (workspace == NULL || strchr(workspace, '/') == NULL)
		return workspace;
	len = strlen(workspace);
	while (len > 0 && workspace[len - 1] == '/')
		workspace[--len] = '\0';
	name = strrchr(workspace, '/');
	name = name ? name + 1 : workspace;
	if (name[0] == '\0')
		return NULL;
	ereport(NOTICE,
			(errmsg("workspace \"%s\" becomes schema \"%s\"", workspace, name)));
	return name;
}

/* A key that no case took: ignored if Jina knows it, else an error. */
static void
other_key(Loader *loader, const char *key, const char *what,
		  const char *const *known, int nknown)
{
	const char *suggestion;

	for (int i = 0; i < lengthof(ignored_keys); i++)
	{
		if (strcmp(key, ignored_keys[i]) == 0)
		{
			appendStringInfo(&loader->ignored, "%s%s", loader->ignored.len ? ", " : "", key);
			return;
		}
	}
	suggestion = jflow_suggest(key, known, nknown);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown key \"%s\" of %s", key, what),
			 suggestion ? errhint("Did you mean \"%s\"?", suggestion) : 0));
}

static void
read_needs(JflowExecutor *executor, JsonbValue *value)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	element;

	if (value->type == jbvNull)
		return;
	if (value->type == jbvString)
	{
		executor->needs = palloc(sizeof(char *));
		executor->needs[executor->nneeds++] = string_value(value);
		return;
	}
	if (!is_array(value))
		wrong_value("needs", "a name or an array of names");
	executor->needs = palloc(sizeof(char *) * Max(JsonContainerSize(value->val.binary.data), 1));
	it = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &element, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM)
			continue;
		if (element.type != jbvString)
			wrong_value("needs", "a name or an array of names");
		executor->needs[executor->nneeds++] = string_value(&element);
	}
}

typedef struct ExecutorLoader
{
	Loader	   *loader;
	JflowExecutor *executor;
} ExecutorLoader;

/* Members of uses_metas. */
static void
load_meta(void *arg, const char *key, JsonbValue *value)
{
	static const char *const known[] = {"workspace", "name", "description"};
	ExecutorLoader *el = arg;

	if (strcmp(key, "workspace") == 0)
		el->executor->workspace = read_workspace(key, value);
	else if (strcmp(key, "name") != 0 && strcmp(key, "description") != 0)
		other_key(el->loader, key, "uses_metas", known, lengthof(known));
}

/* How Jina would add the executor: a join is an executor like any other. */
static void
check_method(const JsonbValue *value)
{
	char	   *method = read_string("method", value);

	if (method && strcmp(method, "add") != 0 && strcmp(method, "needs") != 0)
		wrong_value("method", "\"add\" or \"needs\"");
}

static void
load_executor_member(void *arg, const char *key, JsonbValue *value)
{
	ExecutorLoader *el = arg;
	JflowExecutor *executor = el->executor;

	if (strcmp(key, "name") == 0)
	{
		if (value->type != jbvNull)
			executor->name = read_string(key, value);
	}
	else if (strcmp(key, "method") == 0)
		check_method(value);
	else if (strcmp(key, "uses") == 0)
	{
		if (value->type != jbvNull)
			executor->uses = read_string(key, value);
	}
	else if (strcmp(key, "class_owner") == 0)
		executor->class_owner = read_string(key, value);
	else if (strcmp(key, "uses_with") == 0 || strcmp(key, "with") == 0)
		executor->uses_with = read_jsonb(value);
	else if (strcmp(key, "uses_metas") == 0 || strcmp(key, "metas") == 0)
	{
		if (!is_object(value))
			wrong_value(key, "an object");
		each_member(value->val.binary.data, load_meta, el);
	}
	else if (strcmp(key, "uses_requests") == 0 || strcmp(key, "requests") == 0)
		executor->requests = read_jsonb(value);
	else if (strcmp(key, "needs") == 0)
		read_needs(executor, value);
	else if (strcmp(key, "replicas") == 0)
		executor->replicas = read_int(key, value);
	else if (strcmp(key, "shards") == 0)
		executor->shards = read_int(key, value);
	else if (strcmp(key, "polling") == 0)
		executor->polling = read_jsonb(value);
	else if (strcmp(key, "workspace") == 0)
		executor->workspace = read_workspace(key, value);
	else if (strcmp(key, "when") == 0)
		executor->when = read_jsonb(value);
	else if (strcmp(key, "uses_before") == 0)
		executor->uses_before = read_string(key, value);
	else if (strcmp(key, "uses_after") == 0)
		executor->uses_after = read_string(key, value);
	else if (strcmp(key, "timeout") == 0)
		executor->timeout = read_interval(key, value, 1000);
	else if (strcmp(key, "timeout_send") == 0)
		executor->timeout = read_interval(key, value, 1);
	else if (strcmp(key, "retries") == 0)
		executor->retries = value->type == jbvNull ? -1 : Max(read_int(key, value), -1);
	else if (strcmp(key, "floating") == 0)
		executor->floating = read_bool(key, value);
	else if (strcmp(key, "disable_reduce") == 0 || strcmp(key, "no_reduce") == 0)
		executor->disable_reduce = read_bool(key, value);
	else
		other_key(el->loader, key, "an executor", executor_keys, lengthof(executor_keys));
}

/* Members of "with" and "metas" of the flow. */
static void
load_flow_argument(void *arg, const char *key, JsonbValue *value)
{
	static const char *const known[] = {
		"name", "description", "polling", "workspace", "timeout", "timeout_send"
	};
	Loader	   *loader = arg;

	if (strcmp(key, "name") == 0)
		loader->name = loader->name ? loader->name : read_string(key, value);
	else if (strcmp(key, "description") == 0)
		loader->description = loader->description ? loader->description : read_string(key, value);
	else if (strcmp(key, "polling") == 0)
		loader->polling = read_jsonb(value);
	else if (strcmp(key, "workspace") == 0)
		loader->workspace = read_workspace(key, value);
	else if (strcmp(key, "timeout") == 0)
		loader->timeout = read_interval(key, value, 1000);
	else if (strcmp(key, "timeout_send") == 0)
		loader->timeout = read_interval(key, value, 1);
	else
		other_key(loader, key, "a flow's arguments", known, lengthof(known));
}

static void
load_flow_member(void *arg, const char *key, JsonbValue *value)
{
	Loader	   *loader = arg;

	if (strcmp(key, "jtype") == 0)
	{
		if (value->type != jbvString || strcmp(string_value(value), "Flow") != 0)
			wrong_value(key, "\"Flow\"");
	}
	else if (strcmp(key, "version") == 0)
		return;
	else if (strcmp(key, "name") == 0)
		loader->name = read_string(key, value);
	else if (strcmp(key, "description") == 0)
		loader->description = read_string(key, value);
	else if (strcmp(key, "with") == 0 || strcmp(key, "metas") == 0)
	{
		if (is_object(value))
			each_member(value->val.binary.data, load_flow_argument, loader);
		else if (value->type != jbvNull)
			wrong_value(key, "an object");
	}
	else if (strcmp(key, "executors") == 0)
	{
		if (!is_array(value) && value->type != jbvNull)
			wrong_value(key, "an array of objects");
		loader->executors = *value;
	}
	else if (strcmp(key, "grants") == 0)
	{
		if (!is_object(value) && value->type != jbvNull)
			wrong_value(key, "an object of roles");
		loader->grants = *value;
	}
	else
		other_key(loader, key, "a flow", flow_keys, lengthof(flow_keys));
}

static void
load_executors(Loader *loader)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	element;
	int			n = 0;

	if (loader->executors.type == jbvNull)
		return;
	it = JsonbIteratorInit(loader->executors.val.binary.data);
	while ((token = JsonbIteratorNext(&it, &element, true)) != WJB_DONE)
	{
		JflowExecutor executor;
		ExecutorLoader el = {loader, &executor};

		if (token != WJB_ELEM)
			continue;
		if (!is_object(&element))
			wrong_value("executors", "an array of objects");
		jflow_executor_init(&executor, psprintf("executor%d", n++));
		executor.polling = loader->polling;
		executor.workspace = loader->workspace;
		executor.timeout = loader->timeout;
		each_member(element.val.binary.data, load_executor_member, &el);
		if (executor.name == NULL)
			wrong_value("name", "a string");
		jflow_executor_add(loader->name, &executor);
	}
}

static Datum
load(Jsonb *config)
{
	Loader		loader = {0};

	if (!JB_ROOT_IS_OBJECT(config))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a flow must be an object")));
	initStringInfo(&loader.ignored);
	loader.executors.type = loader.grants.type = jbvNull;
	each_member(&config->root, load_flow_member, &loader);
	if (loader.name == NULL)
		loader.name = pstrdup("flow");

	jflow_flow_create(loader.name, loader.description);
	load_executors(&loader);
	if (loader.grants.type != jbvNull)
		jflow_grants_load(loader.name, loader.grants.val.binary.data);
	if (loader.ignored.len > 0)
		ereport(NOTICE,
				(errmsg("keys without meaning in PostgreSQL were ignored: %s", loader.ignored.data)));
	return CStringGetTextDatum(loader.name);
}

/*
 * jflow_load(config jsonb) RETURNS text: the flow's name.
 */
Datum
jflow_load(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATUM(load(PG_GETARG_JSONB_P(0)));
}

/*
 * jflow_load_yaml(config text) RETURNS text: the flow's name.
 */
Datum
jflow_load_yaml(PG_FUNCTION_ARGS)
{
	text	   *yaml = PG_GETARG_TEXT_PP(0);

	PG_RETURN_DATUM(load(jflow_yaml_to_jsonb(VARDATA_ANY(yaml), VARSIZE_ANY_EXHDR(yaml))));
}

/*
 * jflow_yaml(config text) RETURNS jsonb: for clients that ask what a document says
 * before they load it.
 */
Datum
jflow_yaml(PG_FUNCTION_ARGS)
{
	text	   *yaml = PG_GETARG_TEXT_PP(0);

	PG_RETURN_JSONB_P(jflow_yaml_to_jsonb(VARDATA_ANY(yaml), VARSIZE_ANY_EXHDR(yaml)));
}

/* Building the saved form. */
static void
push_key(JsonbParseState **state, const char *key)
{
	JsonbValue	value;

	value.type = jbvString;
	value.val.string.val = (char *) key;
	value.val.string.len = strlen(key);
	pushJsonbValue(state, WJB_KEY, &value);
}

static void
push_string(JsonbParseState **state, const char *key, const char *string)
{
	JsonbValue	value;

	if (string == NULL)
		return;
	push_key(state, key);
	value.type = jbvString;
	value.val.string.val = (char *) string;
	value.val.string.len = strlen(string);
	pushJsonbValue(state, WJB_VALUE, &value);
}

static void
push_int(JsonbParseState **state, const char *key, int number)
{
	JsonbValue	value;

	push_key(state, key);
	value.type = jbvNumeric;
	value.val.numeric = int64_to_numeric(number);
	pushJsonbValue(state, WJB_VALUE, &value);
}

static void
push_true(JsonbParseState **state, const char *key, bool flag)
{
	JsonbValue	value;

	if (!flag)
		return;
	push_key(state, key);
	value.type = jbvBool;
	value.val.boolean = true;
	pushJsonbValue(state, WJB_VALUE, &value);
}

static void
push_jsonb(JsonbParseState **state, const char *key, Jsonb *json)
{
	JsonbValue	value;

	if (json == NULL)
		return;
	push_key(state, key);
	if (JB_ROOT_IS_SCALAR(json))
		JsonbExtractScalar(&json->root, &value);
	else
	{
		value.type = jbvBinary;
		value.val.binary.data = &json->root;
		value.val.binary.len = VARSIZE(json) - VARHDRSZ;
	}
	pushJsonbValue(state, WJB_VALUE, &value);
}

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

static void
push_needs(JsonbParseState **state, const JflowExecutor *executor)
{
	JsonbValue	value;

	push_key(state, "needs");
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < executor->nneeds; i++)
	{
		value.type = jbvString;
		value.val.string.val = executor->needs[i];
		value.val.string.len = strlen(executor->needs[i]);
		pushJsonbValue(state, WJB_ELEM, &value);
	}
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

/* One executor; what has its default is left out, but for the needs. */
static void
push_executor(JsonbParseState **state, const JflowFlow *flow, const JflowExecutor *executor)
{
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	push_string(state, "name", executor->name);
	if (strcmp(executor->uses, "BaseExecutor") != 0)
		push_string(state, "uses", executor->uses);
	if (executor->class_owner && executor->class_owner[0] != '\0' &&
		strcmp(executor->class_owner, flow->owner) != 0)
		push_string(state, "class_owner", executor->class_owner);
	if (JB_ROOT_COUNT(executor->uses_with) > 0)
		push_jsonb(state, "uses_with", executor->uses_with);
	push_jsonb(state, "requests", executor->requests);
	push_needs(state, executor);
	if (executor->replicas != 1)
		push_int(state, "replicas", executor->replicas);
	if (executor->shards != 1)
		push_int(state, "shards", executor->shards);
	push_jsonb(state, "polling", executor->polling);
	push_string(state, "workspace", executor->workspace);
	push_jsonb(state, "when", executor->when);
	push_string(state, "uses_before", executor->uses_before);
	push_string(state, "uses_after", executor->uses_after);
	if (executor->timeout)
		push_string(state, "timeout", interval_text(executor->timeout));
	if (executor->retries >= 0)
		push_int(state, "retries", executor->retries);
	push_true(state, "floating", executor->floating);
	push_true(state, "disable_reduce", executor->disable_reduce);
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

static Jsonb *
save(const char *name)
{
	JflowFlow  *flow = jflow_flow_open(name, false);
	JsonbParseState *state = NULL;

	jflow_check_flow_owner(flow);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_string(&state, "jtype", "Flow");
	push_string(&state, "version", "1");
	push_string(&state, "name", flow->name);
	push_string(&state, "description", flow->description);
	push_key(&state, "executors");
	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < flow->nexecutors; i++)
		push_executor(&state, flow, &flow->executors[i]);
	pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	jflow_grants_save(flow, &state);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
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
