/*
 * roles.h
 *		Names of roles in the catalog, and the roles that they mean.
 */
#ifndef JFLOW_ROLES_H
#define JFLOW_ROLES_H

#include "utils/snapshot.h"

/* A role as the catalog has it. */
typedef struct JflowRole
{
	char	   *name;
	Oid			oid;			/* when it was read; InvalidOid: nobody */
	bool		known;			/* by jflow.role, not only by its name */
} JflowRole;

extern JflowRole jflow_role_read(const char *name, Snapshot snapshot);
extern Oid	jflow_role_of(const JflowRole *role);
extern Oid	jflow_role_oid(const char *name);
extern char *jflow_role_name(Oid role);
extern char *jflow_role_kept_name(Oid role);
extern char *jflow_codebook_owner(Oid role, bool store);
extern char *jflow_role_shown_name(const char *name);
extern bool jflow_role_trusts(Oid role, Oid other);
extern bool jflow_role_has_namesake(const JflowRole *role);
extern bool jflow_roles_remember(const JflowRole *role);

#endif							/* JFLOW_ROLES_H */
