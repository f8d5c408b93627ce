/*
 * pqlite_layout.c
 *		Where a store's documents are: its table, leaves and columns, as
 *		jflow.shard and the server's catalogs have them.
 *
 * Everything that can be wrong with the table is found here, before a request
 * touches it.  Leaves are found by partition bound, never by name.
 */
#include "postgres.h"

#include <ctype.h>

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_type.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/regproc.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "compat.h"
#include "executors/pqlite/pqlite.h"
#include "vectors.h"

/* Columns of jflow.shard, in the order of its definition. */
enum
{
	Anum_shard_flow = 1,
	Anum_shard_executor,
	Anum_shard_shard,
	Anum_shard_schema,
	Anum_shard_parent,
	Anum_shard_table,
	Anum_shard_field,
	Anum_shard_metric,
	Anum_shard_state,
	Anum_shard_position,
	Anum_shard_moved,
	Anum_shard_trained,
	Anum_shard_due
};

Oid			pqlite_shard_relid = InvalidOid;

static char *
text_value(HeapTuple tuple, int attnum, TupleDesc desc)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, attnum, desc, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

static int
shard_row_order(const void *a, const void *b)
{
	return ((const PqliteShardRow *) a)->shard - ((const PqliteShardRow *) b)->shard;
}

/*
 * The rows of jflow.shard of an executor, by number, in the current memory
 * context.  Read under the newest snapshot, like all of the catalog.
 */
int
pqlite_read_shards(const char *flow, const char *executor, PqliteShardRow **rows)
{
	Relation	rel;
	TupleDesc	desc;
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	int			n = 0,
				allocated = 8;

	pqlite_shard_relid = jflow_catalog_relid("shard");
	*rows = palloc(sizeof(PqliteShardRow) * allocated);
	rel = table_open(pqlite_shard_relid, AccessShareLock);
	desc = RelationGetDescr(rel);
	ScanKeyInit(&keys[0], Anum_shard_flow, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(flow));
	ScanKeyInit(&keys[1], Anum_shard_executor, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(executor));
	scan = systable_beginscan(rel, RelationGetPrimaryKeyIndexCompat(rel), true, NULL, 2, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		PqliteShardRow *row;
		bool		isnull;
		Datum		moved,
					trained;

		if (n == allocated)
			*rows = repalloc(*rows, sizeof(PqliteShardRow) * (allocated *= 2));
		row = &(*rows)[n++];
		row->shard = DatumGetInt32(heap_getattr(tuple, Anum_shard_shard, desc, &isnull));
		row->schema = text_value(tuple, Anum_shard_schema, desc);
		row->parent = text_value(tuple, Anum_shard_parent, desc);
		row->table = text_value(tuple, Anum_shard_table, desc);
		row->field = text_value(tuple, Anum_shard_field, desc);
		row->metric = text_value(tuple, Anum_shard_metric, desc);
		row->state = text_value(tuple, Anum_shard_state, desc);
		row->position = text_value(tuple, Anum_shard_position, desc);
		moved = heap_getattr(tuple, Anum_shard_moved, desc, &isnull);
		row->moved = isnull ? 0 : DatumGetInt64(moved);
		trained = heap_getattr(tuple, Anum_shard_trained, desc, &isnull);
		row->trained = isnull ? 0 : DatumGetInt64(trained);
		row->due = DatumGetBool(heap_getattr(tuple, Anum_shard_due, desc, &isnull));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	qsort(*rows, n, sizeof(PqliteShardRow), shard_row_order);
	return n;
}

/* Fill in how a column's values are sent to statements. */
static void
set_sent_type(PqliteColumn *column, Oid type)
{
	column->sent_type = type;
	column->sent_type_hash = GetSysCacheHashValue1(TYPEOID, ObjectIdGetDatum(type));
	column->array_type = get_array_type(type);
	get_typlenbyvalalign(type, &column->sent_len, &column->sent_byval, &column->sent_align);
}

static PqliteColumn *
add_column(PqliteStore *store, const FormData_pg_attribute *att, int attr)
{
	PqliteColumn *column = &store->columns[store->ncolumns++];

	column->name = pstrdup(NameStr(att->attname));
	column->quoted = pstrdup(quote_identifier(column->name));
	column->attr = attr;
	column->type = att->atttypid;
	column->typmod = att->atttypmod;
	column->type_hash = GetSysCacheHashValue1(TYPEOID, ObjectIdGetDatum(column->type));
	column->generated = att->attgenerated != '\0' || att->attidentity == ATTRIBUTE_IDENTITY_ALWAYS;
	column->not_null = att->attnotnull;
	set_sent_type(column, getBaseType(att->atttypid));
	return column;
}

/* The operator by which ids are equal, as the index on them takes it. */
static char *
equality_of(Oid type)
{
	Oid			operator = lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr;
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(operator));
	Form_pg_operator form;
	char	   *result;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("could not identify an equality operator for type %s", format_type_be(type))));
	form = (Form_pg_operator) GETSTRUCT(tuple);
	result = psprintf("OPERATOR(%s.%s)", quote_identifier(get_namespace_name(form->oprnamespace)),
					  NameStr(form->oprname));
	ReleaseSysCache(tuple);
	return result;
}

/*
 * The column of ids.  Which of them are equal is for its type and collation to
 * say: of an integer 1 and 01 are.
 */
static void
set_id_column(PqliteStore *store, Oid collation)
{
	PqliteColumn *column = &store->columns[store->ncolumns - 1];
	TypeCacheEntry *type = lookup_type_cache(column->sent_type,
											 TYPECACHE_CMP_PROC_FINFO | TYPECACHE_HASH_EXTENDED_PROC_FINFO);
	bool		bytes = (column->sent_type == TEXTOID || column->sent_type == VARCHAROID) &&
		get_collation_isdeterministic(collation);

	store->id = store->ncolumns - 1;
	store->same_id = equality_of(column->sent_type);
	store->id_collation = collation;
	if (!bytes && OidIsValid(type->cmp_proc_finfo.fn_oid) && OidIsValid(type->hash_extended_proc_finfo.fn_oid))
		store->id_type = type;
}

/* The schema of a type, which is that of its operators. */
static Oid
type_namespace(Oid type)
{
	HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	Oid			namespace;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for type %u", type);
	namespace = ((Form_pg_type) GETSTRUCT(tuple))->typnamespace;
	ReleaseSysCache(tuple);
	return namespace;
}

/* The column of embeddings: what documents give for it, and its operators. */
static void
set_vector_column(PqliteStore *store)
{
	static const char *const operators[] = {"<=>", "<->", "<#>"};
	PqliteColumn *column = &store->columns[store->ncolumns - 1];
	const JflowTypes *types = jflow_types();
	Oid			namespace = type_namespace(types->atttype[DOC_EMBEDDING]);

	store->vector = store->ncolumns - 1;
	store->sparse = column->type == types->atttype[DOC_SPARSE_EMBEDDING];
	if (!store->sparse && column->type != types->atttype[DOC_EMBEDDING] &&
		column->type != jflow_vector_types()->halfvec)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of table %s has type %s", column->name, store->name,
						format_type_be(column->type)),
				 errdetail("Embeddings are of type vector, halfvec or sparsevec.")));
	column->attr = store->sparse ? DOC_SPARSE_EMBEDDING : DOC_EMBEDDING;
	set_sent_type(column, types->atttype[column->attr]);
	store->dim = column->typmod > 0 ? column->typmod : 0;
	store->query_type = pqlite_quote_type(column->type, -1);
	store->distance = psprintf("OPERATOR(%s.%s)",
							   quote_identifier(get_namespace_name(namespace)),
							   operators[store->options->metric]);
}

/* The number of a name among the columns that options ask for, or -1. */
static int
option_column(const PqliteOptions *options, const char *name)
{
	for (int i = 0; i < options->ncolumns; i++)
		if (strcmp(options->column_names[i], name) == 0)
			return i;
	return -1;
}

/* A typed column has the type that the options say. */
static void
check_column_type(const PqliteStore *store, const PqliteColumn *column, const char *type_name)
{
	Oid			type;
	int32		typmod;

	parseTypeStringCompat(type_name, &type, &typmod);
	if (type != column->type || typmod != column->typmod)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of table %s has type %s, not %s", column->name, store->name,
						format_type_with_typemod(column->type, column->typmod), type_name),
				 errhint("Change the column's type, or the option \"columns\" of the %s.", store->what)));
}

/* Is this attribute of the table a filter column? */
static void
add_typed_column(PqliteStore *store, const FormData_pg_attribute *att)
{
	const PqliteOptions *options = store->options;
	int			n = option_column(options, NameStr(att->attname));
	PqliteKind	kind;
	PqliteColumn *column;

	/* of an existing table all that can be are, if none are named */
	if (n < 0 && (store->own || options->ncolumns > 0 || att->attgenerated))
		return;
	if (!pqlite_kind_of_type(att->atttypid, &kind))
	{
		if (n >= 0)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("type %s cannot be that of a filter column",
							format_type_be(att->atttypid))));
		return;
	}
	column = add_column(store, att, -1);
	column->kind = kind;
	if (n >= 0)
		check_column_type(store, column, options->column_types[n]);
}

static void JFLOW_NORETURN
missing_column(const PqliteStore *store, const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("column \"%s\" of table %s does not exist", name, store->name),
			 errdetail("The %s stores documents there.", store->what)));
}

/* A user's column can hold the attribute that the options put there. */
static void
check_attribute_type(const PqliteStore *store, const PqliteColumn *column)
{
	Oid			type = column->sent_type;
	bool		good = true;

	if (column->attr == DOC_TEXT || column->attr == DOC_URI)
		good = type == TEXTOID || type == VARCHAROID;
	else if (column->attr == DOC_TAGS)
		good = type == JSONBOID;
	if (!good)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of table %s has type %s", column->name, store->name,
						format_type_be(column->type)),
				 errdetail("It cannot hold the %s of documents.", jflow_doc_attr_name(column->attr))));
}

/* What the columns of the table are for. */
static void
read_columns(PqliteStore *store, TupleDesc desc)
{
	const PqliteOptions *options = store->options;

	store->columns = palloc0(sizeof(PqliteColumn) * Max(desc->natts, 1));
	store->id = store->vector = -1;
	for (int i = 0; i < desc->natts; i++)
	{
		const FormData_pg_attribute *att = TupleDescAttr(desc, i);
		const char *name = NameStr(att->attname);
		int			attr;

		if (att->attisdropped)
			continue;
		if (store->own)
			attr = jflow_doc_attr_by_name(name);
		else if (strcmp(name, options->id) == 0)
			attr = DOC_ID;
		else if (strcmp(name, options->field) == 0)
			attr = DOC_EMBEDDING;
		else if (options->text &&strcmp(name, options->text) == 0)
			attr = DOC_TEXT;
		else if (options->uri && strcmp(name, options->uri) == 0)
			attr = DOC_URI;
		else if (options->tags && strcmp(name, options->tags) == 0)
			attr = DOC_TAGS;
		else
			attr = -1;

		if (attr < 0)
		{
			if (!store->own || strcmp(name, "shard") != 0)
				add_typed_column(store, att);
			continue;
		}
		check_attribute_type(store, add_column(store, att, attr));
		if (attr == DOC_ID)
			set_id_column(store, att->attcollation);
		else if (attr == DOC_EMBEDDING || attr == DOC_SPARSE_EMBEDDING)
			set_vector_column(store);
	}

	for (int i = 0; i < options->ncolumns; i++)
		if (pqlite_column_by_name(store, options->column_names[i]) == NULL)
			missing_column(store, options->column_names[i]);
	if (store->id < 0)
		missing_column(store, store->own ? "id" : options->id);
	if (store->vector < 0)
		missing_column(store, store->own ? "embedding" : options->field);
	if (options->text &&pqlite_column_by_attr(store, DOC_TEXT) == NULL)
		missing_column(store, options->text);
	if (options->uri && pqlite_column_by_attr(store, DOC_URI) == NULL)
		missing_column(store, options->uri);
	if (options->tags && pqlite_column_by_attr(store, DOC_TAGS) == NULL)
		missing_column(store, options->tags);
}

/* Is this the name of an index that we have made? */
static bool
is_made_name(const char *name)
{
	static const char suffix[] = "_" PQLITE_INDEX_NAME2 "_" PQLITE_INDEX_LABEL;
	int			len = strlen(name);

	while (len > 0 && isdigit((unsigned char) name[len - 1]))
		len--;
	return len >= strlen(suffix) &&
		memcmp(name + len - strlen(suffix), suffix, strlen(suffix)) == 0;
}

/* The pq indexes of a leaf that can be scanned: one, and the one that we made. */
static void
find_pq_indexes(PqliteLeaf *leaf)
{
	Oid			am = get_am_oid("pq", true);
	Relation	rel;
	ListCell   *lc;

	if (!OidIsValid(am) || get_rel_relkind(leaf->relid) != RELKIND_RELATION)
		return;
	rel = table_open(leaf->relid, AccessShareLock);
	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		if (index->rd_rel->relam == am && index->rd_index->indisvalid)
		{
			leaf->index = RelationGetRelid(index);
			if (is_made_name(RelationGetRelationName(index)))
				leaf->made = leaf->index;
		}
		index_close(index, AccessShareLock);
	}
	table_close(rel, AccessShareLock);
}

/* The leaf that holds a shard, by partition bound; NULL if there is none. */
static PqliteLeaf *
leaf_of_shard(PqliteStore *store, int shard)
{
	for (int i = 0; i < store->nleaves; i++)
		if (store->leaves[i].shard == shard)
			return &store->leaves[i];
	return NULL;
}

static int
leaf_order(const void *a, const void *b)
{
	return ((const PqliteLeaf *) a)->shard - ((const PqliteLeaf *) b)->shard;
}

/*
 * A table that we made belongs to the flow's owner, whom we run as, or to the
 * superuser who restored it.  Anybody else's has come under the executor's name
 * with a flow that was there before, and its triggers would run as the owner.
 */
static void
check_owner(const PqliteStore *store, Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		return;					/* dropped meanwhile */
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	if (owner != GetUserId() && !superuser_arg(owner))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table %s of the %s belongs to role \"%s\"", pqlite_relation_name(relid), store->what,
						GetUserNameFromId(owner, false)),
				 errhint("Give it to the flow's owner with ALTER TABLE ... OWNER TO, or drop the flow and make it again.")));
}

/*
 * What is asked of a table before it is locked, by the name under which it was
 * looked up.  "arg" is the store.
 */
static void
check_before_lock(const RangeVar *name, Oid relid, Oid old_relid, void *arg)
{
	const PqliteStore *store = arg;

	if (!OidIsValid(relid))
		return;
	if (store->own)
		check_owner(store, relid);
	pqlite_check_may_lock(relid);
}

/*
 * Leaves of a partitioned table.  Of our own, a leaf's number is its bound;
 * of a user's table, its place in the order of bounds.
 */
static void
read_leaves(PqliteStore *store, Relation rel)
{
	PartitionKey key = RelationGetPartitionKey(rel);
	PartitionDesc partdesc = RelationGetPartitionDesc(rel, true);

	if (key->strategy != PARTITION_STRATEGY_LIST)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("table %s is not partitioned by list", store->name)));
	store->leaves = palloc0(sizeof(PqliteLeaf) * Max(partdesc->nparts, 1));
	if (!store->own)
	{
		for (int i = 0; i < partdesc->nparts; i++)
		{
			store->leaves[i].shard = i;
			store->leaves[i].relid = partdesc->oids[i];
		}
		store->nleaves = partdesc->nparts;
	}
	else if (partdesc->boundinfo)
	{
		PartitionBoundInfo bounds = partdesc->boundinfo;

		for (int i = 0; i < bounds->ndatums; i++)
		{
			if (bounds->indexes[i] < 0)
				continue;
			store->leaves[store->nleaves].shard = DatumGetInt32(bounds->datums[i][0]);
			check_owner(store, partdesc->oids[bounds->indexes[i]]);
			store->leaves[store->nleaves++].relid = partdesc->oids[bounds->indexes[i]];
		}
		qsort(store->leaves, store->nleaves, sizeof(PqliteLeaf), leaf_order);
	}
	for (int i = 0; i < store->nleaves; i++)
	{
		PqliteLeaf *leaf = &store->leaves[i];

		leaf->name = pqlite_relation_name(leaf->relid);
		find_pq_indexes(leaf);
		leaf->wanted = leaf->shard < store->shards;
		store->nwanted += leaf->wanted;
	}
}

/* The table is what jflow.shard says. */
static void
check_shards(PqliteStore *store, const PqliteShardRow *rows, int nrows)
{
	const PqliteOptions *options = store->options;

	for (int i = 0; i < nrows; i++)
	{
		PqliteLeaf *leaf = leaf_of_shard(store, rows[i].shard);

		if (leaf == NULL || get_rel_relkind(leaf->relid) != RELKIND_RELATION)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("shard %d of the %s has no partition", rows[i].shard, store->what),
					 errdetail("Table %s was a partition of %s.",
							   quote_qualified_identifier(rows[i].schema, rows[i].table), store->name),
					 errhint("Attach it again with ALTER TABLE %s ATTACH PARTITION ... FOR VALUES IN (%d).",
							 store->name, rows[i].shard)));
		if (strcmp(rows[i].metric, pqlite_metric_name(options->metric)) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("metric of the %s is \"%s\", but its documents were indexed under \"%s\"",
							store->what, pqlite_metric_name(options->metric), rows[i].metric),
					 errhint("Set the option back, or use another executor or workspace.")));
		if (options->field && strcmp(rows[i].field, options->field) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("field of the %s is \"%s\", but it has stored \"%s\"",
							store->what, options->field, rows[i].field),
					 errhint("Set the option back, or use another executor or workspace.")));
		store->trained = Max(store->trained, rows[i].trained);
		store->moving |= strcmp(rows[i].state, "live") != 0;
		store->due |= rows[i].due;
	}
	if (options->dim && options->dim != store->dim)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("option \"dim\" of the %s is %d, but its documents have %d dimensions",
						store->what, options->dim, store->dim),
				 errhint("Set the option back, or use another executor or workspace.")));
}

/* Our own table.  False if nothing was stored yet. */
static bool
read_own_store(PqliteStore *store)
{
	PqliteShardRow *rows;
	int			nrows = pqlite_read_shards(store->flow, store->executor, &rows);
	Relation	rel;

	if (nrows == 0)
		return false;
	store->own = true;
	store->partitioned = true;
	store->schema = rows[0].schema;
	store->table = rows[0].parent;
	store->name = quote_qualified_identifier(store->schema, store->table);
	store->relid = RangeVarGetRelidExtended(makeRangeVar(store->schema, store->table, -1), AccessShareLock,
											RVR_MISSING_OK, check_before_lock, store);

	/* What we waited for may have dropped the store, or changed its leaves. */
	nrows = pqlite_read_shards(store->flow, store->executor, &rows);
	if (nrows == 0)
		return false;
	if (!OidIsValid(store->relid) || get_rel_relkind(store->relid) != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table %s of the %s does not exist", store->name, store->what),
				 errhint("Restore it, or remove the executor with jflow_remove and add it again.")));

	rel = table_open(store->relid, NoLock);
	read_columns(store, RelationGetDescr(rel));
	read_leaves(store, rel);
	check_shards(store, rows, nrows);
	table_close(rel, NoLock);
	return true;
}

/* A user's table, which exists or is an error. */
static void
read_existing_store(PqliteStore *store)
{
	const PqliteOptions *options = store->options;
	List	   *names = stringToQualifiedNameListCompat(options->table);
	Relation	rel;

	store->relid = RangeVarGetRelidExtended(makeRangeVarFromNameList(names), AccessShareLock, 0,
											check_before_lock, store);
	store->schema = get_namespace_name(get_rel_namespace(store->relid));
	store->table = get_rel_name(store->relid);
	store->name = quote_qualified_identifier(store->schema, store->table);
	rel = table_open(store->relid, NoLock);
	if (rel->rd_rel->relkind != RELKIND_RELATION &&
		rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("%s is not a table", store->name),
				 errhint("Documents are stored in a plain table, or in one partitioned by list.")));
	store->partitioned = rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
	read_columns(store, RelationGetDescr(rel));
	if (store->partitioned && store->shards > 1)
		read_leaves(store, rel);
	else
	{
		store->leaves = palloc0(sizeof(PqliteLeaf));
		store->leaves[0].relid = store->relid;
		store->leaves[0].name = store->name;
		find_pq_indexes(&store->leaves[0]);
		store->leaves[0].wanted = true;
		store->nleaves = store->nwanted = 1;
	}
	table_close(rel, NoLock);
	if (store->nleaves != store->shards)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the %s has %d shards, but table %s has %d", store->what,
						store->shards, store->name, store->nleaves),
				 errhint("The partitions of a table are its shards; with shards => 1 it is searched as a whole.")));
	if (options->dim && store->dim && options->dim != store->dim)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("option \"dim\" of the %s is %d, but column \"%s\" of table %s has %d dimensions",
						store->what, options->dim, options->field, store->name, store->dim)));
	if (store->dim == 0)
		store->dim = options->dim;
}

/*
 * Fill in a store whose definition is known.  False if nothing was stored yet.
 */
bool
pqlite_read_layout(PqliteStore *store)
{
	if (store->options->table == NULL)
		return read_own_store(store);
	read_existing_store(store);
	return true;
}
