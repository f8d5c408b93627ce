/*
 * pqkernel_x86.c
 *		Kernels for AVX-512 (with VBMI and VNNI) and for AVX2 with FMA.
 *
 * The functions carry their instruction sets as attributes, so the rest of the
 * library runs on any x86-64.
 *
 * scan_blocks with AVX-512 looks 64 codes up by one byte permutation (vpermb)
 * in a register that holds the tables of four subvectors, and adds the four
 * values of each vector by one dot product with ones (vpdpbusd).  Two blocks go
 * together, so that a table is loaded once for both and four chains of
 * additions overlap.  AVX2 has no permutation across 64 bytes: it transposes
 * each quad so that a shuffle's 16 bytes belong to one subvector.
 */
#include "postgres.h"

#include "pq/pqkernel.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define AVX2 __attribute__((target("avx2,fma,f16c")))
#define AVX2_INLINE AVX2 static inline __attribute__((always_inline))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vnni,avx2,fma,f16c")))
#define AVX512_INLINE AVX512 static inline __attribute__((always_inline))

/* How many points are compared with a tile at once. */
#define POINTS512 8
#define POINTS2 4

/* Add a product, or the square of a difference. */
AVX512_INLINE __m512
add512(float x, __m512 row, __m512 sum, bool l2)
{
	__m512		value = _mm512_set1_ps(x);
	__m512		d;

	if (!l2)
		return _mm512_fmadd_ps(value, row, sum);
	d = _mm512_sub_ps(value, row);
	return _mm512_fmadd_ps(d, d, sum);
}

AVX512_INLINE void
sums512(const float *x, size_t stride, int n, const float *tile, int dims, __m512 * sum, bool l2)
{
	for (int j = 0; j < dims; j++)
	{
		__m512		row = _mm512_loadu_ps(tile + (size_t) j * PQ_TILE);

#pragma GCC unroll 8
		for (int p = 0; p < n; p++)
			sum[p] = add512(x[p * stride + j], row, sum[p], l2);
	}
}

/* One point: four sums, since one would wait for itself. */
AVX512_INLINE __m512
sum512_one(const float *x, const float *tile, int dims, __m512 sum, bool l2)
{
	__m512		s1 = _mm512_setzero_ps();
	__m512		s2 = _mm512_setzero_ps();
	__m512		s3 = _mm512_setzero_ps();
	int			j = 0;

	for (; j + 4 <= dims; j += 4)
	{
		const float *row = tile + (size_t) j * PQ_TILE;

		sum = add512(x[j], _mm512_loadu_ps(row), sum, l2);
		s1 = add512(x[j + 1], _mm512_loadu_ps(row + 16), s1, l2);
		s2 = add512(x[j + 2], _mm512_loadu_ps(row + 32), s2, l2);
		s3 = add512(x[j + 3], _mm512_loadu_ps(row + 48), s3, l2);
	}
	for (; j < dims; j++)
		sum = add512(x[j], _mm512_loadu_ps(tile + (size_t) j * PQ_TILE), sum, l2);
	return _mm512_add_ps(_mm512_add_ps(sum, s1), _mm512_add_ps(s2, s3));
}

AVX512_INLINE void
tile512(const float *x, size_t stride, int n, const float *tile, int dims, float *acc, bool l2)
{
	__m512		sum[POINTS512];
	int			p = 0;

	for (; p + POINTS512 <= n; p += POINTS512)
	{
		for (int i = 0; i < POINTS512; i++)
			sum[i] = _mm512_loadu_ps(acc + (p + i) * PQ_TILE);
		sums512(x + p * stride, stride, POINTS512, tile, dims, sum, l2);
		for (int i = 0; i < POINTS512; i++)
			_mm512_storeu_ps(acc + (p + i) * PQ_TILE, sum[i]);
	}
	for (; p < n; p++)
	{
		sum[0] = _mm512_loadu_ps(acc + p * PQ_TILE);
		if (stride == 0)
			sum[0] = sum512_one(x, tile, dims, sum[0], l2);
		else
			sums512(x + p * stride, stride, 1, tile, dims, sum, l2);
		_mm512_storeu_ps(acc + p * PQ_TILE, sum[0]);
	}
}

AVX512 static void
avx512_tile_dots(const float *x, size_t stride, int n, const float *tile, int dims, float *acc)
{
	tile512(x, stride, n, tile, dims, acc, false);
}

AVX512 static void
avx512_tile_l2(const float *x, size_t stride, int n, const float *tile, int dims, float *acc)
{
	tile512(x, stride, n, tile, dims, acc, true);
}

AVX512_INLINE void
keep_best512(__m512 sum, __m512 bias, __m512i number, float *best, int32 *index)
{
	__m512		score = _mm512_add_ps(sum, bias);
	__mmask16	less = _mm512_cmp_ps_mask(score, _mm512_loadu_ps(best), _CMP_LT_OQ);

	_mm512_mask_storeu_ps(best, less, score);
	_mm512_mask_storeu_epi32(index, less, number);
}

/*
 * Two tiles at once, so that a point's value is loaded once for both.  A point's
 * sums are added in the same order whether it comes alone or with others, so
 * that what it is assigned to does not depend on its neighbours.
 */
AVX512_INLINE void
pair512(const float *const *x, const float *tile, int dims,
		const float *bias, int32 number, float *best, int32 *index)
{
	const float *tile1 = tile + (size_t) dims * PQ_TILE;
	__m512		sum0[POINTS512];
	__m512		sum1[POINTS512];

#pragma GCC unroll 8
	for (int p = 0; p < POINTS512; p++)
		sum0[p] = sum1[p] = _mm512_setzero_ps();
	for (int j = 0; j < dims; j++)
	{
		__m512		row0 = _mm512_loadu_ps(tile + (size_t) j * PQ_TILE);
		__m512		row1 = _mm512_loadu_ps(tile1 + (size_t) j * PQ_TILE);

#pragma GCC unroll 8
		for (int p = 0; p < POINTS512; p++)
		{
			sum0[p] = add512(x[p][j], row0, sum0[p], true);
			sum1[p] = add512(x[p][j], row1, sum1[p], true);
		}
	}
#pragma GCC unroll 8
	for (int p = 0; p < POINTS512; p++)
	{
		keep_best512(sum0[p], _mm512_loadu_ps(bias), _mm512_set1_epi32(number),
					 best + p * PQ_TILE, index + p * PQ_TILE);
		keep_best512(sum1[p], _mm512_loadu_ps(bias + PQ_TILE), _mm512_set1_epi32(number + 1),
					 best + p * PQ_TILE, index + p * PQ_TILE);
	}
}

AVX512_INLINE void
single512(const float *const *x, const float *tile, int dims,
		  const float *bias, int32 number, float *best, int32 *index)
{
	__m512		sum[POINTS512];

#pragma GCC unroll 8
	for (int p = 0; p < POINTS512; p++)
		sum[p] = _mm512_setzero_ps();
	for (int j = 0; j < dims; j++)
	{
		__m512		row = _mm512_loadu_ps(tile + (size_t) j * PQ_TILE);

#pragma GCC unroll 8
		for (int p = 0; p < POINTS512; p++)
			sum[p] = add512(x[p][j], row, sum[p], true);
	}
#pragma GCC unroll 8
	for (int p = 0; p < POINTS512; p++)
		keep_best512(sum[p], _mm512_loadu_ps(bias), _mm512_set1_epi32(number),
					 best + p * PQ_TILE, index + p * PQ_TILE);
}

AVX512 static void
avx512_tiles_best(const float *const *x, int n, const float *tiles, int ntiles,
				  int dims, const float *bias, float *best, int32 *index)
{
	int			whole = n - n % POINTS512;
	const float *rest[POINTS512];
	float		rest_best[POINTS512 * PQ_TILE];
	int32		rest_index[POINTS512 * PQ_TILE];

	/* What is left over, filled up with its last: one alone takes as long. */
	for (int i = 0; i < POINTS512 && whole < n; i++)
		rest[i] = x[Min(whole + i, n - 1)];
	memset(rest_best, 0, sizeof(rest_best));
	memcpy(rest_best, best + whole * PQ_TILE, sizeof(float) * PQ_TILE * (n - whole));
	memcpy(rest_index, index + whole * PQ_TILE, sizeof(int32) * PQ_TILE * (n - whole));
	for (int t = 0; t < ntiles; t += 2)
	{
		const float *tile = tiles + (size_t) t * dims * PQ_TILE;
		const float *b = bias + t * PQ_TILE;

		for (int p = 0; p < whole; p += POINTS512)
			if (t + 1 < ntiles)
				pair512(x + p, tile, dims, b, t, best + p * PQ_TILE, index + p * PQ_TILE);
			else
				single512(x + p, tile, dims, b, t, best + p * PQ_TILE, index + p * PQ_TILE);
		if (whole < n && t + 1 < ntiles)
			pair512(rest, tile, dims, b, t, rest_best, rest_index);
		else if (whole < n)
			single512(rest, tile, dims, b, t, rest_best, rest_index);
	}
	memcpy(best + whole * PQ_TILE, rest_best, sizeof(float) * PQ_TILE * (n - whole));
	memcpy(index + whole * PQ_TILE, rest_index, sizeof(int32) * PQ_TILE * (n - whole));
}

AVX512 static void
avx512_tile_least(const float *scores, const int32 *numbers, int n,
				  float *least, int32 *place)
{
	const __m512i column = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);

	for (int p = 0; p < n; p++)
	{
		__m512		s = _mm512_loadu_ps(scores + p * PQ_TILE);
		__m512i		at = _mm512_loadu_si512(numbers + p * PQ_TILE);
		float		lowest = _mm512_reduce_min_ps(s);
		__mmask16	equal = _mm512_cmp_ps_mask(s, _mm512_set1_ps(lowest), _CMP_EQ_OQ);

		at = _mm512_or_si512(_mm512_slli_epi32(at, 4), column);
		least[p] = lowest;
		place[p] = _mm512_mask_reduce_min_epi32(equal, at);
	}
}

/* Add one quad's values to the sums of 32 vectors. */
AVX512_INLINE void
quad512(__m512i codes, __m512i table, __m512i *low, __m512i *high)
{
	const __m512i nibble = _mm512_set1_epi8(0x0f);
	const __m512i entry = _mm512_set1_epi32(0x30201000);
	const __m512i ones = _mm512_set1_epi8(1);

	/* (codes & nibble) | entry in one instruction */
	__m512i		lo = _mm512_ternarylogic_epi32(entry, codes, nibble, 0xf8);
	__m512i		hi = _mm512_ternarylogic_epi32(entry, _mm512_srli_epi16(codes, 4), nibble, 0xf8);

	*low = _mm512_dpbusd_epi32(*low, _mm512_permutexvar_epi8(lo, table), ones);
	*high = _mm512_dpbusd_epi32(*high, _mm512_permutexvar_epi8(hi, table), ones);
}

AVX512 static inline
__attribute__((always_inline))
__m512i
			term512(const uint8 *terms, __m512i factor)
{
	__m512i		t = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *) terms));

	return _mm512_srai_epi32(_mm512_madd_epi16(t, factor), 8);
}

AVX512_INLINE void
emit512(const PqBlockScan *scan, int b, __m512i low, __m512i high, __m512i limit)
{
	uint32		mask = (uint32) _mm512_cmple_epi32_mask(low, limit) |
		(uint32) _mm512_cmple_epi32_mask(high, limit) << 16;

	scan->masks[b] = mask;
	if (mask)
	{
		_mm512_storeu_si512(scan->sums + b * PQ_BLOCK, low);
		_mm512_storeu_si512(scan->sums + b * PQ_BLOCK + 16, high);
	}
}

AVX512 static void
avx512_scan_blocks(const PqBlockScan *scan)
{
	size_t		size = (size_t) scan->nquads * PQ_QUAD_BYTES;
	__m512i		factor = _mm512_set1_epi32(scan->term_factor);
	__m512i		limit = _mm512_set1_epi32(scan->limit);
	int			b = 0;

	for (; b + 2 <= scan->nblocks; b += 2)
	{
		const uint8 *codes = scan->codes + b * size;
		const uint8 *terms = scan->terms + b * PQ_BLOCK;
		__m512i		l0 = term512(terms, factor);
		__m512i		h0 = term512(terms + 16, factor);
		__m512i		l1 = term512(terms + 32, factor);
		__m512i		h1 = term512(terms + 48, factor);

		for (size_t at = 0; at < size; at += PQ_QUAD_BYTES)
		{
			__m512i		table = _mm512_load_si512(scan->table + at);

			quad512(_mm512_loadu_si512(codes + at), table, &l0, &h0);
			quad512(_mm512_loadu_si512(codes + size + at), table, &l1, &h1);
		}
		emit512(scan, b, l0, h0, limit);
		emit512(scan, b + 1, l1, h1, limit);
	}
	if (b < scan->nblocks)
	{
		const uint8 *codes = scan->codes + b * size;
		__m512i		l0 = term512(scan->terms + b * PQ_BLOCK, factor);
		__m512i		h0 = term512(scan->terms + b * PQ_BLOCK + 16, factor);

		for (size_t at = 0; at < size; at += PQ_QUAD_BYTES)
			quad512(_mm512_loadu_si512(codes + at),
					_mm512_load_si512(scan->table + at), &l0, &h0);
		emit512(scan, b, l0, h0, limit);
	}
}

AVX512_INLINE __m512
codes512(const uint8 *code)
{
	return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *) code)));
}

AVX512_INLINE __m512
codes512_tail(const uint8 *code, __mmask16 m)
{
	return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(m, code)));
}

AVX512 static float
avx512_code_l2(const float *query, const float *weight, float low, float step,
			   const uint8 *code, int dims)
{
	const		__m512 lows = _mm512_set1_ps(low);
	const		__m512 steps = _mm512_set1_ps(step);
	__m512		s0 = _mm512_setzero_ps();
	__m512		s1 = _mm512_setzero_ps();
	int			j = 0;

	for (; j + 32 <= dims; j += 32)
	{
		__m512		d0 = _mm512_fnmadd_ps(steps, codes512(code + j), _mm512_sub_ps(_mm512_loadu_ps(query + j), lows));
		__m512		d1 = _mm512_fnmadd_ps(steps, codes512(code + j + 16), _mm512_sub_ps(_mm512_loadu_ps(query + j + 16), lows));

		s0 = _mm512_fmadd_ps(_mm512_mul_ps(d0, d0), _mm512_loadu_ps(weight + j), s0);
		s1 = _mm512_fmadd_ps(_mm512_mul_ps(d1, d1), _mm512_loadu_ps(weight + j + 16), s1);
	}
	for (; j < dims; j += 16)
	{
		__mmask16	m = dims - j >= 16 ? 0xffff : (__mmask16) ((1u << (dims - j)) - 1);
		__m512		d0 = _mm512_fnmadd_ps(steps, codes512_tail(code + j, m),
										  _mm512_sub_ps(_mm512_maskz_loadu_ps(m, query + j), lows));

		s0 = _mm512_fmadd_ps(_mm512_mul_ps(d0, d0), _mm512_maskz_loadu_ps(m, weight + j), s0);
	}
	return _mm512_reduce_add_ps(_mm512_add_ps(s0, s1));
}

AVX512 static float
avx512_code_dot(const float *query, const uint8 *code, int dims)
{
	__m512		s0 = _mm512_setzero_ps();

	for (int j = 0; j < dims; j += 16)
	{
		__mmask16	m = dims - j >= 16 ? 0xffff : (__mmask16) ((1u << (dims - j)) - 1);

		s0 = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(m, query + j),
							 codes512_tail(code + j, m), s0);
	}
	return _mm512_reduce_add_ps(s0);
}

AVX512 static float
avx512_dot(const float *a, const float *b, int dims)
{
	__m512		s0 = _mm512_setzero_ps();

	for (int j = 0; j < dims; j += 16)
	{
		__mmask16	m = dims - j >= 16 ? 0xffff : (__mmask16) ((1u << (dims - j)) - 1);

		s0 = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(m, a + j), _mm512_maskz_loadu_ps(m, b + j), s0);
	}
	return _mm512_reduce_add_ps(s0);
}

AVX512 static float
avx512_l2(const float *a, const float *b, int dims)
{
	__m512		s0 = _mm512_setzero_ps();
	__m512		s1 = _mm512_setzero_ps();
	int			j = 0;

	for (; j + 32 <= dims; j += 32)
	{
		__m512		d0 = _mm512_sub_ps(_mm512_loadu_ps(a + j), _mm512_loadu_ps(b + j));
		__m512		d1 = _mm512_sub_ps(_mm512_loadu_ps(a + j + 16), _mm512_loadu_ps(b + j + 16));

		s0 = _mm512_fmadd_ps(d0, d0, s0);
		s1 = _mm512_fmadd_ps(d1, d1, s1);
	}
	for (; j < dims; j += 16)
	{
		__mmask16	m = dims - j >= 16 ? 0xffff : (__mmask16) ((1u << (dims - j)) - 1);
		__m512		d = _mm512_sub_ps(_mm512_maskz_loadu_ps(m, a + j), _mm512_maskz_loadu_ps(m, b + j));

		s0 = _mm512_fmadd_ps(d, d, s0);
	}
	return _mm512_reduce_add_ps(_mm512_add_ps(s0, s1));
}

AVX2 static void
avx2_half_to_float(const uint16 *in, float *out, int dims)
{
	int			j = 0;

	for (; j + 8 <= dims; j += 8)
		_mm256_storeu_ps(out + j, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *) (in + j))));
	pq_kernels_portable.half_to_float(in + j, out + j, dims - j);
}

AVX2_INLINE __m256
add2(__m256 value, __m256 row, __m256 sum, bool l2)
{
	__m256		d;

	if (!l2)
		return _mm256_fmadd_ps(value, row, sum);
	d = _mm256_sub_ps(value, row);
	return _mm256_fmadd_ps(d, d, sum);
}

AVX2_INLINE void
sums2(const float *x, size_t stride, int n, const float *tile, int dims, __m256 * sum, bool l2)
{
	for (int j = 0; j < dims; j++)
	{
		__m256		left = _mm256_loadu_ps(tile + (size_t) j * PQ_TILE);
		__m256		right = _mm256_loadu_ps(tile + (size_t) j * PQ_TILE + 8);

#pragma GCC unroll 4
		for (int p = 0; p < n; p++)
		{
			__m256		value = _mm256_broadcast_ss(x + p * stride + j);

			sum[2 * p] = add2(value, left, sum[2 * p], l2);
			sum[2 * p + 1] = add2(value, right, sum[2 * p + 1], l2);
		}
	}
}

AVX2_INLINE void
tile2(const float *x, size_t stride, int n, const float *tile, int dims, float *acc, bool l2)
{
	int			p = 0;

	for (; p + POINTS2 <= n; p += POINTS2)
	{
		__m256		sum[2 * POINTS2];

		for (int i = 0; i < 2 * POINTS2; i++)
			sum[i] = _mm256_loadu_ps(acc + p * PQ_TILE + i * 8);
		sums2(x + p * stride, stride, POINTS2, tile, dims, sum, l2);
		for (int i = 0; i < 2 * POINTS2; i++)
			_mm256_storeu_ps(acc + p * PQ_TILE + i * 8, sum[i]);
	}
	for (; p < n; p++)
	{
		__m256		sum[2];

		sum[0] = _mm256_loadu_ps(acc + p * PQ_TILE);
		sum[1] = _mm256_loadu_ps(acc + p * PQ_TILE + 8);
		sums2(x + p * stride, stride, 1, tile, dims, sum, l2);
		_mm256_storeu_ps(acc + p * PQ_TILE, sum[0]);
		_mm256_storeu_ps(acc + p * PQ_TILE + 8, sum[1]);
	}
}

AVX2 static void
avx2_tile_dots(const float *x, size_t stride, int n, const float *tile, int dims, float *acc)
{
	tile2(x, stride, n, tile, dims, acc, false);
}

AVX2 static void
avx2_tile_l2(const float *x, size_t stride, int n, const float *tile, int dims, float *acc)
{
	tile2(x, stride, n, tile, dims, acc, true);
}

AVX2_INLINE void
keep_best2(__m256 sum, const float *bias, int32 number, float *best, int32 *index)
{
	__m256		score = _mm256_add_ps(sum, _mm256_loadu_ps(bias));
	__m256		old = _mm256_loadu_ps(best);
	__m256		less = _mm256_cmp_ps(score, old, _CMP_LT_OQ);
	__m256i		old_index = _mm256_loadu_si256((const __m256i *) index);

	_mm256_storeu_ps(best, _mm256_blendv_ps(old, score, less));
	_mm256_storeu_si256((__m256i *) index,
						_mm256_blendv_epi8(old_index, _mm256_set1_epi32(number),
										   _mm256_castps_si256(less)));
}

/* Some points against one tile. */
AVX2_INLINE void
best2(const float *const *x, int n, const float *tile, int dims,
	  const float *bias, int32 number, float *best, int32 *index)
{
	__m256		sum[2 * POINTS2];

#pragma GCC unroll 8
	for (int i = 0; i < 2 * n; i++)
		sum[i] = _mm256_setzero_ps();
	for (int j = 0; j < dims; j++)
	{
		__m256		left = _mm256_loadu_ps(tile + (size_t) j * PQ_TILE);
		__m256		right = _mm256_loadu_ps(tile + (size_t) j * PQ_TILE + 8);

#pragma GCC unroll 4
		for (int p = 0; p < n; p++)
		{
			__m256		value = _mm256_broadcast_ss(x[p] + j);

			sum[2 * p] = add2(value, left, sum[2 * p], true);
			sum[2 * p + 1] = add2(value, right, sum[2 * p + 1], true);
		}
	}
#pragma GCC unroll 8
	for (int i = 0; i < 2 * n; i++)
		keep_best2(sum[i], bias + (i & 1) * 8, number, best + i * 8, index + i * 8);
}

AVX2 static void
avx2_tiles_best(const float *const *x, int n, const float *tiles, int ntiles,
				int dims, const float *bias, float *best, int32 *index)
{
	for (int t = 0; t < ntiles; t++)
	{
		const float *tile = tiles + (size_t) t * dims * PQ_TILE;
		int			p = 0;

		for (; p + POINTS2 <= n; p += POINTS2)
			best2(x + p, POINTS2, tile, dims, bias + t * PQ_TILE, t, best + p * PQ_TILE, index + p * PQ_TILE);
		for (; p < n; p++)
			best2(x + p, 1, tile, dims, bias + t * PQ_TILE, t, best + p * PQ_TILE, index + p * PQ_TILE);
	}
}

AVX2 static void
avx2_tile_least(const float *scores, const int32 *numbers, int n,
				float *least, int32 *place)
{
	const		__m256i column = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
	const		__m256i none = _mm256_set1_epi32(PG_INT32_MAX);

	for (int p = 0; p < n; p++)
	{
		__m256		s0 = _mm256_loadu_ps(scores + p * PQ_TILE);
		__m256		s1 = _mm256_loadu_ps(scores + p * PQ_TILE + 8);
		__m256i		a0 = _mm256_loadu_si256((const __m256i *) (numbers + p * PQ_TILE));
		__m256i		a1 = _mm256_loadu_si256((const __m256i *) (numbers + p * PQ_TILE + 8));
		__m256		low = _mm256_min_ps(s0, s1);
		__m256i		at;

		/* the least in every lane */
		low = _mm256_min_ps(low, _mm256_permute2f128_ps(low, low, 1));
		low = _mm256_min_ps(low, _mm256_permute_ps(low, _MM_SHUFFLE(1, 0, 3, 2)));
		low = _mm256_min_ps(low, _mm256_permute_ps(low, _MM_SHUFFLE(2, 3, 0, 1)));
		a0 = _mm256_or_si256(_mm256_slli_epi32(a0, 4), column);
		a1 = _mm256_add_epi32(_mm256_or_si256(_mm256_slli_epi32(a1, 4), column), _mm256_set1_epi32(8));
		a0 = _mm256_blendv_epi8(none, a0, _mm256_castps_si256(_mm256_cmp_ps(s0, low, _CMP_EQ_OQ)));
		a1 = _mm256_blendv_epi8(none, a1, _mm256_castps_si256(_mm256_cmp_ps(s1, low, _CMP_EQ_OQ)));
		at = _mm256_min_epi32(a0, a1);
		at = _mm256_min_epi32(at, _mm256_permute2x128_si256(at, at, 1));
		at = _mm256_min_epi32(at, _mm256_shuffle_epi32(at, _MM_SHUFFLE(1, 0, 3, 2)));
		at = _mm256_min_epi32(at, _mm256_shuffle_epi32(at, _MM_SHUFFLE(2, 3, 0, 1)));
		least[p] = _mm256_cvtss_f32(low);
		place[p] = _mm256_cvtsi256_si32(at);
	}
}

/*
 * Transpose a quad: out[s] has subvector s of vectors 0..15 (in the bytes' low
 * halves) in some order that is the same for every s and quad; see avx2_order.
 */
AVX2_INLINE void
transpose2(const uint8 *codes, __m256i * out)
{
	const		__m256i by_subvector = _mm256_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15,
														0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
	__m256i		a = _mm256_shuffle_epi8(_mm256_loadu_si256((const __m256i *) codes), by_subvector);
	__m256i		b = _mm256_shuffle_epi8(_mm256_loadu_si256((const __m256i *) (codes + 32)), by_subvector);
	__m256i		lo = _mm256_unpacklo_epi32(a, b);	/* subvectors 0 and 1 */
	__m256i		hi = _mm256_unpackhi_epi32(a, b);	/* subvectors 2 and 3 */

	/* a lane of lo: s0 of v0-3, s0 of v8-11, s1 of v0-3, s1 of v8-11 */
	out[0] = _mm256_permute4x64_epi64(lo, _MM_SHUFFLE(3, 1, 2, 0));
	out[1] = _mm256_permute4x64_epi64(hi, _MM_SHUFFLE(3, 1, 2, 0));
}

/* Vector that stands at each place after transpose2. */
static const uint8 avx2_order[16] = {0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15};

/* Quads whose values can be added in 16 bits: 4 * 255 each. */
#define AVX2_QUADS 64

AVX2 static void
avx2_scan_blocks(const PqBlockScan *scan)
{
	const		__m256i nibble = _mm256_set1_epi8(0x0f);
	const		__m256i low_byte = _mm256_set1_epi16(0x00ff);

	for (int b = 0; b < scan->nblocks; b++)
	{
		const uint8 *codes = scan->codes + (size_t) b * scan->nquads * PQ_QUAD_BYTES;
		int32		sums[PQ_BLOCK] = {0};
		uint32		mask = 0;

		for (int q = 0; q < scan->nquads;)
		{
			/* 16-bit sums of even and odd places, for both halves */
			__m256i		even[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
			__m256i		odd[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
			int			end = Min(scan->nquads, q + AVX2_QUADS);
			uint16		e[2][16];
			uint16		o[2][16];

			for (; q < end; q++)
			{
				const uint8 *table = scan->table + q * PQ_QUAD_BYTES;
				__m256i		pair[2];

				transpose2(codes + q * PQ_QUAD_BYTES, pair);
				for (int i = 0; i < 2; i++)
				{
					__m256i		t = _mm256_load_si256((const __m256i *) (table + i * 32));
					__m256i		half[2];

					half[0] = _mm256_shuffle_epi8(t, _mm256_and_si256(pair[i], nibble));
					half[1] = _mm256_shuffle_epi8(t, _mm256_and_si256(_mm256_srli_epi16(pair[i], 4), nibble));
					for (int h = 0; h < 2; h++)
					{
						even[h] = _mm256_add_epi16(even[h], _mm256_and_si256(half[h], low_byte));
						odd[h] = _mm256_add_epi16(odd[h], _mm256_srli_epi16(half[h], 8));
					}
				}
			}
			for (int h = 0; h < 2; h++)
			{
				_mm256_storeu_si256((__m256i *) e[h], even[h]);
				_mm256_storeu_si256((__m256i *) o[h], odd[h]);
				for (int i = 0; i < 8; i++)
				{
					sums[h * 16 + avx2_order[2 * i]] += e[h][i] + e[h][i + 8];
					sums[h * 16 + avx2_order[2 * i + 1]] += o[h][i] + o[h][i + 8];
				}
			}
		}
		for (int v = 0; v < PQ_BLOCK; v++)
		{
			sums[v] += (scan->terms[b * PQ_BLOCK + v] * scan->term_factor) >> 8;
			mask |= (uint32) (sums[v] <= scan->limit) << v;
		}
		scan->masks[b] = mask;
		if (mask)
			memcpy(scan->sums + b * PQ_BLOCK, sums, sizeof(sums));
	}
}

AVX2 static inline
__attribute__((always_inline))
float
			reduce2(__m256 sum)
{
	__m128		s = _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps(sum, 1));

	s = _mm_add_ps(s, _mm_movehl_ps(s, s));
	s = _mm_add_ss(s, _mm_movehdup_ps(s));
	return _mm_cvtss_f32(s);
}

AVX2_INLINE __m256
codes2(const uint8 *code)
{
	return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *) code)));
}

AVX2 static float
avx2_code_l2(const float *query, const float *weight, float low, float step,
			 const uint8 *code, int dims)
{
	const		__m256 lows = _mm256_set1_ps(low);
	const		__m256 steps = _mm256_set1_ps(step);
	__m256		sum = _mm256_setzero_ps();
	int			j = 0;

	for (; j + 8 <= dims; j += 8)
	{
		__m256		d = _mm256_fnmadd_ps(steps, codes2(code + j), _mm256_sub_ps(_mm256_loadu_ps(query + j), lows));

		sum = _mm256_fmadd_ps(_mm256_mul_ps(d, d), _mm256_loadu_ps(weight + j), sum);
	}
	return reduce2(sum) + pq_kernels_portable.code_l2(query + j, weight + j, low, step, code + j, dims - j);
}

AVX2 static float
avx2_code_dot(const float *query, const uint8 *code, int dims)
{
	__m256		sum = _mm256_setzero_ps();
	int			j = 0;

	for (; j + 8 <= dims; j += 8)
		sum = _mm256_fmadd_ps(_mm256_loadu_ps(query + j), codes2(code + j), sum);
	return reduce2(sum) + pq_kernels_portable.code_dot(query + j, code + j, dims - j);
}

AVX2 static float
avx2_dot(const float *a, const float *b, int dims)
{
	__m256		sum = _mm256_setzero_ps();
	int			j = 0;

	for (; j + 8 <= dims; j += 8)
		sum = _mm256_fmadd_ps(_mm256_loadu_ps(a + j), _mm256_loadu_ps(b + j), sum);
	return reduce2(sum) + pq_kernels_portable.dot(a + j, b + j, dims - j);
}

AVX2 static float
avx2_l2(const float *a, const float *b, int dims)
{
	__m256		sum = _mm256_setzero_ps();
	int			j = 0;

	for (; j + 8 <= dims; j += 8)
	{
		__m256		d = _mm256_sub_ps(_mm256_loadu_ps(a + j), _mm256_loadu_ps(b + j));

		sum = _mm256_fmadd_ps(d, d, sum);
	}
	return reduce2(sum) + pq_kernels_portable.l2(a + j, b + j, dims - j);
}

const PqKernels pq_kernels_avx2 = {
	.name = "avx2",
	.near_masks = pq_near_avx2,
	.near_most = PQ_NEAR_MOST_AVX2,
	.tile_dots = avx2_tile_dots,
	.tile_l2 = avx2_tile_l2,
	.tiles_best = avx2_tiles_best,
	.tile_least = avx2_tile_least,
	.scan_blocks = avx2_scan_blocks,
	.code_l2 = avx2_code_l2,
	.code_dot = avx2_code_dot,
	.dot = avx2_dot,
	.l2 = avx2_l2,
	.half_to_float = avx2_half_to_float,
};

const PqKernels pq_kernels_avx512 = {
	.name = "avx512",
	.near_masks = pq_near_avx512,
	.near_most = PQ_NEAR_MOST,
	.tile_dots = avx512_tile_dots,
	.tile_l2 = avx512_tile_l2,
	.tiles_best = avx512_tiles_best,
	.tile_least = avx512_tile_least,
	.scan_blocks = avx512_scan_blocks,
	.code_l2 = avx512_code_l2,
	.code_dot = avx512_code_dot,
	.dot = avx512_dot,
	.l2 = avx512_l2,
	.half_to_float = avx2_half_to_float,
};

#endif
