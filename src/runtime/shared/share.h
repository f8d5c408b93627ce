/*
 * share.h
 *		Fair shares: what one role, or one flow of it, may take of what all use.
 */
#ifndef JFLOW_SHARE_H
#define JFLOW_SHARE_H

#include "runtime/shared/shmem.h"

/* Things that all roles take from, in whatever unit. */
typedef struct JflowStock
{
	int64		total;
	int64		free;
	int64		reserve;		/* of them kept for who has little */
} JflowStock;

/* What is taken already by who wants more. */
typedef struct JflowUse
{
	int64		role;			/* by the role, the flow included */
	int64		flow;
} JflowUse;

extern bool jflow_share_is_plenty(const JflowStock *stock, int64 want);
extern bool jflow_share_allows(const JflowStock *stock, int64 want, const JflowUse *use);

extern void jflow_share_begin(const char *flow);
extern int	jflow_share_take_slot(void);
extern void jflow_share_free_slot(int share);
extern int	jflow_share_take_bytes(int64 size, const JflowStock *stock);
extern void jflow_share_free_bytes(int share, int64 size);

extern JflowStock jflow_share_replicas(void);
extern int	jflow_share_replicas_of(Oid owner);

#endif							/* JFLOW_SHARE_H */
