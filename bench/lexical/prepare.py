"""Makes the set of the lexical benchmark: passages, their BM25 weights, queries.

Passages are 50 words of a post of 20 Newsgroups, one every 14 words; queries the
first 1, 2, 4, 8 words of the subject lines of posts that are held out.  Stop words
are left out, as PostgreSQL's english configuration does.  Writes passages.tsv (id,
text, sparsevec), queries.tsv (words, text, tsquery, sparsevec).

usage: prepare.py DATA OUT [ROWS]
"""
import collections
import gzip
import json
import math
import os
import random
import re
import sys

data, out = sys.argv[1:3]
limit = int(sys.argv[3]) if len(sys.argv) > 3 else 294143
K1, B = 1.2, 0.75
word = re.compile(r"[a-z]+[a-z0-9]+")
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../src/executors/tfidf/stop_words.h")) as header:
    stop_words = set(re.findall(r'"([a-z]+)"', header.read()))


def posts():
    for name in ("train", "test"):
        with gzip.open(os.path.join(data, "20newsgroups", name + ".jsonl.gz"), "rt", encoding="utf-8") as f:
            for line in f:
                yield json.loads(line)["text"]


def words_of(text):
    return [w for w in word.findall(text.lower()) if w not in stop_words]


def clean(text):
    return re.sub(r"[^\x20-\x7e]+", " ", text).replace("\\", " ")


rng = random.Random(7)
texts = list(posts())
held_out = set(rng.sample(range(len(texts)), 400))
passages = []
for i, text in enumerate(texts):
    if i in held_out:
        continue
    words = clean(text.split("\n\n", 1)[-1]).split()
    passages += [" ".join(words[j:j + 50]) for j in range(0, max(1, len(words) - 20), 14)]
rng.shuffle(passages)
passages = [p for p in passages if len(p) > 40][:limit]

counts = [collections.Counter(words_of(p)) for p in passages]
frequency = collections.Counter(w for c in counts for w in c)
vocabulary = {w: n for n, w in enumerate(sorted(frequency), 1)}
mean = sum(sum(c.values()) for c in counts) / len(counts)
idf = {w: math.log(1 + (len(counts) - n + 0.5) / (n + 0.5)) for w, n in frequency.items()}
os.makedirs(out, exist_ok=True)
with open(os.path.join(out, "passages.tsv"), "w", encoding="utf-8") as f:
    for i, (passage, count) in enumerate(zip(passages, counts)):
        norm = K1 * (1 - B + B * sum(count.values()) / mean)
        weights = sorted((vocabulary[w], n * (K1 + 1) / (n + norm)) for w, n in count.items())
        f.write("%d\t%s\t{%s}/%d\n" % (i, passage.replace("\t", " "), ",".join("%d:%.5g" % w for w in weights), len(vocabulary)))
with open(os.path.join(out, "queries.tsv"), "w", encoding="utf-8") as f:
    for i in sorted(held_out):
        subject = next((line[8:] for line in texts[i].splitlines() if line.lower().startswith("subject:")), "")
        found = []
        for w in words_of(clean(subject).replace("Re:", " ")):
            if len(w) > 2 and w in vocabulary and w not in found:
                found.append(w)
        for n in (1, 2, 4, 8):
            if len(found) >= n:
                some = found[:n]
                weights = sorted((vocabulary[w], idf[w]) for w in some)
                f.write("%d\t%s\t%s\t{%s}/%d\n" % (n, " ".join(some), " | ".join(some),
                                                  ",".join("%d:%.5g" % w for w in weights), len(vocabulary)))
print("%d passages, %d words, %.1f words a passage" % (len(passages), len(vocabulary), mean))
