/*
 * remote_ask.c
 *		Posting to the flow on a server.
 *
 * A request is one query there: jflow.remote_post, which posts as whoever we have
 * logged in as.  Documents travel as text, so that nothing depends on numbers of
 * types or on the schemas of extensions.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "common/json.h"
#include "compat.h"
#include "executors/remote/remote.h"
#include "flow/origin.h"

#define GRACE_MS 500			/* that the server goes on after our limit, so
								 * that the limit is ours */

/* Adds the server to an error. */
static void
ask_error_context(void *arg)
{
	errcontext("server \"%s\"", ((const RemoteAsk *) arg)->server);
}

/* What the server is to know of the post that it posts for. */
static Jsonb *
options_for(const RemoteAsk *ask)
{
	JsonbInState state = {0};

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	jflow_json_push_int(&state, "version", JFLOW_ORIGIN_VERSION);
	jflow_json_push_json(&state, "origin", jflow_origin_add(ask->origin, ask->front));
	jflow_json_push_bool(&state, "read_only", ask->read_only);
	if (ask->stored)
		jflow_json_push_bool(&state, "stored", true);
	if (ask->ids)
		jflow_json_push_bool(&state, "ids", true);
	if (ask->definition)
		jflow_json_push_bool(&state, "definition", true);
	if (ask->until != DT_NOEND)
		jflow_json_push_int(&state, "timeout",
							Max((ask->until - GetCurrentTimestamp()) / 1000, 0) + GRACE_MS);
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(state.result);
}

static const char *
json_text(Jsonb *json)
{
	return JsonbToCString(NULL, &json->root, VARSIZE(json));
}

static Datum
docs_of_text(char *text)
{
	Oid			input;
	Oid			param;

	getTypeInputInfo(jflow_types()->doc_array, &input, &param);
	return OidInputFunctionCall(input, text, param, -1);
}

/* Documents as text, which means the same to both sides. */
char *
remote_text_of_docs(Datum docs)
{
	int			level = NewGUCNestLevel();
	Oid			output;
	bool		varlena;
	char	   *text;

	if (extra_float_digits < 1)
		(void) set_config_option("extra_float_digits", "3", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	getTypeOutputInfo(jflow_types()->doc_array, &output, &varlena);
	text = OidOutputFunctionCall(output, docs);

	AtEOXact_GUC(false, level);
	return text;
}

/*
 * Ask, a second time where an old connection turns out to be gone before anything
 * was done.  NULL, with the failure: the server is not there.
 */
static char *
ask_text(const RemoteAsk *ask, const char *sql, const char *const *params, int nparams, RemoteFailure *failure)
{
	char	   *answer = NULL;
	bool		retry = true;
	TimestampTz until = ask->no_longer ? TimestampTzPlusMilliseconds(ask->until, 2 * GRACE_MS) : DT_NOEND;

	for (int i = 0; i < 2 && answer == NULL && retry; i++)
	{
		RemoteConnection *connection = remote_connect(ask->server, ask->user, until, failure);

		if (connection == NULL)
			return NULL;
		answer = remote_query(connection,
							  !ask->read_only || IsolationUsesXactSnapshot() ||
							  remote_in_transaction(connection),
							  sql, nparams, params, failure, &retry);
	}
	return answer;
}

/*
 * Post to the flow on a server.  Returns what it answers; 0, with the failure in the
 * current memory context: it is not there.  Raises what the server raises, and what
 * remote_connect does.
 */
Datum
remote_ask(const RemoteAsk *ask, RemoteFailure *failure)
{
	ErrorContextCallback callback;
	const char *params[5];
	char	   *answer;
	Datum		docs;

	callback.callback = ask_error_context;
	callback.arg = (void *) ask;
	callback.previous = error_context_stack;
	error_context_stack = &callback;

	params[0] = ask->endpoint;
	params[1] = remote_text_of_docs(ask->docs);
	params[2] = ask->flow;
	params[3] = json_text(ask->parameters);
	params[4] = json_text(options_for(ask));
	answer = ask_text(ask, "SELECT jflow.remote_post($1, $2, $3, $4, $5)", params, lengthof(params), failure);
	docs = answer ? docs_of_text(answer) : (Datum) 0;
	error_context_stack = callback.previous;
	return docs;
}

static void
raise_failure(const RemoteAsk *ask, const RemoteFailure *failure)
{
	ErrorContextCallback callback;

	callback.callback = ask_error_context;
	callback.arg = (void *) ask;
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	remote_raise(failure, ERROR);
}

/* The same; a server that is not there is an error. */
Datum
remote_ask_or_raise(const RemoteAsk *ask)
{
	RemoteFailure failure;
	Datum		docs = remote_ask(ask, &failure);

	if (docs == (Datum) 0)
		raise_failure(ask, &failure);
	return docs;
}

/*
 * Which database a server is: two answers are the same only where it is one, or the
 * copy of one, file by file.
 */
static char *
database_of(const RemoteAsk *ask)
{
	RemoteFailure failure;
	char	   *database = ask_text(ask,
									"SELECT s.system_identifier || '/' || d.oid FROM pg_control_system() s, pg_database d "
									"WHERE d.datname = current_database()", NULL, 0, &failure);

	if (database == NULL)
		raise_failure(ask, &failure);
	return database;
}

typedef struct Known
{
	const char *server;
	char	   *database;
} Known;

static int
database_order(const void *a, const void *b)
{
	return strcmp(((const Known *) a)->database, ((const Known *) b)->database);
}

/*
 * Raise an error where two servers are one database.  It has to be asked whenever
 * something is to be deleted: a server may have been altered since.
 */
void
remote_check_distinct(const RemoteAsk *as, const char *const *servers, int n)
{
	Known	   *known = palloc(sizeof(Known) * n);
	RemoteAsk	ask = *as;

	ask.endpoint = "/fetch";
	ask.read_only = true;
	for (int i = 0; i < n; i++)
	{
		ask.server = servers[i];
		known[i].server = servers[i];
		known[i].database = database_of(&ask);
	}
	qsort(known, n, sizeof(Known), database_order);
	for (int i = 1; i < n; i++)
		if (database_order(&known[i - 1], &known[i]) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("servers \"%s\" and \"%s\" are the same database",
							known[i - 1].server, known[i].server),
					 errdetail("What is deleted at one would be gone at the other, too."),
					 errhint("ALTER SERVER, or ALTER SERVER ... RENAME where only the name should change.")));
}

/* Raise an error where a server is a standby, or lets nobody write. */
void
remote_check_writable(const RemoteAsk *as)
{
	RemoteAsk	ask = *as;
	RemoteFailure failure;
	char	   *read_only;

	ask.read_only = false;
	read_only = ask_text(&ask, "SELECT current_setting('transaction_read_only')", NULL, 0, &failure);
	if (read_only == NULL)
		raise_failure(&ask, &failure);
	if (strcmp(read_only, "off") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("server \"%s\" cannot be written to", ask.server)));
}
