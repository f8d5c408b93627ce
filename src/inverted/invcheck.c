/*
 * invcheck.c
 *		A check of all pages and entries of an index against its table.
 *
 * It has a view of the index as a scan has, so inserts, merges and VACUUM go on
 * meanwhile.  A document's postings lie all over a segment, so what they say of it
 * is added up into a sum, to be compared with that of its row.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "catalog/index.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "index/inspect.h"
#include "inverted/invsearch.h"

/*
 * What the dictionary of a segment says of a term: kept in memory, since each
 * posting of each row asks for it.
 */
typedef struct Bounds
{
	int32		term;
	float		least;
	float		greatest;
} Bounds;

typedef struct Check
{
	Relation	index;
	Relation	heap;
	InvSearch  *search;
	InvMetric	metric;
	IxPageSet	pages;
	BlockNumber heap_blocks;
	IndexFetchTableData *fetch;
	TupleTableSlot *slot;
	EState	   *estate;
	IndexInfo  *info;
	MemoryContext row_context;
	Bounds	   *bounds;			/* of the segment in hand, in order of terms */
	uint64		nbounds;
	uint64		max_bounds;
	int64		live;
	double		found;			/* entries whose row the snapshot sees */
} Check;

/* What a posting says, as a number to be added up. */
static uint64
posting_sum(int32 term, uint8 code)
{
	uint64		both = (uint64) (uint32) term << 8 | code;

	return hash_bytes_extended((const unsigned char *) &both, sizeof(both), 0);
}

/*
 * What should be in the index for the row behind a TID; false if the snapshot
 * sees none.  In the row's context.
 */
static bool
expected_document(Check *check, BlockNumber block, const ItemPointerData *tid, InvDocument *doc)
{
	ItemPointerData at = *tid;
	bool		again = false;
	Datum		values[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];

	if (ItemPointerGetBlockNumberNoCheck(tid) >= check->heap_blocks)
		check->heap_blocks = RelationGetNumberOfBlocks(check->heap);
	if (ItemPointerGetBlockNumberNoCheck(tid) >= check->heap_blocks ||
		ItemPointerGetOffsetNumberNoCheck(tid) == InvalidOffsetNumber)
		ix_corrupt(check->index, block, "An entry leads beyond the end of the table.");
	check->live++;
	if (!table_index_fetch_tuple(check->fetch, &at, GetActiveSnapshot(), check->slot, &again, NULL))
		return false;
	check->found++;
	ResetPerTupleExprContext(check->estate);
	GetPerTupleExprContext(check->estate)->ecxt_scantuple = check->slot;
	FormIndexDatum(check->info, check->slot, check->estate, values, nulls);
	inv_document(check->index, check->metric, check->search->query.dims, values, nulls, doc);
	return true;
}

/* Walk all pages of a segment along their links. */
static void
check_links(Check *check, InvSearchPart *part)
{
	BlockNumber block = part->part.first;
	BlockNumber n = 0;

	while (block != InvalidBlockNumber)
	{
		Buffer		buffer;
		Page		page;
		BlockNumber next;
		bool		fits;

		CHECK_FOR_INTERRUPTS();
		ix_pages_meet(&check->pages, block);
		buffer = ReadBuffer(check->index, block);
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		page = BufferGetPage(buffer);
		fits = !PageIsNew(page) && ((PageHeader) page)->pd_special == BLCKSZ - sizeof(IxPageOpaqueData) &&
			IxPageGetOpaque(page)->page_id == INV_PAGE_ID && IxPageGetOpaque(page)->owner == part->part.id;
		next = InvPageGetHeader(page)->link;
		UnlockReleaseBuffer(buffer);
		if (!fits)
		{
			if (check->search->reader.standby)
				check->search->reader.stale = true;
			inv_check_stale(check->search);
			ix_corrupt(check->index, block, "The page belongs to another segment.");
		}
		n++;
		block = next;
	}
	if (n != part->part.npages)
		ix_corrupt(check->index, part->part.first, "The segment has not as many pages as it counts.");
}

/* Add up what postings say of each document. */
static uint64
check_term(Check *check, InvSearchPart *part, const InvTerm *term, uint64 *sums)
{
	InvCursor  *cursor = palloc0(sizeof(InvCursor));
	InvTerm		found;
	InvCells	cells;
	uint64		n = 0;
	uint8		least = 255;
	uint8		greatest = 0;
	uint8		most;

	if (!inv_find_term(&check->search->reader, &part->part, part->head, term->term, &found) ||
		memcmp(&found, term, sizeof(found)) != 0)
	{
		inv_check_stale(check->search);
		ix_corrupt(check->index, part->part.first, "A term cannot be found from the root.");
	}
	inv_cells(&cells, term->least, term->greatest);
	most = inv_cell(&cells, term->greatest);
	inv_cursor_open(check->search, part, cursor, term, 0, false);
	for (inv_cursor_seek(check->search, part, cursor, 0); cursor->doc != INV_END;
		 inv_cursor_seek(check->search, part, cursor, cursor->doc + 1))
	{
		uint8		code = cursor->codes[cursor->at];

		if (code > most)
			ix_corrupt(check->index, part->part.first, "A weight is beyond those of its term.");
		sums[cursor->doc] += posting_sum(term->term, code);
		n++;
		least = Min(least, code);
		greatest = Max(greatest, code);
		if (cursor->at == cursor->n - 1)
		{
			const InvSkip *skip = &cursor->skips[cursor->block];

			CHECK_FOR_INTERRUPTS();
			if (cursor->nblocks > 1 && (skip->least != least || skip->greatest != greatest))
				ix_corrupt(check->index, skip->block, "A block's bounds are not those of its weights.");
			least = 255;
			greatest = 0;
		}
	}
	if (n != term->count)
	{
		inv_check_stale(check->search);
		ix_corrupt(check->index, part->part.first, "A term has not as many postings as it counts.");
	}
	return n;
}

static void
keep_bounds(Check *check, const InvTerm *term)
{
	if (check->nbounds == check->max_bounds)
	{
		check->max_bounds *= 2;
		check->bounds = repalloc_huge(check->bounds, sizeof(Bounds) * check->max_bounds);
	}
	check->bounds[check->nbounds].term = term->term;
	check->bounds[check->nbounds].least = term->least;
	check->bounds[check->nbounds++].greatest = term->greatest;
}

static const Bounds *
bounds_of(const Check *check, int32 term)
{
	uint64		low = 0,
				high = check->nbounds;

	while (low < high)
	{
		uint64		middle = (low + high) / 2;

		if (check->bounds[middle].term < term)
			low = middle + 1;
		else
			high = middle;
	}
	return low < check->nbounds && check->bounds[low].term == term ? &check->bounds[low] : NULL;
}

static void
check_terms(Check *check, InvSearchPart *part, uint64 *sums)
{
	PGAlignedBlock page;
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "inverted term", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	uint64		nterms = 0;
	uint64		npostings = 0;
	int64		before = PG_INT64_MIN;

	for (BlockNumber block = inv_first_leaf(&check->search->reader, &part->part, part->head);
		 block != InvalidBlockNumber; block = InvPageGetHeader(page.data)->next)
	{
		const InvTerm *terms = (InvTerm *) (page.data + INV_PAGE_START);

		if (!inv_read_page(&check->search->reader, part->part.id, block, INV_PAGE_DICTIONARY, page.data))
			inv_check_stale(check->search);
		if (InvPageGetHeader(page.data)->count > INV_TERMS_PER_PAGE)
			ix_corrupt(check->index, block, "The page counts more than it can hold.");
		for (int i = 0; i < InvPageGetHeader(page.data)->count; i++)
		{
			if (terms[i].term <= before)
				ix_corrupt(check->index, block, "Terms are out of order.");
			before = terms[i].term;
			keep_bounds(check, &terms[i]);
			npostings += check_term(check, part, &terms[i], sums);
			nterms++;
			MemoryContextReset(context);
		}
	}
	if (nterms != part->head->nterms || npostings != part->head->npostings)
	{
		inv_check_stale(check->search);
		ix_corrupt(check->index, part->part.first, "The segment's counts do not fit each other.");
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

/* Compare a document of a segment with its row. */
static void
check_row(Check *check, InvSearchPart *part, BlockNumber block, Page page, int slot, uint64 sum)
{
	const InvLayout *layout = &check->search->reader.layout;
	InvDocument doc;

	if (!expected_document(check, block, &InvPageTids(page, layout)[slot], &doc))
		return;
	for (int i = 0; i < doc.nterms; i++)
	{
		const Bounds *bounds = bounds_of(check, doc.terms[i]);
		InvCells	cells;

		if (bounds == NULL)
			ix_corrupt(check->index, block, "A term of a row is not in the index.");
		if (doc.weights[i] < bounds->least || doc.weights[i] > bounds->greatest)
			ix_corrupt(check->index, block, "A weight is beyond those of its term.");
		inv_cells(&cells, bounds->least, bounds->greatest);
		sum -= posting_sum(doc.terms[i], inv_cell(&cells, doc.weights[i]));
	}
	if (sum != 0)
		ix_corrupt(check->index, block, "Postings do not fit their row.");
	if (!ix_filter_equal(page, &layout->filters, slot, doc.filters, doc.nulls))
		ix_corrupt(check->index, block, "An entry's filter values do not fit its row.");
}

static void
check_docs(Check *check, InvSearchPart *part, const uint64 *sums)
{
	const InvLayout *layout = &check->search->reader.layout;
	MemoryContext old = MemoryContextSwitchTo(check->row_context);
	PGAlignedBlock map;
	PGAlignedBlock page;
	ItemPointerData before;

	ItemPointerSetInvalid(&before);
	for (uint32 i = 0; i < part->head->ndocpages; i++)
	{
		BlockNumber block;
		int			count;
		int			dead = 0;

		if (i % INV_MAP_ENTRIES == 0 &&
			!inv_read_page(&check->search->reader, part->part.id, part->head->maps[i / INV_MAP_ENTRIES], INV_PAGE_MAP, map.data))
			inv_check_stale(check->search);
		block = ((BlockNumber *) (map.data + INV_PAGE_START))[i % INV_MAP_ENTRIES];
		if (!inv_read_page(&check->search->reader, part->part.id, block, INV_PAGE_DOCS, page.data))
			inv_check_stale(check->search);
		count = InvPageGetHeader(page.data)->count;
		if (count != Min((uint32) layout->ndocs, part->head->ndocs - i * layout->ndocs))
			ix_corrupt(check->index, block, "The page has not as many documents as it should.");
		for (int slot = 0; slot < count; slot++)
		{
			const ItemPointerData *tid = &InvPageTids(page.data, layout)[slot];

			CHECK_FOR_INTERRUPTS();
			if (!ItemPointerIsValid(tid) ||
				(ItemPointerIsValid(&before) && ItemPointerCompare(&before, unconstify(ItemPointerData *, tid)) >= 0))
				ix_corrupt(check->index, block, "Documents are not in the order of their rows.");
			before = *tid;
			if (InvPageDead(page.data, layout)[slot / 32] >> (slot % 32) & 1)
				dead++;
			else
				check_row(check, part, block, page.data, slot, sums[i * layout->ndocs + slot]);
			MemoryContextReset(check->row_context);
		}
		if (dead != InvPageGetHeader(page.data)->dead)
			ix_corrupt(check->index, block, "The page's count of dead documents is wrong.");
	}
	MemoryContextSwitchTo(old);
}

static void
check_segment(Check *check, InvSearchPart *part)
{
	uint64	   *sums = palloc_extended(sizeof(uint64) * Max(part->head->ndocs, 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);

	check->nbounds = 0;
	check_links(check, part);
	check_terms(check, part, sums);
	check_docs(check, part, sums);
	pfree(sums);
}

/* Compare an item with the part of its row that it stands for. */
static void
check_item(Check *check, BlockNumber block, const InvItem *item, const InvDocument *doc, int from)
{
	int			nfilters = check->search->reader.layout.filters.nfilters;

	if (from + item->nterms > doc->nterms ||
		((item->flags & INV_ITEM_GOES_ON) != 0) != (from + item->nterms < doc->nterms) ||
		memcmp(InvItemTerms(item, nfilters), doc->terms + from, sizeof(int32) * item->nterms) != 0 ||
		memcmp(InvItemWeights(item, nfilters), doc->weights + from, sizeof(float) * item->nterms) != 0)
		ix_corrupt(check->index, block, "An item does not fit its row.");
	if (item->nulls != doc->nulls ||
		memcmp(InvItemFilters(item), doc->filters, sizeof(int64) * nfilters) != 0)
		ix_corrupt(check->index, block, "An entry's filter values do not fit its row.");
}

static void
check_pending(Check *check, InvSearchPart *part)
{
	int			nfilters = check->search->reader.layout.filters.nfilters;
	MemoryContext old = MemoryContextSwitchTo(check->row_context);
	PGAlignedBlock page;
	InvDocument doc = {0};
	ItemPointerData tid;
	bool		visible = false;
	bool		goes_on = false;
	int			from = 0;

	ItemPointerSetInvalid(&tid);
	for (BlockNumber block = part->part.first; block != InvalidBlockNumber; block = InvPageGetHeader(page.data)->link)
	{
		int			at = INV_PAGE_START;
		int			count = 0;
		int			dead = 0;
		InvItem    *item;

		CHECK_FOR_INTERRUPTS();
		ix_pages_meet(&check->pages, block);
		if (!inv_read_page(&check->search->reader, part->part.id, block, INV_PAGE_PENDING, page.data))
			inv_check_stale(check->search);
		while ((item = inv_next_item(check->index, block, page.data, nfilters, &at)) != NULL)
		{
			bool		rest = goes_on && (item->flags & INV_ITEM_REST) && ItemPointerEquals(&tid, &item->tid);

			count++;
			if (!rest && goes_on && visible)
				ix_corrupt(check->index, block, "A row is in the index in part only.");
			if (!rest)
			{
				MemoryContextReset(check->row_context);
				tid = item->tid;
				from = 0;
				if (item->flags & INV_ITEM_DEAD)
					visible = false;
				else
					visible = expected_document(check, block, &tid, &doc);
			}
			dead += (item->flags & INV_ITEM_DEAD) != 0;
			if (visible && !(item->flags & INV_ITEM_DEAD))
				check_item(check, block, item, &doc, from);
			from += item->nterms;
			goes_on = (item->flags & INV_ITEM_GOES_ON) != 0;
		}
		if (count != InvPageGetHeader(page.data)->count || dead != InvPageGetHeader(page.data)->dead)
			ix_corrupt(check->index, block, "The page's count of items is wrong.");
	}
	MemoryContextSwitchTo(old);
}

/*
 * Count the rows that the index should have: every one that the snapshot sees
 * must have been met in it.
 */
static void
count_rows(Check *check)
{
	TableScanDesc scan = table_beginscan_compat(check->heap, GetActiveSnapshot(), 0, NULL);
	ExprState  *predicate = ExecPrepareQual(check->info->ii_Predicate, check->estate);
	ExprContext *econtext = GetPerTupleExprContext(check->estate);
	double		rows = 0;

	econtext->ecxt_scantuple = check->slot;
	while (table_scan_getnextslot(scan, ForwardScanDirection, check->slot))
	{
		CHECK_FOR_INTERRUPTS();
		ResetExprContext(econtext);
		rows += !predicate || ExecQual(predicate, econtext);
	}
	table_endscan(scan);
	if (rows != check->found)
		ereport(ERROR,
				(errcode(ERRCODE_INDEX_CORRUPTED),
				 errmsg("index \"%s\" is corrupted", RelationGetRelationName(check->index)),
				 errdetail("It leads to %.0f of the %.0f rows that it should have.", check->found, rows),
				 errhint("Rebuild the index with REINDEX.")));
}

static Datum
check_index(const IxInspected *inspected, FunctionCallInfo fcinfo)
{
	InvQuery	query = {0};
	Check		check = {0};

	check.index = inspected->index;
	check.heap = inspected->heap;
	check.metric = inv_index_metric(check.index);
	ix_pages_init(&check.pages, check.index);
	check.heap_blocks = RelationGetNumberOfBlocks(check.heap);
	check.info = BuildIndexInfo(check.index);
	check.estate = CreateExecutorState();
	check.slot = table_slot_create(check.heap, NULL);
	check.fetch = table_index_fetch_begin_compat(check.heap);
	check.max_bounds = 1024;
	check.bounds = palloc(sizeof(Bounds) * check.max_bounds);
	check.row_context = AllocSetContextCreate(CurrentMemoryContext, "inverted row", ALLOCSET_DEFAULT_SIZES);
	check.search = inv_search_begin(check.index, NULL, &query, NULL);
	inv_check_stale(check.search);
	for (int p = 0; p < check.search->nparts; p++)
	{
		if (check.search->parts[p].part.pending)
			check_pending(&check, &check.search->parts[p]);
		else
			check_segment(&check, &check.search->parts[p]);
	}
	inv_search_end(check.search);
	/* it may lack rows that old snapshots see */
	if (!check.index->rd_index->indcheckxmin)
		count_rows(&check);
	table_index_fetch_end(check.fetch);
	ExecDropSingleTupleTableSlot(check.slot);
	FreeExecutorState(check.estate);
	PG_RETURN_INT64(check.live);
}

PG_FUNCTION_INFO_V1(jflow_inverted_check);
/*
 * jflow_inverted_check(index regclass) RETURNS int8: raises where the index is
 * corrupted or lacks a row, and returns the number of entries otherwise.
 */
Datum
jflow_inverted_check(PG_FUNCTION_ARGS)
{
	return ix_inspect(PG_GETARG_OID(0), "inverted", check_index, fcinfo);
}
