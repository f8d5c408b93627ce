/*
 * method.c
 *		What the server asks of both index access methods alike: their
 *		description, and whether an operator class fits.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_amop.h"
#include "catalog/pg_amproc.h"
#include "catalog/pg_opclass.h"
#include "commands/defrem.h"
#include "utils/catcache.h"
#include "utils/syscache.h"

#include "compat.h"
#include "index/filter.h"
#include "index/method.h"

/*
 * Set what holds for an index of vectors in the order of their distance, with
 * filter columns behind them.  The caller sets the rest.
 */
void
ix_method_describe(IndexAmRoutine *am)
{
	am->amstrategies = 5;
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
	am->amkeytype = InvalidOid;
	SET_INDEX_METHOD_COMPAT(am);
}

/*
 * An operator class is either of vectors (an ordering operator, and the support
 * functions whose numbers are the bits of vector_procs) or of a filter column
 * (the five comparisons, or equality and a function that hashes).
 */
bool
ix_class_validate(Oid opclass, int vector_procs)
{
	HeapTuple	tuple = SearchSysCache1(CLAOID, ObjectIdGetDatum(opclass));
	Form_pg_opclass form;
	CatCList   *procs;
	CatCList   *ops;
	bool		valid;
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
	valid = norderings > 0 ? nprocs == vector_procs :
		ix_filter_class_complete(form->opcintype, strategies, nprocs == 1 << IX_FILTER_HASH_PROC);
	if (!valid)
		ereport(INFO,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("operator class \"%s\" of access method %s is incomplete",
						NameStr(form->opcname), get_am_name(form->opcmethod))));
	ReleaseCatCacheList(procs);
	ReleaseCatCacheList(ops);
	ReleaseSysCache(tuple);
	return valid;
}
