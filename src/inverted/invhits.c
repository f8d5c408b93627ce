/*
 * invhits.c
 *		Documents that a search meets: which of them are alive and pass the filters,
 *		and the best ones.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "compat.h"
#include "inverted/invsearch.h"

/* The block of a document page; invalid if the reader became stale. */
static BlockNumber
docs_block(InvSearch *search, InvSearchPart *part, uint32 number)
{
	if (!part->map || part->map_number != number / INV_MAP_ENTRIES)
	{
		Buffer		buffer;
		Page		page = inv_lock_page(&search->reader, part->part.id,
										 part->head->maps[number / INV_MAP_ENTRIES], INV_PAGE_MAP, &buffer);

		if (!page)
			return InvalidBlockNumber;
		if (!part->map)
			part->map = MemoryContextAlloc(GetMemoryChunkContext(search), sizeof(BlockNumber) * INV_MAP_ENTRIES);
		memcpy(part->map, (char *) page + INV_PAGE_START, sizeof(BlockNumber) * INV_MAP_ENTRIES);
		part->map_number = number / INV_MAP_ENTRIES;
		inv_unlock_page(&search->reader, buffer);
	}
	return part->map[number % INV_MAP_ENTRIES];
}

/*
 * Is a document of a segment alive, and does it pass the filters?  Its TID, then.
 * Dead bits may be changing, so the page is locked.
 */
bool
inv_search_doc(InvSearch *search, InvSearchPart *part, uint32 doc, ItemPointer tid)
{
	const InvLayout *layout = &search->reader.layout;
	BlockNumber block = docs_block(search, part, doc / layout->ndocs);
	int			slot = doc % layout->ndocs;
	Page		page;
	bool		wanted;

	if (block == InvalidBlockNumber && search->reader.stale)
		return false;
	if (BufferIsValid(search->docs_buffer) && BufferGetBlockNumber(search->docs_buffer) != block)
	{
		ReleaseBuffer(search->docs_buffer);
		search->docs_buffer = InvalidBuffer;
	}
	if (!BufferIsValid(search->docs_buffer))
	{
		inv_check_block(&search->reader, block);
		search->docs_buffer = ReadBuffer(search->index, block);
	}
	LockBuffer(search->docs_buffer, BUFFER_LOCK_SHARE);
	page = BufferGetPage(search->docs_buffer);
	if (search->reader.standby &&
		(!ix_page_valid(page, INV_PAGE_ID, INV_PAGE_DOCS) || IxPageGetOpaque(page)->owner != part->part.id))
	{
		search->reader.stale = true;
		LockBuffer(search->docs_buffer, BUFFER_LOCK_UNLOCK);
		return false;
	}
	inv_page_check(search->index, block, page, INV_PAGE_DOCS);
	if (IxPageGetOpaque(page)->owner != part->part.id || slot >= InvPageGetHeader(page)->count)
		ix_corrupt(search->index, block, "The page belongs to another segment.");
	test_old_snapshot_compat(search->reader.snapshot, search->index, page);
	wanted = !(InvPageDead(page, layout)[slot / 32] >> (slot % 32) & 1);
	if (wanted && search->filters.n > 0)
		wanted = ix_filters_mask(&search->filters, page, &layout->filters, slot / IX_FILTER_BLOCK,
								 (uint32) 1 << slot % IX_FILTER_BLOCK) != 0;
	*tid = InvPageTids(page, layout)[slot];
	LockBuffer(search->docs_buffer, BUFFER_LOCK_UNLOCK);
	return wanted;
}

/*
 * Does an item of a pending list pass the filters?
 */
bool
inv_search_item(InvSearch *search, const InvItem *item)
{
	union
	{
		char		bytes[IX_MAX_FILTERS * (IX_FILTER_BLOCK * sizeof(int64) + sizeof(int64))];
		int64		align;
	}			block;
	IxFilterLayout layout = search->reader.layout.filters;

	if (search->filters.n == 0)
		return true;
	memset(&block, 0, ix_filter_place(&layout, 0, 1));
	ix_filter_put(block.bytes, &layout, 0, InvItemFilters(item), item->nulls);
	return ix_filters_mask(&search->filters, block.bytes, &layout, 0, 1) != 0;
}

static inline bool
worse(const InvHit *a, const InvHit *b)
{
	if (a->score != b->score)
		return a->score < b->score;
	if (a->part != b->part)
		return a->part > b->part;
	return a->doc > b->doc;
}

/*
 * Keep a document among the best, if it is one.
 */
void
inv_search_keep(InvSearch *search, const InvHit *hit)
{
	InvHit	   *hits = search->hits;
	int			i;

	if (search->nhits < search->want)
	{
		for (i = search->nhits++; i > 0 && worse(hit, &hits[(i - 1) / 2]); i = (i - 1) / 2)
			hits[i] = hits[(i - 1) / 2];
		hits[i] = *hit;
		return;
	}
	search->full = true;
	if (!worse(&hits[0], hit))
		return;
	for (i = 0;;)
	{
		int			child = 2 * i + 1;

		if (child >= search->nhits)
			break;
		if (child + 1 < search->nhits && worse(&hits[child + 1], &hits[child]))
			child++;
		if (!worse(&hits[child], hit))
			break;
		hits[i] = hits[child];
		i = child;
	}
	hits[i] = *hit;
}

/*
 * Was a document of this score handed out before?
 */
bool
inv_search_used(const InvSearch *search, const InvHit *hit)
{
	return search->used_any && !worse(hit, &search->used);
}

/*
 * A document of a segment that has this bound.
 */
void
inv_search_hit(InvSearch *search, int64 score, int number, uint32 doc)
{
	InvHit		hit;

	hit.score = score;
	hit.part = number;
	hit.doc = doc;
	if (inv_search_used(search, &hit))
		return;
	/* what will be turned away need not be looked at */
	if (search->nhits == search->want && !worse(&search->hits[0], &hit))
	{
		search->full = true;
		return;
	}
	if (inv_search_doc(search, &search->parts[number], doc, &hit.tid))
		inv_search_keep(search, &hit);
}
