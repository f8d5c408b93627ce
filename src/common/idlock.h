/*
 * idlock.h
 *		Locks that order writers of ids.
 */
#ifndef JFLOW_IDLOCK_H
#define JFLOW_IDLOCK_H

#include "storage/lock.h"

/* Parts of the tags of ids are not below, so that these are free for others. */
#define JFLOW_IDLOCK_FIRST_PART 2

extern LOCKMODE jflow_idlock_mode(int nids, bool alone);
extern void jflow_idlock_all(const LOCKTAG *layout, const uint64 *hashes, int n);
extern bool jflow_idlock_try(const LOCKTAG *layout, uint64 hash);

#endif							/* JFLOW_IDLOCK_H */
