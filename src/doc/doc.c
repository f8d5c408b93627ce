/*
 * doc.c
 *		Documents as datums and as structs.
 *
 * A batch of documents is one datum, a jflow_doc[], wherever it rests or
 * travels: it is flat, so a hop copies bytes and parses nothing.  Deforming is
 * cheap (values point into the datum), and forming copies every value once.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"
#include "utils/uuid.h"

#include "compat.h"
#include "doc/doc.h"

#define UUIDS_AT_ONCE 32
#define UUID_TEXT_LEN 36

static const char *const attr_names[DOC_NATTS] = {
	"id", "text", "blob", "uri", "mime_type", "tags", "embedding",
	"sparse_embedding", "parent_id", "granularity", "scores", "weight",
	"matches"
};

static JflowTypes types;
static bool types_valid = false;
static bool types_callback = false;

/* Counts changes of types, so that one during a look-up is not missed. */
static uint64 types_changes = 0;

static void
types_invalidate(Datum arg, int cacheid, uint32 hashvalue)
{
	types_valid = false;
	types_changes++;
}

/* The schema that the extension was created in. */
static Oid
extension_schema(Oid extension)
{
	Relation	rel;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			schema = InvalidOid;

	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_extension_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(extension));
	scan = systable_beginscan(rel, ExtensionOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		schema = ((Form_pg_extension) GETSTRUCT(tuple))->extnamespace;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);

	return schema;
}

static Oid
type_in_schema(const char *name, Oid schema)
{
	Oid			oid;

	oid = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid,
						  CStringGetDatum(name), ObjectIdGetDatum(schema));
	if (!OidIsValid(oid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("type \"%s\" of extension \"jflow\" does not exist", name)));
	return oid;
}

/*
 * The OIDs of our types, looked up once and again after any type changed: an
 * extension can be dropped and created anew within a session.  Raises
 * undefined_object if the extension is not there.
 */
const JflowTypes *
jflow_types(void)
{
	TupleDesc	desc;
	uint64		before;

	if (types_valid)
		return &types;

	if (!types_callback)
	{
		CacheRegisterSyscacheCallback(TYPEOID, types_invalidate, (Datum) 0);
		types_callback = true;
	}

	before = types_changes;
	types.extension = get_extension_oid("jflow", false);
	types.schema = extension_schema(types.extension);
	types.doc = type_in_schema("jflow_doc", types.schema);
	types.match = type_in_schema("jflow_match", types.schema);
	types.doc_array = get_array_type(types.doc);
	types.match_array = get_array_type(types.match);

	desc = lookup_rowtype_tupdesc(types.doc, -1);
	if (desc->natts < DOC_NATTS)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("type jflow_doc has %d attributes instead of %d", desc->natts, DOC_NATTS)));
	for (int i = 0; i < DOC_NATTS; i++)
		types.atttype[i] = TupleDescAttr(desc, i)->atttypid;
	ReleaseTupleDesc(desc);

	types_valid = before == types_changes;
	return &types;
}

/* Name of an attribute, a constant. */
const char *
jflow_doc_attr_name(JflowDocAttr attr)
{
	return attr_names[attr];
}

/* Number of the attribute with this name, or -1. */
int
jflow_doc_attr_by_name(const char *name)
{
	for (int i = 0; i < DOC_NATTS; i++)
		if (strcmp(name, attr_names[i]) == 0)
			return i;
	return -1;
}

/* A document all of whose attributes are NULL. */
void
jflow_doc_init(JflowDoc *doc)
{
	memset(doc->values, 0, sizeof(doc->values));
	memset(doc->nulls, true, sizeof(doc->nulls));
}

/*
 * Deform a composite datum of one of our types into natts values.  A user can
 * add attributes to our types with ALTER TYPE; they are left alone, and rows
 * stored before are padded with NULLs.
 */
static void
deform_row(Datum datum, Oid type, Datum *values, bool *nulls, int natts)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(datum);
	HeapTupleData tuple;
	TupleDesc	desc;

	if (HeapTupleHeaderGetTypeId(header) != type)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("row of type %s expected, not of %s", format_type_be(type),
						format_type_be(HeapTupleHeaderGetTypeId(header)))));

	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;

	desc = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(header),
								  HeapTupleHeaderGetTypMod(header));
	if (desc->natts == natts)
		heap_deform_tuple(&tuple, desc, values, nulls);
	else
	{
		Datum	   *all_values = palloc(desc->natts * sizeof(Datum));
		bool	   *all_nulls = palloc(desc->natts * sizeof(bool));

		heap_deform_tuple(&tuple, desc, all_values, all_nulls);
		memcpy(values, all_values, natts * sizeof(Datum));
		memcpy(nulls, all_nulls, natts * sizeof(bool));
		pfree(all_values);
		pfree(all_nulls);
	}
	ReleaseTupleDesc(desc);
}

/*
 * A row on its way into a datum: as many values as its type has attributes,
 * none of them toasted.
 */
typedef struct Row
{
	Datum	   *values;
	bool	   *nulls;
	bool		has_null;
	Size		header;			/* bytes */
	Size		data;
} Row;

/* Prepare a row of the type's first natts values; others are NULL. */
static void
prepare_row(TupleDesc desc, const Datum *values, const bool *nulls, int natts, Row *row)
{
	row->has_null = false;
	row->values = palloc(sizeof(Datum) * desc->natts);
	row->nulls = palloc(sizeof(bool) * desc->natts);
	for (int i = 0; i < desc->natts; i++)
	{
		row->values[i] = i < natts ? values[i] : (Datum) 0;
		row->nulls[i] = i < natts ? nulls[i] : true;
		row->has_null |= row->nulls[i];
		if (!row->nulls[i] && TupleDescAttr(desc, i)->attlen == -1 &&
			(VARATT_IS_EXTERNAL(DatumGetPointer(row->values[i])) ||
			 VARATT_IS_COMPRESSED(DatumGetPointer(row->values[i]))))
			row->values[i] = PointerGetDatum(detoast_attr((struct varlena *) DatumGetPointer(row->values[i])));
	}
	row->header = MAXALIGN(SizeofHeapTupleHeader + (row->has_null ? BITMAPLEN(desc->natts) : 0));
	row->data = heap_compute_data_size(desc, row->values, row->nulls);
}

/* A datum of a row type whose header tells what the server wants it to. */
static HeapTupleHeader
header_of_type(TupleDesc desc)
{
	Datum	   *values = palloc0(sizeof(Datum) * desc->natts);
	bool	   *nulls = palloc(sizeof(bool) * desc->natts);

	memset(nulls, true, sizeof(bool) * desc->natts);
	return heap_form_tuple(desc, values, nulls)->t_data;
}

/*
 * Write a prepared row as a composite datum into zeroed memory.  Only what
 * depends on the values is set here, the rest comes from another datum of the
 * type: releases of the server differ in what a header holds.
 */
static void
write_row(TupleDesc desc, const Row *row, HeapTupleHeader model, char *target)
{
	HeapTupleHeader header = (HeapTupleHeader) target;

	memcpy(header, model, SizeofHeapTupleHeader);
	HeapTupleHeaderSetDatumLength(header, row->header + row->data);
	header->t_hoff = row->header;
	heap_fill_tuple(desc, row->values, row->nulls, target + row->header, row->data,
					&header->t_infomask, row->has_null ? header->t_bits : NULL);
}

/* Form a composite datum of the given type from its first natts values. */
static Datum
form_row(Oid type, const Datum *values, const bool *nulls, int natts)
{
	TupleDesc	desc = lookup_rowtype_tupdesc(type, -1);
	HeapTuple	tuple;
	Row			row;

	prepare_row(desc, values, nulls, natts, &row);
	tuple = heap_form_tuple(desc, row.values, row.nulls);
	ReleaseTupleDesc(desc);
	pfree(row.values);
	pfree(row.nulls);

	return HeapTupleGetDatum(tuple);
}

/*
 * An array of composite datums, each written where it stays: documents can be
 * large, and are formed at each hop.
 */
static Datum
form_array(Oid type, const Row *rows, int n, TupleDesc desc)
{
	uint64		size = ARR_OVERHEAD_NONULLS(1);
	HeapTupleHeader model = header_of_type(desc);
	ArrayType  *array;
	char	   *next;

	for (int i = 0; i < n; i++)
		size += MAXALIGN(rows[i].header + rows[i].data);
	if (!AllocSizeIsValid(size))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%d documents or matches have " UINT64_FORMAT " bytes, more than one request can hold",
						n, size),
				 errhint("Use a smaller request_size.")));
	array = palloc0(size);
	SET_VARSIZE(array, size);
	array->ndim = 1;
	array->dataoffset = 0;
	array->elemtype = type;
	ARR_DIMS(array)[0] = n;
	ARR_LBOUND(array)[0] = 1;
	next = ARR_DATA_PTR(array);
	for (int i = 0; i < n; i++)
	{
		write_row(desc, &rows[i], model, next);
		next += MAXALIGN(rows[i].header + rows[i].data);
	}
	return PointerGetDatum(array);
}

/* Values of the result point into the datum. */
void
jflow_doc_deform(Datum datum, JflowDoc *doc)
{
	deform_row(datum, jflow_types()->doc, doc->values, doc->nulls, DOC_NATTS);
}

/*
 * A jflow_doc of a struct, in the current memory context; its values are copied.
 */
Datum
jflow_doc_form(const JflowDoc *doc)
{
	return form_row(jflow_types()->doc, doc->values, doc->nulls, DOC_NATTS);
}

/*
 * Elements of an array of one of our composite types.  Any dimension and lower
 * bound will do; a NULL element is an error, in which "what" names the giver.
 */
static int
deform_elements(Datum datum, Oid type, const char *what, Datum **elems)
{
	ArrayType  *array = DatumGetArrayTypeP(datum);
	bool	   *nulls;
	int			n;

	if (ARR_ELEMTYPE(array) != type)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("array of %s expected, not of %s",
						format_type_be(type), format_type_be(ARR_ELEMTYPE(array)))));
	deconstruct_array(array, type, -1, false, TYPALIGN_DOUBLE, elems, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("%s must not contain NULL", what),
					 errdetail("Element %d is NULL.", i + 1)));
	}
	return n;
}

/*
 * The documents of a jflow_doc[], in the current memory context.  Their values
 * point into the datum.  "what" names the array in the error about a NULL.
 */
JflowDocs *
jflow_docs_deform(Datum array, const char *what)
{
	JflowDocs  *result = palloc(sizeof(JflowDocs));
	Datum	   *elems;

	result->ndocs = deform_elements(array, jflow_types()->doc, what, &elems);
	result->docs = palloc_extended(sizeof(JflowDoc) * Max(result->ndocs, 1),
								   MCXT_ALLOC_HUGE);
	for (int i = 0; i < result->ndocs; i++)
		jflow_doc_deform(elems[i], &result->docs[i]);
	pfree(elems);

	return result;
}

/* A jflow_doc[] in the current memory context. */
Datum
jflow_docs_form(const JflowDocs *docs)
{
	Oid			type = jflow_types()->doc;
	TupleDesc	desc;
	Row		   *rows;
	Datum		result;

	if (docs->ndocs == 0)
		return jflow_docs_empty();
	desc = lookup_rowtype_tupdesc(type, -1);
	rows = palloc_extended(sizeof(Row) * docs->ndocs, MCXT_ALLOC_HUGE);
	for (int i = 0; i < docs->ndocs; i++)
		prepare_row(desc, docs->docs[i].values, docs->docs[i].nulls, DOC_NATTS, &rows[i]);
	result = form_array(type, rows, docs->ndocs, desc);
	ReleaseTupleDesc(desc);
	pfree(rows);

	return result;
}

/* A jflow_doc[] of none, in the current memory context. */
Datum
jflow_docs_empty(void)
{
	return PointerGetDatum(construct_empty_array(jflow_types()->doc));
}

/* A match as a struct; values point into the datum. */
void
jflow_match_deform(Datum datum, JflowMatch *match)
{
	deform_row(datum, jflow_types()->match, match->values, match->nulls, MATCH_NATTS);
}

/*
 * A jflow_match of a struct, in the current memory context; its values are copied.
 */
Datum
jflow_match_form(const JflowMatch *match)
{
	return form_row(jflow_types()->match, match->values, match->nulls, MATCH_NATTS);
}

/* Matches of a jflow_match[]; values point into the datum. */
int
jflow_matches_deform(Datum array, JflowMatch **matches)
{
	Datum	   *elems;
	int			n = deform_elements(array, jflow_types()->match, "matches", &elems);

	*matches = palloc(sizeof(JflowMatch) * Max(n, 1));
	for (int i = 0; i < n; i++)
		deform_row(elems[i], jflow_types()->match, (*matches)[i].values, (*matches)[i].nulls, MATCH_NATTS);
	pfree(elems);

	return n;
}

/*
 * A jflow_match[] of structs, in the current memory context; their values are
 * copied.
 */
Datum
jflow_matches_form(const JflowMatch *matches, int nmatches)
{
	Oid			type = jflow_types()->match;
	TupleDesc	desc;
	Row		   *rows;
	Datum		result;

	if (nmatches == 0)
		return PointerGetDatum(construct_empty_array(type));
	desc = lookup_rowtype_tupdesc(type, -1);
	rows = palloc_extended(sizeof(Row) * nmatches, MCXT_ALLOC_HUGE);
	for (int i = 0; i < nmatches; i++)
		prepare_row(desc, matches[i].values, matches[i].nulls, MATCH_NATTS, &rows[i]);
	result = form_array(type, rows, nmatches, desc);
	ReleaseTupleDesc(desc);
	pfree(rows);

	return result;
}

/*
 * Does a document have an id?  Looks at the null bitmap only; a jflow_doc whose
 * first attribute is not NULL has one.
 */
static bool
has_id(HeapTupleHeader header)
{
	return HeapTupleHeaderGetNatts(header) > 0 &&
		(!(header->t_infomask & HEAP_HASNULL) || !att_isnull(DOC_ID, header->t_bits));
}

/*
 * The bytes of a random UUID.  To ask for random bytes costs more than they do,
 * so they are fetched for many at once.  The postmaster makes no documents, so no
 * process inherits any that another one has, too.
 */
static const uint8 *
random_uuid(void)
{
	static uint8 uuids[UUIDS_AT_ONCE][UUID_LEN];
	static int	left = 0;

	if (left == 0)
	{
		if (!pg_strong_random(uuids, sizeof(uuids)))
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("could not generate random values")));
		left = UUIDS_AT_ONCE;
	}
	return uuids[--left];
}

/* A random UUID (RFC 4122, version 4) as text. */
static Datum
new_id(void)
{
	static const char digits[] = "0123456789abcdef";
	const uint8 *uuid = random_uuid();
	text	   *id = palloc(VARHDRSZ + UUID_TEXT_LEN);
	char	   *s = VARDATA(id);

	SET_VARSIZE(id, VARHDRSZ + UUID_TEXT_LEN);
	for (int i = 0; i < UUID_LEN; i++)
	{
		uint8		byte = uuid[i];

		if (i == 4 || i == 6 || i == 8 || i == 10)
			*s++ = '-';
		if (i == 6)
			byte = (byte & 0x0f) | 0x40;	/* version */
		else if (i == 8)
			byte = (byte & 0x3f) | 0x80;	/* variant */
		*s++ = digits[byte >> 4];
		*s++ = digits[byte & 15];
	}
	return PointerGetDatum(id);
}

/*
 * A jflow_doc[] of documents given as composite datums.  A document without an
 * id gets a new one.
 */
Datum
jflow_docs_from_datums(Datum *elems, int n)
{
	uint64		size = 0;

	for (int i = 0; i < n; i++)
	{
		if (!has_id(DatumGetHeapTupleHeader(elems[i])))
		{
			JflowDoc	doc;

			jflow_doc_deform(elems[i], &doc);
			doc.values[DOC_ID] = new_id();
			doc.nulls[DOC_ID] = false;
			elems[i] = jflow_doc_form(&doc);
		}
		size += HeapTupleHeaderGetDatumLength(DatumGetHeapTupleHeader(elems[i]));
	}
	if (size > MaxAllocSize)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%d documents have " UINT64_FORMAT " bytes, more than one request can hold",
						n, size),
				 errhint("Use a smaller request_size.")));
	return PointerGetDatum(construct_array(elems, n, jflow_types()->doc, -1, false,
										   TYPALIGN_DOUBLE));
}

/* Composite datums of a jflow_doc[]; a NULL among them is an error. */
int
jflow_docs_to_datums(Datum array, const char *what, Datum **elems)
{
	return deform_elements(array, jflow_types()->doc, what, elems);
}

/*
 * The same documents with an id each, as a jflow_doc[].  Raises
 * null_value_not_allowed if one of them is NULL; "what" names the array.
 */
Datum
jflow_docs_complete(Datum array, const char *what)
{
	Datum		flat = PointerGetDatum(DatumGetArrayTypeP(array));
	Datum	   *elems;
	int			n = jflow_docs_to_datums(flat, what, &elems);
	bool		complete = true;

	for (int i = 0; i < n && complete; i++)
		complete = has_id(DatumGetHeapTupleHeader(elems[i]));
	return complete ? flat : jflow_docs_from_datums(elems, n);
}

/* How many documents a jflow_doc[] has. */
int
jflow_docs_count(Datum array)
{
	ArrayType  *a = DatumGetArrayTypeP(array);

	return ArrayGetNItems(ARR_NDIM(a), ARR_DIMS(a));
}

/*
 * A string of the database's encoding in UTF-8: the same pointer where nothing
 * has to be converted, else a new string, whose length replaces the given one.
 * A SQL_ASCII database has bytes of no known encoding; they are left alone, and
 * may be no UTF-8.
 */
const char *
jflow_to_utf8(const char *string, Size *len)
{
	char	   *utf8;

	if (GetDatabaseEncoding() == PG_UTF8 || GetDatabaseEncoding() == PG_SQL_ASCII)
		return string;
	utf8 = pg_server_to_any(string, *len, PG_UTF8);
	if (utf8 != string)
		*len = strlen(utf8);
	return utf8;
}
