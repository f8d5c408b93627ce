/*
 * pqlite_id.c
 *		Ids: which are one and the same, in which order, and under which hash.
 *
 * That is for the type and collation of their column to say: of an integer 1 and
 * 01 are one.  Functions here may call those of a user's type.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/builtins.h"
#include "utils/typcache.h"

#include "common/text.h"
#include "compat.h"
#include "executors/pqlite/pqlite.h"

/* An id as a value of the id column. */
Datum
pqlite_id_value(const PqliteStore *store, Datum id)
{
	const PqliteColumn *column = &store->columns[store->id];

	if (column->sent_type == TEXTOID || column->sent_type == VARCHAROID)
		return id;
	return pqlite_parse(column->type, column->typmod, TextDatumGetCString(id));
}

/*
 * What an id is compared and hashed by: a value of the id column, or the text
 * itself where its bytes decide.
 */
Datum
pqlite_id_key(const PqliteStore *store, Datum id)
{
	return store->id_type ? pqlite_id_value(store, id) : PointerGetDatum(DatumGetTextPP(id));
}

/* An order of keys in which equal ones are together. */
int
pqlite_compare_ids(const PqliteStore *store, Datum a, Datum b)
{
	if (store->id_type)
		return DatumGetInt32(FunctionCall2Coll(&store->id_type->cmp_proc_finfo, store->id_collation, a, b));
	return jflow_text_order(a, b);
}

/* A hash of a key, the same for equal ones. */
uint64
pqlite_hash_id(const PqliteStore *store, Datum key)
{
	text	   *bytes;

	if (store->id_type)
		return DatumGetUInt64(FunctionCall2Coll(&store->id_type->hash_extended_proc_finfo,
												store->id_collation, key, Int64GetDatum(0)));
	bytes = DatumGetTextPP(key);
	return hash_bytes_extended((unsigned char *) VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes), 0);
}

/* Ids as an array of the id column's type. */
Datum
pqlite_ids_array(const PqliteStore *store, const JflowDoc *const *docs, int ndocs)
{
	const PqliteColumn *column = &store->columns[store->id];
	Datum	   *values = palloc(sizeof(Datum) * Max(ndocs, 1));
	bool	   *nulls = palloc0(sizeof(bool) * Max(ndocs, 1));

	for (int i = 0; i < ndocs; i++)
		values[i] = pqlite_id_value(store, docs[i]->values[DOC_ID]);
	return pqlite_array_of(column, values, nulls, ndocs);
}
