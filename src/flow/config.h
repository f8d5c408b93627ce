/*
 * config.h
 *		A whole flow in one document: what loading and saving share.
 */
#ifndef JFLOW_CONFIG_H
#define JFLOW_CONFIG_H

#include "utils/jsonb.h"

extern char *jflow_find_variable(JsonbContainer *container);

#endif							/* JFLOW_CONFIG_H */
