/*
 * tfidf.c
 *		The TF-IDF vectorizer.
 *
 * Values are those of scikit-learn's TfidfVectorizer: a term's weight is its
 * count in the text (or 1, or 1 + ln(count)) times its idf, ln((n + 1) / (df +
 * 1)) + 1 if smoothed, and the vector is scaled to length 1.  Computed in double
 * precision and stored in single.
 *
 * Source: G. Salton, C. Buckley, "Term-weighting approaches in automatic text
 * retrieval", Information Processing & Management 24(5), 1988; the smoothed form
 * is scikit-learn's.
 */
#include "postgres.h"

#include <math.h>

#include "fmgr.h"
#include "miscadmin.h"

#include "sparsevec.h"
#include "vector.h"

#include "compat.h"
#include "executors/terms/terms.h"

PG_FUNCTION_INFO_V1(jflow_tfidf_transform);

/* Weights of a text's terms. */
static void
compute_weights(TermCounts *counts, const TermOptions *options)
{
	double		norm = 0;

	for (uint32 i = 0; i < counts->nterms; i++)
	{
		double		weight = options->binary ? 1 : counts->frequencies[i];

		if (options->sublinear_tf)
			weight = log(weight) + 1;
		if (options->use_idf)
			weight *= counts->model->idf[counts->terms[i]];
		/* of a given vocabulary's term that no document had, unsmoothed */
		if (isinf(weight))
			weight = 0;
		norm += options->norm == TERM_NORM_L1 ? fabs(weight) : weight * weight;
		counts->weights[i] = weight;
	}
	if (options->norm == TERM_NORM_NONE || norm == 0)
		return;
	if (options->norm == TERM_NORM_L2)
		norm = sqrt(norm);
	for (uint32 i = 0; i < counts->nterms; i++)
		counts->weights[i] /= norm;
}

static Datum
make_dense(const TermCounts *counts)
{
	int			dim = counts->model->terms.nterms;
	Vector	   *vector = palloc0(VECTOR_SIZE(dim));

	SET_VARSIZE(vector, VECTOR_SIZE(dim));
	vector->dim = dim;
	for (uint32 i = 0; i < counts->nterms; i++)
		vector->x[counts->terms[i]] = counts->weights[i];
	return PointerGetDatum(vector);
}

/* Fill in the embeddings of one document; one without a text gets none. */
static void
transform_doc(JflowDoc *doc, TermCounts *counts, TermWords *words, const TermOptions *options)
{
	if (doc->nulls[DOC_TEXT])
		return;
	term_counts_take(counts, words, doc);
	compute_weights(counts, options);
	doc->values[DOC_SPARSE_EMBEDDING] = term_counts_sparse(counts, counts->model->terms.nterms);
	doc->nulls[DOC_SPARSE_EMBEDDING] = false;
	if (options->dense)
	{
		doc->values[DOC_EMBEDDING] = make_dense(counts);
		doc->nulls[DOC_EMBEDDING] = false;
	}
}

static void
check_dimensions(const TermModel *model, const TermOptions *options)
{
	if (model->terms.nterms > SPARSEVEC_MAX_DIM)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the vocabulary has %u terms, more than the %d dimensions of a sparsevec",
						model->terms.nterms, SPARSEVEC_MAX_DIM),
				 errhint("Limit the vocabulary with the option max_features.")));
	if (options->dense && model->terms.nterms > VECTOR_MAX_DIM)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the vocabulary has %u terms, more than the %d dimensions of a vector",
						model->terms.nterms, VECTOR_MAX_DIM),
				 errhint("Limit the vocabulary with the option max_features, or leave \"dense\" out.")));
}

/*
 * jflow.tfidf_transform(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]:
 * fills sparse_embedding, and embedding if asked, of documents with a text.
 */
Datum
jflow_tfidf_transform(PG_FUNCTION_ARGS)
{
	const JflowContext *context = jflow_context_required();
	TermOptions *options = term_options_read(context->executor->uses_with, TERM_TFIDF);
	JflowDocs  *docs = jflow_docs_deform(PG_GETARG_DATUM(0), "docs");
	const TermModel *model;
	TermCounts	counts;
	TermWords	words;

	if (docs->ndocs == 0)
		PG_RETURN_NULL();
	term_words_init(&words, options);
	if (options->fit_request)
	{
		TermStats	stats;

		term_stats_init(&stats, options);
		term_count_docs(&stats, &words, docs);
		model = term_model_make(&stats, NULL);
	}
	else
		model = term_model_get(context, options);
	check_dimensions(model, options);

	term_counts_init(&counts, model);
	for (int i = 0; i < docs->ndocs; i++)
	{
		CHECK_FOR_INTERRUPTS();
		transform_doc(&docs->docs[i], &counts, &words, options);
	}
	term_counts_done();
	PG_RETURN_DATUM(jflow_docs_form(docs));
}

/* For jflow_add: raises what term_options_read raises. */
static void
check_options(Jsonb *uses_with)
{
	(void) term_options_read(uses_with, TERM_TFIDF);
}

static const char *const parameters[] = {"incremental", NULL};

const JflowClass tfidf_class = {
	.name = TFIDF_CLASS,
	.check = check_options,
	.defaults = term_qualify_text_search,
	.parameters = parameters,
	.text_search = term_text_search,
	.one_for_one = true,
};
