/*
 * pqtrain.c
 *		Learning a model from a sample: centroids, codebooks, refine codes.
 *
 * Many lists are found in two levels: the sample is clustered into groups, each
 * group into its share of the lists, and then a few iterations over all lists
 * repair what the borders between groups spoilt.  Building, inserting and
 * searching look at the lists of the nearest groups, too.
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "miscadmin.h"

#include "pq/pq.h"

#define COARSE_ITERATIONS 10
#define LIST_ITERATIONS 8
#define REPAIR_ITERATIONS 2
#define CODE_ITERATIONS 8
#define CODE_SAMPLE 16384
#define UNGROUPED_LISTS 96
/* Rows of a list, where there are so few that pages would stay empty. */
#define MIN_LIST_ROWS 128
/* Points that are coded together. */
#define BATCH 256
/* What all lists have in common counts as much as so many points of a list's own. */
#define PRIOR 6
/* A list is its own origin if its group's mean is so many of its units away. */
#define FAR_LIST 16
/* Whole numbers up to here are centred without rounding. */
#define LARGEST_WHOLE 1048576

/*
 * Means and tiles of groups and tiles of lists from the centroids; the bias of
 * unused slots is infinite already.
 */
static void
place_centroids(PqTrained *trained)
{
	PqModel    *model = trained->model;
	int			space_dims = model->space_dims;
	const float *bias = PqModelArray(model, bias, float);
	int32	   *starts = PqModelArray(model, group_starts, int32);
	float	   *means = palloc0(sizeof(float) * (Size) model->ngroups * space_dims);
	double	   *sums = palloc(sizeof(double) * space_dims);
	float		unused[PQ_TILE];

	for (int g = 0; g < model->ngroups; g++)
	{
		int			count = 0;

		memset(sums, 0, sizeof(double) * space_dims);
		for (int s = starts[g] * PQ_TILE; s < starts[g + 1] * PQ_TILE; s++)
		{
			if (isinf(bias[s]))
				continue;
			count++;
			for (int j = 0; j < space_dims; j++)
				sums[j] += trained->centroids[(size_t) s * space_dims + j];
		}
		for (int j = 0; j < space_dims && count > 0; j++)
			means[(size_t) g * space_dims + j] = (float) (sums[j] / count);
	}
	pq_make_tiles(means, model->ngroups, space_dims, PqModelArray(model, group_tiles, float),
				  PqModelArray(model, group_bias, float));
	if (!PqModelIsFlat(model))
		memcpy(PqModelArray(model, group_means, float), means, sizeof(float) * (Size) model->ngroups * space_dims);
	for (int t = 0; t < model->ntiles; t++)
		pq_make_tiles(trained->centroids + (size_t) t * PQ_TILE * space_dims, PQ_TILE, space_dims,
					  trained->tiles + (size_t) t * space_dims * PQ_TILE, unused);
	pfree(means);
	pfree(sums);
}

/*
 * Iterations over all lists, each point looking at its nearest groups.
 */
static void
repair_lists(PqTrained *trained, const float *sample, int n, int32 *lists)
{
	PqModel    *model = trained->model;
	int			space_dims = model->space_dims;
	int			nslots = PqModelSlots(model);
	int		   *counts = palloc(sizeof(int) * nslots);
	float	   *sums = palloc_extended(sizeof(float) * (Size) nslots * space_dims, MCXT_ALLOC_HUGE);

	for (int iteration = 0; iteration < REPAIR_ITERATIONS; iteration++)
	{
		memset(counts, 0, sizeof(int) * nslots);
		memset(sums, 0, sizeof(float) * (Size) nslots * space_dims);
		pq_assign(trained, sample, n, lists);
		for (int i = 0; i < n; i++)
		{
			float	   *sum = sums + (size_t) lists[i] * space_dims;
			const float *centroid = trained->centroids + (size_t) lists[i] * space_dims;
			const float *point = sample + (size_t) i * model->padded;

			counts[lists[i]]++;
			for (int j = 0; j < space_dims; j++)
				sum[j] += point[j] - centroid[j];
		}
		for (int s = 0; s < nslots; s++)
			for (int j = 0; j < space_dims && counts[s] > 0; j++)
				trained->centroids[(size_t) s * space_dims + j] += sums[(size_t) s * space_dims + j] / counts[s];
		place_centroids(trained);
	}
	pfree(counts);
	pfree(sums);
}

/*
 * Centroids of all lists, and (nearly) which list each point belongs to.
 */
static PqTrained *
train_lists(const PqSpace *space, int dims, const float *sample, int n,
			int stride, int nlists, int subvectors, int32 *lists)
{
	int			space_dims = pq_space_dims(space, dims);
	int			ngroups = nlists <= UNGROUPED_LISTS ? 1 :
		(int) Min(ceil(sqrt(nlists)), nlists / (2 * PQ_TILE));
	float	   *coarse = palloc(sizeof(float) * (Size) ngroups * space_dims);
	float	   *tiles = palloc(sizeof(float) * (Size) PqRoundTile(ngroups) * space_dims);
	float	   *bias = palloc(sizeof(float) * PqRoundTile(ngroups));
	float	   *best = palloc(sizeof(float) * Max(n, 1));
	int32	   *group = palloc0(sizeof(int32) * Max(n, 1));
	int		   *sizes = palloc0(sizeof(int) * ngroups);
	int		   *share = palloc(sizeof(int) * ngroups);
	int			ntiles = 0;
	int			total = 0;
	PqTrained  *trained;
	int32	   *starts;
	float	   *members;

	if (ngroups > 1)
		pq_kmeans(sample, stride, Min(n, ngroups * 256), space_dims, ngroups, COARSE_ITERATIONS, coarse, 1);
	else
		memset(coarse, 0, sizeof(float) * space_dims);
	pq_make_tiles(coarse, ngroups, space_dims, tiles, bias);
	for (int i = 0; i < n; i++)
		best[i] = INFINITY;
	pq_nearest(sample, stride, NULL, n, space_dims, tiles, bias, PqRoundTile(ngroups) / PQ_TILE, 0, best, group);
	for (int i = 0; i < n; i++)
		sizes[group[i]]++;
	for (int g = 0; g < ngroups; g++)
	{
		/* whole tiles, since what is left of one costs as much as its lists */
		share[g] = ngroups == 1 ? nlists :
			Max(1, (int) rint((double) nlists * sizes[g] / Max(n, 1) / PQ_TILE)) * PQ_TILE;
		share[g] = Min(share[g], Max(1, sizes[g]));
		total += share[g];
		ntiles += PqRoundTile(share[g]) / PQ_TILE;
	}

	trained = pq_trained_alloc(pq_model_alloc(space, dims, total, ntiles, ngroups, subvectors, false));
	starts = PqModelArray(trained->model, group_starts, int32);
	for (int s = 0; s < PqModelSlots(trained->model); s++)
		PqModelArray(trained->model, bias, float)[s] = INFINITY;
	for (int g = 0; g < ngroups; g++)
	{
		int			count = 0;
		int			wanted = Min(sizes[g], share[g] * 128);

		CHECK_FOR_INTERRUPTS();
		starts[g + 1] = starts[g] + PqRoundTile(share[g]) / PQ_TILE;
		members = palloc_extended(sizeof(float) * (Size) Max(wanted, 1) * space_dims, MCXT_ALLOC_HUGE);
		for (int i = 0; i < n && count < wanted; i++)
			if (group[i] == g)
				memcpy(members + (size_t) count++ * space_dims, sample + (size_t) i * stride, sizeof(float) * space_dims);
		pq_kmeans(members, space_dims, count, space_dims, share[g], LIST_ITERATIONS,
				  trained->centroids + (size_t) starts[g] * PQ_TILE * space_dims, g + 2);
		for (int c = 0; c < share[g]; c++)
			PqModelArray(trained->model, bias, float)[starts[g] * PQ_TILE + c] = 0;
		pfree(members);
	}
	place_centroids(trained);
	pfree(coarse);
	pfree(tiles);
	pfree(bias);
	pfree(best);
	pfree(group);
	pfree(sizes);
	pfree(share);
	if (ngroups > 1)
		repair_lists(trained, sample, n, lists);
	else
		pq_assign(trained, sample, n, lists);
	return trained;
}

/*
 * Sixteen codes for each subvector, from the residuals of sample points in units
 * of their lists.
 */
static void
train_codes(PqTrained *trained, const float *sample, const int32 *lists, int n)
{
	PqModel    *model = trained->model;
	int			width = model->width;
	float	   *residuals = palloc_extended(sizeof(float) * (Size) Max(n, 1) * model->padded,
											MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	float	   *codes = palloc(sizeof(float) * PQ_TILE * width);
	float		unused[PQ_TILE];

	for (int i = 0; i < n; i++)
	{
		float		scale = 1 / PqModelArray(model, scales, float)[lists[i]];

		for (int j = 0; j < model->space_dims; j++)
			residuals[(size_t) i * model->padded + j] = scale *
				(sample[(size_t) i * model->padded + j] - trained->centroids[(size_t) lists[i] * model->space_dims + j]);
	}
	for (int m = 0; m < model->subvectors; m++)
	{
		CHECK_FOR_INTERRUPTS();
		pq_kmeans(residuals + m * width, model->padded, n, width, PQ_TILE, CODE_ITERATIONS, codes, m);
		pq_make_tiles(codes, PQ_TILE, width,
					  PqModelArray(model, codebooks, float) + (size_t) m * width * PQ_TILE, unused);
	}
	pfree(residuals);
	pfree(codes);
}

/*
 * The unit of each list's codes: how long its residuals are.  Lists may differ by
 * orders of magnitude; what few points cannot tell, their group does.
 */
static void
train_scales(PqTrained *trained, const float *sample, const int32 *lists, int n)
{
	PqModel    *model = trained->model;
	const int32 *starts = PqModelArray(model, group_starts, int32);
	float	   *scales = PqModelArray(model, scales, float);
	double	   *squares = palloc0(sizeof(double) * PqModelSlots(model));
	int		   *counts = palloc0(sizeof(int) * PqModelSlots(model));
	double		all = 0;

	for (int i = 0; i < n; i++)
	{
		const float *point = sample + (size_t) i * model->padded;
		const float *centroid = trained->centroids + (size_t) lists[i] * model->space_dims;
		double		square = 0;

		for (int j = 0; j < model->space_dims; j++)
		{
			float		r = point[j] - centroid[j];

			square += (double) r * r;
		}
		squares[lists[i]] += square;
		counts[lists[i]]++;
		all += square;
	}
	for (int g = 0; g < model->ngroups; g++)
	{
		double		typical = 0;
		int			count = 0;

		for (int s = starts[g] * PQ_TILE; s < starts[g + 1] * PQ_TILE; s++)
		{
			typical += squares[s];
			count += counts[s];
		}
		typical = typical > 0 ? typical / count : all / Max(n, 1);
		for (int s = starts[g] * PQ_TILE; s < starts[g + 1] * PQ_TILE; s++)
		{
			int			told = Max(counts[s] - 1, 0);
			double		square = typical;

			/*
			 * the mean of logarithms, since lists of a group may differ, too;
			 * that of a list of copies has to do for what may come beside
			 * them
			 */
			if (told > 0 && typical > 0)
				square = typical * pow(Max(squares[s] / told / typical, 1e-12), told / (told + 2.0));

			/*
			 * codes that most lists share are learned better than by units
			 * alike
			 */
			if (square > 1e-60 && all > 0)
				scales[s] = sqrt(all / n * pow(16, rint(log(square * n / all) / log(16))));
			else
				scales[s] = 1;
		}
	}
	pfree(squares);
	pfree(counts);
}

/*
 * Where the terms of each list lie: their mean is about the square of its unit,
 * and how far they spread about that goes with its unit and how far its centroid
 * is from the origin, so few points of a list tell enough.  A term beyond the range is cut
 * off, which costs that vector some precision.
 */
static void
train_terms(PqTrained *trained, const float *sample, const int32 *lists, int n)
{
	PqModel    *model = trained->model;
	int			nslots = PqModelSlots(model);
	const float *scales = PqModelArray(model, scales, float);
	const float *offsets = PqModelArray(model, offsets, float);
	const float **centroids = palloc(sizeof(float *) * Max(n, 1));
	double	   *terms = palloc(sizeof(double) * Max(n, 1));
	double	   *sums = palloc0(sizeof(double) * nslots);
	double	   *squares = palloc0(sizeof(double) * nslots);
	int		   *counts = palloc0(sizeof(int) * nslots);
	double		typical = 0;

	for (int start = 0; start < n; start += BATCH)
	{
		int			m = Min(BATCH, n - start);

		CHECK_FOR_INTERRUPTS();
		for (int i = start; i < start + m; i++)
			centroids[i] = trained->centroids + (size_t) lists[i] * model->space_dims;
		pq_code(model, sample + (size_t) start * model->padded, lists + start, centroids + start, m, NULL, terms + start);
	}
#define UNIT(slot) (scales[slot] * ((double) offsets[slot] + scales[slot]))
	for (int i = 0; i < n; i++)
	{
		int			s = lists[i];
		double		u = (terms[i] - (double) scales[s] * scales[s]) / UNIT(s);

		counts[s]++;
		sums[s] += u;
		squares[s] += u * u;
		typical += u * u / n;
	}
	for (int s = 0; s < nslots && n > 0; s++)
	{
		double		mean = sums[s] / (counts[s] + PRIOR);
		double		deviation = sqrt(Max(0, (squares[s] + PRIOR * typical) / (counts[s] + PRIOR) - mean * mean));
		float		from;
		float		step;

		if (isinf(PqModelArray(model, bias, float)[s]) || model->metric == PQ_METRIC_IP)
			continue;
		from = (float) ((double) scales[s] * scales[s] + (mean - 5.5 * deviation) * UNIT(s));
		step = (float) (11 * deviation * UNIT(s) / 255);
		if (!isfinite(from) || !isfinite(step))
			from = step = 0;
		PqModelArray(model, term_mins, float)[s] = from;
		PqModelArray(model, term_steps, float)[s] = step;
	}
#undef UNIT
	pfree(centroids);
	pfree(terms);
	pfree(sums);
	pfree(squares);
	pfree(counts);
}

/*
 * Centre the sample, and set the centre.  Whole numbers stay whole, so that
 * vectors of bytes can be kept without error and need no second look at all.
 * Under L2 and L1 nothing depends on where the origin is, and vectors are kept as they
 * are: small ones beside large ones would lose digits by a centre of them all.
 */
static void
train_centre(PqModel *model, float *sample, int n)
{
	float	   *centre = PqModelArray(model, centre, float);
	double	   *sums = palloc0(sizeof(double) * model->space_dims);
	float		lowest = FLT_MAX;
	float		highest = -FLT_MAX;
	bool		whole = n > 0;

	for (int i = 0; i < n; i++)
	{
		const float *point = sample + (size_t) i * model->padded;

		for (int j = 0; j < model->space_dims; j++)
		{
			sums[j] += point[j];
			lowest = Min(lowest, point[j]);
			highest = Max(highest, point[j]);
		}
		for (int j = 0; j < model->space_dims && whole; j++)
			whole = point[j] == rintf(point[j]);
	}
	model->whole = whole && lowest >= -LARGEST_WHOLE && highest <= LARGEST_WHOLE;
	model->absolute = model->whole && highest - lowest <= 255;
	for (int j = 0; j < model->space_dims && n > 0 && (model->metric == PQ_METRIC_IP || model->metric == PQ_METRIC_COSINE); j++)
	{
		centre[j] = model->whole ? rintf(sums[j] / n) : sums[j] / n;
		model->centred |= centre[j] != 0;
	}
	for (int i = 0; i < n; i++)
	{
		float	   *point = sample + (size_t) i * model->padded;

		for (int j = 0; j < model->space_dims; j++)
			point[j] = (float) ((double) point[j] - centre[j]);
	}
	pfree(sums);
}

/*
 * Set the origins of all lists, and the unit of refine codes in each dimension:
 * how far points are from their origins there, each against how far it is in all.
 */
static void
train_origins(PqTrained *trained, const float *sample, const int32 *lists, int n)
{
	PqModel    *model = trained->model;
	int			space_dims = model->space_dims;
	float	   *means = PqModelArray(model, group_means, float);
	float	   *offsets = PqModelArray(model, offsets, float);
	float	   *spread = PqModelArray(model, spread, float);
	float	   *origin = palloc(sizeof(float) * space_dims);
	double	   *sums = palloc0(sizeof(double) * space_dims);
	double		total = 0;

	for (int i = 0; i < model->ngroups * space_dims && model->whole; i++)
		means[i] = rintf(means[i]);
	for (int s = 0; s < PqModelSlots(model); s++)
	{
		float	   *mean = means + (size_t) pq_list_group(model, s) * space_dims;

		offsets[s] = sqrtf(pq_kernels->l2(trained->centroids + (size_t) s * space_dims, mean, space_dims));
		if (!(offsets[s] <= FAR_LIST * PqModelArray(model, scales, float)[s]))
			offsets[s] = 0;
	}
	for (int i = 0; i < n; i++)
	{
		const float *point = sample + (size_t) i * model->padded;
		double		square;

		pq_list_origin(model, lists[i], trained->centroids + (size_t) lists[i] * space_dims, origin);
		square = pq_kernels->l2(point, origin, space_dims);
		for (int j = 0; j < space_dims && square > 0 && isfinite(square); j++)
			sums[j] += ((double) point[j] - origin[j]) * ((double) point[j] - origin[j]) / square;
	}
	for (int j = 0; j < space_dims; j++)
		total += sums[j];
	/* dimensions of little spread tell little: nothing is gained by more bits */
	for (int j = 0; j < space_dims; j++)
		spread[j] = model->whole || total <= 0 ? 1 : sqrt(Max(sums[j], total / space_dims / 16) / total * space_dims);
	pfree(origin);
	pfree(sums);
}

/* Take over what was learned before there were lists. */
static void
take_frame(PqModel *model, const PqModel *frame)
{
	model->centred = frame->centred;
	model->whole = frame->whole;
	model->absolute = frame->absolute;
	memcpy(PqModelArray(model, centre, float), PqModelArray(frame, centre, float), sizeof(float) * model->space_dims);
}

/* How far distances of the index space are off, relatively, by projection. */
static void
set_distortion(PqModel *model)
{
	if (model->space_dims != model->dims)
		model->distortion = 0.8f / sqrtf(2.0f * model->space_dims);
}

/*
 * Learn a model from n sample points (rows of padded floats in random order),
 * which are centred by it.
 * expected is how many vectors there are; lists = 0 and subvectors = 0 ask for
 * a choice; centroids may take budget bytes.
 */
PqTrained *
pq_train(const PqSpace *space, int dims, float *sample, int n, double expected,
		 int lists, int subvectors, Size budget)
{
	int			space_dims = pq_space_dims(space, dims);
	int			width;
	int			count;
	int			most;
	int			ncoded = Min(n, CODE_SAMPLE);
	int32	   *of_points = palloc_extended(sizeof(int32) * Max(n, 1), MCXT_ALLOC_HUGE);
	PqModel    *frame;
	PqTrained  *trained;

	pq_model_geometry(space_dims, subvectors, &width, &count);
	if (lists == 0)
	{
		lists = (int) Min(Min(2 * sqrt(expected), expected / MIN_LIST_ROWS), PQ_MAX_LISTS / 2);
		lists = Min(lists, n / 16);
	}
	most = (int) Min(budget / (sizeof(float) * 3 * space_dims), PQ_MAX_LISTS / 2);
	if (lists > most)
		ereport(NOTICE,
				(errmsg("%d lists are more than there may be", lists),
				 errdetail("There will be %d, since centroids may take a quarter of maintenance_work_mem, and there are %d lists at most.",
						   most, PQ_MAX_LISTS / 2),
				 errhint("Raise maintenance_work_mem, or ask for fewer lists.")));
	lists = Max(1, Min(Min(lists, most), Max(n, 1)));
	frame = pq_model_alloc(space, dims, 1, 1, 1, subvectors, false);
	train_centre(frame, sample, n);
	trained = train_lists(space, dims, sample, n, count * width, lists, subvectors, of_points);
	take_frame(trained->model, frame);
	train_scales(trained, sample, of_points, n);
	train_origins(trained, sample, of_points, n);
	pq_assign(trained, sample, ncoded, of_points);
	train_codes(trained, sample, of_points, ncoded);
	train_terms(trained, sample, of_points, ncoded);
	pfree(of_points);
	pfree(frame);
	set_distortion(trained->model);
	return trained;
}

/*
 * The model of an index that has nothing to learn from yet: flat, with one list.
 */
PqTrained *
pq_train_nothing(const PqSpace *space, int dims, int subvectors)
{
	PqTrained  *trained = pq_trained_alloc(pq_model_alloc(space, dims, 1, 1, 1, subvectors, true));

	for (int s = 0; s < PQ_TILE; s++)
		PqModelArray(trained->model, bias, float)[s] = s == 0 ? 0 : INFINITY;
	PqModelArray(trained->model, group_starts, int32)[1] = 1;
	place_centroids(trained);
	set_distortion(trained->model);
	return trained;
}
