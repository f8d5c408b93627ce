/*
 * joint.c
 *		Requests of several posts that a replica runs as one call.
 *
 * The pool links the slots of a call, first to last, while the replica has them.
 * What is made of them here is allocated in the current memory context, which has
 * to live as long as the call.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "utils/hsearch.h"

#include "compat.h"
#include "doc/reduce.h"
#include "runtime/replica/joint.h"

/* An id that a call has; the key of a hash table. */
typedef struct Id
{
	const char *bytes;
	Size		len;
} Id;

/* Nobody shall be able to choose ids that fall into one bucket. */
static uint64 seed = 0;

static uint32
hash_id(const void *key, Size keysize)
{
	const Id   *id = key;

	return (uint32) hash_bytes_extended((const unsigned char *) id->bytes, (int) id->len, seed);
}

static int
compare_ids(const void *a, const void *b, Size keysize)
{
	const Id   *one = a;
	const Id   *other = b;

	return one->len != other->len || memcmp(one->bytes, other->bytes, one->len) != 0;
}

static HTAB *
make_ids(int n)
{
	HASHCTL		ctl;

	if (seed == 0)
		seed = pg_prng_uint64(&pg_global_prng_state);
	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = ctl.entrysize = sizeof(Id);
	ctl.hash = hash_id;
	ctl.match = compare_ids;
	ctl.hcxt = CurrentMemoryContext;
	return hash_create("jflow ids", n, &ctl, HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
}

static Id
id_of(Datum elem)
{
	JflowDoc	doc;
	text	   *value;
	Id			id;

	jflow_doc_deform(elem, &doc);
	value = DatumGetTextPP(doc.values[DOC_ID]);
	id.bytes = VARDATA_ANY(value);
	id.len = VARSIZE_ANY_EXHDR(value);
	return id;
}

/*
 * Take in the ids of a request, unless one of them is there: a function might
 * know documents by them.  The first request may have one twice by itself.
 */
static bool
take_ids(HTAB *ids, const Datum *elems, int n, bool first)
{
	for (int i = 0; i < n && !first; i++)
	{
		Id			id = id_of(elems[i]);

		if (hash_search(ids, &id, HASH_FIND, NULL))
			return false;
	}
	for (int i = 0; i < n; i++)
	{
		Id			id = id_of(elems[i]);
		bool		found;

		(void) hash_search(ids, &id, HASH_ENTER, &found);
	}
	return true;
}

/* How many slots a replica has. */
static int
count_slots(const JflowReplica *replica)
{
	int			n = 0;

	for (int s = replica->slot; s >= 0; s = jflow_slots[s].next)
		n++;
	return n;
}

/*
 * Make a joint call of the requests that a replica has taken.  What cannot be part
 * of it goes back to the queue: a request that was cancelled, that has the id of
 * another, or whose key is the same by chance alone.  Raises an error if they are
 * too large.
 */
void
jflow_joint_make(JflowJoint *joint, int r)
{
	JflowReplica *replica = &jflow_replicas[r];
	JflowSlot  *first = &jflow_slots[replica->slot];
	int			n = count_slots(replica);
	Datum	   *docs = palloc(sizeof(Datum) * n);
	HTAB	   *ids = make_ids(n);
	int			next;

	joint->slots = palloc(sizeof(int) * n);
	joint->counts = palloc(sizeof(int) * n);
	joint->answers = NULL;
	joint->n = joint->ndocs = 0;
	for (int s = replica->slot; s >= 0; s = next)
	{
		JflowSlot  *slot = &jflow_slots[s];
		Datum	   *elems;
		int			count;

		CHECK_FOR_INTERRUPTS();
		next = slot->next;
		docs[joint->n] = jflow_payload_docs(slot->docs, NULL, NULL);
		count = jflow_docs_to_datums(docs[joint->n], "documents", &elems);
		if (slot != first &&
			(slot->cancel || slot->stages != first->stages ||
			 !jflow_post_shared_alike(jflow_post_shared(first->shared), first->step,
									  jflow_post_shared(slot->shared), slot->step) ||
			 !take_ids(ids, elems, count, false)))
		{
			jflow_pool_return(r, s, slot->cancel);
			continue;
		}
		if (slot == first)
			(void) take_ids(ids, elems, count, true);
		joint->slots[joint->n] = s;
		joint->counts[joint->n++] = count;
		joint->ndocs += count;
	}
	hash_destroy(ids);
	joint->docs = joint->n > 1 ? jflow_concat(docs, joint->n, joint->counts) : docs[0];
}

/*
 * How many milliseconds a call may take: what its request's post has left, of several
 * the one with the most, since the others' gateways end theirs; 0: without end.
 */
int64
jflow_joint_time_left(const JflowSlot *first, int64 grace_ms)
{
	TimestampTz deadline = jflow_post_shared(first->shared)->deadline;

	for (int n = first->next; n >= 0; n = jflow_slots[n].next)
		deadline = Max(deadline, jflow_post_shared(jflow_slots[n].shared)->deadline);
	if (deadline == DT_NOEND)
		return 0;
	return Max((deadline - GetCurrentTimestamp()) / 1000, 0) + grace_ms;
}

/* Divide the answer among the requests; it has a document for each, in order. */
void
jflow_joint_divide(JflowJoint *joint, Datum answer)
{
	Datum	   *elems;
	int			at = 0;

	if (answer == joint->docs)
		return;
	(void) jflow_docs_to_datums(answer, "documents", &elems);
	joint->answers = palloc(sizeof(Datum) * joint->n);
	for (int i = 0; i < joint->n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		joint->answers[i] = jflow_docs_from_datums(elems + at, joint->counts[i]);
		at += joint->counts[i];
	}
}

/* Give all requests that a replica has back to the queue. */
void
jflow_joint_return(int r, bool alone)
{
	JflowReplica *replica = &jflow_replicas[r];

	while (replica->slot >= 0)
		jflow_pool_return(r, replica->slot, alone);
}
