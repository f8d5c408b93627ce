/*
 * control.h
 *		Starting and stopping flows.
 */
#ifndef JFLOW_CONTROL_H
#define JFLOW_CONTROL_H

#include "flow/flow.h"
#include "runtime/control/workers.h"

extern List *jflow_started_flows(void);
extern bool jflow_flow_started(const char *flow);
extern int	jflow_flow_start(const char *flow);
extern uint64 jflow_changes(void);
extern const char *jflow_find_start_obstacle(void);
extern void jflow_await_pools(const JflowFlow *flow);

#endif							/* JFLOW_CONTROL_H */
