/*
 * pqlite_fields.c
 *		Telling of fields that no document has.
 *
 * Tags have no schema, so a misspelt field of a filter is no error: it matches
 * nothing, or everything under $ne.  Whoever posts it gets a NOTICE.  Only the
 * first documents are looked at, so that a filter that means what it says pays
 * little, and once a field was seen the store remembers it.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "compat.h"
#include "executors/pqlite/pqlite.h"

#define MAX_LOOKED_AT 1000		/* documents */
#define MAX_KNOWN 64			/* fields that a store remembers */
#define MAX_NOTED 10			/* fields of one filter */

typedef struct Notes
{
	PqliteStore *store;
	char	  **fields;			/* that this filter has named before */
	int			nfields;
} Notes;

static bool
is_among(char *const *names, int n, const char *name)
{
	for (int i = 0; i < n; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

/* The first documents' column "v", as a table "s". */
static char *
sample_sql(const PqliteStore *store, const PqliteColumn *column)
{
	return psprintf("(SELECT t.%s AS v FROM %s t LIMIT %d) s", column->quoted, store->name, MAX_LOOKED_AT);
}

static Datum
path_datum(char **path, int n)
{
	Datum	   *elems = palloc(sizeof(Datum) * Max(n, 1));

	for (int i = 0; i < n; i++)
		elems[i] = CStringGetTextDatum(path[i]);
	return PointerGetDatum(construct_array(elems, n, TEXTOID, -1, false, TYPALIGN_INT));
}

static uint64
run(PqliteStore *store, const char *sql, int nargs, Datum arg)
{
	Oid			types[1] = {TEXTARRAYOID};
	Datum		values[1] = {arg};
	int			result = SPI_execute_plan(pqlite_plan(store, sql, nargs, types, CURSOR_OPT_GENERIC_PLAN),
										  values, NULL, true, 0);

	if (result != SPI_OK_SELECT)
		elog(ERROR, "could not read table %s: %s", store->name, SPI_result_code_string(result));
	return SPI_processed;
}

/*
 * How many documents were looked at without finding the field; 0 where one has
 * it, or there is no document.
 */
static int64
looked_in_vain(PqliteStore *store, const JflowFilter *filter, const PqliteColumn *column)
{
	bool		in_tags = filter->attr == DOC_TAGS;
	bool		isnull;
	int64		result;

	run(store, psprintf("SELECT CASE WHEN pg_catalog.bool_or(%s IS NOT NULL) THEN 0 ELSE pg_catalog.count(*) END FROM %s",
						in_tags ? "(s.v OPERATOR(pg_catalog.#>) $1)" : "s.v", sample_sql(store, column)),
		in_tags ? 1 : 0, in_tags ? path_datum(filter->path, filter->npath) : (Datum) 0);
	result = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_freetuptable(SPI_tuptable);
	return isnull ? 0 : result;
}

/* The keys of the objects that a path leads to in the first documents. */
static uint64
keys_under(PqliteStore *store, const PqliteColumn *column, char **path, int npath, char ***names)
{
	uint64		n = run(store, psprintf("SELECT DISTINCT k FROM %s, LATERAL pg_catalog.jsonb_object_keys("
										"CASE WHEN pg_catalog.jsonb_typeof(s.v OPERATOR(pg_catalog.#>) $1) = 'object' "
										"THEN s.v OPERATOR(pg_catalog.#>) $1 END) k LIMIT %d",
										sample_sql(store, column), MAX_LOOKED_AT),
						1, path_datum(path, npath));

	*names = palloc(sizeof(char *) * (n + 1));
	for (uint64 i = 0; i < n; i++)
		(*names)[i] = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
	SPI_freetuptable(SPI_tuptable);
	return n;
}

/*
 * What a field of tags may have been meant to be, or NULL: the first name of its
 * path that leads nowhere is the one that is misspelt.
 */
static const char *
suggest(PqliteStore *store, const JflowFilter *filter, const PqliteColumn *column)
{
	const char *suggestion;
	char	  **names;
	uint64		n = keys_under(store, column, filter->path, 0, &names);
	int			wrong = 0;
	StringInfoData path;

	while (is_among(names, n, filter->path[wrong]))
	{
		if (++wrong == filter->npath)
			return NULL;
		n = keys_under(store, column, filter->path, wrong, &names);
	}
	suggestion = jflow_suggest(filter->path[wrong], (const char *const *) names, n);
	if (suggestion == NULL && filter->npath == 1)
		suggestion = pqlite_suggest_column(store, filter->path[0]);
	if (suggestion == NULL)
		return NULL;
	initStringInfo(&path);
	for (int i = 0; i < filter->npath; i++)
		appendStringInfo(&path, "%s%s", i > 0 ? "." : "", i == wrong ? suggestion : filter->path[i]);
	return path.data;
}

static char *
field_name(const JflowFilter *filter)
{
	StringInfoData name;

	if (filter->attr != DOC_TAGS)
		return pstrdup(jflow_doc_attr_name(filter->attr));
	initStringInfo(&name);
	for (int i = 0; i < filter->npath; i++)
		appendStringInfo(&name, "%s%s", i > 0 ? "." : "", filter->path[i]);
	return name.data;
}

static void
remember(PqliteStore *store, const char *field)
{
	if (store->known_fields == NULL)
		store->known_fields = MemoryContextAllocZero(store->context, sizeof(char *) * MAX_KNOWN);
	if (store->nknown_fields < MAX_KNOWN)
		store->known_fields[store->nknown_fields++] = MemoryContextStrdup(store->context, field);
}

/*
 * The column in which a field is looked for, or NULL if it need not be: it is a
 * column, or an attribute that a user's table has none for.
 */
static const PqliteColumn *
column_to_look_in(const PqliteStore *store, const JflowFilter *filter)
{
	if (filter->attr != DOC_TAGS)
		return pqlite_column_by_attr(store, filter->attr);
	if (filter->npath == 0 || (filter->npath == 1 && pqlite_column_by_name(store, filter->path[0])))
		return NULL;
	return pqlite_column_by_attr(store, DOC_TAGS);
}

static void
note_field(Notes *notes, const JflowFilter *filter)
{
	PqliteStore *store = notes->store;
	const PqliteColumn *column = column_to_look_in(store, filter);
	char	   *name = field_name(filter);
	const char *suggestion;
	bool		never = column == NULL && filter->attr != DOC_TAGS;
	int64		looked_at;

	if ((column == NULL && !never) || notes->nfields == MAX_NOTED ||
		is_among(store->known_fields, store->nknown_fields, name) ||
		is_among(notes->fields, notes->nfields, name))
		return;
	notes->fields[notes->nfields++] = name;
	looked_at = never ? 0 : looked_in_vain(store, filter, column);
	if (looked_at == 0 && !never)
	{
		remember(store, name);
		return;
	}
	suggestion = filter->attr == DOC_TAGS ? suggest(store, filter, column) : NULL;
	ereport(NOTICE,
			(looked_at < MAX_LOOKED_AT ?
			 errmsg("no document of %s has \"%s\", which a filter names", store->what, name) :
			 errmsg("none of the first %d documents of %s has \"%s\", which a filter names",
					MAX_LOOKED_AT, store->what, name),
			 suggestion ? errhint("Did you mean \"%s\"?", suggestion) : 0));
}

static void
note_fields(Notes *notes, const JflowFilter *filter)
{
	check_stack_depth();
	for (int i = 0; i < filter->nchildren; i++)
		note_fields(notes, filter->children[i]);
	/* who asks whether there is one is answered */
	if (filter->op > FILTER_NOT && filter->op != FILTER_EXISTS)
		note_field(notes, filter);
}

/*
 * Is this the call of a post that may tell of its fields?  One of them does, and
 * none where an executor of the flow may mean something else by the parameter.
 */
static bool
may_tell(const JflowContext *context)
{
	return context->request == 1 && context->part == 0 && pqlite_does_all(context) &&
		jflow_flow_is_open(context->flow);
}

/*
 * Tell of fields of a filter, which may be NULL, that no document has.  SPI must
 * be connected.
 */
void
pqlite_note_fields(PqliteStore *store, const JflowContext *context, const JflowFilter *filter)
{
	char	   *fields[MAX_NOTED];
	Notes		notes = {store, fields, 0};

	if (filter && may_tell(context))
		note_fields(&notes, filter);
}

/* Names of the tags of documents, each once, without those of columns. */
static int
other_tags(const PqliteStore *store, const JflowDocs *docs, const char **names, int max)
{
	int			n = 0;

	for (int i = 0; i < docs->ndocs && n < max; i++)
	{
		JsonbIterator *it;
		JsonbIteratorToken token;
		JsonbValue	value;

		CHECK_FOR_INTERRUPTS();
		if (docs->docs[i].nulls[DOC_TAGS])
			continue;
		it = JsonbIteratorInit(&DatumGetJsonbP(docs->docs[i].values[DOC_TAGS])->root);
		while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE && n < max)
		{
			char	   *name;

			if (token != WJB_KEY)
				continue;
			name = pnstrdup(value.val.string.val, value.val.string.len);
			if (pqlite_column_by_name(store, name) == NULL && !is_among((char *const *) names, n, name))
				names[n++] = name;
		}
	}
	return n;
}

static bool
has_tag(const JflowDocs *docs, const char *name)
{
	JsonbValue	buffer;

	for (int i = 0; i < docs->ndocs; i++)
		if (!docs->docs[i].nulls[DOC_TAGS] &&
			getKeyJsonValueFromContainer(&DatumGetJsonbP(docs->docs[i].values[DOC_TAGS])->root,
										 name, strlen(name), &buffer))
			return true;
	return false;
}

/*
 * Tell of a column of the option "columns" that none of the documents fills, if
 * they have a tag whose name is nearly that: else they may well have none.
 */
void
pqlite_note_columns(const PqliteStore *store, const JflowContext *context, const JflowDocs *docs)
{
	const PqliteOptions *options = store->options;
	const char *names[100];
	int			n = -1;

	if (context->request != 1 || context->part != 0)
		return;
	for (int i = 0; i < options->ncolumns; i++)
	{
		const char *column = options->column_names[i];
		const char *suggestion;

		if (has_tag(docs, column))
			continue;
		if (n < 0)
			n = other_tags(store, docs, names, lengthof(names));
		suggestion = jflow_suggest(column, names, n);
		if (suggestion)
			ereport(NOTICE,
					(errmsg("no document has the tag \"%s\", which is a column of %s", column, store->what),
					 errdetail("Documents have the tag \"%s\".", suggestion),
					 errhint("Rename one of them.")));
	}
}
