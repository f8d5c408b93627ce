/*
 * parts.h
 *		Documents of a request cut into parts, and put together again.
 */
#ifndef JFLOW_PARTS_H
#define JFLOW_PARTS_H

#include "flow/filter.h"

extern int	jflow_parts_by_filter(JflowFilter *filter, Datum docs, int **place, Datum *parts);
extern int	jflow_parts_by_id(Datum docs, const JflowExecutor *executor, int **place, Datum *parts);
extern Datum jflow_parts_restore(const Datum *parts, int nparts, const int *place, int ndocs);
extern void jflow_parts_halve(Datum docs, Datum *first, Datum *second);
extern Datum jflow_parts_without(Datum docs, List *ids);

#endif							/* JFLOW_PARTS_H */
