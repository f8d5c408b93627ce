/*
 * http_items.c
 *		What of documents is sent, and what becomes of them.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "common/json.h"
#include "compat.h"
#include "executors/http/http.h"
#include "vector.h"

/*
 * A text of the database as UTF-8, behind a prefix.  In a SQL_ASCII database it
 * may be anything, and is checked.
 */
static void
set_utf8(HttpItem *item, const char *prefix, const char *string, Size len)
{
	const char *utf8 = jflow_to_utf8(string, &len);

	if (GetDatabaseEncoding() == PG_SQL_ASCII)
		(void) pg_verify_mbstr(PG_UTF8, utf8, len, false);
	if (prefix && *prefix)
	{
		Size		prefix_len = strlen(prefix);
		const char *prefix_utf8 = jflow_to_utf8(prefix, &prefix_len);
		char	   *joined = palloc_extended(prefix_len + len + 1, MCXT_ALLOC_HUGE);

		memcpy(joined, prefix_utf8, prefix_len);
		memcpy(joined + prefix_len, utf8, len);
		len += prefix_len;
		utf8 = joined;
	}
	item->text = utf8;
	item->len = (int) len;
}

static void
set_text(HttpItem *item, const char *prefix, Datum value)
{
	text	   *t = DatumGetTextPP(value);

	set_utf8(item, prefix, VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t));
}

/* The text of a document that the options name; false if there is none. */
static bool
set_input(const HttpOptions *options, HttpItem *item, const char *prefix, const JflowDoc *doc)
{
	JsonbValue	buffer;
	JsonbValue *tag;

	if (doc->nulls[options->input])
		return false;
	if (options->input_tag)
	{
		tag = jflow_json_get(DatumGetJsonbP(doc->values[DOC_TAGS]), options->input_tag, &buffer);
		if (tag == NULL || tag->type != jbvString || tag->val.string.len == 0)
			return false;
		set_utf8(item, prefix, tag->val.string.val, tag->val.string.len);
		return true;
	}
	if (VARSIZE_ANY_EXHDR(DatumGetTextPP(doc->values[options->input])) == 0)
		return false;
	set_text(item, prefix, doc->values[options->input]);
	return true;
}

static void JFLOW_NORETURN
missing(const HttpJob *job, const JflowDoc *doc)
{
	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 errmsg("document \"%s\" has no text", TextDatumGetCString(doc->values[DOC_ID])),
			 errhint("Set the option on_missing of executor \"%s\" to let such documents pass.",
					 job->call->executor->name)));
}

static HttpItem *
next_item(HttpJob *job, int doc)
{
	HttpItem   *item = &job->items[job->nitems];

	memset(item, 0, sizeof(*item));
	item->doc = doc;
	item->match = -1;
	return item;
}

/* A document as JSON. */
static void
take_document(HttpJob *job, int n)
{
	HttpItem   *item = next_item(job, n);
	char	   *json = JsonbToCString(NULL, &jflow_doc_to_jsonb(&job->docs->docs[n])->root, 0);

	set_utf8(item, NULL, json, strlen(json));
	job->nitems++;
}

/* The text of a document; nothing where it needs no vector, or has no text. */
static void
take_text(HttpJob *job, int n, const char *prefix)
{
	const JflowDoc *doc = &job->docs->docs[n];
	HttpItem   *item = next_item(job, n);

	if (!set_input(job->options, item, prefix, doc))
	{
		if (job->options->missing_is_error)
			missing(job, doc);
		return;
	}
	job->nitems++;
	item->done = job->options->task == HTTP_EMBED && http_cache_find(job, item);
}

/* The matches of a document that are to be ranked, and for what. */
static void
take_query(HttpJob *job, int n)
{
	const JflowDoc *doc = &job->docs->docs[n];

	if (doc->nulls[DOC_MATCHES])
		return;
	job->nmatches[n] = jflow_matches_deform(doc->values[DOC_MATCHES], &job->matches[n]);
	if (job->nmatches[n] > 0 && set_input(job->options, &job->queries[n], NULL, doc))
		return;
	if (job->nmatches[n] > 0 && job->options->missing_is_error)
		missing(job, doc);
	job->nmatches[n] = 0;
}

static void
take_matches(HttpJob *job)
{
	int			ndocs = job->docs->ndocs;
	int64		total = 0;

	job->queries = palloc0(sizeof(HttpItem) * Max(ndocs, 1));
	job->matches = palloc0(sizeof(JflowMatch *) * Max(ndocs, 1));
	job->nmatches = palloc0(sizeof(int) * Max(ndocs, 1));
	for (int n = 0; n < ndocs; n++)
	{
		CHECK_FOR_INTERRUPTS();
		take_query(job, n);
		total += job->nmatches[n];
	}
	job->items = palloc_extended(sizeof(HttpItem) * Max(total, 1), MCXT_ALLOC_HUGE);
	for (int n = 0; n < ndocs; n++)
	{
		for (int i = 0; i < job->nmatches[n]; i++)
		{
			HttpItem   *item = next_item(job, n);

			if (job->matches[n][i].nulls[MATCH_TEXT])
				continue;
			item->match = i;
			set_text(item, NULL, job->matches[n][i].values[MATCH_TEXT]);
			job->nitems++;
		}
	}
}

/*
 * Take out of a job's documents what is to be sent, in the current memory context.
 * Needs a transaction.  Raises null_value_not_allowed for a document without text
 * where the options want one.
 */
void
http_items_take(HttpJob *job)
{
	const char *prefix = http_by_endpoint(job->options->prefix, job->call->endpoint);
	int			ndocs = job->docs->ndocs;

	if (job->options->task == HTTP_RERANK)
	{
		take_matches(job);
		return;
	}
	job->items = palloc_extended(sizeof(HttpItem) * Max(ndocs, 1), MCXT_ALLOC_HUGE);
	for (int i = 0; i < ndocs; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (job->options->task == HTTP_EMBED && job->options->skip_embedded &&
			!job->docs->docs[i].nulls[DOC_EMBEDDING])
			continue;
		if (job->server->provider == HTTP_JFLOW)
			take_document(job, i);
		else
			take_text(job, i, prefix);
	}
}

static Datum
make_vector(const HttpItem *item)
{
	Vector	   *vector = palloc0(VECTOR_SIZE(item->dim));

	SET_VARSIZE(vector, VECTOR_SIZE(item->dim));
	vector->dim = item->dim;
	memcpy(vector->x, item->vector, sizeof(float) * item->dim);
	return PointerGetDatum(vector);
}

/* The text of an answer, in the database's encoding. */
static Datum
make_text(const HttpItem *item)
{
	return CStringGetTextDatum(pg_any_to_server(item->answer, strlen(item->answer), PG_UTF8));
}

/* Order matches by score, then by id; without score they come last. */
static int
match_order(const void *a, const void *b)
{
	const JflowMatch *left = a;
	const JflowMatch *right = b;
	double		l,
				r;

	if (left->nulls[MATCH_SCORE] != right->nulls[MATCH_SCORE])
		return left->nulls[MATCH_SCORE] ? 1 : -1;
	l = left->nulls[MATCH_SCORE] ? 0 : DatumGetFloat8(left->values[MATCH_SCORE]);
	r = right->nulls[MATCH_SCORE] ? 0 : DatumGetFloat8(right->values[MATCH_SCORE]);
	if (l != r)
		return l < r ? -1 : 1;
	if (left->nulls[MATCH_ID] || right->nulls[MATCH_ID])
		return (int) left->nulls[MATCH_ID] - (int) right->nulls[MATCH_ID];
	return strcmp(TextDatumGetCString(left->values[MATCH_ID]),
				  TextDatumGetCString(right->values[MATCH_ID]));
}

static void
give_matches(HttpJob *job)
{
	for (int n = 0; n < job->docs->ndocs; n++)
		for (int i = 0; i < job->nmatches[n]; i++)
			job->matches[n][i].nulls[MATCH_SCORE] = true;
	for (int i = 0; i < job->nitems; i++)
	{
		const HttpItem *item = &job->items[i];
		JflowMatch *match = &job->matches[item->doc][item->match];

		match->values[MATCH_SCORE] = Float8GetDatum(item->score);
		match->nulls[MATCH_SCORE] = false;
	}
	for (int n = 0; n < job->docs->ndocs; n++)
	{
		CHECK_FOR_INTERRUPTS();
		if (job->nmatches[n] == 0)
			continue;
		qsort(job->matches[n], job->nmatches[n], sizeof(JflowMatch), match_order);
		job->docs->docs[n].values[DOC_MATCHES] = jflow_matches_form(job->matches[n], job->nmatches[n]);
	}
}

/* Add documents to others. */
static void
add_documents(JflowDocs *to, int *room, const JflowDocs *docs)
{
	while (*room < to->ndocs + docs->ndocs)
	{
		*room *= 2;
		to->docs = repalloc_huge(to->docs, sizeof(JflowDoc) * *room);
	}
	memcpy(to->docs + to->ndocs, docs->docs, sizeof(JflowDoc) * docs->ndocs);
	to->ndocs += docs->ndocs;
}

static JflowDocs *
read_documents(const HttpBatch *batch)
{
	char	   *json = pg_any_to_server(batch->documents, strlen(batch->documents), PG_UTF8);

	return jflow_docs_from_jsonb(DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json))));
}

/* Documents that were answered, in the places of those that were sent. */
static JflowDocs *
give_documents(HttpJob *job)
{
	JflowDocs  *result = palloc0(sizeof(JflowDocs));
	HttpBatch  *batch = job->done;
	int			room = job->docs->ndocs + 16;
	int			item = 0;

	result->docs = palloc_extended(sizeof(JflowDoc) * room, MCXT_ALLOC_HUGE);
	for (int i = 0; i < job->docs->ndocs; i++)
	{
		JflowDocs	one = {1, &job->docs->docs[i]};

		CHECK_FOR_INTERRUPTS();
		if (item == job->nitems || job->items[item].doc != i)
			add_documents(result, &room, &one);
		else
		{
			/* an answer stands where its batch's first document was */
			if (batch && batch->first == item)
			{
				add_documents(result, &room, read_documents(batch));
				batch = batch->next;
			}
			item++;
		}
	}
	return result;
}

/* The documents with what was answered, in the current memory context. */
Datum
http_items_give(HttpJob *job)
{
	if (job->server->provider == HTTP_JFLOW)
		return jflow_docs_form(give_documents(job));
	if (job->options->task == HTTP_RERANK)
		give_matches(job);
	else
	{
		JflowDocAttr attr = job->options->task == HTTP_EMBED ? DOC_EMBEDDING : DOC_TEXT;

		for (int i = 0; i < job->nitems; i++)
		{
			const HttpItem *item = &job->items[i];
			JflowDoc   *doc = &job->docs->docs[item->doc];

			doc->values[attr] = attr == DOC_EMBEDDING ? make_vector(item) : make_text(item);
			doc->nulls[attr] = false;
		}
	}
	return jflow_docs_form(job->docs);
}
