/*
 * remote_locks.c
 *		Locks of this server on what is on others.
 *
 * Their class is a table of ours, and those of real objects are system catalogs, so
 * the tags are nobody else's.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/resowner.h"

#include "executors/remote/remote.h"

typedef enum Part
{
	PART_LAYOUT,
	PART_STEPS,
	PART_SNAPSHOTS
} Part;

static LOCKTAG
tag_of(uint32 hash, Part part)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, jflow_catalog_relid("remote_move"), hash, part);
	return tag;
}

static uint32
hash_of(const char *flow, const char *executor)
{
	return hash_combine(string_hash(flow, NAMEDATALEN), string_hash(executor, NAMEDATALEN));
}

/* The layout of an executor's ids, for idlock.h. */
LOCKTAG
remote_layout(const char *flow, const char *executor)
{
	return tag_of(hash_of(flow, executor), PART_LAYOUT);
}

/* What a step of moving has, so that there is one at a time. */
LOCKTAG
remote_steps(const char *flow, const char *executor)
{
	return tag_of(hash_of(flow, executor), PART_STEPS);
}

/*
 * What transactions hold that keep a snapshot on another server, whichever executor
 * it was for: such a one sees nothing of what is moved to that server later.
 */
LOCKTAG
remote_snapshots(void)
{
	return tag_of(0, PART_SNAPSHOTS);
}

/*
 * Show until the end of the transaction that there is something, also if a savepoint
 * before it is undone: what was seen meanwhile may be remembered.  Nobody takes what
 * conflicts with it.
 */
static void
show(const LOCKTAG *tag)
{
	ResourceOwner owner = CurrentResourceOwner;

	CurrentResourceOwner = TopTransactionResourceOwner;
	(void) LockAcquire(tag, AccessShareLock, false, false);
	CurrentResourceOwner = owner;
}

/* For jflow_post: there is one. */
void
remote_posting(const char *flow, const char *executor)
{
	LOCKTAG		layout = remote_layout(flow, executor);

	show(&layout);
}

/* There is a transaction that keeps a snapshot on another server. */
void
remote_keeping_snapshot(void)
{
	LOCKTAG		snapshots = remote_snapshots();

	show(&snapshots);
}
