#!/usr/bin/env python3
"""Are TF-IDF vectors equal to scikit-learn's, over a whole corpus?

Runs psql against the server that the environment names.  The corpus is 20
Newsgroups where it is found, else the small one of the repository; texts that
are hard on Unicode are added to either.
"""
import csv
import gzip
import io
import json
import os
import subprocess
import sys

from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TOLERANCE = 1e-6

HARD_TEXTS = [
    "ΣΊΣΥΦΟΣ ΟΔΟΣ Σ ΑΣ. ΑΣΑ Α'Σ Σ'Α ΑΣ'Α", "İSTANBUL İzmir ıssız I", "Straße STRASSE ẞ ﬁne",
    "naïve Café ÀÉÎ Ǆ ǅ ǆ", "日本語のテキスト 中文 한국어", "हिन्दी भाषा ไทย", "a_b __ _ x1 1x ½ ² ٣٤",
    "e\u0301a cafe\u0301 \u200dzero\u200cwidth", "😀 emoji😀text 🏳️‍🌈", "\u2160\u2161 Ⅷ ⓐⓑ 𝔘𝔫𝔦 𝟙𝟚",
    "", " ", "single a b c", "don't can't O'Neill's", "Ⱥ Ⱦ ȺȾ", "ᾼΣ ΑΣ\u0345 Α\u0345Σ", "ꙀꙂ ჀႠ Ა", "Kelvin \u212a \u212b \u2126",
]

OPTIONS = [
    {},
    {"sublinear_tf": True, "norm": "l1"},
    {"stop_words": "english", "min_df": 3, "max_df": 0.5},
    {"ngram_range": [1, 2], "min_df": 5, "binary": True},
    {"lowercase": False, "smooth_idf": False, "min_df": 2},
    {"use_idf": False, "norm": None, "max_df": 0.9},
    {"max_features": 5215},
]


def corpus():
    for folder in (os.environ.get("JFLOW_DATA", ""), os.path.join(TOP, "..", "shared", "data")):
        path = os.path.join(folder, "20newsgroups", "train.jsonl.gz")
        if folder and os.path.exists(path):
            with gzip.open(path, "rt", encoding="utf-8") as f:
                return [json.loads(line)["text"] for line in f]
    with open(os.path.join(TOP, "demo", "corpus.jsonl"), encoding="utf-8") as f:
        return [json.loads(line)["text"] for line in f]


def psql(sql, stdin=None):
    command = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql]
    run = subprocess.run(command, input=stdin, stdout=subprocess.PIPE, check=True)
    return run.stdout.decode("utf-8")


def load(texts):
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL)
    for i, text in enumerate(texts):
        writer.writerow([i, text])
    psql("DROP TABLE IF EXISTS parity; CREATE TABLE parity (id int PRIMARY KEY, text text)")
    psql("COPY parity FROM STDIN WITH (FORMAT csv)", out.getvalue().encode("utf-8"))


def ours(options):
    quoted = json.dumps(options).replace("'", "''")
    psql("SELECT jflow_drop('parity', if_exists => true)")
    psql("SELECT jflow_create('parity')")
    psql("SELECT jflow_add('parity', 'v', uses => 'TfidfVectorizer', uses_with => '%s', replicas => 0)" % quoted)
    psql("SELECT jflow_fit('parity', 'v', 'SELECT text FROM parity ORDER BY id')")
    terms = psql("SELECT term FROM jflow_terms('parity', 'v') ORDER BY index").split("\n")[:-1]
    rows = psql("SELECT trim(split_part(sparse_embedding::text, '/', 1), '{}') FROM jflow_post('/x', "
                "(SELECT array_agg(jflow_doc(id => id::text, text => text) ORDER BY id) FROM parity), "
                "flow => 'parity')").split("\n")[:-1]
    indptr, indices, values = [0], [], []
    for row in rows:
        if row:
            for pair in row.split(","):
                index, value = pair.split(":")
                indices.append(int(index) - 1)
                values.append(float(value))
        indptr.append(len(indices))
    return terms, csr_matrix((values, indices, indptr), shape=(len(rows), len(terms)))


def theirs(options, texts, terms):
    options = dict(options)
    if "ngram_range" in options:
        options["ngram_range"] = tuple(options["ngram_range"])
    if options.pop("max_features", None):
        # terms of equal frequency are cut in no defined order there
        options["vocabulary"] = terms
    vectorizer = TfidfVectorizer(**options)
    matrix = vectorizer.fit_transform(texts)
    return list(vectorizer.get_feature_names_out()), matrix


def main():
    texts = corpus() + HARD_TEXTS
    psql("SET client_min_messages = warning; CREATE EXTENSION IF NOT EXISTS jflow CASCADE")
    load(texts)
    failed = False
    for options in OPTIONS:
        terms, matrix = ours(options)
        expected_terms, expected = theirs(options, texts, terms)
        if terms != expected_terms:
            only = set(terms) ^ set(expected_terms)
            print("not ok - %s: vocabularies differ: %s" % (options, sorted(only)[:10]))
            failed = True
            continue
        worst = abs(matrix - expected).max() / max(1.0, abs(expected).max())
        ok = worst <= TOLERANCE
        failed |= not ok
        print("%s - %s: %d texts, %d terms, largest difference %.1e"
              % ("ok" if ok else "not ok", json.dumps(options), len(texts), len(terms), worst))
    psql("SELECT jflow_drop('parity'); DROP TABLE parity")
    sys.exit(failed)


main()
