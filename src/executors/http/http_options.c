/*
 * http_options.c
 *		Options of an HttpExecutor: uses_with.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "common/json.h"
#include "compat.h"
#include "executors/http/http.h"
#include "vector.h"

static const char *const option_names[] = {
	"batch", "batch_bytes", "cache", "concurrency", "connect_timeout", "dimensions", "encoding",
	"input", "input_type", "model", "on_missing", "prefix", "retries", "server", "skip_embedded",
	"task", "timeout"
};

static void JFLOW_NORETURN
wrong_value(const char *name, const char *expected)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("option \"%s\" must be %s", name, expected)));
}

static int
read_int(const char *name, const JsonbValue *value, int min, int max)
{
	bool		error = value->type != jbvNumeric;
	int			result = error ? 0 : numeric_int4_compat(value->val.numeric, &error);

	if (error || result < min || result > max)
		wrong_value(name, psprintf("a number from %d to %d", min, max));
	return result;
}

static bool
read_bool(const char *name, const JsonbValue *value)
{
	if (value->type != jbvBool)
		wrong_value(name, "a boolean");
	return value->val.boolean;
}

static char *
read_string(const char *name, const JsonbValue *value)
{
	if (value->type != jbvString || value->val.string.len == 0)
		wrong_value(name, "a string");
	return jflow_json_string(value);
}

/* One of the words up to a NULL; returns its number. */
static int
read_word(const char *name, const JsonbValue *value, const char *const *words)
{
	StringInfoData expected;

	for (int i = 0; value->type == jbvString && words[i]; i++)
		if (strcmp(jflow_json_string(value), words[i]) == 0)
			return i;
	initStringInfo(&expected);
	for (int i = 0; words[i]; i++)
		appendStringInfo(&expected, "%s\"%s\"", i == 0 ? "" : words[i + 1] ? ", " : " or ", words[i]);
	wrong_value(name, expected.data);
}

/* A time: seconds, or an interval; as milliseconds. */
static int
read_time(const char *name, const JsonbValue *value)
{
	static const char *const expected = "a number of seconds or an interval, from 1 ms to 1 day";
	double		ms = -1;

	if (value->type == jbvNumeric)
		ms = DatumGetFloat8(DirectFunctionCall1(numeric_float8,
												NumericGetDatum(value->val.numeric))) * 1000;
	else if (value->type == jbvString)
		ms = jflow_interval_ms(DatumGetIntervalP(DirectFunctionCall3(interval_in,
																	 CStringGetDatum(jflow_json_string(value)),
																	 ObjectIdGetDatum(InvalidOid),
																	 Int32GetDatum(-1))));
	if (!(ms >= 1 && ms <= 24 * 60 * 60 * 1000))
		wrong_value(name, expected);
	return (int) ms;
}

static void
check_strings(void *arg, const char *key, JsonbValue *value)
{
	if (value->type != jbvString)
		wrong_value(arg, "a string, or a map from endpoints to strings");
}

/* A string for all endpoints, or a map from endpoints to strings. */
static Jsonb *
read_map(const char *name, JsonbValue *value)
{
	if (value->type != jbvString && !jflow_json_is_object(value))
		wrong_value(name, "a string, or a map from endpoints to strings");
	if (value->type != jbvString)
		jflow_json_each(value->val.binary.data, check_strings, unconstify(char *, name));
	return JsonbValueToJsonb(value);
}

/* The string of a map for an endpoint, or of all; NULL: there is none. */
const char *
http_by_endpoint(Jsonb *map, const char *endpoint)
{
	JsonbValue	buffer;
	JsonbValue *value;

	if (map == NULL)
		return NULL;
	if (JB_ROOT_IS_SCALAR(map))
	{
		JsonbExtractScalar(&map->root, &buffer);
		return jflow_json_string(&buffer);
	}
	value = jflow_json_get(map, endpoint, &buffer);
	if (value == NULL)
		value = jflow_json_get(map, "*", &buffer);
	return value ? jflow_json_string(value) : NULL;
}

static void
read_input(HttpOptions *options, const JsonbValue *value)
{
	char	   *input = read_string("input", value);

	if (strncmp(input, "tags.", 5) == 0 && input[5] != '\0')
	{
		options->input = DOC_TAGS;
		options->input_tag = input + 5;
	}
	else if (strcmp(input, "text") == 0)
		options->input = DOC_TEXT;
	else if (strcmp(input, "uri") == 0)
		options->input = DOC_URI;
	else
		wrong_value("input", "\"text\", \"uri\" or \"tags.NAME\"");
}

static void
read_option(void *arg, const char *name, JsonbValue *value)
{
	static const char *const tasks[] = {"embed", "rerank", "generate", NULL};
	static const char *const missing[] = {"error", "skip", "store", NULL};
	static const char *const encodings[] = {"float", "base64", NULL};
	HttpOptions *options = arg;
	const char *suggestion;

	if (strcmp(name, "batch") == 0)
		options->batch = read_int(name, value, 1, 10000);
	else if (strcmp(name, "batch_bytes") == 0)
		options->batch_bytes = read_int(name, value, 1, 64 * 1024 * 1024);
	else if (strcmp(name, "cache") == 0)
		options->cache = read_int(name, value, 0, 10000000);
	else if (strcmp(name, "concurrency") == 0)
		options->concurrency = read_int(name, value, 1, 64);
	else if (strcmp(name, "connect_timeout") == 0)
		options->connect_timeout_ms = read_time(name, value);
	else if (strcmp(name, "dimensions") == 0)
		options->dimensions = read_int(name, value, 1, VECTOR_MAX_DIM);
	else if (strcmp(name, "encoding") == 0)
		options->base64 = read_word(name, value, encodings) == 1;
	else if (strcmp(name, "input") == 0)
		read_input(options, value);
	else if (strcmp(name, "input_type") == 0)
		options->input_type = read_map(name, value);
	else if (strcmp(name, "model") == 0)
		options->model = read_string(name, value);
	else if (strcmp(name, "on_missing") == 0)
		options->missing_is_error = read_word(name, value, missing) == 0;
	else if (strcmp(name, "prefix") == 0)
		options->prefix = read_map(name, value);
	else if (strcmp(name, "retries") == 0)
		options->retries = read_int(name, value, 0, 100);
	else if (strcmp(name, "server") == 0)
		options->server = read_string(name, value);
	else if (strcmp(name, "skip_embedded") == 0)
		options->skip_embedded = read_bool(name, value);
	else if (strcmp(name, "task") == 0)
		options->task = read_word(name, value, tasks);
	else if (strcmp(name, "timeout") == 0)
		options->timeout_ms = read_time(name, value);
	else
	{
		suggestion = jflow_suggest(name, option_names, lengthof(option_names));
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown option \"%s\" of HttpExecutor", name),
				 suggestion ? errhint("Did you mean \"%s\"?", suggestion) :
				 strstr(name, "key") ? errhint("A key is an option of a user mapping.") :
				 strcmp(name, "url") == 0 ? errhint("The address is an option of a foreign server.") : 0));
	}
}

/*
 * Options from uses_with, in the current memory context.  Raises
 * invalid_parameter_value for what cannot be an option's value.
 */
HttpOptions *
http_options_read(Jsonb *uses_with)
{
	HttpOptions *options = palloc0(sizeof(HttpOptions));

	options->input = DOC_TEXT;
	options->batch = 64;
	options->batch_bytes = 1024 * 1024;
	options->concurrency = 4;
	options->timeout_ms = 60 * 1000;
	options->connect_timeout_ms = 10 * 1000;
	options->retries = 5;
	options->skip_embedded = true;
	jflow_json_each(&uses_with->root, read_option, options);
	if (options->server == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"server\" of HttpExecutor is missing"),
				 errhint("Name a server that was made with CREATE SERVER for the FOREIGN DATA WRAPPER jflow_http.")));
	return options;
}
