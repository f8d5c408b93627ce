"""Searches by flows: the tutorial's, a hybrid one beside its branches, and how good
their answers are."""
import os
import statistics
import sys
import time

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path += [os.path.join(HERE, ".."), os.path.join(HERE, "../pq"), os.path.join(HERE, "../../test/parity")]
import bm25  # noqa: E402
from common import RUNS, psql  # noqa: E402
from server import client  # noqa: E402

DIMS = 384
MEANING = 0.5			# what a rank by meaning counts, beside 1 for words
QUERIES = 2000
NUMBERS = 20			# queries that are asked again and again
SPARSE = '{"field": "sparse_embedding", "metric": "ip"}'


def embed(docs, queries):
    """Both by latent semantic analysis of the documents, as unit vectors."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.utils.extmath import randomized_svd
    vectorizer = TfidfVectorizer(min_df=min(5, 1 + len(docs) // 1000), max_df=0.3, sublinear_tf=True, dtype=np.float32)
    matrix = vectorizer.fit_transform([text for _, text in docs])
    _, _, axes = randomized_svd(matrix, n_components=min(DIMS, matrix.shape[1]), n_iter=3, random_state=0)

    def unit(rows):
        projected = rows @ axes.T
        return projected / np.maximum(np.linalg.norm(projected, axis=1, keepdims=True), 1e-9)
    return unit(matrix), unit(vectorizer.transform([text for _, text in queries]))


def load(table, rows, vectors):
    psql("SET client_min_messages = error; DROP TABLE IF EXISTS %s; CREATE TABLE %s (id int PRIMARY KEY, text text, embedding vector(%d))"
         % (table, table, vectors.shape[1]))
    lines = "".join('%d,%s,"[%s]"\n' % (i, bm25.quoted(text), ",".join("%.6g" % x for x in v))
                    for i, ((_, text), v) in enumerate(zip(rows, vectors)))
    psql(None, "COPY %s FROM STDIN WITH (FORMAT csv);\n%s\\.\n" % (table, lines))
    psql("VACUUM ANALYZE %s" % table)


def wait_for_indexes():
    while psql("SELECT count(*) FROM jflow.shard WHERE due") != "0":
        time.sleep(0.05)


def replicas_time():
    """Seconds of processor time that replicas have had."""
    total = 0.0
    for pid in psql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'jflow replica'").split():
        with open("/proc/%s/schedstat" % pid, encoding="utf-8") as f:
            total += int(f.read().split()[0]) / 1e9
    return total


def search_times(folder, runs):
    """Of each named statement in turn, one parameter of some numbers: p50, p50 of each number's best pass, and
    processor time of backend and replicas, in ms."""
    with open(os.path.join(folder, "numbers"), "w", encoding="utf-8") as f:
        f.writelines("%d\n" % i for i in range(NUMBERS))
    rounds = {name: [] for name in runs}
    for _ in range(RUNS):
        for name, statement in runs.items():
            before = replicas_time()
            measured = client(folder, statement, os.path.join(folder, "numbers"), lines=True, warmups=0, seconds=2)
            own = (replicas_time() - before) * 1e6 / measured["queries"] + measured["processor_us"]
            rounds[name].append((measured["p50_us"] / 1000, measured["best_us"] / 1000, own / 1000))
    return {name: dict(zip(("p50", "best", "processor"), (statistics.median(x) for x in zip(*measured))))
            for name, measured in rounds.items()}


def tutorial(folder):
    """The tutorial's flow: a tokenizer and an indexer of two shards, in replicas."""
    psql("SELECT jflow_drop('news', if_exists => true, drop_data => true); SELECT jflow_create('news');"
         "SELECT jflow_add('news', 'v', uses => 'TfidfVectorizer', uses_with => '{\"max_features\": 5215}');"
         "SELECT jflow_start('news'); SELECT jflow_wait('news')")
    psql("SELECT jflow_fit('news', 'v', 'SELECT text FROM document')")
    psql("SELECT jflow_add('news', 'store', uses => 'PQLiteIndexer', workspace => 'jflow_data', shards => 2,"
         " uses_with => '{\"metric\": \"cosine\"}'); SELECT jflow_wait('news')")
    psql("SELECT docs FROM jflow_post_query('/index', 'SELECT id, text FROM document', 'news')")
    wait_for_indexes()
    psql("VACUUM ANALYZE jflow_data.news_store")
    # the answers, and those of a sort of all rows
    psql("DROP TABLE IF EXISTS probe; CREATE TABLE probe AS SELECT row_number() OVER (ORDER BY id) - 1 AS id, left(text, 200) AS text FROM asked WHERE id < 100")
    got = bm25.search("news", "probe")
    exact = psql("SELECT d.id, s.id FROM jflow_post('/x', (SELECT array_agg(jflow_doc(id => id::text, text => text)) FROM probe), 'news', target_executor => 'v') d,"
                 " LATERAL (SELECT id FROM jflow_data.news_store WHERE sparse_embedding <=> d.sparse_embedding < 1"
                 " ORDER BY (sparse_embedding <=> d.sparse_embedding) + 0.0, id COLLATE \"C\" LIMIT 10) s")
    want = {tuple(map(int, line.split("|"))) for line in exact.split("\n")}
    have = {(query, doc) for query, row in enumerate(got) for doc, _ in row}
    made = psql("SELECT string_agg(DISTINCT amname, ',') FROM pg_class c JOIN pg_am a ON a.oid = c.relam WHERE relname LIKE 'news\\_store%' AND amname IN ('pq', 'inverted')")
    search = {"search": "SELECT count(*) FROM jflow_search((SELECT text FROM probe WHERE id = $1::int), 10, 'news')"}
    replicas = search_times(folder, search)["search"]
    psql("SELECT jflow_stop('news'); SELECT jflow_scale('news', e, replicas => 0) FROM unnest('{v,store}'::text[]) e")
    session = search_times(folder, search)["search"]
    psql("SELECT jflow_drop('news', drop_data => true)")
    return {"recall": len(want & have) / len(want), "index": made, "replicas": replicas, "session": session}


def hybrid(folder, docs, queries):
    """Words and meaning in replicas, joined by their ranks; times of it and of its branches, in turn."""
    psql("SELECT jflow_drop('hybrid', if_exists => true, drop_data => true); SELECT jflow_create('hybrid')")
    dims = psql("SELECT vector_dims(embedding) FROM document LIMIT 1")
    for name, options in (("encoder", "uses => 'BM25Vectorizer'"), ("words", "uses => 'PQLiteIndexer', uses_with => '%s'" % SPARSE),
                          ("meaning", "uses => 'PQLiteIndexer', needs => '{gateway}', uses_with => '{\"field\": \"embedding\", \"dim\": %s}'" % dims),
                          ("fused", "uses => 'RRFRanker', needs => '{words,meaning}', uses_with => '{\"weights\": {\"meaning\": %s}}'" % MEANING)):
        psql("SELECT jflow_add('hybrid', '%s', %s)" % (name, options))
    psql("SELECT jflow_start('hybrid'); SELECT jflow_wait('hybrid')")
    psql("SELECT jflow_fit('hybrid', 'encoder', 'SELECT text FROM document')")
    psql("SELECT docs FROM jflow_post_query('/index', 'SELECT id, text, embedding FROM document', 'hybrid')")
    wait_for_indexes()
    psql("VACUUM ANALYZE")
    out = {"ndcg": {}}
    both = "text => text, embedding => embedding"
    targets = {"words": "encoder|words", "meaning": "meaning", "hybrid": ".*"}
    for name, target in targets.items():
        out["ndcg"][name] = bm25.ndcg(bm25.search("hybrid", "asked", both, target=target), docs, queries)
    # the branches are asked for as many as the ranker asks them for
    post = ("SELECT count(*) FROM jflow_post('/search', (SELECT ARRAY[jflow_doc(text => text, embedding => embedding)] FROM asked WHERE id = $1::int),"
            " 'hybrid', '%s', target_executor => '%s')")
    out["times"] = search_times(folder, {name: post % ("{}" if name == "hybrid" else '{"limit": 100}', target) for name, target in targets.items()})
    psql("SELECT jflow_drop('hybrid', drop_data => true)")
    return out


def measure(folder, texts):
    docs = [(group, bm25.clean(text)) for group, text in texts["train"]]
    queries = [(group, bm25.subject(text)) for group, text in texts["test"]]
    queries = [q for q in queries if q[1]][:QUERIES]
    psql("SET client_min_messages = error; CREATE EXTENSION IF NOT EXISTS jflow CASCADE")
    vectors = embed(docs, queries)
    load("document", docs, vectors[0])
    load("asked", queries, vectors[1])
    reference = []
    index = bm25.Reference([text for _, text in docs])
    for i in range(0, len(queries), 500):
        reference += bm25.best(index.scores([text for _, text in queries[i:i + 500]]))
    out = {"documents": len(docs), "queries": len(queries), "tutorial": tutorial(folder), "hybrid": hybrid(folder, docs, queries)}
    out["hybrid"]["ndcg"]["reference"] = bm25.ndcg(reference, docs, queries)
    psql("DROP TABLE document, asked, probe")
    return out
