#!/usr/bin/python3
"""Writes what run.py measured as Markdown with plots.

usage: report.py RESULTS.json DOCS_FOLDER   writes benchmarks-lexical.md and img/lexical-*.svg
"""
import json
import os
import sys

from plot import svg

NAMES = {"inverted": "jflow inverted", "gin": "GIN, `ts_rank`", "pq": "jflow pq", "none": "no index"}
WORDS = ("1", "2", "4", "8")
BARS = {"1": 0.15, "2": 0.3, "4": 0.6, "8": 1.2}
TEXT = """# Benchmark of lexical and hybrid search

Made by `make bench BENCH=lexical`; `bench/README.md` says what is measured and how. Only ratios within a run count.

{processor}; PostgreSQL {server}; {of}. What is compared takes turns,
in rounds whose median counts.
"""


def row(cells):
    return "| " + " | ".join(cells) + " |"


def words(n):
    return "%s word%s" % (n, "" if n == "1" else "s")


class Bars:
    def __init__(self):
        self.rows = []

    def most(self, what, value, bar, form="{:.2f}", note=""):
        self.rows.append((what, form.format(value) + note, "at most " + form.format(bar), value <= bar))

    def least(self, what, value, bar, form="{:.2f}", note=""):
        self.rows.append((what, form.format(value) + note, "at least " + form.format(bar), value >= bar))

    def table(self):
        return ["## Against the bars", "", row(("what", "measured", "bar", "met")), row(("---",) * 4)] + \
            [row((what, value, bar, "yes" if met else "no")) for what, value, bar, met in self.rows] + [""]


def index_bars(bars, part):
    made = part["indexes"]
    inverted, gin, pq = made["inverted"], made["gin"], made["pq"]
    bars.least("recall@10 of inverted, distances of a sort", inverted["recall"], 1, "{:.3f}", "" if inverted["alike"] else ", but not alike")
    for n in WORDS:
        bars.most("p50 of each query's best pass, ms, %s" % words(n), inverted["times"][n]["best_us"] / 1000, BARS[n], "{:.3f}")

    # what takes longer than a slice of the processor waits for others: its own time, then
    def times(one, other, n):
        return one["times"][n]["processor_us"] / other["times"][n]["processor_us"]

    def best(one, other, n):
        return one["times"][n]["best_us"] / other["times"][n]["best_us"]
    for n in WORDS:
        bars.least("processor time of GIN over inverted, %s" % words(n), times(gin, inverted, n), 20, "{:.1f}")
    for n in WORDS:
        bars.least("the same of pq (recall@10 %.3f), %s" % (pq["recall"], words(n)), times(pq, inverted, n), 2, "{:.1f}")
    small, _, large = part["growth"]
    for n in WORDS:
        bars.most("rows × 10, best passes take times, %s" % words(n), best(large, small, n), 4)
    bars.most("build over GIN's, processor time", inverted["build_processor_s"] / gin["build_processor_s"], 1.5)
    bars.most("size over GIN's", inverted["bytes"] / gin["bytes"], 1.5)
    bars.least("rate of inserts over GIN's (`fastupdate` on), processor time", gin["insert_processor_us"] / inverted["insert_processor_us"], 1)


def flow_bars(bars, part):
    tutorial, hybrid = part["tutorial"], part["hybrid"]
    def search(times):
        return "; p50 of all {p50:.3f}, processor time {processor:.3f}".format(**times)
    bars.most("the tutorial's `/search` (tokenizer, 2 shards) in replicas, p50 of best passes, ms", tutorial["replicas"]["best"], 0.5, "{:.3f}", search(tutorial["replicas"]))
    bars.most("the same in the caller's session", tutorial["session"]["best"], 0.5, "{:.3f}", search(tutorial["session"]))
    bars.least("its recall@10", tutorial["recall"], 1, "{:.3f}")
    times = hybrid["times"]
    def over(key, of=max):
        return times["hybrid"][key] / of((times["words"][key], times["meaning"][key]))
    bars.most("hybrid post over its slower branch, p50", over("p50"), 1.2,
              note="; best passes {:.2f}; processor time, over that of both branches, {:.2f}".format(over("best"), over("processor", sum)))
    ndcg = hybrid["ndcg"]
    bars.least("nDCG@10 of BM25, less the reference's", ndcg["words"] - ndcg["reference"], 0, "{:+.4f}")
    bars.least("nDCG@10 of hybrid, less its better branch's", ndcg["hybrid"] - max(ndcg["words"], ndcg["meaning"]), -0.005, "{:+.4f}")


def run(part):
    return "Load of the machine at the start: {load:.1f}; rounds: {rounds}.".format(**part)


def index_tables(part):
    made = part["indexes"]
    out = ["## Indexes", "", run(part), "", "{:,} passages of 50 words ({:.1f} other than stop words), {:,} words; `LIMIT 10`, one client, any of the words."
           .format(part["rows"], part["mean"], part["dims"]), "",
           row(("index", "build s", "of its processor", "size MB", "inserts/s", "processor time a row, µs", "recall@10")), row(("---",) * 7)]
    for name in ("inverted", "gin", "pq", "none"):
        m = made.get(name, {})
        def show(key, form, scale=1):
            return form.format(m[key] * scale) if key in m else ""
        build = show("build_s", "{:.1f}") + ("; with a worker {:.1f}".format(m["build_worker_s"]) if "build_worker_s" in m else "")
        out.append(row((NAMES[name], build, show("build_processor_s", "{:.1f}"), show("bytes", "{:.1f}", 1e-6), show("inserts_s", "{:.0f}"),
                        show("insert_processor_us", "{:.1f}"), show("recall", "{:.3f}"))))
    out += ["", "Milliseconds, p50, p50 of each query's best pass, p95, and processor time of the backend (mean), by words in the query:", "",
            row(("index",) + WORDS), row(("---",) * 5)]
    for name in ("inverted", "gin", "pq"):
        out.append(row([NAMES[name]] + [", ".join("{:.3f}".format(made[name]["times"][n][key] / 1000) for key in ("p50_us", "best_us", "p95_us", "processor_us"))
                                        for n in WORDS]))
    out += ["", "![time against words in the query](img/lexical-words.svg)", "", "Of inverted alone, the same of best passes by rows:", "",
            row(("rows",) + WORDS), row(("---",) * 5)]
    out += [row(["{:,}".format(g["rows"])] + ["{:.3f}".format(g["times"][n]["best_us"] / 1000) for n in WORDS]) for g in part["growth"]]
    return out + ["", "![time against rows](img/lexical-rows.svg)", ""]


def flow_tables(part):
    hybrid = part["hybrid"]
    out = ["## Flows", "", run(part), "", "{:,} posts; {:,} subject lines of other posts as queries, relevant is what is of the same group. Words are found"
           .format(part["documents"], part["queries"]),
           "by BM25, meaning by latent semantic analysis of 384 dimensions and `pq`.", "",
           row(("search", "p50, ms", "p50 of best passes, ms", "processor time of all, ms", "nDCG@10")), row(("---",) * 5)]
    out += [row([name] + ["{:.3f}".format(hybrid["times"][name][key]) for key in ("p50", "best", "processor")] + ["{:.4f}".format(hybrid["ndcg"][name])])
            for name in ("words", "meaning", "hybrid")]
    return out + [row(("BM25 by scikit-learn and numpy", "", "", "", "{:.4f}".format(hybrid["ndcg"]["reference"]))), "",
                  "A hybrid post takes the processor time of both branches and no more. Its caller and a replica of each branch want",
                  "to run at the same time. On two processors they wait for one: by the kernel's scheduler statistics, in a run apart,",
                  "0.5 to 0.7 ms a hybrid post, less than 0.1 ms a search of one branch; without that the p50 would be 0.95 to 1.15",
                  "times the slower branch. The best passes say what the flow itself adds.", ""]


def plots(part, folder):
    os.makedirs(folder, exist_ok=True)
    made = part["indexes"]
    by_words = {name: {int(n): made[name]["times"][n]["best_us"] / 1000 for n in WORDS} for name in ("inverted", "gin", "pq")}
    by_rows = {words(n): {g["rows"]: g["times"][n]["best_us"] / 1000 for g in part["growth"]} for n in WORDS}
    for name, picture in (("words", svg("a query's time, {:,} passages".format(part["rows"]), "words in the query", "ms, p50 of best passes", by_words)),
                          ("rows", svg("a query's time, inverted", "rows", "ms, p50 of best passes", by_rows))):
        with open(os.path.join(folder, "lexical-%s.svg" % name), "w", encoding="utf-8") as f:
            f.write(picture)


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        results = json.load(f)
    docs = sys.argv[2]
    bars, tables = Bars(), []
    if "index" in results:
        index_bars(bars, results["index"])
        tables += index_tables(results["index"])
        plots(results["index"], os.path.join(docs, "img"))
    if "flows" in results:
        flow_bars(bars, results["flows"])
        tables += flow_tables(results["flows"])
    with open(os.path.join(docs, "benchmarks-lexical.md"), "w", encoding="utf-8") as f:
        f.write("\n".join([TEXT.format(**results)] + bars.table() + tables).rstrip() + "\n")


main()
