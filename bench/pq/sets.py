"""The data sets: where they come from and what is asked of them."""
import collections
import os
import subprocess
import sys

import numpy as np

from vectors import read_vectors, write_vecs

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
    rows = np.asarray(rows, np.float32)
    half_norms = np.einsum("ij,ij->i", rows, rows) / 2 if metric == "l2" else None
    k = min(k, len(rows))
    truth = np.empty((len(asked), k), np.int32)
    for i in range(0, len(asked), 50):
        score = asked[i:i + 50] @ rows.T
        if half_norms is not None:
            score -= half_norms
        top = np.argpartition(-score, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(score, top, 1), 1, kind="stable")
        truth[i:i + 50] = np.take_along_axis(top, order, 1)
    return truth


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
