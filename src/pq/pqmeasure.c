/*
 * pqmeasure.c
 *		Calibrating an index with queries of its owner's.
 *
 * A build calibrates with rows of the table and points between them.  Queries
 * may be of another kind, such as short texts against long ones; then the curve
 * is measured with them, and the index is left as it is otherwise.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xlog.h"
#include "catalog/index.h"
#include "commands/defrem.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "compat.h"
#include "pq/pq.h"
#include "pq/pqbuild.h"

/* Queries that are measured, the first that come. */
#define MOST_QUERIES 1000

typedef struct Vectors
{
	Datum	   *values;
	int			n;
	Oid			type;
} Vectors;

/*
 * The vectors that a query of the caller's returns, in the caller's memory
 * context.
 */
static Vectors
vectors_of(const char *query)
{
	MemoryContext context = CurrentMemoryContext;
	Vectors		vectors = {0};

	SPI_connect();
	if (SPI_execute(query, true, MOST_QUERIES) != SPI_OK_SELECT || SPI_tuptable->tupdesc->natts != 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("query must return one column of vectors")));
	vectors.type = getBaseType(SPI_gettypeid(SPI_tuptable->tupdesc, 1));
	vectors.values = MemoryContextAlloc(context, sizeof(Datum) * (SPI_processed + 1));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Datum		value = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);
		MemoryContext old;

		if (isnull)
			continue;
		if (get_typlen(vectors.type) != -1)
			break;
		old = MemoryContextSwitchTo(context);
		vectors.values[vectors.n++] = PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	return vectors;
}

/*
 * The table of a pq index, of which the caller must be the owner.
 */
static Oid
table_of_own(Oid oid)
{
	Oid			table = IndexGetRelation(oid, true);
	Relation	index;
	char	   *name = get_rel_name(oid);
	bool		fits;

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("index with OID %u does not exist", oid)));
	if (!OidIsValid(table))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a pq index", name)));
	if (!jflow_class_ownercheck_compat(table, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(get_rel_relkind(table)), get_rel_name(table));
	index = try_relation_open(oid, AccessShareLock);
	fits = index && index->rd_rel->relkind == RELKIND_INDEX && index->rd_rel->relam == get_index_am_oid("pq", true);
	if (index)
		relation_close(index, AccessShareLock);
	if (!fits)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a pq index", name)));
	return table;
}

/*
 * Replace the curves of the meta page, which must be the one that was measured.
 */
static void
put_meta(Relation index, PqMetaPageData *meta)
{
	Buffer		buffer = ReadBuffer(index, PQ_META_BLOCK);
	GenericXLogState *state;
	Page		page;
	uint32		before = meta->crc;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	pq_page_check(index, buffer, PQ_PAGE_META);
	if (PqPageGetMeta(BufferGetPage(buffer))->crc != before)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("index \"%s\" was changed meanwhile", RelationGetRelationName(index))));
	meta->crc = pq_meta_crc(meta);
	state = GenericXLogStart(index);
	page = GenericXLogRegisterBuffer(state, buffer, 0);
	*PqPageGetMeta(page) = *meta;
	GenericXLogFinish(state);
	UnlockReleaseBuffer(buffer);
}

PG_FUNCTION_INFO_V1(jflow_pq_calibrate);
/*
 * jflow_pq_calibrate(index regclass, query text) RETURNS int: measure the
 * curves of an index with the vectors that a query returns, and tell how many
 * these were.
 */
Datum
jflow_pq_calibrate(PG_FUNCTION_ARGS)
{
	Oid			oid = PG_GETARG_OID(0);
	Oid			table = table_of_own(oid);
	Vectors		vectors;
	Relation	heap;
	Relation	index;
	const PqSpace *space;
	PqMetaPageData meta;
	PqIndex    *pq;
	PqQueries	queries;
	int			n = 0;

	PreventCommandIfReadOnly("jflow_pq_calibrate()");
	PreventCommandDuringRecovery("jflow_pq_calibrate()");
	vectors = vectors_of(text_to_cstring(PG_GETARG_TEXT_PP(1)));

	/*
	 * nobody may vacuum or learn meanwhile, and the query may have changed
	 * all
	 */
	heap = try_relation_open(table, ShareUpdateExclusiveLock);
	index = heap ? try_relation_open(oid, ShareUpdateExclusiveLock) : NULL;
	if (!index || table_of_own(oid) != table)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("index was dropped meanwhile")));
	if (!index->rd_index->indisvalid || RELATION_IS_OTHER_TEMP(index))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("index \"%s\" is not valid", RelationGetRelationName(index))));
	space = pq_index_space(index);
	if (vectors.type != TupleDescAttr(RelationGetDescr(index), 0)->atttypid)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("query must return vectors of type %s, not %s", space->type_name, format_type_be(vectors.type))));
	pq_read_meta(index, &meta);
	/* a copy of our own: measuring changes it, and may be interrupted */
	pq = pq_index_open(index, &meta);
	queries.points = palloc_extended(sizeof(float) * (Size) (vectors.n + 1) * pq->model->padded, MCXT_ALLOC_HUGE);
	for (int i = 0; i < vectors.n; i++)
	{
		float		lost;

		CHECK_FOR_INTERRUPTS();
		if (pq_embed(space, pq->model->dims, pq->model->space_dims, pq->model->padded, PqQueryCentre(pq->model),
					 vectors.values[i], queries.points + (size_t) n * pq->model->padded, &lost))
			n++;
	}
	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("query returned no vectors to calibrate with")));
	if (PqModelIsFlat(pq->model))
		ereport(NOTICE,
				(errmsg("index \"%s\" has not learned anything yet", RelationGetRelationName(index)),
				 errdetail("It searches all its rows, and so finds all that are nearest.")));
	else
	{
		/* what was learned of queries unlike the rows stays */
		queries.nrows = queries.nusual = queries.n = n;
		(void) pq_calibrate(index, pq, &queries, &meta, NULL);
		put_meta(index, &meta);
		pq_index_forget(index);
	}
	/* the locks are kept until the transaction ends, as those of DDL are */
	relation_close(index, NoLock);
	relation_close(heap, NoLock);
	PG_RETURN_INT32(n);
}
