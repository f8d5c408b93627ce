/*
 * pqlite_index.c
 *		The indexes of a store's leaves: when they are made, and what they hold.
 *
 * A table of few documents is searched without one.  The post that makes it large
 * has each leaf indexed.  An inverted index is as good then as it will ever be.
 * For pq a codebook is trained of all leaves, which they share; so it is by the
 * post that makes the table GROWTH times as large as when it was trained, since
 * the number of lists follows from the number of rows.
 *
 * In a replica the post only notes that this is due, and a mover does it: posts
 * take no longer, and searches are exact until then.  Where there is no mover
 * the post does it itself.  Since it has written already, which nobody else may
 * be doing while an index is made, one that meets other writers leaves it to the
 * next.  What moves documents between servers has a limit of time for each step,
 * which training must not use up: it leaves that to others, too.
 */
#include "postgres.h"

#include "access/table.h"
#include "commands/defrem.h"
#include "parser/parse_func.h"
#include "postmaster/bgworker.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/lsyscache.h"

#include "compat.h"
#include "executors/pqlite/pqlite.h"

#define MIN_PAGES 64			/* below, rows are not even counted */
#define MIN_ROWS 5000			/* below, searches are exact */
#define MIN_WRITTEN 128			/* before rows are counted anew */
#define GROWTH 4

/* The index method of a kind, a constant. */
const char *
pqlite_index_method(PqliteIndexKind kind)
{
	return kind == PQLITE_INVERTED ? "inverted" : "pq";
}

/* The index that leaves are to have. */
static PqliteIndexKind
wanted_kind(const PqliteStore *store)
{
	const PqliteOptions *options = store->options;

	if (options->index != PQLITE_DEFAULT_INDEX)
		return options->index;
	return store->sparse && options->metric != PQLITE_L2 && options->index_options == NULL ?
		PQLITE_INVERTED : PQLITE_PQ;
}

/*
 * The distance of rows that have nothing in common with a query, at which nothing
 * is a match; NaN where there is none: everything has a place in relation to a
 * dense vector, or under l2.
 */
double
pqlite_nothing_common(const PqliteStore *store)
{
	if (!store->sparse || store->options->metric == PQLITE_L2)
		return get_float8_nan();
	return store->options->metric == PQLITE_IP ? 0 : 1;
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

/* Is there a codebook that new indexes shall share? */
static bool
shares_codebook(const PqliteStore *store)
{
	return wanted_kind(store) == PQLITE_PQ && !store->options->has_codebook && can_train();
}

/* Make the index of a leaf, in place of the one that was made before. */
static void
index_leaf(const PqliteStore *store, const PqliteLeaf *leaf)
{
	const char *method = pqlite_index_method(wanted_kind(store));
	bool		codebook = shares_codebook(store);
	const StringInfo options = wanted_kind(store) == PQLITE_PQ ? store->options->index_options : NULL;
	const char *old = OidIsValid(leaf->made) ? pqlite_relation_name(leaf->made) : NULL;
	char	   *name = ChooseRelationName(get_rel_name(leaf->relid), PQLITE_INDEX_NAME2, method,
										  get_rel_namespace(leaf->relid), false);
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE INDEX %s ON %s USING %s (%s %s", quote_identifier(name), leaf->name,
					 method, store->columns[store->vector].quoted, operator_class(store));
	for (int i = 0; i < store->ncolumns; i++)
	{
		PqliteKind	kind;

		/* texts under the collation that filters compare them by */
		if (store->columns[i].attr < 0 && pqlite_kind_of_type(store->columns[i].type, &kind))
			appendStringInfo(&sql, ", %s%s", store->columns[i].quoted,
							 kind == KIND_TEXT ? " COLLATE pg_catalog.\"C\"" : "");
	}
	appendStringInfoChar(&sql, ')');
	if (options || codebook)
		appendStringInfo(&sql, " WITH (%s%s%s)", options ? options->data : "",
						 options && codebook ? ", " : "",
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

/* Has a leaf an index that has learnt of the rows that were there? */
static bool
some_learnt(const PqliteStore *store)
{
	for (int i = 0; i < store->nleaves; i++)
		if (OidIsValid(store->leaves[i].index) && !store->leaves[i].exact)
			return true;
	return false;
}

/* Has a store enough rows to be indexed?  SPI must be connected. */
bool
pqlite_has_many_rows(const PqliteStore *store)
{
	pqlite_run(psprintf("SELECT FROM %s LIMIT %d", store->name, MIN_ROWS));
	return SPI_processed == MIN_ROWS;
}

/*
 * Is it time to train anew?  Rows are counted when enough may have come since
 * they were counted last, of which other replicas have written the most.  The
 * size of the table alone says little: it may be full of dead rows.
 */
static bool
is_large_enough(PqliteStore *store, int64 pages, int written)
{
	bool		is_large;

	if (store->trained_pages > 0)
		return some_learnt(store) && pages >= store->trained_pages * GROWTH;
	store->count_in -= written;
	if (pages < MIN_PAGES || store->count_in > 0)
		return false;
	is_large = pqlite_has_many_rows(store);
	store->count_in = Max((MIN_ROWS - (int64) SPI_processed) / 8, MIN_WRITTEN + pages / 16);
	return is_large;
}

/*
 * After a post has written so many documents: make what indexes are due, or let
 * a mover do it.  SPI must be connected.  Leaves that are new among indexed ones
 * get an index at once.
 */
void
pqlite_index_if_due(PqliteStore *store, const JflowContext *context, int written)
{
	bool		has_mover = context->executor->replicas > 0 && (context->moving || MyBgworkerEntry != NULL);
	bool		missing = false;
	bool		due;
	int64		pages;

	if (!store->own || wanted_kind(store) == PQLITE_NO_INDEX ||
		((has_mover || context->moving) && store->due))
		return;
	for (int i = 0; i < store->nleaves; i++)
		missing |= !OidIsValid(store->leaves[i].index);
	if (!missing && !store->due && (store->trained_pages == 0 || !some_learnt(store)))
		return;					/* the user has made them, or they are good */
	pages = pages_of(store);
	if (pages < 0)
		return;
	due = store->due || is_large_enough(store, pages, written);
	if (!due && !(missing && store->trained_pages > 0))
		return;
	if (has_mover || (context->moving && due))
	{
		for (int i = 0; i < store->nleaves; i++)
			if (due || !OidIsValid(store->leaves[i].index))
				pqlite_shards_due(store->flow, store->executor, store->leaves[i].shard);
		return;
	}
	/* the index of a new leaf is left to the next post, too */
	if (context->moving || !pqlite_lock_layout_if_free(store->relid))
		return;

	if (due && shares_codebook(store))
		train(store);
	for (int i = 0; i < store->nleaves; i++)
		if (due || !OidIsValid(store->leaves[i].index))
			index_leaf(store, &store->leaves[i]);
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

	/* a post that began before the option was changed has asked for it */
	if (wanted_kind(store) == PQLITE_NO_INDEX)
	{
		pqlite_drop_indexes(store);
		SPI_finish();
		return;
	}
	pages = all ? pages_of(store) : store->trained_pages;
	if (all && shares_codebook(store))
		train(store);
	index_leaf(store, leaf);
	pqlite_shards_trained(store->flow, store->executor, shard, Max(pages, 1));
	SPI_finish();
}

/*
 * Make the indexes of all leaves in place of those that are there; with the option
 * "none" only drop those.  Indexes that users have made stay.  Nobody may be writing
 * to the leaves.  SPI must be connected.
 */
void
pqlite_index_all(PqliteStore *store)
{
	int64		pages = pages_of(store);

	if (pages < 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("cannot index table %s because it is being used by active queries in this session",
						store->name)));
	if (wanted_kind(store) == PQLITE_NO_INDEX)
	{
		pqlite_drop_indexes(store);
		return;
	}
	if (shares_codebook(store))
		train(store);
	for (int i = 0; i < store->nleaves; i++)
		index_leaf(store, &store->leaves[i]);
	pqlite_shards_trained(store->flow, store->executor, -1, Max(pages, 1));
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
