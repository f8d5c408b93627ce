/*
 * post_shared.h
 *		What all requests of a post share, in one chunk of payload memory.
 */
#ifndef JFLOW_POST_SHARED_H
#define JFLOW_POST_SHARED_H

#include "runtime/shared/payload.h"
#include "runtime/shared/shmem.h"

typedef struct JflowPoolRef
{
	int			pool;			/* JFLOW_NONE: there is none */
	uint32		generation;
	uint64		round;			/* of the post's last request in its queue;
								 * under the pool's lock */
} JflowPoolRef;

typedef struct JflowSharedStep
{
	int			next;			/* step to hand answers on to, or JFLOW_NONE */
	int			stages;			/* that the next step's requests run */
	bool		idempotent;
	int			retries;
	int64		timeout_ms;
	bool		batched;		/* each document is answered by itself */
	uint64		batch_key;		/* equal for what may be run together; 0: none */
	int			shards;
	Size		pools;			/* offset of an array of JflowPoolRef; 0: none */
	Size		parameters;		/* offset of a Jsonb */
} JflowSharedStep;

typedef struct JflowPostShared
{
	JflowPayload payload;		/* the chunk's own prefix */
	pg_atomic_uint32 refs;		/* the post, and each of its slots */
	uint64		id;
	int64		post;
	bool		read_only;
	bool		plans;			/* asked for, by who may see them */
	TimestampTz deadline;		/* DT_NOEND: none */
	Oid			database;
	int			nchain;			/* pools that wait for this post */
	int			chain[JFLOW_MAX_CHAIN];
	int			nsteps;
	Size		endpoint;		/* offset */
	JflowSharedStep steps[FLEXIBLE_ARRAY_MEMBER];
} JflowPostShared;

#define SHARED_AT(shared, offset) ((char *) (shared) + (offset))
#define SHARED_POOLS(shared, step) \
	((JflowPoolRef *) SHARED_AT(shared, (shared)->steps[step].pools))

extern JflowPostShared *jflow_post_shared(dsa_pointer chunk);
extern void jflow_post_shared_pin(dsa_pointer chunk);
extern void jflow_post_shared_unpin(dsa_pointer chunk);
extern bool jflow_post_shared_hold(JflowPostShared *shared);
extern uint64 jflow_post_shared_batch_key(JflowPostShared *shared, int n);
extern bool jflow_post_shared_alike(JflowPostShared *a, int na, JflowPostShared *b, int nb);
extern void jflow_post_shared_let_go(JflowPostShared *shared, int nsteps);

#endif							/* JFLOW_POST_SHARED_H */
