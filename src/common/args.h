/*
 * args.h
 *		Arguments of SQL functions.
 */
#ifndef JFLOW_ARGS_H
#define JFLOW_ARGS_H

#include "fmgr.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

/* No limit of time is longer, so that it can be added to a moment: 100 years. */
#define JFLOW_MAX_TIMEOUT_MS INT64CONST(3155760000000)

extern char *jflow_arg_text(FunctionCallInfo fcinfo, int n, const char *name);
extern char *jflow_arg_text_or_null(FunctionCallInfo fcinfo, int n);
extern Jsonb *jflow_arg_jsonb(FunctionCallInfo fcinfo, int n, const char *name);
extern Jsonb *jflow_arg_jsonb_or_null(FunctionCallInfo fcinfo, int n);
extern bool jflow_arg_bool(FunctionCallInfo fcinfo, int n);
extern char **jflow_arg_texts_or_null(FunctionCallInfo fcinfo, int n, const char *name, int *count);
extern void jflow_arg_required(FunctionCallInfo fcinfo, int n, const char *name);
extern int64 jflow_interval_ms(const Interval *interval);
extern void jflow_check_range(const char *what, int value, int min, int max);

#endif							/* JFLOW_ARGS_H */
