/*
 * pqcache.c
 *		What a backend keeps of an index between scans: its model, where lists
 *		start, and in which buffers blocks were last seen.
 *
 * A copy belongs to a relation file.  A file's model never changes, but for a
 * rebuild within the transaction that made the file (pq_index_forget) and a
 * number used again after a wrap-around, which the checksum in the meta page
 * shows.  Copies are counted by memory contexts that hold them, so an error
 * cannot leak one; the least recently used ones that nobody holds are freed
 * when there are many.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "port/pg_crc32c.h"
#include "storage/buf_internals.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "pq/pq.h"

#define KEPT_BYTES (16 * 1024 * 1024)
#define MAX_HINTS 65536

static dlist_head indexes = DLIST_STATIC_INIT(indexes);

/*
 * Read and check the meta page.
 */
void
pq_read_meta(Relation index, PqMetaPageData *meta)
{
	Buffer		buffer;

	if (RelationGetNumberOfBlocks(index) == 0)
		ix_corrupt(index, PQ_META_BLOCK, "The file is empty.");
	buffer = ReadBuffer(index, PQ_META_BLOCK);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	pq_page_check(index, buffer, PQ_PAGE_META);
	*meta = *PqPageGetMeta(BufferGetPage(buffer));
	UnlockReleaseBuffer(buffer);
	if (meta->magic != PQ_MAGIC)
		ix_corrupt(index, PQ_META_BLOCK, "The page is no meta page.");
	if (meta->version != PQ_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("index \"%s\" has format version %u, but this library reads version %u",
						RelationGetRelationName(index), meta->version, PQ_VERSION),
				 errhint("Rebuild the index with REINDEX.")));
	if (meta->crc != pq_meta_crc(meta))
		ix_corrupt(index, PQ_META_BLOCK, "The meta page's checksum is wrong.");
}

static PqModel *
read_model(Relation index, const PqMetaPageData *meta)
{
	char	   *model = palloc(meta->model_size);
	pg_crc32c	crc;

	for (Size done = 0; done < meta->model_size; done += PQ_STREAM_BYTES)
	{
		Buffer		buffer = ReadBuffer(index, meta->model_start + done / PQ_STREAM_BYTES);

		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		pq_page_check(index, buffer, PQ_PAGE_MODEL);
		memcpy(model + done, (char *) BufferGetPage(buffer) + PQ_STREAM_START,
			   Min(PQ_STREAM_BYTES, meta->model_size - done));
		UnlockReleaseBuffer(buffer);
	}
	INIT_CRC32C(crc);
	COMP_CRC32C(crc, model, meta->model_size);
	FIN_CRC32C(crc);
	if (crc != meta->model_crc)
		ix_corrupt(index, meta->model_start, "The model's checksum is wrong.");
	pq_model_verify((PqModel *) model, meta->model_size);
	if (PqModelSlots((PqModel *) model) != meta->nslots || ((PqModel *) model)->dims != meta->dims ||
		PqModelIsFlat((PqModel *) model) != PqMetaIsFlat(meta))
		ix_corrupt(index, meta->model_start, "The model does not fit the meta page.");
	return (PqModel *) model;
}

static void
read_heads(PqIndex *pq, Relation index)
{
	for (int start = 0; start < PqMetaLists(&pq->meta); start += PQ_ENTRIES_PER_PAGE)
	{
		Buffer		buffer = ReadBuffer(index, pq->meta.directory_start + start / PQ_ENTRIES_PER_PAGE);
		PqDirectoryEntry *entries = (PqDirectoryEntry *) ((char *) BufferGetPage(buffer) + PQ_DIRECTORY_START);

		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		pq_page_check(index, buffer, PQ_PAGE_DIRECTORY);
		for (int i = 0; i < PQ_ENTRIES_PER_PAGE && start + i < PqMetaLists(&pq->meta); i++)
			pq->heads[start + i] = entries[i].head;
		UnlockReleaseBuffer(buffer);
	}
}

static void
drop_copy(PqIndex *pq)
{
	dlist_delete(&pq->node);
	MemoryContextDelete(pq->context);
}

static void
release_copy(void *arg)
{
	PqIndex    *pq = arg;

	if (--pq->refcount == 0 && !OidIsValid(pq->oid))
		drop_copy(pq);
}

/* Take a copy out of service; who holds it keeps it until it lets go. */
static void
retire(PqIndex *pq)
{
	if (pq->refcount == 0)
		drop_copy(pq);
	else
		pq->oid = InvalidOid;
}

static void
shrink(void)
{
	Size		total = 0;
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &indexes)
	{
		PqIndex    *pq = dlist_container(PqIndex, node, iter.cur);

		total += MemoryContextMemAllocated(pq->context, false);
		if (total > KEPT_BYTES && pq->refcount == 0)
			drop_copy(pq);
	}
}

static PqIndex *
make_copy(Relation index, const PqMetaPageData *meta)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pq index", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	PqIndex    *pq = palloc0(sizeof(PqIndex));
	BlockNumber nblocks = RelationGetNumberOfBlocks(index);
	uint32		nhints = 64;

	pq->context = context;
	pq->oid = RelationGetRelid(index);
	pq->file = rel_file_compat(index);
	pq->meta = *meta;
	if (meta->nslots < 1 || meta->nslots > PQ_MAX_LISTS * PQ_TILE ||
		meta->nfilters != RelationGetDescr(index)->natts - 1 ||
		meta->directory_start >= nblocks || meta->model_size > MaxAllocSize ||
		!pq_curves_valid(meta))
		ix_corrupt(index, PQ_META_BLOCK, "The meta page has impossible numbers.");
	for (int i = 0; i < meta->nfilters; i++)
	{
		if (meta->filter_width[i] != ix_filter_width(index, i))
			ix_corrupt(index, PQ_META_BLOCK, "A filter column is of another width.");
	}
	pq->model = read_model(index, meta);
	pq_layout_init(&pq->layout, pq->model, false, meta->nfilters, meta->filter_width);
	pq_layout_init(&pq->flat_layout, pq->model, true, meta->nfilters, meta->filter_width);
	pq->layout.generation = pq->flat_layout.generation = meta->generation;
	if (!PqModelIsFlat(pq->model))
		pq->longest = pq_longest_list(pq->model);
	pq->heads = palloc(sizeof(BlockNumber) * PqMetaLists(meta));
	read_heads(pq, index);
	pq->nblocks = nblocks;
	while (nhints < nblocks && nhints < MAX_HINTS)
		nhints *= 2;
	pq->hints = palloc0(sizeof(Buffer) * nhints);
	pq->hint_mask = nhints - 1;
	MemoryContextSwitchTo(old);
	return pq;
}

/*
 * A copy of an index that is not in use yet, or not any more, for the caller alone;
 * it lives in the current memory context.
 */
PqIndex *
pq_index_open(Relation index, const PqMetaPageData *meta)
{
	return make_copy(index, meta);
}

/*
 * The backend's copy of an index, held until the memory context owner is reset
 * or deleted.
 */
PqIndex *
pq_index_get(Relation index, MemoryContext owner)
{
	PqMetaPageData meta;
	PqIndex    *found = NULL;
	dlist_mutable_iter iter;
	MemoryContextCallback *callback = MemoryContextAlloc(owner, sizeof(MemoryContextCallback));

	pq_read_meta(index, &meta);
	dlist_foreach_modify(iter, &indexes)
	{
		PqIndex    *pq = dlist_container(PqIndex, node, iter.cur);

		if (pq->oid != RelationGetRelid(index))
			continue;
		if (rel_file_equal_compat(pq->file, rel_file_compat(index)) &&
			pq->meta.crc == meta.crc && pq->meta.model_crc == meta.model_crc)
		{
			found = pq;
			dlist_move_head(&indexes, &pq->node);
			break;
		}
		retire(pq);
	}
	if (!found)
	{
		found = make_copy(index, &meta);
		MemoryContextSetParent(found->context, CacheMemoryContext);
		/* before, or a large one that nobody holds yet would go itself */
		shrink();
		dlist_push_head(&indexes, &found->node);
	}
	found->refcount++;
	callback->func = release_copy;
	callback->arg = found;
	MemoryContextRegisterResetCallback(owner, callback);
	return found;
}

/*
 * Forget an index whose file is about to be written anew.
 */
void
pq_index_forget(Relation index)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &indexes)
	{
		PqIndex    *pq = dlist_container(PqIndex, node, iter.cur);

		if (pq->oid == RelationGetRelid(index))
			retire(pq);
	}
}

/*
 * See that a block, whose number comes from a page, lies within the file.
 */
void
pq_block_check(PqIndex *pq, Relation index, BlockNumber block)
{
	if (block >= pq->nblocks)
		pq->nblocks = RelationGetNumberOfBlocks(index);
	if (block >= pq->nblocks)
		ix_corrupt(index, block, "A link leads beyond the end of the file.");
}

/*
 * Pin a block, trying first the buffer it was in last time: that saves the
 * look-up in the shared hash table.  The hint may be wrong or another block's.
 *
 * Of centroids, and of refine codes of live entries, a pin is enough to read, since
 * they do not change.  But replay of a whole page that is not in memory makes the
 * buffer valid while it is all zeros, and fills it under its lock.  So on a standby
 * that is waited for; what is replayed later leaves those bytes as they are.  The
 * caller holds no other page's lock.
 */
Buffer
pq_read(PqIndex *pq, Relation index, BlockNumber block)
{
	Buffer	   *hint = &pq->hints[block & pq->hint_mask];

	if (*hint == InvalidBuffer || RelationUsesLocalBuffers(index) ||
		!ReadRecentBuffer(pq->file, MAIN_FORKNUM, block, *hint))
	{
		pq_block_check(pq, index, block);
		*hint = ReadBuffer(index, block);
	}
	if (RecoveryInProgress())
	{
		LockBuffer(*hint, BUFFER_LOCK_SHARE);
		LockBuffer(*hint, BUFFER_LOCK_UNLOCK);
	}
	return *hint;
}

/*
 * A block will be pinned soon: have its buffer's descriptor on its way.  That a
 * hint is wrong costs nothing but time.
 */
void
pq_prefetch_pin(const PqIndex *pq, BlockNumber block)
{
	Buffer		hint = pq->hints[block & pq->hint_mask];

	if (hint > 0)
		__builtin_prefetch(GetBufferDescriptor(hint - 1));
}

/* The same for a posting page that will be read: its ends, too. */
void
pq_prefetch(const PqIndex *pq, BlockNumber block)
{
	Buffer		hint = block == InvalidBlockNumber ? InvalidBuffer : pq->hints[block & pq->hint_mask];
	const char *page;

	if (hint <= 0)
		return;
	page = BufferGetBlock(hint);
	__builtin_prefetch(GetBufferDescriptor(hint - 1));
	__builtin_prefetch(page);
	__builtin_prefetch(page + pq->layout.codes);
	__builtin_prefetch(page + BLCKSZ - sizeof(IxPageOpaqueData));
}

/*
 * First posting page of a list, or InvalidBlockNumber as long as it has none.
 */
BlockNumber
pq_list_head(PqIndex *pq, Relation index, uint32 list)
{
	if (pq->heads[list] == InvalidBlockNumber)
	{
		PqDirectoryEntry entry;

		pq_read_directory(index, &pq->meta, list, &entry);
		pq->heads[list] = entry.head;
	}
	return pq->heads[list];
}

/*
 * The centroid of a list, from its column of the tiles.
 */
void
pq_read_centroid(Relation index, PqIndex *pq, uint32 list, float *out)
{
	Buffer		buffer = InvalidBuffer;
	BlockNumber at = InvalidBlockNumber;

	for (int j = 0; j < pq->model->space_dims; j++)
	{
		Size		row = (Size) (list / PQ_TILE) * pq->model->space_dims + j;
		BlockNumber block = pq->meta.tiles_start + row / PQ_ROWS_PER_PAGE;

		if (block != at)
		{
			if (BufferIsValid(buffer))
				ReleaseBuffer(buffer);
			buffer = pq_read(pq, index, block);
			at = block;
		}
		pq_page_check(index, buffer, PQ_PAGE_TILES);
		out[j] = ((float *) ((char *) BufferGetPage(buffer) + PQ_STREAM_START))[row % PQ_ROWS_PER_PAGE * PQ_TILE + list % PQ_TILE];
	}
	if (BufferIsValid(buffer))
		ReleaseBuffer(buffer);
}
