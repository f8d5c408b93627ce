/*
 * invwrite.c
 *		Writing a segment: documents, then postings by term, then the dictionary.
 *
 * Each page is filled in memory and written once, as one WAL record, or without
 * WAL for an index that nobody else sees yet.  Where it will be is settled when
 * it is begun: from then on the page bears the segment's number, so that no
 * other process takes it, whatever the free space map says of it.  Nobody reads
 * a segment before the meta page names it.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "inverted/inverted.h"

/* A page that is being filled. */
typedef struct OpenPage
{
	PGAlignedBlock image;
	Buffer		buffer;			/* pinned while there is one */
	BlockNumber block;
	InvPageKind kind;
} OpenPage;

struct InvWriter
{
	Relation	index;
	InvLayout	layout;
	uint32		id;
	bool		logged;
	BlockNumber last;			/* page begun last: all are linked from it */
	BlockNumber npages;
	OpenPage	docs;
	OpenPage	map;
	OpenPage	postings;
	OpenPage	skips;
	OpenPage	dictionary;
	PGAlignedBlock head_page;	/* of the head, as far as known */
	InvHead    *head;
	InvBranch  *branches;		/* first terms of the dictionary's pages */
	uint32		nbranches;
	uint32		maxbranches;
	/* the term that is written */
	InvTerm		term;
	InvCells	cells;
	bool		weighted;
	int			n;				/* postings not yet in a block */
	uint32		written;		/* in blocks */
	uint32		previous;		/* document */
	uint32		docs_of_block[INV_BLOCK];
	uint8		codes[INV_BLOCK];
};

/*
 * Make a locked page the segment's own.  It is no valid page yet: all but its
 * ends is a hole, of which the WAL record is spared.  If the segment is never
 * completed, VACUUM gives the page back.
 */
static void
claim_page(InvWriter *writer, OpenPage *page)
{
	GenericXLogState *state = GenericXLogStart(writer->index);
	Page		image = GenericXLogRegisterBuffer(state, page->buffer, GENERIC_XLOG_FULL_IMAGE);

	inv_page_init(image, page->kind, writer->id, InvalidBlockNumber);
	((PageHeader) image)->pd_lower = SizeOfPageHeaderData;
	GenericXLogFinish(state);
}

static void
begin_page(InvWriter *writer, OpenPage *page, InvPageKind kind)
{
	CHECK_FOR_INTERRUPTS();
	page->buffer = ix_new_buffer(writer->index, MAIN_FORKNUM);
	page->block = BufferGetBlockNumber(page->buffer);
	page->kind = kind;
	if (writer->logged)
		claim_page(writer, page);
	LockBuffer(page->buffer, BUFFER_LOCK_UNLOCK);
	inv_page_init(page->image.data, kind, writer->id, writer->last);
	writer->last = page->block;
	writer->npages++;
}

static void
write_page(InvWriter *writer, OpenPage *page)
{
	LockBuffer(page->buffer, BUFFER_LOCK_EXCLUSIVE);
	if (writer->logged)
	{
		GenericXLogState *state = GenericXLogStart(writer->index);

		memcpy(GenericXLogRegisterBuffer(state, page->buffer, GENERIC_XLOG_FULL_IMAGE), page->image.data, BLCKSZ);
		GenericXLogFinish(state);
	}
	else
	{
		START_CRIT_SECTION();
		memcpy(BufferGetPage(page->buffer), page->image.data, BLCKSZ);
		MarkBufferDirty(page->buffer);
		END_CRIT_SECTION();
	}
	UnlockReleaseBuffer(page->buffer);
	page->buffer = InvalidBuffer;
}

/*
 * Go on with another page of the same kind, linked from the one that is full.
 */
static void
next_page(InvWriter *writer, OpenPage *page)
{
	OpenPage   *full = palloc(sizeof(OpenPage));

	*full = *page;
	begin_page(writer, page, full->kind);
	InvPageGetHeader(full->image.data)->next = page->block;
	write_page(writer, full);
	pfree(full);
}

/*
 * Start writing a segment of a number that was never used, in the current memory
 * context.
 */
InvWriter *
inv_writer_begin(Relation index, const InvLayout *layout, uint32 id, bool logged)
{
	InvWriter  *writer = palloc0(sizeof(InvWriter));

	writer->index = index;
	writer->layout = *layout;
	writer->id = id;
	writer->logged = logged;
	writer->last = InvalidBlockNumber;
	writer->head = InvPageGetHead(writer->head_page.data);
	return writer;
}

/* The number of a document page that begins. */
static void
add_to_map(InvWriter *writer, BlockNumber block)
{
	uint32		entry = writer->head->ndocpages % INV_MAP_ENTRIES;

	if (entry == 0)
	{
		if (BufferIsValid(writer->map.buffer))
			write_page(writer, &writer->map);
		if (writer->head->nmaps == INV_MAX_MAPS)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("inverted index \"%s\" has too many rows", RelationGetRelationName(writer->index)),
					 errhint("Partition the table.")));
		begin_page(writer, &writer->map, INV_PAGE_MAP);
		writer->head->maps[writer->head->nmaps++] = writer->map.block;
	}
	((BlockNumber *) (writer->map.image.data + INV_PAGE_START))[entry] = block;
	InvPageGetHeader(writer->map.image.data)->count = entry + 1;
	writer->head->ndocpages++;
}

/*
 * Append a document; its terms come later.  Documents come by TID.
 */
void
inv_writer_doc(InvWriter *writer, const InvDocument *doc)
{
	int			slot = writer->head->ndocs % writer->layout.ndocs;

	if (slot == 0)
	{
		if (BufferIsValid(writer->docs.buffer))
			write_page(writer, &writer->docs);
		begin_page(writer, &writer->docs, INV_PAGE_DOCS);
		/* no stray bytes in what is stored */
		memset(writer->docs.image.data + INV_PAGE_START, 0, INV_PAGE_ROOM);
		add_to_map(writer, writer->docs.block);
	}
	InvPageTids(writer->docs.image.data, &writer->layout)[slot] = doc->tid;
	ix_filter_put(writer->docs.image.data, &writer->layout.filters, slot, (const char *) doc->filters, doc->nulls);
	InvPageGetHeader(writer->docs.image.data)->count = slot + 1;
	writer->head->ndocs++;
}

/* How many documents lie between a posting of the block and the one before. */
static inline uint32
gap_before(const InvWriter *writer, int i)
{
	return writer->docs_of_block[i] - writer->docs_of_block[i - 1] - 1;
}

/* Pack the differences of a block's documents, at as many bits each as the greatest needs. */
static void
pack_block(const InvWriter *writer, InvBlock *header, uint8 *packed)
{
	uint32		most = 0;

	for (int i = 1; i < writer->n; i++)
		most = Max(most, gap_before(writer, i));
	header->first = writer->docs_of_block[0];
	header->count = writer->n - 1;
	header->bits = most == 0 ? 0 : pg_leftmost_one_pos32(most) + 1;
	header->weighted = writer->weighted;
	for (int i = 1, bit = 0; i < writer->n; i++, bit += header->bits)
	{
		uint64		word;

		memcpy(&word, packed + bit / 8, sizeof(word));
		word |= (uint64) gap_before(writer, i) << (bit % 8);
		memcpy(packed + bit / 8, &word, sizeof(word));
	}
}

/* Put the postings gathered on a page; returns the offset of their block there. */
static int
put_block(InvWriter *writer)
{
	InvBlock	header = {0};
	uint8		packed[INV_BLOCK * 4 + 8] = {0};
	int			size;
	int			total;
	int			offset;
	char	   *at;
	InvPageHeader *page;

	pack_block(writer, &header, packed);
	size = InvPackedBytes(writer->n, header.bits);
	total = TYPEALIGN(4, sizeof(header) + size + (header.weighted ? writer->n : 0));
	if (!BufferIsValid(writer->postings.buffer))
		begin_page(writer, &writer->postings, INV_PAGE_POSTINGS);
	else if (InvPageGetHeader(writer->postings.image.data)->end + total > INV_PAGE_END)
	{
		write_page(writer, &writer->postings);
		begin_page(writer, &writer->postings, INV_PAGE_POSTINGS);
	}
	page = InvPageGetHeader(writer->postings.image.data);
	offset = page->end;
	at = writer->postings.image.data + offset;
	memset(at, 0, total);
	memcpy(at, &header, sizeof(header));
	memcpy(at + sizeof(header), packed, size);
	if (header.weighted)
		memcpy(at + sizeof(header) + size, writer->codes, writer->n);
	page->end += total;
	page->count++;
	return offset;
}

/* Put a skip to a block of the term, whose first one the term leads to. */
static void
put_skip(InvWriter *writer, int offset)
{
	InvPageHeader *page;
	InvSkip    *skip;

	if (!BufferIsValid(writer->skips.buffer))
		begin_page(writer, &writer->skips, INV_PAGE_SKIPS);
	else if (InvPageGetHeader(writer->skips.image.data)->count == INV_SKIPS_PER_PAGE)
		next_page(writer, &writer->skips);
	page = InvPageGetHeader(writer->skips.image.data);
	if (writer->written == 0)
	{
		writer->term.block = writer->skips.block;
		writer->term.offset = page->count;
	}
	skip = &((InvSkip *) (writer->skips.image.data + INV_PAGE_START))[page->count++];
	page->end += sizeof(InvSkip);
	skip->last = writer->docs_of_block[writer->n - 1];
	skip->block = writer->postings.block;
	skip->offset = offset;
	skip->least = skip->greatest = writer->codes[0];
	for (int i = 1; i < writer->n; i++)
	{
		skip->least = Min(skip->least, writer->codes[i]);
		skip->greatest = Max(skip->greatest, writer->codes[i]);
	}
}

/*
 * Put the postings gathered into a block.  Its place goes to the term, or to a
 * skip where the term has several blocks.
 */
static void
flush_block(InvWriter *writer, bool several)
{
	int			offset = put_block(writer);

	if (several)
		put_skip(writer, offset);
	else
	{
		writer->term.block = writer->postings.block;
		writer->term.offset = offset;
	}
	writer->written += writer->n;
	writer->n = 0;
}

/* Enter the term into the dictionary, if it has postings. */
static void
end_term(InvWriter *writer)
{
	InvPageHeader *page;

	if (writer->written + writer->n == 0)
		return;
	writer->term.count = writer->written + writer->n;
	if (InvTermIsInline(&writer->term))
	{
		writer->term.block = writer->docs_of_block[0];
		writer->term.offset = 0;
	}
	else if (writer->n > 0)
		flush_block(writer, writer->written > 0);
	if (!BufferIsValid(writer->dictionary.buffer) ||
		InvPageGetHeader(writer->dictionary.image.data)->count == INV_TERMS_PER_PAGE)
	{
		if (BufferIsValid(writer->dictionary.buffer))
			next_page(writer, &writer->dictionary);
		else
			begin_page(writer, &writer->dictionary, INV_PAGE_DICTIONARY);
		if (writer->nbranches == writer->maxbranches)
		{
			writer->maxbranches = Max(64, writer->maxbranches * 2);
			writer->branches = writer->branches ?
				repalloc_huge(writer->branches, sizeof(InvBranch) * writer->maxbranches) :
				palloc(sizeof(InvBranch) * writer->maxbranches);
		}
		writer->branches[writer->nbranches].term = writer->term.term;
		writer->branches[writer->nbranches++].block = writer->dictionary.block;
	}
	page = InvPageGetHeader(writer->dictionary.image.data);
	((InvTerm *) (writer->dictionary.image.data + INV_PAGE_START))[page->count++] = writer->term;
	page->end += sizeof(InvTerm);
	writer->head->nterms++;
	writer->head->npostings += writer->term.count;
	writer->n = 0;
	writer->written = 0;
}

/*
 * Start the next term, with bounds of its weights.  Terms come in order.
 */
void
inv_writer_term(InvWriter *writer, int32 term, float least, float greatest)
{
	end_term(writer);
	memset(&writer->term, 0, sizeof(writer->term));
	writer->term.term = term;
	writer->term.least = least;
	writer->term.greatest = greatest;
	writer->weighted = least < greatest;
	inv_cells(&writer->cells, least, greatest);
	writer->n = 0;
	writer->written = 0;
}

/*
 * Append a posting of the term.  Documents come in order.
 */
void
inv_writer_posting(InvWriter *writer, uint32 doc, double weight)
{
	if (writer->n + writer->written > 0 && doc <= writer->previous)
		ix_corrupt(writer->index, INV_META_BLOCK, "Postings are out of order.");
	if (writer->n == INV_BLOCK)
		flush_block(writer, true);
	writer->docs_of_block[writer->n] = doc;
	writer->codes[writer->n++] = inv_cell(&writer->cells, weight);
	writer->previous = doc;
}

/* Write the levels of the dictionary above its pages. */
static void
write_branches(InvWriter *writer)
{
	OpenPage   *page = palloc(sizeof(OpenPage));
	uint32		n = writer->nbranches;

	writer->head->levels = 0;
	while (n > 1)
	{
		uint32		above = 0;

		for (uint32 i = 0; i < n; i += INV_BRANCHES_PER_PAGE)
		{
			uint32		here = Min(n - i, INV_BRANCHES_PER_PAGE);

			begin_page(writer, page, INV_PAGE_BRANCH);
			memcpy(page->image.data + INV_PAGE_START, writer->branches + i, sizeof(InvBranch) * here);
			InvPageGetHeader(page->image.data)->count = here;
			InvPageGetHeader(page->image.data)->end += sizeof(InvBranch) * here;
			writer->branches[above].term = writer->branches[i].term;
			writer->branches[above++].block = page->block;
			write_page(writer, page);
		}
		n = above;
		writer->head->levels++;
	}
	writer->head->root = n > 0 ? writer->branches[0].block : InvalidBlockNumber;
	pfree(page);
}

/*
 * Write what is left, the head page last, and tell how the meta page is to name
 * the segment.
 */
void
inv_writer_end(InvWriter *writer, uint32 max_terms, InvPart *part)
{
	OpenPage   *open[] = {&writer->docs, &writer->map, &writer->postings, &writer->skips, &writer->dictionary};
	OpenPage   *page = palloc(sizeof(OpenPage));

	end_term(writer);
	for (int i = 0; i < lengthof(open); i++)
		if (BufferIsValid(open[i]->buffer))
			write_page(writer, open[i]);
	write_branches(writer);
	writer->head->max_terms = max_terms;
	begin_page(writer, page, INV_PAGE_HEAD);
	memcpy(InvPageGetHead(page->image.data), writer->head,
		   offsetof(InvHead, maps) + sizeof(BlockNumber) * writer->head->nmaps);
	memset(part, 0, sizeof(*part));
	part->id = writer->id;
	part->first = page->block;
	part->npages = writer->npages;
	part->ndocs = writer->head->ndocs;
	write_page(writer, page);
	pfree(page);
	if (writer->branches)
		pfree(writer->branches);
	pfree(writer);
}
