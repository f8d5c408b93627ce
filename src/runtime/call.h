/*
 * call.h
 *		Calling an executor's functions: the one way, inline and in replicas.
 */
#ifndef JFLOW_CALL_H
#define JFLOW_CALL_H

#include "fmgr.h"

#include "flow/context.h"

/* A function ready to be called with the rights of a flow's owner. */
typedef struct JflowRunnable
{
	FmgrInfo	flinfo;
	const char *name;
	Oid			owner;			/* whose rights it runs with */
	bool		as_caller;		/* they are those of who posts */
} JflowRunnable;

/* What an executor calls for an endpoint; NULL where there is nothing. */
typedef struct JflowRunnables
{
	JflowRunnable *before;
	JflowRunnable *main;
	JflowRunnable *after;
	JflowRunnable *finish;
	bool		reads_only;		/* of main: it may not write */
} JflowRunnables;

extern void jflow_runnables_prepare(JflowRunnables *runnables, const JflowExecutor *executor,
									const JflowFunction *function, Oid owner);
extern Datum jflow_run_stages(const JflowRunnables *runnables, int stages, JflowContext *context,
							  Datum docs, Jsonb *parameters);
extern void jflow_check_one_for_one(const JflowExecutor *executor, Datum docs, Datum answer);

#endif							/* JFLOW_CALL_H */
