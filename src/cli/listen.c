/*
 * listen.c
 *		jflow metrics --listen: an HTTP server for scrapes.
 *
 * One request a connection, several connections side by side: who is slow, or says
 * nothing, keeps nobody waiting.  What a client may take is bounded in bytes and in
 * time, and when all places are taken the oldest one is dropped.  While the
 * database is asked nothing else is done.  When it is away a scrape is answered
 * with 503, and the next one connects anew.
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli.h"

#define MOST_CLIENTS 64
#define MOST_REQUEST 8192		/* bytes */
#define MOST_SECONDS 5.0		/* to send a request, to take the answer, to
								 * leave */
#define LOOK_AGAIN 200			/* ms until a signal is noticed that comes
								 * between a look and a wait */
#define QUERY_TIMEOUT "10s"

typedef enum Stage
{
	READING,
	ANSWERING,
	LEAVING						/* until the client has closed, or is cut off:
								 * what is left unread would make the kernel
								 * drop our answer */
} Stage;

typedef struct Client
{
	int			fd;
	Stage		stage;
	double		until;			/* when that must have ended */
	StrBuf		request;
	StrBuf		answer;
	size_t		sent;			/* of it */
} Client;

static Client clients[MOST_CLIENTS];	/* the oldest one first */
static int	nclients;

static void
drop_client(int n)
{
	close(clients[n].fd);
	strbuf_free(&clients[n].request);
	strbuf_free(&clients[n].answer);
	nclients--;
	memmove(&clients[n], &clients[n + 1], (nclients - n) * sizeof(Client));
}

static void
answer(Client *client, const char *status, const char *type, const char *body, size_t len, bool head)
{
	strbuf_addf(&client->answer, "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%sConnection: close\r\n\r\n",
				status, type, len, strncmp(status, "405", 3) == 0 ? "Allow: GET, HEAD\r\n" : "");
	if (!head)
		strbuf_add_bytes(&client->answer, body, len);
	client->stage = ANSWERING;
	client->until = now_seconds() + MOST_SECONDS;
}

/* An answer that is a line of text. */
static void
answer_line(Client *client, const char *status, const char *text, bool head)
{
	char	   *line = format_string("%s\n", text);

	answer(client, status, "text/plain; charset=utf-8", line, strlen(line), head);
	free(line);
}

/* Send what can be sent now; false when the client is gone. */
static bool
send_more(Client *client)
{
	ssize_t		n = send(client->fd, client->answer.data + client->sent, client->answer.len - client->sent,
						 MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0)
		return errno == EINTR || errno == EAGAIN;
	client->sent += n;
	if (client->sent < client->answer.len)
		return true;
	shutdown(client->fd, SHUT_WR);
	client->stage = LEAVING;
	client->until = now_seconds() + MOST_SECONDS;
	return true;
}

/* Read what is there; false when the client is gone. */
static bool
receive_more(Client *client, char *bytes, size_t size, ssize_t *n)
{
	*n = recv(client->fd, bytes, size, MSG_DONTWAIT);
	if (*n < 0 && (errno == EINTR || errno == EAGAIN))
	{
		*n = 0;
		return true;
	}
	return *n > 0;
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
answer_metrics(Client *client, Session *session, WriteMetrics write_metrics, bool openmetrics, bool head)
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
		answer_line(client, "503 Service Unavailable", "the database does not answer", head);
	}
	else
		answer(client, "200 OK", openmetrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8" :
			   "text/plain; version=0.0.4; charset=utf-8", out.data, out.len, head);
	PQclear(failed);
	strbuf_free(&out);
}

/* Answer a request that is all there. */
static void
answer_request(Client *client, Session *session, WriteMetrics write_metrics)
{
	const char *request = client->request.data;
	const char *path = request + strcspn(request, " \r\n");
	bool		head = strncmp(request, "HEAD ", 5) == 0;
	size_t		len;

	path += *path == ' ';
	len = strcspn(path, "? \r\n");
	if (strncmp(path + strcspn(path, " \r\n"), " HTTP/1.", 8) != 0)
		answer_line(client, "400 Bad Request", "this is no request of HTTP/1", false);
	else if (!head && strncmp(request, "GET ", 4) != 0)
		answer_line(client, "405 Method Not Allowed", "only GET and HEAD are allowed", false);
	else if (len != strlen("/metrics") || strncmp(path, "/metrics", len) != 0)
		answer_line(client, "404 Not Found", "what there is, is at /metrics", head);
	else
		answer_metrics(client, session, write_metrics, takes_openmetrics(request), head);
}

/*
 * Read more of a request, up to its empty line, and answer when it is there, or is
 * none.  False when the client is gone.
 */
static bool
read_request(Client *client, Session *session, WriteMetrics write_metrics)
{
	StrBuf	   *request = &client->request;
	char		bytes[1024];
	ssize_t		n;

	if (!receive_more(client, bytes, sizeof(bytes), &n))
		return false;
	if (memchr(bytes, '\0', n))
		answer_line(client, "400 Bad Request", "Bad Request", false);
	else
	{
		strbuf_add_bytes(request, bytes, n);
		if (n > 0 && (strstr(request->data, "\r\n\r\n") || strstr(request->data, "\n\n")))
			answer_request(client, session, write_metrics);
		else if (request->len >= MOST_REQUEST)
			answer_line(client, "431 Request Header Fields Too Large", "Request Header Fields Too Large", false);
	}
	return true;
}

/* Something has happened to a client; false when it is gone. */
static bool
serve(Client *client, Session *session, WriteMetrics write_metrics)
{
	char		bytes[1024];
	ssize_t		n;

	switch (client->stage)
	{
		case READING:
			return read_request(client, session, write_metrics);
		case ANSWERING:
			return send_more(client);
		default:
			return receive_more(client, bytes, sizeof(bytes), &n);
	}
}

/* Its time is over; false when it is to go. */
static bool
out_of_time(Client *client)
{
	if (client->stage != READING)
		return false;
	answer_line(client, "408 Request Timeout", "Request Timeout", false);
	return true;
}

/* Take a connection that waits. */
static void
take_client(int listener)
{
	Client		client = {.fd = accept(listener, NULL, NULL),.until = now_seconds() + MOST_SECONDS};

	if (client.fd < 0 && errno != EMFILE && errno != ENFILE)
		return;
	if (nclients == MOST_CLIENTS || (client.fd < 0 && nclients > 0))
		drop_client(0);
	if (client.fd < 0)
		return;
	strbuf_add(&client.request, "");
	clients[nclients++] = client;
}

/* Wait until somebody comes, sends, or takes, and see to it. */
static void
serve_all(int listener, Session *session, WriteMetrics write_metrics)
{
	struct pollfd wait[MOST_CLIENTS + 1];
	int			here = nclients;

	for (int i = 0; i < here; i++)
	{
		wait[i].fd = clients[i].fd;
		wait[i].events = clients[i].stage == ANSWERING ? POLLOUT : POLLIN;
		wait[i].revents = 0;
	}
	wait[here].fd = listener;
	wait[here].events = POLLIN;
	wait[here].revents = 0;
	if (poll(wait, here + 1, LOOK_AGAIN) < 0)
		return;

	/* from the last one, since those behind one that is dropped move up */
	for (int n = here - 1; n >= 0 && !interrupted; n--)
		if ((wait[n].revents != 0 && !serve(&clients[n], session, write_metrics)) ||
			(now_seconds() >= clients[n].until && !out_of_time(&clients[n])))
			drop_client(n);
	if (wait[here].revents != 0 && !interrupted)
		take_client(listener);
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
		if (bind(fd, at->ai_addr, at->ai_addrlen) != 0 || listen(fd, MOST_CLIENTS) != 0 ||
			fcntl(fd, F_SETFL, O_NONBLOCK) != 0)
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
		serve_all(listener, session, write_metrics);
	PQfinish(session->conn);
	end_by_signal();
}
