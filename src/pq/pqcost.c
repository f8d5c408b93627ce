/*
 * pqcost.c
 *		What a scan costs.
 *
 * All that a scan gathers comes before its first row, so that is the startup
 * cost.  It depends on how many rows are wanted, as far as that can be told from
 * the query; where it can not, or so many are wanted that gathering does not
 * pay, all refine codes are read first.
 *
 * The server's cost of a sequential scan does not know of vectors that are
 * stored out of line, which it reads for each row, so an index may touch more
 * pages than the table has.  It is not charged for more than those.
 */
#include "postgres.h"

#include <math.h>

#include "access/genam.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "utils/float.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/selfuncs.h"
#include "utils/spccache.h"

#include "pq/pq.h"

/* Rows that a LIMIT whose count is not known yet is taken for. */
#define USUAL_LIMIT 10
/* Entries of which codes are looked at in the time of one operator. */
#define CODES_PER_OPERATOR 16

/*
 * A row that a filter of the executor's throws away, in operators: it is fetched
 * once to see whether it is visible and once for the filter, from a page that no
 * other row near to it is on, so the processor has to wait for it.  The server's
 * cost of fetching rows has each page of the table once at most.
 */
#define OPERATORS_PER_THROWN 600
/* Preparing a search, in operators. */
#define PREPARING_OPERATORS 1000

/* An index, and what it costs to read. */
typedef struct CostBasis
{
	const PqIndex *pq;
	double		entries;
	double		pages;
	double		heap_pages;
	double		random_cost;
	double		sequential_cost;
	double		refine_cost;	/* of one refine code */
} CostBasis;

/* Pages, of which some are jumped to. */
static Cost
page_cost(const CostBasis *basis, double pages, double jumps)
{
	double		cost = basis->sequential_cost * pages + (basis->random_cost - basis->sequential_cost) * Min(jumps, pages);

	return Min(cost, basis->sequential_cost * basis->heap_pages);
}

/* Reading all refine codes. */
static Cost
exact_cost(const CostBasis *basis)
{
	return page_cost(basis, basis->pages, 1) +
		basis->entries * (basis->refine_cost + cpu_operator_cost / CODES_PER_OPERATOR);
}

/*
 * Gathering k rows, of which the filters of the index let a share pass.  The rule for
 * queries unlike rows is left out: it costs others little, and whether a query is such
 * a one is known when it is asked.
 */
static Cost
gather_cost(const CostBasis *basis, double k, double share)
{
	const PqIndex *pq = basis->pq;
	PqCurvePoint point;
	double		part;
	double		ranked;
	double		candidates = Min(20 * k + 200, basis->entries);
	double		posting = basis->pages / (1 + pq->layout.nrefine);
	double		pages;

	pq_curve_for(pq->meta.curves, pq->meta.ncurves, k / Max(share, 1e-6), jflow_pq_recall_goal, &point);
	part = Min(1, (double) point.probes / pq->model->nlists);
	ranked = Min(1, (double) PqListsRanked(point.probes) / pq->model->nlists);
	pages = ranked * pq->meta.nslots * pq->model->space_dims * sizeof(float) / BLCKSZ +
		part * posting + Min(candidates, part * (basis->pages - posting));
	return page_cost(basis, pages, point.probes) +
		ranked * pq->model->nlists * cpu_operator_cost +
		part * basis->entries * cpu_operator_cost / CODES_PER_OPERATOR +
		candidates * basis->refine_cost + k * cpu_tuple_cost;
}

/*
 * How many rows the query wants of a path, or -1: as limit.c learns it when the
 * plan runs.
 */
static double
rows_wanted(PlannerInfo *root)
{
	const Query *parse = root->parse;

	if (!parse->limitCount || bms_membership(root->all_baserels) != BMS_SINGLETON ||
		parse->groupClause || parse->groupingSets || parse->distinctClause || parse->hasAggs ||
		parse->hasWindowFuncs || parse->hasTargetSRFs || root->hasHavingQual)
		return -1;
	return root->limit_tuples > 0 ? root->limit_tuples : USUAL_LIMIT;
}

/*
 * What a scan costs: the lists that it probes, and the rows that it compares.
 */
void
pq_costestimate(PlannerInfo *root, IndexPath *path, double loop_count,
				Cost *startup, Cost *total, Selectivity *selectivity,
				double *correlation, double *pages)
{
	GenericCosts costs = {0};
	IndexOptInfo *info = path->indexinfo;
	Relation	index;
	CostBasis	basis = {0};
	MemoryContext context;
	MemoryContext old;
	double		k;
	double		passing;
	double		thrown;

	if (list_length(path->indexorderbys) != 1)
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
	context = AllocSetContextCreate(CurrentMemoryContext, "pq cost", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(context);
	index = index_open(info->indexoid, NoLock);
	basis.pq = pq_index_get(index, context);
	index_close(index, NoLock);
	get_tablespace_page_costs(info->reltablespace, &basis.random_cost, &basis.sequential_cost);
	basis.entries = Max(info->tuples, 1);
	basis.pages = info->pages;
	basis.heap_pages = Max(info->rel->pages, 1);
	basis.refine_cost = cpu_operator_cost * (0.25 + basis.pq->model->space_dims / 1000.0);

	/* a filter of the executor's lets only some of the rows through */
	k = rows_wanted(root);
	passing = Max(basis.entries * costs.indexSelectivity, 1);
	if (k > 0 && info->rel->rows < passing)
		k *= passing / Max(info->rel->rows, 1);
	if (k > 0 && basis.pq->meta.ncurves > 0 && k < basis.entries * PQ_LARGE_PART)
		*startup = Min(gather_cost(&basis, k, costs.indexSelectivity), exact_cost(&basis));
	else
		*startup = exact_cost(&basis);
	*startup += PREPARING_OPERATORS * cpu_operator_cost;
	thrown = Max(passing - info->rel->rows, 0);
	*total = *startup + exact_cost(&basis) + passing * (cpu_index_tuple_cost + cpu_operator_cost * log2(passing + 1)) +
		thrown * OPERATORS_PER_THROWN * cpu_operator_cost;
	*selectivity = costs.indexSelectivity;
	*correlation = 0;
	*pages = info->pages;
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}
