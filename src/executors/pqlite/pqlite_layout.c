/*
 * pqlite_layout.c
 *		Where a store's documents are: its table, leaves and columns, as
 *		jflow.shard and the server's catalogs have them.
 *
 * Everything that can be wrong with the table is found here, before a request
 * touches it.  Leaves are found by partition bound, never by name.
 */
#include "postgres.h"


#include "access/genam.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_inherits.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#include "compat.h"
#include "executors/pqlite/pqlite.h"

/* Is this the name of an index by that method that we have made? */
static bool
is_made_name(const char *name, const char *method)
{
	const char *suffix = psprintf("_" PQLITE_INDEX_NAME2 "_%s", method);
	int			len = strlen(name);

	while (len > 0 && isdigit((unsigned char) name[len - 1]))
		len--;
	return len >= strlen(suffix) &&
		memcmp(name + len - strlen(suffix), suffix, strlen(suffix)) == 0;
}

/*
 * The indexes of a table that can be scanned: one, an exact one if there is one, and
 * the one that we made.
 */
static void
find_table_indexes(Oid relid, PqliteLeaf *leaf)
{
	Relation	rel = table_open(relid, AccessShareLock);
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		for (PqliteIndexKind kind = PQLITE_PQ; kind <= PQLITE_INVERTED; kind++)
		{
			const char *method = pqlite_index_method(kind);

			if (index->rd_rel->relam != get_am_oid(method, true) || !index->rd_index->indisvalid)
				continue;
			if (!leaf->exact)
				leaf->index = RelationGetRelid(index);
			leaf->exact |= kind == PQLITE_INVERTED;
			if (is_made_name(RelationGetRelationName(index), method))
				leaf->made = RelationGetRelid(index);
		}
		index_close(index, AccessShareLock);
	}
	table_close(rel, AccessShareLock);
}

/*
 * The indexes of a leaf.  One that is partitioned itself, as a user's table is that is
 * searched as a whole, has an index if all of its partitions have one.
 */
static void
find_indexes(PqliteLeaf *leaf)
{
	char		kind = get_rel_relkind(leaf->relid);
	bool		exact = true;
	bool		covered = true;
	Oid			index = InvalidOid;
	ListCell   *lc;

	leaf->foreign = kind == RELKIND_FOREIGN_TABLE;
	if (kind == RELKIND_RELATION)
		find_table_indexes(leaf->relid, leaf);
	if (kind != RELKIND_PARTITIONED_TABLE)
		return;
	leaf->parts = find_all_inheritors(leaf->relid, AccessShareLock, NULL);
	foreach(lc, leaf->parts)
	{
		PqliteLeaf	part = {0};

		kind = get_rel_relkind(lfirst_oid(lc));
		if (kind == RELKIND_PARTITIONED_TABLE)
			continue;
		leaf->foreign |= kind == RELKIND_FOREIGN_TABLE;
		if (kind == RELKIND_RELATION)
			find_table_indexes(lfirst_oid(lc), &part);
		covered &= OidIsValid(part.index);
		exact &= part.exact;
		index = part.index;
	}
	if (covered && OidIsValid(index))
	{
		leaf->index = index;
		leaf->exact = exact;
	}
}

/* The leaf that holds a shard, by partition bound; NULL if there is none. */
static PqliteLeaf *
leaf_of_shard(PqliteStore *store, int shard)
{
	for (int i = 0; i < store->nleaves; i++)
		if (store->leaves[i].shard == shard)
			return &store->leaves[i];
	return NULL;
}

static int
leaf_order(const void *a, const void *b)
{
	return ((const PqliteLeaf *) a)->shard - ((const PqliteLeaf *) b)->shard;
}

/* The owner of a relation; InvalidOid: it was dropped. */
static Oid
owner_of(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
		ReleaseSysCache(tuple);
	}
	return owner;
}

/*
 * A table that we made belongs to the flow's owner, whom we run as mostly, or to the
 * superuser who restored it.  Anybody else's has come under the executor's name
 * with a flow that was there before, and its triggers would run as the owner.
 */
static void
check_owner(const PqliteStore *store, Oid relid)
{
	Oid			owner = owner_of(relid);

	if (!OidIsValid(owner))
		return;					/* dropped meanwhile */
	if (owner != store->owner && !superuser_arg(owner))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table %s of the %s belongs to role \"%s\"", pqlite_relation_name(relid), store->what,
						GetUserNameFromId(owner, false)),
				 errhint("Give it to the flow's owner with ALTER TABLE ... OWNER TO, or drop the flow and make it again.")));
}

/*
 * Raise insufficient_privilege where a superuser's flow would touch a user's table
 * that, or a part of which, belongs to somebody else: triggers, defaults and index
 * expressions of that role would run as a superuser.
 */
void
pqlite_check_trusted(const PqliteStore *store, Oid relid)
{
	List	   *relids;
	ListCell   *lc;

	if (!superuser_arg(store->owner))
		return;
	relids = has_subclass(relid) ? find_all_inheritors(relid, NoLock, NULL) : list_make1_oid(relid);
	foreach(lc, relids)
	{
		Oid			owner = owner_of(lfirst_oid(lc));

		CHECK_FOR_INTERRUPTS();
		if (!OidIsValid(owner) || jflow_role_trusts(store->owner, owner))
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for table %s", pqlite_relation_name(lfirst_oid(lc))),
				 errdetail("The flow's owner \"%s\" is a superuser, and triggers and index expressions of the table's owner \"%s\" would run with his rights.",
						   GetUserNameFromId(store->owner, false), GetUserNameFromId(owner, true)),
				 errhint("Let the flow belong to the owner of the table.")));
	}
}

/*
 * What is asked of a table before it is locked, by the name under which it was
 * looked up.  "arg" is the store.
 */
static void
check_before_lock(const RangeVar *name, Oid relid, Oid old_relid, void *arg)
{
	const PqliteStore *store = arg;

	if (!OidIsValid(relid))
		return;
	if (store->own)
		check_owner(store, relid);
	else
		pqlite_check_trusted(store, relid);
	pqlite_check_may_lock(relid);
}

/*
 * The leaves of an open table that we made, whose numbers are their bounds.  Its
 * owner may have attached others since: those that hold no shard, or several,
 * are refused.
 */
int
pqlite_own_leaves(Relation rel, int **shards, Oid **relids)
{
	PartitionKey key = RelationGetPartitionKey(rel);
	PartitionDesc partdesc = RelationGetPartitionDesc(rel, true);
	PartitionBoundInfo bounds = partdesc->boundinfo;
	int			n = 0;

	*shards = palloc(sizeof(int) * Max(partdesc->nparts, 1));
	*relids = palloc0(sizeof(Oid) * Max(partdesc->nparts, 1));
	if (key->strategy != PARTITION_STRATEGY_LIST || key->parttypid[0] != INT4OID)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("table %s is not partitioned by a list of shards", pqlite_relation_name(RelationGetRelid(rel)))));
	for (int i = 0; bounds && i < bounds->ndatums; i++)
	{
		int			part = bounds->indexes[i];
		int			shard = DatumGetInt32(bounds->datums[i][0]);
		bool		again = false;

		if (part < 0)
			continue;
		for (int j = 0; j < n; j++)
			again |= (*relids)[j] == partdesc->oids[part];
		if (again || shard < 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("partition %s of table %s does not hold one shard",
							pqlite_relation_name(partdesc->oids[part]), pqlite_relation_name(RelationGetRelid(rel))),
					 errhint("Detach it with ALTER TABLE ... DETACH PARTITION.")));
		(*shards)[n] = shard;
		(*relids)[n++] = partdesc->oids[part];
	}
	return n;
}

/*
 * Leaves of a partitioned table.  Of our own, a leaf's number is its bound;
 * of a user's table, its place in the order of bounds.
 */
static void
read_leaves(PqliteStore *store, Relation rel)
{
	PartitionKey key = RelationGetPartitionKey(rel);
	PartitionDesc partdesc = RelationGetPartitionDesc(rel, true);

	if (key->strategy != PARTITION_STRATEGY_LIST)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("table %s is not partitioned by list", store->name)));
	store->leaves = palloc0(sizeof(PqliteLeaf) * Max(partdesc->nparts, 1));
	if (!store->own)
	{
		for (int i = 0; i < partdesc->nparts; i++)
		{
			store->leaves[i].shard = i;
			store->leaves[i].relid = partdesc->oids[i];
		}
		store->nleaves = partdesc->nparts;
	}
	else
	{
		int		   *shards;
		Oid		   *relids;

		store->nleaves = pqlite_own_leaves(rel, &shards, &relids);
		for (int i = 0; i < store->nleaves; i++)
		{
			check_owner(store, relids[i]);
			store->leaves[i].shard = shards[i];
			store->leaves[i].relid = relids[i];
		}
		qsort(store->leaves, store->nleaves, sizeof(PqliteLeaf), leaf_order);
	}
	for (int i = 0; i < store->nleaves; i++)
	{
		PqliteLeaf *leaf = &store->leaves[i];

		leaf->name = pqlite_relation_name(leaf->relid);
		find_indexes(leaf);
		leaf->wanted = leaf->shard < store->shards;
		store->nwanted += leaf->wanted;
	}
}

/* The table is what jflow.shard says. */
static void
check_shards(PqliteStore *store, const PqliteShardRow *rows, int nrows)
{
	const PqliteOptions *options = store->options;

	for (int i = 0; i < nrows; i++)
	{
		PqliteLeaf *leaf = leaf_of_shard(store, rows[i].shard);

		if (leaf && get_rel_relkind(leaf->relid) != RELKIND_RELATION)
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("partition %s of the %s is not a table", leaf->name, store->what),
					 errhint("Detach it, and attach the table of the shard. A shard on another server is one of a RemoteFlow.")));
		if (leaf == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("shard %d of the %s has no partition", rows[i].shard, store->what),
					 errdetail("Table %s was a partition of %s.",
							   quote_qualified_identifier(rows[i].schema, rows[i].table), store->name),
					 errhint("Attach it again with ALTER TABLE %s ATTACH PARTITION ... FOR VALUES IN (%d).",
							 store->name, rows[i].shard)));
		if (strcmp(rows[i].metric, pqlite_metric_name(options->metric)) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("metric of the %s is \"%s\", but its documents were indexed under \"%s\"",
							store->what, pqlite_metric_name(options->metric), rows[i].metric),
					 errhint("Set the option back, or use another executor or workspace.")));
		if (options->field && strcmp(rows[i].field, options->field) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("field of the %s is \"%s\", but it has stored \"%s\"",
							store->what, options->field, rows[i].field),
					 errhint("Set the option back, or use another executor or workspace.")));
		store->trained_pages = Max(store->trained_pages, rows[i].trained_pages);
		store->moving |= rows[i].state != SHARD_LIVE;
		store->due |= rows[i].due;
	}
	if (options->dim && options->dim != store->dim)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("option \"dim\" of the %s is %d, but its documents have %d dimensions",
						store->what, options->dim, store->dim),
				 errhint("Set the option back, or use another executor or workspace.")));
}

/* Our own table.  False if nothing was stored yet. */
static bool
read_own_store(PqliteStore *store)
{
	PqliteShardRow *rows;
	int			nrows = pqlite_shards_read(store->flow, store->executor, &rows);
	Relation	rel;

	if (nrows == 0)
		return false;
	store->own = true;
	store->partitioned = true;

	/*
	 * A planner of a table that is spread over servers needs the values of
	 * parameters to know whom to ask, and has no plan for any.  A user's
	 * table may be one, and where Citus is one of ours may be, too.
	 */
	store->forces_plans = !OidIsValid(get_extension_oid("citus", true));
	store->schema = rows[0].schema;
	store->table = rows[0].parent;
	store->name = quote_qualified_identifier(store->schema, store->table);
	store->relid = RangeVarGetRelidExtended(makeRangeVar((char *) store->schema, (char *) store->table, -1), AccessShareLock,
											RVR_MISSING_OK, check_before_lock, store);

	/* What we waited for may have dropped the store, or changed its leaves. */
	nrows = pqlite_shards_read(store->flow, store->executor, &rows);
	if (nrows == 0)
		return false;
	if (!OidIsValid(store->relid) || get_rel_relkind(store->relid) != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table %s of the %s does not exist", store->name, store->what),
				 errhint("Restore it, or remove the executor with jflow_remove and add it again.")));

	rel = table_open(store->relid, NoLock);
	pqlite_read_columns(store, RelationGetDescr(rel));
	read_leaves(store, rel);
	check_shards(store, rows, nrows);
	table_close(rel, NoLock);
	return true;
}

/* A user's table, which exists or is an error. */
static void
read_existing_store(PqliteStore *store)
{
	const PqliteOptions *options = store->options;
	List	   *names = stringToQualifiedNameListCompat(options->table);
	Relation	rel;

	store->relid = RangeVarGetRelidExtended(makeRangeVarFromNameList(names), AccessShareLock, 0,
											check_before_lock, store);
	store->schema = get_namespace_name(get_rel_namespace(store->relid));
	store->table = get_rel_name(store->relid);
	store->name = quote_qualified_identifier(store->schema, store->table);
	rel = table_open(store->relid, NoLock);
	if (rel->rd_rel->relkind != RELKIND_RELATION &&
		rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("%s is not a table", store->name),
				 errhint("Documents are stored in a plain table, or in one partitioned by list.")));
	store->partitioned = rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
	pqlite_read_columns(store, RelationGetDescr(rel));
	if (store->partitioned && store->shards > 1)
		read_leaves(store, rel);
	else
	{
		store->leaves = palloc0(sizeof(PqliteLeaf));
		store->leaves[0].relid = store->relid;
		store->leaves[0].name = store->name;
		find_indexes(&store->leaves[0]);
		store->leaves[0].wanted = true;
		store->nleaves = store->nwanted = 1;
	}
	table_close(rel, NoLock);
	if (store->nleaves != store->shards)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the %s has %d shards, but table %s has %d", store->what,
						store->shards, store->name, store->nleaves),
				 errhint("The partitions of a table are its shards; with shards => 1 it is searched as a whole.")));
	if (options->dim && store->dim && options->dim != store->dim)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("option \"dim\" of the %s is %d, but column \"%s\" of table %s has %d dimensions",
						store->what, options->dim, options->field, store->name, store->dim)));
	if (store->dim == 0)
		store->dim = options->dim;
}

/*
 * Fill in a store whose definition is known.  False if nothing was stored yet.
 */
bool
pqlite_read_layout(PqliteStore *store)
{
	if (store->options->table == NULL)
		return read_own_store(store);
	read_existing_store(store);
	return true;
}
