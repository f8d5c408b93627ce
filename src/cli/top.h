/*
 * top.h
 *		Parts of jflow top: what is asked of the server, and the screen.
 */
#ifndef TOP_H
#define TOP_H

#include "cli.h"

typedef enum Sort
{
	SORT_NAME,
	SORT_RATE,
	SORT_BUSY,
	SORT_ERRORS,
	SORT_END
} Sort;

typedef struct ExecutorRow
{
	char	   *flow;
	char	   *executor;
	bool		started;
	int			wanted;
	int			running;
	int			queued;
	int			replicas;		/* as defined, of a shard */
	double		requests;		/* since the counts were reset */
	double		docs;
	double		errors;
	double		request_rate;	/* a second, since the last look */
	double		doc_rate;
	char	   *p95;
	char	   *last_error;
} ExecutorRow;

typedef struct ReplicaRow
{
	int			pid;
	char	   *flow;
	char	   *executor;
	char	   *number;			/* shard.replica */
	char	   *state;
	char	   *endpoint;
	double		requests;
	double		errors;
	double		busy_ms;
	double		request_rate;
	double		busy;			/* percent, since the last look */
	char	   *last_error;
} ReplicaRow;

typedef struct PostRow
{
	char	   *post;
	int			pid;
	char	   *flow;
	char	   *endpoint;
	char	   *steps;
	char	   *rate;
	char	   *elapsed;
} PostRow;

typedef struct Look
{
	double		at;
	ExecutorRow *executors;
	int			nexecutors;
	ReplicaRow *replicas;
	int			nreplicas;
	PostRow    *posts;
	int			nposts;
	char	   *memory;
} Look;

/* top_look.c */
extern Look *take_look(Session *session, const char *flow, const Look *before);
extern void sort_look(Look *look, Sort sort);
extern void free_look(Look *look);

/* top_screen.c */
typedef struct View
{
	Sort		sort;
	int			selected;		/* among executors and then posts; -1 is none */
	int			width;
	int			height;			/* 0 is no limit */
	bool		colour;
	bool		live;			/* on a screen, with keys */
	const char *message;
} View;

extern const char *sort_name(Sort sort);
extern char *draw_look(const Look *look, const View *view);

#endif
