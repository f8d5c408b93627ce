/*
 * remote_write.c
 *		Writing to servers while documents move between them.
 *
 * docs/internals.md argues why nothing gets lost or doubled.  A document that has to
 * move is at its old place, or at both, or at its new one; what writes it locks its
 * id here, and then writes wherever it is.  What writes otherwise locks all ids.
 * That there is a post at all shows as the weakest lock on the layout of the
 * executor's ids, which lasts as long as the transaction: nobody waits to get it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/inval.h"

#include "common/idlock.h"
#include "common/json.h"
#include "common/text.h"
#include "compat.h"
#include "doc/reduce.h"
#include "executors/remote/remote.h"

/*
 * Raise feature_not_supported where documents move and the transaction keeps its
 * snapshots: it would look for a document where it was, and write it there again.
 */
void
remote_check_isolation(const char *executor)
{
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("documents of executor \"%s\" cannot be written in a transaction of isolation level %s now",
						executor, XactIsoLevel == XACT_SERIALIZABLE ? "serializable" : "repeatable read"),
				 errdetail("They are being moved to other servers."),
				 errhint("Use READ COMMITTED, or wait until the executor's uses_with has no \"move\".")));
}

/*
 * The servers as they are now, behind a lock that shows that this transaction relies
 * on them; "planned" itself if they are those.
 */
const RemoteOptions *
remote_options_now(const JflowContext *context, const RemoteOptions *planned)
{
	JflowFlow  *flow;
	const JflowExecutor *executor;
	const RemoteOptions *now;

	remote_posting(context->flow->name, context->executor->name);
	AcceptInvalidationMessages();
	flow = jflow_flow_get(context->flow->name);
	executor = flow ? jflow_flow_executor(flow, context->executor->name) : NULL;
	if (executor == NULL || executor->class != &remote_class)
		return planned;
	now = remote_options_read(executor->uses_with);
	if (now->moving != planned->moving || now->locking != planned->locking || now->nservers != planned->nservers ||
		strcmp(now->flow, planned->flow) != 0)
		return now;
	for (int i = 0; i < now->nservers; i++)
		if (strcmp(now->servers[i], planned->servers[i]) != 0 ||
			strcmp(now->nodes[i], planned->nodes[i]) != 0 ||
			(now->moving && (now->is_old[i] != planned->is_old[i] || now->is_new[i] != planned->is_new[i])))
			return now;
	return planned;
}

/* ----- documents and ids ----- */

/* The ids of documents, in the current memory context. */
int
remote_ids(Datum docs, text ***ids)
{
	JflowDocs  *deformed = jflow_docs_deform(docs, "documents");

	*ids = palloc_extended(sizeof(text *) * Max(deformed->ndocs, 1), MCXT_ALLOC_HUGE);
	for (int i = 0; i < deformed->ndocs; i++)
	{
		if (deformed->docs[i].nulls[DOC_ID])
			ereport(ERROR,
					(errcode(ERRCODE_FDW_REPLY_HANDLE),
					 errmsg("a server has answered with a document without an id")));
		(*ids)[i] = DatumGetTextPP(deformed->docs[i].values[DOC_ID]);
	}
	return deformed->ndocs;
}

/* Documents that have nothing but an id. */
Datum
remote_docs_of_ids(text **ids, int n)
{
	JflowDocs	docs;

	docs.ndocs = n;
	docs.docs = palloc_extended(sizeof(JflowDoc) * Max(n, 1), MCXT_ALLOC_HUGE);
	for (int i = 0; i < n; i++)
	{
		jflow_doc_init(&docs.docs[i]);
		docs.docs[i].values[DOC_ID] = PointerGetDatum(ids[i]);
		docs.docs[i].nulls[DOC_ID] = false;
	}
	return jflow_docs_form(&docs);
}

/* Those documents that are marked. */
Datum
remote_docs_where(Datum docs, const bool *keep)
{
	Datum	   *elems;
	int			n = jflow_docs_to_datums(docs, "documents", &elems);
	int			kept = 0;

	for (int i = 0; i < n; i++)
		if (keep[i])
			elems[kept++] = elems[i];
	return jflow_docs_from_datums(elems, kept);
}

/* Which of these ids does a server have?  The rest of "ask" is filled in. */
bool *
remote_are_there(const RemoteAsk *ask, text **ids, int n)
{
	RemoteAsk	fetch = *ask;
	bool	   *there = palloc0(sizeof(bool) * Max(n, 1));
	text	  **found;
	int			nfound;

	if (n == 0)
		return there;
	fetch.endpoint = "/fetch";
	fetch.docs = remote_docs_of_ids(ids, n);
	fetch.parameters = jflow_json_empty();
	fetch.read_only = fetch.stored = fetch.ids = true;
	nfound = remote_ids(remote_ask_or_raise(&fetch), &found);
	qsort(found, nfound, sizeof(text *), jflow_texts_order);
	for (int i = 0; i < n; i++)
		there[i] = bsearch(&ids[i], found, nfound, sizeof(text *), jflow_texts_order) != NULL;
	return there;
}

/*
 * The hash by which an id is locked: that of the document whose chunk it is, if its
 * form is that of a chunk's ("P#7"), since what deletes P deletes its chunks.
 */
uint64
remote_id_hash(const LOCKTAG *layout, text *id)
{
	const char *bytes = VARDATA_ANY(id);

	return hash_bytes_extended((const unsigned char *) bytes,
							   remote_document_len(bytes, VARSIZE_ANY_EXHDR(id)), layout->locktag_field3);
}

/* Lock ids against all other writers, and the layout before. */
static void
lock_ids(const char *flow, const char *executor, text **ids, int n)
{
	LOCKTAG		layout = remote_layout(flow, executor);
	uint64	   *hashes = palloc(sizeof(uint64) * Max(n, 1));

	for (int i = 0; i < n; i++)
		hashes[i] = remote_id_hash(&layout, ids[i]);
	(void) LockAcquire(&layout, jflow_idlock_mode(n, MyBgworkerEntry != NULL), false, false);
	jflow_idlock_all(&layout, hashes, n);
	pfree(hashes);
}

/* ----- writing ----- */

static Datum
ask_server(const RemoteAsk *ask, const RemoteOptions *options, int server, Datum docs)
{
	RemoteAsk	one = *ask;

	one.server = options->servers[server];
	one.flow = options->flow;
	one.docs = docs;
	return remote_ask_or_raise(&one);
}

/*
 * The order in which servers are written to, so that two posts do not wait for each
 * other on two of them, where nobody sees it: that of who locks no ids, which is at
 * first who began before the move, and at last who begins after it.
 */
static int *
writing_order(const RemoteOptions *options)
{
	int		   *order = palloc(sizeof(int) * options->nservers);
	const bool *first = options->locking ? options->is_old : options->is_new;
	char	  **names = options->locking ? options->from : options->to;
	int			nnames = options->locking ? options->nfrom : options->nto;
	int			n = 0;

	for (int i = 0; options->moving && i < nnames; i++)
		for (int server = 0; server < options->nservers; server++)
			if (strcmp(options->nodes[server], names[i]) == 0)
				order[n++] = server;
	for (int server = 0; server < options->nservers; server++)
		if (!options->moving || !first[server])
			order[n++] = server;
	Assert(n == options->nservers);
	return order;
}

/* Ask all servers for these documents, one after the other. */
static Datum
ask_all(const RemoteAsk *ask, const RemoteOptions *options)
{
	Datum	   *parts = palloc(sizeof(Datum) * options->nservers);
	int		   *order = writing_order(options);
	JflowPage	page = {.limit = JFLOW_NO_LIMIT,.copies = true};

	for (int i = 0; i < options->nservers; i++)
		parts[order[i]] = ask_server(ask, options, order[i], ask->docs);
	return jflow_reduce_shards(parts, options->nservers, &page);
}

/* Answers in the order of what was asked: targets[i] has answered document i. */
static Datum
in_order(const Datum *answers, int nservers, const int *targets, int n)
{
	Datum	  **elems = palloc0(sizeof(Datum *) * nservers);
	int		   *left = palloc0(sizeof(int) * nservers);
	Datum	   *result;
	int			total = 0;
	int			k = 0;

	for (int i = 0; i < nservers; i++)
		if (answers[i])
			total += left[i] = jflow_docs_to_datums(answers[i], "documents", &elems[i]);
	result = palloc_extended(sizeof(Datum) * Max(total, 1), MCXT_ALLOC_HUGE);
	for (int i = 0; i < n; i++)
		if (left[targets[i]] > 0)
		{
			result[k++] = *elems[targets[i]]++;
			left[targets[i]]--;
		}
	for (int i = 0; i < nservers; i++)
		while (left[i]-- > 0)
			result[k++] = *elems[i]++;
	return jflow_docs_from_datums(result, k);
}

/* Store what is at this server as its old place, too, there. */
static void
index_old(const RemoteAsk *ask, const RemoteOptions *options, int server, text **ids, int n,
		  const int *old, const int *targets)
{
	RemoteAsk	one = *ask;
	bool	   *keep = palloc(sizeof(bool) * Max(n, 1));
	text	  **asked = palloc(sizeof(text *) * Max(n, 1));
	bool	   *there;
	int			nasked = 0;
	int			k = 0;
	bool		any = false;

	for (int i = 0; i < n; i++)
	{
		keep[i] = old[i] == server && targets[i] != server;
		if (keep[i])
			asked[nasked++] = ids[i];
	}
	if (nasked == 0)
		return;
	one.server = options->servers[server];
	one.flow = options->flow;
	there = remote_are_there(&one, asked, nasked);
	for (int i = 0; i < n; i++)
		if (keep[i])
			any |= keep[i] = there[k++];
	if (any)
		(void) ask_server(ask, options, server, remote_docs_where(ask->docs, keep));
}

/*
 * What writes documents by their ids, wherever they are by the servers as they are
 * now, which may be others than the post was planned with, and others again when the
 * ids are locked.
 */
Datum
remote_write_by_id(const RemoteAsk *ask, const RemoteOptions *options, const JflowContext *context)
{
	const bool *among;
	int		   *order;
	text	  **ids;
	int			n = remote_ids(ask->docs, &ids);
	int		   *targets;
	int		   *old;
	Datum	   *answers;
	bool	   *keep;

	if (options->moving)
	{
		lock_ids(ask->front, context->executor->name, ids, n);
		options = remote_options_now(context, options);
	}
	if (strcmp(ask->endpoint, "/index") != 0)
		return ask_all(ask, options);
	targets = palloc(sizeof(int) * Max(n, 1));
	old = palloc(sizeof(int) * Max(n, 1));
	keep = palloc(sizeof(bool) * Max(n, 1));
	answers = palloc0(sizeof(Datum) * options->nservers);
	among = options->locking ? options->is_old : options->is_new;
	remote_place(options, options->moving ? among : NULL, ids, n, targets);
	remote_place(options, options->moving ? options->is_old : NULL, ids, n, old);
	order = writing_order(options);
	for (int k = 0; k < options->nservers; k++)
	{
		int			server = order[k];
		bool		any = false;

		index_old(ask, options, server, ids, n, old, targets);
		for (int i = 0; i < n; i++)
			any |= keep[i] = targets[i] == server;
		if (any)
			answers[server] = ask_server(ask, options, server, remote_docs_where(ask->docs, keep));
	}
	return in_order(answers, options->nservers, targets, n);
}

/*
 * What may write in another way while documents move: where all shards are asked,
 * the first call asks all servers, so that no document moves in between.
 */
Datum
remote_write_moving(const RemoteAsk *ask, const RemoteOptions *options, const JflowContext *context)
{
	LOCKTAG		layout = remote_layout(context->flow->name, context->executor->name);
	JflowPolling polling = jflow_polling_resolve(context->executor, context->endpoint);
	bool		all = polling == POLLING_ALL ||
		(polling == POLLING_HASH && jflow_docs_count(ask->docs) == 0);

	if (all && context->shard > 0)
		return jflow_docs_empty();
	(void) LockAcquire(&layout, ExclusiveLock, false, false);
	return polling == POLLING_ANY ? ask_server(ask, options, context->shard, ask->docs) :
		ask_all(ask, options);
}
