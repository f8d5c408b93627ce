/*
 * http_run.c
 *		Sending batches: several at a time, again where that helps, in halves
 *		where one text may be at fault.
 *
 * Nothing here needs a transaction or touches a catalog: replicas have none
 * meanwhile.
 *
 * Waits before another try double from one to the next, with jitter.  What a
 * service says in Retry-After, and a wait after status 429, holds for all
 * replicas of the executor: the time is in shared memory.
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "compat.h"
#include "executors/http/http.h"

#define FIRST_WAIT_MS 200
#define LONGEST_WAIT_MS 30000
#define LONGEST_PAUSE_S 300		/* a service that asks for more is given up */

/* What to do after a call. */
typedef enum Verdict
{
	TAKE,						/* the answer */
	RETRY,
	DIVIDE,						/* send halves, or raise that a text is
								 * refused */
	RAISE
} Verdict;

/* Put a batch to its place among those that wait. */
static void
put_waiting(HttpJob *job, HttpBatch *batch)
{
	HttpBatch **link = &job->waiting;

	while (*link && (*link)->first < batch->first)
		link = &(*link)->next;
	batch->next = *link;
	*link = batch;
}

static void
add_half(HttpJob *job, int first, int n)
{
	HttpBatch  *batch = MemoryContextAllocZero(job->context, sizeof(HttpBatch));

	batch->first = first;
	batch->n = n;
	put_waiting(job, batch);
}

/* Those that have their answer already go to the end. */
static int
sort_out(HttpJob *job)
{
	HttpItem   *items;
	int			todo = 0;
	int			done = 0;

	for (int i = 0; i < job->nitems; i++)
		done += job->items[i].done;
	if (done == 0)
		return job->nitems;
	items = palloc_extended(sizeof(HttpItem) * job->nitems, MCXT_ALLOC_HUGE);
	done = job->nitems - done;
	for (int i = 0; i < job->nitems; i++)
		items[job->items[i].done ? done++ : todo++] = job->items[i];
	job->items = items;
	return todo;
}

/* Cut the items into batches, by number and bytes. */
static void
make_batches(HttpJob *job)
{
	int			most = http_one_by_one(job) ? 1 : job->options->batch;
	int			nitems = sort_out(job);
	HttpBatch **last = &job->waiting;
	int			first = 0;
	int64		bytes = 0;

	for (int i = 0; i <= nitems; i++)
	{
		bool		cut = i == nitems || i - first == most ||
			bytes + job->items[i].len > job->options->batch_bytes ||
			(job->options->task == HTTP_RERANK && job->items[i].doc != job->items[first].doc);

		if (cut && i > first)
		{
			*last = MemoryContextAllocZero(job->context, sizeof(HttpBatch));
			(*last)->first = first;
			(*last)->n = i - first;
			last = &(*last)->next;
			first = i;
			bytes = 0;
		}
		if (i < nitems)
			bytes += job->items[i].len;
	}
}

/* No replica of the executor sends before that. */
static void
pause_all(HttpJob *job, TimestampTz until)
{
	uint64		old = pg_atomic_read_u64(&job->tally->pause_until);

	while ((TimestampTz) old < until &&
		   !pg_atomic_compare_exchange_u64(&job->tally->pause_until, &old, (uint64) until))
		;
}

/* Send what may be sent; returns when there is more to send. */
static TimestampTz
send_due(HttpJob *job)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz pause = (TimestampTz) pg_atomic_read_u64(&job->tally->pause_until);
	TimestampTz next = DT_NOEND;
	HttpBatch **link = &job->waiting;

	/* whatever stands there, nobody waits longer than a pause can be */
	pause = Min(pause, TimestampTzPlusMilliseconds(now, LONGEST_PAUSE_S * 1000));
	while (*link && job->in_flight < job->options->concurrency)
	{
		HttpBatch  *batch = *link;
		TimestampTz due = Max(batch->not_before, pause);

		if (due > now)
		{
			next = Min(next, due);
			link = &batch->next;
			continue;
		}
		*link = batch->next;
		batch->next = NULL;
		http_request_write(job, batch);
		job->transport->start(&batch->call);
		job->in_flight++;
	}
	return job->in_flight < job->options->concurrency ? next : DT_NOEND;
}

static Verdict
judge(const HttpCall *call)
{
	switch (call->failure)
	{
		case HTTP_UNREACHABLE:
		case HTTP_LOST:
		case HTTP_TIMED_OUT:
			return RETRY;
		case HTTP_TOO_LARGE:
			return DIVIDE;
		case HTTP_ANSWERED:
			break;
		default:
			return RAISE;
	}
	if (call->status >= 200 && call->status < 300)
		return TAKE;
	if (call->status == 408 || call->status == 425 || call->status == 429 ||
		(call->status >= 500 && call->status != 501 && call->status != 505))
		return RETRY;
	if (call->status == 400 || call->status == 413 || call->status == 422)
		return DIVIDE;
	return RAISE;
}

/* The error of a call that was not answered. */
static void JFLOW_NORETURN
raise_failure(HttpJob *job, const HttpBatch *batch)
{
	const HttpCall *call = &batch->call;
	const char *name = job->server->name;

	switch (call->failure)
	{
		case HTTP_TOO_LARGE:
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("the answer of server \"%s\" is larger than %zu kB", name,
							call->max_answer / 1024),
					 errhint("Raise the server's option max_answer.")));
			break;
		case HTTP_REDIRECTED:
			ereport(ERROR,
					(errcode(ERRCODE_FDW_UNABLE_TO_ESTABLISH_CONNECTION),
					 errmsg("server \"%s\" redirects to another place", name),
					 errdetail("It answered with status %d; redirects are followed only to the same scheme, host and port.",
							   call->status),
					 errhint("Set the server's option url to where the service is.")));
			break;
		case HTTP_TIMED_OUT:
			ereport(ERROR,
					(errcode(ERRCODE_CONNECTION_FAILURE),
					 errmsg("server \"%s\" did not answer in time", name),
					 errdetail("Tried %d times: %s.", batch->tries + 1, call->error)));
			break;
		case HTTP_UNREACHABLE:
			ereport(ERROR,
					(errcode(ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION),
					 errmsg("could not connect to server \"%s\"", name),
					 errdetail("Tried %d times: %s.", batch->tries + 1, call->error)));
			break;
		case HTTP_UNTRUSTED:
			ereport(ERROR,
					(errcode(ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION),
					 errmsg("the certificate of server \"%s\" could not be verified", name),
					 errdetail("%s.", call->error),
					 errhint("Name the authority's certificate in the server's option ca_file.")));
			break;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_CONNECTION_FAILURE),
					 errmsg("the connection to server \"%s\" failed", name),
					 errdetail("Tried %d times: %s.", batch->tries + 1, call->error)));
	}
	pg_unreachable();
}

/* A text stands alone and is refused. */
static void JFLOW_NORETURN
raise_refused(HttpJob *job, const HttpBatch *batch, const char *message)
{
	const JflowDoc *doc = &job->docs->docs[job->items[batch->first].doc];
	char	   *id = doc->nulls[DOC_ID] ? pstrdup("") : TextDatumGetCString(doc->values[DOC_ID]);

	ereport(ERROR,
			(errcode(ERRCODE_DATA_EXCEPTION),
			 errmsg("server \"%s\" refused document \"%s\"", job->server->name, id),
			 message ? errdetail("It answered with status %d: %s", batch->call.status, message) :
			 errdetail("It answered with status %d.", batch->call.status)));
}

/* The error of a call that was answered with an error's status. */
static void JFLOW_NORETURN
raise_status(HttpJob *job, const HttpBatch *batch)
{
	const HttpCall *call = &batch->call;
	const char *name = job->server->name;
	char	   *message = http_service_message(job, call);

	switch (call->status)
	{
		case 401:
		case 403:
			/* what it says may hold the key, or a part of it */
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
					 errmsg("server \"%s\" refused the key of role \"%s\"", name,
							job->owner),
					 errdetail("It answered with status %d.", call->status),
					 errhint("Look at the user mapping of the role, or of PUBLIC.")));
			break;
		case 400:
		case 413:
		case 422:
			raise_refused(job, batch, message);
			break;
		case 429:
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
					 errmsg("server \"%s\" takes no more calls for now", name),
					 errdetail("Tried %d times, and it answered with status 429%s%s", batch->tries + 1,
							   message ? ": " : ".", message ? message : ""),
					 errhint("Lower the options batch and concurrency, or raise retries.")));
			break;
		default:
			ereport(ERROR,
					(errcode(call->status >= 500 ? ERRCODE_EXTERNAL_ROUTINE_EXCEPTION : ERRCODE_FDW_ERROR),
					 errmsg("server \"%s\" answered with status %d", name, call->status),
					 errdetail("Tried %d times%s%s", batch->tries + 1, message ? ": " : ".",
							   message ? message : ""),
					 call->status == 404 ? errhint("Look at the server's option url, and at the option model.") : 0));
	}
	pg_unreachable();
}

/* What was answered is kept: the documents may be sent again without the bad one. */
static void JFLOW_NORETURN
raise_error(HttpJob *job, const HttpBatch *batch)
{
	if (judge(&batch->call) == DIVIDE)
		for (int i = 0; i < job->nitems; i++)
			if (job->items[i].vector)
				http_cache_keep(job, &job->items[i]);
	if (batch->call.failure == HTTP_ANSWERED)
		raise_status(job, batch);
	raise_failure(job, batch);
}

/* Send a batch again later, or give it up. */
static void
try_again(HttpJob *job, HttpBatch *batch)
{
	HttpCall   *call = &batch->call;
	int64		wait_ms = Min((int64) FIRST_WAIT_MS << Min(batch->tries, 20), LONGEST_WAIT_MS);
	TimestampTz now = GetCurrentTimestamp();

	if (call->status == 429)
		http_count(job, HTTP_THROTTLED, 1);
	if (batch->tries >= job->options->retries || call->retry_after > LONGEST_PAUSE_S)
		raise_error(job, batch);
	wait_ms = wait_ms * (0.5 + 0.5 * pg_prng_double(&pg_global_prng_state));
	if (call->retry_after > 0)
		wait_ms = call->retry_after * INT64CONST(1000);
	batch->not_before = TimestampTzPlusMilliseconds(now, wait_ms);
	if (call->retry_after > 0 || call->status == 429)
		pause_all(job, batch->not_before);
	batch->tries++;
	http_count(job, HTTP_RETRIES, 1);
	job->transport->release(call);
	put_waiting(job, batch);
}

static void
finish_call(HttpJob *job, HttpCall *call)
{
	HttpBatch  *batch = (HttpBatch *) ((char *) call - offsetof(HttpBatch, call));

	job->in_flight--;
	http_count(job, HTTP_CALLS, 1);
	http_count(job, HTTP_MILLISECONDS, (int64) (call->ms + 0.5));
	switch (judge(call))
	{
		case TAKE:
			http_answer_read(job, batch);
			job->transport->release(call);
			pfree(batch->body.data);
			batch->body.data = NULL;
			break;
		case RETRY:
			try_again(job, batch);
			break;
		case DIVIDE:
			if (batch->n == 1)
				raise_error(job, batch);
			job->transport->release(call);
			add_half(job, batch->first, batch->n / 2);
			add_half(job, batch->first + batch->n / 2, batch->n - batch->n / 2);
			break;
		case RAISE:
			raise_error(job, batch);
	}
}

static void
send_and_wait(HttpJob *job)
{
	while (job->waiting || job->in_flight > 0)
	{
		TimestampTz next = send_due(job);
		HttpCall   *call;

		call = job->transport->wait(next == DT_NOEND ? -1 :
									TimestampDifferenceMilliseconds(GetCurrentTimestamp(), next));
		if (call)
			finish_call(job, call);
	}
}

/*
 * Send all items of a job and read what is answered.  Raises an error with
 * SQLSTATE 22000 for a text that the service refuses, and others for what is not
 * a text's fault.
 */
void
http_run(HttpJob *job)
{
	MemoryContext old = MemoryContextSwitchTo(job->context);

	make_batches(job);
	PG_TRY();
	{
		send_and_wait(job);
	}
	PG_CATCH();
	{
		job->transport->cancel();
		PG_RE_THROW();
	}
	PG_END_TRY();
	for (int i = 0; job->options->cache > 0 && i < job->nitems; i++)
		if (job->items[i].vector)
			http_cache_keep(job, &job->items[i]);
	MemoryContextSwitchTo(old);
}
