/*
 * doc_scan.c
 *		Documents from the text of JSON.
 *
 * A jsonb is made of a text byte by byte, and then taken apart again.  Most
 * documents have strings, tags and an embedding, and none of that is needed for
 * them: they are read from the text at once.  Whatever else is met (another
 * attribute, a key twice, what is no JSON) leaves all of the text to jsonb, so
 * that there is one place that says what documents are and what is wrong with
 * them.
 */
#include "postgres.h"

#include <math.h>

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "vector.h"

#include "doc/doc.h"

typedef struct Scanner
{
	const char *pos;
	const char *end;
	StringInfoData buf;			/* of a string, or of tags */
	float	   *numbers;		/* of an embedding */
} Scanner;

static void
skip_blank(Scanner *s)
{
	while (s->pos < s->end && (*s->pos == ' ' || *s->pos == '\n' || *s->pos == '\t' || *s->pos == '\r'))
		s->pos++;
}

/* Is this the next byte that is not blank?  Then it is passed over. */
static bool
scan_char(Scanner *s, char c)
{
	skip_blank(s);
	if (s->pos == s->end || *s->pos != c)
		return false;
	s->pos++;
	return true;
}

static bool
scan_null(Scanner *s)
{
	skip_blank(s);
	if (s->end - s->pos < 4 || memcmp(s->pos, "null", 4) != 0)
		return false;
	s->pos += 4;
	return true;
}

/* Has a word of eight bytes one that ends a run of plain ones in a string? */
static inline bool
has_special(uint64 word)
{
	const uint64 low = UINT64CONST(0x0101010101010101);
	const uint64 high = UINT64CONST(0x8080808080808080);
	uint64		quote = word ^ (low * '"');
	uint64		escape = word ^ (low * '\\');

	/* a byte below n borrows from its high bit; those that have it are plain */
	return ((((word - low * ' ') & ~word) | ((quote - low) & ~quote) | ((escape - low) & ~escape)) & high) != 0;
}

/* The end of the bytes from here on that a string has as they are. */
static const char *
end_of_plain(const char *pos, const char *end)
{
	while (end - pos >= (ptrdiff_t) sizeof(uint64))
	{
		uint64		word;

		memcpy(&word, pos, sizeof(word));
		if (has_special(word))
			break;
		pos += sizeof(word);
	}
	while (pos < end && *pos != '"' && *pos != '\\' && (unsigned char) *pos >= ' ')
		pos++;
	return pos;
}

/* The four digits behind \u, or -1. */
static int
scan_hex(Scanner *s)
{
	int			code = 0;

	if (s->end - s->pos < 4)
		return -1;
	for (int i = 0; i < 4; i++)
	{
		char		c = *s->pos++;

		if (c >= '0' && c <= '9')
			code = code << 4 | (c - '0');
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			code = code << 4 | ((c | 0x20) - 'a' + 10);
		else
			return -1;
	}
	return code;
}

/* What follows \u, which may be the first half of a pair. */
static bool
scan_code_point(Scanner *s)
{
	unsigned char utf8[4];
	int			code = scan_hex(s);

	if (code >= 0xd800 && code <= 0xdbff)
	{
		int			second;

		if (s->end - s->pos < 2 || s->pos[0] != '\\' || s->pos[1] != 'u')
			return false;
		s->pos += 2;
		second = scan_hex(s);
		if (second < 0xdc00 || second > 0xdfff)
			return false;
		code = 0x10000 + ((code - 0xd800) << 10) + (second - 0xdc00);
	}
	else if (code >= 0xdc00 && code <= 0xdfff)
		return false;
	if (code <= 0 || (code > 0x7f && GetDatabaseEncoding() != PG_UTF8))
		return false;
	unicode_to_utf8(code, utf8);
	appendBinaryStringInfo(&s->buf, (char *) utf8, pg_utf_mblen(utf8));
	return true;
}

static bool
scan_escape(Scanner *s)
{
	static const char from[] = "\"\\/bfnrt";
	static const char to[] = "\"\\/\b\f\n\r\t";
	const char *found;

	if (s->pos == s->end)
		return false;
	if (*s->pos == 'u')
	{
		s->pos++;
		return scan_code_point(s);
	}
	found = *s->pos ? strchr(from, *s->pos) : NULL;
	if (found == NULL)
		return false;
	s->pos++;
	appendStringInfoCharMacro(&s->buf, to[found - from]);
	return true;
}

/* A string, into the buffer. */
static bool
scan_string(Scanner *s)
{
	if (!scan_char(s, '"'))
		return false;
	resetStringInfo(&s->buf);
	for (;;)
	{
		const char *stop = end_of_plain(s->pos, s->end);

		appendBinaryStringInfo(&s->buf, s->pos, stop - s->pos);
		if (stop == s->end)
			return false;
		s->pos = stop + 1;
		if (*stop == '"')
			return true;
		if (*stop != '\\' || !scan_escape(s))
			return false;
	}
}

/*
 * A number, by the grammar of JSON.  Its length, or 0 if there is none; "integer"
 * tells whether it is a plain integer whose text is how numeric would write it.
 */
static int
scan_number(Scanner *s, bool *integer)
{
	const char *start;
	const char *digits;

	skip_blank(s);
	start = s->pos;
	if (s->pos < s->end && *s->pos == '-')
		s->pos++;
	digits = s->pos;
	while (s->pos < s->end && *s->pos >= '0' && *s->pos <= '9')
		s->pos++;
	if (s->pos == digits || (*digits == '0' && s->pos - digits > 1))
		return 0;
	*integer = *digits != '0' || start == digits;
	if (s->pos < s->end && *s->pos == '.')
	{
		*integer = false;
		digits = ++s->pos;
		while (s->pos < s->end && *s->pos >= '0' && *s->pos <= '9')
			s->pos++;
		if (s->pos == digits)
			return 0;
	}
	if (s->pos < s->end && (*s->pos == 'e' || *s->pos == 'E'))
	{
		*integer = false;
		s->pos++;
		if (s->pos < s->end && (*s->pos == '+' || *s->pos == '-'))
			s->pos++;
		digits = s->pos;
		while (s->pos < s->end && *s->pos >= '0' && *s->pos <= '9')
			s->pos++;
		if (s->pos == digits)
			return 0;
	}
	return s->pos - start;
}

static Datum
buffer_text(const Scanner *s)
{
	return PointerGetDatum(cstring_to_text_with_len(s->buf.data, s->buf.len));
}

/* A string, or an integer. */
static bool
scan_id(Scanner *s, Datum *value)
{
	const char *start;
	bool		integer = false;

	skip_blank(s);
	start = s->pos;
	if (s->pos < s->end && *s->pos == '"')
	{
		if (!scan_string(s))
			return false;
		*value = buffer_text(s);
		return true;
	}
	if (scan_number(s, &integer) == 0 || !integer)
		return false;
	*value = PointerGetDatum(cstring_to_text_with_len(start, s->pos - start));
	return true;
}

/* Tags: as far as their braces go, and jsonb looks into them. */
static bool
scan_tags(Scanner *s, Datum *value)
{
	const char *start;
	int			depth = 0;

	skip_blank(s);
	start = s->pos;
	if (s->pos == s->end || *s->pos != '{')
		return false;
	do
	{
		char		c = *s->pos++;

		if (c == '{' || c == '[')
			depth++;
		else if (c == '}' || c == ']')
			depth--;
		else if (c == '"')
		{
			while ((s->pos = end_of_plain(s->pos, s->end)) < s->end && *s->pos == '\\')
				s->pos += Min(2, s->end - s->pos);
			if (s->pos == s->end || *s->pos++ != '"')
				return false;
		}
	} while (depth > 0 && s->pos < s->end);
	if (depth > 0)
		return false;
	resetStringInfo(&s->buf);
	appendBinaryStringInfo(&s->buf, start, s->pos - start);
	*value = DirectFunctionCall1(jsonb_in, CStringGetDatum(s->buf.data));
	return true;
}

/* An array of numbers as a vector. */
static bool
scan_embedding(Scanner *s, Datum *value)
{
	Vector	   *vector;
	int			dim = 0;

	if (!scan_char(s, '['))
		return false;
	if (s->numbers == NULL)
		s->numbers = palloc(sizeof(float) * VECTOR_MAX_DIM);
	do
	{
		bool		integer;
		int			len = scan_number(s, &integer);

		/* strtof stops behind the number, since there is more of the text */
		if (len == 0 || s->pos == s->end || dim == VECTOR_MAX_DIM)
			return false;
		errno = 0;
		s->numbers[dim] = strtof(s->pos - len, NULL);
		if (errno == ERANGE && (s->numbers[dim] == 0 || isinf(s->numbers[dim])))
			return false;
		dim++;
	} while (scan_char(s, ','));
	if (!scan_char(s, ']'))
		return false;
	vector = palloc0(VECTOR_SIZE(dim));
	SET_VARSIZE(vector, VECTOR_SIZE(dim));
	vector->dim = dim;
	memcpy(vector->x, s->numbers, sizeof(float) * dim);
	*value = PointerGetDatum(vector);
	return true;
}

static bool
scan_value(Scanner *s, JflowDocAttr attr, Datum *value)
{
	switch (attr)
	{
		case DOC_ID:
		case DOC_PARENT_ID:
			return scan_id(s, value);
		case DOC_TEXT:
		case DOC_URI:
		case DOC_MIME_TYPE:
			if (!scan_string(s))
				return false;
			*value = buffer_text(s);
			return true;
		case DOC_TAGS:
			return scan_tags(s, value);
		case DOC_EMBEDDING:
			return scan_embedding(s, value);
		default:
			return false;
	}
}

/* One document; false: something is not as most documents have it. */
static bool
scan_doc(Scanner *s, JflowDoc *doc)
{
	bool		seen[DOC_NATTS] = {false};

	if (!scan_char(s, '{'))
		return false;
	jflow_doc_init(doc);
	if (scan_char(s, '}'))
		return true;
	do
	{
		int			attr;

		if (!scan_string(s))
			return false;
		attr = jflow_doc_attr_by_name(s->buf.data);
		if (attr < 0 || seen[attr] || !scan_char(s, ':'))
			return false;
		seen[attr] = true;
		if (scan_null(s))
			continue;
		if (!scan_value(s, attr, &doc->values[attr]))
			return false;
		doc->nulls[attr] = false;
	} while (scan_char(s, ','));
	return scan_char(s, '}');
}

/* An array of documents; NULL: it is left to jsonb. */
static JflowDocs *
scan_docs(const char *json, int len)
{
	JflowDocs  *docs = palloc0(sizeof(JflowDocs));
	Scanner		s = {.pos = json,.end = json + len};
	int			size = 128;

	if (!scan_char(&s, '['))
		return NULL;
	initStringInfo(&s.buf);
	docs->docs = palloc(sizeof(JflowDoc) * size);
	do
	{
		CHECK_FOR_INTERRUPTS();
		if (docs->ndocs == size)
		{
			size *= 2;
			docs->docs = repalloc_huge(docs->docs, sizeof(JflowDoc) * size);
		}
		if (!scan_doc(&s, &docs->docs[docs->ndocs]))
			return NULL;
		docs->ndocs++;
	} while (scan_char(&s, ','));
	if (!scan_char(&s, ']'))
		return NULL;
	skip_blank(&s);
	return s.pos == s.end ? docs : NULL;
}

/*
 * Documents from a text that is an array of objects, or one object, in JSON; their
 * values are in the current memory context.  Raises what jsonb's input and
 * jflow_docs_from_jsonb raise.
 */
JflowDocs *
jflow_docs_from_json(const text *json)
{
	JflowDocs  *docs = scan_docs(VARDATA_ANY(json), VARSIZE_ANY_EXHDR(json));

	if (docs == NULL)
		docs = jflow_docs_from_jsonb(DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
																		CStringGetDatum(text_to_cstring(json)))));
	return docs;
}
