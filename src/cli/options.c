/*
 * options.c
 *		Options: those of the connection, which are psql's, and each subcommand's.
 *
 * They may stand in front of the subcommand (those of the connection) or anywhere
 * behind it.  Values are kept in the order given, since some may be given twice.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

ConnectOptions connect_options;

typedef struct Given
{
	const char *name;
	const char *value;
} Given;

static const Option common_options[] = {
	{"dbname", 'd', "DBNAME", "database name or connection string"},
	{"host", 'h', "HOST", "server's host or socket directory"},
	{"port", 'p', "PORT", "server's port"},
	{"username", 'U', "NAME", "database user"},
	{"no-password", 'w', NULL, "never ask for a password"},
	{"password", 'W', NULL, "ask for a password at once"},
	{"help", '?', NULL, "show this help, then exit"},
	{"version", 'V', NULL, "show the version, then exit"},
	{NULL}
};

static Given *given;
static int	ngiven;
static const Command *current_command;

/*
 * Say what is wrong with the arguments, and end.  Without a command it is about
 * the one that runs.
 */
void
usage_error(const Command *command, const char *format,...)
{
	va_list		args;

	if (!command)
		command = current_command;
	fputs("jflow: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\nTry \"jflow %s%s--help\" for more information.\n",
			command ? command->name : "", command ? " " : "");
	exit(EXIT_USAGE);
}

static const Option *
find_in(const Option *options, const char *name, size_t len, int letter)
{
	for (const Option *option = options; option && option->name; option++)
	{
		if (name ? strlen(option->name) == len && strncmp(option->name, name, len) == 0
			: option->letter == letter)
			return option;
	}
	return NULL;
}

static const Option *
find_option(const Command *command, const char *name, size_t len, int letter)
{
	const Option *option = find_in(common_options, name, len, letter);

	return option || !command ? option : find_in(command->options, name, len, letter);
}

static void
remember(const Option *option, const char *value)
{
	given = reallocate(given, (ngiven + 1) * sizeof(Given));
	given[ngiven].name = option->name;
	given[ngiven].value = value;
	ngiven++;
}

/* An option in full; returns whether it took the next argument as its value. */
static bool
parse_long(const Command *command, const char *arg, const char *next)
{
	const char *equals = strchr(arg, '=');
	size_t		len = equals ? (size_t) (equals - arg) : strlen(arg);
	const Option *option = find_option(command, arg, len, 0);

	if (!option)
		usage_error(command, "unrecognized option \"--%.*s\"", (int) len, arg);
	if (!option->value)
	{
		if (equals)
			usage_error(command, "option \"--%s\" takes no value", option->name);
		remember(option, "");
		return false;
	}
	if (!equals && !next)
		usage_error(command, "option \"--%s\" wants a value", option->name);
	remember(option, equals ? equals + 1 : next);
	return !equals;
}

/* Options of one letter in a row, the last of which may have a value. */
static bool
parse_letters(const Command *command, const char *arg, const char *next)
{
	for (; *arg; arg++)
	{
		const Option *option = find_option(command, NULL, 0, *arg);

		if (!option)
			usage_error(command, "unrecognized option \"-%c\"", *arg);
		if (!option->value)
		{
			remember(option, "");
			continue;
		}
		if (!arg[1] && !next)
			usage_error(command, "option \"-%c\" wants a value", *arg);
		remember(option, arg[1] ? arg + 1 : next);
		return !arg[1];
	}
	return false;
}

static const Command *
find_command(const Command *commands, const char *name)
{
	for (const Command *command = commands; command->name; command++)
		if (strcmp(command->name, name) == 0)
			return command;
	usage_error(NULL, "unknown command \"%s\"", name);
}

static void
set_connect_options(void)
{
	connect_options.dbname = option_value("dbname");
	connect_options.host = option_value("host");
	connect_options.port = option_value("port");
	connect_options.user = option_value("username");
	connect_options.prompt = option_set("no-password") ? -1 : option_set("password") ? 1 : 0;
}

/*
 * The command that the arguments name (NULL if none), and its own arguments.
 */
void
parse_options(int argc, char **argv, const Command *commands, const Command **command,
			  int *nargs, char ***args)
{
	bool		only_args = false;

	*command = NULL;
	*nargs = 0;
	*args = allocate(argc * sizeof(char *));
	for (int i = 1; i < argc; i++)
	{
		char	   *arg = argv[i];
		char	   *next = i + 1 < argc ? argv[i + 1] : NULL;
		bool		took_next = false;

		if (only_args || arg[0] != '-' || !arg[1])
		{
			if (*command)
				(*args)[(*nargs)++] = arg;
			else
				*command = current_command = find_command(commands, arg);
		}
		else if (strcmp(arg, "--") == 0)
			only_args = true;
		else if (arg[1] == '-')
			took_next = parse_long(*command, arg + 2, next);
		else
			took_next = parse_letters(*command, arg + 1, next);
		if (took_next)
			i++;
	}
	set_connect_options();
}

/* The value given n-th (from 0), or NULL. */
const char *
option_value_nth(const char *name, int n)
{
	for (int i = 0; i < ngiven; i++)
		if (strcmp(given[i].name, name) == 0 && n-- == 0)
			return given[i].value;
	return NULL;
}

/* How often an option was given. */
int
option_count(const char *name)
{
	int			n = 0;

	while (option_value_nth(name, n))
		n++;
	return n;
}

/* The value given last, or NULL. */
const char *
option_value(const char *name)
{
	int			n = option_count(name);

	return n > 0 ? option_value_nth(name, n - 1) : NULL;
}

/* The same, a text for the server. */
const char *
option_text(const char *name)
{
	const char *value = option_value(name);

	return value ? utf8_of_locale(value) : NULL;
}

/* Was an option given? */
bool
option_set(const char *name)
{
	return option_count(name) > 0;
}

/*
 * The number of an option, or the standard one; another one than these bounds allow
 * is a usage error.
 */
long
option_number(const char *name, long standard, long least, long most)
{
	const char *value = option_value(name);
	char	   *end;
	long		number;

	if (!value)
		return standard;
	errno = 0;
	number = strtol(value, &end, 10);
	if (errno != 0 || end == value || *end || number < least || number > most)
		usage_error(NULL, "option \"--%s\" wants a number from %ld to %ld, not \"%s\"", name, least, most, value);
	return number;
}

static void
print_options(FILE *file, const Option *options)
{
	for (const Option *option = options; option && option->name; option++)
	{
		char	   *left = format_string("--%s%s%s", option->name, option->value ? " " : "",
										 option->value ? option->value : "");

		if (option->letter)
			fprintf(file, "  -%c, %-26s %s\n", option->letter, left, option->help);
		else
			fprintf(file, "      %-26s %s\n", left, option->help);
		free(left);
	}
}

/* The help of a command, or without one of them all. */
void
print_help(FILE *file, const Command *commands, const Command *command)
{
	if (command)
	{
		fprintf(file, "jflow %s: %s\n\nUsage:\n  jflow %s [OPTION]...%s%s\n\n", command->name, command->summary,
				command->name, command->usage[0] ? " " : "", command->usage);
		if (command->options->name)
		{
			fputs("Options:\n", file);
			print_options(file, command->options);
			fputc('\n', file);
		}
	}
	else
	{
		fputs("jflow drives the search flows of a PostgreSQL server.\n\nUsage:\n"
			  "  jflow [CONNECTION OPTION]... COMMAND [OPTION]... [ARGUMENT]...\n\nCommands:\n", file);
		for (command = commands; command->name; command++)
			fprintf(file, "  %-9s %s\n", command->name, command->summary);
		fputs("\n\"jflow COMMAND --help\" shows the options of a command.\n\n", file);
	}
	fputs("Connection options:\n", file);
	print_options(file, common_options);
	fputs("\nPGHOST, PGPORT, PGUSER, PGDATABASE, PGSERVICE, the password file and the rest work as for psql.\n", file);
}
