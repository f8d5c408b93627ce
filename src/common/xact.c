/*
 * xact.c
 *		What is done at the end of a transaction, in one order; and functions that may
 *		fail within one.
 *
 * The server calls its callbacks in the order in which they were registered, the
 * last one first, which with us would depend on what a session has done first.  So
 * there is one callback, registered when the library is loaded, and a list of ours.
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "utils/resowner.h"

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

/* Call a function in a subtransaction, which leaves nothing if "undo" or an error says so. */
static ErrorData *
call_guarded(JflowGuarded function, void *arg, JflowRaises raises, bool undo)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		function(arg);
		if (undo)
			RollbackAndReleaseCurrentSubTransaction();
		else
			ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		if (raises(error))
			ReThrowError(error);
	}
	PG_END_TRY();
	return error;
}

/*
 * Call a function in a subtransaction.  Returns NULL if it went well, else the
 * error, in the current memory context; errors of which "raises" says so are raised
 * again.
 */
ErrorData *
jflow_try(JflowGuarded function, void *arg, JflowRaises raises)
{
	return call_guarded(function, arg, raises, false);
}

/* The same for a function that only looks: no lock of it stays, nor anything else but its memory. */
ErrorData *
jflow_try_look(JflowGuarded function, void *arg, JflowRaises raises)
{
	return call_guarded(function, arg, raises, true);
}
