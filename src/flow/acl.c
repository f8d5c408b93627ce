/*
 * acl.c
 *		Who may do what with a flow.
 *
 * The owner (any role that has the owner's privileges) may change a flow; he
 * and the roles of jflow.flow_grant may post to it, these to the endpoints that
 * were granted.  Owners and grantees are kept as names, resolved at each use: a
 * role that was dropped fails its own flows and nobody else's.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "catalog/pg_foreign_server.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/syscache.h"

#include "common/session.h"
#include "compat.h"
#include "flow/flow.h"
#include "settings.h"

/* The role that owns a flow.  Raises undefined_object if it is gone. */
Oid
jflow_flow_owner(const JflowFlow *flow)
{
	Oid			owner = jflow_role_of(&flow->rights.owner);

	if (!OidIsValid(owner))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role \"%s\", the owner of flow \"%s\", does not exist",
						flow->owner, flow->name),
				 jflow_role_has_namesake(&flow->rights.owner) ?
				 errdetail("The role of that name is not the one that owned the flow.") : 0,
				 errhint("The owner of the database can give what belonged to it to another role with jflow_adopt.")));
	return owner;
}

/*
 * The security context of a call with the owner's rights.  The owner's code must
 * not leave anything in the session that would later run, or be found, with the
 * rights of the caller: a deferred trigger, a temporary table, a held cursor.  A
 * superuser could do that anyway, and nobody needs protection from himself.
 */
int
jflow_owner_security(Oid owner, Oid caller, int sec_context)
{
	sec_context |= SECURITY_LOCAL_USERID_CHANGE;
	if (owner != caller && !superuser_arg(owner))
		sec_context |= SECURITY_RESTRICTED_OPERATION;
	return sec_context;
}

/*
 * Work with the rights of a flow's owner in the session of somebody else, who may
 * change the flow, or writes to a table that the flow is in step with.  Code of the
 * owner's may run: triggers, casts, index expressions.  Settings that are changed
 * end with the work, and code in another's session does not reach what that holds.
 *
 * On an error the user and the settings are restored by the abort of the
 * transaction or subtransaction.
 */
void
jflow_as_flow_owner(const JflowFlow *flow, void (*work) (void *arg), void *arg)
{
	Oid			owner = jflow_flow_owner(flow);
	JflowSessionGuard guard;
	Oid			userid;
	int			sec_context;
	int			guc_level;
	bool		guarded;

	GetUserIdAndSecContext(&userid, &sec_context);
	SetUserIdAndSecContext(owner, jflow_owner_security(owner, userid, sec_context));
	guc_level = NewGUCNestLevel();
	guarded = InSecurityRestrictedOperation();
	if (guarded)
		jflow_session_guard(&guard, NULL);
	PG_TRY();
	{
		work(arg);
		if (guarded)
			jflow_session_close_portals(&guard);
	}
	PG_FINALLY();
	{
		if (guarded)
			jflow_session_release(&guard);
	}
	PG_END_TRY();
	AtEOXact_GUC(false, guc_level);
	SetUserIdAndSecContext(userid, sec_context);
}

/*
 * Raises insufficient_privilege unless the current user may change the flow.
 * A superuser may change flows whose owner is gone, too.
 */
void
jflow_check_flow_owner(const JflowFlow *flow)
{
	if (!superuser() && !has_privs_of_role(GetUserId(), jflow_flow_owner(flow)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of flow \"%s\"", flow->name)));
}

/*
 * Why replicas of a flow's owner cannot start, or NULL, in the current memory
 * context; and in *owner who that is.
 */
char *
jflow_owner_obstacle(const JflowFlow *flow, Oid *owner)
{
	char	   *name;
	HeapTuple	tuple;
	bool		login;

	*owner = jflow_role_of(&flow->rights.owner);
	if (!OidIsValid(*owner))
		return psprintf("role \"%s\" does not exist", flow->owner);
	name = GetUserNameFromId(*owner, false);
	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(*owner));
	login = HeapTupleIsValid(tuple) && ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;
	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	if (!login && JFLOW_NEEDS_LOGIN)
		return psprintf("role \"%s\" is not permitted to log in", name);
	if (superuser_arg(*owner) && !jflow_allow_superuser_flows)
		return psprintf("role \"%s\" is a superuser and jflow.allow_superuser_flows is off", name);
	if (jflow_database_aclcheck_compat(MyDatabaseId, *owner, ACL_CONNECT) != ACLCHECK_OK)
		return psprintf("role \"%s\" has no CONNECT privilege for the database", name);
	return NULL;
}

/* Has a role the rights of the flow's owner? */
static bool
owns(const JflowRights *rights, Oid role)
{
	Oid			owner;

	if (superuser_arg(role))
		return true;
	owner = jflow_role_of(&rights->owner);
	return OidIsValid(owner) && has_privs_of_role(role, owner);
}

/* Does a grant let a role post to an endpoint, or to any where NULL is asked for? */
static bool
has_grant(const JflowRights *rights, Oid role, const char *endpoint)
{
	for (int i = 0; i < rights->ngrants; i++)
	{
		const JflowGrant *grant = &rights->grants[i];
		Oid			grantee;

		CHECK_FOR_INTERRUPTS();
		if (endpoint && strcmp(grant->endpoint, JFLOW_ALL_ENDPOINTS) != 0 &&
			strcmp(grant->endpoint, endpoint) != 0)
			continue;
		grantee = jflow_role_of(&grant->role);
		if (OidIsValid(grantee) && has_privs_of_role(role, grantee))
			return true;
	}
	return false;
}

/*
 * May a role post to an endpoint of a flow?  NULL for the endpoint asks for any,
 * JFLOW_ALL_ENDPOINTS for the right to all of them.
 */
bool
jflow_may_post(const JflowRights *rights, Oid role, const char *endpoint)
{
	return owns(rights, role) || has_grant(rights, role, endpoint);
}

/* Raises insufficient_privilege unless the current user may post to the endpoint. */
void
jflow_check_may_post(const JflowFlow *flow, const char *endpoint)
{
	if (jflow_may_post(&flow->rights, GetUserId(), endpoint))
		return;
	if (endpoint && jflow_may_post(&flow->rights, GetUserId(), NULL))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 strcmp(endpoint, JFLOW_ALL_ENDPOINTS) == 0 ?
				 errmsg("permission denied for some endpoints of flow \"%s\"", flow->name) :
				 errmsg("permission denied for endpoint \"%s\" of flow \"%s\"", endpoint, flow->name),
				 errhint("Its owner can grant the right with jflow_grant.")));
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for flow \"%s\"", flow->name),
			 errhint("Its owner can grant the right with jflow_grant.")));
}

/*
 * Raises insufficient_privilege unless a flow's owner may use a foreign server.  Who
 * owns the server decides where it is, and with which user mapping one logs in there
 * without having one.  Superusers are asked for no password by it, so theirs must
 * not be a server that somebody else can point to where he likes.
 */
void
jflow_check_may_use_server(const ForeignServer *server, Oid owner)
{
	bool		may = jflow_server_aclcheck_compat(server->serverid, owner, ACL_USAGE) == ACLCHECK_OK;

	if (may && (!superuser_arg(owner) || jflow_role_trusts(owner, server->owner)))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for foreign server %s", server->servername),
			 may ? errdetail("The flow's owner \"%s\" is a superuser, and the server belongs to \"%s\".",
							 GetUserNameFromId(owner, false), GetUserNameFromId(server->owner, true)) :
			 errdetail("The flow's owner \"%s\" needs USAGE on it.", GetUserNameFromId(owner, false))));
}

/*
 * May a role know of the flow of that name, and see how it does?  Who may post
 * may, and pg_monitor.  False for a flow that is not there.
 */
bool
jflow_may_see(const char *flow, Oid role)
{
	JflowRights rights;

	return jflow_rights_read(flow, &rights) &&
		(has_privs_of_role(role, ROLE_PG_MONITOR) || jflow_may_post(&rights, role, NULL));
}

/* Has a role the rights of the owner?  False for a flow that is not there. */
bool
jflow_is_flow_owner(const char *flow, Oid role)
{
	JflowRights rights;

	return jflow_rights_read(flow, &rights) && owns(&rights, role);
}

/* Raises what is wrong with the name of an endpoint in a definition. */
void
jflow_check_endpoint(const char *endpoint)
{
	if (strcmp(endpoint, JFLOW_ALL_ENDPOINTS) != 0 && endpoint[0] != '/')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("endpoint \"%s\" must begin with a slash", endpoint),
				 errhint("Use \"*\" for all endpoints that are not named.")));
	if (strlen(endpoint) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("endpoint name must have 1 to %d bytes", NAMEDATALEN - 1)));
}

PG_FUNCTION_INFO_V1(jflow_may_post_sql);
PG_FUNCTION_INFO_V1(jflow_may_see_sql);
PG_FUNCTION_INFO_V1(jflow_is_owner_sql);
PG_FUNCTION_INFO_V1(jflow_role_now);

/*
 * jflow.may_post(flow text) RETURNS bool: to any endpoint; false for a flow that
 * is not there.
 */
Datum
jflow_may_post_sql(PG_FUNCTION_ARGS)
{
	JflowRights rights;

	PG_RETURN_BOOL(jflow_rights_read(text_to_cstring(PG_GETARG_TEXT_PP(0)), &rights) &&
				   jflow_may_post(&rights, GetUserId(), NULL));
}

/*
 * jflow.may_see(flow text) RETURNS bool
 */
Datum
jflow_may_see_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(jflow_may_see(text_to_cstring(PG_GETARG_TEXT_PP(0)), GetUserId()));
}

/*
 * jflow.is_owner(flow text) RETURNS bool
 */
Datum
jflow_is_owner_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(jflow_is_flow_owner(text_to_cstring(PG_GETARG_TEXT_PP(0)), GetUserId()));
}

/*
 * jflow.role_now(name text) RETURNS text: how the role is called now that a name in
 * the catalog means.
 */
Datum
jflow_role_now(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(jflow_role_shown_name(text_to_cstring(PG_GETARG_TEXT_PP(0)))));
}
