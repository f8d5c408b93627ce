/*
 * invstream.c
 *		Streams: documents that postings do not tell apart, one after the other.
 *
 * What has no term in common with the query is what no list of its has; so the
 * lists are gone through by windows of documents, and what they leave out is
 * returned.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "inverted/invsearch.h"

/* Rows that wait at a time: those of a window, or of a pending page. */
#define MOST_TIDS Max(INV_WINDOW, BLCKSZ / (int) sizeof(InvItem) + 1)

/*
 * Start a stream, in the current memory context.
 */
void
inv_stream_begin(InvStream *stream, InvSearch *search, InvStreamKind kind)
{
	memset(stream, 0, sizeof(*stream));
	stream->search = search;
	stream->kind = kind;
	stream->context = AllocSetContextCreate(CurrentMemoryContext, "inverted stream", ALLOCSET_DEFAULT_SIZES);
	stream->tids = palloc(sizeof(ItemPointerData) * MOST_TIDS);
}

/* Open the lists that tell which documents of a segment are meant. */
static void
open_lists(InvStream *stream, InvSearchPart *part)
{
	static const int32 special[] = {INV_TERM_NULL, INV_TERM_NAN, INV_TERM_WILD};
	InvSearch  *search = stream->search;
	InvTerm    *terms = palloc(sizeof(InvTerm) * lengthof(special));
	int			most = lengthof(special) + (stream->kind == INV_STREAM_UNMATCHED ? part->nfound : 0);

	stream->cursors = palloc_extended(sizeof(InvCursor) * (Size) most, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	stream->ncursors = 0;
	for (int i = 0; i < lengthof(special); i++)
	{
		if (stream->kind == INV_STREAM_UNMATCHED ||
			(stream->kind == INV_STREAM_NULL && special[i] == INV_TERM_NULL) ||
			(stream->kind == INV_STREAM_NAN && special[i] == INV_TERM_NAN))
			if (inv_find_term(&search->reader, &part->part, part->head, special[i], &terms[i]))
				inv_cursor_open(search, part, &stream->cursors[stream->ncursors++], &terms[i], 0, false);
	}
	if (stream->kind == INV_STREAM_UNMATCHED)
		for (int i = 0; i < part->nfound; i++)
			inv_cursor_open(search, part, &stream->cursors[stream->ncursors++], &part->found[i].term, 0, false);
}

/* Gather the next window of a segment; false at its end. */
static bool
fill_from_segment(InvStream *stream, InvSearchPart *part)
{
	InvSearch  *search = stream->search;
	uint64		listed[INV_WINDOW / 64] = {0};
	uint32		from = stream->next;
	uint32		to;

	if (from >= part->head->ndocs)
		return false;
	to = Min(part->head->ndocs, from + INV_WINDOW);
	for (int i = 0; i < stream->ncursors; i++)
	{
		InvCursor  *cursor = &stream->cursors[i];

		for (inv_cursor_seek(search, part, cursor, from); cursor->doc < to;
			 inv_cursor_seek(search, part, cursor, cursor->doc + 1))
			listed[(cursor->doc - from) / 64] |= UINT64CONST(1) << ((cursor->doc - from) % 64);
	}
	for (uint32 d = 0; d < to - from && !search->reader.stale; d++)
	{
		bool		is_listed = listed[d / 64] >> (d % 64) & 1;

		if (is_listed != (stream->kind == INV_STREAM_UNMATCHED) &&
			inv_search_doc(search, part, from + d, &stream->tids[stream->ntids]))
			stream->ntids++;
	}
	stream->next = to;
	return true;
}

/* Is an item of the documents that are meant, as far as it tells? */
static bool
item_matches(const InvStream *stream, const InvItem *item)
{
	const InvQuery *query = &stream->search->query;
	const int32 *terms = InvItemTerms(item, stream->search->reader.layout.filters.nfilters);

	if (item->nterms > 0 && terms[0] < 0)
		return stream->kind == INV_STREAM_NULL ? terms[0] == INV_TERM_NULL :
			stream->kind == INV_STREAM_NAN ? terms[0] == INV_TERM_NAN : false;
	if (stream->kind != INV_STREAM_UNMATCHED)
		return false;
	for (int i = 0, q = 0; i < item->nterms && q < query->nterms;)
	{
		if (terms[i] < query->terms[q])
			i++;
		else if (terms[i] > query->terms[q])
			q++;
		else
			return false;
	}
	return true;
}

static void
end_item(InvStream *stream)
{
	if (stream->open_matched)
		stream->tids[stream->ntids++] = stream->open_tid;
	stream->open = false;
}

/* Gather the next page of a pending list; false at its end. */
static bool
fill_from_pending(InvStream *stream, InvSearchPart *part)
{
	InvSearch  *search = stream->search;
	int			nfilters = search->reader.layout.filters.nfilters;
	PGAlignedBlock page;
	int			at = INV_PAGE_START;
	InvItem    *item;

	if (stream->block == InvalidBlockNumber ||
		!inv_read_page(&search->reader, part->part.id, stream->block, INV_PAGE_PENDING, page.data))
		return false;
	while ((item = inv_next_item(search->index, stream->block, page.data, nfilters, &at)) != NULL)
	{
		bool		rest = stream->open && (item->flags & INV_ITEM_REST) &&
			ItemPointerEquals(&stream->open_tid, &item->tid);

		if (stream->open && !rest)
			end_item(stream);
		if (!rest)
		{
			stream->open_tid = item->tid;
			stream->open_matched = !(item->flags & INV_ITEM_DEAD) && inv_search_item(search, item);
		}
		stream->open_matched = stream->open_matched && item_matches(stream, item);
		stream->open = (item->flags & INV_ITEM_GOES_ON) != 0;
		if (!stream->open)
			end_item(stream);
	}
	stream->block = inv_next_pending(search->index, page.data, &stream->steps);
	return true;
}

/*
 * The next row of a stream; false at its end, or where the reader became stale.
 */
bool
inv_stream_next(InvStream *stream, ItemPointer tid)
{
	InvSearch  *search = stream->search;

	while (stream->at == stream->ntids)
	{
		InvSearchPart *part = &search->parts[stream->part];
		MemoryContext old;
		bool		more;

		CHECK_FOR_INTERRUPTS();
		if (stream->part == search->nparts || search->reader.stale)
			return false;
		stream->at = stream->ntids = 0;
		old = MemoryContextSwitchTo(stream->context);
		if (!stream->started)
		{
			stream->next = 0;
			stream->open = false;
			stream->block = part->part.first;
			stream->steps = 0;
			if (!part->part.pending)
				open_lists(stream, part);
			stream->started = true;
		}
		more = part->part.pending ? fill_from_pending(stream, part) : fill_from_segment(stream, part);
		MemoryContextSwitchTo(old);
		if (!more)
		{
			MemoryContextReset(stream->context);
			stream->started = false;
			stream->part++;
		}
		if (search->reader.stale)
			return false;
	}
	*tid = stream->tids[stream->at++];
	return true;
}
