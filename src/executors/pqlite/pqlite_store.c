/*
 * pqlite_store.c
 *		Where an executor's documents are, and what a backend keeps of that.
 *
 * A store is read from jflow.shard and the server's catalogs, and kept with its
 * prepared statements until an invalidation says that the table, a leaf,
 * jflow.shard or the name of something in the statements has changed.  A store in use is pinned by the memory
 * context that was current when it was found.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "compat.h"
#include "executors/pqlite/pqlite.h"

#define MAX_PLANS 64			/* of a store; above, all are made anew */
#define MAX_PLANS_OF_CALL 512	/* above, they are not kept */

typedef struct StoreKey
{
	char		flow[NAMEDATALEN];
	char		executor[NAMEDATALEN];
} StoreKey;

typedef struct StoreEntry
{
	StoreKey	key;
	PqliteStore *store;			/* NULL: none known */
} StoreEntry;

static HTAB *stores = NULL;

/*
 * Counts invalidations, so that a store that changed while it was being read
 * is not taken for valid.
 */
static uint64 invalidations = 0;

/* Has a store become invalid since they were last looked through? */
static bool some_invalid = false;

/* jflow.executor, once looked up: whose rows go with a flow's. */
static Oid	executor_relid = InvalidOid;

/*
 * Is this call the one that does the whole request?  Under "all" that is shard
 * 0's; the others answer nothing.
 */
bool
pqlite_does_all(const JflowContext *context)
{
	return context->shard == 0 || context->shards == 1 ||
		jflow_polling_resolve(context->executor, context->endpoint) != POLLING_ALL;
}

static bool
store_has_relation(const PqliteStore *store, Oid relid)
{
	if (relid == store->relid)
		return true;
	for (int i = 0; i < store->nleaves; i++)
		if (relid == store->leaves[i].relid || list_member_oid(store->leaves[i].parts, relid))
			return true;
	return false;
}

static void
store_invalidate(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS status;
	StoreEntry *entry;

	invalidations++;
	hash_seq_init(&status, stores);
	while ((entry = hash_seq_search(&status)) != NULL)
		if (entry->store &&
			(!OidIsValid(relid) || relid == pqlite_shard_relid || relid == executor_relid ||
			 store_has_relation(entry->store, relid)))
		{
			entry->store->valid = false;
			some_invalid = true;
		}
}

/*
 * Statements and operators of stores are kept as text, in which types and
 * operators stand by name: it is made anew when one of them may have got another.
 * Types come and go with every table, so only those of a store's columns count.
 */
static void
store_names_invalidate(Datum arg, int cacheid, uint32 hashvalue)
{
	HASH_SEQ_STATUS status;
	StoreEntry *entry;

	invalidations++;
	hash_seq_init(&status, stores);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		PqliteStore *store = entry->store;
		bool		concerned = cacheid != TYPEOID || hashvalue == 0;

		for (int i = 0; store && i < store->ncolumns && !concerned; i++)
			concerned = store->columns[i].type_hash == hashvalue ||
				store->columns[i].sent_type_hash == hashvalue;
		if (store && concerned)
		{
			store->valid = false;
			some_invalid = true;
		}
	}
}

static StoreEntry *
find_entry(const char *flow, const char *executor)
{
	StoreKey	key;
	StoreEntry *entry;
	bool		found;

	if (stores == NULL)
	{
		HASHCTL		ctl;

		ctl.keysize = sizeof(StoreKey);
		ctl.entrysize = sizeof(StoreEntry);
		stores = hash_create("jflow stores", 16, &ctl, HASH_ELEM | HASH_BLOBS);
		CacheRegisterRelcacheCallback(store_invalidate, (Datum) 0);
		CacheRegisterSyscacheCallback(TYPEOID, store_names_invalidate, (Datum) 0);
		CacheRegisterSyscacheCallback(OPEROID, store_names_invalidate, (Datum) 0);
		CacheRegisterSyscacheCallback(NAMESPACEOID, store_names_invalidate, (Datum) 0);
	}
	memset(&key, 0, sizeof(key));
	strlcpy(key.flow, flow, NAMEDATALEN);
	strlcpy(key.executor, executor, NAMEDATALEN);
	entry = hash_search(stores, &key, HASH_ENTER, &found);
	if (!found)
		entry->store = NULL;
	return entry;
}

/* Forget all prepared statements. */
static void
forget_plans(PqliteStore *store)
{
	while (store->nplans > 0)
	{
		PqlitePlan *entry = &store->plans[--store->nplans];

		SPI_freeplan(entry->plan);
		pfree(entry->sql);
	}
	for (int i = 0; i < store->nleaves; i++)
		store->leaves[i].search = NULL;
}

static void
store_free(PqliteStore *store)
{
	forget_plans(store);
	MemoryContextDelete(store->context);
}

static void
store_unpin(void *arg)
{
	PqliteStore *store = arg;

	/* If it is not in the cache any more, the last user frees it. */
	Assert(store->refcount > 0);
	if (--store->refcount == 0 && store->forgotten)
		store_free(store);
}

/* Take a store out of the cache.  If it is in use, its last user frees it. */
static void
store_forget(PqliteStore *store)
{
	store->forgotten = true;
	if (store->refcount == 0)
		store_free(store);
}

/*
 * Forget all stores that are not valid any more: of a flow that was dropped, nobody
 * may ever ask again.  The others are read anew when they are next needed.
 */
static void
forget_invalid(void)
{
	HASH_SEQ_STATUS status;
	StoreEntry *entry;

	if (!some_invalid)
		return;
	hash_seq_init(&status, stores);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (entry->store && entry->store->valid)
			continue;
		if (entry->store)
			store_forget(entry->store);
		(void) hash_search(stores, &entry->key, HASH_REMOVE, NULL);
	}
	some_invalid = false;
}

/*
 * Statements become too many by filters and limits that vary.  They are forgotten
 * here, while nobody uses the store: a call may hold several, one of each leaf
 * say, and whoever called it may be running others.
 */
static PqliteStore *
store_pin(PqliteStore *store)
{
	MemoryContextCallback *callback = palloc(sizeof(MemoryContextCallback));

	if (store->refcount == 0 && store->nplans > MAX_PLANS + 2 * store->nleaves)
		forget_plans(store);
	callback->func = store_unpin;
	callback->arg = store;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
	store->refcount++;
	return store;
}

/*
 * Read a store anew; NULL if nothing was stored yet.  The result is in a
 * context of its own, a child of the current one.
 */
static PqliteStore *
store_read(const JflowFlow *flow, const JflowExecutor *executor)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "jflow store",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	PqliteStore *store = palloc0(sizeof(PqliteStore));
	bool		found;

	store->context = context;
	store->valid = true;
	store->flow = pstrdup(flow->name);
	store->executor = pstrdup(executor->name);
	store->shards = executor->shards;
	store->workspace = executor->workspace ? pstrdup(executor->workspace) : NULL;
	store->owner = jflow_flow_owner(flow);
	store->uses_with = DatumGetJsonbPCopy(JsonbPGetDatum(executor->uses_with));
	store->options = pqlite_options_read(store->uses_with);
	store->what = psprintf("executor \"%s\" of flow \"%s\"", executor->name, flow->name);
	store->plans_size = MAX_PLANS;
	store->plans = palloc(sizeof(PqlitePlan) * store->plans_size);
	found = pqlite_read_layout(store);
	MemoryContextSwitchTo(old);
	if (!found)
	{
		MemoryContextDelete(context);
		return NULL;
	}
	return store;
}

/* Was the store opened with the definition that holds now? */
static bool
same_definition(const PqliteStore *store, const JflowFlow *flow, const JflowExecutor *executor)
{
	return store->owner == jflow_flow_owner(flow) && store->shards == executor->shards &&
		VARSIZE(store->uses_with) == VARSIZE(executor->uses_with) &&
		memcmp(store->uses_with, executor->uses_with, VARSIZE(store->uses_with)) == 0;
}

/*
 * The store of an executor, pinned until the current memory context is reset,
 * its table locked for reading; NULL if nothing was stored yet.  Raises what is wrong
 * with the table, and insufficient_privilege before anything is locked.
 */
PqliteStore *
pqlite_store_find(const JflowFlow *flow, const JflowExecutor *executor)
{
	AcceptInvalidationMessages();
	for (;;)
	{
		StoreEntry *entry;
		PqliteStore *store;
		uint64		before;

		forget_invalid();
		entry = find_entry(flow->name, executor->name);
		store = entry->store;

		if (store && store->valid && same_definition(store, flow, executor))
		{
			if (!store->own)
				pqlite_check_trusted(store, store->relid);
			pqlite_check_may_lock(store->relid);
			LockRelationOid(store->relid, AccessShareLock);
			if (store->valid)
				return store_pin(store);
			UnlockRelationOid(store->relid, AccessShareLock);
		}
		if (store)
		{
			entry->store = NULL;
			store_forget(store);
		}
		before = invalidations;
		executor_relid = jflow_catalog_relid("executor");
		store = store_read(flow, executor);
		if (store == NULL)
			return NULL;
		MemoryContextSetParent(store->context, CacheMemoryContext);
		store->valid = before == invalidations;
		some_invalid |= !store->valid;
		find_entry(flow->name, executor->name)->store = store;
		LockRelationOid(store->relid, AccessShareLock);

		/* What has changed since is seen by the next call. */
		return store_pin(store);
	}
}

/*
 * The store to read from, under a new active snapshot that the caller pops;
 * NULL, and no snapshot, if nothing was stored yet.
 *
 * The snapshot must be newer than the lock on the table: who waited for a
 * change of the leaves would otherwise look into the new leaves with a snapshot
 * that does not see the rows there.  And the layout must be as new as the
 * snapshot: rows that have moved since it was read are in leaves it does not
 * have.  Whoever moves a row does so in leaves whose making was announced
 * before, so a snapshot that sees the row is followed by the news of the leaf.
 */
PqliteStore *
pqlite_store_for_read(const JflowContext *context)
{
	for (;;)
	{
		PqliteStore *store = pqlite_store_find(context->flow, context->executor);

		if (store == NULL)
		{
			pqlite_check_place(context);
			return NULL;
		}
		PushActiveSnapshot(GetTransactionSnapshot());
		AcceptInvalidationMessages();
		if (store->valid)
			return store;
		PopActiveSnapshot();
	}
}

/*
 * Which field documents are stored under, if nothing else has decided that: the
 * dense one, unless all of them have the sparse one alone.
 */
static bool
is_sparse(const PqliteOptions *options, const JflowDocs *docs)
{
	bool		some = false;

	if (options->field || options->index == PQLITE_INVERTED)
		return pqlite_options_sparse(options);
	for (int i = 0; i < docs->ndocs; i++)
	{
		if (!docs->docs[i].nulls[DOC_EMBEDDING])
			return false;
		some |= !docs->docs[i].nulls[DOC_SPARSE_EMBEDDING];
	}
	return some;
}

/*
 * Make the store of an executor for the first documents that are to be stored.
 * They say how many dimensions it has, if the options do not.  False if none of
 * them is to be stored.
 */
static bool
make_store(const JflowContext *context, const JflowDocs *docs)
{
	const PqliteOptions *options = pqlite_options_read(context->executor->uses_with);
	bool		sparse = is_sparse(options, docs);
	int			attr = sparse ? DOC_SPARSE_EMBEDDING : DOC_EMBEDDING;
	int			dim = options->dim;
	bool		some = options->on_missing != MISSING_SKIP;

	for (int i = 0; i < docs->ndocs; i++)
	{
		some |= pqlite_has_vector(options, sparse, &docs->docs[i]);
		if (dim == 0 && !docs->docs[i].nulls[attr])
			dim = pqlite_vector_dim(sparse, docs->docs[i].values[attr]);
	}
	if (!some)
		return false;
	if (dim == 0)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the first documents have no %s, so the number of its dimensions is not known",
						jflow_doc_attr_name(attr)),
				 errhint("Let an executor before this one make it, or give the option \"dim\".")));
	pqlite_create(context, options, sparse, dim);
	return true;
}

/*
 * The store that documents are written to; its layout is locked until the end
 * of the transaction; without documents, against all other writers.  If it is
 * not there it is made, or NULL is returned, as it is if none of the documents is
 * to be stored.
 */
PqliteStore *
pqlite_store_for_write(const JflowContext *context, const JflowDocs *docs, bool create)
{
	PqliteStore *store;

	PreventCommandIfReadOnly(context->endpoint);
	PreventCommandDuringRecovery(context->endpoint);
	store = pqlite_store_find(context->flow, context->executor);
	if (store == NULL)
	{
		if (!create)
		{
			pqlite_check_place(context);
			return NULL;
		}
		pqlite_lock_store_name(context->flow->name, context->executor->name);
		AcceptInvalidationMessages();
		store = pqlite_store_find(context->flow, context->executor);
		if (store == NULL)
		{
			if (!make_store(context, docs))
				return NULL;
			CommandCounterIncrement();
			store = pqlite_store_find(context->flow, context->executor);
		}
	}

	for (;;)
	{
		Oid			relid = store->relid;

		/* who may not write must not keep out those who may */
		pqlite_check_may_write(relid);
		pqlite_lock_layout(relid, docs ? pqlite_layout_mode(store, context, docs->ndocs) : ExclusiveLock);
		AcceptInvalidationMessages();
		if (store->valid)
			break;
		store = pqlite_store_find(context->flow, context->executor);
		if (store == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("the store of executor \"%s\" of flow \"%s\" was dropped",
							context->executor->name, context->flow->name)));
		if (store->valid && store->relid == relid)
			break;
	}
	if (!store->own && !store->claimed)
		pqlite_claim_table(store);
	return store;
}

/*
 * A prepared statement of a store, made at its first use.  It is there until the
 * store is unpinned, unless one call needs very many of them: then it lasts until
 * SPI_finish, or until it is freed.  Statements are told apart by their text alone.
 */
SPIPlanPtr
pqlite_plan(PqliteStore *store, const char *sql, int nargs, const Oid *types, int cursor_options)
{
	uint32		hash = hash_bytes((const unsigned char *) sql, strlen(sql));
	PqlitePlan *entry;
	SPIPlanPtr	plan;

	for (int i = 0; i < store->nplans; i++)
		if (store->plans[i].hash == hash && strcmp(store->plans[i].sql, sql) == 0)
			return store->plans[i].plan;

	if (!store->forces_plans)
		cursor_options &= ~CURSOR_OPT_GENERIC_PLAN;
	plan = SPI_prepare_cursor(sql, nargs, (Oid *) types, cursor_options);
	if (plan == NULL)
		elog(ERROR, "could not prepare statement: %s", SPI_result_code_string(SPI_result));
	if (store->nplans >= MAX_PLANS_OF_CALL + 2 * store->nleaves)
		return plan;
	if (store->nplans == store->plans_size)
	{
		store->plans = repalloc(store->plans, sizeof(PqlitePlan) * store->plans_size * 2);
		store->plans_size *= 2;
	}
	entry = &store->plans[store->nplans];
	entry->hash = hash;
	entry->sql = MemoryContextStrdup(store->context, sql);
	entry->plan = plan;
	SPI_keepplan(plan);
	store->nplans++;
	return plan;
}

/* Do statements run with the rights of who posts, rather than the flow's owner's? */
bool
pqlite_as_caller(const PqliteStore *store)
{
	return GetUserId() != store->owner;
}

/* Does a plan outlive the call?  If not it can be freed when it has been run. */
bool
pqlite_plan_is_kept(const PqliteStore *store, SPIPlanPtr plan)
{
	for (int i = 0; i < store->nplans; i++)
		if (store->plans[i].plan == plan)
			return true;
	return false;
}

/*
 * Let statements that find rows by id use the index on it, also those planned
 * while the table was empty.  Holds until the executor function's call ends.
 */
void
pqlite_force_index_scans(void)
{
	static const char *const settings[] = {
		"enable_seqscan", "enable_hashjoin", "enable_mergejoin", "enable_bitmapscan", "jit"
	};

	for (int i = 0; i < lengthof(settings); i++)
		(void) set_config_option(settings[i], "off", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
}

/*
 * Let statements raise insufficient_privilege where a policy could hide rows from
 * them.  Holds until the current GUC nest level ends.
 */
void
pqlite_row_security_off(void)
{
	(void) set_config_option("row_security", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}
