/*
 * reply.h
 *		What a replica has to say to its requests: documents, notices, an error.
 */
#ifndef JFLOW_REPLY_H
#define JFLOW_REPLY_H

#include "runtime/shared/pool.h"

extern void jflow_reply_put(const Datum *answers, int n);
extern void jflow_reply_drop(void);
extern void jflow_reply_hand_over(void);
extern void jflow_reply_error(JflowSlot *slot);

#endif							/* JFLOW_REPLY_H */
