/*
 * payload.h
 *		Documents and messages on their way between processes.
 */
#ifndef JFLOW_PAYLOAD_H
#define JFLOW_PAYLOAD_H

#include "utils/dsa.h"

/* What a chunk is counted as; see docs/runtime.md for why. */
typedef enum JflowPayloadClass
{
	PAYLOAD_IN,					/* documents from a gateway */
	PAYLOAD_CHAIN,				/* answers that are the next pool's input */
	PAYLOAD_ANSWER
} JflowPayloadClass;

/*
 * Documents in a chunk: how many parts they are, the parts' sizes, and the
 * flat jflow_doc[].
 */
typedef struct JflowPayload
{
	Size		size;			/* of the chunk */
	JflowPayloadClass class;
	int			share;			/* of PAYLOAD_IN: where it is counted */
	int			nparts;
	int			counts[FLEXIBLE_ARRAY_MEMBER];
} JflowPayload;

extern Size jflow_payload_size(void);
extern Size jflow_payload_max(void);
extern void jflow_payload_request_shmem(void);
extern void jflow_payload_init_shmem(void);
extern bool jflow_payload_has_room(const Size *sizes, int n);
extern dsa_pointer jflow_payload_alloc(Size size, JflowPayloadClass class);
extern void jflow_payload_free(dsa_pointer chunk);
extern bool jflow_payload_set_class(dsa_pointer chunk, JflowPayloadClass class);
extern void *jflow_payload_address(dsa_pointer chunk);
extern void jflow_payload_wake(void);
extern void jflow_payload_want(bool want);

extern dsa_pointer jflow_payload_put_docs(Datum docs, const int *counts, int nparts,
										  JflowPayloadClass class);
extern Size jflow_payload_docs_size(Datum docs, int nparts);
extern Datum jflow_payload_docs(dsa_pointer chunk, const int **counts, int *nparts);
extern dsa_pointer jflow_payload_put_bytes(const char *bytes, Size len);
extern char *jflow_payload_bytes(dsa_pointer chunk, Size *len);

#endif							/* JFLOW_PAYLOAD_H */
