/*
 * pqlite_existing.c
 *		Writing documents to a table that its owner has made for other things, too.
 *
 * Of a row that is there only the columns that the document names are written,
 * and a new row has the others' defaults.  So documents are written in groups
 * that name the same columns, by a statement each: neither privileges, nor
 * triggers on columns, nor defaults allow to write a column as it is.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "compat.h"
#include "executors/pqlite/pqlite.h"

/* Documents that name the same columns, in the order they had. */
typedef struct NamedGroup
{
	Bitmapset  *columns;
	PqliteItem **items;
	int			nitems;
} NamedGroup;

/* An order in which equal sets are together and items of a set keep theirs. */
static int
named_order(const void *a, const void *b)
{
	const PqliteItem *const *ia = a;
	const PqliteItem *const *ib = b;
	int			order = bms_compare((*ia)->named, (*ib)->named);

	return order != 0 ? order : (*ia > *ib) - (*ia < *ib);
}

/*
 * Sort items by what they name and take the next group, which begins at "start".
 * Items are members of one array, so their addresses are their order.
 */
static NamedGroup
next_group(PqliteItem **items, int nitems, int start)
{
	NamedGroup	group = {items[start]->named, items + start, 1};

	while (start + group.nitems < nitems && bms_equal(items[start + group.nitems]->named, group.columns))
		group.nitems++;
	return group;
}

static void
form_rows(const PqliteStore *store, const NamedGroup *group, bool with_tags, PqliteRows *rows)
{
	const JflowDoc **docs = palloc(sizeof(JflowDoc *) * group->nitems);

	for (int i = 0; i < group->nitems; i++)
		docs[i] = group->items[i]->doc;
	pqlite_rows_form(store, docs, group->nitems, group->columns, with_tags, rows);
}

/* Mark the items whose number in the group, from 1, a statement returned. */
static void
mark_found(const NamedGroup *group)
{
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Datum		n = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);

		group->items[DatumGetInt64(n) - 1]->found = true;
	}
	SPI_freetuptable(SPI_tuptable);
}

/*
 * Write the named columns of rows that are there.  With "merge" tags are merged by
 * key into those of the row.  A group that names nothing but ids only looks.
 */
static void
update_group(PqliteStore *store, const NamedGroup *group, bool merge)
{
	Bitmapset  *changed = bms_del_member(bms_copy(group->columns), store->id);
	const char *separator = "";
	StringInfoData sql;
	PqliteRows	rows;

	form_rows(store, group, false, &rows);
	pqlite_check_keys_stay(store, group->columns, &rows, group->items, merge);
	initStringInfo(&sql);
	if (bms_is_empty(changed))
		appendStringInfo(&sql, "SELECT u.n FROM %s AS t, ", store->name);
	else
		appendStringInfo(&sql, "UPDATE %s AS t SET ", store->name);
	for (int i = -1; (i = bms_next_member(changed, i)) >= 0; separator = ", ")
	{
		const PqliteColumn *column = &store->columns[i];

		appendStringInfo(&sql, "%s%s = ", separator, column->quoted);
		if (merge && column->attr == DOC_TAGS)
			appendStringInfo(&sql, "COALESCE(t.%s || u.c%d, u.c%d)", column->quoted, i, i);
		else
			pqlite_append_sent(column, i, &sql);
	}
	if (!bms_is_empty(changed))
		appendStringInfoString(&sql, " FROM ");
	pqlite_append_unnest(store, &sql, group->columns, false);
	pqlite_append_same_id(store, &sql, group->columns);
	if (!bms_is_empty(changed))
		appendStringInfoString(&sql, " RETURNING u.n");
	pqlite_write_rows(store, sql.data, &rows, -1);
	mark_found(group);
}

/* Insert rows with the named columns; the others get their defaults. */
static void
insert_group(PqliteStore *store, const NamedGroup *group)
{
	const PqliteColumn *id = &store->columns[store->id];
	StringInfoData sql;
	PqliteRows	rows;

	if (id->generated)
		ereport(ERROR,
				(errcode(ERRCODE_GENERATED_ALWAYS),
				 errmsg("%s is not in table %s, and cannot be inserted",
						pqlite_doc_name(group->items[0]->doc), store->name),
				 errdetail("Its column of ids, \"%s\", is generated.", id->name),
				 errhint("Insert the row with SQL and post it with the id that it got.")));
	form_rows(store, group, false, &rows);
	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO %s (", store->name);
	pqlite_append_names(store, &sql, group->columns);
	appendStringInfoString(&sql, ") SELECT ");
	pqlite_append_sent_columns(store, &sql, group->columns);
	appendStringInfoString(&sql, " FROM ");
	pqlite_append_unnest(store, &sql, group->columns, false);
	pqlite_write_rows(store, sql.data, &rows, group->nitems);
}

/*
 * Write documents of different ids to the rows that have their ids, which marks
 * them found; with "insert" those that have none become rows, without it tags are
 * merged by key.  SPI must be connected and the ids locked.
 */
void
pqlite_write_existing(PqliteStore *store, PqliteItem **items, int nitems, bool insert)
{
	int			n = 0;

	qsort(items, nitems, sizeof(PqliteItem *), named_order);
	for (int i = 0; i < nitems;)
	{
		NamedGroup	group = next_group(items, nitems, i);

		CHECK_FOR_INTERRUPTS();
		update_group(store, &group, !insert);
		i += group.nitems;
	}
	if (!insert)
		return;
	for (int i = 0; i < nitems; i++)
		if (!items[i]->found)
			items[n++] = items[i];
	for (int i = 0; i < n;)
	{
		NamedGroup	group = next_group(items, n, i);

		CHECK_FOR_INTERRUPTS();
		insert_group(store, &group);
		i += group.nitems;
	}
}
