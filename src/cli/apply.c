/*
 * apply.c
 *		jflow apply: a flow as a YAML file says, by the least changes.
 *
 * The file is loaded under another name in a transaction that is rolled back, so
 * that the server itself says what it means; then the executors of both flows are
 * compared, attribute by attribute.  What has no function to change it, other than
 * making the executor anew, is refused: that would forget its models and stores.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

#define MAX_FILE (16 * 1024 * 1024)

const Option apply_options[] = {
	{"dry-run", 'n', NULL, "only show what would change"},
	{"start", 0, NULL, "start the flow, and wait until its replicas run"},
	{NULL}
};

/* What differs in one executor, or that there is none on one side. */
typedef enum Kind
{
	KIND_ADD,
	KIND_REMOVE,
	KIND_SCALE,
	KIND_OTHER
} Kind;

typedef struct Change
{
	Kind		kind;
	char	   *executor;
	char	   *key;
	char	   *before;
	char	   *after;			/* for KIND_ADD the whole executor */
} Change;

typedef struct Plan
{
	Session    *session;
	char	   *config;			/* the file as jsonb, without a name */
	char	   *flow;
	bool		exists;
	Change	   *changes;
	int			nchanges;
} Plan;

static char *
read_file(const char *name)
{
	FILE	   *file = strcmp(name, "-") == 0 ? stdin : fopen(name, "r");
	StrBuf text = {0};
	char		chunk[65536];
	size_t		n;

	if (!file)
		fail_with(EXIT_USAGE, NULL, "could not open \"%s\": %s", name, strerror(errno));
	strbuf_add(&text, "");
	while ((n = fread(chunk, 1, sizeof(chunk), file)) > 0)
	{
		strbuf_add_bytes(&text, chunk, n);
		if (text.len > MAX_FILE)
			fail_with(EXIT_USAGE, NULL, "\"%s\" is longer than 16 MB", name);
	}
	if (ferror(file))
		fail_with(EXIT_USAGE, NULL, "could not read \"%s\": %s", name, strerror(errno));
	if (utf8_error(text.data, text.len))
		fail_with(EXIT_USAGE, NULL, "\"%s\": %s", name, utf8_error(text.data, text.len));
	if (file != stdin)
		fclose(file);
	return text.data;
}

static void
command(Session *session, const char *text)
{
	PQclear(query(session, 0, NULL, "%s", text));
}

/* Load the flow under this name; the server complains about what is wrong. */
static void
load(Plan *plan, const char *name)
{
	const char *params[2] = {plan->config, name};

	PQclear(query(plan->session, 2, params,
				  "SELECT %s.jflow_load($1::pg_catalog.jsonb || pg_catalog.jsonb_build_object('name', $2::pg_catalog.text))",
				  plan->session->schema));
}

static void
add_change(Plan *plan, PGresult *result, int row)
{
	Change	   *change;
	const char *key = PQgetvalue(result, row, 3);

	plan->changes = reallocate(plan->changes, (plan->nchanges + 1) * sizeof(Change));
	change = &plan->changes[plan->nchanges++];
	change->executor = copy_string(PQgetvalue(result, row, 0));
	change->key = copy_string(key);
	change->before = copy_string(PQgetvalue(result, row, 4));
	change->after = copy_string(PQgetvalue(result, row, 5));
	if (PQgetvalue(result, row, 1)[0] == 'f')
		change->kind = KIND_ADD;
	else if (PQgetvalue(result, row, 2)[0] == 'f')
		change->kind = KIND_REMOVE;
	else
		change->kind = strcmp(key, "replicas") == 0 || strcmp(key, "shards") == 0 ? KIND_SCALE : KIND_OTHER;
}

/* Compare the flow with the one that the file makes, which is then gone again. */
static void
make_plan(Plan *plan)
{
	Session    *session = plan->session;
	char	   *trial = format_string("jflow apply %d", PQbackendPID(session->conn));
	const char *params[2] = {plan->flow, trial};
	PGresult   *result;

	command(session, "BEGIN");
	load(plan, trial);
	result = query(session, 1, params, "SELECT FROM %s.jflow_flows WHERE flow = $1::pg_catalog.text", session->schema);
	plan->exists = PQntuples(result) > 0;
	PQclear(result);
	/* removed ones last first, then what is added or changed in order */
	result = query(session, 2, params,
				   "WITH both_flows AS (SELECT flow, name, position, pg_catalog.to_jsonb(e) - 'flow' - 'position' AS def "
				   "FROM %s.jflow_executors e WHERE flow IN ($1::pg_catalog.text, $2::pg_catalog.text)), "
				   "old AS (SELECT * FROM both_flows WHERE flow = $1), new AS (SELECT * FROM both_flows WHERE flow = $2) "
				   "SELECT coalesce(old.name, new.name), old.name IS NOT NULL, new.name IS NOT NULL, k.key, "
				   "CASE WHEN k.key IS NULL THEN old.def ->> 'uses' ELSE coalesce(old.def ->> k.key, 'unset') END, "
				   "CASE WHEN k.key IS NULL THEN new.def::pg_catalog.text ELSE coalesce(new.def ->> k.key, 'unset') END "
				   "FROM old FULL JOIN new ON old.name = new.name "
				   "LEFT JOIN LATERAL (SELECT key FROM pg_catalog.jsonb_object_keys(new.def) key "
				   "WHERE old.def -> key IS DISTINCT FROM new.def -> key) k ON old.name IS NOT NULL "
				   "WHERE old.name IS NULL OR new.name IS NULL OR k.key IS NOT NULL "
				   "ORDER BY new.name IS NULL DESC, CASE WHEN new.name IS NULL THEN -old.position ELSE new.position END, k.key",
				   session->schema);
	for (int row = 0; row < PQntuples(result); row++)
		add_change(plan, result, row);
	PQclear(result);
	command(session, "ROLLBACK");
	free(trial);
}

static char *
uses_of(Session *session, const Change *change)
{
	const char *params[1] = {change->after};
	PGresult   *result = query(session, 1, params, "SELECT $1::pg_catalog.jsonb ->> 'uses'");
	char	   *uses = copy_string(PQgetvalue(result, 0, 0));

	PQclear(result);
	return uses;
}

/* Show the plan; false if it cannot be carried out. */
static bool
show_plan(Plan *plan)
{
	bool		possible = true;
	StrBuf		out = {0};

	strbuf_addf(&out, "flow \"%s\"%s\n", plan->flow, !plan->exists ? " is made" : plan->nchanges == 0 ? ": nothing to change" : "");
	for (int i = 0; i < plan->nchanges; i++)
	{
		const Change *change = &plan->changes[i];
		char	   *uses;

		switch (change->kind)
		{
			case KIND_ADD:
				uses = uses_of(plan->session, change);
				strbuf_addf(&out, "  + %s  %s\n", change->executor, uses);
				free(uses);
				break;
			case KIND_REMOVE:
				strbuf_addf(&out, "  - %s  %s\n", change->executor, change->before);
				break;
			default:
				strbuf_addf(&out, "  ~ %s  %s: %s -> %s%s\n", change->executor, change->key, change->before,
							change->after, change->kind == KIND_OTHER ? "  (not possible in place)" : "");
				if (change->kind == KIND_OTHER)
					possible = false;
		}
	}
	print_lines(stdout, out.data);
	strbuf_free(&out);
	return possible;
}

/* The arguments of jflow_add that the view of executors has as columns, too. */
static char *
add_arguments(Session *session)
{
	PGresult   *result = query(session, 0, NULL,
							   "SELECT pg_catalog.string_agg(pg_catalog.format('%%1$I => r.%%1$I', a.attname), ', ') "
							   "FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_extension x "
							   "ON p.pronamespace = x.extnamespace AND x.extname = 'jflow' AND p.proname = 'jflow_add', "
							   "pg_catalog.pg_attribute a WHERE a.attrelid = '%s.jflow_executors'::pg_catalog.regclass "
							   "AND a.attnum > 0 AND a.attname <> 'flow' AND a.attname::pg_catalog.text = ANY (p.proargnames)",
							   session->schema);
	char	   *arguments = copy_string(PQgetvalue(result, 0, 0));

	PQclear(result);
	return arguments;
}

static void
carry_out(Plan *plan)
{
	Session    *session = plan->session;
	char	   *arguments = add_arguments(session);

	command(session, "BEGIN");
	if (!plan->exists)
		load(plan, plan->flow);
	for (int i = 0; i < plan->nchanges && plan->exists; i++)
	{
		const Change *change = &plan->changes[i];
		const char *params[3] = {plan->flow, change->executor, change->after};

		switch (change->kind)
		{
			case KIND_ADD:
				params[1] = change->after;
				PQclear(query(session, 2, params,
							  "SELECT %s.jflow_add($1::pg_catalog.text, %s) "
							  "FROM pg_catalog.jsonb_populate_record(NULL::%s.jflow_executors, $2::pg_catalog.jsonb) r",
							  session->schema, arguments, session->schema));
				break;
			case KIND_REMOVE:
				PQclear(query(session, 2, params, "SELECT %s.jflow_remove($1::pg_catalog.text, $2::pg_catalog.text)",
							  session->schema));
				break;
			default:
				PQclear(query(session, 3, params,
							  "SELECT %s.jflow_scale($1::pg_catalog.text, $2::pg_catalog.text, %s => $3::pg_catalog.int4)",
							  session->schema, change->key));
		}
	}
	command(session, "COMMIT");
	free(arguments);
}

static void
start(Plan *plan)
{
	const char *params[1] = {plan->flow};
	PGresult   *result;
	bool		runs;

	PQclear(query(plan->session, 1, params, "SELECT %s.jflow_start($1::pg_catalog.text)", plan->session->schema));
	result = query(plan->session, 1, params, "SELECT %s.jflow_wait($1::pg_catalog.text)", plan->session->schema);
	runs = PQgetvalue(result, 0, 0)[0] == 't';
	PQclear(result);
	if (!runs)
		fail_with(EXIT_SERVER, "\"jflow status --config\" says why.", "the replicas of flow \"%s\" do not all run yet",
				  plan->flow);
	puts("started");
}

/* jflow apply: make a flow what a file says. */
int
run_apply(int nargs, char **args)
{
	Session		session;
	Plan		plan = {.session = &session};
	const char *params[1];
	PGresult   *result;

	if (nargs != 1)
		usage_error(NULL, "name one file, or - for the standard input");
	params[0] = read_file(args[0]);
	connect_server(&session, &connect_options, true);
	if (!has_function(&session, "jflow_yaml"))
		fail_without(&session, "jflow_yaml");
	result = query(&session, 1, params,
				   "SELECT (y - 'name') #- '{with,name}', "
				   "coalesce(y -> 'with' ->> 'name', y ->> 'name', 'flow') "
				   "FROM %s.jflow_yaml($1::pg_catalog.text) y", session.schema);
	plan.config = copy_string(PQgetvalue(result, 0, 0));
	plan.flow = copy_string(PQgetvalue(result, 0, 1));
	PQclear(result);
	make_plan(&plan);
	if (!show_plan(&plan))
		fail_with(EXIT_SERVER, "Give the executor another name, so that it is made beside, or drop the flow first; "
				  "what was fitted and stored belongs to the executor.",
				  "nothing was changed: an executor's attributes other than replicas and shards are fixed");
	if (!option_set("dry-run"))
	{
		if (!plan.exists || plan.nchanges > 0)
			carry_out(&plan);
		if (option_set("start"))
			start(&plan);
	}
	PQfinish(session.conn);
	return EXIT_OK;
}
