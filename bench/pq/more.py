"""Parts about goals: of more or fewer rows, under filters, as an index grows, and cold."""
import os

import numpy as np

import sets
from extra import definition, filter_files, log, SHARES
from server import build, client, exists, use_only, warm
from vectors import ServerError, psql, write_vecs

GOALS = (0.9, 0.95, 0.99)
ROWS = (1, 10, 100)
STEPS = 10
GROWN_ROWS = 100000
FIRST = 100


def at_goals(folder, statement, files, rows, settings=()):
    """What is found and how fast, for each goal."""
    points = {}
    for goal in GOALS:
        points[str(goal)] = client(folder, statement, *files, settings=[*settings, "SET jflow.pq_recall = %s" % goal],
                                   seconds=1, warmups=20, k=rows)
    log("   %3d rows: %s" % (rows, ", ".join("%s: %.4f, worst %.2f" % (g, p["recall"], p["worst"]) for g, p in points.items())))
    return points


def rows_wanted(results, folder, data_set):
    """LIMIT 1, 10 and 100 at each goal."""
    table, index = data_set.name, "%s_pq" % data_set.name
    files = [sets.path(folder, table, f) for f in ("queries.fvecs", "groundtruth.ivecs")]
    if not exists(index):
        build(index, definition(table, "pq", sets.opclass(data_set)))
    use_only(table, index)
    warm(table, index)
    log(table, "rows wanted")
    for rows in ROWS:
        statement = "SELECT id FROM %s ORDER BY embedding %s $1 LIMIT %d" % (table, data_set.operator, rows)
        results.put(table, "pq", "limit %d" % rows, at_goals(folder, statement, files, rows, ["SET enable_seqscan = off"]))


def matrix(results, folder, data_set):
    """Filters on a column of the index at each goal, for 10 and 100 rows."""
    table, index = data_set.name, "%s_pq_bucket" % data_set.name
    build(index, definition(table, "pq", sets.opclass(data_set), ", bucket"))
    use_only(table, index)
    warm(table, index)
    for share in SHARES[1:]:
        log("   %g %%" % (share / 10))
        files = filter_files(folder, data_set, share)[1:]
        for rows in ROWS[1:]:
            statement = ("SELECT id FROM %s WHERE bucket < %d ORDER BY embedding %s $1 LIMIT %d"
                         % (table, share, data_set.operator, rows))
            results.put("matrix", "pq", "%d, limit %d" % (share, rows),
                        at_goals(folder, statement, files, rows, ["SET enable_seqscan = off"]))
    psql("DROP INDEX %s" % index)


def by_chance(base):
    return base


def along_widest(base):
    """Rows in the order in which they lie along the direction of the greatest variance: each step's come from elsewhere."""
    rows = np.asarray(base, np.float32)
    some = rows[:20000] - rows[:20000].mean(axis=0)
    direction = np.linalg.svd(some.T @ some)[0][:, 0]
    return rows[np.argsort(rows @ direction, kind="stable")]


def grown(results, folder, data_set, methods, name="grown", order=by_chance):
    """An index made before its rows, which come one a transaction; autovacuum is on."""
    base = order(sets.base(folder, data_set.name)[:GROWN_ROWS])
    asked = sets.queries(folder, data_set.name)
    target = os.path.join(folder, name)
    os.makedirs(target, exist_ok=True)
    files = [os.path.join(target, f) for f in ("queries.fvecs", "truth.ivecs", "rows.fvecs")]
    write_vecs(files[0], asked)
    psql("ALTER SYSTEM SET autovacuum = on; SELECT pg_reload_conf()")
    try:
        for method in methods:
            psql("DROP TABLE IF EXISTS %s; CREATE TABLE %s (id serial, embedding vector(%d))" % (name, name, base.shape[1]))
            build("%s_%s" % (name, method), definition(name, method, sets.opclass(data_set)))
            log(name, method)
            results.put(name, method, "steps", grow(folder, data_set, name, base, asked, files))
    finally:
        psql("ALTER SYSTEM RESET autovacuum; SELECT pg_reload_conf()")


def moving(results, folder, data_set, methods):
    """The same where the rows that come are ever unlike those before."""
    grown(results, folder, data_set, methods, "moving", along_widest)


def grow(folder, data_set, table, base, asked, files):
    points = []
    for step in range(STEPS):
        part = slice(len(base) * step // STEPS, len(base) * (step + 1) // STEPS)
        write_vecs(files[2], np.asarray(base[part], np.float32))
        inserted = client(folder, "INSERT INTO %s (embedding) VALUES ($1)" % table, files[2], seconds=0, warmups=0)
        # numbers are given from 1 on
        write_vecs(files[1], sets.exact_nearest(base[:part.stop], asked, data_set.metric, 10) + 1)
        statement = "SELECT id FROM %s ORDER BY embedding %s $1 LIMIT 10" % (table, data_set.operator)
        found = client(folder, statement, *files[:2], settings=["SET enable_seqscan = off"], seconds=0, warmups=10)
        points.append({"rows": part.stop, "insert": inserted, "search": found})
        log("   %d rows: recall %.4f, worst %.2f; insert %.0f us, p99.9 %.0f us, most %.0f us" % (
            part.stop, found["recall"], found["worst"], inserted["mean_us"], inserted["p999_us"], inserted["most_us"]))
    return points


def forget_files(table):
    """Has the system drop what it keeps of the table's and its indexes' files; the server must not have them."""
    paths = psql("SELECT current_setting('data_directory') || '/' || pg_relation_filepath(c.oid) FROM pg_class c "
                 "WHERE oid = '%s'::regclass OR oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = '%s'::regclass)"
                 % (table, table))
    for path in paths.split("\n"):
        part = 0
        name = path
        while os.path.exists(name):
            with open(name, "rb") as f:
                os.fsync(f.fileno())
                os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            part += 1
            name = "%s.%d" % (path, part)


def cold(results, folder, data_set, methods, restart):
    """The first queries after a restart, also where the system has no file in memory, beside the same again."""
    table = data_set.name
    first = os.path.join(folder, table, "first.fvecs")
    truth = os.path.join(folder, table, "first.ivecs")
    write_vecs(first, sets.queries(folder, table)[:FIRST])
    write_vecs(truth, sets.exact_nearest(sets.base(folder, table), sets.queries(folder, table)[:FIRST], data_set.metric, 10))
    statement = "SELECT id FROM %s ORDER BY embedding %s $1 LIMIT 10" % (table, data_set.operator)
    for method in methods:
        index = "%s_%s" % (table, method)
        if not exists(index):
            raise ServerError("cold needs %s: run the curves first" % index)
        use_only(table, index)
        psql("CHECKPOINT")
        warm(table, index)
        restart()
        restarted = client(folder, statement, first, truth, settings=["SET enable_seqscan = off"], seconds=0, warmups=0)
        restart()
        forget_files(table)
        read = "SELECT idx_blks_read FROM pg_statio_user_indexes WHERE indexrelname = '%s'" % index
        before = int(psql(read) or 0)
        points = [client(folder, statement, first, truth, settings=["SET enable_seqscan = off"], seconds=0, warmups=0) for _ in range(2)]
        psql("SELECT pg_sleep(1)")
        results.put(table, method, "cold", {"restarted": restarted, "first": points[0], "again": points[1], "blocks": int(psql(read) or 0) - before})
        log("   %s: after a restart %.0f us a query, with nothing in memory %.0f us, again %.0f us" % (
            index, restarted["mean_us"], points[0]["mean_us"], points[1]["mean_us"]))
