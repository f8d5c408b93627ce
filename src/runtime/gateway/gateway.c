/*
 * gateway.c
 *		A post: the way in.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"

#include "compat.h"
#include "runtime/deadline.h"
#include "runtime/gateway/errors.h"
#include "runtime/gateway/gateway.h"
#include "runtime/gateway/loop.h"
#include "runtime/gateway/meter.h"
#include "runtime/gateway/remote.h"
#include "settings.h"

#define AUTO_PREFETCH_MIN 64

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

/* How many requests to have in flight. */
static int
choose_prefetch(const JflowPlan *plan)
{
	int			replicas = 0;

	if (!plan->remote)
		return 1;
	if (jflow_prefetch > 0)
		return Min(jflow_prefetch, jflow_max_requests);
	for (int i = 0; i < plan->flow->nexecutors; i++)
		if (plan->steps[i].active && plan->steps[i].remote)
			replicas = Max(replicas, plan->flow->executors[i].replicas);
	return Min(Max(4 * replicas, AUTO_PREFETCH_MIN), Max(jflow_max_requests / 4, 1));
}

/* Is the way through replicas one chain, so that answers may come in batches? */
static bool
is_plain(const JflowPlan *plan)
{
	int			starts = 0;

	for (int i = 0; i < plan->flow->nexecutors; i++)
	{
		const JflowStep *step = &plan->steps[i];

		if (!step->active)
			continue;
		if (!step->remote || step->executor->shards != 1)
			return false;
		starts += !step->handed;
	}
	return starts == 1;
}

/*
 * Show what may have to wait for the end of this post that there is one.  False: the
 * flow has changed meanwhile, and who has changed it may not wait for us.
 */
static bool
show_post(const JflowPlan *plan)
{
	bool		shown = false;

	for (int i = 0; i < plan->flow->nexecutors; i++)
	{
		const JflowExecutor *executor = plan->steps[i].executor;

		if (!plan->steps[i].active || executor->class == NULL || executor->class->posting == NULL)
			continue;
		executor->class->posting(plan->flow->name, executor->name);
		shown = true;
	}
	if (shown)
		AcceptInvalidationMessages();
	return !shown || plan->flow->valid;
}

/*
 * Plan a post, which may wait for replicas to start.  They may be scaled away
 * between the plan and the moment from which they stay for us: then plan again.
 */
static void
plan(JflowPost *post)
{
	do
	{
		CHECK_FOR_INTERRUPTS();
		post->plan = jflow_plan_post(post->options);
		post->stranger = !has_privs_of_role(GetUserId(), jflow_flow_owner(post->plan->flow));
		warn_not_preloaded(post->plan->flow);
	} while (!show_post(post->plan) || (post->plan->remote && !jflow_remote_begin(post)));
	post->prefetch = choose_prefetch(post->plan);
	post->plain = is_plain(post->plan);
	post->contexts = MemoryContextAlloc(post->context, sizeof(MemoryContext) * (post->prefetch + 1));
}

static void
run_planned(JflowPost *post)
{
	jflow_meter_begin_post(post);
	jflow_requests_run(post);
}

/* All of a post that its limit of time is for. */
static void
run(void *arg)
{
	JflowPost  *post = arg;

	plan(post);
	if (!post->plan->remote)
	{
		run_planned(post);
		return;
	}
	PG_TRY();
	{
		run_planned(post);
	}
	PG_FINALLY();
	{
		jflow_remote_end(post);
	}
	PG_END_TRY();
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
count_requests(const JflowSource *source, int request_size)
{
	if (source->total < 0)
		return -1;
	return Max((source->total + request_size - 1) / request_size, 1);
}

/*
 * The error that ends a post says what of it stays: requests that replicas have
 * committed.  Those under way count if something of them was.
 */
static void JFLOW_NORETURN
raise_with_count(JflowPost *post)
{
	ErrorData  *error;
	char	   *count;

	for (JflowRequest *request = post->first; request; request = request->next)
	{
		if (!request->wrote || request->delivered)
			continue;
		post->committed++;
		post->partly += request->missing > 0 || request->failed;
	}
	if (post->committed == 0)
		PG_RE_THROW();
	MemoryContextSwitchTo(post->context);
	error = CopyErrorData();
	FlushErrorState();
	count = psprintf(INT64_FORMAT " requests of the post had been committed, "
					 INT64_FORMAT " of them in part.", post->committed, post->partly);
	error->detail = error->detail ? psprintf("%s\n%s", error->detail, count) : count;
	ReThrowError(error);
}

/*
 * Post to a flow: take documents from the source, send the answers to the sink
 * (which may be NULL), and fill in the result.  What lives as long as the post is
 * allocated in the current memory context.  Raises what the executors raise,
 * unless the options say to go on.
 */
void
jflow_post_run(const JflowPostOptions *options, JflowSource *source,
			   JflowSink sink, void *sink_arg, JflowPostResult *result)
{
	JflowPost	post;
	const char *flow;

	check_stack_depth();
	check_options(options);

	memset(&post, 0, sizeof(post));
	post.options = options;
	post.source = source;
	post.sink = sink;
	post.sink_arg = sink_arg;
	post.ordered = options->ordered && sink != NULL;
	post.context = CurrentMemoryContext;
	post.request_size = options->request_size ? options->request_size : jflow_request_size;
	flow = pstrdup(jflow_flow_for_post(options->flow, options->endpoint)->name);
	jflow_errors_open(&post);

	jflow_progress_begin(&post.progress, flow, options->endpoint,
						 count_requests(source, post.request_size), options->show_progress);
	PG_TRY();
	{
		jflow_run_before_deadline(options->timeout_ms,
								  psprintf("post to flow \"%s\"", flow), run, &post);
	}
	PG_CATCH();
	{
		jflow_meter_end_post(&post, jflow_count_kind(geterrcode()));
		jflow_progress_abort(&post.progress);
		raise_with_count(&post);
	}
	PG_END_TRY();
	jflow_meter_end_post(&post, COUNT_OK);
	jflow_progress_end(&post.progress);
	jflow_errors_close(&post);

	result->docs = post.progress.docs;
	result->requests = post.progress.requests_done;
	result->failed = post.progress.failed;
	result->failed_docs = post.progress.failed_docs;
	result->started = post.progress.started;
}
