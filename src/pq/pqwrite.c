/*
 * pqwrite.c
 *		Writing a new index: meta page, model, centroids, directory, lists.
 *
 * Nobody else sees the file yet, so pages are written without WAL and logged
 * as whole pages at the end of the build.
 */
#include "postgres.h"

#include "access/xloginsert.h"
#include "miscadmin.h"
#include "port/pg_crc32c.h"

#include "pq/pq.h"

struct PqWriter
{
	Relation	index;
	ForkNumber	fork;
	const PqMetaPageData *meta;
	const PqLayout *layout;
	uint32		list;			/* being written */
	Buffer		posting;
	Buffer		refine[PQ_MAX_PARTS];
};

/* One more page, locked, initialised and dirty. */
static Buffer
add_page(Relation index, ForkNumber fork, PqPageKind kind, uint32 owner)
{
	Buffer		buffer = ReadBufferExtended(index, fork, P_NEW, RBM_ZERO_AND_LOCK, NULL);

	pq_page_init(BufferGetPage(buffer), kind, owner);
	MarkBufferDirty(buffer);
	return buffer;
}

static BlockNumber
write_stream(Relation index, ForkNumber fork, PqPageKind kind, const char *data, Size size, Size per_page)
{
	BlockNumber start = InvalidBlockNumber;

	for (Size done = 0; done < size; done += per_page)
	{
		Buffer		buffer = add_page(index, fork, kind, 0);

		CHECK_FOR_INTERRUPTS();
		memcpy((char *) BufferGetPage(buffer) + PQ_STREAM_START, data + done, Min(per_page, size - done));
		if (start == InvalidBlockNumber)
			start = BufferGetBlockNumber(buffer);
		UnlockReleaseBuffer(buffer);
	}
	return start;
}

/*
 * Write all that comes before the lists, and fill in where it is.
 */
void
pq_write_start(Relation index, ForkNumber fork, const PqTrained *trained, PqMetaPageData *meta)
{
	const PqModel *model = trained->model;
	pg_crc32c	crc;

	UnlockReleaseBuffer(add_page(index, fork, PQ_PAGE_META, 0));
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
	meta->model_start = write_stream(index, fork, PQ_PAGE_MODEL, (const char *) model, model->size, PQ_STREAM_BYTES);
	meta->tiles_start = write_stream(index, fork, PQ_PAGE_TILES, (const char *) trained->tiles,
									 (Size) meta->nslots * model->inner * sizeof(float),
									 (Size) PQ_ROWS_PER_PAGE * PQ_ROW_BYTES);
	for (int start = 0; start < meta->nslots; start += PQ_ENTRIES_PER_PAGE)
	{
		Buffer		buffer = add_page(index, fork, PQ_PAGE_DIRECTORY, 0);
		PqDirectoryEntry *entries = (PqDirectoryEntry *) ((char *) BufferGetPage(buffer) + PQ_DIRECTORY_START);

		for (int i = 0; i < PQ_ENTRIES_PER_PAGE; i++)
			entries[i].head = entries[i].insert = InvalidBlockNumber;
		if (start == 0)
			meta->directory_start = BufferGetBlockNumber(buffer);
		UnlockReleaseBuffer(buffer);
	}
}

/*
 * Write the meta page, which completes the index.
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

PqWriter *
pq_writer_begin(Relation index, ForkNumber fork, const PqMetaPageData *meta, const PqLayout *layout)
{
	PqWriter   *writer = palloc0(sizeof(PqWriter));

	writer->index = index;
	writer->fork = fork;
	writer->meta = meta;
	writer->layout = layout;
	writer->list = PG_UINT32_MAX;
	return writer;
}

static void
set_directory(PqWriter *writer, BlockNumber head, BlockNumber insert)
{
	Buffer		buffer = ReadBufferExtended(writer->index, writer->fork,
											writer->meta->directory_start + writer->list / PQ_ENTRIES_PER_PAGE,
											RBM_NORMAL, NULL);
	PqDirectoryEntry *entry = (PqDirectoryEntry *) ((char *) BufferGetPage(buffer) + PQ_DIRECTORY_START) +
		writer->list % PQ_ENTRIES_PER_PAGE;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	if (head != InvalidBlockNumber)
		entry->head = head;
	entry->insert = insert;
	MarkBufferDirty(buffer);
	UnlockReleaseBuffer(buffer);
}

static void
release_refine(PqWriter *writer)
{
	for (int part = 0; part < PQ_MAX_PARTS; part++)
	{
		if (BufferIsValid(writer->refine[part]))
			UnlockReleaseBuffer(writer->refine[part]);
		writer->refine[part] = InvalidBuffer;
	}
}

/*
 * Start a posting page, linked to the one before it if the list has one.
 * Interrupts are held as long as a page is locked, so this, once per page, is
 * where they are served: all pages are unlocked.
 */
static void
start_page(PqWriter *writer, uint32 list)
{
	bool		first = list != writer->list;
	Buffer		previous = writer->posting;
	Buffer		buffer;
	BlockNumber block;

	release_refine(writer);
	if (BufferIsValid(previous))
		LockBuffer(previous, BUFFER_LOCK_UNLOCK);
	CHECK_FOR_INTERRUPTS();

	buffer = add_page(writer->index, writer->fork, PQ_PAGE_POSTING, list);
	block = BufferGetBlockNumber(buffer);
	pq_posting_init(BufferGetPage(buffer), writer->layout, list);
	if (!first)
	{
		/* it may have been written to disk meanwhile */
		LockBuffer(previous, BUFFER_LOCK_EXCLUSIVE);
		PqPostingGetHeader(BufferGetPage(previous))->next = block;
		MarkBufferDirty(previous);
		LockBuffer(previous, BUFFER_LOCK_UNLOCK);
	}
	if (BufferIsValid(previous))
		ReleaseBuffer(previous);
	writer->list = list;
	writer->posting = buffer;
	set_directory(writer, first ? block : InvalidBlockNumber, block);
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
		release_refine(writer);
		for (int part = 0; part < layout->refine_parts; part++)
		{
			writer->refine[part] = add_page(writer->index, writer->fork, PQ_PAGE_REFINE, entry->list);
			header->refine[number + part] = BufferGetBlockNumber(writer->refine[part]);
		}
	}
	pq_posting_put(BufferGetPage(writer->posting), layout, slot, entry);
	for (int part = 0; part < layout->refine_parts; part++)
		pq_refine_put(BufferGetPage(writer->refine[part]), layout, slot, part, entry);
	header->nused++;
	header->nlive++;
}

void
pq_writer_end(PqWriter *writer)
{
	release_refine(writer);
	if (BufferIsValid(writer->posting))
		UnlockReleaseBuffer(writer->posting);
	pfree(writer);
}
