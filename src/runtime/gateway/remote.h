/*
 * remote.h
 *		Calls that replicas run.
 */
#ifndef JFLOW_REMOTE_H
#define JFLOW_REMOTE_H

#include "runtime/gateway/request.h"

extern bool jflow_remote_begin(JflowPost *post);
extern void jflow_remote_end(JflowPost *post);
extern void jflow_remote_finish(JflowPost *post, const JflowCall *call);
extern void jflow_remote_stop(JflowPost *post, JflowRequest *request);
extern void jflow_remote_take(JflowPost *post);
extern void jflow_remote_rest(JflowPost *post, bool blocked);
extern void jflow_remote_wait(JflowPost *post, bool blocked);

#endif							/* JFLOW_REMOTE_H */
