/*
 * post_shared.c
 *		What all requests of a post share, in one chunk of payload memory.
 *
 * The post and each of its slots hold a reference; the last one to let go frees
 * the chunk and lets go of the pools that it refers to.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/jsonb.h"

#include "compat.h"
#include "runtime/shared/post_shared.h"

/* What the requests of a post share, where it lies in this process. */
JflowPostShared *
jflow_post_shared(dsa_pointer chunk)
{
	return jflow_payload_address(chunk);
}

/* Hold it, until jflow_post_shared_unpin. */
void
jflow_post_shared_pin(dsa_pointer chunk)
{
	pg_atomic_add_fetch_u32(&jflow_post_shared(chunk)->refs, 1);
}

/*
 * The last of a post's slots, or the post itself, lets go of its pools.  The
 * caller holds no lock.
 */
void
jflow_post_shared_unpin(dsa_pointer chunk)
{
	JflowPostShared *shared = jflow_post_shared(chunk);

	if (pg_atomic_sub_fetch_u32(&shared->refs, 1) > 0)
		return;
	jflow_post_shared_let_go(shared, shared->nsteps);
	jflow_payload_free(chunk);
}

/* A post refers to a pool.  Returns false if it takes no requests any more. */
static bool
hold_pool(const JflowPoolRef *ref)
{
	JflowPool  *pool = &jflow_pools[ref->pool];
	bool		open;

	/* The lock keeps the launcher from closing it between test and count. */
	LWLockAcquire(&pool->lock, LW_SHARED);
	open = pool->used && !pool->closed && pool->generation == ref->generation;
	if (open)
		pg_atomic_fetch_add_u32(&pool->holders, 1);
	LWLockRelease(&pool->lock);
	return open;
}

/*
 * An entry that is used anew meanwhile is held, too: that does not hurt, it is
 * drained a little later.
 */
static void
let_go_pool(const JflowPoolRef *ref)
{
	JflowPool  *pool = &jflow_pools[ref->pool];

	/*
	 * Who sets draining wakes the launcher: it sees the count, or we the
	 * flag.
	 */
	if (pg_atomic_sub_fetch_u32(&pool->holders, 1) == 0 && pool->draining)
		jflow_wake_launcher();
}

/*
 * Hold all pools that a new post refers to, or none: returns false if one of
 * them takes no requests any more.
 */
bool
jflow_post_shared_hold(JflowPostShared *shared)
{
	for (int i = 0; i < shared->nsteps; i++)
	{
		JflowSharedStep *step = &shared->steps[i];

		for (int shard = 0; step->pools && shard < step->shards; shard++)
		{
			if (hold_pool(&SHARED_POOLS(shared, i)[shard]))
				continue;
			while (--shard >= 0)
				let_go_pool(&SHARED_POOLS(shared, i)[shard]);
			jflow_post_shared_let_go(shared, i);
			return false;
		}
	}
	return true;
}

/* Let go of the pools of the first steps. */
void
jflow_post_shared_let_go(JflowPostShared *shared, int nsteps)
{
	for (int i = 0; i < nsteps; i++)
		for (int shard = 0; shared->steps[i].pools && shard < shared->steps[i].shards; shard++)
			let_go_pool(&SHARED_POOLS(shared, i)[shard]);
}

/*
 * Can requests of two posts, each at a step of it, be parts of one call?  The
 * function gets the same parameters, and cannot tell them apart by anything else.
 * Posts made inside have come through the same pools, which may be waiting.
 */
bool
jflow_post_shared_alike(JflowPostShared *a, int na, JflowPostShared *b, int nb)
{
	const JflowSharedStep *sa = &a->steps[na];
	const JflowSharedStep *sb = &b->steps[nb];
	const Jsonb *pa = (const Jsonb *) SHARED_AT(a, sa->parameters);
	const Jsonb *pb = (const Jsonb *) SHARED_AT(b, sb->parameters);

	return a == b ||
		(a->read_only == b->read_only && a->nchain == b->nchain &&
		 memcmp(a->chain, b->chain, sizeof(a->chain[0]) * a->nchain) == 0 &&
		 sa->timeout_ms == sb->timeout_ms && sa->shards == sb->shards &&
		 sa->idempotent == sb->idempotent &&
		 strcmp(SHARED_AT(a, a->endpoint), SHARED_AT(b, b->endpoint)) == 0 &&
		 VARSIZE(pa) == VARSIZE(pb) && memcmp(pa, pb, VARSIZE(pa)) == 0);
}

/* A hash of what is compared there, and never 0. */
uint64
jflow_post_shared_batch_key(JflowPostShared *shared, int n)
{
	const JflowSharedStep *step = &shared->steps[n];
	const char *endpoint = SHARED_AT(shared, shared->endpoint);
	const unsigned char *parameters = (const unsigned char *) SHARED_AT(shared, step->parameters);
	uint64		key = shared->read_only;

	key = hash_bytes_extended((const unsigned char *) endpoint, strlen(endpoint), key);
	key = hash_bytes_extended(parameters, VARSIZE(parameters), key);
	key = hash_bytes_extended((const unsigned char *) shared->chain,
							  sizeof(shared->chain[0]) * shared->nchain, key);
	return key ? key : 1;
}
