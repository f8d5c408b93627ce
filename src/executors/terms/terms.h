/*
 * terms.h
 *		Texts as vectors of terms: what TfidfVectorizer and BM25Vectorizer share.
 *
 * Files: terms_options.c reads uses_with; terms_words.c cuts a text into terms;
 * terms_stats.c counts terms over a corpus and makes a model of the counts;
 * terms_model.c keeps models in the catalog and in memory; terms_shared.c shares
 * them among processes; terms_vector.c counts
 * the terms of one text; terms_fit.c has what fits a model and shows it; tfidf.c
 * and bm25.c weigh terms, and are the classes.
 */
#ifndef JFLOW_TERMS_H
#define JFLOW_TERMS_H

#include "common/bytes.h"
#include "doc/doc.h"
#include "flow/context.h"

#define TFIDF_CLASS "TfidfVectorizer"
#define BM25_CLASS "BM25Vectorizer"

/* tfidf.c, bm25.c */
extern PGDLLIMPORT const JflowClass tfidf_class;
extern PGDLLIMPORT const JflowClass bm25_class;

/* terms_words.c */

/* A table of distinct byte strings, numbered in the order they came. */
typedef struct TermTable
{
	char	   *bytes;			/* all terms, one after the other */
	uint64	   *offsets;		/* nterms + 1 of them */
	uint32	   *hashes;
	uint32		nterms;
	uint32		max_terms;
	uint64		max_bytes;
	uint32	   *buckets;		/* term number + 1; 0: empty */
	uint32		mask;
} TermTable;

extern void term_table_init(TermTable *table, uint32 capacity);
extern int64 term_table_find(const TermTable *table, const char *term, uint32 len, uint32 hash);
extern uint32 term_table_add(TermTable *table, const char *term, uint32 len, uint32 hash,
							 bool *found);
extern uint32 term_hash(const char *term, uint32 len);

static inline const char *
term_bytes(const TermTable *table, uint32 term)
{
	return table->bytes + table->offsets[term];
}

static inline uint32
term_length(const TermTable *table, uint32 term)
{
	return (uint32) (table->offsets[term + 1] - table->offsets[term]);
}

typedef enum TermNorm
{
	TERM_NORM_NONE,
	TERM_NORM_L1,
	TERM_NORM_L2
} TermNorm;

/* A document frequency: a count, or a proportion of the documents. */
typedef struct TermFrequency
{
	bool		is_count;
	double		value;
} TermFrequency;

/* What becomes of counts. */
typedef enum TermWeighting
{
	TERM_TFIDF,
	TERM_BM25					/* terms keep their numbers when a model is
								 * fitted again */
} TermWeighting;

typedef struct TermOptions
{
	TermWeighting weighting;
	Oid			text_search;	/* a configuration that cuts texts, or
								 * InvalidOid */
	bool		lowercase;
	bool		has_stop_words;
	TermTable	stop_words;
	int			ngram_min;
	int			ngram_max;
	TermFrequency max_df;
	TermFrequency min_df;
	int			max_features;	/* 0: all */
	bool		has_vocabulary;
	TermTable	vocabulary;		/* in the order of its indexes */

	/* TfidfVectorizer */
	bool		binary;
	TermNorm	norm;
	bool		use_idf;
	bool		smooth_idf;
	bool		sublinear_tf;
	bool		dense;
	bool		fit_request;	/* a vocabulary per request */

	/* BM25Vectorizer */
	double		k1;
	double		b;
	int			dim;			/* of its vectors */
} TermOptions;

/* terms_options.c */
extern TermOptions *term_options_read(Jsonb *uses_with, TermWeighting weighting);
extern TermOptions *term_options_of(const JflowExecutor *executor);
extern bool term_is_vectorizer(const JflowExecutor *executor);
extern void term_qualify_text_search(JflowExecutor *executor);
extern char *term_text_search(const JflowExecutor *executor);

/* terms_words.c */

/* Scratch memory for cutting texts, used again for each text. */
typedef struct TermWords
{
	const TermOptions *options;
	char	   *bytes;			/* words of a text, a space between two */
	uint64		max_bytes;
	uint64	   *starts;			/* where each word begins and ends */
	uint64	   *ends;
	uint64		nwords;
	uint64		max_words;
	MemoryContext scratch;		/* of a text search configuration's work */
} TermWords;

typedef void (*TermFunction) (void *arg, const char *term, uint32 len, uint32 hash);

extern void term_words_init(TermWords *words, const TermOptions *options);
extern void term_words_cut(TermWords *words, Datum text);
extern void term_words_terms(const TermWords *words, TermFunction function, void *arg);

/* terms_stats.c */

/* Counts over a corpus. */
typedef struct TermStats
{
	TermTable	terms;
	uint32	   *df;				/* documents that have the term */
	uint64	   *tf;				/* times it occurs */
	int64	   *last_doc;
	uint32		max_terms;
	int64		ndocs;
	uint64		length;			/* terms of all documents, with repetitions */
	const TermOptions *options;
} TermStats;

/*
 * A fitted vocabulary.  Terms are numbered by code point, or as given; where they
 * keep their numbers, those that a later fit has found come after the others.
 */
typedef struct TermModel
{
	TermTable	terms;
	uint32	   *df;				/* documents that have the term */
	double	   *idf;
	int64		ndocs;
	uint64		length;			/* terms of all documents, with repetitions */
	uint32		fits;			/* how often it was fitted */
} TermModel;

extern void term_stats_init(TermStats *stats, const TermOptions *options);
extern void term_stats_add_doc(TermStats *stats, TermWords *words, Datum text);
extern void term_stats_add_model(TermStats *stats, const TermModel *model);
extern bytea *term_stats_serialize(const TermStats *stats);
extern void term_stats_merge(TermStats *stats, bytea *part);
extern TermModel *term_model_make(const TermStats *stats, const TermModel *previous);
extern bytea *term_model_serialize(const TermModel *model);
extern TermModel *term_model_deserialize(bytea *bytes, const TermOptions *options);

/* terms_model.c */
extern const TermModel *term_model_get(const JflowContext *context, const TermOptions *options);
extern const TermModel *term_model_find(const JflowFlow *flow, const JflowExecutor *executor,
										const TermOptions *options, TimestampTz *fitted);
extern void term_model_store(const JflowFlow *flow, const JflowExecutor *executor,
							 TermStats *stats, bool incremental, int64 *ndocs, uint32 *nterms);
extern void term_part_store(const JflowContext *context, const TermStats *stats);
extern void term_parts_merge(const JflowContext *context, TermStats *stats);

/* terms_shared.c */
typedef TermModel *(*TermModelReader) (void *arg);
extern TermModel *term_model_share(const JflowBytesKey *key, TermModelReader read, void *arg,
								   dsm_segment **segment);
extern uint32 term_model_variant(const TermOptions *options);

/*
 * The terms of one text that a model knows, in order of their numbers, and the
 * weights that are given to them.
 */
typedef struct TermCounts
{
	const TermModel *model;
	uint32	   *counts;			/* per term of the model; 0 between texts */
	uint32	   *terms;
	uint32	   *frequencies;	/* how often each of them occurs */
	double	   *weights;
	uint32		nterms;
	uint64		length;			/* of the text in terms, known or not */
} TermCounts;

/* terms_vector.c */
extern void term_counts_init(TermCounts *counts, const TermModel *model);
extern void term_counts_done(void);
extern void term_counts_take(TermCounts *counts, TermWords *words, const JflowDoc *doc);
extern Datum term_counts_sparse(const TermCounts *counts, int dim);

/* terms_fit.c */
extern void term_count_docs(TermStats *stats, TermWords *words, const JflowDocs *docs);
extern bool term_incremental(Jsonb *parameters);

#endif							/* JFLOW_TERMS_H */
