/*
 * pqinfo.c
 *		Functions that look into an index: facts, a check of every entry, and
 *		recall measured against exact search.
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "access/htup_details.h"
#include "access/relscan.h"
#include "access/tableam.h"
#include "catalog/index.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "index/inspect.h"
#include "pq/pq.h"

typedef struct Walk
{
	Relation	index;
	PqIndex    *pq;
	IxPageSet	pages;
	double		live;
	double		dead;
	double		outliers;		/* of those that live */
	PqCounts	counts;			/* as pages say */
	int			lists;			/* that have entries */
	double		largest;
	double		found;			/* entries whose row the snapshot sees */
	/* for the check: of the table */
	Relation	heap;
	BlockNumber heap_blocks;
	IndexFetchTableData *fetch;
	TupleTableSlot *slot;
	EState	   *estate;
	IndexInfo  *info;
} Walk;

/*
 * Does a refine code of a list fit that of its row?  Other kernels round otherwise,
 * and how far a code is said to be off changes with that.  The index may also have
 * learned the code from an older one, which is as far off as it says.
 */
static bool
refine_fits(const Walk *walk, uint32 list, const char *code, const float *origin, const float *point, float lost)
{
	const PqModel *model = walk->pq->model;
	float	   *decoded = palloc(sizeof(float) * model->space_dims);
	float		error = pq_refine_decode(model, PqListIsFlat(walk->pq, list), code, origin, decoded);
	double		square = 0;
	double		norm = 0;

	for (int j = 0; j < model->space_dims; j++)
	{
		square += ((double) decoded[j] - point[j]) * ((double) decoded[j] - point[j]);
		norm += (double) point[j] * point[j];
	}
	pfree(decoded);
	return isinf(error) || isinf(lost) ? error == lost : sqrt(square) <= error + sqrt(norm) * 1e-6;
}

/*
 * Compare an entry's refine code, of which the parts are on these pages, with
 * that of its row.
 */
static void
check_refine(Walk *walk, uint32 list, const BlockNumber *blocks, int slot, const float *origin, const float *point, float lost)
{
	const PqLayout *layout = PqListLayout(walk->pq, list);
	char	   *code = palloc(layout->refine_parts * PQ_REFINE_BYTES);

	for (int part = 0; part < layout->refine_parts; part++)
	{
		Buffer		buffer = ReadBuffer(walk->index, blocks[part]);
		const char *at = PageGetContents(BufferGetPage(buffer)) + slot % layout->refine_slots * layout->refine_size;

		memcpy(code + part * PQ_REFINE_BYTES, at, Min(layout->refine_size - part * PQ_REFINE_BYTES, PQ_REFINE_BYTES));
		ReleaseBuffer(buffer);
	}
	if (!refine_fits(walk, list, code, origin, point, lost))
		ix_corrupt(walk->index, blocks[0], "A refine code does not fit its row.");
	pfree(code);
}

/*
 * Compare an entry's filter values with those of its row.
 */
static void
check_filters(Walk *walk, uint32 list, Page page, BlockNumber block, int slot, const Datum *values, const bool *isnull)
{
	int64		filters[IX_MAX_FILTERS];
	uint32		nulls = ix_filter_form(walk->index, values, isnull, filters);

	if (!ix_filter_equal(page, &PqListLayout(walk->pq, list)->filters, slot, filters, nulls))
		ix_corrupt(walk->index, block, "An entry's filter values do not fit its row.");
}

/*
 * Are an entry's product codes those of its row's point?  Other kernels round
 * otherwise, which moves a code or a step of the term.  What was learned anew was
 * coded from the refine code that was there before, which may be as far off as the
 * next code is: there the refine code, whose error is known, is what can be
 * compared.
 */
static bool
codes_fit(Walk *walk, Page page, uint32 list, int slot, const float *centroid, const float *point, float lost)
{
	const PqModel *model = walk->pq->model;
	const PqLayout *layout = &walk->pq->layout;
	PqEntry    *entry = palloc0(PqEntrySize(layout));
	uint8	   *codes = palloc(layout->nquads * 4);
	uint8		term;
	int			wrong = 0;

	entry->list = list;
	pq_encode(model, layout, point, &lost, &centroid, 1, &entry);
	pq_posting_get(page, layout, slot, codes, &term);
	for (int m = 0; m < model->subvectors; m++)
		wrong += codes[m] != (PqEntryCodes(entry)[m / 2] >> (m % 2 * 4) & 15);
	return walk->pq->meta.generation > 1 || (wrong <= 1 + model->subvectors / 16 && abs(term - entry->term) <= 1 + wrong);
}

/*
 * Compare an entry with what its row would be coded as.
 */
static void
check_codes(Walk *walk, Page page, BlockNumber block, uint32 list, int slot, const float *centroid)
{
	const PqModel *model = walk->pq->model;
	const PqLayout *layout = PqListLayout(walk->pq, list);
	ItemPointerData tid = PqPostingTids(page, layout)[slot];
	bool		again = false;
	Datum		values[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];
	float	   *point;
	float	   *origin;
	float		lost;

	if (!table_index_fetch_tuple(walk->fetch, &tid, GetActiveSnapshot(), walk->slot, &again, NULL))
		return;
	walk->found++;
	GetPerTupleExprContext(walk->estate)->ecxt_scantuple = walk->slot;
	FormIndexDatum(walk->info, walk->slot, walk->estate, values, nulls);
	point = palloc0(sizeof(float) * model->padded);
	if (nulls[0] || !pq_embed(pq_index_space(walk->index), model->dims, model->space_dims, model->padded,
							  PqModelCentre(model), values[0], point, &lost))
		ix_corrupt(walk->index, block, "An entry stands for a row without a vector.");
	origin = palloc(sizeof(float) * model->space_dims);
	if (!PqListIsFlat(walk->pq, list))
	{
		if (!codes_fit(walk, page, list, slot, centroid, point, lost))
			ix_corrupt(walk->index, block, "An entry's codes do not fit its row.");
		pq_list_origin(model, list, centroid, origin);
	}
	check_refine(walk, list, &PqPostingGetHeader(page)->refine[PqRefineNumber(layout, slot)], slot, origin, point, lost);
	check_filters(walk, list, page, block, slot, values, nulls);
	ResetPerTupleExprContext(walk->estate);
}

/*
 * See that inserts into a list start at a page of it.
 */
static void
check_insert_page(Walk *walk, uint32 list)
{
	BlockNumber at = walk->pq->meta.directory_start + list / PQ_ENTRIES_PER_PAGE;
	PqDirectoryEntry entry;
	Buffer		buffer;
	bool		fits;

	pq_read_directory(walk->index, &walk->pq->meta, list, &entry);
	if (entry.insert == InvalidBlockNumber)
		return;
	if (entry.insert >= RelationGetNumberOfBlocks(walk->index))
		ix_corrupt(walk->index, at, "A link leads beyond the end of the file.");
	buffer = ReadBuffer(walk->index, entry.insert);
	fits = pq_page_valid(BufferGetPage(buffer), PQ_PAGE_POSTING) &&
		IxPageGetOpaque(BufferGetPage(buffer))->owner == list;
	ReleaseBuffer(buffer);
	if (!fits)
		ix_corrupt(walk->index, at, "Inserts into a list would start at a page of another.");
}

static void
walk_page(Walk *walk, Page page, BlockNumber block, uint32 list, const float *centroid)
{
	const PqLayout *layout = PqListLayout(walk->pq, list);
	PqPostingHeader *header = PqPostingGetHeader(page);
	int			live = 0;

	for (int i = 0; i < layout->nrefine; i++)
	{
		bool		needed = i / layout->refine_parts * layout->refine_slots < header->nused;
		Buffer		refine;

		if (header->refine[i] == InvalidBlockNumber)
		{
			if (needed)
				ix_corrupt(walk->index, block, "A refine page is missing.");
			continue;
		}
		ix_pages_meet(&walk->pages, header->refine[i]);
		if (!walk->heap)
			continue;
		refine = ReadBuffer(walk->index, header->refine[i]);
		pq_page_check(walk->index, refine, PQ_PAGE_REFINE);
		if (IxPageGetOpaque(BufferGetPage(refine))->owner != list)
			ix_corrupt(walk->index, header->refine[i], "The page belongs to another list.");
		ReleaseBuffer(refine);
	}
	for (int slot = 0; slot < layout->nslots; slot++)
	{
		ItemPointer tid = &PqPostingTids(page, layout)[slot];

		if (!(PqPostingLive(page, layout)[slot / PQ_BLOCK] >> (slot % PQ_BLOCK) & 1))
			continue;
		live++;
		if (slot >= header->nused)
			ix_corrupt(walk->index, block, "An entry lies beyond the used ones.");
		if (!walk->heap)
			continue;
		if (ItemPointerGetBlockNumberNoCheck(tid) >= walk->heap_blocks)
			walk->heap_blocks = RelationGetNumberOfBlocks(walk->heap);
		if (ItemPointerGetBlockNumberNoCheck(tid) >= walk->heap_blocks ||
			ItemPointerGetOffsetNumberNoCheck(tid) == InvalidOffsetNumber)
			ix_corrupt(walk->index, block, "An entry leads beyond the end of the table.");
		check_codes(walk, page, block, list, slot, centroid);
	}
	if (live != header->nlive)
		ix_corrupt(walk->index, block, "The page's count of entries is wrong.");
	walk->live += live;
	walk->dead += header->nused - live;
}

/*
 * Walk all lists.  Pages are copied under their lock, since fetching rows takes
 * other locks.
 */
static void
walk_lists(Walk *walk)
{
	float	   *centroid = palloc(sizeof(float) * walk->pq->model->space_dims);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pq walk", ALLOCSET_DEFAULT_SIZES);
	PGAlignedBlock page;

	ix_pages_init(&walk->pages, walk->index);
	for (uint32 list = 0; list < PqMetaLists(&walk->pq->meta); list++)
	{
		BlockNumber block = pq_list_head(walk->pq, walk->index, list);
		double		before = walk->live;

		if (walk->heap)
			check_insert_page(walk, list);
		if (walk->heap && block != InvalidBlockNumber && !PqListIsFlat(walk->pq, list))
			pq_read_centroid(walk->index, walk->pq, list, centroid);
		while (block != InvalidBlockNumber)
		{
			Buffer		buffer;
			MemoryContext old;

			CHECK_FOR_INTERRUPTS();
			ix_pages_meet(&walk->pages, block);
			buffer = ReadBuffer(walk->index, block);
			LockBuffer(buffer, BUFFER_LOCK_SHARE);
			pq_posting_check(walk->index, buffer, PqListLayout(walk->pq, list), list);
			memcpy(page.data, BufferGetPage(buffer), BLCKSZ);
			UnlockReleaseBuffer(buffer);
			pq_count_page(&walk->counts, PqPostingGetHeader(page.data), list == PqOutlierList(walk->pq));
			old = MemoryContextSwitchTo(context);
			walk_page(walk, page.data, block, list, centroid);
			MemoryContextSwitchTo(old);
			MemoryContextReset(context);
			block = PqPostingGetHeader(page.data)->next;
		}
		if (list == PqOutlierList(walk->pq))
		{
			walk->outliers = walk->live - before;
			continue;
		}
		if (walk->live > before)
			walk->lists++;
		walk->largest = Max(walk->largest, walk->live - before);
	}
}

/*
 * Count the rows that the index should have; every one that the snapshot sees
 * must have been met in the index, and no entry may lead to another's.
 */
static void
count_rows(Walk *walk)
{
	TableScanDesc scan = table_beginscan_compat(walk->heap, GetActiveSnapshot(), 0, NULL);
	ExprState  *predicate = ExecPrepareQual(walk->info->ii_Predicate, walk->estate);
	ExprContext *econtext = GetPerTupleExprContext(walk->estate);
	const PqSpace *space = pq_index_space(walk->index);
	const PqModel *model = walk->pq->model;
	float	   *point = palloc(sizeof(float) * model->padded);
	float		lost;
	double		rows = 0;

	econtext->ecxt_scantuple = walk->slot;
	while (table_scan_getnextslot(scan, ForwardScanDirection, walk->slot))
	{
		Datum		values[INDEX_MAX_KEYS];
		bool		nulls[INDEX_MAX_KEYS];
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		ResetExprContext(econtext);
		if (predicate && !ExecQual(predicate, econtext))
			continue;
		FormIndexDatum(walk->info, walk->slot, walk->estate, values, nulls);
		if (nulls[0])
			continue;
		old = MemoryContextSwitchTo(econtext->ecxt_per_tuple_memory);
		rows += space->metric != PQ_METRIC_COSINE ||
			pq_embed(space, model->dims, model->space_dims, model->padded, NULL, values[0], point, &lost);
		MemoryContextSwitchTo(old);
	}
	table_endscan(scan);
	if (rows != walk->found)
		ereport(ERROR,
				(errcode(ERRCODE_INDEX_CORRUPTED),
				 errmsg("index \"%s\" is corrupted", RelationGetRelationName(walk->index)),
				 errdetail("It leads to %.0f of the %.0f rows that it should have.", walk->found, rows),
				 errhint("Rebuild the index with REINDEX.")));
}

/* A number as JSON has it, which knows no infinity: a rule without a limit is null. */
static const char *
json_number(double value)
{
	return isfinite(value) ? psprintf("%.4f", value) : "null";
}

/*
 * Curves as a JSON array of their points, those for queries unlike rows with how
 * strange these must be, which may be "-Infinity": then all have the rule.
 */
static Datum
tell_curves(const PqCurve *curves, int ncurves, bool unlike)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '[');
	for (int c = 0; c < ncurves; c++)
		for (int p = 0; p < curves[c].n; p++)
		{
			const PqCurvePoint *point = &curves[c].points[p];

			appendStringInfo(&json, "%s{\"k\": %d, \"recall\": %.4f, \"probes\": %d, \"list\": %s, \"code\": %s",
							 c + p ? ", " : "", curves[c].k, point->recall, point->probes,
							 json_number(point->list), json_number(point->code));
			if (unlike)
				appendStringInfo(&json, ", \"strange\": %s", isfinite(point->strange) ? json_number(point->strange) :
								 point->strange < 0 ? "\"-Infinity\"" : "\"Infinity\"");
			appendStringInfoChar(&json, '}');
		}
	appendStringInfoChar(&json, ']');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}

static Datum
check_index(const IxInspected *inspected, FunctionCallInfo fcinfo)
{
	Walk		walk = {0};

	walk.index = inspected->index;
	walk.heap = inspected->heap;
	walk.pq = pq_index_get(walk.index, CurrentMemoryContext);
	walk.heap_blocks = RelationGetNumberOfBlocks(walk.heap);
	walk.info = BuildIndexInfo(walk.index);
	walk.estate = CreateExecutorState();
	walk.slot = table_slot_create(walk.heap, NULL);
	walk.fetch = table_index_fetch_begin_compat(walk.heap);
	walk_lists(&walk);
	/* it may lack rows that old snapshots see */
	if (!walk.index->rd_index->indcheckxmin)
		count_rows(&walk);
	table_index_fetch_end(walk.fetch);
	ExecDropSingleTupleTableSlot(walk.slot);
	FreeExecutorState(walk.estate);
	PG_RETURN_INT64((int64) walk.live);
}

PG_FUNCTION_INFO_V1(jflow_pq_check);
/*
 * jflow_pq_check(index regclass) RETURNS int8: raises where the index is
 * corrupted or lacks a row, and returns the number of entries otherwise.
 */
Datum
jflow_pq_check(PG_FUNCTION_ARGS)
{
	return ix_inspect(PG_GETARG_OID(0), "pq", check_index, fcinfo);
}

static Datum
tell_facts(const IxInspected *inspected, FunctionCallInfo fcinfo)
{
	Walk		walk = {0};
	const PqModel *model;
	const PqSpace *space;
	TupleDesc	desc;
	Datum		values[20];
	bool		nulls[20] = {0};
	int			i = 0;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	walk.index = inspected->index;
	walk.pq = pq_index_get(walk.index, CurrentMemoryContext);
	walk_lists(&walk);
	model = walk.pq->model;
	space = pq_index_space(walk.index);
	values[i++] = Int32GetDatum(walk.pq->meta.version);
	values[i++] = CStringGetTextDatum(space->type_name);
	values[i++] = CStringGetTextDatum(space->metric_name);
	values[i++] = Int32GetDatum(model->dims);
	values[i++] = Int32GetDatum(model->space_dims);
	values[i++] = Int32GetDatum(model->nlists);
	values[i++] = Int32GetDatum(model->subvectors);
	values[i++] = Int64GetDatum((int64) walk.live);
	values[i++] = Int64GetDatum((int64) walk.dead);
	values[i++] = Int64GetDatum((int64) walk.pq->meta.tuples);
	/* 1 where all lists are as long as the mean */
	values[i++] = Float8GetDatum(walk.live > 0 ? walk.largest * model->nlists / walk.live : 0);
	values[i++] = Int64GetDatum((int64) walk.pages.nblocks);
	values[i++] = Int64GetDatum((int64) walk.pages.nblocks * BLCKSZ);
	nulls[i] = walk.pq->meta.codebook[0] == '\0';
	values[i++] = CStringGetTextDatum(walk.pq->meta.codebook);
	values[i++] = tell_curves(walk.pq->meta.curves, walk.pq->meta.ncurves, false);
	values[i++] = Int32GetDatum(walk.pq->meta.generation);
	/* rows for each that was learned from */
	nulls[i] = walk.pq->meta.tuples <= 0;
	values[i++] = Float8GetDatum(walk.live / Max(walk.pq->meta.tuples, 1));
	values[i++] = Int64GetDatum((int64) walk.outliers);
	values[i++] = BoolGetDatum(pq_learning_due(&walk.pq->meta, &walk.counts));
	values[i++] = tell_curves(walk.pq->meta.unlike_curves, walk.pq->meta.nunlike, true);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}

PG_FUNCTION_INFO_V1(jflow_pq_info);
/*
 * jflow_pq_info(index regclass): one row of facts.
 */
Datum
jflow_pq_info(PG_FUNCTION_ARGS)
{
	return ix_inspect(PG_GETARG_OID(0), "pq", tell_facts, fcinfo);
}
