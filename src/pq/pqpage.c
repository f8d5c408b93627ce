/*
 * pqpage.c
 *		Pages: layout, checks, and putting an entry into its slot.
 *
 * A page read from disk is believed only after its kind and every number that
 * steers a loop or an offset were checked, so a damaged file raises an error
 * and cannot crash the server.
 */
#include "postgres.h"

#include "port/pg_crc32c.h"
#include "utils/rel.h"

#include "pq/pq.h"

/*
 * Where things are on pages of a model's lists, or of a flat list of it, given the
 * widths of filter columns.  As many blocks as fit; code area first, since kernels
 * read whole 64-byte lines.
 */
void
pq_layout_init(PqLayout *layout, const PqModel *model, bool flat, int nfilters, const int16 *widths)
{
	int			end = BLCKSZ - sizeof(IxPageOpaqueData);
	int			spare;

	memset(layout, 0, sizeof(*layout));
	flat |= PqModelIsFlat(model);
	layout->nquads = flat ? 0 : model->nquads;
	layout->space_dims = model->space_dims;
	layout->filters.nfilters = nfilters;
	for (int i = 0; i < nfilters; i++)
		layout->filters.width[i] = widths[i];
	if (flat)
		layout->refine_size = sizeof(float) * (1 + model->space_dims);
	else
		layout->refine_size = TYPEALIGN(sizeof(float), sizeof(PqRefineHeader) + model->space_dims);
	layout->refine_slots = Max(1, PQ_REFINE_BYTES / layout->refine_size);
	layout->refine_parts = (layout->refine_size + PQ_REFINE_BYTES - 1) / PQ_REFINE_BYTES;
	for (layout->nblocks = 64; layout->nblocks > 0; layout->nblocks--)
	{
		int			at;
		int			n = layout->nblocks;

		layout->nslots = n * PQ_BLOCK;
		layout->nrefine = (layout->nslots + layout->refine_slots - 1) / layout->refine_slots * layout->refine_parts;
		at = MAXALIGN(SizeOfPageHeaderData) + offsetof(PqPostingHeader, refine) +
			sizeof(BlockNumber) * layout->nrefine;
		at = layout->codes = TYPEALIGN(64, at);
		at += n * layout->nquads * PQ_QUAD_BYTES;
		layout->terms = at;
		at += n * PQ_BLOCK;
		at = ix_filter_place(&layout->filters, at, n);
		at = layout->live = TYPEALIGN(8, at);
		at += n * sizeof(uint32);
		layout->tids = at;
		at += n * PQ_BLOCK * sizeof(ItemPointerData);
		layout->posting_end = at;
		if (at <= end)
			break;
	}
	if (layout->nblocks == 0)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("filter columns of a pq index do not fit on a page"),
				 errhint("Use fewer filter columns or fewer subvectors.")));

	/* rather leave some slots unused than most of the last refine page */
	spare = layout->nslots % layout->refine_slots;
	if (layout->nrefine > layout->refine_parts && spare > 0 &&
		(int64) layout->nrefine * layout->nslots <
		(int64) (layout->nrefine + 1) * (layout->nslots - spare))
	{
		layout->nslots -= spare;
		layout->nrefine--;
	}
}

/* An empty page; the caller has it locked exclusively, or to itself. */
void
pq_page_init(Page page, PqPageKind kind, uint32 owner, uint32 generation)
{
	ix_page_init(page, PQ_PAGE_ID, kind, owner);
	IxPageGetOpaque(page)->generation = generation;
}

/* The same, a page of a list's entries. */
void
pq_posting_init(Page page, const PqLayout *layout, uint32 list)
{
	PqPostingHeader *header;

	pq_page_init(page, PQ_PAGE_POSTING, list, layout->generation);
	header = PqPostingGetHeader(page);
	header->next = InvalidBlockNumber;
	header->nused = 0;
	header->nlive = 0;
	header->ninserted = 0;
	header->nstrange = 0;
	for (int i = 0; i < layout->nrefine; i++)
		header->refine[i] = InvalidBlockNumber;
}

/* Is it a page of ours, of this kind? */
bool
pq_page_valid(Page page, PqPageKind kind)
{
	return ix_page_valid(page, PQ_PAGE_ID, kind);
}

/* Raise if it is not. */
void
pq_page_check(Relation index, Buffer buffer, PqPageKind kind)
{
	if (!pq_page_valid(BufferGetPage(buffer), kind))
		ix_corrupt(index, BufferGetBlockNumber(buffer), "The page is not of the kind expected.");
}

/*
 * See that a page is of the generation that the reader started with: pages are
 * used again only when no older scan lives, and on a standby replay waits for it.
 */
void
pq_generation_check(Relation index, Buffer buffer, uint32 generation)
{
	Page		page = BufferGetPage(buffer);

	if (PageIsNew(page) || ((PageHeader) page)->pd_special != BLCKSZ - sizeof(IxPageOpaqueData) ||
		IxPageGetOpaque(page)->kind == IX_PAGE_FREE || IxPageGetOpaque(page)->generation != generation)
		ix_corrupt(index, BufferGetBlockNumber(buffer), "The page is of another generation.");
}

/*
 * Check a locked posting page of a list.
 */
void
pq_posting_check(Relation index, Buffer buffer, const PqLayout *layout, uint32 list)
{
	Page		page = BufferGetPage(buffer);
	PqPostingHeader *header = PqPostingGetHeader(page);

	pq_generation_check(index, buffer, layout->generation);
	pq_page_check(index, buffer, PQ_PAGE_POSTING);
	if (IxPageGetOpaque(page)->owner != list)
		ix_corrupt(index, BufferGetBlockNumber(buffer), "The page belongs to another list.");
	if (header->nused > layout->nslots || header->nlive > header->nused || header->nstrange > header->ninserted)
		ix_corrupt(index, BufferGetBlockNumber(buffer), "The page counts more entries than it can hold.");
	if (header->next == BufferGetBlockNumber(buffer))
		ix_corrupt(index, BufferGetBlockNumber(buffer), "The page is linked to itself.");
}

/*
 * Put an entry into a slot of a posting page (or of an image of it) and mark it
 * live; counters are the caller's.
 */
void
pq_posting_put(Page page, const PqLayout *layout, int slot, const PqEntry *entry)
{
	int			block = slot / PQ_BLOCK;
	int			v = slot % PQ_BLOCK;
	uint8	   *codes = (uint8 *) page + layout->codes + (size_t) block * layout->nquads * PQ_QUAD_BYTES;
	const uint8 *packed = PqEntryCodes(entry);
	int			shift = v >= 16 ? 4 : 0;

	for (int q = 0; q < layout->nquads; q++)
		for (int s = 0; s < 4; s++)
		{
			uint8	   *at = codes + q * PQ_QUAD_BYTES + (v & 15) * 4 + s;
			uint8		code = packed[q * 2 + s / 2] >> (s % 2 * 4) & 15;

			*at = (*at & (0xf0 >> shift)) | code << shift;
		}
	((uint8 *) page + layout->terms)[slot] = entry->term;
	PqPostingTids(page, layout)[slot] = entry->tid;
	PqPostingLive(page, layout)[block] |= (uint32) 1 << v;
	ix_filter_put(page, &layout->filters, slot, (char *) PqEntryFilters(entry, layout), entry->nulls);
}

/*
 * The codes, one per byte, and the term of a slot.
 */
void
pq_posting_get(Page page, const PqLayout *layout, int slot, uint8 *codes, uint8 *term)
{
	int			v = slot % PQ_BLOCK;
	const uint8 *block = (uint8 *) page + layout->codes +
		(size_t) (slot / PQ_BLOCK) * layout->nquads * PQ_QUAD_BYTES;

	for (int q = 0; q < layout->nquads; q++)
		for (int s = 0; s < 4; s++)
			codes[q * 4 + s] = block[q * PQ_QUAD_BYTES + (v & 15) * 4 + s] >> (v >= 16 ? 4 : 0) & 15;
	*term = ((uint8 *) page + layout->terms)[slot];
}

/*
 * Put a part of an entry's refine code on its page; there is one part unless a
 * code is larger than a page.
 */
void
pq_refine_put(Page page, const PqLayout *layout, int slot, int part, const PqEntry *entry)
{
	char	   *at = PageGetContents(page) + (slot % layout->refine_slots) * layout->refine_size;
	int			start = part * PQ_REFINE_BYTES;

	memcpy(at, PqEntryRefine(entry, layout) + start, Min(layout->refine_size - start, PQ_REFINE_BYTES));
}

/* Checksum of what does not change while a generation lasts. */
uint32
pq_meta_crc(const PqMetaPageData *meta)
{
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, (const char *) meta + offsetof(PqMetaPageData, model_size),
				sizeof(*meta) - offsetof(PqMetaPageData, model_size));
	FIN_CRC32C(crc);
	return crc;
}

/* Pages that so many bytes take. */
BlockNumber
pq_stream_pages(Size bytes)
{
	return (bytes + PQ_STREAM_BYTES - 1) / PQ_STREAM_BYTES;
}

/*
 * A list's entry of the directory.
 */
void
pq_read_directory(Relation index, const PqMetaPageData *meta, uint32 list, PqDirectoryEntry *entry)
{
	Buffer		buffer = ReadBuffer(index, meta->directory_start + list / PQ_ENTRIES_PER_PAGE);

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	pq_page_check(index, buffer, PQ_PAGE_DIRECTORY);
	*entry = ((PqDirectoryEntry *) ((char *) BufferGetPage(buffer) + PQ_DIRECTORY_START))[list % PQ_ENTRIES_PER_PAGE];
	if ((entry->head == InvalidBlockNumber) != (entry->insert == InvalidBlockNumber))
		ix_corrupt(index, BufferGetBlockNumber(buffer), "A list has no first page.");
	UnlockReleaseBuffer(buffer);
}
