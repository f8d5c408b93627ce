/*
 * remote_scale.c
 *		Other servers for an executor: may documents be moved to them?
 */
#include "postgres.h"

#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/inval.h"

#include "common/json.h"
#include "compat.h"
#include "executors/remote/remote.h"

typedef struct ScaleWork
{
	const char *flow;
	const char *executor;
	char	  **servers;
	int			nservers;
	Jsonb	   *was;			/* uses_with */
	Jsonb	   *uses_with;		/* the result, or NULL */
} ScaleWork;

static Jsonb *
limit_one(void)
{
	JsonbInState state = {0};

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	jflow_json_push_int(&state, "limit", 1);
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(state.result);
}

/*
 * What has been at a server before documents move there would count as newer than what
 * is moved, or was deleted since.
 */
static void JFLOW_NORETURN
refuse_documents(const RemoteAsk *as, const char *server)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("server \"%s\" has documents of flow \"%s\" already", server, as->flow),
			 errdetail("They could be older than those that move there, or were deleted since."),
			 errhint("Post to /clear of the flow there.")));
}

/*
 * Raise what a server says against it that documents come from there or go there.  All
 * that a move will ask is asked, of one document or none: a right that is missing must
 * not turn up in its middle.
 */
static void
check_server(const RemoteAsk *as, const char *server, bool empty)
{
	static const char *const endpoints[] = {"/filter", "/fetch", "/index", "/delete"};
	RemoteAsk	ask = *as;

	ask.server = server;
	ask.docs = jflow_docs_empty();
	ask.ids = true;
	for (int i = 0; i < lengthof(endpoints); i++)
	{
		ask.endpoint = endpoints[i];
		ask.parameters = i == 0 ? limit_one() : jflow_json_empty();
		ask.read_only = i < 2;
		if (jflow_docs_count(remote_ask_or_raise(&ask)) > 0 && empty)
			refuse_documents(&ask, server);
	}
	remote_check_writable(&ask);
}

/* How a server stores documents. */
static Jsonb *
stored_as(const RemoteAsk *as, const char *server)
{
	RemoteAsk	ask = *as;
	JflowDocs  *docs;

	ask.server = server;
	ask.endpoint = "/fetch";
	ask.docs = jflow_docs_empty();
	ask.parameters = jflow_json_empty();
	ask.read_only = ask.definition = true;
	docs = jflow_docs_deform(remote_ask_or_raise(&ask), "documents");
	if (docs->ndocs != 1 || docs->docs[0].nulls[DOC_TAGS] ||
		!JB_ROOT_IS_OBJECT(DatumGetJsonbP(docs->docs[0].values[DOC_TAGS])))
		return jflow_json_empty();
	return DatumGetJsonbP(docs->docs[0].values[DOC_TAGS]);
}

/* How servers store documents, and which of them is looked at. */
typedef struct Alike
{
	const RemoteOptions *options;
	Jsonb	  **stored;
	int			server;
} Alike;

static char *
value_text(JsonbValue *value)
{
	Jsonb	   *json = JsonbValueToJsonb(value);

	return JsonbToCString(NULL, &json->root, VARSIZE(json));
}

/* Raise an error if an option is another on the first server that tells it. */
static void
check_option(void *arg, const char *name, JsonbValue *value)
{
	const Alike *alike = arg;
	const char *const *servers = (const char *const *) alike->options->servers;
	JsonbValue	buffer;
	JsonbValue *other = NULL;
	int			first = 0;
	char	   *texts[2];

	while (first < alike->server &&
		   (other = jflow_json_get(alike->stored[first], name, &buffer)) == NULL)
		first++;
	if (other == NULL)
		return;
	texts[0] = value_text(other);
	texts[1] = value_text(value);
	if (strcmp(texts[0], texts[1]) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("servers \"%s\" and \"%s\" store documents of flow \"%s\" differently",
						servers[first], servers[alike->server], alike->options->flow),
				 errdetail("Option \"%s\" is %s on the first, and %s on the second.", name, texts[0], texts[1]),
				 errhint("Define the flow alike on all servers.")));
}

/* Raise an error where servers would make something else of the same documents. */
static void
check_alike(const RemoteAsk *as, const RemoteOptions *options)
{
	Alike		alike = {options, palloc(sizeof(Jsonb *) * options->nservers)};

	for (int i = 0; i < options->nservers; i++)
	{
		alike.server = i;
		alike.stored[i] = stored_as(as, options->servers[i]);
		jflow_json_each(&alike.stored[i]->root, check_option, &alike);
	}
}

static void
scale(void *arg)
{
	ScaleWork  *work = arg;
	LOCKTAG		steps = remote_steps(work->flow, work->executor);
	const JflowFlow *flow;
	const JflowExecutor *executor;
	const RemoteOptions *options;
	RemoteAsk	ask;

	(void) LockAcquire(&steps, ExclusiveLock, false, false);
	AcceptInvalidationMessages();
	flow = jflow_flow_open(work->flow, false);
	executor = jflow_flow_executor(flow, work->executor);
	if (executor == NULL || executor->class != &remote_class)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("executor \"%s\" of flow \"%s\" was removed", work->executor, work->flow)));
	work->was = executor->uses_with;
	options = remote_options_read(work->was);
	if (!options->moving && jflow_polling_resolve(executor, "/index") != POLLING_HASH)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot change the servers of executor \"%s\"", work->executor),
				 errdetail("Its polling does not place documents by their ids."),
				 errhint("Add an executor with other servers, and post the documents again.")));
	if (remote_same_servers(options, options->moving ? options->is_new : NULL, work->servers, work->nservers))
		return;
	if (options->moving && !remote_same_servers(options, options->is_old, work->servers, work->nservers))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("documents of executor \"%s\" are being moved already", work->executor),
				 errhint("Wait until its uses_with has no \"move\", or name the servers that it had, to go back.")));
	if (options->locking)
	{
		work->uses_with = remote_options_unmoved(executor->uses_with, options);
		remote_forget_move(work->flow, work->executor);
		return;
	}
	work->uses_with = remote_options_moving(executor->uses_with, options, work->servers, work->nservers,
											work->executor);
	options = remote_options_read(work->uses_with);
	ask = remote_ask_to_move(flow, executor, options);
	remote_check_distinct(&ask, (const char *const *) options->servers, options->nservers);
	for (int i = 0; i < options->nservers; i++)
		check_server(&ask, options->servers[i], options->locking && !options->is_old[i]);
	check_alike(&ask, options);
	remote_forget_move(work->flow, work->executor);
}

/*
 * For jflow_scale: uses_with by which documents move to these servers, and the number
 * of shards meanwhile, and the uses_with that it was made of, which must not have
 * changed when it is set; NULL if they are there, or on their way.  Raises what is
 * wrong with the servers, in the server's own words.  No step comes between this
 * and the end of the transaction.
 */
Jsonb *
remote_scale(const char *flow, const char *executor, char **servers, int nservers, int *shards,
			 Jsonb **was)
{
	ScaleWork	work = {flow, executor, servers, nservers};

	jflow_as_flow_owner(jflow_flow_open(flow, false), scale, &work);
	*was = work.was;
	if (work.uses_with)
		*shards = remote_options_read(work.uses_with)->nservers;
	return work.uses_with;
}
