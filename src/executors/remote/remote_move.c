/*
 * remote_move.c
 *		Moving documents to other servers.
 *
 * jflow_scale names the new servers, and steps move the documents: all of them are
 * copied to their new places, then posts that may have looked there before are
 * waited for, then they are deleted at their old places.  Each step is a transaction
 * that can fail or be killed at any time; docs/internals.md argues why a document is
 * at least at one place then, and found once.  How far they have come is a row of
 * jflow.remote_move; without it all begins anew, which does no harm.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "common/args.h"
#include "common/idlock.h"
#include "common/json.h"
#include "common/xact.h"
#include "compat.h"
#include "executors/remote/remote.h"

/* So many documents at once, whose writers wait so long. */
#define MAX_BATCH 200
#define STEP_MS 60000			/* for another server to answer, at most */

typedef enum Stage
{
	STAGE_LOCK,					/* wait for posts that lock no ids */
	STAGE_WAIT,					/* for posts that know one place alone */
	STAGE_COPY,
	STAGE_SETTLE,				/* wait for posts that may not see the copies */
	STAGE_DELETE
} Stage;

static const char *const stage_names[] = {"lock", "wait", "copy", "settle", "delete"};

/* A row of jflow.remote_move. */
typedef struct Progress
{
	Stage		stage;
	int64		since;			/* the transaction that has begun the stage */
	char	   *node;			/* NULL: the first */
	char	   *position;		/* behind which id to go on, or NULL */
} Progress;

/* What a step works on. */
typedef struct Move
{
	const JflowFlow *flow;
	const JflowExecutor *executor;
	const RemoteOptions *options;
	Jsonb	   *uses_with;		/* what "progress" is of */
	Progress	progress;
	int			node;			/* whose documents are looked at */
	int			batch;
	RemoteAsk	ask;			/* but for server, endpoint, documents */
} Move;

/* Some ids of a node, in order, and of those that have to go where they belong. */
typedef struct Portion
{
	text	  **ids;
	int			n;
	bool		last;			/* there are no others behind them */
	text	  **going;			/* of those that have to */
	int		   *going_targets;
	int			ngoing;
} Portion;

/* ----- jflow.remote_move ----- */

/* Run a statement whose first parameters are flow and executor: how many rows? */
static uint64
change(const char *flow, const char *executor, const char *sql, const Progress *progress,
	   Jsonb *uses_with)
{
	JflowParams params = {0};
	JflowCatalogState state;
	uint64		n;

	jflow_param_text(&params, flow);
	jflow_param_text(&params, executor);
	if (progress)
	{
		jflow_param_text(&params, stage_names[progress->stage]);
		jflow_param(&params, INT8OID, Int64GetDatum(progress->since), false);
		jflow_param_text(&params, progress->node);
		jflow_param_text(&params, progress->position);
		jflow_param_jsonb(&params, uses_with);
	}
	jflow_catalog_begin(&state);
	n = jflow_catalog_run(sql, &params);
	jflow_catalog_end(&state);
	return n;
}

/* It was removed or changed while a step was made, which is undone everywhere then. */
static void JFLOW_NORETURN
was_changed(const Move *move)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("executor \"%s\" of flow \"%s\" was changed while its documents were moved",
					move->executor->name, move->flow->name)));
}

/* The next step of whatever move begins anew. */
void
remote_forget_move(const char *flow, const char *executor)
{
	(void) change(flow, executor, "DELETE FROM jflow.remote_move WHERE flow = $1 AND executor = $2", NULL, NULL);
}

/* False: this move has not begun; what another one has left there is none of its. */
static bool
read_progress(Move *move)
{
	JflowParams params = {0};
	JflowCatalogState state;
	MemoryContext context = CurrentMemoryContext;
	bool		found;

	jflow_param_text(&params, move->flow->name);
	jflow_param_text(&params, move->executor->name);
	jflow_param_jsonb(&params, move->uses_with);
	jflow_catalog_begin(&state);
	found = jflow_catalog_run("SELECT stage, since, node, \"position\" FROM jflow.remote_move "
							  "WHERE flow = $1 AND executor = $2 AND uses_with = $3", &params) > 0;
	if (found)
	{
		const char *stage = jflow_catalog_value(0, 1);
		char	   *node = jflow_catalog_value(0, 3);
		char	   *position = jflow_catalog_value(0, 4);

		for (int i = 0; i < lengthof(stage_names); i++)
			if (strcmp(stage, stage_names[i]) == 0)
				move->progress.stage = (Stage) i;
		move->progress.since = pg_strtoint64(jflow_catalog_value(0, 2));
		move->progress.node = node ? MemoryContextStrdup(context, node) : NULL;
		move->progress.position = position ? MemoryContextStrdup(context, position) : NULL;
	}
	jflow_catalog_end(&state);
	return found;
}

static void
write_progress(Move *move, Stage stage, const char *node, const char *position)
{
	if (stage != move->progress.stage || move->progress.since == 0)
		move->progress.since = (int64) U64FromFullTransactionId(GetTopFullTransactionId());
	move->progress.stage = stage;
	move->progress.node = (char *) node;
	move->progress.position = (char *) position;
	if (change(move->flow->name, move->executor->name,
			   "INSERT INTO jflow.remote_move AS m (flow, executor, stage, since, node, \"position\", uses_with) "
			   "SELECT $1, $2, $3, $4, $5, $6, e.uses_with FROM jflow.executor e "
			   "WHERE e.flow = $1 AND e.name = $2 AND e.uses_with = $7 FOR KEY SHARE OF e "
			   "ON CONFLICT (flow, executor) DO UPDATE SET "
			   "stage = $3, since = $4, node = $5, \"position\" = $6, uses_with = excluded.uses_with",
			   &move->progress, move->uses_with) == 0)
		was_changed(move);
}

/* Define the executor anew: all posts that begin from now on go by that. */
static void
change_definition(Move *move, Jsonb *uses_with, int shards)
{
	JflowParams params = {0};
	JflowCatalogState state;

	jflow_param_text(&params, move->flow->name);
	jflow_param_text(&params, move->executor->name);
	jflow_param_jsonb(&params, uses_with);
	jflow_param_int(&params, shards);
	jflow_param_jsonb(&params, move->uses_with);
	jflow_catalog_begin(&state);
	(void) jflow_catalog_run("SELECT FROM jflow.flow WHERE flow = $1 FOR UPDATE", &params);

	if (jflow_catalog_run("UPDATE jflow.executor SET uses_with = $3, shards = $4 "
						  "WHERE flow = $1 AND name = $2 AND uses_with = $5", &params) == 0)
		was_changed(move);
	jflow_catalog_end(&state);
	move->uses_with = uses_with;
}

/* The node behind one that has documents to be moved; -1: there is none. */
static int
next_node(const RemoteOptions *options, int node)
{
	for (int i = node + 1; i < options->nservers; i++)
		if (options->is_old[i])
			return i;
	return -1;
}

/* What was looked at is done with, up to an id, or with NULL all of the node. */
static void
advance(Move *move, const char *position)
{
	int			next = position ? move->node : next_node(move->options, move->node);

	if (next >= 0)
		write_progress(move, move->progress.stage, move->options->nodes[next], position);
	else
		write_progress(move, STAGE_SETTLE, NULL, NULL);
}

/* ----- waiting for posts ----- */

/*
 * Transactions with posts that had begun when this process first looked for those of
 * a stage, which are waited for.
 */
static VirtualTransactionId *waited_for = NULL;
static int	nwaited_for = 0;
static int64 waited_since = 0;
static uint32 waited_executor = 0;

static void
look_for_posts(const LOCKTAG *layout, int64 since)
{
	LOCKTAG		snapshots = remote_snapshots();
	VirtualTransactionId *posting;
	VirtualTransactionId *keeping;
	int			nposting;
	int			nkeeping;

	if (waited_for)
		pfree(waited_for);
	waited_for = NULL;
	waited_since = 0;
	posting = GetLockConflicts(layout, AccessExclusiveLock, &nposting);
	posting = memcpy(palloc(sizeof(VirtualTransactionId) * (nposting + 1)), posting,
					 sizeof(VirtualTransactionId) * nposting);
	keeping = GetLockConflicts(&snapshots, AccessExclusiveLock, &nkeeping);
	waited_for = MemoryContextAlloc(TopMemoryContext, sizeof(VirtualTransactionId) * (nposting + nkeeping + 1));
	memcpy(waited_for, posting, sizeof(VirtualTransactionId) * nposting);
	memcpy(waited_for + nposting, keeping, sizeof(VirtualTransactionId) * nkeeping);
	nwaited_for = nposting + nkeeping;
	waited_since = since;
	waited_executor = layout->locktag_field3;
}

/*
 * Have all transactions ended that had posted to the executor when the stage began, or
 * later?  No lock is waited for: it would be in the way of other posts, and of what
 * waits for this process.
 */
static bool
posts_have_ended(const Move *move)
{
	LOCKTAG		layout = remote_layout(move->flow->name, move->executor->name);

	if ((int64) U64FromFullTransactionId(GetTopFullTransactionIdIfAny()) == move->progress.since)
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("documents of executor \"%s\" cannot be moved further in this transaction",
						move->executor->name),
				 errdetail("Other transactions have to see first what it has done."),
				 errhint("Commit it.")));
	if (waited_since != move->progress.since || waited_executor != layout.locktag_field3)
		look_for_posts(&layout, move->progress.since);
	while (nwaited_for > 0 && VirtualXactLock(waited_for[nwaited_for - 1], false))
		nwaited_for--;
	return nwaited_for == 0;
}

/* ----- what is at a node ----- */

/* How long another server may take to answer: never for ever. */
static TimestampTz
step_end(const JflowExecutor *executor)
{
	int64		ms = executor->timeout ? jflow_interval_ms(executor->timeout) : 0;

	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms > 0 ? Min(ms, STEP_MS) : STEP_MS);
}

static Datum
ask_node(const Move *move, int node, const char *endpoint, Datum docs, Jsonb *parameters,
		 bool read_only, bool ids)
{
	RemoteAsk	ask = move->ask;

	ask.server = move->options->servers[node];
	ask.endpoint = endpoint;
	ask.docs = docs;
	ask.parameters = parameters;
	ask.read_only = read_only;
	ask.ids = ids;
	return remote_ask_or_raise(&ask);
}

/* Which of some ids does a node have? */
static bool *
are_at(const Move *move, int node, text **ids, int n)
{
	RemoteAsk	ask = move->ask;

	ask.server = move->options->servers[node];
	return remote_are_there(&ask, ids, n);
}

static Jsonb *
page_parameters(const Move *move)
{
	JsonbInState state = {0};

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	jflow_json_push_int(&state, "limit", move->batch);
	if (move->progress.position)
	{
		jflow_json_push_key(&state, "filter");
		pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
		jflow_json_push_key(&state, "id");
		pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
		jflow_json_push_string(&state, "$gt", move->progress.position);
		pushJsonbValue(&state, WJB_END_OBJECT, NULL);
		pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	}
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(state.result);
}

/*
 * The next ids of the node, and which of them have to go: those whose old place it
 * is, and of a node that is left all, wherever they belonged.
 */
static void
read_page(const Move *move, Portion *page)
{
	const RemoteOptions *options = move->options;
	int		   *targets;
	int		   *old;
	int			going = 0;

	page->n = remote_ids(ask_node(move, move->node, "/filter", jflow_docs_empty(), page_parameters(move), true, true),
						 &page->ids);
	if (page->n > move->batch)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_REPLY_HANDLE),
				 errmsg("server \"%s\" has answered with more documents than it was asked for",
						options->servers[move->node])));
	page->last = page->n < move->batch;
	targets = palloc(sizeof(int) * Max(page->n, 1));
	old = palloc(sizeof(int) * Max(page->n, 1));
	page->going = palloc(sizeof(text *) * Max(page->n, 1));
	page->going_targets = palloc(sizeof(int) * Max(page->n, 1));
	remote_place(options, options->is_new, page->ids, page->n, targets);
	remote_place(options, options->is_old, page->ids, page->n, old);
	for (int i = 0; i < page->n; i++)
	{
		if (targets[i] == move->node ||
			(old[i] != move->node && options->is_new[move->node]))
			continue;
		page->going[going] = page->ids[i];
		page->going_targets[going++] = targets[i];
	}
	page->ngoing = going;
}

/*
 * Lock the ids that have to go, up to one that another has: the page ends before it.
 * We do not wait, since one that is waited for may wait for us.  False: nothing can
 * be done now.
 */
static bool
lock_page(const Move *move, Portion *page)
{
	LOCKTAG		layout = remote_layout(move->flow->name, move->executor->name);
	int			locked = 0;
	int			n = 0;

	if (page->ngoing == 0)
		return true;
	if (LockAcquire(&layout, RowExclusiveLock, false, true) == LOCKACQUIRE_NOT_AVAIL)
		return false;
	while (locked < page->ngoing && jflow_idlock_try(&layout, remote_id_hash(&layout, page->going[locked])))
		locked++;
	if (locked == page->ngoing)
		return true;
	while (page->ids[n] != page->going[locked])
		n++;
	page->n = n;
	page->ngoing = locked;
	page->last = false;
	return n > 0;
}

static const char *
end_of(const Portion *page)
{
	return page->last ? NULL : text_to_cstring(page->ids[page->n - 1]);
}

/* Those ids that have to go to a server, of a page. */
static int
going_to(const Portion *page, int target, text **ids)
{
	int			n = 0;

	for (int i = 0; i < page->ngoing; i++)
		if (page->going_targets[i] == target)
			ids[n++] = page->going[i];
	return n;
}

/* ----- copying ----- */

/*
 * Leave out of documents those that were never meant to be at this node, if one of
 * the places where they belong has them: that one is right then.
 */
static Datum
without_strays(const Move *move, int target, Datum docs)
{
	text	  **ids;
	int			n = remote_ids(docs, &ids);
	int		   *old = palloc(sizeof(int) * Max(n, 1));
	bool	   *keep = palloc(sizeof(bool) * Max(n, 1));
	bool		strays = false;

	remote_place(move->options, move->options->is_old, ids, n, old);
	for (int i = 0; i < n; i++)
		strays |= old[i] != move->node;
	if (!strays)
		return docs;
	for (int i = 0; i < n; i++)
		keep[i] = old[i] == move->node ||
			(!are_at(move, target, &ids[i], 1)[0] && !are_at(move, old[i], &ids[i], 1)[0]);
	return remote_docs_where(docs, keep);
}

/*
 * A chunk is moved by itself: writing or deleting its document here means nothing for
 * it.  The id is locked at the other server, too, where somebody may else delete what
 * a step that we have given up for lost is still going to commit.
 */
static Jsonb *
without_chunks(void)
{
	JsonbInState state = {0};

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	jflow_json_push_bool(&state, "chunks", false);
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(state.result);
}

/*
 * Store documents at their new place, and read them back: what cannot be stored there
 * as it is here must not be deleted here.
 */
static void
copy_to(const Move *move, int target, Datum docs)
{
	text	  **ids;
	int			n;
	Datum		copies;

	docs = without_strays(move, target, docs);
	n = remote_ids(docs, &ids);
	if (n == 0)
		return;
	(void) ask_node(move, target, "/index", docs, without_chunks(), false, true);
	copies = ask_node(move, target, "/fetch", remote_docs_of_ids(ids, n), jflow_json_empty(), true, false);
	if (strcmp(remote_text_of_docs(docs), remote_text_of_docs(copies)) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("server \"%s\" does not store documents as server \"%s\" does",
						move->options->servers[target], move->options->servers[move->node]),
				 errdetail("One of %d documents from id \"%s\" on is another after it was stored there.",
						   n, text_to_cstring(ids[0])),
				 errhint("Define flow \"%s\" alike on all servers.", move->options->flow)));
}

static void
copy_page(Move *move, const Portion *page)
{
	text	  **ids;
	Datum		docs = ask_node(move, move->node, "/fetch", remote_docs_of_ids(page->going, page->ngoing),
								jflow_json_empty(), true, false);
	int			n = remote_ids(docs, &ids);
	int		   *targets = palloc(sizeof(int) * Max(n, 1));
	bool	   *keep = palloc(sizeof(bool) * Max(n, 1));

	remote_place(move->options, move->options->is_new, ids, n, targets);
	for (int target = 0; target < move->options->nservers; target++)
	{
		for (int i = 0; i < n; i++)
			keep[i] = targets[i] == target;
		copy_to(move, target, remote_docs_where(docs, keep));
	}
}

static JflowMove
copy_part(Move *move)
{
	Portion		page;

	read_page(move, &page);
	if (!lock_page(move, &page))
		return MOVE_WAIT;
	if (page.ngoing > 0)
		copy_page(move, &page);
	advance(move, end_of(&page));
	return MOVE_MORE;
}

/* ----- deleting ----- */

/*
 * Is all that is still at the node at its new place, too?  Raises an error where
 * these are one: the servers may have been altered since the move began.
 */
static bool
are_copied(const Move *move, const Portion *page)
{
	text	  **ids = palloc(sizeof(text *) * Max(page->ngoing, 1));

	for (int target = 0; target < move->options->nservers; target++)
	{
		int			n = going_to(page, target, ids);
		bool	   *here = are_at(move, move->node, ids, n);
		bool	   *there = are_at(move, target, ids, n);

		if (n > 0)
		{
			const char *pair[] = {move->options->servers[move->node], move->options->servers[target]};

			remote_check_distinct(&move->ask, pair, lengthof(pair));
		}
		for (int i = 0; i < n; i++)
			if (here[i] && !there[i])
				return false;
	}
	return true;
}

/* All documents have moved: the servers are those that were wanted. */
static void
finish(Move *move)
{
	change_definition(move, remote_options_moved(move->uses_with, move->options), move->options->nto);
	remote_forget_move(move->flow->name, move->executor->name);
}

static JflowMove
delete_part(Move *move)
{
	Portion		page;
	const char *end;
	int			next;

	read_page(move, &page);
	if (!lock_page(move, &page))
		return MOVE_WAIT;
	if (page.ngoing > 0)
	{
		if (!are_copied(move, &page))
		{
			/*
			 * a server has lost what it had; copy it again, and what is
			 * behind
			 */
			write_progress(move, STAGE_COPY, move->options->nodes[move->node], move->progress.position);
			return MOVE_MORE;
		}
		(void) ask_node(move, move->node, "/delete", remote_docs_of_ids(page.going, page.ngoing),
						without_chunks(), false, true);
	}
	end = end_of(&page);
	next = end ? move->node : next_node(move->options, move->node);
	if (next < 0)
	{
		finish(move);
		return MOVE_DONE;
	}
	write_progress(move, STAGE_DELETE, move->options->nodes[next], end);
	return MOVE_MORE;
}

/* ----- parts ----- */

typedef struct Part
{
	Move	   *move;
	JflowMove	(*function) (Move *move);
	JflowMove	result;
} Part;

/* So many ids were not too many for this process the last time, or are tried next. */
static int	fitting = MAX_BATCH;
static TimestampTz part_until = 0;

static void
run_part(void *arg)
{
	Part	   *part = arg;

	part->result = part->function(part->move);
}

/*
 * Is it not for the number of documents that they cannot be moved?  Too many are too
 * large a message, also for who makes a text of it, which is an internal error then,
 * or take too long.  A cancel is not for that, nor another limit, whenever it comes.
 */
static bool
is_not_of_size(const ErrorData *error)
{
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		return !remote_was_late || GetCurrentTimestamp() < part_until;
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_PROGRAM_LIMIT_EXCEEDED:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_INTERNAL_ERROR:
			return false;
		default:
			return true;
	}
}

/*
 * Move the next documents, fewer where that fails for their number: what is too much
 * only together must not hold up the move for ever.
 */
static JflowMove
in_parts(Move *move, JflowMove (*function) (Move *move))
{
	Part		part = {move, function};
	ErrorData  *error;

	move->batch = Min(move->batch, fitting);
	for (;;)
	{
		fitting = Max(move->batch / 2, 1);	/* unless this goes well */
		move->ask.until = part_until = step_end(move->executor);
		error = jflow_try(run_part, &part, is_not_of_size);
		if (error == NULL)
			break;
		if (move->batch == 1)
			ReThrowError(error);
		move->batch = fitting;
	}
	fitting = part.result == MOVE_WAIT ? move->batch : Min(move->batch * 2, MAX_BATCH);
	return part.result;
}

/* ----- steps ----- */

/* The node that the progress names; the first if it is none of the old ones. */
static int
node_of(const Move *move)
{
	for (int i = 0; i < move->options->nservers && move->progress.node; i++)
		if (move->options->is_old[i] && strcmp(move->options->nodes[i], move->progress.node) == 0)
			return i;
	return next_node(move->options, -1);
}

static JflowMove
step(Move *move)
{
	if (!read_progress(move))
	{
		write_progress(move, move->options->locking ? STAGE_LOCK : STAGE_WAIT, NULL, NULL);
		return MOVE_MORE;
	}
	move->node = node_of(move);
	switch (move->progress.stage)
	{
		case STAGE_COPY:
			return in_parts(move, copy_part);
		case STAGE_DELETE:
			return in_parts(move, delete_part);
		default:
			if (!posts_have_ended(move))
				return MOVE_WAIT;
			if (move->progress.stage == STAGE_LOCK)
				change_definition(move, remote_options_locked(move->uses_with, move->options),
								  move->options->nservers);
			write_progress(move, (Stage) (move->progress.stage + 1), NULL, NULL);
			return MOVE_MORE;
	}
}

typedef struct MoveWork
{
	const char *flow;
	const char *executor;
	int			batch;
	JflowMove	result;
} MoveWork;

/* What a move asks servers, as the current user: but for server, endpoint, documents. */
RemoteAsk
remote_ask_to_move(const JflowFlow *flow, const JflowExecutor *executor, const RemoteOptions *options)
{
	RemoteAsk	ask = {0};

	ask.user = GetUserId();
	ask.front = flow->name;
	ask.flow = options->flow;
	ask.stored = true;
	ask.no_longer = true;
	ask.until = step_end(executor);
	return ask;
}

/* False: there is nothing to move. */
static bool
init_move(Move *move, const JflowFlow *flow, const char *executor)
{
	memset(move, 0, sizeof(*move));
	move->flow = flow;
	move->executor = jflow_flow_executor(flow, executor);
	if (move->executor == NULL || move->executor->class != &remote_class)
		return false;
	move->uses_with = move->executor->uses_with;
	move->options = remote_options_read(move->uses_with);
	move->ask = remote_ask_to_move(flow, move->executor, move->options);
	return move->options->moving;
}

static void
move_documents(void *arg)
{
	MoveWork   *work = arg;
	LOCKTAG		steps = remote_steps(work->flow, work->executor);
	Move		move;

	/*
	 * Who has changed the servers held this lock until all processes had been
	 * told: a post that we do not see from here on knows of them.
	 */
	(void) LockAcquire(&steps, ExclusiveLock, false, false);
	AcceptInvalidationMessages();
	work->result = MOVE_DONE;
	if (!init_move(&move, jflow_flow_open(work->flow, false), work->executor))
		return;
	move.batch = Min(work->batch, MAX_BATCH);
	work->result = step(&move);
}

/*
 * A step of moving documents to other servers, as the flow's owner.  The caller has
 * checked that it may, and the transaction is READ COMMITTED.
 */
JflowMove
remote_move(const char *flow, const char *executor, int batch, bool busy)
{
	MoveWork	work = {flow, executor, batch, MOVE_DONE};

	jflow_as_flow_owner(jflow_flow_open(flow, false), move_documents, &work);
	return work.result;
}

/* Are documents of an executor on their way?  Reads the catalog by scan. */
bool
remote_needs_mover(const char *flow_name, const char *executor_name)
{
	JflowFlow  *flow = jflow_flow_get(flow_name);
	const JflowExecutor *executor = flow ? jflow_flow_executor(flow, executor_name) : NULL;

	return executor && executor->class == &remote_class && remote_class.moving(executor);
}
