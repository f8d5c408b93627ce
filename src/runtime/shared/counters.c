/*
 * counters.c
 *		What executors and endpoints have done, in shared memory.
 *
 * An entry is found once a post and then counted into under its spinlock.  It may
 * be given to another endpoint meanwhile, so whoever counts brings the generation
 * that it was found with.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/pg_bitutils.h"

#include "compat.h"
#include "runtime/shared/counters.h"
#include "runtime/shared/share.h"
#include "settings.h"

/* Endpoints of one executor that are counted by name; the others are as one. */
#define MAX_ENDPOINTS_PER_EXECUTOR 16
#define OTHER_ENDPOINTS "(others)"

/* What find_entry has seen on its way. */
typedef struct EntriesSeen
{
	int			unused;			/* one of them */
	int			nunused;
	int			of_executor;
	int			of_flow;
	int			of_owner;
	int			oldest;			/* of the owner's */
} EntriesSeen;

/* The caller holds the control lock. */
static int
find_entry(const char *flow, const char *executor, const char *key, Oid owner, EntriesSeen *seen)
{
	memset(seen, 0, sizeof(*seen));
	seen->unused = seen->oldest = JFLOW_NONE;
	for (int i = 0; i < JFLOW_MAX_ENDPOINTS; i++)
	{
		JflowEndpoint *entry = &jflow_endpoints[i];
		bool		same = entry->database == MyDatabaseId && strcmp(entry->flow, flow) == 0;

		if (!OidIsValid(entry->database))
		{
			seen->unused = i;
			seen->nunused++;
			continue;
		}
		if (entry->owner == owner)
		{
			seen->of_owner++;
			if (seen->oldest == JFLOW_NONE || entry->used < jflow_endpoints[seen->oldest].used)
				seen->oldest = i;
		}
		seen->of_flow += same;
		same = same && strcmp(entry->executor, executor) == 0;
		seen->of_executor += same;
		if (same && strcmp(entry->endpoint, key) == 0)
			return i;
	}
	return JFLOW_NONE;
}

/*
 * An entry to use anew: an unused one while the owner has less than his share,
 * else the one of his own that was looked up longest ago.
 */
static int
choose_entry(const EntriesSeen *seen)
{
	JflowStock	stock = {JFLOW_MAX_ENDPOINTS, seen->nunused, JFLOW_MAX_ENDPOINTS / 10};
	JflowUse	use = {seen->of_owner, seen->of_flow};

	if (seen->unused != JFLOW_NONE && jflow_share_allows(&stock, 1, &use))
		return seen->unused;
	return seen->oldest;
}

static void
use_entry(JflowEndpoint *entry, const char *flow, const char *executor, const char *key, Oid owner)
{
	SpinLockAcquire(&entry->mutex);
	strlcpy(entry->flow, flow, NAMEDATALEN);
	strlcpy(entry->executor, executor, NAMEDATALEN);
	strlcpy(entry->endpoint, key, NAMEDATALEN);
	entry->owner = owner;
	entry->database = MyDatabaseId;
	entry->generation++;
	entry->count = entry->errors = entry->docs = entry->total_us = 0;
	memset(entry->buckets, 0, sizeof(entry->buckets));
	SpinLockRelease(&entry->mutex);
}

/*
 * The entry of an endpoint, or none.  A poster can invent endpoints, and an owner
 * flows: neither can take what others are counted in.
 */
JflowStat
jflow_stat_find(const char *flow, const char *executor, const char *endpoint, Oid owner)
{
	char		key[NAMEDATALEN];
	EntriesSeen seen;
	JflowStat	result = {JFLOW_NONE, 0};

	jflow_clip(key, endpoint, NAMEDATALEN);
	LWLockAcquire(&jflow_shared->control, LW_EXCLUSIVE);
	result.entry = find_entry(flow, executor, key, owner, &seen);
	if (result.entry == JFLOW_NONE && seen.of_executor >= MAX_ENDPOINTS_PER_EXECUTOR - 1)
	{
		strcpy(key, OTHER_ENDPOINTS);
		result.entry = find_entry(flow, executor, key, owner, &seen);
	}
	if (result.entry == JFLOW_NONE)
	{
		result.entry = choose_entry(&seen);
		if (result.entry != JFLOW_NONE)
			use_entry(&jflow_endpoints[result.entry], flow, executor, key, owner);
	}
	if (result.entry != JFLOW_NONE)
	{
		result.generation = jflow_endpoints[result.entry].generation;
		jflow_endpoints[result.entry].used = ++jflow_shared->stat_clock;
	}
	LWLockRelease(&jflow_shared->control);
	return result;
}

/* Count one call, unless the entry has been given to another endpoint since. */
void
jflow_stat_count(JflowStat stat, int docs, int64 us, bool error)
{
	JflowEndpoint *entry;

	if (stat.entry == JFLOW_NONE)
		return;
	entry = &jflow_endpoints[stat.entry];
	SpinLockAcquire(&entry->mutex);
	if (entry->generation == stat.generation)
	{
		entry->count++;
		entry->errors += error;
		entry->docs += docs;
		entry->total_us += us;
		entry->buckets[Min(us > 0 ? pg_leftmost_one_pos64((uint64) us) : 0, JFLOW_BUCKETS - 1)]++;
	}
	SpinLockRelease(&entry->mutex);
}

/* A database is gone.  The caller holds the control lock. */
void
jflow_stat_forget(Oid database)
{
	for (int i = 0; i < JFLOW_MAX_ENDPOINTS; i++)
		if (jflow_endpoints[i].database == database)
		{
			SpinLockAcquire(&jflow_endpoints[i].mutex);
			jflow_endpoints[i].database = InvalidOid;
			jflow_endpoints[i].generation++;
			SpinLockRelease(&jflow_endpoints[i].mutex);
		}
}
