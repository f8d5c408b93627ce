/*
 * cli.h
 *		What the files of the client share.
 *
 * The client is a program of its own over libpq: it includes nothing of the
 * server's or of the extension's.  Memory that cannot be had ends it; so does a
 * usage error, with psql's exit codes.
 */
#ifndef CLI_H
#define CLI_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <libpq-fe.h>

#define EXIT_OK 0
#define EXIT_USAGE 1			/* wrong arguments, or a file of ours */
#define EXIT_CONNECTION 2		/* no connection, or it was lost */
#define EXIT_SERVER 3			/* the server refused, or documents were bad */

/* ---- util.c: memory, strings ---- */

typedef struct StrBuf
{
	char	   *data;			/* always ends with a zero byte, once anything
								 * was added */
	size_t		len;
	size_t		size;
} StrBuf;

#define PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))
#define NORETURN __attribute__((noreturn))

extern void *allocate(size_t size);
extern void *reallocate(void *pointer, size_t size);
extern char *copy_string(const char *string);
extern char *format_list(const char *format, va_list args) PRINTF(1, 0);
extern char *format_string(const char *format,...) PRINTF(1, 2);
extern void strbuf_reset(StrBuf *buf);
extern void strbuf_free(StrBuf *buf);
extern void strbuf_reserve(StrBuf *buf, size_t more);
extern void strbuf_add(StrBuf *buf, const char *string);
extern void strbuf_add_bytes(StrBuf *buf, const char *bytes, size_t len);
extern void strbuf_add_char(StrBuf *buf, char c);
extern void strbuf_addf(StrBuf *buf, const char *format,...) PRINTF(2, 3);
extern double now_seconds(void);

/* ---- term.c: what the terminal can, and texts for eyes ---- */

typedef struct Glyphs
{
	const char *horizontal;		/* of tables */
	const char *vertical;
	const char *cross;
	const char *bar_done;		/* of bars */
	const char *bar_head;
	const char *bar_left;
	const char *node;			/* of pictures of flows */
	const char *branch;
	const char *fork;
	const char *last_fork;
	const char *join;
	const char *last_join;
} Glyphs;

extern void term_init(void);
extern bool term_is_utf8(void);
extern const Glyphs *glyphs(void);
extern int	term_width(int fd);
extern int	term_height(int fd);
extern bool use_colour(int fd);
extern size_t next_char(const char *text, size_t len, char *out, int *width);
extern int	display_width(const char *text);
extern int	put_text(StrBuf *out, const char *text, size_t len, int columns);
extern void put_blanks(StrBuf *out, int columns);
extern void mark_words(const char *words);
extern void print_lines(FILE *file, const char *text);
extern char *utf8_of_locale(const char *text);
extern size_t wrap_line(const char *text, size_t len, int columns, size_t *next);
extern char *one_line(const char *text);

/* ---- message.c ---- */

/* Called before anything is written to the terminal beside a bar, if set. */
extern void (*before_message) (void);

extern void NORETURN fail_with(int code, const char *hint, const char *format,...) PRINTF(3, 4);
extern void complain(const char *format,...) PRINTF(1, 2);
extern void complain_more(const char *title, const char *text);
extern void finish_output(FILE *file, const char *name);

/* ---- table.c ---- */

typedef struct Column
{
	const char *title;
	bool		right;			/* numbers */
	bool		wraps;			/* takes what is left of the width, in several
								 * lines */
} Column;

extern void print_table(FILE *file, const Column *columns, int ncolumns, char **cells, int nrows);
extern void print_columns(FILE *file, PGresult *result, int ncolumns);
extern void print_result(FILE *file, PGresult *result);

/* ---- json.c ---- */

typedef struct JsonMember
{
	const char *key;			/* between the quotes */
	size_t		key_len;
	const char *value;
	size_t		value_len;
} JsonMember;

typedef struct JsonObject
{
	JsonMember *members;
	int			nmembers;
	int			size;
} JsonObject;

extern const char *json_object(const char *text, size_t len, bool utf8, JsonObject *object);
extern const char *json_value(const char *text, size_t len, bool utf8);
extern bool json_key_is(const JsonMember *member, const char *name);
extern void json_string(StrBuf *out, const char *text, size_t len);
extern const char *utf8_error(const char *text, size_t len);

/* ---- connect.c ---- */

typedef struct Session
{
	PGconn	   *conn;
	char	   *schema;			/* the extension's, quoted */
	char	   *version;		/* the extension's, or NULL */
} Session;

typedef struct ConnectOptions
{
	const char *dbname;
	const char *host;
	const char *port;
	const char *user;
	const char *encoding;		/* NULL is UTF8 */
	int			prompt;			/* -1 never, 0 if asked for, 1 at once */
	bool		watches;		/* for days, so that a server that is gone is
								 * noticed */
} ConnectOptions;

/* The signal that ended what we did, or 0. */
extern volatile int interrupted;

/* Called by what ends us at once, also by a handler of signals, if set. */
extern void (*restore_terminal) (void);

extern void connect_server(Session *session, const ConnectOptions *options, bool needs_extension);
extern bool reconnect(Session *session);
extern void cancel_on_server(void);
extern void NORETURN end_by_signal(void);
extern PGresult *query(Session *session, int nparams, const char *const *params,
					   const char *format,...) PRINTF(4, 5);
extern PGresult *try_query(Session *session, int nparams, const char *const *params,
						   const char *format,...) PRINTF(4, 5);
extern void report_result(const PGresult *result, PGconn *conn, const char *where);
extern void NORETURN fail_by_result(Session *session, PGresult *result);
extern bool has_function(Session *session, const char *name);
extern bool has_view(Session *session, const char *name);
extern void NORETURN fail_without(Session *session, const char *what);

/* ---- options.c ---- */

typedef struct Option
{
	const char *name;			/* long, without the dashes */
	int			letter;			/* or 0 */
	const char *value;			/* what the help calls its value, or NULL for
								 * a flag */
	const char *help;
} Option;

typedef struct Command
{
	const char *name;
	const char *usage;			/* its arguments */
	const char *summary;
	const Option *options;
	int			(*run) (int nargs, char **args);
} Command;

extern ConnectOptions connect_options;

extern const char *option_value(const char *name);
extern const char *option_text(const char *name);
extern int	option_count(const char *name);
extern const char *option_value_nth(const char *name, int n);
extern bool option_set(const char *name);
extern long option_number(const char *name, long standard, long least, long most);
extern void parse_options(int argc, char **argv, const Command *commands, const Command **command,
						  int *nargs, char ***args);
extern void print_help(FILE *file, const Command *commands, const Command *command);
extern void NORETURN usage_error(const Command *command, const char *format,...) PRINTF(2, 3);

/* ---- listen.c ---- */

typedef PGresult *(*WriteMetrics) (Session *session, StrBuf *out, bool openmetrics);
extern void NORETURN listen_for_scrapes(Session *session, const char *address, WriteMetrics write);

/* ---- apply.c, metrics.c, plot.c, post.c, search.c, status.c, sync.c, top.c: the subcommands ---- */

extern int	run_apply(int nargs, char **args);
extern int	run_explain(int nargs, char **args);
extern int	run_metrics(int nargs, char **args);
extern int	run_plot(int nargs, char **args);
extern int	run_post(int nargs, char **args);
extern int	run_search(int nargs, char **args);
extern int	run_status(int nargs, char **args);
extern int	run_sync(int nargs, char **args);
extern int	run_top(int nargs, char **args);
extern int	run_version(int nargs, char **args);

extern const Option post_options[];
extern const Option search_options[];
extern const Option explain_options[];
extern const Option status_options[];
extern const Option top_options[];
extern const Option plot_options[];
extern const Option apply_options[];
extern const Option sync_options[];
extern const Option metrics_options[];
extern const Option version_options[];

#endif
