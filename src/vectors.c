/*
 * vectors.c
 *		pgvector's types, known by OID.
 *
 * C code reads the bytes of vectors, so what it takes for one must be one.  A
 * type's name proves nothing: whoever may create a type can call it "vector",
 * and pgvector can be moved to another schema at any time.  What makes a type
 * pgvector's is that it belongs to the extension.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/syscache.h"

#include "vectors.h"

static JflowVectorTypes types;
static bool types_valid = false;

/* Counts changes of types, so that one during a look-up is not missed. */
static uint64 types_changes = 0;

static void
types_invalidate(Datum arg, int cacheid, uint32 hashvalue)
{
	types_valid = false;
	types_changes++;
}

/* Where a type of this name is kept, or NULL. */
static Oid *
place_of(const char *name)
{
	if (strcmp(name, "vector") == 0)
		return &types.vector;
	if (strcmp(name, "halfvec") == 0)
		return &types.halfvec;
	if (strcmp(name, "sparsevec") == 0)
		return &types.sparsevec;
	return NULL;
}

/* Look at all types that belong to the extension. */
static void
read_types(Oid extension)
{
	Relation	rel = table_open(DependRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&keys[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(ExtensionRelationId));
	ScanKeyInit(&keys[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(extension));
	scan = systable_beginscan(rel, DependReferenceIndexId, true, NULL, 2, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend depend = (Form_pg_depend) GETSTRUCT(tuple);
		HeapTuple	type;
		Form_pg_type form;
		Oid		   *place;

		if (depend->classid != TypeRelationId || depend->deptype != DEPENDENCY_EXTENSION)
			continue;
		type = SearchSysCache1(TYPEOID, ObjectIdGetDatum(depend->objid));
		if (!HeapTupleIsValid(type))
			continue;
		form = (Form_pg_type) GETSTRUCT(type);
		place = place_of(NameStr(form->typname));
		if (place && form->typtype == TYPTYPE_BASE)
			*place = form->oid;
		ReleaseSysCache(type);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/*
 * The OIDs of pgvector's types, looked up again after any type has changed, as
 * when the extension is dropped and created anew.  All are invalid where it is
 * not there.  Needs a transaction.
 */
const JflowVectorTypes *
jflow_vector_types(void)
{
	static bool registered = false;

	if (!registered)
	{
		CacheRegisterSyscacheCallback(TYPEOID, types_invalidate, (Datum) 0);
		registered = true;
	}
	if (!types_valid)
	{
		uint64		before = types_changes;
		Oid			extension = get_extension_oid("vector", true);

		memset(&types, 0, sizeof(types));
		if (OidIsValid(extension))
			read_types(extension);
		types_valid = before == types_changes;
	}
	return &types;
}
