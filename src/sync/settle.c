/*
 * settle.c
 *		A round's end: note what became of what was posted.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "compat.h"
#include "sync/sync.h"

#define INSERT_AT_ONCE 100

/* Columns of jflow.sync_row, counted from 0, as far as they are written directly. */
enum
{
	ROW_SYNC,
	ROW_KEY,
	ROW_HASH,
	ROW_ATTEMPTS = 4
};

/* Has the document of a row arrived, and is it to be noted in this way? */
static bool
is_arrived(const SyncRow *row, bool fresh, bool missed)
{
	return !row->failed && row->doc != (Datum) 0 && row->fresh == fresh && row->missed == missed;
}

static void
insert_slots(ResultRelInfo *target, EState *estate, TupleTableSlot **slots, int n)
{
	if (n == 0)
		return;
	table_multi_insert(target->ri_RelationDesc, slots, n, GetCurrentCommandId(true), 0, NULL);
	for (int i = 0; i < n; i++)
	{
		(void) exec_insert_index_tuples_compat(target, estate, slots[i]);
		ResetPerTupleExprContext(estate);
	}
}

/*
 * Write the rows that sync_row has not, as COPY would: to insert them one by one by a
 * statement takes half as long again.  Only this round could write them.
 */
static void
insert_fresh(SyncRound *round)
{
	Relation	table = table_open(jflow_catalog_relid("sync_row"), RowExclusiveLock);
	EState	   *estate = CreateExecutorState();
	ResultRelInfo *target = makeNode(ResultRelInfo);
	TupleTableSlot *slots[INSERT_AT_ONCE] = {NULL};
	int			n = 0;

	InitResultRelInfo(target, table, 0, NULL, 0);
	ExecOpenIndices(target, false);
	for (int i = 0; i < round->nrows; i++)
	{
		const SyncRow *row = &round->rows[i];
		TupleTableSlot *slot;

		if (!is_arrived(row, true, false))
			continue;
		if (slots[n] == NULL)
			slots[n] = MakeSingleTupleTableSlot(RelationGetDescr(table), &TTSOpsVirtual);
		slot = ExecClearTuple(slots[n++]);
		memset(slot->tts_isnull, true, sizeof(bool) * slot->tts_tupleDescriptor->natts);
		slot->tts_values[ROW_SYNC] = Int32GetDatum(round->sync->id);
		slot->tts_values[ROW_KEY] = row->key;
		slot->tts_values[ROW_HASH] = Int64GetDatum(row->hash);
		slot->tts_values[ROW_ATTEMPTS] = Int32GetDatum(0);
		slot->tts_isnull[ROW_SYNC] = slot->tts_isnull[ROW_KEY] = slot->tts_isnull[ROW_HASH] = slot->tts_isnull[ROW_ATTEMPTS] = false;
		ExecStoreVirtualTuple(slot);
		if (n < INSERT_AT_ONCE)
			continue;
		CHECK_FOR_INTERRUPTS();
		insert_slots(target, estate, slots, n);
		n = 0;
	}
	insert_slots(target, estate, slots, n);
	for (int i = 0; i < INSERT_AT_ONCE && slots[i]; i++)
		ExecDropSingleTupleTableSlot(slots[i]);
	ExecCloseIndices(target);
	FreeExecutorState(estate);
	table_close(table, NoLock);
	CommandCounterIncrement();
}

/*
 * Note the hashes of some documents that have arrived by a statement, of rows that
 * sync_row has or, as it turned out, has not; returns its number of rows.
 */
static uint64
settle_some(SyncRound *round, bool missed, const char *sql)
{
	JflowParams params = {0};
	Datum	   *keys = palloc(sizeof(Datum) * Max(round->nrows, 1));
	Datum	   *hashes = palloc(sizeof(Datum) * Max(round->nrows, 1));
	int			n = 0;

	for (int i = 0; i < round->nrows; i++)
	{
		const SyncRow *row = &round->rows[i];

		if (!is_arrived(row, false, missed))
			continue;
		keys[n] = row->key;
		hashes[n++] = Int64GetDatum(row->hash);
	}
	if (n == 0)
		return 0;
	jflow_param_int(&params, round->sync->id);
	sync_param_texts(&params, keys, n);
	jflow_param(&params, INT8ARRAYOID,
				PointerGetDatum(construct_array(hashes, n, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE)),
				false);
	return sync_statement(sql, &params);
}

/* Rows that are known to sync_row by their keys, which a statement has returned; others were missed. */
static void
find_missed(SyncRound *round, uint64 nfound)
{
	bool		isnull;

	for (int i = 0; i < round->nrows; i++)
		round->rows[i].missed = round->rows[i].in_flight && !round->rows[i].fresh;
	for (uint64 i = 0; i < nfound; i++)
	{
		SyncRow		found = {.key = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull)};
		SyncRow    *row = bsearch(&found, round->rows, round->nrows, sizeof(SyncRow), sync_row_order);

		if (row)
			row->missed = false;
	}
}

/* The hashes of documents that have arrived. */
static void
settle_arrived(SyncRound *round)
{
	uint64		nfound;

	insert_fresh(round);
	nfound = settle_some(round, false, "UPDATE jflow.sync_row r SET hash = v.hash, due = NULL, attempts = 0, failed = NULL, "
						 "sqlstate = NULL, message = NULL FROM (SELECT (SELECT ctid FROM jflow.sync_row "
						 "WHERE sync = $1 AND key = u.key) AS tid, u.hash "
						 "FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) u (key, hash) OFFSET 0) v "
						 "WHERE r.ctid = v.tid RETURNING r.key");
	find_missed(round, nfound);
	(void) settle_some(round, true, "INSERT INTO jflow.sync_row AS r (sync, key, hash) SELECT $1, u.key, u.hash "
					   "FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) u (key, hash) ON CONFLICT (sync, key) "
					   "DO UPDATE SET hash = excluded.hash, due = NULL, attempts = 0, failed = NULL, sqlstate = NULL, message = NULL");
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
	int64		ms = Min(INT64CONST(1000) << Min(attempts - 1, 20), SYNC_MAX_BACKOFF_MS);

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

/*
 * The error of a row that says nothing about it, and so is the sync's.  It outlives
 * the connection to SPI, in whose memory we are behind a statement.
 */
static void
keep_error(SyncRound *round, const SyncRow *row)
{
	round->error = MemoryContextAllocZero(round->context, sizeof(ErrorData));
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
	bool		passing = !row->of_doc && sync_error_passes(row->sqlstate);

	if (passing && (round->arrived > 0 || row->attempts > 0))
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
	sync_flight_end(round);
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
