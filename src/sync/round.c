/*
 * round.c
 *		The rows of a round, as it gets them.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "utils/memutils.h"

#include "common/text.h"
#include "compat.h"
#include "sync/sync.h"

#define MAX_STEP 3200			/* rows */

/* Of a round's rows, by key. */
int
sync_row_order(const void *a, const void *b)
{
	return jflow_text_order(((const SyncRow *) a)->key, ((const SyncRow *) b)->key);
}

/* Room for so many rows more. */
SyncRow *
sync_round_room(SyncRound *round, int n)
{
	if (round->nrows + n > round->allocated)
	{
		MemoryContext old = MemoryContextSwitchTo(round->context);

		round->allocated = Max(round->nrows + n, round->allocated * 2);
		round->rows = round->rows ? repalloc_huge(round->rows, sizeof(SyncRow) * round->allocated) :
			palloc(sizeof(SyncRow) * round->allocated);
		MemoryContextSwitchTo(old);
	}
	return round->rows + round->nrows;
}

/* How many rows to read at once next: more and more, since each reading costs a plan. */
int
sync_next_step(int step)
{
	return Max(step, Min(step * 2, MAX_STEP));
}

/* How many bytes of documents a round may still get. */
Size
sync_round_bytes_left(const SyncRound *round)
{
	return round->bytes < SYNC_ROUND_BYTES ? SYNC_ROUND_BYTES - round->bytes : 0;
}

/* A column of texts that a statement has selected, in a memory context. */
Datum *
sync_selected_texts(MemoryContext context, int column, int *n, bool *any_null)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	Datum	   *result = palloc(sizeof(Datum) * Max(SPI_processed, 1));

	*n = 0;
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Datum		value = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, column, &isnull);

		if (isnull)
			*any_null = true;
		else
			result[(*n)++] = PointerGetDatum(DatumGetTextPCopy(value));
	}
	MemoryContextSwitchTo(old);
	return result;
}
