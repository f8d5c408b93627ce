#!/usr/bin/env python3
"""Are BM25 scores, and the quality of a search by them, those of a reference?

The reference counts terms with scikit-learn and weighs them with numpy.  Documents
are the training posts of 20 Newsgroups, queries the subject lines of the others, and
what is relevant is what is of the same group; without that corpus, the texts of the
repository, and their first words.
"""
import gzip
import json
import os
import re
import subprocess
import sys

import numpy as np
from scipy.sparse import csr_matrix, diags
from sklearn.feature_extraction.text import CountVectorizer

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
K1, B = 1.2, 0.75
TOLERANCE = 1e-5


def psql(sql, stdin=None):
    command = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql]
    run = subprocess.run(command, input=stdin, stdout=subprocess.PIPE, check=True)
    return run.stdout.decode("utf-8").strip()


def clean(text):
    return re.sub(r"[\x00-\x1f\\\"]+", " ", text)


def subject(text):
    lines = (line[8:] for line in text.splitlines() if line.lower().startswith("subject:"))
    return clean(next(lines, "").replace("Re:", " ")).strip()


def read(path):
    with gzip.open(path, "rt", encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def corpus(queries):
    """Two lists of (label, text): documents, and at most so many queries."""
    for folder in (os.environ.get("JFLOW_DATA", ""), os.path.join(TOP, "..", "shared", "data")):
        path = os.path.join(folder, "20newsgroups")
        if folder and os.path.exists(path):
            docs = [(d["label"], clean(d["text"])) for d in read(os.path.join(path, "train.jsonl.gz"))]
            asked = [(d["label"], subject(d["text"])) for d in read(os.path.join(path, "test.jsonl.gz"))]
            return docs, [q for q in asked if q[1]][:queries]
    with open(os.path.join(TOP, "demo", "corpus.jsonl"), encoding="utf-8") as f:
        posts = [json.loads(line) for line in f]
    docs = [(p["label"], clean(p["text"])) for p in posts]
    return docs, [(label, " ".join(text.split()[:6])) for label, text in docs][:queries]


class Reference:
    """BM25 of all documents, after S. Robertson and H. Zaragoza, with 1 in the logarithm."""

    def __init__(self, texts):
        self.vectorizer = CountVectorizer()
        counts = self.vectorizer.fit_transform(texts).tocsr().astype(float)
        length = np.asarray(counts.sum(axis=1)).ravel()
        frequency = np.bincount(counts.indices, minlength=counts.shape[1])
        self.idf = np.log(1 + (len(texts) - frequency + 0.5) / (frequency + 0.5))
        norm = np.repeat(K1 * (1 - B + B * length / length.mean()), np.diff(counts.indptr))
        weights = counts.data * (K1 + 1) / (counts.data + norm)
        self.documents = csr_matrix((weights, counts.indices, counts.indptr), counts.shape)

    def scores(self, texts):
        """A row for each text, a column for each document."""
        return (self.vectorizer.transform(texts) @ diags(self.idf) @ self.documents.T).toarray()


def best(scores, k=10):
    """The first k documents with a common term, equal ones by their id as text."""
    ids = np.argsort(np.argsort([str(i) for i in range(scores.shape[1])]))
    out = []
    for row in scores:
        order = np.lexsort((ids, -row))[:k]
        out.append([(int(i), row[i]) for i in order if row[i] > 0])
    return out


def ndcg(found, docs, queries, k=10):
    """The mean nDCG@k of lists of (document, score), a document of a query's label being relevant."""
    total = {}
    for label, _ in docs:
        total[label] = total.get(label, 0) + 1
    gain = 1 / np.log2(np.arange(2, k + 2))
    values = []
    for (label, _), answer in zip(queries, found):
        got = sum(g for g, (i, _) in zip(gain, answer) if docs[i][0] == label)
        values.append(got / gain[:min(k, total.get(label, 0))].sum() if total.get(label) else 0)
    return float(np.mean(values))


def quoted(text):
    return '"%s"' % text.replace('"', '""')


def load(table, rows):
    """rows of (label, text), numbered"""
    psql("DROP TABLE IF EXISTS %s; CREATE TABLE %s (id int PRIMARY KEY, text text)" % (table, table))
    lines = "".join("%d,%s\n" % (i, quoted(text)) for i, (_, text) in enumerate(rows))
    psql("COPY %s FROM STDIN WITH (FORMAT csv)" % table, lines.encode("utf-8"))


def search(flow, asked, columns="text => text", parameters="{}", target=".*"):
    """What a flow finds for each row of a table: lists of (document, score), the greater the nearer."""
    out = psql("SELECT d.id, m.id, -m.score FROM (SELECT array_agg(jflow_doc(id => id::text, %s)) AS docs FROM %s GROUP BY id / 100) a,"
               " jflow_post('/search', a.docs, '%s', '%s', target_executor => '%s', request_size => 20) d,"
               " unnest(d.matches) WITH ORDINALITY m(id, score, text, uri, tags, n)"
               " ORDER BY d.id::int, m.n" % (columns, asked, flow, parameters, target))
    found = [[] for _ in range(int(psql("SELECT count(*) FROM %s" % asked)))]
    for line in out.split("\n") if out else []:
        query, doc, score = line.split("|")
        found[int(query)].append((int(doc), float(score)))
    return found


def main():
    docs, queries = corpus(1000)
    psql("SET client_min_messages = warning; CREATE EXTENSION IF NOT EXISTS jflow CASCADE")
    load("parity", docs)
    load("asked", queries)
    psql("SELECT jflow_drop('bm25', if_exists => true, drop_data => true)")
    psql("SELECT jflow_create('bm25')")
    psql("SELECT jflow_add('bm25', 'v', uses => 'BM25Vectorizer', replicas => 0)")
    psql("SELECT jflow_add('bm25', 'words', uses => 'PQLiteIndexer', replicas => 0,"
         " uses_with => '{\"field\": \"sparse_embedding\", \"metric\": \"ip\"}')")
    psql("SELECT docs FROM jflow_fit('bm25', 'v', 'SELECT text FROM parity')")
    psql("SELECT docs FROM jflow_post_query('/index', 'SELECT id, text FROM parity', 'bm25')")
    ours = search("bm25", "asked")
    scores = Reference([text for _, text in docs]).scores([text for _, text in queries])
    theirs = best(scores)
    worst = 0.0
    for row, a, b in zip(scores, ours, theirs):
        if len(a) != len(b):
            worst = float("inf")
            continue
        # each document's score, and that of the rank
        for (i, got), (_, expected) in zip(a, b):
            worst = max(worst, abs(got - row[i]) / max(1, row[i]), abs(got - expected) / max(1, expected))
    ok = worst <= TOLERANCE
    print("%s - BM25 of %d queries in %d texts: largest difference %.1e" % ("ok" if ok else "not ok", len(queries), len(docs), worst))
    mine, reference = ndcg(ours, docs, queries), ndcg(theirs, docs, queries)
    # documents whose scores differ by less than a float holds may change places
    better = mine >= reference - 0.001
    print("%s - nDCG@10 %.4f, of the reference %.4f" % ("ok" if better else "not ok", mine, reference))
    psql("SELECT jflow_drop('bm25', drop_data => true)")
    psql("DROP TABLE parity, asked")
    sys.exit(not (ok and better))


if __name__ == "__main__":
    main()
