/*
 * pqoutlier.c
 *		Outliers: rows that were inserted since an index learned, and that its codes
 *		do not fit.
 *
 * What a scan leaves out it leaves out by what codes say, within errors that
 * calibration has seen.  The code of a row that is unlike those that the index
 * learned from is wrong by more, and the row would be missed.  So such rows go to a
 * flat list of their own, behind those of the model, and every scan compares its
 * query with all points there.  They are found whatever they are like and however
 * few they are, and are known exactly when the index learns anew, which puts them
 * into lists; it is due when they are so many that scans feel it (pqdue.c).
 *
 * A row is an outlier by one of three signs.  The error of its code is large against
 * the length of its list's residuals.  Or the part of it that lies along the row's
 * own residual is: a query near to the row has the same way from the centroid, so
 * that is by how much the row seems farther away than it is.  Where the unit of a
 * list was learned from a few rows and is too large for those that follow, all of
 * them have short codes, and errors that are no longer than usual, but along the
 * residual.  Or its code is much like that of another row
 * of its list that was inserted before: where rows come that lie closer together
 * than codes can tell, all their codes are wrong in the same direction, and all of
 * them are missed together.  Nearly all of the rows that the index was calibrated
 * with show none, so rows like them do not become outliers.
 */
#include "postgres.h"

#include <math.h>

#include "common/pg_prng.h"

#include "pq/pq.h"

/* While as many strange entries come as are to be learned from, so many ask. */
#define ASKING_PART 8

/*
 * How long the error of a point's code in a list is, whose centroid is given, and
 * how much of it lies along the way from there to the point: a code is a byte per
 * subvector.
 */
PqCodeError
pq_code_error(const PqModel *model, uint32 list, const float *point, const float *centroid, const uint8 *codes)
{
	const float *codebook = PqModelArray(model, codebooks, float);
	double		scale = PqModelArray(model, scales, float)[list];
	double		square = 0;
	double		product = 0;
	double		length = 0;

	for (int j = 0; j < model->space_dims; j++)
	{
		double		residual = (double) point[j] - centroid[j];
		double		wrong = residual - scale * codebook[(size_t) j * PQ_TILE + codes[j / model->width]];

		square += wrong * wrong;
		product += wrong * residual;
		length += residual * residual;
	}
	return (PqCodeError)
	{
		(float) sqrt(square), length > 0 ? (float) (product / sqrt(length)) : 0
	};
}

/*
 * In how many subvectors the codes of a page's entries, but for one slot, differ at
 * least from a code: a scan of the page with a table that counts them.
 */
int
pq_codes_differ(const PqIndex *pq, Page page, int but, const uint8 *codes)
{
	const PqLayout *layout = &pq->layout;
	const PqPostingHeader *header = PqPostingGetHeader(page);
	char		room[(PQ_MAX_SUBVECTORS + 4) * PQ_TILE + 64];
	uint8	   *table = (uint8 *) TYPEALIGN(64, room);
	uint32		masks[64];
	int32		sums[64 * PQ_BLOCK];
	PqBlockScan scan = {0};
	int			least = pq->model->subvectors;

	memset(table, 0, layout->nquads * PQ_QUAD_BYTES);
	for (int m = 0; m < pq->model->subvectors; m++)
		for (int c = 0; c < PQ_TILE; c++)
			table[m * PQ_TILE + c] = c != codes[m];
	scan.codes = (uint8 *) page + layout->codes;
	scan.terms = (uint8 *) page + layout->terms;
	scan.nblocks = (header->nused + PQ_BLOCK - 1) / PQ_BLOCK;
	scan.nquads = layout->nquads;
	scan.table = table;
	scan.limit = least;
	scan.masks = masks;
	scan.sums = sums;
	pq_kernels->scan_blocks(&scan);
	for (int b = 0; b < scan.nblocks; b++)
		for (uint32 mask = masks[b] & PqPostingLive(page, layout)[b] & PqUsedMask(header, b); mask; mask &= mask - 1)
		{
			int			slot = b * PQ_BLOCK + pg_rightmost_one_pos32(mask);

			if (slot != but)
				least = Min(least, sums[slot]);
		}
	return least;
}

/*
 * Is a strange entry the one of so many that asks whether the index is to learn?  It is
 * drawn, so that all backends together ask now and then, however many they are, however
 * long each is there, and whichever slots are used again.
 */
static bool
draw_strange(const PqIndex *pq)
{
	return pg_prng_double(&pg_global_prng_state) * pq_most_outliers(&pq->meta) < ASKING_PART;
}

/*
 * Does the page where a list's inserts start tell that a point is an outlier: is its
 * code much like that of another entry there, or is it strange where many are?
 */
static bool
is_outlier_there(Relation index, PqIndex *pq, uint32 list, const uint8 *codes, bool strange)
{
	PqDirectoryEntry directory;
	Buffer		buffer;
	bool		outlier;

	if (pq->meta.alike <= 0 && !strange)
		return false;
	pq_read_directory(index, &pq->meta, list, &directory);
	if (directory.insert == InvalidBlockNumber)
		return false;
	buffer = pq_read(pq, index, directory.insert);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	pq_posting_check(index, buffer, &pq->layout, list);
	strange &= pq_page_strange(PqPostingGetHeader(BufferGetPage(buffer)));
	outlier = strange ||
		(pq->meta.alike > 0 && pq_codes_differ(pq, BufferGetPage(buffer), -1, codes) < pq->meta.alike);
	UnlockReleaseBuffer(buffer);
	/* the session may end with this row, so it asks at once */
	if (strange && draw_strange(pq))
		pq->strange = pq->look = true;
	return outlier;
}

/* Is an error not larger than most are, in such a unit?  One that is no number is. */
static bool
error_within(const PqMetaPageData *meta, const PqCodeError *error, float unit)
{
	return error->length <= meta->usual * unit && error->along <= meta->usual_along * unit;
}

/*
 * Is a point, coded for its list, an outlier?  Without calibration scans leave
 * nothing out, and there are none.  One that is not may still be strange: its code is
 * wrong by more than is usual, which does no harm unless many are (pqdue.c).
 */
bool
pq_is_outlier(Relation index, PqIndex *pq, const PqEntry *entry, const float *point, const float *centroid,
			  bool *strange)
{
	const PqModel *model = pq->model;
	uint8		codes[PQ_MAX_SUBVECTORS + 4] = {0};
	PqCodeError error;

	*strange = false;
	if (PqModelIsFlat(model) || pq->meta.ncurves == 0)
		return false;
	for (int m = 0; m < model->subvectors; m++)
		codes[m] = PqEntryCodes(entry)[m / 2] >> (m % 2 * 4) & 15;
	error = pq_code_error(model, entry->list, point, centroid, codes);
	*strange = !error_within(&pq->meta, &error, pq_list_length(model, entry->list));
	return !error_within(&pq->meta, &error, pq->meta.outlier * pq_list_length(model, entry->list)) ||
		is_outlier_there(index, pq, entry->list, codes, *strange);
}

/*
 * The entry of an outlier, given that which it would have in another list.
 */
PqEntry *
pq_outlier_entry(const PqIndex *pq, const PqEntry *entry, const float *point, float lost)
{
	PqEntry    *outlier = palloc0(PqEntrySize(&pq->flat_layout));

	outlier->nulls = entry->nulls;
	outlier->list = PqOutlierList(pq);
	outlier->tid = entry->tid;
	pq_flat_encode(pq->model, point, lost, (char *) PqEntryRefine(outlier, &pq->flat_layout));
	memcpy(PqEntryFilters(outlier, &pq->flat_layout), PqEntryFilters(entry, &pq->layout),
		   sizeof(int64) * pq->layout.filters.nfilters);
	return outlier;
}
