/*
 * pqhandler.c
 *		What the server asks of an index access method: its description,
 *		options, and whether an operator class fits.
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

#include "pq/pq.h"

static relopt_kind options_kind;

/*
 * Once per process: choose kernels, define the options of an index.
 */
void
pq_am_init(void)
{
	pq_kernels_init();
	options_kind = add_reloption_kind();
	add_int_reloption(options_kind, "lists", "Number of lists, 0 to choose from the data",
					  0, 0, PQ_MAX_LISTS, AccessExclusiveLock);
	add_int_reloption(options_kind, "subvectors", "Number of subvectors that are coded, 0 to choose from the data",
					  0, 0, PQ_MAX_SUBVECTORS, AccessExclusiveLock);
	add_int_reloption(options_kind, "bits", "Bits per code", 4, 4, 4, AccessExclusiveLock);
	add_string_reloption(options_kind, "codebook", "Name of a codebook made by jflow_train()",
						 NULL, NULL, AccessExclusiveLock);
}

static bytea *
pq_options(Datum reloptions, bool validate)
{
	static const relopt_parse_elt table[] = {
		{"lists", RELOPT_TYPE_INT, offsetof(PqOptions, lists)},
		{"subvectors", RELOPT_TYPE_INT, offsetof(PqOptions, subvectors)},
		{"bits", RELOPT_TYPE_INT, offsetof(PqOptions, bits)},
		{"codebook", RELOPT_TYPE_STRING, offsetof(PqOptions, codebook)},
	};

	return (bytea *) build_reloptions(reloptions, validate, options_kind,
									  sizeof(PqOptions), table, lengthof(table));
}

/*
 * An operator class is either of vectors (an ordering operator, a distance
 * function and a space) or of a filter column (the five comparisons, or
 * equality and a function that hashes).
 */
static bool
pq_validate(Oid opclass)
{
	HeapTuple	tuple = SearchSysCache1(CLAOID, ObjectIdGetDatum(opclass));
	Form_pg_opclass form;
	CatCList   *procs;
	CatCList   *ops;
	bool		valid = true;
	int			nprocs = 0;
	int			norderings = 0;
	int			nfilters = 0;

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
		else if (op->amopstrategy >= 1 && op->amopstrategy <= 5 &&
				 op->amoplefttype == form->opcintype && op->amoprighttype == form->opcintype)
			nfilters |= 1 << op->amopstrategy;
	}
	if (norderings > 0 ?
		nprocs != (1 << PQ_DISTANCE_PROC | 1 << PQ_SPACE_PROC) :
		!ix_filter_class_complete(form->opcintype, nfilters, nprocs == 1 << IX_FILTER_HASH_PROC))
	{
		ereport(INFO,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("operator class \"%s\" of access method pq is incomplete",
						NameStr(form->opcname))));
		valid = false;
	}
	ReleaseCatCacheList(procs);
	ReleaseCatCacheList(ops);
	ReleaseSysCache(tuple);
	return valid;
}

PG_FUNCTION_INFO_V1(jflow_pq_handler);
/* jflow.pq_handler(internal) -> index_am_handler */
Datum
jflow_pq_handler(PG_FUNCTION_ARGS)
{
	static IndexAmRoutine routine;
	IndexAmRoutine *am = index_am_compat(&routine);

	am->amstrategies = 5;
	am->amsupport = PQ_NPROCS;
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
	am->amusemaintenanceworkmem = false;
	am->amparallelvacuumoptions = VACUUM_OPTION_PARALLEL_BULKDEL;
	am->amkeytype = InvalidOid;
	am->ambuild = pq_build;
	am->ambuildempty = pq_buildempty;
	am->aminsert = pq_insert;
	am->ambulkdelete = pq_bulkdelete;
	am->amvacuumcleanup = pq_vacuumcleanup;
	am->amcostestimate = pq_costestimate;
	am->amoptions = pq_options;
	am->ambuildphasename = pq_build_phase;
	am->amvalidate = pq_validate;
	am->ambeginscan = pq_beginscan;
	am->amrescan = pq_rescan;
	am->amgettuple = pq_gettuple;
	am->amendscan = pq_endscan;
	SET_INDEX_METHOD_COMPAT(am);
	PG_RETURN_POINTER(am);
}
