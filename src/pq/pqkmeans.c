/*
 * pqkmeans.c
 *		k-means: Lloyd's iterations over points in memory.
 *
 * Distances are computed for a block of points and a tile of 16 centroids at a
 * time (see pqkernel.h).  Sums run over the points in order, so the result
 * depends on the points and their order alone.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"

#include "pq/pq.h"

/* Points whose best scores are kept at once. */
#define POINTS 128

/*
 * Lay k centroids out as tiles, and a bias for each beside them: columns that are
 * left over have an infinite one, so that nothing is nearest to them.
 */
void
pq_make_tiles(const float *centroids, int k, int dims, float *tiles, float *bias)
{
	int			ntiles = PqRoundTile(k) / PQ_TILE;

	memset(tiles, 0, sizeof(float) * PQ_TILE * (size_t) ntiles * dims);
	for (int c = 0; c < ntiles * PQ_TILE; c++)
	{
		float	   *column = tiles + (size_t) (c / PQ_TILE) * dims * PQ_TILE + c % PQ_TILE;
		const float *centroid = centroids + (size_t) c * dims;

		bias[c] = c < k ? 0 : INFINITY;
		for (int j = 0; j < dims && c < k; j++)
			column[(size_t) j * PQ_TILE] = centroid[j];
	}
}

/*
 * For each of n points the nearest column of some tiles, numbered from first.
 * The points are the first n rows, or those that which names.  best comes in
 * with the squared distance to beat; where nothing beats it best and index stay.
 */
void
pq_nearest(const float *points, size_t stride, const int *which, int n, int dims,
		   const float *tiles, const float *bias, int ntiles, int first,
		   float *best, int32 *index)
{
	float		scores[POINTS * PQ_TILE];
	int32		numbers[POINTS * PQ_TILE];
	float		least[POINTS];
	int32		place[POINTS];
	const float *x[POINTS];

	for (int start = 0; start < n; start += POINTS)
	{
		int			m = Min(POINTS, n - start);

		for (int i = 0; i < m * PQ_TILE; i++)
			scores[i] = INFINITY;
		memset(numbers, 0, sizeof(int32) * PQ_TILE * m);
		for (int i = 0; i < m; i++)
			x[i] = points + (which ? which[start + i] : start + i) * stride;
		pq_kernels->tiles_best(x, m, tiles, ntiles, dims, bias, scores, numbers);
		pq_kernels->tile_least(scores, numbers, m, least, place);
		for (int p = 0; p < m; p++)
			if (least[p] < best[start + p])
			{
				best[start + p] = least[p];
				index[start + p] = first + place[p];
			}
	}
}

/*
 * Move each centroid that has no points beside the one that has most, so that
 * the two share its points from then on; what is not wide cannot be shared.
 * squares are of how far points are from their centroids, in all.
 */
static void
reseed_empty(float *centroids, int *counts, double *squares, int k, int dims, uint64 *random)
{
	for (int c = 0; c < k; c++)
	{
		int			largest = -1;
		float		typical;

		if (counts[c] > 0)
			continue;
		for (int i = 0; i < k; i++)
			if (squares[i] > 0 && counts[i] > 1 && (largest < 0 || counts[i] > counts[largest]))
				largest = i;
		if (largest < 0)
			return;
		typical = sqrt(squares[largest] / counts[largest] / dims) / 8;
		for (int j = 0; j < dims; j++)
		{
			float		value = centroids[(size_t) largest * dims + j];
			float		shift = typical;

			*random = *random * UINT64CONST(6364136223846793005) + UINT64CONST(1442695040888963407);
			if (*random >> 40 & 1)
				shift = -shift;
			centroids[(size_t) c * dims + j] = value + shift;
			centroids[(size_t) largest * dims + j] = value - shift;
		}
		counts[c] = counts[largest] / 2;
		counts[largest] -= counts[c];
		squares[c] = squares[largest] /= 2;
	}
}

/*
 * Cluster n points into k centroids, starting from the first k points (callers
 * bring points in random order).  With fewer points than centroids, the rest
 * repeat.
 */
void
pq_kmeans(const float *points, size_t stride, int n, int dims, int k,
		  int iterations, float *centroids, uint64 seed)
{
	size_t		tile_floats = (size_t) PqRoundTile(k) * dims;
	float	   *tiles = palloc_extended(sizeof(float) * tile_floats, MCXT_ALLOC_HUGE);
	float	   *bias = palloc(sizeof(float) * PqRoundTile(k));
	float	   *sums = palloc_extended(sizeof(float) * (size_t) k * dims, MCXT_ALLOC_HUGE);
	float	   *best = palloc(sizeof(float) * Max(n, 1));
	int32	   *index = palloc(sizeof(int32) * Max(n, 1));
	int32	   *before = palloc(sizeof(int32) * Max(n, 1));
	int		   *counts = palloc(sizeof(int) * k);
	double	   *squares = palloc(sizeof(double) * k);
	bool		settled = false;

	for (int c = 0; c < k; c++)
	{
		if (n > 0)
			memcpy(centroids + (size_t) c * dims, points + (size_t) (c % n) * stride, sizeof(float) * dims);
		else
			memset(centroids + (size_t) c * dims, 0, sizeof(float) * dims);
	}
	for (int iteration = 0; iteration < iterations && n > k && !settled; iteration++)
	{
		CHECK_FOR_INTERRUPTS();
		pq_make_tiles(centroids, k, dims, tiles, bias);
		for (int i = 0; i < n; i++)
		{
			best[i] = INFINITY;
			index[i] = 0;
		}
		for (int start = 0; start < n; start += 8192)
		{
			CHECK_FOR_INTERRUPTS();
			pq_nearest(points + (size_t) start * stride, stride, NULL, Min(8192, n - start), dims,
					   tiles, bias, PqRoundTile(k) / PQ_TILE, 0, best + start, index + start);
		}
		/* where no point has moved, none will */
		settled = iteration > 0 && memcmp(index, before, sizeof(int32) * n) == 0;
		memcpy(before, index, sizeof(int32) * n);
		/* sums of small differences are precise wherever the points are */
		memset(sums, 0, sizeof(float) * (size_t) k * dims);
		memset(counts, 0, sizeof(int) * k);
		memset(squares, 0, sizeof(double) * k);
		for (int i = 0; i < n; i++)
		{
			const float *centroid = centroids + (size_t) index[i] * dims;
			float	   *sum = sums + (size_t) index[i] * dims;
			const float *point = points + (size_t) i * stride;

			counts[index[i]]++;
			squares[index[i]] += best[i];
			for (int j = 0; j < dims; j++)
				sum[j] += point[j] - centroid[j];
		}
		for (int c = 0; c < k; c++)
			for (int j = 0; j < dims && counts[c] > 0; j++)
				centroids[(size_t) c * dims + j] += sums[(size_t) c * dims + j] / counts[c];
		/* a centroid that is moved has to find its place again */
		if (iteration + 1 < iterations && !settled)
			reseed_empty(centroids, counts, squares, k, dims, &seed);
	}
	pfree(tiles);
	pfree(bias);
	pfree(sums);
	pfree(best);
	pfree(index);
	pfree(before);
	pfree(counts);
	pfree(squares);
}
