/*
 * scale.c
 *		What a change of an executor's number of shards means for its documents.
 *
 * The class that stores documents registers who moves them; who changes the
 * number, and who carries the change out, call him.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

#include "compat.h"
#include "flow/flow.h"

/* Columns of jflow.shard that are looked at here. */
#define Anum_shard_flow 1
#define Anum_shard_executor 2
#define Anum_shard_state 9
#define Anum_shard_due 13

static JflowScaleShards scale_stored_shards = NULL;
static JflowMoveRows move_stored_rows = NULL;

/* Let the class that stores documents move them.  For _PG_init. */
void
jflow_register_scale(JflowScaleShards scale_shards, JflowMoveRows move_rows)
{
	scale_stored_shards = scale_shards;
	move_stored_rows = move_rows;
}

/*
 * Begin to move the stored documents of an executor whose number of shards was
 * changed in jflow.executor; with "at_once" it is done on return.
 */
void
jflow_scale_shards(const char *flow, const char *executor, int shards, bool at_once)
{
	if (scale_stored_shards)
		scale_stored_shards(flow, executor, shards, at_once);
}

/* Move at most so many rows.  The current user is the flow's owner. */
JflowMove
jflow_move_rows(const char *flow, const char *executor, int batch, bool busy)
{
	return move_stored_rows ? move_stored_rows(flow, executor, batch, busy) : MOVE_DONE;
}

/*
 * Are rows of an executor still to be moved, or to be indexed?  Reads the catalog by scan, so
 * that anybody may ask.
 */
bool
jflow_is_moving(const char *flow, const char *executor)
{
	Relation	rel = table_open(jflow_catalog_relid("shard"), AccessShareLock);
	Oid			index = RelationGetPrimaryKeyIndexCompat(rel);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		moving = false;

	ScanKeyInit(&keys[0], Anum_shard_flow, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(flow));
	ScanKeyInit(&keys[1], Anum_shard_executor, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(executor));
	scan = systable_beginscan(rel, index, OidIsValid(index), NULL, 2, keys);
	while (!moving && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		state = heap_getattr(tuple, Anum_shard_state, RelationGetDescr(rel), &isnull);

		moving = strcmp(TextDatumGetCString(state), "live") != 0 ||
			DatumGetBool(heap_getattr(tuple, Anum_shard_due, RelationGetDescr(rel), &isnull));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return moving;
}
