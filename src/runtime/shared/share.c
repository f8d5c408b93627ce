/*
 * share.c
 *		Fair shares: what one role, or one flow of it, may take of what all use.
 *
 * Request slots, memory for documents, replicas, pools and statistics entries
 * are of a fixed number.  While there are plenty, everybody takes what he wants.
 * The last of them, a tenth, are the reserve: from there on a role takes more
 * only while what it has is below a share that shrinks with what is left, so
 * that one role alone ends at nine tenths, two at about a half each, and so on,
 * whatever the order they come in (a dynamic threshold, as Choudhury and Hahne
 * describe it for the buffers of a switch, IEEE/ACM Transactions on Networking
 * 6(2), 1998).  The last half of the reserve is for roles that have nothing yet:
 * each of them gets its first at once, however long the others hold theirs.
 *
 * What is on its way is counted by the role whose session posts and by flow, in
 * an array that slots_mutex protects.  A slot or chunk remembers where it is
 * counted, since it may outlive the process that took it.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "postmaster/bgworker_internals.h"

#include "compat.h"
#include "runtime/shared/share.h"
#include "settings.h"

/* Processes that are no replicas: the launcher and a scout. */
#define OTHER_WORKERS 2

/* Entries that one role may have; further flows of it are counted together. */
#define MAX_FLOWS_PER_ROLE 8

/* Who posts from this process, and where that is counted if it was looked up. */
static Oid	my_role = InvalidOid;
static uint32 my_flow = 0;
static int	my_share = JFLOW_NONE;

/* Is so much left that nobody need be counted? */
bool
jflow_share_is_plenty(const JflowStock *stock, int64 want)
{
	return stock->free - want >= stock->reserve;
}

/* May a role and flow that have taken so much take more?  See above. */
bool
jflow_share_allows(const JflowStock *stock, int64 want, const JflowUse *use)
{
	int64		left = stock->free - want;
	int64		beyond = left - stock->reserve / 2;

	if (left < 0)
		return false;
	if (left >= stock->reserve || use->role == 0)
		return true;
	if (beyond <= 0)
		return false;
	if (use->flow == 0)
		return true;

	/* At the reserve's edge this is what is outside of the reserve. */
	return use->role + want <=
		(double) beyond * (stock->total - stock->reserve) / (stock->reserve - stock->reserve / 2);
}

/*
 * The outermost post of this process begins: what it takes is on the account of
 * the session's role, not of the owners of functions on the way, and of its flow.
 */
void
jflow_share_begin(const char *flow)
{
	my_role = GetOuterUserId();
	my_flow = hash_bytes((const unsigned char *) flow, strlen(flow));
	my_share = JFLOW_NONE;
}

static bool
is_unused(const JflowShare *share)
{
	return share->slots == 0 && share->bytes == 0;
}

/*
 * The entry of this process's role and flow, and what they have taken.  One that
 * nothing is counted in may be used anew; if there is none, entries are shared,
 * which errs on the side of those that come late.  The caller holds slots_mutex.
 */
static int
find_share(JflowUse *slots, JflowUse *bytes)
{
	int			mine = JFLOW_NONE,
				unused = JFLOW_NONE,
				other = JFLOW_NONE,
				flows = 0;

	memset(slots, 0, sizeof(*slots));
	memset(bytes, 0, sizeof(*bytes));
	for (int i = 0; i < JFLOW_MAX_SHARES; i++)
	{
		JflowShare *share = &jflow_shared->shares[i];

		if (is_unused(share))
		{
			if (unused == JFLOW_NONE)
				unused = i;
			continue;
		}
		if (share->role != my_role)
			continue;
		flows++;
		other = i;
		slots->role += share->slots;
		bytes->role += share->bytes;
		if (share->flow == my_flow)
			mine = i;
	}
	if (mine == JFLOW_NONE && flows >= MAX_FLOWS_PER_ROLE)
		mine = other;
	if (mine == JFLOW_NONE && unused == JFLOW_NONE)
		mine = my_role % JFLOW_MAX_SHARES;
	if (mine == JFLOW_NONE)
	{
		mine = unused;
		jflow_shared->shares[mine].role = my_role;
		jflow_shared->shares[mine].flow = my_flow;
	}
	slots->flow = jflow_shared->shares[mine].slots;
	bytes->flow = jflow_shared->shares[mine].bytes;
	my_share = mine;
	return mine;
}

/*
 * The same where there are plenty, so that only the entry matters: the one that
 * was found last, unless another has got it since.
 */
static int
find_share_quickly(void)
{
	JflowUse	slots,
				bytes;

	if (my_share != JFLOW_NONE && jflow_shared->shares[my_share].role == my_role &&
		jflow_shared->shares[my_share].flow == my_flow)
		return my_share;
	return find_share(&slots, &bytes);
}

/*
 * Count one more request slot; JFLOW_NONE if all are taken, or those that are
 * left are for others.  The caller holds slots_mutex.
 */
int
jflow_share_take_slot(void)
{
	JflowStock	stock = {jflow_max_requests, jflow_max_requests - jflow_shared->slots_used,
	Max(jflow_max_requests / 10, 1)};
	JflowUse	slots,
				bytes;
	int			share;

	if (jflow_share_is_plenty(&stock, 1))
		share = find_share_quickly();
	else
	{
		share = find_share(&slots, &bytes);
		if (!jflow_share_allows(&stock, 1, &slots))
			return JFLOW_NONE;
	}
	jflow_shared->shares[share].slots++;
	return share;
}

/* The caller holds slots_mutex. */
void
jflow_share_free_slot(int share)
{
	jflow_shared->shares[share].slots--;
}

/*
 * Count so many bytes more; JFLOW_NONE if there are too few for this role.  They
 * are the caller's to allocate.  Takes slots_mutex.
 */
int
jflow_share_take_bytes(int64 size, const JflowStock *stock)
{
	JflowUse	slots,
				bytes;
	int			share;

	SpinLockAcquire(&jflow_shared->slots_mutex);
	if (jflow_share_is_plenty(stock, size))
		share = find_share_quickly();
	else
	{
		share = find_share(&slots, &bytes);

		/*
		 * With its first slot a role has the post's parameters already, and
		 * has nothing all the same.
		 */
		if (slots.role == 1)
			bytes.role = 0;
		if (!jflow_share_allows(stock, size, &bytes))
			share = JFLOW_NONE;
	}
	if (share != JFLOW_NONE)
		jflow_shared->shares[share].bytes += size;
	SpinLockRelease(&jflow_shared->slots_mutex);
	return share;
}

/* Count bytes of a share as given back. */
void
jflow_share_free_bytes(int share, int64 size)
{
	SpinLockAcquire(&jflow_shared->slots_mutex);
	jflow_shared->shares[share].bytes -= size;
	SpinLockRelease(&jflow_shared->slots_mutex);
}

/*
 * Replicas that can run at a time, as far as we know: worker slots are taken by
 * others, too.  The caller holds the control lock, or wants an estimate.
 */
JflowStock
jflow_share_replicas(void)
{
	JflowStock	stock;

	stock.total = Max(Min(jflow_max_replicas, max_worker_processes - OTHER_WORKERS), 0);
	stock.free = stock.total;
	for (int i = 0; i < jflow_max_replicas; i++)
		stock.free -= jflow_replicas[i].state != REPLICA_FREE;
	stock.reserve = stock.total / 10;
	return stock;
}

/* Replicas of a role's flows, in all databases; as above. */
int
jflow_share_replicas_of(Oid owner)
{
	int			n = 0;

	for (int i = 0; i < jflow_max_replicas; i++)
		n += jflow_replicas[i].state != REPLICA_FREE &&
			jflow_pools[jflow_replicas[i].pool].owner == owner;
	return n;
}
