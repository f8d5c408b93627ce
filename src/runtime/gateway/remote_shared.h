/*
 * remote_shared.h
 *		What all requests of a post share, as the post makes it.
 */
#ifndef JFLOW_REMOTE_SHARED_H
#define JFLOW_REMOTE_SHARED_H

#include "runtime/gateway/request.h"

extern dsa_pointer jflow_post_shared_make(JflowPost *post);

#endif							/* JFLOW_REMOTE_SHARED_H */
