/*
 * idlock.c
 *		Locks that order writers of ids.
 *
 * Ids are locked by a hash of 48 bits, in the tag of a database object of the class
 * of what stores them; two ids of one hash wait for each other without need.  What
 * stores them has a lock of its own, its layout: who locks ids has that first, in
 * RowExclusiveLock, or in ExclusiveLock, which keeps all others out and stands for
 * the locks of all ids.  All of them last until the end of the transaction.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/lmgr.h"

#include "common/idlock.h"
#include "common/xact.h"
#include "compat.h"

#define MANY_IDS (4 * max_locks_per_xact)	/* of a request */
#define MANY_IDS_INLINE 16		/* of a request that others will follow */

/* Id locks of this transaction, of all that stores ids. */
static int	held = 0;

static void
forget_held(XactEvent event, void *arg)
{
	held = 0;
}

/*
 * The mode in which a request locks the layout: so as to keep all others out if its
 * ids would fill the lock table, or if requests that follow in this transaction
 * would, which is then not left to an upgrade that could deadlock.  A transaction
 * that has begun with single ids goes on so as long as there is room.  "alone": no
 * others will follow.
 */
LOCKMODE
jflow_idlock_mode(int nids, bool alone)
{
	if (held > 0 && held + nids <= MANY_IDS)
		return RowExclusiveLock;
	return nids > (alone ? MANY_IDS : MANY_IDS_INLINE) ? ExclusiveLock : RowExclusiveLock;
}

static int
number_order(const void *a, const void *b)
{
	uint64		na = *(const uint64 *) a;
	uint64		nb = *(const uint64 *) b;

	return (na > nb) - (na < nb);
}

static uint64
number_of(uint64 hash)
{
	return ((hash >> 32) << 16) |
		(JFLOW_IDLOCK_FIRST_PART + (hash & PG_UINT32_MAX) % (PG_UINT16_MAX - JFLOW_IDLOCK_FIRST_PART));
}

/* Lock a number, and count it; false: another one has it, and we do not wait. */
static bool
lock_number(const LOCKTAG *layout, uint64 number, bool wait)
{
	LOCKTAG		tag;
	LockAcquireResult result;

	SET_LOCKTAG_OBJECT(tag, layout->locktag_field1, layout->locktag_field2,
					   (uint32) (number >> 16), (uint16) number);
	result = LockAcquire(&tag, ExclusiveLock, false, !wait);
	held += result == LOCKACQUIRE_OK;
	return result != LOCKACQUIRE_NOT_AVAIL;
}

/*
 * Lock ids, given by hashes, against all other writers, in one order whoever does.
 * The layout must have been locked in the mode of jflow_idlock_mode; it is locked
 * in ExclusiveLock where there would be too many locks.
 */
void
jflow_idlock_all(const LOCKTAG *layout, const uint64 *hashes, int n)
{
	uint64	   *numbers;

	if (LockHeldByMeCompat(layout, ExclusiveLock))
		return;
	if (held + n > 2 * MANY_IDS)
	{
		(void) LockAcquire(layout, ExclusiveLock, false, false);
		return;
	}
	jflow_at_transaction_end(XACT_END_LOCKS, forget_held);
	numbers = palloc(sizeof(uint64) * Max(n, 1));
	for (int i = 0; i < n; i++)
		numbers[i] = number_of(hashes[i]);
	qsort(numbers, n, sizeof(uint64), number_order);
	for (int i = 0; i < n; i++)
		if (i == 0 || numbers[i] != numbers[i - 1])
			(void) lock_number(layout, numbers[i], true);
	pfree(numbers);
}

/*
 * Lock one id unless another one has it, or there is no room for more locks.  False:
 * it is not locked.  The layout must have been locked.
 */
bool
jflow_idlock_try(const LOCKTAG *layout, uint64 hash)
{
	jflow_at_transaction_end(XACT_END_LOCKS, forget_held);
	return held < 2 * MANY_IDS && lock_number(layout, number_of(hash), false);
}
