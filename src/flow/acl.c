/*
 * acl.c
 *		Who may do what with a flow.
 *
 * The owner (any role that has the owner's privileges) may change a flow; he
 * and the roles of jflow.flow_grant may post to it.  Owners and grantees are
 * kept as names, resolved at each use: a role that was dropped fails its own
 * flows and nobody else's.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

#include "compat.h"
#include "flow/flow.h"

/* The role that a name in the catalog means, or InvalidOid. */
Oid
jflow_role_oid(const char *name)
{
	return get_role_oid(name, true);
}

/* The name by which a role is kept in the catalog, in the current memory context. */
char *
jflow_role_name(Oid role)
{
	return GetUserNameFromId(role, false);
}

/*
 * Does a role trust what another one has made, which will run with its rights?
 * It does so for superusers and for roles whose privileges it has.
 */
bool
jflow_role_trusts(Oid role, Oid other)
{
	return OidIsValid(other) && (superuser_arg(other) || has_privs_of_role(role, other));
}

/* The role that owns a flow.  Raises undefined_object if it was dropped. */
Oid
jflow_flow_owner(const JflowFlow *flow)
{
	Oid			owner = jflow_role_oid(flow->owner);

	if (!OidIsValid(owner))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role \"%s\", the owner of flow \"%s\", does not exist",
						flow->owner, flow->name),
				 errhint("A superuser can set another owner in jflow.flow.")));
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
 * Raises insufficient_privilege unless the current user may change the flow.
 * A superuser may change flows whose owner is gone, too.
 */
void
jflow_check_flow_owner(const JflowFlow *flow)
{
	if (superuser())
		return;
	if (!has_privs_of_role(GetUserId(), jflow_flow_owner(flow)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of flow \"%s\"", flow->name)));
}

/* Does jflow.flow_grant let a role post? */
static bool
has_grant(const JflowFlow *flow, Oid userid)
{
	Relation	rel = table_open(jflow_catalog_relid("flow_grant"), AccessShareLock);
	Oid			index = RelationGetPrimaryKeyIndexCompat(rel);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		result = false;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(flow->name));
	scan = systable_beginscan(rel, index, OidIsValid(index), NULL, 1, &key);
	while (!result && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		grantee = heap_getattr(tuple, 2, RelationGetDescr(rel), &isnull);
		Oid			role = jflow_role_oid(TextDatumGetCString(grantee));

		result = OidIsValid(role) && has_privs_of_role(userid, role);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);

	return result;
}

static bool
role_may_post(const JflowFlow *flow, Oid userid)
{
	Oid			owner = jflow_role_oid(flow->owner);

	return (OidIsValid(owner) && has_privs_of_role(userid, owner)) ||
		superuser_arg(userid) || has_grant(flow, userid);
}

/* May the current user post to the flow? */
bool
jflow_may_post(const JflowFlow *flow)
{
	return role_may_post(flow, GetUserId());
}

/* May a role know of the flow of that name?  False for one that is not there. */
bool
jflow_may_see(const char *name, Oid role)
{
	JflowFlow  *flow = jflow_flow_open(name, true);

	return flow && role_may_post(flow, role);
}

/* Raises insufficient_privilege unless the current user may post. */
void
jflow_check_may_post(const JflowFlow *flow)
{
	if (!jflow_may_post(flow))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for flow \"%s\"", flow->name),
				 errhint("Its owner can grant the right with jflow_grant.")));
}

PG_FUNCTION_INFO_V1(jflow_may_post_sql);
PG_FUNCTION_INFO_V1(jflow_is_owner_sql);

/*
 * jflow.may_post(flow text) RETURNS bool: false for a flow that is not there.
 */
Datum
jflow_may_post_sql(PG_FUNCTION_ARGS)
{
	JflowFlow  *flow = jflow_flow_open(text_to_cstring(PG_GETARG_TEXT_PP(0)), true);

	PG_RETURN_BOOL(flow && jflow_may_post(flow));
}

/*
 * jflow.is_owner(flow text) RETURNS bool: false for a flow that is not there.
 */
Datum
jflow_is_owner_sql(PG_FUNCTION_ARGS)
{
	JflowFlow  *flow = jflow_flow_open(text_to_cstring(PG_GETARG_TEXT_PP(0)), true);
	Oid			owner;

	if (flow == NULL)
		PG_RETURN_BOOL(false);
	owner = jflow_role_oid(flow->owner);
	PG_RETURN_BOOL(superuser() ||
				   (OidIsValid(owner) && has_privs_of_role(GetUserId(), owner)));
}
