/*
 * pqcodebook.c
 *		Shared codebooks: a model and its centroids, kept in jflow.codebook.
 *
 * An index built WITH (codebook = …) trains nothing, so all that name one
 * codebook find the same rows for the same query, and an index over an empty
 * table is ready for a million.
 */
#include "postgres.h"

#include <math.h>

#include "access/table.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "halfvec.h"
#include "sparsevec.h"
#include "vector.h"

#include "pq/pq.h"
#include "pq/pqbuild.h"
#include "vectors.h"

typedef struct OwnerState
{
	Oid			userid;
	int			sec_context;
} OwnerState;

/*
 * Work with the rights of the owner of jflow.codebook.  Nobody else can write
 * there, so that what an index reads was made by training; nor read, since
 * centroids tell of the vectors that they were learned from.
 */
static void
become_owner(OwnerState *state)
{
	Relation	rel = table_openrv(makeRangeVar("jflow", "codebook", -1), AccessShareLock);

	GetUserIdAndSecContext(&state->userid, &state->sec_context);
	SetUserIdAndSecContext(rel->rd_rel->relowner, state->sec_context | SECURITY_LOCAL_USERID_CHANGE);
	table_close(rel, NoLock);
}

static void
end_owner(const OwnerState *state)
{
	SetUserIdAndSecContext(state->userid, state->sec_context);
}

static char *
current_name(Oid role, bool store)
{
	return GetUserNameFromId(role, false);
}

/*
 * The name by which jflow.codebook keeps a role, to read or to store one; NULL if
 * it can have none.  Whoever knows of roles that were renamed sets it.
 */
char	   *(*pq_role_name) (Oid role, bool store) = current_name;

/*
 * The codebook of that name, or NULL with a warning if there is none.  Names are
 * each role's own, and only the table's owner's counts: another's tells of
 * vectors that he may not read.
 */
PqTrained *
pq_codebook_load(PqBuild *build, const char *name)
{
	Oid			types[] = {TEXTOID, TEXTOID};
	Datum		args[2];
	MemoryContext context = CurrentMemoryContext;
	PqTrained  *trained = NULL;
	OwnerState	owner;
	char	   *role;

	args[0] = CStringGetTextDatum(name);
	role = pq_role_name(build->index->rd_rel->relowner, false);
	args[1] = CStringGetTextDatum(role ? role : "");
	SPI_connect();
	become_owner(&owner);
	if (SPI_execute_with_args("SELECT model FROM jflow.codebook "
							  "WHERE codebook OPERATOR(pg_catalog.=) $1 AND owner OPERATOR(pg_catalog.=) $2",
							  2, types, args, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read jflow.codebook");
	end_owner(&owner);
	if (SPI_processed == 1)
	{
		bool		isnull;
		bytea	   *bytes = DatumGetByteaPP(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
		Size		size = VARSIZE_ANY_EXHDR(bytes);
		MemoryContext old = MemoryContextSwitchTo(context);
		char	   *data = MemoryContextAllocHuge(context, MAXALIGN(size));
		PqModel    *model = (PqModel *) data;

		memcpy(data, VARDATA_ANY(bytes), size);
		if (size < sizeof(PqModel) || model->size > size)
			ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("invalid model of a pq index")));
		pq_model_verify(model, model->size);
		if (size != model->size + sizeof(float) * (Size) PqModelSlots(model) * model->space_dims)
			ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("invalid model of a pq index")));
		if (model->type != build->space->type || model->metric != build->space->metric ||
			model->dims != build->dims)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
					 errmsg("codebook \"%s\" does not fit index \"%s\"", name,
							RelationGetRelationName(build->index)),
					 errdetail("Type, metric and dimensions must be the same.")));
		trained = pq_trained_alloc(model);
		memcpy(trained->tiles, data + model->size, size - model->size);
		pq_fill_centroids(trained);
		strlcpy(build->meta.codebook, name, NAMEDATALEN);
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	if (!trained)
		ereport(WARNING,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("codebook \"%s\" does not exist", name),
				 errdetail("Index \"%s\" is trained from its own table.", RelationGetRelationName(build->index))));
	return trained;
}

/*
 * The space of a column's type, or of the type under a domain, and a metric's
 * name; raises for others.
 */
static PqSpace
space_of(Oid type, const char *metric)
{
	const JflowVectorTypes *types = jflow_vector_types();
	Oid			base = getBaseType(type);
	PqSpace		space = {0};

	if (base == types->vector && OidIsValid(base))
		space.type = PQ_TYPE_VECTOR;
	else if (base == types->halfvec && OidIsValid(base))
		space.type = PQ_TYPE_HALFVEC;
	else if (base == types->sparsevec && OidIsValid(base))
		space.type = PQ_TYPE_SPARSEVEC;
	else
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("query must return one column of vectors, not %s", format_type_be(type)),
				 errdetail("Vectors are of the types vector, halfvec and sparsevec of extension \"vector\".")));
	if (strcmp(metric, "l2") == 0)
		space.metric = PQ_METRIC_L2;
	else if (strcmp(metric, "ip") == 0)
		space.metric = PQ_METRIC_IP;
	else if (strcmp(metric, "cosine") == 0)
		space.metric = PQ_METRIC_COSINE;
	else if (strcmp(metric, "l1") == 0)
		space.metric = PQ_METRIC_L1;
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown metric \"%s\"", metric),
				 errhint("Metrics are l2, ip, cosine and l1.")));
	return space;
}

/* Dimensions of a value, of which pq_embed() asks whether it is of one piece. */
static int
dims_of(const PqSpace *space, Datum value)
{
	struct varlena *raw = PG_DETOAST_DATUM(value);
	Size		size = VARSIZE(raw);
	int			dims = 0;

	switch (space->type)
	{
		case PQ_TYPE_VECTOR:
			if (size >= offsetof(Vector, x))
				dims = ((Vector *) raw)->dim;
			break;
		case PQ_TYPE_HALFVEC:
			if (size >= offsetof(HalfVector, x))
				dims = ((HalfVector *) raw)->dim;
			break;
		case PQ_TYPE_SPARSEVEC:
			if (size >= offsetof(SparseVector, indices))
				dims = ((SparseVector *) raw)->dim;
			break;
	}
	if (dims < 1)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("vector is corrupted")));
	return dims;
}

/*
 * Sample what a query returns and train from it.
 */
static PqTrained *
train_from_query(const char *query, const char *metric, int lists, int subvectors, PqSpace *space)
{
	Portal		portal;
	SPIPlanPtr	plan = SPI_prepare(query, 0, NULL);
	PqSample   *sample = NULL;
	float	   *point = NULL;
	float		lost;
	double		rows = 0;
	int			dims = 0;
	int			space_dims = 0;
	int			width;
	int			count;
	Size		budget = (Size) maintenance_work_mem * 1024;

	if (plan == NULL)
		elog(ERROR, "could not prepare the query: %s", SPI_result_code_string(SPI_result));
	if (!SPI_is_cursor_plan(plan))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("query must return one column of vectors")));
	portal = SPI_cursor_open(NULL, plan, NULL, NULL, true);
	for (;;)
	{
		SPI_cursor_fetch(portal, true, 1000);
		if (SPI_tuptable->tupdesc->natts != 1)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("query must return one column of vectors, not %d columns", SPI_tuptable->tupdesc->natts)));
		*space = space_of(SPI_gettypeid(SPI_tuptable->tupdesc, 1), metric);
		if (SPI_processed == 0)
			break;
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			bool		isnull;
			Datum		value = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);

			if (isnull)
				continue;
			if (!sample)
			{
				double		most;

				dims = dims_of(space, value);
				space_dims = pq_space_dims(space, dims);
				pq_model_geometry(space_dims, subvectors, &width, &count);
				point = palloc(sizeof(float) * width * count);
				most = (double) budget / 2 / (sizeof(float) * width * count + 12);
				sample = pq_sample_begin((int) Max(256, Min(most, lists > 0 ? 64.0 * lists : 262144)), width * count);
			}
			if (pq_embed(space, dims, space_dims, width * count, NULL, value, point, &lost))
			{
				pq_sample_add(sample, point, space_dims);
				rows++;
			}
		}
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_cursor_close(portal);
	if (!sample || sample->n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("query returned no vectors to train from")));
	return pq_train(space, dims, pq_sample_finish(sample), sample->n, rows, lists, subvectors, budget / 2);
}

/*
 * Store a codebook for the current user: also within a function that runs as its
 * owner it is he who trains.
 */
static void
store(const char *name, bytea *model)
{
	Oid			types[] = {TEXTOID, TEXTOID, BYTEAOID};
	Datum		args[3];
	OwnerState	owner;

	args[0] = CStringGetTextDatum(name);
	args[1] = CStringGetTextDatum(pq_role_name(GetUserId(), true));
	args[2] = PointerGetDatum(model);
	become_owner(&owner);
	if (SPI_execute_with_args("INSERT INTO jflow.codebook VALUES ($1, $2, $3) "
							  "ON CONFLICT (codebook, owner) DO UPDATE SET model = EXCLUDED.model",
							  3, types, args, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not store the codebook");
	end_owner(&owner);
}

PG_FUNCTION_INFO_V1(jflow_train);
/*
 * jflow_train(codebook, query, metric, lists, subvectors): store a model
 * learned from the vectors that a query returns.  One of that name that the caller
 * has is replaced.
 */
Datum
jflow_train(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	int			lists = PG_GETARG_INT32(3);
	int			subvectors = PG_GETARG_INT32(4);
	PqSpace		space;
	PqTrained  *trained;
	Size		tiles;
	bytea	   *bytes;

	if (name[0] == '\0' || strlen(name) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("name of a codebook must have 1 to %d bytes", NAMEDATALEN - 1)));
	if (lists < 0 || lists > PQ_MAX_LISTS || subvectors < 0 || subvectors > PQ_MAX_SUBVECTORS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("lists must be between 0 and %d, subvectors between 0 and %d", PQ_MAX_LISTS, PQ_MAX_SUBVECTORS)));
	SPI_connect();
	trained = train_from_query(text_to_cstring(PG_GETARG_TEXT_PP(1)),
							   text_to_cstring(PG_GETARG_TEXT_PP(2)), lists, subvectors, &space);
	tiles = sizeof(float) * (Size) PqModelSlots(trained->model) * trained->model->space_dims;
	if (tiles + trained->model->size > MaxAllocSize / 2)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("codebook would be larger than a value can be"),
				 errhint("Use fewer lists.")));
	bytes = palloc(VARHDRSZ + trained->model->size + tiles);
	SET_VARSIZE(bytes, VARHDRSZ + trained->model->size + tiles);
	memcpy(VARDATA(bytes), trained->model, trained->model->size);
	memcpy(VARDATA(bytes) + trained->model->size, trained->tiles, tiles);
	store(name, bytes);
	SPI_finish();
	PG_RETURN_VOID();
}
