#!/usr/bin/env python3
"""Benchmarks of posting and TF-IDF, with scikit-learn in the same run.

Runs psql and pgbench against the server that the environment names; prints a
table in Markdown.  Whole calls, medians of RUNS runs, peers in between.
"""
import gzip
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time

RUNS = int(os.environ.get("RUNS", "5"))
TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def psql(sql, stdin=None):
    command = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]
    run = subprocess.run(command, input=(stdin or sql).encode("utf-8"), stdout=subprocess.PIPE, check=True)
    return run.stdout.decode("utf-8").strip()


def timed_sql(sql):
    """Seconds of one statement in a session that has posted before."""
    out = psql(None, "SET client_min_messages = error;\n"
               "SELECT count(*) FROM jflow_post('/x', 'warm up', 'bench');\n"
               "SELECT extract(epoch FROM clock_timestamp()) AS t0 \\gset\n%s;\n"
               "SELECT extract(epoch FROM clock_timestamp()) - :t0;\n" % sql)
    return float(out.split("\n")[-1])


def corpus():
    for folder in (os.environ.get("JFLOW_DATA", ""), os.path.join(TOP, "..", "shared", "data")):
        path = os.path.join(folder, "20newsgroups", "train.jsonl.gz")
        if folder and os.path.exists(path):
            with gzip.open(path, "rt", encoding="utf-8") as f:
                return [json.loads(line)["text"] for line in f]
    with open(os.path.join(TOP, "demo", "corpus.jsonl"), encoding="utf-8") as f:
        return [json.loads(line)["text"] for line in f] * 280


def load(texts):
    psql("SET client_min_messages = error; CREATE EXTENSION IF NOT EXISTS jflow CASCADE;"
         "DROP TABLE IF EXISTS bench; CREATE TABLE bench (id int PRIMARY KEY, text text)")
    rows = "".join('%d,"%s"\n' % (i, t.replace('"', '""')) for i, t in enumerate(texts))
    psql(None, "COPY bench FROM STDIN WITH (FORMAT csv);\n" + rows + "\\.\n")
    psql("VACUUM ANALYZE bench")


def pgbench(sql, seconds=5):
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as f:
        f.write(sql)
        f.flush()
        run = subprocess.run(["pgbench", "-n", "-M", "prepared", "-c", "1", "-T", str(seconds), "-l",
                              "--log-prefix", f.name, "-f", f.name],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True)
        logs = [n for n in os.listdir(os.path.dirname(f.name)) if n.startswith(os.path.basename(f.name) + ".")]
        times = []
        for name in logs:
            path = os.path.join(os.path.dirname(f.name), name)
            with open(path) as log:
                times += [int(line.split()[2]) for line in log]
            os.remove(path)
        assert times, run.stderr
        return statistics.median(times) / 1000.0


def sklearn_times(texts):
    from sklearn.feature_extraction.text import TfidfVectorizer
    start = time.perf_counter()
    vectorizer = TfidfVectorizer().fit(texts)
    fit = time.perf_counter() - start
    start = time.perf_counter()
    for i in range(0, len(texts), 100):
        vectorizer.transform(texts[i:i + 100])
    return fit, time.perf_counter() - start


def peak_memory(rows):
    """Peak resident memory of the backend that posts so many rows, in MB, less
    what it shares with others."""
    out = psql(None, """
SET client_min_messages = error;
SELECT count(*) FROM jflow_post('/x', 'warm up', 'noop');
SELECT docs FROM jflow_post_query('/x', 'SELECT i AS id, ''some text of a row'' AS text FROM generate_series(1, %d) i', 'noop');
SELECT regexp_replace(pg_read_file('/proc/' || pg_backend_pid() || '/status'), '.*RssAnon:\\s*(\\d+) kB.*', '\\1');
SELECT regexp_replace(pg_read_file('/proc/' || pg_backend_pid() || '/status'), '.*VmHWM:\\s*(\\d+) kB.*', '\\1');
""" % rows)
    anon, hwm = out.split("\n")[-2:]
    return int(anon) / 1024.0, int(hwm) / 1024.0


def main():
    texts = corpus()
    load(texts)
    psql("SELECT jflow_drop(f, if_exists => true) FROM unnest('{bench,noop}'::text[]) f;"
         "SELECT jflow_create('bench'); SELECT jflow_add('bench', 'fast_executor', replicas => 0);"
         "SELECT jflow_add('bench', 'slow_executor', uses => 'TfidfVectorizer', replicas => 0);"
         "SELECT jflow_create('noop'); SELECT jflow_add('noop', 'a', replicas => 0);"
         "SELECT jflow_add('noop', 'b', replicas => 0);"
         "SELECT jflow_fit('bench', 'slow_executor', 'SELECT text FROM bench')")
    ours = {"fit": [], "query": [], "array": []}
    theirs = {"fit": [], "transform": []}
    for _ in range(RUNS):
        fit, transform = sklearn_times(texts)
        theirs["fit"].append(fit)
        theirs["transform"].append(transform)
        ours["fit"].append(timed_sql("SELECT jflow_fit('bench', 'slow_executor', 'SELECT text FROM bench')"))
        ours["query"].append(timed_sql("SELECT docs FROM jflow_post_query('/foo', 'SELECT id, text FROM bench', 'bench')"))
        ours["array"].append(timed_sql("SELECT count(*) FROM jflow_post('/foo', (SELECT array_agg(jflow_doc("
                                       "id => id::text, text => text)) FROM bench), 'bench')"))
    median = {k: statistics.median(v) for k, v in ours.items()}
    peer = {k: statistics.median(v) for k, v in theirs.items()}

    empty = statistics.median(pgbench("SELECT 1;") for _ in range(3))
    noop = statistics.median(pgbench("SELECT * FROM jflow_post('/foo', 'hello', 'noop');") for _ in range(3))
    anon_small, hwm_small = peak_memory(100000)
    anon, hwm = peak_memory(1000000)

    print("Machine: %s, %d cores; load %.2f; %d texts, %.1f MB; medians of %d runs\n"
          % (platform.machine(), os.cpu_count(), os.getloadavg()[0], len(texts),
             sum(len(t) for t in texts) / 1e6, RUNS))
    print("| what | jflow | scikit-learn | ratio | bar |")
    print("| --- | --- | --- | --- | --- |")
    print("| fit of the corpus, `jflow_fit` | %.3f s | %.3f s | %.2f | 0.40 |"
          % (median["fit"], peer["fit"], median["fit"] / peer["fit"]))
    print("| TF-IDF of the corpus in requests of 100, `jflow_post_query` | %.3f s | %.3f s | %.2f | 0.40 |"
          % (median["query"], peer["transform"], median["query"] / peer["transform"]))
    print("| the same, `jflow_post` of an array, answers returned | %.3f s | %.3f s | %.2f | 0.40 |"
          % (median["array"], peer["transform"], median["array"] / peer["transform"]))
    print("| one document through two no-op executors, above an empty query | %.3f ms (%.3f - %.3f) | | | 0.06 ms |"
          % (noop - empty, noop, empty))
    print("| memory of the backend, 1,000,000 rows by `jflow_post_query` (100,000 rows) | %.1f MB private, %.1f MB peak (%.1f, %.1f) | | | 128 MB |"
          % (anon, hwm, anon_small, hwm_small))
    psql("SELECT jflow_drop('bench'); SELECT jflow_drop('noop'); DROP TABLE bench")


main()
