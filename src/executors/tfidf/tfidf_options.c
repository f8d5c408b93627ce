/*
 * tfidf_options.c
 *		Options of the TF-IDF vectorizer: uses_with, with scikit-learn's meanings.
 *
 * One difference lies in JSON: max_df and min_df are counts when written without
 * a decimal point and proportions when written with one (1 and 1.0), which
 * jsonb keeps.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "compat.h"
#include "executors/tfidf/stop_words.h"
#include "executors/tfidf/tfidf.h"

#define DEFAULT_TOKEN_PATTERN "(?u)\\b\\w\\w+\\b"
#define MAX_NGRAM 16

static const char *const option_names[] = {
	"binary", "dense", "fit", "lowercase", "max_df", "max_features", "min_df",
	"ngram_range", "norm", "smooth_idf", "stop_words", "sublinear_tf",
	"token_pattern", "use_idf", "vocabulary"
};

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
	result = numeric_int4_opt_error(value->val.numeric, &error);
	if (error || result < min || result > max)
		wrong_value(name, expected);
	return result;
}

static TfidfFrequency
read_frequency(const char *name, const JsonbValue *value)
{
	TfidfFrequency result;

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

static TfidfNorm
read_norm(const JsonbValue *value)
{
	if (value->type == jbvNull)
		return TFIDF_NORM_NONE;
	if (value->type == jbvString && value->val.string.len == 2)
	{
		if (memcmp(value->val.string.val, "l1", 2) == 0)
			return TFIDF_NORM_L1;
		if (memcmp(value->val.string.val, "l2", 2) == 0)
			return TFIDF_NORM_L2;
	}
	wrong_value("norm", "\"l1\", \"l2\" or null");
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
read_stop_words(TfidfOptions *options, const JsonbValue *value)
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
read_ngram_range(TfidfOptions *options, const JsonbValue *value)
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
read_vocabulary_map(TfidfOptions *options, JsonbContainer *object)
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
read_vocabulary(TfidfOptions *options, const JsonbValue *value)
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
read_token_pattern(const JsonbValue *value)
{
	if (value->type != jbvString || strcmp(string_value(value), DEFAULT_TOKEN_PATTERN) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("option \"token_pattern\" cannot be changed"),
				 errdetail("Words are runs of two or more word characters."),
				 errhint("Prepare the texts in an executor before this one.")));
}

static void
read_fit(TfidfOptions *options, const JsonbValue *value)
{
	if (value->type != jbvString || strcmp(string_value(value), "request") != 0)
		wrong_value("fit", "\"request\"");
	options->fit_request = true;
}

static void
read_option(TfidfOptions *options, const char *name, JsonbValue *value)
{
	const char *suggestion;

	if (strcmp(name, "binary") == 0)
		options->binary = read_bool(name, value);
	else if (strcmp(name, "dense") == 0)
		options->dense = read_bool(name, value);
	else if (strcmp(name, "fit") == 0)
		read_fit(options, value);
	else if (strcmp(name, "lowercase") == 0)
		options->lowercase = read_bool(name, value);
	else if (strcmp(name, "max_df") == 0)
		options->max_df = read_frequency(name, value);
	else if (strcmp(name, "min_df") == 0)
		options->min_df = read_frequency(name, value);
	else if (strcmp(name, "max_features") == 0)
		options->max_features = value->type == jbvNull ? 0 :
			read_int(name, value, 1, PG_INT32_MAX, "a positive integer or null");
	else if (strcmp(name, "ngram_range") == 0)
		read_ngram_range(options, value);
	else if (strcmp(name, "norm") == 0)
		options->norm = read_norm(value);
	else if (strcmp(name, "smooth_idf") == 0)
		options->smooth_idf = read_bool(name, value);
	else if (strcmp(name, "stop_words") == 0)
		read_stop_words(options, value);
	else if (strcmp(name, "sublinear_tf") == 0)
		options->sublinear_tf = read_bool(name, value);
	else if (strcmp(name, "token_pattern") == 0)
		read_token_pattern(value);
	else if (strcmp(name, "use_idf") == 0)
		options->use_idf = read_bool(name, value);
	else if (strcmp(name, "vocabulary") == 0)
		read_vocabulary(options, value);
	else
	{
		suggestion = jflow_suggest(name, option_names, lengthof(option_names));
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown option \"%s\" of TfidfVectorizer", name),
				 suggestion ? errhint("Did you mean \"%s\"?", suggestion) : 0));
	}
}

/*
 * Options from uses_with, in the current memory context.  Raises
 * invalid_parameter_value for what cannot be an option's value.
 */
TfidfOptions *
tfidf_options_read(Jsonb *uses_with)
{
	TfidfOptions *options = palloc0(sizeof(TfidfOptions));
	JsonbIterator *it = JsonbIteratorInit(&uses_with->root);
	JsonbIteratorToken token;
	JsonbValue	value;
	char	   *name = NULL;

	options->lowercase = true;
	options->ngram_min = options->ngram_max = 1;
	options->max_df.value = 1.0;
	options->min_df.value = 1;
	options->min_df.is_count = true;
	options->norm = TFIDF_NORM_L2;
	options->use_idf = true;
	options->smooth_idf = true;

	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = string_value(&value);
		else if (token == WJB_VALUE)
			read_option(options, name, &value);
	}
	return options;
}
