/*
 * limit.c
 *		Learning how many rows an ordered index scan will be asked for.
 *
 * An approximate scan has to know how many of the nearest rows are wanted before
 * it returns the first, since what it finds later cannot be put in order any
 * more.  The executor does not tell an index.  So when it has set up a plan, we
 * look for ordered index scans in it and remember, by the address of their
 * order-by keys, which is what the index is given at each rescan, what stands
 * above them: a Limit, reached through nodes that hand on each row, or nothing
 * but the caller's count.  The count of a Limit may be a parameter; it is read
 * when the first row is asked for, when the Limit has computed it.
 *
 * A filter behind the scan that compares its own distance with something says how
 * far it has to go, too.
 *
 * Where anything else stands above a scan, such as a join, an aggregate or a
 * Gather, the number is not known.  Neither is it for a cursor: a later FETCH
 * may want what an earlier one left out.
 */
#include "postgres.h"

#include <math.h>

#include "access/parallel.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "nodes/plannodes.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "compat.h"
#include "index/limit.h"

/* Rows that an incremental sort or WITH TIES may read beyond its limit. */
#define SORT_GROUP 32
#define TIES 8

/* A query that has ordered index scans. */
typedef struct RunningQuery
{
	dlist_node	node;
	EState	   *estate;
	double		count;			/* rows that its only run asks for, or 0 */
	List	   *scans;
} RunningQuery;

/*
 * A filter that lets no rows through of which the distance, times a factor plus a
 * shift, is beyond a limit.
 */
typedef struct Bound
{
	ExprState  *limit;
	ExprState  *query;			/* holds if this is the scan's own, or NULL */
	double		factor;
	double		shift;
} Bound;

/* An ordered index scan, and what stands above it. */
typedef struct KnownScan
{
	const ScanKeyData *orderbys;
	RunningQuery *query;		/* NULL if not run by the executor */
	IndexScanState *state;
	LimitState *limit;			/* or the query's count if there is none */
	bool		through;		/* rows come to that one by one */
	double		share;			/* that filters above the scan let through */
	double		more;			/* rows that may be read beyond the limit */
	double		rows;			/* without an executor */
	List	   *bounds;
	bool		bounds_only;	/* there is no other filter */
} KnownScan;

typedef struct ScanEntry
{
	const ScanKeyData *orderbys;	/* the key */
	KnownScan  *scan;
} ScanEntry;

/* What lies between a node and the limit above it. */
typedef struct Above
{
	LimitState *limit;
	bool		through;
	double		share;
	double		more;
} Above;

static HTAB *scans = NULL;
static dlist_head queries = DLIST_STATIC_INIT(queries);
static ExecutorStart_hook_type previous_start = NULL;
static ExecutorRun_hook_type previous_run = NULL;

static void find_scans(PlanState *state, RunningQuery *query, const Above *above);

static void
remember(KnownScan *scan)
{
	ScanEntry  *entry;
	bool		found;

	if (!scans)
	{
		HASHCTL		control = {0};

		control.keysize = sizeof(ScanKeyData *);
		control.entrysize = sizeof(ScanEntry);
		control.hcxt = TopMemoryContext;
		scans = hash_create("ordered index scans", 32, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	entry = hash_search(scans, &scan->orderbys, HASH_ENTER, &found);
	entry->scan = scan;
}

static void
forget(void *arg)
{
	KnownScan  *scan = arg;
	ScanEntry  *entry = hash_search(scans, &scan->orderbys, HASH_FIND, NULL);

	if (entry && entry->scan == scan)
		hash_search(scans, &scan->orderbys, HASH_REMOVE, NULL);
}

/* The query's memory goes: forget it and its scans. */
static void
forget_query(void *arg)
{
	RunningQuery *query = arg;
	ListCell   *lc;

	foreach(lc, query->scans)
		forget(lfirst(lc));
	dlist_delete(&query->node);
}

/* Has an expression one value as long as a scan lasts? */
static bool
is_fixed(Node *node)
{
	return !contain_var_clause(node) && !contain_volatile_functions(node) && !contain_subplans(node);
}

/*
 * Is this the scan's distance?  It is also if it is to another query, which may
 * turn out to be the same when the scan starts, as two sub-selects may.
 */
static bool
is_distance(const IndexScan *plan, Node *node, Expr **query)
{
	OpExpr	   *order = linitial(plan->indexorderbyorig);
	OpExpr	   *op = (OpExpr *) node;

	*query = NULL;
	if (equal(node, order))
		return true;
	if (!IsA(node, OpExpr) || !IsA(order, OpExpr) || op->opno != order->opno || list_length(op->args) != 2)
		return false;
	for (int i = 0; i < 2; i++)
	{
		Node	   *other = list_nth(op->args, 1 - i);

		if (equal(list_nth(op->args, i), list_nth(order->args, i)) && is_fixed(other))
			*query = (Expr *) other;
	}
	return *query != NULL;
}

/* A constant of type float8, as which others were cast by the planner. */
static bool
is_number(Node *node, double *value)
{
	Const	   *constant = (Const *) node;

	if (!IsA(node, Const) || constant->consttype != FLOAT8OID || constant->constisnull)
		return false;
	*value = DatumGetFloat8(constant->constvalue);
	return isfinite(*value);
}

/*
 * Is this the scan's distance times a factor plus a shift, such as the similarity
 * 1 - distance?
 */
static bool
is_linear(const IndexScan *plan, Node *node, Bound *bound, Expr **query)
{
	OpExpr	   *op = (OpExpr *) node;
	RegProcedure function;
	Node	   *left;
	Node	   *right;
	double		number;

	check_stack_depth();
	if (is_distance(plan, node, query))
	{
		bound->factor = 1;
		bound->shift = 0;
		return true;
	}
	if (!IsA(node, OpExpr))
		return false;
	function = get_opcode(op->opno);
	left = linitial(op->args);
	right = llast(op->args);
	if (function == F_FLOAT8UM)
	{
		if (!is_linear(plan, left, bound, query))
			return false;
		bound->factor = -bound->factor;
		bound->shift = -bound->shift;
		return true;
	}
	if (is_number(right, &number) && is_linear(plan, left, bound, query))
	{
		if (function == F_FLOAT8MI || function == F_FLOAT8PL)
			bound->shift += function == F_FLOAT8MI ? -number : number;
		else if ((function != F_FLOAT8MUL && function != F_FLOAT8DIV) || number == 0)
			return false;
		else
		{
			bound->factor = function == F_FLOAT8MUL ? bound->factor * number : bound->factor / number;
			bound->shift = function == F_FLOAT8MUL ? bound->shift * number : bound->shift / number;
		}
		return true;
	}
	if (!is_number(left, &number) || !is_linear(plan, right, bound, query))
		return false;
	if (function == F_FLOAT8MI)
	{
		bound->factor = -bound->factor;
		bound->shift = number - bound->shift;
	}
	else if (function == F_FLOAT8PL)
		bound->shift += number;
	else if (function == F_FLOAT8MUL && number != 0)
	{
		bound->factor *= number;
		bound->shift *= number;
	}
	else
		return false;
	return true;
}

/*
 * If a clause lets no rows through that are farther than something, what that
 * is; else NULL.  Allocates in the current context.
 */
static Bound *
bound_of(IndexScanState *state, Node *clause)
{
	const IndexScan *plan = (IndexScan *) state->ss.ps.plan;
	OpExpr	   *op = (OpExpr *) clause;
	Bound		bound = {0};
	Bound	   *result;
	RegProcedure function;
	Node	   *sides[2];
	Expr	   *query;
	bool		less;

	if (!IsA(clause, OpExpr) || list_length(op->args) != 2 || list_length(plan->indexorderbyorig) != 1)
		return NULL;
	function = get_opcode(op->opno);
	less = function == F_FLOAT8LT || function == F_FLOAT8LE;
	if (!less && function != F_FLOAT8GT && function != F_FLOAT8GE)
		return NULL;
	sides[0] = linitial(op->args);
	sides[1] = lsecond(op->args);
	for (int i = 0; i < 2; i++)
	{
		/* less is said of the left side */
		if (!is_fixed(sides[1 - i]) || !is_linear(plan, sides[i], &bound, &query) ||
			bound.factor == 0 || !isfinite(bound.factor) || !isfinite(bound.shift) ||
			(bound.factor > 0) != (less == (i == 0)))
			continue;
		result = palloc(sizeof(Bound));
		*result = bound;
		result->limit = ExecInitExpr((Expr *) sides[1 - i], &state->ss.ps);
		result->query = query ? ExecInitExpr(query, &state->ss.ps) : NULL;
		return result;
	}
	return NULL;
}

static void
take_scan(IndexScanState *state, RunningQuery *query, const Above *above)
{
	IndexScan  *plan = (IndexScan *) state->ss.ps.plan;
	EState	   *estate = query->estate;
	MemoryContext old = MemoryContextSwitchTo(estate->es_query_cxt);
	KnownScan  *scan = palloc0(sizeof(KnownScan));
	ListCell   *lc;

	scan->orderbys = state->iss_OrderByKeys;
	scan->state = state;
	scan->limit = above->limit;
	scan->through = above->through;
	scan->share = above->share;
	scan->more = above->more;
	foreach(lc, plan->scan.plan.qual)
	{
		Bound	   *bound = bound_of(state, lfirst(lc));

		if (bound)
			scan->bounds = lappend(scan->bounds, bound);
	}
	scan->bounds_only = list_length(scan->bounds) == list_length(plan->scan.plan.qual);
	if (query->scans == NIL)
	{
		MemoryContextCallback *callback = palloc(sizeof(MemoryContextCallback));

		dlist_push_head(&queries, &query->node);
		callback->func = forget_query;
		callback->arg = query;
		MemoryContextRegisterResetCallback(estate->es_query_cxt, callback);
	}
	scan->query = query;
	query->scans = lappend(query->scans, scan);
	remember(scan);
	MemoryContextSwitchTo(old);
}

static bool
find_scans_anywhere(PlanState *state, void *query)
{
	Above		nothing = {.share = 1};

	find_scans(state, query, &nothing);
	return false;
}

static void
find_scans_of_subplans(List *subplans, RunningQuery *query)
{
	ListCell   *lc;

	foreach(lc, subplans)
		find_scans_anywhere(lfirst_node(SubPlanState, lc)->planstate, query);
}

/*
 * Find the ordered index scans of a plan, keeping in mind what stands above.
 */
static void
find_scans(PlanState *state, RunningQuery *query, const Above *above)
{
	Above		below = *above;
	PlanState **children = NULL;
	int			nchildren = 0;

	check_stack_depth();
	switch (nodeTag(state))
	{
		case T_IndexScanState:
			if (((IndexScanState *) state)->iss_NumOrderByKeys > 0)
				take_scan((IndexScanState *) state, query, above);
			break;
		case T_LimitState:
			below.limit = (LimitState *) state;
			below.through = true;
			below.share = 1;
			below.more = ((LimitState *) state)->limitOption == LIMIT_OPTION_WITH_TIES ? TIES : 0;
			break;
		case T_IncrementalSortState:
			below.more += SORT_GROUP;
			break;
		case T_SubqueryScanState:
			if (state->qual && state->plan->plan_rows < ((SubqueryScan *) state->plan)->subplan->plan_rows)
				below.share *= state->plan->plan_rows / ((SubqueryScan *) state->plan)->subplan->plan_rows;
			children = &((SubqueryScanState *) state)->subplan;
			nchildren = 1;
			break;
		case T_ResultState:
			below.through &= state->qual == NULL;
			break;
		case T_MaterialState:
		case T_LockRowsState:
			break;
		case T_AppendState:
			children = ((AppendState *) state)->appendplans;
			nchildren = ((AppendState *) state)->as_nplans;
			break;
		case T_MergeAppendState:
			children = ((MergeAppendState *) state)->mergeplans;
			nchildren = ((MergeAppendState *) state)->ms_nplans;
			break;
		default:
			planstate_tree_walker(state, find_scans_anywhere, query);
			return;
	}
	if (children == NULL && outerPlanState(state))
	{
		children = &outerPlanState(state);
		nchildren = 1;
	}
	for (int i = 0; i < nchildren; i++)
		find_scans(children[i], query, &below);
	find_scans_of_subplans(state->initPlan, query);
	find_scans_of_subplans(state->subPlan, query);
}

static void
start_query(QueryDesc *desc, int eflags)
{
	RunningQuery *query;
	Above		above = {.through = true,.share = 1};

	if (previous_start)
		previous_start(desc, eflags);
	else
		standard_ExecutorStart(desc, eflags);
	if (!desc->planstate || eflags & EXEC_FLAG_EXPLAIN_ONLY)
		return;
	query = MemoryContextAllocZero(desc->estate->es_query_cxt, sizeof(RunningQuery));
	query->estate = desc->estate;
	find_scans(desc->planstate, query, &above);
}

static void
note_run(QueryDesc *desc, double count, bool once)
{
	dlist_iter	iter;

	dlist_foreach(iter, &queries)
	{
		RunningQuery *query = dlist_container(RunningQuery, node, iter.cur);

		if (query->estate == desc->estate)
			query->count = once && !IsParallelWorker() ? count : 0;
	}
}

static void
run_query(EXECUTOR_RUN_ARGS_COMPAT)
{
	note_run(queryDesc, count, EXECUTE_ONCE_COMPAT);
	if (previous_run)
		previous_run(EXECUTOR_RUN_PASS_COMPAT);
	else
		standard_ExecutorRun(EXECUTOR_RUN_PASS_COMPAT);
}

/*
 * Once per process.
 */
void
ix_limit_init(void)
{
	previous_start = ExecutorStart_hook;
	ExecutorStart_hook = start_query;
	previous_run = ExecutorRun_hook;
	ExecutorRun_hook = run_query;
}

/*
 * Say how many rows will be asked for of a scan that is not the executor's, as
 * long as a memory context lives.
 */
void
ix_limit_direct(const ScanKeyData *orderbys, double rows, MemoryContext context)
{
	KnownScan  *scan = MemoryContextAllocZero(context, sizeof(KnownScan));
	MemoryContextCallback *callback = MemoryContextAlloc(context, sizeof(MemoryContextCallback));

	scan->orderbys = orderbys;
	scan->rows = rows;
	remember(scan);
	callback->func = forget;
	callback->arg = scan;
	MemoryContextRegisterResetCallback(context, callback);
}

/* How many rows go through to the limit or the caller, or -1. */
static double
rows_above(const KnownScan *scan)
{
	double		rows;

	if (!scan->through)
		return -1;
	if (!scan->limit)
		return scan->query->count > 0 ? scan->query->count : -1;
	if (scan->limit->noCount || scan->limit->lstate == LIMIT_INITIAL)
		return -1;
	rows = (double) scan->limit->count + (double) scan->limit->offset;
	return rows / Max(scan->share, 1e-9) + scan->more;
}

/* Lower the bound of what is wanted to one of the filters'. */
static void
take_bound(const KnownScan *scan, const Bound *bound, IxWanted *wanted)
{
	ExprContext *context = scan->state->ss.ps.ps_ExprContext;
	const ScanKeyData *key = &scan->orderbys[0];
	Datum		limit;
	double		least;
	bool		isnull;

	if (bound->query)
	{
		Datum		query = ExecEvalExprSwitchContext(bound->query, context, &isnull);

		if (isnull || key->sk_flags & SK_ISNULL || !datum_image_eq(query, key->sk_argument, false, -1))
			return;
	}
	limit = ExecEvalExprSwitchContext(bound->limit, context, &isnull);
	if (isnull)
		least = -INFINITY;		/* no row passes */
	else
	{
		double		value = DatumGetFloat8(limit);

		least = (value - bound->shift) / bound->factor;
		/* the filter's own arithmetic may have been rounded */
		if (bound->factor != 1 || bound->shift != 0)
			least += (fabs(value) + fabs(bound->shift)) / fabs(bound->factor) * 1e-14;
		/* nothing is greater than NaN */
		if (isnan(least))
			return;
	}
	wanted->bound = wanted->bounded ? Min(wanted->bound, least) : least;
	/* NaN is greater than all else */
	wanted->nan_passes = (!wanted->bounded || wanted->nan_passes) && bound->factor < 0 && !isnull;
	wanted->bounded = true;
}

/*
 * What a scan will be asked for, given the order-by keys it was started with.
 * To be called at its first row, in the executor's expression context: a bound
 * may be a parameter.
 */
void
ix_limit_wanted(const ScanKeyData *orderbys, IxWanted *wanted)
{
	ScanEntry  *entry = scans && orderbys ? hash_search(scans, &orderbys, HASH_FIND, NULL) : NULL;
	const KnownScan *scan;
	ListCell   *lc;

	wanted->rows = -1;
	wanted->filtered = -1;
	wanted->bounded = wanted->nan_passes = false;
	if (!entry)
		return;
	scan = entry->scan;
	if (!scan->query)
	{
		wanted->rows = scan->rows;
		return;
	}
	wanted->rows = rows_above(scan);
	if (scan->state->ss.ps.qual && !scan->bounds_only)
		wanted->filtered = scan->state->ss.ps.plan->plan_rows;
	foreach(lc, scan->bounds)
		take_bound(scan, lfirst(lc), wanted);
}
