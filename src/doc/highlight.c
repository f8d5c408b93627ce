/*
 * highlight.c
 *		The words of a query, marked in the texts of its matches, by the server's
 *		ts_headline.
 *
 * Any of the query's lexemes is marked: a match need not have all of them.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "tsearch/ts_type.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/regproc.h"

#include "common/json.h"
#include "compat.h"
#include "doc/highlight.h"

/*
 * Each word of a text is compared with each lexeme of the query, fragments are
 * looked for in a time that grows with the square of the text, all without a look
 * whether somebody has cancelled, and the marks stand at each word.  So no more of
 * all that is used than a reader could see.
 */
#define MAX_LEXEMES 500
#define MAX_BYTES 100000		/* of a query or text */
#define MAX_OPTIONS 1000		/* bytes */

#define DEFAULT_CONFIG "pg_catalog.simple"

/*
 * Read the parameter "highlight": true, or options of ts_headline.  Raises
 * invalid_parameter_value.
 */
void
jflow_highlight_read(Jsonb *parameters, JflowHighlight *highlight)
{
	JsonbValue	buffer;
	JsonbValue *value = jflow_json_get(parameters, "highlight", &buffer);

	memset(highlight, 0, sizeof(*highlight));
	if (value == NULL || value->type == jbvNull)
		return;
	if (value->type == jbvBool)
		highlight->wanted = value->val.boolean;
	else if (value->type == jbvString)
	{
		highlight->wanted = true;
		if (value->val.string.len > MAX_OPTIONS)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("parameter \"highlight\" must have at most %d bytes", MAX_OPTIONS)));
		highlight->options = CStringGetTextDatum(jflow_json_string(value));
	}
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("parameter \"highlight\" must be a boolean, or a string of options of ts_headline")));
}

/*
 * Cut texts by a configuration, whose qualified name may be NULL: then by words as
 * they are.  Raises undefined_object if it is gone.
 */
void
jflow_highlight_config(JflowHighlight *highlight, const char *config)
{
	highlight->config = get_ts_config_oid(stringToQualifiedNameListCompat(config ? config : DEFAULT_CONFIG),
										  false);
}

/* A query for any of the lexemes of a vector; 0 if it has none. */
static Datum
any_of(TSVector vector)
{
	const WordEntry *entries = ARRPTR(vector);
	StringInfoData query;

	if (vector->size == 0)
		return (Datum) 0;
	initStringInfo(&query);
	for (int i = 0; i < Min(vector->size, MAX_LEXEMES); i++)
	{
		const char *lexeme = STRPTR(vector) + entries[i].pos;

		appendStringInfoString(&query, i > 0 ? " | '" : "'");
		for (int j = 0; j < entries[i].len; j++)
		{
			if (lexeme[j] == '\'' || lexeme[j] == '\\')
				appendStringInfoChar(&query, lexeme[j]);
			appendStringInfoChar(&query, lexeme[j]);
		}
		appendStringInfoChar(&query, '\'');
	}
	return DirectFunctionCall1(tsqueryin, CStringGetDatum(query.data));
}

/* The beginning of a text that is looked at. */
static Datum
beginning_of(Datum value)
{
	text	   *t = DatumGetTextPP(value);
	int			len = VARSIZE_ANY_EXHDR(t);

	if (len <= MAX_BYTES)
		return PointerGetDatum(t);
	len = pg_mbcliplen(VARDATA_ANY(t), len, MAX_BYTES);
	return PointerGetDatum(cstring_to_text_with_len(VARDATA_ANY(t), len));
}

/* Take the words of a document to search with. */
void
jflow_highlight_query(JflowHighlight *highlight, const JflowDoc *doc)
{
	highlight->query = (Datum) 0;
	if (doc->nulls[DOC_TEXT])
		return;
	highlight->query = any_of(DatumGetTSVector(DirectFunctionCall2(to_tsvector_byid,
																   ObjectIdGetDatum(highlight->config),
																   beginning_of(doc->values[DOC_TEXT]))));
}

/* Add the marked text to the tags of a match that has a text. */
void
jflow_highlight_match(const JflowHighlight *highlight, JflowMatch *match)
{
	JsonbInState state = {0};
	Datum		shown;
	Datum		headline;
	Datum		tags;

	if (match->nulls[MATCH_TEXT] || highlight->query == (Datum) 0)
		return;
	CHECK_FOR_INTERRUPTS();
	shown = beginning_of(match->values[MATCH_TEXT]);
	if (highlight->options)
		headline = DirectFunctionCall4(ts_headline_byid_opt, ObjectIdGetDatum(highlight->config),
									   shown, highlight->query, highlight->options);
	else
		headline = DirectFunctionCall3(ts_headline_byid, ObjectIdGetDatum(highlight->config),
									   shown, highlight->query);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	jflow_json_push_string(&state, JFLOW_HIGHLIGHT_TAG, TextDatumGetCString(headline));
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	tags = JsonbPGetDatum(JsonbValueToJsonb(state.result));
	if (!match->nulls[MATCH_TAGS] && JB_ROOT_IS_OBJECT(DatumGetJsonbP(match->values[MATCH_TAGS])))
		tags = DirectFunctionCall2(jsonb_concat, match->values[MATCH_TAGS], tags);
	match->values[MATCH_TAGS] = tags;
	match->nulls[MATCH_TAGS] = false;
}
