/*
 * session.c
 *		What of a session is kept from code of another role that runs in it.
 *
 * An executor function that runs inline for a poster of another role, and an
 * expression of an index that somebody looks into, are security-restricted
 * operations: the server itself then refuses temporary tables, prepared
 * statements, LISTEN, DISCARD, deferred triggers and held cursors.  Three things
 * are left that the server does not guard, and that the code's owner could use
 * to run more of it, or to read, with the rights of whose session it is:
 *
 * Cursors.  A procedural language opens and closes them without a statement, by
 * name.  One of the session's that is closed and opened anew under its old name
 * runs another query with the session's rights at the next FETCH.  So all
 * portals of the session are marked as active during the call: the server then
 * refuses to fetch from one, to move it, to close it, and to take its name.
 * Portals that the code leaves behind are closed after it.
 *
 * Session-level advisory locks, descriptors of large objects, and the seed of
 * random() are reached by functions, which are refused where an expression that
 * calls them is initialized.
 *
 * What the server gives us no means to keep apart (lastval, state in procedural
 * languages and extensions) is listed in docs/reference.md.
 */
#include "postgres.h"

#include "catalog/objectaccess.h"
#include "catalog/pg_proc.h"
#include "nodes/memnodes.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "common/session.h"

static object_access_hook_type previous_access = NULL;

/* How many guarded calls are running, one inside another. */
static int	guarded = 0;

/* What helps against a refusal, or NULL. */
static const char *guard_hint = NULL;

/* The parent of all portals' memory contexts. */
static MemoryContext portals_context = NULL;

/* Why a function must not be called in a guarded call; NULL: it may. */
static const char *
refusal(Oid function)
{
	switch (function)
	{
		case F_PG_ADVISORY_LOCK_INT8:
		case F_PG_ADVISORY_LOCK_INT4_INT4:
		case F_PG_ADVISORY_LOCK_SHARED_INT8:
		case F_PG_ADVISORY_LOCK_SHARED_INT4_INT4:
		case F_PG_TRY_ADVISORY_LOCK_INT8:
		case F_PG_TRY_ADVISORY_LOCK_INT4_INT4:
		case F_PG_TRY_ADVISORY_LOCK_SHARED_INT8:
		case F_PG_TRY_ADVISORY_LOCK_SHARED_INT4_INT4:
		case F_PG_ADVISORY_UNLOCK_INT8:
		case F_PG_ADVISORY_UNLOCK_INT4_INT4:
		case F_PG_ADVISORY_UNLOCK_SHARED_INT8:
		case F_PG_ADVISORY_UNLOCK_SHARED_INT4_INT4:
		case F_PG_ADVISORY_UNLOCK_ALL:
			return "Its locks are this session's; pg_advisory_xact_lock is allowed.";
		case F_LO_OPEN:
		case F_LO_CLOSE:
		case F_LOREAD:
		case F_LOWRITE:
		case F_LO_LSEEK:
		case F_LO_LSEEK64:
		case F_LO_TELL:
		case F_LO_TELL64:
		case F_LO_TRUNCATE:
		case F_LO_TRUNCATE64:
			return "Its descriptors are this session's; lo_get and lo_put are allowed.";
		case F_SETSEED:
			return "Its seed is this session's.";
		default:
			return NULL;
	}
}

/* An expression that calls a function is being initialized. */
static void
before_call(ObjectAccessType access, Oid classid, Oid objectid, int subid, void *arg)
{
	const char *reason;

	if (previous_access)
		previous_access(access, classid, objectid, subid, arg);
	if (guarded == 0 || access != OAT_FUNCTION_EXECUTE || classid != ProcedureRelationId)
		return;
	reason = refusal(objectid);
	if (reason)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("cannot call %s in code that runs in another role's session",
						get_func_name(objectid)),
				 errdetail("%s", reason),
				 guard_hint ? errhint("%s", guard_hint) : 0));
}

/* For _PG_init. */
void
jflow_session_init(void)
{
	previous_access = object_access_hook;
	object_access_hook = before_call;
}

/*
 * The server has no list of portals to walk, but each has a memory context, and
 * these are siblings.
 */
static MemoryContext
find_portals_context(void)
{
	for (MemoryContext c = TopMemoryContext->firstchild; c; c = c->nextchild)
		if (strcmp(c->name, "TopPortalContext") == 0)
			return c;
	elog(ERROR, "could not find the memory context of portals");
}

/* The portal of a memory context; NULL if the context is of something else. */
static Portal
portal_of(MemoryContext context)
{
	Portal		portal;

	if (strcmp(context->name, "PortalContext") != 0 || context->ident == NULL)
		return NULL;
	portal = GetPortalByName(context->ident);
	if (portal && portal->portalContext == context)
		return portal;
	portal = GetPortalByName("");	/* whose context is called otherwise */
	return portal && portal->portalContext == context ? portal : NULL;
}

static const JflowGuardedPortal *
find_guarded(const JflowSessionGuard *guard, MemoryContext context)
{
	for (int i = 0; i < guard->nportals; i++)
		if (guard->portals[i].context == context)
			return &guard->portals[i];
	return NULL;
}

/*
 * Begin a call that must not reach what the session holds; "hint" is of errors
 * that say so, or NULL.  The caller calls jflow_session_release however the call
 * ends.  Allocates in the current memory context; may raise out of memory, and has
 * guarded nothing then.
 */
void
jflow_session_guard(JflowSessionGuard *guard, const char *hint)
{
	int			n = 0;

	if (portals_context == NULL)
		portals_context = find_portals_context();
	for (MemoryContext c = portals_context->firstchild; c; c = c->nextchild)
		n++;
	guard->portals = palloc(sizeof(JflowGuardedPortal) * Max(n, 1));
	guard->nportals = 0;
	for (MemoryContext c = portals_context->firstchild; c; c = c->nextchild)
	{
		Portal		portal = portal_of(c);
		JflowGuardedPortal *entry = &guard->portals[guard->nportals];

		if (portal == NULL)
			continue;
		entry->portal = portal;
		entry->context = c;
		entry->status = portal->status;
		entry->visible = portal->visible;
		guard->nportals++;
		portal->status = PORTAL_ACTIVE;
		portal->visible = false;
	}
	guard->outer_hint = guard_hint;
	guard_hint = hint;
	guarded++;
}

/* A portal that the call has left open, or NULL. */
static Portal
left_open(const JflowSessionGuard *guard)
{
	for (MemoryContext c = portals_context->firstchild; c; c = c->nextchild)
	{
		Portal		portal = portal_of(c);

		if (portal && portal->status != PORTAL_ACTIVE && find_guarded(guard, c) == NULL)
			return portal;
	}
	return NULL;
}

/*
 * Close what the call has left open, with the rights that it ran with.  Not
 * needed after an error: the end of its transaction or subtransaction does it.
 */
void
jflow_session_close_portals(const JflowSessionGuard *guard)
{
	Portal		portal;

	while ((portal = left_open(guard)) != NULL)
	{
		if (portal->portalPinned)
			UnpinPortal(portal);
		PortalDrop(portal, false);
	}
}

/* The call has ended; raises nothing. */
void
jflow_session_release(const JflowSessionGuard *guard)
{
	guarded--;
	guard_hint = guard->outer_hint;
	for (int i = 0; i < guard->nportals; i++)
	{
		guard->portals[i].portal->status = guard->portals[i].status;
		guard->portals[i].portal->visible = guard->portals[i].visible;
	}
}
