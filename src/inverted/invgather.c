/*
 * invgather.c
 *		Gathering documents: sorted in memory into a run, and when that is full,
 *		into files.
 *
 * A run is what a segment is made of: documents by TID and postings by term and
 * document.  Postings are sorted by counting, from the least digit of the key to
 * the greatest, which needs a second array of the same size and no comparisons.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/memutils.h"

#include "inverted/inverted.h"

typedef struct Posting
{
	uint32		key;			/* term less the least there can be */
	uint32		doc;
	float		weight;
} Posting;

#define TermKey(term) ((uint32) ((term) - INV_TERM_NULL))
#define KeyTerm(key) ((int32) (key) + INV_TERM_NULL)

#define RADIX_BITS 11
#define RADIX (1 << RADIX_BITS)

/* A document of a run, followed by its filter values. */
typedef struct RunDoc
{
	uint64		tid;			/* as a number */
	uint32		nulls;
	uint32		pad;
} RunDoc;

struct InvGather
{
	int			nfilters;
	Size		memory;
	MemoryContext context;
	InvMakeFile make_file;
	void	   *arg;
	Size		stride;			/* of a document */
	char	   *docs;
	uint32		ndocs;
	uint32		maxdocs;
	Posting    *postings;
	Size		npostings;
	Size		maxpostings;
	bool		by_tid;			/* so far */
	bool		sorted;
	uint32		max_terms;
	uint32		max_key;
	uint32	   *order;			/* of the documents, if not as they came */
	BufFile   **files;
	int			nfiles;
};

typedef struct RunHeader
{
	uint32		ndocs;
	uint32		max_terms;
	uint64		npostings;
} RunHeader;

#define RunDocAt(gather, i) ((RunDoc *) ((gather)->docs + (gather)->stride * (i)))

static uint64
tid_number(const ItemPointerData *tid)
{
	return (uint64) ItemPointerGetBlockNumberNoCheck(tid) << 16 | ItemPointerGetOffsetNumberNoCheck(tid);
}

static void
set_row(InvDocument *row, const RunDoc *doc, int nfilters)
{
	ItemPointerSet(&row->tid, (BlockNumber) (doc->tid >> 16), (OffsetNumber) doc->tid);
	row->nulls = doc->nulls;
	memcpy(row->filters, doc + 1, sizeof(int64) * nfilters);
}

/*
 * A file for a run of this process alone, which goes with its resource owner.
 */
BufFile *
inv_temporary_file(void *arg, int run)
{
	return BufFileCreateTemp(false);
}

/*
 * Start gathering within about so many bytes; what does not fit goes to files
 * that make_file opens (with their number).  All is allocated in the current
 * context.
 */
InvGather *
inv_gather_begin(const InvLayout *layout, Size memory, InvMakeFile make_file, void *arg)
{
	InvGather  *gather = palloc0(sizeof(InvGather));

	gather->nfilters = layout->filters.nfilters;
	gather->memory = memory;
	gather->context = CurrentMemoryContext;
	gather->make_file = make_file;
	gather->arg = arg;
	gather->stride = sizeof(RunDoc) + sizeof(int64) * gather->nfilters;
	gather->by_tid = true;
	return gather;
}

/* What a run of so many documents and postings needs, its sorting included. */
static Size
run_memory(const InvGather *gather, Size ndocs, Size npostings)
{
	return ndocs * (gather->stride + 2 * sizeof(uint64)) + npostings * 2 * sizeof(Posting);
}

static void
reserve(InvGather *gather, int nterms)
{
	MemoryContext old = MemoryContextSwitchTo(gather->context);

	if (gather->ndocs == gather->maxdocs)
	{
		gather->maxdocs = Max(256, gather->maxdocs + gather->maxdocs / 2);
		gather->docs = gather->docs ? repalloc_huge(gather->docs, gather->stride * gather->maxdocs) :
			palloc(gather->stride * gather->maxdocs);
	}
	if (gather->npostings + nterms > gather->maxpostings)
	{
		Size		most = gather->memory / (2 * sizeof(Posting));

		gather->maxpostings = Min(gather->maxpostings + gather->maxpostings / 2, most);
		gather->maxpostings = Max(gather->maxpostings, gather->npostings + nterms);
		gather->maxpostings = Max(gather->maxpostings, 4096);
		gather->postings = gather->postings ?
			repalloc_huge(gather->postings, sizeof(Posting) * gather->maxpostings) :
			palloc(sizeof(Posting) * gather->maxpostings);
	}
	MemoryContextSwitchTo(old);
}

static inline uint32
digit(const Posting *posting, bool by_doc, int shift)
{
	return ((by_doc ? posting->doc : posting->key) >> shift) & (RADIX - 1);
}

/* Sort by documents or by keys, keeping what was the order before. */
static void
radix_sort(Posting **postings, Posting **other, Size n, bool by_doc, uint32 greatest)
{
	for (int shift = 0; shift < 32 && greatest >> shift > 0; shift += RADIX_BITS)
	{
		Size		starts[RADIX] = {0};
		Size		start = 0;
		Posting    *from = *postings;
		Posting    *to = *other;

		CHECK_FOR_INTERRUPTS();
		for (Size i = 0; i < n; i++)
			starts[digit(&from[i], by_doc, shift)]++;
		for (int d = 0; d < RADIX; d++)
		{
			Size		count = starts[d];

			starts[d] = start;
			start += count;
		}
		for (Size i = 0; i < n; i++)
			to[starts[digit(&from[i], by_doc, shift)]++] = from[i];
		*postings = to;
		*other = from;
	}
}

typedef struct TidOrder
{
	uint64		tid;
	uint32		number;
} TidOrder;

static int
compare_tids(const void *a, const void *b)
{
	const TidOrder *x = a;
	const TidOrder *y = b;

	if (x->tid != y->tid)
		return x->tid < y->tid ? -1 : 1;
	return x->number < y->number ? -1 : x->number > y->number;
}

/* Number documents by their TIDs. */
static void
order_docs(InvGather *gather)
{
	TidOrder   *order = palloc_extended(sizeof(TidOrder) * gather->ndocs, MCXT_ALLOC_HUGE);
	uint32	   *ranks;

	for (uint32 i = 0; i < gather->ndocs; i++)
	{
		order[i].tid = RunDocAt(gather, i)->tid;
		order[i].number = i;
	}
	qsort(order, gather->ndocs, sizeof(TidOrder), compare_tids);
	gather->order = palloc_extended(sizeof(uint32) * gather->ndocs, MCXT_ALLOC_HUGE);
	ranks = palloc_extended(sizeof(uint32) * gather->ndocs, MCXT_ALLOC_HUGE);
	for (uint32 i = 0; i < gather->ndocs; i++)
	{
		gather->order[i] = order[i].number;
		ranks[order[i].number] = i;
	}
	pfree(order);
	for (Size i = 0; i < gather->npostings; i++)
		gather->postings[i].doc = ranks[gather->postings[i].doc];
	pfree(ranks);
}

/* Make the run of what was gathered. */
static void
sort_run(InvGather *gather)
{
	MemoryContext old = MemoryContextSwitchTo(gather->context);
	Posting    *other;

	if (gather->sorted)
		return;
	other = palloc_extended(sizeof(Posting) * Max(gather->npostings, 1), MCXT_ALLOC_HUGE);
	if (!gather->by_tid)
	{
		order_docs(gather);
		radix_sort(&gather->postings, &other, gather->npostings, true, gather->ndocs);
	}
	radix_sort(&gather->postings, &other, gather->npostings, false, gather->max_key);
	gather->maxpostings = gather->npostings;	/* of whichever array it is */
	pfree(other);
	gather->sorted = true;
	MemoryContextSwitchTo(old);
}

/* The term that begins at a place of the sorted postings. */
static void
describe_term(const InvGather *gather, Size at, InvTerm *term)
{
	const Posting *first = &gather->postings[at];

	memset(term, 0, sizeof(*term));
	term->term = KeyTerm(first->key);
	term->least = term->greatest = first->weight;
	for (Size i = at; i < gather->npostings && gather->postings[i].key == first->key; i++)
	{
		term->least = Min(term->least, gather->postings[i].weight);
		term->greatest = Max(term->greatest, gather->postings[i].weight);
		term->count++;
	}
}

static const RunDoc *
run_doc(const InvGather *gather, uint32 i)
{
	return RunDocAt(gather, gather->order ? gather->order[i] : i);
}

/* Write what is in memory to a file, and start over. */
static void
spill(InvGather *gather)
{
	MemoryContext old = MemoryContextSwitchTo(gather->context);
	RunHeader	header = {0};
	BufFile    *file;

	sort_run(gather);
	file = gather->make_file(gather->arg, gather->nfiles);
	gather->files = gather->files ? repalloc(gather->files, sizeof(BufFile *) * (gather->nfiles + 1)) :
		palloc(sizeof(BufFile *));
	gather->files[gather->nfiles++] = file;
	header.ndocs = gather->ndocs;
	header.max_terms = gather->max_terms;
	header.npostings = gather->npostings;
	BufFileWrite(file, &header, sizeof(header));
	for (uint32 i = 0; i < gather->ndocs; i++)
		BufFileWrite(file, unconstify(RunDoc *, run_doc(gather, i)), gather->stride);
	for (Size i = 0; i < gather->npostings;)
	{
		InvTerm		term;

		CHECK_FOR_INTERRUPTS();
		describe_term(gather, i, &term);
		BufFileWrite(file, &term, sizeof(term));
		for (uint32 n = term.count; n > 0; n--, i++)
			BufFileWrite(file, &gather->postings[i].doc, sizeof(uint32) + sizeof(float));
	}
	if (gather->order)
		pfree(gather->order);
	gather->order = NULL;
	gather->ndocs = 0;
	gather->npostings = 0;
	gather->max_terms = gather->max_key = 0;
	gather->by_tid = true;
	gather->sorted = false;
	MemoryContextSwitchTo(old);
}

/*
 * Add a document.
 */
void
inv_gather_add(InvGather *gather, const InvDocument *doc)
{
	RunDoc	   *at;

	if (gather->ndocs > 0 &&
		(run_memory(gather, gather->ndocs + 1, gather->npostings + doc->nterms) > gather->memory ||
		 gather->ndocs == PG_UINT32_MAX))
		spill(gather);
	reserve(gather, doc->nterms);
	at = RunDocAt(gather, gather->ndocs);
	at->tid = tid_number(&doc->tid);
	at->nulls = doc->nulls;
	at->pad = 0;
	memcpy(at + 1, doc->filters, sizeof(int64) * gather->nfilters);
	if (gather->ndocs > 0 && RunDocAt(gather, gather->ndocs - 1)->tid > at->tid)
		gather->by_tid = false;
	for (int i = 0; i < doc->nterms; i++)
	{
		Posting    *posting = &gather->postings[gather->npostings++];

		posting->key = TermKey(doc->terms[i]);
		posting->doc = gather->ndocs;
		posting->weight = doc->weights[i];
		gather->max_key = Max(gather->max_key, posting->key);
	}
	gather->max_terms = Max(gather->max_terms, doc->nterms);
	gather->ndocs++;
}

/*
 * Leave all that was gathered in files, which the caller has opened for sharing,
 * and let go of them.  Returns their number.
 */
int
inv_gather_export(InvGather *gather)
{
	if (gather->ndocs > 0)
		spill(gather);
	for (int i = 0; i < gather->nfiles; i++)
	{
		BufFileExportFileSet(gather->files[i]);
		BufFileClose(gather->files[i]);
	}
	return gather->nfiles;
}

/* The run in memory as a source. */
typedef struct MemorySource
{
	InvSource	source;
	InvGather  *gather;
	uint32		next_doc;
	Size		next_term;		/* where it begins */
	Size		next;			/* posting of the term */
} MemorySource;

static bool
memory_next_doc(InvSource *source)
{
	MemorySource *m = (MemorySource *) source;

	if (m->next_doc == m->gather->ndocs)
		return false;
	source->doc = m->next_doc;
	set_row(&source->row, run_doc(m->gather, m->next_doc++), m->gather->nfilters);
	return true;
}

static bool
memory_next_term(InvSource *source)
{
	MemorySource *m = (MemorySource *) source;

	if (m->next_term == m->gather->npostings)
		return false;
	describe_term(m->gather, m->next_term, &source->term);
	m->next = m->next_term;
	m->next_term += source->term.count;
	return true;
}

static bool
memory_next_posting(InvSource *source)
{
	MemorySource *m = (MemorySource *) source;
	const Posting *posting = &m->gather->postings[m->next];

	if (m->next == m->next_term)
		return false;
	source->doc = posting->doc;
	source->weight = posting->weight;
	m->next++;
	return true;
}

static void
memory_close(InvSource *source)
{
	pfree(source);
}

/* A run in a file as a source. */
typedef struct FileSource
{
	InvSource	source;
	BufFile    *file;
	int			nfilters;
	uint32		next_doc;
	uint64		left;			/* postings of terms to come */
	uint32		left_of_term;
} FileSource;

static void
read_file(BufFile *file, void *to, Size size)
{
	if (BufFileRead(file, to, size) != size)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read from temporary file of an index build")));
}

static bool
file_next_doc(InvSource *source)
{
	FileSource *f = (FileSource *) source;
	union
	{
		RunDoc		doc;
		char		bytes[sizeof(RunDoc) + sizeof(int64) * IX_MAX_FILTERS];
	}			read;

	if (f->next_doc == source->ndocs)
		return false;
	read_file(f->file, &read, sizeof(RunDoc) + sizeof(int64) * f->nfilters);
	source->doc = f->next_doc++;
	set_row(&source->row, &read.doc, f->nfilters);
	return true;
}

static bool
file_next_term(InvSource *source)
{
	FileSource *f = (FileSource *) source;

	if (f->left == 0)
		return false;
	read_file(f->file, &source->term, sizeof(InvTerm));
	f->left -= source->term.count;
	f->left_of_term = source->term.count;
	return true;
}

static bool
file_next_posting(InvSource *source)
{
	FileSource *f = (FileSource *) source;
	struct
	{
		uint32		doc;
		float		weight;
	}			read;

	if (f->left_of_term == 0)
		return false;
	read_file(f->file, &read, sizeof(read));
	source->doc = read.doc;
	source->weight = read.weight;
	f->left_of_term--;
	return true;
}

static void
file_close(InvSource *source)
{
	BufFileClose(((FileSource *) source)->file);
	pfree(source);
}

/*
 * A run in a file that inv_gather_spill() wrote.  Closing the source closes the
 * file.
 */
InvSource *
inv_run_source(BufFile *file, const InvLayout *layout)
{
	FileSource *f = palloc0(sizeof(FileSource));
	RunHeader	header;

	f->file = file;
	f->nfilters = layout->filters.nfilters;
	if (BufFileSeek(file, 0, 0, SEEK_SET) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not rewind temporary file of an index build")));
	read_file(file, &header, sizeof(header));
	f->source.ndocs = header.ndocs;
	f->source.max_terms = header.max_terms;
	f->left = header.npostings;
	f->source.next_doc = file_next_doc;
	f->source.next_term = file_next_term;
	f->source.next_posting = file_next_posting;
	f->source.close = file_close;
	return &f->source;
}

/*
 * All that was gathered, as sources.  The gatherer must outlive them.
 */
int
inv_gather_sources(InvGather *gather, InvSource ***sources)
{
	InvLayout	layout = {0};
	int			n = 0;

	layout.filters.nfilters = gather->nfilters;
	*sources = palloc(sizeof(InvSource *) * (gather->nfiles + 1));
	for (int i = 0; i < gather->nfiles; i++)
		(*sources)[n++] = inv_run_source(gather->files[i], &layout);
	if (gather->ndocs > 0)
	{
		MemorySource *m = palloc0(sizeof(MemorySource));

		sort_run(gather);
		m->gather = gather;
		m->source.ndocs = gather->ndocs;
		m->source.max_terms = gather->max_terms;
		m->source.next_doc = memory_next_doc;
		m->source.next_term = memory_next_term;
		m->source.next_posting = memory_next_posting;
		m->source.close = memory_close;
		(*sources)[n++] = &m->source;
	}
	return n;
}
