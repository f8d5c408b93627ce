/*
 * pqcurve.c
 *		What calibration has learned, as the meta page has it: for some k and some
 *		goals of recall the rule that reaches them.
 */
#include "postgres.h"

#include <math.h>

#include "pq/pq.h"

static bool
valid(const PqCurve *curves, int ncurves)
{
	if (ncurves < 0 || ncurves > PQ_CURVES)
		return false;
	for (int i = 0; i < ncurves; i++)
		if (curves[i].n < 1 || curves[i].n > PQ_MAX_CURVE || curves[i].k < 1)
			return false;
	return true;
}

/*
 * May these numbers, read from a page, be used?
 */
bool
pq_curves_valid(const PqMetaPageData *meta)
{
	return valid(meta->curves, meta->ncurves) && valid(meta->unlike_curves, meta->nunlike);
}

/* A limit between two, of which either may be none. */
static float
between(float a, float b, double t)
{
	return isfinite(a) && isfinite(b) ? a + t * (b - a) : INFINITY;
}

/*
 * The rule of a curve for a goal, between the points that lie around it.  Beyond
 * the curve nothing is known to be enough, so everything is looked at.
 */
static void
point_for(const PqCurve *curve, double goal, PqCurvePoint *point)
{
	const PqCurvePoint *points = curve->points;
	int			i = 0;
	double		t;

	while (i < curve->n && points[i].recall < goal)
		i++;
	if (i == 0 || i == curve->n)
	{
		*point = points[Min(i, curve->n - 1)];
		if (i == curve->n)
		{
			point->list = INFINITY;
			point->code = INFINITY;
		}
		return;
	}
	t = (goal - points[i - 1].recall) / (points[i].recall - points[i - 1].recall);
	point->list = between(points[i - 1].list, points[i].list, t);
	point->code = between(points[i - 1].code, points[i].code, t);
	point->mean = between(points[i - 1].mean, points[i].mean, t);
	point->probes = (int) ceil(points[i - 1].probes + t * (points[i].probes - points[i - 1].probes));
	/* usual queries must not cost too much by either */
	point->strange = Max(points[i - 1].strange, points[i].strange);
}

/*
 * The rule for a goal among the k nearest, between the curves that lie around k.
 * There must be a curve.
 */
void
pq_curve_for(const PqCurve *curves, int ncurves, double k, double goal, PqCurvePoint *point)
{
	int			i = 0;
	PqCurvePoint other;
	double		t;

	while (i < ncurves && curves[i].k < k)
		i++;
	point_for(&curves[Min(i, ncurves - 1)], goal, point);
	point->recall = goal;
	if (i == 0 || i == ncurves)
		return;
	point_for(&curves[i - 1], goal, &other);
	t = log(k / curves[i - 1].k) / log((double) curves[i].k / curves[i - 1].k);
	point->list = between(other.list, point->list, t);
	point->code = between(other.code, point->code, t);
	point->mean = between(other.mean, point->mean, t);
	point->probes = (int) ceil(other.probes + t * (point->probes - other.probes));
	point->strange = Max(other.strange, point->strange);
}

/*
 * The rule for a goal that a query so unlike the rows has besides the usual one; false
 * if it has none.  Where too many queries like the rows would have the goal's own, too,
 * it is that of the highest lower goal that may be.  There must be a curve.
 */
bool
pq_curve_unlike(const PqMetaPageData *meta, double k, double goal, float strangeness, PqCurvePoint *point)
{
	const PqCurve *curve = meta->unlike_curves;

	while (curve < &meta->unlike_curves[meta->nunlike - 1] && curve->k < k)
		curve++;
	pq_curve_for(meta->unlike_curves, meta->nunlike, k, goal, point);
	for (int i = curve->n - 1; i >= 0 && strangeness <= point->strange; i--)
		if (curve->points[i].recall < goal)
			pq_curve_for(meta->unlike_curves, meta->nunlike, k, curve->points[i].recall, point);
	return strangeness > point->strange;
}
