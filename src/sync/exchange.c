/*
 * exchange.c
 *		A sync takes the place of another, whose store it has filled anew.
 *
 * Whoever does it holds the locks of both, so that no round of either is out.  Then
 * the source is locked, for the triggers of the one that goes, and then the store.
 */
#include "postgres.h"

#include "access/table.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "compat.h"
#include "sync/sync.h"

/* Are indexes of a flow's stores to be made, or rows to be moved? */
static bool
has_work_for_movers(const char *name)
{
	const JflowFlow *flow = jflow_flow_open(name, true);

	for (int i = 0; flow && i < flow->nexecutors; i++)
		if (jflow_needs_mover(flow, &flow->executors[i]))
			return true;
	return false;
}

/* What keeps a sync from taking another's place, for the view. */
static ErrorData *
reason(char *message, char *hint)
{
	ErrorData  *error = palloc0(sizeof(ErrorData));

	error->elevel = ERROR;
	error->sqlerrcode = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
	error->message = message;
	error->hint = hint;
	return error;
}

/*
 * What keeps a sync, all of whose rows have been tried, from taking the place of the
 * other, in the current memory context; NULL: nothing.
 */
ErrorData *
sync_why_not_yet(const Sync *stand_in, const Sync *sync)
{
	uint64		missing;

	if (!sync->here || sync->paused)
		return reason(psprintf("sync \"%s\" is paused", sync->name), "Call jflow_sync_resume.");
	if (has_work_for_movers(stand_in->flow) || has_work_for_movers(sync->flow))
		return reason("indexes are being made, or rows moved between shards", NULL);
	missing = stand_in->skip_failed ? 0 : sync_missing(stand_in, sync);
	if (missing == 0)
		return NULL;
	return reason(psprintf("rows that have failed are missing from the new store: " UINT64_FORMAT, missing),
				  psprintf("Mend them and call jflow_sync_retry(%s), or give up with jflow_unsync and call jflow_resync with skip_failed => true.",
						   quote_literal_cstr(stand_in->name)));
}

/*
 * Let "stand_in" be the sync that "sync" is, with the store that it has filled.  The
 * current user is the flow's owner.  All or nothing, in the current transaction.
 */
void
sync_exchange(const Sync *stand_in, const Sync *sync)
{
	Relation	source;

	jflow_stand_in_prepare(stand_in->flow);
	source = table_open(sync->source, AccessExclusiveLock);
	sync_triggers_drop(sync);
	table_close(source, NoLock);
	jflow_stand_in_exchange(stand_in->flow, stand_in->uses_with);
	sync_take_place(stand_in, sync);
	sync_touch(stand_in->id, true);
}
