/*
 * sender.c
 *		Batches of documents on their way to the server.
 *
 * A batch is a transaction: BEGIN, the post, COMMIT.  While the server works on
 * one the next is under way in the same pipeline, so that it never waits for us.
 * There is no synchronization point between batches: when one fails, the server
 * passes over all that was sent behind it.  So batches are stored in order, each
 * at most once, and what is stored is what the server has said to be committed.
 *
 * A batch that fails through its documents (SQLSTATE classes 21, 22, 23, 54, P0)
 * is posted again in halves, until those at fault stand alone; whatever stands in
 * front of the first of them is stored then.  Any other failure ends the post.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "post.h"

#define DEPTH 2					/* batches under way */
#define BATCH_BYTES (4 * 1024 * 1024)
#define STATE_EVERY 0.25		/* seconds */
#define CANCEL_EVERY_MS 200

typedef struct DocRef
{
	size_t		start;			/* in docs */
	size_t		len;
	size_t		path;			/* in paths */
	int			arg;
	long		line;
	off_t		offset;
	int64_t		bytes;			/* of the input that this and what was passed
								 * over before it took */
} DocRef;

typedef struct Batch
{
	StrBuf		docs;			/* "[doc,doc,...]" */
	StrBuf		paths;
	DocRef	   *refs;
	int			ndocs;
	int			size;
	int			statements;		/* that it was sent as */
	bool		second;			/* ever sent */
} Batch;

struct Sender
{
	Session    *session;
	PGconn	   *conn;
	Progress   *progress;
	char	  **args;
	StrBuf		statement;
	const char *params[7];
	long		batch_docs;
	long		request_size;

	/*
	 * those under way are batches[first], ..., and the one behind is being
	 * filled
	 */
	Batch		batches[DEPTH + 1];
	int			first;
	int			nsent;
	int64_t		unread_bytes;	/* passed over since the last document */

	int			answered;		/* statements of the first batch */
	PGresult   *answer;			/* of its post, until it is committed */
	int64_t		nbatches;		/* that were sent, each counted once */

	FILE	   *errors;
	FILE	   *output;
	bool		keep_going;		/* past bad documents */
	int			code;			/* the exit code, once we have stopped */
	bool		stopped;
	int64_t		bad;
	bool		has_place;
	Place		place;			/* of the last document stored */
	const char *state_file;
	int64_t		docs_before;	/* by the posts that this one goes on with */
	double		state_written;
	bool		state_due;
};

static void take_results(Sender *sender);

static FILE *
open_for_writing(const char *name, const char *mode)
{
	FILE	   *file;

	if (!name)
		return NULL;
	file = strcmp(name, "-") == 0 ? stdout : fopen(name, mode);
	if (!file)
		fail_with(EXIT_USAGE, NULL, "could not open \"%s\": %s", name, strerror(errno));
	return file;
}

/*
 * Where the post goes on answers are appended.  A line that was begun when the
 * client was killed is taken away: its document is posted again.
 */
static FILE *
open_output(const char *name, bool resumes)
{
	FILE	   *file = open_for_writing(name, resumes ? "a+" : "w");
	struct stat info;
	off_t		end;

	if (!file || !resumes || fstat(fileno(file), &info) != 0 || !S_ISREG(info.st_mode) || file == stdout)
		return file;
	for (end = info.st_size; end > 0; end--)
	{
		char		last;

		if (pread(fileno(file), &last, 1, end - 1) != 1 || last == '\n')
			break;
	}
	if (end < info.st_size && ftruncate(fileno(file), end) != 0)
		fail_with(EXIT_USAGE, NULL, "could not write to \"%s\": %s", name, strerror(errno));
	return file;
}

static void
enter_pipeline(Sender *sender)
{
	if (PQsetnonblocking(sender->conn, 1) != 0 || !PQenterPipelineMode(sender->conn))
		fail_with(EXIT_CONNECTION, NULL, "%s", PQerrorMessage(sender->conn));
}

static long
server_request_size(Session *session)
{
	PGresult   *result = query(session, 0, NULL,
							   "SELECT coalesce(pg_catalog.current_setting('jflow.request_size', true), '100')");
	long		size = strtol(PQgetvalue(result, 0, 0), NULL, 10);

	PQclear(result);
	return size > 0 ? size : 100;
}

/*
 * The inputs, and how many documents were stored before by the post that this one
 * resumes, are for the state file.
 */
Sender *
sender_start(Session *session, Progress *progress, const char *endpoint, char **args, bool resumes,
			 int64_t docs_before)
{
	Sender	   *sender = allocate(sizeof(Sender));

	sender->session = session;
	sender->conn = session->conn;
	sender->progress = progress;
	sender->args = args;
	sender->docs_before = docs_before;
	sender->state_file = option_value("resume");
	if (sender->state_file)
		resume_prepare(sender->state_file);
	sender->keep_going = option_set("errors") || option_set("continue-on-error");
	sender->errors = open_for_writing(option_value("errors"), "a");
	sender->output = open_output(option_value("output"), resumes);
	sender->params[0] = utf8_of_locale(endpoint);
	sender->params[2] = option_text("flow");
	sender->params[3] = option_text("parameters");
	sender->params[4] = option_text("target-executor");
	sender->params[5] = option_value("request-size");
	sender->params[6] = option_value("timeout");
	sender->request_size = option_number("request-size", 0, 1, 1000000);
	if (sender->request_size == 0)
		sender->request_size = server_request_size(session);
	sender->batch_docs = option_number("batch-size", 10 * sender->request_size, 1, 1000000);
	strbuf_addf(&sender->statement, "SELECT %s FROM %s.jflow_post($1::pg_catalog.text, $2::pg_catalog.json, "
				"flow => $3::pg_catalog.text, parameters => coalesce($4::pg_catalog.jsonb, '{}'), "
				"target_executor => $5::pg_catalog.text, request_size => $6::pg_catalog.int4, "
				"timeout => $7::pg_catalog.interval) d",
				sender->output ? "pg_catalog.to_jsonb(d)" : "pg_catalog.count(*)", session->schema);
	enter_pipeline(sender);
	return sender;
}

/* Must no more be sent? */
bool
sender_stopped(const Sender *sender)
{
	return sender->stopped;
}

/* With what jflow post ends, by what has happened so far. */
int
sender_code(const Sender *sender)
{
	if (sender->stopped)
		return sender->code;
	return sender->bad > 0 ? EXIT_SERVER : EXIT_OK;
}

/* Documents that were not stored. */
int64_t
sender_bad(const Sender *sender)
{
	return sender->bad;
}

/* Of the last document stored by us, or NULL. */
const Place *
sender_place(const Sender *sender)
{
	return sender->has_place ? &sender->place : NULL;
}

static void
stop(Sender *sender, int code)
{
	if (!sender->stopped)
		sender->code = code;
	sender->stopped = true;
}

static Batch *
nth_batch(Sender *sender, int n)
{
	return &sender->batches[(sender->first + n) % (DEPTH + 1)];
}

static char *
place_string(const Batch *batch, int doc)
{
	const DocRef *ref = &batch->refs[doc];

	return format_string("%s:%ld", batch->paths.data + ref->path, ref->line);
}

static void
write_state(Sender *sender, bool now)
{
	double		time = now_seconds();

	if (!sender->state_file || !sender->state_due || (!now && time - sender->state_written < STATE_EVERY))
		return;
	/* a document whose answer is lost must not count */
	if (sender->output)
		finish_output(sender->output, "the output");
	resume_write(sender->state_file, sender->params[0], sender->args, &sender->place,
				 sender->docs_before + sender->progress->docs);
	sender->state_written = time;
	sender->state_due = false;
}

/* These documents of a batch are stored. */
static void
confirm(Sender *sender, Batch *batch, int from, int to, const PGresult *answer)
{
	const DocRef *last = &batch->refs[to - 1];
	int			n = to - from;

	if (sender->output)
	{
		for (int row = 0; row < PQntuples(answer); row++)
			if (fprintf(sender->output, "%s\n", PQgetvalue(answer, row, 0)) < 0)
				fail_with(EXIT_USAGE, NULL, "could not write to the output: %s", strerror(errno));
	}
	sender->progress->docs += n;
	sender->progress->steps += (n + sender->request_size - 1) / sender->request_size;
	for (int i = from; i < to; i++)
		sender->progress->bytes += batch->refs[i].bytes;
	if (!sender->has_place || strcmp(sender->place.path, batch->paths.data + last->path) != 0)
	{
		free((char *) sender->place.path);
		sender->place.path = copy_string(batch->paths.data + last->path);
	}
	sender->place.arg = last->arg;
	sender->place.line = last->line;
	sender->place.start = last->offset;
	if (sender->state_file)
		sender->place.hash = hash_bytes(batch->docs.data + last->start, last->len);
	sender->has_place = true;
	sender->state_due = true;
	write_state(sender, false);
}

static void
add_field(StrBuf *out, const char *key, const char *value)
{
	if (!value)
		return;
	strbuf_addf(out, ",\"%s\":", key);
	json_string(out, value, strlen(value));
}

/* Write a bad document to the file for errors: one of the server's, or a record. */
static void
write_error(Sender *sender, const char *path, long line, const PGresult *result, const Record *record,
			const char *doc, size_t len)
{
	StrBuf		out = {0};

	sender->bad++;
	if (!sender->errors)
		return;
	strbuf_add(&out, "{\"file\":");
	json_string(&out, path, strlen(path));
	strbuf_addf(&out, ",\"line\":%ld", line);
	if (result)
	{
		add_field(&out, "sqlstate", PQresultErrorField(result, PG_DIAG_SQLSTATE));
		add_field(&out, "message", PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY));
		add_field(&out, "detail", PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL));
		add_field(&out, "hint", PQresultErrorField(result, PG_DIAG_MESSAGE_HINT));
		strbuf_add(&out, ",\"doc\":");
		strbuf_add_bytes(&out, doc, len);
	}
	else
	{
		add_field(&out, "message", record->error);
		if (record->raw_len > 0 && utf8_error(record->raw, record->raw_len) == NULL)
		{
			strbuf_add(&out, ",\"input\":");
			json_string(&out, record->raw, record->raw_len);
		}
	}
	strbuf_add(&out, "}\n");
	fwrite(out.data, 1, out.len, sender->errors);
	finish_output(sender->errors, "the file for errors");
	strbuf_free(&out);
}

/* The connection is gone, and with it what was under way; maybe it was stored. */
static void
lost(Sender *sender)
{
	report_result(NULL, sender->conn, NULL);
	if (sender->nsent > 0)
	{
		Batch	   *batch = nth_batch(sender, 0);
		char	   *from = place_string(batch, 0);
		char	   *to = place_string(batch, batch->ndocs - 1);

		complain("whether the documents from %s to %s are stored is not known", from, to);
		free(from);
		free(to);
	}
	sender->nsent = 0;
	stop(sender, EXIT_CONNECTION);
}

static bool
is_lost(Sender *sender)
{
	return PQstatus(sender->conn) == CONNECTION_BAD;
}

/* Could other documents of the batch be good? */
static bool
at_fault(const PGresult *result)
{
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	return state && (strncmp(state, "21", 2) == 0 || strncmp(state, "22", 2) == 0 || strncmp(state, "23", 2) == 0 ||
					 strncmp(state, "54", 2) == 0 || strncmp(state, "P0", 2) == 0);
}

static void judge(Sender *sender, Batch *batch, int from, int to, const PGresult *result);

/* Post a part of a batch by itself, outside of the pipeline. */
static void
post_part(Sender *sender, Batch *batch, int from, int to)
{
	const DocRef *last = &batch->refs[to - 1];
	size_t		start = batch->refs[from].start;
	const char *params[7];
	StrBuf		docs = {0};
	PGresult   *result;

	if (sender->stopped || interrupted)
		return;
	strbuf_add_char(&docs, '[');
	strbuf_add_bytes(&docs, batch->docs.data + start, last->start + last->len - start);
	strbuf_add_char(&docs, ']');
	memcpy(params, sender->params, sizeof(params));
	params[1] = docs.data;
	result = PQexecParams(sender->conn, sender->statement.data, 7, NULL, params, NULL, NULL, 0);
	strbuf_free(&docs);
	if (PQresultStatus(result) == PGRES_TUPLES_OK)
		confirm(sender, batch, from, to, result);
	else
		judge(sender, batch, from, to, result);
	PQclear(result);
	progress_draw(sender->progress, false);
}

/* A part of a batch has failed so: find the documents at fault, or stop. */
static void
judge(Sender *sender, Batch *batch, int from, int to, const PGresult *result)
{
	const DocRef *ref = &batch->refs[from];
	char	   *where = place_string(batch, from);

	if (is_lost(sender))
		lost(sender);
	else if (interrupted)
		stop(sender, EXIT_SERVER);
	else if (at_fault(result) && to - from > 1)
	{
		int			middle = from + (to - from) / 2;

		post_part(sender, batch, from, middle);
		post_part(sender, batch, middle, to);
	}
	else if (at_fault(result))
	{
		report_result(result, sender->conn, where);
		write_error(sender, batch->paths.data + ref->path, ref->line, result, NULL,
					batch->docs.data + ref->start, ref->len);
		if (!sender->keep_going)
			stop(sender, EXIT_SERVER);
	}
	else
	{
		report_result(result, sender->conn, NULL);
		stop(sender, EXIT_SERVER);
	}
	free(where);
}

static void
pop_batch(Sender *sender)
{
	sender->first = (sender->first + 1) % (DEPTH + 1);
	sender->nsent--;
	sender->answered = 0;
	PQclear(sender->answer);
	sender->answer = NULL;
}

/* A statement of a batch into the pipeline. */
static bool
send_statement(Sender *sender, Batch *batch, const char *statement, int nparams)
{
	batch->statements++;
	return PQsendQueryParams(sender->conn, statement, nparams, NULL, nparams > 0 ? sender->params : NULL, NULL, NULL, 0);
}

/*
 * The second batch lets the server's process keep the memory of each for the next one.
 * glibc gives free memory back to the system from twice the size on of the largest
 * piece that was ever freed, and to get it again costs more than to read the documents
 * in it.
 */
static bool
send_batch(Sender *sender, Batch *batch)
{
	sender->params[1] = batch->docs.data;
	batch->statements = 0;
	return send_statement(sender, batch, "BEGIN", 0) &&
		(!batch->second || send_statement(sender, batch, "SELECT pg_catalog.octet_length(pg_catalog.repeat(' ', 16777216))", 0)) &&
		send_statement(sender, batch, sender->statement.data, 7) &&
		send_statement(sender, batch, "COMMIT", 0) &&
		PQsendFlushRequest(sender->conn) && PQflush(sender->conn) >= 0;
}

/* Leave the pipeline that the server passes over since an error. */
static void
leave_pipeline(Sender *sender)
{
	PGresult   *result;
	bool		synced = false;

	PQpipelineSync(sender->conn);
	while (!synced && !is_lost(sender))
	{
		result = PQgetResult(sender->conn);
		synced = result && PQresultStatus(result) == PGRES_PIPELINE_SYNC;
		PQclear(result);
	}
	if (is_lost(sender))
		return;
	if (!PQexitPipelineMode(sender->conn) || PQsetnonblocking(sender->conn, 0) != 0)
		fail_with(EXIT_CONNECTION, NULL, "%s", PQerrorMessage(sender->conn));
	if (PQtransactionStatus(sender->conn) != PQTRANS_IDLE)
		PQclear(PQexec(sender->conn, "ROLLBACK"));
}

/* The first batch has failed, and those behind it have not been looked at. */
static void
settle(Sender *sender, PGresult *error)
{
	leave_pipeline(sender);
	if (is_lost(sender))
		lost(sender);
	else
		judge(sender, nth_batch(sender, 0), 0, nth_batch(sender, 0)->ndocs, error);
	if (sender->stopped || interrupted)
	{
		stop(sender, EXIT_SERVER);
		sender->nsent = 0;
		return;
	}
	pop_batch(sender);
	enter_pipeline(sender);
	for (int i = 0; i < sender->nsent; i++)
		if (!send_batch(sender, nth_batch(sender, i)))
		{
			lost(sender);
			return;
		}
}

/* Look at what the server has answered, without waiting. */
static void
take_results(Sender *sender)
{
	while (sender->nsent > 0 && !sender->stopped && !PQisBusy(sender->conn))
	{
		PGresult   *result = PQgetResult(sender->conn);

		if (!result)
		{
			Batch	   *batch = nth_batch(sender, 0);

			if (++sender->answered == batch->statements)
			{
				confirm(sender, batch, 0, batch->ndocs, sender->answer);
				pop_batch(sender);
			}
			continue;
		}
		switch (PQresultStatus(result))
		{
			case PGRES_COMMAND_OK:
				PQclear(result);
				break;
			case PGRES_TUPLES_OK:
				PQclear(sender->answer);
				sender->answer = result;
				break;
			default:
				if (is_lost(sender))
					lost(sender);
				else
					settle(sender, result);
				PQclear(result);
		}
	}
}

/*
 * Let the connection work until something has happened or the time is over; with
 * an fd also until that can be read, which is told.
 */
static bool
work(Sender *sender, int fd, int timeout_ms)
{
	struct pollfd wait[2] = {{.fd = PQsocket(sender->conn),.events = POLLIN}, {.fd = fd,.events = POLLIN}};

	if (sender->stopped)
		return false;
	if (PQflush(sender->conn) > 0)
		wait[0].events |= POLLOUT;
	progress_draw(sender->progress, false);
	write_state(sender, false);
	if (poll(wait, fd >= 0 ? 2 : 1, timeout_ms) > 0 && wait[0].revents != 0)
	{
		if (!PQconsumeInput(sender->conn))
			lost(sender);
		else
			take_results(sender);
	}
	return fd >= 0 && (wait[1].revents & (POLLIN | POLLHUP | POLLERR)) != 0;
}

/* Wait until no more than so many batches are under way. */
static void
wait_for(Sender *sender, int most)
{
	double		canceled = now_seconds();

	while (sender->nsent > most && !sender->stopped)
	{
		work(sender, -1, 100);
		if (interrupted && now_seconds() - canceled > CANCEL_EVERY_MS / 1000.0)
		{
			cancel_on_server();
			canceled = now_seconds();
		}
	}
}

/* Send what there is. */
void
sender_flush(Sender *sender)
{
	Batch	   *batch = nth_batch(sender, sender->nsent);

	if (sender->stopped || batch->ndocs == 0)
		return;
	wait_for(sender, DEPTH - 1);
	if (sender->stopped || interrupted)
		return;
	batch = nth_batch(sender, sender->nsent);
	strbuf_add_char(&batch->docs, ']');
	sender->nsent++;
	batch->second = ++sender->nbatches == 2;
	if (!send_batch(sender, batch))
	{
		lost(sender);
		return;
	}
	/* no more of it in libpq's memory than of one batch */
	while (!sender->stopped && PQflush(sender->conn) > 0 && sender->nsent > 1)
		work(sender, -1, 100);
	batch = nth_batch(sender, sender->nsent);
	strbuf_reset(&batch->docs);
	strbuf_reset(&batch->paths);
	batch->ndocs = 0;
	take_results(sender);
}

/* Wait for the input, sending what there is if that takes a while. */
void
sender_wait(Sender *sender, int fd, int timeout_ms)
{
	double		until = now_seconds() + timeout_ms / 1000.0;

	while (!sender->stopped && !interrupted)
	{
		if (work(sender, fd, 50))
			return;
		if (nth_batch(sender, sender->nsent)->ndocs > 0 && now_seconds() > until)
			sender_flush(sender);
	}
}

/* A document more. */
void
sender_add(Sender *sender, const Record *record, const char *path, int arg)
{
	Batch	   *batch = nth_batch(sender, sender->nsent);
	DocRef	   *ref;

	if (batch->ndocs == batch->size)
	{
		batch->size = batch->size > 0 ? batch->size * 2 : 128;
		batch->refs = reallocate(batch->refs, batch->size * sizeof(DocRef));
	}
	ref = &batch->refs[batch->ndocs];
	strbuf_add_char(&batch->docs, batch->ndocs == 0 ? '[' : ',');
	ref->start = batch->docs.len;
	ref->len = record->doc.len;
	strbuf_add_bytes(&batch->docs, record->doc.data, record->doc.len);
	if (batch->ndocs > 0 && strcmp(batch->paths.data + ref[-1].path, path) == 0)
		ref->path = ref[-1].path;
	else
	{
		ref->path = batch->paths.len;
		strbuf_add_bytes(&batch->paths, path, strlen(path) + 1);
	}
	ref->arg = arg;
	ref->line = record->line;
	ref->offset = record->start;
	ref->bytes = record->end - record->start + sender->unread_bytes;
	sender->unread_bytes = 0;
	batch->ndocs++;
	if (batch->ndocs >= sender->batch_docs || batch->docs.len >= BATCH_BYTES)
		sender_flush(sender);
	else
		progress_draw(sender->progress, false);
}

/*
 * A bad record.  Unless we go on past such, what is in front of it is stored
 * first, and then the post ends here.
 */
void
sender_skip(Sender *sender, const Record *record, const char *path)
{
	if (!sender->keep_going)
	{
		sender_flush(sender);
		wait_for(sender, 0);
		if (sender->stopped || interrupted)
			return;
	}
	sender->unread_bytes += record->end - record->start;
	if (record->line > 0)
		complain("%s:%ld: %s", path, record->line, record->error);
	else
		complain("%s: %s", path, record->error);	/* the whole file */
	write_error(sender, path, record->line, NULL, record, NULL, 0);
	if (!sender->keep_going)
		stop(sender, EXIT_SERVER);
}

/* Wait until all is stored, or not. */
void
sender_finish(Sender *sender)
{
	if (!interrupted)
		sender_flush(sender);
	wait_for(sender, 0);
	write_state(sender, true);
	if (sender->output)
		finish_output(sender->output, "the output");
}
