/*
 * workers.h
 *		The background workers of the runtime.
 */
#ifndef JFLOW_WORKERS_H
#define JFLOW_WORKERS_H

#include "postmaster/bgworker.h"

#include "runtime/shared/post_shared.h"

/* launcher.c */
extern PGDLLEXPORT void jflow_launcher_main(Datum arg);
extern void jflow_launcher_register(void);

/* scout.c */
extern PGDLLEXPORT void jflow_scout_main(Datum arg);

/* replica.c */
extern int	jflow_my_replica;	/* JFLOW_NONE in other processes */
extern PGDLLEXPORT void jflow_replica_main(Datum arg);
extern JflowPostShared *jflow_replica_post(void);

/* A sync whose worker is wanted. */
typedef struct JflowWantedSync
{
	int			id;
	char	   *name;
} JflowWantedSync;

/*
 * What the room of syncs does for scouts and replicas, which do not know it:
 * "wanted" lists those of a flow, by scan; "run" is what their worker does.
 */
typedef struct JflowSyncHooks
{
	List	   *(*wanted) (const char *flow);
	void		(*run) (JflowReplica *me);
} JflowSyncHooks;

extern const JflowSyncHooks *jflow_sync_hooks;

/* mover.c */
extern void jflow_mover_run(JflowReplica *me) JFLOW_NORETURN;

/* ddl.c */
extern void jflow_ddl_init(void);

/* pending.c: what takes effect at commit. */
extern void jflow_pending_init(void);
extern bool jflow_pending_any(void);
extern void jflow_pending_dirty(void);
extern void jflow_pending_roles(void);
extern void jflow_pending_restart(const char *flow, const char *executor);
extern void jflow_pending_extension(void);
extern JflowDatabase *jflow_database_entry(Oid database, bool create);

#endif							/* JFLOW_WORKERS_H */
