/*
 * attribute.c
 *		The attributes of documents, by name.
 */
#include <string.h>

#include "post.h"

static const struct
{
	const char *name;
	bool		is_json;		/* numbers, arrays and objects; else a string */
}			attributes[NATTRIBUTES] = {
	{"id", false}, {"text", false}, {"blob", false}, {"uri", false}, {"mime_type", false},
	{"tags", true}, {"embedding", true}, {"sparse_embedding", false}, {"parent_id", false},
	{"granularity", true}, {"scores", true}, {"weight", true}, {"matches", true}
};

/* The name of the n-th attribute, from 0; NULL behind the last. */
const char *
attribute_name(int n)
{
	return n < NATTRIBUTES ? attributes[n].name : NULL;
}

/* The number of the attribute of this name, or -1. */
int
attribute_number(const char *name)
{
	for (int i = 0; i < NATTRIBUTES; i++)
		if (strcmp(attributes[i].name, name) == 0)
			return i;
	return -1;
}

/* Is this the name of an attribute of documents? */
bool
is_attribute(const char *name)
{
	return attribute_number(name) >= 0;
}

/* Is this the name of an attribute that a string would be wrong for? */
bool
attribute_is_json(const char *name)
{
	int			n = attribute_number(name);

	return n >= 0 && attributes[n].is_json;
}

/* The attribute that a key or column is, or NULL. */
const char *
attribute_of(const DocumentRules *rules, const char *name)
{
	for (int i = 0; i < rules->nmappings; i++)
		if (strcmp(rules->mappings[i].name, name) == 0)
			return rules->mappings[i].attribute;
	return is_attribute(name) ? name : NULL;
}
