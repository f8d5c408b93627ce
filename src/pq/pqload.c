/*
 * pqload.c
 *		Loading: rows are gathered in batches, assigned, coded and sorted.
 */
#include "postgres.h"

#include "catalog/pg_operator_d.h"
#include "catalog/pg_type_d.h"
#include "commands/progress.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "pq/pq.h"
#include "pq/pqbuild.h"

#define BATCH 256

struct PqLoader
{
	PqBuild    *build;
	MemoryContext row_context;	/* of one row, and of one batch */
	TupleTableSlot *slot;
	float	   *points;
	float		lost[BATCH];	/* by rounding, of each point */
	PqEntry   **entries;
	char	   *data;			/* of the entries, as bytea */
	Size		entry_size;
	int			n;
	double		indexed;
};

/*
 * Entries are sorted as (list, TID as a number, bytes).
 */
static TupleDesc
sort_descriptor(void)
{
	TupleDesc	desc = CreateTemplateTupleDesc(3);

	TupleDescInitEntry(desc, (AttrNumber) 1, "list", INT4OID, -1, 0);
	TupleDescInitEntry(desc, (AttrNumber) 2, "tid", INT8OID, -1, 0);
	TupleDescInitEntry(desc, (AttrNumber) 3, "entry", BYTEAOID, -1, 0);
	tuple_desc_finalize_compat(desc);
	return desc;
}

/*
 * What maintenance_work_mem leaves to the sort of each of so many processes, in
 * kB: not what the model and its two copies of the centroids take, nor a part
 * for all that is small or lies between.
 */
int
pq_sort_memory(const PqBuild *build, int participants)
{
	const PqModel *model = build->trained->model;
	Size		centroids = sizeof(float) * (Size) PqModelSlots(model) * model->space_dims;
	Size		taken = (model->size + 2 * centroids) / 1024;
	Size		share = (maintenance_work_mem - maintenance_work_mem / 16) / participants;

	return (int) Max(64, share > taken ? share - taken : 0);
}

/*
 * Start a sort of entries in so many kB.
 */
void
pq_sort_begin(PqBuild *build, SortCoordinate coordinate, int memory)
{
	AttrNumber	columns[] = {1, 2};
	Oid			operators[] = {Int4LessOperator, Int8LessOperator};
	Oid			collations[] = {InvalidOid, InvalidOid};
	bool		nulls_first[] = {false, false};

	build->sort_desc = sort_descriptor();
	build->sort = tuplesort_begin_heap(build->sort_desc, 2, columns, operators, collations,
									   nulls_first, memory, coordinate, TUPLESORT_NONE);
}

/*
 * Start loading into such a sort.
 */
PqLoader *
pq_loader_begin(PqBuild *build, SortCoordinate coordinate, int memory)
{
	PqLoader   *loader = palloc0(sizeof(PqLoader));

	loader->build = build;
	loader->row_context = AllocSetContextCreate(CurrentMemoryContext, "pq row", ALLOCSET_DEFAULT_SIZES);
	pq_sort_begin(build, coordinate, memory);
	loader->slot = MakeSingleTupleTableSlot(build->sort_desc, &TTSOpsVirtual);
	loader->points = palloc0(sizeof(float) * (Size) BATCH * build->trained->model->padded);
	loader->entry_size = MAXALIGN(VARHDRSZ + MAXIMUM_ALIGNOF + PqEntrySize(&build->layout));
	loader->data = palloc0(loader->entry_size * BATCH);
	loader->entries = palloc(sizeof(PqEntry *) * BATCH);
	for (int i = 0; i < BATCH; i++)
		loader->entries[i] = (PqEntry *) (loader->data + i * loader->entry_size + MAXIMUM_ALIGNOF);
	return loader;
}

static void
flush_batch(PqLoader *loader)
{
	PqBuild    *build = loader->build;
	const PqModel *model = build->trained->model;
	int32		lists[BATCH];
	const float *centroids[BATCH];
	MemoryContext old = MemoryContextSwitchTo(loader->row_context);

	CHECK_FOR_INTERRUPTS();
	pq_assign(build->trained, loader->points, loader->n, lists);
	for (int i = 0; i < loader->n; i++)
	{
		centroids[i] = build->trained->centroids + (size_t) lists[i] * model->space_dims;
		loader->entries[i]->list = lists[i];
	}
	pq_encode(model, &build->layout, loader->points, loader->lost, centroids, loader->n, loader->entries);
	for (int i = 0; i < loader->n; i++)
	{
		PqEntry    *entry = loader->entries[i];
		bytea	   *bytes = (bytea *) ((char *) entry - VARHDRSZ);
		TupleTableSlot *slot = loader->slot;

		SET_VARSIZE(bytes, VARHDRSZ + PqEntrySize(&build->layout));
		ExecClearTuple(slot);
		slot->tts_values[0] = Int32GetDatum(lists[i]);
		slot->tts_values[1] = Int64GetDatum((int64) ItemPointerGetBlockNumber(&entry->tid) << 16 |
											ItemPointerGetOffsetNumber(&entry->tid));
		slot->tts_values[2] = PointerGetDatum(bytes);
		memset(slot->tts_isnull, 0, sizeof(bool) * 3);
		ExecStoreVirtualTuple(slot);
		tuplesort_puttupleslot(build->sort, slot);
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(loader->row_context);
	loader->n = 0;
}

/* Take a row of a table scan: its argument is a PqLoader. */
void
pq_loader_row(Relation index, ItemPointer tid, Datum *values, bool *isnull, bool alive, void *arg)
{
	PqLoader   *loader = arg;
	PqBuild    *build = loader->build;
	const PqModel *model = build->trained->model;
	int64		filters[IX_MAX_FILTERS];
	MemoryContext old;
	bool		usable;

	if (isnull[0])
		return;
	old = MemoryContextSwitchTo(loader->row_context);
	usable = pq_embed(build->space, model->dims, model->space_dims, model->padded, PqModelCentre(model), values[0],
					  loader->points + (size_t) loader->n * model->padded, &loader->lost[loader->n]);
	MemoryContextSwitchTo(old);
	if (!usable)
		return;
	pq_loader_entry(loader, tid, filters, ix_filter_form(index, values, isnull, filters));
}

/*
 * Where the next point goes, which lost so much when it became one.
 */
float *
pq_loader_point(PqLoader *loader, float lost)
{
	loader->lost[loader->n] = lost;
	return loader->points + (size_t) loader->n * loader->build->trained->model->padded;
}

/*
 * Take the next point, whose filter values these are.
 */
void
pq_loader_entry(PqLoader *loader, const ItemPointerData *tid, const int64 *filters, uint32 nulls)
{
	const PqLayout *layout = &loader->build->layout;
	PqEntry    *entry = loader->entries[loader->n];

	entry->tid = *tid;
	entry->nulls = nulls;
	memcpy(PqEntryFilters(entry, layout), filters, sizeof(int64) * layout->filters.nfilters);
	loader->indexed++;
	if (++loader->n == BATCH)
		flush_batch(loader);
}

/*
 * Sort what was loaded; returns the number of entries.
 */
double
pq_loader_end(PqLoader *loader)
{
	if (loader->n > 0)
		flush_batch(loader);
	ExecDropSingleTupleTableSlot(loader->slot);
	MemoryContextDelete(loader->row_context);
	pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE, PQ_PHASE_SORT);
	tuplesort_performsort(loader->build->sort);
	return loader->indexed;
}

/*
 * Write the sorted entries.
 */
void
pq_load_write(PqBuild *build, PqWriter *writer)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(build->sort_desc, &TTSOpsMinimalTuple);
	PqEntry    *entry = palloc(PqEntrySize(&build->layout));
	int64		done = 0;

	pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_TOTAL, (int64) build->indexed);
	while (tuplesort_gettupleslot(build->sort, true, false, slot, NULL))
	{
		bool		isnull;
		bytea	   *bytes = DatumGetByteaPP(slot_getattr(slot, 3, &isnull));

		/* bytes are aligned for chars only */
		memcpy(entry, VARDATA_ANY(bytes), PqEntrySize(&build->layout));
		pq_writer_add(writer, entry);
		if ((++done & 1023) == 0)
			pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE, done);
	}
	pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE, done);
	pfree(entry);
	ExecDropSingleTupleTableSlot(slot);
	tuplesort_end(build->sort);
}
