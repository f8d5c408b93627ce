/*
 * pqlite_columns.c
 *		What the columns of a store's table are for.
 */
#include "postgres.h"

#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "parser/parse_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "compat.h"
#include "executors/pqlite/pqlite.h"
#include "vectors.h"

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

/* The operator by which values are equal, as an index on them takes it. */
char *
pqlite_equality_of(Oid type)
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
	store->same_id = pqlite_equality_of(column->sent_type);
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

/* Raise undefined_object for the type of a column. */
static void JFLOW_NORETURN
unknown_type(const char *column, const char *type)
{
	static const char *const names[] = {
		"bool", "int2", "int4", "int8", "int", "integer", "bigint", "smallint", "float4",
		"float8", "float", "real", "numeric", "text", "varchar", "date", "time", "timestamp",
		"timestamptz", "uuid"
	};
	const char *suggestion = jflow_suggest(type, names, lengthof(names));

	/* as Python calls them */
	if (strcmp(type, "str") == 0 || strcmp(type, "string") == 0)
		suggestion = "text";
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("type \"%s\" of column \"%s\" does not exist", type, column),
			 errdetail("Option \"columns\" maps names to SQL types."),
			 suggestion ? errhint("Did you mean \"%s\"?", suggestion) : 0));
}

/*
 * The type that options give a column, by the search_path that is set.  Raises
 * what is wrong with its name.
 */
void
pqlite_option_type(const PqliteOptions *options, int column, Oid *type, int32 *typmod)
{
	const char *string = options->column_types[column];
	Type		tuple = LookupTypeName(NULL, typeStringToTypeNameCompat(string), typmod, true);

	if (tuple == NULL)
		unknown_type(options->column_names[column], string);
	if (!((Form_pg_type) GETSTRUCT(tuple))->typisdefined)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("type \"%s\" of column \"%s\" is only a shell", string,
						options->column_names[column])));
	*type = typeTypeId(tuple);
	ReleaseSysCache(tuple);
}

/* Raise feature_not_supported for a type that is of no filter column. */
void
pqlite_check_filter_type(Oid type)
{
	PqliteKind	kind;

	if (!pqlite_kind_of_type(type, &kind))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("type %s cannot be that of a filter column", format_type_be(type)),
				 errhint("Filter columns are of a boolean, integer, floating-point, numeric, text, date, time or uuid type.")));
}

/* A typed column has the type that the options say. */
static void
check_column_type(const PqliteStore *store, const PqliteColumn *column, int option)
{
	Oid			type;
	int32		typmod;

	pqlite_option_type(store->options, option, &type, &typmod);
	if (type != column->type || typmod != column->typmod)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of table %s has type %s, not %s", column->name, store->name,
						format_type_with_typemod(column->type, column->typmod),
						store->options->column_types[option]),
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
			pqlite_check_filter_type(att->atttypid);
		return;
	}
	column = add_column(store, att, -1);
	column->kind = kind;
	if (n >= 0)
		check_column_type(store, column, n);
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

/*
 * Fill in the columns of a store from the table's.  Raises an error for one that is
 * missing or cannot hold what it is to hold.  Needs the store's names and options;
 * allocates in the current memory context.
 */
void
pqlite_read_columns(PqliteStore *store, TupleDesc desc)
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

/* The typed column of that name, or NULL. */
const PqliteColumn *
pqlite_column_by_name(const PqliteStore *store, const char *name)
{
	for (int i = 0; i < store->ncolumns; i++)
		if (store->columns[i].attr < 0 && strcmp(store->columns[i].name, name) == 0)
			return &store->columns[i];
	return NULL;
}

/* A name that filters of the store know and that is nearly this one, or NULL. */
const char *
pqlite_suggest_column(const PqliteStore *store, const char *name)
{
	const char **names = palloc(sizeof(char *) * Max(store->ncolumns, 1));
	int			n = 0;

	for (int i = 0; i < store->ncolumns; i++)
		if (i != store->vector)
			names[n++] = store->columns[i].attr < 0 ? store->columns[i].name :
				jflow_doc_attr_name(store->columns[i].attr);
	return jflow_suggest(name, names, n);
}

/* The column of an attribute of documents, or NULL. */
const PqliteColumn *
pqlite_column_by_attr(const PqliteStore *store, int attr)
{
	for (int i = 0; i < store->ncolumns; i++)
		if (store->columns[i].attr == attr)
			return &store->columns[i];
	return NULL;
}

/* Values of a column as an array. */
Datum
pqlite_array_of(const PqliteColumn *column, Datum *values, bool *nulls, int n)
{
	int			lower = 1;

	return PointerGetDatum(construct_md_array(values, nulls, 1, &n, &lower, column->sent_type,
											  column->sent_len, column->sent_byval,
											  column->sent_align));
}
