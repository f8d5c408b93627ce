#!/usr/bin/env python3
"""Benchmarks of posting in the caller's session and of TF-IDF, with scikit-learn
in the same run.

Runs psql and pgbench against the server that the environment names; prints a
table in Markdown.  Whole calls, medians of RUNS runs, peers in between.
"""
import statistics

from common import RUNS, corpus, load, machine, pgbench, psql, sklearn_times, timed_sql


def peak_memory(rows):
    """Peak resident memory of the backend that posts so many rows, in MB, less
    what it shares with others."""
    out = psql(None, """
SET client_min_messages = error;
SELECT count(*) FROM jflow_post('/x', ARRAY['warm up'], 'noop');
SELECT docs FROM jflow_post_query('/x', 'SELECT i AS id, ''some text of a row'' AS text FROM generate_series(1, %d) i', 'noop');
SELECT regexp_replace(pg_read_file('/proc/' || pg_backend_pid() || '/status'), '.*RssAnon:\\s*(\\d+) kB.*', '\\1');
SELECT regexp_replace(pg_read_file('/proc/' || pg_backend_pid() || '/status'), '.*VmHWM:\\s*(\\d+) kB.*', '\\1');
""" % rows)
    anon, hwm = out.split("\n")[-2:]
    return int(anon) / 1024.0, int(hwm) / 1024.0


def timed(sql):
    return timed_sql(sql, "SELECT count(*) FROM jflow_post('/x', ARRAY['warm up'], 'bench')")


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
        ours["fit"].append(timed("SELECT jflow_fit('bench', 'slow_executor', 'SELECT text FROM bench')"))
        ours["query"].append(timed("SELECT docs FROM jflow_post_query('/foo', 'SELECT id, text FROM bench', 'bench')"))
        ours["array"].append(timed("SELECT count(*) FROM jflow_post('/foo', (SELECT array_agg(jflow_doc("
                                       "id => id::text, text => text)) FROM bench), 'bench')"))
    median = {k: statistics.median(v) for k, v in ours.items()}
    peer = {k: statistics.median(v) for k, v in theirs.items()}

    empty = statistics.median(pgbench("SELECT 1;") for _ in range(3))
    noop = statistics.median(pgbench("SELECT * FROM jflow_post('/foo', ARRAY['hello'], 'noop');") for _ in range(3))
    anon_small, hwm_small = peak_memory(100000)
    anon, hwm = peak_memory(1000000)

    print(machine(texts), end="\n\n")
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
