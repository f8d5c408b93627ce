"""With memory for a quarter of a table and its pq index, beside hnsw with as much."""
import os

import sets
from extra import log
from more import forget_files
from server import client, exists, index_bytes, use_only
from vectors import psql, write_vecs

GROUP = "/sys/fs/cgroup/memory/jflow-bench"
QUERIES = 200
LEAST = 96 << 20		# a server does not run with less
GOAL = 0.95


def setting_for(results, table, method):
    """The setting of the session that reached the goal, without memory being short."""
    if method == "pq":
        return "SET jflow.pq_recall = %s" % GOAL
    reached = [p for p in results.get(table, method, "curve") or [] if p["recall"] >= GOAL]
    return "SET " + (min(reached, key=lambda p: p["recall"])["setting"] if reached else "hnsw.ef_search = 200")


def blocks_read(table, index):
    psql("SELECT pg_sleep(1)")
    return int(psql("SELECT (SELECT heap_blks_read + coalesce(toast_blks_read, 0) FROM pg_statio_user_tables WHERE "
                    "relname = '%s') + (SELECT idx_blks_read FROM pg_statio_user_indexes WHERE indexrelname = '%s')"
                    % (table, index)))


def asked_twice(folder, data_set, index, setting):
    """Queries after a restart, in a session of their own, and then others."""
    table = data_set.name
    statement = "SELECT id FROM %s ORDER BY embedding %s $1 LIMIT 10" % (table, data_set.operator)
    queries = sets.queries(folder, table)
    first = sets.exact_nearest(sets.base(folder, table), queries[:2 * QUERIES], data_set.metric, 10)
    files = [os.path.join(folder, table, f) for f in ("tight.fvecs", "tight.ivecs")]
    points = []
    for part in (slice(0, QUERIES), slice(QUERIES, 2 * QUERIES)):
        write_vecs(files[0], queries[part])
        write_vecs(files[1], first[part])
        before = blocks_read(table, index)
        point = client(folder, statement, *files, settings=["SET enable_seqscan = off", setting], seconds=0, warmups=0)
        points.append(dict(point, blocks=blocks_read(table, index) - before))
    return points


def tight(results, folder, data_set, methods, restart):
    """The server alone has the limit, for its buffers and what the system keeps of files together."""
    table = data_set.name
    if not os.access("/sys/fs/cgroup/memory/cgroup.procs", os.W_OK):
        log("tight: needs root and the memory controller of cgroup version 1; left out")
        return
    for index in ("%s_%s" % (table, method) for method in ("pq", *methods)):
        if not exists(index):
            raise SystemExit("run.py: tight needs %s: run the curves first" % index)
    os.makedirs(GROUP, exist_ok=True)
    limit = max(LEAST, (index_bytes(table) + index_bytes(table + "_pq")) // 4)
    psql("CHECKPOINT; ALTER SYSTEM SET shared_buffers = '%dkB'" % (limit // 4096))
    try:
        with open(os.path.join(GROUP, "memory.limit_in_bytes"), "w") as f:
            f.write(str(limit))
        for method in methods:
            index = "%s_%s" % (table, method)
            use_only(table, index)
            restart(GROUP)
            forget_files(table)
            setting = setting_for(results, table, method)
            points = asked_twice(folder, data_set, index, setting)
            results.put(table, method, "tight", {"bytes": limit, "setting": setting[4:], "first": points[0], "then": points[1]})
            log("   %s, %d MB, %s: recall %.4f, %.1f q/s, %d blocks read" % (
                index, limit >> 20, setting[4:], *(points[1][n] for n in ("recall", "qps", "blocks"))))
    finally:
        psql("ALTER SYSTEM RESET shared_buffers")
        restart()
        os.rmdir(GROUP)
