/*
 * call.c
 *		Calling an executor function: the one way, inline and in replicas.
 *
 * A function runs as the flow's owner, like a SECURITY DEFINER function, and
 * under a search_path of our own: its result must depend neither on who posts
 * nor on what he put on his search_path or into his temporary schema, which is
 * why pg_temp comes last.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "common/session.h"
#include "common/text.h"
#include "compat.h"
#include "runtime/call.h"
#include "runtime/deadline.h"
#include "settings.h"

static JflowRunnable *
prepare(const char *function, Oid owner)
{
	JflowRunnable *runnable;

	if (function == NULL)
		return NULL;
	runnable = palloc0(sizeof(JflowRunnable));
	runnable->name = function;
	runnable->owner = owner;
	fmgr_info(jflow_function_resolve(function, owner), &runnable->flinfo);
	return runnable;
}

/*
 * Look up what an executor calls for an endpoint, for the flow's owner.  What is
 * found is allocated in the current memory context and lives as long as that;
 * raises what jflow_function_resolve raises.
 */
void
jflow_runnables_prepare(JflowRunnables *runnables, const JflowExecutor *executor,
						const JflowFunction *function, Oid owner)
{
	runnables->before = prepare(executor->uses_before, owner);
	runnables->main = prepare(function->name, owner);
	runnables->after = prepare(executor->uses_after, owner);
	runnables->finish = prepare(function->finish, owner);
	runnables->reads_only = function->reads_only;
}

/* Adds the line that says where in a flow an error came from. */
static void
run_error_context(void *arg)
{
	const JflowContext *context = arg;

	if (context->together > 1)
		errcontext("executor \"%s\", shard %d, replica %d, %d requests together",
				   context->executor->name, context->shard, context->replica,
				   context->together);
	else if (context->part > 0)
		errcontext("executor \"%s\", shard %d, replica %d, request " INT64_FORMAT ", part %d",
				   context->executor->name, context->shard, context->replica,
				   context->request, context->part);
	else
		errcontext("executor \"%s\", shard %d, replica %d, request " INT64_FORMAT,
				   context->executor->name, context->shard, context->replica,
				   context->request);
}

/*
 * Set the search_path that executor functions run under, until the GUC nest
 * level ends: the owner's schema, public, and the extension's own.
 */
static void
set_search_path(void)
{
	char	   *schema = get_namespace_name(jflow_types()->schema);
	const char *path = "\"$user\", public, pg_temp";

	if (schema && strcmp(schema, "public") != 0)
		path = psprintf("\"$user\", public, %s, pg_temp", quote_identifier(schema));
	(void) set_config_option("search_path", path, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/*
 * A post looks its functions up once.  One that is dropped while the post runs,
 * by another session or by an executor, must be missed here and not by name of
 * a cache deep inside.
 */
static void
check_not_dropped(const JflowRunnable *runnable)
{
	if (!SearchSysCacheExists1(PROCOID, ObjectIdGetDatum(runnable->flinfo.fn_oid)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function %s was dropped during the post", runnable->name)));
}

static Datum
call(JflowRunnable *runnable, Datum docs, Jsonb *parameters)
{
	LOCAL_FCINFO(fcinfo, 2);
	Datum		result;

	InitFunctionCallInfoData(*fcinfo, &runnable->flinfo, 2, DEFAULT_COLLATION_OID,
							 NULL, NULL);
	fcinfo->args[0].value = docs;
	fcinfo->args[0].isnull = false;
	fcinfo->args[1].value = JsonbPGetDatum(parameters);
	fcinfo->args[1].isnull = false;
	result = FunctionCallInvoke(fcinfo);
	if (fcinfo->isnull)
		return docs;
	return jflow_docs_complete(result, psprintf("result of function %s", runnable->name));
}

/* The same, and tells the server's log if it takes long. */
static Datum
call_and_log(JflowRunnable *runnable, const JflowContext *context, Datum docs, Jsonb *parameters)
{
	int			limit = jflow_log_min_duration;
	TimestampTz started;
	Datum		result;
	int64		us;

	if (limit < 0)
		return call(runnable, docs, parameters);
	started = GetCurrentTimestamp();
	result = call(runnable, docs, parameters);
	us = GetCurrentTimestamp() - started;
	if (us / 1000 >= limit)
		ereport(LOG_SERVER_ONLY,
				(errmsg("duration: %.3f ms  endpoint %s of flow \"%s\": function %s",
						us / 1000.0, context->endpoint, context->flow->name, runnable->name)));
	return result;
}

/*
 * Run an executor function on documents.  Returns its documents, each with an
 * id, or those given where it returns NULL; in the current memory context.
 *
 * With the rights of who posts it can neither write nor leave anything behind:
 * what it reads may be a table whose owner has hung code to it.
 *
 * On an error the user and the search_path are restored by the abort of the
 * transaction or subtransaction, and the call context here.
 */
static Datum
run(JflowRunnable *runnable, JflowContext *context, Datum docs, Jsonb *parameters)
{
	ErrorContextCallback callback;
	Oid			userid;
	int			sec_context;
	int			guc_level;
	bool		read_only = XactReadOnly;
	bool		guarded;
	JflowSessionGuard guard;
	Datum		result;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();

	/* A STABLE function, too, must see what earlier requests have written. */
	if (!IsInParallelMode() && !XactReadOnly)
		CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());

	callback.callback = run_error_context;
	callback.arg = context;
	callback.previous = error_context_stack;
	error_context_stack = &callback;

	GetUserIdAndSecContext(&userid, &sec_context);
	SetUserIdAndSecContext(runnable->owner, jflow_owner_security(runnable->owner, userid, sec_context) |
						   (runnable->as_caller ? SECURITY_RESTRICTED_OPERATION : 0));
	guarded = InSecurityRestrictedOperation();
	guc_level = NewGUCNestLevel();
	set_search_path();

	check_not_dropped(runnable);
	if (guarded)
		jflow_session_guard(&guard, "An executor with replicas has a session of its own.");
	context->user = runnable->owner;
	context->until = jflow_deadline_nearest();
	context->outer = jflow_context;
	jflow_context = context;
	XactReadOnly |= context->read_only || runnable->as_caller;
	PG_TRY();
	{
		result = call_and_log(runnable, context, docs, parameters);
		if (guarded)
			jflow_session_close_portals(&guard);
	}
	PG_FINALLY();
	{
		jflow_context = context->outer;
		XactReadOnly = read_only;
		if (guarded)
			jflow_session_release(&guard);
	}
	PG_END_TRY();

	/* Settings that the function changed end with it, like in a replica. */
	AtEOXact_GUC(false, guc_level);
	SetUserIdAndSecContext(userid, sec_context);
	error_context_stack = callback.previous;
	PopActiveSnapshot();

	return result;
}

/*
 * Run what a call asks for on documents, with the rights and in the way that the
 * head of this file tells.
 * The context is filled in but for "read_only", which it holds for the whole
 * call where it is set.  The sizes of unmerged parts in it are for the first
 * function; uses_after is told how many parts of answers it gets, which are one
 * if the call is about one shard.
 */
Datum
jflow_run_stages(const JflowRunnables *runnables, int stages, JflowContext *context,
				 Datum docs, Jsonb *parameters)
{
	bool		read_only = context->read_only;
	int			counts[1];

	if ((stages & STAGE_BEFORE) && runnables->before)
	{
		docs = run(runnables->before, context, docs, parameters);
		context->parts = NULL;
	}
	if ((stages & STAGE_MAIN) && runnables->main)
	{
		context->read_only |= runnables->reads_only;
		docs = run(runnables->main, context, docs, parameters);
		context->read_only = read_only;
		context->parts = NULL;
	}
	if ((stages & STAGE_AFTER) && runnables->after)
	{
		if (context->parts == NULL)
		{
			counts[0] = jflow_docs_count(docs);
			context->parts = counts;
			context->nparts = 1;
		}
		docs = run(runnables->after, context, docs, parameters);
		context->parts = NULL;
	}
	if ((stages & STAGE_FINISH) && runnables->finish)
		docs = run(runnables->finish, context, docs, parameters);
	return docs;
}

/*
 * Raise data_exception unless each document was answered by itself, in order: by
 * that alone the answers of requests that are run together are told apart.  It
 * must not depend on chance who gets to know, so one request is checked, too.
 */
void
jflow_check_one_for_one(const JflowExecutor *executor, Datum docs, Datum answer)
{
	Datum	   *given;
	Datum	   *answered;
	int			ngiven,
				nanswered;

	if (answer == docs)
		return;
	ngiven = jflow_docs_to_datums(docs, "documents", &given);
	nanswered = jflow_docs_to_datums(answer, "documents", &answered);
	if (ngiven != nanswered)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("executor \"%s\" answered %d documents with %d", executor->name, ngiven, nanswered),
				 errdetail("With a batch each document must be answered by itself, in order."),
				 errhint("Define the executor without batch.")));
	for (int i = 0; i < ngiven; i++)
	{
		JflowDoc	before,
					after;

		CHECK_FOR_INTERRUPTS();
		jflow_doc_deform(given[i], &before);
		jflow_doc_deform(answered[i], &after);
		if (jflow_text_order(before.values[DOC_ID], after.values[DOC_ID]) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("executor \"%s\" answered with a document of another id, or in another order",
							executor->name),
					 errdetail("With a batch each document must be answered by itself, in order."),
					 errhint("Define the executor without batch.")));
	}
}
