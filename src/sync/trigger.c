/*
 * trigger.c
 *		Makes and drops the triggers of a source.
 *
 * They are triggers of the server's internal kind: no dump has them, DISABLE
 * TRIGGER USER leaves them on, and no name of theirs is in anybody's way.  What
 * they need to know is in their arguments, so that a change reads no catalog.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xlog.h"
#include "catalog/dependency.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_func.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "compat.h"
#include "sync/sync.h"

static Oid
trigger_function(const char *name)
{
	return LookupFuncName(list_make2(makeString("jflow"), makeString(pstrdup(name))), 0, NULL, false);
}

/* Where a trigger shall do something: a copy of the database is another place. */
char *
sync_place(void)
{
	return psprintf(UINT64_FORMAT "/%u", GetSystemIdentifier(), MyDatabaseId);
}

static char *
watched_attnums(const Sync *sync, Relation source)
{
	StringInfoData result;
	ListCell   *lc;

	initStringInfo(&result);
	foreach(lc, sync_columns_attnums(sync, source))
		appendStringInfo(&result, "%s%d", result.len > 0 ? " " : "", lfirst_int(lc));
	return result.data;
}

static void
create_trigger(const Sync *sync, Relation source, bool row, int16 events)
{
	CreateTrigStmt *stmt = makeNode(CreateTrigStmt);
	AttrNumber	key = get_attnum(RelationGetRelid(source), sync->key);

	stmt->trigname = row ? "jflow_sync_changed" : "jflow_sync_statement";
	stmt->args = list_make5(makeString(psprintf("%d", sync->id)), makeString(sync_place()),
							makeString(sync->mode == SYNC_IMMEDIATE ? "immediate" : "queue"),
							makeString(psprintf("%d", key)),
							makeString(watched_attnums(sync, source)));
	stmt->row = row;
	stmt->timing = TRIGGER_TYPE_AFTER;
	stmt->events = events;
	(void) CreateTriggerFiringOn(stmt, NULL, RelationGetRelid(source), InvalidOid, InvalidOid, InvalidOid,
								 trigger_function(row ? "sync_changed" : "sync_statement"),
								 InvalidOid, NULL, true, false, TRIGGER_FIRES_ALWAYS);
}

/* Make the triggers of a source, which is locked against writers. */
void
sync_triggers_create(const Sync *sync, Relation source)
{
	int16		statement = TRIGGER_TYPE_TRUNCATE;

	/* what its rows have collected is posted when a statement ends */
	if (sync->mode == SYNC_IMMEDIATE)
		statement |= TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE;
	create_trigger(sync, source, true, TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE);
	create_trigger(sync, source, false, statement);
	CommandCounterIncrement();
}

static bool
is_of_sync(const Trigger *trigger, const Sync *sync, Oid changed, Oid statement)
{
	return (trigger->tgfoid == changed || trigger->tgfoid == statement) &&
		trigger->tgnargs == 5 && atoi(trigger->tgargs[0]) == sync->id;
}

/*
 * Drop the triggers of a sync, if its table is still there.  Takes the lock that
 * DROP TRIGGER takes if there are any.
 */
void
sync_triggers_drop(const Sync *sync)
{
	Oid			changed = trigger_function("sync_changed");
	Oid			statement = trigger_function("sync_statement");
	ObjectAddresses *objects = new_object_addresses();
	Relation	source = try_table_open(sync->source, ShareRowExclusiveLock);

	if (source == NULL)
		return;
	for (int i = 0; source->trigdesc && i < source->trigdesc->numtriggers; i++)
	{
		const Trigger *trigger = &source->trigdesc->triggers[i];
		ObjectAddress object;

		if (!is_of_sync(trigger, sync, changed, statement))
			continue;
		ObjectAddressSet(object, TriggerRelationId, trigger->tgoid);
		add_exact_object_address(&object, objects);
	}
	table_close(source, NoLock);
	performMultipleDeletions(objects, DROP_RESTRICT, PERFORM_DELETION_INTERNAL);
	free_object_addresses(objects);
}

/*
 * Do the triggers of a sync that works here still do what they shall?  Another
 * column may bear the name of one that they look at.
 */
bool
sync_triggers_intact(const Sync *sync, Relation source)
{
	Oid			changed = trigger_function("sync_changed");
	Oid			statement = trigger_function("sync_statement");
	char	   *place = sync_place();
	char	   *key = psprintf("%d", get_attnum(RelationGetRelid(source), sync->key));
	char	   *watched = watched_attnums(sync, source);
	int			found = 0;

	for (int i = 0; source->trigdesc && i < source->trigdesc->numtriggers; i++)
	{
		const Trigger *trigger = &source->trigdesc->triggers[i];

		found += is_of_sync(trigger, sync, changed, statement) &&
			strcmp(trigger->tgargs[1], place) == 0 && strcmp(trigger->tgargs[3], key) == 0 &&
			strcmp(trigger->tgargs[4], watched) == 0 && trigger->tgenabled == TRIGGER_FIRES_ALWAYS;
	}
	return found == 2;
}
