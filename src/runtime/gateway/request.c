/*
 * request.c
 *		The requests of a post: from the source through the flow to the sink.
 *
 * An executor starts as soon as its inputs are there, so branches that have
 * replicas run side by side; where such executors follow one another plainly,
 * their pools hand the request on and it is heard of only at the end of the
 * chain.  Nothing here blocks but one wait on the latch: a call that finds no
 * slot or no memory is tried again when something was freed.
 *
 * A post without replicas goes the same way.  Nothing of it is ever out, so
 * there is one request at a time, and it never waits.
 *
 * All memory of a request is in one context, used again once its answer went to
 * the sink, so a post needs no more memory for a million requests than for one.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "compat.h"
#include "runtime/gateway/errors.h"
#include "runtime/gateway/local.h"
#include "runtime/gateway/remote.h"
#include "runtime/gateway/request.h"
#include "runtime/gateway/visit.h"

static void
forget_request(JflowPost *post, JflowRequest *request)
{
	if (request->prev)
		request->prev->next = request->next;
	else
		post->first = request->next;
	if (request->next)
		request->next->prev = request->prev;
	else
		post->last = request->prev;
	post->nrequests--;
	post->contexts[post->ncontexts++] = request->context;
}

/* The end of a request, good or bad. */
void
jflow_request_end(JflowPost *post, JflowRequest *request, Datum docs, bool ok)
{
	if (ok && post->sink)
		post->sink(post->sink_arg, docs);
	if (request->wrote)
		post->committed++;
	if (request->wrote && !ok)
		post->partly++;
	jflow_progress_request(&post->progress, request->ndocs, request->nfaulty,
						   !ok || request->nfaulty > 0);
	if (request->out > 0)
		request->delivered = true;	/* floating executors are not done yet */
	else
		forget_request(post, request);
}

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
				forget_request(post, request);
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

/* One more request from the source; false at the end. */
static bool
new_request(JflowPost *post)
{
	MemoryContext context;
	MemoryContext old;
	JflowRequest *request;
	Datum		docs;

	if (post->ncontexts > 0)
		context = post->contexts[--post->ncontexts];
	else
		context = AllocSetContextCreate(post->context, "jflow request", ALLOCSET_DEFAULT_SIZES);
	MemoryContextReset(context);
	old = MemoryContextSwitchTo(context);
	if (!post->source->next(post->source, post->request_size, &docs))
	{
		post->exhausted = true;
		if (post->number > 0)
		{
			post->contexts[post->ncontexts++] = context;
			MemoryContextSwitchTo(old);
			return false;
		}
		/* A post without documents is a request of parameters alone. */
		docs = jflow_docs_empty();
	}
	request = palloc0(sizeof(JflowRequest));
	request->context = context;
	request->number = ++post->number;
	request->input = docs;
	request->ndocs = jflow_docs_count(docs);
	jflow_visits_init(post, request);
	request->ready = true;
	request->prev = post->last;
	if (post->last)
		post->last->next = request;
	else
		post->first = request;
	post->last = request;
	post->nrequests++;
	MemoryContextSwitchTo(old);
	return true;
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
			if (!new_request(post))
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
