/*
 * pqlite_row.c
 *		Documents as rows: parameters of statements, and rows read back.
 *
 * A request's documents are sent as one array per column, so a statement is
 * run once for all of them.
 */
#include "postgres.h"


#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"


#include "compat.h"
#include "executors/pqlite/pqlite.h"

#define TAGS_PER_CALL 40		/* a function takes 100 arguments */

/* A document in messages. */
char *
pqlite_doc_name(const JflowDoc *doc)
{
	char	   *id = TextDatumGetCString(doc->values[DOC_ID]);
	int			len = strlen(id);

	return len <= 100 ? psprintf("document \"%s\"", id)
		: psprintf("the document whose id begins with \"%.*s\"", pg_mbcliplen(id, len, 100), id);
}

static void
check_id(const JflowDoc *doc)
{
	Size		len;

	if (doc->nulls[DOC_ID])
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("a document has no id")));
	len = VARSIZE_ANY_EXHDR(DatumGetTextPP(doc->values[DOC_ID]));
	if (len == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a document's id is empty")));
	if (len > PQLITE_MAX_ID)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a document's id has %zu bytes, more than the %d that can be stored",
						len, PQLITE_MAX_ID),
				 errdetail("It is the id of %s.", pqlite_doc_name(doc))));
}

/* Raise an error for a document that has no embedding, or a zero vector. */
static void JFLOW_NORETURN
vector_missing(const PqliteStore *store, const JflowDoc *doc)
{
	int			attr = store->columns[store->vector].attr;
	int			other = store->sparse ? DOC_EMBEDDING : DOC_SPARSE_EMBEDDING;

	if (!doc->nulls[attr])
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("%s of %s is a zero vector", jflow_doc_attr_name(attr), pqlite_doc_name(doc)),
				 errdetail("Under the metric cosine it has no distance from anything."),
				 errhint("The option \"on_missing\" lets such documents be skipped or stored.")));
	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 errmsg("%s has no %s", pqlite_doc_name(doc), jflow_doc_attr_name(attr)),
			 doc->nulls[other] ? 0 :
			 errdetail("It has %s, but the %s stores %s.", jflow_doc_attr_name(other),
					   store->what, jflow_doc_attr_name(attr)),
			 errhint("Let an executor before this one make it, or give it with the document; the option \"on_missing\" lets such documents be skipped or stored.")));
}

/*
 * Raise an error for a document whose embedding cannot be stored; false if it is
 * to be left out for want of one.
 */
static bool
check_vector(const PqliteStore *store, const JflowDoc *doc, bool required)
{
	int			attr = store->columns[store->vector].attr;
	int			dim;

	if (!doc->nulls[attr])
	{
		dim = pqlite_vector_dim(store->sparse, doc->values[attr]);
		if (store->dim && dim != store->dim)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("%s of %s has %d dimensions, not %d", jflow_doc_attr_name(attr),
							pqlite_doc_name(doc), dim, store->dim),
					 errdetail("The %s stores embeddings of %d dimensions.", store->what, store->dim)));
	}
	else if (!required)
		return true;
	if (pqlite_has_vector(store->options, store->sparse, doc))
		return true;
	if (store->options->on_missing == MISSING_ERROR)
		vector_missing(store, doc);
	if (store->own && doc->nulls[attr] && store->options->on_missing == MISSING_STORE &&
		store->columns[store->vector].not_null)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table %s was made without room for %s, which has no %s", store->name,
						pqlite_doc_name(doc), jflow_doc_attr_name(attr)),
				 errhint("Use ALTER TABLE %s ALTER COLUMN %s DROP NOT NULL.", store->name,
						 store->columns[store->vector].quoted)));
	return store->options->on_missing == MISSING_STORE;
}

/*
 * Raise an error for documents that cannot be stored.  With "need_vector" each
 * must have an embedding, or it is for the option "on_missing" to say what
 * becomes of it.  Returns which of them are to be left out.
 */
bool *
pqlite_check_docs(const PqliteStore *store, const JflowDocs *docs, bool need_vector)
{
	bool	   *left_out = palloc0(sizeof(bool) * Max(docs->ndocs, 1));

	for (int i = 0; i < docs->ndocs; i++)
	{
		const JflowDoc *doc = &docs->docs[i];

		check_id(doc);
		left_out[i] = !check_vector(store, doc, need_vector);
		if (!doc->nulls[DOC_TAGS] && !JB_ROOT_IS_OBJECT(DatumGetJsonbP(doc->values[DOC_TAGS])))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("tags of %s must be a JSON object", pqlite_doc_name(doc))));
	}
	return left_out;
}

static Datum
typed_value(const PqliteColumn *column, const JflowDoc *doc, bool *isnull)
{
	JsonbValue	buffer;
	JsonbValue *value;

	*isnull = true;
	if (doc->nulls[DOC_TAGS])
		return (Datum) 0;
	value = getKeyJsonValueFromContainer(&DatumGetJsonbP(doc->values[DOC_TAGS])->root,
										 column->name, strlen(column->name), &buffer);
	if (value == NULL || value->type == jbvNull)
		return (Datum) 0;
	*isnull = false;
	return pqlite_value_from_json(column, value, pqlite_doc_name(doc));
}

/* Raise an error for a document that has a value for what the server generates. */
static void JFLOW_NORETURN
generated_column(const PqliteStore *store, const char *name, const JflowDoc *doc)
{
	ereport(ERROR,
			(errcode(ERRCODE_GENERATED_ALWAYS),
			 errmsg("column \"%s\" of table %s cannot be written", name, store->name),
			 errdetail("It is generated, and %s has a value for it.", pqlite_doc_name(doc))));
}

/* Raise an error that says why a tag has no column to go to. */
static void JFLOW_NORETURN
no_column_for_tag(const PqliteStore *store, const char *key, const JflowDoc *doc)
{
	AttrNumber	attnum = get_attnum(store->relid, key);
	Oid			type = attnum > 0 ? get_atttype(store->relid, attnum) : InvalidOid;
	PqliteKind	kind;

	if (OidIsValid(type) && store->options->ncolumns == 0 && !pqlite_kind_of_type(type, &kind))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of table %s has type %s", key, store->name, format_type_be(type)),
				 errdetail("The tag of %s cannot be stored there.", pqlite_doc_name(doc))));
	if (OidIsValid(type) && get_attgenerated(store->relid, attnum) != '\0')
		generated_column(store, key, doc);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("table %s has no column for tag \"%s\" of %s", store->name, key, pqlite_doc_name(doc)),
			 errhint("Name a column of type jsonb with the option \"tags\", or add the column.")));
}

/* Every tag needs a place where the table has no column for tags. */
static void
check_tags_have_columns(const PqliteStore *store, const JflowDoc *doc)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;

	if (doc->nulls[DOC_TAGS])
		return;
	it = JsonbIteratorInit(&DatumGetJsonbP(doc->values[DOC_TAGS])->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		char	   *key;

		if (token != WJB_KEY)
			continue;
		key = pnstrdup(value.val.string.val, value.val.string.len);
		if (pqlite_column_by_name(store, key) == NULL)
			no_column_for_tag(store, key, doc);
	}
}

/* Numbers of all columns of a store. */
Bitmapset *
pqlite_all_columns(const PqliteStore *store)
{
	return bms_add_range(NULL, 0, store->ncolumns - 1);
}

/* Is a key in the tags of a document, be it null? */
static bool
has_tag(const JflowDoc *doc, const char *name)
{
	JsonbValue	buffer;

	return !doc->nulls[DOC_TAGS] &&
		getKeyJsonValueFromContainer(&DatumGetJsonbP(doc->values[DOC_TAGS])->root, name, strlen(name),
									 &buffer) != NULL;
}

/*
 * Numbers of the columns of a user's table that a document names: those of
 * attributes that are not NULL and of keys in its tags.  Raises undefined_column
 * for a tag that has no place and generated_always for one that nobody may write.
 */
Bitmapset *
pqlite_named_columns(const PqliteStore *store, const JflowDoc *doc, PqliteWrites writes)
{
	Bitmapset  *named = NULL;
	bool		has_tags = pqlite_column_by_attr(store, DOC_TAGS) != NULL;

	if (writes == WRITES_ALL && !has_tags)
		check_tags_have_columns(store, doc);
	for (int i = 0; i < store->ncolumns; i++)
	{
		const PqliteColumn *column = &store->columns[i];
		bool		given = column->attr >= 0 ? !doc->nulls[column->attr] : has_tag(doc, column->name);

		if (!given || (writes == WRITES_EMBEDDING && i != store->id && i != store->vector))
			continue;
		if (column->generated && i != store->id)
		{
			if (has_tags && column->attr < 0)
				continue;		/* it is kept with the other tags */
			generated_column(store, column->name, doc);
		}
		named = bms_add_member(named, i);
	}
	return named;
}

/*
 * Parameters for documents: an array per column asked for, in the store's order,
 * and one of their tags if asked for.
 */
void
pqlite_rows_form(const PqliteStore *store, const JflowDoc *const *docs, int ndocs,
				 const Bitmapset *columns, bool with_tags, PqliteRows *rows)
{
	Datum	   *values = palloc(sizeof(Datum) * Max(ndocs, 1));
	bool	   *nulls = palloc(sizeof(bool) * Max(ndocs, 1));
	const PqliteColumn tags = {.sent_type = JSONBOID,.sent_len = -1,.sent_align = TYPALIGN_INT};

	rows->types = palloc(sizeof(Oid) * (store->ncolumns + 2));
	rows->values = palloc(sizeof(Datum) * (store->ncolumns + 2));
	rows->nargs = 0;

	for (int c = -1; (c = bms_next_member(columns, c)) >= 0;)
	{
		const PqliteColumn *column = &store->columns[c];

		for (int i = 0; i < ndocs; i++)
		{
			if (column->attr < 0)
				values[i] = typed_value(column, docs[i], &nulls[i]);
			else
			{
				nulls[i] = docs[i]->nulls[column->attr];
				values[i] = c == store->id ? pqlite_id_value(store, docs[i]->values[DOC_ID])
					: docs[i]->values[column->attr];
			}
		}
		rows->types[rows->nargs] = column->array_type;
		rows->values[rows->nargs++] = pqlite_array_of(column, values, nulls, ndocs);
	}
	if (with_tags)
	{
		for (int i = 0; i < ndocs; i++)
		{
			values[i] = docs[i]->values[DOC_TAGS];
			nulls[i] = docs[i]->nulls[DOC_TAGS];
		}
		rows->types[rows->nargs] = JSONBARRAYOID;
		rows->values[rows->nargs++] = pqlite_array_of(&tags, values, nulls, ndocs);
	}
}

/* Tags of a row: its column, or an object of the typed columns. */
void
pqlite_append_tags(const PqliteStore *store, StringInfo sql, const char *alias)
{
	const PqliteColumn *tags = pqlite_column_by_attr(store, DOC_TAGS);
	int			n = 0;

	if (tags)
	{
		appendStringInfo(sql, "%s.%s", alias, tags->quoted);
		return;
	}
	for (int i = 0; i < store->ncolumns; i++)
	{
		const PqliteColumn *column = &store->columns[i];

		if (column->attr >= 0)
			continue;
		if (n % TAGS_PER_CALL == 0)
			appendStringInfo(sql, "%spg_catalog.jsonb_build_object(", n > 0 ? ") || " : "");
		else
			appendStringInfoString(sql, ", ");
		appendStringInfo(sql, "%s, %s.%s", quote_literal_cstr(column->name), alias, column->quoted);
		n++;
	}
	appendStringInfoString(sql, n > 0 ? ")" : "NULL::pg_catalog.jsonb");
}

/*
 * The columns of a row as attributes of a document, in their order, without
 * matches; pqlite_doc_from_row reads them.
 */
void
pqlite_append_doc_columns(const PqliteStore *store, StringInfo sql, const char *alias)
{
	const JflowTypes *types = jflow_types();

	for (int attr = 0; attr < DOC_MATCHES; attr++)
	{
		const PqliteColumn *column = pqlite_column_by_attr(store, attr);

		if (attr > 0)
			appendStringInfoString(sql, ", ");
		if (attr == DOC_TAGS && (column || !store->own))
			pqlite_append_tags(store, sql, alias);
		else if (column == NULL)
			appendStringInfo(sql, "NULL::%s", pqlite_quote_type(types->atttype[attr], -1));
		else if (getBaseType(column->type) == types->atttype[attr])
			appendStringInfo(sql, "%s.%s", alias, column->quoted);
		else
			appendStringInfo(sql, "%s.%s::%s", alias, column->quoted,
							 pqlite_quote_type(types->atttype[attr], -1));
	}
}

/* A document from such a row; values point into the tuple or into new memory. */
void
pqlite_doc_from_row(HeapTuple tuple, TupleDesc desc, JflowDoc *doc)
{
	jflow_doc_init(doc);
	for (int attr = 0; attr < DOC_MATCHES; attr++)
		doc->values[attr] = SPI_getbinval(tuple, desc, attr + 1, &doc->nulls[attr]);
}
