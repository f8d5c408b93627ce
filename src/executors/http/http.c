/*
 * http.c
 *		HttpExecutor: its executor function, and the class.
 *
 * A call has three steps: read what is needed of the catalog and the documents;
 * send, and wait for answers; put them into the documents.  In a replica the
 * second has no transaction, so it may take its time: see JflowWaiting.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "compat.h"
#include "executors/http/http.h"
#include "miscadmin.h"

PG_FUNCTION_INFO_V1(jflow_http_call);

/* In the order of HttpCounter. */
static const char *const counters[] = {
	"calls", "retries", "throttled", "milliseconds", "tokens", "cached", NULL
};

/* For jflow_add: raises what http_options_read raises. */
static void
check_options(Jsonb *uses_with)
{
	(void) http_options_read(uses_with);
}

const JflowClass http_class = {
	.name = HTTP_CLASS,
	.check = check_options,
	.one_for_one = true,
	.waits = jflow_http_call,
	.counters = counters,
};

/* Says what to do where the second library, or libcurl, is missing. */
static void
library_error_context(void *arg)
{
	errhint("HttpExecutor needs the library jflow_http, which comes with jflow, and libcurl.");
}

static const HttpTransport *
load_transport(void)
{
	static const HttpTransport *transport = NULL;
	ErrorContextCallback callback;
	const HttpTransport *(*function) (void);

	if (transport)
		return transport;
	callback.callback = library_error_context;
	callback.arg = NULL;
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	function = (const HttpTransport *(*) (void))
		load_external_function(HTTP_TRANSPORT_LIBRARY, HTTP_TRANSPORT_FUNCTION, true, NULL);
	if (function()->version != HTTP_TRANSPORT_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("library jflow_http is of another version of jflow")));
	error_context_stack = callback.previous;
	transport = function();
	return transport;
}

/* A string as JSON, in UTF-8. */
static char *
as_json(const char *string)
{
	Size		len = strlen(string);
	const char *utf8 = jflow_to_utf8(string, &len);

	return http_quote(utf8, len);
}

/* The first step: all that needs a transaction. */
static HttpJob *
prepare(const JflowContext *call, Datum docs, Jsonb *parameters)
{
	HttpJob    *job = palloc0(sizeof(HttpJob));
	const char *input_type;
	char	   *json;
	Size		len;

	job->context = CurrentMemoryContext;
	job->call = call;
	job->tally = call->tally;
	job->owner = GetUserNameFromId(call->user, false);
	job->options = http_options_read(call->executor->uses_with);
	job->server = http_server_read(job->options->server, call->user);
	job->transport = load_transport();
	input_type = http_by_endpoint(job->options->input_type, call->endpoint);
	if (input_type == NULL)
		input_type = strcmp(call->endpoint, "/search") == 0 ? "search_query" : "search_document";
	job->endpoint = as_json(call->endpoint);
	job->model = job->options->model ? as_json(job->options->model) : "null";
	job->input_type = as_json(input_type);
	json = JsonbToCString(NULL, &parameters->root, 0);
	len = strlen(json);
	job->parameters = pstrdup(jflow_to_utf8(json, &len));
	http_headers_make(job);
	job->docs = jflow_docs_deform(docs, "docs");
	http_items_take(job);
	return job;
}

static void
wait_for_answers(void *arg)
{
	http_run(arg);
}

static Datum
give_answers(void *arg)
{
	return http_items_give(arg);
}

/*
 * jflow.http_call(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]: sends
 * what the executor's options say to its server, and fills in what it answers.
 */
Datum
jflow_http_call(PG_FUNCTION_ARGS)
{
	const JflowContext *call = jflow_context_required();
	MemoryContext old = CurrentMemoryContext;
	HttpJob    *job;

	if (call->executor->class != &http_class || call->tally == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("executor \"%s\" is not an HttpExecutor", call->executor->name)));
	if (jflow_docs_count(PG_GETARG_DATUM(0)) == 0)
		PG_RETURN_NULL();
	if (call->waiting)
		(void) MemoryContextSwitchTo(call->waiting->context);
	job = prepare(call, PG_GETARG_DATUM(0), PG_GETARG_JSONB_P(1));
	MemoryContextSwitchTo(old);
	if (job->nitems == 0 && job->options->task != HTTP_RERANK)
		PG_RETURN_NULL();
	if (call->waiting)
	{
		call->waiting->wait = wait_for_answers;
		call->waiting->answer = give_answers;
		call->waiting->arg = job;
		PG_RETURN_NULL();
	}
	http_run(job);
	PG_RETURN_DATUM(http_items_give(job));
}
