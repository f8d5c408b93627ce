/*
 * csv.c
 *		Rows of a CSV: cells between commas (tabs in a .tsv), in quotes where they
 *		hold commas, quotes (doubled) or line ends.
 */
#include <stdlib.h>
#include <string.h>

#include "post.h"

/*
 * The cells of a row, each with its zero byte, in reader->cells; the arrays are
 * the caller's to free.  Whether a cell was quoted tells "" from nothing.
 */
int
csv_split(Reader *reader, const char *text, size_t len, char ***cells, bool **quoted)
{
	char		delimiter = reader->format == FORMAT_TSV ? '\t' : ',';
	const char *s = text;
	const char *end = text +len;
	size_t	   *starts = NULL;
	int			n = 0;
	int			size = 0;

	*quoted = NULL;
	strbuf_reset(&reader->cells);
	strbuf_reserve(&reader->cells, 2 * len + 2);	/* so that it does not
													 * move */
	for (;;)
	{
		bool		in_quotes = false;

		if (n == size)
		{
			size = size > 0 ? size * 2 : 16;
			starts = reallocate(starts, size * sizeof(size_t));
			*quoted = reallocate(*quoted, size * sizeof(bool));
		}
		starts[n] = reader->cells.len;
		(*quoted)[n] = s < end && *s == '"';
		for (; s < end && (in_quotes || *s != delimiter); s++)
		{
			if (*s != '"')
				strbuf_add_char(&reader->cells, *s);
			else if (in_quotes && s + 1 < end && s[1] == '"')
				strbuf_add_char(&reader->cells, *s++);
			else
				in_quotes = !in_quotes;
		}
		strbuf_add_bytes(&reader->cells, "", 1);
		n++;
		if (s >= end)
			break;
		s++;
	}
	*cells = allocate(n * sizeof(char *));
	for (int i = 0; i < n; i++)
		(*cells)[i] = reader->cells.data + starts[i];
	free(starts);
	return n;
}

static bool
is_mapped(const DocumentRules *rules, const char *name)
{
	for (int i = 0; i < rules->nmappings; i++)
		if (strcmp(rules->mappings[i].name, name) == 0)
			return true;
	return false;
}

/* Take the names of the columns; returns why they cannot be used, or NULL. */
const char *
csv_header(Reader *reader, const char *text, size_t len)
{
	const DocumentRules *rules = reader->rules;
	const char *error = rules->utf8 ? utf8_error(text, len) : NULL;
	char	  **cells;
	bool	   *quoted;
	int			n;

	if (error)
		return error;
	n = csv_split(reader, text, len, &cells, &quoted);
	free(quoted);
	for (int i = 0; i < n && reader->error.len == 0; i++)
	{
		if (!cells[i][0])
			strbuf_addf(&reader->error, "column %d of the header has no name", i + 1);
		else if (!rules->tags && !is_attribute(cells[i]) && !is_mapped(rules, cells[i]))
			strbuf_addf(&reader->error, "column \"%s\" is no attribute of a document: "
						"--tags makes tags of such columns, --map ATTRIBUTE=%s an attribute", cells[i], cells[i]);
		for (int j = 0; j < i && reader->error.len == 0; j++)
		{
			const char *attribute = attribute_of(rules, cells[i]);
			const char *other = attribute_of(rules, cells[j]);

			if (strcmp(cells[i], cells[j]) == 0)
				strbuf_addf(&reader->error, "the header has column \"%s\" twice", cells[i]);
			else if (attribute && other && strcmp(attribute, other) == 0)
				strbuf_addf(&reader->error, "columns \"%s\" and \"%s\" of the header are both the %s of a document",
							cells[j], cells[i], attribute);
		}
	}
	if (reader->error.len == 0)
	{
		reader->columns = allocate(n * sizeof(char *));
		for (int i = 0; i < n; i++)
			reader->columns[i] = copy_string(cells[i]);
		reader->ncolumns = n;
	}
	free(cells);
	return reader->error.len > 0 ? reader->error.data : NULL;
}
