/*
 * counters.h
 *		What executors and endpoints have done, in shared memory.
 */
#ifndef JFLOW_COUNTERS_H
#define JFLOW_COUNTERS_H

#include "runtime/shared/shmem.h"

/* Where calls are counted; entry JFLOW_NONE: nowhere. */
typedef struct JflowStat
{
	int			entry;
	uint32		generation;
} JflowStat;

/* One call of an executor, or one post. */
typedef struct JflowCount
{
	JflowCountKind kind;
	TimestampTz ended;
	int64		docs;
	int64		run_us;
	int64		wait_us;		/* -1: it was in no queue */
} JflowCount;

extern bool jflow_stat_recall(const char *flow, const char *executor, const char *endpoint,
							  JflowStat *stat);
extern JflowStat jflow_stat_find(const char *flow, const char *executor, const char *endpoint, Oid owner);
extern void jflow_stat_count(JflowStat stat, const JflowCount *count);
extern void jflow_stat_count_call(JflowStat stat, int requests, int64 docs);
extern JflowCountKind jflow_count_kind(int sqlerrcode);
extern void jflow_stat_clear(JflowEndpoint *entry);
extern void jflow_stat_forget(Oid database, const char *flow);

#endif							/* JFLOW_COUNTERS_H */
