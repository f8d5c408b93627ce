#!/usr/bin/python3
"""FAISS in memory: IVF with 4-bit product codes by fast scan, and with one bit a
dimension after a rotation (RaBitQ), both refined; one thread, one query a call.
Prints build and curve of each that this FAISS has as JSON.

usage: faiss_peer.py FOLDER l2|cosine|ip
"""
import ctypes
import json
import os
import sys
import time

import faiss
import numpy as np

from vectors import read_vectors

SECONDS = 1
GAIN = 0.002           # with less from more probes, the refinement is what limits recall
LISTS = {"l2": 2048, "cosine": 1024, "ip": 1024}
WIDTH = 4              # dimensions a product code
PROBES = (4, 8, 16, 32, 48, 64, 96, 128, 192, 256, 384)
REFINE = (10, 20, 40, 80)


def shapes(dims, lists):
    """Each peer's index, and the bytes of a row in it beside the exact vector."""
    return {"faiss": ("IVF%d,PQ%dx4fs,RFlat" % (lists, dims // WIDTH), dims / WIDTH / 2 + 8),
            "faiss rabitq": ("RR%d,IVF%d,RaBitQfs,RFlat" % (dims, lists), dims / 8 + 16)}


def threads(count):
    """As many for FAISS, and for the BLAS that it multiplies by."""
    faiss.omp_set_num_threads(count)
    try:
        ctypes.CDLL("libopenblas.so.0").openblas_set_num_threads(count)
    except (OSError, AttributeError):
        pass


def build(base, metric, shape, row_bytes):
    kind = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
    index = faiss.index_factory(base.shape[1], shape, kind)
    threads(os.cpu_count())
    start = time.monotonic()
    sample = np.random.default_rng(1).permutation(len(base))[:LISTS[metric] * 64]
    index.train(base[np.sort(sample)])
    index.add(base)
    return index, {"build_s": round(time.monotonic() - start, 2), "bytes": int(len(base) * row_bytes + base.nbytes),
                   "shape": shape, "options": faiss.get_compile_options().strip(), "version": faiss.__version__}


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
    inner = faiss.extract_index_ivf(index)
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
    asked = [np.ascontiguousarray(q[None]) for q in queries]
    out = {}
    for name, (shape, row_bytes) in shapes(base.shape[1], min(LISTS[metric], len(base) // 40)).items():
        try:
            index, made = build(base, metric, shape, row_bytes)
        except RuntimeError as error:
            print("   no %s: %s" % (shape, str(error).strip().split("\n")[-1]), file=sys.stderr)
            continue
        threads(1)
        print("   %s: built in %.1f s" % (shape, made["build_s"]), file=sys.stderr)
        out[name] = {"build": made, "curve": curve(index, asked, truth)}
        del index
    print(json.dumps(out))


if __name__ == "__main__":
    main()
