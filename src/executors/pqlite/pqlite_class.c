/*
 * pqlite_class.c
 *		PQLiteIndexer: what the class tells of itself.
 */
#include "postgres.h"

#include "compat.h"
#include "executors/pqlite/pqlite.h"

static const char *const parameters[] = {
	"limit", "offset", "filter", "max_distance", "probes", "recall", "queries", "writes", NULL
};

/* For jflow_add: raises what pqlite_options_read raises. */
static void
check_options(Jsonb *uses_with)
{
	(void) pqlite_options_read(uses_with);
}

static const char *const caller_endpoints[] = {"/search", "/filter", "/fetch", NULL};

const JflowClass pqlite_class = {
	.name = PQLITE_CLASS,
	.check = check_options,
	.parameters = parameters,
	.default_limit = PQLITE_DEFAULT_LIMIT,
	.stores = true,
	.drop_data = pqlite_drop_data,
	.scale = pqlite_scale,
	.move_rows = pqlite_move_rows,
	.needs_mover = pqlite_shards_need_mover,
	.caller_endpoints = caller_endpoints,
};
