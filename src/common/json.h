/*
 * json.h
 *		Reading and building jsonb.
 */
#ifndef JFLOW_JSON_H
#define JFLOW_JSON_H

#include "utils/jsonb.h"

#include "compat.h"

/* What a value is. */
static inline bool
jflow_json_is_object(const JsonbValue *value)
{
	return value->type == jbvBinary && JsonContainerIsObject(value->val.binary.data);
}

static inline bool
jflow_json_is_array(const JsonbValue *value)
{
	return value->type == jbvBinary && JsonContainerIsArray(value->val.binary.data);
}

static inline bool
jflow_json_is_scalar(const JsonbValue *value)
{
	return value->type != jbvBinary;
}

/* Called for each member of an object; the key is a copy. */
typedef void (*JflowJsonMember) (void *arg, const char *key, JsonbValue *value);

extern char *jflow_json_string(const JsonbValue *value);
extern JsonbValue *jflow_json_get(Jsonb *object, const char *key, JsonbValue *buffer);
extern void jflow_json_each(JsonbContainer *object, JflowJsonMember function, void *arg);
extern Jsonb *jflow_json_empty(void);
extern char **jflow_json_strings(const JsonbValue *value, int *n);
extern void jflow_json_check_size(Jsonb *json, const char *what, int limit);

extern void jflow_json_push_key(JsonbInState *state, const char *key);
extern void jflow_json_push_text(JsonbInState *state, JsonbIteratorToken token, const char *string);
extern void jflow_json_push_string(JsonbInState *state, const char *key, const char *string);
extern void jflow_json_push_int(JsonbInState *state, const char *key, int64 number);
extern void jflow_json_push_bool(JsonbInState *state, const char *key, bool flag);
extern void jflow_json_push_json(JsonbInState *state, const char *key, Jsonb *json);
extern void jflow_json_push_strings(JsonbInState *state, const char *key, char **strings, int n);

#endif							/* JFLOW_JSON_H */
