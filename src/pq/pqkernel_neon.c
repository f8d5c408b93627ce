/*
 * pqkernel_neon.c
 *		Kernels for NEON, which every 64-bit ARM machine has.
 *
 * scan_blocks: a load that takes bytes apart by fours yields, of a quad, each
 * subvector's codes of 16 vectors, and a table look-up its 16 entries.  Values
 * are added in 16 bits, as many as are sure to fit, then in 32.
 */
#include "postgres.h"

#include "pq/pqkernel.h"

#if defined(__aarch64__)

#include <arm_neon.h>

/* How many points are compared with a tile at once: 16 of 32 registers. */
#define POINTS 4
/* Vectors of four floats to a tile's row. */
#define PARTS (PQ_TILE / 4)
/* Quads whose values can be added in 16 bits: 4 * 255 each. */
#define QUADS 64

/* Add a product, or the square of a difference. */
static inline __attribute__((always_inline)) float32x4_t
add(float x, float32x4_t row, float32x4_t sum, bool l2)
{
	float32x4_t d;

	if (!l2)
		return vfmaq_n_f32(sum, row, x);
	d = vsubq_f32(vdupq_n_f32(x), row);
	return vfmaq_f32(sum, d, d);
}

static inline __attribute__((always_inline))
void
sums(const float *x, size_t stride, int n, const float *tile, int dims, float32x4_t * sum, bool l2)
{
	for (int j = 0; j < dims; j++)
	{
		float32x4_t row[PARTS];

		for (int i = 0; i < PARTS; i++)
			row[i] = vld1q_f32(tile + (size_t) j * PQ_TILE + i * 4);
#pragma GCC unroll 4
		for (int p = 0; p < n; p++)
#pragma GCC unroll 4
			for (int i = 0; i < PARTS; i++)
				sum[p * PARTS + i] = add(x[p * stride + j], row[i], sum[p * PARTS + i], l2);
	}
}

static inline __attribute__((always_inline))
void
tile_sums(const float *x, size_t stride, int n, const float *tile, int dims, float *acc, bool l2)
{
	for (int p = 0; p < n;)
	{
		float32x4_t sum[POINTS * PARTS];
		int			m = p + POINTS <= n ? POINTS : 1;

		for (int i = 0; i < m * PARTS; i++)
			sum[i] = vld1q_f32(acc + p * PQ_TILE + i * 4);
		if (m == POINTS)
			sums(x + p * stride, stride, POINTS, tile, dims, sum, l2);
		else
			sums(x + p * stride, stride, 1, tile, dims, sum, l2);
		for (int i = 0; i < m * PARTS; i++)
			vst1q_f32(acc + p * PQ_TILE + i * 4, sum[i]);
		p += m;
	}
}

static void
neon_tile_dots(const float *x, size_t stride, int n, const float *tile, int dims, float *acc)
{
	tile_sums(x, stride, n, tile, dims, acc, false);
}

static void
neon_tile_l2(const float *x, size_t stride, int n, const float *tile, int dims, float *acc)
{
	tile_sums(x, stride, n, tile, dims, acc, true);
}

static inline void
keep_best(float32x4_t sum, const float *bias, int32 number, float *best, int32 *index)
{
	float32x4_t score = vaddq_f32(vld1q_f32(bias), sum);
	float32x4_t old = vld1q_f32(best);
	uint32x4_t	less = vcltq_f32(score, old);

	vst1q_f32(best, vbslq_f32(less, score, old));
	vst1q_s32(index, vbslq_s32(less, vdupq_n_s32(number), vld1q_s32(index)));
}

/* Some points against one tile. */
static inline __attribute__((always_inline))
void
best_of_tile(const float *const *x, int n, const float *tile, int dims,
			 const float *bias, int32 number, float *best, int32 *index)
{
	float32x4_t sum[POINTS * PARTS];

	for (int i = 0; i < n * PARTS; i++)
		sum[i] = vdupq_n_f32(0);
	for (int j = 0; j < dims; j++)
	{
		float32x4_t row[PARTS];

		for (int i = 0; i < PARTS; i++)
			row[i] = vld1q_f32(tile + (size_t) j * PQ_TILE + i * 4);
#pragma GCC unroll 4
		for (int p = 0; p < n; p++)
#pragma GCC unroll 4
			for (int i = 0; i < PARTS; i++)
				sum[p * PARTS + i] = add(x[p][j], row[i], sum[p * PARTS + i], true);
	}
	for (int i = 0; i < n * PARTS; i++)
		keep_best(sum[i], bias + i % PARTS * 4, number, best + i * 4, index + i * 4);
}

/* A point's sums do not depend on whether it comes alone or with others. */
static void
neon_tiles_best(const float *const *x, int n, const float *tiles, int ntiles,
				int dims, const float *bias, float *best, int32 *index)
{
	for (int t = 0; t < ntiles; t++)
	{
		const float *tile = tiles + (size_t) t * dims * PQ_TILE;
		int			p = 0;

		for (; p + POINTS <= n; p += POINTS)
			best_of_tile(x + p, POINTS, tile, dims, bias + t * PQ_TILE, t, best + p * PQ_TILE, index + p * PQ_TILE);
		for (; p < n; p++)
			best_of_tile(x + p, 1, tile, dims, bias + t * PQ_TILE, t, best + p * PQ_TILE, index + p * PQ_TILE);
	}
}

static void
neon_tile_least(const float *scores, const int32 *numbers, int n,
				float *least, int32 *place)
{
	static const int32 first[4] = {0, 1, 2, 3};
	const		int32x4_t column = vld1q_s32(first);

	for (int p = 0; p < n; p++)
	{
		float32x4_t s[PARTS];
		int32x4_t	at = vdupq_n_s32(PG_INT32_MAX);
		float		lowest;

		for (int i = 0; i < PARTS; i++)
			s[i] = vld1q_f32(scores + p * PQ_TILE + i * 4);
		lowest = vminvq_f32(vminq_f32(vminq_f32(s[0], s[1]), vminq_f32(s[2], s[3])));
		for (int i = 0; i < PARTS; i++)
		{
			int32x4_t	here = vld1q_s32(numbers + p * PQ_TILE + i * 4);

			here = vaddq_s32(vshlq_n_s32(here, 4), vaddq_s32(column, vdupq_n_s32(i * 4)));
			here = vbslq_s32(vceqq_f32(s[i], vdupq_n_f32(lowest)), here, vdupq_n_s32(PG_INT32_MAX));
			at = vminq_s32(at, here);
		}
		least[p] = lowest;
		place[p] = vminvq_s32(at);
	}
}

/* Add the values of two subvectors of 16 vectors. */
static inline void
add_pair(uint8x16_t a, uint8x16_t b, uint16x8_t *sum)
{
	sum[0] = vaddq_u16(sum[0], vaddl_u8(vget_low_u8(a), vget_low_u8(b)));
	sum[1] = vaddq_u16(sum[1], vaddl_high_u8(a, b));
}

/* Add a quad's values; sum has 32 vectors in order. */
static inline void
add_quad(const uint8 *codes, const uint8 *table, uint16x8_t *sum)
{
	const uint8x16_t nibble = vdupq_n_u8(0x0f);
	uint8x16x4_t code = vld4q_u8(codes);

	for (int s = 0; s < 4; s += 2)
	{
		uint8x16_t	t0 = vld1q_u8(table + s * 16);
		uint8x16_t	t1 = vld1q_u8(table + s * 16 + 16);

		add_pair(vqtbl1q_u8(t0, vandq_u8(code.val[s], nibble)),
				 vqtbl1q_u8(t1, vandq_u8(code.val[s + 1], nibble)), sum);
		add_pair(vqtbl1q_u8(t0, vshrq_n_u8(code.val[s], 4)),
				 vqtbl1q_u8(t1, vshrq_n_u8(code.val[s + 1], 4)), sum + 2);
	}
}

static void
neon_scan_blocks(const PqBlockScan *scan)
{
	static const uint32 bits[4] = {1, 2, 4, 8};
	const uint32x4_t bit = vld1q_u32(bits);
	const		int32x4_t limit = vdupq_n_s32(scan->limit);

	for (int b = 0; b < scan->nblocks; b++)
	{
		const uint8 *codes = scan->codes + (size_t) b * scan->nquads * PQ_QUAD_BYTES;
		const uint8 *terms = scan->terms + b * PQ_BLOCK;
		int32x4_t	total[PQ_BLOCK / 4];
		uint32		mask = 0;

		for (int i = 0; i < PQ_BLOCK / 8; i++)
		{
			int16x8_t	term = vreinterpretq_s16_u16(vmovl_u8(vld1_u8(terms + i * 8)));

			total[2 * i] = vshrq_n_s32(vmull_n_s16(vget_low_s16(term), scan->term_factor), 8);
			total[2 * i + 1] = vshrq_n_s32(vmull_n_s16(vget_high_s16(term), scan->term_factor), 8);
		}
		for (int q = 0; q < scan->nquads;)
		{
			int			end = Min(q + QUADS, scan->nquads);
			uint16x8_t	sum[PQ_BLOCK / 8];

			for (int i = 0; i < PQ_BLOCK / 8; i++)
				sum[i] = vdupq_n_u16(0);
			for (; q < end; q++)
				add_quad(codes + q * PQ_QUAD_BYTES, scan->table + q * PQ_QUAD_BYTES, sum);
			for (int i = 0; i < PQ_BLOCK / 8; i++)
			{
				total[2 * i] = vaddq_s32(total[2 * i], vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(sum[i]))));
				total[2 * i + 1] = vaddq_s32(total[2 * i + 1], vreinterpretq_s32_u32(vmovl_high_u16(sum[i])));
			}
		}
		for (int i = 0; i < PQ_BLOCK / 4; i++)
			mask |= vaddvq_u32(vandq_u32(vcleq_s32(total[i], limit), bit)) << (i * 4);
		scan->masks[b] = mask;
		if (mask)
			for (int i = 0; i < PQ_BLOCK / 4; i++)
				vst1q_s32(scan->sums + b * PQ_BLOCK + i * 4, total[i]);
	}
}

/* Eight codes as floats. */
static inline void
load_codes(const uint8 *code, float32x4_t * out)
{
	uint16x8_t	wide = vmovl_u8(vld1_u8(code));

	out[0] = vcvtq_f32_u32(vmovl_u16(vget_low_u16(wide)));
	out[1] = vcvtq_f32_u32(vmovl_high_u16(wide));
}

static float
neon_code_l2(const float *query, const float *weight, float low, float step, const uint8 *code, int dims)
{
	float32x4_t sum[2] = {vdupq_n_f32(0), vdupq_n_f32(0)};
	int			j = 0;

	for (; j + 8 <= dims; j += 8)
	{
		float32x4_t c[2];

		load_codes(code + j, c);
		for (int i = 0; i < 2; i++)
		{
			float32x4_t d = vfmsq_n_f32(vsubq_f32(vld1q_f32(query + j + i * 4), vdupq_n_f32(low)), c[i], step);

			sum[i] = vfmaq_f32(sum[i], vmulq_f32(d, d), vld1q_f32(weight + j + i * 4));
		}
	}
	return vaddvq_f32(vaddq_f32(sum[0], sum[1])) +
		pq_kernels_portable.code_l2(query + j, weight + j, low, step, code + j, dims - j);
}

static float
neon_code_dot(const float *query, const uint8 *code, int dims)
{
	float32x4_t sum[2] = {vdupq_n_f32(0), vdupq_n_f32(0)};
	int			j = 0;

	for (; j + 8 <= dims; j += 8)
	{
		float32x4_t c[2];

		load_codes(code + j, c);
		for (int i = 0; i < 2; i++)
			sum[i] = vfmaq_f32(sum[i], vld1q_f32(query + j + i * 4), c[i]);
	}
	return vaddvq_f32(vaddq_f32(sum[0], sum[1])) +
		pq_kernels_portable.code_dot(query + j, code + j, dims - j);
}

static float
neon_dot(const float *a, const float *b, int dims)
{
	float32x4_t sum[2] = {vdupq_n_f32(0), vdupq_n_f32(0)};
	int			j = 0;

	for (; j + 8 <= dims; j += 8)
		for (int i = 0; i < 2; i++)
			sum[i] = vfmaq_f32(sum[i], vld1q_f32(a + j + i * 4), vld1q_f32(b + j + i * 4));
	return vaddvq_f32(vaddq_f32(sum[0], sum[1])) +
		pq_kernels_portable.dot(a + j, b + j, dims - j);
}

static float
neon_l2(const float *a, const float *b, int dims)
{
	float32x4_t sum[2] = {vdupq_n_f32(0), vdupq_n_f32(0)};
	int			j = 0;

	for (; j + 8 <= dims; j += 8)
		for (int i = 0; i < 2; i++)
		{
			float32x4_t d = vsubq_f32(vld1q_f32(a + j + i * 4), vld1q_f32(b + j + i * 4));

			sum[i] = vfmaq_f32(sum[i], d, d);
		}
	return vaddvq_f32(vaddq_f32(sum[0], sum[1])) +
		pq_kernels_portable.l2(a + j, b + j, dims - j);
}

static void
neon_half_to_float(const uint16 *in, float *out, int dims)
{
	int			j = 0;

	for (; j + 4 <= dims; j += 4)
		vst1q_f32(out + j, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(in + j))));
	pq_kernels_portable.half_to_float(in + j, out + j, dims - j);
}

const PqKernels pq_kernels_neon = {
	.name = "neon",
	.near_masks = pq_near_neon,
	.near_most = PQ_NEAR_MOST,
	.tile_dots = neon_tile_dots,
	.tile_l2 = neon_tile_l2,
	.tiles_best = neon_tiles_best,
	.tile_least = neon_tile_least,
	.scan_blocks = neon_scan_blocks,
	.code_l2 = neon_code_l2,
	.code_dot = neon_code_dot,
	.dot = neon_dot,
	.l2 = neon_l2,
	.half_to_float = neon_half_to_float,
};

#endif							/* __aarch64__ */
