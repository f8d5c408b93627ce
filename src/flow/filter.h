/*
 * filter.h
 *		The JSON filter language: parsed once, matched against documents.
 */
#ifndef JFLOW_FILTER_H
#define JFLOW_FILTER_H

#include "doc/doc.h"

typedef struct JflowFilter JflowFilter;

extern JflowFilter *jflow_filter_parse(Jsonb *json, const char *what);
extern bool jflow_filter_match(const JflowFilter *filter, const JflowDoc *doc);

#endif							/* JFLOW_FILTER_H */
