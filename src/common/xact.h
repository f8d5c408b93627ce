/*
 * xact.h
 *		What is done at the end of a transaction, in one order.
 */
#ifndef JFLOW_XACT_H
#define JFLOW_XACT_H

#include "access/xact.h"

/*
 * The order.  What may still refuse the commit for a reason of ours comes first;
 * then what cannot be taken back once it is done, the commits of other servers;
 * then what only tells others and raises nothing.  Those come behind, since what
 * another server does in its commit may be a post that waits for all that was
 * announced here.
 */
typedef enum JflowXactEnd
{
	XACT_END_SYNC,				/* rows that were to be posted by now */
	XACT_END_REMOTE,			/* commits of other servers */
	XACT_END_LOCKS,				/* a store's, which are gone */
	XACT_END_PENDING,			/* what shall run has changed */
	XACT_END_DDL,				/* a database is open for replicas again */
	XACT_ENDS
} JflowXactEnd;

extern void jflow_xact_init(void);
extern void jflow_at_transaction_end(JflowXactEnd place, XactCallback callback);

#endif							/* JFLOW_XACT_H */
