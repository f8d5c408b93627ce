/*
 * page.c
 *		Pages: a header that tells what they are, and where they come from.
 *
 * A page read from disk is believed only after its kind and every number that
 * steers a loop or an offset were checked, so a damaged file raises an error
 * and cannot crash the server.
 */
#include "postgres.h"

#include "access/nbtxlog.h"
#include "access/rmgr.h"
#include "access/xlog.h"
#include "access/xloginsert.h"
#include "storage/indexfsm.h"
#include "storage/lmgr.h"
#include "utils/rel.h"

#include "index/page.h"

/*
 * An empty page of an index; the caller has it locked exclusively, or to itself.
 */
void
ix_page_init(Page page, uint16 page_id, uint16 kind, uint32 owner)
{
	IxPageOpaque opaque;

	PageInit(page, BLCKSZ, sizeof(IxPageOpaqueData));
	opaque = IxPageGetOpaque(page);
	opaque->owner = owner;
	opaque->generation = 0;
	opaque->unused[0] = opaque->unused[1] = 0;
	opaque->kind = kind;
	opaque->page_id = page_id;
	/* nothing of a page may be taken for a hole */
	((PageHeader) page)->pd_lower = ((PageHeader) page)->pd_upper;
}

/*
 * Is this a page of that kind?  Its bounds are looked at as well, since generic
 * WAL copies what they say.
 */
bool
ix_page_valid(Page page, uint16 page_id, uint16 kind)
{
	PageHeader	header = (PageHeader) page;

	return !PageIsNew(page) &&
		header->pd_special == BLCKSZ - sizeof(IxPageOpaqueData) &&
		header->pd_lower == header->pd_special && header->pd_upper == header->pd_special &&
		IxPageGetOpaque(page)->page_id == page_id &&
		IxPageGetOpaque(page)->kind == kind;
}

/* Raise that a page is damaged; the detail is a sentence. */
void
ix_corrupt(Relation index, BlockNumber block, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INDEX_CORRUPTED),
			 errmsg("index \"%s\" is corrupted at block %u",
					RelationGetRelationName(index), block),
			 errdetail_internal("%s", detail),
			 errhint("Rebuild the index with REINDEX.")));
	pg_unreachable();
}

/*
 * Can a page be used again?  It is so if it was never used, which an interrupted
 * insert leaves behind, or if it was given back: marked as IX_PAGE_FREE, under
 * WAL, once nobody could still follow a link to it.  The free space map only
 * tells where to look; this is what decides.
 */
bool
ix_page_usable(Page page)
{
	return PageIsNew(page) ||
		(((PageHeader) page)->pd_special == BLCKSZ - sizeof(IxPageOpaqueData) &&
		 IxPageGetOpaque(page)->kind == IX_PAGE_FREE);
}

/*
 * A new page, locked and pinned: one that can be used again, or one more block.
 * The caller writes all of it.
 */
Buffer
ix_new_buffer(Relation index, ForkNumber fork)
{
	Buffer		buffer;
	bool		extend;

	if (fork == MAIN_FORKNUM)
		for (;;)
		{
			BlockNumber block = GetFreeIndexPage(index);

			if (block == InvalidBlockNumber)
				break;
			if (block >= RelationGetNumberOfBlocks(index))
				continue;
			buffer = ReadBuffer(index, block);
			if (ConditionalLockBuffer(buffer))
			{
				if (ix_page_usable(BufferGetPage(buffer)))
					return buffer;
				LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
			}
			ReleaseBuffer(buffer);
		}
	extend = !RELATION_IS_LOCAL(index);
	if (extend)
		LockRelationForExtension(index, ExclusiveLock);

	/*
	 * locked from the start: VACUUM would offer an unlocked new page to
	 * others
	 */
	buffer = ReadBufferExtended(index, fork, P_NEW, RBM_ZERO_AND_LOCK, NULL);
	if (extend)
		UnlockRelationForExtension(index, ExclusiveLock);
	return buffer;
}

/*
 * Pages are about to be used again that scans may need whose snapshots are not
 * younger than a transaction.  There is none here, but there may be on a standby:
 * have it wait for them before it replays what follows, as long as
 * max_standby_streaming_delay lets it, and cancel them then.  Generic WAL has no
 * record for that.  Those of B-trees have one that does nothing else, and does
 * not look what kind of index it names.
 */
void
ix_log_reuse(Relation index, FullTransactionId horizon)
{
	xl_btree_reuse_page record = {0};

	if (!RelationNeedsWAL(index) || !XLogStandbyInfoActive())
		return;
	record.reuse_file_compat = rel_file_compat(index);
	record.block = InvalidBlockNumber;
	record.reuse_horizon_compat = horizon;
	XLogBeginInsert();
	XLogRegisterData((char *) &record, SizeOfBtreeReusePage);
	XLogInsert(RM_BTREE_ID, XLOG_BTREE_REUSE_PAGE);
}
