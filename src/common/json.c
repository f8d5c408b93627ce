/*
 * json.c
 *		Reading and building jsonb.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "common/json.h"

/* A string value, in the current memory context. */
char *
jflow_json_string(const JsonbValue *value)
{
	return pnstrdup(value->val.string.val, value->val.string.len);
}

/* The member of an object, in the given buffer, or NULL; NULL where there is no object. */
JsonbValue *
jflow_json_get(Jsonb *object, const char *key, JsonbValue *buffer)
{
	if (object == NULL || !JB_ROOT_IS_OBJECT(object))
		return NULL;
	return getKeyJsonValueFromContainer(&object->root, key, strlen(key), buffer);
}

/* Call a function for each member of an object. */
void
jflow_json_each(JsonbContainer *object, JflowJsonMember function, void *arg)
{
	JsonbIterator *it = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue	value;
	char	   *key = NULL;

	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		CHECK_FOR_INTERRUPTS();
		if (token == WJB_KEY)
			key = jflow_json_string(&value);
		else if (token == WJB_VALUE)
			function(arg, key, &value);
	}
}

/* The strings of an array, in the current memory context; NULL if it is none of strings. */
char	  **
jflow_json_strings(const JsonbValue *value, int *n)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	element;
	char	  **strings;

	*n = 0;
	if (!jflow_json_is_array(value))
		return NULL;
	strings = palloc(sizeof(char *) * Max(JsonContainerSize(value->val.binary.data), 1));
	it = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &element, true)) != WJB_DONE)
	{
		CHECK_FOR_INTERRUPTS();
		if (token != WJB_ELEM)
			continue;
		if (element.type != jbvString)
			return NULL;
		strings[(*n)++] = jflow_json_string(&element);
	}
	return strings;
}

/* Raise program_limit_exceeded for a value of more bytes; NULL has none. */
void
jflow_json_check_size(Jsonb *json, const char *what, int limit)
{
	if (json && VARSIZE(json) > limit)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("value of \"%s\" is too large", what),
				 errdetail("It has %d bytes as jsonb, but at most %d are taken.",
						   (int) VARSIZE(json), limit)));
}

/* {} */
Jsonb *
jflow_json_empty(void)
{
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")));
}

/* Push a string as a key, value or element. */
void
jflow_json_push_text(JsonbInState *state, JsonbIteratorToken token, const char *string)
{
	JsonbValue	value;

	value.type = jbvString;
	value.val.string.val = (char *) string;
	value.val.string.len = strlen(string);
	pushJsonbValue(state, token, &value);
}

/* Push the key of a member, whose value comes next. */
void
jflow_json_push_key(JsonbInState *state, const char *key)
{
	jflow_json_push_text(state, WJB_KEY, key);
}

/* Push a member; nothing where there is no string. */
void
jflow_json_push_string(JsonbInState *state, const char *key, const char *string)
{
	if (string == NULL)
		return;
	jflow_json_push_key(state, key);
	jflow_json_push_text(state, WJB_VALUE, string);
}

/* Push a member that is a whole number. */
void
jflow_json_push_int(JsonbInState *state, const char *key, int64 number)
{
	JsonbValue	value;

	jflow_json_push_key(state, key);
	value.type = jbvNumeric;
	value.val.numeric = int64_to_numeric(number);
	pushJsonbValue(state, WJB_VALUE, &value);
}

/* Push a member that is true or false. */
void
jflow_json_push_bool(JsonbInState *state, const char *key, bool flag)
{
	JsonbValue	value;

	jflow_json_push_key(state, key);
	value.type = jbvBool;
	value.val.boolean = flag;
	pushJsonbValue(state, WJB_VALUE, &value);
}

/* Push a member; nothing where there is no value. */
void
jflow_json_push_json(JsonbInState *state, const char *key, Jsonb *json)
{
	JsonbValue	value;

	if (json == NULL)
		return;
	jflow_json_push_key(state, key);
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

/* Push a member that is an array of strings. */
void
jflow_json_push_strings(JsonbInState *state, const char *key, char **strings, int n)
{
	jflow_json_push_key(state, key);
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < n; i++)
		jflow_json_push_text(state, WJB_ELEM, strings[i]);
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}
