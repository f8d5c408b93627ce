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
/*
 * What is inserted may be unlike what was learned from and yet no outlier, row by
 * row: codes of all such rows are wrong by more than is usual, and more of them are
 * missed.  It shows in their number.  This part of rows like those learned from may
 * be strange: a tenth of those that the limit was taken from are, and a few more of
 * others.
 */
#define STRANGE_PART 0.15
#define FEW_STRANGE 2

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

/* Are entries of a page strange so often that others may be, too? */
bool
pq_page_strange(const PqPostingHeader *header)
{
	return header->nstrange > FEW_STRANGE + header->ninserted / 4;
}

/* Count the entries of a page, which is one of outliers or not. */
void
pq_count_page(PqCounts *counts, const PqPostingHeader *header, bool outliers)
{
	counts->live += header->nlive;
	if (outliers)
		counts->outliers += header->nlive;
	else
	{
		counts->inserted += header->ninserted;
		counts->strange += header->nstrange;
	}
}

/* So many rows unlike those learned from are few, also in an index that has shrunk. */
static double
few_outliers(double live)
{
	return Max(live * OUTLIERS_PART, Min(FEW_OUTLIERS, live / 4));
}

/* Has an index others than it learned from? */
bool
pq_learning_due(const PqMetaPageData *meta, const PqCounts *counts)
{
	double		unlike = counts->outliers + Max(counts->strange - counts->inserted * STRANGE_PART, 0);

	if (PqMetaIsFlat(meta))
		return counts->live >= Max(PQ_FLAT_ROWS, meta->due_tuples);
	/* one that was emptied knows nothing of what will come */
	if (counts->live == 0)
		return meta->codebook[0] == '\0';
	return counts->live >= meta->tuples * growth(meta->tuples) * 0.8 ||
		unlike >= Min(pq_most_outliers(meta), few_outliers(counts->live)) ||
		(counts->live < meta->tuples / GROWTH && counts->live >= PQ_FLAT_ROWS);
}
