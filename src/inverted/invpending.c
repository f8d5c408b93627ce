/*
 * invpending.c
 *		The pending list: rows are appended as they are inserted, and sorted into
 *		a segment later.
 *
 * Inserts meet at the last page's lock.  Whoever finds that page frozen, or one
 * linked behind it, or given back and used for something else, was overtaken and
 * asks the meta page again.  A vector too long for a page goes on at the start of
 * the next, which is locked before the first is unlocked, so that nothing comes
 * between its parts and they end up in one segment.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "storage/indexfsm.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "inverted/inverted.h"

/* Pages that a list has when it is sorted into a segment. */
#define PENDING_PAGES 64
/*
 * Where scans that were left open keep so much that nothing can be rewritten, a list
 * grows on, and the next attempt is made when it has grown by that part of itself.
 */
#define GROWTH 2
/* A part of a vector that is put before another page is begun. */
#define LEAST_PART 64

/*
 * The next item of a page, or NULL; *at is where it starts, at first
 * INV_PAGE_START.
 */
InvItem *
inv_next_item(Relation index, BlockNumber block, Page page, int nfilters, int *at)
{
	InvItem    *item = (InvItem *) ((char *) page + *at);
	int			end = InvPageGetHeader(page)->end;

	if (*at == end)
		return NULL;
	if (*at + (int) sizeof(InvItem) > end ||
		item->size != InvItemSize(nfilters, item->nterms) || *at + item->size > end)
		ix_corrupt(index, block, "An item goes beyond its page.");
	*at += item->size;
	return item;
}

/* Give an empty list its first page, unless somebody else was faster. */
static void
begin_list(Relation index)
{
	Buffer		buffer = ix_new_buffer(index, MAIN_FORKNUM);
	Buffer		meta_buffer = ReadBuffer(index, INV_META_BLOCK);
	BlockNumber block = BufferGetBlockNumber(buffer);
	const InvMetaPageData *now;
	bool		needed;

	LockBuffer(meta_buffer, BUFFER_LOCK_EXCLUSIVE);
	now = inv_meta_verify(index, meta_buffer);
	needed = now->pending_last == InvalidBlockNumber;
	if (needed)
	{
		GenericXLogState *state = GenericXLogStart(index);
		InvMetaPageData *meta;

		inv_page_init(GenericXLogRegisterBuffer(state, buffer, GENERIC_XLOG_FULL_IMAGE),
					  INV_PAGE_PENDING, now->pending_id, InvalidBlockNumber);
		meta = InvPageGetMeta(GenericXLogRegisterBuffer(state, meta_buffer, 0));
		meta->pending_first = meta->pending_last = block;
		meta->pending_pages = 1;
		inv_meta_seal(meta);
		GenericXLogFinish(state);
	}
	UnlockReleaseBuffer(meta_buffer);
	UnlockReleaseBuffer(buffer);
	if (!needed)
		RecordFreeIndexPage(index, block);
}

/*
 * Link a new page behind the last one, which is locked, and unlock that.  Returns
 * the new one, locked.
 */
static Buffer
extend_list(Relation index, Buffer last, uint32 *pages)
{
	Buffer		buffer = ix_new_buffer(index, MAIN_FORKNUM);
	Buffer		meta_buffer = ReadBuffer(index, INV_META_BLOCK);
	BlockNumber block = BufferGetBlockNumber(buffer);
	uint32		id = IxPageGetOpaque(BufferGetPage(last))->owner;
	const InvMetaPageData *now;
	GenericXLogState *state;
	InvMetaPageData *meta;

	LockBuffer(meta_buffer, BUFFER_LOCK_EXCLUSIVE);
	now = inv_meta_verify(index, meta_buffer);
	if (now->pending_id != id || now->pending_last != BufferGetBlockNumber(last))
		ix_corrupt(index, BufferGetBlockNumber(last), "The last pending page is not the one that the meta page names.");
	state = GenericXLogStart(index);
	inv_page_init(GenericXLogRegisterBuffer(state, buffer, GENERIC_XLOG_FULL_IMAGE),
				  INV_PAGE_PENDING, id, InvalidBlockNumber);
	InvPageGetHeader(GenericXLogRegisterBuffer(state, last, 0))->link = block;
	meta = InvPageGetMeta(GenericXLogRegisterBuffer(state, meta_buffer, 0));
	meta->pending_last = block;
	*pages = ++meta->pending_pages;
	inv_meta_seal(meta);
	GenericXLogFinish(state);
	UnlockReleaseBuffer(meta_buffer);
	UnlockReleaseBuffer(last);
	return buffer;
}

/*
 * The last page of the list, locked for appending.
 */
static Buffer
lock_last(Relation index, uint32 *pages)
{
	uint32		before_id = 0;
	BlockNumber before_last = InvalidBlockNumber;

	for (;;)
	{
		Buffer		buffer = ReadBuffer(index, INV_META_BLOCK);
		const InvMetaPageData *meta;
		uint32		id;
		BlockNumber last;
		Page		page;

		CHECK_FOR_INTERRUPTS();
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		meta = inv_meta_verify(index, buffer);
		id = meta->pending_id;
		last = meta->pending_last;
		*pages = meta->pending_pages;
		UnlockReleaseBuffer(buffer);
		if (last == InvalidBlockNumber)
		{
			begin_list(index);
			continue;
		}
		if (id == before_id && last == before_last)
			ix_corrupt(index, last, "The last pending page takes no items.");
		before_id = id;
		before_last = last;

		buffer = ReadBuffer(index, last);
		LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
		page = BufferGetPage(buffer);
		if (ix_page_valid(page, INV_PAGE_ID, INV_PAGE_PENDING) &&
			IxPageGetOpaque(page)->owner == id &&
			!InvPageGetHeader(page)->frozen &&
			InvPageGetHeader(page)->link == InvalidBlockNumber)
		{
			inv_page_check(index, last, page, INV_PAGE_PENDING);
			return buffer;
		}
		UnlockReleaseBuffer(buffer);
	}
}

/* Put terms from one on, as many as said, on a locked page with room for them. */
static void
put_item(Relation index, Buffer buffer, int nfilters, const InvDocument *doc, int from, int nterms)
{
	GenericXLogState *state = GenericXLogStart(index);
	Page		page = GenericXLogRegisterBuffer(state, buffer, 0);
	InvPageHeader *header = InvPageGetHeader(page);
	InvItem    *item = (InvItem *) ((char *) page + header->end);

	item->tid = doc->tid;
	item->nterms = nterms;
	item->nulls = doc->nulls;
	item->size = InvItemSize(nfilters, nterms);
	item->flags = (from > 0 ? INV_ITEM_REST : 0) | (from + nterms < doc->nterms ? INV_ITEM_GOES_ON : 0);
	memcpy(InvItemFilters(item), doc->filters, sizeof(int64) * nfilters);
	memcpy(InvItemTerms(item, nfilters), doc->terms + from, sizeof(int32) * nterms);
	memcpy(InvItemWeights(item, nfilters), doc->weights + from, sizeof(float) * nterms);
	header->end += item->size;
	header->count++;
	GenericXLogFinish(state);
}

/* Has a list that has grown come to a length at which it is tried to make it a segment? */
static bool
is_due(uint32 before, uint32 pages)
{
	uint32		due = PENDING_PAGES;

	while (due <= before)
		due += due / GROWTH;
	return pages >= due;
}

/*
 * Append a row.  Returns true if the list has become long enough for a segment,
 * once, and again when it has grown.
 */
bool
inv_pending_append(Relation index, const InvDocument *doc)
{
	int			nfilters = RelationGetDescr(index)->natts - 1;
	uint32		pages;
	Buffer		buffer = lock_last(index, &pages);
	uint32		before = pages;
	int			from = 0;

	for (;;)
	{
		int			room = INV_PAGE_END - InvPageGetHeader(BufferGetPage(buffer))->end;
		int			rest = doc->nterms - from;
		bool		on_one = from == 0 && InvItemSize(nfilters, rest) <= INV_PAGE_ROOM;
		int			least = on_one ? rest : Min(rest, LEAST_PART);

		if (room >= InvItemSize(nfilters, least))
		{
			int			n = Min(rest, (room - InvItemSize(nfilters, 0)) / (int) (sizeof(int32) + sizeof(float)));

			put_item(index, buffer, nfilters, doc, from, n);
			from += n;
			if (from == doc->nterms)
				break;
		}
		/* what is left belongs at the start of the next page */
		buffer = extend_list(index, buffer, &pages);
	}
	UnlockReleaseBuffer(buffer);
	return is_due(before, pages);
}

/*
 * Let inserts start another list, and enter this one among the parts, unless it
 * is empty or there is no room.  The caller holds the maintenance lock.
 */
void
inv_pending_freeze(Relation index)
{
	InvMetaPageData *meta = palloc(sizeof(InvMetaPageData));
	uint32		pages;
	Buffer		buffer;
	Buffer		meta_buffer;
	GenericXLogState *state;
	InvPart    *part;

	inv_read_meta(index, meta);
	if (meta->pending_last == InvalidBlockNumber || meta->nparts == INV_MAX_PARTS ||
		meta->next_id == PG_UINT32_MAX)
		return;
	pfree(meta);
	buffer = lock_last(index, &pages);
	meta_buffer = ReadBuffer(index, INV_META_BLOCK);
	LockBuffer(meta_buffer, BUFFER_LOCK_EXCLUSIVE);
	inv_meta_verify(index, meta_buffer);
	state = GenericXLogStart(index);
	InvPageGetHeader(GenericXLogRegisterBuffer(state, buffer, 0))->frozen = 1;
	meta = InvPageGetMeta(GenericXLogRegisterBuffer(state, meta_buffer, 0));
	part = &meta->parts[meta->nparts++];
	memset(part, 0, sizeof(*part));
	part->id = meta->pending_id;
	part->first = meta->pending_first;
	part->npages = meta->pending_pages;
	part->pending = 1;
	meta->pending_id = meta->next_id++;
	meta->pending_first = meta->pending_last = InvalidBlockNumber;
	meta->pending_pages = 0;
	inv_meta_seal(meta);
	GenericXLogFinish(state);
	UnlockReleaseBuffer(meta_buffer);
	UnlockReleaseBuffer(buffer);
}

/* Raise unless an item's terms ascend, behind another, and its weights are finite. */
static void
check_terms(Relation index, BlockNumber block, const InvItem *item, int nfilters, int32 before)
{
	const int32 *terms = InvItemTerms(item, nfilters);
	const float *weights = InvItemWeights(item, nfilters);

	for (int i = 0; i < item->nterms; i++)
	{
		if (terms[i] <= before || !isfinite(weights[i]))
			ix_corrupt(index, block, "The terms of an item are damaged.");
		before = terms[i];
	}
}

/*
 * Gather the rows of a frozen list that are not dead.  The caller holds the
 * maintenance lock.
 */
void
inv_pending_gather(Relation index, const InvLayout *layout, const InvPart *part, InvGather *gather)
{
	InvReader	reader = {.index = index,.layout = *layout};
	int			nfilters = layout->filters.nfilters;
	PGAlignedBlock page;
	InvDocument doc = {0};
	int			room = 0;
	bool		open = false;	/* the document may go on */

	for (BlockNumber block = part->first, steps = 0; block != InvalidBlockNumber; block = inv_next_pending(index, page.data, &steps))
	{
		int			at = INV_PAGE_START;
		InvItem    *item;

		CHECK_FOR_INTERRUPTS();
		inv_read_page(&reader, part->id, block, INV_PAGE_PENDING, page.data);
		while ((item = inv_next_item(index, block, page.data, nfilters, &at)) != NULL)
		{
			bool		rest = open && (item->flags & INV_ITEM_REST) && ItemPointerEquals(&doc.tid, &item->tid);

			/* what was not finished is of a transaction that is gone */
			if (open && !rest)
				inv_gather_add(gather, &doc);
			open = false;
			if ((item->flags & INV_ITEM_DEAD) || (!rest && (item->flags & INV_ITEM_REST)))
				continue;
			if (!ItemPointerIsValid(&item->tid))
				ix_corrupt(index, block, "It has an invalid row pointer.");
			if (!rest)
			{
				doc.tid = item->tid;
				doc.nulls = item->nulls;
				memcpy(doc.filters, InvItemFilters(item), sizeof(int64) * nfilters);
				doc.nterms = 0;
			}
			check_terms(index, block, item, nfilters, doc.nterms > 0 ? doc.terms[doc.nterms - 1] : INV_TERM_NULL - 1);
			if (doc.nterms + item->nterms > room)
			{
				room = doc.nterms + item->nterms + 256;
				doc.terms = doc.terms ? repalloc(doc.terms, sizeof(int32) * room) : palloc(sizeof(int32) * room);
				doc.weights = doc.weights ? repalloc(doc.weights, sizeof(float) * room) : palloc(sizeof(float) * room);
			}
			memcpy(doc.terms + doc.nterms, InvItemTerms(item, nfilters), sizeof(int32) * item->nterms);
			memcpy(doc.weights + doc.nterms, InvItemWeights(item, nfilters), sizeof(float) * item->nterms);
			doc.nterms += item->nterms;
			open = (item->flags & INV_ITEM_GOES_ON) != 0;
			if (!open)
				inv_gather_add(gather, &doc);
		}
	}
	if (open)
		inv_gather_add(gather, &doc);
	if (doc.terms)
	{
		pfree(doc.terms);
		pfree(doc.weights);
	}
}
