/*
 * xact.h
 *		What is done at the end of a transaction, in one order; and functions that may
 *		fail within one.
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

/* A function that may fail, with its argument. */
typedef void (*JflowGuarded) (void *arg);

/* Is this an error that is raised again? */
typedef bool (*JflowRaises) (const ErrorData *error);

extern ErrorData *jflow_try(JflowGuarded function, void *arg, JflowRaises raises);
extern ErrorData *jflow_try_look(JflowGuarded function, void *arg, JflowRaises raises);
extern void jflow_at_transaction_end(JflowXactEnd place, XactCallback callback);

#endif							/* JFLOW_XACT_H */
