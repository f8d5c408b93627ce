/*
 * pool.c
 *		Request slots, the queues they wait in, and the replicas that take them.
 *
 * Every change of a queued or running slot is made under the lock of the pool it
 * is in.  Latches are set when the lock is gone.
 */
#include "postgres.h"

#include <signal.h>

#include "miscadmin.h"

#include "compat.h"
#include "runtime/shared/pool.h"
#include "runtime/shared/share.h"
#include "settings.h"

/* A slot to fill; JFLOW_NONE if all are taken, or kept for other roles. */
int
jflow_slot_take(void)
{
	JflowSlot  *slot;
	int			n = JFLOW_NONE;
	int			share;

	SpinLockAcquire(&jflow_shared->slots_mutex);
	share = jflow_share_take_slot();
	if (share != JFLOW_NONE)
	{
		n = jflow_shared->free_slot;
		jflow_shared->free_slot = jflow_slots[n].next;
		jflow_shared->slots_used++;
	}
	SpinLockRelease(&jflow_shared->slots_mutex);
	if (share == JFLOW_NONE)
		return JFLOW_NONE;

	slot = &jflow_slots[n];
	memset(slot, 0, sizeof(*slot));
	slot->state = SLOT_FILLING;
	slot->share = share;
	slot->taken = GetCurrentTimestamp();
	slot->next = slot->prev = slot->pool = slot->replica = JFLOW_NONE;
	slot->gateway = MyProcNumberCompat;
	return n;
}

/* Free a slot and all it owns.  The caller is its only owner. */
void
jflow_slot_free(int n)
{
	JflowSlot  *slot = &jflow_slots[n];
	dsa_pointer shared = slot->shared;
	dsa_pointer docs = slot->docs;
	dsa_pointer messages = slot->messages;

	SpinLockAcquire(&jflow_shared->slots_mutex);
	slot->state = SLOT_FREE;
	slot->shared = slot->docs = slot->messages = InvalidDsaPointer;
	slot->next = jflow_shared->free_slot;
	jflow_shared->free_slot = n;
	jflow_shared->slots_used--;
	jflow_share_free_slot(slot->share);
	SpinLockRelease(&jflow_shared->slots_mutex);
	jflow_payload_free(docs);
	jflow_payload_free(messages);
	if (DsaPointerIsValid(shared))
		jflow_post_shared_unpin(shared);
	jflow_payload_wake();		/* those who wait for a slot, too */
}

/* Hand a slot to its gateway, which owns it from here on. */
void
jflow_slot_publish(int n, JflowOutcome outcome)
{
	JflowSlot  *slot = &jflow_slots[n];
	JflowGatewayEntry *gateway = &jflow_gateways[slot->gateway];
	int			proc = slot->gateway;
	uint32		head;
	uint32		outstanding;

	if (slot->abandoned)
	{
		jflow_slot_free(n);
		return;
	}
	slot->outcome = outcome;
	slot->state = SLOT_DONE;
	head = pg_atomic_read_u32(&gateway->done);
	do
	{
		slot->next = (int) head - 1;
	} while (!pg_atomic_compare_exchange_u32(&gateway->done, &head, (uint32) n + 1));

	/*
	 * The gateway writes wake_at and then reads outstanding; here it is the
	 * other way round, with a full barrier between: one of us sees the other.
	 */
	outstanding = pg_atomic_sub_fetch_u32(&gateway->outstanding, 1);
	if (outcome != OUTCOME_OK || outstanding <= pg_atomic_read_u32(&gateway->wake_at) ||
		pg_atomic_read_u32(&jflow_shared->payload_waiters) > 0)
		jflow_wake_process(proc);
}

static void
unlink_slot(JflowPool *pool, JflowSlot *slot)
{
	if (slot->prev >= 0)
		jflow_slots[slot->prev].next = slot->next;
	else
		pool->head = slot->next;
	if (slot->next >= 0)
		jflow_slots[slot->next].prev = slot->prev;
	else
		pool->tail = slot->prev;
	slot->next = slot->prev = JFLOW_NONE;
	pool->length--;
}

/* Insert by round, from the tail: most requests belong there. */
static void
link_slot(JflowPool *pool, int n)
{
	JflowSlot  *slot = &jflow_slots[n];
	int			after = pool->tail;

	while (after >= 0 && jflow_slots[after].round > slot->round)
		after = jflow_slots[after].prev;
	slot->prev = after;
	slot->next = after >= 0 ? jflow_slots[after].next : pool->head;
	if (slot->next >= 0)
		jflow_slots[slot->next].prev = n;
	else
		pool->tail = n;
	if (after >= 0)
		jflow_slots[after].next = n;
	else
		pool->head = n;
	pool->length++;
}

/* Take the top of the idle stack; returns the process to wake. */
static int
pop_idle(JflowPool *pool)
{
	JflowReplica *replica;

	if (pool->idle < 0)
		return JFLOW_NONE;
	replica = &jflow_replicas[pool->idle];
	pool->idle = replica->next_idle;
	replica->on_idle_stack = false;
	return replica->proc;
}

static void
remove_idle(JflowPool *pool, int n)
{
	int		   *link = &pool->idle;

	while (*link >= 0 && *link != n)
		link = &jflow_replicas[*link].next_idle;
	if (*link == n)
		*link = jflow_replicas[n].next_idle;
	jflow_replicas[n].on_idle_stack = false;
}

/*
 * Queue a slot.  Returns false, and leaves the slot to the caller, if the pool
 * is gone, closed, or has no replica and none to come.
 */
bool
jflow_pool_put(JflowPoolRef *ref, int n)
{
	JflowPool  *pool = &jflow_pools[ref->pool];
	JflowSlot  *slot = &jflow_slots[n];
	TimestampTz now = GetCurrentTimestamp();
	int			wake;

	LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
	if (!pool->used || pool->generation != ref->generation || pool->closed ||
		(pool->running == 0 && pool->starting == 0 &&
		 (pool->blocked || pool->failures > 0 || jflow_shared->disabled)))
	{
		LWLockRelease(&pool->lock);
		return false;
	}
	ref->round = slot->round = Max(ref->round + 1, pool->round);
	slot->pool = ref->pool;
	slot->queued = now;
	slot->state = SLOT_QUEUED;
	link_slot(pool, n);
	wake = pop_idle(pool);
	LWLockRelease(&pool->lock);
	jflow_wake_process(wake);
	return true;
}

/*
 * The next request for a replica: the slot, or JFLOW_NONE, and then the replica
 * is on the idle stack, unless it shall stop.
 */
int
jflow_pool_next(int r)
{
	JflowReplica *replica = &jflow_replicas[r];
	JflowPool  *pool = &jflow_pools[replica->pool];
	int			n;

	LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
	n = replica->stop ? JFLOW_NONE : pool->head;
	if (n >= 0)
	{
		JflowSlot  *slot = &jflow_slots[n];

		unlink_slot(pool, slot);
		if (replica->on_idle_stack)
			remove_idle(pool, r);
		pool->round = Max(pool->round, slot->round);
		slot->state = SLOT_RUNNING;
		slot->replica = r;
		replica->slot = n;
		replica->state = REPLICA_BUSY;
	}
	else if (!replica->stop)
	{
		replica->state = REPLICA_IDLE;
		if (!replica->on_idle_stack)
		{
			replica->next_idle = pool->idle;
			pool->idle = r;
			replica->on_idle_stack = true;
		}
	}
	LWLockRelease(&pool->lock);
	return n;
}

/*
 * A replica is about to commit what its request wrote.  Returns false if it must
 * not: its gateway has given the request up.  One that gives it up later learns
 * that something was written, or will be.
 */
bool
jflow_pool_commit(int r)
{
	JflowReplica *replica = &jflow_replicas[r];
	JflowPool  *pool = &jflow_pools[replica->pool];
	JflowSlot  *slot = &jflow_slots[replica->slot];
	JflowSharedStep *step = &jflow_post_shared(slot->shared)->steps[slot->step];
	bool		wanted;

	LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
	wanted = !slot->cancel;
	if (wanted)
	{
		slot->state = SLOT_COMMITTING;
		slot->wrote |= !step->idempotent;
	}
	LWLockRelease(&pool->lock);
	return wanted;
}

/*
 * A post that the request of a replica made has written, or may have: whatever
 * becomes of the request, it must not run again.
 */
void
jflow_pool_nested_write(int r)
{
	JflowReplica *replica = &jflow_replicas[r];
	JflowPool  *pool = &jflow_pools[replica->pool];
	JflowSlot  *slot;
	JflowSharedStep *step;

	if (replica->slot < 0)
		return;
	slot = &jflow_slots[replica->slot];
	step = &jflow_post_shared(slot->shared)->steps[slot->step];
	LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
	slot->wrote |= !step->idempotent;
	slot->nested_wrote |= !step->idempotent;
	LWLockRelease(&pool->lock);
}

/*
 * A replica has ended its request.  From here on no signal can find it.  With a
 * step to hand the slot on to, it goes to that pool; else to the gateway.
 */
void
jflow_pool_end(int r, int next_step)
{
	JflowReplica *replica = &jflow_replicas[r];
	JflowPool  *pool = &jflow_pools[replica->pool];
	int			n = replica->slot;
	JflowSlot  *slot = &jflow_slots[n];
	JflowPostShared *shared = jflow_post_shared(slot->shared);

	LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
	replica->slot = JFLOW_NONE;
	slot->replica = JFLOW_NONE;
	if (!slot->abandoned)
		slot->state = SLOT_FILLING;
	slot->pool = JFLOW_NONE;
	LWLockRelease(&pool->lock);

	/*
	 * While it is in no pool, nobody else touches the slot: a gateway that
	 * gives it up waits until it is in one, or done.
	 */
	if (next_step != JFLOW_NONE && !slot->abandoned)
	{
		slot->stages = shared->steps[slot->step].stages;
		slot->step = next_step;
		slot->shard = 0;
		slot->tries = 0;
		slot->nested_wrote = false;
		if (jflow_pool_put(&SHARED_POOLS(shared, next_step)[0], n))
			return;
		slot->outcome = OUTCOME_CLOSED;
	}
	jflow_slot_publish(n, slot->outcome);
}

/*
 * A gateway wants no answer any more.  A slot that is queued is freed.  One that
 * runs is left to its replica, which is interrupted; it frees the slot if
 * "abandon" says so, else it comes back.  Returns true if it does not, and then
 * sets "wrote" if something was committed for it, or will be.
 */
bool
jflow_slot_give_up(int n, bool abandon, bool *wrote)
{
	JflowSlot  *slot = &jflow_slots[n];

	for (;;)
	{
		int			p = *(volatile int *) &slot->pool;
		JflowPool  *pool;
		bool		mine = false,
					done = false;

		if (*(volatile JflowSlotState *) &slot->state == SLOT_DONE)
			return false;
		if (p < 0)
		{
			pg_usleep(10);		/* between two pools, for an instant */
			continue;
		}
		pool = &jflow_pools[p];
		LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
		if (slot->pool == p && slot->state == SLOT_QUEUED)
		{
			unlink_slot(pool, slot);
			mine = true;
		}
		else if (slot->pool == p && slot->state != SLOT_DONE)
		{
			slot->abandoned = abandon;
			slot->cancel = true;
			if (slot->replica >= 0 && jflow_replicas[slot->replica].pid > 0)
				kill(jflow_replicas[slot->replica].pid, SIGUSR2);
			done = true;
		}
		if (mine || (done && abandon))
			*wrote |= slot->wrote;
		LWLockRelease(&pool->lock);
		if (mine || (done && abandon))
			pg_atomic_sub_fetch_u32(&jflow_gateways[MyProcNumberCompat].outstanding, 1);
		if (mine)
			jflow_slot_free(n);
		if (mine || done)
			return mine || abandon;
	}
}

/*
 * A replica leaves, in its exit callback.  Its request, if it has one, goes to
 * another or is lost; nothing is left in the queue without somebody to take it.
 */
void
jflow_pool_leave(int r, bool failed)
{
	JflowReplica *replica = &jflow_replicas[r];
	JflowPool  *pool = &jflow_pools[replica->pool];
	int			n;
	int			wake = JFLOW_NONE;
	bool		publish = false;
	JflowOutcome outcome = OUTCOME_LOST;

	LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
	if (replica->on_idle_stack)
		remove_idle(pool, r);
	n = replica->slot;
	if (n >= 0)
	{
		JflowSlot  *slot = &jflow_slots[n];
		JflowSharedStep *step = &jflow_post_shared(slot->shared)->steps[slot->step];

		replica->slot = JFLOW_NONE;
		slot->replica = JFLOW_NONE;
		if ((slot->state == SLOT_COMMITTING && !step->idempotent) || slot->nested_wrote)
			outcome = OUTCOME_UNKNOWN;
		if (!slot->abandoned && outcome == OUTCOME_LOST && !pool->closed &&
			slot->tries++ < step->retries)
		{
			slot->round = 0;
			slot->state = SLOT_QUEUED;
			link_slot(pool, n);
		}
		else
		{
			publish = true;
			if (!slot->abandoned)
				slot->state = SLOT_FILLING;
			slot->pool = JFLOW_NONE;
		}
	}
	if (replica->state == REPLICA_STARTING)
		pool->starting--;
	else
		pool->running--;
	if (failed)
	{
		pool->failures++;
		pool->next_start = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													   Min(1000L << Min(pool->failures - 1, 20), jflow_restart_delay_max * 1000L));
	}
	if (pool->head >= 0)
		wake = pop_idle(pool);
	replica->state = REPLICA_FREE;
	replica->pid = 0;
	LWLockRelease(&pool->lock);

	jflow_wake_process(wake);
	if (publish)
		jflow_slot_publish(n, outcome);
}

/* Give all queued requests back, for a reason (NULL: the one that is there). */
void
jflow_pool_flush(int p, const char *reason)
{
	JflowPool  *pool = &jflow_pools[p];

	for (;;)
	{
		int			n;

		LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
		if (reason)
			jflow_clip(pool->reason, reason, JFLOW_REASON_LEN);
		n = pool->head;
		if (n >= 0)
		{
			unlink_slot(pool, &jflow_slots[n]);
			jflow_slots[n].state = SLOT_FILLING;
			jflow_slots[n].pool = JFLOW_NONE;
		}
		LWLockRelease(&pool->lock);
		if (n < 0)
			return;
		jflow_slot_publish(n, OUTCOME_CLOSED);
	}
}

/* Has an executor in this database replicas, or may it still get some? */
bool
jflow_pool_any(const char *flow, const char *executor)
{
	bool		any = false;

	LWLockAcquire(&jflow_shared->control, LW_SHARED);
	for (int i = 0; i < jflow_max_pools && !any; i++)
	{
		JflowPool  *pool = &jflow_pools[i];

		any = pool->used && pool->database == MyDatabaseId && pool->shard >= 0 &&
			strcmp(pool->executor, executor) == 0 && strcmp(pool->flow, flow) == 0;
	}
	LWLockRelease(&jflow_shared->control);
	return any;
}

/* The pool of a shard in this database; JFLOW_NONE if there is none. */
int
jflow_pool_find(const char *flow, const char *executor, int shard, JflowPoolRef *ref)
{
	int			result = JFLOW_NONE;

	LWLockAcquire(&jflow_shared->control, LW_SHARED);
	for (int i = 0; i < jflow_max_pools && result < 0; i++)
	{
		JflowPool  *pool = &jflow_pools[i];

		if (pool->used && !pool->closed && pool->database == MyDatabaseId &&
			pool->shard == shard && strcmp(pool->executor, executor) == 0 &&
			strcmp(pool->flow, flow) == 0)
		{
			result = i;
			if (ref)
			{
				ref->pool = i;
				ref->generation = pool->generation;
				ref->round = 0;
			}
		}
	}
	LWLockRelease(&jflow_shared->control);
	return result;
}
