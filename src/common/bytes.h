/*
 * bytes.h
 *		Bytes that the processes of a server share.
 */
#ifndef JFLOW_BYTES_H
#define JFLOW_BYTES_H

#include "storage/dsm.h"

/*
 * What names some bytes.  Whoever makes a key clears all of it first, since keys
 * are compared as bytes.
 */
typedef struct JflowBytesKey
{
	Oid			database;
	uint32		variant;
	int64		version;		/* other bytes, other version */
	char		names[2][NAMEDATALEN];
} JflowBytesKey;

extern void jflow_bytes_request_shmem(void);
extern void jflow_bytes_init_shmem(void);

extern dsm_segment *jflow_bytes_attach(const JflowBytesKey *key);
extern dsm_segment *jflow_bytes_create(Size size);
extern void jflow_bytes_publish(dsm_segment *segment, const JflowBytesKey *key);
extern void jflow_bytes_lock(const JflowBytesKey *key);
extern void jflow_bytes_unlock(const JflowBytesKey *key);

#endif							/* JFLOW_BYTES_H */
