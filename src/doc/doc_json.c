/*
 * doc_json.c
 *		Documents from and to jsonb.
 *
 * A document is an object whose keys are attribute names.  What is absent or
 * null is NULL, and NULL attributes are left out.  blob is base64, embedding an
 * array of numbers, sparse_embedding pgvector's text form, matches an array of
 * objects.  What to_jsonb() makes of a row is taken, too: a vector's text form and
 * bytea's in hexadecimal.  A key that is no attribute is an error: a misspelt one would lose
 * data in silence.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "common/base64.h"
#include "common/shortest_dec.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"

#include "vector.h"

#include "common/json.h"
#include "compat.h"
#include "doc/doc.h"

/* Where we are in the input, for errors. */
typedef struct Place
{
	const char *what;			/* "document" or "match" */
	int			number;			/* from 1; 0: the only one */
	const char *key;
} Place;

static const char *const match_names[MATCH_NATTS] = {
	"id", "score", "text", "uri", "tags"
};

static int
place_detail(const Place *place)
{
	return place->number > 0 ?
		errdetail("It is in %s %d.", place->what, place->number) : 0;
}

static void JFLOW_NORETURN
wrong_type(const Place *place, const char *expected)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("value of \"%s\" must be %s", place->key, expected),
			 place_detail(place)));
}

static void
unknown_key(const Place *place, const char *const *names, int nnames)
{
	const char *suggestion = jflow_suggest(place->key, names, nnames);

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"%s\" is not an attribute of a %s", place->key, place->what),
			 place_detail(place),
			 suggestion ? errhint("Did you mean \"%s\"?", suggestion) : 0));
}

/* A jsonb of its own for any value. */
static Jsonb *
jsonb_of_value(JsonbValue *value)
{
	return JsonbValueToJsonb(value);
}

static Datum
text_of_value(const JsonbValue *value, const Place *place)
{
	if (value->type != jbvString)
		wrong_type(place, "a string");
	return PointerGetDatum(cstring_to_text_with_len(value->val.string.val,
													value->val.string.len));
}

/* An id can be given as a number, too. */
static Datum
id_of_value(const JsonbValue *value, const Place *place)
{
	if (value->type == jbvNumeric)
		return CStringGetTextDatum(numeric_normalize(value->val.numeric));
	if (value->type != jbvString)
		wrong_type(place, "a string or a number");
	return text_of_value(value, place);
}

/* Adds where a value is that a type's own function has refused. */
static void
place_context(void *arg)
{
	const Place *place = arg;

	if (place->number > 0)
		errcontext("value of \"%s\" in %s %d", place->key, place->what, place->number);
	else
		errcontext("value of \"%s\" in %s", place->key, place->what);
}

/* A number as another type. */
static Datum
convert_number(PGFunction function, const JsonbValue *value, const Place *place)
{
	ErrorContextCallback callback = {error_context_stack, place_context, (void *) place};
	Datum		result;

	error_context_stack = &callback;
	result = DirectFunctionCall1(function, NumericGetDatum(value->val.numeric));
	error_context_stack = callback.previous;
	return result;
}

/* A string as a value of an attribute's type, by the type's input function. */
static Datum
parse_string(JflowDocAttr attr, const JsonbValue *value, const Place *place)
{
	ErrorContextCallback callback = {error_context_stack, place_context, (void *) place};
	Oid			input;
	Oid			ioparam;
	Datum		result;

	getTypeInputInfo(jflow_types()->atttype[attr], &input, &ioparam);
	error_context_stack = &callback;
	result = OidInputFunctionCall(input, jflow_json_string(value), ioparam, -1);
	error_context_stack = callback.previous;
	return result;
}

static Datum
blob_of_value(const JsonbValue *value, const Place *place)
{
	bytea	   *blob;
	int			len;

	if (value->type != jbvString)
		wrong_type(place, "a string of base64");
	/* which no base64 begins with */
	if (value->val.string.len >= 2 && memcmp(value->val.string.val, "\\x", 2) == 0)
		return parse_string(DOC_BLOB, value, place);
	len = pg_b64_dec_len(value->val.string.len);
	blob = palloc(VARHDRSZ + len);
	len = pg_b64_decode_compat(value->val.string.val, value->val.string.len,
							   VARDATA(blob), len);
	if (len < 0)
		wrong_type(place, "a string of base64");
	SET_VARSIZE(blob, VARHDRSZ + len);
	return PointerGetDatum(blob);
}

static double
double_of_value(const JsonbValue *value, const Place *place)
{
	if (value->type != jbvNumeric)
		wrong_type(place, "a number");
	return DatumGetFloat8(convert_number(numeric_float8, value, place));
}

static float
float_of_value(const JsonbValue *value, const Place *place)
{
	if (value->type != jbvNumeric)
		wrong_type(place, "a number");
	return DatumGetFloat4(convert_number(numeric_float4, value, place));
}

static Datum
embedding_of_value(const JsonbValue *value, const Place *place)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	element;
	Vector	   *vector;
	int			dim;

	if (value->type == jbvString)
		return parse_string(DOC_EMBEDDING, value, place);
	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data))
		wrong_type(place, "an array of numbers, or a string in the text form of vector");
	dim = JsonContainerSize(value->val.binary.data);
	if (dim < 1 || dim > VECTOR_MAX_DIM)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("value of \"%s\" must have 1 to %d numbers", place->key, VECTOR_MAX_DIM),
				 place_detail(place)));

	vector = palloc0(VECTOR_SIZE(dim));
	SET_VARSIZE(vector, VECTOR_SIZE(dim));
	vector->dim = dim;
	dim = 0;
	it = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &element, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM)
			continue;
		if (element.type != jbvNumeric)
			wrong_type(place, "an array of numbers");
		vector->x[dim++] = float_of_value(&element, place);
	}
	return PointerGetDatum(vector);
}

static Datum
sparse_of_value(const JsonbValue *value, const Place *place)
{
	if (value->type != jbvString)
		wrong_type(place, "a string in the text form of sparsevec");
	return parse_string(DOC_SPARSE_EMBEDDING, value, place);
}

static Datum
int2_of_value(const JsonbValue *value, const Place *place)
{
	if (value->type != jbvNumeric)
		wrong_type(place, "an integer");
	return convert_number(numeric_int2, value, place);
}

static Datum
tags_of_value(JsonbValue *value, const Place *place)
{
	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		wrong_type(place, "an object");
	return JsonbPGetDatum(jsonb_of_value(value));
}

static void
match_from_jsonb(JsonbContainer *object, JflowMatch *match, int number)
{
	Place		place = {"match", number, NULL};
	JsonbIterator *it = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue	value;
	int			attr = 0;

	memset(match->values, 0, sizeof(match->values));
	memset(match->nulls, true, sizeof(match->nulls));
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			place.key = jflow_json_string(&value);
			for (attr = 0; attr < MATCH_NATTS; attr++)
				if (strcmp(match_names[attr], place.key) == 0)
					break;
			if (attr == MATCH_NATTS)
				unknown_key(&place, match_names, MATCH_NATTS);
		}
		else if (token == WJB_VALUE && value.type != jbvNull)
		{
			match->nulls[attr] = false;
			switch ((JflowMatchAttr) attr)
			{
				case MATCH_ID:
					match->values[attr] = id_of_value(&value, &place);
					break;
				case MATCH_SCORE:
					match->values[attr] = Float8GetDatum(double_of_value(&value, &place));
					break;
				case MATCH_TAGS:
					match->values[attr] = tags_of_value(&value, &place);
					break;
				default:
					match->values[attr] = text_of_value(&value, &place);
			}
		}
	}
}

static Datum
matches_of_value(const JsonbValue *value, const Place *place)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	element;
	JflowMatch *matches;
	int			n = 0;

	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data))
		wrong_type(place, "an array of objects");
	matches = palloc(sizeof(JflowMatch) * Max(JsonContainerSize(value->val.binary.data), 1));
	it = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &element, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM)
			continue;
		if (element.type != jbvBinary || !JsonContainerIsObject(element.val.binary.data))
			wrong_type(place, "an array of objects");
		match_from_jsonb(element.val.binary.data, &matches[n], n + 1);
		n++;
	}
	return jflow_matches_form(matches, n);
}

static Datum
attr_from_value(JflowDocAttr attr, JsonbValue *value, const Place *place)
{
	switch (attr)
	{
		case DOC_ID:
		case DOC_PARENT_ID:
			return id_of_value(value, place);
		case DOC_BLOB:
			return blob_of_value(value, place);
		case DOC_TAGS:
			return tags_of_value(value, place);
		case DOC_EMBEDDING:
			return embedding_of_value(value, place);
		case DOC_SPARSE_EMBEDDING:
			return sparse_of_value(value, place);
		case DOC_GRANULARITY:
			return int2_of_value(value, place);
		case DOC_SCORES:
			return JsonbPGetDatum(jsonb_of_value(value));
		case DOC_WEIGHT:
			return Float4GetDatum(float_of_value(value, place));
		case DOC_MATCHES:
			return matches_of_value(value, place);
		default:
			return text_of_value(value, place);
	}
}

static void
doc_from_object(JsonbContainer *object, JflowDoc *doc, int number)
{
	Place		place = {"document", number, NULL};
	JsonbIterator *it = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue	value;
	int			attr = 0;

	check_stack_depth();
	jflow_doc_init(doc);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			place.key = jflow_json_string(&value);
			attr = jflow_doc_attr_by_name(place.key);
			if (attr < 0)
			{
				const char *names[DOC_NATTS];

				for (int i = 0; i < DOC_NATTS; i++)
					names[i] = jflow_doc_attr_name(i);
				unknown_key(&place, names, DOC_NATTS);
			}
		}
		else if (token == WJB_VALUE && value.type != jbvNull)
		{
			doc->values[attr] = attr_from_value(attr, &value, &place);
			doc->nulls[attr] = false;
		}
	}
}

/* A document from an object; values are in the current memory context. */
void
jflow_doc_from_jsonb(JsonbContainer *object, JflowDoc *doc)
{
	doc_from_object(object, doc, 0);
}

/*
 * Documents from an array of objects, or from one object.  Raises
 * invalid_parameter_value for anything else.
 */
JflowDocs *
jflow_docs_from_jsonb(Jsonb *json)
{
	JflowDocs  *docs = palloc0(sizeof(JflowDocs));
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;

	if (JB_ROOT_IS_OBJECT(json))
	{
		docs->ndocs = 1;
		docs->docs = palloc(sizeof(JflowDoc));
		jflow_doc_from_jsonb(&json->root, &docs->docs[0]);
		return docs;
	}
	if (!JB_ROOT_IS_ARRAY(json) || JB_ROOT_IS_SCALAR(json))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("documents must be a JSON array of objects, or one object")));

	docs->docs = palloc_extended(sizeof(JflowDoc) * Max(JB_ROOT_COUNT(json), 1),
								 MCXT_ALLOC_HUGE);
	it = JsonbIteratorInit(&json->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM)
			continue;
		CHECK_FOR_INTERRUPTS();
		if (value.type != jbvBinary || !JsonContainerIsObject(value.val.binary.data))
			ereport(ERROR,
					(errcode(value.type == jbvNull ? ERRCODE_NULL_VALUE_NOT_ALLOWED :
							 ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("document %d must be a JSON object", docs->ndocs + 1)));
		doc_from_object(value.val.binary.data, &docs->docs[docs->ndocs], docs->ndocs + 1);
		docs->ndocs++;
	}
	return docs;
}

static void
push_string(JsonbInState *state, char *string, int len, JsonbIteratorToken token)
{
	JsonbValue	value;

	value.type = jbvString;
	value.val.string.val = string;
	value.val.string.len = len;
	pushJsonbValue(state, token, &value);
}

/* A number by its shortest text form, so that it comes back as it was. */
static void
push_number(JsonbInState *state, char *digits, bool finite, JsonbIteratorToken token)
{
	JsonbValue	value;

	if (!finite)
	{
		/* JSON has no number for it */
		value.type = jbvNull;
		pushJsonbValue(state, token, &value);
		return;
	}
	value.type = jbvNumeric;
	value.val.numeric = DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(digits),
															ObjectIdGetDatum(InvalidOid),
															Int32GetDatum(-1)));
	pushJsonbValue(state, token, &value);
}

static void
push_float(JsonbInState *state, float number, JsonbIteratorToken token)
{
	char		digits[FLOAT_SHORTEST_DECIMAL_LEN];

	float_to_shortest_decimal_buf(number, digits);
	push_number(state, digits, isfinite(number), token);
}

static void
push_double(JsonbInState *state, double number, JsonbIteratorToken token)
{
	char		digits[DOUBLE_SHORTEST_DECIMAL_LEN];

	double_to_shortest_decimal_buf(number, digits);
	push_number(state, digits, isfinite(number), token);
}

static void
push_text(JsonbInState *state, Datum datum)
{
	text	   *t = DatumGetTextPP(datum);

	push_string(state, VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t), WJB_VALUE);
}

static void
push_jsonb(JsonbInState *state, Datum datum)
{
	Jsonb	   *json = DatumGetJsonbP(datum);
	JsonbValue	value;

	if (JB_ROOT_IS_SCALAR(json))
		JsonbExtractScalar(&json->root, &value);
	else
	{
		value.type = jbvBinary;
		value.val.binary.data = &json->root;
		value.val.binary.len = VARSIZE(json) - VARHDRSZ;
	}
	pushJsonbValue(state, WJB_VALUE, &value);
}

static void
push_blob(JsonbInState *state, Datum datum)
{
	bytea	   *blob = DatumGetByteaPP(datum);
	int			len = pg_b64_enc_len(VARSIZE_ANY_EXHDR(blob));
	char	   *text = palloc(len + 1);

	len = pg_b64_encode_compat(VARDATA_ANY(blob), VARSIZE_ANY_EXHDR(blob), text, len);
	if (len < 0)
		elog(ERROR, "could not encode a blob");
	push_string(state, text, len, WJB_VALUE);
}

static void
push_embedding(JsonbInState *state, Datum datum)
{
	Vector	   *vector = (Vector *) PG_DETOAST_DATUM(datum);

	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < vector->dim; i++)
		push_float(state, vector->x[i], WJB_ELEM);
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

static void
push_sparse(JsonbInState *state, Datum datum)
{
	Oid			output;
	bool		varlena;
	char	   *output_text;

	getTypeOutputInfo(jflow_types()->atttype[DOC_SPARSE_EMBEDDING], &output, &varlena);
	output_text = OidOutputFunctionCall(output, datum);
	push_string(state, output_text, strlen(output_text), WJB_VALUE);
}

static void
push_match(JsonbInState *state, const JflowMatch *match)
{
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < MATCH_NATTS; i++)
	{
		if (match->nulls[i])
			continue;
		jflow_json_push_key(state, match_names[i]);
		if (i == MATCH_SCORE)
			push_double(state, DatumGetFloat8(match->values[i]), WJB_VALUE);
		else if (i == MATCH_TAGS)
			push_jsonb(state, match->values[i]);
		else
			push_text(state, match->values[i]);
	}
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/* Add the matches of a jflow_match[] to an array that is being built. */
static void
push_matches_of(JsonbInState *state, Datum datum)
{
	JflowMatch *matches;
	int			n = jflow_matches_deform(datum, &matches);

	for (int i = 0; i < n; i++)
		push_match(state, &matches[i]);
}

static void
push_matches(JsonbInState *state, Datum datum)
{
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	push_matches_of(state, datum);
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

static void
push_doc(JsonbInState *state, const JflowDoc *doc)
{
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < DOC_NATTS; i++)
	{
		if (doc->nulls[i])
			continue;
		jflow_json_push_key(state, jflow_doc_attr_name(i));
		switch ((JflowDocAttr) i)
		{
			case DOC_BLOB:
				push_blob(state, doc->values[i]);
				break;
			case DOC_TAGS:
			case DOC_SCORES:
				push_jsonb(state, doc->values[i]);
				break;
			case DOC_EMBEDDING:
				push_embedding(state, doc->values[i]);
				break;
			case DOC_SPARSE_EMBEDDING:
				push_sparse(state, doc->values[i]);
				break;
			case DOC_GRANULARITY:
				push_double(state, DatumGetInt16(doc->values[i]), WJB_VALUE);
				break;
			case DOC_WEIGHT:
				push_float(state, DatumGetFloat4(doc->values[i]), WJB_VALUE);
				break;
			case DOC_MATCHES:
				push_matches(state, doc->values[i]);
				break;
			default:
				push_text(state, doc->values[i]);
		}
	}
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/* A document as an object, in the current memory context. */
Jsonb *
jflow_doc_to_jsonb(const JflowDoc *doc)
{
	JsonbInState state = {0};

	push_doc(&state, doc);
	return JsonbValueToJsonb(state.result);
}

/* An array of documents as objects. */
Jsonb *
jflow_docs_to_jsonb(const JflowDocs *docs)
{
	JsonbInState state = {0};

	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < docs->ndocs; i++)
	{
		CHECK_FOR_INTERRUPTS();
		push_doc(&state, &docs->docs[i]);
	}
	pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	return JsonbValueToJsonb(state.result);
}

PG_FUNCTION_INFO_V1(jflow_doc_make);
PG_FUNCTION_INFO_V1(jflow_doc_jsonb);
PG_FUNCTION_INFO_V1(jflow_jsonb_doc);
PG_FUNCTION_INFO_V1(jflow_match_jsonb);
PG_FUNCTION_INFO_V1(jflow_jsonb_match);
PG_FUNCTION_INFO_V1(jflow_jsonb_docs);

/*
 * jflow_doc(id text, ...) RETURNS jflow_doc: the constructor, one argument per
 * attribute.
 */
Datum
jflow_doc_make(PG_FUNCTION_ARGS)
{
	JflowDoc	doc;

	for (int i = 0; i < DOC_NATTS; i++)
	{
		doc.nulls[i] = PG_ARGISNULL(i);
		doc.values[i] = doc.nulls[i] ? (Datum) 0 : PG_GETARG_DATUM(i);
	}
	PG_RETURN_DATUM(jflow_doc_form(&doc));
}

/*
 * Cast jflow_doc to jsonb.
 */
Datum
jflow_doc_jsonb(PG_FUNCTION_ARGS)
{
	JflowDoc	doc;

	jflow_doc_deform(PG_GETARG_DATUM(0), &doc);
	PG_RETURN_JSONB_P(jflow_doc_to_jsonb(&doc));
}

/*
 * Cast jsonb to jflow_doc.
 */
Datum
jflow_jsonb_doc(PG_FUNCTION_ARGS)
{
	Jsonb	   *json = PG_GETARG_JSONB_P(0);
	JflowDoc	doc;

	if (!JB_ROOT_IS_OBJECT(json))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a document must be a JSON object")));
	jflow_doc_from_jsonb(&json->root, &doc);
	PG_RETURN_DATUM(jflow_doc_form(&doc));
}

/*
 * Cast jsonb to jflow_doc[]: an array of objects, or one object.
 */
Datum
jflow_jsonb_docs(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATUM(jflow_docs_form(jflow_docs_from_jsonb(PG_GETARG_JSONB_P(0))));
}

/*
 * Cast jflow_match to jsonb.
 */
Datum
jflow_match_jsonb(PG_FUNCTION_ARGS)
{
	JsonbInState state = {0};
	JflowMatch	match;

	jflow_match_deform(PG_GETARG_DATUM(0), &match);
	push_match(&state, &match);
	PG_RETURN_JSONB_P(JsonbValueToJsonb(state.result));
}

/*
 * Cast jsonb to jflow_match.
 */
Datum
jflow_jsonb_match(PG_FUNCTION_ARGS)
{
	Jsonb	   *json = PG_GETARG_JSONB_P(0);
	JflowMatch	match;

	if (!JB_ROOT_IS_OBJECT(json))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a match must be a JSON object")));
	match_from_jsonb(&json->root, &match, 0);
	PG_RETURN_DATUM(jflow_match_form(&match));
}

/* The matches of all documents, as one array. */
Jsonb *
jflow_matches_to_jsonb(const JflowDocs *docs)
{
	JsonbInState state = {0};

	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < docs->ndocs; i++)
		if (!docs->docs[i].nulls[DOC_MATCHES])
			push_matches_of(&state, docs->docs[i].values[DOC_MATCHES]);
	pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	return JsonbValueToJsonb(state.result);
}
