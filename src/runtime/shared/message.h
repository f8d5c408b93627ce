/*
 * message.h
 *		Errors and notices on their way from a replica to a gateway.
 */
#ifndef JFLOW_MESSAGE_H
#define JFLOW_MESSAGE_H

#include "lib/stringinfo.h"

extern void jflow_messages_collect(void);
extern void jflow_messages_reset(void);
extern StringInfo jflow_messages(void);
extern void jflow_messages_add_plans(const char *plans);
extern ErrorData *jflow_messages_read(const char *bytes, Size len, StringInfo plans);

#endif							/* JFLOW_MESSAGE_H */
