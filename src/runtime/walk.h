/*
 * walk.h
 *		A post through replicas: the state of its requests.
 */
#ifndef JFLOW_WALK_H
#define JFLOW_WALK_H

#include "runtime/visit.h"

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
	int			hops;			/* transactions committed for it */
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
	dsa_pointer header;
	bool		header_valid;
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
	MemoryContext *contexts;	/* to be used again */
	int			ncontexts;
	ErrorData  *error;			/* that ends the post */
	ErrorData  *finish_error;
	bool		failing;
	int64		committed;		/* requests */
	int64		partly;
	struct Engine *outer;
} Engine;

/* header.c */
extern dsa_pointer jflow_header_make(Post *post);

/* walk.c */
extern bool jflow_walk_submit(Engine *engine, Walk *walk, int step, int shard, int stages,
							  Datum docs, const int *counts, int nparts, int part);

/* steps.c */
extern bool jflow_walk_advance(Engine *engine, Walk *walk);
extern void jflow_walk_finish_run(Walk *walk, int step, Datum output);

#endif							/* JFLOW_WALK_H */
