/*
 * settings.h
 *		The extension's configuration parameters.
 */
#ifndef JFLOW_SETTINGS_H
#define JFLOW_SETTINGS_H

extern bool jflow_allow_superuser_flows;	/* jflow.allow_superuser_flows */
extern bool jflow_enabled;		/* jflow.enabled */
extern int	jflow_log_min_duration; /* jflow.log_min_duration, in ms; -1: off */
extern int	jflow_max_replicas; /* jflow.max_replicas */
extern int	jflow_max_replicas_per_role;	/* jflow.max_replicas_per_role */
extern int	jflow_max_requests; /* jflow.max_requests */
extern int	jflow_memory_limit; /* jflow.memory_limit, in kB */
extern int	jflow_prefetch;		/* jflow.prefetch; 0: automatic */
extern int	jflow_restart_delay_max;	/* jflow.restart_delay_max, in s */

/* Whose rights a post's calls have: the flow's owner's, or those of who posts. */
typedef enum JflowRightsOf
{
	JFLOW_RIGHTS_OWNER,
	JFLOW_RIGHTS_CALLER
} JflowRightsOf;

extern int	jflow_rights;		/* jflow.rights */
extern bool jflow_standby_replicas; /* jflow.standby_replicas */
extern int	jflow_timeout;		/* jflow.timeout, in ms; 0: none */
extern char *jflow_flow_name;	/* jflow.flow */
extern int	jflow_request_size; /* jflow.request_size */

extern bool jflow_preloaded;	/* by shared_preload_libraries */

extern void jflow_define_settings(void);

#endif							/* JFLOW_SETTINGS_H */
