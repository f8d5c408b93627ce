/*
 * remote.c
 *		Calls that replicas run.
 *
 * They are sent as slots to the pools of their shards, and answered in any
 * order.  A call that fails with an error that may be of a document is sent
 * again in halves, if the post goes on after errors: each is a transaction of
 * its own, so the call that has failed has left nothing.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "runtime/gateway/answers.h"
#include "runtime/gateway/deadlock.h"
#include "runtime/gateway/errors.h"
#include "runtime/gateway/parts.h"
#include "runtime/gateway/remote.h"
#include "runtime/gateway/remote_shared.h"
#include "runtime/gateway/visit.h"
#include "runtime/shared/message.h"
#include "settings.h"

/*
 * A post that has calls for replicas begins.  Returns false, and has done
 * nothing, if a pool is gone that was there when the post was planned.  The
 * caller calls jflow_remote_end however the post ends.
 */
bool
jflow_remote_begin(JflowPost *post)
{
	jflow_answers_enter(post);
	PG_TRY();
	{
		post->remote.shared = jflow_post_shared_make(post);
	}
	PG_CATCH();
	{
		jflow_answers_leave(post);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (DsaPointerIsValid(post->remote.shared))
		return true;
	jflow_answers_leave(post);
	return false;
}

/* The post ends, in whatever way: what is out is given up. */
void
jflow_remote_end(JflowPost *post)
{
	jflow_answers_leave(post);
}

static const char *
lost_message(JflowOutcome outcome)
{
	return outcome == OUTCOME_UNKNOWN ?
		"a replica of executor \"%s\" of flow \"%s\" went away while it committed request " INT64_FORMAT :
		"a replica of executor \"%s\" of flow \"%s\" went away while it ran request " INT64_FORMAT;
}

/* Tell who watches the post of an answer that is no error. */
static void
trace_answer(const JflowPost *post, const JflowAnswer *answer, const StringInfoData *plans)
{
	const JflowSlot *slot = &answer->slot;
	JflowTraced traced = {0};

	if (!post->options->trace || slot->outcome != OUTCOME_OK)
		return;
	traced.request = slot->request;
	traced.executor = post->plan->steps[slot->step].executor->name;
	traced.shard = slot->shard;
	traced.replica = slot->replica_number;
	traced.docs_in = answer->call.ndocs;
	traced.docs_out = answer->docs ? jflow_docs_count(answer->docs) : 0;
	traced.queue_us = slot->queue_us;
	traced.run_us = slot->run_us;
	traced.hop_us = Max(GetCurrentTimestamp() - slot->taken - slot->queue_us - slot->run_us, 0);
	traced.plans = plans->len > 0 ? plans->data : NULL;
	post->options->trace(post->options->trace_arg, &traced);
}

/* Raises the notices that came along; returns the error, or NULL. */
static ErrorData *
answer_error(const JflowPost *post, const JflowAnswer *answer)
{
	const JflowSlot *slot = &answer->slot;
	const JflowExecutor *executor = post->plan->steps[slot->step].executor;
	ErrorData  *error = NULL;
	StringInfoData plans = {0};

	if (post->options->trace)
		initStringInfo(&plans);
	if (answer->messages)
		error = jflow_messages_read(answer->messages, answer->nmessages, plans.data ? &plans : NULL);
	trace_answer(post, answer, &plans);
	if (error && jflow_error_is_private(post, slot->step))
		jflow_error_strip(error);
	if (slot->outcome == OUTCOME_OK)
		return NULL;
	if (error == NULL)
	{
		error = palloc0(sizeof(ErrorData));
		error->elevel = ERROR;
		error->assoc_context = CurrentMemoryContext;
		if (slot->outcome == OUTCOME_CLOSED)
		{
			error->sqlerrcode = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
			error->message = psprintf("executor \"%s\" of flow \"%s\" takes no more requests",
									  executor->name, post->plan->flow->name);
			error->detail = pstrdup("The flow was stopped, or its replicas cannot run; see jflow_status.");
		}
		else
		{
			error->sqlerrcode = slot->outcome == OUTCOME_UNKNOWN ?
				ERRCODE_T_R_STATEMENT_COMPLETION_UNKNOWN : ERRCODE_OPERATOR_INTERVENTION;
			error->message = psprintf(lost_message(slot->outcome), executor->name,
									  post->plan->flow->name, slot->request);
			if (slot->outcome == OUTCOME_UNKNOWN)
				error->hint = pstrdup("The request may or may not have been committed. Endpoints declared idempotent are run again.");
		}
	}
	return error;
}

/* A request fails: stop its other calls. */
void
jflow_remote_stop(JflowPost *post, JflowRequest *request)
{
	request->failed = true;
	jflow_answers_stop(post, request);
}

/*
 * The documents that a call has failed with: may they be run again in halves?
 * Not those of several parts that belong together, and not if a post that the
 * function has made may have committed something.
 */
static bool
may_halve(const JflowPost *post, const JflowAnswer *answer, const ErrorData *error)
{
	return answer->slot.outcome == OUTCOME_ERROR && answer->docs && !answer->unmerged &&
		jflow_docs_count(answer->docs) > 0 && !answer->slot.nested_wrote &&
		jflow_error_is_of_docs(&post->plan->steps[answer->slot.step], error);
}

/* The piece that a failed call is the root of, or is already. */
static JflowPiece *
piece_of(const JflowAnswer *answer)
{
	JflowPiece *piece = answer->call.piece;

	if (piece)
		return piece;
	piece = palloc0(sizeof(JflowPiece));
	piece->number = answer->call.number;
	return piece;
}

/* Send the halves of a call that has failed, or leave out its only document. */
static void
send_halves(JflowPost *post, const JflowAnswer *answer, const ErrorData *error)
{
	JflowCall	call = answer->call;
	JflowRequest *request = call.request;
	int			step = answer->slot.step;
	JflowVisit *visit = &request->visits[step];
	JflowPiece *piece = piece_of(answer);
	Datum		docs = answer->is_copy ? answer->docs : datumCopy(answer->docs, false, -1);
	Datum		halves[2];

	if (jflow_docs_count(docs) == 1)
	{
		jflow_error_report(post, request, step, error, docs, false);
		jflow_visit_answer(post, &call, step, jflow_docs_empty());
		return;
	}
	if (call.step != step)
		jflow_visit_reach(post, &call, step);
	jflow_parts_halve(docs, &halves[0], &halves[1]);
	piece->missing = 2;
	for (int i = 1; i >= 0; i--)
	{
		JflowPiece *half = palloc0(sizeof(JflowPiece));

		half->docs = halves[i];
		half->parent = piece;
		half->shard = answer->slot.shard;
		half->stages = answer->slot.stages;
		half->number = piece->number;
		half->next = visit->unsent;
		visit->unsent = half;
		piece->halves[i] = half;
	}
	piece->halves[0]->part = ++request->nparts;
	piece->halves[1]->part = ++request->nparts;
	request->ready = true;
}

/* A call has failed: so has its request, unless it can go on without. */
static void
take_error(JflowPost *post, const JflowAnswer *answer, ErrorData *error)
{
	JflowRequest *request = answer->call.request;
	int			step = answer->slot.step;
	const JflowExecutor *executor = post->plan->steps[step].executor;

	if (executor->floating)
		jflow_error_warn(psprintf("floating executor \"%s\"", executor->name), error);
	else if (request->failed || post->failing)
		;
	else if (!post->options->continue_on_error)
	{
		post->error = error;
		jflow_remote_stop(post, request);
	}
	else if (may_halve(post, answer, error))
	{
		send_halves(post, answer, error);
		if (jflow_error_took_all(request))
			jflow_remote_stop(post, request);
	}
	else
	{
		jflow_error_report(post, request, step, error, request->input, true);
		jflow_remote_stop(post, request);
	}
}

/*
 * May an answer go to the sink from where it is?  Not if the request has more to
 * start: it ends with this answer.
 */
static bool
goes_straight(const JflowPost *post, const JflowRequest *request, const JflowVisit *visit)
{
	return visit->is_output && request->missing == 1 && !request->ready &&
		post->plan->flow->noutputs == 1 && visit->place == NULL && !post->failing &&
		(post->sink == NULL || !post->ordered || request == post->first);
}

/* A call was answered. */
static void
take_docs(JflowPost *post, const JflowAnswer *answer)
{
	const JflowCall *call = &answer->call;
	JflowRequest *request = call->request;
	int			step = answer->slot.step;
	JflowVisit *visit = &request->visits[step];

	if (call->piece == NULL && (call->step != step || visit->phase == PHASE_AFTER) &&
		goes_straight(post, request, visit))
	{
		jflow_visit_reach(post, call, step);
		visit->state = VISIT_FINISHED;
		request->missing--;
		jflow_request_end(post, request, answer->docs, true);
		return;
	}
	jflow_visit_answer(post, call, step,
					   answer->is_copy ? answer->docs : datumCopy(answer->docs, false, -1));
}

/* Take all answers that have come back. */
void
jflow_remote_take(JflowPost *post)
{
	JflowAnswer answer;

	while (jflow_answers_next(post, &answer))
	{
		JflowRequest *request = answer.call.request;
		MemoryContext old = MemoryContextSwitchTo(request ? request->context : post->context);
		ErrorData  *error = answer_error(post, &answer);

		if (request == NULL)
			post->remote.finish_error = error;
		else
		{
			request->wrote |= answer.slot.wrote;
			if (error)
				take_error(post, &answer, error);
			else if (!request->failed)
				take_docs(post, &answer);
		}
		MemoryContextSwitchTo(old);
	}
}

/*
 * How many requests may still be out when it is worth to wake up.  Of the shards
 * of one executor nothing can be made before the last has answered; if there is
 * nothing else to do, it alone shall wake us.  What fails always does.
 */
static uint32
choose_wake(const JflowPost *post, bool blocked, uint32 outstanding)
{
	if (post->remote.outer == NULL && !blocked)
	{
		if (post->plain)
			return post->exhausted ? 0 : outstanding / 2;
		if (post->exhausted && post->nrequests == 1)
			for (int i = 0; i < post->plan->flow->nexecutors; i++)
				if (post->first->visits[i].pending == post->remote.out)
					return 0;
	}
	return outstanding > 0 ? outstanding - 1 : 0;
}

/* Sleep until something came back, or was freed if we wait for that. */
void
jflow_remote_wait(JflowPost *post, bool blocked)
{
	JflowGatewayEntry *entry = &jflow_gateways[MyProcNumberCompat];
	uint32		outstanding = pg_atomic_read_u32(&entry->outstanding);
	uint32		wake_at = choose_wake(post, blocked, outstanding);

	/* The worker of a sync has no other snapshot, and may wait for long. */
	InvalidateCatalogSnapshotConditionally();
	pg_atomic_write_u32(&entry->wake_at, wake_at);
	pg_memory_barrier();
	if (pg_atomic_read_u32(&entry->outstanding) > wake_at || (blocked && outstanding == 0))
	{
		int			events = WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
									   DeadlockTimeout, PG_WAIT_EXTENSION);

		if (events & WL_TIMEOUT)
			jflow_check_deadlock();
	}
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	jflow_progress_check_cancel(&post->progress);
}

/* Nothing more can be done now: wait, unless there are answers already. */
void
jflow_remote_rest(JflowPost *post, bool blocked)
{
	JflowRemote *remote = &post->remote;

	if (jflow_answers_any(post))
		return;
	if (blocked)
	{
		/* say so, try once more, and only then sleep */
		jflow_payload_want(true);
		if (!remote->said_blocked)
		{
			remote->said_blocked = true;
			return;
		}
	}
	else if (remote->said_blocked)
	{
		remote->said_blocked = false;
		jflow_payload_want(false);
	}
	if (remote->out == 0 && !blocked)
		return;					/* everything ran here */
	jflow_remote_wait(post, blocked);
}

/* Call the finish function of an executor, and wait for it. */
void
jflow_remote_finish(JflowPost *post, const JflowCall *call)
{
	while (!jflow_answers_ask(post, call))
	{
		jflow_remote_take(post);	/* for the posts around this one */
		jflow_remote_rest(post, true);
	}
	post->remote.said_blocked = false;
	jflow_payload_want(false);
	while (post->remote.out > 0)
	{
		jflow_remote_take(post);
		if (post->remote.out > 0)
			jflow_remote_wait(post, false);
	}
	if (post->remote.finish_error)
		ThrowErrorData(post->remote.finish_error);
}
