/*
 * registry.c
 *		Which executor classes there are: those that are built in, and the rows of
 *		jflow.class.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "flow/flow.h"

enum
{
	Anum_class_class = 1,
	Anum_class_owner,
	Anum_class_requests,
	Anum_class_polling
};

typedef struct Registered
{
	const JflowClass *class;
	struct Registered *next;
} Registered;

static Registered *registered = NULL;

/* Make a built-in class known.  For _PG_init; the class is static. */
void
jflow_register_class(const JflowClass *class)
{
	Registered *entry = MemoryContextAlloc(TopMemoryContext, sizeof(Registered));

	entry->class = class;
	entry->next = registered;
	registered = entry;
}

/* What a built-in class of that name tells of itself, or NULL. */
const JflowClass *
jflow_registered_class(const char *name)
{
	for (Registered *entry = registered; entry; entry = entry->next)
		if (strcmp(entry->class->name, name) == 0)
			return entry->class;
	return NULL;
}

/* Is it an executor of that built-in class? */
bool
jflow_executor_is(const JflowExecutor *executor, const char *class_name)
{
	return executor->class && strcmp(executor->class->name, class_name) == 0;
}

/* Drop what storing classes made for a flow, with the rights of the current user. */
void
jflow_drop_data(const JflowFlow *flow)
{
	for (Registered *entry = registered; entry; entry = entry->next)
		if (entry->class->drop_data)
			entry->class->drop_data(flow);
}

/*
 * Scan the classes of a name, or the one of an owner, too.  The keys' collation
 * is "C", which is what systable scans compare with.
 */
static SysScanDesc
scan_classes(Relation rel, const char *name, const char *owner, Snapshot snapshot)
{
	ScanKeyData keys[2];
	Oid			index = RelationGetPrimaryKeyIndexCompat(rel);

	ScanKeyInit(&keys[0], Anum_class_class, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(name));
	if (owner)
		ScanKeyInit(&keys[1], Anum_class_owner, BTEqualStrategyNumber, F_TEXTEQ,
					CStringGetTextDatum(owner));
	return systable_beginscan(rel, index, OidIsValid(index), snapshot, owner ? 2 : 1, keys);
}

/* A jsonb of a row, copied into the current memory context, or NULL. */
static Jsonb *
jsonb_attr(HeapTuple tuple, int attnum, Relation rel)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, attnum, RelationGetDescr(rel), &isnull);

	return isnull ? NULL : DatumGetJsonbPCopy(value);
}

/*
 * Read a class of an owner ("": built in) into the given places, in the current
 * memory context; they may be NULL.  Returns false if there is no such class.
 */
bool
jflow_class_read(const char *name, const char *owner, Snapshot snapshot,
				 Jsonb **requests, Jsonb **polling)
{
	Relation	rel = table_open(jflow_catalog_relid("class"), AccessShareLock);
	SysScanDesc scan = scan_classes(rel, name, owner, snapshot);
	HeapTuple	tuple = systable_getnext(scan);
	bool		found = HeapTupleIsValid(tuple);

	if (found && requests)
	{
		*requests = jsonb_attr(tuple, Anum_class_requests, rel);
		*polling = jsonb_attr(tuple, Anum_class_polling, rel);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

/*
 * The owner of a class of that name which a role, who has none himself, may use:
 * a superuser, or a role whose privileges he has, as for functions; NULL if there
 * is none.  Raises ambiguous_parameter for two.
 */
char *
jflow_class_of_others(const char *name, Oid role)
{
	Relation	rel = table_open(jflow_catalog_relid("class"), AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(GetCatalogSnapshot(RelationGetRelid(rel)));
	SysScanDesc scan = scan_classes(rel, name, NULL, snapshot);
	HeapTuple	tuple;
	char	   *found = NULL;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		value = heap_getattr(tuple, Anum_class_owner, RelationGetDescr(rel), &isnull);
		char	   *owner = TextDatumGetCString(value);
		JflowRole	owner_role = jflow_role_read(owner, snapshot);

		if (owner[0] == '\0' || !jflow_role_trusts(role, jflow_role_of(&owner_role)))
			continue;
		if (found)
			ereport(ERROR,
					(errcode(ERRCODE_AMBIGUOUS_PARAMETER),
					 errmsg("executor class \"%s\" is ambiguous", name),
					 errdetail("Roles \"%s\" and \"%s\" have defined one.", found, owner),
					 errhint("Define one of your own.")));
		found = owner;
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	return found;
}
