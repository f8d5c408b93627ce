/*
 * invhandler.c
 *		What the server asks of an index access method: its description, and
 *		whether an operator class fits.
 */
#include "postgres.h"

#include "access/amvalidate.h"
#include "access/htup_details.h"
#include "access/reloptions.h"
#include "catalog/pg_amop.h"
#include "catalog/pg_amproc.h"
#include "catalog/pg_opclass.h"
#include "commands/vacuum.h"
#include "fmgr.h"
#include "utils/catcache.h"
#include "utils/syscache.h"

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

/*
 * An operator class is either of vectors (an ordering operator, a distance
 * function and a metric) or of a filter column (the five comparisons, or equality
 * and a function that hashes).
 */
static bool
inv_validate(Oid opclass)
{
	HeapTuple	tuple = SearchSysCache1(CLAOID, ObjectIdGetDatum(opclass));
	Form_pg_opclass form;
	CatCList   *procs;
	CatCList   *ops;
	bool		valid = true;
	int			nprocs = 0;
	int			norderings = 0;
	int			strategies = 0;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator class %u", opclass);
	form = (Form_pg_opclass) GETSTRUCT(tuple);
	procs = SearchSysCacheList1(AMPROCNUM, ObjectIdGetDatum(form->opcfamily));
	ops = SearchSysCacheList1(AMOPSTRATEGY, ObjectIdGetDatum(form->opcfamily));
	for (int i = 0; i < procs->n_members; i++)
	{
		Form_pg_amproc proc = (Form_pg_amproc) GETSTRUCT(&procs->members[i]->tuple);

		if (proc->amproclefttype == form->opcintype)
			nprocs |= 1 << proc->amprocnum;
	}
	for (int i = 0; i < ops->n_members; i++)
	{
		Form_pg_amop op = (Form_pg_amop) GETSTRUCT(&ops->members[i]->tuple);

		if (op->amoppurpose == AMOP_ORDER)
			norderings++;
		else if (op->amoplefttype == form->opcintype && op->amoprighttype == form->opcintype)
			strategies |= 1 << op->amopstrategy;
	}
	if (norderings > 0 ?
		nprocs != (1 << INV_DISTANCE_PROC | 1 << INV_METRIC_PROC) :
		!ix_filter_class_complete(form->opcintype, strategies, nprocs == 1 << IX_FILTER_HASH_PROC))
	{
		ereport(INFO,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("operator class \"%s\" of access method inverted is incomplete",
						NameStr(form->opcname))));
		valid = false;
	}
	ReleaseCatCacheList(procs);
	ReleaseCatCacheList(ops);
	ReleaseSysCache(tuple);
	return valid;
}

PG_FUNCTION_INFO_V1(jflow_inverted_handler);
/* jflow.inverted_handler(internal) -> index_am_handler */
Datum
jflow_inverted_handler(PG_FUNCTION_ARGS)
{
	static IndexAmRoutine routine;
	IndexAmRoutine *am = index_am_compat(&routine);

	am->amstrategies = 5;
	am->amsupport = INV_NPROCS;
	am->amoptsprocnum = 0;
	am->amcanorder = false;
	am->amcanorderbyop = true;
	am->amcanbackward = false;
	am->amcanunique = false;
	am->amcanmulticol = true;
	am->amoptionalkey = true;
	am->amsearcharray = true;
	am->amsearchnulls = true;
	am->amstorage = false;
	am->amclusterable = false;
	am->ampredlocks = false;
	am->amcanparallel = false;
	am->amcaninclude = false;
	am->amusemaintenanceworkmem = true;
	am->amparallelvacuumoptions = VACUUM_OPTION_PARALLEL_BULKDEL | VACUUM_OPTION_PARALLEL_CLEANUP;
	am->amkeytype = InvalidOid;
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
	SET_INDEX_METHOD_COMPAT(am);
	PG_RETURN_POINTER(am);
}
