/*
 * metrics.c
 *		jflow metrics: the view jflow_metrics as OpenMetrics text.
 */
#include <stdlib.h>
#include <string.h>

#include "cli.h"

const Option metrics_options[] = {
	{"listen", 0, "[HOST:]PORT", "serve them to Prometheus at /metrics"},
	{"format", 0, "openmetrics|prometheus", "how they are written (openmetrics)"},
	{NULL}
};

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
put_escaped(StrBuf *out, const char *text)
{
	for (; *text; text ++)
	{
		if (*text == '\n')
			strbuf_add(out, "\\n");
		else
		{
			if (*text == '"' || *text == '\\')
				strbuf_add_char(out, '\\');
			strbuf_add_char(out, *text);
		}
	}
}

/* The samples in the result, one row per label. */
static void
put_samples(StrBuf *out, const PGresult *result, bool openmetrics)
{
	const char *family = "";
	size_t		family_len = 0;
	const char *sample = "";

	for (int row = 0; row < PQntuples(result); row++)
	{
		const char *number = PQgetvalue(result, row, 0);
		const char *name = PQgetvalue(result, row, 1);
		const char *type = PQgetvalue(result, row, 2);
		size_t		len = family_length(name, type);
		bool		first = strcmp(sample, number) != 0;
		bool		last = row + 1 == PQntuples(result) || strcmp(PQgetvalue(result, row + 1, 0), number) != 0;

		if (family_len != len || strncmp(family, name, len) != 0)
		{
			/* the older format has the ending in the family's name */
			int			shown = (int) (openmetrics || strcmp(type, "counter") != 0 ? len : strlen(name));

			family = name;
			family_len = len;
			strbuf_addf(out, "# TYPE %.*s %s\n# HELP %.*s ", shown, name, type, shown, name);
			put_escaped(out, PQgetvalue(result, row, 3));
			strbuf_add_char(out, '\n');
		}
		if (first)
			strbuf_add(out, name);
		if (!PQgetisnull(result, row, 4))
		{
			strbuf_addf(out, "%c%s=\"", first ? '{' : ',', PQgetvalue(result, row, 4));
			put_escaped(out, PQgetvalue(result, row, 5));
			strbuf_add_char(out, '"');
			if (last)
				strbuf_add_char(out, '}');
		}
		sample = number;
		if (last)
			strbuf_addf(out, " %s\n", PQgetisnull(result, row, 6) ? "NaN" : PQgetvalue(result, row, 6));
	}
	if (openmetrics)
		strbuf_add(out, "# EOF\n");
}

/*
 * Write what is counted now; NULL, or what the server said instead, which the
 * caller clears.
 */
static PGresult *
write_metrics(Session *session, StrBuf *out, bool openmetrics)
{
	PGresult   *result;

	/*
	 * a row per label; samples of a histogram's labels stay together, buckets
	 * in order
	 */
	result = try_query(session, 0, NULL,
					   "WITH m AS (SELECT pg_catalog.row_number() OVER () AS n, name, type, help, "
					   "coalesce(labels, '{}') AS labels, value FROM %s.jflow_metrics) "
					   "SELECT n, name, type, help, l.key, l.value, m.value FROM m "
					   "LEFT JOIN LATERAL pg_catalog.jsonb_each_text(m.labels) l ON true "
					   "ORDER BY pg_catalog.regexp_replace(name, '_(total|bucket|count|sum|created)$', ''), "
					   "m.labels OPERATOR(pg_catalog.-) 'le', name, "
					   "(m.labels OPERATOR(pg_catalog.->>) 'le')::pg_catalog.float8, n, l.key", session->schema);
	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		return result;
	put_samples(out, result, openmetrics);
	PQclear(result);
	return NULL;
}

/*
 * jflow metrics: once on the standard output, or for whoever asks at --listen.
 */
int
run_metrics(int nargs, char **args)
{
	Session		session;
	StrBuf		out = {0};
	PGresult   *failed;
	const char *format = option_value("format");

	if (nargs > 0)
		usage_error(NULL, "too many arguments");
	if (format && strcmp(format, "openmetrics") != 0 && strcmp(format, "prometheus") != 0)
		usage_error(NULL, "unknown format \"%s\"", format);
	if (format && option_set("listen"))
		usage_error(NULL, "with --listen the client that asks chooses the format");
	connect_options.watches = option_set("listen");
	connect_server(&session, &connect_options, true);
	if (!has_view(&session, "jflow_metrics"))
		fail_without(&session, "jflow_metrics");
	if (option_set("listen"))
		listen_for_scrapes(&session, option_value("listen"), write_metrics);
	failed = write_metrics(&session, &out, !format || strcmp(format, "openmetrics") == 0);
	if (failed)
		fail_by_result(&session, failed);
	fwrite(out.data, 1, out.len, stdout);
	strbuf_free(&out);
	PQfinish(session.conn);
	return EXIT_OK;
}
