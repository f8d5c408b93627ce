/*
 * flow.h
 *		What a flow is: its definition as read from the catalog, and the
 *		functions that read, check and change definitions.
 */
#ifndef JFLOW_FLOW_H
#define JFLOW_FLOW_H

#include "common/args.h"
#include "doc/doc.h"
#include "flow/acl.h"
#include "flow/class.h"
#include "flow/roles.h"
#include "flow/spi.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#define JFLOW_MAX_REPLICAS 1024 /* per executor; also the CHECK in the catalog */
#define JFLOW_MAX_SHARDS 1024
#define JFLOW_MAX_EXECUTORS 1000
#define JFLOW_MAX_USES_WITH (16 * 1024 * 1024)	/* bytes as jsonb */
#define JFLOW_MAX_FLOW (64 * 1024 * 1024)	/* uses_with of all executors */
#define JFLOW_MAX_MAP (1024 * 1024) /* requests, polling, when */
#define JFLOW_MAX_PARAMETERS (16 * 1024 * 1024)
#define JFLOW_MAX_DESCRIPTION 65536
#define JFLOW_MAX_BATCH 10000	/* documents of one call */
#define JFLOW_MAX_BATCH_WAIT_MS 60000
#define JFLOW_FLOW_INPUT (-1)	/* an executor's input that is the flow's own */

/*
 * One executor of a flow.  Everything is allocated in the flow's context;
 * NULL pointers stand for SQL NULL.
 */
typedef struct JflowExecutor
{
	char	   *name;
	char	   *uses;			/* class name, or qualified function name */
	char	   *class_owner;	/* whose class; "": built in; NULL where
								 * "uses" is a function */
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
	Jsonb	   *batch;			/* as jflow_batch_read takes it */

	/* What the catalog knows beside the definition. */
	int			position;		/* order of definition, from 1 */
	Jsonb	   *class_requests; /* NULL where "uses" is a function, or the
								 * class is gone */
	Jsonb	   *class_polling;
	const JflowClass *class;	/* what a built-in class tells of itself */
	int		   *inputs;			/* topology: indexes into the flow's
								 * executors, or JFLOW_FLOW_INPUT; nneeds many */
} JflowExecutor;

typedef struct JflowFlow
{
	char	   *name;
	char	   *owner;			/* role name as kept; who that is, and may
								 * post, is in "rights" */
	JflowRights rights;
	char	   *description;
	JflowExecutor *executors;	/* in order of definition: inputs come first */
	int			nexecutors;
	int		   *outputs;		/* executors that nothing needs, not floating */
	int			noutputs;

	MemoryContext context;
	int			refcount;
	bool		valid;
} JflowFlow;

/* catalog.c: reading.  A flow is pinned until the current context is reset. */
extern JflowFlow *jflow_flow_get(const char *name);
extern int	jflow_flow_names(char ***names);
extern bool jflow_rights_read(const char *name, JflowRights *rights);
extern const JflowExecutor *jflow_flow_executor(const JflowFlow *flow, const char *name);
extern void jflow_check_version(void);
extern void jflow_catalog_forget(void);
extern void jflow_flow_cache_reset(void);

/* lookup.c: which flow is meant. */
extern JflowFlow *jflow_flow_open(const char *name, bool missing_ok);
extern JflowFlow *jflow_flow_for_post(const char *name, const char *endpoint);
extern void jflow_suggest_flow_error(const char *name) JFLOW_NORETURN;

/* define.c: what the SQL functions and jflow_load share. */
extern JflowFlow *jflow_change_begin(JflowCatalogState *state, const char *name);
extern void jflow_flow_create(const char *name, const char *description);
extern void jflow_executor_init(JflowExecutor *executor, const char *name);
extern void jflow_executor_add(const char *flow, JflowExecutor *executor);
extern void jflow_executor_check_options(JflowExecutor *executor);
extern void jflow_flow_drop(const char *name, bool drop_data);
extern void jflow_executor_missing(const JflowFlow *flow, const char *name) JFLOW_NORETURN;

/* Called before a flow is dropped, by who may do so; NULL: nobody wants to know. */
extern void (*jflow_flow_drop_hook) (const char *flow);

/* stand_in.c: a flow that is filled beside another, and exchanged with it. */
extern void jflow_stand_in_create(const JflowFlow *flow, const char *name, Jsonb *changes);
extern void jflow_stand_in_prepare(const char *name);
extern void jflow_stand_in_exchange(const char *name, Jsonb *changes);

/* grant.c */
extern void jflow_grants_save(const JflowFlow *flow, JsonbInState *json);
extern void jflow_grants_load(const char *flow, JsonbContainer *grants);

/* function.c: names of executor functions, as stored and as called. */
typedef struct JflowFunction
{
	const char *name;			/* qualified; NULL: documents pass unchanged */
	const char *finish;			/* called once when all requests are done */
	bool		idempotent;
	bool		writes;			/* not to be called where writing is not
								 * allowed */
	bool		reads_only;		/* called as in a read-only transaction */
} JflowFunction;

extern char *jflow_function_qualify(const char *name);
extern Oid	jflow_function_resolve(const char *name, Oid owner);
extern bool jflow_function_exists(const char *name);
extern void jflow_requests_check(Jsonb *requests, Oid role, Jsonb **qualified);
extern void jflow_endpoint_function(const JflowExecutor *executor, const char *endpoint,
									JflowFunction *function);

/* topology.c */
extern void jflow_flow_resolve_topology(JflowFlow *flow);
extern char *jflow_text_search_of(const JflowFlow *flow, const JflowExecutor *executor);

/* batch.c */
typedef struct JflowBatch
{
	int			size;			/* documents of one call; 0: none are joined */
	int64		wait_us;		/* for more of them */
} JflowBatch;

extern void jflow_batch_read(Jsonb *json, JflowBatch *batch);
extern void jflow_batch_check_replicas(const JflowExecutor *executor, int replicas);
extern void jflow_batch_check(const JflowExecutor *executor);

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
