/*
 * pqdue.c
 *		When an index has other rows than it learned from, and is to learn anew.
 */
#include "postgres.h"

#include "pq/pq.h"

/*
 * An index learns anew when it has so many times the rows it learned from, or a part
 * of them; a small one, to which that costs little, earlier.
 */
#define GROWTH 4
#define SMALL_GROWTH 2
/*
 * It does when such a part of its rows are outliers, and not a few.  All scans look
 * at these, and at most so many times as much as what is inserted is copied.
 */
#define OUTLIERS_PART (1.0 / 16)
#define FEW_OUTLIERS 500

/* How many times its rows an index that learned from so many may have. */
static double
growth(double tuples)
{
	return tuples < PQ_SMALL_ROWS ? SMALL_GROWTH : GROWTH;
}

/*
 * With how many posting pages an index may have grown so much that it is to learn
 * anew: lists' last pages are half full.
 */
uint32
pq_pages_before_check(const PqMetaPageData *meta, const PqLayout *layout, int nlists, double tuples)
{
	double		rows = PqMetaIsFlat(meta) ? Max(PQ_FLAT_ROWS, meta->due_tuples) : Max(tuples, PQ_FLAT_ROWS) * growth(tuples);

	return (uint32) Min(rows / layout->nslots + nlists / 2.0 + 1, PG_INT32_MAX);
}

/* Outliers that an index may have. */
double
pq_most_outliers(const PqMetaPageData *meta)
{
	return Max(FEW_OUTLIERS, meta->tuples * OUTLIERS_PART);
}

/*
 * Has an index with so many rows, and so many outliers among them, others than it
 * learned from?
 */
bool
pq_learning_due(const PqMetaPageData *meta, double tuples, double outliers)
{
	if (PqMetaIsFlat(meta))
		return tuples >= Max(PQ_FLAT_ROWS, meta->due_tuples);
	return tuples >= meta->tuples * growth(meta->tuples) * 0.8 || outliers >= pq_most_outliers(meta) ||
		(tuples < meta->tuples / GROWTH && tuples >= PQ_FLAT_ROWS);
}
