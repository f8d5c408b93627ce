/*
 * settings.h
 *		The extension's configuration parameters.
 */
#ifndef JFLOW_SETTINGS_H
#define JFLOW_SETTINGS_H

extern char *jflow_flow_name;	/* jflow.flow */
extern int	jflow_request_size; /* jflow.request_size */

extern bool jflow_preloaded;	/* by shared_preload_libraries */

extern void jflow_define_settings(void);

#endif							/* JFLOW_SETTINGS_H */
