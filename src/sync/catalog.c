/*
 * catalog.c
 *		Syncs as the catalog has them, and statements on our tables.
 *
 * The tables belong to the owner of the extension, and statements on them run
 * with his rights: callers check rights first.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "runtime/control/workers.h"
#include "sync/sync.h"

/* Columns of jflow.sync and jflow.sync_state, as far as they are read by scan. */
enum
{
	Anum_sync_name = 1,
	Anum_sync_id,
	Anum_sync_flow,
	Anum_sync_mode = 8
};

enum
{
	Anum_state_sync = 1,
	Anum_state_system,
	Anum_state_database,
	Anum_state_paused
};

static const char *const mode_names[] = {"live", "manual", "immediate"};
static const char *const phase_names[] = {"fill", "compare", "sweep", "follow"};

/* The number of a word in a list of ours; -1: none. */
static int
number_of(const char *word, const char *const *words, int n)
{
	for (int i = 0; i < n; i++)
		if (strcmp(word, words[i]) == 0)
			return i;
	return -1;
}

/* What a word means as a mode.  Raises invalid_parameter_value. */
SyncMode
sync_mode_of(const char *word)
{
	int			mode = number_of(word, mode_names, lengthof(mode_names));

	if (mode < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("mode \"%s\" of a sync is unknown", word),
				 errhint("It is live, manual or immediate.")));
	return (SyncMode) mode;
}

/*
 * Run a SELECT between jflow_catalog_begin and _end that sees what is committed now,
 * also where the transaction's own snapshot is older: a writer whose snapshot knows
 * no sync yet fires its triggers all the same.
 */
static uint64
select_latest(const char *sql, JflowParams *params)
{
	int			result;

	if (!IsolationUsesXactSnapshot() || IsInParallelMode())
		return jflow_catalog_run(sql, params);
	PushActiveSnapshot(GetLatestSnapshot());
	result = SPI_execute_with_args(sql, params->n, params->types, params->values,
								   params->nulls, true, 0);
	PopActiveSnapshot();
	if (result != SPI_OK_SELECT)
		elog(ERROR, "statement on the jflow catalog failed: %s", SPI_result_code_string(result));
	return SPI_processed;
}

/* The tables grow faster than anybody analyzes them, so plans are those for large ones: by index. */
static int
begin_statement(void)
{
	static const char *const settings[] = {
		"enable_seqscan", "enable_hashjoin", "enable_mergejoin", "enable_bitmapscan", "jit"
	};
	int			guc_level = NewGUCNestLevel();

	for (int i = 0; i < lengthof(settings); i++)
		(void) set_config_option(settings[i], "off", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	return guc_level;
}

/* Run a statement between jflow_catalog_begin and _end. */
uint64
sync_statement(const char *sql, JflowParams *params)
{
	int			guc_level = begin_statement();
	uint64		n = jflow_catalog_run(sql, params);

	AtEOXact_GUC(true, guc_level);
	return n;
}

/* The same for a SELECT that is to see what is committed now. */
uint64
sync_select(const char *sql, JflowParams *params)
{
	int			guc_level = begin_statement();
	uint64		n = select_latest(sql, params);

	AtEOXact_GUC(true, guc_level);
	return n;
}

/* Add a text[] to a statement's parameters. */
void
sync_param_texts(JflowParams *params, const Datum *texts, int n)
{
	ArrayType  *array = n == 0 ? construct_empty_array(TEXTOID) :
		construct_array((Datum *) texts, n, TEXTOID, -1, false, TYPALIGN_INT);

	jflow_param(params, TEXTARRAYOID, PointerGetDatum(array), false);
}

/* Add a time. */
void
sync_param_time(JflowParams *params, TimestampTz at)
{
	jflow_param(params, TIMESTAMPTZOID, TimestampTzGetDatum(at), false);
}

/* Add what tells where we are. */
static void
param_here(JflowParams *params)
{
	jflow_param(params, INT8OID, Int64GetDatum((int64) GetSystemIdentifier()), false);
	jflow_param(params, INT8OID, Int64GetDatum((int64) MyDatabaseId), false);
}

static Datum
selected(int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, isnull);
}

static char *
selected_text(MemoryContext context, int column)
{
	char	   *value = jflow_catalog_value(0, column);

	return value ? MemoryContextStrdup(context, value) : NULL;
}

static Jsonb *
copy_json(MemoryContext context, Datum value)
{
	Jsonb	   *json = DatumGetJsonbP(value);
	Jsonb	   *copy = MemoryContextAlloc(context, VARSIZE(json));

	memcpy(copy, json, VARSIZE(json));
	return copy;
}

/* The sync that a condition on $3 selects, in the current memory context, or NULL. */
static Sync *
read_where(const char *condition, JflowParams *params)
{
	MemoryContext context = CurrentMemoryContext;
	JflowCatalogState state;
	Sync	   *sync = NULL;
	bool		isnull;

	jflow_catalog_begin(&state);
	if (select_latest(psprintf("SELECT s.id, s.name, s.flow, s.source::pg_catalog.oid, s.key, s.columns, "
							   "s.endpoint, s.mode, s.batch, s.retries, s.in_place, t.paused, p.phase, p.position, "
							   "f.stands_for, s.uses_with, s.skip_failed "
							   "FROM jflow.sync s LEFT JOIN jflow.sync_state t ON t.sync = s.id "
							   "AND t.system_identifier = $1 AND t.database = $2 "
							   "LEFT JOIN jflow.sync_progress p ON p.sync = s.id "
							   "LEFT JOIN jflow.flow f ON f.flow = s.flow WHERE %s", condition),
					  params) > 0)
	{
		char	   *phase;
		Datum		json;

		sync = MemoryContextAllocZero(context, sizeof(Sync));
		sync->id = DatumGetInt32(selected(1, &isnull));
		sync->name = selected_text(context, 2);
		sync->flow = selected_text(context, 3);
		sync->source = DatumGetObjectId(selected(4, &isnull));
		sync->key = selected_text(context, 5);
		sync->endpoint = selected_text(context, 7);
		sync->mode = sync_mode_of(jflow_catalog_value(0, 8));
		sync->batch = DatumGetInt32(selected(9, &isnull));
		sync->retries = DatumGetInt32(selected(10, &isnull));
		sync->in_place = DatumGetBool(selected(11, &isnull));
		sync->paused = DatumGetBool(selected(12, &isnull));
		sync->here = !isnull;
		phase = jflow_catalog_value(0, 13);
		sync->phase = phase ? (SyncPhase) number_of(phase, phase_names, lengthof(phase_names)) : PHASE_COMPARE;
		sync->position = selected_text(context, 14);
		sync->stands_for = selected_text(context, 15);
		sync->skip_failed = DatumGetBool(selected(17, &isnull));
		sync->columns = copy_json(context, selected(6, &isnull));
		json = selected(16, &isnull);
		if (!isnull)
			sync->uses_with = copy_json(context, json);
	}
	jflow_catalog_end(&state);
	return sync;
}

/* Raise undefined_object for a sync. */
void
sync_unknown(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("sync \"%s\" does not exist", name),
			 errhint("Make one with jflow_sync.")));
}

/* A sync by name, or an error; does not check rights. */
Sync *
sync_read(const char *name, bool missing_ok)
{
	JflowParams params = {0};
	Sync	   *sync;

	param_here(&params);
	jflow_param_text(&params, name);
	sync = read_where("s.name = $3", &params);
	if (sync == NULL && !missing_ok)
		sync_unknown(name);
	return sync;
}

/* A sync by number, or NULL. */
Sync *
sync_read_id(int id)
{
	JflowParams params = {0};

	param_here(&params);
	jflow_param_int(&params, id);
	return read_where("s.id = $3", &params);
}

/* The sync of a flow, or NULL. */
Sync *
sync_of_flow(const char *flow)
{
	JflowParams params = {0};

	param_here(&params);
	jflow_param_text(&params, flow);
	return read_where("s.flow = $3", &params);
}

/* The sync that fills a store to be exchanged with a flow's, or NULL. */
Sync *
sync_stand_in(const char *flow)
{
	JflowParams params = {0};

	param_here(&params);
	jflow_param_text(&params, flow);
	return read_where("f.stands_for = $3", &params);
}

/*
 * The syncs of a flow whose worker is wanted here.  By scan, as scouts read: they
 * run as a superuser, and no operator or plan of anybody's shall run with that.
 */
List *
sync_wanted(const char *flow)
{
	Relation	syncs = table_open(jflow_catalog_relid("sync"), AccessShareLock);
	Relation	states = table_open(jflow_catalog_relid("sync_state"), AccessShareLock);
	SysScanDesc scan = systable_beginscan(syncs, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;
	List	   *result = NIL;
	bool		isnull;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		TupleDesc	desc = RelationGetDescr(syncs);
		ScanKeyData keys[3];
		SysScanDesc state_scan;
		HeapTuple	state;

		if (strcmp(TextDatumGetCString(heap_getattr(tuple, Anum_sync_flow, desc, &isnull)), flow) != 0 ||
			strcmp(TextDatumGetCString(heap_getattr(tuple, Anum_sync_mode, desc, &isnull)),
				   mode_names[SYNC_IMMEDIATE]) == 0)
			continue;
		ScanKeyInit(&keys[0], Anum_state_sync, BTEqualStrategyNumber, F_INT4EQ,
					heap_getattr(tuple, Anum_sync_id, desc, &isnull));
		ScanKeyInit(&keys[1], Anum_state_system, BTEqualStrategyNumber, F_INT8EQ,
					Int64GetDatum((int64) GetSystemIdentifier()));
		ScanKeyInit(&keys[2], Anum_state_database, BTEqualStrategyNumber, F_INT8EQ,
					Int64GetDatum((int64) MyDatabaseId));
		state_scan = systable_beginscan(states, InvalidOid, false, NULL, 3, keys);
		state = systable_getnext(state_scan);
		if (HeapTupleIsValid(state) &&
			!DatumGetBool(heap_getattr(state, Anum_state_paused, RelationGetDescr(states), &isnull)))
		{
			JflowWantedSync *sync = palloc(sizeof(JflowWantedSync));

			sync->id = DatumGetInt32(heap_getattr(tuple, Anum_sync_id, desc, &isnull));
			sync->name = TextDatumGetCString(heap_getattr(tuple, Anum_sync_name, desc, &isnull));
			result = lappend(result, sync);
		}
		systable_endscan(state_scan);
	}
	systable_endscan(scan);
	table_close(states, AccessShareLock);
	table_close(syncs, AccessShareLock);
	return result;
}

/* Raise an error if there is a sync of the name ($1) or flow ($2) of a new one. */
static void
check_unique(const Sync *sync, JflowParams *params)
{
	if (select_latest("SELECT name FROM jflow.sync WHERE name = $1", params) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("sync \"%s\" already exists", sync->name)));
	if (select_latest("SELECT name FROM jflow.sync WHERE flow = $2", params) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("flow \"%s\" is in step with a table already", sync->flow),
				 errdetail("Its sync is \"%s\".", jflow_catalog_value(0, 1)),
				 errhint("A store holds the rows of one table: give the other one a flow of its own.")));
}

/*
 * Write a new sync, which gets its number: one that none ever had, since a queue may
 * still hold keys of one that is gone, and so larger than that of a sync whose place
 * it is to take.  Waits for who makes or forgets one of the same name or flow, and for
 * nobody else.
 */
void
sync_insert(Sync *sync)
{
	JflowCatalogState state;
	JflowParams params = {0};
	bool		isnull;

	jflow_catalog_begin(&state);
	jflow_param_text(&params, sync->name);
	jflow_param_text(&params, sync->flow);
	jflow_param(&params, OIDOID, ObjectIdGetDatum(sync->source), false);
	jflow_param_text(&params, sync->key);
	jflow_param_jsonb(&params, sync->columns);
	jflow_param_text(&params, sync->endpoint);
	jflow_param_text(&params, mode_names[sync->mode]);
	jflow_param_int(&params, sync->batch);
	jflow_param_int(&params, sync->retries);
	jflow_param_bool(&params, sync->in_place);
	jflow_param_jsonb(&params, sync->uses_with);
	jflow_param_bool(&params, sync->skip_failed);
	while (jflow_catalog_run("INSERT INTO jflow.sync (name, id, flow, source, key, columns, endpoint, mode, "
							 "batch, retries, in_place, uses_with, skip_failed) VALUES ($1, "
							 "pg_catalog.nextval('jflow.sync_number'), "
							 "$2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) "
							 "ON CONFLICT DO NOTHING RETURNING id", &params) == 0)
	{
		CHECK_FOR_INTERRUPTS();
		/* what was in the way may be gone again */
		check_unique(sync, &params);
	}
	sync->id = DatumGetInt32(selected(1, &isnull));
	jflow_catalog_end(&state);
	CommandCounterIncrement();
}

/*
 * Raise an error where the transaction's snapshot is older than what others have
 * written to the queue: that could not be deleted.
 */
static void
check_isolation(const Sync *sync)
{
	if (!IsolationUsesXactSnapshot())
		return;
	ereport(ERROR,
			(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
			 errmsg("sync \"%s\" cannot be forgotten or replaced in a transaction of this isolation level", sync->name),
			 errdetail("The transaction does not see what others have changed since it began."),
			 errhint("Use the isolation level READ COMMITTED.")));
}

/*
 * Forget a sync and all that we have of it.  Its definition goes first: that waits for
 * who has appended keys to the queue to have them tried again.
 */
void
sync_delete(const Sync *sync)
{
	static const char *const statements[] = {
		"DELETE FROM jflow.sync WHERE id = $1",
		"DELETE FROM jflow.sync_state WHERE sync = $1",
		"DELETE FROM jflow.sync_progress WHERE sync = $1",
		"DELETE FROM jflow.sync_queue WHERE sync = $1",
		"DELETE FROM jflow.sync_flight WHERE sync = $1",
		"DELETE FROM jflow.sync_row WHERE sync = $1"
	};
	JflowCatalogState state;
	JflowParams params = {0};

	check_isolation(sync);
	jflow_param_int(&params, sync->id);
	jflow_catalog_begin(&state);
	for (int i = 0; i < lengthof(statements); i++)
		(void) jflow_catalog_run(statements[i], &params);
	jflow_catalog_end(&state);
}

/*
 * Let one sync be another: it gets its name, flow and mode, and the other is
 * forgotten as above, but for its rows, which may be many.
 */
void
sync_take_place(const Sync *stand_in, const Sync *sync)
{
	static const char *const statements[] = {
		"DELETE FROM jflow.sync WHERE id = $1",
		"UPDATE jflow.sync_state SET paused = (SELECT paused FROM jflow.sync_state o WHERE o.sync = $1 "
		"AND o.system_identifier = sync_state.system_identifier AND o.database = sync_state.database) "
		"WHERE sync = $2 AND EXISTS (SELECT FROM jflow.sync_state o WHERE o.sync = $1 "
		"AND o.system_identifier = sync_state.system_identifier AND o.database = sync_state.database)",
		"DELETE FROM jflow.sync_state WHERE sync = $1",
		"DELETE FROM jflow.sync_progress WHERE sync = $1",
		"DELETE FROM jflow.sync_queue WHERE sync = $1",
		"DELETE FROM jflow.sync_flight WHERE sync = $1",
		"UPDATE jflow.sync_progress SET sqlstate = NULL, message = NULL, hint = NULL, failed = NULL WHERE sync = $2",
		"UPDATE jflow.sync SET name = $3, flow = $4, mode = $5, uses_with = NULL, skip_failed = false WHERE id = $2"
	};
	JflowCatalogState state;
	JflowParams params = {0};

	check_isolation(sync);
	jflow_param_int(&params, sync->id);
	jflow_param_int(&params, stand_in->id);
	jflow_param_text(&params, sync->name);
	jflow_param_text(&params, sync->flow);
	jflow_param_text(&params, mode_names[sync->mode]);
	jflow_catalog_begin(&state);
	for (int i = 0; i < lengthof(statements); i++)
		(void) jflow_catalog_run(statements[i], &params);
	jflow_catalog_end(&state);
	CommandCounterIncrement();
}

/* Forget the rows of a sync that is gone. */
void
sync_forget_rows(int id)
{
	JflowCatalogState state;
	JflowParams params = {0};

	jflow_param_int(&params, id);
	jflow_catalog_begin(&state);
	(void) jflow_catalog_run("DELETE FROM jflow.sync_row WHERE sync = $1", &params);
	jflow_catalog_end(&state);
}

/* How many rows have been set aside that the other sync has brought to its store. */
uint64
sync_missing(const Sync *stand_in, const Sync *sync)
{
	JflowCatalogState state;
	JflowParams params = {0};
	uint64		n;

	jflow_param_int(&params, stand_in->id);
	jflow_param_int(&params, sync->id);
	jflow_catalog_begin(&state);
	n = sync_statement("SELECT FROM jflow.sync_row s WHERE s.sync = $1 AND s.due = 'infinity' "
					   "AND NOT EXISTS (SELECT FROM jflow.sync_row r WHERE r.sync = $2 AND r.key = s.key "
					   "AND r.attempts > 0)", &params);
	jflow_catalog_end(&state);
	return n;
}

/* Say that a sync is at work here. */
void
sync_set_state(const Sync *sync, bool paused)
{
	JflowCatalogState state;
	JflowParams params = {0};

	param_here(&params);
	jflow_param_int(&params, sync->id);
	jflow_param_bool(&params, paused);
	jflow_catalog_begin(&state);
	(void) jflow_catalog_run("DELETE FROM jflow.sync_state WHERE sync = $3 AND NOT "
							 "(system_identifier = $1 AND database = $2)", &params);
	(void) jflow_catalog_run("INSERT INTO jflow.sync_state AS t (system_identifier, database, sync, paused) "
							 "VALUES ($1, $2, $3, $4) ON CONFLICT (sync, system_identifier, database) "
							 "DO UPDATE SET paused = excluded.paused", &params);
	jflow_catalog_end(&state);
	CommandCounterIncrement();
}

/* How far rows have been compared; "position" is a text, 0: at the start. */
void
sync_set_phase(Sync *sync, SyncPhase phase, Datum position)
{
	JflowCatalogState state;
	JflowParams params = {0};

	jflow_param_int(&params, sync->id);
	jflow_param_text(&params, phase_names[phase]);
	jflow_param(&params, TEXTOID, position, position == (Datum) 0);
	jflow_catalog_begin(&state);
	(void) jflow_catalog_run("INSERT INTO jflow.sync_progress AS p (sync, phase, position) VALUES ($1, $2, $3) "
							 "ON CONFLICT (sync) DO UPDATE SET phase = excluded.phase, position = excluded.position",
							 &params);
	jflow_catalog_end(&state);
	sync->phase = phase;
	sync->position = position == (Datum) 0 ? NULL : TextDatumGetCString(position);
	CommandCounterIncrement();
}

/* Keep the last error, or (NULL) forget it. */
void
sync_note_error(const Sync *sync, const ErrorData *error)
{
	JflowCatalogState state;
	JflowParams params = {0};

	jflow_param_int(&params, sync->id);
	jflow_param_text(&params, error ? unpack_sql_state(error->sqlerrcode) : NULL);
	jflow_param_text(&params, error ? error->message : NULL);
	jflow_param_text(&params, error ? error->hint : NULL);
	jflow_param(&params, TIMESTAMPTZOID, TimestampTzGetDatum(GetCurrentTimestamp()), error == NULL);
	jflow_catalog_begin(&state);
	(void) jflow_catalog_run("UPDATE jflow.sync_progress SET sqlstate = $2, message = $3, hint = $4, failed = $5 "
							 "WHERE sync = $1", &params);
	jflow_catalog_end(&state);
}

#define MAX_HELD 2

static LOCKTAG held[MAX_HELD];	/* by the session */
static int	nheld = 0;

/*
 * The lock of a sync, which is taken before all others: as a session (a worker,
 * for a round) or until the transaction ends.  Waits.  Who takes two takes that of
 * the smaller number first.  Nobody writes to the rows of sync_row of a sync without.
 */
void
sync_lock(int id, bool session)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, jflow_catalog_relid("sync"), (Oid) id, 0);
	(void) LockAcquire(&tag, ExclusiveLock, session, false);
	if (!session)
		return;
	Assert(nheld < MAX_HELD);
	held[nheld++] = tag;
}

/* A transaction was aborted, and took the session's locks with it. */
void
sync_locks_lost(void)
{
	nheld = 0;
}

/* Give back the lock that the session took last, within a transaction or not. */
void
sync_unlock(void)
{
	Assert(nheld > 0);
	(void) LockRelease(&held[--nheld], ExclusiveLock, true);
}
