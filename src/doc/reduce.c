/*
 * reduce.c
 *		Making one answer of several.
 *
 * Documents are merged by id, in the order of the parts, so the result does
 * not depend on who answered first.  An id that a part has twice is two
 * documents: the n-th of one part meets the n-th of the other.
 */
#include "postgres.h"

#include <math.h>

#include "common/hashfn.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "common/json.h"
#include "common/text.h"
#include "compat.h"
#include "doc/reduce.h"

#define NONE (-1)

/* Matches of one document, sorted and cut at the end. */
typedef struct MatchList
{
	JflowMatch *matches;
	int			n;
	int			allocated;
} MatchList;

/* A document merged so far; those of one id are chained. */
typedef struct Merged
{
	MatchList	matches;
	Datum	   *lists;			/* the matches of each part, to be fused */
	bool		own_tags;		/* its tags are of our making */
	int			next;			/* of the same id */

	/* in the first document of an id */
	int			last;			/* of the chain */
	int			part;			/* the part that was last merged ... */
	int			met;			/* ... and how far into the chain it has come */
} Merged;

/* What is merged so far, with a hash table from id to its first document. */
typedef struct Merge
{
	JflowDoc   *docs;
	Merged	   *merged;			/* one per document */
	int			ndocs;
	bool		copies;			/* the first one's attributes stay, but for
								 * matches */
	bool		merge_matches;	/* else the first one's stay ... */
	int			nlists;			/* ... or those of so many parts are fused */
	int		   *buckets;
	uint32		mask;
	uint64		seed;			/* nobody shall choose ids that collide */
} Merge;

static int *
new_buckets(int n, uint32 *mask)
{
	uint32		nbuckets = pg_nextpower2_32(Max(n, 8)) * 2;
	int		   *buckets = palloc_extended(sizeof(int) * nbuckets, MCXT_ALLOC_HUGE);

	for (uint32 i = 0; i < nbuckets; i++)
		buckets[i] = NONE;
	*mask = nbuckets - 1;
	return buckets;
}

static void
merge_init(Merge *merge, int capacity, bool copies, bool merge_matches, int nlists)
{
	merge->docs = palloc_extended(sizeof(JflowDoc) * Max(capacity, 1), MCXT_ALLOC_HUGE);
	merge->merged = palloc_extended(sizeof(Merged) * Max(capacity, 1), MCXT_ALLOC_HUGE);
	merge->ndocs = 0;
	merge->copies = copies;
	merge->merge_matches = merge_matches;
	merge->nlists = nlists;
	merge->buckets = new_buckets(capacity, &merge->mask);
	merge->seed = pg_prng_uint64(&pg_global_prng_state);
}

/* The bytes of a text datum, which is detoasted if needed. */
static char *
text_bytes(Datum value, int *len)
{
	text	   *t = DatumGetTextPP(value);

	*len = VARSIZE_ANY_EXHDR(t);
	return VARDATA_ANY(t);
}

static bool
same_id(Datum a, Datum b)
{
	int			alen,
				blen;
	char	   *abytes = text_bytes(a, &alen);
	char	   *bbytes = text_bytes(b, &blen);

	return alen == blen && memcmp(abytes, bbytes, alen) == 0;
}

/* Where the chain of an id begins: a bucket that is empty or has the id. */
static uint32
find_bucket(const Merge *merge, Datum id)
{
	int			len;
	char	   *bytes = text_bytes(id, &len);
	uint32		bucket = hash_bytes_extended((unsigned char *) bytes, len, merge->seed) & merge->mask;

	while (merge->buckets[bucket] != NONE &&
		   !same_id(merge->docs[merge->buckets[bucket]].values[DOC_ID], id))
		bucket = (bucket + 1) & merge->mask;
	return bucket;
}

/* Objects are merged by key, the first one's values win. */
static Datum
merge_tags(Datum first, Datum second)
{
	if (!JB_ROOT_IS_OBJECT(DatumGetJsonbP(first)) ||
		!JB_ROOT_IS_OBJECT(DatumGetJsonbP(second)))
		return first;
	return DirectFunctionCall2(jsonb_concat, second, first);
}

static void
append_matches(MatchList *list, const JflowDoc *doc)
{
	JflowMatch *matches;
	int			n;

	if (doc->nulls[DOC_MATCHES])
		return;
	n = jflow_matches_deform(doc->values[DOC_MATCHES], &matches);
	if (list->matches == NULL)
	{
		list->matches = matches;
		list->n = list->allocated = n;
		return;
	}
	if (list->n + n > list->allocated)
	{
		list->allocated = Max(list->n + n, list->allocated * 2);
		list->matches = repalloc_huge(list->matches, sizeof(JflowMatch) * list->allocated);
	}
	memcpy(list->matches + list->n, matches, sizeof(JflowMatch) * n);
	list->n += n;
	pfree(matches);
}

static void
take_matches(Merge *merge, Merged *merged, const JflowDoc *doc, int part)
{
	if (merge->merge_matches)
		append_matches(&merged->matches, doc);
	if (merge->nlists == 0 || doc->nulls[DOC_MATCHES])
		return;
	if (merged->lists == NULL)
		merged->lists = palloc0(sizeof(Datum) * merge->nlists);
	merged->lists[part] = doc->values[DOC_MATCHES];
}

static int
append_doc(Merge *merge, const JflowDoc *doc, int part)
{
	Merged	   *merged = &merge->merged[merge->ndocs];

	merge->docs[merge->ndocs] = *doc;
	memset(merged, 0, sizeof(*merged));
	merged->next = NONE;
	take_matches(merge, merged, doc, part);
	return merge->ndocs++;
}

static void
merge_doc(Merge *merge, int number, const JflowDoc *from, int part)
{
	JflowDoc   *into = &merge->docs[number];
	Merged	   *merged = &merge->merged[number];

	for (int i = 0; i < DOC_NATTS; i++)
	{
		if (from->nulls[i] || (merge->copies && i != DOC_MATCHES))
			continue;
		if (into->nulls[i])
		{
			into->values[i] = from->values[i];
			into->nulls[i] = false;
		}
		else if (i == DOC_TAGS)
		{
			Datum		first = into->values[i];

			into->values[i] = merge_tags(first, from->values[i]);
			if (merged->own_tags && into->values[i] != first)
				pfree(DatumGetPointer(first));
			merged->own_tags |= into->values[i] != first;
		}
	}
	take_matches(merge, merged, from, part);
}

/*
 * Merge one document: into the first of its id that this part has not met.
 * Parts come one after another, so what one has met is the beginning of the
 * chain.
 */
static void
merge_one(Merge *merge, const JflowDoc *doc, int part)
{
	uint32		bucket = find_bucket(merge, doc->values[DOC_ID]);
	int			number = merge->buckets[bucket];
	Merged	   *first;
	int			into;

	if (number == NONE)
	{
		number = merge->buckets[bucket] = append_doc(merge, doc, part);
		first = &merge->merged[number];
		first->last = first->met = number;
		first->part = part;
		return;
	}
	first = &merge->merged[number];
	into = first->part == part ? merge->merged[first->met].next : number;
	if (into == NONE)
	{
		into = append_doc(merge, doc, part);
		merge->merged[first->last].next = into;
		first->last = into;
	}
	else
		merge_doc(merge, into, doc, part);
	first->part = part;
	first->met = into;
}

static int
match_order(const void *a, const void *b)
{
	const JflowMatch *ma = a;
	const JflowMatch *mb = b;

	if (ma->nulls[MATCH_SCORE] != mb->nulls[MATCH_SCORE])
		return ma->nulls[MATCH_SCORE] ? 1 : -1;
	if (!ma->nulls[MATCH_SCORE])
	{
		float8		sa = DatumGetFloat8(ma->values[MATCH_SCORE]);
		float8		sb = DatumGetFloat8(mb->values[MATCH_SCORE]);

		if (sa != sb)
			return sa < sb ? -1 : 1;
	}
	if (ma->nulls[MATCH_ID] || mb->nulls[MATCH_ID])
		return (int) ma->nulls[MATCH_ID] - (int) mb->nulls[MATCH_ID];
	return jflow_text_order(ma->values[MATCH_ID], mb->values[MATCH_ID]);
}

/*
 * By what a match is told from others: its group if they are grouped, else its id;
 * 0 if it has none.
 */
Datum
jflow_match_key(const JflowMatch *match, bool grouped)
{
	JsonbValue	buffer;
	JsonbValue *value = grouped && !match->nulls[MATCH_TAGS] ?
		jflow_json_get(DatumGetJsonbP(match->values[MATCH_TAGS]), JFLOW_GROUP_TAG, &buffer) : NULL;

	if (value && value->type == jbvString)
		return PointerGetDatum(cstring_to_text_with_len(value->val.string.val, value->val.string.len));
	return match->nulls[MATCH_ID] ? (Datum) 0 : match->values[MATCH_ID];
}

/*
 * Matches sorted by (score, id), each id or group once with its best score, of which
 * a page is kept.  Scores that are NaN cannot be ordered and come last.
 */
static Datum
finish_matches(const MatchList *list, const JflowPage *page)
{
	JflowMatch *matches = list->matches;
	int			n = list->n;
	int			kept = 0;
	int			offset;
	uint64		seed = pg_prng_uint64(&pg_global_prng_state);
	uint32		mask;
	int		   *buckets = new_buckets(n, &mask);
	Datum	   *keys = palloc_extended(sizeof(Datum) * Max(n, 1), MCXT_ALLOC_HUGE);

	for (int i = 0; i < n; i++)
		if (!matches[i].nulls[MATCH_SCORE] && isnan(DatumGetFloat8(matches[i].values[MATCH_SCORE])))
			matches[i].nulls[MATCH_SCORE] = true;
	qsort(matches, n, sizeof(JflowMatch), match_order);

	for (int i = 0; i < n && (page->limit < 0 || kept < (int64) page->offset + page->limit); i++)
	{
		Datum		key = jflow_match_key(&matches[i], page->grouped);

		if (key)
		{
			int			len;
			char	   *bytes = text_bytes(key, &len);
			uint32		bucket = hash_bytes_extended((unsigned char *) bytes, len, seed) & mask;

			while (buckets[bucket] != NONE && !same_id(keys[buckets[bucket]], key))
				bucket = (bucket + 1) & mask;
			if (buckets[bucket] != NONE)
				continue;
			buckets[bucket] = kept;
		}
		keys[kept] = key;
		matches[kept++] = matches[i];
	}
	offset = Min(page->offset, kept);
	return jflow_matches_form(matches + offset, kept - offset);
}

/* Merge the documents of parts, which the matches of each document are kept of. */
static void
merge_parts(Merge *merge, const JflowDocs *parts, int nparts, bool copies, bool merge_matches,
			bool keep_lists)
{
	int			total = 0;

	for (int i = 0; i < nparts; i++)
		total += parts[i].ndocs;
	merge_init(merge, total, copies, merge_matches, keep_lists ? nparts : 0);
	for (int i = 0; i < nparts; i++)
	{
		for (int j = 0; j < parts[i].ndocs; j++)
		{
			CHECK_FOR_INTERRUPTS();
			merge_one(merge, &parts[i].docs[j], i);
		}
	}
}

static Datum
merged_docs(const Merge *merge)
{
	JflowDocs	result;

	result.ndocs = merge->ndocs;
	result.docs = merge->docs;
	return jflow_docs_form(&result);
}

static JflowDocs *
deform_parts(const Datum *parts, int nparts)
{
	JflowDocs  *deformed = palloc(sizeof(JflowDocs) * nparts);

	for (int i = 0; i < nparts; i++)
		deformed[i] = *jflow_docs_deform(parts[i], "documents");
	return deformed;
}

/*
 * Answers of an executor's shards, in shard order: documents merged by id,
 * matches sorted by (score, id) and cut to a page.
 */
Datum
jflow_reduce_shards(const Datum *parts, int nparts, const JflowPage *page)
{
	Merge		merge;

	merge_parts(&merge, deform_parts(parts, nparts), nparts, page->copies, true, false);
	for (int i = 0; i < merge.ndocs; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (!merge.docs[i].nulls[DOC_MATCHES])
			merge.docs[i].values[DOC_MATCHES] = finish_matches(&merge.merged[i].matches, page);
	}
	return merged_docs(&merge);
}

/*
 * Answers of branches, in the order of "needs": the first that has an attribute
 * gives it; tags are merged by key.
 */
Datum
jflow_reduce_branches(const Datum *parts, int nparts)
{
	Merge		merge;

	if (nparts == 1)
		return parts[0];
	merge_parts(&merge, deform_parts(parts, nparts), nparts, false, false, false);
	return merged_docs(&merge);
}

/*
 * The same of parts that lie behind each other in one array, but for matches: a
 * function makes those of a document from what each part has.
 */
Datum
jflow_reduce_fused(Datum docs, const int *counts, int nparts, JflowFuse fuse, void *arg)
{
	JflowDocs  *all = jflow_docs_deform(docs, "documents");
	JflowDocs  *parts = palloc(sizeof(JflowDocs) * nparts);
	JflowDoc   *next = all->docs;
	Merge		merge;

	for (int i = 0; i < nparts; i++)
	{
		parts[i].ndocs = counts[i];
		parts[i].docs = next;
		next += counts[i];
	}
	Assert(next == all->docs + all->ndocs);
	merge_parts(&merge, parts, nparts, false, false, true);
	for (int i = 0; i < merge.ndocs; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (merge.merged[i].lists)
			merge.docs[i].values[DOC_MATCHES] = fuse(arg, &merge.docs[i], merge.merged[i].lists, nparts);
	}
	return merged_docs(&merge);
}

/* All documents of all parts; fills in how many each part has. */
Datum
jflow_concat(const Datum *parts, int nparts, int *counts)
{
	Datum	  **elems = palloc(sizeof(Datum *) * nparts);
	Datum	   *all;
	int			total = 0;

	for (int i = 0; i < nparts; i++)
	{
		counts[i] = jflow_docs_to_datums(parts[i], "documents", &elems[i]);
		total += counts[i];
	}
	all = palloc(sizeof(Datum) * Max(total, 1));
	total = 0;
	for (int i = 0; i < nparts; i++)
	{
		memcpy(all + total, elems[i], sizeof(Datum) * counts[i]);
		total += counts[i];
	}
	return jflow_docs_from_datums(all, total);
}
