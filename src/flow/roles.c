/*
 * roles.c
 *		Names of roles in the catalog, and the roles that they mean.
 *
 * The catalog keeps roles as names, since numbers do not survive dump and restore.
 * But a name alone would make whoever is given it later the owner of what its
 * first bearer left behind.  So jflow.role, which is not dumped, says which role
 * each name has meant here, on this system and in this database, since it was
 * first written or, after a restore, looked up: a role that is renamed keeps what
 * is its own, and a new one of the old name owns none of it.  Where the table
 * says nothing, a name means the role that has it.
 *
 * When something of a renamed role is used the next time, its old name is replaced
 * throughout, so that the next dump has the new one.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "common/args.h"
#include "compat.h"
#include "flow/flow.h"

/* Columns of jflow.role, in the order of its definition. */
enum
{
	Anum_role_name = 1,
	Anum_role_system_identifier,
	Anum_role_database,
	Anum_role_role
};

/* Where the catalog keeps names of roles. */
static const struct
{
	const char *table;
	const char *column;
}			role_columns[] = {
	{"flow", "owner"},
	{"class", "owner"},
	{"executor", "class_owner"},
	{"flow_grant", "grantee"},
	{"codebook", "owner"},
};

PG_FUNCTION_INFO_V1(jflow_adopt);

/*
 * Scan jflow.role for what it says of this system and database, of one name or
 * (NULL) of all; under the newest snapshot where NULL is given.
 */
static SysScanDesc
scan_roles(Relation rel, const char *name, Snapshot snapshot)
{
	ScanKeyData keys[3];
	int			nkeys = 0;
	Oid			index = RelationGetPrimaryKeyIndexCompat(rel);

	if (name)
		ScanKeyInit(&keys[nkeys++], Anum_role_name, BTEqualStrategyNumber, F_TEXTEQ,
					CStringGetTextDatum(name));
	ScanKeyInit(&keys[nkeys++], Anum_role_system_identifier, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum((int64) GetSystemIdentifier()));
	ScanKeyInit(&keys[nkeys++], Anum_role_database, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(MyDatabaseId));
	return systable_beginscan(rel, index, name && OidIsValid(index), snapshot, nkeys, keys);
}

static Oid
scanned_role(HeapTuple tuple, Relation rel)
{
	bool		isnull;

	return DatumGetObjectId(heap_getattr(tuple, Anum_role_role, RelationGetDescr(rel), &isnull));
}

/* The role that jflow.role knows for a name, which may be gone; InvalidOid if none. */
static Oid
known_role(const char *name, Snapshot snapshot)
{
	Relation	rel = table_open(jflow_catalog_relid("role"), AccessShareLock);
	SysScanDesc scan = scan_roles(rel, name, snapshot);
	HeapTuple	tuple = systable_getnext(scan);
	Oid			role = HeapTupleIsValid(tuple) ? scanned_role(tuple, rel) : InvalidOid;

	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return role;
}

/*
 * What a name in the catalog means, in the current memory context.  With the
 * snapshot that the name was read under, since names can be replaced meanwhile.
 */
JflowRole
jflow_role_read(const char *name, Snapshot snapshot)
{
	JflowRole	role;

	role.name = pstrdup(name);
	role.oid = known_role(name, snapshot);
	role.known = OidIsValid(role.oid);
	if (!role.known)
		role.oid = get_role_oid(name, true);
	return role;
}

/* The role that was read, or InvalidOid if it is gone. */
Oid
jflow_role_of(const JflowRole *role)
{
	if (OidIsValid(role->oid) && SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role->oid)))
		return role->oid;
	return role->known ? InvalidOid : get_role_oid(role->name, true);
}

/* The role that a name in the catalog means now, or InvalidOid if that is gone. */
Oid
jflow_role_oid(const char *name)
{
	JflowRole	role;

	if (name[0] == '\0')
		return InvalidOid;
	role = jflow_role_read(name, NULL);
	return jflow_role_of(&role);
}

/* Is there a role of that name which is not the one that was read? */
bool
jflow_role_has_namesake(const JflowRole *role)
{
	Oid			bearer = get_role_oid(role->name, true);

	return OidIsValid(bearer) && bearer != role->oid;
}

/* How a role that a name means is called now; the name itself if it is gone. */
char *
jflow_role_shown_name(const char *name)
{
	Oid			role = jflow_role_oid(name);
	char	   *shown = OidIsValid(role) ? GetUserNameFromId(role, true) : NULL;

	return shown ? shown : pstrdup(name);
}

/*
 * Does a role trust what another one has made, which will run with its rights?
 * It does so for superusers and for roles whose privileges it has.  A superuser has
 * those of all roles, which must not be a reason to run the code of each of them.
 */
bool
jflow_role_trusts(Oid role, Oid other)
{
	if (!OidIsValid(other))
		return false;
	return superuser_arg(other) || (!superuser_arg(role) && has_privs_of_role(role, other));
}

/* The name by which jflow.role knows a role, or NULL. */
static char *
known_name(Oid role)
{
	Relation	rel = table_open(jflow_catalog_relid("role"), AccessShareLock);
	SysScanDesc scan = scan_roles(rel, NULL, NULL);
	HeapTuple	tuple;
	char	   *name = NULL;

	while (name == NULL && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;

		if (scanned_role(tuple, rel) == role)
			name = TextDatumGetCString(heap_getattr(tuple, Anum_role_name, RelationGetDescr(rel), &isnull));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return name;
}

/*
 * The name under which the catalog has what belongs to a role, in the current
 * memory context; NULL if it can have nothing, since its name means another.
 */
char *
jflow_role_kept_name(Oid role)
{
	char	   *name = known_name(role);

	if (name)
		return name;
	name = GetUserNameFromId(role, false);
	return OidIsValid(known_role(name, NULL)) ? NULL : name;
}

/* Start a statement's parameters with those that tell where we are. */
static void
param_here(JflowParams *params)
{
	jflow_param(params, INT8OID, Int64GetDatum((int64) GetSystemIdentifier()), false);
	jflow_param(params, OIDOID, ObjectIdGetDatum(MyDatabaseId), false);
}

/* Change jflow.role; $1 and $2 are here, $3 a name, $4 a role. */
static uint64
change_role(const char *sql, const char *name, Oid role)
{
	JflowParams params = {0};

	param_here(&params);
	jflow_param_text(&params, name);
	jflow_param(&params, OIDOID, ObjectIdGetDatum(role), false);
	return jflow_catalog_run(sql, &params);
}

static void
insert_role(const char *name, Oid role)
{
	(void) change_role("INSERT INTO jflow.role (name, system_identifier, database, role) "
					   "VALUES ($3, $1, $2, $4) ON CONFLICT DO NOTHING", name, role);
}

static void
delete_role(const char *name)
{
	(void) change_role("DELETE FROM jflow.role WHERE name = $3 AND system_identifier = $1 "
					   "AND database = $2", name, InvalidOid);
}

/* Does anything in the catalog belong to a name? */
static bool
is_name_used(const char *name)
{
	for (int i = 0; i < lengthof(role_columns); i++)
	{
		JflowParams params = {0};

		jflow_param_text(&params, name);
		if (jflow_catalog_run(psprintf("SELECT FROM jflow.%s WHERE %s = $1 LIMIT 1",
									   role_columns[i].table, role_columns[i].column),
							  &params) > 0)
			return true;
	}
	return false;
}

/* Give what belongs to a name to another one. */
static void
replace_name(const char *from, const char *to)
{
	JflowParams params = {0};

	jflow_param_text(&params, from);
	jflow_param_text(&params, to);
	(void) jflow_catalog_run("DELETE FROM jflow.flow_grant g WHERE grantee = $1 AND EXISTS "
							 "(SELECT FROM jflow.flow_grant o WHERE o.flow = g.flow "
							 "AND o.grantee = $2 AND o.endpoint = g.endpoint)", &params);
	for (int i = 0; i < lengthof(role_columns); i++)
		(void) jflow_catalog_run(psprintf("UPDATE jflow.%s SET %s = $2 WHERE %s = $1",
										  role_columns[i].table, role_columns[i].column,
										  role_columns[i].column), &params);
}

/*
 * Names of roles are changed by one transaction at a time.  Whoever waits for
 * another sees what that has done.
 */
static void
lock_roles(void)
{
	JflowParams params = {0};

	(void) jflow_catalog_run("LOCK TABLE jflow.role IN SHARE ROW EXCLUSIVE MODE", &params);
}

typedef struct Renamed
{
	char	   *from;
	char	   *to;
	Oid			role;
	bool		blocked;		/* the new name is not free */
} Renamed;

/* The roles that were renamed since their name was written. */
static List *
renamed_roles(void)
{
	Relation	rel = table_open(jflow_catalog_relid("role"), AccessShareLock);
	SysScanDesc scan = scan_roles(rel, NULL, NULL);
	HeapTuple	tuple;
	List	   *result = NIL;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Renamed    *renamed = palloc0(sizeof(Renamed));

		renamed->role = scanned_role(tuple, rel);
		renamed->from = TextDatumGetCString(heap_getattr(tuple, Anum_role_name, RelationGetDescr(rel), &isnull));
		renamed->to = GetUserNameFromId(renamed->role, true);
		if (renamed->to && strcmp(renamed->to, renamed->from) != 0)
			result = lappend(result, renamed);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
}

/* Is a new name one that the catalog keeps for somebody who does not leave it? */
static bool
is_blocked(const Renamed *renamed, List *all)
{
	ListCell   *lc;

	foreach(lc, all)
	{
		const Renamed *other = lfirst(lc);

		if (strcmp(other->from, renamed->to) == 0)
			return other->blocked;
	}
	return OidIsValid(known_role(renamed->to, NULL)) || is_name_used(renamed->to);
}

/*
 * Let the catalog have the new names of roles that were renamed.  Where a new name
 * is not free, because it is kept for a role that is gone, the old one stays.  Names
 * may have been exchanged, so they go by way of names that no role can have.
 * The catalog must have been begun.
 */
static void
follow_renames(void)
{
	List	   *all;
	ListCell   *lc;
	bool		changed = true;

	lock_roles();
	all = renamed_roles();
	while (changed)
	{
		changed = false;
		foreach(lc, all)
		{
			Renamed    *renamed = lfirst(lc);

			CHECK_FOR_INTERRUPTS();
			if (!renamed->blocked && is_blocked(renamed, all))
				renamed->blocked = changed = true;
		}
	}
	for (int leaving = 1; leaving >= 0; leaving--)
	{
		foreach(lc, all)
		{
			Renamed    *renamed = lfirst(lc);
			char	   *between = psprintf("%u/", renamed->role);

			if (renamed->blocked)
				continue;
			replace_name(leaving ? renamed->from : between, leaving ? between : renamed->to);
			if (leaving)
				delete_role(renamed->from);
			else
				insert_role(renamed->to, renamed->role);
		}
	}
}

static void JFLOW_NORETURN
name_is_taken(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("role \"%s\" is not the one that this name means to jflow in this database", name),
			 errdetail("Flows, classes or grants of another role of that name are kept here."),
			 errhint("The owner of the database can give them to this role with jflow_adopt.")));
}

/*
 * The name by which to keep a role in the catalog, in the current memory context.
 * Remembers which role it means.  Raises undefined_object where the name means
 * another one.
 */
char *
jflow_role_name(Oid role)
{
	char	   *name = GetUserNameFromId(role, false);
	char	   *known = known_name(role);
	char		kept[NAMEDATALEN];
	JflowCatalogState state;

	if (known && strcmp(known, name) == 0)
		return name;
	jflow_catalog_begin(&state);
	if (known || OidIsValid(known_role(name, NULL)))
		follow_renames();
	if (known)
		strlcpy(kept, known_name(role), NAMEDATALEN);
	else
	{
		if (OidIsValid(known_role(name, NULL)))
		{
			lock_roles();
			if (is_name_used(name))
				name_is_taken(name);
			delete_role(name);
		}
		insert_role(name, role);
		strlcpy(kept, name, NAMEDATALEN);
	}
	jflow_catalog_end(&state);
	CommandCounterIncrement();
	return pstrdup(kept);
}

/* Either of the two, for codebooks; see pq_role_name. */
char *
jflow_codebook_owner(Oid role, bool store)
{
	return store ? jflow_role_name(role) : jflow_role_kept_name(role);
}

/*
 * See to it that jflow.role knows a role whose things are used, by its present
 * name; after a restore, all names in the catalog are remembered.  Does nothing
 * where the transaction cannot write, or another one is at it.  True if names were
 * replaced, so that what was read before has old ones.
 */
bool
jflow_roles_remember(const JflowRole *role)
{
	char	   *now = role->known ? GetUserNameFromId(role->oid, true) : NULL;
	JflowCatalogState state;
	JflowParams params = {0};

	if ((role->known && (now == NULL || strcmp(now, role->name) == 0)) ||
		XactReadOnly || RecoveryInProgress() || IsInParallelMode() || IsolationUsesXactSnapshot() ||
		!ConditionalLockRelationOid(jflow_catalog_relid("role"), ShareRowExclusiveLock))
		return false;
	param_here(&params);
	jflow_catalog_begin(&state);
	if (now)
		follow_renames();
	else
		(void) jflow_catalog_run("INSERT INTO jflow.role (name, system_identifier, database, role) "
								 "SELECT r.rolname, $1, $2, r.oid FROM pg_catalog.pg_roles r WHERE r.rolname IN ("
								 "SELECT owner FROM jflow.flow UNION SELECT owner FROM jflow.class "
								 "UNION SELECT class_owner FROM jflow.executor "
								 "UNION SELECT grantee FROM jflow.flow_grant "
								 "UNION SELECT owner FROM jflow.codebook) "
								 "ON CONFLICT DO NOTHING", &params);
	jflow_catalog_end(&state);
	CommandCounterIncrement();
	return now != NULL;
}

/*
 * Who owns the database is trusted with its definitions, but must not make other
 * roles run his code: only a name's own bearer, or a role whose privileges he has,
 * can be given what belongs to it.
 */
static void
check_may_adopt(const char *name, Oid role)
{
	if (superuser())
		return;
	if (!jflow_database_ownercheck_compat(MyDatabaseId, GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of database %s", get_database_name(MyDatabaseId))));
	if (superuser_arg(role) ||
		(strcmp(GetUserNameFromId(role, false), name) != 0 && !has_privs_of_role(GetUserId(), role)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to give what belongs to \"%s\" to role \"%s\"",
						name, GetUserNameFromId(role, false)),
				 errdetail("Flows run with the rights of their owner.")));
}

/*
 * jflow_adopt(name text, role regrole) RETURNS void: says that what the catalog
 * keeps under a name belongs to a role.
 */
Datum
jflow_adopt(PG_FUNCTION_ARGS)
{
	char	   *name = jflow_arg_text(fcinfo, 0, "name");
	JflowCatalogState state;
	Oid			role;
	char	   *new_name;

	jflow_arg_required(fcinfo, 1, "role");
	role = PG_GETARG_OID(1);
	new_name = GetUserNameFromId(role, false);
	if (name[0] == '\0' || strlen(name) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("role name must have 1 to %d bytes", NAMEDATALEN - 1)));
	check_may_adopt(name, role);

	jflow_catalog_begin(&state);
	lock_roles();
	delete_role(name);
	CommandCounterIncrement();
	if (strcmp(name, new_name) != 0)
	{
		char	   *kept = jflow_role_kept_name(role);

		if (kept == NULL)
			name_is_taken(new_name);
		new_name = kept;
		replace_name(name, new_name);
	}
	else if (known_name(role))
		replace_name(known_name(role), new_name);
	(void) change_role("DELETE FROM jflow.role WHERE role = $4 AND system_identifier = $1 "
					   "AND database = $2 AND name <> $3", new_name, role);
	insert_role(new_name, role);
	jflow_catalog_end(&state);
	PG_RETURN_VOID();
}
