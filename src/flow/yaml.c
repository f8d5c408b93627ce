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
#include "flow/config.h"

#define MAX_NODES 100000

typedef struct Converter
{
	yaml_document_t *document;
	JsonbParseState *state;
	int			nnodes;
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
	if (node == NULL || node->type != YAML_SCALAR_NODE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid YAML: a key must be a scalar")));
	key->type = jbvString;
	key->val.string.val = node_string(node, &key->val.string.len);
}

static JsonbValue *
convert_mapping(Converter *converter, yaml_node_t *node)
{
	yaml_node_pair_t *first = node->data.mapping.pairs.start;
	yaml_node_pair_t *end = node->data.mapping.pairs.top;

	pushJsonbValue(&converter->state, WJB_BEGIN_OBJECT, NULL);
	for (yaml_node_pair_t *pair = first; pair < end; pair++)
	{
		yaml_node_t *key_node = yaml_document_get_node(converter->document, pair->key);
		JsonbValue	key;

		convert_key(key_node, &key);
		for (yaml_node_pair_t *other = first; other < pair; other++)
		{
			yaml_node_t *other_key = yaml_document_get_node(converter->document, other->key);

			if (other_key->data.scalar.length == key_node->data.scalar.length &&
				memcmp(other_key->data.scalar.value, key_node->data.scalar.value,
					   key_node->data.scalar.length) == 0)
				yaml_error("a key is there twice", &key_node->start_mark);
		}
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
	if (++converter->nnodes > MAX_NODES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("YAML document is too large"),
				 errdetail("With its aliases written out it has more than %d nodes.", MAX_NODES)));
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

/*
 * The one document of a YAML text, as jsonb.  Raises invalid_parameter_value,
 * with line and column, if it is none.
 */
Jsonb *
jflow_yaml_to_jsonb(const char *yaml, int len)
{
	char	   *text = pnstrdup(yaml, len);
	char	   *utf8 = pg_server_to_any(text, len, PG_UTF8);
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
		result = parse_document(&parser);
	}
	PG_FINALLY();
	{
		yaml_parser_delete(&parser);
	}
	PG_END_TRY();
	return result;
}

/*
 * YAML for jsonb.  Strings are written as JSON does, which is YAML, too; so are
 * empty objects and arrays.
 */
static void
write_scalar(StringInfo out, const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvString:
			escape_json(out, pnstrdup(value->val.string.val, value->val.string.len));
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
			escape_json(out, pnstrdup(value.val.string.val, value.val.string.len));
			appendStringInfoChar(out, ':');
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
	return out.data;
}
