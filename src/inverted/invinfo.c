/*
 * invinfo.c
 *		Facts about an index, for people.
 */
#include "postgres.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "index/inspect.h"
#include "inverted/invsearch.h"

typedef struct Facts
{
	int64		tuples;
	int64		dead;
	int64		pending;
	int64		terms;
	int64		postings;
	int			segments;
} Facts;

/* Count the documents of a segment page by page: dead ones come and go. */
static void
count_segment(InvSearch *search, InvSearchPart *part, Facts *facts)
{
	PGAlignedBlock map;
	PGAlignedBlock page;

	for (uint32 i = 0; i < part->head->ndocpages; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (i % INV_MAP_ENTRIES == 0 &&
			!inv_read_page(&search->reader, part->part.id, part->head->maps[i / INV_MAP_ENTRIES], INV_PAGE_MAP, map.data))
			return;
		if (!inv_read_page(&search->reader, part->part.id,
						   ((BlockNumber *) (map.data + INV_PAGE_START))[i % INV_MAP_ENTRIES], INV_PAGE_DOCS, page.data))
			return;
		facts->dead += InvPageGetHeader(page.data)->dead;
		facts->tuples += InvPageGetHeader(page.data)->count - InvPageGetHeader(page.data)->dead;
	}
	facts->segments++;
	facts->terms += part->head->nterms;
	facts->postings += part->head->npostings;
}

static void
count_pending(InvSearch *search, InvSearchPart *part, Facts *facts)
{
	int			nfilters = search->reader.layout.filters.nfilters;
	PGAlignedBlock page;

	for (BlockNumber block = part->part.first, steps = 0; block != InvalidBlockNumber; block = inv_next_pending(search->index, page.data, &steps))
	{
		int			at = INV_PAGE_START;
		InvItem    *item;

		CHECK_FOR_INTERRUPTS();
		if (!inv_read_page(&search->reader, part->part.id, block, INV_PAGE_PENDING, page.data))
			return;
		while ((item = inv_next_item(search->index, block, page.data, nfilters, &at)) != NULL)
		{
			if (item->flags & INV_ITEM_REST)
				continue;
			if (item->flags & INV_ITEM_DEAD)
				facts->dead++;
			else
			{
				facts->tuples++;
				facts->pending++;
			}
		}
	}
}

/*
 * Raise if the index that is inspected was overtaken by replay.
 */
void
inv_check_stale(const InvSearch *search)
{
	if (search->reader.stale)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("canceling statement due to conflict with recovery"),
				 errdetail("User query might have needed to see pages of an index that were used again.")));
}

static Datum
tell_facts(const IxInspected *inspected, FunctionCallInfo fcinfo)
{
	InvSearch  *search;
	InvQuery	query = {0};
	Facts		facts = {0};
	InvMetaPageData *meta = palloc(sizeof(InvMetaPageData));
	TupleDesc	desc;
	Datum		values[12];
	bool		nulls[12] = {0};
	BlockNumber nblocks;
	int			i = 0;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	inv_read_meta(inspected->index, meta);
	search = inv_search_begin(inspected->index, NULL, &query, NULL);
	for (int p = 0; p < search->nparts; p++)
	{
		if (search->parts[p].part.pending)
			count_pending(search, &search->parts[p], &facts);
		else
			count_segment(search, &search->parts[p], &facts);
	}
	inv_check_stale(search);
	inv_search_end(search);
	nblocks = RelationGetNumberOfBlocks(inspected->index);
	values[i++] = Int32GetDatum(meta->version);
	values[i++] = CStringGetTextDatum(inv_index_metric(inspected->index) == INV_METRIC_IP ? "ip" : "cosine");
	values[i++] = Int32GetDatum(meta->dims);
	values[i++] = Int64GetDatum(facts.tuples);
	values[i++] = Int64GetDatum(facts.dead);
	values[i++] = Int64GetDatum(facts.pending);
	values[i++] = Int32GetDatum(facts.segments);
	values[i++] = Int64GetDatum(facts.terms);
	values[i++] = Int64GetDatum(facts.postings);
	values[i++] = Int32GetDatum(meta->nretired);
	values[i++] = Int64GetDatum(nblocks);
	values[i++] = Int64GetDatum((int64) nblocks * BLCKSZ);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}

PG_FUNCTION_INFO_V1(jflow_inverted_info);
/*
 * jflow_inverted_info(index regclass): one row of facts.
 */
Datum
jflow_inverted_info(PG_FUNCTION_ARGS)
{
	return ix_inspect(PG_GETARG_OID(0), "inverted", tell_facts, fcinfo);
}
