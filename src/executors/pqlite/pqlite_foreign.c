/*
 * pqlite_foreign.c
 *		Rows of a user's table that are in partitions on other servers.
 *
 * The server does not move such a row when its partition key changes: it would
 * stay where it is, and who looks for the new key would not find it.
 */
#include "postgres.h"

#include "access/table.h"
#include "optimizer/optimizer.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"

#include "compat.h"
#include "executors/pqlite/pqlite.h"

/* All relations of a store's table that can be partitioned, or foreign. */
static List *
list_parts(const PqliteStore *store)
{
	List	   *relids = list_make1_oid(store->relid);

	for (int i = 0; i < store->nleaves; i++)
	{
		relids = list_append_unique_oid(relids, store->leaves[i].relid);
		relids = list_concat_unique_oid(relids, store->leaves[i].parts);
	}
	return relids;
}

/* Add the columns by which a relation is partitioned, by their numbers in the store. */
static Bitmapset *
add_key_columns(const PqliteStore *store, Oid relid, Bitmapset *columns)
{
	Relation	rel = table_open(relid, AccessShareLock);
	PartitionKey key = RelationGetPartitionKey(rel);
	Bitmapset  *attnums = NULL;

	for (int i = 0; i < key->partnatts; i++)
		if (key->partattrs[i] != 0)
			attnums = bms_add_member(attnums, key->partattrs[i] - FirstLowInvalidHeapAttributeNumber);
	pull_varattnos((Node *) key->partexprs, 1, &attnums);
	for (int i = 0; i < store->ncolumns; i++)
	{
		AttrNumber	attnum = get_attnum(relid, store->columns[i].name);

		if (bms_is_member(attnum - FirstLowInvalidHeapAttributeNumber, attnums))
			columns = bms_add_member(columns, i);
	}
	table_close(rel, NoLock);
	return columns;
}

/* The columns that say where a row is. */
static Bitmapset *
key_columns(const PqliteStore *store, const List *relids)
{
	Bitmapset  *columns = NULL;
	ListCell   *lc;

	foreach(lc, relids)
	{
		if (get_rel_relkind(lfirst_oid(lc)) == RELKIND_PARTITIONED_TABLE)
			columns = add_key_columns(store, lfirst_oid(lc), columns);
	}
	return columns;
}

/* Is any of the store's table on another server? */
static bool
some_foreign(const PqliteStore *store)
{
	for (int i = 0; i < store->nleaves; i++)
		if (store->leaves[i].foreign)
			return true;
	return false;
}

/* A statement that looks for a row there whose key would change. */
static char *
statement(const PqliteStore *store, const List *relids, const Bitmapset *sent, const Bitmapset *keys,
		  bool merge)
{
	StringInfoData sql;
	const char *separator = "";
	ListCell   *lc;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT u.n FROM %s AS t, ", store->name);
	pqlite_append_unnest(store, &sql, sent, false);
	pqlite_append_same_id(store, &sql, sent);
	appendStringInfoString(&sql, " AND t.tableoid OPERATOR(pg_catalog.=) ANY ('{");
	foreach(lc, relids)
	{
		if (get_rel_relkind(lfirst_oid(lc)) != RELKIND_FOREIGN_TABLE)
			continue;
		appendStringInfo(&sql, "%s%u", separator, lfirst_oid(lc));
		separator = ", ";
	}
	appendStringInfoString(&sql, "}'::pg_catalog.oid[]) AND NOT (true");
	for (int i = -1; (i = bms_next_member(keys, i)) >= 0;)
	{
		const PqliteColumn *column = &store->columns[i];
		StringInfoData value;

		initStringInfo(&value);
		if (merge && column->attr == DOC_TAGS)
			appendStringInfo(&value, "COALESCE(t.%s || u.c%d, u.c%d)", column->quoted, i, i);
		else
			pqlite_append_sent(column, i, &value);
		appendStringInfo(&sql, " AND (t.%s %s %s IS TRUE OR (t.%s IS NULL AND %s IS NULL))",
						 column->quoted, pqlite_equality_of(getBaseType(column->type)), value.data,
						 column->quoted, value.data);
	}
	appendStringInfoString(&sql, ") LIMIT 1");
	return sql.data;
}

/*
 * Raise feature_not_supported if an update that was sent would change the partition
 * key of a row on another server.  "sent" has the columns of the rows' documents,
 * and the id; with "merge" tags are merged into those that are there.  SPI must be
 * connected and the ids locked.
 */
void
pqlite_check_keys_stay(PqliteStore *store, const Bitmapset *sent, const PqliteRows *rows,
					   PqliteItem *const *items, bool merge)
{
	List	   *relids;
	Bitmapset  *keys;
	bool		isnull;
	int64		n;

	if (!some_foreign(store))
		return;
	relids = list_parts(store);
	keys = bms_intersect(key_columns(store, relids), sent);
	keys = bms_del_member(keys, store->id);
	if (bms_is_empty(keys))
		return;
	pqlite_write_rows(store, statement(store, relids, sent, keys, merge), rows, -1);
	if (SPI_processed == 0)
		return;
	n = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot change the partition key of %s, whose row is on another server",
					pqlite_doc_name(items[n - 1]->doc)),
			 errdetail("The row would stay in its partition of table %s under the new key.", store->name),
			 errhint("Delete the document first, or use a RemoteFlow, which places documents by their ids.")));
}
