/*
 * progress.c
 *		Running posts: their numbers, for the view and for INFO lines.
 *
 * Each server process owns a few slots of a fixed array, one per post that is
 * nested in another, so nothing is searched for or allocated.  Posts nested
 * deeper are not shown.  The array lies in shared memory if the library was
 * preloaded; otherwise in the process, where only its own posts are seen.
 *
 * A slot is written by its process alone and read by any, under its spinlock.
 */
#include "postgres.h"

#include <signal.h>

#include "access/htup_details.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "catalog/pg_authid.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/tuplestore.h"

#include "compat.h"
#include "runtime/gateway/progress.h"

#define SLOTS_PER_PROCESS 4

typedef struct PostSlot
{
	slock_t		mutex;
	int64		post;			/* 0: free */
	int			pid;
	Oid			database;
	Oid			userid;
	char		flow[NAMEDATALEN];
	char		endpoint[NAMEDATALEN];
	int64		requests_done;
	int64		requests_total;
	int64		docs;
	int64		failed;
	TimestampTz started;
	bool		cancel;			/* by jflow_cancel */
} PostSlot;

typedef struct PostArray
{
	pg_atomic_uint64 last_post;
	int			nslots;
	PostSlot	slots[FLEXIBLE_ARRAY_MEMBER];
} PostArray;

static PostArray *shared = NULL;
static PostSlot local_slots[SLOTS_PER_PROCESS];

/* The posts of this process, innermost first. */
static JflowProgress *running = NULL;
static int	depth = 0;

PG_FUNCTION_INFO_V1(jflow_progress_rows);
PG_FUNCTION_INFO_V1(jflow_cancel);

static int
total_slots(void)
{
	return (MaxBackends + NUM_AUXILIARY_PROCS) * SLOTS_PER_PROCESS;
}

static Size
array_size(void)
{
	return add_size(offsetof(PostArray, slots), mul_size(sizeof(PostSlot), total_slots()));
}

/* For the shmem_request_hook. */
void
jflow_progress_request_shmem(void)
{
	RequestAddinShmemSpace(array_size());
}

/* For the shmem_startup_hook; the caller holds AddinShmemInitLock. */
void
jflow_progress_init_shmem(void)
{
	bool		found;

	shared = ShmemInitStruct("jflow posts", array_size(), &found);
	if (found)
		return;
	memset(shared, 0, array_size());

	/*
	 * Start from the clock, so that numbers of posts do not come again after
	 * a restart: partial results are kept in tables under them.
	 */
	pg_atomic_init_u64(&shared->last_post, (uint64) GetCurrentTimestamp());
	shared->nslots = total_slots();
	for (int i = 0; i < shared->nslots; i++)
		SpinLockInit(&shared->slots[i].mutex);
}

static PostSlot *
get_slot(int slot)
{
	return shared ? &shared->slots[slot] : &local_slots[slot];
}

/*
 * A number for a post.  Without shared memory it is random: 63 bits make two
 * equal ones as unlikely as two equal UUIDs of the documents at hand.
 */
static int64
new_post_number(void)
{
	uint64		number;

	if (shared)
		return (int64) pg_atomic_add_fetch_u64(&shared->last_post, 1);
	if (!pg_strong_random(&number, sizeof(number)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
	return (int64) (number & PG_INT64_MAX);
}

/* Forget the posts of a process that ends, however it ends. */
static void
clear_slots(int code, Datum arg)
{
	while (running)
		jflow_progress_abort(running);
}

/* Copy a name into a slot, clipped at a character boundary. */
static void
clip_name(char *to, const char *from)
{
	int			len = pg_mbcliplen(from, strlen(from), NAMEDATALEN - 1);

	memcpy(to, from, len);
	to[len] = '\0';
}

static void
take_slot(JflowProgress *progress, const char *flow, const char *endpoint)
{
	PostSlot   *slot;

	progress->slot = depth < SLOTS_PER_PROCESS ? depth : -1;
	if (progress->slot < 0)
		return;
	if (shared)
	{
		int			process = MyProcNumberCompat;

		if (process < 0 || (process + 1) * SLOTS_PER_PROCESS > shared->nslots)
		{
			progress->slot = -1;
			return;
		}
		progress->slot += process * SLOTS_PER_PROCESS;
	}

	slot = get_slot(progress->slot);
	SpinLockAcquire(&slot->mutex);
	slot->post = progress->post;
	slot->pid = MyProcPid;
	slot->database = MyDatabaseId;
	slot->userid = GetUserId();
	clip_name(slot->flow, flow);
	clip_name(slot->endpoint, endpoint);
	slot->requests_done = slot->docs = slot->failed = 0;
	slot->requests_total = progress->requests_total;
	slot->started = progress->started;
	slot->cancel = false;
	SpinLockRelease(&slot->mutex);
}

/*
 * Begin to show a post.  The caller must see to it that the post ends with
 * jflow_progress_end, or with jflow_progress_abort on an error.
 */
void
jflow_progress_begin(JflowProgress *progress, const char *flow, const char *endpoint,
					 int64 requests_total, bool show)
{
	static bool registered = false;

	if (!registered)
	{
		before_shmem_exit(clear_slots, (Datum) 0);
		if (!shared)
			for (int i = 0; i < SLOTS_PER_PROCESS; i++)
				SpinLockInit(&local_slots[i].mutex);
		registered = true;
	}

	memset(progress, 0, sizeof(*progress));
	progress->post = new_post_number();
	progress->requests_total = requests_total;
	progress->started = GetCurrentTimestamp();
	progress->shown = progress->started;
	progress->show = show;
	take_slot(progress, flow, endpoint);
	progress->outer = running;
	running = progress;
	depth++;
}

/* Hours, minutes and seconds as h:mm:ss. */
static char *
format_duration(double seconds)
{
	int64		s = (int64) seconds;

	return psprintf(INT64_FORMAT ":%02d:%02d", s / 3600, (int) (s / 60 % 60), (int) (s % 60));
}

static void
show_line(const JflowProgress *progress, TimestampTz now)
{
	double		elapsed = Max((now - progress->started) / 1e6, 1e-6);
	double		rate = progress->requests_done / elapsed;

	if (progress->requests_total > 0)
		ereport(INFO,
				(errmsg_internal("step " INT64_FORMAT "/" INT64_FORMAT " (%d%%), %.1f step/s, ETA %s",
								 progress->requests_done, progress->requests_total,
								 (int) (100 * progress->requests_done / progress->requests_total),
								 rate,
								 format_duration((progress->requests_total - progress->requests_done) / rate))));
	else
		ereport(INFO,
				(errmsg_internal("step " INT64_FORMAT ", %.1f step/s",
								 progress->requests_done, rate)));
}

/*
 * Count a request of so many documents, some of which may have failed; sends an
 * INFO line at most ten times a second.
 */
void
jflow_progress_request(JflowProgress *progress, int64 docs, int64 failed_docs, bool failed)
{
	failed_docs = Min(failed_docs, docs);
	progress->requests_done++;
	progress->docs += docs - failed_docs;
	progress->failed_docs += failed_docs;
	if (failed)
		progress->failed++;

	if (progress->slot >= 0)
	{
		PostSlot   *slot = get_slot(progress->slot);

		SpinLockAcquire(&slot->mutex);
		slot->requests_done = progress->requests_done;
		slot->docs = progress->docs;
		slot->failed = progress->failed;
		SpinLockRelease(&slot->mutex);
	}
	if (progress->show)
	{
		TimestampTz now = GetCurrentTimestamp();

		if (TimestampDifferenceExceeds(progress->shown, now, 100))
		{
			show_line(progress, now);
			progress->shown = now;
		}
	}
}

static void
leave(JflowProgress *progress)
{
	Assert(running == progress);
	if (progress->slot >= 0)
	{
		PostSlot   *slot = get_slot(progress->slot);

		SpinLockAcquire(&slot->mutex);
		slot->post = 0;
		SpinLockRelease(&slot->mutex);
	}
	running = progress->outer;
	depth--;
}

/* The post has ended well; sends the last line. */
void
jflow_progress_end(JflowProgress *progress)
{
	leave(progress);
	if (progress->show)
	{
		double		elapsed = Max((GetCurrentTimestamp() - progress->started) / 1e6, 1e-6);

		ereport(INFO,
				(errmsg_internal("DONE %s %.1f step/s . " INT64_FORMAT " steps done in %.0f seconds",
								 format_duration(elapsed), progress->requests_done / elapsed,
								 progress->requests_done, elapsed)));
	}
}

/* The post has failed. */
void
jflow_progress_abort(JflowProgress *progress)
{
	leave(progress);
}

/* Raises query_canceled if another session has asked for it. */
void
jflow_progress_check_cancel(JflowProgress *progress)
{
	if (progress->slot >= 0 && ((volatile PostSlot *) get_slot(progress->slot))->cancel)
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("canceling post due to user request")));
}

/*
 * jflow_cancel(post int8) RETURNS bool: cancels a post of another session, of a
 * role whose privileges the caller has.  False if there is no such post.
 */
Datum
jflow_cancel(PG_FUNCTION_ARGS)
{
	int64		post = PG_GETARG_INT64(0);
	int			nslots = shared ? shared->nslots : 0;

	for (int i = 0; i < nslots; i++)
	{
		PostSlot   *slot = get_slot(i);
		Oid			userid;
		int			pid = 0;

		if (post == 0 || slot->post != post || slot->database != MyDatabaseId)
			continue;
		userid = slot->userid;

		/* as for pg_cancel_backend */
		if ((superuser_arg(userid) && !superuser()) ||
			(!has_privs_of_role(GetUserId(), userid) &&
			 !has_privs_of_role(GetUserId(), ROLE_PG_SIGNAL_BACKEND)))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied to cancel post " INT64_FORMAT, post)));
		SpinLockAcquire(&slot->mutex);
		if (slot->post == post)
		{
			slot->cancel = true;
			pid = slot->pid;
		}
		SpinLockRelease(&slot->mutex);

		/*
		 * A gateway sees the flag.  A post that runs in its session is
		 * interrupted like any statement.
		 */
		if (pid != 0)
			kill(pid, SIGINT);
		PG_RETURN_BOOL(pid != 0);
	}
	PG_RETURN_BOOL(false);
}

/* May the current user see a post of this user? */
static bool
may_see(Oid userid)
{
	return has_privs_of_role(GetUserId(), userid) ||
		has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS);
}

/*
 * jflow.progress() RETURNS SETOF record: the posts running in this database, as
 * far as the user may see them.
 */
Datum
jflow_progress_rows(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int			nslots = shared ? shared->nslots : SLOTS_PER_PROCESS;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < nslots; i++)
	{
		PostSlot   *slot = get_slot(i);
		PostSlot	copy;
		Datum		values[11] = {0};
		bool		nulls[11] = {false};
		double		elapsed;

		if (slot->post == 0)	/* a cheap look; what counts is read below */
			continue;
		SpinLockAcquire(&slot->mutex);
		copy = *slot;
		SpinLockRelease(&slot->mutex);
		if (copy.post == 0 || copy.database != MyDatabaseId || !may_see(copy.userid))
			continue;

		elapsed = Max((GetCurrentTimestamp() - copy.started) / 1e6, 1e-6);
		values[0] = Int64GetDatum(copy.post);
		values[1] = Int32GetDatum(copy.pid);
		values[2] = CStringGetTextDatum(copy.flow);
		values[3] = CStringGetTextDatum(copy.endpoint);
		values[4] = Int64GetDatum(copy.requests_done);
		values[5] = Int64GetDatum(copy.requests_total);
		nulls[5] = copy.requests_total < 0;
		values[6] = Int64GetDatum(copy.docs);
		values[7] = Int64GetDatum(copy.failed);
		values[8] = Float8GetDatum(copy.docs / elapsed);
		values[9] = TimestampTzGetDatum(copy.started);
		values[10] = DirectFunctionCall2(timestamp_mi,
										 TimestampTzGetDatum(GetCurrentTimestamp()),
										 TimestampTzGetDatum(copy.started));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
