/*
 * table.c
 *		Tables for eyes.
 *
 * On a terminal a table keeps to its width: the columns that wrap share what the
 * others leave.  Where they leave too little, each row is printed as a list of its
 * columns.  In a pipe there is no width to keep to, and a row is one line.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

#define LEAST_WRAPPED 16		/* columns that a wrapped text wants at least */

static const char *
cell(char **cells, int ncolumns, int row, int column)
{
	const char *value = cells[row * ncolumns + column];

	return value ? value : "";
}

static void
put_rule(StrBuf *out, int columns)
{
	while (columns-- > 0)
		strbuf_add(out, glyphs()->horizontal);
}

/* A row, in as many lines as its longest wrapped cell needs. */
static void
put_row(StrBuf *out, const Column *columns, int ncolumns, const int *widths, const char **texts)
{
	bool		more = true;

	while (more)
	{
		more = false;
		for (int i = 0; i < ncolumns; i++)
		{
			size_t		len = strlen(texts[i]);
			size_t		next;
			size_t		taken;
			int			used;
			StrBuf		line = {0};

			if (i > 0)
				strbuf_addf(out, " %s ", glyphs()->vertical);
			taken = wrap_line(texts[i], len, widths[i], &next);
			used = put_text(&line, texts[i], taken, widths[i]);
			if (columns[i].right)
				put_blanks(out, widths[i] - used);
			strbuf_add(out, line.data ? line.data : "");
			if (!columns[i].right)
				put_blanks(out, widths[i] - used);
			strbuf_free(&line);
			texts[i] += next;
			if (*texts[i])
				more = true;
		}
		while (out->len > 0 && out->data[out->len - 1] == ' ')
			out->data[--out->len] = '\0';
		strbuf_add_char(out, '\n');
	}
}

/* Each row as lines of "title  value". */
static void
put_lists(StrBuf *out, const Column *columns, int ncolumns, char **cells, int nrows, int width)
{
	int			title_width = 0;

	for (int i = 0; i < ncolumns; i++)
		if (display_width(columns[i].title) > title_width)
			title_width = display_width(columns[i].title);
	for (int row = 0; row < nrows; row++)
	{
		if (row > 0)
		{
			put_rule(out, width);
			strbuf_add_char(out, '\n');
		}
		for (int i = 0; i < ncolumns; i++)
		{
			Column		pair[2] = {{.title = ""}, {.title = "",.wraps = true}};
			int			widths[2] = {title_width, width - title_width - 3};
			const char *texts[2] = {columns[i].title, cell(cells, ncolumns, row, i)};

			if (widths[1] < 4)
				widths[1] = 4;
			if (texts[1][0])
				put_row(out, pair, 2, widths, texts);
		}
	}
}

/*
 * A table with lines between its columns, as wide as the terminal at most.  The
 * cells go row by row; NULL is an empty one.
 */
void
print_table(FILE *file, const Column *columns, int ncolumns, char **cells, int nrows)
{
	int			width = term_width(fileno(file));
	int		   *widths = allocate(ncolumns * sizeof(int));
	const char **texts = allocate(ncolumns * sizeof(char *));
	char	  **clean = allocate((size_t) ncolumns * nrows * sizeof(char *));
	int			fixed = 3 * (ncolumns - 1);
	int			nwrapped = 0;
	StrBuf		out = {0};

	for (int i = 0; i < ncolumns * nrows; i++)
		clean[i] = cells[i] ? one_line(cells[i]) : NULL;
	for (int i = 0; i < ncolumns; i++)
	{
		widths[i] = display_width(columns[i].title);
		for (int row = 0; row < nrows; row++)
		{
			int			w = display_width(cell(clean, ncolumns, row, i));

			if (w > widths[i])
				widths[i] = w;
		}
		if (columns[i].wraps && width > 0 && widths[i] > LEAST_WRAPPED)
			nwrapped++;
		else
			fixed += widths[i];
	}

	if (width > 0 && fixed + nwrapped * LEAST_WRAPPED > width)
		put_lists(&out, columns, ncolumns, clean, nrows, width);
	else
	{
		/* narrow ones first, so that what they do not need goes to the others */
		int			room = width - fixed;
		int			left = nwrapped;
		bool	   *settled = allocate(ncolumns * sizeof(bool));

		for (int round = 0; round < nwrapped; round++)
			for (int i = 0; i < ncolumns; i++)
				if (columns[i].wraps && !settled[i] && widths[i] > LEAST_WRAPPED && left > 0 &&
					widths[i] <= room / left)
				{
					settled[i] = true;
					room -= widths[i];
					left--;
				}
		for (int i = 0; i < ncolumns; i++)
			if (nwrapped > 0 && columns[i].wraps && !settled[i] && widths[i] > LEAST_WRAPPED)
				widths[i] = room / left;
		free(settled);

		for (int i = 0; i < ncolumns; i++)
			texts[i] = columns[i].title;
		put_row(&out, columns, ncolumns, widths, texts);
		for (int i = 0; i < ncolumns; i++)
		{
			if (i > 0)
				strbuf_addf(&out, "%s%s%s", glyphs()->horizontal, glyphs()->cross, glyphs()->horizontal);
			put_rule(&out, widths[i]);
		}
		strbuf_add_char(&out, '\n');
		for (int row = 0; row < nrows; row++)
		{
			for (int i = 0; i < ncolumns; i++)
				texts[i] = cell(clean, ncolumns, row, i);
			put_row(&out, columns, ncolumns, widths, texts);
		}
	}
	if (out.len > 0)
		fwrite(out.data, 1, out.len, file);
	strbuf_free(&out);
	for (int i = 0; i < ncolumns * nrows; i++)
		free(clean[i]);
	free(clean);
	free(texts);
	free(widths);
}

/* The first columns of a result of the server's; numbers to the right, everything else may wrap. */
void
print_columns(FILE *file, PGresult *result, int ncolumns)
{
	int			nrows = PQntuples(result);
	Column	   *columns = allocate(ncolumns * sizeof(Column));
	char	  **cells = allocate((size_t) ncolumns * nrows * sizeof(char *));

	for (int i = 0; i < ncolumns; i++)
	{
		Oid			type = PQftype(result, i);

		columns[i].title = PQfname(result, i);
		/* int8, int2, int4, float4, float8, numeric */
		columns[i].right = type == 20 || type == 21 || type == 23 || type == 700 || type == 701 || type == 1700;
		columns[i].wraps = !columns[i].right;
		for (int row = 0; row < nrows; row++)
			cells[row * ncolumns + i] = PQgetisnull(result, row, i) ? NULL : PQgetvalue(result, row, i);
	}
	print_table(file, columns, ncolumns, cells, nrows);
	free(cells);
	free(columns);
}

/* All of its columns. */
void
print_result(FILE *file, PGresult *result)
{
	print_columns(file, result, PQnfields(result));
}
