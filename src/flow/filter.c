/*
 * filter.c
 *		The JSON filter language: parsing, and matching against documents.
 *
 *	{"tags.price": {"$lt": 50}, "$or": [{"brand": "x"}, {"lang": {"$in": ["en"]}}]}
 *
 * A field is an attribute of the document (id, text, uri, mime_type, parent_id,
 * granularity, weight), a path into its tags (tags.a.b, or tags__a__b as Jina
 * spells it), or else a key of its tags.  A dot that belongs to a key is written
 * with a backslash, and so is a backslash in front of one.
 *
 * Logic has two values.  A field that is missing or null equals nothing, so it
 * is matched by $ne, $nin, {"$exists": false} and $not, and by nothing else;
 * values of different types are not equal and not ordered.  Strings compare by
 * their bytes, whatever the database's collation.  $in and $nin ask of a list
 * whether one of its elements is in theirs.
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "regex/regex.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "common/json.h"
#include "compat.h"
#include "flow/filter.h"

static const char *const op_names[] = {
	"$and", "$or", "$not", "$eq", "$ne", "$gt", "$gte", "$lt", "$lte",
	"$in", "$nin", "$exists", "$regex"
};

PG_FUNCTION_INFO_V1(jflow_matches_filter);

static JflowFilter *parse_logic(JflowFilterOp op, JsonbValue *value, const char *what);

static JflowFilter *
new_filter(JflowFilterOp op)
{
	JflowFilter *filter = palloc0(sizeof(JflowFilter));

	filter->op = op;
	return filter;
}

static void
add_child(JflowFilter *filter, JflowFilter *child)
{
	CHECK_FOR_INTERRUPTS();
	if (filter->nchildren == filter->max_children)
	{
		filter->max_children = Max(4, filter->max_children * 2);
		filter->children = filter->children ?
			repalloc(filter->children, sizeof(JflowFilter *) * filter->max_children) :
			palloc(sizeof(JflowFilter *) * filter->max_children);
	}
	filter->children[filter->nchildren++] = child;
}

static void JFLOW_NORETURN
unknown_operator(const char *name, const char *what)
{
	const char *suggestion = jflow_suggest(name, op_names, lengthof(op_names));

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown operator \"%s\" in %s", name, what),
			 suggestion ? errhint("Did you mean \"%s\"?", suggestion)
			 : errhint("The operators are $eq, $ne, $gt, $gte, $lt, $lte, $in, $nin, $exists, $regex, $and, $or and $not.")));
}

static JflowFilterOp
find_operator(const char *name, const char *what)
{
	for (int i = 0; i < lengthof(op_names); i++)
		if (strcmp(op_names[i], name) == 0)
			return (JflowFilterOp) i;
	unknown_operator(name, what);
}

static void
wrong_operand(JflowFilterOp op, const char *what, const char *expected)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("operand of \"%s\" in %s must be %s", op_names[op], what, expected)));
}

/* Split a path at its dots, in place. */
static void
split_path(JflowFilter *filter, char *path)
{
	char	   *to = path;

	filter->path = palloc(sizeof(char *) * (strlen(path) + 1));
	filter->path[filter->npath++] = path;
	for (char *p = path; *p; p++)
	{
		if (p[0] == '\\' && (p[1] == '.' || p[1] == '\\'))
			*to++ = *++p;
		else if (*p == '.')
		{
			*to++ = '\0';
			filter->path[filter->npath++] = to;
		}
		else
			*to++ = *p;
	}
	*to = '\0';
}

/* Split a field's name into attribute and path. */
static void
parse_field(JflowFilter *filter, const char *field, const char *what)
{
	char	   *rest = pstrdup(field);
	char	   *p;

	/* Jina's spelling of a path */
	if (strncmp(rest, "tags__", 6) == 0)
	{
		char	   *to = rest;

		for (p = rest; *p; p++, to++)
		{
			if (p[0] == '_' && p[1] == '_')
			{
				*to = '.';
				p++;
			}
			else
				*to = *p;
		}
		*to = '\0';
	}

	filter->attr = jflow_doc_attr_by_name(rest);
	if (filter->attr == DOC_BLOB || filter->attr == DOC_EMBEDDING ||
		filter->attr == DOC_SPARSE_EMBEDDING || filter->attr == DOC_MATCHES ||
		filter->attr == DOC_SCORES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s cannot test \"%s\"", what, field)));
	if (filter->attr >= 0 && filter->attr != DOC_TAGS)
		return;

	filter->attr = DOC_TAGS;
	if (strncmp(rest, "tags.", 5) == 0)
		rest += 5;
	else if (strcmp(rest, "tags") == 0)
		return;
	split_path(filter, rest);
}

/* Compare two values of one type; false if they are not of one ordered type. */
static bool
compare_values(const JsonbValue *a, const JsonbValue *b, int *order)
{
	if (a->type != b->type)
		return false;
	switch (a->type)
	{
		case jbvNumeric:
			*order = DatumGetInt32(DirectFunctionCall2(numeric_cmp,
													   NumericGetDatum(a->val.numeric),
													   NumericGetDatum(b->val.numeric)));
			return true;
		case jbvString:
			*order = memcmp(a->val.string.val, b->val.string.val,
							Min(a->val.string.len, b->val.string.len));
			if (*order == 0)
				*order = a->val.string.len - b->val.string.len;
			return true;
		case jbvBool:
			*order = (int) a->val.boolean - (int) b->val.boolean;
			return true;
		default:
			return false;
	}
}

/* Order of operands in a list: by type, then by value. */
static int
operand_order(const void *a, const void *b)
{
	const JsonbValue *va = a;
	const JsonbValue *vb = b;
	int			order = 0;

	CHECK_FOR_INTERRUPTS();
	if (!compare_values(va, vb, &order))
		order = (int) va->type - (int) vb->type;
	return order;
}

static void
parse_list(JflowFilter *filter, const JsonbValue *value, const char *what)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	element;

	if (!jflow_json_is_array(value))
		wrong_operand(filter->op, what, "an array of scalars");
	filter->operands = palloc(sizeof(JsonbValue) *
							  Max(JsonContainerSize(value->val.binary.data), 1));
	it = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &element, true)) != WJB_DONE)
	{
		CHECK_FOR_INTERRUPTS();
		if (token != WJB_ELEM)
			continue;
		if (!jflow_json_is_scalar(&element))
			wrong_operand(filter->op, what, "an array of scalars");
		filter->operands[filter->noperands++] = element;
	}
	qsort(filter->operands, filter->noperands, sizeof(JsonbValue), operand_order);
}

/* One operator on a field. */
static JflowFilter *
parse_comparison(const char *field, JflowFilterOp op, JsonbValue *value, const char *what)
{
	JflowFilter *filter = new_filter(op);

	parse_field(filter, field, what);
	switch (op)
	{
		case FILTER_IN:
		case FILTER_NIN:
			parse_list(filter, value, what);
			return filter;
		case FILTER_EXISTS:
			if (value->type != jbvBool)
				wrong_operand(op, what, "a boolean");
			break;
		case FILTER_REGEX:
			if (value->type != jbvString)
				wrong_operand(op, what, "a string");
			/* a wrong expression is found now, not at the first document */
			(void) RE_compile_and_execute(cstring_to_text(jflow_json_string(value)), "", 0,
										  REG_ADVANCED, C_COLLATION_OID, 0, NULL);
			break;
		case FILTER_GT:
		case FILTER_GTE:
		case FILTER_LT:
		case FILTER_LTE:
			if (value->type != jbvString && value->type != jbvNumeric)
				wrong_operand(op, what, "a number or a string");
			break;
		default:
			if (!jflow_json_is_scalar(value))
				wrong_operand(op, what, "a scalar");
	}
	filter->operand = *value;
	return filter;
}

/* The tests of one field: a bare value, or an object of operators. */
static JflowFilter *
parse_tests(const char *field, JsonbValue *value, const char *what)
{
	JflowFilter *filter;
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	v;
	JflowFilterOp op = FILTER_EQ;

	check_stack_depth();
	if (!jflow_json_is_object(value))
		return parse_comparison(field, FILTER_EQ, value, what);

	filter = new_filter(FILTER_AND);
	it = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			op = find_operator(jflow_json_string(&v), what);
		else if (token == WJB_VALUE)
		{
			if (op == FILTER_AND || op == FILTER_OR)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("\"%s\" in %s cannot stand below field \"%s\"",
								op_names[op], what, field)));
			if (op == FILTER_NOT)
			{
				JflowFilter *not = new_filter(FILTER_NOT);

				add_child(not, parse_tests(field, &v, what));
				add_child(filter, not);
			}
			else
				add_child(filter, parse_comparison(field, op, &v, what));
		}
	}
	if (filter->nchildren == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("field \"%s\" in %s has no operator", field, what)));
	return filter->nchildren == 1 ? filter->children[0] : filter;
}

/* A member of a filter: an operator of logic, or the tests of a field. */
static JflowFilter *
parse_member(char *key, JsonbValue *value, const char *what)
{
	JflowFilterOp op;

	if (key[0] != '$')
		return parse_tests(key, value, what);
	op = find_operator(key, what);
	if (op > FILTER_NOT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("operator \"%s\" in %s needs a field", key, what),
				 errhint("Write {\"field\": {\"%s\": ...}}.", key)));
	return parse_logic(op, value, what);
}

/* Add the members of an object as children. */
static void
add_members(JflowFilter *filter, JsonbContainer *object, const char *what)
{
	JsonbIterator *it = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue	value;
	char	   *key = NULL;

	check_stack_depth();
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			key = jflow_json_string(&value);
		else if (token == WJB_VALUE)
			add_child(filter, parse_member(key, &value, what));
	}
}

static JflowFilter *
parse_object(JsonbContainer *object, const char *what)
{
	JflowFilter *filter = new_filter(FILTER_AND);

	add_members(filter, object, what);
	return filter->nchildren == 1 ? filter->children[0] : filter;
}

/*
 * $and, $or: an array of filters, or an object whose members they are; $not: one
 * filter.
 */
static JflowFilter *
parse_logic(JflowFilterOp op, JsonbValue *value, const char *what)
{
	static const char *const expected = "a non-empty array of filters, or an object of them";
	JflowFilter *filter = new_filter(op);
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	element;

	if (op == FILTER_NOT)
	{
		if (!jflow_json_is_object(value))
			wrong_operand(op, what, "a filter");
		add_child(filter, parse_object(value->val.binary.data, what));
		return filter;
	}
	if (!(jflow_json_is_array(value) || jflow_json_is_object(value)) ||
		JsonContainerSize(value->val.binary.data) == 0)
		wrong_operand(op, what, expected);
	if (jflow_json_is_object(value))
	{
		add_members(filter, value->val.binary.data, what);
		return filter;
	}
	it = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &element, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM)
			continue;
		if (!jflow_json_is_object(&element))
			wrong_operand(op, what, expected);
		add_child(filter, parse_object(element.val.binary.data, what));
	}
	return filter;
}

/*
 * Parse a filter; "what" names it in errors.  The result is in the current
 * memory context and points into the jsonb.  Raises invalid_parameter_value.
 */
JflowFilter *
jflow_filter_parse(Jsonb *json, const char *what)
{
	if (!JB_ROOT_IS_OBJECT(json))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be a JSON object", what)));
	return parse_object(&json->root, what);
}

/* Follow a path into tags. */
static bool
tags_value(const JflowFilter *filter, const JflowDoc *doc, JsonbValue *value)
{
	JsonbContainer *container = &DatumGetJsonbP(doc->values[DOC_TAGS])->root;

	value->type = jbvBinary;
	value->val.binary.data = container;
	for (int i = 0; i < filter->npath; i++)
	{
		if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data) ||
			getKeyJsonValueFromContainer(value->val.binary.data, filter->path[i],
										 strlen(filter->path[i]), value) == NULL)
			return false;
	}
	return value->type != jbvNull;
}

static void
text_to_value(Datum datum, JsonbValue *value)
{
	text	   *t = DatumGetTextPP(datum);

	value->type = jbvString;
	value->val.string.val = VARDATA_ANY(t);
	value->val.string.len = VARSIZE_ANY_EXHDR(t);
}

/* The value of the filter's field; false where it is missing or null. */
static bool
field_value(const JflowFilter *filter, const JflowDoc *doc, JsonbValue *value)
{
	if (doc->nulls[filter->attr])
		return false;
	switch (filter->attr)
	{
		case DOC_TAGS:
			return tags_value(filter, doc, value);
		case DOC_GRANULARITY:
			value->type = jbvNumeric;
			value->val.numeric = int64_to_numeric(DatumGetInt16(doc->values[filter->attr]));
			return true;
		case DOC_WEIGHT:
			value->type = jbvNumeric;
			value->val.numeric = DatumGetNumeric(DirectFunctionCall1(float4_numeric,
																	 doc->values[filter->attr]));
			return true;
		default:
			text_to_value(doc->values[filter->attr], value);
			return true;
	}
}

static bool
is_operand(const JflowFilter *filter, const JsonbValue *value)
{
	return value->type != jbvBinary && value->type != jbvNull && filter->noperands > 0 &&
		bsearch(value, filter->operands, filter->noperands, sizeof(JsonbValue), operand_order);
}

/* Is a value, or an element of it if it is a list, one of the operands? */
static bool
in_list(const JflowFilter *filter, const JsonbValue *value)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	element;
	bool		found = false;

	if (!jflow_json_is_array(value))
		return is_operand(filter, value);
	it = JsonbIteratorInit(value->val.binary.data);
	while (!found && (token = JsonbIteratorNext(&it, &element, true)) != WJB_DONE)
	{
		CHECK_FOR_INTERRUPTS();
		found = token == WJB_ELEM && is_operand(filter, &element);
	}
	return found;
}

static bool
matches_regex(const JflowFilter *filter, const JsonbValue *value)
{
	if (value->type != jbvString)
		return false;
	return RE_compile_and_execute(cstring_to_text(jflow_json_string(&filter->operand)),
								  value->val.string.val, value->val.string.len,
								  REG_ADVANCED, C_COLLATION_OID, 0, NULL);
}

static bool
match_comparison(const JflowFilter *filter, const JflowDoc *doc)
{
	JsonbValue	value;
	int			order = 0;
	bool		exists = field_value(filter, doc, &value);
	bool		comparable = exists && compare_values(&value, &filter->operand, &order);

	switch (filter->op)
	{
		case FILTER_EQ:
			return filter->operand.type == jbvNull ? !exists : comparable && order == 0;
		case FILTER_NE:
			return filter->operand.type == jbvNull ? exists : !(comparable && order == 0);
		case FILTER_GT:
			return comparable && order > 0;
		case FILTER_GTE:
			return comparable && order >= 0;
		case FILTER_LT:
			return comparable && order < 0;
		case FILTER_LTE:
			return comparable && order <= 0;
		case FILTER_IN:
			return exists && in_list(filter, &value);
		case FILTER_NIN:
			return !(exists && in_list(filter, &value));
		case FILTER_EXISTS:
			return exists == filter->operand.val.boolean;
		case FILTER_REGEX:
			return exists && matches_regex(filter, &value);
		default:
			elog(ERROR, "unexpected filter operator %d", (int) filter->op);
	}
}

/* Does a document match? */
bool
jflow_filter_match(const JflowFilter *filter, const JflowDoc *doc)
{
	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	switch (filter->op)
	{
		case FILTER_AND:
			for (int i = 0; i < filter->nchildren; i++)
				if (!jflow_filter_match(filter->children[i], doc))
					return false;
			return true;
		case FILTER_OR:
			for (int i = 0; i < filter->nchildren; i++)
				if (jflow_filter_match(filter->children[i], doc))
					return true;
			return false;
		case FILTER_NOT:
			return !jflow_filter_match(filter->children[0], doc);
		default:
			return match_comparison(filter, doc);
	}
}

/*
 * jflow_matches_filter(doc jflow_doc, filter jsonb) RETURNS bool
 */
Datum
jflow_matches_filter(PG_FUNCTION_ARGS)
{
	JflowDoc	doc;

	jflow_doc_deform(PG_GETARG_DATUM(0), &doc);
	PG_RETURN_BOOL(jflow_filter_match(jflow_filter_parse(PG_GETARG_JSONB_P(1), "filter"), &doc));
}
