/*
 * invvacuum.c
 *		VACUUM: dead documents are marked; pending rows become a segment, segments
 *		are merged, and pages that nobody names are given back.
 *
 * A pass holds the maintenance lock, so every row that was in the index when it
 * started is met exactly once, in the segment, the frozen list or the pending
 * list where it lies; what inserts append meanwhile cannot be dead.  Scans need
 * not be waited for: they use MVCC snapshots, which cannot see the row that may
 * come to stand behind a TID they have read.
 */
#include "postgres.h"

#include "commands/vacuum.h"
#include "miscadmin.h"
#include "postmaster/autovacuum.h"
#include "storage/indexfsm.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "compat.h"
#include "inverted/inverted.h"

typedef struct Vacuum
{
	IndexVacuumInfo *info;
	IndexBulkDeleteResult *stats;
	IndexBulkDeleteCallback callback;	/* NULL to count only */
	void	   *arg;
	InvLayout	layout;
	InvReader	reader;
} Vacuum;

/* A page of what is walked, locked. */
static Buffer
lock_page(Vacuum *vacuum, uint32 id, BlockNumber block, InvPageKind kind)
{
	Relation	index = vacuum->info->index;
	Buffer		buffer;

	vacuum_delay_point_compat();
	inv_check_block(&vacuum->reader, block);
	buffer = ReadBufferExtended(index, MAIN_FORKNUM, block, RBM_NORMAL, vacuum->info->strategy);
	LockBuffer(buffer, vacuum->callback ? BUFFER_LOCK_EXCLUSIVE : BUFFER_LOCK_SHARE);
	inv_page_check(index, block, BufferGetPage(buffer), kind);
	if (IxPageGetOpaque(BufferGetPage(buffer))->owner != id)
		ix_corrupt(index, block, "The page belongs to another segment.");
	return buffer;
}

static bool
is_dead(Vacuum *vacuum, BlockNumber block, ItemPointer tid)
{
	/* the callback relies on it */
	if (!ItemPointerIsValid(tid))
		ix_corrupt(vacuum->info->index, block, "It has an invalid row pointer.");
	return vacuum->callback && vacuum->callback(tid, vacuum->arg);
}

/* Documents of a page; returns how many are dead by now. */
static int
vacuum_docs(Vacuum *vacuum, Buffer buffer)
{
	Page		page = BufferGetPage(buffer);
	int			count = InvPageGetHeader(page)->count;
	uint32		dead[BLCKSZ / IX_FILTER_BLOCK];
	int			ndead = 0;
	int			removed = 0;

	if (count > vacuum->layout.ndocs)
		ix_corrupt(vacuum->info->index, BufferGetBlockNumber(buffer), "The page counts more than it can hold.");
	memcpy(dead, InvPageDead(page, &vacuum->layout), vacuum->layout.ndocs / 8);
	for (int slot = 0; slot < count; slot++)
	{
		uint32		bit = (uint32) 1 << (slot % 32);

		if (dead[slot / 32] & bit)
			ndead++;
		else if (is_dead(vacuum, BufferGetBlockNumber(buffer), &InvPageTids(page, &vacuum->layout)[slot]))
		{
			dead[slot / 32] |= bit;
			removed++;
		}
	}
	if (removed > 0)
	{
		GenericXLogState *state = GenericXLogStart(vacuum->info->index);

		page = GenericXLogRegisterBuffer(state, buffer, 0);
		memcpy(InvPageDead(page, &vacuum->layout), dead, vacuum->layout.ndocs / 8);
		InvPageGetHeader(page)->dead = ndead + removed;
		GenericXLogFinish(state);
	}
	vacuum->stats->tuples_removed += removed;
	vacuum->stats->num_index_tuples += count - ndead - removed;
	return ndead + removed;
}

/* All documents of a segment; returns how many are dead by now. */
static uint32
vacuum_segment(Vacuum *vacuum, const InvPart *part)
{
	PGAlignedBlock head_page;
	PGAlignedBlock map;
	InvHead    *head = InvPageGetHead(head_page.data);
	uint32		dead = 0;

	inv_read_head(&vacuum->reader, part, head_page.data);
	for (uint32 i = 0; i < head->ndocpages; i++)
	{
		Buffer		buffer;

		if (i % INV_MAP_ENTRIES == 0)
			inv_read_page(&vacuum->reader, part->id, head->maps[i / INV_MAP_ENTRIES], INV_PAGE_MAP, map.data);
		buffer = lock_page(vacuum, part->id,
						   ((BlockNumber *) (map.data + INV_PAGE_START))[i % INV_MAP_ENTRIES], INV_PAGE_DOCS);
		dead += vacuum_docs(vacuum, buffer);
		UnlockReleaseBuffer(buffer);
	}
	return dead;
}

/* All items of a pending list. */
static void
vacuum_pending(Vacuum *vacuum, uint32 id, BlockNumber block)
{
	Relation	index = vacuum->info->index;
	int			nfilters = vacuum->layout.filters.nfilters;
	BlockNumber steps = 0;

	while (block != InvalidBlockNumber)
	{
		Buffer		buffer = lock_page(vacuum, id, block, INV_PAGE_PENDING);
		Page		page = BufferGetPage(buffer);
		int			at = INV_PAGE_START;
		int			removed = 0;
		uint16		offsets[BLCKSZ / sizeof(InvItem)];
		InvItem    *item;

		while ((item = inv_next_item(index, block, page, nfilters, &at)) != NULL)
		{
			if (item->flags & INV_ITEM_DEAD)
				continue;
			if (is_dead(vacuum, block, &item->tid))
				offsets[removed++] = (char *) item - (char *) page;
			/* a row is counted by its first part */
			else if (!(item->flags & INV_ITEM_REST))
				vacuum->stats->num_index_tuples++;
		}
		block = inv_next_pending(index, page, &steps);
		if (removed > 0)
		{
			GenericXLogState *state = GenericXLogStart(index);

			page = GenericXLogRegisterBuffer(state, buffer, 0);
			for (int i = 0; i < removed; i++)
			{
				item = (InvItem *) ((char *) page + offsets[i]);
				item->flags |= INV_ITEM_DEAD;
				if (!(item->flags & INV_ITEM_REST))
					vacuum->stats->tuples_removed++;
			}
			InvPageGetHeader(page)->dead = Min(InvPageGetHeader(page)->dead + removed, InvPageGetHeader(page)->count);
			GenericXLogFinish(state);
		}
		UnlockReleaseBuffer(buffer);
	}
}

/* Write down how many documents of each segment are dead. */
static void
count_dead(Relation index, const InvMetaPageData *counted)
{
	Buffer		buffer = ReadBuffer(index, INV_META_BLOCK);
	GenericXLogState *state;
	InvMetaPageData *meta;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	inv_meta_verify(index, buffer);
	state = GenericXLogStart(index);
	meta = InvPageGetMeta(GenericXLogRegisterBuffer(state, buffer, 0));
	/* nobody else changes segments meanwhile */
	for (int i = 0; i < meta->nparts; i++)
		meta->parts[i].ndead = counted->parts[i].ndead;
	inv_meta_seal(meta);
	GenericXLogFinish(state);
	UnlockReleaseBuffer(buffer);
}

static IndexBulkDeleteResult *
vacuum_all(IndexVacuumInfo *info, IndexBulkDeleteResult *stats,
		   IndexBulkDeleteCallback callback, void *arg)
{
	InvMetaPageData *meta = palloc(sizeof(InvMetaPageData));
	Vacuum		vacuum = {.info = info,.callback = callback,.arg = arg};
	double		removed;

	if (!stats)
		stats = palloc0(sizeof(IndexBulkDeleteResult));
	vacuum.stats = stats;
	stats->num_index_tuples = 0;
	stats->estimated_count = false;
	removed = stats->tuples_removed;
	inv_read_meta(info->index, meta);
	inv_layout_init(&vacuum.layout, meta->nfilters, meta->filter_width);
	vacuum.reader.index = info->index;
	vacuum.reader.layout = vacuum.layout;
	for (int i = 0; i < meta->nparts; i++)
	{
		if (meta->parts[i].pending)
			vacuum_pending(&vacuum, meta->parts[i].id, meta->parts[i].first);
		else
			meta->parts[i].ndead = vacuum_segment(&vacuum, &meta->parts[i]);
	}
	vacuum_pending(&vacuum, meta->pending_id, meta->pending_first);
	if (stats->tuples_removed > removed)
		count_dead(info->index, meta);
	stats->num_pages = RelationGetNumberOfBlocks(info->index);
	pfree(meta);
	return stats;
}

/* VACUUM: take the rows out that the callback calls dead. */
IndexBulkDeleteResult *
inv_bulkdelete(IndexVacuumInfo *info, IndexBulkDeleteResult *stats,
			   IndexBulkDeleteCallback callback, void *state)
{
	inv_maintain_lock(info->index, true);
	stats = vacuum_all(info, stats, callback, state);
	inv_maintain_unlock(info->index);
	return stats;
}

/* Is a page one that can be found from the meta page, now or until it is freed? */
static bool
is_named(const InvMetaPageData *meta, uint32 id)
{
	if (id == meta->pending_id)
		return true;
	for (int i = 0; i < meta->nparts; i++)
		if (meta->parts[i].id == id)
			return true;
	for (int i = 0; i < meta->nretired; i++)
		if (meta->retired[i].id == id)
			return true;
	return false;
}

/*
 * Give back what interrupted inserts and merges left, and tell the free space map
 * of all that is free.  Under the maintenance lock no number is new: a page of
 * one that is not named belongs to nobody.  A page that an insert has just taken
 * is locked until it bears the number of the pending list.
 */
static void
collect_pages(IndexVacuumInfo *info, IndexBulkDeleteResult *stats)
{
	Relation	index = info->index;
	InvMetaPageData *meta = palloc(sizeof(InvMetaPageData));
	BlockNumber nblocks = RelationGetNumberOfBlocks(index);

	inv_read_meta(index, meta);
	stats->pages_deleted = 0;
	stats->pages_free = 0;
	for (BlockNumber block = INV_META_BLOCK + 1; block < nblocks; block++)
	{
		Buffer		buffer;
		Page		page;
		bool		usable;

		vacuum_delay_point_compat();
		buffer = ReadBufferExtended(index, MAIN_FORKNUM, block, RBM_NORMAL, info->strategy);
		LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
		page = BufferGetPage(buffer);
		usable = ix_page_usable(page);
		if (!usable && ((PageHeader) page)->pd_special == BLCKSZ - sizeof(IxPageOpaqueData) &&
			IxPageGetOpaque(page)->page_id == INV_PAGE_ID &&
			!is_named(meta, IxPageGetOpaque(page)->owner))
		{
			inv_free_page(index, buffer);
			usable = true;
		}
		UnlockReleaseBuffer(buffer);
		if (usable)
		{
			RecordFreeIndexPage(index, block);
			stats->pages_free++;
		}
	}
	IndexFreeSpaceMapVacuum(index);
	stats->num_pages = nblocks;
	pfree(meta);
}

/*
 * The end of VACUUM, and ANALYZE by autovacuum: flush what is pending, and count.
 */
IndexBulkDeleteResult *
inv_vacuumcleanup(IndexVacuumInfo *info, IndexBulkDeleteResult *stats)
{
	MemoryContext context;
	MemoryContext old;

	/* ANALYZE by the autovacuum worker is a chance to flush, as it is for GIN */
	if (info->analyze_only && !IsAutoVacuumWorkerProcess())
		return stats;
	if (!info->analyze_only && !stats)
		stats = palloc0(sizeof(IndexBulkDeleteResult));
	if (!inv_maintain_lock(info->index, !info->analyze_only))
		return stats;
	context = AllocSetContextCreate(CurrentMemoryContext, "inverted vacuum", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	if (!info->analyze_only && stats->num_index_tuples == 0 && stats->tuples_removed == 0)
		vacuum_all(info, stats, NULL, NULL);
	inv_maintain(info->index, !info->analyze_only);
	if (!info->analyze_only)
		collect_pages(info, stats);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	inv_maintain_unlock(info->index);
	return stats;
}
