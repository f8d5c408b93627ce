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
#include "runtime/shared/tally.h"
#include "settings.h"

/* Endpoints of one executor that are counted by name; the others are as one. */
#define MAX_ENDPOINTS_PER_EXECUTOR 16
#define OTHER_ENDPOINTS "(others)"

/* Entries that an owner can always have. */
#define FEW_ENTRIES 16

/* What find_entry has seen on its way. */
typedef struct EntriesSeen
{
	int			unused;			/* one of them */
	int			nunused;
	int			of_executor;
	int			of_flow;
	int			of_owner;
	int			oldest;			/* of the owner's */
	int			oldest_of_all;
} EntriesSeen;

/* The caller holds the control lock. */
static int
find_entry(const char *flow, const char *executor, const char *key, Oid owner, EntriesSeen *seen)
{
	memset(seen, 0, sizeof(*seen));
	seen->unused = seen->oldest = seen->oldest_of_all = JFLOW_NONE;
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
		if (seen->oldest_of_all == JFLOW_NONE ||
			entry->used < jflow_endpoints[seen->oldest_of_all].used)
			seen->oldest_of_all = i;
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
 * else the one of his own that was used longest ago.  An owner who has few gets
 * the one of all that was: flows that were dropped leave theirs.
 */
static int
choose_entry(const EntriesSeen *seen)
{
	JflowStock	stock = {JFLOW_MAX_ENDPOINTS, seen->nunused, JFLOW_MAX_ENDPOINTS / 10};
	JflowUse	use = {seen->of_owner, seen->of_flow};

	if (seen->unused != JFLOW_NONE && jflow_share_allows(&stock, 1, &use))
		return seen->unused;
	return seen->of_owner < FEW_ENTRIES ? seen->oldest_of_all : seen->oldest;
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
	jflow_stat_clear(entry);
	SpinLockRelease(&entry->mutex);
}

/* Forget what was counted.  The caller holds the entry's spinlock. */
void
jflow_stat_clear(JflowEndpoint *entry)
{
	memset(entry->counts, 0, sizeof(entry->counts));
	entry->docs = entry->run_us = entry->waited = entry->wait_us = 0;
	entry->calls = entry->calls_failed = entry->joined = entry->call_docs = 0;
	memset(entry->run_buckets, 0, sizeof(entry->run_buckets));
	memset(entry->wait_buckets, 0, sizeof(entry->wait_buckets));
}

/* What this process looked up before, so that a post costs no search. */
typedef struct Recalled
{
	JflowStat	stat;
	char		flow[NAMEDATALEN];
	char		executor[NAMEDATALEN];
	char		endpoint[NAMEDATALEN];
} Recalled;

#define RECALLED 16

static Recalled recalled[RECALLED];
static int	next_recalled = 0;

/*
 * Find an entry that this process has found before.  Returns false if it has not,
 * or if the entry has been given away since.  Takes no lock.
 */
bool
jflow_stat_recall(const char *flow, const char *executor, const char *endpoint, JflowStat *stat)
{
	for (int i = 0; i < RECALLED; i++)
	{
		Recalled   *one = &recalled[i];

		if (one->flow[0] == '\0' || strcmp(one->endpoint, endpoint) != 0 ||
			strcmp(one->executor, executor) != 0 || strcmp(one->flow, flow) != 0)
			continue;
		*stat = one->stat;
		return jflow_endpoints[one->stat.entry].generation == one->stat.generation;
	}
	return false;
}

/* Endpoints that do not fit are looked up each time. */
static void
remember(const char *flow, const char *executor, const char *endpoint, JflowStat stat)
{
	Recalled   *one = &recalled[next_recalled];

	if (stat.entry == JFLOW_NONE || strlen(endpoint) >= NAMEDATALEN)
		return;
	for (int i = 0; i < RECALLED; i++)
		if (strcmp(recalled[i].endpoint, endpoint) == 0 &&
			strcmp(recalled[i].executor, executor) == 0 && strcmp(recalled[i].flow, flow) == 0)
			one = &recalled[i];
	if (one == &recalled[next_recalled])
		next_recalled = (next_recalled + 1) % RECALLED;
	strlcpy(one->flow, flow, NAMEDATALEN);
	strlcpy(one->executor, executor, NAMEDATALEN);
	strlcpy(one->endpoint, endpoint, NAMEDATALEN);
	one->stat = stat;
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
		jflow_endpoints[result.entry].used = GetCurrentTimestamp();
	}
	LWLockRelease(&jflow_shared->control);
	remember(flow, executor, endpoint, result);
	return result;
}

/* How a call has ended that has raised this. */
JflowCountKind
jflow_count_kind(int sqlerrcode)
{
	return sqlerrcode == ERRCODE_QUERY_CANCELED ? COUNT_CANCELED : COUNT_ERROR;
}

/* Bucket i is for less than 2^i microseconds. */
static int
bucket(int64 us)
{
	return us > 0 ? Min(pg_leftmost_one_pos64((uint64) us) + 1, JFLOW_BUCKETS - 1) : 0;
}

/* Count one call, unless the entry has been given to another endpoint since. */
void
jflow_stat_count(JflowStat stat, const JflowCount *count)
{
	JflowEndpoint *entry;

	if (stat.entry == JFLOW_NONE)
		return;
	entry = &jflow_endpoints[stat.entry];
	SpinLockAcquire(&entry->mutex);
	if (entry->generation == stat.generation)
	{
		entry->counts[count->kind]++;
		entry->used = count->ended;
		entry->docs += count->docs;
		entry->run_us += count->run_us;
		entry->run_buckets[bucket(count->run_us)]++;
		if (count->wait_us >= 0)
		{
			entry->waited++;
			entry->wait_us += count->wait_us;
			entry->wait_buckets[bucket(count->wait_us)]++;
		}
	}
	SpinLockRelease(&entry->mutex);
}

/*
 * The same of a call that may be for several requests; 0: it has failed for the
 * first of them, or for several, which are run one by one.
 */
void
jflow_stat_count_call(JflowStat stat, int requests, int64 docs)
{
	JflowEndpoint *entry;

	if (stat.entry == JFLOW_NONE)
		return;
	entry = &jflow_endpoints[stat.entry];
	SpinLockAcquire(&entry->mutex);
	if (entry->generation == stat.generation)
	{
		entry->calls++;
		entry->calls_failed += requests == 0;
		entry->joined += Max(requests - 1, 0);
		entry->call_docs += docs;
	}
	SpinLockRelease(&entry->mutex);
}

/*
 * A database is gone, or a flow of it (NULL: all).  The caller holds the control
 * lock.
 */
void
jflow_stat_forget(Oid database, const char *flow)
{
	jflow_tally_forget(database, flow);
	for (int i = 0; i < JFLOW_MAX_ENDPOINTS; i++)
		if (jflow_endpoints[i].database == database &&
			(flow == NULL || strcmp(jflow_endpoints[i].flow, flow) == 0))
		{
			SpinLockAcquire(&jflow_endpoints[i].mutex);
			jflow_endpoints[i].database = InvalidOid;
			jflow_endpoints[i].generation++;
			SpinLockRelease(&jflow_endpoints[i].mutex);
		}
}
