/*
 * invload.c
 *		Loading: the rows of a table scan are gathered, in the leader of a build and
 *		in its workers.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "utils/memutils.h"

#include "inverted/inverted.h"

static void
load_row(Relation index, ItemPointer tid, Datum *values, bool *isnull, bool alive, void *arg)
{
	InvLoad    *load = arg;
	MemoryContext old = MemoryContextSwitchTo(load->row_context);
	InvDocument doc;

	inv_document(index, load->metric, load->dims, values, isnull, &doc);
	doc.tid = *tid;
	inv_gather_add(load->gather, &doc);
	load->indexed++;
	MemoryContextSwitchTo(old);
	MemoryContextReset(load->row_context);
}

/*
 * Gather the table's rows, or those that a parallel scan gives this process,
 * within about so many bytes.  The caller has set relations, metric, dims, layout.
 */
void
inv_load(InvLoad *load, Size memory, InvMakeFile make_file, void *arg, bool progress, TableScanDesc scan)
{
	load->row_context = AllocSetContextCreate(CurrentMemoryContext, "inverted row", ALLOCSET_DEFAULT_SIZES);
	load->gather = inv_gather_begin(&load->layout, memory, make_file, arg);
	load->tuples = table_index_build_scan(load->heap, load->index, load->info, true, progress,
										  load_row, load, scan);
	MemoryContextDelete(load->row_context);
}
