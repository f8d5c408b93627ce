/*
 * flow.h
 *		What a flow is: its definition as read from the catalog, and the
 *		functions that read, check and change definitions.
 */
#ifndef JFLOW_FLOW_H
#define JFLOW_FLOW_H

#include "doc/doc.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#define JFLOW_MAX_REPLICAS 1024 /* per executor; also the CHECK in the catalog */
#define JFLOW_MAX_SHARDS 1024
#define JFLOW_GATEWAY (-1)		/* an executor's input that is the flow's own */

/*
 * One executor of a flow.  Everything is allocated in the flow's context;
 * NULL pointers stand for SQL NULL.
 */
typedef struct JflowExecutor
{
	char	   *name;
	char	   *uses;			/* class name, or qualified function name */
	Jsonb	   *uses_with;		/* an object, never NULL once read */
	Jsonb	   *requests;		/* endpoint -> function */
	char	  **needs;			/* names; "gateway" for the flow's input */
	int			nneeds;
	int			replicas;
	int			shards;
	Jsonb	   *polling;		/* string or object */
	char	   *workspace;
	Jsonb	   *when;
	char	   *uses_before;
	char	   *uses_after;
	Interval   *timeout;
	int			retries;		/* -1: not given */
	bool		floating;
	bool		disable_reduce;

	/* What the catalog knows beside the definition. */
	int			position;		/* order of definition, from 1 */
	Jsonb	   *class_requests; /* NULL where "uses" is a function */
	Jsonb	   *class_polling;
	int		   *inputs;			/* topology: indexes into the flow's
								 * executors, or JFLOW_GATEWAY; nneeds many */
} JflowExecutor;

typedef struct JflowFlow
{
	char	   *name;
	char	   *owner;			/* role name; may have been dropped */
	char	   *description;
	JflowExecutor *executors;	/* in order of definition: inputs come first */
	int			nexecutors;
	int		   *outputs;		/* executors that nothing needs, not floating */
	int			noutputs;

	MemoryContext context;
	int			refcount;
	bool		valid;
} JflowFlow;

/* catalog.c: reading.  A flow is pinned until the given context is reset. */
extern JflowFlow *jflow_flow_open(const char *name, bool missing_ok);
extern JflowFlow *jflow_flow_for_post(const char *name);
extern const JflowExecutor *jflow_flow_executor(const JflowFlow *flow, const char *name);
extern bool jflow_class_exists(const char *class_name);
extern const char *jflow_uses_class(const char *uses);
extern Oid	jflow_catalog_relid(const char *name);
extern void jflow_catalog_forget(void);
extern void jflow_flow_cache_reset(void);
extern void jflow_suggest_flow_error(const char *name) JFLOW_NORETURN;

/*
 * catalog.c: running SPI with the rights of the extension's owner and a fixed
 * search_path, for the tables of schema jflow.  Callers check rights first.
 */
typedef struct JflowCatalogState
{
	Oid			userid;
	int			sec_context;
	int			guc_level;
} JflowCatalogState;

extern void jflow_catalog_begin(JflowCatalogState *state);
extern void jflow_catalog_end(JflowCatalogState *state);
extern uint64 jflow_catalog_execute(const char *sql, int nargs, const Oid *types,
									Datum *values, const char *nulls);

/* acl.c */
extern Oid	jflow_flow_owner(const JflowFlow *flow);
extern int	jflow_owner_security(Oid owner, Oid caller, int sec_context);
extern void jflow_check_flow_owner(const JflowFlow *flow);
extern bool jflow_may_post(const JflowFlow *flow);
extern void jflow_check_may_post(const JflowFlow *flow);

/* define.c: what the SQL functions and jflow_load share. */
extern void jflow_flow_create(const char *name, const char *description);
extern void jflow_executor_init(JflowExecutor *executor, const char *name);
extern void jflow_executor_add(const char *flow, JflowExecutor *executor);
extern void jflow_executor_missing(const JflowFlow *flow, const char *name) JFLOW_NORETURN;
extern int64 jflow_interval_ms(const Interval *interval);

/*
 * A built-in class can check the uses_with of an executor when it is defined.
 * Registered from _PG_init; the check raises an error or returns.
 */
typedef void (*JflowOptionsCheck) (Jsonb *uses_with);

extern void jflow_register_options_check(const char *class_name, JflowOptionsCheck check);

/*
 * A built-in class that stores documents drops what it made for a flow.
 * Registered from _PG_init; called with the rights of who drops the flow.
 */
typedef void (*JflowDropData) (const JflowFlow *flow);

extern void jflow_register_storage(JflowDropData drop_data);

/*
 * And it moves rows when the number of shards of an executor has been changed in
 * jflow.executor: in this transaction, or else by steps that it leaves to a
 * mover, as it does with the making of indexes.  Each step is a transaction of
 * the flow's owner.  What keeps writers waiting is put off while "busy".
 */
typedef enum JflowMove
{
	MOVE_DONE,					/* all rows are where they belong */
	MOVE_MORE,
	MOVE_WAIT					/* until older snapshots are gone, or until it
								 * is quiet */
} JflowMove;

typedef void (*JflowScaleShards) (const char *flow, const char *executor, int shards, bool at_once);
typedef JflowMove (*JflowMoveRows) (const char *flow, const char *executor, int batch, bool busy);

#define JFLOW_MOVE_BATCH 1000	/* rows; also the default of
								 * jflow.reshard_step */

extern void jflow_register_scale(JflowScaleShards scale_shards, JflowMoveRows move_rows);
extern void jflow_scale_shards(const char *flow, const char *executor, int shards, bool at_once);
extern JflowMove jflow_move_rows(const char *flow, const char *executor, int batch, bool busy);
extern bool jflow_is_moving(const char *flow, const char *executor);

/* function.c: names of executor functions, as stored and as called. */
typedef struct JflowFunction
{
	const char *name;			/* qualified; NULL: documents pass unchanged */
	const char *finish;			/* called once when all requests are done */
	bool		idempotent;
} JflowFunction;

extern char *jflow_function_qualify(const char *name);
extern Oid	jflow_function_resolve(const char *name, Oid owner);
extern void jflow_requests_check(Jsonb *requests, Jsonb **qualified);
extern void jflow_endpoint_function(const JflowExecutor *executor, const char *endpoint,
									JflowFunction *function);

/* topology.c */
extern void jflow_flow_resolve_topology(JflowFlow *flow);

/* polling.c */
typedef enum JflowPolling
{
	POLLING_ANY,
	POLLING_ALL,
	POLLING_HASH
} JflowPolling;

extern void jflow_polling_check(Jsonb *polling);
extern JflowPolling jflow_polling_resolve(const JflowExecutor *executor, const char *endpoint);
extern int	jflow_shard_of_id(const char *id, int len, int shards);

#endif							/* JFLOW_FLOW_H */
