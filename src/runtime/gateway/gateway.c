/*
 * gateway.c
 *		A post: documents cut into requests and walked through a flow.
 *
 * A request is a jflow_doc[].  It visits the executors in order of definition,
 * which is an order in which inputs come first; an executor that has nothing to
 * do hands on the very same datum.  All memory of a request is in one context,
 * reset after its answer went to the sink, so a post needs no more memory for a
 * million requests than for one.
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "compat.h"
#include "runtime/deadline.h"
#include "runtime/gateway/gateway.h"
#include "runtime/gateway/plan.h"
#include "runtime/gateway/reduce.h"
#include "runtime/gateway/visit.h"
#include "settings.h"

/* Call one function of a step for one shard. */
Datum
jflow_call_function(const Visit *visit, JflowRunnable *runnable, int shard, Datum docs,
					const int *parts, int nparts)
{
	const JflowStep *step = visit->step;
	JflowContext context;

	memset(&context, 0, sizeof(context));
	context.flow = visit->post->plan->flow;
	context.executor = step->executor;
	context.endpoint = visit->post->plan->endpoint;
	context.shard = shard;
	context.shards = step->executor->shards;
	context.replicas = step->executor->replicas;
	context.post = visit->post->progress.post;
	context.request = visit->post->progress.steps_done + 1;
	context.parts = parts;
	context.nparts = nparts;
	return jflow_run(runnable, &context, docs, step->parameters);
}

static Datum
call_shard(const Visit *visit, int shard, Datum docs)
{
	return jflow_call_function(visit, visit->step->function, shard, docs,
							   visit->parts, visit->nparts);
}

/*
 * Put answers back where the documents they answer were: place[i] says which
 * part document i went to.  An answer that has fewer documents than were sent
 * leaves gaps; one that has more gives the surplus at the end.
 */
Datum
jflow_restore_order(const Datum *parts, int nparts, const int *place, int ndocs)
{
	Datum	  **elems = palloc(sizeof(Datum *) * nparts);
	int		   *counts = palloc(sizeof(int) * nparts);
	int		   *used = palloc0(sizeof(int) * nparts);
	Datum	   *result;
	int			total = 0,
				n = 0;

	for (int i = 0; i < nparts; i++)
	{
		counts[i] = jflow_docs_to_datums(parts[i], "documents", &elems[i]);
		total += counts[i];
	}
	result = palloc(sizeof(Datum) * Max(total, 1));
	for (int i = 0; i < ndocs; i++)
		if (used[place[i]] < counts[place[i]])
			result[n++] = elems[place[i]][used[place[i]]++];
	for (int i = 0; i < nparts; i++)
		while (used[i] < counts[i])
			result[n++] = elems[i][used[i]++];
	return jflow_docs_from_datums(result, n);
}

/* Cut documents into parts by place[]; the inverse of jflow_restore_order. */
void
jflow_split_docs(Datum *elems, const int *place, int ndocs, Datum *parts, int *counts, int nparts)
{
	Datum	   *sorted = palloc_extended(sizeof(Datum) * Max(ndocs, 1), MCXT_ALLOC_HUGE);
	int		   *start = palloc0(sizeof(int) * (nparts + 1));

	for (int i = 0; i < ndocs; i++)
		start[place[i] + 1]++;
	for (int part = 0; part < nparts; part++)
	{
		counts[part] = start[part + 1];
		start[part + 1] += start[part];
	}
	for (int i = 0; i < ndocs; i++)
		sorted[start[place[i]]++] = elems[i];
	for (int part = 0; part < nparts; part++)
		parts[part] = counts[part] > 0 ?
			jflow_docs_from_datums(sorted + start[part] - counts[part], counts[part])
			: jflow_docs_empty();
}

/* Answers of several shards become one. */
static Datum
reduce_shards(const Visit *visit, Datum *parts, int nparts)
{
	const JflowStep *step = visit->step;

	if (step->after)
	{
		int		   *counts = palloc(sizeof(int) * nparts);
		Datum		docs = jflow_concat(parts, nparts, counts);

		return jflow_call_function(visit, step->after, 0, docs, counts, nparts);
	}
	return jflow_reduce_shards(parts, nparts, step->limit);
}

/* Every shard gets all documents. */
static Datum
poll_all(const Visit *visit, Datum docs)
{
	int			shards = visit->step->executor->shards;
	Datum	   *parts = palloc(sizeof(Datum) * shards);

	for (int shard = 0; shard < shards; shard++)
		parts[shard] = call_shard(visit, shard, docs);
	return reduce_shards(visit, parts, shards);
}

/* Each document goes to the shard that its id hashes to. */
static Datum
poll_hash(const Visit *visit, Datum docs)
{
	int			shards = visit->step->executor->shards;
	Datum	   *elems;
	int			ndocs = jflow_docs_to_datums(docs, "documents", &elems);
	int		   *place = palloc(sizeof(int) * Max(ndocs, 1));
	Datum	   *parts = palloc(sizeof(Datum) * shards);
	int		   *counts = palloc(sizeof(int) * shards);

	for (int i = 0; i < ndocs; i++)
	{
		JflowDoc	doc;
		text	   *id;

		jflow_doc_deform(elems[i], &doc);
		id = DatumGetTextPP(doc.values[DOC_ID]);
		place[i] = jflow_shard_of_id(VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id), shards);
	}
	jflow_split_docs(elems, place, ndocs, parts, counts, shards);
	for (int shard = 0; shard < shards; shard++)
		if (counts[shard] > 0)
			parts[shard] = call_shard(visit, shard, parts[shard]);
	if (visit->step->after)
		return reduce_shards(visit, parts, shards);
	return jflow_restore_order(parts, shards, place, ndocs);
}

/* The documents' way through one executor: before, shards, reduce. */
static Datum
visit_shards(const Visit *visit, Datum docs)
{
	const JflowStep *step = visit->step;
	int			shards = step->executor->shards;

	if (step->before)
		docs = jflow_call_function(visit, step->before, 0, docs, NULL, 0);
	if (step->function == NULL)
		return step->after ? reduce_shards(visit, &docs, 1) : docs;

	if (step->polling == POLLING_ANY || shards == 1)
	{
		int			shard = shards == 1 ? 0 :
			(int) pg_prng_uint64_range(&pg_global_prng_state, 0, shards - 1);

		docs = call_shard(visit, shard, docs);
		return step->after ? reduce_shards(visit, &docs, 1) : docs;
	}

	/* A request without documents, like /clear, is about all shards. */
	if (step->polling == POLLING_HASH && jflow_docs_count(docs) > 0)
		return poll_hash(visit, docs);
	return poll_all(visit, docs);
}

/* Only documents that the executor's "when" matches visit it. */
static void
visit_executor(void *arg)
{
	Visit	   *visit = arg;
	Datum	   *elems;
	Datum		parts[2];
	int			counts[2];
	int		   *place;
	int			ndocs;

	if (visit->step->when == NULL || jflow_docs_count(visit->docs) == 0)
	{
		visit->docs = visit_shards(visit, visit->docs);
		return;
	}

	ndocs = jflow_docs_to_datums(visit->docs, "documents", &elems);
	place = palloc(sizeof(int) * ndocs);
	for (int i = 0; i < ndocs; i++)
	{
		JflowDoc	doc;

		jflow_doc_deform(elems[i], &doc);
		place[i] = jflow_filter_match(visit->step->when, &doc) ? 1 : 0;
	}
	jflow_split_docs(elems, place, ndocs, parts, counts, 2);
	if (counts[1] == 0)
		return;
	parts[1] = visit_shards(visit, parts[1]);
	visit->docs = counts[0] == 0 ? parts[1] : jflow_restore_order(parts, 2, place, ndocs);
}

void
jflow_visit_before_deadline(Visit *visit)
{
	jflow_run_before_deadline(visit->step->timeout_ms, visit->step->what,
							  visit_executor, visit);
}

/* Is this an error that a post must not go on after? */
static bool
ends_post(int sqlerrcode)
{
	return sqlerrcode == ERRCODE_QUERY_CANCELED ||
		sqlerrcode == ERRCODE_ADMIN_SHUTDOWN ||
		sqlerrcode == ERRCODE_CRASH_SHUTDOWN;
}

/*
 * Call a function in a subtransaction.  Returns true if it went well, else the
 * error as a WARNING that begins with "what" and whose context is kept.  Errors
 * that cancel the statement are raised again; a limit of time that has passed
 * inside is not one of them.
 */
bool
jflow_run_in_subtransaction(JflowGuarded function, void *arg, const char *what)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool ok = true;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		function(arg);
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;

		if (ends_post(error->sqlerrcode) && !jflow_deadline_raised(error))
			ReThrowError(error);
		ereport(WARNING,
				(errcode(error->sqlerrcode),
				 errmsg("%s failed: %s", what, error->message),
				 error->detail ? errdetail("%s", error->detail) : 0,
				 error->hint ? errhint("%s", error->hint) : 0,
				 error->context ? errcontext("%s", error->context) : 0));
		ok = false;
	}
	PG_END_TRY();
	return ok;
}

/* What an executor gets: the answers of what it needs, joined. */
Datum
jflow_join_inputs(Visit *visit, const Datum *outputs, Datum input)
{
	const JflowExecutor *executor = visit->step->executor;
	Datum	   *parts;
	int		   *counts;

	if (executor->nneeds == 1)
		return executor->inputs[0] == JFLOW_GATEWAY ? input : outputs[executor->inputs[0]];

	parts = palloc(sizeof(Datum) * executor->nneeds);
	for (int i = 0; i < executor->nneeds; i++)
		parts[i] = executor->inputs[i] == JFLOW_GATEWAY ? input
			: outputs[executor->inputs[i]];
	if (!executor->disable_reduce)
		return jflow_reduce_branches(parts, executor->nneeds);

	counts = palloc(sizeof(int) * executor->nneeds);
	visit->parts = counts;
	visit->nparts = executor->nneeds;
	return jflow_concat(parts, executor->nneeds, counts);
}

/*
 * A floating executor gets the documents, but nobody waits for its answer: it
 * can neither change them nor fail the request.
 */
void
jflow_visit_floating(Visit *visit)
{
	char	   *what = psprintf("floating executor \"%s\"", visit->step->executor->name);

	(void) jflow_run_in_subtransaction((JflowGuarded) jflow_visit_before_deadline, visit, what);
}

/* Walk one request through the flow. */
static Datum
walk_request(Post *post, Datum input)
{
	const JflowFlow *flow = post->plan->flow;
	Datum	   *outputs = palloc(sizeof(Datum) * Max(flow->nexecutors, 1));
	Datum	   *ends;

	for (int i = 0; i < flow->nexecutors; i++)
	{
		Visit		visit;

		memset(&visit, 0, sizeof(visit));
		visit.post = post;
		visit.step = &post->plan->steps[i];
		visit.docs = jflow_join_inputs(&visit, outputs, input);
		outputs[i] = visit.docs;
		if (!visit.step->active)
			continue;
		if (visit.step->executor->floating)
			jflow_visit_floating(&visit);
		else
		{
			jflow_visit_before_deadline(&visit);
			outputs[i] = visit.docs;
		}
	}
	if (flow->noutputs == 0)
		return input;
	ends = palloc(sizeof(Datum) * flow->noutputs);
	for (int i = 0; i < flow->noutputs; i++)
		ends[i] = outputs[flow->outputs[i]];
	return jflow_reduce_branches(ends, flow->noutputs);
}

/* What a subtransaction runs. */
typedef struct Request
{
	Post	   *post;
	Datum		docs;
} Request;

static void
run_request(void *arg)
{
	Request    *request = arg;

	request->docs = walk_request(request->post, request->docs);
}

/* Send one request; counts it, and hands its answer to the sink. */
static void
send_request(Post *post, Datum docs)
{
	Request		request;
	int64		number = post->progress.steps_done + 1;
	int			ndocs = jflow_docs_count(docs);
	bool		ok = true;

	request.post = post;
	request.docs = docs;
	if (post->options->continue_on_error)
		ok = jflow_run_in_subtransaction(run_request, &request,
										 psprintf("request " INT64_FORMAT, number));
	else
		run_request(&request);
	if (ok && post->sink)
		post->sink(post->sink_arg, request.docs);
	jflow_progress_step(&post->progress, ndocs, !ok);
}

/*
 * Once all requests are done, executors whose endpoint asks for it are told:
 * one call without documents.
 */
static void
finish_executors(Post *post)
{
	for (int i = 0; i < post->plan->flow->nexecutors; i++)
	{
		Visit		visit;

		if (!post->plan->steps[i].active || !post->plan->steps[i].finish)
			continue;
		memset(&visit, 0, sizeof(visit));
		visit.post = post;
		visit.step = &post->plan->steps[i];
		(void) jflow_call_function(&visit, visit.step->finish, 0, jflow_docs_empty(), NULL, 0);
	}
}

/* All requests of a post, without replicas. */
static void
run_post(Post *post)
{
	MemoryContext old = MemoryContextSwitchTo(post->request_context);
	Datum		docs;
	bool		any = false;

	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(post->request_context);
		if (!post->source->next(post->source, post->request_size, &docs))
			break;
		send_request(post, docs);
		any = true;
	}

	/* A post without documents is a request of parameters alone. */
	if (!any)
		send_request(post, jflow_docs_empty());
	if (post->progress.failed == 0)
		finish_executors(post);
	MemoryContextReset(post->request_context);
	MemoryContextSwitchTo(old);
}

/*
 * Say once in a session that replicas need the library to be preloaded.  What
 * the executor does is the same; it does it in this process.
 */
static void
warn_not_preloaded(const JflowFlow *flow)
{
	static bool warned = false;

	if (warned || jflow_preloaded)
		return;
	for (int i = 0; i < flow->nexecutors && !warned; i++)
	{
		if (flow->executors[i].replicas == 0)
			continue;
		warned = true;
		ereport(WARNING,
				(errmsg("executors run in this session, because jflow is not preloaded"),
				 errhint("Add jflow to shared_preload_libraries and restart the server, or add executors with replicas => 0.")));
	}
}

/*
 * Plan a post, which may wait for replicas to start, and run it.  Replicas may be
 * scaled away between the plan and the moment from which they stay for us: then
 * plan again.
 */
static void
run_planned(void *arg)
{
	Post	   *post = arg;

	post->plan = jflow_plan_post(post->options);
	warn_not_preloaded(post->plan->flow);
	while (post->plan->remote && !jflow_walk_post(post))
	{
		CHECK_FOR_INTERRUPTS();
		post->plan = jflow_plan_post(post->options);
	}
	if (!post->plan->remote)
		run_post(post);
}

static void
check_options(const JflowPostOptions *options)
{
	if (options->endpoint[0] != '/')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("endpoint \"%s\" must begin with a slash", options->endpoint),
				 errhint("Did you mean \"/%s\"?", options->endpoint)));
	if (!JB_ROOT_IS_OBJECT(options->parameters))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("parameters must be a JSON object")));
	if (options->request_size < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("request_size must be positive")));
	if (options->timeout_ms < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("timeout must not be negative")));
}

static int64
count_steps(const JflowSource *source, int request_size)
{
	if (source->total < 0)
		return -1;
	return Max((source->total + request_size - 1) / request_size, 1);
}

/*
 * Post to a flow: take documents from the source, send the answers to the sink
 * (which may be NULL), and fill in the result.  Raises what the executors
 * raise, unless the options say to go on.
 */
void
jflow_post_run(const JflowPostOptions *options, JflowSource *source,
			   JflowSink sink, void *sink_arg, JflowPostResult *result)
{
	Post		post;
	const char *flow;

	check_stack_depth();
	check_options(options);

	memset(&post, 0, sizeof(post));
	post.options = options;
	post.source = source;
	post.sink = sink;
	post.sink_arg = sink_arg;
	post.result = result;
	post.request_size = options->request_size ? options->request_size : jflow_request_size;
	flow = pstrdup(jflow_flow_for_post(options->flow)->name);
	post.request_context = AllocSetContextCreate(CurrentMemoryContext, "jflow request",
												 ALLOCSET_DEFAULT_SIZES);

	jflow_progress_begin(&post.progress, flow, options->endpoint,
						 count_steps(source, post.request_size), options->show_progress);
	PG_TRY();
	{
		jflow_run_before_deadline(options->timeout_ms,
								  psprintf("post to flow \"%s\"", flow), run_planned, &post);
	}
	PG_CATCH();
	{
		jflow_progress_abort(&post.progress);
		PG_RE_THROW();
	}
	PG_END_TRY();
	jflow_progress_end(&post.progress);

	result->docs = post.progress.docs;
	result->requests = post.progress.steps_done;
	result->failed = post.progress.failed;
	result->started = post.progress.started;
	MemoryContextDelete(post.request_context);
}
