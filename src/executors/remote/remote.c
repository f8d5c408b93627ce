/*
 * remote.c
 *		RemoteFlow: an executor whose shards are flows on other servers.
 *
 * A request is one query there: jflow.remote_post, which posts as whoever we have
 * logged in as.  Documents travel as text, so that nothing depends on numbers of
 * types or on the schemas of extensions.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "common/json.h"
#include "compat.h"
#include "executors/remote/remote.h"
#include "flow/origin.h"

PG_FUNCTION_INFO_V1(jflow_remote_call);

#define GRACE_MS 500			/* that the server goes on after our limit, so
								 * that the limit is ours */

/* One call of one server. */
typedef struct Call
{
	const JflowContext *context;
	const RemoteOptions *options;
	const char *server;
	Datum		docs;
	bool		read_only;
	const char *params[5];
} Call;

/* Adds the server to an error. */
static void
call_error_context(void *arg)
{
	errcontext("server \"%s\"", ((const Call *) arg)->server);
}

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

	parameters = without(parameters, JFLOW_ORIGIN_PARAMETER);
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

/* What the server is to know of the post that it posts for. */
static Jsonb *
options_for(const Call *call, Jsonb *parameters)
{
	const JflowContext *context = call->context;
	JsonbInState state = {0};
	JsonbValue	buffer;
	JsonbValue *value = jflow_json_get(parameters, JFLOW_ORIGIN_PARAMETER, &buffer);
	Jsonb	   *origin = NULL;

	if (value && jflow_json_is_array(value))
		origin = JsonbValueToJsonb(value);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	jflow_json_push_int(&state, "version", JFLOW_ORIGIN_VERSION);
	jflow_json_push_json(&state, "origin", jflow_origin_add(origin, context->flow->name));
	jflow_json_push_bool(&state, "read_only", call->read_only);
	if (context->until != DT_NOEND)
		jflow_json_push_int(&state, "timeout",
							Max((context->until - GetCurrentTimestamp()) / 1000, 0) + GRACE_MS);
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(state.result);
}

static const char *
json_text(Jsonb *json)
{
	return JsonbToCString(NULL, &json->root, VARSIZE(json));
}

/*
 * Ask the server, a second time where an old connection turns out to be gone
 * before anything was done.  NULL, with the failure: it is not there.
 */
static char *
ask(const Call *call, RemoteFailure *failure)
{
	char	   *answer = NULL;
	bool		retry = true;

	for (int i = 0; i < 2 && answer == NULL && retry; i++)
	{
		RemoteConnection *connection = remote_connect(call->server, call->context->user, failure);

		if (connection == NULL)
			return NULL;
		answer = remote_query(connection,
							  !call->read_only || IsolationUsesXactSnapshot() ||
							  remote_in_transaction(connection),
							  "SELECT jflow.remote_post($1, $2, $3, $4, $5)",
							  lengthof(call->params), call->params, failure, &retry);
	}
	return answer;
}

/* Status of which server it is: documents that we have not sent. */
static Datum
name_status(const Call *call, Datum answer)
{
	JflowDocs  *docs = jflow_docs_deform(answer, "documents");

	for (int i = jflow_docs_count(call->docs); i < docs->ndocs; i++)
		if (!docs->docs[i].nulls[DOC_ID])
			docs->docs[i].values[DOC_ID] =
				CStringGetTextDatum(psprintf("%s/%s", call->server,
											 TextDatumGetCString(docs->docs[i].values[DOC_ID])));
	return jflow_docs_form(docs);
}

/* Status of a server that is away: one document more. */
static Datum
status_of_away(const Call *call)
{
	JflowDocs  *docs = jflow_docs_deform(call->docs, "documents");
	JflowDocs	result;
	JflowDoc   *doc;
	JsonbInState state = {0};

	result.ndocs = docs->ndocs + 1;
	result.docs = palloc(sizeof(JflowDoc) * result.ndocs);
	memcpy(result.docs, docs->docs, sizeof(JflowDoc) * docs->ndocs);
	doc = &result.docs[docs->ndocs];
	jflow_doc_init(doc);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	jflow_json_push_string(&state, "server", call->server);
	jflow_json_push_string(&state, "state", "away");
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	doc->values[DOC_ID] = CStringGetTextDatum(call->server);
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
	return strcmp(endpoint, "/search") == 0 ? call->docs : jflow_docs_empty();
}

static Datum
docs_of_text(char *text)
{
	Oid			input;
	Oid			param;

	getTypeInputInfo(jflow_types()->doc_array, &input, &param);
	return OidInputFunctionCall(input, text, param, -1);
}

static char *
text_of_docs(Datum docs)
{
	Oid			output;
	bool		varlena;

	getTypeOutputInfo(jflow_types()->doc_array, &output, &varlena);
	return OidOutputFunctionCall(output, docs);
}

/* So that texts of values are the same to both sides, until the GUC level ends. */
static int
set_formats(void)
{
	int			level = NewGUCNestLevel();

	if (extra_float_digits < 1)
		(void) set_config_option("extra_float_digits", "3", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	return level;
}

/*
 * jflow.remote_call(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]: posts
 * them to the flow on the server of the shard.
 */
Datum
jflow_remote_call(PG_FUNCTION_ARGS)
{
	const JflowContext *context = jflow_context_required();
	Jsonb	   *parameters = PG_GETARG_JSONB_P(1);
	Call		call = {context};
	RemoteFailure failure;
	ErrorContextCallback callback;
	char	   *answer;
	Datum		docs;
	int			level;

	if (context->executor->class != &remote_class)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("executor \"%s\" is not a %s", context->executor->name, REMOTE_CLASS)));
	call.options = remote_options_read(context->executor->uses_with);
	if (context->shard >= call.options->nservers)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("executor \"%s\" has no server for shard %d", context->executor->name, context->shard),
				 errhint("Remove the executor with jflow_remove and add it again.")));
	call.server = call.options->servers[context->shard];
	call.docs = PG_GETARG_DATUM(0);
	call.read_only = XactReadOnly;

	callback.callback = call_error_context;
	callback.arg = &call;
	callback.previous = error_context_stack;
	error_context_stack = &callback;

	level = set_formats();
	call.params[0] = context->endpoint;
	call.params[1] = text_of_docs(call.docs);
	AtEOXact_GUC(false, level);
	call.params[2] = call.options->flow;
	call.params[3] = json_text(parameters_for(&call, parameters));
	call.params[4] = json_text(options_for(&call, parameters));
	answer = ask(&call, &failure);
	if (answer == NULL && (!call.options->partial || !call.read_only))
		remote_raise(&failure, ERROR);
	docs = answer ? docs_of_text(answer) : answer_of_away(&call, &failure);
	if (answer && strcmp(context->endpoint, "/status") == 0)
		docs = name_status(&call, docs);
	error_context_stack = callback.previous;
	PG_RETURN_DATUM(docs);
}
