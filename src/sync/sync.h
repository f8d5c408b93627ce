/*
 * sync.h
 *		Tables that are kept in step with a flow.
 *
 * Files, each of which calls only those before it: catalog.c reads and writes our
 * tables; error.c says whose an error is; source.c says what a source must be, and
 * read.c reads its rows as documents; trigger.c makes and drops the triggers of a
 * source; round.c holds the rows of a round; flight.c writes down what is on its way;
 * compare.c finds what the store may not have; claim.c, post.c and settle.c are a
 * round; worker.c runs rounds; immediate.c is a round inside of a writer's statement;
 * changed.c is what the triggers call; exchange.c lets a sync take another's place;
 * define.c, control.c and resync.c have the SQL functions.
 *
 * docs/sync.md says why nothing is lost, and the order of locks.
 */
#ifndef JFLOW_SYNC_H
#define JFLOW_SYNC_H

#include "storage/lock.h"
#include "utils/jsonb.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "doc/doc.h"
#include "flow/flow.h"
#include "runtime/shared/shmem.h"

#define SYNC_MAX_BATCH 10000
#define SYNC_MAX_RETRIES 100
#define SYNC_MAX_BACKOFF_MS 300000	/* of a row, without what tells rows apart */
#define SYNC_ROUND_BYTES (16 * 1024 * 1024) /* of documents, about */
#define SYNC_MAX_KEY 2048		/* bytes of a text in the index of sync_row */

/* In sync_row, of what was on its way when the server crashed. */
#define SYNC_SUSPECT ERRCODE_CRASH_SHUTDOWN

typedef enum SyncMode
{
	SYNC_LIVE,
	SYNC_MANUAL,
	SYNC_IMMEDIATE
} SyncMode;

/* How far rows have been compared; see docs/sync.md. */
typedef enum SyncPhase
{
	PHASE_FILL,					/* rows of the source, for the first time */
	PHASE_COMPARE,				/* the same, and a sweep follows */
	PHASE_SWEEP,				/* keys that the source may not have */
	PHASE_FOLLOW
} SyncPhase;

/* A sync, as read from the catalog. */
typedef struct Sync
{
	int			id;
	char	   *name;
	char	   *flow;
	Oid			source;
	char	   *key;			/* column */
	Jsonb	   *columns;
	char	   *endpoint;
	SyncMode	mode;
	int			batch;
	int			retries;
	bool		in_place;		/* the source is the store */
	char	   *stands_for;		/* a flow: it shall take the place of that
								 * one's sync; or NULL */
	Jsonb	   *uses_with;		/* what changes then, or NULL */
	bool		skip_failed;	/* then rows that have failed may be missing */

	bool		here;			/* it is at work in this database */
	bool		paused;
	SyncPhase	phase;
	char	   *position;		/* NULL: nothing compared yet */
} Sync;

/* One row of a round. */
typedef struct SyncRow
{
	Datum		key;			/* text */
	Datum		doc;			/* 0: the source has no such row */
	int64		hash;			/* of the document */
	int			attempts;		/* that failed before */
	bool		changed;		/* the queue has told of it */
	bool		in_flight;		/* sync_row does not say that it is on its
								 * way, but sync_flight */
	bool		fresh;			/* sync_row has no such key */
	bool		missed;			/* nor has it, as it turned out */
	bool		failed;
	bool		of_doc;			/* the error is the document's own */
	int			sqlstate;
	char	   *message;
	char	   *hint;
} SyncRow;

/* catalog.c */
extern SyncMode sync_mode_of(const char *word);
extern void sync_unknown(const char *name) JFLOW_NORETURN;
extern Sync *sync_read(const char *name, bool missing_ok);
extern Sync *sync_read_id(int id);
extern Sync *sync_of_flow(const char *flow);
extern void sync_insert(Sync *sync);
extern void sync_delete(const Sync *sync);
extern Sync *sync_stand_in(const char *flow);
extern void sync_take_place(const Sync *stand_in, const Sync *sync);
extern void sync_forget_rows(int id);
extern uint64 sync_missing(const Sync *stand_in, const Sync *sync);
extern void sync_set_state(const Sync *sync, bool paused);
extern void sync_set_phase(Sync *sync, SyncPhase phase, Datum position);
extern void sync_note_error(const Sync *sync, const ErrorData *error);
extern void sync_lock(int id, bool session);
extern void sync_unlock(void);
extern void sync_locks_lost(void);
extern List *sync_wanted(const char *flow);
extern uint64 sync_statement(const char *sql, JflowParams *params);
extern uint64 sync_select(const char *sql, JflowParams *params);
extern void sync_param_texts(JflowParams *params, const Datum *texts, int n);
extern void sync_param_time(JflowParams *params, TimestampTz at);

/* trigger.c */
extern char *sync_place(void);
extern void sync_triggers_create(const Sync *sync, Relation source);
extern void sync_triggers_drop(const Sync *sync);
extern bool sync_triggers_intact(const Sync *sync, Relation source);
extern void sync_check_source(const Sync *sync);

/* error.c */
extern bool sync_error_passes(int sqlstate);
extern bool sync_error_ends_reading(const ErrorData *error);
extern bool sync_error_is_unsure(int sqlstate);
extern void sync_fail_row(SyncRow *row, const ErrorData *error, bool of_doc);

/* source.c */
typedef struct SyncSource
{
	const Sync *sync;
	char	   *table;			/* qualified and quoted */
	char	   *key;			/* quoted */
	char	   *key_type;		/* qualified */
	char	   *select;			/* "SELECT key, attributes FROM table s" */
	JflowDocAttr attrs[DOC_NATTS];
	int			nattrs;
} SyncSource;

extern void sync_source_check_kind(Relation source);
extern void sync_source_check(const Sync *sync, Relation source);
extern SyncSource *sync_source_open(const Sync *sync);
extern List *sync_columns_attnums(const Sync *sync, Relation source);
extern AttrNumber sync_default_key(Relation source);

/* read.c */
extern void sync_source_prepare(const SyncSource *source);
extern int	sync_source_read(const SyncSource *source, const Datum *keys, int nkeys, Size max, SyncRow *rows, bool *all);
extern int	sync_source_keys(const SyncSource *source, const Datum *keys, int nkeys, Datum *found);
extern int	sync_source_scan(const SyncSource *source, const char *position, int n, Size max, SyncRow *rows, bool *all);

/*
 * How a worker looks into the queue.  What it has taken stays there as dead rows until
 * VACUUM may remove them, so it mostly begins behind them.  Entries of transactions
 * that have lasted may be before that, and are found when it looks at all, which it
 * does no more often than takes a twentieth of its time.
 */
typedef struct SyncLook
{
	TimestampTz from;
	TimestampTz all_at;			/* it looks at all from then on */
	bool		thorough;		/* and when there is nothing else */
	bool		at_all;			/* the last look was at all */
} SyncLook;

/*
 * A round: claim, post, settle.  One whose rows have been read ahead, while the last
 * one's post was out, has what a claim would have compared then.
 */
typedef struct SyncRound
{
	MemoryContext context;
	Sync	   *sync;			/* as it was claimed */
	SyncRow    *rows;
	int			nrows;
	int			limit;			/* of them, about */
	int			allocated;
	Size		bytes;			/* of documents */
	bool		more;			/* there may be more to do at once */
	bool		compared;		/* what is due now need not be of the queue */
	bool		put_back;		/* of the queue some are due, and not of the
								 * round */
	bool		end;			/* there is nothing behind what was compared */
	char	   *from;			/* of one read ahead: the position before it */
	struct SyncRound *ahead;	/* what was read ahead for this one, or NULL */
	struct SyncRound *next;		/* memory for what is read ahead for the next
								 * one, or NULL */
	SyncLook   *look;			/* NULL: at all */
	TimestampTz claimed;		/* in sync_flight; 0: no row is in flight */
	TimestampTz oldest;			/* when the first of those has changed of
								 * which the queue has told */
	int			suspects;		/* so many at most that may have crashed the
								 * server, and nothing else; 0: others. A
								 * claim that finds none left says 0. */
	bool		scattered;		/* keys near those of the source's next rows
								 * are too many */
	bool		strict;			/* any error is raised */
	int			arrived;
	ErrorData  *error;			/* one that says nothing about a row */
} SyncRound;

/* round.c */
extern int	sync_row_order(const void *a, const void *b);
extern SyncRow *sync_round_room(SyncRound *round, int n);
extern int	sync_next_step(int step);
extern Size sync_round_bytes_left(const SyncRound *round);
extern Datum *sync_selected_texts(MemoryContext context, int column, int *n, bool *any_null);

/* flight.c */
extern void sync_unset_hashes(const Sync *sync, const Datum *keys, int n, TimestampTz due);
extern void sync_flight_begin(SyncRound *round);
extern void sync_flight_end(SyncRound *round);
extern bool sync_any_suspects(const Sync *sync);
extern int	sync_recover(const Sync *sync);

/* compare.c */
extern void sync_compare(SyncRound *round, const SyncSource *source, int limit);
extern void sync_sweep(SyncRound *round, const SyncSource *source, TimestampTz now);
extern void sync_read_ahead(SyncRound *round);

/* claim.c */
extern void sync_claim(SyncRound *round, int limit);
extern void sync_claim_keys(SyncRound *round, Datum *keys, int n);
extern void sync_hasten(const Sync *sync);
extern bool sync_has_followed(int id, TimestampTz before);
extern TimestampTz sync_next_due(const Sync *sync);

/* post.c */
extern void sync_post(SyncRound *round);

/* settle.c */
extern void sync_settle(SyncRound *round, int64 wait_ms);

/* worker.c */
extern void sync_worker_run(JflowReplica *me) JFLOW_NORETURN;

/* immediate.c */
extern void sync_immediate_collect(int id, Datum key);
extern void sync_immediate_post(int id, bool truncated);
extern void sync_immediate_end_level(int level, bool committed);
extern void sync_immediate_check(void);
extern void sync_immediate_forget(void);
extern void sync_immediate_fill(Sync *sync);

/* changed.c */
extern void sync_touch(int id, bool ask);
extern void sync_changed_init(void);

/* exchange.c */
extern ErrorData *sync_why_not_yet(const Sync *stand_in, const Sync *sync);
extern void sync_exchange(const Sync *stand_in, const Sync *sync);

/* define.c */
extern Sync *sync_read_own(const char *name);
extern Sync *sync_lock_own(const char *name);
extern void sync_unsync(const char *name);
extern void sync_attach_as_owner(Sync *sync, const JflowFlow *flow, SyncPhase phase);
extern void sync_init(void);

#endif							/* JFLOW_SYNC_H */
