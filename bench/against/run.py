#!/usr/bin/env python3
"""The same work on two builds of jflow, in turn, by processor time.

Processor time of the session and of all its replicas, as the scheduler counts
it, since it says what code costs on a machine that does other things, too.
Each round does all work on one server and then on the other; the next round
begins with the other one.  Medians of RUNS rounds, and of the ratios round by round.
"""
import os
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from common import RUNS, corpus, load, machine, psql  # noqa: E402

POSTS = 3000
ONLY = os.environ.get("ONLY")  # work with this in its name
DEFINE = """
CREATE FUNCTION bench_noop(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE ROLE bench_owner LOGIN;
GRANT CREATE ON DATABASE postgres TO bench_owner;
GRANT CREATE ON SCHEMA public TO bench_owner;
GRANT SELECT ON bench TO bench_owner;
ALTER FUNCTION bench_noop OWNER TO bench_owner;
SET ROLE bench_owner;
SELECT jflow_create(f) FROM unnest('{inline,replicas,tfidf,news}'::text[]) f;
SELECT jflow_add('inline', 'a', replicas => 0), jflow_add('inline', 'b', replicas => 0);
SELECT jflow_add('replicas', 'a', uses => 'bench_noop', replicas => 1), jflow_add('replicas', 'b', uses => 'bench_noop', replicas => 1);
SELECT jflow_add('tfidf', 'a', replicas => 0), jflow_add('tfidf', 'b', uses => 'TfidfVectorizer', replicas => 0);
SELECT jflow_add('news', 'a', replicas => 1), jflow_add('news', 'b', uses => 'TfidfVectorizer', replicas => 1);
SELECT jflow_fit('tfidf', 'b', 'SELECT text FROM bench'), jflow_fit('news', 'b', 'SELECT text FROM bench');
SELECT jflow_start(f) FROM unnest('{replicas,news}'::text[]) f;
SELECT jflow_wait(f, '60 s') FROM unnest('{replicas,news}'::text[]) f;
"""


def posts(flow):
    """Many posts of a document each, without a client's turns between them."""
    return "DO $$ BEGIN FOR i IN 1..%d LOOP PERFORM FROM %s; END LOOP; END $$;\n" % (
        POSTS, "jflow_post('/x', ARRAY['hello'], '%s')" % flow if flow else "generate_series(1, 1)")


def query(flow, source, more=""):
    return "SELECT docs FROM jflow_post_query('/x', '%s', '%s'%s);\n" % (source, flow, more)


WORK = {
    "one document through two no-op executors, in this process": (posts("inline"), POSTS, "µs"),
    "the same, in replicas": (posts("replicas"), POSTS, "µs"),
    "requests of one document through replicas": (
        query("replicas", "SELECT i AS id FROM generate_series(1, 20000) i", ", request_size => 1"), 20000, "µs a request"),
    "documents at 100 a request through replicas": (
        query("replicas", "SELECT i AS id, ''some short text'' AS text FROM generate_series(1, 200000) i"), 200000, "µs a document"),
    "fit of the corpus": ("SELECT jflow_fit('tfidf', 'b', 'SELECT text FROM bench');\n", 1e6, "s"),
    "TF-IDF of the corpus, in this process": (query("tfidf", "SELECT id, text FROM bench"), 1e6, "s"),
    "the same, in a replica": (query("news", "SELECT id, text FROM bench"), 1e6, "s"),
}
CLIENTS = "64 clients that post a document each, in replicas"
EMPTY = posts(None)


class Session:
    """A psql that stays, and the processes that work for it."""

    def __init__(self, host):
        self.host = host
        with open(os.path.join(host, "data", "postmaster.pid")) as f:
            self.postmaster = int(f.readline())
        os.environ["PGHOST"] = host
        load(TEXTS)
        psql("SET client_min_messages = error;" + DEFINE)
        self.psql = subprocess.Popen(["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"], text=True,
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.run("SET client_min_messages = error;\n")

    def run(self, sql):
        self.psql.stdin.write(sql + "\\echo that is all\n")
        self.psql.stdin.flush()
        lines = []
        for line in self.psql.stdout:
            if line == "that is all\n":
                return lines
            lines.append(line.strip())
        raise RuntimeError("psql has left")

    def pids(self, condition):
        return [int(p) for p in self.run("SELECT pid FROM pg_stat_activity WHERE %s;\n" % condition)]

    def used(self, sql):
        """Nanoseconds of processor time of the session and of jflow's workers for sql: each, by pid."""
        workers = self.pids("pid = pg_backend_pid() OR backend_type LIKE 'jflow%'")
        before = {p: nanoseconds(p) for p in workers}
        # nobody reads answers while there is more to send
        self.run("\\o /dev/null\n" + sql + "\\o\n")
        return {p: nanoseconds(p) - before[p] for p in workers}

    def clients(self):
        """The same of pgbench's 64 clients, whose processes end: by their parent's count of ended children, in ticks."""
        workers = self.pids("backend_type LIKE 'jflow%'")
        before = {p: nanoseconds(p) for p in workers}
        ended = self.ended()
        with open("/tmp/against-%d.sql" % os.getpid(), "w") as f:
            f.write("SELECT * FROM jflow_post('/x', ARRAY['hello'], 'replicas');\n")
        subprocess.run(["pgbench", "-n", "-M", "prepared", "-c", "64", "-j", "2", "-t", "150", "-f", f.name], check=True,
                       env=dict(os.environ, PGHOST=self.host), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.unlink(f.name)
        while len(self.pids("backend_type = 'client backend'")) > 1:
            time.sleep(0.01)
        return sum(nanoseconds(p) - before[p] for p in workers) + self.ended() - ended

    def ended(self):
        with open("/proc/%d/stat" % self.postmaster) as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[13]) + int(fields[14])) * 1000000000 // os.sysconf("SC_CLK_TCK")

    def first_request(self):
        """Microseconds of the first request of one document of a replica that is added to another, beyond
        the median of its next ones; and its private memory."""
        replicas = "SELECT pid FROM jflow_stat_replicas WHERE flow = 'news' AND executor = 'b' AND pid IS NOT NULL;\n"
        post = "SELECT count(*) FROM jflow_post('/x', ARRAY['one short text'], 'news');\n"
        self.run("SELECT jflow_scale('news', 'b', replicas => 1);\nSELECT jflow_wait('news', '60 s');\n" + post)
        before = self.run(replicas)
        self.run("SELECT jflow_scale('news', 'b', replicas => 2);\nSELECT jflow_wait('news', '60 s');\n")
        new = int((set(self.run(replicas)) - set(before)).pop())
        count = "SELECT requests FROM jflow_stat_replicas WHERE pid = %d;\n" % new
        times, requests, used = [], self.run(count)[0], nanoseconds(new)
        while len(times) < 6:
            self.run(post)
            now = self.run(count)[0]
            if now != requests:
                times.append((nanoseconds(new) - used) / 1e3)
            requests, used = now, nanoseconds(new)
        return times[0] - statistics.median(times[1:]), anonymous(new)


def nanoseconds(pid):
    with open("/proc/%d/schedstat" % pid) as f:
        return int(f.read().split()[0])


def anonymous(pid):
    """Private memory of a process, in MB."""
    with open("/proc/%d/status" % pid) as f:
        return next(int(line.split()[1]) for line in f if line.startswith("RssAnon")) / 1024.0


def measure(session):
    """What each piece of work took."""
    result = {}
    empty = sum(session.used(EMPTY).values())
    for name, (sql, count, _) in WORK.items():
        if ONLY and ONLY not in name:
            continue
        used = sum(session.used(sql).values())
        result[name] = (used - (empty if sql.startswith("DO") else 0)) / 1e3 / count
    if not ONLY:
        result[CLIENTS] = session.clients() / 1e3 / (64 * 150)
    return result


def row(name, unit, here, there):
    ratio = statistics.median(a / b for a, b in zip(here, there))
    print("| %s | %.3g %s | %.3g %s | %.3f (%.3f - %.3f) |"
          % (name, statistics.median(here), unit, statistics.median(there), unit, ratio,
             min(a / b for a, b in zip(here, there)), max(a / b for a, b in zip(here, there))), flush=True)


def report_sender(sessions, names):
    """The sender's share of a post to two replicas, and what a new replica's first request costs."""
    for session, name in zip(sessions, names):
        session.run("SELECT jflow_scale('news', 'b', replicas => 2);\nSELECT jflow_wait('news', '60 s');\n")
        sql = WORK["the same, in a replica"][0]
        session.run(sql)
        shares = []
        for _ in range(RUNS):
            used = session.used(sql)
            shares.append(used[session.pids("pid = pg_backend_pid()")[0]] / sum(used.values()))
        first = [session.first_request() for _ in range(RUNS)]
        print("%s: the sender takes %.1f %% of a TF-IDF post to two replicas; a new replica's first request takes %.2f ms more "
              "than later ones, and it has %.1f MB of its own afterwards"
              % (name, 100 * statistics.median(shares), statistics.median(f[0] for f in first) / 1e3,
                 statistics.median(f[1] for f in first)), flush=True)


TEXTS = corpus()


def main():
    hosts, names = sys.argv[1:3], ("present", sys.argv[3])
    sessions = [Session(host) for host in hosts]
    for session in sessions:
        measure(session)
    results = [[], []]
    for i in range(RUNS):
        for which in ((0, 1), (1, 0))[i % 2]:
            results[which].append(measure(sessions[which]))
    print(machine(TEXTS), end="\n\n")
    print("| what, by processor time of all processes | present | %s | ratio (least, most) |" % names[1])
    print("| --- | --- | --- | --- |")
    for name, (_, _, unit) in list(WORK.items()) + [(CLIENTS, (None, None, "µs"))]:
        if name in results[0][0]:
            row(name, unit, *[[r[name] for r in rounds] for rounds in results])
    print()
    report_sender(sessions, names)


main()
