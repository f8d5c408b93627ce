/*
 * ddl.c
 *		Statements that need a database or the extension without replicas.
 *
 * A connected replica makes DROP DATABASE, a rename, a move and a copy fail, and
 * would work on with an extension that is gone.  Before such a statement runs,
 * its database is marked blocked and its replicas and scout leave; when the
 * transaction has ended, in whatever way, the mark goes and a scout finds what
 * is there.  Only a role that may run the statement stops anything.
 *
 * The extension can go along with something else, its schema or its owner's
 * things; a hook of the deletion itself sees that.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "nodes/value.h"
#include "pgstat.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/inval.h"
#include "utils/syscache.h"

#include "common/xact.h"
#include "compat.h"
#include "flow/flow.h"
#include "runtime/control/workers.h"
#include "runtime/shared/pool.h"
#include "settings.h"

#define MAX_BLOCKED 8
#define GRACE_MS 2000			/* for requests that run, before they are
								 * ended */
#define PATIENCE_MS 10000

static ProcessUtility_hook_type previous_utility = NULL;
static object_access_hook_type previous_access = NULL;
static Oid	blocked[MAX_BLOCKED];
static int	nblocked = 0;

/* Are replicas, or the scout, of a database there?  Tells them to leave. */
static bool
send_away(Oid database, bool terminate)
{
	bool		any = false;

	LWLockAcquire(&jflow_shared->control, LW_SHARED);
	if (jflow_shared->scout_database == database && jflow_shared->scout_pid != 0)
	{
		any = true;
		if (terminate)
			kill(jflow_shared->scout_pid, SIGTERM);
	}
	for (int i = 0; i < jflow_max_replicas; i++)
	{
		JflowReplica *replica = &jflow_replicas[i];

		if (replica->state == REPLICA_FREE || jflow_pools[replica->pool].database != database)
			continue;
		any = true;
		replica->stop = true;
		if (replica->proc >= 0)
			jflow_wake_process(replica->proc);
		if (terminate && replica->pid > 0)
			kill(replica->pid, SIGTERM);
	}
	LWLockRelease(&jflow_shared->control);
	return any;
}

/* Block a database until the transaction's end, and wait for its replicas to leave. */
static void
empty_database(Oid database)
{
	JflowDatabase *entry;
	TimestampTz started = GetCurrentTimestamp();
	bool		in_use;

	for (int i = 0; i < nblocked; i++)
		if (blocked[i] == database)
			return;
	LWLockAcquire(&jflow_shared->control, LW_EXCLUSIVE);
	entry = jflow_database_entry(database, false);
	in_use = entry != NULL && nblocked < MAX_BLOCKED;
	if (in_use)
	{
		entry->blocked++;
		blocked[nblocked++] = database;
	}
	LWLockRelease(&jflow_shared->control);
	if (!in_use)
		return;

	ConditionVariablePrepareToSleep(&jflow_shared->changed);
	while (send_away(database, TimestampDifferenceExceeds(started, GetCurrentTimestamp(), GRACE_MS)))
	{
		if (TimestampDifferenceExceeds(started, GetCurrentTimestamp(), PATIENCE_MS))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("replicas of flows in the database did not stop in time"),
					 errhint("Stop the flows with jflow_stop and try again.")));
		(void) ConditionVariableTimedSleep(&jflow_shared->changed, 100, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
}

static void
unblock(XactEvent event, void *arg)
{
	if (nblocked == 0)
		return;
	if (event == XACT_EVENT_PRE_PREPARE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot PREPARE a transaction that has stopped replicas")));
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT)
		return;
	LWLockAcquire(&jflow_shared->control, LW_EXCLUSIVE);
	while (nblocked > 0)
	{
		JflowDatabase *entry = jflow_database_entry(blocked[--nblocked], false);

		if (entry == NULL)
			continue;
		entry->blocked--;
		entry->dirty++;
		entry->next_scout = 0;
	}
	LWLockRelease(&jflow_shared->control);
	jflow_wake_launcher();
}

/* Is nothing running in any database that could stand in the way? */
static bool
no_pools(void)
{
	for (int i = 0; i < jflow_max_pools; i++)
		if (jflow_pools[i].used)
			return false;
	return true;
}

static void
empty_named(const char *name)
{
	Oid			database = get_database_oid(name, true);

	if (OidIsValid(database) && jflow_database_ownercheck_compat(database, GetUserId()))
		empty_database(database);
}

static char *
string_option(List *options, const char *name)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst(cell);

		if (strcmp(option->defname, name) == 0 && option->arg)
			return defGetString(option);
	}
	return NULL;
}

static bool
drops_extension(const DropStmt *stmt)
{
	ListCell   *cell;

	if (stmt->removeType != OBJECT_EXTENSION)
		return false;
	foreach(cell, stmt->objects)
	{
		const char *name = strVal(lfirst(cell));

		if (strcmp(name, "jflow") == 0 ||
			(strcmp(name, "vector") == 0 && stmt->behavior == DROP_CASCADE))
			return true;
	}
	return false;
}

/* Does a statement bring the extension to another version? */
static bool
is_update(Node *stmt)
{
	return IsA(stmt, AlterExtensionStmt) &&
		strcmp(((AlterExtensionStmt *) stmt)->extname, "jflow") == 0;
}

/* Has a statement committed what another session may have done? */
static bool
commits_prepared(Node *stmt)
{
	return IsA(stmt, TransactionStmt) &&
		((TransactionStmt *) stmt)->kind == TRANS_STMT_COMMIT_PREPARED;
}

/*
 * Is the owner of something that runs gone?  Who drops a role says so at commit, but
 * not for a prepared transaction: that is committed by whoever comes, perhaps after
 * the server was started anew.
 *
 * Pools are read without their locks.  What is made or given back meanwhile may be
 * taken for what it is not: then a scout looks once without need, or does not for a
 * pool that is new.  Whatever was connected as the role had its pool before the role
 * was gone, so that is seen; and nothing can connect as a role that is gone.
 */
static bool
owner_is_gone(void)
{
	AcceptInvalidationMessages();
	for (int i = 0; i < jflow_max_pools; i++)
		if (jflow_pools[i].used && !SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(jflow_pools[i].owner)))
			return true;
	return false;
}

/* Make room for a statement that needs it. */
static void
before_statement(Node *stmt)
{
	char	   *name;

	switch (nodeTag(stmt))
	{
		case T_DropdbStmt:
			empty_named(((DropdbStmt *) stmt)->dbname);
			break;
		case T_RenameStmt:
			if (((RenameStmt *) stmt)->renameType == OBJECT_DATABASE)
				empty_named(((RenameStmt *) stmt)->subname);
			break;
		case T_AlterDatabaseStmt:
			if (string_option(((AlterDatabaseStmt *) stmt)->options, "tablespace"))
				empty_named(((AlterDatabaseStmt *) stmt)->dbname);
			break;
		case T_CreatedbStmt:
			name = string_option(((CreatedbStmt *) stmt)->options, "template");
			if (name)
				empty_named(name);
			break;
		case T_DropStmt:
			if (drops_extension((DropStmt *) stmt) && superuser())
				empty_database(MyDatabaseId);
			break;
		case T_AlterExtensionStmt:
			if (is_update(stmt) && superuser())
				empty_database(MyDatabaseId);
			break;
		default:
			break;
	}
}

static void
process_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *completion)
{
	Node	   *stmt = pstmt->utilityStmt;

	if (!no_pools())
		before_statement(stmt);
	if (previous_utility)
		previous_utility(pstmt, query, read_only_tree, context, params, environment, dest, completion);
	else
		standard_ProcessUtility(pstmt, query, read_only_tree, context, params, environment, dest,
								completion);
	if (is_update(stmt))
	{
		/* What could not run with the other version may run now. */
		jflow_catalog_forget();
		jflow_pending_dirty();
	}
	else if (IsA(stmt, DropRoleStmt) || (commits_prepared(stmt) && owner_is_gone()))
		jflow_pending_roles();
}

/* Something is about to be dropped, by a role that may. */
static void
before_drop(ObjectAccessType access, Oid classid, Oid objectid, int subid, void *arg)
{
	if (previous_access)
		previous_access(access, classid, objectid, subid, arg);
	if (access == OAT_DROP && classid == ExtensionRelationId && !no_pools() &&
		objectid == get_extension_oid("jflow", true))
	{
		empty_database(MyDatabaseId);
		jflow_pending_extension();
	}
}

/* For _PG_init. */
void
jflow_ddl_init(void)
{
	previous_access = object_access_hook;
	object_access_hook = before_drop;
	previous_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
	jflow_at_transaction_end(XACT_END_DDL, unblock);
}
