/*
 * pqflat.c
 *		Flat indexes: all entries in one list, found by the distances of their
 *		points.
 *
 * As long as an index has too few rows to learn from, its refine codes are the
 * points of its entries, and what a scan knows of an entry is its distance to
 * within rounding instead of an estimate.  Whatever the rows are like, the
 * nearest are found, and none of what is learned later is lost in codes that were
 * made for others.
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/rel.h"

#include "index/page.h"
#include "pq/pq.h"

/* Relative rounding error of a dot product of floats. */
#define DOT_ROUNDING 1e-6

/*
 * Code a point: itself, behind how far its distances may be off, which is never
 * 0, so that rounding decides about no two rows.
 */
void
pq_flat_encode(const PqModel *model, const float *point, float lost, char *code)
{
	float		error;

	error = lost + FLT_MIN;
	if (model->metric == PQ_METRIC_IP)
		error += sqrtf(pq_kernels->dot(point, point, model->inner)) * DOT_ROUNDING;
	memcpy(code, &error, sizeof(error));
	memcpy(code + sizeof(error), point, sizeof(float) * model->inner);
}

/*
 * The distance of an entry, and how far it may be off, from its refine code of
 * which the parts lie in the buffers.
 */
static float
entry_distance(const PqSearch *search, const Buffer *buffers, int slot, float *error)
{
	const PqModel *model = search->pq->model;
	const PqLayout *layout = &search->pq->layout;
	float		sum = 0;
	int			done = 0;

	for (int part = 0; part < layout->refine_parts; part++)
	{
		const char *at = PageGetContents(BufferGetPage(buffers[part]));
		int			room = PQ_REFINE_BYTES / (int) sizeof(float);
		int			n;

		if (part == 0)
		{
			at += slot % layout->refine_slots * layout->refine_size;
			memcpy(error, at, sizeof(*error));
			at += sizeof(*error);
			room--;
		}
		n = Min(model->inner - done, room);
		sum += model->metric == PQ_METRIC_IP ?
			-pq_kernels->dot(search->query + done, (const float *) at, n) :
			pq_kernels->l2(search->query + done, (const float *) at, n);
		done += n;
	}
	return sum;
}

/* Pin the pages of a slot's refine code instead of those that are pinned. */
static void
pin_refine(PqSearch *search, const PqPostingHeader *header, int number, Buffer *buffers)
{
	for (int part = 0; part < search->pq->layout.refine_parts; part++)
	{
		if (BufferIsValid(buffers[part]))
			ReleaseBuffer(buffers[part]);
		buffers[part] = InvalidBuffer;
		if (header->refine[number + part] == InvalidBlockNumber)
			ix_corrupt(search->index, InvalidBlockNumber, "An entry has no refine page.");
		buffers[part] = pq_read(search->pq, search->index, header->refine[number + part]);
		/* a damaged page is a wrong distance at worst, but must be a page */
		pq_page_check(search->index, buffers[part], PQ_PAGE_REFINE);
	}
}

/*
 * Offer the entries of a posting page, of which this is a copy.  The bytes of a
 * live entry do not change, so its refine page needs no lock.
 */
static void
offer_page(PqSearch *search, const PqProbe *probe, Page page)
{
	const PqLayout *layout = &search->pq->layout;
	const PqPostingHeader *header = PqPostingGetHeader(page);
	const ItemPointerData *tids = PqPostingTids(page, layout);
	Buffer		buffers[PQ_MAX_PARTS] = {InvalidBuffer};
	int			pinned = -1;

	for (int b = 0; b * PQ_BLOCK < header->nused; b++)
	{
		uint32		mask = PqPostingLive(page, layout)[b] & PqUsedMask(header, b);

		if (mask && search->nfilters > 0)
		{
			search->tested += pg_popcount32(mask);
			mask &= ix_filters_mask(search->filters, search->nfilters, page, &layout->filters, b);
			search->passed += pg_popcount32(mask);
		}
		for (; mask; mask &= mask - 1)
		{
			int			slot = b * PQ_BLOCK + pg_rightmost_one_pos32(mask);
			int			number = PqRefineNumber(layout, slot);
			float		distance;
			float		error = 0;

			if (number != pinned)
			{
				pin_refine(search, header, number, buffers);
				pinned = number;
			}
			distance = entry_distance(search, buffers, slot, &error);
			/* what was cut off may be anywhere, also nearest */
			pq_search_offer(search, probe, isinf(error) ? 0 : PqRankOf(distance),
							(uint64) header->refine[number] << 16, error, &tids[slot]);
		}
	}
	for (int part = 0; part < layout->refine_parts; part++)
		if (BufferIsValid(buffers[part]))
			ReleaseBuffer(buffers[part]);
}

/*
 * Offer all entries of a flat index's list.
 */
void
pq_flat_scan(PqSearch *search, const PqProbe *probe)
{
	PqIndex    *pq = search->pq;
	BlockNumber block = pq_list_head(pq, search->index, probe->slot);
	BlockNumber steps = 0;

	if (!search->page)
		search->page = palloc(sizeof(PGAlignedBlock));
	while (block != InvalidBlockNumber)
	{
		Buffer		buffer = pq_read(pq, search->index, block);

		CHECK_FOR_INTERRUPTS();
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		pq_posting_check(search->index, buffer, &pq->layout, probe->slot);
		memcpy(search->page->data, BufferGetPage(buffer), BLCKSZ);
		UnlockReleaseBuffer(buffer);
		offer_page(search, probe, search->page->data);
		block = PqPostingGetHeader(search->page->data)->next;
		if ((++steps & 1023) == 0 && steps > RelationGetNumberOfBlocks(search->index))
			ix_corrupt(search->index, block, "The pages of a list form a circle.");
	}
}

/*
 * For each candidate its distance (or minus the inner product), and how far that
 * may be off.
 */
void
pq_flat_distances(const PqSearch *search, double *distances, float *errors)
{
	bool		dot = search->pq->model->metric == PQ_METRIC_IP;

	for (int i = 0; i < search->ncandidates; i++)
	{
		const PqCandidate *c = &search->candidates[i];
		float		value = isinf(c->error) ? 0 : PqEstimateOf(c->rank >> 32);

		if (!dot)
			value = sqrtf(value);
		distances[i] = isfinite(value) ? value : 0;
		errors[i] = isfinite(value) && c->error >= 0 ? c->error + search->slack : INFINITY;
	}
}
