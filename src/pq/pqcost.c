/*
 * pqcost.c
 *		What a scan costs.
 *
 * Lists are ranked, probed and refined before the first row comes: that is the
 * startup cost.  A scan that is read to its end goes over all lists several
 * times, and each row comes from a random place of the table, which the caller
 * adds.  So the index wins for a LIMIT that is small against the table, and
 * sorting wins otherwise.
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

#include "pq/pq.h"

void
pq_costestimate(PlannerInfo *root, IndexPath *path, double loop_count,
				Cost *startup, Cost *total, Selectivity *selectivity,
				double *correlation, double *pages)
{
	GenericCosts costs = {0};
	IndexOptInfo *info = path->indexinfo;
	Relation	index;
	PqMetaPageData meta;
	int			probes;
	int			refine;
	double		lists;
	double		fraction;
	double		list_pages;
	double		scan_cost;
	double		random_cost;
	double		sequential_cost;

	if (path->indexorderbys == NIL)
	{
		*startup = *total = get_float8_infinity();
		*selectivity = 0;
		*correlation = 0;
		*pages = 0;
		/* no sequential scan is as bad, not even a disabled one */
		PQ_DISABLE_PATH_COMPAT(&path->path);
		return;
	}
	genericcostestimate(root, path, loop_count, &costs);
	index = index_open(info->indexoid, NoLock);
	pq_read_meta(index, &meta);
	index_close(index, NoLock);
	pq_choose_effort(&meta, meta.nslots, &probes, &refine);
	get_tablespace_page_costs(info->reltablespace, &random_cost, &sequential_cost);

	if (PqMetaIsFlat(&meta))
	{
		/*
		 * all of it is read before the first row comes, and again for each
		 * batch
		 */
		scan_cost = info->tuples * cpu_operator_cost * 0.5;
		*startup = sequential_cost * info->pages + scan_cost;
		*total = *startup + scan_cost * info->tuples / 16384 + info->tuples * cpu_index_tuple_cost +
			info->tuples * costs.indexSelectivity * cpu_tuple_cost;
		*selectivity = costs.indexSelectivity;
		*correlation = 0;
		*pages = info->pages;
		return;
	}

	/* a fifth of the slots are padding, and most pages hold refine codes */
	lists = Max(1, meta.nslots * 0.8);
	fraction = Min(1, probes / lists);
	list_pages = Min(info->pages, 2 + probes + info->pages * 0.2 * fraction);
	scan_cost = info->tuples * fraction * cpu_operator_cost * 0.25 + lists * cpu_operator_cost * 0.25;
	*startup = random_cost * (list_pages + Min(refine, info->tuples) * 0.5) + scan_cost +
		cpu_tuple_cost * Min(refine, info->tuples);

	/* until the end: all pages, and codes again for each batch */
	*total = *startup + random_cost * info->pages + info->tuples * cpu_index_tuple_cost +
		info->tuples * cpu_operator_cost * 0.25 * Max(1, info->tuples / 16384) +
		info->tuples * costs.indexSelectivity * cpu_tuple_cost;
	*selectivity = costs.indexSelectivity;
	*correlation = 0;
	*pages = info->pages;
}
