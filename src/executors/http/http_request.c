/*
 * http_request.c
 *		Requests in the formats of the providers.
 *
 * OpenAI's and Cohere's are those of their public references of 2025, which
 * vLLM, llama.cpp, LocalAI, Jina and others follow; Ollama's is /api/embed and
 * /api/generate; TEI's (Text Embeddings Inference) /embed and /rerank.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"

#include "common/json.h"
#include "compat.h"
#include "executors/http/http.h"

/* Append a string of UTF-8 as JSON. */
static void
append_quoted(StringInfo body, const char *utf8, int len)
{
	const char *end = utf8 + len;

	appendStringInfoCharMacro(body, '"');
	while (utf8 < end)
	{
		const char *plain = utf8;

		while (utf8 < end && (unsigned char) *utf8 >= 0x20 && *utf8 != '"' && *utf8 != '\\')
			utf8++;
		appendBinaryStringInfo(body, plain, utf8 - plain);
		if (utf8 == end)
			break;
		switch (*utf8)
		{
			case '"':
				appendStringInfoString(body, "\\\"");
				break;
			case '\\':
				appendStringInfoString(body, "\\\\");
				break;
			case '\n':
				appendStringInfoString(body, "\\n");
				break;
			case '\t':
				appendStringInfoString(body, "\\t");
				break;
			case '\r':
				appendStringInfoString(body, "\\r");
				break;
			default:
				appendStringInfo(body, "\\u%04x", (unsigned char) *utf8);
		}
		utf8++;
	}
	appendStringInfoCharMacro(body, '"');
}

/* A string of UTF-8 as JSON, in the current memory context. */
char *
http_quote(const char *utf8, int len)
{
	StringInfoData quoted;

	initStringInfo(&quoted);
	append_quoted(&quoted, utf8, len);
	return quoted.data;
}

/* The texts of a batch as an array, or its only one as a string. */
static void
append_texts(HttpJob *job, StringInfo body, const HttpBatch *batch)
{
	appendStringInfoChar(body, '[');
	for (int i = 0; i < batch->n; i++)
	{
		const HttpItem *item = &job->items[batch->first + i];

		CHECK_FOR_INTERRUPTS();
		if (i > 0)
			appendStringInfoChar(body, ',');
		if (job->server->provider == HTTP_JFLOW)
			appendBinaryStringInfo(body, item->text, item->len);	/* JSON already */
		else
			append_quoted(body, item->text, item->len);
	}
	appendStringInfoChar(body, ']');
}

static void
append_text(HttpJob *job, StringInfo body, const HttpBatch *batch)
{
	const HttpItem *item = &job->items[batch->first];

	append_quoted(body, item->text, item->len);
}

/* What the matches of a batch are ranked for. */
static void
append_query(HttpJob *job, StringInfo body, const HttpBatch *batch)
{
	const HttpItem *query = &job->queries[job->items[batch->first].doc];

	append_quoted(body, query->text, query->len);
}

static void
write_openai(HttpJob *job, HttpBatch *batch)
{
	StringInfo	body = &batch->body;

	appendStringInfo(body, "{\"model\":%s,", job->model);
	switch (job->options->task)
	{
		case HTTP_EMBED:
			appendStringInfoString(body, "\"input\":");
			append_texts(job, body, batch);
			if (job->options->dimensions)
				appendStringInfo(body, ",\"dimensions\":%d", job->options->dimensions);
			appendStringInfo(body, ",\"encoding_format\":\"%s\"}",
							 job->options->base64 ? "base64" : "float");
			break;
		case HTTP_RERANK:
			appendStringInfoString(body, "\"query\":");
			append_query(job, body, batch);
			appendStringInfoString(body, ",\"documents\":");
			append_texts(job, body, batch);
			appendStringInfo(body, ",\"top_n\":%d}", batch->n);
			break;
		case HTTP_GENERATE:
			appendStringInfoString(body, "\"messages\":[{\"role\":\"user\",\"content\":");
			append_text(job, body, batch);
			appendStringInfoString(body, "}]}");
	}
}

static void
write_cohere(HttpJob *job, HttpBatch *batch)
{
	StringInfo	body = &batch->body;

	if (job->options->task != HTTP_EMBED)
	{
		write_openai(job, batch);
		return;
	}
	appendStringInfo(body, "{\"model\":%s,\"input_type\":%s,\"embedding_types\":[\"%s\"],\"texts\":",
					 job->model, job->input_type, job->options->base64 ? "base64" : "float");
	append_texts(job, body, batch);
	if (job->options->dimensions)
		appendStringInfo(body, ",\"output_dimension\":%d", job->options->dimensions);
	appendStringInfoChar(body, '}');
}

static void
write_ollama(HttpJob *job, HttpBatch *batch)
{
	StringInfo	body = &batch->body;

	if (job->options->task == HTTP_GENERATE)
	{
		appendStringInfo(body, "{\"model\":%s,\"stream\":false,\"prompt\":", job->model);
		append_text(job, body, batch);
		appendStringInfoChar(body, '}');
		return;
	}
	appendStringInfo(body, "{\"model\":%s,\"input\":", job->model);
	append_texts(job, body, batch);
	if (job->options->dimensions)
		appendStringInfo(body, ",\"dimensions\":%d", job->options->dimensions);
	appendStringInfoChar(body, '}');
}

static void
write_tei(HttpJob *job, HttpBatch *batch)
{
	StringInfo	body = &batch->body;

	if (job->options->task == HTTP_RERANK)
	{
		appendStringInfoString(body, "{\"query\":");
		append_query(job, body, batch);
		appendStringInfoString(body, ",\"texts\":");
	}
	else
		appendStringInfoString(body, "{\"inputs\":");
	append_texts(job, body, batch);
	appendStringInfoChar(body, '}');
}

/* A call of jflow_call of another server, as an HTTP layer takes it. */
static void
write_jflow(HttpJob *job, HttpBatch *batch)
{
	StringInfo	body = &batch->body;

	appendStringInfo(body, "{\"endpoint\":%s,\"docs\":", job->endpoint);
	append_texts(job, body, batch);
	if (job->options->model)
		appendStringInfo(body, ",\"flow\":%s", job->model);
	appendStringInfo(body, ",\"parameters\":%s}", job->parameters);
}

/* The request of a template; a value that is "$name" stands for what it names. */
static void
write_template(HttpJob *job, HttpBatch *batch)
{
	StringInfo	body = &batch->body;
	const char *at = job->server->request;
	const char *dollar;

	while ((dollar = strstr(at, "\"$")))
	{
		const char *end = strchr(dollar + 2, '"');
		size_t		len = end ? end - dollar - 2 : 0;

		appendBinaryStringInfo(body, at, dollar - at);
#define IS(name) (len == strlen(name) && memcmp(dollar + 2, name, len) == 0)
		if (IS("texts"))
			append_texts(job, body, batch);
		else if (IS("text"))
			append_text(job, body, batch);
		else if (IS("query") && job->options->task == HTTP_RERANK)
			append_query(job, body, batch);
		else if (IS("model"))
			appendStringInfoString(body, job->model);
		else if (IS("input_type"))
			appendStringInfoString(body, job->input_type);
		else if (IS("dimensions") && job->options->dimensions)
			appendStringInfo(body, "%d", job->options->dimensions);
		else if (IS("dimensions"))
			appendStringInfoString(body, "null");
		else
		{
			appendStringInfoString(body, "\"$");
			at = dollar + 2;
			continue;
		}
#undef IS
		at = end + 1;
	}
	appendStringInfoString(body, at);
}

/* Can only one item be sent at a time? */
bool
http_one_by_one(const HttpJob *job)
{
	if (job->server->provider == HTTP_TEMPLATE)
		return strstr(job->server->request, "\"$texts\"") == NULL;
	return job->options->task == HTTP_GENERATE && job->server->provider != HTTP_JFLOW;
}

/*
 * What all requests of a job have in common.  Raises feature_not_supported for a
 * task that a provider does not have.
 */
void
http_headers_make(HttpJob *job)
{
	HttpProvider provider = job->server->provider;
	HttpTask	task = job->options->task;
	int			n = 0;

	if ((task == HTTP_RERANK && (provider == HTTP_OLLAMA || provider == HTTP_JFLOW)) ||
		(task == HTTP_GENERATE && (provider == HTTP_TEI || provider == HTTP_JFLOW)))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the provider of server \"%s\" does not support the task of executor \"%s\"",
						job->server->name, job->call->executor->name)));
	job->headers[n++] = "Content-Type: application/json";
	job->headers[n++] = "Accept: application/json";
	job->headers[n++] = "User-Agent: jflow/" JFLOW_VERSION;
	job->headers[n++] = "Expect:";	/* ask for no leave to send */
	if (job->server->key && job->server->key_header)
		job->headers[n++] = psprintf("%s: %s", job->server->key_header, job->server->key);
	else if (job->server->key)
		job->headers[n++] = psprintf("Authorization: Bearer %s", job->server->key);
	job->headers[n] = NULL;
	Assert(n < lengthof(job->headers));
}

/* Write the request of a batch.  Touches no catalog. */
void
http_request_write(HttpJob *job, HttpBatch *batch)
{
	static void (*const writers[]) (HttpJob *, HttpBatch *) = {
		[HTTP_OPENAI] = write_openai,
		[HTTP_OLLAMA] = write_ollama,
		[HTTP_TEI] = write_tei,
		[HTTP_COHERE] = write_cohere,
		[HTTP_JFLOW] = write_jflow,
		[HTTP_TEMPLATE] = write_template,
	};
	HttpCall   *call = &batch->call;

	if (batch->body.data == NULL)
	{
		initStringInfo(&batch->body);
		writers[job->server->provider] (job, batch);
	}
	memset(call, 0, sizeof(*call));
	call->url = job->server->url;
	call->headers = job->headers;
	call->body = batch->body.data;
	call->body_len = batch->body.len;
	call->proxy = job->server->proxy;
	call->ca_file = job->server->ca_file;
	call->connect_timeout_ms = job->options->connect_timeout_ms;
	call->timeout_ms = job->options->timeout_ms;
	call->max_answer = job->server->max_answer;
}
