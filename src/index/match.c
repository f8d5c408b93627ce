/*
 * match.c
 *		Conditions on filter columns that the server does not match itself.
 *
 * Before version 17 the planner leaves = ANY on any but the first column of an
 * index to be filtered behind an ordered scan, since the order of a btree would
 * be lost by it; and before 16 it takes a bare bool for a condition of its own
 * operator families alone.  Ours can test both.  So when it has made its paths
 * for a table, we put others, which test such conditions, too, in the place of
 * the ordered ones of our index methods.
 */
#include "postgres.h"

#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/restrictinfo.h"
#include "utils/lsyscache.h"

#include "compat.h"
#include "index/match.h"

#define MOST_METHODS 2

/* Index methods are known by their cost functions. */
static amcostestimate_function methods[MOST_METHODS];
static int	nmethods = 0;
static set_rel_pathlist_hook_type previous = NULL;

/*
 * The condition on a column of an index that a clause is, as an operator, or NULL
 * if it is none that the server overlooks.
 */
static Expr *
match_clause(PlannerInfo *root, IndexOptInfo *index, int column, Expr *clause)
{
	Expr	   *operand = clause;
	bool		value = true;

	if (IsA(clause, ScalarArrayOpExpr))
	{
		ScalarArrayOpExpr *op = (ScalarArrayOpExpr *) clause;
		Node	   *array = lsecond(op->args);
		Oid			collation = index->indexcollations[column];

		if (op->useOr && match_index_to_operand(linitial(op->args), column, index) &&
			op_in_opfamily(op->opno, index->opfamily[column]) &&
			(!OidIsValid(collation) || collation == op->inputcollid) &&
			!bms_is_member(index->rel->relid, pull_varnos(root, array)) && !contain_volatile_functions(array))
			return clause;
		return NULL;
	}
	if (!op_in_opfamily(BooleanEqualOperator, index->opfamily[column]))
		return NULL;
	if (is_notclause(clause))
	{
		operand = get_notclausearg(clause);
		value = false;
	}
	else if (IsA(clause, BooleanTest))
	{
		BooleanTest *test = (BooleanTest *) clause;

		/* at the top of a condition, NULL is as good as false */
		if (test->booltesttype != IS_TRUE && test->booltesttype != IS_FALSE)
			return NULL;
		operand = test->arg;
		value = test->booltesttype == IS_TRUE;
	}
	if (!match_index_to_operand((Node *) operand, column, index))
		return NULL;
	return make_opclause(BooleanEqualOperator, BOOLOID, false, operand,
						 (Expr *) makeBoolConst(value, false), InvalidOid, InvalidOid);
}

static bool
has_clause(List *clauses, const RestrictInfo *rinfo)
{
	ListCell   *lc;

	foreach(lc, clauses)
	{
		if (lfirst_node(IndexClause, lc)->rinfo == rinfo)
			return true;
	}
	return false;
}

/* A path's conditions with those that it could test besides. */
static List *
more_clauses(PlannerInfo *root, IndexPath *path)
{
	IndexOptInfo *index = path->indexinfo;
	List	   *clauses = NIL;

	for (int column = 0; column < index->nkeycolumns; column++)
	{
		ListCell   *lc;

		foreach(lc, path->indexclauses)
		{
			if (lfirst_node(IndexClause, lc)->indexcol == column)
				clauses = lappend(clauses, lfirst(lc));
		}
		foreach(lc, index->indrestrictinfo)
		{
			RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);
			IndexClause *more;
			Expr	   *condition;

			if (rinfo->pseudoconstant || !restriction_is_securely_promotable(rinfo, index->rel) ||
				has_clause(path->indexclauses, rinfo) || has_clause(clauses, rinfo))
				continue;
			condition = match_clause(root, index, column, rinfo->clause);
			if (!condition)
				continue;
			more = makeNode(IndexClause);
			more->rinfo = rinfo;
			more->indexquals = list_make1(condition == rinfo->clause ? rinfo :
										  make_simple_restrictinfo(root, condition));
			more->indexcol = column;
			clauses = lappend(clauses, more);
		}
	}
	return clauses;
}

static bool
is_ours(const IndexPath *path)
{
	for (int i = 0; i < nmethods; i++)
		if ((amcostestimate_function) path->indexinfo->amcostestimate == methods[i])
			return true;
	return false;
}

static void
improve_paths(PlannerInfo *root, RelOptInfo *rel, Index rti, RangeTblEntry *rte)
{
	List	   *found = NIL;
	ListCell   *lc;

	if (previous)
		previous(root, rel, rti, rte);
	/* adding one may remove others from the list */
	foreach(lc, rel->pathlist)
	{
		IndexPath  *path = lfirst(lc);

		if (IsA(path, IndexPath) && path->indexorderbys != NIL && is_ours(path) && !path->path.param_info)
			found = lappend(found, path);
	}
	foreach(lc, found)
	{
		IndexPath  *path = lfirst(lc);
		List	   *clauses = more_clauses(root, path);

		if (list_length(clauses) == list_length(path->indexclauses))
			continue;
		rel->pathlist = list_delete_ptr(rel->pathlist, path);
		add_path(rel, (Path *) create_index_path(root, path->indexinfo, clauses,
												 path->indexorderbys, path->indexorderbycols,
												 path->path.pathkeys, path->indexscandir,
												 false, NULL, 1.0, false));
	}
	list_free(found);
}

/*
 * Once per process.
 */
void
ix_match_init(void)
{
	if (MATCHES_FILTERS_COMPAT)
		return;
	previous = set_rel_pathlist_hook;
	set_rel_pathlist_hook = improve_paths;
}

/*
 * Let paths of an index method be known by its cost function.  Once per process
 * for each.
 */
void
ix_match_method(amcostestimate_function method)
{
	Assert(nmethods < MOST_METHODS);
	methods[nmethods++] = method;
}
