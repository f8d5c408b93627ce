/*
 * remote.c
 *		A call of a RemoteFlow: an executor whose shards are flows on other servers.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "common/json.h"
#include "compat.h"
#include "executors/remote/remote.h"
#include "flow/origin.h"

PG_FUNCTION_INFO_V1(jflow_remote_call);

/* One call of the shard's server. */
typedef struct Call
{
	const JflowContext *context;
	const RemoteOptions *options;
	RemoteAsk	ask;
} Call;

/* The number of a parameter, or -1 if there is none. */
static int
count_of(Jsonb *parameters, const char *name)
{
	JsonbValue	buffer;
	JsonbValue *value = jflow_json_get(parameters, name, &buffer);
	bool		error = value == NULL || value->type != jbvNumeric;
	int			count = error ? 0 : numeric_int4_compat(value->val.numeric, &error);

	return error || count < 0 ? -1 : count;
}

static Jsonb *
without(Jsonb *parameters, const char *name)
{
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_delete, JsonbPGetDatum(parameters),
											  CStringGetTextDatum(name)));
}

/*
 * The parameters for a server.  A page of several servers' matches is cut here, so
 * each is asked for all matches up to its end.
 */
static Jsonb *
parameters_for(const Call *call, Jsonb *parameters)
{
	JsonbInState state = {0};
	int			limit = count_of(parameters, "limit");
	int			offset = Max(count_of(parameters, "offset"), 0);

	parameters = without(without(parameters, JFLOW_ORIGIN_PARAMETER), JFLOW_DEFINITION_PARAMETER);
	if (limit < 0 && call->options->limit > 0)
		limit = call->options->limit;
	if (strcmp(call->context->endpoint, "/search") != 0)
		return parameters;
	if (call->options->nservers == 1 && limit < 0)
		return parameters;
	if (limit < 0)
		limit = REMOTE_DEFAULT_LIMIT;
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	if (call->options->nservers == 1 || limit == 0)
		jflow_json_push_int(&state, "limit", limit);
	else
	{
		jflow_json_push_int(&state, "limit", (int64) limit + offset);
		if (offset > 0)
			jflow_json_push_int(&state, "offset", 0);
	}
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(parameters),
											  JsonbPGetDatum(JsonbValueToJsonb(state.result))));
}

/* A parameter that is ours, or NULL. */
static Jsonb *
own_parameter(Jsonb *parameters, const char *name)
{
	JsonbValue	buffer;
	JsonbValue *value = jflow_json_get(parameters, name, &buffer);

	return value && value->type == jbvBinary ? JsonbValueToJsonb(value) : NULL;
}

/* Status of which server it is: documents that we have not sent. */
static Datum
name_status(const Call *call, Datum answer)
{
	JflowDocs  *docs = jflow_docs_deform(answer, "documents");

	for (int i = jflow_docs_count(call->ask.docs); i < docs->ndocs; i++)
		if (!docs->docs[i].nulls[DOC_ID])
			docs->docs[i].values[DOC_ID] =
				CStringGetTextDatum(psprintf("%s/%s", call->ask.server,
											 TextDatumGetCString(docs->docs[i].values[DOC_ID])));
	return jflow_docs_form(docs);
}

/* Status of a server that is away: one document more. */
static Datum
status_of_away(const Call *call)
{
	JflowDocs  *docs = jflow_docs_deform(call->ask.docs, "documents");
	JflowDocs	result;
	JflowDoc   *doc;
	JsonbInState state = {0};

	result.ndocs = docs->ndocs + 1;
	result.docs = palloc(sizeof(JflowDoc) * result.ndocs);
	memcpy(result.docs, docs->docs, sizeof(JflowDoc) * docs->ndocs);
	doc = &result.docs[docs->ndocs];
	jflow_doc_init(doc);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	jflow_json_push_string(&state, "server", call->ask.server);
	jflow_json_push_string(&state, "state", "away");
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	doc->values[DOC_ID] = CStringGetTextDatum(call->ask.server);
	doc->values[DOC_TAGS] = JsonbPGetDatum(JsonbValueToJsonb(state.result));
	doc->nulls[DOC_ID] = doc->nulls[DOC_TAGS] = false;
	return jflow_docs_form(&result);
}

/* What a server that is away answers with "partial". */
static Datum
answer_of_away(const Call *call, const RemoteFailure *failure)
{
	const char *endpoint = call->context->endpoint;

	remote_raise(failure, WARNING);
	if (strcmp(endpoint, "/status") == 0)
		return status_of_away(call);
	return strcmp(endpoint, "/search") == 0 ? call->ask.docs : jflow_docs_empty();
}

/* Ask the server of the shard, and make its answer ours. */
static Datum
ask_shard(const Call *call)
{
	RemoteFailure failure;
	Datum		docs;

	if (!call->options->partial || !call->ask.read_only)
		docs = remote_ask_or_raise(&call->ask);
	else
	{
		docs = remote_ask(&call->ask, &failure);
		if (docs == (Datum) 0)
			return answer_of_away(call, &failure);
	}
	return strcmp(call->context->endpoint, "/status") == 0 ? name_status(call, docs) : docs;
}

/*
 * The servers as the post was planned with: a change in the middle of it, which a
 * replica would see, must not give its shards another meaning.
 */
static const RemoteOptions *
planned_options(const JflowContext *context, Jsonb *parameters)
{
	Jsonb	   *definition = own_parameter(parameters, JFLOW_DEFINITION_PARAMETER);

	return remote_options_read(definition ? definition : context->executor->uses_with);
}

/*
 * jflow.remote_call(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]: posts
 * them to the flow on the server of the shard.
 */
Datum
jflow_remote_call(PG_FUNCTION_ARGS)
{
	const JflowContext *context = jflow_context_required();
	Call		call = {context};
	Jsonb	   *parameters = PG_GETARG_JSONB_P(1);
	const RemoteOptions *now;

	if (context->executor->class != &remote_class)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("executor \"%s\" is not a %s", context->executor->name, REMOTE_CLASS)));
	call.options = planned_options(context, parameters);
	if (context->shard >= call.options->nservers)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("executor \"%s\" has no server for shard %d", context->executor->name, context->shard),
				 errhint("Remove the executor with jflow_remove and add it again.")));
	call.ask.server = call.options->servers[context->shard];
	call.ask.user = context->user;
	call.ask.front = context->flow->name;
	call.ask.flow = call.options->flow;
	call.ask.endpoint = context->endpoint;
	call.ask.docs = PG_GETARG_DATUM(0);
	call.ask.parameters = parameters_for(&call, parameters);
	call.ask.origin = own_parameter(parameters, JFLOW_ORIGIN_PARAMETER);
	call.ask.read_only = XactReadOnly;
	call.ask.until = context->until;
	if (XactReadOnly)
		PG_RETURN_DATUM(ask_shard(&call));

	/* What is written goes where documents are now. */
	now = remote_options_now(context, call.options);
	if (now->moving || call.options->moving)
		remote_check_isolation(context->executor->name);
	if (jflow_class_writes_by_id(context->endpoint) && jflow_docs_count(call.ask.docs) == 0 && call.options->moving)
		PG_RETURN_DATUM(jflow_docs_empty());
	if (jflow_class_writes_by_id(context->endpoint) && jflow_docs_count(call.ask.docs) > 0 &&
		(now->moving || now != call.options))
		PG_RETURN_DATUM(remote_write_by_id(&call.ask, now, context));
	if (call.options->moving)
		PG_RETURN_DATUM(remote_write_moving(&call.ask, call.options, context));
	PG_RETURN_DATUM(ask_shard(&call));
}
