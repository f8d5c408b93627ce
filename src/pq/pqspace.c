/*
 * pqspace.c
 *		Types and metrics: how a value becomes a point of the inner space.
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
#include "utils/lsyscache.h"

#include "halfvec.h"
#include "sparsevec.h"
#include "vector.h"

#include "pq/pq.h"

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
 * Dimensions of the inner space.
 */
int
pq_inner_dims(PqType type, int dims)
{
	if (type == PQ_TYPE_SPARSEVEC)
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
 * Add one dimension's value to the projected point: the coordinates are cut
 * into PROJECTION_SPREAD ranges, and the value goes to one of each.
 */
static inline void
project(int dimension, float value, int inner, float *out)
{
	uint64		h = mix((uint64) dimension + 1);

	/* sums must stay finite; what they are used for is approximate anyway */
	if (fabsf(value) > 1e30f && !isinf(value))
		value = copysignf(1e30f, value);
	for (int i = 0; i < PROJECTION_SPREAD; i++)
	{
		int			start = inner * i / PROJECTION_SPREAD;
		int			width = inner * (i + 1) / PROJECTION_SPREAD - start;

		h = mix(h + i);
		out[start + (uint32) (h >> 32) % width] += (h & 1) ? value : -value;
	}
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
 * Is a point one that was cut off, so that no distance to it can be told?
 */
bool
pq_cut_off(const float *point, int inner)
{
	for (int j = 0; j < inner; j++)
		if (fabsf(point[j]) >= PQ_LARGEST)
			return true;
	return false;
}

/*
 * Make a point of length one, if it has a length.
 */
void
pq_normalize(float *point, int inner)
{
	double		norm = 0;

	for (int j = 0; j < inner; j++)
		norm += (double) point[j] * point[j];
	norm = norm > 0 ? 1 / sqrt(norm) : 0;
	for (int j = 0; j < inner; j++)
		point[j] = (float) (point[j] * norm);
}

/*
 * Write the inner point of a value to out, followed by zeros.  Coordinates
 * beyond PQ_LARGEST are cut off, so that no square or sum overflows.  Returns false
 * for what cosine cannot tell: a vector of length zero.  Raises for another
 * number of dimensions and for values that are not finite.
 */
bool
pq_embed(const PqSpace *space, int dims, int inner, int padded, Datum value, float *out)
{
	struct varlena *raw = pq_detoast(space, dims, value);
	bool		projected = space->type == PQ_TYPE_SPARSEVEC ? dims > inner : dims != inner;
	float	   *dense = projected && space->type == PQ_TYPE_HALFVEC ? palloc(sizeof(float) * dims) : out;
	double		norm = 0;

	memset(out, 0, sizeof(float) * padded);
	switch (space->type)
	{
		case PQ_TYPE_VECTOR:
			{
				Vector	   *v = (Vector *) raw;

				if (!projected)
					memcpy(out, v->x, sizeof(float) * dims);
				else
					for (int j = 0; j < dims; j++)
						project(j, v->x[j], inner, out);
				break;
			}
		case PQ_TYPE_HALFVEC:
			{
				HalfVector *v = (HalfVector *) raw;

				pq_kernels->half_to_float((const uint16 *) v->x, dense, dims);
				if (projected)
				{
					for (int j = 0; j < dims; j++)
						project(j, dense[j], inner, out);
					pfree(dense);
				}
				break;
			}
		case PQ_TYPE_SPARSEVEC:
			{
				SparseVector *v = (SparseVector *) raw;
				const float *values = SPARSEVEC_VALUES(v);

				for (int i = 0; i < v->nnz; i++)
				{
					if (projected)
						project(v->indices[i], values[i], inner, out);
					else if (v->indices[i] >= 0 && v->indices[i] < inner)
						out[v->indices[i]] = values[i];
				}
				break;
			}
	}
	if ((Pointer) raw != DatumGetPointer(value))
		pfree(raw);
	if (projected)
	{
		const float scale = 1.0f / sqrtf(PROJECTION_SPREAD);

		for (int j = 0; j < inner; j++)
			out[j] *= scale;
	}

	for (int j = 0; j < inner; j++)
		norm += (double) out[j] * out[j];
	if (!isfinite(norm))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("NaN or infinite value in vector")));
	if (space->metric == PQ_METRIC_COSINE)
	{
		double		scale;

		if (norm <= 0)
			return false;
		scale = 1.0 / sqrt(norm);
		for (int j = 0; j < inner; j++)
			out[j] = (float) (out[j] * scale);
		return true;
	}
	for (int j = 0; j < inner; j++)
		if (fabsf(out[j]) > PQ_LARGEST)
			out[j] = copysignf(PQ_LARGEST, out[j]);
	return true;
}
