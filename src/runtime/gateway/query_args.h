/*
 * query_args.h
 *		Values for the parameters of a query, given as JSON.
 */
#ifndef JFLOW_QUERY_ARGS_H
#define JFLOW_QUERY_ARGS_H

#include "nodes/params.h"
#include "utils/jsonb.h"

extern ParamListInfo jflow_query_args(const char *query, Jsonb *args, Oid **types, int *nargs);

#endif							/* JFLOW_QUERY_ARGS_H */
