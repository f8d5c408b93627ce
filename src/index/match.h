/*
 * match.h
 *		Conditions on filter columns that the server does not match itself.
 */
#ifndef INDEX_MATCH_H
#define INDEX_MATCH_H

#include "access/amapi.h"

extern void ix_match_init(void);
extern void ix_match_method(amcostestimate_function method);

#endif							/* INDEX_MATCH_H */
