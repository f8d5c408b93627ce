/*
 * pqcalibrate.h
 *		What the parts of calibration share: the true neighbours of some queries.
 */
#ifndef PQ_CALIBRATE_H
#define PQ_CALIBRATE_H

#include "pq/pq.h"
#include "pq/pqneighbours.h"

typedef struct PqCalibration
{
	Relation	index;
	PqIndex    *pq;
	PqSearch   *search;
	PqMetaPageData *meta;
	const float *queries;		/* [nqueries][padded] */
	int			nqueries;
	int			nrows;			/* of these, the first, are rows */
	int			nusual;			/* and these are not unlike rows */
	int			depth;			/* neighbours of each, at most */
	float	   *origin;			/* of the list that is read */
	float	   *centroid;		/* of that */
	float	   *wrong;			/* errors of codes of some entries */
	float	   *along;			/* what of them lies along residuals */
	float	   *differ;			/* and in how many subvectors others do */
	int			nwrong;
	int64		step;			/* one of so many entries is looked at */
	PqNeighbour *neighbours;	/* [nqueries][depth], of which counts are set */
	PqNeighbour *own;			/* [nrows], the rows that queries are */
	int		   *counts;
	double	   *taxicab;		/* what a taxicab distance is near to each
								 * query, or 0 */
	float	   *strangeness;	/* of the queries */
	double		entries;
} PqCalibration;

/*
 * One row is not enough to measure recall by: the first, second and so on
 * stand for the nearest, as if there were no nearer ones.
 */
#define PQ_NEAREST_TRIED 5

/* Does a kind of queries end with so many? */
static inline bool
pq_kind_ends(const PqCalibration *c, int n)
{
	int			unlike = (c->nqueries - c->nusual) / PQ_UNLIKE_KINDS;

	return n == c->nrows || n == c->nusual || n == c->nqueries ||
		(n > c->nusual && unlike > 0 && (n - c->nusual) % unlike == 0);
}

/*
 * Entries by the two cosines of their list and their code: how many have at most
 * those of the edges, and how many more than the last.
 */
#define PQ_EDGES 127
typedef struct PqScale
{
	float		edges[PQ_EDGES];
} PqScale;

typedef struct PqDensity
{
	PqScale		lists;
	PqScale		codes;
	uint32		counts[PQ_EDGES + 1][PQ_EDGES + 1];
} PqDensity;

/* pqdensity.c */
extern int	pq_compare_floats(const void *a, const void *b);
extern float pq_quantile(const float *sorted, int n, double part);
extern void pq_scale_set(PqScale *scale, const float *sorted, int n, float most);
extern void pq_density_count(PqCalibration *c, double d, PqDensity *density);
extern void pq_density_add(PqDensity *density, const PqDensity *other);
extern double pq_density_ranked(const PqDensity *density, const PqRule *rule);

/* pqrule.c */
extern void pq_measure_groups(PqCalibration *c);
extern void pq_measure_rows(PqCalibration *c, int from, int to, int k, PqCurve *curve);

#endif							/* PQ_CALIBRATE_H */
