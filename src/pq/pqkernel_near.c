/*
 * pqkernel_near.c
 *		Kernels that tell which of some entries may be near to which queries.
 *
 * Products of bytes are added as whole numbers, so all kernels find the same sums.
 * The bounds made of these are floats, and differ in their last bits; who asks
 * allows for that.
 */
#include "postgres.h"

#include "pq/pqkernel.h"

/* How far apart rows of a tile are, and the bytes of a code that each takes. */
#define ROW_BYTES (PQ_TILE * PQ_NEAR_BYTES)

#if defined(__x86_64__)

#include <immintrin.h>

#define AVX2 __attribute__((target("avx2,fma")))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma")))

/* Entries at once; PQ_NEAR_ENTRIES is a multiple of these. */
#define ENTRIES512 8
#define ENTRIES2 4

AVX512 static inline
__attribute__((always_inline))
uint16
			near512(const PqNearScan *scan, int p, __m512i sum)
{
	const float *entry = scan->entries + p * PQ_NEAR_TERMS;
	const float *queries = scan->queries;
	__m512		bound = _mm512_add_ps(_mm512_loadu_ps(queries), _mm512_set1_ps(entry[0]));

#pragma GCC unroll 4
	for (int i = 1; i < PQ_NEAR_TERMS - 1; i++)
		bound = _mm512_fmadd_ps(_mm512_loadu_ps(queries + i * PQ_TILE), _mm512_set1_ps(entry[i]), bound);
	bound = _mm512_fmadd_ps(_mm512_mul_ps(_mm512_loadu_ps(queries + (PQ_NEAR_TERMS - 1) * PQ_TILE),
										  _mm512_set1_ps(entry[PQ_NEAR_TERMS - 1])),
							_mm512_cvtepi32_ps(sum), bound);
	return _mm512_cmp_ps_mask(bound, _mm512_setzero_ps(), _CMP_NGT_UQ);
}

/* Eight entries at a time, and a dot product of four bytes for each column. */
AVX512 void
pq_near_avx512(const PqNearScan *scan)
{
	for (int p = 0; p < scan->n; p += ENTRIES512)
	{
		const uint8 *codes = scan->codes + (size_t) p * scan->stride;
		__m512i		sum[ENTRIES512];

#pragma GCC unroll 8
		for (int i = 0; i < ENTRIES512; i++)
			sum[i] = _mm512_setzero_si512();
		for (int r = 0; r < scan->nrows; r++)
		{
			__m512i		row = _mm512_loadu_si512(scan->tile + (size_t) r * ROW_BYTES);

#pragma GCC unroll 8
			for (int i = 0; i < ENTRIES512; i++)
			{
				int32		four;

				memcpy(&four, codes + (size_t) i * scan->stride + r * PQ_NEAR_BYTES, sizeof(four));
				sum[i] = _mm512_dpbusd_epi32(sum[i], _mm512_set1_epi32(four), row);
			}
		}
#pragma GCC unroll 8
		for (int i = 0; i < ENTRIES512; i++)
			scan->masks[p + i] = near512(scan, p + i, sum[i]);
	}
}

AVX2 static inline
__attribute__((always_inline))
uint16
			near2(const PqNearScan *scan, int p, int half, __m256i sum)
{
	const float *entry = scan->entries + p * PQ_NEAR_TERMS;
	const float *queries = scan->queries + half * 8;
	__m256		bound = _mm256_add_ps(_mm256_loadu_ps(queries), _mm256_set1_ps(entry[0]));

#pragma GCC unroll 4
	for (int i = 1; i < PQ_NEAR_TERMS - 1; i++)
		bound = _mm256_fmadd_ps(_mm256_loadu_ps(queries + i * PQ_TILE), _mm256_set1_ps(entry[i]), bound);
	bound = _mm256_fmadd_ps(_mm256_mul_ps(_mm256_loadu_ps(queries + (PQ_NEAR_TERMS - 1) * PQ_TILE),
										  _mm256_set1_ps(entry[PQ_NEAR_TERMS - 1])),
							_mm256_cvtepi32_ps(sum), bound);
	return _mm256_movemask_ps(_mm256_cmp_ps(bound, _mm256_setzero_ps(), _CMP_NGT_UQ));
}

/* Two products are added in 16 bits, which is why columns have 7: PQ_NEAR_MOST_AVX2. */
AVX2 void
pq_near_avx2(const PqNearScan *scan)
{
	const		__m256i ones = _mm256_set1_epi16(1);

	for (int p = 0; p < scan->n; p += ENTRIES2)
	{
		const uint8 *codes = scan->codes + (size_t) p * scan->stride;
		__m256i		sum[2 * ENTRIES2];

#pragma GCC unroll 8
		for (int i = 0; i < 2 * ENTRIES2; i++)
			sum[i] = _mm256_setzero_si256();
		for (int r = 0; r < scan->nrows; r++)
		{
			const int8 *row = scan->tile + (size_t) r * ROW_BYTES;
			__m256i		left = _mm256_loadu_si256((const __m256i *) row);
			__m256i		right = _mm256_loadu_si256((const __m256i *) (row + 32));

#pragma GCC unroll 4
			for (int i = 0; i < ENTRIES2; i++)
			{
				__m256i		code;
				int32		four;

				memcpy(&four, codes + (size_t) i * scan->stride + r * PQ_NEAR_BYTES, sizeof(four));
				code = _mm256_set1_epi32(four);
				sum[2 * i] = _mm256_add_epi32(sum[2 * i], _mm256_madd_epi16(_mm256_maddubs_epi16(code, left), ones));
				sum[2 * i + 1] = _mm256_add_epi32(sum[2 * i + 1], _mm256_madd_epi16(_mm256_maddubs_epi16(code, right), ones));
			}
		}
#pragma GCC unroll 4
		for (int i = 0; i < ENTRIES2; i++)
			scan->masks[p + i] = near2(scan, p + i, 0, sum[2 * i]) | near2(scan, p + i, 1, sum[2 * i + 1]) << 8;
	}
}

#endif							/* __x86_64__ */

/* Which bounds are not above 0, given the sums of an entry's products. */
static uint16
near_mask(const PqNearScan *scan, int p, const int32 *sums)
{
	const float *entry = scan->entries + p * PQ_NEAR_TERMS;
	float		bounds[PQ_TILE];
	uint16		mask = 0;

	for (int c = 0; c < PQ_TILE; c++)
		bounds[c] = scan->queries[c] + entry[0];
	for (int i = 1; i < PQ_NEAR_TERMS - 1; i++)
		for (int c = 0; c < PQ_TILE; c++)
			bounds[c] += entry[i] * scan->queries[i * PQ_TILE + c];
	for (int c = 0; c < PQ_TILE; c++)
		bounds[c] += entry[PQ_NEAR_TERMS - 1] * scan->queries[(PQ_NEAR_TERMS - 1) * PQ_TILE + c] * sums[c];
	for (int c = 0; c < PQ_TILE; c++)
		mask |= (uint16) !(bounds[c] > 0) << c;
	return mask;
}

/* The same for any machine. */
void
pq_near_portable(const PqNearScan *scan)
{
	for (int p = 0; p < scan->n; p++)
	{
		const uint8 *code = scan->codes + (size_t) p * scan->stride;
		int32		sums[PQ_TILE] = {0};

		for (int r = 0; r < scan->nrows; r++, code += PQ_NEAR_BYTES)
			for (int c = 0; c < PQ_TILE; c++)
			{
				const int8 *four = scan->tile + (size_t) r * ROW_BYTES + c * PQ_NEAR_BYTES;

				sums[c] += code[0] * four[0] + code[1] * four[1] + code[2] * four[2] + code[3] * four[3];
			}
		scan->masks[p] = near_mask(scan, p, sums);
	}
}

#if defined(__aarch64__)

#include <arm_neon.h>

/* Vectors of four sums to a tile. */
#define PARTS (PQ_TILE / 4)
#define ENTRIES 4

/*
 * There is no product of bytes with and without signs, so 128 is taken off from
 * codes, and added again by what the bytes of each column sum up to.
 */
void
pq_near_neon(const PqNearScan *scan)
{
	const uint8x16_t flip = vdupq_n_u8(0x80);
	const int8x16_t ones = vdupq_n_s8(1);
	int32x4_t	columns[PARTS];

	for (int i = 0; i < PARTS; i++)
		columns[i] = vdupq_n_s32(0);
	for (int r = 0; r < scan->nrows; r++)
		for (int i = 0; i < PARTS; i++)
		{
			int8x16_t	row = vld1q_s8(scan->tile + (size_t) r * ROW_BYTES + i * 16);

			columns[i] = vpadalq_s16(columns[i], vpaddq_s16(vmull_s8(vget_low_s8(row), vget_low_s8(ones)),
															vmull_high_s8(row, ones)));
		}
	for (int p = 0; p < scan->n; p += ENTRIES)
	{
		const uint8 *codes = scan->codes + (size_t) p * scan->stride;
		int32x4_t	sum[ENTRIES * PARTS];

#pragma GCC unroll 16
		for (int i = 0; i < ENTRIES * PARTS; i++)
			sum[i] = vshlq_n_s32(columns[i % PARTS], 7);
		for (int r = 0; r < scan->nrows; r++)
		{
			int8x16_t	row[PARTS];

#pragma GCC unroll 4
			for (int i = 0; i < PARTS; i++)
				row[i] = vld1q_s8(scan->tile + (size_t) r * ROW_BYTES + i * 16);
#pragma GCC unroll 4
			for (int e = 0; e < ENTRIES; e++)
			{
				uint32		four;
				int8x16_t	code;

				memcpy(&four, codes + (size_t) e * scan->stride + r * PQ_NEAR_BYTES, sizeof(four));
				code = vreinterpretq_s8_u8(veorq_u8(vreinterpretq_u8_u32(vdupq_n_u32(four)), flip));
				/* two products, each of at most 128 * 127, fit in 16 bits */
#pragma GCC unroll 4
				for (int i = 0; i < PARTS; i++)
					sum[e * PARTS + i] = vpadalq_s16(sum[e * PARTS + i],
													 vpaddq_s16(vmull_s8(vget_low_s8(row[i]), vget_low_s8(code)),
																vmull_high_s8(row[i], code)));
			}
		}
		for (int e = 0; e < ENTRIES; e++)
		{
			int32		sums[PQ_TILE];

			for (int i = 0; i < PARTS; i++)
				vst1q_s32(sums + i * 4, sum[e * PARTS + i]);
			scan->masks[p + e] = near_mask(scan, p + e, sums);
		}
	}
}

#endif							/* __aarch64__ */
