/*
 * pqspace.c
 *		Types and metrics: how a value becomes a point of the index space.
 *
 * A dense vector of up to PQ_MAX_INNER dimensions is its own point (of unit
 * length under cosine).  One with more, and any sparse one, is projected: each
 * dimension adds its value, with a sign, to a few coordinates chosen by a hash
 * of its number.  Projection keeps distances about (D. Kane and J. Nelson,
 * Sparser Johnson-Lindenstrauss Transforms), which is good enough to find
 * candidates; their order always comes from exact distances.
 */
#include "postgres.h"

#include <math.h>

#include "access/relation.h"
#include "fmgr.h"
#include "utils/memutils.h"
#include "utils/lsyscache.h"

#include "halfvec.h"
#include "sparsevec.h"
#include "vector.h"

#include "pq/pq.h"

/* Squared lengths that a cosine's operator, which adds floats, can hold. */
#define LEAST_SQUARE 1e-34
#define LARGEST_SQUARE 1e36

/* Coordinates that a projected dimension adds to. */
#define PROJECTION_SPREAD 8

#define SPACE(suffix, t, m, tn, mn) \
	static const PqSpace space_##suffix = {t, m, tn, mn}; \
	PG_FUNCTION_INFO_V1(jflow_pq_##suffix); \
	Datum \
	jflow_pq_##suffix(PG_FUNCTION_ARGS) \
	{ \
		PG_RETURN_POINTER(&space_##suffix); \
	}

SPACE(vector_l2, PQ_TYPE_VECTOR, PQ_METRIC_L2, "vector", "l2")
SPACE(vector_ip, PQ_TYPE_VECTOR, PQ_METRIC_IP, "vector", "ip")
SPACE(vector_cosine, PQ_TYPE_VECTOR, PQ_METRIC_COSINE, "vector", "cosine")
SPACE(halfvec_l2, PQ_TYPE_HALFVEC, PQ_METRIC_L2, "halfvec", "l2")
SPACE(halfvec_ip, PQ_TYPE_HALFVEC, PQ_METRIC_IP, "halfvec", "ip")
SPACE(halfvec_cosine, PQ_TYPE_HALFVEC, PQ_METRIC_COSINE, "halfvec", "cosine")
SPACE(vector_l1, PQ_TYPE_VECTOR, PQ_METRIC_L1, "vector", "l1")
SPACE(halfvec_l1, PQ_TYPE_HALFVEC, PQ_METRIC_L1, "halfvec", "l1")
SPACE(sparsevec_l1, PQ_TYPE_SPARSEVEC, PQ_METRIC_L1, "sparsevec", "l1")
SPACE(sparsevec_l2, PQ_TYPE_SPARSEVEC, PQ_METRIC_L2, "sparsevec", "l2")
SPACE(sparsevec_ip, PQ_TYPE_SPARSEVEC, PQ_METRIC_IP, "sparsevec", "ip")
SPACE(sparsevec_cosine, PQ_TYPE_SPARSEVEC, PQ_METRIC_COSINE, "sparsevec", "cosine")

/*
 * The space of an index's first column; raises if that is no vector.
 */
const PqSpace *
pq_index_space(Relation index)
{
	if (!OidIsValid(index_getprocid(index, 1, PQ_SPACE_PROC)))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("first column of pq index \"%s\" is not a vector",
						RelationGetRelationName(index)),
				 errhint("Name the vector column first and filter columns behind it.")));
	return (const PqSpace *) DatumGetPointer(FunctionCall1(index_getprocinfo(index, 1, PQ_SPACE_PROC),
														   PointerGetDatum(NULL)));
}

/*
 * Dimensions of an index's first column, which its type has to tell.
 */
int
pq_index_dims(Relation index, const PqSpace *space)
{
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(index), 0);
	int32		dims = att->atttypmod;

	/* a domain has them where it is defined */
	(void) getBaseTypeAndTypmod(att->atttypid, &dims);
	if (dims < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("column of pq index \"%s\" does not have dimensions",
						RelationGetRelationName(index)),
				 errhint("Declare the column as %s(n), or index the expression (column::%s(n)).",
						 space->type_name, space->type_name)));
	return dims;
}

/*
 * Dimensions of the index space.  Raises where a projection would be needed that
 * keeps taxicab distances, which there is none of.
 */
int
pq_space_dims(const PqSpace *space, int dims)
{
	if (space->metric == PQ_METRIC_L1)
	{
		if (dims > PQ_MAX_INNER)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("pq indexes of L1 distances have %d dimensions at most, not %d", PQ_MAX_INNER, dims)));
		return dims;
	}
	if (space->type == PQ_TYPE_SPARSEVEC)
		return Min(dims, PQ_SPARSE_INNER);
	return dims > PQ_MAX_INNER ? PQ_PROJECTED : dims;
}

/* A mixing function of 64 bits (the finalizer of MurmurHash3). */
static inline uint64
mix(uint64 x)
{
	x ^= x >> 33;
	x *= UINT64CONST(0xff51afd7ed558ccd);
	x ^= x >> 33;
	x *= UINT64CONST(0xc4ceb9fe1a85ec53);
	return x ^ (x >> 33);
}

/*
 * Where one dimension goes in a projection: the coordinates are cut into
 * PROJECTION_SPREAD ranges, and it is added to one of each, or taken away if that
 * one's number is below zero (less one).
 */
static inline void
find_targets(int dimension, int space_dims, int16 *targets)
{
	uint64		h = mix((uint64) dimension + 1);

	for (int i = 0; i < PROJECTION_SPREAD; i++)
	{
		int			start = space_dims * i / PROJECTION_SPREAD;
		int			width = space_dims * (i + 1) / PROJECTION_SPREAD - start;
		int			target;

		h = mix(h + i);
		target = start + (uint32) (h >> 32) % width;
		targets[i] = (h & 1) ? target : -1 - target;
	}
}

/*
 * What values are multiplied by before they are projected for cosine, which does not
 * ask for lengths: a power of two, so that no vector is taken for zero because floats
 * cannot hold its parts.
 */
static float
projection_boost(const PqSpace *space, const float *values, int n)
{
	float		largest = 0;

	if (space->metric != PQ_METRIC_COSINE)
		return 1;
	for (int i = 0; i < n; i++)
		largest = Max(largest, fabsf(values[i]));
	return largest < ldexpf(1, -64) ? ldexpf(1, 100) : 1;
}

/* Add one dimension's value to the projected point. */
static inline void
project(const int16 *targets, float value, float *out)
{
	/* sums must stay finite; what they are used for is approximate anyway */
	if (fabsf(value) > 1e30f && !isinf(value))
		value = copysignf(1e30f, value);
	for (int i = 0; i < PROJECTION_SPREAD; i++)
	{
		if (targets[i] >= 0)
			out[targets[i]] += value;
		else
			out[-1 - targets[i]] -= value;
	}
}

/*
 * Project a dense vector.  The targets of its dimensions are the same for all of
 * them, so a process finds them once.
 */
static void
project_dense(const PqSpace *space, const float *x, int dims, float *out)
{
	static int16 *targets = NULL;
	static int	known = 0;
	float		boost = projection_boost(space, x, dims);

	if (dims > known)
	{
		int16	   *more = MemoryContextAlloc(TopMemoryContext, sizeof(int16) * PROJECTION_SPREAD * dims);

		for (int j = 0; j < dims; j++)
			find_targets(j, PQ_PROJECTED, more + j * PROJECTION_SPREAD);
		if (targets)
			pfree(targets);
		targets = more;
		known = dims;
	}
	for (int j = 0; j < dims; j++)
		project(targets + j * PROJECTION_SPREAD, x[j] * boost, out);
}

static void
check_dims(int dims, int expected)
{
	if (dims != expected)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("expected %d dimensions, not %d", expected, dims)));
}

/*
 * A value, detoasted: of the dimensions expected and with room for all its
 * elements, so that neither we nor its type's own functions read beyond it.
 */
struct varlena *
pq_detoast(const PqSpace *space, int dims, Datum value)
{
	struct varlena *raw = PG_DETOAST_DATUM(value);
	Size		size = VARSIZE(raw);
	bool		whole = false;

	switch (space->type)
	{
		case PQ_TYPE_VECTOR:
			if (size >= offsetof(Vector, x))
			{
				check_dims(((Vector *) raw)->dim, dims);
				whole = size >= VECTOR_SIZE(dims);
			}
			break;
		case PQ_TYPE_HALFVEC:
			if (size >= offsetof(HalfVector, x))
			{
				check_dims(((HalfVector *) raw)->dim, dims);
				whole = size >= HALFVEC_SIZE(dims);
			}
			break;
		case PQ_TYPE_SPARSEVEC:
			if (size >= offsetof(SparseVector, indices))
			{
				int			nnz = ((SparseVector *) raw)->nnz;

				check_dims(((SparseVector *) raw)->dim, dims);
				whole = nnz >= 0 && nnz <= SPARSEVEC_MAX_NNZ && size >= SPARSEVEC_SIZE(nnz);
			}
			break;
	}
	if (!whole)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("vector is corrupted"),
				 errdetail("It is shorter than its header says.")));
	return raw;
}

/*
 * Scale a point, cut off what is too large, and take the centre off.
 */
static void
place(float *point, int space_dims, double scale, const float *centre, float *lost)
{
	double		rest = 0;
	float		largest = 0;

	for (int j = 0; j < space_dims; j++)
		largest = Max(largest, fabsf(point[j]));
	if (largest > PQ_LARGEST && scale == 1.0)
		for (int j = 0; j < space_dims; j++)
			if (fabsf(point[j]) > PQ_LARGEST)
				point[j] = copysignf(PQ_LARGEST, point[j]);
	if (!centre && scale == 1.0)
	{
		*lost = largest > PQ_LARGEST ? INFINITY : 0;
		return;
	}
	for (int j = 0; j < space_dims; j++)
	{
		double		exact = point[j] * scale - (centre ? centre[j] : 0);

		point[j] = (float) exact;
		rest += (exact - point[j]) * (exact - point[j]);
	}
	*lost = largest > PQ_LARGEST && scale == 1.0 ? INFINITY : (float) (sqrt(rest) * 1.0001);
}

/*
 * Make a point of length one, if it has a length.
 */
void
pq_normalize(float *point, int space_dims)
{
	double		norm = 0;

	for (int j = 0; j < space_dims; j++)
		norm += (double) point[j] * point[j];
	norm = norm > 0 ? 1 / sqrt(norm) : 0;
	for (int j = 0; j < space_dims; j++)
		point[j] = (float) (point[j] * norm);
}

/* Is a type's value of so many dimensions projected? */
static bool
is_projected(const PqSpace *space, int dims, int space_dims)
{
	return space->type == PQ_TYPE_SPARSEVEC ? dims > space_dims : dims != space_dims;
}

/* The coordinates of a dense value, or the sums that it is projected to. */
static void
spread_dense(const PqSpace *space, const float *x, int dims, bool projected, float *out)
{
	if (projected)
		project_dense(space, x, dims, out);
	else if (x != out)
		memcpy(out, x, sizeof(float) * dims);
}

static void
spread_half(const PqSpace *space, const uint16 *halves, int dims, bool projected, float *out)
{
	float	   *dense = projected ? palloc(sizeof(float) * dims) : out;

	pq_kernels->half_to_float(halves, dense, dims);
	spread_dense(space, dense, dims, projected, out);
	if (dense != out)
		pfree(dense);
}

static void
spread_sparse(const PqSpace *space, SparseVector *v, int space_dims, bool projected, float *out)
{
	const float *values = SPARSEVEC_VALUES(v);
	float		boost = projected ? projection_boost(space, values, v->nnz) : 1;

	for (int i = 0; i < v->nnz; i++)
	{
		if (projected)
		{
			int16		targets[PROJECTION_SPREAD];

			find_targets(v->indices[i], space_dims, targets);
			project(targets, values[i] * boost, out);
		}
		else if (v->indices[i] >= 0 && v->indices[i] < space_dims)
			out[v->indices[i]] = values[i];
	}
}

/*
 * The coordinates of a value in the index space, where out is zero so far.  Raises
 * for another number of dimensions.
 */
static void
spread(const PqSpace *space, int dims, int space_dims, Datum value, float *out)
{
	struct varlena *raw = pq_detoast(space, dims, value);
	bool		projected = is_projected(space, dims, space_dims);

	switch (space->type)
	{
		case PQ_TYPE_VECTOR:
			spread_dense(space, ((Vector *) raw)->x, dims, projected, out);
			break;
		case PQ_TYPE_HALFVEC:
			spread_half(space, (const uint16 *) ((HalfVector *) raw)->x, dims, projected, out);
			break;
		case PQ_TYPE_SPARSEVEC:
			spread_sparse(space, (SparseVector *) raw, space_dims, projected, out);
			break;
	}
	if ((Pointer) raw != DatumGetPointer(value))
		pfree(raw);
	if (projected)
	{
		const float scale = 1.0f / sqrtf(PROJECTION_SPREAD);

		for (int j = 0; j < space_dims; j++)
			out[j] *= scale;
	}
}

/*
 * Write the point of a value to out, less a centre if there is one, and
 * followed by zeros.  The centre is taken off in double precision; lost gets the
 * length of what rounding to floats took away.  Coordinates beyond PQ_LARGEST are
 * cut off, so that no square or sum overflows, and then that is infinite.  Returns
 * false for what cosine cannot tell: a vector of length zero.  Raises for another
 * number of dimensions and for values that are not finite.
 */
bool
pq_embed(const PqSpace *space, int dims, int space_dims, int padded, const float *centre,
		 Datum value, float *out, float *lost)
{
	double		norm = 0;

	memset(out, 0, sizeof(float) * padded);
	spread(space, dims, space_dims, value, out);
	for (int j = 0; j < space_dims; j++)
		norm += (double) out[j] * out[j];
	if (!isfinite(norm))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("NaN or infinite value in vector")));
	*lost = 0;
	if (space->metric == PQ_METRIC_COSINE && norm <= 0)
		return false;
	place(out, space_dims, space->metric == PQ_METRIC_COSINE ? 1.0 / sqrt(norm) : 1.0, centre, lost);
	/* what the operator answers says nothing of directions then */
	if (space->metric == PQ_METRIC_COSINE && (norm < LEAST_SQUARE || norm > LARGEST_SQUARE))
		*lost = INFINITY;
	return true;
}
