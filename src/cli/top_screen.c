/*
 * top_screen.c
 *		The screen of jflow top: three tables that keep to width and height.
 *
 * A column has a width of its own and the screen's width from which on it is
 * shown; the last one takes what is left.
 */
#include <stdlib.h>
#include <string.h>

#include "top.h"

typedef struct Field
{
	const char *title;
	int			width;			/* 0: the rest of the line */
	bool		right;
	int			from;			/* shown on screens of so many columns */
} Field;

typedef struct Screen
{
	const View *view;
	StrBuf		out;
	int			lines;
} Screen;

static const Field executor_fields[] = {
	{"FLOW", 14, false, 60}, {"EXECUTOR", 16, false, 0}, {"STATE", 8, false, 70}, {"RUNS", 7, true, 0},
	{"QUEUED", 6, true, 50}, {"REQ/S", 8, true, 0}, {"DOCS/S", 9, true, 80}, {"ERRORS", 7, true, 90},
	{"P95 MS", 8, true, 100}, {"LAST ERROR", 0, false, 120}
};

static const Field replica_fields[] = {
	{"PID", 8, true, 0}, {"FLOW", 14, false, 80}, {"EXECUTOR", 16, false, 60}, {"NO", 7, false, 70},
	{"STATE", 8, false, 0}, {"REQ/S", 8, true, 0}, {"BUSY%", 6, true, 0}, {"ERRORS", 7, true, 100},
	{"ENDPOINT", 14, false, 110}, {"LAST ERROR", 0, false, 130}
};

static const Field post_fields[] = {
	{"POST", 17, true, 0}, {"PID", 8, true, 70}, {"FLOW", 14, false, 60}, {"ENDPOINT", 14, false, 80},
	{"STEPS", 11, true, 0}, {"DOCS/S", 9, true, 70}, {"ELAPSED", 9, true, 0}
};

#define LENGTH(array) (int) (sizeof(array) / sizeof((array)[0]))

static bool
has_room(const Screen *screen)
{
	return screen->view->height == 0 || screen->lines < screen->view->height - 1;
}

/* A line of a table, or nothing if the screen is full. */
static void
put_line(Screen *screen, const Field *fields, int nfields, const char *const *texts, const char *style)
{
	StrBuf		line = {0};
	int			used = 0;
	bool		styled = style && screen->view->colour;

	if (!has_room(screen))
		return;
	for (int i = 0; i < nfields; i++)
	{
		const char *value = texts ? texts[i] : fields[i].title;
		int			room = screen->view->width - used - (used > 0 ? 1 : 0);
		int			width = fields[i].width > 0 && fields[i].width < room ? fields[i].width : room;
		StrBuf		cell = {0};
		int			taken;

		if (screen->view->width < fields[i].from || room <= 0)
			continue;
		if (used > 0)
			strbuf_add_char(&line, ' ');
		used += used > 0 ? 1 : 0;
		taken = put_text(&cell, value, strlen(value), width);
		if (fields[i].right)
			put_blanks(&line, width - taken);
		strbuf_add(&line, cell.data ? cell.data : "");
		if (!fields[i].right)
			put_blanks(&line, width - taken);
		strbuf_free(&cell);
		used += width;
	}
	while (!styled && line.len > 0 && line.data[line.len - 1] == ' ')
		line.data[--line.len] = '\0';
	strbuf_addf(&screen->out, "%s%s%s%s", styled ? style : "", line.data ? line.data : "", styled ? "\033[0m" : "",
				screen->view->live ? "\033[K\r\n" : "\n");
	strbuf_free(&line);
	screen->lines++;
}

static void
put_string(Screen *screen, const char *string, const char *style)
{
	static const Field field = {"", 0, false, 0};

	put_line(screen, &field, 1, &string, style);
}

static void
put_title(Screen *screen, const Field *fields, int nfields)
{
	put_string(screen, "", NULL);
	put_line(screen, fields, nfields, NULL, "\033[1m");
}

/* The row that keys act on is told by colours, or by an arrow without them. */
static const char *
row_style(const Screen *screen, int row)
{
	return row == screen->view->selected ? "\033[7m" : NULL;
}

static void
put_executors(Screen *screen, const Look *look)
{
	put_title(screen, executor_fields, LENGTH(executor_fields));
	for (int i = 0; i < look->nexecutors; i++)
	{
		const ExecutorRow *executor = &look->executors[i];
		bool		marked = i == screen->view->selected && !screen->view->colour;
		char	   *texts[LENGTH(executor_fields)] = {
			copy_string(executor->flow), format_string("%s%s", marked ? "> " : "", executor->executor),
			copy_string(executor->started ? "started" : "stopped"),
			executor->replicas == 0 ? copy_string("inline") : format_string("%d/%d", executor->running, executor->wanted),
			format_string("%d", executor->queued), format_string("%.1f", executor->request_rate),
			format_string("%.0f", executor->doc_rate), format_string("%.0f", executor->errors),
			copy_string(executor->p95), one_line(executor->last_error)
		};

		put_line(screen, executor_fields, LENGTH(executor_fields), (const char *const *) texts, row_style(screen, i));
		for (int j = 0; j < LENGTH(executor_fields); j++)
			free(texts[j]);
	}
}

static void
put_replicas(Screen *screen, const Look *look)
{
	if (look->nreplicas == 0)
		return;
	put_title(screen, replica_fields, LENGTH(replica_fields));
	for (int i = 0; i < look->nreplicas; i++)
	{
		const ReplicaRow *replica = &look->replicas[i];
		char	   *texts[LENGTH(replica_fields)] = {
			format_string("%d", replica->pid), copy_string(replica->flow), copy_string(replica->executor),
			copy_string(replica->number), copy_string(replica->state), format_string("%.1f", replica->request_rate),
			format_string("%.0f", replica->busy), format_string("%.0f", replica->errors),
			copy_string(replica->endpoint), one_line(replica->last_error)
		};

		put_line(screen, replica_fields, LENGTH(replica_fields), (const char *const *) texts,
				 strcmp(replica->state, "busy") == 0 ? "\033[32m" : NULL);
		for (int j = 0; j < LENGTH(replica_fields); j++)
			free(texts[j]);
	}
}

static void
put_posts(Screen *screen, const Look *look)
{
	if (look->nposts == 0)
		return;
	put_title(screen, post_fields, LENGTH(post_fields));
	for (int i = 0; i < look->nposts; i++)
	{
		const PostRow *post = &look->posts[i];
		int			row = look->nexecutors + i;
		char	   *number = format_string("%s%s", row == screen->view->selected && !screen->view->colour ? "> " : "",
										   post->post);
		char	   *pid = format_string("%d", post->pid);
		const char *texts[LENGTH(post_fields)] = {
			number, pid, post->flow, post->endpoint, post->steps, post->rate, post->elapsed
		};

		put_line(screen, post_fields, LENGTH(post_fields), texts, row_style(screen, row));
		free(number);
		free(pid);
	}
}

/* What the screen calls an order. */
const char *
sort_name(Sort sort)
{
	static const char *const names[] = {"name", "rate", "busy", "errors"};

	return names[sort];
}

/* The whole screen as a string, or the tables one below the other. */
char *
draw_look(const Look *look, const View *view)
{
	Screen		screen = {.view = view};
	char	   *head = format_string("jflow  %s", look->memory);

	if (view->live)
		strbuf_add(&screen.out, "\033[H");
	put_string(&screen, head, NULL);
	put_executors(&screen, look);
	put_posts(&screen, look);
	put_replicas(&screen, look);
	if (view->live)
	{
		char	   *foot = view->message && view->message[0] ? copy_string(view->message) :
			format_string("q quit  s sort (%s)  up/down choose  +/- replicas  c cancel post", sort_name(view->sort));
		StrBuf		line = {0};

		strbuf_add(&screen.out, "\033[J");
		(void) put_text(&line, foot, strlen(foot), view->width - 1);
		strbuf_addf(&screen.out, "\033[%d;1H%s\033[K", view->height, line.data ? line.data : "");
		strbuf_free(&line);
		free(foot);
	}
	free(head);
	return screen.out.data;
}
