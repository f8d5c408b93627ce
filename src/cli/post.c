/*
 * post.c
 *		jflow post: documents from files, folders and standard input to a flow.
 */
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "post.h"

#define LINGER_MS 200			/* how long documents wait for more of them */

const Option post_options[] = {
	{"flow", 'f', "FLOW", "the flow (jflow.flow, or the only one)"},
	{"format", 0, "FORMAT", "jsonl, csv, tsv, lines or text, instead of what the name says"},
	{"encoding", 0, "NAME", "of the files, if it is not UTF-8"},
	{"tags", 0, NULL, "keys and columns that are no attributes become tags"},
	{"strings", 0, NULL, "tags of CSV files are strings, also numbers"},
	{"map", 0, "ATTRIBUTE=NAME", "the key or column NAME is this attribute; may be given again"},
	{"parameters", 0, "JSON", "parameters of the post"},
	{"target-executor", 0, "REGEX", "only these executors"},
	{"request-size", 0, "N", "documents of a request (jflow.request_size)"},
	{"batch-size", 0, "N", "documents of a transaction (10 requests)"},
	{"timeout", 0, "INTERVAL", "of a transaction"},
	{"resume", 0, "STATE", "go on where the post was of which this file tells"},
	{"continue-on-error", 0, NULL, "go on past bad documents"},
	{"errors", 0, "FILE", "the same, and append them to this file"},
	{"output", 'o', "FILE", "write the answer there, as JSON Lines; - is standard output"},
	{"quiet", 'q', NULL, "say nothing but errors"},
	{NULL}
};

static Format
format_option(void)
{
	static const char *const names[] = {"jsonl", "csv", "tsv", "lines", "text"};
	const char *value = option_value("format");

	if (!value)
		return FORMAT_AUTO;
	for (int i = 0; i < 5; i++)
		if (strcmp(value, names[i]) == 0)
			return FORMAT_JSONL + i;
	usage_error(NULL, "unknown format \"%s\"", value);
}

/*
 * Encodings whose characters may have bytes that look like quotes or backslashes
 * cannot be read without knowing them.
 */
static void
set_encoding(DocumentRules *rules)
{
	static const char *const unsafe[] = {"BIG5", "GB18030", "GBK", "JOHAB", "SJIS", "SHIFT_JIS_2004", "UHC"};
	const char *encoding = option_value("encoding");

	rules->utf8 = true;
	if (!encoding)
		return;
	for (size_t i = 0; i < sizeof(unsafe) / sizeof(unsafe[0]); i++)
		if (strcasecmp(encoding, unsafe[i]) == 0)
			usage_error(NULL, "encoding \"%s\" is not supported: convert the files, as by iconv", encoding);
	rules->utf8 = strcasecmp(encoding, "UTF8") == 0 || strcasecmp(encoding, "UTF-8") == 0;
	connect_options.encoding = encoding;
}

static void
set_mappings(DocumentRules *rules)
{
	rules->nmappings = option_count("map");
	rules->mappings = allocate(rules->nmappings * sizeof(Mapping));
	for (int i = 0; i < rules->nmappings; i++)
	{
		char	   *attribute = copy_string(option_value_nth("map", i));
		char	   *equals = strchr(attribute, '=');

		if (!equals || !equals[1])
			usage_error(NULL, "option \"--map\" wants ATTRIBUTE=NAME, not \"%s\"", attribute);
		*equals = '\0';
		if (!is_attribute(attribute))
			usage_error(NULL, "\"%s\" is no attribute of a document", attribute);
		rules->mappings[i].attribute = attribute;
		rules->mappings[i].name = equals + 1;
	}
}

/* Move behind the document that the state file names. */
static void
resume_in(Reader *reader, const Place *place)
{
	struct pollfd wait = {.fd = reader->fd,.events = POLLIN};
	Record		record = {.line = 0};
	const char *error = reader_seek(reader, place->start, place->line);
	ReadStatus	status = READ_END;

	while (!error && (status = reader_next(reader, &record)) == READ_WAIT)
	{
		poll(&wait, 1, -1);
		if (interrupted)
			end_by_signal();
	}
	if (!error && (status != READ_RECORD || record.error || hash_bytes(record.doc.data, record.doc.len) != place->hash))
		error = "it has another document there";
	if (error)
		fail_with(EXIT_USAGE, "Remove the state file to post everything anew.",
				  "cannot resume at %s:%ld: %s", place->path, place->line, error);
	strbuf_free(&record.doc);
}

/* All documents of a file. */
static void
post_file(Sender *sender, const DocumentRules *rules, const char *path, int arg, const Place *resume)
{
	Reader		reader;
	Record		record = {.line = 0};
	const char *error = reader_open(&reader, path, rules);
	ReadStatus	status = READ_RECORD;

	if (error)
	{
		record.error = error;
		sender_skip(sender, &record, reader.path);
		status = READ_END;
	}
	else if (resume && strcmp(resume->path, reader.path) == 0)
		resume_in(&reader, resume);
	while (status != READ_END && !sender_stopped(sender) && !interrupted)
	{
		status = reader_next(&reader, &record);
		if (status == READ_WAIT)
			sender_wait(sender, reader.fd, LINGER_MS);
		else if (status == READ_RECORD && record.error)
			sender_skip(sender, &record, reader.path);
		else if (status == READ_RECORD)
			sender_add(sender, &record, reader.path, arg);
	}
	reader_close(&reader);
	strbuf_free(&record.doc);
}

static void
tell_outcome(const Sender *sender, const Progress *progress, bool quiet)
{
	const Place *place = sender_place(sender);

	if (interrupted || sender_stopped(sender))
	{
		char	   *last = place ? format_string(", the last of them %s:%ld", place->path, place->line) : copy_string("");

		complain("%s: %" PRId64 " documents are stored%s", interrupted ? "canceled" : "stopped", progress->docs, last);
		free(last);
	}
	else if (!quiet)
		fprintf(stderr, "%" PRId64 " documents are stored, %" PRId64 " were bad\n", progress->docs, sender_bad(sender));
}

static Inputs *
open_inputs(int nargs, char **args, const Place *resume)
{
	Inputs	   *inputs = inputs_open(nargs, args);

	if (resume)
		inputs_skip_to(inputs, resume->arg, strcmp(args[resume->arg], "-") == 0 ? "-" : resume->path);
	return inputs;
}

static int
post_all(const char *endpoint, int nargs, char **args, const DocumentRules *rules)
{
	bool		quiet = option_set("quiet");
	const char *state_file = option_value("resume");
	Session		session;
	Progress	progress;
	Sender	   *sender;
	Inputs	   *inputs;
	Place		place;
	const Place *resume = NULL;
	const char *path;
	int64_t		docs_before = 0;
	int64_t		bytes = -1;
	int			arg;
	int			code;

	if (state_file && resume_read(state_file, endpoint, nargs, args, &place, &docs_before))
		resume = &place;
	connect_server(&session, &connect_options, true);
	if (!quiet)
		bytes = inputs_bytes(open_inputs(nargs, args, resume));
	if (bytes >= 0 && resume)
		bytes -= resume->start;
	progress_start(&progress, bytes, quiet);
	sender = sender_start(&session, &progress, endpoint, args, resume != NULL, docs_before);
	inputs = open_inputs(nargs, args, resume);
	while (!sender_stopped(sender) && !interrupted && (path = inputs_next(inputs, &arg)) != NULL)
		post_file(sender, rules, path, arg, resume && arg == resume->arg ? resume : NULL);
	sender_finish(sender);
	code = sender_code(sender);
	progress_end(&progress, interrupted ? "CANCELED" : sender_stopped(sender) ? "STOPPED" : "DONE");
	tell_outcome(sender, &progress, quiet);
	if (interrupted)
		end_by_signal();
	PQfinish(session.conn);
	return code;
}

/* jflow post: documents of files through a flow. */
int
run_post(int nargs, char **args)
{
	static char *standard_input[] = {"-", NULL};
	DocumentRules rules = {.format = format_option(),.tags = option_set("tags"),.strings = option_set("strings")};

	if (nargs < 1)
		usage_error(NULL, "an endpoint is missing");
	set_encoding(&rules);
	set_mappings(&rules);
	if (nargs > 1)
		return post_all(args[0], nargs - 1, args + 1, &rules);
	if (isatty(STDIN_FILENO))
		usage_error(NULL, "no files are given, and the standard input is a terminal");
	return post_all(args[0], 1, standard_input, &rules);
}
