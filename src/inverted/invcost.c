/*
 * invcost.c
 *		What a scan costs.
 *
 * Before the first row comes, the lists of the query's terms are gone through: how
 * long they are the index tells, where the query is known.  Each row then is
 * fetched for its exact distance.  So the index wins for a LIMIT that is small
 * against the table, and sorting wins otherwise.
 */
#include "postgres.h"

#include <math.h>

#include "access/genam.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "utils/float.h"
#include "utils/rel.h"
#include "utils/selfuncs.h"
#include "utils/spccache.h"

#include "sparsevec.h"

#include "inverted/inverted.h"

/* Terms that are looked up. */
#define SOME_TERMS 32
/* What is assumed of a query that is not known. */
#define UNKNOWN_TERMS 8
#define UNKNOWN_SHARE 0.02
/* A posting against a call of an operator. */
#define POSTING_COST 0.02

/* How many postings a query's terms have, and in how many lists. */
static void
count_postings(Relation index, const InvMetaPageData *meta, const SparseVector *v, double *postings, double *lists)
{
	InvReader	reader = {.index = index};
	int			some = Min(v->nnz, SOME_TERMS);

	inv_layout_init(&reader.layout, meta->nfilters, meta->filter_width);
	reader.standby = true;		/* may be overtaken: it is an estimate */
	*postings = *lists = 0;
	for (int i = 0; i < meta->nparts; i++)
	{
		PGAlignedBlock page;

		reader.stale = false;
		if (meta->parts[i].pending || !inv_read_head(&reader, &meta->parts[i], page.data))
			continue;
		for (int t = 0; t < some; t++)
		{
			InvTerm		term;

			if (inv_find_term(&reader, &meta->parts[i], InvPageGetHead(page.data),
							  v->indices[(int64) t * v->nnz / some], &term))
			{
				*postings += (double) term.count * v->nnz / some;
				*lists += (double) v->nnz / some;
			}
		}
	}
}

/* The vector that rows are ordered by the distance to, if it is known. */
static const SparseVector *
known_query(PlannerInfo *root, const IndexPath *path, int dims)
{
	Node	   *clause = linitial(path->indexorderbys);
	Node	   *other;

	if (!IsA(clause, OpExpr) || list_length(((OpExpr *) clause)->args) != 2)
		return NULL;
	other = estimate_expression_value(root, lsecond(((OpExpr *) clause)->args));
	if (!IsA(other, Const) || ((Const *) other)->constisnull)
		return NULL;
	return (const SparseVector *) inv_detoast(dims, ((Const *) other)->constvalue);
}

/*
 * What a scan costs: the pages of the query's terms, and the rows that it compares.
 */
void
inv_costestimate(PlannerInfo *root, IndexPath *path, double loop_count,
				 Cost *startup, Cost *total, Selectivity *selectivity,
				 double *correlation, double *pages)
{
	GenericCosts costs = {0};
	IndexOptInfo *info = path->indexinfo;
	InvMetaPageData *meta;
	Relation	index;
	const SparseVector *v;
	double		postings;
	double		lists;
	double		pending;
	double		tuples;
	double		read;
	double		random_cost;
	double		sequential_cost;

	if (path->indexorderbys == NIL)
	{
		*startup = *total = get_float8_infinity();
		*selectivity = 0;
		*correlation = 0;
		*pages = 0;
		/* no sequential scan is as bad, not even a disabled one */
		DISABLE_PATH_COMPAT(&path->path);
		return;
	}
	genericcostestimate(root, path, loop_count, &costs);
	get_tablespace_page_costs(info->reltablespace, &random_cost, &sequential_cost);
	meta = palloc(sizeof(InvMetaPageData));
	index = index_open(info->indexoid, NoLock);
	inv_read_meta(index, meta);
	v = known_query(root, path, meta->dims);
	if (v)
		count_postings(index, meta, v, &postings, &lists);
	else
	{
		lists = UNKNOWN_TERMS * Max(meta->nparts, 1);
		postings = info->tuples * UNKNOWN_SHARE * UNKNOWN_TERMS;
	}
	pending = meta->pending_pages;
	for (int i = 0; i < meta->nparts; i++)
		if (meta->parts[i].pending)
			pending += meta->parts[i].npages;
	index_close(index, NoLock);
	pfree(meta);

	/* of an array of values, numIndexTuples counts one value's alone */
	tuples = costs.indexSelectivity * info->tuples;

	/* of each list the dictionary's pages, and a page in two bytes a posting */
	read = Min(info->pages, 1 + lists * 2);
	*startup = random_cost * read * 0.5 +
		sequential_cost * Min(info->pages, pending + postings * 2 / BLCKSZ) +
		cpu_operator_cost * (POSTING_COST * postings + 100 * pending + 10 * lists);
	*total = *startup + sequential_cost * info->pages +
		tuples * (cpu_index_tuple_cost + 4 * cpu_operator_cost) +
	/* of each row the distance, before its turn */
		tuples * (cpu_tuple_cost + cpu_operator_cost);
	*selectivity = costs.indexSelectivity;
	*correlation = 0;
	*pages = info->pages;
}
