/*
 * invread.c
 *		Reading segments: pages, the dictionary, blocks of postings, and all of
 *		it as a source for a merge.
 *
 * Pages of a segment do not change, but for the bits of dead documents, as long
 * as a scan pins the segment's head or the maintenance lock is held, so on the
 * primary a pin is enough to read what else they hold.  On a standby replay knows
 * of no pins: a page is read under its lock there, and one that bears another
 * number than the segment's makes the reader stale, which ends whatever is read.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/rel.h"

#include "compat.h"
#include "inverted/inverted.h"

/*
 * Raise unless there is a block of this number, which is not the meta page's.
 */
void
inv_check_block(InvReader *reader, BlockNumber block)
{
	if (block == INV_META_BLOCK || block == InvalidBlockNumber)
		ix_corrupt(reader->index, block, "A link leads nowhere.");
	if (block >= reader->nblocks)
		reader->nblocks = RelationGetNumberOfBlocks(reader->index);
	if (block >= reader->nblocks)
		ix_corrupt(reader->index, block, "A link leads beyond the end of the file.");
}

/*
 * Pin a page of a segment or a pending list, locked if need be.  Returns NULL if
 * it became stale; raises if it is damaged.
 */
Page
inv_lock_page(InvReader *reader, uint32 id, BlockNumber block, InvPageKind kind, Buffer *buffer)
{
	Page		page;

	if (reader->stale)
		return NULL;
	inv_check_block(reader, block);
	*buffer = ReadBuffer(reader->index, block);
	page = BufferGetPage(*buffer);
	if (reader->standby)
	{
		LockBuffer(*buffer, BUFFER_LOCK_SHARE);
		if (!ix_page_valid(page, INV_PAGE_ID, kind) || IxPageGetOpaque(page)->owner != id)
		{
			UnlockReleaseBuffer(*buffer);
			reader->stale = true;
			return NULL;
		}
	}
	inv_page_check(reader->index, block, page, kind);
	if (IxPageGetOpaque(page)->owner != id)
		ix_corrupt(reader->index, block, "The page belongs to another segment.");
	return page;
}

/* Give back a page of inv_lock_page. */
void
inv_unlock_page(InvReader *reader, Buffer buffer)
{
	if (reader->standby)
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	ReleaseBuffer(buffer);
}

/*
 * Copy a page, under its lock.  Returns false if it became stale.
 */
bool
inv_read_page(InvReader *reader, uint32 id, BlockNumber block, InvPageKind kind, char *copy)
{
	Buffer		buffer;
	Page		page = inv_lock_page(reader, id, block, kind, &buffer);

	if (!page)
		return false;
	if (!reader->standby)
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
	test_old_snapshot_compat(reader->snapshot, reader->index, page);
	memcpy(copy, page, BLCKSZ);
	UnlockReleaseBuffer(buffer);
	return true;
}

/*
 * Copy a segment's head page, and see that what it counts fits.
 */
bool
inv_read_head(InvReader *reader, const InvPart *part, char *copy)
{
	InvHead    *head = InvPageGetHead(copy);

	if (!inv_read_page(reader, part->id, part->first, INV_PAGE_HEAD, copy))
		return false;
	if (head->nmaps > INV_MAX_MAPS || head->levels > INV_MAX_LEVELS ||
		head->ndocpages != (head->ndocs + reader->layout.ndocs - 1) / reader->layout.ndocs ||
		head->nmaps != (head->ndocpages + INV_MAP_ENTRIES - 1) / INV_MAP_ENTRIES ||
		head->ndocs != part->ndocs)
		ix_corrupt(reader->index, part->first, "The segment's counts do not fit each other.");
	return true;
}

/*
 * Descend to the page where a term would be, or the first if it is less than
 * all.
 */
static BlockNumber
find_leaf(InvReader *reader, const InvPart *part, const InvHead *head, int32 term)
{
	BlockNumber block = head->root;

	for (int level = head->levels; level > 0; level--)
	{
		Buffer		buffer;
		Page		page = inv_lock_page(reader, part->id, block, INV_PAGE_BRANCH, &buffer);
		const InvBranch *branches;
		int			low = 0;
		int			high;

		if (!page)
			return InvalidBlockNumber;
		branches = (InvBranch *) ((char *) page + INV_PAGE_START);
		high = InvPageGetHeader(page)->count;
		if (high == 0 || high > INV_BRANCHES_PER_PAGE)
			ix_corrupt(reader->index, block, "The page counts more than it can hold.");
		/* the last that does not begin behind the term */
		while (high - low > 1)
		{
			int			middle = (low + high) / 2;

			if (branches[middle].term <= term)
				low = middle;
			else
				high = middle;
		}
		block = branches[low].block;
		inv_unlock_page(reader, buffer);
	}
	return block;
}

/*
 * The first page of the dictionary; invalid if there is none or the reader became
 * stale.
 */
BlockNumber
inv_first_leaf(InvReader *reader, const InvPart *part, const InvHead *head)
{
	return head->nterms > 0 ? find_leaf(reader, part, head, PG_INT32_MIN) : InvalidBlockNumber;
}

/* Raise unless a term's numbers can be worked with. */
static void
check_term(Relation index, BlockNumber block, const InvHead *head, const InvTerm *term)
{
	if (term->count == 0 || term->count > head->ndocs ||
		!isfinite(term->least) || !isfinite(term->greatest) || term->least > term->greatest)
		ix_corrupt(index, block, "A term's counts or weights are wrong.");
}

/*
 * Look a term up; false if the segment has it not, or became stale.
 */
bool
inv_find_term(InvReader *reader, const InvPart *part, const InvHead *head, int32 term, InvTerm *found)
{
	BlockNumber block;
	Buffer		buffer;
	Page		page;
	const InvTerm *terms;
	int			low = 0;
	int			high;
	bool		there;

	if (head->nterms == 0)
		return false;
	block = find_leaf(reader, part, head, term);
	if (block == InvalidBlockNumber && reader->stale)
		return false;
	page = inv_lock_page(reader, part->id, block, INV_PAGE_DICTIONARY, &buffer);
	if (!page)
		return false;
	terms = (InvTerm *) ((char *) page + INV_PAGE_START);
	high = InvPageGetHeader(page)->count;
	if (high > INV_TERMS_PER_PAGE)
		ix_corrupt(reader->index, block, "The page counts more than it can hold.");
	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (terms[middle].term < term)
			low = middle + 1;
		else
			high = middle;
	}
	there = low < InvPageGetHeader(page)->count && terms[low].term == term;
	if (there)
	{
		*found = terms[low];
		check_term(reader->index, block, head, found);
	}
	inv_unlock_page(reader, buffer);
	return there;
}

/*
 * Unpack the block of postings at an offset of a page.  There is room for
 * INV_BLOCK of them.  Returns their number.
 */
int
inv_decode(Relation index, BlockNumber block, Page page, int offset, uint32 *docs, uint8 *codes)
{
	const InvBlock *header = (InvBlock *) ((char *) page + offset);
	const uint8 *packed = (const uint8 *) (header + 1);
	int			count;
	int			bits;
	int			size;
	uint64		doc;
	uint32		mask;

	if (offset < INV_PAGE_START || offset + sizeof(InvBlock) > INV_PAGE_END)
		ix_corrupt(index, block, "A block of postings lies outside of its page.");
	count = header->count + 1;
	bits = header->bits;
	if (count > INV_BLOCK || bits > 32)
		ix_corrupt(index, block, "A block of postings is damaged.");
	size = InvPackedBytes(count, bits);
	if (offset + (int) sizeof(InvBlock) + size + (header->weighted ? count : 0) > INV_PAGE_END)
		ix_corrupt(index, block, "A block of postings goes beyond its page.");
	doc = docs[0] = header->first;
	mask = bits == 32 ? PG_UINT32_MAX : ((uint32) 1 << bits) - 1;
	if (bits == 0)
		for (int i = 1; i < count; i++)
			docs[i] = ++doc;
	else
	{
		/*
		 * eight bytes from here on are within the page, if not within the
		 * block
		 */
		int			at = 0;

		for (int i = 1; i < count; i++, at += bits)
		{
			uint64		word;

			memcpy(&word, packed + at / 8, sizeof(word));
			doc += (uint64) ((uint32) (word >> (at % 8)) & mask) + 1;
			docs[i] = doc;
		}
	}
	/* so they ascend, which is what callers rely on */
	if (doc > PG_UINT32_MAX)
		ix_corrupt(index, block, "A block of postings is damaged.");
	if (header->weighted)
		memcpy(codes, packed + size, count);
	else
		memset(codes, 0, count);
	return count;
}

/*
 * The page behind a pending page, or an invalid number.  Counts steps, so that a
 * damaged list does not lead round in circles.
 */
BlockNumber
inv_next_pending(Relation index, Page page, BlockNumber *steps)
{
	BlockNumber next = InvPageGetHeader(page)->link;

	if ((++*steps & 1023) == 0 && *steps > RelationGetNumberOfBlocks(index))
		ix_corrupt(index, next, "The pages of a list form a circle.");
	return next;
}

/* A segment as a source. */
typedef struct SegmentSource
{
	InvSource	source;
	InvReader	reader;
	InvPart		part;
	InvHead    *head;
	PGAlignedBlock head_page;
	PGAlignedBlock map;
	PGAlignedBlock page;		/* of documents, then of the dictionary */
	PGAlignedBlock skips;
	PGAlignedBlock postings;
	BlockNumber postings_block;
	uint32		next_doc;
	BlockNumber leaf;			/* the next of the dictionary */
	int			entry;			/* of the page */
	int			nentries;
	/* of the term */
	InvCells	cells;
	uint32		left;			/* postings not yet unpacked */
	BlockNumber skip_block;
	int			skip;
	int			n;
	int			at;
	uint32		docs[INV_BLOCK];
	uint8		codes[INV_BLOCK];
} SegmentSource;

static bool
segment_next_doc(InvSource *source)
{
	SegmentSource *s = (SegmentSource *) source;
	const InvLayout *layout = &s->reader.layout;

	for (; s->next_doc < s->head->ndocs; s->next_doc++)
	{
		uint32		slot = s->next_doc % layout->ndocs;
		uint32		number = s->next_doc / layout->ndocs;

		if (slot == 0)
		{
			CHECK_FOR_INTERRUPTS();
			if (number % INV_MAP_ENTRIES == 0)
				inv_read_page(&s->reader, s->part.id, s->head->maps[number / INV_MAP_ENTRIES], INV_PAGE_MAP, s->map.data);
			inv_read_page(&s->reader, s->part.id,
						  ((BlockNumber *) (s->map.data + INV_PAGE_START))[number % INV_MAP_ENTRIES],
						  INV_PAGE_DOCS, s->page.data);
		}
		if (InvPageDead(s->page.data, layout)[slot / 32] >> (slot % 32) & 1)
			continue;
		source->doc = s->next_doc++;
		source->row.tid = InvPageTids(s->page.data, layout)[slot];
		if (!ItemPointerIsValid(&source->row.tid))
			ix_corrupt(s->reader.index, s->part.first, "It has an invalid row pointer.");
		source->row.nulls = 0;
		for (int i = 0; i < layout->filters.nfilters; i++)
		{
			source->row.filters[i] = 0;
			memcpy(&source->row.filters[i],
				   s->page.data + layout->filters.values[i] + slot * layout->filters.width[i],
				   layout->filters.width[i]);
			source->row.nulls |= (((uint32 *) (s->page.data + layout->filters.nulls[i]))[slot / 32] >> (slot % 32) & 1) << i;
		}
		return true;
	}
	return false;
}

static bool
segment_next_term(InvSource *source)
{
	SegmentSource *s = (SegmentSource *) source;

	while (s->entry == s->nentries)
	{
		CHECK_FOR_INTERRUPTS();
		if (s->leaf == InvalidBlockNumber)
			return false;
		inv_read_page(&s->reader, s->part.id, s->leaf, INV_PAGE_DICTIONARY, s->page.data);
		s->leaf = InvPageGetHeader(s->page.data)->next;
		s->entry = 0;
		s->nentries = InvPageGetHeader(s->page.data)->count;
		if (s->nentries == 0 || s->nentries > INV_TERMS_PER_PAGE)
			ix_corrupt(s->reader.index, s->part.first, "A page of the dictionary is empty.");
	}
	source->term = ((InvTerm *) (s->page.data + INV_PAGE_START))[s->entry++];
	check_term(s->reader.index, s->part.first, s->head, &source->term);
	inv_cells(&s->cells, source->term.least, source->term.greatest);
	s->left = source->term.count;
	s->n = s->at = 0;
	s->skip_block = InvalidBlockNumber;
	return true;
}

/* Where the next block of the term is. */
static void
segment_next_block(SegmentSource *s)
{
	const InvTerm *term = &s->source.term;
	BlockNumber block = term->block;
	int			offset = term->offset;

	if (term->count > INV_BLOCK)
	{
		InvSkip    *skip;

		CHECK_FOR_INTERRUPTS();
		if (s->skip_block == InvalidBlockNumber)
		{
			s->skip_block = term->block;
			s->skip = term->offset;
			inv_read_page(&s->reader, s->part.id, s->skip_block, INV_PAGE_SKIPS, s->skips.data);
		}
		else if (s->skip >= InvPageGetHeader(s->skips.data)->count)
		{
			s->skip_block = InvPageGetHeader(s->skips.data)->next;
			s->skip = 0;
			inv_read_page(&s->reader, s->part.id, s->skip_block, INV_PAGE_SKIPS, s->skips.data);
		}
		if (s->skip < 0 || s->skip >= InvPageGetHeader(s->skips.data)->count ||
			s->skip >= INV_SKIPS_PER_PAGE)
			ix_corrupt(s->reader.index, s->skip_block, "A skip lies outside of its page.");
		skip = &((InvSkip *) (s->skips.data + INV_PAGE_START))[s->skip++];
		block = skip->block;
		offset = skip->offset;
	}
	if (block != s->postings_block)
		inv_read_page(&s->reader, s->part.id, block, INV_PAGE_POSTINGS, s->postings.data);
	s->postings_block = block;
	s->n = inv_decode(s->reader.index, block, s->postings.data, offset, s->docs, s->codes);
	s->at = 0;
	if (s->n > s->left)
		ix_corrupt(s->reader.index, block, "A term has more postings than it counts.");
	s->left -= s->n;
}

static bool
segment_next_posting(InvSource *source)
{
	SegmentSource *s = (SegmentSource *) source;

	if (s->at == s->n)
	{
		if (s->left == 0)
			return false;
		if (InvTermIsInline(&source->term))
		{
			s->docs[0] = source->term.block;
			s->codes[0] = 0;
			s->n = 1;
			s->at = 0;
			s->left = 0;
		}
		else
			segment_next_block(s);
	}
	source->doc = s->docs[s->at];
	if (source->doc >= s->head->ndocs)
		ix_corrupt(s->reader.index, s->part.first, "A posting is of no document.");
	source->weight = (s->cells.base + s->codes[s->at]) * s->cells.step;
	if (source->weight < source->term.least)
		source->weight = source->term.least;
	s->at++;
	return true;
}

static void
segment_close(InvSource *source)
{
	pfree(source);
}

/*
 * A segment as a source; the caller holds the maintenance lock, or else nobody
 * knows the index yet.
 */
InvSource *
inv_segment_source(Relation index, const InvLayout *layout, const InvPart *part)
{
	SegmentSource *s = palloc0(sizeof(SegmentSource));

	s->source.next_doc = segment_next_doc;
	s->source.next_term = segment_next_term;
	s->source.next_posting = segment_next_posting;
	s->source.close = segment_close;
	s->reader.index = index;
	s->reader.layout = *layout;
	s->part = *part;
	inv_read_head(&s->reader, part, s->head_page.data);
	s->head = InvPageGetHead(s->head_page.data);
	s->source.ndocs = s->head->ndocs;
	s->source.max_terms = s->head->max_terms;
	s->postings_block = InvalidBlockNumber;
	s->leaf = inv_first_leaf(&s->reader, part, s->head);
	return &s->source;
}
