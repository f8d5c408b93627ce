/*
 * stats.h
 *		What executors and endpoints have done, in shared memory.
 */
#ifndef JFLOW_STATS_H
#define JFLOW_STATS_H

extern int	jflow_stat_find(const char *flow, const char *executor, const char *endpoint);
extern void jflow_stat_count(int stat, int docs, int64 us, bool error);

#endif							/* JFLOW_STATS_H */
