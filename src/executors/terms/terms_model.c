/*
 * terms_model.c
 *		Models in the catalog, and the copies of them that a backend keeps.
 *
 * A backend keeps the models that it has used; their arrays are shared with other
 * processes (terms_shared.c).  A fit gives it a new random version and
 * a trigger on jflow.model sends a relation cache invalidation; a backend that
 * hears of it compares versions at the next use.  A fit that is rolled back
 * invalidates, too, so a model that was used inside the transaction that made
 * it does not outlive it.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "compat.h"
#include "executors/terms/terms.h"

/* Columns of jflow.model, in the order of its definition. */
enum
{
	Anum_model_flow = 1,
	Anum_model_executor,
	Anum_model_version,
	Anum_model_options,
	Anum_model_docs,
	Anum_model_terms,
	Anum_model_fitted,
	Anum_model_model
};

typedef struct ModelKey
{
	char		flow[NAMEDATALEN];
	char		executor[NAMEDATALEN];
} ModelKey;

typedef struct ModelEntry
{
	ModelKey	key;
	int64		version;
	TimestampTz fitted;
	bool		checked;		/* nothing has changed since it was read */
	MemoryContext context;
	TermModel  *model;			/* NULL: not loaded */
	dsm_segment *segment;		/* where its arrays are, unless in context */
} ModelEntry;

static HTAB *models = NULL;
static Oid	model_relid = InvalidOid;

/* Counts invalidations, so that one that comes while a model is read counts. */
static uint64 generation = 0;

/* Is there perhaps an entry that has not been checked since? */
static bool some_unchecked = false;

static void
uncheck_all(void)
{
	HASH_SEQ_STATUS status;
	ModelEntry *entry;

	hash_seq_init(&status, models);
	while ((entry = hash_seq_search(&status)) != NULL)
		entry->checked = false;
	some_unchecked = true;
}

static void
model_invalidate(Datum arg, Oid relid)
{
	if (OidIsValid(relid) && relid != model_relid)
		return;
	generation++;
	uncheck_all();
}

static ModelEntry *
find_entry(const char *flow, const char *executor)
{
	ModelKey	key;
	ModelEntry *entry;
	bool		found;

	if (models == NULL)
	{
		HASHCTL		ctl;

		ctl.keysize = sizeof(ModelKey);
		ctl.entrysize = sizeof(ModelEntry);
		models = hash_create("jflow term models", 16, &ctl, HASH_ELEM | HASH_BLOBS);
		CacheRegisterRelcacheCallback(model_invalidate, (Datum) 0);
	}
	memset(&key, 0, sizeof(key));
	strlcpy(key.flow, flow, NAMEDATALEN);
	strlcpy(key.executor, executor, NAMEDATALEN);
	entry = hash_search(models, &key, HASH_ENTER, &found);
	if (!found)
	{
		entry->checked = false;
		entry->context = NULL;
		entry->model = NULL;
		entry->segment = NULL;
	}
	return entry;
}

static void
drop_model(ModelEntry *entry)
{
	entry->model = NULL;
	if (entry->segment)
		dsm_detach(entry->segment);
	entry->segment = NULL;
	if (entry->context)
		MemoryContextDelete(entry->context);
	entry->context = NULL;
}

/* A scan of jflow.model that finds the row of an entry. */
static SysScanDesc
begin_scan(Relation rel, const ModelEntry *entry)
{
	ScanKeyData keys[2];

	ScanKeyInit(&keys[0], Anum_model_flow, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(entry->key.flow));
	ScanKeyInit(&keys[1], Anum_model_executor, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(entry->key.executor));
	return systable_beginscan(rel, RelationGetPrimaryKeyIndexCompat(rel), true, NULL, 2, keys);
}

static int64
version_of(Relation rel, HeapTuple tuple)
{
	bool		isnull;

	return DatumGetInt64(heap_getattr(tuple, Anum_model_version, RelationGetDescr(rel), &isnull));
}

/*
 * Drop models that are in the catalog no more, or under another version: of an
 * executor that was dropped, nobody may ever ask again.
 */
static void
drop_stale_models(void)
{
	Relation	rel;
	HASH_SEQ_STATUS status;
	ModelEntry *entry;
	uint64		before = generation;

	if (!some_unchecked)
		return;
	model_relid = jflow_catalog_relid("model");
	rel = table_open(model_relid, AccessShareLock);
	hash_seq_init(&status, models);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		SysScanDesc scan;
		HeapTuple	tuple;

		if (entry->checked)
			continue;
		scan = begin_scan(rel, entry);
		tuple = systable_getnext(scan);
		entry->checked = HeapTupleIsValid(tuple) && entry->model &&
			entry->version == version_of(rel, tuple);
		systable_endscan(scan);
		if (entry->checked)
			continue;
		drop_model(entry);
		(void) hash_search(models, &entry->key, HASH_REMOVE, NULL);
	}
	table_close(rel, AccessShareLock);
	some_unchecked = generation != before;
	if (some_unchecked)
		uncheck_all();
}

/* A row of jflow.model, and what it is read for. */
typedef struct ModelRow
{
	Relation	rel;
	HeapTuple	tuple;
	const TermOptions *options;
} ModelRow;

/* The model of a row, in the current memory context. */
static TermModel *
read_model(void *arg)
{
	ModelRow   *row = arg;
	bool		isnull;
	Datum		value = heap_getattr(row->tuple, Anum_model_model, RelationGetDescr(row->rel), &isnull);

	return term_model_deserialize(DatumGetByteaP(value), row->options);
}

/* Give an entry the model of its row, which may be another process's copy. */
static void
load_model(ModelEntry *entry, ModelRow *row)
{
	JflowBytesKey key;
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "jflow term model",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);

	memset(&key, 0, sizeof(key));
	key.database = MyDatabaseId;
	key.variant = term_model_variant(row->options);
	key.version = version_of(row->rel, row->tuple);
	strlcpy(key.names[0], entry->key.flow, NAMEDATALEN);
	strlcpy(key.names[1], entry->key.executor, NAMEDATALEN);
	entry->model = term_model_share(&key, read_model, row, &entry->segment);
	MemoryContextSwitchTo(old);
	MemoryContextSetParent(context, CacheMemoryContext);
	entry->context = context;
	entry->version = key.version;
}

/* Bring an entry up to date with the catalog. */
static void
read_entry(ModelEntry *entry, const TermOptions *options)
{
	Relation	rel;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		isnull;
	uint64		before = generation;

	model_relid = jflow_catalog_relid("model");
	rel = table_open(model_relid, AccessShareLock);
	scan = begin_scan(rel, entry);
	tuple = systable_getnext(scan);
	if (!HeapTupleIsValid(tuple))
		drop_model(entry);
	else
	{
		ModelRow	row = {rel, tuple, options};

		if (entry->model == NULL || entry->version != version_of(rel, tuple))
		{
			drop_model(entry);
			load_model(entry, &row);
			entry->fitted = DatumGetTimestampTz(heap_getattr(tuple, Anum_model_fitted,
															 RelationGetDescr(rel), &isnull));
		}
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);

	/* only now: a damaged model must not pass for none the next time */
	entry->checked = generation == before;
}

/*
 * The model that an executor was fitted with, and when that was; NULL if it was
 * not.  It stays valid until the next call.
 */
const TermModel *
term_model_find(const JflowFlow *flow, const JflowExecutor *executor, const TermOptions *options,
				TimestampTz *fitted)
{
	ModelEntry *entry;

	AcceptInvalidationMessages();
	drop_stale_models();
	entry = find_entry(flow->name, executor->name);
	if (!entry->checked)
		read_entry(entry, options);
	if (fitted)
		*fitted = entry->fitted;
	return entry->model;
}

/*
 * The model of the running executor, which must have been fitted: raises
 * object_not_in_prerequisite_state.
 */
const TermModel *
term_model_get(const JflowContext *context, const TermOptions *options)
{
	const TermModel *model = term_model_find(context->flow, context->executor, options, NULL);

	if (model)
		return model;

	/* A vocabulary without idf is a model by itself. */
	if (options->has_vocabulary && !options->use_idf)
	{
		TermStats	stats;

		term_stats_init(&stats, options);
		return term_model_make(&stats, NULL);
	}
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("executor \"%s\" of flow \"%s\" has not been fitted",
					context->executor->name, context->flow->name),
			 errhint("Fit it with jflow_fit, or post documents to its endpoint /fit.")));
}

/*
 * Lock the flow that was fitted against changes, and the executor against other
 * fits.  A fit can take long: the executor may be gone, or the flow's name may be
 * another role's flow by now.
 */
static void
lock_fitted(const JflowFlow *flow, const char *executor)
{
	Oid			types[3] = {TEXTOID, TEXTOID, TEXTOID};
	Datum		values[3];

	values[0] = CStringGetTextDatum(flow->name);
	values[1] = CStringGetTextDatum(flow->owner);
	values[2] = CStringGetTextDatum(executor);
	if (jflow_catalog_execute("SELECT FROM jflow.flow f JOIN jflow.executor e ON e.flow = f.flow "
							  "WHERE f.flow = $1 AND f.owner = $2 AND e.name = $3 FOR SHARE OF f FOR NO KEY UPDATE OF e",
							  3, types, values, NULL) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("executor \"%s\" of flow \"%s\" was removed while it was fitted",
						executor, flow->name)));
}

/* The model in the catalog, in the current memory context, or NULL. */
static const TermModel *
stored_model(const JflowFlow *flow, const JflowExecutor *executor, const TermOptions *options)
{
	Relation	rel = table_open(jflow_catalog_relid("model"), AccessShareLock);
	ModelEntry	entry = {0};
	SysScanDesc scan;
	HeapTuple	tuple;
	const TermModel *model = NULL;

	strlcpy(entry.key.flow, flow->name, NAMEDATALEN);
	strlcpy(entry.key.executor, executor->name, NAMEDATALEN);
	scan = begin_scan(rel, &entry);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		ModelRow	row = {rel, tuple, options};

		model = read_model(&row);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return model;
}

/* Raise what keeps a fit from adding to the one before. */
static void
check_incremental(const TermOptions *options)
{
	if (options->weighting != TERM_BM25)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a TfidfVectorizer cannot be fitted incrementally"),
				 errdetail("Its terms are numbered by code point, so new ones would change the numbers of others."),
				 errhint("Fit it anew, or use a BM25Vectorizer.")));
	if (!options->has_vocabulary &&
		(options->max_features > 0 || options->max_df.is_count || options->max_df.value != 1.0 ||
		 !options->min_df.is_count || options->min_df.value != 1))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("an executor with the option max_features, max_df or min_df cannot be fitted incrementally"),
				 errdetail("How many documents have the terms that these leave out is not kept.")));
}

/*
 * Make a model of counts that of an executor, with the rights of the extension's
 * owner.  An incremental one adds to the one before.
 */
void
term_model_store(const JflowFlow *flow, const JflowExecutor *executor, TermStats *stats,
				 bool incremental, int64 *ndocs, uint32 *nterms)
{
	Oid			types[7] = {TEXTOID, TEXTOID, INT8OID, JSONBOID, INT8OID, INT4OID, BYTEAOID};
	Datum		values[7];
	uint64		version;
	JflowCatalogState state;
	const TermModel *previous = NULL;
	TermModel  *model;

	if (incremental)
		check_incremental(stats->options);
	if (!pg_strong_random(&version, sizeof(version)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));

	jflow_catalog_begin(&state);
	lock_fitted(flow, executor->name);
	if (stats->options->weighting == TERM_BM25)
		previous = stored_model(flow, executor, stats->options);
	if (incremental && previous)
		term_stats_add_model(stats, previous);
	model = term_model_make(stats, previous);
	values[0] = CStringGetTextDatum(flow->name);
	values[1] = CStringGetTextDatum(executor->name);
	values[2] = Int64GetDatum((int64) (version & PG_INT64_MAX));
	values[3] = JsonbPGetDatum(executor->uses_with);
	values[4] = Int64GetDatum(model->ndocs);
	values[5] = Int32GetDatum((int32) model->terms.nterms);
	values[6] = PointerGetDatum(term_model_serialize(model));
	if (ndocs)
		*ndocs = model->ndocs;
	if (nterms)
		*nterms = model->terms.nterms;
	(void) jflow_catalog_execute("INSERT INTO jflow.model (flow, executor, version, options, docs, terms, model) "
								 "VALUES ($1, $2, $3, $4, $5, $6, $7) "
								 "ON CONFLICT (flow, executor) DO UPDATE SET version = excluded.version, "
								 "options = excluded.options, docs = excluded.docs, terms = excluded.terms, "
								 "fitted = excluded.fitted, model = excluded.model",
								 7, types, values, NULL);
	jflow_catalog_end(&state);
}

/* Keep the counts of one request until the post is finished. */
void
term_part_store(const JflowContext *context, const TermStats *stats)
{
	Oid			types[5] = {TEXTOID, TEXTOID, INT8OID, INT8OID, BYTEAOID};
	Datum		values[5];
	JflowCatalogState state;

	values[0] = CStringGetTextDatum(context->flow->name);
	values[1] = CStringGetTextDatum(context->executor->name);
	values[2] = Int64GetDatum(context->post);
	values[3] = Int64GetDatum(context->request);
	values[4] = PointerGetDatum(term_stats_serialize(stats));

	/* A request that is run again replaces what its first run left. */
	jflow_catalog_begin(&state);
	(void) jflow_catalog_execute("INSERT INTO jflow.model_part (flow, executor, post, request, part) "
								 "VALUES ($1, $2, $3, $4, $5) "
								 "ON CONFLICT (flow, executor, post, request) DO UPDATE SET part = excluded.part",
								 5, types, values, NULL);
	jflow_catalog_end(&state);
}

/*
 * Merge the counts of a post into "stats" and delete them, with what posts that
 * never finished left behind more than a day ago.
 */
void
term_parts_merge(const JflowContext *context, TermStats *stats)
{
	Oid			types[3] = {TEXTOID, TEXTOID, INT8OID};
	Datum		values[3];
	JflowCatalogState state;
	MemoryContext outer = CurrentMemoryContext;
	Portal		portal;

	values[0] = CStringGetTextDatum(context->flow->name);
	values[1] = CStringGetTextDatum(context->executor->name);
	values[2] = Int64GetDatum(context->post);

	jflow_catalog_begin(&state);
	portal = SPI_cursor_open_with_args(NULL,
									   "SELECT part FROM jflow.model_part "
									   "WHERE flow = $1 AND executor = $2 AND post = $3 ORDER BY request",
									   3, types, values, NULL, true, CURSOR_OPT_NO_SCROLL);
	for (;;)
	{
		bool		isnull;
		Datum		part;
		bytea	   *bytes;
		MemoryContext old;

		SPI_cursor_fetch(portal, true, 1);
		if (SPI_processed == 0)
			break;
		part = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
		bytes = DatumGetByteaP(part);
		old = MemoryContextSwitchTo(outer);
		term_stats_merge(stats, bytes);
		MemoryContextSwitchTo(old);
		if ((Pointer) bytes != DatumGetPointer(part))
			pfree(bytes);
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_cursor_close(portal);
	(void) jflow_catalog_execute("DELETE FROM jflow.model_part WHERE flow = $1 AND executor = $2 "
								 "AND (post = $3 OR created < pg_catalog.now() - interval '1 day')",
								 3, types, values, NULL);
	jflow_catalog_end(&state);
}
