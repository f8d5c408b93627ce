/*
 * loop.c
 *		All requests of a post, from the source through the flow to the sink.
 *
 * An executor starts as soon as its inputs are there, so branches that have
 * replicas run side by side; where such executors follow one another plainly,
 * their pools hand the request on and it is heard of only at the end of the
 * chain.  Nothing here blocks but one wait on the latch: a call that finds no
 * slot or no memory is tried again when something was freed.
 *
 * A post without replicas goes the same way.  Nothing of it is ever out, so
 * there is one request at a time, and it never waits.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "compat.h"
#include "runtime/gateway/local.h"
#include "runtime/gateway/loop.h"
#include "runtime/gateway/remote.h"
#include "runtime/gateway/request.h"
#include "runtime/gateway/visit.h"

/* Hand over answers that are complete, in order if that was asked for. */
static void
deliver(JflowPost *post)
{
	JflowRequest *request = post->first;

	while (request)
	{
		JflowRequest *next = request->next;

		if (request->failed && !request->delivered)
		{
			if (request->out == 0)
				jflow_request_end(post, request, (Datum) 0, false);
		}
		else if (request->delivered)
		{
			/* A floating executor of several calls may have more to ask. */
			if (request->out == 0 && !request->ready)
				jflow_request_forget(post, request);
		}
		else if (request->missing == 0 && !request->ready)
		{
			MemoryContext old = MemoryContextSwitchTo(request->context);

			jflow_request_end(post, request, jflow_visits_output(post, request), true);
			MemoryContextSwitchTo(old);
		}
		else if (post->ordered)
			break;
		request = next;
	}
}

/* A request without replicas from end to end, with these documents. */
static Datum
run_through(JflowPost *post, JflowRequest *request, int step, Datum docs)
{
	request->input = docs;
	jflow_visits_init(post, request);
	request->ready = true;
	(void) jflow_visits_advance(post, request);
	return jflow_visits_output(post, request);
}

/*
 * Go on with a request.  If the post goes on after errors, one without replicas
 * is tried as a whole, so that of a document that fails nothing is left.
 */
static bool
advance(JflowPost *post, JflowRequest *request)
{
	MemoryContext old;
	Datum		input = request->input;
	Datum		docs;

	if (post->plan->remote || !post->options->continue_on_error)
		return jflow_visits_advance(post, request);
	old = MemoryContextSwitchTo(request->context);
	docs = jflow_local_in_halves(post, request, JFLOW_NONE, run_through, input, true);
	request->ready = false;
	if (docs == (Datum) 0)
		request->failed = true;
	else
		jflow_request_end(post, request, docs, true);
	MemoryContextSwitchTo(old);
	return true;
}

/* A request has failed: stop the others, and raise its error. */
static void JFLOW_NORETURN
fail_post(JflowPost *post)
{
	post->failing = true;
	for (JflowRequest *request = post->first; request; request = request->next)
		jflow_remote_stop(post, request);
	post->exhausted = true;
	while (post->remote.out > 0)
	{
		jflow_remote_take(post);
		if (post->remote.out > 0)
			jflow_remote_wait(post, false);
	}
	ThrowErrorData(post->error);
	pg_unreachable();
}

/*
 * Once all requests are done, executors whose endpoint asks for it are told: one
 * call without documents.
 */
static void
finish_executors(JflowPost *post)
{
	for (int i = 0; i < post->plan->flow->nexecutors; i++)
	{
		JflowStep  *step = &post->plan->steps[i];
		JflowCall	call = {0};

		if (!step->active || !(step->stages & STAGE_FINISH))
			continue;
		call.step = i;
		call.stages = STAGE_FINISH;
		call.docs = jflow_docs_empty();
		if (step->remote)
			jflow_remote_finish(post, &call);
		else
			(void) jflow_local_call(post, &call);
	}
}

/* Take new requests and go on with those under way, until all have ended. */
static void
run_requests(JflowPost *post)
{
	bool		remote = post->plan->remote;

	for (;;)
	{
		bool		blocked = false;

		CHECK_FOR_INTERRUPTS();
		if (remote)
			jflow_remote_take(post);
		if (post->error)
			fail_post(post);
		for (JflowRequest *request = post->first; request && !blocked; request = request->next)
			if (request->ready && !request->failed)
				blocked = !jflow_visits_advance(post, request);
		deliver(post);
		while (!blocked && !post->exhausted && post->nrequests < post->prefetch)
		{
			CHECK_FOR_INTERRUPTS();
			if (!jflow_request_take(post))
				break;
			blocked = !advance(post, post->last);
		}
		if (!post->plain)
			deliver(post);
		if (post->exhausted && post->nrequests == 0)
			break;
		if (remote)
			jflow_remote_rest(post, blocked);
	}
}

/* All requests of a post that is planned, and what is to be done after them. */
void
jflow_requests_run(JflowPost *post)
{
	run_requests(post);
	if (post->progress.failed == 0)
	{
		MemoryContext old = MemoryContextSwitchTo(post->context);

		finish_executors(post);
		MemoryContextSwitchTo(old);
	}
	for (int i = 0; i < post->ncontexts; i++)
		MemoryContextDelete(post->contexts[i]);
}
