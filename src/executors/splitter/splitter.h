/*
 * splitter.h
 *		TextSplitter: documents become chunks of their texts.
 */
#ifndef JFLOW_SPLITTER_H
#define JFLOW_SPLITTER_H

#include "flow/context.h"

#define SPLITTER_CLASS "TextSplitter"

extern PGDLLIMPORT const JflowClass splitter_class;

#endif							/* JFLOW_SPLITTER_H */
