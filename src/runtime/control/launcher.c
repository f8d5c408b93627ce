/*
 * launcher.c
 *		Keeps running replicas equal to wanted ones.
 *
 * Everything it must know is in shared memory, so that a launcher that was
 * started again goes on where the last one stopped.  It sleeps until its latch
 * is set or the next start is due.
 */
#include "postgres.h"

#include <signal.h>

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "runtime/control/workers.h"
#include "runtime/shared/counters.h"
#include "runtime/shared/pool.h"
#include "runtime/shared/share.h"
#include "settings.h"

#define START_TIMEOUT_MS 30000
#define HEALTHY_MS 60000
#define STANDBY_LOOK_MS 5000
#define NO_SLOT "there is no free background worker slot: raise max_worker_processes"

static BackgroundWorkerHandle **handles = NULL; /* of replicas we started */
static List *unseen = NIL;		/* databases that no entry had room for yet */

/* For _PG_init. */
void
jflow_launcher_register(void)
{
	BackgroundWorker worker;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_ConsistentState;
	worker.bgw_restart_time = 1;
	strcpy(worker.bgw_library_name, "jflow");
	strcpy(worker.bgw_function_name, "jflow_launcher_main");
	strcpy(worker.bgw_name, "jflow launcher");
	strcpy(worker.bgw_type, "jflow launcher");
	RegisterBackgroundWorker(&worker);
}

static void
forget_launcher(int code, Datum arg)
{
	LWLockAcquire(&jflow_shared->control, LW_EXCLUSIVE);
	jflow_shared->launcher_pid = 0;
	jflow_shared->launcher_proc = JFLOW_NONE;
	LWLockRelease(&jflow_shared->control);
}

/* Look again at this time, at the latest. */
static void
no_later(TimestampTz *next, TimestampTz at)
{
	*next = Min(*next, at);
}

/* All databases one can connect to get a scout. */
static void
list_databases(void)
{
	Relation	rel;
	SysScanDesc scan;
	HeapTuple	tuple;
	MemoryContext context = CurrentMemoryContext;
	MemoryContext old;

	LWLockAcquire(&jflow_shared->control, LW_EXCLUSIVE);
	jflow_shared->rescan = false;
	jflow_shared->unseen++;		/* at least, until they are counted */
	LWLockRelease(&jflow_shared->control);
	StartTransactionCommand();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);

		if (!database->datallowconn || database->datistemplate)
			continue;
		old = MemoryContextSwitchTo(TopMemoryContext);
		unseen = list_append_unique_oid(unseen, database->oid);
		MemoryContextSwitchTo(old);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
}

/* Give databases entries while there is room. */
static void
enter_databases(void)
{
	LWLockAcquire(&jflow_shared->control, LW_EXCLUSIVE);
	while (unseen != NIL)
	{
		JflowDatabase *entry = jflow_database_entry(linitial_oid(unseen), true);

		if (entry == NULL)
			break;
		if (entry->dirty == entry->scouted)
			entry->dirty++;
		unseen = list_delete_first(unseen);
	}
	jflow_shared->unseen = list_length(unseen);
	LWLockRelease(&jflow_shared->control);
}

static bool
database_exists(Oid database)
{
	MemoryContext context = CurrentMemoryContext;
	bool		exists;

	StartTransactionCommand();
	exists = SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(database));
	CommitTransactionCommand();
	MemoryContextSwitchTo(context); /* the commit leaves one that is never
									 * reset */
	return exists;
}

/* A database is gone: so is all that was wanted in it. */
static void
forget_database(Oid database)
{
	JflowDatabase *entry;

	for (int i = 0; i < jflow_max_pools; i++)
	{
		if (!jflow_pools[i].used || jflow_pools[i].database != database)
			continue;
		LWLockAcquire(&jflow_pools[i].lock, LW_EXCLUSIVE);
		jflow_pools[i].wanted = 0;
		jflow_pools[i].closed = true;
		LWLockRelease(&jflow_pools[i].lock);
		jflow_pool_flush(i, "the database was dropped");
	}
	LWLockAcquire(&jflow_shared->control, LW_EXCLUSIVE);
	entry = jflow_database_entry(database, false);
	if (entry)
		entry->database = InvalidOid;
	jflow_stat_forget(database, NULL);
	LWLockRelease(&jflow_shared->control);
}

static bool
register_worker(const char *function, const char *type, const char *name, int number,
				uint32 generation, BackgroundWorkerHandle **handle)
{
	BackgroundWorker worker;
	MemoryContext old;
	bool		registered;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_ConsistentState;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strcpy(worker.bgw_library_name, "jflow");
	strlcpy(worker.bgw_function_name, function, BGW_MAXLEN);
	strlcpy(worker.bgw_type, type, BGW_MAXLEN);
	strlcpy(worker.bgw_name, name, BGW_MAXLEN);
	worker.bgw_main_arg = Int32GetDatum(number);
	memcpy(worker.bgw_extra, &generation, sizeof(generation));
	worker.bgw_notify_pid = MyProcPid;

	/* The handle must outlive this round. */
	old = MemoryContextSwitchTo(TopMemoryContext);
	registered = RegisterDynamicBackgroundWorker(&worker, handle);
	MemoryContextSwitchTo(old);
	return registered;
}

/* One scout at a time, for a database that has changed. */
static void
send_scout(TimestampTz *next)
{
	TimestampTz now = GetCurrentTimestamp();
	Oid			database = InvalidOid;
	JflowDatabase *chosen = NULL;
	bool		no_slot;

	if (OidIsValid(jflow_shared->scout_database))
	{
		TimestampTz late = TimestampTzPlusMilliseconds(jflow_shared->scout_started, START_TIMEOUT_MS);

		/* One that never started, or is gone without a word, is given up. */
		if (jflow_shared->scout_pid != 0 ? kill(jflow_shared->scout_pid, 0) == 0 : now < late)
		{
			if (jflow_shared->scout_pid == 0)
				no_later(next, late);
			return;
		}
		jflow_shared->scout_database = InvalidOid;
	}

	LWLockAcquire(&jflow_shared->control, LW_EXCLUSIVE);
	for (int i = 0; i < JFLOW_MAX_DATABASES && !OidIsValid(database); i++)
	{
		JflowDatabase *entry = &jflow_shared->databases[i];

		if (!OidIsValid(entry->database) || entry->dirty == entry->scouted || entry->blocked > 0)
			continue;
		if (entry->next_scout > now)
		{
			no_later(next, entry->next_scout);
			continue;
		}
		chosen = entry;
		database = entry->database;
		entry->next_scout = jflow_retry_at(++entry->failures);
	}
	LWLockRelease(&jflow_shared->control);
	if (!OidIsValid(database))
		return;
	if (!database_exists(database))
	{
		forget_database(database);
		SetLatch(MyLatch);
		return;
	}
	jflow_shared->scout_database = database;
	jflow_shared->scout_pid = 0;
	jflow_shared->scout_started = now;
	no_slot = !register_worker("jflow_scout_main", "jflow scout",
							   psprintf("jflow scout: %u", database), (int) database, 0, NULL);
	if (no_slot)
	{
		jflow_shared->scout_database = InvalidOid;
		if (!jflow_shared->no_slot)
			ereport(LOG,
					(errmsg("jflow could not start a scout: there is no free background worker slot"),
					 errhint("Raise max_worker_processes.")));

		/* Nothing is wrong with the database; until then no replica starts. */
		LWLockAcquire(&jflow_shared->control, LW_EXCLUSIVE);
		chosen->failures = 0;
		chosen->next_scout = TimestampTzPlusMilliseconds(now, 1000);
		LWLockRelease(&jflow_shared->control);
	}
	if (no_slot != jflow_shared->no_slot)
	{
		jflow_shared->no_slot = no_slot;
		ConditionVariableBroadcast(&jflow_shared->changed);
	}
	no_later(next, TimestampTzPlusMilliseconds(now, 1000));
}

/*
 * A start that came to nothing.  Under control, as is the worker's look at its
 * entry: one that starts just now either finds the entry gone, or is found.
 */
static void
start_failed(JflowPool *pool, JflowReplica *replica, const char *reason)
{
	LWLockAcquire(&jflow_shared->control, LW_EXCLUSIVE);
	LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
	if (replica->state == REPLICA_STARTING && replica->pid == 0)
	{
		replica->state = REPLICA_FREE;
		replica->generation++;
		pool->starting--;
		pool->next_start = jflow_retry_at(++pool->failures);
		jflow_clip(pool->reason, reason, JFLOW_REASON_LEN);
	}
	LWLockRelease(&pool->lock);
	LWLockRelease(&jflow_shared->control);
	ConditionVariableBroadcast(&jflow_shared->changed);
}

/* Will entries of replicas be free without anybody's doing? */
static bool
some_leave(void)
{
	for (int i = 0; i < jflow_max_replicas; i++)
		if (jflow_replicas[i].state != REPLICA_FREE &&
			(jflow_replicas[i].stop || jflow_pools[jflow_replicas[i].pool].closed))
			return true;
	return false;
}

/*
 * Why the owner of a pool's flow may not have one more replica, or NULL.  The
 * caller holds the control lock.
 */
static const char *
beyond_share(const JflowPool *pool)
{
	JflowStock	stock = jflow_share_replicas();
	JflowUse	use;

	use.role = jflow_share_replicas_of(pool->owner);
	use.flow = pool->running + pool->starting;
	if (jflow_max_replicas_per_role > 0 && use.role >= jflow_max_replicas_per_role)
		return "its owner has as many replicas as jflow.max_replicas_per_role allows";

	/* Where so few can run that a tenth is none, the first come has them. */
	if (stock.reserve > 0 && !jflow_share_allows(&stock, 1, &use))
		return "the last free replicas are kept for other roles: raise jflow.max_replicas and max_worker_processes";
	return NULL;
}

static const char *
worker_type(int shard)
{
	return shard == JFLOW_MOVER ? "jflow mover" : shard == JFLOW_SYNC ? "jflow sync" : "jflow replica";
}

/*
 * Start one more replica of a pool.  If that fails, next_start of the pool says
 * when to try again, unless a replica that leaves will wake us.
 */
static bool
start_replica(int p)
{
	JflowPool  *pool = &jflow_pools[p];
	JflowReplica *replica = NULL;
	bool		taken[1024] = {false};
	const char *refusal;
	int			number = 0;
	int			r;

	LWLockAcquire(&jflow_shared->control, LW_EXCLUSIVE);
	for (int i = 0; i < jflow_max_replicas; i++)
	{
		if (jflow_replicas[i].state == REPLICA_FREE)
		{
			if (replica == NULL)
				replica = &jflow_replicas[i];
		}
		else if (jflow_replicas[i].pool == p)
			taken[jflow_replicas[i].number] = true;
	}
	/* a scout comes first: it may find that less is wanted */
	if (jflow_shared->no_slot)
		refusal = NO_SLOT;
	else
		refusal = replica ? beyond_share(pool) : "there is no free replica: raise jflow.max_replicas";
	if (refusal)
	{
		bool		wait = some_leave();

		LWLockRelease(&jflow_shared->control);
		if (wait)
			return false;
		LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
		pool->failures++;
		pool->next_start = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), 5000);
		jflow_clip(pool->reason, refusal, JFLOW_REASON_LEN);
		LWLockRelease(&pool->lock);
		return false;
	}
	while (taken[number])
		number++;
	r = replica - jflow_replicas;
	LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
	{
		uint32		generation = replica->generation + 1;

		memset(replica, 0, sizeof(*replica));
		replica->generation = generation;
		replica->state = REPLICA_STARTING;
		replica->pool = p;
		replica->number = number;
		replica->slot = JFLOW_NONE;
		replica->proc = JFLOW_NONE;
		replica->since = GetCurrentTimestamp();
	}
	pool->starting++;
	LWLockRelease(&pool->lock);
	LWLockRelease(&jflow_shared->control);

	if (handles[r])
		pfree(handles[r]);
	handles[r] = NULL;
	if (!register_worker("jflow_replica_main",
						 worker_type(pool->shard),
						 pool->shard < 0 ?
						 psprintf("%s: %s/%s", worker_type(pool->shard), pool->flow, pool->executor) :
						 psprintf("jflow replica: %s/%s/%d/%d", pool->flow, pool->executor,
								  pool->shard, number),
						 r, replica->generation, &handles[r]))
	{
		start_failed(pool, replica, NO_SLOT);
		return false;
	}
	return true;
}

/* Ask a replica to leave when it has ended its request. */
static void
stop_replica(JflowReplica *replica)
{
	replica->stop = true;
	if (replica->state != REPLICA_STARTING)
		jflow_wake_process(replica->proc);
}

/*
 * A pool that is not wanted any more is closed when no post refers to it.  Under
 * control, since a scout may want it again.
 */
static void
close_if_drained(JflowPool *pool)
{
	LWLockAcquire(&jflow_shared->control, LW_EXCLUSIVE);
	LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
	if (pool->draining && pg_atomic_read_u32(&pool->holders) == 0)
	{
		pool->closed = true;
		pool->wanted = 0;
	}
	LWLockRelease(&pool->lock);
	LWLockRelease(&jflow_shared->control);
}

/* A closed pool without replicas: whoever found no entry may have its. */
static void
free_pool(JflowPool *pool)
{
	LWLockAcquire(&jflow_shared->control, LW_EXCLUSIVE);
	LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
	if (pool->running == 0 && pool->starting == 0 && pool->head < 0)
		pool->used = false;
	LWLockRelease(&pool->lock);
	for (int i = 0; i < JFLOW_MAX_DATABASES && !pool->used; i++)
	{
		JflowDatabase *entry = &jflow_shared->databases[i];

		if (!OidIsValid(entry->database) || !entry->no_room)
			continue;
		entry->dirty++;
		entry->next_scout = 0;
		SetLatch(MyLatch);
	}
	LWLockRelease(&jflow_shared->control);
	ConditionVariableBroadcast(&jflow_shared->changed);
}

/* What the replicas of a pool are about. */
typedef struct Survey
{
	JflowReplica *highest;		/* by number, of those that stay */
	JflowReplica *outdated;		/* one from before the restart asked for */
	int			live;			/* that stay */
	int			starting;		/* of those */
	int			stopping;
	bool		healthy;		/* one has lived for long */
} Survey;

/*
 * Has a replica's worker been registered without coming up?  Until then it is
 * looked at again in time.
 */
static bool
came_to_nothing(const JflowReplica *replica, TimestampTz now, TimestampTz *next)
{
	TimestampTz late = TimestampTzPlusMilliseconds(replica->since, START_TIMEOUT_MS);
	BackgroundWorkerHandle *handle = handles[replica - jflow_replicas];
	pid_t		pid;

	if (replica->state != REPLICA_STARTING || replica->pid != 0)
		return false;
	if (now >= late || (handle && GetBackgroundWorkerPid(handle, &pid) == BGWH_STOPPED))
		return true;
	no_later(next, late);
	return false;
}

/* Count a replica that is there. */
static void
survey_replica(const JflowPool *pool, JflowReplica *replica, TimestampTz now,
			   Survey *survey, TimestampTz *next)
{
	TimestampTz healthy_at;

	if (replica->stop)
	{
		survey->stopping++;
		return;
	}
	survey->live++;
	if (survey->highest == NULL || replica->number > survey->highest->number)
		survey->highest = replica;
	if (replica->state == REPLICA_STARTING)
	{
		survey->starting++;
		return;
	}
	if (replica->started < pool->restart_before)
		survey->outdated = replica;
	healthy_at = TimestampTzPlusMilliseconds(replica->started, HEALTHY_MS);
	survey->healthy |= now >= healthy_at;
	if (pool->failures > 0)
		no_later(next, healthy_at);
}

/* All replicas of a pool; what has not come up is given up. */
static void
survey_pool(int p, TimestampTz now, Survey *survey, TimestampTz *next)
{
	JflowPool  *pool = &jflow_pools[p];

	memset(survey, 0, sizeof(*survey));
	for (int i = 0; i < jflow_max_replicas; i++)
	{
		JflowReplica *replica = &jflow_replicas[i];

		if (replica->state == REPLICA_FREE || replica->pool != p)
			continue;
		if (came_to_nothing(replica, now, next))
			start_failed(pool, replica, "a background worker was registered but did not start");
		else
			survey_replica(pool, replica, now, survey, next);
	}
}

/* How many replicas a pool is to have now. */
static int
replicas_wanted(const JflowPool *pool)
{
	JflowDatabase *entry;
	bool		blocked;

	LWLockAcquire(&jflow_shared->control, LW_SHARED);
	entry = jflow_database_entry(pool->database, false);
	blocked = entry && entry->blocked > 0;
	LWLockRelease(&jflow_shared->control);
	return !jflow_enabled || pool->closed || blocked ? 0 : pool->wanted;
}

/* A replica lives: what has failed before counts no more. */
static void
forget_failures(JflowPool *pool)
{
	LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
	pool->failures = 0;
	pool->next_start = 0;
	LWLockRelease(&pool->lock);
}

/* Start or stop one replica, if a pool has too few, too many, or an outdated one. */
static void
start_or_stop_one(int p, int wanted, const Survey *survey, TimestampTz now, TimestampTz *next)
{
	JflowPool  *pool = &jflow_pools[p];

	if (survey->live > wanted)
	{
		stop_replica(survey->highest);
		SetLatch(MyLatch);
	}
	else if (survey->outdated && survey->live == wanted &&
			 survey->starting == 0 && survey->stopping == 0)
		stop_replica(survey->outdated);
	else if (survey->live < wanted && !pool->blocked)
	{
		if (pool->next_start <= now && start_replica(p))
			SetLatch(MyLatch);
		else if (pool->next_start > now)
			no_later(next, pool->next_start);
	}
}

/* Refuse what is queued where no replica will take it. */
static void
flush_unserved(int p)
{
	JflowPool  *pool = &jflow_pools[p];

	if (pool->running > 0 || pool->starting > 0)
		return;
	if (!jflow_enabled)
		jflow_pool_flush(p, "jflow.enabled is off");
	else if (pool->head >= 0 && (pool->closed || pool->blocked || pool->failures > 0))
		jflow_pool_flush(p, NULL);
}

/* Bring one pool nearer to what is wanted; *next is no later than it wants another look. */
static void
maintain_pool(int p, TimestampTz *next)
{
	JflowPool  *pool = &jflow_pools[p];
	TimestampTz now = GetCurrentTimestamp();
	Survey		survey;
	int			wanted;

	if (pool->draining && !pool->closed)
		close_if_drained(pool);
	wanted = replicas_wanted(pool);
	survey_pool(p, now, &survey, next);
	if (survey.healthy && pool->failures > 0)
		forget_failures(pool);
	start_or_stop_one(p, wanted, &survey, now, next);
	flush_unserved(p);
	if (pool->closed && survey.live == 0 && survey.stopping == 0 && pool->head < 0)
		free_pool(pool);
}

/* Entry point of the worker. */
void
jflow_launcher_main(Datum arg)
{
	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	before_shmem_exit(forget_launcher, (Datum) 0);
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	handles = MemoryContextAllocZero(TopMemoryContext, sizeof(*handles) * jflow_max_replicas);

	LWLockAcquire(&jflow_shared->control, LW_EXCLUSIVE);
	jflow_shared->launcher_pid = MyProcPid;
	jflow_shared->launcher_proc = MyProcNumberCompat;
	if (jflow_shared->unseen > 0)
		jflow_shared->rescan = true;	/* a launcher before us knew them */
	LWLockRelease(&jflow_shared->control);
	MemoryContextSwitchTo(AllocSetContextCreate(TopMemoryContext, "jflow launcher",
												ALLOCSET_DEFAULT_SIZES));
	for (;;)
	{
		static TimestampTz next_look = 0;
		static bool recovered = true;
		TimestampTz next = DT_NOEND;
		bool		recovery = RecoveryInProgress();
		MemoryContext context = CurrentMemoryContext;
		long		timeout = -1;

		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		/* What only a primary has: movers, workers of syncs. */
		if (!recovery && !recovered)
			jflow_shared->rescan = true;
		recovered = !recovery;

		/* Nobody tells what the primary has committed. */
		if (recovery && jflow_standby_replicas)
		{
			TimestampTz now = GetCurrentTimestamp();

			if (now >= next_look)
			{
				jflow_shared->rescan = true;
				next_look = TimestampTzPlusMilliseconds(now, STANDBY_LOOK_MS);
			}
		}
		if (!recovery || jflow_standby_replicas)
		{
			if (jflow_shared->rescan)
				list_databases();
			if (unseen || jflow_shared->unseen > 0)
				enter_databases();
			send_scout(&next);
		}
		/* Sessions hear of it late; before the queues are looked through. */
		jflow_shared->disabled = !jflow_enabled;
		for (int i = 0; i < jflow_max_pools; i++)
			if (jflow_pools[i].used)
				maintain_pool(i, &next);
		MemoryContextSwitchTo(context);
		MemoryContextReset(context);

		/* Nobody tells us of a promotion. */
		if (recovery)
			no_later(&next, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), 1000));
		if (next != DT_NOEND)
			timeout = Max((long) ((next - GetCurrentTimestamp()) / 1000), 0) + 1;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (timeout >= 0 ? WL_TIMEOUT : 0),
						 timeout, PG_WAIT_EXTENSION);
	}
}
