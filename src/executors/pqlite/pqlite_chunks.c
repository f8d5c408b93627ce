/*
 * pqlite_chunks.c
 *		Chunks of a document that was indexed again, or deleted.
 *
 * TextSplitter names the chunks of a document "P" P#0, P#1, ..., and says in the
 * tag "chunks" of each how many there are: so what is stored under a higher number
 * is of an older version.  Each chunk alone says it, so it does not matter whether
 * all come in one request.  They are looked for by id, some numbers at a time until
 * none of them is there: chunks that failed may leave gaps, but not large ones.
 *
 * Whoever writes chunks locks their parent's id along with their own, so versions
 * of one document do not mix.
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "common/json.h"
#include "compat.h"
#include "executors/pqlite/pqlite.h"

#define NUMBERS_AT_ONCE 16		/* that are looked for, of each parent */

/* How many chunks its document has, as a document says; -1 if it says nothing. */
static int
told_chunks(const JflowDoc *doc)
{
	JsonbValue	buffer;
	JsonbValue *value;
	bool		error = false;
	int			n;

	if (doc->nulls[DOC_TAGS])
		return -1;
	value = jflow_json_get(DatumGetJsonbP(doc->values[DOC_TAGS]), "chunks", &buffer);
	if (value == NULL || value->type != jbvNumeric)
		return -1;
	n = numeric_int4_compat(value->val.numeric, &error);
	return error || n < 0 ? -1 : n;
}

/* Is an id that of a chunk of this parent, by its form? */
static bool
is_chunk_id(text *id, text *parent)
{
	int			len = VARSIZE_ANY_EXHDR(parent);
	const char *rest = VARDATA_ANY(id) + len;
	int			rest_len = VARSIZE_ANY_EXHDR(id) - len;

	if (rest_len < 2 || memcmp(VARDATA_ANY(id), VARDATA_ANY(parent), len) != 0 || rest[0] != '#')
		return false;
	for (int i = 1; i < rest_len; i++)
		if (rest[i] < '0' || rest[i] > '9')
			return false;
	return true;
}

/* The column of an attribute, if it is text; -1. */
static int
text_column(const PqliteStore *store, JflowDocAttr attr)
{
	for (int i = 0; i < store->ncolumns; i++)
		if (store->columns[i].attr == attr &&
			(store->columns[i].type == TEXTOID || store->columns[i].type == VARCHAROID))
			return i;
	return -1;
}

/* Can a store hold chunks? */
static bool
holds_chunks(const PqliteStore *store)
{
	return text_column(store, DOC_ID) == store->id && text_column(store, DOC_PARENT_ID) >= 0;
}

/*
 * The documents whose chunks a request has, in the order of their first; a parent
 * is there once.  One without chunks, as it says, is there with none.
 */
PqliteParent *
pqlite_parents(const PqliteStore *store, const JflowDocs *docs, int *nparents)
{
	PqliteParent *parents = palloc0(sizeof(PqliteParent) * Max(docs->ndocs, 1));
	int			n = 0;

	for (int i = 0; i < docs->ndocs && holds_chunks(store); i++)
	{
		const JflowDoc *doc = &docs->docs[i];
		int			chunks = told_chunks(doc);
		Datum		parent = doc->values[chunks == 0 ? DOC_ID : DOC_PARENT_ID];

		if (chunks < 0 || (chunks > 0 && (doc->nulls[DOC_PARENT_ID] ||
										  !is_chunk_id(DatumGetTextPP(doc->values[DOC_ID]), DatumGetTextPP(parent)))))
			continue;
		if (n > 0 && DatumGetBool(DirectFunctionCall2Coll(texteq, C_COLLATION_OID, parents[n - 1].id, parent)))
		{
			parents[n - 1].keep = Max(parents[n - 1].keep, chunks);
			continue;
		}
		parents[n].id = parent;
		parents[n++].keep = chunks;
	}
	*nparents = n;
	return parents;
}

/* The same for documents that are deleted, with all their chunks. */
PqliteParent *
pqlite_deleted_parents(const PqliteStore *store, PqliteItem *items, int nitems, int *nparents)
{
	PqliteParent *parents = palloc0(sizeof(PqliteParent) * Max(nitems, 1));

	*nparents = holds_chunks(store) ? nitems : 0;
	for (int i = 0; i < *nparents; i++)
	{
		parents[i].id = items[i].doc->values[DOC_ID];
		parents[i].found = &items[i].found;
	}
	return parents;
}

/* Delete the next numbers of each parent; leaves those of which one was there. */
static int
delete_round(PqliteStore *store, const char *sql, PqliteParent *parents, int nparents)
{
	int			n = nparents * NUMBERS_AT_ONCE;
	Datum	   *ids = palloc(sizeof(Datum) * n);
	Datum	   *parent_ids = palloc(sizeof(Datum) * n);
	Datum	   *numbers = palloc(sizeof(Datum) * n);
	bool	   *found = palloc0(sizeof(bool) * nparents);
	Oid			types[3] = {TEXTARRAYOID, TEXTARRAYOID, INT4ARRAYOID};
	Datum		values[3];
	PqliteRows	rows = {.nargs = 3,.types = types,.values = values};
	int			left = 0;

	for (int i = 0; i < n; i++)
	{
		PqliteParent *parent = &parents[i / NUMBERS_AT_ONCE];

		ids[i] = CStringGetTextDatum(psprintf("%s#%d", TextDatumGetCString(parent->id),
											  parent->keep + i % NUMBERS_AT_ONCE));
		parent_ids[i] = parent->id;
		numbers[i] = Int32GetDatum(i / NUMBERS_AT_ONCE);
	}
	values[0] = PointerGetDatum(construct_array(ids, n, TEXTOID, -1, false, TYPALIGN_INT));
	values[1] = PointerGetDatum(construct_array(parent_ids, n, TEXTOID, -1, false, TYPALIGN_INT));
	values[2] = PointerGetDatum(construct_array(numbers, n, INT4OID, sizeof(int32), true, TYPALIGN_INT));
	pqlite_write_rows(store, sql, &rows, -1);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;

		found[DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull))] = true;
	}
	for (int i = 0; i < nparents; i++)
	{
		if (!found[i])
			continue;
		if (parents[i].found)
			*parents[i].found = true;
		parents[left] = parents[i];
		parents[left++].keep += NUMBERS_AT_ONCE;
	}
	return left;
}

/*
 * Delete stored chunks of documents whose numbers are not below "keep", which is
 * changed.  SPI must be connected, and the ids of the parents locked.
 */
void
pqlite_delete_chunks(PqliteStore *store, PqliteParent *parents, int nparents)
{
	const char *id = store->columns[store->id].quoted;
	char	   *sql;

	if (nparents == 0)
		return;
	sql = psprintf("DELETE FROM %s AS t USING unnest($1, $2, $3) AS u(id, parent, n) "
				   "WHERE t.%s %s u.id AND t.%s %s ANY ($1) AND t.%s OPERATOR(pg_catalog.=) u.parent RETURNING u.n",
				   store->name, id, store->same_id, id, store->same_id,
				   store->columns[text_column(store, DOC_PARENT_ID)].quoted);
	while (nparents > 0)
	{
		CHECK_FOR_INTERRUPTS();
		nparents = delete_round(store, sql, parents, nparents);
	}
}
