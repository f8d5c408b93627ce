/*
 * spi.h
 *		Statements on the tables of schema jflow.
 */
#ifndef JFLOW_SPI_H
#define JFLOW_SPI_H

#include "utils/jsonb.h"

typedef struct JflowCatalogState
{
	Oid			userid;			/* who called */
	int			sec_context;
	int			guc_level;
} JflowCatalogState;

extern Oid	jflow_catalog_relid(const char *name);
extern void jflow_catalog_begin(JflowCatalogState *state);
extern void jflow_catalog_end(JflowCatalogState *state);
extern uint64 jflow_catalog_execute(const char *sql, int nargs, const Oid *types,
									Datum *values, const char *nulls);

/* Parameters of a statement, collected one by one. */
#define JFLOW_MAX_PARAMS 24

typedef struct JflowParams
{
	int			n;
	Oid			types[JFLOW_MAX_PARAMS];
	Datum		values[JFLOW_MAX_PARAMS];
	char		nulls[JFLOW_MAX_PARAMS];
} JflowParams;

extern void jflow_param(JflowParams *params, Oid type, Datum value, bool isnull);
extern void jflow_param_text(JflowParams *params, const char *value);
extern void jflow_param_int(JflowParams *params, int value);
extern void jflow_param_bool(JflowParams *params, bool value);
extern void jflow_param_jsonb(JflowParams *params, Jsonb *value);
extern void jflow_param_texts(JflowParams *params, char **strings, int n);
extern uint64 jflow_catalog_run(const char *sql, JflowParams *params);
extern char *jflow_catalog_value(uint64 row, int column);

#endif							/* JFLOW_SPI_H */
