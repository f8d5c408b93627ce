/*
 * transport.h
 *		HTTP requests side by side, over libcurl.
 *
 * What is behind this is a library of its own, jflow_http, loaded when it is
 * first used: only who needs libcurl has it in memory.  So the two libraries
 * share structs and one table of functions, and no symbols.
 */
#ifndef JFLOW_TRANSPORT_H
#define JFLOW_TRANSPORT_H

#define HTTP_TRANSPORT_LIBRARY "$libdir/jflow_http"
#define HTTP_TRANSPORT_FUNCTION "jflow_http_transport"
#define HTTP_TRANSPORT_VERSION 1

/* What has become of a call. */
typedef enum HttpFailure
{
	HTTP_ANSWERED,				/* see status */
	HTTP_UNREACHABLE,			/* no connection */
	HTTP_LOST,					/* the connection broke */
	HTTP_TIMED_OUT,
	HTTP_UNTRUSTED,				/* TLS */
	HTTP_TOO_LARGE,				/* the answer is */
	HTTP_REDIRECTED,			/* to another place, or once too often */
	HTTP_FAILED					/* anything else */
} HttpFailure;

/* A request and its answer.  Given values must live until it is released. */
typedef struct HttpCall
{
	const char *url;
	const char *const *headers; /* "name: value", up to a NULL */
	const char *body;
	size_t		body_len;
	const char *proxy;			/* NULL: none */
	const char *ca_file;		/* NULL: the system's */
	int			connect_timeout_ms;
	int			timeout_ms;
	size_t		max_answer;		/* bytes */

	HttpFailure failure;
	char		error[256];		/* what there is to say about it */
	int			status;
	int			retry_after;	/* seconds; -1: not said */
	char	   *answer;			/* ends with a zero byte */
	size_t		answer_len;
	double		ms;				/* that it took */

	/* of the transport */
	void	   *handle;
	void	   *header_list;
	size_t		answer_size;
	int			redirects;
	struct HttpCall *next;
} HttpCall;

/*
 * "start" sends a call.  "wait" returns one that is done, or NULL after so many
 * milliseconds (-1: never); it waits with the process latch and raises what
 * CHECK_FOR_INTERRUPTS raises.  "release" frees what the transport keeps of a
 * call; "cancel" does it for all.  Whoever starts calls cancels them on an error.
 */
typedef struct HttpTransport
{
	int			version;
	void		(*start) (HttpCall *call);
	HttpCall   *(*wait) (long timeout_ms);
	void		(*release) (HttpCall *call);
	void		(*cancel) (void);
} HttpTransport;

#endif							/* JFLOW_TRANSPORT_H */
