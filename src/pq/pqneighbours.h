/*
 * pqneighbours.h
 *		The true neighbours of many queries, found by reading all refine codes.
 */
#ifndef PQ_NEIGHBOURS_H
#define PQ_NEIGHBOURS_H

#include "port/atomics.h"

#include "pq/pq.h"

/* An entry that is near to a query. */
typedef struct PqNeighbour
{
	float		distance;		/* as pq_comparable() has it */
	uint32		list;
	BlockNumber block;
	uint16		slot;
} PqNeighbour;

/* Many neighbours of a query tell more than a few do, so others have no more. */
#define PQ_MOST_SHALLOW 100

/* What is sought. */
typedef struct PqSought
{
	const float *queries;		/* [nqueries][padded] */
	int			nqueries;
	int			nrows;			/* of these, the first, are rows */
	int			depth;			/* neighbours of each, at most */
	int			deep_each;		/* one of so many queries has all of these */
} PqSought;

static inline int
pq_sought_depth(const PqSought *sought, int q)
{
	return q % sought->deep_each == 0 ? sought->depth : Min(sought->depth, PQ_MOST_SHALLOW);
}

/*
 * What is found, by one process or by several, each with a part of the lists: then
 * it lies in shared memory, and the distances that are not near enough for one are
 * so for the others.
 */
typedef struct PqFoundPart
{
	PqNeighbour *neighbours;	/* of each query, pq_sought_room() */
	PqNeighbour *own;			/* [nrows], the rows that queries are */
	int32	   *counts;			/* [nqueries] */
} PqFoundPart;

typedef struct PqFinder PqFinder;

/* pqneighbours.c */
extern int	pq_sought_room(const PqSought *sought, int q);
extern Size pq_part_size(const PqSought *sought);
extern void pq_part_init(const PqSought *sought, void *memory, PqFoundPart *part);
extern PqFinder *pq_finder_begin(Relation index, PqIndex *pq, const PqSought *sought, void *part, pg_atomic_uint32 *limits);
extern void pq_finder_list(PqFinder *finder, uint32 list);
extern void pq_finder_end(PqFinder *finder);
extern int	pq_compare_neighbours(const void *a, const void *b);

#endif							/* PQ_NEIGHBOURS_H */
