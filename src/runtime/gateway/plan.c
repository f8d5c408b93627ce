/*
 * plan.c
 *		What a post does at each executor, worked out once for all its requests.
 *
 * Functions are looked up, filters parsed, parameters split and polling decided
 * here, so that a request costs nothing but the calls it makes; and what is
 * wrong with a flow is found before the first document moves.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "regex/regex.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "common/json.h"
#include "compat.h"
#include "flow/origin.h"
#include "runtime/control/control.h"
#include "runtime/gateway/parameters.h"
#include "runtime/gateway/plan.h"
#include "runtime/shared/pool.h"
#include "settings.h"


/*
 * Does an executor's name match the target?  The target is a regular
 * expression for the whole name.
 */
static bool
is_target(const char *target, const char *name)
{
	char	   *pattern;

	if (target == NULL)
		return true;
	pattern = psprintf("^(?:%s)$", target);
	return RE_compile_and_execute(cstring_to_text(pattern), (char *) name, strlen(name),
								  REG_ADVANCED, C_COLLATION_OID, 0, NULL);
}

/* The value of "limit", say, in an object, or -1. */
static int
count_of(Jsonb *object, const char *name)
{
	JsonbValue	buffer;
	JsonbValue *value;
	bool		error = false;
	int32		limit;

	if (object == NULL)
		return JFLOW_NO_LIMIT;
	value = getKeyJsonValueFromContainer(&object->root, name, strlen(name), &buffer);
	if (value == NULL || value->type != jbvNumeric)
		return JFLOW_NO_LIMIT;
	limit = numeric_int4_compat(value->val.numeric, &error);
	return error || limit < 0 ? JFLOW_NO_LIMIT : limit;
}

/* How many matches a reduce keeps. */
static int
matches_limit(const JflowStep *step)
{
	int			limit = count_of(step->parameters, "limit");

	if (limit == JFLOW_NO_LIMIT)
		limit = count_of(step->executor->uses_with, "limit");
	if (limit == JFLOW_NO_LIMIT && step->executor->class && step->executor->class->default_limit > 0)
		limit = step->executor->class->default_limit;
	return limit;
}

/* Does a built-in class have a parameter of that name? */
static bool
class_knows(const JflowStep *step, const char *parameter)
{
	const JflowClass *class = step->executor->class;

	for (const char *const *name = class ? class->parameters : NULL; name && *name; name++)
		if (strcmp(*name, parameter) == 0)
			return true;
	return false;
}

/*
 * Which matches the reduce keeps: what a class that knows pages and groups is asked
 * for.  What it leaves out of the best, each shard has answered, too.
 */
static void
set_page(JflowStep *step)
{
	JsonbValue	buffer;
	JsonbValue *group = class_knows(step, "group_by") ?
		jflow_json_get(step->parameters, "group_by", &buffer) : NULL;

	step->page.limit = matches_limit(step);
	step->page.offset = class_knows(step, "offset") ? Max(count_of(step->parameters, "offset"), 0) : 0;
	step->page.grouped = group && group->type != jbvNull;
	step->page.copies = step->executor->class && step->executor->class->moving &&
		step->executor->class->moving(step->executor);
}

/* Adds a line that says which executor could not be planned. */
static void
plan_error_context(void *arg)
{
	errcontext("executor \"%s\"", ((const JflowExecutor *) arg)->name);
}

/* Does the list have an endpoint? */
static bool
has_endpoint(const char *const *endpoints, const char *endpoint)
{
	for (; endpoints && *endpoints; endpoints++)
		if (strcmp(*endpoints, endpoint) == 0)
			return true;
	return false;
}

/*
 * Raise feature_not_supported where a call cannot have the rights of who posts,
 * which is all but what a built-in class names, in this process: nobody else's code
 * may run with them.
 */
static void
check_caller_rights(const JflowStep *step, const JflowPlan *plan)
{
	const JflowExecutor *executor = step->executor;

	if (executor->class && executor->replicas == 0 && !step->remote &&
		has_endpoint(executor->class->caller_endpoints, plan->endpoint) &&
		(executor->requests == NULL || JB_ROOT_COUNT(executor->requests) == 0) &&
		executor->uses_before == NULL && executor->uses_after == NULL)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("%s of executor \"%s\" cannot run with the rights of the caller", plan->endpoint,
					executor->name),
			 errdetail("Only /search, /filter and /fetch of a PQLiteIndexer with replicas => 0 can."),
			 errhint("Set jflow.rights to \"owner\", or name that executor as the target_executor.")));
}

/*
 * Parameters with the origin of the post that this one is made for, and with what
 * the executor is defined with: nobody else can set these.
 */
static Jsonb *
with_origin(const JflowExecutor *executor, Jsonb *parameters)
{
	JsonbInState state = {0};

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	if (jflow_origin)
		jflow_json_push_json(&state, JFLOW_ORIGIN_PARAMETER, jflow_origin);
	jflow_json_push_json(&state, JFLOW_DEFINITION_PARAMETER, executor->uses_with);
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(parameters),
											  JsonbPGetDatum(JsonbValueToJsonb(state.result))));
}

static void
plan_step(JflowStep *step, JflowPlan *plan, Oid owner, const JflowPostParameters *parameters)
{
	const JflowExecutor *executor = step->executor;
	ErrorContextCallback callback;
	JflowFunction function;

	jflow_endpoint_function(executor, plan->endpoint, &function);
	step->unmerged = executor->disable_reduce ||
		(function.name && executor->class && executor->class->implies_disable_reduce);
	if (function.name == NULL && executor->uses_before == NULL &&
		executor->uses_after == NULL && !step->unmerged)
	{
		step->active = false;
		return;
	}

	callback.callback = plan_error_context;
	callback.arg = (void *) executor;
	callback.previous = error_context_stack;
	error_context_stack = &callback;

	if (jflow_rights == JFLOW_RIGHTS_CALLER)
		check_caller_rights(step, plan);
	if (function.writes && plan->read_only)
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot post to %s of flow \"%s\" in a read-only transaction",
						plan->endpoint, plan->flow->name),
				 errdetail("What executor \"%s\" runs for it is declared to write.",
						   executor->name)));

	step->next = JFLOW_NONE;
	step->idempotent = function.idempotent;
	step->stages = (function.name ? STAGE_MAIN : 0) |
		(function.finish ? STAGE_FINISH : 0) |
		(executor->uses_before ? STAGE_BEFORE : 0) |
		(executor->uses_after ? STAGE_AFTER : 0);
	step->batched = executor->batch && function.name && function.finish == NULL &&
		strcmp(plan->endpoint, "/fit") != 0;
	if (!step->remote)
		jflow_runnables_prepare(&step->runnables, executor, &function, owner);
	if (jflow_rights == JFLOW_RIGHTS_CALLER)
	{
		step->runnables.main->owner = GetUserId();
		step->runnables.main->as_caller = true;
	}
	step->parameters = jflow_parameters_of(parameters, step - plan->steps);
	if (executor->class && executor->class->takes_origin)
		step->parameters = with_origin(executor, step->parameters);
	step->polling = jflow_polling_resolve(executor, plan->endpoint);
	if (executor->when)
		step->when = jflow_filter_parse(executor->when, "when");
	if (executor->timeout)
		step->timeout_ms = jflow_interval_ms(executor->timeout);
	set_page(step);
	step->what = psprintf("executor \"%s\" of flow \"%s\"", executor->name, plan->flow->name);

	error_context_stack = callback.previous;
}

/* Add the endpoints that a map of requests names. */
static void
add_endpoints(Jsonb *requests, List **endpoints)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	key;

	if (requests == NULL)
		return;
	it = JsonbIteratorInit(&requests->root);
	while ((token = JsonbIteratorNext(&it, &key, true)) != WJB_DONE)
		if (token == WJB_KEY)
			*endpoints = lappend(*endpoints, pnstrdup(key.val.string.val, key.val.string.len));
}

/* Does an executor name the endpoint, or take any by its nature? */
static bool
takes_endpoint(const JflowExecutor *executor, const char *endpoint)
{
	JsonbValue	buffer;

	if ((executor->requests && jflow_json_get(executor->requests, endpoint, &buffer)) ||
		(executor->class_requests && jflow_json_get(executor->class_requests, endpoint, &buffer)))
		return true;
	return executor->class_owner == NULL && executor->requests == NULL;
}

/*
 * Documents pass where no executor knows the endpoint, or only as one of all
 * ("*").  That is as it should be, unless it is a misspelt one: say so.
 */
static void
note_unknown_endpoint(const JflowPlan *plan)
{
	List	   *endpoints = NIL;
	const char **names;
	const char *suggestion;
	bool		any = false;

	for (int i = 0; i < plan->flow->nexecutors; i++)
	{
		const JflowExecutor *executor = &plan->flow->executors[i];

		if (takes_endpoint(executor, plan->endpoint))
			return;
		any |= plan->steps[i].active;
		add_endpoints(executor->requests, &endpoints);
		add_endpoints(executor->class_requests, &endpoints);
	}
	names = palloc(sizeof(char *) * Max(list_length(endpoints), 1));
	for (int i = 0; i < list_length(endpoints); i++)
		names[i] = list_nth(endpoints, i);
	suggestion = jflow_suggest(plan->endpoint, names, list_length(endpoints));
	if (suggestion || (!any && endpoints != NIL))
		ereport(NOTICE,
				(errmsg("no executor of flow \"%s\" knows endpoint \"%s\"",
						plan->flow->name, plan->endpoint),
				 suggestion ? errhint("Did you mean \"%s\"?", suggestion) : 0));
}

/* Raise undefined_object for a target that no executor matches. */
static void
unknown_target(const JflowFlow *flow, const char *target)
{
	const char **names = palloc(sizeof(char *) * Max(flow->nexecutors, 1));
	const char *suggestion;

	for (int i = 0; i < flow->nexecutors; i++)
		names[i] = flow->executors[i].name;
	suggestion = jflow_suggest(target, names, flow->nexecutors);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("no executor of flow \"%s\" matches \"%s\"", flow->name, target),
			 suggestion ? errhint("Did you mean \"%s\"?", suggestion)
			 : errhint("target_executor is a regular expression for the whole name of an executor.")));
}

/* Does this post wait in a replica of the pool already? */
static bool
is_in_chain(int pool)
{
	JflowPostShared *shared = jflow_replica_post();

	if (shared == NULL)
		return false;
	if (jflow_replicas[jflow_my_replica].pool == pool)
		return true;
	for (int i = 0; i < shared->nchain; i++)
		if (shared->chain[i] == pool)
			return true;
	return shared->nchain == JFLOW_MAX_CHAIN;
}

/*
 * Find the pools of a step's shards.  Without one of them the flow is not
 * started; with one that already waits for this post, the step runs here, as it
 * does where documents move between servers, which needs none of them.  Returns
 * false if the flow's definition may have changed meanwhile.
 */
static bool
find_pools(JflowStep *step, JflowPlan *plan, bool moving)
{
	const JflowExecutor *executor = step->executor;
	bool		in_chain = false;

	step->remote = false;
	if (jflow_shared == NULL || executor->replicas == 0)
		return true;
	if (!jflow_enabled || (moving && !jflow_flow_started(plan->flow->name)))
		jflow_await_pools(plan->flow);	/* raises what is to be said */
	if (moving)
		return true;
	step->pools = palloc(sizeof(JflowPoolRef) * executor->shards);
	for (int shard = 0; shard < executor->shards; shard++)
	{
		int			pool;

		while ((pool = jflow_pool_find(plan->flow->name, executor->name, shard,
									   &step->pools[shard])) == JFLOW_NONE)
		{
			jflow_await_pools(plan->flow);
			pool = jflow_pool_find(plan->flow->name, executor->name, shard, &step->pools[shard]);
			if (pool != JFLOW_NONE)
				break;
			/* Replicas may have been scaled away since the flow was read. */
			if (!plan->fresh || plan->changes != jflow_changes())
				return false;
			ereport(ERROR,
					(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					 errmsg("there are no replicas for executor \"%s\" of flow \"%s\"",
							executor->name, plan->flow->name),
					 errhint("Raise jflow.max_replicas, or see jflow_status.")));
		}
		in_chain |= is_in_chain(pool);
	}
	step->remote = !in_chain;
	plan->remote |= step->remote;
	return true;
}

/*
 * Answers can go from pool to pool without the gateway where an executor's only
 * successor needs nothing else, and nothing is to be split, chosen or merged.
 */
static void
find_chains(JflowPlan *plan)
{
	const JflowFlow *flow = plan->flow;

	for (int i = 0; i < flow->nexecutors; i++)
	{
		JflowStep  *step = &plan->steps[i];
		int			successor = JFLOW_NONE;
		int			consumers = 0;

		for (int j = i + 1; j < flow->nexecutors; j++)
			for (int k = 0; k < flow->executors[j].nneeds; k++)
				if (flow->executors[j].inputs[k] == i)
				{
					consumers++;
					successor = j;
				}
		if (consumers != 1 || !step->active || !step->remote || step->executor->floating ||
			step->executor->shards != 1 || step->when)
			continue;
		step->next = JFLOW_NONE;
		if (flow->executors[successor].nneeds == 1 && plan->steps[successor].active &&
			plan->steps[successor].remote && !flow->executors[successor].floating &&
			flow->executors[successor].shards == 1 && plan->steps[successor].when == NULL &&
			!plan->steps[successor].unmerged)
		{
			step->next = successor;
			plan->steps[successor].handed = true;
		}
	}
}

/*
 * Give what is in front of an executor, as far as the flow's input, the parameters
 * that the executor's class wants it to have.
 */
static void
ask_inputs(JflowPlan *plan, int number)
{
	const JflowFlow *flow = plan->flow;
	const JflowStep *step = &plan->steps[number];
	const JflowClass *class = step->executor->class;
	bool	   *in_front;

	if (class == NULL || class->input_parameters == NULL || !(step->stages & STAGE_MAIN))
		return;
	in_front = palloc0(sizeof(bool) * flow->nexecutors);
	in_front[number] = true;
	for (int i = number; i >= 0; i--)
	{
		const JflowExecutor *executor = &flow->executors[i];
		JflowStep  *input = &plan->steps[i];

		for (int j = 0; in_front[i] && j < executor->nneeds; j++)
			if (executor->inputs[j] != JFLOW_FLOW_INPUT)
				in_front[executor->inputs[j]] = true;
		if (i == number || !in_front[i] || !input->active)
			continue;
		input->parameters = class->input_parameters(step->executor, step->parameters, input->parameters);
		set_page(input);
	}
}

/* Returns NULL if the flow's definition may have changed meanwhile. */
static JflowPlan *
plan_flow(const JflowPostOptions *options, bool fresh)
{
	JflowPlan  *plan = palloc(sizeof(JflowPlan));
	JflowFlow  *flow;
	Oid			owner;
	JflowPostParameters parameters;
	bool	   *active;
	bool		any_target = options->target_executor == NULL;

	jflow_json_check_size(options->parameters, "parameters", JFLOW_MAX_PARAMETERS);
	plan->fresh = fresh;
	if (fresh)
	{
		plan->changes = jflow_changes();
		jflow_flow_cache_reset();
	}
	plan->flow = flow = jflow_flow_for_post(options->flow, options->endpoint);
	owner = jflow_flow_owner(flow);
	plan->endpoint = options->endpoint;
	plan->read_only = XactReadOnly || options->read_only;
	plan->remote = false;
	plan->steps = palloc0(sizeof(JflowStep) * Max(flow->nexecutors, 1));
	active = palloc(sizeof(bool) * Max(flow->nexecutors, 1));
	jflow_parameters_init(&parameters, flow, options->parameters);
	for (int i = 0; i < flow->nexecutors; i++)
	{
		JflowStep  *step = &plan->steps[i];

		step->executor = &flow->executors[i];
		step->active = is_target(options->target_executor, step->executor->name);
		any_target |= step->active;
		step->unmerged = step->executor->disable_reduce;
		if (step->active && !find_pools(step, plan, options->moving))
			return NULL;
		if (step->active)
			plan_step(step, plan, owner, &parameters);
		active[i] = step->active;
	}
	if (!any_target)
		unknown_target(flow, options->target_executor);
	note_unknown_endpoint(plan);
	jflow_parameters_note_unknown(&parameters, active);
	for (int i = flow->nexecutors - 1; i >= 0; i--)
		ask_inputs(plan, i);
	for (int i = 0; i < flow->nexecutors; i++)
		if (plan->steps[i].active && plan->steps[i].stages == 0)
			plan->steps[i].active = false;
	/* who watches wants to hear of each call */
	if (plan->remote && !options->trace)
		find_chains(plan);
	return plan;
}

/*
 * Plan a post to the flow that the options name, in the current memory context.
 * Raises undefined_object if the target matches no executor, and whatever is
 * wrong with a function.
 */
JflowPlan *
jflow_plan_post(const JflowPostOptions *options)
{
	JflowPlan  *plan = plan_flow(options, false);

	while (plan == NULL)
	{
		CHECK_FOR_INTERRUPTS();
		plan = plan_flow(options, true);
	}
	return plan;
}
