/*
 * metrics.c
 *		jflow metrics: the view jflow_metrics as OpenMetrics text.
 */
#include <stdlib.h>
#include <string.h>

#include "cli.h"

const Option metrics_options[] = {{NULL}};

/* What the samples of a family are named behind its own name. */
static const char *const endings[] = {"_total", "_bucket", "_count", "_sum", "_created", NULL};

static size_t
family_length(const char *name, const char *type)
{
	size_t		len = strlen(name);

	if (strcmp(type, "counter") != 0 && strcmp(type, "histogram") != 0 && strcmp(type, "summary") != 0)
		return len;
	for (int i = 0; endings[i]; i++)
	{
		size_t		n = strlen(endings[i]);

		if (len > n && strcmp(name + len - n, endings[i]) == 0)
			return len - n;
	}
	return len;
}

/* A label's value or a help text, as OpenMetrics quotes them. */
static void
put_escaped(const char *text)
{
	for (; *text; text ++)
	{
		if (*text == '\n')
			fputs("\\n", stdout);
		else
		{
			if (*text == '"' || *text == '\\')
				putchar('\\');
			putchar(*text);
		}
	}
}

int
run_metrics(int nargs, char **args)
{
	Session		session;
	PGresult   *result;
	char	   *family = copy_string("");
	char	   *sample = copy_string("");

	if (nargs > 0)
		usage_error(NULL, "too many arguments");
	connect_server(&session, &connect_options, true);
	if (!has_view(&session, "jflow_metrics"))
		fail_without(&session, "jflow_metrics");

	/*
	 * a row per label; samples of a histogram's labels stay together, buckets
	 * in order
	 */
	result = query(&session, 0, NULL,
				   "WITH m AS (SELECT pg_catalog.row_number() OVER () AS n, name, type, help, "
				   "coalesce(labels, '{}') AS labels, value FROM %s.jflow_metrics) "
				   "SELECT n, name, type, help, l.key, l.value, m.value FROM m "
				   "LEFT JOIN LATERAL pg_catalog.jsonb_each_text(m.labels) l ON true "
				   "ORDER BY pg_catalog.regexp_replace(name, '_(total|bucket|count|sum|created)$', ''), "
				   "m.labels OPERATOR(pg_catalog.-) 'le', name, "
				   "(m.labels OPERATOR(pg_catalog.->>) 'le')::pg_catalog.float8, n, l.key", session.schema);
	for (int row = 0; row < PQntuples(result); row++)
	{
		const char *number = PQgetvalue(result, row, 0);
		const char *name = PQgetvalue(result, row, 1);
		const char *type = PQgetvalue(result, row, 2);
		int			len = (int) family_length(name, type);
		bool		last = row + 1 == PQntuples(result) || strcmp(PQgetvalue(result, row + 1, 0), number) != 0;

		if (strlen(family) != (size_t) len || strncmp(family, name, len) != 0)
		{
			free(family);
			family = format_string("%.*s", len, name);
			printf("# TYPE %s %s\n# HELP %s ", family, type, family);
			put_escaped(PQgetvalue(result, row, 3));
			putchar('\n');
		}
		if (strcmp(sample, number) != 0)
			fputs(name, stdout);
		if (!PQgetisnull(result, row, 4))
		{
			printf("%c%s=\"", strcmp(sample, number) != 0 ? '{' : ',', PQgetvalue(result, row, 4));
			put_escaped(PQgetvalue(result, row, 5));
			putchar('"');
			if (last)
				putchar('}');
		}
		free(sample);
		sample = copy_string(number);
		if (last)
			printf(" %s\n", PQgetisnull(result, row, 6) ? "NaN" : PQgetvalue(result, row, 6));
	}
	puts("# EOF");
	PQclear(result);
	PQfinish(session.conn);
	free(family);
	free(sample);
	return EXIT_OK;
}
