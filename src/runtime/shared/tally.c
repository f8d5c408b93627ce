/*
 * tally.c
 *		What executors count of their own, in shared memory.
 *
 * An entry is found by name and then counted into without a lock.  It is given to
 * another executor only if its flow is dropped, or where all are taken, the one
 * that was looked up longest ago; who still counts into it then spoils a number
 * and may pause another's executor once, which is bounded where it is read.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "compat.h"
#include "runtime/shared/tally.h"

/* Without shared memory a process has its own. */
static JflowTallyEntry own;

/* For the start of the server. */
void
jflow_tally_init(JflowTallyEntry *entry)
{
	for (int i = 0; i < JFLOW_MAX_COUNTERS; i++)
		pg_atomic_init_u64(&entry->tally.counts[i], 0);
	pg_atomic_init_u64(&entry->tally.pause_until, 0);
}

/* Forget what was counted. */
void
jflow_tally_clear(JflowTallyEntry *entry)
{
	for (int i = 0; i < JFLOW_MAX_COUNTERS; i++)
		pg_atomic_write_u64(&entry->tally.counts[i], 0);
}

static bool
is_of(const JflowTallyEntry *entry, const char *flow, const char *executor)
{
	return entry->database == MyDatabaseId && strcmp(entry->executor, executor) == 0 &&
		strcmp(entry->flow, flow) == 0;
}

/*
 * The entry of an executor, or one to use anew.  An owner who has many takes one
 * of his own, so that nobody can push out what others count.
 */
static JflowTallyEntry *
choose(const char *flow, const char *executor, Oid owner)
{
	JflowTallyEntry *oldest = NULL;
	JflowTallyEntry *own_oldest = NULL;
	int			nown = 0;

	for (int i = 0; i < JFLOW_MAX_TALLIES; i++)
	{
		JflowTallyEntry *entry = &jflow_tallies[i];

		if (is_of(entry, flow, executor))
			return entry;
		if (oldest == NULL || entry->used < oldest->used)
			oldest = entry;
		if (OidIsValid(entry->database) && entry->owner == owner)
		{
			nown++;
			if (own_oldest == NULL || entry->used < own_oldest->used)
				own_oldest = entry;
		}
	}
	if (OidIsValid(oldest->database) && nown >= JFLOW_MAX_TALLIES / 8)
		return own_oldest;
	return oldest;
}

/*
 * Where an executor of this database counts; NULL if its class has no counters.
 */
JflowTally *
jflow_tally_find(const char *flow, const JflowExecutor *executor, Oid owner)
{
	static int	last = 0;
	JflowTallyEntry *entry;

	if (executor->class == NULL || executor->class->counters == NULL)
		return NULL;
	if (jflow_shared == NULL)
		return &own.tally;
	LWLockAcquire(&jflow_shared->control, LW_SHARED);
	entry = &jflow_tallies[last];
	if (!is_of(entry, flow, executor->name))
	{
		LWLockRelease(&jflow_shared->control);
		LWLockAcquire(&jflow_shared->control, LW_EXCLUSIVE);
		entry = choose(flow, executor->name, owner);
		if (!is_of(entry, flow, executor->name))
		{
			strlcpy(entry->flow, flow, NAMEDATALEN);
			strlcpy(entry->executor, executor->name, NAMEDATALEN);
			strlcpy(entry->class, executor->class->name, NAMEDATALEN);
			entry->owner = owner;
			entry->database = MyDatabaseId;
			jflow_tally_clear(entry);
			pg_atomic_write_u64(&entry->tally.pause_until, 0);
		}
		entry->used = GetCurrentTimestamp();
		last = entry - jflow_tallies;
	}
	LWLockRelease(&jflow_shared->control);
	return &entry->tally;
}

/*
 * A database is gone, or a flow of it (NULL: all).  The caller holds the control
 * lock.
 */
void
jflow_tally_forget(Oid database, const char *flow)
{
	for (int i = 0; i < JFLOW_MAX_TALLIES; i++)
	{
		JflowTallyEntry *entry = &jflow_tallies[i];

		if (entry->database == database && (flow == NULL || strcmp(entry->flow, flow) == 0))
		{
			entry->database = InvalidOid;
			entry->used = 0;
		}
	}
}
