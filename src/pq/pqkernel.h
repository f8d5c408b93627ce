/*
 * pqkernel.h
 *		The inner loops of the pq index, chosen once per process.
 *
 * Shapes.  A *tile* is 16 columns of numbers stored row by row: tile[j * 16 + c]
 * is dimension j of column c; the columns are centroids.  A *block* is 32
 * vectors' codes.  Four subvectors make a *quad* of 64 bytes; byte v * 4 + s of
 * it holds the codes of subvector s of vector v (low half) and of vector v + 16
 * (high half).  A lookup table has 64 bytes per quad: entry s * 16 + code.
 */
#ifndef PQ_KERNEL_H
#define PQ_KERNEL_H

#define PQ_TILE 16
#define PQ_BLOCK 32
#define PQ_QUAD_BYTES 64

/* What scanning a page's blocks needs. */
typedef struct PqBlockScan
{
	const uint8 *codes;			/* of the first block */
	const uint8 *terms;			/* 32 bytes per block */
	int			nblocks;
	int			nquads;
	const uint8 *table;			/* nquads * 64 bytes, 64-aligned */
	int32		term_factor;	/* 8 fractional bits, below 32768 */
	int32		limit;			/* vectors at most this far are wanted */
	uint32	   *masks;			/* out: wanted vectors per block */
	int32	   *sums;			/* out: 32 per block, where its mask is not 0 */
} PqBlockScan;

/*
 * Bounds of the distances of entries and the queries of a tile, of which the columns
 * are bytes: tile[r * 64 + c * 4 + i] is dimension r * 4 + i of column c.  With
 * sum, that of the products of an entry's bytes and a column's, a bound is
 *
 * queries[c] + entry[0] + the sum over 0 < i < 5 of entry[i] * queries[i * 16 + c]
 * + entry[5] * queries[5 * 16 + c] * sum.
 */
#define PQ_NEAR_BYTES 4
#define PQ_NEAR_TERMS 6
/* Codes, entries and masks have room for a multiple of so many. */
#define PQ_NEAR_ENTRIES 8

typedef struct PqNearScan
{
	const uint8 *codes;			/* [n][stride] */
	size_t		stride;
	int			n;
	int			nrows;			/* of the tile, of four dimensions each */
	const int8 *tile;
	const float *entries;		/* [n][PQ_NEAR_TERMS] */
	const float *queries;		/* [PQ_NEAR_TERMS][16] */
	uint16	   *masks;			/* out: per entry, the columns whose bounds
								 * are not above 0 */
} PqNearScan;

typedef struct PqKernels
{
	const char *name;

	/* see PqNearScan; a column's bytes are from -near_most to near_most */
	void		(*near_masks) (const PqNearScan *scan);
	int			near_most;

	/*
	 * acc[p * 16 + c] += sum over j < dims of x[p * stride + j] * tile[j * 16
	 * + c], for n points.  What is said of a point does not depend on how
	 * many come with it, but with a stride of 0 sums may be added in another
	 * order.
	 */
	void		(*tile_dots) (const float *x, size_t stride, int n,
							  const float *tile, int dims, float *acc);

	/*
	 * The same for the sum of (x - tile)^2: what is near is told apart
	 * however far both are from the origin.
	 */
	void		(*tile_l2) (const float *x, size_t stride, int n,
							const float *tile, int dims, float *acc);

	/*
	 * Score n points against the columns of ntiles tiles, score = bias[t * 16
	 * + c] + squared distance.  Where a score is less than best[p * 16 + c],
	 * that becomes it, and index[p * 16 + c] the number of the tile.
	 */
	void		(*tiles_best) (const float *const *x, int n, const float *tiles,
							   int ntiles, int dims, const float *bias,
							   float *best, int32 *index);

	/*
	 * Of each of n rows of 16 scores the least, and where it is: numbers[p *
	 * 16 + c] * 16 + c.  Of equal scores the lowest such place counts,
	 * whatever the kernel.  Scores are no NaNs.
	 */
	void		(*tile_least) (const float *scores, const int32 *numbers, int n,
							   float *least, int32 *place);

	/* see PqBlockScan; sum = table entries + (term * term_factor) >> 8 */
	void		(*scan_blocks) (const PqBlockScan *scan);

	/* sum of weight * (query - low - step * code)^2, and of query * code */
	float		(*code_l2) (const float *query, const float *weight, float low, float step,
							const uint8 *code, int dims);
	float		(*code_dot) (const float *query, const uint8 *code, int dims);

	float		(*dot) (const float *a, const float *b, int dims);

	/* sum of (a - b)^2 */
	float		(*l2) (const float *a, const float *b, int dims);

	void		(*half_to_float) (const uint16 *in, float *out, int dims);
} PqKernels;

extern const PqKernels *pq_kernels;

extern void pq_kernels_init(void);
extern const PqKernels *const *pq_kernels_all(int *n);

/* pqkernel_near.c */
#define PQ_NEAR_MOST 127
#define PQ_NEAR_MOST_AVX2 63
extern void pq_near_portable(const PqNearScan *scan);
#if defined(__x86_64__)
extern void pq_near_avx2(const PqNearScan *scan);
extern void pq_near_avx512(const PqNearScan *scan);
#elif defined(__aarch64__)
extern void pq_near_neon(const PqNearScan *scan);
#endif

extern const PqKernels pq_kernels_portable;
#if defined(__x86_64__)
extern const PqKernels pq_kernels_avx2;
extern const PqKernels pq_kernels_avx512;
#elif defined(__aarch64__)
extern const PqKernels pq_kernels_neon;
#endif

#endif							/* PQ_KERNEL_H */
