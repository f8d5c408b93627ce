/*
 * post.c
 *		The SQL functions that post documents to a flow.
 *
 * They differ in where the documents come from (an array, texts, JSON, a query)
 * and where the answers go (rows, JSON, matches, nowhere); the gateway is the
 * same.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/tuplestore.h"
#include "utils/typcache.h"

#include "common/args.h"
#include "common/json.h"
#include "compat.h"
#include "flow/origin.h"
#include "runtime/gateway/gateway.h"
#include "runtime/gateway/query_source.h"
#include "settings.h"

PG_FUNCTION_INFO_V1(jflow_post_docs);
PG_FUNCTION_INFO_V1(jflow_post_texts);
PG_FUNCTION_INFO_V1(jflow_post_text);
PG_FUNCTION_INFO_V1(jflow_post_jsonb);
PG_FUNCTION_INFO_V1(jflow_post_json);
PG_FUNCTION_INFO_V1(jflow_post_query);
PG_FUNCTION_INFO_V1(jflow_call);
PG_FUNCTION_INFO_V1(jflow_explain);
PG_FUNCTION_INFO_V1(jflow_search);
PG_FUNCTION_INFO_V1(jflow_search_json);
PG_FUNCTION_INFO_V1(jflow_remote_post);

/* Documents that are all there: composite datums, cut into requests. */
typedef struct ArraySource
{
	JflowSource base;
	Datum	   *elems;
	int			n;
	int			position;
} ArraySource;

static bool
array_source_next(JflowSource *source, int size, Datum *docs)
{
	ArraySource *array = (ArraySource *) source;
	int			n = Min(size, array->n - array->position);

	if (n <= 0)
		return false;
	*docs = jflow_docs_from_datums(array->elems + array->position, n);
	array->position += n;
	return true;
}

static void
array_source_init(ArraySource *source, Datum *elems, int n)
{
	source->base.next = array_source_next;
	source->base.total = n;
	source->elems = elems;
	source->n = n;
	source->position = 0;
}

/* A document that is a text and nothing else. */
static Datum
doc_of_text(Datum value)
{
	JflowDoc	doc;

	jflow_doc_init(&doc);
	doc.values[DOC_TEXT] = value;
	doc.nulls[DOC_TEXT] = false;
	return jflow_doc_form(&doc);
}

/*
 * The arguments that all posts share.  They come in one order, some functions
 * having fewer; "docs" stands at number 1 and is not looked at.
 */
static void
get_options(FunctionCallInfo fcinfo, JflowPostOptions *options)
{
	int			nargs = PG_NARGS();

	memset(options, 0, sizeof(*options));
	options->endpoint = jflow_arg_text(fcinfo, 0, "endpoint");
	options->flow = jflow_arg_text_or_null(fcinfo, 2);
	options->parameters = PG_ARGISNULL(3) ? jflow_json_empty() : PG_GETARG_JSONB_P(3);
	options->timeout_ms = jflow_timeout;
	if (nargs <= 4)
		return;
	options->target_executor = jflow_arg_text_or_null(fcinfo, 4);
	if (!PG_ARGISNULL(5))
	{
		int64		size = PG_GETARG_INT64(5);

		if (size <= 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("request_size must be positive")));
		options->request_size = (int) Min(size, PG_INT32_MAX);
	}
	options->show_progress = jflow_arg_bool(fcinfo, 6);
	options->continue_on_error = jflow_arg_bool(fcinfo, 7);
	if (!PG_ARGISNULL(8))
		options->errors_to = PG_GETARG_OID(8);
	if (!PG_ARGISNULL(9))
		options->timeout_ms = jflow_interval_ms(PG_GETARG_INTERVAL_P(9));
	options->ordered = PG_ARGISNULL(10) || PG_GETARG_BOOL(10);
}

/* Answers as rows of the calling function's result. */
static void
rows_sink(void *arg, Datum docs)
{
	Tuplestorestate *store = arg;
	Datum	   *elems;
	int			n = jflow_docs_to_datums(docs, "documents", &elems);

	for (int i = 0; i < n; i++)
	{
		HeapTupleHeader header = DatumGetHeapTupleHeader(elems[i]);
		HeapTupleData tuple;

		tuple.t_len = HeapTupleHeaderGetDatumLength(header);
		ItemPointerSetInvalid(&tuple.t_self);
		tuple.t_tableOid = InvalidOid;
		tuple.t_data = header;
		tuplestore_puttuple(store, &tuple);
	}
}

/* Post an array of composite datums, and return the answers as rows. */
static Datum
post_datums(FunctionCallInfo fcinfo, Datum *elems, int n)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	JflowPostOptions options;
	JflowPostResult result;
	ArraySource source;

	get_options(fcinfo, &options);
	array_source_init(&source, elems, n);
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	jflow_post_run(&options, &source.base, rows_sink, rsinfo->setResult, &result);
	return (Datum) 0;
}

/*
 * jflow_post(endpoint text, docs jflow_doc[], ...) RETURNS SETOF jflow_doc.  NULL
 * is a post without documents.
 */
Datum
jflow_post_docs(PG_FUNCTION_ARGS)
{
	Datum	   *elems = NULL;
	int			n = 0;

	if (!PG_ARGISNULL(1))
		n = jflow_docs_to_datums(PG_GETARG_DATUM(1), "docs", &elems);
	return post_datums(fcinfo, elems, n);
}

/*
 * jflow_post(endpoint text, docs text[], ...) RETURNS SETOF jflow_doc
 */
Datum
jflow_post_texts(PG_FUNCTION_ARGS)
{
	Datum	   *elems = NULL;
	bool	   *nulls;
	int			n = 0;

	if (!PG_ARGISNULL(1))
		deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT,
						  &elems, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("docs must not contain NULL"),
					 errdetail("Element %d is NULL.", i + 1)));
		elems[i] = doc_of_text(elems[i]);
	}
	return post_datums(fcinfo, elems, n);
}

/*
 * jflow_post(endpoint text, docs text, ...) RETURNS SETOF jflow_doc: an error that
 * the parser's own cannot say so well.  A literal of unknown type, which is what
 * many drivers send for a list or for JSON, ends here, and would become one text
 * like '{"a","b"}'.  NULL is a post without documents, whatever its type.
 */
Datum
jflow_post_text(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(1))
		return post_datums(fcinfo, NULL, 0);
	ereport(ERROR,
			(errcode(ERRCODE_AMBIGUOUS_FUNCTION),
			 errmsg("documents of a post must not be one text"),
			 errdetail("A list or JSON of a driver that sends no types would become one."),
			 errhint("Cast it to text[], to jsonb or to jflow_doc[], post ARRAY['...'], or use jflow_call.")));
}

/* Composite datums of documents given as JSON. */
static int
datums_of_docs(const JflowDocs *docs, Datum **elems)
{
	*elems = palloc(sizeof(Datum) * Max(docs->ndocs, 1));
	for (int i = 0; i < docs->ndocs; i++)
		(*elems)[i] = jflow_doc_form(&docs->docs[i]);
	return docs->ndocs;
}

/*
 * jflow_post(endpoint text, docs jsonb, ...) RETURNS SETOF jflow_doc
 */
Datum
jflow_post_jsonb(PG_FUNCTION_ARGS)
{
	Datum	   *elems = NULL;
	int			n = 0;

	if (!PG_ARGISNULL(1))
		n = datums_of_docs(jflow_docs_from_jsonb(PG_GETARG_JSONB_P(1)), &elems);
	return post_datums(fcinfo, elems, n);
}

/*
 * jflow_post(endpoint text, docs json, ...) RETURNS SETOF jflow_doc: for drivers
 * that know one type of JSON, and it is this, and the faster way of many
 * documents, since no jsonb is made of them.
 */
Datum
jflow_post_json(PG_FUNCTION_ARGS)
{
	Datum	   *elems = NULL;
	int			n = 0;

	if (!PG_ARGISNULL(1))
		n = datums_of_docs(jflow_docs_from_json(PG_GETARG_TEXT_PP(1)), &elems);
	return post_datums(fcinfo, elems, n);
}

/*
 * jflow_post_query(endpoint text, query text, ..., args jsonb) RETURNS (docs
 * int8, requests int8, failed int8, failed_docs int8, elapsed interval): one row.
 */
Datum
jflow_post_query(PG_FUNCTION_ARGS)
{
	JflowPostOptions options;
	JflowPostResult result;
	JflowSource *source;
	TupleDesc	desc;
	Datum		values[5];
	bool		nulls[5] = {false};

	get_options(fcinfo, &options);
	jflow_arg_required(fcinfo, 1, "query");
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");

	source = jflow_query_source_open(text_to_cstring(PG_GETARG_TEXT_PP(1)),
									 jflow_arg_jsonb_or_null(fcinfo, 11));
	jflow_post_run(&options, source, NULL, NULL, &result);
	jflow_query_source_close(source);

	values[0] = Int64GetDatum(result.docs);
	values[1] = Int64GetDatum(result.requests);
	values[2] = Int64GetDatum(result.failed);
	values[3] = Int64GetDatum(result.failed_docs);
	values[4] = DirectFunctionCall2(timestamp_mi,
									TimestampTzGetDatum(GetCurrentTimestamp()),
									TimestampTzGetDatum(result.started));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* Answers kept together, for functions that return one value. */
typedef struct CollectSink
{
	MemoryContext context;
	Datum	   *elems;
	int			n;
	int			allocated;
} CollectSink;

static void
collect_sink(void *arg, Datum docs)
{
	CollectSink *sink = arg;
	MemoryContext old = MemoryContextSwitchTo(sink->context);
	Datum	   *elems;
	int			n = jflow_docs_to_datums(datumCopy(docs, false, -1), "documents", &elems);

	if (sink->n + n > sink->allocated)
	{
		sink->allocated = Max(sink->n + n, sink->allocated * 2);
		sink->elems = sink->elems ?
			repalloc(sink->elems, sizeof(Datum) * sink->allocated) :
			palloc(sizeof(Datum) * sink->allocated);
	}
	if (n > 0)
		memcpy(sink->elems + sink->n, elems, sizeof(Datum) * n);
	sink->n += n;
	MemoryContextSwitchTo(old);
}

static JflowDocs *
post_and_collect(const JflowPostOptions *options, Datum *elems, int n)
{
	CollectSink sink = {CurrentMemoryContext, NULL, 0, 0};
	JflowPostResult result;
	ArraySource source;
	JflowDocs  *docs = palloc(sizeof(JflowDocs));

	array_source_init(&source, elems, n);
	jflow_post_run(options, &source.base, collect_sink, &sink, &result);

	docs->ndocs = sink.n;
	docs->docs = palloc_extended(sizeof(JflowDoc) * Max(sink.n, 1), MCXT_ALLOC_HUGE);
	for (int i = 0; i < sink.n; i++)
		jflow_doc_deform(sink.elems[i], &docs->docs[i]);
	return docs;
}

/*
 * jflow_call(endpoint text, docs jsonb, flow text, parameters jsonb) RETURNS
 * jsonb: an array of documents.
 */
Datum
jflow_call(PG_FUNCTION_ARGS)
{
	JflowPostOptions options;
	Datum	   *elems = NULL;
	int			n = 0;

	get_options(fcinfo, &options);
	if (!PG_ARGISNULL(1))
		n = datums_of_docs(jflow_docs_from_jsonb(PG_GETARG_JSONB_P(1)), &elems);
	PG_RETURN_JSONB_P(jflow_docs_to_jsonb(post_and_collect(&options, elems, n)));
}

/* A row about a call of a post. */
static void
explain_trace(void *arg, const JflowTraced *call)
{
	ReturnSetInfo *rsinfo = arg;
	bool		here = call->replica < 0;
	Datum		values[10];
	bool		nulls[10] = {false};

	values[0] = Int64GetDatum(call->request);
	values[1] = CStringGetTextDatum(call->executor);
	values[2] = Int32GetDatum(call->shard);
	values[3] = Int32GetDatum(call->replica);
	values[4] = Int32GetDatum(call->docs_in);
	values[5] = Int32GetDatum(call->docs_out);
	values[6] = Float8GetDatum(call->queue_us / 1000.0);
	values[7] = Float8GetDatum(call->run_us / 1000.0);
	values[8] = Float8GetDatum(call->hop_us / 1000.0);
	values[9] = call->plans ? CStringGetTextDatum(call->plans) : (Datum) 0;
	nulls[3] = nulls[6] = nulls[8] = here;
	nulls[9] = call->plans == NULL;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * jflow_explain(endpoint text, docs jsonb, flow text, parameters jsonb) RETURNS
 * SETOF record: posts, and returns a row per call instead of the answers.
 */
Datum
jflow_explain(PG_FUNCTION_ARGS)
{
	JflowPostOptions options;
	JflowPostResult result;
	ArraySource source;
	Datum	   *elems = NULL;
	int			n = 0;

	get_options(fcinfo, &options);
	options.ordered = true;
	options.trace = explain_trace;
	options.trace_arg = fcinfo->resultinfo;
	if (!PG_ARGISNULL(1))
		n = datums_of_docs(jflow_docs_from_jsonb(PG_GETARG_JSONB_P(1)), &elems);
	array_source_init(&source, elems, n);
	InitMaterializedSRF(fcinfo, 0);
	jflow_post_run(&options, &source.base, NULL, NULL, &result);
	return (Datum) 0;
}

/* The parameters of a search: those given, with limit and filter. */
static Jsonb *
search_parameters(Jsonb *parameters, int64 limit, Jsonb *filter)
{
	JsonbInState state = {0};
	Jsonb	   *own;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	jflow_json_push_int(&state, "limit", limit);
	if (filter)
		jflow_json_push_json(&state, "filter", filter);
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	own = JsonbValueToJsonb(state.result);
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(parameters),
											  JsonbPGetDatum(own)));
}

/* The one document of a search, posted; its answers are returned. */
static JflowDocs *
search(FunctionCallInfo fcinfo, bool read_only)
{
	JflowPostOptions options = {0};
	Datum		elem;
	int64		k;

	jflow_arg_required(fcinfo, 0, "query");
	jflow_arg_required(fcinfo, 1, "k");
	k = PG_GETARG_INT64(1);
	if (k < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("k must not be negative")));
	options.endpoint = "/search";
	options.flow = jflow_arg_text_or_null(fcinfo, 2);
	options.ordered = true;
	options.read_only = read_only;
	options.timeout_ms = jflow_timeout;
	options.parameters = PG_ARGISNULL(4) ? jflow_json_empty() : PG_GETARG_JSONB_P(4);
	if (!JB_ROOT_IS_OBJECT(options.parameters))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("parameters must be a JSON object")));
	options.parameters = search_parameters(options.parameters, k,
										   PG_ARGISNULL(3) ? NULL : PG_GETARG_JSONB_P(3));
	elem = doc_of_text(PG_GETARG_DATUM(0));
	return post_and_collect(&options, &elem, 1);
}

/*
 * jflow_search(query text, k int, flow text, filter jsonb, parameters jsonb)
 * RETURNS SETOF jflow_match: the matches of one document posted to /search.
 */
Datum
jflow_search(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	JflowDocs  *docs;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	docs = search(fcinfo, false);
	for (int i = 0; i < docs->ndocs; i++)
	{
		JflowMatch *matches;
		int			n;

		if (docs->docs[i].nulls[DOC_MATCHES])
			continue;
		n = jflow_matches_deform(docs->docs[i].values[DOC_MATCHES], &matches);
		for (int j = 0; j < n; j++)
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc,
								 matches[j].values, matches[j].nulls);
	}
	return (Datum) 0;
}

/*
 * jflow_search_json(query text, k int, flow text, filter jsonb, parameters jsonb)
 * RETURNS jsonb: the same matches as an array.  The post is one as in a read-only
 * transaction, whatever the transaction is.
 */
Datum
jflow_search_json(PG_FUNCTION_ARGS)
{
	JflowDocs  *docs = search(fcinfo, true);

	PG_RETURN_JSONB_P(jflow_matches_to_jsonb(docs));
}

/* May an executor be left out of a post that moves what it has worked on? */
static bool
is_left_out(const JflowExecutor *executor)
{
	return executor->class && executor->class->one_for_one && executor->uses_before == NULL &&
		executor->uses_after == NULL && (executor->requests == NULL || JB_ROOT_COUNT(executor->requests) == 0);
}

/* Does it keep documents under the ids that it is given, in a table of its own? */
static bool
stores_plainly(const JflowExecutor *executor)
{
	return executor->class && executor->class->stores && executor->when == NULL && !executor->floating &&
		executor->uses_before == NULL && executor->uses_after == NULL && (executor->requests == NULL || JB_ROOT_COUNT(executor->requests) == 0) &&
		(executor->class->table == NULL || executor->class->table(executor->uses_with) == NULL);
}

/*
 * The target of posts that move the documents of a flow to another server: the
 * executor that stores them.  Raises feature_not_supported for a flow of which it
 * cannot be said that what it stores is what was posted.
 */
static const JflowExecutor *
storing_executor(const char *flow_name, const char *endpoint)
{
	const JflowFlow *flow = jflow_flow_for_post(flow_name, endpoint);
	const JflowExecutor *storing = NULL;

	for (int i = 0; i < flow->nexecutors; i++)
	{
		const JflowExecutor *executor = &flow->executors[i];

		if (storing == NULL && stores_plainly(executor))
			storing = executor;
		else if (!is_left_out(executor))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("documents of flow \"%s\" cannot be moved to other servers", flow->name),
					 errdetail("Executor \"%s\" may store something else than was posted.", executor->name),
					 errhint("One PQLiteIndexer with a table of its own can store them, behind vectorizers and HttpExecutors.")));
	}
	if (storing == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("documents of flow \"%s\" cannot be moved to other servers", flow->name),
				 errdetail("No executor of it stores them.")));
	return storing;
}

/* A regular expression that a name alone matches. */
static char *
pattern_of(const char *name)
{
	StringInfoData pattern;

	initStringInfo(&pattern);
	for (const char *c = name; *c; c++)
	{
		if (!IS_HIGHBIT_SET(*c) && !isalnum((unsigned char) *c) && *c != '_')
			appendStringInfoChar(&pattern, '\\');
		appendStringInfoChar(&pattern, *c);
	}
	return pattern.data;
}

/* How an executor stores documents, as one that has its name. */
static Datum
stored_as(const JflowExecutor *executor)
{
	JflowDoc	doc;
	Datum		elem;

	jflow_doc_init(&doc);
	doc.values[DOC_ID] = CStringGetTextDatum(executor->name);
	doc.nulls[DOC_ID] = false;
	if (executor->class->stored_as)
	{
		doc.values[DOC_TAGS] = JsonbPGetDatum(executor->class->stored_as(executor->uses_with));
		doc.nulls[DOC_TAGS] = false;
	}
	elem = jflow_doc_form(&doc);
	return jflow_docs_from_datums(&elem, 1);
}

static bool
is_set(Jsonb *json, const char *name)
{
	JsonbValue	buffer;
	JsonbValue *value = jflow_json_get(json, name, &buffer);

	return value && value->type == jbvBool && value->val.boolean;
}

/* Documents of which nothing but the ids is left. */
static Datum
ids_alone(Datum docs)
{
	JflowDocs  *deformed = jflow_docs_deform(docs, "documents");

	for (int i = 0; i < deformed->ndocs; i++)
	{
		JflowDoc	doc;

		jflow_doc_init(&doc);
		doc.values[DOC_ID] = deformed->docs[i].values[DOC_ID];
		doc.nulls[DOC_ID] = deformed->docs[i].nulls[DOC_ID];
		deformed->docs[i] = doc;
	}
	return jflow_docs_form(deformed);
}

/* What another server says of the post that it makes this one for. */
static void
read_remote_options(Jsonb *json, const char *flow, JflowPostOptions *options, Jsonb **origin)
{
	JsonbValue	buffer;
	JsonbValue *value = jflow_json_get(json, "version", &buffer);
	int64		timeout;

	if (value == NULL || value->type != jbvNumeric ||
		DatumGetInt32(DirectFunctionCall1(numeric_int4, NumericGetDatum(value->val.numeric))) != JFLOW_ORIGIN_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the server that posts has another version of jflow"),
				 errdetail("This one is " JFLOW_VERSION ", and takes posts of version %d.", JFLOW_ORIGIN_VERSION),
				 errhint("Update jflow on the older of the two.")));
	value = jflow_json_get(json, "origin", &buffer);
	if (value == NULL || value->type != jbvBinary)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the origin of a post must be an array")));
	*origin = JsonbValueToJsonb(value);
	jflow_origin_check(*origin, flow);
	options->read_only = is_set(json, "read_only");
	options->moving = is_set(json, "stored");
	if (options->moving)
		options->target_executor = pattern_of(storing_executor(options->flow, options->endpoint)->name);
	value = jflow_json_get(json, "timeout", &buffer);
	if (value == NULL || value->type != jbvNumeric)
		return;
	timeout = Max(DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(value->val.numeric))), 1);
	if (options->timeout_ms == 0 || timeout < options->timeout_ms)
		options->timeout_ms = timeout;
}

/* Answers of all requests, as one array. */
static Datum
post_docs_collected(const JflowPostOptions *options, Datum docs)
{
	CollectSink sink = {CurrentMemoryContext, NULL, 0, 0};
	JflowPostResult result;
	ArraySource source;
	Datum	   *elems;
	int			n = jflow_docs_to_datums(docs, "docs", &elems);

	array_source_init(&source, elems, n);
	jflow_post_run(options, &source.base, collect_sink, &sink, &result);
	return jflow_docs_from_datums(sink.elems, sink.n);
}

/*
 * jflow.remote_post(endpoint text, docs jflow_doc[], flow text, parameters jsonb,
 * options jsonb) RETURNS jflow_doc[]: what a RemoteFlow on another server calls.  It
 * posts as whoever has called it.
 */
Datum
jflow_remote_post(PG_FUNCTION_ARGS)
{
	JflowPostOptions options = {0};
	Jsonb	   *outer = jflow_origin;
	Jsonb	   *origin;
	Jsonb	   *json = PG_GETARG_JSONB_P(4);
	Datum		answer;

	options.endpoint = text_to_cstring(PG_GETARG_TEXT_PP(0));
	options.flow = text_to_cstring(PG_GETARG_TEXT_PP(2));
	options.parameters = PG_GETARG_JSONB_P(3);
	options.timeout_ms = jflow_timeout;
	options.ordered = true;
	read_remote_options(json, options.flow, &options, &origin);
	if (is_set(json, "definition"))
		PG_RETURN_DATUM(stored_as(storing_executor(options.flow, options.endpoint)));
	PG_TRY();
	{
		jflow_origin = origin;
		answer = post_docs_collected(&options, PG_GETARG_DATUM(1));
	}
	PG_FINALLY();
	{
		jflow_origin = outer;
	}
	PG_END_TRY();
	PG_RETURN_DATUM(is_set(json, "ids") ? ids_alone(answer) : answer);
}
