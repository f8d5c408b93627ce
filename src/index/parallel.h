/*
 * parallel.h
 *		What builds with parallel workers have in common.
 */
#ifndef INDEX_PARALLEL_H
#define INDEX_PARALLEL_H

#include "access/parallel.h"
#include "storage/condition_variable.h"
#include "storage/spin.h"

extern void *ix_share(shm_toc *toc, uint64 key, const void *data, Size size);
extern void ix_wait_until_done(ParallelContext *context, slock_t *mutex, const int *done, int all,
							   ConditionVariable *finished);

#endif							/* INDEX_PARALLEL_H */
