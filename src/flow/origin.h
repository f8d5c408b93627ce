/*
 * origin.h
 *		Posts that are made for a post on another server.
 */
#ifndef JFLOW_ORIGIN_H
#define JFLOW_ORIGIN_H

#include "utils/jsonb.h"

#include "compat.h"

struct JflowFlow;

/* What servers say to each other; both must be of the same. */
#define JFLOW_ORIGIN_VERSION 1

/* How many flows may post one for the other. */
#define JFLOW_MAX_ORIGINS 16

/*
 * The parameter under which an executor of a class that wants it gets the origin of
 * a post: an array of flows, each an array of system, database and name, the first
 * that was posted to first.
 */
#define JFLOW_ORIGIN_PARAMETER "jflow.origin"

/*
 * The parameter under which such an executor gets uses_with as the post was planned
 * with.
 */
#define JFLOW_DEFINITION_PARAMETER "jflow.definition"

/* The origin of what this process is posting, or NULL. */
extern Jsonb *jflow_origin;

extern Jsonb *jflow_origin_add(Jsonb *origin, const char *flow);
extern void jflow_origin_check(Jsonb *origin, const char *flow);

#endif							/* JFLOW_ORIGIN_H */
