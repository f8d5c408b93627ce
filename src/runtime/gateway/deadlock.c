/*
 * deadlock.c
 *		Lock cycles that pass through a gateway.
 *
 * The server's detector knows who waits for whose lock, but not that a gateway
 * waits for its replicas.  While it waits, a gateway therefore looks from time
 * to time whether all it waits for waits for it.  Edges are: a process to those
 * that block its lock; a gateway to the replicas that run its requests, and, for
 * a request still queued, to a pool, which is stuck only if all its replicas are.
 *
 * States change while we look.  That can hide a cycle until the next look, but
 * hardly make one up: a real cycle does not go away, so it is raised only when
 * seen twice in a row.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "storage/procarray.h"
#include "utils/array.h"
#include "utils/fmgrprotos.h"

#include "compat.h"
#include "runtime/gateway/deadlock.h"
#include "runtime/shared/pool.h"
#include "settings.h"

#define MAX_DEPTH 16
#define MAX_VISITED 256

static bool seen_once = false;
static int	stuck_slot;			/* of ours, which runs and waits for us */

/* Processes looked at, so that each is looked at once. */
static int	visited[MAX_VISITED];
static int	nvisited = 0;

static bool process_is_stuck(int pid, int depth);

/* Are all replicas of a pool busy with requests that are stuck? */
static bool
pool_is_stuck(int pool, int depth)
{
	bool		any = false;

	for (int i = 0; i < jflow_max_replicas; i++)
	{
		JflowReplica *replica = &jflow_replicas[i];

		if (replica->state == REPLICA_FREE || replica->pool != pool)
			continue;
		if (replica->state != REPLICA_BUSY || !process_is_stuck(replica->pid, depth + 1))
			return false;
		any = true;
	}
	return any;
}

/* Does a gateway wait for a request that waits for us? */
static bool
gateway_is_stuck(int proc, int depth)
{
	for (int i = 0; i < jflow_max_requests; i++)
	{
		JflowSlot  *slot = &jflow_slots[i];
		int			replica = slot->replica;
		int			pool = slot->pool;

		if (slot->gateway != proc || slot->abandoned)
			continue;
		if (slot->state == SLOT_RUNNING && replica >= 0 &&
			process_is_stuck(jflow_replicas[replica].pid, depth + 1))
		{
			stuck_slot = i;
			return true;
		}
		if (slot->state == SLOT_QUEUED && pool >= 0 && pool_is_stuck(pool, depth))
			return true;
	}
	return false;
}

/* Does this process wait, directly or not, for us? */
static bool
process_is_stuck(int pid, int depth)
{
	ArrayType  *blockers;
	PGPROC	   *proc;

	if (pid == MyProcPid)
		return true;
	if (depth > MAX_DEPTH || pid == 0 || nvisited == MAX_VISITED)
		return false;
	for (int i = 0; i < nvisited; i++)
		if (visited[i] == pid)
			return false;
	visited[nvisited++] = pid;
	blockers = DatumGetArrayTypeP(DirectFunctionCall1(pg_blocking_pids, Int32GetDatum(pid)));
	for (int i = 0; i < ArrayGetNItems(ARR_NDIM(blockers), ARR_DIMS(blockers)); i++)
		if (process_is_stuck(((int32 *) ARR_DATA_PTR(blockers))[i], depth + 1))
			return true;
	proc = BackendPidGetProc(pid);
	return proc && gateway_is_stuck(GetNumberFromPGProc(proc), depth + 1);
}

/*
 * Does another process wait for us, for a lock or by way of its own requests?  As
 * above, what is true once may have been made up by looking.
 */
bool
jflow_waits_for_us(int pid)
{
	nvisited = 0;
	return process_is_stuck(pid, 0);
}

/*
 * Raises deadlock_detected if what we wait for waits for us.  Where our request
 * runs together with others it may be they that wait: it has to be alone first.
 */
void
jflow_check_deadlock(void)
{
	nvisited = 0;
	stuck_slot = JFLOW_NONE;
	if (!gateway_is_stuck(MyProcNumberCompat, 0))
	{
		seen_once = false;
		return;
	}
	if (!seen_once)
	{
		seen_once = true;
		return;
	}
	seen_once = false;
	if (stuck_slot >= 0 && jflow_pool_split(stuck_slot))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_T_R_DEADLOCK_DETECTED),
			 errmsg("deadlock detected"),
			 errdetail("The post waits for a replica that waits for a lock of this session."),
			 errhint("Post before taking the lock, commit first, or use executors with replicas => 0.")));
}
