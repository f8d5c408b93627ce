/*
 * invsearch.c
 *		A search: a view of the index, and the best documents of it.
 *
 * The view is the meta page at one moment, with the first page of each part
 * pinned before that is unlocked: as long as it lives no page of those parts is
 * used again, but on a standby.
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "compat.h"
#include "inverted/invsearch.h"

/* Scores are at most about this many units. */
#define SCORE_UNITS ((double) (1 << 29))
/* Sums beyond this may overflow in floats. */
#define GREATEST_SUM 1e37

/* Copy the list of parts and pin their first pages. */
static void
pin_parts(InvSearch *search)
{
	Buffer		buffer = ReadBuffer(search->index, INV_META_BLOCK);
	const InvMetaPageData *meta;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	meta = inv_meta_verify(search->index, buffer);
	test_old_snapshot_compat(search->reader.snapshot, search->index, BufferGetPage(buffer));
	search->query.dims = meta->dims;
	inv_layout_init(&search->reader.layout, meta->nfilters, meta->filter_width);
	search->parts = palloc0(sizeof(InvSearchPart) * (meta->nparts + 1));
	for (int i = 0; i < meta->nparts; i++)
		search->parts[search->nparts++].part = meta->parts[i];
	if (meta->pending_first != InvalidBlockNumber)
	{
		InvPart    *part = &search->parts[search->nparts++].part;

		part->id = meta->pending_id;
		part->first = meta->pending_first;
		part->pending = 1;
	}
	for (int i = 0; i < search->nparts; i++)
		search->parts[i].pin = ReadBuffer(search->index, search->parts[i].part.first);
	UnlockReleaseBuffer(buffer);
}

/* Look the query's terms up in a segment; returns the bound of a sum there. */
static void
find_terms(InvSearch *search, InvSearchPart *part, double *most)
{
	PGAlignedBlock page;
	const InvHead *head = InvPageGetHead(page.data);
	int			room = 0;

	part->head = palloc0(sizeof(InvHead));
	if (!inv_read_head(&search->reader, &part->part, page.data))
		return;
	part->head = palloc(offsetof(InvHead, maps) + sizeof(BlockNumber) * head->nmaps);
	memcpy(part->head, head, offsetof(InvHead, maps) + sizeof(BlockNumber) * head->nmaps);
	for (int i = 0; i < search->query.nterms; i++)
	{
		InvTerm		term;

		CHECK_FOR_INTERRUPTS();
		if (!inv_find_term(&search->reader, &part->part, part->head, search->query.terms[i], &term))
			continue;
		if (part->nfound == room)
		{
			room = Max(8, room * 2);
			part->found = part->found ? repalloc_huge(part->found, sizeof(InvFound) * room) :
				palloc(sizeof(InvFound) * room);
		}
		part->found[part->nfound].query = i;
		part->found[part->nfound++].term = term;
		most[i] = Max(most[i], Max(fabs(term.least), fabs(term.greatest)));
	}
}

/*
 * Start a search, in the current memory context.  The reader may be stale
 * already.
 */
InvSearch *
inv_search_begin(Relation index, Snapshot snapshot, const InvQuery *query, const IxFilters *filters)
{
	InvSearch  *search = palloc0(sizeof(InvSearch));
	double	   *most = palloc0(sizeof(double) * Max(query->nterms, 1));
	double		sum = 0;
	uint32		terms = 0;

	search->index = index;
	search->reader.index = index;
	search->reader.snapshot = snapshot;
	search->reader.standby = RecoveryInProgress();
	search->query = *query;
	if (filters)
		search->filters = *filters;
	search->context = AllocSetContextCreate(CurrentMemoryContext, "inverted segment", ALLOCSET_DEFAULT_SIZES);
	search->docs_buffer = InvalidBuffer;
	pin_parts(search);
	for (int i = 0; i < search->nparts; i++)
	{
		InvSearchPart *part = &search->parts[i];

		if (part->part.pending)
			continue;
		find_terms(search, part, most);
		terms = Max(terms, part->head->max_terms);
	}

	/* a cell may reach beyond the greatest weight by a 128th of that */
	for (int i = 0; i < query->nterms; i++)
		sum += fabs(query->weights[i]) * most[i] * (1 + 1.0 / 64);
	if (query->metric == INV_METRIC_IP && sum > GREATEST_SUM)
		search->query.wild = true;
	search->unit = sum > 0 ? sum / SCORE_UNITS : 1;

	/*
	 * The operators add in floats, in the order of the terms, each step wrong
	 * by half the distance of two floats; under cosine the squares of the
	 * lengths are sums of that kind, too, and no more than 1 is to be had.
	 */
	if (query->metric == INV_METRIC_COSINE)
		search->margin = Min(sum, 1.001) * (3.0 * query->nterms + 2.0 * terms + 16) * FLT_EPSILON;
	else
		search->margin = sum * (Min((double) query->nterms, terms) + 4) * FLT_EPSILON;
	search->margin += (query->nterms + 4) * ldexp(1, -148);
	pfree(most);
	return search;
}

/* Give back pins and memory of a search. */
void
inv_search_end(InvSearch *search)
{
	if (BufferIsValid(search->docs_buffer))
		ReleaseBuffer(search->docs_buffer);
	for (int i = 0; i < search->nparts; i++)
		ReleaseBuffer(search->parts[i].pin);
	MemoryContextDelete(search->context);
}

/* Of a document of a pending list, as far as its items were read. */
typedef struct PendingDoc
{
	InvHit		hit;
	bool		wanted;
	bool		matched;
	bool		goes_on;
	double		sum;
	double		size;			/* sum of the absolute values */
	int			nterms;			/* in common */
} PendingDoc;

static void
add_item(InvSearch *search, PendingDoc *doc, const InvItem *item)
{
	const InvQuery *query = &search->query;
	const int32 *terms = InvItemTerms(item, search->reader.layout.filters.nfilters);
	const float *weights = InvItemWeights(item, search->reader.layout.filters.nfilters);

	if (item->nterms > 0 && terms[0] < 0)
	{
		doc->matched = terms[0] == INV_TERM_WILD;
		doc->size = INFINITY;
		return;
	}
	for (int i = 0, q = 0; i < item->nterms && q < query->nterms;)
	{
		if (terms[i] < query->terms[q])
			i++;
		else if (terms[i] > query->terms[q])
			q++;
		else
		{
			double		product = query->weights[q++] * weights[i++];

			doc->matched = true;
			doc->sum += product;
			doc->size += fabs(product);
			doc->nterms++;
		}
	}
}

static void
end_doc(InvSearch *search, PendingDoc *doc)
{
	if (!doc->matched || !doc->wanted)
		return;
	if (doc->size > (search->query.metric == INV_METRIC_IP ? GREATEST_SUM : 1e300) ||
		doc->size / search->unit > 1e15)
		doc->hit.score = INV_WILD;
	else
	{
		/* the margin of the search is for what its segments hold */
		double		margin = search->query.metric == INV_METRIC_IP ? doc->size * (doc->nterms + 4) * FLT_EPSILON :
			Min(doc->size, 1.001) * (3.0 * search->query.nterms + 2.0 * 16000 + 16) * FLT_EPSILON;

		doc->hit.score = (int64) ceil((doc->sum + margin) / search->unit) + 1;
	}
	if (!inv_search_used(search, &doc->hit))
		inv_search_keep(search, &doc->hit);
}

/* Find what a pending list has of the best documents. */
static void
search_pending(InvSearch *search, int number)
{
	const InvPart *part = &search->parts[number].part;
	int			nfilters = search->reader.layout.filters.nfilters;
	PGAlignedBlock page;
	PendingDoc	doc = {0};
	uint32		n = 0;

	for (BlockNumber block = part->first, steps = 0; block != InvalidBlockNumber; block = inv_next_pending(search->index, page.data, &steps))
	{
		int			at = INV_PAGE_START;
		InvItem    *item;

		CHECK_FOR_INTERRUPTS();
		if (!inv_read_page(&search->reader, part->id, block, INV_PAGE_PENDING, page.data))
			return;
		while ((item = inv_next_item(search->index, block, page.data, nfilters, &at)) != NULL)
		{
			bool		rest = doc.goes_on && (item->flags & INV_ITEM_REST) &&
				ItemPointerEquals(&doc.hit.tid, &item->tid);

			if (!rest)
			{
				if (doc.goes_on)
					end_doc(search, &doc);
				memset(&doc, 0, sizeof(doc));
				doc.hit.part = number;
				doc.hit.doc = n++;
				doc.hit.tid = item->tid;
				doc.wanted = !(item->flags & INV_ITEM_DEAD) && inv_search_item(search, item);
			}
			if (doc.wanted)
				add_item(search, &doc, item);
			doc.goes_on = (item->flags & INV_ITEM_GOES_ON) != 0;
			if (!doc.goes_on)
				end_doc(search, &doc);
		}
	}
	/* one that another backend is still putting is of no snapshot */
	if (doc.goes_on)
		end_doc(search, &doc);
}

static int
compare_hits(const void *a, const void *b)
{
	const InvHit *x = a;
	const InvHit *y = b;

	if (x->score != y->score)
		return x->score > y->score ? -1 : 1;
	if (x->part != y->part)
		return x->part < y->part ? -1 : 1;
	return x->doc < y->doc ? -1 : x->doc > y->doc;
}

/*
 * Find the best so many documents behind those that were handed out.  They are
 * in search->hits, best first; unless search->full, there are no others.
 */
void
inv_search_more(InvSearch *search, int want)
{
	if (search->hits)
		pfree(search->hits);
	search->hits = MemoryContextAllocHuge(GetMemoryChunkContext(search), sizeof(InvHit) * want);
	search->want = want;
	search->nhits = 0;
	search->full = false;
	for (int i = 0; i < search->nparts && !search->reader.stale; i++)
	{
		if (search->parts[i].part.pending)
			search_pending(search, i);
		else
			inv_search_segment(search, i);
	}
	qsort(search->hits, search->nhits, sizeof(InvHit), compare_hits);
	if (search->nhits > 0)
	{
		search->used = search->hits[search->nhits - 1];
		search->used_any = true;
	}
}

/*
 * The least distance that a document of this score can have.
 */
double
inv_search_distance(const InvSearch *search, int64 score)
{
	double		distance;

	if (score == INV_WILD || search->query.wild)
		return -INFINITY;
	distance = -(double) score * search->unit - search->margin;
	return search->query.metric == INV_METRIC_COSINE ? Max(0, 1 + distance) : distance;
}
