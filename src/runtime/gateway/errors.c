/*
 * errors.c
 *		Errors that a post goes on after: whose they are, and who is told.
 *
 * With "continue_on_error" a request that fails with an error that may be of a
 * document is run again in halves, until the documents at fault stand alone.
 * What is told of each is a row of the table "errors_to", written in the
 * caller's transaction with his rights, or a warning.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "parser/parse_relation.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "compat.h"
#include "runtime/gateway/errors.h"
#include "runtime/gateway/parts.h"

#define MAX_WARNINGS 20

static const char *const columns[] = {"id", "executor", "sqlstate", "message", "at"};

/*
 * Raise what is wrong with the table of errors, before anything was posted, and
 * before a lock is taken on what the caller may not write.
 */
static void
check_table(Oid table)
{
	const char *name = get_rel_name(table);
	char		kind = get_rel_relkind(table);
	bool		all;

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table with OID %u does not exist", table)));
	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE &&
		kind != RELKIND_VIEW && kind != RELKIND_FOREIGN_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table", name)));
	PreventCommandIfReadOnly("a post with errors_to");
	all = pg_class_aclcheck(table, GetUserId(), ACL_INSERT) == ACLCHECK_OK;
	for (int i = 0; i < lengthof(columns); i++)
	{
		AttrNumber	attnum = get_attnum(table, columns[i]);

		if (attnum == InvalidAttrNumber)
		{
			if (!all)
				aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, name);
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of relation \"%s\" does not exist", columns[i], name),
					 errhint("Make errors_to a table (id text, executor text, sqlstate text, message text, at timestamptz).")));
		}
		if (!all && pg_attribute_aclcheck(table, attnum, GetUserId(), ACL_INSERT) != ACLCHECK_OK)
			aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, name);
	}
}

/* Make ready to tell of errors.  Raises what is wrong with "errors_to". */
void
jflow_errors_open(JflowPost *post)
{
	Oid			table = post->options->errors_to;

	if (!OidIsValid(table))
		return;
	if (!post->options->continue_on_error)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("errors_to needs continue_on_error")));
	check_table(table);
	post->report.insert =
		psprintf("INSERT INTO %s (id, executor, sqlstate, message, at) VALUES ($1, $2, $3, $4, $5)",
				 quote_qualified_identifier(get_namespace_name(get_rel_namespace(table)),
											get_rel_name(table)));
}

/* The post has ended well: tell how many documents have had no warning. */
void
jflow_errors_close(JflowPost *post)
{
	if (post->report.untold > 0)
		ereport(WARNING,
				(errmsg_plural(INT64_FORMAT " more document failed",
							   INT64_FORMAT " more documents failed",
							   (unsigned long) post->report.untold, post->report.untold),
				 errhint("Name a table as errors_to to keep all errors.")));
}

/*
 * May an error be of a document, so that the request is worth to be run again
 * without it?  Errors of the server's state, of rights, or of the code are the
 * same for any document, or cure themselves.
 */
bool
jflow_error_is_of_docs(const JflowStep *step, const ErrorData *error)
{
	int			category = ERRCODE_TO_CATEGORY(error->sqlerrcode);

	if ((step->stages & STAGE_FINISH) ||
		(step->executor->class && step->executor->class->one_by_one))
		return false;
	return category == ERRCODE_TO_CATEGORY(ERRCODE_CARDINALITY_VIOLATION) ||
		category == ERRCODE_TO_CATEGORY(ERRCODE_DATA_EXCEPTION) ||
		category == ERRCODE_TO_CATEGORY(ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION) ||
		error->sqlerrcode == ERRCODE_RAISE_EXCEPTION;
}

/*
 * Does an error of a step tell of what is its owner's alone?  A store runs
 * statements on the owner's tables, and PostgreSQL quotes them.  Reads no catalog.
 */
bool
jflow_error_is_private(const JflowPost *post, int step)
{
	const JflowClass *class = post->plan->steps[step].executor->class;

	return post->stranger && class && class->stores;
}

/*
 * Take out of an error what such a statement has added: its text, the names of its
 * table and columns, and the row that it was about.  The message stays, and the
 * line that says which executor it was.
 */
void
jflow_error_strip(ErrorData *error)
{
	StringInfoData kept;
	char	   *line;
	char	   *end;

	if (error->internalquery || error->table_name || error->constraint_name)
		error->detail = NULL;
	error->internalquery = error->schema_name = error->table_name = NULL;
	error->column_name = error->datatype_name = error->constraint_name = NULL;
	error->internalpos = 0;
	if (error->context == NULL)
		return;
	initStringInfo(&kept);
	for (line = error->context; *line; line = end + (*end == '\n'))
	{
		end = line + strcspn(line, "\n");
		if (strncmp(line, "executor \"", strlen("executor \"")) != 0)
			continue;
		if (kept.len > 0)
			appendStringInfoChar(&kept, '\n');
		appendBinaryStringInfo(&kept, line, end - line);
	}
	error->context = kept.len > 0 ? kept.data : NULL;
}

/* Report an error that the post goes on after. */
void
jflow_error_warn(const char *what, const ErrorData *error)
{
	ereport(WARNING,
			(errcode(error->sqlerrcode),
			 errmsg("%s failed: %s", what, error->message),
			 error->detail ? errdetail("%s", error->detail) : 0,
			 error->hint ? errhint("%s", error->hint) : 0,
			 error->context ? errcontext("%s", error->context) : 0));
}

static void
insert_row(JflowPost *post, Datum id, bool no_id, int step, const ErrorData *error)
{
	Oid			types[5] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID};
	MemoryContext old = CurrentMemoryContext;
	Datum		values[5];
	char		nulls[6] = "     ";
	int			result;

	values[0] = id;
	nulls[0] = no_id ? 'n' : ' ';
	values[1] = step == JFLOW_NONE ? (Datum) 0 :
		CStringGetTextDatum(post->plan->steps[step].executor->name);
	nulls[1] = step == JFLOW_NONE ? 'n' : ' ';
	values[2] = CStringGetTextDatum(unpack_sql_state(error->sqlerrcode));
	values[3] = CStringGetTextDatum(error->message ? error->message : "");
	values[4] = TimestampTzGetDatum(GetCurrentTimestamp());
	SPI_connect();
	result = SPI_execute_with_args(post->report.insert, 5, types, values, nulls, false, 0);
	if (result < 0)
		elog(ERROR, "could not write to errors_to: %s", SPI_result_code_string(result));
	SPI_finish();
	MemoryContextSwitchTo(old);
}

/* What has failed, for a warning. */
static const char *
describe(const JflowRequest *request, Datum *elems, int ndocs, bool whole)
{
	JflowDoc	doc;

	if (whole)
		return psprintf("request " INT64_FORMAT, request->number);
	if (ndocs > 1)
		return psprintf("%d documents of request " INT64_FORMAT, ndocs, request->number);
	jflow_doc_deform(elems[0], &doc);
	return psprintf("document \"%s\" of request " INT64_FORMAT,
					TextDatumGetCString(doc.values[DOC_ID]), request->number);
}

/*
 * Documents have failed at a step, and the post goes on: all of a request
 * ("whole"), whatever documents the step had, or some that the request goes on
 * without.  A request without documents is a row without an id.
 */
void
jflow_error_report(JflowPost *post, JflowRequest *request, int step, const ErrorData *error,
				   Datum docs, bool whole)
{
	MemoryContext old = MemoryContextSwitchTo(request->context);
	Datum	   *elems;
	int			ndocs;

	if (whole)					/* those that failed before have been told of */
		docs = jflow_parts_without(request->input, request->faulty);
	ndocs = jflow_docs_to_datums(docs, "documents", &elems);
	request->nfaulty = whole ? request->ndocs : request->nfaulty + ndocs;
	if (post->report.insert && ndocs == 0)
		insert_row(post, (Datum) 0, true, step, error);
	for (int i = 0; i < ndocs; i++)
	{
		JflowDoc	doc;

		CHECK_FOR_INTERRUPTS();
		jflow_doc_deform(elems[i], &doc);
		if (post->options->error_sink)
			post->options->error_sink(post->options->error_arg, &doc, error, !whole);
		else if (post->report.insert)
			insert_row(post, doc.values[DOC_ID], false, step, error);
		if (!whole)
			request->faulty = lappend(request->faulty, DatumGetTextPCopy(doc.values[DOC_ID]));
	}
	if (post->report.insert || post->options->error_sink)
		;
	else if (post->report.warnings < MAX_WARNINGS)
	{
		post->report.warnings++;
		jflow_error_warn(describe(request, elems, ndocs, whole), error);
	}
	else
		post->report.untold += ndocs;
	MemoryContextSwitchTo(old);
}

/*
 * Has every document of a request failed?  Then nothing is left to go on with:
 * executors must not take it for a request without documents.
 */
bool
jflow_error_took_all(const JflowRequest *request)
{
	return request->nfaulty > 0 && request->nfaulty >= request->ndocs &&
		jflow_docs_count(jflow_parts_without(request->input, request->faulty)) == 0;
}
