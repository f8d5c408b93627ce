/*
 * visit.c
 *		One request at its executors.
 *
 * A visit is the documents' way through one executor: inputs joined, "when",
 * uses_before, shards, uses_after or the built-in reduce.  It is the same where
 * the functions run in this process and where replicas run them; only a call
 * differs.  One in this process is answered at once.  One to a replica may find
 * no slot or no memory, and is tried again from where the visit is; its answer
 * comes later.
 */
#include "postgres.h"

#include "common/pg_prng.h"

#include "compat.h"
#include "doc/reduce.h"
#include "runtime/gateway/answers.h"
#include "runtime/gateway/errors.h"
#include "runtime/gateway/local.h"
#include "runtime/gateway/parts.h"
#include "runtime/gateway/visit.h"

/* A request begins, or begins again, at the flow's input. */
void
jflow_visits_init(JflowPost *post, JflowRequest *request)
{
	const JflowFlow *flow = post->plan->flow;

	request->visits = palloc0(sizeof(JflowVisit) * Max(flow->nexecutors, 1));
	for (int i = 0; i < flow->noutputs; i++)
		request->visits[flow->outputs[i]].is_output = true;
	request->missing = flow->noutputs;
	request->at = JFLOW_NONE;
}

static void
finish_visit(JflowRequest *request, int step, Datum output)
{
	JflowVisit *visit = &request->visits[step];

	if (visit->place)
	{
		Datum		parts[2];

		parts[0] = visit->skipped;
		parts[1] = output;
		output = jflow_docs_count(visit->skipped) == 0 ? output :
			jflow_parts_restore(parts, 2, visit->place, visit->nplace);
	}
	visit->state = VISIT_FINISHED;
	visit->output = output;
	request->ready = true;
	if (visit->is_output)
		request->missing--;
}

/* The answer of a half: does it complete what the halves came from? */
static JflowPiece *
fold(JflowPiece *piece, Datum docs)
{
	piece->answer = docs;
	while (piece->parent && --piece->parent->missing == 0)
	{
		Datum		halves[2];
		int			counts[2];

		piece = piece->parent;
		halves[0] = piece->halves[0]->answer;
		halves[1] = piece->halves[1]->answer;
		piece->answer = jflow_concat(halves, 2, counts);
	}
	return piece->parent ? NULL : piece;
}

/*
 * A call has come further along a chain than where it went: its documents have
 * passed the executors before, and are at this one as if it had been called.
 */
void
jflow_visit_reach(JflowPost *post, const JflowCall *call, int step)
{
	JflowVisit *visit = &call->request->visits[step];

	if (call->step == step)
		return;
	for (int i = call->step; i != step; i = post->plan->steps[i].next)
		call->request->visits[i].state = VISIT_FINISHED;
	visit->state = VISIT_BUSY;
	visit->phase = PHASE_AFTER;
	visit->pending = 1;
}

/*
 * The documents that a call was answered with.  "step" is where they come from,
 * which may be further along a chain than where the call went; they are in the
 * memory of the request.
 */
void
jflow_visit_answer(JflowPost *post, const JflowCall *call, int step, Datum docs)
{
	JflowRequest *request = call->request;
	JflowVisit *visit = &request->visits[step];
	int			number = call->number;

	jflow_visit_reach(post, call, step);
	if (call->piece)
	{
		JflowPiece *root = fold(call->piece, docs);

		if (root == NULL)
			return;
		docs = root->answer;
		number = root->number;
	}
	visit->pending--;
	if (visit->phase == PHASE_AFTER)
		finish_visit(request, step, docs);
	else if (visit->phase == PHASE_BEFORE)
	{
		visit->docs = docs;
		visit->counts = NULL;
		visit->ncounts = 0;
		visit->phase = PHASE_SPREAD;
		request->ready = true;
	}
	else
	{
		visit->parts[number] = docs;
		request->ready |= visit->pending == 0;
	}
}

/*
 * Call something for a visit, which is in a new phase then.  False: there is no
 * slot or no memory for a replica now, and nothing has changed.
 */
static bool
ask(JflowPost *post, JflowRequest *request, int step, JflowVisitPhase phase, JflowCall *call)
{
	JflowVisit *visit = &request->visits[step];
	JflowVisitPhase before = visit->phase;

	call->request = request;
	call->step = step;
	visit->phase = phase;
	visit->pending++;
	if (!post->plan->steps[step].remote)
		jflow_visit_answer(post, call, step, jflow_local_call(post, call));
	else if (!jflow_answers_ask(post, call))
	{
		visit->phase = before;
		visit->pending--;
		return false;
	}
	return true;
}

/* Where everything is one call: it goes to one shard. */
static bool
ask_one_shard(JflowPost *post, JflowRequest *request, int step, int stages)
{
	const JflowVisit *visit = &request->visits[step];
	int			shards = post->plan->steps[step].executor->shards;
	JflowCall	call = {0};

	if (shards > 1 && (stages & STAGE_MAIN))
		call.shard = (int) pg_prng_uint64_range(&pg_global_prng_state, 0, shards - 1);
	call.stages = stages;
	call.docs = visit->docs;
	call.counts = visit->counts;
	call.ncounts = visit->ncounts;
	return ask(post, request, step, PHASE_AFTER, &call);
}

static bool
ask_before(JflowPost *post, JflowRequest *request, int step)
{
	const JflowVisit *visit = &request->visits[step];
	JflowCall	call = {0};

	call.stages = STAGE_BEFORE;
	call.docs = visit->docs;
	call.counts = visit->counts;
	call.ncounts = visit->ncounts;
	return ask(post, request, step, PHASE_BEFORE, &call);
}

/*
 * Work out which shards get what: each document the one that its id hashes to,
 * or all of them all.  A request without documents, like /clear, is about all.
 */
static void
spread(JflowPost *post, JflowVisit *visit, int step)
{
	const JflowStep *plan = &post->plan->steps[step];

	visit->nparts = plan->executor->shards;
	visit->parts = palloc(sizeof(Datum) * visit->nparts);
	visit->next_part = 0;
	visit->phase = PHASE_SHARDS;
	if (plan->polling == POLLING_HASH && jflow_docs_count(visit->docs) > 0)
		visit->nhashed = jflow_parts_by_id(visit->docs, plan->executor, &visit->hashed,
										   visit->parts);
	else
		for (int i = 0; i < visit->nparts; i++)
			visit->parts[i] = visit->docs;
}

static bool
ask_shards(JflowPost *post, JflowRequest *request, int step)
{
	JflowVisit *visit = &request->visits[step];

	while (visit->next_part < visit->nparts)
	{
		int			number = visit->next_part;
		JflowCall	call = {0};

		call.shard = call.number = number;
		call.stages = STAGE_MAIN;
		call.docs = visit->parts[number];
		call.counts = visit->counts;
		call.ncounts = visit->ncounts;
		if ((!visit->hashed || jflow_docs_count(call.docs) > 0) &&
			!ask(post, request, step, PHASE_SHARDS, &call))
			return false;
		visit->next_part++;
	}
	return true;
}

/* All shards have answered. */
static bool
reduce_parts(JflowPost *post, JflowRequest *request, int step)
{
	JflowVisit *visit = &request->visits[step];
	const JflowStep *plan = &post->plan->steps[step];
	JflowCall	call = {0};
	Datum		docs;

	if (!(plan->stages & STAGE_AFTER))
	{
		docs = visit->hashed ?
			jflow_parts_restore(visit->parts, visit->nparts, visit->hashed, visit->nhashed) :
			jflow_reduce_shards(visit->parts, visit->nparts, &plan->page);
		/* what has failed at one shard has failed */
		finish_visit(request, step, jflow_parts_without(docs, request->faulty));
		return true;
	}
	if (visit->joined_counts == NULL)
	{
		int		   *counts = palloc(sizeof(int) * visit->nparts);

		for (int i = 0; i < visit->nparts; i++)
			visit->parts[i] = jflow_parts_without(visit->parts[i], request->faulty);
		visit->joined = jflow_concat(visit->parts, visit->nparts, counts);
		visit->joined_counts = counts;
	}
	call.stages = STAGE_AFTER;
	call.docs = visit->joined;
	call.counts = visit->joined_counts;
	call.ncounts = visit->nparts;
	return ask(post, request, step, PHASE_AFTER, &call);
}

/* Send the halves of calls that have failed. */
static bool
ask_halves(JflowPost *post, JflowRequest *request, int step)
{
	JflowVisit *visit = &request->visits[step];

	while (visit->unsent)
	{
		JflowPiece *piece = visit->unsent;
		JflowCall	call = {0};

		call.request = request;
		call.step = step;
		call.shard = piece->shard;
		call.stages = piece->stages;
		call.number = piece->number;
		call.docs = piece->docs;
		call.piece = piece;
		if (!jflow_answers_ask(post, &call))
			return false;
		visit->unsent = piece->next;
	}
	return true;
}

/* Go on with a visit as far as it can; false: no slot or no memory. */
static bool
continue_visit(JflowPost *post, JflowRequest *request, int step)
{
	JflowVisit *visit = &request->visits[step];
	const JflowStep *plan = &post->plan->steps[step];
	int			stages = plan->stages & ~STAGE_FINISH;

	if (visit->unsent && !ask_halves(post, request, step))
		return false;
	if (visit->phase == PHASE_START)
	{
		if (plan->executor->shards == 1 || plan->polling == POLLING_ANY || !(stages & STAGE_MAIN))
			return ask_one_shard(post, request, step, stages);
		if (!(stages & STAGE_BEFORE))
			visit->phase = PHASE_SPREAD;
		else if (!ask_before(post, request, step))
			return false;
	}
	if (visit->phase == PHASE_SPREAD)
		spread(post, visit, step);
	if (visit->phase == PHASE_SHARDS)
	{
		if (!ask_shards(post, request, step))
			return false;
		if (visit->pending == 0)
			return reduce_parts(post, request, step);
	}
	return true;
}

/* What an executor gets: the answers of what it needs, joined. */
static void
join_inputs(JflowPost *post, JflowRequest *request, int step)
{
	const JflowExecutor *executor = post->plan->steps[step].executor;
	JflowVisit *visit = &request->visits[step];
	Datum	   *parts;
	int		   *counts;

	if (executor->nneeds == 1)
	{
		visit->docs = executor->inputs[0] == JFLOW_FLOW_INPUT ? request->input :
			request->visits[executor->inputs[0]].output;
		return;
	}
	parts = palloc(sizeof(Datum) * executor->nneeds);
	for (int i = 0; i < executor->nneeds; i++)
		parts[i] = jflow_parts_without(executor->inputs[i] == JFLOW_FLOW_INPUT ? request->input :
									   request->visits[executor->inputs[i]].output,
									   request->faulty);
	if (!post->plan->steps[step].unmerged)
	{
		visit->docs = jflow_reduce_branches(parts, executor->nneeds);
		return;
	}
	counts = palloc(sizeof(int) * executor->nneeds);
	visit->docs = jflow_concat(parts, executor->nneeds, counts);
	visit->counts = counts;
	visit->ncounts = executor->nneeds;
}

/* What a limit of time is for: one visit in this process. */
typedef struct LocalVisit
{
	JflowPost  *post;
	JflowRequest *request;
	int			step;
} LocalVisit;

static void
work_through(void *arg)
{
	LocalVisit *local = arg;

	(void) continue_visit(local->post, local->request, local->step);
}

/* All of a visit in this process, within the executor's limit of time. */
static void
work_in_time(JflowPost *post, JflowRequest *request, int step)
{
	const JflowStep *plan = &post->plan->steps[step];
	LocalVisit	local = {post, request, step};

	request->at = step;
	jflow_run_before_deadline(plan->timeout_ms, plan->what, work_through, &local);
}

/*
 * The same with these documents, for their sake alone: the visit is as it began
 * then.  It also begins so, since one that has failed may have left it anywhere.
 */
static Datum
try_here(JflowPost *post, JflowRequest *request, int step, Datum docs)
{
	JflowVisit *visit = &request->visits[step];
	Datum		output;

	*visit = request->begun;
	visit->docs = docs;
	visit->is_output = false;	/* that is counted once, by the caller */
	visit->place = NULL;
	work_in_time(post, request, step);
	output = visit->output;
	*visit = request->begun;
	return output;
}

static void
float_here(void *arg)
{
	LocalVisit *local = arg;

	(void) try_here(local->post, local->request, local->step, local->request->begun.docs);
}

/*
 * A floating executor gets the documents, but nobody waits for its answer: it
 * can neither change them nor fail the request.
 */
static void
start_floating_here(JflowPost *post, JflowRequest *request, int step)
{
	JflowVisit *visit = &request->visits[step];
	LocalVisit	local = {post, request, step};
	ErrorData  *error;

	request->begun = *visit;
	error = jflow_local_try(float_here, &local);
	*visit = request->begun;
	if (error)
		jflow_error_warn(psprintf("floating executor \"%s\"",
								  post->plan->steps[step].executor->name), error);
	finish_visit(request, step, visit->docs);
}

/* The visit of an executor without replicas. */
static void
start_here(JflowPost *post, JflowRequest *request, int step)
{
	JflowVisit *visit = &request->visits[step];
	Datum		docs;

	/* Without replicas the whole request is tried, and not one visit of it. */
	if (post->plan->steps[step].executor->floating)
		start_floating_here(post, request, step);
	else if (!post->plan->remote || !post->options->continue_on_error)
		work_in_time(post, request, step);
	else
	{
		request->begun = *visit;
		docs = jflow_local_in_halves(post, request, step, try_here, visit->docs,
									 visit->counts == NULL);
		*visit = request->begun;
		if (docs == (Datum) 0 || jflow_error_took_all(request))
			request->failed = true;
		else
			finish_visit(request, step, docs);
	}
}

/* An executor's inputs are there: begin. */
static void
start_visit(JflowPost *post, JflowRequest *request, int step)
{
	const JflowStep *plan = &post->plan->steps[step];
	JflowVisit *visit = &request->visits[step];

	join_inputs(post, request, step);
	if (!plan->active)
	{
		finish_visit(request, step, visit->docs);
		return;
	}
	visit->state = VISIT_BUSY;
	visit->phase = PHASE_START;
	if (plan->when && jflow_docs_count(visit->docs) > 0)
	{
		Datum		parts[2];
		int			ndocs = jflow_parts_by_filter(plan->when, visit->docs, &visit->place, parts);

		if (jflow_docs_count(parts[1]) == 0)
		{
			visit->place = NULL;
			finish_visit(request, step, visit->docs);
			return;
		}
		visit->nplace = ndocs;
		visit->skipped = parts[0];
		visit->docs = parts[1];
	}
	if (!plan->remote)
		start_here(post, request, step);
}

static bool
inputs_are_there(const JflowPost *post, const JflowRequest *request, int step)
{
	const JflowExecutor *executor = post->plan->steps[step].executor;

	for (int i = 0; i < executor->nneeds; i++)
		if (executor->inputs[i] != JFLOW_FLOW_INPUT &&
			request->visits[executor->inputs[i]].state != VISIT_FINISHED)
			return false;
	return true;
}

/* Go over all executors that have replicas, or over all that have none. */
static bool
advance_some(JflowPost *post, JflowRequest *request, bool remote)
{
	bool		complete = true;

	for (int i = 0; i < post->plan->flow->nexecutors && !request->failed; i++)
	{
		JflowVisit *visit = &request->visits[i];

		if (visit->state == VISIT_FINISHED ||
			(visit->state == VISIT_WAITING && post->plan->steps[i].remote != remote))
			continue;
		if (visit->state == VISIT_WAITING && inputs_are_there(post, request, i))
			start_visit(post, request, i);
		if (visit->state == VISIT_BUSY && !continue_visit(post, request, i))
			complete = false;
	}
	return complete;
}

/*
 * Start what can start: first what has replicas, so that they work while the
 * rest runs here.  Inputs come first in a flow, so one pass is enough for each,
 * until one makes the other go on.  False: something found no slot or no memory.
 */
bool
jflow_visits_advance(JflowPost *post, JflowRequest *request)
{
	MemoryContext old = MemoryContextSwitchTo(request->context);
	bool		complete = true;

	while (request->ready && complete && !request->failed)
	{
		request->ready = false;
		if (post->plan->remote)
			complete = advance_some(post, request, true);
		complete &= advance_some(post, request, false);
		if (!post->plan->remote)
			request->ready = false; /* all of it has run */
	}
	if (!complete)
		request->ready = true;
	MemoryContextSwitchTo(old);
	return complete;
}

/* The answer of a request of which no output is missing. */
Datum
jflow_visits_output(JflowPost *post, JflowRequest *request)
{
	const JflowFlow *flow = post->plan->flow;
	Datum	   *ends;

	if (flow->noutputs == 0)
		return request->input;
	if (flow->noutputs == 1)
		return request->visits[flow->outputs[0]].output;
	ends = palloc(sizeof(Datum) * flow->noutputs);
	for (int i = 0; i < flow->noutputs; i++)
		ends[i] = jflow_parts_without(request->visits[flow->outputs[i]].output, request->faulty);
	return jflow_reduce_branches(ends, flow->noutputs);
}
