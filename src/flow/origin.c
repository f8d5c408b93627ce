/*
 * origin.c
 *		Posts that are made for a post on another server.
 *
 * A flow can have executors that are flows elsewhere, and these such executors
 * again.  What is posted for another post carries the flows that it came through,
 * so that one that would come to itself again is refused and not run without end.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"

#include "common/json.h"
#include "flow/flow.h"
#include "flow/origin.h"

Jsonb	   *jflow_origin = NULL;

/* An array of one flow, which is of this database. */
static Jsonb *
own_name(const char *flow)
{
	char	   *names[3];
	JsonbInState state = {0};

	names[0] = psprintf(UINT64_FORMAT, GetSystemIdentifier());
	names[1] = get_database_name(MyDatabaseId);
	names[2] = (char *) flow;
	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < lengthof(names); i++)
		jflow_json_push_text(&state, WJB_ELEM, names[i]);
	pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	return JsonbValueToJsonb(state.result);
}

/* An origin, which may be NULL, and a flow of this database behind it. */
Jsonb *
jflow_origin_add(Jsonb *origin, const char *flow)
{
	Jsonb	   *own = own_name(flow);

	if (origin == NULL)
		return own;
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(origin),
											  JsonbPGetDatum(own)));
}

/*
 * Raise invalid_recursion where a flow of this database is in the origin, or others
 * are too many; invalid_parameter_value where it is none.
 */
void
jflow_origin_check(Jsonb *origin, const char *flow)
{
	if (!JB_ROOT_IS_ARRAY(origin) || JB_ROOT_IS_SCALAR(origin))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the origin of a post must be an array")));
	if (DatumGetBool(DirectFunctionCall2(jsonb_contains, JsonbPGetDatum(origin),
										 JsonbPGetDatum(own_name(flow)))))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_RECURSION),
				 errmsg("flow \"%s\" posts to itself through other servers", flow),
				 errdetail_plural("The post has come through %d flow.", "The post has come through %d flows.",
								  JB_ROOT_COUNT(origin), (int) JB_ROOT_COUNT(origin))));
	if (JB_ROOT_COUNT(origin) >= JFLOW_MAX_ORIGINS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a post must not come through more than %d flows", JFLOW_MAX_ORIGINS)));
}
