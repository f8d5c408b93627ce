/*
 * bm25.c
 *		The BM25 vectorizer: the inner product of a query's vector and a document's
 *		is the document's score.
 *
 * The score of a document for a query is the sum, over the query's terms t with
 * their repetitions, of
 *
 *		idf(t) * tf * (k1 + 1) / (tf + k1 * (1 - b + b * length / mean length))
 *
 * where tf says how often t occurs in the document, length is the document's in
 * terms, and idf(t) = ln(1 + (n - df + 0.5) / (df + 0.5)) for n documents of which
 * df have t.  A document's vector has what follows idf(t), a query's has idf(t)
 * times the repetitions of t.
 *
 * Source: S. Robertson, H. Zaragoza, "The Probabilistic Relevance Framework: BM25
 * and Beyond", Foundations and Trends in Information Retrieval 3(4), 2009.  The 1
 * in the logarithm, which keeps the idf of terms that more than half of the
 * documents have above zero, is Lucene's.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "common/json.h"
#include "compat.h"
#include "executors/terms/terms.h"

PG_FUNCTION_INFO_V1(jflow_bm25_transform);
PG_FUNCTION_INFO_V1(jflow_bm25_status);

static double
mean_length(const TermModel *model)
{
	return model->ndocs > 0 ? (double) model->length / model->ndocs : 0;
}

static void
weigh_document(TermCounts *counts, const TermOptions *options)
{
	double		mean = mean_length(counts->model);
	double		relative = mean > 0 ? counts->length / mean : 1;
	double		saturation = options->k1 * (1 - options->b + options->b * relative);

	for (uint32 i = 0; i < counts->nterms; i++)
	{
		double		tf = counts->frequencies[i];

		counts->weights[i] = tf * (options->k1 + 1) / (tf + saturation);
	}
}

static void
weigh_query(TermCounts *counts)
{
	for (uint32 i = 0; i < counts->nterms; i++)
		counts->weights[i] = counts->model->idf[counts->terms[i]] * counts->frequencies[i];
}

/*
 * Are the texts documents, or queries?  The endpoint says so, where the parameter
 * "as" does not.
 */
static bool
are_documents(const char *endpoint, Jsonb *parameters)
{
	JsonbValue	buffer;
	JsonbValue *value = jflow_json_get(parameters, "as", &buffer);

	if (value == NULL || value->type == jbvNull)
		return strcmp(endpoint, "/index") == 0 || strcmp(endpoint, "/update") == 0;
	if (value->type == jbvString && strcmp(jflow_json_string(value), "document") == 0)
		return true;
	if (value->type == jbvString && strcmp(jflow_json_string(value), "query") == 0)
		return false;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("parameter \"as\" must be \"document\" or \"query\"")));
}

static void
check_dimensions(const TermModel *model, const TermOptions *options)
{
	if (model->terms.nterms > options->dim)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the vocabulary has %u terms, more than the %d dimensions of the vectors",
						model->terms.nterms, options->dim),
				 errhint("Limit the vocabulary with the option max_features, or leave \"dim\" out.")));
}

/*
 * jflow.bm25_transform(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]:
 * fills sparse_embedding of documents with a text.
 */
Datum
jflow_bm25_transform(PG_FUNCTION_ARGS)
{
	const JflowContext *context = jflow_context_required();
	TermOptions *options = term_options_read(context->executor->uses_with, TERM_BM25);
	JflowDocs  *docs = jflow_docs_deform(PG_GETARG_DATUM(0), "docs");
	bool		documents = are_documents(context->endpoint, PG_GETARG_JSONB_P(1));
	const TermModel *model;
	TermCounts	counts;
	TermWords	words;

	if (docs->ndocs == 0)
		PG_RETURN_NULL();
	term_words_init(&words, options);
	model = term_model_get(context, options);
	check_dimensions(model, options);
	term_counts_init(&counts, model);
	for (int i = 0; i < docs->ndocs; i++)
	{
		JflowDoc   *doc = &docs->docs[i];

		CHECK_FOR_INTERRUPTS();
		if (doc->nulls[DOC_TEXT])
			continue;
		term_counts_take(&counts, &words, doc);
		if (documents)
			weigh_document(&counts, options);
		else
			weigh_query(&counts);
		doc->values[DOC_SPARSE_EMBEDDING] = term_counts_sparse(&counts, options->dim);
		doc->nulls[DOC_SPARSE_EMBEDDING] = false;
	}
	term_counts_done();
	PG_RETURN_DATUM(jflow_docs_form(docs));
}

/* What /status says of a model, or of none. */
static Jsonb *
model_status(const TermModel *model, TimestampTz fitted)
{
	JsonbInState state = {0};
	JsonbValue	mean;
	char		at[MAXDATELEN + 1];

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	jflow_json_push_int(&state, "fits", model ? model->fits : 0);
	if (model)
	{
		jflow_json_push_int(&state, "docs", model->ndocs);
		jflow_json_push_int(&state, "terms", model->terms.nterms);
		jflow_json_push_key(&state, "mean_length");
		mean.type = jbvNumeric;
		mean.val.numeric = DatumGetNumeric(DirectFunctionCall1(float8_numeric, Float8GetDatum(mean_length(model))));
		pushJsonbValue(&state, WJB_VALUE, &mean);
		jflow_json_push_string(&state, "fitted", JsonEncodeDateTime(at, TimestampTzGetDatum(fitted), TIMESTAMPTZOID, NULL));
	}
	/* what was indexed before was weighed with another mean length */
	if (model && model->fits > 1)
		jflow_json_push_string(&state, "outdated_before", JsonEncodeDateTime(at, TimestampTzGetDatum(fitted), TIMESTAMPTZOID, NULL));
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(state.result);
}

/*
 * jflow.bm25_status(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]: the
 * documents, and one whose tags say what the executor has learnt.
 */
Datum
jflow_bm25_status(PG_FUNCTION_ARGS)
{
	const JflowContext *context = jflow_context_required();
	JflowDocs  *docs = jflow_docs_deform(PG_GETARG_DATUM(0), "docs");
	JflowDocs	result;
	TimestampTz fitted;
	const TermModel *model = term_model_find(context->flow, context->executor,
											 term_options_of(context->executor), &fitted);
	JflowDoc   *doc;

	result.docs = palloc(sizeof(JflowDoc) * (docs->ndocs + 1));
	memcpy(result.docs, docs->docs, sizeof(JflowDoc) * docs->ndocs);
	result.ndocs = docs->ndocs + 1;
	doc = &result.docs[docs->ndocs];
	jflow_doc_init(doc);
	doc->values[DOC_ID] = CStringGetTextDatum(context->executor->name);
	doc->values[DOC_TAGS] = JsonbPGetDatum(model_status(model, fitted));
	doc->nulls[DOC_ID] = doc->nulls[DOC_TAGS] = false;
	PG_RETURN_DATUM(jflow_docs_form(&result));
}

/* For jflow_add: raises what term_options_read raises. */
static void
check_options(Jsonb *uses_with)
{
	(void) term_options_read(uses_with, TERM_BM25);
}

static const char *const parameters[] = {"as", "incremental", NULL};

const JflowClass bm25_class = {
	.name = BM25_CLASS,
	.check = check_options,
	.defaults = term_qualify_text_search,
	.parameters = parameters,
	.text_search = term_text_search,
	.one_for_one = true,
};
