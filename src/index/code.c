/*
 * code.c
 *		Codes: what is stored of the values of filter columns.
 *
 * Types that are numbers of at most 8 bytes are their own codes.  Floats become
 * whole numbers in the same order, with one 0 and one NaN.  A numeric becomes its
 * exponent and 16 digits, and a bit that tells that there are more.  All others
 * are hashed by the function that their operator class names, which finds equal
 * values.
 *
 * A comparison of a column with a constant becomes one of codes.  Where that
 * cannot tell for sure, as with hashes, the executor has to look at the row.
 */
#include "postgres.h"

#include <math.h>

#include "access/genam.h"
#include "catalog/pg_type.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/numeric.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "index/code.h"
#include "index/filter.h"

/* Of a numeric.  The greatest leave room for infinity and NaN. */
#define NUMERIC_DIGITS 16
#define NUMERIC_GREATEST INT64CONST(9999999999999999)
#define NUMERIC_DIGIT_BITS 54
#define NUMERIC_LEAST_EXPONENT (-128)
#define NUMERIC_GREATEST_EXPONENT 127

/* No time zone is farther from UTC. */
#define FARTHEST_ZONE (16 * USECS_PER_HOUR)
/* What happens to a zone at this distance from a time does not concern it. */
#define ZONE_WINDOW ((pg_time_t) 3 * SECS_PER_DAY)

/* The width of a type's codes in order, or 0 if they have none. */
static int16
ordered_width(Oid type)
{
	switch (type)
	{
		case BOOLOID:
		case CHAROID:
			return 1;
		case INT2OID:
			return 2;
		case INT4OID:
		case OIDOID:
		case FLOAT4OID:
		case DATEOID:
			return 4;
		case INT8OID:
		case FLOAT8OID:
		case NUMERICOID:
		case TIMEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return 8;
		default:
			return 0;
	}
}

/*
 * Has a type codes in the order of its values?
 */
bool
ix_code_known(Oid type)
{
	return ordered_width(type) > 0;
}

/*
 * How the values of an index's filter column are coded; false if they cannot be.
 */
bool
ix_code_type(Relation index, int column, IxCodeType *code)
{
	code->type = index->rd_opcintype[column + 1];
	code->width = ordered_width(code->type);
	code->hashed = code->width == 0;
	if (code->hashed)
	{
		if (!OidIsValid(index_getprocid(index, column + 2, IX_FILTER_HASH_PROC)))
			return false;
		code->width = sizeof(int32);
	}
	if (code->type == BOOLOID || code->type == CHAROID || code->type == OIDOID)
	{
		code->least = 0;
		code->greatest = ((int64) 1 << (8 * code->width)) - 1;
	}
	else
	{
		code->greatest = (int64) (PG_UINT64_MAX >> (65 - 8 * code->width));
		code->least = -code->greatest - 1;
	}
	return true;
}

/* A float's bits, in the order of floats: NaN last, -0 as 0. */
static int64
float4_code(float value)
{
	int32		bits;

	if (isnan(value))
		return PG_INT32_MAX;
	if (value == 0)
		return 0;
	memcpy(&bits, &value, sizeof(bits));
	return bits < 0 ? bits ^ PG_INT32_MAX : bits;
}

static int64
float8_code(double value)
{
	int64		bits;

	if (isnan(value))
		return PG_INT64_MAX;
	if (value == 0)
		return 0;
	memcpy(&bits, &value, sizeof(bits));
	return bits < 0 ? bits ^ PG_INT64_MAX : bits;
}

/*
 * The exponent of a numeric, its first digits, and whether there are others.
 * Numbers too large or too small for that have others.
 */
static int64
numeric_code(Datum value, bool *more)
{
	char	   *text = DatumGetCString(DirectFunctionCall1(numeric_out, value));
	bool		negative = text[0] == '-';
	const char *at = text +negative;
	int64		digits = 0;
	int			ndigits = 0;
	int			exponent = 0;
	bool		point = false;

	*more = false;
	if (*at == 'N')
		return PG_INT64_MAX;
	if (*at == 'I')
		return negative ? PG_INT64_MIN : PG_INT64_MAX - 1;
	for (; *at; at++)
	{
		if (*at == '.')
			point = true;
		else if (ndigits == 0 && *at == '0')
			exponent -= point;
		else
		{
			exponent += !point;
			if (ndigits < NUMERIC_DIGITS)
				digits = digits * 10 + (*at - '0');
			else
				*more |= *at != '0';
			ndigits++;
		}
	}
	pfree(text);
	if (ndigits == 0)
		return 0;
	for (; ndigits < NUMERIC_DIGITS; ndigits++)
		digits *= 10;
	if (exponent > NUMERIC_GREATEST_EXPONENT || exponent < NUMERIC_LEAST_EXPONENT)
	{
		*more = true;
		digits = exponent > 0 ? NUMERIC_GREATEST : 0;
		exponent = exponent > 0 ? NUMERIC_GREATEST_EXPONENT : NUMERIC_LEAST_EXPONENT;
	}
	digits |= (int64) (exponent - NUMERIC_LEAST_EXPONENT) << NUMERIC_DIGIT_BITS;
	digits = digits << 1 | *more;
	return negative ? -digits : digits;
}

static int64
hash_code(Relation index, int column, Datum value)
{
	Datum		hash = FunctionCall2Coll(index_getprocinfo(index, column + 2, IX_FILTER_HASH_PROC),
										 index->rd_indcollation[column + 1], value, Int64GetDatum(0));

	return (int32) DatumGetInt64(hash);
}

/* The code of a value of a type; *more if others have the same. */
static int64
ordered_code(Oid type, Datum value, bool *more)
{
	*more = false;
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
		case FLOAT4OID:
			return float4_code(DatumGetFloat4(value));
		case FLOAT8OID:
			return float8_code(DatumGetFloat8(value));
		case NUMERICOID:
			return numeric_code(value, more);
		default:
			return DatumGetInt64(value);
	}
}

/*
 * The code of a value of a filter column, which is not NULL.  May allocate in
 * the current context, and raise what a hash function of an operator class does.
 */
int64
ix_code(Relation index, int column, Datum value)
{
	Oid			type = index->rd_opcintype[column + 1];
	bool		more;

	if (ordered_width(type) == 0)
		return hash_code(index, column, value);
	return ordered_code(type, value, &more);
}

/* Where a float8 is among float4. */
static void
place_float4(double value, IxCodePlace *place)
{
	float		nearest = (float) value;

	place->low = place->high = float4_code(nearest);
	if (nearest < value)
		place->low++;
	else if (nearest > value)
		place->high--;
}

/*
 * Where a point of time is among timestamps of the session's time zone.  Where
 * clocks are changed nearby, later timestamps may be earlier points of time, and
 * some are none.
 */
static void
place_local(TimestampTz time, IxCodePlace *place)
{
	pg_time_t	from = timestamptz_to_time_t(time) - ZONE_WINDOW;
	pg_time_t	boundary = 0;
	long		offset;
	long		other_offset;
	int			is_dst;
	int			other_is_dst;
	int			found;

	place->low = place->high = time;
	if (TIMESTAMP_NOT_FINITE(time))
		return;
	found = pg_next_dst_boundary(&from, &offset, &is_dst, &boundary, &other_offset, &other_is_dst, session_timezone);
	if (found == 0 || (found > 0 && boundary > from + 2 * ZONE_WINDOW))
	{
		place->low = place->high = time + offset * USECS_PER_SEC;
		return;
	}
	place->low -= FARTHEST_ZONE;
	place->high += FARTHEST_ZONE;
	place->vague = true;
}

/* The day of a timestamp, rounded down. */
static int64
day_of(int64 time)
{
	int64		day = time / USECS_PER_DAY;

	return day - (time % USECS_PER_DAY < 0);
}

/* Make a place among timestamps one among dates. */
static void
place_date(IxCodePlace *place)
{
	bool		midnight = place->low % USECS_PER_DAY == 0;

	if (!place->vague && TIMESTAMP_NOT_FINITE(place->low))
	{
		place->low = place->high = TIMESTAMP_IS_NOEND(place->low) ? DATEVAL_NOEND : DATEVAL_NOBEGIN;
		return;
	}
	place->low = day_of(place->low);
	place->high = day_of(place->high);
	if (!place->vague && !midnight)
		place->low++;
}

/* A place that was converted for a column of timestamps may lie beyond these. */
static void
place_overflow(int overflow, IxCodePlace *place)
{
	if (overflow > 0)
	{
		/* beyond all but infinity */
		place->low = PG_INT64_MAX;
		place->high = PG_INT64_MAX - 1;
	}
	else if (overflow < 0)
	{
		place->low = PG_INT64_MIN + 1;
		place->high = PG_INT64_MIN;
	}
}

/* Where a date, timestamp or timestamptz is among those of another type. */
static bool
place_time(Oid column_type, Oid type, Datum value, IxCodePlace *place)
{
	int			overflow = 0;

	if (column_type == TIMESTAMPOID && type == DATEOID)
		place->low = place->high = date2timestamp_compat(DatumGetDateADT(value), &overflow);
	else if (column_type == TIMESTAMPTZOID && type == DATEOID)
		place->low = place->high = date2timestamptz_compat(DatumGetDateADT(value), &overflow);
	else if (column_type == TIMESTAMPTZOID && type == TIMESTAMPOID)
		place->low = place->high = timestamp2timestamptz_compat(DatumGetTimestamp(value), &overflow);
	else if ((column_type == DATEOID || column_type == TIMESTAMPOID) && type == TIMESTAMPTZOID)
		place_local(DatumGetTimestampTz(value), place);
	else if (column_type == DATEOID && type == TIMESTAMPOID)
		place->low = place->high = DatumGetTimestamp(value);
	else
		return false;
	place_overflow(overflow, place);
	if (column_type == DATEOID)
		place_date(place);
	return true;
}

/* A type of integers, whose codes are those of the others. */
static inline bool
is_integer(Oid type)
{
	return type == INT2OID || type == INT4OID || type == INT8OID;
}

/*
 * Where a constant of a type is among the codes of a filter column.  Depends on
 * the session's time zone as the comparison does.  Raises if nothing is known of
 * such a comparison.
 */
void
ix_code_place(Relation index, int column, Oid type, Datum value, IxCodePlace *place)
{
	Oid			column_type = index->rd_opcintype[column + 1];

	place->vague = false;
	if (type == column_type && ordered_width(type) == 0)
	{
		place->low = place->high = hash_code(index, column, value);
		place->vague = true;
	}
	else if (type == column_type || (is_integer(type) && is_integer(column_type)))
		place->low = place->high = ordered_code(type, value, &place->vague);
	else if (column_type == FLOAT8OID && type == FLOAT4OID)
		place->low = place->high = float8_code(DatumGetFloat4(value));
	else if (column_type == FLOAT4OID && type == FLOAT8OID)
		place_float4(DatumGetFloat8(value), place);
	else if (!place_time(column_type, type, value, place))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("filter column of type %s cannot be compared with type %s by index \"%s\"",
						format_type_be(column_type), format_type_be(type), RelationGetRelationName(index))));
}
