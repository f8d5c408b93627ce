/*
 * resume.c
 *		The state file of jflow post: the last document that is stored.
 *
 * It is written beside and renamed, after the server has said that the document
 * is committed, so it never claims too much.  A document is found again by its
 * place, and recognized by a hash: a file that was changed in front of it is told.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "post.h"

#define MAX_STATE 65536

/* FNV-1a */
uint64_t
hash_bytes(const char *bytes, size_t len)
{
	uint64_t	hash = UINT64_C(14695981039346656037);

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ (unsigned char) bytes[i]) * UINT64_C(1099511628211);
	return hash;
}

static void NORETURN
damaged(const char *file)
{
	fail_with(EXIT_USAGE, "Remove it to begin anew.", "\"%s\" is no state file of jflow post", file);
}

/* A string written by json_string, back as it was. */
static char *
string_value(const char *file, const JsonMember *member)
{
	StrBuf		out = {0};
	const char *end = member->value + member->value_len - 1;

	if (member->value_len < 2 || member->value[0] != '"')
		damaged(file);
	strbuf_reserve(&out, member->value_len);
	for (const char *s = member->value + 1; s < end; s++)
	{
		char		hex[5] = {0};

		if (*s != '\\')
		{
			strbuf_add_char(&out, *s);
			continue;
		}
		s++;
		switch (*s)
		{
			case 'n':
				strbuf_add_char(&out, '\n');
				break;
			case 'r':
				strbuf_add_char(&out, '\r');
				break;
			case 't':
				strbuf_add_char(&out, '\t');
				break;
			case 'u':
				memcpy(hex, s + 1, 4);
				strbuf_add_char(&out, (char) strtol(hex, NULL, 16));
				s += 4;
				break;
			default:
				strbuf_add_char(&out, *s);
		}
	}
	out.data[out.len] = '\0';
	return out.data;
}

static const JsonMember *
find_member(const char *file, const JsonObject *object, const char *name)
{
	for (int i = 0; i < object->nmembers; i++)
		if (json_key_is(&object->members[i], name))
			return &object->members[i];
	damaged(file);
}

static int64_t
number_value(const char *file, const JsonObject *object, const char *name)
{
	const JsonMember *member = find_member(file, object, name);
	char	   *end;
	int64_t		number = strtoll(member->value, &end, 10);

	if (end != member->value + member->value_len || number < 0)
		damaged(file);
	return number;
}

static char *
read_all(const char *file, size_t *len)
{
	int			fd = open(file, O_RDONLY | O_CLOEXEC);
	char	   *text;
	ssize_t		n;

	if (fd < 0)
	{
		if (errno == ENOENT)
			return NULL;
		fail_with(EXIT_USAGE, NULL, "could not open state file \"%s\": %s", file, strerror(errno));
	}
	text = allocate(MAX_STATE + 1);

	n = read(fd, text, MAX_STATE);
	if (n < 0)
		fail_with(EXIT_USAGE, NULL, "could not read state file \"%s\": %s", file, strerror(errno));
	close(fd);
	*len = n;
	return text;
}

static void
check_same(const char *file, const char *was, const char *is, const char *what)
{
	if (strcmp(was, is) != 0)
		fail_with(EXIT_USAGE, "Give the same arguments, or another state file.",
				  "state file \"%s\" is of another post: its %s was \"%s\"", file, what, was);
}

/*
 * Where the post was that this file tells of; false if there is none.  The
 * arguments must be the same.
 */
bool
resume_read(const char *file, const char *endpoint, int nargs, char **args, Place *place, int64_t * docs)
{
	JsonObject	object = {NULL};
	size_t		len;
	char	   *text = read_all(file, &len);
	char	   *end;

	if (!text)
		return false;
	if (json_object(text, len, true, &object) != NULL)
		damaged(file);
	check_same(file, string_value(file, find_member(file, &object, "endpoint")), endpoint, "endpoint");
	place->arg = (int) number_value(file, &object, "arg");
	if (place->arg >= nargs)
		check_same(file, string_value(file, find_member(file, &object, "argument")), "", "input");
	check_same(file, string_value(file, find_member(file, &object, "argument")), args[place->arg], "input");
	place->path = string_value(file, find_member(file, &object, "path"));
	place->line = number_value(file, &object, "line");
	place->start = number_value(file, &object, "start");
	text[		len] = '\0';

	place->hash = strtoull(string_value(file, find_member(file, &object, "hash")), &end, 16);
	*docs = number_value(file, &object, "docs");
	free(object.members);
	free(text);
	return true;
}

static void NORETURN
fail_to_write(const char *file)
{
	fail_with(EXIT_USAGE, NULL, "could not write state file \"%s\": %s", file, strerror(errno));
}

/* See that the file can be written, before anything is stored; else exit. */
void
resume_prepare(const char *file)
{
	char	   *temporary = format_string("%s.new", file);
	int			fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

	if (fd < 0 || close(fd) != 0 || unlink(temporary) != 0)
		fail_to_write(file);
	free(temporary);
}

/* Tell that everything up to this document is stored. */
void
resume_write(const char *file, const char *endpoint, char **args, const Place *place, int64_t docs)
{
	char	   *temporary = format_string("%s.new", file);
	StrBuf text = {0};
	int			fd;

	strbuf_add(&text, "{\"endpoint\":");
	json_string(&text, endpoint, strlen(endpoint));
	strbuf_addf(&text, ",\"arg\":%d,\"argument\":", place->arg);
	json_string(&text, args[place->arg], strlen(args[place->arg]));
	strbuf_add(&text, ",\"path\":");
	json_string(&text, place->path, strlen(place->path));
	strbuf_addf(&text, ",\"line\":%ld,\"start\":%" PRId64 ",\"hash\":\"%016" PRIx64 "\",\"docs\":%" PRId64 "}\n",
				place->line, (int64_t) place->start, place->hash, docs);

	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0 || write(fd, text.data, text.len) != (ssize_t) text.len || fsync(fd) != 0 || close(fd) != 0 ||
		rename(temporary, file) != 0)
		fail_to_write(file);
	strbuf_free(&text);
	free(temporary);
}
