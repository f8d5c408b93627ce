/*
 * pq.h
 *		The pq index access method: page layout, model, and who does what.
 *
 * An index is an inverted file.  A vector is embedded in the index space of
 * floats, assigned to the list with the nearest centroid, and stored there as
 * a product code of its residual (4 bits per subvector), a term, its heap TID
 * and filter columns on a posting page, and as a refine code (8 bits per
 * dimension and the distance to the vector) on a refine page.
 *
 * An index of few rows is flat: it has no model to speak of, one list and no
 * codes, and its refine codes are the points themselves (pqflat.c).  Others have
 * a flat list, too, behind those of the model: that of outliers, rows inserted
 * since that the model's codes do not fit (pqoutlier.c).
 *
 * Blocks: 0 is the meta page, then the model (a flat copy of PqModel), the
 * centroids (tiles, 64-byte rows), the directory (an entry per list), and the
 * lists' posting and refine pages in any order.
 *
 * Lock order, where several buffers are locked: posting page, the page linked
 * behind it (new, unknown to others), refine page, directory page.  Links of a
 * list only ever lead forward, and a page never leaves its list.
 */
#ifndef PQ_H
#define PQ_H

#include "access/amapi.h"
#include "access/genam.h"
#include "access/generic_xlog.h"
#include "access/itup.h"
#include "lib/ilist.h"
#include "nodes/execnodes.h"
#include "nodes/pathnodes.h"
#include "storage/bufmgr.h"
#include "utils/relcache.h"

#include "compat.h"
#include "index/filter.h"
#include "index/page.h"
#include "pq/pqkernel.h"

/* Page layout */

#define PQ_META_BLOCK 0
#define PQ_MAGIC 0x50514a46
#define PQ_VERSION 7
#define PQ_MODEL_VERSION 5		/* of models, which codebooks are, too */
#define PQ_PAGE_ID 0xFF95		/* for pg_filedump */

typedef enum PqPageKind
{
	PQ_PAGE_META = 1,
	PQ_PAGE_MODEL,
	PQ_PAGE_TILES,
	PQ_PAGE_DIRECTORY,
	PQ_PAGE_POSTING,
	PQ_PAGE_REFINE
} PqPageKind;

/* Payload of model and tile pages starts 64-aligned. */
#define PQ_STREAM_START 64
#define PQ_STREAM_BYTES ((BLCKSZ - PQ_STREAM_START - (int) sizeof(IxPageOpaqueData)) / 64 * 64)
#define PQ_ROW_BYTES (PQ_TILE * (int) sizeof(float))
#define PQ_ROWS_PER_PAGE (PQ_STREAM_BYTES / PQ_ROW_BYTES)

typedef struct PqDirectoryEntry
{
	BlockNumber head;			/* first posting page, set once */
	BlockNumber insert;			/* a page of the list to start looking for
								 * room at */
	uint32		npages;			/* posting pages */
} PqDirectoryEntry;

#define PQ_DIRECTORY_START 64
#define PQ_ENTRIES_PER_PAGE ((int) ((BLCKSZ - PQ_DIRECTORY_START - sizeof(IxPageOpaqueData)) / sizeof(PqDirectoryEntry)))

typedef struct PqPostingHeader
{
	BlockNumber next;
	uint16		nused;			/* slots ever used, from the first */
	uint16		nlive;
	uint16		ninserted;		/* entries since the index learned, dead ones
								 * included */
	uint16		nstrange;		/* of these such that their codes are wrong by
								 * more than is usual */
	BlockNumber refine[FLEXIBLE_ARRAY_MEMBER];	/* allocated as needed; the
												 * parts of a code follow each
												 * other */
} PqPostingHeader;

/* Which of those holds the (first part of the) refine code of a slot. */
#define PqRefineNumber(layout, slot) ((slot) / (layout)->refine_slots * (layout)->refine_parts)

#define PqPostingGetHeader(page) ((PqPostingHeader *) PageGetContents(page))

/* Slots of a block that were ever used; what others hold is noise. */
#define PqUsedMask(header, block) \
	((header)->nused >= ((block) + 1) * PQ_BLOCK ? PG_UINT32_MAX : \
	 ((uint32) 1 << ((header)->nused - (block) * PQ_BLOCK)) - 1)

/* Room for refine codes on a page. */
#define PQ_REFINE_BYTES (BLCKSZ - (int) MAXALIGN(SizeOfPageHeaderData) - (int) sizeof(IxPageOpaqueData))

/* Pages of the largest refine code, a point of PQ_MAX_INNER floats. */
#define PQ_MAX_PARTS 2
#define PQ_MAX_SUBVECTORS 400
#define PQ_MAX_WIDTH 32
#define PQ_MAX_INNER 4000		/* more dimensions are projected */
#define PQ_PROJECTED 1024		/* to this many */
#define PQ_SPARSE_INNER 512		/* sparse vectors are projected to these */
#define PQ_MAX_LISTS 65536
#define PQ_LARGEST 1e15f		/* largest coordinate of the index space */
#define PQ_MAX_CURVE 24
/*
 * An index of fewer rows, or of fewer distinct ones as long as they are not very
 * many, is flat, if it is not told how many lists it is to have.
 */
#define PQ_FLAT_ROWS 1000
#define PQ_FLAT_MOST 10000
/* One of fewer is small: it costs little to learn anew. */
#define PQ_SMALL_ROWS 20000
#define PQ_CURVES 4

/* Where things are on posting and refine pages; follows from the meta page. */
typedef struct PqLayout
{
	int			nquads;
	int			space_dims;
	int			nblocks;		/* of 32 slots, per posting page */
	int			nslots;			/* per posting page */
	int			codes;			/* offsets on a posting page */
	int			terms;
	int			live;			/* a bit per slot */
	int			tids;
	IxFilterLayout filters;		/* in blocks as those of codes */
	int			posting_end;
	int			nrefine;		/* refine pages per posting page */
	int			refine_slots;	/* per refine page */
	int			refine_size;	/* bytes per refine code */
	int			refine_parts;	/* pages of one that is larger than a page */
	uint32		generation;		/* of the pages */
} PqLayout;

/* One point of a recall curve. */
typedef struct PqCurvePoint
{
	float		recall;
	float		list;			/* the rule; see pqgather.c */
	float		code;
	int32		probes;			/* lists that it scans, on average */
	float		mean;			/* of the codes' cosines that it finds, for
								 * most queries at most */
	float		strange;		/* for queries unlike rows: those that are
								 * stranger than this have the rule */
} PqCurvePoint;

/* Recall among the k nearest. */
typedef struct PqCurve
{
	int32		k;
	int32		n;
	PqCurvePoint points[PQ_MAX_CURVE];
} PqCurve;

typedef struct PqMetaPageData
{
	uint32		magic;
	uint32		version;
	uint32		crc;			/* of what follows */
	uint32		model_size;
	uint32		model_crc;
	BlockNumber model_start;
	BlockNumber tiles_start;
	BlockNumber directory_start;
	uint32		generation;		/* what pages in use say */
	uint32		last_generation;	/* that pages may say */
	uint32		swept;			/* none says an older one, but the one in use */
	uint32		check_pages;	/* with so many posting pages, see whether to
								 * learn anew */
	uint32		warned;			/* not 0: the log has been told of drift */
	FullTransactionId switched; /* no scan that is younger reads older pages */
	int32		dims;
	int32		flat;			/* not 0: the model is flat */
	int32		nslots;
	int32		nfilters;
	int16		filter_width[IX_MAX_FILTERS];
	int16		pad;
	double		tuples;			/* at build */
	int32		alike;			/* and a code that differs in fewer subvectors
								 * from another */
	float		taxicab;		/* squared length of what has a taxicab length
								 * of 1, usually; 0 if not measured */
	double		due_tuples;		/* when flat, with so many there may be
								 * something to learn */
	double		sampled;
	char		codebook[NAMEDATALEN];
	float		spread;			/* length of residuals */
	float		code_error;		/* length of what codes are wrong by */
	float		usual;			/* most errors of codes are shorter, in units
								 * of their list's length */
	float		usual_along;	/* and less of them lies along residuals */
	float		outlier;		/* so many times as much is an outlier's */
	float		length;			/* of points that are nearest */
	float		separation;		/* of centroids */
	float		look;			/* groups this much farther than the nearest
								 * are looked at */
	int32		ncurves;
	int32		nunlike;
	PqCurve		curves[PQ_CURVES];	/* k rising */
	PqCurve		unlike_curves[PQ_CURVES];	/* for queries unlike rows */
} PqMetaPageData;

/* Entries of an index. */
typedef struct PqCounts
{
	double		live;
	double		outliers;		/* of them */
	double		inserted;		/* since it learned, but outliers */
	double		strange;		/* of these */
} PqCounts;

#define PqMetaIsFlat(meta) ((meta)->flat != 0)

#define PqPageGetMeta(page) ((PqMetaPageData *) PageGetContents(page))

/* Spaces */

typedef enum PqType
{
	PQ_TYPE_VECTOR,
	PQ_TYPE_HALFVEC,
	PQ_TYPE_SPARSEVEC
} PqType;

typedef enum PqMetric
{
	PQ_METRIC_L2,
	PQ_METRIC_IP,
	PQ_METRIC_COSINE,
	PQ_METRIC_L1
} PqMetric;

typedef struct PqSpace
{
	PqType		type;
	PqMetric	metric;
	const char *type_name;
	const char *metric_name;
} PqSpace;

#define PQ_DISTANCE_PROC 1		/* the operator's own function */
#define PQ_SPACE_PROC 2			/* returns a PqSpace */
#define PQ_NPROCS 3				/* with IX_FILTER_HASH_PROC */
#define PQ_ORDER_STRATEGY 1

/*
 * What was learned from the data, in one flat piece: a header and arrays at
 * offsets.  It is the same in memory, on model pages and in jflow.codebook.
 * List numbers are slots: slot = tile * 16 + column; unused columns have an
 * infinite bias.
 *
 * Each list has an origin near to it, that codes and tables are taken from, so
 * that they are as precise as the list is small: the mean of its group, or the
 * list's own centroid where that is far away (pq_list_origin).
 */
typedef struct PqModel
{
	uint32		magic;
	uint32		version;
	uint32		size;
	int32		type;
	int32		metric;
	int32		dims;			/* of the type */
	int32		space_dims;		/* of the index space */
	int32		padded;			/* subvectors * width, at least space_dims */
	int32		nlists;
	int32		ntiles;
	int32		ngroups;
	int32		subvectors;
	int32		width;			/* dimensions per subvector */
	int32		nquads;			/* 0 if flat */
	int32		centred;		/* 0: the centre is the origin */
	int32		whole;			/* not 0: of whole numbers, and so are the
								 * centre and origins */
	int32		absolute;		/* not 0: refine codes are about the centre,
								 * not about origins */
	float		distortion;		/* relative error of a projection, 0 if none */
	uint32		group_tiles;	/* offsets: float [ngroups/16][space_dims][16] */
	uint32		group_bias;		/* float [ngroups rounded up to 16] */
	uint32		group_means;	/* float [ngroups][space_dims], origins */
	uint32		group_starts;	/* int32 [ngroups + 1], tiles */
	uint32		bias;			/* float [ntiles * 16], 0, or infinite for an
								 * unused column */
	uint32		offsets;		/* float [ntiles * 16], how far the centroid
								 * is from the list's origin, 0 if it is that
								 * itself */
	uint32		codebooks;		/* float [subvectors][width][16] */
	uint32		centre;			/* float [space_dims], origin of the index
								 * space */
	uint32		spread;			/* float [space_dims], unit of refine codes */
	uint32		scales;			/* float [ntiles * 16], unit of a list's codes */
	uint32		term_mins;		/* float [ntiles * 16] */
	uint32		term_steps;		/* float [ntiles * 16] */
} PqModel;

/*
 * A flat model has no codes: every entry is a candidate, at the distance of its
 * point.
 */
#define PqModelIsFlat(model) ((model)->nquads == 0)

#define PqModelArray(model, name, type) ((type *) ((char *) (model) + (model)->name))
#define PqModelSlots(model) ((model)->ntiles * PQ_TILE)
#define PqListIsOwn(model, list) (PqModelArray(model, offsets, float)[list] == 0)
/* What pq_embed() takes off from rows, and from queries but for inner products. */
#define PqModelCentre(model) ((model)->centred ? PqModelArray(model, centre, float) : NULL)
#define PqQueryCentre(model) ((model)->metric == PQ_METRIC_IP ? NULL : PqModelCentre(model))
#define PqRoundTile(n) (((n) + PQ_TILE - 1) / PQ_TILE * PQ_TILE)
#define PqModelGroupTiles(model) (PqRoundTile((model)->ngroups) / PQ_TILE)

/* A model and its centroids in memory, as training and building need them. */
typedef struct PqTrained
{
	PqModel    *model;
	float	   *tiles;			/* [ntiles][space_dims][16] */
	float	   *centroids;		/* [nslots][space_dims] */
} PqTrained;

/*
 * What is stored of a vector: this header, then packed codes (nquads * 2
 * bytes), then the refine code, then filter values (8 bytes each).
 *
 * A refine code begins with how far it may be from the vector, a float.  In a
 * flat index the point itself follows; else a PqRefineHeader has more, and a
 * byte per dimension of the index space follows: coordinate = spread * (low + step * byte),
 * from the list's origin on.
 */
typedef struct PqRefineHeader
{
	float		error;
	float		low;
	float		step;
} PqRefineHeader;

typedef struct PqEntry
{
	uint32		nulls;			/* of filter values */
	uint32		list;
	ItemPointerData tid;
	uint8		term;
} PqEntry;

#define PqEntryCodes(entry) ((uint8 *) (entry) + MAXALIGN(sizeof(PqEntry)))
#define PqEntryRefine(entry, layout) (PqEntryCodes(entry) + (layout)->nquads * 2)
#define PqEntryFilters(entry, layout) (PqEntryRefine(entry, layout) + (layout)->refine_size)
#define PqEntrySize(layout) (MAXALIGN(sizeof(PqEntry)) + (layout)->nquads * 2 + (layout)->refine_size + (layout)->filters.nfilters * 8)

/* Kinds of queries unlike rows, as many of each. */
#define PQ_UNLIKE_KINDS 6

/* Queries of the index space that an index is calibrated with. */
typedef struct PqQueries
{
	float	   *points;			/* [n][padded] */
	int			nrows;			/* the first are vectors of rows */
	int			nusual;			/* and those up to here not unlike them */
	int			n;
} PqQueries;

/* An index as a backend keeps it, shared by its scans; see pqcache.c. */
typedef struct PqIndex
{
	dlist_node	node;
	Oid			oid;
	RelFileNodeCompat file;
	int			refcount;
	MemoryContext context;
	PqMetaPageData meta;
	PqLayout	layout;
	PqLayout	flat_layout;	/* of flat lists */
	PqModel    *model;
	BlockNumber nblocks;		/* of the file, as far as known */
	BlockNumber *heads;			/* per list of the directory, as far as known */
	uint32		longest;		/* list */
	Buffer	   *hints;			/* where blocks were last seen, by number */
	uint32		hint_mask;
	bool		look;			/* for whether to learn */
	bool		strange;		/* strange entries make it worth while */
	uint32		asked;			/* pages there were when a worker was asked */
	double		asked_outliers; /* and outliers */
} PqIndex;

/*
 * The directory has an entry for each slot of the model, and one for the list of
 * outliers.
 */
#define PqMetaLists(meta) ((meta)->nslots + 1)
#define PqOutlierList(pq) ((uint32) (pq)->meta.nslots)
#define PqListIsFlat(pq, list) (PqModelIsFlat((pq)->model) || (list) == PqOutlierList(pq))
#define PqListLayout(pq, list) (PqListIsFlat(pq, list) ? &(pq)->flat_layout : &(pq)->layout)
#define PqMostSlots(pq) Max((pq)->layout.nslots, (pq)->flat_layout.nslots)

/* Settings (src/settings.c defines the parameters) */
extern int	jflow_pq_probes;
extern double jflow_pq_recall_goal;
extern int	jflow_pq_refine;
extern int	jflow_pq_iterative_scan;

enum
{
	PQ_ITERATIVE_OFF,
	PQ_ITERATIVE_RELAXED,
	PQ_ITERATIVE_STRICT
};

typedef struct PqOptions
{
	int32		vl_len_;		/* varlena header (do not touch directly!) */
	int			lists;
	int			subvectors;
	int			bits;
	int			codebook;		/* offset of a string */
} PqOptions;

/* pqhandler.c */
extern void pq_am_init(void);

/* pqspace.c */
extern const PqSpace *pq_index_space(Relation index);
extern int	pq_index_dims(Relation index, const PqSpace *space);
extern int	pq_space_dims(const PqSpace *space, int dims);
extern struct varlena *pq_detoast(const PqSpace *space, int dims, Datum value);
extern void pq_normalize(float *point, int space_dims);
extern bool pq_embed(const PqSpace *space, int dims, int space_dims, int padded, const float *centre, Datum value, float *out, float *lost);

/* pql1.c */
extern float pq_l1(const float *a, const float *b, int dims);
extern float pq_l1_code(const float *query, const float *weight, float low, float step, const uint8 *code, int dims);
extern double pq_l1_unit(const PqMetaPageData *meta, int space_dims);
extern double pq_l1_disagreement(void);

/* pqkmeans.c */
extern void pq_kmeans(const float *points, size_t stride, int n, int dims, int k, int iterations, float *centroids, uint64 seed);
extern void pq_nearest(const float *points, size_t stride, const int *which, int n, int dims, const float *tiles, const float *bias, int ntiles, int first, float *best, int32 *index);
extern void pq_make_tiles(const float *centroids, int k, int dims, float *tiles, float *bias);

/* pqmodel.c */
extern void pq_model_geometry(int space_dims, int subvectors, int *width, int *count);
extern PqModel *pq_model_alloc(const PqSpace *space, int dims, int nlists, int ntiles, int ngroups, int subvectors, bool flat);
extern void pq_model_verify(const PqModel *model, Size size);
extern PqTrained *pq_trained_alloc(PqModel *model);
extern void pq_fill_centroids(PqTrained *trained);
extern double pq_list_length(const PqModel *model, uint32 slot);
extern uint32 pq_longest_list(const PqModel *model);

/* pqtrain.c */
extern PqTrained *pq_train(const PqSpace *space, int dims, float *sample, int n, double expected, int lists, int subvectors, Size budget);
extern PqTrained *pq_train_nothing(const PqSpace *space, int dims, int subvectors);

/* pqencode.c */
extern void pq_assign(const PqTrained *trained, const float *points, int n, int32 *lists);
extern void pq_code(const PqModel *model, const float *points, const int32 *lists, const float *const *centroids, int n, uint8 *const *codes, double *terms);
extern float pq_refine_decode(const PqModel *model, bool flat, const char *code, const float *origin, float *point);
extern int	pq_list_group(const PqModel *model, uint32 list);
extern void pq_list_origin(const PqModel *model, uint32 list, const float *centroid, float *origin);
extern void pq_encode(const PqModel *model, const PqLayout *layout, const float *points, const float *lost, const float *const *centroids, int n, PqEntry **entries);

/* pqpage.c */
extern void pq_layout_init(PqLayout *layout, const PqModel *model, bool flat, int nfilters, const int16 *widths);
extern void pq_page_init(Page page, PqPageKind kind, uint32 owner, uint32 generation);
extern void pq_generation_check(Relation index, Buffer buffer, uint32 generation);
extern void pq_posting_init(Page page, const PqLayout *layout, uint32 list);
extern bool pq_page_valid(Page page, PqPageKind kind);
extern void pq_page_check(Relation index, Buffer buffer, PqPageKind kind);
extern void pq_posting_check(Relation index, Buffer buffer, const PqLayout *layout, uint32 list);
extern void pq_posting_put(Page page, const PqLayout *layout, int slot, const PqEntry *entry);
extern void pq_refine_put(Page page, const PqLayout *layout, int slot, int part, const PqEntry *entry);
extern void pq_posting_get(Page page, const PqLayout *layout, int slot, uint8 *codes, uint8 *term);
extern uint32 pq_meta_crc(const PqMetaPageData *meta);
extern void pq_read_directory(Relation index, const PqMetaPageData *meta, uint32 list, PqDirectoryEntry *entry);
extern BlockNumber pq_stream_pages(Size bytes);

#define PqPostingLive(page, layout) ((uint32 *) ((char *) (page) + (layout)->live))
#define PqPostingTids(page, layout) ((ItemPointerData *) ((char *) (page) + (layout)->tids))

/* pqcache.c */
extern PqIndex *pq_index_get(Relation index, MemoryContext owner);
extern PqIndex *pq_index_open(Relation index, const PqMetaPageData *meta);
extern void pq_index_forget(Relation index);
extern void pq_read_meta(Relation index, PqMetaPageData *meta);
extern void pq_block_check(PqIndex *pq, Relation index, BlockNumber block);
extern Buffer pq_read(PqIndex *pq, Relation index, BlockNumber block);
extern void pq_prefetch(const PqIndex *pq, BlockNumber block);
extern void pq_prefetch_pin(const PqIndex *pq, BlockNumber block);
extern BlockNumber pq_list_head(PqIndex *pq, Relation index, uint32 list);
extern void pq_read_centroid(Relation index, PqIndex *pq, uint32 list, float *out);

/* pqsearch.c */
/*
 * A candidate: its estimate and TID as numbers that compare fast, and where its
 * refine code is.
 */
typedef struct PqCandidate
{
	uint64		rank;			/* estimate as a number in the same order
								 * (PqRankOf), then block of the TID */
	uint64		place;			/* refine block, then slot */
	uint32		probe;			/* where it was found */
	uint16		offset;			/* of the TID */
} PqCandidate;

/* By how many standard deviations projected distances may mislead. */
#define PQ_PROJECTION_DEVIATIONS 4

#define PqCandidateBlock(c) ((BlockNumber) (c)->rank)

/* Floats as numbers in the same order, and back; a NaN counts as 0. */
static inline uint32
PqRankOf(float value)
{
	uint32		bits;

	if (value != value)
		value = 0;
	memcpy(&bits, &value, sizeof(bits));
	return bits >> 31 ? ~bits : bits | (uint32) 1 << 31;
}

static inline float
PqEstimateOf(uint32 rank)
{
	uint32		bits = rank >> 31 ? rank & 0x7fffffff : ~rank;
	float		value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

#define PqCandidateRank(estimate, block) ((uint64) PqRankOf(estimate) << 32 | (block))
#define PqCandidateEstimate(c) PqEstimateOf((c)->rank >> 32)

/* A list that is probed. */
typedef struct PqProbe
{
	float		score;			/* squared distance of its centroid, or minus
								 * the inner product */
	uint32		slot;
	struct PqFrame *frame;		/* NULL as long as none is needed */
	double		base;			/* estimate = base + unit * sum */
	double		unit;
	int32		term_factor;	/* as kernels take it, or -1 */
	float		term_step;		/* of terms that are added to sums otherwise */
	float		taken;			/* entries up to this estimate were ranked */
	float		limit;			/* and up to this one are collected now */
} PqProbe;

/* A query as seen from an origin. */
typedef struct PqFrame
{
	uint8	   *table;
	float		table_scale;
	float		table_bias;
	float	   *refine_query;	/* in units of refine codes */
	double		refine_bias;	/* inner product with centre and origin */
	float		slack;			/* what rounding the query may be off by */
} PqFrame;

typedef struct PqSearch
{
	Relation	index;
	PqIndex    *pq;
	Snapshot	snapshot;		/* NULL if no rows are looked for */
	float	   *query;			/* space_dims, padded */
	double		norm;			/* squared */
	bool		cut_off;		/* too large to tell distances by */
	float		lost;			/* when it became a point */
	MemoryContext frame_context;
	PqFrame   **frames;			/* of groups, NULL as long as not needed */
	PqFrame    *own;			/* of a list that is its own origin */
	float	   *origin;			/* room for one */
	float	   *refine_weight;
	double		refine_sum;		/* of refine_query, for inner products */
	double		refine_bias;	/* inner product with the centre */
	float		refine_rounding;	/* of products with codes */
	PqProbe    *probes;			/* in the order they are scanned */
	int			nprobes;
	struct ScoredList *groups;	/* nearest first, NULL until lists are ranked */
	int			next_group;		/* whose lists have no scores yet */
	struct ScoredList *rest;	/* lists that have, and are no probes yet */
	int			nrest;
	double		near_lists;		/* mean score of the nearest few */
	double		taxicab;		/* squared length of what has a taxicab length
								 * of 1, near to the query; 0 if not known */
	float	   *squares;		/* room for squared lengths of what is
								 * refined, under taxicab distances */
	float	   *square_weight;
	PqCandidate *candidates;
	int			ncandidates;
	IxFilters	filters;
	int64		tested;			/* entries that the filters were asked about */
	int64		passed;
	bool		assign;			/* rank by centroids whatever the metric */
} PqSearch;

/* Of how many lists scores are made to find so many that are nearest, at least. */
#define PqListsRanked(nprobes) (6 * (nprobes) + 160)

extern uint32 pq_nearest_list(Relation index, PqIndex *pq, const float *point);
extern PqSearch *pq_search_begin(Relation index, PqIndex *pq);
extern void pq_search_check(const PqSearch *search, Buffer buffer, uint32 list);
extern void pq_search_query(PqSearch *search, const float *query, float lost);
extern int	pq_search_rank(PqSearch *search, int nprobes);
extern float pq_search_strangeness(const PqSearch *search);
extern float *pq_search_groups(PqSearch *search);
extern double pq_projection_deviation(const PqSearch *search, double distance);
extern double pq_search_bound(const PqSearch *search, double result);
extern double pq_comparable(const PqSearch *search, double distance);
extern int32 pq_scan_limit(const PqProbe *probe, float limit);
extern void pq_search_page(PqSearch *search, uint32 list, Page page, double *distances, float *errors);
extern void pq_search_refine(PqSearch *search, const PqFrame *frame, double *distances, float *errors);
extern void pq_probe_prepare(PqSearch *search, PqProbe *probe);
extern double pq_search_least(const PqSearch *search, double distance, float error);

extern void pq_read_code(Relation index, PqIndex *pq, uint32 list, Page page, int slot, char *code);
extern void pq_read_refined(Relation index, PqIndex *pq, uint32 list, Page page, int slot, const float *origin, float *point, float *error);
extern void pq_read_origin(Relation index, PqIndex *pq, uint32 list, float *origin);

/* pqgather.c */
/* Cosines up to which lists and codes are looked at; see there. */
typedef struct PqRule
{
	float		list;
	float		code;
	float		mean;
} PqRule;

/* A candidate at the distance of its refine code. */
typedef struct PqFound
{
	double		distance;
	float		error;
	float		cosine;			/* by which its code is wrong; NaN if it has
								 * none */
	ItemPointerData tid;
} PqFound;

/* Rows near to a query that tell what a taxicab distance is there. */
#define PQ_TAXICAB_ROWS 10

typedef struct PqGather
{
	PqSearch   *search;
	PqRule		rule;
	int			probes;			/* lists to scan whatever the rule, if not 0 */
	int			refine;			/* candidates to rank whatever the rule, if
								 * not 0 */
	int			expected;		/* lists that are probably needed */
	double		bound;			/* nothing farther is wanted */
	int			k;
	double		kth;			/* distance of the k-th nearest, if there are
								 * so many */
	double		wider;			/* the rule's cosine of codes is, here */
	float	   *nearest;		/* the k least distances, a heap, greatest
								 * first */
	int			nnearest;
	float	   *estimates;		/* the least of those, as many as refine says */
	int			nestimates;
	PqFound    *found;
	int			nfound;
	int			maxfound;
	int			maxcandidates;	/* room for those of the search, but a page's */
	int			scanning;		/* number of the list being scanned */
	int			unlimited;		/* first list that is scanned without a limit */
	double		outliers;		/* what may be as near as this was found */
	int			scanned;		/* lists so far */
	int			ntaxicab;
	float		taxicab_distances[PQ_TAXICAB_ROWS]; /* the least, rising */
	float		taxicab_logs[PQ_TAXICAB_ROWS];	/* of what each says */
} PqGather;

extern double pq_list_cosine(const PqSearch *search, uint32 slot, double score, double d);
extern double pq_code_reach(const PqSearch *search, const PqProbe *probe);
extern PqGather *pq_gather_begin(PqSearch *search, int k, const PqRule *rule);
extern void pq_gather_bound(PqGather *g, double bound);
extern void pq_gather_refine(PqGather *g, int refine);
extern void pq_gather_widen(PqGather *g, int k);
extern void pq_gather(PqGather *g);

/* pqflat.c */
extern void pq_flat_encode(const PqModel *model, const float *point, float lost, char *code);
extern void pq_flat_distances(PqSearch *search, uint32 list, Page page, double *distances, float *errors);

/* pqoutlier.c */
typedef struct PqCodeError
{
	float		length;
	float		along;			/* the residual that was coded */
} PqCodeError;

extern PqCodeError pq_code_error(const PqModel *model, uint32 list, const float *point, const float *centroid,
								 const uint8 *codes);
extern int	pq_codes_differ(const PqIndex *pq, Page page, int but, const uint8 *codes);
extern bool pq_is_outlier(Relation index, PqIndex *pq, const PqEntry *entry, const float *point, const float *centroid,
						  bool *strange);
extern PqEntry *pq_outlier_entry(const PqIndex *pq, const PqEntry *entry, const float *point, float lost);

/* pqbuild.c */
extern IndexBuildResult *pq_build(Relation heap, Relation index, IndexInfo *info);
extern void pq_buildempty(Relation index);
extern char *pq_build_phase(int64 phase);

/* pqsample.c */
typedef struct PqSample
{
	float	   *points;			/* [room][padded] */
	struct PqSampled *sampled;
	int			n;
	int			capacity;
	int			room;
	int			stride;
	uint64		key;
	uint64		limit;			/* hashes from here on are not wanted */
} PqSample;

extern PqSample *pq_sample_begin(int capacity, int stride);
extern void pq_sample_add(PqSample *sample, const float *point, int dims);
extern float *pq_sample_finish(PqSample *sample);
extern void pq_sample_free(PqSample *sample);

/* pqwrite.c */
typedef struct PqWriter PqWriter;
extern void pq_write_start(Relation index, ForkNumber fork, const PqTrained *trained, PqMetaPageData *meta, bool live);
extern PqWriter *pq_writer_begin(Relation index, ForkNumber fork, const PqMetaPageData *meta, const PqLayout *layout, bool live);
extern void pq_writer_add(PqWriter *writer, const PqEntry *entry);
extern void pq_writer_end(PqWriter *writer);
extern void pq_write_meta(Relation index, ForkNumber fork, PqMetaPageData *meta);

/* pqcurve.c */
extern bool pq_curves_valid(const PqMetaPageData *meta);
extern void pq_curve_for(const PqCurve *curves, int ncurves, double k, double recall, PqCurvePoint *point);
extern bool pq_curve_unlike(const PqMetaPageData *meta, double k, double goal, float strangeness, PqCurvePoint *point);

/* pqdue.c */
extern uint32 pq_pages_before_check(const PqMetaPageData *meta, const PqLayout *layout, int nlists, double tuples);
extern double pq_most_outliers(const PqMetaPageData *meta);
extern bool pq_page_strange(const PqPostingHeader *header);
extern void pq_count_page(PqCounts *counts, const PqPostingHeader *header, bool outliers);
extern bool pq_learning_due(const PqMetaPageData *meta, const PqCounts *counts);

/* pqlearn.c */
extern void pq_learn_wanted(Relation index, PqIndex *pq);
extern bool pq_learn_if_due(Relation index);
extern void pq_update_meta(Relation index, const PqMetaPageData *meta);
extern void pq_sweep(Relation index, BufferAccessStrategy strategy);
PGDLLEXPORT void jflow_pq_learn_worker(Datum arg);

/* pqappend.c */
extern void pq_insert_point(Relation index, PqIndex *pq, const float *point, float lost, PqEntry *entry);

/* pqinsert.c */
extern bool pq_insert(Relation index, Datum *values, bool *isnull, ItemPointer tid, Relation heap, IndexUniqueCheck check, bool unchanged, IndexInfo *info);

/* pqvacuum.c */
extern IndexBulkDeleteResult *pq_bulkdelete(IndexVacuumInfo *info, IndexBulkDeleteResult *stats, IndexBulkDeleteCallback callback, void *state);
extern IndexBulkDeleteResult *pq_vacuumcleanup(IndexVacuumInfo *info, IndexBulkDeleteResult *stats);

/* pqscan.c */
/* Part of the index from which on all refine codes are read at once. */
#define PQ_LARGE_PART (1.0 / 8)

extern IndexScanDesc pq_beginscan(Relation index, int nkeys, int norderbys);
extern void pq_rescan(IndexScanDesc scan, ScanKey keys, int nkeys, ScanKey orderbys, int norderbys);
extern bool pq_gettuple(IndexScanDesc scan, ScanDirection direction);
extern void pq_endscan(IndexScanDesc scan);

/* pqcost.c */
extern void pq_costestimate(PlannerInfo *root, IndexPath *path, double loop_count, Cost *startup, Cost *total, Selectivity *selectivity, double *correlation, double *pages);

#endif							/* PQ_H */
