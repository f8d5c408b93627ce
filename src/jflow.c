/*
 * jflow.c
 *		Module entry point.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "utils/builtins.h"

#include "common/session.h"
#include "common/bytes.h"
#include "common/xact.h"
#include "compat.h"
#include "executors/http/http.h"
#include "executors/pqlite/pqlite.h"
#include "executors/remote/remote.h"
#include "executors/rrf/rrf.h"
#include "executors/splitter/splitter.h"
#include "executors/terms/terms.h"
#include "flow/flow.h"
#include "index/effort.h"
#include "index/limit.h"
#include "index/match.h"
#include "inverted/inverted.h"
#include "pq/pq.h"
#include "pq/pqbuild.h"
#include "runtime/control/workers.h"
#include "runtime/gateway/progress.h"
#include "runtime/shared/payload.h"
#include "runtime/shared/shmem.h"
#include "settings.h"
#include "sync/sync.h"

JFLOW_MODULE_MAGIC("jflow");

extern PGDLLEXPORT void _PG_init(void);

PG_FUNCTION_INFO_V1(jflow_version);

static shmem_request_hook_type previous_shmem_request = NULL;
static shmem_startup_hook_type previous_shmem_startup = NULL;

static void
request_shmem(void)
{
	if (previous_shmem_request)
		previous_shmem_request();
	jflow_bytes_request_shmem();
	jflow_progress_request_shmem();
	jflow_shmem_request();
	jflow_payload_request_shmem();
}

static void
init_shmem(void)
{
	if (previous_shmem_startup)
		previous_shmem_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	jflow_bytes_init_shmem();
	jflow_progress_init_shmem();
	jflow_shmem_init();
	jflow_payload_init_shmem();
	LWLockRelease(AddinShmemInitLock);
}

/*
 * The server calls this when it loads the library: at its own start, where it is in
 * shared_preload_libraries, else in one session.
 */
void
_PG_init(void)
{
	jflow_xact_init();
	jflow_define_settings();
	ix_limit_init();
	ix_match_init();
	ix_effort_init();
	ix_effort_method(pq_beginscan, "Lists Probed", true);
	ix_effort_method(inv_beginscan, "Terms Searched", false);
	ix_match_method(pq_costestimate);
	ix_match_method(inv_costestimate);
	pq_am_init();
	pq_role_name = jflow_codebook_owner;
	jflow_register_class(&tfidf_class);
	jflow_register_class(&bm25_class);
	jflow_register_class(&pqlite_class);
	jflow_register_class(&rrf_class);
	jflow_register_class(&http_class);
	jflow_register_class(&splitter_class);
	jflow_register_class(&remote_class);
	jflow_session_init();
	sync_init();

	if (!process_shared_preload_libraries_in_progress)
		return;
	jflow_preloaded = true;
	previous_shmem_request = shmem_request_hook;
	shmem_request_hook = request_shmem;
	previous_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = init_shmem;
	jflow_pending_init();
	jflow_ddl_init();
	if (!IsBinaryUpgrade)
		jflow_launcher_register();
}

/*
 * jflow_version() RETURNS text: version of the loaded library, and the kernels
 * it chose for this machine.
 */
Datum
jflow_version(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("jflow " JFLOW_VERSION " (%s)", pq_kernels->name)));
}
