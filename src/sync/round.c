/*
 * round.c
 *		A round: claim what has changed, post it, settle what became of it.
 *
 * The three are called in turn, each in a transaction of its own by the worker, or
 * all in one by a trigger.  What a claim has committed says what a crash before
 * the end of the round leaves to be done.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "executor/spi.h"
#include "lib/qunique.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "common/json.h"
#include "compat.h"
#include "runtime/gateway/gateway.h"
#include "sync/sync.h"

#define MAX_ROUND_BYTES (16 * 1024 * 1024)	/* of documents */
#define SMALL_READING (1024 * 1024) /* bytes */
#define MAX_STEP 3200			/* rows */
#define SWEEP_ROWS 10000
#define MAX_BACKOFF_MS 300000

static int
compare_texts(const void *a, const void *b)
{
	const text *ta = DatumGetTextPP(*(const Datum *) a);
	const text *tb = DatumGetTextPP(*(const Datum *) b);
	int			la = VARSIZE_ANY_EXHDR(ta);
	int			lb = VARSIZE_ANY_EXHDR(tb);
	int			order = memcmp(VARDATA_ANY(ta), VARDATA_ANY(tb), Min(la, lb));

	return order != 0 ? order : (la > lb) - (la < lb);
}

static int
compare_rows(const void *a, const void *b)
{
	return compare_texts(&((const SyncRow *) a)->key, &((const SyncRow *) b)->key);
}

/* Room for so many rows more. */
static SyncRow *
more_rows(SyncRound *round, int n)
{
	if (round->nrows + n > round->allocated)
	{
		MemoryContext old = MemoryContextSwitchTo(round->context);

		round->allocated = Max(round->nrows + n, round->allocated * 2);
		round->rows = round->rows ? repalloc_huge(round->rows, sizeof(SyncRow) * round->allocated) :
			palloc(sizeof(SyncRow) * round->allocated);
		MemoryContextSwitchTo(old);
	}
	return round->rows + round->nrows;
}

/* A column of texts that a statement has selected, in a memory context. */
static Datum *
selected_texts(MemoryContext context, int column, int *n, bool *any_null)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	Datum	   *result = palloc(sizeof(Datum) * Max(SPI_processed, 1));

	*n = 0;
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Datum		value = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, column, &isnull);

		if (isnull)
			*any_null = true;
		else
			result[(*n)++] = PointerGetDatum(DatumGetTextPCopy(value));
	}
	MemoryContextSwitchTo(old);
	return result;
}

/*
 * Say that nobody knows what the store has of some keys.  They are due then or, at
 * infinity's other end, already on their way.
 */
static void
unset_hashes(const Sync *sync, const Datum *keys, int n, TimestampTz due)
{
	JflowParams params = {0};

	if (n == 0)
		return;
	jflow_param_int(&params, sync->id);
	sync_param_texts(&params, keys, n);
	jflow_param(&params, TIMESTAMPTZOID, TimestampTzGetDatum(due), due == DT_NOBEGIN);
	(void) sync_statement("INSERT INTO jflow.sync_row AS r (sync, key, due) SELECT $1, k, $3 "
						  "FROM pg_catalog.unnest($2) k ON CONFLICT (sync, key) DO UPDATE "
						  "SET hash = NULL, due = excluded.due, attempts = 0, failed = NULL, sqlstate = NULL, message = NULL",
						  &params);
}

/*
 * Take entries from the queue.  Their keys become due; that all may have changed
 * means a sweep.
 */
static void
take_queue(SyncRound *round, int limit, TimestampTz now)
{
	Sync	   *sync = round->sync;
	JflowCatalogState state;
	JflowParams params = {0};
	bool		all = false;
	uint64		taken;
	Datum	   *keys;
	int			n;

	jflow_param_int(&params, sync->id);
	jflow_param_int(&params, limit);
	jflow_catalog_begin(&state);
	taken = sync_statement("DELETE FROM jflow.sync_queue WHERE ctid = ANY (ARRAY("
						   "SELECT ctid FROM jflow.sync_queue WHERE sync = $1 ORDER BY changed LIMIT $2)) "
						   "RETURNING key", &params);
	keys = selected_texts(round->context, 1, &n, &all);
	qsort(keys, n, sizeof(Datum), compare_texts);
	n = qunique(keys, n, sizeof(Datum), compare_texts);
	unset_hashes(sync, keys, n, now);
	jflow_catalog_end(&state);
	CommandCounterIncrement();
	round->more |= taken == limit;
	if (all)
		sync_set_phase(sync, sync->phase == PHASE_FILL ? PHASE_COMPARE : sync->phase == PHASE_FOLLOW ? PHASE_SWEEP : sync->phase,
					   sync->phase == PHASE_SWEEP || sync->phase == PHASE_FOLLOW || sync->position == NULL ? (Datum) 0 :
					   CStringGetTextDatum(sync->position));
}

/* A row with a key, whose document is looked for. */
typedef struct Wanted
{
	Datum		key;
	int			attempts;
} Wanted;

/* What is due, in the round's context. */
static Wanted *
select_due(SyncRound *round, int limit, TimestampTz now, int *n)
{
	JflowCatalogState state;
	JflowParams params = {0};
	Wanted	   *wanted;
	bool		isnull;

	jflow_param_int(&params, round->sync->id);
	sync_param_time(&params, now);
	jflow_param_int(&params, limit);
	jflow_catalog_begin(&state);
	*n = (int) sync_statement("SELECT key, attempts FROM jflow.sync_row WHERE sync = $1 "
							  "AND due <= $2 ORDER BY due LIMIT $3", &params);
	wanted = MemoryContextAlloc(round->context, sizeof(Wanted) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(round->context);

		wanted[i].key = PointerGetDatum(DatumGetTextPCopy(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull)));
		wanted[i].attempts = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull));
		MemoryContextSwitchTo(old);
	}
	jflow_catalog_end(&state);
	qsort(wanted, *n, sizeof(Wanted), compare_texts);	/* the key comes first */
	return wanted;
}

/* Read some of what is wanted; what is not found is to be deleted. */
static void
read_wanted(SyncRound *round, const SyncSource *source, const Wanted *wanted, int n)
{
	SyncRow    *rows = more_rows(round, n);
	SyncRow    *found = palloc(sizeof(SyncRow) * n);
	Datum	   *keys = palloc(sizeof(Datum) * n);
	MemoryContext old = MemoryContextSwitchTo(round->context);
	int			nfound;

	for (int i = 0; i < n; i++)
		keys[i] = wanted[i].key;
	nfound = sync_source_read(source, keys, n, found);
	qsort(found, nfound, sizeof(SyncRow), compare_rows);
	for (int i = 0; i < n; i++)
	{
		SyncRow		wanted_row = {.key = wanted[i].key};
		SyncRow    *row = bsearch(&wanted_row, found, nfound, sizeof(SyncRow), compare_rows);

		rows[i] = row ? *row : wanted_row;
		rows[i].attempts = wanted[i].attempts;
		if (row)
			round->bytes += VARSIZE(DatumGetPointer(row->doc));
	}
	round->nrows += n;
	MemoryContextSwitchTo(old);
}

/*
 * How many rows to read at once next: more and more, while they are small, since
 * each reading costs a plan.  "before" says how many bytes there were.
 */
static int
next_step(const SyncRound *round, int step, Size before)
{
	if (round->bytes - before > SMALL_READING)
		return round->sync->batch;
	return Max(step, Min(step * 2, MAX_STEP));
}

/* Claim what is due. */
static void
claim_due(SyncRound *round, const SyncSource *source, int limit, TimestampTz now)
{
	int			n;
	Wanted	   *wanted = select_due(round, limit, now, &n);
	int			step = round->sync->batch;

	round->more |= n == limit;
	for (int i = 0; i < n;)
	{
		int			some = Min(step, n - i);
		Size		before = round->bytes;

		CHECK_FOR_INTERRUPTS();
		if (round->bytes > MAX_ROUND_BYTES)
		{
			round->more = true; /* the rest stays due */
			break;
		}
		read_wanted(round, source, wanted + i, some);
		i += some;
		step = next_step(round, step, before);
	}
}

/* Of rows that were scanned, leave those that the store may not have. */
static int
leave_out_known(const Sync *sync, SyncRow *rows, int n)
{
	JflowCatalogState state;
	JflowParams params = {0};
	Datum	   *keys = palloc(sizeof(Datum) * Max(n, 1));
	int			kept = 0;

	for (int i = 0; i < n; i++)
		keys[i] = rows[i].key;
	qsort(rows, n, sizeof(SyncRow), compare_rows);
	jflow_param_int(&params, sync->id);
	sync_param_texts(&params, keys, n);
	jflow_catalog_begin(&state);
	(void) sync_statement("SELECT r.key, r.hash FROM pg_catalog.unnest($2) k CROSS JOIN LATERAL "
						  "(SELECT key, hash FROM jflow.sync_row WHERE sync = $1 AND key = k OFFSET 0) r", &params);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		SyncRow		known = {.key = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull)};
		int64		hash = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull));
		SyncRow    *row = bsearch(&known, rows, n, sizeof(SyncRow), compare_rows);

		/* what has no hash is due, or will be, without our doing */
		if (row && (isnull || row->hash == hash))
			row->failed = true;
	}
	jflow_catalog_end(&state);
	for (int i = 0; i < n; i++)
		if (!rows[i].failed)
			rows[kept++] = rows[i];
	return kept;
}

/* Compare some rows of the source; claims what differs.  Returns whether that was the end. */
static bool
compare_some(SyncRound *round, const SyncSource *source, int step)
{
	Sync	   *sync = round->sync;
	SyncRow    *rows = more_rows(round, step);
	MemoryContext old = MemoryContextSwitchTo(round->context);
	int			n = sync_source_scan(source, sync->position, step, rows);
	Datum		last = n > 0 ? rows[n - 1].key : (Datum) 0;
	JflowCatalogState state;
	Datum	   *keys;
	bool		end = n < step;
	int			kept = leave_out_known(sync, rows, n);

	keys = palloc(sizeof(Datum) * Max(kept, 1));
	for (int i = 0; i < kept; i++)
	{
		keys[i] = rows[i].key;
		round->bytes += VARSIZE(DatumGetPointer(rows[i].doc));
	}
	round->nrows += kept;
	jflow_catalog_begin(&state);
	unset_hashes(sync, keys, kept, DT_NOBEGIN);
	jflow_catalog_end(&state);
	if (!end)
		sync->position = TextDatumGetCString(last);
	MemoryContextSwitchTo(old);
	return end;
}

static void
compare(SyncRound *round, const SyncSource *source, int limit)
{
	Sync	   *sync = round->sync;
	int			step = Min(sync->batch, limit);
	bool		end = false;

	while (!end && round->nrows < limit && round->bytes <= MAX_ROUND_BYTES)
	{
		Size		before = round->bytes;

		CHECK_FOR_INTERRUPTS();
		end = compare_some(round, source, step);
		step = next_step(round, step, before);
	}
	if (end)
		sync_set_phase(sync, sync->phase == PHASE_FILL ? PHASE_FOLLOW : PHASE_SWEEP, (Datum) 0);
	else
		sync_set_phase(sync, sync->phase, CStringGetTextDatum(sync->position));
	round->more |= !end || sync->phase == PHASE_SWEEP;
}

/* Look through keys that the store has: those that the source has not are due. */
static void
sweep(SyncRound *round, const SyncSource *source, TimestampTz now)
{
	Sync	   *sync = round->sync;
	JflowCatalogState state;
	JflowParams params = {0};
	Datum	   *found = palloc(sizeof(Datum) * SWEEP_ROWS);
	Datum	   *keys;
	bool		none = false;
	int			n;
	int			nfound = 0;
	int			gone = 0;
	Datum		last;

	jflow_param_int(&params, sync->id);
	jflow_param_text(&params, sync->position ? sync->position : "");
	jflow_param_int(&params, SWEEP_ROWS);
	jflow_catalog_begin(&state);
	(void) sync_statement("SELECT key FROM jflow.sync_row WHERE sync = $1 AND key > $2 ORDER BY key LIMIT $3", &params);
	keys = selected_texts(round->context, 1, &n, &none);
	jflow_catalog_end(&state);
	last = n > 0 ? keys[n - 1] : (Datum) 0;
	if (n > 0)
		nfound = sync_source_keys(source, keys, n, found);
	qsort(found, nfound, sizeof(Datum), compare_texts);
	for (int i = 0; i < n; i++)
		if (bsearch(&keys[i], found, nfound, sizeof(Datum), compare_texts) == NULL)
			keys[gone++] = keys[i];
	jflow_catalog_begin(&state);
	unset_hashes(sync, keys, gone, now);
	jflow_catalog_end(&state);
	if (n < SWEEP_ROWS)
		sync_set_phase(sync, PHASE_FOLLOW, (Datum) 0);
	else
		sync_set_phase(sync, PHASE_SWEEP, last);
	round->more = true;			/* what is due now, or the next keys */
}

/* Claim rows with some keys, different or not, in the round's context. */
void
sync_claim_keys(SyncRound *round, Datum *keys, int n)
{
	MemoryContext old = MemoryContextSwitchTo(round->context);
	SyncSource *source = sync_source_open(round->sync);
	JflowCatalogState state;
	Wanted	   *wanted;

	qsort(keys, n, sizeof(Datum), compare_texts);
	n = qunique(keys, n, sizeof(Datum), compare_texts);
	jflow_catalog_begin(&state);
	unset_hashes(round->sync, keys, n, DT_NOBEGIN);
	jflow_catalog_end(&state);
	wanted = palloc0(sizeof(Wanted) * Max(n, 1));
	for (int i = 0; i < n; i++)
		wanted[i].key = keys[i];
	if (n > 0)
		read_wanted(round, source, wanted, n);
	MemoryContextSwitchTo(old);
}

/*
 * Claim at most about so many rows for a round, whose sync was read just now.
 * What is allocated for the round is in the round's context.
 */
void
sync_claim(SyncRound *round, int limit)
{
	MemoryContext old = MemoryContextSwitchTo(round->context);
	SyncSource *source = sync_source_open(round->sync);
	TimestampTz now = GetCurrentTimestamp();

	take_queue(round, limit, now);
	claim_due(round, source, limit, now);
	if (round->sync->phase == PHASE_SWEEP)
		sweep(round, source, now);
	else if (round->sync->phase != PHASE_FOLLOW && round->nrows < limit)
		compare(round, source, limit);
	MemoryContextSwitchTo(old);
}

/* Documents of a round, cut into requests. */
typedef struct RoundSource
{
	JflowSource base;
	Datum	   *docs;
	int			n;
	int			position;
} RoundSource;

static bool
next_docs(JflowSource *base, int size, Datum *docs)
{
	RoundSource *source = (RoundSource *) base;
	int			n = Min(size, source->n - source->position);

	if (n <= 0)
		return false;
	*docs = jflow_docs_from_datums(source->docs + source->position, n);
	source->position += n;
	return true;
}

/* Note the error of a row, in the round's context; the first one counts. */
void
sync_fail_row(SyncRound *round, SyncRow *row, const ErrorData *error, bool of_doc)
{
	if (row->failed)
		return;
	row->failed = true;
	row->of_doc = of_doc;
	row->sqlstate = error->sqlerrcode;
	row->message = MemoryContextStrdup(round->context, error->message ? error->message : "");
	if (error->hint)
		row->hint = MemoryContextStrdup(round->context, error->hint);
}

/* The row that a document was made of; NULL: nobody knows. */
static SyncRow *
find_row(SyncRound *round, const JflowDoc *doc)
{
	SyncRow    *row = NULL;
	SyncRow		key = {.key = doc->values[DOC_ID]};

	if (!doc->nulls[DOC_ID])
		row = bsearch(&key, round->rows, round->nrows, sizeof(SyncRow), compare_rows);
	if (row || doc->nulls[DOC_PARENT_ID])
		return row;
	key.key = doc->values[DOC_PARENT_ID];
	return bsearch(&key, round->rows, round->nrows, sizeof(SyncRow), compare_rows);
}

/*
 * The post goes on without a document.  If it is not one of ours nobody can tell
 * which row has not arrived, so none has.
 */
static void
take_error(void *arg, const JflowDoc *doc, const ErrorData *error, bool of_doc)
{
	SyncRound  *round = arg;
	SyncRow    *row = find_row(round, doc);

	if (row == NULL)
		for (int i = 0; i < round->nrows; i++)
			sync_fail_row(round, &round->rows[i], error, false);
	else
		sync_fail_row(round, row, error, of_doc);
}

/* A document of a key alone. */
static Datum
doc_of_key(Datum key)
{
	JflowDoc	doc;

	jflow_doc_init(&doc);
	doc.values[DOC_ID] = key;
	doc.nulls[DOC_ID] = false;
	return jflow_doc_form(&doc);
}

/* Does an executor say what it does for an endpoint? */
static bool
names_endpoint(const JflowExecutor *executor, const char *endpoint)
{
	JsonbValue	buffer;

	return (executor->requests && jflow_json_get(executor->requests, endpoint, &buffer)) ||
		(executor->class_requests && jflow_json_get(executor->class_requests, endpoint, &buffer));
}

/*
 * The executors that know how to delete, as a regular expression: a document to be
 * deleted is an id alone, which an encoder can do nothing with.  NULL: all.
 */
static char *
who_deletes(const char *flow_name)
{
	const JflowFlow *flow = jflow_flow_open(flow_name, false);
	StringInfoData result;

	initStringInfo(&result);
	for (int i = 0; i < flow->nexecutors; i++)
	{
		if (!names_endpoint(&flow->executors[i], "/delete"))
			continue;
		if (result.len > 0)
			appendStringInfoChar(&result, '|');
		for (const char *c = flow->executors[i].name; *c; c++)
		{
			if (strchr("\\^$.[]|()*+?{}", *c))
				appendStringInfoChar(&result, '\\');
			appendStringInfoChar(&result, *c);
		}
	}
	return result.len > 0 ? result.data : NULL;
}

/*
 * Post the rows that are to be deleted, or the others; and of these those that
 * have failed before, each in a request of its own, or the others.
 */
static void
post_some(SyncRound *round, bool deleted, bool alone)
{
	const Sync *sync = round->sync;
	MemoryContext old = MemoryContextSwitchTo(round->context);
	JflowPostOptions options;
	JflowPostResult result;
	RoundSource source;
	JsonbInState json = {0};

	memset(&options, 0, sizeof(options));
	memset(&source, 0, sizeof(source));
	source.docs = palloc(sizeof(Datum) * Max(round->nrows, 1));
	for (int i = 0; i < round->nrows; i++)
	{
		const SyncRow *row = &round->rows[i];

		if ((row->doc == (Datum) 0) == deleted && (row->attempts > 0) == alone)
			source.docs[source.n++] = deleted ? doc_of_key(row->key) : row->doc;
	}

	/*
	 * A row that is gone from a store that is the source is gone from the
	 * store.
	 */
	if (source.n > 0 && !(deleted && sync->in_place))
	{
		source.base.next = next_docs;
		source.base.total = source.n;
		options.endpoint = deleted ? "/delete" : sync->endpoint;
		options.flow = sync->flow;
		options.target_executor = deleted ? who_deletes(sync->flow) : NULL;
		pushJsonbValue(&json, WJB_BEGIN_OBJECT, NULL);
		if (sync->in_place)
			jflow_json_push_string(&json, "writes", "embedding");
		pushJsonbValue(&json, WJB_END_OBJECT, NULL);
		options.parameters = JsonbValueToJsonb(json.result);
		options.request_size = alone ? 1 : sync->batch;
		options.continue_on_error = !round->strict;
		options.error_sink = round->strict ? NULL : take_error;
		options.error_arg = round;
		jflow_post_run(&options, &source.base, NULL, NULL, &result);
	}
	MemoryContextSwitchTo(old);
}

/*
 * Post what was claimed.  What is wrong with rows is noted in them; what is wrong
 * with the flow is raised.
 */
void
sync_post(SyncRound *round)
{
	qsort(round->rows, round->nrows, sizeof(SyncRow), compare_rows);
	for (int deleted = 0; deleted <= 1; deleted++)
		for (int alone = 0; alone <= 1; alone++)
			post_some(round, deleted, alone);
}

/* Errors that pass, whatever the document is. */
static bool
passes(int sqlstate)
{
	int			category = ERRCODE_TO_CATEGORY(sqlstate);

	return category == ERRCODE_TO_CATEGORY(ERRCODE_CONNECTION_EXCEPTION) ||
		category == ERRCODE_TO_CATEGORY(ERRCODE_TRANSACTION_ROLLBACK) ||
		category == ERRCODE_TO_CATEGORY(ERRCODE_INSUFFICIENT_RESOURCES) ||
		category == ERRCODE_TO_CATEGORY(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE) ||
		category == ERRCODE_TO_CATEGORY(ERRCODE_SYSTEM_ERROR) ||
		(category == ERRCODE_TO_CATEGORY(ERRCODE_OPERATOR_INTERVENTION) && sqlstate != ERRCODE_QUERY_CANCELED);
}

/* The hashes of documents that arrived. */
static void
settle_arrived(SyncRound *round)
{
	JflowParams params = {0};
	Datum	   *keys = palloc(sizeof(Datum) * Max(round->nrows, 1));
	Datum	   *hashes = palloc(sizeof(Datum) * Max(round->nrows, 1));
	int			n = 0;

	for (int i = 0; i < round->nrows; i++)
	{
		if (round->rows[i].failed || round->rows[i].doc == (Datum) 0)
			continue;
		keys[n] = round->rows[i].key;
		hashes[n++] = Int64GetDatum(round->rows[i].hash);
	}
	if (n == 0)
		return;
	jflow_param_int(&params, round->sync->id);
	sync_param_texts(&params, keys, n);
	jflow_param(&params, INT8ARRAYOID,
				PointerGetDatum(construct_array(hashes, n, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE)),
				false);
	(void) sync_statement("UPDATE jflow.sync_row r SET hash = v.hash, due = NULL, attempts = 0, failed = NULL, "
						  "sqlstate = NULL, message = NULL FROM (SELECT (SELECT ctid FROM jflow.sync_row "
						  "WHERE sync = $1 AND key = u.key) AS tid, u.hash "
						  "FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) u (key, hash) OFFSET 0) v "
						  "WHERE r.ctid = v.tid", &params);
}

static void
settle_deleted(SyncRound *round)
{
	JflowParams params = {0};
	Datum	   *keys = palloc(sizeof(Datum) * Max(round->nrows, 1));
	int			n = 0;

	for (int i = 0; i < round->nrows; i++)
		if (!round->rows[i].failed && round->rows[i].doc == (Datum) 0)
			keys[n++] = round->rows[i].key;
	if (n == 0)
		return;
	jflow_param_int(&params, round->sync->id);
	sync_param_texts(&params, keys, n);
	(void) sync_statement("DELETE FROM jflow.sync_row WHERE ctid = ANY (ARRAY(SELECT (SELECT ctid FROM jflow.sync_row "
						  "WHERE sync = $1 AND key = k) FROM pg_catalog.unnest($2) k))", &params);
}

/* When a row that has failed so often is due again. */
static TimestampTz
due_again(int attempts)
{
	int64		ms = Min(INT64CONST(1000) << Min(attempts - 1, 20), MAX_BACKOFF_MS);

	/* not all at once that have failed together */
	ms += (int64) pg_prng_uint64_range(&pg_global_prng_state, 0, ms / 4);
	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms);
}

/* A row has failed. */
static void
fail(SyncRound *round, const SyncRow *row, int attempts, TimestampTz due)
{
	JflowParams params = {0};

	jflow_param_int(&params, round->sync->id);
	jflow_param(&params, TEXTOID, row->key, false);
	jflow_param_int(&params, attempts);
	sync_param_time(&params, due);
	sync_param_time(&params, GetCurrentTimestamp());
	jflow_param_text(&params, unpack_sql_state(row->sqlstate));
	jflow_param_text(&params, row->message);
	(void) sync_statement("UPDATE jflow.sync_row SET attempts = $3, due = $4, failed = $5, sqlstate = $6, message = $7 "
						  "WHERE sync = $1 AND key = $2", &params);
}

/* The error of a row that says nothing about it, and so is the sync's. */
static void
keep_error(SyncRound *round, const SyncRow *row)
{
	round->error = palloc0(sizeof(ErrorData));
	round->error->elevel = ERROR;
	round->error->sqlerrcode = row->sqlstate;
	round->error->message = row->message;
	round->error->hint = row->hint;
}

/*
 * What becomes of a row that has failed; docs/sync.md has the table.  Returns
 * whether its error is the sync's.
 */
static bool
settle_failed(SyncRound *round, const SyncRow *row)
{
	int			retries = round->sync->retries;
	int			attempts = row->attempts + 1;
	bool		passing = !row->of_doc && passes(row->sqlstate);

	if (passing && round->arrived > 0)
	{
		attempts = Min(attempts, Max(retries, 1));
		fail(round, row, attempts, due_again(attempts));
	}
	else if (row->of_doc || (!passing && (round->arrived > 0 || round->nrows == 1)))
		fail(round, row, attempts, attempts > retries ? DT_NOEND : due_again(attempts));
	else
		return true;
	return false;
}

/* Rows that are tried again with the others, once the sync has waited. */
static void
put_off(SyncRound *round, const Datum *keys, int n, int64 ms)
{
	JflowParams params = {0};

	if (n == 0)
		return;
	jflow_param_int(&params, round->sync->id);
	sync_param_texts(&params, keys, n);
	sync_param_time(&params, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms));
	(void) sync_statement("UPDATE jflow.sync_row SET due = $3 WHERE ctid = ANY (ARRAY(SELECT (SELECT ctid FROM jflow.sync_row "
						  "WHERE sync = $1 AND key = k) FROM pg_catalog.unnest($2) k))", &params);
}

/*
 * Note what became of what was posted.  If the round's error is left behind, the
 * sync waits for "wait_ms", and then others come before those that have failed.
 */
void
sync_settle(SyncRound *round, int64 wait_ms)
{
	MemoryContext old = MemoryContextSwitchTo(round->context);
	JflowCatalogState state;
	Datum	   *keys = palloc(sizeof(Datum) * Max(round->nrows, 1));
	int			n = 0;

	for (int i = 0; i < round->nrows; i++)
		round->arrived += !round->rows[i].failed;
	jflow_catalog_begin(&state);
	settle_arrived(round);
	settle_deleted(round);
	MemoryContextSwitchTo(round->context);
	for (int i = 0; i < round->nrows; i++)
	{
		const SyncRow *row = &round->rows[i];

		CHECK_FOR_INTERRUPTS();
		if (!row->failed || !settle_failed(round, row))
			continue;
		keys[n++] = row->key;
		if (round->error == NULL)
			keep_error(round, row);
	}
	put_off(round, keys, n, wait_ms + 1000);
	jflow_catalog_end(&state);
	MemoryContextSwitchTo(old);
}

/*
 * What was on its way when a round ended badly is due again.  Nothing is on its way
 * now.  Looks at all rows of the sync.
 */
void
sync_recover(const Sync *sync)
{
	JflowCatalogState state;
	JflowParams params = {0};

	jflow_param_int(&params, sync->id);
	jflow_catalog_begin(&state);
	(void) jflow_catalog_run("UPDATE jflow.sync_row SET due = pg_catalog.now() "
							 "WHERE sync = $1 AND hash IS NULL AND due IS NULL", &params);
	jflow_catalog_end(&state);
	CommandCounterIncrement();
}

/* When the next row that has failed is due; DT_NOEND: none. */
TimestampTz
sync_next_due(const Sync *sync)
{
	JflowCatalogState state;
	JflowParams params = {0};
	TimestampTz result = DT_NOEND;
	bool		isnull;

	jflow_param_int(&params, sync->id);
	jflow_catalog_begin(&state);
	if (sync_statement("SELECT due FROM jflow.sync_row WHERE sync = $1 AND due < 'infinity' "
					   "ORDER BY due LIMIT 1", &params) > 0)
		result = DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	jflow_catalog_end(&state);
	return result;
}
