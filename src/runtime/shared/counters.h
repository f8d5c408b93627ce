/*
 * counters.h
 *		What executors and endpoints have done, in shared memory.
 */
#ifndef JFLOW_COUNTERS_H
#define JFLOW_COUNTERS_H

/* Where calls are counted; entry JFLOW_NONE: nowhere. */
typedef struct JflowStat
{
	int			entry;
	uint32		generation;
} JflowStat;

extern JflowStat jflow_stat_find(const char *flow, const char *executor, const char *endpoint, Oid owner);
extern void jflow_stat_count(JflowStat stat, int docs, int64 us, bool error);
extern void jflow_stat_forget(Oid database);

#endif							/* JFLOW_COUNTERS_H */
