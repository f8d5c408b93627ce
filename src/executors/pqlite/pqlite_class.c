/*
 * pqlite_class.c
 *		PQLiteIndexer: what the class tells of itself.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/guc.h"

#include "common/json.h"
#include "compat.h"
#include "executors/pqlite/pqlite.h"

static const char *const parameters[] = {
	"limit", "offset", "filter", "max_distance", "probes", "recall", "queries", "writes",
	"group_by", "highlight", "chunks", NULL
};

/* Until a level of settings ends types without a schema are the server's own. */
static int
server_types_only(void)
{
	int			level = NewGUCNestLevel();

	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	return level;
}

/*
 * For jflow_add: raises what pqlite_options_read raises, and for types of columns
 * that are not there.  Filter columns have the server's own types, or of a user's
 * table a type named by its schema: no search_path is asked.
 */
static void
check_options(Jsonb *uses_with)
{
	const PqliteOptions *options = pqlite_options_read(uses_with);
	int			guc_level = server_types_only();

	for (int i = 0; i < options->ncolumns; i++)
	{
		Oid			type;
		int32		typmod;

		pqlite_option_type(options, i, &type, &typmod);
		pqlite_check_filter_type(type);
	}
	AtEOXact_GUC(false, guc_level);
}

static char *
table_of(Jsonb *uses_with)
{
	return pqlite_options_read(uses_with)->table;
}

/* What documents become: what has no default is told where it is given. */
static Jsonb *
stored_as(Jsonb *uses_with)
{
	const PqliteOptions *options = pqlite_options_read(uses_with);
	JsonbInState state = {0};
	int			guc_level = server_types_only();

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	if (options->dim > 0)
		jflow_json_push_int(&state, "dim", options->dim);
	if (options->field)
		jflow_json_push_string(&state, "field", options->field);
	jflow_json_push_string(&state, "metric", pqlite_metric_name(options->metric));
	jflow_json_push_string(&state, "on_missing", pqlite_on_missing_names[options->on_missing]);
	jflow_json_push_key(&state, "columns");
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < options->ncolumns; i++)
	{
		Oid			type;
		int32		typmod;

		pqlite_option_type(options, i, &type, &typmod);
		jflow_json_push_string(&state, options->column_names[i], format_type_with_typemod(type, typmod));
	}
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	AtEOXact_GUC(false, guc_level);
	return JsonbValueToJsonb(state.result);
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
	.table = table_of,
	.stored_as = stored_as,
	.check_stand_in = pqlite_check_stand_in,
	.prepare_exchange = pqlite_prepare_exchange,
	.exchange = pqlite_exchange,
	.caller_endpoints = caller_endpoints,
};
