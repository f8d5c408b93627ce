/*
 * class.h
 *		Executor classes: what a built-in one tells of itself, and which class
 *		"uses" means.
 */
#ifndef JFLOW_CLASS_H
#define JFLOW_CLASS_H

#include "fmgr.h"
#include "utils/jsonb.h"
#include "utils/snapshot.h"

struct JflowFlow;
struct JflowExecutor;

#define JFLOW_BASE_CLASS "BaseExecutor"

/* What a step of moving rows says. */
typedef enum JflowMove
{
	MOVE_DONE,					/* all rows are where they belong */
	MOVE_MORE,
	MOVE_WAIT					/* until older snapshots are gone, or until it
								 * is quiet */
} JflowMove;

#define JFLOW_MOVE_BATCH 1000	/* rows; also the default of
								 * jflow.reshard_step */

/*
 * What a built-in class tells of itself; static data of its room, registered
 * from _PG_init.  What is left zero is what a plain function does.  The row of
 * jflow.class names its functions.
 */
typedef struct JflowClass
{
	const char *name;

	/*
	 * Called by whoever defines an executor: raise what is wrong with
	 * uses_with, and fill in what was left out.  Either may be NULL.
	 */
	void		(*check) (Jsonb *uses_with);
	void		(*defaults) (struct JflowExecutor *executor);

	/*
	 * Names of the parameters that its functions read, up to a NULL.  An
	 * object under such a name is never taken for the overrides of an
	 * executor of that name.
	 */
	const char *const *parameters;

	/* It hands parameters on, whose names it does not know. */
	bool		any_parameters;

	/* It wants to know which posts of other servers a post is made for. */
	bool		takes_origin;

	/*
	 * The parameters that executors in front of one of this class get, which
	 * has "own" itself, where they would have "given".  Raises what is wrong
	 * with "own".
	 */
	Jsonb	   *(*input_parameters) (const struct JflowExecutor *executor, Jsonb *own, Jsonb *given);

	/* How many matches a reduce keeps where nobody says; 0: all. */
	int			default_limit;

	/*
	 * It stores documents.  "drop_data" drops what it made for all of a
	 * flow's executors, with the rights of who drops the flow.  "scale"
	 * begins to move rows after the number of shards was changed in
	 * jflow.executor, and has moved all of them on return if "at_once".
	 * "move_rows" moves at most so many, in a transaction of the flow's
	 * owner; what keeps writers waiting is put off while "busy".
	 * "needs_mover" tells whether there are rows to move or other work for a
	 * mover, and reads by scan, so that anybody may ask.
	 */
	bool		stores;
	void		(*drop_data) (const struct JflowFlow *flow);
	void		(*scale) (const char *flow, const char *executor, int shards, bool at_once);
	JflowMove	(*move_rows) (const char *flow, const char *executor, int batch, bool busy);
	bool		(*needs_mover) (const char *flow, const char *executor);

	/*
	 * The name of a user's table that it stores into, as uses_with has it;
	 * NULL: a table of its own.
	 */
	char	   *(*table) (Jsonb *uses_with);

	/*
	 * What of uses_with says what its documents become: two executors between
	 * which documents move must have equal values for what both of them name.
	 */
	Jsonb	   *(*stored_as) (Jsonb *uses_with);

	/*
	 * Of an executor that stores: may another one, which is defined like it
	 * but for uses_with, be filled beside it and then exchanged with it?
	 * "check_stand_in" raises why not.  "prepare_exchange" does what takes
	 * long and is in nobody's way; "exchange" gives the executor what the
	 * other one has stored, and drops what it had.  The current user is the
	 * flow's owner.  Without "exchange" it cannot.
	 */
	void		(*check_stand_in) (const struct JflowFlow *flow, const struct JflowExecutor *executor,
								   const struct JflowExecutor *stand_in);
	void		(*prepare_exchange) (const struct JflowFlow *stand_in_flow, const struct JflowExecutor *stand_in);
	void		(*exchange) (const struct JflowFlow *flow, const struct JflowExecutor *executor,
							 const struct JflowFlow *stand_in_flow, const struct JflowExecutor *stand_in);

	/*
	 * The shard of each of n ids, where polling is "hash"; NULL: by
	 * jflow_shard_of_id.
	 */
	void		(*place) (const struct JflowExecutor *executor, struct varlena **ids, int n, int *shards);

	/*
	 * Of a class whose shards are elsewhere.  "posting" is called in each
	 * post that is going to call an executor, before its definition is relied
	 * upon; what it locks shows until the end of the transaction that there
	 * is such a post.  "moving" tells whether documents are on their way
	 * between shards: one call has all that writes them by id then, and of
	 * documents of one id the first shard's is the newest.  "scale_servers"
	 * returns uses_with and the number of shards with which documents move to
	 * other servers, or NULL if there is nothing to do; and the uses_with
	 * that this was made of.
	 */
	void		(*posting) (const char *flow, const char *executor);
	bool		(*moving) (const struct JflowExecutor *executor);
	Jsonb	   *(*scale_servers) (const char *flow, const char *executor, char **servers, int nservers,
								  int *shards, Jsonb **was);

	/*
	 * Endpoints whose functions only read, and may do so with the rights of
	 * who posts, up to a NULL.
	 */
	const char *const *caller_endpoints;

	/*
	 * The text search configuration by which it cuts texts, by its qualified
	 * name, or NULL.
	 */
	char	   *(*text_search) (const struct JflowExecutor *executor);

	/* How its functions may be called. */
	bool		implies_disable_reduce; /* at endpoints that it has functions
										 * for it gets all parts, and joins
										 * them */
	bool		one_by_one;		/* a request must not be run again in halves,
								 * nor together with others */
	bool		one_for_one;	/* answers each document by itself, in order:
								 * requests of several posts may be joined */

	/*
	 * A function of it that waits for what is not in this database, and holds
	 * neither snapshot nor transaction meanwhile, where it is what an
	 * executor calls; NULL: none.
	 */
	PGFunction	waits;

	/* Names of counters that it keeps for each executor, up to a NULL. */
	const char *const *counters;
} JflowClass;

/* registry.c */
extern void jflow_register_class(const JflowClass *class);
extern const JflowClass *jflow_registered_class(const char *name);
extern bool jflow_executor_is(const struct JflowExecutor *executor, const char *class_name);
extern bool jflow_class_read(const char *name, const char *owner, Snapshot snapshot,
							 Jsonb **requests, Jsonb **polling);
extern char *jflow_class_of_others(const char *name, Oid role);
extern void jflow_drop_data(const struct JflowFlow *flow);

/* class.c */
extern bool jflow_executor_is_open(const struct JflowExecutor *executor);
extern bool jflow_flow_is_open(const struct JflowFlow *flow);

extern const char *jflow_hub_name(const char *uses);
extern char *jflow_uses_resolve(const char *uses, const char *wanted_owner, Oid owner,
								char **class_owner);

extern bool jflow_class_writes_by_id(const char *endpoint);

/* What storing classes do; nothing for the others. */
extern void jflow_scale_shards(const char *flow, const char *executor, int shards, bool at_once);
extern JflowMove jflow_move_rows(const char *flow, const char *executor, int batch, bool busy);
extern bool jflow_needs_mover(const struct JflowFlow *flow, const struct JflowExecutor *executor);

#endif							/* JFLOW_CLASS_H */
