/*
 * query_source.c
 *		Documents that are the rows of a query.
 *
 * The query runs as the caller, one request's rows at a time, so memory does not
 * depend on how many there are.  Its columns are document attributes by name,
 * converted as an INSERT would; an id may be of any type, since every type has a
 * text form.
 *
 * It is no cursor: executors run between two fetches, in the same session, and
 * must not find a portal to fetch from, to close, or to replace.  A query that
 * only reads is run by the executor as SQL functions do it.  Any other statement
 * that returns rows must not be left half done while executors run: it is run
 * to its end first, into a tuple store.
 */
#include "postgres.h"

#include "catalog/pg_proc.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "executor/tstoreReceiver.h"
#include "miscadmin.h"
#include "parser/parse_coerce.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "flow/flow.h"
#include "runtime/gateway/query_args.h"
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

typedef struct RowSource
{
	DestReceiver receiver;		/* of the query's rows: makes documents */
	JflowSource base;
	const char *text;
	ParamListInfo params;		/* NULL: none */
	TupleDesc	desc;
	Column	   *columns;

	QueryDesc  *query;			/* that runs, or ... */
	Tuplestorestate *store;		/* ... the rows of one that has run */
	TupleTableSlot *slot;		/* to read the store with */
	bool		exhausted;

	/* while a request is filled */
	MemoryContext context;
	Datum	   *elems;
	int			n;
	int			allocated;
} RowSource;

#define SOURCE_OF(base) \
	((RowSource *) ((char *) (base) - offsetof(RowSource, base)))

/* Adds the line that says that an error came from the query. */
static void
query_error_context(void *arg)
{
	errcontext("SQL statement \"%s\"", (const char *) arg);
}

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
				AclResult	acl = object_aclcheck(ProcedureRelationId, function, GetUserId(), ACL_EXECUTE);

				if (acl != ACLCHECK_OK)
					aclcheck_error(acl, OBJECT_FUNCTION, get_func_name(function));
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
row_to_doc(RowSource *source, TupleTableSlot *slot)
{
	JflowDoc	doc;

	jflow_doc_init(&doc);
	slot_getallattrs(slot);
	for (int i = 0; i < source->desc->natts; i++)
	{
		Column	   *column = &source->columns[i];

		if (slot->tts_isnull[i])
			continue;
		doc.values[column->attr] = convert(column, slot->tts_values[i]);
		doc.nulls[column->attr] = false;
	}
	return jflow_doc_form(&doc);
}

/* One more row of the request. */
static bool
receive_row(TupleTableSlot *slot, DestReceiver *self)
{
	RowSource  *source = (RowSource *) self;
	MemoryContext old = MemoryContextSwitchTo(source->context);

	if (source->n == source->allocated)
	{
		source->allocated *= 2;
		source->elems = repalloc_huge(source->elems, sizeof(Datum) * source->allocated);
	}
	source->elems[source->n++] = row_to_doc(source, slot);
	MemoryContextSwitchTo(old);
	return true;
}

static void
receive_startup(DestReceiver *self, int operation, TupleDesc desc)
{
}

static void
receive_end(DestReceiver *self)
{
}

static void
fetch_rows(RowSource *source, int size)
{
	if (source->query)
	{
		PushActiveSnapshot(source->query->snapshot);
		ExecutorRunCompat(source->query, ForwardScanDirection, size);
		PopActiveSnapshot();
		return;
	}
	while (source->n < size && tuplestore_gettupleslot(source->store, true, false, source->slot))
	{
		CHECK_FOR_INTERRUPTS();
		(void) receive_row(source->slot, &source->receiver);
	}
}

static bool
query_source_next(JflowSource *base, int size, Datum *docs)
{
	RowSource  *source = SOURCE_OF(base);
	ErrorContextCallback callback;

	if (source->exhausted)
		return false;
	source->context = CurrentMemoryContext;
	source->allocated = Min(size, 1000);
	source->elems = palloc(sizeof(Datum) * source->allocated);
	source->n = 0;
	callback.callback = query_error_context;
	callback.arg = (void *) source->text;
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	fetch_rows(source, size);
	error_context_stack = callback.previous;
	source->exhausted = source->n < size;
	if (source->n == 0)
		return false;
	*docs = jflow_docs_from_datums(source->elems, source->n);
	return true;
}

static void
check_duplicate_columns(RowSource *source)
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

static void
prepare_columns(RowSource *source, TupleDesc desc)
{
	source->desc = CreateTupleDescCopy(desc);
	source->columns = palloc0(sizeof(Column) * Max(desc->natts, 1));
	for (int i = 0; i < desc->natts; i++)
		prepare_column(&source->columns[i], TupleDescAttr(source->desc, i));
	check_duplicate_columns(source);
}

/*
 * The statement to run row by row, or NULL if that must not be: it changes
 * something, or is no plain query.
 */
static PlannedStmt *
streamable(CachedPlan *cached)
{
	PlannedStmt *stmt;

	if (list_length(cached->stmt_list) != 1)
		return NULL;
	stmt = linitial_node(PlannedStmt, cached->stmt_list);
	if (stmt->commandType != CMD_SELECT || stmt->utilityStmt || stmt->hasModifyingCTE)
		return NULL;
	return copyObject(stmt);
}

/* Begin to run a query that is read row by row. */
static void
start_query(RowSource *source, PlannedStmt *stmt, const char *text)
{
	source->query = CreateQueryDesc(stmt, text, GetActiveSnapshot(), InvalidSnapshot,
									&source->receiver, source->params, NULL, 0);
	ExecutorStart(source->query, 0);
}

/* Run any other statement, and keep its rows. */
static void
store_rows(RowSource *source, SPIPlanPtr plan)
{
	SPIExecuteOptions options;
	int			result;

	source->store = tuplestore_begin_heap(false, false, work_mem);
	source->slot = MakeSingleTupleTableSlot(source->desc, &TTSOpsMinimalTuple);
	memset(&options, 0, sizeof(options));
	options.params = source->params;
	options.must_return_tuples = true;
	options.dest = CreateDestReceiver(DestTuplestore);
	SetTuplestoreDestReceiverParams(options.dest, source->store, CurrentMemoryContext,
									false, NULL, NULL);
	result = SPI_execute_plan_extended(plan, &options);
	if (result < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_CURSOR_DEFINITION),
				 errmsg("could not run the query: %s", SPI_result_code_string(result))));
	options.dest->rDestroy(options.dest);
}

/*
 * Open a query whose rows are documents; "args" are an array of values for its
 * parameters, or NULL.  Between open and close an SPI
 * connection is held; what is allocated lives in the caller's context, and what
 * the query holds belongs to the caller's resource owner.
 */
JflowSource *
jflow_query_source_open(const char *text, Jsonb *args)
{
	RowSource  *source = palloc0(sizeof(RowSource));
	MemoryContext context = CurrentMemoryContext;
	CachedPlanSource *prepared;
	CachedPlan *cached;
	ErrorContextCallback callback;
	PlannedStmt *stmt;
	SPIPlanPtr	plan;
	Oid		   *types;
	int			nargs;

	source->receiver.receiveSlot = receive_row;
	source->receiver.rStartup = receive_startup;
	source->receiver.rShutdown = receive_end;
	source->receiver.rDestroy = receive_end;
	source->receiver.mydest = DestNone;
	source->text = text;

	source->base.next = query_source_next;
	source->base.total = -1;

	source->params = jflow_query_args(text, args, &types, &nargs);
	SPI_connect();
	plan = SPI_prepare_cursor(text, nargs, types, CURSOR_OPT_NO_SCROLL);
	if (plan == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_CURSOR_DEFINITION),
				 errmsg("could not prepare the query: %s", SPI_result_code_string(SPI_result))));
	if (!SPI_is_cursor_plan(plan))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_CURSOR_DEFINITION),
				 errmsg("the query must be one that returns rows"),
				 errhint("Pass one SELECT, VALUES, or statement with RETURNING.")));
	MemoryContextSwitchTo(context);

	callback.callback = query_error_context;
	callback.arg = (void *) text;

	callback.previous = error_context_stack;
	error_context_stack = &callback;
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	prepared = linitial(SPI_plan_get_plan_sources(plan));
	cached = GetCachedPlan(prepared, source->params, NULL, NULL);
	stmt = streamable(cached);
	error_context_stack = callback.previous;
	prepare_columns(source, prepared->resultDesc);
	error_context_stack = &callback;
	ReleaseCachedPlan(cached, NULL);
	if (stmt)
		start_query(source, stmt, text);
	else
		store_rows(source, plan);
	PopActiveSnapshot();
	error_context_stack = callback.previous;
	return &source->base;
}

/* End the query, or give back what it had stored. */
void
jflow_query_source_close(JflowSource *base)
{
	RowSource  *source = SOURCE_OF(base);

	if (source->query)
	{
		ExecutorFinish(source->query);
		ExecutorEnd(source->query);
		FreeQueryDesc(source->query);
	}
	else
	{
		ExecDropSingleTupleTableSlot(source->slot);
		tuplestore_end(source->store);
	}
	SPI_finish();
}
