/*
 * context.c
 *		jflow_context(): the running call, as an executor function sees it.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "flow/context.h"

JflowContext *jflow_context = NULL;

PG_FUNCTION_INFO_V1(jflow_context_row);

/*
 * Has the current user the rights with which the call runs?  What the executor
 * calls may be a SECURITY DEFINER function of another role.
 */
static bool
is_our_own(const JflowContext *context)
{
	return has_privs_of_role(GetUserId(), context->user);
}

/*
 * The call that a built-in executor function serves.  Raises where there is none,
 * or it is somebody else's, whose stores and models are his.
 */
const JflowContext *
jflow_context_required(void)
{
	if (jflow_context == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the function can only run as an executor of a flow")));
	if (!is_our_own(jflow_context))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for executor \"%s\" of flow \"%s\"",
						jflow_context->executor->name, jflow_context->flow->name),
				 errdetail("It runs as role \"%s\", whose rights role \"%s\" does not have.",
						   GetUserNameFromId(jflow_context->user, true),
						   GetUserNameFromId(GetUserId(), true))));
	return jflow_context;
}

/*
 * jflow_context() RETURNS record: one row about the running call; NULL when no
 * executor function is running.  uses_with, which can hold secrets, is only for
 * who has the rights that the call has.
 */
Datum
jflow_context_row(PG_FUNCTION_ARGS)
{
	const JflowContext *context = jflow_context;
	TupleDesc	desc;
	Datum		values[13] = {0};
	bool		nulls[13] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (context == NULL)
		PG_RETURN_NULL();

	values[0] = CStringGetTextDatum(context->flow->name);
	values[1] = CStringGetTextDatum(context->executor->name);
	values[2] = CStringGetTextDatum(context->endpoint);
	values[3] = Int32GetDatum(context->shard);
	values[4] = Int32GetDatum(context->shards);
	values[5] = Int32GetDatum(context->replica);
	values[6] = Int32GetDatum(context->replicas);
	nulls[7] = !is_our_own(context);
	values[7] = JsonbPGetDatum(context->executor->uses_with);
	if (context->executor->workspace)
		values[8] = CStringGetTextDatum(context->executor->workspace);
	else
		nulls[8] = true;
	values[9] = Int64GetDatum(context->post);
	values[10] = Int64GetDatum(context->request);
	nulls[9] = nulls[10] = context->together > 0;
	if (context->parts)
	{
		Datum	   *parts = palloc(sizeof(Datum) * Max(context->nparts, 1));

		for (int i = 0; i < context->nparts; i++)
			parts[i] = Int32GetDatum(context->parts[i]);
		values[11] = PointerGetDatum(construct_array(parts, context->nparts, INT4OID,
													 sizeof(int32), true, TYPALIGN_INT));
	}
	else
		nulls[11] = true;
	values[12] = Int32GetDatum(context->part);

	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
