/*
 * query_source.c
 *		Documents that are the rows of a query.
 *
 * The query runs as the caller, through a cursor from which one request's rows
 * are fetched at a time, so memory does not depend on how many there are.  Its
 * columns are document attributes by name, converted as an INSERT would; an id
 * may be of any type, since every type has a text form.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/nodes.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "compat.h"
#include "flow/flow.h"
#include "runtime/gateway/query_source.h"

/* How a column becomes an attribute. */
typedef struct Column
{
	JflowDocAttr attr;
	CoercionPathType path;
	FmgrInfo	function;		/* of the cast, or the type's output */
	FmgrInfo	input;			/* of the attribute's type, for I/O casts */
	Oid			ioparam;
} Column;

typedef struct CursorSource
{
	JflowSource base;
	Portal		portal;
	TupleDesc	desc;
	Column	   *columns;
} CursorSource;

static void
unknown_column(const char *name)
{
	const char *names[DOC_NATTS];
	const char *suggestion;

	for (int i = 0; i < DOC_NATTS; i++)
		names[i] = jflow_doc_attr_name(i);
	suggestion = jflow_suggest(name, names, DOC_NATTS);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("column \"%s\" of the query is not an attribute of a document", name),
			 suggestion ? errhint("Did you mean \"%s\"?", suggestion)
			 : errhint("Name the columns like the attributes of jflow_doc.")));
}

static void
prepare_column(Column *column, Form_pg_attribute att)
{
	const char *name = NameStr(att->attname);
	int			attr = jflow_doc_attr_by_name(name);
	Oid			target,
				function;
	bool		varlena;

	if (attr < 0)
		unknown_column(name);
	column->attr = attr;
	target = jflow_types()->atttype[attr];

	column->path = att->atttypid == target ? COERCION_PATH_RELABELTYPE :
		find_coercion_pathway(target, att->atttypid, COERCION_ASSIGNMENT, &function);
	if (column->path == COERCION_PATH_NONE && attr == DOC_ID)
		column->path = COERCION_PATH_COERCEVIAIO;

	switch (column->path)
	{
		case COERCION_PATH_RELABELTYPE:
			break;
		case COERCION_PATH_FUNC:
			if (OidIsValid(function))
			{
				fmgr_info(function, &column->function);
				break;
			}
			goto no_cast;
		case COERCION_PATH_COERCEVIAIO:
			getTypeOutputInfo(att->atttypid, &function, &varlena);
			fmgr_info(function, &column->function);
			getTypeInputInfo(target, &function, &column->ioparam);
			fmgr_info(function, &column->input);
			break;
		default:
	no_cast:
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" of the query is of type %s but a document's is of type %s",
							name, format_type_be(att->atttypid), format_type_be(target)),
					 errhint("Cast the column in the query.")));
	}
}

static Datum
convert(Column *column, Datum value)
{
	switch (column->path)
	{
		case COERCION_PATH_FUNC:
			/* a cast can ask for the type modifier and for being explicit */
			if (column->function.fn_nargs == 1)
				return FunctionCall1(&column->function, value);
			if (column->function.fn_nargs == 2)
				return FunctionCall2(&column->function, value, Int32GetDatum(-1));
			return FunctionCall3(&column->function, value, Int32GetDatum(-1),
								 BoolGetDatum(false));
		case COERCION_PATH_COERCEVIAIO:
			return InputFunctionCall(&column->input,
									 OutputFunctionCall(&column->function, value),
									 column->ioparam, -1);
		default:
			return value;
	}
}

static Datum
row_to_doc(CursorSource *source, HeapTuple tuple)
{
	JflowDoc	doc;

	jflow_doc_init(&doc);
	for (int i = 0; i < source->desc->natts; i++)
	{
		Column	   *column = &source->columns[i];
		bool		isnull;
		Datum		value;

		if (TupleDescAttr(source->desc, i)->attisdropped)
			continue;
		value = heap_getattr(tuple, i + 1, source->desc, &isnull);
		if (isnull)
			continue;
		doc.values[column->attr] = convert(column, value);
		doc.nulls[column->attr] = false;
	}
	return jflow_doc_form(&doc);
}

static bool
query_source_next(JflowSource *base, int size, Datum *docs)
{
	CursorSource *source = (CursorSource *) base;
	MemoryContext context = CurrentMemoryContext;
	Datum	   *elems;
	int			n;

	/* SPI leaves its own context as the current one, which lives too long. */
	SPI_cursor_fetch(source->portal, true, size);
	MemoryContextSwitchTo(context);
	n = (int) SPI_processed;
	if (n == 0)
	{
		SPI_freetuptable(SPI_tuptable);
		return false;
	}
	elems = palloc(sizeof(Datum) * n);
	for (int i = 0; i < n; i++)
		elems[i] = row_to_doc(source, SPI_tuptable->vals[i]);
	SPI_freetuptable(SPI_tuptable);
	*docs = jflow_docs_from_datums(elems, n);
	return true;
}

static void
check_duplicate_columns(CursorSource *source)
{
	bool		seen[DOC_NATTS] = {false};

	for (int i = 0; i < source->desc->natts; i++)
	{
		JflowDocAttr attr = source->columns[i].attr;

		if (seen[attr])
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("column \"%s\" of the query is there twice",
							jflow_doc_attr_name(attr))));
		seen[attr] = true;
	}
}

/*
 * Open a query whose rows are documents.  Between open and close an SPI
 * connection is held; what is allocated lives in the caller's context.
 */
JflowSource *
jflow_query_source_open(const char *query)
{
	CursorSource *source = palloc0(sizeof(CursorSource));
	MemoryContext context = CurrentMemoryContext;
	SPIPlanPtr	plan;

	SPI_connect();
	plan = SPI_prepare_cursor(query, 0, NULL, CURSOR_OPT_NO_SCROLL);
	if (plan == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_CURSOR_DEFINITION),
				 errmsg("could not prepare the query: %s", SPI_result_code_string(SPI_result))));
	if (!SPI_is_cursor_plan(plan))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_CURSOR_DEFINITION),
				 errmsg("the query must be one that returns rows"),
				 errhint("Pass one SELECT, VALUES, or statement with RETURNING.")));
	source->portal = SPI_cursor_open(NULL, plan, NULL, NULL, false);
	source->base.next = query_source_next;
	source->base.total = -1;

	MemoryContextSwitchTo(context);
	source->desc = CreateTupleDescCopy(source->portal->tupDesc);
	source->columns = palloc0(sizeof(Column) * Max(source->desc->natts, 1));
	for (int i = 0; i < source->desc->natts; i++)
		prepare_column(&source->columns[i], TupleDescAttr(source->desc, i));
	check_duplicate_columns(source);

	return &source->base;
}

void
jflow_query_source_close(JflowSource *base)
{
	CursorSource *source = (CursorSource *) base;

	SPI_cursor_close(source->portal);
	SPI_finish();
}
