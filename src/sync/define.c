/*
 * define.c
 *		jflow_sync and jflow_unsync.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/rel.h"

#include "common/args.h"
#include "compat.h"
#include "runtime/control/control.h"
#include "runtime/control/workers.h"
#include "sync/sync.h"

PG_FUNCTION_INFO_V1(jflow_sync);
PG_FUNCTION_INFO_V1(jflow_unsync);

/*
 * May the current user know of a sync?  Who may know of its flow may; where that is
 * gone, a superuser and the owner of the database.
 */
static bool
may_see(const Sync *sync)
{
	if (jflow_flow_open(sync->flow, true))
		return jflow_may_see(sync->flow, GetUserId());
	return superuser() || jflow_database_ownercheck_compat(MyDatabaseId, GetUserId());
}

/*
 * A sync that the current user may change: that of a flow of his, or, where the
 * flow is gone, any that he may know of.  To others it does not exist.
 */
Sync *
sync_read_own(const char *name)
{
	Sync	   *sync = sync_read(name, false);
	JflowFlow  *flow = jflow_flow_open(sync->flow, true);

	if (!may_see(sync))
		sync_unknown(name);
	if (flow)
		jflow_check_flow_owner(flow);
	return sync;
}

/*
 * The same, locked until the transaction ends.  While that is waited for another
 * may take its place under its name.
 */
Sync *
sync_lock_own(const char *name)
{
	for (;;)
	{
		Sync	   *sync = sync_read_own(name);
		int			id = sync->id;

		sync_lock(id, false);
		sync = sync_read_own(name);
		if (sync->id == id)
			return sync;
	}
}

/* The user's table that an executor stores into; InvalidOid: none. */
static Oid
table_of(const JflowExecutor *executor)
{
	char	   *name = NULL;

	if (executor->class && executor->class->table)
		name = executor->class->table(executor->uses_with);
	if (name == NULL)
		return InvalidOid;
	return RangeVarGetRelid(makeRangeVarFromNameList(stringToQualifiedNameListCompat(name)), NoLock, true);
}

/* Does a flow store into a table? */
static bool
stores_into(const JflowFlow *flow, Oid table)
{
	for (int i = 0; i < flow->nexecutors; i++)
		if (table_of(&flow->executors[i]) == table)
			return true;
	return false;
}

static void
check_flow(const Sync *sync, const JflowFlow *flow)
{
	for (int i = 0; sync->mode == SYNC_IMMEDIATE && i < flow->nexecutors; i++)
		if (flow->executors[i].replicas > 0)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("mode \"immediate\" needs executors without replicas"),
					 errdetail("Executor \"%s\" of flow \"%s\" has replicas, which do not see what a statement has not committed.",
							   flow->executors[i].name, flow->name),
					 errhint("Add executors with replicas => 0, or use mode \"live\".")));
	if (sync->mode != SYNC_IMMEDIATE && jflow_shared == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the worker of a sync needs jflow to be preloaded"),
				 errhint("Add jflow to shared_preload_libraries and restart the server, or use mode \"immediate\".")));
}

static void
check_sync(const Sync *sync)
{
	if (sync->name[0] == '\0' || strlen(sync->name) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("sync name must have 1 to %d bytes", NAMEDATALEN - 1)));
	jflow_check_endpoint(sync->endpoint);
	jflow_check_range("batch", sync->batch, 1, SYNC_MAX_BATCH);
	jflow_check_range("retries", sync->retries, 0, SYNC_MAX_RETRIES);
}

/* Rights on the source, before it is locked. */
static void
check_rights(Oid source, Oid owner)
{
	char	   *name = get_rel_name(source);

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table with OID %u does not exist", source)));
	if (pg_class_aclcheck(source, owner, ACL_TRIGGER) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, name);
}

/* The column that "id" leaves out. */
static char *
default_key(Relation source)
{
	AttrNumber	attnum = sync_default_key(source);

	if (attnum == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("table \"%s\" has no primary key of one column", RelationGetRelationName(source)),
				 errhint("Name as \"id\" a column that is NOT NULL and has a unique index of its own.")));
	return pstrdup(NameStr(TupleDescAttr(RelationGetDescr(source), attnum - 1)->attname));
}

/*
 * Make a sync work here: triggers, and from which row on to compare.  The current
 * user is the flow's owner.  The lock on the source waits for its writers, so that
 * what they have changed is seen by the comparison, and what comes later by the
 * triggers.
 */
static void
attach(Sync *sync, SyncPhase phase)
{
	Relation	source;

	check_rights(sync->source, GetUserId());
	source = relation_open(sync->source, ShareRowExclusiveLock);
	sync_source_check_kind(source);
	if (sync->key == NULL)
		sync->key = default_key(source);
	sync_source_check(sync, source);
	(void) sync_columns_attnums(sync, source);
	sync_source_prepare(sync_source_open(sync));
	if (sync->id == 0)
		sync_insert(sync);
	if (!sync_triggers_intact(sync, source))
	{
		sync_triggers_drop(sync);
		sync_triggers_create(sync, source);
		(void) sync_recover(sync);	/* what a dump has told of */
	}
	else if (sync->mode != SYNC_IMMEDIATE)
		phase = sync->phase;	/* the queue has all that came meanwhile */
	if (phase != sync->phase || sync->mode == SYNC_IMMEDIATE || phase == PHASE_FILL)
		sync_set_phase(sync, phase, (Datum) 0);
	sync_set_state(sync, false);
	sync_touch(sync->id, true);
	if (sync->mode == SYNC_IMMEDIATE)
		sync_immediate_fill(sync);

	/* not before, so that nobody truncates it within a round */
	relation_close(source, NoLock);
}

typedef struct AttachWork
{
	Sync	   *sync;
	SyncPhase	phase;
} AttachWork;

static void
attach_work(void *arg)
{
	const AttachWork *work = arg;

	attach(work->sync, work->phase);
}

/* The same with the rights of the flow's owner. */
void
sync_attach_as_owner(Sync *sync, const JflowFlow *flow, SyncPhase phase)
{
	AttachWork	work = {sync, phase};

	jflow_as_flow_owner(flow, attach_work, &work);
	if (sync->mode != SYNC_IMMEDIATE && !jflow_flow_started(flow->name))
		ereport(NOTICE,
				(errmsg("sync \"%s\" begins when flow \"%s\" is started", sync->name, flow->name),
				 errhint("Call jflow_start.")));
}

/*
 * jflow_sync(name text, flow text, source regclass, columns jsonb, id text,
 * endpoint text, mode text, batch int4, retries int4) RETURNS void
 */
Datum
jflow_sync(PG_FUNCTION_ARGS)
{
	Sync	   *sync = palloc0(sizeof(Sync));
	JflowCatalogState state;
	JflowFlow  *flow;

	sync->name = jflow_arg_text(fcinfo, 0, "name");
	sync->flow = jflow_arg_text(fcinfo, 1, "flow");
	jflow_arg_required(fcinfo, 2, "source");
	sync->source = PG_GETARG_OID(2);
	sync->columns = jflow_arg_jsonb(fcinfo, 3, "columns");
	sync->key = jflow_arg_text_or_null(fcinfo, 4);
	sync->endpoint = jflow_arg_text(fcinfo, 5, "endpoint");
	sync->mode = sync_mode_of(jflow_arg_text(fcinfo, 6, "mode"));
	jflow_arg_required(fcinfo, 7, "batch");
	sync->batch = PG_GETARG_INT32(7);
	jflow_arg_required(fcinfo, 8, "retries");
	sync->retries = PG_GETARG_INT32(8);
	sync->phase = PHASE_FILL;
	check_sync(sync);

	/* who drops the flow waits, and finds the sync; or it is gone */
	(void) jflow_change_begin(&state, sync->flow);
	jflow_catalog_end(&state);
	flow = jflow_flow_open(sync->flow, false);
	check_flow(sync, flow);

	/* Where the source is the store a row that is gone must not come back. */
	sync->in_place = stores_into(flow, sync->source);
	if (sync->in_place)
		sync->endpoint = "/update";
	sync_attach_as_owner(sync, flow, PHASE_FILL);
	PG_RETURN_VOID();
}

/*
 * Forget a sync that is locked; its documents stay in the store.  What was filled to
 * take its place goes, too, and of one that was to take another's the store.
 */
void
sync_unsync(const char *name)
{
	Sync	   *sync = sync_read(name, true);
	Sync	   *stand_in;

	if (sync == NULL)
		return;
	stand_in = sync_stand_in(sync->flow);
	if (stand_in)
	{
		sync_lock(stand_in->id, false);
		sync_unsync(stand_in->name);
	}
	sync_triggers_drop(sync);
	sync_delete(sync);
	if (sync->stands_for)
		jflow_flow_drop(sync->flow, true);
}

/*
 * jflow_unsync(name text, if_exists bool) RETURNS void
 */
Datum
jflow_unsync(PG_FUNCTION_ARGS)
{
	char	   *name = jflow_arg_text(fcinfo, 0, "name");
	Sync	   *sync = sync_read(name, true);

	if (jflow_arg_bool(fcinfo, 1) && (sync == NULL || !may_see(sync)))
	{
		ereport(NOTICE,
				(errmsg("sync \"%s\" does not exist, skipping", name)));
		PG_RETURN_VOID();
	}
	(void) sync_lock_own(name);
	sync_unsync(name);
	PG_RETURN_VOID();
}

/* A flow is about to be dropped, by who may do so. */
static void
drop_sync_of(const char *flow)
{
	Sync	   *sync = sync_of_flow(flow);

	if (sync == NULL)
		return;
	sync = sync_lock_own(sync->name);
	if (sync->stands_for)
	{
		/* the flow goes by itself */
		sync_triggers_drop(sync);
		sync_delete(sync);
	}
	else
		sync_unsync(sync->name);
}

static const JflowSyncHooks hooks = {sync_wanted, sync_worker_run};

/* For _PG_init. */
void
sync_init(void)
{
	jflow_sync_hooks = &hooks;
	jflow_flow_drop_hook = drop_sync_of;
	sync_changed_init();
}
