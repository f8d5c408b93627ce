/*
 * remote.h
 *		RemoteFlow: an executor whose shards are flows on other servers.
 */
#ifndef JFLOW_REMOTE_H
#define JFLOW_REMOTE_H

#include "storage/lock.h"

#include "flow/context.h"

#define REMOTE_CLASS "RemoteFlow"
#define REMOTE_DEFAULT_LIMIT 10
#define REMOTE_MAX_SERVERS 1024

/*
 * What uses_with says.  While documents move to other servers, those that had them
 * and those that get them are both there.
 */
typedef struct RemoteOptions
{
	char	  **servers;		/* one per shard */
	char	  **nodes;			/* by which documents find their server */
	int			nservers;
	bool		moving;
	bool		locking;		/* where "moving": nothing has moved, and what
								 * writes locks ids, but writes as before */
	bool	   *is_old;			/* of each server, where "moving": had
								 * documents before */
	bool	   *is_new;			/* has documents after it */
	char	  **from;			/* the old ones' nodes, as they were named */
	int			nfrom;
	char	  **to;				/* the new ones' */
	int			nto;
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

/* What one server is asked. */
typedef struct RemoteAsk
{
	const char *server;
	Oid			user;			/* whose mapping */
	const char *front;			/* the flow here */
	const char *flow;			/* the flow there */
	const char *endpoint;
	Datum		docs;
	Jsonb	   *parameters;
	Jsonb	   *origin;			/* of the post that this is for, or NULL */
	bool		read_only;
	bool		stored;			/* only the executor that stores is asked, of
								 * a flow whose documents can be moved */
	bool		ids;			/* ids are enough of an answer */
	bool		definition;		/* nothing is posted: how does it store
								 * documents? */
	TimestampTz until;
	bool		no_longer;		/* is the answer waited for, whatever the
								 * server does */
} RemoteAsk;

typedef struct RemoteConnection RemoteConnection;
struct pg_result;

extern const JflowClass remote_class;

/* remote_ask.c */
extern Datum remote_ask(const RemoteAsk *ask, RemoteFailure *failure);
extern Datum remote_ask_or_raise(const RemoteAsk *ask);
extern void remote_check_writable(const RemoteAsk *as);
extern void remote_check_distinct(const RemoteAsk *as, const char *const *servers, int n);
extern char *remote_text_of_docs(Datum docs);

/* remote_options.c */
extern const RemoteOptions *remote_options_read(Jsonb *uses_with);
extern int	remote_document_len(const char *id, int len);
extern void remote_place(const RemoteOptions *options, const bool *among, struct varlena **ids, int n,
						 int *servers);
extern Jsonb *remote_options_moving(Jsonb *uses_with, const RemoteOptions *options,
									char **servers, int nservers, const char *executor);
extern Jsonb *remote_options_unmoved(Jsonb *uses_with, const RemoteOptions *options);
extern Jsonb *remote_options_locked(Jsonb *uses_with, const RemoteOptions *options);
extern Jsonb *remote_options_moved(Jsonb *uses_with, const RemoteOptions *options);
extern bool remote_same_servers(const RemoteOptions *options, const bool *among,
								char **servers, int nservers);

/* remote_write.c */
extern uint64 remote_id_hash(const LOCKTAG *layout, text *id);
extern void remote_check_isolation(const char *executor);
extern const RemoteOptions *remote_options_now(const JflowContext *context, const RemoteOptions *planned);
extern Datum remote_write_by_id(const RemoteAsk *ask, const RemoteOptions *options,
								const JflowContext *context);
extern Datum remote_write_moving(const RemoteAsk *ask, const RemoteOptions *options,
								 const JflowContext *context);
extern int	remote_ids(Datum docs, text ***ids);
extern Datum remote_docs_of_ids(text **ids, int n);
extern Datum remote_docs_where(Datum docs, const bool *keep);
extern bool *remote_are_there(const RemoteAsk *ask, text **ids, int n);

/* remote_locks.c */
extern LOCKTAG remote_layout(const char *flow, const char *executor);
extern LOCKTAG remote_steps(const char *flow, const char *executor);
extern LOCKTAG remote_snapshots(void);
extern void remote_posting(const char *flow, const char *executor);
extern void remote_keeping_snapshot(void);

/* remote_scale.c */
extern Jsonb *remote_scale(const char *flow, const char *executor, char **servers, int nservers,
						   int *shards, Jsonb **was);

/* remote_move.c */
extern RemoteAsk remote_ask_to_move(const JflowFlow *flow, const JflowExecutor *executor,
									const RemoteOptions *options);
extern void remote_forget_move(const char *flow, const char *executor);
extern JflowMove remote_move(const char *flow, const char *executor, int batch, bool busy);
extern bool remote_needs_mover(const char *flow, const char *executor);

/* remote_connection.c */
extern RemoteConnection *remote_connect(const char *server, Oid user, TimestampTz until,
										RemoteFailure *failure);
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
extern bool remote_was_late;
extern struct pg_result *remote_link_result(RemoteLink link, TimestampTz until);
extern bool remote_link_finish(RemoteLink link, int timeout_ms);

#endif							/* JFLOW_REMOTE_H */
