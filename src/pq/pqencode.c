/*
 * pqencode.c
 *		Assigning points to lists, and coding them.
 */
#include "postgres.h"

#include <float.h>
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
	const float *bias = PqModelArray(model, bias, float);
	const int32 *starts = PqModelArray(model, group_starts, int32);
	float		best[BATCH];

	for (int p = 0; p < n; p++)
	{
		best[p] = INFINITY;
		lists[p] = starts[0] * PQ_TILE;
	}
	if (model->ngroups == 1)
	{
		pq_nearest(points, model->padded, NULL, n, model->space_dims, trained->tiles, bias,
				   model->ntiles, 0, best, lists);
		return;
	}

	memset(looks, 0, (Size) n * ngroups);
	for (int t = 0; t < ngroups / PQ_TILE; t++)
	{
		const float *tile = PqModelArray(model, group_tiles, float) + (size_t) t * model->space_dims * PQ_TILE;
		float		squares[BATCH * PQ_TILE];

		memset(squares, 0, sizeof(float) * PQ_TILE * n);
		pq_kernels->tile_l2(points, model->padded, n, tile, model->space_dims, squares);
		for (int p = 0; p < n; p++)
			for (int c = 0; c < PQ_TILE; c++)
				scores[p * ngroups + t * PQ_TILE + c] =
					PqModelArray(model, group_bias, float)[t * PQ_TILE + c] + squares[p * PQ_TILE + c];
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
		pq_nearest(points, model->padded, who, count, model->space_dims,
				   trained->tiles + (size_t) starts[g] * model->space_dims * PQ_TILE,
				   bias + starts[g] * PQ_TILE, starts[g + 1] - starts[g],
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

/* The group that a list belongs to. */
int
pq_list_group(const PqModel *model, uint32 list)
{
	const int32 *starts = PqModelArray(model, group_starts, int32);
	int			low = 0;
	int			high = model->ngroups - 1;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if ((int) (list / PQ_TILE) < starts[middle + 1])
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

/*
 * The origin of a list, of which the centroid is given; that may be NULL unless
 * the list is its own origin.
 */
void
pq_list_origin(const PqModel *model, uint32 list, const float *centroid, float *origin)
{
	if (!PqListIsOwn(model, list))
	{
		memcpy(origin, PqModelArray(model, group_means, float) + (Size) pq_list_group(model, list) * model->space_dims,
			   sizeof(float) * model->space_dims);
		return;
	}
	for (int j = 0; j < model->space_dims; j++)
		origin[j] = model->whole ? rintf(centroid[j]) : centroid[j];
}

/*
 * The refine code of a point, which lost so much when it became one.  It is cut
 * between the least and the greatest of its coordinates, as its list's origin sees
 * them, each in units of that dimension's spread, so its error is in proportion to
 * its distance from there.
 */
static void
encode_refine(const PqModel *model, const float *inverse, const float *point, const float *origin, float lost, float *scaled, char *out)
{
	const float *spread = PqModelArray(model, spread, float);
	uint8	   *code = (uint8 *) out + sizeof(PqRefineHeader);
	PqRefineHeader header = {0};
	float		high;
	float		factor;
	bool		whole;
	double		square = 0;
	double		norm = 0;

	for (int j = 0; j < model->space_dims; j++)
		scaled[j] = (point[j] - (model->absolute ? 0 : origin[j])) * inverse[j];
	header.low = high = scaled[0];
	for (int j = 1; j < model->space_dims; j++)
	{
		header.low = Min(header.low, scaled[j]);
		high = Max(high, scaled[j]);
	}
	/* whole numbers stay so, and are coded without error if they fit */
	whole = model->whole && lost == 0 && high - header.low <= 255;
	for (int j = 0; j < model->space_dims && whole; j++)
		whole = scaled[j] == rintf(scaled[j]);
	header.step = whole ? 1 : (high - header.low) / 255;
	factor = header.step > 0 ? 1 / header.step : 0;
	for (int j = 0; j < model->space_dims; j++)
	{
		float		value = (scaled[j] - header.low) * factor + 0.5f;

		code[j] = value < 255 ? (uint8) (int32) value : 255;
	}
	for (int j = 0; j < model->space_dims; j++)
	{
		double		exact = point[j] - (model->absolute ? 0 : (double) origin[j]);
		double		rest = exact - (double) spread[j] * ((double) header.low + (double) header.step * code[j]);

		square += rest * rest;
		norm += exact * exact;
	}
	header.error = (float) (sqrt(square) * 1.0001 + lost);
	if (!isfinite(header.error))
		header.error = INFINITY;
	else if (header.error > 0)
		header.error += (float) (sqrt(norm) * FLT_EPSILON);
	memcpy(out, &header, sizeof(header));
}

/*
 * The point that a refine code in a list of some origin, or in a flat list, stands
 * for, and how far that may be off.
 */
float
pq_refine_decode(const PqModel *model, bool flat, const char *code, const float *origin, float *point)
{
	const float *spread = PqModelArray(model, spread, float);
	const uint8 *bytes = (const uint8 *) code + sizeof(PqRefineHeader);
	PqRefineHeader header;
	double		rounded = 0;

	memcpy(&header, code, flat ? sizeof(header.error) : sizeof(header));
	if (flat)
	{
		memcpy(point, code + sizeof(header.error), sizeof(float) * model->space_dims);
		return header.error;
	}
	for (int j = 0; j < model->space_dims; j++)
	{
		double		exact = (model->absolute ? 0 : (double) origin[j]) +
			(double) spread[j] * ((double) header.low + (double) header.step * bytes[j]);

		point[j] = (float) exact;
		rounded += (exact - point[j]) * (exact - point[j]);
	}
	return header.error + (float) (sqrt(rounded) * 1.0001);
}

/*
 * Product codes of n points (rows of padded floats), two to a byte, and their
 * terms, which see the centroid from the list's origin; codes may be NULL.  Each point's list and its centroid are given.
 */
void
pq_code(const PqModel *model, const float *points, const int32 *lists,
		const float *const *centroids, int n, uint8 *const *codes, double *terms)
{
	int			padded = model->padded;
	int			width = model->width;
	const float *scales = PqModelArray(model, scales, float);
	float	   *residuals = palloc0(sizeof(float) * (Size) n * padded);
	float	   *best = palloc(sizeof(float) * n);
	int32	   *nearest = palloc(sizeof(int32) * n);
	float	   *offsets = palloc0(sizeof(float) * (Size) n * padded);
	const float bias[PQ_TILE] = {0};

	for (int i = 0; i < n; i++)
	{
		float	   *offset = offsets + (size_t) i * padded;
		float		scale = 1 / scales[lists[i]];
		double		norm = 0;

		for (int j = 0; j < model->space_dims; j++)
		{
			float		r = points[(size_t) i * padded + j] - centroids[i][j];

			residuals[(size_t) i * padded + j] = r * scale;
			norm += (double) r * r;
		}
		terms[i] = norm;
		pq_list_origin(model, lists[i], centroids[i], offset);
		for (int j = 0; j < model->space_dims; j++)
			offset[j] = PqListIsOwn(model, lists[i]) ? 0 : centroids[i][j] - offset[j];
		if (codes)
			memset(codes[i], 0, model->nquads * 2);
	}
	for (int m = 0; m < model->subvectors; m++)
	{
		const float *codebook = PqModelArray(model, codebooks, float) + (size_t) m * width * PQ_TILE;

		for (int i = 0; i < n; i++)
		{
			best[i] = INFINITY;
			nearest[i] = 0;
		}
		pq_nearest(residuals + m * width, padded, NULL, n, width, codebook, bias, 1, 0, best, nearest);
		for (int i = 0; i < n; i++)
		{
			double		dot = 0;

			for (int j = 0; j < width && m * width + j < model->space_dims; j++)
				dot += (double) offsets[(size_t) i * padded + m * width + j] * codebook[j * PQ_TILE + nearest[i]];
			terms[i] += 2 * dot * scales[lists[i]];
			if (codes)
				codes[i][m / 2] |= nearest[i] << (m % 2 * 4);
		}
	}
	pfree(residuals);
	pfree(offsets);
	pfree(best);
	pfree(nearest);
}

/*
 * Code n points (rows of padded floats) of which the centroids are given, and
 * what they lost when they became points.
 */
void
pq_encode(const PqModel *model, const PqLayout *layout, const float *points, const float *lost,
		  const float *const *centroids, int n, PqEntry **entries)
{
	const float *spread = PqModelArray(model, spread, float);
	int32	   *lists;
	uint8	  **codes;
	double	   *terms;
	float	   *inverse;
	float	   *scaled;
	float	   *origin;

	if (PqModelIsFlat(model))
	{
		for (int i = 0; i < n; i++)
		{
			entries[i]->term = 0;
			pq_flat_encode(model, points + (size_t) i * model->padded, lost[i], (char *) PqEntryRefine(entries[i], layout));
		}
		return;
	}
	lists = palloc(sizeof(int32) * n);
	codes = palloc(sizeof(uint8 *) * n);
	terms = palloc(sizeof(double) * n);
	inverse = palloc(sizeof(float) * model->space_dims);
	scaled = palloc(sizeof(float) * model->space_dims);
	origin = palloc(sizeof(float) * model->space_dims);
	for (int j = 0; j < model->space_dims; j++)
		inverse[j] = 1 / spread[j];
	for (int i = 0; i < n; i++)
	{
		lists[i] = entries[i]->list;
		codes[i] = PqEntryCodes(entries[i]);
	}
	pq_code(model, points, lists, centroids, n, codes, terms);
	for (int i = 0; i < n; i++)
	{
		float		step = PqModelArray(model, term_steps, float)[lists[i]];
		double		term = 0;

		if (step > 0)
			term = rint((terms[i] - PqModelArray(model, term_mins, float)[lists[i]]) / step);
		entries[i]->term = term > 0 ? (uint8) Min(255, term) : 0;
		pq_list_origin(model, lists[i], centroids[i], origin);
		encode_refine(model, inverse, points + (size_t) i * model->padded, origin, lost[i], scaled,
					  (char *) PqEntryRefine(entries[i], layout));
	}
	pfree(lists);
	pfree(codes);
	pfree(terms);
	pfree(inverse);
	pfree(scaled);
	pfree(origin);
}
