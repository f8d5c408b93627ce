/*
 * pqlite_create.c
 *		Making, adopting, claiming and dropping the tables of stores.
 *
 * Tables are made with the rights of the flow's owner and belong to him; rows
 * of jflow.shard are written with those of the extension's owner.  All names
 * are quoted and schema-qualified.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_namespace.h"
#include "miscadmin.h"
#include "parser/parse_type.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/syscache.h"

#include "compat.h"
#include "executors/pqlite/pqlite.h"

/* The schema of stores without a workspace, once. */
#define OLD_WORKSPACE "jflow_data"

/*
 * Searches read the vectors of many rows and the texts of few: vectors of up to
 * so many dimensions stay in the row while texts are moved out of it.
 */
#define MAX_INLINE_DIM 1000

/* A column that our tables have. */
typedef struct NewColumn
{
	const char *name;
	Oid			type;
	int32		typmod;
	bool		not_null;
	bool		by_bytes;		/* strings are ordered by their bytes */
} NewColumn;

/* The columns of a table of ours, in the order they are made. */
static int
new_columns(const PqliteOptions *options, bool sparse, int dim, NewColumn **result)
{
	const JflowTypes *types = jflow_types();
	JflowDocAttr vector = sparse ? DOC_SPARSE_EMBEDDING : DOC_EMBEDDING;
	const NewColumn fixed[] = {
		{"shard", INT4OID, -1, true, false},
		{"id", TEXTOID, -1, true, true},
		{"text", TEXTOID, -1, false, false},
		{"blob", BYTEAOID, -1, false, false},
		{"uri", TEXTOID, -1, false, false},
		{"mime_type", TEXTOID, -1, false, false},
		{"tags", JSONBOID, -1, false, false},
		{jflow_doc_attr_name(vector), types->atttype[vector], dim, options->on_missing != MISSING_STORE, false},
		{"parent_id", TEXTOID, -1, false, false},
		{"granularity", INT2OID, -1, false, false},
		{"scores", JSONBOID, -1, false, false},
		{"weight", FLOAT4OID, -1, false, false}
	};
	NewColumn  *columns = palloc(sizeof(fixed) + sizeof(NewColumn) * options->ncolumns);
	int			n = lengthof(fixed);

	memcpy(columns, fixed, sizeof(fixed));
	for (int i = 0; i < options->ncolumns; i++)
	{
		NewColumn  *column = &columns[n++];

		column->name = options->column_names[i];
		pqlite_option_type(options, i, &column->type, &column->typmod);
		pqlite_check_filter_type(column->type);
		column->not_null = false;
		column->by_bytes = column->type == TEXTOID || column->type == VARCHAROID;
	}
	*result = columns;
	return n;
}

static char *
column_list(const NewColumn *columns, int n)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < n; i++)
		appendStringInfo(&sql, "%s%s %s%s%s", i > 0 ? ", " : "", quote_identifier(columns[i].name),
						 pqlite_quote_type(columns[i].type, columns[i].typmod),
						 columns[i].by_bytes ? " COLLATE pg_catalog.\"C\"" : "",
						 columns[i].not_null ? " NOT NULL" : "");
	return sql.data;
}

/* Raise duplicate_table for a table that is in the way. */
static void JFLOW_NORETURN
occupied(const char *name, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_TABLE),
			 errmsg("table %s already exists", name),
			 errdetail("%s", detail),
			 errhint("Use another workspace or executor name, or make the table the store with the option \"table\".")));
}

static bool
is_vector(const char *name)
{
	int			attr = jflow_doc_attr_by_name(name);

	return attr == DOC_EMBEDDING || attr == DOC_SPARSE_EMBEDDING;
}

/* Does a table have exactly these columns? */
static bool
same_columns(Relation rel, const NewColumn *columns, int n)
{
	TupleDesc	desc = RelationGetDescr(rel);

	if (desc->natts != n)
		return false;
	for (int i = 0; i < n; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped || strcmp(NameStr(att->attname), columns[i].name) != 0 ||
			att->atttypid != columns[i].type || att->atttypmod != columns[i].typmod)
			return false;

		/*
		 * whether there must be an embedding is for documents to be checked
		 * by
		 */
		if (att->attnotnull != columns[i].not_null && !is_vector(columns[i].name))
			return false;
	}
	return true;
}

static void JFLOW_NORETURN
not_as_made(Relation rel, char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("table %s cannot be filled anew, since it is not as it was made",
					pqlite_relation_name(RelationGetRelid(rel))),
			 errdetail_internal("%s", detail),
			 errhint("Undo the change, or make a second flow with a sync of its own, and drop the first when the second has caught up.")));
}

/* Raise feature_not_supported unless a column is one that we have made, as it was then. */
static void
check_column(Relation rel, Form_pg_attribute att, const NewColumn *columns, int ncolumns)
{
	const char *name = NameStr(att->attname);
	const NewColumn *made = NULL;
	Oid			collation;

	for (int i = 0; i < ncolumns && made == NULL; i++)
		if (strcmp(columns[i].name, name) == 0)
			made = &columns[i];
	if (made == NULL)
		not_as_made(rel, psprintf("Column \"%s\" was added, whose values would be lost.", name));
	collation = made->by_bytes ? C_COLLATION_OID : get_typcollation(made->type);
	if (att->atttypid != made->type || att->attcollation != collation ||
		(!is_vector(name) && (att->atttypmod != made->typmod || att->attnotnull != made->not_null)))
		not_as_made(rel, psprintf("Column \"%s\" was changed.", name));
}

/*
 * Leaves of another table that was made by the same options become an own one's: raise
 * feature_not_supported if that would fail, since its columns or constraints were
 * changed.  "field" is its vector column.
 */
void
pqlite_check_as_made(Oid relid, const PqliteOptions *options, const char *field)
{
	bool		sparse = strcmp(field, jflow_doc_attr_name(DOC_SPARSE_EMBEDDING)) == 0;
	NewColumn  *columns;
	int			ncolumns = new_columns(options, sparse, -1, &columns);
	Relation	rel = table_open(relid, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < ncolumns; i++)
		if (get_attnum(relid, columns[i].name) == InvalidAttrNumber)
			not_as_made(rel, psprintf("Column \"%s\" is gone.", columns[i].name));
	for (int i = 0; i < desc->natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped)
			check_column(rel, TupleDescAttr(desc, i), columns, ncolumns);
	if (desc->constr && desc->constr->num_check > 0)
		not_as_made(rel, psprintf("Constraint \"%s\" was added.", desc->constr->check[0].ccname));
	table_close(rel, AccessShareLock);
}

/*
 * Why a table cannot be taken for an executor's own, which it is if it is the
 * owner's and made like ours; NULL if it can.
 */
static const char *
why_not_ours(Oid relid, const NewColumn *columns, int ncolumns)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Form_pg_class form;
	Relation	rel;
	PartitionKey key;
	Oid			owner;
	bool		ours;

	if (!HeapTupleIsValid(tuple))
		return "It was dropped meanwhile.";
	form = (Form_pg_class) GETSTRUCT(tuple);
	owner = form->relowner;
	ours = form->relkind == RELKIND_PARTITIONED_TABLE;
	ReleaseSysCache(tuple);
	if (owner != GetUserId())
		return psprintf("It belongs to \"%s\".", GetUserNameFromId(owner, false));
	if (ours)
	{
		rel = table_open(relid, ShareUpdateExclusiveLock);
		key = RelationGetPartitionKey(rel);
		ours = key->strategy == PARTITION_STRATEGY_LIST && key->partnatts == 1 &&
			key->partattrs[0] != 0 &&
			strcmp(NameStr(TupleDescAttr(RelationGetDescr(rel), key->partattrs[0] - 1)->attname),
				   "shard") == 0 &&
			same_columns(rel, columns, ncolumns);
		table_close(rel, NoLock);
	}
	return ours ? NULL : "It was not made for this executor's options.";
}

/*
 * Leaves that a store's table has already.
 */
static int
existing_leaves(Oid relid, int **shards, Oid **relids)
{
	Relation	rel = table_open(relid, ShareUpdateExclusiveLock);
	int			n = pqlite_own_leaves(rel, shards, relids);

	table_close(rel, NoLock);
	return n;
}

/*
 * Make a leaf.  It is made beside the table and then attached, which lets
 * readers and writers of the other leaves go on.
 */
static char *
make_leaf(const char *schema, const char *table, int shard)
{
	char	   *name = pqlite_leaf_name(table, shard);
	const char *parent = quote_qualified_identifier(schema, table);
	const char *leaf = quote_qualified_identifier(schema, name);

	pqlite_run(psprintf("CREATE TABLE %s (LIKE %s INCLUDING ALL EXCLUDING INDEXES, PRIMARY KEY (id))",
						leaf, parent));
	pqlite_run(psprintf("ALTER TABLE %s ATTACH PARTITION %s FOR VALUES IN (%d)", parent, leaf, shard));
	return name;
}

/*
 * A table of an executor that was made when tables had the executor's name alone,
 * in one schema of all roles, and that nobody uses; InvalidOid if there is none.
 */
static Oid
old_table(const JflowContext *context, const NewColumn *columns, int ncolumns, const char **schema)
{
	const char *executor = context->executor->name;
	Oid			namespace;
	Oid			relid;
	char	   *flow,
			   *user;

	*schema = context->executor->workspace ? context->executor->workspace : OLD_WORKSPACE;
	namespace = get_namespace_oid(*schema, true);
	if (!OidIsValid(namespace) ||
		jflow_namespace_aclcheck_compat(namespace, GetUserId(), ACL_USAGE) != ACLCHECK_OK)
		return InvalidOid;
	relid = get_relname_relid(executor, namespace);
	if (!OidIsValid(relid) || why_not_ours(relid, columns, ncolumns) != NULL ||
		pqlite_shards_other_user(*schema, executor, context->flow->name, executor, &flow, &user))
		return InvalidOid;
	return relid;
}

/* Make the table, in a schema that is there. */
static Oid
make_table(const char *schema, const char *table, const NewColumn *columns, int ncolumns,
		   const char *field, bool move_out)
{
	char	   *name = quote_qualified_identifier(schema, table);

	pqlite_run(psprintf("CREATE TABLE %s (%s) PARTITION BY LIST (shard)", name,
						column_list(columns, ncolumns)));
	if (move_out)
		pqlite_run(psprintf("ALTER TABLE %s ALTER COLUMN %s SET STORAGE MAIN", name, field));
	return get_relname_relid(table, get_namespace_oid(schema, false));
}

/*
 * The table of an executor: made, or found where it was before.  Fills in schema
 * and name.  Raises duplicate_table for one in the way.
 */
static Oid
make_or_find(const JflowContext *context, const NewColumn *columns, int ncolumns,
			 const char *field, bool move_out, const char **schema, const char **table)
{
	bool		is_default = context->executor->workspace == NULL;
	Oid			relid;
	const char *why;
	const char *old_schema;

	relid = old_table(context, columns, ncolumns, &old_schema);
	pqlite_prepare_schema(*schema, is_default);
	if (OidIsValid(get_relname_relid(*table, get_namespace_oid(*schema, false))))
	{
		relid = get_relname_relid(*table, get_namespace_oid(*schema, false));
		why = why_not_ours(relid, columns, ncolumns);
		if (why)
			occupied(quote_qualified_identifier(*schema, *table), why);
		return relid;
	}
	if (!OidIsValid(relid))
		return make_table(*schema, *table, columns, ncolumns, field, move_out);
	*schema = old_schema;
	*table = context->executor->name;
	return relid;
}

/*
 * Make the table of an executor for embeddings of so many dimensions, or adopt one
 * that it had before.  The caller holds the lock on the store's name.
 */
void
pqlite_create(const JflowContext *context, const PqliteOptions *options, bool sparse, int dim)
{
	const char *flow = context->flow->name;
	const char *executor = context->executor->name;
	NewColumn  *columns;
	int			ncolumns = new_columns(options, sparse, dim, &columns);
	const char *field = sparse ? "sparse_embedding" : "embedding";
	int			wanted = context->executor->shards;
	const char *schema,
			   *table;
	Oid			relid;
	int		   *shards;
	Oid		   *relids;
	int			nleaves;

	if (!sparse && dim > 16000)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("an embedding cannot have %d dimensions", dim),
				 errhint("Store a sparse_embedding.")));
	pqlite_locate(context, &schema, &table);
	pqlite_check_not_used(schema, table, flow, executor, true);

	SPI_connect();
	relid = make_or_find(context, columns, ncolumns, field, sparse || dim <= MAX_INLINE_DIM, &schema, &table);
	pqlite_shards_forget_users(schema, table);
	nleaves = existing_leaves(relid, &shards, &relids);
	for (int shard = 0; shard < wanted; shard++)
	{
		bool		found = false;

		for (int i = 0; i < nleaves; i++)
			found |= shards[i] == shard;
		if (!found)
			(void) make_leaf(schema, table, shard);
	}
	CommandCounterIncrement();
	nleaves = existing_leaves(relid, &shards, &relids);
	for (int i = 0; i < nleaves; i++)
	{
		PqliteShardRow row = {
			.shard = shards[i],.schema = schema,.parent = table,.table = get_rel_name(relids[i]),
			.field = field,.metric = pqlite_metric_name(options->metric),
			.state = nleaves > wanted ? SHARD_MOVING : SHARD_LIVE
		};

		pqlite_shards_add(flow, executor, &row);
	}
	SPI_finish();
}

/* A row of jflow.shard for a leaf of a store. */
static PqliteShardRow
row_of_leaf(const PqliteStore *store, int shard, const char *schema, const char *table,
			PqliteShardState state)
{
	PqliteShardRow row = {
		.shard = shard,.schema = schema,.parent = store->table,.table = table,
		.field = store->sparse ? "sparse_embedding" : "embedding",
		.metric = pqlite_metric_name(store->options->metric),.state = state
	};

	return row;
}

/*
 * Make the leaves that a store lacks for a number of shards.  Where the others have
 * indexes, a mover is to make theirs, or without one whoever writes next does.
 */
void
pqlite_add_leaves(const PqliteStore *store, int shards, bool has_mover)
{
	for (int shard = 0; shard < shards; shard++)
	{
		bool		found = false;
		PqliteShardRow row;

		for (int i = 0; i < store->nleaves; i++)
			found |= store->leaves[i].shard == shard;
		if (found)
			continue;
		SPI_connect();
		(void) make_leaf(store->schema, store->table, shard);
		SPI_finish();
		row = row_of_leaf(store, shard, store->schema, pqlite_leaf_name(store->table, shard), SHARD_MOVING);
		pqlite_shards_add(store->flow, store->executor, &row);
		if (has_mover && store->trained_pages > 0)
			pqlite_shards_due(store->flow, store->executor, shard);
	}
}

/*
 * Make a user's table the store of an executor, unless it is another's.  The
 * caller has checked that the current user may write to it.  Who stands in for
 * another leaves the table to that one.
 */
void
pqlite_claim_table(PqliteStore *store)
{
	PqliteShardRow *rows;
	int			nrows = pqlite_shards_read(store->flow, store->executor, &rows);

	if (nrows == store->nleaves && strcmp(rows[0].schema, store->schema) == 0 &&
		strcmp(rows[0].parent, store->table) == 0)
	{
		store->claimed = true;
		return;
	}
	pqlite_lock_store_name(store->flow, store->executor);
	pqlite_check_not_used(store->schema, store->table, store->flow, store->executor, false);
	if (jflow_flow_open(store->flow, false)->rights.stands_for)
	{
		store->claimed = true;
		return;
	}
	pqlite_shards_forget_users(store->schema, store->table);
	pqlite_shards_remove(store->flow, store->executor);
	for (int i = 0; i < store->nleaves; i++)
	{
		Oid			relid = store->leaves[i].relid;
		PqliteShardRow row = row_of_leaf(store, store->leaves[i].shard,
										 get_namespace_name(get_rel_namespace(relid)),
										 get_rel_name(relid), SHARD_LIVE);

		pqlite_shards_add(store->flow, store->executor, &row);
	}
	store->claimed = true;
}

/* Whoever drops a flow drops no table by its name that is not its owner's. */
static void
check_dropped(const JflowFlow *flow, const char *schema, const char *table)
{
	Oid			namespace = get_namespace_oid(schema, true);
	Oid			relid = OidIsValid(namespace) ? get_relname_relid(table, namespace) : InvalidOid;
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		return;
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	if (owner != jflow_role_of(&flow->rights.owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("table %s belongs to role \"%s\", not to the owner of flow \"%s\"",
						quote_qualified_identifier(schema, table),
						GetUserNameFromId(owner, false), flow->name),
				 errhint("Drop the flow without its data, and the table by itself.")));
}

/* Delete the codebook that the leaves of a flow's executor shared. */
static void
delete_codebook(const JflowFlow *flow, const char *executor)
{
	Oid			types[2] = {TEXTOID, TEXTOID};
	Datum		values[2];
	JflowCatalogState state;

	values[0] = CStringGetTextDatum(pqlite_codebook_name(flow->name, executor));
	values[1] = CStringGetTextDatum(flow->owner);
	jflow_catalog_begin(&state);
	(void) jflow_catalog_execute("DELETE FROM jflow.codebook WHERE codebook = $1 AND owner = $2",
								 2, types, values, NULL);
	jflow_catalog_end(&state);
}

/*
 * Drop the tables that we made for a flow, and their codebooks.  Rows of
 * jflow.shard go with the flow.
 */
void
pqlite_drop_data(const JflowFlow *flow)
{
	for (int i = 0; i < flow->nexecutors; i++)
	{
		const JflowExecutor *executor = &flow->executors[i];
		PqliteShardRow *rows;
		const char *name;

		if (!jflow_executor_is(executor, PQLITE_CLASS) ||
			pqlite_options_read(executor->uses_with)->table ||
			pqlite_shards_read(flow->name, executor->name, &rows) == 0)
			continue;
		name = quote_qualified_identifier(rows[0].schema, rows[0].parent);
		check_dropped(flow, rows[0].schema, rows[0].parent);
		SPI_connect();
		pqlite_run(psprintf("DROP TABLE IF EXISTS %s", name));
		SPI_finish();
		delete_codebook(flow, executor->name);
	}
}
