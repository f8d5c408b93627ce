/*
 * code.h
 *		Codes: what is stored of the values of filter columns.
 */
#ifndef INDEX_CODE_H
#define INDEX_CODE_H

#include "utils/relcache.h"

/*
 * A filter column stores a whole number for each value, its code: in the order
 * of the values, or a hash of the value.
 */
typedef struct IxCodeType
{
	Oid			type;			/* that the operator class is for */
	bool		hashed;
	int16		width;			/* bytes of a code */
	int64		least;			/* codes of so many bytes */
	int64		greatest;
} IxCodeType;

/*
 * Where a constant is among the codes of a column: values with a code below low
 * are less than it, those with a code above high are greater.  Between these,
 * both included, they are equal to it, or if it is vague, nobody knows.
 */
typedef struct IxCodePlace
{
	int64		low;
	int64		high;
	bool		vague;
} IxCodePlace;

extern bool ix_code_known(Oid type);
extern bool ix_code_type(Relation index, int column, IxCodeType *code);
extern int64 ix_code(Relation index, int column, Datum value);
extern void ix_code_place(Relation index, int column, Oid type, Datum value, IxCodePlace *place);

#endif							/* INDEX_CODE_H */
