/*
 * invsearch.h
 *		Searching: the best documents by the bounds of their distances.
 */
#ifndef INVSEARCH_H
#define INVSEARCH_H

#include "inverted/inverted.h"

/* What a query asks for. */
typedef struct InvQuery
{
	InvMetric	metric;
	int			dims;
	int			nterms;
	int32	   *terms;			/* ascending */
	double	   *weights;		/* of a vector of length 1 under cosine */
	bool		wild;			/* no bound of a distance can be told */
} InvQuery;

/* A term of the query that a segment has. */
typedef struct InvFound
{
	int			query;			/* its number there */
	InvTerm		term;
} InvFound;

/* A part of the index as a search sees it, its first page pinned. */
typedef struct InvSearchPart
{
	InvPart		part;
	Buffer		pin;
	InvHead    *head;			/* of a segment */
	InvFound   *found;
	int			nfound;
	BlockNumber *map;			/* a page of the map */
	uint32		map_number;
} InvSearchPart;

/* A document found; they are ordered by score, then part and number. */
typedef struct InvHit
{
	int64		score;			/* bound, in units; INV_WILD if there is none */
	uint32		part;
	uint32		doc;
	ItemPointerData tid;
} InvHit;

#define INV_WILD PG_INT64_MAX
#define INV_LOWEST PG_INT64_MIN

/* A list of postings that is read in order; see invcursor.c. */
typedef struct InvCursor
{
	const InvTerm *term;
	int32		base;			/* bound of a posting: base + code * per_code */
	int32		per_code;
	int32		most;			/* of all */
	int32		window;			/* of those in a window, at least 0 */
	InvSkip    *skips;
	int			nblocks;
	int			block;			/* where it is */
	int			loaded;			/* block that is unpacked, or -1 */
	int			n;
	int			at;
	uint32		doc;			/* INV_END behind the last */
	Buffer		buffer;			/* kept pinned, if valid */
	uint32		docs[INV_BLOCK];
	uint8		codes[INV_BLOCK];
} InvCursor;

#define INV_END PG_UINT32_MAX
/* Lists that keep the page pinned that they read. */
#define INV_FEW_LISTS 32
/* Documents whose scores are added up at a time. */
#define INV_WINDOW 4096

typedef struct InvSearch
{
	InvReader	reader;
	Relation	index;
	InvQuery	query;
	InvSearchPart *parts;
	int			nparts;
	double		unit;			/* of scores */
	double		margin;			/* for rounding, in distance */
	IxFilters	filters;
	MemoryContext context;		/* of a segment that is searched */
	Buffer		docs_buffer;	/* last document page, pinned */
	/* the search for the best */
	int			want;
	InvHit	   *hits;			/* a heap, worst first */
	int			nhits;
	bool		full;			/* something may have been turned away */
	bool		used_any;
	InvHit		used;			/* the last that was handed out */
	int32		sums[INV_WINDOW];
	uint64		touched[INV_WINDOW / 64];
} InvSearch;

#define InvThreshold(search) ((search)->nhits == (search)->want ? (search)->hits[0].score : INV_LOWEST)

/* invcursor.c */
extern void inv_cursor_open(InvSearch *search, InvSearchPart *part, InvCursor *cursor, const InvTerm *term, double weight, bool keep_pin);
extern void inv_cursor_seek(InvSearch *search, InvSearchPart *part, InvCursor *cursor, uint32 doc);
extern void inv_cursor_close(InvCursor *cursor);

/* invhits.c */
extern bool inv_search_doc(InvSearch *search, InvSearchPart *part, uint32 doc, ItemPointer tid);
extern bool inv_search_item(InvSearch *search, const InvItem *item);
extern void inv_search_keep(InvSearch *search, const InvHit *hit);
extern bool inv_search_used(const InvSearch *search, const InvHit *hit);
extern void inv_search_hit(InvSearch *search, int64 score, int number, uint32 doc);

/* invsearch.c */
extern InvSearch *inv_search_begin(Relation index, Snapshot snapshot, const InvQuery *query, const IxFilters *filters);
extern void inv_search_end(InvSearch *search);
extern void inv_search_more(InvSearch *search, int want);
extern double inv_search_distance(const InvSearch *search, int64 score);

/* invinfo.c */
extern void inv_check_stale(const InvSearch *search);

/* invwindow.c */
extern void inv_search_segment(InvSearch *search, int number);

/* invstream.c */

/* Documents that postings do not tell apart, in the order of their numbers. */
typedef enum InvStreamKind
{
	INV_STREAM_UNMATCHED,		/* no term in common with the query */
	INV_STREAM_NAN,
	INV_STREAM_NULL
} InvStreamKind;

typedef struct InvStream
{
	InvSearch  *search;
	InvStreamKind kind;
	MemoryContext context;		/* of a part */
	int			part;
	bool		started;		/* that part */
	InvCursor  *cursors;
	int			ncursors;
	uint32		next;			/* document */
	BlockNumber block;			/* of a pending list */
	BlockNumber steps;
	bool		open;			/* an item that may go on */
	bool		open_matched;
	ItemPointerData open_tid;
	ItemPointerData *tids;
	int			ntids;
	int			at;
} InvStream;

extern void inv_stream_begin(InvStream *stream, InvSearch *search, InvStreamKind kind);
extern bool inv_stream_next(InvStream *stream, ItemPointer tid);

#endif							/* INVSEARCH_H */
