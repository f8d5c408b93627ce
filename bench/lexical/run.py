#!/usr/bin/python3
"""The lexical benchmark: the inverted index beside GIN with ts_rank and beside pq on
the same passages, and the flows of the tutorial, of a hybrid search, and of BM25.

usage: run.py FOLDER RESULTS.json [PART...]      parts are index and flows

What a run does not measure stays in RESULTS.json from an earlier one.  The server is the one that PGHOST etc. name; client.c is compiled in FOLDER.
README.md beside this folder says what is measured.
"""
import json
import os
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path += [os.path.join(HERE, ".."), os.path.join(HERE, "../pq")]
import flows  # noqa: E402
import sets  # noqa: E402
from common import psql  # noqa: E402
from server import client, index_bytes, use_only, warm  # noqa: E402

WORDS = sets.WORDS
ROUNDS = int(os.environ.get("RUNS", "3"))
NEAREST = "SELECT id FROM %s ORDER BY v <#> $1 LIMIT 10"
RANKED = "SELECT id FROM %s WHERE t @@ $1 ORDER BY ts_rank(t, $1) DESC LIMIT 10"
INDEXES = {"inverted": "inverted (v sparsevec_ip_ops)", "gin": "gin (t)", "pq": "pq (v sparsevec_ip_ops)"}
INSERTED = 20000
CHECKED = 40			# queries of each length whose answers are compared with those of a sort
PQ_RECALL = 0.95
PQ_GOALS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99)	# what pq is told to aim at


def log(*words):
    print(*words, file=sys.stderr, flush=True)


def spent(statement, settings=""):
    """Seconds that a statement takes, and those of its backend's processor."""
    now = ("SELECT extract(epoch FROM clock_timestamp()) AS wall, split_part(pg_read_file("
           "'/proc/' || pg_backend_pid() || '/schedstat'), ' ', 1)::float8 / 1e9 AS processor ")
    out = psql("SET client_min_messages = error; %s\n%s \\gset a\n%s;\n%s \\gset b\nSELECT :bwall - :awall, :bprocessor - :aprocessor"
               % (settings, now, statement, now))
    return [float(x) for x in out.split("\n")[-1].split("|")]


def load(folder, dims):
    psql("SET client_min_messages = error; CREATE EXTENSION IF NOT EXISTS jflow CASCADE; DROP TABLE IF EXISTS passage, third, tenth, more, truth;"
         "CREATE TABLE loaded (id int, text text, v sparsevec(%d))" % dims)
    subprocess.run(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c",
                    "\\copy loaded FROM '%s'" % os.path.join(folder, "passages.tsv")], check=True)
    psql("CREATE TABLE passage AS SELECT *, to_tsvector('english', text) AS t FROM loaded; DROP TABLE loaded;"
         "CREATE TABLE third AS SELECT * FROM passage WHERE id %% 1000 < 316; CREATE TABLE tenth AS SELECT * FROM passage WHERE id %% 10 = 0;"
         "CREATE TABLE more AS SELECT * FROM passage WHERE id < %d" % INSERTED)
    psql("VACUUM ANALYZE passage, third, tenth, more")


def truth(folder):
    """The distances that a sort finds for some queries, which recall compares others with."""
    psql("CREATE TABLE truth (words int, v sparsevec, nearest float8[])")
    for n in WORDS:
        with open(os.path.join(folder, "%d.sparsevec" % n), encoding="utf-8") as f:
            values = ", ".join("(%d, '%s'::sparsevec)" % (n, line.strip()) for line in list(f)[:CHECKED])
        psql("SET enable_indexscan = off; INSERT INTO truth SELECT q.n, q.v, ARRAY(SELECT (v <#> q.v) + 0.0 FROM passage ORDER BY v <#> q.v LIMIT 10)"
             " FROM (VALUES %s) q(n, v)" % values)
    # of the rows that an index gives, those that are as near as the tenth; and are they the same distances?
    psql("CREATE OR REPLACE FUNCTION recall(OUT share float8, OUT alike bool) LANGUAGE sql SET enable_seqscan = off SET enable_sort = off AS $$"
         " SELECT avg((SELECT count(*) FROM unnest(got) g WHERE g <= nearest[10]) / 10.0), bool_and(got = nearest)"
         " FROM (SELECT nearest, ARRAY(SELECT (v <#> t.v) + 0.0 FROM (SELECT v FROM passage p ORDER BY p.v <#> t.v LIMIT 10) p) AS got FROM truth t) x $$")


def pq_setting():
    """The least that pq may be told to aim at to find as much as the bar asks for, and what it finds then."""
    use_only("passage", "by_pq")
    for goal in PQ_GOALS:
        setting = "SET jflow.pq_recall = %s" % goal
        share = float(psql("%s; SELECT share FROM recall()" % setting))
        log("pq, aiming at %s, finds %.3f" % (goal, share))
        if share >= PQ_RECALL:
            break
    return setting, share


def timed(folder, table, name, n, settings=()):
    """Of the queries of n words: what client.c says."""
    kind, statement = ("tsquery", RANKED) if name == "gin" else ("sparsevec", NEAREST)
    path = os.path.join(folder, "%d.%s" % (n, kind))
    if name != "inverted":
        # they take so long that some are enough
        with open(path, encoding="utf-8") as f:
            some = list(f)[:60]
        path += ".some"
        with open(path, "w", encoding="utf-8") as f:
            f.writelines(some)
    return client(folder, statement % table, path, lines=True, seconds=1, warmups=200 if name == "inverted" else 20,
                  settings=settings)


def middle(runs):
    """The median of each figure over runs."""
    return {key: statistics.median(r[key] for r in runs) for key in runs[0]}


def speeds(folder, settings):
    """Indexes in turn, so that what else the machine does slows all of them."""
    runs = {name: {n: [] for n in WORDS} for name in INDEXES}
    for number in range(ROUNDS):
        for name in INDEXES:
            log("round %d: %s" % (number + 1, name))
            use_only("passage", "by_" + name)
            for n in WORDS:
                runs[name][n].append(timed(folder, "passage", name, n, settings.get(name, ())))
    return {name: {n: middle(runs[name][n]) for n in WORDS} for name in INDEXES}


def growth(folder):
    """Times of inverted on a tenth of the rows, a third, and all, in turn."""
    tables = {"tenth": "tenth_v", "third": "third_v", "passage": "by_inverted"}
    use_only("passage", "by_inverted")
    for table in ("tenth", "third"):
        psql("CREATE INDEX %s ON %s USING inverted (v sparsevec_ip_ops)" % (tables[table], table))
        warm(table, tables[table])
    runs = {table: {n: [] for n in WORDS} for table in tables}
    for _ in range(ROUNDS):
        for table in tables:
            for n in WORDS:
                runs[table][n].append(timed(folder, table, "inverted", n))
    return [{"rows": int(psql("SELECT count(*) FROM %s" % table)), "times": {n: middle(runs[table][n]) for n in WORDS}} for table in tables]


def builds(out):
    for name, definition in INDEXES.items():
        runs = []
        for _ in range(ROUNDS if name != "pq" else 1):
            psql("SET client_min_messages = error; DROP INDEX IF EXISTS by_%s" % name)
            psql("CHECKPOINT")
            runs.append(spent("CREATE INDEX by_%s ON passage USING %s" % (name, definition), "SET max_parallel_maintenance_workers = 0;"))
        out[name] = {"build_s": statistics.median(r[0] for r in runs), "build_processor_s": statistics.median(r[1] for r in runs),
                     "bytes": index_bytes("by_" + name)}
        log(name, out[name])
    psql("DROP INDEX by_inverted")
    out["inverted"]["build_worker_s"] = spent("CREATE INDEX by_inverted ON passage USING %s" % INDEXES["inverted"],
                                              "SET max_parallel_maintenance_workers = 1;")[0]


def inserts(out):
    """Rows a second, by one statement of INSERTED rows; the last thing that is done to the table."""
    runs = {name: [] for name in ("inverted", "gin", "none")}
    for number in range(ROUNDS):
        for name in runs:
            use_only("passage", None if name == "none" else "by_" + name)
            runs[name].append(spent("INSERT INTO passage SELECT id + 1000000 * %d, text, v, t FROM more" % (number + 1)))
    for name in runs:
        out.setdefault(name, {})["inserts_s"] = INSERTED / statistics.median(r[0] for r in runs[name])
        out[name]["insert_processor_us"] = statistics.median(r[1] for r in runs[name]) * 1e6 / INSERTED


def index_part(folder, texts, limit):
    rows, mean, dims = sets.prepare(texts, folder, limit)
    log("%d passages of %.1f words, %d dimensions" % (rows, mean, dims))
    load(folder, dims)
    truth(folder)
    out = {name: {} for name in INDEXES}
    builds(out)
    warm("passage")
    for name in INDEXES:
        warm("passage", "by_" + name)
    use_only("passage", "by_inverted")
    share, alike = psql("SELECT * FROM recall()").split("|")
    out["inverted"].update(recall=float(share), alike=alike == "t")
    setting, out["pq"]["recall"] = pq_setting()
    for name, times in speeds(folder, {"pq": ["SET enable_seqscan = off", setting]}).items():
        out[name]["times"] = times
    grown = growth(folder)
    inserts(out)
    psql("DROP TABLE passage, third, tenth, more, truth")
    return {"rows": rows, "mean": mean, "dims": dims, "indexes": out, "growth": grown}


def main():
    folder, path = sys.argv[1:3]
    parts = sys.argv[3:] or ("index", "flows")
    data = os.environ.get("JFLOW_DATA", "")
    limit = int(os.environ.get("BENCH_ROWS", "294143"))
    texts = sets.posts(data, min(1.0, limit / 100000))
    results = {}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as f:
            results = json.load(f)
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        model = next((line.split(":")[1].strip() for line in f if line.startswith("model name")), "unknown processor")
    results.update(of="20 Newsgroups" if data else "made up texts", server=psql("SHOW server_version"), processor=model)
    for part in parts:
        run = {"load": os.getloadavg()[0], "rounds": ROUNDS if part == "index" else flows.RUNS}
        results[part] = index_part(folder, texts, limit) if part == "index" else flows.measure(folder, texts)
        results[part].update(run)
        with open(path, "w", encoding="utf-8") as f:
            json.dump(results, f, indent=1)


main()
