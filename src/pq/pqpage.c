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
#include "storage/indexfsm.h"
#include "storage/lmgr.h"

#include "pq/pq.h"

/*
 * Where things are, given a model and the widths of filter columns.  As many
 * blocks as fit; code area first, since kernels read whole 64-byte lines.
 */
void
pq_layout_init(PqLayout *layout, const PqModel *model, int nfilters, const int16 *widths)
{
	int			end = BLCKSZ - sizeof(PqPageOpaqueData);
	int			spare;

	memset(layout, 0, sizeof(*layout));
	layout->nquads = model->nquads;
	layout->inner = model->inner;
	layout->nfilters = nfilters;
	for (int i = 0; i < nfilters; i++)
		layout->width[i] = widths[i];
	layout->refine_size = TYPEALIGN(sizeof(float), sizeof(float) + model->inner);
	layout->refine_slots = (end - (int) MAXALIGN(SizeOfPageHeaderData)) / layout->refine_size;
	for (layout->nblocks = 64; layout->nblocks > 0; layout->nblocks--)
	{
		int			at;
		int			n = layout->nblocks;

		layout->nslots = n * PQ_BLOCK;
		layout->nrefine = (layout->nslots + layout->refine_slots - 1) / layout->refine_slots;
		at = MAXALIGN(SizeOfPageHeaderData) + offsetof(PqPostingHeader, refine) +
			sizeof(BlockNumber) * layout->nrefine;
		at = layout->codes = TYPEALIGN(64, at);
		at += n * layout->nquads * PQ_QUAD_BYTES;
		layout->terms = at;
		at += n * PQ_BLOCK;
		for (int i = 0; i < nfilters; i++)
		{
			at = layout->filter[i] = TYPEALIGN(8, at);
			at += n * PQ_BLOCK * widths[i];
			layout->nulls[i] = at;
			at += n * sizeof(uint32);
		}
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
	if (layout->nrefine > 1 && spare > 0 &&
		(int64) layout->nrefine * layout->nslots <
		(int64) (layout->nrefine + 1) * (layout->nslots - spare))
	{
		layout->nslots -= spare;
		layout->nrefine--;
	}
}

void
pq_page_init(Page page, PqPageKind kind, uint32 owner)
{
	PqPageOpaque opaque;

	PageInit(page, BLCKSZ, sizeof(PqPageOpaqueData));
	opaque = PqPageGetOpaque(page);
	opaque->owner = owner;
	opaque->kind = kind;
	opaque->page_id = PQ_PAGE_ID;
	/* nothing of a page may be taken for a hole */
	((PageHeader) page)->pd_lower = ((PageHeader) page)->pd_upper;
}

void
pq_posting_init(Page page, const PqLayout *layout, uint32 list)
{
	PqPostingHeader *header;

	pq_page_init(page, PQ_PAGE_POSTING, list);
	header = PqPostingGetHeader(page);
	header->next = InvalidBlockNumber;
	header->nused = 0;
	header->nlive = 0;
	for (int i = 0; i < layout->nrefine; i++)
		header->refine[i] = InvalidBlockNumber;
}

bool
pq_page_valid(Page page, PqPageKind kind)
{
	PageHeader	header = (PageHeader) page;

	return !PageIsNew(page) &&
		header->pd_special == BLCKSZ - sizeof(PqPageOpaqueData) &&
		PqPageGetOpaque(page)->page_id == PQ_PAGE_ID &&
		PqPageGetOpaque(page)->kind == kind;
}

void
pq_corrupt(Relation index, BlockNumber block, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INDEX_CORRUPTED),
			 errmsg("index \"%s\" is corrupted at block %u",
					RelationGetRelationName(index), block),
			 errdetail_internal("%s", detail),
			 errhint("Rebuild the index with REINDEX.")));
	pg_unreachable();
}

void
pq_page_check(Relation index, Buffer buffer, PqPageKind kind)
{
	if (!pq_page_valid(BufferGetPage(buffer), kind))
		pq_corrupt(index, BufferGetBlockNumber(buffer), "The page is not of the kind expected.");
}

/*
 * Check a locked posting page of a list.
 */
void
pq_posting_check(Relation index, Buffer buffer, const PqLayout *layout, uint32 list)
{
	Page		page = BufferGetPage(buffer);
	PqPostingHeader *header = PqPostingGetHeader(page);

	pq_page_check(index, buffer, PQ_PAGE_POSTING);
	if (PqPageGetOpaque(page)->owner != list)
		pq_corrupt(index, BufferGetBlockNumber(buffer), "The page belongs to another list.");
	if (header->nused > layout->nslots || header->nlive > header->nused)
		pq_corrupt(index, BufferGetBlockNumber(buffer), "The page counts more entries than it can hold.");
	if (header->next == BufferGetBlockNumber(buffer))
		pq_corrupt(index, BufferGetBlockNumber(buffer), "The page is linked to itself.");
}

/*
 * A new page, locked and pinned: one that an interrupted insert left empty, or
 * one more block.
 */
Buffer
pq_new_buffer(Relation index, ForkNumber fork)
{
	Buffer		buffer;
	bool		extend;

	if (fork == MAIN_FORKNUM)
		for (;;)
		{
			BlockNumber block = GetFreeIndexPage(index);

			if (block == InvalidBlockNumber)
				break;
			if (block >= RelationGetNumberOfBlocks(index))
				continue;
			buffer = ReadBuffer(index, block);
			if (ConditionalLockBuffer(buffer))
			{
				if (PageIsNew(BufferGetPage(buffer)))
					return buffer;
				LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
			}
			ReleaseBuffer(buffer);
		}
	extend = !RELATION_IS_LOCAL(index);
	if (extend)
		LockRelationForExtension(index, ExclusiveLock);

	/*
	 * locked from the start: VACUUM would offer an unlocked new page to
	 * others
	 */
	buffer = ReadBufferExtended(index, fork, P_NEW, RBM_ZERO_AND_LOCK, NULL);
	if (extend)
		UnlockRelationForExtension(index, ExclusiveLock);
	return buffer;
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
	for (int i = 0; i < layout->nfilters; i++)
	{
		uint32	   *nulls = (uint32 *) ((char *) page + layout->nulls[i]) + block;

		/* little-endian: the low bytes of a value are the narrow value */
		memcpy((char *) page + layout->filter[i] + slot * layout->width[i],
			   PqEntryFilters(entry, layout) + i * 8, layout->width[i]);
		if (entry->nulls >> i & 1)
			*nulls |= (uint32) 1 << v;
		else
			*nulls &= ~((uint32) 1 << v);
	}
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

void
pq_refine_put(Page page, const PqLayout *layout, int slot, const PqEntry *entry)
{
	char	   *at = PageGetContents(page) + (slot % layout->refine_slots) * layout->refine_size;

	memcpy(at, &entry->error, sizeof(float));
	memcpy(at + sizeof(float), PqEntryRefine(entry, layout), layout->inner);
}

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
		pq_corrupt(index, BufferGetBlockNumber(buffer), "A list has no first page.");
	UnlockReleaseBuffer(buffer);
}
