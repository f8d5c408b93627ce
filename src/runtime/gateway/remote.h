/*
 * remote.h
 *		A post through replicas: the state of its requests.
 */
#ifndef JFLOW_REMOTE_H
#define JFLOW_REMOTE_H

#include "runtime/gateway/visit.h"

typedef enum RunState
{
	RUN_WAITING,				/* for its inputs */
	RUN_BUSY,
	RUN_FINISHED
} RunState;

/* Where an executor with replicas is. */
typedef enum RunPhase
{
	PHASE_START,
	PHASE_BEFORE,				/* uses_before is out */
	PHASE_SPREAD,				/* it is back */
	PHASE_SHARDS,				/* shards are being asked */
	PHASE_AFTER					/* one call is out, whose answer is the result */
} RunPhase;

/* One request at one executor. */
typedef struct Run
{
	RunState	state;
	RunPhase	phase;
	bool		is_output;		/* of the flow */
	Datum		docs;			/* that go in */
	Datum		output;
	const int  *counts;			/* of unmerged inputs */
	int			ncounts;
	Datum		skipped;		/* by "when" */
	int		   *place;			/* of each document: skipped or not */
	int			nplace;
	int		   *hashed;			/* shard of each document */
	int			nhashed;
	Datum	   *parts;			/* to and from the shards */
	Datum		joined;			/* the answers of all, for uses_after */
	int		   *joined_counts;	/* NULL: not joined yet */
	int			nparts;
	int			next_part;		/* to be sent */
	int			pending;		/* to come back */
} Run;

/* One request on its way. */
typedef struct Walk
{
	MemoryContext context;		/* of everything about it */
	int64		number;
	int			ndocs;
	Datum		input;
	Run		   *runs;			/* one per executor */
	Datum	   *outputs;
	int			missing;		/* outputs of the flow */
	int			out;			/* slots */
	int			commits;		/* transactions committed for it */
	bool		ready;			/* something may be started */
	bool		failed;
	bool		delivered;		/* waits for floating executors only */
	struct Walk *prev;
	struct Walk *next;
} Walk;

/* A post that runs. */
typedef struct Engine
{
	Post	   *post;
	JflowPlan  *plan;
	MemoryContext context;
	dsa_pointer shared;
	bool		shared_valid;
	bool		ordered;
	bool		plain;			/* one chain of pools */
	int			prefetch;
	Walk	   *first;			/* in order of numbers */
	Walk	   *last;
	int			nwalks;
	int64		number;			/* of the last one */
	bool		exhausted;		/* no more documents */
	bool		said_blocked;
	int			out;			/* slots */
	int			returned;		/* list of slots that are back */
	int			current;		/* slot of the answer being taken */
	List	   *taken_out;		/* answers of slots that are free again */
	MemoryContext *contexts;	/* to be used again */
	int			ncontexts;
	ErrorData  *error;			/* that ends the post */
	ErrorData  *finish_error;
	bool		failing;
	int64		committed;		/* requests */
	int64		partly;
	struct Engine *outer;
} Engine;

/* Who waits for the answer of a slot. */
typedef struct Call
{
	Engine	   *engine;			/* NULL: nobody */
	Walk	   *walk;			/* NULL: a finish function */
	int			step;
	int			part;
} Call;

/* A slot that is back, and where its documents and messages are. */
typedef struct Answer
{
	JflowSlot	slot;			/* as it was */
	Call		call;
	Datum		docs;			/* 0: it has failed */
	const char *messages;		/* NULL: none */
	Size		nmessages;
	bool		is_copy;		/* they are in the memory of the walk */
} Answer;

/* remote_shared.c */
extern dsa_pointer jflow_post_shared_make(Post *post);

/* answers.c */
extern void jflow_answers_enter(Engine *engine);
extern void jflow_answers_leave(Engine *engine);
extern bool jflow_answers_ask(Engine *engine, Walk *walk, int step, int shard, int stages,
							  Datum docs, const int *counts, int nparts, int part);
extern void jflow_answers_stop(Engine *engine, Walk *walk);
extern void jflow_answers_collect(void);
extern bool jflow_answers_any(const Engine *engine);
extern bool jflow_answers_next(Engine *engine, Answer *answer);

/* remote_steps.c */
extern bool jflow_walk_advance(Engine *engine, Walk *walk);
extern void jflow_walk_finish_run(Walk *walk, int step, Datum output);

#endif							/* JFLOW_REMOTE_H */
