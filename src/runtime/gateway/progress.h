/*
 * progress.h
 *		Running posts: their numbers, for the view and for INFO lines.
 */
#ifndef JFLOW_PROGRESS_H
#define JFLOW_PROGRESS_H

#include "utils/timestamp.h"

typedef struct JflowProgress
{
	int64		post;
	int64		requests_done;
	int64		requests_total; /* -1: not known */
	int64		docs;
	int64		failed;			/* requests, at least in part */
	int64		failed_docs;
	TimestampTz started;

	int			slot;			/* in the shared array, or -1 */
	bool		show;			/* send INFO lines */
	TimestampTz shown;			/* when the last line was sent */
	struct JflowProgress *outer;
} JflowProgress;

extern void jflow_progress_request_shmem(void);
extern void jflow_progress_init_shmem(void);

extern void jflow_progress_begin(JflowProgress *progress, const char *flow,
								 const char *endpoint, int64 requests_total, bool show);
extern void jflow_progress_request(JflowProgress *progress, int64 docs, int64 failed_docs,
								   bool failed);
extern void jflow_progress_end(JflowProgress *progress);
extern void jflow_progress_abort(JflowProgress *progress);
extern void jflow_progress_check_cancel(JflowProgress *progress);

#endif							/* JFLOW_PROGRESS_H */
