/*
 * plot.c
 *		jflow plot: a flow as mermaid, dot or SVG, or drawn in the terminal.
 *
 * In the terminal executors stand below each other, in the order of definition, in
 * which each comes behind those that it needs.  Every edge that is open at a line
 * has a lane of its own: lanes that an executor needs join in front of it, and
 * lanes to those that need it fork behind it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

#define NO_LANE (-1)

const Option plot_options[] = {
	{"flow", 'f', "FLOW", "the flow (the only one)"},
	{"format", 0, "FORMAT", "text, mermaid, dot or svg (by the name of the output; text on a terminal)"},
	{"output", 'o', "FILE", "write it there"},
	{NULL}
};

typedef struct Node
{
	char	   *label;
	bool	   *needs;			/* a bool per node */
} Node;

typedef struct Drawing
{
	Node	   *nodes;			/* the first is the gateway, the last the
								 * answer */
	int			nnodes;
	int		   *lanes;			/* the node that each leads to, or NO_LANE */
	int			nlanes;
	StrBuf		out;
} Drawing;

/* The flow that is named, or the only one. */
static char *
choose_flow(Session *session, const char *name)
{
	PGresult   *result;
	char	   *flow;

	if (name)
		return copy_string(name);
	result = query(session, 0, NULL,
				   "SELECT coalesce(nullif(pg_catalog.current_setting('jflow.flow', true), ''), "
				   "CASE WHEN pg_catalog.count(*) OPERATOR(pg_catalog.=) 1 THEN pg_catalog.min(flow) END), "
				   "pg_catalog.string_agg(flow, ', ' ORDER BY flow) FROM %s.jflow_flows", session->schema);
	if (PQgetisnull(result, 0, 0))
		fail_with(EXIT_USAGE, NULL, PQgetisnull(result, 0, 1) ? "there is no flow that you may use%s" :
				  "name one of the flows: %s", PQgetvalue(result, 0, 1));
	flow = copy_string(PQgetvalue(result, 0, 0));
	PQclear(result);
	return flow;
}

static void
put_lane(Drawing *drawing, const char *glyph, const char *behind)
{
	strbuf_add(&drawing->out, glyph);
	strbuf_add(&drawing->out, behind);
}

/* End a line, without blanks there. */
static void
end_line(Drawing *drawing)
{
	StrBuf	   *out = &drawing->out;

	while (out->len > 0 && out->data[out->len - 1] == ' ')
		out->data[--out->len] = '\0';
	strbuf_add_char(out, '\n');
}

/*
 * A line on which lanes branch off the one at "from" or come back to it: those
 * that lead to "node" ("joins") or those from "first" on.
 */
static void
draw_branches(Drawing *drawing, int from, int node, int first, bool joins)
{
	const Glyphs *g = glyphs();
	int			last = from;

	for (int i = from + 1; i < drawing->nlanes; i++)
		if (joins ? drawing->lanes[i] == node : i >= first)
			last = i;
	if (last == from)
		return;
	for (int i = 0; i < drawing->nlanes; i++)
	{
		bool		ours = i > from && (joins ? drawing->lanes[i] == node : i >= first);
		bool		inside = i >= from && i < last;
		const char *glyph;

		if (i == from)
			glyph = g->branch;
		else if (ours)
			glyph = joins ? (i == last ? g->last_join : g->join) : (i == last ? g->last_fork : g->fork);
		else if (drawing->lanes[i] != NO_LANE)
			glyph = i > from && i < last ? g->cross : g->vertical;
		else
			glyph = i > from && i < last ? g->horizontal : " ";
		put_lane(drawing, glyph, inside ? g->horizontal : " ");
	}
	end_line(drawing);
}

static void
draw_node(Drawing *drawing, int node, int width)
{
	const Glyphs *g = glyphs();
	int			at = NO_LANE;
	int			first;
	bool		reused = false;

	for (int i = 0; i < drawing->nlanes && at == NO_LANE; i++)
		if (drawing->lanes[i] == node)
			at = i;
	if (at == NO_LANE)
	{
		/* the gateway; others have at least one need */
		drawing->lanes = reallocate(drawing->lanes, (drawing->nlanes + 1) * sizeof(int));
		at = drawing->nlanes++;
		drawing->lanes[at] = node;
	}
	draw_branches(drawing, at, node, 0, true);
	for (int i = at + 1; i < drawing->nlanes; i++)
		if (drawing->lanes[i] == node)
			drawing->lanes[i] = NO_LANE;
	while (drawing->nlanes > at + 1 && drawing->lanes[drawing->nlanes - 1] == NO_LANE)
		drawing->nlanes--;

	for (int i = 0; i < drawing->nlanes; i++)
		put_lane(drawing, i == at ? g->node : drawing->lanes[i] != NO_LANE ? g->vertical : " ", " ");
	put_text(&drawing->out, drawing->nodes[node].label, strlen(drawing->nodes[node].label),
			 width > 0 ? width - 2 * drawing->nlanes : 1000);
	end_line(drawing);

	drawing->lanes[at] = NO_LANE;
	first = drawing->nlanes;
	for (int to = node + 1; to < drawing->nnodes; to++)
	{
		if (!drawing->nodes[to].needs[node])
			continue;
		if (!reused)
			drawing->lanes[at] = to;
		else
		{
			drawing->lanes = reallocate(drawing->lanes, (drawing->nlanes + 1) * sizeof(int));
			drawing->lanes[drawing->nlanes++] = to;
		}
		reused = true;
	}
	draw_branches(drawing, at, node, first, false);
}

static char *
node_label(PGresult *result, int row)
{
	StrBuf		label = {0};
	int			replicas = atoi(PQgetvalue(result, row, 2));
	int			shards = atoi(PQgetvalue(result, row, 3));

	strbuf_addf(&label, "%s  %s", PQgetvalue(result, row, 0), PQgetvalue(result, row, 1));
	if (replicas == 0)
		strbuf_add(&label, ", inline");
	else if (replicas > 1)
		strbuf_addf(&label, ", %d replicas", replicas);
	if (shards > 1)
		strbuf_addf(&label, ", %d shards", shards);
	if (PQgetvalue(result, row, 4)[0] == 't')
		strbuf_add(&label, ", floating");
	return label.data;
}

static char *
draw_flow(Session *session, const char *flow)
{
	const char *params[1] = {flow};
	Drawing		drawing = {NULL};
	PGresult   *edges;
	PGresult   *result = query(session, 1, params,
							   "SELECT name, uses, replicas, shards, floating FROM %s.jflow_executors "
							   "WHERE flow OPERATOR(pg_catalog.=) $1::pg_catalog.text ORDER BY position", session->schema);
	int			n = PQntuples(result);

	if (n == 0)
		PQclear(query(session, 1, params, "SELECT %s.jflow_plot($1)", session->schema));	/* complains if there is
																							 * none */
	drawing.nnodes = n + 2;
	drawing.nodes = allocate(drawing.nnodes * sizeof(Node));
	for (int i = 0; i < drawing.nnodes; i++)
	{
		drawing.nodes[i].needs = allocate(drawing.nnodes * sizeof(bool));
		drawing.nodes[i].label = i == 0 ? copy_string(flow) : i > n ? copy_string("answer") : node_label(result, i - 1);
	}
	/* pairs of positions among the names in order, 0 for the gateway */
	edges = query(session, 1, params,
				  "WITH e AS (SELECT *, pg_catalog.row_number() OVER (ORDER BY position) AS n FROM %s.jflow_executors "
				  "WHERE flow OPERATOR(pg_catalog.=) $1::pg_catalog.text) "
				  "SELECT e.n, coalesce(f.n, 0) FROM e CROSS JOIN pg_catalog.unnest(e.needs) need "
				  "LEFT JOIN e f ON f.name OPERATOR(pg_catalog.=) need", session->schema);
	for (int i = 0; i < PQntuples(edges); i++)
		drawing.nodes[atoi(PQgetvalue(edges, i, 0))].needs[atoi(PQgetvalue(edges, i, 1))] = true;
	for (int i = 0; i <= n; i++)
	{
		bool		ends = i == 0 ? n == 0 : PQgetvalue(result, i - 1, 4)[0] != 't';

		for (int j = 1; j <= n; j++)
			if (drawing.nodes[j].needs[i])
				ends = false;
		drawing.nodes[n + 1].needs[i] = ends;
	}
	for (int i = 0; i < drawing.nnodes; i++)
		draw_node(&drawing, i, term_width(STDOUT_FILENO));
	PQclear(edges);
	PQclear(result);
	return drawing.out.data;
}

static const char *
format_for(const char *output)
{
	const char *format = option_value("format");
	const char *dot = output ? strrchr(output, '.') : NULL;

	if (format)
		return format;
	if (dot && (strcmp(dot, ".svg") == 0 || strcmp(dot, ".dot") == 0))
		return dot + 1;
	return output || !isatty(STDOUT_FILENO) ? "mermaid" : "text";
}

/* jflow plot: a picture of a flow. */
int
run_plot(int nargs, char **args)
{
	const char *output = option_value("output");
	const char *params[2];
	Session		session;
	FILE	   *file = stdout;
	char	   *text;

	if (nargs > 1)
		usage_error(NULL, "too many arguments");
	params[1] = format_for(output);
	connect_server(&session, &connect_options, true);
	params[0] = choose_flow(&session, nargs > 0 ? utf8_of_locale(args[0]) : option_text("flow"));
	if (strcmp(params[1], "text") == 0)
		text = draw_flow(&session, params[0]);

	else
	{
		PGresult   *result = query(&session, 2, params, "SELECT %s.jflow_plot($1::pg_catalog.text, $2::pg_catalog.text)",
								   session.schema);

		text = copy_string(PQgetvalue(result, 0, 0));

		PQclear(result);
	}
	if (output && strcmp(output, "-") != 0 && !(file = fopen(output, "w")))
		fail_with(EXIT_USAGE, NULL, "could not open \"%s\": %s", output, strerror(errno));
	if (isatty(fileno(file)))
		print_lines(file, text);
	else
	{
		fputs(text, file);
		if (text[0] && text[strlen(text) - 1] != '\n')
			fputc('\n', file);
	}
	finish_output(file, output ? output : "the standard output");
	PQfinish(session.conn);
	return EXIT_OK;
}
