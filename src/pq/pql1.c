/*
 * pql1.c
 *		Taxicab distances: sums of absolute differences.
 *
 * Lists and codes know Euclidean distances.  A row at a taxicab distance from the
 * query is looked for as if it was at the Euclidean one that neighbours at such a
 * distance have, which depends on how many coordinates differ much: each search takes
 * that from the nearest that it has found, and before, what calibration has measured.
 * What is wrong with it for a single row the rule allows for, since calibration judges
 * its neighbours by the same number.  Candidates are ranked by taxicab distances.
 *
 * The loops are written so that a compiler makes vectors of them, once for each
 * kind of processor.
 */
#include "postgres.h"

#include <math.h>

#include "index/cpu.h"
#include "pq/pq.h"

/* Sums that are kept apart, so that they can be added side by side. */
#define SUMS 16

typedef struct Loops
{
	float		(*points) (const float *a, const float *b, int dims);
	float		(*code) (const float *query, const float *weight, float low, float step, const uint8 *code, int dims);
} Loops;

static inline float
total(const float *sums)
{
	float		sum = 0;

	for (int i = 0; i < SUMS; i++)
		sum += sums[i];
	return sum;
}

static pg_attribute_always_inline float
points_loop(const float *a, const float *b, int dims)
{
	float		sums[SUMS] = {0};
	int			j = 0;

	for (; j + SUMS <= dims; j += SUMS)
		for (int i = 0; i < SUMS; i++)
			sums[i] += fabsf(a[j + i] - b[j + i]);
	for (; j < dims; j++)
		sums[j % SUMS] += fabsf(a[j] - b[j]);
	return total(sums);
}

static pg_attribute_always_inline float
code_loop(const float *query, const float *weight, float low, float step, const uint8 *code, int dims)
{
	float		sums[SUMS] = {0};
	int			j = 0;

	for (; j + SUMS <= dims; j += SUMS)
		for (int i = 0; i < SUMS; i++)
			sums[i] += weight[j + i] * fabsf(query[j + i] - low - step * (float) code[j + i]);
	for (; j < dims; j++)
		sums[j % SUMS] += weight[j] * fabsf(query[j] - low - step * (float) code[j]);
	return total(sums);
}

#define LOOPS(name, attribute) \
	attribute static float \
	points_##name(const float *a, const float *b, int dims) \
	{ \
		return points_loop(a, b, dims); \
	} \
	attribute static float \
	code_##name(const float *query, const float *weight, float low, float step, const uint8 *code, int dims) \
	{ \
		return code_loop(query, weight, low, step, code, dims); \
	} \
	static const Loops name##_loops = {points_##name, code_##name};

LOOPS(portable,)
#if defined(__x86_64__)
LOOPS(avx2, __attribute__((target("avx2,fma"))))
LOOPS(avx512, __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,prefer-vector-width=512"))))
#endif

static const Loops *
loops_for(IxCpuLevel level)
{
	switch (level)
	{
#if defined(__x86_64__)
		case IX_CPU_AVX2:
			return &avx2_loops;
		case IX_CPU_AVX512:
			return &avx512_loops;
#endif
		default:
			return &portable_loops;
	}
}

static const Loops *
loops(void)
{
	static const Loops *chosen = NULL;

	if (!chosen)
		chosen = loops_for(ix_cpu_level());
	return chosen;
}

/*
 * The taxicab distance of two points.
 */
float
pq_l1(const float *a, const float *b, int dims)
{
	return loops()->points(a, b, dims);
}

/*
 * That of a query and a refine code, both in units of the refine codes, which
 * weight tells.
 */
float
pq_l1_code(const float *query, const float *weight, float low, float step, const uint8 *code, int dims)
{
	return loops()->code(query, weight, low, step, code, dims);
}

/*
 * The squared Euclidean distance of what is at a taxicab distance of one.  As long
 * as it was not measured: if coordinates differ as a normal distribution makes them.
 */
double
pq_l1_unit(const PqMetaPageData *meta, int space_dims)
{
	return meta->taxicab > 0 ? meta->taxicab : M_PI / 2 / space_dims;
}

/*
 * Do the loops for this machine's processors agree?  Returns the largest relative
 * difference.
 */
double
pq_l1_disagreement(void)
{
	float		a[131];
	float		b[131];
	uint8		code[131];
	double		largest = 0;

	for (int j = 0; j < (int) lengthof(a); j++)
	{
		a[j] = (j * 37 % 101 - 50) / 7.0f;
		b[j] = (j * 53 % 97 + 1) / 9.0f;
		code[j] = j * 91 % 256;
	}
	for (int level = IX_CPU_PORTABLE; level <= IX_CPU_NEON; level++)
	{
		if (!ix_cpu_has(level))
			continue;
		for (int dims = 1; dims <= (int) lengthof(a); dims++)
		{
			const Loops *some = loops_for(level);
			double		exact = 0;
			double		coded = 0;

			for (int j = 0; j < dims; j++)
			{
				exact += fabs((double) a[j] - b[j]);
				coded += b[j] * fabs((double) a[j] - 0.5 - 0.03125 * code[j]);
			}
			largest = Max(largest, fabs(some->points(a, b, dims) - exact) / exact);
			largest = Max(largest, fabs(some->code(a, b, 0.5f, 0.03125f, code, dims) - coded) / coded);
		}
	}
	return largest;
}
