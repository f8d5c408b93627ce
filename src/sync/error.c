/*
 * error.c
 *		Whose errors are: a row's, those of all rows, or nobody knows.
 *
 * docs/sync.md has the table of what becomes of each.
 */
#include "postgres.h"

#include "sync/sync.h"

static bool
is_of_class(int sqlstate, int class)
{
	return ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_TO_CATEGORY(class);
}

/* Errors that pass, whatever the row is. */
bool
sync_error_passes(int sqlstate)
{
	return is_of_class(sqlstate, ERRCODE_CONNECTION_EXCEPTION) ||
		is_of_class(sqlstate, ERRCODE_TRANSACTION_ROLLBACK) ||
		is_of_class(sqlstate, ERRCODE_INSUFFICIENT_RESOURCES) ||
		is_of_class(sqlstate, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE) ||
		is_of_class(sqlstate, ERRCODE_SYSTEM_ERROR) ||
		(is_of_class(sqlstate, ERRCODE_OPERATOR_INTERVENTION) && sqlstate != ERRCODE_QUERY_CANCELED);
}

/* Does an error of reading end all that the transaction does, since somebody has asked for that? */
bool
sync_error_ends_reading(const ErrorData *error)
{
	return is_of_class(error->sqlerrcode, ERRCODE_OPERATOR_INTERVENTION);
}

/*
 * Can it be that of all rows as well?  Then what becomes of others tells: what passes,
 * a right or an object that is not there any more, a state of the transaction, or what
 * the server has no name for.  Anything else is said of what is in the row, by a type,
 * a constraint or a function.
 */
bool
sync_error_is_unsure(int sqlstate)
{
	return sync_error_passes(sqlstate) ||
		is_of_class(sqlstate, ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION) ||
		is_of_class(sqlstate, ERRCODE_INVALID_SCHEMA_NAME) ||
		is_of_class(sqlstate, ERRCODE_INVALID_TRANSACTION_STATE) ||
		is_of_class(sqlstate, ERRCODE_INTERNAL_ERROR);
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
