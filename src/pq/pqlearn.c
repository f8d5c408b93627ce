/*
 * pqlearn.c
 *		Learning anew: a new generation of an index, from the refine codes that it
 *		has, while it is searched and written to.
 *
 * An index of which the rows have become many more, or fewer, than those that its
 * model was learned from, or of which many are outliers (pqoutlier.c), is written
 * again beside itself: model, centroids, directory and lists, all on new pages that
 * say of which generation they are.  One WAL record, of the meta page, makes it the
 * generation in use.
 *
 * 1. Who learns holds a lock on the table that excludes VACUUM and all others who
 *    learn (or the index is known to nobody else).  So no entry goes, and what a
 *    slot holds does not change, while it is copied; entries only come.
 * 2. A number for the generation is taken by a WAL record, so that what an
 *    interrupted attempt leaves is never taken for pages in use.
 * 3. The model is learned from all entries, it is remembered in which slots these
 *    are, and just these are copied: what comes from then on was not learned from.
 * 4. What was inserted meanwhile is copied as if it was inserted now, until little
 *    comes.
 * 5. The lock that inserts share for each entry is taken alone, what is left is
 *    copied, and the meta page switched.  So no entry is lost, and none is doubled.
 *
 * What a crash leaves before 5 is the old generation, and pages that nobody links
 * to; after it, the new one and the pages of the old.  VACUUM gives both back.
 *
 * A scan that started with the old generation reads that to its end: its snapshot
 * sees no row that was inserted after it.  So the pages of the old generation stay
 * until the oldest snapshot is younger than the switch, and a standby waits for
 * its own before it replays that they go (ix_log_reuse).  VACUUM removes entries of
 * the generation in use only: an older scan may still come upon one of a row that
 * is gone, as it may after VACUUM anyway, and its snapshot cannot see what stands
 * in that place now.
 */
#include "postgres.h"

#include <math.h>

#include "access/relation.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/indexfsm.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "tcop/tcopprot.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "index/page.h"
#include "pq/pq.h"
#include "pq/pqbuild.h"

/* Passes that copy what comes meanwhile, and how little is left for the last. */
#define PASSES 20
#define FEW_ENTRIES 100
/* How often a worker learns before it leaves it to another. */
#define MOST_TIMES 3

/* Which slots of a posting page were met, so that they are copied, or were. */
typedef struct PqCopied
{
	BlockNumber block;
	uint32		masks[FLEXIBLE_ARRAY_MEMBER];
} PqCopied;

/* What is done with an entry: its point, how far that may be off, and where it is. */
typedef void (*PqEntryAction) (void *arg, const float *point, float error, Page page, int slot);

typedef struct PqLearn
{
	Relation	index;
	PqIndex    *old;
	PqIndex    *new;
	PqBuild		build;
	HTAB	   *copied;			/* PqCopied by block, NULL if all are to be
								 * met */
	bool		again;			/* meet what was met, instead of the rest */
	const PqLayout *layout;		/* of the entries that are met */
	PqSample   *sample;
	PqLoader   *loader;
	double	   *shift;			/* from the old origin to the new */
	double		met;			/* entries, in this pass */
	MemoryContext row_context;
} PqLearn;

/* Posting pages of the model's lists, and the directory's entry of outliers. */
static uint32
count_pages(Relation index, const PqMetaPageData *meta, PqDirectoryEntry *outliers)
{
	uint32		pages = 0;

	for (int start = 0; start < PqMetaLists(meta); start += PQ_ENTRIES_PER_PAGE)
	{
		Buffer		buffer = ReadBuffer(index, meta->directory_start + start / PQ_ENTRIES_PER_PAGE);
		PqDirectoryEntry *entries = (PqDirectoryEntry *) ((char *) BufferGetPage(buffer) + PQ_DIRECTORY_START);

		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		pq_generation_check(index, buffer, meta->generation);
		pq_page_check(index, buffer, PQ_PAGE_DIRECTORY);
		for (int i = 0; i < PQ_ENTRIES_PER_PAGE && start + i < PqMetaLists(meta); i++)
		{
			if (start + i < meta->nslots)
				pages += entries[i].npages;
			else
				*outliers = entries[i];
		}
		UnlockReleaseBuffer(buffer);
	}
	return pages;
}

/*
 * Change the meta page, in one WAL record.
 */
void
pq_update_meta(Relation index, const PqMetaPageData *meta)
{
	Buffer		buffer = ReadBuffer(index, PQ_META_BLOCK);
	GenericXLogState *state;
	PqMetaPageData *to;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	pq_page_check(index, buffer, PQ_PAGE_META);
	state = GenericXLogStart(index);
	to = PqPageGetMeta(GenericXLogRegisterBuffer(state, buffer, 0));
	*to = *meta;
	to->crc = pq_meta_crc(to);
	GenericXLogFinish(state);
	UnlockReleaseBuffer(buffer);
}

/*
 * Meet the entries of the old generation, or those that were not met yet, or once
 * more those that were.  Pages are copied under their lock; live entries do not
 * change.
 */
static void
each_entry(PqLearn *learn, PqEntryAction action)
{
	PqIndex    *pq = learn->old;
	float	   *point = palloc0(sizeof(float) * pq->model->padded);
	float	   *origin = palloc0(sizeof(float) * pq->model->padded);
	PGAlignedBlock page;

	learn->met = 0;
	for (uint32 list = 0; list < PqMetaLists(&pq->meta); list++)
	{
		const PqLayout *layout = learn->layout = PqListLayout(pq, list);
		BlockNumber block = pq_list_head(pq, learn->index, list);
		BlockNumber steps = 0;

		if (block != InvalidBlockNumber)
			pq_read_origin(learn->index, pq, list, origin);
		while (block != InvalidBlockNumber)
		{
			Buffer		buffer = pq_read(pq, learn->index, block);
			PqPostingHeader *header = PqPostingGetHeader(page.data);
			PqCopied   *copied = NULL;
			bool		found = true;

			CHECK_FOR_INTERRUPTS();
			LockBuffer(buffer, BUFFER_LOCK_SHARE);
			pq_posting_check(learn->index, buffer, layout, list);
			memcpy(page.data, BufferGetPage(buffer), BLCKSZ);
			UnlockReleaseBuffer(buffer);
			if (learn->copied)
				copied = hash_search(learn->copied, &block, HASH_ENTER, &found);
			if (!found)
				memset(copied->masks, 0, sizeof(uint32) * layout->nblocks);
			for (int b = 0; b * PQ_BLOCK < header->nused; b++)
			{
				uint32		live = PqPostingLive(page.data, layout)[b] & PqUsedMask(header, b);
				uint32		mask = live;

				if (copied)
				{
					mask &= learn->again ? copied->masks[b] : ~copied->masks[b];
					copied->masks[b] |= mask;
				}
				for (; mask; mask &= mask - 1)
				{
					int			slot = b * PQ_BLOCK + pg_rightmost_one_pos32(mask);
					float		error;

					pq_read_refined(learn->index, pq, list, page.data, slot, origin, point, &error);
					action(learn, point, error, page.data, slot);
					learn->met++;
				}
			}
			block = header->next;
			if (++steps > 1024 && steps > RelationGetNumberOfBlocks(learn->index))
				ix_corrupt(learn->index, block, "The pages of a list form a circle.");
		}
	}
	pfree(point);
	pfree(origin);
}

static void
sample_entry(void *arg, const float *point, float error, Page page, int slot)
{
	PqLearn    *learn = arg;

	pq_sample_add(learn->sample, point, learn->old->model->space_dims);
}

/* Move a point of the old index space into the new one; returns how far it may be off. */
static float
move_entry(const PqLearn *learn, const float *point, float error, float *out)
{
	double		rest = 0;

	for (int j = 0; j < learn->old->model->space_dims; j++)
	{
		double		exact = point[j] - learn->shift[j];

		out[j] = (float) exact;
		rest += (exact - out[j]) * (exact - out[j]);
	}
	return error + (float) (sqrt(rest) * 1.0001);
}

static void
load_entry(void *arg, const float *point, float error, Page page, int slot)
{
	PqLearn    *learn = arg;
	int64		filters[IX_MAX_FILTERS];
	uint32		nulls = ix_filter_get(page, &learn->layout->filters, slot, filters);
	float	   *to = pq_loader_point(learn->loader, 0);

	pq_loader_point(learn->loader, move_entry(learn, point, error, to));
	pq_loader_entry(learn->loader, &PqPostingTids(page, learn->layout)[slot], filters, nulls);
}

static void
insert_entry_anew(void *arg, const float *point, float error, Page page, int slot)
{
	PqLearn    *learn = arg;
	PqIndex    *pq = learn->new;
	MemoryContext old = MemoryContextSwitchTo(learn->row_context);
	PqEntry    *entry = palloc0(PqEntrySize(&pq->layout));
	float	   *moved = palloc0(sizeof(float) * pq->model->padded);
	float		off = move_entry(learn, point, error, moved);
	int64		filters[IX_MAX_FILTERS];

	entry->tid = PqPostingTids(page, learn->layout)[slot];
	entry->nulls = ix_filter_get(page, &learn->layout->filters, slot, filters);
	/* not aligned there */
	memcpy(PqEntryFilters(entry, &pq->layout), filters, sizeof(int64) * pq->layout.filters.nfilters);
	pq_insert_point(learn->index, pq, moved, off, entry);
	MemoryContextSwitchTo(old);
	MemoryContextReset(learn->row_context);
}

/*
 * Learn a model.  The sample lies about the old origin; the new origin is a point
 * of floats, and the shift between the two is exact.
 */
static void
train_anew(PqLearn *learn, double tuples)
{
	PqBuild    *build = &learn->build;
	PqOptions  *options = (PqOptions *) learn->index->rd_options;
	const PqModel *old = learn->old->model;
	int			lists = options ? options->lists : 0;
	double		most = (double) maintenance_work_mem * 1024 / 2 / (sizeof(float) * old->padded + 16) * 3 / 4;
	PqModel    *model;
	float	   *centre;

	learn->sample = pq_sample_begin((int) Max(256, Min(most, 64.0 * (lists > 0 ? lists : 2 * sqrt(tuples)))), old->padded);
	each_entry(learn, sample_entry);
	pq_sample_finish(learn->sample);
	build->trained = pq_train(build->space, build->dims, learn->sample->points, learn->sample->n, tuples,
							  lists, options ? options->subvectors : 0, (Size) maintenance_work_mem * 1024 / 2);
	model = build->trained->model;
	centre = PqModelArray(model, centre, float);
	learn->shift = palloc(sizeof(double) * model->space_dims);
	model->centred = 0;
	for (int j = 0; j < model->space_dims; j++)
	{
		double		before = old->centred ? PqModelArray(old, centre, float)[j] : 0;

		centre[j] = (float) (before + centre[j]);
		learn->shift[j] = centre[j] - before;
		model->centred |= centre[j] != 0;
	}
	pq_take_queries(build, model, learn->sample);
	pq_sample_free(learn->sample);
}

/*
 * Write a new generation and switch to it.
 */
static void
learn_anew(Relation index, double tuples)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pq learn", ALLOCSET_DEFAULT_SIZES);
	MemoryContext outer = MemoryContextSwitchTo(context);
	PqLearn		learn = {.index = index};
	PqBuild    *build = &learn.build;
	PqMetaPageData meta;
	HASHCTL		control = {0};
	PqWriter   *writer;

	pq_read_meta(index, &meta);
	meta.last_generation++;
	pq_update_meta(index, &meta);
	learn.old = pq_index_get(index, context);
	learn.row_context = AllocSetContextCreate(context, "pq row", ALLOCSET_DEFAULT_SIZES);
	build->index = index;
	build->space = pq_index_space(index);
	build->dims = pq_index_dims(index, build->space);
	build->meta = meta;
	build->meta.generation = meta.last_generation;
	build->meta.nunlike = 0;	/* what the last model's queries needed */
	control.keysize = sizeof(BlockNumber);
	control.entrysize = offsetof(PqCopied, masks) + sizeof(uint32) * Max(learn.old->layout.nblocks, learn.old->flat_layout.nblocks);
	control.hcxt = context;
	learn.copied = hash_create("pq copied entries", 1024, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	train_anew(&learn, tuples);
	pq_layout_init(&build->layout, build->trained->model, false, meta.nfilters, meta.filter_width);
	build->layout.generation = build->meta.generation;
	pq_write_start(index, MAIN_FORKNUM, build->trained, &build->meta, true);

	/*
	 * what came since the sample was taken may be an outlier, and is copied
	 * below
	 */
	learn.loader = pq_loader_begin(build, NULL, pq_sort_memory(build, 1));
	learn.again = true;
	each_entry(&learn, load_entry);
	learn.again = false;
	build->indexed = pq_loader_end(learn.loader);
	writer = pq_writer_begin(index, MAIN_FORKNUM, &build->meta, &build->layout, true);
	pq_load_write(build, writer);
	pq_writer_end(writer);

	/* what is copied from here on it has not learned from */
	build->meta.tuples = build->indexed;
	learn.new = pq_index_open(index, &build->meta);
	pq_calibrate(index, learn.new, &build->queries, &build->meta, NULL);
	/* and may be outliers */
	learn.new->meta = build->meta;
	for (int pass = 0; pass < PASSES; pass++)
	{
		double		before = learn.met;

		each_entry(&learn, insert_entry_anew);
		/* what comes faster than it is copied would only become more */
		if (learn.met <= FEW_ENTRIES || (pass > 0 && learn.met >= before))
			break;
	}

	LockPage(index, PQ_META_BLOCK, ExclusiveLock);
	each_entry(&learn, insert_entry_anew);
	build->meta.check_pages = pq_pages_before_check(&build->meta, &build->layout, build->trained->model->nlists, build->meta.tuples);
	build->meta.warned = 0;
	build->meta.due_tuples = 0;
	build->meta.switched = ReadNextFullTransactionId();
	pq_update_meta(index, &build->meta);
	UnlockPage(index, PQ_META_BLOCK, ExclusiveLock);
	ereport(DEBUG1,
			(errmsg_internal("pq index \"%s\" has learned anew from %.0f entries: generation %u",
							 RelationGetRelationName(index), build->meta.tuples, build->meta.generation)));
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(context);
}

static PqCounts
count_entries(Relation index, PqIndex *pq)
{
	PqCounts	counts = {0};

	for (uint32 list = 0; list < PqMetaLists(&pq->meta); list++)
	{
		BlockNumber block = pq_list_head(pq, index, list);
		BlockNumber steps = 0;

		while (block != InvalidBlockNumber)
		{
			Buffer		buffer = pq_read(pq, index, block);

			CHECK_FOR_INTERRUPTS();
			LockBuffer(buffer, BUFFER_LOCK_SHARE);
			pq_posting_check(index, buffer, PqListLayout(pq, list), list);
			pq_count_page(&counts, PqPostingGetHeader(BufferGetPage(buffer)), list == PqOutlierList(pq));
			block = PqPostingGetHeader(BufferGetPage(buffer))->next;
			UnlockReleaseBuffer(buffer);
			if (++steps > 1024 && steps > RelationGetNumberOfBlocks(index))
				ix_corrupt(index, block, "The pages of a list form a circle.");
		}
	}
	return counts;
}

/*
 * Has a flat index with so many rows enough distinct ones to learn from, or is it
 * told to learn?  Very many rows are too many to look at all.
 */
static bool
learning_pays(Relation index, PqIndex *pq, double tuples)
{
	PqOptions  *options = (PqOptions *) index->rd_options;
	PqLearn		learn = {.index = index,.old = pq};
	int			distinct;

	if (!PqMetaIsFlat(&pq->meta) || tuples >= PQ_FLAT_MOST || (options && options->lists > 0))
		return true;
	learn.sample = pq_sample_begin(PQ_FLAT_ROWS, pq->model->padded);
	each_entry(&learn, sample_entry);
	pq_sample_finish(learn.sample);
	distinct = learn.sample->n;
	pq_sample_free(learn.sample);
	return distinct >= PQ_FLAT_ROWS;
}

/* Tell the log, once, that an index is due to learn anew but cannot. */
static void
warn_of_drift(Relation index, double tuples, double outliers)
{
	PqMetaPageData meta;

	pq_read_meta(index, &meta);
	if (meta.warned)
		return;
	meta.warned = 1;
	meta.check_pages = PG_UINT32_MAX;
	pq_update_meta(index, &meta);
	ereport(WARNING,
			(errmsg("pq index \"%s\" has %.0f entries, of which its codes do not fit %.0f, but its codebook was made for a table of %.0f",
					RelationGetRelationName(index), tuples, outliers, meta.tuples),
			 errdetail("An index with a codebook learns nothing of its own, so recall or speed may be less than they could be."),
			 errhint("Train the codebook again with jflow_train() and REINDEX.")));
}

/* Look again a little later whether an index, which has so many pages, is to learn. */
static void
check_later(Relation index, const PqLayout *layout, uint32 pages, double due_tuples)
{
	PqMetaPageData meta;

	pq_read_meta(index, &meta);
	meta.due_tuples = due_tuples;
	meta.check_pages = due_tuples > 0 ? pq_pages_before_check(&meta, layout, 1, 0) : pages + Max(1, pages / 8);
	pq_update_meta(index, &meta);
}

/*
 * Learn anew if an index has other rows than it learned from.  The caller holds a
 * lock on the table that excludes VACUUM and others who learn, or nobody else
 * knows the index.  Returns whether it has.
 */
bool
pq_learn_if_due(Relation index)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pq learn", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	PqIndex    *pq = pq_index_get(index, context);
	PqMetaPageData meta = pq->meta;
	PqCounts	counts = count_entries(index, pq);
	PqDirectoryEntry outliers;
	uint32		pages = count_pages(index, &meta, &outliers);
	bool		due = pq_learning_due(&meta, &counts);
	bool		learn = due && meta.codebook[0] == '\0' && learning_pays(index, pq, counts.live);

	if (due && meta.codebook[0] != '\0')
		warn_of_drift(index, counts.live, counts.outliers);
	else if (due && !learn)
		check_later(index, &pq->layout, pages, Min(2 * counts.live, PQ_FLAT_MOST));
	else if (!due && pages >= meta.check_pages)
		/* lists' last pages are emptier than expected */
		check_later(index, &pq->layout, pages, 0);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	if (learn)
		learn_anew(index, counts.live);
	return learn;
}

/* About how many outliers there are: all pages of theirs are full but one. */
static double
count_outliers(Relation index, PqIndex *pq, const PqDirectoryEntry *outliers)
{
	Buffer		buffer;
	double		last;

	if (outliers->npages == 0)
		return 0;
	buffer = pq_read(pq, index, outliers->insert);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	pq_posting_check(index, buffer, &pq->flat_layout, PqOutlierList(pq));
	last = PqPostingGetHeader(BufferGetPage(buffer))->nlive;
	UnlockReleaseBuffer(buffer);
	return (outliers->npages - 1.0) * pq->flat_layout.nslots + last;
}

/*
 * Has an index so many pages, outliers or strange entries that it may have to learn,
 * and some more than when this backend asked the last time?
 */
static bool
worth_asking(Relation index, PqIndex *pq)
{
	bool		strange = pq->strange;
	PqDirectoryEntry entry;
	uint32		pages;
	double		outliers;

	pq->look = false;
	pq->strange = false;
	if (pq->meta.warned)
		return false;
	pages = count_pages(index, &pq->meta, &entry);
	outliers = count_outliers(index, pq, &entry);
	if (pages >= pq->meta.check_pages && pages >= pq->asked + pq->asked / 8)
		pq->asked = pages + 1;
	else if (outliers >= pq_most_outliers(&pq->meta) && outliers >= pq->asked_outliers * 9 / 8)
		pq->asked_outliers = outliers;
	else
		return strange;
	return true;
}

/*
 * See that an index that may have to learn does so, by a worker of its own, or here
 * where nobody else knows the index.
 */
void
pq_learn_wanted(Relation index, PqIndex *pq)
{
	BackgroundWorker worker = {0};
	Oid			oid = RelationGetRelid(index);
	Oid			table = index->rd_index->indrelid;
	PqIndex		before = *pq;

	if (!worth_asking(index, pq))
		return;
	if (RELATION_IS_LOCAL(index) || rel_has_new_file_compat(index))
	{
		pq_learn_if_due(index);
		return;
	}
	/* a worker for this index or another of the table, or VACUUM, is at it */
	if (!ConditionalLockRelationOid(table, ShareUpdateExclusiveLock))
	{
		/* or who comes behind it would not look before very much has come */
		pq->asked = before.asked;
		pq->asked_outliers = before.asked_outliers;
		pq->strange = before.strange;
		return;
	}
	UnlockRelationOid(table, ShareUpdateExclusiveLock);
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strcpy(worker.bgw_library_name, "jflow");
	strcpy(worker.bgw_function_name, "jflow_pq_learn_worker");
	snprintf(worker.bgw_name, BGW_MAXLEN, "jflow pq learner for index %u", oid);
	strcpy(worker.bgw_type, "jflow pq learner");
	worker.bgw_main_arg = ObjectIdGetDatum(MyDatabaseId);
	memcpy(worker.bgw_extra, &oid, sizeof(oid));
	/* where there is no room for a worker, VACUUM does it */
	(void) RegisterDynamicBackgroundWorker(&worker, NULL);
}

/* Tell others what kind of process this is. */
static void
set_status_flags(uint8 flags)
{
	LWLockAcquire(ProcArrayLock, LW_EXCLUSIVE);
	MyProc->statusFlags |= flags;
	ProcGlobal->statusFlags[MyProc->pgxactoff] = MyProc->statusFlags;
	LWLockRelease(ProcArrayLock);
}

/* Learn an index anew if that is due, in a transaction; was it? */
static bool
learn_in_transaction(Oid oid)
{
	Oid			table;
	Relation	heap;
	Relation	index;
	bool		learned = false;

	StartTransactionCommand();

	/*
	 * VACUUM of other tables need not keep rows for us, as for its own kind:
	 * we look at no rows, and nobody vacuums our table meanwhile
	 */
	set_status_flags(PROC_IN_VACUUM);
	table = IndexGetRelation(oid, true);
	/* VACUUM does it, too, so it need not be waited for */
	if (OidIsValid(table) && ConditionalLockRelationOid(table, ShareUpdateExclusiveLock))
	{
		heap = try_relation_open(table, NoLock);
		index = heap ? try_relation_open(oid, RowExclusiveLock) : NULL;
		if (index && index->rd_rel->relkind == RELKIND_INDEX && index->rd_index->indrelid == table &&
			index->rd_indam->ambuild == pq_build && index->rd_index->indisready)
			learned = pq_learn_if_due(index);
		if (index)
			relation_close(index, NoLock);
		if (heap)
			relation_close(heap, NoLock);
	}
	CommitTransactionCommand();
	return learned;
}

/* The same, but a cancel ends it without an error. */
static bool
learn_unless_canceled(Oid oid)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool learned = false;

	PG_TRY();
	{
		learned = learn_in_transaction(oid);
	}
	PG_CATCH();
	{
		if (geterrcode() != ERRCODE_QUERY_CANCELED)
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		FlushErrorState();
		AbortCurrentTransaction();
		ereport(LOG,
				(errmsg("canceled learning the pq index with OID %u anew", oid),
				 errdetail("Inserts that find it due begin it again, and VACUUM does it.")));
	}
	PG_END_TRY();
	return learned;
}

/*
 * The worker: it reads pages of one index and writes others, and runs no code of
 * anybody's.  What it does can be done later, so it makes way as autovacuum does: who
 * waits for a lock of its own for longer than deadlock_timeout cancels it, and DROP
 * DATABASE and the like end it.
 */
void
jflow_pq_learn_worker(Datum arg)
{
	Oid			oid;

	memcpy(&oid, MyBgworkerEntry->bgw_extra, sizeof(oid));
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(arg), InvalidOid, 0);
	set_status_flags(PROC_IS_AUTOVACUUM);
	pgstat_report_activity(STATE_RUNNING, "learning a pq index anew");

	/*
	 * and again if very much has come meanwhile; others get the table in
	 * between
	 */
	for (int i = 0; i < MOST_TIMES && learn_unless_canceled(oid); i++)
		;
	pgstat_report_activity(STATE_IDLE, NULL);
	proc_exit(0);
}

/*
 * Give back pages of generations that no scan reads any more, and of attempts that
 * came to no end, and put pages that can be used again into the free space map.
 * The caller excludes those who learn.
 */
void
pq_sweep(Relation index, BufferAccessStrategy strategy)
{
	PqMetaPageData meta;
	BlockNumber nblocks = RelationGetNumberOfBlocks(index);
	bool		old_too;
	bool		left = false;
	bool		told = false;	/* standbys, that pages go */

	pq_read_meta(index, &meta);
	old_too = GlobalVisCheckRemovableFullXid(NULL, meta.switched);
	for (BlockNumber block = 1; block < nblocks; block++)
	{
		Buffer		buffer;
		Page		page;
		bool		usable;

		CHECK_FOR_INTERRUPTS();
		buffer = ReadBufferExtended(index, MAIN_FORKNUM, block, RBM_NORMAL, strategy);
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		page = BufferGetPage(buffer);
		usable = ix_page_usable(page);
		if (!usable && ((PageHeader) page)->pd_special == BLCKSZ - sizeof(IxPageOpaqueData) &&
			IxPageGetOpaque(page)->page_id == PQ_PAGE_ID && IxPageGetOpaque(page)->generation != meta.generation)
		{
			if (IxPageGetOpaque(page)->generation > meta.generation || old_too)
			{
				GenericXLogState *state;
				bool		older = IxPageGetOpaque(page)->generation < meta.generation;

				/* such a page is changed by nobody else */
				LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
				if (older && !told)
					ix_log_reuse(index, meta.switched);
				told |= older;
				LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
				state = GenericXLogStart(index);

				/*
				 * whole: a standby may never have had what a failed learner
				 * wrote here
				 */
				IxPageGetOpaque(GenericXLogRegisterBuffer(state, buffer, GENERIC_XLOG_FULL_IMAGE))->kind = IX_PAGE_FREE;
				GenericXLogFinish(state);
				usable = true;
			}
			else
				left = true;
		}
		UnlockReleaseBuffer(buffer);
		if (usable)
			RecordFreeIndexPage(index, block);
	}
	if (!left && meta.swept != meta.last_generation)
	{
		meta.swept = meta.last_generation;
		pq_update_meta(index, &meta);
	}
	IndexFreeSpaceMapVacuum(index);
}
