/*
 * yaml.c
 *		YAML from and to jsonb, by libyaml.
 *
 * A document is loaded as a whole, since aliases are references to nodes there.
 * Writing them out can blow a small text up without bound, so the number of
 * nodes that are written is limited.  libyaml's objects are freed on every path.
 */
#include "postgres.h"

#include <ctype.h>

#include <yaml.h>

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/numeric.h"

#include "compat.h"
#include "flow/yaml.h"

#define MAX_ALIASED 100000		/* nodes that aliases may add */
#define MAX_BYTES (16 * 1024 * 1024)
#define MAX_DEPTH 1000
#define MAX_SIMPLE_KEY 1000		/* libyaml takes 1024 */

typedef struct Converter
{
	yaml_document_t *document;
	JsonbParseState *state;
	int			nnodes;
	int			max_nodes;
} Converter;

static JsonbValue *convert_node(Converter *converter, yaml_node_t *node, JsonbIteratorToken token);

static void JFLOW_NORETURN
yaml_error(const char *message, const yaml_mark_t *mark)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid YAML: %s", message),
			 errdetail("Line %zu, column %zu.", mark->line + 1, mark->column + 1)));
}

/* A string in the database's encoding. */
static char *
node_string(const yaml_node_t *node, int *len)
{
	char	   *utf8 = pnstrdup((char *) node->data.scalar.value, node->data.scalar.length);
	char	   *string = pg_any_to_server(utf8, strlen(utf8), PG_UTF8);

	if (strlen(utf8) != node->data.scalar.length)
		yaml_error("a scalar contains a null character", &node->start_mark);
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
convert_scalar(yaml_node_t *node, JsonbValue *value)
{
	static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
	static const char *const trues[] = {"true", "True", "TRUE"};
	static const char *const falses[] = {"false", "False", "FALSE"};
	int			len;
	char	   *string = node_string(node, &len);
	bool		plain = node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;

	value->type = jbvString;
	value->val.string.val = string;
	value->val.string.len = len;
	if (!plain)
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

static void
convert_key(yaml_node_t *node, JsonbValue *key)
{
	key->type = jbvString;
	key->val.string.val = node_string(node, &key->val.string.len);
}

static int
key_order(const void *a, const void *b)
{
	const yaml_node_t *ka = *(yaml_node_t *const *) a;
	const yaml_node_t *kb = *(yaml_node_t *const *) b;
	size_t		alen = ka->data.scalar.length;
	size_t		blen = kb->data.scalar.length;
	int			order = memcmp(ka->data.scalar.value, kb->data.scalar.value, Min(alen, blen));

	return order != 0 ? order : (alen > blen) - (alen < blen);
}

/* Raise invalid_parameter_value unless all keys are scalars and distinct. */
static void
check_keys(Converter *converter, const yaml_node_pair_t *pairs, int npairs)
{
	yaml_node_t **keys = palloc(sizeof(yaml_node_t *) * Max(npairs, 1));

	for (int i = 0; i < npairs; i++)
	{
		keys[i] = yaml_document_get_node(converter->document, pairs[i].key);
		if (keys[i] == NULL || keys[i]->type != YAML_SCALAR_NODE)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid YAML: a key must be a scalar")));
	}
	qsort(keys, npairs, sizeof(yaml_node_t *), key_order);
	for (int i = 1; i < npairs; i++)
		if (key_order(&keys[i - 1], &keys[i]) == 0)
			yaml_error("a key is there twice", &Max(keys[i - 1], keys[i])->start_mark);
	pfree(keys);
}

static JsonbValue *
convert_mapping(Converter *converter, yaml_node_t *node)
{
	yaml_node_pair_t *first = node->data.mapping.pairs.start;
	yaml_node_pair_t *end = node->data.mapping.pairs.top;

	check_keys(converter, first, end - first);
	pushJsonbValue(&converter->state, WJB_BEGIN_OBJECT, NULL);
	for (yaml_node_pair_t *pair = first; pair < end; pair++)
	{
		yaml_node_t *key_node = yaml_document_get_node(converter->document, pair->key);
		JsonbValue	key;

		convert_key(key_node, &key);
		pushJsonbValue(&converter->state, WJB_KEY, &key);
		convert_node(converter, yaml_document_get_node(converter->document, pair->value), WJB_VALUE);
	}
	return pushJsonbValue(&converter->state, WJB_END_OBJECT, NULL);
}

static JsonbValue *
convert_sequence(Converter *converter, yaml_node_t *node)
{
	pushJsonbValue(&converter->state, WJB_BEGIN_ARRAY, NULL);
	for (yaml_node_item_t *item = node->data.sequence.items.start;
		 item < node->data.sequence.items.top; item++)
		convert_node(converter, yaml_document_get_node(converter->document, *item), WJB_ELEM);
	return pushJsonbValue(&converter->state, WJB_END_ARRAY, NULL);
}

static JsonbValue *
convert_node(Converter *converter, yaml_node_t *node, JsonbIteratorToken token)
{
	JsonbValue	value;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	if (node == NULL)
		elog(ERROR, "YAML node is missing");
	if (++converter->nnodes > converter->max_nodes)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("YAML document is too large"),
				 errdetail("Its aliases stand for more than %d nodes.", MAX_ALIASED)));
	switch (node->type)
	{
		case YAML_MAPPING_NODE:
			return convert_mapping(converter, node);
		case YAML_SEQUENCE_NODE:
			return convert_sequence(converter, node);
		case YAML_SCALAR_NODE:
			convert_scalar(node, &value);
			return pushJsonbValue(&converter->state, token, &value);
		default:
			elog(ERROR, "unexpected YAML node type %d", (int) node->type);
	}
}

static Jsonb *
convert_document(yaml_document_t *document)
{
	Converter	converter = {document, NULL, 0};
	yaml_node_t *root = yaml_document_get_root_node(document);

	converter.max_nodes = document->nodes.top - document->nodes.start + MAX_ALIASED;

	if (root == NULL || root->type == YAML_SCALAR_NODE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid YAML: a mapping is expected")));
	return JsonbValueToJsonb(convert_node(&converter, root, WJB_VALUE));
}

static void
load_document(yaml_parser_t *parser, yaml_document_t *document)
{
	if (!yaml_parser_load(parser, document))
		yaml_error(pstrdup(parser->problem ? parser->problem : "out of memory"),
				   &parser->problem_mark);
}

/* Raise an error if the parser has another document. */
static void
check_end(yaml_parser_t *parser)
{
	yaml_document_t rest;
	bool		more;

	load_document(parser, &rest);
	more = yaml_document_get_root_node(&rest) != NULL;
	yaml_document_delete(&rest);
	if (more)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid YAML: more than one document")));
}

/* Load and convert the one document of a parser. */
static Jsonb *
parse_document(yaml_parser_t *parser)
{
	yaml_document_t document;
	Jsonb	   *volatile result = NULL;

	load_document(parser, &document);
	PG_TRY();
	{
		result = convert_document(&document);
	}
	PG_FINALLY();
	{
		yaml_document_delete(&document);
	}
	PG_END_TRY();
	check_end(parser);
	return result;
}

/* How much deeper a token leads. */
static int
token_depth(yaml_token_type_t type)
{
	switch (type)
	{
		case YAML_BLOCK_SEQUENCE_START_TOKEN:
		case YAML_BLOCK_MAPPING_START_TOKEN:
		case YAML_FLOW_SEQUENCE_START_TOKEN:
		case YAML_FLOW_MAPPING_START_TOKEN:
			return 1;
		case YAML_BLOCK_END_TOKEN:
		case YAML_FLOW_SEQUENCE_END_TOKEN:
		case YAML_FLOW_MAPPING_END_TOKEN:
			return -1;
		default:
			return 0;
	}
}

/*
 * Raise program_limit_exceeded for a deeply nested text.  libyaml's time grows
 * with the square of the depth, and its loader cannot be interrupted; its
 * scanner can, between two tokens.  What is wrong otherwise is left to the loader.
 */
static Jsonb *
check_depth(yaml_parser_t *scanner)
{
	yaml_token_t token;
	yaml_token_type_t type;
	int			depth = 0;

	do
	{
		CHECK_FOR_INTERRUPTS();
		if (!yaml_parser_scan(scanner, &token))
			break;
		type = token.type;
		depth += token_depth(type);
		yaml_token_delete(&token);
		if (depth > MAX_DEPTH)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("YAML document is nested too deeply"),
					 errdetail("More than %d levels are not read.", MAX_DEPTH)));
	} while (type != YAML_STREAM_END_TOKEN && type != YAML_NO_TOKEN);
	return NULL;
}

/* Run a function over a text with a parser, which is freed on every path. */
static Jsonb *
with_parser(const char *utf8, Jsonb *(*function) (yaml_parser_t *))
{
	yaml_parser_t parser;
	Jsonb	   *volatile result = NULL;

	if (!yaml_parser_initialize(&parser))
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	PG_TRY();
	{
		yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
		yaml_parser_set_input_string(&parser, (const unsigned char *) utf8, strlen(utf8));
		result = function(&parser);
	}
	PG_FINALLY();
	{
		yaml_parser_delete(&parser);
	}
	PG_END_TRY();
	return result;
}

/*
 * The one document of a YAML text, as jsonb.  Raises invalid_parameter_value,
 * with line and column, if it is none, and program_limit_exceeded for a text so
 * long that libyaml, which cannot be interrupted, would take its time.
 */
Jsonb *
jflow_yaml_to_jsonb(const char *yaml, int len)
{
	char	   *text = pnstrdup(yaml, len);
	char	   *utf8 = pg_server_to_any(text, len, PG_UTF8);

	if (len > MAX_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("YAML document is too large"),
				 errdetail("It has %d bytes, but only %d are read.", len, MAX_BYTES)));
	(void) with_parser(utf8, check_depth);
	return with_parser(utf8, parse_document);
}

/*
 * Must a character be escaped in a quoted scalar?  YAML folds all its line
 * breaks there, and refuses what is not printable.
 */
static bool
needs_escape(uint32 c)
{
	return (c >= 0x7F && c <= 0x9F) || c == 0x2028 || c == 0x2029 || c == 0xFEFF ||
		c == 0xFFFE || c == 0xFFFF;
}

/* A quoted scalar, in UTF-8: as in JSON, with the escapes that YAML needs more. */
static char *
quoted(const JsonbValue *value)
{
	StringInfoData json,
				out;
	char	   *string = pnstrdup(value->val.string.val, value->val.string.len);
	const char *end;

	initStringInfo(&json);
	initStringInfo(&out);
	escape_json(&json, pg_server_to_any(string, strlen(string), PG_UTF8));
	end = json.data + json.len;
	for (const char *p = json.data; p < end;)
	{
		int			len = pg_utf_mblen((const unsigned char *) p);
		uint32		c = 0;

		if (len <= end - p && pg_utf8_islegal((const unsigned char *) p, len))
			c = utf8_to_unicode((const unsigned char *) p);
		else
			len = 1;
		if (needs_escape(c))
			appendStringInfo(&out, "\\u%04x", c);
		else
			appendBinaryStringInfo(&out, p, len);
		p += len;
	}
	return out.data;
}

/*
 * YAML for jsonb, in UTF-8.  Empty objects and arrays are written as JSON does,
 * which is YAML, too.
 */
static void
write_scalar(StringInfo out, const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvString:
			appendStringInfoString(out, quoted(value));
			break;
		case jbvNumeric:
			appendStringInfoString(out, DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric))));
			break;
		case jbvBool:
			appendStringInfoString(out, value->val.boolean ? "true" : "false");
			break;
		default:
			appendStringInfoString(out, "null");
	}
}

/* A key, with a question mark in front if it is long. */
static void
write_key(StringInfo out, const JsonbValue *value, int indent)
{
	char	   *key = quoted(value);

	if (strlen(key) <= MAX_SIMPLE_KEY)
		appendStringInfo(out, "%s:", key);
	else
	{
		appendStringInfo(out, "? %s\n", key);
		appendStringInfoSpaces(out, indent);
		appendStringInfoChar(out, ':');
	}
}

static void
write_container(StringInfo out, JsonbContainer *container, int indent, bool inline_first)
{
	JsonbIterator *it = JsonbIteratorInit(container);
	JsonbIteratorToken token;
	JsonbValue	value;
	bool		first = inline_first;

	check_stack_depth();
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY || token == WJB_ELEM)
		{
			if (!first)
				appendStringInfoSpaces(out, indent);
			first = false;
		}
		if (token == WJB_KEY)
		{
			write_key(out, &value, indent);
			continue;
		}
		if (token == WJB_ELEM)
			appendStringInfoString(out, "- ");
		else if (token != WJB_VALUE)
			continue;

		if (value.type != jbvBinary)
		{
			if (token == WJB_VALUE)
				appendStringInfoChar(out, ' ');
			write_scalar(out, &value);
			appendStringInfoChar(out, '\n');
		}
		else if (JsonContainerSize(value.val.binary.data) == 0)
			appendStringInfo(out, "%s%s\n", token == WJB_VALUE ? " " : "",
							 JsonContainerIsObject(value.val.binary.data) ? "{}" : "[]");
		else if (token == WJB_ELEM)
			write_container(out, value.val.binary.data, indent + 2, true);
		else
		{
			appendStringInfoChar(out, '\n');
			write_container(out, value.val.binary.data, indent + 2, false);
		}
	}
}

/* A YAML text that jflow_yaml_to_jsonb turns into the same jsonb. */
char *
jflow_jsonb_to_yaml(Jsonb *json)
{
	StringInfoData out;

	initStringInfo(&out);
	write_container(&out, &json->root, 0, false);
	return pg_any_to_server(out.data, out.len, PG_UTF8);
}
