/*
 * pending.c
 *		What takes effect at commit: the launcher hears of changes that are there.
 *
 * Triggers on the catalog's tables note that this database changed; at commit a
 * counter in shared memory goes up and the launcher sends a scout.  To send one for
 * nothing costs a little; nothing is noted after a rollback.
 *
 * What takes workers away does not wait for the scout, which needs a worker slot
 * itself, and all of them may be taken: the backend that commits closes or shrinks
 * the pools.  What it knows of them are the rows that it has changed, which their
 * triggers note; the newest note of a thing says what becomes of it.  A scout that
 * has read the catalog before does not undo that, since it reads again once
 * jflow_shared->withdrawals has changed; and should another transaction want more
 * again just now, the scout of that one, or of ours, comes later and sees it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "common/xact.h"
#include "compat.h"
#include "runtime/control/workers.h"
#include "settings.h"

typedef enum PendingKind
{
	PENDING_START,				/* of a flow: undoes a PENDING_STOP before it */
	PENDING_STOP,
	PENDING_RESTART,			/* of an executor */
	PENDING_NUMBERS,			/* an executor has these, or is gone */
	PENDING_SYNC,				/* a sync is at work here, or is not */
	PENDING_EXTENSION			/* the extension is gone, and so are all flows */
} PendingKind;

typedef struct Pending
{
	PendingKind kind;
	SubTransactionId subxact;
	char		flow[NAMEDATALEN];
	char		executor[NAMEDATALEN];
	int			sync;			/* its number */
	bool		present;		/* it was not deleted, or is at work */
	bool		withdraws;		/* may take workers away */
	int			replicas;
	int			shards;
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

/* Nobody wants a pool any more: it takes no requests, and its workers leave. */
static void
close_pool(JflowPool *pool)
{
	pool->closed = true;
	pool->wanted = 0;
	jflow_clip(pool->reason, "the flow was stopped, or the executor was changed", JFLOW_REASON_LEN);
}

/* Replicas that are older than now are to be replaced. */
static void
restart_pool(JflowPool *pool)
{
	pool->restart_before = GetCurrentTimestamp();
	pool->failures = 0;
	pool->next_start = 0;
}

/*
 * An executor has other numbers, or is gone.  More replicas are given by the scout
 * alone.  A pool that is left without use goes on until the posts that refer to it
 * have ended, as one that a scout finds so.
 */
static void
shrink_pool(JflowPool *pool, const Pending *numbers)
{
	int			wanted = pool->shard < numbers->shards ? numbers->replicas : 0;

	if (!numbers->present)
		close_pool(pool);
	else if (pool->shard == JFLOW_MOVER)
		return;					/* leaves when it has done all */
	else if (wanted > 0)
		pool->wanted = Min(pool->wanted, wanted);
	else if (pool->blocked)
		close_pool(pool);
	else
		pool->draining = true;
}

/*
 * Does a note say what becomes of a pool?  One for a whole flow does not say it of
 * an executor, nor the other way round.
 */
static bool
is_about(const Pending *change, const JflowPool *pool)
{
	switch (change->kind)
	{
		case PENDING_SYNC:
			return pool->shard == JFLOW_SYNC && pool->shards == change->sync;
		case PENDING_EXTENSION:
			return true;
		case PENDING_START:
		case PENDING_STOP:
			return strcmp(pool->flow, change->flow) == 0;
		default:
			return pool->shard != JFLOW_SYNC && strcmp(pool->executor, change->executor) == 0 &&
				strcmp(pool->flow, change->flow) == 0;
	}
}

/* Carry out all that was noted of a pool.  Under its lock. */
static void
apply_to_pool(JflowPool *pool)
{
	bool		flow_known = false,
				executor_known = false;

	for (const Pending *change = pending; change && !pool->closed; change = change->next)
	{
		if (!is_about(change, pool))
			continue;
		switch (change->kind)
		{
			case PENDING_START:
			case PENDING_STOP:
				if (!flow_known && change->kind == PENDING_STOP)
					close_pool(pool);
				flow_known = true;
				break;
			case PENDING_RESTART:
				restart_pool(pool);
				break;
			case PENDING_NUMBERS:
				if (!executor_known)
					shrink_pool(pool, change);
				executor_known = true;
				break;
			case PENDING_SYNC:
				if (!executor_known && !change->present)
					close_pool(pool);
				executor_known = true;
				break;
			case PENDING_EXTENSION:
				close_pool(pool);
				break;
		}
	}
}

/* Carry out what was noted, when it has been committed.  Raises nothing. */
static void
apply(void)
{
	bool		withdraws = false;

	for (const Pending *change = pending; change; change = change->next)
		withdraws |= change->withdraws;
	LWLockAcquire(&jflow_shared->control, LW_EXCLUSIVE);
	jflow_shared->withdrawals += withdraws;
	for (int i = 0; i < jflow_max_pools; i++)
	{
		JflowPool  *pool = &jflow_pools[i];

		if (!pool->used || pool->closed || pool->database != MyDatabaseId)
			continue;
		LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
		apply_to_pool(pool);
		LWLockRelease(&pool->lock);
	}
	LWLockRelease(&jflow_shared->control);
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
			if (pending)
				apply();
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
	jflow_at_transaction_end(XACT_END_PENDING, at_transaction_end);
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

static Pending *
note(PendingKind kind, const char *flow, const char *executor)
{
	Pending    *change = MemoryContextAllocZero(TopTransactionContext, sizeof(Pending));

	change->kind = kind;
	change->subxact = GetCurrentSubTransactionId();
	jflow_clip(change->flow, flow, NAMEDATALEN);
	jflow_clip(change->executor, executor, NAMEDATALEN);
	change->next = pending;
	pending = change;
	return change;
}

/* At commit, replace the replicas of an executor one by one. */
void
jflow_pending_restart(const char *flow, const char *executor)
{
	(void) note(PENDING_RESTART, flow, executor);
}

/* At commit, close all pools of this database: the extension goes. */
void
jflow_pending_extension(void)
{
	note(PENDING_EXTENSION, "", "")->withdraws = true;
	dirty = true;
}

/* ----- the triggers on the catalog's tables ----- */

/* A column of a row, by name, none of which is ever NULL. */
static Datum
column(const TriggerData *trigger, HeapTuple row, const char *name)
{
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	bool		isnull;

	return heap_getattr(row, SPI_fnumber(desc, name), desc, &isnull);
}

static char *
text_column(const TriggerData *trigger, HeapTuple row, const char *name)
{
	return TextDatumGetCString(column(trigger, row, name));
}

/* Is a row about this database, and not about what it is a copy of? */
static bool
is_here(const TriggerData *trigger, HeapTuple row)
{
	return DatumGetInt64(column(trigger, row, "system_identifier")) == (int64) GetSystemIdentifier() &&
		DatumGetInt64(column(trigger, row, "database")) == (int64) MyDatabaseId;
}

/*
 * A row of what says which workers are wanted was written ("present") or is gone.
 * The relation is known by its name, since it is one of ours.
 */
static void
note_row(const TriggerData *trigger, HeapTuple row, bool present)
{
	const char *table = RelationGetRelationName(trigger->tg_relation);
	Pending    *change;

	if (strcmp(table, "run_state") == 0 && is_here(trigger, row))
	{
		change = note(present ? PENDING_START : PENDING_STOP, text_column(trigger, row, "flow"), "");
		change->withdraws = !present;
	}
	else if (strcmp(table, "executor") == 0)
	{
		change = note(PENDING_NUMBERS, text_column(trigger, row, "flow"), text_column(trigger, row, "name"));
		change->present = present;
		change->replicas = DatumGetInt32(column(trigger, row, "replicas"));
		change->shards = DatumGetInt32(column(trigger, row, "shards"));
		change->withdraws = !TRIGGER_FIRED_BY_INSERT(trigger->tg_event);
	}
	else if (strcmp(table, "sync_state") == 0 && is_here(trigger, row))
	{
		change = note(PENDING_SYNC, "", "");
		change->sync = DatumGetInt32(column(trigger, row, "sync"));
		change->present = present && !DatumGetBool(column(trigger, row, "paused"));
		change->withdraws = !change->present;
	}
	else if (strcmp(table, "sync") == 0 && !present)
	{
		/* its worker is one of another name, or of another flow */
		change = note(PENDING_SYNC, "", "");
		change->sync = DatumGetInt32(column(trigger, row, "id"));
		change->withdraws = true;
	}
}

/*
 * Trigger on the catalog's tables: at commit, a scout shall look if flows of this
 * database are started, or may be now.  With an argument it notes what a row says
 * of workers.
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
	if (jflow_shared == NULL)
		return PointerGetDatum(NULL);
	dirty = true;
	scout_anyway |= strcmp(RelationGetRelationName(trigger->tg_relation), "run_state") == 0;
	if (trigger->tg_trigger->tgnargs == 0)
		return PointerGetDatum(NULL);
	if (!TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		note_row(trigger, trigger->tg_trigtuple, false);
	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		note_row(trigger, trigger->tg_trigtuple, true);
	else if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		note_row(trigger, trigger->tg_newtuple, true);
	return PointerGetDatum(NULL);
}
