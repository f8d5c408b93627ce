#!/usr/bin/env python3
"""Benchmarks of flows on other servers.

REMOTE_ROWS (1,000,000) SIFT descriptors are stored by a flow of two shards that are
here, and by one whose two shards are flows on other servers: databases of this
server, so that processor time is that of all sides together.  Both post through
replicas.  REMOTE_PARTS chooses among "index", "search", "clients", and "scale": to a
third server while eight clients search and write; "latency" is a search by one client
against the same on each server alone.
"""
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import numpy

from common import TOP, pgbench_times, psql

ROWS = int(os.environ.get("REMOTE_ROWS", "1000000"))
ROUNDS = int(os.environ.get("REMOTE_ROUNDS", "5"))
SECONDS = int(os.environ.get("REMOTE_SECONDS", "10"))
PARTS = os.environ.get("REMOTE_PARTS", "index search clients latency scale").split()
TICK = os.sysconf("SC_CLK_TCK")
NODES = ("n1", "n2")
NEW_NODE = "n3"
OPTIONS = """'{"dim": 128, "metric": "l2"}'"""

os.environ["PGOPTIONS"] = "-c client_min_messages=error -c jit=off"


def in_database(name, sql):
    saved = os.environ.get("PGDATABASE", "postgres")
    os.environ["PGDATABASE"] = name
    try:
        return psql(sql)
    finally:
        os.environ["PGDATABASE"] = saved


def vectors(name):
    folder = os.path.join(os.environ.get("JFLOW_DATA") or os.path.join(TOP, "..", "shared", "data"), "sift")
    path = os.path.join(folder, name)
    if os.path.exists(path):
        return numpy.load(path)
    if os.path.exists(path + ".zst"):
        plain = os.path.join(os.environ.get("TMPDIR", "/tmp"), name)
        subprocess.run(["zstd", "-q", "-d", "-f", path + ".zst", "-o", plain], check=True)
        return numpy.load(plain, mmap_mode="r")
    sys.exit("remote: SKIPPED, the SIFT data is not there")


def copy(table, rows, start=0):
    command = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", "COPY %s FROM STDIN" % table]
    run = subprocess.Popen(command, stdin=subprocess.PIPE)
    for i, row in enumerate(rows):
        run.stdin.write(b"%d\t[%s]\n" % (start + i, ",".join(map(str, row)).encode()))
    run.stdin.close()
    assert run.wait() == 0


def is_far(pid):
    try:
        with open("/proc/%s/cmdline" % pid) as f:
            title = f.read()
    except OSError:
        return False
    return any(" %s " % node in title for node in NODES + (NEW_NODE,))


def processes(front=False):
    """Processor time of all processes of the server, those that have ended included;
    or of those of the front that have not."""
    postmaster = int(psql("SELECT pg_read_file('postmaster.pid')").split()[0])
    total = 0
    for pid in os.listdir("/proc"):
        try:
            with open("/proc/%s/stat" % pid) as f:
                fields = f.read().rpartition(")")[2].split()
        except (OSError, ValueError):
            continue
        if pid == str(postmaster) and not front:
            total += sum(int(x) for x in fields[11:15])
        elif len(fields) > 12 and fields[1] == str(postmaster) and not (front and is_far(pid)):
            total += int(fields[11]) + int(fields[12])
    return total / TICK


def add_node(node):
    psql("CREATE DATABASE %s" % node)
    in_database(node, "CREATE EXTENSION jflow CASCADE; SELECT jflow_create('store');"
                "SELECT jflow_add('store', 'e', 'PQLiteIndexer', replicas => 0, uses_with => %s)" % OPTIONS)
    host, port = psql("SELECT split_part(current_setting('unix_socket_directories'), ',', 1) || ' ' || "
                      "current_setting('port')").split()
    psql("CREATE SERVER %s FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '%s', port '%s', dbname '%s');"
         "CREATE USER MAPPING FOR CURRENT_USER SERVER %s" % (node, host, port, node, node))


def set_up():
    psql("CREATE EXTENSION IF NOT EXISTS jflow CASCADE; CREATE EXTENSION IF NOT EXISTS postgres_fdw;"
         "CREATE TABLE base (id int PRIMARY KEY, embedding vector(128));"
         "CREATE TABLE query (id int PRIMARY KEY, embedding vector(128))")
    copy("base", vectors("base_u8.npy")[:ROWS])
    copy("query", vectors("queries_u8.npy"))
    psql("VACUUM ANALYZE base, query")
    for node in NODES:
        add_node(node)
    psql("SELECT jflow_create('here'); SELECT jflow_add('here', 'e', 'PQLiteIndexer', shards => 2, replicas => 2, "
         "polling => '{\"/index\": \"hash\", \"*\": \"all\"}', uses_with => %s); SELECT jflow_start('here');"
         "SELECT jflow_create('far'); SELECT jflow_add('far', 'e', 'RemoteFlow', replicas => 2, "
         "uses_with => '{\"servers\": [\"n1\", \"n2\"], \"flow\": \"store\"}'); SELECT jflow_start('far');" % OPTIONS)
    psql("SELECT jflow_wait('here'); SELECT jflow_wait('far')")


def measured(function):
    wall, cpu = time.time(), processes()
    result = function()
    return time.time() - wall, processes() - cpu, result


def index(flow):
    wall, cpu, _ = measured(lambda: psql(
        "SELECT docs FROM jflow_post_query('/index', 'SELECT id::text AS id, embedding FROM base', '%s', "
        "request_size => 1000)" % flow))
    return wall, cpu


def rebuild():
    """The same state of the indexes on both sides."""
    for database in ("postgres",) + NODES:
        flow = "here" if database == "postgres" else "store"
        in_database(database, "SELECT jflow_reindex('%s', 'e')" % flow)
        in_database(database, "VACUUM ANALYZE")


def search_sql(flow):
    return ("\\set q random(0, 999)\n"
            "SELECT count(*) FROM jflow_post('/search', (SELECT ARRAY[jflow_doc(id => 'q', embedding => embedding)] "
            "FROM query WHERE id = :q), '%s', '{\"limit\": 10}') d, unnest(d.matches) m;\n" % flow)


def answers(flow):
    return psql("SELECT q.id, (SELECT string_agg(m.id || ' ' || m.score, ',') FROM jflow_post('/search', "
                "ARRAY[jflow_doc(id => 'q', embedding => q.embedding)], '%s', '{\"limit\": 10, \"recall\": 1}') d, "
                "unnest(d.matches) m) FROM query q WHERE id < 50 ORDER BY 1" % flow)


def search(clients):
    """What each round says of a search of each flow: processor time of all processes,
    latency, searches a second, and processor time of the front's replicas."""
    results = {"here": [], "far": []}
    for _ in range(ROUNDS):
        for flow in random.sample(sorted(results), 2):
            before = processes(), processes(front=True)
            times, rate, _ = pgbench_times(search_sql(flow), clients=clients, seconds=SECONDS)
            cpu = (processes() - before[0]) / len(times) * 1000
            replicas = (processes(front=True) - before[1]) / len(times) * 1000
            results[flow].append((cpu, statistics.median(times), rate, replicas))
    return results


def latency():
    """How much longer a search takes than on the slower server alone."""
    saved = os.environ.get("PGDATABASE", "postgres")
    alone = {}
    together = []
    for node in NODES:
        os.environ["PGDATABASE"] = node
        psql("CREATE TABLE query (id int PRIMARY KEY, embedding vector(128))")
        copy("query", vectors("queries_u8.npy"))
        alone[node] = []
    for _ in range(ROUNDS):
        for node in NODES:
            os.environ["PGDATABASE"] = node
            alone[node].append(statistics.median(pgbench_times(search_sql("store"), seconds=SECONDS)[0]))
        os.environ["PGDATABASE"] = saved
        together.append(statistics.median(pgbench_times(search_sql("far"), seconds=SECONDS)[0]))
    slower = max(statistics.median(times) for times in alone.values())
    print("| latency of a search, p50, ms | |\n| --- | --- |")
    print("| on the slower server, posted there | %.2f |" % slower)
    print("| of both, posted at the front | %.2f |" % statistics.median(together))
    print("| above | %.2f |\n" % (statistics.median(together) - slower))


def write_sql(flow):
    return ("\\set q random(0, %d)\n"
            "SELECT count(*) FROM jflow_post('/index', (SELECT ARRAY[jflow_doc(id => id::text, embedding => embedding)] "
            "FROM base WHERE id = :q), '%s');\n" % (ROWS - 1, flow))


class Load(threading.Thread):
    """Eight clients, of whose transactions one in eight writes a document, until they
    are told to stop."""

    def __init__(self, flow):
        super().__init__()
        self.flow, self.ended, self.done, self.failed = flow, False, 0, 0

    def run(self):
        with tempfile.TemporaryDirectory() as folder:
            paths = [os.path.join(folder, name) for name in ("search", "write")]
            for path, sql in zip(paths, (search_sql(self.flow), write_sql(self.flow))):
                with open(path, "w") as f:
                    f.write(sql)
            while not self.ended:
                run = subprocess.run(["pgbench", "-n", "-M", "prepared", "-c", "8", "-j", "2", "-T", "5",
                                      "-f", paths[0] + "@7", "-f", paths[1] + "@1"],
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                self.done += int(run.stdout.decode().split("actually processed: ")[1].split()[0])
                self.failed += run.stderr.decode().count("aborted")


def ids_at(node):
    table = in_database(node, "SELECT format('%I.%I', \"schema\", parent) FROM jflow.shard LIMIT 1").strip()
    return in_database(node, "SELECT id FROM %s" % table).split()


def scale():
    """To a third server, while there is load."""
    add_node(NEW_NODE)
    load = Load("far")
    load.start()
    wall, cpu = time.time(), processes()
    psql("SELECT jflow_scale('far', 'e', servers => '{n1,n2,%s}')" % NEW_NODE)
    while psql("SELECT uses_with ? 'move' FROM jflow_executors WHERE flow = 'far'").strip() == "t":
        time.sleep(0.5)
    wall, cpu = time.time() - wall, processes() - cpu
    load.ended = True
    load.join()
    places = [ids_at(node) for node in NODES + (NEW_NODE,)]
    ids = [i for place in places for i in place]
    print("| from two to three servers, under load | |\n| --- | --- |")
    print("| documents moved | %d, %.1f %% |" % (len(places[-1]), 100.0 * len(places[-1]) / ROWS))
    print("| documents moved a second; processor of all, also of the load | %d; %.0f s |" % (len(places[-1]) / wall, cpu))
    print("| posts meanwhile, failed ones | %d, %d |" % (load.done, load.failed))
    print("| documents lost, doubled | %d, %d |\n" % (ROWS - len(set(ids)), len(ids) - len(set(ids))))


def main():
    random.seed(1)
    set_up()
    print("# remote: %d rows of 128 dimensions, two shards here and two on other servers\n" % ROWS)
    here, far = index("here"), index("far")
    if "index" in PARTS:
        print("| bulk /index | here | far | ratio |\n| --- | --- | --- | --- |")
        print("| rows a second | %d | %d | %.2f |" % (ROWS / here[0], ROWS / far[0], here[0] / far[0]))
        print("| processor, µs a row | %d | %d | %.2f |\n" % (here[1] / ROWS * 1e6, far[1] / ROWS * 1e6, far[1] / here[1]))
    rebuild()
    print("answers of 50 exact searches are %s\n" % ("equal" if answers("here") == answers("far") else "DIFFERENT"))
    for part, clients in (("search", 1), ("clients", 8)):
        if part not in PARTS:
            continue
        results = search(clients)
        print("| search, %d client(s) | here | far | ratio of each pair |\n| --- | --- | --- | --- |" % clients)
        for number, what in enumerate(("processor of all processes, ms", "latency p50, ms", "searches a second",
                                        "processor of the front's replicas, ms")):
            pairs = [f[number] / h[number] for h, f in zip(results["here"], results["far"])]
            print("| %s | %.2f | %.2f | %.2f (%.2f to %.2f) |" % (
                what, statistics.median(r[number] for r in results["here"]),
                statistics.median(r[number] for r in results["far"]),
                statistics.median(pairs), min(pairs), max(pairs)))
        print()
    if "latency" in PARTS:
        latency()
    if "scale" in PARTS:
        scale()


if __name__ == "__main__":
    main()
