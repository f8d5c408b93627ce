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
    Set("textlsa", "text-lsa, 294,143 × 384, cosine", "cosine", "<=>", 500)))


def opclass(data_set):
    return "vector_%s_ops" % data_set.metric


def path(folder, name, file):
    return os.path.join(folder, name, file)


def base(folder, name):
    return read_vectors(path(folder, name, "base.npy"))


def queries(folder, name):
    return np.asarray(read_vectors(path(folder, name, "queries.npy")), np.float32)


def exact_nearest(rows, asked, metric, k=100):
    """The ids of the k nearest rows of each query, nearest first; -1 where there are fewer."""
    ids = np.full((len(asked), k), -1, np.int64)
    best = np.full((len(asked), k), -np.inf, np.float32)
    for start in range(0, len(rows), CHUNK):
        part = np.asarray(rows[start:start + CHUNK], np.float32)
        score = asked @ part.T
        if metric == "l2":
            score -= np.einsum("ij,ij->i", part, part) / 2
        for i in range(len(asked)):
            better = np.flatnonzero(score[i] > best[i, -1])
            all_scores = np.concatenate((best[i], score[i, better]))
            order = np.argsort(-all_scores, kind="stable")[:k]
            best[i], ids[i] = all_scores[order], np.concatenate((ids[i], start + better))[order]
    return ids.astype(np.int32)


def prepare_sift(source, folder):
    subprocess.run(["zstd", "-dqf", os.path.join(source, "sift", "base_u8.npy.zst"),
                    "-o", os.path.join(folder, "base.npy")], check=True)
    for there, here in (("queries_u8.npy", "queries.npy"), ("groundtruth.npy", "groundtruth.npy")):
        np.save(os.path.join(folder, here), np.load(os.path.join(source, "sift", there)))


def prepare_textlsa(source, folder):
    subprocess.run([sys.executable, os.path.join(source, "text-lsa", "make.py"), folder], check=True)


def prepare(source, folder, name):
    """Makes folder/name with base, queries and ground truth, unless it is there."""
    target = os.path.join(folder, name)
    if not os.path.exists(os.path.join(target, "base.npy")):
        os.makedirs(target, exist_ok=True)
        {"sift": prepare_sift, "textlsa": prepare_textlsa}[name](source, target)
    if not os.path.exists(os.path.join(target, "groundtruth.ivecs")):
        write_vecs(os.path.join(target, "queries.fvecs"), queries(folder, name))
        write_vecs(os.path.join(target, "groundtruth.ivecs"), read_vectors(os.path.join(target, "groundtruth.npy")))
