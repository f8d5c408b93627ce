/*
 * filter.h
 *		The JSON filter language: parsed once, matched against documents.
 *
 * A filter is a tree: "and", "or" and "not" above comparisons of one field with
 * one operand.  An object of several fields, or a field with several operators,
 * is an "and".
 */
#ifndef JFLOW_FILTER_H
#define JFLOW_FILTER_H

#include "doc/doc.h"

typedef enum JflowFilterOp
{
	FILTER_AND,
	FILTER_OR,
	FILTER_NOT,
	FILTER_EQ,
	FILTER_NE,
	FILTER_GT,
	FILTER_GTE,
	FILTER_LT,
	FILTER_LTE,
	FILTER_IN,
	FILTER_NIN,
	FILTER_EXISTS,
	FILTER_REGEX
} JflowFilterOp;

typedef struct JflowFilter
{
	JflowFilterOp op;
	struct JflowFilter **children;	/* of and, or, not */
	int			nchildren;
	int			max_children;

	char	  **path;			/* the field: attribute or key, then keys */
	int			npath;
	int			attr;			/* JflowDocAttr; DOC_TAGS for keys of tags */
	JsonbValue	operand;		/* a scalar */
	JsonbValue *operands;		/* of $in and $nin, in order */
	int			noperands;
} JflowFilter;

extern JflowFilter *jflow_filter_parse(Jsonb *json, const char *what);
extern bool jflow_filter_match(const JflowFilter *filter, const JflowDoc *doc);

#endif							/* JFLOW_FILTER_H */
