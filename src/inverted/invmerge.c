/*
 * invmerge.c
 *		Making segments of what there is: flushing frozen pending lists, merging
 *		segments, giving back what they replace.
 *
 * All of it happens under the maintenance lock, and the index is whole after each
 * step.  A merge that is interrupted leaves pages that the meta page does not
 * name, for VACUUM to find.
 */
#include "postgres.h"

#include "lib/binaryheap.h"
#include "miscadmin.h"
#include "storage/indexfsm.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "inverted/inverted.h"

/* Segments of like size that are merged: sizes grow by this factor. */
#define FANOUT 8
/* Pages up to which segments are alike, however small. */
#define LEAST_PAGES 16
/* Pages that an insert merges; more is left to VACUUM. */
#define INSERT_PAGES 8192
/* Parts beyond which inserts merge whatever it takes. */
#define MANY_PARTS (INV_MAX_PARTS / 2)

static uint64
source_tid(const InvSource *source)
{
	return (uint64) ItemPointerGetBlockNumberNoCheck(&source->row.tid) << 16 |
		ItemPointerGetOffsetNumberNoCheck(&source->row.tid);
}

/* Heaps give the greatest first, so these compare the wrong way round. */
static int
compare_tids(Datum a, Datum b, void *arg)
{
	uint64		x = source_tid((InvSource *) DatumGetPointer(a));
	uint64		y = source_tid((InvSource *) DatumGetPointer(b));

	return x < y ? 1 : x > y ? -1 : 0;
}

static int
compare_terms(Datum a, Datum b, void *arg)
{
	int32		x = ((InvSource *) DatumGetPointer(a))->term.term;
	int32		y = ((InvSource *) DatumGetPointer(b))->term.term;

	return x < y ? 1 : x > y ? -1 : 0;
}

static int
compare_docs(Datum a, Datum b, void *arg)
{
	uint32		x = ((InvSource *) DatumGetPointer(a))->doc;
	uint32		y = ((InvSource *) DatumGetPointer(b))->doc;

	return x < y ? 1 : x > y ? -1 : 0;
}

/* The next posting whose document was kept, by its new number. */
static bool
next_kept(InvSource *source)
{
	while (source->next_posting(source))
	{
		source->doc = source->renumber[source->doc];
		if (source->doc != PG_UINT32_MAX)
			return true;
	}
	return false;
}

static void
merge_docs(InvSource **sources, int nsources, InvWriter *writer)
{
	binaryheap *heap = binaryheap_allocate(Max(nsources, 1), compare_tids, NULL);
	uint32		n = 0;

	for (int i = 0; i < nsources; i++)
	{
		InvSource  *source = sources[i];

		source->renumber = palloc_extended(sizeof(uint32) * Max(source->ndocs, 1), MCXT_ALLOC_HUGE);
		memset(source->renumber, 0xff, sizeof(uint32) * source->ndocs);
		if (source->next_doc(source))
			binaryheap_add_unordered(heap, PointerGetDatum(source));
	}
	binaryheap_build(heap);
	while (!binaryheap_empty(heap))
	{
		InvSource  *source = (InvSource *) DatumGetPointer(binaryheap_first(heap));

		CHECK_FOR_INTERRUPTS();
		source->renumber[source->doc] = n++;
		inv_writer_doc(writer, &source->row);
		if (source->next_doc(source))
			binaryheap_replace_first(heap, PointerGetDatum(source));
		else
			binaryheap_remove_first(heap);
	}
	binaryheap_free(heap);
}

/* The postings of one term, from all sources that have it. */
static void
merge_term(InvSource **sources, int nsources, binaryheap *heap, InvWriter *writer)
{
	float		least = sources[0]->term.least;
	float		greatest = sources[0]->term.greatest;

	for (int i = 1; i < nsources; i++)
	{
		least = Min(least, sources[i]->term.least);
		greatest = Max(greatest, sources[i]->term.greatest);
	}
	inv_writer_term(writer, sources[0]->term.term, least, greatest);
	if (nsources == 1)
	{
		while (next_kept(sources[0]))
			inv_writer_posting(writer, sources[0]->doc, sources[0]->weight);
		return;
	}
	binaryheap_reset(heap);
	for (int i = 0; i < nsources; i++)
		if (next_kept(sources[i]))
			binaryheap_add_unordered(heap, PointerGetDatum(sources[i]));
	binaryheap_build(heap);
	while (!binaryheap_empty(heap))
	{
		InvSource  *source = (InvSource *) DatumGetPointer(binaryheap_first(heap));

		inv_writer_posting(writer, source->doc, source->weight);
		if (next_kept(source))
			binaryheap_replace_first(heap, PointerGetDatum(source));
		else
			binaryheap_remove_first(heap);
	}
}

/*
 * Write what sources hold as one segment.  Closes the sources and ends the
 * writer; part tells what was written.
 */
void
inv_merge(Relation index, InvSource **sources, int nsources, InvWriter *writer, InvPart *part)
{
	binaryheap *terms = binaryheap_allocate(Max(nsources, 1), compare_terms, NULL);
	binaryheap *docs = binaryheap_allocate(Max(nsources, 1), compare_docs, NULL);
	InvSource **same = palloc(sizeof(InvSource *) * Max(nsources, 1));
	uint32		max_terms = 0;

	merge_docs(sources, nsources, writer);
	for (int i = 0; i < nsources; i++)
	{
		max_terms = Max(max_terms, sources[i]->max_terms);
		if (sources[i]->next_term(sources[i]))
			binaryheap_add_unordered(terms, PointerGetDatum(sources[i]));
	}
	binaryheap_build(terms);
	while (!binaryheap_empty(terms))
	{
		int			n = 0;

		CHECK_FOR_INTERRUPTS();
		do
			same[n++] = (InvSource *) DatumGetPointer(binaryheap_remove_first(terms));
		while (!binaryheap_empty(terms) &&
			   ((InvSource *) DatumGetPointer(binaryheap_first(terms)))->term.term == same[0]->term.term);
		merge_term(same, n, docs, writer);
		for (int i = 0; i < n; i++)
		{
			int32		before = same[i]->term.term;

			if (!same[i]->next_term(same[i]))
				continue;
			if (same[i]->term.term <= before)
				ix_corrupt(index, INV_META_BLOCK, "Terms of a segment are out of order.");
			binaryheap_add(terms, PointerGetDatum(same[i]));
		}
	}
	inv_writer_end(writer, max_terms, part);
	for (int i = 0; i < nsources; i++)
	{
		pfree(sources[i]->renumber);
		sources[i]->close(sources[i]);
	}
	pfree(same);
	binaryheap_free(terms);
	binaryheap_free(docs);
}

/* Lock the meta page for changing it in one record. */
static GenericXLogState *
change_meta(Relation index, Buffer *buffer, InvMetaPageData **meta)
{
	GenericXLogState *state;

	*buffer = ReadBuffer(index, INV_META_BLOCK);
	LockBuffer(*buffer, BUFFER_LOCK_EXCLUSIVE);
	inv_meta_verify(index, *buffer);
	state = GenericXLogStart(index);
	*meta = InvPageGetMeta(GenericXLogRegisterBuffer(state, *buffer, 0));
	return state;
}

static void
finish_meta(GenericXLogState *state, Buffer buffer, InvMetaPageData *meta)
{
	inv_meta_seal(meta);
	GenericXLogFinish(state);
	UnlockReleaseBuffer(buffer);
}

/* A number for a new segment, written down before any page bears it. */
static uint32
take_id(Relation index)
{
	Buffer		buffer;
	InvMetaPageData *meta;
	GenericXLogState *state = change_meta(index, &buffer, &meta);
	uint32		id = meta->next_id++;

	finish_meta(state, buffer, meta);
	return id;
}

/* Put a segment, unless it is empty, in the place of some parts. */
static void
replace_parts(Relation index, const InvPart *old, int nold, const InvPart *new)
{
	Buffer		buffer;
	InvMetaPageData *meta;
	GenericXLogState *state = change_meta(index, &buffer, &meta);
	int			kept = 0;

	for (int i = 0; i < meta->nparts; i++)
	{
		bool		gone = false;

		for (int j = 0; j < nold; j++)
			gone |= meta->parts[i].id == old[j].id;
		if (!gone)
			meta->parts[kept++] = meta->parts[i];
	}
	meta->nparts = kept;
	if (new->ndocs > 0)
		meta->parts[meta->nparts++] = *new;
	for (int j = 0; j < nold + (new->ndocs == 0 ? 1 : 0); j++)
	{
		const InvPart *part = j < nold ? &old[j] : new;

		meta->retired[meta->nretired].id = part->id;
		meta->retired[meta->nretired++].first = part->first;
	}
	finish_meta(state, buffer, meta);
}

static void
forget_retired(Relation index, uint32 id)
{
	Buffer		buffer;
	InvMetaPageData *meta;
	GenericXLogState *state = change_meta(index, &buffer, &meta);

	for (int i = 0; i < meta->nretired; i++)
		if (meta->retired[i].id == id)
			meta->retired[i] = meta->retired[--meta->nretired];
	finish_meta(state, buffer, meta);
}

/*
 * Mark a locked page as free.
 */
void
inv_free_page(Relation index, Buffer buffer)
{
	GenericXLogState *state = GenericXLogStart(index);
	Page		page = GenericXLogRegisterBuffer(state, buffer, 0);

	IxPageGetOpaque(page)->kind = IX_PAGE_FREE;
	IxPageGetOpaque(page)->owner = 0;
	GenericXLogFinish(state);
}

/*
 * Give the pages of what was retired back, unless a scan still reads it: a scan
 * pins the first page as long as it lives, and nobody can find it any more.
 */
static bool
free_retired(Relation index, const InvRetired *retired)
{
	BlockNumber block = retired->first;

	while (block != InvalidBlockNumber && block < RelationGetNumberOfBlocks(index))
	{
		Buffer		buffer = ReadBuffer(index, block);
		Page		page = BufferGetPage(buffer);
		BlockNumber next;

		CHECK_FOR_INTERRUPTS();
		if (block != retired->first)
			LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
		else if (!ConditionalLockBufferForCleanup(buffer))
		{
			ReleaseBuffer(buffer);
			return false;
		}
		/* an earlier attempt may have come further */
		if (PageIsNew(page) || ((PageHeader) page)->pd_special != BLCKSZ - sizeof(IxPageOpaqueData) ||
			IxPageGetOpaque(page)->page_id != INV_PAGE_ID ||
			IxPageGetOpaque(page)->kind == IX_PAGE_FREE || IxPageGetOpaque(page)->owner != retired->id)
		{
			UnlockReleaseBuffer(buffer);
			break;
		}
		next = InvPageGetHeader(page)->link;
		inv_free_page(index, buffer);
		UnlockReleaseBuffer(buffer);
		RecordFreeIndexPage(index, block);
		block = next;
	}
	forget_retired(index, retired->id);
	return true;
}

static void
free_all_retired(Relation index, InvMetaPageData *meta)
{
	bool		any = false;

	inv_read_meta(index, meta);
	for (int i = 0; i < meta->nretired; i++)
		any |= free_retired(index, &meta->retired[i]);
	if (any)
		IndexFreeSpaceMapVacuum(index);
	inv_read_meta(index, meta);
}

/* Make one segment of all frozen pending lists, or of some segments. */
static void
rewrite(Relation index, InvMetaPageData *meta, const InvPart *parts, int nparts)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "inverted merge", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	InvLayout	layout;
	InvSource **sources;
	int			nsources = 0;
	InvPart		part;

	inv_layout_init(&layout, meta->nfilters, meta->filter_width);
	if (parts[0].pending)
	{
		InvGather  *gather = inv_gather_begin(&layout, (Size) maintenance_work_mem * 1024, inv_temporary_file, NULL);

		for (int i = 0; i < nparts; i++)
			inv_pending_gather(index, &layout, &parts[i], gather);
		nsources = inv_gather_sources(gather, &sources);
	}
	else
	{
		sources = palloc(sizeof(InvSource *) * nparts);
		for (int i = 0; i < nparts; i++)
			sources[nsources++] = inv_segment_source(index, &layout, &parts[i]);
	}
	inv_merge(index, sources, nsources, inv_writer_begin(index, &layout, take_id(index), true), &part);
	replace_parts(index, parts, nparts, &part);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

/* Sizes of a level: parts of the same level are merged. */
static int
level_of(const InvPart *part)
{
	int			level = 0;

	for (BlockNumber pages = part->npages; pages > LEAST_PAGES; pages /= FANOUT)
		level++;
	return level;
}

static int
compare_parts(const void *a, const void *b)
{
	const InvPart *x = a;
	const InvPart *y = b;

	if (x->npages != y->npages)
		return x->npages < y->npages ? -1 : 1;
	return x->id < y->id ? -1 : 1;
}

/*
 * How many of the smallest parts, which are sorted by size, to merge: those of
 * the highest level that is full, and all below.  VACUUM also rewrites a part
 * with many dead documents, which it moves to the front.
 */
static int
choose_parts(InvPart *parts, int nparts, bool vacuum)
{
	int			chosen = 0;
	BlockNumber pages = 0;

	qsort(parts, nparts, sizeof(InvPart), compare_parts);
	for (int i = 0, same = 0; i < nparts; i++)
	{
		same = i > 0 && level_of(&parts[i]) == level_of(&parts[i - 1]) ? same + 1 : 1;
		pages += parts[i].npages;
		if (!vacuum && pages > INSERT_PAGES && nparts < MANY_PARTS)
			break;
		if (same >= FANOUT || (nparts >= MANY_PARTS && i == nparts / 2))
			chosen = i + 1;
	}
	for (int i = 0; vacuum && chosen == 0 && i < nparts; i++)
		if (parts[i].ndead > parts[i].ndocs / 5)
		{
			InvPart		part = parts[i];

			parts[i] = parts[0];
			parts[0] = part;
			chosen = 1;
		}
	return chosen;
}

/*
 * Flush the pending list and merge what there is too much of.  The caller holds
 * the maintenance lock; an insert does less than VACUUM.
 */
void
inv_maintain(Relation index, bool vacuum)
{
	InvMetaPageData *meta = palloc(sizeof(InvMetaPageData));
	InvPart		parts[INV_MAX_PARTS];

	free_all_retired(index, meta);
	inv_pending_freeze(index);
	inv_read_meta(index, meta);
	for (;;)
	{
		int			n = 0;

		for (int i = 0; i < meta->nparts; i++)
			if (meta->parts[i].pending)
				parts[n++] = meta->parts[i];
		if (n == 0)
		{
			for (int i = 0; i < meta->nparts; i++)
				parts[n++] = meta->parts[i];
			n = choose_parts(parts, n, vacuum);
		}

		/*
		 * scans that were left open keep what is retired: wait for better
		 * times
		 */
		if (n == 0 || meta->nretired + n + 1 > INV_MAX_RETIRED || meta->next_id == PG_UINT32_MAX)
			break;
		rewrite(index, meta, parts, n);
		free_all_retired(index, meta);
	}
	pfree(meta);
}
