/*
 * rrf.h
 *		RRFRanker: one ranking of several branches'.
 *
 * Files: rrf_options.c reads options and parameters; rrf.c fuses, and is the class.
 */
#ifndef JFLOW_RRF_H
#define JFLOW_RRF_H

#include "flow/context.h"

#define RRF_CLASS "RRFRanker"
#define RRF_MAX_MATCHES 1000000 /* what a PQLiteIndexer answers at most */

/* rrf.c */
extern PGDLLIMPORT const JflowClass rrf_class;

typedef enum RrfMethod
{
	RRF_RANKS,
	RRF_WEIGHTED				/* by scores */
} RrfMethod;

/* What uses_with says, and then the parameters of a request. */
typedef struct RrfOptions
{
	double		k;
	RrfMethod	method;
	int			window;			/* how many matches of a branch count */
	JsonbContainer *weights;	/* of branches by name, or NULL: 1 each */
	int			limit;
	int			offset;
	bool		grouped;
} RrfOptions;

/* rrf_options.c */
extern void rrf_options_read(const JflowExecutor *executor, Jsonb *parameters, RrfOptions *options);
extern void rrf_options_check(Jsonb *uses_with);
extern void rrf_needs_check(JflowExecutor *executor);
extern double rrf_weight(const RrfOptions *options, const char *branch);

#endif							/* JFLOW_RRF_H */
