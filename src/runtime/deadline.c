/*
 * deadline.c
 *		Time limits for posts and for executors.
 *
 * Limits nest: a post inside an executor inside a post.  One timer of the
 * process is set to the nearest of them.  When it goes off it cancels what is
 * running, by the same path as a user's cancel; whoever set the limit that has
 * passed turns that error into one that says so.  An outer limit that is later
 * than an inner one needs no timer until the inner one is gone.
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/timeout.h"

#include "compat.h"
#include "flow/flow.h"
#include "runtime/deadline.h"

#define AGAIN_MS 10				/* before something is run again; doubles */
#define AGAIN_MS_MAX 1000

static TimeoutId timeout_id = MAX_TIMEOUTS;
static JflowDeadline *innermost = NULL;

/* Runs in a signal handler. */
static void
deadline_handler(void)
{
	InterruptPending = true;
	QueryCancelPending = true;
	SetLatch(MyLatch);
}

/* The nearest of the limits in force, or DT_NOEND. */
TimestampTz
jflow_deadline_nearest(void)
{
	TimestampTz nearest = DT_NOEND;

	for (JflowDeadline *d = innermost; d; d = d->outer)
		nearest = Min(nearest, d->at);
	return nearest;
}

/* Set the timer for it. */
static void
arm(void)
{
	if (innermost)
		enable_timeout_at(timeout_id, jflow_deadline_nearest());
}

/*
 * A limit is no longer in force.  If it has passed, the timer's cancel may still
 * be pending, or be so again since an inner limit was popped; it must not end
 * anything else.  An outer limit that has passed as well makes the timer go off
 * at once.
 */
static void
pop(JflowDeadline *deadline)
{
	disable_timeout(timeout_id, false);
	if (GetCurrentTimestamp() >= deadline->at)
		QueryCancelPending = false;
	innermost = deadline->outer;
	arm();
}

static const char *const raise_function = "raise_expired";

/* Raise the error about a limit that has passed. */
static void JFLOW_NORETURN
raise_expired(const char *what, int64 timeout_ms)
{
	ereport(ERROR,
			(errcode(ERRCODE_QUERY_CANCELED),
			 errmsg("canceling %s due to timeout", what),
			 errdetail("The timeout is " INT64_FORMAT " ms.", timeout_ms)));
}

/*
 * Was this error raised for a limit of time?  It has the SQLSTATE of a user's
 * cancel, but ends only what the limit was set for.
 */
bool
jflow_deadline_raised(const ErrorData *error)
{
	return error->funcname && strcmp(error->funcname, raise_function) == 0;
}

/*
 * Call a function, and raise query_canceled if it takes longer than the limit;
 * timeout_ms of 0 is none.  "what" says in the error what was canceled.
 */
void
jflow_run_before_deadline(int64 timeout_ms, const char *what,
						  JflowGuarded function, void *arg)
{
	JflowDeadline deadline;
	MemoryContext context = CurrentMemoryContext;
	ErrorContextCallback *error_context = error_context_stack;

	if (timeout_ms <= 0)
	{
		function(arg);
		return;
	}

	if (timeout_id == MAX_TIMEOUTS)
		timeout_id = RegisterTimeout(USER_TIMEOUT, deadline_handler);

	/* Beyond a century a limit is none; the sum could overflow. */
	deadline.at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
											  Min(timeout_ms, JFLOW_MAX_TIMEOUT_MS));
	deadline.timeout_ms = timeout_ms;
	deadline.what = what;
	deadline.outer = innermost;
	innermost = &deadline;
	PG_TRY();
	{
		arm();
		function(arg);

		/*
		 * The timer may have gone off when the function was done already, or
		 * the function may have caught the error.  Raise it here: once the
		 * timer is gone nobody could tell whose the pending cancel is.
		 */
		CHECK_FOR_INTERRUPTS();
		if (GetCurrentTimestamp() >= deadline.at)
			ereport(ERROR,
					(errcode(ERRCODE_QUERY_CANCELED),
					 errmsg("deadline passed")));
	}
	PG_CATCH();
	{
		bool		expired = GetCurrentTimestamp() >= deadline.at &&
			geterrcode() == ERRCODE_QUERY_CANCELED;

		pop(&deadline);
		if (expired)
		{
			MemoryContextSwitchTo(context);
			FlushErrorState();
			error_context_stack = error_context;
			raise_expired(what, timeout_ms);
		}
		PG_RE_THROW();
	}
	PG_END_TRY();
	pop(&deadline);
}

/*
 * Wait before a request is run again, about twice as long each time: who was in its
 * way needs time to take the lock that it has let go, or they meet again.
 */
void
jflow_pause_before(int try)
{
	long		ms = Min((long) AGAIN_MS << Min(try - 1, 10), AGAIN_MS_MAX);
	TimestampTz until;

	ms += pg_prng_uint64_range(&pg_global_prng_state, 0, ms);
	until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms);
	while ((ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until)) > 0)
	{
		CHECK_FOR_INTERRUPTS();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}
