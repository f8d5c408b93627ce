/*
 * post.h
 *		Parts of jflow post: inputs -> reader -> sender, with progress and resume.
 */
#ifndef POST_H
#define POST_H

#include <sys/types.h>

#include "cli.h"

#define MAX_RECORD (64 * 1024 * 1024)	/* bytes of one document in a file */

/* ---- inputs.c: which files ---- */

typedef struct Inputs Inputs;

extern Inputs *inputs_open(int nargs, char **args);
extern const char *inputs_next(Inputs *inputs, int *arg);
extern void inputs_skip_to(Inputs *inputs, int arg, const char *path);
extern int64_t inputs_bytes(Inputs *inputs);

/* ---- attribute.c ---- */

#define NATTRIBUTES 13			/* of a document */

typedef struct DocumentRules DocumentRules;

extern const char *attribute_name(int n);
extern int	attribute_number(const char *name);
extern bool is_attribute(const char *name);
extern bool attribute_is_json(const char *name);
extern const char *attribute_of(const DocumentRules *rules, const char *name);

/* ---- reader.c, csv.c, document.c: documents of a file ---- */

typedef enum Format
{
	FORMAT_AUTO,
	FORMAT_JSONL,
	FORMAT_CSV,
	FORMAT_TSV,
	FORMAT_LINES,
	FORMAT_TEXT
} Format;

typedef struct Mapping
{
	const char *attribute;
	const char *name;			/* of a key or column */
} Mapping;

/* How documents are made of what is read; the same for all files. */
struct DocumentRules
{
	Format		format;
	bool		tags;			/* what is no attribute becomes a tag */
	bool		strings;		/* columns become strings, also numbers */
	bool		utf8;			/* check that it is */
	Mapping    *mappings;
	int			nmappings;
};

typedef struct Record
{
	StrBuf		doc;			/* a JSON object */
	const char *error;			/* or why there is none */
	const char *raw;			/* as read, until the next one is */
	size_t		raw_len;
	long		line;			/* where it begins, from 1 */
	off_t		start;
	off_t		end;			/* where the next begins */
} Record;

typedef enum ReadStatus
{
	READ_RECORD,
	READ_WAIT,					/* nothing there yet: wait for reader_fd */
	READ_END
} ReadStatus;

typedef struct Reader
{
	const DocumentRules *rules;
	Format		format;
	const char *path;			/* as documents are named after it */
	int			fd;
	bool		regular;
	bool		eof;
	StrBuf		buf;
	size_t		pos;			/* of the next record in buf */
	size_t		scanned;		/* bytes behind it known not to end it */
	bool		in_quotes;		/* there */
	bool		too_long;		/* its beginning was dropped */
	off_t		offset;			/* of pos in the file */
	off_t		dropped;		/* bytes of it that were */
	long		line;
	long		lines;			/* line ends within it */
	bool		started;
	char	  **columns;		/* of a CSV's header */
	int			ncolumns;
	StrBuf		cells;
	StrBuf		error;
} Reader;

extern const char *reader_open(Reader *reader, const char *path, const DocumentRules *rules);
extern ReadStatus reader_next(Reader *reader, Record *record);
extern const char *reader_seek(Reader *reader, off_t offset, long line);
extern void reader_close(Reader *reader);

extern int	csv_split(Reader *reader, const char *text, size_t len, char ***cells, bool **quoted);
extern const char *csv_header(Reader *reader, const char *text, size_t len);

extern const char *document_from_json(Reader *reader, Record *record, const char *text, size_t len);
extern const char *document_from_csv(Reader *reader, Record *record, const char *text, size_t len);
extern const char *document_from_text(Reader *reader, Record *record, const char *text, size_t len);
extern const char *document_from_line(Reader *reader, Record *record, const char *text, size_t len);

/* ---- resume.c: where a post was ---- */

typedef struct Place
{
	int			arg;			/* of the arguments */
	const char *path;
	long		line;
	off_t		start;
	uint64_t	hash;			/* of the document */
} Place;

extern uint64_t hash_bytes(const char *bytes, size_t len);
extern bool resume_read(const char *file, const char *endpoint, int nargs, char **args,
						Place *place, int64_t * docs);
extern void resume_prepare(const char *file);
extern void resume_write(const char *file, const char *endpoint, char **args,
						 const Place *place, int64_t docs);

/* ---- progress.c ---- */

typedef struct Progress
{
	bool		shown;
	bool		bar;			/* else lines */
	double		started;
	double		drawn;			/* when last */
	int64_t		total;			/* bytes of the inputs, or -1 */
	int64_t		bytes;
	int64_t		steps;
	int64_t		docs;
	int			ticks;
} Progress;

extern void progress_start(Progress *progress, int64_t total, bool quiet);
extern void progress_draw(Progress *progress, bool now);
extern void progress_end(Progress *progress, const char *word);

/* ---- sender.c: batches on their way ---- */

typedef struct Sender Sender;

extern Sender *sender_start(Session *session, Progress *progress, const char *endpoint, char **args,
							bool resumes, int64_t docs_before);
extern void sender_add(Sender *sender, const Record *record, const char *path, int arg);
extern void sender_skip(Sender *sender, const Record *record, const char *path);
extern void sender_flush(Sender *sender);
extern void sender_wait(Sender *sender, int fd, int timeout_ms);
extern bool sender_stopped(const Sender *sender);
extern void sender_finish(Sender *sender);
extern const Place *sender_place(const Sender *sender);
extern int64_t sender_bad(const Sender *sender);
extern int	sender_code(const Sender *sender);

#endif
