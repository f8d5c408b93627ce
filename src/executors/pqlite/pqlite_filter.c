/*
 * pqlite_filter.c
 *		Filters as parameterised SQL conditions.
 *
 * A condition is true exactly where jflow_filter_match says so of the document
 * that the row is, with the value of a typed column in place of the tag.  That
 * function knows two truth values and SQL three.  So negations are pushed down
 * to the comparisons: a comparison as it stands counts NULL as false, which is
 * what WHERE, AND and OR do with it, and a negated one is written IS NOT TRUE.
 * Comparisons that are not negated stay plain "column operator parameter", which
 * indexes can use.
 *
 * Nothing of the filter gets into the text: values and keys are parameters, and
 * names of columns come from the catalog.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"

#include "compat.h"
#include "executors/pqlite/pqlite.h"

typedef struct Compiler
{
	const PqliteStore *store;
	const char *alias;
	PqliteCondition *condition;
} Compiler;

/* What a comparison with a value that a type may not hold comes down to. */
typedef enum Outcome
{
	OUTCOME_FALSE,
	OUTCOME_NOT_NULL,			/* true where there is a value */
	OUTCOME_COMPARE				/* compare with "value" by "op" */
} Outcome;

/* An empty condition, in the current memory context. */
void
pqlite_condition_init(PqliteCondition *condition)
{
	initStringInfo(&condition->sql);
	condition->nargs = 0;
	condition->max_args = 16;
	condition->types = palloc(sizeof(Oid) * condition->max_args);
	condition->values = palloc(sizeof(Datum) * condition->max_args);
}

/* Add a parameter; returns its number. */
int
pqlite_condition_arg(PqliteCondition *condition, Oid type, Datum value)
{
	if (condition->nargs == condition->max_args)
	{
		condition->max_args *= 2;
		condition->types = repalloc(condition->types, sizeof(Oid) * condition->max_args);
		condition->values = repalloc(condition->values, sizeof(Datum) * condition->max_args);
	}
	if (condition->nargs == 30000)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("filter has too many values"),
				 errhint("Use $in for lists of values.")));
	condition->types[condition->nargs] = type;
	condition->values[condition->nargs] = value;
	return ++condition->nargs;
}

static Datum
string_datum(const JsonbValue *value)
{
	return PointerGetDatum(cstring_to_text_with_len(value->val.string.val, value->val.string.len));
}

static const char *
operator_text(JflowFilterOp op)
{
	switch (op)
	{
		case FILTER_GT:
			return "OPERATOR(pg_catalog.>)";
		case FILTER_GTE:
			return "OPERATOR(pg_catalog.>=)";
		case FILTER_LT:
			return "OPERATOR(pg_catalog.<)";
		case FILTER_LTE:
			return "OPERATOR(pg_catalog.<=)";
		default:
			return "OPERATOR(pg_catalog.=)";
	}
}

/* A comparison with a number whose nearest value of a type lies above or below. */
static Outcome
compare_nearest(JflowFilterOp *op, int order)
{
	/* order: the nearest value against the operand; nothing lies between */
	switch (*op)
	{
		case FILTER_LT:
		case FILTER_LTE:
			*op = order < 0 ? FILTER_LTE : FILTER_LT;
			return OUTCOME_COMPARE;
		case FILTER_GT:
		case FILTER_GTE:
			*op = order < 0 ? FILTER_GT : FILTER_GTE;
			return OUTCOME_COMPARE;
		default:
			return OUTCOME_FALSE;
	}
}

static int
numeric_order(Numeric a, Numeric b)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(a), NumericGetDatum(b)));
}

/* Every value of the type lies on one side of the operand. */
static Outcome
beyond(JflowFilterOp op, bool operand_is_above)
{
	bool		less = op == FILTER_LT || op == FILTER_LTE;
	bool		greater = op == FILTER_GT || op == FILTER_GTE;

	return (operand_is_above ? less : greater) ? OUTCOME_NOT_NULL : OUTCOME_FALSE;
}

static Outcome
integer_operand(const PqliteColumn *column, Numeric number, JflowFilterOp *op,
				Oid *type, Datum *value)
{
	bool		is_oid = column->type == OIDOID;
	Numeric		floor = DatumGetNumeric(DirectFunctionCall1(numeric_floor, NumericGetDatum(number)));
	int64		n = 0;
	int			order = numeric_order(floor, number);

	if (!pqlite_numeric_to_int8(floor, &n))
		return beyond(*op, numeric_order(number, int64_to_numeric(0)) > 0);
	if (is_oid && (n < 0 || n > PG_UINT32_MAX))
		return beyond(*op, n > 0);
	*type = is_oid ? OIDOID : INT8OID;
	*value = is_oid ? ObjectIdGetDatum((Oid) n) : Int64GetDatum(n);
	return order == 0 ? OUTCOME_COMPARE : compare_nearest(op, order);
}

/*
 * A floating-point value stands for the number that it is written as.  Between
 * two neighbours there is no third, so a number that is not written like any
 * value lies beside the nearest.
 */
static Outcome
float_operand(const PqliteColumn *column, Numeric number, JflowFilterOp *op,
			  Oid *type, Datum *value)
{
	bool		narrow = column->type == FLOAT4OID;
	double		d = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
													   NumericGetDatum(number)));
	Numeric		nearest;
	int			order;

	if (narrow && !isinf(d) && isinf((float) d))
		d = d > 0 ? get_float8_infinity() : -get_float8_infinity();
	if (isinf(d))
	{
		/*
		 * infinity and NaN, which a user's table may hold, are above all
		 * numbers
		 */
		*type = column->type;
		*value = narrow ? Float4GetDatum((float) d) : Float8GetDatum(d);
		return compare_nearest(op, d > 0 ? 1 : -1);
	}
	*type = column->type;
	if (narrow && (float) d == 0)
	{
		/* too small, which the input function refuses, or zero */
		*value = Float4GetDatum(0);
		nearest = int64_to_numeric(0);
	}
	else if (narrow)
	{
		char	   *string = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(number)));

		*value = DirectFunctionCall1(float4in, CStringGetDatum(string));
		string = DatumGetCString(DirectFunctionCall1(float4out, *value));
		nearest = DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(string),
													  ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	}
	else
	{
		char	   *string;

		*value = Float8GetDatum(d);
		string = DatumGetCString(DirectFunctionCall1(float8out, *value));
		nearest = DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(string),
													  ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	}
	order = numeric_order(nearest, number);
	return order == 0 ? OUTCOME_COMPARE : compare_nearest(op, order);
}

/* A byte against a string: a longer string is greater than its first byte. */
static Outcome
char_operand(const JsonbValue *operand, JflowFilterOp *op, Oid *type, Datum *value)
{
	*type = CHAROID;
	*value = CharGetDatum(operand->val.string.len == 0 ? '\0' : operand->val.string.val[0]);
	return operand->val.string.len <= 1 ? OUTCOME_COMPARE : compare_nearest(op, -1);
}

/* What a column's comparison with an operand is; may change the operator. */
static Outcome
column_operand(const PqliteColumn *column, const JsonbValue *operand, JflowFilterOp *op,
			   Oid *type, Datum *value)
{
	switch (column->kind)
	{
		case KIND_BOOL:
			if (operand->type != jbvBool)
				return OUTCOME_FALSE;
			*type = BOOLOID;
			*value = BoolGetDatum(operand->val.boolean);
			return OUTCOME_COMPARE;
		case KIND_INTEGER:
			return operand->type != jbvNumeric ? OUTCOME_FALSE :
				integer_operand(column, operand->val.numeric, op, type, value);
		case KIND_FLOAT:
			return operand->type != jbvNumeric ? OUTCOME_FALSE :
				float_operand(column, operand->val.numeric, op, type, value);
		case KIND_NUMERIC:
			if (operand->type != jbvNumeric)
				return OUTCOME_FALSE;
			*type = NUMERICOID;
			*value = NumericGetDatum(operand->val.numeric);
			return OUTCOME_COMPARE;
		case KIND_CHAR:
			return operand->type != jbvString ? OUTCOME_FALSE :
				char_operand(operand, op, type, value);
		case KIND_TEXT:
			if (operand->type != jbvString)
				return OUTCOME_FALSE;
			*type = TEXTOID;
			*value = string_datum(operand);
			return OUTCOME_COMPARE;
		case KIND_PARSED:
			if (operand->type != jbvString)
				return OUTCOME_FALSE;
			*type = column->type;

			/*
			 * as it is written: rounded to the column's precision it is
			 * another
			 */
			*value = pqlite_parse(column->type, -1,
								  pnstrdup(operand->val.string.val, operand->val.string.len));
			return OUTCOME_COMPARE;
	}
	return OUTCOME_FALSE;
}

static char *
collation_of(const PqliteColumn *column)
{
	return column->kind == KIND_TEXT ? " COLLATE pg_catalog.\"C\"" : "";
}

/* A list that a typed column is tested against: an array of what it can equal. */
static void
compile_column_list(Compiler *compiler, const PqliteColumn *column, const char *expr,
					const JflowFilter *filter)
{
	StringInfo	sql = &compiler->condition->sql;
	Datum	   *values = palloc(sizeof(Datum) * Max(filter->noperands, 1));
	int			n = 0;
	Oid			type = InvalidOid;
	int16		len;
	bool		byval;
	char		align;

	for (int i = 0; i < filter->noperands; i++)
	{
		JflowFilterOp op = FILTER_EQ;

		if (column_operand(column, &filter->operands[i], &op, &type, &values[n]) == OUTCOME_COMPARE)
			n++;
	}
	if (n == 0)
	{
		appendStringInfoString(sql, "false");
		return;
	}
	get_typlenbyvalalign(type, &len, &byval, &align);
	appendStringInfo(sql, "%s%s OPERATOR(pg_catalog.=) ANY ($%d)", expr, collation_of(column),
					 pqlite_condition_arg(compiler->condition, get_array_type(type),
										  PointerGetDatum(construct_array(values, n, type, len,
																		  byval, align))));
}

/* A comparison of a typed column, or of an attribute that is like one. */
static void
compile_column(Compiler *compiler, const PqliteColumn *column, const char *expr,
			   const JflowFilter *filter)
{
	StringInfo	sql = &compiler->condition->sql;
	JflowFilterOp op = filter->op;
	Oid			type = InvalidOid;
	Datum		value = 0;

	if (op == FILTER_IN)
	{
		compile_column_list(compiler, column, expr, filter);
		return;
	}
	if (op == FILTER_REGEX)
	{
		if (column->kind == KIND_TEXT)
			appendStringInfo(sql, "%s COLLATE pg_catalog.\"C\" OPERATOR(pg_catalog.~) $%d", expr,
							 pqlite_condition_arg(compiler->condition, TEXTOID,
												  string_datum(&filter->operand)));
		else if (column->kind == KIND_PARSED)
			/* as JSON has it, whatever the session's DateStyle is */
			appendStringInfo(sql, "(pg_catalog.to_jsonb(%s) OPERATOR(pg_catalog.#>>) '{}'::pg_catalog.text[]) COLLATE pg_catalog.\"C\" OPERATOR(pg_catalog.~) $%d", expr,
							 pqlite_condition_arg(compiler->condition, TEXTOID,
												  string_datum(&filter->operand)));
		else if (column->kind == KIND_CHAR)
			appendStringInfo(sql, "%s::pg_catalog.text COLLATE pg_catalog.\"C\" OPERATOR(pg_catalog.~) $%d", expr,
							 pqlite_condition_arg(compiler->condition, TEXTOID,
												  string_datum(&filter->operand)));
		else
			appendStringInfoString(sql, "false");
		return;
	}
	switch (column_operand(column, &filter->operand, &op, &type, &value))
	{
		case OUTCOME_FALSE:
			appendStringInfoString(sql, "false");
			break;
		case OUTCOME_NOT_NULL:
			appendStringInfo(sql, "%s IS NOT NULL", expr);
			break;
		case OUTCOME_COMPARE:
			appendStringInfo(sql, "%s%s %s $%d", expr, collation_of(column), operator_text(op),
							 pqlite_condition_arg(compiler->condition, type, value));
			break;
	}
}

static Datum
jsonb_datum(const JsonbValue *value)
{
	JsonbValue	copy = *value;

	return JsonbPGetDatum(JsonbValueToJsonb(&copy));
}

/* A comparison of a value in the tags; "expr" is of type jsonb. */
static void
compile_json(Compiler *compiler, const char *expr, const JflowFilter *filter)
{
	PqliteCondition *condition = compiler->condition;
	StringInfo	sql = &condition->sql;

	switch (filter->op)
	{
		case FILTER_EQ:
			appendStringInfo(sql, "%s OPERATOR(pg_catalog.=) $%d", expr,
							 pqlite_condition_arg(condition, JSONBOID, jsonb_datum(&filter->operand)));
			break;
		case FILTER_IN:
			{
				Datum	   *values = palloc(sizeof(Datum) * Max(filter->noperands, 1));
				int			n = 0;

				for (int i = 0; i < filter->noperands; i++)
					if (filter->operands[i].type != jbvNull)
						values[n++] = jsonb_datum(&filter->operands[i]);
				/* a scalar contains itself, and a list its elements */
				appendStringInfo(sql, "%s OPERATOR(pg_catalog.@>) ANY ($%d)", expr,
								 pqlite_condition_arg(condition, JSONBARRAYOID,
													  PointerGetDatum(construct_array(values, n, JSONBOID, -1,
																					  false, TYPALIGN_INT))));
				break;
			}
		case FILTER_REGEX:
			appendStringInfo(sql, "(pg_catalog.jsonb_typeof(%s) = 'string' AND (%s OPERATOR(pg_catalog.#>>) '{}'::pg_catalog.text[]) COLLATE pg_catalog.\"C\" OPERATOR(pg_catalog.~) $%d)",
							 expr, expr,
							 pqlite_condition_arg(condition, TEXTOID, string_datum(&filter->operand)));
			break;
		default:
			if (filter->operand.type == jbvNumeric)
				appendStringInfo(sql, "(pg_catalog.jsonb_typeof(%s) = 'number' AND %s %s $%d)",
								 expr, expr, operator_text(filter->op),
								 pqlite_condition_arg(condition, JSONBOID, jsonb_datum(&filter->operand)));
			else
				appendStringInfo(sql, "(pg_catalog.jsonb_typeof(%s) = 'string' AND (%s OPERATOR(pg_catalog.#>>) '{}'::pg_catalog.text[]) COLLATE pg_catalog.\"C\" %s $%d)",
								 expr, expr, operator_text(filter->op),
								 pqlite_condition_arg(condition, TEXTOID, string_datum(&filter->operand)));
	}
}

/* The place of a field in a row. */
typedef struct Field
{
	char	   *expr;			/* NULL: no such column, so never a value */
	bool		json;
	bool		whole_tags;		/* an object, which equals no scalar */
	PqliteColumn column;		/* unless json */
} Field;

/* An attribute that has a column of its own. */
static void
attribute_field(Compiler *compiler, int attr, Field *field)
{
	const PqliteColumn *column = pqlite_column_by_attr(compiler->store, attr);

	if (column == NULL)
		return;
	field->column = *column;
	field->column.kind = KIND_TEXT;
	field->expr = psprintf("%s.%s", compiler->alias, column->quoted);
	if (attr == DOC_WEIGHT)
	{
		field->column.kind = KIND_NUMERIC;
		field->expr = psprintf("%s::pg_catalog.numeric", field->expr);
	}
	else if (attr == DOC_GRANULARITY)
		field->column.kind = KIND_INTEGER;
	else if (column->sent_type != TEXTOID && column->sent_type != VARCHAROID)
		field->expr = psprintf("%s::pg_catalog.text", field->expr);
}

static void
find_field(Compiler *compiler, const JflowFilter *filter, Field *field)
{
	const PqliteStore *store = compiler->store;
	const PqliteColumn *column;
	StringInfoData expr;

	memset(field, 0, sizeof(*field));
	if (filter->attr != DOC_TAGS)
	{
		attribute_field(compiler, filter->attr, field);
		return;
	}

	column = filter->npath == 1 ? pqlite_column_by_name(store, filter->path[0]) : NULL;
	if (column)
	{
		field->column = *column;
		field->expr = psprintf("%s.%s", compiler->alias, column->quoted);
		return;
	}
	column = pqlite_column_by_attr(store, DOC_TAGS);
	if (column == NULL)
	{
		const char *suggestion;

		if (filter->npath == 0)
			return;
		suggestion = pqlite_suggest_column(store, filter->path[0]);
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("filter names \"%s\", which is no column of table %s that can be filtered",
						filter->path[0], store->name),
				 suggestion ? errhint("Did you mean \"%s\"?", suggestion) : 0));
	}
	field->json = true;
	field->whole_tags = filter->npath == 0;
	initStringInfo(&expr);
	appendStringInfo(&expr, "%s%s.%s", filter->npath > 0 ? "(" : "", compiler->alias, column->quoted);
	for (int i = 0; i < filter->npath; i++)
		appendStringInfo(&expr, " OPERATOR(pg_catalog.->) $%d",
						 pqlite_condition_arg(compiler->condition, TEXTOID,
											  CStringGetTextDatum(filter->path[i])));
	if (filter->npath > 0)
		appendStringInfoChar(&expr, ')');
	field->expr = expr.data;
}

static void
compile_exists(Compiler *compiler, const Field *field, bool exists)
{
	StringInfo	sql = &compiler->condition->sql;

	if (field->expr == NULL)
		appendStringInfoString(sql, exists ? "false" : "true");
	else if (field->json && !field->whole_tags)
		appendStringInfo(sql, "(pg_catalog.jsonb_typeof(%s) <> 'null')%s", field->expr,
						 exists ? "" : " IS NOT TRUE");
	else
		appendStringInfo(sql, "%s IS %sNULL", field->expr, exists ? "NOT " : "");
}

/* A comparison; it is true of a NULL exactly if it is negated. */
static void
compile_comparison(Compiler *compiler, const JflowFilter *filter, bool negated)
{
	StringInfo	sql = &compiler->condition->sql;
	JflowFilter positive = *filter;
	Field		field;

	find_field(compiler, filter, &field);
	if (filter->op == FILTER_EXISTS)
	{
		compile_exists(compiler, &field, filter->operand.val.boolean != negated);
		return;
	}
	if (filter->op == FILTER_NE || filter->op == FILTER_NIN)
	{
		positive.op = filter->op == FILTER_NE ? FILTER_EQ : FILTER_IN;
		negated = !negated;
	}
	if (positive.op == FILTER_EQ && positive.operand.type == jbvNull)
	{
		compile_exists(compiler, &field, negated);
		return;
	}
	if (field.expr == NULL || field.whole_tags)
	{
		appendStringInfoString(sql, negated ? "true" : "false");
		return;
	}
	if (negated)
		appendStringInfoChar(sql, '(');
	if (field.json)
		compile_json(compiler, field.expr, &positive);
	else
		compile_column(compiler, &field.column, field.expr, &positive);
	if (negated)
		appendStringInfoString(sql, ") IS NOT TRUE");
}

static void
compile(Compiler *compiler, const JflowFilter *filter, bool negated)
{
	StringInfo	sql = &compiler->condition->sql;
	bool		conjunction = (filter->op == FILTER_AND) != negated;

	check_stack_depth();
	switch (filter->op)
	{
		case FILTER_NOT:
			compile(compiler, filter->children[0], !negated);
			break;
		case FILTER_AND:
		case FILTER_OR:
			if (filter->nchildren == 0)
			{
				appendStringInfoString(sql, conjunction ? "true" : "false");
				break;
			}
			appendStringInfoChar(sql, '(');
			for (int i = 0; i < filter->nchildren; i++)
			{
				if (i > 0)
					appendStringInfoString(sql, conjunction ? " AND " : " OR ");
				compile(compiler, filter->children[i], negated);
			}
			appendStringInfoChar(sql, ')');
			break;
		default:
			compile_comparison(compiler, filter, negated);
	}
}

/*
 * Append a filter's condition on rows of "alias"; a NULL filter is true.  Raises
 * undefined_column for a field that a user's table does not have.
 */
void
pqlite_compile_filter(const PqliteStore *store, const JflowFilter *filter,
					  const char *alias, PqliteCondition *condition)
{
	Compiler	compiler = {store, alias, condition};

	if (filter == NULL)
		appendStringInfoString(&condition->sql, "true");
	else
		compile(&compiler, filter, false);
}
