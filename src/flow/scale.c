/*
 * scale.c
 *		What a change of an executor's number of shards means for its documents.
 *
 * The class that stores documents registers who moves them; who changes the
 * number calls him.
 */
#include "postgres.h"

#include "compat.h"
#include "flow/flow.h"

static JflowScaleShards scale_stored_shards = NULL;

/* Let the class that stores documents move them.  For _PG_init. */
void
jflow_register_scale(JflowScaleShards scale_shards)
{
	scale_stored_shards = scale_shards;
}

/*
 * Move the stored documents of an executor whose number of shards was changed
 * in jflow.executor: in this transaction, or else after its commit, by a worker.
 */
void
jflow_scale_shards(const char *flow, const char *executor, int shards, bool at_once)
{
	if (scale_stored_shards)
		scale_stored_shards(flow, executor, shards, at_once);
}
