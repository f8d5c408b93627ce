"""The parts beside the curves: inserts, growth with rows, filters, wide columns."""
import gzip
import json
import os
import sys

import numpy as np

import sets
from server import build, check_plan, client, exists, sparse_text, use_only, vector_text, warm, watched
from vectors import ServerError, buckets, load_table, psql, write_vecs

NEW_ROWS = 3000
FILTERED_QUERIES = 200
WIDE_TERMS = 5215
WIDE_QUERIES = 500
SHARES = (500, 100, 10, 1)		# of 1000

# Where recall is held, the first setting that reaches it counts.
LADDERS = {
    "pq": ["SET jflow.pq_recall = %s" % r for r in (0.9, 0.95, 0.97, 0.98, 0.99, 0.995)],
    "hnsw": ["SET hnsw.ef_search = %d" % n for n in (20, 30, 40, 50, 60, 80, 120, 160, 240, 400)]}
# What scans of pq indexes hold, and what the backend keeps of the indexes.
SCAN_MEMORY = ("SELECT coalesce(sum(total_bytes) FILTER (WHERE name = 'pq scan' OR parent = 'pq scan'), 0), "
               "coalesce(sum(total_bytes) FILTER (WHERE name = 'pq index'), 0) FROM pg_backend_memory_contexts")
ITERATIVE = ["SET hnsw.iterative_scan = relaxed_order", "SET hnsw.max_scan_tuples = 2000000",
             "SET hnsw.scan_mem_multiplier = 16"]


def log(*words):
    print(*words, file=sys.stderr, flush=True)


def definition(table, method, opclass, columns=""):
    options = " WITH (m = 16, ef_construction = 64)" if method == "hnsw" else ""
    return "%s USING %s (embedding %s%s)%s" % (table, method, opclass, columns, options)


def compared(options):
    return [m for m in options.indexes if m in ("pq", "hnsw")]


def ladder(statement, files, method, goal, settings=()):
    """The points up to the first whose recall reaches the goal."""
    points = []
    for setting in LADDERS[method]:
        point = client(files[0], statement, *files[1:], settings=[*settings, setting], seconds=1, warmups=50)
        points.append(dict(point, setting=setting[4:]))
        if point["recall"] >= goal:
            break
    log("   %-6s %s: recall %.4f %.1f q/s" % (method, points[-1]["setting"], points[-1]["recall"], points[-1]["qps"]))
    return points


def new_rows(folder, data_set):
    """Rows like those of the set: some of them with a little noise."""
    file = sets.path(folder, data_set.name, "new.fvecs")
    rng = np.random.default_rng(11)
    base = sets.base(folder, data_set.name)
    rows = np.asarray(base[np.sort(rng.choice(len(base), NEW_ROWS, replace=False))], np.float32)
    rows = rng.permutation(rows + rng.normal(0, 0.1 * rows.std(), rows.shape).astype(np.float32))
    if data_set.metric == "cosine":
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    write_vecs(file, rows)
    return file


def growth(results, folder, data_set, options):
    """The tenth of the rows beside all of them, at a recall of 0.95 and 0.99."""
    tenth = data_set.name + "_tenth"
    base = sets.base(folder, data_set.name)[::10]
    files = (folder, sets.path(folder, data_set.name, "queries.fvecs"), sets.path(folder, data_set.name, "tenth.ivecs"))
    if not exists(tenth):
        load_table(tenth, base)
    if not os.path.exists(files[2]):
        write_vecs(files[2], sets.exact_nearest(base, sets.queries(folder, data_set.name), data_set.metric))
    statement = "SELECT id FROM %s ORDER BY embedding %s $1 LIMIT 10" % (tenth, data_set.operator)
    for method in compared(options):
        index = "%s_%s" % (tenth, method)
        made = build(index, definition(tenth, method, sets.opclass(data_set)))
        use_only(tenth, index)
        warm(tenth, index)
        check_plan(index, statement, vector_text(sets.queries(folder, data_set.name)[0]))
        results.put(tenth, method, "build", made)
        results.put(tenth, method, "curve", ladder(statement, files, method, 0.995))


def memory(results, folder, data_set):
    """What a build and a scan allocate."""
    table, index = data_set.name, "%s_pq_memory" % data_set.name
    for workers in (0, 1):
        psql("DROP INDEX IF EXISTS %s" % index)
        made = watched("SET client_min_messages = error; SET maintenance_work_mem = '256MB'; "
                       "SET max_parallel_maintenance_workers = %d; CREATE INDEX %s ON %s"
                       % (workers, index, definition(table, "pq", sets.opclass(data_set))))
        log("   build, %d workers: %.1f MB" % (made["workers"], made["mb"]))
        results.put(table, "pq", "build memory, %d workers" % workers, made)
    use_only(table, index)
    sample = vector_text(sets.queries(folder, data_set.name)[0])
    taken = psql("SET enable_seqscan = off; SET jflow.pq_recall = 0.99; BEGIN; "
                 "DECLARE c CURSOR FOR SELECT id FROM %s ORDER BY embedding %s '%s'; MOVE 10 FROM c; %s; "
                 "MOVE 100000 FROM c; %s; COMMIT" % (table, data_set.operator, sample, SCAN_MEMORY, SCAN_MEMORY))
    for rows, line in zip((10, 100000), taken.split("\n")):
        scan, kept = (round(int(n) / 2 ** 20, 2) for n in line.split("|"))
        log("   scan of %d rows: %.2f MB, and %.2f MB kept of the index" % (rows, scan, kept))
        results.put(table, "pq", "scan memory, %d rows" % rows, {"mb": scan, "kept_mb": kept})
    psql("DROP INDEX %s" % index)


def filter_files(folder, data_set, share):
    """Queries and the exact answers among the rows whose bucket is below the share."""
    truth = sets.path(folder, data_set.name, "filter%d.ivecs" % share)
    asked = sets.path(folder, data_set.name, "filter.fvecs")
    queries = sets.queries(folder, data_set.name)[:FILTERED_QUERIES]
    if not os.path.exists(truth):
        base = sets.base(folder, data_set.name)
        ids = np.flatnonzero(buckets(len(base)) < share)
        write_vecs(asked, queries)
        write_vecs(truth, ids[sets.exact_nearest(base[ids], queries, data_set.metric)].astype(np.int32))
    return folder, asked, truth


def filtered(results, folder, data_set, options):
    """WHERE bucket < share: pq with the column in the index, pq without, hnsw iterating."""
    table, opclass = data_set.name, sets.opclass(data_set)
    cases = {"pq, column in the index": ("pq", "%s_pq_bucket" % table, ()),
             "pq": ("pq", "%s_pq" % table, ()), "hnsw": ("hnsw", "%s_hnsw" % table, ITERATIVE)}
    for case, (method, index, settings) in cases.items():
        if method not in options.indexes:
            continue
        try:
            if case.endswith("index"):
                results.put("filter", case, "build", build(index, definition(table, method, opclass, ", bucket")))
            use_only(table, index)
            warm(table, index)
            results.put("filter", case, "curve", filter_points(folder, data_set, method, index, settings))
        except ServerError as error:
            log(case, str(error))
            results.put("filter", case, "curve", {})
    psql("DROP INDEX IF EXISTS %s_pq_bucket" % table)


def filter_points(folder, data_set, method, index, settings):
    points = {}
    for share in SHARES:
        files = filter_files(folder, data_set, share)
        statement = ("SELECT id FROM %s WHERE bucket < %d ORDER BY embedding %s $1 LIMIT 10"
                     % (data_set.name, share, data_set.operator))
        always = ["SET enable_seqscan = off", *settings]
        check_plan(index, statement, vector_text(sets.queries(folder, data_set.name)[0]), always)
        log("   %g %%" % (share / 10))
        points[str(share)] = ladder(statement, files, method, 0.95, always)
    return points


def tfidf(source):
    """TF-IDF of 20 Newsgroups at 5,215 terms: train rows and some test rows as queries."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    texts = {}
    for part in ("train", "test"):
        with gzip.open(os.path.join(source, "20newsgroups", part + ".jsonl.gz"), "rt", encoding="utf-8") as f:
            texts[part] = [json.loads(line)["text"] for line in f]
    vectorizer = TfidfVectorizer(max_features=WIDE_TERMS, dtype=np.float32)
    rows = vectorizer.fit_transform(texts["train"])
    return rows, vectorizer.transform(texts["test"][:WIDE_QUERIES])


def wide_files(source, folder):
    rows, asked = tfidf(source)
    target = os.path.join(folder, "wide")
    os.makedirs(target, exist_ok=True)
    files = (folder, os.path.join(target, "queries.fvecs"), os.path.join(target, "groundtruth.ivecs"))
    if not os.path.exists(files[2]):
        nearest = np.argsort(-(asked @ rows.T).toarray(), axis=1, kind="stable")[:, :10]
        write_vecs(files[1], asked.toarray())
        write_vecs(files[2], nearest.astype(np.int32))
    return rows, asked, files


def wide(results, folder, options):
    """A column of 5,215 dimensions, dense and sparse."""
    source = os.environ.get("JFLOW_DATA", "")
    if not os.path.exists(os.path.join(source, "20newsgroups")):
        log("wide: JFLOW_DATA names no folder with 20newsgroups; left out")
        return
    rows, asked, files = wide_files(source, folder)
    if not exists("wide"):
        load_table("wide", rows.toarray())
        psql("CREATE TABLE wide_sparse AS SELECT id, embedding::sparsevec(%d) FROM wide; VACUUM ANALYZE wide_sparse"
             % WIDE_TERMS)
    first = asked[0].toarray()[0]
    for table, kind, sample in (("wide", "vector", vector_text(first)), ("wide_sparse", "sparsevec", sparse_text(first))):
        statement = "SELECT id FROM %s ORDER BY embedding <=> $1 LIMIT 10" % table
        for method in compared(options):
            try:
                index = "%s_%s" % (table, method)
                made = build(index, definition(table, method, kind + "_cosine_ops"))
                use_only(table, index)
                warm(table, index)
                check_plan(index, statement, sample, ["SET enable_seqscan = off"])
                results.put(table, method, "build", made)
                results.put(table, method, "curve", ladder(statement, files, method, 0.99, ["SET enable_seqscan = off"]))
            except ServerError as error:
                log(index, str(error))
                results.put(table, method, "build", {"refused": str(error)})
        use_only(table, None)
        results.put(table, "none", "curve", [client(files[0], statement, *files[1:], seconds=1, warmups=20)])
