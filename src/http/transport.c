/*
 * transport.c
 *		HTTP requests side by side, over libcurl's multi interface.
 *
 * libcurl tells which sockets it waits for; they and the process latch are one
 * WaitEventSet, so a cancel is noticed at once.  Connections are kept for later
 * calls of the process.
 *
 * libcurl looks names up in threads of its own.  Signals are blocked while it
 * runs, so a thread starts with all of them blocked, and none of ours is ever
 * handled by one.  Nothing that can raise an error runs below libcurl: what
 * its callbacks need is allocated by malloc or fixed.
 */
#include "postgres.h"

#include <curl/curl.h>
#include <signal.h>

#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "http/transport.h"

JFLOW_MODULE_MAGIC("jflow_http");

#define MAX_SOCKETS 1024
#define MAX_REDIRECTS 3
#define MAX_EVENTS 64			/* taken at once */

typedef struct Watched
{
	curl_socket_t socket;
	int			what;			/* CURL_POLL_… */
} Watched;

extern PGDLLEXPORT const HttpTransport *jflow_http_transport(void);

static CURLM * multi = NULL;
static HttpCall *calls = NULL;	/* not yet released */
static Watched watched[MAX_SOCKETS];
static int	nwatched = 0;
static bool watch_changed = true;
static bool watch_failed = false;
static WaitEventSet *wait_set = NULL;
static TimestampTz timer = DT_NOEND;	/* when libcurl wants to be called */

/* All signals blocked, from begin to end. */
static void
block_signals(sigset_t *saved)
{
	sigset_t	all;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, saved);
}

static void
restore_signals(const sigset_t *saved)
{
	sigprocmask(SIG_SETMASK, saved, NULL);
}

/* libcurl's callback: what to wait for at a socket has changed. */
static int
socket_callback(CURL * handle, curl_socket_t socket, int what, void *arg, void *socket_arg)
{
	int			i = 0;

	while (i < nwatched && watched[i].socket != socket)
		i++;
	watch_changed = true;
	if (what == CURL_POLL_REMOVE)
	{
		if (i < nwatched)
			watched[i] = watched[--nwatched];
		return 0;
	}
	if (i == MAX_SOCKETS)
	{
		watch_failed = true;
		return 0;
	}
	watched[i].socket = socket;
	watched[i].what = what;
	nwatched = Max(nwatched, i + 1);
	return 0;
}

/* libcurl's callback: when it wants to be called. */
static int
timer_callback(CURLM * handle, long timeout_ms, void *arg)
{
	timer = timeout_ms < 0 ? DT_NOEND :
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(), (int64) timeout_ms);
	return 0;
}

/* libcurl's callback: a part of an answer. */
static size_t
write_callback(char *data, size_t size, size_t n, void *arg)
{
	HttpCall   *call = arg;
	size_t		len = size * n;

	if (call->answer_len + len > call->max_answer)
	{
		call->failure = HTTP_TOO_LARGE;
		return 0;
	}
	if (call->answer_len + len + 1 > call->answer_size)
	{
		size_t		wanted = Max(call->answer_size * 2, call->answer_len + len + 1);
		char	   *larger = realloc(call->answer, Max(wanted, 4096));

		if (larger == NULL)
			return 0;
		call->answer = larger;
		call->answer_size = Max(wanted, 4096);
	}
	memcpy(call->answer + call->answer_len, data, len);
	call->answer_len += len;
	call->answer[call->answer_len] = '\0';
	return len;
}

static void
prepare_multi(void)
{
	sigset_t	saved;

	if (multi)
		return;
	block_signals(&saved);
	if (curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK)
		multi = curl_multi_init();
	restore_signals(&saved);
	if (multi == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not initialize libcurl")));
	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, socket_callback);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, timer_callback);
}

/* Free a handle, and forget the call. */
static void
release_call(HttpCall *call)
{
	sigset_t	saved;

	for (HttpCall **link = &calls; *link; link = &(*link)->next)
	{
		if (*link == call)
		{
			*link = call->next;
			break;
		}
	}
	block_signals(&saved);
	if (call->handle)
	{
		curl_multi_remove_handle(multi, call->handle);
		curl_easy_cleanup(call->handle);
	}
	curl_slist_free_all(call->header_list);
	restore_signals(&saved);
	free(call->answer);
	call->handle = call->header_list = NULL;
	call->answer = NULL;
}

static void
cancel_calls(void)
{
	while (calls)
		release_call(calls);
	if (wait_set)
		FreeWaitEventSet(wait_set);
	wait_set = NULL;
	watch_changed = true;
}

/*
 * No proxy from the environment, no .netrc, no other protocol, no redirect
 * followed unseen, no signals, no wait for a name that is still looked up.
 */
static bool
set_options(HttpCall *call)
{
	CURL	   *h = call->handle;
	bool		ok = true;

#define SET(option, value) ok = ok && curl_easy_setopt(h, option, value) == CURLE_OK
	SET(CURLOPT_PRIVATE, call);
	SET(CURLOPT_URL, call->url);
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
	SET(CURLOPT_PROXY, call->proxy ? call->proxy : "");
	SET(CURLOPT_NOPROXY, "");
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_QUICK_EXIT, 1L);
	SET(CURLOPT_TCP_KEEPALIVE, 1L);
	SET(CURLOPT_BUFFERSIZE, 128L * 1024);
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	if (call->ca_file)
	{
		SET(CURLOPT_CAINFO, call->ca_file);
		SET(CURLOPT_CAPATH, NULL);
	}
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long) call->connect_timeout_ms);
	SET(CURLOPT_TIMEOUT_MS, (long) call->timeout_ms);
	SET(CURLOPT_HTTPHEADER, call->header_list);
	SET(CURLOPT_POST, 1L);
	SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) call->body_len);
	SET(CURLOPT_POSTFIELDS, call->body);
	SET(CURLOPT_WRITEFUNCTION, write_callback);
	SET(CURLOPT_WRITEDATA, call);
	SET(CURLOPT_ERRORBUFFER, call->error);
#undef SET
	return ok;
}

static bool
make_headers(HttpCall *call)
{
	struct curl_slist *list = NULL;

	for (const char *const *header = call->headers; *header; header++)
	{
		struct curl_slist *longer = curl_slist_append(list, *header);

		if (longer == NULL)
		{
			curl_slist_free_all(list);
			return false;
		}
		list = longer;
	}
	call->header_list = list;
	return true;
}

static void
start_call(HttpCall *call)
{
	sigset_t	saved;
	bool		ok;

	StaticAssertStmt(sizeof(call->error) >= CURL_ERROR_SIZE, "error text of libcurl");
	prepare_multi();
	call->handle = call->header_list = NULL;
	call->answer = NULL;
	call->answer_len = call->answer_size = 0;
	call->failure = HTTP_ANSWERED;
	call->error[0] = '\0';
	call->status = 0;
	call->retry_after = -1;
	call->redirects = 0;
	call->next = calls;
	calls = call;

	block_signals(&saved);
	ok = make_headers(call) && (call->handle = curl_easy_init()) != NULL &&
		set_options(call) && curl_multi_add_handle(multi, call->handle) == CURLM_OK;
	restore_signals(&saved);
	if (!ok)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_ERROR),
				 errmsg("could not make an HTTP request")));
}

/* The part of an url, to be freed with curl_free, or NULL. */
static char *
url_part(CURLU * url, CURLUPart part)
{
	char	   *result = NULL;

	return curl_url_get(url, part, &result, CURLU_DEFAULT_PORT) == CURLUE_OK ? result : NULL;
}

/* Do two urls have the same scheme, host and port? */
static bool
same_origin(const char *a, const char *b)
{
	static const CURLUPart parts[] = {CURLUPART_SCHEME, CURLUPART_HOST, CURLUPART_PORT};
	CURLU	   *urls[2] = {curl_url(), curl_url()};
	bool		same = urls[0] && urls[1] &&
		curl_url_set(urls[0], CURLUPART_URL, a, 0) == CURLUE_OK &&
		curl_url_set(urls[1], CURLUPART_URL, b, CURLU_DISALLOW_USER) == CURLUE_OK;

	for (int i = 0; same && i < lengthof(parts); i++)
	{
		char	   *left = url_part(urls[0], parts[i]);
		char	   *right = url_part(urls[1], parts[i]);

		same = left && right && pg_strcasecmp(left, right) == 0;
		curl_free(left);
		curl_free(right);
	}
	curl_url_cleanup(urls[0]);
	curl_url_cleanup(urls[1]);
	return same;
}

/*
 * Send a call again to where it was redirected; false if it must not go there.
 * The key goes along, so that may be only the same server.
 */
static bool
follow_redirect(HttpCall *call)
{
	char	   *to = NULL;

	if (call->status == 303 || call->redirects++ >= MAX_REDIRECTS ||
		curl_easy_getinfo(call->handle, CURLINFO_REDIRECT_URL, &to) != CURLE_OK ||
		to == NULL || !same_origin(call->url, to))
		return false;
	free(call->answer);
	call->answer = NULL;
	call->answer_len = call->answer_size = 0;
	call->error[0] = '\0';
	curl_multi_remove_handle(multi, call->handle);
	return curl_easy_setopt(call->handle, CURLOPT_URL, to) == CURLE_OK &&
		curl_multi_add_handle(multi, call->handle) == CURLM_OK;
}

static HttpFailure
failure_of(CURLcode code)
{
	switch (code)
	{
		case CURLE_OK:
			return HTTP_ANSWERED;
		case CURLE_COULDNT_RESOLVE_HOST:
		case CURLE_COULDNT_RESOLVE_PROXY:
		case CURLE_COULDNT_CONNECT:
			return HTTP_UNREACHABLE;
		case CURLE_OPERATION_TIMEDOUT:
			return HTTP_TIMED_OUT;
		case CURLE_GOT_NOTHING:
		case CURLE_PARTIAL_FILE:
		case CURLE_RECV_ERROR:
		case CURLE_SEND_ERROR:
		case CURLE_SSL_CONNECT_ERROR:
		case CURLE_HTTP2:
		case CURLE_HTTP2_STREAM:
			return HTTP_LOST;
		case CURLE_PEER_FAILED_VERIFICATION:
		case CURLE_SSL_CERTPROBLEM:
		case CURLE_SSL_CACERT_BADFILE:
			return HTTP_UNTRUSTED;
		case CURLE_FILESIZE_EXCEEDED:
			return HTTP_TOO_LARGE;
		default:
			return HTTP_FAILED;
	}
}

/* A transfer has ended; returns whether the call is done with it. */
static bool
finish_transfer(HttpCall *call, CURLcode code)
{
	long		status = 0;
	curl_off_t	number = 0;

	curl_easy_getinfo(call->handle, CURLINFO_RESPONSE_CODE, &status);
	call->status = (int) status;
	if (code == CURLE_OK && status >= 300 && status < 400)
	{
		if (follow_redirect(call))
			return false;
		call->failure = HTTP_REDIRECTED;
		return true;
	}
	if (call->failure == HTTP_ANSWERED)
		call->failure = failure_of(code);
	if (code != CURLE_OK && call->error[0] == '\0')
		strlcpy(call->error, curl_easy_strerror(code), sizeof(call->error));
	if (curl_easy_getinfo(call->handle, CURLINFO_RETRY_AFTER, &number) == CURLE_OK && number > 0)
		call->retry_after = (int) Min(number, PG_INT32_MAX);
	if (curl_easy_getinfo(call->handle, CURLINFO_TOTAL_TIME_T, &number) == CURLE_OK)
		call->ms = number / 1000.0;
	return true;
}

/* A call that is done, or NULL. */
static HttpCall *
next_done(void)
{
	CURLMsg    *message;
	int			left;

	while ((message = curl_multi_info_read(multi, &left)))
	{
		HttpCall   *call = NULL;

		if (message->msg != CURLMSG_DONE ||
			curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **) &call) != CURLE_OK)
			continue;
		if (finish_transfer(call, message->data.result))
			return call;
	}
	return NULL;
}

/* Wait for the latch and libcurl's sockets. */
static void
prepare_wait_set(void)
{
	if (wait_set && !watch_changed)
		return;
	if (wait_set)
		FreeWaitEventSet(wait_set);
	wait_set = NULL;
	wait_set = create_wait_event_set_compat(TopMemoryContext, nwatched + 2);
	AddWaitEventToSet(wait_set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(wait_set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	for (int i = 0; i < nwatched; i++)
	{
		uint32		events = 0;

		if (watched[i].what == CURL_POLL_IN || watched[i].what == CURL_POLL_INOUT)
			events |= WL_SOCKET_READABLE;
		if (watched[i].what == CURL_POLL_OUT || watched[i].what == CURL_POLL_INOUT)
			events |= WL_SOCKET_WRITEABLE;
		if (events)
			AddWaitEventToSet(wait_set, events, watched[i].socket, NULL, NULL);
	}
	watch_changed = false;
}

/* Let libcurl do what there is to do at a socket. */
static void
act(curl_socket_t socket, uint32 events)
{
	sigset_t	saved;
	int			running;
	int			mask = ((events & WL_SOCKET_READABLE) ? CURL_CSELECT_IN : 0) |
		((events & WL_SOCKET_WRITEABLE) ? CURL_CSELECT_OUT : 0);

	block_signals(&saved);
	curl_multi_socket_action(multi, socket, mask, &running);
	restore_signals(&saved);
	if (watch_failed)
	{
		watch_failed = false;
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many connections to HTTP services")));
	}
}

/* Wait once, until "until" at the latest. */
static void
wait_once(TimestampTz until)
{
	WaitEvent	events[MAX_EVENTS];
	TimestampTz wake = Min(until, timer);
	long		ms = -1;
	int			n;

	if (wake != DT_NOEND)
		ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), wake);
	prepare_wait_set();
	n = WaitEventSetWait(wait_set, ms, events, MAX_EVENTS, PG_WAIT_EXTENSION);
	for (int i = 0; i < n; i++)
	{
		if (events[i].events & WL_LATCH_SET)
		{
			ResetLatch(MyLatch);
			CHECK_FOR_INTERRUPTS();
		}
		else if (events[i].events & (WL_SOCKET_READABLE | WL_SOCKET_WRITEABLE))
			act(events[i].fd, events[i].events);
	}
	if (timer <= GetCurrentTimestamp())
	{
		timer = DT_NOEND;
		act(CURL_SOCKET_TIMEOUT, 0);
	}
}

static HttpCall *
wait_for_call(long timeout_ms)
{
	TimestampTz until = timeout_ms < 0 ? DT_NOEND :
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(), (int64) timeout_ms);
	HttpCall   *call;

	prepare_multi();
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		call = next_done();
		if (call || (until != DT_NOEND && GetCurrentTimestamp() >= until))
			return call;
		wait_once(until);
	}
}

/* The one symbol of this library. */
const HttpTransport *
jflow_http_transport(void)
{
	static const HttpTransport transport = {
		HTTP_TRANSPORT_VERSION, start_call, wait_for_call, release_call, cancel_calls
	};

	return &transport;
}
