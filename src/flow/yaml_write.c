/*
 * yaml_write.c
 *		YAML for jsonb.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/numeric.h"

#include "common/json.h"
#include "compat.h"
#include "flow/yaml.h"

#define MAX_SIMPLE_KEY 1000		/* bytes; libyaml takes 1024 */

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
	char	   *string = jflow_json_string(value);
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
	CHECK_FOR_INTERRUPTS();
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
