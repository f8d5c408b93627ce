/*
 * parallel.c
 *		What builds with parallel workers have in common.
 */
#include "postgres.h"

#include "utils/wait_event.h"

#include "index/parallel.h"

/*
 * Room in shared memory that workers find by a key, with a copy of data if that is
 * not NULL.
 */
void *
ix_share(shm_toc *toc, uint64 key, const void *data, Size size)
{
	void	   *copy = shm_toc_allocate(toc, size);

	if (data)
		memcpy(copy, data, size);
	shm_toc_insert(toc, key, copy);
	return copy;
}

/*
 * Wait until all participants are done, as each counts under the mutex before it
 * signals that it has finished.  Raises if a worker fails or did not start.
 */
void
ix_wait_until_done(ParallelContext *context, slock_t *mutex, const int *done, int all, ConditionVariable *finished)
{
	WaitForParallelWorkersToAttach(context);
	ConditionVariablePrepareToSleep(finished);
	for (;;)
	{
		int			now;

		SpinLockAcquire(mutex);
		now = *done;
		SpinLockRelease(mutex);
		if (now == all)
			break;
		ConditionVariableSleep(finished, WAIT_EVENT_PARALLEL_CREATE_INDEX_SCAN);
	}
	ConditionVariableCancelSleep();
}
