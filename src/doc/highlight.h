/*
 * highlight.h
 *		The words of a query, marked in the texts of its matches.
 */
#ifndef JFLOW_HIGHLIGHT_H
#define JFLOW_HIGHLIGHT_H

#include "doc/doc.h"

/* The tag of a match that has the text with the words marked. */
#define JFLOW_HIGHLIGHT_TAG "highlight"

/* How a request wants it. */
typedef struct JflowHighlight
{
	bool		wanted;
	Datum		options;		/* of ts_headline, a text; 0: its defaults */
	Oid			config;			/* a text search configuration */
	Datum		query;			/* a tsquery; 0: nothing can be marked */
} JflowHighlight;

extern void jflow_highlight_read(Jsonb *parameters, JflowHighlight *highlight);
extern void jflow_highlight_config(JflowHighlight *highlight, const char *config);
extern void jflow_highlight_query(JflowHighlight *highlight, const JflowDoc *doc);
extern void jflow_highlight_match(const JflowHighlight *highlight, JflowMatch *match);

#endif							/* JFLOW_HIGHLIGHT_H */
