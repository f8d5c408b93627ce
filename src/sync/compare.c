/*
 * compare.c
 *		What a comparison of a source with what the store is known to have finds.
 *
 * First the rows of the source, in the order of the key, then the keys that the
 * store has.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "common/text.h"
#include "common/xact.h"
#include "compat.h"
#include "sync/sync.h"

#define MAX_AHEAD_BYTES (SYNC_ROUND_BYTES / 2)
#define AHEAD_LOCK_TIMEOUT "10ms"
#define SWEEP_ROWS 10000

/*
 * What sync_row has of some keys, which are sorted, between jflow_catalog_begin and
 * _end.  The keys of rows that follow one another in the source mostly do here, too,
 * or are not there yet: then all between the first and the last are read, which costs
 * much less than to look for each.
 */
static void
look_up(SyncRound *round, const Datum *keys, int n)
{
	JflowParams params = {0};
	int			limit = n * 2;

	jflow_param_int(&params, round->sync->id);
	if (!round->scattered)
	{
		JflowParams range = params;

		jflow_param(&range, TEXTOID, keys[0], false);
		jflow_param(&range, TEXTOID, keys[n - 1], false);
		jflow_param_int(&range, limit);
		round->scattered = sync_statement("SELECT key, hash FROM jflow.sync_row WHERE sync = $1 "
										  "AND key >= $2 AND key <= $3 LIMIT $4", &range) == limit;
		if (!round->scattered)
			return;
	}
	sync_param_texts(&params, keys, n);
	(void) sync_statement("SELECT r.key, r.hash FROM pg_catalog.unnest($2) k CROSS JOIN LATERAL "
						  "(SELECT key, hash FROM jflow.sync_row WHERE sync = $1 AND key = k OFFSET 0) r", &params);
}

/* The first rows of a round, in the order of the key. */
typedef struct First
{
	const SyncRound *round;
	int			n;
} First;

static bool
is_among(const SyncRow *row, const First *first)
{
	return bsearch(row, first->round->rows, first->n, sizeof(SyncRow), sync_row_order) != NULL;
}

/*
 * Of rows that were scanned, leave those that the store may not have, and that are not
 * among others, which have changed, are due or on their way.
 */
static int
leave_out_known(SyncRound *round, const First *others, SyncRow *rows, int n)
{
	JflowCatalogState state;
	Datum	   *keys = palloc(sizeof(Datum) * Max(n, 1));
	int			kept = 0;

	if (n == 0)
		return 0;
	qsort(rows, n, sizeof(SyncRow), sync_row_order);
	for (int i = 0; i < n; i++)
	{
		keys[i] = rows[i].key;
		rows[i].fresh = true;
		rows[i].in_flight = !is_among(&rows[i], others);
	}
	jflow_catalog_begin(&state);
	look_up(round, keys, n);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		SyncRow		known = {.key = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull)};
		int64		hash = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull));
		SyncRow    *row = bsearch(&known, rows, n, sizeof(SyncRow), sync_row_order);

		if (row == NULL)
			continue;
		row->fresh = false;
		/* what has no hash is due, or will be, without our doing */
		if (isnull || row->hash == hash)
			row->in_flight = false;
	}
	jflow_catalog_end(&state);
	for (int i = 0; i < n; i++)
		if (rows[i].in_flight)
			rows[kept++] = rows[i];
	return kept;
}

/*
 * Compare some rows of the source; claims what differs, behind the rows that the round
 * has, but for others.  Returns how many rows were looked at.
 */
static int
compare_some(SyncRound *round, const First *others, const SyncSource *source, int step, Size max)
{
	Sync	   *sync = round->sync;
	SyncRow    *rows = sync_round_room(round, step);
	MemoryContext old = MemoryContextSwitchTo(round->context);
	bool		all;
	int			n = sync_source_scan(source, sync->position, step, max, rows, &all);
	Datum		last = n > 0 ? rows[n - 1].key : (Datum) 0;
	int			kept;

	round->end = all && n < step;
	if (!round->end)
		sync->position = TextDatumGetCString(last);
	kept = leave_out_known(round, others, rows, n);
	for (int i = 0; i < kept; i++)
		if (rows[i].doc)
			round->bytes += VARSIZE(DatumGetPointer(rows[i].doc));
	round->nrows += kept;
	MemoryContextSwitchTo(old);
	return n;
}

/* Is one of the rows of a round, from a number on, one that could not be read? */
static bool
any_unread(const SyncRound *round, int first)
{
	for (int i = first; i < round->nrows; i++)
		if (round->rows[i].failed)
			return true;
	return false;
}

/*
 * What sync_read_ahead does; all but its memory is undone.  Rows that cannot be read in
 * this way may well be by the claim, so it ends before them.
 */
static void
read_ahead(void *arg)
{
	SyncRound  *round = arg;
	SyncRound  *next = round->next;
	First		others = {round, round->nrows};
	Sync	   *sync = MemoryContextAlloc(next->context, sizeof(Sync));
	SyncSource *source;
	int			step = round->sync->batch;
	int			n = 0;

	/* what a cast would write is the claim's to write */
	XactReadOnly = true;
	(void) set_config_option("lock_timeout", AHEAD_LOCK_TIMEOUT, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	PushActiveSnapshot(GetTransactionSnapshot());
	sync_check_source(round->sync);
	source = sync_source_open(round->sync);
	*sync = *round->sync;
	next->sync = sync;
	while (!next->end && n < round->limit && next->bytes < MAX_AHEAD_BYTES)
	{
		char	   *position = sync->position;
		int			before = next->nrows;
		Size		bytes = next->bytes;
		int			some;

		CHECK_FOR_INTERRUPTS();
		some = compare_some(next, &others, source, step, MAX_AHEAD_BYTES - next->bytes);
		if (any_unread(next, before))
		{
			next->nrows = before;
			next->bytes = bytes;
			next->end = false;
			sync->position = position;
			break;
		}
		n += some;
		step = sync_next_step(step);
	}
	if (n > 0)
		next->from = MemoryContextStrdup(next->context, round->sync->position);
	PopActiveSnapshot();
}

/*
 * While the post of a round is out, whose rows are in the order of the key, compare what
 * the next one is to.  Of what changes after that the queue tells, and its keys come
 * first, so these documents are as good as if they were read by the claim.  What
 * cannot be done now, or not without waiting, is left to the claim.
 */
void
sync_read_ahead(SyncRound *round)
{
	SyncRound  *next = round->next;
	MemoryContext old;

	if (next == NULL || next->sync || round->suspects > 0 || round->sync->position == NULL ||
		(round->sync->phase != PHASE_FILL && round->sync->phase != PHASE_COMPARE) ||
		round->bytes > 2 * SYNC_ROUND_BYTES || TransactionIdIsValid(GetTopTransactionIdIfAny()))
		return;
	old = MemoryContextSwitchTo(next->context);
	(void) jflow_try_look(read_ahead, round, sync_error_ends_reading);
	MemoryContextSwitchTo(old);
}

/*
 * Take what has been read ahead, but for others that were claimed since, if nobody has
 * changed how far rows have been compared.  Nothing that has changed may be due alone:
 * that it is, the reading did not see.
 */
static bool
take_ahead(SyncRound *round, const First *claimed)
{
	const SyncRound *ahead = round->ahead;
	Sync	   *sync = round->sync;
	SyncRow    *rows;
	int			kept = 0;

	if (ahead == NULL || round->put_back || round->bytes > MAX_AHEAD_BYTES ||
		ahead->sync->phase != sync->phase || sync->position == NULL || strcmp(ahead->from, sync->position) != 0)
		return false;
	rows = sync_round_room(round, ahead->nrows);
	for (int i = 0; i < ahead->nrows; i++)
		if (!is_among(&ahead->rows[i], claimed))
			rows[kept++] = ahead->rows[i];
	round->nrows += kept;
	round->bytes += ahead->bytes;
	round->end = ahead->end;
	sync->position = ahead->sync->position;
	return true;
}

/* Compare rows of the source until the round has enough of them. */
void
sync_compare(SyncRound *round, const SyncSource *source, int limit)
{
	Sync	   *sync = round->sync;
	int			step = Min(sync->batch, limit);
	First		claimed = {round, round->nrows};

	round->compared = true;
	if (sync_round_bytes_left(round) == 0)
	{
		round->more = true;
		return;
	}
	if (!take_ahead(round, &claimed))
		while (!round->end && round->nrows < limit && sync_round_bytes_left(round) > 0)
		{
			CHECK_FOR_INTERRUPTS();
			(void) compare_some(round, &claimed, source, step, sync_round_bytes_left(round));
			step = sync_next_step(step);
		}
	if (round->end)
		sync_set_phase(sync, sync->phase == PHASE_FILL ? PHASE_FOLLOW : PHASE_SWEEP, (Datum) 0);
	else
		sync_set_phase(sync, sync->phase, CStringGetTextDatum(sync->position));
	round->more |= !round->end || sync->phase == PHASE_SWEEP;
}

/* Look through keys that the store has: those that the source has not are due. */
void
sync_sweep(SyncRound *round, const SyncSource *source, TimestampTz now)
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
	keys = sync_selected_texts(round->context, 1, &n, &none);
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
