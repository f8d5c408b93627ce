/*
 * answers.h
 *		Slots that are out, and the way back of their answers.
 */
#ifndef JFLOW_ANSWERS_H
#define JFLOW_ANSWERS_H

#include "runtime/gateway/request.h"
#include "runtime/shared/pool.h"

/* A slot that is back, and where its documents and messages are. */
typedef struct JflowAnswer
{
	JflowSlot	slot;			/* as it was */
	JflowCall	call;			/* without its documents */
	Datum		docs;			/* those that failed, if it has; 0: none */
	bool		unmerged;		/* they are of several parts */
	const char *messages;		/* NULL: none */
	Size		nmessages;
	bool		is_copy;		/* they are in the memory of the request */
} JflowAnswer;

extern void jflow_answers_enter(JflowPost *post);
extern void jflow_answers_leave(JflowPost *post);
extern bool jflow_answers_ask(JflowPost *post, const JflowCall *call);
extern void jflow_answers_stop(JflowPost *post, JflowRequest *request);
extern void jflow_answers_collect(void);
extern bool jflow_answers_any(const JflowPost *post);
extern bool jflow_answers_next(JflowPost *post, JflowAnswer *answer);
extern uint64 jflow_answers_writes(void);

#endif							/* JFLOW_ANSWERS_H */
