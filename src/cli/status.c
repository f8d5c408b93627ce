/*
 * status.c
 *		jflow status and jflow version.
 */
#include <stdlib.h>
#include <string.h>

#include "cli.h"

const Option status_options[] = {
	{"flow", 'f', "FLOW", "only this flow"},
	{"json", 0, NULL, "a JSON object per row"},
	{"config", 'c', NULL, "what limits the server, too"},
	{NULL}
};

const Option version_options[] = {{NULL}};

static void
print_json_rows(PGresult *result)
{
	for (int row = 0; row < PQntuples(result); row++)
		puts(PQgetvalue(result, row, 0));
}

/* jflow status: flows and what runs of them. */
int
run_status(int nargs, char **args)
{
	Session		session;
	const char *params[1];
	PGresult   *result;
	bool		json = option_set("json");
	const char *where = "WHERE $1::pg_catalog.text IS NULL OR flow OPERATOR(pg_catalog.=) $1 ORDER BY flow, executor";

	if (nargs > 0)
		usage_error(NULL, "too many arguments");
	params[0] = option_text("flow");
	connect_server(&session, &connect_options, true);
	if (json)
	{
		result = query(&session, 1, params,
					   "SELECT pg_catalog.to_jsonb(s) FROM %s.jflow_status s %s", session.schema, where);
		print_json_rows(result);
	}
	else
	{
		result = query(&session, 1, params,
					   "SELECT flow, executor, CASE WHEN started THEN 'started' ELSE 'stopped' END AS state, "
					   "wanted, running, starting, failing, queued, last_error AS \"last error\" "
					   "FROM %s.jflow_status %s", session.schema, where);
		print_result(stdout, result);
	}
	if (params[0] && PQntuples(result) == 0)
		fail_with(EXIT_SERVER, NULL, "flow \"%s\" does not exist, or you may not post to it", params[0]);
	PQclear(result);
	if (option_set("config"))
	{
		result = query(&session, 0, NULL,
					   json ? "SELECT pg_catalog.to_jsonb(c) FROM %s.jflow_config() c" :
					   "SELECT name, value, note FROM %s.jflow_config()", session.schema);
		if (json)
			print_json_rows(result);
		else
		{
			putchar('\n');
			print_result(stdout, result);
		}
		PQclear(result);
	}
	PQfinish(session.conn);
	return EXIT_OK;
}

/* jflow version: of client, libpq, server and extension. */
int
run_version(int nargs, char **args)
{
	Session		session;
	int			libpq = PQlibVersion();

	if (nargs > 0)
		usage_error(NULL, "too many arguments");
	printf("jflow      %s\n", JFLOW_VERSION);
	printf("libpq      %d.%d\n", libpq / 10000, libpq % 10000);
	fflush(stdout);
	connect_server(&session, &connect_options, false);
	printf("PostgreSQL %s\n", PQparameterStatus(session.conn, "server_version"));
	printf("extension  %s\n", session.version ? session.version : "not installed in this database");
	PQfinish(session.conn);
	return EXIT_OK;
}
