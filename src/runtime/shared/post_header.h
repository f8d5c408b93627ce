/*
 * post_header.h
 *		What all requests of a post share, in one chunk of payload memory.
 */
#ifndef JFLOW_POST_HEADER_H
#define JFLOW_POST_HEADER_H

#include "runtime/shared/payload.h"
#include "runtime/shared/shmem.h"

typedef struct JflowPoolRef
{
	int			pool;			/* JFLOW_NONE: there is none */
	uint32		generation;
	uint64		round;			/* of the post's last request in its queue;
								 * under the pool's lock */
} JflowPoolRef;

typedef struct JflowHeaderStep
{
	int			next;			/* step to hand answers on to, or JFLOW_NONE */
	int			stages;			/* that the next step's requests run */
	bool		idempotent;
	int			retries;
	int64		timeout_ms;
	int			shards;
	Size		pools;			/* offset of an array of JflowPoolRef; 0: none */
	Size		parameters;		/* offset of a Jsonb */
} JflowHeaderStep;

typedef struct JflowHeader
{
	JflowPayload payload;		/* the chunk's own prefix */
	pg_atomic_uint32 refs;		/* the post, and each of its slots */
	uint64		id;
	int64		post;
	bool		read_only;
	TimestampTz deadline;		/* DT_NOEND: none */
	Oid			database;
	int			nchain;			/* pools that wait for this post */
	int			chain[JFLOW_MAX_CHAIN];
	int			nsteps;
	Size		endpoint;		/* offset */
	JflowHeaderStep steps[FLEXIBLE_ARRAY_MEMBER];
} JflowHeader;

#define HEADER_AT(header, offset) ((char *) (header) + (offset))
#define HEADER_POOLS(header, step) \
	((JflowPoolRef *) HEADER_AT(header, (header)->steps[step].pools))

extern JflowHeader *jflow_header(dsa_pointer chunk);
extern void jflow_header_pin(dsa_pointer chunk);
extern void jflow_header_unpin(dsa_pointer chunk);
extern bool jflow_header_hold(JflowHeader *header);
extern void jflow_header_let_go(JflowHeader *header, int nsteps);

#endif							/* JFLOW_POST_HEADER_H */
