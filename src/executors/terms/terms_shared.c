/*
 * terms_shared.c
 *		Models that the processes of a server share.
 *
 * A model of 100,000 terms takes a tenth of a second to read and some megabytes to
 * keep, and each replica would pay for that.  So the first process that needs it
 * reads it and puts its arrays into shared bytes; the others only point to them.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "common/bytes.h"
#include "executors/terms/terms.h"

/* What shared bytes begin with; the arrays follow, each aligned. */
typedef struct SharedModel
{
	int64		ndocs;
	uint64		length;
	uint32		fits;
	uint32		nterms;
	uint32		mask;
	uint64		nbytes;			/* of all terms */
} SharedModel;

/* Where the arrays are; sizes follow from the header alone. */
static Size
place_arrays(const SharedModel *header, char *at, TermModel *model)
{
	Size		offset = MAXALIGN(sizeof(SharedModel));
	Size		n = header->nterms;

#define PLACE(field, size) \
	do { (field) = (void *) (at + offset); offset = add_size(offset, MAXALIGN(size)); } while (0)
	PLACE(model->terms.offsets, sizeof(uint64) * (n + 1));
	PLACE(model->terms.hashes, sizeof(uint32) * n);
	PLACE(model->terms.buckets, sizeof(uint32) * ((Size) header->mask + 1));
	PLACE(model->df, sizeof(uint32) * n);
	PLACE(model->idf, sizeof(double) * n);
	PLACE(model->terms.bytes, header->nbytes);
#undef PLACE
	return offset;
}

/* A model whose arrays are in shared bytes, in the current memory context. */
static TermModel *
model_of(dsm_segment *segment)
{
	const SharedModel *header = dsm_segment_address(segment);
	TermModel  *model = palloc0(sizeof(TermModel));

	model->ndocs = header->ndocs;
	model->length = header->length;
	model->fits = header->fits;
	model->terms.nterms = model->terms.max_terms = header->nterms;
	model->terms.max_bytes = header->nbytes;
	model->terms.mask = header->mask;
	(void) place_arrays(header, dsm_segment_address(segment), model);
	return model;
}

/* Shared bytes with a model in them, or NULL where there is no room. */
static dsm_segment *
copy_of(const TermModel *model)
{
	uint32		n = model->terms.nterms;
	SharedModel header = {
		.ndocs = model->ndocs,.length = model->length,.fits = model->fits,
		.nterms = n,.mask = model->terms.mask,.nbytes = model->terms.offsets[n]
	};
	TermModel	to;
	dsm_segment *segment = jflow_bytes_create(place_arrays(&header, NULL, &to));
	char	   *at;

	if (segment == NULL)
		return NULL;
	at = dsm_segment_address(segment);
	memcpy(at, &header, sizeof(header));
	(void) place_arrays(&header, at, &to);
	memcpy(to.terms.offsets, model->terms.offsets, sizeof(uint64) * ((Size) n + 1));
	memcpy(to.terms.hashes, model->terms.hashes, sizeof(uint32) * (Size) n);
	memcpy(to.terms.buckets, model->terms.buckets, sizeof(uint32) * ((Size) header.mask + 1));
	memcpy(to.df, model->df, sizeof(uint32) * (Size) n);
	memcpy(to.idf, model->idf, sizeof(double) * (Size) n);
	memcpy(to.terms.bytes, model->terms.bytes, header.nbytes);
	return segment;
}

/* Options that a model in memory depends on, beside the fit. */
uint32
term_model_variant(const TermOptions *options)
{
	return (uint32) options->weighting << 1 | (options->smooth_idf ? 1 : 0);
}

/*
 * The model under a key, in the current memory context: that of another process, or
 * what "read" returns, which is shared then.  *segment is what to detach with it,
 * NULL where the model is the caller's alone.
 */
TermModel *
term_model_share(const JflowBytesKey *key, TermModelReader read, void *arg, dsm_segment **segment)
{
	TermModel  *model;

	*segment = jflow_bytes_attach(key);
	if (*segment == NULL)
	{
		jflow_bytes_lock(key);
		*segment = jflow_bytes_attach(key);
		if (*segment == NULL)
		{
			MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "jflow term model",
														  ALLOCSET_DEFAULT_SIZES);
			MemoryContext old = MemoryContextSwitchTo(context);

			model = read(arg);
			MemoryContextSwitchTo(old);
			*segment = copy_of(model);
			if (*segment == NULL)
			{
				jflow_bytes_unlock(key);
				return model;
			}
			jflow_bytes_publish(*segment, key);
			MemoryContextDelete(context);
		}
		jflow_bytes_unlock(key);
	}
	return model_of(*segment);
}
