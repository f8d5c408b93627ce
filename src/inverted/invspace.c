/*
 * invspace.c
 *		Types and metrics: from a row's vector to terms and weights, and from a
 *		weight to its cell.
 */
#include "postgres.h"

#include <math.h>

#include "fmgr.h"
#include "utils/rel.h"

#include "sparsevec.h"

#include "inverted/inverted.h"

#define METRIC(suffix, m) \
	static const InvMetric metric_##suffix = m; \
	PG_FUNCTION_INFO_V1(jflow_inverted_##suffix); \
	Datum \
	jflow_inverted_##suffix(PG_FUNCTION_ARGS) \
	{ \
		PG_RETURN_POINTER(&metric_##suffix); \
	}

METRIC(ip, INV_METRIC_IP)
METRIC(cosine, INV_METRIC_COSINE)

/*
 * The metric of an index's first column; raises if that is no sparse vector.
 */
InvMetric
inv_index_metric(Relation index)
{
	if (!OidIsValid(index_getprocid(index, 1, INV_METRIC_PROC)))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("first column of inverted index \"%s\" is not a sparsevec",
						RelationGetRelationName(index)),
				 errhint("Name the sparsevec column first and filter columns behind it.")));
	return *(const InvMetric *) DatumGetPointer(FunctionCall1(index_getprocinfo(index, 1, INV_METRIC_PROC),
															  PointerGetDatum(NULL)));
}

/*
 * Dimensions of an index's first column, which its type has to tell.
 */
int
inv_index_dims(Relation index)
{
	int			dims = TupleDescAttr(RelationGetDescr(index), 0)->atttypmod;

	if (dims < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("column of inverted index \"%s\" does not have dimensions",
						RelationGetRelationName(index)),
				 errhint("Declare the column as sparsevec(n), or index the expression (column::sparsevec(n)).")));
	return dims;
}

/*
 * A value, detoasted: of the dimensions expected, with room for all its elements,
 * ascending dimensions and finite weights, so that neither we nor its type's own
 * functions read beyond it.
 */
struct varlena *
inv_detoast(int dims, Datum value)
{
	SparseVector *v = (SparseVector *) PG_DETOAST_DATUM(value);
	Size		size = VARSIZE(v);
	const float *weights;

	if (size < offsetof(SparseVector, indices) ||
		v->nnz < 0 || v->nnz > SPARSEVEC_MAX_NNZ || size < SPARSEVEC_SIZE(v->nnz))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("vector is corrupted"),
				 errdetail("It is shorter than its header says.")));
	if (v->dim != dims)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("expected %d dimensions, not %d", dims, v->dim)));
	weights = SPARSEVEC_VALUES(v);
	for (int i = 0; i < v->nnz; i++)
	{
		if (v->indices[i] < (i > 0 ? v->indices[i - 1] + 1 : 0) || v->indices[i] >= dims)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("vector is corrupted"),
					 errdetail("Its dimensions are out of order or range.")));
		if (!isfinite(weights[i]))
			ereport(ERROR,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("NaN or infinite value in vector")));
	}
	return (struct varlena *) v;
}

/*
 * The square of a detoasted vector's length.
 */
double
inv_square(struct varlena *raw)
{
	SparseVector *v = (SparseVector *) raw;
	const float *weights = SPARSEVEC_VALUES(v);
	double		square = 0;

	for (int i = 0; i < v->nnz; i++)
		square += (double) weights[i] * weights[i];
	return square;
}

/*
 * What is indexed of a row, but for its TID; allocated in the current context.
 * A vector that bounds can tell nothing about becomes a term of its own.
 */
void
inv_document(Relation index, InvMetric metric, int dims, const Datum *values, const bool *isnull, InvDocument *doc)
{
	SparseVector *v = NULL;
	int32		special = 0;
	double		square = 1;

	doc->nulls = ix_filter_form(index, values, isnull, doc->filters);
	if (isnull[0])
		special = INV_TERM_NULL;
	else
	{
		v = (SparseVector *) inv_detoast(dims, values[0]);
		if (metric == INV_METRIC_COSINE)
		{
			square = inv_square((struct varlena *) v);
			if (v->nnz == 0)
				special = INV_TERM_NAN;
			else if (square < INV_LEAST_SQUARE || square > INV_GREATEST_SQUARE)
				special = INV_TERM_WILD;
		}
	}
	doc->nterms = special ? 1 : v->nnz;
	doc->terms = palloc(sizeof(int32) * Max(doc->nterms, 1));
	doc->weights = palloc(sizeof(float) * Max(doc->nterms, 1));
	if (special)
	{
		doc->terms[0] = special;
		doc->weights[0] = 0;
		return;
	}
	memcpy(doc->terms, v->indices, sizeof(int32) * v->nnz);
	if (metric == INV_METRIC_IP)
		memcpy(doc->weights, SPARSEVEC_VALUES(v), sizeof(float) * v->nnz);
	else
	{
		double		scale = 1 / sqrt(square);

		for (int i = 0; i < v->nnz; i++)
			doc->weights[i] = (float) (SPARSEVEC_VALUES(v)[i] * scale);
	}
}

/*
 * Set the cells for weights of a range.  The exponent never falls when the range
 * grows, which is what makes cells nest.
 */
void
inv_cells(InvCells *cells, double least, double greatest)
{
	double		size = Max(fabs(least), fabs(greatest));
	int			exponent = -149;	/* of the smallest float */

	/* no finer than the floats of that size, and about a 256th of the range */
	if (size > 0)
		exponent = Max(exponent, ilogb(size) - 23);
	if (greatest > least)
		exponent = Max(exponent, ilogb(greatest - least) - 9);
	for (;; exponent++)
	{
		cells->inverse = ldexp(1, -exponent);
		cells->base = floor(least * cells->inverse);
		if (floor(greatest * cells->inverse) - cells->base <= 255)
			break;
	}
	cells->exponent = exponent;
	cells->step = ldexp(1, exponent);
}

/*
 * The cell of a weight in the range that the cells were made for.
 */
uint8
inv_cell(const InvCells *cells, double weight)
{
	double		code = floor(weight * cells->inverse) - cells->base;

	return code < 0 ? 0 : code > 255 ? 255 : (uint8) code;
}
