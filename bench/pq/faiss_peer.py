#!/usr/bin/python3
"""FAISS in memory: IVF, 4-bit product codes by fast scan, refined; one thread,
one query a call.  Prints build and curve as JSON.

usage: faiss_peer.py FOLDER l2|cosine|ip
"""
import json
import os
import sys
import time

import faiss
import numpy as np

from vectors import read_vectors

SECONDS = 1
GAIN = 0.002           # with less from more probes, the refinement is what limits recall
# lists, dimensions a code
SHAPES = {"l2": (2048, 4), "cosine": (1024, 4), "ip": (1024, 4)}
PROBES = (4, 8, 16, 32, 48, 64, 96, 128, 192, 256, 384)
REFINE = (10, 20, 40, 80)


def build(base, metric):
    lists, width = SHAPES[metric]
    shape = "IVF%d,PQ%dx4fs,RFlat" % (lists, base.shape[1] // width)
    kind = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
    index = faiss.index_factory(base.shape[1], shape, kind)
    faiss.omp_set_num_threads(os.cpu_count())
    start = time.monotonic()
    sample = np.random.default_rng(1).permutation(len(base))[:lists * 64]
    index.train(base[np.sort(sample)])
    index.add(base)
    seconds = time.monotonic() - start
    # codes and ids; the exact vectors of the refinement come on top
    codes = len(base) * (base.shape[1] // width / 2 + 8)
    return index, {"build_s": round(seconds, 2), "bytes": int(codes + base.nbytes), "shape": shape,
                   "options": faiss.get_compile_options().strip(), "version": faiss.__version__}


def timed(index, queries, truth):
    times, found = [], 0
    spent = 0
    while spent < SECONDS:
        for i, q in enumerate(queries):
            start = time.perf_counter()
            _, ids = index.search(q, 10)
            times.append(time.perf_counter() - start)
            spent += times[-1]
            if len(times) <= len(queries):
                found += len(np.intersect1d(ids[0], truth[i], assume_unique=True))
    times = np.sort(times) * 1e6
    return {"queries": len(times), "recall": found / (10.0 * len(queries)), "qps": round(1e6 / times.mean(), 1),
            "mean_us": round(times.mean(), 1), "p50_us": round(times[len(times) // 2], 1),
            "p95_us": round(times[int(len(times) * 0.95)], 1), "p99_us": round(times[int(len(times) * 0.99)], 1)}


def curve(index, asked, truth):
    points = []
    inner = faiss.downcast_index(index.base_index)
    for refine in REFINE:
        index.k_factor = refine
        reached = 0.0
        for probes in PROBES:
            inner.nprobe = probes
            point = dict(timed(index, asked, truth), setting="nprobe %d, k_factor %d" % (probes, refine))
            print("   %s recall %.4f %.1f q/s" % (point["setting"], point["recall"], point["qps"]), file=sys.stderr)
            points.append(point)
            if point["recall"] < reached + GAIN:
                break
            reached = point["recall"]
    return points


def main():
    folder, metric = sys.argv[1:]
    base = np.ascontiguousarray(read_vectors(os.path.join(folder, "base.npy")), np.float32)
    queries = np.asarray(read_vectors(os.path.join(folder, "queries.npy")), np.float32)
    truth = np.asarray(read_vectors(os.path.join(folder, "groundtruth.npy")))[:, :10]
    index, made = build(base, metric)
    faiss.omp_set_num_threads(1)
    asked = [np.ascontiguousarray(q[None]) for q in queries]
    print(json.dumps({"build": made, "curve": curve(index, asked, truth)}))


if __name__ == "__main__":
    main()
