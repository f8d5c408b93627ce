/*
 * tfidf.h
 *		The TF-IDF vectorizer: options, words, statistics, models.
 *
 * Files: tfidf_options.c reads uses_with; tfidf_words.c cuts a text into terms;
 * tfidf_stats.c counts terms over a corpus and makes a model of the counts;
 * tfidf_model.c keeps models in the catalog and in memory; tfidf.c has the SQL
 * functions and computes the vectors.
 */
#ifndef JFLOW_TFIDF_H
#define JFLOW_TFIDF_H

#include "doc/doc.h"
#include "flow/context.h"

#define TFIDF_CLASS "TfidfVectorizer"

/* tfidf.c */
extern PGDLLIMPORT const JflowClass tfidf_class;

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

typedef enum TfidfNorm
{
	TFIDF_NORM_NONE,
	TFIDF_NORM_L1,
	TFIDF_NORM_L2
} TfidfNorm;

/* A document frequency: a count, or a proportion of the documents. */
typedef struct TfidfFrequency
{
	bool		is_count;
	double		value;
} TfidfFrequency;

typedef struct TfidfOptions
{
	bool		lowercase;
	bool		has_stop_words;
	TermTable	stop_words;
	int			ngram_min;
	int			ngram_max;
	TfidfFrequency max_df;
	TfidfFrequency min_df;
	int			max_features;	/* 0: all */
	bool		has_vocabulary;
	TermTable	vocabulary;		/* in the order of its indexes */
	bool		binary;
	TfidfNorm	norm;
	bool		use_idf;
	bool		smooth_idf;
	bool		sublinear_tf;
	bool		dense;
	bool		fit_request;	/* a vocabulary per request */
} TfidfOptions;

extern TfidfOptions *tfidf_options_read(Jsonb *uses_with);

/* Scratch memory for cutting texts, used again for each text. */
typedef struct TfidfWords
{
	const TfidfOptions *options;
	char	   *bytes;			/* words of a text, a space between two */
	uint64		max_bytes;
	uint64	   *starts;			/* where each word begins and ends */
	uint64	   *ends;
	uint64		nwords;
	uint64		max_words;
} TfidfWords;

typedef void (*TfidfTermFunction) (void *arg, const char *term, uint32 len, uint32 hash);

extern void tfidf_words_init(TfidfWords *words, const TfidfOptions *options);
extern void tfidf_words_cut(TfidfWords *words, const char *text, uint64 len);
extern void tfidf_words_terms(const TfidfWords *words, TfidfTermFunction function, void *arg);

/* Counts over a corpus. */
typedef struct TfidfStats
{
	TermTable	terms;
	uint32	   *df;				/* documents that have the term */
	uint64	   *tf;				/* times it occurs */
	int64	   *last_doc;
	uint32		max_terms;
	int64		ndocs;
	const TfidfOptions *options;
} TfidfStats;

/* A fitted vocabulary. */
typedef struct TfidfModel
{
	TermTable	terms;			/* sorted by code point, or as given */
	double	   *idf;
	int64		ndocs;
} TfidfModel;

extern void tfidf_stats_init(TfidfStats *stats, const TfidfOptions *options);
extern void tfidf_stats_add_doc(TfidfStats *stats, TfidfWords *words, Datum text);
extern bytea *tfidf_stats_serialize(const TfidfStats *stats);
extern void tfidf_stats_merge(TfidfStats *stats, bytea *part);
extern TfidfModel *tfidf_model_make(const TfidfStats *stats);
extern bytea *tfidf_model_serialize(const TfidfModel *model);
extern TfidfModel *tfidf_model_deserialize(bytea *bytes);

extern const TfidfModel *tfidf_model_get(const JflowContext *context, const TfidfOptions *options);
extern void tfidf_model_store(const JflowFlow *flow, const char *executor, Jsonb *options,
							  const TfidfModel *model);
extern void tfidf_part_store(const JflowContext *context, const TfidfStats *stats);
extern void tfidf_parts_merge(const JflowContext *context, TfidfStats *stats);

#endif							/* JFLOW_TFIDF_H */
