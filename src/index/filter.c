/*
 * filter.c
 *		Filter columns: values stored beside entries, tested a block at a time.
 *
 * All types of filter columns are passed by value and compare like integers or
 * like floats, so a test is an operator, a type and a constant.  A constant of
 * an integer type of another width is widened; one that cannot match, such as
 * NULL, makes the whole scan empty.
 */
#include "postgres.h"

#include <math.h>

#include "access/stratnum.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "index/filter.h"

struct IxFilter
{
	int			column;
	int			strategy;		/* 0 for IS [NOT] NULL */
	bool		want_null;
	Oid			type;
	int64		integer;
	double		number;
};

static bool
filterable(Oid type)
{
	switch (type)
	{
		case BOOLOID:
		case CHAROID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case FLOAT4OID:
		case FLOAT8OID:
		case OIDOID:
		case DATEOID:
		case TIMEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return true;
		default:
			return false;
	}
}

/*
 * Number of filter columns of an index, and their widths.
 */
int
ix_filter_count(Relation index, int16 *widths)
{
	TupleDesc	desc = RelationGetDescr(index);

	for (int i = 1; i < desc->natts; i++)
	{
		if (!filterable(TupleDescAttr(desc, i)->atttypid))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("type %s cannot be a filter column of index \"%s\"",
							format_type_be(TupleDescAttr(desc, i)->atttypid),
							RelationGetRelationName(index)),
					 errhint("Only the first column of such an index can be searched by distance.")));
		widths[i - 1] = TupleDescAttr(desc, i)->attlen;
	}
	return desc->natts - 1;
}

/*
 * Does an operator class of a filter column's type have the operators it needs?
 * strategies has a bit per strategy, 1 << number.
 */
bool
ix_filter_class_complete(Oid type, int strategies)
{
	return strategies == 0x3e;
}

/*
 * Set where values and nulls of so many blocks are, one column after the other
 * from an offset on; returns the end.  The layout tells number and widths.
 */
int
ix_filter_place(IxFilterLayout *layout, int at, int nblocks)
{
	for (int i = 0; i < layout->nfilters; i++)
	{
		at = layout->values[i] = TYPEALIGN(8, at);
		at += nblocks * IX_FILTER_BLOCK * layout->width[i];
		at = layout->nulls[i] = TYPEALIGN(4, at);
		at += nblocks * sizeof(uint32);
	}
	return at;
}

static int64
integer_value(Oid type, Datum value)
{
	switch (type)
	{
		case BOOLOID:
			return DatumGetBool(value);
		case CHAROID:
			return (uint8) DatumGetChar(value);
		case INT2OID:
			return DatumGetInt16(value);
		case INT4OID:
		case DATEOID:
			return DatumGetInt32(value);
		case OIDOID:
			return DatumGetObjectId(value);
		default:
			return DatumGetInt64(value);
	}
}

/*
 * The filter values of a row, in the form they are stored in; returns a bit per
 * column that is NULL.
 */
uint32
ix_filter_form(Relation index, const Datum *values, const bool *isnull, int64 *out)
{
	TupleDesc	desc = RelationGetDescr(index);
	uint32		nulls = 0;

	for (int i = 1; i < desc->natts; i++)
	{
		Oid			type = TupleDescAttr(desc, i)->atttypid;

		out[i - 1] = 0;
		if (isnull[i])
			nulls |= (uint32) 1 << (i - 1);
		else if (type == FLOAT4OID)
		{
			float		value = DatumGetFloat4(values[i]);

			memcpy(&out[i - 1], &value, sizeof(value));
		}
		else if (type == FLOAT8OID)
		{
			double		value = DatumGetFloat8(values[i]);

			memcpy(&out[i - 1], &value, sizeof(value));
		}
		else
			out[i - 1] = integer_value(type, values[i]);
	}
	return nulls;
}

/*
 * Put formed values, 8 bytes each and not aligned, into a slot.
 */
void
ix_filter_put(char *page, const IxFilterLayout *layout, int slot, const char *values, uint32 nulls)
{
	uint32		bit = (uint32) 1 << (slot % IX_FILTER_BLOCK);

	for (int i = 0; i < layout->nfilters; i++)
	{
		uint32	   *word = (uint32 *) (page + layout->nulls[i]) + slot / IX_FILTER_BLOCK;

		/* little-endian: the low bytes of a value are the narrow value */
		memcpy(page + layout->values[i] + slot * layout->width[i], values + i * 8, layout->width[i]);
		if (nulls >> i & 1)
			*word |= bit;
		else
			*word &= ~bit;
	}
}

/*
 * The formed values of a slot; returns which are NULL.
 */
uint32
ix_filter_get(const char *page, const IxFilterLayout *layout, int slot, int64 *values)
{
	uint32		nulls = 0;

	for (int i = 0; i < layout->nfilters; i++)
	{
		uint32		word = ((const uint32 *) (page + layout->nulls[i]))[slot / IX_FILTER_BLOCK];

		values[i] = 0;
		memcpy(&values[i], page + layout->values[i] + slot * layout->width[i], layout->width[i]);
		nulls |= (word >> (slot % IX_FILTER_BLOCK) & 1) << i;
	}
	return nulls;
}

/*
 * Does a slot hold these formed values?
 */
bool
ix_filter_equal(const char *page, const IxFilterLayout *layout, int slot, const int64 *values, uint32 nulls)
{
	for (int i = 0; i < layout->nfilters; i++)
	{
		uint32		word = ((const uint32 *) (page + layout->nulls[i]))[slot / IX_FILTER_BLOCK];

		if ((word >> (slot % IX_FILTER_BLOCK) & 1) != (nulls >> i & 1) ||
			memcmp(page + layout->values[i] + slot * layout->width[i], &values[i], layout->width[i]) != 0)
			return false;
	}
	return true;
}

/*
 * Turn scan keys into filters.  *never is set where no row can pass.
 */
IxFilter *
ix_filters_prepare(Relation index, ScanKey keys, int nkeys, int *nfilters, bool *never)
{
	IxFilter   *filters = palloc0(sizeof(IxFilter) * Max(nkeys, 1));

	*never = false;
	*nfilters = 0;
	for (int i = 0; i < nkeys; i++)
	{
		ScanKey		key = &keys[i];
		IxFilter   *filter = &filters[*nfilters];
		Oid			type = TupleDescAttr(RelationGetDescr(index), key->sk_attno - 1)->atttypid;
		Oid			other = OidIsValid(key->sk_subtype) ? key->sk_subtype : type;

		filter->column = key->sk_attno - 2;
		if (key->sk_flags & (SK_SEARCHNULL | SK_SEARCHNOTNULL))
		{
			filter->want_null = (key->sk_flags & SK_SEARCHNULL) != 0;
			if (filter->column < 0)
			{
				/* vectors that are NULL are not indexed */
				if (filter->want_null)
					*never = true;
				continue;
			}
			(*nfilters)++;
			continue;
		}
		if (key->sk_flags & SK_ISNULL || filter->column < 0)
		{
			*never = true;
			continue;
		}
		filter->strategy = key->sk_strategy;
		filter->type = type;
		if (other == FLOAT4OID)
			filter->number = DatumGetFloat4(key->sk_argument);
		else if (other == FLOAT8OID)
			filter->number = DatumGetFloat8(key->sk_argument);
		else
			filter->integer = integer_value(other, key->sk_argument);
		(*nfilters)++;
	}
	return filters;
}

#define COMPARE(ctype, constant) \
	for (int v = 0; v < IX_FILTER_BLOCK; v++) \
	{ \
		ctype		value = ((const ctype *) data)[v]; \
\
		less |= (uint32) (value < (constant)) << v; \
		equal |= (uint32) (value == (constant)) << v; \
	}

/* Floats order NaN after all numbers and equal to itself, as the server does. */
#define COMPARE_FLOAT(ctype) \
	for (int v = 0; v < IX_FILTER_BLOCK; v++) \
	{ \
		ctype		value = ((const ctype *) data)[v]; \
\
		less |= (uint32) (isnan(filter->number) ? !isnan(value) : value < filter->number) << v; \
		equal |= (uint32) (isnan(filter->number) ? isnan(value) : value == filter->number) << v; \
	}

/*
 * Which of a block's 32 slots pass all filters.
 */
uint32
ix_filters_mask(const IxFilter *filters, int nfilters, const char *page,
				const IxFilterLayout *layout, int block)
{
	uint32		mask = PG_UINT32_MAX;

	for (int i = 0; i < nfilters && mask; i++)
	{
		const IxFilter *filter = &filters[i];
		int			c = filter->column;
		const char *data = page + layout->values[c] + block * IX_FILTER_BLOCK * layout->width[c];
		uint32		nulls = ((const uint32 *) (page + layout->nulls[c]))[block];
		uint32		less = 0;
		uint32		equal = 0;

		if (filter->strategy == 0)
		{
			mask &= filter->want_null ? nulls : ~nulls;
			continue;
		}
		switch (filter->type)
		{
			case BOOLOID:
			case CHAROID:
				COMPARE(uint8, filter->integer);
				break;
			case INT2OID:
				COMPARE(int16, filter->integer);
				break;
			case INT4OID:
			case DATEOID:
				COMPARE(int32, filter->integer);
				break;
			case OIDOID:
				COMPARE(uint32, filter->integer);
				break;
			case FLOAT4OID:
				COMPARE_FLOAT(float);
				break;
			case FLOAT8OID:
				COMPARE_FLOAT(double);
				break;
			default:
				COMPARE(int64, filter->integer);
				break;
		}
		mask &= ~nulls;
		switch (filter->strategy)
		{
			case BTLessStrategyNumber:
				mask &= less;
				break;
			case BTLessEqualStrategyNumber:
				mask &= less | equal;
				break;
			case BTEqualStrategyNumber:
				mask &= equal;
				break;
			case BTGreaterEqualStrategyNumber:
				mask &= ~less;
				break;
			default:
				mask &= ~(less | equal);
				break;
		}
	}
	return mask;
}
