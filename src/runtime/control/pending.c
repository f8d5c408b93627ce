/*
 * pending.c
 *		What takes effect at commit: the launcher hears of changes that are there.
 *
 * A statement trigger on the catalog's tables, and the functions that start and
 * stop flows, note that this database changed; at commit a counter in shared
 * memory goes up and the launcher sends a scout.  To send one for nothing costs
 * a little; nothing is noted after a rollback.
 *
 * What must hold for the next post already does not wait for the scout: the
 * pools of a flow that was stopped are closed at commit.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "compat.h"
#include "runtime/control/workers.h"
#include "settings.h"

typedef enum PendingKind
{
	PENDING_START,				/* undoes a PENDING_STOP before it */
	PENDING_STOP,
	PENDING_RESTART
} PendingKind;

typedef struct Pending
{
	PendingKind kind;
	SubTransactionId subxact;
	char		flow[NAMEDATALEN];
	char		executor[NAMEDATALEN];	/* of PENDING_RESTART */
	struct Pending *next;
} Pending;

static bool dirty = false;		/* the catalog was changed */
static bool scout_anyway = false;	/* even if no flow was started before */
static bool announced = false;	/* counted in "committing" */
static bool roles_changed = false;
static Pending *pending = NULL; /* newest first, in the transaction's memory */

PG_FUNCTION_INFO_V1(jflow_runtime_changed);

/* A database's entry; NULL if it has none, or if there is no room for it. */
JflowDatabase *
jflow_database_entry(Oid database, bool create)
{
	JflowDatabase *room = NULL;

	for (int i = 0; i < JFLOW_MAX_DATABASES; i++)
	{
		JflowDatabase *entry = &jflow_shared->databases[i];

		if (entry->database == database)
			return entry;
		if (room == NULL && (!OidIsValid(entry->database) ||
							 (entry->dirty == entry->scouted && entry->started == 0 &&
							  entry->blocked == 0 && entry->committing == 0)))
			room = entry;
	}
	if (!create || room == NULL)
		return NULL;
	memset(room, 0, sizeof(*room));
	room->database = database;
	return room;
}

/*
 * Others see what a transaction has changed a moment before it can say so: a
 * post that misses a pool meanwhile must know that a scout is to come.
 */
static void
announce(void)
{
	JflowDatabase *entry;

	LWLockAcquire(&jflow_shared->control, LW_EXCLUSIVE);
	entry = jflow_database_entry(MyDatabaseId, true);
	if (entry)
	{
		entry->committing++;
		announced = true;
	}
	LWLockRelease(&jflow_shared->control);
}

/*
 * Has a scout looked at a database since its last change, and found no flow that
 * is started?  The caller holds the control lock.
 */
static bool
nothing_started(const JflowDatabase *entry)
{
	return entry->started == 0 && entry->dirty == entry->scouted &&
		!jflow_shared->rescan && jflow_shared->unseen == 0;
}

/*
 * The transaction has ended, in whatever way.
 *
 * Only now can be said whether a scout must see its changes: they are visible,
 * so a scout for a flow that is started from here on will see them, and what has
 * been started before is counted.  To ask when the change is made would miss a
 * start between change and commit.
 */
static void
mark_dirty(void)
{
	JflowDatabase *entry;
	bool		done = false;

	LWLockAcquire(&jflow_shared->control, LW_EXCLUSIVE);
	entry = jflow_database_entry(MyDatabaseId, true);
	if (entry)
	{
		done = !scout_anyway && nothing_started(entry);
		entry->committing -= announced;
		entry->dirty++;
		if (done)
			entry->scouted = entry->dirty;
		else
			entry->next_scout = 0;
	}
	else
		jflow_shared->rescan = true;
	LWLockRelease(&jflow_shared->control);
	announced = false;
	if (done)
		ConditionVariableBroadcast(&jflow_shared->changed);
	else
		jflow_wake_launcher();
}

/* Roles are those of all databases. */
static void
mark_roles_changed(void)
{
	LWLockAcquire(&jflow_shared->control, LW_EXCLUSIVE);
	for (int i = 0; i < JFLOW_MAX_DATABASES; i++)
	{
		JflowDatabase *entry = &jflow_shared->databases[i];

		if (!OidIsValid(entry->database) || nothing_started(entry))
			continue;
		entry->dirty++;
		entry->next_scout = 0;
	}
	LWLockRelease(&jflow_shared->control);
	jflow_wake_launcher();
}

static void
forget(void)
{
	dirty = scout_anyway = roles_changed = false;
	pending = NULL;
}

/*
 * A flow was stopped: its pools take no more requests.  The scout that comes
 * gives back those that are queued.
 */
static void
close_pool(JflowPool *pool)
{
	pool->closed = true;
	pool->wanted = 0;
}

/* Replicas that are older than now are to be replaced. */
static void
restart_pool(JflowPool *pool)
{
	pool->restart_before = GetCurrentTimestamp();
	pool->failures = 0;
	pool->next_start = 0;
}

/* Carry out what was noted about a flow or an executor.  Raises nothing. */
static void
apply(const Pending *change)
{
	LWLockAcquire(&jflow_shared->control, LW_EXCLUSIVE);
	if (change->kind == PENDING_STOP)
		jflow_shared->stops++;
	for (int i = 0; i < jflow_max_pools; i++)
	{
		JflowPool  *pool = &jflow_pools[i];

		if (!pool->used || pool->database != MyDatabaseId || strcmp(pool->flow, change->flow) != 0)
			continue;
		LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
		if (change->kind == PENDING_STOP)
			close_pool(pool);
		else if (strcmp(pool->executor, change->executor) == 0)
			restart_pool(pool);
		LWLockRelease(&pool->lock);
	}
	LWLockRelease(&jflow_shared->control);
}

/* Was the flow started or stopped again after that? */
static bool
is_outdated(const Pending *stop)
{
	for (const Pending *later = pending; later != stop; later = later->next)
		if (later->kind != PENDING_RESTART && strcmp(later->flow, stop->flow) == 0)
			return true;
	return false;
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	if (!dirty && pending == NULL && !roles_changed)
		return;
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			if (dirty)
				announce();
			break;
		case XACT_EVENT_PRE_PREPARE:
			if (!dirty && pending == NULL)
				break;
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot PREPARE a transaction that has started, stopped or changed a flow")));
			break;
		case XACT_EVENT_COMMIT:
			for (const Pending *change = pending; change; change = change->next)
				if (change->kind == PENDING_RESTART ||
					(change->kind == PENDING_STOP && !is_outdated(change)))
					apply(change);
			/* last: should the flow be started meanwhile, a scout sees to it */
			if (roles_changed)
				mark_roles_changed();
			if (dirty)
				mark_dirty();
			else if (pending)
				jflow_wake_launcher();
			forget();
			break;
		case XACT_EVENT_PREPARE:
		case XACT_EVENT_ABORT:
			if (announced)
				mark_dirty();
			forget();
			break;
		default:
			break;
	}
}

static void
at_subtransaction_end(SubXactEvent event, SubTransactionId mine,
					  SubTransactionId parent, void *arg)
{
	Pending   **link = &pending;

	if (event != SUBXACT_EVENT_ABORT_SUB && event != SUBXACT_EVENT_COMMIT_SUB)
		return;
	while (*link)
	{
		if ((*link)->subxact == mine && event == SUBXACT_EVENT_ABORT_SUB)
		{
			*link = (*link)->next;
			continue;
		}
		if ((*link)->subxact == mine)
			(*link)->subxact = parent;
		link = &(*link)->next;
	}
}

/* For _PG_init. */
void
jflow_pending_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
	RegisterSubXactCallback(at_subtransaction_end, NULL);
}

/* This transaction changes who may run what. */
void
jflow_pending_roles(void)
{
	roles_changed = true;
}

/* Has this transaction changed what shall run? */
bool
jflow_pending_any(void)
{
	return dirty || pending;
}

/* This transaction changes what shall run. */
void
jflow_pending_dirty(void)
{
	dirty = scout_anyway = true;
}

static void
note(PendingKind kind, const char *flow, const char *executor)
{
	Pending    *change = MemoryContextAllocZero(TopTransactionContext, sizeof(Pending));

	change->kind = kind;
	change->subxact = GetCurrentSubTransactionId();
	jflow_clip(change->flow, flow, NAMEDATALEN);
	jflow_clip(change->executor, executor, NAMEDATALEN);
	change->next = pending;
	pending = change;
}

/* At commit, let a scout open the pools of a flow. */
void
jflow_pending_start(const char *flow)
{
	note(PENDING_START, flow, "");
	jflow_pending_dirty();
}

/* At commit, close the pools of a flow. */
void
jflow_pending_stop(const char *flow)
{
	note(PENDING_STOP, flow, "");
	jflow_pending_dirty();
}

/* At commit, replace the replicas of an executor one by one. */
void
jflow_pending_restart(const char *flow, const char *executor)
{
	note(PENDING_RESTART, flow, executor);
}

/*
 * Trigger on the catalog's tables: at commit, a scout shall look if flows of this
 * database are started, or may be now.
 */
Datum
jflow_runtime_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" was not called by trigger manager",
						"jflow.runtime_changed")));
	if (jflow_shared)
	{
		dirty = true;
		scout_anyway |= strcmp(trigger->tg_trigger->tgname, "run_state_changed") == 0;
	}
	return PointerGetDatum(NULL);
}
