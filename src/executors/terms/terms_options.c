/*
 * terms_options.c
 *		Options of the vectorizers: uses_with.  Those about terms, and all of
 *		TfidfVectorizer's, have scikit-learn's meanings.
 *
 * One difference lies in JSON: max_df and min_df are counts when written without
 * a decimal point and proportions when written with one (1 and 1.0), which
 * jsonb keeps.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_ts_config.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#include "sparsevec.h"

#include "common/json.h"
#include "compat.h"
#include "executors/terms/stop_words.h"
#include "executors/terms/terms.h"

#define DEFAULT_TOKEN_PATTERN "(?u)\\b\\w\\w+\\b"
#define MAX_NGRAM 16

#define WITH_TFIDF (1 << TERM_TFIDF)
#define WITH_BM25 (1 << TERM_BM25)
#define WITH_BOTH (WITH_TFIDF | WITH_BM25)

typedef void (*OptionReader) (TermOptions *options, const char *name, const JsonbValue *value);

typedef struct OptionName
{
	const char *name;
	int			with;			/* which vectorizers have it */
	bool		cuts;			/* it says how our own words are cut */
	OptionReader read;
} OptionName;

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

static bool
read_bool(const char *name, const JsonbValue *value)
{
	if (value->type != jbvBool)
		wrong_value(name, "a boolean");
	return value->val.boolean;
}

static bool
is_integer(const JsonbValue *value)
{
	return value->type == jbvNumeric &&
		DatumGetInt32(DirectFunctionCall1(numeric_scale,
										  NumericGetDatum(value->val.numeric))) == 0;
}

static int
read_int(const char *name, const JsonbValue *value, int min, int max, const char *expected)
{
	bool		error = false;
	int			result;

	if (!is_integer(value))
		wrong_value(name, expected);
	result = numeric_int4_compat(value->val.numeric, &error);
	if (error || result < min || result > max)
		wrong_value(name, expected);
	return result;
}

static TermFrequency
read_frequency(const char *name, const JsonbValue *value)
{
	TermFrequency result;

	if (value->type != jbvNumeric)
		wrong_value(name, "a count, or a proportion from 0.0 to 1.0");
	result.is_count = is_integer(value);
	result.value = DatumGetFloat8(DirectFunctionCall1(numeric_float8,
													  NumericGetDatum(value->val.numeric)));
	if (result.value < 0 || (!result.is_count && result.value > 1))
		wrong_value(name, "a count, or a proportion from 0.0 to 1.0");
	if (result.is_count && result.value < 1)
		wrong_value(name, "at least 1 if it is a count, or a proportion from 0.0 to 1.0");
	return result;
}

static void
read_norm(TermOptions *options, const char *name, const JsonbValue *value)
{
	if (value->type == jbvNull)
		options->norm = TERM_NORM_NONE;
	else if (value->type == jbvString && strcmp(string_value(value), "l1") == 0)
		options->norm = TERM_NORM_L1;
	else if (value->type == jbvString && strcmp(string_value(value), "l2") == 0)
		options->norm = TERM_NORM_L2;
	else
		wrong_value(name, "\"l1\", \"l2\" or null");
}

/* A string of the database's encoding, added to a table in UTF-8. */
static void
add_string(TermTable *table, const char *option, const char *string, int len)
{
	Size		utf8_len = len;
	const char *utf8 = jflow_to_utf8(string, &utf8_len);
	bool		found;

	(void) term_table_add(table, utf8, utf8_len, term_hash(utf8, utf8_len), &found);
	if (found && strcmp(option, "vocabulary") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"vocabulary\" has the term \"%s\" twice",
						pnstrdup(string, len))));
}

static bool
is_array(const JsonbValue *value)
{
	return value->type == jbvBinary && JsonContainerIsArray(value->val.binary.data);
}

static void
read_strings(TermTable *table, const char *name, const JsonbValue *value, const char *expected)
{
	JsonbIterator *it = JsonbIteratorInit(value->val.binary.data);
	JsonbIteratorToken token;
	JsonbValue	element;

	term_table_init(table, JsonContainerSize(value->val.binary.data));
	while ((token = JsonbIteratorNext(&it, &element, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM)
			continue;
		if (element.type != jbvString)
			wrong_value(name, expected);
		add_string(table, name, element.val.string.val, element.val.string.len);
	}
}

static void
read_stop_words(TermOptions *options, const char *name, const JsonbValue *value)
{
	static const char *const expected = "\"english\", an array of words, or null";

	if (value->type == jbvNull)
		return;
	if (is_array(value))
		read_strings(&options->stop_words, "stop_words", value, expected);
	else if (value->type == jbvString && strcmp(string_value(value), "english") == 0)
	{
		term_table_init(&options->stop_words, lengthof(english_stop_words));
		for (int i = 0; i < lengthof(english_stop_words); i++)
			add_string(&options->stop_words, "stop_words", english_stop_words[i],
					   strlen(english_stop_words[i]));
	}
	else
		wrong_value("stop_words", expected);
	options->has_stop_words = options->stop_words.nterms > 0;
}

static void
read_ngram_range(TermOptions *options, const char *name, const JsonbValue *value)
{
	static const char *const expected = "an array [min, max] of integers, 1 to 16";
	JsonbValue *min,
			   *max;

	if (!is_array(value) || JsonContainerSize(value->val.binary.data) != 2)
		wrong_value("ngram_range", expected);
	min = getIthJsonbValueFromContainer(value->val.binary.data, 0);
	max = getIthJsonbValueFromContainer(value->val.binary.data, 1);
	options->ngram_min = read_int("ngram_range", min, 1, MAX_NGRAM, expected);
	options->ngram_max = read_int("ngram_range", max, options->ngram_min, MAX_NGRAM, expected);
}

/* A vocabulary that maps terms to indexes: they must be 0 to n - 1. */
static void
read_vocabulary_map(TermOptions *options, JsonbContainer *object)
{
	static const char *const expected = "an array of terms, or a map from terms to indexes";
	int			n = JsonContainerSize(object);
	JsonbValue *terms = palloc0(sizeof(JsonbValue) * Max(n, 1));
	JsonbIterator *it = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue	value,
				key = {0};

	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			key = value;
		else if (token == WJB_VALUE)
		{
			int			index = read_int("vocabulary", &value, 0, n - 1,
										 "a map from n terms to the indexes 0 to n - 1");

			if (terms[index].val.string.val)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("option \"vocabulary\" has the index %d twice", index)));
			terms[index] = key;
		}
	}
	term_table_init(&options->vocabulary, n);
	for (int i = 0; i < n; i++)
	{
		if (terms[i].val.string.val == NULL)
			wrong_value("vocabulary", expected);
		add_string(&options->vocabulary, "vocabulary", terms[i].val.string.val,
				   terms[i].val.string.len);
	}
}

static void
read_vocabulary(TermOptions *options, const char *name, const JsonbValue *value)
{
	static const char *const expected = "an array of terms, or a map from terms to indexes";

	if (value->type == jbvNull)
		return;
	if (is_array(value))
		read_strings(&options->vocabulary, "vocabulary", value, expected);
	else if (value->type == jbvBinary)
		read_vocabulary_map(options, value->val.binary.data);
	else
		wrong_value("vocabulary", expected);
	if (options->vocabulary.nterms == 0)
		wrong_value("vocabulary", "not empty");
	options->has_vocabulary = true;
}

static void
read_token_pattern(TermOptions *options, const char *name, const JsonbValue *value)
{
	if (value->type != jbvString || strcmp(string_value(value), DEFAULT_TOKEN_PATTERN) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("option \"token_pattern\" cannot be changed"),
				 errdetail("Words are runs of two or more word characters."),
				 errhint("Prepare the texts in an executor before this one.")));
}

static void
read_fit(TermOptions *options, const char *name, const JsonbValue *value)
{
	if (value->type != jbvString || strcmp(string_value(value), "request") != 0)
		wrong_value("fit", "\"request\"");
	options->fit_request = true;
}

/* A number of BM25's formula. */
static double
read_number(const char *name, const JsonbValue *value, double max, const char *expected)
{
	double		result;

	if (value->type != jbvNumeric)
		wrong_value(name, expected);
	result = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
												NumericGetDatum(value->val.numeric)));
	if (!(result >= 0 && result <= max))
		wrong_value(name, expected);
	return result;
}

static void
read_k1(TermOptions *options, const char *name, const JsonbValue *value)
{
	options->k1 = read_number(name, value, 1000, "a number from 0 to 1000");
}

static void
read_b(TermOptions *options, const char *name, const JsonbValue *value)
{
	options->b = read_number(name, value, 1, "a number from 0 to 1");
}

static void
read_dim(TermOptions *options, const char *name, const JsonbValue *value)
{
	options->dim = read_int(name, value, 1, SPARSEVEC_MAX_DIM, "an integer between 1 and 1000000000");
}

static void
read_text_search(TermOptions *options, const char *name, const JsonbValue *value)
{
	if (value->type == jbvNull)
		return;
	if (value->type != jbvString)
		wrong_value(name, "the name of a text search configuration, or null");
	options->text_search = get_ts_config_oid(stringToQualifiedNameListCompat(string_value(value)), false);
}

static void
read_max_features(TermOptions *options, const char *name, const JsonbValue *value)
{
	options->max_features = value->type == jbvNull ? 0 :
		read_int(name, value, 1, PG_INT32_MAX, "a positive integer or null");
}

#define BOOL_READER(field) \
static void \
read_##field(TermOptions *options, const char *name, const JsonbValue *value) \
{ \
	options->field = read_bool(name, value); \
}

BOOL_READER(binary)
BOOL_READER(dense)
BOOL_READER(lowercase)
BOOL_READER(smooth_idf)
BOOL_READER(sublinear_tf)
BOOL_READER(use_idf)

static void
read_max_df(TermOptions *options, const char *name, const JsonbValue *value)
{
	options->max_df = read_frequency(name, value);
}

static void
read_min_df(TermOptions *options, const char *name, const JsonbValue *value)
{
	options->min_df = read_frequency(name, value);
}

static const OptionName option_names[] = {
	{"b", WITH_BM25, false, read_b},
	{"binary", WITH_TFIDF, false, read_binary},
	{"dense", WITH_TFIDF, false, read_dense},
	{"dim", WITH_BM25, false, read_dim},
	{"fit", WITH_TFIDF, false, read_fit},
	{"k1", WITH_BM25, false, read_k1},
	{"lowercase", WITH_BOTH, true, read_lowercase},
	{"max_df", WITH_BOTH, false, read_max_df},
	{"max_features", WITH_BOTH, false, read_max_features},
	{"min_df", WITH_BOTH, false, read_min_df},
	{"ngram_range", WITH_BOTH, false, read_ngram_range},
	{"norm", WITH_TFIDF, false, read_norm},
	{"smooth_idf", WITH_TFIDF, false, read_smooth_idf},
	{"stop_words", WITH_BOTH, true, read_stop_words},
	{"sublinear_tf", WITH_TFIDF, false, read_sublinear_tf},
	{"text_search", WITH_BOTH, false, read_text_search},
	{"token_pattern", WITH_BOTH, true, read_token_pattern},
	{"use_idf", WITH_TFIDF, false, read_use_idf},
	{"vocabulary", WITH_BOTH, false, read_vocabulary}
};

static void JFLOW_NORETURN
unknown_option(const char *name, TermWeighting weighting)
{
	const char *known[lengthof(option_names)];
	int			nknown = 0;
	const char *suggestion;

	for (int i = 0; i < lengthof(option_names); i++)
		if (option_names[i].with & (1 << weighting))
			known[nknown++] = option_names[i].name;
	suggestion = jflow_suggest(name, known, nknown);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown option \"%s\" of %s", name,
					weighting == TERM_TFIDF ? TFIDF_CLASS : BM25_CLASS),
			 suggestion ? errhint("Did you mean \"%s\"?", suggestion) : 0));
}

/* Read an option; the name of one that says how words are cut is returned, else NULL. */
static const char *
read_option(TermOptions *options, const char *name, const JsonbValue *value)
{
	for (int i = 0; i < lengthof(option_names); i++)
		if (strcmp(option_names[i].name, name) == 0 &&
			(option_names[i].with & (1 << options->weighting)))
		{
			option_names[i].read(options, name, value);
			return option_names[i].cuts ? option_names[i].name : NULL;
		}
	unknown_option(name, options->weighting);
}

/*
 * Options from uses_with, in the current memory context.  Raises
 * invalid_parameter_value for what cannot be an option's value, and
 * undefined_object for a text search configuration that is not there.
 */
TermOptions *
term_options_read(Jsonb *uses_with, TermWeighting weighting)
{
	TermOptions *options = palloc0(sizeof(TermOptions));
	JsonbIterator *it = JsonbIteratorInit(&uses_with->root);
	JsonbIteratorToken token;
	JsonbValue	value;
	char	   *name = NULL;
	const char *cuts = NULL;

	options->weighting = weighting;
	options->lowercase = true;
	options->ngram_min = options->ngram_max = 1;
	options->max_df.value = 1.0;
	options->min_df.value = 1;
	options->min_df.is_count = true;
	options->norm = TERM_NORM_L2;
	options->use_idf = true;
	options->smooth_idf = true;
	options->k1 = 1.2;
	options->b = 0.75;
	options->dim = SPARSEVEC_MAX_DIM;

	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = string_value(&value);
		else if (token == WJB_VALUE)
		{
			const char *cut = read_option(options, name, &value);

			cuts = cut ? cut : cuts;
		}
	}
	if (cuts && OidIsValid(options->text_search))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" does not go with \"text_search\"", cuts),
				 errdetail("The text search configuration decides what words are and which are left out.")));
	return options;
}

/* Is it an executor that learns terms? */
bool
term_is_vectorizer(const JflowExecutor *executor)
{
	return jflow_executor_is(executor, TFIDF_CLASS) || jflow_executor_is(executor, BM25_CLASS);
}

/* The options of an executor that is one. */
TermOptions *
term_options_of(const JflowExecutor *executor)
{
	return term_options_read(executor->uses_with,
							 jflow_executor_is(executor, BM25_CLASS) ? TERM_BM25 : TERM_TFIDF);
}

/* The text search configuration of an executor by its qualified name, or NULL. */
char *
term_text_search(const JflowExecutor *executor)
{
	JsonbValue	buffer;
	JsonbValue *value = jflow_json_get(executor->uses_with, "text_search", &buffer);

	return value && value->type == jbvString ? string_value(value) : NULL;
}

static char *
qualified_config(Oid config)
{
	HeapTuple	tuple = SearchSysCache1(TSCONFIGOID, ObjectIdGetDatum(config));
	Form_pg_ts_config form;
	char	   *name;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("text search configuration with OID %u was dropped meanwhile", config)));
	form = (Form_pg_ts_config) GETSTRUCT(tuple);
	name = quote_qualified_identifier(get_namespace_name(form->cfgnamespace), NameStr(form->cfgname));
	ReleaseSysCache(tuple);
	return name;
}

/*
 * Keep a text search configuration by its qualified name: it means the same then
 * to whoever fits, indexes and searches.
 */
void
term_qualify_text_search(JflowExecutor *executor)
{
	const TermOptions *options = term_options_of(executor);
	JsonbInState state = {0};

	if (!OidIsValid(options->text_search))
		return;
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	jflow_json_push_string(&state, "text_search", qualified_config(options->text_search));
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	executor->uses_with =
		DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(executor->uses_with),
										   JsonbPGetDatum(JsonbValueToJsonb(state.result))));
}
