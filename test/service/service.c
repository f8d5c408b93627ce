/*
 * service.c
 *		A stand-in for services that embed, rank and write texts.
 *
 * usage: service PORTFILE		listens on a port of 127.0.0.1, written to the file
 *
 * It answers in the format that the path begins with: /openai, /ollama, /tei,
 * /cohere, /template, /jflow.  A vector depends on the text alone.  How it
 * behaves is said by the query string:
 *
 *		name=N			behaviour is counted under this name; GET /stats?name=N
 *		dim=8			of vectors
 *		delay=20		milliseconds that a call takes
 *		at_once=8		calls that are worked at at a time, others wait
 *		status=429		answer with it; only "times" calls, if that is given
 *		retry_after=1	the header
 *		to=URL			the header Location
 *		bad=word		texts with the word are refused with "bad_status" (400)
 *		max=16			more texts are refused with 413
 *		order=reverse	of what has an index
 *		cut=head		end the connection there, or in the "body"; see "times"
 *		answer=count	wrong ones: count, type, dim, nan, range, text, twice, endless, big, deep, empty
 *		key=K			wanted as a Bearer, else 401 that repeats what was sent
 *		header=NAME		where the key is wanted instead
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#define MAX_TEXTS 20000
#define MAX_NAMES 256

typedef struct Buffer
{
	char	   *data;
	size_t		len;
	size_t		size;
} Buffer;

typedef struct Named
{
	char		name[64];
	long		calls;
	long		texts;
	long		odd;			/* calls that behaved as told for some */
	long		now;
	long		most;
	long		tokens;
	char		last[256];		/* the beginning of the last body */
} Named;

typedef struct Request
{
	int			fd;
	char		method[8];
	char		path[4096];
	char	   *query;
	char		authorization[20000];
	char	   *body;
	size_t		body_len;
	char	  **texts;
	int			ntexts;
	bool		base64;
	Named	   *named;
} Request;

static Named names[MAX_NAMES];
static int	nnames = 0;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static void
append(Buffer *b, const char *data, size_t len)
{
	if (b->len + len + 1 > b->size)
	{
		b->size = (b->len + len + 1) * 2;
		b->data = realloc(b->data, b->size);
	}
	memcpy(b->data + b->len, data, len);
	b->len += len;
	b->data[b->len] = '\0';
}

static void
format(Buffer *b, const char *format, ...)
{
	char		text[1024];
	va_list		args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	append(b, text, strlen(text));
}

/* A parameter of the query string, or NULL; in a buffer of the thread. */
static const char *
parameter(const Request *r, const char *name)
{
	static __thread char values[8][1024];
	static __thread int next = 0;
	size_t		len = strlen(name);
	const char *p = r->query;

	while (p && *p)
	{
		size_t		n = strcspn(p, "&");

		if (n > len && strncmp(p, name, len) == 0 && p[len] == '=')
		{
			char	   *value = values[next = (next + 1) % 8];

			snprintf(value, sizeof(values[0]), "%.*s", (int) (n - len - 1), p + len + 1);
			return value;
		}
		p += n + (p[n] == '&');
	}
	return NULL;
}

static long
number(const Request *r, const char *name, long otherwise)
{
	const char *value = parameter(r, name);

	return value ? atol(value) : otherwise;
}

static bool
is(const Request *r, const char *name, const char *value)
{
	const char *given = parameter(r, name);

	return given && strcmp(given, value) == 0;
}

static Named *
find_name(const char *name)
{
	Named	   *named = NULL;

	pthread_mutex_lock(&mutex);
	for (int i = 0; i < nnames; i++)
		if (strcmp(names[i].name, name) == 0)
			named = &names[i];
	if (named == NULL && nnames < MAX_NAMES)
	{
		named = &names[nnames++];
		snprintf(named->name, sizeof(named->name), "%s", name);
	}
	pthread_mutex_unlock(&mutex);
	return named ? named : &names[0];
}

/* Is this one of the first "times" calls, or of all if that is not said? */
static bool
odd_one(Request *r)
{
	long		times = number(r, "times", -1);
	bool		odd;

	pthread_mutex_lock(&mutex);
	odd = times < 0 || r->named->odd < times;
	r->named->odd += odd;
	pthread_mutex_unlock(&mutex);
	return odd;
}

static bool
send_all(int fd, const char *data, size_t len)
{
	while (len > 0)
	{
		ssize_t		n = send(fd, data, len, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		data += n;
		len -= n;
	}
	return true;
}

static bool
answer(Request *r, int status, const char *headers, const Buffer *body)
{
	Buffer		all = {0};
	bool		good;

	format(&all, "HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n%s\r\n", status,
		   body->len, headers ? headers : "");
	append(&all, body->data ? body->data : "", body->len);
	good = send_all(r->fd, all.data, all.len);
	free(all.data);
	return good;
}

static bool
refuse(Request *r, int status, const char *headers, const char *message)
{
	Buffer		body = {0};
	bool		good;

	format(&body, "{\"error\":{\"message\":\"%s\"}}", message);
	good = answer(r, status, headers, &body);
	free(body.data);
	return good;
}

/* Take a JSON string behind its first quote, unescaped; moves on behind the last. */
static char *
take_string(char **at)
{
	char	   *from = *at;
	char	   *result = malloc(strcspn(from, "") + 1);
	char	   *to = result;

	while (*from && *from != '"')
	{
		if (*from != '\\')
			*to++ = *from++;
		else
		{
			from++;
			*to++ = *from == 'n' ? '\n' : *from == 't' ? '\t' : *from == 'r' ? '\r' : *from;
			from += *from == 'u' ? 5 : 1;
		}
	}
	*to = '\0';
	*at = *from ? from + 1 : from;
	return realloc(result, to - result + 1);
}

/* The strings of an array, or the one string, behind a key. */
static bool
take_texts(Request *r, const char *key)
{
	char	   *p = strstr(r->body, key);

	if (p == NULL)
		return false;
	p += strlen(key);
	p += strspn(p, " ");
	r->texts = malloc(sizeof(char *) * MAX_TEXTS);
	if (*p == '"')
	{
		p++;
		r->texts[r->ntexts++] = take_string(&p);
		return true;
	}
	for (p++; *p == '"' && r->ntexts < MAX_TEXTS; p += *p == ',')
	{
		p++;
		r->texts[r->ntexts++] = take_string(&p);
	}
	return true;
}

static int
coordinate(const char *text, int i)
{
	uint32_t	hash = 2166136261u;

	for (; *text; text++)
		hash = (hash ^ (unsigned char) *text) * 16777619u;
	hash = (hash ^ (uint32_t) i * 2654435761u) * 2246822519u;
	hash ^= hash >> 15;
	return (int) (hash % 2001) - 1000;
}

static void
append_base64(Buffer *b, const unsigned char *bytes, size_t len)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < len; i += 3)
	{
		unsigned	word = bytes[i] << 16 | (i + 1 < len ? bytes[i + 1] << 8 : 0) | (i + 2 < len ? bytes[i + 2] : 0);
		char		out[4] = {digits[word >> 18], digits[word >> 12 & 63], digits[word >> 6 & 63], digits[word & 63]};

		if (i + 2 >= len)
			out[3] = '=';
		if (i + 1 >= len)
			out[2] = '=';
		append(b, out, 4);
	}
}

static void
append_vector(Buffer *b, const Request *r, const char *text)
{
	int			dim = number(r, "dim", 8);

	if (is(r, "answer", "dim"))
		dim++;
	if (is(r, "answer", "type"))
	{
		append(b, "[1,\"x\"]", 7);
		return;
	}
	if (r->base64)
	{
		float	   *x = malloc(sizeof(float) * dim);

		for (int i = 0; i < dim; i++)
			x[i] = coordinate(text, i) / 1000.0f;
		append(b, "\"", 1);
		append_base64(b, (unsigned char *) x, sizeof(float) * dim);
		append(b, "\"", 1);
		free(x);
		return;
	}
	append(b, "[", 1);
	for (int i = 0; i < dim; i++)
	{
		int			c = coordinate(text, i);
		int			a = c < 0 ? -c : c;
		char		out[16] = {','};
		int			n = i > 0;

		if (is(r, "answer", "nan") && i == 1)
		{
			append(b, ",NaN", 4);
			continue;
		}
		if (is(r, "answer", "range") && i == 1)
		{
			append(b, ",1e300", 6);
			continue;
		}
		if (c < 0)
			out[n++] = '-';
		out[n++] = '0' + a / 1000;
		out[n++] = '.';
		out[n++] = '0' + a / 100 % 10;
		out[n++] = '0' + a / 10 % 10;
		out[n++] = '0' + a % 10;
		append(b, out, n);
	}
	append(b, "]", 1);
}

/* How well a text answers a query: how many of its bytes are the query's first. */
static double
relevance(const char *query, const char *text)
{
	int			n = 0;
	size_t		len = strlen(text);

	for (const char *p = text; *p; p++)
		n += *p == *query;
	return len ? (double) n / len : 0;
}

static void
write_vectors(Buffer *b, const Request *r)
{
	int			n = r->ntexts - is(r, "answer", "count");

	for (int i = 0; i < n; i++)
	{
		if (i > 0)
			append(b, ",", 1);
		append_vector(b, r, r->texts[i]);
	}
}

static void
write_indexed(Buffer *b, const Request *r)
{
	int			n = r->ntexts - is(r, "answer", "count");

	for (int i = 0; i < n; i++)
	{
		int			k = is(r, "order", "reverse") ? n - 1 - i : i;

		if (is(r, "answer", "twice"))
			k = 0;
		format(b, "%s{\"object\":\"embedding\",\"index\":%d,\"embedding\":", i > 0 ? "," : "", k);
		append_vector(b, r, r->texts[k]);
		append(b, "}", 1);
	}
}

static void
write_scores(Buffer *b, const Request *r, const char *query, const char *name)
{
	for (int i = 0; i < r->ntexts; i++)
	{
		int			k = r->ntexts - 1 - i;

		format(b, "%s{\"index\":%d,\"%s\":%.6f}", i > 0 ? "," : "", k, name, relevance(query, r->texts[k]));
	}
}

/* The string behind a key of the body; "" if there is none. */
static char *
body_string(const Request *r, const char *key)
{
	char	   *p = strstr(r->body, key);

	if (p == NULL)
		return strdup("");
	p += strlen(key);
	return take_string(&p);
}

/* The documents of a post get a tag more, and come back. */
static void
write_documents(Buffer *b, const Request *r)
{
	const char *p = strstr(r->body, "\"docs\":[");
	const char *end = p ? strstr(p, "],\"flow\"") : NULL;

	if (p && end == NULL)
		end = strstr(p, "],\"parameters\"");
	p = p ? p + 7 : "[";
	append(b, p, end ? (size_t) (end - p) : strlen(p));
	append(b, "]", 1);
}

static void
write_answer(Buffer *b, Request *r)
{
	bool		query = strstr(r->body, "\"query\":\"") != NULL;
	char	   *q = body_string(r, "\"query\":\"");

	if (is(r, "answer", "text"))
		format(b, "<html>no</html>");
	else if (is(r, "answer", "deep"))
		for (int i = 0; i < 100000; i++)
			append(b, "[", 1);
	else if (is(r, "answer", "empty"))
	{
		append(b, "[[]", 3);
		for (int i = 0; i < 2000000; i++)
			append(b, ",[]", 3);
		append(b, "]", 1);
	}
	else if (strncmp(r->path, "/openai", 7) == 0 || strncmp(r->path, "/cohere", 7) == 0)
	{
		if (query)
		{
			format(b, "{\"results\":[");
			write_scores(b, r, q, "relevance_score");
			format(b, "]}");
		}
		else if (strstr(r->body, "\"messages\":"))
		{
			bool		cohere = r->path[1] == 'c';

			format(b, cohere ? "{\"message\":{\"content\":[{\"type\":\"text\",\"text\":\"said: %s\"}]}}" :
				   "{\"choices\":[{\"message\":{\"content\":\"said: %s\"}}],\"usage\":{\"total_tokens\":7}}",
				   r->texts[0]);
		}
		else if (r->path[1] == 'c')
		{
			format(b, "{\"embeddings\":{\"%s\":[", r->base64 ? "base64" : "float");
			write_vectors(b, r);
			format(b, "]},\"meta\":{\"billed_units\":{\"input_tokens\":%d}}}", r->ntexts);
		}
		else
		{
			format(b, "{\"object\":\"list\",\"data\":[");
			write_indexed(b, r);
			format(b, "],\"usage\":{\"prompt_tokens\":%d,\"total_tokens\":%d}}", r->ntexts, r->ntexts);
		}
	}
	else if (strncmp(r->path, "/ollama", 7) == 0)
	{
		if (strstr(r->body, "\"prompt\":"))
			format(b, "{\"response\":\"said: %s\",\"done\":true,\"prompt_eval_count\":3,\"eval_count\":4}", r->texts[0]);
		else
		{
			format(b, "{\"embeddings\":[");
			write_vectors(b, r);
			format(b, "],\"prompt_eval_count\":%d}", r->ntexts);
		}
	}
	else if (strncmp(r->path, "/jflow", 6) == 0)
		write_documents(b, r);
	else if (query)
	{
		format(b, "[");
		write_scores(b, r, q, "score");
		format(b, "]");
	}
	else
	{
		bool		template = strncmp(r->path, "/template", 9) == 0;

		format(b, template ? "{\"result\":{\"vectors\":[" : "[");
		write_vectors(b, r);
		format(b, template ? "]}}" : "]");
	}
	free(q);
}

static void
nap(long ms)
{
	struct timespec t = {ms / 1000, ms % 1000 * 1000000};

	while (nanosleep(&t, &t) < 0 && errno == EINTR)
		;
}

/* Work at a call for its time, at most so many at once. */
static void
work(Request *r)
{
	long		at_once = number(r, "at_once", 1000000);
	long		delay = number(r, "delay", 0);

	pthread_mutex_lock(&mutex);
	while (r->named->now >= at_once)
		pthread_cond_wait(&changed, &mutex);
	r->named->now++;
	if (r->named->now > r->named->most)
		r->named->most = r->named->now;
	pthread_mutex_unlock(&mutex);
	if (delay > 0)
		nap(delay);
	pthread_mutex_lock(&mutex);
	r->named->now--;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&mutex);
}

static bool
has_key(const Request *r)
{
	const char *key = parameter(r, "key");
	const char *given = r->authorization;

	if (key == NULL)
		return true;
	if (parameter(r, "header") == NULL)
	{
		if (strncmp(given, "Bearer ", 7) != 0)
			return false;
		given += 7;
	}
	return strcmp(given, key) == 0;
}

static bool
stats(Request *r)
{
	Buffer		body = {0};
	bool		good;

	pthread_mutex_lock(&mutex);
	format(&body, "{\"calls\":%ld,\"texts\":%ld,\"most\":%ld,\"now\":%ld,\"last\":\"", r->named->calls, r->named->texts,
		   r->named->most, r->named->now);
	for (const char *p = r->named->last; *p; p++)
		format(&body, *p == '"' || *p == '\\' ? "\\%c" : "%c", *p);
	format(&body, "\"}");
	pthread_mutex_unlock(&mutex);
	good = answer(r, 200, NULL, &body);
	free(body.data);
	return good;
}

/* Answers that never end, or are very large. */
static bool
flood(Request *r, bool endless)
{
	static const char head[] = "HTTP/1.1 200 X\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
	static char chunk[65536];
	Buffer		body = {0};
	bool		good = send_all(r->fd, head, sizeof(head) - 1);

	memset(chunk, ' ', sizeof(chunk));
	format(&body, "10000\r\n");
	append(&body, chunk, sizeof(chunk));
	format(&body, "\r\n");
	for (long n = 0; good && (endless || n < 16 * 1100); n++)
	{
		good = send_all(r->fd, endless ? "1\r\n \r\n" : body.data, endless ? 6 : body.len);
		if (endless)
			nap(20);
	}
	free(body.data);
	return false;
}

/* Handle a request; false: the connection shall end. */
static bool
handle(Request *r)
{
	Buffer		body = {0};
	char		headers[2048] = "";
	bool		good;
	long		status = number(r, "status", 0);
	const char *bad = parameter(r, "bad");

	if (strncmp(r->path, "/stats", 6) == 0)
		return stats(r);
	(void) (take_texts(r, "\"input\":") || take_texts(r, "\"inputs\":") || take_texts(r, "\"texts\":") ||
			take_texts(r, "\"documents\":") || take_texts(r, "\"prompt\":") || take_texts(r, "\"content\":") ||
			take_texts(r, "\"data\":"));
	r->base64 = strstr(r->body, "\"base64\"") != NULL;
	pthread_mutex_lock(&mutex);
	r->named->calls++;
	r->named->texts += r->ntexts;
	snprintf(r->named->last, sizeof(r->named->last), "%s", r->body);
	pthread_mutex_unlock(&mutex);
	work(r);
	if (parameter(r, "retry_after"))
		snprintf(headers, sizeof(headers), "Retry-After: %s\r\n", parameter(r, "retry_after"));
	for (char *p = headers; *p; p++)
		*p = *p == '+' ? ' ' : *p;
	if (parameter(r, "to"))
		snprintf(headers, sizeof(headers), "Location: %s\r\n", parameter(r, "to"));
	if (!has_key(r))
	{
		char		message[20100];

		snprintf(message, sizeof(message), "wrong key: %s", r->authorization);
		return refuse(r, number(r, "key_status", 401), NULL, message);
	}
	if (status && odd_one(r))
		return refuse(r, status, headers, "told to");
	if (is(r, "cut", "head") && odd_one(r))
		return false;
	for (int i = 0; bad && i < r->ntexts; i++)
		if (strstr(r->texts[i], bad))
			return refuse(r, number(r, "bad_status", 400), NULL, "a text is not taken");
	if (r->ntexts > number(r, "max", MAX_TEXTS))
		return refuse(r, 413, NULL, "too many texts");
	if (is(r, "answer", "endless") || is(r, "answer", "big"))
		return flood(r, is(r, "answer", "endless"));
	write_answer(&body, r);
	if (is(r, "cut", "body") && odd_one(r))
	{
		char		head[256];

		snprintf(head, sizeof(head), "HTTP/1.1 200 X\r\nContent-Length: %zu\r\n\r\n", body.len + 1);
		good = send_all(r->fd, head, strlen(head)) && send_all(r->fd, body.data, body.len / 2);
		free(body.data);
		return false;
	}
	good = answer(r, 200, NULL, &body);
	free(body.data);
	return good;
}

/* Read a request's head and body into the buffer; false at the end. */
static bool
read_request(int fd, Buffer *in, Request *r)
{
	char	   *end;
	char	   *line;
	char		header[64];
	size_t		length = 0,
				head;

	for (;;)
	{
		char		part[65536];
		ssize_t		n;

		end = in->len ? strstr(in->data, "\r\n\r\n") : NULL;
		if (end)
		{
			head = end + 4 - in->data;
			line = strcasestr(in->data, "\r\ncontent-length:");
			length = line && line < end ? strtoul(line + 17, NULL, 10) : 0;
			if (in->len >= head + length)
				break;
		}
		n = recv(fd, part, sizeof(part), 0);
		if (n <= 0)
			return false;
		append(in, part, n);
	}
	memset(r, 0, sizeof(*r));
	r->fd = fd;
	*end = '\0';
	(void) sscanf(in->data, "%7s %4095s", r->method, r->path);
	r->body = malloc(length + 1);
	memcpy(r->body, in->data + head, length);
	r->body[length] = '\0';
	r->body_len = length;
	if (strncmp(r->path, "http://", 7) == 0)	/* asked as a proxy */
	{
		char	   *local = strchr(r->path + 7, '/');

		memmove(r->path, local ? local : "/", strlen(local ? local : "/") + 1);
	}
	r->query = strchr(r->path, '?');
	if (r->query)
		*r->query++ = '\0';
	snprintf(header, sizeof(header), "\r\n%s:", parameter(r, "header") ? parameter(r, "header") : "Authorization");
	line = strcasestr(in->data, header);
	if (line)
	{
		line += strlen(header);
		line += strspn(line, " ");
		snprintf(r->authorization, sizeof(r->authorization), "%.*s", (int) strcspn(line, "\r"), line);
	}
	r->named = find_name(parameter(r, "name") ? parameter(r, "name") : "");
	memmove(in->data, in->data + head + length, in->len - head - length);
	in->len -= head + length;
	in->data[in->len] = '\0';
	return true;
}

static void *
serve(void *arg)
{
	int			fd = (int) (intptr_t) arg;
	Buffer		in = {0};
	Request    *r = malloc(sizeof(Request));
	bool		more = true;

	while (more && read_request(fd, &in, r))
	{
		more = handle(r);
		for (int i = 0; i < r->ntexts; i++)
			free(r->texts[i]);
		free(r->texts);
		free(r->body);
	}
	close(fd);
	free(in.data);
	free(r);
	return NULL;
}

int
main(int argc, char **argv)
{
	int			listener = socket(AF_INET, SOCK_STREAM, 0);
	int			one = 1;
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t	len = sizeof(address);
	pthread_attr_t attr;
	FILE	   *file;

	signal(SIGPIPE, SIG_IGN);
	if (argc != 2 || bind(listener, (struct sockaddr *) &address, len) < 0 || listen(listener, 512) < 0 ||
		getsockname(listener, (struct sockaddr *) &address, &len) < 0 || (file = fopen(argv[1], "w")) == NULL)
	{
		perror("service");
		return 1;
	}
	fprintf(file, "%d\n", ntohs(address.sin_port));
	fclose(file);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 512 * 1024);
	for (;;)
	{
		int			fd = accept(listener, NULL, NULL);
		pthread_t	thread;

		if (fd < 0)
			continue;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		if (pthread_create(&thread, &attr, serve, (void *) (intptr_t) fd) != 0)
			close(fd);
	}
}
