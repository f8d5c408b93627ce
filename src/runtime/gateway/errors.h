/*
 * errors.h
 *		Errors that a post goes on after: whose they are, and who is told.
 */
#ifndef JFLOW_ERRORS_H
#define JFLOW_ERRORS_H

#include "runtime/gateway/request.h"

extern void jflow_errors_open(JflowPost *post);
extern void jflow_errors_close(JflowPost *post);
extern bool jflow_error_is_of_docs(const JflowStep *step, const ErrorData *error);
extern void jflow_error_warn(const char *what, const ErrorData *error);
extern void jflow_error_report(JflowPost *post, JflowRequest *request, int step,
							   const ErrorData *error, Datum docs, bool whole);
extern bool jflow_error_is_private(const JflowPost *post, int step);
extern void jflow_error_strip(ErrorData *error);
extern bool jflow_error_took_all(const JflowRequest *request);

#endif							/* JFLOW_ERRORS_H */
