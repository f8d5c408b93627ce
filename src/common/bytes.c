/*
 * bytes.c
 *		Bytes that the processes of a server share: made by one, read by all.
 *
 * They are in a segment of dynamic shared memory, which an entry in a small
 * registry names.  The entry counts the processes that are attached; each has a
 * callback on the segment that counts down, also when the process exits.  The
 * last one frees the entry, and with its mapping the segment goes.  Nobody
 * writes to bytes that are published, so readers need no lock.
 *
 * Lock order: the registry's lock, then the server's own for segments.  The
 * server calls our callback before it takes its lock.
 *
 * Without shared_preload_libraries there is no registry, and nothing is shared.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/lock.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "common/bytes.h"

#define MAX_BYTES 128

/* The server's advisory locks have 1 and 2 here, so these meet none of them. */
#define LOCK_OF_BYTES 3

typedef struct BytesEntry
{
	int			attached;		/* processes; 0: the entry is free */
	dsm_handle	handle;
	JflowBytesKey key;
} BytesEntry;

static BytesEntry *entries = NULL;
static LWLock *entries_lock;

/* For the shmem_request_hook. */
void
jflow_bytes_request_shmem(void)
{
	RequestAddinShmemSpace(mul_size(sizeof(BytesEntry), MAX_BYTES));
	RequestNamedLWLockTranche("jflow bytes", 1);
}

/* For the shmem_startup_hook; the caller holds AddinShmemInitLock. */
void
jflow_bytes_init_shmem(void)
{
	bool		found;

	entries = ShmemInitStruct("jflow bytes", sizeof(BytesEntry) * MAX_BYTES, &found);
	if (!found)
		memset(entries, 0, sizeof(BytesEntry) * MAX_BYTES);
	entries_lock = &GetNamedLWLockTranche("jflow bytes")->lock;
}

/* A process lets go of a segment, or exits. */
static void
count_down(dsm_segment *segment, Datum entry)
{
	LWLockAcquire(entries_lock, LW_EXCLUSIVE);
	entries[DatumGetInt32(entry)].attached--;
	LWLockRelease(entries_lock);
}

/* Count this process in; under the registry's lock.  Raises for want of memory, with nothing done. */
static void
count_up(int entry, dsm_segment *segment)
{
	on_dsm_detach(segment, count_down, Int32GetDatum(entry));
	entries[entry].attached++;
}

/*
 * The bytes under a key, or NULL if no process has them.  They stay until
 * dsm_detach().  A process attaches a key only once at a time.
 */
dsm_segment *
jflow_bytes_attach(const JflowBytesKey *key)
{
	dsm_segment *segment = NULL;

	if (entries == NULL)
		return NULL;
	LWLockAcquire(entries_lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_BYTES && segment == NULL; i++)
		if (entries[i].attached > 0 && memcmp(&entries[i].key, key, sizeof(*key)) == 0)
		{
			/*
			 * somebody is attached, and cannot leave before we let go of the
			 * lock
			 */
			segment = dsm_attach(entries[i].handle);
			if (segment)
				count_up(i, segment);
		}
	LWLockRelease(entries_lock);
	if (segment)
		dsm_pin_mapping(segment);
	return segment;
}

/*
 * Room for bytes, which the caller fills and publishes; NULL where nothing can be
 * shared.  It stays until dsm_detach().
 */
dsm_segment *
jflow_bytes_create(Size size)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner outer = CurrentResourceOwner;
	ResourceOwner owner;
	dsm_segment *volatile segment = NULL;

	if (entries == NULL)
		return NULL;
	owner = ResourceOwnerCreate(outer, "jflow bytes");
	CurrentResourceOwner = owner;
	PG_TRY();
	{
		segment = dsm_create(size, DSM_CREATE_NULL_IF_MAXSEGMENTS);
		if (segment)
			dsm_pin_mapping(segment);
	}
	PG_CATCH();
	{
		int			sqlstate = geterrcode();

		CurrentResourceOwner = outer;
		ResourceOwnerRelease(owner, RESOURCE_RELEASE_BEFORE_LOCKS, false, false);
		ResourceOwnerDelete(owner);

		/*
		 * a machine without room for it is no failure: the caller does
		 * without
		 */
		if (sqlstate != ERRCODE_OUT_OF_MEMORY && sqlstate != ERRCODE_DISK_FULL)
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		FlushErrorState();
		return NULL;
	}
	PG_END_TRY();
	CurrentResourceOwner = outer;
	ResourceOwnerDelete(owner);
	return segment;
}

/*
 * Let other processes find bytes.  The caller holds the key's lock and has found
 * that nobody has published it.  Where the registry is full they remain the
 * caller's own.
 */
void
jflow_bytes_publish(dsm_segment *segment, const JflowBytesKey *key)
{
	LWLockAcquire(entries_lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_BYTES; i++)
		if (entries[i].attached == 0)
		{
			count_up(i, segment);
			entries[i].key = *key;
			entries[i].handle = dsm_segment_handle(segment);
			break;
		}
	LWLockRelease(entries_lock);
}

static void
set_tag(LOCKTAG *tag, const JflowBytesKey *key)
{
	uint64		hash = hash_bytes_extended((const unsigned char *) key, sizeof(*key), 0);

	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, (uint32) (hash >> 32), (uint32) hash, LOCK_OF_BYTES);
}

/*
 * One process at a time makes the bytes of a key, the others wait for it: this is
 * a lock of the lock manager, that can be cancelled, is seen by the deadlock
 * detector, and goes with the transaction when an error comes.
 */
void
jflow_bytes_lock(const JflowBytesKey *key)
{
	LOCKTAG		tag;

	set_tag(&tag, key);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/* Give back what jflow_bytes_lock took. */
void
jflow_bytes_unlock(const JflowBytesKey *key)
{
	LOCKTAG		tag;

	set_tag(&tag, key);
	(void) LockRelease(&tag, ExclusiveLock, false);
}
