/*
 * pqlite_class.c
 *		PQLiteIndexer: what the class tells of itself.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

#include "compat.h"
#include "executors/pqlite/pqlite.h"

/* Columns of jflow.shard that are looked at here. */
#define Anum_shard_flow 1
#define Anum_shard_executor 2
#define Anum_shard_state 9
#define Anum_shard_due 13

static const char *const parameters[] = {
	"limit", "offset", "filter", "max_distance", "probes", "recall", "queries", "writes", NULL
};

/*
 * Are rows of an executor still to be moved, or to be indexed?  Reads the catalog
 * by scan, so that anybody may ask.
 */
static bool
needs_mover(const char *flow, const char *executor)
{
	Relation	rel = table_open(jflow_catalog_relid("shard"), AccessShareLock);
	Oid			index = RelationGetPrimaryKeyIndexCompat(rel);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		needed = false;

	ScanKeyInit(&keys[0], Anum_shard_flow, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(flow));
	ScanKeyInit(&keys[1], Anum_shard_executor, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(executor));
	scan = systable_beginscan(rel, index, OidIsValid(index), NULL, 2, keys);
	while (!needed && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		state = heap_getattr(tuple, Anum_shard_state, RelationGetDescr(rel), &isnull);

		needed = strcmp(TextDatumGetCString(state), "live") != 0 ||
			DatumGetBool(heap_getattr(tuple, Anum_shard_due, RelationGetDescr(rel), &isnull));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return needed;
}

/* For jflow_add: raises what pqlite_options_read raises. */
static void
check_options(Jsonb *uses_with)
{
	(void) pqlite_options_read(uses_with);
}

const JflowClass pqlite_class = {
	.name = PQLITE_CLASS,
	.check = check_options,
	.parameters = parameters,
	.default_limit = PQLITE_DEFAULT_LIMIT,
	.stores = true,
	.drop_data = pqlite_drop_data,
	.scale = pqlite_scale,
	.move_rows = pqlite_move_rows,
	.needs_mover = needs_mover,
};
