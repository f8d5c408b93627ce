/*
 * invcursor.c
 *		Cursors: a list of postings, block by block.
 *
 * Where the blocks of a list are, and the bounds of their weights, is read when it
 * is opened; blocks are unpacked as they are needed.  Where the reader becomes
 * stale, a cursor is at its end, and whoever asked looks at the reader.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/rel.h"

#include "inverted/invsearch.h"

static void
set_end(InvCursor *cursor)
{
	cursor->block = cursor->nblocks;
	cursor->doc = INV_END;
}

/* Unpack the block that the cursor is at. */
static void
load(InvSearch *search, InvSearchPart *part, InvCursor *cursor)
{
	const InvSkip *skip = &cursor->skips[cursor->block];
	InvReader  *reader = &search->reader;
	bool		keep = !reader->standby && BufferIsValid(cursor->buffer);
	Buffer		buffer;
	Page		page;

	if (keep && BufferGetBlockNumber(cursor->buffer) == skip->block)
		page = BufferGetPage(buffer = cursor->buffer);
	else
		page = inv_lock_page(reader, part->part.id, skip->block, INV_PAGE_POSTINGS, &buffer);
	if (!page)
	{
		set_end(cursor);
		return;
	}
	cursor->n = inv_decode(search->index, skip->block, page, skip->offset, cursor->docs, cursor->codes);
	cursor->loaded = cursor->block;
	cursor->at = 0;
	if (cursor->docs[cursor->n - 1] >= part->head->ndocs ||
		(cursor->nblocks > 1 && cursor->docs[cursor->n - 1] != skip->last))
		ix_corrupt(search->index, skip->block, "A block of postings is damaged.");
	if (!keep)
		inv_unlock_page(reader, buffer);
	else if (buffer != cursor->buffer)
	{
		ReleaseBuffer(cursor->buffer);
		cursor->buffer = buffer;
	}
}

/* Read where the blocks of a list of several are. */
static void
read_skips(InvSearch *search, InvSearchPart *part, InvCursor *cursor)
{
	BlockNumber block = cursor->term->block;
	int			from = cursor->term->offset;
	int			have = 0;

	if (from < 0 || cursor->term->count > part->head->ndocs)
		ix_corrupt(search->index, block, "A term has more postings than there are documents, or none.");
	cursor->nblocks = (cursor->term->count + INV_BLOCK - 1) / INV_BLOCK;
	cursor->skips = palloc_extended(sizeof(InvSkip) * (Size) cursor->nblocks, MCXT_ALLOC_HUGE);
	while (have < cursor->nblocks)
	{
		Buffer		buffer;
		Page		page = inv_lock_page(&search->reader, part->part.id, block, INV_PAGE_SKIPS, &buffer);
		int			n;

		CHECK_FOR_INTERRUPTS();
		if (!page)
			return;
		n = InvPageGetHeader(page)->count;
		if (n > INV_SKIPS_PER_PAGE || from >= n)
			ix_corrupt(search->index, block, "A skip lies outside of its page.");
		n = Min(n - from, cursor->nblocks - have);
		memcpy(cursor->skips + have, (InvSkip *) ((char *) page + INV_PAGE_START) + from, sizeof(InvSkip) * n);
		have += n;
		from = 0;
		block = InvPageGetHeader(page)->next;
		inv_unlock_page(&search->reader, buffer);
	}
	for (int i = 1; i < cursor->nblocks; i++)
		if (cursor->skips[i].last <= cursor->skips[i - 1].last)
			ix_corrupt(search->index, cursor->term->block, "Skips are out of order.");
}

/*
 * Bounds of what postings add to a score, in units, as a line over the codes:
 * never less than what they can add, and sums in any order are the same.
 */
static void
set_bounds(InvSearch *search, InvCursor *cursor, double weight)
{
	const InvTerm *term = cursor->term;
	InvCells	cells;
	double		scale = weight / search->unit;
	int			greatest;

	if (term->least == term->greatest)
	{
		cursor->base = cursor->most = (int32) ceil(scale * term->least) + 1;
		cursor->per_code = 0;
		return;
	}
	inv_cells(&cells, term->least, term->greatest);
	greatest = inv_cell(&cells, term->greatest);
	cursor->base = (int32) ceil(scale * (cells.base + (weight > 0)) * cells.step) + 1;
	cursor->per_code = (int32) ceil(scale * cells.step);
	cursor->most = cursor->base + (cursor->per_code > 0 ? cursor->per_code * greatest : 0);
}

/*
 * Open a term's list, at its first posting, for a query's weight of it.  The
 * cursor is all zeros; what it needs is allocated in the current context.
 */
void
inv_cursor_open(InvSearch *search, InvSearchPart *part, InvCursor *cursor, const InvTerm *term, double weight, bool keep_pin)
{
	cursor->term = term;
	cursor->loaded = -1;
	cursor->buffer = InvalidBuffer;
	if (weight != 0 && !search->query.wild)
		set_bounds(search, cursor, weight);
	if (InvTermIsInline(term))
	{
		cursor->nblocks = 1;
		cursor->skips = palloc0(sizeof(InvSkip));
		cursor->skips[0].last = cursor->docs[0] = term->block;
		cursor->codes[0] = 0;
		cursor->n = 1;
		cursor->loaded = 0;
		if (term->block >= part->head->ndocs)
			ix_corrupt(search->index, part->part.first, "A posting is of no document.");
	}
	else if (term->count <= INV_BLOCK)
	{
		cursor->nblocks = 1;
		cursor->skips = palloc0(sizeof(InvSkip));
		cursor->skips[0].block = term->block;
		cursor->skips[0].offset = term->offset;
		cursor->skips[0].greatest = 255;
		load(search, part, cursor);
		if (!search->reader.stale)
			cursor->skips[0].last = cursor->docs[cursor->n - 1];
	}
	else
		read_skips(search, part, cursor);
	if (search->reader.stale)
	{
		set_end(cursor);
		return;
	}
	if (keep_pin && cursor->nblocks > 1 && !search->reader.standby)
	{
		inv_check_block(&search->reader, cursor->skips[0].block);
		cursor->buffer = ReadBuffer(search->index, cursor->skips[0].block);
	}
	if (cursor->loaded == 0)
		cursor->doc = cursor->docs[0];
}

/*
 * Go to the first posting of this document or one behind it.
 */
void
inv_cursor_seek(InvSearch *search, InvSearchPart *part, InvCursor *cursor, uint32 doc)
{
	while (cursor->block < cursor->nblocks && cursor->skips[cursor->block].last < doc)
		cursor->block++;
	if (cursor->block == cursor->nblocks)
	{
		cursor->doc = INV_END;
		return;
	}
	if (cursor->loaded != cursor->block)
	{
		load(search, part, cursor);
		if (search->reader.stale)
			return;
	}
	/* the last is not before it */
	if (cursor->docs[cursor->at] < doc)
	{
		int			step = 1;
		int			low = cursor->at;
		int			high;

		while (low + step < cursor->n && cursor->docs[low + step] < doc)
		{
			low += step;
			step *= 2;
		}
		high = Min(low + step, cursor->n - 1);
		while (high - low > 1)
		{
			int			middle = (low + high) / 2;

			if (cursor->docs[middle] < doc)
				low = middle;
			else
				high = middle;
		}
		cursor->at = high;
	}
	cursor->doc = cursor->docs[cursor->at];
}

/* Give back the pin of the page that it reads. */
void
inv_cursor_close(InvCursor *cursor)
{
	if (BufferIsValid(cursor->buffer))
		ReleaseBuffer(cursor->buffer);
	cursor->buffer = InvalidBuffer;
}
