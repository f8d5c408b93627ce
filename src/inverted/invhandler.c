/*
 * invhandler.c
 *		What the server asks of an index access method: its description and
 *		options, of which there are none.
 */
#include "postgres.h"

#include "access/reloptions.h"
#include "commands/vacuum.h"
#include "fmgr.h"

#include "index/method.h"
#include "inverted/inverted.h"

/*
 * There are no options, so whatever is given is refused.
 */
static bytea *
inv_options(Datum reloptions, bool validate)
{
	static relopt_kind kind;

	if (!kind)
		kind = add_reloption_kind();
	return (bytea *) build_reloptions(reloptions, validate, kind, sizeof(bytea), NULL, 0);
}

static bool
inv_validate(Oid opclass)
{
	return ix_class_validate(opclass, 1 << INV_DISTANCE_PROC | 1 << INV_METRIC_PROC);
}

PG_FUNCTION_INFO_V1(jflow_inverted_handler);
/* jflow.inverted_handler(internal) -> index_am_handler */
Datum
jflow_inverted_handler(PG_FUNCTION_ARGS)
{
	static IndexAmRoutine routine;
	IndexAmRoutine *am = index_am_compat(&routine);

	ix_method_describe(am);
	am->amsupport = INV_NPROCS;
	am->amusemaintenanceworkmem = true;
	am->amparallelvacuumoptions = VACUUM_OPTION_PARALLEL_BULKDEL | VACUUM_OPTION_PARALLEL_CLEANUP;
	am->ambuild = inv_build;
	am->ambuildempty = inv_buildempty;
	am->aminsert = inv_insert;
	am->ambulkdelete = inv_bulkdelete;
	am->amvacuumcleanup = inv_vacuumcleanup;
	am->amcostestimate = inv_costestimate;
	am->amoptions = inv_options;
	am->ambuildphasename = inv_build_phase;
	am->amvalidate = inv_validate;
	am->ambeginscan = inv_beginscan;
	am->amrescan = inv_rescan;
	am->amgettuple = inv_gettuple;
	am->amendscan = inv_endscan;
	PG_RETURN_POINTER(am);
}
