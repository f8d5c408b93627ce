/*
 * invwindow.c
 *		Searching a segment for documents whose bound is above a threshold:
 *		MaxScore, by windows of documents, with the maxima of blocks.
 *
 * In a window, lists are ordered by the most that a posting of theirs in it can
 * add.  The first ones, whose maxima together do not exceed the threshold, are
 * not essential: a document that only they have cannot be among the best.  The
 * postings of the essential ones are added up in an array; what could then exceed
 * the threshold with the others' maxima is looked up in them, greatest first, for
 * as long as it could.  (S. Ding and T. Suel, Faster Top-k Document Retrieval
 * Using Block-Max Indexes, 2011.)
 *
 * A document without a list counts 0 for it, so no maximum is below 0.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "inverted/invsearch.h"

/* Blocks that are looked at for a maximum. */
#define MAX_BLOCKS 8
/* Lists that are ordered anew for each window. */
#define ORDERED_LISTS 64

typedef struct Window
{
	InvSearch  *search;
	InvSearchPart *part;
	int			number;			/* of the part */
	InvCursor **lists;			/* not at their end */
	int			nlists;
	int64	   *sums;			/* of the maxima of the first lists */
	uint32		from;
	uint32		to;				/* first document behind it */
} Window;

static int
compare_most(const void *a, const void *b)
{
	const InvCursor *x = *(InvCursor *const *) a;
	const InvCursor *y = *(InvCursor *const *) b;

	return x->most < y->most ? -1 : x->most > y->most;
}

/* The most that postings of a list in the window can add. */
static int32
window_most(const Window *w, const InvCursor *cursor)
{
	int32		most = 0;

	for (int b = cursor->block; b < cursor->nblocks; b++)
	{
		if (b > cursor->block && cursor->skips[b - 1].last + 1 >= w->to)
			break;
		if (cursor->nblocks == 1 || b - cursor->block == MAX_BLOCKS)
			return Max(cursor->most, 0);
		most = Max(most, cursor->base + cursor->per_code *
				   (cursor->per_code > 0 ? cursor->skips[b].greatest : cursor->skips[b].least));
	}
	return most;
}

/* Take lists out that are at their end; the others' blocks reach the window. */
static void
advance_lists(Window *w)
{
	int			kept = 0;

	for (int i = 0; i < w->nlists; i++)
	{
		InvCursor  *cursor = w->lists[i];

		while (cursor->block < cursor->nblocks && cursor->skips[cursor->block].last < w->from)
			cursor->block++;
		if (cursor->block < cursor->nblocks)
			w->lists[kept++] = cursor;
	}
	w->nlists = kept;
}

/*
 * Set where the window ends: with the first block of a list that, by the maxima of
 * whole lists, is essential.  Where there are many lists it is longer, so that
 * looking at all of them pays.  Returns false if no list is essential.
 */
static bool
set_window(Window *w, int64 threshold)
{
	int64		sum = 0;
	uint32		last = INV_END;
	uint32		ndocs = w->part->head->ndocs;

	for (int i = 0; i < w->nlists; i++)
	{
		const InvCursor *cursor = w->lists[i];

		sum += Max(cursor->most, 0);
		if (sum > threshold)
			last = Min(last, cursor->skips[cursor->block].last);
	}
	if (sum <= threshold)
		return false;
	if (w->nlists > 8 && last < w->from + 64 * (uint32) w->nlists)
		last = w->from + 64 * (uint32) w->nlists;
	w->to = last < ndocs ? last + 1 : ndocs;
	return true;
}

/*
 * Order lists by what they can add in the window, and sum that up.  Returns the
 * number of those that are not essential, or that of all.
 */
static int
partition(Window *w, InvCursor **lists, int64 threshold)
{
	int64		sum = 0;
	int			first = w->nlists;

	for (int i = 0; i < w->nlists; i++)
	{
		InvCursor  *cursor = w->lists[i];
		int			j = i;

		cursor->window = window_most(w, cursor);
		if (w->nlists <= ORDERED_LISTS)
			for (; j > 0 && lists[j - 1]->window > cursor->window; j--)
				lists[j] = lists[j - 1];
		lists[j] = cursor;
	}
	for (int i = 0; i < w->nlists; i++)
	{
		sum += lists[i]->window;
		w->sums[i] = sum;
		if (first == w->nlists && sum > threshold)
			first = i;
	}
	return first;
}

/* Look a document up in the lists that are not essential. */
static inline void
complete(Window *w, InvCursor **lists, int nothers, int64 score, uint32 doc)
{
	InvSearch  *search = w->search;
	int64		threshold = InvThreshold(search);

	for (int i = nothers - 1; i >= 0; i--)
	{
		InvCursor  *cursor = lists[i];

		if (score + w->sums[i] <= threshold)
			return;
		if (cursor->loaded != cursor->block || cursor->doc < doc)
			inv_cursor_seek(search, w->part, cursor, doc);
		if (cursor->doc == doc)
			score += cursor->base + cursor->per_code * cursor->codes[cursor->at];
	}
	if (score > threshold || search->nhits < search->want)
		inv_search_hit(search, score, w->number, doc);
}

/* One list is essential: go through it. */
static void
scan_one(Window *w, InvCursor **lists, int nothers)
{
	InvSearch  *search = w->search;
	InvCursor  *cursor = lists[nothers];
	int64		others = nothers > 0 ? w->sums[nothers - 1] : 0;

	inv_cursor_seek(search, w->part, cursor, w->from);
	while (cursor->doc < w->to)
	{
		uint32		behind;

		for (; cursor->at < cursor->n && cursor->docs[cursor->at] < w->to; cursor->at++)
		{
			int64		score = cursor->base + cursor->per_code * cursor->codes[cursor->at];

			if (score + others > InvThreshold(search))
				complete(w, lists, nothers, score, cursor->docs[cursor->at]);
		}
		if (cursor->at < cursor->n)
		{
			cursor->doc = cursor->docs[cursor->at];
			break;
		}
		behind = cursor->docs[--cursor->at] + 1;
		inv_cursor_seek(search, w->part, cursor, behind);
	}
}

/* Several are: add them up for a part of the window. */
static void
scan_several(Window *w, InvCursor **lists, int nothers, uint32 from, uint32 to)
{
	InvSearch  *search = w->search;
	int64		others = nothers > 0 ? w->sums[nothers - 1] : 0;
	int			nwords = (to - from + 63) / 64;

	CHECK_FOR_INTERRUPTS();
	for (int i = nothers; i < w->nlists; i++)
	{
		InvCursor  *cursor = lists[i];

		inv_cursor_seek(search, w->part, cursor, from);
		while (cursor->doc < to)
		{
			uint32		behind;

			for (; cursor->at < cursor->n && cursor->docs[cursor->at] < to; cursor->at++)
			{
				uint32		d = cursor->docs[cursor->at] - from;

				search->sums[d] += cursor->base + cursor->per_code * cursor->codes[cursor->at];
				search->touched[d / 64] |= UINT64CONST(1) << (d % 64);
			}
			if (cursor->at < cursor->n)
			{
				cursor->doc = cursor->docs[cursor->at];
				break;
			}
			behind = cursor->docs[--cursor->at] + 1;
			inv_cursor_seek(search, w->part, cursor, behind);
		}
	}
	for (int word = 0; word < nwords; word++)
	{
		uint64		bits = search->touched[word];

		search->touched[word] = 0;
		for (; bits; bits &= bits - 1)
		{
			int			d = word * 64 + pg_rightmost_one_pos64(bits);
			int64		score = search->sums[d];

			search->sums[d] = 0;
			if (score + others > InvThreshold(search))
				complete(w, lists, nothers, score, from + d);
		}
	}
}

/*
 * Find what a segment has of the best documents.
 */
void
inv_search_segment(InvSearch *search, int number)
{
	InvSearchPart *part = &search->parts[number];
	MemoryContext old = MemoryContextSwitchTo(search->context);
	InvCursor  *cursors = palloc_extended(sizeof(InvCursor) * Max(part->nfound, 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	InvCursor **lists = palloc(sizeof(InvCursor *) * Max(part->nfound, 1));
	Window		w = {.search = search,.part = part,.number = number};
	InvTerm		wild;

	w.lists = palloc(sizeof(InvCursor *) * Max(part->nfound, 1));
	w.sums = palloc(sizeof(int64) * Max(part->nfound, 1));
	if (inv_find_term(&search->reader, &part->part, part->head, INV_TERM_WILD, &wild))
	{
		InvCursor  *cursor = palloc0(sizeof(InvCursor));

		inv_cursor_open(search, part, cursor, &wild, 0, false);
		for (inv_cursor_seek(search, part, cursor, 0); cursor->doc != INV_END; inv_cursor_seek(search, part, cursor, cursor->doc + 1))
		{
			CHECK_FOR_INTERRUPTS();
			inv_search_hit(search, INV_WILD, number, cursor->doc);
		}
	}
	for (int i = 0; i < part->nfound; i++)
	{
		inv_cursor_open(search, part, &cursors[i], &part->found[i].term,
						search->query.weights[part->found[i].query], part->nfound <= INV_FEW_LISTS);
		w.lists[w.nlists++] = &cursors[i];
	}
	qsort(w.lists, w.nlists, sizeof(InvCursor *), compare_most);
	while (w.from < part->head->ndocs && !search->reader.stale)
	{
		int64		threshold = InvThreshold(search);
		int			nothers;

		CHECK_FOR_INTERRUPTS();
		advance_lists(&w);
		if (w.nlists == 0 || !set_window(&w, threshold))
			break;
		nothers = partition(&w, lists, threshold);
		if (nothers == w.nlists - 1)
			scan_one(&w, lists, nothers);
		else if (nothers < w.nlists)
			for (uint32 from = w.from; from < w.to; from += INV_WINDOW)
				scan_several(&w, lists, nothers, from, Min(w.to, from + INV_WINDOW));
		w.from = w.to;
	}
	/* documents below the threshold may have been left out */
	if (search->nhits == search->want)
		search->full = true;
	for (int i = 0; i < part->nfound; i++)
		inv_cursor_close(&cursors[i]);
	MemoryContextSwitchTo(old);
	MemoryContextReset(search->context);
}
