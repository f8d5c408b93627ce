#!/usr/bin/python3
"""Writes what run.py measured as Markdown with plots.

usage: report.py RESULTS.json DOCS_FOLDER     writes benchmarks-pq.md and img/pq-*.svg
"""
import json
import math
import os
import sys

import sets
from bars import bars, verdict
from plot import frontier, svg

NAMES = {"hnsw": "pgvector hnsw", "ivfflat": "pgvector ivfflat", "faiss": "FAISS, in memory, product codes",
         "faiss rabitq": "FAISS, in memory, RaBitQ", "pq": "jflow pq",
         "none": "no index"}
COMPARED = ("pq", "hnsw", "ivfflat", "faiss", "faiss rabitq")
GOALS = {name: (0.95, 0.99) for name in sets.SETS}
GOALS["textlsa"] = (0.95, 0.98)


def speed_at(points, recall):
    """Queries a second at a recall, between the two points around it on a
    logarithmic scale; None where the curve does not come there."""
    best = frontier(points or [])
    if not best or best[-1]["recall"] < recall:
        return None
    above = next(i for i, p in enumerate(best) if p["recall"] >= recall)
    if above == 0:
        return best[0]["qps"]
    a, b = best[above - 1], best[above]
    share = (recall - a["recall"]) / (b["recall"] - a["recall"])
    return math.exp(math.log(a["qps"]) * (1 - share) + math.log(b["qps"]) * share)


class Report:
    def __init__(self, data):
        self.data = data
        self.run = data["run"]["started"]
        self.stale = set()

    def get(self, name, index, part):
        entry = self.data.get(name, {}).get(index, {}).get(part)
        if entry is None:
            return None
        if entry["run"] != self.run:
            self.stale.add("%s, %s, %s (%s)" % (name, NAMES.get(index, index), part, entry["run"]))
        return entry["value"]

    def build(self, name, index, what):
        made = self.get(name, index, "build")
        return made.get(what) if made else None

    def speed(self, name, index, recall, part="curve"):
        return speed_at(self.get(name, index, part), recall)


def number(value, form):
    return "" if value is None else form % value


def table(head, rows):
    return ["| %s |" % " | ".join(head), "| %s |" % " | ".join("---" for _ in head)] + [
        "| %s |" % " | ".join(row) for row in rows] + [""]


def setting_lines(run):
    machine, versions, settings = run["machine"], run["versions"], run["settings"]
    return ["%s, %d cores, %d GB; PostgreSQL %s; pgvector %s built with `-march=native`, jflow %s built portable. " % (
                machine["cpu"], machine["cores"], machine["memory_gb"], versions["postgresql"],
                versions.get("vector", "?"), versions.get("jflow", "?")) +
            "Settings: %s." % ", ".join("`%s = %s`" % item for item in settings.items()), ""]


def summary(report, name):
    rows = []
    goals = GOALS[name]
    for index in (*COMPARED, "none"):
        inserted = report.get(name, index, "insert")
        if not inserted and not report.get(name, index, "curve"):
            continue
        rows.append([NAMES[index], number(report.build(name, index, "build_s"), "%.1f s"),
                     number((report.build(name, index, "bytes") or 0) / 1e6 or None, "%.0f MB"),
                     *(number(report.speed(name, index, r), "%.0f") for r in goals),
                     number(inserted and inserted["qps"], "%.0f")])
    return [] if not rows else table(("index", "build", "size", *("q/s at %.2f" % r for r in goals), "inserts/s"), rows)


def memory_table(report, name):
    rows = []
    for workers in (0, 1):
        made = report.get(name, "pq", "build memory, %d workers" % workers)
        if made:
            rows.append(verdict("build, `maintenance_work_mem = 256MB`, %s" % (
                "alone" if made["workers"] == 0 else "with %d worker" % made["workers"]), made["mb"], ("256 MB", 256), True, "%.0f MB"))
    for count in (10, 100000):
        scan = report.get(name, "pq", "scan memory, %d rows" % count)
        if scan:
            rows.append(verdict("scan of %s rows (beside %.2f MB that the session keeps of the index)" % (
                format(count, ","), scan["kept_mb"]), scan["mb"], ("4 MB", 4), True, "%.2f MB"))
    return ["Private memory:", ""] + table(("what", "measured", "bar", "met"), rows) if rows else []


def points(report, name):
    out = []
    for index in COMPARED:
        curve = frontier(report.get(name, index, "curve") or []) if index.startswith("faiss") else report.get(name, index, "curve")
        rows = [["`%s`" % p["setting"], "%.4f" % p["recall"], "%.0f" % p["qps"], "%.0f µs" % p["mean_us"],
                 "%.0f µs" % p["p50_us"], "%.0f µs" % p["p99_us"]] for p in curve or []]
        if rows:
            out += ["%s:" % NAMES[index], ""] + table(("setting", "recall@10", "q/s", "mean", "p50", "p99"), rows)
    return out


def filter_table(report):
    rows = []
    for case in ("pq, column in the index", "pq", "hnsw"):
        for share, steps in (report.get("filter", case, "curve") or {}).items():
            last = steps[-1]
            rows.append([case, "%g %%" % (int(share) / 10), "`%s`" % last["setting"], "%.4f" % last["recall"],
                         "%.1f" % last["returned"], "%.0f" % last["qps"]])
    return table(("index", "rows kept", "setting", "recall@10", "rows returned", "q/s"), rows) if rows else []


def goal_rows(label, points):
    return [[label, goal, "%.4f" % p["recall"], "%.2f" % p["worst"], "%.0f" % p["qps"], "%.0f µs" % p["p50_us"],
             "%.0f µs" % p["p99_us"]] for goal, p in points.items()]


def rows_table(report, name):
    rows = []
    for count in (1, 10, 100):
        points = report.get(name, "pq", "limit %d" % count)
        rows += goal_rows("%d" % count, points) if points else []
    return table(("rows", "goal", "recall", "worst 5 %", "q/s", "p50", "p99"), rows) if rows else []


def matrix_table(report):
    rows = []
    for share in (100, 10, 1):
        for count in (10, 100):
            points = report.get("matrix", "pq", "%d, limit %d" % (share, count))
            rows += goal_rows("%g %%, %d rows" % (share / 10, count), points) if points else []
    return table(("kept, wanted", "goal", "recall", "worst 5 %", "q/s", "p50", "p99"), rows) if rows else []


def grown_table(report, name):
    rows = [[NAMES[index], format(p["rows"], ","), "%.4f" % p["search"]["recall"], "%.2f" % p["search"]["worst"],
             "%.0f µs" % p["insert"]["mean_us"], "%.1f ms" % (p["insert"]["p999_us"] / 1e3), "%.1f ms" % (p["insert"]["most_us"] / 1e3)]
            for index in ("pq", "hnsw") for p in report.get(name, index, "steps") or []]
    return table(("index", "rows", "recall@10", "worst 5 %", "insert", "p99.9", "most"), rows) if rows else []


def cold_table(report):
    rows = []
    for name in sets.MAIN:
        for index in ("pq", "hnsw"):
            made = report.get(name, index, "cold")
            if made:
                rows.append([name, NAMES[index]] + ["%.0f µs" % made[when]["mean_us"] if when in made else ""
                                                    for when in ("restarted", "first", "again")] + ["%d" % made["blocks"]])
    return table(("set", "index", "first 100 queries after a restart", "with nothing in memory", "the same again", "blocks read"),
                 rows) if rows else []


def tight_table(report):
    rows = []
    for name in sets.MAIN:
        for index in ("pq", "hnsw"):
            made = report.get(name, index, "tight")
            if made:
                rows.append([name, NAMES[index], "%.0f MB" % (made["bytes"] / 2 ** 20), "`%s`" % made["setting"],
                             "%.4f" % made["then"]["recall"], "%.0f" % made["first"]["qps"], "%.0f" % made["then"]["qps"],
                             "%.0f" % (made["then"]["blocks"] / made["then"]["queries"])])
    return table(("set", "index", "memory", "setting", "recall@10", "q/s, first 200", "q/s, next 200", "blocks read for each"),
                 rows) if rows else []


def large_table(report):
    rows = []
    for name in ("large_tenth", "large"):
        made = report.get(name, "pq", "build")
        for p in report.get(name, "pq", "curve") or []:
            rows.append([format(made["rows"], ","), "%.1f s" % made["build_s"], "%.0f MB" % (made["bytes"] / 1e6), p["setting"].split()[-1],
                         "%.4f" % p["recall"], "%.2f" % p["worst"], "%.0f" % p["qps"], "%.0f µs" % p["p50_us"], "%.0f µs" % p["p99_us"]])
    return table(("rows", "build", "size", "goal", "recall@10", "worst 5 %", "q/s", "p50", "p99"), rows) if rows else []


def wide_table(report):
    rows = []
    for name in ("wide", "wide_sparse"):
        for index in ("pq", "hnsw", "none"):
            made = report.get(name, index, "build") or {}
            steps = report.get(name, index, "curve")
            if "refused" in made:
                rows.append([name, NAMES[index], "refused", "", "", ""])
            elif steps:
                rows.append([name, NAMES[index], number(made.get("build_s"), "%.1f s"),
                             number(made.get("bytes", 0) / 1e6 or None, "%.1f MB"), "%.4f" % steps[-1]["recall"],
                             "%.0f" % steps[-1]["qps"]])
    return table(("table", "index", "build", "size", "recall@10", "q/s"), rows) if rows else []


def write(report, docs):
    os.makedirs(os.path.join(docs, "img"), exist_ok=True)
    out = ["# Benchmark of the `pq` index", "",
           "Made by `make bench BENCH=pq`; `bench/README.md` says what is measured and how. One client, a prepared statement, "
           "`LIMIT 10`, warm, all queries; recall@10 against exact search. Only ratios within a run count.", ""]
    out += setting_lines(report.data["run"])
    out += ["## Against the bars", ""] + table(("what", "measured", "bar", "met"), bars(report, GOALS))
    for name, data_set in sets.SETS.items():
        if name not in report.data:
            continue
        plot = svg(data_set.title, {i: report.get(name, i, "curve") or [] for i in COMPARED})
        out += ["## %s" % data_set.title, ""] + summary(report, name)
        if plot:
            with open(os.path.join(docs, "img", "pq-%s.svg" % name), "w", encoding="utf-8") as f:
                f.write(plot)
            out += ["![recall against queries a second](img/pq-%s.svg)" % name, ""]
        out += memory_table(report, name)
        out += rows_table(report, name)
        out += points(report, name)
    for title, lines in (("Filtered search, SIFT", filter_table(report)), ("Filters, goals and rows, SIFT", matrix_table(report)),
                         ("Grown by inserts, SIFT", grown_table(report, "grown")),
                         ("Grown by inserts ever unlike those before, SIFT", grown_table(report, "moving")),
                         ("Cold", cold_table(report)), ("With memory for a quarter", tight_table(report)),
                         ("Many rows, SIFT with noise and mirrored", large_table(report)),
                         ("5,215 dimensions", wide_table(report))):
        if lines:
            out += ["## %s" % title, ""] + lines
    faiss = next(filter(None, (report.get(name, "faiss", "build") for name in sets.SETS)), None)
    if faiss:
        out += ["FAISS %s (%s), one thread, one query a call, called from Python." % (faiss["version"], faiss["options"]), ""]
    if report.stale:
        out += ["Measured in an earlier run, not in this one:", ""] + ["* %s" % s for s in sorted(report.stale)] + [""]
    with open(os.path.join(docs, "benchmarks-pq.md"), "w", encoding="utf-8") as f:
        f.write("\n".join(out))


def main():
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    with open(sys.argv[1]) as f:
        write(Report(json.load(f)), sys.argv[2])


if __name__ == "__main__":
    main()
