/*
 * tally.h
 *		What executors count of their own.
 */
#ifndef JFLOW_TALLY_H
#define JFLOW_TALLY_H

#include "flow/context.h"
#include "runtime/shared/shmem.h"

extern JflowTally *jflow_tally_find(const char *flow, const JflowExecutor *executor, Oid owner);
extern void jflow_tally_init(JflowTallyEntry *entry);
extern void jflow_tally_clear(JflowTallyEntry *entry);
extern void jflow_tally_forget(Oid database, const char *flow);

#endif							/* JFLOW_TALLY_H */
