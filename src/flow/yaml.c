/*
 * yaml.c
 *		jsonb for YAML, by libyaml.
 *
 * libyaml's loader takes time that grows with the square of the number of anchors,
 * and cannot be interrupted.  So its parser is asked for one event after the other,
 * and the tree is built here: in a memory context, open to interrupts, anchors
 * in a hash table.  The parser and the event at hand are freed on every path.
 *
 * Writing out what aliases stand for can blow a small text up without bound, so
 * the number of nodes that are written is limited.
 */
#include "postgres.h"

#include <ctype.h>

#include <yaml.h>

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/numeric.h"

#include "common/json.h"
#include "compat.h"
#include "flow/yaml.h"

#define MAX_ALIASED 100000		/* nodes that aliases may add */
#define MAX_BYTES (16 * 1024 * 1024)
#define MAX_DEPTH 200			/* each level costs libyaml time at each token */
#define MAX_ANCHOR 128			/* bytes, with the one at the end */
#define MAX_DIRECTIVES 32		/* libyaml compares each with all before */

typedef struct YamlNode
{
	yaml_event_type_t type;		/* scalar, or the start of a collection */
	yaml_mark_t mark;
	char	   *string;			/* of a scalar, in UTF-8; may contain nulls */
	size_t		len;
	bool		plain;			/* its type follows from its form */
	bool		open;			/* not read to its end */
	struct YamlNode **items;	/* of a mapping: key, value, key, ... */
	int			nitems;
	int			max_items;
} YamlNode;

typedef struct YamlAnchor
{
	char		name[MAX_ANCHOR];	/* hash key */
	YamlNode   *node;
} YamlAnchor;

/* Reading the text: events into a tree. */
typedef struct YamlReader
{
	yaml_parser_t parser;
	yaml_event_t event;			/* the one at hand; of no type if none */
	HTAB	   *anchors;
	int			nnodes;
	int			depth;
} YamlReader;

/* Writing the tree: nodes into jsonb. */
typedef struct YamlConverter
{
	JsonbInState state;
	int			nnodes;
	int			max_nodes;
} YamlConverter;

/* A pair of a mapping; those of merged mappings come behind its own. */
typedef struct YamlPair
{
	YamlNode   *key;
	YamlNode   *value;
	int			rank;			/* 0: its own; else the lowest wins */
} YamlPair;

typedef struct YamlPairs
{
	YamlPair   *pairs;
	int			npairs;
	int			max_pairs;
	int			rank;
} YamlPairs;

static YamlNode *read_node(YamlReader *reader);
static void convert_node(YamlConverter *converter, const YamlNode *node, JsonbIteratorToken token);

static void JFLOW_NORETURN
yaml_error(const char *message, const yaml_mark_t *mark)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid YAML: %s", message),
			 errdetail("Line %zu, column %zu.", mark->line + 1, mark->column + 1)));
}

/* Read the next event in place of the one at hand. */
static void
next_event(YamlReader *reader)
{
	CHECK_FOR_INTERRUPTS();
	yaml_event_delete(&reader->event);
	if (!yaml_parser_parse(&reader->parser, &reader->event))
	{
		memset(&reader->event, 0, sizeof(reader->event));
		yaml_error(pstrdup(reader->parser.problem ? reader->parser.problem : "out of memory"),
				   &reader->parser.problem_mark);
	}
}

/* A node for the event at hand, known by its anchor from now on. */
static YamlNode *
new_node(YamlReader *reader, const yaml_char_t * anchor)
{
	YamlNode   *node = palloc0(sizeof(YamlNode));

	node->type = reader->event.type;
	node->mark = reader->event.start_mark;
	node->open = true;
	reader->nnodes++;
	if (anchor)
	{
		YamlAnchor *entry;

		if (strlen((const char *) anchor) >= MAX_ANCHOR)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("an anchor of a YAML document is too long"),
					 errdetail("It can have at most %d bytes.", MAX_ANCHOR - 1)));
		entry = hash_search(reader->anchors, anchor, HASH_ENTER, NULL);
		entry->node = node;
	}
	return node;
}

/* What the alias at hand stands for. */
static YamlNode *
read_alias(YamlReader *reader)
{
	const char *name = (const char *) reader->event.data.alias.anchor;
	YamlAnchor *entry = NULL;

	if (strlen(name) < MAX_ANCHOR)
		entry = hash_search(reader->anchors, name, HASH_FIND, NULL);
	if (entry == NULL)
		yaml_error("found undefined alias", &reader->event.start_mark);
	if (entry->node->open)
		yaml_error("an alias stands for what it is in", &reader->event.start_mark);
	reader->nnodes++;
	return entry->node;
}

static YamlNode *
read_scalar(YamlReader *reader)
{
	YamlNode   *node = new_node(reader, reader->event.data.scalar.anchor);
	const char *tag = (const char *) reader->event.data.scalar.tag;

	node->len = reader->event.data.scalar.length;
	node->string = pnstrdup((const char *) reader->event.data.scalar.value, node->len);
	node->plain = reader->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
		!(tag && (strcmp(tag, YAML_STR_TAG) == 0 || strcmp(tag, "!") == 0));
	node->open = false;
	return node;
}

static void
add_item(YamlNode *node, YamlNode *item)
{
	if (node->nitems == node->max_items)
	{
		node->max_items = Max(8, node->max_items * 2);
		node->items = node->items ?
			repalloc(node->items, sizeof(YamlNode *) * node->max_items) :
			palloc(sizeof(YamlNode *) * node->max_items);
	}
	node->items[node->nitems++] = item;
}

/* A sequence or a mapping, up to the event that ends it. */
static YamlNode *
read_collection(YamlReader *reader, const yaml_char_t * anchor, yaml_event_type_t end)
{
	YamlNode   *node = new_node(reader, anchor);

	if (++reader->depth > MAX_DEPTH)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("YAML document is nested too deeply"),
				 errdetail("More than %d levels are not read.", MAX_DEPTH)));
	for (next_event(reader); reader->event.type != end; next_event(reader))
		add_item(node, read_node(reader));
	reader->depth--;
	node->open = false;
	return node;
}

/* The node that the event at hand begins; the event that ends it is at hand then. */
static YamlNode *
read_node(YamlReader *reader)
{
	check_stack_depth();
	switch (reader->event.type)
	{
		case YAML_ALIAS_EVENT:
			return read_alias(reader);
		case YAML_SCALAR_EVENT:
			return read_scalar(reader);
		case YAML_SEQUENCE_START_EVENT:
			return read_collection(reader, reader->event.data.sequence_start.anchor,
								   YAML_SEQUENCE_END_EVENT);
		case YAML_MAPPING_START_EVENT:
			return read_collection(reader, reader->event.data.mapping_start.anchor,
								   YAML_MAPPING_END_EVENT);
		default:
			elog(ERROR, "unexpected YAML event %d", (int) reader->event.type);
	}
}

/* The root of the one document, or NULL if there is none. */
static YamlNode *
read_document(YamlReader *reader)
{
	YamlNode   *root;

	next_event(reader);			/* the stream's start */
	next_event(reader);
	if (reader->event.type != YAML_DOCUMENT_START_EVENT)
		return NULL;
	next_event(reader);
	root = read_node(reader);
	next_event(reader);			/* the document's end */
	next_event(reader);
	if (reader->event.type != YAML_STREAM_END_EVENT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid YAML: more than one document")));
	return root;
}

/* A string in the database's encoding. */
static char *
node_string(const YamlNode *node, int *len)
{
	char	   *string;

	if (memchr(node->string, '\0', node->len))
		yaml_error("a scalar contains a null character", &node->mark);
	string = pg_any_to_server(node->string, node->len, PG_UTF8);
	*len = strlen(string);
	return string;
}

static bool
one_of(const char *string, const char *const *words, int nwords)
{
	for (int i = 0; i < nwords; i++)
		if (strcmp(string, words[i]) == 0)
			return true;
	return false;
}

/* Is it a number of JSON, give or take a plus sign and a bare point? */
static bool
is_number(const char *s)
{
	bool		digits = false;

	if (*s == '-' || *s == '+')
		s++;
	while (isdigit((unsigned char) *s))
		s++, digits = true;
	if (*s == '.')
		s++;
	while (isdigit((unsigned char) *s))
		s++, digits = true;
	if (!digits)
		return false;
	if (*s == 'e' || *s == 'E')
	{
		s++;
		if (*s == '-' || *s == '+')
			s++;
		if (!isdigit((unsigned char) *s))
			return false;
		while (isdigit((unsigned char) *s))
			s++;
	}
	return *s == '\0';
}

/*
 * A scalar's type follows from its form, by the core schema of YAML 1.2, unless
 * it is quoted or tagged as a string.
 */
static void
convert_scalar(const YamlNode *node, JsonbValue *value)
{
	static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
	static const char *const trues[] = {"true", "True", "TRUE"};
	static const char *const falses[] = {"false", "False", "FALSE"};
	int			len;
	char	   *string = node_string(node, &len);

	value->type = jbvString;
	value->val.string.val = string;
	value->val.string.len = len;
	if (!node->plain)
		return;
	if (one_of(string, nulls, lengthof(nulls)))
		value->type = jbvNull;
	else if (one_of(string, trues, lengthof(trues)) || one_of(string, falses, lengthof(falses)))
	{
		value->type = jbvBool;
		value->val.boolean = one_of(string, trues, lengthof(trues));
	}
	else if (is_number(string))
	{
		value->type = jbvNumeric;
		value->val.numeric = DatumGetNumeric(DirectFunctionCall3(numeric_in,
																 CStringGetDatum(string),
																 ObjectIdGetDatum(InvalidOid),
																 Int32GetDatum(-1)));
	}
}

/*
 * Order of pairs by key, then by rank.  Sorting a large mapping is open to
 * interrupts, too.
 */
static int
pair_order(const void *a, const void *b)
{
	const YamlPair *pa = a;
	const YamlPair *pb = b;
	int			order = memcmp(pa->key->string, pb->key->string,
							   Min(pa->key->len, pb->key->len));

	CHECK_FOR_INTERRUPTS();
	if (order == 0)
		order = (pa->key->len > pb->key->len) - (pa->key->len < pb->key->len);
	return order != 0 ? order : pa->rank - pb->rank;
}

static void
count_node(YamlConverter *converter)
{
	if (++converter->nnodes > converter->max_nodes)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("YAML document is too large"),
				 errdetail("Its aliases stand for more than %d nodes.", MAX_ALIASED)));
}

/* Is it the key "<<", whose value is one mapping or several to be merged? */
static bool
is_merge_key(const YamlNode *key)
{
	return key->plain && key->len == 2 && memcmp(key->string, "<<", 2) == 0;
}

/*
 * Collect the pairs of a mapping and of those that it merges, the nearer first:
 * a mapping's own keys hold before merged ones, and of several merged mappings
 * the first that has a key.
 */
static void
collect_pairs(YamlConverter *converter, const YamlNode *mapping, YamlPairs *pairs)
{
	int			rank = pairs->rank;

	check_stack_depth();
	for (int i = 0; i < mapping->nitems; i += 2)
	{
		YamlNode   *key = mapping->items[i];

		CHECK_FOR_INTERRUPTS();
		if (key->type != YAML_SCALAR_EVENT)
			yaml_error("a key must be a scalar", &key->mark);
		if (is_merge_key(key))
			continue;
		if (rank > 0)
			count_node(converter);
		if (pairs->npairs == pairs->max_pairs)
		{
			pairs->max_pairs = Max(16, pairs->max_pairs * 2);
			pairs->pairs = pairs->pairs ?
				repalloc(pairs->pairs, sizeof(YamlPair) * pairs->max_pairs) :
				palloc(sizeof(YamlPair) * pairs->max_pairs);
		}
		pairs->pairs[pairs->npairs++] = (YamlPair)
		{
			key, mapping->items[i + 1], rank
		};
	}
	for (int i = 0; i < mapping->nitems; i += 2)
	{
		YamlNode   *value = mapping->items[i + 1];
		bool		several = value->type == YAML_SEQUENCE_START_EVENT;

		if (!is_merge_key(mapping->items[i]))
			continue;
		for (int j = 0; j < (several ? value->nitems : 1); j++)
		{
			YamlNode   *merged = several ? value->items[j] : value;

			if (merged->type != YAML_MAPPING_START_EVENT)
				yaml_error("a merge key needs a mapping, or a sequence of mappings",
						   &merged->mark);
			count_node(converter);
			pairs->rank++;
			collect_pairs(converter, merged, pairs);
		}
	}
}

static void
convert_mapping(YamlConverter *converter, const YamlNode *node)
{
	YamlPairs	pairs = {0};

	collect_pairs(converter, node, &pairs);
	if (pairs.npairs > 1)
		qsort(pairs.pairs, pairs.npairs, sizeof(YamlPair), pair_order);
	pushJsonbValue(&converter->state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < pairs.npairs; i++)
	{
		const YamlPair *pair = &pairs.pairs[i];
		const YamlPair *before = i > 0 ? pair - 1 : NULL;
		JsonbValue	key;

		if (before && before->key->len == pair->key->len &&
			memcmp(before->key->string, pair->key->string, pair->key->len) == 0)
		{
			if (before->rank == pair->rank)
				yaml_error("a key is there twice", &Max(before->key, pair->key)->mark);
			continue;
		}
		key.type = jbvString;
		key.val.string.val = node_string(pair->key, &key.val.string.len);
		pushJsonbValue(&converter->state, WJB_KEY, &key);
		convert_node(converter, pair->value, WJB_VALUE);
	}
	if (pairs.pairs)
		pfree(pairs.pairs);
	pushJsonbValue(&converter->state, WJB_END_OBJECT, NULL);
}

static void
convert_sequence(YamlConverter *converter, const YamlNode *node)
{
	pushJsonbValue(&converter->state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < node->nitems; i++)
		convert_node(converter, node->items[i], WJB_ELEM);
	pushJsonbValue(&converter->state, WJB_END_ARRAY, NULL);
}

static void
convert_node(YamlConverter *converter, const YamlNode *node, JsonbIteratorToken token)
{
	JsonbValue	value;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	count_node(converter);
	switch (node->type)
	{
		case YAML_MAPPING_START_EVENT:
			convert_mapping(converter, node);
			break;
		case YAML_SEQUENCE_START_EVENT:
			convert_sequence(converter, node);
			break;
		default:
			convert_scalar(node, &value);
			pushJsonbValue(&converter->state, token, &value);
	}
}

/* Read a text into a tree; *nnodes says how many nodes it has, aliases counted as one. */
static YamlNode *
read_text(const char *utf8, int *nnodes)
{
	YamlReader *reader = palloc0(sizeof(YamlReader));
	YamlNode   *volatile root = NULL;
	HASHCTL		ctl;

	ctl.keysize = MAX_ANCHOR;
	ctl.entrysize = sizeof(YamlAnchor);
	ctl.hcxt = CurrentMemoryContext;
	reader->anchors = hash_create("jflow YAML anchors", 64, &ctl,
								  HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	if (!yaml_parser_initialize(&reader->parser))
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	PG_TRY();
	{
		yaml_parser_set_encoding(&reader->parser, YAML_UTF8_ENCODING);
		yaml_parser_set_input_string(&reader->parser, (const unsigned char *) utf8, strlen(utf8));
		root = read_document(reader);
	}
	PG_FINALLY();
	{
		yaml_event_delete(&reader->event);
		yaml_parser_delete(&reader->parser);
	}
	PG_END_TRY();
	*nnodes = reader->nnodes;
	hash_destroy(reader->anchors);
	return root;
}

/*
 * Raise program_limit_exceeded for a text that begins with very many directives.
 * They are read in one go, with the first event.
 */
static void
check_directives(const char *utf8)
{
	int			n = 0;

	for (const char *line = utf8; *line;)
	{
		const char *end = line + strcspn(line, "\r\n");

		CHECK_FOR_INTERRUPTS();
		if (*line == '%' && ++n > MAX_DIRECTIVES)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("YAML document has too many directives"),
					 errdetail("More than %d are not read.", MAX_DIRECTIVES)));
		if (*line != '%' && line[strspn(line, " \t")] != '#' && line + strspn(line, " \t") != end)
			return;
		line = end + (*end != '\0');
	}
}

/*
 * The one document of a YAML text, as jsonb.  Raises invalid_parameter_value,
 * with line and column, if it is none, and program_limit_exceeded beyond the
 * limits above.
 */
Jsonb *
jflow_yaml_to_jsonb(const char *yaml, int len)
{
	YamlConverter converter = {0};
	const char *utf8;
	YamlNode   *root;

	if (len > MAX_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("YAML document is too large"),
				 errdetail("It has %d bytes, but only %d are read.", len, MAX_BYTES)));
	utf8 = pg_server_to_any(pnstrdup(yaml, len), len, PG_UTF8);
	if (strncmp(utf8, "\xEF\xBB\xBF", 3) == 0)
		utf8 += 3;				/* a byte order mark */

	check_directives(utf8);
	root = read_text(utf8, &converter.max_nodes);
	if (root == NULL || root->type == YAML_SCALAR_EVENT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid YAML: a mapping is expected")));
	converter.max_nodes += MAX_ALIASED;
	convert_node(&converter, root, WJB_VALUE);
	return JsonbValueToJsonb(converter.state.result);
}
