/*
 * document.c
 *		Documents, as JSON objects, of lines, rows and texts.
 *
 * A document without an id gets one that says where it came from, so that posting
 * a file again replaces documents and adds none.
 */
#include <stdlib.h>
#include <string.h>

#include "post.h"

/* Add ,"name": unless it is the first member. */
static void
add_key(StrBuf *out, const char *name)
{
	if (out->len > 0 && out->data[out->len - 1] != '{')
		strbuf_add_char(out, ',');
	json_string(out, name, strlen(name));
	strbuf_add_char(out, ':');
}

/* "path:line", or the path for a whole file. */
static void
add_id(const Reader *reader, const Record *record, StrBuf *out)
{
	char	   *id;

	if (reader->format == FORMAT_TEXT)
		id = copy_string(reader->path);
	else
		id = format_string("%s:%ld", reader->path, record->line);
	add_key(out, "id");
	json_string(out, id, strlen(id));
	free(id);
}

/* Add what is between the braces of a value that is an object or null. */
static const char *
add_inner(StrBuf *tags, const char *value, size_t len, bool utf8)
{
	JsonObject	object = {NULL};
	const char *error;

	if (len == 4 && strncmp(value, "null", 4) == 0)
		return NULL;
	error = json_object(value, len, utf8, &object);
	free(object.members);
	if (error)
		return "tags are no JSON object";
	if (object.nmembers == 0)
		return NULL;
	for (; *value != '{'; value++)
		len--;
	while (value[len - 1] != '}')
		len--;
	if (tags->len > 0)
		strbuf_add_char(tags, ',');
	strbuf_add_bytes(tags, value + 1, len - 2);
	return NULL;
}

static const char *
attribute_of_member(const DocumentRules *rules, const JsonMember *member)
{
	const char *name;

	for (int i = 0; i < rules->nmappings; i++)
		if (strlen(rules->mappings[i].name) == member->key_len &&
			memcmp(rules->mappings[i].name, member->key, member->key_len) == 0)
			return rules->mappings[i].attribute;
	for (int i = 0; (name = attribute_name(i)) != NULL; i++)
		if (json_key_is(member, name))
			return name;
	return NULL;
}

/*
 * Two keys of an object that are one attribute: which of them counted would be a
 * matter of chance.  Returns the error, or NULL.
 */
static const char *
meets_another(Reader *reader, const JsonObject *object)
{
	const JsonMember *first[NATTRIBUTES] = {NULL};

	for (int i = 0; i < object->nmembers; i++)
	{
		const JsonMember *member = &object->members[i];
		const char *attribute = attribute_of_member(reader->rules, member);
		const JsonMember **seen = attribute ? &first[attribute_number(attribute)] : NULL;

		if (seen && *seen && ((*seen)->key_len != member->key_len ||
							  memcmp((*seen)->key, member->key, member->key_len) != 0))
		{
			strbuf_reset(&reader->error);
			strbuf_addf(&reader->error, "its keys \"%.*s\" and \"%.*s\" are both its %s", (int) (*seen)->key_len,
						(*seen)->key, (int) member->key_len, member->key, attribute);
			return reader->error.data;
		}
		if (seen)
			*seen = member;
	}
	return NULL;
}

/* The object written anew, with keys mapped and tags collected. */
static const char *
rebuild(Reader *reader, Record *record, const JsonObject *object)
{
	StrBuf	   *doc = &record->doc;
	StrBuf		tags = {0};
	const char *error = reader->rules->nmappings > 0 ? meets_another(reader, object) : NULL;
	bool		has_id = false;

	strbuf_add_char(doc, '{');
	for (int i = 0; i < object->nmembers && !error; i++)
	{
		const JsonMember *member = &object->members[i];
		const char *attribute = attribute_of_member(reader->rules, member);
		bool		null = member->value_len == 4 && strncmp(member->value, "null", 4) == 0;

		if (attribute && strcmp(attribute, "tags") == 0)
			error = add_inner(&tags, member->value, member->value_len, false);
		else if (attribute && strcmp(attribute, "id") == 0 && null)
			continue;
		else if (attribute || !reader->rules->tags)
		{
			if (doc->len > 1)
				strbuf_add_char(doc, ',');
			strbuf_add_char(doc, '"');
			if (attribute)
				strbuf_add(doc, attribute);
			else
				strbuf_add_bytes(doc, member->key, member->key_len);
			strbuf_add(doc, "\":");
			strbuf_add_bytes(doc, member->value, member->value_len);
			has_id = has_id || (attribute && strcmp(attribute, "id") == 0);
		}
		else
		{
			if (tags.len > 0)
				strbuf_add_char(&tags, ',');
			strbuf_add_bytes(&tags, member->key - 1, member->key_len + 2);
			strbuf_add_char(&tags, ':');
			strbuf_add_bytes(&tags, member->value, member->value_len);
		}
	}
	if (!has_id)
		add_id(reader, record, doc);
	if (tags.len > 0)
	{
		add_key(doc, "tags");
		strbuf_add_char(doc, '{');
		strbuf_add_bytes(doc, tags.data, tags.len);
		strbuf_add_char(doc, '}');
	}
	strbuf_add_char(doc, '}');
	strbuf_free(&tags);
	return error;
}

/* One JSON object as a document.  Returns what is wrong with it, or NULL. */
const char *
document_from_json(Reader *reader, Record *record, const char *text, size_t len)
{
	JsonObject	object = {NULL};
	const char *error = json_object(text, len, reader->rules->utf8, &object);
	const DocumentRules *rules = reader->rules;
	bool		has_id = false;
	bool		null_id = false;

	strbuf_reset(&record->doc);
	for (int i = 0; i < object.nmembers && !error; i++)
		if (json_key_is(&object.members[i], "id"))
		{
			has_id = true;
			null_id = null_id || (object.members[i].value_len == 4 && strncmp(object.members[i].value, "null", 4) == 0);
		}
	if (!error && (rules->nmappings > 0 || rules->tags || null_id))
		error = rebuild(reader, record, &object);
	else if (!error)
	{
		while (*text !='{')
		{
			text	  ++;

			len--;
		}
		if (!has_id)
		{
			strbuf_add_char(&record->doc, '{');
			add_id(reader, record, &record->doc);
			if (object.nmembers > 0)
				strbuf_add_char(&record->doc, ',');
			text	  ++;

			len--;
		}
		strbuf_add_bytes(&record->doc, text, len);
	}
	free(object.members);
	return error;
}

/* Is the cell a number, true or false in JSON? */
static bool
is_plain(const char *cell)
{
	if (strcmp(cell, "true") == 0 || strcmp(cell, "false") == 0)
		return true;
	return (cell[0] == '-' || (cell[0] >= '0' && cell[0] <= '9')) && json_value(cell, strlen(cell), false) == NULL;
}

static void
add_tag(const DocumentRules *rules, StrBuf *tags, const char *name, const char *cell, bool quoted)
{
	if (tags->len > 0)
		strbuf_add_char(tags, ',');
	json_string(tags, name, strlen(name));
	strbuf_add_char(tags, ':');
	if (!quoted && !rules->strings && is_plain(cell))
		strbuf_add(tags, cell);
	else
		json_string(tags, cell, strlen(cell));
}

/* A cell into its attribute; returns why it does not fit, or NULL. */
static const char *
add_cell(Reader *reader, StrBuf *doc, StrBuf *tags, const char *attribute, const char *cell)
{
	size_t		len = strlen(cell);

	if (strcmp(attribute, "tags") == 0)
		return add_inner(tags, cell, len, false);
	if (attribute_is_json(attribute) && json_value(cell, len, false) != NULL)
	{
		strbuf_reset(&reader->error);
		strbuf_addf(&reader->error, "its %s is no JSON", attribute);
		return reader->error.data;
	}
	add_key(doc, attribute);
	if (attribute_is_json(attribute))
		strbuf_add(doc, cell);
	else
		json_string(doc, cell, len);
	return NULL;
}

/*
 * One row of a CSV as a document, by the names of its header.  Returns as
 * document_from_json does.
 */
const char *
document_from_csv(Reader *reader, Record *record, const char *text, size_t len)
{
	const DocumentRules *rules = reader->rules;
	const char *error = rules->utf8 ? utf8_error(text, len) : NULL;
	StrBuf	   *doc = &record->doc;
	StrBuf		tags = {0};
	bool		has_id = false;
	char	  **cells;
	bool	   *quoted;
	int			n;

	strbuf_reset(doc);
	if (!error && memchr(text, '\0', len))
		error = "it has a zero byte";
	if (error)
		return error;
	n = csv_split(reader, text, len, &cells, &quoted);
	if (n != reader->ncolumns)
	{
		strbuf_reset(&reader->error);
		strbuf_addf(&reader->error, "it has %d cells, the header %d", n, reader->ncolumns);
		error = reader->error.data;
	}
	strbuf_add_char(doc, '{');
	for (int i = 0; i < n && !error; i++)
	{
		const char *attribute = attribute_of(rules, reader->columns[i]);

		if (!cells[i][0] && !quoted[i])
			continue;
		if (!attribute)
			add_tag(rules, &tags, reader->columns[i], cells[i], quoted[i]);
		else
		{
			error = add_cell(reader, doc, &tags, attribute, cells[i]);
			has_id = has_id || strcmp(attribute, "id") == 0;
		}
	}
	if (!has_id)
		add_id(reader, record, doc);
	if (tags.len > 0)
	{
		add_key(doc, "tags");
		strbuf_add_char(doc, '{');
		strbuf_add_bytes(doc, tags.data, tags.len);
		strbuf_add_char(doc, '}');
	}
	strbuf_add_char(doc, '}');
	strbuf_free(&tags);
	free(cells);
	free(quoted);
	return error;
}

static const char *
add_text(Reader *reader, Record *record, const char *text, size_t len)
{
	const char *error = reader->rules->utf8 ? utf8_error(text, len) : NULL;

	if (!error && memchr(text, '\0', len))
		error = "it has a zero byte";
	if (error)
		return error;
	add_key(&record->doc, "text");
	json_string(&record->doc, text, len);
	strbuf_add_char(&record->doc, '}');
	return NULL;
}

/* A file is a document, its path the uri. */
const char *
document_from_text(Reader *reader, Record *record, const char *text, size_t len)
{
	strbuf_reset(&record->doc);
	strbuf_add_char(&record->doc, '{');
	add_id(reader, record, &record->doc);
	add_key(&record->doc, "uri");
	json_string(&record->doc, reader->path, strlen(reader->path));
	return add_text(reader, record, text, len);
}

/* One line as the text of a document.  Returns as document_from_json does. */
const char *
document_from_line(Reader *reader, Record *record, const char *text, size_t len)
{
	strbuf_reset(&record->doc);
	strbuf_add_char(&record->doc, '{');
	add_id(reader, record, &record->doc);
	return add_text(reader, record, text, len);
}
