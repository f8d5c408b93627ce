/*
 * pqsample.c
 *		A sample of a stream of points: the distinct ones with the smallest hashes.
 *
 * The hash is of the content, so neither the order in which points come nor how
 * many copies of one there are makes a difference, and sorted by hash the sample
 * is in random order.  The hash has a key that no user can know, or somebody could
 * make vectors that crowd others out.  The key is the same for all builds of a
 * cluster, so the same rows give the same index there.
 *
 * Points whose hash is below a limit go to a buffer.  When that is full, it is
 * sorted, copies are dropped, and if too many are left, the limit falls.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_control.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "pq/pq.h"

typedef struct PqSampled
{
	uint64		hash;
	int			place;			/* of the point */
} PqSampled;

#define ST_SORT sort_sampled
#define ST_ELEMENT_TYPE PqSampled
#define ST_COMPARE(a, b) ((a)->hash < (b)->hash ? -1 : (a)->hash > (b)->hash ? 1 : (a)->place < (b)->place ? -1 : 1)
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/*
 * Start a sample of so many points of so many floats; a third more are kept
 * meanwhile.
 */
PqSample *
pq_sample_begin(int capacity, int stride)
{
	PqSample   *sample = palloc0(sizeof(PqSample));
	char	   *nonce = GetMockAuthenticationNonce();

	sample->key = DatumGetUInt64(hash_any_extended((unsigned char *) nonce, MOCK_AUTH_NONCE_LEN, 0));
	sample->capacity = capacity;
	sample->room = capacity + capacity / 3 + 16;
	sample->stride = stride;
	sample->limit = PG_UINT64_MAX;
	sample->points = palloc_extended(sizeof(float) * (Size) sample->room * stride, MCXT_ALLOC_HUGE);
	sample->sampled = palloc_extended(sizeof(PqSampled) * sample->room, MCXT_ALLOC_HUGE);
	for (int i = 0; i < sample->room; i++)
		sample->sampled[i].place = i;
	return sample;
}

/*
 * A hash of all of a point: points that begin alike must not be taken or left
 * together.  The general hash function would take longer than the rest.
 */
static uint64
hash_point(uint64 key, const float *point, int dims)
{
	uint64		hash = key ^ dims;
	int			j = 0;

	for (; j + 2 <= dims; j += 2)
	{
		uint64		bits;

		memcpy(&bits, point + j, sizeof(bits));
		hash = (hash ^ bits) * UINT64CONST(0x9e3779b97f4a7c15);
		hash ^= hash >> 32;
	}
	if (j < dims)
	{
		uint32		bits;

		memcpy(&bits, point + j, sizeof(bits));
		hash = (hash ^ bits) * UINT64CONST(0x9e3779b97f4a7c15);
	}
	hash = (hash ^ key) * UINT64CONST(0xff51afd7ed558ccd);
	return hash ^ hash >> 33;
}

/*
 * Drop copies, and what is too many.  The places of what is dropped are free
 * again, behind the rest.
 */
static void
compact(PqSample *sample)
{
	PqSampled  *s = sample->sampled;
	int			n = 0;

	sort_sampled(s, sample->n);
	for (int i = 0; i < sample->n; i++)
	{
		PqSampled	one = s[i];

		if ((n > 0 && s[n - 1].hash == one.hash) || n == sample->capacity)
			continue;
		s[i].place = s[n].place;
		s[n++] = one;
	}
	sample->n = n;
	if (n == sample->capacity)
		sample->limit = s[n - 1].hash;
}

/*
 * Consider a point.
 */
void
pq_sample_add(PqSample *sample, const float *point, int dims)
{
	uint64		hash = hash_point(sample->key, point, dims);
	PqSampled  *to;

	if (hash >= sample->limit)
		return;
	if (sample->n == sample->room)
	{
		compact(sample);
		if (hash >= sample->limit)
			return;
	}
	to = &sample->sampled[sample->n++];
	to->hash = hash;
	memcpy(sample->points + (size_t) to->place * sample->stride, point, sizeof(float) * sample->stride);
}

/*
 * The points, sorted by hash.  They are moved in place, along the cycles of the
 * permutation.
 */
float *
pq_sample_finish(PqSample *sample)
{
	Size		size = sizeof(float) * sample->stride;
	float	   *spare = palloc(size);
	PqSampled  *s = sample->sampled;

	compact(sample);
	for (int i = 0; i < sample->room; i++)
	{
		int			at = i;

		if (s[i].place == i)
			continue;
		memcpy(spare, sample->points + (size_t) i * sample->stride, size);
		while (s[at].place != i)
		{
			int			from = s[at].place;

			memcpy(sample->points + (size_t) at * sample->stride,
				   sample->points + (size_t) from * sample->stride, size);
			s[at].place = at;
			at = from;
		}
		memcpy(sample->points + (size_t) at * sample->stride, spare, size);
		s[at].place = at;
	}
	pfree(spare);
	return sample->points;
}

/* Give back a sample. */
void
pq_sample_free(PqSample *sample)
{
	pfree(sample->points);
	pfree(sample->sampled);
	pfree(sample);
}
