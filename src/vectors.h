/*
 * vectors.h
 *		pgvector's types, known by OID.
 */
#ifndef JFLOW_VECTORS_H
#define JFLOW_VECTORS_H

/* InvalidOid where the installed pgvector has no such type. */
typedef struct JflowVectorTypes
{
	Oid			vector;
	Oid			halfvec;
	Oid			sparsevec;
} JflowVectorTypes;

extern const JflowVectorTypes *jflow_vector_types(void);

#endif							/* JFLOW_VECTORS_H */
