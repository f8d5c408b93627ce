/*
 * http_json.c
 *		Reading the JSON that services answer.
 *
 * Most of it is vectors, of which the server's own types make a numeric per
 * number.  Here an array of numbers is read to floats at once.  A tree of the
 * rest is small.  What a service sends is not trusted: depth and the memory of the
 * tree are limited, and strings are checked to be UTF-8.
 */
#include "postgres.h"

#include <ctype.h>
#include <math.h>

#include "mb/pg_wchar.h"
#include "miscadmin.h"

#include "compat.h"
#include "executors/http/http.h"

#define MAX_DEPTH 64

/*
 * Memory of a tree: three bytes of a text, "[],", are a node of 48.  Numbers and
 * strings take up to some four times their text.
 */
#define MAX_TREE(len) (32 * 1024 * 1024 + (Size) (len) * 4)

/* Values that a path may lead to. */
#define MAX_FOUND 1000000

typedef struct Reader
{
	const char *at;
	const char *end;
	int			depth;
	Size		room;			/* for the tree, still */
	const char *error;			/* the first; then nothing more is read */
} Reader;

static bool read_value(Reader *reader, HttpJson *value);

static bool
fail(Reader *reader, const char *error)
{
	if (reader->error == NULL)
		reader->error = error;
	return false;
}

static void
skip_space(Reader *reader)
{
	while (reader->at < reader->end &&
		   (*reader->at == ' ' || *reader->at == '\n' || *reader->at == '\t' || *reader->at == '\r'))
		reader->at++;
}

/* Take a character, behind white space; false if there is another. */
static bool
take(Reader *reader, char c)
{
	skip_space(reader);
	if (reader->at >= reader->end || *reader->at != c)
		return false;
	reader->at++;
	return true;
}

static bool
take_word(Reader *reader, const char *word)
{
	size_t		len = strlen(word);

	if ((size_t) (reader->end - reader->at) < len || memcmp(reader->at, word, len) != 0)
		return fail(reader, "it has an unknown word");
	reader->at += len;
	return true;
}

static int
digits(Reader *reader, uint64 *mantissa, int *taken)
{
	int			n = 0;

	while (reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9')
	{
		if (*taken < 19)
		{
			*mantissa = *mantissa * 10 + (*reader->at - '0');
			if (*mantissa)
				(*taken)++;
			n++;
		}
		else
			*taken = 20;		/* too many to be exact */
		reader->at++;
	}
	return n;
}

/*
 * A number.  Up to 15 digits and a power of ten up to 22 are exact in a double,
 * so one division or multiplication rounds right; the others are for strtod.
 */
static bool
read_number(Reader *reader, double *number)
{
	static const double powers[] = {
		1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13,
		1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22
	};
	const char *start = reader->at;
	bool		negative = *start == '-';
	uint64		mantissa = 0;
	int			taken = 0;
	int			exponent = 0;

	reader->at += negative;
	if (reader->at >= reader->end || *reader->at < '0' || *reader->at > '9')
		return fail(reader, "it has a wrong number");
	(void) digits(reader, &mantissa, &taken);
	if (reader->at < reader->end && *reader->at == '.')
	{
		reader->at++;
		exponent = -digits(reader, &mantissa, &taken);
	}
	if (reader->at < reader->end && (*reader->at == 'e' || *reader->at == 'E'))
	{
		bool		down;
		int			power = 0;

		reader->at++;
		down = reader->at < reader->end && *reader->at == '-';
		if (reader->at < reader->end && (*reader->at == '-' || *reader->at == '+'))
			reader->at++;
		if (reader->at >= reader->end || *reader->at < '0' || *reader->at > '9')
			return fail(reader, "it has a wrong number");
		for (; reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9'; reader->at++)
			power = Min(power * 10 + (*reader->at - '0'), 100000);
		exponent += down ? -power : power;
	}
	if (taken <= 15 && exponent >= -22 && exponent <= 22)
		*number = exponent < 0 ? mantissa / powers[-exponent] : mantissa * powers[exponent];
	else
		*number = fabs(strtod(start, NULL));	/* the text ends with a zero
												 * byte */
	if (negative)
		*number = -*number;
	return true;
}

/* Four hexadecimal digits; -1 if there are none. */
static int
read_hex(Reader *reader)
{
	int			result = 0;

	if (reader->end - reader->at < 4)
		return -1;
	for (int i = 0; i < 4; i++, reader->at++)
	{
		if (!isxdigit((unsigned char) *reader->at))
			return -1;
		result = result * 16 + (*reader->at <= '9' ? *reader->at - '0' : (*reader->at | 0x20) - 'a' + 10);
	}
	return result;
}

/* What follows \u, as UTF-8; returns its length, 0 for an error. */
static int
read_unicode(Reader *reader, char *to)
{
	int			code = read_hex(reader);

	if (code >= 0xD800 && code <= 0xDBFF)
	{
		int			low;

		if (reader->end - reader->at < 2 || reader->at[0] != '\\' || reader->at[1] != 'u')
			return 0;
		reader->at += 2;
		low = read_hex(reader);
		if (low < 0xDC00 || low > 0xDFFF)
			return 0;
		code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
	}
	else if (code >= 0xDC00 && code <= 0xDFFF)
		return 0;
	if (code <= 0)
		return 0;
	unicode_to_utf8(code, (unsigned char *) to);
	return pg_utf_mblen((unsigned char *) to);
}

/* Take some of the tree's memory; false: there is no more. */
static bool
reserve(Reader *reader, Size size)
{
	if (size > reader->room)
		return fail(reader, "it takes too much memory");
	reader->room -= size;
	return true;
}

/* A string, behind its first quote. */
static bool
read_string(Reader *reader, HttpJson *value)
{
	const char *p = reader->at;
	char	   *to;

	while (p < reader->end && *p != '"')
		p += *p == '\\' && p + 1 < reader->end ? 2 : 1;
	if (p >= reader->end)
		return fail(reader, "it ends within a string");
	if (!reserve(reader, p - reader->at + 1))
		return false;
	value->type = JSON_STRING;
	value->string = to = palloc_extended(p - reader->at + 1, MCXT_ALLOC_HUGE);
	while (*reader->at != '"')
	{
		static const char *const from = "\"\\/bfnrt";
		static const char *const into = "\"\\/\b\f\n\r\t";
		const char *escape;
		int			len;

		if ((unsigned char) *reader->at < 0x20)
			return fail(reader, "it has a control character within a string");
		if (*reader->at != '\\')
		{
			*to++ = *reader->at++;
			continue;
		}
		reader->at++;
		if (*reader->at == 'u')
		{
			reader->at++;
			len = read_unicode(reader, to);
			if (len == 0)
				return fail(reader, "it has a character that is none");
			to += len;
			continue;
		}
		escape = strchr(from, *reader->at);
		if (escape == NULL || *escape == '\0')
			return fail(reader, "it has a wrong escape in a string");
		*to++ = into[escape - from];
		reader->at++;
	}
	reader->at++;
	*to = '\0';
	value->n = to - value->string;
	if (!pg_verify_mbstr(PG_UTF8, value->string, value->n, true))
		return fail(reader, "it has a string that is not UTF-8");
	return true;
}

#define FIRST_ELEMENTS 4

/* Must an array of n elements be enlarged for one more? */
static bool
is_full(int n)
{
	return n < FIRST_ELEMENTS ? n == 0 : (n & (n - 1)) == 0;
}

/* Room for one more of n elements. */
static void *
grow(void *array, int n, Size size)
{
	if (!is_full(n))
		return array;
	if (n == 0)
		return palloc(size * FIRST_ELEMENTS);
	return repalloc_huge(array, size * 2 * n);
}

/* The same in a tree, within its memory; false: there is no more. */
static bool
grow_tree(Reader *reader, void **array, int n, Size size)
{
	if (is_full(n) && !reserve(reader, size * Max(n, FIRST_ELEMENTS)))
		return false;
	*array = grow(*array, n, size);
	return true;
}

/* The elements are no numbers alone: those that were are taken for values. */
static bool
numbers_to_items(Reader *reader, HttpJson *value)
{
	value->type = JSON_ARRAY;
	for (int i = 0; i < value->n; i++)
	{
		if (!grow_tree(reader, (void **) &value->items, i, sizeof(HttpJson)))
			return false;
		memset(&value->items[i], 0, sizeof(HttpJson));
		value->items[i].type = JSON_NUMBER;
		value->items[i].number = value->numbers[i];
	}
	value->numbers = NULL;
	return true;
}

static bool
is_number(const Reader *reader)
{
	return reader->at < reader->end &&
		(*reader->at == '-' || (*reader->at >= '0' && *reader->at <= '9'));
}

static bool
read_array(Reader *reader, HttpJson *value)
{
	value->type = JSON_NUMBERS;
	if (take(reader, ']'))
		return true;
	do
	{
		skip_space(reader);
		if (value->type == JSON_NUMBERS && is_number(reader))
		{
			double		number = 0;

			if (!read_number(reader, &number))
				return false;
			if (!grow_tree(reader, (void **) &value->numbers, value->n, sizeof(float)))
				return false;
			value->numbers[value->n++] = (float) number;
			if (value->n % 4096 == 0)
				CHECK_FOR_INTERRUPTS();
			continue;
		}
		if (value->type == JSON_NUMBERS && !numbers_to_items(reader, value))
			return false;
		if (!grow_tree(reader, (void **) &value->items, value->n, sizeof(HttpJson)))
			return false;
		if (!read_value(reader, &value->items[value->n++]))
			return false;
	} while (take(reader, ','));
	return take(reader, ']') || fail(reader, "it has an array without end");
}

static bool
read_object(Reader *reader, HttpJson *value)
{
	value->type = JSON_OBJECT;
	if (take(reader, '}'))
		return true;
	do
	{
		if (!grow_tree(reader, (void **) &value->keys, value->n, sizeof(HttpJson)) ||
			!grow_tree(reader, (void **) &value->items, value->n, sizeof(HttpJson)))
			return false;
		if (!take(reader, '"'))
			return fail(reader, "it has an object with a wrong key");
		if (!read_string(reader, &value->keys[value->n]))
			return false;
		if (!take(reader, ':'))
			return fail(reader, "it has an object with a key without value");
		if (!read_value(reader, &value->items[value->n++]))
			return false;
	} while (take(reader, ','));
	return take(reader, '}') || fail(reader, "it has an object without end");
}

static bool
read_value(Reader *reader, HttpJson *value)
{
	bool		good = false;

	CHECK_FOR_INTERRUPTS();
	memset(value, 0, sizeof(HttpJson));
	skip_space(reader);
	if (reader->at >= reader->end)
		return fail(reader, "it ends too early");
	if (++reader->depth > MAX_DEPTH)
		return fail(reader, "it is nested too deeply");
	switch (*reader->at)
	{
		case '{':
			reader->at++;
			good = read_object(reader, value);
			break;
		case '[':
			reader->at++;
			good = read_array(reader, value);
			break;
		case '"':
			reader->at++;
			good = read_string(reader, value);
			break;
		case 't':
			value->type = JSON_BOOL;
			value->number = 1;
			good = take_word(reader, "true");
			break;
		case 'f':
			value->type = JSON_BOOL;
			good = take_word(reader, "false");
			break;
		case 'n':
			good = take_word(reader, "null");
			break;
		default:
			value->type = JSON_NUMBER;
			good = is_number(reader) ? read_number(reader, &value->number) :
				fail(reader, "it has an unknown word");
	}
	reader->depth--;
	return good;
}

/*
 * A text as a tree, in the current memory context; it must end with a zero byte
 * that is not counted.  NULL, and what is wrong, where it is no JSON.
 */
HttpJson *
http_json_read(const char *json, size_t len, const char **error)
{
	Reader		reader = {json, json + len, 0, MAX_TREE(len), NULL};
	HttpJson   *root = palloc(sizeof(HttpJson));

	if (read_value(&reader, root))
	{
		skip_space(&reader);
		if (reader.at < reader.end)
			(void) fail(&reader, "something follows its end");
	}
	*error = reader.error;
	return reader.error ? NULL : root;
}

/* The last member of that name; NULL if there is none, or no object. */
HttpJson *
http_json_member(HttpJson *object, const char *name)
{
	if (object == NULL || object->type != JSON_OBJECT)
		return NULL;
	for (int i = object->n - 1; i >= 0; i--)
		if (strcmp(object->keys[i].string, name) == 0)
			return &object->items[i];
	return NULL;
}

/* A step of a path: .name, ["name"], [number] or [*]. */
typedef struct Step
{
	char	   *name;
	int			index;			/* -1: all */
} Step;

/* Take a step from a path; false if it is none. */
static bool
take_step(const char **path, Step *step)
{
	const char *p = *path;
	size_t		len;

	step->name = NULL;
	step->index = -1;
	if (*p == '.')
	{
		len = strcspn(++p, ".[]\"* \t\n");
		step->name = pnstrdup(p, len);
		*path = p + len;
		return len > 0;
	}
	if (*p++ != '[')
		return false;
	if (*p == '"')
	{
		len = strcspn(++p, "\"\\");
		step->name = pnstrdup(p, len);
		p += len;
		if (*p++ != '"')
			return false;
	}
	else if (*p == '*')
		p++;
	else
	{
		if (*p < '0' || *p > '9')
			return false;
		for (step->index = 0; *p >= '0' && *p <= '9'; p++)
			step->index = Min(step->index * 10 + (*p - '0'), PG_INT32_MAX / 10 - 1);
	}
	if (*p != ']')
		return false;
	*path = p + 1;
	return true;
}

/* Is it a path that http_json_path takes? */
bool
http_json_path_check(const char *path)
{
	Step		step;

	if (*path++ != '$')
		return false;
	while (*path)
		if (!take_step(&path, &step))
			return false;
	return true;
}

/* An element of an array, as a value. */
static HttpJson *
element(HttpJson *array, int i)
{
	HttpJson   *value;

	if (array->type == JSON_ARRAY)
		return &array->items[i];
	value = palloc0(sizeof(HttpJson));
	value->type = JSON_NUMBER;
	value->number = array->numbers[i];
	return value;
}

/*
 * The values at a path, in their order: $ and steps .name, ["name"], [0], [*].
 * What a path does not lead to is left out, and the search ends with more values
 * than any batch has.
 */
HttpJson  **
http_json_path(HttpJson *root, const char *path, int *n)
{
	HttpJson  **found = palloc(sizeof(HttpJson *));

	found[0] = root;
	*n = 1;
	path++;
	while (*path)
	{
		Step		step;
		HttpJson  **next = NULL;
		int			count = 0;

		if (!take_step(&path, &step))
			elog(ERROR, "wrong path");
		for (int i = 0; i < *n; i++)
		{
			HttpJson   *value = found[i];
			HttpJson   *member = step.name ? http_json_member(value, step.name) : NULL;
			bool		is_array = value->type == JSON_ARRAY || value->type == JSON_NUMBERS;

			if (member)
			{
				next = grow(next, count, sizeof(HttpJson *));
				next[count++] = member;
			}
			for (int k = Max(step.index, 0); step.name == NULL && is_array && k < value->n && count < MAX_FOUND; k++)
			{
				CHECK_FOR_INTERRUPTS();
				next = grow(next, count, sizeof(HttpJson *));
				next[count++] = element(value, k);
				if (step.index >= 0)
					break;
			}
		}
		found = next;
		*n = count;
	}
	return found;
}
