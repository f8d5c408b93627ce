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
#include "doc/doc.h"
#include "runtime/shared/pool.h"
#include "runtime/shared/share.h"
#include "settings.h"

/* Requests of other kinds that one looks past for more of a kind. */
#define MAX_OTHERS 1000

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

/*
 * Work out with what a slot on its way into a queue may be run together: a whole
 * request, with documents of one part.
 */
void
jflow_slot_measure(int n)
{
	JflowSlot  *slot = &jflow_slots[n];
	JflowSharedStep *step = &jflow_post_shared(slot->shared)->steps[slot->step];
	const int  *counts;
	int			nparts;
	Datum		docs;

	slot->batch_key = 0;
	if (step->batch_key == 0 || !(slot->stages & STAGE_MAIN) || slot->part > 0)
		return;
	docs = jflow_payload_docs(slot->docs, &counts, &nparts);
	slot->batch_docs = jflow_docs_count(docs);
	slot->batch_bytes = VARSIZE_ANY(DatumGetPointer(docs));
	if (nparts == 0 && slot->batch_docs > 0)
		slot->batch_key = step->batch_key;
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
	if (slot->batch_key != 0)
		pool->batch_docs -= slot->batch_docs;
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
	if (slot->batch_key != 0)
		pool->batch_docs += slot->batch_docs;
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
 * A slot was queued: returns the process to wake, if that is worth it.  While a
 * replica watches the queue all that is in it can be one call; who makes that
 * otherwise, or the call full, wakes that replica and no other.
 */
static int
choose_to_wake(JflowPool *pool, int n)
{
	const JflowSlot *slot = &jflow_slots[n];
	int			other = slot->prev >= 0 ? slot->prev : slot->next;

	if (pool->watcher == JFLOW_NONE)
		return pop_idle(pool);
	if (slot->batch_key != 0 && pool->batch_docs < pool->batch_size &&
		(other < 0 || jflow_slots[other].batch_key == slot->batch_key))
		return JFLOW_NONE;
	return jflow_replicas[pool->watcher].proc;
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
	wake = choose_to_wake(pool, n);
	LWLockRelease(&pool->lock);
	jflow_wake_process(wake);
	return true;
}

/*
 * For how many microseconds a queue is left alone, so that it becomes one larger
 * call: as long as all that is in it can be one, there is room for more, and
 * nothing has waited for the time that the executor allows.
 */
static int64
time_to_wait(const JflowPool *pool)
{
	uint64		key = jflow_slots[pool->head].batch_key;
	TimestampTz now;
	int64		left = pool->batch_wait_us;

	if (key == 0 || pool->batch_docs >= pool->batch_size || left == 0)
		return 0;
	now = GetCurrentTimestamp();
	for (int n = pool->head; n >= 0 && left > 0; n = jflow_slots[n].next)
	{
		int64		waited = now - jflow_slots[n].queued;

		/* A clock that was set back must not make anybody wait for it. */
		if (jflow_slots[n].batch_key != key || waited < 0)
			return 0;
		left = Min(left, pool->batch_wait_us - waited);
	}
	return Max(left, 0);
}

/* A replica takes a slot out of its pool's queue. */
static void
take_slot(JflowPool *pool, int r, int n)
{
	JflowSlot  *slot = &jflow_slots[n];

	unlink_slot(pool, slot);
	slot->state = SLOT_RUNNING;
	slot->replica = r;
}

/*
 * Take what can be run together with the request that a replica has taken, in the
 * order of the queue.  What cannot keeps its place: the first in the queue is
 * always the first of a call.
 */
static void
take_alike(JflowPool *pool, int r)
{
	int			last = jflow_replicas[r].slot;
	uint64		key = jflow_slots[last].batch_key;
	int			docs = jflow_slots[last].batch_docs;
	Size		bytes = jflow_slots[last].batch_bytes;
	int			others = 0;
	int			next;

	for (int n = pool->head; n >= 0 && docs < pool->batch_size; n = next)
	{
		JflowSlot  *slot = &jflow_slots[n];

		next = slot->next;
		if (slot->batch_key != key)
		{
			if (++others == MAX_OTHERS)
				break;
			continue;
		}
		docs += slot->batch_docs;
		bytes += slot->batch_bytes;
		if (docs > pool->batch_size || bytes > jflow_payload_max())
			break;
		take_slot(pool, r, n);
		jflow_slots[last].next = n;
		last = n;
	}
}

/* A replica has nothing to do. */
static void
push_idle(JflowPool *pool, int r)
{
	JflowReplica *replica = &jflow_replicas[r];

	if (replica->on_idle_stack)
		return;
	replica->next_idle = pool->idle;
	pool->idle = r;
	replica->on_idle_stack = true;
}

/*
 * The next request for a replica: the slot, or JFLOW_NONE, and then the replica
 * is on the idle stack, unless it shall stop.  The slot may be the first of
 * several, which their "next" links.  With JFLOW_NONE, wait_us tells after how
 * many microseconds to ask again; -1: when woken.
 */
int
jflow_pool_next(int r, int64 *wait_us)
{
	JflowReplica *replica = &jflow_replicas[r];
	JflowPool  *pool = &jflow_pools[replica->pool];
	int64		wait = 0;
	int			wake = JFLOW_NONE;
	int			n;

	*wait_us = -1;
	LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
	if (pool->watcher == r)
		pool->watcher = JFLOW_NONE;
	n = replica->stop ? JFLOW_NONE : pool->head;
	if (n >= 0 && pool->batch_size > 0)
		wait = time_to_wait(pool);
	if (n >= 0 && wait == 0)
	{
		pool->round = Max(pool->round, jflow_slots[n].round);
		if (replica->on_idle_stack)
			remove_idle(pool, r);
		take_slot(pool, r, n);
		replica->slot = n;
		replica->split = false;
		replica->state = REPLICA_BUSY;
		if (pool->batch_size > 0)
		{
			if (jflow_slots[n].batch_key != 0)
				take_alike(pool, r);
			/* who was woken for what is left may have seen no need to */
			if (pool->head >= 0 && pool->watcher == JFLOW_NONE)
				wake = pop_idle(pool);
		}
	}
	else if (!replica->stop)
	{
		n = JFLOW_NONE;
		replica->state = REPLICA_IDLE;
		if (wait > 0 && pool->watcher == JFLOW_NONE)
		{
			if (replica->on_idle_stack)
				remove_idle(pool, r);
			pool->watcher = r;
			*wait_us = wait;
		}
		else
			push_idle(pool, r);
	}
	LWLockRelease(&pool->lock);
	jflow_wake_process(wake);
	return n;
}

/* Take a slot from among those that a replica runs together. */
static void
detach_slot(JflowReplica *replica, int n)
{
	int		   *link = &replica->slot;

	while (*link != n)
		link = &jflow_slots[*link].next;
	*link = jflow_slots[n].next;
	jflow_slots[n].next = JFLOW_NONE;
	jflow_slots[n].replica = JFLOW_NONE;
}

/*
 * A replica has not run one of its requests after all, or has rolled back what it
 * did for it: another one may, or the same.  "alone" says that the request must
 * not be part of a larger call again.
 */
void
jflow_pool_return(int r, int n, bool alone)
{
	JflowReplica *replica = &jflow_replicas[r];
	JflowPool  *pool = &jflow_pools[replica->pool];
	JflowSlot  *slot = &jflow_slots[n];
	JflowOutcome outcome = slot->nested_wrote ? OUTCOME_UNKNOWN : OUTCOME_CLOSED;
	bool		queue;
	int			wake = JFLOW_NONE;

	LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
	detach_slot(replica, n);
	queue = !slot->abandoned && !slot->nested_wrote && !pool->closed;
	if (queue)
	{
		if (alone || slot->cancel)
			slot->batch_key = 0;
		slot->round = 0;
		slot->state = SLOT_QUEUED;
		link_slot(pool, n);
		wake = choose_to_wake(pool, n);
	}
	else
	{
		if (!slot->abandoned)
			slot->state = SLOT_FILLING;
		slot->pool = JFLOW_NONE;
	}
	LWLockRelease(&pool->lock);
	jflow_wake_process(wake);
	if (!queue)
		jflow_slot_publish(n, outcome);
}

/* What the post of a slot says of the step that it is at. */
static JflowSharedStep *
slot_step(int n)
{
	return &jflow_post_shared(jflow_slots[n].shared)->steps[jflow_slots[n].step];
}

/*
 * A replica is about to commit what its requests wrote.  Returns false if it must
 * not: a gateway has given one of them up.  One that gives it up later learns that
 * something was written, or will be.
 */
bool
jflow_pool_commit(int r)
{
	JflowReplica *replica = &jflow_replicas[r];
	JflowPool  *pool = &jflow_pools[replica->pool];
	bool		wanted = true;

	LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
	for (int n = replica->slot; n >= 0; n = jflow_slots[n].next)
		wanted &= !jflow_slots[n].cancel;
	for (int n = replica->slot; n >= 0 && wanted; n = jflow_slots[n].next)
	{
		jflow_slots[n].state = SLOT_COMMITTING;
		jflow_slots[n].wrote |= !slot_step(n)->idempotent;
	}
	LWLockRelease(&pool->lock);
	return wanted;
}

/*
 * A post that the requests of a replica made has written, or may have: whatever
 * becomes of them, they must not run again.
 */
void
jflow_pool_nested_write(int r)
{
	JflowReplica *replica = &jflow_replicas[r];
	JflowPool  *pool = &jflow_pools[replica->pool];

	LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
	for (int n = replica->slot; n >= 0; n = jflow_slots[n].next)
	{
		bool		idempotent = slot_step(n)->idempotent;

		jflow_slots[n].wrote |= !idempotent;
		jflow_slots[n].nested_wrote |= !idempotent;
	}
	LWLockRelease(&pool->lock);
}

/*
 * A replica has ended its request, or the first of several.  From here on no
 * signal can find it.  With a step to hand the slot on to, it goes to that pool;
 * else to the gateway.
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
	detach_slot(replica, n);
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
		jflow_slot_measure(n);
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
 * A gateway has found out that a request of its own waits, in a call with others,
 * for what its own session holds: let its replica run them one by one.  Returns
 * false if the request runs alone, or not at all.
 */
bool
jflow_pool_split(int n)
{
	JflowSlot  *slot = &jflow_slots[n];
	int			p = *(volatile int *) &slot->pool;
	JflowPool  *pool;
	JflowReplica *replica;
	bool		split = false;

	if (p < 0)
		return false;
	pool = &jflow_pools[p];
	LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
	if (slot->pool == p && slot->state == SLOT_RUNNING && slot->replica >= 0)
	{
		replica = &jflow_replicas[slot->replica];
		split = replica->slot >= 0 && jflow_slots[replica->slot].next >= 0;
		if (split)
		{
			replica->split = true;
			if (replica->pid > 0)
				kill(replica->pid, SIGUSR2);
		}
	}
	LWLockRelease(&pool->lock);
	return split;
}

/*
 * What a leaving replica ran goes to another, or is lost.  The pool's lock is held;
 * returns whether it is to be published, with an outcome.
 */
static bool
leave_slot(JflowPool *pool, int n, JflowOutcome *outcome)
{
	JflowSlot  *slot = &jflow_slots[n];
	JflowSharedStep *step = slot_step(n);

	*outcome = (slot->state == SLOT_COMMITTING && !step->idempotent) || slot->nested_wrote ?
		OUTCOME_UNKNOWN : OUTCOME_LOST;
	if (!slot->abandoned && *outcome == OUTCOME_LOST && !pool->closed &&
		slot->tries++ < step->retries)
	{
		/* others must not be lost with it again */
		slot->batch_key = 0;
		slot->round = 0;
		slot->state = SLOT_QUEUED;
		link_slot(pool, n);
		return false;
	}
	if (!slot->abandoned)
		slot->state = SLOT_FILLING;
	slot->pool = JFLOW_NONE;
	return true;
}

/*
 * When to try again what has failed so often in a row: a second from now, after each
 * failure twice as long, but no longer than jflow.restart_delay_max.
 */
TimestampTz
jflow_retry_at(int failures)
{
	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
									   Min(1000L << Min(failures - 1, 20), jflow_restart_delay_max * 1000L));
}

/*
 * A replica leaves, in its exit callback.  Its requests, if it has any, go to
 * others or are lost; nothing is left in the queue without somebody to take it.
 */
void
jflow_pool_leave(int r, bool failed)
{
	JflowReplica *replica = &jflow_replicas[r];
	JflowPool  *pool = &jflow_pools[replica->pool];
	int			wake = JFLOW_NONE;
	int			lost = JFLOW_NONE;	/* list of slots to publish */

	LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
	if (replica->on_idle_stack)
		remove_idle(pool, r);
	if (pool->watcher == r)
		pool->watcher = JFLOW_NONE;
	while (replica->slot >= 0)
	{
		int			n = replica->slot;
		JflowOutcome outcome;

		detach_slot(replica, n);
		if (leave_slot(pool, n, &outcome))
		{
			jflow_slots[n].outcome = outcome;
			jflow_slots[n].next = lost;
			lost = n;
		}
	}
	if (replica->state == REPLICA_STARTING)
		pool->starting--;
	else
		pool->running--;
	if (failed)
		pool->next_start = jflow_retry_at(++pool->failures);
	if (pool->head >= 0)
		wake = pool->watcher >= 0 ? jflow_replicas[pool->watcher].proc : pop_idle(pool);
	replica->state = REPLICA_FREE;
	replica->pid = 0;
	LWLockRelease(&pool->lock);

	jflow_wake_process(wake);
	while (lost >= 0)
	{
		int			n = lost;

		lost = jflow_slots[n].next;
		jflow_slot_publish(n, jflow_slots[n].outcome);
	}
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
