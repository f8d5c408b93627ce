/*
 * settings.c
 *		Every configuration parameter, by who sets it.
 *
 * A parameter's context follows from who may change it and when: what a
 * caller chooses for a statement is USERSET; what must reach running workers
 * is SIGHUP; what sizes shared memory is POSTMASTER.
 */
#include "postgres.h"

#include <limits.h>

#include "miscadmin.h"
#include "utils/guc.h"

#include "index/effort.h"
#include "pq/pq.h"
#include "settings.h"

char	   *jflow_flow_name = NULL;
int			jflow_request_size = 100;
bool		jflow_preloaded = false;
bool		jflow_allow_superuser_flows = false;
bool		jflow_enabled = true;
int			jflow_log_min_duration = -1;
int			jflow_max_replicas = 32;
int			jflow_max_replicas_per_role = 0;
int			jflow_max_requests = 1024;
int			jflow_memory_limit = 256 * 1024;
int			jflow_prefetch = 0;
int			jflow_restart_delay_max = 300;
int			jflow_rights = JFLOW_RIGHTS_OWNER;
bool		jflow_standby_replicas = false;
int			jflow_timeout = 0;

static const struct config_enum_entry iterative_scan_options[] = {
	{"off", PQ_ITERATIVE_OFF, false},
	{"relaxed", PQ_ITERATIVE_RELAXED, false},
	{"strict", PQ_ITERATIVE_STRICT, false},
	{NULL, 0, false}
};

static const struct config_enum_entry rights_options[] = {
	{"owner", JFLOW_RIGHTS_OWNER, false},
	{"caller", JFLOW_RIGHTS_CALLER, false},
	{NULL, 0, false}
};

/* What runs, and how much of it: for who runs the server. */
static void
define_server_settings(void)
{
	DefineCustomBoolVariable("jflow.allow_superuser_flows",
							 "Lets flows that superusers own have replicas.",
							 NULL,
							 &jflow_allow_superuser_flows,
							 false,
							 PGC_SIGHUP,
							 0,
							 NULL, NULL, NULL);

	DefineCustomBoolVariable("jflow.enabled",
							 "Runs the replicas of flows that are started.",
							 NULL,
							 &jflow_enabled,
							 true,
							 PGC_SIGHUP,
							 0,
							 NULL, NULL, NULL);

	DefineCustomIntVariable("jflow.log_min_duration",
							"Sets the time from which on the call of an executor is logged.",
							"0 logs all calls, -1 none.",
							&jflow_log_min_duration,
							-1, -1, INT_MAX,
							PGC_SUSET,
							GUC_UNIT_MS,
							NULL, NULL, NULL);

	if (process_shared_preload_libraries_in_progress)
	{
		DefineCustomIntVariable("jflow.max_replicas",
								"Sets how many replicas can run at a time, in all databases.",
								NULL,
								&jflow_max_replicas,
								32, 1, 1024,
								PGC_POSTMASTER,
								0,
								NULL, NULL, NULL);

		DefineCustomIntVariable("jflow.max_replicas_per_role",
								"Sets how many replicas the flows of one role can have, in all databases.",
								"0 means no limit but that the last of jflow.max_replicas are for roles with few.",
								&jflow_max_replicas_per_role,
								0, 0, 1024,
								PGC_SIGHUP,
								0,
								NULL, NULL, NULL);

		DefineCustomIntVariable("jflow.max_requests",
								"Sets how many requests can be on their way at a time.",
								NULL,
								&jflow_max_requests,
								1024, 16, 1000000,
								PGC_POSTMASTER,
								0,
								NULL, NULL, NULL);

		DefineCustomIntVariable("jflow.memory_limit",
								"Sets the shared memory for documents on their way between processes.",
								NULL,
								&jflow_memory_limit,
								256 * 1024, 16 * 1024, MAX_KILOBYTES,
								PGC_POSTMASTER,
								GUC_UNIT_KB,
								NULL, NULL, NULL);
	}

	DefineCustomIntVariable("jflow.restart_delay_max",
							"Sets the longest pause before a failing replica is started again.",
							NULL,
							&jflow_restart_delay_max,
							300, 1, 86400,
							PGC_SIGHUP,
							GUC_UNIT_S,
							NULL, NULL, NULL);

	DefineCustomBoolVariable("jflow.standby_replicas",
							 "Runs replicas on a hot standby, of flows started on the primary.",
							 NULL,
							 &jflow_standby_replicas,
							 false,
							 PGC_SIGHUP,
							 0,
							 NULL, NULL, NULL);
}

/* How posts run: for who posts. */
static void
define_post_settings(void)
{
	DefineCustomStringVariable("jflow.flow",
							   "Names the flow that posts go to when they name none.",
							   NULL,
							   &jflow_flow_name,
							   "",
							   PGC_USERSET,
							   0,
							   NULL, NULL, NULL);

	DefineCustomIntVariable("jflow.prefetch",
							"Sets how many requests of a post are on their way at a time.",
							"0 means four times the replicas, and at least 64.",
							&jflow_prefetch,
							0, 0, 1000000,
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

	DefineCustomEnumVariable("jflow.rights",
							 "Sets with whose rights the executors of a post read, its owner's or the caller's.",
							 "With the caller's nothing but searches of stored documents in the caller's session can be posted.",
							 &jflow_rights,
							 JFLOW_RIGHTS_OWNER,
							 rights_options,
							 PGC_USERSET,
							 0,
							 NULL, NULL, NULL);

	DefineCustomIntVariable("jflow.timeout",
							"Sets the time limit of posts that name none.",
							"0 means no limit.",
							&jflow_timeout,
							0, 0, INT_MAX,
							PGC_USERSET,
							GUC_UNIT_MS,
							NULL, NULL, NULL);
}

/* How indexes are scanned. */
static void
define_scan_settings(void)
{
	DefineCustomBoolVariable("jflow.explain_scans",
							 "Tells in a notice what each scan of a pq or inverted index has done.",
							 NULL,
							 &jflow_explain_scans,
							 false,
							 PGC_USERSET,
							 0,
							 NULL, NULL, NULL);

	DefineCustomEnumVariable("jflow.pq_iterative_scan",
							 "Sets how a scan of a pq index goes on when the rows that it gathered first are used up.",
							 NULL,
							 &jflow_pq_iterative_scan,
							 PQ_ITERATIVE_STRICT,
							 iterative_scan_options,
							 PGC_USERSET,
							 0,
							 NULL, NULL, NULL);

	DefineCustomIntVariable("jflow.pq_probes",
							"Sets how many lists of a pq index are probed.",
							"0 takes as many as jflow.pq_recall needs.",
							&jflow_pq_probes,
							0, 0, PQ_MAX_LISTS,
							PGC_USERSET,
							0,
							NULL, NULL, NULL);

	DefineCustomRealVariable("jflow.pq_recall",
							 "Sets the recall that scans of pq indexes aim at.",
							 NULL,
							 &jflow_pq_recall_goal,
							 0.95, 0.0, 1.0,
							 PGC_USERSET,
							 0,
							 NULL, NULL, NULL);

	DefineCustomIntVariable("jflow.pq_refine",
							"Sets how many candidates are ranked again for each result.",
							"0 takes as many as jflow.pq_recall needs.",
							&jflow_pq_refine,
							0, 0, 1600,
							PGC_USERSET,
							0,
							NULL, NULL, NULL);
}

/* Called when the library is loaded. */
void
jflow_define_settings(void)
{
	define_server_settings();
	define_post_settings();
	define_scan_settings();
	MarkGUCPrefixReserved("jflow");
}
