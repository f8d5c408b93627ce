/*
 * pqlite_shards.c
 *		jflow.shard: a row per leaf of a store, of which this file is the keeper.
 *
 * A row says which table a leaf is, under which field and metric documents are
 * there, how large the store was when its index was made, and in which state the
 * leaf is while rows are moved:
 *
 *	from		to			when
 *	(none)		live		the store is made, with as many leaves as are wanted
 *	(none)		moving		a leaf is made for a new number of shards; or the store
 *							was found, with more leaves than are wanted
 *	any			moving		the number of shards is changed
 *	moving		moving		a batch was moved; "position" is its last id
 *	moving		settling	all rows have been looked at
 *	settling	moving		the leaf shall be dropped, and has got rows meanwhile
 *	settling	live		no snapshot is older than the last batch
 *	settling	(none)		the same, and the leaf was dropped
 *
 * moved_xid is the last transaction that took rows out of the leaf.  Rows that
 * nobody keeps go with their flow, or when another executor takes the table.
 *
 * Rows are read by scan, under the newest snapshot, by anybody; they are written
 * with the rights of the extension's owner, in the caller's transaction.  No locks
 * are taken but the server's own on the rows: who changes the layout holds the
 * store's.  All results are in the current memory context.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

#include "compat.h"
#include "executors/pqlite/pqlite.h"

/* Columns of jflow.shard, in the order of its definition. */
enum
{
	Anum_shard_flow = 1,
	Anum_shard_executor,
	Anum_shard_shard,
	Anum_shard_schema,
	Anum_shard_parent,
	Anum_shard_table,
	Anum_shard_field,
	Anum_shard_metric,
	Anum_shard_state,
	Anum_shard_position,
	Anum_shard_moved_xid,
	Anum_shard_trained_pages,
	Anum_shard_due
};

static const char *const state_names[] = {"live", "moving", "settling"};

Oid			pqlite_shard_relid = InvalidOid;

static char *
text_value(HeapTuple tuple, int attnum, TupleDesc desc)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, attnum, desc, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

static int64
int_value(HeapTuple tuple, int attnum, TupleDesc desc)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, attnum, desc, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

static PqliteShardState
state_value(HeapTuple tuple, TupleDesc desc)
{
	char	   *name = text_value(tuple, Anum_shard_state, desc);

	for (int i = 0; i < lengthof(state_names); i++)
		if (strcmp(state_names[i], name) == 0)
			return (PqliteShardState) i;
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("jflow.shard has the unknown state \"%s\"", name)));
}

static int
row_order(const void *a, const void *b)
{
	return ((const PqliteShardRow *) a)->shard - ((const PqliteShardRow *) b)->shard;
}

static void
read_row(HeapTuple tuple, TupleDesc desc, PqliteShardRow *row)
{
	bool		isnull;

	row->shard = DatumGetInt32(heap_getattr(tuple, Anum_shard_shard, desc, &isnull));
	row->schema = text_value(tuple, Anum_shard_schema, desc);
	row->parent = text_value(tuple, Anum_shard_parent, desc);
	row->table = text_value(tuple, Anum_shard_table, desc);
	row->field = text_value(tuple, Anum_shard_field, desc);
	row->metric = text_value(tuple, Anum_shard_metric, desc);
	row->state = state_value(tuple, desc);
	row->position = text_value(tuple, Anum_shard_position, desc);
	row->moved_xid = int_value(tuple, Anum_shard_moved_xid, desc);
	row->trained_pages = int_value(tuple, Anum_shard_trained_pages, desc);
	row->due = DatumGetBool(heap_getattr(tuple, Anum_shard_due, desc, &isnull));
}

static SysScanDesc
begin_scan(Relation rel, const char *flow, const char *executor)
{
	Oid			index = RelationGetPrimaryKeyIndexCompat(rel);
	ScanKeyData keys[2];

	ScanKeyInit(&keys[0], Anum_shard_flow, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(flow));
	ScanKeyInit(&keys[1], Anum_shard_executor, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(executor));
	return systable_beginscan(rel, index, OidIsValid(index), NULL, 2, keys);
}

/* The rows of an executor, by number. */
int
pqlite_shards_read(const char *flow, const char *executor, PqliteShardRow **rows)
{
	Relation	rel;
	SysScanDesc scan;
	HeapTuple	tuple;
	int			n = 0,
				allocated = 8;

	pqlite_shard_relid = jflow_catalog_relid("shard");
	*rows = palloc(sizeof(PqliteShardRow) * allocated);
	rel = table_open(pqlite_shard_relid, AccessShareLock);
	scan = begin_scan(rel, flow, executor);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		if (n == allocated)
			*rows = repalloc(*rows, sizeof(PqliteShardRow) * (allocated *= 2));
		read_row(tuple, RelationGetDescr(rel), &(*rows)[n++]);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	qsort(*rows, n, sizeof(PqliteShardRow), row_order);
	return n;
}

/* Are rows of an executor still to be moved, or to be indexed? */
bool
pqlite_shards_need_mover(const char *flow, const char *executor)
{
	PqliteShardRow *rows;
	int			n = pqlite_shards_read(flow, executor, &rows);

	for (int i = 0; i < n; i++)
		if (rows[i].state != SHARD_LIVE || rows[i].due)
			return true;
	return false;
}

/* Run a statement whose first parameters are flow and executor. */
static uint64
change(const char *flow, const char *executor, const char *sql, JflowParams *rest)
{
	JflowParams params = {0};
	JflowCatalogState state;
	uint64		n;

	jflow_param_text(&params, flow);
	jflow_param_text(&params, executor);
	for (int i = 0; i < rest->n; i++)
		jflow_param(&params, rest->types[i], rest->values[i], rest->nulls[i] == 'n');
	jflow_catalog_begin(&state);
	n = jflow_catalog_run(sql, &params);
	jflow_catalog_end(&state);
	return n;
}

static void
param_int8(JflowParams *params, int64 value)
{
	jflow_param(params, INT8OID, Int64GetDatum(value), false);
}

/*
 * Enter a leaf.  Raises object_in_use if its table is another executor's.
 */
void
pqlite_shards_add(const char *flow, const char *executor, const PqliteShardRow *row)
{
	JflowParams params = {0};

	jflow_param_int(&params, row->shard);
	jflow_param_text(&params, row->schema);
	jflow_param_text(&params, row->parent);
	jflow_param_text(&params, row->table);
	jflow_param_text(&params, row->field);
	jflow_param_text(&params, row->metric);
	jflow_param_text(&params, state_names[row->state]);
	if (change(flow, executor,
			   "INSERT INTO jflow.shard (flow, executor, shard, \"schema\", parent, \"table\", field, metric, state) "
			   "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING", &params) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("table %s is another executor's store",
						quote_qualified_identifier(row->schema, row->table))));
}

/* Forget all leaves of an executor. */
void
pqlite_shards_remove(const char *flow, const char *executor)
{
	JflowParams params = {0};

	(void) change(flow, executor, "DELETE FROM jflow.shard WHERE flow = $1 AND executor = $2", &params);
}

/* Rows of all leaves are to be looked at, from the first on. */
void
pqlite_shards_move(const char *flow, const char *executor)
{
	JflowParams params = {0};

	(void) change(flow, executor, "UPDATE jflow.shard SET state = 'moving', \"position\" = NULL "
				  "WHERE flow = $1 AND executor = $2", &params);
}

/*
 * Rows of a leaf have been looked at up to a position, or with NULL all of them;
 * moved_xid is 0 if none had to be moved.
 */
void
pqlite_shards_advance(const char *flow, const char *executor, int shard, const char *position,
					  int64 moved_xid)
{
	JflowParams params = {0};

	jflow_param_int(&params, shard);
	jflow_param(&params, INT8OID, Int64GetDatum(moved_xid), moved_xid == 0);
	jflow_param(&params, TEXTOID, position ? CStringGetTextDatum(position) : (Datum) 0, position == NULL);
	(void) change(flow, executor,
				  "UPDATE jflow.shard SET \"position\" = $5, moved_xid = COALESCE($4, moved_xid), "
				  "state = CASE WHEN $5 IS NULL THEN 'settling' ELSE 'moving' END "
				  "WHERE flow = $1 AND executor = $2 AND shard = $3", &params);
}

/* A leaf that was to be dropped has got rows: look at it again. */
void
pqlite_shards_again(const char *flow, const char *executor, int shard)
{
	JflowParams params = {0};

	jflow_param_int(&params, shard);
	(void) change(flow, executor, "UPDATE jflow.shard SET state = 'moving', \"position\" = NULL "
				  "WHERE flow = $1 AND executor = $2 AND shard = $3", &params);
}

/* A leaf was dropped. */
void
pqlite_shards_drop(const char *flow, const char *executor, int shard)
{
	JflowParams params = {0};

	jflow_param_int(&params, shard);
	(void) change(flow, executor, "DELETE FROM jflow.shard WHERE flow = $1 AND executor = $2 AND shard = $3",
				  &params);
}

/* All rows are where they belong. */
void
pqlite_shards_settle(const char *flow, const char *executor)
{
	JflowParams params = {0};

	(void) change(flow, executor, "UPDATE jflow.shard SET state = 'live', \"position\" = NULL, moved_xid = NULL "
				  "WHERE flow = $1 AND executor = $2", &params);
}

/*
 * The index of a leaf was made, or with -1 those of all, of a store of so many
 * pages; 0 is for a store without indexes.
 */
void
pqlite_shards_trained(const char *flow, const char *executor, int shard, int64 pages)
{
	JflowParams params = {0};

	jflow_param_int(&params, shard);
	param_int8(&params, pages);
	(void) change(flow, executor, "UPDATE jflow.shard SET trained_pages = $4, due = false "
				  "WHERE flow = $1 AND executor = $2 AND $3 IN (shard, -1)", &params);
}

/* The index of a leaf is to be made, by a mover. */
void
pqlite_shards_due(const char *flow, const char *executor, int shard)
{
	JflowParams params = {0};

	jflow_param_int(&params, shard);
	(void) change(flow, executor, "UPDATE jflow.shard SET due = true "
				  "WHERE flow = $1 AND executor = $2 AND shard = $3", &params);
}

/* A leaf has become another executor's, under another name. */
void
pqlite_shards_hand_over(const char *flow, const char *executor, int shard, const char *to_flow,
						const char *to_executor, const char *schema, const char *parent, const char *table)
{
	JflowParams params = {0};

	jflow_param_int(&params, shard);
	jflow_param_text(&params, to_flow);
	jflow_param_text(&params, to_executor);
	jflow_param_text(&params, schema);
	jflow_param_text(&params, parent);
	jflow_param_text(&params, table);
	(void) change(flow, executor, "UPDATE jflow.shard SET flow = $4, executor = $5, \"schema\" = $6, parent = $7, \"table\" = $8 "
				  "WHERE flow = $1 AND executor = $2 AND shard = $3", &params);
}

/*
 * Is a table the store, or a leaf of the store, of another executor than this?  If
 * so it is told which.  A flow and the one that stands in for it share a user's
 * table, of which each fills a column of its own.
 */
bool
pqlite_shards_other_user(const char *schema, const char *table, const char *flow,
						 const char *executor, char **other_flow, char **other_executor)
{
	JflowParams params = {0};
	MemoryContext context = CurrentMemoryContext;
	JflowCatalogState state;
	bool		result;

	jflow_param_text(&params, schema);
	jflow_param_text(&params, table);
	jflow_param_text(&params, flow);
	jflow_param_text(&params, executor);
	jflow_catalog_begin(&state);
	result = jflow_catalog_run("SELECT s.flow, s.executor FROM jflow.shard s "
							   "JOIN jflow.executor e ON e.flow = s.flow AND e.name = s.executor "
							   "WHERE s.\"schema\" = $1 AND (s.parent = $2 OR s.\"table\" = $2) "
							   "AND (s.flow, s.executor) <> ($3, $4) "
							   "AND NOT EXISTS (SELECT FROM jflow.flow f WHERE (f.flow = $3 AND f.stands_for = s.flow) "
							   "OR (f.flow = s.flow AND f.stands_for = $3)) LIMIT 1", &params) > 0;
	if (result)
	{
		*other_flow = MemoryContextStrdup(context, jflow_catalog_value(0, 1));
		*other_executor = MemoryContextStrdup(context, jflow_catalog_value(0, 2));
	}
	jflow_catalog_end(&state);
	return result;
}

/* Forget executors that stored into a table and are not there any more. */
void
pqlite_shards_forget_users(const char *schema, const char *table)
{
	JflowParams params = {0};
	JflowCatalogState state;

	jflow_param_text(&params, schema);
	jflow_param_text(&params, table);
	jflow_catalog_begin(&state);
	(void) jflow_catalog_run("DELETE FROM jflow.shard s WHERE \"schema\" = $1 AND (parent = $2 OR \"table\" = $2) "
							 "AND NOT EXISTS (SELECT FROM jflow.executor e WHERE e.flow = s.flow AND e.name = s.executor)",
							 &params);
	jflow_catalog_end(&state);
}
