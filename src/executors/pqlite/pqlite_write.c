/*
 * pqlite_write.c
 *		/index, /update, /delete and /clear.
 *
 * A request is written by one call, in one transaction, wherever its rows are.
 * Ids are locked in order, then looked up, then written; docs/pqlite.md argues
 * why no id is ever there twice.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "common/json.h"
#include "compat.h"
#include "executors/pqlite/pqlite.h"

PG_FUNCTION_INFO_V1(jflow_pqlite_index);
PG_FUNCTION_INFO_V1(jflow_pqlite_update);
PG_FUNCTION_INFO_V1(jflow_pqlite_delete);
PG_FUNCTION_INFO_V1(jflow_pqlite_clear);

static int
item_order(const void *a, const void *b, void *store)
{
	const PqliteItem *ia = a;
	const PqliteItem *ib = b;
	int			order = pqlite_compare_ids(store, ia->key, ib->key);

	return order != 0 ? order : ia->number - ib->number;
}

/*
 * The documents of a request sorted by id, without those left out: two requests
 * that meet lock rows in one order.  Documents of one id keep their order and are
 * numbered by rounds.
 */
static PqliteItem *
sort_items(const PqliteStore *store, const JflowDocs *docs, const bool *left_out, int *nitems,
		   int *rounds)
{
	PqliteItem *items = palloc0(sizeof(PqliteItem) * Max(docs->ndocs, 1));
	int			n = 0;

	for (int i = 0; i < docs->ndocs; i++)
	{
		if (left_out && left_out[i])
			continue;
		items[n].doc = &docs->docs[i];
		items[n].key = pqlite_id_key(store, docs->docs[i].values[DOC_ID]);
		items[n++].number = i;
	}
	qsort_arg(items, n, sizeof(PqliteItem), item_order, (void *) store);
	*nitems = n;
	*rounds = n > 0 ? 1 : 0;
	for (int i = 1; i < n; i++)
		if (pqlite_compare_ids(store, items[i].key, items[i - 1].key) == 0)
		{
			items[i].round = items[i - 1].round + 1;
			*rounds = Max(*rounds, items[i].round + 1);
		}
	return items;
}

/* Lock the ids of items, and of the documents whose chunks they are. */
static void
lock_items(const PqliteStore *store, const PqliteItem *items, int nitems,
		   const PqliteParent *parents, int nparents)
{
	Datum	   *keys = palloc(sizeof(Datum) * Max(nitems + nparents, 1));

	for (int i = 0; i < nitems; i++)
		keys[i] = items[i].key;
	for (int i = 0; i < nparents; i++)
		keys[nitems + i] = pqlite_id_key(store, parents[i].id);
	pqlite_lock_ids(store, keys, nitems + nparents);
	pfree(keys);
}

/* Mark the items whose number, from 1, a statement returned. */
static void
mark_found(PqliteItem **items)
{
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Datum		n = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);

		items[DatumGetInt64(n) - 1]->found = true;
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
	Bitmapset  *columns = pqlite_all_columns(store);
	StringInfoData sql;
	PqliteRows	rows;
	bool		first = true;

	pqlite_rows_form(store, docs, ndocs, columns, false, &rows);
	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO %s (shard, ", leaf->name);
	pqlite_append_names(store, &sql, columns);
	appendStringInfo(&sql, ") SELECT %d, ", leaf->shard);
	pqlite_append_sent_columns(store, &sql, columns);
	appendStringInfoString(&sql, " FROM ");
	pqlite_append_unnest(store, &sql, columns, false);
	appendStringInfo(&sql, " ON CONFLICT (%s) DO UPDATE SET ", store->columns[store->id].quoted);
	for (int i = 0; i < store->ncolumns; i++)
	{
		if (i == store->id)
			continue;
		appendStringInfo(&sql, "%s%s = excluded.%s", first ? "" : ", ", store->columns[i].quoted,
						 store->columns[i].quoted);
		first = false;
	}
	pqlite_write_rows(store, sql.data, &rows, ndocs);
}

/* The item with an id, which the store has as text; items are sorted by it. */
static PqliteItem *
find_item(const PqliteStore *store, PqliteItem **items, int nitems, Datum id)
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
find_leaves(PqliteStore *store, PqliteItem **items, int nitems)
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
		PqliteItem *item = find_item(store, items, nitems, found);

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
upsert_own(PqliteStore *store, const JflowContext *context, PqliteItem **items, int nitems)
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

/* The last document of each id: a table of ours holds whole documents. */
static int
last_items(PqliteItem *items, int nitems, PqliteItem **last)
{
	int			n = 0;

	for (int i = 0; i < nitems; i++)
		if (i + 1 == nitems || items[i + 1].round == 0)
			last[n++] = &items[i];
	return n;
}

/* The items of a round, no two of which have one id. */
static int
items_of_round(PqliteItem *items, int nitems, int round, PqliteItem **selected)
{
	int			n = 0;

	for (int i = 0; i < nitems; i++)
		if (items[i].round == round)
			selected[n++] = &items[i];
	return n;
}

/* What of their documents items write to a user's table. */
static void
name_columns(const PqliteStore *store, PqliteItem *items, int nitems, PqliteWrites writes)
{
	for (int i = 0; i < nitems; i++)
		items[i].named = pqlite_named_columns(store, items[i].doc, writes);
}

/* What a request writes: as its parameter says, else as the option does. */
static PqliteWrites
what_to_write(const PqliteStore *store, Jsonb *parameters_json)
{
	PqliteParameters parameters;

	pqlite_parameters_read(parameters_json, 0, &parameters);
	return parameters.writes < 0 ? store->options->writes : (PqliteWrites) parameters.writes;
}

/* Do a document's chunks follow it: are those gone that it has no more? */
static bool
takes_chunks(Jsonb *parameters)
{
	JsonbValue	buffer;
	JsonbValue *value = jflow_json_get(parameters, "chunks", &buffer);

	if (value && value->type != jbvBool)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("parameter \"chunks\" must be a boolean")));
	return value == NULL || value->val.boolean;
}

/*
 * /index: insert documents, or replace those whose id is there; of an id that the
 * request has twice the last document counts.  In a user's table a document
 * writes the columns that it names, each in its turn.
 */
Datum
jflow_pqlite_index(PG_FUNCTION_ARGS)
{
	const JflowContext *context = jflow_context_required();
	JflowDocs  *docs;
	PqliteStore *store;
	PqliteItem *items;
	PqliteItem **selected;
	PqliteParent *parents;
	PqliteWrites writes;
	int			nparents;
	int			nitems;
	int			rounds;
	int			n;
	bool		alone;

	if (!pqlite_does_all(context))
		PG_RETURN_DATUM(jflow_docs_empty());
	docs = jflow_docs_deform(PG_GETARG_DATUM(0), "documents");
	if (docs->ndocs == 0 || (store = pqlite_store_for_write(context, docs, true)) == NULL)
		PG_RETURN_NULL();
	writes = what_to_write(store, PG_GETARG_JSONB_P(1));
	if (store->own && writes != WRITES_ALL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("/index cannot write the embedding alone to table %s", store->name),
				 errdetail("A table of our own holds whole documents."),
				 errhint("Use /update.")));
	items = sort_items(store, docs, pqlite_check_docs(store, docs, true), &nitems, &rounds);
	parents = pqlite_parents(store, docs, &nparents);
	alone = !takes_chunks(PG_GETARG_JSONB_P(1));
	if (alone)
		nparents = 0;
	if (nitems == 0 && nparents == 0)
		PG_RETURN_NULL();
	pqlite_note_columns(store, context, docs);
	if (!store->own)
		name_columns(store, items, nitems, writes);
	if (store->nleaves > 1 || !store->own || nparents > 0 || alone)
		lock_items(store, items, nitems, parents, nparents);

	selected = palloc(sizeof(PqliteItem *) * Max(nitems, 1));
	pqlite_force_index_scans();
	prefer_fast_compression();
	SPI_connect();
	pqlite_delete_chunks(store, parents, nparents);
	if (store->own)
	{
		n = last_items(items, nitems, selected);
		if (n > 0)
			upsert_own(store, context, selected, n);
		pqlite_index_if_due(store, context, n);
	}
	else
		for (int round = 0; round < rounds; round++)
		{
			n = items_of_round(items, nitems, round, selected);
			pqlite_write_existing(store, selected, n, true);
		}
	SPI_finish();
	PG_RETURN_NULL();
}

/* The documents that were found, as they were given. */
static Datum
found_docs(Datum docs, const PqliteItem *items, int nitems)
{
	Datum	   *elems;
	int			ndocs = jflow_docs_to_datums(docs, "documents", &elems);
	bool	   *found = palloc0(sizeof(bool) * Max(ndocs, 1));
	int			n = 0;

	for (int i = 0; i < nitems; i++)
		found[items[i].number] = items[i].found;
	for (int i = 0; i < ndocs; i++)
		if (found[i])
			elems[n++] = elems[i];
	return jflow_docs_from_datums(elems, n);
}

/*
 * What a column of ours becomes in an update: what is given, else what is there.
 * So a statement does for all documents, whatever they give.
 */
static void
append_updated(const PqliteStore *store, int number, StringInfo sql)
{
	const PqliteColumn *column = &store->columns[number];

	appendStringInfo(sql, "%s = ", column->quoted);
	if (column->attr < 0)
	{
		appendStringInfo(sql, "CASE WHEN pg_catalog.jsonb_exists(u.tags, %s) THEN ",
						 quote_literal_cstr(column->name));
		pqlite_append_sent(column, number, sql);
		appendStringInfo(sql, " ELSE t.%s END", column->quoted);
	}
	else if (column->attr == DOC_TAGS)
		appendStringInfo(sql, "COALESCE(t.%s || u.tags, u.tags, t.%s)", column->quoted, column->quoted);
	else
	{
		appendStringInfoString(sql, "COALESCE(");
		pqlite_append_sent(column, number, sql);
		appendStringInfo(sql, ", t.%s)", column->quoted);
	}
}

static void
update_own(PqliteStore *store, PqliteItem **items, int nitems, PqliteWrites writes)
{
	const JflowDoc **docs = palloc(sizeof(JflowDoc *) * Max(nitems, 1));
	Bitmapset  *columns = pqlite_all_columns(store);
	StringInfoData sql;
	PqliteRows	rows;
	const char *separator = "";

	for (int i = 0; i < nitems; i++)
		docs[i] = items[i]->doc;
	pqlite_rows_form(store, docs, nitems, columns, true, &rows);
	initStringInfo(&sql);
	appendStringInfo(&sql, "UPDATE %s AS t SET ", store->name);
	for (int i = 0; i < store->ncolumns; i++)
	{
		if (i == store->id || (writes == WRITES_EMBEDDING && i != store->vector))
			continue;
		appendStringInfoString(&sql, separator);
		append_updated(store, i, &sql);
		separator = ", ";
	}
	appendStringInfoString(&sql, " FROM ");
	pqlite_append_unnest(store, &sql, columns, true);
	pqlite_append_same_id(store, &sql, columns);
	appendStringInfoString(&sql, " RETURNING u.n");
	pqlite_write_rows(store, sql.data, &rows, -1);
	mark_found(items);
}

/*
 * /update: change the attributes that documents give, and merge their tags by
 * key, of the rows with their ids; with the parameter "writes" the embedding
 * alone.  Answers the documents whose ids were there.
 */
Datum
jflow_pqlite_update(PG_FUNCTION_ARGS)
{
	const JflowContext *context = jflow_context_required();
	JflowDocs  *docs;
	PqliteStore *store;
	PqliteItem *items;
	PqliteItem **selected;
	PqliteWrites writes;
	int			nitems;
	int			rounds;

	if (!pqlite_does_all(context))
		PG_RETURN_DATUM(jflow_docs_empty());
	docs = jflow_docs_deform(PG_GETARG_DATUM(0), "documents");
	store = docs->ndocs > 0 ? pqlite_store_for_write(context, docs, false) : NULL;
	if (store == NULL)
		PG_RETURN_DATUM(jflow_docs_empty());
	writes = what_to_write(store, PG_GETARG_JSONB_P(1));
	items = sort_items(store, docs, pqlite_check_docs(store, docs, false), &nitems, &rounds);
	if (!store->own)
		name_columns(store, items, nitems, writes);
	lock_items(store, items, nitems, NULL, 0);

	selected = palloc(sizeof(PqliteItem *) * Max(nitems, 1));
	pqlite_force_index_scans();
	SPI_connect();
	for (int round = 0; round < rounds; round++)
	{
		int			n = items_of_round(items, nitems, round, selected);

		if (store->own)
			update_own(store, selected, n, writes);
		else
			pqlite_write_existing(store, selected, n, false);
	}
	SPI_finish();
	PG_RETURN_DATUM(found_docs(PG_GETARG_DATUM(0), items, nitems));
}

/*
 * /delete: delete the rows with the documents' ids, and those of their chunks unless
 * the parameter "chunks" is false.  Answers the documents whose ids were there.
 */
Datum
jflow_pqlite_delete(PG_FUNCTION_ARGS)
{
	const JflowContext *context = jflow_context_required();
	JflowDocs  *docs;
	PqliteStore *store;
	PqliteItem *items;
	PqliteItem **selected;
	const JflowDoc **ids;
	PqliteRows	rows;
	PqliteParent *parents;
	Oid			types[1];
	Datum		values[1];
	int			nparents;
	int			nitems;
	int			rounds;
	int			n = 0;

	if (!pqlite_does_all(context))
		PG_RETURN_DATUM(jflow_docs_empty());
	docs = jflow_docs_deform(PG_GETARG_DATUM(0), "documents");
	store = docs->ndocs > 0 ? pqlite_store_for_write(context, docs, false) : NULL;
	if (store == NULL)
		PG_RETURN_DATUM(jflow_docs_empty());
	items = sort_items(store, docs, NULL, &nitems, &rounds);
	parents = pqlite_deleted_parents(store, items, nitems, &nparents);
	if (!takes_chunks(PG_GETARG_JSONB_P(1)))
		nparents = 0;
	lock_items(store, items, nitems, NULL, 0);

	selected = palloc(sizeof(PqliteItem *) * docs->ndocs);
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
	pqlite_write_rows(store,
					  psprintf("DELETE FROM %s AS t USING pg_catalog.unnest($1) WITH ORDINALITY AS u(id, n) "
							   "WHERE t.%s %s u.id AND t.%s %s ANY ($1) RETURNING u.n", store->name,
							   store->columns[store->id].quoted, store->same_id,
							   store->columns[store->id].quoted, store->same_id),
					  &rows, -1);
	mark_found(selected);
	pqlite_delete_chunks(store, parents, nparents);
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
	const JflowContext *context = jflow_context_required();
	PqliteStore *store;

	if (!pqlite_does_all(context))
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
