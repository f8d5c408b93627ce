/*
 * answers.c
 *		Slots that are out, and the way back of their answers.
 *
 * The slots of a post belong to its process until they are back or given up.
 * Posts nest: what comes back for one around the innermost is taken out of
 * shared memory at once, since that post cannot use it before the inner one has
 * ended, and the inner one may be waiting for the very memory and slots.
 *
 * Whatever ends a post (an error, a cancel, the end of the process) gives up the
 * slots that are out.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "utils/datum.h"
#include "utils/memutils.h"

#include "compat.h"
#include "runtime/control/workers.h"
#include "runtime/gateway/answers.h"
#include "runtime/shared/share.h"
#include "settings.h"

/* Who waits for the answer of a slot. */
typedef struct Waiting
{
	JflowPost  *post;			/* NULL: nobody */
	JflowCall	call;
} Waiting;

static Waiting *waiting = NULL; /* entry n is about slot n */
static JflowPost *posts = NULL; /* nested ones, innermost first */
static uint64 writes = 0;		/* answers that tell of a write, so far */

/* Take an answer's slot off the post's list: it is looked at, and then freed. */
static int
unlist(JflowPost *post)
{
	int			n = post->remote.returned;

	post->remote.returned = jflow_slots[n].next;
	waiting[n].post = NULL;
	return n;
}

static void
free_current(JflowPost *post)
{
	if (post->remote.current == JFLOW_NONE)
		return;
	jflow_slot_free(post->remote.current);
	post->remote.current = JFLOW_NONE;
}

/*
 * Take over what has come back, in the order in which it did; each post gets
 * its own.
 */
static void
collect_returned(void)
{
	JflowGatewayEntry *entry = &jflow_gateways[MyProcNumberCompat];
	int			n;

	if (pg_atomic_read_u32(&entry->done) == 0)
		return;
	n = (int) pg_atomic_exchange_u32(&entry->done, 0) - 1;
	while (n >= 0)
	{
		int			next = jflow_slots[n].next;
		JflowPost  *post = waiting[n].post;

		Assert(post != NULL);	/* what is abandoned never comes here */
		/* the list has the newest first: pushing turns it round */
		jflow_slots[n].next = post->remote.returned;
		post->remote.returned = n;
		n = next;
	}
}

/*
 * Something was committed for a post, or may have been.  To run again what has
 * posted would do it twice: a request, where this process is itself a replica.
 */
static void
note_write(void)
{
	writes++;
	if (jflow_my_replica != JFLOW_NONE)
		jflow_pool_nested_write(jflow_my_replica);
}

/* The same, about the request that a slot was for. */
static void
note_write_of(int n)
{
	if (waiting[n].call.request)
		waiting[n].call.request->wrote = true;
	note_write();
}

/* Give up all slots of a post that are out. */
static void
give_up(JflowPost *post)
{
	int			taken_out = list_length(post->remote.taken_out);

	for (int n = 0; n < jflow_max_requests && post->remote.out > taken_out; n++)
	{
		bool		wrote = false;

		if (waiting[n].post != post)
			continue;
		if (jflow_slot_give_up(n, true, &wrote))
		{
			waiting[n].post = NULL;
			post->remote.out--;
		}
		if (wrote)
			note_write_of(n);
	}

	/*
	 * The others are done: they are in the list, or will be in an instant,
	 * for which it is not worth to sleep on a latch.
	 */
	for (;;)
	{
		collect_returned();
		while (post->remote.returned != JFLOW_NONE)
		{
			int			n = unlist(post);

			post->remote.out--;
			if (jflow_slots[n].wrote)
				note_write_of(n);
			jflow_slot_free(n);
		}
		if (post->remote.out == taken_out)
			break;
		pg_usleep(10);
	}
	free_current(post);
	post->remote.out = 0;
	post->remote.taken_out = NIL;
}

/* The end of the process: nothing of ours may stay in shared memory. */
static void
at_exit(int code, Datum arg)
{
	JflowGatewayEntry *entry = &jflow_gateways[MyProcNumberCompat];

	while (posts)
		jflow_answers_leave(posts);

	/* Who has just handed us the last answer may still be counting it. */
	while (pg_atomic_read_u32(&entry->outstanding) > 0)
		pg_usleep(10);
}

/* A post through replicas begins. */
void
jflow_answers_enter(JflowPost *post)
{
	if (waiting == NULL)
	{
		waiting = MemoryContextAllocZero(TopMemoryContext, sizeof(Waiting) * jflow_max_requests);
		before_shmem_exit(at_exit, (Datum) 0);
	}
	post->remote.returned = JFLOW_NONE;
	post->remote.current = JFLOW_NONE;
	post->remote.outer = posts;
	if (posts == NULL)
		jflow_share_begin(post->plan->flow->name);
	posts = post;
}

/* The innermost post ends, in whatever way. */
void
jflow_answers_leave(JflowPost *post)
{
	jflow_payload_want(false);
	give_up(post);
	posts = post->remote.outer;
	if (DsaPointerIsValid(post->remote.shared))
		jflow_post_shared_unpin(post->remote.shared);
}

/* A refusal is about a pool: why can it not take the request? */
static void JFLOW_NORETURN
raise_refused(JflowPost *post, int step, int shard)
{
	const JflowExecutor *executor = post->plan->steps[step].executor;
	const JflowPoolRef *ref = &post->plan->steps[step].pools[shard];
	JflowPool  *pool = &jflow_pools[ref->pool];
	char		reason[JFLOW_REASON_LEN];
	bool		same;

	LWLockAcquire(&pool->lock, LW_SHARED);
	same = pool->generation == ref->generation;
	strlcpy(reason, pool->reason, sizeof(reason));
	LWLockRelease(&pool->lock);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("executor \"%s\" of flow \"%s\" has no replica that can run",
					executor->name, post->plan->flow->name),
			 same && reason[0] ? errdetail("The reason is: %s.", reason)
			 : errdetail("The flow was stopped, or the executor was changed."),
			 errhint("See jflow_status.")));
}

/*
 * Send a call to its shard's pool.  Returns false if there is no slot or no
 * memory now; raises an error if there never will be.
 */
bool
jflow_answers_ask(JflowPost *post, const JflowCall *call)
{
	JflowRequest *request = call->request;
	JflowPostShared *shared;
	JflowSlot  *slot;
	Size		size = jflow_payload_docs_size(call->docs, call->ncounts);
	int64		number = request ? request->number : post->number + 1;
	int			n;

	if (size > jflow_payload_max())
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a request of %zu bytes is too large for jflow.memory_limit", size),
				 errdetail("One request may have %zu bytes.", jflow_payload_max()),
				 errhint("Raise jflow.memory_limit, or lower request_size."),
				 errcontext("executor \"%s\", shard %d, request " INT64_FORMAT,
							post->plan->steps[call->step].executor->name, call->shard, number)));
	n = jflow_slot_take();
	if (n == JFLOW_NONE)
		return false;
	slot = &jflow_slots[n];
	slot->docs = jflow_payload_put_docs(call->docs, call->counts, call->ncounts, PAYLOAD_IN);
	if (!DsaPointerIsValid(slot->docs))
	{
		jflow_slot_free(n);
		return false;
	}
	shared = jflow_post_shared(post->remote.shared);
	jflow_post_shared_pin(post->remote.shared);
	slot->shared = post->remote.shared;
	slot->post = post->progress.post;
	slot->step = call->step;
	slot->stages = call->stages;
	slot->shard = call->shard;
	slot->request = number;
	slot->part = call->piece ? call->piece->part : 0;
	jflow_slot_measure(n);

	waiting[n].post = post;
	waiting[n].call = *call;
	waiting[n].call.ndocs = jflow_docs_count(call->docs);
	post->remote.out++;
	if (request)
		request->out++;
	pg_atomic_add_fetch_u32(&jflow_gateways[MyProcNumberCompat].outstanding, 1);
	if (jflow_pool_put(&SHARED_POOLS(shared, call->step)[call->shard], n))
		return true;

	pg_atomic_sub_fetch_u32(&jflow_gateways[MyProcNumberCompat].outstanding, 1);
	waiting[n].post = NULL;
	post->remote.out--;
	if (request)
		request->out--;
	jflow_slot_free(n);
	raise_refused(post, call->step, call->shard);
}

/* Stop the calls of a request: the queued are gone, those that run come back soon. */
void
jflow_answers_stop(JflowPost *post, JflowRequest *request)
{
	bool		wrote = false;

	for (int n = 0; n < jflow_max_requests && request->out > 0; n++)
	{
		if (waiting[n].post != post || waiting[n].call.request != request ||
			!jflow_slot_give_up(n, false, &wrote))
			continue;
		waiting[n].post = NULL;
		post->remote.out--;
		request->out--;
	}
	if (wrote)
		note_write();
}

static void
open_answer(int n, JflowAnswer *answer)
{
	JflowSlot  *slot = &jflow_slots[n];
	const int  *counts = NULL;
	int			ncounts;

	answer->slot = *slot;
	answer->call = waiting[n].call;
	answer->call.docs = (Datum) 0;
	answer->docs = DsaPointerIsValid(slot->docs) ?
		jflow_payload_docs(slot->docs, &counts, &ncounts) : (Datum) 0;
	answer->unmerged = counts != NULL;
	answer->messages = NULL;
	answer->nmessages = 0;
	if (DsaPointerIsValid(slot->messages))
		answer->messages = jflow_payload_bytes(slot->messages, &answer->nmessages);
	answer->is_copy = false;
	if (slot->wrote)
		note_write();
}

/* Move what has come back into the memory of its requests. */
static void
take_out(JflowPost *post)
{
	while (post->remote.returned != JFLOW_NONE)
	{
		int			n = post->remote.returned;
		JflowRequest *request = waiting[n].call.request;
		MemoryContext old = MemoryContextSwitchTo(request ? request->context : post->context);
		JflowAnswer *answer = palloc(sizeof(JflowAnswer));

		open_answer(n, answer);
		if (answer->docs)
			answer->docs = datumCopy(answer->docs, false, -1);
		if (answer->messages)
			answer->messages = memcpy(palloc(answer->nmessages), answer->messages, answer->nmessages);
		answer->is_copy = true;
		MemoryContextSwitchTo(post->context);
		post->remote.taken_out = lappend(post->remote.taken_out, answer);
		MemoryContextSwitchTo(old);
		jflow_slot_free(unlist(post));
	}
}

/* Collect what has come back, and take out what is not the innermost post's. */
void
jflow_answers_collect(void)
{
	collect_returned();
	for (JflowPost *post = posts->remote.outer; post; post = post->remote.outer)
		take_out(post);
}

/* Are there answers to take? */
bool
jflow_answers_any(const JflowPost *post)
{
	return post->remote.returned != JFLOW_NONE || post->remote.taken_out != NIL ||
		pg_atomic_read_u32(&jflow_gateways[MyProcNumberCompat].done) != 0;
}

/*
 * The next answer, if there is one.  What it points to is good until the next
 * call: a slot is kept so long, and so is freed whatever is raised meanwhile; what
 * is reported to the client, or done with an answer, can be interrupted.
 */
bool
jflow_answers_next(JflowPost *post, JflowAnswer *answer)
{
	free_current(post);
	jflow_answers_collect();
	if (post->remote.taken_out != NIL)
	{
		*answer = *(JflowAnswer *) linitial(post->remote.taken_out);
		post->remote.taken_out = list_delete_first(post->remote.taken_out);
	}
	else if (post->remote.returned != JFLOW_NONE)
	{
		open_answer(post->remote.returned, answer);
		post->remote.current = unlist(post);
	}
	else
		return false;
	post->remote.out--;
	if (answer->call.request)
		answer->call.request->out--;
	return true;
}

/* How many answers so far have told of a write, or may not have told of it. */
uint64
jflow_answers_writes(void)
{
	return writes;
}
