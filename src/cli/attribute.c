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
}			attributes[] = {
	{"id", false}, {"text", false}, {"blob", false}, {"uri", false}, {"mime_type", false},
	{"tags", true}, {"embedding", true}, {"sparse_embedding", false}, {"parent_id", false},
	{"granularity", true}, {"scores", true}, {"weight", true}, {"matches", true}
};

#define NATTRIBUTES (int) (sizeof(attributes) / sizeof(attributes[0]))

/* The name of the n-th attribute, from 0; NULL behind the last. */
const char *
attribute_name(int n)
{
	return n < NATTRIBUTES ? attributes[n].name : NULL;
}

/* Is this the name of an attribute of documents? */
bool
is_attribute(const char *name)
{
	for (int i = 0; i < NATTRIBUTES; i++)
		if (strcmp(attributes[i].name, name) == 0)
			return true;
	return false;
}

/* Is this the name of an attribute that a string would be wrong for? */
bool
attribute_is_json(const char *name)
{
	for (int i = 0; i < NATTRIBUTES; i++)
		if (strcmp(attributes[i].name, name) == 0)
			return attributes[i].is_json;
	return false;
}
