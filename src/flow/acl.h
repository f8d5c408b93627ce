/*
 * acl.h
 *		Who may do what with a flow.
 */
#ifndef JFLOW_ACL_H
#define JFLOW_ACL_H

#include "flow/roles.h"

struct ForeignServer;
struct JflowFlow;

#define JFLOW_ALL_ENDPOINTS "*"

typedef struct JflowGrant
{
	JflowRole	role;
	char	   *endpoint;
} JflowGrant;

/* All that rights depend on. */
typedef struct JflowRights
{
	char	   *flow;
	char	   *stands_for;		/* a flow that it stands in for, or NULL */
	JflowRole	owner;
	JflowGrant *grants;
	int			ngrants;
} JflowRights;

extern Oid	jflow_flow_owner(const struct JflowFlow *flow);
extern char *jflow_owner_obstacle(const struct JflowFlow *flow, Oid *owner);
extern int	jflow_owner_security(Oid owner, Oid caller, int sec_context);
extern void jflow_as_flow_owner(const struct JflowFlow *flow, void (*work) (void *arg), void *arg);
extern void jflow_check_flow_owner(const struct JflowFlow *flow);
extern bool jflow_may_post(const JflowRights *rights, Oid role, const char *endpoint);
extern void jflow_check_may_post(const struct JflowFlow *flow, const char *endpoint);
extern void jflow_check_may_use_server(const struct ForeignServer *server, Oid owner);
extern bool jflow_may_see(const char *flow, Oid role);
extern bool jflow_is_flow_owner(const char *flow, Oid role);
extern void jflow_check_endpoint(const char *endpoint);

#endif							/* JFLOW_ACL_H */
