/*
 * terms_vector.c
 *		The terms of one text that a model knows, and a sparse vector of them.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/memutils.h"

#include "sparsevec.h"

#include "compat.h"
#include "executors/terms/terms.h"

/*
 * Memory for counts, kept for the next request: a large vocabulary would else
 * cost more to allocate and to clear than a request to compute.
 */
typedef struct KeptCounts
{
	uint32	   *counts;			/* all 0, unless in use */
	uint32		max_terms;
	bool		in_use;			/* also after an error */
} KeptCounts;

static KeptCounts kept;

static void
keep_counts(uint32 nterms)
{
	if (kept.max_terms < nterms)
	{
		if (kept.counts)
			pfree(kept.counts);
		kept.counts = NULL;
		kept.max_terms = 0;
		kept.counts = MemoryContextAllocExtended(TopMemoryContext, sizeof(uint32) * nterms,
												 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
		kept.max_terms = nterms;
	}
	else if (kept.in_use)
		memset(kept.counts, 0, sizeof(uint32) * kept.max_terms);
	kept.in_use = true;
}

/* Ready to count texts, in the current memory context; ends with term_counts_done. */
void
term_counts_init(TermCounts *counts, const TermModel *model)
{
	uint32		most = Min(model->terms.nterms, SPARSEVEC_MAX_NNZ + 1);

	keep_counts(model->terms.nterms);
	counts->model = model;
	counts->counts = kept.counts;
	counts->terms = palloc(sizeof(uint32) * most);
	counts->frequencies = palloc(sizeof(uint32) * most);
	counts->weights = palloc(sizeof(double) * most);
	counts->nterms = 0;
	counts->length = 0;
}

/* All counts are back at 0; after an error they are not, and nobody calls this. */
void
term_counts_done(void)
{
	kept.in_use = false;
}

static void
count_term(void *arg, const char *term, uint32 len, uint32 hash)
{
	TermCounts *counts = arg;
	int64		n = term_table_find(&counts->model->terms, term, len, hash);

	counts->length++;

	/* Of a text that has too many terms, only their number is of interest. */
	if (n >= 0 && counts->counts[n]++ == 0 && counts->nterms++ <= SPARSEVEC_MAX_NNZ)
		counts->terms[counts->nterms - 1] = (uint32) n;
}

static int
number_order(const void *a, const void *b)
{
	uint32		na = *(const uint32 *) a;
	uint32		nb = *(const uint32 *) b;

	return (na > nb) - (na < nb);
}

/*
 * Count the terms of a document's text, which it has.  Raises
 * program_limit_exceeded for more than a sparsevec holds.
 */
void
term_counts_take(TermCounts *counts, TermWords *words, const JflowDoc *doc)
{
	counts->nterms = 0;
	counts->length = 0;
	term_words_cut(words, doc->values[DOC_TEXT]);
	term_words_terms(words, count_term, counts);
	if (counts->nterms > SPARSEVEC_MAX_NNZ)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("document \"%s\" has %u distinct terms, more than the %d that a sparsevec can hold",
						TextDatumGetCString(doc->values[DOC_ID]), counts->nterms, SPARSEVEC_MAX_NNZ),
				 errhint("Limit the vocabulary with the option max_features, or cut the text into chunks.")));
	qsort(counts->terms, counts->nterms, sizeof(uint32), number_order);
	for (uint32 i = 0; i < counts->nterms; i++)
	{
		counts->frequencies[i] = counts->counts[counts->terms[i]];
		counts->counts[counts->terms[i]] = 0;
	}
}

/* The weights as a vector. */
Datum
term_counts_sparse(const TermCounts *counts, int dim)
{
	SparseVector *vector;
	float	   *values;
	int			nnz = 0;
	Size		size;

	/* a sparsevec holds no zeros; a weight can round to one */
	for (uint32 i = 0; i < counts->nterms; i++)
		nnz += (float) counts->weights[i] != 0;
	size = SPARSEVEC_SIZE(nnz);
	vector = palloc0(size);
	SET_VARSIZE(vector, size);
	vector->dim = dim;
	vector->nnz = nnz;
	values = SPARSEVEC_VALUES(vector);
	nnz = 0;
	for (uint32 i = 0; i < counts->nterms; i++)
	{
		if ((float) counts->weights[i] == 0)
			continue;
		vector->indices[nnz] = counts->terms[i];
		values[nnz++] = counts->weights[i];
	}
	return PointerGetDatum(vector);
}
