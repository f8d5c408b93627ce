/*
 * pqbuild.h
 *		What the parts of a build share.
 */
#ifndef PQ_BUILD_H
#define PQ_BUILD_H

#include "commands/progress.h"
#include "utils/tuplesort.h"

#include "pq/pq.h"

enum
{
	PQ_PHASE_SAMPLE = PROGRESS_CREATEIDX_SUBPHASE_INITIALIZE + 1,
	PQ_PHASE_TRAIN,
	PQ_PHASE_LOAD,
	PQ_PHASE_SORT,
	PQ_PHASE_WRITE,
	PQ_PHASE_CALIBRATE,
	PQ_PHASE_LOG
};

/* Queries that recall is calibrated with. */
#define PQ_QUERIES 400
/* Others lie halfway between two rows, where there are few or none. */
#define PQ_BETWEEN 200
/* And some are quite unlike the rows. */
#define PQ_UNLIKE (30 * PQ_UNLIKE_KINDS)

typedef struct PqBuild
{
	Relation	heap;			/* NULL for an initial fork */
	Relation	index;
	IndexInfo  *info;
	const PqSpace *space;
	int			dims;
	PqTrained  *trained;
	PqLayout	layout;
	PqMetaPageData meta;
	PqQueries	queries;
	Tuplesortstate *sort;
	TupleDesc	sort_desc;
	struct PqParallel *parallel;
	double		tuples;			/* rows of the table, and of the index */
	double		indexed;
} PqBuild;

/* pqbuild.c */
extern void pq_take_queries(PqBuild *build, const PqModel *model, const PqSample *sample);

/* pqload.c: rows to sorted entries */
typedef struct PqLoader PqLoader;
extern int	pq_sort_memory(const PqBuild *build, int participants);
extern void pq_sort_begin(PqBuild *build, SortCoordinate coordinate, int memory);
extern PqLoader *pq_loader_begin(PqBuild *build, SortCoordinate coordinate, int memory);
extern void pq_loader_row(Relation index, ItemPointer tid, Datum *values, bool *isnull, bool alive, void *arg);
extern float *pq_loader_point(PqLoader *loader, float lost);
extern void pq_loader_entry(PqLoader *loader, const ItemPointerData *tid, const int64 *filters, uint32 nulls);
extern double pq_loader_end(PqLoader *loader);
extern void pq_load_write(PqBuild *build, PqWriter *writer);

/* pqcalibrate.c */
extern double pq_calibrate(Relation index, PqIndex *pq, const PqQueries *queries, PqMetaPageData *meta, const PqBuild *build);

/* pqfind.c */
struct PqNeighbour;
struct PqSought;
extern void pq_find_neighbours(Relation index, PqIndex *pq, const struct PqSought *sought, const PqBuild *build,
							   struct PqNeighbour *neighbours, int *counts, struct PqNeighbour *own);

/* pqparallel.c */
typedef struct PqParallel PqParallel;
extern bool pq_parallel_load(PqBuild *build);
extern void pq_parallel_end(PqBuild *build);

/* pqcodebook.c */
extern PGDLLIMPORT char *(*pq_role_name) (Oid role, bool store);
extern PqTrained *pq_codebook_load(PqBuild *build, const char *name);

#endif							/* PQ_BUILD_H */
