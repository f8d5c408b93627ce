/*
 * pqlite_exchange.c
 *		Another store in place of an executor's.
 *
 * The parent of the executor's table stays, with all that hangs on it: privileges,
 * policies, views.  Its leaves are dropped, and those of the stand-in's table,
 * which were filled and indexed beside it, become its own.  The names do not
 * change.  All of it is one transaction, which locks the table against readers
 * for as long as the catalogs take: rows are looked at before.
 *
 * Where executors store into a user's table there is nothing to do: another of
 * its columns was filled, and the option "field" names it from now on.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "compat.h"
#include "executors/pqlite/pqlite.h"

#define CHECK_NAME "jflow_exchange"

static bool
same_string(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static void JFLOW_NORETURN
cannot_change(const JflowExecutor *executor, const char *option)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("option \"%s\" of executor \"%s\" cannot be changed with its store", option, executor->name),
			 errhint("Make a second flow with a sync of its own, and drop the first when the second has caught up.")));
}

/* A table by name, which must be the current user's. */
static Oid
own_table(const char *schema, const char *table)
{
	Oid			relid = get_relname_relid(table, get_namespace_oid(schema, false));

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table %s does not exist", quote_qualified_identifier(schema, table))));
	if (!jflow_class_ownercheck_compat(relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(get_rel_relkind(relid)), table);
	return relid;
}

/*
 * Can a stand-in be exchanged with an executor, by what their options say, and as the
 * executor's table is now?  Raises feature_not_supported.
 */
void
pqlite_check_stand_in(const JflowFlow *flow, const JflowExecutor *executor, const JflowExecutor *stand_in)
{
	const PqliteOptions *a = pqlite_options_read(executor->uses_with);
	const PqliteOptions *b = pqlite_options_read(stand_in->uses_with);
	PqliteShardRow *rows;

	if (!same_string(a->table, b->table))
		cannot_change(executor, "table");
	if (a->table && (b->field == NULL || same_string(a->field, b->field)))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table \"%s\" needs a second column for the new embeddings", a->table),
				 errhint("Add one, and name it: jflow_resync(..., '{\"%s\": {\"field\": \"...\"}}').", executor->name)));
	if (!a->table && !same_string(a->field, b->field))
		cannot_change(executor, "field");
	if (a->ncolumns != b->ncolumns)
		cannot_change(executor, "columns");
	for (int i = 0; i < a->ncolumns; i++)
		if (strcmp(a->column_names[i], b->column_names[i]) != 0 || strcmp(a->column_types[i], b->column_types[i]) != 0)
			cannot_change(executor, "columns");
	if (!a->table && pqlite_shards_read(flow->name, executor->name, &rows) > 0)
		pqlite_check_as_made(own_table(rows[0].schema, rows[0].parent), a, rows[0].field);
}

static void
check_live(const JflowFlow *flow, const JflowExecutor *executor, const PqliteShardRow *rows, int nrows)
{
	for (int i = 0; i < nrows; i++)
		if (rows[i].state != SHARD_LIVE)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("rows of executor \"%s\" of flow \"%s\" are being moved between shards",
							executor->name, flow->name),
					 errhint("This is tried again before long.")));
}

/*
 * Look at all rows of a stand-in's store: a leaf that is known to have no rows of
 * another shard becomes another table's without being looked at.
 */
void
pqlite_prepare_exchange(const JflowFlow *flow, const JflowExecutor *executor)
{
	PqliteShardRow *rows;
	int			nrows;
	int			guc_level;

	if (pqlite_options_read(executor->uses_with)->table)
		return;
	pqlite_lock_store_name(flow->name, executor->name);
	nrows = pqlite_shards_read(flow->name, executor->name, &rows);
	check_live(flow, executor, rows, nrows);
	guc_level = NewGUCNestLevel();
	pqlite_set_owner_settings();
	SPI_connect();
	for (int i = 0; i < nrows; i++)
	{
		const char *leaf = quote_qualified_identifier(rows[i].schema, rows[i].table);

		pqlite_run(psprintf("ALTER TABLE %s ADD CONSTRAINT " CHECK_NAME " CHECK (shard = %d)", leaf, rows[i].shard));
	}
	SPI_finish();
	AtEOXact_GUC(false, guc_level);
}

/*
 * Let the vector column of a parent, which has no leaves, be like that of another: the
 * model may make other dimensions, and documents without an embedding be stored.
 */
static void
adapt_column(const char *name, Oid parent, Oid other, const char *field)
{
	HeapTuple	old = SearchSysCacheAttName(parent, field);
	HeapTuple	new = SearchSysCacheAttName(other, field);
	int32		typmod;
	bool		retype,
				relax;
	Oid			type;

	if (!HeapTupleIsValid(old) || !HeapTupleIsValid(new))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("table %s has no column \"%s\"", name, field)));
	type = ((Form_pg_attribute) GETSTRUCT(new))->atttypid;
	typmod = ((Form_pg_attribute) GETSTRUCT(new))->atttypmod;
	retype = ((Form_pg_attribute) GETSTRUCT(old))->atttypmod != typmod ||
		((Form_pg_attribute) GETSTRUCT(old))->atttypid != type;
	relax = ((Form_pg_attribute) GETSTRUCT(old))->attnotnull && !((Form_pg_attribute) GETSTRUCT(new))->attnotnull;
	ReleaseSysCache(old);
	ReleaseSysCache(new);
	if (relax)
		pqlite_run(psprintf("ALTER TABLE %s ALTER COLUMN %s DROP NOT NULL", name, quote_identifier(field)));
	if (retype)
		pqlite_run(psprintf("ALTER TABLE %s ALTER COLUMN %s TYPE %s USING NULL", name, quote_identifier(field),
							pqlite_quote_type(type, typmod)));
}

/* Give a leaf and its indexes the names that they would have had. */
static void
rename_leaf(const char *schema, const char *old, const char *new)
{
	Oid			relid = own_table(schema, old);
	Relation	rel = RelationIdGetRelation(relid);
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *lc;
	size_t		len = strlen(old);

	RelationClose(rel);
	if (strcmp(old, new) == 0)
		return;
	foreach(lc, indexes)
	{
		char	   *name = get_rel_name(lfirst_oid(lc));
		char	   *wanted = strncmp(name, old, len) == 0 ? psprintf("%s%s", new, name + len) : name;

		if (wanted == name || strlen(wanted) >= NAMEDATALEN ||
			OidIsValid(get_relname_relid(wanted, get_namespace_oid(schema, false))))
			continue;
		pqlite_run(psprintf("ALTER INDEX %s RENAME TO %s", quote_qualified_identifier(schema, name),
							quote_identifier(wanted)));
	}
	pqlite_run(psprintf("ALTER TABLE %s RENAME TO %s", quote_qualified_identifier(schema, old), quote_identifier(new)));
}

/*
 * Indexes ask for the codebook by name when they are made again: it gets the name
 * that the executor's codebook has.
 */
static void
exchange_codebook(const JflowFlow *flow, const JflowExecutor *executor, const char *schema, const char *table,
				  const char *old, const char *new)
{
	JflowCatalogState state;
	JflowParams params = {0};
	JflowParams where = {0};
	char	  **indexes;
	MemoryContext context = CurrentMemoryContext;
	uint64		n;

	jflow_param_text(&params, old);
	jflow_param_text(&params, new);
	jflow_param_text(&params, flow->owner);
	jflow_param(&where, OIDOID, ObjectIdGetDatum(own_table(schema, table)), false);
	jflow_param_text(&where, psprintf("codebook=%s", new));
	jflow_catalog_begin(&state);
	if (jflow_catalog_run("SELECT FROM jflow.codebook WHERE codebook = $2 AND owner = $3", &params) > 0)
	{
		(void) jflow_catalog_run("DELETE FROM jflow.codebook WHERE codebook = $1 AND owner = $3", &params);
		(void) jflow_catalog_run("UPDATE jflow.codebook SET codebook = $1 WHERE codebook = $2 AND owner = $3", &params);
	}
	n = jflow_catalog_run("SELECT n.nspname, c.relname FROM pg_catalog.pg_inherits h "
						  "JOIN pg_catalog.pg_index i ON i.indrelid = h.inhrelid "
						  "JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid "
						  "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
						  "WHERE h.inhparent = $1 AND $2 = ANY (c.reloptions)", &where);
	indexes = MemoryContextAlloc(context, sizeof(char *) * Max(n, 1));
	for (uint64 i = 0; i < n; i++)
		indexes[i] = MemoryContextStrdup(context, quote_qualified_identifier(jflow_catalog_value(i, 1),
																			 jflow_catalog_value(i, 2)));
	jflow_catalog_end(&state);
	CommandCounterIncrement();
	for (uint64 i = 0; i < n; i++)
		pqlite_run(psprintf("ALTER INDEX %s SET (codebook = %s)", indexes[i], quote_literal_cstr(old)));
}

/* The work of pqlite_exchange. */
static void
exchange(const JflowFlow *flow, const JflowExecutor *executor,
		 const JflowFlow *stand_in_flow, const JflowExecutor *stand_in)
{
	PqliteShardRow *old,
			   *new;
	int			nold,
				nnew;
	const char *parent,
			   *other,
			   *schema,
			   *table;

	pqlite_lock_store_name(flow->name, executor->name);
	nold = pqlite_shards_read(flow->name, executor->name, &old);
	nnew = pqlite_shards_read(stand_in_flow->name, stand_in->name, &new);
	if (nold == 0 && nnew == 0)
		return;
	check_live(flow, executor, old, nold);
	check_live(stand_in_flow, stand_in, new, nnew);
	if (nnew > 0 && executor->shards != nnew)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("executor \"%s\" has %d shards, and the one that stands in for it %d", executor->name,
						executor->shards, nnew),
				 errhint("Call jflow_scale for flow \"%s\", too.", stand_in_flow->name)));
	schema = nold > 0 ? old[0].schema : new[0].schema;
	table = nold > 0 ? old[0].parent : pqlite_table_name(flow->name, executor->name);
	parent = quote_qualified_identifier(schema, table);
	SPI_connect();
	if (nold > 0)
	{
		(void) own_table(schema, table);
		pqlite_run(psprintf("LOCK TABLE %s IN ACCESS EXCLUSIVE MODE", parent));
	}
	for (int i = 0; i < nold; i++)
		pqlite_run(psprintf("DROP TABLE %s", quote_qualified_identifier(old[i].schema, old[i].table)));
	pqlite_shards_remove(flow->name, executor->name);
	if (nnew == 0)
	{
		pqlite_run(psprintf("DROP TABLE %s", parent));
		SPI_finish();
		return;
	}

	other = quote_qualified_identifier(new[0].schema, new[0].parent);
	if (nold == 0)
		pqlite_run(psprintf("ALTER TABLE %s RENAME TO %s", other, quote_identifier(table)));
	else
		adapt_column(parent, own_table(schema, table), own_table(new[0].schema, new[0].parent), new[0].field);
	for (int i = 0; i < nnew; i++)
	{
		const char *leaf = quote_qualified_identifier(new[i].schema, new[i].table);
		const char *name = pqlite_leaf_name(table, new[i].shard);
		const char *renamed = quote_qualified_identifier(schema, name);

		if (nold > 0)
			pqlite_run(psprintf("ALTER TABLE %s DETACH PARTITION %s", other, leaf));
		if (strcmp(schema, new[i].schema) != 0)
			pqlite_run(psprintf("ALTER TABLE %s SET SCHEMA %s", leaf, quote_identifier(schema)));
		rename_leaf(schema, new[i].table, name);
		if (nold > 0)
			pqlite_run(psprintf("ALTER TABLE %s ATTACH PARTITION %s FOR VALUES IN (%d)", parent, renamed, new[i].shard));
		pqlite_run(psprintf("ALTER TABLE %s DROP CONSTRAINT IF EXISTS " CHECK_NAME, renamed));
		pqlite_shards_hand_over(stand_in_flow->name, stand_in->name, new[i].shard, flow->name, executor->name,
								schema, table, name);
	}
	if (nold > 0)
		pqlite_run(psprintf("DROP TABLE %s", other));
	CommandCounterIncrement();
	exchange_codebook(flow, executor, schema, table, pqlite_codebook_name(flow->name, executor->name),
					  pqlite_codebook_name(stand_in_flow->name, stand_in->name));
	SPI_finish();
}

/*
 * Give an executor what its stand-in has stored, and drop what it had.  The current
 * user owns both; locks the table against all others.  Indexes that the owner has
 * added to the parent are made for the new leaves, with his expressions.
 */
void
pqlite_exchange(const JflowFlow *flow, const JflowExecutor *executor,
				const JflowFlow *stand_in_flow, const JflowExecutor *stand_in)
{
	int			guc_level;

	if (pqlite_options_read(executor->uses_with)->table)
		return;
	guc_level = NewGUCNestLevel();
	pqlite_set_owner_settings();
	exchange(flow, executor, stand_in_flow, stand_in);
	AtEOXact_GUC(false, guc_level);
}
