/*
 * pqflat.c
 *		Flat lists, whose entries are found by the distances of their points.
 *
 * As long as an index has too few rows to learn from, it has one list that is
 * flat: its refine codes are the points of its entries, and what a scan knows of
 * an entry is its distance to within rounding instead of an estimate.  Whatever
 * the rows are like, the nearest are found, and none of what is learned later is
 * lost in codes that were made for others.  So is the list of outliers
 * (pqoutlier.c).
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "miscadmin.h"
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
		error += sqrtf(pq_kernels->dot(point, point, model->space_dims)) * DOT_ROUNDING;
	memcpy(code, &error, sizeof(error));
	memcpy(code + sizeof(error), point, sizeof(float) * model->space_dims);
}

/*
 * The distance of an entry, and how far it may be off, from its refine code of
 * which the parts lie in the buffers.
 */
static double
entry_distance(const PqSearch *search, const PqLayout *layout, const Buffer *buffers, int slot, float *error)
{
	const PqModel *model = search->pq->model;

	/* an inner product is that with the vector, a point lies about the centre */
	double		sum = -search->refine_bias;
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
		n = Min(model->space_dims - done, room);
		if (model->metric == PQ_METRIC_IP)
			sum -= pq_kernels->dot(search->query + done, (const float *) at, n);
		else if (model->metric == PQ_METRIC_L1)
			sum += pq_l1(search->query + done, (const float *) at, n);
		else
			sum += pq_kernels->l2(search->query + done, (const float *) at, n);
		done += n;
	}
	return sum;
}

/* Pin the pages of a slot's refine code instead of those that are pinned. */
static void
pin_refine(PqSearch *search, const PqLayout *layout, const PqPostingHeader *header, int number, Buffer *buffers)
{
	for (int part = 0; part < layout->refine_parts; part++)
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
 * For each candidate from a copy of a posting page of a flat list its distance (or
 * minus the inner product), and how far that may be off.  The bytes of a live entry
 * do not change, so its refine page needs no lock.
 */
void
pq_flat_distances(PqSearch *search, uint32 list, Page page, double *distances, float *errors)
{
	const PqLayout *layout = PqListLayout(search->pq, list);
	Buffer		buffers[PQ_MAX_PARTS] = {InvalidBuffer};
	int			pinned = -1;

	for (int i = 0; i < search->ncandidates; i++)
	{
		int			slot = search->candidates[i].probe;
		int			number = PqRefineNumber(layout, slot);
		double		value;
		float		error = 0;

		if (number != pinned)
		{
			pin_refine(search, layout, PqPostingGetHeader(page), number, buffers);
			pinned = number;
		}
		value = entry_distance(search, layout, buffers, slot, &error);
		if (search->pq->model->metric != PQ_METRIC_IP && search->pq->model->metric != PQ_METRIC_L1)
			value = sqrt(value);
		distances[i] = isfinite(value) ? value : 0;
		errors[i] = isfinite(value) && error >= 0 ? error + search->lost : INFINITY;
	}
	for (int part = 0; part < layout->refine_parts; part++)
		if (BufferIsValid(buffers[part]))
			ReleaseBuffer(buffers[part]);
}
