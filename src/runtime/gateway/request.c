/*
 * request.c
 *		A request: taken from the source, and its answer given to the sink.
 *
 * All memory of a request is in one context, used again once its answer went to
 * the sink, so a post needs no more memory for a million requests than for one.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "compat.h"
#include "runtime/gateway/request.h"
#include "runtime/gateway/visit.h"

/* Does nothing of a flow run in this process? */
static bool
is_all_remote(const JflowPlan *plan)
{
	for (int i = 0; i < plan->flow->nexecutors; i++)
		if (plan->steps[i].active && !plan->steps[i].remote)
			return false;
	return true;
}

/* One more request from the source, not started; false at the end. */
bool
jflow_request_take(JflowPost *post)
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
	post->source->idle = post->remote.out > 0 && is_all_remote(post->plan);
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

/* Take a request out of its post: its memory is used again. */
void
jflow_request_forget(JflowPost *post, JflowRequest *request)
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
		jflow_request_forget(post, request);
}
