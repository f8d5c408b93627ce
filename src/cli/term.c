/*
 * term.c
 *		What the terminal can, and texts for eyes.
 *
 * Texts come from the server in UTF-8 and are anybody's: control characters must
 * not reach a terminal, where they would move the cursor or worse.  What the
 * locale cannot show becomes a question mark.
 */
#include <langinfo.h>
#include <limits.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#include "cli.h"

static const Glyphs utf8_glyphs = {
	.horizontal = "\xe2\x94\x80",.vertical = "\xe2\x94\x82",.cross = "\xe2\x94\xbc",
	.bar_done = "\xe2\x94\x81",.bar_head = "\xe2\x95\xb8",.bar_left = "\xe2\x94\x80",
	.node = "\xe2\x97\x8f",.branch = "\xe2\x94\x9c",.fork = "\xe2\x94\xac",.last_fork = "\xe2\x94\x90",
	.join = "\xe2\x94\xb4",.last_join = "\xe2\x94\x98"
};

static const Glyphs ascii_glyphs = {
	.horizontal = "-",.vertical = "|",.cross = "+",
	.bar_done = "=",.bar_head = ">",.bar_left = "-",
	.node = "*",.branch = "+",.fork = "+",.last_fork = "+",.join = "+",.last_join = "+"
};

static bool is_utf8;
static bool is_ascii;

/* Look at the locale; must be called before anything else of this file. */
void
term_init(void)
{
	setlocale(LC_CTYPE, "");
	is_utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
	is_ascii = strcmp(nl_langinfo(CODESET), "ANSI_X3.4-1968") == 0;
}

/* Does the terminal show UTF-8? */
bool
term_is_utf8(void)
{
	return is_utf8;
}

/* What lines are drawn with. */
const Glyphs *
glyphs(void)
{
	return is_utf8 ? &utf8_glyphs : &ascii_glyphs;
}

static int
from_environment(const char *name)
{
	const char *value = getenv(name);
	long		number = value ? strtol(value, NULL, 10) : 0;

	return number > 0 && number < 10000 ? (int) number : 0;
}

/*
 * Columns of the terminal; else what COLUMNS says, else 0: no width to keep to.
 */
int
term_width(int fd)
{
	struct winsize size;

	if (isatty(fd) && ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
		return size.ws_col;
	return from_environment("COLUMNS");
}

/* Lines of the terminal, or 24. */
int
term_height(int fd)
{
	struct winsize size;

	if (isatty(fd) && ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_row > 0)
		return size.ws_row;
	return 24;
}

/* Colours go to terminals that have them, unless NO_COLOR is set. */
bool
use_colour(int fd)
{
	const char *no_color = getenv("NO_COLOR");
	const char *term = getenv("TERM");

	if (no_color && no_color[0])
		return false;
	return isatty(fd) && term && strcmp(term, "dumb") != 0;
}

/* The code point that begins a text of UTF-8, and its bytes; -1 for bad ones. */
static size_t
decode(const char *text, size_t len, long *code)
{
	const unsigned char *s = (const unsigned char *) text;
	size_t		n = s[0] < 0x80 ? 1 : s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;

	*code = -1;
	if (n > len || (s[0] >= 0x80 && s[0] < 0xc2) || s[0] > 0xf4)
		return 1;
	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 1;
	switch (n)
	{
		case 1:
			*code = s[0];
			break;
		case 2:
			*code = (s[0] & 0x1f) << 6 | (s[1] & 0x3f);
			break;
		case 3:
			*code = (s[0] & 0x0f) << 12 | (s[1] & 0x3f) << 6 | (s[2] & 0x3f);
			break;
		default:
			*code = (long) (s[0] & 0x07) << 18 | (s[1] & 0x3f) << 12 | (s[2] & 0x3f) << 6 | (s[3] & 0x3f);
	}
	return n;
}

/*
 * The next character of a text that is not empty, as the terminal gets it: "out"
 * has room for MB_LEN_MAX + 1 bytes.  Returns how many bytes of the text it took.
 */
size_t
next_char(const char *text, size_t len, char *out, int *width)
{
	long		code;
	size_t		n = decode(text, len, &code);
	size_t		written;
	mbstate_t	state = {0};

	*width = 1;
	if (code == '\n' || code == '\t' || code == '\r')
		strcpy(out, " ");
	else if (code < 0x20 || (code >= 0x7f && code < 0xa0))
		strcpy(out, "?");
	else if (code == 0x200e || code == 0x200f || (code >= 0x202a && code <= 0x202e) ||
			 (code >= 0x2066 && code <= 0x2069))
	{
		out[0] = '\0';			/* would turn the direction of the line */
		*width = 0;
	}
	else
	{
		written = wcrtomb(out, (wchar_t) code, &state);
		if (written == (size_t) -1)
			strcpy(out, "?");
		else
		{
			out[written] = '\0';
			*width = wcwidth((wchar_t) code);
			if (*width < 0)
			{
				strcpy(out, "?");
				*width = 1;
			}
		}
	}
	return n;
}

/* Columns that a text takes. */
int
display_width(const char *text)
{
	size_t		len = strlen(text);
	int			columns = 0;

	while (len > 0)
	{
		char		out[MB_LEN_MAX + 1];
		int			width;
		size_t		n = next_char(text, len, out, &width);

		columns += width;
		text	  +=n;

		len -= n;
	}
	return columns;
}

static char **marks;
static int	nmarks;

/* From now on these words are bold where put_text writes them; NULL ends that. */
void
mark_words(const char *words)
{
	char	   *copy = copy_string(words ? words : "");
	char	   *rest;

	for (int i = 0; i < nmarks; i++)
		free(marks[i]);
	nmarks = 0;
	for (char *word = strtok_r(copy, " \t\n", &rest); word; word = strtok_r(NULL, " \t\n", &rest))
	{
		marks = reallocate(marks, (nmarks + 1) * sizeof(char *));
		marks[nmarks++] = copy_string(word);
	}
	free(copy);
}

/* Bytes of a marked word that begins here, or 0. */
static size_t
marked(const char *text, size_t len)
{
	for (int i = 0; i < nmarks; i++)
	{
		size_t		n = strlen(marks[i]);

		if (n <= len && strncasecmp(text, marks[i], n) == 0)
			return n;
	}
	return 0;
}

/* Write a text in at most so many columns; returns how many it took. */
int
put_text(StrBuf *out, const char *text, size_t len, int columns)
{
	int			used = 0;
	size_t		bold = 0;

	while (len > 0)
	{
		char		character[MB_LEN_MAX + 1];
		int			width;
		size_t		n = next_char(text, len, character, &width);

		if (used + width > columns)
			break;
		if (bold == 0 && nmarks > 0)
		{
			bold = marked(text, len);
			if (bold > 0)
				strbuf_add(out, "\033[1m");
		}
		strbuf_add(out, character);
		used += width;
		text	  +=n;

		len -= n;
		if (bold > 0)
		{
			bold = bold > n ? bold - n : 0;
			if (bold == 0)
				strbuf_add(out, "\033[0m");
		}
	}
	if (bold > 0)
		strbuf_add(out, "\033[0m");
	return used;
}

/* Add so many blanks. */
void
put_blanks(StrBuf *out, int columns)
{
	while (columns-- > 0)
		strbuf_add_char(out, ' ');
}

/* Write lines as they are, but for what could steer a terminal. */
void
print_lines(FILE *file, const char *text)
{
	StrBuf		out = {0};

	for (size_t len; *text; text +=len + (text[len] == '\n'))
	{
		len = strcspn(text, "\n");
		put_text(&out, text, len, INT_MAX);
		strbuf_add_char(&out, '\n');
	}
	if (out.len > 0)
		fwrite(out.data, 1, out.len, file);
	strbuf_free(&out);
}

static void
put_utf8(StrBuf *out, unsigned long code)
{
	if (code < 0x80)
		strbuf_add_char(out, (char) code);
	else
	{
		int			more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
		static const unsigned char first[] = {0, 0xc0, 0xe0, 0xf0};

		strbuf_add_char(out, (char) (first[more] | code >> (6 * more)));
		while (more-- > 0)
			strbuf_add_char(out, (char) (0x80 | (code >> (6 * more) & 0x3f)));
	}
}

/*
 * What was typed in the locale's encoding, as the server takes it.  Where that is
 * no text of the locale, or the locale knows ASCII alone, it is as it was: it may
 * be UTF-8, or the server says what is wrong with it.
 */
char *
utf8_of_locale(const char *text)
{
	StrBuf		out = {0};
	mbstate_t	state = {0};
	size_t		left = strlen(text);
	const char *from = text;

	if (is_utf8 || is_ascii)
		return copy_string(text);
	strbuf_add(&out, "");
	while (left > 0)
	{
		wchar_t		code;
		size_t		n = mbrtowc(&code, from, left, &state);

		if (n == 0 || n > left)
		{
			strbuf_free(&out);
			return copy_string(text);
		}
		put_utf8(&out, (unsigned long) code);
		from += n;
		left -= n;
	}
	return out.data;
}

/*
 * How many bytes of the text go into a line of so many columns, broken at a blank
 * where there is one; "next" says where the next line begins.
 */
size_t
wrap_line(const char *text, size_t len, int columns, size_t *next)
{
	size_t		pos = 0;
	size_t		blank = 0;
	int			used = 0;

	while (pos < len)
	{
		char		out[MB_LEN_MAX + 1];
		int			width;
		size_t		n = next_char(text +pos, len - pos, out, &width);

		if (used + width > columns && pos > 0)
		{
			if (text[pos] == ' ' || blank == 0)
				blank = pos;
			*next = blank;
			while (*next < len && text[*next] == ' ')
				(*next)++;
			return blank;
		}
		if (text[pos] == ' ')
			blank = pos;
		used += width;
		pos += n;
	}
	*next = len;
	return len;
}

/* A copy with all white space in a row as one blank. */
char *
one_line(const char *text)
{
	char	   *copy = allocate(strlen(text) + 1);
	char	   *to = copy;

	for (const char *from = text; *from; from++)
	{
		if (strchr(" \t\r\n\f\v", *from) == NULL)
			*to++ = *from;
		else if (to > copy && to[-1] != ' ')
			*to++ = ' ';
	}
	if (to > copy && to[-1] == ' ')
		to--;
	*to = '\0';
	return copy;
}
