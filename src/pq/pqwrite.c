/*
 * pqwrite.c
 *		Writing a new index: meta page, model, centroids, directory, lists.
 *
 * In a build nobody else sees the file yet, so pages are written without WAL and
 * logged as whole pages at the end.  A new generation of an index that lives is
 * written to pages that nobody else knows, and each is logged when it is
 * complete; until then it is locked, or pinned and not dirty, so that it does not
 * get to disk before.
 */
#include "postgres.h"

#include "access/xloginsert.h"
#include "miscadmin.h"
#include "port/pg_crc32c.h"
#include "utils/rel.h"
#include "storage/lmgr.h"

#include "pq/pq.h"

struct PqWriter
{
	Relation	index;
	ForkNumber	fork;
	const PqMetaPageData *meta;
	const PqLayout *layout;
	bool		live;
	PqDirectoryEntry *directory;
	uint32		list;			/* being written */
	Buffer		posting;
	Buffer		refine[PQ_MAX_PARTS];
};

/* One more page, locked. */
static Buffer
add_page(Relation index, ForkNumber fork, bool live)
{
	return live ? ix_new_buffer(index, fork) : ReadBufferExtended(index, fork, P_NEW, RBM_ZERO_AND_LOCK, NULL);
}

/* Let go of a locked page that is complete. */
static void
finish_page(Relation index, Buffer buffer, bool live)
{
	if (live && RelationNeedsWAL(index))
	{
		START_CRIT_SECTION();
		MarkBufferDirty(buffer);
		log_newpage_buffer(buffer, false);
		END_CRIT_SECTION();
	}
	else
		MarkBufferDirty(buffer);
	UnlockReleaseBuffer(buffer);
}

/*
 * Pages in a row, all zeros: a reader of the model and of centroids knows where
 * the first is.  What a crash leaves of them VACUUM finds.
 */
static BlockNumber
reserve_pages(Relation index, ForkNumber fork, BlockNumber n, bool live)
{
	BlockNumber start = InvalidBlockNumber;
	bool		extend = live && !RELATION_IS_LOCAL(index);

	if (extend)
		LockRelationForExtension(index, ExclusiveLock);
	for (BlockNumber i = 0; i < n; i++)
	{
		Buffer		buffer = ReadBufferExtended(index, fork, P_NEW, RBM_NORMAL, NULL);

		if (i == 0)
			start = BufferGetBlockNumber(buffer);
		ReleaseBuffer(buffer);
	}
	if (extend)
		UnlockRelationForExtension(index, ExclusiveLock);
	return start;
}

static void
write_stream(Relation index, ForkNumber fork, BlockNumber start, PqPageKind kind, uint32 generation,
			 const char *data, Size size, Size per_page, int offset, bool live)
{
	for (Size done = 0; done < size; done += per_page)
	{
		Buffer		buffer;

		CHECK_FOR_INTERRUPTS();
		buffer = ReadBufferExtended(index, fork, start + done / per_page, RBM_NORMAL, NULL);
		LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
		/* a free space map that a crash left wrong can have given it away */
		if (live && !PageIsNew(BufferGetPage(buffer)))
			ix_corrupt(index, BufferGetBlockNumber(buffer), "A page that was kept for the index's model is in use.");
		pq_page_init(BufferGetPage(buffer), kind, 0, generation);
		memcpy((char *) BufferGetPage(buffer) + offset, data + done, Min(per_page, size - done));
		finish_page(index, buffer, live);
	}
}

/*
 * Write all that comes before the lists, and fill in where it is.  live tells
 * that the index is in use: its meta page stays as it is.
 */
void
pq_write_start(Relation index, ForkNumber fork, const PqTrained *trained, PqMetaPageData *meta, bool live)
{
	const PqModel *model = trained->model;
	Size		tiles = (Size) PqModelSlots(model) * model->space_dims * sizeof(float);
	Size		tile_page = (Size) PQ_ROWS_PER_PAGE * PQ_ROW_BYTES;
	BlockNumber model_pages = (model->size + PQ_STREAM_BYTES - 1) / PQ_STREAM_BYTES;
	BlockNumber tile_pages = (tiles + tile_page - 1) / tile_page;
	BlockNumber directory_pages;
	pg_crc32c	crc;

	if (!live)
	{
		Buffer		buffer = add_page(index, fork, false);

		pq_page_init(BufferGetPage(buffer), PQ_PAGE_META, 0, 0);
		finish_page(index, buffer, false);
	}
	INIT_CRC32C(crc);
	COMP_CRC32C(crc, model, model->size);
	FIN_CRC32C(crc);
	meta->magic = PQ_MAGIC;
	meta->version = PQ_VERSION;
	meta->model_size = model->size;
	meta->model_crc = crc;
	meta->dims = model->dims;
	meta->flat = PqModelIsFlat(model);
	meta->nslots = PqModelSlots(model);
	directory_pages = (PqMetaLists(meta) + PQ_ENTRIES_PER_PAGE - 1) / PQ_ENTRIES_PER_PAGE;
	meta->model_start = reserve_pages(index, fork, model_pages + tile_pages + directory_pages, live);
	meta->tiles_start = meta->model_start + model_pages;
	meta->directory_start = meta->tiles_start + tile_pages;
	write_stream(index, fork, meta->model_start, PQ_PAGE_MODEL, meta->generation,
				 (const char *) model, model->size, PQ_STREAM_BYTES, PQ_STREAM_START, live);
	write_stream(index, fork, meta->tiles_start, PQ_PAGE_TILES, meta->generation,
				 (const char *) trained->tiles, tiles, tile_page, PQ_STREAM_START, live);
}

/*
 * Write the meta page, which completes a new index.
 */
void
pq_write_meta(Relation index, ForkNumber fork, PqMetaPageData *meta)
{
	Buffer		buffer = ReadBufferExtended(index, fork, PQ_META_BLOCK, RBM_NORMAL, NULL);

	meta->crc = pq_meta_crc(meta);
	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	*PqPageGetMeta(BufferGetPage(buffer)) = *meta;
	MarkBufferDirty(buffer);
	UnlockReleaseBuffer(buffer);
}

/*
 * Begin to write lists one after the other, in the current memory context; live: the
 * index is in use, so pages change under WAL.
 */
PqWriter *
pq_writer_begin(Relation index, ForkNumber fork, const PqMetaPageData *meta, const PqLayout *layout, bool live)
{
	PqWriter   *writer = palloc0(sizeof(PqWriter));

	writer->index = index;
	writer->fork = fork;
	writer->meta = meta;
	writer->layout = layout;
	writer->live = live;
	writer->list = PG_UINT32_MAX;
	writer->directory = palloc_extended(sizeof(PqDirectoryEntry) * PqMetaLists(meta), MCXT_ALLOC_HUGE);
	for (int i = 0; i < PqMetaLists(meta); i++)
	{
		writer->directory[i].head = writer->directory[i].insert = InvalidBlockNumber;
		writer->directory[i].npages = 0;
	}
	return writer;
}

/* Let go of the refine pages. */
static void
finish_refine(PqWriter *writer)
{
	for (int part = 0; part < PQ_MAX_PARTS; part++)
	{
		if (BufferIsValid(writer->refine[part]))
			finish_page(writer->index, writer->refine[part], writer->live);
		writer->refine[part] = InvalidBuffer;
	}
}

/*
 * Start a posting page, linked to the one before it if the list has one.
 * Interrupts are held as long as a page is locked, so this, once per page, is
 * where they are served: the only page left is not dirty, and unlocked.
 */
static void
start_page(PqWriter *writer, uint32 list)
{
	Buffer		buffer;
	BlockNumber block;

	finish_refine(writer);
	if (BufferIsValid(writer->posting))
		LockBuffer(writer->posting, BUFFER_LOCK_UNLOCK);
	CHECK_FOR_INTERRUPTS();
	if (BufferIsValid(writer->posting))
		LockBuffer(writer->posting, BUFFER_LOCK_EXCLUSIVE);
	buffer = add_page(writer->index, writer->fork, writer->live);
	block = BufferGetBlockNumber(buffer);
	pq_posting_init(BufferGetPage(buffer), writer->layout, list);
	if (list == writer->list)
		PqPostingGetHeader(BufferGetPage(writer->posting))->next = block;
	else
		writer->directory[list].head = block;
	if (BufferIsValid(writer->posting))
		finish_page(writer->index, writer->posting, writer->live);
	writer->list = list;
	writer->posting = buffer;
	writer->directory[list].insert = block;
	writer->directory[list].npages++;
}

/*
 * Append an entry; entries come sorted by list.
 */
void
pq_writer_add(PqWriter *writer, const PqEntry *entry)
{
	const PqLayout *layout = writer->layout;
	PqPostingHeader *header;
	int			slot;
	int			number;

	if (entry->list != writer->list ||
		PqPostingGetHeader(BufferGetPage(writer->posting))->nused == layout->nslots)
		start_page(writer, entry->list);
	header = PqPostingGetHeader(BufferGetPage(writer->posting));
	slot = header->nused;
	number = PqRefineNumber(layout, slot);
	if (header->refine[number] == InvalidBlockNumber)
	{
		finish_refine(writer);
		for (int part = 0; part < layout->refine_parts; part++)
		{
			writer->refine[part] = add_page(writer->index, writer->fork, writer->live);
			pq_page_init(BufferGetPage(writer->refine[part]), PQ_PAGE_REFINE, entry->list, layout->generation);
			header->refine[number + part] = BufferGetBlockNumber(writer->refine[part]);
		}
	}
	pq_posting_put(BufferGetPage(writer->posting), layout, slot, entry);
	for (int part = 0; part < layout->refine_parts; part++)
		pq_refine_put(BufferGetPage(writer->refine[part]), layout, slot, part, entry);
	header->nused++;
	header->nlive++;
}

/*
 * Complete the last list, and write the directory.
 */
void
pq_writer_end(PqWriter *writer)
{
	finish_refine(writer);
	if (BufferIsValid(writer->posting))
		finish_page(writer->index, writer->posting, writer->live);
	write_stream(writer->index, writer->fork, writer->meta->directory_start, PQ_PAGE_DIRECTORY, writer->meta->generation,
				 (const char *) writer->directory, sizeof(PqDirectoryEntry) * (Size) PqMetaLists(writer->meta),
				 sizeof(PqDirectoryEntry) * PQ_ENTRIES_PER_PAGE, PQ_DIRECTORY_START, writer->live);
	pfree(writer->directory);
	pfree(writer);
}
