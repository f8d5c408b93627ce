/*
 * search.c
 *		jflow search and jflow explain.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

#define SNIPPET 300				/* bytes of a text that are shown, about */

const Option search_options[] = {
	{"flow", 'f', "FLOW", "the flow (jflow.flow, or the only one)"},
	{"limit", 'k', "N", "how many matches (10)"},
	{"filter", 0, "JSON", "only documents that match"},
	{"parameters", 0, "JSON", "parameters of the search"},
	{"full", 0, NULL, "whole texts"},
	{"json", 0, NULL, "a JSON object per match"},
	{NULL}
};

const Option explain_options[] = {
	{"flow", 'f', "FLOW", "the flow (jflow.flow, or the only one)"},
	{"docs", 0, "JSON", "the documents, instead of a text of the words"},
	{"parameters", 0, "JSON", "parameters of the post"},
	{"json", 0, NULL, "a JSON object per call"},
	{NULL}
};

static char *
join_words(int nargs, char **args)
{
	StrBuf		words = {0};
	char	   *text;

	for (int i = 0; i < nargs; i++)
	{
		if (i > 0)
			strbuf_add_char(&words, ' ');
		strbuf_add(&words, args[i]);
	}
	strbuf_add(&words, "");
	text = utf8_of_locale(words.data);

	strbuf_free(&words);
	return text;
}

/* Where the first of the words stands in a text, or 0. */
static size_t
first_hit(const char *text, const char *words)
{
	size_t		first = strlen(text);
	char	   *copy = copy_string(words);
	char	   *rest;

	for (char *word = strtok_r(copy, " \t\n", &rest); word; word = strtok_r(NULL, " \t\n", &rest))
	{
		const char *hit = strcasestr(text, word);

		if (hit && (size_t) (hit - text) <first)
			first = hit - text;
	}
	free(copy);
	return text[first] ? first : 0;
}

/* A piece of a long text around its first hit, cut between characters. */
static char *
snippet(const char *text, const char *words)
{
	char	   *line = one_line(text);
	size_t		len = strlen(line);
	size_t		from = first_hit(line, words);
	size_t		to;
	char	   *piece;

	if (len <= SNIPPET)
		return line;
	from = from > SNIPPET / 3 ? from - SNIPPET / 3 : 0;
	while (from > 0 && line[from - 1] != ' ')
		from--;
	to = from + SNIPPET < len ? from + SNIPPET : len;
	while (to < len && ((unsigned char) line[to] & 0xc0) == 0x80)
		to--;
	piece = format_string("%s%.*s%s", from > 0 ? "... " : "", (int) (to - from), line + from, to < len ? " ..." : "");
	free(line);
	return piece;
}

static void
print_matches(PGresult *result, const char *words)
{
	static const Column all[] = {
		{"",.right = true}, {"distance",.right = true}, {"id",.wraps = true}, {"text",.wraps = true},
		{"uri",.wraps = true}, {"tags",.wraps = true}
	};
	int			nrows = PQntuples(result);
	Column		columns[6];
	int			fields[6];
	int			ncolumns = 0;
	char	  **cells;

	/* columns that have nothing are left out */
	for (int i = 0; i < 6; i++)
		for (int row = 0; row < nrows; row++)
			if (!PQgetisnull(result, row, i) && strcmp(PQgetvalue(result, row, i), "{}") != 0)
			{
				fields[ncolumns] = i;
				columns[ncolumns++] = all[i];
				break;
			}
	cells = allocate((size_t) nrows * ncolumns * sizeof(char *));
	for (int row = 0; row < nrows; row++)
		for (int i = 0; i < ncolumns; i++)
		{
			const char *value = PQgetisnull(result, row, fields[i]) ? "" : PQgetvalue(result, row, fields[i]);

			cells[row * ncolumns + i] = fields[i] == 3 && !option_set("full") ? snippet(value, words) : copy_string(value);
		}
	mark_words(use_colour(STDOUT_FILENO) ? words : NULL);
	print_table(stdout, columns, ncolumns, cells, nrows);
	mark_words(NULL);
	for (int i = 0; i < nrows * ncolumns; i++)
		free(cells[i]);
	free(cells);
}

/* jflow search: the best documents for some words. */
int
run_search(int nargs, char **args)
{
	Session		session;
	PGresult   *result;
	const char *params[5];
	char	   *words = join_words(nargs, args);
	char	   *limit;
	bool		json = option_set("json");

	if (nargs < 1)
		usage_error(NULL, "words to search for are missing");
	limit = format_string("%ld", option_number("limit", 10, 1, 1000000));
	params[0] = words;
	params[1] = limit;
	params[2] = option_text("flow");
	params[3] = option_text("filter");
	params[4] = option_text("parameters");
	connect_server(&session, &connect_options, true);
	result = query(&session, 5, params,
				   "SELECT %s FROM %s.jflow_search($1::pg_catalog.text, $2::pg_catalog.int4, "
				   "flow => $3::pg_catalog.text, filter => $4::pg_catalog.jsonb, "
				   "parameters => coalesce($5::pg_catalog.jsonb, '{}')) WITH ORDINALITY m",
				   json ? "pg_catalog.to_jsonb(m) OPERATOR(pg_catalog.-) 'ordinality'" :
				   "m.ordinality, pg_catalog.round(m.score::pg_catalog.numeric, 4), m.id, m.text, m.uri, m.tags",
				   session.schema);
	if (json)
		for (int row = 0; row < PQntuples(result); row++)
			puts(PQgetvalue(result, row, 0));
	else if (PQntuples(result) == 0)
		puts("no matches");
	else
		print_matches(result, words);
	PQclear(result);
	PQfinish(session.conn);
	free(limit);
	free(words);
	return EXIT_OK;
}

/* The calls as a table, and below it the plans of those that have one. */
static void
print_calls(PGresult *calls)
{
	int			plan = PQfnumber(calls, "plan");

	print_columns(stdout, calls, plan < 0 ? PQnfields(calls) : plan);
	for (int row = 0; plan >= 0 && row < PQntuples(calls); row++)
	{
		char	   *title;

		if (PQgetisnull(calls, row, plan))
			continue;
		title = format_string("%s, shard %s:", PQgetvalue(calls, row, PQfnumber(calls, "executor")),
							  PQgetvalue(calls, row, PQfnumber(calls, "shard")));
		putchar('\n');
		print_lines(stdout, title);
		print_lines(stdout, PQgetvalue(calls, row, plan));
		free(title);
	}
}

/* jflow explain: what a post would do. */
int
run_explain(int nargs, char **args)
{
	Session		session;
	PGresult   *result;
	const char *params[4];
	StrBuf		docs = {0};
	bool		json = option_set("json");

	if (nargs < 1)
		usage_error(NULL, "an endpoint is missing");
	if (option_set("docs"))
		strbuf_add(&docs, option_text("docs"));
	else
	{
		char	   *words = join_words(nargs - 1, args + 1);

		strbuf_add(&docs, "[{\"text\":");
		json_string(&docs, words, strlen(words));
		strbuf_add(&docs, "}]");
		free(words);
	}
	params[0] = utf8_of_locale(args[0]);
	params[1] = docs.data;
	params[2] = option_text("flow");
	params[3] = option_text("parameters");
	connect_server(&session, &connect_options, true);
	if (!has_function(&session, "jflow_explain"))
		fail_without(&session, "jflow_explain");
	result = query(&session, 4, params,
				   "SELECT %s FROM %s.jflow_explain($1::pg_catalog.text, $2::pg_catalog.jsonb, "
				   "flow => $3::pg_catalog.text, parameters => coalesce($4::pg_catalog.jsonb, '{}')) e",
				   json ? "pg_catalog.to_jsonb(e)" : "e.*", session.schema);
	if (json)
		for (int row = 0; row < PQntuples(result); row++)
			puts(PQgetvalue(result, row, 0));
	else
		print_calls(result);
	PQclear(result);
	PQfinish(session.conn);
	strbuf_free(&docs);
	return EXIT_OK;
}
