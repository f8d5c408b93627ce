/*
 * top.c
 *		jflow top: replicas, posts and rates, refreshed in place.
 *
 * Where the output is no terminal it looks twice and prints what it saw.  The
 * screen is an alternate one, and whatever ends us gives the terminal back.
 */
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "top.h"

const Option top_options[] = {
	{"flow", 'f', "FLOW", "only this flow"},
	{"interval", 'n', "SECONDS", "between two looks (2)"},
	{"once", '1', NULL, "print what there is and exit, as in a pipe"},
	{NULL}
};

static struct termios before;
static volatile sig_atomic_t resized;

typedef struct Top
{
	Session    *session;
	const char *flow;
	double		interval;
	View		view;
	Look	   *look;
	char	   *message;
	bool		quit;
} Top;

static void
handle_resize(int signal_number)
{
	resized = 1;
}

/* Also called by the handler of a signal that ends us. */
static void
leave_screen(void)
{
	static const char back[] = "\033[?25h\033[?1049l";
	static bool left;

	if (left)
		return;
	left = true;
	tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
	if (write(STDOUT_FILENO, back, sizeof(back) - 1) < 0)
		return;
}

static void
enter_screen(void)
{
	struct termios raw;
	struct sigaction action;

	tcgetattr(STDIN_FILENO, &before);
	atexit(leave_screen);
	restore_terminal = leave_screen;
	raw = before;
	raw.c_lflag &= ~(ICANON | ECHO);
	raw.c_cc[VMIN] = 0;
	raw.c_cc[VTIME] = 0;
	/* stopped, we would leave the shell this terminal */
	raw.c_cc[VSUSP] = raw.c_cc[VQUIT] = _POSIX_VDISABLE;
	tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
	fputs("\033[?1049h\033[?25l", stdout);
	memset(&action, 0, sizeof(action));
	action.sa_handler = handle_resize;
	sigaction(SIGWINCH, &action, NULL);
}

static void
say(Top *top, char *message)
{
	free(top->message);
	top->message = message;
	top->view.message = message;
}

/* Do something for a key; what the server says is shown in the last line. */
static void
act(Top *top, int nparams, const char *const *params, const char *sql, const char *done)
{
	PGresult   *result = try_query(top->session, nparams, params, sql, top->session->schema);

	if (PQresultStatus(result) == PGRES_TUPLES_OK)
		say(top, copy_string(done));
	else
	{
		const char *error = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

		say(top, copy_string(error ? error : PQerrorMessage(top->session->conn)));
	}
	PQclear(result);
}

static void
scale(Top *top, int change)
{
	const ExecutorRow *executor = &top->look->executors[top->view.selected];
	char	   *number = format_string("%d", executor->replicas + change);
	const char *params[3] = {executor->flow, executor->executor, number};
	char	   *done = format_string("%s is scaled to %s replicas", executor->executor, number);

	/* 0 would move it into the sessions of those who post */
	if (executor->replicas + change >= 1 && executor->replicas > 0)
		act(top, 3, params, "SELECT %s.jflow_scale($1::pg_catalog.text, $2::pg_catalog.text, $3::pg_catalog.int4)", done);
	else
		say(top, copy_string("only between 1 replica and more"));
	free(number);
	free(done);
}

static void
cancel(Top *top)
{
	const PostRow *post = &top->look->posts[top->view.selected - top->look->nexecutors];
	const char *params[1] = {post->post};
	char	   *done = format_string("post %s is canceled", post->post);

	act(top, 1, params, "SELECT %s.jflow_cancel($1::pg_catalog.int8)", done);
	free(done);
}

static void
handle_key(Top *top, char key)
{
	int			last = top->look ? top->look->nexecutors + top->look->nposts - 1 : -1;
	bool		on_executor = top->look && top->view.selected >= 0 && top->view.selected < top->look->nexecutors;
	bool		on_post = top->look && top->view.selected >= 0 && !on_executor && top->view.selected <= last;

	say(top, NULL);
	if (key == 'q' || key == 'Q')
		top->quit = true;
	else if (key == 's')
	{
		top->view.sort = (top->view.sort + 1) % SORT_END;
		if (top->look && top->view.sort != SORT_NAME)
			sort_look(top->look, top->view.sort);
	}
	else if (key == 'k' && top->view.selected > 0)
		top->view.selected--;
	else if (key == 'j' && top->view.selected < last)
		top->view.selected++;
	else if ((key == '+' || key == '-') && on_executor)
		scale(top, key == '+' ? 1 : -1);
	else if (key == 'c' && on_post)
		cancel(top);
	else if (key == '+' || key == '-')
		say(top, copy_string("choose an executor first"));
	else if (key == 'c')
		say(top, copy_string("choose a post first"));
}

/* What was typed; an arrow is three bytes, and the last of them tells which. */
static void
handle_keys(Top *top, const char *keys, ssize_t len)
{
	for (ssize_t i = 0; i < len && !top->quit; i++)
	{
		char		key = keys[i];

		if (key == '\033' && i + 2 < len)
		{
			i += 2;
			key = keys[i] == 'A' ? 'k' : keys[i] == 'B' ? 'j' : ' ';
		}
		handle_key(top, key);
	}
}

/* Look again; a connection that is lost is tried anew each time. */
static void
look_again(Top *top)
{
	Look	   *look;

	if (PQstatus(top->session->conn) == CONNECTION_BAD && reconnect(top->session))
		say(top, NULL);
	look = take_look(top->session, top->flow, top->look);
	if (!look)
	{
		say(top, one_line(PQerrorMessage(top->session->conn)));
		return;
	}
	sort_look(look, top->view.sort);
	free_look(top->look);
	top->look = look;
	if (top->view.selected >= look->nexecutors + look->nposts)
		top->view.selected = look->nexecutors + look->nposts - 1;
	if (top->view.selected < 0 && look->nexecutors > 0)
		top->view.selected = 0;
}

static void
draw(Top *top)
{
	static Look nothing;
	char	   *screen;

	if (!nothing.memory)
		nothing.memory = copy_string("");
	top->view.width = term_width(STDOUT_FILENO);
	if (top->view.width <= 0)
		top->view.width = 80;
	top->view.height = term_height(STDOUT_FILENO);
	screen = draw_look(top->look ? top->look : &nothing, &top->view);
	fputs(screen, stdout);
	fflush(stdout);
	free(screen);
}

static void
watch(Top *top)
{
	double		next = 0;

	enter_screen();
	while (!top->quit && !interrupted)
	{
		struct pollfd wait = {.fd = STDIN_FILENO,.events = POLLIN};
		double		left;
		char		keys[64];
		ssize_t		n;

		if (now_seconds() >= next)
		{
			look_again(top);
			next = now_seconds() + top->interval;
		}
		resized = 0;
		draw(top);
		left = (next - now_seconds()) * 1000;
		/* a signal ends the wait, and a resize is drawn at once */
		if (resized || poll(&wait, 1, left > 0 ? (int) left : 0) <= 0)
			continue;
		n = read(STDIN_FILENO, keys, sizeof(keys));
		if (n <= 0)
			top->quit = true;	/* the terminal is gone */
		else
			handle_keys(top, keys, n);
	}
}

static int
print_once(Top *top)
{
	struct pollfd none = {.fd = -1};
	char	   *text;

	top->look = take_look(top->session, top->flow, NULL);
	if (top->look)
	{
		Look	   *first = top->look;

		poll(&none, 1, (int) (top->interval * 1000));
		top->look = interrupted ? NULL : take_look(top->session, top->flow, first);
		free_look(first);
	}
	if (interrupted)
		end_by_signal();
	if (!top->look)
	{
		report_result(NULL, top->session->conn, NULL);
		return PQstatus(top->session->conn) == CONNECTION_BAD ? EXIT_CONNECTION : EXIT_SERVER;
	}
	top->view.width = term_width(STDOUT_FILENO);
	if (top->view.width <= 0)
		top->view.width = 200;
	text = draw_look(top->look, &top->view);

	fputs(text, stdout);
	free(text);
	return EXIT_OK;
}

/*
 * jflow top: what runs, again every few seconds; once where there is no terminal.
 */
int
run_top(int nargs, char **args)
{
	Session		session;
	Top			top = {.session = &session,.view.selected = -1};

	if (nargs > 0)
		usage_error(NULL, "too many arguments");
	top.flow = option_text("flow");
	top.interval = option_number("interval", 2, 1, 3600);
	connect_options.watches = true;
	connect_server(&session, &connect_options, true);
	if (option_set("once") || !isatty(STDOUT_FILENO) || !isatty(STDIN_FILENO))
		return print_once(&top);
	top.view.live = true;
	top.view.colour = use_colour(STDOUT_FILENO);
	watch(&top);
	leave_screen();
	if (interrupted && interrupted != SIGINT)	/* that is q by another key */
		end_by_signal();
	PQfinish(session.conn);
	return EXIT_OK;
}
