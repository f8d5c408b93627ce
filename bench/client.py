"""jflow post of a large file of JSON Lines beside jflow_post_query on the same rows.

CLIENT_MB says how large the file is (1024).  Both go through the same flows in one
session; their answers are not kept.  The rate by elapsed time is what a user sees,
since client and server work at the same time; the processor time of the server is
what is left of it on a machine that does other things as well."""
import json
import os
import random
import resource
import subprocess
import tempfile
import time

from common import psql

MEGABYTES = int(os.environ.get("CLIENT_MB", "1024"))
WORDS = ["%s%s" % (a, b) for a in ("lo", "ra", "mi", "te", "qua", "ber", "sin", "do") for b in
         ("ne", "vor", "tal", "ki", "um", "ster", "pa", "\u00e4n", "rig", "0", "fel", "zo", "men", "\u6f22", "il", "gu")]


def write_lines(path):
    """Documents of some 900 bytes, with what JSON escapes and what it does not."""
    draw = random.Random(7)
    count = 0
    with open(path, "w", encoding="utf-8") as f:
        while f.tell() < MEGABYTES << 20:
            lines = []
            for _ in range(1000):
                text = " ".join(draw.choices(WORDS, k=160)) + '.\nThe "end" of \\%d' % count
                lines.append(json.dumps({"id": "doc-%d" % count, "text": text,
                                         "tags": {"n": count, "lang": draw.choice(["en", "de"]), "hot": count % 3 == 0}},
                                        ensure_ascii=False))
                count += 1
            f.write("\n".join(lines) + "\n")
    return count


def server_seconds():
    """Processor time of the server's processes that have ended."""
    with open(os.path.join(psql("SHOW data_directory"), "postmaster.pid")) as f:
        pid = int(f.readline())
    with open("/proc/%d/stat" % pid) as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def measured(run):
    before, start = server_seconds(), time.perf_counter()
    run()
    elapsed = time.perf_counter() - start
    time.sleep(0.2)				# until the server has heard that its process is gone
    return elapsed, server_seconds() - before


class Client:
    """Runs jflow post, and keeps its peak memory and processor time."""

    def __init__(self, *arguments):
        self.command = ("jflow", "post", "-q") + arguments

    def __call__(self):
        child = subprocess.Popen(self.command)
        _, status, usage = os.wait4(child.pid, 0)
        assert status == 0, status
        self.peak = usage.ru_maxrss / 1024.0
        self.seconds = usage.ru_utime + usage.ru_stime


with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "docs.jsonl")
    docs = write_lines(path)
    psql("SET client_min_messages = error; CREATE EXTENSION IF NOT EXISTS jflow CASCADE;"
         "DROP TABLE IF EXISTS client_docs; CREATE TABLE client_docs (id text, text text, tags jsonb);"
         "CREATE TEMP TABLE lines (line text);"
         "\n\\copy lines FROM '%s' (FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02')\n"
         "INSERT INTO client_docs SELECT l ->> 'id', l ->> 'text', l -> 'tags' FROM (SELECT line::jsonb AS l FROM lines) x;"
         "CREATE OR REPLACE FUNCTION client_noop(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS"
         " 'BEGIN RETURN NULL; END';" % path)
    assert int(psql("SELECT count(*) FROM client_docs")) == docs
    print("%d documents, %.0f MB of JSON Lines\n" % (docs, os.path.getsize(path) / 2 ** 20))
    print("| flow | `jflow post` | its peak memory, its processor time | `jflow_post_query` | rate, of `jflow_post_query` "
          "| processor time of the server |")
    print("| --- | --- | --- | --- | --- | --- |")
    for flow, classes in (("client_noop", ["client_noop"]), ("client_tfidf", ["TfidfVectorizer"]),
                          ("client_store", ["TfidfVectorizer", "PQLiteIndexer"])):
        psql("SET client_min_messages = error; SELECT jflow_drop('%s', if_exists => true, drop_data => true); SELECT jflow_create('%s')"
             % (flow, flow))
        for uses in classes:
            psql("SELECT jflow_add('%s', '%s', uses => '%s', replicas => 0)" % (flow, uses.lower(), uses))
            if uses == "TfidfVectorizer":
                psql("SELECT jflow_fit('%s', '%s', 'SELECT text FROM client_docs LIMIT 10000')" % (flow, uses.lower()))
        post = Client("/index", "-f", flow, path)
        peer, peer_server = measured(lambda: psql("SELECT docs FROM jflow_post_query('/index', 'SELECT * FROM client_docs', '%s')" % flow))
        if len(classes) > 1:		# so that both store what is not there
            psql("SELECT count(*) FROM jflow_post('/clear', '{}'::jsonb, '%s')" % flow)
        ours, server = measured(post)
        print("| %s | %.1f s, %.0f docs/s | %.1f MB, %.1f s | %.1f s, %.0f docs/s | %.2f | %.1f s; %.1f s |"
              % (", ".join(classes), ours, docs / ours, post.peak, post.seconds, peer, docs / peer, peer / ours, server, peer_server), flush=True)
        psql("SELECT jflow_drop('%s', drop_data => true)" % flow)
    psql("DROP TABLE client_docs")
