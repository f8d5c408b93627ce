/*
 * deadline.h
 *		Time limits for posts and for executors.
 */
#ifndef JFLOW_DEADLINE_H
#define JFLOW_DEADLINE_H

#include "utils/timestamp.h"

#include "common/xact.h"

typedef struct JflowDeadline
{
	TimestampTz at;
	int64		timeout_ms;
	const char *what;			/* "post to flow ...", for the error */
	struct JflowDeadline *outer;
} JflowDeadline;

extern void jflow_run_before_deadline(int64 timeout_ms, const char *what,
									  JflowGuarded function, void *arg);
extern void jflow_pause_before(int try);
extern TimestampTz jflow_deadline_nearest(void);
extern bool jflow_deadline_raised(const ErrorData *error);

#endif							/* JFLOW_DEADLINE_H */
