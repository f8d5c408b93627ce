"""Vector files and their way into a table.

Reads .npy (any number type), .fvecs, .bvecs and .ivecs; writes .fvecs and .ivecs
for client.c; loads a table by binary COPY, through psql and its environment.
"""
import os
import subprocess

import numpy as np

CHUNK = 20000
# What comes before and after the rows of COPY BINARY.
COPY_START = b"PGCOPY\n\xff\r\n\0" + b"\0" * 8
COPY_END = b"\xff\xff"
BUCKETS = 1000


class ServerError(Exception):
    """What the server refused, in its words."""


def read_vectors(path):
    """The file as a two-dimensional array, mapped rather than read."""
    suffix = os.path.splitext(path)[1]
    if suffix == ".npy":
        return np.load(path, mmap_mode="r")
    if suffix == ".bvecs":
        raw = np.memmap(path, np.uint8, "r")
        dims = int(raw[:4].view("<i4")[0])
        return raw.reshape(-1, dims + 4)[:, 4:]
    if suffix in (".fvecs", ".ivecs"):
        raw = np.memmap(path, "<i4", "r")
        rows = raw.reshape(-1, int(raw[0]) + 1)[:, 1:]
        return rows.view("<f4") if suffix == ".fvecs" else rows
    raise SystemExit("%s: the name must end in .npy, .fvecs, .bvecs or .ivecs" % path)


def write_vecs(path, rows):
    """Writes .fvecs or .ivecs, as the name says."""
    kind = "<f4" if path.endswith(".fvecs") else "<i4"
    out = np.empty((len(rows), rows.shape[1] + 1), "<i4")
    out[:, 0] = rows.shape[1]
    out[:, 1:] = np.ascontiguousarray(rows, kind).view("<i4")
    out.tofile(path)


def psql(sql):
    """Runs SQL; returns what it prints, fields separated by |."""
    run = subprocess.run(["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"],
                         input=sql.encode(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if run.returncode != 0:
        raise ServerError(run.stderr.decode().strip())
    return run.stdout.decode().strip()


def buckets(rows):
    """A number below BUCKETS for each row, the same in every run: what filters test."""
    return np.random.default_rng(5).integers(0, BUCKETS, rows).astype(np.int32)


def copy_tuples(ids, vectors, bucket):
    """Rows (int4, vector, int4) in the format of COPY BINARY."""
    dims = vectors.shape[1]
    row = np.dtype([("fields", ">i2"), ("id_size", ">i4"), ("id", ">i4"), ("size", ">i4"), ("dims", ">i2"),
                    ("unused", ">i2"), ("x", ">f4", (dims,)), ("bucket_size", ">i4"), ("bucket", ">i4")])
    out = np.zeros(len(ids), row)
    out["fields"] = 3
    out["id_size"] = out["bucket_size"] = 4
    out["id"], out["bucket"] = ids, bucket
    out["size"] = 4 + 4 * dims
    out["dims"] = dims
    out["x"] = vectors
    return out.tobytes()


def load_table(table, vectors, ids=None):
    """Makes the table anew: id, embedding vector(dims), bucket; no index."""
    ids = np.arange(len(vectors), dtype=np.int32) if ids is None else ids
    bucket = buckets(len(vectors))
    psql("SET client_min_messages = error; CREATE EXTENSION IF NOT EXISTS vector; DROP TABLE IF EXISTS %s;"
         "CREATE TABLE %s (id int, embedding vector(%d), bucket int)" % (table, table, vectors.shape[1]))
    copy = subprocess.Popen(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c",
                             "COPY %s FROM STDIN (FORMAT binary)" % table], stdin=subprocess.PIPE)
    copy.stdin.write(COPY_START)
    for i in range(0, len(vectors), CHUNK):
        part = slice(i, i + CHUNK)
        copy.stdin.write(copy_tuples(ids[part], np.asarray(vectors[part], np.float32), bucket[part]))
    copy.stdin.write(COPY_END)
    copy.stdin.close()
    if copy.wait() != 0:
        raise SystemExit("loading %s failed" % table)
    psql("VACUUM (ANALYZE) %s" % table)
