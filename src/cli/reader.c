/*
 * reader.c
 *		Documents of one file, one after the other, in bounded memory.
 *
 * A record is a line, a CSV's row (whose cells may have line ends), or a whole
 * text.  It is looked for from where the last look ended, so that a long one that
 * arrives in pieces costs no more.  One that is too long is passed over, and told.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "post.h"

#define CHUNK (256 * 1024)

static Format
format_of(const char *path)
{
	static const struct
	{
		const char *ending;
		Format		format;
	}			known[] = {
		{".jsonl", FORMAT_JSONL}, {".ndjson", FORMAT_JSONL}, {".json", FORMAT_JSONL},
		{".csv", FORMAT_CSV}, {".tsv", FORMAT_TSV}
	};
	size_t		len = strlen(path);

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
	{
		size_t		n = strlen(known[i].ending);

		if (len > n && strcasecmp(path + len - n, known[i].ending) == 0)
			return known[i].format;
	}
	return FORMAT_TEXT;
}

/* Open a file, or the standard input for "-"; returns why not, or NULL. */
const char *
reader_open(Reader *reader, const char *path, const DocumentRules *rules)
{
	bool		standard = strcmp(path, "-") == 0;
	struct stat info;

	memset(reader, 0, sizeof(*reader));
	reader->rules = rules;
	reader->path = standard ? "stdin" : path;
	reader->line = 1;
	reader->format = rules->format;
	if (reader->format == FORMAT_AUTO)
		reader->format = standard ? FORMAT_JSONL : format_of(path);
	reader->fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
	if (reader->fd < 0 || fstat(reader->fd, &info) != 0)
		return strerror(errno);
	if (S_ISDIR(info.st_mode))
		return strerror(EISDIR);
	reader->regular = S_ISREG(info.st_mode);
	if (utf8_error(reader->path, strlen(reader->path)))
		return "its name is not UTF-8";
	return NULL;
}

/* Close the file, unless it is the standard input, and free what was read. */
void
reader_close(Reader *reader)
{
	if (reader->fd > STDIN_FILENO)
		close(reader->fd);
	for (int i = 0; i < reader->ncolumns; i++)
		free(reader->columns[i]);
	free(reader->columns);
	strbuf_free(&reader->buf);
	strbuf_free(&reader->cells);
	strbuf_free(&reader->error);
}

/* Read more behind what there is; false if there is nothing yet. */
static bool
fill(Reader *reader)
{
	struct pollfd wait = {.fd = reader->fd,.events = POLLIN};
	ssize_t		n;

	if (!reader->regular && poll(&wait, 1, 0) <= 0)
		return false;
	if (reader->pos > 0)
	{
		memmove(reader->buf.data, reader->buf.data + reader->pos, reader->buf.len - reader->pos);
		reader->buf.len -= reader->pos;
		reader->pos = 0;
	}
	strbuf_reserve(&reader->buf, CHUNK);
	n = read(reader->fd, reader->buf.data + reader->buf.len, CHUNK);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return false;
	if (n < 0)
		fail_with(EXIT_USAGE, NULL, "could not read \"%s\": %s", reader->path, strerror(errno));
	reader->buf.len += n;
	reader->buf.data[reader->buf.len] = '\0';
	if (n == 0)
		reader->eof = true;
	return true;
}

/* Does the record end in what is there?  "scanned" is then behind its end. */
static bool
find_end(Reader *reader)
{
	const char *start = reader->buf.data + reader->pos;
	const char *s = start + reader->scanned;
	const char *end = reader->buf.data + reader->buf.len;
	bool		csv = reader->format == FORMAT_CSV || reader->format == FORMAT_TSV;

	if (reader->format == FORMAT_TEXT)
		s = end;
	else if (!csv)
	{
		const char *newline = s < end ? memchr(s, '\n', end - s) : NULL;

		s = newline ? newline + 1 : end;
		reader->scanned = s - start;
		if (newline)
		{
			reader->lines++;
			return true;
		}
	}
	else
		for (; s < end; s++)
		{
			if (*s == '"')
				reader->in_quotes = !reader->in_quotes;
			else if (*s == '\n')
			{
				reader->lines++;
				if (!reader->in_quotes)
				{
					reader->scanned = s + 1 - start;
					return true;
				}
			}
		}
	reader->scanned = s - start;
	return false;
}

/* Too much for one record: forget what there is of it. */
static void
drop(Reader *reader)
{
	reader->too_long = true;
	reader->dropped += reader->scanned;
	reader->pos += reader->scanned;
	reader->scanned = 0;
}

/* The next record as it is in the file; it stays until the next call. */
static ReadStatus
next_raw(Reader *reader, Record *record)
{
	while (!find_end(reader))
	{
		if (reader->scanned > MAX_RECORD)
			drop(reader);
		if (reader->eof)
		{
			if (reader->scanned > 0 || reader->too_long)
				break;
			/* an empty text is a document, too */
			if (reader->format != FORMAT_TEXT || reader->started)
				return READ_END;
			break;
		}
		if (!fill(reader))
			return READ_WAIT;
	}
	record->raw = reader->buf.data ? reader->buf.data + reader->pos : "";
	record->raw_len = reader->scanned;
	record->line = reader->line;
	record->start = reader->offset;
	record->end = reader->offset + reader->dropped + reader->scanned;
	record->error = reader->too_long || reader->scanned > MAX_RECORD ? "it is longer than 64 MB" : NULL;
	if (!record->error && reader->in_quotes)
		record->error = "a quoted cell does not end";
	if (reader->too_long)
		record->raw_len = 0;
	reader->pos += reader->scanned;
	reader->offset = record->end;
	reader->line += reader->lines;
	reader->scanned = reader->lines = reader->dropped = 0;
	reader->in_quotes = reader->too_long = false;
	return READ_RECORD;
}

/* Without the byte order mark that some editors write, and the line's end. */
static void
trim(Reader *reader, Record *record)
{
	if (!reader->started && record->raw_len >= 3 && memcmp(record->raw, "\xef\xbb\xbf", 3) == 0)
	{
		record->raw += 3;
		record->raw_len -= 3;
	}
	reader->started = true;
	if (reader->format == FORMAT_TEXT)
		return;
	if (record->raw_len > 0 && record->raw[record->raw_len - 1] == '\n')
		record->raw_len--;
	if (record->raw_len > 0 && record->raw[record->raw_len - 1] == '\r')
		record->raw_len--;
}

static bool
is_blank(const Record *record)
{
	for (size_t i = 0; i < record->raw_len; i++)
		if (!strchr(" \t\r", record->raw[i]) || !record->raw[i])
			return false;
	return true;
}

static bool
wants_header(const Reader *reader)
{
	return (reader->format == FORMAT_CSV || reader->format == FORMAT_TSV) && reader->ncolumns == 0;
}

/*
 * Read the header of a CSV.  One that cannot be used makes the whole file bad: it
 * ends there.
 */
static ReadStatus
read_header(Reader *reader, Record *record)
{
	ReadStatus	status = next_raw(reader, record);

	if (status != READ_RECORD)
		return status;
	trim(reader, record);
	if (!record->error)
		record->error = csv_header(reader, record->raw, record->raw_len);
	if (record->error)
	{
		reader->eof = true;
		reader->pos = reader->buf.len;
	}
	return READ_RECORD;
}

/*
 * The next document, or one that is bad, with the reason in record->error.
 */
ReadStatus
reader_next(Reader *reader, Record *record)
{
	for (;;)
	{
		ReadStatus	status;

		if (wants_header(reader))
		{
			status = read_header(reader, record);
			if (status != READ_RECORD || record->error)
				return status;
		}
		status = next_raw(reader, record);
		if (status != READ_RECORD)
			return status;
		trim(reader, record);
		if (record->error)
			return READ_RECORD;
		if (reader->format != FORMAT_TEXT && reader->format != FORMAT_LINES && is_blank(record))
			continue;
		if (reader->format == FORMAT_CSV || reader->format == FORMAT_TSV)
			record->error = document_from_csv(reader, record, record->raw, record->raw_len);
		else if (reader->format == FORMAT_JSONL)
			record->error = document_from_json(reader, record, record->raw, record->raw_len);
		else if (reader->format == FORMAT_TEXT)
			record->error = document_from_text(reader, record, record->raw, record->raw_len);
		else
			record->error = document_from_line(reader, record, record->raw, record->raw_len);
		return READ_RECORD;
	}
}

/*
 * Go on at a record that begins there; a CSV's header is read first.  Where the
 * input cannot be moved in, the records before it are read.  Returns why that is
 * not possible, or NULL.
 */
const char *
reader_seek(Reader *reader, off_t offset, long line)
{
	Record		record = {.line = 0};
	struct stat info;

	while (offset > 0 && (wants_header(reader) || (!reader->regular && reader->offset < offset)))
	{
		struct pollfd wait = {.fd = reader->fd,.events = POLLIN};
		ReadStatus	status = wants_header(reader) ? read_header(reader, &record) : next_raw(reader, &record);

		reader->started = true;
		if (status == READ_END)
			return "it ends before that";
		if (wants_header(reader) && record.error)
			return record.error;
		if (status == READ_WAIT)
			poll(&wait, 1, -1);
		if (interrupted)
			end_by_signal();
	}
	if (!reader->regular)
		return reader->offset == offset ? NULL : "no line begins there any more";
	if (fstat(reader->fd, &info) != 0 || info.st_size < offset)
		return "it is shorter than it was";
	if (lseek(reader->fd, offset, SEEK_SET) < 0)
		return strerror(errno);
	reader->started = offset > 0;
	reader->eof = false;
	reader->buf.len = reader->pos = reader->scanned = 0;
	reader->lines = 0;
	reader->offset = offset;
	reader->line = line;
	return NULL;
}
