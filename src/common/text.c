/*
 * text.c
 *		The order of ids and keys: that of their bytes, whatever the collation.
 */
#include "postgres.h"

#include "fmgr.h"

#include "common/text.h"
#include "compat.h"

/* Compare two texts, which may be compressed or short. */
int
jflow_text_order(Datum a, Datum b)
{
	text	   *ta = DatumGetTextPP(a);
	text	   *tb = DatumGetTextPP(b);
	int			alen = VARSIZE_ANY_EXHDR(ta);
	int			blen = VARSIZE_ANY_EXHDR(tb);
	int			order = memcmp(VARDATA_ANY(ta), VARDATA_ANY(tb), Min(alen, blen));

	return order != 0 ? order : alen - blen;
}

/* The same for qsort and bsearch, of arrays of datums. */
int
jflow_texts_order(const void *a, const void *b)
{
	return jflow_text_order(*(const Datum *) a, *(const Datum *) b);
}
