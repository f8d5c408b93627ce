/*
 * visit.h
 *		One request at its executors.
 */
#ifndef JFLOW_VISIT_H
#define JFLOW_VISIT_H

#include "runtime/gateway/request.h"

extern void jflow_visits_init(JflowPost *post, JflowRequest *request);
extern bool jflow_visits_advance(JflowPost *post, JflowRequest *request);
extern Datum jflow_visits_output(JflowPost *post, JflowRequest *request);
extern void jflow_visit_reach(JflowPost *post, const JflowCall *call, int step);
extern void jflow_visit_answer(JflowPost *post, const JflowCall *call, int step, Datum docs);

#endif							/* JFLOW_VISIT_H */
