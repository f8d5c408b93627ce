/*
 * pqinsert.c
 *		Inserting a row: a point with filter values, and a look whether the index is
 *		to learn.
 */
#include "postgres.h"

#include "storage/lmgr.h"
#include "utils/memutils.h"

#include "pq/pq.h"

/*
 * Insert a row.  The lock makes learning anew wait with its switch until the entry
 * is where it can see it; see pqlearn.c.
 */
bool
pq_insert(Relation index, Datum *values, bool *isnull, ItemPointer tid,
		  Relation heap, IndexUniqueCheck check, bool unchanged, IndexInfo *info)
{
	MemoryContext context;
	MemoryContext old;
	PqIndex    *pq;
	const PqModel *model;
	float	   *point;
	float		lost;

	if (isnull[0])
		return false;
	context = AllocSetContextCreate(CurrentMemoryContext, "pq insert", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	LockPage(index, PQ_META_BLOCK, ShareLock);
	pq = pq_index_get(index, context);
	model = pq->model;
	point = palloc(sizeof(float) * model->padded);
	if (pq_embed(pq_index_space(index), model->dims, model->space_dims, model->padded, PqModelCentre(model),
				 values[0], point, &lost))
	{
		PqEntry    *entry = palloc0(PqEntrySize(&pq->layout));
		int64		filters[IX_MAX_FILTERS];

		entry->tid = *tid;
		entry->nulls = ix_filter_form(index, values, isnull, filters);
		memcpy(PqEntryFilters(entry, &pq->layout), filters, sizeof(int64) * pq->layout.filters.nfilters);
		pq_insert_point(index, pq, point, lost, entry);
	}
	UnlockPage(index, PQ_META_BLOCK, ShareLock);
	if (pq->look)
		pq_learn_wanted(index, pq);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return false;
}
