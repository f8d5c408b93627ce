/*
 * inspect.c
 *		Calling one of the functions that look into an index.
 *
 * Such a function reads all rows of the table, whatever row-level security says,
 * and evaluates the index's expressions and predicate, which are code of the
 * table's owner.  Its caller may be anybody, a superuser among them.  So he must
 * have the right to read the table, and what is evaluated runs as in REINDEX:
 * as the table's owner, in a security-restricted operation, under a search_path
 * of ours, and no setting that it changes outlives the call.  REINDEX runs in a
 * transaction of its own caller's choice, these functions in queries of anybody's:
 * so what the session holds, cursors above all, is kept from that code, too.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xlog.h"
#include "catalog/index.h"
#include "catalog/pg_class.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/syscache.h"

#include "common/session.h"
#include "compat.h"
#include "index/inspect.h"
#include "index/page.h"

static void JFLOW_NORETURN
no_index(Oid oid)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("index with OID %u does not exist", oid)));
}

/*
 * The table of an index of an access method, by the catalog alone: nothing is
 * locked before the caller is known to have the right to it.
 */
static Oid
table_of(Oid oid, const char *method)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(oid));
	Form_pg_class form;
	Oid			table;

	if (!HeapTupleIsValid(tuple))
		no_index(oid);
	form = (Form_pg_class) GETSTRUCT(tuple);
	if (form->relkind == RELKIND_PARTITIONED_INDEX)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("index \"%s\" is partitioned", NameStr(form->relname)),
				 errhint("Name the index of a partition.")));
	if (form->relkind != RELKIND_INDEX || form->relam != get_index_am_oid(method, true))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a%s %s index", NameStr(form->relname),
						strchr("aeiou", method[0]) ? "n" : "", method)));
	ReleaseSysCache(tuple);
	table = IndexGetRelation(oid, true);
	if (!OidIsValid(table))
		no_index(oid);
	return table;
}

/*
 * May the current user read all of a table?  Its owner may: he can give himself
 * what he lacks.
 */
static void
check_rights(Oid table)
{
	char	   *name = get_rel_name(table);
	AclResult	acl;

	if (name == NULL || jflow_class_ownercheck_compat(table, GetUserId()))
		return;
	acl = pg_class_aclcheck(table, GetUserId(), ACL_SELECT);
	if (acl != ACLCHECK_OK)
		aclcheck_error(acl, get_relkind_objtype(get_rel_relkind(table)), name);
	if (check_enable_rls(table, InvalidOid, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for table %s", name),
				 errdetail("Row-level security may hide rows from you that its indexes tell of.")));
}

/* Raise unless the index holds all rows and can be read here. */
static void
check_state(Relation index)
{
	const char *name = RelationGetRelationName(index);

	if (RELATION_IS_OTHER_TEMP(index))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot access temporary indexes of other sessions")));
	if (!index->rd_index->indisvalid || !index->rd_index->indisready || !index->rd_index->indislive)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("index \"%s\" is not valid", name),
				 errdetail("It is being made or dropped, or an attempt to make it has failed."),
				 errhint("Rebuild the index with REINDEX, or drop it.")));
	if (RecoveryInProgress() && !RelationIsPermanent(index))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("index \"%s\" is unlogged", name),
				 errdetail("It is empty while the server is in recovery.")));
}

/* Open a valid index with its table, the table first as everybody else does. */
static void
open_both(Oid oid, const char *method, IxInspected *inspected)
{
	Oid			table = table_of(oid, method);
	char	   *name = get_rel_name(oid);

	check_rights(table);
	inspected->heap = try_relation_open(table, AccessShareLock);
	inspected->index = inspected->heap ? try_relation_open(oid, AccessShareLock) : NULL;
	/* the index may have been dropped meanwhile, and its OID be another's */
	if (inspected->index == NULL || table_of(oid, method) != table)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("index \"%s\" was dropped meanwhile", name ? name : "")));
	check_rights(table);
	check_state(inspected->index);
}

/*
 * Look into an index of an access method: as the table's owner, restricted, with
 * both locked for reading.  Raises what is wrong with the index or the caller's
 * rights; an error in "look" leaves nothing behind but what the abort of a
 * transaction or subtransaction puts right.
 */
Datum
ix_inspect(Oid oid, const char *method, IxLook look, FunctionCallInfo fcinfo)
{
	IxInspected inspected;
	JflowSessionGuard guard;
	Oid			userid;
	int			sec_context;
	int			guc_level;
	Datum		result;

	open_both(oid, method, &inspected);
	GetUserIdAndSecContext(&userid, &sec_context);
	SetUserIdAndSecContext(inspected.heap->rd_rel->relowner,
						   sec_context | SECURITY_RESTRICTED_OPERATION);
	guc_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	jflow_session_guard(&guard, NULL);
	PG_TRY();
	{
		result = look(&inspected, fcinfo);
		jflow_session_close_portals(&guard);
	}
	PG_FINALLY();
	{
		jflow_session_release(&guard);
	}
	PG_END_TRY();
	AtEOXact_GUC(false, guc_level);
	SetUserIdAndSecContext(userid, sec_context);
	relation_close(inspected.index, AccessShareLock);
	relation_close(inspected.heap, AccessShareLock);
	return result;
}

/*
 * No page of an index has been met.  What is kept of it lies in the current memory
 * context.
 */
void
ix_pages_init(IxPageSet *pages, Relation index)
{
	pages->index = index;
	pages->nblocks = RelationGetNumberOfBlocks(index);
	pages->seen = palloc_extended(pages->nblocks / 8 + 1, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
}

/*
 * A link leads to a page: an error if one did before, or if there is no such page.
 */
void
ix_pages_meet(IxPageSet *pages, BlockNumber block)
{
	/* pages that inserts added meanwhile */
	if (block >= pages->nblocks)
	{
		BlockNumber now = RelationGetNumberOfBlocks(pages->index);

		pages->seen = repalloc_huge(pages->seen, now / 8 + 1);
		if (now > pages->nblocks)
			memset(pages->seen + pages->nblocks / 8 + 1, 0, now / 8 - pages->nblocks / 8);
		pages->nblocks = now;
	}
	if (block >= pages->nblocks)
		ix_corrupt(pages->index, block, "A link leads beyond the end of the file.");
	if (pages->seen[block / 8] >> (block % 8) & 1)
		ix_corrupt(pages->index, block, "The page is linked twice.");
	pages->seen[block / 8] |= 1 << (block % 8);
}
