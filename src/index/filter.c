/*
 * filter.c
 *		Filter columns: values stored beside entries, tested a block at a time.
 *
 * What is stored of a value is its code (code.c), a whole number of 1 to 8 bytes.
 * Each condition on a column but IS [NOT] NULL becomes a set of codes, in
 * ranges that do not overlap; one that cannot match, such as a comparison
 * with NULL, makes the whole scan empty.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "index/code.h"
#include "index/filter.h"

/* Up to so many ranges are tested one after the other. */
#define FEW_RANGES 8

typedef struct CodeRange
{
	int64		low;
	int64		high;			/* included */
} CodeRange;

struct IxFilter
{
	int			column;
	bool		tests_null;		/* IS [NOT] NULL */
	bool		wants_null;
	bool		is_unsigned;	/* codes are */
	CodeRange  *ranges;			/* ascending */
	int			nranges;
};

/*
 * Number of filter columns of an index, and their widths.  Raises if it has some
 * that cannot be one.
 */
int
ix_filter_count(Relation index, int16 *widths)
{
	TupleDesc	desc = RelationGetDescr(index);

	for (int i = 1; i < desc->natts; i++)
	{
		Oid			collation = index->rd_indcollation[i];
		IxCodeType	code;

		if (!ix_code_type(index, i - 1, &code))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("type %s cannot be a filter column of index \"%s\"",
							format_type_be(TupleDescAttr(desc, i)->atttypid),
							RelationGetRelationName(index)),
					 errhint("Only the first column of such an index can be searched by distance.")));
		if (code.hashed && OidIsValid(collation) && !get_collation_isdeterministic(collation))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("filter column \"%s\" of index \"%s\" has a nondeterministic collation",
							NameStr(TupleDescAttr(desc, i)->attname), RelationGetRelationName(index)),
					 errhint("Name a deterministic collation in the index, and in conditions that are to use it.")));
		widths[i - 1] = code.width;
	}
	return desc->natts - 1;
}

/*
 * Bytes that are stored of each value of a filter column.
 */
int16
ix_filter_width(Relation index, int column)
{
	IxCodeType	code;

	return ix_code_type(index, column, &code) ? code.width : 0;
}

/*
 * Does an operator class of a filter column's type have what it needs: all five
 * comparisons, or equality and a function that hashes?  strategies has a bit per
 * strategy, 1 << number.
 */
bool
ix_filter_class_complete(Oid type, int strategies, bool hashes)
{
	if (ix_code_known(type))
		return strategies == 0x3e && !hashes;
	return strategies == 1 << BTEqualStrategyNumber && hashes;
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

/*
 * The filter values of a row, in the form they are stored in; returns a bit per
 * column that is NULL.  May allocate in the current context.
 */
uint32
ix_filter_form(Relation index, const Datum *values, const bool *isnull, int64 *out)
{
	int			nfilters = RelationGetDescr(index)->natts - 1;
	uint32		nulls = 0;

	for (int i = 0; i < nfilters; i++)
	{
		out[i] = 0;
		if (isnull[i + 1])
			nulls |= (uint32) 1 << i;
		else
			out[i] = ix_code(index, i, values[i + 1]);
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

static int
compare_ranges(const void *a, const void *b)
{
	const CodeRange *x = a;
	const CodeRange *y = b;

	return x->low < y->low ? -1 : x->low > y->low;
}

/* Bring ranges into order, and join those that touch each other. */
static void
join_ranges(IxFilter *filter)
{
	CodeRange  *ranges = filter->ranges;
	int			n = 0;

	qsort(ranges, filter->nranges, sizeof(CodeRange), compare_ranges);
	for (int i = 0; i < filter->nranges; i++)
	{
		if (n > 0 && (ranges[n - 1].high == PG_INT64_MAX || ranges[i].low <= ranges[n - 1].high + 1))
			ranges[n - 1].high = Max(ranges[n - 1].high, ranges[i].high);
		else
			ranges[n++] = ranges[i];
	}
	filter->nranges = n;
}

/*
 * Add the codes of values that compare with a constant as a strategy says;
 * returns whether others may have such a code.
 */
static bool
add_range(Relation index, IxFilter *filter, const IxCodeType *code, int strategy, Oid type, Datum value)
{
	CodeRange	codes = {code->least, code->greatest};
	IxCodePlace place;

	ix_code_place(index, filter->column, type, value, &place);
	switch (strategy)
	{
		case BTLessStrategyNumber:
			if (!place.vague && place.low == PG_INT64_MIN)
				return false;
			codes.high = Min(codes.high, place.vague ? place.high : place.low - 1);
			break;
		case BTLessEqualStrategyNumber:
			codes.high = Min(codes.high, place.high);
			break;
		case BTEqualStrategyNumber:
			codes.low = Max(codes.low, place.low);
			codes.high = Min(codes.high, place.high);
			break;
		case BTGreaterEqualStrategyNumber:
			codes.low = Max(codes.low, place.low);
			break;
		default:
			if (!place.vague && place.high == PG_INT64_MAX)
				return false;
			codes.low = Max(codes.low, place.vague ? place.low : place.high + 1);
			break;
	}
	if (codes.low > codes.high)
		return false;
	filter->ranges[filter->nranges++] = codes;
	return place.vague;
}

/* The codes that one key asks for; returns whether others may have them. */
static bool
take_key(Relation index, IxFilter *filter, ScanKey key)
{
	IxCodeType	code;
	Oid			type;
	bool		vague = false;

	if (!ix_code_type(index, filter->column, &code))
		elog(ERROR, "filter column %d has no code", filter->column);
	filter->is_unsigned = code.least == 0;
	type = OidIsValid(key->sk_subtype) ? key->sk_subtype : code.type;
	if (key->sk_flags & SK_SEARCHARRAY)
	{
		ArrayType  *array = DatumGetArrayTypeP(key->sk_argument);
		int16		length;
		bool		by_value;
		char		align;
		Datum	   *values;
		bool	   *nulls;
		int			n;

		get_typlenbyvalalign(ARR_ELEMTYPE(array), &length, &by_value, &align);
		deconstruct_array(array, ARR_ELEMTYPE(array), length, by_value, align, &values, &nulls, &n);
		filter->ranges = palloc_extended(sizeof(CodeRange) * Max(n, 1), MCXT_ALLOC_HUGE);
		for (int i = 0; i < n; i++)
		{
			if ((i & 1023) == 0)
				CHECK_FOR_INTERRUPTS();
			if (!nulls[i])
				vague |= add_range(index, filter, &code, key->sk_strategy, type, values[i]);
		}
		pfree(values);
		pfree(nulls);
	}
	else
	{
		filter->ranges = palloc(sizeof(CodeRange));
		vague = add_range(index, filter, &code, key->sk_strategy, type, key->sk_argument);
	}
	join_ranges(filter);
	return vague;
}

/*
 * Turn scan keys into filters, which are allocated in the current context.
 */
void
ix_filters_prepare(IxFilters *filters, Relation index, ScanKey keys, int nkeys)
{
	memset(filters, 0, sizeof(*filters));
	filters->filters = palloc0(sizeof(IxFilter) * Max(nkeys, 1));
	for (int i = 0; i < nkeys && !filters->never; i++)
	{
		ScanKey		key = &keys[i];
		IxFilter   *filter = &filters->filters[filters->n];

		filter->column = key->sk_attno - 2;
		if (filter->column < 0)
		{
			/* vectors that are NULL are not indexed */
			if (!(key->sk_flags & SK_SEARCHNOTNULL))
				filters->never = true;
		}
		else if (key->sk_flags & (SK_SEARCHNULL | SK_SEARCHNOTNULL))
		{
			filter->tests_null = true;
			filter->wants_null = (key->sk_flags & SK_SEARCHNULL) != 0;
			filters->n++;
		}
		else if (key->sk_flags & SK_ISNULL)
			filters->never = true;
		else
		{
			filters->recheck |= take_key(index, filter, key);
			filters->never |= filter->nranges == 0;
			filters->n++;
		}
	}
}

/*
 * Which of a block's codes lie in an range.  The difference to the least code
 * of it wraps around, signed or not.
 */
#define IN_RANGE(type, range) \
	do { \
		const type *codes = (const type *) data; \
		type		low = (type) (range).low; \
		type		length = (type) ((range).high - (range).low); \
\
		for (int v = 0; v < IX_FILTER_BLOCK; v++) \
			mask |= (uint32) ((type) (codes[v] - low) <= length) << v; \
	} while (0)

static uint32
in_few_ranges(const IxFilter *filter, const char *data, int16 width)
{
	uint32		mask = 0;

	for (int i = 0; i < filter->nranges; i++)
	{
		switch (width)
		{
			case 1:
				IN_RANGE(uint8, filter->ranges[i]);
				break;
			case 2:
				IN_RANGE(uint16, filter->ranges[i]);
				break;
			case 4:
				IN_RANGE(uint32, filter->ranges[i]);
				break;
			default:
				IN_RANGE(uint64, filter->ranges[i]);
				break;
		}
	}
	return mask;
}

static inline int64
code_at(const IxFilter *filter, const char *data, int16 width, int v)
{
	switch (width)
	{
		case 1:
			return ((const uint8 *) data)[v];
		case 2:
			return ((const int16 *) data)[v];
		case 4:
			return filter->is_unsigned ? (int64) ((const uint32 *) data)[v] : ((const int32 *) data)[v];
		default:
			return ((const int64 *) data)[v];
	}
}

/* Which of a block's codes lie in one of many ranges, of those wanted. */
static uint32
in_many_ranges(const IxFilter *filter, const char *data, int16 width, uint32 wanted)
{
	uint32		mask = 0;

	for (; wanted; wanted &= wanted - 1)
	{
		int			v = pg_rightmost_one_pos32(wanted);
		int64		code = code_at(filter, data, width, v);
		int			first = 0;
		int			last = filter->nranges - 1;

		/* the last range that does not begin behind it */
		while (first < last)
		{
			int			middle = first + (last - first + 1) / 2;

			if (filter->ranges[middle].low <= code)
				first = middle;
			else
				last = middle - 1;
		}
		if (filter->ranges[first].low <= code && code <= filter->ranges[first].high)
			mask |= (uint32) 1 << v;
	}
	return mask;
}

/*
 * Which of those wanted of a block's 32 slots pass all filters.
 */
uint32
ix_filters_mask(const IxFilters *filters, const char *page, const IxFilterLayout *layout, int block, uint32 wanted)
{
	uint32		mask = wanted;

	for (int i = 0; i < filters->n && mask; i++)
	{
		const IxFilter *filter = &filters->filters[i];
		int			c = filter->column;
		int16		width = layout->width[c];
		const char *data = page + layout->values[c] + block * IX_FILTER_BLOCK * width;
		uint32		nulls = ((const uint32 *) (page + layout->nulls[c]))[block];

		if (filter->tests_null)
			mask &= filter->wants_null ? nulls : ~nulls;
		else if (filter->nranges <= FEW_RANGES)
			mask &= ~nulls & in_few_ranges(filter, data, width);
		else
			mask &= in_many_ranges(filter, data, width, mask & ~nulls);
	}
	return mask;
}
