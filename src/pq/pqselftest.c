/*
 * pqselftest.c
 *		Each kernel that this machine can run against the portable ones, and
 *		k-means against its definition.
 */
#include "postgres.h"

#include <math.h>

#include "fmgr.h"
#include "utils/builtins.h"

#include "pq/pq.h"

#define DIMS 77
#define POINTS 11
#define QUADS 130
#define BLOCKS 3
#define TILES 5
#define NEAR_ROWS 20
#define NEAR_POINTS (3 * PQ_NEAR_ENTRIES)

typedef struct TestData
{
	float		x[POINTS * DIMS];
	float		tile[DIMS * PQ_TILE];
	float		bias[TILES * PQ_TILE];
	uint8		codes[BLOCKS * QUADS * PQ_QUAD_BYTES];
	uint8		terms[BLOCKS * PQ_BLOCK];
	uint8		table[QUADS * PQ_QUAD_BYTES + 64];
	uint16		halves[DIMS];
} TestData;

static bool
close_to(float a, float b)
{
	return a == b || (isnan(a) && isnan(b)) || fabsf(a - b) <= 1e-4f * (1 + fabsf(a) + fabsf(b));
}

static void
run_scan(const PqKernels *kernels, const TestData *m, int nquads, int32 limit, uint32 *masks, int32 *sums)
{
	PqBlockScan scan = {0};

	scan.codes = m->codes;
	scan.terms = m->terms;
	scan.nblocks = BLOCKS;
	scan.nquads = nquads;
	scan.table = (uint8 *) TYPEALIGN(64, m->table);
	scan.term_factor = 777;
	scan.limit = limit;
	scan.masks = masks;
	scan.sums = sums;
	memset(sums, 0, sizeof(int32) * BLOCKS * PQ_BLOCK);
	kernels->scan_blocks(&scan);
}

/*
 * Numbers of which all sums are exact as floats, so that kernels have to agree, and
 * extreme bytes, which are the ones that might not fit.
 */
static void
run_near(const PqKernels *kernels, const TestData *m, int nrows, int most, int shift, uint16 *masks)
{
	static int8 tile[NEAR_ROWS * PQ_TILE * PQ_NEAR_BYTES];
	static uint8 codes[NEAR_POINTS * NEAR_ROWS * PQ_NEAR_BYTES];
	float		entries[NEAR_POINTS * PQ_NEAR_TERMS];
	float		queries[PQ_NEAR_TERMS * PQ_TILE];
	PqNearScan	scan = {codes, NEAR_ROWS * PQ_NEAR_BYTES, NEAR_POINTS, nrows, tile, entries, queries, masks};

	for (int k = 0; k < (int) sizeof(tile); k++)
		tile[k] = Max(-most, Min(most, m->codes[k] - 128 + shift));
	for (int k = 0; k < (int) sizeof(codes); k++)
		codes[k] = Max(0, Min(255, m->codes[k + 1000] * 3 / 2 - 64));
	for (int k = 0; k < (int) lengthof(entries); k++)
		entries[k] = m->codes[k + 77] % 7 - 3;
	for (int k = 0; k < (int) lengthof(queries); k++)
		queries[k] = k < PQ_TILE ? 20 * m->codes[k] : m->codes[k + 99] % 5 - 2;
	kernels->near_masks(&scan);
}

/* Name of the first function that differs, or NULL. */
static const char *
compare(const PqKernels *a, const PqKernels *b, const TestData *m)
{
	float		u[POINTS * PQ_TILE];
	float		v[POINTS * PQ_TILE];
	int32		i[POINTS * PQ_TILE] = {0};
	int32		j[POINTS * PQ_TILE] = {0};
	uint32		masks[2][BLOCKS];
	static int32 sums[2][BLOCKS * PQ_BLOCK];
	float		out[2][DIMS];
	int32		places[2][POINTS];
	const float *x[POINTS];

	for (int dims = 1; dims <= DIMS; dims++)
	{
		for (int k = 0; k < POINTS * PQ_TILE; k++)
			u[k] = v[k] = k;
		a->tile_dots(m->x, DIMS, POINTS, m->tile, dims, u);
		b->tile_dots(m->x, DIMS, POINTS, m->tile, dims, v);
		for (int k = 0; k < POINTS * PQ_TILE; k++)
			if (!close_to(u[k], v[k]))
				return "tile_dots";
		a->tile_l2(m->x, DIMS, POINTS, m->tile, dims, u);
		b->tile_l2(m->x, DIMS, POINTS, m->tile, dims, v);
		for (int k = 0; k < POINTS * PQ_TILE; k++)
			if (!close_to(u[k], v[k]))
				return "tile_l2";
		/* as many tiles as fit, so that pairs and odd ones are tried */
		for (int k = 0; k < POINTS * PQ_TILE; k++)
			u[k] = v[k] = 1e6;
		for (int p = 0; p < POINTS; p++)
			x[p] = m->x + p * DIMS;
		a->tiles_best(x, POINTS, m->tile, Min(TILES, DIMS / dims), dims, m->bias, u, i);
		b->tiles_best(x, POINTS, m->tile, Min(TILES, DIMS / dims), dims, m->bias, v, j);
		for (int k = 0; k < POINTS * PQ_TILE; k++)
			if (!close_to(u[k], v[k]) || (i[k] != j[k] && fabsf(u[k]) > 1e-3f))
				return "tiles_best";
		/* scores that are often equal, since ties have an order */
		for (int k = 0; k < POINTS * PQ_TILE; k++)
		{
			u[k] = m->codes[dims + k] % 5 - 2;
			i[k] = m->codes[dims + 2 * k] % 3;
		}
		a->tile_least(u, i, POINTS, out[0], places[0]);
		b->tile_least(u, i, POINTS, out[1], places[1]);
		for (int p = 0; p < POINTS; p++)
			if (out[0][p] != out[1][p] || places[0][p] != places[1][p])
				return "tile_least";
		if (!close_to(a->dot(m->x, m->tile, dims), b->dot(m->x, m->tile, dims)))
			return "dot";
		if (!close_to(a->l2(m->x, m->tile, dims), b->l2(m->x, m->tile, dims)))
			return "l2";
		if (!close_to(a->code_dot(m->x, m->codes, dims), b->code_dot(m->x, m->codes, dims)))
			return "code_dot";
		if (!close_to(a->code_l2(m->x, m->tile, 0.7f, 1.3f, m->codes, dims), b->code_l2(m->x, m->tile, 0.7f, 1.3f, m->codes, dims)))
			return "code_l2";
		a->half_to_float(m->halves, out[0], dims);
		b->half_to_float(m->halves, out[1], dims);
		for (int k = 0; k < dims; k++)
			if (!close_to(out[0][k], out[1][k]))
				return "half_to_float";
	}
	for (int nquads = 1; nquads <= QUADS; nquads += nquads < 8 ? 1 : 61)
		for (int32 limit = 0; limit < 200000; limit = limit * 2 + 100)
		{
			run_scan(a, m, nquads, limit, masks[0], sums[0]);
			run_scan(b, m, nquads, limit, masks[1], sums[1]);
			if (memcmp(masks[0], masks[1], sizeof(masks[0])) != 0 ||
				memcmp(sums[0], sums[1], sizeof(sums[0])) != 0)
				return "scan_blocks";
		}
	for (int nrows = 1; nrows <= NEAR_ROWS; nrows++)
		for (int shift = -200; shift <= 200; shift += 100)
		{
			uint16		near[2][NEAR_POINTS];

			run_near(a, m, nrows, Min(a->near_most, b->near_most), shift, near[0]);
			run_near(b, m, nrows, Min(a->near_most, b->near_most), shift, near[1]);
			if (memcmp(near[0], near[1], sizeof(near[0])) != 0)
				return "near_masks";
		}
	return NULL;
}

/*
 * Is the same said of a point whether it comes alone or with others?  Builds
 * with workers rely on it, as they batch rows otherwise.
 */
static bool
indifferent(const PqKernels *kernels, const TestData *m)
{
	float		together[POINTS * PQ_TILE] = {0};
	float		best[POINTS * PQ_TILE];
	int32		numbers[POINTS * PQ_TILE] = {0};
	const float *x[POINTS];
	bool		same = true;

	for (int k = 0; k < POINTS * PQ_TILE; k++)
		best[k] = INFINITY;
	for (int p = 0; p < POINTS; p++)
		x[p] = m->x + p * DIMS;
	kernels->tile_dots(m->x, DIMS, POINTS, m->tile, DIMS, together);
	kernels->tiles_best(x, POINTS, m->tile, 1, DIMS, m->bias, best, numbers);
	for (int p = 0; p < POINTS; p++)
	{
		float		alone[PQ_TILE] = {0};
		float		alone_best[PQ_TILE];
		int32		number[PQ_TILE] = {0};

		for (int c = 0; c < PQ_TILE; c++)
			alone_best[c] = INFINITY;
		kernels->tile_dots(x[p], DIMS, 1, m->tile, DIMS, alone);
		kernels->tiles_best(&x[p], 1, m->tile, 1, DIMS, m->bias, alone_best, number);
		same &= memcmp(alone, together + p * PQ_TILE, sizeof(alone)) == 0 &&
			memcmp(alone_best, best + p * PQ_TILE, sizeof(alone_best)) == 0;
	}
	return same;
}

PG_FUNCTION_INFO_V1(jflow_pq_kernels);
/*
 * jflow_pq_kernels() RETURNS bool: do all kernels of this machine agree with the
 * portable ones?  Raises, and names the function, if one does not.
 */
Datum
jflow_pq_kernels(PG_FUNCTION_ARGS)
{
	int			n;
	const PqKernels *const *all = pq_kernels_all(&n);
	TestData   *m = palloc(sizeof(TestData));
	uint32		random = 1;

#define NEXT (random = random * 1664525 + 1013904223, random >> 8)
	for (int k = 0; k < POINTS * DIMS; k++)
		m->x[k] = (float) (NEXT % 2000) / 100 - 10;
	for (int k = 0; k < DIMS * PQ_TILE; k++)
		m->tile[k] = (float) (NEXT % 2000) / 100 - 10;
	for (int k = 0; k < TILES * PQ_TILE; k++)
		m->bias[k] = NEXT % 100;
	for (int k = 0; k < (int) sizeof(m->codes); k++)
		m->codes[k] = NEXT;
	for (int k = 0; k < (int) sizeof(m->terms); k++)
		m->terms[k] = NEXT;
	for (int k = 0; k < (int) sizeof(m->table); k++)
		m->table[k] = NEXT;
	for (int k = 0; k < DIMS; k++)
		m->halves[k] = k < 4 ? k : NEXT;
	for (int k = 0; k < n; k++)
	{
		const char *wrong = compare(all[0], all[k], m);

		if (!indifferent(all[k], m))
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("kernels of %s say another thing of a point that comes alone", all[k]->name)));

		if (wrong)
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("kernel %s of %s differs from the portable one", wrong, all[k]->name)));
	}
	if (!(pq_l1_disagreement() < 1e-5))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("loops for L1 distances are wrong")));
	PG_RETURN_BOOL(true);
}

static void
complain_kmeans(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INTERNAL_ERROR),
			 errmsg("k-means test failed: %s", what)));
}

/* The nearest of k centroids, by definition. */
static int
nearest_plainly(const float *point, const float *centroids, int k, int dims, double *distance)
{
	int			at = 0;

	*distance = INFINITY;
	for (int c = 0; c < k; c++)
	{
		double		sum = 0;

		for (int j = 0; j < dims; j++)
			sum += ((double) point[j] - centroids[c * dims + j]) * ((double) point[j] - centroids[c * dims + j]);
		if (sum < *distance)
		{
			at = c;
			*distance = sum;
		}
	}
	return at;
}

PG_FUNCTION_INFO_V1(jflow_pq_kmeans);
/*
 * jflow_pq_kmeans() RETURNS bool, or raises.
 *
 * Does k-means find clusters that are there, does it get along with too few and
 * with equal points, and does the nearest centroid agree with its definition?
 */
Datum
jflow_pq_kmeans(PG_FUNCTION_ARGS)
{
	enum
	{
		MEANS_DIMS = 12,
		MEANS = 20,
		MEANS_POINTS = 600
	};
	uint32		random = 7;
	float	   *points = palloc(sizeof(float) * MEANS_POINTS * MEANS_DIMS);
	float	   *centroids = palloc(sizeof(float) * 64 * MEANS_DIMS);
	float	   *again = palloc(sizeof(float) * 64 * MEANS_DIMS);
	float	   *tiles = palloc(sizeof(float) * 64 * MEANS_DIMS);
	float		bias[64];
	float		best[MEANS_POINTS];
	int32		index[MEANS_POINTS];
	double		error = 0;
	double		distance;

	for (int i = 0; i < MEANS_POINTS; i++)
		for (int j = 0; j < MEANS_DIMS; j++)
		{
			random = random * 1664525 + 1013904223;
			points[i * MEANS_DIMS + j] = ((i % MEANS) >> (j % 5) & 1) * 10 + (float) (random >> 8) / (1 << 24) * 0.1f;
		}

	pq_kmeans(points, MEANS_DIMS, MEANS_POINTS, MEANS_DIMS, MEANS, 10, centroids, 3);
	pq_kmeans(points, MEANS_DIMS, MEANS_POINTS, MEANS_DIMS, MEANS, 10, again, 3);
	if (memcmp(centroids, again, sizeof(float) * MEANS * MEANS_DIMS) != 0)
		complain_kmeans("the same points gave other centroids");
	for (int i = 0; i < MEANS_POINTS; i++)
	{
		nearest_plainly(points + i * MEANS_DIMS, centroids, MEANS, MEANS_DIMS, &distance);
		error = Max(error, distance);
	}
	if (error > MEANS_DIMS * 0.2 * 0.2)
		complain_kmeans("clusters far apart were not found");

	pq_make_tiles(centroids, MEANS, MEANS_DIMS, tiles, bias);
	for (int i = 0; i < MEANS_POINTS; i++)
		best[i] = INFINITY;
	pq_nearest(points, MEANS_DIMS, NULL, MEANS_POINTS, MEANS_DIMS, tiles, bias, PqRoundTile(MEANS) / PQ_TILE, 0, best, index);
	for (int i = 0; i < MEANS_POINTS; i++)
		if (index[i] != nearest_plainly(points + i * MEANS_DIMS, centroids, MEANS, MEANS_DIMS, &distance))
			complain_kmeans("the nearest centroid is another one");

	/* fewer points than centroids, no points, equal points */
	pq_kmeans(points, MEANS_DIMS, 5, MEANS_DIMS, 40, 10, centroids, 3);
	for (int i = 0; i < 5; i++)
	{
		nearest_plainly(points + i * MEANS_DIMS, centroids, 40, MEANS_DIMS, &distance);
		if (distance != 0)
			complain_kmeans("few points are not their own centroids");
	}
	pq_kmeans(points, MEANS_DIMS, 0, MEANS_DIMS, 4, 10, centroids, 3);
	for (int i = 1; i < MEANS_POINTS; i++)
		memcpy(points + i * MEANS_DIMS, points, sizeof(float) * MEANS_DIMS);
	pq_kmeans(points, MEANS_DIMS, MEANS_POINTS, MEANS_DIMS, MEANS, 10, centroids, 3);
	nearest_plainly(points, centroids, MEANS, MEANS_DIMS, &distance);
	/* an empty cluster is put beside a full one, which moves that a little */
	if (distance > 0.05)
		complain_kmeans("equal points are not near their centroid");
	PG_RETURN_BOOL(true);
}
