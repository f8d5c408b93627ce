/*
 * pqlite_options.c
 *		PQLiteIndexer: options in uses_with, and parameters of its endpoints.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/numeric.h"
#include "utils/varlena.h"

#include "compat.h"
#include "executors/pqlite/pqlite.h"

#define MAX_LIMIT 1000000
#define MAX_DENSE_DIM 16000		/* what pgvector's types hold */
#define MAX_SPARSE_DIM 1000000000

static const char *const option_names[] = {
	"dim", "metric", "field", "columns", "limit", "include", "table", "id",
	"text", "uri", "tags", "lists", "subvectors", "bits", "codebook",
	"on_missing", "writes", "index"
};

const char *const pqlite_on_missing_names[3] = {"error", "skip", "store"};
static const char *const metric_names[] = {"cosine", "l2", "ip"};

/* The name of a metric in options, a constant. */
const char *
pqlite_metric_name(PqliteMetric metric)
{
	return metric_names[metric];
}

static void JFLOW_NORETURN
wrong_value(const char *name, const char *expected)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("option \"%s\" must be %s", name, expected)));
}

static char *
string_value(const JsonbValue *value)
{
	return pnstrdup(value->val.string.val, value->val.string.len);
}

/* An integer of a range; false if the value is none. */
static bool
int_value(const JsonbValue *value, int min, int max, int *result)
{
	bool		error = false;
	int32		n;

	if (value->type != jbvNumeric)
		return false;
	n = numeric_int4_compat(value->val.numeric, &error);
	if (error || n < min || n > max ||
		!DatumGetBool(DirectFunctionCall2(numeric_eq, NumericGetDatum(value->val.numeric),
										  NumericGetDatum(int64_to_numeric(n)))))
		return false;
	*result = n;
	return true;
}

/* A name of a column, as it can be one. */
static char *
read_name(const char *name, const JsonbValue *value)
{
	char	   *string;

	if (value->type != jbvString)
		wrong_value(name, "a name");
	string = string_value(value);
	if (string[0] == '\0' || strlen(string) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("option \"%s\" must be a name of 1 to %d bytes", name, NAMEDATALEN - 1)));
	return string;
}

static PqliteMetric
read_metric(const JsonbValue *value)
{
	if (value->type == jbvString)
	{
		char	   *name = string_value(value);
		const char *suggestion;

		for (int i = 0; i < lengthof(metric_names); i++)
			if (pg_strcasecmp(name, metric_names[i]) == 0)
				return (PqliteMetric) i;
		/* other spellings */
		if (pg_strcasecmp(name, "euclidean") == 0)
			return PQLITE_L2;
		if (pg_strcasecmp(name, "inner_product") == 0)
			return PQLITE_IP;
		suggestion = jflow_suggest(name, metric_names, lengthof(metric_names));
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown metric \"%s\"", name),
				 suggestion ? errhint("Did you mean \"%s\"?", suggestion)
				 : errhint("The metrics are cosine, l2 and ip.")));
	}
	wrong_value("metric", "\"cosine\", \"l2\" or \"ip\"");
}

/* The number of a string among the names, or -1. */
static int
name_value(const JsonbValue *value, const char *const *names, int n)
{
	for (int i = 0; value->type == jbvString && i < n; i++)
		if (strlen(names[i]) == value->val.string.len &&
			memcmp(names[i], value->val.string.val, value->val.string.len) == 0)
			return i;
	return -1;
}

static PqliteOnMissing
read_on_missing(const JsonbValue *value)
{
	int			n = name_value(value, pqlite_on_missing_names, lengthof(pqlite_on_missing_names));

	if (n < 0)
		wrong_value("on_missing", "\"error\", \"skip\" or \"store\"");
	return (PqliteOnMissing) n;
}

static PqliteIndexKind
read_index(const JsonbValue *value)
{
	static const char *const names[] = {"none", "pq", "inverted"};
	int			n = name_value(value, names, lengthof(names));

	if (n < 0)
		wrong_value("index", "\"inverted\", \"pq\" or \"none\"");
	return (PqliteIndexKind) n;
}

/* What "writes" says; -1 if that is nothing known. */
static int
writes_value(const JsonbValue *value)
{
	static const char *const names[] = {"all", "embedding"};

	return name_value(value, names, lengthof(names));
}

#define COLUMNS_EXPECTED "a map from names to SQL types, or an array of such pairs"

/* A column of that name and type. */
static void
read_column(PqliteOptions *options, const JsonbValue *name, const JsonbValue *type)
{
	char	   *column = read_name("columns", name);

	if (type->type != jbvString)
		wrong_value("columns", COLUMNS_EXPECTED);
	if (options->table == NULL &&
		(jflow_doc_attr_by_name(column) >= 0 || strcmp(column, "shard") == 0))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_COLUMN),
				 errmsg("column name \"%s\" is taken", column),
				 errdetail("Attributes of documents are stored under their names.")));
	for (int i = 0; i < options->ncolumns; i++)
		if (strcmp(options->column_names[i], column) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("option \"columns\" has column \"%s\" twice", column)));
	options->column_names[options->ncolumns] = column;
	options->column_types[options->ncolumns++] = string_value(type);
}

/* A column as the array of its name and its type. */
static void
read_pair(PqliteOptions *options, const JsonbValue *pair)
{
	JsonbContainer *array;

	if (pair->type != jbvBinary || !JsonContainerIsArray(pair->val.binary.data) ||
		JsonContainerSize(pair->val.binary.data) != 2)
		wrong_value("columns", COLUMNS_EXPECTED);
	array = pair->val.binary.data;
	read_column(options, getIthJsonbValueFromContainer(array, 0),
				getIthJsonbValueFromContainer(array, 1));
}

static void
read_columns(PqliteOptions *options, const JsonbValue *value)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	v;
	JsonbValue	name = {0};
	int			n;

	if (value->type != jbvBinary)
		wrong_value("columns", COLUMNS_EXPECTED);
	n = JsonContainerSize(value->val.binary.data);
	if (n > PQLITE_MAX_COLUMNS)
		ereport(ERROR,
				(errcode(ERRCODE_TOO_MANY_COLUMNS),
				 errmsg("option \"columns\" must have at most %d columns, not %d",
						PQLITE_MAX_COLUMNS, n)));
	options->column_names = palloc(sizeof(char *) * Max(n, 1));
	options->column_types = palloc(sizeof(char *) * Max(n, 1));
	it = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = v;
		else if (token == WJB_VALUE)
			read_column(options, &name, &v);
		else if (token == WJB_ELEM)
			read_pair(options, &v);
	}
}

static void
read_include(PqliteOptions *options, const JsonbValue *value)
{
	static const char *const expected = "an array of \"text\", \"uri\" and \"tags\"";
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	v;

	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data))
		wrong_value("include", expected);
	options->include_text = options->include_uri = options->include_tags = false;
	it = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		char	   *name;

		if (token != WJB_ELEM)
			continue;
		if (v.type != jbvString)
			wrong_value("include", expected);
		name = string_value(&v);
		if (strcmp(name, "text") == 0)
			options->include_text = true;
		else if (strcmp(name, "uri") == 0)
			options->include_uri = true;
		else if (strcmp(name, "tags") == 0)
			options->include_tags = true;
		else
			wrong_value("include", expected);
	}
}

/* An option of the pq index, kept as SQL for its WITH clause. */
static void
read_index_option(PqliteOptions *options, const char *name, const JsonbValue *value)
{
	if (options->index_options == NULL)
		options->index_options = makeStringInfo();
	else
		appendStringInfoString(options->index_options, ", ");

	if (strcmp(name, "codebook") == 0)
	{
		if (value->type != jbvString)
			wrong_value(name, "a name");
		appendStringInfo(options->index_options, "codebook = %s",
						 quote_literal_cstr(string_value(value)));
		options->has_codebook = true;
	}
	else
	{
		int			n;

		if (!int_value(value, 0, PG_INT32_MAX, &n))
			wrong_value(name, "an integer that is not negative");
		appendStringInfo(options->index_options, "%s = %d", name, n);
	}
}

static void
read_option(PqliteOptions *options, const char *name, JsonbValue *value)
{
	const char *suggestion;

	if (strcmp(name, "dim") == 0)
	{
		if (!int_value(value, 1, MAX_SPARSE_DIM, &options->dim))
			wrong_value(name, "an integer between 1 and 1000000000");
	}
	else if (strcmp(name, "metric") == 0)
		options->metric = read_metric(value);
	else if (strcmp(name, "field") == 0)
		options->field = read_name(name, value);
	else if (strcmp(name, "columns") == 0)
		read_columns(options, value);
	else if (strcmp(name, "limit") == 0)
	{
		if (!int_value(value, 0, MAX_LIMIT, &options->limit))
			wrong_value(name, "an integer between 0 and 1000000");
	}
	else if (strcmp(name, "include") == 0)
		read_include(options, value);
	else if (strcmp(name, "table") == 0)
	{
		/* read first */
	}
	else if (strcmp(name, "on_missing") == 0)
		options->on_missing = read_on_missing(value);
	else if (strcmp(name, "index") == 0)
		options->index = read_index(value);
	else if (strcmp(name, "writes") == 0)
	{
		int			writes = writes_value(value);

		if (writes < 0)
			wrong_value(name, "\"all\" or \"embedding\"");
		options->writes = (PqliteWrites) writes;
	}
	else if (strcmp(name, "id") == 0)
		options->id = read_name(name, value);
	else if (strcmp(name, "text") == 0)
		options->text = read_name(name, value);
	else if (strcmp(name, "uri") == 0)
		options->uri = read_name(name, value);
	else if (strcmp(name, "tags") == 0)
		options->tags = read_name(name, value);
	else if (strcmp(name, "lists") == 0 || strcmp(name, "subvectors") == 0 ||
			 strcmp(name, "bits") == 0 || strcmp(name, "codebook") == 0)
		read_index_option(options, name, value);
	else
	{
		suggestion = jflow_suggest(name, option_names, lengthof(option_names));
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown option \"%s\" of PQLiteIndexer", name),
				 suggestion ? errhint("Did you mean \"%s\"?", suggestion) : 0));
	}
}

/* Is it known from the options that the field is the sparse one? */
bool
pqlite_options_sparse(const PqliteOptions *options)
{
	if (options->field)
		return strcmp(options->field, "sparse_embedding") == 0;
	return options->index == PQLITE_INVERTED;
}

/* An index of that kind must be able to hold what is stored. */
static void
check_index(const PqliteOptions *options)
{
	if (options->index == PQLITE_DEFAULT_INDEX)
		return;
	if (options->table)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"index\" does not go with \"table\""),
				 errdetail("The indexes of an existing table are yours."),
				 errhint("Make them with CREATE INDEX.")));
	if (options->index_options && options->index != PQLITE_PQ)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("options \"lists\", \"subvectors\", \"bits\" and \"codebook\" are of the index \"pq\"")));
	if (options->index == PQLITE_INVERTED &&
		(options->metric == PQLITE_L2 || !pqlite_options_sparse(options)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"index\" cannot be \"inverted\" for the field \"%s\" and the metric \"%s\"",
						options->field ? options->field : "sparse_embedding", metric_names[options->metric]),
				 errdetail("An inverted index holds a sparse_embedding under cosine or ip.")));
}

/* Options that contradict each other, or are missing. */
static void
check_together(const PqliteOptions *options)
{
	check_index(options);
	if (options->table)
	{
		if (options->id == NULL || options->field == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"%s\" is missing", options->id ? "field" : "id"),
					 errdetail("An existing table needs to know the columns of ids and embeddings.")));
		return;
	}
	if (options->id || options->uri || options->tags || options->text)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"table\" is missing"),
				 errdetail("Options \"id\", \"text\", \"uri\" and \"tags\" name columns of an existing table.")));
	if (options->writes != WRITES_ALL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"table\" is missing"),
				 errdetail("Option \"writes\" is about an existing table; a table of our own holds whole documents.")));
	if (options->field && strcmp(options->field, "embedding") != 0 &&
		strcmp(options->field, "sparse_embedding") != 0)
		wrong_value("field", "\"embedding\" or \"sparse_embedding\"");
	if (options->field && !pqlite_options_sparse(options) && options->dim > MAX_DENSE_DIM)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("option \"dim\" must be at most %d for the field \"embedding\", not %d",
						MAX_DENSE_DIM, options->dim)));
}

/*
 * Options from uses_with, in the current memory context.  Raises
 * invalid_parameter_value for what cannot be an option's value.
 */
PqliteOptions *
pqlite_options_read(Jsonb *uses_with)
{
	PqliteOptions *options = palloc0(sizeof(PqliteOptions));
	JsonbIterator *it = JsonbIteratorInit(&uses_with->root);
	JsonbIteratorToken token;
	JsonbValue	value;
	JsonbValue	buffer;
	JsonbValue *table = getKeyJsonValueFromContainer(&uses_with->root, "table", 5, &buffer);
	char	   *name = NULL;

	options->metric = PQLITE_COSINE;
	options->index = PQLITE_DEFAULT_INDEX;
	options->limit = PQLITE_DEFAULT_LIMIT;
	options->include_text = options->include_uri = options->include_tags = true;
	if (table)
	{
		if (table->type != jbvString || table->val.string.len == 0)
			wrong_value("table", "a table's name");
		options->table = string_value(table);
	}
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = string_value(&value);
		else if (token == WJB_VALUE)
			read_option(options, name, &value);
	}
	check_together(options);
	return options;
}

static JsonbValue *
parameter(Jsonb *parameters, const char *name, JsonbValue *buffer)
{
	JsonbValue *value = getKeyJsonValueFromContainer(&parameters->root, name, strlen(name), buffer);

	return value && value->type == jbvNull ? NULL : value;
}

static void JFLOW_NORETURN
wrong_parameter(const char *name, const char *expected)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("parameter \"%s\" must be %s", name, expected)));
}

/*
 * Parameters of a request, in the current memory context; the filter points
 * into them.  Raises invalid_parameter_value.
 */
void
pqlite_parameters_read(Jsonb *parameters, int default_limit, PqliteParameters *result)
{
	JsonbValue	buffer;
	JsonbValue *value;

	result->limit = default_limit;
	result->filter = NULL;
	result->probes = -1;
	result->recall = -1;
	result->queries = 0;
	result->writes = -1;
	result->offset = 0;
	result->max_distance = get_float8_infinity();

	value = parameter(parameters, "limit", &buffer);
	if (value && !int_value(value, 0, MAX_LIMIT, &result->limit))
		wrong_parameter("limit", "an integer between 0 and 1000000");
	value = parameter(parameters, "offset", &buffer);
	if (value && !int_value(value, 0, MAX_LIMIT, &result->offset))
		wrong_parameter("offset", "an integer between 0 and 1000000");
	value = parameter(parameters, "max_distance", &buffer);
	if (value && value->type != jbvNumeric)
		wrong_parameter("max_distance", "a number");
	if (value)
		result->max_distance = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
																  NumericGetDatum(value->val.numeric)));
	value = parameter(parameters, "probes", &buffer);
	if (value && !int_value(value, 0, PG_INT32_MAX, &result->probes))
		wrong_parameter("probes", "an integer that is not negative");
	value = parameter(parameters, "queries", &buffer);
	if (value && !int_value(value, 0, 10000, &result->queries))
		wrong_parameter("queries", "an integer between 0 and 10000");
	value = parameter(parameters, "writes", &buffer);
	if (value && (result->writes = writes_value(value)) < 0)
		wrong_parameter("writes", "\"all\" or \"embedding\"");
	value = parameter(parameters, "group_by", &buffer);
	result->grouped = value != NULL;
	if (value && (value->type != jbvString || strcmp(string_value(value), "parent_id") != 0))
		wrong_parameter("group_by", "\"parent_id\"");
	jflow_highlight_read(parameters, &result->highlight);
	value = parameter(parameters, "recall", &buffer);
	if (value)
	{
		if (value->type == jbvNumeric)
			result->recall = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
																NumericGetDatum(value->val.numeric)));
		if (result->recall <= 0 || result->recall > 1)
			wrong_parameter("recall", "a number above 0 and at most 1");
	}
	value = parameter(parameters, "filter", &buffer);
	if (value)
	{
		if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
			wrong_parameter("filter", "a JSON object");
		result->filter = jflow_filter_parse(JsonbValueToJsonb(value), "filter");
	}
}
