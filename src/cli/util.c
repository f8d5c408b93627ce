/*
 * util.c
 *		Memory and strings of the client.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli.h"

static void *
check_memory(void *pointer)
{
	if (!pointer)
	{
		fputs("jflow: out of memory\n", stderr);
		exit(EXIT_USAGE);
	}
	return pointer;
}

/* Zeroed memory.  It and its kind end the program where there is none. */
void *
allocate(size_t size)
{
	return check_memory(calloc(1, size > 0 ? size : 1));
}

/* The same memory with another size; what is new of it is not zeroed. */
void *
reallocate(void *pointer, size_t size)
{
	return check_memory(realloc(pointer, size > 0 ? size : 1));
}

/* A copy, for the caller to free. */
char *
copy_string(const char *string)
{
	return check_memory(strdup(string));
}

/* The same as format_string, of arguments that are a list already. */
char *
format_list(const char *format, va_list args)
{
	char	   *string = NULL;

	if (vasprintf(&string, format, args) < 0)
		string = NULL;
	return check_memory(string);
}

/* A formatted string, for the caller to free. */
char *
format_string(const char *format,...)
{
	char	   *string;
	va_list		args;

	va_start(args, format);
	string = format_list(format, args);
	va_end(args);
	return string;
}

/* Make it empty; its memory stays. */
void
strbuf_reset(StrBuf *buf)
{
	buf->len = 0;
	if (buf->data)
		buf->data[0] = '\0';
}

/* Free its memory; it can be used again. */
void
strbuf_free(StrBuf *buf)
{
	free(buf->data);
	memset(buf, 0, sizeof(*buf));
}

/* Make room for so many more bytes and a zero byte. */
void
strbuf_reserve(StrBuf *buf, size_t more)
{
	size_t		size = buf->size > 0 ? buf->size : 64;

	while (size - buf->len <= more)
		size *= 2;
	if (size == buf->size)
		return;
	buf->data = reallocate(buf->data, size);
	buf->size = size;
}

/* Add bytes. */
void
strbuf_add_bytes(StrBuf *buf, const char *bytes, size_t len)
{
	strbuf_reserve(buf, len);
	memcpy(buf->data + buf->len, bytes, len);
	buf->len += len;
	buf->data[buf->len] = '\0';
}

/* Add a string. */
void
strbuf_add(StrBuf *buf, const char *string)
{
	strbuf_add_bytes(buf, string, strlen(string));
}

/* Add a character of one byte. */
void
strbuf_add_char(StrBuf *buf, char c)
{
	strbuf_add_bytes(buf, &c, 1);
}

/* Add a formatted string. */
void
strbuf_addf(StrBuf *buf, const char *format,...)
{
	va_list		args;
	int			len;

	va_start(args, format);
	len = vsnprintf(NULL, 0, format, args);
	va_end(args);
	strbuf_reserve(buf, len);
	va_start(args, format);
	vsnprintf(buf->data + buf->len, len + 1, format, args);
	va_end(args);
	buf->len += len;
}

/* Seconds of a clock that is never set. */
double
now_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}
