/*
 * page.h
 *		Pages of an index: how they begin and end, and where new ones come from.
 */
#ifndef INDEX_PAGE_H
#define INDEX_PAGE_H

#include "access/transam.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "utils/relcache.h"

#include "compat.h"

/* The special space of every page. */
typedef struct IxPageOpaqueData
{
	uint32		owner;			/* what the page belongs to, such as a list */
	uint32		generation;		/* of what the index has learned, if it learns */
	uint16		unused[2];
	uint16		kind;
	uint16		page_id;		/* of the access method, for pg_filedump */
} IxPageOpaqueData;

typedef IxPageOpaqueData *IxPageOpaque;

/* The kind of a page, of any access method, that was given back. */
#define IX_PAGE_FREE 0xFFFF

#define IxPageGetOpaque(page) ((IxPageOpaque) PageGetSpecialPointer(page))

extern void ix_page_init(Page page, uint16 page_id, uint16 kind, uint32 owner);
extern bool ix_page_valid(Page page, uint16 page_id, uint16 kind);
extern bool ix_page_usable(Page page);
extern Buffer ix_new_buffer(Relation index, ForkNumber fork);
extern void ix_log_reuse(Relation index, FullTransactionId horizon);
extern JFLOW_NORETURN void ix_corrupt(Relation index, BlockNumber block, const char *detail);

#endif							/* INDEX_PAGE_H */
