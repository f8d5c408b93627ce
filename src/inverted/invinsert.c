/*
 * invinsert.c
 *		Inserting a row: onto the pending list, which is made a segment when it has
 *		become long.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "inverted/inverted.h"

/*
 * Append a row, and when the list has become long, make it a segment, unless
 * somebody is at it.
 */
bool
inv_insert(Relation index, Datum *values, bool *isnull, ItemPointer tid,
		   Relation heap, IndexUniqueCheck check, bool unchanged, IndexInfo *info)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "inverted insert", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	InvDocument doc;

	inv_document(index, inv_index_metric(index), inv_index_dims(index), values, isnull, &doc);
	doc.tid = *tid;
	if (inv_pending_append(index, &doc) && inv_maintain_lock(index, false))
	{
		inv_maintain(index, false);
		inv_maintain_unlock(index);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return false;
}
