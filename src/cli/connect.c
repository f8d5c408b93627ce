/*
 * connect.c
 *		The session: connecting as psql does, queries, the server's words, and
 *		what an interrupt does.
 *
 * Functions of the extension are called by their schema, found once, so that no
 * search_path can put another in their place.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "cli.h"

volatile int interrupted;

/* Read by the handler, so it is set whole and never freed while it is set. */
static PGcancel *volatile cancel_handle;

void		(*restore_terminal) (void);

static void
handle_signal(int signal_number)
{
	int			saved_errno = errno;
	char		error[256];

	if (interrupted)
	{
		if (restore_terminal)
			restore_terminal();
		_exit(128 + signal_number);
	}
	interrupted = signal_number;
	if (cancel_handle)
		PQcancel(cancel_handle, error, sizeof(error));
	errno = saved_errno;
}

/*
 * What cancels on this connection, in place of what did on the one before.  The
 * handler runs in this thread, so it meets a handle whole or none.
 */
static void
set_cancel_handle(PGconn *conn)
{
	PGcancel   *before = cancel_handle;

	cancel_handle = NULL;
	PQfreeCancel(before);
	cancel_handle = PQgetCancel(conn);
}

/*
 * From now on SIGINT and its like cancel on the server and set "interrupted"; a
 * second one ends us at once.
 */
static void
catch_signals(PGconn *conn)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction action;

	set_cancel_handle(conn);
	memset(&action, 0, sizeof(action));
	action.sa_handler = handle_signal;
	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
	{
		struct sigaction old;

		/* as nohup has it */
		if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
			sigaction(signals[i], &action, NULL);
	}
	signal(SIGPIPE, SIG_IGN);
}

/* A cancel that came between two queries did nothing: send another. */
void
cancel_on_server(void)
{
	char		error[256];

	if (cancel_handle)
		PQcancel(cancel_handle, error, sizeof(error));
}

/* Die as the signal would have had it, so that a shell sees what it was. */
void
end_by_signal(void)
{
	int			signal_number = interrupted;

	fflush(stdout);
	if (restore_terminal)
		restore_terminal();
	signal(signal_number, SIG_DFL);
	raise(signal_number);
	exit(128 + signal_number);
}

/* A line without its end; an interrupt ends it, too. */
static void
read_line(int fd, StrBuf *line)
{
	char		c;

	strbuf_reserve(line, 100);	/* so that no piece of it is left elsewhere */
	line->data[0] = '\0';
	while (!interrupted && read(fd, &c, 1) == 1 && c != '\n')
		strbuf_add_char(line, c);
}

/*
 * A password from the terminal, without echo; NULL where there is none.  Interrupts
 * are caught meanwhile, so that the echo comes back.
 */
static char *
ask_password(const char *user)
{
	struct sigaction action;
	struct sigaction old_action;
	struct termios before;
	struct termios quiet;
	StrBuf		password = {0};
	int			tty = open("/dev/tty", O_RDWR | O_CLOEXEC);

	if (tty < 0)
		return NULL;
	if (tcgetattr(tty, &before) != 0)
	{
		close(tty);
		return NULL;
	}
	memset(&action, 0, sizeof(action));
	action.sa_handler = handle_signal;
	sigemptyset(&action.sa_mask);
	sigaction(SIGINT, &action, &old_action);
	quiet = before;
	quiet.c_lflag &= ~ECHO;
	tcsetattr(tty, TCSAFLUSH, &quiet);
	if (user)
		dprintf(tty, "Password for user %s: ", user);
	else
		dprintf(tty, "Password: ");
	read_line(tty, &password);
	tcsetattr(tty, TCSAFLUSH, &before);
	dprintf(tty, "\n");
	close(tty);
	sigaction(SIGINT, &old_action, NULL);
	if (interrupted)
		end_by_signal();
	return password.data;
}

/* A notice of the server's; the same one again, batch by batch, is said once. */
static void
print_notice(void *arg, const PGresult *result)
{
	static char *last;
	const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY);
	const char *detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);
	const char *hint = PQresultErrorField(result, PG_DIAG_MESSAGE_HINT);

	if (!message || (last && strcmp(last, message) == 0))
		return;
	free(last);
	last = copy_string(message);
	complain("%s:  %s", severity ? severity : "NOTICE", message);
	if (detail)
		complain_more("DETAIL", detail);
	if (hint)
		complain_more("HINT", hint);
}

/*
 * Who watches a server for days must notice that it is gone without a word; what
 * stands in front of dbname is overridden by what a connection string says.
 */
static PGconn *
try_connect(const ConnectOptions *options, const char *password)
{
	bool		watch = options->watches;
	const char *keywords[] = {"connect_timeout", "keepalives_idle", "keepalives_interval", "keepalives_count",
		"tcp_user_timeout", "host", "port", "user", "password", "dbname", "fallback_application_name",
	"client_encoding", NULL};
	const char *values[] = {watch && !getenv("PGCONNECT_TIMEOUT") ? "5" : NULL, watch ? "10" : NULL,
		watch ? "5" : NULL, watch ? "3" : NULL, watch ? "20000" : NULL, options->host, options->port, options->user,
	password, options->dbname, "jflow", options->encoding ? options->encoding : "UTF8", NULL};
	PGconn	   *conn = PQconnectdbParams(keywords, values, true);

	if (!conn)
		fail_with(EXIT_USAGE, NULL, "out of memory");
	return conn;
}

static void
find_extension(Session *session, bool needed)
{
	PGresult   *result = query(session, 0, NULL,
							   "SELECT pg_catalog.quote_ident(n.nspname), e.extversion FROM pg_catalog.pg_extension e "
							   "JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) e.extnamespace "
							   "WHERE e.extname OPERATOR(pg_catalog.=) 'jflow'");

	if (PQntuples(result) == 1)
	{
		session->schema = copy_string(PQgetvalue(result, 0, 0));
		session->version = copy_string(PQgetvalue(result, 0, 1));
	}
	else if (needed)
		fail_with(EXIT_SERVER, "Use CREATE EXTENSION jflow CASCADE to install it.",
				  "the extension \"jflow\" is not in the database \"%s\"", PQdb(session->conn));
	PQclear(result);
}

/*
 * Connect, asking for a password as psql does, or exit.  The extension must be in
 * the database if it is needed.
 */
void
connect_server(Session *session, const ConnectOptions *options, bool needs_extension)
{
	char	   *password = options->prompt > 0 ? ask_password(options->user) : NULL;
	PGconn	   *conn = try_connect(options, password);

	if (PQstatus(conn) == CONNECTION_BAD && PQconnectionNeedsPassword(conn) && !password && options->prompt >= 0)
	{
		password = ask_password(PQuser(conn));
		if (password)
		{
			PQfinish(conn);
			conn = try_connect(options, password);
		}
	}
	if (password)
	{
		memset(password, 0, strlen(password));
		free(password);
	}
	if (PQstatus(conn) == CONNECTION_BAD)
	{
		complain("error: %s", PQerrorMessage(conn));
		exit(EXIT_CONNECTION);
	}
	memset(session, 0, sizeof(*session));
	session->conn = conn;
	PQsetNoticeReceiver(conn, print_notice, NULL);
	catch_signals(conn);
	find_extension(session, needs_extension);
}

/* Connect a session anew whose connection was lost; false if that fails. */
bool
reconnect(Session *session)
{
	PQreset(session->conn);
	if (PQstatus(session->conn) == CONNECTION_BAD)
		return false;
	set_cancel_handle(session->conn);
	return true;
}

static PGresult *
PRINTF(4, 0)
run_query(Session *session, int nparams, const char *const *params, const char *format, va_list args)
{
	char	   *text = NULL;
	PGresult   *result;

	if (vasprintf(&text, format, args) < 0)
		fail_with(EXIT_USAGE, NULL, "out of memory");
	result = PQexecParams(session->conn, text, nparams, NULL, params, NULL, NULL, 0);
	free(text);
	return result;
}

/* A query whose failure is the caller's to judge. */
PGresult *
try_query(Session *session, int nparams, const char *const *params, const char *format,...)
{
	PGresult   *result;
	va_list		args;

	va_start(args, format);
	result = run_query(session, nparams, params, format, args);
	va_end(args);
	return result;
}

/* A query that succeeds, or we exit with what the server said. */
PGresult *
query(Session *session, int nparams, const char *const *params, const char *format,...)
{
	PGresult   *result;
	va_list		args;

	va_start(args, format);
	result = run_query(session, nparams, params, format, args);
	va_end(args);
	if (PQresultStatus(result) != PGRES_TUPLES_OK && PQresultStatus(result) != PGRES_COMMAND_OK)
		fail_by_result(session, result);
	return result;
}

static void
print_field(const PGresult *result, int field, const char *title)
{
	const char *value = PQresultErrorField(result, field);

	if (value)
		complain_more(title, value);
}

/* What the server said, with "where" (or NULL) in front. */
void
report_result(const PGresult *result, PGconn *conn, const char *where)
{
	const char *message = result ? PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY) : NULL;
	const char *severity = result ? PQresultErrorField(result, PG_DIAG_SEVERITY) : NULL;
	const char *state = result ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
	const char *colon = where ? ": " : "";

	if (!where)
		where = "";
	if (!message)
	{
		complain("%s%s%s", where, colon, PQerrorMessage(conn));
		return;
	}
	complain("%s%s%s:  %s: %s", where, colon, severity ? severity : "ERROR", state ? state : "?????", message);
	print_field(result, PG_DIAG_MESSAGE_DETAIL, "DETAIL");
	print_field(result, PG_DIAG_MESSAGE_HINT, "HINT");
	print_field(result, PG_DIAG_CONTEXT, "CONTEXT");
}

/*
 * Say what the server refused, and end with the code that fits.  An interrupt ends
 * by its signal instead.
 */
void
fail_by_result(Session *session, PGresult *result)
{
	report_result(result, session->conn, NULL);
	if (interrupted)
		end_by_signal();
	exit(PQstatus(session->conn) == CONNECTION_BAD ? EXIT_CONNECTION : EXIT_SERVER);
}

static bool
has_object(Session *session, const char *name, const char *sql)
{
	const char *params[1] = {name};
	PGresult   *result;
	bool		found;

	result = query(session, 1, params, "%s", sql);
	found = PQntuples(result) > 0;
	PQclear(result);
	return found;
}

/* Has the extension a function of this name? */
bool
has_function(Session *session, const char *name)
{
	return has_object(session, name,
					  "SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_extension e "
					  "ON p.pronamespace OPERATOR(pg_catalog.=) e.extnamespace AND e.extname OPERATOR(pg_catalog.=) 'jflow' "
					  "WHERE p.proname OPERATOR(pg_catalog.=) $1");
}

/* Has the extension a view of this name? */
bool
has_view(Session *session, const char *name)
{
	return has_object(session, name,
					  "SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_extension e "
					  "ON c.relnamespace OPERATOR(pg_catalog.=) e.extnamespace AND e.extname OPERATOR(pg_catalog.=) 'jflow' "
					  "WHERE c.relname OPERATOR(pg_catalog.=) $1 AND c.relkind OPERATOR(pg_catalog.=) 'v'");
}

/* The server's extension is older than this client. */
void
fail_without(Session *session, const char *what)
{
	fail_with(EXIT_SERVER, "It is for a later version of the extension: install that, restart the server and use "
			  "ALTER EXTENSION jflow UPDATE.",
			  "the extension \"jflow\" %s of this database has no %s", session->version, what);
}
