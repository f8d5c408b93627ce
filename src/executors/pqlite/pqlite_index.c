/*
 * pqlite_index.c
 *		The pq indexes of a store's leaves: when they are made, and what they
 *		hold.
 *
 * A table of few documents is searched exactly.  The post that makes it large
 * has a codebook trained of all leaves, which they share, and each of them
 * indexed; so does the one that makes it GROWTH times as large as when it was
 * trained, since the number of lists follows from the number of rows.
 *
 * In a replica the post only notes that this is due, and a mover does it: posts
 * take no longer, and searches are exact until then.  Where there is no mover
 * the post does it itself.  Since it has written already, which nobody else may
 * be doing while an index is made, one that meets other writers leaves it to the
 * next.
 */
#include "postgres.h"

#include "access/table.h"
#include "commands/defrem.h"
#include "parser/parse_func.h"
#include "postmaster/bgworker.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "compat.h"
#include "executors/pqlite/pqlite.h"

#define MIN_PAGES 64			/* below, rows are not even counted */
#define MIN_ROWS 5000			/* below, searches are exact */
#define MIN_WRITTEN 128			/* before rows are counted anew */
#define GROWTH 4

/* Can a pq index hold columns of this type? */
static bool
is_index_column(Oid type)
{
	switch (type)
	{
		case BOOLOID:
		case CHAROID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case FLOAT4OID:
		case FLOAT8OID:
		case OIDOID:
		case DATEOID:
		case TIMEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return true;
		default:
			return false;
	}
}

/* The operator class of the vector column, qualified. */
static char *
operator_class(const PqliteStore *store)
{
	Oid			type = getBaseType(store->columns[store->vector].type);
	const char *name = store->sparse ? "sparsevec" :
		type == jflow_types()->atttype[DOC_EMBEDDING] ? "vector" : "halfvec";

	return quote_qualified_identifier(get_namespace_name(jflow_types()->schema),
									  psprintf("%s_%s_ops", name,
											   pqlite_metric_name(store->options->metric)));
}

static char *
codebook_name(const PqliteStore *store)
{
	return pqlite_codebook_name(store->flow, store->executor);
}

/* Is there a function that trains codebooks? */
static bool
can_train(void)
{
	Oid			types[5] = {TEXTOID, TEXTOID, TEXTOID, INT4OID, INT4OID};
	char	   *schema = get_namespace_name(jflow_types()->schema);

	return OidIsValid(LookupFuncName(list_make2(makeString(schema), makeString("jflow_train")),
									 5, types, true));
}

/* Train the codebook that all leaves share, of all documents. */
static void
train(const PqliteStore *store)
{
	/* typed in full: no function of that name in the schema fits better */
	pqlite_run(psprintf("SELECT %s(%s::pg_catalog.text, %s::pg_catalog.text, %s::pg_catalog.text, 0, 0)",
						quote_qualified_identifier(get_namespace_name(jflow_types()->schema), "jflow_train"),
						quote_literal_cstr(codebook_name(store)),
						quote_literal_cstr(psprintf("SELECT %s FROM %s", store->columns[store->vector].quoted,
													store->name)),
						quote_literal_cstr(pqlite_metric_name(store->options->metric))));
}

/* Make the index of a leaf, in place of the one that was made before. */
static void
index_leaf(const PqliteStore *store, const PqliteLeaf *leaf, bool codebook)
{
	const PqliteOptions *options = store->options;
	const char *old = OidIsValid(leaf->made) ? pqlite_relation_name(leaf->made) : NULL;
	char	   *name = ChooseRelationName(get_rel_name(leaf->relid), PQLITE_INDEX_NAME2, PQLITE_INDEX_LABEL,
										  get_rel_namespace(leaf->relid), false);
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE INDEX %s ON %s USING pq (%s %s", quote_identifier(name), leaf->name,
					 store->columns[store->vector].quoted, operator_class(store));
	for (int i = 0; i < store->ncolumns; i++)
		if (store->columns[i].attr < 0 && is_index_column(store->columns[i].type))
			appendStringInfo(&sql, ", %s", store->columns[i].quoted);
	appendStringInfoChar(&sql, ')');
	if (options->index_options || codebook)
		appendStringInfo(&sql, " WITH (%s%s%s)",
						 options->index_options ? options->index_options->data : "",
						 options->index_options && codebook ? ", " : "",
						 codebook ? psprintf("codebook = %s", quote_literal_cstr(codebook_name(store))) : "");
	pqlite_run(sql.data);
	if (old)
		pqlite_run(psprintf("DROP INDEX %s", old));
}

/*
 * Pages of all leaves; -1 if one of them is in use by this session, which
 * forbids to make an index.
 */
static int64
pages_of(const PqliteStore *store)
{
	int64		pages = 0;

	for (int i = 0; i < store->nleaves; i++)
	{
		Relation	rel = table_open(store->leaves[i].relid, AccessShareLock);
		bool		in_use = rel->rd_refcnt != 1 || AfterTriggerPendingOnRel(RelationGetRelid(rel));

		pages += RelationGetNumberOfBlocks(rel);
		table_close(rel, NoLock);
		if (in_use)
			return -1;
	}
	return pages;
}

/*
 * Is it time to train anew?  Rows are counted when enough may have come since
 * they were counted last, of which other replicas have written the most.  The
 * size of the table alone says little: it may be full of dead rows.
 */
static bool
is_large_enough(PqliteStore *store, int64 pages, int written)
{
	if (store->trained_pages > 0)
		return pages >= store->trained_pages * GROWTH;
	store->count_in -= written;
	if (pages < MIN_PAGES || store->count_in > 0)
		return false;
	pqlite_run(psprintf("SELECT FROM %s LIMIT %d", store->name, MIN_ROWS));
	store->count_in = Max((MIN_ROWS - (int64) SPI_processed) / 8, MIN_WRITTEN + pages / 16);
	return SPI_processed == MIN_ROWS;
}

/* Is there a codebook that new indexes shall share? */
static bool
shares_codebook(const PqliteStore *store)
{
	return !store->options->has_codebook && can_train();
}

/*
 * After a post has written so many documents: make what indexes are due, or let
 * a mover do it.  SPI must be connected.  Leaves that are new among indexed ones
 * get an index at once.
 */
void
pqlite_index_if_due(PqliteStore *store, const JflowContext *context, int written)
{
	bool		has_mover = MyBgworkerEntry != NULL && context->executor->replicas > 0;
	bool		missing = false;
	bool		due;
	bool		codebook;
	int64		pages;

	if (!store->own || !OidIsValid(get_am_oid("pq", true)) || (has_mover && store->due))
		return;
	for (int i = 0; i < store->nleaves; i++)
		missing |= !OidIsValid(store->leaves[i].index);
	if (!missing && store->trained_pages == 0)
		return;					/* the user has made them */
	pages = pages_of(store);
	if (pages < 0)
		return;
	due = is_large_enough(store, pages, written);
	if (!due && !(missing && store->trained_pages > 0))
		return;
	if (has_mover)
	{
		for (int i = 0; i < store->nleaves; i++)
			if (due || !OidIsValid(store->leaves[i].index))
				pqlite_shards_due(store->flow, store->executor, store->leaves[i].shard);
		return;
	}
	if (!pqlite_lock_layout_if_free(store->relid))
		return;

	codebook = shares_codebook(store);
	if (due && codebook)
		train(store);
	for (int i = 0; i < store->nleaves; i++)
		if (due || !OidIsValid(store->leaves[i].index))
			index_leaf(store, &store->leaves[i], codebook);
	pqlite_shards_trained(store->flow, store->executor, -1, due ? pages : store->trained_pages);
}

/*
 * Make the index of one leaf for which that is due, in a transaction that has
 * written nothing.  If it is due for all of them, they are to be trained anew:
 * that only reads, and comes first.  Then writers of this one leaf wait until its
 * index is made.
 */
void
pqlite_index_one(PqliteStore *store, const PqliteShardRow *rows, int nrows)
{
	bool		codebook = shares_codebook(store);
	bool		all = true;
	int64		pages = 0;
	const PqliteLeaf *leaf = NULL;
	int			shard = -1;

	for (int i = 0; i < nrows; i++)
	{
		all &= rows[i].due;
		if (rows[i].due && shard < 0)
			shard = rows[i].shard;
	}
	for (int i = 0; i < store->nleaves; i++)
		if (store->leaves[i].shard == shard)
			leaf = &store->leaves[i];
	if (leaf == NULL)
		return;
	SPI_connect();
	pages = all ? pages_of(store) : store->trained_pages;
	if (all && codebook)
		train(store);
	index_leaf(store, leaf, codebook);
	pqlite_shards_trained(store->flow, store->executor, shard, Max(pages, 1));
	SPI_finish();
}

/*
 * The documents are about to be cleared: an index that was trained on them would
 * be made anew from nothing.  SPI must be connected.
 */
void
pqlite_drop_indexes(PqliteStore *store)
{
	if (store->trained_pages == 0 && !store->due)
		return;
	for (int i = 0; i < store->nleaves; i++)
		if (OidIsValid(store->leaves[i].made))
			pqlite_run(psprintf("DROP INDEX %s", pqlite_relation_name(store->leaves[i].made)));
	pqlite_shards_trained(store->flow, store->executor, -1, 0);
}
