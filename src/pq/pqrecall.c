/*
 * pqrecall.c
 *		Recall of an index, measured against exact search on sampled rows.
 */
#include "postgres.h"

#include <math.h>

#include "access/relscan.h"
#include "access/skey.h"
#include "access/stratnum.h"
#include "access/tableam.h"
#include "catalog/index.h"
#include "catalog/pg_am_d.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "index/inspect.h"
#include "index/limit.h"
#include "pq/pq.h"

typedef struct RecallQuery
{
	uint32		hash;			/* of the vector */
	ItemPointerData tid;		/* of its row, which is not counted */
	Datum		value;
	float	   *nearest;		/* distances of the k nearest rows, ascending */
	int			n;
} RecallQuery;

typedef struct Recall
{
	Relation	heap;
	Relation	index;
	FmgrInfo   *distance;
	EState	   *estate;
	IndexInfo  *info;
	RecallQuery *queries;
	int			nqueries;
	int			wanted;
	int			k;
	const PqSpace *space;
	int			dims;
} Recall;

static Datum
detoast(const Recall *recall, Datum value)
{
	return PointerGetDatum(pq_detoast(recall->space, recall->dims, value));
}

/* Call per row of the table that the snapshot sees and that has a vector. */
static void
each_row(Recall *recall, void (*call) (Recall *recall, ItemPointer tid, Datum value))
{
	TupleTableSlot *slot = table_slot_create(recall->heap, NULL);
	TableScanDesc scan = table_beginscan_compat(recall->heap, GetActiveSnapshot(), 0, NULL);
	ExprState  *predicate = ExecPrepareQual(recall->info->ii_Predicate, recall->estate);

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		Datum		values[INDEX_MAX_KEYS];
		bool		nulls[INDEX_MAX_KEYS];
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		ResetPerTupleExprContext(recall->estate);
		GetPerTupleExprContext(recall->estate)->ecxt_scantuple = slot;
		if (predicate && !ExecQual(predicate, GetPerTupleExprContext(recall->estate)))
			continue;
		FormIndexDatum(recall->info, slot, recall->estate, values, nulls);
		if (nulls[0])
			continue;
		old = MemoryContextSwitchTo(GetPerTupleMemoryContext(recall->estate));
		call(recall, &slot->tts_tid, detoast(recall, values[0]));
		MemoryContextSwitchTo(old);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
}

/*
 * Keep the rows whose vectors have the smallest hashes, of copies the first: a
 * vector that many rows share is one query.
 */
static void
take_query(Recall *recall, ItemPointer tid, Datum value)
{
	uint32		hash = hash_bytes((unsigned char *) VARDATA_ANY(DatumGetPointer(value)),
								  VARSIZE_ANY_EXHDR(DatumGetPointer(value)));
	int			at = recall->nqueries;
	MemoryContext old;

	for (int i = 0; i < recall->nqueries; i++)
		if (recall->queries[i].hash == hash)
			return;
	if (at == recall->wanted)
	{
		if (at == 0 || hash >= recall->queries[at - 1].hash)
			return;
		at--;
		pfree(DatumGetPointer(recall->queries[at].value));
	}
	else
		recall->nqueries++;
	for (; at > 0 && recall->queries[at - 1].hash > hash; at--)
		recall->queries[at] = recall->queries[at - 1];
	old = MemoryContextSwitchTo(recall->estate->es_query_cxt);
	recall->queries[at].hash = hash;
	recall->queries[at].tid = *tid;
	recall->queries[at].value = datumCopy(value, false, -1);
	MemoryContextSwitchTo(old);
}

static double
distance_to(Recall *recall, Datum a, Datum b)
{
	return DatumGetFloat8(FunctionCall2Coll(recall->distance, recall->index->rd_indcollation[0], a, b));
}

static void
rank_row(Recall *recall, ItemPointer tid, Datum value)
{
	for (int q = 0; q < recall->nqueries; q++)
	{
		RecallQuery *query = &recall->queries[q];
		double		d = distance_to(recall, value, query->value);
		int			at;

		if (ItemPointerEquals(&query->tid, tid))
			continue;
		if (isnan(d) || (query->n == recall->k && d >= query->nearest[query->n - 1]))
			continue;
		if (query->n < recall->k)
			query->n++;
		for (at = query->n - 1; at > 0 && query->nearest[at - 1] > d; at--)
			query->nearest[at] = query->nearest[at - 1];
		query->nearest[at] = d;
	}
}

/*
 * How many of the k nearest rows the index finds: those at most as far.  The
 * query's own row comes besides.
 */
static int
search_index(Recall *recall, RecallQuery *query)
{
	IndexScanDesc scan = index_beginscan_compat(recall->heap, recall->index, GetActiveSnapshot(), 0, 1);
	TupleTableSlot *slot = table_slot_create(recall->heap, NULL);
	ScanKeyData key;
	double		limit = query->n > 0 ? query->nearest[query->n - 1] : 0;
	int			found = 0;
	int			others = 0;

	limit += fabs(limit) * 1e-6;
	ScanKeyEntryInitialize(&key, SK_ORDER_BY, 1, PQ_ORDER_STRATEGY, InvalidOid,
						   recall->index->rd_indcollation[0],
						   index_getprocid(recall->index, 1, PQ_DISTANCE_PROC), query->value);
	ix_limit_direct(&key, query->n + 1, recall->estate->es_query_cxt);
	index_rescan(scan, NULL, 0, &key, 1);
	while (others < query->n && index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		Datum		values[INDEX_MAX_KEYS];
		bool		nulls[INDEX_MAX_KEYS];
		MemoryContext old;

		ResetPerTupleExprContext(recall->estate);
		GetPerTupleExprContext(recall->estate)->ecxt_scantuple = slot;
		FormIndexDatum(recall->info, slot, recall->estate, values, nulls);
		if (nulls[0] || ItemPointerEquals(&slot->tts_tid, &query->tid))
			continue;
		others++;
		old = MemoryContextSwitchTo(GetPerTupleMemoryContext(recall->estate));
		found += distance_to(recall, detoast(recall, values[0]), query->value) <= limit;
		MemoryContextSwitchTo(old);
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	return found;
}

static Datum
measure_recall(const IxInspected *inspected, FunctionCallInfo fcinfo)
{
	Recall		recall = {0};
	double		found = 0;
	double		total = 0;

	recall.wanted = PG_GETARG_INT32(1);
	recall.k = PG_GETARG_INT32(2);
	recall.index = inspected->index;
	recall.heap = inspected->heap;
	recall.space = pq_index_space(recall.index);
	recall.dims = pq_index_dims(recall.index, recall.space);
	recall.distance = index_getprocinfo(recall.index, 1, PQ_DISTANCE_PROC);
	recall.estate = CreateExecutorState();
	recall.info = BuildIndexInfo(recall.index);
	recall.queries = palloc0(sizeof(RecallQuery) * recall.wanted);
	each_row(&recall, take_query);
	for (int q = 0; q < recall.nqueries; q++)
		recall.queries[q].nearest = palloc(sizeof(float) * recall.k);
	each_row(&recall, rank_row);
	for (int q = 0; q < recall.nqueries; q++)
	{
		found += search_index(&recall, &recall.queries[q]);
		total += recall.queries[q].n;
	}
	FreeExecutorState(recall.estate);
	if (total == 0)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(found / total);
}

PG_FUNCTION_INFO_V1(jflow_pq_recall);
/*
 * jflow_pq_recall(index regclass, queries int, k int) RETURNS float8: the part
 * of the k nearest rows of sampled rows that scans of the index find, under the
 * present settings.  NULL for an empty table.
 */
Datum
jflow_pq_recall(PG_FUNCTION_ARGS)
{
	int			queries = PG_GETARG_INT32(1);
	int			k = PG_GETARG_INT32(2);

	if (queries < 1 || queries > 10000 || k < 1 || k > 10000)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("queries and k must be between 1 and 10000")));
	return ix_inspect(PG_GETARG_OID(0), "pq", measure_recall, fcinfo);
}
