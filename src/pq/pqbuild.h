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
#define PQ_QUERIES 100
/*
 * Of the neighbours of each, the nearest are passed over and the next ten
 * count; see pqcalibrate.c.  Where vectors are projected, the ten that are
 * truly nearest lie among more of them.
 */
#define PQ_PASSED_OVER 7
#define PqLastNeighbour(model) (PQ_PASSED_OVER + ((model)->distortion > 0 ? 50 : 10))
#define PQ_NEIGHBOURS 57

typedef struct PqNeighbour
{
	float		distance;		/* squared less the norm of the query; or -2
								 * dot */
	ItemPointerData tid;
} PqNeighbour;

/*
 * The true neighbours of calibration queries, collected while rows go by.  The
 * neighbours live in one piece, which workers keep in shared memory.
 */
struct PqTruth
{
	const PqModel *model;
	const float *queries;		/* [nqueries][padded] */
	int			nqueries;
	float	   *tiles;			/* of the queries */
	PqNeighbour *neighbours;	/* [nqueries][PQ_NEIGHBOURS], nearest first */
};

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
	float	   *queries;
	int			nqueries;
	Tuplesortstate *sort;
	TupleDesc	sort_desc;
	struct PqParallel *parallel;
	double		tuples;			/* rows of the table, and of the index */
	double		indexed;
} PqBuild;

/* pqload.c: rows to sorted entries */
typedef struct PqLoader PqLoader;
extern int	pq_sort_memory(const PqBuild *build, int participants);
extern void pq_sort_begin(PqBuild *build, SortCoordinate coordinate, int memory);
extern PqLoader *pq_loader_begin(PqBuild *build, PqTruth *truth, SortCoordinate coordinate, int memory);
extern void pq_loader_row(Relation index, ItemPointer tid, Datum *values, bool *isnull, bool alive, void *arg);
extern double pq_loader_end(PqLoader *loader);
extern void pq_load(PqBuild *build, PqTruth *truth);
extern void pq_load_write(PqBuild *build, PqWriter *writer);

/* pqcalibrate.c */
extern void pq_truth_rows(PqTruth *truth, const float *points, const ItemPointerData *tids, int n);
extern void pq_truth_merge(PqTruth *truth, const PqNeighbour *neighbours);
extern void pq_calibrate(Relation index, PqTruth *truth, PqMetaPageData *meta);

/* pqparallel.c */
typedef struct PqParallel PqParallel;
extern bool pq_parallel_load(PqBuild *build, PqTruth *truth);
extern void pq_parallel_end(PqBuild *build);

/* pqcodebook.c */
extern PqTrained *pq_codebook_load(PqBuild *build, const char *name);

#endif							/* PQ_BUILD_H */
