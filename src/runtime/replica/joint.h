/*
 * joint.h
 *		Requests of several posts that a replica runs as one call.
 */
#ifndef JFLOW_JOINT_H
#define JFLOW_JOINT_H

#include "runtime/shared/pool.h"

typedef struct JflowJoint
{
	int			n;				/* requests; 0: it is not a joint call */
	int		   *slots;
	int		   *counts;			/* documents of each */
	int			ndocs;
	Datum		docs;			/* all of them */
	Datum	   *answers;		/* documents of each, or NULL: as they were
								 * given */
} JflowJoint;

extern void jflow_joint_make(JflowJoint *joint, int replica);
extern int64 jflow_joint_time_left(const JflowSlot *first, int64 grace_ms);
extern void jflow_joint_divide(JflowJoint *joint, Datum answer);
extern void jflow_joint_return(int replica, bool alone);

#endif							/* JFLOW_JOINT_H */
