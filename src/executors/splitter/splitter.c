/*
 * splitter.c
 *		TextSplitter: documents become chunks of their texts.
 *
 * A chunk is as long as it may be, and ends behind the separator that comes first
 * in the options among those in its second half; where there is none, at its full
 * length.  The next begins "overlap" before, behind the first white space there.
 * White space at a chunk's ends is not of it.
 */
#include "postgres.h"

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

#include "common/json.h"
#include "compat.h"
#include "executors/splitter/splitter.h"

#define MAX_SIZE 1000000
#define MAX_SEPARATORS 64
#define MAX_CHUNKS 1000000		/* of a request */

PG_FUNCTION_INFO_V1(jflow_split);

typedef struct Options
{
	int			size;
	int			overlap;		/* -1: not given */
	bool		words;			/* are counted, and not characters */
	char	  **separators;
	int			nseparators;
} Options;

static const char *const option_names[] = {"overlap", "separators", "size", "unit"};

/* A place in a text. */
typedef struct Place
{
	const char *at;
	int			chars;			/* before it */
} Place;

/* Chunks in the making. */
typedef struct Chunks
{
	JflowDoc   *docs;
	int			n;
	int			room;
	Size		bytes;			/* of what they all have beside their texts */
} Chunks;

static void JFLOW_NORETURN
wrong_value(const char *name, const char *expected)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("option \"%s\" must be %s", name, expected)));
}

static int
read_int(const char *name, const JsonbValue *value, int min, int max)
{
	bool		error = value->type != jbvNumeric;
	int			result = error ? 0 : numeric_int4_compat(value->val.numeric, &error);

	if (error || result < min || result > max)
		wrong_value(name, psprintf("a number from %d to %d", min, max));
	return result;
}

static void
read_option(void *arg, const char *name, JsonbValue *value)
{
	Options    *options = arg;
	const char *suggestion;

	if (strcmp(name, "size") == 0)
		options->size = read_int(name, value, 1, MAX_SIZE);
	else if (strcmp(name, "overlap") == 0)
		options->overlap = read_int(name, value, 0, MAX_SIZE);
	else if (strcmp(name, "unit") == 0)
	{
		char	   *unit = value->type == jbvString ? jflow_json_string(value) : "";

		if (strcmp(unit, "chars") != 0 && strcmp(unit, "words") != 0)
			wrong_value(name, "\"chars\" or \"words\"");
		options->words = strcmp(unit, "words") == 0;
	}
	else if (strcmp(name, "separators") == 0)
	{
		options->separators = jflow_json_strings(value, &options->nseparators);
		if (options->separators == NULL || options->nseparators > MAX_SEPARATORS)
			wrong_value(name, psprintf("an array of at most %d strings", MAX_SEPARATORS));
		for (int i = 0; i < options->nseparators; i++)
			if (options->separators[i][0] == '\0')
				wrong_value(name, "an array of strings that are not empty");
	}
	else
	{
		suggestion = jflow_suggest(name, option_names, lengthof(option_names));
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown option \"%s\" of " SPLITTER_CLASS, name),
				 suggestion ? errhint("Did you mean \"%s\"?", suggestion) : 0));
	}
}

/* Raises invalid_parameter_value for what cannot be an option's value. */
static void
read_options(Jsonb *uses_with, Options *options)
{
	static char *default_separators[] = {"\n\n", "\n", ". ", " "};

	memset(options, 0, sizeof(*options));
	options->size = 800;
	options->overlap = -1;
	options->separators = default_separators;
	options->nseparators = lengthof(default_separators);
	jflow_json_each(&uses_with->root, read_option, options);
	if (options->overlap < 0)
		options->overlap = Min(100, options->size / 8);
	if (options->overlap > options->size / 2)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"overlap\" must be at most half of option \"size\"")));
}

/* For jflow_add. */
static void
check_options(Jsonb *uses_with)
{
	Options		options;

	read_options(uses_with, &options);
}

static bool
is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The next character. */
static void
step(Place *place)
{
	place->at += pg_mblen(place->at);
	place->chars++;
}

/* Go on over so many characters or words, and the space before each word. */
static void
advance(Place *place, const char *end, int n, bool words)
{
	while (place->at < end && n > 0)
	{
		if (words)
		{
			while (place->at < end && is_space(*place->at))
				step(place);
			while (place->at < end && !is_space(*place->at))
				step(place);
		}
		else
			step(place);
		n--;
	}
}

static void
skip_space(Place *place, const char *end)
{
	while (place->at < end && is_space(*place->at))
		step(place);
}

/*
 * Behind the last of the best separator between two places; "limit" where there is
 * none.
 */
static Place
cut_before(const Options *options, Place from, Place limit)
{
	Place		best = limit;
	int			best_number = options->nseparators;

	for (Place place = from; place.at < limit.at; step(&place))
	{
		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i <= best_number && i < options->nseparators; i++)
		{
			size_t		len = strlen(options->separators[i]);

			if ((size_t) (limit.at - place.at) < len ||
				memcmp(place.at, options->separators[i], len) != 0)
				continue;
			best = place;
			for (const char *behind = place.at + len; best.at < behind;)
				step(&best);
			best_number = i;
			break;
		}
	}
	return best;
}

/*
 * Where the chunk after one begins: "overlap" before its end, but not within a
 * word if there is white space.
 */
static Place
next_begin(const Options *options, Place begin, Place end)
{
	Place	   *back = palloc(sizeof(Place) * (options->overlap + 1));
	Place		place = begin;
	Place		result = end;
	int			n = 0;

	/* the last "overlap" beginnings of what is counted */
	while (options->overlap > 0 && place.at < end.at)
	{
		if (options->words)
			skip_space(&place, end.at);
		back[n++ % options->overlap] = place;
		advance(&place, end.at, 1, options->words);
	}
	if (n > 0)
		result = back[n > options->overlap ? n % options->overlap : 0];
	pfree(back);
	if (n <= options->overlap || options->words)
		return n <= options->overlap ? end : result;
	for (place = result; place.at < end.at; step(&place))
		if (is_space(*place.at))
		{
			skip_space(&place, end.at);
			return place;
		}
	return result;
}

static void
add_chunk(Chunks *chunks, const JflowDoc *parent, Place begin, Place end)
{
	JflowDoc   *doc;

	while (end.at > begin.at && is_space(end.at[-1]))
	{
		end.at--;
		end.chars--;
	}
	if (chunks->n == MAX_CHUNKS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the documents of a request have more than %d chunks", MAX_CHUNKS),
				 errhint("Use a smaller request_size, or a larger size of chunks.")));
	if (chunks->n == chunks->room)
	{
		chunks->room *= 2;
		chunks->docs = repalloc_huge(chunks->docs, sizeof(JflowDoc) * chunks->room);
	}
	doc = &chunks->docs[chunks->n++];
	*doc = *parent;
	doc->values[DOC_TEXT] = PointerGetDatum(cstring_to_text_with_len(begin.at, end.at - begin.at));

	/* until all are known: where it is */
	doc->values[DOC_TAGS] = Int32GetDatum(begin.chars);
	doc->values[DOC_GRANULARITY] = Int32GetDatum(end.chars - begin.chars);
}

/* The tags of a document, and where a chunk is in its text. */
static Datum
chunk_tags(const JflowDoc *parent, int offset, int length, int nchunks)
{
	JsonbInState state = {0};
	Datum		place;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	if (length >= 0)
	{
		jflow_json_push_int(&state, "offset", offset);
		jflow_json_push_int(&state, "length", length);
	}
	jflow_json_push_int(&state, "chunks", nchunks);
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	place = JsonbPGetDatum(JsonbValueToJsonb(state.result));
	if (parent->nulls[DOC_TAGS] || !JB_ROOT_IS_OBJECT(DatumGetJsonbP(parent->values[DOC_TAGS])))
		return place;
	return DirectFunctionCall2(jsonb_concat, parent->values[DOC_TAGS], place);
}

/* What a chunk does not have of its document. */
static const JflowDocAttr left_out[] = {DOC_BLOB, DOC_EMBEDDING, DOC_SPARSE_EMBEDDING, DOC_SCORES, DOC_MATCHES};

/*
 * Raise program_limit_exceeded for chunks that are too large together: each has what
 * its document has beside the text.
 */
static void
count_bytes(Chunks *chunks, const JflowDoc *parent, int nchunks)
{
	bool		counts[DOC_NATTS];
	Size		bytes = 0;

	memset(counts, true, sizeof(counts));
	counts[DOC_TEXT] = false;
	for (int i = 0; i < lengthof(left_out); i++)
		counts[left_out[i]] = false;
	for (int att = 0; att < DOC_NATTS; att++)
		if (counts[att] && !parent->nulls[att] && get_typlen(jflow_types()->atttype[att]) == -1)
			bytes += VARSIZE_ANY(DatumGetPointer(parent->values[att]));
	chunks->bytes += bytes * nchunks;
	if (chunks->bytes > MaxAllocSize)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the chunks of the documents of a request are too large"),
				 errdetail("Each has the tags and the other attributes of its document."),
				 errhint("Use a smaller request_size, or a larger size of chunks.")));
}

/* Finish the chunks of a document, which are the last ones. */
static void
finish_chunks(Chunks *chunks, int first, const JflowDoc *parent)
{
	int			granularity = parent->nulls[DOC_GRANULARITY] ? 0 : DatumGetInt16(parent->values[DOC_GRANULARITY]);
	char	   *id = TextDatumGetCString(parent->values[DOC_ID]);

	count_bytes(chunks, parent, chunks->n - first);
	for (int i = first; i < chunks->n; i++)
	{
		JflowDoc   *doc = &chunks->docs[i];

		CHECK_FOR_INTERRUPTS();
		doc->values[DOC_TAGS] = chunk_tags(parent, DatumGetInt32(doc->values[DOC_TAGS]),
										   DatumGetInt32(doc->values[DOC_GRANULARITY]), chunks->n - first);
		doc->nulls[DOC_TAGS] = false;
		doc->values[DOC_GRANULARITY] = Int16GetDatum(Min(granularity + 1, PG_INT16_MAX));
		doc->nulls[DOC_GRANULARITY] = false;
		doc->values[DOC_ID] = CStringGetTextDatum(psprintf("%s#%d", id, i - first));
		doc->values[DOC_PARENT_ID] = parent->values[DOC_ID];
		doc->nulls[DOC_PARENT_ID] = false;
		for (int k = 0; k < lengthof(left_out); k++)
			doc->nulls[left_out[k]] = true;
	}
}

/* One without words stays, and says that it has no chunks. */
static void
keep_document(Chunks *chunks, const JflowDoc *parent)
{
	Place		nowhere = {"", 0};
	JflowDoc   *doc;

	add_chunk(chunks, parent, nowhere, nowhere);
	doc = &chunks->docs[chunks->n - 1];
	*doc = *parent;
	doc->values[DOC_TAGS] = chunk_tags(parent, 0, -1, 0);
	doc->nulls[DOC_TAGS] = false;
}

static void
split(Chunks *chunks, const Options *options, const JflowDoc *parent)
{
	text	   *t = parent->nulls[DOC_TEXT] ? NULL : DatumGetTextPP(parent->values[DOC_TEXT]);
	Place		begin = {t ? VARDATA_ANY(t) : "", 0};
	const char *end = begin.at + (t ? VARSIZE_ANY_EXHDR(t) : 0);
	int			first = chunks->n;

	skip_space(&begin, end);
	while (begin.at < end)
	{
		Place		middle = begin;
		Place		limit;
		Place		cut;

		CHECK_FOR_INTERRUPTS();
		advance(&middle, end, (options->size + 1) / 2, options->words);
		limit = middle;
		advance(&limit, end, options->size / 2, options->words);
		cut = limit.at < end ? cut_before(options, middle, limit) : limit;
		add_chunk(chunks, parent, begin, cut);
		if (limit.at >= end)
			break;
		begin = next_begin(options, begin, cut);
		skip_space(&begin, end);
	}
	if (chunks->n == first)
		keep_document(chunks, parent);
	else
		finish_chunks(chunks, first, parent);
}

/*
 * jflow.split(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]: the chunks of
 * documents.
 */
Datum
jflow_split(PG_FUNCTION_ARGS)
{
	const JflowContext *context = jflow_context_required();
	JflowDocs  *docs = jflow_docs_deform(PG_GETARG_DATUM(0), "docs");
	JflowDocs	result;
	Chunks		chunks;
	Options		options;

	if (docs->ndocs == 0)
		PG_RETURN_NULL();
	read_options(context->executor->uses_with, &options);
	chunks.n = 0;
	chunks.bytes = 0;
	chunks.room = Max(docs->ndocs * 4, 16);
	chunks.docs = palloc_extended(sizeof(JflowDoc) * chunks.room, MCXT_ALLOC_HUGE);
	for (int i = 0; i < docs->ndocs; i++)
		split(&chunks, &options, &docs->docs[i]);
	result.ndocs = chunks.n;
	result.docs = chunks.docs;
	PG_RETURN_DATUM(jflow_docs_form(&result));
}

const JflowClass splitter_class = {
	.name = SPLITTER_CLASS,
	.check = check_options,
};
