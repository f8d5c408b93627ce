/*
 * invpage.c
 *		Pages: layout, the meta page, and who may change segments.
 */
#include "postgres.h"

#include "port/pg_crc32c.h"
#include "storage/lmgr.h"
#include "utils/rel.h"

#include "inverted/inverted.h"

StaticAssertDecl(sizeof(InvMetaPageData) <= BLCKSZ - MAXALIGN(SizeOfPageHeaderData) - sizeof(IxPageOpaqueData),
				 "the meta page is too small");
StaticAssertDecl(sizeof(InvHead) + sizeof(BlockNumber) * INV_MAX_MAPS <= INV_PAGE_ROOM,
				 "a head page is too small");

/*
 * Where things are on a document page, given the widths of filter columns: as
 * many documents as fit.
 */
void
inv_layout_init(InvLayout *layout, int nfilters, const int16 *widths)
{
	memset(layout, 0, sizeof(*layout));
	layout->filters.nfilters = nfilters;
	for (int i = 0; i < nfilters; i++)
		layout->filters.width[i] = widths[i];
	for (layout->ndocs = BLCKSZ / IX_FILTER_BLOCK * IX_FILTER_BLOCK; layout->ndocs > 0; layout->ndocs -= IX_FILTER_BLOCK)
	{
		int			at = INV_PAGE_START;

		layout->dead = at;
		at += layout->ndocs / 8;
		at = ix_filter_place(&layout->filters, at, layout->ndocs / IX_FILTER_BLOCK);
		layout->tids = at;
		at += layout->ndocs * sizeof(ItemPointerData);
		layout->end = at;
		if (at <= INV_PAGE_END)
			break;
	}
	Assert(layout->ndocs > 0);
}

/* An empty page; the caller has it locked exclusively, or to itself. */
void
inv_page_init(Page page, InvPageKind kind, uint32 id, BlockNumber link)
{
	InvPageHeader *header;

	ix_page_init(page, INV_PAGE_ID, kind, id);
	if (kind == INV_PAGE_META)
		return;
	header = InvPageGetHeader(page);
	memset(header, 0, sizeof(*header));
	header->link = link;
	header->next = InvalidBlockNumber;
	header->end = INV_PAGE_START;
}

/*
 * Raise unless a page is of a kind, and its counters stay on it.
 */
void
inv_page_check(Relation index, BlockNumber block, Page page, InvPageKind kind)
{
	InvPageHeader *header;

	if (!ix_page_valid(page, INV_PAGE_ID, kind))
		ix_corrupt(index, block, "The page is not of the kind expected.");
	if (kind == INV_PAGE_META)
		return;
	header = InvPageGetHeader(page);
	if (header->end < INV_PAGE_START || header->end > INV_PAGE_END || header->dead > header->count)
		ix_corrupt(index, block, "The page counts more than it can hold.");
}

static uint32
meta_crc(const InvMetaPageData *meta)
{
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, (const char *) meta + offsetof(InvMetaPageData, dims),
				offsetof(InvMetaPageData, parts) - offsetof(InvMetaPageData, dims));
	COMP_CRC32C(crc, (const char *) meta->parts, sizeof(InvPart) * meta->nparts);
	COMP_CRC32C(crc, (const char *) meta->retired, sizeof(InvRetired) * meta->nretired);
	FIN_CRC32C(crc);
	return crc;
}

/*
 * The meta page of a new index.
 */
void
inv_meta_init(InvMetaPageData *meta, Relation index)
{
	memset(meta, 0, sizeof(*meta));
	meta->magic = INV_MAGIC;
	meta->version = INV_VERSION;
	meta->dims = inv_index_dims(index);
	meta->nfilters = ix_filter_count(index, meta->filter_width);
	meta->pending_id = 1;
	meta->next_id = 2;
	meta->pending_first = meta->pending_last = InvalidBlockNumber;
	inv_meta_seal(meta);
}

/*
 * To be called whenever a meta page, or an image of it, was changed.
 */
void
inv_meta_seal(InvMetaPageData *meta)
{
	meta->crc = meta_crc(meta);
}

/*
 * The contents of a locked meta page; raises if they cannot be believed.
 */
const InvMetaPageData *
inv_meta_verify(Relation index, Buffer buffer)
{
	const InvMetaPageData *meta = InvPageGetMeta(BufferGetPage(buffer));

	inv_page_check(index, INV_META_BLOCK, BufferGetPage(buffer), INV_PAGE_META);
	if (meta->magic != INV_MAGIC)
		ix_corrupt(index, INV_META_BLOCK, "The meta page is not one of an inverted index.");
	if (meta->version != INV_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("index \"%s\" has format version %u, but this library reads version %u",
						RelationGetRelationName(index), meta->version, INV_VERSION),
				 errhint("Rebuild the index with REINDEX.")));
	if (meta->nparts > INV_MAX_PARTS || meta->nretired > INV_MAX_RETIRED ||
		meta->crc != meta_crc(meta) || meta->nfilters != RelationGetDescr(index)->natts - 1)
		ix_corrupt(index, INV_META_BLOCK, "The meta page does not fit its checksum.");
	for (int i = 0; i < meta->nfilters; i++)
		if (meta->filter_width[i] != ix_filter_width(index, i))
			ix_corrupt(index, INV_META_BLOCK, "A filter column is of another width.");
	return meta;
}

/* A copy of the meta page, which is checked; raises if it is damaged. */
void
inv_read_meta(Relation index, InvMetaPageData *meta)
{
	Buffer		buffer = ReadBuffer(index, INV_META_BLOCK);

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	memcpy(meta, inv_meta_verify(index, buffer), sizeof(*meta));
	UnlockReleaseBuffer(buffer);
}

/*
 * Keep others from freezing, flushing, merging, vacuuming.  Returns false where
 * another does and we would not wait.
 */
bool
inv_maintain_lock(Relation index, bool wait)
{
	if (!wait)
		return ConditionalLockPage(index, INV_META_BLOCK, ExclusiveLock);
	LockPage(index, INV_META_BLOCK, ExclusiveLock);
	return true;
}

/* Give back what inv_maintain_lock took; an error does so, too. */
void
inv_maintain_unlock(Relation index)
{
	UnlockPage(index, INV_META_BLOCK, ExclusiveLock);
}
