"""The data sets: where they come from and what is asked of them."""
import collections
import os
import subprocess
import sys

import numpy as np

from vectors import CHUNK, read_vectors, write_vecs

Set = collections.namedtuple("Set", "name title metric operator ivfflat_lists")
SETS = collections.OrderedDict((s.name, s) for s in (
    Set("sift", "SIFT, 1,100,900 × 128, L2", "l2", "<->", 1000),
    Set("textlsa", "text-lsa, 294,143 × 384, cosine", "cosine", "<=>", 500),
    Set("textlsa1536", "text-lsa, 60,000 × 1,536, cosine", "cosine", "<=>", 250),
    Set("unlike", "text-lsa, 100,000 × 384, cosine, queries unlike the rows", "cosine", "<=>", 300),
    Set("norms", "text-lsa, 100,000 × 384, inner product, lognormal norms", "ip", "<#>", 300),
    Set("moved", "SIFT, 100,000 × 128, L2, moved by 10,000", "l2", "<->", 300)))
# All parts are run on these, and curves and rows alone on the others.
MAIN = ("sift", "textlsa")
# What a set is made of, where it is not from the data folder itself.
MADE_OF = {"unlike": "textlsa", "norms": "textlsa", "moved": "sift"}
DERIVED_ROWS = 100000


def opclass(data_set):
    return "vector_%s_ops" % data_set.metric


def path(folder, name, file):
    return os.path.join(folder, name, file)


def base(folder, name):
    return read_vectors(path(folder, name, "base.npy"))


def queries(folder, name):
    return np.asarray(read_vectors(path(folder, name, "queries.npy")), np.float32)


class Nearest:
    """The ids of the k nearest rows of each query, nearest first, of rows that come in parts; -1 where there are fewer."""

    def __init__(self, asked, metric, k=100):
        self.asked, self.metric, self.rows = asked, metric, 0
        self.ids = np.full((len(asked), k), -1, np.int32)
        self.best = np.full((len(asked), k), -np.inf, np.float32)

    def add(self, part):
        score = self.asked @ part.T
        if self.metric == "l2":
            score -= np.einsum("ij,ij->i", part, part) / 2
        for i, best in enumerate(self.best):
            better = np.flatnonzero(score[i] > best[-1])
            scores = np.concatenate((best, score[i, better]))
            order = np.argsort(-scores, kind="stable")[:len(best)]
            self.ids[i] = np.concatenate((self.ids[i], self.rows + better))[order]
            self.best[i] = scores[order]
        self.rows += len(part)


def exact_nearest(rows, asked, metric, k=100):
    nearest = Nearest(asked, metric, k)
    for start in range(0, len(rows), CHUNK):
        nearest.add(np.asarray(rows[start:start + CHUNK], np.float32))
    return nearest.ids


def most_rows():
    """How many rows of a set are used: all but for trials."""
    return int(os.environ.get("BENCH_ROWS", 0)) or None


def prepare_sift(source, folder):
    subprocess.run(["zstd", "-dqf", os.path.join(source, "sift", "base_u8.npy.zst"),
                    "-o", os.path.join(folder, "base.npy")], check=True)
    for there, here in (("queries_u8.npy", "queries.npy"), ("groundtruth.npy", "groundtruth.npy")):
        np.save(os.path.join(folder, here), np.load(os.path.join(source, "sift", there)))


def prepare_textlsa(source, folder):
    fewer = ["384", str(most_rows())] if most_rows() else []
    subprocess.run([sys.executable, os.path.join(source, "text-lsa", "make.py"), folder, *fewer], check=True)


def prepare_textlsa1536(source, folder):
    rows = min(most_rows() or 60000, 60000)
    subprocess.run([sys.executable, os.path.join(source, "text-lsa", "make.py"), folder, "1536", str(rows)], check=True)


def derive(folder, name):
    """A set made of another: its rows, or its queries, are changed."""
    rng = np.random.default_rng(3)
    rows = np.array(base(folder, MADE_OF[name])[:DERIVED_ROWS], np.float32)
    asked = queries(folder, MADE_OF[name])
    if name == "unlike":
        # half of each is a direction by chance
        away = rng.normal(size=asked.shape).astype(np.float32)
        asked = asked + away / np.linalg.norm(away, axis=1, keepdims=True)
        asked /= np.linalg.norm(asked, axis=1, keepdims=True)
    elif name == "norms":
        rows *= rng.lognormal(0, 1, (len(rows), 1)).astype(np.float32)
    else:
        rows += 10000
        asked = asked + np.float32(10000)
    save(path(folder, name, ""), rows, asked, SETS[name].metric)


def save(target, rows, asked, metric):
    np.save(os.path.join(target, "base.npy"), rows)
    np.save(os.path.join(target, "queries.npy"), asked)
    middle = rows.mean(axis=0, dtype=np.float64).astype(np.float32) if metric == "l2" else np.float32(0)
    np.save(os.path.join(target, "groundtruth.npy"), exact_nearest(rows - middle, asked - middle, metric))


def cut(target, metric, rows):
    """Leaves so many rows of a set."""
    save(target, np.array(read_vectors(os.path.join(target, "base.npy"))[:rows], np.float32),
         np.array(read_vectors(os.path.join(target, "queries.npy")), np.float32), metric)


def prepare(source, folder, name):
    """Makes folder/name with base, queries and ground truth, unless it is there."""
    target = os.path.join(folder, name)
    if not os.path.exists(os.path.join(target, "base.npy")):
        os.makedirs(target, exist_ok=True)
        if name in MADE_OF:
            derive(folder, name)
        else:
            {"sift": prepare_sift, "textlsa": prepare_textlsa, "textlsa1536": prepare_textlsa1536}[name](source, target)
            if most_rows() and name == "sift":
                cut(target, SETS[name].metric, most_rows())
    if not os.path.exists(os.path.join(target, "groundtruth.ivecs")):
        write_vecs(os.path.join(target, "queries.fvecs"), queries(folder, name))
        write_vecs(os.path.join(target, "groundtruth.ivecs"), read_vectors(os.path.join(target, "groundtruth.npy")))
