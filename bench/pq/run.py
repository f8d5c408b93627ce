#!/usr/bin/python3
"""Benchmark of the pq index: against pgvector's hnsw and ivfflat on the same
server, and FAISS in memory.

usage: run.py DATA_FOLDER RESULTS.json [--sets sift,textlsa] [--parts curves,insert,…|all,large]
              [--indexes pq,hnsw,ivfflat,faiss] [--rebuild hnsw,…]

The server is the one that PGHOST etc. name; client.c is compiled in DATA_FOLDER.
RESULTS.json is added to: what a run does not measure stays from an earlier one,
with the date of that one.  An index that exists is used as it is, but pq is always
built anew.  README.md beside this file says what is measured.
"""
import argparse
import json
import os
import subprocess
import sys

import extra
import large
import more
import sets
import tight
from results import Results
from server import build, check_plan, client, exists, index_bytes, use_only, vector_text, warm
from vectors import ServerError, load_table, psql

HERE = os.path.dirname(os.path.abspath(__file__))
PARTS = ("curves", "rows", "insert", "growth", "filter", "matrix", "grown", "moving", "cold", "tight", "memory", "wide")
# Parts that take long are left out unless they are named.
ASKED_FOR = ("large",)
INDEXES = ("pq", "hnsw", "ivfflat", "faiss")
OPTIONS = {"pq": "", "hnsw": "WITH (m = 16, ef_construction = 64)"}

# The points of each curve: settings of the session.
SWEEPS = {
    "hnsw": ["SET hnsw.ef_search = %d" % n for n in (40, 60, 80, 120, 160, 200, 240, 300, 400, 600, 1000)],
    "ivfflat": ["SET ivfflat.probes = %d" % n for n in (4, 8, 16, 32, 48, 64, 96, 128, 192)],
    "pq": ["SET jflow.pq_recall = %s" % r for r in (0.5, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 0.995)],
    # what a list leaves out follows the goal still, so it is one that the greatest number of lists can reach
    "pq probes": ["SET jflow.pq_recall = 0.995; SET jflow.pq_probes = %d" % n for n in (4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)]}


def log(*words):
    print(*words, file=sys.stderr, flush=True)


def definition(data_set, table, method):
    options = OPTIONS.get(method, "WITH (lists = %d)" % data_set.ivfflat_lists)
    return "%s USING %s (embedding %s) %s" % (table, method, sets.opclass(data_set), options)


def query(data_set, table):
    return "SELECT id FROM %s ORDER BY embedding %s $1 LIMIT 10" % (table, data_set.operator)


def curve(folder, data_set, table, index, sweep):
    """Recall and speed of an index at each setting of its sweep."""
    files = [sets.path(folder, data_set.name, f) for f in ("queries.fvecs", "groundtruth.ivecs")]
    sample = vector_text(sets.queries(folder, data_set.name)[0])
    use_only(table, index)
    warm(table, index)
    points = []
    for setting in sweep:
        # with so many probes a sequential scan may well be cheaper
        settings = ["SET enable_seqscan = off", setting]
        check_plan(index, query(data_set, table), sample, settings)
        point = client(folder, query(data_set, table), *files, settings=settings)
        points.append(dict(point, setting=setting[4:]))
        log("   %-28s recall %.4f  %8.1f q/s  p50 %.0f us" % (setting[4:], point["recall"], point["qps"], point["p50_us"]))
        if point["recall"] > 0.9985:
            break
    return points


def ensure_table(folder, data_set):
    if not exists(data_set.name):
        log("loading", data_set.name)
        load_table(data_set.name, sets.base(folder, data_set.name))


def ensure_index(results, data_set, method, rebuild):
    """Builds the index, or keeps the one that is there."""
    index = "%s_%s" % (data_set.name, method)
    if method != "pq" and method not in rebuild and exists(index):
        if not results.has(data_set.name, method, "build"):
            results.put(data_set.name, method, "build", {"build_s": None, "bytes": index_bytes(index)})
        return index
    log("building", index)
    made = build(index, definition(data_set, data_set.name, method))
    log("   %.1f s, %.1f MB" % (made["build_s"], made["bytes"] / 1e6))
    results.put(data_set.name, method, "build", made)
    return index


def run_faiss(results, folder, data_set):
    run = subprocess.run([sys.executable, os.path.join(HERE, "faiss_peer.py"), os.path.join(folder, data_set.name),
                          data_set.metric], stdout=subprocess.PIPE, check=True)
    for name, made in json.loads(run.stdout.decode()).items():
        for part, value in made.items():
            results.put(data_set.name, name, part, value)


def curves(results, folder, data_set, options):
    for method in options.indexes:
        log(data_set.name, method)
        if method == "faiss":
            run_faiss(results, folder, data_set)
            continue
        index = ensure_index(results, data_set, method, options.rebuild)
        results.put(data_set.name, method, "curve", curve(folder, data_set, data_set.name, index, SWEEPS[method]))
        if method == "pq":
            results.put(data_set.name, method, "probes", curve(folder, data_set, data_set.name, index, SWEEPS["pq probes"]))


def insert(results, folder, data_set, options):
    """Rows a second of one client, one row a transaction, with only this index."""
    vectors = extra.new_rows(folder, data_set)
    table = data_set.name
    for method in ("none",) + tuple(m for m in options.indexes if m != "faiss"):
        index = None if method == "none" else ensure_present(table, method)
        use_only(table, index)
        warm(table, index)
        rows = client(folder, "INSERT INTO %s (id, embedding) VALUES (-1, $1)" % table, vectors, seconds=0, warmups=1000)
        log(table, method, "%.0f rows/s" % rows["qps"])
        results.put(table, method, "insert", rows)
        psql("DELETE FROM %s WHERE id < 0" % table)
        # from the index that got them too, before it is hidden; VACUUM spares itself that for few rows
        psql("VACUUM (INDEX_CLEANUP ON) %s" % table)


def ensure_present(table, method):
    index = "%s_%s" % (table, method)
    if not exists(index):
        raise SystemExit("run.py: insert needs %s: run the curves first" % index)
    return index


def restart(group=None):
    """Restarts the server, by what bench.sh says is the command, in a control group if one is given."""
    enter = "echo $$ >'%s/cgroup.procs'; " % group if group else ""
    subprocess.run(["/bin/sh", "-c", enter + os.environ["BENCH_RESTART"]], stdout=subprocess.DEVNULL, check=True)


def parse(argv):
    def names(text):
        return [n for n in text.split(",") if n]
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("folder")
    parser.add_argument("results")
    parser.add_argument("--sets", type=names, default=list(sets.SETS))
    parser.add_argument("--parts", type=names, default=list(PARTS))
    parser.add_argument("--indexes", type=names, default=list(INDEXES))
    parser.add_argument("--rebuild", type=names, default=[])
    options = parser.parse_args(argv)
    if "all" in options.parts:
        options.parts += PARTS
    unknown = [n for n in options.parts if n not in PARTS + ASKED_FOR + ("all",)]
    if unknown:
        parser.error("there is no part %s" % ", ".join(unknown))
    return options


def main():
    options = parse(sys.argv[1:])
    results = Results(options.results)
    for name in options.sets:
        data_set = sets.SETS[name]
        ensure_table(options.folder, data_set)
        if "curves" in options.parts:
            curves(results, options.folder, data_set, options)
        if "rows" in options.parts:
            more.rows_wanted(results, options.folder, data_set)
        if name not in sets.MAIN:
            continue
        if "insert" in options.parts:
            insert(results, options.folder, data_set, options)
        if "growth" in options.parts and name == "sift":
            extra.growth(results, options.folder, data_set, options)
        if "filter" in options.parts and name == "sift":
            extra.filtered(results, options.folder, data_set, options)
        if "matrix" in options.parts and name == "sift":
            more.matrix(results, options.folder, data_set)
        if "grown" in options.parts and name == "sift":
            more.grown(results, options.folder, data_set, extra.compared(options))
        if "moving" in options.parts and name == "sift":
            more.moving(results, options.folder, data_set, extra.compared(options))
        if "cold" in options.parts:
            more.cold(results, options.folder, data_set, extra.compared(options), restart)
        if "tight" in options.parts:
            try:
                tight.tight(results, options.folder, data_set, extra.compared(options), restart)
            except ServerError as error:
                # a server may not get by with so little
                log("tight:", str(error))
        if "memory" in options.parts and "pq" in options.indexes:
            extra.memory(results, options.folder, data_set)
    if "wide" in options.parts:
        extra.wide(results, options.folder, options)
    if "large" in options.parts:
        large.large(results, options.folder, sets.SETS["sift"])


if __name__ == "__main__":
    try:
        main()
    except ServerError as error:
        raise SystemExit("run.py: %s" % error)
