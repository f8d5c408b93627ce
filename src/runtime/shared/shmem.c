/*
 * shmem.c
 *		What the processes of the runtime share: sizes and initial state.
 */
#include "postgres.h"

#include "catalog/pg_control.h"
#include "common/controldata_utils.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/shmem.h"

#include "compat.h"
#include "runtime/shared/payload.h"
#include "runtime/shared/shmem.h"
#include "runtime/shared/tally.h"
#include "settings.h"

JflowShared *jflow_shared = NULL;
JflowPool  *jflow_pools = NULL;
JflowReplica *jflow_replicas = NULL;
JflowSlot  *jflow_slots = NULL;
JflowGatewayEntry *jflow_gateways = NULL;
JflowEndpoint *jflow_endpoints = NULL;
JflowTallyEntry *jflow_tallies = NULL;
void	   *jflow_payload_place = NULL;

/* One entry for each process that could post. */
int
jflow_gateway_count(void)
{
	return MaxBackends + NUM_AUXILIARY_PROCS;
}

static Size
fixed_size(void)
{
	Size		size = MAXALIGN(sizeof(JflowShared));

	size = add_size(size, mul_size(MAXALIGN(sizeof(JflowPool)), jflow_max_pools));
	size = add_size(size, mul_size(MAXALIGN(sizeof(JflowReplica)), jflow_max_replicas));
	size = add_size(size, mul_size(MAXALIGN(sizeof(JflowSlot)), jflow_max_requests));
	size = add_size(size, mul_size(MAXALIGN(sizeof(JflowGatewayEntry)), jflow_gateway_count()));
	size = add_size(size, mul_size(MAXALIGN(sizeof(JflowEndpoint)), JFLOW_MAX_ENDPOINTS));
	size = add_size(size, mul_size(MAXALIGN(sizeof(JflowTallyEntry)), JFLOW_MAX_TALLIES));
	return add_size(size, 7 * MAXIMUM_ALIGNOF);
}

/* For the shmem_request_hook. */
void
jflow_shmem_request(void)
{
	RequestAddinShmemSpace(fixed_size());
	RequestNamedLWLockTranche("jflow", 1);
}

/* Take room for n things from a block of shared memory. */
static void *
carve(char **at, Size size, int n)
{
	void	   *result = *at;

	*at += MAXALIGN(size * n);
	return result;
}

/*
 * Has what was before this memory ended badly?  The postmaster makes it anew when a
 * process has crashed, and a new one may find a server that was not shut down.
 */
static bool
follows_crash(void)
{
	static bool made = false;	/* by this postmaster */
	ControlFileData *control;
	bool		crashed = made;
	bool		good;

	made = true;
	if (crashed)
		return true;
	control = get_controlfile(DataDir, &good);
	crashed = control->state != DB_SHUTDOWNED && control->state != DB_SHUTDOWNED_IN_RECOVERY;
	pfree(control);
	return crashed;
}

static void
init_contents(int tranche)
{
	LWLockInitialize(&jflow_shared->control, tranche);
	SpinLockInit(&jflow_shared->slots_mutex);
	ConditionVariableInit(&jflow_shared->changed);
	pg_atomic_init_u64(&jflow_shared->post_id, 1);
	pg_atomic_init_u64(&jflow_shared->payload_in, 0);
	pg_atomic_init_u64(&jflow_shared->payload_chain, 0);
	pg_atomic_init_u64(&jflow_shared->payload_total, 0);
	pg_atomic_init_u64(&jflow_shared->payload_peak, 0);
	pg_atomic_init_u32(&jflow_shared->payload_waiters, 0);
	jflow_shared->launcher_proc = JFLOW_NONE;
	jflow_shared->rescan = true;
	jflow_shared->crashed = follows_crash() ? GetCurrentTimestamp() : DT_NOBEGIN;

	for (int i = 0; i < jflow_max_pools; i++)
	{
		LWLockInitialize(&jflow_pools[i].lock, tranche);
		jflow_pools[i].head = jflow_pools[i].tail = JFLOW_NONE;
		jflow_pools[i].idle = jflow_pools[i].watcher = JFLOW_NONE;
		pg_atomic_init_u32(&jflow_pools[i].holders, 0);
	}
	for (int i = 0; i < jflow_max_replicas; i++)
		jflow_replicas[i].slot = JFLOW_NONE;
	for (int i = 0; i < jflow_max_requests; i++)
		jflow_slots[i].next = i + 1 < jflow_max_requests ? i + 1 : JFLOW_NONE;
	for (int i = 0; i < jflow_gateway_count(); i++)
	{
		pg_atomic_init_u32(&jflow_gateways[i].done, 0);
		pg_atomic_init_u32(&jflow_gateways[i].outstanding, 0);
		pg_atomic_init_u32(&jflow_gateways[i].wake_at, 0);
		pg_atomic_init_u32(&jflow_gateways[i].wants_memory, 0);
	}
	for (int i = 0; i < JFLOW_MAX_ENDPOINTS; i++)
		SpinLockInit(&jflow_endpoints[i].mutex);
	for (int i = 0; i < JFLOW_MAX_TALLIES; i++)
		jflow_tally_init(&jflow_tallies[i]);
}

/* For the shmem_startup_hook; the caller holds AddinShmemInitLock. */
void
jflow_shmem_init(void)
{
	bool		found;
	char	   *at = ShmemInitStruct("jflow runtime", fixed_size(), &found);
	int			tranche = GetNamedLWLockTranche("jflow")->lock.tranche;

	if (!found)
		memset(at, 0, fixed_size());
	jflow_shared = carve(&at, sizeof(JflowShared), 1);
	jflow_pools = carve(&at, sizeof(JflowPool), jflow_max_pools);
	jflow_replicas = carve(&at, sizeof(JflowReplica), jflow_max_replicas);
	jflow_slots = carve(&at, sizeof(JflowSlot), jflow_max_requests);
	jflow_gateways = carve(&at, sizeof(JflowGatewayEntry), jflow_gateway_count());
	jflow_endpoints = carve(&at, sizeof(JflowEndpoint), JFLOW_MAX_ENDPOINTS);
	jflow_tallies = carve(&at, sizeof(JflowTallyEntry), JFLOW_MAX_TALLIES);
	if (!found)
		init_contents(tranche);
}

/* Copy a string into a fixed field, clipped at a character boundary. */
void
jflow_clip(char *to, const char *from, int size)
{
	int			len = pg_mbcliplen(from, strlen(from), size - 1);

	memcpy(to, from, len);
	to[len] = '\0';
}

/* Wake a process by its number among the server's; below 0 is none. */
void
jflow_wake_process(int proc)
{
	if (proc >= 0)
		SetLatch(&GetPGProcByNumber(proc)->procLatch);
}

/* Wake the launcher, if there is one. */
void
jflow_wake_launcher(void)
{
	jflow_wake_process(jflow_shared->launcher_proc);
}
