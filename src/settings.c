/*
 * settings.c
 *		Every configuration parameter, in one alphabetical table.
 *
 * A parameter's context follows from who may change it and when: what a
 * caller chooses for a statement is USERSET; what must reach running workers
 * is SIGHUP; what sizes shared memory is POSTMASTER.
 */
#include "postgres.h"

#include <limits.h>

#include "utils/guc.h"

#include "settings.h"

char	   *jflow_flow_name = NULL;
int			jflow_request_size = 100;
bool		jflow_preloaded = false;

void
jflow_define_settings(void)
{
	DefineCustomStringVariable("jflow.flow",
							   "Names the flow that posts go to when they name none.",
							   NULL,
							   &jflow_flow_name,
							   "",
							   PGC_USERSET,
							   0,
							   NULL, NULL, NULL);

	DefineCustomIntVariable("jflow.request_size",
							"Sets how many documents a post sends in one request.",
							NULL,
							&jflow_request_size,
							100, 1, 1000000,
							PGC_USERSET,
							0,
							NULL, NULL, NULL);

	MarkGUCPrefixReserved("jflow");
}
