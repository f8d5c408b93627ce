/*
 * pqlite_mover.c
 *		A background worker that moves rows between shards.
 *
 * It is started when a transaction that changed the number of shards commits,
 * connects as the flow's owner, and runs one step per transaction until all is
 * done.  Should it be lost (the server was stopped), the next request that
 * writes in a replica starts another one; a session lock lets one work at a time.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "compat.h"
#include "executors/pqlite.h"

#define BATCH 1000
#define WAIT_MS 200				/* for old snapshots, which nobody announces */
#define RETRY_MS 5000			/* between two starts by one session */
#define MOVER_OBJECT PG_UINT32_MAX	/* of the store's locks */

extern PGDLLEXPORT void jflow_mover_main(Datum arg) JFLOW_NORETURN;

/* Movers to start when this transaction commits. */
typedef struct PendingMover
{
	struct PendingMover *next;
	Oid			owner;
	char		names[BGW_EXTRALEN];	/* flow, executor */
} PendingMover;

static PendingMover *pending = NULL;

static void
start_mover(const PendingMover *mover)
{
	BackgroundWorker worker;

	memset(&worker, 0, sizeof(worker));
	snprintf(worker.bgw_name, BGW_MAXLEN, "jflow mover: %s", mover->names);
	strlcpy(worker.bgw_type, "jflow mover", BGW_MAXLEN);
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, "jflow", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "jflow_mover_main", sizeof(worker.bgw_function_name));
	worker.bgw_main_arg = UInt64GetDatum(((uint64) MyDatabaseId << 32) | mover->owner);
	memcpy(worker.bgw_extra, mover->names, BGW_EXTRALEN);
	(void) RegisterDynamicBackgroundWorker(&worker, NULL);
}

static void
start_pending(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT)
		for (PendingMover *mover = pending; mover; mover = mover->next)
			start_mover(mover);
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT)
		pending = NULL;			/* its memory goes with the transaction */
}

/* Let a mover be started when this transaction commits. */
void
pqlite_start_mover(const char *flow, const char *executor, Oid owner)
{
	static bool registered = false;
	PendingMover *mover = MemoryContextAllocZero(TopTransactionContext, sizeof(PendingMover));

	if (!registered)
	{
		RegisterXactCallback(start_pending, NULL);
		registered = true;
	}
	mover->owner = owner;
	strlcpy(mover->names, flow, NAMEDATALEN);
	strlcpy(mover->names + strlen(mover->names) + 1, executor, NAMEDATALEN);
	mover->next = pending;
	pending = mover;
}

/* A write has met rows in motion: see to it that somebody moves them. */
void
pqlite_see_to_mover(const char *flow, const char *executor, Oid owner)
{
	static TimestampTz last = 0;
	TimestampTz now = GetCurrentTimestamp();

	if (MyBgworkerEntry == NULL || !TimestampDifferenceExceeds(last, now, RETRY_MS))
		return;
	last = now;
	pqlite_start_mover(flow, executor, owner);
}

/* One step in a transaction of its own. */
static PqliteStep
run_step(const char *flow_name, const char *executor_name, bool *locked)
{
	PqliteStep	step = STEP_DONE;
	JflowFlow  *flow;
	const JflowExecutor *executor;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	flow = jflow_flow_open(flow_name, true);
	executor = flow ? jflow_flow_executor(flow, executor_name) : NULL;
	if (executor)
	{
		if (!*locked)
		{
			PqliteStore *store = pqlite_store_find(flow, executor);
			LOCKTAG		tag;

			if (store)
			{
				SET_LOCKTAG_OBJECT(tag, MyDatabaseId, store->relid, MOVER_OBJECT, 0);
				*locked = LockAcquire(&tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
			}
		}
		if (*locked)
			step = pqlite_reshard_step(flow, executor, BATCH);
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	return step;
}

/* Entry point of the worker. */
void
jflow_mover_main(Datum arg)
{
	uint64		ids = DatumGetUInt64(arg);
	const char *flow = MyBgworkerEntry->bgw_extra;
	const char *executor = flow + strlen(flow) + 1;
	bool		locked = false;
	PqliteStep	step;

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid((Oid) (ids >> 32), (Oid) (ids & PG_UINT32_MAX), 0);
	pgstat_report_activity(STATE_RUNNING, "moving rows between shards");
	while ((step = run_step(flow, executor, &locked)) != STEP_DONE)
	{
		CHECK_FOR_INTERRUPTS();
		if (step != STEP_WAITING)
			continue;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, WAIT_MS,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
	proc_exit(0);
}
