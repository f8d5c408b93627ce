/*
 * tfidf.c
 *		The TF-IDF vectorizer: its executor functions, and jflow_fit.
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

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "sparsevec.h"
#include "vector.h"

#include "compat.h"
#include "executors/tfidf/tfidf.h"

#define FIT_BATCH 100			/* rows that jflow_fit fetches at once */

PG_FUNCTION_INFO_V1(jflow_tfidf_transform);
PG_FUNCTION_INFO_V1(jflow_tfidf_fit);
PG_FUNCTION_INFO_V1(jflow_tfidf_fit_finish);
PG_FUNCTION_INFO_V1(jflow_fit);

/* A vector in the making. */
typedef struct Accumulator
{
	const TfidfModel *model;
	uint32	   *counts;			/* per term of the model */
	uint32	   *touched;		/* terms whose count is not 0 */
	uint32		ntouched;
	double	   *weights;		/* of the touched terms */
} Accumulator;

/*
 * Memory for an accumulator, kept for the next request: a large vocabulary
 * would else cost more to allocate and to clear than a request to compute.
 */
typedef struct KeptCounts
{
	uint32	   *counts;			/* all 0, unless in use */
	uint32		max_terms;
	bool		in_use;			/* also after an error */
} KeptCounts;

static KeptCounts kept;

static void
keep_counts(uint32 nterms)
{
	if (kept.max_terms < nterms)
	{
		if (kept.counts)
			pfree(kept.counts);
		kept.counts = NULL;
		kept.max_terms = 0;
		kept.counts = MemoryContextAllocExtended(TopMemoryContext, sizeof(uint32) * nterms,
												 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
		kept.max_terms = nterms;
	}
	else if (kept.in_use)
		memset(kept.counts, 0, sizeof(uint32) * kept.max_terms);
	kept.in_use = true;
}

/* Nothing accumulated yet; ends with accumulator_done. */
static void
accumulator_init(Accumulator *accumulator, const TfidfModel *model)
{
	uint32		most = Min(model->terms.nterms, SPARSEVEC_MAX_NNZ + 1);

	keep_counts(model->terms.nterms);
	accumulator->model = model;
	accumulator->counts = kept.counts;
	accumulator->touched = palloc(sizeof(uint32) * most);
	accumulator->weights = palloc(sizeof(double) * most);
	accumulator->ntouched = 0;
}

/* All counts are back at 0; after an error they are not, and nobody calls this. */
static void
accumulator_done(void)
{
	kept.in_use = false;
}

static void
accumulate(void *arg, const char *term, uint32 len, uint32 hash)
{
	Accumulator *accumulator = arg;
	int64		n = term_table_find(&accumulator->model->terms, term, len, hash);

	/* Of a text that has too many terms, only their number is of interest. */
	if (n >= 0 && accumulator->counts[n]++ == 0 &&
		accumulator->ntouched++ <= SPARSEVEC_MAX_NNZ)
		accumulator->touched[accumulator->ntouched - 1] = (uint32) n;
}

static int
number_order(const void *a, const void *b)
{
	uint32		na = *(const uint32 *) a;
	uint32		nb = *(const uint32 *) b;

	return (na > nb) - (na < nb);
}

/* Weights of the touched terms, which get sorted; counts are reset. */
static void
compute_weights(Accumulator *accumulator, const TfidfOptions *options)
{
	double		norm = 0;

	qsort(accumulator->touched, accumulator->ntouched, sizeof(uint32), number_order);
	for (uint32 i = 0; i < accumulator->ntouched; i++)
	{
		uint32		n = accumulator->touched[i];
		double		weight = options->binary ? 1 : accumulator->counts[n];

		if (options->sublinear_tf)
			weight = log(weight) + 1;
		if (options->use_idf)
			weight *= accumulator->model->idf[n];
		norm += options->norm == TFIDF_NORM_L1 ? fabs(weight) : weight * weight;
		accumulator->weights[i] = weight;
		accumulator->counts[n] = 0;
	}
	if (options->norm == TFIDF_NORM_NONE || norm == 0)
		return;
	if (options->norm == TFIDF_NORM_L2)
		norm = sqrt(norm);
	for (uint32 i = 0; i < accumulator->ntouched; i++)
		accumulator->weights[i] /= norm;
}

static void
check_size(const JflowDoc *doc, uint32 nonzeros)
{
	if (nonzeros <= SPARSEVEC_MAX_NNZ)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("document \"%s\" has %u distinct terms, more than the %d that a sparsevec can hold",
					TextDatumGetCString(doc->values[DOC_ID]), nonzeros, SPARSEVEC_MAX_NNZ),
			 errhint("Limit the vocabulary with the option max_features, or cut the text into chunks.")));
}

static Datum
make_sparse(const Accumulator *accumulator)
{
	SparseVector *vector;
	float	   *values;
	int			nnz = 0;
	Size		size;

	/* a sparsevec holds no zeros; a weight can round to one */
	for (uint32 i = 0; i < accumulator->ntouched; i++)
		nnz += (float) accumulator->weights[i] != 0;
	size = SPARSEVEC_SIZE(nnz);
	vector = palloc0(size);
	SET_VARSIZE(vector, size);
	vector->dim = accumulator->model->terms.nterms;
	vector->nnz = nnz;
	values = SPARSEVEC_VALUES(vector);
	nnz = 0;
	for (uint32 i = 0; i < accumulator->ntouched; i++)
	{
		if ((float) accumulator->weights[i] == 0)
			continue;
		vector->indices[nnz] = accumulator->touched[i];
		values[nnz++] = accumulator->weights[i];
	}
	return PointerGetDatum(vector);
}

static Datum
make_dense(const Accumulator *accumulator)
{
	int			dim = accumulator->model->terms.nterms;
	Vector	   *vector = palloc0(VECTOR_SIZE(dim));

	SET_VARSIZE(vector, VECTOR_SIZE(dim));
	vector->dim = dim;
	for (uint32 i = 0; i < accumulator->ntouched; i++)
		vector->x[accumulator->touched[i]] = accumulator->weights[i];
	return PointerGetDatum(vector);
}

/* Fill in the embeddings of one document; one without a text gets none. */
static void
transform_doc(JflowDoc *doc, Accumulator *accumulator, TfidfWords *words,
			  const TfidfOptions *options)
{
	text	   *t;
	const char *utf8;
	Size		len;

	if (doc->nulls[DOC_TEXT])
		return;
	t = DatumGetTextPP(doc->values[DOC_TEXT]);
	len = VARSIZE_ANY_EXHDR(t);
	utf8 = jflow_to_utf8(VARDATA_ANY(t), &len);

	accumulator->ntouched = 0;
	tfidf_words_cut(words, utf8, len);
	tfidf_words_terms(words, accumulate, accumulator);
	check_size(doc, accumulator->ntouched);
	compute_weights(accumulator, options);

	doc->values[DOC_SPARSE_EMBEDDING] = make_sparse(accumulator);
	doc->nulls[DOC_SPARSE_EMBEDDING] = false;
	if (options->dense)
	{
		doc->values[DOC_EMBEDDING] = make_dense(accumulator);
		doc->nulls[DOC_EMBEDDING] = false;
	}
}

/* Count the texts of documents. */
static void
count_docs(TfidfStats *stats, TfidfWords *words, const JflowDocs *docs)
{
	for (int i = 0; i < docs->ndocs; i++)
		tfidf_stats_add_doc(stats, words, docs->docs[i].nulls[DOC_TEXT] ?
							(Datum) 0 : docs->docs[i].values[DOC_TEXT]);
}

static void
check_dimensions(const TfidfModel *model, const TfidfOptions *options)
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
	TfidfOptions *options = tfidf_options_read(context->executor->uses_with);
	JflowDocs  *docs = jflow_docs_deform(PG_GETARG_DATUM(0), "docs");
	const TfidfModel *model;
	Accumulator accumulator;
	TfidfWords	words;

	if (docs->ndocs == 0)
		PG_RETURN_NULL();
	tfidf_words_init(&words, options);
	if (options->fit_request)
	{
		TfidfStats	stats;

		tfidf_stats_init(&stats, options);
		count_docs(&stats, &words, docs);
		model = tfidf_model_make(&stats);
	}
	else
		model = tfidf_model_get(context, options);
	check_dimensions(model, options);

	accumulator_init(&accumulator, model);
	for (int i = 0; i < docs->ndocs; i++)
	{
		CHECK_FOR_INTERRUPTS();
		transform_doc(&docs->docs[i], &accumulator, &words, options);
	}
	accumulator_done();
	PG_RETURN_DATUM(jflow_docs_form(docs));
}

/*
 * jflow.tfidf_fit(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]: the
 * part of one request in a fit; documents are unchanged.
 */
Datum
jflow_tfidf_fit(PG_FUNCTION_ARGS)
{
	const JflowContext *context = jflow_context_required();
	TfidfOptions *options = tfidf_options_read(context->executor->uses_with);
	JflowDocs  *docs = jflow_docs_deform(PG_GETARG_DATUM(0), "docs");
	TfidfStats	stats;
	TfidfWords	words;

	tfidf_words_init(&words, options);
	tfidf_stats_init(&stats, options);
	count_docs(&stats, &words, docs);
	tfidf_part_store(context, &stats);
	PG_RETURN_NULL();
}

/*
 * jflow.tfidf_fit_finish(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]:
 * makes the model of what all requests of the post have counted.
 */
Datum
jflow_tfidf_fit_finish(PG_FUNCTION_ARGS)
{
	const JflowContext *context = jflow_context_required();
	TfidfOptions *options = tfidf_options_read(context->executor->uses_with);
	TfidfStats	stats;

	tfidf_stats_init(&stats, options);
	tfidf_parts_merge(context, &stats);
	tfidf_model_store(context->flow, context->executor->name,
					  context->executor->uses_with, tfidf_model_make(&stats));
	PG_RETURN_NULL();
}

/* The column of a query that has the texts. */
static int
text_column(TupleDesc desc)
{
	int			column = desc->natts == 1 ? 1 : SPI_fnumber(desc, "text");

	if (column <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("the query must return one column, or one named \"text\"")));
	if (getBaseType(SPI_gettypeid(desc, column)) != TEXTOID &&
		getBaseType(SPI_gettypeid(desc, column)) != VARCHAROID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the texts of the query are of type %s, not text",
						format_type_be(SPI_gettypeid(desc, column))),
				 errhint("Cast the column in the query.")));
	return column;
}

/* Count the texts that a query of the caller's returns. */
static void
count_query(TfidfStats *stats, TfidfWords *words, const char *query)
{
	MemoryContext outer = CurrentMemoryContext;
	SPIPlanPtr	plan;
	Portal		portal;
	int			column = 0;

	SPI_connect();
	plan = SPI_prepare_cursor(query, 0, NULL, CURSOR_OPT_NO_SCROLL);
	if (plan == NULL || !SPI_is_cursor_plan(plan))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_CURSOR_DEFINITION),
				 errmsg("the query must be one that returns rows")));
	portal = SPI_cursor_open(NULL, plan, NULL, NULL, false);
	for (;;)
	{
		MemoryContext old;

		SPI_cursor_fetch(portal, true, FIT_BATCH);
		if (column == 0)
			column = text_column(SPI_tuptable->tupdesc);
		if (SPI_processed == 0)
			break;
		old = MemoryContextSwitchTo(outer);
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			bool		isnull;
			Datum		value = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc,
											  column, &isnull);

			CHECK_FOR_INTERRUPTS();
			tfidf_stats_add_doc(stats, words, isnull ? (Datum) 0 : value);
		}
		MemoryContextSwitchTo(old);
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_cursor_close(portal);
	SPI_finish();
}

static char *
required_text(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", name)));
	return text_to_cstring(PG_GETARG_TEXT_PP(n));
}

/*
 * jflow_fit(flow text, executor text, query text, OUT docs int8, OUT terms int4):
 * fits a TF-IDF executor over all texts of a query at once.
 */
Datum
jflow_fit(PG_FUNCTION_ARGS)
{
	JflowFlow  *flow = jflow_flow_open(required_text(fcinfo, 0, "flow"), false);
	char	   *name = required_text(fcinfo, 1, "executor");
	char	   *query = required_text(fcinfo, 2, "query");
	const JflowExecutor *executor = jflow_flow_executor(flow, name);
	TfidfOptions *options;
	TfidfModel *model;
	TfidfStats	stats;
	TfidfWords	words;
	TupleDesc	desc;
	Datum		values[2];
	bool		nulls[2] = {false};

	jflow_check_flow_owner(flow);
	if (executor == NULL)
		jflow_executor_missing(flow, name);
	if (!jflow_executor_is(executor, TFIDF_CLASS))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("executor \"%s\" of flow \"%s\" is not a TfidfVectorizer", name, flow->name),
				 errdetail("It uses \"%s\".", executor->uses)));
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");

	options = tfidf_options_read(executor->uses_with);
	tfidf_words_init(&words, options);
	tfidf_stats_init(&stats, options);
	count_query(&stats, &words, query);
	model = tfidf_model_make(&stats);
	tfidf_model_store(flow, executor->name, executor->uses_with, model);

	values[0] = Int64GetDatum(model->ndocs);
	values[1] = Int32GetDatum((int32) model->terms.nterms);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* For jflow_add: raises what tfidf_options_read raises. */
static void
check_options(Jsonb *uses_with)
{
	(void) tfidf_options_read(uses_with);
}

static const char *const no_parameters[] = {NULL};

const JflowClass tfidf_class = {
	.name = TFIDF_CLASS,
	.check = check_options,
	.parameters = no_parameters,
};

PG_FUNCTION_INFO_V1(jflow_terms);

/*
 * jflow_terms(flow text, executor text) RETURNS TABLE (index int4, term text, idf
 * float8): the vocabulary; indexes count from 1, as those of a sparsevec do.
 */
Datum
jflow_terms(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	JflowFlow  *flow = jflow_flow_open(required_text(fcinfo, 0, "flow"), false);
	char	   *name = required_text(fcinfo, 1, "executor");
	const TfidfModel *model;
	JflowContext context = {0};

	jflow_check_may_post(flow, JFLOW_ALL_ENDPOINTS);
	context.flow = flow;
	context.executor = jflow_flow_executor(flow, name);
	if (context.executor == NULL)
		jflow_executor_missing(flow, name);
	if (!jflow_executor_is(context.executor, TFIDF_CLASS))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("executor \"%s\" of flow \"%s\" is not a TfidfVectorizer", name, flow->name)));

	model = tfidf_model_get(&context, tfidf_options_read(context.executor->uses_with));
	InitMaterializedSRF(fcinfo, 0);
	for (uint32 i = 0; i < model->terms.nterms; i++)
	{
		Datum		values[3];
		bool		nulls[3] = {false};
		char	   *term = pnstrdup(term_bytes(&model->terms, i), term_length(&model->terms, i));

		CHECK_FOR_INTERRUPTS();
		values[0] = Int32GetDatum((int32) i + 1);
		values[1] = CStringGetTextDatum(pg_any_to_server(term, strlen(term), PG_UTF8));
		values[2] = Float8GetDatum(model->idf[i]);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		pfree(DatumGetPointer(values[1]));
		pfree(term);
	}
	return (Datum) 0;
}
