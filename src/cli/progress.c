/*
 * progress.c
 *		How far a post is: a bar on a terminal, else now and then a line.
 *
 * A step is a request.  How many there will be is estimated by the bytes of the
 * inputs, where those are known.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "post.h"

#define REDRAW 0.1				/* seconds */
#define LINE_EVERY 5.0
#define BAR_COLUMNS 40

static Progress *on_screen;

/* Take the bar away, so that a message stands on a line of its own. */
static void
clear_bar(void)
{
	if (on_screen && on_screen->drawn > 0)
	{
		fputs("\r\033[K", stderr);
		on_screen->drawn = 0;
	}
}

/*
 * Begin to show how far we are: of so many bytes, or with -1 of no known number.
 * The struct must stay until progress_end.
 */
void
progress_start(Progress *progress, int64_t total, bool quiet)
{
	const char *term = getenv("TERM");

	memset(progress, 0, sizeof(*progress));
	progress->shown = !quiet;
	progress->bar = isatty(STDERR_FILENO) && (!term || strcmp(term, "dumb") != 0);
	progress->started = now_seconds();
	progress->total = total;
	if (progress->shown && progress->bar)
	{
		on_screen = progress;
		before_message = clear_bar;
	}
}

/* 0:00:03 */
static char *
clock_string(double seconds)
{
	long		s = seconds > 0 ? (long) seconds : 0;

	return format_string("%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
}

static double
fraction_done(const Progress *progress)
{
	double		fraction;

	if (progress->total <= 0)
		return -1;
	fraction = (double) progress->bytes / progress->total;
	return fraction > 1 ? 1 : fraction;
}

static void
add_bar(StrBuf *out, double fraction, int columns, int tick)
{
	const Glyphs *g = glyphs();
	int			done;

	if (fraction < 0)
	{
		/* how much there is is not known: something that moves */
		for (int i = 0; i < columns; i++)
			strbuf_add(out, (i + columns - tick % columns) % columns < 4 ? g->bar_done : g->bar_left);
		return;
	}
	done = (int) (fraction * columns);
	for (int i = 0; i < columns; i++)
		strbuf_add(out, i < done ? g->bar_done : i == done ? g->bar_head : g->bar_left);
}

/* What follows the bar, in as much detail as the width allows. */
static char *
describe(const Progress *progress, double elapsed, int room)
{
	double		fraction = fraction_done(progress);
	char	   *clock = clock_string(elapsed);
	char	   *rate = format_string("%.1f step/s", elapsed > 0 ? progress->steps / elapsed : 0);
	char	   *text;

	if (fraction > 0 && progress->steps > 0)
	{
		char	   *left = clock_string(elapsed / fraction - elapsed);

		text = format_string(" %3.0f%% %s %s . %" PRId64 " of about %.0f steps, %s left", 100 * fraction, clock, rate,
							 progress->steps, progress->steps / fraction, left);

		if ((int) strlen(text) > room)
		{
			free(text);
			text = format_string(" %3.0f%% %s %s left", 100 * fraction, clock, left);
		}
		free(left);
	}
	else
		text = format_string(" %s %s . %" PRId64 " steps", clock, rate, progress->steps);

	if ((int) strlen(text) > room)
	{
		free(text);
		text = format_string(" %s", clock);
	}
	free(clock);
	free(rate);
	return text;
}

/* Show where we are, at most so often unless "now". */
void
progress_draw(Progress *progress, bool now)
{
	double		time = now_seconds();
	double		elapsed = time - progress->started;
	double		last = progress->drawn > 0 ? progress->drawn : progress->started;
	static const char *const spinner[] = {
		"\xe2\xa0\x87", "\xe2\xa0\x8b", "\xe2\xa0\x99", "\xe2\xa0\xb8", "\xe2\xa0\xb4", "\xe2\xa0\xa6"
	};
	StrBuf		line = {0};
	char	   *text;
	int			width;
	int			bar;

	if (!progress->shown || (!now && time - last < (progress->bar ? REDRAW : LINE_EVERY)))
		return;
	if (!progress->bar)
	{
		text = describe(progress, elapsed, 1000);

		fprintf(stderr, "Working...%s\n", text);
		free(text);
		progress->drawn = time;
		return;
	}
	width = term_width(STDERR_FILENO);
	if (width <= 0)
		width = 80;
	progress->ticks++;
	if (width >= 70)
	{
		if (term_is_utf8())
			strbuf_addf(&line, "%s Working... ", spinner[progress->ticks % 6]);
		else
			strbuf_addf(&line, "%c Working... ", "|/-\\"[progress->ticks % 4]);
	}
	bar = width >= 110 ? BAR_COLUMNS : width >= 50 ? 20 : 10;
	text = describe(progress, elapsed, width - bar - (width >= 70 ? 13 : 0) - 1);

	add_bar(&line, fraction_done(progress), bar, progress->ticks);
	strbuf_add(&line, text);
	fprintf(stderr, "\r%s\033[K", line.data);
	fflush(stderr);
	free(text);
	strbuf_free(&line);
	progress->drawn = time;
}

/* The last line: "DONE", or what it was that ended the post. */
void
progress_end(Progress *progress, const char *word)
{
	double		elapsed = now_seconds() - progress->started;
	char	   *clock;
	int			width;
	StrBuf		line = {0};

	clear_bar();
	on_screen = NULL;
	before_message = NULL;
	if (!progress->shown)
		return;
	clock = clock_string(elapsed);
	width = progress->bar ? term_width(STDERR_FILENO) : 0;
	strbuf_addf(&line, width >= 100 ? "%11s " : "%s ", word);
	if (width >= 80)
	{
		for (int i = 0; i < (width >= 110 ? BAR_COLUMNS : 10); i++)
			strbuf_add(&line, glyphs()->bar_done);
		strbuf_add_char(&line, ' ');
	}
	strbuf_addf(&line, "%s %.1f step/s . %" PRId64 " steps", clock, elapsed > 0 ? progress->steps / elapsed : 0,
				progress->steps);
	if (width == 0 || width >= 70)
		strbuf_addf(&line, " done in %.0f seconds", elapsed);
	fprintf(stderr, "%s\n", line.data);
	free(clock);
	strbuf_free(&line);
}
