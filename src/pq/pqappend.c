/*
 * pqappend.c
 *		Adding a point to an index: assign, code, append to the list.
 *
 * The list's directory entry names a page to start at; from there the links are
 * followed to one with room.  What a crash leaves at each step:
 *
 * - a new page that is not linked yet is all zeros and known to nobody; VACUUM
 *   puts it into the free space map;
 * - a posting page without entries, or a refine page without codes, is linked
 *   and waits for the next insert;
 * - an entry becomes live by one WAL record that holds its refine code, too.
 *
 * Inserts into one list meet at its page's lock; a posting page is locked
 * before its refine page and before the directory page, and one posting page is
 * unlocked before the next is locked, so no two can wait for each other.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/rel.h"

#include "pq/pq.h"

/* So many inserted entries of a page are worth a look at how many there are. */
#define LOOK_EACH 32

/*
 * Set a list's directory entry, in a WAL record that also holds the posting
 * page that it leads to.
 */
static void
register_directory(GenericXLogState *state, Buffer buffer, uint32 list, BlockNumber head, BlockNumber insert, int added)
{
	Page		page = GenericXLogRegisterBuffer(state, buffer, 0);
	PqDirectoryEntry *entry = (PqDirectoryEntry *) ((char *) page + PQ_DIRECTORY_START) + list % PQ_ENTRIES_PER_PAGE;

	if (head != InvalidBlockNumber)
		entry->head = head;
	entry->insert = insert;
	entry->npages += added;
}

/*
 * Give a list its first page, unless another backend was faster.  Returns the
 * page to start at.
 */
static BlockNumber
make_head(Relation index, PqIndex *pq, uint32 list)
{
	Buffer		directory = ReadBuffer(index, pq->meta.directory_start + list / PQ_ENTRIES_PER_PAGE);
	Buffer		buffer;
	PqDirectoryEntry *entry;
	BlockNumber block;
	GenericXLogState *state;

	/* the new page is known to nobody, so its lock is out of the order */
	buffer = ix_new_buffer(index, MAIN_FORKNUM);
	LockBuffer(directory, BUFFER_LOCK_EXCLUSIVE);
	pq_page_check(index, directory, PQ_PAGE_DIRECTORY);
	entry = (PqDirectoryEntry *) ((char *) BufferGetPage(directory) + PQ_DIRECTORY_START) + list % PQ_ENTRIES_PER_PAGE;
	block = entry->insert;
	if (block == InvalidBlockNumber && entry->head != InvalidBlockNumber)
		ix_corrupt(index, BufferGetBlockNumber(directory), "A list has no page to insert into.");
	if (block == InvalidBlockNumber)
	{
		block = BufferGetBlockNumber(buffer);
		state = GenericXLogStart(index);
		pq_posting_init(GenericXLogRegisterBuffer(state, buffer, GENERIC_XLOG_FULL_IMAGE), PqListLayout(pq, list), list);
		register_directory(state, directory, list, block, block, 1);
		pq->look = true;
		GenericXLogFinish(state);
	}
	UnlockReleaseBuffer(directory);
	UnlockReleaseBuffer(buffer);
	return block;
}

/* A slot with room on a locked posting page, or -1. */
static int
free_slot(Page page, const PqLayout *layout)
{
	PqPostingHeader *header = PqPostingGetHeader(page);

	if (header->nlive < header->nused)
		for (int b = 0; b * PQ_BLOCK < header->nused; b++)
		{
			uint32		dead = ~PqPostingLive(page, layout)[b];

			if (dead)
			{
				int			slot = b * PQ_BLOCK + pg_rightmost_one_pos32(dead);

				if (slot < header->nused)
					return slot;
			}
		}
	return header->nused < layout->nslots ? header->nused : -1;
}

/*
 * Link a new page behind the last, full one, which is locked, and make it the
 * page where inserts start.  Returns its number.
 */
static BlockNumber
append_page(Relation index, PqIndex *pq, uint32 list, Buffer last)
{
	Buffer		buffer = ix_new_buffer(index, MAIN_FORKNUM);
	Buffer		directory = ReadBuffer(index, pq->meta.directory_start + list / PQ_ENTRIES_PER_PAGE);
	BlockNumber block = BufferGetBlockNumber(buffer);
	GenericXLogState *state;

	LockBuffer(directory, BUFFER_LOCK_EXCLUSIVE);
	pq_page_check(index, directory, PQ_PAGE_DIRECTORY);
	state = GenericXLogStart(index);
	pq_posting_init(GenericXLogRegisterBuffer(state, buffer, GENERIC_XLOG_FULL_IMAGE), PqListLayout(pq, list), list);
	PqPostingGetHeader(GenericXLogRegisterBuffer(state, last, 0))->next = block;
	register_directory(state, directory, list, InvalidBlockNumber, block, 1);
	GenericXLogFinish(state);
	pq->look = true;
	UnlockReleaseBuffer(directory);
	UnlockReleaseBuffer(buffer);
	return block;
}

/*
 * The page of a part of a refine code, locked: a new one if there is none yet.
 */
static Buffer
refine_buffer(Relation index, PqIndex *pq, BlockNumber block, uint32 list)
{
	Buffer		buffer;

	if (block == InvalidBlockNumber)
		return ix_new_buffer(index, MAIN_FORKNUM);
	pq_block_check(pq, index, block);
	buffer = ReadBuffer(index, block);
	/* before it is locked: a damaged number may lead to the posting page */
	pq_page_check(index, buffer, PQ_PAGE_REFINE);
	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	if (IxPageGetOpaque(BufferGetPage(buffer))->owner != list)
		ix_corrupt(index, block, "The page belongs to another list.");
	return buffer;
}

/*
 * Count an entry that is inserted.  Where slots are used again and again, only the
 * last entries tell what comes, so older ones count less and less.
 */
static void
count_inserted(PqPostingHeader *header, const PqLayout *layout, bool strange)
{
	if (header->ninserted >= layout->nslots)
	{
		header->ninserted /= 2;
		header->nstrange /= 2;
	}
	header->ninserted++;
	header->nstrange += strange;
}

/* After a page's entry see whether it may be time to learn, now and then. */
static void
look_now_and_then(PqIndex *pq, const PqPostingHeader *header, const PqLayout *layout)
{
	if (header->ninserted % LOOK_EACH == 0 || header->ninserted >= layout->nslots)
		pq->look = true;
}

/*
 * Put an entry on a locked posting page that has room.
 */
static void
put_entry(Relation index, PqIndex *pq, Buffer posting, int slot, const PqEntry *entry, bool strange)
{
	const PqLayout *layout = PqListLayout(pq, entry->list);
	Page		page = BufferGetPage(posting);
	int			number = PqRefineNumber(layout, slot);
	bool		fresh = PqPostingGetHeader(page)->refine[number] == InvalidBlockNumber;
	Buffer		refine[PQ_MAX_PARTS];
	GenericXLogState *state;
	Page		image;

	if (fresh && slot / layout->refine_slots * layout->refine_slots < PqPostingGetHeader(page)->nused)
		ix_corrupt(index, BufferGetBlockNumber(posting), "A refine page is missing.");
	for (int part = 0; part < layout->refine_parts; part++)
	{
		BlockNumber block = PqPostingGetHeader(page)->refine[number + part];

		/* or two buffers would be one, locked twice */
		if ((block == InvalidBlockNumber) != fresh ||
			(part > 0 && !fresh && block == BufferGetBlockNumber(refine[part - 1])))
			ix_corrupt(index, BufferGetBlockNumber(posting), "A refine page is missing.");
		refine[part] = refine_buffer(index, pq, block, entry->list);
	}
	state = GenericXLogStart(index);
	image = GenericXLogRegisterBuffer(state, posting, 0);
	pq_posting_put(image, layout, slot, entry);
	PqPostingGetHeader(image)->nlive++;
	count_inserted(PqPostingGetHeader(image), layout, strange);
	look_now_and_then(pq, PqPostingGetHeader(image), layout);
	PqPostingGetHeader(image)->nused = Max(PqPostingGetHeader(image)->nused, slot + 1);
	for (int part = 0; part < layout->refine_parts; part++)
		PqPostingGetHeader(image)->refine[number + part] = BufferGetBlockNumber(refine[part]);
	for (int part = 0; part < layout->refine_parts; part++)
	{
		image = GenericXLogRegisterBuffer(state, refine[part], fresh ? GENERIC_XLOG_FULL_IMAGE : 0);
		if (fresh)
			pq_page_init(image, PQ_PAGE_REFINE, entry->list, layout->generation);
		pq_refine_put(image, layout, slot, part, entry);
	}
	GenericXLogFinish(state);
	for (int part = 0; part < layout->refine_parts; part++)
		UnlockReleaseBuffer(refine[part]);
}

static void
insert_entry(Relation index, PqIndex *pq, const PqEntry *entry, bool strange)
{
	const PqLayout *layout = PqListLayout(pq, entry->list);
	PqDirectoryEntry start;
	BlockNumber block;
	int64		walked = 0;

	pq_read_directory(index, &pq->meta, entry->list, &start);
	block = start.insert;
	if (block == InvalidBlockNumber)
		block = make_head(index, pq, entry->list);
	for (;;)
	{
		Buffer		buffer = pq_read(pq, index, block);
		int			slot;
		BlockNumber next;

		CHECK_FOR_INTERRUPTS();
		LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
		pq_posting_check(index, buffer, layout, entry->list);
		slot = free_slot(BufferGetPage(buffer), layout);
		if (slot >= 0)
		{
			put_entry(index, pq, buffer, slot, entry, strange);
			UnlockReleaseBuffer(buffer);
			break;
		}
		next = PqPostingGetHeader(BufferGetPage(buffer))->next;
		if (next == InvalidBlockNumber)
		{
			next = append_page(index, pq, entry->list, buffer);
			walked = -1;
		}
		UnlockReleaseBuffer(buffer);
		block = next;
		if (walked >= 0 && (++walked & 1023) == 0 && walked > RelationGetNumberOfBlocks(index))
			ix_corrupt(index, block, "The pages of a list form a circle.");
	}

	/* spare the next insert the walk over full pages */
	if (walked > 0)
	{
		Buffer		directory = ReadBuffer(index, pq->meta.directory_start + entry->list / PQ_ENTRIES_PER_PAGE);
		GenericXLogState *state;

		LockBuffer(directory, BUFFER_LOCK_EXCLUSIVE);
		pq_page_check(index, directory, PQ_PAGE_DIRECTORY);
		state = GenericXLogStart(index);
		register_directory(state, directory, entry->list, InvalidBlockNumber, block, 0);
		GenericXLogFinish(state);
		UnlockReleaseBuffer(directory);
	}
}

/*
 * Insert a point of the index space, which lost so much when it became one: into the
 * list with the nearest centroid, or among the outliers.  The entry comes with its
 * TID and its filter values.  Nobody may switch the index to another generation
 * meanwhile.
 */
void
pq_insert_point(Relation index, PqIndex *pq, const float *point, float lost, PqEntry *entry)
{
	float	   *centroid = palloc(sizeof(float) * pq->model->space_dims);
	const float *centroids = centroid;
	bool		strange;

	entry->list = pq_nearest_list(index, pq, point);
	pq_read_centroid(index, pq, entry->list, centroid);
	pq_encode(pq->model, &pq->layout, point, &lost, &centroids, 1, &entry);
	if (pq_is_outlier(index, pq, entry, point, centroid, &strange))
		entry = pq_outlier_entry(pq, entry, point, lost);
	insert_entry(index, pq, entry, strange);
	pfree(centroid);
}
