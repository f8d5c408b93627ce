/*
 * main.c
 *		jflow: flows of a PostgreSQL server, driven from a shell.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

static int	run_help(int nargs, char **args);

static const Option no_options[] = {{NULL}};

static const Command commands[] = {
	{"post", "ENDPOINT [FILE|FOLDER|-]...", "post documents from files, folders or standard input", post_options, run_post},
	{"search", "WORDS...", "search a flow", search_options, run_search},
	{"explain", "ENDPOINT [WORDS...]", "post and tell what each executor did", explain_options, run_explain},
	{"status", "", "show flows, executors and what limits the server", status_options, run_status},
	{"top", "", "watch replicas, posts and rates", top_options, run_top},
	{"plot", "[FLOW]", "draw a flow", plot_options, run_plot},
	{"apply", "FILE|-", "make a flow as a YAML file says", apply_options, run_apply},
	{"sync", "[run|pause|resume|retry|resync|errors NAME]", "show and steer tables in step with flows", sync_options, run_sync},
	{"metrics", "", "print the counters as OpenMetrics", metrics_options, run_metrics},
	{"version", "", "show the versions of client, extension and server", version_options, run_version},
	{"help", "[COMMAND]", "show this help, or a command's", no_options, run_help},
	{NULL}
};

static int
run_help(int nargs, char **args)
{
	const Command *command = NULL;

	if (nargs > 0)
	{
		for (command = commands; command->name && strcmp(command->name, args[0]) != 0; command++)
			;
		if (!command->name)
			usage_error(NULL, "unknown command \"%s\"", args[0]);
	}
	print_help(stdout, commands, command);
	return EXIT_OK;
}

/*
 * Where a standard stream is closed its number would go to the connection, or to a
 * file, and what is said there to the server.  What we put in its place can be
 * neither read nor written.
 */
static void
occupy_standard_streams(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
			exit(EXIT_USAGE);
}

/* Options, then the command that they name. */
int
main(int argc, char **argv)
{
	const Command *command;
	int			nargs;
	char	  **args;
	int			code;

	occupy_standard_streams();
	term_init();
	parse_options(argc, argv, commands, &command, &nargs, &args);
	if (option_set("version"))
	{
		puts("jflow " JFLOW_VERSION);
		code = EXIT_OK;
	}
	else if (option_set("help"))
	{
		print_help(stdout, commands, command);
		code = EXIT_OK;
	}
	else if (!command)
	{
		print_help(stderr, commands, NULL);
		return EXIT_USAGE;
	}
	else
		code = command->run(nargs, args);
	finish_output(stdout, "the standard output");
	return code;
}
