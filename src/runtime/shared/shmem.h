/*
 * shmem.h
 *		What the processes of the runtime share.
 *
 * Lock order: control, then one pool's lock, then spinlocks.  Nobody holds two
 * pools' locks.  See docs/runtime.md for who owns what in which state.
 */
#ifndef JFLOW_SHMEM_H
#define JFLOW_SHMEM_H

#include "flow/context.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/spin.h"
#include "utils/dsa.h"
#include "utils/timestamp.h"

#define JFLOW_NONE (-1)
#define JFLOW_REASON_LEN 256
#define JFLOW_MAX_DATABASES 64
#define JFLOW_MAX_ENDPOINTS 1024
#define JFLOW_MAX_TALLIES 256
#define JFLOW_BUCKETS 32
#define JFLOW_MAX_CHAIN 16
#define JFLOW_MAX_SHARES 256
#define JFLOW_MOVER (-2)		/* "shard" of a pool whose worker moves rows */
#define JFLOW_SYNC (-3)			/* of one whose worker keeps a table in step */

/* What the caller of a cancelled, lost or refused request is told. */
typedef enum JflowOutcome
{
	OUTCOME_OK,
	OUTCOME_ERROR,				/* messages hold the error */
	OUTCOME_LOST,				/* the replica went away before its commit */
	OUTCOME_UNKNOWN,			/* it went away while it committed, or after a
								 * post that it made had written */
	OUTCOME_CLOSED				/* the pool was closed; see its reason */
} JflowOutcome;

/* See docs/runtime.md for all transitions. */
typedef enum JflowSlotState
{
	SLOT_FREE,
	SLOT_FILLING,
	SLOT_QUEUED,
	SLOT_RUNNING,
	SLOT_COMMITTING,
	SLOT_DONE
} JflowSlotState;

typedef struct JflowSlot
{
	JflowSlotState state;
	int			next;			/* in a queue, the free list, a done list, or
								 * among those that a replica runs together */
	int			prev;			/* in a queue */
	int			gateway;		/* number of the process that posted */
	int			share;			/* where it is counted */
	int			pool;
	int			replica;		/* that runs it */
	bool		abandoned;		/* nobody waits for the answer */
	bool		cancel;			/* the replica shall stop */
	uint64		round;			/* place in the queue */
	TimestampTz taken;			/* when it was begun to be filled */
	TimestampTz queued;			/* when it came into the queue last */
	int64		post;

	dsa_pointer shared;			/* holds a reference */
	int			step;			/* of the post */
	int			stages;
	int			shard;
	int64		request;		/* number within the post, from 1 */
	int			part;			/* of it, where it is run again in halves */
	int			tries;			/* how often a replica was lost with it */

	/* what may be run together has the same key; 0: runs alone */
	uint64		batch_key;
	int			batch_docs;		/* of such a one: how many documents it has */
	Size		batch_bytes;	/* and how large they are */

	dsa_pointer docs;			/* in, or the answer when done */
	dsa_pointer messages;
	JflowOutcome outcome;
	int			commits;		/* transactions committed for it */
	bool		wrote;			/* one of them, or of a post that it made, has
								 * written, and running it again would again */
	bool		nested_wrote;	/* that is true of a post made by the replica
								 * that runs it now */
	int			replica_number; /* within its pool, of who has answered */
	int64		queue_us;		/* in the queue, before that one took it */
	int64		run_us;			/* there */
} JflowSlot;

typedef struct JflowPool
{
	LWLock		lock;
	bool		used;			/* under control */
	bool		closed;			/* takes no more requests */
	bool		draining;		/* not wanted: closed when nobody holds it */
	uint32		generation;		/* grows when the entry is used anew */

	/* what it is for; changed under control and the pool's lock */
	Oid			database;
	Oid			owner;
	char		flow[NAMEDATALEN];
	char		executor[NAMEDATALEN];
	int			shard;
	int			shards;			/* of a sync: its number */
	int			wanted;
	int			scouted;		/* the scout that has last seen it */

	/*
	 * Posts that refer to the entry.  One that was planned with the pool
	 * shall end with it: while there are holders the pool is not closed for
	 * want of use.
	 */
	pg_atomic_uint32 holders;

	/* the queue */
	int			head;
	int			tail;
	int			length;
	uint64		round;			/* of the request last taken */

	/* several requests as one call */
	int			batch_size;		/* documents; 0: never */
	int64		batch_wait_us;
	int			batch_docs;		/* of all that may be joined in the queue */
	int			watcher;		/* replica that looks again when the queue has
								 * waited long enough, or JFLOW_NONE */

	/* the replicas */
	int			idle;			/* top of the stack */
	int			running;		/* connected, and not about to leave */
	int			starting;
	TimestampTz restart_before; /* replicas started earlier are replaced */

	/* of a sync: who waits until its table is in step */
	uint64		asked;
	uint64		answered;
	bool		answered_well;	/* nothing was wrong then */

	/* what is in the way of a start */
	int			failures;		/* in a row */
	TimestampTz next_start;		/* not before */
	bool		blocked;		/* cannot start at all, for the reason */
	char		reason[JFLOW_REASON_LEN];
} JflowPool;

typedef enum JflowReplicaState
{
	REPLICA_FREE,
	REPLICA_STARTING,
	REPLICA_IDLE,
	REPLICA_BUSY
} JflowReplicaState;

typedef struct JflowReplica
{
	JflowReplicaState state;
	uint32		generation;
	int			pool;
	int			number;			/* within the pool, from 0 */
	int			pid;			/* 0: not yet known */
	int			proc;			/* its process number */
	bool		stop;			/* shall leave after this request */
	bool		on_idle_stack;
	int			next_idle;
	int			slot;			/* that it runs; the first of several */
	bool		split;			/* it shall run them one by one */
	TimestampTz started;
	TimestampTz since;			/* of the state */

	/* statistics */
	int64		requests;
	int64		docs;
	int64		errors;
	int64		busy_us;
	int64		post;
	int64		request;
	char		endpoint[NAMEDATALEN];
	int			last_sqlstate;	/* of last_error */
	char		last_error[JFLOW_REASON_LEN];
} JflowReplica;

typedef struct JflowDatabase
{
	Oid			database;		/* InvalidOid: free */
	uint64		dirty;			/* changes committed */
	int			committing;		/* changes that may be seen already */
	uint64		scouted;		/* of them seen by a scout */
	int			blocked;		/* statements that need it to be left alone */
	int			started;		/* flows that are started */
	bool		no_room;		/* the last scout found no entry for a pool */
	int			failures;		/* of scouts, in a row */
	TimestampTz next_scout;
} JflowDatabase;

/* One per process: where the answers to its requests arrive. */
typedef struct JflowGatewayEntry
{
	pg_atomic_uint32 done;		/* list of slots + 1, 0: empty */
	pg_atomic_uint32 outstanding;
	pg_atomic_uint32 wake_at;	/* set the latch at so many outstanding */
	pg_atomic_uint32 wants_memory;
} JflowGatewayEntry;

/* What the posts of a role to a flow have on their way; see share.c. */
typedef struct JflowShare
{
	Oid			role;
	uint32		flow;			/* hash of its name */
	int			slots;
	int64		bytes;
} JflowShare;

/* How a call or a post has ended. */
typedef enum JflowCountKind
{
	COUNT_OK,
	COUNT_ERROR,
	COUNT_CANCELED,				/* by its poster or a limit of time */
	JFLOW_NKINDS
} JflowCountKind;

/* What an executor has done for an endpoint; without executor, whole posts. */
typedef struct JflowEndpoint
{
	slock_t		mutex;
	Oid			database;		/* InvalidOid: free */
	Oid			owner;			/* of the flow */
	uint32		generation;		/* grows when the entry is used anew */
	TimestampTz used;			/* when it was last looked up or counted in */
	char		flow[NAMEDATALEN];
	char		executor[NAMEDATALEN];
	char		endpoint[NAMEDATALEN];
	int64		counts[JFLOW_NKINDS];	/* by JflowCountKind */
	int64		docs;
	int64		run_us;
	int64		calls;			/* that may be for several requests */
	int64		calls_failed;
	int64		joined;			/* requests beyond the first of a call */
	int64		call_docs;
	int64		waited;			/* of them came through a queue */
	int64		wait_us;
	int64		run_buckets[JFLOW_BUCKETS]; /* by log2 of microseconds */
	int64		wait_buckets[JFLOW_BUCKETS];
} JflowEndpoint;

/* What an executor counts of its own; changed under control, but for the tally. */
typedef struct JflowTallyEntry
{
	Oid			database;		/* InvalidOid: free */
	Oid			owner;			/* of the flow */
	TimestampTz used;			/* when it was last looked up */
	char		flow[NAMEDATALEN];
	char		executor[NAMEDATALEN];
	char		class[NAMEDATALEN]; /* whose counters they are */
	JflowTally	tally;
} JflowTallyEntry;

typedef struct JflowShared
{
	LWLock		control;
	int			launcher_pid;
	int			launcher_proc;
	bool		rescan;			/* look at all databases */
	int			unseen;			/* of them have no entry yet */
	bool		no_slot;		/* for a scout, when last tried */
	bool		disabled;		/* jflow.enabled is off */
	int			scout_pid;
	Oid			scout_database;
	TimestampTz scout_started;
	int			scout_round;
	uint64		withdrawals;	/* commits that want fewer workers, in all
								 * databases */
	TimestampTz crashed;		/* the last crash was before; DT_NOBEGIN: what
								 * was before ended well */
	ConditionVariable changed;	/* pools or replicas have */

	slock_t		slots_mutex;	/* protects these and the shares */
	int			free_slot;
	int			slots_used;
	JflowShare	shares[JFLOW_MAX_SHARES];

	pg_atomic_uint64 post_id;
	pg_atomic_uint64 payload_in;
	pg_atomic_uint64 payload_chain;
	pg_atomic_uint64 payload_total;
	pg_atomic_uint64 payload_peak;
	pg_atomic_uint32 payload_waiters;

	JflowDatabase databases[JFLOW_MAX_DATABASES];
} JflowShared;

extern JflowShared *jflow_shared;	/* NULL: not preloaded */
extern JflowPool *jflow_pools;
extern JflowReplica *jflow_replicas;
extern JflowSlot *jflow_slots;
extern JflowGatewayEntry *jflow_gateways;
extern JflowEndpoint *jflow_endpoints;
extern JflowTallyEntry *jflow_tallies;
extern void *jflow_payload_place;

#define jflow_max_pools jflow_max_replicas

extern void jflow_shmem_request(void);
extern void jflow_shmem_init(void);
extern int	jflow_gateway_count(void);
extern void jflow_clip(char *to, const char *from, int size);
extern void jflow_wake_process(int proc);
extern void jflow_wake_launcher(void);

#endif							/* JFLOW_SHMEM_H */
