/*
 * pqlite_read.c
 *		/fetch, /filter and /status.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "executors/pqlite/pqlite.h"

PG_FUNCTION_INFO_V1(jflow_pqlite_fetch);
PG_FUNCTION_INFO_V1(jflow_pqlite_filter);
PG_FUNCTION_INFO_V1(jflow_pqlite_status);

static void
read_rows(PqliteStore *store, const char *sql, int nargs, const Oid *types, Datum *values,
		  int options)
{
	SPIPlanPtr	plan = pqlite_plan(store, sql, nargs, types, options);
	int			result = SPI_execute_plan(plan, values, NULL, true, 0);

	if (result < 0)
		elog(ERROR, "statement failed: %s: %s", SPI_result_code_string(result), sql);
}

/* The documents of /fetch, in the order of the request; NULLs are not there. */
static JflowDoc **
fetch_docs(PqliteStore *store, const JflowDocs *docs)
{
	const JflowDoc **ids = palloc(sizeof(JflowDoc *) * docs->ndocs);
	JflowDoc  **found = palloc0(sizeof(JflowDoc *) * docs->ndocs);
	Oid			types[1] = {store->columns[store->id].array_type};
	Datum		values[1];
	StringInfoData sql;

	for (int i = 0; i < docs->ndocs; i++)
		ids[i] = &docs->docs[i];
	values[0] = pqlite_ids_array(store, ids, docs->ndocs);
	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	pqlite_append_doc_columns(store, &sql, "t");
	appendStringInfo(&sql, ", u.n FROM pg_catalog.unnest($1) WITH ORDINALITY AS u(id, n), %s t WHERE t.%s %s u.id AND t.%s %s ANY ($1)",
					 store->name, store->columns[store->id].quoted, store->same_id,
					 store->columns[store->id].quoted, store->same_id);
	read_rows(store, sql.data, 1, types, values, CURSOR_OPT_GENERIC_PLAN);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		bool		isnull;
		int64		n = DatumGetInt64(SPI_getbinval(row, SPI_tuptable->tupdesc, DOC_MATCHES + 1, &isnull));

		found[n - 1] = palloc(sizeof(JflowDoc));
		pqlite_doc_from_row(row, SPI_tuptable->tupdesc, found[n - 1]);
	}
	return found;
}

/*
 * /fetch: the stored documents with the given documents' ids, in their order.
 */
Datum
jflow_pqlite_fetch(PG_FUNCTION_ARGS)
{
	const JflowContext *context = jflow_context_required();
	PqliteStore *store;
	JflowDocs  *docs;
	JflowDocs	result;
	JflowDoc  **found;
	MemoryContext outer = CurrentMemoryContext,
				old;
	Datum		answer;

	if (!pqlite_does_all(context))
		PG_RETURN_DATUM(jflow_docs_empty());
	docs = jflow_docs_deform(PG_GETARG_DATUM(0), "documents");
	if (docs->ndocs == 0 || (store = pqlite_store_for_read(context)) == NULL)
		PG_RETURN_DATUM(jflow_docs_empty());
	pqlite_force_index_scans();
	SPI_connect();
	found = fetch_docs(store, docs);
	result.docs = palloc(sizeof(JflowDoc) * docs->ndocs);
	result.ndocs = 0;
	for (int i = 0; i < docs->ndocs; i++)
		if (found[i])
			result.docs[result.ndocs++] = *found[i];
	old = MemoryContextSwitchTo(outer);
	answer = jflow_docs_form(&result);
	MemoryContextSwitchTo(old);
	SPI_finish();
	PopActiveSnapshot();
	PG_RETURN_DATUM(answer);
}

/*
 * /filter: the stored documents that match the parameter "filter", by id, at most
 * "limit" of them after the first "offset".
 */
Datum
jflow_pqlite_filter(PG_FUNCTION_ARGS)
{
	const JflowContext *context = jflow_context_required();
	PqliteStore *store;
	PqliteParameters parameters;
	PqliteCondition condition;
	StringInfoData sql;
	JflowDocs	result;
	MemoryContext outer = CurrentMemoryContext,
				old;
	Datum		answer;

	if (!pqlite_does_all(context))
		PG_RETURN_DATUM(jflow_docs_empty());
	pqlite_parameters_read(PG_GETARG_JSONB_P(1), -1, &parameters);
	store = pqlite_store_for_read(context);
	if (store == NULL)
		PG_RETURN_DATUM(jflow_docs_empty());

	pqlite_condition_init(&condition);
	pqlite_compile_filter(store, parameters.filter, "t", &condition);
	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	pqlite_append_doc_columns(store, &sql, "t");
	appendStringInfo(&sql, " FROM %s t WHERE %s ORDER BY t.%s", store->name, condition.sql.data,
					 store->columns[store->id].quoted);
	if (parameters.limit >= 0)
		appendStringInfo(&sql, " LIMIT %d", parameters.limit);
	if (parameters.offset > 0)
		appendStringInfo(&sql, " OFFSET %d", parameters.offset);
	SPI_connect();
	pqlite_note_fields(store, context, parameters.filter);
	read_rows(store, sql.data, condition.nargs, condition.types, condition.values,
			  CURSOR_OPT_CUSTOM_PLAN);
	result.ndocs = SPI_processed;
	result.docs = palloc_extended(sizeof(JflowDoc) * Max(result.ndocs, 1), MCXT_ALLOC_HUGE);
	for (int i = 0; i < result.ndocs; i++)
		pqlite_doc_from_row(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, &result.docs[i]);
	old = MemoryContextSwitchTo(outer);
	answer = jflow_docs_form(&result);
	MemoryContextSwitchTo(old);
	SPI_finish();
	PopActiveSnapshot();
	PG_RETURN_DATUM(answer);
}

static void
push_key(JsonbInState *state, const char *key)
{
	JsonbValue	v;

	v.type = jbvString;
	v.val.string.val = (char *) key;
	v.val.string.len = strlen(key);
	pushJsonbValue(state, WJB_KEY, &v);
}

static void
push_string(JsonbInState *state, const char *key, const char *value)
{
	JsonbValue	v;

	push_key(state, key);
	v.type = jbvString;
	v.val.string.val = (char *) value;
	v.val.string.len = strlen(value);
	pushJsonbValue(state, WJB_VALUE, &v);
}

static void
push_numeric(JsonbInState *state, const char *key, Numeric value)
{
	JsonbValue	v;

	push_key(state, key);
	v.type = jbvNumeric;
	v.val.numeric = value;
	pushJsonbValue(state, WJB_VALUE, &v);
}

static void
push_float(JsonbInState *state, const char *key, double value)
{
	push_numeric(state, key, DatumGetNumeric(DirectFunctionCall1(float8_numeric,
																 Float8GetDatum(value))));
}

static int64
one_number(const char *sql)
{
	bool		isnull;

	if (SPI_execute(sql, true, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "statement failed: %s", sql);
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/* What /status says of one leaf, given by its place among the store's. */
static Jsonb *
leaf_status(PqliteStore *store, const JflowContext *context, int number,
			const PqliteParameters *parameters)
{
	const PqliteLeaf *leaf = &store->leaves[number];
	JsonbInState state = {0};
	int64		rows = one_number(psprintf("SELECT pg_catalog.count(*) FROM %s", leaf->name));
	int64		bytes = one_number(psprintf("SELECT pg_catalog.pg_total_relation_size(%s::pg_catalog.regclass)",
											quote_literal_cstr(leaf->name)));
	bool		indexed = OidIsValid(leaf->index);

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_numeric(&state, "shard", int64_to_numeric(leaf->shard));
	push_string(&state, "table", leaf->name);
	push_numeric(&state, "rows", int64_to_numeric(rows));
	push_numeric(&state, "bytes", int64_to_numeric(bytes));
	push_float(&state, "indexed", indexed && rows > 0 ? 1 : 0);
	if (indexed)
		push_string(&state, "index", pqlite_index_method(leaf->exact ? PQLITE_INVERTED : PQLITE_PQ));
	if (indexed && parameters->queries > 0)
		push_float(&state, "recall", pqlite_measure_recall(store, context, number, parameters));
	push_string(&state, "field", jflow_doc_attr_name(store->columns[store->vector].attr));
	push_string(&state, "metric", pqlite_metric_name(store->options->metric));
	if (store->dim)
		push_numeric(&state, "dim", int64_to_numeric(store->dim));
	if (!leaf->wanted)
		push_string(&state, "state", "leaving");
	else
		push_string(&state, "state", store->moving ? "moving" : "live");
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(state.result);
}

/*
 * /status: the documents of executors before, and one per leaf of the called
 * shard, whose tags say what is there.  With the parameter "queries" the recall of searches is measured by so
 * many, under the parameters that a search would have.
 */
Datum
jflow_pqlite_status(PG_FUNCTION_ARGS)
{
	const JflowContext *context = jflow_context_required();
	PqliteStore *store;
	PqliteParameters parameters;
	JflowDocs  *docs = jflow_docs_deform(PG_GETARG_DATUM(0), "documents");
	JflowDocs	result;
	MemoryContext outer = CurrentMemoryContext,
				old;
	Datum		answer;

	pqlite_parameters_read(PG_GETARG_JSONB_P(1), 0, &parameters);
	store = pqlite_store_for_read(context);
	if (store == NULL)
		PG_RETURN_NULL();
	SPI_connect();
	result.ndocs = docs->ndocs;
	result.docs = palloc(sizeof(JflowDoc) * (docs->ndocs + store->nleaves));
	memcpy(result.docs, docs->docs, sizeof(JflowDoc) * docs->ndocs);
	for (int i = 0; i < store->nleaves; i++)
	{
		const PqliteLeaf *leaf = &store->leaves[i];
		JflowDoc   *doc;

		if (leaf->shard % context->shards != context->shard)
			continue;
		doc = &result.docs[result.ndocs++];
		jflow_doc_init(doc);
		doc->values[DOC_ID] = CStringGetTextDatum(psprintf("%s/%d", store->executor, leaf->shard));
		doc->values[DOC_TAGS] = JsonbPGetDatum(leaf_status(store, context, i, &parameters));
		doc->nulls[DOC_ID] = doc->nulls[DOC_TAGS] = false;
	}
	old = MemoryContextSwitchTo(outer);
	answer = jflow_docs_form(&result);
	MemoryContextSwitchTo(old);
	SPI_finish();
	PopActiveSnapshot();
	PG_RETURN_DATUM(answer);
}
