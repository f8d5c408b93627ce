/*
 * remote_wait.c
 *		Waiting for another server.
 *
 * libpq is used without blocking, so that a cancel, a limit of time or the end of
 * this process is seen while a server says nothing.  Where a transaction is being
 * aborted nothing can be raised: there waits end after a time, and the connection
 * with them.
 */
#include "postgres.h"

#include <poll.h>

#include "libpq-fe.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "compat.h"
#include "executors/remote/remote.h"

/* Has the last statement failed because its server took too long? */
bool		remote_was_late = false;

/* However late the end of a quiet wait is, that long at most at once. */
#define QUIET_STEP_MS 1000

/*
 * Wait for a socket where nothing may be raised, for a time.  The server's own way
 * makes a set of events, and raises an error where there are too many open files.
 * The caller looks again in any case.
 */
static void
wait_quietly(pgsocket socket, int events, long timeout)
{
	struct pollfd fd = {0};

	fd.fd = socket;
	fd.events = (events & WL_SOCKET_READABLE ? POLLIN : 0) |
		(events & (WL_SOCKET_WRITEABLE | WL_SOCKET_CONNECTED) ? POLLOUT : 0);
	pgstat_report_wait_start(PG_WAIT_EXTENSION);
	(void) poll(&fd, 1, (int) Min(timeout, QUIET_STEP_MS));
	pgstat_report_wait_end();
}

/*
 * Wait for a socket until a time.  Quietly: neither is anything raised, nor does an
 * interrupt end the wait.  False: the time has come.
 */
static bool
wait_for_socket(pgsocket socket, int events, TimestampTz until, bool quiet)
{
	long		timeout = -1;
	int			got;

	if (!quiet)
		CHECK_FOR_INTERRUPTS();
	if (until != DT_NOEND)
	{
		timeout = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);
		if (timeout <= 0)
			return false;
	}
	if (quiet)
	{
		Assert(until != DT_NOEND);
		wait_quietly(socket, events, timeout);
		return true;
	}
	got = WaitLatchOrSocket(MyLatch, events | WL_EXIT_ON_PM_DEATH | WL_LATCH_SET |
							(until != DT_NOEND ? WL_TIMEOUT : 0),
							socket, timeout, PG_WAIT_EXTENSION);
	if (got & WL_LATCH_SET)
		ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	return true;
}

static TimestampTz
after(int timeout_ms)
{
	return timeout_ms <= 0 ? DT_NOEND :
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);
}

/* Bring a connection that was begun to its end; false: it failed, or it is late. */
static bool
complete(PGconn *conn, TimestampTz until, bool quiet, bool *late)
{
	PostgresPollingStatusType status = PGRES_POLLING_WRITING;

	while (status == PGRES_POLLING_READING || status == PGRES_POLLING_WRITING)
	{
		if (!wait_for_socket(PQsocket(conn),
							 status == PGRES_POLLING_READING ? WL_SOCKET_READABLE : WL_SOCKET_CONNECTED,
							 until, quiet))
		{
			*late = true;
			return false;
		}
		status = PQconnectPoll(conn);
	}
	return status == PGRES_POLLING_OK;
}

/*
 * Connect, within a time unless that is 0.  Returns NULL, with the problem in the
 * current memory context, where it fails.  Quietly: as in an abort, and no problem is
 * told.
 */
RemoteLink
remote_link_open(const char *const *keywords, const char *const *values, int timeout_ms, bool quiet,
				 char **problem)
{
	PGconn	   *conn;
	volatile bool connected = false;

	if (!AcquireExternalFD())
	{
		*problem = "there are too many open files";
		return NULL;
	}
	conn = PQconnectStartParams(keywords, values, false);
	if (conn == NULL)
	{
		ReleaseExternalFD();
		*problem = "out of memory";
		return NULL;
	}
	PG_TRY();
	{
		bool		late = false;

		if (PQstatus(conn) != CONNECTION_BAD)
			connected = complete(conn, after(timeout_ms), quiet, &late);
		if (!connected && !quiet)
			*problem = late ? "the time for connecting is over" : pchomp(PQerrorMessage(conn));
	}
	PG_CATCH();
	{
		remote_link_close(conn);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (connected && PQsetnonblocking(conn, 1) == 0)
		return conn;
	remote_link_close(conn);
	return NULL;
}

/* Close a connection and give back its descriptor; raises nothing. */
void
remote_link_close(RemoteLink link)
{
	PQfinish(link);
	ReleaseExternalFD();
}

/* Send what is still to be sent, and wait until there is an answer to take. */
static bool
await_answer(PGconn *conn, TimestampTz until, bool quiet)
{
	int			unsent;
	PGnotify   *notify;

	while ((unsent = PQflush(conn)) == 1 || PQisBusy(conn))
	{
		if (!wait_for_socket(PQsocket(conn),
							 WL_SOCKET_READABLE | (unsent == 1 ? WL_SOCKET_WRITEABLE : 0), until, quiet))
			return false;
		if (!PQconsumeInput(conn))
			return true;		/* lost, which the result will say */
		while ((notify = PQnotifies(conn)) != NULL)
			PQfreemem(notify);	/* we do not listen */
	}
	return true;
}

/* Does a server want to copy, which nobody has asked it for, and would do so for ever? */
static bool
is_copy(const PGresult *result)
{
	ExecStatusType status = PQresultStatus(result);

	return status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH;
}

/*
 * The last result of what was sent: of what returns rows, its only one.  NULL where
 * none comes because the connection is lost, or something else comes.  The caller
 * clears it.  Raises what an interrupt raises, and query_canceled when the time is
 * over.
 */
PGresult *
remote_link_result(RemoteLink link, TimestampTz until)
{
	PGresult   *volatile last = NULL;

	remote_was_late = false;
	PG_TRY();
	{
		for (;;)
		{
			PGresult   *result;
			bool		rows;

			if (!await_answer(link, until, false))
			{
				remote_was_late = true;
				ereport(ERROR,
						(errcode(ERRCODE_QUERY_CANCELED),
						 errmsg("the server has not answered in time")));
			}
			result = PQgetResult(link);
			if (result == NULL)
				break;
			rows = PQresultStatus(last) == PGRES_SINGLE_TUPLE;
			if (rows && PQresultStatus(result) == PGRES_TUPLES_OK)
			{
				PQclear(result);	/* the end of the rows */
				continue;
			}
			PQclear(last);
			last = result;
			if (is_copy(result) || (rows && PQresultStatus(result) == PGRES_SINGLE_TUPLE))
			{
				PQclear(last);
				last = NULL;
				break;
			}
			if (PQstatus(link) == CONNECTION_BAD)
				break;
		}
	}
	PG_CATCH();
	{
		PQclear(last);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return last;
}

/*
 * Let what was sent come to its end, whatever that is; raises nothing.  False: it
 * has not within the time, or the connection is lost.
 */
bool
remote_link_finish(RemoteLink link, int timeout_ms)
{
	TimestampTz until = after(timeout_ms);
	PGresult   *result;
	bool		copies;

	for (;;)
	{
		if (!await_answer(link, until, true))
			return false;
		result = PQgetResult(link);
		if (result == NULL)
			return PQstatus(link) == CONNECTION_OK;
		copies = is_copy(result);
		PQclear(result);
		if (copies || PQstatus(link) == CONNECTION_BAD)
			return false;
	}
}
