/*
 * pqlite_place.c
 *		Where an executor's own table is: its name, its schema, and that it is
 *		nobody else's.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_database.h"
#include "catalog/pg_namespace.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/syscache.h"

#include "compat.h"
#include "executors/pqlite/pqlite.h"

/*
 * Raise object_in_use if a table, of our own or a user's, is the store of another
 * executor.  That is named to those who may know of its flow.
 */
void
pqlite_check_not_used(const char *schema, const char *table, const char *flow, const char *executor, bool own)
{
	char	   *other_flow,
			   *other_executor;

	if (!pqlite_shards_other_user(schema, table, flow, executor, &other_flow, &other_executor))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg("executor \"%s\" of flow \"%s\" cannot store into table %s", executor, flow,
					quote_qualified_identifier(schema, table)),
			 jflow_may_see(other_flow, GetUserId()) ?
			 errdetail("It is the store of executor \"%s\" of flow \"%s\".", other_executor, other_flow) :
			 errdetail("It is the store of another flow."),
			 own ? errhint("Name another workspace with the argument \"workspace\" of jflow_add.") :
			 errhint("Two executors cannot store into one table.")));
}

/* Where an executor's own table is, if it has none yet. */
void
pqlite_locate(const JflowContext *context, const char **schema, const char **table)
{
	*schema = context->executor->workspace ? context->executor->workspace :
		pqlite_default_workspace(jflow_flow_owner(context->flow));
	*table = pqlite_table_name(context->flow->name, context->executor->name);
}

/*
 * Raise object_in_use where an executor that has stored nothing would find the
 * table of another under its name: it must not answer as if that were empty.
 */
void
pqlite_check_place(const JflowContext *context)
{
	const char *schema,
			   *table;

	pqlite_locate(context, &schema, &table);
	if (OidIsValid(get_namespace_oid(schema, true)))
		pqlite_check_not_used(schema, table, context->flow->name, context->executor->name, true);
}

/* Make a schema for the current user, unless it is there. */
static void
make_schema(const char *schema, bool is_default)
{
	const char *role = GetUserNameFromId(GetUserId(), false);
	bool		may = jflow_database_aclcheck_compat(MyDatabaseId, GetUserId(), ACL_CREATE) == ACLCHECK_OK;
	JflowCatalogState state;

	if (OidIsValid(get_namespace_oid(schema, true)))
		return;
	pqlite_lock_schema_name(schema);
	AcceptInvalidationMessages();
	if (OidIsValid(get_namespace_oid(schema, true)))
		return;
	if (!may && !is_default)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("schema \"%s\" does not exist, and role \"%s\" may not make it", schema, role),
				 errhint("Make a schema in which the role may create tables, and name it as the workspace.")));

	/* each role gets one, be it with the rights of the extension's owner */
	if (!may)
		jflow_catalog_begin(&state);
	pqlite_run(psprintf("CREATE SCHEMA %s AUTHORIZATION %s", quote_identifier(schema),
						quote_identifier(role)));
	if (!may)
		jflow_catalog_end(&state);
}

/*
 * Raise an error for a schema that is another's or in which the current user may
 * not make tables.  Whoever owns the schema of a store could drop the store.
 */
static void
check_schema(const char *schema, bool is_default)
{
	HeapTuple	tuple = SearchSysCache1(NAMESPACENAME, CStringGetDatum(schema));
	Form_pg_namespace form;
	Oid			namespace;
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_SCHEMA),
				 errmsg("schema \"%s\" does not exist", schema)));
	form = (Form_pg_namespace) GETSTRUCT(tuple);
	namespace = form->oid;
	owner = form->nspowner;
	ReleaseSysCache(tuple);
	if (is_default && owner != GetUserId() && !superuser_arg(owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("schema \"%s\" belongs to role \"%s\"", schema, GetUserNameFromId(owner, false)),
				 errdetail("It is where the stores of role \"%s\" are if no workspace is given.",
						   GetUserNameFromId(GetUserId(), false)),
				 errhint("Give it to the role with ALTER SCHEMA ... OWNER TO, or name another workspace with the argument \"workspace\" of jflow_add.")));
	if (jflow_namespace_aclcheck_compat(namespace, GetUserId(), ACL_CREATE) != ACLCHECK_OK ||
		jflow_namespace_aclcheck_compat(namespace, GetUserId(), ACL_USAGE) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for schema \"%s\"", schema),
				 errdetail("Role \"%s\" needs USAGE and CREATE there to store documents.",
						   GetUserNameFromId(GetUserId(), false)),
				 errhint("Grant them, or name another workspace with the argument \"workspace\" of jflow_add.")));
}

/* The schema for an executor's own table: made if need be, and one that may be used. */
void
pqlite_prepare_schema(const char *schema, bool is_default)
{
	make_schema(schema, is_default);
	check_schema(schema, is_default);
}
