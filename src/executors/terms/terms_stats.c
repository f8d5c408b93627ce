/*
 * terms_stats.c
 *		Counts of terms over a corpus, and the model made of them.
 *
 * A fit may be spread over requests, each of which stores its counts as one
 * value; merging those gives what counting the whole corpus at once would.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/memutils.h"

#include "compat.h"
#include "executors/terms/terms.h"

#define PART_MAGIC 0x4a465450	/* "JFTP" */
#define MODEL_MAGIC 0x4a46544d	/* "JFTM" */
#define FORMAT_VERSION 2

typedef struct Header
{
	uint32		magic;
	uint32		version;
	int64		ndocs;
	uint32		nterms;
	uint32		fits;			/* of a model */
	uint64		nbytes;			/* of all terms */
	uint64		length;			/* terms of all documents, with repetitions */
} Header;

/* Empty counts, in the current memory context. */
void
term_stats_init(TermStats *stats, const TermOptions *options)
{
	memset(stats, 0, sizeof(*stats));
	stats->options = options;
	term_table_init(&stats->terms, 4096);
	stats->max_terms = stats->terms.max_terms;
	stats->df = palloc0(sizeof(uint32) * stats->max_terms);
	stats->tf = palloc0(sizeof(uint64) * stats->max_terms);
	stats->last_doc = palloc0(sizeof(int64) * stats->max_terms);
}

static void
enlarge(TermStats *stats)
{
	uint32		old = stats->max_terms;

	stats->max_terms = stats->terms.max_terms;
	stats->df = repalloc_huge(stats->df, sizeof(uint32) * stats->max_terms);
	stats->tf = repalloc_huge(stats->tf, sizeof(uint64) * stats->max_terms);
	stats->last_doc = repalloc_huge(stats->last_doc, sizeof(int64) * stats->max_terms);
	memset(stats->df + old, 0, sizeof(uint32) * (stats->max_terms - old));
	memset(stats->tf + old, 0, sizeof(uint64) * (stats->max_terms - old));
	memset(stats->last_doc + old, 0, sizeof(int64) * (stats->max_terms - old));
}

static void
count_term(void *arg, const char *term, uint32 len, uint32 hash)
{
	TermStats  *stats = arg;
	bool		found;
	uint32		n = term_table_add(&stats->terms, term, len, hash, &found);

	if (n >= stats->max_terms)
		enlarge(stats);
	stats->tf[n]++;
	stats->length++;
	if (stats->last_doc[n] != stats->ndocs)
	{
		stats->last_doc[n] = stats->ndocs;
		stats->df[n]++;
	}
}

/* Count one text of the database's encoding; NULL counts as an empty one. */
void
term_stats_add_doc(TermStats *stats, TermWords *words, Datum text)
{
	stats->ndocs++;
	if (DatumGetPointer(text) == NULL)
		return;
	term_words_cut(words, text);
	term_words_terms(words, count_term, stats);
}

/* Count what a model was made of, as far as it knows: the terms that it has. */
void
term_stats_add_model(TermStats *stats, const TermModel *model)
{
	for (uint32 i = 0; i < model->terms.nterms; i++)
	{
		bool		found;
		uint32		n = term_table_add(&stats->terms, term_bytes(&model->terms, i),
									   term_length(&model->terms, i), model->terms.hashes[i], &found);

		if (n >= stats->max_terms)
			enlarge(stats);
		stats->df[n] += model->df[i];
	}
	stats->ndocs += model->ndocs;
	stats->length += model->length;
}

static bytea *
begin_value(Header header, const TermTable *terms, Size per_term, char **data)
{
	uint64		nbytes = terms->offsets[terms->nterms];
	Size		size = VARHDRSZ + sizeof(Header) + terms->nterms * (sizeof(uint32) + per_term) + nbytes;
	bytea	   *value;

	header.version = FORMAT_VERSION;
	header.nterms = terms->nterms;
	header.nbytes = nbytes;
	if (size > MaxAllocSize)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the vocabulary is too large"),
				 errdetail("%u terms have " UINT64_FORMAT " bytes.", terms->nterms, nbytes),
				 errhint("Use smaller requests, a smaller ngram_range, or the options max_features and min_df.")));
	value = palloc(size);
	SET_VARSIZE(value, size);
	*data = VARDATA(value);
	memcpy(*data, &header, sizeof(header));
	*data += sizeof(header);
	return value;
}

static void
put(char **data, const void *from, Size size)
{
	memcpy(*data, from, size);
	*data += size;
}

static void
put_terms(char **data, const TermTable *terms)
{
	for (uint32 i = 0; i < terms->nterms; i++)
	{
		uint32		len = term_length(terms, i);

		put(data, &len, sizeof(len));
	}
	put(data, terms->bytes, terms->offsets[terms->nterms]);
}

/* Counts as one value. */
bytea *
term_stats_serialize(const TermStats *stats)
{
	char	   *data;
	Header		header = {.magic = PART_MAGIC,.ndocs = stats->ndocs,.length = stats->length};
	bytea	   *value = begin_value(header, &stats->terms, sizeof(uint32) + sizeof(uint64), &data);

	put(&data, stats->df, sizeof(uint32) * stats->terms.nterms);
	put(&data, stats->tf, sizeof(uint64) * stats->terms.nterms);
	put_terms(&data, &stats->terms);
	return value;
}

/* Reading a stored value, which may have been damaged. */
typedef struct Reader
{
	const char *data;
	const char *end;
	Header		header;
} Reader;

static void JFLOW_NORETURN
damaged(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("stored terms are damaged"),
			 errhint("Fit the executor again; if that needs what is stored, remove the executor and add it anew.")));
}

static const void *
get(Reader *reader, Size size)
{
	const char *data = reader->data;

	if (size > reader->end - reader->data)
		damaged();
	reader->data += size;
	return data;
}

static void
begin_reading(Reader *reader, bytea *value, uint32 magic)
{
	reader->data = VARDATA_ANY(value);
	reader->end = reader->data + VARSIZE_ANY_EXHDR(value);
	memcpy(&reader->header, get(reader, sizeof(Header)), sizeof(Header));
	if (reader->header.magic != magic)
		damaged();
	if (reader->header.version != FORMAT_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("stored terms have format version %u, but only version %u is known",
						reader->header.version, FORMAT_VERSION),
				 errhint("Fit the executor again; if that needs what is stored, remove the executor and add it anew.")));
}

/* Add the counts of a part. */
void
term_stats_merge(TermStats *stats, bytea *part)
{
	Reader		reader;
	uint32		nterms;
	const char *df,
			   *tf,
			   *lens;

	begin_reading(&reader, part, PART_MAGIC);
	nterms = reader.header.nterms;
	df = get(&reader, sizeof(uint32) * (Size) nterms);
	tf = get(&reader, sizeof(uint64) * (Size) nterms);
	lens = get(&reader, sizeof(uint32) * (Size) nterms);
	for (uint32 i = 0; i < nterms; i++)
	{
		uint32		len,
					count,
					n;
		uint64		times;
		const char *term;
		bool		found;

		memcpy(&len, lens + sizeof(uint32) * i, sizeof(len));
		memcpy(&count, df + sizeof(uint32) * i, sizeof(count));
		memcpy(&times, tf + sizeof(uint64) * i, sizeof(times));
		term = get(&reader, len);
		n = term_table_add(&stats->terms, term, len, term_hash(term, len), &found);
		if (n >= stats->max_terms)
			enlarge(stats);
		stats->df[n] += count;
		stats->tf[n] += times;
	}
	stats->ndocs += reader.header.ndocs;
	stats->length += reader.header.length;
	CHECK_FOR_INTERRUPTS();
}

/* Order of term numbers: by code point, which in UTF-8 is by bytes. */
static int
term_order(const void *a, const void *b, void *arg)
{
	const TermTable *table = arg;
	uint32		ta = *(const uint32 *) a;
	uint32		tb = *(const uint32 *) b;
	uint32		alen = term_length(table, ta);
	uint32		blen = term_length(table, tb);
	int			order = memcmp(term_bytes(table, ta), term_bytes(table, tb), Min(alen, blen));

	return order != 0 ? order : (alen > blen) - (alen < blen);
}

/* Order of term numbers: most frequent first; of equal ones by code point. */
static int
frequency_order(const void *a, const void *b, void *arg)
{
	const TermStats *stats = arg;
	uint32		ta = *(const uint32 *) a;
	uint32		tb = *(const uint32 *) b;
	uint64		fa = stats->options->binary ? stats->df[ta] : stats->tf[ta];
	uint64		fb = stats->options->binary ? stats->df[tb] : stats->tf[tb];

	if (fa != fb)
		return fa > fb ? -1 : 1;
	return term_order(a, b, (void *) &stats->terms);
}

static double
doc_count(const TermFrequency *frequency, int64 ndocs)
{
	return frequency->is_count ? frequency->value : frequency->value * ndocs;
}

/* The terms that max_df, min_df and max_features leave, sorted. */
static uint32
choose_terms(const TermStats *stats, uint32 **chosen)
{
	const TermOptions *options = stats->options;
	double		max = doc_count(&options->max_df, stats->ndocs);
	double		min = doc_count(&options->min_df, stats->ndocs);
	uint32		n = 0;

	if (stats->ndocs == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there are no documents to fit")));
	if (max < min)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_df corresponds to fewer documents than min_df"),
				 errdetail("They are %g and %g of " INT64_FORMAT " documents.", max, min, stats->ndocs)));
	*chosen = palloc_extended(sizeof(uint32) * Max(stats->terms.nterms, 1), MCXT_ALLOC_HUGE);
	for (uint32 i = 0; i < stats->terms.nterms; i++)
		if (stats->df[i] <= max && stats->df[i] >= min)
			(*chosen)[n++] = i;
	if (options->max_features > 0 && n > options->max_features)
	{
		qsort_arg(*chosen, n, sizeof(uint32), frequency_order, (void *) stats);
		n = options->max_features;
	}
	qsort_arg(*chosen, n, sizeof(uint32), term_order, (void *) &stats->terms);
	return n;
}

static double
idf_of(const TermOptions *options, int64 ndocs, double df)
{
	double		smooth = options->smooth_idf ? 1 : 0;

	/* that of Robertson and Sparck Jones, kept above zero */
	if (options->weighting == TERM_BM25)
		return log(1 + (Max(ndocs - df, 0) + 0.5) / (df + 0.5));

	/* A term of a given vocabulary that no document has, unsmoothed. */
	if (df + smooth == 0)
		return get_float8_infinity();
	return log((ndocs + smooth) / (df + smooth)) + 1;
}

static void
set_idf(TermModel *model, const TermOptions *options)
{
	model->idf = palloc_extended(sizeof(double) * Max(model->terms.nterms, 1), MCXT_ALLOC_HUGE);
	for (uint32 i = 0; i < model->terms.nterms; i++)
		model->idf[i] = idf_of(options, model->ndocs, model->df[i]);
}

/* Add a term, if the model has not got it. */
static void
add_term(TermModel *model, const TermTable *from, uint32 n)
{
	bool		found;

	(void) term_table_add(&model->terms, term_bytes(from, n), term_length(from, n),
						  from->hashes[n], &found);
}

/* The terms that counts leave: those that the model before had come first. */
static void
take_terms(TermModel *model, const TermStats *stats, const TermModel *previous)
{
	uint32	   *chosen;
	uint32		n = choose_terms(stats, &chosen);
	int			most = stats->options->max_features;

	term_table_init(&model->terms, Max(n, previous ? previous->terms.nterms : 0));
	for (uint32 i = 0; previous && i < previous->terms.nterms; i++)
		add_term(model, &previous->terms, i);
	for (uint32 i = 0; i < n && (most == 0 || model->terms.nterms < most); i++)
		add_term(model, &stats->terms, chosen[i]);
	pfree(chosen);
	if (model->terms.nterms == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no terms are left to fit"),
				 errdetail("There are " INT64_FORMAT " documents with %u distinct terms.",
						   stats->ndocs, stats->terms.nterms),
				 errhint("The documents may have no words but stop words; or try another min_df or max_df.")));
}

/*
 * The model that follows from counts, in the current memory context, with the
 * numbers that terms had in the one before, unless that is NULL.  Raises
 * invalid_parameter_value if no term is left.
 */
TermModel *
term_model_make(const TermStats *stats, const TermModel *previous)
{
	TermModel  *model = palloc0(sizeof(TermModel));

	if (stats->options->has_vocabulary)
		model->terms = stats->options->vocabulary;
	else
		take_terms(model, stats, previous);
	model->ndocs = stats->ndocs;
	model->length = stats->length;
	model->fits = previous ? previous->fits + 1 : 1;
	model->df = palloc_extended(sizeof(uint32) * model->terms.nterms, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (uint32 i = 0; i < model->terms.nterms; i++)
	{
		int64		n = term_table_find(&stats->terms, term_bytes(&model->terms, i),
										term_length(&model->terms, i), model->terms.hashes[i]);

		if (n >= 0)
			model->df[i] = stats->df[n];
	}
	set_idf(model, stats->options);
	return model;
}

/* A model as one value. */
bytea *
term_model_serialize(const TermModel *model)
{
	char	   *data;
	Header		header = {
		.magic = MODEL_MAGIC,.ndocs = model->ndocs,.fits = model->fits,.length = model->length
	};
	bytea	   *value = begin_value(header, &model->terms, sizeof(uint32), &data);

	put(&data, model->df, sizeof(uint32) * model->terms.nterms);
	put_terms(&data, &model->terms);
	return value;
}

/* A model from its value, in the current memory context. */
TermModel *
term_model_deserialize(bytea *value, const TermOptions *options)
{
	TermModel  *model = palloc0(sizeof(TermModel));
	Reader		reader;
	uint32		nterms;
	const void *df;
	const char *lens;

	begin_reading(&reader, value, MODEL_MAGIC);
	nterms = reader.header.nterms;
	model->ndocs = reader.header.ndocs;
	model->length = reader.header.length;
	model->fits = reader.header.fits;
	df = get(&reader, sizeof(uint32) * (Size) nterms);
	model->df = palloc_extended(sizeof(uint32) * Max((Size) nterms, 1), MCXT_ALLOC_HUGE);
	memcpy(model->df, df, sizeof(uint32) * (Size) nterms);
	lens = get(&reader, sizeof(uint32) * (Size) nterms);
	term_table_init(&model->terms, nterms);
	for (uint32 i = 0; i < nterms; i++)
	{
		uint32		len;
		const char *term;
		bool		found;

		memcpy(&len, lens + sizeof(uint32) * i, sizeof(len));
		term = get(&reader, len);
		(void) term_table_add(&model->terms, term, len, term_hash(term, len), &found);
		if (found)
			damaged();
	}
	if (model->ndocs < 0)
		damaged();
	set_idf(model, options);
	return model;
}
