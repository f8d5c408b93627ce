/*
 * context.c
 *		jflow_context(): the running call, as an executor function sees it.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "flow/context.h"

JflowContext *jflow_context = NULL;

PG_FUNCTION_INFO_V1(jflow_context_row);

/*
 * jflow_context() RETURNS record: one row about the running call; NULL when no
 * executor function is running.
 */
Datum
jflow_context_row(PG_FUNCTION_ARGS)
{
	const JflowContext *context = jflow_context;
	TupleDesc	desc;
	Datum		values[12] = {0};
	bool		nulls[12] = {false};

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
	values[7] = JsonbPGetDatum(context->executor->uses_with);
	if (context->executor->workspace)
		values[8] = CStringGetTextDatum(context->executor->workspace);
	else
		nulls[8] = true;
	values[9] = Int64GetDatum(context->post);
	values[10] = Int64GetDatum(context->request);
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

	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
