/*
 * config.c
 *		A whole flow in one document: jflow_load and its YAML form.
 *
 * The keys are those of a Jina Flow YAML.  A key that has a meaning only where
 * executors are processes of their own (ports, images, requirements) is
 * ignored, and one notice lists what was; a key that nobody knows is an error.
 * Errors tell in their context which executor they are about.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "common/json.h"
#include "compat.h"
#include "flow/config.h"
#include "flow/flow.h"
#include "flow/yaml.h"

PG_FUNCTION_INFO_V1(jflow_load);
PG_FUNCTION_INFO_V1(jflow_load_yaml);
PG_FUNCTION_INFO_V1(jflow_yaml);

static const char *const flow_keys[] = {
	"jtype", "version", "name", "description", "with", "metas", "executors", "deployments", "pods",
	"grants", "literals"
};

static const char *const executor_keys[] = {
	"name", "uses", "class_owner", "uses_with", "uses_metas", "uses_requests", "requests", "needs",
	"replicas", "shards", "polling", "workspace", "when", "uses_before", "uses_after",
	"timeout", "timeout_send", "retries", "floating", "disable_reduce", "no_reduce", "batch",
	"method", "with", "metas"
};

/* Keys of Jina that mean nothing inside a server. */
static const char *const ignored_keys[] = {
	"allow_concurrent", "asyncio", "compress", "compress_min_bytes", "compress_min_ratio",
	"compression", "cors", "daemon", "connection_list", "default_swagger_ui", "deployments_addresses", "disable_auto_volume",
	"docker_kwargs", "endpoints_configuration", "entrypoint", "env", "env_from_secret",
	"exit_on_exceptions", "expose_endpoints", "expose_graphql_endpoint", "external",
	"extra_search_paths", "force_update", "gateway", "gpus", "graph_conditions", "graph_description",
	"grpc_channel_options", "grpc_metadata", "grpc_server_options", "host", "host_in", "hosts",
	"https", "image_pull_secrets", "inspect", "install_requirements", "jcloud", "labels", "log_config",
	"metrics", "metrics_exporter_host", "metrics_exporter_port", "monitoring", "native",
	"no_crud_endpoints", "no_debug_endpoints", "noblock_on_start", "output_array_type",
	"peer_ports", "pod_role", "port", "port_expose", "port_in", "port_jinad", "port_monitoring",
	"prefer_platform", "prefetch", "protocol", "provider", "proxy", "pull_latest", "py_modules",
	"quiet", "quiet_error", "quiet_remote_logs", "raft_configuration", "reload", "replica_id", "resources",
	"results_in_order", "return_responses", "runtime_backend", "runtime_cls", "shard_id", "ssl_certfile",
	"ssl_keyfile", "stateful", "timeout_ctrl", "timeout_ready", "title", "tls", "tracing",
	"traces_exporter_host", "traces_exporter_port", "upload_files", "uses_after_address", "uses_before_address", "uses_dynamic_batching",
	"uvicorn_kwargs", "volumes", "warmup", "workspace_id"
};

/* What is being loaded. */
typedef struct Loader
{
	StringInfoData ignored;		/* keys that were ignored, for the notice */
	char	   *name;
	char	   *description;
	JsonbValue	executors;		/* jbvNull: none */
	const char *executors_key;	/* what they were called */
	JsonbValue	grants;			/* jbvNull: none */
	bool		literals;		/* what looks like a variable is none */

	/* given for the flow, hold for executors that say nothing */
	Jsonb	   *polling;
	char	   *workspace;
	Interval   *timeout;
} Loader;

static void JFLOW_NORETURN
wrong_value(const char *key, const char *expected)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("value of \"%s\" must be %s", key, expected)));
}

static char *
read_string(const char *key, const JsonbValue *value)
{
	if (value->type == jbvNull)
		return NULL;
	if (value->type != jbvString)
		wrong_value(key, "a string");
	return jflow_json_string(value);
}

static int
read_int(const char *key, const JsonbValue *value)
{
	bool		error = false;
	int			result;

	if (value->type != jbvNumeric)
		wrong_value(key, "an integer");
	result = numeric_int4_compat(value->val.numeric, &error);
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

/* A polling; Jina takes a map as a string of JSON, too. */
static Jsonb *
read_polling(JsonbValue *value)
{
	if (value->type == jbvString && value->val.string.len > 0 && value->val.string.val[0] == '{')
		return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(jflow_json_string(value))));
	return read_jsonb(value);
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
													 CStringGetDatum(jflow_json_string(value)),
													 ObjectIdGetDatum(InvalidOid),
													 Int32GetDatum(-1)));
	if (value->type != jbvNumeric)
		wrong_value(key, "an interval or a number");
	return interval_of_ms(key, unit_ms * DatumGetFloat8(DirectFunctionCall1(numeric_float8,
																			NumericGetDatum(value->val.numeric))));
}

/* Jina's timeout: milliseconds, of which -1 means none. */
static Interval *
read_timeout_send(const char *key, const JsonbValue *value)
{
	if (value->type == jbvNumeric &&
		DatumGetFloat8(DirectFunctionCall1(numeric_float8, NumericGetDatum(value->val.numeric))) == -1)
		return NULL;
	return read_interval(key, value, 1);
}

/*
 * A workspace is a schema here; of a path, the last component is taken unless all
 * is meant as it is.
 */
static char *
read_workspace(const Loader *loader, const char *key, const JsonbValue *value)
{
	char	   *workspace = read_string(key, value);
	char	   *name;
	size_t		len;

	if (workspace == NULL || loader->literals || strchr(workspace, '/') == NULL)
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
	suggestion = strcmp(key, "parallel") == 0 ? "replicas" : jflow_suggest(key, known, nknown);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown key \"%s\" of %s", key, what),
			 suggestion ? errhint("Did you mean \"%s\"?", suggestion) : 0));
}

static void
read_needs(JflowExecutor *executor, JsonbValue *value)
{
	if (value->type == jbvNull)
		return;
	if (value->type == jbvString)
	{
		executor->needs = palloc(sizeof(char *));
		executor->needs[executor->nneeds++] = jflow_json_string(value);
		return;
	}
	executor->needs = jflow_json_strings(value, &executor->nneeds);
	if (executor->needs == NULL)
		wrong_value("needs", "a name or an array of names");
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
		el->executor->workspace = read_workspace(el->loader, key, value);
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

static void load_executor_member(void *arg, const char *key, JsonbValue *value);

/* Members of "uses" where it is an executor's own document. */
static void
load_used_member(void *arg, const char *key, JsonbValue *value)
{
	static const char *const known[] = {
		"jtype", "with", "uses_with", "metas", "uses_metas", "requests", "uses_requests", "workspace"
	};
	ExecutorLoader *el = arg;

	if (strcmp(key, "jtype") == 0)
		el->executor->uses = read_string(key, value);
	else if (strcmp(key, "version") == 0 || strcmp(key, "name") == 0 || strcmp(key, "description") == 0)
		return;
	else
	{
		for (int i = 1; i < lengthof(known); i++)
		{
			if (strcmp(key, known[i]) == 0)
			{
				load_executor_member(arg, key, value);
				return;
			}
		}
		other_key(el->loader, key, "\"uses\"", known, lengthof(known));
	}
}

/* A class or function by name, or an executor's document. */
static void
load_uses(ExecutorLoader *el, JsonbValue *value)
{
	if (value->type == jbvNull)
		return;
	if (!jflow_json_is_object(value))
	{
		el->executor->uses = read_string("uses", value);
		return;
	}
	el->executor->uses = NULL;
	jflow_json_each(value->val.binary.data, load_used_member, el);
	if (el->executor->uses == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"uses\" has no \"jtype\""),
				 errdetail("It names the executor class.")));
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
		load_uses(el, value);
	else if (strcmp(key, "class_owner") == 0)
		executor->class_owner = read_string(key, value);
	else if (strcmp(key, "uses_with") == 0 || strcmp(key, "with") == 0)
		executor->uses_with = read_jsonb(value);
	else if (strcmp(key, "uses_metas") == 0 || strcmp(key, "metas") == 0)
	{
		if (jflow_json_is_object(value))
			jflow_json_each(value->val.binary.data, load_meta, el);
		else if (value->type != jbvNull)
			wrong_value(key, "an object");
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
		executor->polling = read_polling(value);
	else if (strcmp(key, "workspace") == 0)
		executor->workspace = read_workspace(el->loader, key, value);
	else if (strcmp(key, "when") == 0)
		executor->when = read_jsonb(value);
	else if (strcmp(key, "uses_before") == 0)
		executor->uses_before = read_string(key, value);
	else if (strcmp(key, "uses_after") == 0)
		executor->uses_after = read_string(key, value);
	else if (strcmp(key, "timeout") == 0)
		executor->timeout = read_interval(key, value, 1000);
	else if (strcmp(key, "timeout_send") == 0)
		executor->timeout = read_timeout_send(key, value);
	else if (strcmp(key, "retries") == 0)
		executor->retries = value->type == jbvNull ? -1 : Max(read_int(key, value), -1);
	else if (strcmp(key, "floating") == 0)
		executor->floating = read_bool(key, value);
	else if (strcmp(key, "disable_reduce") == 0 || strcmp(key, "no_reduce") == 0)
		executor->disable_reduce = read_bool(key, value);
	else if (strcmp(key, "batch") == 0)
		executor->batch = read_jsonb(value);
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
		loader->polling = read_polling(value);
	else if (strcmp(key, "workspace") == 0)
		loader->workspace = read_workspace(loader, key, value);
	else if (strcmp(key, "timeout") == 0)
		loader->timeout = read_interval(key, value, 1000);
	else if (strcmp(key, "timeout_send") == 0)
		loader->timeout = read_timeout_send(key, value);
	else
		other_key(loader, key, "a flow's arguments", known, lengthof(known));
}

static void
load_flow_member(void *arg, const char *key, JsonbValue *value)
{
	Loader	   *loader = arg;

	if (strcmp(key, "jtype") == 0 || strcmp(key, "version") == 0)
		return;
	else if (strcmp(key, "name") == 0)
		loader->name = read_string(key, value);
	else if (strcmp(key, "description") == 0)
		loader->description = read_string(key, value);
	else if (strcmp(key, "with") == 0 || strcmp(key, "metas") == 0)
	{
		if (jflow_json_is_object(value))
			jflow_json_each(value->val.binary.data, load_flow_argument, loader);
		else if (value->type != jbvNull)
			wrong_value(key, "an object");
	}
	else if (strcmp(key, "executors") == 0 || strcmp(key, "deployments") == 0 ||
			 strcmp(key, "pods") == 0)
	{
		if (value->type == jbvNull)
			return;
		if (!jflow_json_is_array(value))
			wrong_value(key, "an array of objects");
		if (loader->executors_key)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("keys \"%s\" and \"%s\" mean the same", loader->executors_key, key)));
		loader->executors = *value;
		loader->executors_key = pstrdup(key);
	}
	else if (strcmp(key, "literals") == 0)
		loader->literals = read_bool(key, value);
	else if (strcmp(key, "grants") == 0)
	{
		if (!jflow_json_is_object(value) && value->type != jbvNull)
			wrong_value(key, "an object of roles");
		loader->grants = *value;
	}
	else
		other_key(loader, key, "a flow", flow_keys, lengthof(flow_keys));
}

/* Is it "$NAME" or "${NAME}", or does it have "${{ ... }}" in it? */
static bool
is_variable(const char *string, int len)
{
	bool		braces;

	if (len < 2 || memchr(string, '$', len) == NULL)
		return false;
	for (int i = 0; i + 2 < len; i++)
		if (memcmp(string + i, "${{", 3) == 0)
			return true;
	braces = string[1] == '{' && string[len - 1] == '}';
	if (string[0] != '$' || len - 1 - 2 * braces < 1)
		return false;
	for (int i = 1 + braces; i < len - braces; i++)
		if (!(string[i] >= 'A' && string[i] <= 'Z') && string[i] != '_' &&
			!(string[i] >= '0' && string[i] <= '9' && i > 1 + braces))
			return false;
	return true;
}

/* The first string in a document that is meant to be replaced by a variable, or NULL. */
char *
jflow_find_variable(JsonbContainer *container)
{
	JsonbIterator *it = JsonbIteratorInit(container);
	JsonbIteratorToken token;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&it, &value, false)) != WJB_DONE)
	{
		CHECK_FOR_INTERRUPTS();
		if ((token == WJB_VALUE || token == WJB_ELEM) && value.type == jbvString &&
			is_variable(value.val.string.val, value.val.string.len))
			return jflow_json_string(&value);
	}
	return NULL;
}

static void JFLOW_NORETURN
variable_error(const char *variable, const char *executor)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 executor ? errmsg("executor \"%s\" has the variable \"%s\"", executor, variable) :
			 errmsg("the flow has the variable \"%s\"", variable),
			 errdetail("Variables are not replaced in the server."),
			 errhint("Put their values in, or say \"literals: true\" if the text is meant as it is.")));
}

/* Raise feature_not_supported for a variable: a server has no environment of the caller's. */
static void
check_variables(const Loader *loader, JsonbContainer *container, const char *executor)
{
	char	   *variable = loader->literals ? NULL : jflow_find_variable(container);

	if (variable)
		variable_error(variable, executor);
}

/* The same for what the document says of the flow itself. */
static void
check_flow_variables(const Loader *loader, Jsonb *config)
{
	JsonbIterator *it = JsonbIteratorInit(&config->root);
	JsonbIteratorToken token;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token != WJB_VALUE)
			continue;
		if (jflow_json_is_object(&value))
			check_variables(loader, value.val.binary.data, NULL);
		else if (value.type == jbvString && !loader->literals &&
				 is_variable(value.val.string.val, value.val.string.len))
			variable_error(jflow_json_string(&value), NULL);
	}
}

/* Adds a line that says which executor of the document an error is about. */
static void
executor_error_context(void *arg)
{
	errcontext("executor \"%s\" of the document", (const char *) arg);
}

/* One executor of the document, "n" from 0. */
static void
load_executor(Loader *loader, JsonbValue *value, int n)
{
	JflowExecutor executor;
	ExecutorLoader el = {loader, &executor};
	ErrorContextCallback callback;
	JsonbValue	buffer;
	JsonbValue *name = getKeyJsonValueFromContainer(value->val.binary.data, "name", 4, &buffer);

	jflow_executor_init(&executor, name && name->type == jbvString ?
						jflow_json_string(name) : psprintf("executor%d", n));
	callback.callback = executor_error_context;
	callback.arg = pstrdup(executor.name);
	callback.previous = error_context_stack;
	error_context_stack = &callback;

	check_variables(loader, value->val.binary.data, executor.name);
	executor.polling = loader->polling;
	executor.workspace = loader->workspace;
	executor.timeout = loader->timeout;
	jflow_json_each(value->val.binary.data, load_executor_member, &el);
	jflow_executor_add(loader->name, &executor);
	error_context_stack = callback.previous;
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
		if (token != WJB_ELEM)
			continue;
		if (!jflow_json_is_object(&element))
			wrong_value(loader->executors_key, "an array of objects");
		load_executor(loader, &element, n++);
	}
}

/* Raise an error for a document of another kind, before what it has is taken for a flow's. */
static void
check_kind(Jsonb *config)
{
	JsonbValue	buffer;
	JsonbValue *jtype = getKeyJsonValueFromContainer(&config->root, "jtype", 5, &buffer);

	if (jtype == NULL || (jtype->type == jbvString && strcmp(jflow_json_string(jtype), "Flow") == 0))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("value of \"jtype\" must be \"Flow\""),
			 errhint("What is no flow can be an executor of one: list it under \"executors\".")));
}

static Datum
load(Jsonb *config)
{
	Loader		loader = {0};

	if (!JB_ROOT_IS_OBJECT(config))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a flow must be an object")));
	check_kind(config);
	initStringInfo(&loader.ignored);
	loader.executors.type = loader.grants.type = jbvNull;
	jflow_json_each(&config->root, load_flow_member, &loader);
	if (loader.name == NULL)
		loader.name = pstrdup("flow");
	check_flow_variables(&loader, config);

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
