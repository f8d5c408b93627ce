/*
 * terms_fit.c
 *		Fitting: of documents that are posted, and of a query's texts; and
 *		jflow_terms, which shows what was learnt.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/tuplestore.h"

#include "common/args.h"
#include "common/json.h"
#include "compat.h"
#include "executors/terms/terms.h"

#define FIT_BATCH 100			/* rows that jflow_fit fetches at once */

PG_FUNCTION_INFO_V1(jflow_term_fit);
PG_FUNCTION_INFO_V1(jflow_term_fit_finish);
PG_FUNCTION_INFO_V1(jflow_fit);
PG_FUNCTION_INFO_V1(jflow_terms);
/* Count the texts of documents. */
void
term_count_docs(TermStats *stats, TermWords *words, const JflowDocs *docs)
{
	for (int i = 0; i < docs->ndocs; i++)
		term_stats_add_doc(stats, words, docs->docs[i].nulls[DOC_TEXT] ?
						   (Datum) 0 : docs->docs[i].values[DOC_TEXT]);
}

/*
 * jflow.term_fit(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]: the
 * part of one request in a fit; documents are unchanged.
 */
Datum
jflow_term_fit(PG_FUNCTION_ARGS)
{
	const JflowContext *context = jflow_context_required();
	TermOptions *options = term_options_of(context->executor);
	JflowDocs  *docs = jflow_docs_deform(PG_GETARG_DATUM(0), "docs");
	TermStats	stats;
	TermWords	words;

	term_words_init(&words, options);
	term_stats_init(&stats, options);
	term_count_docs(&stats, &words, docs);
	term_part_store(context, &stats);
	PG_RETURN_NULL();
}

/*
 * jflow.term_fit_finish(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]:
 * makes the model of what all requests of the post have counted.
 */
Datum
jflow_term_fit_finish(PG_FUNCTION_ARGS)
{
	const JflowContext *context = jflow_context_required();
	TermOptions *options = term_options_of(context->executor);
	TermStats	stats;

	term_stats_init(&stats, options);
	term_parts_merge(context, &stats);
	term_model_store(context->flow, context->executor, &stats,
					 term_incremental(PG_GETARG_JSONB_P(1)), NULL, NULL);
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
count_query(TermStats *stats, TermWords *words, const char *query)
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
			term_stats_add_doc(stats, words, isnull ? (Datum) 0 : value);
		}
		MemoryContextSwitchTo(old);
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_cursor_close(portal);
	SPI_finish();
}

/*
 * Does a fit add to the one before?  So the parameter "incremental" says.  Raises
 * invalid_parameter_value.
 */
bool
term_incremental(Jsonb *parameters)
{
	JsonbValue	buffer;
	JsonbValue *value = jflow_json_get(parameters, "incremental", &buffer);

	if (value == NULL || value->type == jbvNull)
		return false;
	if (value->type != jbvBool)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("parameter \"incremental\" must be a boolean")));
	return value->val.boolean;
}

/* An executor of a flow that learns terms.  Raises undefined_object or wrong_object_type. */
static const JflowExecutor *
vectorizer(const JflowFlow *flow, const char *name)
{
	const JflowExecutor *executor = jflow_flow_executor(flow, name);

	if (executor == NULL)
		jflow_executor_missing(flow, name);
	if (!term_is_vectorizer(executor))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("executor \"%s\" of flow \"%s\" is neither a TfidfVectorizer nor a BM25Vectorizer",
						name, flow->name),
				 errdetail("It uses \"%s\".", executor->uses)));
	return executor;
}

/*
 * jflow_fit(flow text, executor text, query text, incremental bool, OUT docs int8,
 * OUT terms int4): fits an executor over all texts of a query at once.
 */
Datum
jflow_fit(PG_FUNCTION_ARGS)
{
	JflowFlow  *flow = jflow_flow_open(jflow_arg_text(fcinfo, 0, "flow"), false);
	char	   *name = jflow_arg_text(fcinfo, 1, "executor");
	char	   *query = jflow_arg_text(fcinfo, 2, "query");
	bool		incremental = jflow_arg_bool(fcinfo, 3);
	const JflowExecutor *executor;
	TermOptions *options;
	TermStats	stats;
	TermWords	words;
	TupleDesc	desc;
	int64		ndocs;
	uint32		nterms;
	Datum		values[2];
	bool		nulls[2] = {false};

	jflow_check_flow_owner(flow);
	executor = vectorizer(flow, name);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");

	options = term_options_of(executor);
	term_words_init(&words, options);
	term_stats_init(&stats, options);
	count_query(&stats, &words, query);
	term_model_store(flow, executor, &stats, incremental, &ndocs, &nterms);

	values[0] = Int64GetDatum(ndocs);
	values[1] = Int32GetDatum((int32) nterms);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/*
 * jflow_terms(flow text, executor text) RETURNS TABLE (index int4, term text, idf
 * float8): the vocabulary; indexes count from 1, as those of a sparsevec do.
 */
Datum
jflow_terms(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	JflowFlow  *flow = jflow_flow_open(jflow_arg_text(fcinfo, 0, "flow"), false);
	char	   *name = jflow_arg_text(fcinfo, 1, "executor");
	const TermModel *model;
	JflowContext context = {0};

	jflow_check_may_post(flow, JFLOW_ALL_ENDPOINTS);
	context.flow = flow;
	context.executor = vectorizer(flow, name);
	model = term_model_get(&context, term_options_of(context.executor));
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
