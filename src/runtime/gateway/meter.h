/*
 * meter.h
 *		Counting posts, and calls that run in this process.
 */
#ifndef JFLOW_METER_H
#define JFLOW_METER_H

#include "runtime/gateway/request.h"

extern void jflow_meter_begin_post(JflowPost *post);
extern void jflow_meter_end_post(const JflowPost *post, JflowCountKind kind);
extern void jflow_meter_begin_call(JflowPost *post, int step);
extern void jflow_meter_end_call(const JflowPost *post, const JflowCall *call,
								 TimestampTz started, JflowCountKind kind);

#endif							/* JFLOW_METER_H */
