/*
 * pqvacuum.c
 *		VACUUM: dead entries are marked, and their slots used again by inserts
 *		into the same list.
 *
 * Lists are walked along their links.  Entries never move and pages never leave
 * their list, so what was in the index when VACUUM started is met exactly once,
 * whatever is inserted meanwhile.  An exclusive lock per page is enough: scans
 * use MVCC snapshots only, and such a snapshot cannot see the row that may come
 * to stand behind a TID they have read (see pqsearch.c), so there is no need to
 * wait until they have let go of the page.
 */
#include "postgres.h"

#include "commands/vacuum.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "pq/pq.h"

/* Remove dead entries of a page; returns how many there were. */
static int
vacuum_page(Relation index, Buffer buffer, const PqLayout *layout,
			IndexBulkDeleteCallback callback, void *arg)
{
	Page		page = BufferGetPage(buffer);
	int			nused = PqPostingGetHeader(page)->nused;
	uint32		keep[64];
	int			dead = 0;
	GenericXLogState *state;

	for (int b = 0; b * PQ_BLOCK < nused; b++)
	{
		uint32		live = PqPostingLive(page, layout)[b] & PqUsedMask(PqPostingGetHeader(page), b);

		keep[b] = live;
		for (; live; live &= live - 1)
		{
			int			v = pg_rightmost_one_pos32(live);
			ItemPointer tid = &PqPostingTids(page, layout)[b * PQ_BLOCK + v];

			/* the callback relies on it */
			if (!ItemPointerIsValid(tid))
				ix_corrupt(index, BufferGetBlockNumber(buffer), "It has an invalid row pointer.");
			if (callback(tid, arg))
			{
				keep[b] &= ~((uint32) 1 << v);
				dead++;
			}
		}
	}
	if (dead == 0)
		return 0;
	state = GenericXLogStart(index);
	page = GenericXLogRegisterBuffer(state, buffer, 0);
	for (int b = 0; b * PQ_BLOCK < nused; b++)
		PqPostingLive(page, layout)[b] = keep[b];
	PqPostingGetHeader(page)->nlive -= Min(dead, PqPostingGetHeader(page)->nlive);
	GenericXLogFinish(state);
	return dead;
}

/* Let inserts into a list start at a page that has room again. */
static void
set_insert_page(Relation index, PqIndex *pq, uint32 list, BlockNumber block)
{
	Buffer		buffer = ReadBuffer(index, pq->meta.directory_start + list / PQ_ENTRIES_PER_PAGE);
	GenericXLogState *state;
	Page		page;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	pq_page_check(index, buffer, PQ_PAGE_DIRECTORY);
	state = GenericXLogStart(index);
	page = GenericXLogRegisterBuffer(state, buffer, 0);
	((PqDirectoryEntry *) ((char *) page + PQ_DIRECTORY_START))[list % PQ_ENTRIES_PER_PAGE].insert = block;
	GenericXLogFinish(state);
	UnlockReleaseBuffer(buffer);
}

static void
vacuum_list(IndexVacuumInfo *info, PqIndex *pq, uint32 list, IndexBulkDeleteResult *stats,
			IndexBulkDeleteCallback callback, void *arg)
{
	Relation	index = info->index;
	const PqLayout *layout = PqListLayout(pq, list);
	BlockNumber block = pq_list_head(pq, index, list);
	BlockNumber room = InvalidBlockNumber;	/* first page with a free slot */
	BlockNumber steps = 0;
	bool		removed = false;

	while (block != InvalidBlockNumber)
	{
		Buffer		buffer;
		PqPostingHeader *header;
		int			dead = 0;

		vacuum_delay_point_compat();
		pq_block_check(pq, index, block);
		buffer = ReadBufferExtended(index, MAIN_FORKNUM, block, RBM_NORMAL, info->strategy);
		LockBuffer(buffer, callback ? BUFFER_LOCK_EXCLUSIVE : BUFFER_LOCK_SHARE);
		pq_posting_check(index, buffer, layout, list);
		header = PqPostingGetHeader(BufferGetPage(buffer));
		if (callback)
			dead = vacuum_page(index, buffer, layout, callback, arg);
		stats->tuples_removed += dead;
		stats->num_index_tuples += header->nlive;
		removed |= dead > 0;
		if (room == InvalidBlockNumber && header->nlive < layout->nslots)
			room = block;
		block = header->next;
		UnlockReleaseBuffer(buffer);
		if (++steps > 1024 && steps > RelationGetNumberOfBlocks(index))
			ix_corrupt(index, block, "The pages of a list form a circle.");
	}
	if (removed && room != InvalidBlockNumber)
		set_insert_page(index, pq, list, room);
}

static IndexBulkDeleteResult *
vacuum_lists(IndexVacuumInfo *info, IndexBulkDeleteResult *stats,
			 IndexBulkDeleteCallback callback, void *arg)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pq vacuum", ALLOCSET_DEFAULT_SIZES);
	PqIndex    *pq = pq_index_get(info->index, context);

	if (!stats)
		stats = palloc0(sizeof(IndexBulkDeleteResult));
	stats->num_index_tuples = 0;
	for (uint32 list = 0; list < PqMetaLists(&pq->meta); list++)
		vacuum_list(info, pq, list, stats, callback, arg);
	stats->num_pages = RelationGetNumberOfBlocks(info->index);
	MemoryContextDelete(context);
	return stats;
}

/* VACUUM: take the rows out that the callback calls dead. */
IndexBulkDeleteResult *
pq_bulkdelete(IndexVacuumInfo *info, IndexBulkDeleteResult *stats,
			  IndexBulkDeleteCallback callback, void *state)
{
	return vacuum_lists(info, stats, callback, state);
}

/*
 * Learn anew if that is due, and find pages that can be used again.  Where rows
 * were only inserted and no generation is to be given back, that is all.
 */
IndexBulkDeleteResult *
pq_vacuumcleanup(IndexVacuumInfo *info, IndexBulkDeleteResult *stats)
{
	PqMetaPageData meta;
	bool		learned;

	if (info->analyze_only)
		return stats;
	learned = pq_learn_if_due(info->index);
	pq_read_meta(info->index, &meta);
	if (stats || meta.swept != meta.last_generation)
		pq_sweep(info->index, info->strategy);
	if (!stats || learned)
		stats = vacuum_lists(info, stats, NULL, NULL);
	stats->num_pages = RelationGetNumberOfBlocks(info->index);
	return stats;
}
