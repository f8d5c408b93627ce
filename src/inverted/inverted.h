/*
 * inverted.h
 *		The inverted index access method: pages, segments, and who does what.
 *
 * See docs/inverted.md for the design.  A document is a row of the table; a term
 * is a dimension of its vector; a posting says that a document has a term, and
 * in which cell its weight lies.
 *
 * Lock order, where several buffers are locked: pending page, the page linked
 * behind it, meta page.  Flushes, merges and VACUUM hold inv_maintain_lock().
 */
#ifndef INVERTED_H
#define INVERTED_H

#include "access/amapi.h"
#include "access/genam.h"
#include "access/generic_xlog.h"
#include "access/relscan.h"
#include "nodes/execnodes.h"
#include "nodes/pathnodes.h"
#include "storage/buffile.h"
#include "storage/bufmgr.h"
#include "utils/relcache.h"

#include "compat.h"
#include "index/fetch.h"
#include "index/filter.h"
#include "index/page.h"

/* Page layout */

#define INV_META_BLOCK 0
#define INV_MAGIC 0x494e564a
#define INV_VERSION 2
#define INV_PAGE_ID 0xFF96		/* for pg_filedump */

typedef enum InvPageKind
{
	INV_PAGE_META = 1,
	INV_PAGE_PENDING,
	INV_PAGE_HEAD,
	INV_PAGE_DOCS,
	INV_PAGE_MAP,
	INV_PAGE_POSTINGS,
	INV_PAGE_SKIPS,
	INV_PAGE_DICTIONARY,
	INV_PAGE_BRANCH
} InvPageKind;

/* What every page but the meta page begins with. */
typedef struct InvPageHeader
{
	BlockNumber link;			/* pending: the next page; else the one
								 * written before */
	BlockNumber next;			/* skips: where they go on */
	uint16		count;			/* entries or items */
	uint16		dead;			/* of them */
	uint16		end;			/* where free space starts */
	uint16		frozen;			/* pending: nothing may be appended */
} InvPageHeader;

#define InvPageGetHeader(page) ((InvPageHeader *) PageGetContents(page))
#define INV_PAGE_START (MAXALIGN(SizeOfPageHeaderData) + sizeof(InvPageHeader))
#define INV_PAGE_END (BLCKSZ - sizeof(IxPageOpaqueData))
#define INV_PAGE_ROOM (INV_PAGE_END - INV_PAGE_START)

/* A segment or a frozen pending list, as the meta page names it. */
typedef struct InvPart
{
	uint32		id;
	BlockNumber first;			/* head page, or first pending page */
	BlockNumber npages;
	uint32		pending;		/* is it a pending list? */
	uint32		ndocs;
	uint32		ndead;			/* as VACUUM counted last */
} InvPart;

/* What nobody will find any more, but somebody may be reading. */
typedef struct InvRetired
{
	uint32		id;
	BlockNumber first;			/* all others are linked from it */
} InvRetired;

#define INV_MAX_PARTS 128
#define INV_MAX_RETIRED 256

typedef struct InvMetaPageData
{
	uint32		magic;
	uint32		version;
	uint32		crc;			/* of what follows */
	int32		dims;
	int32		nfilters;
	int16		filter_width[IX_MAX_FILTERS];
	int16		pad;
	uint32		next_id;
	/* the list that inserts append to; no page yet if it is empty */
	uint32		pending_id;
	BlockNumber pending_first;
	BlockNumber pending_last;
	BlockNumber pending_pages;
	uint32		nparts;
	uint32		nretired;
	InvPart		parts[INV_MAX_PARTS];
	InvRetired	retired[INV_MAX_RETIRED];
} InvMetaPageData;

#define InvPageGetMeta(page) ((InvMetaPageData *) PageGetContents(page))

/* Documents */

/*
 * Dimensions that no vector has stand for documents that postings cannot tell
 * apart: the list of those whose vector is NULL, whose distance is always NaN,
 * or whose distance no bound can be told of.
 */
#define INV_TERM_NULL (-3)
#define INV_TERM_NAN (-2)
#define INV_TERM_WILD (-1)

/* Where things are on a document page; follows from the meta page. */
typedef struct InvLayout
{
	int			ndocs;			/* per page, a multiple of 32 */
	int			tids;
	int			dead;			/* a bit per document */
	int			end;
	IxFilterLayout filters;
} InvLayout;

#define InvPageTids(page, layout) ((ItemPointerData *) ((char *) (page) + (layout)->tids))
#define InvPageDead(page, layout) ((uint32 *) ((char *) (page) + (layout)->dead))

/* A row as it is indexed. */
typedef struct InvDocument
{
	ItemPointerData tid;
	uint32		nulls;			/* of filter values */
	int64		filters[IX_MAX_FILTERS];
	int			nterms;
	int32	   *terms;			/* ascending */
	float	   *weights;
} InvDocument;

/* Segments */

#define INV_BLOCK 128			/* postings */
#define INV_MAX_MAPS 1900

typedef struct InvHead
{
	uint32		ndocs;
	uint32		nterms;
	uint64		npostings;
	uint32		max_terms;		/* of a document */
	BlockNumber root;			/* of the dictionary; invalid if it has no
								 * term */
	uint32		levels;			/* of branches above its pages */
	uint32		ndocpages;
	uint32		nmaps;
	BlockNumber maps[FLEXIBLE_ARRAY_MEMBER];
} InvHead;

#define InvPageGetHead(page) ((InvHead *) ((char *) (page) + INV_PAGE_START))
#define INV_MAP_ENTRIES ((uint32) (INV_PAGE_ROOM / sizeof(BlockNumber)))

/*
 * A term of the dictionary.  One posting of a known weight: the document itself;
 * up to INV_BLOCK: the place of the block; more: the place of the first skip.
 */
typedef struct InvTerm
{
	int32		term;
	uint32		count;
	float		least;
	float		greatest;
	uint32		block;			/* or document */
	uint32		offset;
} InvTerm;

#define InvTermIsInline(t) ((t)->count == 1 && (t)->least == (t)->greatest)
#define INV_TERMS_PER_PAGE ((int) (INV_PAGE_ROOM / sizeof(InvTerm)))

/* A branch page's entry: the first term of a page below. */
typedef struct InvBranch
{
	int32		term;
	BlockNumber block;
} InvBranch;

#define INV_BRANCHES_PER_PAGE ((int) (INV_PAGE_ROOM / sizeof(InvBranch)))
#define INV_MAX_LEVELS 5

/* A block of a list that has several. */
typedef struct InvSkip
{
	uint32		last;			/* document */
	BlockNumber block;
	uint16		offset;
	uint8		least;			/* codes of weights */
	uint8		greatest;
} InvSkip;

#define INV_SKIPS_PER_PAGE ((int) (INV_PAGE_ROOM / sizeof(InvSkip)))

/*
 * A block of postings: this, the differences less one of the other documents at
 * so many bits each, and a byte for each weight unless all are equal.
 */
typedef struct InvBlock
{
	uint32		first;			/* document */
	uint8		count;			/* less one */
	uint8		bits;
	uint8		weighted;
	uint8		pad;
} InvBlock;

#define InvPackedBytes(count, bits) ((((count) - 1) * (bits) + 7) / 8)
#define INV_MAX_BLOCK_BYTES (sizeof(InvBlock) + INV_BLOCK * 5)

/* The cells that weights of a term lie in: base + code times 2 to exponent. */
typedef struct InvCells
{
	int			exponent;
	double		step;			/* 2 to exponent */
	double		inverse;
	double		base;			/* in steps */
} InvCells;

/* Types and metrics */

typedef enum InvMetric
{
	INV_METRIC_IP,
	INV_METRIC_COSINE
} InvMetric;

#define INV_DISTANCE_PROC 1		/* the operator's own function */
#define INV_METRIC_PROC 2		/* returns an InvMetric */
#define INV_NPROCS 3			/* with IX_FILTER_HASH_PROC */
#define INV_ORDER_STRATEGY 1

/* Squares of lengths between these are far from where floats fail. */
#define INV_LEAST_SQUARE 1e-30
#define INV_GREATEST_SQUARE 1e37

/* invspace.c */
extern InvMetric inv_index_metric(Relation index);
extern int	inv_index_dims(Relation index);
extern struct varlena *inv_detoast(int dims, Datum value);
extern double inv_square(struct varlena *raw);
extern void inv_document(Relation index, InvMetric metric, int dims, const Datum *values, const bool *isnull, InvDocument *doc);
extern void inv_cells(InvCells *cells, double least, double greatest);
extern uint8 inv_cell(const InvCells *cells, double weight);

/* invpage.c */
extern void inv_layout_init(InvLayout *layout, int nfilters, const int16 *widths);
extern void inv_page_init(Page page, InvPageKind kind, uint32 id, BlockNumber link);
extern void inv_page_check(Relation index, BlockNumber block, Page page, InvPageKind kind);
extern void inv_meta_init(InvMetaPageData *meta, Relation index);
extern void inv_meta_seal(InvMetaPageData *meta);
extern const InvMetaPageData *inv_meta_verify(Relation index, Buffer buffer);
extern void inv_read_meta(Relation index, InvMetaPageData *meta);
extern bool inv_maintain_lock(Relation index, bool wait);
extern void inv_maintain_unlock(Relation index);

/* invread.c: sources of segments */

/*
 * What a segment is made of: documents by TID, then postings by term and
 * document.  Comes from a part of the index or from rows gathered in memory.
 */
typedef struct InvSource InvSource;
struct InvSource
{
	bool		(*next_doc) (InvSource *source);	/* false at the end */
	bool		(*next_term) (InvSource *source);
	bool		(*next_posting) (InvSource *source);	/* of that term */
	void		(*close) (InvSource *source);
	InvDocument row;			/* set by next_doc, but for its terms */
	uint32		doc;			/* its number, or that of a posting */
	InvTerm		term;			/* set by next_term */
	double		weight;			/* of a posting, or the least in its cell */
	uint32		ndocs;
	uint32		max_terms;
	uint32	   *renumber;		/* inv_merge's new numbers */
};

extern InvSource *inv_segment_source(Relation index, const InvLayout *layout, const InvPart *part);

/* invgather.c */

/* Gathers documents within a limit of memory. */
typedef struct InvGather InvGather;
typedef BufFile *(*InvMakeFile) (void *arg, int run);

extern InvGather *inv_gather_begin(const InvLayout *layout, Size memory, InvMakeFile make_file, void *arg);
extern void inv_gather_add(InvGather *gather, const InvDocument *doc);
extern int	inv_gather_export(InvGather *gather);
extern int	inv_gather_sources(InvGather *gather, InvSource ***sources);
extern BufFile *inv_temporary_file(void *arg, int run);
extern InvSource *inv_run_source(BufFile *file, const InvLayout *layout);

/* invwrite.c */
typedef struct InvWriter InvWriter;
extern InvWriter *inv_writer_begin(Relation index, const InvLayout *layout, uint32 id, bool logged);
extern void inv_writer_doc(InvWriter *writer, const InvDocument *doc);
extern void inv_writer_term(InvWriter *writer, int32 term, float least, float greatest);
extern void inv_writer_posting(InvWriter *writer, uint32 doc, double weight);
extern void inv_writer_end(InvWriter *writer, uint32 max_terms, InvPart *part);

/* invread.c */

/* How pages are read: by VACUUM and merges, or by a scan that may be overtaken. */
typedef struct InvReader
{
	Relation	index;
	Snapshot	snapshot;		/* NULL if no rows are looked for */
	InvLayout	layout;
	bool		standby;		/* pages may be used again meanwhile */
	bool		stale;			/* and one was */
	BlockNumber nblocks;		/* of the file, as far as known */
} InvReader;

extern void inv_check_block(InvReader *reader, BlockNumber block);
extern bool inv_read_page(InvReader *reader, uint32 id, BlockNumber block, InvPageKind kind, char *copy);
extern Page inv_lock_page(InvReader *reader, uint32 id, BlockNumber block, InvPageKind kind, Buffer *buffer);
extern void inv_unlock_page(InvReader *reader, Buffer buffer);
extern bool inv_read_head(InvReader *reader, const InvPart *part, char *copy);
extern bool inv_find_term(InvReader *reader, const InvPart *part, const InvHead *head, int32 term, InvTerm *found);
extern BlockNumber inv_next_pending(Relation index, Page page, BlockNumber *steps);
extern BlockNumber inv_first_leaf(InvReader *reader, const InvPart *part, const InvHead *head);
extern int	inv_decode(Relation index, BlockNumber block, Page page, int offset, uint32 *docs, uint8 *codes);

/* invpending.c */

/* A document on a pending page, or a part of one. */
typedef struct InvItem
{
	ItemPointerData tid;
	uint16		nterms;
	uint32		nulls;
	uint16		size;			/* with filter values, terms and weights */
	uint16		flags;
} InvItem;

#define INV_ITEM_DEAD 1
#define INV_ITEM_GOES_ON 2		/* with the first item of the next page */
#define INV_ITEM_REST 4			/* of the last item of the page before */

#define InvItemSize(nfilters, nterms) \
	((int) (sizeof(InvItem) + (nfilters) * sizeof(int64) + (nterms) * (sizeof(int32) + sizeof(float))))
#define InvItemFilters(item) ((char *) (item) + sizeof(InvItem))
#define InvItemTerms(item, nfilters) ((int32 *) (InvItemFilters(item) + (nfilters) * sizeof(int64)))
#define InvItemWeights(item, nfilters) ((float *) (InvItemTerms(item, nfilters) + (item)->nterms))

extern InvItem *inv_next_item(Relation index, BlockNumber block, Page page, int nfilters, int *at);
extern bool inv_pending_append(Relation index, const InvDocument *doc);
extern void inv_pending_freeze(Relation index);
extern void inv_pending_gather(Relation index, const InvLayout *layout, const InvPart *part, InvGather *gather);

/* invmerge.c */
extern void inv_merge(Relation index, InvSource **sources, int nsources, InvWriter *writer, InvPart *part);
extern void inv_maintain(Relation index, bool vacuum);
extern void inv_free_page(Relation index, Buffer buffer);

/* invload.c */

/* What is kept while a process loads its part of a table. */
typedef struct InvLoad
{
	Relation	heap;
	Relation	index;
	IndexInfo  *info;
	InvMetric	metric;
	int			dims;
	InvLayout	layout;
	InvGather  *gather;
	MemoryContext row_context;
	double		tuples;			/* rows of the table, and of the index */
	double		indexed;
} InvLoad;

extern void inv_load(InvLoad *load, Size memory, InvMakeFile make_file, void *arg, bool progress, TableScanDesc scan);

/* invbuild.c */
extern IndexBuildResult *inv_build(Relation heap, Relation index, IndexInfo *info);
extern void inv_buildempty(Relation index);
extern char *inv_build_phase(int64 phase);

/* invinsert.c */
extern bool inv_insert(Relation index, Datum *values, bool *isnull, ItemPointer tid, Relation heap, IndexUniqueCheck check, bool unchanged, IndexInfo *info);

/* invparallel.c */
typedef struct InvParallel InvParallel;
extern InvParallel *inv_parallel_load(InvLoad *load, InvSource ***sources, int *nsources);
extern void inv_parallel_end(InvParallel *parallel);

/* invvacuum.c */
extern IndexBulkDeleteResult *inv_bulkdelete(IndexVacuumInfo *info, IndexBulkDeleteResult *stats, IndexBulkDeleteCallback callback, void *state);
extern IndexBulkDeleteResult *inv_vacuumcleanup(IndexVacuumInfo *info, IndexBulkDeleteResult *stats);

/* invcost.c */
extern void inv_costestimate(PlannerInfo *root, IndexPath *path, double loop_count, Cost *startup, Cost *total, Selectivity *selectivity, double *correlation, double *pages);

/* invscan.c */
extern IndexScanDesc inv_beginscan(Relation index, int nkeys, int norderbys);
extern void inv_rescan(IndexScanDesc scan, ScanKey keys, int nkeys, ScanKey orderbys, int norderbys);
extern bool inv_gettuple(IndexScanDesc scan, ScanDirection direction);
extern void inv_endscan(IndexScanDesc scan);

#endif							/* INVERTED_H */
