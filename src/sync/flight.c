/*
 * flight.c
 *		What is on its way to a store, and what becomes of it when a round ends badly.
 *
 * While a key is in flight its row of sync_row, if there is one, says what the store
 * had before.  So a round writes to each of them once, when the documents have
 * arrived, and one row of sync_flight for all of them before.
 *
 * A document whose post crashes the server would do that for ever.  So what was on its
 * way when it crashed is suspect, and posted apart from others, a part of them at a time;
 * of what was alone that counts as a failure.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "sync/sync.h"

/* What was on its way at a crash goes again in so many parts. */
#define SUSPECT_PARTS 8

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

/* Write down which rows of a round are on their way. */
void
sync_flight_begin(SyncRound *round)
{
	JflowCatalogState state;
	JflowParams params = {0};
	Datum	   *keys = palloc(sizeof(Datum) * Max(round->nrows, 1));
	Datum	   *due = palloc(sizeof(Datum) * Max(round->nrows, 1));
	int			changed = 0;
	int			nkeys = 0;
	int			ndue = 0;

	for (int i = 0; i < round->nrows; i++)
	{
		const SyncRow *row = &round->rows[i];

		changed += row->changed;
		if (row->in_flight)
			keys[nkeys++] = row->key;
		else if (!row->failed)
			due[ndue++] = row->key;
	}
	if (nkeys + ndue == 0)
		return;
	round->claimed = GetCurrentTimestamp();
	jflow_param_int(&params, round->sync->id);
	sync_param_time(&params, round->claimed);
	jflow_param_int(&params, changed);
	jflow_param(&params, TIMESTAMPTZOID, TimestampTzGetDatum(round->oldest), changed == 0);
	sync_param_texts(&params, keys, nkeys);
	sync_param_texts(&params, due, ndue);
	jflow_catalog_begin(&state);
	(void) jflow_catalog_run("INSERT INTO jflow.sync_flight (sync, claimed, changed, oldest, keys, due) "
							 "VALUES ($1, $2, $3, $4, $5, $6)", &params);
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
 * Suspect what was on its way when the server crashed; returns how many rows that are.
 * A row that was alone has failed, but not set aside by one crash, which may be another's.
 * Between jflow_catalog_begin and _end.
 */
static int
suspect(const Sync *sync)
{
	JflowParams params = {0};

	jflow_param_int(&params, sync->id);
	sync_param_time(&params, jflow_shared->crashed);
	jflow_param_int(&params, Max(sync->retries, 1));
	jflow_param_text(&params, unpack_sql_state(SYNC_SUSPECT));
	jflow_param_int(&params, SYNC_MAX_BACKOFF_MS / 1000);
	return (int) sync_statement("UPDATE jflow.sync_row r SET sqlstate = $4, failed = pg_catalog.now(), "
								"message = 'the server crashed while the row was on its way', "
								"attempts = attempts + CASE WHEN f.alone THEN 1 ELSE 0 END, "
								"due = CASE WHEN NOT f.alone THEN due WHEN attempts >= $3 THEN 'infinity' "
								"ELSE pg_catalog.now() + least(2.0 ^ least(attempts, 30), $5) * interval '1 s' END "
								"FROM (SELECT pg_catalog.unnest(keys || due) AS key, "
								"pg_catalog.cardinality(keys) + pg_catalog.cardinality(due) = 1 AS alone "
								"FROM jflow.sync_flight WHERE sync = $1 AND claimed < $2) f "
								"WHERE r.sync = $1 AND r.key = f.key AND r.due IS NOT NULL", &params);
}

/* Are there rows that are suspect, and not set aside?  Between jflow_catalog_begin and _end. */
bool
sync_any_suspects(const Sync *sync)
{
	JflowParams params = {0};

	jflow_param_int(&params, sync->id);
	jflow_param_text(&params, unpack_sql_state(SYNC_SUSPECT));
	return sync_statement("SELECT FROM jflow.sync_row WHERE sync = $1 AND due < 'infinity' AND sqlstate = $2 LIMIT 1",
						  &params) > 0;
}

/*
 * What was on its way when a round ended badly is due again.  Nothing is on its way
 * now.  Returns how many suspects may go together; 0: there are none.
 */
int
sync_recover(const Sync *sync)
{
	JflowCatalogState state;
	JflowParams params = {0};
	int			n = 0;
	bool		any;

	jflow_param_int(&params, sync->id);
	jflow_catalog_begin(&state);
	(void) sync_statement("INSERT INTO jflow.sync_row AS r (sync, key, due) "
						  "SELECT $1, k, coalesce(pg_catalog.min(f.oldest), pg_catalog.now()) "
						  "FROM jflow.sync_flight f CROSS JOIN LATERAL pg_catalog.unnest(f.keys) k WHERE f.sync = $1 "
						  "GROUP BY k ON CONFLICT (sync, key) DO UPDATE SET hash = NULL, due = excluded.due, attempts = 0, "
						  "failed = NULL, sqlstate = NULL, message = NULL", &params);
	if (jflow_shared && jflow_shared->crashed != DT_NOBEGIN)
		n = suspect(sync);
	(void) sync_statement("DELETE FROM jflow.sync_flight WHERE sync = $1", &params);
	any = n > 0 || sync_any_suspects(sync);
	jflow_catalog_end(&state);
	CommandCounterIncrement();
	return any ? Max(n / SUSPECT_PARTS, 1) : 0;
}
