/*
 * source.c
 *		Rows of a source as documents.
 *
 * They are read with the rights of the current user, who is the flow's owner, and
 * under settings that make equal values equal texts.
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
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"

#include "common/json.h"
#include "common/xact.h"
#include "compat.h"
#include "flow/roles.h"
#include "sync/sync.h"

/* Rows that a cursor fetches at once; behind so many bytes, one. */
#define MOST_FETCHED 64
/* What a function takes beside a separator, and in pairs. */
#define MOST_TEXTS (FUNC_MAX_ARGS - 1)
#define MOST_TAGS (FUNC_MAX_ARGS / 2)
#define LARGE_FETCH (256 * 1024)

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
	source->key_type = format_type_extended(get_atttype(sync->source, key), -1, FORMAT_TYPE_FORCE_QUALIFY);

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

/* Settings under which texts of values are the same in every session. */
static int
begin_reading(void)
{
	static const char *const settings[][2] = {
		{"search_path", "pg_catalog, pg_temp"},
		{"row_security", "off"},
		{"TimeZone", "UTC"},
		{"DateStyle", "ISO, YMD"},
		{"IntervalStyle", "postgres"},
		{"extra_float_digits", "1"},
		{"bytea_output", "hex"},
		{"enable_seqscan", "off"},
		{"enable_hashjoin", "off"},
		{"enable_mergejoin", "off"},
		{"enable_bitmapscan", "off"},	/* rows come one by one, in the order
										 * of */
		{"enable_sort", "off"}, /* the key, and are made into documents then */
		{"jit", "off"},
	};
	int			guc_level = NewGUCNestLevel();

	for (int i = 0; i < lengthof(settings); i++)
		(void) set_config_option(settings[i][0], settings[i][1], PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	return guc_level;
}

/* Raise what is wrong with the statement that reads the source, or the right to it. */
void
sync_source_prepare(const SyncSource *source)
{
	int			guc_level = begin_reading();

	SPI_connect();
	if (SPI_execute(psprintf("%s WHERE false", source->select), false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read table %s", source->table);
	SPI_finish();
	AtEOXact_GUC(true, guc_level);
}

/* A row that was read, as a document, in the current memory context. */
static void
form_row(const SyncSource *source, HeapTuple tuple, TupleDesc desc, SyncRow *row)
{
	JflowDoc	doc;
	bool		isnull;
	char	   *data;

	memset(row, 0, sizeof(*row));
	row->key = PointerGetDatum(DatumGetTextPCopy(SPI_getbinval(tuple, desc, 1, &isnull)));
	jflow_doc_init(&doc);
	doc.values[DOC_ID] = row->key;
	doc.nulls[DOC_ID] = false;
	for (int i = 0; i < source->nattrs; i++)
	{
		JflowDocAttr attr = source->attrs[i];
		Datum		value = SPI_getbinval(tuple, desc, i + 2, &isnull);

		if (isnull)
			continue;
		if (get_typlen(jflow_types()->atttype[attr]) == -1)
			value = PointerGetDatum(PG_DETOAST_DATUM(value));
		doc.values[attr] = value;
		doc.nulls[attr] = false;
	}
	row->doc = jflow_doc_form(&doc);
	data = (char *) DatumGetHeapTupleHeader(row->doc);

	/* Behind the header, where type and length are. */
	row->hash = (int64) hash_bytes_extended((unsigned char *) data + SizeofHeapTupleHeader,
											VARSIZE(data) - SizeofHeapTupleHeader, 0);
}

/*
 * Take what a cursor has fetched until there are so many bytes of documents; returns
 * how many bytes there are now.
 */
static Size
take_fetched(const SyncSource *source, MemoryContext context, Size max, Size bytes, SyncRow *rows, int *n)
{
	MemoryContext old = MemoryContextSwitchTo(context);

	for (uint64 i = 0; i < SPI_processed && bytes < max; i++)
	{
		SyncRow    *row = &rows[(*n)++];

		form_row(source, SPI_tuptable->vals[i], SPI_tuptable->tupdesc, row);
		bytes += VARSIZE(DatumGetPointer(row->doc));
	}
	MemoryContextSwitchTo(old);
	return bytes;
}

/*
 * Run a statement on the source; rows go to an array in the current context, at most
 * "limit", and *n says how many there are, also when an error is raised.  Stops behind
 * the row with which there are "max" bytes of documents, or more: then *all says that
 * there may be others.
 */
static void
read_rows(const SyncSource *source, const char *sql, int nargs, Oid *types, Datum *values,
		  int limit, Size max, SyncRow *rows, int *n, bool *all)
{
	MemoryContext context = CurrentMemoryContext;
	int			guc_level = begin_reading();
	Size		bytes = 0;
	int			step = 1;
	Portal		portal;

	*n = 0;
	SPI_connect();
	portal = SPI_cursor_open_with_args(NULL, sql, nargs, types, values, NULL, true, CURSOR_OPT_NO_SCROLL);
	while (*n < limit && bytes < max)
	{
		Size		before = bytes;

		CHECK_FOR_INTERRUPTS();
		SPI_cursor_fetch(portal, true, Min(step, limit - *n));
		if (SPI_processed == 0)
			break;
		bytes = take_fetched(source, context, max, bytes, rows, n);
		SPI_freetuptable(SPI_tuptable);
		step = bytes - before > LARGE_FETCH ? 1 : Min(step * 2, MOST_FETCHED);
	}
	*all = bytes < max || *n == limit;
	SPI_cursor_close(portal);
	SPI_finish();
	AtEOXact_GUC(true, guc_level);
}

/* What is read by read_rows. */
typedef struct Reading
{
	const SyncSource *source;
	const char *sql;
	int			nargs;
	Oid		   *types;
	Datum	   *values;
	int			limit;
	Size		max;
	SyncRow    *rows;
	int		   *n;
	bool	   *all;
} Reading;

static void
run_reading(void *arg)
{
	Reading    *r = arg;

	read_rows(r->source, r->sql, r->nargs, r->types, r->values, r->limit, r->max, r->rows, r->n, r->all);
}

/* Can an error of reading not be that of one row: of what is in it, or how much? */
static bool
is_of_all_rows(const ErrorData *error)
{
	int			category = ERRCODE_TO_CATEGORY(error->sqlerrcode);

	return category != ERRCODE_TO_CATEGORY(ERRCODE_DATA_EXCEPTION) &&
		category != ERRCODE_TO_CATEGORY(ERRCODE_PROGRAM_LIMIT_EXCEEDED);
}

/*
 * The same within a subtransaction.  Returns the error of a row which cannot be read,
 * and *n rows before it; or NULL.
 */
static ErrorData *
try_read_rows(const SyncSource *source, const char *sql, int nargs, Oid *types, Datum *values,
			  int limit, Size max, SyncRow *rows, int *n, bool *all)
{
	Reading		reading = {source, sql, nargs, types, values, limit, max, rows, n, all};
	ErrorData  *error = jflow_try(run_reading, &reading, is_of_all_rows);

	if (error)
		*all = false;
	return error;
}

/* Note the error of a row, in the current memory context; the first one counts. */
void
sync_fail_row(SyncRow *row, const ErrorData *error, bool of_doc)
{
	if (row->failed)
		return;
	row->failed = true;
	row->of_doc = of_doc;
	row->sqlstate = error->sqlerrcode;
	row->message = pstrdup(error->message ? error->message : "");
	if (error->hint)
		row->hint = pstrdup(error->hint);
}

/* A row that cannot be read. */
static void
init_unread(SyncRow *row, Datum key, const ErrorData *error)
{
	memset(row, 0, sizeof(*row));
	row->key = key;
	sync_fail_row(row, error, true);
}

/*
 * The newest rows that have some keys, in any order; returns how many there are.
 * Where *all is false some have been left out, since there are "max" bytes, or since
 * one of them cannot be read; of a key that is alone that is its row's error.  A row
 * whose key is equal but another text is a row of that other id.
 */
int
sync_source_read(const SyncSource *source, const Datum *keys, int nkeys, Size max, SyncRow *rows, bool *all)
{
	Oid			types[1] = {TEXTARRAYOID};
	Datum		values[1];
	char	   *sql = psprintf("%s WHERE s.%s = ANY ($1::%s[])", source->select, source->key, source->key_type);
	ErrorData  *error;
	int			n;

	values[0] = PointerGetDatum(construct_array((Datum *) keys, nkeys, TEXTOID, -1, false, TYPALIGN_INT));
	PushActiveSnapshot(GetLatestSnapshot());
	error = try_read_rows(source, sql, 1, types, values, nkeys, max, rows, &n, all);
	PopActiveSnapshot();
	if (error && nkeys == 1)
	{
		init_unread(&rows[0], keys[0], error);
		*all = true;
		return 1;
	}
	return n;
}

/* The same source without attributes. */
static SyncSource *
only_keys(const SyncSource *source)
{
	SyncSource *result = palloc(sizeof(SyncSource));

	*result = *source;
	result->nattrs = 0;
	result->select = psprintf("SELECT pg_catalog.format('%%s', s.%s) FROM ONLY %s s", source->key, source->table);
	return result;
}

/* Which of some keys the source has, as texts. */
int
sync_source_keys(const SyncSource *source, const Datum *keys, int nkeys, Datum *found)
{
	SyncRow    *rows = palloc(sizeof(SyncRow) * nkeys);
	bool		all;
	int			n = sync_source_read(only_keys(source), keys, nkeys, SIZE_MAX, rows, &all);

	for (int i = 0; i < n; i++)
		found[i] = rows[i].key;
	return n;
}

/*
 * At most "n" rows behind a position, in the order of the key.  NULL: from the
 * first on.  *all is false where "max" bytes have ended them, or one that cannot be
 * read has; if it is the first one it is there with its error.
 */
int
sync_source_scan(const SyncSource *source, const char *position, int n, Size max, SyncRow *rows, bool *all)
{
	Oid			types[1] = {TEXTOID};
	Datum		values[1];
	char	   *where = "";
	ErrorData  *error;
	int			result;

	if (position)
		where = psprintf(" WHERE s.%s > $1::%s", source->key, source->key_type);
	values[0] = position ? CStringGetTextDatum(position) : (Datum) 0;
	PushActiveSnapshot(GetLatestSnapshot());
	error = try_read_rows(source, psprintf("%s%s ORDER BY s.%s LIMIT %d", source->select, where, source->key, n),
						  position ? 1 : 0, types, values, n, max, rows, &result, all);
	if (error && result == 0)
	{
		const SyncSource *keys = only_keys(source);

		read_rows(keys, psprintf("%s%s ORDER BY s.%s LIMIT 1", keys->select, where, keys->key),
				  position ? 1 : 0, types, values, 1, SIZE_MAX, rows, &result, all);
		*all = result == 0;
		if (result > 0)
		{
			Datum		key = rows[0].key;
			bool		alone;

			/* by itself, since a plan may have read others before */
			if (sync_source_read(source, &key, 1, SIZE_MAX, rows, &alone) == 0)
				rows[0].doc = (Datum) 0;	/* it is gone by now */
			rows[0].key = key;
		}
	}
	PopActiveSnapshot();
	return result;
}
