/*
 * pqlite_value.c
 *		Values of typed columns, from JSON, and embeddings.
 *
 * A value that does not fit its column is an error rather than something near
 * it: a filter must mean the same on the column as on the tags.  What has a
 * precision rounds to it, as it does everywhere: floating point, and types with
 * a modifier like numeric(6,2).
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"

#include "sparsevec.h"
#include "vector.h"

#include "compat.h"
#include "executors/pqlite/pqlite.h"

/* Can a column of this type be filtered, and how? */
bool
pqlite_kind_of_type(Oid type, PqliteKind *kind)
{
	switch (type)
	{
		case BOOLOID:
			*kind = KIND_BOOL;
			return true;
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case OIDOID:
			*kind = KIND_INTEGER;
			return true;
		case FLOAT4OID:
		case FLOAT8OID:
			*kind = KIND_FLOAT;
			return true;
		case NUMERICOID:
			*kind = KIND_NUMERIC;
			return true;
		case TEXTOID:
		case VARCHAROID:
			*kind = KIND_TEXT;
			return true;
		case CHAROID:
			*kind = KIND_CHAR;
			return true;
		case DATEOID:
		case TIMEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
		case UUIDOID:
			*kind = KIND_PARSED;
			return true;
		default:
			return false;
	}
}

/* What a session may say of dates and times, for a text to be silent about. */
static bool
is_date_or_time(Oid type)
{
	return type == DATEOID || type == TIMESTAMPOID || type == TIMESTAMPTZOID;
}

/*
 * A value of a type from its text form.  A date or time means the same whoever
 * posts it, and in every replica: year, month and day come in this order where the
 * text does not say which is which, and it is of UTC where it names no zone.
 */
Datum
pqlite_parse(Oid type, int32 typmod, char *string)
{
	Oid			input;
	Oid			ioparam;
	int			order = DateOrder;
	pg_tz	   *zone = session_timezone;
	MemoryContext context = CurrentMemoryContext;
	Datum		result;

	getTypeInputInfo(type, &input, &ioparam);
	if (!is_date_or_time(type))
		return OidInputFunctionCall(input, string, ioparam, typmod);
	PG_TRY();
	{
		DateOrder = DATEORDER_YMD;
		session_timezone = pg_tzset("UTC");
		result = OidInputFunctionCall(input, string, ioparam, typmod);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		DateOrder = order;
		session_timezone = zone;
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		/* the server's hint is about a setting that does not count here */
		if (error->hint)
			error->hint = pstrdup("Write dates as year-month-day.");
		ReThrowError(error);
	}
	PG_END_TRY();
	DateOrder = order;
	session_timezone = zone;
	return result;
}

static char *
json_type(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvString:
			return "a string";
		case jbvNumeric:
			return "a number";
		case jbvBool:
			return "a boolean";
		default:
			return "an object or array";
	}
}

static void JFLOW_NORETURN
does_not_fit(const PqliteColumn *column, const char *what, const char *found)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("tag \"%s\" of %s does not fit column type %s", column->name, what,
					format_type_with_typemod(column->type, column->typmod)),
			 errdetail("It is %s.", found)));
}

static bool
numeric_test(PGFunction function, Numeric a, Numeric b)
{
	return DatumGetBool(DirectFunctionCall2(function, NumericGetDatum(a), NumericGetDatum(b)));
}

/* A number as an integer; false if it is none of 64 bits. */
bool
pqlite_numeric_to_int8(Numeric number, int64 *result)
{
	if (!numeric_test(numeric_ge, number, int64_to_numeric(PG_INT64_MIN)) ||
		!numeric_test(numeric_le, number, int64_to_numeric(PG_INT64_MAX)))
		return false;
	*result = DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(number)));
	return numeric_test(numeric_eq, number, int64_to_numeric(*result));
}

static Datum
integer_value(const PqliteColumn *column, Numeric number, const char *what)
{
	int64		n = 0;
	int64		min,
				max;

	switch (column->type)
	{
		case INT2OID:
			min = PG_INT16_MIN;
			max = PG_INT16_MAX;
			break;
		case INT4OID:
			min = PG_INT32_MIN;
			max = PG_INT32_MAX;
			break;
		case OIDOID:
			min = 0;
			max = PG_UINT32_MAX;
			break;
		default:
			min = PG_INT64_MIN;
			max = PG_INT64_MAX;
	}
	if (!pqlite_numeric_to_int8(number, &n) || n < min || n > max)
		does_not_fit(column, what,
					 psprintf("the number %s", numeric_normalize(number)));
	switch (column->type)
	{
		case INT2OID:
			return Int16GetDatum((int16) n);
		case INT4OID:
			return Int32GetDatum((int32) n);
		case OIDOID:
			return ObjectIdGetDatum((Oid) n);
		default:
			return Int64GetDatum(n);
	}
}

/* Adds a line that says which tag an input function complains about. */
typedef struct TagContext
{
	const PqliteColumn *column;
	const char *what;
} TagContext;

static void
tag_error_context(void *arg)
{
	const TagContext *context = arg;

	errcontext("tag \"%s\" of %s", context->column->name, context->what);
}

static Datum
parsed_value(const PqliteColumn *column, const JsonbValue *value, const char *what)
{
	ErrorContextCallback callback;
	TagContext	context = {column, what};
	char	   *string = value->type == jbvNumeric ?
		DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric))) :
		pnstrdup(value->val.string.val, value->val.string.len);
	Datum		result;

	callback.callback = tag_error_context;
	callback.arg = &context;
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	result = pqlite_parse(column->type, column->typmod, string);
	error_context_stack = callback.previous;
	return result;
}

/*
 * The value of a typed column for a JSON value that is not null; "what" is the
 * document in errors.
 */
Datum
pqlite_value_from_json(const PqliteColumn *column, const JsonbValue *value, const char *what)
{
	enum jbvType expected = jbvString;

	if (column->kind == KIND_BOOL)
		expected = jbvBool;
	else if (column->kind == KIND_INTEGER || column->kind == KIND_FLOAT ||
			 column->kind == KIND_NUMERIC)
		expected = jbvNumeric;
	if (value->type != expected)
		does_not_fit(column, what, json_type(value));

	switch (column->kind)
	{
		case KIND_BOOL:
			return BoolGetDatum(value->val.boolean);
		case KIND_INTEGER:
			return integer_value(column, value->val.numeric, what);
		case KIND_CHAR:
			if (value->val.string.len > 1)
				does_not_fit(column, what, psprintf("a string of %d bytes", value->val.string.len));
			return CharGetDatum(value->val.string.len == 0 ? '\0' : value->val.string.val[0]);
		case KIND_TEXT:
			if (column->typmod < 0)
				return PointerGetDatum(cstring_to_text_with_len(value->val.string.val,
																value->val.string.len));
			return parsed_value(column, value, what);
		default:
			return parsed_value(column, value, what);
	}
}

/* The number of dimensions of an embedding, of which the store's field tells the type. */
int
pqlite_vector_dim(bool sparse, Datum value)
{
	return sparse ? DatumGetSparseVector(value)->dim : DatumGetVector(value)->dim;
}

/* Is every element 0?  Such a vector has no direction, so no cosine. */
bool
pqlite_zero_vector(bool sparse, Datum value)
{
	if (sparse)
		return DatumGetSparseVector(value)->nnz == 0;
	else
	{
		Vector	   *vector = DatumGetVector(value);

		for (int i = 0; i < vector->dim; i++)
			if (vector->x[i] != 0)
				return false;
		return true;
	}
}

/* Has a document an embedding that is at a distance from others? */
bool
pqlite_has_vector(const PqliteOptions *options, bool sparse, const JflowDoc *doc)
{
	int			attr = sparse ? DOC_SPARSE_EMBEDDING : DOC_EMBEDDING;

	return !doc->nulls[attr] &&
		(options->metric != PQLITE_COSINE || !pqlite_zero_vector(sparse, doc->values[attr]));
}
