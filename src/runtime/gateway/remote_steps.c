/*
 * remote_steps.c
 *		One request at its executors: start, spread over shards, reduce.
 */
#include "postgres.h"

#include "common/pg_prng.h"

#include "compat.h"
#include "runtime/gateway/reduce.h"
#include "runtime/gateway/remote.h"

void
jflow_walk_finish_run(Walk *walk, int step, Datum output)
{
	Run		   *run = &walk->runs[step];

	if (run->place)
	{
		Datum		parts[2];

		parts[0] = run->skipped;
		parts[1] = output;
		output = jflow_docs_count(run->skipped) == 0 ? output :
			jflow_restore_order(parts, 2, run->place, run->nplace);
	}
	run->state = RUN_FINISHED;
	run->output = output;
	walk->ready = true;
	if (run->is_output)
		walk->missing--;
}

/* All shards have answered. */
static bool
reduce_parts(Engine *engine, Walk *walk, int step)
{
	Run		   *run = &walk->runs[step];
	JflowStep  *plan = &engine->plan->steps[step];

	if (plan->stages & STAGE_AFTER)
	{
		if (run->joined_counts == NULL)
		{
			int		   *counts = palloc(sizeof(int) * run->nparts);

			run->joined = jflow_concat(run->parts, run->nparts, counts);
			run->joined_counts = counts;
		}
		if (!jflow_answers_ask(engine, walk, step, 0, STAGE_AFTER, run->joined, run->joined_counts,
							   run->nparts, 0))
			return false;
		run->phase = PHASE_AFTER;
		run->pending = 1;
		return true;
	}
	if (run->hashed)
		jflow_walk_finish_run(walk, step, jflow_restore_order(run->parts, run->nparts, run->hashed, run->nhashed));
	else
		jflow_walk_finish_run(walk, step, jflow_reduce_shards(run->parts, run->nparts, plan->limit));
	return true;
}

/* Work out which shards get what. */
static void
spread(Engine *engine, Run *run, int step)
{
	JflowStep  *plan = &engine->plan->steps[step];
	int			shards = plan->executor->shards;
	int		   *counts = palloc(sizeof(int) * shards);
	Datum	   *elems;

	run->nparts = shards;
	run->parts = palloc(sizeof(Datum) * shards);
	run->next_part = 0;
	run->pending = 0;
	for (int i = 0; i < shards; i++)
		run->parts[i] = run->docs;
	if (plan->polling != POLLING_HASH || jflow_docs_count(run->docs) == 0)
		return;
	run->nhashed = jflow_docs_to_datums(run->docs, "documents", &elems);
	run->hashed = palloc(sizeof(int) * run->nhashed);
	for (int i = 0; i < run->nhashed; i++)
	{
		JflowDoc	doc;
		text	   *id;

		jflow_doc_deform(elems[i], &doc);
		id = DatumGetTextPP(doc.values[DOC_ID]);
		run->hashed[i] = jflow_shard_of_id(VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id), shards);
	}
	jflow_split_docs(elems, run->hashed, run->nhashed, run->parts, counts, shards);
}

/* Go on with an executor that has replicas; false: no slot or no memory. */
static bool
continue_remote(Engine *engine, Walk *walk, int step)
{
	Run		   *run = &walk->runs[step];
	JflowStep  *plan = &engine->plan->steps[step];
	int			shards = plan->executor->shards;
	int			stages = plan->stages & ~STAGE_FINISH;

	if (run->phase == PHASE_START)
	{
		if (stages == 0)
		{
			jflow_walk_finish_run(walk, step, run->docs);
			return true;
		}
		/* One shard, or one of them: all in one call. */
		if (shards == 1 || plan->polling == POLLING_ANY || !(stages & STAGE_MAIN))
		{
			int			shard = shards == 1 || !(stages & STAGE_MAIN) ? 0 :
				(int) pg_prng_uint64_range(&pg_global_prng_state, 0, shards - 1);

			if (!jflow_answers_ask(engine, walk, step, shard, stages, run->docs, run->counts, run->ncounts, 0))
				return false;
			run->phase = PHASE_AFTER;
			run->pending = 1;
			return true;
		}
		if (stages & STAGE_BEFORE)
		{
			if (!jflow_answers_ask(engine, walk, step, 0, STAGE_BEFORE, run->docs, run->counts, run->ncounts, 0))
				return false;
			run->phase = PHASE_BEFORE;
			run->pending = 1;
			return true;
		}
		run->phase = PHASE_SPREAD;
	}
	if (run->phase == PHASE_SPREAD)
	{
		spread(engine, run, step);
		run->phase = PHASE_SHARDS;
	}
	while (run->phase == PHASE_SHARDS && run->next_part < run->nparts)
	{
		Datum		docs = run->parts[run->next_part];

		if (!run->hashed || jflow_docs_count(docs) > 0)
		{
			if (!jflow_answers_ask(engine, walk, step, run->next_part, STAGE_MAIN, docs,
								   run->counts, run->ncounts, run->next_part))
				return false;
			run->pending++;
		}
		run->next_part++;
	}
	if (run->phase == PHASE_SHARDS && run->pending == 0)
		return reduce_parts(engine, walk, step);
	return true;
}

static void
run_local(void *arg)
{
	jflow_visit_before_deadline(arg);
}

/* An executor's inputs are there: begin. */
static void
start_run(Engine *engine, Walk *walk, int step)
{
	Run		   *run = &walk->runs[step];
	JflowStep  *plan = &engine->plan->steps[step];
	Visit		visit;

	memset(&visit, 0, sizeof(visit));
	visit.post = engine->post;
	visit.step = plan;
	for (int i = 0; i < engine->plan->flow->nexecutors; i++)
		walk->outputs[i] = walk->runs[i].output;
	visit.docs = jflow_join_inputs(&visit, walk->outputs, walk->input);
	run->docs = visit.docs;
	run->counts = visit.parts;
	run->ncounts = visit.nparts;
	if (!plan->active)
		jflow_walk_finish_run(walk, step, run->docs);
	else if (plan->remote)
	{
		run->state = RUN_BUSY;
		run->phase = PHASE_START;
		if (plan->when && jflow_docs_count(run->docs) > 0)
		{
			Datum	   *elems;
			Datum		parts[2];
			int			counts[2];

			run->nplace = jflow_docs_to_datums(run->docs, "documents", &elems);
			run->place = palloc(sizeof(int) * run->nplace);
			for (int i = 0; i < run->nplace; i++)
			{
				JflowDoc	doc;

				jflow_doc_deform(elems[i], &doc);
				run->place[i] = jflow_filter_match(plan->when, &doc) ? 1 : 0;
			}
			jflow_split_docs(elems, run->place, run->nplace, parts, counts, 2);
			if (counts[1] == 0)
			{
				run->place = NULL;
				jflow_walk_finish_run(walk, step, run->docs);
				return;
			}
			run->skipped = parts[0];
			run->docs = parts[1];
		}
	}
	else if (plan->executor->floating)
	{
		jflow_visit_floating(&visit);
		jflow_walk_finish_run(walk, step, run->docs);
	}
	else if (engine->post->options->continue_on_error)
	{
		if (jflow_run_in_subtransaction(run_local, &visit, psprintf("request " INT64_FORMAT, walk->number)))
			jflow_walk_finish_run(walk, step, visit.docs);
		else
			walk->failed = true;
	}
	else
	{
		run_local(&visit);
		jflow_walk_finish_run(walk, step, visit.docs);
	}
}

static bool
inputs_are_there(const Engine *engine, const Walk *walk, int step)
{
	const JflowExecutor *executor = engine->plan->steps[step].executor;

	for (int i = 0; i < executor->nneeds; i++)
		if (executor->inputs[i] != JFLOW_GATEWAY &&
			walk->runs[executor->inputs[i]].state != RUN_FINISHED)
			return false;
	return true;
}

/*
 * Start what can start: first what has replicas, so that they work while the
 * rest runs here.  False: something found no slot or no memory.
 */
bool
jflow_walk_advance(Engine *engine, Walk *walk)
{
	MemoryContext old = MemoryContextSwitchTo(walk->context);
	bool		complete = true;

	while (walk->ready && complete && !walk->failed)
	{
		walk->ready = false;
		for (int local = 0; local <= 1; local++)
		{
			for (int i = 0; i < engine->plan->flow->nexecutors && !walk->failed; i++)
			{
				Run		   *run = &walk->runs[i];

				if (engine->plan->steps[i].remote == (local == 1) && run->state == RUN_WAITING)
					continue;
				if (run->state == RUN_WAITING && inputs_are_there(engine, walk, i))
					start_run(engine, walk, i);
				if (run->state == RUN_BUSY && !continue_remote(engine, walk, i))
					complete = false;
			}
		}
	}
	if (!complete)
		walk->ready = true;
	MemoryContextSwitchTo(old);
	return complete;
}
