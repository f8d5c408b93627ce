/*
 * grant.c
 *		Who else may post to a flow, and to which endpoints.
 *
 * A grant is a row for a role and an endpoint; "*" is the right to all of them.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "common/args.h"
#include "common/json.h"
#include "compat.h"
#include "flow/flow.h"

#define MAX_ENDPOINTS 1000		/* in one call */
#define MAX_GRANTS 10000		/* rows of a flow; others look through them */

PG_FUNCTION_INFO_V1(jflow_grant);
PG_FUNCTION_INFO_V1(jflow_revoke);

/* Raise what is wrong with a list of endpoints. */
static void
check_endpoints(char **endpoints, int n)
{
	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("endpoints must not be empty"),
				 errhint("Leave the argument out for all endpoints.")));
	if (n > MAX_ENDPOINTS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many endpoints"),
				 errdetail("There are %d, but at most %d are taken at once.", n, MAX_ENDPOINTS)));
	for (int i = 0; i < n; i++)
		jflow_check_endpoint(endpoints[i]);
}

/*
 * Let a role, which the catalog keeps by that name, post to endpoints of a flow; NULL:
 * to all.  The current user must own the flow.
 */
static void
grant_to(const char *flow, const char *grantee, char **endpoints, int n)
{
	static char *all[] = {JFLOW_ALL_ENDPOINTS};
	JflowCatalogState state;
	JflowParams params = {0};

	(void) jflow_change_begin(&state, flow);
	jflow_param_text(&params, flow);
	jflow_param_text(&params, grantee);
	jflow_param_texts(&params, endpoints ? endpoints : all, endpoints ? n : 1);
	(void) jflow_catalog_run("INSERT INTO jflow.flow_grant (flow, grantee, endpoint) "
							 "SELECT $1, $2, e FROM pg_catalog.unnest($3) e "
							 "ON CONFLICT DO NOTHING", &params);
	if (jflow_catalog_run("SELECT FROM jflow.flow_grant WHERE flow = $1", &params) > MAX_GRANTS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("flow \"%s\" has too many grants", flow),
				 errdetail("There can be at most %d, one for each role and endpoint.", MAX_GRANTS),
				 errhint("Grant to a role whose members they are.")));
	jflow_catalog_end(&state);
}

/* The arguments of both functions; raises what is wrong with them. */
static char *
grant_args(FunctionCallInfo fcinfo, Oid *role, char ***endpoints, int *n)
{
	char	   *flow = jflow_arg_text(fcinfo, 0, "flow");

	jflow_arg_required(fcinfo, 1, "role");
	*role = PG_GETARG_OID(1);
	*endpoints = jflow_arg_texts_or_null(fcinfo, 2, "endpoints", n);
	if (*endpoints)
		check_endpoints(*endpoints, *n);
	jflow_check_flow_owner(jflow_flow_open(flow, false));
	return flow;
}

/*
 * jflow_grant(flow text, role regrole, endpoints text[]) RETURNS void
 */
Datum
jflow_grant(PG_FUNCTION_ARGS)
{
	char	  **endpoints;
	int			n;
	Oid			role;
	char	   *flow = grant_args(fcinfo, &role, &endpoints, &n);

	grant_to(flow, jflow_role_name(role), endpoints, n);
	PG_RETURN_VOID();
}

/* Warn where a role has the right to all endpoints, of which some were revoked. */
static void
warn_of_the_rest(const char *flow, const char *grantee)
{
	JflowParams params = {0};

	jflow_param_text(&params, flow);
	jflow_param_text(&params, grantee);
	if (jflow_catalog_run("SELECT FROM jflow.flow_grant WHERE flow = $1 AND grantee = $2 "
						  "AND endpoint = '*'", &params) > 0)
		ereport(WARNING,
				(errmsg("role \"%s\" may still post to all endpoints of flow \"%s\"", grantee, flow),
				 errhint("Revoke the right to all of them, and grant it to some.")));
}

/*
 * jflow_revoke(flow text, role regrole, endpoints text[]) RETURNS void
 */
Datum
jflow_revoke(PG_FUNCTION_ARGS)
{
	char	  **endpoints;
	int			n;
	Oid			role;
	char	   *flow = grant_args(fcinfo, &role, &endpoints, &n);
	char	   *grantee = jflow_role_kept_name(role);
	JflowCatalogState state;
	JflowParams params = {0};

	if (grantee == NULL)
		PG_RETURN_VOID();		/* it can have no grant */
	(void) jflow_change_begin(&state, flow);
	jflow_param_text(&params, flow);
	jflow_param_text(&params, grantee);
	jflow_param_texts(&params, endpoints, n);
	(void) jflow_catalog_run("DELETE FROM jflow.flow_grant WHERE flow = $1 AND grantee = $2 "
							 "AND ($3 IS NULL OR endpoint = ANY ($3))", &params);
	if (endpoints)
		warn_of_the_rest(flow, grantee);
	jflow_catalog_end(&state);
	PG_RETURN_VOID();
}

/*
 * Write the grants of a flow as a member "grants" of the object that is being built:
 * role to an array of endpoints, or null for all.  Nothing where there are none.
 */
void
jflow_grants_save(const JflowFlow *flow, JsonbInState *json)
{
	JflowCatalogState state;
	JflowParams params = {0};
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext spi;
	uint64		n;

	jflow_param_text(&params, flow->name);
	jflow_catalog_begin(&state);
	spi = CurrentMemoryContext;
	n = jflow_catalog_run("SELECT grantee, pg_catalog.to_jsonb(CASE WHEN pg_catalog.bool_or(endpoint = '*') THEN NULL "
						  "ELSE pg_catalog.array_agg(endpoint ORDER BY endpoint) END)::pg_catalog.text "
						  "FROM jflow.flow_grant WHERE flow = $1 GROUP BY grantee ORDER BY grantee", &params);
	MemoryContextSwitchTo(outer);
	if (n > 0)
	{
		jflow_json_push_key(json, "grants");
		pushJsonbValue(json, WJB_BEGIN_OBJECT, NULL);
		for (uint64 i = 0; i < n; i++)
		{
			char	   *endpoints = jflow_catalog_value(i, 2);

			jflow_json_push_json(json, jflow_role_shown_name(jflow_catalog_value(i, 1)),
								 DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
																	CStringGetDatum(endpoints ? endpoints : "null"))));
		}
		pushJsonbValue(json, WJB_END_OBJECT, NULL);
	}
	MemoryContextSwitchTo(spi);
	jflow_catalog_end(&state);
}

/* A member of "grants" of a document. */
static void
load_grant(void *arg, const char *key, JsonbValue *value)
{
	const char *flow = arg;
	char	  **endpoints = NULL;
	int			n = 0;

	if (value->type != jbvNull)
	{
		endpoints = jflow_json_strings(value, &n);
		if (endpoints == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("grant to \"%s\" must be an array of endpoints, or null for all", key)));
		check_endpoints(endpoints, n);
	}
	grant_to(flow, jflow_role_name(get_role_oid(key, false)), endpoints, n);
}

/* Make the grants of a document. */
void
jflow_grants_load(const char *flow, JsonbContainer *grants)
{
	jflow_json_each(grants, load_grant, (void *) flow);
}
