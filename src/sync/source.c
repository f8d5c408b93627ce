/*
 * source.c
 *		What a source must be, and how documents are made of its columns.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/catalog.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/typcache.h"

#include "common/json.h"
#include "compat.h"
#include "flow/roles.h"
#include "sync/sync.h"

/* What a function takes beside a separator, and in pairs. */
#define MOST_TEXTS (FUNC_MAX_ARGS - 1)
#define MOST_TAGS (FUNC_MAX_ARGS / 2)

/* One attribute of documents, and the columns that it is made of. */
typedef struct Mapping
{
	JflowDocAttr attr;
	char	  **columns;
	int			ncolumns;
	bool		list;			/* it was given as one */
} Mapping;

typedef struct Mappings
{
	Mapping		items[DOC_NATTS];
	int			n;
} Mappings;

static void
add_mapping(void *arg, const char *key, JsonbValue *value)
{
	Mappings   *mappings = arg;
	Mapping    *mapping = &mappings->items[mappings->n];
	int			attr = jflow_doc_attr_by_name(key);

	if (attr < 0)
	{
		const char *names[DOC_NATTS];
		const char *suggestion;

		for (int i = 0; i < DOC_NATTS; i++)
			names[i] = jflow_doc_attr_name(i);
		suggestion = jflow_suggest(key, names, DOC_NATTS);
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" in columns is not an attribute of a document", key),
				 suggestion ? errhint("Did you mean \"%s\"?", suggestion) :
				 errhint("Name the attributes of jflow_doc, like {\"text\": \"title\"}.")));
	}
	if (attr == DOC_ID || attr == DOC_SCORES || attr == DOC_MATCHES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("attribute \"%s\" of documents cannot come from a column", key),
				 attr == DOC_ID ? errhint("The argument \"id\" names the column of ids.") : 0));
	mapping->attr = (JflowDocAttr) attr;
	mapping->list = jflow_json_is_array(value);
	if (mapping->list)
		mapping->columns = jflow_json_strings(value, &mapping->ncolumns);
	else if (value->type == jbvString)
	{
		mapping->columns = palloc(sizeof(char *));
		mapping->columns[0] = jflow_json_string(value);
		mapping->ncolumns = 1;
	}
	if (mapping->ncolumns == 0 || mapping->columns == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("attribute \"%s\" in columns needs the name of a column, or a list of names", key)));
	if (mapping->ncolumns > 1 && mapping->attr != DOC_TAGS && mapping->attr != DOC_TEXT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("attribute \"%s\" can come from one column only", key),
				 errdetail("Texts of several columns are joined, and tags have a key for each.")));
	if (mapping->attr == DOC_TEXT && mapping->ncolumns > MOST_TEXTS)
		ereport(ERROR,
				(errcode(ERRCODE_TOO_MANY_COLUMNS),
				 errmsg("attribute \"%s\" in columns can be joined of %d columns at most, not %d", key, MOST_TEXTS, mapping->ncolumns)));
	mappings->n++;
}

/* Read "columns".  Raises what is wrong with it. */
static Mappings *
read_mappings(Jsonb *columns)
{
	Mappings   *mappings = palloc0(sizeof(Mappings));

	if (!JB_ROOT_IS_OBJECT(columns))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("columns of a sync must be a JSON object"),
				 errhint("It maps attributes of documents to columns, like {\"text\": [\"title\", \"body\"]}.")));
	jflow_json_each(&columns->root, add_mapping, mappings);
	if (mappings->n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("columns of a sync must name at least one attribute")));
	return mappings;
}

static AttrNumber
column_attnum(Relation source, const char *name)
{
	TupleDesc	desc = RelationGetDescr(source);
	const char **names = palloc(sizeof(char *) * Max(desc->natts, 1));
	const char *suggestion;
	int			n = 0;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped)
			continue;
		if (strcmp(NameStr(att->attname), name) == 0)
			return att->attnum;
		names[n++] = NameStr(att->attname);
	}
	suggestion = jflow_suggest(name, names, n);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("column \"%s\" of table \"%s\" does not exist", name, RelationGetRelationName(source)),
			 suggestion ? errhint("Did you mean \"%s\"?", suggestion) : 0));
}

/*
 * Add what a trigger must watch to see that a column has changed: of one that is
 * computed when it is read, and so is in no row, the columns that it is made of.
 */
static List *
add_watched(List *attnums, Relation source, AttrNumber attnum)
{
	Bitmapset  *used = jflow_virtual_column_uses_compat(source, attnum);
	int			member = -1;

	if (used == NULL)
		return list_append_unique_int(attnums, attnum);
	while ((member = bms_next_member(used, member)) >= 0)
		if (member + FirstLowInvalidHeapAttributeNumber > 0)
			attnums = list_append_unique_int(attnums, member + FirstLowInvalidHeapAttributeNumber);
	return attnums;
}

/* Attribute numbers of all columns that documents are made of. */
List *
sync_columns_attnums(const Sync *sync, Relation source)
{
	Mappings   *mappings = read_mappings(sync->columns);
	List	   *result = NIL;

	for (int i = 0; i < mappings->n; i++)
		for (int j = 0; j < mappings->items[i].ncolumns; j++)
			result = add_watched(result, source, column_attnum(source, mappings->items[i].columns[j]));
	return result;
}

/* The column of a primary key that has only one; else InvalidAttrNumber. */
AttrNumber
sync_default_key(Relation source)
{
	Bitmapset  *columns = RelationGetIndexAttrBitmap(source, INDEX_ATTR_BITMAP_PRIMARY_KEY);
	int			member;

	if (!bms_get_singleton_member(columns, &member))
		return InvalidAttrNumber;
	return member + FirstLowInvalidHeapAttributeNumber;
}

/*
 * Does an index of a column tell values apart as the column's own "=" does, by which
 * rows are read?
 */
static bool
is_of_default_equality(Relation index, Form_pg_attribute att)
{
	Oid			type = index->rd_opcintype[0];
	Oid			collation = index->rd_indcollation[0];

	if (get_opfamily_member(index->rd_opfamily[0], type, type, BTEqualStrategyNumber) !=
		lookup_type_cache(att->atttypid, TYPECACHE_EQ_OPR)->eq_opr)
		return false;
	return collation == att->attcollation ||
		(get_collation_isdeterministic(collation) && get_collation_isdeterministic(att->attcollation));
}

/* Has a column an index that lets no value be there twice, at any time? */
static bool
is_unique(Relation source, AttrNumber attnum)
{
	List	   *indexes = RelationGetIndexList(source);
	bool		found = false;
	ListCell   *lc;

	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		Form_pg_index form = index->rd_index;

		found |= form->indisunique && form->indimmediate && form->indisvalid && form->indnkeyatts == 1 &&
			form->indkey.values[0] == attnum && RelationGetIndexPredicate(index) == NIL &&
			is_of_default_equality(index, TupleDescAttr(RelationGetDescr(source), attnum - 1));
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	return found;
}

/*
 * Types whose values have the same text in every session, so that a trigger and
 * the worker mean the same by it.
 */
static bool
is_key_type(Oid type)
{
	static const Oid types[] = {
		INT2OID, INT4OID, INT8OID, NUMERICOID, OIDOID, UUIDOID, TEXTOID, VARCHAROID, BPCHAROID, NAMEOID
	};

	type = getBaseType(type);
	for (int i = 0; i < lengthof(types); i++)
		if (type == types[i])
			return true;
	return type_is_enum(type);
}

static void
check_key(const Sync *sync, Relation source)
{
	AttrNumber	attnum = column_attnum(source, sync->key);
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(source), attnum - 1);

	if (!jflow_attr_not_null_compat(RelationGetDescr(source), attnum) || !is_unique(source, attnum))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("column \"%s\" of table \"%s\" cannot be the id of documents",
						sync->key, RelationGetRelationName(source)),
				 errdetail("Two rows could have the same id, or none."),
				 errhint("Name a column that is NOT NULL and has a unique index of its own, of its collation and default operator class.")));
	if (!is_key_type(att->atttypid))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("column \"%s\" of table \"%s\" has type %s, which cannot be the id of documents",
						sync->key, RelationGetRelationName(source), format_type_be(att->atttypid)),
				 errdetail("Its texts depend on settings."),
				 errhint("Use a column of a whole number, numeric, text, enum or uuid type.")));
}

/* Does a policy stand between the current user and rows of the source? */
static void
check_row_security(Relation source)
{
	if (check_enable_rls(RelationGetRelid(source), GetUserId(), true) != RLS_ENABLED)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("row-level security of table \"%s\" could hide rows from the flow's owner",
					RelationGetRelationName(source)),
			 errhint("The owner of the flow must own the table, or have BYPASSRLS.")));
}

/*
 * Is a table, which is locked, of a kind that can be kept in step?  What is refused
 * could lose changes, since no trigger would tell of them.
 */
void
sync_source_check_kind(Relation source)
{
	const char *name = RelationGetRelationName(source);
	char		kind = source->rd_rel->relkind;

	if (kind == RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table \"%s\" is partitioned", name),
				 errdetail("Attached, detached and truncated partitions fire no trigger of it."),
				 errhint("Give each partition a sync and a flow of its own.")));
	if (kind != RELKIND_RELATION)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table", name)));
	if (IsCatalogRelation(source))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("\"%s\" is a system catalog", name)));
	if (source->rd_rel->relpersistence != RELPERSISTENCE_PERMANENT)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table \"%s\" is temporary or unlogged", name),
				 errdetail("It would lose its rows without a word."),
				 errhint("ALTER TABLE ... SET LOGGED.")));
	if (has_subclass(RelationGetRelid(source)))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table \"%s\" has children", name),
				 errdetail("Changes of a child fire no trigger of its parent.")));
}

/*
 * The owner of a table may give it a type whose cast is a function of his, or an
 * index on one, and reading it would call that with the rights of the current user.
 */
static void
check_owner(Relation source)
{
	if (jflow_role_trusts(GetUserId(), source->rd_rel->relowner))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for table %s", RelationGetRelationName(source)),
			 errdetail("Reading it could run code of its owner as the flow's owner \"%s\".",
					   GetUserNameFromId(GetUserId(), false)),
			 superuser() ? errhint("He is a superuser: let the flow belong to the owner of the table.") :
			 errhint("The table must belong to the owner of the flow, to a role whose privileges he has, or to a superuser.")));
}

/* May the current user keep a table, which is locked, in step? */
void
sync_source_check(const Sync *sync, Relation source)
{
	sync_source_check_kind(source);
	if (sync->mode == SYNC_IMMEDIATE && has_superclass(RelationGetRelid(source)))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table \"%s\" is a part of another", RelationGetRelationName(source)),
				 errdetail("The end of a statement that changes it by way of the other fires no trigger of it."),
				 errhint("Use mode \"live\".")));
	check_owner(source);
	check_key(sync, source);
	check_row_security(source);
}

/* How an attribute is made of columns, as SQL. */
static void
append_expression(StringInfo sql, const Mapping *mapping, Oid source)
{
	char	   *type = format_type_extended(jflow_types()->atttype[mapping->attr], -1, FORMAT_TYPE_FORCE_QUALIFY);
	bool		object = mapping->attr == DOC_TAGS;
	const char *separator = "";

	if (object && !mapping->list)
	{
		Oid			column = get_atttype(source, get_attnum(source, mapping->columns[0]));

		object = getBaseType(column) != JSONBOID && getBaseType(column) != JSONOID;
	}
	if (object)
		appendStringInfoString(sql, "pg_catalog.jsonb_build_object(");
	else if (mapping->ncolumns > 1)
	{
		appendStringInfoString(sql, "pg_catalog.concat_ws(E'\\n'");
		separator = ", ";
	}
	else
		appendStringInfoString(sql, "CAST(");
	for (int i = 0; i < mapping->ncolumns; i++, separator = ", ")
	{
		if (object && i > 0 && i % MOST_TAGS == 0)
			appendStringInfoString(sql, ") OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object(");
		else
			appendStringInfoString(sql, separator);
		if (object)
			appendStringInfo(sql, "%s, ", quote_literal_cstr(mapping->columns[i]));
		appendStringInfo(sql, "s.%s", quote_identifier(mapping->columns[i]));
	}
	if (!object && mapping->ncolumns == 1)
		appendStringInfo(sql, " AS %s", type);
	appendStringInfoChar(sql, ')');
}

/* The number of a column that was there when the sync was made. */
static AttrNumber
present_column(const Sync *sync, const char *name)
{
	AttrNumber	attnum = get_attnum(sync->source, name);

	if (attnum == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of table \"%s\" does not exist any more", name, get_rel_name(sync->source)),
				 errhint("Rename it back, or make the sync anew with jflow_unsync and jflow_sync.")));
	return attnum;
}

/* What is needed to read a source, in the current memory context. */
SyncSource *
sync_source_open(const Sync *sync)
{
	SyncSource *source = palloc0(sizeof(SyncSource));
	Mappings   *mappings = read_mappings(sync->columns);
	char	   *table = get_rel_name(sync->source);
	AttrNumber	key;
	StringInfoData sql;

	if (table == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the table of sync \"%s\" does not exist any more", sync->name),
				 errhint("Forget the sync with jflow_unsync.")));
	source->sync = sync;
	source->table = quote_qualified_identifier(get_namespace_name(get_rel_namespace(sync->source)), table);
	source->key = pstrdup(quote_identifier(sync->key));
	key = present_column(sync, sync->key);
	source->key_type = format_type_extended(getBaseType(get_atttype(sync->source, key)), -1,
											FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT pg_catalog.format('%%s', s.%s)", source->key);
	for (int i = 0; i < mappings->n; i++)
	{
		source->attrs[source->nattrs++] = mappings->items[i].attr;
		for (int j = 0; j < mappings->items[i].ncolumns; j++)
			(void) present_column(sync, mappings->items[i].columns[j]);
		appendStringInfoString(&sql, ", ");
		append_expression(&sql, &mappings->items[i], sync->source);
	}
	appendStringInfo(&sql, " FROM ONLY %s s", source->table);
	source->select = sql.data;
	return source;
}
