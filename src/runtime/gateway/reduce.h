/*
 * reduce.h
 *		Making one answer of several: shards, branches, parts of a request.
 */
#ifndef JFLOW_REDUCE_H
#define JFLOW_REDUCE_H

#include "doc/doc.h"

#define JFLOW_NO_LIMIT (-1)

extern Datum jflow_reduce_shards(const Datum *parts, int nparts, int offset, int limit);
extern Datum jflow_reduce_branches(const Datum *parts, int nparts);
extern Datum jflow_concat(const Datum *parts, int nparts, int *counts);

#endif							/* JFLOW_REDUCE_H */
