/*
 * worker.c
 *		The worker of a sync: rounds, one after the other.
 *
 * It is the only worker of a pool that takes no requests, like a mover: wanted by
 * scouts while the flow is started and the sync is not paused, kept up by the
 * launcher, a process of the flow's owner.
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
#include "runtime/control/workers.h"
#include "runtime/shared/pool.h"
#include "sync/sync.h"

#define ROUND_BATCHES 32
#define LOOK_AGAIN_MS 1000		/* a prepared transaction wakes nobody */
#define MAX_WAIT_MS 60000
#define LOCK_TIMEOUT "300ms"	/* shorter than deadlock_timeout mostly is */

typedef struct Worker
{
	JflowReplica *me;
	JflowPool  *pool;
	MemoryContext context;		/* of a round */
	MemoryContext next_context; /* of the next one */
	SyncRound  *ahead;			/* what has been read ahead for it, or NULL */
	bool		locked;			/* the sync */
	bool		noted;			/* the catalog has an error of ours, or may */
	bool		recover;		/* a round may have ended badly */
	int			suspects;		/* see SyncRound */
	bool		apart;			/* the last round was one of suspects */
	bool		hasten;			/* do not wait for what the sync's errors put
								 * off */
	int			failures;		/* rounds, in a row */
	int			limit;			/* rows of the next round */
	TimestampTz clock;			/* when it was looked at last */
	TimestampTz not_before;		/* after failures */
	SyncLook	look;
	uint64		serving;		/* the last of jflow_sync_run's wishes */
	TimestampTz asked_at;		/* no later than this */
	bool		replaces;		/* the last round was of one that shall take
								 * another's place, and left nothing to do */
	bool		locked_other;	/* the sync whose place it takes */
	bool		told;			/* why it does not take it yet */
	int			place_failures; /* to take it, in a row */
	TimestampTz place_not_before;
} Worker;

/* A transaction for statements on our tables or, for a post, without a snapshot. */
static void
begin_transaction(bool snapshot)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	/* whatever are the owner's defaults */
	XactIsoLevel = XACT_READ_COMMITTED;
	XactReadOnly = false;
	if (snapshot)
		PushActiveSnapshot(GetTransactionSnapshot());
}

static void
end_transaction(void)
{
	if (ActiveSnapshotSet())
		PopActiveSnapshot();
	CommitTransactionCommand();
}

/*
 * The first transaction of a round.  False: nobody wants us here any more.
 */
static bool
claim(Worker *worker, SyncRound *round)
{
	MemoryContext old = MemoryContextSwitchTo(round->context);
	Sync	   *sync;
	bool		wanted;

	begin_transaction(true);
	MemoryContextSwitchTo(round->context);
	sync = sync_read_id(worker->pool->shards);
	if (sync)
	{
		sync_lock(sync->id, true);
		worker->locked = true;
		MemoryContextSwitchTo(round->context);
		sync = sync_read_id(sync->id);
	}
	wanted = sync && sync->here && !sync->paused && strcmp(sync->name, worker->pool->executor) == 0;
	if (wanted)
	{
		round->sync = sync;
		sync_check_source(sync);
		if (worker->recover)
			worker->suspects = sync_recover(sync);
		if (worker->hasten)
			sync_hasten(sync);

		/* what has changed need not wait until they have all been tried */
		worker->apart = worker->suspects > 0 && !worker->apart;
		round->suspects = worker->apart ? worker->suspects : 0;
		sync_claim(round, Min(worker->limit, sync->batch * ROUND_BATCHES));
		if (worker->apart)
			worker->suspects = round->suspects;

		/* what has become due by this may have changed before */
		if (round->compared || worker->recover || worker->hasten)
			worker->asked_at = GetCurrentTimestamp();
	}
	end_transaction();
	worker->recover = false;
	worker->hasten = false;
	MemoryContextSwitchTo(old);
	return wanted;
}

static int64
wait_after(int failures)
{
	return Min(INT64CONST(1000) << Min(failures, 20), MAX_WAIT_MS);
}

/* The locks of the session go with a transaction that is aborted. */
static void
abort_transaction(Worker *worker)
{
	AbortCurrentTransaction();
	sync_locks_lost();
	worker->locked = worker->locked_other = false;
}

/*
 * The second.  A document that is too large to be sent, or that a deferred trigger
 * of the store refuses at commit, is raised as the post's error; once its row is
 * alone it is the row's, which would hold up all others.
 */
static void
post(Worker *worker, SyncRound *round)
{
	PG_TRY();
	{
		begin_transaction(false);
		sync_post(round);
		end_transaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		if (round->nrows != 1 || geterrcode() == ERRCODE_QUERY_CANCELED)
			PG_RE_THROW();
		MemoryContextSwitchTo(round->context);
		error = CopyErrorData();
		abort_transaction(worker);
		FlushErrorState();
		MemoryContextSwitchTo(round->context);
		sync_fail_row(&round->rows[0], error,
					  ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_TO_CATEGORY(ERRCODE_PROGRAM_LIMIT_EXCEEDED));
	}
	PG_END_TRY();
}

/*
 * Within a transaction, lock the sync again if that was lost.  Returns false if somebody
 * has forgotten it, or has let another take its place.
 */
static bool
lock_again(Worker *worker, const Sync *sync)
{
	if (worker->locked)
		return true;
	sync_lock(sync->id, true);
	worker->locked = true;
	return sync_read_id(sync->id) != NULL;
}

/* The second and the third. */
static void
post_and_settle(Worker *worker, SyncRound *round)
{
	worker->me->state = REPLICA_BUSY;
	post(worker, round);
	begin_transaction(true);
	MemoryContextSwitchTo(round->context);
	if (!lock_again(worker, round->sync))
	{
		end_transaction();
		worker->me->stop = true;
		return;
	}
	sync_settle(round, wait_after(worker->failures));
	if (round->error || (worker->noted && round->arrived > 0))
	{
		sync_note_error(round->sync, round->error);
		worker->noted = round->error != NULL;
	}
	end_transaction();
	MemoryContextSwitchTo(round->context);
}

static void
unlock(Worker *worker)
{
	if (worker->locked)
		sync_unlock();
	worker->locked = false;
}

/* A round has ended well, or not (with an error that is the sync's). */
static void
count_round(Worker *worker, bool well)
{
	TimestampTz now = GetCurrentTimestamp();

	if (well)
	{
		worker->failures = 0;
		worker->limit = Min(worker->limit * 2, SYNC_MAX_BATCH * ROUND_BATCHES);
		return;
	}
	worker->not_before = TimestampTzPlusMilliseconds(now, wait_after(worker->failures));
	worker->failures++;
	worker->limit = 1;
}

/* Keep an error for the view.  If that fails, too, the log has both. */
static void
note_error(Worker *worker, const ErrorData *error)
{
	MemoryContext old = CurrentMemoryContext;

	jflow_clip(worker->me->last_error, error->message ? error->message : "", JFLOW_REASON_LEN);
	worker->me->last_sqlstate = error->sqlerrcode;
	worker->me->errors++;
	PG_TRY();
	{
		Sync	   *sync;

		begin_transaction(true);
		sync = sync_read_id(worker->pool->shards);
		if (sync)
			sync_note_error(sync, error);
		end_transaction();
		worker->noted = true;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(old);
		EmitErrorReport();
		abort_transaction(worker);
		FlushErrorState();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
}

/* In a PG_CATCH: the error is the sync's. */
static void
recover_from_error(Worker *worker)
{
	ErrorData  *error;

	MemoryContextSwitchTo(worker->context);
	error = CopyErrorData();
	HOLD_INTERRUPTS();
	EmitErrorReport();
	abort_transaction(worker);
	FlushErrorState();
	QueryCancelPending = false;
	RESUME_INTERRUPTS();
	MemoryContextSwitchTo(worker->context);
	worker->recover = true;
	worker->ahead = NULL;
	/* what was taken may be there again */
	memset(&worker->look, 0, sizeof(worker->look));
	note_error(worker, error);
}

/* What was to be done at times of a clock that has been set back since is done now. */
static void
heed_clock(Worker *worker)
{
	TimestampTz now = GetCurrentTimestamp();

	if (now < worker->clock)
	{
		worker->not_before = worker->place_not_before = 0;
		worker->hasten = true;
		memset(&worker->look, 0, sizeof(worker->look));
	}
	worker->clock = now;
}

/* A round has ended: its memory is that of the next but one. */
static void
turn_memory(Worker *worker)
{
	MemoryContext last = worker->context;

	MemoryContextReset(last);
	worker->context = worker->next_context;
	worker->next_context = last;
	MemoryContextSwitchTo(worker->context);
}

/* No round follows soon. */
static void
forget_memory(Worker *worker)
{
	worker->ahead = NULL;
	MemoryContextReset(worker->context);
	MemoryContextReset(worker->next_context);
}

/* A round with what was read ahead for it. */
static SyncRound *
make_round(Worker *worker)
{
	SyncRound  *round = MemoryContextAllocZero(worker->context, sizeof(SyncRound));

	round->context = worker->context;
	round->look = &worker->look;
	round->ahead = worker->ahead;
	worker->ahead = NULL;
	MemoryContextReset(worker->next_context);
	round->next = MemoryContextAllocZero(worker->next_context, sizeof(SyncRound));
	round->next->context = worker->next_context;
	return round;
}

/*
 * One round.  Returns whether another one may follow at once; in *due when there
 * is something to do again.
 */
static bool
run_round(Worker *worker, TimestampTz *due)
{
	TimestampTz started = GetCurrentTimestamp();
	SyncRound  *round = make_round(worker);
	volatile bool again = false;

	*due = DT_NOEND;
	worker->replaces = false;
	heed_clock(worker);
	PG_TRY();
	{
		if (!claim(worker, round))
			worker->me->stop = true;	/* an exit that counts as no failure */
		else if (round->nrows > 0)
			post_and_settle(worker, round);
		unlock(worker);
		if (!worker->me->stop)
		{
			if (round->nrows > 0)
				count_round(worker, round->error == NULL);
			again = round->error == NULL && (round->more || round->nrows > 0);
			if (again && round->next->from)
				worker->ahead = round->next;
			if (!again)
			{
				begin_transaction(true);
				*due = sync_next_due(round->sync);
				end_transaction();
				again = round->error == NULL && worker->suspects > 0 && *due <= GetCurrentTimestamp();
				if (round->nrows == 0 && *due == DT_NOEND)
					worker->failures = 0;	/* what has failed is gone */
				if (!worker->look.at_all)
					*due = Min(*due, worker->look.all_at);
				worker->replaces = round->sync->stands_for && round->sync->phase == PHASE_FOLLOW &&
					round->error == NULL && *due == DT_NOEND;
			}
		}
	}
	PG_CATCH();
	{
		recover_from_error(worker);
		count_round(worker, false);
		again = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(worker->context);
	worker->me->docs += round->arrived;
	worker->me->requests++;
	if (round->nrows > 0)
		worker->me->busy_us += GetCurrentTimestamp() - started;
	worker->me->state = REPLICA_IDLE;
	return again;
}

/*
 * Lock the sync whose place we are to take, if nothing forbids that.  What does is
 * told once.
 */
static bool
lock_other(Worker *worker)
{
	Sync	   *sync,
			   *other = NULL;
	ErrorData  *why_not = NULL;

	begin_transaction(true);
	MemoryContextSwitchTo(worker->context);
	sync = sync_read_id(worker->pool->shards);
	if (sync && sync->stands_for)
		other = sync_of_flow(sync->stands_for);
	if (other)
		why_not = sync_why_not_yet(sync, other);
	if (other && why_not == NULL)
	{
		sync_lock(other->id, true);
		worker->locked_other = true;
	}
	if (why_not && !worker->told)
		sync_note_error(sync, why_not);
	worker->noted |= why_not != NULL;
	worker->told = why_not != NULL;
	end_transaction();
	MemoryContextSwitchTo(worker->context);
	return worker->locked_other;
}

/* The exchange itself, both syncs locked.  Nobody who reads or writes waits long for our locks. */
static void
exchange(Worker *worker)
{
	Sync	   *sync,
			   *other;
	int			guc_level = 0;
	int			replaced = 0;

	begin_transaction(true);
	MemoryContextSwitchTo(worker->context);
	sync = sync_read_id(worker->pool->shards);
	if (sync)
	{
		sync_lock(sync->id, false);
		sync = sync_read_id(sync->id);
	}
	other = sync && sync->stands_for ? sync_of_flow(sync->stands_for) : NULL;
	if (other)
	{
		guc_level = NewGUCNestLevel();
		(void) set_config_option("lock_timeout", LOCK_TIMEOUT, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
		sync_exchange(sync, other);
		AtEOXact_GUC(true, guc_level);
		replaced = other->id;
	}
	end_transaction();
	worker->me->stop = true;	/* its place is the worker's of the other */
	begin_transaction(true);
	sync_forget_rows(replaced);
	end_transaction();
	MemoryContextSwitchTo(worker->context);
}

/*
 * All rows of a sync that is to take another's place have been tried.  The other is
 * locked first, and what has changed until then is posted: it cannot have brought
 * anything to its store that ours has not, so no answer becomes older.
 */
static void
take_place(Worker *worker)
{
	TimestampTz due;

	if (worker->place_not_before > GetCurrentTimestamp())
		return;
	PG_TRY();
	{
		/* nothing that has changed is to be left in the queue */
		worker->look.thorough = true;
		if (lock_other(worker))
		{
			while (!worker->me->stop && run_round(worker, &due))
			{
				turn_memory(worker);
				CHECK_FOR_INTERRUPTS();
			}
			if (worker->replaces && worker->locked_other && !worker->me->stop)
				exchange(worker);
		}
	}
	PG_CATCH();
	{
		recover_from_error(worker);
		worker->place_not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), wait_after(worker->place_failures++));
	}
	PG_END_TRY();
	if (worker->locked_other)
		sync_unlock();
	worker->locked_other = false;
	worker->replaces = false;
}

/* Somebody waits until all that was changed before has been posted. */
static bool
is_asked(Worker *worker)
{
	bool		asked;

	LWLockAcquire(&worker->pool->lock, LW_SHARED);
	asked = worker->pool->asked != worker->pool->answered;
	worker->serving = worker->pool->asked;
	worker->asked_at = GetCurrentTimestamp();
	LWLockRelease(&worker->pool->lock);
	return asked;
}

/* Has what was changed before somebody asked been posted, or has failed? */
static bool
is_served(const Worker *worker)
{
	bool		served;

	begin_transaction(true);
	served = sync_has_followed(worker->pool->shards, worker->asked_at);
	end_transaction();
	return served;
}

static void
answer(Worker *worker)
{
	LWLockAcquire(&worker->pool->lock, LW_EXCLUSIVE);
	worker->pool->answered = worker->serving;
	worker->pool->answered_well = worker->failures == 0;
	LWLockRelease(&worker->pool->lock);
	ConditionVariableBroadcast(&jflow_shared->changed);
}

static void
rest(TimestampTz until)
{
	TimestampTz now = GetCurrentTimestamp();
	long		ms = LOOK_AGAIN_MS;

	if (until <= now)
		return;
	if (until != DT_NOEND)
		ms = Min(ms, (long) ((until - now) / 1000) + 1);
	pgstat_report_stat(true);
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms, PG_WAIT_EXTENSION);
}

/* What a sync says of its mode; manual ones work only when asked. */
static bool
is_manual(int id)
{
	Sync	   *sync;
	bool		manual;

	begin_transaction(true);
	sync = sync_read_id(id);
	manual = sync && sync->mode == SYNC_MANUAL;
	end_transaction();
	return manual;
}

/* Keep a table in step until we shall stop. */
void
sync_worker_run(JflowReplica *me)
{
	Worker		worker;
	TimestampTz due = 0;
	bool		manual;

	memset(&worker, 0, sizeof(worker));
	worker.me = me;
	worker.pool = &jflow_pools[me->pool];
	worker.limit = SYNC_MAX_BATCH;
	worker.noted = true;		/* by who was here before */
	worker.recover = true;
	worker.hasten = true;		/* the flow may have been stopped */
	worker.context = AllocSetContextCreate(TopMemoryContext, "jflow sync", ALLOCSET_DEFAULT_SIZES);
	worker.next_context = AllocSetContextCreate(TopMemoryContext, "jflow sync", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(worker.context);
	manual = is_manual(worker.pool->shards);
	while (!me->stop)
	{
		bool		asked;

		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		heed_clock(&worker);
		asked = is_asked(&worker);
		if (asked)
		{
			worker.not_before = 0;
			worker.hasten = true;
		}
		if ((manual && !asked) || worker.not_before > GetCurrentTimestamp())
		{
			rest(manual ? DT_NOEND : worker.not_before);
			continue;
		}
		worker.look.thorough = asked;
		pgstat_report_activity(STATE_RUNNING, "keeping a table in step with its flow");
		MemoryContextSwitchTo(worker.context);
		while (!me->stop && run_round(&worker, &due))
		{
			turn_memory(&worker);
			CHECK_FOR_INTERRUPTS();
			/* who asked need not wait for what goes on changing */
			if (asked && worker.look.at_all && is_served(&worker))
			{
				answer(&worker);
				asked = false;
			}
			if (!asked)
				asked = worker.hasten = is_asked(&worker);
			worker.look.thorough = asked;
			if (manual && !asked)
				break;
		}
		if (worker.replaces && !me->stop)
			take_place(&worker);
		forget_memory(&worker);
		/* by one that stops nobody is served; another is asked the same */
		if (asked && !me->stop)
			answer(&worker);
		pgstat_report_activity(STATE_IDLE, NULL);
		if (!me->stop)
			rest(Max(worker.not_before, due));
	}
	proc_exit(0);
}
