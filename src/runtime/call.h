/*
 * call.h
 *		Calling an executor function: the one way, inline and in replicas.
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
	Oid			owner;
} JflowRunnable;

extern JflowRunnable *jflow_run_prepare(const char *function, Oid owner);
extern Datum jflow_run(JflowRunnable *runnable, JflowContext *context,
					   Datum docs, Jsonb *parameters);

#endif							/* JFLOW_CALL_H */
