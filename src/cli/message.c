/*
 * message.c
 *		Messages of the client, on the standard error.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

void		(*before_message) (void);

/*
 * A message may quote texts of anybody's: a terminal does not get what could
 * steer it, a file gets the bytes as they are.
 */
static void
write_text(const char *title, const char *text)
{
	char	   *line = format_string("%s%s", title, text);
	size_t		len = strlen(line);

	while (len > 0 && line[len - 1] == '\n')	/* as libpq ends its messages */
		line[--len] = '\0';
	if (isatty(STDERR_FILENO))
		print_lines(stderr, line);
	else
		fprintf(stderr, "%s\n", line);
	free(line);
}

static void
PRINTF(1, 0)
write_message(const char *format, va_list args)
{
	char	   *text = format_list(format, args);

	if (before_message)
		before_message();
	write_text("jflow: ", text);
	free(text);
}

/* Say what is wrong, on the standard error. */
void
complain(const char *format,...)
{
	va_list		args;

	va_start(args, format);
	write_message(format, args);
	va_end(args);
}

/* What follows a complaint: a detail or a hint. */
void
complain_more(const char *title, const char *text)
{
	char	   *start = format_string("%s:  ", title);

	write_text(start, text);
	free(start);
}

/* Complain, with a hint unless that is NULL, and exit. */
void
fail_with(int code, const char *hint, const char *format,...)
{
	va_list		args;

	va_start(args, format);
	write_message(format, args);
	va_end(args);
	if (hint)
		complain_more("HINT", hint);
	exit(code);
}

/* What was written has arrived, or we fail: a full disk is not silent. */
void
finish_output(FILE *file, const char *name)
{
	if (fflush(file) != 0)
		fail_with(EXIT_USAGE, NULL, "could not write to %s: %s", name, strerror(errno));
	if (ferror(file))			/* earlier, so nobody knows why any more */
		fail_with(EXIT_USAGE, NULL, "could not write to %s", name);
}
