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

#define LOOK_SHARE 20			/* see SyncLook */

/* The first and the last of the times that a statement has selected; of none they stay what they are. */
static void
selected_times(int column, TimestampTz *first, TimestampTz *last)
{
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		TimestampTz at = DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, column, &isnull));

		*first = Min(*first, at);
		*last = Max(*last, at);
	}
}

/* A row with a key, whose document is looked for. */
typedef struct Wanted
{
	Datum		key;
	int			attempts;
	bool		changed;		/* the queue has told of it */
} Wanted;

/* By key; what the queue has told comes first. */
static int
wanted_order(const void *a, const void *b)
{
	const Wanted *wa = a;
	const Wanted *wb = b;
	int			order = jflow_text_order(wa->key, wb->key);

	return order != 0 ? order : (int) wb->changed - (int) wa->changed;
}

/* Keys that the queue has told of, in the round's context. */
typedef struct Changed
{
	Datum	   *keys;
	int			n;
	uint64		taken;			/* entries */
	bool		all;			/* rows may have changed */
} Changed;

/* Take entries that are not older than a time. */
static void
take_entries(SyncRound *round, int limit, TimestampTz from, TimestampTz *last, Changed *changed)
{
	JflowCatalogState state;
	JflowParams params = {0};
	Datum	   *keys;
	int			n;

	jflow_param_int(&params, round->sync->id);
	jflow_param_int(&params, limit - (int) changed->taken);
	sync_param_time(&params, from);
	jflow_catalog_begin(&state);
	changed->taken += sync_statement("DELETE FROM jflow.sync_queue WHERE ctid = ANY (ARRAY("
									 "SELECT ctid FROM jflow.sync_queue WHERE sync = $1 AND changed >= $3 "
									 "ORDER BY changed LIMIT $2)) RETURNING key, changed", &params);
	keys = sync_selected_texts(round->context, 1, &n, &changed->all);
	selected_times(2, &round->oldest, last);
	jflow_catalog_end(&state);
	CommandCounterIncrement();
	if (changed->n == 0)
		changed->keys = keys;
	else if (n > 0)
	{
		changed->keys = repalloc(changed->keys, sizeof(Datum) * (changed->n + n));
		memcpy(changed->keys + changed->n, keys, sizeof(Datum) * n);
	}
	changed->n += n;
}

/* Look into the queue as the worker does. */
static void
look(SyncRound *round, int limit, TimestampTz now, Changed *changed)
{
	SyncLook	everywhere = {0};
	SyncLook   *how = round->look ? round->look : &everywhere;

	how->at_all = now >= how->all_at;
	if (!how->at_all)
	{
		take_entries(round, limit, how->from, &how->from, changed);
		if (changed->taken >= limit || !how->thorough)
			return;
		how->at_all = true;
		now = GetCurrentTimestamp();
	}
	take_entries(round, limit, DT_NOBEGIN, &how->from, changed);
	how->from = Min(how->from, now);	/* the clock may have been set back */
	how->all_at = now + (GetCurrentTimestamp() - now) * LOOK_SHARE;
}

/*
 * Take entries from the queue, into the round's context.  Their keys are due since the
 * first of them has changed; that all may have changed means a sweep.
 */
static Wanted *
take_queue(SyncRound *round, int limit, TimestampTz now, int *n)
{
	Sync	   *sync = round->sync;
	Changed		changed = {0};
	Datum	   *keys;
	Wanted	   *wanted;

	round->oldest = now;
	look(round, limit, now, &changed);
	keys = changed.keys;
	qsort(keys, changed.n, sizeof(Datum), jflow_texts_order);
	*n = qunique(keys, changed.n, sizeof(Datum), jflow_texts_order);
	wanted = MemoryContextAllocZero(round->context, sizeof(Wanted) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		wanted[i].key = keys[i];
		wanted[i].changed = true;
	}
	round->more |= changed.taken == limit;
	if (changed.all)
		sync_set_phase(sync, sync->phase == PHASE_FILL ? PHASE_COMPARE : sync->phase == PHASE_FOLLOW ? PHASE_SWEEP : sync->phase,
					   sync->phase == PHASE_SWEEP || sync->phase == PHASE_FOLLOW || sync->position == NULL ? (Datum) 0 :
					   CStringGetTextDatum(sync->position));
	return wanted;
}

/* Rows of sync_row that are due, in the round's context; *early of them since before the queue's. */
static Wanted *
select_due(SyncRound *round, int limit, TimestampTz now, int *n, int *early)
{
	JflowCatalogState state;
	JflowParams params = {0};
	Wanted	   *wanted;
	MemoryContext old;
	bool		isnull;

	jflow_param_int(&params, round->sync->id);
	sync_param_time(&params, now);
	jflow_param_int(&params, limit);
	jflow_param_text(&params, unpack_sql_state(SYNC_SUSPECT));
	jflow_catalog_begin(&state);
	*n = (int) sync_statement("SELECT key, attempts, due FROM jflow.sync_row WHERE sync = $1 "
							  "AND due <= $2 AND sqlstate IS DISTINCT FROM $4 ORDER BY due LIMIT $3", &params);
	old = MemoryContextSwitchTo(round->context);
	wanted = palloc0(sizeof(Wanted) * Max(*n, 1));
	*early = 0;
	for (int i = 0; i < *n; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;

		wanted[i].key = PointerGetDatum(DatumGetTextPCopy(SPI_getbinval(tuple, desc, 1, &isnull)));
		wanted[i].attempts = DatumGetInt32(SPI_getbinval(tuple, desc, 2, &isnull));
		*early += DatumGetTimestampTz(SPI_getbinval(tuple, desc, 3, &isnull)) <= round->oldest;
	}
	MemoryContextSwitchTo(old);
	jflow_catalog_end(&state);
	return wanted;
}

/* What has been taken from the queue and is not of the round is due. */
static void
put_back(SyncRound *round, const Wanted *wanted, int n)
{
	JflowCatalogState state;
	Datum	   *keys = palloc(sizeof(Datum) * Max(n, 1));
	int			back = 0;

	for (int i = 0; i < n; i++)
		if (wanted[i].changed)
			keys[back++] = wanted[i].key;
	round->put_back |= back > 0;
	jflow_catalog_begin(&state);
	sync_unset_hashes(round->sync, keys, back, round->oldest);
	jflow_catalog_end(&state);
}

/*
 * What has changed and what is due, at most so many rows, the oldest first; in the
 * order of the key, each once, in the round's context.
 */
static Wanted *
select_wanted(SyncRound *round, int limit, TimestampTz now, int *n)
{
	int			nchanged,
				ndue,
				early;
	Wanted	   *changed = take_queue(round, limit, now, &nchanged);
	Wanted	   *due = select_due(round, limit, now, &ndue, &early);
	int			taken = Min(nchanged, limit - early);
	int			late = Min(ndue - early, limit - early - taken);
	Wanted	   *wanted = MemoryContextAlloc(round->context, sizeof(Wanted) * Max(early + taken + late, 1));
	int			kept = 0;

	round->more |= ndue == limit || taken < nchanged || late < ndue - early;
	put_back(round, changed + taken, nchanged - taken);
	memcpy(wanted, due, sizeof(Wanted) * (early + late));
	memcpy(wanted + early + late, changed, sizeof(Wanted) * taken);
	*n = early + late + taken;
	qsort(wanted, *n, sizeof(Wanted), wanted_order);

	/* a row that changes begins anew */
	for (int i = 0; i < *n; i++)
		if (kept == 0 || jflow_text_order(wanted[kept - 1].key, wanted[i].key) != 0)
			wanted[kept++] = wanted[i];
	*n = kept;
	return wanted;
}

/*
 * Read some of what is wanted; what is not found is to be deleted, unless bytes have
 * ended the reading.  Returns false in that case: only what was found is of the
 * round, and of the rest nobody knows.
 */
static bool
read_wanted(SyncRound *round, const SyncSource *source, const Wanted *wanted, int n, Size max)
{
	SyncRow    *rows = sync_round_room(round, n);
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
		rows[kept].attempts = wanted[i].attempts;
		rows[kept].changed = rows[kept].in_flight = wanted[i].changed;
		kept++;
		if (row && row->doc)
			round->bytes += VARSIZE(DatumGetPointer(row->doc));
	}
	round->nrows += kept;
	MemoryContextSwitchTo(old);

	/* all found are rows of other ids; at last it is one key, read for sure */
	if (!all && kept == 0)
		(void) read_wanted(round, source, wanted, n / 2, max);
	return all;
}

/* Those of what was wanted that the round has not, since it has enough. */
static int
left_over(const SyncRound *round, Wanted *wanted, int n)
{
	int			left = 0;

	for (int i = 0; i < n; i++)
	{
		SyncRow		row = {.key = wanted[i].key};

		if (bsearch(&row, round->rows, round->nrows, sizeof(SyncRow), sync_row_order) == NULL)
			wanted[left++] = wanted[i];
	}
	return left;
}

/* Claim what has changed and what is due; the round has its rows in the order of the key. */
static void
claim_due(SyncRound *round, const SyncSource *source, int limit, TimestampTz now)
{
	int			n;
	Wanted	   *wanted = select_wanted(round, limit, now, &n);
	int			step = round->sync->batch;

	for (int i = 0; i < n;)
	{
		int			some = Min(step, n - i);

		CHECK_FOR_INTERRUPTS();
		if (sync_round_bytes_left(round) == 0 || !read_wanted(round, source, wanted + i, some, sync_round_bytes_left(round)))
		{
			put_back(round, wanted, left_over(round, wanted, n));
			round->more = true; /* the rest stays due */
			break;
		}
		i += some;
		step = sync_next_step(step);
	}
}

/*
 * Suspects that are due, as many as the round may have, in the order of the key; one that
 * has failed by itself is alone.
 */
static Wanted *
select_suspects(SyncRound *round, TimestampTz now, int *n)
{
	JflowCatalogState state;
	JflowParams params = {0};
	Wanted	   *wanted = MemoryContextAllocZero(round->context, sizeof(Wanted) * round->suspects);
	bool		alone = false;
	uint64		nfound;
	bool		isnull;

	*n = 0;
	jflow_param_int(&params, round->sync->id);
	jflow_param_text(&params, unpack_sql_state(SYNC_SUSPECT));
	sync_param_time(&params, now);
	jflow_param_int(&params, round->suspects);
	jflow_catalog_begin(&state);
	nfound = sync_statement("SELECT key, attempts FROM jflow.sync_row WHERE sync = $1 AND due <= $3 "
							"AND sqlstate = $2 ORDER BY attempts, due LIMIT $4", &params);
	for (uint64 i = 0; i < nfound && !alone; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		int			attempts = DatumGetInt32(SPI_getbinval(tuple, desc, 2, &isnull));
		MemoryContext old;

		alone = attempts > 0;
		if (alone && i > 0)
			break;
		old = MemoryContextSwitchTo(round->context);
		wanted[*n].key = PointerGetDatum(DatumGetTextPCopy(SPI_getbinval(tuple, desc, 1, &isnull)));
		wanted[(*n)++].attempts = attempts;
		MemoryContextSwitchTo(old);
	}
	if (nfound == 0 && !sync_any_suspects(round->sync))
		round->suspects = 0;
	jflow_catalog_end(&state);
	qsort(wanted, *n, sizeof(Wanted), wanted_order);
	return wanted;
}

/* Claim suspects alone; the next round is one of others. */
static void
claim_suspects(SyncRound *round, const SyncSource *source, TimestampTz now)
{
	int			n;
	Wanted	   *wanted = select_suspects(round, now, &n);

	if (n > 0)
		(void) read_wanted(round, source, wanted, n, sync_round_bytes_left(round));
	round->more = true;
}

/* Claim rows with some keys, different or not, in the round's context. */
void
sync_claim_keys(SyncRound *round, Datum *keys, int n)
{
	MemoryContext old = MemoryContextSwitchTo(round->context);
	SyncSource *source = sync_source_open(round->sync);
	Wanted	   *wanted;

	qsort(keys, n, sizeof(Datum), jflow_texts_order);
	n = qunique(keys, n, sizeof(Datum), jflow_texts_order);
	wanted = palloc0(sizeof(Wanted) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		wanted[i].key = keys[i];
		wanted[i].changed = true;
	}
	if (n > 0)
		(void) read_wanted(round, source, wanted, n, SIZE_MAX);
	MemoryContextSwitchTo(old);
}

/* Claim what has changed, what is due, and what a comparison finds. */
static void
claim_others(SyncRound *round, const SyncSource *source, int limit, TimestampTz now)
{
	claim_due(round, source, limit, now);
	if (round->sync->phase == PHASE_SWEEP)
		sync_sweep(round, source, now);
	else if (round->sync->phase != PHASE_FOLLOW && round->nrows < limit)
		sync_compare(round, source, limit);
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

	round->limit = limit;
	if (round->suspects > 0)
		claim_suspects(round, source, now);
	else
		claim_others(round, source, limit, now);
	sync_flight_begin(round);
	MemoryContextSwitchTo(old);
}

/*
 * Rows that wait for an error that was the sync's, not theirs, are due: it may have
 * passed.  So are those that wait for longer than any does, since the clock has been
 * set back.
 */
void
sync_hasten(const Sync *sync)
{
	JflowCatalogState state;
	JflowParams params = {0};

	jflow_param_int(&params, sync->id);
	sync_param_time(&params, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), 2 * SYNC_MAX_BACKOFF_MS));
	jflow_catalog_begin(&state);
	(void) jflow_catalog_run("UPDATE jflow.sync_row SET due = pg_catalog.now() "
							 "WHERE sync = $1 AND due > pg_catalog.now() AND due < 'infinity' AND (attempts = 0 OR due > $2)", &params);
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
		sync_statement("SELECT FROM jflow.sync_flight WHERE sync = $1 LIMIT 1", &params) == 0 &&
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
