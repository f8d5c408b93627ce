/*
 * pqkernel.c
 *		Portable kernels, and the choice among all kernels.
 *
 * The integers of scan_blocks are the same with every kernel.  Sums of floats
 * differ in their last bits, since kernels add in different orders.
 */
#include "postgres.h"

#include "index/cpu.h"
#include "pq/pqkernel.h"

const PqKernels *pq_kernels = &pq_kernels_portable;

static void
portable_tile_dots(const float *x, size_t stride, int n, const float *tile,
				   int dims, float *acc)
{
	for (int p = 0; p < n; p++)
	{
		float		sum[PQ_TILE];

		memcpy(sum, acc + p * PQ_TILE, sizeof(sum));
		for (int j = 0; j < dims; j++)
		{
			float		value = x[p * stride + j];

			for (int c = 0; c < PQ_TILE; c++)
				sum[c] += value * tile[j * PQ_TILE + c];
		}
		memcpy(acc + p * PQ_TILE, sum, sizeof(sum));
	}
}

static void
portable_tile_l2(const float *x, size_t stride, int n, const float *tile,
				 int dims, float *acc)
{
	for (int p = 0; p < n; p++)
	{
		float		sum[PQ_TILE];

		memcpy(sum, acc + p * PQ_TILE, sizeof(sum));
		for (int j = 0; j < dims; j++)
			for (int c = 0; c < PQ_TILE; c++)
			{
				float		d = x[p * stride + j] - tile[j * PQ_TILE + c];

				sum[c] += d * d;
			}
		memcpy(acc + p * PQ_TILE, sum, sizeof(sum));
	}
}

static void
portable_tiles_best(const float *const *x, int n, const float *tiles,
					int ntiles, int dims, const float *bias,
					float *best, int32 *index)
{
	for (int t = 0; t < ntiles; t++)
	{
		const float *tile = tiles + (size_t) t * dims * PQ_TILE;

		for (int p = 0; p < n; p++)
		{
			float		sum[PQ_TILE] = {0};

			portable_tile_l2(x[p], 0, 1, tile, dims, sum);
			for (int c = 0; c < PQ_TILE; c++)
			{
				float		score = bias[t * PQ_TILE + c] + sum[c];

				if (score < best[p * PQ_TILE + c])
				{
					best[p * PQ_TILE + c] = score;
					index[p * PQ_TILE + c] = t;
				}
			}
		}
	}
}

static void
portable_tile_least(const float *scores, const int32 *numbers, int n,
					float *least, int32 *place)
{
	for (int p = 0; p < n; p++)
	{
		const float *s = scores + p * PQ_TILE;
		float		lowest = s[0];
		int32		at = PG_INT32_MAX;

		for (int c = 1; c < PQ_TILE; c++)
			lowest = Min(lowest, s[c]);
		for (int c = 0; c < PQ_TILE; c++)
		{
			int32		here = numbers[p * PQ_TILE + c] * PQ_TILE + c;

			at = s[c] == lowest && here < at ? here : at;
		}
		least[p] = lowest;
		place[p] = at;
	}
}

static void
portable_scan_blocks(const PqBlockScan *scan)
{
	for (int b = 0; b < scan->nblocks; b++)
	{
		const uint8 *codes = scan->codes + (size_t) b * scan->nquads * PQ_QUAD_BYTES;
		int32		sums[PQ_BLOCK];
		uint32		mask = 0;

		for (int v = 0; v < PQ_BLOCK; v++)
			sums[v] = (scan->terms[b * PQ_BLOCK + v] * scan->term_factor) >> 8;
		for (int q = 0; q < scan->nquads; q++)
		{
			const uint8 *table = scan->table + q * PQ_QUAD_BYTES;

			for (int v = 0; v < PQ_BLOCK / 2; v++)
				for (int s = 0; s < 4; s++)
				{
					uint8		code = codes[q * PQ_QUAD_BYTES + v * 4 + s];

					sums[v] += table[s * 16 + (code & 15)];
					sums[v + 16] += table[s * 16 + (code >> 4)];
				}
		}
		for (int v = 0; v < PQ_BLOCK; v++)
			if (sums[v] <= scan->limit)
				mask |= (uint32) 1 << v;
		scan->masks[b] = mask;
		if (mask)
			memcpy(scan->sums + b * PQ_BLOCK, sums, sizeof(sums));
	}
}

static float
portable_code_l2(const float *query, const float *weight, float low, float step,
				 const uint8 *code, int dims)
{
	float		sum = 0;

	for (int j = 0; j < dims; j++)
	{
		float		d = (query[j] - low) - step * code[j];

		sum += weight[j] * d * d;
	}
	return sum;
}

static float
portable_code_dot(const float *query, const uint8 *code, int dims)
{
	float		sum = 0;

	for (int j = 0; j < dims; j++)
		sum += query[j] * code[j];
	return sum;
}

static float
portable_dot(const float *a, const float *b, int dims)
{
	float		sum = 0;

	for (int j = 0; j < dims; j++)
		sum += a[j] * b[j];
	return sum;
}

static float
portable_l2(const float *a, const float *b, int dims)
{
	float		sum = 0;

	for (int j = 0; j < dims; j++)
		sum += (a[j] - b[j]) * (a[j] - b[j]);
	return sum;
}

/* IEEE half precision to single, subnormals, infinities and NaN included. */
static void
portable_half_to_float(const uint16 *in, float *out, int dims)
{
	for (int j = 0; j < dims; j++)
	{
		uint32		sign = (uint32) (in[j] & 0x8000) << 16;
		uint32		exponent = (in[j] >> 10) & 31;
		uint32		fraction = in[j] & 0x3ff;
		uint32		bits;

		if (exponent == 31)
			bits = sign | 0x7f800000 | (fraction << 13);
		else if (exponent != 0)
			bits = sign | ((exponent + 112) << 23) | (fraction << 13);
		else
		{
			/* a subnormal number of units of 2^-24 */
			float		value = (float) fraction * (1.0f / 16777216.0f);

			memcpy(&bits, &value, sizeof(bits));
			bits |= sign;
		}
		memcpy(out + j, &bits, sizeof(bits));
	}
}

const PqKernels pq_kernels_portable = {
	.name = "portable",
	.near_masks = pq_near_portable,
	.near_most = PQ_NEAR_MOST,
	.tile_dots = portable_tile_dots,
	.tile_l2 = portable_tile_l2,
	.tiles_best = portable_tiles_best,
	.tile_least = portable_tile_least,
	.scan_blocks = portable_scan_blocks,
	.code_l2 = portable_code_l2,
	.code_dot = portable_code_dot,
	.dot = portable_dot,
	.l2 = portable_l2,
	.half_to_float = portable_half_to_float,
};

/* Kernels of each level that there are any for, slowest first. */
static const struct
{
	IxCpuLevel	level;
	const PqKernels *kernels;
}			levels[] =

{
	{IX_CPU_PORTABLE, &pq_kernels_portable},
#if defined(__x86_64__)
	{IX_CPU_AVX2, &pq_kernels_avx2},
	{IX_CPU_AVX512, &pq_kernels_avx512},
#elif defined(__aarch64__)
	{IX_CPU_NEON, &pq_kernels_neon},
#endif
};

/*
 * All kernels that this machine can run, slowest first.
 */
const PqKernels *const *
pq_kernels_all(int *n)
{
	static const PqKernels *all[lengthof(levels)];

	*n = 0;
	for (int i = 0; i < (int) lengthof(levels); i++)
		if (ix_cpu_has(levels[i].level))
			all[(*n)++] = levels[i].kernels;
	return all;
}

/*
 * Take the kernels of the level that this process uses.
 */
void
pq_kernels_init(void)
{
	IxCpuLevel	level = ix_cpu_level();

	for (int i = 0; i < (int) lengthof(levels); i++)
		if (levels[i].level == level)
			pq_kernels = levels[i].kernels;
}
