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

static const char *const option_names[] = {"flow", "limit", "move", "nodes", "partial", "servers"};

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

/* What is known of "move" until the nodes are: names of those before and after it. */
typedef struct ReadMove
{
	char	  **from;
	int			nfrom;
	char	  **to;
	int			nto;
	bool		locking;
} ReadMove;

typedef struct ReadOptions
{
	RemoteOptions *options;
	ReadMove	move;
} ReadOptions;

#define MOVE_EXPECTED "an object of \"from\" and \"to\""

static void
read_move_member(void *arg, const char *key, JsonbValue *value)
{
	ReadMove   *move = arg;

	if (strcmp(key, "from") == 0)
		move->from = read_names(key, value, &move->nfrom);
	else if (strcmp(key, "to") == 0)
		move->to = read_names(key, value, &move->nto);
	else if (strcmp(key, "locking") == 0 && value->type == jbvBool)
		move->locking = value->val.boolean;
	else
		wrong_value("move", MOVE_EXPECTED);
}

static void
read_move(const JsonbValue *value, ReadMove *move)
{
	if (!jflow_json_is_object(value))
		wrong_value("move", MOVE_EXPECTED);
	jflow_json_each(value->val.binary.data, read_move_member, move);
	if (move->from == NULL || move->to == NULL)
		wrong_value("move", MOVE_EXPECTED);
}

static void
read_option(void *arg, const char *key, JsonbValue *value)
{
	RemoteOptions *options = ((ReadOptions *) arg)->options;
	const char *suggestion;
	int			n;

	if (strcmp(key, "servers") == 0)
		options->servers = read_names(key, value, &options->nservers);
	else if (strcmp(key, "nodes") == 0)
		options->nodes = read_names(key, value, &n);
	else if (strcmp(key, "limit") == 0)
		options->limit = read_limit(value);
	else if (strcmp(key, "move") == 0)
		read_move(value, &((ReadOptions *) arg)->move);
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

/* The number of a name among others, or -1. */
static int
index_of(const char *name, char *const *names, int n)
{
	for (int i = 0; i < n; i++)
		if (strcmp(names[i], name) == 0)
			return i;
	return -1;
}

/* Which servers have nodes of these names; marks them in "known", too. */
static bool *
mark_nodes(const RemoteOptions *options, char *const *names, int n, bool *known)
{
	bool	   *marks = palloc0(sizeof(bool) * options->nservers);

	for (int i = 0; i < n; i++)
	{
		int			node = index_of(names[i], options->nodes, options->nservers);

		if (node < 0)
			wrong_value("move", "of nodes of the executor");
		marks[node] = known[node] = true;
	}
	return marks;
}

static void
set_move(RemoteOptions *options, const ReadMove *move)
{
	bool	   *known = palloc0(sizeof(bool) * options->nservers);

	options->moving = true;
	options->locking = move->locking;
	options->is_old = mark_nodes(options, move->from, move->nfrom, known);
	options->is_new = mark_nodes(options, move->to, move->nto, known);
	options->from = move->from;
	options->nfrom = move->nfrom;
	options->to = move->to;
	options->nto = move->nto;
	for (int i = 0; i < options->nservers; i++)
		if (!known[i])
			wrong_value("move", "of all nodes of the executor");
}

/*
 * Read uses_with, in the current memory context.  Nodes that are not given have
 * the servers' names.  Raises invalid_parameter_value.
 */
const RemoteOptions *
remote_options_read(Jsonb *uses_with)
{
	RemoteOptions *options = palloc0(sizeof(RemoteOptions));
	ReadOptions reading = {options};

	jflow_json_each(&uses_with->root, read_option, &reading);
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
	if (reading.move.from)
		set_move(options, &reading.move);
	return options;
}

/* Are these the servers of some nodes, in any order? */
bool
remote_same_servers(const RemoteOptions *options, const bool *among, char **servers, int nservers)
{
	int			n = 0;

	for (int i = 0; i < options->nservers; i++)
	{
		if (among && !among[i])
			continue;
		n++;
		if (index_of(options->servers[i], servers, nservers) < 0)
			return false;
	}
	return n == nservers;
}

/* Servers, nodes and a move that are collected for a new uses_with. */
typedef struct Collected
{
	char	  **servers;
	char	  **nodes;
	int			n;
} Collected;

static void
collect(Collected *list, char *server, char *node)
{
	list->servers[list->n] = server;
	list->nodes[list->n++] = node;
}

static void
init_collected(Collected *list, int n)
{
	list->servers = palloc(sizeof(char *) * n);
	list->nodes = palloc(sizeof(char *) * n);
	list->n = 0;
}

/* uses_with of other servers; "from" and "to" are what moves, or NULL. */
static Jsonb *
with_servers(Jsonb *uses_with, const Collected *list, const Collected *from, const Collected *to,
			 bool locking)
{
	JsonbInState state = {0};

	uses_with = DatumGetJsonbP(DirectFunctionCall2(jsonb_delete, JsonbPGetDatum(uses_with),
												   CStringGetTextDatum("move")));
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	jflow_json_push_strings(&state, "servers", list->servers, list->n);
	jflow_json_push_strings(&state, "nodes", list->nodes, list->n);
	if (from)
	{
		jflow_json_push_key(&state, "move");
		pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
		jflow_json_push_strings(&state, "from", from->nodes, from->n);
		jflow_json_push_strings(&state, "to", to->nodes, to->n);
		if (locking)
			jflow_json_push_bool(&state, "locking", true);
		pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	}
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(uses_with),
											  JsonbPGetDatum(JsonbValueToJsonb(state.result))));
}

/*
 * uses_with while documents move to these servers: those that are new, those that
 * stay, those that are left.  A document moves to an earlier one of them only, so
 * where two have it the first one's is the newest.  If documents move already, from
 * these servers, they go back, and all that writes has ids locked.  Raises
 * invalid_parameter_value for a server whose node would be another's.
 */
Jsonb *
remote_options_moving(Jsonb *uses_with, const RemoteOptions *options, char **servers, int nservers,
					  const char *executor)
{
	const bool *had = options->moving ? options->is_new : NULL;
	Collected	all,
				from,
				to,
				stay;

	init_collected(&all, options->nservers + nservers);
	init_collected(&from, options->nservers);
	init_collected(&to, nservers);
	init_collected(&stay, nservers);
	for (int i = 0; i < nservers; i++)
	{
		int			known = index_of(servers[i], options->servers, options->nservers);
		char	   *node = known < 0 ? servers[i] : options->nodes[known];

		if (known < 0 && index_of(node, options->nodes, options->nservers) >= 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("server \"%s\" has the name of another server's node in executor \"%s\"",
							node, executor),
					 errhint("Rename it.")));
		collect(&to, servers[i], node);
		collect(known < 0 || (had && !had[known]) ? &all : &stay, servers[i], node);
	}
	for (int i = 0; i < stay.n; i++)
		collect(&all, stay.servers[i], stay.nodes[i]);
	for (int i = 0; i < options->nservers; i++)
	{
		if (!had || had[i])
			collect(&from, options->servers[i], options->nodes[i]);
		if (index_of(options->servers[i], servers, nservers) < 0)
			collect(&all, options->servers[i], options->nodes[i]);
	}
	if (all.n > REMOTE_MAX_SERVERS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("executor \"%s\" would have %d servers while documents move", executor, all.n),
				 errdetail("It can have at most %d.", REMOTE_MAX_SERVERS)));
	return with_servers(uses_with, &all, &from, &to, !options->moving);
}

/* Nodes of an executor, given by their names. */
static Collected
collect_nodes(const RemoteOptions *options, char **nodes, int n)
{
	Collected	list;

	init_collected(&list, n);
	for (int i = 0; i < n; i++)
		collect(&list, options->servers[index_of(nodes[i], options->nodes, options->nservers)], nodes[i]);
	return list;
}

/* uses_with of a move that has moved nothing, without it. */
Jsonb *
remote_options_unmoved(Jsonb *uses_with, const RemoteOptions *options)
{
	Collected	from = collect_nodes(options, options->from, options->nfrom);

	return with_servers(uses_with, &from, NULL, NULL, false);
}

/* uses_with where all documents have moved. */
Jsonb *
remote_options_moved(Jsonb *uses_with, const RemoteOptions *options)
{
	Collected	to = collect_nodes(options, options->to, options->nto);

	return with_servers(uses_with, &to, NULL, NULL, false);
}

/* uses_with of the same move, where all that writes has locked ids. */
Jsonb *
remote_options_locked(Jsonb *uses_with, const RemoteOptions *options)
{
	Collected	all = collect_nodes(options, options->nodes, options->nservers);
	Collected	from = collect_nodes(options, options->from, options->nfrom);
	Collected	to = collect_nodes(options, options->to, options->nto);

	return with_servers(uses_with, &all, &from, &to, false);
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
 * How many bytes of an id are the document's: a chunk is P#3, of document P, and is to
 * be where that is, since what writes a document deletes the chunks that it has no more.
 */
int
remote_document_len(const char *id, int len)
{
	for (;;)
	{
		int			rest = len;

		while (rest > 0 && id[rest - 1] >= '0' && id[rest - 1] <= '9')
			rest--;
		if (rest == len || rest < 2 || id[rest - 1] != '#')
			return len;
		len = rest - 1;
	}
}

/*
 * Which server each id belongs to, of all or of those that are marked: the one whose
 * node, hashed together with the document's id, is greatest.  Another server takes documents
 * from all the others in equal parts, and moves none between them.  Documents are
 * found by this function, so it must never change; it does not depend on the order
 * of servers, nor on version, platform or encoding.
 *
 * Source: D. G. Thaler, C. V. Ravishankar, "Using Name-Based Mappings to Increase
 * Hit Rates", IEEE/ACM Transactions on Networking 6(1), 1998.
 */
void
remote_place(const RemoteOptions *options, const bool *among, struct varlena **ids, int n, int *servers)
{
	uint64	   *nodes = palloc(sizeof(uint64) * options->nservers);

	for (int node = 0; node < options->nservers; node++)
		nodes[node] = mix(hash_text(options->nodes[node], strlen(options->nodes[node])));
	for (int i = 0; i < n; i++)
	{
		uint64		id = hash_text(VARDATA_ANY(ids[i]),
								   remote_document_len(VARDATA_ANY(ids[i]), VARSIZE_ANY_EXHDR(ids[i])));
		uint64		greatest = 0;

		CHECK_FOR_INTERRUPTS();
		servers[i] = -1;
		for (int node = 0; node < options->nservers; node++)
		{
			uint64		weight = mix(id ^ nodes[node]);

			if ((among && !among[node]) || (servers[i] >= 0 && weight < greatest))
				continue;
			greatest = weight;
			servers[i] = node;
		}
	}
	pfree(nodes);
}
