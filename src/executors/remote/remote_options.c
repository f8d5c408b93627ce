/*
 * remote_options.c
 *		Options of a RemoteFlow, and which server a document belongs to.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "common/json.h"
#include "compat.h"
#include "executors/remote/remote.h"

#define MAX_LIMIT 1000000

static const char *const option_names[] = {"flow", "limit", "nodes", "partial", "servers"};

static void JFLOW_NORETURN
wrong_value(const char *name, const char *expected)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("option \"%s\" must be %s", name, expected)));
}

/* An array of different names of objects. */
static char **
read_names(const char *name, const JsonbValue *value, int *n)
{
	static const char *const expected = "an array of different names";
	char	  **names;

	if (!jflow_json_is_array(value))
		wrong_value(name, expected);
	names = jflow_json_strings(value, n);
	if (names == NULL || *n == 0 || *n > REMOTE_MAX_SERVERS)
		wrong_value(name, expected);
	for (int i = 0; i < *n; i++)
	{
		if (names[i][0] == '\0' || strlen(names[i]) >= NAMEDATALEN)
			wrong_value(name, expected);
		for (int j = 0; j < i; j++)
			if (strcmp(names[i], names[j]) == 0)
				wrong_value(name, expected);
	}
	return names;
}

static int
read_limit(const JsonbValue *value)
{
	bool		error = value->type != jbvNumeric;
	int			limit = error ? 0 : numeric_int4_compat(value->val.numeric, &error);

	if (error || limit < 1 || limit > MAX_LIMIT)
		wrong_value("limit", "an integer between 1 and 1000000");
	return limit;
}

static void
read_option(void *arg, const char *key, JsonbValue *value)
{
	RemoteOptions *options = arg;
	const char *suggestion;
	int			n;

	if (strcmp(key, "servers") == 0)
		options->servers = read_names(key, value, &options->nservers);
	else if (strcmp(key, "nodes") == 0)
		options->nodes = read_names(key, value, &n);
	else if (strcmp(key, "limit") == 0)
		options->limit = read_limit(value);
	else if (strcmp(key, "flow") == 0)
	{
		if (value->type != jbvString || value->val.string.len == 0)
			wrong_value(key, "the name of a flow");
		options->flow = jflow_json_string(value);
	}
	else if (strcmp(key, "partial") == 0)
	{
		if (value->type != jbvBool)
			wrong_value(key, "a boolean");
		options->partial = value->val.boolean;
	}
	else
	{
		suggestion = jflow_suggest(key, option_names, lengthof(option_names));
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown option \"%s\" of %s", key, REMOTE_CLASS),
				 suggestion ? errhint("Did you mean \"%s\"?", suggestion) : 0));
	}
}

/* How many names an option has that is known to be right. */
static int
count_names(Jsonb *uses_with, const char *name)
{
	JsonbValue	buffer;
	JsonbValue *value = jflow_json_get(uses_with, name, &buffer);

	return value ? JsonContainerSize(value->val.binary.data) : 0;
}

/*
 * Read uses_with, in the current memory context.  Nodes that are not given have
 * the servers' names.  Raises invalid_parameter_value.
 */
const RemoteOptions *
remote_options_read(Jsonb *uses_with)
{
	RemoteOptions *options = palloc0(sizeof(RemoteOptions));

	jflow_json_each(&uses_with->root, read_option, options);
	if (options->servers == NULL || options->flow == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s needs the option \"%s\"", REMOTE_CLASS,
						options->servers ? "flow" : "servers"),
				 errhint("Name servers of postgres_fdw, and the flow on each of them.")));
	if (options->nodes && count_names(uses_with, "nodes") != options->nservers)
		wrong_value("nodes", "as many names as there are servers");
	if (options->nodes == NULL)
		options->nodes = options->servers;
	return options;
}

/* For jflow_add. */
static void
check_options(Jsonb *uses_with)
{
	(void) remote_options_read(uses_with);
}

/*
 * For jflow_add: a shard a server, and nodes that keep the names which the servers
 * have now, so that documents are still found when a server gets another.
 */
static void
set_defaults(JflowExecutor *executor)
{
	const RemoteOptions *options = remote_options_read(executor->uses_with);
	JsonbInState state = {0};

	if (executor->shards == 1)
		executor->shards = options->nservers;
	if (executor->shards != options->nservers)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("executor \"%s\" has %d servers and shards => %d", executor->name,
						options->nservers, executor->shards),
				 errhint("A server is a shard; leave shards out.")));
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	jflow_json_push_strings(&state, "nodes", options->nodes, options->nservers);
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	executor->uses_with = DatumGetJsonbP(DirectFunctionCall2(jsonb_concat,
															 JsonbPGetDatum(executor->uses_with),
															 JsonbPGetDatum(JsonbValueToJsonb(state.result))));
}

/* For jflow_scale: there are as many shards as servers. */
static void
refuse_scale(const char *flow, const char *executor, int shards, bool at_once)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot change the number of shards of executor \"%s\", which is a %s",
					executor, REMOTE_CLASS),
			 errdetail("Each of its servers is a shard."),
			 errhint("Add an executor with other servers, and post the documents again.")));
}

/* 64-bit FNV-1a. */
static uint64
hash_bytes_fnv(const char *bytes, Size len)
{
	uint64		hash = UINT64CONST(0xcbf29ce484222325);

	for (Size i = 0; i < len; i++)
	{
		hash ^= (unsigned char) bytes[i];
		hash *= UINT64CONST(0x100000001b3);
	}
	return hash;
}

/*
 * The finalizer of MurmurHash3, after which each bit depends on all.
 *
 * Source: A. Appleby, "MurmurHash3", 2011 (public domain).
 */
static uint64
mix(uint64 hash)
{
	hash ^= hash >> 33;
	hash *= UINT64CONST(0xff51afd7ed558ccd);
	hash ^= hash >> 33;
	hash *= UINT64CONST(0xc4ceb9fe1a85ec53);
	hash ^= hash >> 33;
	return hash;
}

static uint64
hash_text(const char *string, Size len)
{
	const char *utf8 = jflow_to_utf8(string, &len);

	return hash_bytes_fnv(utf8, len);
}

/*
 * Which server each id belongs to: the one whose node, hashed together with the id,
 * is greatest.  Another server takes documents from all the others in equal parts,
 * and moves none between them.  Documents are found by this function, so it must
 * never change; it does not depend on the order of servers, nor on version,
 * platform or encoding.
 *
 * Source: D. G. Thaler, C. V. Ravishankar, "Using Name-Based Mappings to Increase
 * Hit Rates", IEEE/ACM Transactions on Networking 6(1), 1998.
 */
void
remote_place(const JflowExecutor *executor, struct varlena **ids, int n, int *shards)
{
	const RemoteOptions *options = remote_options_read(executor->uses_with);
	uint64	   *nodes = palloc(sizeof(uint64) * options->nservers);

	for (int node = 0; node < options->nservers; node++)
		nodes[node] = mix(hash_text(options->nodes[node], strlen(options->nodes[node])));
	for (int i = 0; i < n; i++)
	{
		uint64		id = hash_text(VARDATA_ANY(ids[i]), VARSIZE_ANY_EXHDR(ids[i]));
		uint64		greatest = 0;

		CHECK_FOR_INTERRUPTS();
		shards[i] = 0;
		for (int node = 0; node < options->nservers; node++)
		{
			uint64		weight = mix(id ^ nodes[node]);

			if (weight < greatest)
				continue;
			greatest = weight;
			shards[i] = node;
		}
	}
}

/* The reduce of shards looks at these; all others are the far flow's. */
static const char *const parameters[] = {"limit", "offset", "group_by", NULL};

const JflowClass remote_class = {
	.name = REMOTE_CLASS,
	.check = check_options,
	.defaults = set_defaults,
	.parameters = parameters,
	.any_parameters = true,
	.default_limit = REMOTE_DEFAULT_LIMIT,
	.scale = refuse_scale,
	.place = remote_place,
	.takes_origin = true,
};
