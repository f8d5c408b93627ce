/*
 * reply.c
 *		What a replica has to say to its requests: documents, notices, an error.
 *
 * Answers are in shared memory before their transaction commits, since afterwards
 * nothing may fail.  Until they are handed over they are this process's alone.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/memutils.h"

#include "compat.h"
#include "runtime/control/workers.h"
#include "runtime/replica/reply.h"
#include "runtime/shared/message.h"

static dsa_pointer *unsent = NULL;
static int	nunsent = 0;
static int	unsent_size = 0;

/* Make room to remember so many answers; raises out_of_memory. */
static void
reserve_unsent(int n)
{
	if (n <= unsent_size)
		return;
	if (unsent)
		pfree(unsent);
	unsent = NULL;
	unsent_size = 0;
	unsent = MemoryContextAlloc(TopMemoryContext, sizeof(dsa_pointer) * n);
	unsent_size = n;
}

/* They are not sent after all. */
void
jflow_reply_drop(void)
{
	while (nunsent > 0)
		jflow_payload_free(unsent[--nunsent]);
}

/*
 * Put answers into shared memory: all of them or, where there is no room, none; to
 * hold some while waiting for others could keep two replicas waiting for ever.
 */
static bool
try_answers(const Datum *answers, const Size *sizes, int n)
{
	if (n > 1 && !jflow_payload_has_room(sizes, n))
		return false;
	for (int i = 0; i < n; i++)
	{
		unsent[nunsent] = jflow_payload_put_docs(answers[i], NULL, 0, PAYLOAD_ANSWER);
		if (!DsaPointerIsValid(unsent[nunsent]))
		{
			jflow_reply_drop();
			return false;
		}
		nunsent++;
	}
	return true;
}

/*
 * Put the answers of the replica's requests into shared memory, to be handed over
 * when the transaction is committed.  Waits for room, since
 * gateways take answers out; raises program_limit_exceeded for what could never fit.
 */
void
jflow_reply_put(const Datum *answers, int n)
{
	Size	   *sizes = palloc(sizeof(Size) * n);
	Size		size = 0;

	for (int i = 0; i < n; i++)
	{
		sizes[i] = jflow_payload_docs_size(answers[i], 0);
		size += sizes[i];
	}
	if (size > jflow_payload_max())
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the answer of %zu bytes is too large for jflow.memory_limit", size),
				 errdetail("One request or answer may have %zu bytes.", jflow_payload_max()),
				 errhint("Raise jflow.memory_limit, or lower request_size.")));
	reserve_unsent(n);
	while (!try_answers(answers, sizes, n))
	{
		jflow_payload_want(true);
		if (try_answers(answers, sizes, n))
			break;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH, -1, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	jflow_payload_want(false);
}

/* Notices go along with the answer if there is room; they are not worth waiting. */
static void
put_messages(JflowSlot *slot)
{
	StringInfo	messages = jflow_messages();

	if (messages->len > 0)
		slot->messages = jflow_payload_put_bytes(messages->data, messages->len);
}

/*
 * The transaction is committed: each request has its answer.  Notices of a call of
 * several are nobody's: they might tell of the others' documents.
 */
void
jflow_reply_hand_over(void)
{
	int			first = jflow_replicas[jflow_my_replica].slot;
	int			i = 0;

	for (int n = first; n >= 0; n = jflow_slots[n].next)
	{
		JflowSlot  *slot = &jflow_slots[n];

		if (i < nunsent)
		{
			jflow_payload_free(slot->docs);
			slot->docs = unsent[i++];
		}
		else
			(void) jflow_payload_set_class(slot->docs, PAYLOAD_ANSWER);
		slot->commits++;
		slot->outcome = OUTCOME_OK;
	}
	nunsent = 0;
	if (jflow_slots[first].next < 0)
		put_messages(&jflow_slots[first]);
}

/* The answer of a request is the error. */
void
jflow_reply_error(JflowSlot *slot)
{
	StringInfo	messages = jflow_messages();

	/* An error that finds no room must not be lost: waiting is all right. */
	while (!slot->abandoned && !ProcDiePending)
	{
		jflow_payload_want(true);
		slot->messages = jflow_payload_put_bytes(messages->data, messages->len);
		if (DsaPointerIsValid(slot->messages))
			break;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH, -1, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
	jflow_payload_want(false);
	slot->outcome = DsaPointerIsValid(slot->messages) ? OUTCOME_ERROR : OUTCOME_LOST;
}
