/*
 * http_cache.c
 *		Vectors of texts that were sent before, per process.
 *
 * An entry is known by a SHA-256 of all that its vector depends on: who asked
 * which server as whose user what, and the text.  The one used longest ago goes
 * first.  Without the option "cache" only what a failed request had been answered
 * is kept, so that its documents, sent again in halves to find the bad one, do
 * not cost another call each; it goes when it is found.
 */
#include "postgres.h"

#include "common/cryptohash.h"
#include "common/sha2.h"
#include "lib/ilist.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "compat.h"
#include "executors/http/http.h"

#define SALVAGED 4096			/* entries without the option */

typedef struct Entry
{
	uint8		key[PG_SHA256_DIGEST_LENGTH];
	dlist_node	node;			/* youngest first */
	int			dim;
	float	   *vector;
} Entry;

static HTAB *entries = NULL;
static dlist_head by_age = DLIST_STATIC_INIT(by_age);

static void
add_to_hash(pg_cryptohash_ctx *hash, const void *bytes, Size len)
{
	if (pg_cryptohash_update(hash, bytes, len) < 0)
		elog(ERROR, "could not compute a hash: %s", pg_cryptohash_error(hash));
}

static void
add_string(pg_cryptohash_ctx *hash, const char *string)
{
	add_to_hash(hash, string ? string : "", (string ? strlen(string) : 0) + 1);
}

static void
hash_item(const HttpJob *job, const HttpItem *item, uint8 *key)
{
	pg_cryptohash_ctx *hash = pg_cryptohash_create(PG_SHA256);
	struct
	{
		Oid			owner;
		Oid			server;
		int			provider;
		int			dimensions;
	}			who = {job->call->user, job->server->id, job->server->provider, job->options->dimensions};

	if (pg_cryptohash_init(hash) < 0)
		elog(ERROR, "could not compute a hash: %s", pg_cryptohash_error(hash));
	add_to_hash(hash, &who, sizeof(who));
	add_string(hash, job->server->url);
	add_string(hash, job->server->request);
	add_string(hash, job->server->response);
	add_string(hash, job->model);
	add_string(hash, job->input_type);
	add_to_hash(hash, item->text, item->len);
	if (pg_cryptohash_final(hash, key, PG_SHA256_DIGEST_LENGTH) < 0)
		elog(ERROR, "could not compute a hash: %s", pg_cryptohash_error(hash));
	pg_cryptohash_free(hash);
}

/*
 * What a text is kept under.  A hash needs a resource owner, and a replica that
 * calls a service is in no transaction, which would give it one.
 */
static void
make_key(const HttpJob *job, const HttpItem *item, uint8 *key)
{
	static ResourceOwner owner = NULL;
	ResourceOwner before = CurrentResourceOwner;

	if (owner == NULL)
		owner = ResourceOwnerCreate(NULL, "jflow embeddings");
	PG_TRY();
	{
		CurrentResourceOwner = owner;
		hash_item(job, item, key);
	}
	PG_FINALLY();
	{
		CurrentResourceOwner = before;
	}
	PG_END_TRY();
}

static void
drop_entry(Entry *entry)
{
	dlist_delete(&entry->node);
	pfree(entry->vector);
	(void) hash_search(entries, entry->key, HASH_REMOVE, NULL);
}

/* Set the vector of an item from the cache; false if it is not there. */
bool
http_cache_find(HttpJob *job, HttpItem *item)
{
	uint8		key[PG_SHA256_DIGEST_LENGTH];
	Entry	   *entry;

	if (entries == NULL || hash_get_num_entries(entries) == 0)
		return false;
	make_key(job, item, key);
	entry = hash_search(entries, key, HASH_FIND, NULL);
	if (entry == NULL)
		return false;
	item->dim = entry->dim;
	item->vector = MemoryContextAlloc(job->context, sizeof(float) * entry->dim);
	memcpy(item->vector, entry->vector, sizeof(float) * entry->dim);
	http_count(job, HTTP_CACHED, 1);
	if (job->options->cache > 0)
		dlist_move_head(&by_age, &entry->node);
	else
		drop_entry(entry);
	return true;
}

static void
make_table(void)
{
	HASHCTL		control;

	memset(&control, 0, sizeof(control));
	control.keysize = PG_SHA256_DIGEST_LENGTH;
	control.entrysize = sizeof(Entry);
	entries = hash_create("jflow embeddings", 1024, &control, HASH_ELEM | HASH_BLOBS);
}

/* Keep the vector of an item. */
void
http_cache_keep(HttpJob *job, const HttpItem *item)
{
	int			room = job->options->cache > 0 ? job->options->cache : SALVAGED;
	uint8		key[PG_SHA256_DIGEST_LENGTH];
	float	   *vector;
	Entry	   *entry;
	bool		found;

	if (entries == NULL)
		make_table();
	make_key(job, item, key);
	if (hash_search(entries, key, HASH_FIND, NULL))
		return;
	while (hash_get_num_entries(entries) >= room)
		drop_entry(dlist_tail_element(Entry, node, &by_age));
	vector = MemoryContextAlloc(TopMemoryContext, sizeof(float) * item->dim);
	memcpy(vector, item->vector, sizeof(float) * item->dim);
	entry = hash_search(entries, key, HASH_ENTER_NULL, &found);
	if (entry == NULL)
	{
		pfree(vector);
		return;
	}
	entry->dim = item->dim;
	entry->vector = vector;
	dlist_push_head(&by_age, &entry->node);
}
