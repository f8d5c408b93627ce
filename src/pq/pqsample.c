/*
 * pqsample.c
 *		A sample of a stream of points: those with the smallest hashes.
 *
 * The hash is of the content, so the sample does not depend on the order in
 * which points come, and sorted by hash it is in random order.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "pq/pq.h"

PqSample *
pq_sample_begin(int capacity, int stride)
{
	PqSample   *sample = palloc0(sizeof(PqSample));

	sample->capacity = capacity;
	sample->stride = stride;
	sample->points = palloc_extended(sizeof(float) * (Size) capacity * stride, MCXT_ALLOC_HUGE);
	sample->hashes = palloc_extended(sizeof(uint64) * capacity, MCXT_ALLOC_HUGE);
	sample->places = palloc_extended(sizeof(int) * capacity, MCXT_ALLOC_HUGE);
	return sample;
}

static void
sift_down(PqSample *sample, int i, int n)
{
	uint64		hash = sample->hashes[i];
	int			place = sample->places[i];

	for (;;)
	{
		int			child = 2 * i + 1;

		if (child >= n)
			break;
		if (child + 1 < n && sample->hashes[child + 1] > sample->hashes[child])
			child++;
		if (sample->hashes[child] <= hash)
			break;
		sample->hashes[i] = sample->hashes[child];
		sample->places[i] = sample->places[child];
		i = child;
	}
	sample->hashes[i] = hash;
	sample->places[i] = place;
}

/*
 * A hash of all of a point: points that begin alike must not be taken or left
 * together.  The general hash function would take longer than the rest.
 */
static uint64
hash_point(const float *point, int dims)
{
	uint64		hash = dims;
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
	hash *= UINT64CONST(0xff51afd7ed558ccd);
	return hash ^ hash >> 33;
}

/*
 * Consider a point.
 */
void
pq_sample_add(PqSample *sample, const float *point, int dims)
{
	uint64		hash = hash_point(point, dims);
	int			place;

	if (sample->n < sample->capacity)
	{
		place = sample->n;
		sample->hashes[place] = hash;
		sample->places[place] = place;
		sample->n++;
		if (sample->n == sample->capacity)
			for (int i = sample->n / 2 - 1; i >= 0; i--)
				sift_down(sample, i, sample->n);
	}
	else
	{
		if (hash >= sample->hashes[0])
			return;
		place = sample->places[0];
		sample->hashes[0] = hash;
		sift_down(sample, 0, sample->n);
	}
	memcpy(sample->points + (size_t) place * sample->stride, point, sizeof(float) * sample->stride);
}

/*
 * The points, sorted by hash.  They are moved in place, along the cycles of the
 * permutation.
 */
float *
pq_sample_finish(PqSample *sample)
{
	int			n = sample->n;
	Size		size = sizeof(float) * sample->stride;
	float	   *spare = palloc(size);

	for (int i = n / 2 - 1; i >= 0; i--)
		sift_down(sample, i, n);
	for (int end = n - 1; end > 0; end--)
	{
		uint64		hash = sample->hashes[end];
		int			place = sample->places[end];

		sample->hashes[end] = sample->hashes[0];
		sample->places[end] = sample->places[0];
		sample->hashes[0] = hash;
		sample->places[0] = place;
		sift_down(sample, 0, end);
	}
	for (int i = 0; i < n; i++)
	{
		int			at = i;

		if (sample->places[i] == i)
			continue;
		memcpy(spare, sample->points + (size_t) i * sample->stride, size);
		while (sample->places[at] != i)
		{
			int			from = sample->places[at];

			memcpy(sample->points + (size_t) at * sample->stride,
				   sample->points + (size_t) from * sample->stride, size);
			sample->places[at] = at;
			at = from;
		}
		memcpy(sample->points + (size_t) at * sample->stride, spare, size);
		sample->places[at] = at;
	}
	pfree(spare);
	return sample->points;
}
