/*
 * pqlite_reshard.c
 *		Moving rows when the number of shards changes.
 *
 * A change is begun by jflow_scale and carried out in batches, each of which
 * is a transaction that leaves whole rows in one place; docs/pqlite.md has the
 * states of a leaf and argues that no search misses a row.  Where executors run
 * in their callers' sessions all is done at once, in one transaction.
 */
#include "postgres.h"

#include "access/table.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "executors/pqlite/pqlite.h"

#define AT_ONCE_BATCH 10000

PG_FUNCTION_INFO_V1(jflow_reshard_step);

/*
 * How a flow's owner works on his store, as his executor functions do.  Row security
 * is off: a row that a policy hides must raise an error rather than stay behind in a
 * leaf that is dropped.  Holds until the current GUC nest level ends.
 */
void
pqlite_set_owner_settings(void)
{
	char	   *schema = get_namespace_name(jflow_types()->schema);

	(void) set_config_option("search_path",
							 psprintf("\"$user\", public, %s, pg_temp", quote_identifier(schema)),
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	pqlite_row_security_off();
}

/*
 * Raise an error for a leaf that somebody's foreign key references.  To move a
 * row out of it is to delete the row there, so that key would delete the rows
 * that reference it, or empty their columns.  The leaf must be locked.
 */
static void
check_not_referenced(const PqliteLeaf *leaf)
{
	Relation	rel = table_open(leaf->relid, NoLock);
	TriggerDesc *triggers = rel->trigdesc;

	for (int i = 0; triggers && i < triggers->numtriggers; i++)
	{
		const Trigger *trigger = &triggers->triggers[i];

		if (RI_FKey_trigger_type(trigger->tgfoid) == RI_TRIGGER_PK && !trigger->tgisclone)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("rows of table %s cannot be moved", leaf->name),
					 errdetail("Foreign key \"%s\" of table %s references them.",
							   get_constraint_name(trigger->tgconstraint),
							   get_rel_name(trigger->tgconstrrelid)),
					 errhint("Drop the constraint, and add it again where the rows are then.")));
	}
	table_close(rel, NoLock);
}

/*
 * Raise an error if rows of the store cannot be moved because a policy could hide
 * some, or because a foreign key references them.
 */
static void
check_movable(const PqliteStore *store)
{
	(void) check_enable_rls(store->relid, InvalidOid, false);
	for (int i = 0; i < store->nleaves; i++)
	{
		LockRelationOid(store->leaves[i].relid, AccessShareLock);
		(void) check_enable_rls(store->leaves[i].relid, InvalidOid, false);
		check_not_referenced(&store->leaves[i]);
	}
}

/* Lock rows of a leaf, given by id, and count them: nobody else deletes them now. */
static uint64
lock_rows(PqliteStore *store, const PqliteLeaf *leaf, Oid *types, Datum *values)
{
	SPIPlanPtr	plan = pqlite_plan(store,
								   psprintf("SELECT FROM %s WHERE id = ANY ($1) FOR UPDATE", leaf->name),
								   1, types, CURSOR_OPT_GENERIC_PLAN);

	if (SPI_execute_plan(plan, values, NULL, false, 0) < 0)
		elog(ERROR, "could not lock rows of table %s", leaf->name);
	return SPI_processed;
}

/* Move rows, given by id, from one leaf to another. */
static void
move_rows(PqliteStore *store, const PqliteLeaf *leaf, int to, Datum *ids, int nids)
{
	Oid			types[1] = {TEXTARRAYOID};
	Datum		values[1];
	SPIPlanPtr	plan;
	uint64		there;

	values[0] = PointerGetDatum(construct_array(ids, nids, TEXTOID, -1, false, TYPALIGN_INT));
	there = lock_rows(store, leaf, types, values);
	plan = pqlite_plan(store,
					   psprintf("UPDATE %s SET shard = %d WHERE shard = %d AND id = ANY ($1)",
								store->name, to, leaf->shard),
					   1, types, CURSOR_OPT_GENERIC_PLAN);
	if (SPI_execute_plan(plan, values, NULL, false, 0) < 0)
		elog(ERROR, "could not move rows of table %s", store->name);

	/*
	 * A trigger before the DELETE in one leaf would keep rows there for ever,
	 * one before the INSERT in the other would lose them.
	 */
	if (SPI_processed != there)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
				 errmsg("rows of table %s cannot be moved to shard %d", store->name, to),
				 errdetail("A trigger or rule on it let " UINT64_FORMAT " of " UINT64_FORMAT " rows out of shard %d and into that one.",
						   SPI_processed, there, leaf->shard),
				 errhint("Remove it, or let it return the row.")));
}

/*
 * One batch of a leaf: look at the next rows by id and move those that belong
 * elsewhere.
 */
static void
move_batch(PqliteStore *store, const PqliteShardRow *row, int wanted, int batch)
{
	Oid			types[1] = {TEXTOID};
	Datum		values[1] = {CStringGetTextDatum(row->position ? row->position : "")};
	const PqliteLeaf *leaf = NULL;
	Datum	   *ids;
	int		   *targets;
	Datum	   *selected;
	const char *last = row->position;
	int			nids;
	int			nmoving = 0;

	for (int i = 0; i < store->nleaves; i++)
		if (store->leaves[i].shard == row->shard)
			leaf = &store->leaves[i];
	pqlite_force_index_scans();
	SPI_connect();
	if (SPI_execute_plan(pqlite_plan(store,
									 psprintf("SELECT id FROM %s WHERE id > $1 ORDER BY id LIMIT %d",
											  leaf->name, batch),
									 1, types, CURSOR_OPT_GENERIC_PLAN), values, NULL, false, 0) < 0)
		elog(ERROR, "could not read table %s", leaf->name);
	nids = SPI_processed;
	ids = palloc(sizeof(Datum) * Max(nids, 1));
	selected = palloc(sizeof(Datum) * Max(nids, 1));
	targets = palloc(sizeof(int) * Max(nids, 1));
	for (int i = 0; i < nids; i++)
	{
		bool		isnull;
		text	   *id;

		ids[i] = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);
		id = DatumGetTextPP(ids[i]);
		targets[i] = jflow_shard_of_id(VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id), wanted);
		if (targets[i] != row->shard)
			selected[nmoving++] = ids[i];
		if (i == nids - 1)
			last = TextDatumGetCString(ids[i]);
	}

	/* Whoever writes one of these ids comes before or after the batch. */
	if (nmoving > 0)
	{
		pqlite_lock_ids(store, selected, nmoving);
		LockRelationOid(leaf->relid, RowExclusiveLock);
		check_not_referenced(leaf);
	}
	for (int target = 0; target < wanted && nmoving > 0; target++)
	{
		int			n = 0;

		for (int i = 0; i < nids; i++)
			if (targets[i] == target && target != row->shard)
				selected[n++] = ids[i];
		if (n > 0)
			move_rows(store, leaf, target, selected, n);
	}
	pqlite_shards_advance(store->flow, store->executor, row->shard, nids < batch ? NULL : last,
						  nmoving > 0 ? (int64) U64FromFullTransactionId(GetTopFullTransactionId()) : 0);
	SPI_finish();
}

/*
 * Is no snapshot older than a transaction in use?  A number that was never
 * given out here comes from the server that a dump was made on.
 */
static bool
is_past(const PqliteStore *store, int64 moved)
{
	uint64		next = U64FromFullTransactionId(ReadNextFullTransactionId());
	Relation	rel;
	TransactionId horizon;

	if (moved == 0 || (uint64) moved >= next || next - (uint64) moved > (UINT64CONST(1) << 30))
		return true;
	rel = table_open(store->leaves[0].relid, AccessShareLock);
	horizon = GetOldestNonRemovableTransactionId(rel);
	table_close(rel, AccessShareLock);
	return TransactionIdPrecedes((TransactionId) moved, horizon);
}

/*
 * Have all rows been moved, with no snapshot in use that is older, so that leaves
 * that are not wanted can be dropped?
 */
static bool
can_drop(const PqliteStore *store, const PqliteShardRow *rows, int nrows, int wanted)
{
	bool		superfluous = false;

	for (int i = 0; i < nrows; i++)
	{
		if (rows[i].state == SHARD_MOVING || !is_past(store, rows[i].moved_xid))
			return false;
		superfluous |= rows[i].shard >= wanted;
	}
	return superfluous;
}

/*
 * All rows have been moved: drop leaves that are not wanted, for which the caller
 * has locked the parent, and let the others live, unless that has to wait or a
 * leaf got rows meanwhile.
 */
static JflowMove
settle(PqliteStore *store, const PqliteShardRow *rows, int nrows, int wanted, bool locked,
	   bool at_once)
{
	bool		done = true;

	for (int i = 0; i < nrows && !at_once; i++)
		if (!is_past(store, rows[i].moved_xid))
			return MOVE_WAIT;
	for (int i = 0; i < nrows; i++)
		if (rows[i].shard >= wanted && !locked)
			return MOVE_MORE;

	SPI_connect();
	for (int i = 0; i < nrows; i++)
	{
		const char *name = quote_qualified_identifier(rows[i].schema, rows[i].table);

		if (rows[i].shard < wanted)
			continue;
		for (int leaf = 0; leaf < store->nleaves; leaf++)
			if (store->leaves[leaf].shard == rows[i].shard)
				name = store->leaves[leaf].name;

		/* who writes to the leaf past its parent has locked the leaf alone */
		if (SPI_execute(psprintf("LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE", name), false, 0) < 0)
			elog(ERROR, "could not lock table %s", name);
		if (SPI_execute(psprintf("SELECT FROM %s LIMIT 1", name), false, 1) != SPI_OK_SELECT)
			elog(ERROR, "could not read table %s", name);
		if (SPI_processed > 0)
		{
			pqlite_shards_again(store->flow, store->executor, rows[i].shard);
			done = false;
			continue;
		}
		if (SPI_execute(psprintf("DROP TABLE %s", name), false, 0) < 0)
			elog(ERROR, "could not drop table %s", name);
		pqlite_shards_drop(store->flow, store->executor, rows[i].shard);
	}
	if (done)
		pqlite_shards_settle(store->flow, store->executor);
	SPI_finish();
	return done ? MOVE_DONE : MOVE_MORE;
}

/*
 * One step of a change of an executor's number of shards.  The current user is
 * the flow's owner.
 */
static JflowMove
reshard_step(const JflowFlow *flow, const JflowExecutor *executor, int batch, bool busy,
			 bool at_once)
{
	PqliteStore *store;
	PqliteShardRow *rows;
	int			nrows;
	bool		live = true;
	bool		due = false;
	bool		locked = at_once;

	pqlite_lock_store_name(flow->name, executor->name);
	store = pqlite_store_find(flow, executor);
	if (store == NULL || !store->own)
		return MOVE_DONE;
	nrows = pqlite_shards_read(flow->name, executor->name, &rows);
	if (store->due && !store->moving && !at_once)
	{
		if (busy)
			return MOVE_WAIT;

		/* Without the layout lock, so that it keeps no writers waiting. */
		pqlite_index_one(store, rows, nrows);
		return MOVE_MORE;
	}

	/* Everybody locks the parent before the layout, and so do we. */
	if (!at_once && can_drop(store, rows, nrows, executor->shards))
	{
		pqlite_lock_parent(store->relid);
		locked = true;
	}
	pqlite_lock_layout(store->relid, RowExclusiveLock);
	AcceptInvalidationMessages();
	if (!store->valid)
		store = pqlite_store_find(flow, executor);
	if (store == NULL)
		return MOVE_DONE;		/* dropped meanwhile */

	nrows = pqlite_shards_read(flow->name, executor->name, &rows);
	for (int i = 0; i < nrows; i++)
	{
		live &= rows[i].state == SHARD_LIVE;
		due |= rows[i].due;
		if (rows[i].state == SHARD_MOVING)
		{
			move_batch(store, &rows[i], executor->shards, batch);
			return MOVE_MORE;
		}
	}
	if (live)
		return due && !at_once ? MOVE_MORE : MOVE_DONE;
	return settle(store, rows, nrows, executor->shards, locked, at_once);
}

/*
 * A leaf is dropped once it is empty, and only one that is looked at under a new
 * snapshot is known to be: rows may have been committed to it meanwhile.
 */
static void
check_isolation(void)
{
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("rows cannot be moved between shards in a transaction of isolation level %s",
						XactIsoLevel == XACT_SERIALIZABLE ? "serializable" : "repeatable read"),
				 errhint("Use READ COMMITTED.")));
}

typedef struct ScaleWork
{
	const JflowFlow *flow;
	const JflowExecutor *executor;
	int			shards;
	bool		at_once;
} ScaleWork;

static void
scale(void *arg)
{
	const ScaleWork *work = arg;
	const JflowFlow *flow = work->flow;
	const JflowExecutor *executor = work->executor;
	PqliteStore *store;

	pqlite_set_owner_settings();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (work->at_once)
		pqlite_lock_store_name(flow->name, executor->name);
	store = pqlite_store_find(flow, executor);
	if (store)
	{
		check_isolation();
		if (work->at_once)
			pqlite_lock_parent(store->relid);

		/* writers in flight end first, and those to come see the new leaves */
		pqlite_lock_layout(store->relid, ExclusiveLock);
		AcceptInvalidationMessages();
		if (!store->valid)
			store = pqlite_store_find(flow, executor);
		if (store == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("the store of executor \"%s\" of flow \"%s\" was dropped",
							executor->name, flow->name)));
		check_movable(store);
		pqlite_add_leaves(store, work->shards, !work->at_once);
		pqlite_shards_move(store->flow, store->executor);
		CommandCounterIncrement();
		while (work->at_once && reshard_step(flow, executor, AT_ONCE_BATCH, false, true) != MOVE_DONE)
		{
			CHECK_FOR_INTERRUPTS();
			CommandCounterIncrement();
			UpdateActiveSnapshotCommandId();
		}
	}
	PopActiveSnapshot();
}

/*
 * The number of shards of an executor is about to change: make the leaves that
 * are missing and let rows be moved.  jflow.executor is changed by the caller
 * in the same transaction, before.  With "at_once" all rows are moved here.
 */
void
pqlite_scale(const char *flow_name, const char *executor_name, int shards, bool at_once)
{
	ScaleWork	work;

	work.shards = shards;
	work.at_once = at_once;
	work.flow = jflow_flow_open(flow_name, false);
	work.executor = jflow_flow_executor(work.flow, executor_name);
	if (!jflow_executor_is(work.executor, PQLITE_CLASS))
		return;
	if (pqlite_options_read(work.executor->uses_with)->table)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the number of shards of executor \"%s\" of flow \"%s\" is that of its table's partitions",
						executor_name, flow_name),
				 errhint("Add partitions to the table, or take some away.")));
	jflow_as_flow_owner(work.flow, scale, &work);
}

typedef struct MoveWork
{
	const JflowFlow *flow;
	const JflowExecutor *executor;
	int			batch;
	bool		busy;
	JflowMove	result;
} MoveWork;

static void
move(void *arg)
{
	MoveWork   *work = arg;

	pqlite_set_owner_settings();
	work->result = reshard_step(work->flow, work->executor, work->batch, work->busy, false);
}

/*
 * Move at most "batch" rows of an executor, as the flow's owner.  The caller has
 * checked that it may.
 */
JflowMove
pqlite_move_rows(const char *flow_name, const char *executor_name, int batch, bool busy)
{
	MoveWork	work;

	work.batch = batch;
	work.busy = busy;
	work.flow = jflow_flow_open(flow_name, false);
	work.executor = jflow_flow_executor(work.flow, executor_name);
	if (work.executor == NULL)
		jflow_executor_missing(work.flow, executor_name);
	if (!jflow_executor_is(work.executor, PQLITE_CLASS))
		return MOVE_DONE;
	jflow_as_flow_owner(work.flow, move, &work);
	return work.result;
}

/*
 * jflow.reshard_step(flow text, executor text, batch int4) RETURNS bool: moves at
 * most "batch" rows; true once all are where they belong.
 */
Datum
jflow_reshard_step(PG_FUNCTION_ARGS)
{
	char	   *flow = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *executor;
	int			batch = PG_GETARG_INT32(2);

	jflow_check_flow_owner(jflow_flow_open(flow, false));
	if (batch <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("batch must be positive")));
	check_isolation();
	executor = text_to_cstring(PG_GETARG_TEXT_PP(1));
	if (jflow_flow_executor(jflow_flow_open(flow, false), executor) == NULL)
		jflow_executor_missing(jflow_flow_open(flow, false), executor);
	PG_RETURN_BOOL(jflow_move_rows(flow, executor, batch, false) == MOVE_DONE);
}
