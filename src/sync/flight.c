/*
 * flight.c
 *		What is on its way to a store, and what becomes of it when a round ends badly.
 *
 * While a key is in flight its row of sync_row, if there is one, says what the store
 * had before.  So a round writes to each of them once, when the documents have
 * arrived, and one row of sync_flight for all of them before.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "sync/sync.h"

/*
 * Say that nobody knows what the store has of some keys.  They are due then or, at
 * infinity's other end, of the round that is to settle them in this transaction.
 * Between jflow_catalog_begin and _end.
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

/* Write down which rows of a round are in flight. */
void
sync_flight_begin(SyncRound *round)
{
	JflowCatalogState state;
	JflowParams params = {0};
	Datum	   *keys = palloc(sizeof(Datum) * Max(round->nrows, 1));
	int			changed = 0;
	int			n = 0;

	for (int i = 0; i < round->nrows; i++)
	{
		const SyncRow *row = &round->rows[i];

		if (!row->in_flight)
			continue;
		keys[n++] = row->key;
		changed += row->changed;
	}
	if (n == 0)
		return;
	round->claimed = GetCurrentTimestamp();
	jflow_param_int(&params, round->sync->id);
	sync_param_time(&params, round->claimed);
	jflow_param_int(&params, changed);
	jflow_param(&params, TIMESTAMPTZOID, TimestampTzGetDatum(round->oldest), changed == 0);
	sync_param_texts(&params, keys, n);
	jflow_catalog_begin(&state);
	(void) jflow_catalog_run("INSERT INTO jflow.sync_flight (sync, claimed, changed, oldest, keys) "
							 "VALUES ($1, $2, $3, $4, $5)", &params);
	jflow_catalog_end(&state);
}

/*
 * What was in flight has come down: rows that have failed are to be in sync_row now.
 * Between jflow_catalog_begin and _end.
 */
void
sync_flight_end(SyncRound *round)
{
	JflowParams params = {0};
	Datum	   *keys = palloc(sizeof(Datum) * Max(round->nrows, 1));
	int			n = 0;

	for (int i = 0; i < round->nrows; i++)
		if (round->rows[i].failed && round->rows[i].in_flight)
			keys[n++] = round->rows[i].key;
	sync_unset_hashes(round->sync, keys, n, DT_NOBEGIN);
	if (round->claimed == 0)
		return;
	jflow_param_int(&params, round->sync->id);
	sync_param_time(&params, round->claimed);
	(void) sync_statement("DELETE FROM jflow.sync_flight WHERE sync = $1 AND claimed = $2", &params);
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
	(void) sync_statement("INSERT INTO jflow.sync_row AS r (sync, key, due) "
						  "SELECT $1, k, coalesce(pg_catalog.min(f.oldest), pg_catalog.now()) "
						  "FROM jflow.sync_flight f CROSS JOIN LATERAL pg_catalog.unnest(f.keys) k WHERE f.sync = $1 "
						  "GROUP BY k ON CONFLICT (sync, key) DO UPDATE SET hash = NULL, due = excluded.due, attempts = 0, "
						  "failed = NULL, sqlstate = NULL, message = NULL", &params);
	(void) sync_statement("DELETE FROM jflow.sync_flight WHERE sync = $1", &params);
	jflow_catalog_end(&state);
	CommandCounterIncrement();
}
