#!/usr/bin/env python3
"""Benchmarks of replicas: throughput, scaling, latency, fairness, memory, and
replicas that are killed; scikit-learn in the same run.

Runs psql and pgbench against the server that the environment names, which has
jflow preloaded; prints a table in Markdown.  Whole calls, medians of RUNS runs.
Figures of Jina 3.0 were measured apart, on another 2-core machine.
"""
import math
import os
import statistics
import threading
import time

import scaling_plot
from common import RUNS, corpus, load, machine, pgbench_times, psql, sklearn_times, timed_sql

SCALES = (1, 2, 4)
FLOWS = "{bench,noop,cpu,kill}"
TICKS = os.sysconf("SC_CLK_TCK")


def define():
    psql("""SELECT jflow_drop(f, if_exists => true) FROM unnest('%s'::text[]) f;
CREATE OR REPLACE FUNCTION bench_noop(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE OR REPLACE FUNCTION bench_cpu(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
LANGUAGE plpgsql AS 'DECLARE n int := 0;
BEGIN FOR i IN 1..(parameters->>''loops'')::int LOOP n := (n + i) %% 1000; END LOOP; RETURN NULL; END';
CREATE ROLE bench_owner LOGIN;
GRANT CREATE ON DATABASE postgres TO bench_owner;
GRANT SELECT ON bench TO bench_owner;
ALTER FUNCTION bench_noop OWNER TO bench_owner;
ALTER FUNCTION bench_cpu OWNER TO bench_owner;
SET ROLE bench_owner;
SELECT jflow_create(f) FROM unnest('%s'::text[]) f;
SELECT jflow_add('bench', 'fast_executor', replicas => 1);
SELECT jflow_add('bench', 'slow_executor', uses => 'TfidfVectorizer', replicas => 1);
SELECT jflow_add('noop', 'a', uses => 'bench_noop', replicas => 1);
SELECT jflow_add('noop', 'b', uses => 'bench_noop', replicas => 1);
SELECT jflow_add('cpu', 'a', uses => 'bench_cpu', replicas => 1);
SELECT jflow_add('kill', 'a', uses => 'bench_noop', requests => '{"*": {"function": "bench_noop", "idempotent": true}}',
                 replicas => 2, retries => 3);
SELECT jflow_fit('bench', 'slow_executor', 'SELECT text FROM bench');
SELECT jflow_start(f) FROM unnest('%s'::text[]) f;
""" % (FLOWS, FLOWS, FLOWS))
    for flow in FLOWS.strip("{}").split(","):
        wait(flow)


def wait(flow):
    assert psql("SELECT jflow_wait('%s', '30 s')" % flow) == "t", psql("SELECT * FROM jflow_status")


def scale(flow, executor, replicas):
    psql("SELECT jflow_scale('%s', '%s', replicas => %d)" % (flow, executor, replicas))
    wait(flow)


def replica_pids(flow):
    return [int(p) for p in psql("SELECT pid FROM jflow_stat_replicas WHERE flow = '%s' AND pid IS NOT NULL" % flow).split()]


def cpu_seconds(pid):
    """Seconds of processor time a process has used."""
    with open("/proc/%d/stat" % pid) as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def machine_busy():
    """Seconds all processors of the machine have been busy."""
    with open("/proc/stat") as f:
        fields = [int(n) for n in f.readline().split()[1:]]
    return (sum(fields) - fields[3] - fields[4]) / TICKS


def timed_with_shares(sql, warm_up, flow):
    """Seconds of a statement, and the share of one processor that its replicas
    and the whole machine used meanwhile."""
    pids = replica_pids(flow)
    statement = warm_up + ";\n" + sql
    before, busy, start = {p: cpu_seconds(p) for p in pids}, machine_busy(), time.perf_counter()
    psql(None, "SET client_min_messages = error;\n" + statement + ";\n")
    wall = time.perf_counter() - start
    shares = [(cpu_seconds(p) - before[p]) / wall for p in pids]
    return wall, shares, (machine_busy() - busy) / wall


def rates(times, requests):
    """Requests a second by number of replicas: of the median run."""
    return {n: requests / statistics.median(runs) for n, runs in times.items()}


def draw(curves):
    """Where PLOT names a file, write the curves there."""
    path = os.environ.get("PLOT")
    if path:
        title = "Replicas on %d processors: throughput" % os.cpu_count()
        with open(path, "w") as f:
            f.write(scaling_plot.svg(title, curves))


def corpus_rows(texts, report, curves):
    query = "SELECT docs FROM jflow_post_query('/foo', 'SELECT id, text FROM bench', 'bench')"
    warm_up = "SELECT count(*) FROM jflow_post('/foo', ARRAY['warm up'], 'bench')"
    times = {n: [] for n in SCALES}
    peer, shares = [], ""
    for _ in range(RUNS):
        peer.append(sklearn_times(texts)[1])
        for replicas in SCALES:
            scale("bench", "slow_executor", replicas)
            timed_sql(query, warm_up)
            times[replicas].append(timed_sql(query, warm_up))
    scale("bench", "slow_executor", 2)
    curves["TF-IDF, 100 posts a request"] = rates(times, math.ceil(len(texts) / 100))
    wall, of_replicas, busy = timed_with_shares(";".join([query] * 5), warm_up, "bench")
    shares = "; with 2 replicas they use %s %% of a processor each, all of the machine %.0f %% of %d" % (
        ", ".join("%.0f" % (100 * s) for s in sorted(of_replicas)), 100 * busy, 100 * os.cpu_count())
    one, two, sklearn = (statistics.median(t) for t in (times[1], times[2], peer))
    report("11,314 posts, TF-IDF, 1 replica", "%.3f s; scikit-learn %.3f s" % (one, sklearn),
           "%.2f times" % (one / sklearn), "at most 0.45 times", "3.7 times")
    report("the same, 2 replicas against 1", "%.3f s%s" % (two, shares),
           "%.2f times as fast" % (one / two), "1.7 times, or both cores 90 % busy", "1.4 times")


def cpu_rows(report, curves):
    loops = 100000
    post = "SELECT docs FROM jflow_post_query('/x', 'SELECT i AS id FROM generate_series(1, %d) i', 'cpu', '{\"loops\": %d}', request_size => 1)"
    warm_up = "SELECT count(*) FROM jflow_post('/x', ARRAY['warm up'], 'cpu', '{\"loops\": 1}')"
    loops = int(loops * 0.010 / (timed_sql(post % (100, loops), warm_up) / 100))
    times = {n: [] for n in SCALES}
    for _ in range(RUNS):
        for replicas in SCALES:
            scale("cpu", "a", replicas)
            times[replicas].append(timed_sql(post % (200, loops), warm_up))
    curves["10 ms of computing a request"] = rates(times, 200)
    one, two = statistics.median(times[1]), statistics.median(times[2])
    report("a function of 10 ms a request, 2 replicas against 1", "%.1f and %.1f ms a request" % (one * 5, two * 5),
           "%.2f times as fast" % (one / two), "1.9 times", "1.7 times")


def noop_rows(report):
    warm_up = "SELECT count(*) FROM jflow_post('/x', ARRAY['warm up'], 'noop')"
    empty = statistics.median(statistics.median(pgbench_times("SELECT 1;")[0]) for _ in range(3))
    noop = statistics.median(statistics.median(pgbench_times("SELECT * FROM jflow_post('/x', ARRAY['hello'], 'noop');")[0]) for _ in range(3))
    report("one document through two no-op executors, above an empty query", "%.3f ms, %.3f ms" % (noop, empty),
           "%.3f ms" % (noop - empty), "0.15 ms", "5.9 ms")
    one = statistics.median(timed_sql("SELECT docs FROM jflow_post_query('/x', 'SELECT i AS id FROM generate_series(1, 100000) i', 'noop', request_size => 1)", warm_up) for _ in range(RUNS))
    report("requests of one document, two no-op executors, streaming", "%.2f s for 100,000" % one,
           "%.0f a second" % (100000 / one), "20,000 a second", "980")
    many = statistics.median(timed_sql("SELECT docs FROM jflow_post_query('/x', 'SELECT i AS id, ''some short text'' AS text FROM generate_series(1, 1000000) i', 'noop')", warm_up) for _ in range(RUNS))
    report("documents at 100 a request, two no-op executors, streaming", "%.2f s for 1,000,000" % many,
           "%.0f a second" % (1000000 / many), "500,000 a second", "21,900")


def fairness_row(report):
    scale("noop", "a", 2)
    scale("noop", "b", 2)
    sql = "SELECT * FROM jflow_post('/x', ARRAY['hello'], 'noop');"
    rates = {n: pgbench_times(sql, clients=n) for n in (1, 2, 4, 8, 16, 64)}
    times, rate, _ = rates[64]
    best = max(r for _, r, _ in rates.values())
    p50, p99 = times[len(times) // 2], times[len(times) * 99 // 100]
    report("64 clients, small requests, pools of 2", "p50 %.2f ms, p99 %.2f ms; %.0f of at best %.0f posts a second" % (p50, p99, rate, best),
           "p99 %.1f times p50; %.2f of the best" % (p99 / p50, rate / best), "10 times; 0.8", "")
    scale("noop", "a", 1)
    scale("noop", "b", 1)


def memory_row(report):
    out = psql(None, """
SET client_min_messages = error;
SELECT docs FROM jflow_post_query('/x', 'SELECT i AS id, ''some text of a row'' AS text FROM generate_series(1, 100000) i', 'noop');
SELECT regexp_replace(pg_read_file('/proc/' || pg_backend_pid() || '/status'), '.*RssAnon:\\s*(\\d+) kB.*', '\\1');
SELECT docs FROM jflow_post_query('/x', 'SELECT i AS id, ''some text of a row'' AS text FROM generate_series(1, 1000000) i', 'noop');
SELECT regexp_replace(pg_read_file('/proc/' || pg_backend_pid() || '/status'), '.*RssAnon:\\s*(\\d+) kB.*', '\\1');
SELECT regexp_replace(pg_read_file('/proc/' || pg_backend_pid() || '/status'), '.*VmHWM:\\s*(\\d+) kB.*', '\\1');
SELECT peak FROM jflow_memory;
""").split("\n")
    small, anon, hwm = (int(n) / 1024.0 for n in (out[-5], out[-3], out[-2]))
    peak = int(out[-1]) / 1048576.0
    report("1,000,000 rows by `jflow_post_query`: memory of the gateway, and of payloads",
           "%.1f MB private (%.1f after 100,000 rows), %.1f MB peak with shared pages; payloads %.1f MB" % (anon, small, hwm, peak),
           "%.1f MB" % (anon + peak), "128 MB", "")


def kill_row(report, seconds):
    result = {}

    def load_it():
        result["bench"] = pgbench_times("SELECT * FROM jflow_post('/x', ARRAY['hello'], 'kill');", clients=4,
                                        seconds=seconds, check=False)

    thread = threading.Thread(target=load_it)
    thread.start()
    kills, back = 0, []
    end = time.time() + seconds - 3
    while time.time() < end:
        start = time.time()
        psql("SELECT pg_terminate_backend(pid) FROM jflow_stat_replicas WHERE flow = 'kill' ORDER BY random() LIMIT 1")
        kills += 1
        wait("kill")
        back.append(time.time() - start)
        time.sleep(max(0, start + 1 - time.time()))
    thread.join()
    failed = result["bench"][2].count("ERROR")
    report("a replica terminated each second for %d s under load" % seconds,
           "%d terminated, %d posts" % (kills, len(result["bench"][0])),
           "%d failed; a new one serves within %.2f s" % (failed, max(back)), "0 failed; 2 s", "every third fails")


def main():
    texts = corpus()
    load(texts)
    define()
    rows = []

    def report(*columns):
        rows.append(columns)
        print("| %s | %s | %s | %s | %s |" % columns, flush=True)

    print(machine(texts), end="\n\n")
    print("| what | measured | result | bar | Jina |")
    print("| --- | --- | --- | --- | --- |")
    curves = {}
    corpus_rows(texts, report, curves)
    cpu_rows(report, curves)
    draw(curves)
    noop_rows(report)
    fairness_row(report)
    memory_row(report)
    kill_row(report, int(os.environ.get("KILL_SECONDS", "60")))
    psql("SELECT jflow_drop(f) FROM unnest('%s'::text[]) f; DROP OWNED BY bench_owner; DROP ROLE bench_owner; DROP TABLE bench" % FLOWS)


main()
