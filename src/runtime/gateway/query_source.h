/*
 * query_source.h
 *		Documents that are the rows of a query.
 */
#ifndef JFLOW_QUERY_SOURCE_H
#define JFLOW_QUERY_SOURCE_H

#include "runtime/gateway/gateway.h"

extern JflowSource *jflow_query_source_open(const char *query, Jsonb *args);
extern void jflow_query_source_close(JflowSource *source);

#endif							/* JFLOW_QUERY_SOURCE_H */
