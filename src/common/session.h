/*
 * session.h
 *		What of a session is kept from code of another role that runs in it.
 */
#ifndef JFLOW_SESSION_H
#define JFLOW_SESSION_H

#include "utils/portal.h"

/* A portal of the session, and what it was before the call. */
typedef struct JflowGuardedPortal
{
	Portal		portal;
	MemoryContext context;
	PortalStatus status;
	bool		visible;
} JflowGuardedPortal;

typedef struct JflowSessionGuard
{
	JflowGuardedPortal *portals;
	int			nportals;
	const char *outer_hint;
} JflowSessionGuard;

extern void jflow_session_init(void);
extern void jflow_session_guard(JflowSessionGuard *guard, const char *hint);
extern void jflow_session_close_portals(const JflowSessionGuard *guard);
extern void jflow_session_release(const JflowSessionGuard *guard);

#endif							/* JFLOW_SESSION_H */
