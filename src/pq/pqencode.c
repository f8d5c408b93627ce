/*
 * pqencode.c
 *		Assigning points to lists, and coding them.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"

#include "pq/pq.h"

/* Points that are assigned together, and the nearest groups each looks at. */
#define BATCH 256
#define GROUPS 8

/*
 * The nearest groups of one point, by their scores.
 */
static int
nearest_groups(const float *scores, int ngroups, int *out)
{
	int			n = 0;

	for (int g = 0; g < ngroups; g++)
	{
		int			at;

		if (n == GROUPS && !(scores[g] < scores[out[n - 1]]))
			continue;
		if (n < GROUPS)
			n++;
		for (at = n - 1; at > 0 && scores[g] < scores[out[at - 1]]; at--)
			out[at] = out[at - 1];
		out[at] = g;
	}
	return n;
}

/*
 * Assign a batch by way of the groups: those of the points that look at a group
 * go together, so that its tiles are read once for all of them.
 */
static void
assign_batch(const PqTrained *trained, const float *points, int n, int32 *lists,
			 float *scores, bool *looks)
{
	const PqModel *model = trained->model;
	int			ngroups = PqRoundTile(model->ngroups);
	const float *norms = PqModelArray(model, norms, float);
	const int32 *starts = PqModelArray(model, group_starts, int32);
	float		best[BATCH];

	for (int p = 0; p < n; p++)
	{
		best[p] = INFINITY;
		lists[p] = starts[0] * PQ_TILE;
	}
	if (model->ngroups == 1)
	{
		pq_nearest(points, model->padded, NULL, n, model->inner, trained->tiles, norms,
				   model->ntiles, 0, best, lists);
		return;
	}

	memset(looks, 0, (Size) n * ngroups);
	for (int t = 0; t < ngroups / PQ_TILE; t++)
	{
		const float *tile = PqModelArray(model, group_tiles, float) + (size_t) t * model->inner * PQ_TILE;
		float		dots[BATCH * PQ_TILE];

		memset(dots, 0, sizeof(float) * PQ_TILE * n);
		pq_kernels->tile_dots(points, model->padded, n, tile, model->inner, dots);
		for (int p = 0; p < n; p++)
			for (int c = 0; c < PQ_TILE; c++)
				scores[p * ngroups + t * PQ_TILE + c] =
					PqModelArray(model, group_norms, float)[t * PQ_TILE + c] - 2 * dots[p * PQ_TILE + c];
	}
	for (int p = 0; p < n; p++)
	{
		int			groups[GROUPS];
		int			found = nearest_groups(scores + p * ngroups, model->ngroups, groups);

		for (int i = 0; i < found; i++)
			looks[p * ngroups + groups[i]] = true;
	}
	for (int g = 0; g < model->ngroups; g++)
	{
		int			who[BATCH];
		float		gbest[BATCH];
		int32		glist[BATCH];
		int			count = 0;

		for (int p = 0; p < n; p++)
			if (looks[p * ngroups + g])
			{
				gbest[count] = best[p];
				glist[count] = lists[p];
				who[count++] = p;
			}
		pq_nearest(points, model->padded, who, count, model->inner,
				   trained->tiles + (size_t) starts[g] * model->inner * PQ_TILE,
				   norms + starts[g] * PQ_TILE, starts[g + 1] - starts[g],
				   starts[g] * PQ_TILE, gbest, glist);
		for (int i = 0; i < count; i++)
		{
			best[who[i]] = gbest[i];
			lists[who[i]] = glist[i];
		}
	}
}

/*
 * The list of each of n points (rows of padded floats).
 */
void
pq_assign(const PqTrained *trained, const float *points, int n, int32 *lists)
{
	const PqModel *model = trained->model;
	int			ngroups = PqRoundTile(model->ngroups);
	float	   *scores = palloc(sizeof(float) * (Size) BATCH * ngroups);
	bool	   *looks = palloc((Size) BATCH * ngroups);

	for (int start = 0; start < n; start += BATCH)
	{
		CHECK_FOR_INTERRUPTS();
		assign_batch(trained, points + (size_t) start * model->padded, Min(BATCH, n - start),
					 lists + start, scores, looks);
	}
	pfree(scores);
	pfree(looks);
}

/*
 * The refine code of a point, behind its distance to the point, rounded up, or
 * infinity where that cannot be told.  inverse has 1 / step, 0 for a step of 0.
 */
static void
encode_refine(const PqModel *model, const float *inverse, const float *point, char *out)
{
	uint8	   *code = (uint8 *) out + sizeof(float);
	float		error;
	const float *low = PqModelArray(model, refine_min, float);
	const float *step = PqModelArray(model, refine_step, float);
	double		square = 0;

	for (int j = 0; j < model->inner; j++)
	{
		float		value = (point[j] - low[j]) * inverse[j];

		/* compared so that a NaN becomes 0 */
		value = value > 0 ? value : 0;
		value = value < 255 ? value : 255;
		code[j] = (uint8) (int32) (value + 0.5f);
	}
	for (int j = 0; j < model->inner; j++)
	{
		double		rest = (double) point[j] - ((double) low[j] + (double) step[j] * code[j]);

		square += rest * rest;
	}
	error = square > 0 ? (float) (sqrt(square) * 1.0001) : 0;
	if (pq_cut_off(point, model->inner))
		error = INFINITY;
	memcpy(out, &error, sizeof(error));
}

/*
 * Code n points (rows of padded floats) of which the centroids are given.
 */
void
pq_encode(const PqModel *model, const PqLayout *layout, const float *points,
		  const float *const *centroids, int n, PqEntry **entries)
{
	int			padded = model->padded;
	int			width = model->width;
	float	   *residuals;
	float	   *best;
	int32	   *codes;
	double	   *terms;
	const float *step;
	float	   *inverse;

	if (PqModelIsFlat(model))
	{
		for (int i = 0; i < n; i++)
		{
			entries[i]->term = 0;
			pq_flat_encode(model, points + (size_t) i * padded, (char *) PqEntryRefine(entries[i], layout));
		}
		return;
	}
	residuals = palloc0(sizeof(float) * (Size) n * padded);
	best = palloc(sizeof(float) * n);
	codes = palloc(sizeof(int32) * n);
	terms = palloc0(sizeof(double) * n);
	step = PqModelArray(model, refine_step, float);
	inverse = palloc(sizeof(float) * model->inner);
	for (int j = 0; j < model->inner; j++)
		inverse[j] = step[j] > 0 ? 1 / step[j] : 0;
	for (int i = 0; i < n; i++)
	{
		double		norm = 0;

		for (int j = 0; j < model->inner; j++)
		{
			float		r = points[(size_t) i * padded + j] - centroids[i][j];

			residuals[(size_t) i * padded + j] = r;
			norm += (double) r * r;
		}
		terms[i] = norm;
		memset(PqEntryCodes(entries[i]), 0, layout->nquads * 2);
	}
	for (int m = 0; m < model->subvectors; m++)
	{
		const float *codebook = PqModelArray(model, codebooks, float) + (size_t) m * width * PQ_TILE;

		for (int i = 0; i < n; i++)
		{
			best[i] = INFINITY;
			codes[i] = 0;
		}
		pq_nearest(residuals + m * width, padded, NULL, n, width, codebook,
				   PqModelArray(model, code_norms, float) + (size_t) m * PQ_TILE, 1, 0, best, codes);
		for (int i = 0; i < n; i++)
		{
			double		dot = 0;

			for (int j = 0; j < width && m * width + j < model->inner; j++)
				dot += (double) centroids[i][m * width + j] * codebook[j * PQ_TILE + codes[i]];
			terms[i] += 2 * dot;
			PqEntryCodes(entries[i])[m / 2] |= codes[i] << (m % 2 * 4);
		}
	}
	for (int i = 0; i < n; i++)
	{
		double		term = 0;

		if (model->term_step > 0)
			term = rint((terms[i] - model->term_min) / model->term_step);
		entries[i]->term = term > 0 ? (uint8) Min(255, term) : 0;
		encode_refine(model, inverse, points + (size_t) i * padded, (char *) PqEntryRefine(entries[i], layout));
	}
	pfree(residuals);
	pfree(best);
	pfree(codes);
	pfree(terms);
	pfree(inverse);
}
