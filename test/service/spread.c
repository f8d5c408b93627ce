/*
 * spread.c
 *		A planner that does what one of distributed tables does: of a statement about
 *		a table whose name begins with "spread" it has no plan without the values of
 *		its parameters.  Such a plan is very dear, and fails when it is run.
 */
#include "postgres.h"

#include "executor/executor.h"
#include "fmgr.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/planner.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"

#include "compat.h"

#define NO_PLAN_COST 1e30

PG_MODULE_MAGIC;

void		_PG_init(void);

static planner_hook_type previous_planner = NULL;
static ExecutorStart_hook_type previous_start = NULL;

/* What a statement is made of. */
typedef struct Found
{
	bool		spread;
	bool		parameter;
} Found;

static bool
find(Node *node, void *arg)
{
	Found	   *found = arg;

	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		const RangeTblEntry *entry = (RangeTblEntry *) node;
		const char *name = entry->rtekind == RTE_RELATION ? get_rel_name(entry->relid) : NULL;

		found->spread |= name && strncmp(name, "spread", 6) == 0;
		return false;
	}
	if (IsA(node, Param))
		found->parameter |= ((Param *) node)->paramkind == PARAM_EXTERN;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, find, arg, QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, find, arg);
}

static PlannedStmt *
plan(PLANNER_ARGS_COMPAT)
{
	Found		found = {0};
	PlannedStmt *result;

	(void) find((Node *) query, &found);
	result = previous_planner ? previous_planner(PASS_PLANNER_ARGS_COMPAT) :
		standard_planner(PASS_PLANNER_ARGS_COMPAT);
	if (found.spread && found.parameter && params == NULL)
		result->planTree->total_cost = NO_PLAN_COST;
	return result;
}

static void
start(QueryDesc *desc, int eflags)
{
	const Plan *tree = desc->plannedstmt->planTree;

	if (tree && tree->total_cost == NO_PLAN_COST)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("could not create distributed plan")));
	if (previous_start)
		previous_start(desc, eflags);
	else
		standard_ExecutorStart(desc, eflags);
}

void
_PG_init(void)
{
	previous_planner = planner_hook;
	planner_hook = plan;
	previous_start = ExecutorStart_hook;
	ExecutorStart_hook = start;
}
