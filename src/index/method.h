/*
 * method.h
 *		What the server asks of both index access methods alike.
 */
#ifndef INDEX_METHOD_H
#define INDEX_METHOD_H

#include "access/amapi.h"

extern void ix_method_describe(IndexAmRoutine *am);
extern bool ix_class_validate(Oid opclass, int vector_procs);

#endif							/* INDEX_METHOD_H */
