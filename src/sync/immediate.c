/*
 * immediate.c
 *		Syncs of mode "immediate": a round inside of the writer's statement.
 *
 * Rows collect their keys, and when the statement ends the newest rows that have
 * them are posted, as the flow's owner, within the writer's transaction.  An error
 * fails the statement.
 *
 * A statement within a subtransaction posts what was collected in it, and leaves
 * what a statement around it has collected: else that would be lost where the
 * subtransaction rolls back.
 *
 * What a round's executors change in the source waits for the end of that round, so
 * that no key is ever in two of them, and the newest row arrives last.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "compat.h"
#include "sync/sync.h"

/* How often rows may change while they are posted. */
#define MAX_ROUNDS_AGAIN 100

typedef struct Key
{
	Datum		key;			/* text */
	int			level;			/* of the subtransaction that changed the row */
} Key;

/* What the rows of statements have collected, of one sync, by rising level. */
typedef struct Collected
{
	int			id;
	Key		   *keys;
	int			n;
	int			allocated;
	int			out;			/* the level at which a round is out; 0: none
								 * is */
	struct Collected *next;
} Collected;

static Collected *all = NULL;	/* in the memory of the transaction */

/* A subtransaction has ended: what it has collected is its parent's, or nobody's. */
void
sync_immediate_end_level(int level, bool committed)
{
	for (Collected *c = all; c; c = c->next)
	{
		if (!committed && c->out >= level)
			c->out = 0;
		for (int i = c->n - 1; i >= 0 && c->keys[i].level >= level; i--)
		{
			if (committed)
				c->keys[i].level = level - 1;
			else
			{
				pfree(DatumGetPointer(c->keys[i].key));
				c->n = i;
			}
		}
	}
}

/*
 * A transaction is about to commit.  Raise an error if it has changed rows by a way
 * on which no trigger has told of the end of the statement.
 */
void
sync_immediate_check(void)
{
	for (Collected *c = all; c; c = c->next)
		if (c->n > 0)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("rows of a table with a sync of mode \"immediate\" have not been posted"),
					 errdetail("They were changed by way of a table that theirs is a part of, or by logical replication."),
					 errhint("Use mode \"live\".")));
}

/* A transaction has ended. */
void
sync_immediate_forget(void)
{
	all = NULL;
}

static Collected *
collected(int id)
{
	Collected  *result;

	for (result = all; result; result = result->next)
		if (result->id == id)
			return result;
	result = MemoryContextAllocZero(TopTransactionContext, sizeof(Collected));
	result->id = id;
	result->next = all;
	all = result;
	return result;
}

/* Keep a key, a text, until the statement ends. */
void
sync_immediate_collect(int id, Datum key)
{
	Collected  *mine = collected(id);
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);

	if (mine->n == mine->allocated)
	{
		mine->allocated = Max(mine->allocated * 2, 64);
		mine->keys = mine->keys ? repalloc_huge(mine->keys, sizeof(Key) * mine->allocated) :
			palloc(sizeof(Key) * mine->allocated);
	}
	mine->keys[mine->n].key = PointerGetDatum(DatumGetTextPCopy(key));
	mine->keys[mine->n++].level = GetCurrentTransactionNestLevel();
	MemoryContextSwitchTo(old);
}

static void
begin_round(SyncRound *round, Sync *sync)
{
	memset(round, 0, sizeof(*round));
	round->context = AllocSetContextCreate(CurrentMemoryContext, "jflow sync", ALLOCSET_DEFAULT_SIZES);
	round->sync = sync;
	round->strict = true;
	collected(sync->id)->out = GetCurrentTransactionNestLevel();
}

static void
end_round(SyncRound *round)
{
	sync_post(round);
	sync_settle(round, 0);
	collected(round->sync->id)->out = 0;
	MemoryContextDelete(round->context);
	CommandCounterIncrement();
}

/*
 * Take the keys of the current subtransaction, into the current memory context, which
 * ends earlier than a transaction of many statements; returns how many they are.
 */
static int
take_keys(Collected *mine, Datum **keys)
{
	int			level = GetCurrentTransactionNestLevel();
	int			first = mine->n;
	int			n;

	while (first > 0 && mine->keys[first - 1].level >= level)
		first--;
	n = mine->n - first;
	*keys = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Datum) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		Datum		key = mine->keys[first + i].key;

		(*keys)[i] = PointerGetDatum(DatumGetTextPCopy(key));
		pfree(DatumGetPointer(key));
	}
	mine->n = first;
	return n;
}

static void
post_keys(Sync *sync, Datum *keys, int n)
{
	for (int i = 0; i < n; i += SYNC_MAX_BATCH)
	{
		SyncRound	round;

		CHECK_FOR_INTERRUPTS();
		begin_round(&round, sync);
		sync_claim_keys(&round, keys + i, Min(SYNC_MAX_BATCH, n - i));
		end_round(&round);
	}
}

/* Post what the executors of a round have changed, and those of the rounds for that. */
static void
post_changed_meanwhile(Sync *sync)
{
	Collected  *mine = collected(sync->id);
	Datum	   *keys;
	int			n;

	for (int i = 0; (n = take_keys(mine, &keys)) > 0; i++)
	{
		if (i == MAX_ROUNDS_AGAIN)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("rows of sync \"%s\" change whenever they are posted", sync->name),
					 errdetail("That has been repeated %d times in one statement.", MAX_ROUNDS_AGAIN),
					 errhint("Let an executor change a row of the source only where something is different then.")));
		post_keys(sync, keys, n);
	}
}

/* Rounds until nothing is left, with the rights of the current user. */
void
sync_immediate_fill(Sync *sync)
{
	bool		more;

	do
	{
		SyncRound	round;

		CHECK_FOR_INTERRUPTS();
		begin_round(&round, sync);
		sync_claim(&round, sync->batch * 16);
		more = round.more;
		end_round(&round);
		post_changed_meanwhile(sync);
	} while (more || sync->phase != PHASE_FOLLOW);
}

typedef struct PostWork
{
	Sync	   *sync;
	Datum	   *keys;
	int			n;
	bool		truncated;
} PostWork;

static void
post_work(void *arg)
{
	const PostWork *work = arg;

	sync_check_source(work->sync);
	if (work->truncated)
	{
		sync_set_phase(work->sync, PHASE_SWEEP, (Datum) 0);
		sync_immediate_fill(work->sync);
	}
	else
	{
		post_keys(work->sync, work->keys, work->n);
		post_changed_meanwhile(work->sync);
	}
}

/*
 * A statement has ended: post what its rows have collected or, if all of them went,
 * what the source has not any more.
 */
void
sync_immediate_post(int id, bool truncated)
{
	Collected  *mine = collected(id);
	PostWork	work;
	Datum	   *keys;
	int			n;

	if (mine->out > 0)
		return;					/* to who has begun that round */
	n = take_keys(mine, &keys);
	if (n == 0 && !truncated)
		return;
	CommandCounterIncrement();
	work.sync = sync_read_id(id);
	work.keys = keys;
	work.n = n;
	work.truncated = truncated;
	if (work.sync && work.sync->here && !work.sync->paused)
		jflow_as_flow_owner(jflow_flow_open(work.sync->flow, false), post_work, &work);
}
