/*
 * xact.c
 *		What is done at the end of a transaction, in one order.
 *
 * The server calls its callbacks in the order in which they were registered, the
 * last one first, which with us would depend on what a session has done first.  So
 * there is one callback, registered when the library is loaded, and a list of ours.
 */
#include "postgres.h"

#include "common/xact.h"

static XactCallback callbacks[XACT_ENDS];

/* Only PRE_COMMIT and PRE_PREPARE may raise. */
static void
at_transaction_end(XactEvent event, void *arg)
{
	for (int i = 0; i < XACT_ENDS; i++)
		if (callbacks[i])
			callbacks[i] (event, arg);
}

/* For _PG_init. */
void
jflow_xact_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
}

/* From now on, call this at its place. */
void
jflow_at_transaction_end(JflowXactEnd place, XactCallback callback)
{
	callbacks[place] = callback;
}
