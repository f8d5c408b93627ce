/*
 * pqmodel.c
 *		What a model is made of, and what it says by itself: all but what is learned
 *		follows from a few numbers.
 */
#include "postgres.h"

#include <math.h>

#include "pq/pq.h"

/*
 * Width of subvectors and their number for an index space; subvectors = 0 asks
 * for a choice.
 */
void
pq_model_geometry(int space_dims, int subvectors, int *width, int *count)
{
	if (subvectors > 0)
		*width = (space_dims + subvectors - 1) / subvectors;
	else
		*width = space_dims <= 64 ? 2 : 4;
	*width = Max(*width, (space_dims + PQ_MAX_SUBVECTORS - 1) / PQ_MAX_SUBVECTORS);
	*width = Min(*width, PQ_MAX_WIDTH);
	*count = (space_dims + *width - 1) / *width;
	/* no wider than that many need, so that the number alone tells the width */
	*width = (space_dims + *count - 1) / *count;
}

/*
 * The header of a model with room for so many lists, and none for codes if it is
 * to be flat: all but what is learned follows from these numbers.
 */
static PqModel
model_header(const PqSpace *space, int dims, int nlists, int ntiles,
			 int ngroups, int subvectors, bool flat)
{
	int			space_dims = pq_space_dims(space, dims);
	int			width;
	int			count;
	Size		size = MAXALIGN(sizeof(PqModel));
	PqModel		m = {0};

	pq_model_geometry(space_dims, subvectors, &width, &count);
	m.magic = PQ_MAGIC;
	m.version = PQ_MODEL_VERSION;
	m.type = space->type;
	m.metric = space->metric;
	m.dims = dims;
	m.space_dims = space_dims;
	m.width = width;
	m.subvectors = count;
	m.padded = count * width;
	m.nquads = flat ? 0 : (count + 3) / 4;
	m.nlists = nlists;
	m.ntiles = ntiles;
	m.ngroups = ngroups;
#define PLACE(field, n) (m.field = size, size += sizeof(float) * (Size) (n))
	PLACE(group_tiles, PqRoundTile(ngroups) * space_dims);
	PLACE(group_bias, PqRoundTile(ngroups));
	PLACE(group_means, flat ? 0 : ngroups * space_dims);
	PLACE(group_starts, ngroups + 1);
	PLACE(bias, ntiles * PQ_TILE);
	PLACE(offsets, flat ? 0 : ntiles * PQ_TILE);
	PLACE(codebooks, flat ? 0 : count * width * PQ_TILE);
	PLACE(centre, flat ? 0 : space_dims);
	PLACE(spread, flat ? 0 : space_dims);
	PLACE(scales, flat ? 0 : ntiles * PQ_TILE);
	PLACE(term_mins, flat ? 0 : ntiles * PQ_TILE);
	PLACE(term_steps, flat ? 0 : ntiles * PQ_TILE);
#undef PLACE
	m.size = size;
	return m;
}

/* An empty model. */
PqModel *
pq_model_alloc(const PqSpace *space, int dims, int nlists, int ntiles,
			   int ngroups, int subvectors, bool flat)
{
	PqModel		header = model_header(space, dims, nlists, ntiles, ngroups, subvectors, flat);
	PqModel    *model = palloc0(header.size);

	*model = header;
	return model;
}

/* Do groups follow each other, up to the last tile? */
static bool
groups_are_sound(const PqModel *model)
{
	const int32 *starts = PqModelArray(model, group_starts, int32);

	for (int g = 0; g < model->ngroups; g++)
		if (starts[g] < 0 || starts[g] > starts[g + 1])
			return false;
	return starts[model->ngroups] == model->ntiles;
}

/*
 * Raise unless a model read from somewhere is of one piece: none of its offsets
 * leads out of it.
 */
void
pq_model_verify(const PqModel *model, Size size)
{
	bool		sound = size >= sizeof(PqModel) && model->size == size &&
		model->type >= 0 && model->type <= PQ_TYPE_SPARSEVEC &&
		model->metric >= 0 && model->metric <= PQ_METRIC_L1 &&
		(model->metric != PQ_METRIC_L1 || model->dims <= PQ_MAX_INNER) &&
		model->dims >= 1 && model->ntiles >= 1 && model->ntiles <= PQ_MAX_LISTS &&
		model->nlists >= 1 && model->nlists <= model->ntiles * PQ_TILE &&
		model->ngroups >= 1 && model->ngroups <= model->ntiles &&
		model->subvectors >= 1 && model->subvectors <= PQ_MAX_SUBVECTORS;

	if (size >= sizeof(PqModel) && model->magic == PQ_MAGIC && model->version != PQ_MODEL_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("model of a pq index has format version %u, but this library reads version %u",
						model->version, PQ_MODEL_VERSION),
				 errhint("Train codebooks again with jflow_train(), and rebuild indexes with REINDEX.")));
	if (sound)
	{
		PqSpace		space = {model->type, model->metric};
		PqModel		header = model_header(&space, model->dims, model->nlists, model->ntiles,
										  model->ngroups, model->subvectors, PqModelIsFlat(model));

		header.centred = model->centred;
		header.whole = model->whole;
		header.absolute = model->absolute;
		header.distortion = model->distortion;
		sound = memcmp(&header, model, sizeof(PqModel)) == 0 && groups_are_sound(model);
	}
	if (!sound)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("invalid model of a pq index")));
}

/* Room for the centroids of a model, in the current memory context. */
PqTrained *
pq_trained_alloc(PqModel *model)
{
	PqTrained  *trained = palloc0(sizeof(PqTrained));
	Size		floats = (Size) PqModelSlots(model) * model->space_dims;

	trained->model = model;
	trained->tiles = palloc_extended(sizeof(float) * floats, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	trained->centroids = palloc_extended(sizeof(float) * floats, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	return trained;
}

/*
 * Set the rows of centroids from the tiles.
 */
void
pq_fill_centroids(PqTrained *trained)
{
	int			space_dims = trained->model->space_dims;

	for (int s = 0; s < PqModelSlots(trained->model); s++)
		for (int j = 0; j < space_dims; j++)
			trained->centroids[(size_t) s * space_dims + j] =
				trained->tiles[((size_t) (s / PQ_TILE) * space_dims + j) * PQ_TILE + s % PQ_TILE];
}

/*
 * About how long the residuals of a list are.  Its terms, which are their squares
 * on the mean, tell it better than the unit of its codes.
 */
double
pq_list_length(const PqModel *model, uint32 slot)
{
	double		unit = PqModelArray(model, scales, float)[slot];
	double		square = PqModelArray(model, term_mins, float)[slot] +
		127.5 * PqModelArray(model, term_steps, float)[slot];

	if (model->metric == PQ_METRIC_IP || !(square > 0))
		return unit;
	return Max(unit / 4, Min(unit * 4, sqrt(square)));
}

/*
 * The list with the longest residuals.
 */
uint32
pq_longest_list(const PqModel *model)
{
	uint32		longest = 0;

	for (int s = 1; s < PqModelSlots(model); s++)
		if (!isinf(PqModelArray(model, bias, float)[s]) && pq_list_length(model, s) > pq_list_length(model, longest))
			longest = s;
	return longest;
}
