/*
 * rrf_options.c
 *		Options of RRFRanker, which parameters of a request override.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "common/json.h"
#include "compat.h"
#include "executors/rrf/rrf.h"

static const char *const option_names[] = {"k", "limit", "method", "weights", "window"};

/* Where a value stands, for messages: an option, or a parameter. */
typedef struct Source
{
	RrfOptions *options;
	const char *what;
} Source;

static void JFLOW_NORETURN
wrong_value(const Source *source, const char *name, const char *expected)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s \"%s\" must be %s", source->what, name, expected)));
}

static double
read_number(const Source *source, const char *name, const JsonbValue *value, const char *expected)
{
	double		number = -1;

	if (value->type == jbvNumeric)
		number = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
													NumericGetDatum(value->val.numeric)));
	if (!(number >= 0 && number <= 1e6))
		wrong_value(source, name, expected);
	return number;
}

static int
read_count(const Source *source, const char *name, const JsonbValue *value, int min)
{
	const char *expected = psprintf("an integer between %d and %d", min, RRF_MAX_MATCHES);
	double		number = read_number(source, name, value, expected);

	if (number < min || number != (int) number)
		wrong_value(source, name, expected);
	return (int) number;
}

static void
check_weight(void *arg, const char *key, JsonbValue *value)
{
	(void) read_number(arg, "weights", value, "a map from branches to numbers from 0 to 1000000");
}

static void
read_weights(const Source *source, const JsonbValue *value)
{
	if (!jflow_json_is_object(value))
		wrong_value(source, "weights", "a map from branches to numbers from 0 to 1000000");
	jflow_json_each(value->val.binary.data, check_weight, (void *) source);
	source->options->weights = value->val.binary.data;
}

static void
read_method(const Source *source, const JsonbValue *value)
{
	char	   *name = value->type == jbvString ? jflow_json_string(value) : "";

	if (strcmp(name, "rrf") == 0)
		source->options->method = RRF_RANKS;
	else if (strcmp(name, "weighted") == 0)
		source->options->method = RRF_WEIGHTED;
	else
		wrong_value(source, "method", "\"rrf\" or \"weighted\"");
}

/* One of option_names; null says nothing. */
static void
read_value(void *arg, const char *name, JsonbValue *value)
{
	const Source *source = arg;

	if (value->type == jbvNull)
		return;
	if (strcmp(name, "k") == 0)
		source->options->k = read_number(source, name, value, "a number from 0 to 1000000");
	else if (strcmp(name, "limit") == 0)
		source->options->limit = read_count(source, name, value, 0);
	else if (strcmp(name, "method") == 0)
		read_method(source, value);
	else if (strcmp(name, "weights") == 0)
		read_weights(source, value);
	else if (strcmp(name, "window") == 0)
		source->options->window = read_count(source, name, value, 1);
	else if (strcmp(name, "offset") == 0)
		source->options->offset = read_count(source, name, value, 0);
	else if (strcmp(name, "group_by") == 0)
		source->options->grouped = true;	/* the indexers check it */
}

static void
check_name(void *arg, const char *name, JsonbValue *value)
{
	const char *suggestion;

	for (int i = 0; i < lengthof(option_names); i++)
		if (strcmp(option_names[i], name) == 0)
			return;
	suggestion = jflow_suggest(name, option_names, lengthof(option_names));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown option \"%s\" of " RRF_CLASS, name),
			 suggestion ? errhint("Did you mean \"%s\"?", suggestion) : 0));
}

static void
set_defaults(RrfOptions *options)
{
	memset(options, 0, sizeof(*options));
	options->k = 60;
	options->window = 100;
	options->limit = 10;
}

/* For jflow_add: raises what is wrong with uses_with. */
void
rrf_options_check(Jsonb *uses_with)
{
	RrfOptions	options;
	Source		source = {&options, "option"};

	set_defaults(&options);
	jflow_json_each(&uses_with->root, check_name, NULL);
	jflow_json_each(&uses_with->root, read_value, &source);
}

/* Raise undefined_object for a weight of a branch that is none. */
static void
check_branch(void *arg, const char *key, JsonbValue *value)
{
	const JflowExecutor *executor = arg;
	const char *suggestion;

	for (int i = 0; i < executor->nneeds; i++)
		if (strcmp(executor->needs[i], key) == 0)
			return;
	suggestion = jflow_suggest(key, (const char *const *) executor->needs, executor->nneeds);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("executor \"%s\" has a weight for \"%s\", which it does not need", executor->name, key),
			 suggestion ? errhint("Did you mean \"%s\"?", suggestion) : 0));
}

/* For jflow_add: weights are of branches that there are. */
void
rrf_needs_check(JflowExecutor *executor)
{
	JsonbValue	buffer;
	JsonbValue *weights = jflow_json_get(executor->uses_with, "weights", &buffer);

	if (weights && jflow_json_is_object(weights) && executor->nneeds > 0)
		jflow_json_each(weights->val.binary.data, check_branch, executor);
}

/*
 * What an executor is to do for a request with these parameters; weights point into
 * one of them.  Raises invalid_parameter_value, or undefined_object.
 */
void
rrf_options_read(const JflowExecutor *executor, Jsonb *parameters, RrfOptions *options)
{
	Source		option = {options, "option"};
	Source		parameter = {options, "parameter"};

	set_defaults(options);
	jflow_json_each(&executor->uses_with->root, read_value, &option);
	jflow_json_each(&parameters->root, read_value, &parameter);
	if (options->weights)
		jflow_json_each(options->weights, check_branch, (void *) executor);
}

/* The weight of a branch: 1 if nobody says otherwise. */
double
rrf_weight(const RrfOptions *options, const char *branch)
{
	JsonbValue	buffer;
	JsonbValue *value = options->weights ?
		getKeyJsonValueFromContainer(options->weights, branch, strlen(branch), &buffer) : NULL;

	return value ? DatumGetFloat8(DirectFunctionCall1(numeric_float8, NumericGetDatum(value->val.numeric))) : 1;
}
