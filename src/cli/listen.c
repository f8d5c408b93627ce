/*
 * listen.c
 *		jflow metrics --listen: an HTTP server for scrapes.
 *
 * One connection after the other, one request each: who scrapes comes every few
 * seconds and waits.  What a client may take is bounded in bytes and in time, so
 * that a slow or hostile one keeps the others from us for no longer than that.
 * When the database is away a scrape is answered with 503, and the next one
 * connects anew.
 */
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli.h"

#define MOST_REQUEST 8192		/* bytes */
#define MOST_SECONDS 5.0		/* to send a request, or to take the answer */
#define LOOK_AGAIN 200			/* ms until a signal is noticed that comes
								 * between a look and a wait */
#define QUERY_TIMEOUT "10s"

/* Wait until something can be read or written; false: not in time, or a signal. */
static bool
wait_for(int fd, short events, double until)
{
	while (!interrupted)
	{
		struct pollfd entry = {.fd = fd,.events = events};
		double		left = (until - now_seconds()) * 1000;
		int			n;

		if (left <= 0)
			return false;
		n = poll(&entry, 1, left < LOOK_AGAIN ? (int) left + 1 : LOOK_AGAIN);
		if (n > 0)
			return true;
		if (n < 0 && errno != EINTR)
			return false;
	}
	return false;
}

static void
send_all(int fd, const char *bytes, size_t len)
{
	double		until = now_seconds() + MOST_SECONDS;

	while (len > 0 && wait_for(fd, POLLOUT, until))
	{
		ssize_t		n = send(fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return;
		if (n > 0)
		{
			bytes += n;
			len -= n;
		}
	}
}

static void
answer(int fd, const char *status, const char *type, const char *body, size_t len, bool head)
{
	StrBuf		out = {0};

	strbuf_addf(&out, "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%sConnection: close\r\n\r\n",
				status, type, len, strncmp(status, "405", 3) == 0 ? "Allow: GET, HEAD\r\n" : "");
	if (!head)
		strbuf_add_bytes(&out, body, len);
	send_all(fd, out.data, out.len);
	strbuf_free(&out);
}

/* An answer that is a line of text. */
static void
answer_line(int fd, const char *status, const char *text, bool head)
{
	char	   *line = format_string("%s\n", text);

	answer(fd, status, "text/plain; charset=utf-8", line, strlen(line), head);
	free(line);
}

/* Read a request up to its empty line; NULL, or the status of what is wrong. */
static const char *
read_head(int fd, StrBuf *request)
{
	double		until = now_seconds() + MOST_SECONDS;

	strbuf_reserve(request, MOST_REQUEST + 1);
	strbuf_add(request, "");
	while (!strstr(request->data, "\r\n\r\n") && !strstr(request->data, "\n\n"))
	{
		char		bytes[1024];
		ssize_t		n;

		if (request->len >= MOST_REQUEST)
			return "431 Request Header Fields Too Large";
		if (!wait_for(fd, POLLIN, until))
			return "408 Request Timeout";
		n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
			return "";
		if (n > 0 && memchr(bytes, '\0', n))
			return "400 Bad Request";
		if (n > 0)
			strbuf_add_bytes(request, bytes, n);
	}
	return NULL;
}

/* Does the client say that it takes OpenMetrics? */
static bool
takes_openmetrics(const char *head)
{
	for (const char *line = strchr(head, '\n'); line; line = strchr(line + 1, '\n'))
		if (strncasecmp(line + 1, "accept:", 7) == 0)
		{
			const char *found = strstr(line, "application/openmetrics-text");
			const char *end = strchr(line + 1, '\n');

			if (found && end && found < end)
				return true;
		}
	return false;
}

static void
answer_metrics(int fd, Session *session, WriteMetrics write_metrics, bool openmetrics, bool head)
{
	StrBuf		out = {0};
	PGresult   *failed = NULL;

	/* that a connection was lost since the last scrape shows when we ask */
	for (int tries = 0; tries < 2 && !interrupted; tries++)
	{
		PQclear(failed);
		failed = NULL;
		if (PQstatus(session->conn) == CONNECTION_BAD && !reconnect(session))
			break;
		PQclear(try_query(session, 0, NULL, "SET statement_timeout = '" QUERY_TIMEOUT "'"));
		failed = write_metrics(session, &out, openmetrics);
		if (PQstatus(session->conn) == CONNECTION_OK)
			break;
	}
	if (failed || PQstatus(session->conn) == CONNECTION_BAD)
	{
		/* what is wrong is for our log, not for whoever can reach the port */
		if (!interrupted)
			report_result(failed, session->conn, NULL);
		answer_line(fd, "503 Service Unavailable", "the database does not answer", head);
	}
	else
		answer(fd, "200 OK", openmetrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8" :
			   "text/plain; version=0.0.4; charset=utf-8", out.data, out.len, head);
	PQclear(failed);
	strbuf_free(&out);
}

static void
serve_one(int fd, Session *session, WriteMetrics write_metrics)
{
	StrBuf		request = {0};
	const char *wrong = read_head(fd, &request);
	const char *path = request.data;
	bool		head = strncmp(path, "HEAD ", 5) == 0;
	size_t		len;

	if (wrong)
	{
		if (*wrong && !interrupted)
			answer_line(fd, wrong, wrong + 4, false);
		strbuf_free(&request);
		return;
	}
	path += strcspn(path, " \r\n");
	path += *path == ' ';
	len = strcspn(path, "? \r\n");
	if (strncmp(path + strcspn(path, " \r\n"), " HTTP/1.", 8) != 0)
		answer_line(fd, "400 Bad Request", "this is no request of HTTP/1", false);
	else if (!head && strncmp(request.data, "GET ", 4) != 0)
		answer_line(fd, "405 Method Not Allowed", "only GET and HEAD are allowed", false);
	else if (len != strlen("/metrics") || strncmp(path, "/metrics", len) != 0)
		answer_line(fd, "404 Not Found", "what there is, is at /metrics", head);
	else
		answer_metrics(fd, session, write_metrics, takes_openmetrics(request.data), head);
	strbuf_free(&request);
}

/* A socket that listens at HOST:PORT, or at a port of this host alone. */
static int
listen_at(const char *address)
{
	const char *colon = strrchr(address, ':');
	char	   *host = colon ? format_string("%.*s", (int) (colon - address), address) : copy_string("127.0.0.1");
	char	   *name = host;
	const char *port = colon ? colon + 1 : address;
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM,.ai_flags = AI_PASSIVE};
	struct addrinfo *found;
	int			code;
	int			fd = -1;
	int			on = 1;

	if (host[0] == '[' && host[strlen(host) - 1] == ']')
	{
		host[strlen(host) - 1] = '\0';
		name = host + 1;
	}
	if (*name == '\0' || *port == '\0')
		usage_error(NULL, "--listen wants HOST:PORT, not \"%s\"", address);
	code = getaddrinfo(name, port, &hints, &found);
	if (code != 0)
		fail_with(EXIT_USAGE, NULL, "could not listen at \"%s\": %s", address, gai_strerror(code));
	for (struct addrinfo *at = found; at && fd < 0; at = at->ai_next)
	{
		fd = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol);
		if (fd < 0)
			continue;
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
		if (bind(fd, at->ai_addr, at->ai_addrlen) != 0 || listen(fd, 16) != 0)
		{
			int			saved_errno = errno;

			close(fd);
			fd = -1;
			errno = saved_errno;
		}
	}
	if (fd < 0)
		fail_with(EXIT_USAGE, NULL, "could not listen at \"%s\": %s", address, strerror(errno));
	freeaddrinfo(found);
	free(host);
	return fd;
}

/* Say where we listen, which the system has chosen if the port was 0. */
static void
say_where(int fd)
{
	struct sockaddr_storage address;
	socklen_t	len = sizeof(address);
	char		host[256];
	char		port[32];

	if (getsockname(fd, (struct sockaddr *) &address, &len) == 0 &&
		getnameinfo((struct sockaddr *) &address, len, host, sizeof(host), port, sizeof(port),
					NI_NUMERICHOST | NI_NUMERICSERV) == 0)
	{
		bool		v6 = strchr(host, ':') != NULL;

		fprintf(stderr, "listening at %s%s%s:%s\n", v6 ? "[" : "", host, v6 ? "]" : "", port);
	}
}

/* Answer scrapes, with what the function writes, until a signal ends us. */
void
listen_for_scrapes(Session *session, const char *address, WriteMetrics write_metrics)
{
	int			listener = listen_at(address);

	say_where(listener);
	while (!interrupted)
	{
		int			fd;

		if (!wait_for(listener, POLLIN, now_seconds() + 3600))
			continue;
		fd = accept(listener, NULL, NULL);
		if (fd < 0)
			continue;
		serve_one(fd, session, write_metrics);
		/* what is left unread would make the kernel drop our answer */
		shutdown(fd, SHUT_WR);
		close(fd);
	}
	PQfinish(session->conn);
	end_by_signal();
}
