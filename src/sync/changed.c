/*
 * changed.c
 *		What the triggers of a source call.
 *
 * It runs in every writer, so it reads no catalog: what it must know is in the
 * trigger's arguments.  Only rows whose columns have changed cost more.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "commands/trigger.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "common/xact.h"
#include "compat.h"
#include "settings.h"
#include "sync/sync.h"

PG_FUNCTION_INFO_V1(jflow_sync_changed);
PG_FUNCTION_INFO_V1(jflow_sync_statement);

/* Arguments of our triggers. */
enum
{
	ARG_ID,
	ARG_PLACE,
	ARG_MODE,
	ARG_KEY,
	ARG_WATCHED,
	NARGS
};

#define MAX_TOUCHED 16

/* Syncs whose workers are to be woken at commit; more than fit: all. */
static int	touched[MAX_TOUCHED];
static int	ntouched = 0;
static bool asking = false;		/* and not to wait any longer after an error */

/* Raise an error for a call by anybody else than a trigger of ours. */
static const Trigger *
check_call(FunctionCallInfo fcinfo, const char *function, bool row)
{
	const TriggerData *data = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(data->tg_event) ||
		(TRIGGER_FIRED_FOR_ROW(data->tg_event) != 0) != row || data->tg_trigger->tgnargs != NARGS)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" is for the triggers that jflow_sync makes", function)));
	return data->tg_trigger;
}

/* Is the trigger one of this database, and not of what this one is a copy of? */
static bool
is_here(const Trigger *trigger)
{
	static char place[64];

	if (place[0] == '\0')
		strlcpy(place, sync_place(), sizeof(place));
	return strcmp(trigger->tgargs[ARG_PLACE], place) == 0;
}

static bool
is_immediate(const Trigger *trigger)
{
	return trigger->tgargs[ARG_MODE][0] == 'i';
}

/*
 * Are two values of a column the same?  What was not updated has the same toast
 * pointer; a value that was written again is compared by its bytes.
 */
static bool
is_same(TupleTableSlot *old, TupleTableSlot *new, AttrNumber attnum)
{
	Form_pg_attribute att = TupleDescAttr(new->tts_tupleDescriptor, attnum - 1);
	bool		old_null,
				new_null;
	Datum		old_value = slot_getattr(old, attnum, &old_null);
	Datum		new_value = slot_getattr(new, attnum, &new_null);

	if (old_null || new_null)
		return old_null == new_null;
	if (att->attbyval)
		return old_value == new_value;
	if (att->attlen == -1)
	{
		struct varlena *a = (struct varlena *) DatumGetPointer(old_value);
		struct varlena *b = (struct varlena *) DatumGetPointer(new_value);

		if (VARATT_IS_EXTERNAL_ONDISK(a) && VARATT_IS_EXTERNAL_ONDISK(b) &&
			memcmp(a, b, VARSIZE_EXTERNAL(a)) == 0)
			return true;
		if (!VARATT_IS_EXTERNAL(a) && !VARATT_IS_EXTERNAL(b) && VARSIZE_ANY(a) == VARSIZE_ANY(b) &&
			memcmp(a, b, VARSIZE_ANY(a)) == 0)
			return true;
	}
	return datum_image_eq(old_value, new_value, false, att->attlen);
}

/* Has one of the columns changed that documents are made of? */
static bool
has_changed(const Trigger *trigger, TupleTableSlot *old, TupleTableSlot *new)
{
	char	   *list = trigger->tgargs[ARG_WATCHED];

	while (*list)
	{
		AttrNumber	attnum = (AttrNumber) strtol(list, &list, 10);

		if (!is_same(old, new, attnum))
			return true;
	}
	return false;
}

/* The key of a row, as a text; 0: it has none, or the column is gone. */
static Datum
key_of(TupleTableSlot *slot, AttrNumber attnum)
{
	Oid			type = TupleDescAttr(slot->tts_tupleDescriptor, attnum - 1)->atttypid;
	Oid			output;
	bool		is_varlena,
				isnull;
	Datum		value = slot_getattr(slot, attnum, &isnull);

	if (isnull || !OidIsValid(type))
		return (Datum) 0;
	getTypeOutputInfo(type, &output, &is_varlena);
	if (output == F_TEXTOUT || output == F_VARCHAROUT)
		return PointerGetDatum(PG_DETOAST_DATUM(value));
	return CStringGetTextDatum(OidOutputFunctionCall(output, value));
}

/* At commit, wake the worker of a sync or, with "ask", have it try at once. */
void
sync_touch(int id, bool ask)
{
	asking |= ask;
	for (int i = 0; i < Min(ntouched, MAX_TOUCHED); i++)
		if (touched[i] == id)
			return;
	if (ntouched < MAX_TOUCHED)
		touched[ntouched] = id;
	if (ntouched <= MAX_TOUCHED)
		ntouched++;
}

/* Append to the queue; key 0: everything may have changed. */
static void
append(int id, Datum key)
{
	Relation	queue = table_open(jflow_catalog_relid("sync_queue"), RowExclusiveLock);
	Datum		values[3];
	bool		nulls[3] = {false};
	HeapTuple	tuple;

	values[0] = Int32GetDatum(id);
	values[1] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[2] = key;
	nulls[2] = key == (Datum) 0;
	tuple = heap_form_tuple(RelationGetDescr(queue), values, nulls);
	CatalogTupleInsert(queue, tuple);
	heap_freetuple(tuple);
	table_close(queue, NoLock);
	sync_touch(id, false);
}

static void
tell(const Trigger *trigger, TupleTableSlot *row, AttrNumber key, bool gone)
{
	int			id = atoi(trigger->tgargs[ARG_ID]);
	Datum		value = key_of(row, key);

	if (value == (Datum) 0)
	{
		/* a worker sees by itself that the key is another, or may be NULL */
		if (is_immediate(trigger))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("a row of a synced table has no id"),
					 errhint("Call jflow_sync_resume, which looks for the column anew, or jflow_unsync.")));
		return;
	}
	/* one that our index cannot have would hold up all others */
	if (VARSIZE_ANY_EXHDR(DatumGetPointer(value)) > SYNC_MAX_KEY && !gone)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the id of a row of a synced table is too long"),
				 errdetail("It has %zu bytes, and may have %d.",
						   (size_t) VARSIZE_ANY_EXHDR(DatumGetPointer(value)), SYNC_MAX_KEY)));
	if (is_immediate(trigger))
		sync_immediate_collect(id, value);
	else if (VARSIZE_ANY_EXHDR(DatumGetPointer(value)) > SYNC_MAX_KEY)
		append(id, (Datum) 0);	/* a sweep finds it, if the store has it */
	else
		append(id, value);
}

/*
 * jflow.sync_changed() RETURNS trigger: a row was inserted, updated or deleted.
 */
Datum
jflow_sync_changed(PG_FUNCTION_ARGS)
{
	const Trigger *trigger = check_call(fcinfo, "jflow.sync_changed", true);
	const TriggerData *data = (TriggerData *) fcinfo->context;
	AttrNumber	key = (AttrNumber) atoi(trigger->tgargs[ARG_KEY]);

	if (!is_here(trigger))
		return PointerGetDatum(NULL);
	if (TRIGGER_FIRED_BY_UPDATE(data->tg_event))
	{
		bool		moved = !is_same(data->tg_trigslot, data->tg_newslot, key);

		if (moved)
			tell(trigger, data->tg_trigslot, key, true);
		if (moved || has_changed(trigger, data->tg_trigslot, data->tg_newslot))
			tell(trigger, data->tg_newslot, key, false);
	}
	else
		tell(trigger, data->tg_trigslot, key, TRIGGER_FIRED_BY_DELETE(data->tg_event));
	return PointerGetDatum(NULL);
}

/*
 * jflow.sync_statement() RETURNS trigger: the table was truncated or, under mode
 * "immediate", any statement has ended.
 */
Datum
jflow_sync_statement(PG_FUNCTION_ARGS)
{
	const Trigger *trigger = check_call(fcinfo, "jflow.sync_statement", false);
	const TriggerData *data = (TriggerData *) fcinfo->context;
	bool		truncated = TRIGGER_FIRED_BY_TRUNCATE(data->tg_event);
	int			id = atoi(trigger->tgargs[ARG_ID]);

	if (!is_here(trigger))
		return PointerGetDatum(NULL);
	if (is_immediate(trigger))
		sync_immediate_post(id, truncated);
	else if (truncated)
		append(id, (Datum) 0);
	return PointerGetDatum(NULL);
}

/* Is it worth to wake the worker of this sync? */
static bool
is_touched(int id)
{
	if (ntouched > MAX_TOUCHED)
		return true;
	for (int i = 0; i < ntouched; i++)
		if (touched[i] == id)
			return true;
	return false;
}

/* Wake the worker that runs as a replica, if it is one of a sync that was touched. */
static void
wake(const JflowReplica *replica)
{
	JflowPool  *pool = &jflow_pools[replica->pool];

	if (replica->state == REPLICA_FREE || pool->shard != JFLOW_SYNC || pool->database != MyDatabaseId ||
		!is_touched(pool->shards))
		return;
	if (asking)
	{
		LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
		pool->asked++;
		LWLockRelease(&pool->lock);
	}
	jflow_wake_process(replica->proc);
}

/*
 * What is queued can be seen: wake the workers.  They are looked for without locks,
 * since one that is missed looks by itself before long.
 */
static void
at_transaction_end(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE)
		sync_immediate_check();
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	sync_immediate_forget();
	if (ntouched == 0)
		return;
	if (event == XACT_EVENT_COMMIT && jflow_shared)
		for (int i = 0; i < jflow_max_replicas; i++)
			wake(&jflow_replicas[i]);
	ntouched = 0;
	asking = false;
}

static void
at_subtransaction_end(SubXactEvent event, SubTransactionId id, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB || event == SUBXACT_EVENT_COMMIT_SUB)
		sync_immediate_end_level(GetCurrentTransactionNestLevel(), event == SUBXACT_EVENT_COMMIT_SUB);
}

/* For _PG_init. */
void
sync_changed_init(void)
{
	RegisterSubXactCallback(at_subtransaction_end, NULL);
	jflow_at_transaction_end(XACT_END_SYNC, at_transaction_end);
}
