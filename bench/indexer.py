#!/usr/bin/env python3
"""Benchmarks of PQLiteIndexer, with plain SQL, COPY and pgvector in the same run.

SIFT_ROWS (100,000) says how many SIFT descriptors are stored; they are read from
JFLOW_DATA or ../shared/data and made up, in clusters, where that is missing.
"""
import json
import os
import statistics
import struct
import subprocess
import tempfile
import time

import numpy

from common import RUNS, TOP, corpus, load, pgbench, pgbench_times, psql, timed_sql

os.environ["PGOPTIONS"] = "-c client_min_messages=error -c jit=off"
ROWS = int(os.environ.get("SIFT_ROWS", "100000"))
QUERIES = 200
KEEP = {50: 500, 10: 100, 1: 10, 0.1: 1}		# per cent: tags below so many of 1000


def sift():
    """Descriptors and queries, as float arrays."""
    for folder in (os.environ.get("JFLOW_DATA", ""), os.path.join(TOP, "..", "shared", "data")):
        path = os.path.join(folder, "sift", "base_u8.npy.zst")
        if folder and os.path.exists(path):
            with tempfile.NamedTemporaryFile(suffix=".npy") as f:
                subprocess.run(["zstd", "-q", "-d", "-f", "-o", f.name, path], check=True)
                base = numpy.load(f.name)[:ROWS]
            return base, numpy.load(os.path.join(folder, "sift", "queries_u8.npy"))[:QUERIES]
    rng = numpy.random.default_rng(1)
    centres = rng.integers(0, 128, (1000, 128))
    def draw(n):
        return numpy.clip(centres[rng.integers(0, 1000, n)] + rng.normal(0, 20, (n, 128)), 0, 255).astype("u1")
    return draw(ROWS), draw(QUERIES)


def copy_binary(table, vectors):
    """Load (id, n, embedding) rows by COPY in binary form."""
    with tempfile.NamedTemporaryFile(suffix=".bin") as f:
        f.write(b"PGCOPY\n\xff\r\n\x00" + struct.pack(">ii", 0, 0))
        for i, v in enumerate(vectors):
            f.write(struct.pack(">hiiiiihh", 3, 4, i, 4, i * 7919 % 1000, 4 + 4 * len(v), len(v), 0))
            f.write(v.astype(">f4").tobytes())
        f.write(struct.pack(">h", -1))
        f.flush()
        os.chmod(f.name, 0o644)
        psql("COPY %s FROM '%s' (FORMAT binary)" % (table, f.name))


def ids(sql):
    return [line for line in psql(sql).split("\n") if line]


def wait_for_indexes():
    """Seconds until movers have made what indexes are due."""
    start = time.perf_counter()
    while psql("SELECT count(*) FROM jflow.shard WHERE due") != "0":
        time.sleep(0.02)
    return time.perf_counter() - start


def index_time(flow):
    return timed_sql("SELECT docs FROM jflow_post_query('/index', 'SELECT id, text FROM bench', '%s')" % flow, "SELECT 1")


def news():
    """The flow of the tutorial: a tokenizer with two replicas, an indexer with two shards."""
    texts = corpus()
    load(texts)
    for flow in ("alone", "news"):
        psql("SELECT jflow_drop('{0}', if_exists => true, drop_data => true); SELECT jflow_create('{0}');"
             "SELECT jflow_add('{0}', 'v', uses => 'TfidfVectorizer', uses_with => '{{\"max_features\": 5215}}', replicas => 2);"
             "SELECT jflow_start('{0}'); SELECT jflow_wait('{0}')".format(flow))
        dim = psql("SELECT terms FROM jflow_fit('%s', 'v', 'SELECT text FROM bench')" % flow)
    psql("SELECT jflow_add('news', 'store', uses => 'PQLiteIndexer', workspace => 'jflow_data', shards => 2,"
         " uses_with => '{\"dim\": %s, \"metric\": \"cosine\"}'); SELECT jflow_wait('news')" % dim)
    alone, index, later = [], [], []
    for _ in range(RUNS):
        alone.append(index_time("alone"))
        psql("SELECT jflow_post('/clear', NULL::jflow_doc[], 'news')")
        index.append(index_time("news"))
        later.append(wait_for_indexes())
    psql("VACUUM ANALYZE jflow_data.news_store")
    a, b = statistics.median(alone), statistics.median(index)
    print("| `/index` of %d texts, TF-IDF by 2 replicas and 2 shards, committed (indexes %.2f s later) | %.2f s | TF-IDF alone %.2f s | %.2f | 2.0 |"
          % (len(texts), statistics.median(later), b, a, b / a))

    queries = [t[t.find("\n\n"):][:200] for t in texts[::max(1, len(texts) // 100)]][:100]
    quoted = ["$query$%s$query$" % q.replace("$query$", "").replace("\\", "") for q in queries]
    found = total = 0
    exact = ("SELECT s.id FROM jflow_post('/x', %s, 'alone') d, LATERAL (SELECT id, sparse_embedding <=> d.sparse_embedding AS score"
             " FROM jflow_data.news_store ORDER BY (sparse_embedding <=> d.sparse_embedding) + 0.0, id LIMIT 10) s")
    for q in quoted:
        want = set(ids(exact % q))
        found += len(want & set(ids("SELECT id FROM jflow_search(%s, 10, 'news')" % q)))
        total += len(want)
    sql = "SELECT count(*) FROM jflow_search($query$the space shuttle and its orbit around the moon$query$, 10, 'news');"
    replicas = statistics.median(pgbench(sql, 3) for _ in range(RUNS))
    psql("SELECT jflow_stop('news'); SELECT jflow_scale('news', e, replicas => 0) FROM unnest('{v,store}'::text[]) e")
    session = statistics.median(pgbench(sql, 3) for _ in range(RUNS))
    print("| `/search` of one text, tokenizer and 2 shards, in replicas, median | %.2f ms, recall@10 %.3f | | | 1 ms, 0.95 |"
          % (replicas, found / total))
    print("| the same in the caller's session | %.2f ms | | | |" % session)


def private(kind):
    """Private memory in MB of the largest process of a kind."""
    largest = 0
    for pid in ids("SELECT pid FROM pg_stat_activity WHERE backend_type = '%s'" % kind):
        with open("/proc/%s/status" % pid) as f:
            largest = max(largest, *(int(line.split()[1]) / 1024 for line in f if line.startswith("RssAnon")))
    return largest


def bulk(base):
    psql("SELECT jflow_drop('sift', if_exists => true, drop_data => true)")
    psql("DROP TABLE IF EXISTS sift_source; CREATE UNLOGGED TABLE sift_source (id int, n int, embedding vector(128))")
    copy_binary("sift_source", base)
    psql("SELECT jflow_create('sift'); SELECT jflow_add('sift', 'sift', uses => 'PQLiteIndexer', workspace => 'jflow_data', shards => 2,"
         " uses_with => '{\"dim\": 128, \"metric\": \"l2\", \"columns\": {\"n\": \"int4\"}}');"
         "SELECT jflow_start('sift'); SELECT jflow_wait('sift')")
    post = "SELECT docs FROM jflow_post_query('/index', $$SELECT id, embedding, jsonb_build_object('n', n) AS tags FROM sift_source%s$$, 'sift')"
    # the table and its indexes first, trained on all rows; then both load into it
    psql(post % (" WHERE id < %d" % (len(base) // 10)))
    wait_for_indexes()
    before = private("jflow replica")
    start = time.perf_counter()
    psql(post % "")
    first = time.perf_counter() - start
    wait_for_indexes()
    after = private("jflow replica")
    path = os.path.join(psql("SHOW data_directory"), "sift.copy")
    psql("COPY (SELECT id %% 2, id::text, embedding, n, jsonb_build_object('n', n) FROM sift_source) TO '%s'" % path)
    psql("DELETE FROM jflow_data.sift_sift; VACUUM jflow_data.sift_sift")
    copied = timed_sql("COPY jflow_data.sift_sift (shard, id, embedding, n, tags) FROM '%s'" % path, "SELECT 1")
    psql("DELETE FROM jflow_data.sift_sift; VACUUM jflow_data.sift_sift")
    posted = timed_sql(post % "", "SELECT 1")
    os.remove(path)
    print("| bulk `/index` of %d SIFT descriptors, 2 shards, into indexed leaves | %.0f rows/s | COPY %.0f rows/s | %.2f | 0.5 |"
          % (len(base), len(base) / posted, len(base) / copied, copied / posted))
    print("| the same into a store of a tenth of them, which are replaced | %.0f rows/s | | | |" % (len(base) / first))
    print("| private memory of a replica after %d documents (after a tenth of them; after all twice) | %.1f MB (%.1f; %.1f) | | | no growth |"
          % (len(base), after, before, private("jflow replica")))
    psql("VACUUM ANALYZE jflow_data.sift_sift")
    print("| indexes | %s | | | |" % psql("SELECT string_agg(x.indexrelid::regclass || ' ' || pg_size_pretty(pg_relation_size(x.indexrelid)), ', ')"
          " FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid WHERE x.indrelid IN (SELECT relid FROM pg_partition_tree('jflow_data.sift_sift'))"
          " AND c.relam IN (SELECT oid FROM pg_am WHERE amname <> 'btree')"))


def vector(q):
    return "[%s]" % ",".join(str(x) for x in q)


def filtered(queries):
    """Recall and queries per second under filters, against hnsw with iterative scans."""
    psql("DROP TABLE IF EXISTS peer; CREATE TABLE peer (id text PRIMARY KEY, n int, embedding vector(128));"
         "INSERT INTO peer SELECT id::text, n, embedding FROM sift_source; SET maintenance_work_mem = '1GB';"
         "CREATE INDEX ON peer USING hnsw (embedding vector_l2_ops); VACUUM ANALYZE peer")
    for share, below in sorted(KEEP.items(), reverse=True):
        exact = [set(ids("SELECT id FROM peer WHERE n < %d ORDER BY (embedding <-> '%s') + 0.0 LIMIT 10" % (below, vector(q))))
                 for q in queries[:50]]
        ours = "SELECT m.id FROM jflow_post('/search', ARRAY[jflow_doc(embedding => '%s')], 'sift'," \
               " parameters => '{\"filter\": {\"n\": {\"$lt\": %d}}}') d, unnest(d.matches) m"
        got = [set(ids(ours % (vector(q), below))) for q in queries[:50]]
        recall = sum(len(a & b) for a, b in zip(exact, got)) / sum(len(a) for a in exact)
        rows = min(len(g) for g in got)
        rate = pgbench_times(ours % (vector(queries[0]), below) + ";", seconds=3)[1]
        for ef in (40, 100, 200, 400, 800):
            setup = "SET hnsw.iterative_scan = relaxed_order; SET hnsw.ef_search = %d; SET enable_seqscan = off; " % ef
            theirs = "SELECT id FROM peer WHERE n < %d ORDER BY embedding <-> '%s' LIMIT 10"
            peer = [set(ids(setup + theirs % (below, vector(q)))) for q in queries[:50]]
            peer_recall = sum(len(a & b) for a, b in zip(exact, peer)) / sum(len(a) for a in exact)
            if peer_recall >= min(recall, 0.95):
                break
        psql("ALTER ROLE postgres SET hnsw.iterative_scan = relaxed_order; ALTER ROLE postgres SET hnsw.ef_search = %d;"
             "ALTER ROLE postgres SET enable_seqscan = off" % ef)
        peer_rate = pgbench_times(theirs % (below, vector(queries[0])) + ";", seconds=3)[1]
        psql("ALTER ROLE postgres RESET ALL")
        print("| filter keeps %s %%: q/s at recall@10 (rows) | %.0f at %.3f (%d) | hnsw, ef %d: %.0f at %.3f | %.1f | 3, 0.95 |"
              % (share, rate, recall, rows, ef, peer_rate, peer_recall, rate / peer_rate))


def server_cpu():
    """Seconds of processor time of replicas, and of backends that have ended."""
    def times(pid, first):
        with open("/proc/%s/stat" % pid) as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[first]) + int(fields[first + 1])) / os.sysconf("SC_CLK_TCK")
    with open(os.path.join(psql("SHOW data_directory"), "postmaster.pid")) as f:
        ended = times(f.readline().strip(), 13)
    return ended + sum(times(pid, 11) for pid in ids("SELECT pid FROM pg_stat_activity WHERE backend_type = 'jflow replica'"))


def searches(script):
    """Searches a second of 8 clients, and the server's processor time of each in ms."""
    before = server_cpu()
    times, rate, _ = pgbench_times(script, clients=8, seconds=4)
    return rate, (server_cpu() - before) * 1000 / len(times)


def throughput(queries):
    """Clients that post a query vector against the same clients with plain SQL."""
    psql("DROP TABLE IF EXISTS sift_queries; CREATE TABLE sift_queries (i int PRIMARY KEY, v vector(128));"
         "INSERT INTO sift_queries VALUES %s; VACUUM ANALYZE sift_queries"
         % ", ".join("(%d, '%s')" % (i, vector(q)) for i, q in enumerate(queries)))
    choose = "\\set i random(0, %d)\n" % (len(queries) - 1)
    query = "(SELECT v FROM sift_queries WHERE i = :i)"
    post = choose + "SELECT m.* FROM jflow_post('/search', ARRAY[jflow_doc(embedding => %s)], 'sift') d, unnest(d.matches) m;" % query
    plain = choose + "SELECT id, embedding <-> %s, text, uri, tags FROM jflow_data.sift_sift ORDER BY embedding <-> %s LIMIT 10;" % (query, query)
    ours, theirs = [], []
    for _ in range(RUNS):
        ours.append(searches(post))
        theirs.append(searches(plain))
    a, b = statistics.median(x[0] for x in ours), statistics.median(x[0] for x in theirs)
    c, d = statistics.median(x[1] for x in ours), statistics.median(x[1] for x in theirs)
    print("| `/search` by 8 clients, query embeddings given, 2 shards with 2 replicas in all | %.0f/s | plain SQL on the parent %.0f/s | %.2f | 0.7 |"
          % (a, b, a / b))
    print("| the same, processor time of the server for one search | %.3f ms | %.3f ms | %.2f | |" % (c, d, d / c))


def main():
    psql("SET client_min_messages = error; CREATE EXTENSION IF NOT EXISTS jflow CASCADE")
    print("Machine: %d cores; load %.2f; %d SIFT descriptors; medians of %d runs\n" % (os.cpu_count(), os.getloadavg()[0], ROWS, RUNS))
    print("| what | jflow | peer | ratio | bar |")
    print("| --- | --- | --- | --- | --- |")
    news()
    base, queries = sift()
    bulk(base)
    throughput(queries)
    filtered(queries)


main()
