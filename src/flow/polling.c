/*
 * polling.c
 *		Which shards of an executor get a request.
 *
 * A polling is one word or a map from endpoint to word.  What holds for an
 * endpoint is, first match: "hash" for what writes by id, while documents move
 * between shards that are elsewhere; its entry in the executor's map; its entry in the map of
 * a built-in class; "any" for /index and "all" for /search; its entry in the class's
 * map; the executor's "*" or single word; the "*" of the class's map; "any".
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"

#include "common/json.h"
#include "flow/flow.h"

static const char *const polling_names[] = {"any", "all", "hash"};

static bool
polling_from_value(const JsonbValue *value, JflowPolling *polling)
{
	if (value->type != jbvString)
		return false;
	for (int i = 0; i < lengthof(polling_names); i++)
	{
		if (value->val.string.len == strlen(polling_names[i]) &&
			pg_strncasecmp(value->val.string.val, polling_names[i],
						   value->val.string.len) == 0)
		{
			*polling = (JflowPolling) i;
			return true;
		}
	}
	return false;
}

static void
check_word(const JsonbValue *value, const char *endpoint)
{
	JflowPolling ignored;
	char	   *word;

	if (polling_from_value(value, &ignored))
		return;
	if (value->type != jbvString)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("polling must be a string or a map from endpoints to strings"),
				 errhint("A polling is \"any\", \"all\" or \"hash\".")));
	word = jflow_json_string(value);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 endpoint ? errmsg("unknown polling \"%s\" for endpoint \"%s\"", word, endpoint)
			 : errmsg("unknown polling \"%s\"", word),
			 errhint("A polling is \"any\", \"all\" or \"hash\".")));
}

/* Raises invalid_parameter_value unless the value is a polling. */
void
jflow_polling_check(Jsonb *polling)
{
	JsonbIterator *it;
	JsonbValue	value;
	JsonbIteratorToken token;
	char	   *endpoint = NULL;

	if (JB_ROOT_IS_SCALAR(polling))
	{
		JsonbExtractScalar(&polling->root, &value);
		check_word(&value, NULL);
		return;
	}
	if (!JB_ROOT_IS_OBJECT(polling))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("polling must be a string or a map from endpoints to strings")));

	it = JsonbIteratorInit(&polling->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		CHECK_FOR_INTERRUPTS();
		if (token == WJB_KEY)
		{
			endpoint = jflow_json_string(&value);
			if (strlen(endpoint) >= NAMEDATALEN)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_NAME),
						 errmsg("endpoint name must have 1 to %d bytes", NAMEDATALEN - 1)));
		}
		else if (token == WJB_VALUE)
			check_word(&value, endpoint);
	}
}

/* The entry of a map for a key; false if there is none. */
static bool
map_entry(Jsonb *map, const char *key, JflowPolling *polling)
{
	JsonbValue *value;
	JsonbValue	buffer;

	value = jflow_json_get(map, key, &buffer);
	return value && polling_from_value(value, polling);
}

/* What polling is defined for an endpoint of an executor. */
static JflowPolling
defined_polling(const JflowExecutor *executor, const char *endpoint)
{
	JflowPolling polling;
	JsonbValue	value;

	if (map_entry(executor->polling, endpoint, &polling))
		return polling;
	if (executor->class && map_entry(executor->class_polling, endpoint, &polling))
		return polling;
	if (strcmp(endpoint, "/index") == 0)
		return POLLING_ANY;
	if (strcmp(endpoint, "/search") == 0)
		return POLLING_ALL;
	if (map_entry(executor->class_polling, endpoint, &polling))
		return polling;
	if (map_entry(executor->polling, "*", &polling))
		return polling;
	if (executor->polling && JB_ROOT_IS_SCALAR(executor->polling) &&
		JsonbExtractScalar(&executor->polling->root, &value) &&
		polling_from_value(&value, &polling))
		return polling;
	if (map_entry(executor->class_polling, "*", &polling))
		return polling;
	return POLLING_ANY;
}

/*
 * The polling that holds for an endpoint of an executor.  While documents move the
 * executor itself knows where each is: one call has what writes them by id, and all
 * shards are asked by what would go by the hash.
 */
JflowPolling
jflow_polling_resolve(const JflowExecutor *executor, const char *endpoint)
{
	JflowPolling polling = defined_polling(executor, endpoint);

	if (executor->class == NULL || executor->class->moving == NULL || !executor->class->moving(executor))
		return polling;
	if (jflow_class_writes_by_id(endpoint))
		return POLLING_ANY;
	return polling == POLLING_HASH ? POLLING_ALL : polling;
}

/*
 * The shard that a document id belongs to under "hash": 64-bit FNV-1a of the
 * id's bytes in UTF-8, modulo the number of shards.  Stored rows depend on
 * this function, so it must never change; it does not depend on the server's
 * version, platform or encoding.
 *
 * Source: G. Fowler, L. C. Noll, K.-P. Vo, D. Eastlake, "The FNV Non-Cryptographic
 * Hash Algorithm", draft-eastlake-fnv.
 */
int
jflow_shard_of_id(const char *id, int len, int shards)
{
	Size		utf8_len = len;
	const char *utf8 = jflow_to_utf8(id, &utf8_len);
	uint64		hash = UINT64CONST(0xcbf29ce484222325);

	for (Size i = 0; i < utf8_len; i++)
	{
		hash ^= (unsigned char) utf8[i];
		hash *= UINT64CONST(0x100000001b3);
	}
	return (int) (hash % (uint64) shards);
}
