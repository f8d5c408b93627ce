/*
 * http_answer.c
 *		Answers in the formats of the providers.
 *
 * A service is not trusted to answer what it was asked: number, order, type and
 * length of what comes back are checked.
 */
#include "postgres.h"

#include <math.h>

#include "common/base64.h"
#include "mb/pg_wchar.h"
#include "utils/memutils.h"

#include "compat.h"
#include "executors/http/http.h"
#include "vector.h"

#define MAX_MESSAGE 200			/* bytes of a service's that are told */

static void JFLOW_NORETURN
wrong_answer(const HttpJob *job, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_FDW_UNABLE_TO_CREATE_REPLY),
			 errmsg("server \"%s\" gave a wrong answer", job->server->name),
			 errdetail("%s", detail)));
}

/* The values of an array; raises where it is none, or has another number. */
static HttpJson *
checked_array(const HttpJob *job, HttpJson *array, int n, const char *what)
{
	if (array == NULL || (array->type != JSON_ARRAY && !(array->type == JSON_NUMBERS && array->n == 0)))
		wrong_answer(job, psprintf("It has no array of %s.", what));
	if (array->n != n)
		wrong_answer(job, psprintf("It has %d %s instead of %d.", array->n, what, n));
	return array;
}

/* Bytes of base64 as little-endian floats. */
static float *
decode_floats(const HttpJob *job, const HttpJson *string, int *n)
{
	int			size = pg_b64_dec_len(string->n);
	unsigned char *bytes = palloc(size + 1);
	int			len = pg_b64_decode_compat(string->string, string->n, (char *) bytes, size);
	float	   *numbers;

	if (len < 0 || len % 4 != 0)
		wrong_answer(job, "A vector is no base64 of floats.");
	*n = len / 4;
	numbers = palloc(sizeof(float) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		uint32		word = bytes[4 * i] | bytes[4 * i + 1] << 8 | bytes[4 * i + 2] << 16 |
			(uint32) bytes[4 * i + 3] << 24;

		memcpy(&numbers[i], &word, sizeof(float));
	}
	return numbers;
}

/* The dimensions that all vectors of a job must have; 0: not known yet. */
static int
wanted_dimensions(const HttpJob *job)
{
	if (job->options->dimensions)
		return job->options->dimensions;
	for (int i = 0; i < job->nitems; i++)
		if (job->items[i].vector)
			return job->items[i].dim;
	return 0;
}

static void
set_vector(HttpJob *job, HttpItem *item, HttpJson *value, int wanted)
{
	float	   *numbers;
	int			n;

	if (value && value->type == JSON_NUMBERS)
	{
		numbers = value->numbers;
		n = value->n;
	}
	else if (value && value->type == JSON_STRING)
		numbers = decode_floats(job, value, &n);
	else
		wrong_answer(job, "A vector is no array of numbers.");
	if (n < 1 || n > VECTOR_MAX_DIM)
		wrong_answer(job, psprintf("A vector has %d dimensions.", n));
	if (wanted && n != wanted)
		wrong_answer(job, psprintf("A vector has %d dimensions instead of %d.", n, wanted));
	for (int i = 0; i < n; i++)
		if (!isfinite(numbers[i]))
			wrong_answer(job, "A vector has a number that is not finite.");
	item->vector = MemoryContextAlloc(job->context, sizeof(float) * n);
	memcpy(item->vector, numbers, sizeof(float) * n);
	item->dim = n;
	item->done = true;
}

/* Vectors in the order of the texts. */
static void
set_vectors(HttpJob *job, const HttpBatch *batch, HttpJson *vectors)
{
	int			wanted = wanted_dimensions(job);

	vectors = checked_array(job, vectors, batch->n, "vectors");
	for (int i = 0; i < batch->n; i++)
	{
		HttpItem   *item = &job->items[batch->first + i];

		set_vector(job, item, &vectors->items[i], wanted);
		wanted = item->dim;
	}
}

/*
 * The item that an object with an index is for: the next where it has none.
 * Raises where it is none of the batch, or one for the second time.
 */
static HttpItem *
item_of(HttpJob *job, const HttpBatch *batch, HttpJson *object, int position)
{
	HttpJson   *index = http_json_member(object, "index");
	double		number = index ? index->number : position;
	HttpItem   *item;

	if ((index && index->type != JSON_NUMBER) || !(number >= 0 && number < batch->n) ||
		number != floor(number))
		wrong_answer(job, "An index is none of what was sent.");
	item = &job->items[batch->first + (int) number];
	if (item->done)
		wrong_answer(job, "An index is there twice.");
	return item;
}

static void
read_openai_vectors(HttpJob *job, HttpBatch *batch, HttpJson *root)
{
	HttpJson   *data = checked_array(job, http_json_member(root, "data"), batch->n, "vectors");
	int			wanted = wanted_dimensions(job);

	for (int i = 0; i < batch->n; i++)
	{
		HttpItem   *item = item_of(job, batch, &data->items[i], i);

		set_vector(job, item, http_json_member(&data->items[i], "embedding"), wanted);
		wanted = item->dim;
	}
}

/* A service's relevance is better the larger it is, a match's score the smaller. */
static void
set_score(HttpJob *job, HttpItem *item, HttpJson *relevance)
{
	if (relevance == NULL || relevance->type != JSON_NUMBER || !isfinite(relevance->number))
		wrong_answer(job, "A relevance is no finite number.");
	item->score = 1 - relevance->number;
	item->done = true;
}

static void
read_scores(HttpJob *job, HttpBatch *batch, HttpJson *results, const char *name)
{
	results = checked_array(job, results, batch->n, "scores");
	for (int i = 0; i < batch->n; i++)
		set_score(job, item_of(job, batch, &results->items[i], i),
				  http_json_member(&results->items[i], name));
}

static void
set_text(HttpJob *job, const HttpBatch *batch, HttpJson *value)
{
	HttpItem   *item = &job->items[batch->first];

	if (value == NULL || value->type != JSON_STRING)
		wrong_answer(job, "It has no text.");
	item->answer = MemoryContextStrdup(job->context, value->string);
	item->done = true;
}

/* The first value at a path, or NULL. */
static HttpJson *
at_path(HttpJson *root, const char *path)
{
	int			n;
	HttpJson  **found = http_json_path(root, path, &n);

	return n > 0 ? found[0] : NULL;
}

static void
read_template(HttpJob *job, HttpBatch *batch, HttpJson *root)
{
	int			wanted = wanted_dimensions(job);
	int			n;
	HttpJson  **found = http_json_path(root, job->server->response, &n);

	/* a path to the one array of all numbers, as [*] of it would give */
	if (job->options->task == HTTP_RERANK && n == 1 && found[0]->type == JSON_NUMBERS &&
		found[0]->n == batch->n)
		found = http_json_path(root, psprintf("%s[*]", job->server->response), &n);
	if (n != batch->n)
		wrong_answer(job, psprintf("The path of the option response leads to %d values instead of %d.",
								   n, batch->n));
	for (int i = 0; i < n; i++)
	{
		HttpItem   *item = &job->items[batch->first + i];

		switch (job->options->task)
		{
			case HTTP_EMBED:
				set_vector(job, item, found[i], wanted);
				wanted = item->dim;
				break;
			case HTTP_RERANK:
				set_score(job, item, found[i]);
				break;
			case HTTP_GENERATE:
				if (found[i]->type != JSON_STRING)
					wrong_answer(job, "It has no text.");
				item->answer = MemoryContextStrdup(job->context, found[i]->string);
				item->done = true;
		}
	}
}

/* Documents are read when there is a transaction again. */
static void
keep_documents(HttpJob *job, HttpBatch *batch, HttpJson *root)
{
	HttpBatch **link = &job->done;

	if (root->type != JSON_ARRAY && !(root->type == JSON_NUMBERS && root->n == 0))
		wrong_answer(job, "It is no array of documents.");
	batch->documents = MemoryContextStrdup(job->context, batch->call.answer);
	while (*link && (*link)->first < batch->first)
		link = &(*link)->next;
	batch->next = *link;
	*link = batch;
	for (int i = 0; i < batch->n; i++)
		job->items[batch->first + i].done = true;
}

static void
read_vectors(HttpJob *job, HttpBatch *batch, HttpJson *root)
{
	HttpJson   *vectors;

	switch (job->server->provider)
	{
		case HTTP_OPENAI:
			read_openai_vectors(job, batch, root);
			break;
		case HTTP_OLLAMA:
			set_vectors(job, batch, http_json_member(root, "embeddings"));
			break;
		case HTTP_COHERE:
			vectors = http_json_member(root, "embeddings");
			if (vectors && vectors->type == JSON_OBJECT)
				vectors = http_json_member(vectors, job->options->base64 ? "base64" : "float");
			set_vectors(job, batch, vectors);
			break;
		default:
			set_vectors(job, batch, root);
	}
}

static void
read_answer(HttpJob *job, HttpBatch *batch, HttpJson *root)
{
	HttpProvider provider = job->server->provider;

	if (provider == HTTP_JFLOW)
		keep_documents(job, batch, root);
	else if (provider == HTTP_TEMPLATE)
		read_template(job, batch, root);
	else if (job->options->task == HTTP_EMBED)
		read_vectors(job, batch, root);
	else if (job->options->task == HTTP_RERANK)
	{
		if (provider == HTTP_TEI)
			read_scores(job, batch, root, "score");
		else
			read_scores(job, batch, http_json_member(root, "results"), "relevance_score");
	}
	else
		set_text(job, batch, at_path(root, provider == HTTP_OLLAMA ? "$.response" :
									 provider == HTTP_COHERE ? "$.message.content[0].text" :
									 "$.choices[0].message.content"));
}

/* Tokens that a service says to have read and written. */
static void
count_tokens(HttpJob *job, HttpJson *root)
{
	static const char *const paths[] = {
		"$.usage.total_tokens", "$.prompt_eval_count", "$.eval_count",
		"$.meta.billed_units.input_tokens", "$.meta.billed_units.output_tokens"
	};

	for (int i = 0; i < lengthof(paths); i++)
	{
		HttpJson   *value = root->type == JSON_OBJECT ? at_path(root, paths[i]) : NULL;

		if (value && value->type == JSON_NUMBER && value->number > 0 && value->number < 1e15)
			http_count(job, HTTP_TOKENS, (int64) value->number);
	}
}

/*
 * Read the answer of a batch into its items.  Raises fdw_unable_to_create_reply
 * where it is not what was asked for.  Touches no catalog.
 */
void
http_answer_read(HttpJob *job, HttpBatch *batch)
{
	MemoryContext context = AllocSetContextCreate(job->context, "jflow HTTP answer",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	const HttpCall *call = &batch->call;
	const char *error;
	HttpJson   *root = http_json_read(call->answer ? call->answer : "", call->answer_len, &error);

	if (root == NULL)
		wrong_answer(job, psprintf("It is no valid JSON: %s.", error));
	count_tokens(job, root);
	read_answer(job, batch, root);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

/* The member of an object, or of the object in it, that tells of an error. */
static HttpJson *
find_message(HttpJson *root)
{
	static const char *const paths[] = {"$.error.message", "$.message", "$.detail", "$.error"};

	for (int i = 0; i < lengthof(paths); i++)
	{
		HttpJson   *value = at_path(root, paths[i]);

		if (value && value->type == JSON_STRING)
			return value;
	}
	return NULL;
}

/*
 * What a service says of an error, in the database's encoding, for an error's
 * detail; NULL where it says nothing.  It may repeat what was sent: the key is
 * blotted out.  Touches no catalog.
 */
char *
http_service_message(HttpJob *job, const HttpCall *call)
{
	const char *error;
	HttpJson   *root = call->answer ? http_json_read(call->answer, call->answer_len, &error) : NULL;
	HttpJson   *message = root ? find_message(root) : NULL;
	char	   *result;
	char	   *found;
	int			len;

	if (call->answer == NULL)
		return NULL;
	result = pstrdup(message ? message->string : call->answer);
	while (job->server->key && (found = strstr(result, job->server->key)))
		memset(found, '*', strlen(job->server->key));
	if (GetDatabaseEncoding() != PG_UTF8 || !pg_verify_mbstr(PG_UTF8, result, strlen(result), true))
		for (char *p = result; *p; p++)
			*p = IS_HIGHBIT_SET(*p) ? '?' : *p;
	len = pg_mbcliplen(result, strlen(result), MAX_MESSAGE);
	result[len] = '\0';
	for (char *p = result; *p; p++)
		if ((unsigned char) *p < ' ' || *p == 0x7F)
			*p = ' ';
	return len > 0 ? result : NULL;
}
