/*
 * parts.c
 *		Documents of a request cut into parts, and put together again.
 *
 * Nothing here knows of executors or replicas.  All results are in the current
 * memory context; parts are new arrays, or the one that was given.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"

#include "common/text.h"
#include "compat.h"
#include "doc/reduce.h"
#include "flow/flow.h"
#include "runtime/gateway/parts.h"

/* Cut documents into parts by place[], which says for each which one it goes to. */
static void
split(Datum *elems, const int *place, int ndocs, Datum *parts, int nparts)
{
	Datum	   *sorted = palloc_extended(sizeof(Datum) * Max(ndocs, 1), MCXT_ALLOC_HUGE);
	int		   *ends = palloc0(sizeof(int) * (nparts + 1));
	int			start = 0;

	for (int i = 0; i < ndocs; i++)
		ends[place[i] + 1]++;
	for (int part = 0; part < nparts; part++)
		ends[part + 1] += ends[part];
	/* so far ends[] holds where parts begin; filling them moves it on */
	for (int i = 0; i < ndocs; i++)
		sorted[ends[place[i]]++] = elems[i];
	for (int part = 0; part < nparts; part++)
	{
		parts[part] = ends[part] > start ?
			jflow_docs_from_datums(sorted + start, ends[part] - start) : jflow_docs_empty();
		start = ends[part];
	}
}

/*
 * parts[1] are the documents that the filter matches, parts[0] the others.
 * Returns how many documents there are.
 */
int
jflow_parts_by_filter(JflowFilter *filter, Datum docs, int **place, Datum *parts)
{
	Datum	   *elems;
	int			ndocs = jflow_docs_to_datums(docs, "documents", &elems);

	*place = palloc(sizeof(int) * Max(ndocs, 1));
	for (int i = 0; i < ndocs; i++)
	{
		JflowDoc	doc;

		CHECK_FOR_INTERRUPTS();
		jflow_doc_deform(elems[i], &doc);
		(*place)[i] = jflow_filter_match(filter, &doc) ? 1 : 0;
	}
	split(elems, *place, ndocs, parts, 2);
	return ndocs;
}

/*
 * A part for each shard of an executor, by the hash of the documents' ids.  Returns
 * how many documents there are.
 */
int
jflow_parts_by_id(Datum docs, const JflowExecutor *executor, int **place, Datum *parts)
{
	Datum	   *elems;
	int			ndocs = jflow_docs_to_datums(docs, "documents", &elems);
	text	  **ids = palloc_extended(sizeof(text *) * Max(ndocs, 1), MCXT_ALLOC_HUGE);

	*place = palloc_extended(sizeof(int) * Max(ndocs, 1), MCXT_ALLOC_HUGE);
	for (int i = 0; i < ndocs; i++)
	{
		JflowDoc	doc;

		CHECK_FOR_INTERRUPTS();
		jflow_doc_deform(elems[i], &doc);
		ids[i] = DatumGetTextPP(doc.values[DOC_ID]);
	}
	if (executor->class && executor->class->place)
		executor->class->place(executor, ids, ndocs, *place);
	else
		for (int i = 0; i < ndocs; i++)
			(*place)[i] = jflow_shard_of_id(VARDATA_ANY(ids[i]), VARSIZE_ANY_EXHDR(ids[i]),
											executor->shards);
	split(elems, *place, ndocs, parts, executor->shards);
	return ndocs;
}

/*
 * Put answers back where the documents they answer were: place[i] says which
 * part document i went to.  An answer that has fewer documents than were sent
 * leaves gaps; one that has more gives the surplus at the end.
 */
Datum
jflow_parts_restore(const Datum *parts, int nparts, const int *place, int ndocs)
{
	Datum	  **elems = palloc(sizeof(Datum *) * nparts);
	int		   *counts = palloc(sizeof(int) * nparts);
	int		   *used = palloc0(sizeof(int) * nparts);
	Datum	   *result;
	int			total = 0,
				n = 0;

	for (int i = 0; i < nparts; i++)
	{
		counts[i] = jflow_docs_to_datums(parts[i], "documents", &elems[i]);
		total += counts[i];
	}
	result = palloc_extended(sizeof(Datum) * Max(total, 1), MCXT_ALLOC_HUGE);
	for (int i = 0; i < ndocs; i++)
		if (used[place[i]] < counts[place[i]])
			result[n++] = elems[place[i]][used[place[i]]++];
	for (int i = 0; i < nparts; i++)
		while (used[i] < counts[i])
			result[n++] = elems[i][used[i]++];
	return jflow_docs_from_datums(result, n);
}

/* Two halves of at least two documents, in their order. */
void
jflow_parts_halve(Datum docs, Datum *first, Datum *second)
{
	Datum	   *elems;
	int			ndocs = jflow_docs_to_datums(docs, "documents", &elems);

	*first = jflow_docs_from_datums(elems, ndocs / 2);
	*second = jflow_docs_from_datums(elems + ndocs / 2, ndocs - ndocs / 2);
}

/* The documents without those of the given ids (text *). */
Datum
jflow_parts_without(Datum docs, List *ids)
{
	int			nids = list_length(ids);
	Datum	   *sorted;
	Datum	   *elems;
	int			ndocs,
				n = 0;

	if (nids == 0)
		return docs;
	sorted = palloc(sizeof(Datum) * nids);
	for (int i = 0; i < nids; i++)
		sorted[i] = PointerGetDatum(list_nth(ids, i));
	qsort(sorted, nids, sizeof(Datum), jflow_texts_order);

	ndocs = jflow_docs_to_datums(docs, "documents", &elems);
	for (int i = 0; i < ndocs; i++)
	{
		JflowDoc	doc;

		CHECK_FOR_INTERRUPTS();
		jflow_doc_deform(elems[i], &doc);
		if (bsearch(&doc.values[DOC_ID], sorted, nids, sizeof(Datum), jflow_texts_order) == NULL)
			elems[n++] = elems[i];
	}
	return n == ndocs ? docs : jflow_docs_from_datums(elems, n);
}
