/*
 * read.c
 *		Rows of a source as documents.
 *
 * They are read with the rights of the current user, who is the flow's owner, and
 * under settings that make equal values equal texts.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "common/xact.h"
#include "compat.h"
#include "sync/sync.h"

/* Rows that a cursor fetches at once; behind so many bytes, one. */
#define MOST_FETCHED 64
#define LARGE_FETCH (256 * 1024)
/* Of keys of which one cannot be read; each costs a statement. */
#define KEY_PARTS 8

/* Settings under which texts of values are the same in every session. */
static int
begin_reading(void)
{
	static const char *const settings[][2] = {
		{"search_path", "pg_catalog, pg_temp"},
		{"row_security", "off"},
		{"TimeZone", "UTC"},
		{"DateStyle", "ISO, YMD"},
		{"IntervalStyle", "postgres"},
		{"extra_float_digits", "1"},
		{"bytea_output", "hex"},
		{"enable_seqscan", "off"},
		{"enable_hashjoin", "off"},
		{"enable_mergejoin", "off"},
		{"enable_bitmapscan", "off"},	/* rows come one by one, in the order
										 * of */
		{"enable_sort", "off"}, /* the key, and are made into documents then */
		{"jit", "off"},
	};
	int			guc_level = NewGUCNestLevel();

	for (int i = 0; i < lengthof(settings); i++)
		(void) set_config_option(settings[i][0], settings[i][1], PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	return guc_level;
}

/* Raise what is wrong with the statement that reads the source, or the right to it. */
void
sync_source_prepare(const SyncSource *source)
{
	int			guc_level = begin_reading();

	SPI_connect();
	if (SPI_execute(psprintf("%s WHERE false", source->select), false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read table %s", source->table);
	SPI_finish();
	AtEOXact_GUC(true, guc_level);
}

/* A row that was read, as a document, in the current memory context. */
static void
form_row(const SyncSource *source, HeapTuple tuple, TupleDesc desc, SyncRow *row)
{
	JflowDoc	doc;
	bool		isnull;
	char	   *data;

	memset(row, 0, sizeof(*row));
	row->key = PointerGetDatum(DatumGetTextPCopy(SPI_getbinval(tuple, desc, 1, &isnull)));
	jflow_doc_init(&doc);
	doc.values[DOC_ID] = row->key;
	doc.nulls[DOC_ID] = false;
	for (int i = 0; i < source->nattrs; i++)
	{
		JflowDocAttr attr = source->attrs[i];
		Datum		value = SPI_getbinval(tuple, desc, i + 2, &isnull);

		if (isnull)
			continue;
		if (get_typlen(jflow_types()->atttype[attr]) == -1)
			value = PointerGetDatum(PG_DETOAST_DATUM(value));
		doc.values[attr] = value;
		doc.nulls[attr] = false;
	}
	row->doc = jflow_doc_form(&doc);
	data = (char *) DatumGetHeapTupleHeader(row->doc);

	/* Behind the header, where type and length are. */
	row->hash = (int64) hash_bytes_extended((unsigned char *) data + SizeofHeapTupleHeader,
											VARSIZE(data) - SizeofHeapTupleHeader, 0);
}

/*
 * Take what a cursor has fetched until there are so many bytes of documents; returns
 * how many bytes there are now.
 */
static Size
take_fetched(const SyncSource *source, MemoryContext context, Size max, Size bytes, SyncRow *rows, int *n)
{
	MemoryContext old = MemoryContextSwitchTo(context);

	for (uint64 i = 0; i < SPI_processed && bytes < max; i++)
	{
		SyncRow    *row = &rows[*n];

		/* what raises an error has not been taken */
		form_row(source, SPI_tuptable->vals[i], SPI_tuptable->tupdesc, row);
		(*n)++;
		bytes += VARSIZE(DatumGetPointer(row->doc));
	}
	MemoryContextSwitchTo(old);
	return bytes;
}

/*
 * Run a statement on the source; rows go to an array in the current context, at most
 * "limit", and *n says how many there are, also when an error is raised.  Stops behind
 * the row with which there are "max" bytes of documents, or more: then *all says that
 * there may be others.
 */
static void
read_rows(const SyncSource *source, const char *sql, int nargs, Oid *types, Datum *values,
		  int limit, Size max, SyncRow *rows, int *n, bool *all)
{
	MemoryContext context = CurrentMemoryContext;
	int			guc_level = begin_reading();
	Size		bytes = 0;
	int			step = 1;
	Portal		portal;

	*n = 0;
	SPI_connect();
	portal = SPI_cursor_open_with_args(NULL, sql, nargs, types, values, NULL, true, CURSOR_OPT_NO_SCROLL);
	while (*n < limit && bytes < max)
	{
		Size		before = bytes;

		CHECK_FOR_INTERRUPTS();
		SPI_cursor_fetch(portal, true, Min(step, limit - *n));
		if (SPI_processed == 0)
			break;
		bytes = take_fetched(source, context, max, bytes, rows, n);
		SPI_freetuptable(SPI_tuptable);
		step = bytes - before > LARGE_FETCH ? 1 : Min(step * 2, MOST_FETCHED);
	}
	*all = bytes < max || *n == limit;
	SPI_cursor_close(portal);
	SPI_finish();
	AtEOXact_GUC(true, guc_level);
}

/* What is read by read_rows. */
typedef struct Reading
{
	const SyncSource *source;
	const char *sql;
	int			nargs;
	Oid		   *types;
	Datum	   *values;
	int			limit;
	Size		max;
	SyncRow    *rows;
	int		   *n;
	bool	   *all;
} Reading;

static void
run_reading(void *arg)
{
	Reading    *r = arg;

	read_rows(r->source, r->sql, r->nargs, r->types, r->values, r->limit, r->max, r->rows, r->n, r->all);
}

/*
 * The same within a subtransaction.  Returns the error of a row which cannot be read,
 * and *n rows before it; or NULL.  What is wrong with the statement is raised.
 */
static ErrorData *
try_read_rows(const SyncSource *source, const char *sql, int nargs, Oid *types, Datum *values,
			  int limit, Size max, SyncRow *rows, int *n, bool *all)
{
	Reading		reading = {source, sql, nargs, types, values, limit, max, rows, n, all};
	ErrorData  *error = jflow_try(run_reading, &reading, sync_error_ends_reading);

	if (error == NULL)
		return NULL;
	if (sync_error_is_unsure(error->sqlerrcode))
		sync_source_prepare(source);
	*all = false;
	return error;
}

/* A row that cannot be read. */
static void
init_unread(SyncRow *row, Datum key, const ErrorData *error)
{
	memset(row, 0, sizeof(*row));
	row->key = key;
	sync_fail_row(row, error, !sync_error_is_unsure(error->sqlerrcode));
}

/* The same source without attributes. */
static SyncSource *
only_keys(const SyncSource *source)
{
	SyncSource *result = palloc(sizeof(SyncSource));

	*result = *source;
	result->nattrs = 0;
	result->select = psprintf("SELECT pg_catalog.format('%%s', s.%s) FROM ONLY %s s", source->key, source->table);
	return result;
}

/*
 * Can a text be a key of the source?  Its column may have got another type since that
 * was read.
 */
static bool
is_of_key_type(const SyncSource *source, Datum text)
{
	Oid			types[1] = {TEXTOID};
	char	   *sql = psprintf("SELECT pg_catalog.format('%%s', $1::%s)", source->key_type);
	SyncRow		row;
	int			n;
	bool		all;
	ErrorData  *error = try_read_rows(only_keys(source), sql, 1, types, &text, 1, SIZE_MAX, &row, &n, &all);

	return error == NULL || sync_error_is_unsure(error->sqlerrcode);
}

/* What is read by keys, and as far as it has been. */
typedef struct KeyReading
{
	const SyncSource *source;
	const char *sql;
	Size		max;
	SyncRow    *rows;
	int			n;
	Size		bytes;			/* of documents */
} KeyReading;

/*
 * Read the rows with some keys, in parts if one of them cannot be read, in the end
 * one by one.  Returns false if bytes have ended that.
 */
static bool
read_keys(KeyReading *reading, const Datum *keys, int nkeys)
{
	Oid			types[1] = {TEXTARRAYOID};
	Datum		values[1];
	SyncRow    *rows = reading->rows + reading->n;
	int			step = Max(nkeys / KEY_PARTS, 1);
	ErrorData  *error;
	int			n;
	bool		all;

	CHECK_FOR_INTERRUPTS();
	values[0] = PointerGetDatum(construct_array((Datum *) keys, nkeys, TEXTOID, -1, false, TYPALIGN_INT));
	error = try_read_rows(reading->source, reading->sql, 1, types, values, nkeys,
						  reading->max - reading->bytes, rows, &n, &all);
	if (error == NULL)
	{
		for (int i = 0; i < n; i++)
			reading->bytes += VARSIZE(DatumGetPointer(rows[i].doc));
		reading->n += n;
		return all;
	}
	if (nkeys == 1)
	{
		if (is_of_key_type(reading->source, keys[0]))
			init_unread(&reading->rows[reading->n++], keys[0], error);
		return true;
	}
	for (int i = 0; i < nkeys; i += step)
		if (reading->bytes >= reading->max || !read_keys(reading, keys + i, Min(step, nkeys - i)))
			return false;
	return true;
}

/*
 * The newest rows that have some keys, in any order; returns how many there are.
 * Where *all is false some have been left out, since there are "max" bytes.  A row
 * that cannot be read is there with its error; one whose key is equal but another
 * text is a row of that other id.
 */
int
sync_source_read(const SyncSource *source, const Datum *keys, int nkeys, Size max, SyncRow *rows, bool *all)
{
	KeyReading	reading = {.source = source,.max = max,.rows = rows};

	reading.sql = psprintf("%s WHERE s.%s = ANY ($1::%s[])", source->select, source->key, source->key_type);
	PushActiveSnapshot(GetLatestSnapshot());
	*all = read_keys(&reading, keys, nkeys);
	PopActiveSnapshot();
	return reading.n;
}

/* Which of some keys the source has, as texts. */
int
sync_source_keys(const SyncSource *source, const Datum *keys, int nkeys, Datum *found)
{
	SyncRow    *rows = palloc(sizeof(SyncRow) * nkeys);
	bool		all;
	int			n = sync_source_read(only_keys(source), keys, nkeys, SIZE_MAX, rows, &all);

	for (int i = 0; i < n; i++)
		found[i] = rows[i].key;
	return n;
}

/*
 * The first row of a statement on keys that could not be read, with its error; returns
 * how many there are.
 */
static int
scan_unread(const SyncSource *keys, const SyncSource *source, const char *sql, int nargs, Oid *types, Datum *values, SyncRow *row)
{
	int			n;
	bool		all;
	Datum		key;

	read_rows(keys, sql, nargs, types, values, 1, SIZE_MAX, row, &n, &all);
	if (n == 0)
		return 0;

	/* by itself, since a plan may have read others before */
	key = row->key;
	if (sync_source_read(source, &key, 1, SIZE_MAX, row, &all) == 0)
		row->doc = (Datum) 0;	/* it is gone by now */
	row->key = key;
	return 1;
}

/*
 * At most "n" rows behind a position, in the order of the key.  NULL, or one that is
 * no key any more: from the first on.  *all is false where "max" bytes have ended
 * them, or one that cannot be read has; if it is the first one it is there with its
 * error.
 */
int
sync_source_scan(const SyncSource *source, const char *position, int n, Size max, SyncRow *rows, bool *all)
{
	Oid			types[1] = {TEXTOID};
	Datum		values[1];
	char	   *where = "";
	int			nargs = position ? 1 : 0;
	ErrorData  *error;
	int			result;

	values[0] = position ? CStringGetTextDatum(position) : (Datum) 0;
	if (position)
		where = psprintf(" WHERE s.%s > $1::%s", source->key, source->key_type);
	PushActiveSnapshot(GetLatestSnapshot());
	error = try_read_rows(source, psprintf("%s%s ORDER BY s.%s LIMIT %d", source->select, where, source->key, n),
						  nargs, types, values, n, max, rows, &result, all);
	if (error && result == 0 && position && !is_of_key_type(source, values[0]))
		result = sync_source_scan(source, NULL, n, max, rows, all);
	else if (error && result == 0)
	{
		const SyncSource *keys = only_keys(source);

		result = scan_unread(keys, source, psprintf("%s%s ORDER BY s.%s LIMIT 1", keys->select, where, keys->key),
							 nargs, types, values, rows);
		*all = result == 0;
	}
	PopActiveSnapshot();
	return result;
}
