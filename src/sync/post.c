/*
 * post.c
 *		A round's middle: post what was claimed.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "common/json.h"
#include "compat.h"
#include "runtime/gateway/gateway.h"
#include "sync/sync.h"

#define MEANWHILE_REQUESTS 8	/* that keep replicas busy */

/* Documents of a round, cut into requests. */
typedef struct RoundSource
{
	JflowSource base;
	SyncRound  *round;
	Datum	   *docs;
	int			n;
	int			position;
} RoundSource;

static bool
next_docs(JflowSource *base, int size, Datum *docs)
{
	RoundSource *source = (RoundSource *) base;
	int			n = Min(size, source->n - source->position);

	if (n <= 0)
		return false;

	/* what runs here may have locked rows, of another server, too */
	if (base->idle && source->position >= MEANWHILE_REQUESTS * size && source->position + n == source->n)
		sync_read_ahead(source->round);
	*docs = jflow_docs_from_datums(source->docs + source->position, n);
	source->position += n;
	return true;
}

/* The row that a document was made of; NULL: nobody knows. */
static SyncRow *
find_row(SyncRound *round, const JflowDoc *doc)
{
	SyncRow    *row = NULL;
	SyncRow		key = {.key = doc->values[DOC_ID]};

	if (!doc->nulls[DOC_ID])
		row = bsearch(&key, round->rows, round->nrows, sizeof(SyncRow), sync_row_order);
	if (row || doc->nulls[DOC_PARENT_ID])
		return row;
	key.key = doc->values[DOC_PARENT_ID];
	return bsearch(&key, round->rows, round->nrows, sizeof(SyncRow), sync_row_order);
}

static void
fail_row(SyncRound *round, SyncRow *row, const ErrorData *error, bool of_doc)
{
	MemoryContext old = MemoryContextSwitchTo(round->context);

	sync_fail_row(row, error, of_doc);
	MemoryContextSwitchTo(old);
}

/*
 * The post goes on without a document.  If it is not one of ours nobody can tell
 * which row has not arrived, so none has.
 */
static void
take_error(void *arg, const JflowDoc *doc, const ErrorData *error, bool of_doc)
{
	SyncRound  *round = arg;
	SyncRow    *row = find_row(round, doc);

	if (row == NULL)
		for (int i = 0; i < round->nrows; i++)
			fail_row(round, &round->rows[i], error, false);
	else
		fail_row(round, row, error, of_doc);
}

/* A document of a key alone. */
static Datum
doc_of_key(Datum key)
{
	JflowDoc	doc;

	jflow_doc_init(&doc);
	doc.values[DOC_ID] = key;
	doc.nulls[DOC_ID] = false;
	return jflow_doc_form(&doc);
}

/* Does an executor say what it does for an endpoint? */
static bool
names_endpoint(const JflowExecutor *executor, const char *endpoint)
{
	JsonbValue	buffer;

	return (executor->requests && jflow_json_get(executor->requests, endpoint, &buffer)) ||
		(executor->class_requests && jflow_json_get(executor->class_requests, endpoint, &buffer));
}

/*
 * The executors that know how to delete, as a regular expression: a document to be
 * deleted is an id alone, which an encoder can do nothing with.  NULL: all.
 */
static char *
who_deletes(const char *flow_name)
{
	const JflowFlow *flow = jflow_flow_open(flow_name, false);
	StringInfoData result;

	initStringInfo(&result);
	for (int i = 0; i < flow->nexecutors; i++)
	{
		if (!names_endpoint(&flow->executors[i], "/delete"))
			continue;
		if (result.len > 0)
			appendStringInfoChar(&result, '|');
		for (const char *c = flow->executors[i].name; *c; c++)
		{
			if (strchr("\\^$.[]|()*+?{}", *c))
				appendStringInfoChar(&result, '\\');
			appendStringInfoChar(&result, *c);
		}
	}
	return result.len > 0 ? result.data : NULL;
}

/*
 * Post the rows that are to be deleted, or the others; and of these those that
 * have failed before, each in a request of its own, or the others.
 */
static void
post_some(SyncRound *round, bool deleted, bool alone)
{
	const Sync *sync = round->sync;
	MemoryContext old = MemoryContextSwitchTo(round->context);
	JflowPostOptions options;
	JflowPostResult result;
	RoundSource source;
	JsonbInState json = {0};

	memset(&options, 0, sizeof(options));
	memset(&source, 0, sizeof(source));
	source.docs = palloc(sizeof(Datum) * Max(round->nrows, 1));
	for (int i = 0; i < round->nrows; i++)
	{
		const SyncRow *row = &round->rows[i];

		/* one that could not be read has failed already */
		if (!row->failed && (row->doc == (Datum) 0) == deleted && (row->attempts > 0) == alone)
			source.docs[source.n++] = deleted ? doc_of_key(row->key) : row->doc;
	}

	/*
	 * A row that is gone from a store that is the source is gone from the
	 * store.
	 */
	if (source.n > 0 && !(deleted && sync->in_place))
	{
		source.base.next = next_docs;
		source.base.total = source.n;
		source.round = round;
		options.endpoint = deleted ? "/delete" : sync->endpoint;
		options.flow = sync->flow;
		options.target_executor = deleted ? who_deletes(sync->flow) : NULL;
		pushJsonbValue(&json, WJB_BEGIN_OBJECT, NULL);
		if (sync->in_place)
			jflow_json_push_string(&json, "writes", "embedding");
		pushJsonbValue(&json, WJB_END_OBJECT, NULL);
		options.parameters = JsonbValueToJsonb(json.result);
		options.request_size = alone ? 1 : sync->batch;
		options.continue_on_error = !round->strict;
		options.error_sink = round->strict ? NULL : take_error;
		options.error_arg = round;
		jflow_post_run(&options, &source.base, NULL, NULL, &result);
	}
	MemoryContextSwitchTo(old);
}

/* Raise the error of a row that could not be read, if there is one. */
static void
raise_unread(const SyncRound *round)
{
	for (int i = 0; i < round->nrows; i++)
	{
		const SyncRow *row = &round->rows[i];

		if (row->failed)
			ereport(ERROR,
					(errcode(row->sqlstate),
					 errmsg_internal("%s", row->message),
					 errdetail("The row with the id \"%s\" cannot be read as a document.", TextDatumGetCString(row->key)),
					 row->hint ? errhint("%s", row->hint) : 0));
	}
}

/*
 * Post what was claimed.  What is wrong with rows is noted in them; what is wrong
 * with the flow is raised.
 */
void
sync_post(SyncRound *round)
{
	qsort(round->rows, round->nrows, sizeof(SyncRow), sync_row_order);
	if (round->strict)
		raise_unread(round);
	for (int deleted = 0; deleted <= 1; deleted++)
		for (int alone = 0; alone <= 1; alone++)
			post_some(round, deleted, alone);
}
