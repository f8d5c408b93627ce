/*
 * resync.c
 *		jflow_resync: the store of a sync filled anew, and exchanged when it is full.
 *
 * It makes a flow and a sync that stand in for those that are there, which go on
 * as they are.  In the background their worker does the rest (worker.c); for mode
 * "immediate" all of it is done here.
 */
#include "postgres.h"

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "common/args.h"
#include "compat.h"
#include "runtime/control/control.h"
#include "sync/sync.h"

#define SUFFIX "_resync"

PG_FUNCTION_INFO_V1(jflow_resync);

static bool
is_flow(const char *name)
{
	return jflow_flow_open(name, true) != NULL;
}

static bool
is_sync(const char *name)
{
	return sync_read(name, true) != NULL;
}

/*
 * A name for what stands in for a flow, or for a sync, that is not taken: names are
 * shared by all roles, and nobody shall keep another from filling a store anew.
 */
static char *
name_of_stand_in(const char *name, bool (*is_taken) (const char *name))
{
	for (int n = 1;; n++)
	{
		char	   *suffix = n == 1 ? pstrdup(SUFFIX) : psprintf(SUFFIX "%d", n);
		int			len = pg_mbcliplen(name, strlen(name), NAMEDATALEN - 1 - strlen(suffix));
		char	   *result = psprintf("%.*s%s", len, name, suffix);

		CHECK_FOR_INTERRUPTS();
		if (!is_taken(result))
			return result;
	}
}

/* Raise what forbids to fill the store of a sync anew. */
static void
check_sync(const Sync *sync)
{
	Sync	   *stand_in = sync->stands_for ? NULL : sync_stand_in(sync->flow);

	if (sync->stands_for || stand_in)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("sync \"%s\" is being filled anew already", sync->name),
				 errhint("jflow_sync_status tells how far that is; jflow_unsync(%s) gives it up.",
						 quote_literal_cstr(stand_in ? stand_in->name : sync->name))));
	if (!sync->here || sync->paused)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("sync \"%s\" is paused", sync->name),
				 errhint("Call jflow_sync_resume.")));
	if (sync->mode != SYNC_IMMEDIATE && !jflow_flow_started(sync->flow))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("flow \"%s\" is not started", sync->flow),
				 errhint("Call jflow_start.")));
}

/* Make the flow and the sync that stand in.  The current user is the flow's owner. */
static Sync *
make_stand_in(const Sync *sync, const JflowFlow *flow, Jsonb *uses_with, bool skip_failed)
{
	Sync	   *stand_in = palloc(sizeof(Sync));

	*stand_in = *sync;
	stand_in->id = 0;
	stand_in->name = name_of_stand_in(sync->name, is_sync);
	stand_in->flow = name_of_stand_in(sync->flow, is_flow);
	stand_in->mode = sync->mode == SYNC_IMMEDIATE ? SYNC_IMMEDIATE : SYNC_LIVE;
	stand_in->phase = PHASE_FILL;
	stand_in->position = NULL;
	stand_in->stands_for = sync->flow;
	stand_in->uses_with = uses_with;
	stand_in->skip_failed = skip_failed;
	jflow_stand_in_create(flow, stand_in->flow, uses_with);
	if (sync->mode != SYNC_IMMEDIATE)
		jflow_flow_start(stand_in->flow);
	sync_attach_as_owner(stand_in, jflow_flow_open(stand_in->flow, false), PHASE_FILL);
	return stand_in;
}

typedef struct ResyncWork
{
	Sync	   *sync;
	const JflowFlow *flow;
	Jsonb	   *uses_with;
	bool		skip_failed;
} ResyncWork;

static void
resync(void *arg)
{
	const ResyncWork *work = arg;
	Sync	   *stand_in = make_stand_in(work->sync, work->flow, work->uses_with, work->skip_failed);

	if (work->sync->mode != SYNC_IMMEDIATE)
		return;
	sync_exchange(stand_in, work->sync);
	sync_forget_rows(work->sync->id);
}

/*
 * jflow_resync(name text, uses_with jsonb, skip_failed bool) RETURNS void
 */
Datum
jflow_resync(PG_FUNCTION_ARGS)
{
	char	   *name = jflow_arg_text(fcinfo, 0, "name");
	Jsonb	   *uses_with = jflow_arg_jsonb_or_null(fcinfo, 1);
	bool		skip_failed = jflow_arg_bool(fcinfo, 2);
	Sync	   *sync = sync_lock_own(name);
	ResyncWork	work = {sync, jflow_flow_open(sync->flow, false), uses_with, skip_failed};

	if (uses_with && !JB_ROOT_IS_OBJECT(uses_with))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("uses_with must be a JSON object"),
				 errhint("It maps executors to what changes, like {\"encoder\": {\"model\": \"...\"}}.")));
	check_sync(sync);
	jflow_as_flow_owner(work.flow, resync, &work);
	PG_RETURN_VOID();
}
