/*
 * http.h
 *		HttpExecutor: models behind HTTP.
 *
 * Files: http_options.c reads uses_with; http_server.c reads foreign servers and
 * user mappings, and checks their options; http_items.c takes out of documents
 * what is sent, and puts in what was answered; http_request.c and http_answer.c
 * speak the providers' formats; http_json.c reads JSON; http_run.c sends
 * batches, again where that helps; http.c has the SQL functions and the class.
 */
#ifndef JFLOW_HTTP_H
#define JFLOW_HTTP_H

#include "doc/doc.h"
#include "flow/context.h"
#include "http/transport.h"
#include "lib/stringinfo.h"
#include "utils/timestamp.h"

#define HTTP_CLASS "HttpExecutor"
#define HTTP_WRAPPER "jflow_http"

typedef enum HttpTask
{
	HTTP_EMBED,
	HTTP_RERANK,
	HTTP_GENERATE
} HttpTask;

typedef enum HttpProvider
{
	HTTP_OPENAI,
	HTTP_OLLAMA,
	HTTP_TEI,
	HTTP_COHERE,
	HTTP_JFLOW,
	HTTP_TEMPLATE
} HttpProvider;

/* uses_with */
typedef struct HttpOptions
{
	char	   *server;
	char	   *model;
	int			dimensions;		/* 0: as the model has them */
	HttpTask	task;
	JflowDocAttr input;
	char	   *input_tag;		/* the text is this tag */
	Jsonb	   *prefix;			/* endpoint -> string */
	Jsonb	   *input_type;		/* endpoint -> string */
	int			batch;
	int			batch_bytes;
	int			concurrency;
	int			timeout_ms;
	int			connect_timeout_ms;
	int			retries;
	bool		skip_embedded;
	bool		missing_is_error;
	bool		base64;
	int			cache;			/* entries */
} HttpOptions;

/* A foreign server, and the key of a role. */
typedef struct HttpServer
{
	Oid			id;
	char	   *name;
	char	   *url;
	HttpProvider provider;
	char	   *request;		/* of a template: JSON */
	char	   *response;		/* a path */
	char	   *proxy;
	char	   *ca_file;
	char	   *key_header;		/* NULL: Authorization */
	char	   *key;			/* NULL: none */
	size_t		max_answer;
} HttpServer;

/* A text to send, in UTF-8, and what came back for it. */
typedef struct HttpItem
{
	int			doc;
	int			match;			/* of the document, to be ranked */
	const char *text;
	int			len;
	float	   *vector;
	int			dim;
	double		score;
	char	   *answer;			/* UTF-8 */
	bool		done;
} HttpItem;

/* Items that are sent together. */
typedef struct HttpBatch
{
	int			first;
	int			n;
	int			tries;
	TimestampTz not_before;
	StringInfoData body;
	char	   *documents;		/* JSON, where documents are answered */
	HttpCall	call;
	struct HttpBatch *next;
} HttpBatch;

/* What is known while a call of the executor lasts. */
typedef struct HttpJob
{
	MemoryContext context;
	const JflowContext *call;
	JflowTally *tally;
	char	   *owner;			/* of the flow */
	HttpOptions *options;
	HttpServer *server;
	const HttpTransport *transport;
	const char *headers[8];
	char	   *endpoint;		/* as JSON */
	char	   *parameters;		/* as JSON */
	char	   *model;			/* as JSON; "null" where there is none */
	char	   *input_type;		/* as JSON */
	JflowDocs  *docs;
	HttpItem   *queries;		/* of each document whose matches are ranked */
	JflowMatch **matches;
	int		   *nmatches;
	HttpItem   *items;
	int			nitems;
	HttpBatch  *waiting;		/* in the order of their items */
	HttpBatch  *done;			/* documents were answered */
	int			in_flight;
} HttpJob;

/* Counters of the class, in the order of their names. */
typedef enum HttpCounter
{
	HTTP_CALLS,
	HTTP_RETRIES,
	HTTP_THROTTLED,
	HTTP_MILLISECONDS,
	HTTP_TOKENS,
	HTTP_CACHED
} HttpCounter;

static inline void
http_count(HttpJob *job, HttpCounter counter, int64 n)
{
	pg_atomic_fetch_add_u64(&job->tally->counts[counter], n);
}

extern PGDLLIMPORT const JflowClass http_class;

/* http_options.c */
extern HttpOptions *http_options_read(Jsonb *uses_with);
extern const char *http_by_endpoint(Jsonb *map, const char *endpoint);

/* http_server.c */
extern HttpServer *http_server_read(const char *name, Oid role);

/* http_items.c */
extern void http_items_take(HttpJob *job);
extern Datum http_items_give(HttpJob *job);

/* http_request.c */
extern bool http_one_by_one(const HttpJob *job);
extern void http_headers_make(HttpJob *job);
extern void http_request_write(HttpJob *job, HttpBatch *batch);
extern char *http_quote(const char *utf8, int len);

/* http_answer.c */
extern void http_answer_read(HttpJob *job, HttpBatch *batch);
extern char *http_service_message(HttpJob *job, const HttpCall *call);

/* http_run.c */
extern void http_run(HttpJob *job);

/* http_cache.c */
extern bool http_cache_find(HttpJob *job, HttpItem *item);
extern void http_cache_keep(HttpJob *job, const HttpItem *item);

/* http_json.c: a tree in the current memory context */
typedef enum HttpJsonType
{
	JSON_NULL,
	JSON_BOOL,
	JSON_NUMBER,
	JSON_STRING,
	JSON_ARRAY,
	JSON_NUMBERS,				/* an array of numbers and nothing else */
	JSON_OBJECT
} HttpJsonType;

typedef struct HttpJson
{
	HttpJsonType type;
	int			n;				/* bytes, elements or members */
	double		number;			/* also of a boolean */
	char	   *string;			/* UTF-8, ends with a zero byte */
	float	   *numbers;
	struct HttpJson *items;
	struct HttpJson *keys;		/* strings */
} HttpJson;

extern HttpJson *http_json_read(const char *json, size_t len, const char **error);
extern HttpJson *http_json_member(HttpJson *object, const char *name);
extern HttpJson **http_json_path(HttpJson *root, const char *path, int *n);
extern bool http_json_path_check(const char *path);

#endif							/* JFLOW_HTTP_H */
