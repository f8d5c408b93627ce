/*
 * mover.c
 *		Carries out a change of an executor's number of shards.
 *
 * A mover is the only worker of a pool that takes no requests: wanted by the
 * scout while jflow.shard says that rows are to be moved, and kept up by the
 * launcher like a replica.  Each step is a transaction that leaves whole rows in
 * one place, so it can be stopped or killed at any time; the next mover goes on
 * where the last step was committed.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "flow/flow.h"
#include "runtime/control/workers.h"
#include "runtime/shared/pool.h"
#include "settings.h"

/* Nobody tells when the last older snapshot has gone, so look again. */
#define LOOK_AGAIN_MS 200

/* For so long what keeps writers waiting is put off while there are requests. */
#define PATIENCE_MS 10000

/*
 * Have replicas of the executor served requests since we looked last, less than
 * our patience ago?
 */
static bool
is_busy(const JflowPool *pool, TimestampTz since)
{
	static int64 seen = -1;
	int64		served = 0;
	bool		busy;

	for (int r = 0; r < jflow_max_replicas; r++)
	{
		const JflowReplica *replica = &jflow_replicas[r];
		const JflowPool *other = &jflow_pools[replica->pool];

		/* without a lock: it is only a guess what is worth waiting for */
		if (replica->state != REPLICA_FREE && other->database == pool->database &&
			strcmp(other->flow, pool->flow) == 0 && strcmp(other->executor, pool->executor) == 0)
			served += replica->requests;
	}
	busy = served != seen &&
		!TimestampDifferenceExceeds(since, GetCurrentTimestamp(), PATIENCE_MS);
	seen = served;
	return busy;
}

static JflowMove
move_step(const JflowPool *pool, bool busy)
{
	JflowMove	result;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	XactIsoLevel = XACT_READ_COMMITTED; /* whatever is the owner's default */
	PushActiveSnapshot(GetTransactionSnapshot());
	result = jflow_move_rows(pool->flow, pool->executor, JFLOW_MOVE_BATCH, busy);
	/* The scout shall see that no mover is wanted any more. */
	if (result == MOVE_DONE)
		jflow_pending_dirty();
	PopActiveSnapshot();
	CommitTransactionCommand();
	return result;
}

/* A step; what it raises is kept for jflow_status and ends the worker. */
static JflowMove
move_step_or_exit(JflowPool *pool, bool busy)
{
	JflowMove	result;

	PG_TRY();
	{
		result = move_step(pool, busy);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(TopMemoryContext);
		error = CopyErrorData();
		LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
		jflow_clip(pool->reason, error->message ? error->message : "", JFLOW_REASON_LEN);
		LWLockRelease(&pool->lock);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return result;
}

/* Move rows until all are where they belong, or until it shall stop. */
void
jflow_mover_run(JflowReplica *me)
{
	JflowPool  *pool = &jflow_pools[me->pool];
	TimestampTz since = GetCurrentTimestamp();

	pgstat_report_activity(STATE_RUNNING, "moving rows between shards, or making their indexes");
	while (!me->stop)
	{
		JflowMove	result;

		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		result = move_step_or_exit(pool, is_busy(pool, since));
		pgstat_report_stat(false);
		if (result == MOVE_DONE)
		{
			LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
			me->stop = true;	/* an exit that counts as no failure */
			pool->next_start = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), 1000);
			LWLockRelease(&pool->lock);
		}
		else if (result == MOVE_WAIT)
		{
			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
							 LOOK_AGAIN_MS, PG_WAIT_EXTENSION);
			ResetLatch(MyLatch);
		}
	}
	proc_exit(0);
}
