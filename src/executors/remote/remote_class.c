/*
 * remote_class.c
 *		RemoteFlow: what the class tells of itself.
 */
#include "postgres.h"

#include "utils/fmgrprotos.h"

#include "common/json.h"
#include "compat.h"
#include "executors/remote/remote.h"

/* For jflow_add. */
static void
check_options(Jsonb *uses_with)
{
	(void) remote_options_read(uses_with);
}

/*
 * For jflow_add: a shard a server, and nodes that keep the names which the servers
 * have now, so that documents are still found when a server gets another.
 */
static void
set_defaults(JflowExecutor *executor)
{
	const RemoteOptions *options = remote_options_read(executor->uses_with);
	JsonbInState state = {0};

	if (executor->shards == 1)
		executor->shards = options->nservers;
	if (executor->shards != options->nservers)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("executor \"%s\" has %d servers and shards => %d", executor->name,
						options->nservers, executor->shards),
				 errhint("A server is a shard; leave shards out.")));
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	jflow_json_push_strings(&state, "nodes", options->nodes, options->nservers);
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	executor->uses_with = DatumGetJsonbP(DirectFunctionCall2(jsonb_concat,
															 JsonbPGetDatum(executor->uses_with),
															 JsonbPGetDatum(JsonbValueToJsonb(state.result))));
}

/* For jflow_scale: there are as many shards as servers. */
static void
refuse_scale(const char *flow, const char *executor, int shards, bool at_once)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot change the number of shards of executor \"%s\", which is a %s",
					executor, REMOTE_CLASS),
			 errdetail("Each of its servers is a shard."),
			 errhint("Name the servers that it is to have, as the argument \"servers\".")));
}

/* For posts: a server is a shard. */
static void
place(const JflowExecutor *executor, struct varlena **ids, int n, int *shards)
{
	const RemoteOptions *options = remote_options_read(executor->uses_with);

	remote_place(options, options->moving ? options->is_new : NULL, ids, n, shards);
}

static bool
is_moving(const JflowExecutor *executor)
{
	JsonbValue	buffer;

	return jflow_json_get(executor->uses_with, "move", &buffer) != NULL;
}

/* The reduce of shards looks at these; all others are the far flow's. */
static const char *const parameters[] = {"limit", "offset", "group_by", NULL};

const JflowClass remote_class = {
	.name = REMOTE_CLASS,
	.check = check_options,
	.defaults = set_defaults,
	.parameters = parameters,
	.any_parameters = true,
	.default_limit = REMOTE_DEFAULT_LIMIT,
	.scale = refuse_scale,
	.move_rows = remote_move,
	.needs_mover = remote_needs_mover,
	.place = place,
	.posting = remote_posting,
	.moving = is_moving,
	.scale_servers = remote_scale,
	.takes_origin = true,
};
