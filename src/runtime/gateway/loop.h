/*
 * loop.h
 *		All requests of a post.
 */
#ifndef JFLOW_LOOP_H
#define JFLOW_LOOP_H

#include "runtime/gateway/request.h"

extern void jflow_requests_run(JflowPost *post);

#endif							/* JFLOW_LOOP_H */
