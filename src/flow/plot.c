/*
 * plot.c
 *		jflow_plot(): the topology of a flow as mermaid, dot or SVG.
 *
 * Names are anybody's text.  Nodes are called n0, n1, ... and names stand only in
 * labels, quoted as each format has it.  SVG is drawn by Graphviz' "dot"; it
 * reads a file of ours, so that nothing of a flow gets into a command.
 */
#include "postgres.h"

#include <sys/wait.h>
#include <unistd.h>

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/wait_event.h"

#include "compat.h"
#include "flow/flow.h"

PG_FUNCTION_INFO_V1(jflow_plot);

/* A label: what an executor is, in lines that the format separates. */
static char *
executor_label(const JflowExecutor *executor, const char *newline,
			   void (*quote) (StringInfo, const char *))
{
	StringInfoData label;

	initStringInfo(&label);
	quote(&label, executor->name);
	appendStringInfoString(&label, newline);
	quote(&label, executor->uses);
	if (executor->replicas != 1)
		appendStringInfo(&label, executor->replicas == 0 ? "%sinline" : "%s%d replicas",
						 newline, executor->replicas);
	if (executor->shards > 1)
		appendStringInfo(&label, "%s%d shards", newline, executor->shards);
	if (executor->batch)
	{
		JflowBatch	batch;

		jflow_batch_read(executor->batch, &batch);
		appendStringInfo(&label, "%sbatches of %d", newline, batch.size);
	}
	if (executor->when)
	{
		appendStringInfo(&label, "%swhen ", newline);
		quote(&label, JsonbToCString(NULL, &executor->when->root, VARSIZE(executor->when)));
	}
	return label.data;
}

/* Mermaid takes entity codes in quoted labels. */
static void
quote_mermaid(StringInfo out, const char *text)
{
	for (const char *p = text; *p; p++)
	{
		if (strchr("\"#<>&;`\\{}[]()|", *p) || (unsigned char) *p < ' ')
			appendStringInfo(out, "#%d;", (unsigned char) *p);
		else
			appendStringInfoChar(out, *p);
	}
}

/* In dot, a quoted string ends at a quote, and a backslash escapes. */
static void
quote_dot(StringInfo out, const char *text)
{
	for (const char *p = text; *p; p++)
	{
		if (*p == '"' || *p == '\\')
			appendStringInfo(out, "\\%c", *p);
		else if ((unsigned char) *p < ' ')
			appendStringInfoChar(out, ' ');
		else
			appendStringInfoChar(out, *p);
	}
}

static char *
node_name(int executor)
{
	return executor == JFLOW_FLOW_INPUT ? pstrdup("start") : psprintf("n%d", executor);
}

static char *
plot_mermaid(const JflowFlow *flow)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoString(&out, "flowchart LR\n    start([\"gateway\"])\n    stop([\"gateway\"])\n");
	for (int i = 0; i < flow->nexecutors; i++)
	{
		const JflowExecutor *executor = &flow->executors[i];

		appendStringInfo(&out, "    n%d[\"%s\"]\n", i,
						 executor_label(executor, "<br/>", quote_mermaid));
		for (int j = 0; j < executor->nneeds; j++)
			appendStringInfo(&out, "    %s %s n%d\n", node_name(executor->inputs[j]),
							 executor->floating ? "-.->" : "-->", i);
	}
	for (int i = 0; i < flow->noutputs; i++)
		appendStringInfo(&out, "    n%d --> stop\n", flow->outputs[i]);
	if (flow->noutputs == 0)
		appendStringInfoString(&out, "    start --> stop\n");
	return out.data;
}

static char *
plot_dot(const JflowFlow *flow)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoString(&out, "digraph \"");
	quote_dot(&out, flow->name);
	appendStringInfoString(&out, "\" {\n    rankdir=LR;\n    node [shape=box];\n"
						   "    start [label=\"gateway\", shape=oval];\n"
						   "    stop [label=\"gateway\", shape=oval];\n");
	for (int i = 0; i < flow->nexecutors; i++)
	{
		const JflowExecutor *executor = &flow->executors[i];

		appendStringInfo(&out, "    n%d [label=\"%s\"%s];\n", i,
						 executor_label(executor, "\\n", quote_dot),
						 executor->floating ? ", style=dashed" : "");
		for (int j = 0; j < executor->nneeds; j++)
			appendStringInfo(&out, "    %s -> n%d%s;\n", node_name(executor->inputs[j]), i,
							 executor->floating ? " [style=dashed]" : "");
	}
	for (int i = 0; i < flow->noutputs; i++)
		appendStringInfo(&out, "    n%d -> stop;\n", flow->outputs[i]);
	if (flow->noutputs == 0)
		appendStringInfoString(&out, "    start -> stop;\n");
	appendStringInfoString(&out, "}\n");
	return out.data;
}

/* Read all of a pipe, open to interrupts. */
static void
read_pipe(FILE *pipe, StringInfo out)
{
	int			fd = fileno(pipe);
	char		buffer[8192];
	ssize_t		n;

	for (;;)
	{
		(void) WaitLatchOrSocket(MyLatch, WL_LATCH_SET | WL_SOCKET_READABLE | WL_EXIT_ON_PM_DEATH,
								 fd, -1, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();

		/* The wait may have ended for the latch; a short block is harmless. */
		n = read(fd, buffer, sizeof(buffer));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not read from program \"dot\": %m")));
		if (n == 0)
			return;
		appendBinaryStringInfo(out, buffer, n);
	}
}

/*
 * Run dot on a file of ours.  A cancel waits for it to end, so its time is limited
 * (in seconds of CPU; it does nothing but compute).
 */
static char *
run_dot(const char *path)
{
	char	   *command = psprintf("ulimit -t 10 && exec dot -Tsvg '%s' 2>/dev/null", path);
	FILE	   *volatile pipe;
	StringInfoData out;
	int			status;

	initStringInfo(&out);
	pipe = OpenPipeStream(command, "r");
	if (pipe == NULL)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not run program \"dot\": %m")));
	PG_TRY();
	{
		read_pipe(pipe, &out);
	}
	PG_CATCH();
	{
		ClosePipeStream(pipe);
		PG_RE_THROW();
	}
	PG_END_TRY();
	status = ClosePipeStream(pipe);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("program \"dot\" is not installed on the server"),
				 errhint("Install Graphviz there, or use the format \"mermaid\" or \"dot\".")));
	if (status != 0)
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("program \"dot\" failed"),
				 errdetail_internal("%s", wait_result_to_str(status))));
	return out.data;
}

static char *
plot_svg(const JflowFlow *flow)
{
	char	   *dot = plot_dot(flow);
	char	   *path = psprintf("base/pgsql_tmp/pgsql_tmp%d.jflow.dot", MyProcPid);
	FILE	   *file;
	char	   *volatile svg = NULL;

	/*
	 * In the folder of temporary files, which is cleared at server start; a
	 * server works in its data directory, whose name may have any character.
	 */
	(void) MakePGDirectory("base/pgsql_tmp");
	dot = pg_server_to_any(dot, strlen(dot), PG_UTF8);
	file = AllocateFile(path, PG_BINARY_W);
	if (file == NULL)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create file \"%s\": %m", path)));
	PG_TRY();
	{
		if (fwrite(dot, 1, strlen(dot), file) != strlen(dot) || FreeFile(file) != 0)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not write to file \"%s\": %m", path)));
		svg = run_dot(path);
	}
	PG_FINALLY();
	{
		(void) unlink(path);
	}
	PG_END_TRY();
	return pg_any_to_server(svg, strlen(svg), PG_UTF8);
}

/*
 * jflow_plot(flow text, format text) RETURNS text: "mermaid", "dot" or "svg".
 */
Datum
jflow_plot(PG_FUNCTION_ARGS)
{
	JflowFlow  *flow = jflow_flow_open(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	char	   *format = text_to_cstring(PG_GETARG_TEXT_PP(1));
	char	   *result;

	if (!jflow_may_see(flow->name, GetUserId()))
		jflow_check_may_post(flow, NULL);
	if (pg_strcasecmp(format, "mermaid") == 0)
		result = plot_mermaid(flow);
	else if (pg_strcasecmp(format, "dot") == 0)
		result = plot_dot(flow);
	else if (pg_strcasecmp(format, "svg") == 0)
		result = plot_svg(flow);
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown plot format \"%s\"", format),
				 errhint("The formats are \"mermaid\", \"dot\" and \"svg\".")));
	PG_RETURN_TEXT_P(cstring_to_text(result));
}
