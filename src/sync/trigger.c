/*
 * trigger.c
 *		Makes and drops the triggers of a source, and sees whether they are as they
 *		were made.
 *
 * They are triggers of the server's internal kind: no dump has them, DISABLE
 * TRIGGER USER leaves them on, and no name of theirs is in anybody's way.  What
 * they need to know is in their arguments, so that a change reads no catalog.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xlog.h"
#include "catalog/dependency.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_func.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
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
 * Has the table of a sync triggers of it?  By the catalog alone: nothing is locked
 * before the right to it is looked at.
 */
static bool
has_triggers(const Sync *sync, Oid changed, Oid statement)
{
	Relation	triggers = table_open(TriggerRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found = false;

	ScanKeyInit(&key, Anum_pg_trigger_tgrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(sync->source));
	scan = systable_beginscan(triggers, TriggerRelidNameIndexId, true, NULL, 1, &key);
	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);
		bool		isnull;
		Datum		args;

		if (form->tgnargs != 5 || (form->tgfoid != changed && form->tgfoid != statement))
			continue;
		args = heap_getattr(tuple, Anum_pg_trigger_tgargs, RelationGetDescr(triggers), &isnull);
		found = !isnull && atoi(VARDATA_ANY(DatumGetByteaPP(args))) == sync->id;
	}
	systable_endscan(scan);
	table_close(triggers, AccessShareLock);
	return found;
}

/* May the current user have triggers of a table dropped?  As jflow_sync asks. */
static void
check_may_drop(const Sync *sync)
{
	char	   *table = get_rel_name(sync->source);

	if (table == NULL || jflow_class_ownercheck_compat(sync->source, GetUserId()) ||
		pg_class_aclcheck(sync->source, GetUserId(), ACL_TRIGGER) == ACLCHECK_OK)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for table %s", table),
			 errdetail("Triggers of sync \"%s\" are on it.", sync->name),
			 errhint("Let its owner grant the privilege TRIGGER, or drop the triggers himself.")));
}

/*
 * Drop the triggers of a sync, if its table is still there.  Takes the lock that
 * DROP TRIGGER takes if there are any.  Raises insufficient_privilege where the
 * current user has lost the right to them.
 */
void
sync_triggers_drop(const Sync *sync)
{
	Oid			changed = trigger_function("sync_changed");
	Oid			statement = trigger_function("sync_statement");
	ObjectAddresses *objects = new_object_addresses();
	Relation	source;

	if (!has_triggers(sync, changed, statement))
		return;
	check_may_drop(sync);
	source = try_table_open(sync->source, ShareRowExclusiveLock);
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

/*
 * Raise what has become wrong with a source since the sync was made, as the flow's
 * owner: a round could miss rows.
 */
void
sync_check_source(const Sync *sync)
{
	Relation	source = try_table_open(sync->source, AccessShareLock);

	if (source == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the table of sync \"%s\" does not exist any more", sync->name),
				 errhint("Forget the sync with jflow_unsync.")));
	sync_source_check(sync, source);
	(void) sync_source_open(sync);
	if (!sync_triggers_intact(sync, source))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the triggers of sync \"%s\" on table \"%s\" are gone, disabled or look at other columns", sync->name,
						RelationGetRelationName(source)),
				 errhint("Call jflow_sync_resume, which makes them anew and compares all rows.")));
	table_close(source, NoLock);
}
