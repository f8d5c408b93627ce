/*
 * fuzz.c
 *		Fuzzing what reads bytes of others, inside of a server.
 *
 * jflow_fuzz(target, options) hands a target to libFuzzer, which runs in the
 * backend itself: errors, memory contexts, types and pages are the server's
 * own.  Each input is a subtransaction that is rolled back.  An input fails if it
 * crashes, takes too long, raises an internal error (XX000), or makes a target
 * call fail().  libFuzzer ends the process when it is done.
 *
 * Built into the library by script/fuzz alone.
 */
#include "postgres.h"

#include <signal.h>

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "catalog/storage.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_func.h"
#include "storage/bufmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "doc/doc.h"
#include "executors/pqlite/pqlite.h"
#include "executors/terms/terms.h"
#include "flow/filter.h"
#include "flow/flow.h"
#include "flow/yaml.h"
#include "pq/pq.h"

extern int	LLVMFuzzerRunDriver(int *argc, char ***argv, int (*callback) (const uint8_t *data, size_t size));

typedef struct Target
{
	const char *name;
	void		(*run) (const uint8_t *data, size_t size);
	bool		damages;		/* so that errors of corruption are right */
	void		(*after) (void);	/* once all locks are released, or NULL */
} Target;

static const Target *target;
static MemoryContext input_context;
static emit_log_hook_type previous_emit_log = NULL;

/* Say what is wrong, and let libFuzzer keep the input. */
static void
fail(const char *what, const char *detail)
{
	fprintf(stderr, "FUZZ %s: %s: %s\n", target->name, what, detail ? detail : "");
	abort();
}

/* A server with assertions warns of memory that was written beyond its end. */
static void
look_at_log(ErrorData *error)
{
	if (error->elevel == WARNING && error->message && strstr(error->message, "problem in alloc set"))
		fail("memory", error->message);
	if (previous_emit_log)
		previous_emit_log(error);
}

/* Bytes that choose. */
typedef struct Choices
{
	const uint8_t *at;
	const uint8_t *end;
} Choices;

static unsigned
choose(Choices *c, unsigned n)
{
	unsigned	value;

	if (c->at >= c->end)
		return 0;
	value = *c->at++;
	if (n > 256 && c->at < c->end)
		value = value << 8 | *c->at++;
	return value % n;
}

/* JSON that the bytes choose, so that every input is one. */
static const char *const words[] = {
	"", "id", "text", "blob", "uri", "mime_type", "tags", "embedding", "sparse_embedding", "parent_id",
	"granularity", "scores", "weight", "matches", "score", "a", "b", "tags.a", "tags.a.b", "tags__a", ".", "a.",
	"$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists", "$regex", "$not", "$and", "$or", "$foo",
	"^a", "(", "[", "a|b", "***=a", "(?i)A", "\\d+", "^(a+)+$", "true", "null", "NaN", "-infinity", "2020-01-01",
	"YQ==", "YQ", "====", "{1:1}/3", "{}/5", "{3:1,1:2}/3", "{1:nan}/2", "{1:1}/1000000001", "[1,2]", "[nan]", "[]",
	"dim", "metric", "field", "columns", "limit", "include", "lists", "subvectors", "bits", "codebook", "table",
	"probes", "recall", "queries", "filter", "offset", "max_distance", "int4", "text[]", "numeric(5,2)", "cosine", "l2", "ip",
	"binary", "dense", "fit", "lowercase", "max_df", "max_features", "min_df", "ngram_range", "norm", "smooth_idf",
	"stop_words", "sublinear_tf", "token_pattern", "use_idf", "vocabulary", "english", "request", "l1",
	"any", "all", "hash", "ANY", "/index", "/search", "*", "public.t", "a\"b", "'", ";--", "\xc3\xa9", "\xf0\x9f\x98\x80"
};
static const char *const numbers[] = {
	"0", "1", "-1", "2", "3", "0.5", "1.5", "0.95", "10", "100", "32767", "32768", "65536", "2147483647", "2147483648", "-2147483648",
	"9223372036854775807", "9223372036854775808", "1e38", "1e39", "-1e308", "1e400", "1e-46", "0.1", "123456789012345678901234567890"
};

static void
set_string(JsonbValue *value, const char *string)
{
	value->type = jbvString;
	value->val.string.val = pstrdup(string);
	value->val.string.len = strlen(string);
}

static void
push_json(Choices *c, JsonbInState *state, JsonbIteratorToken token, int depth)
{
	JsonbValue	value;
	unsigned	kind = choose(c, depth > 0 ? 12 : 8);

	switch (kind)
	{
		case 0:
			value.type = jbvNull;
			pushJsonbValue(state, token, &value);
			break;
		case 1:
		case 2:
			value.type = jbvBool;
			value.val.boolean = kind == 1;
			pushJsonbValue(state, token, &value);
			break;
		case 3:
		case 4:
			value.type = jbvNumeric;
			value.val.numeric = DatumGetNumeric(DirectFunctionCall3(numeric_in,
																	CStringGetDatum(numbers[choose(c, lengthof(numbers))]),
																	ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
			pushJsonbValue(state, token, &value);
			break;
		case 5:
		case 6:
		case 7:
			set_string(&value, words[choose(c, lengthof(words))]);
			pushJsonbValue(state, token, &value);
			break;
		case 8:
		case 9:
			pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
			for (unsigned n = choose(c, 5); n > 0; n--)
				push_json(c, state, WJB_ELEM, depth - 1);
			pushJsonbValue(state, WJB_END_ARRAY, NULL);
			break;
		default:
			pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
			for (unsigned n = choose(c, 5); n > 0; n--)
			{
				set_string(&value, words[choose(c, lengthof(words))]);
				pushJsonbValue(state, WJB_KEY, &value);
				push_json(c, state, WJB_VALUE, depth - 1);
			}
			pushJsonbValue(state, WJB_END_OBJECT, NULL);
			break;
	}
}

/* An object or an array, as callers of the readers have made sure. */
static Jsonb *
json_of(Choices *c, bool array)
{
	JsonbInState state = {0};
	JsonbValue	key;

	pushJsonbValue(&state, array ? WJB_BEGIN_ARRAY : WJB_BEGIN_OBJECT, NULL);
	for (unsigned n = choose(c, 8); n > 0; n--)
	{
		if (!array)
		{
			set_string(&key, words[choose(c, lengthof(words))]);
			pushJsonbValue(&state, WJB_KEY, &key);
		}
		push_json(c, &state, array ? WJB_ELEM : WJB_VALUE, 6);
	}
	pushJsonbValue(&state, array ? WJB_END_ARRAY : WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(state.result);
}

static bool
same_json(Jsonb *a, Jsonb *b)
{
	return compareJsonbContainers(&a->root, &b->root) == 0;
}

static char *
json_text(Jsonb *json)
{
	return JsonbToCString(NULL, &json->root, VARSIZE(json));
}

/* YAML: what was read is written, and read the same again. */
static void
run_yaml(const uint8_t *data, size_t size)
{
	char	   *yaml;
	Jsonb	   *first;

	if (!pg_verify_mbstr(PG_UTF8, (const char *) data, size, true))
		return;
	first = jflow_yaml_to_jsonb((const char *) data, size);
	yaml = jflow_jsonb_to_yaml(first);
	if (!same_json(first, jflow_yaml_to_jsonb(yaml, strlen(yaml))))
		fail("reads otherwise what it wrote", yaml);
}

static Datum
call_text(const char *function, const char *argument, int len)
{
	Oid			types[] = {TEXTOID};
	FmgrInfo	flinfo;

	fmgr_info(LookupFuncName(list_make1(makeString(pstrdup(function))), 1, types, false), &flinfo);
	return FunctionCall1(&flinfo, PointerGetDatum(cstring_to_text_with_len(argument, len)));
}

/* A flow as YAML: loaded, saved, and loaded the same again. */
static void
run_load(const uint8_t *data, size_t size)
{
	text	   *name;
	text	   *saved;
	text	   *again;

	if (!pg_verify_mbstr(PG_UTF8, (const char *) data, size, true))
		return;
	name = DatumGetTextPP(call_text("jflow_load_yaml", (const char *) data, size));
	saved = DatumGetTextPP(call_text("jflow_save_yaml", VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name)));
	SPI_connect();
	SPI_execute(psprintf("SELECT jflow_drop(%s)", quote_literal_cstr(text_to_cstring(name))), false, 0);
	SPI_finish();
	call_text("jflow_load_yaml", VARDATA_ANY(saved), VARSIZE_ANY_EXHDR(saved));
	again = DatumGetTextPP(call_text("jflow_save_yaml", VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name)));
	if (strcmp(text_to_cstring(saved), text_to_cstring(again)) != 0)
		fail("saves otherwise what it loaded", text_to_cstring(saved));
}

/* The filter language. */
static void
run_filter(const uint8_t *data, size_t size)
{
	Choices		c = {data, data + size};
	JflowFilter *filter = jflow_filter_parse(json_of(&c, false), "filter");
	JflowDocs  *docs = jflow_docs_from_jsonb(DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(
																										   "[{}, {\"id\": \"a\", \"text\": \"ab\", \"weight\": 1.5, \"granularity\": 1, \"embedding\": [1, 2],"
																										   " \"tags\": {\"a\": {\"b\": [1, \"a\", null]}, \"b\": true}, \"matches\": [{\"id\": \"m\"}]},"
																										   " {\"id\": \"\", \"tags\": {\"a\": 1e308}, \"scores\": {\"a\": 1}}]"))));

	for (int i = 0; i < docs->ndocs; i++)
		(void) jflow_filter_match(filter, &docs->docs[i]);
}

/* Documents from JSON: what was read is written, and read the same again. */
static void
run_doc(const uint8_t *data, size_t size)
{
	Choices		c = {data, data + size};
	JflowDocs  *docs = jflow_docs_from_jsonb(json_of(&c, choose(&c, 2) == 1));
	Jsonb	   *first = jflow_docs_to_jsonb(docs);
	Datum		datum = jflow_docs_form(docs);
	Jsonb	   *second = jflow_docs_to_jsonb(jflow_docs_deform(datum, "docs"));
	Jsonb	   *third;

	if (!same_json(first, second))
		fail("a datum tells otherwise than the document", json_text(first));
	third = jflow_docs_to_jsonb(jflow_docs_from_jsonb(first));
	if (!same_json(first, third))
		fail("reads otherwise what it wrote", json_text(first));
}

/* uses_with and parameters of the built-in executors. */
static void
run_options(const uint8_t *data, size_t size)
{
	Choices		c = {data, data + size};
	unsigned	kind = choose(&c, 4);
	Jsonb	   *json = json_of(&c, false);
	PqliteParameters parameters;

	switch (kind)
	{
		case 0:
			(void) term_options_read(json, json->root.header & 1 ? TERM_BM25 : TERM_TFIDF);
			break;
		case 1:
			(void) pqlite_options_read(json);
			break;
		case 2:
			pqlite_parameters_read(json, 10, &parameters);
			break;
		default:
			jflow_polling_check(json);
	}
}

static const char *const tfidf_options[] = {
	"{}", "{\"lowercase\": false}", "{\"ngram_range\": [1, 3]}", "{\"ngram_range\": [2, 2], \"stop_words\": \"english\"}",
	"{\"sublinear_tf\": true, \"norm\": \"l1\"}", "{\"stop_words\": [\"a\", \"ab\"], \"binary\": true}"
};

/* Options, to be kept: reading them would take longer than what is read with them. */
static TermOptions *
read_options(const char *json, TermWeighting weighting)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	TermOptions *options = term_options_read(DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json))), weighting);

	MemoryContextSwitchTo(old);
	return options;
}

/* Texts: words, terms, models, and models as they are stored. */
static void
run_words(const uint8_t *data, size_t size)
{
	static TermOptions *known[lengthof(tfidf_options)];
	Choices		c = {data, data + size};
	unsigned	which = choose(&c, lengthof(tfidf_options));
	TermOptions *options = known[which];
	TermStats	stats;
	TermStats	merged;
	TermWords	scratch;
	TermModel *model;
	TermModel *again;

	if (!pg_verify_mbstr(PG_UTF8, (const char *) c.at, c.end - c.at, true))
		return;
	if (options == NULL)
		options = known[which] = read_options(tfidf_options[which], TERM_TFIDF);
	term_words_init(&scratch, options);
	term_stats_init(&stats, options);
	term_stats_add_doc(&stats, &scratch, PointerGetDatum(cstring_to_text_with_len((const char *) c.at, c.end - c.at)));
	term_stats_init(&merged, options);
	term_stats_merge(&merged, term_stats_serialize(&stats));
	model = term_model_make(&merged, NULL);
	again = term_model_deserialize(term_model_serialize(model), options);
	if (again->terms.nterms != model->terms.nterms || again->ndocs != model->ndocs)
		fail("a model is another when it is read", NULL);
}

static bytea *
bytes_of(const uint8_t *data, size_t size)
{
	bytea	   *result = palloc(VARHDRSZ + size);

	SET_VARSIZE(result, VARHDRSZ + size);
	memcpy(VARDATA(result), data, size);
	return result;
}

/* Patch bytes: pairs of an offset and what is put there. */
static void
patch(Choices *c, char *bytes, unsigned size)
{
	static const uint32 extremes[] = {0, 1, 0xffff, 0x7fff, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff, 0x7fc00000, 0x7f800000};

	while (c->at < c->end)
	{
		unsigned	offset = choose(c, 65536) % size;
		unsigned	how = choose(c, 16);

		if (how < lengthof(extremes) && offset + sizeof(uint32) <= size)
			memcpy(bytes + offset, &extremes[how], sizeof(uint32));
		else
			bytes[offset] = choose(c, 256);
	}
}

/*
 * Stored models and parts of models, damaged: refused, or good enough to be
 * written again.
 */
static void
run_model(const uint8_t *data, size_t size)
{
	static bytea *sound_model = NULL;
	static bytea *sound_stats = NULL;
	static TermOptions *options = NULL;
	Choices		c = {data, data + size};
	bool		model = choose(&c, 2) == 0;
	bytea	   *sound_bytes;
	bytea	   *bytes;
	unsigned	length;
	TermStats	stats;

	if (sound_model == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
		TermWords	scratch;

		options = read_options("{}", TERM_BM25);
		term_words_init(&scratch, options);
		term_stats_init(&stats, options);
		term_stats_add_doc(&stats, &scratch, CStringGetTextDatum("one two three four five six seven eight nine ten"));
		sound_stats = term_stats_serialize(&stats);
		sound_model = term_model_serialize(term_model_make(&stats, NULL));
		MemoryContextSwitchTo(old);
	}
	sound_bytes = model ? sound_model : sound_stats;
	length = VARSIZE_ANY_EXHDR(sound_bytes);
	if (choose(&c, 4) == 0)
		length = choose(&c, length);
	bytes = bytes_of((const uint8_t *) VARDATA_ANY(sound_bytes), length);
	if (length > 0)
		patch(&c, VARDATA(bytes), length);
	if (model)
		(void) term_model_serialize(term_model_deserialize(bytes, options));
	else
	{
		term_stats_init(&stats, options);
		term_stats_merge(&stats, bytes);
		(void) term_stats_serialize(&stats);
	}
}

/* A codebook's model, damaged: refused, or good enough to be used. */
static void
run_pqmodel(const uint8_t *data, size_t size)
{
	static PqModel *sound = NULL;
	static float points[256 * 8];
	Choices		c = {data, data + size};
	PqSpace		space = {PQ_TYPE_VECTOR, PQ_METRIC_L2, "vector", "l2"};
	PqTrained  *trained;
	PqModel    *model;
	Size		length;
	int32		list;

	if (sound == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		for (int i = 0; i < lengthof(points); i++)
			points[i] = (i * 7919 % 1000) / 100.0f;
		sound = pq_train(&space, 8, points, 256, 256, 4, 4, 1024 * 1024)->model;
		MemoryContextSwitchTo(old);
	}
	length = choose(&c, 8) == 0 ? choose(&c, 65536) % (sound->size + 64) : sound->size;
	model = palloc0(length + 64);
	memcpy(model, sound, Min(length, sound->size));
	patch(&c, (char *) model, sound->size);
	pq_model_verify(model, length);
	trained = pq_trained_alloc(model);
	pq_fill_centroids(trained);
	if (model->padded <= 8)
		pq_assign(trained, points, 1, &list);
}

/* A relation as it was before anything was damaged. */
typedef struct Kept
{
	const char *name;
	BlockNumber nblocks;		/* 0: not kept yet */
	char	   *pages;
} Kept;

#define NSTATEMENTS 5
#define WRITES 256				/* after which relations are what they were */

/* A table with an index, and what reads the index or writes to it. */
typedef struct Victim
{
	Kept		table;
	Kept		index;
	const char *statements[NSTATEMENTS];
	SPIPlanPtr	plans[NSTATEMENTS];
	int			writes;
} Victim;

#define PQ_VICTIM(t) {{t}, {t "_index"}, { \
		"SELECT pg_catalog.count(*) FROM (SELECT id FROM " t " ORDER BY v OPERATOR(public.<->) '[1,2,3,4,5,6,7,8]' LIMIT 50) x", \
		"SELECT pg_catalog.count(*) FROM (SELECT id FROM " t " WHERE n = 3 ORDER BY v OPERATOR(public.<->) '[1,2,3,4,5,6,7,8]') x", \
		"SELECT jflow_pq_check('" t "_index')", \
		"SELECT jflow_pq_info('" t "_index')", \
		"INSERT INTO " t " (id, n, v) VALUES (0, 1, '[1,2,3,4,5,6,7,8]')"}}
#define INVERTED_VICTIM(t) {{t}, {t "_index"}, { \
		"SELECT pg_catalog.count(*) FROM (SELECT id FROM " t " ORDER BY s OPERATOR(public.<#>) '{1:1,7:2,30:1}/1000' LIMIT 50) x", \
		"SELECT pg_catalog.count(*) FROM (SELECT id FROM " t " ORDER BY s OPERATOR(public.<#>) '{3:1,500:2}/1000') x", \
		"SELECT jflow_inverted_check('" t "_index')", \
		"SELECT jflow_inverted_info('" t "_index')", \
		"INSERT INTO " t " (id, n, s) VALUES (0, 1, '{1:1,7:2,30:1}/1000')"}}

/* Large ones have lists and segments of many pages; small ones are read fast. */
static Victim victims[2][2] = {
	{PQ_VICTIM("fuzz_pq"), INVERTED_VICTIM("fuzz_inverted")},
	{PQ_VICTIM("fuzz_small_pq"), INVERTED_VICTIM("fuzz_small_inverted")}
};
static Victim *victim = NULL;	/* of the input that is being run */
static BlockNumber damaged_block;
static PGAlignedBlock sound;

static Relation
open_kept(const Kept *kept)
{
	return relation_openrv(makeRangeVar("public", pstrdup(kept->name), -1), AccessShareLock);
}

static void
keep_pages(Kept *kept)
{
	Relation	rel = open_kept(kept);

	kept->nblocks = RelationGetNumberOfBlocks(rel);
	kept->pages = MemoryContextAllocHuge(TopMemoryContext, (Size) kept->nblocks * BLCKSZ);
	for (BlockNumber block = 0; block < kept->nblocks; block++)
	{
		Buffer		buffer = ReadBuffer(rel, block);

		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		memcpy(kept->pages + (Size) block * BLCKSZ, BufferGetPage(buffer), BLCKSZ);
		UnlockReleaseBuffer(buffer);
	}
	relation_close(rel, AccessShareLock);
}

/* Make a relation again what it was. */
static void
mend(const Kept *kept)
{
	Relation	rel = open_kept(kept);

	if (RelationGetNumberOfBlocks(rel) > kept->nblocks)
		RelationTruncate(rel, kept->nblocks);
	for (BlockNumber block = 0; block < kept->nblocks; block++)
	{
		const char *sound = kept->pages + (Size) block * BLCKSZ;
		Buffer		buffer = ReadBuffer(rel, block);

		LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
		if (memcmp(BufferGetPage(buffer), sound, BLCKSZ) != 0)
		{
			memcpy(BufferGetPage(buffer), sound, BLCKSZ);
			MarkBufferDirty(buffer);
		}
		UnlockReleaseBuffer(buffer);
	}
	relation_close(rel, AccessShareLock);
}

/* Put the damaged page back. */
static void
mend_page(void)
{
	Relation	index = open_kept(&victim->index);
	Buffer		buffer = ReadBuffer(index, damaged_block);

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	memcpy(BufferGetPage(buffer), sound.data, BLCKSZ);
	MarkBufferDirty(buffer);
	UnlockReleaseBuffer(buffer);
	pq_index_forget(index);
	relation_close(index, AccessShareLock);
}

/* An input has ended: what it has written stays for a while, so that an index grows. */
static void
mend_pages(void)
{
	if (victim == NULL)
		return;
	mend_page();
	if (victim->writes >= WRITES)
	{
		mend(&victim->table);
		mend(&victim->index);
		victim->writes = 0;
	}
	victim = NULL;
}

/* Most statements are planned once: of an index that cannot be planned with, again. */
static void
run_statement(int statement, bool once)
{
	SPIPlanPtr *plan = &victim->plans[statement];

	SPI_connect();
	if (once)
		SPI_execute(victim->statements[statement], false, 0);
	else
	{
		if (*plan == NULL)
		{
			*plan = SPI_prepare(victim->statements[statement], 0, NULL);
			SPI_keepplan(*plan);
		}
		SPI_execute_plan(*plan, NULL, NULL, false, 0);
	}
	SPI_finish();
}

/* Pages of an index, damaged: everything that reads them says so, or answers. */
static void
run_page(const uint8_t *data, size_t size)
{
	Choices		c = {data, data + size};
	int			which = choose(&c, 64);
	int			statement = choose(&c, 8 * NSTATEMENTS);
	BlockNumber block = choose(&c, 65536);
	Victim	   *chosen = &victims[which >= 2][which % 2];
	Relation	index;
	Buffer		buffer;

	if (chosen->index.nblocks == 0)
	{
		keep_pages(&chosen->table);
		keep_pages(&chosen->index);
	}
	index = open_kept(&chosen->index);
	damaged_block = block % RelationGetNumberOfBlocks(index);
	buffer = ReadBuffer(index, damaged_block);
	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	memcpy(sound.data, BufferGetPage(buffer), BLCKSZ);
	victim = chosen;
	chosen->writes += statement % NSTATEMENTS == NSTATEMENTS - 1;
	patch(&c, BufferGetPage(buffer), BLCKSZ);
	UnlockReleaseBuffer(buffer);
	pq_index_forget(index);
	relation_close(index, AccessShareLock);
	run_statement(statement % NSTATEMENTS, statement < NSTATEMENTS);
}

static const Target targets[] = {
	{"yaml", run_yaml, false},
	{"load", run_load, false},
	{"filter", run_filter, false},
	{"doc", run_doc, false},
	{"options", run_options, false},
	{"words", run_words, false},
	{"model", run_model, true},
	{"pqmodel", run_pqmodel, true},
	{"page", run_page, true, mend_pages},
};

static void
look_at_error(void)
{
	ErrorData  *error;
	int			category = ERRCODE_TO_CATEGORY(geterrcode());

	if (category != ERRCODE_INTERNAL_ERROR)
		return;
	if (target->damages && (geterrcode() == ERRCODE_DATA_CORRUPTED || geterrcode() == ERRCODE_INDEX_CORRUPTED))
		return;
	MemoryContextSwitchTo(input_context);
	error = CopyErrorData();
	fail("internal error", psprintf("%s (%s:%d)", error->message, error->filename, error->lineno));
}

static int
run_input(const uint8_t *data, size_t size)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	CHECK_FOR_INTERRUPTS();
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(input_context);
	PG_TRY();
	{
		target->run(data, size);
	}
	PG_CATCH();
	{
		look_at_error();
		FlushErrorState();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	MemoryContextSwitchTo(input_context);
	if (target->after)
		target->after();
	MemoryContextSwitchTo(context);
	MemoryContextReset(input_context);
	return 0;
}

PG_FUNCTION_INFO_V1(jflow_fuzz);

/*
 * jflow_fuzz(target text, options text[]): does not return.
 */
Datum
jflow_fuzz(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Datum	   *options;
	int			noptions;
	int			argc = 1;
	char	  **argv;

	for (int i = 0; i < lengthof(targets); i++)
		if (strcmp(targets[i].name, name) == 0)
			target = &targets[i];
	if (target == NULL)
		elog(ERROR, "there is no target \"%s\"", name);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT, &options, NULL, &noptions);
	argv = palloc0(sizeof(char *) * (noptions + 2));
	argv[0] = name;
	for (int i = 0; i < noptions; i++)
		argv[argc++] = TextDatumGetCString(options[i]);
	input_context = AllocSetContextCreate(TopMemoryContext, "fuzz input", ALLOCSET_DEFAULT_SIZES);
	previous_emit_log = emit_log_hook;
	emit_log_hook = look_at_log;
	/* libFuzzer takes the signals that nobody has */
	pqsignal(SIGALRM, SIG_DFL);
	pqsignal(SIGFPE, SIG_DFL);
	LLVMFuzzerRunDriver(&argc, &argv, run_input);
	PG_RETURN_VOID();
}
