/*
 * hygiene.c
 *		What a request could leave behind in a replica's session, and its end.
 *
 * Settings are no longer there: jflow_run rolls them back.  LISTEN is refused by
 * the server in background workers, and a role cannot be set while a function
 * runs for somebody else.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/prepare.h"
#include "commands/sequence.h"
#include "commands/trigger.h"
#include "nodes/makefuncs.h"
#include "storage/lock.h"
#include "utils/guc.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"

#include "runtime/replica/hygiene.h"

/* Did this transaction touch temporary tables?  Ask before it ends. */
bool
jflow_hygiene_temp(void)
{
	return (MyXactFlags & XACT_FLAGS_ACCESSEDTEMPNAMESPACE) != 0;
}

/*
 * Fire deferred triggers while an error is still an ordinary one, and what they
 * set can still be rolled back.
 */
void
jflow_hygiene_fire_deferred(void)
{
	ConstraintsSetStmt *stmt = makeNode(ConstraintsSetStmt);
	int			settings = NewGUCNestLevel();

	stmt->constraints = NIL;
	stmt->deferred = false;
	AfterTriggerSetState(stmt);
	AtEOXact_GUC(false, settings);
}

/* Leave nothing to the next caller.  Outside of a transaction. */
void
jflow_hygiene_clean(bool temp)
{
	PortalHashTableDeleteAll();
	DropAllPreparedStatements();
	LockReleaseAll(USER_LOCKMETHOD, true);
	ResetSequenceCaches();
	if (temp)
	{
		StartTransactionCommand();
		PushActiveSnapshot(GetTransactionSnapshot());	/* for deleting toasted
														 * rows */
		ResetTempTableNamespace();
		PopActiveSnapshot();
		CommitTransactionCommand();
	}
}
