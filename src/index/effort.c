/*
 * effort.c
 *		What a scan of an index has done, for who asks why it takes so long.
 *
 * Where the server lets us, EXPLAIN (ANALYZE) has it below the scan's node; what
 * the workers of a parallel query have scanned is not in it.  In all versions a
 * scan that ends tells it in a notice, if jflow.explain_scans is on.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "utils/rel.h"

#include "compat.h"
#include "index/effort.h"

#define MOST_METHODS 2

typedef struct Method
{
	ambeginscan_function begin;
	const char *lists;			/* what lists are called */
	bool		calibrates;
} Method;

bool		jflow_explain_scans = false;

static Method methods[MOST_METHODS];
static int	nmethods = 0;
static StringInfo collected = NULL;

static const Method *
method_of(IndexScanDesc scan)
{
	for (int i = 0; i < nmethods; i++)
		if (scan->indexRelation->rd_indam->ambeginscan == methods[i].begin)
			return &methods[i];
	return NULL;
}

#ifdef JFLOW_EXPLAIN_NODES
static explain_per_node_hook_type previous_node = NULL;

static void
explain_node(PlanState *state, List *ancestors, const char *relationship, const char *plan_name,
			 ExplainState *es)
{
	IndexScanDesc scan = es->analyze && IsA(state, IndexScanState) ?
		((IndexScanState *) state)->iss_ScanDesc : NULL;
	const Method *method = scan ? method_of(scan) : NULL;

	if (previous_node)
		previous_node(state, ancestors, relationship, plan_name, es);
	if (method)
	{
		const IxEffort *effort = scan->opaque;

		ExplainPropertyInteger(method->lists, NULL, effort->lists, es);
		ExplainPropertyInteger("Candidates", NULL, effort->candidates, es);
		ExplainPropertyInteger("Rows Fetched", NULL, effort->fetched, es);
		ExplainPropertyInteger("Rounds", NULL, effort->rounds, es);
		if (effort->all)
			ExplainPropertyBool("All Entries Read", true, es);
		if (method->calibrates)
			ExplainPropertyBool("Calibrated", effort->calibrated, es);
	}
}
#endif

/* Once per process. */
void
ix_effort_init(void)
{
#ifdef JFLOW_EXPLAIN_NODES
	previous_node = explain_per_node_hook;
	explain_per_node_hook = explain_node;
#endif
}

/*
 * Tell of scans of an index method, known by how they begin.  Once per process for
 * each.
 */
void
ix_effort_method(ambeginscan_function method, const char *lists, bool calibrates)
{
	Assert(nmethods < MOST_METHODS);
	methods[nmethods].begin = method;
	methods[nmethods].lists = lists;
	methods[nmethods++].calibrates = calibrates;
}

/*
 * Collect what scans that end from now on have done, a line each, in an earlier
 * buffer again or nowhere (NULL); returns the one before.  Where EXPLAIN has it in
 * its nodes nothing is collected.
 */
StringInfo
ix_effort_collect(StringInfo to)
{
	StringInfo	before = collected;

#ifndef JFLOW_EXPLAIN_NODES
	collected = to;
#endif
	return before;
}

/*
 * A scan ends, not by an error.  What code does with the rights of somebody else
 * is none of the business of who called it.
 */
void
ix_effort_end(IndexScanDesc scan)
{
	const IxEffort *effort = scan->opaque;
	const Method *method = method_of(scan);
	StringInfoData text;

	if (method == NULL || effort->searches == 0 ||
		(collected == NULL && (!jflow_explain_scans || InLocalUserIdChange())))
		return;
	initStringInfo(&text);
	appendStringInfo(&text, "%s: " INT64_FORMAT ", Candidates: " INT64_FORMAT ", Rows Fetched: " INT64_FORMAT
					 ", Rounds: " INT64_FORMAT "%s%s", method->lists, effort->lists, effort->candidates,
					 effort->fetched, effort->rounds, effort->all ? ", All Entries Read" : "",
					 !method->calibrates ? "" : effort->calibrated ? ", Calibrated" : ", Not Calibrated");
	if (collected)
		appendStringInfo(collected, "\nIndex %s: %s", RelationGetRelationName(scan->indexRelation), text.data);
	else
		ereport(NOTICE,
				(errmsg("scan of index \"%s\"", RelationGetRelationName(scan->indexRelation)),
				 errdetail_internal("%s", text.data)));
	pfree(text.data);
}
