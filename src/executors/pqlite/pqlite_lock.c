/*
 * pqlite_lock.c
 *		Locks that order racing posts: the layout of a store, and ids.
 *
 * Uniqueness of ids is per leaf, so two posts that bring one new id to two
 * leaves have to be ordered; docs/pqlite.md argues why these locks do it.  They
 * are heavyweight locks with the tag of a database object whose class is the
 * table: classes of real objects are system catalogs, so the tags are nobody
 * else's.  All of them last until the end of the transaction.
 */
#include "postgres.h"

#include "catalog/objectaddress.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "common/idlock.h"
#include "compat.h"
#include "executors/pqlite/pqlite.h"

/* The layout's tag has 0 for the object and its part; those of ids have other parts. */
#define LAYOUT_OBJECT 0
#define LAYOUT_PART 0

/* Parts of the tags of names, whose class is jflow.shard. */
#define STORE_NAME 0
#define SCHEMA_NAME 1

/*
 * Raise insufficient_privilege for a table on which the current user has no right
 * at all: such a one must not keep others from it by a lock, nor hear of it.  One
 * that was dropped is left to the lock to be missed.
 */
void
pqlite_check_may_lock(Oid relid)
{
	char		relkind = get_rel_relkind(relid);

	if (relkind == '\0' ||
		pg_class_aclcheck(relid, GetUserId(), ACL_SELECT | ACL_INSERT | ACL_UPDATE | ACL_DELETE) == ACLCHECK_OK ||
		pg_attribute_aclcheck_all(relid, GetUserId(), ACL_SELECT | ACL_INSERT | ACL_UPDATE, ACLMASK_ANY) == ACLCHECK_OK)
		return;
	aclcheck_error(ACLCHECK_NO_PRIV, get_relkind_objtype(relkind), get_rel_name(relid));
}

/*
 * Raise insufficient_privilege for a table that the current user may not write to
 * at all.
 */
void
pqlite_check_may_write(Oid relid)
{
	if (pg_class_aclcheck(relid, GetUserId(), ACL_INSERT | ACL_UPDATE | ACL_DELETE) != ACLCHECK_OK &&
		pg_attribute_aclcheck_all(relid, GetUserId(), ACL_INSERT | ACL_UPDATE, ACLMASK_ANY) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, get_rel_name(relid));
}

/*
 * Lock the parent of a store that was found, which is locked for reading, against
 * all others.  Two who did so at once would wait for each other if they kept what
 * they have.  The store may be another afterwards.  Raises insufficient_privilege
 * like LOCK TABLE.
 */
void
pqlite_lock_parent(Oid relid)
{
	AclResult	result = pg_class_aclcheck(relid, GetUserId(), ACL_UPDATE | ACL_DELETE | ACL_TRUNCATE);

	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_TABLE, get_rel_name(relid));
	UnlockRelationOid(relid, AccessShareLock);
	LockRelationOid(relid, AccessExclusiveLock);
}

/* Lock the layout of a store: its leaves will not change meanwhile. */
void
pqlite_lock_layout(Oid relid, LOCKMODE mode)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, relid, LAYOUT_OBJECT, LAYOUT_PART);
	(void) LockAcquire(&tag, mode, false, false);
}

/* Lock the layout against all writers, unless another one has it. */
bool
pqlite_lock_layout_if_free(Oid relid)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, relid, LAYOUT_OBJECT, LAYOUT_PART);
	return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

/*
 * The mode in which a request locks the layout: so as to keep all others out
 * if its ids would fill the lock table, or if requests that follow in this
 * transaction would, which is then not left to an upgrade that could deadlock.
 */
LOCKMODE
pqlite_layout_mode(const PqliteStore *store, const JflowContext *context, int nids)
{
	return store->nleaves > 1 || !store->own ?
		jflow_idlock_mode(nids, context->moving || MyBgworkerEntry != NULL) : RowExclusiveLock;
}

/* Make sure that one session at a time makes the table of an executor. */
void
pqlite_lock_store_name(const char *flow, const char *executor)
{
	uint32		hash = hash_combine(string_hash(flow, NAMEDATALEN),
									string_hash(executor, NAMEDATALEN));
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, jflow_catalog_relid("shard"), hash, STORE_NAME);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/* Make sure that one session at a time makes a schema; after the store's name. */
void
pqlite_lock_schema_name(const char *schema)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, jflow_catalog_relid("shard"),
					   string_hash(schema, NAMEDATALEN), SCHEMA_NAME);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/*
 * Lock ids, given by their keys, against all other writers of the store.  The
 * layout must have been locked in the mode of pqlite_layout_mode.
 */
void
pqlite_lock_ids(const PqliteStore *store, Datum *keys, int nkeys)
{
	LOCKTAG		layout;
	uint64	   *hashes;

	SET_LOCKTAG_OBJECT(layout, MyDatabaseId, store->relid, LAYOUT_OBJECT, LAYOUT_PART);
	hashes = palloc(sizeof(uint64) * Max(nkeys, 1));
	for (int i = 0; i < nkeys; i++)
		hashes[i] = pqlite_hash_id(store, keys[i]);
	jflow_idlock_all(&layout, hashes, nkeys);
	pfree(hashes);
}
