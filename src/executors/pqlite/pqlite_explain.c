/*
 * pqlite_explain.c
 *		How the statements of a store are planned, for jflow_explain.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "compat.h"
#include "executors/pqlite/pqlite.h"
#include "index/effort.h"

/*
 * Add the plan of a statement to those that are told.  The statement reads, and is
 * run for it: what it finds is not to be had from here else.  SPI must be connected.
 */
void
pqlite_explain(JflowPlans *plans, const char *sql, int nargs, Oid *types, ParamListInfo params)
{
	TimestampTz started = GetCurrentTimestamp();
	SPIPlanPtr	plan = SPI_prepare(psprintf("EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF, BUFFERS OFF) %s", sql),
								   nargs, types);
	SPIExecuteOptions options = {.params = params};
	StringInfoData effort;
	StringInfo	before;

	initStringInfo(&effort);
	before = ix_effort_collect(&effort);
	PG_TRY();
	{
		if (plan == NULL || SPI_execute_plan_extended(plan, &options) != SPI_OK_UTILITY)
			elog(ERROR, "could not explain a statement: %s", sql);
	}
	PG_FINALLY();
	{
		(void) ix_effort_collect(before);
	}
	PG_END_TRY();
	for (uint64 row = 0; row < SPI_processed; row++)
		appendStringInfo(&plans->text, "%s%s", plans->text.len > 0 ? "\n" : "",
						 SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, 1));
	appendBinaryStringInfo(&plans->text, effort.data, effort.len);
	SPI_freetuptable(SPI_tuptable);
	SPI_freeplan(plan);
	plans->elapsed += GetCurrentTimestamp() - started;
}
