/*
 * doc.h
 *		The document: the composite type jflow_doc as a C struct.
 *
 * Documents travel between executors as one datum, a jflow_doc[].  Code that
 * looks into them deforms that datum into an array of JflowDoc, whose values
 * point into it, and forms a new datum from what it changed.
 */
#ifndef JFLOW_DOC_H
#define JFLOW_DOC_H

#include "access/tupdesc.h"
#include "utils/array.h"
#include "utils/jsonb.h"

#include "compat.h"

/* Attributes of jflow_doc, in the order of the SQL type. */
typedef enum JflowDocAttr
{
	DOC_ID,
	DOC_TEXT,
	DOC_BLOB,
	DOC_URI,
	DOC_MIME_TYPE,
	DOC_TAGS,
	DOC_EMBEDDING,
	DOC_SPARSE_EMBEDDING,
	DOC_PARENT_ID,
	DOC_GRANULARITY,
	DOC_SCORES,
	DOC_WEIGHT,
	DOC_MATCHES,
	DOC_NATTS
} JflowDocAttr;

/* Attributes of jflow_match, in the order of the SQL type. */
typedef enum JflowMatchAttr
{
	MATCH_ID,
	MATCH_SCORE,
	MATCH_TEXT,
	MATCH_URI,
	MATCH_TAGS,
	MATCH_NATTS
} JflowMatchAttr;

typedef struct JflowDoc
{
	Datum		values[DOC_NATTS];
	bool		nulls[DOC_NATTS];
} JflowDoc;

typedef struct JflowMatch
{
	Datum		values[MATCH_NATTS];
	bool		nulls[MATCH_NATTS];
} JflowMatch;

typedef struct JflowDocs
{
	int			ndocs;
	JflowDoc   *docs;
} JflowDocs;

/* Type OIDs of the installed extension; see jflow_types(). */
typedef struct JflowTypes
{
	Oid			extension;		/* pg_extension.oid of jflow */
	Oid			schema;			/* schema of the user-visible objects */
	Oid			doc;
	Oid			doc_array;
	Oid			match;
	Oid			match_array;
	Oid			atttype[DOC_NATTS]; /* attribute types of jflow_doc */
} JflowTypes;

extern const JflowTypes *jflow_types(void);
extern const char *jflow_doc_attr_name(JflowDocAttr attr);
extern int	jflow_doc_attr_by_name(const char *name);

extern JflowDocs *jflow_docs_deform(Datum array, const char *what);
extern Datum jflow_docs_form(const JflowDocs *docs);
extern Datum jflow_docs_empty(void);
extern Datum jflow_docs_from_datums(Datum *elems, int n);
extern int	jflow_docs_to_datums(Datum array, const char *what, Datum **elems);
extern Datum jflow_docs_complete(Datum array, const char *what);
extern int	jflow_docs_count(Datum array);
extern void jflow_doc_init(JflowDoc *doc);
extern Datum jflow_doc_form(const JflowDoc *doc);
extern void jflow_doc_deform(Datum datum, JflowDoc *doc);

extern int	jflow_matches_deform(Datum array, JflowMatch **matches);
extern Datum jflow_matches_form(const JflowMatch *matches, int nmatches);

extern void jflow_match_deform(Datum datum, JflowMatch *match);
extern Datum jflow_match_form(const JflowMatch *match);

extern const char *jflow_to_utf8(const char *string, Size *len);

/* suggest.c */
extern const char *jflow_suggest(const char *word, const char *const *candidates,
								 int ncandidates);

/* doc_json.c */
extern Jsonb *jflow_doc_to_jsonb(const JflowDoc *doc);
extern void jflow_doc_from_jsonb(JsonbContainer *object, JflowDoc *doc);
extern Jsonb *jflow_docs_to_jsonb(const JflowDocs *docs);
extern Jsonb *jflow_matches_to_jsonb(const JflowDocs *docs);
extern JflowDocs *jflow_docs_from_jsonb(Jsonb *json);

/* doc_scan.c */
extern JflowDocs *jflow_docs_from_json(const text *json);

#endif							/* JFLOW_DOC_H */
