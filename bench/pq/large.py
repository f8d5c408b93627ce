"""Ten million rows beside a tenth of them: the build, and what a query takes."""
import os
import subprocess

import numpy as np

import sets
from extra import definition, log
from server import build, check_plan, client, exists, use_only, vector_text, warm
from vectors import copy_tuples, psql, write_vecs, COPY_END, COPY_START

ROWS = 10000000
PART = 50000
QUERIES = 300
NOISE = 10
MEMORY = "1GB"
GOALS = (0.8, 0.85, 0.9, 0.95, 0.98, 0.99)
# What a descriptor becomes in a picture seen in a mirror: 4 × 4 places of 8 directions.
MIRROR = np.arange(128).reshape(4, 4, 8)[::-1][:, :, -np.arange(8) % 8].ravel()


def made_rows(base, number, count):
    """One part of the rows: descriptors drawn by chance, every second mirrored, with noise, whole numbers still."""
    rng = np.random.default_rng((17, number))
    rows = np.asarray(base[rng.integers(0, len(base), count)], np.float32)
    rows[::2] = rows[::2, MIRROR]
    rows += NOISE * rng.standard_normal(rows.shape, np.float32)
    return np.clip(np.rint(rows, rows), 0, 255, rows)


def load(table, base, count, asked, truth):
    """Makes the table anew, and the file of exact answers, part by part; all or nothing of the table is there then."""
    psql("SET client_min_messages = error; CREATE EXTENSION IF NOT EXISTS vector; DROP TABLE IF EXISTS %s" % table)
    copy = subprocess.Popen(["psql", "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1",
                             "-c", "CREATE TABLE %s (id int, embedding vector(%d), bucket int)" % (table, base.shape[1]),
                             "-c", "COPY %s FROM STDIN (FORMAT binary, FREEZE)" % table], stdin=subprocess.PIPE)
    nearest = sets.Nearest(asked, "l2")
    copy.stdin.write(COPY_START)
    for number, start in enumerate(range(0, count, PART)):
        rows = made_rows(base, number, min(PART, count - start))
        copy.stdin.write(copy_tuples(np.arange(start, start + len(rows)), rows, np.zeros(len(rows), np.int32)))
        nearest.add(rows)
        if (number + 1) % 20 == 0:
            log("   %d rows" % (start + len(rows)))
    write_vecs(truth, nearest.ids)
    copy.stdin.write(COPY_END)
    copy.stdin.close()
    if copy.wait() != 0:
        raise SystemExit("loading %s failed" % table)
    psql("ANALYZE %s" % table)


def measure(results, folder, data_set, table, count):
    base, asked = sets.base(folder, data_set.name), sets.queries(folder, data_set.name)[:QUERIES]
    files = [os.path.join(folder, "%s.%s" % (table, end)) for end in ("fvecs", "ivecs")]
    index = table + "_pq"
    write_vecs(files[0], asked)
    if not exists(table) or not os.path.exists(files[1]) or psql("SELECT max(id) + 1 FROM %s" % table) != str(count):
        log("loading %s: %d rows" % (table, count))
        load(table, base, count, asked, files[1])
    log("building", index)
    made = build(index, definition(table, "pq", sets.opclass(data_set)), "SET maintenance_work_mem = '%s';" % MEMORY)
    log("   %.1f s, %.1f MB" % (made["build_s"], made["bytes"] / 1e6))
    results.put(table, "pq", "build", dict(made, rows=count))
    use_only(table, index)
    warm(table, index)
    statement = "SELECT id FROM %s ORDER BY embedding %s $1 LIMIT 10" % (table, data_set.operator)
    points = []
    for goal in GOALS:
        settings = ["SET enable_seqscan = off", "SET jflow.pq_recall = %s" % goal]
        check_plan(index, statement, vector_text(asked[0]), settings)
        points.append(dict(client(folder, statement, *files, settings=settings), setting=settings[1][4:]))
        log("   goal %s: recall %.4f, worst %.2f, %.1f q/s" % (goal, *(points[-1][n] for n in ("recall", "worst", "qps"))))
    results.put(table, "pq", "curve", points)


def large(results, folder, data_set):
    count = min(ROWS, sets.most_rows() or ROWS)
    measure(results, folder, data_set, "large_tenth", count // 10)
    measure(results, folder, data_set, "large", count)
