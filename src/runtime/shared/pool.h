/*
 * pool.h
 *		Request slots, the queues they wait in, and the replicas that take them.
 */
#ifndef JFLOW_POOL_H
#define JFLOW_POOL_H

#include "runtime/shared/post_shared.h"

extern int	jflow_slot_take(void);
extern void jflow_slot_free(int slot);
extern bool jflow_slot_give_up(int slot, bool abandon, bool *wrote);
extern void jflow_slot_measure(int slot);
extern void jflow_slot_publish(int slot, JflowOutcome outcome);

extern bool jflow_pool_put(JflowPoolRef *ref, int slot);
extern int	jflow_pool_next(int replica, int64 *wait_us);
extern void jflow_pool_return(int replica, int slot, bool alone);
extern bool jflow_pool_split(int slot);
extern bool jflow_pool_commit(int replica);
extern void jflow_pool_nested_write(int replica);
extern void jflow_pool_end(int replica, int next_pool_step);
extern TimestampTz jflow_retry_at(int failures);
extern void jflow_pool_leave(int replica, bool failed);
extern void jflow_pool_flush(int pool, const char *reason);
extern bool jflow_pool_any(const char *flow, const char *executor);
extern int	jflow_pool_find(const char *flow, const char *executor, int shard, JflowPoolRef *ref);

#endif							/* JFLOW_POOL_H */
