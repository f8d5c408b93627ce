/*
 * pqlite_write.c
 *		/index, /update, /delete and /clear.
 *
 * A request is written by one call, in one transaction, wherever its rows are.
 * Ids are locked in order, then looked up, then written; docs/pqlite.md argues
 * why no id is ever there twice.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "executors/pqlite/pqlite.h"

PG_FUNCTION_INFO_V1(jflow_pqlite_index);
PG_FUNCTION_INFO_V1(jflow_pqlite_update);
PG_FUNCTION_INFO_V1(jflow_pqlite_delete);
PG_FUNCTION_INFO_V1(jflow_pqlite_clear);

/* A document of a request on its way into a table. */
typedef struct WriteItem
{
	const JflowDoc *doc;
	Datum		key;			/* of its id */
	int			number;			/* in the request */
	int			round;			/* how many of the same id come before */
	bool		found;
	PqliteLeaf *leaf;
} WriteItem;

static int
item_order(const void *a, const void *b, void *store)
{
	const WriteItem *ia = a;
	const WriteItem *ib = b;
	int			order = pqlite_compare_ids(store, ia->key, ib->key);

	return order != 0 ? order : ia->number - ib->number;
}

/*
 * The documents of a request sorted by id: two requests that meet lock rows in
 * one order.  Documents of one id keep their order and are numbered.
 */
static WriteItem *
sort_items(const PqliteStore *store, const JflowDocs *docs, int *rounds)
{
	WriteItem  *items = palloc0(sizeof(WriteItem) * Max(docs->ndocs, 1));

	for (int i = 0; i < docs->ndocs; i++)
	{
		items[i].doc = &docs->docs[i];
		items[i].key = pqlite_id_key(store, docs->docs[i].values[DOC_ID]);
		items[i].number = i;
	}
	qsort_arg(items, docs->ndocs, sizeof(WriteItem), item_order, (void *) store);
	*rounds = docs->ndocs > 0 ? 1 : 0;
	for (int i = 1; i < docs->ndocs; i++)
		if (pqlite_compare_ids(store, items[i].key, items[i - 1].key) == 0)
		{
			items[i].round = items[i - 1].round + 1;
			*rounds = Max(*rounds, items[i].round + 1);
		}
	return items;
}

static void
lock_items(const PqliteStore *store, const WriteItem *items, int nitems)
{
	Datum	   *keys = palloc(sizeof(Datum) * Max(nitems, 1));

	for (int i = 0; i < nitems; i++)
		keys[i] = items[i].key;
	pqlite_lock_ids(store, keys, nitems);
	pfree(keys);
}

/*
 * Run a statement that writes, under the newest snapshot: rows committed before
 * our locks were got must be seen.  A transaction that may not see them fails
 * with a serialization error.
 */
static void
write_rows(PqliteStore *store, const char *sql, const PqliteRows *rows, int expected)
{
	SPIPlanPtr	plan = pqlite_plan(store, sql, rows->nargs, rows->types, CURSOR_OPT_GENERIC_PLAN);
	int			result = SPI_execute_snapshot(plan, rows->values, NULL, GetLatestSnapshot(),
											  IsolationUsesXactSnapshot() ? GetTransactionSnapshot()
											  : InvalidSnapshot,
											  false, true, 0);

	if (result < 0)
		elog(ERROR, "statement failed: %s: %s", SPI_result_code_string(result), sql);
	if (expected >= 0 && SPI_processed != expected)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
				 errmsg("table %s stored " UINT64_FORMAT " of %d documents", store->name,
						SPI_processed, expected),
				 errdetail("A trigger or rule on it kept the others out."),
				 errhint("Remove it, or let it raise an error that says why.")));
}

/* Mark the items whose number, from 1, a statement returned. */
static void
mark_found(WriteItem **items)
{
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Datum		n = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);

		items[DatumGetInt64(n) - 1]->found = true;
	}
}

/*
 * "unnest($1, $2, ...) WITH ORDINALITY AS u(column, ..., n)" for rows.  Only the bare
 * name stands for several arrays at once; pg_catalog is searched first.
 */
static void
append_unnest(const PqliteStore *store, StringInfo sql, bool with_tags)
{
	appendStringInfoString(sql, "unnest(");
	for (int i = 0; i < store->ncolumns; i++)
		appendStringInfo(sql, "%s$%d", i > 0 ? ", " : "", i + 1);
	if (with_tags)
		appendStringInfo(sql, ", $%d", store->ncolumns + 1);
	appendStringInfoString(sql, ") WITH ORDINALITY AS u(");
	for (int i = 0; i < store->ncolumns; i++)
		appendStringInfo(sql, "c%d, ", i);
	appendStringInfo(sql, "%sn)", with_tags ? "tags, " : "");
}

/*
 * A sent value as the column's type.  The type's modifier is left to the
 * assignment, which refuses a string that is too long where a cast cuts it.
 */
static void
append_sent(const PqliteColumn *column, int number, StringInfo sql)
{
	Oid			type = getBaseType(column->type);

	appendStringInfo(sql, "u.c%d", number);
	if (type != column->sent_type)
		appendStringInfo(sql, "::%s", pqlite_quote_type(type, -1));
}

/*
 * Which rows an update is about.  The list of ids says nothing more than the
 * join, but lets no plan read the whole table, also one made while it was empty.
 */
static void
append_same_id(const PqliteStore *store, StringInfo sql)
{
	const char *id = store->columns[store->id].quoted;

	appendStringInfo(sql, " WHERE t.%s %s u.c%d AND t.%s %s ANY ($%d) RETURNING u.n", id,
					 store->same_id, store->id, id, store->same_id, store->id + 1);
}

static void
append_column_names(const PqliteStore *store, StringInfo sql)
{
	for (int i = 0; i < store->ncolumns; i++)
		appendStringInfo(sql, "%s%s", i > 0 ? ", " : "", store->columns[i].quoted);
}

static void
append_sent_columns(const PqliteStore *store, StringInfo sql)
{
	for (int i = 0; i < store->ncolumns; i++)
	{
		if (i > 0)
			appendStringInfoString(sql, ", ");
		append_sent(&store->columns[i], i, sql);
	}
}

/*
 * Compress long texts by lz4 where the server has it, which takes a fraction of
 * the time.  Holds until the executor function's call ends.
 */
static void
prefer_fast_compression(void)
{
	(void) set_config_option("default_toast_compression", "lz4", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, DEBUG1, false);
}

/* Insert rows into a leaf of ours, or replace those that are there. */
static void
upsert_leaf(PqliteStore *store, const PqliteLeaf *leaf, const JflowDoc *const *docs, int ndocs)
{
	StringInfoData sql;
	PqliteRows	rows;
	bool		first = true;

	pqlite_rows_form(store, docs, ndocs, false, &rows);
	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO %s (shard, ", leaf->name);
	append_column_names(store, &sql);
	appendStringInfo(&sql, ") SELECT %d, ", leaf->shard);
	append_sent_columns(store, &sql);
	appendStringInfoString(&sql, " FROM ");
	append_unnest(store, &sql, false);
	appendStringInfo(&sql, " ON CONFLICT (%s) DO UPDATE SET ", store->columns[store->id].quoted);
	for (int i = 0; i < store->ncolumns; i++)
	{
		if (i == store->id)
			continue;
		appendStringInfo(&sql, "%s%s = excluded.%s", first ? "" : ", ", store->columns[i].quoted,
						 store->columns[i].quoted);
		first = false;
	}
	write_rows(store, sql.data, &rows, ndocs);
}

/* The item with an id, which the store has as text; items are sorted by it. */
static WriteItem *
find_item(const PqliteStore *store, WriteItem **items, int nitems, Datum id)
{
	int			low = 0;
	int			high = nitems - 1;

	while (low <= high)
	{
		int			middle = (low + high) / 2;
		int			order = pqlite_compare_ids(store, items[middle]->key, id);

		if (order == 0)
			return items[middle];
		if (order < 0)
			low = middle + 1;
		else
			high = middle - 1;
	}
	return NULL;
}

/*
 * Which leaf holds which of the items; the others' stay as they are.  A row that
 * a policy hides would be stored a second time, in another leaf, so that is an
 * error.
 */
static void
find_leaves(PqliteStore *store, WriteItem **items, int nitems)
{
	const JflowDoc **docs = palloc(sizeof(JflowDoc *) * nitems);
	const PqliteColumn *id = &store->columns[store->id];
	Oid			types[1] = {id->array_type};
	Datum		values[1];
	SPIPlanPtr	plan;
	int			guc_level = NewGUCNestLevel();

	for (int i = 0; i < nitems; i++)
		docs[i] = items[i]->doc;
	values[0] = pqlite_ids_array(store, docs, nitems);
	pqlite_row_security_off();
	plan = pqlite_plan(store,
					   psprintf("SELECT t.%s, t.shard FROM %s t WHERE t.%s %s ANY ($1)", id->quoted,
								store->name, id->quoted, store->same_id),
					   1, types, CURSOR_OPT_GENERIC_PLAN);
	PushActiveSnapshot(GetLatestSnapshot());
	if (SPI_execute_plan(plan, values, NULL, true, 0) < 0)
		elog(ERROR, "could not look up ids");
	PopActiveSnapshot();
	AtEOXact_GUC(false, guc_level);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		bool		isnull;
		Datum		found = SPI_getbinval(row, SPI_tuptable->tupdesc, 1, &isnull);
		int			shard = DatumGetInt32(SPI_getbinval(row, SPI_tuptable->tupdesc, 2, &isnull));
		WriteItem  *item = find_item(store, items, nitems, found);

		for (int leaf = 0; item && leaf < store->nleaves; leaf++)
			if (store->leaves[leaf].shard == shard)
				item->leaf = &store->leaves[leaf];
	}
}

/*
 * The leaf that a new document goes to.  The post may have been planned with
 * another number of shards than there are now.
 */
static PqliteLeaf *
new_leaf(PqliteStore *store, const JflowContext *context, JflowPolling polling, Datum id)
{
	int			wanted = Max(store->nwanted, 1);
	int			shard = context->shard;

	if (polling != POLLING_ANY)
	{
		text	   *t = DatumGetTextPP(id);

		shard = jflow_shard_of_id(VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t), wanted);
	}
	return &store->leaves[shard % wanted];
}

static void
upsert_own(PqliteStore *store, const JflowContext *context, WriteItem **items, int nitems)
{
	JflowPolling polling = jflow_polling_resolve(context->executor, context->endpoint);
	const JflowDoc **docs = palloc(sizeof(JflowDoc *) * nitems);

	for (int i = 0; i < nitems; i++)
		items[i]->leaf = new_leaf(store, context, polling, items[i]->doc->values[DOC_ID]);
	if (store->nleaves > 1)
		find_leaves(store, items, nitems);
	for (int leaf = 0; leaf < store->nleaves; leaf++)
	{
		int			n = 0;

		for (int i = 0; i < nitems; i++)
			if (items[i]->leaf == &store->leaves[leaf])
				docs[n++] = items[i]->doc;
		if (n > 0)
			upsert_leaf(store, &store->leaves[leaf], docs, n);
	}
}

/* The items that a statement is about, as rows. */
static void
items_form(const PqliteStore *store, WriteItem **items, int nitems, bool with_tags, PqliteRows *rows)
{
	const JflowDoc **docs = palloc(sizeof(JflowDoc *) * Max(nitems, 1));

	for (int i = 0; i < nitems; i++)
		docs[i] = items[i]->doc;
	pqlite_rows_form(store, docs, nitems, with_tags, rows);
}

/* Replace what is there in a user's table, then insert the rest. */
static void
upsert_existing(PqliteStore *store, WriteItem **items, int nitems)
{
	StringInfoData sql;
	PqliteRows	rows;
	const char *separator = "";
	int			n = 0;

	items_form(store, items, nitems, false, &rows);
	initStringInfo(&sql);
	appendStringInfo(&sql, "UPDATE %s AS t SET ", store->name);
	for (int i = 0; i < store->ncolumns; i++)
	{
		if (i == store->id)
			continue;
		appendStringInfo(&sql, "%s%s = ", separator, store->columns[i].quoted);
		append_sent(&store->columns[i], i, &sql);
		separator = ", ";
	}
	appendStringInfoString(&sql, " FROM ");
	append_unnest(store, &sql, false);
	append_same_id(store, &sql);
	write_rows(store, sql.data, &rows, -1);
	mark_found(items);

	for (int i = 0; i < nitems; i++)
		if (!items[i]->found)
			items[n++] = items[i];
	if (n == 0)
		return;
	items_form(store, items, n, false, &rows);
	resetStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO %s (", store->name);
	append_column_names(store, &sql);
	appendStringInfoString(&sql, ") SELECT ");
	append_sent_columns(store, &sql);
	appendStringInfoString(&sql, " FROM ");
	append_unnest(store, &sql, false);
	write_rows(store, sql.data, &rows, n);
}

/*
 * /index: insert documents, or replace those whose id is there.  Of an id that
 * the request has twice the last document counts.
 */
Datum
jflow_pqlite_index(PG_FUNCTION_ARGS)
{
	const JflowContext *context = pqlite_context();
	JflowDocs  *docs;
	PqliteStore *store;
	WriteItem  *items;
	WriteItem **last;
	int			rounds;
	int			n = 0;

	if (!pqlite_is_doer(context))
		PG_RETURN_DATUM(jflow_docs_empty());
	docs = jflow_docs_deform(PG_GETARG_DATUM(0), "documents");
	if (docs->ndocs == 0)
		PG_RETURN_NULL();

	store = pqlite_store_for_write(context, docs, true);
	pqlite_check_docs(store, docs, true);
	items = sort_items(store, docs, &rounds);
	if (store->nleaves > 1 || !store->own)
		lock_items(store, items, docs->ndocs);

	last = palloc(sizeof(WriteItem *) * docs->ndocs);
	for (int i = 0; i < docs->ndocs; i++)
		if (i + 1 == docs->ndocs || items[i + 1].round == 0)
			last[n++] = &items[i];
	pqlite_force_index_scans();
	prefer_fast_compression();
	SPI_connect();
	if (store->own)
	{
		upsert_own(store, context, last, n);
		pqlite_index_if_due(store, context, n);
	}
	else
		upsert_existing(store, last, n);
	SPI_finish();
	PG_RETURN_NULL();
}

/* The documents that were found, as they were given. */
static Datum
found_docs(Datum docs, const WriteItem *items, int nitems)
{
	Datum	   *elems;
	bool	   *found = palloc0(sizeof(bool) * Max(nitems, 1));
	int			n = 0;

	(void) jflow_docs_to_datums(docs, "documents", &elems);
	for (int i = 0; i < nitems; i++)
		found[items[i].number] = items[i].found;
	for (int i = 0; i < nitems; i++)
		if (found[i])
			elems[n++] = elems[i];
	return jflow_docs_from_datums(elems, n);
}

/* What a column becomes in an update: what is given, else what is there. */
static void
append_updated(const PqliteStore *store, int number, StringInfo sql)
{
	const PqliteColumn *column = &store->columns[number];

	appendStringInfo(sql, "%s = ", column->quoted);
	if (column->attr < 0)
	{
		appendStringInfo(sql, "CASE WHEN pg_catalog.jsonb_exists(u.tags, %s) THEN ",
						 quote_literal_cstr(column->name));
		append_sent(column, number, sql);
		appendStringInfo(sql, " ELSE t.%s END", column->quoted);
	}
	else if (column->attr == DOC_TAGS)
		appendStringInfo(sql, "COALESCE(t.%s || u.tags, u.tags, t.%s)", column->quoted, column->quoted);
	else
	{
		appendStringInfoString(sql, "COALESCE(");
		append_sent(column, number, sql);
		appendStringInfo(sql, ", t.%s)", column->quoted);
	}
}

static void
update_items(PqliteStore *store, WriteItem **items, int nitems)
{
	StringInfoData sql;
	PqliteRows	rows;
	const char *separator = "";

	items_form(store, items, nitems, true, &rows);
	initStringInfo(&sql);
	appendStringInfo(&sql, "UPDATE %s AS t SET ", store->name);
	for (int i = 0; i < store->ncolumns; i++)
	{
		if (i == store->id)
			continue;
		appendStringInfoString(&sql, separator);
		append_updated(store, i, &sql);
		separator = ", ";
	}
	appendStringInfoString(&sql, " FROM ");
	append_unnest(store, &sql, true);
	append_same_id(store, &sql);
	write_rows(store, sql.data, &rows, -1);
	mark_found(items);
}

/*
 * /update: change the attributes that documents give, and merge their tags by
 * key, of the rows with their ids.  Answers the documents whose ids were there.
 */
Datum
jflow_pqlite_update(PG_FUNCTION_ARGS)
{
	const JflowContext *context = pqlite_context();
	JflowDocs  *docs;
	PqliteStore *store;
	WriteItem  *items;
	WriteItem **selected;
	int			rounds;

	if (!pqlite_is_doer(context))
		PG_RETURN_DATUM(jflow_docs_empty());
	docs = jflow_docs_deform(PG_GETARG_DATUM(0), "documents");
	store = docs->ndocs > 0 ? pqlite_store_for_write(context, docs, false) : NULL;
	if (store == NULL)
		PG_RETURN_DATUM(jflow_docs_empty());
	pqlite_check_docs(store, docs, false);
	items = sort_items(store, docs, &rounds);
	lock_items(store, items, docs->ndocs);

	selected = palloc(sizeof(WriteItem *) * docs->ndocs);
	pqlite_force_index_scans();
	SPI_connect();
	for (int round = 0; round < rounds; round++)
	{
		int			n = 0;

		for (int i = 0; i < docs->ndocs; i++)
			if (items[i].round == round)
				selected[n++] = &items[i];
		update_items(store, selected, n);
	}
	SPI_finish();
	PG_RETURN_DATUM(found_docs(PG_GETARG_DATUM(0), items, docs->ndocs));
}

/*
 * /delete: delete the rows with the documents' ids.  Answers the documents whose
 * ids were there.
 */
Datum
jflow_pqlite_delete(PG_FUNCTION_ARGS)
{
	const JflowContext *context = pqlite_context();
	JflowDocs  *docs;
	PqliteStore *store;
	WriteItem  *items;
	WriteItem **selected;
	const JflowDoc **ids;
	PqliteRows	rows;
	Oid			types[1];
	Datum		values[1];
	int			rounds;
	int			n = 0;

	if (!pqlite_is_doer(context))
		PG_RETURN_DATUM(jflow_docs_empty());
	docs = jflow_docs_deform(PG_GETARG_DATUM(0), "documents");
	store = docs->ndocs > 0 ? pqlite_store_for_write(context, docs, false) : NULL;
	if (store == NULL)
		PG_RETURN_DATUM(jflow_docs_empty());
	items = sort_items(store, docs, &rounds);
	lock_items(store, items, docs->ndocs);

	selected = palloc(sizeof(WriteItem *) * docs->ndocs);
	ids = palloc(sizeof(JflowDoc *) * docs->ndocs);
	for (int i = 0; i < docs->ndocs; i++)
		if (items[i].round == 0)
		{
			ids[n] = items[i].doc;
			selected[n++] = &items[i];
		}
	rows.nargs = 1;
	rows.types = types;
	rows.values = values;
	types[0] = store->columns[store->id].array_type;
	values[0] = pqlite_ids_array(store, ids, n);
	pqlite_force_index_scans();
	SPI_connect();
	write_rows(store,
			   psprintf("DELETE FROM %s AS t USING pg_catalog.unnest($1) WITH ORDINALITY AS u(id, n) "
						"WHERE t.%s %s u.id AND t.%s %s ANY ($1) RETURNING u.n", store->name,
						store->columns[store->id].quoted, store->same_id,
						store->columns[store->id].quoted, store->same_id),
			   &rows, -1);
	mark_found(selected);
	SPI_finish();
	for (int i = 1; i < docs->ndocs; i++)
		if (items[i].round > 0)
			items[i].found = items[i - 1].found;
	PG_RETURN_DATUM(found_docs(PG_GETARG_DATUM(0), items, docs->ndocs));
}

/*
 * /clear: delete all rows.
 */
Datum
jflow_pqlite_clear(PG_FUNCTION_ARGS)
{
	const JflowContext *context = pqlite_context();
	PqliteStore *store;

	if (!pqlite_is_doer(context))
		PG_RETURN_DATUM(jflow_docs_empty());
	PreventCommandIfReadOnly(context->endpoint);
	PreventCommandDuringRecovery(context->endpoint);

	/* TRUNCATE will lock the parent, which everybody does before the layout. */
	store = pqlite_store_find(context->flow, context->executor);
	if (store && store->own)
		pqlite_lock_parent(store->relid);
	store = pqlite_store_for_write(context, NULL, false);
	if (store == NULL)
		PG_RETURN_NULL();
	SPI_connect();
	pqlite_drop_indexes(store);
	if (SPI_execute(psprintf(store->own ? "TRUNCATE %s" : "DELETE FROM %s", store->name),
					false, 0) < 0)
		elog(ERROR, "could not clear table %s", store->name);
	SPI_finish();
	PG_RETURN_NULL();
}
