/*
 * scout.c
 *		Reads one database's catalog, tells what is wanted, and exits.
 *
 * It reads by scan, as the server reads its own catalogs: no operator, trigger
 * or view of a user runs with its rights.
 */
#include "postgres.h"

#include <signal.h>

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "compat.h"
#include "flow/flow.h"
#include "runtime/control/control.h"
#include "runtime/control/workers.h"
#include "runtime/shared/counters.h"
#include "runtime/shared/pool.h"
#include "runtime/shared/share.h"
#include "settings.h"

const JflowSyncHooks *jflow_sync_hooks = NULL;

/* How often to read a flow again of which less may be wanted meanwhile. */
#define MAX_READINGS 100

static bool succeeded = false;
static uint64 seen = 0;

static void
report(int code, Datum arg)
{
	JflowDatabase *entry;

	LWLockAcquire(&jflow_shared->control, LW_EXCLUSIVE);
	entry = jflow_database_entry(jflow_shared->scout_database, false);
	if (entry && succeeded)
	{
		entry->scouted = seen;
		entry->failures = 0;
		entry->next_scout = 0;
	}
	jflow_shared->scout_pid = 0;
	jflow_shared->scout_database = InvalidOid;
	LWLockRelease(&jflow_shared->control);
	jflow_wake_launcher();
	ConditionVariableBroadcast(&jflow_shared->changed);
}

/* One flow on its way into the pools. */
typedef struct Wanted
{
	const JflowFlow *flow;
	Oid			owner;
	const char *obstacle;		/* why no replica of it can start, or NULL */
	bool	   *moving;			/* by executor: has rows to move */
	bool	  **present;		/* by executor and shard, the mover last */
	JflowBatch *batches;		/* by executor */
	int			round;			/* of the scout */
	bool		no_room;
} Wanted;

/* How many replicas a shard of an executor shall have. */
static int
count_wanted(const Wanted *wanted, int e, int shard)
{
	const JflowExecutor *executor = &wanted->flow->executors[e];

	if (shard == JFLOW_MOVER)
		return wanted->moving[e] ? 1 : 0;
	return shard < executor->shards ? executor->replicas : 0;
}

/* Take an unused entry for a pool; its lock is held. */
static void
init_pool(JflowPool *pool, const Wanted *wanted, const char *executor, int shard)
{
	pool->generation++;
	pool->closed = pool->draining = pool->blocked = false;
	pool->database = MyDatabaseId;
	pool->owner = wanted->owner;
	strlcpy(pool->flow, wanted->flow->name, NAMEDATALEN);
	strlcpy(pool->executor, executor, NAMEDATALEN);
	pool->shard = shard;
	pool->asked = pool->answered = 0;
	pool->head = pool->tail = pool->idle = pool->watcher = JFLOW_NONE;
	pool->length = pool->running = pool->starting = pool->failures = 0;
	pool->batch_size = pool->batch_docs = 0;
	pool->round = 0;
	pool->next_start = pool->restart_before = 0;
	pool->reason[0] = '\0';
	pool->used = true;
}

/* So many workers are wanted of a pool; its lock is held. */
static void
set_wanted(JflowPool *pool, const Wanted *wanted, int n)
{
	if (pool->blocked && wanted->obstacle == NULL)
		pool->reason[0] = '\0';
	pool->wanted = wanted->obstacle ? 0 : n;
	pool->draining = false;
	pool->blocked = wanted->obstacle != NULL;
	if (wanted->obstacle)
		jflow_clip(pool->reason, wanted->obstacle, JFLOW_REASON_LEN);
	else if (!RecoveryInProgress()) /* where one looks every few seconds */
		pool->next_start = 0;
}

/*
 * Write what is wanted of one pool; the caller holds the control lock.  A pool
 * that a smaller number of replicas or shards leaves without use goes on with
 * what it has until the posts that refer to it have ended; the launcher closes
 * it then.
 */
static void
want_pool(JflowPool *pool, const Wanted *wanted, int e, int shard)
{
	int			n = count_wanted(wanted, e, shard);

	LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
	pool->scouted = wanted->round;
	if (pool->used && n == 0)
	{
		if (shard != JFLOW_MOVER && wanted->obstacle == NULL)
			pool->draining = true;
		else
			pool->scouted = 0;	/* closed with those that nobody wants */
		LWLockRelease(&pool->lock);
		return;
	}
	if (!pool->used)
		init_pool(pool, wanted, wanted->flow->executors[e].name, shard);
	set_wanted(pool, wanted, n);
	pool->shards = wanted->flow->executors[e].shards;
	pool->batch_size = shard < 0 ? 0 : wanted->batches[e].size;
	pool->batch_wait_us = wanted->batches[e].wait_us;
	LWLockRelease(&pool->lock);
}

/* The pools that are there already.  The caller holds the control lock. */
static void
want_present_pools(Wanted *wanted)
{
	const JflowFlow *flow = wanted->flow;

	for (int i = 0; i < jflow_max_pools; i++)
	{
		JflowPool  *pool = &jflow_pools[i];

		if (!pool->used || pool->closed || pool->database != MyDatabaseId ||
			pool->owner != wanted->owner || strcmp(pool->flow, flow->name) != 0 ||
			pool->shard == JFLOW_SYNC)
			continue;
		for (int e = 0; e < flow->nexecutors; e++)
		{
			const JflowExecutor *executor = &flow->executors[e];

			if (strcmp(pool->executor, executor->name) != 0)
				continue;
			if (pool->shard == JFLOW_MOVER)
				wanted->present[e][executor->shards] = true;
			else if (pool->shard < executor->shards)
				wanted->present[e][pool->shard] = true;
			want_pool(pool, wanted, e, pool->shard);
			break;
		}
	}
}

/*
 * The pools that are missing, while there are entries for this owner: a flow can
 * want any number of shards, and others have flows, too.  One pass over the
 * entries does for all.  The caller holds the control lock.
 */
static void
want_missing_pools(Wanted *wanted)
{
	JflowStock	stock = {jflow_max_pools, 0, jflow_max_pools / 10};
	JflowUse	use = {0, 0};
	int			i = 0;

	for (int p = 0; p < jflow_max_pools; p++)
	{
		stock.free += !jflow_pools[p].used;
		use.role += jflow_pools[p].used && jflow_pools[p].owner == wanted->owner;
		use.flow += jflow_pools[p].used && jflow_pools[p].owner == wanted->owner &&
			jflow_pools[p].database == MyDatabaseId &&
			strcmp(jflow_pools[p].flow, wanted->flow->name) == 0;
	}
	for (int e = 0; e < wanted->flow->nexecutors; e++)
	{
		int			shards = wanted->flow->executors[e].shards;

		for (int n = 0; n <= shards; n++)
		{
			int			shard = n < shards ? n : JFLOW_MOVER;

			if (wanted->present[e][n] || count_wanted(wanted, e, shard) == 0)
				continue;
			while (i < jflow_max_pools && jflow_pools[i].used)
				i++;
			if (i == jflow_max_pools || !jflow_share_allows(&stock, 1, &use))
			{
				wanted->no_room = true;
				return;
			}
			want_pool(&jflow_pools[i], wanted, e, shard);
			stock.free--;
			use.role++;
			use.flow++;
		}
	}
}

/* The pool of a sync's worker, or an entry for it.  Under the control lock. */
static JflowPool *
find_sync_pool(Wanted *wanted, const char *name)
{
	JflowStock	stock = {jflow_max_pools, 0, jflow_max_pools / 10};
	JflowUse	use = {0, 0};
	JflowPool  *unused = NULL;

	for (int i = 0; i < jflow_max_pools; i++)
	{
		JflowPool  *pool = &jflow_pools[i];
		bool		mine = pool->used && pool->owner == wanted->owner;
		bool		of_flow = mine && pool->database == MyDatabaseId && strcmp(pool->flow, wanted->flow->name) == 0;

		if (of_flow && !pool->closed && pool->shard == JFLOW_SYNC && strcmp(pool->executor, name) == 0)
			return pool;
		if (!pool->used && unused == NULL)
			unused = pool;
		stock.free += !pool->used;
		use.role += mine;
		use.flow += of_flow;
	}
	return unused && jflow_share_allows(&stock, 1, &use) ? unused : NULL;
}

/* The workers of syncs.  The caller holds the control lock. */
static void
want_syncs(Wanted *wanted, List *syncs)
{
	ListCell   *lc;

	foreach(lc, syncs)
	{
		const JflowWantedSync *sync = lfirst(lc);
		JflowPool  *pool = find_sync_pool(wanted, sync->name);

		if (pool == NULL)
		{
			wanted->no_room = true;
			return;
		}
		LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
		if (!pool->used)
			init_pool(pool, wanted, sync->name, JFLOW_SYNC);
		pool->scouted = wanted->round;
		pool->shards = sync->id;
		set_wanted(pool, wanted, 1);
		LWLockRelease(&pool->lock);
	}
}

/* The launcher sends another scout when an entry is free again. */
static void
note_no_room(void)
{
	JflowDatabase *entry = jflow_database_entry(MyDatabaseId, false);

	if (entry)
		entry->no_room = true;
}

/* How often less was wanted until now. */
static uint64
count_withdrawals(void)
{
	uint64		n;

	LWLockAcquire(&jflow_shared->control, LW_SHARED);
	n = jflow_shared->withdrawals;
	LWLockRelease(&jflow_shared->control);
	return n;
}

/*
 * One flow that was started when so many withdrawals had been counted.  Raises what
 * is wrong with its definition.
 *
 * Returns false where there are more of them, of whatever: what we have read may be
 * older, and would open pools that a commit has closed, or enlarge them.
 */
static bool
want_flow(const char *name, int round, uint64 withdrawals)
{
	JflowFlow  *flow = jflow_flow_open(name, true);
	Wanted		wanted;
	List	   *syncs = NIL;
	bool		outdated;

	if (flow == NULL)
		return true;
	if (jflow_sync_hooks && !RecoveryInProgress())
		syncs = jflow_sync_hooks->wanted(name);
	memset(&wanted, 0, sizeof(wanted));
	wanted.flow = flow;
	wanted.round = round;
	wanted.obstacle = jflow_owner_obstacle(flow, &wanted.owner);
	wanted.moving = palloc0(sizeof(bool) * Max(flow->nexecutors, 1));
	wanted.present = palloc(sizeof(bool *) * Max(flow->nexecutors, 1));
	wanted.batches = palloc(sizeof(JflowBatch) * Max(flow->nexecutors, 1));
	for (int i = 0; i < flow->nexecutors; i++)
	{
		jflow_batch_read(flow->executors[i].batch, &wanted.batches[i]);
		wanted.present[i] = palloc0(sizeof(bool) * (flow->executors[i].shards + 1));
		if (!RecoveryInProgress())
			wanted.moving[i] = jflow_needs_mover(flow, &flow->executors[i]);
	}
	LWLockAcquire(&jflow_shared->control, LW_EXCLUSIVE);
	outdated = jflow_shared->withdrawals != withdrawals;
	if (!outdated)
	{
		want_present_pools(&wanted);
		want_missing_pools(&wanted);
		want_syncs(&wanted, syncs);
	}
	if (wanted.no_room)
		note_no_room();
	LWLockRelease(&jflow_shared->control);
	if (wanted.no_room)
		ereport(LOG,
				(errmsg("jflow has no room for all executors and shards of flow \"%s\"", flow->name),
				 errhint("Raise jflow.max_replicas.")));
	return !outdated;
}

/*
 * Does an error say nothing about a flow's definition?  A lock that was not had
 * in time, a cancel, no memory: those pass.
 */
static bool
is_transient(int sqlerrcode)
{
	int			category = ERRCODE_TO_CATEGORY(sqlerrcode);

	return sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE ||
		category == ERRCODE_TRANSACTION_ROLLBACK ||
		category == ERRCODE_INSUFFICIENT_RESOURCES ||
		category == ERRCODE_OPERATOR_INTERVENTION;
}

/* Leave the pools of a flow as they are. */
static void
keep_pools(const char *flow, int round)
{
	LWLockAcquire(&jflow_shared->control, LW_EXCLUSIVE);
	for (int i = 0; i < jflow_max_pools; i++)
		if (jflow_pools[i].used && jflow_pools[i].database == MyDatabaseId &&
			strcmp(jflow_pools[i].flow, flow) == 0)
			jflow_pools[i].scouted = round;
	LWLockRelease(&jflow_shared->control);
}

/*
 * The same, until nothing has come between.  A reading is short: whoever takes workers
 * away in one commit after the other must not keep others from theirs.
 */
static bool
want_flow_at_last(const char *name, int round, uint64 withdrawals)
{
	for (int i = 0; i < MAX_READINGS; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (want_flow(name, round, withdrawals))
			return true;

		/*
		 * who is counted has committed, but may not have told us to forget
		 * what we know
		 */
		withdrawals = count_withdrawals();
		jflow_flow_cache_reset();
		if (!jflow_flow_started(name))
			return true;
	}
	return false;
}

/*
 * The same, with what is raised going to the server's log.  Returns false if that, or
 * how it ends, says that one should look again.
 */
static bool
want_flow_or_log(const char *name, int round, uint64 withdrawals)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool again = false;

	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		again = !want_flow_at_last(name, round, withdrawals);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		again = is_transient(geterrcode());
		EmitErrorReport();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	if (again)
		keep_pools(name, round);
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return !again;
}

/* What was counted of flows that are no more makes room for others. */
static void
forget_dropped_flows(void)
{
	for (int i = 0; i < JFLOW_MAX_ENDPOINTS; i++)
	{
		char		flow[NAMEDATALEN];
		JflowRights rights;
		bool		mine;

		SpinLockAcquire(&jflow_endpoints[i].mutex);
		mine = jflow_endpoints[i].database == MyDatabaseId;
		strlcpy(flow, jflow_endpoints[i].flow, NAMEDATALEN);
		SpinLockRelease(&jflow_endpoints[i].mutex);
		if (!mine || jflow_rights_read(flow, &rights))
			continue;
		LWLockAcquire(&jflow_shared->control, LW_EXCLUSIVE);
		jflow_stat_forget(MyDatabaseId, flow);
		LWLockRelease(&jflow_shared->control);
	}
}

/* Entry point of the worker; the argument is the database. */
void
jflow_scout_main(Datum arg)
{
	Oid			database = (Oid) DatumGetInt32(arg);
	JflowDatabase *entry;
	List	   *flows = NIL;
	ListCell   *cell;
	int			round;
	int			started;
	uint64		withdrawals;
	bool		wanted,
				complete = true;

	LWLockAcquire(&jflow_shared->control, LW_EXCLUSIVE);
	wanted = jflow_shared->scout_database == database && jflow_shared->scout_pid == 0;
	entry = jflow_database_entry(database, false);
	if (wanted && (entry == NULL || entry->blocked > 0))
	{
		/* a statement that needs the database to be left alone was faster */
		jflow_shared->scout_database = InvalidOid;
		wanted = false;
	}
	if (wanted)
	{
		jflow_shared->scout_pid = MyProcPid;
		seen = entry->dirty;
		entry->no_room = false;
	}
	round = ++jflow_shared->scout_round;
	LWLockRelease(&jflow_shared->control);
	if (!wanted)
	{
		jflow_wake_launcher();
		proc_exit(0);
	}
	before_shmem_exit(report, (Datum) 0);

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, BGWORKER_BYPASS_ALLOWCONN);
	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	SetConfigOption("search_path", "pg_catalog", PGC_SUSET, PGC_S_SESSION);
	withdrawals = count_withdrawals();
	if (OidIsValid(get_extension_oid("jflow", true)))
		flows = jflow_started_flows();
	foreach(cell, flows)
		complete &= want_flow_or_log(lfirst(cell), round, withdrawals);
	if (flows != NIL)
		forget_dropped_flows();
	/* the list goes with the transaction */
	started = list_length(flows);
	CommitTransactionCommand();

	for (int i = 0; i < jflow_max_pools; i++)
	{
		JflowPool  *pool = &jflow_pools[i];

		if (!pool->used || pool->database != database || pool->scouted == round)
			continue;
		LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
		pool->wanted = 0;
		pool->closed = true;
		LWLockRelease(&pool->lock);
		jflow_pool_flush(i, "the flow was stopped, or the executor was changed");
	}
	LWLockAcquire(&jflow_shared->control, LW_EXCLUSIVE);
	entry = jflow_database_entry(database, false);
	if (entry)
		entry->started = started;
	LWLockRelease(&jflow_shared->control);
	succeeded = complete;
	proc_exit(0);
}
