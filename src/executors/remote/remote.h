/*
 * remote.h
 *		RemoteFlow: an executor whose shards are flows on other servers.
 */
#ifndef JFLOW_REMOTE_H
#define JFLOW_REMOTE_H

#include "flow/context.h"

#define REMOTE_CLASS "RemoteFlow"
#define REMOTE_DEFAULT_LIMIT 10
#define REMOTE_MAX_SERVERS 1024

/* What uses_with says. */
typedef struct RemoteOptions
{
	char	  **servers;		/* one per shard */
	char	  **nodes;			/* by which documents find their server */
	int			nservers;
	char	   *flow;			/* on each of them */
	int			limit;			/* matches of a search, or 0: not given */
	bool		partial;		/* answer without servers that are away */
} RemoteOptions;

/* A server that cannot be reached, or was lost. */
typedef struct RemoteFailure
{
	int			sqlstate;		/* 08001 or 08006 */
	char	   *message;
	char	   *detail;
} RemoteFailure;

typedef struct RemoteConnection RemoteConnection;
struct pg_result;

extern const JflowClass remote_class;

/* remote_options.c */
extern const RemoteOptions *remote_options_read(Jsonb *uses_with);
extern void remote_place(const JflowExecutor *executor, struct varlena **ids, int n, int *shards);

/* remote_connection.c */
extern RemoteConnection *remote_connect(const char *server, Oid user, RemoteFailure *failure);
extern char *remote_query(RemoteConnection *connection, bool in_transaction, const char *sql,
						  int nparams, const char *const *params, RemoteFailure *failure, bool *retry);
extern bool remote_in_transaction(const RemoteConnection *connection);
extern void remote_raise(const RemoteFailure *failure, int level);

/* remote_said.c */
extern char *remote_copy_said(const char *said);
extern void remote_take_notice(void *arg, const struct pg_result *result);
extern void remote_drop_notices(void);
extern void remote_give_notices(void);

/* remote_wait.c: what waits for a server. */
typedef struct pg_conn *RemoteLink;

extern RemoteLink remote_link_open(const char *const *keywords, const char *const *values,
								   int timeout_ms, bool quiet, char **problem);
extern void remote_link_close(RemoteLink link);
extern struct pg_result *remote_link_result(RemoteLink link);
extern bool remote_link_finish(RemoteLink link, int timeout_ms);

#endif							/* JFLOW_REMOTE_H */
