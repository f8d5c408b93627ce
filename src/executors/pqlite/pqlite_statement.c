/*
 * pqlite_statement.c
 *		Parts of statements that write rows of documents, and running them.
 *
 * The rows of a request are sent as an array per column and unnested, so that a
 * statement is run once for all of them.
 */
#include "postgres.h"

#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "executors/pqlite/pqlite.h"

/*
 * Run a statement that writes, under the newest snapshot: rows committed before
 * our locks were got must be seen.  A transaction that may not see them fails
 * with a serialization error.  SPI must be connected.  Raises
 * triggered_action_exception if another number of rows than expected is written;
 * -1 is any.
 */
void
pqlite_write_rows(PqliteStore *store, const char *sql, const PqliteRows *rows, int expected)
{
	SPIPlanPtr	plan = pqlite_plan(store, sql, rows->nargs, rows->types, CURSOR_OPT_GENERIC_PLAN);
	int			result = SPI_execute_snapshot(plan, rows->values, NULL, GetLatestSnapshot(),
											  IsolationUsesXactSnapshot() ? GetTransactionSnapshot()
											  : InvalidSnapshot,
											  false, true, 0);

	if (result < 0)
		elog(ERROR, "statement failed: %s: %s", SPI_result_code_string(result), sql);
	if (expected >= 0 && SPI_processed != expected)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
				 errmsg("table %s stored " UINT64_FORMAT " of %d documents", store->name,
						SPI_processed, expected),
				 errdetail("A trigger or rule on it kept the others out."),
				 errhint("Remove it, or let it raise an error that says why.")));
	if (!pqlite_plan_is_kept(store, plan))
		SPI_freeplan(plan);
}

/*
 * "unnest($1, $2, ...) WITH ORDINALITY AS u(column, ..., n)" for rows of these
 * columns, and perhaps their tags.  Only the bare name stands for several arrays at
 * once; pg_catalog is searched first.
 */
void
pqlite_append_unnest(const PqliteStore *store, StringInfo sql, const Bitmapset *columns, bool with_tags)
{
	int			nargs = bms_num_members(columns) + (with_tags ? 1 : 0);

	/*
	 * The parser itself makes several arrays' unnest the server's; of one, a
	 * function of another schema that takes just this type would be
	 * preferred.
	 */
	appendStringInfoString(sql, nargs > 1 ? "unnest(" : "pg_catalog.unnest(");
	for (int i = 1; i <= nargs; i++)
		appendStringInfo(sql, "%s$%d", i > 1 ? ", " : "", i);
	appendStringInfoString(sql, ") WITH ORDINALITY AS u(");
	for (int i = -1; (i = bms_next_member(columns, i)) >= 0;)
		appendStringInfo(sql, "c%d, ", i);
	appendStringInfo(sql, "%sn)", with_tags ? "tags, " : "");
}

/*
 * A sent value as the column's type.  The type's modifier is left to the
 * assignment, which refuses a string that is too long where a cast cuts it.
 */
void
pqlite_append_sent(const PqliteColumn *column, int number, StringInfo sql)
{
	Oid			type = getBaseType(column->type);

	appendStringInfo(sql, "u.c%d", number);
	if (type != column->sent_type)
		appendStringInfo(sql, "::%s", pqlite_quote_type(type, -1));
}

/*
 * Which rows an update is about.  The list of ids says nothing more than the
 * join, but lets no plan read the whole table, also one made while it was empty.
 */
void
pqlite_append_same_id(const PqliteStore *store, StringInfo sql, const Bitmapset *columns)
{
	const char *id = store->columns[store->id].quoted;

	appendStringInfo(sql, " WHERE t.%s %s u.c%d AND t.%s %s ANY ($%d)", id, store->same_id, store->id,
					 id, store->same_id, bms_member_index((Bitmapset *) columns, store->id) + 1);
}

/* The names of columns. */
void
pqlite_append_names(const PqliteStore *store, StringInfo sql, const Bitmapset *columns)
{
	const char *separator = "";

	for (int i = -1; (i = bms_next_member(columns, i)) >= 0; separator = ", ")
		appendStringInfo(sql, "%s%s", separator, store->columns[i].quoted);
}

/* What was sent for these columns. */
void
pqlite_append_sent_columns(const PqliteStore *store, StringInfo sql, const Bitmapset *columns)
{
	const char *separator = "";

	for (int i = -1; (i = bms_next_member(columns, i)) >= 0; separator = ", ")
	{
		appendStringInfoString(sql, separator);
		pqlite_append_sent(&store->columns[i], i, sql);
	}
}
