/*
 * payload.c
 *		Documents and messages on their way between processes.
 *
 * One area, made in place in main shared memory, never grows.  Allocation never
 * raises and never waits: it fails, and who called knows what else there is to
 * do before going to sleep.  Bytes are counted here, since the area itself
 * cannot tell before version 17, and by class, so that documents on their way in
 * can never take the room that answers need to get out.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/memutils.h"

#include "compat.h"
#include "doc/doc.h"
#include "runtime/shared/payload.h"
#include "runtime/shared/share.h"
#include "settings.h"

/* Part of the area that its own bookkeeping and fragments may take. */
#define OVERHEAD_FRACTION 8

/* Beyond this size the area gives whole pages. */
#define LARGE_CHUNK 8192
#define LARGE_CHUNK_PAGE 4096

static dsa_area *area = NULL;

/* Bytes of the area, by the setting. */
Size
jflow_payload_size(void)
{
	return (Size) jflow_memory_limit * 1024;
}

/* Bytes that chunks may take together. */
static Size
capacity(void)
{
	return jflow_payload_size() - jflow_payload_size() / OVERHEAD_FRACTION;
}

/* The largest chunk: small enough that one is sure to fit when its turn comes. */
Size
jflow_payload_max(void)
{
	return capacity() / 8;
}

/* For the shmem_request_hook. */
void
jflow_payload_request_shmem(void)
{
	RequestAddinShmemSpace(jflow_payload_size());
}

/*
 * For the shmem_startup_hook, after jflow_shmem_init; the caller holds
 * AddinShmemInitLock.
 */
void
jflow_payload_init_shmem(void)
{
	bool		found;
	dsa_area   *new;

	jflow_payload_place = ShmemInitStruct("jflow payload", jflow_payload_size(), &found);
	if (found)
		return;
	new = dsa_create_in_place(jflow_payload_place, jflow_payload_size(),
							  GetNamedLWLockTranche("jflow")->lock.tranche, NULL);
	dsa_pin(new);
	dsa_set_size_limit(new, jflow_payload_size());
	dsa_detach(new);
}

static void
release_area(int code, Datum arg)
{
	dsa_release_in_place(jflow_payload_place);
}

static void
attach(void)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	area = dsa_attach_in_place(jflow_payload_place, NULL);
	dsa_pin_mapping(area);
	MemoryContextSwitchTo(old);
	on_shmem_exit(release_area, (Datum) 0);
}

/* What a chunk takes of the area. */
static Size
charged(Size size)
{
	return size > LARGE_CHUNK ? TYPEALIGN(LARGE_CHUNK_PAGE, size) : size;
}

/*
 * Is there room for so many chunks for answers, as things stand?  Who needs several
 * asks first: to take some and free them again wakes all who wait, himself as well.
 */
bool
jflow_payload_has_room(const Size *sizes, int n)
{
	Size		total = pg_atomic_read_u64(&jflow_shared->payload_total);

	for (int i = 0; i < n; i++)
		total += charged(sizes[i]);
	return total <= capacity();
}

/* Add to a counter unless it would pass the limit. */
static bool
charge(pg_atomic_uint64 *counter, Size size, Size limit)
{
	if (pg_atomic_add_fetch_u64(counter, size) <= limit)
		return true;
	pg_atomic_sub_fetch_u64(counter, size);
	return false;
}

/*
 * Documents on their way in: a role may take its share of half of the area.  As
 * much is kept for others as the largest chunk takes.
 */
static bool
charge_in(Size size, int *share)
{
	JflowStock	stock;

	stock.total = capacity() / 2;
	stock.free = stock.total - (int64) pg_atomic_read_u64(&jflow_shared->payload_in);
	stock.reserve = jflow_payload_max();
	*share = jflow_share_take_bytes(size, &stock);
	if (*share == JFLOW_NONE)
		return false;
	if (charge(&jflow_shared->payload_in, size, stock.total))
		return true;
	jflow_share_free_bytes(*share, size);
	return false;
}

static bool
charge_class(Size chunk, JflowPayloadClass class, int *share)
{
	Size		size = charged(chunk);

	switch (class)
	{
		case PAYLOAD_IN:
			return charge_in(size, share);
		case PAYLOAD_CHAIN:
			return charge(&jflow_shared->payload_chain, size, capacity() / 4);
		default:
			return true;
	}
}

static void
release_class(Size chunk, JflowPayloadClass class, int share)
{
	Size		size = charged(chunk);

	if (class == PAYLOAD_IN)
	{
		pg_atomic_sub_fetch_u64(&jflow_shared->payload_in, size);
		jflow_share_free_bytes(share, size);
	}
	else if (class == PAYLOAD_CHAIN)
		pg_atomic_sub_fetch_u64(&jflow_shared->payload_chain, size);
}

/*
 * Take a chunk of the area.  Each class of sizes keeps a block of it after its
 * last chunk was freed; they must not keep others from what is free.
 */
static dsa_pointer
take_chunk(Size size)
{
	dsa_pointer chunk;

	if (!charge(&jflow_shared->payload_total, charged(size), capacity()))
		return InvalidDsaPointer;
	chunk = dsa_allocate_extended(area, size, DSA_ALLOC_NO_OOM | DSA_ALLOC_HUGE);
	if (!DsaPointerIsValid(chunk))
	{
		dsa_trim(area);
		chunk = dsa_allocate_extended(area, size, DSA_ALLOC_NO_OOM | DSA_ALLOC_HUGE);
	}
	if (!DsaPointerIsValid(chunk))
		pg_atomic_sub_fetch_u64(&jflow_shared->payload_total, charged(size));
	return chunk;
}

/* A chunk, or InvalidDsaPointer if there is no room now. */
dsa_pointer
jflow_payload_alloc(Size size, JflowPayloadClass class)
{
	dsa_pointer chunk;
	JflowPayload *payload;
	uint64		total;
	int			share = JFLOW_NONE;

	if (area == NULL)
		attach();
	if (!charge_class(size, class, &share))
		return InvalidDsaPointer;
	chunk = take_chunk(size);
	if (!DsaPointerIsValid(chunk))
	{
		release_class(size, class, share);
		return InvalidDsaPointer;
	}

	/* The peak is for people: losing a race for it does not matter. */
	total = pg_atomic_read_u64(&jflow_shared->payload_total);
	if (total > pg_atomic_read_u64(&jflow_shared->payload_peak))
		pg_atomic_write_u64(&jflow_shared->payload_peak, total);

	payload = dsa_get_address(area, chunk);
	payload->size = size;
	payload->class = class;
	payload->share = share;
	payload->nparts = 0;
	return chunk;
}

/*
 * Wake everybody who waits for memory, or for a slot.  The caller has freed some
 * and passed a full barrier since: who waits has said so before we look, or sees
 * what is free.
 */
static void
wake_waiters(void)
{
	if (pg_atomic_read_u32(&jflow_shared->payload_waiters) == 0)
		return;
	for (int i = 0; i < jflow_gateway_count(); i++)
		if (pg_atomic_read_u32(&jflow_gateways[i].wants_memory) != 0)
			jflow_wake_process(i);
}

/*
 * Wake the gateways that have answers to collect.  One that lets them come in
 * batches may sleep on them, and it is they that fill the area.
 */
static void
wake_holders(void)
{
	for (int i = 0; i < jflow_gateway_count(); i++)
		if (pg_atomic_read_u32(&jflow_gateways[i].done) != 0)
			jflow_wake_process(i);
}

/*
 * Say that this process waits for memory or a slot, or that it does no more.
 * Who waits says so first, then tries once more, then sleeps on its latch: what
 * is freed after that try wakes it.  Counting the waiter is a full barrier, like
 * the publishing of an answer: that either sees him and wakes its gateway, or is
 * in the gateway's list already when we look.
 */
void
jflow_payload_want(bool want)
{
	JflowGatewayEntry *entry = &jflow_gateways[MyProcNumberCompat];

	if (pg_atomic_exchange_u32(&entry->wants_memory, want ? 1 : 0) == (want ? 1 : 0))
		return;
	if (want)
	{
		pg_atomic_add_fetch_u32(&jflow_shared->payload_waiters, 1);
		wake_holders();
	}
	else
		pg_atomic_sub_fetch_u32(&jflow_shared->payload_waiters, 1);
}

/*
 * Give back a chunk, and wake who waits for room.  An invalid pointer is none.
 */
void
jflow_payload_free(dsa_pointer chunk)
{
	JflowPayload *payload;
	Size		size;

	if (!DsaPointerIsValid(chunk))
		return;
	payload = jflow_payload_address(chunk);
	size = payload->size;
	release_class(size, payload->class, payload->share);
	dsa_free(area, chunk);
	pg_atomic_sub_fetch_u64(&jflow_shared->payload_total, charged(size));
	wake_waiters();
}

/* A slot was freed. */
void
jflow_payload_wake(void)
{
	pg_memory_barrier();
	wake_waiters();
}

/* Count a chunk as another class; false if that one is full. */
bool
jflow_payload_set_class(dsa_pointer chunk, JflowPayloadClass class)
{
	JflowPayload *payload = jflow_payload_address(chunk);
	int			share = JFLOW_NONE;

	if (payload->class == class)
		return true;
	if (!charge_class(payload->size, class, &share))
		return false;
	release_class(payload->size, payload->class, payload->share);
	payload->class = class;
	payload->share = share;
	return true;
}

/* Where a chunk lies in this process, which attaches the area if need be. */
void *
jflow_payload_address(dsa_pointer chunk)
{
	if (area == NULL)
		attach();
	return dsa_get_address(area, chunk);
}

static Size
docs_offset(int nparts)
{
	return MAXALIGN(offsetof(JflowPayload, counts) + sizeof(int) * nparts);
}

/* Bytes that documents take in a chunk. */
Size
jflow_payload_docs_size(Datum docs, int nparts)
{
	return docs_offset(nparts) + VARSIZE_ANY(DatumGetPointer(docs));
}

/* Copy documents into a new chunk; InvalidDsaPointer if there is no room. */
dsa_pointer
jflow_payload_put_docs(Datum docs, const int *counts, int nparts, JflowPayloadClass class)
{
	dsa_pointer chunk = jflow_payload_alloc(jflow_payload_docs_size(docs, nparts), class);
	JflowPayload *payload;

	if (!DsaPointerIsValid(chunk))
		return chunk;
	payload = jflow_payload_address(chunk);
	payload->nparts = nparts;
	if (nparts > 0)
		memcpy(payload->counts, counts, sizeof(int) * nparts);
	memcpy((char *) payload + docs_offset(nparts), DatumGetPointer(docs),
		   VARSIZE_ANY(DatumGetPointer(docs)));
	return chunk;
}

/* The documents in a chunk, where they are: to be read only. */
Datum
jflow_payload_docs(dsa_pointer chunk, const int **counts, int *nparts)
{
	JflowPayload *payload = jflow_payload_address(chunk);

	if (nparts)
	{
		*nparts = payload->nparts;
		*counts = payload->nparts > 0 ? payload->counts : NULL;
	}
	return PointerGetDatum((char *) payload + docs_offset(payload->nparts));
}

/* Copy bytes into a new chunk; InvalidDsaPointer if there is no room. */
dsa_pointer
jflow_payload_put_bytes(const char *bytes, Size len)
{
	dsa_pointer chunk = jflow_payload_alloc(docs_offset(0) + len, PAYLOAD_ANSWER);

	if (DsaPointerIsValid(chunk))
		memcpy((char *) jflow_payload_address(chunk) + docs_offset(0), bytes, len);
	return chunk;
}

/* What a chunk holds behind its head. */
char *
jflow_payload_bytes(dsa_pointer chunk, Size *len)
{
	JflowPayload *payload = jflow_payload_address(chunk);

	*len = payload->size - docs_offset(0);
	return (char *) payload + docs_offset(0);
}
