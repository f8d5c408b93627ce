/*
 * remote_connection.c
 *		Connections to other servers, and the transactions on them.
 *
 * Servers and user mappings are postgres_fdw's, and so are the rules: who calls
 * needs USAGE on the server and a mapping, and a role that is no superuser must
 * log in with a password of the mapping, unless a superuser has said otherwise
 * in it.  Whoever could use the server's own files or identity could else be
 * somebody there that he is not here.
 *
 * A process keeps a connection for each role and mapping.  What writes runs in a
 * transaction there that ends as ours does, with a savepoint for each of our
 * subtransactions.  Before our commit theirs are committed one after the other:
 * of several servers, one can have committed when another fails.  What only reads
 * runs on its own, or where one is open, in that transaction, to see what it has
 * written.
 *
 * An error or a cancel while a statement runs there cancels it, by a statement
 * of another connection: a request to cancel that libpq makes waits without end
 * for a server that hangs.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "foreign/foreign.h"
#include "libpq-fe.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/acl.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "common/xact.h"
#include "compat.h"
#include "executors/remote/remote.h"

#define WRAPPER "postgres_fdw"
#define CANCEL_MS 1000			/* for a server to hear of a cancel, and to
								 * obey */
#define COMMIT_MS 60000			/* where answers are not waited for for ever */
#define END_MS 5000				/* for a transaction or savepoint to be undone */

/* So that values mean the same to both sides, whoever the role there is. */
#define SETTINGS "SET search_path = pg_catalog; SET datestyle = 'ISO'; " \
	"SET intervalstyle = 'postgres'; SET extra_float_digits = 3; SET bytea_output = 'hex'; "

/*
 * Is what we are going to call the extension's?  Where it is not installed, anybody
 * who may make a schema could have made a function of that name, to be run there by
 * whoever we log in as.
 */
#define HAS_JFLOW "SELECT count(*) > 0 AND bool_and(x.oid IS NOT NULL) FROM pg_proc p " \
	"JOIN pg_namespace n ON n.oid = p.pronamespace " \
	"LEFT JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e' " \
	"LEFT JOIN pg_extension x ON x.oid = d.refobjid AND x.extname = 'jflow' " \
	"WHERE n.nspname = 'jflow' AND p.proname = 'remote_post'"

/* Who connects by which mapping: one for PUBLIC is no way round a role's check. */
typedef struct ConnectionKey
{
	Oid			mapping;
	Oid			user;
} ConnectionKey;

struct RemoteConnection
{
	ConnectionKey key;			/* hash key */
	RemoteLink	link;			/* NULL: not connected */
	char		server[NAMEDATALEN];
	uint32		server_hash;	/* of the system caches */
	uint32		mapping_hash;
	int			depth;			/* of our transactions that there is one for */
	bool		used;			/* has answered since it was opened */
	bool		busy;			/* a statement is out */
	bool		lost;			/* with the transaction that was open */
	bool		stale;			/* server or mapping have changed */
	bool		keep;			/* beyond the end of the transaction */
	TimestampTz until;			/* how long answers are waited for */
};

static HTAB *connections = NULL;

/* ----- failures ----- */

static void
set_failure(RemoteFailure *failure, int sqlstate, const char *server, const char *detail)
{
	failure->sqlstate = sqlstate;
	failure->message = psprintf(sqlstate == ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION ?
								"could not connect to server \"%s\"" :
								"the connection to server \"%s\" was lost", server);
	detail = detail && *detail ? remote_copy_said(detail) : NULL;
	failure->detail = detail ? pchomp(detail) : NULL;
}

/* Report a failure as an error, or as a warning. */
void
remote_raise(const RemoteFailure *failure, int level)
{
	ereport(level,
			(errcode(failure->sqlstate),
			 errmsg_internal("%s", failure->message),
			 failure->detail ? errdetail_internal("%s", failure->detail) : 0));
}

static void
close_link(RemoteConnection *connection)
{
	RemoteLink	link = connection->link;

	connection->link = NULL;
	connection->busy = false;
	connection->used = false;
	if (link)
		remote_link_close(link);
}

/* The server is not there any more; with a transaction that is lost, too. */
static void
lose(RemoteConnection *connection)
{
	connection->lost = connection->depth > 0;
	close_link(connection);
}

/* ----- connecting ----- */

static const char *
option(List *options, const char *name)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *def = lfirst(cell);

		if (strcmp(def->defname, name) == 0)
			return defGetString(def);
	}
	return NULL;
}

static bool
bool_option(List *options, const char *name, bool otherwise)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *def = lfirst(cell);

		if (strcmp(def->defname, name) == 0)
			return defGetBoolean(def);
	}
	return otherwise;
}

/* Is it an option of libpq's that a server or a mapping can have? */
static bool
is_connection_option(const PQconninfoOption *known, const char *name)
{
	for (; known->keyword; known++)
		if (strcmp(known->keyword, name) == 0)
			return true;
	return false;
}

static void
add_options(List *options, const char **keywords, const char **values, int *n)
{
	PQconninfoOption *known = PQconndefaults();
	ListCell   *cell;

	if (known == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	foreach(cell, options)
	{
		DefElem    *def = lfirst(cell);

		if (is_connection_option(known, def->defname))
		{
			keywords[*n] = def->defname;
			values[*n] = strVal(def->arg);
			(*n)++;
		}
	}
	PQconninfoFree(known);
}

/* Milliseconds to connect in, or 0: as libpq has it, for each host. */
static int
connect_timeout(List *options)
{
	const char *seconds = option(options, "connect_timeout");
	const char *hosts = option(options, "host");
	int			n = seconds ? atoi(seconds) : 0;
	int			nhosts = 1;

	for (; hosts && *hosts; hosts++)
		nhosts += *hosts == ',';
	return n <= 0 ? 0 : (int) Min((int64) Max(n, 2) * nhosts * 1000, PG_INT32_MAX);
}

/* The same, and no longer than an answer is waited for. */
static int
connect_ms(const RemoteConnection *connection, List *options)
{
	int			ms = connect_timeout(options);
	long		left;

	if (connection->until == DT_NOEND)
		return ms;
	left = Max(TimestampDifferenceMilliseconds(GetCurrentTimestamp(), connection->until), 1);
	return ms > 0 ? Min(ms, left) : left;
}

static void
refuse_without_password(const char *server, bool given)
{
	ereport(ERROR,
			(errcode(ERRCODE_S_R_E_PROHIBITED_SQL_STATEMENT_ATTEMPTED),
			 errmsg("a password is required to connect to server \"%s\"", server),
			 given ? errdetail("The server did not ask for the password of the user mapping.") :
			 errdetail("The flow's owner is no superuser, and the user mapping has no password."),
			 errhint("Set the option password of the user mapping, and let the server ask for it, or let a superuser set password_required to false.")));
}

static void JFLOW_NORETURN
refuse_without_jflow(const char *server)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("server \"%s\" has no jflow", server),
			 errdetail("The extension is not installed in its database."),
			 errhint("Use CREATE EXTENSION there.")));
}

/* Open a connection.  False, with the failure, where the server is not there. */
static bool
open_link(RemoteConnection *connection, const ForeignServer *server, const UserMapping *mapping,
		  Oid user, RemoteFailure *failure)
{
	int			noptions = list_length(server->options) + list_length(mapping->options);
	const char **keywords = palloc0(sizeof(char *) * (noptions + 3));
	const char **values = palloc0(sizeof(char *) * (noptions + 3));
	bool		needs = !superuser_arg(user) && bool_option(mapping->options, "password_required", true);
	const char *password = option(mapping->options, "password");
	char	   *problem = NULL;
	PGresult   *result;
	bool		has_jflow;
	int			n = 0;

	if (needs && (password == NULL || *password == '\0'))
		refuse_without_password(server->servername, false);
	add_options(server->options, keywords, values, &n);
	add_options(mapping->options, keywords, values, &n);
	keywords[n] = "fallback_application_name";
	values[n++] = "jflow";
	keywords[n] = "client_encoding";
	values[n++] = GetDatabaseEncodingName();
	connection->link = remote_link_open(keywords, values, connect_ms(connection, server->options), false,
										&problem);
	if (connection->link == NULL)
	{
		set_failure(failure, ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION,
					server->servername, problem);
		return false;
	}
	if (needs && !PQconnectionUsedPassword(connection->link))
	{
		close_link(connection);
		refuse_without_password(server->servername, true);
	}
	PQsetNoticeReceiver(connection->link, remote_take_notice, NULL);
	strlcpy(connection->server, server->servername, NAMEDATALEN);
	connection->server_hash = GetSysCacheHashValue1(FOREIGNSERVEROID, ObjectIdGetDatum(server->serverid));
	connection->mapping_hash = GetSysCacheHashValue1(USERMAPPINGOID, ObjectIdGetDatum(mapping->umid));
	connection->stale = false;
	PG_TRY();
	{
		connection->keep = bool_option(server->options, "keep_connections", true);
		result = PQsendQuery(connection->link, SETTINGS HAS_JFLOW) ? remote_link_result(connection->link, connection->until) : NULL;
	}
	PG_CATCH();
	{
		close_link(connection);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (PQresultStatus(result) == PGRES_TUPLES_OK)
	{
		has_jflow = PQntuples(result) == 1 && PQgetvalue(result, 0, 0)[0] == 't';
		PQclear(result);
		if (has_jflow)
			return true;
		close_link(connection);
		refuse_without_jflow(server->servername);
	}
	set_failure(failure, ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION, server->servername,
				PQerrorMessage(connection->link));
	PQclear(result);
	close_link(connection);
	return false;
}

/* ----- ending what runs there ----- */

/*
 * Cancel the statement that runs there, and let it come to its end.  Raises
 * nothing, and takes no longer than it is given twice; what did not end is closed.
 */
static void
cancel_statement(RemoteConnection *connection)
{
	PQconninfoOption *options = PQconninfo(connection->link);
	const char *keywords[64];
	const char *values[64];
	char	   *problem = NULL;
	char		sql[64];
	RemoteLink	link;
	int			n = 0;

	for (PQconninfoOption *o = options; o && o->keyword && n < lengthof(keywords) - 1; o++)
	{
		const char *value = o->val;

		/*
		 * of several hosts the one that we are connected to, without looking
		 * it up
		 */
		if (strcmp(o->keyword, "hostaddr") == 0)
			value = *PQhostaddr(connection->link) ? PQhostaddr(connection->link) : NULL;
		if (value == NULL || strcmp(o->keyword, "target_session_attrs") == 0)
			continue;
		if (strcmp(o->keyword, "host") == 0)
			value = PQhost(connection->link);
		else if (strcmp(o->keyword, "port") == 0)
			value = PQport(connection->link);
		keywords[n] = o->keyword;
		values[n++] = value;
	}
	keywords[n] = NULL;
	values[n] = NULL;
	link = remote_link_open(keywords, values, CANCEL_MS, true, &problem);
	if (link)
	{
		snprintf(sql, sizeof(sql), "SELECT pg_catalog.pg_cancel_backend(%d)",
				 PQbackendPID(connection->link));
		if (PQsendQuery(link, sql))
			(void) remote_link_finish(link, CANCEL_MS);
		remote_link_close(link);
	}
	PQconninfoFree(options);
	if (link && remote_link_finish(connection->link, CANCEL_MS))
		connection->busy = false;
	else
		lose(connection);
}

/* Run a statement that undoes something; raises nothing.  False: it failed. */
static bool
undo(RemoteConnection *connection, const char *sql)
{
	return connection->link && PQsendQuery(connection->link, sql) &&
		remote_link_finish(connection->link, END_MS);
}

/* ----- statements ----- */

/* Send a statement, and wait for its result, which the caller clears; NULL: lost. */
static PGresult *
run(RemoteConnection *connection, const char *sql, int nparams, const char *const *params)
{
	PGresult   *volatile result = NULL;

	PG_TRY();
	{
		connection->busy = true;

		/* row by row: who sends rows without end is not listened to */
		if ((nparams == 0 ? PQsendQuery(connection->link, sql) :
			 PQsendQueryParams(connection->link, sql, nparams, NULL, params, NULL, NULL, 0)) &&
			PQsetSingleRowMode(connection->link))
			result = remote_link_result(connection->link, connection->until);
		connection->busy = false;
	}
	PG_CATCH();
	{
		cancel_statement(connection);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return result;
}

/* A field of an error, copied; NULL where there is none, or no memory. */
static char *
field(const PGresult *result, int code)
{
	const char *value = PQresultErrorField(result, code);

	return value ? remote_copy_said(value) : NULL;
}

/* Raise the error of a server as ours. */
static void JFLOW_NORETURN
raise_theirs(PGresult *result)
{
	char	   *state = field(result, PG_DIAG_SQLSTATE);
	char	   *message = field(result, PG_DIAG_MESSAGE_PRIMARY);
	char	   *detail = field(result, PG_DIAG_MESSAGE_DETAIL);
	char	   *hint = field(result, PG_DIAG_MESSAGE_HINT);
	char	   *context = field(result, PG_DIAG_CONTEXT);
	int			code = state && strlen(state) == 5 ?
		MAKE_SQLSTATE(state[0], state[1], state[2], state[3], state[4]) : ERRCODE_CONNECTION_FAILURE;

	PQclear(result);
	remote_was_late = code == ERRCODE_QUERY_CANCELED;
	ereport(ERROR,
			(errcode(code),
			 errmsg_internal("%s", message ? message : "unknown error"),
			 detail ? errdetail_internal("%s", detail) : 0,
			 hint ? errhint("%s", hint) : 0,
			 context ? errcontext("%s", context) : 0));
}

/* Is a result good?  False, with the failure: the server was lost. */
static bool
check_result(RemoteConnection *connection, PGresult *result, RemoteFailure *failure)
{
	ExecStatusType status = PQresultStatus(result);

	if (result == NULL || PQstatus(connection->link) == CONNECTION_BAD)
	{
		set_failure(failure, ERRCODE_CONNECTION_FAILURE, connection->server,
					result ? PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY) :
					PQstatus(connection->link) == CONNECTION_OK ? "It has sent something else than an answer." :
					PQerrorMessage(connection->link));
		PQclear(result);
		lose(connection);
		return false;
	}
	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && status != PGRES_SINGLE_TUPLE)
		raise_theirs(result);
	connection->used = true;
	return true;
}

static bool
command(RemoteConnection *connection, const char *sql, RemoteFailure *failure)
{
	PGresult   *result = run(connection, sql, 0, NULL);

	if (!check_result(connection, result, failure))
		return false;
	PQclear(result);
	return true;
}

/* Begin what is missing of a transaction like ours. */
static bool
begin(RemoteConnection *connection, RemoteFailure *failure)
{
	int			depth = GetCurrentTransactionNestLevel();

	if (connection->depth == 0)
	{
		if (IsolationUsesXactSnapshot())
			remote_keeping_snapshot();
		if (!command(connection,
					 XactIsoLevel == XACT_SERIALIZABLE ? "START TRANSACTION ISOLATION LEVEL SERIALIZABLE" :
					 XactIsoLevel == XACT_REPEATABLE_READ ? "START TRANSACTION ISOLATION LEVEL REPEATABLE READ" :
					 "START TRANSACTION ISOLATION LEVEL READ COMMITTED", failure))
			return false;
		connection->depth = 1;
	}
	while (connection->depth < depth)
	{
		char		sql[32];

		snprintf(sql, sizeof(sql), "SAVEPOINT s%d", connection->depth + 1);
		if (!command(connection, sql, failure))
			return false;
		connection->depth++;
	}
	return true;
}

/* ----- the ends of our transactions ----- */

static void
commit(RemoteConnection *connection)
{
	RemoteFailure failure;
	PGresult   *result;
	bool		committed;

	if (connection->lost)
	{
		set_failure(&failure, ERRCODE_CONNECTION_FAILURE, connection->server,
					"What was written there is undone.");
		remote_raise(&failure, ERROR);
	}
	if (connection->until != DT_NOEND)
		connection->until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), COMMIT_MS);
	result = run(connection, "COMMIT TRANSACTION", 0, NULL);
	if (result == NULL || PQstatus(connection->link) == CONNECTION_BAD)
	{
		PQclear(result);
		lose(connection);
		ereport(ERROR,
				(errcode(ERRCODE_TRANSACTION_RESOLUTION_UNKNOWN),
				 errmsg("the connection to server \"%s\" was lost during commit", connection->server),
				 errdetail("It is not known whether that server has committed.")));
	}
	connection->depth = 0;
	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		raise_theirs(result);
	/* a transaction that has failed is "committed" by ROLLBACK */
	committed = strcmp(PQcmdStatus(result), "COMMIT") == 0;
	PQclear(result);
	if (!committed)
		ereport(ERROR,
				(errcode(ERRCODE_IN_FAILED_SQL_TRANSACTION),
				 errmsg("the transaction on server \"%s\" has failed", connection->server)));
}

/* What holds for one transaction has ended. */
static void
end_transaction(RemoteConnection *connection)
{
	connection->depth = 0;
	connection->lost = false;
	if (connection->stale || !connection->keep)
		close_link(connection);
}

static void
roll_back(RemoteConnection *connection)
{
	if (connection->busy && connection->link)
		cancel_statement(connection);
	if (connection->depth > 0 && !connection->lost && !undo(connection, "ROLLBACK TRANSACTION"))
		close_link(connection);
	if (connection->link && PQtransactionStatus(connection->link) != PQTRANS_IDLE)
		close_link(connection);
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	HASH_SEQ_STATUS scan;
	RemoteConnection *connection;

	hash_seq_init(&scan, connections);
	while ((connection = hash_seq_search(&scan)) != NULL)
	{
		bool		open = connection->depth > 0 || connection->busy;

		switch (event)
		{
			case XACT_EVENT_PRE_COMMIT:
			case XACT_EVENT_PARALLEL_PRE_COMMIT:
				if (open)
					commit(connection);
				break;
			case XACT_EVENT_PRE_PREPARE:
				if (open)
					ereport(ERROR,
							(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
							 errmsg("cannot PREPARE a transaction that has posted to server \"%s\"",
									connection->server)));
				break;
			case XACT_EVENT_ABORT:
			case XACT_EVENT_PARALLEL_ABORT:
				if (open)
					roll_back(connection);
				end_transaction(connection);
				break;
			default:
				end_transaction(connection);
		}
	}
}

/* The innermost of our subtransactions ends. */
static void
at_subtransaction_end(SubXactEvent event, SubTransactionId id, SubTransactionId parent, void *arg)
{
	HASH_SEQ_STATUS scan;
	RemoteConnection *connection;
	int			depth = GetCurrentTransactionNestLevel();
	RemoteFailure failure;
	char		sql[80];

	if (event != SUBXACT_EVENT_PRE_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	hash_seq_init(&scan, connections);
	while ((connection = hash_seq_search(&scan)) != NULL)
	{
		if (connection->depth < depth)
			continue;
		if (!connection->lost && event == SUBXACT_EVENT_PRE_COMMIT_SUB)
		{
			snprintf(sql, sizeof(sql), "RELEASE SAVEPOINT s%d", depth);
			if (!command(connection, sql, &failure))
				remote_raise(&failure, ERROR);
		}
		else if (!connection->lost)
		{
			snprintf(sql, sizeof(sql), "ROLLBACK TO SAVEPOINT s%d; RELEASE SAVEPOINT s%d", depth, depth);
			if (!undo(connection, sql) || PQtransactionStatus(connection->link) != PQTRANS_INTRANS)
				lose(connection);
		}
		connection->depth--;
	}
}

/* A server or a mapping has changed. */
static void
note_change(Datum arg, int cache, uint32 hash)
{
	HASH_SEQ_STATUS scan;
	RemoteConnection *connection;

	hash_seq_init(&scan, connections);
	while ((connection = hash_seq_search(&scan)) != NULL)
		if (hash == 0 || (cache == FOREIGNSERVEROID && connection->server_hash == hash) ||
			(cache == USERMAPPINGOID && connection->mapping_hash == hash))
			connection->stale = true;
}

static void
init_connections(void)
{
	HASHCTL		control = {0};

	control.keysize = sizeof(ConnectionKey);
	control.entrysize = sizeof(RemoteConnection);
	connections = hash_create("jflow connections", 8, &control, HASH_ELEM | HASH_BLOBS);
	jflow_at_transaction_end(XACT_END_REMOTE, at_transaction_end);
	RegisterSubXactCallback(at_subtransaction_end, NULL);
	CacheRegisterSyscacheCallback(FOREIGNSERVEROID, note_change, (Datum) 0);
	CacheRegisterSyscacheCallback(USERMAPPINGOID, note_change, (Datum) 0);
}

/* ----- what the room uses ----- */

/* The server, if the role may use it. */
static ForeignServer *
find_server(const char *name, Oid user)
{
	ForeignServer *server = GetForeignServerByName(name, true);

	if (server == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("server \"%s\" does not exist", name)));
	jflow_check_may_use_server(server, user);
	return server;
}

/* Is it postgres_fdw's?  A server does not change its wrapper. */
static void
check_wrapper(const ForeignServer *server)
{
	Oid			extension = getExtensionOfObject(ForeignDataWrapperRelationId, server->fdwid);
	char	   *name = OidIsValid(extension) ? get_extension_name(extension) : NULL;

	if (name == NULL || strcmp(name, WRAPPER) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("server \"%s\" is not one of foreign data wrapper %s", server->servername, WRAPPER)));
}

/*
 * The connection of a role to a server, opened where there is none.  Returns NULL,
 * with the failure in the current memory context, where the server is not there.
 * Raises undefined_object, wrong_object_type, insufficient_privilege, 2F003 for
 * want of a password, and connection_failure where a transaction that has written
 * there is lost.  What is asked through it from now on raises query_canceled if it
 * has no answer by "until" (DT_NOEND: no limit).
 */
RemoteConnection *
remote_connect(const char *name, Oid user, TimestampTz until, RemoteFailure *failure)
{
	ForeignServer *server = find_server(name, user);
	UserMapping *mapping = GetUserMapping(user, server->serverid);
	ConnectionKey key = {mapping->umid, user};
	RemoteConnection *connection;
	bool		found;

	if (connections == NULL)
		init_connections();
	connection = hash_search(connections, &key, HASH_ENTER, &found);
	if (!found)
		memset((char *) connection + sizeof(key), 0, sizeof(*connection) - sizeof(key));
	connection->until = until;
	if (connection->lost)
	{
		set_failure(failure, ERRCODE_CONNECTION_FAILURE, connection->server,
					"What this transaction has written there is undone.");
		remote_raise(failure, ERROR);
	}
	if (connection->link && connection->depth == 0 &&
		(connection->stale || !PQconsumeInput(connection->link) ||
		 PQstatus(connection->link) == CONNECTION_BAD))
		close_link(connection);
	if (connection->link == NULL)
	{
		check_wrapper(server);
		if (!open_link(connection, server, mapping, user, failure))
			return NULL;
	}
	return connection;
}

/* Is there a transaction that has written? */
bool
remote_in_transaction(const RemoteConnection *connection)
{
	return connection->depth > 0;
}

/*
 * The value of a result, in the current memory context; NULL where it has none.  It
 * is text in our encoding, or an error is raised, since nothing else may come to
 * who cuts texts into characters.
 */
static char *
value_of(const PGresult *result, const char *server)
{
	Size		len;

	if (PQntuples(result) != 1 || PQnfields(result) != 1 || PQgetisnull(result, 0, 0))
		return NULL;
	len = strlen(PQgetvalue(result, 0, 0));
	if (len >= MaxAllocSize)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the answer of server \"%s\" is too large", server)));
	(void) pg_verify_mbstr(GetDatabaseEncoding(), PQgetvalue(result, 0, 0), (int) len, false);
	return pstrdup(PQgetvalue(result, 0, 0));
}

/*
 * Run a query of one value, on its own or in a transaction that ends with ours.
 * Returns the value as text in the current memory context; NULL, with the failure,
 * where the server was lost, and "retry" is set where nothing was done there and
 * the connection was an old one.  Raises what the server raises.
 */
char *
remote_query(RemoteConnection *connection, bool in_transaction, const char *sql, int nparams,
			 const char *const *params, RemoteFailure *failure, bool *retry)
{
	bool		old = connection->used;
	bool		begun = connection->depth > 0;
	PGresult   *result;
	char	   *volatile value = NULL;

	*retry = false;
	remote_drop_notices();
	if (in_transaction && !begin(connection, failure))
	{
		*retry = old && !begun && !connection->lost;
		return NULL;
	}
	result = run(connection, sql, nparams, params);
	if (!check_result(connection, result, failure))
	{
		*retry = old && !in_transaction;
		return NULL;
	}
	PG_TRY();
	{
		value = value_of(result, connection->server);
	}
	PG_FINALLY();
	{
		PQclear(result);
	}
	PG_END_TRY();
	remote_give_notices();
	if (value == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_REPLY_HANDLE),
				 errmsg("server \"%s\" has given no answer", connection->server)));
	return value;
}
