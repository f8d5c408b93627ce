/*
 * local.h
 *		Calls that run in this process.
 */
#ifndef JFLOW_LOCAL_H
#define JFLOW_LOCAL_H

#include "runtime/deadline.h"
#include "runtime/gateway/request.h"

/* Runs documents of a request, and returns what came of them. */
typedef Datum (*JflowRunDocs) (JflowPost *post, JflowRequest *request, int step, Datum docs);

extern Datum jflow_local_call(JflowPost *post, const JflowCall *call);
extern ErrorData *jflow_local_try(JflowGuarded function, void *arg);
extern Datum jflow_local_in_halves(JflowPost *post, JflowRequest *request, int step,
								   JflowRunDocs function, Datum docs, bool divisible);

#endif							/* JFLOW_LOCAL_H */
