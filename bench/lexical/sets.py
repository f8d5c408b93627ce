"""The texts of the lexical benchmark: posts of 20 Newsgroups, or made up ones in
their place, and the passages and queries that are made of them."""
import collections
import math
import os
import random
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../test/parity"))
import bm25  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
WORDS = (1, 2, 4, 8)
K1, B = bm25.K1, bm25.B
SPLITS = {"train": 11314, "test": 7532}
WORD = re.compile(r"[a-z]+[a-z0-9]+")
with open(os.path.join(HERE, "../../src/executors/terms/stop_words.h")) as header:
    STOP_WORDS = set(re.findall(r'"([a-z]+)"', header.read()))


def made_up(scale=1.0):
    """Posts of words whose frequencies follow Zipf's law, in groups that have words of their own."""
    rng = random.Random(5)
    syllables = [c + v for c in "bdfgklmnprstvz" for v in "aeiou"]
    words = sorted({"".join(rng.choices(syllables, k=rng.choice((2, 3, 3, 4)))) for _ in range(60000)})
    rng.shuffle(words)
    weights = [0.0]
    for n in range(len(words)):
        weights.append(weights[-1] + 1 / (n + 3))
    groups = [[words[i] for i in rng.sample(range(200, 8000), 300)] for _ in range(20)]
    out = {}
    for split, n in SPLITS.items():
        out[split] = []
        for i in range(max(400, int(n * scale))):
            own = rng.randrange(len(groups))
            def some(n):
                return [rng.choice(groups[own]) if rng.random() < 0.1 else w
                        for w in rng.choices(words, cum_weights=weights[1:], k=n)]
            body = " ".join(some(max(20, int(rng.lognormvariate(5, 0.9)))))
            out[split].append(("group%d" % own, "Subject: %s\n\n%s" % (" ".join(some(rng.randint(2, 12))), body)))
    return out


def posts(data, scale=1.0):
    """The two splits, as lists of (group, text)."""
    if not data:
        return made_up(scale)
    return {split: [(d["label"], d["text"]) for d in bm25.read(os.path.join(data, "20newsgroups", split + ".jsonl.gz"))]
            for split in SPLITS}


def words_of(text):
    return [w for w in WORD.findall(text.lower()) if w not in STOP_WORDS]


def sparse(pairs, dims):
    return "{%s}/%d" % (",".join("%d:%.5g" % p for p in sorted(pairs)), dims)


def write_lines(folder, name, lines):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
        f.writelines(line + "\n" for line in lines)


def prepare(texts, folder, limit):
    """Passages of 50 words, one every 14 words, and queries of the first 1, 2, 4, 8 words of the subject
    lines of posts that are held out; stop words are left out, as PostgreSQL's english configuration does.
    A line that is too short goes on with those of other posts of its group.

    Writes passages.tsv (id, text, sparsevec), and for each number of words n the queries n.sparsevec and
    n.tsquery, one a line.  Returns (passages, words, dimensions).
    """
    rng = random.Random(7)
    groups, texts = zip(*(post for split in SPLITS for post in texts[split]))
    held_out = set(rng.sample(range(len(texts)), 400))
    passages = []
    for i, text in enumerate(texts):
        if i not in held_out:
            words = re.sub(r"[^\x20-\x7e]+", " ", text.split("\n\n", 1)[-1]).replace("\\", " ").split()
            passages += [" ".join(words[j:j + 50]) for j in range(0, max(1, len(words) - 20), 14)]
    rng.shuffle(passages)
    passages = [p for p in passages if len(p) > 40][:limit]
    counts = [collections.Counter(words_of(p)) for p in passages]
    frequency = collections.Counter(w for c in counts for w in c)
    vocabulary = {w: n for n, w in enumerate(sorted(frequency), 1)}
    mean = sum(sum(c.values()) for c in counts) / len(counts)
    idf = {w: math.log(1 + (len(counts) - n + 0.5) / (n + 0.5)) for w, n in frequency.items()}
    lines = []
    for i, (passage, count) in enumerate(zip(passages, counts)):
        norm = K1 * (1 - B + B * sum(count.values()) / mean)
        weights = [(vocabulary[w], n * (K1 + 1) / (n + norm)) for w, n in count.items()]
        lines.append("%d\t%s\t%s" % (i, passage.replace("\t", " "), sparse(weights, len(vocabulary))))
    write_lines(folder, "passages.tsv", lines)
    subjects = {i: [w for w in words_of(bm25.subject(texts[i])) if len(w) > 2 and w in vocabulary] for i in sorted(held_out)}
    queries = {n: [] for n in WORDS}
    for i, own in subjects.items():
        words = own + [w for j, others in subjects.items() if groups[j] == groups[i] and j > i for w in others]
        found = list(dict.fromkeys(words))
        for n in WORDS:
            if own and len(found) >= n:
                queries[n].append(found[:n])
    for n in WORDS:
        write_lines(folder, "%d.tsquery" % n, [" | ".join(q) for q in queries[n]])
        write_lines(folder, "%d.sparsevec" % n, [sparse([(vocabulary[w], idf[w]) for w in q], len(vocabulary)) for q in queries[n]])
    return len(passages), mean, len(vocabulary)
