/*
 * json.c
 *		Just enough JSON: is a text one value, what are an object's members, and
 *		a string written as JSON.
 *
 * Documents go to the server many at a time, so a line that is no JSON must be
 * found here: there it would fail them all.  What jsonb refuses is refused here,
 * too: \u0000, and halves of surrogate pairs.
 */
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#define MAX_DEPTH 1000

typedef struct Scanner
{
	const char *pos;
	const char *end;
	int			depth;
	const char *error;
} Scanner;

static bool scan_value(Scanner *s);

static void
begin_scan(Scanner *s, const char *text, size_t len)
{
	s->pos = text;
	s->end = text +len;

	s->depth = 0;
	s->error = NULL;
}

static bool
fail(Scanner *s, const char *error)
{
	if (!s->error)
		s->error = error;
	return false;
}

static void
skip_blank(Scanner *s)
{
	while (s->pos < s->end && (*s->pos == ' ' || *s->pos == '\t' || *s->pos == '\n' || *s->pos == '\r'))
		s->pos++;
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* The four digits behind \u, or -1. */
static long
scan_hex(Scanner *s)
{
	long		code = 0;

	if (s->end - s->pos < 4)
		return -1;
	for (int i = 0; i < 4; i++)
	{
		int			digit = hex_digit(s->pos[i]);

		if (digit < 0)
			return -1;
		code = code << 4 | digit;
	}
	s->pos += 4;
	return code;
}

static bool
scan_escape(Scanner *s)
{
	long		code;

	s->pos++;
	if (s->pos >= s->end)
		return fail(s, "a string does not end");
	if (*s->pos != 'u')
	{
		if (*s->pos == '\0' || !strchr("\"\\/bfnrt", *s->pos))
			return fail(s, "a string has an unknown escape");
		s->pos++;
		return true;
	}
	s->pos++;
	code = scan_hex(s);
	if (code < 0)
		return fail(s, "\\u wants four hexadecimal digits");
	if (code == 0)
		return fail(s, "\\u0000 cannot be a character of a text");
	if (code >= 0xdc00 && code <= 0xdfff)
		return fail(s, "a low surrogate does not follow a high one");
	if (code >= 0xd800 && code <= 0xdbff)
	{
		if (s->end - s->pos < 2 || s->pos[0] != '\\' || s->pos[1] != 'u')
			return fail(s, "a high surrogate is not followed by a low one");
		s->pos += 2;
		code = scan_hex(s);
		if (code < 0xdc00 || code > 0xdfff)
			return fail(s, "a high surrogate is not followed by a low one");
	}
	return true;
}

static bool
scan_string(Scanner *s)
{
	s->pos++;
	while (s->pos < s->end)
	{
		if (*s->pos == '"')
		{
			s->pos++;
			return true;
		}
		if (*s->pos == '\\')
		{
			if (!scan_escape(s))
				return false;
		}
		else if ((unsigned char) *s->pos < 0x20)
			return fail(s, "a string has a control character");
		else
			s->pos++;
	}
	return fail(s, "a string does not end");
}

static bool
scan_digits(Scanner *s)
{
	const char *start = s->pos;

	while (s->pos < s->end && *s->pos >= '0' && *s->pos <= '9')
		s->pos++;
	return s->pos > start || fail(s, "a number is not complete");
}

static bool
scan_number(Scanner *s)
{
	if (*s->pos == '-')
		s->pos++;
	if (s->pos < s->end && *s->pos == '0')
		s->pos++;
	else if (!scan_digits(s))
		return false;
	if (s->pos < s->end && *s->pos == '.')
	{
		s->pos++;
		if (!scan_digits(s))
			return false;
	}
	if (s->pos < s->end && (*s->pos == 'e' || *s->pos == 'E'))
	{
		s->pos++;
		if (s->pos < s->end && (*s->pos == '+' || *s->pos == '-'))
			s->pos++;
		if (!scan_digits(s))
			return false;
	}
	return true;
}

static bool
scan_word(Scanner *s, const char *word)
{
	size_t		len = strlen(word);

	if ((size_t) (s->end - s->pos) < len || memcmp(s->pos, word, len) != 0)
		return fail(s, "a word is neither true, false nor null");
	s->pos += len;
	return true;
}

static void
add_member(JsonObject *object, JsonMember member)
{
	if (object->nmembers == object->size)
	{
		object->size = object->size > 0 ? object->size * 2 : 16;
		object->members = reallocate(object->members, object->size * sizeof(JsonMember));
	}
	object->members[object->nmembers++] = member;
}

/* An object; its members go to "object" unless that is NULL. */
static bool
scan_object(Scanner *s, JsonObject *object)
{
	s->pos++;
	skip_blank(s);
	if (s->pos < s->end && *s->pos == '}')
	{
		s->pos++;
		return true;
	}
	for (;;)
	{
		JsonMember	member;

		skip_blank(s);
		if (s->pos >= s->end)
			return fail(s, "an object does not end");
		if (*s->pos != '"')
			return fail(s, "a key is no string");
		member.key = s->pos + 1;
		if (!scan_string(s))
			return false;
		member.key_len = s->pos - 1 - member.key;
		skip_blank(s);
		if (s->pos >= s->end || *s->pos != ':')
			return fail(s, "a key is not followed by a colon");
		s->pos++;
		skip_blank(s);
		member.value = s->pos;
		if (!scan_value(s))
			return false;
		member.value_len = s->pos - member.value;
		if (object)
			add_member(object, member);
		skip_blank(s);
		if (s->pos >= s->end)
			return fail(s, "an object does not end");
		if (*s->pos == '}')
		{
			s->pos++;
			return true;
		}
		if (*s->pos != ',')
			return fail(s, "members of an object are not separated by a comma");
		s->pos++;
	}
}

static bool
scan_array(Scanner *s)
{
	s->pos++;
	skip_blank(s);
	if (s->pos < s->end && *s->pos == ']')
	{
		s->pos++;
		return true;
	}
	for (;;)
	{
		skip_blank(s);
		if (!scan_value(s))
			return false;
		skip_blank(s);
		if (s->pos >= s->end)
			return fail(s, "an array does not end");
		if (*s->pos == ']')
		{
			s->pos++;
			return true;
		}
		if (*s->pos != ',')
			return fail(s, "elements of an array are not separated by a comma");
		s->pos++;
	}
}

static bool
scan_value(Scanner *s)
{
	bool		good;

	if (s->pos >= s->end)
		return fail(s, "a value is missing");
	if (++s->depth > MAX_DEPTH)
		return fail(s, "it is nested too deeply");
	switch (*s->pos)
	{
		case '{':
			good = scan_object(s, NULL);
			break;
		case '[':
			good = scan_array(s);
			break;
		case '"':
			good = scan_string(s);
			break;
		case 't':
			good = scan_word(s, "true");
			break;
		case 'f':
			good = scan_word(s, "false");
			break;
		case 'n':
			good = scan_word(s, "null");
			break;
		default:
			if (*s->pos == '-' || (*s->pos >= '0' && *s->pos <= '9'))
				good = scan_number(s);
			else
				good = fail(s, "a value begins with a character that begins none");
	}
	s->depth--;
	return good;
}

/* Bytes of the character that begins with this one, or 0 if none does. */
static int
utf8_length(unsigned char c)
{
	if (c < 0x80)
		return 1;
	if (c < 0xc2)
		return 0;
	if (c < 0xe0)
		return 2;
	if (c < 0xf0)
		return 3;
	return c < 0xf5 ? 4 : 0;
}

/* Is this a character of so many bytes?  Neither too long a form nor a surrogate. */
static bool
is_utf8_char(const unsigned char *s, int n)
{
	for (int i = 1; i < n; i++)
	{
		if ((s[i] & 0xc0) != 0x80)
			return false;
	}
	switch (s[0])
	{
		case 0xe0:
			return s[1] >= 0xa0;
		case 0xed:
			return s[1] <= 0x9f;
		case 0xf0:
			return s[1] >= 0x90;
		case 0xf4:
			return s[1] <= 0x8f;
		default:
			return true;
	}
}

/* Why a text is no UTF-8, or NULL. */
const char *
utf8_error(const char *text, size_t len)
{
	const unsigned char *s = (const unsigned char *) text;
	const unsigned char *end = s + len;

	while (s < end)
	{
		int			n = utf8_length(*s);

		if (*s == 0)
			return "it has a zero byte";
		if (n == 0 || end - s < n || !is_utf8_char(s, n))
			return "it is not UTF-8";
		s += n;
	}
	return NULL;
}

/*
 * Why a text is no JSON object, or NULL; then "object" has its members, in place
 * of those that it had.
 */
const char *
json_object(const char *text, size_t len, bool utf8, JsonObject *object)
{
	const char *error = utf8 ? utf8_error(text, len) : NULL;
	Scanner		s;

	begin_scan(&s, text, len);
	object->nmembers = 0;
	if (error)
		return error;
	skip_blank(&s);
	if (s.pos >= s.end || *s.pos != '{')
		return "it is no JSON object";
	if (scan_object(&s, object))
	{
		skip_blank(&s);
		if (s.pos < s.end)
			fail(&s, "something follows the object");
	}
	return s.error;
}

/* Why a text is no JSON value, or NULL. */
const char *
json_value(const char *text, size_t len, bool utf8)
{
	const char *error = utf8 ? utf8_error(text, len) : NULL;
	Scanner		s;

	begin_scan(&s, text, len);
	if (error)
		return error;
	skip_blank(&s);
	if (scan_value(&s))
	{
		skip_blank(&s);
		if (s.pos < s.end)
			fail(&s, "something follows the value");
	}
	return s.error;
}

/* Is this the member's key?  A name of ours has letters and _ only. */
bool
json_key_is(const JsonMember *member, const char *name)
{
	const char *s = member->key;
	const char *end = s + member->key_len;

	while (s < end && *name)
	{
		char		c = *s++;

		if (c == '\\')
		{
			if (*s != 'u' || s[1] != '0' || s[2] != '0')
				return false;
			c = hex_digit(s[3]) << 4 | hex_digit(s[4]);
			s += 5;
		}
		if (c != *name++)
			return false;
	}
	return s == end && !*name;
}

/* Add a text as a JSON string. */
void
json_string(StrBuf *out, const char *text, size_t len)
{
	const char *from = text;
	const char *end = text +len;

	strbuf_add_char(out, '"');
	for (const char *s = text; s < end; s++)
	{
		if ((unsigned char) *s >= 0x20 && *s != '"' && *s != '\\')
			continue;
		strbuf_add_bytes(out, from, s - from);
		from = s + 1;
		switch (*s)
		{
			case '"':
				strbuf_add(out, "\\\"");
				break;
			case '\\':
				strbuf_add(out, "\\\\");
				break;
			case '\n':
				strbuf_add(out, "\\n");
				break;
			case '\r':
				strbuf_add(out, "\\r");
				break;
			case '\t':
				strbuf_add(out, "\\t");
				break;
			default:
				strbuf_addf(out, "\\u%04x", (unsigned char) *s);
		}
	}
	strbuf_add_bytes(out, from, end - from);
	strbuf_add_char(out, '"');
}
