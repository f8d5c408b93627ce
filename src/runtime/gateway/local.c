/*
 * local.c
 *		Calls that run in this process.
 *
 * They are part of the caller's transaction.  What must not end it runs in a
 * subtransaction, and from there again in halves if that can help.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "compat.h"
#include "doc/reduce.h"
#include "runtime/gateway/answers.h"
#include "runtime/gateway/errors.h"
#include "runtime/gateway/local.h"
#include "runtime/gateway/meter.h"
#include "runtime/gateway/parts.h"
#include "runtime/shared/tally.h"

/* Tell who watches the post of a call. */
static void
trace_call(const JflowPost *post, const JflowCall *call, const JflowContext *context, Datum answer,
		   int64 run_us)
{
	JflowTraced traced = {0};

	traced.request = context->request;
	traced.executor = context->executor->name;
	traced.shard = call->shard;
	traced.replica = -1;
	traced.docs_in = jflow_docs_count(call->docs);
	traced.docs_out = jflow_docs_count(answer);
	traced.run_us = run_us;
	traced.plans = context->plans && context->plans->text.len > 0 ? context->plans->text.data : NULL;
	post->options->trace(post->options->trace_arg, &traced);
}

/* Run a call; returns its answer in the current memory context. */
Datum
jflow_local_call(JflowPost *post, const JflowCall *call)
{
	const JflowStep *step = &post->plan->steps[call->step];
	JflowContext context;
	MemoryContext caller = CurrentMemoryContext;
	JflowPlans	plans = {0};
	TimestampTz started;
	Datum		answer;
	ErrorData  *error;

	memset(&context, 0, sizeof(context));
	context.flow = post->plan->flow;
	context.executor = step->executor;
	context.endpoint = post->plan->endpoint;
	context.shard = call->shard;
	context.shards = step->executor->shards;
	context.replicas = step->executor->replicas;
	context.post = post->progress.post;
	context.request = call->request ? call->request->number : post->number + 1;
	context.part = call->request ? call->request->part : 0;
	context.together = step->batched && (call->stages & STAGE_MAIN) ? 1 : 0;
	context.parts = call->counts;
	context.nparts = call->ncounts;
	context.read_only = post->options->read_only;
	context.moving = post->options->moving;
	context.tally = jflow_tally_find(context.flow->name, context.executor,
									 jflow_flow_owner(context.flow));
	if (post->options->trace && !post->stranger)
	{
		initStringInfo(&plans.text);
		context.plans = &plans;
	}
	jflow_meter_begin_call(post, call->step);
	started = GetCurrentTimestamp();
	PG_TRY();
	{
		answer = jflow_run_stages(&step->runnables, call->stages, &context, call->docs,
								  step->parameters);
		if (context.together > 0)
			jflow_check_one_for_one(context.executor, call->docs, answer);
	}
	PG_CATCH();
	{
		jflow_meter_end_call(post, call, started, jflow_count_kind(geterrcode()));
		if (!jflow_error_is_private(post, call->step))
			PG_RE_THROW();
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		jflow_error_strip(error);
		ReThrowError(error);
	}
	PG_END_TRY();
	jflow_meter_end_call(post, call, started, COUNT_OK);
	if (post->options->trace)
		trace_call(post, call, &context, answer, GetCurrentTimestamp() - started - plans.elapsed);
	return answer;
}

/* Is this an error that a post must not go on after? */
static bool
ends_post(const ErrorData *error)
{
	if (jflow_deadline_raised(error))
		return false;
	return error->sqlerrcode == ERRCODE_QUERY_CANCELED ||
		error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN ||
		error->sqlerrcode == ERRCODE_CRASH_SHUTDOWN;
}

/*
 * Call a function as jflow_try does.  Errors that cancel the statement are raised
 * again; a limit of time that has passed inside is not one of them.
 */
ErrorData *
jflow_local_try(JflowGuarded function, void *arg)
{
	return jflow_try(function, arg, ends_post);
}

/* What a subtransaction runs. */
typedef struct Trial
{
	JflowPost  *post;
	JflowRequest *request;
	int			step;
	JflowRunDocs function;
	Datum		docs;			/* in, then out */
} Trial;

static void
run_trial(void *arg)
{
	Trial	   *trial = arg;

	trial->docs = trial->function(trial->post, trial->request, trial->step, trial->docs);
}

/*
 * Is it of use, and without harm, to run documents again in halves?  Not if
 * something was committed meanwhile by posts that the functions have made.
 */
static bool
may_halve(JflowPost *post, const JflowRequest *request, const ErrorData *error, uint64 writes)
{
	const JflowStep *step;

	if (request->at == JFLOW_NONE)
		return false;
	step = &post->plan->steps[request->at];
	return jflow_error_is_of_docs(step, error) &&
		(step->idempotent || writes == jflow_answers_writes());
}

/* The same as below for documents that are the whole request, or a half of it. */
static Datum
run_docs(JflowPost *post, JflowRequest *request, int step, JflowRunDocs function, Datum docs,
		 bool divisible)
{
	Trial		trial = {post, request, step, function, docs};
	uint64		writes = jflow_answers_writes();
	int			ndocs = jflow_docs_count(docs);
	bool		whole = request->part == 0;
	bool		of_docs;
	ErrorData  *error;
	Datum		halves[2];
	int			counts[2];

	CHECK_FOR_INTERRUPTS();
	error = jflow_local_try(run_trial, &trial);
	if (error == NULL)
		return trial.docs;
	of_docs = divisible && ndocs > 0 && may_halve(post, request, error, writes);
	if (!of_docs || ndocs == 1)
	{
		jflow_error_report(post, request, request->at, error, docs, whole && !of_docs);
		return whole && !of_docs ? (Datum) 0 : jflow_docs_empty();
	}
	FreeErrorData(error);
	jflow_parts_halve(docs, &halves[0], &halves[1]);
	for (int i = 0; i < 2; i++)
	{
		request->part = ++request->nparts;
		halves[i] = run_docs(post, request, step, function, halves[i], true);
	}
	return jflow_concat(halves, 2, counts);
}

/*
 * Call a function with documents of a request, in a subtransaction.  If it fails
 * with an error that may be of a document, it is called with their halves, until
 * documents at fault stand alone; they are reported, and missing in the answer.
 * Returns 0 if the whole has failed with another error, which is reported, too.
 * Not divisible is what has parts that belong together.
 */
Datum
jflow_local_in_halves(JflowPost *post, JflowRequest *request, int step,
					  JflowRunDocs function, Datum docs, bool divisible)
{
	Datum		result = run_docs(post, request, step, function, docs, divisible);

	request->part = 0;
	return result;
}
