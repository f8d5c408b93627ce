/*
 * pqdensity.c
 *		How many entries a rule looks at.
 *
 * Rules are compared by what they cost, and most of that is how many candidates
 * they rank.  So the entries of some queries' lists are counted by their two cosines
 * (pqgather.c), in bins.  The limits that rules may have are cosines of neighbours,
 * far out where few neighbours are left and entries are many, so the edges of bins
 * are cosines of neighbours, too: each bin holds a part of the neighbours beyond its
 * lower edge that is the same for all, however long the tail is.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"

#include "pq/pqcalibrate.h"

/* Edges beyond the farthest neighbour, as far as rules for others look. */
#define FAR_EDGES 16
#define NEAR_EDGES (PQ_EDGES - FAR_EDGES)
/* No rule misses so many neighbours. */
#define FIRST_TAIL 0.6
/* Entries looked at for each query. */
#define MOST_COUNTED 100000

/* For qsort. */
int
pq_compare_floats(const void *a, const void *b)
{
	float		x = *(const float *) a;
	float		y = *(const float *) b;

	return x < y ? -1 : x > y;
}

/* The value that a part of some sorted ones, at least, does not exceed. */
float
pq_quantile(const float *sorted, int n, double part)
{
	return sorted[Max(0, Min(n - 1, (int) ceil(part * n) - 1))];
}

/*
 * Set edges by the sorted cosines of neighbours, and for larger ones up to a limit.
 */
void
pq_scale_set(PqScale *scale, const float *sorted, int n, float most)
{
	double		shrink = pow(1 / Max(FIRST_TAIL * n, 1), 1.0 / (NEAR_EDGES - 1));
	double		tail = FIRST_TAIL;
	float		last = sorted[n - 1];

	for (int i = 0; i < NEAR_EDGES; i++, tail *= shrink)
		scale->edges[i] = pq_quantile(sorted, n, 1 - tail);
	scale->edges[NEAR_EDGES - 1] = last;
	for (int i = 1; i <= FAR_EDGES; i++)
		scale->edges[NEAR_EDGES - 1 + i] = most > last && isfinite(most) ? last + (most - last) * i / FAR_EDGES : last;
}

/* How many edges lie below; what is no number lies above none. */
static inline int
bin_of(const PqScale *scale, float value)
{
	int			bin = 0;

	StaticAssertStmt((PQ_EDGES & (PQ_EDGES + 1)) == 0, "steps must meet every edge");
	for (int step = (PQ_EDGES + 1) / 2; step > 0; step /= 2)
		bin += scale->edges[bin + step - 1] < value ? step : 0;
	return bin;
}

/* Count the entries of a list of the search's query. */
static double
count_list(PqCalibration *c, PqProbe *probe, double d, PqDensity *density)
{
	PqIndex    *pq = c->pq;
	double		reach = Max(pq_code_reach(c->search, probe), 1e-30);
	uint32	   *counts = density->counts[bin_of(&density->lists, pq_list_cosine(c->search, probe->slot, probe->score, d))];
	double		entries = 0;
	BlockNumber block = pq_list_head(pq, c->index, probe->slot);

	pq_probe_prepare(c->search, probe);
	while (block != InvalidBlockNumber)
	{
		Buffer		buffer = pq_read(pq, c->index, block);
		Page		page = BufferGetPage(buffer);
		const PqPostingHeader *header = PqPostingGetHeader(page);
		uint32		masks[64];
		int32		sums[64 * PQ_BLOCK];
		PqBlockScan scan = {0};

		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		pq_posting_check(c->index, buffer, &pq->layout, probe->slot);
		scan.codes = (uint8 *) page + pq->layout.codes;
		scan.terms = (uint8 *) page + pq->layout.terms;
		scan.nblocks = (header->nused + PQ_BLOCK - 1) / PQ_BLOCK;
		scan.nquads = pq->layout.nquads;
		scan.table = probe->frame->table;
		scan.term_factor = Max(probe->term_factor, 0);
		scan.limit = PG_INT32_MAX;
		scan.masks = masks;
		scan.sums = sums;
		pq_kernels->scan_blocks(&scan);
		for (int i = 0; i < header->nused; i++)
		{
			double		estimate = probe->base + probe->unit * sums[i] + probe->term_step * scan.terms[i];

			counts[bin_of(&density->codes, (estimate - d) / reach)]++;
		}
		entries += header->nused;
		block = header->next;
		UnlockReleaseBuffer(buffer);
		CHECK_FOR_INTERRUPTS();
	}
	return entries;
}

/*
 * Count what the lists of the search's query hold, all of which are ranked, as far
 * as rules may want to see them, if the k-th nearest is at a distance d.
 */
void
pq_density_count(PqCalibration *c, double d, PqDensity *density)
{
	double		entries = 0;

	memset(density->counts, 0, sizeof(density->counts));
	for (int i = 0; i < c->search->nprobes && entries < MOST_COUNTED; i++)
	{
		PqProbe    *probe = &c->search->probes[i];

		if ((float) pq_list_cosine(c->search, probe->slot, probe->score, d) <= density->lists.edges[PQ_EDGES - 1])
			entries += count_list(c, probe, d, density);
	}
	/* from now on each has what is nearer, too */
	for (int i = 0; i <= PQ_EDGES; i++)
		for (int j = 1; j <= PQ_EDGES; j++)
			density->counts[i][j] += density->counts[i][j - 1];
	for (int i = 1; i <= PQ_EDGES; i++)
		for (int j = 0; j <= PQ_EDGES; j++)
			density->counts[i][j] += density->counts[i - 1][j];
}

/* Add what another query has, counted with the same edges. */
void
pq_density_add(PqDensity *density, const PqDensity *other)
{
	for (int i = 0; i <= PQ_EDGES; i++)
		for (int j = 0; j <= PQ_EDGES; j++)
			density->counts[i][j] += other->counts[i][j];
}

/* How many candidates a rule ranks. */
double
pq_density_ranked(const PqDensity *density, const PqRule *rule)
{
	return density->counts[bin_of(&density->lists, rule->list)][bin_of(&density->codes, rule->code)];
}
