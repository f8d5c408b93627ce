/*
 * args.c
 *		Arguments of SQL functions, copied into the current memory context.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "common/args.h"

/* Raise null_value_not_allowed where a required argument is NULL. */
void
jflow_arg_required(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", name)));
}

/*
 * A text argument, in the current memory context.  NULL raises an error that has
 * its name.
 */
char *
jflow_arg_text(FunctionCallInfo fcinfo, int n, const char *name)
{
	jflow_arg_required(fcinfo, n, name);
	return text_to_cstring(PG_GETARG_TEXT_PP(n));
}

/* The same, but NULL is NULL. */
char *
jflow_arg_text_or_null(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

/* A jsonb argument, detoasted.  NULL raises an error that has its name. */
Jsonb *
jflow_arg_jsonb(FunctionCallInfo fcinfo, int n, const char *name)
{
	jflow_arg_required(fcinfo, n, name);
	return PG_GETARG_JSONB_P(n);
}

/* The same, but NULL is NULL. */
Jsonb *
jflow_arg_jsonb_or_null(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : PG_GETARG_JSONB_P(n);
}

/* NULL is false. */
bool
jflow_arg_bool(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? false : PG_GETARG_BOOL(n);
}

/* A text[] without NULLs, or NULL. */
char	  **
jflow_arg_texts_or_null(FunctionCallInfo fcinfo, int n, const char *name, int *count)
{
	Datum	   *elems;
	bool	   *nulls;
	char	  **result;

	*count = 0;
	if (PG_ARGISNULL(n))
		return NULL;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(n), TEXTOID, -1, false, TYPALIGN_INT,
					  &elems, &nulls, count);
	result = palloc(sizeof(char *) * Max(*count, 1));
	for (int i = 0; i < *count; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("%s must not contain NULL", name)));
		result[i] = TextDatumGetCString(elems[i]);
	}
	return result;
}

/* Raise invalid_parameter_value unless a number is in its range. */
void
jflow_check_range(const char *what, int value, int min, int max)
{
	if (value < min || value > max)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be between %d and %d, not %d", what, min, max, value)));
}

/*
 * Milliseconds of an interval, at most JFLOW_MAX_TIMEOUT_MS; months count 30 days,
 * as in interval comparison.
 */
int64
jflow_interval_ms(const Interval *interval)
{
	int64		days = (int64) interval->month * DAYS_PER_MONTH + interval->day;
	int64		ms = days * (SECS_PER_DAY * INT64CONST(1000)) + interval->time / 1000;

	return Max(Min(ms, JFLOW_MAX_TIMEOUT_MS), -JFLOW_MAX_TIMEOUT_MS);
}
