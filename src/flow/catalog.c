/*
 * catalog.c
 *		Flows as the catalog has them, cached per backend.
 *
 * A definition is read by index scan under the newest snapshot, as the server
 * reads its own catalogs: a transaction of higher isolation must not post to a
 * flow that is gone.  What was read stays in a cache until a trigger on the
 * tables sends a relation cache invalidation, which reaches every backend at
 * commit and the changing one at its next command.
 *
 * A cached flow is pinned by a memory context: whoever opens one keeps it, as
 * it was, until the context that was current is reset.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "flow/flow.h"
#include "settings.h"

/* Columns of jflow.executor, in the order of its definition. */
enum
{
	Anum_executor_flow = 1,
	Anum_executor_name,
	Anum_executor_position,
	Anum_executor_uses,
	Anum_executor_class_owner,
	Anum_executor_uses_with,
	Anum_executor_requests,
	Anum_executor_needs,
	Anum_executor_replicas,
	Anum_executor_shards,
	Anum_executor_polling,
	Anum_executor_workspace,
	Anum_executor_when,
	Anum_executor_uses_before,
	Anum_executor_uses_after,
	Anum_executor_timeout,
	Anum_executor_retries,
	Anum_executor_floating,
	Anum_executor_disable_reduce,
	Anum_executor_batch,
	Natts_executor = Anum_executor_batch
};

enum
{
	Anum_flow_flow = 1,
	Anum_flow_owner,
	Anum_flow_description,
	Anum_flow_created,
	Anum_flow_stands_for
};

enum
{
	Anum_flow_grant_flow = 1,
	Anum_flow_grant_grantee,
	Anum_flow_grant_endpoint
};

typedef struct FlowCacheEntry
{
	char		name[NAMEDATALEN];	/* hash key */
	JflowFlow  *flow;
} FlowCacheEntry;

/* The tables that definitions are read from. */
typedef struct CatalogTables
{
	Oid			flow;
	Oid			executor;
	Oid			class;
	Oid			grant;
	Oid			role;
} CatalogTables;

static HTAB *flow_cache = NULL;
static CatalogTables cached_tables; /* zero until looked up */

/*
 * Counts invalidations, so that a definition that changed while it was being
 * read is used once and not kept.
 */
static uint64 cache_generation = 0;

PG_FUNCTION_INFO_V1(jflow_catalog_changed);

static void
flow_free(JflowFlow *flow)
{
	MemoryContextDelete(flow->context);
}

static void
cache_invalidate(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS status;
	FlowCacheEntry *entry;

	if (OidIsValid(relid) && relid != cached_tables.flow &&
		relid != cached_tables.executor && relid != cached_tables.class &&
		relid != cached_tables.grant && relid != cached_tables.role)
		return;
	memset(&cached_tables, 0, sizeof(cached_tables));
	cache_generation++;

	hash_seq_init(&status, flow_cache);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		entry->flow->valid = false;
		if (entry->flow->refcount == 0)
			flow_free(entry->flow);
		(void) hash_search(flow_cache, entry->name, HASH_REMOVE, NULL);
	}
}

static void
cache_init(void)
{
	HASHCTL		ctl;

	ctl.keysize = NAMEDATALEN;
	ctl.entrysize = sizeof(FlowCacheEntry);
	flow_cache = hash_create("jflow flows", 16, &ctl, HASH_ELEM | HASH_STRINGS);
	CacheRegisterRelcacheCallback(cache_invalidate, (Datum) 0);
}

/*
 * Trigger on the catalog's tables: tells all backends to forget what they
 * cached.
 */
Datum
jflow_catalog_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" was not called by trigger manager",
						"jflow.catalog_changed")));
	CacheInvalidateRelcacheByRelid(RelationGetRelid(trigger->tg_relation));
	return PointerGetDatum(NULL);
}

/* Read flows anew from here on. */
void
jflow_flow_cache_reset(void)
{
	if (flow_cache)
		cache_invalidate((Datum) 0, InvalidOid);
}

/* Let all backends forget what they cached, when this transaction commits. */
void
jflow_catalog_forget(void)
{
	CacheInvalidateRelcacheByRelid(jflow_catalog_relid("flow"));
}

/*
 * Scan a catalog table by the leading text column of its primary key.  The
 * column's collation is "C", which is what systable scans compare with.
 */
static SysScanDesc
scan_by_name(Relation rel, int attnum, const char *name, Snapshot snapshot)
{
	ScanKeyData key;
	Oid			index = RelationGetPrimaryKeyIndexCompat(rel);

	ScanKeyInit(&key, attnum, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(name));
	return systable_beginscan(rel, index, OidIsValid(index), snapshot, 1, &key);
}

static char *
text_or_null(Datum value, bool isnull)
{
	return isnull ? NULL : TextDatumGetCString(value);
}

static Jsonb *
jsonb_or_null(Datum value, bool isnull)
{
	return isnull ? NULL : DatumGetJsonbPCopy(value);
}

/* Fill in an executor from its row, in the current memory context. */
static void
executor_from_row(JflowExecutor *executor, HeapTuple tuple, TupleDesc desc)
{
	Datum		values[Natts_executor];
	bool		nulls[Natts_executor];
	Datum	   *elems;

#define VALUE(column) values[Anum_executor_##column - 1]
#define ISNULL(column) nulls[Anum_executor_##column - 1]
#define TEXT(column) text_or_null(VALUE(column), ISNULL(column))
#define JSONB(column) jsonb_or_null(VALUE(column), ISNULL(column))

	heap_deform_tuple(tuple, desc, values, nulls);
	executor->name = TEXT(name);
	executor->position = DatumGetInt32(VALUE(position));
	executor->uses = TEXT(uses);
	executor->class_owner = TEXT(class_owner);
	executor->uses_with = JSONB(uses_with);
	executor->requests = JSONB(requests);
	deconstruct_array(DatumGetArrayTypePCopy(VALUE(needs)), TEXTOID, -1, false,
					  TYPALIGN_INT, &elems, NULL, &executor->nneeds);
	executor->needs = palloc(sizeof(char *) * Max(executor->nneeds, 1));
	for (int i = 0; i < executor->nneeds; i++)
		executor->needs[i] = TextDatumGetCString(elems[i]);
	executor->replicas = DatumGetInt32(VALUE(replicas));
	executor->shards = DatumGetInt32(VALUE(shards));
	executor->polling = JSONB(polling);
	executor->workspace = TEXT(workspace);
	executor->when = JSONB(when);
	executor->uses_before = TEXT(uses_before);
	executor->uses_after = TEXT(uses_after);
	if (!ISNULL(timeout))
	{
		executor->timeout = palloc(sizeof(Interval));
		*executor->timeout = *DatumGetIntervalP(VALUE(timeout));
	}
	executor->retries = ISNULL(retries) ? -1 : DatumGetInt32(VALUE(retries));
	executor->floating = DatumGetBool(VALUE(floating));
	executor->disable_reduce = DatumGetBool(VALUE(disable_reduce));
	executor->batch = JSONB(batch);

#undef VALUE
#undef ISNULL
#undef TEXT
#undef JSONB
}

static int
executor_order(const void *a, const void *b)
{
	return ((const JflowExecutor *) a)->position -
		((const JflowExecutor *) b)->position;
}

static void
read_executors(JflowFlow *flow, Oid relid, Snapshot snapshot)
{
	Relation	rel = table_open(relid, AccessShareLock);
	SysScanDesc scan = scan_by_name(rel, Anum_executor_flow, flow->name, snapshot);
	int			allocated = 8;
	HeapTuple	tuple;

	flow->executors = palloc0(sizeof(JflowExecutor) * allocated);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		if (flow->nexecutors == allocated)
		{
			allocated *= 2;
			flow->executors = repalloc(flow->executors, sizeof(JflowExecutor) * allocated);
			memset(&flow->executors[flow->nexecutors], 0,
				   sizeof(JflowExecutor) * (allocated - flow->nexecutors));
		}
		executor_from_row(&flow->executors[flow->nexecutors++], tuple, RelationGetDescr(rel));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);

	qsort(flow->executors, flow->nexecutors, sizeof(JflowExecutor), executor_order);
}

/* What the class of an executor says.  In the current memory context. */
static void
read_class(JflowExecutor *executor, Snapshot snapshot)
{
	if (executor->class_owner == NULL)
		return;
	(void) jflow_class_read(executor->uses, executor->class_owner, snapshot,
							&executor->class_requests, &executor->class_polling);
	if (executor->class_owner[0] == '\0')
		executor->class = jflow_registered_class(executor->uses);
}

/* The grants of a flow, in the current memory context. */
static void
read_grants(JflowRights *rights, Snapshot snapshot)
{
	Relation	rel = table_open(jflow_catalog_relid("flow_grant"), AccessShareLock);
	SysScanDesc scan = scan_by_name(rel, Anum_flow_grant_flow, rights->flow, snapshot);
	int			allocated = 0;
	HeapTuple	tuple;

	rights->grants = NULL;
	rights->ngrants = 0;
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		grantee = heap_getattr(tuple, Anum_flow_grant_grantee, RelationGetDescr(rel), &isnull);
		Datum		endpoint = heap_getattr(tuple, Anum_flow_grant_endpoint, RelationGetDescr(rel), &isnull);
		JflowGrant *grant;

		CHECK_FOR_INTERRUPTS();
		if (rights->ngrants == allocated)
		{
			allocated = Max(8, allocated * 2);
			rights->grants = rights->grants ?
				repalloc(rights->grants, sizeof(JflowGrant) * allocated) :
				palloc(sizeof(JflowGrant) * allocated);
		}
		grant = &rights->grants[rights->ngrants++];
		grant->role = jflow_role_read(TextDatumGetCString(grantee), snapshot);
		grant->endpoint = TextDatumGetCString(endpoint);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/*
 * Read the row of a flow, and what rights to it depend on, in the current memory
 * context; false if there is none.  Names of roles and what they mean are read
 * under one snapshot.
 */
static bool
read_flow_row(const char *name, Oid relid, Snapshot snapshot, JflowRights *rights, char **description)
{
	Relation	rel = table_open(relid, AccessShareLock);
	SysScanDesc scan = scan_by_name(rel, Anum_flow_flow, name, snapshot);
	HeapTuple	tuple = systable_getnext(scan);
	bool		found = HeapTupleIsValid(tuple);
	bool		isnull;
	Datum		value;

	if (found)
	{
		rights->flow = pstrdup(name);
		value = heap_getattr(tuple, Anum_flow_owner, RelationGetDescr(rel), &isnull);
		rights->owner = jflow_role_read(TextDatumGetCString(value), snapshot);
		read_grants(rights, snapshot);
		value = heap_getattr(tuple, Anum_flow_stands_for, RelationGetDescr(rel), &isnull);
		rights->stands_for = text_or_null(value, isnull);
		value = heap_getattr(tuple, Anum_flow_description, RelationGetDescr(rel), &isnull);
		if (description)
			*description = text_or_null(value, isnull);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

/* Read a flow; NULL if it does not exist.  The result is in its own context. */
static JflowFlow *
flow_read(const char *name, const CatalogTables *tables)
{
	Snapshot	snapshot = RegisterSnapshot(GetCatalogSnapshot(tables->flow));
	JflowRights rights;
	char	   *description;
	JflowFlow  *flow = NULL;
	MemoryContext context,
				old;

	context = AllocSetContextCreate(CurrentMemoryContext, "jflow flow",
									ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(context);
	if (read_flow_row(name, tables->flow, snapshot, &rights, &description))
	{
		flow = palloc0(sizeof(JflowFlow));
		flow->context = context;
		flow->valid = true;
		flow->rights = rights;
		flow->name = rights.flow;
		flow->owner = rights.owner.name;
		flow->description = description;
		read_executors(flow, tables->executor, snapshot);
		for (int i = 0; i < flow->nexecutors; i++)
			read_class(&flow->executors[i], snapshot);
		jflow_flow_resolve_topology(flow);
	}
	MemoryContextSwitchTo(old);
	UnregisterSnapshot(snapshot);
	if (flow == NULL)
		MemoryContextDelete(context);

	return flow;
}

static void
flow_unpin(void *arg)
{
	JflowFlow  *flow = arg;

	Assert(flow->refcount > 0);
	if (--flow->refcount == 0 && !flow->valid)
		flow_free(flow);
}

/* Names of all flows, in the current memory context, in no order. */
int
jflow_flow_names(char ***names)
{
	Relation	rel = table_open(jflow_catalog_relid("flow"), AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;
	int			n = 0,
				allocated = 16;

	*names = palloc(sizeof(char *) * allocated);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;

		CHECK_FOR_INTERRUPTS();
		if (n == allocated)
			*names = repalloc(*names, sizeof(char *) * (allocated *= 2));
		(*names)[n++] = TextDatumGetCString(heap_getattr(tuple, Anum_flow_flow,
														 RelationGetDescr(rel), &isnull));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);

	return n;
}

/*
 * What the rights to a flow depend on, in the current memory context; false if
 * there is no such flow.  Reads nothing else of it, and keeps nothing: what belongs
 * to others must not fill this session's memory.
 */
bool
jflow_rights_read(const char *name, JflowRights *rights)
{
	Oid			relid = jflow_catalog_relid("flow");
	Snapshot	snapshot;
	bool		found;

	if (strlen(name) >= NAMEDATALEN)
		return false;
	snapshot = RegisterSnapshot(GetCatalogSnapshot(relid));
	found = read_flow_row(name, relid, snapshot, rights, NULL);
	UnregisterSnapshot(snapshot);
	return found;
}

/*
 * The library reads the catalog's tables by the numbers of their columns: those
 * of another version may differ.  Raises object_not_in_prerequisite_state then.
 */
void
jflow_check_version(void)
{
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	char	   *version = NULL;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum("jflow"));
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;

		version = TextDatumGetCString(heap_getattr(tuple, Anum_pg_extension_extversion,
												   RelationGetDescr(rel), &isnull));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	if (version && strcmp(version, JFLOW_VERSION) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the library of jflow has version %s, but the extension has version %s",
						JFLOW_VERSION, version),
				 errhint("Run ALTER EXTENSION jflow UPDATE if the library is newer, or restart the server so that it loads the library that is installed.")));
}

/*
 * A flow from the cache or from the catalog, not pinned yet; NULL if there is
 * none.
 */
static JflowFlow *
flow_lookup(const char *name)
{
	CatalogTables tables;
	FlowCacheEntry *entry;
	JflowFlow  *flow;
	uint64		generation;

	/* Nothing is locked on the fast path, so hear of changes explicitly. */
	AcceptInvalidationMessages();
	entry = hash_search(flow_cache, name, HASH_FIND, NULL);
	if (entry)
		return entry->flow;

	jflow_check_version();
	tables.flow = jflow_catalog_relid("flow");
	tables.executor = jflow_catalog_relid("executor");
	tables.class = jflow_catalog_relid("class");
	tables.grant = jflow_catalog_relid("flow_grant");
	tables.role = jflow_catalog_relid("role");

	generation = cache_generation;
	cached_tables = tables;
	flow = flow_read(name, &tables);
	if (flow == NULL)
		return NULL;

	MemoryContextSetParent(flow->context, CacheMemoryContext);
	if (generation == cache_generation)
	{
		bool		found;

		entry = hash_search(flow_cache, name, HASH_ENTER, &found);
		entry->flow = flow;
	}
	else
		flow->valid = false;
	return flow;
}

/*
 * A flow by name, pinned until the current memory context is reset, or NULL if
 * there is none.  Does not check rights.
 */
JflowFlow *
jflow_flow_get(const char *name)
{
	JflowFlow  *flow = NULL;
	MemoryContextCallback *callback;

	if (flow_cache == NULL)
		cache_init();
	if (strlen(name) < NAMEDATALEN)
		flow = flow_lookup(name);
	if (flow == NULL)
		return NULL;

	callback = palloc(sizeof(MemoryContextCallback));
	callback->func = flow_unpin;
	callback->arg = flow;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
	flow->refcount++;

	return flow;
}

/* An executor by name, or NULL. */
const JflowExecutor *
jflow_flow_executor(const JflowFlow *flow, const char *name)
{
	for (int i = 0; i < flow->nexecutors; i++)
		if (strcmp(flow->executors[i].name, name) == 0)
			return &flow->executors[i];
	return NULL;
}
