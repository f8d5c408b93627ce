/*
 * spi.c
 *		Statements on the tables of schema jflow.
 *
 * They run with the rights of the tables' owner, so callers check rights first,
 * and with nothing but pg_catalog on the search path.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "compat.h"
#include "flow/flow.h"

/* OID of a table of schema jflow. */
Oid
jflow_catalog_relid(const char *name)
{
	Oid			relid = get_relname_relid(name, get_namespace_oid("jflow", false));

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table \"jflow.%s\" does not exist", name),
				 errhint("Run CREATE EXTENSION jflow.")));
	return relid;
}

/*
 * Begin: connects SPI, whose memory context is the current one until the end.
 * An error in between undoes all of it with the transaction or subtransaction.
 */
void
jflow_catalog_begin(JflowCatalogState *state)
{
	Relation	rel = table_open(jflow_catalog_relid("flow"), AccessShareLock);
	Oid			owner = rel->rd_rel->relowner;

	table_close(rel, AccessShareLock);
	GetUserIdAndSecContext(&state->userid, &state->sec_context);
	SetUserIdAndSecContext(owner, state->sec_context | SECURITY_LOCAL_USERID_CHANGE);
	state->guc_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	SPI_connect();
}

/*
 * Leave SPI, and be who we were before jflow_catalog_begin.  After an error the
 * abort of the transaction does this.
 */
void
jflow_catalog_end(JflowCatalogState *state)
{
	SPI_finish();
	AtEOXact_GUC(true, state->guc_level);
	SetUserIdAndSecContext(state->userid, state->sec_context);
}

/*
 * Run one statement between begin and end; "nulls" as for SPI.  Returns the
 * number of rows; what it selected is in SPI_tuptable.
 */
uint64
jflow_catalog_execute(const char *sql, int nargs, const Oid *types,
					  Datum *values, const char *nulls)
{
	/* below or beside a parallel plan no command may be counted */
	bool		read_only = IsInParallelMode();
	int			result = SPI_execute_with_args(sql, nargs, (Oid *) types, values,
											   nulls, read_only, 0);

	if (result < 0)
		elog(ERROR, "statement on the jflow catalog failed: %s",
			 SPI_result_code_string(result));
	return SPI_processed;
}

/* The same, with parameters that were collected. */
uint64
jflow_catalog_run(const char *sql, JflowParams *params)
{
	return jflow_catalog_execute(sql, params->n, params->types, params->values,
								 params->nulls);
}

/*
 * A value of what the last statement selected, as text, or NULL; column from 1.
 * Allocated in SPI's context.
 */
char *
jflow_catalog_value(uint64 row, int column)
{
	Assert(row < SPI_processed);
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);
}

/* Add a parameter.  What it points to must live until the statement has run. */
void
jflow_param(JflowParams *params, Oid type, Datum value, bool isnull)
{
	Assert(params->n < JFLOW_MAX_PARAMS);
	params->types[params->n] = type;
	params->values[params->n] = value;
	params->nulls[params->n] = isnull ? 'n' : ' ';
	params->n++;
}

/* Add a text; NULL is a NULL. */
void
jflow_param_text(JflowParams *params, const char *value)
{
	jflow_param(params, TEXTOID, value ? CStringGetTextDatum(value) : (Datum) 0, value == NULL);
}

/* Add an integer. */
void
jflow_param_int(JflowParams *params, int value)
{
	jflow_param(params, INT4OID, Int32GetDatum(value), false);
}

/* Add a boolean. */
void
jflow_param_bool(JflowParams *params, bool value)
{
	jflow_param(params, BOOLOID, BoolGetDatum(value), false);
}

/* Add a jsonb; NULL is a NULL. */
void
jflow_param_jsonb(JflowParams *params, Jsonb *value)
{
	jflow_param(params, JSONBOID, value ? JsonbPGetDatum(value) : (Datum) 0, value == NULL);
}

/* A text[] without NULLs; NULL strings: a NULL. */
void
jflow_param_texts(JflowParams *params, char **strings, int n)
{
	Datum	   *elems;
	ArrayType  *array;

	if (strings == NULL)
	{
		jflow_param(params, TEXTARRAYOID, (Datum) 0, true);
		return;
	}
	elems = palloc(sizeof(Datum) * Max(n, 1));
	for (int i = 0; i < n; i++)
		elems[i] = CStringGetTextDatum(strings[i]);
	array = construct_array(elems, n, TEXTOID, -1, false, TYPALIGN_INT);
	jflow_param(params, TEXTARRAYOID, PointerGetDatum(array), false);
}
