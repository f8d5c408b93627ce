/*
 * claim.c
 *		A round's beginning: claim what is to be posted.
 *
 * A round is to claim, to post (post.c) and to settle (settle.c), each in a
 * transaction of its own by the worker, or all in one by a trigger.  What a claim
 * has committed says what a crash before the end of the round leaves to be done.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/qunique.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "common/text.h"
#include "compat.h"
#include "sync/sync.h"

#define MAX_ROUND_BYTES (16 * 1024 * 1024)	/* of documents */
#define MAX_STEP 3200			/* rows */
#define SWEEP_ROWS 10000

/* Of a round's rows, by key. */
int
sync_row_order(const void *a, const void *b)
{
	return jflow_text_order(((const SyncRow *) a)->key, ((const SyncRow *) b)->key);
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
 * infinity's other end, of the round that is to settle them in this transaction.
 */
void
sync_unset_hashes(const Sync *sync, const Datum *keys, int n, TimestampTz due)
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

/* The earliest of the times that a statement has selected, but no later than now. */
static TimestampTz
earliest(int column, TimestampTz now)
{
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;

		now = Min(now, DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, column, &isnull)));
	}
	return now;
}

/*
 * Take entries from the queue.  Their keys become due, since the first of them has
 * changed; that all may have changed means a sweep.
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
						   "RETURNING key, changed", &params);
	keys = selected_texts(round->context, 1, &n, &all);
	now = earliest(2, now);
	qsort(keys, n, sizeof(Datum), jflow_texts_order);
	n = qunique(keys, n, sizeof(Datum), jflow_texts_order);
	sync_unset_hashes(sync, keys, n, now);
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
	qsort(wanted, *n, sizeof(Wanted), jflow_texts_order);	/* the key comes first */
	return wanted;
}

/*
 * Read some of what is wanted; what is not found is to be deleted, unless the bytes
 * have ended the reading.  Returns false in that case: only what was found is of the
 * round, and of the rest nobody knows.
 */
static bool
read_wanted(SyncRound *round, const SyncSource *source, const Wanted *wanted, int n, Size max)
{
	SyncRow    *rows = more_rows(round, n);
	SyncRow    *found = palloc(sizeof(SyncRow) * n);
	Datum	   *keys = palloc(sizeof(Datum) * n);
	MemoryContext old = MemoryContextSwitchTo(round->context);
	int			kept = 0;
	int			nfound;
	bool		all;

	for (int i = 0; i < n; i++)
		keys[i] = wanted[i].key;
	nfound = sync_source_read(source, keys, n, max, found, &all);
	qsort(found, nfound, sizeof(SyncRow), sync_row_order);
	for (int i = 0; i < n; i++)
	{
		SyncRow		wanted_row = {.key = wanted[i].key};
		SyncRow    *row = bsearch(&wanted_row, found, nfound, sizeof(SyncRow), sync_row_order);

		if (row == NULL && !all)
			continue;
		rows[kept] = row ? *row : wanted_row;
		rows[kept++].attempts = wanted[i].attempts;
		if (row)
			round->bytes += VARSIZE(DatumGetPointer(row->doc));
	}
	round->nrows += kept;
	MemoryContextSwitchTo(old);

	/* all found are rows of other ids; at last it is one key, read for sure */
	if (!all && kept == 0)
		(void) read_wanted(round, source, wanted, n / 2, max);
	return all;
}

/* How many rows to read at once next: more and more, since each reading costs a plan. */
static int
next_step(int step)
{
	return Max(step, Min(step * 2, MAX_STEP));
}

/* How many bytes of documents a round may still get. */
static Size
bytes_left(const SyncRound *round)
{
	return round->bytes < MAX_ROUND_BYTES ? MAX_ROUND_BYTES - round->bytes : 0;
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

		CHECK_FOR_INTERRUPTS();
		if (bytes_left(round) == 0 || !read_wanted(round, source, wanted + i, some, bytes_left(round)))
		{
			round->more = true; /* the rest stays due */
			break;
		}
		i += some;
		step = next_step(step);
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
	qsort(rows, n, sizeof(SyncRow), sync_row_order);
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
		SyncRow    *row = bsearch(&known, rows, n, sizeof(SyncRow), sync_row_order);

		/* what has no hash is due, or will be, without our doing */
		if (row && (isnull || row->hash == hash))
			row->failed = true;
		else if (row)
			row->known = true;
	}
	jflow_catalog_end(&state);
	for (int i = 0; i < n; i++)
	{
		if (rows[i].failed)
			continue;
		rows[kept] = rows[i];
		rows[kept++].in_flight = true;
	}
	return kept;
}

/* Compare some rows of the source; claims what differs.  Returns whether that was the end. */
static bool
compare_some(SyncRound *round, const SyncSource *source, int step)
{
	Sync	   *sync = round->sync;
	SyncRow    *rows = more_rows(round, step);
	MemoryContext old = MemoryContextSwitchTo(round->context);
	bool		all;
	int			n = sync_source_scan(source, sync->position, step, bytes_left(round), rows, &all);
	Datum		last = n > 0 ? rows[n - 1].key : (Datum) 0;
	bool		end = all && n < step;
	int			kept = leave_out_known(sync, rows, n);

	for (int i = 0; i < kept; i++)
		round->bytes += VARSIZE(DatumGetPointer(rows[i].doc));
	round->nrows += kept;
	if (!end)
		sync->position = TextDatumGetCString(last);
	MemoryContextSwitchTo(old);
	return end;
}

/*
 * Write down what the round has found by comparison.  One row for all of them costs
 * less than to write each of sync_row twice.
 */
static void
note_flight(SyncRound *round)
{
	JflowCatalogState state;
	JflowParams params = {0};
	Datum	   *keys = palloc(sizeof(Datum) * Max(round->nrows, 1));
	int			n = 0;

	for (int i = 0; i < round->nrows; i++)
		if (round->rows[i].in_flight)
			keys[n++] = round->rows[i].key;
	round->in_flight = n > 0;
	if (n == 0)
		return;
	jflow_param_int(&params, round->sync->id);
	sync_param_texts(&params, keys, n);
	jflow_catalog_begin(&state);
	(void) jflow_catalog_run("INSERT INTO jflow.sync_flight (sync, keys) VALUES ($1, $2)", &params);
	jflow_catalog_end(&state);
}

static void
compare(SyncRound *round, const SyncSource *source, int limit)
{
	Sync	   *sync = round->sync;
	int			step = Min(sync->batch, limit);
	bool		end = false;

	round->compared = true;
	if (bytes_left(round) == 0)
	{
		round->more = true;
		return;
	}
	while (!end && round->nrows < limit && bytes_left(round) > 0)
	{
		CHECK_FOR_INTERRUPTS();
		end = compare_some(round, source, step);
		step = next_step(step);
	}
	note_flight(round);
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

	round->compared = true;
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
	qsort(found, nfound, sizeof(Datum), jflow_texts_order);
	for (int i = 0; i < n; i++)
		if (bsearch(&keys[i], found, nfound, sizeof(Datum), jflow_texts_order) == NULL)
			keys[gone++] = keys[i];
	jflow_catalog_begin(&state);
	sync_unset_hashes(sync, keys, gone, now);
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

	qsort(keys, n, sizeof(Datum), jflow_texts_order);
	n = qunique(keys, n, sizeof(Datum), jflow_texts_order);
	jflow_catalog_begin(&state);
	sync_unset_hashes(round->sync, keys, n, DT_NOBEGIN);
	jflow_catalog_end(&state);
	wanted = palloc0(sizeof(Wanted) * Max(n, 1));
	for (int i = 0; i < n; i++)
		wanted[i].key = keys[i];
	if (n > 0)
		(void) read_wanted(round, source, wanted, n, SIZE_MAX);
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

/*
 * What was on its way when a round ended badly is due again.  Nothing is on its way
 * now.
 */
void
sync_recover(const Sync *sync)
{
	JflowCatalogState state;
	JflowParams params = {0};

	jflow_param_int(&params, sync->id);
	jflow_catalog_begin(&state);
	(void) sync_statement("INSERT INTO jflow.sync_row AS r (sync, key, due) SELECT $1, k, pg_catalog.now() "
						  "FROM jflow.sync_flight f CROSS JOIN LATERAL pg_catalog.unnest(f.keys) k WHERE f.sync = $1 "
						  "ON CONFLICT (sync, key) DO UPDATE SET hash = NULL, due = excluded.due, attempts = 0, "
						  "failed = NULL, sqlstate = NULL, message = NULL", &params);
	(void) sync_statement("DELETE FROM jflow.sync_flight WHERE sync = $1", &params);
	jflow_catalog_end(&state);
	CommandCounterIncrement();
}

/*
 * Rows that wait for an error that was the sync's, not theirs, are due: it may have
 * passed.
 */
void
sync_hasten(const Sync *sync)
{
	JflowCatalogState state;
	JflowParams params = {0};

	jflow_param_int(&params, sync->id);
	jflow_catalog_begin(&state);
	(void) jflow_catalog_run("UPDATE jflow.sync_row SET due = pg_catalog.now() "
							 "WHERE sync = $1 AND due > pg_catalog.now() AND due < 'infinity' AND attempts = 0", &params);
	jflow_catalog_end(&state);
	CommandCounterIncrement();
}

/*
 * Is the sync done with all that was changed before a time?  Rows that have failed are
 * due later.
 */
bool
sync_has_followed(int id, TimestampTz before)
{
	JflowCatalogState state;
	JflowParams params = {0};
	bool		result;

	jflow_param_int(&params, id);
	sync_param_time(&params, before);
	jflow_catalog_begin(&state);
	result = sync_statement("SELECT FROM jflow.sync_progress WHERE sync = $1 AND phase = 'follow'", &params) > 0 &&
		sync_statement("SELECT FROM jflow.sync_queue WHERE sync = $1 AND changed <= $2 LIMIT 1", &params) == 0 &&
		sync_statement("SELECT FROM jflow.sync_row WHERE sync = $1 AND due <= $2 LIMIT 1", &params) == 0;
	jflow_catalog_end(&state);
	return result;
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
