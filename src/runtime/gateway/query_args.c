/*
 * query_args.c
 *		Values for the parameters of a query, given as JSON.
 *
 * A value is what a literal of it would be: a number is an integer where it fits
 * one, else numeric; a string, an array or an object is of unknown type, and so
 * becomes what the query needs at that place.  It is read by the input function
 * of its type, from JSON's text or, for an array type, from an array literal.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "parser/analyze.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/snapmgr.h"

#include "common/json.h"
#include "compat.h"
#include "runtime/gateway/query_args.h"

static bool
is_within(Numeric number, int64 min, int64 max)
{
	return DatumGetBool(DirectFunctionCall2(numeric_ge, NumericGetDatum(number),
											NumericGetDatum(int64_to_numeric(min)))) &&
		DatumGetBool(DirectFunctionCall2(numeric_le, NumericGetDatum(number),
										 NumericGetDatum(int64_to_numeric(max))));
}

/* The type of a value before the query says what it needs. */
static Oid
literal_type(const JsonbValue *value)
{
	Datum		number,
				whole;

	if (value->type == jbvBool)
		return BOOLOID;
	if (value->type != jbvNumeric)
		return UNKNOWNOID;
	number = NumericGetDatum(value->val.numeric);
	whole = DirectFunctionCall2(numeric_trunc, number, Int32GetDatum(0));
	if (!DatumGetBool(DirectFunctionCall2(numeric_eq, whole, number)))
		return NUMERICOID;
	if (is_within(value->val.numeric, PG_INT32_MIN, PG_INT32_MAX))
		return INT4OID;
	return is_within(value->val.numeric, PG_INT64_MIN, PG_INT64_MAX) ? INT8OID : NUMERICOID;
}

/* JSON's text of a value; a string's is the string. */
static char *
value_text(const JsonbValue *value)
{
	if (value->type == jbvString)
		return jflow_json_string(value);
	if (value->type == jbvBool)
		return pstrdup(value->val.boolean ? "true" : "false");
	if (value->type == jbvNumeric)
		return DatumGetCString(DirectFunctionCall1(numeric_out,
												   NumericGetDatum(value->val.numeric)));
	return JsonbToCString(NULL, value->val.binary.data, value->val.binary.len);
}

/* A JSON array as the literal of an array; arrays in it are its dimensions. */
static void
append_array(StringInfo literal, const JsonbValue *array, char delimiter)
{
	JsonbIterator *it = JsonbIteratorInit(array->val.binary.data);
	JsonbIteratorToken token;
	JsonbValue	value;
	bool		first = true;

	check_stack_depth();
	appendStringInfoChar(literal, '{');
	(void) JsonbIteratorNext(&it, &value, true);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM)
			continue;
		CHECK_FOR_INTERRUPTS();
		if (!first)
			appendStringInfoChar(literal, delimiter);
		first = false;
		if (jflow_json_is_array(&value))
			append_array(literal, &value, delimiter);
		else if (value.type == jbvNull)
			appendStringInfoString(literal, "NULL");
		else
		{
			appendStringInfoChar(literal, '"');
			for (const char *c = value_text(&value); *c; c++)
			{
				if (*c == '"' || *c == '\\')
					appendStringInfoChar(literal, '\\');
				appendStringInfoChar(literal, *c);
			}
			appendStringInfoChar(literal, '"');
		}
	}
	appendStringInfoChar(literal, '}');
}

static Datum
read_value(const JsonbValue *value, Oid type)
{
	Oid			element = get_element_type(type);
	Oid			input,
				ioparam;
	char	   *text_form;

	if (OidIsValid(element) && jflow_json_is_array(value))
	{
		StringInfoData literal;
		int16		len;
		bool		byval;
		char		align,
					delimiter;

		get_type_io_data(element, IOFunc_input, &len, &byval, &align, &delimiter, &ioparam, &input);
		initStringInfo(&literal);
		append_array(&literal, value, delimiter);
		text_form = literal.data;
	}
	else
		text_form = value_text(value);
	getTypeInputInfo(type, &input, &ioparam);
	return OidInputFunctionCall(input, text_form, ioparam, -1);
}

/* Find out what types the query needs; "unknown" is what it leaves open. */
static void
resolve_types(const char *query, Oid **types, int nargs)
{
	List	   *parsed = pg_parse_query(query);
	int			n = nargs;

	if (list_length(parsed) != 1)
		return;					/* whoever prepares it says so */
	PushActiveSnapshot(GetTransactionSnapshot());
	(void) parse_analyze_varparams(linitial_node(RawStmt, parsed), query, types, &n, NULL);
	PopActiveSnapshot();
	if (n > nargs)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_PARAMETER),
				 errmsg("there is no parameter $%d", n),
				 errdetail_plural("\"args\" has %d value.", "\"args\" has %d values.", nargs, nargs)));
}

/*
 * The values of a JSON array for $1, $2, ... of a query, and their types; NULL
 * and no types where there are no "args".  In the current memory context.
 */
ParamListInfo
jflow_query_args(const char *query, Jsonb *args, Oid **types, int *nargs)
{
	ParamListInfo params;

	*types = NULL;
	*nargs = 0;
	if (args == NULL)
		return NULL;
	if (!JB_ROOT_IS_ARRAY(args) || JB_ROOT_IS_SCALAR(args))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("args must be a JSON array"),
				 errhint("Its first value is for $1, and so on.")));
	*nargs = JB_ROOT_COUNT(args);
	if (*nargs > PG_UINT16_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_TOO_MANY_ARGUMENTS),
				 errmsg("args must have at most %d values", PG_UINT16_MAX)));
	*types = palloc(sizeof(Oid) * Max(*nargs, 1));
	for (int i = 0; i < *nargs; i++)
		(*types)[i] = literal_type(getIthJsonbValueFromContainer(&args->root, i));
	resolve_types(query, types, *nargs);

	params = makeParamList(*nargs);
	for (int i = 0; i < *nargs; i++)
	{
		JsonbValue *value = getIthJsonbValueFromContainer(&args->root, i);
		ParamExternData *param = &params->params[i];

		if ((*types)[i] == UNKNOWNOID || !OidIsValid((*types)[i]))
			(*types)[i] = TEXTOID;
		param->ptype = (*types)[i];
		param->pflags = PARAM_FLAG_CONST;
		param->isnull = value->type == jbvNull;
		param->value = param->isnull ? (Datum) 0 : read_value(value, param->ptype);
	}
	return params;
}
