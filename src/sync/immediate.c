/*
 * immediate.c
 *		Syncs of mode "immediate": a round inside of the writer's statement.
 *
 * Rows collect their keys, and when the statement ends the newest rows that have
 * them are posted, as the flow's owner, within the writer's transaction.  An error
 * fails the statement.  Keys that a failed subtransaction leaves behind cost a look at
 * their rows, which are as they were.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "compat.h"
#include "sync/sync.h"

/* What the rows of a statement have collected, of one sync. */
typedef struct Collected
{
	int			id;
	Datum	   *keys;
	int			n;
	int			allocated;
	struct Collected *next;
} Collected;

static Collected *all = NULL;	/* in the memory of the transaction */

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
		mine->keys = mine->keys ? repalloc_huge(mine->keys, sizeof(Datum) * mine->allocated) :
			palloc(sizeof(Datum) * mine->allocated);
	}
	mine->keys[mine->n++] = PointerGetDatum(DatumGetTextPCopy(key));
	MemoryContextSwitchTo(old);
}

static void
init_round(SyncRound *round, Sync *sync)
{
	memset(round, 0, sizeof(*round));
	round->context = AllocSetContextCreate(CurrentMemoryContext, "jflow sync", ALLOCSET_DEFAULT_SIZES);
	round->sync = sync;
	round->strict = true;
}

static void
end_round(SyncRound *round)
{
	sync_post(round);
	sync_settle(round, 0);
	MemoryContextDelete(round->context);
	CommandCounterIncrement();
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
		init_round(&round, sync);
		sync_claim(&round, sync->batch * 16);
		more = round.more;
		end_round(&round);
	} while (more || sync->phase != PHASE_FOLLOW);
}

static void
post_keys(Sync *sync, Collected *mine)
{
	int			n = mine->n;

	mine->n = 0;				/* a post may change the source itself */
	for (int i = 0; i < n; i += SYNC_MAX_BATCH)
	{
		SyncRound	round;

		init_round(&round, sync);
		sync_claim_keys(&round, mine->keys + i, Min(SYNC_MAX_BATCH, n - i));
		end_round(&round);
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
	Sync	   *sync;
	JflowFlow  *flow;
	Oid			userid,
				owner;
	int			sec_context;

	if (mine->n == 0 && !truncated)
		return;
	CommandCounterIncrement();
	sync = sync_read_id(id);
	if (sync == NULL || !sync->here || sync->paused)
		return;
	flow = jflow_flow_open(sync->flow, false);
	owner = jflow_flow_owner(flow);
	GetUserIdAndSecContext(&userid, &sec_context);
	SetUserIdAndSecContext(owner, jflow_owner_security(owner, userid, sec_context));
	if (truncated)
	{
		mine->n = 0;
		sync_set_phase(sync, PHASE_SWEEP, (Datum) 0);
		sync_immediate_fill(sync);
	}
	else
		post_keys(sync, mine);
	SetUserIdAndSecContext(userid, sec_context);
}
