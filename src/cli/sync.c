/*
 * sync.c
 *		jflow sync: tables that are kept in step with a flow.
 */
#include <stdlib.h>
#include <string.h>

#include "cli.h"

const Option sync_options[] = {
	{"json", 0, NULL, "a JSON object per row"},
	{"uses-with", 0, "JSON", "what changes of executors, for resync"},
	{"skip-failed", 0, NULL, "exchange though rows have failed, for resync"},
	{NULL}
};

static void
print_view(Session *session, const char *view, const char *name)
{
	bool		json = option_set("json");
	const char *params[1] = {name};
	PGresult   *result;

	if (!has_view(session, view))
		fail_without(session, view);
	result = query(session, name ? 1 : 0, params, "SELECT %s FROM %s.%s s%s", json ? "pg_catalog.to_jsonb(s)" : "s.*",
				   session->schema, view, name ? " WHERE name OPERATOR(pg_catalog.=) $1::pg_catalog.text" : "");
	if (json)
		for (int row = 0; row < PQntuples(result); row++)
			puts(PQgetvalue(result, row, 0));
	else
		print_result(stdout, result);
	PQclear(result);
}

/* Have the store filled anew beside the old one. */
static void
fill_anew(Session *session, const char *name)
{
	const char *params[3] = {name, option_text("uses-with"), option_set("skip-failed") ? "true" : "false"};

	if (!has_function(session, "jflow_resync"))
		fail_without(session, "jflow_resync");
	PQclear(query(session, 3, params, "SELECT %s.jflow_resync($1::pg_catalog.text, $2::pg_catalog.jsonb, $3::pg_catalog.bool)",
				  session->schema));
}

/* jflow sync: the syncs, or something done with one of them. */
int
run_sync(int nargs, char **args)
{
	static const char *const verbs[] = {"run", "pause", "resume", "retry", NULL};
	Session		session;
	int			verb = 0;
	bool		resync = nargs == 2 && strcmp(args[0], "resync") == 0;
	char	   *function;
	PGresult   *result;

	if (nargs == 1 || nargs > 2)
		usage_error(NULL, "give nothing, or what to do and the name of a sync");
	if (nargs == 2)
		while (verbs[verb] && strcmp(args[0], verbs[verb]) != 0)
			verb++;
	if (nargs == 2 && !verbs[verb] && !resync && strcmp(args[0], "errors") != 0)
		usage_error(NULL, "unknown action \"%s\"", args[0]);
	if (!resync && (option_set("uses-with") || option_set("skip-failed")))
		usage_error(NULL, "--uses-with and --skip-failed are for resync");
	connect_server(&session, &connect_options, true);
	if (nargs == 0)
		print_view(&session, "jflow_sync_status", NULL);
	else if (resync)
		fill_anew(&session, utf8_of_locale(args[1]));
	else if (!verbs[verb])
		print_view(&session, "jflow_sync_errors", utf8_of_locale(args[1]));
	else
	{
		const char *params[1] = {utf8_of_locale(args[1])};

		function = format_string("jflow_sync_%s", verbs[verb]);
		if (!has_function(&session, function))
			fail_without(&session, function);
		result = query(&session, 1, params, "SELECT %s.%s($1::pg_catalog.text)", session.schema, function);
		if (strcmp(args[0], "run") == 0 && PQgetvalue(result, 0, 0)[0] == 'f')
			fail_with(EXIT_SERVER, "\"jflow sync errors\" and \"jflow sync\" say why.",
					  "not all rows of \"%s\" are in its store", args[1]);
		PQclear(result);
		free(function);
	}
	PQfinish(session.conn);
	return EXIT_OK;
}
