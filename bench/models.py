"""Texts to a service behind HTTP: throughput, cost of a call, and the same in Python.

The service is test/service, which answers at once or after the delay that its url
says; its own processor time is printed."""
import atexit
import json
import os
import subprocess
import tempfile
import time
import urllib.request

from common import RUNS, TOP, pgbench_times, psql, timed_sql

folder = tempfile.mkdtemp()
program = os.path.join(folder, "service")
subprocess.run(["gcc", "-O2", "-D_GNU_SOURCE", "-pthread", "-o", program,
                os.path.join(TOP, "test", "service", "service.c")], check=True)
port_file = os.path.join(folder, "port")
service = subprocess.Popen([program, port_file])
atexit.register(service.kill)
while not os.path.exists(port_file) or not os.path.getsize(port_file):
    time.sleep(0.01)
PORT = int(open(port_file).read())


def url(path):
    return "http://127.0.0.1:%d/%s" % (PORT, path)


def cpu(pid):
    with open("/proc/%d/stat" % pid) as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def server_cpu():
    """Processor time of the server: of all that have ended, and of those that run."""
    postmaster = int(open(os.path.join(psql("SHOW data_directory"), "postmaster.pid")).readline())
    total = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % pid) as f:
                fields = f.read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(pid) == postmaster:
            total += sum(map(int, fields[11:15]))
        elif int(fields[1]) == postmaster:
            total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def clients(name, n, seconds):
    """Answers a second and the 99th of 100 times in ms of clients with one text each; and processor time a post in us."""
    before = server_cpu()
    times, rate, _ = pgbench_times("SELECT count(embedding) FROM jflow_post('/x', ARRAY['some text'], '%s');" % name, n, seconds)
    return rate, times[len(times) * 99 // 100], (server_cpu() - before) / len(times) * 1e6


def flow(name, path, options, replicas, more=""):
    psql("SET client_min_messages = error; SELECT jflow_drop('%s', if_exists => true); DROP SERVER IF EXISTS %s CASCADE;"
         "CREATE SERVER %s FOREIGN DATA WRAPPER jflow_http OPTIONS (url '%s', provider 'openai', authentication 'none');"
         "SELECT jflow_create('%s'); SELECT jflow_add('%s', 'e', uses => 'HttpExecutor', replicas => %d, uses_with => '%s'%s)"
         % (name, name, name, url(path), name, name, replicas, json.dumps(dict(options, server=name, model="m")), more))
    if replicas:
        psql("SELECT jflow_start('%s')" % name)
        psql("SELECT jflow_wait('%s', '60s')" % name)


def best(function, *args):
    return min(function(*args) for _ in range(RUNS))


def post(name, n, size):
    return timed_sql("SELECT count(embedding) FROM jflow_post('/x', (SELECT array_agg('some text ' || i) FROM generate_series(1, %d) i), '%s', request_size => %d)"
                     % (n, name, size), "SELECT jflow_post('/x', ARRAY['a'], '%s')" % name)


def python_loop(n, dim):
    start = time.perf_counter()
    for i in range(0, n, 64):
        body = json.dumps({"model": "m", "input": ["some text %d" % k for k in range(i, min(i + 64, n))]},
                          separators=(",", ":")).encode()
        request = urllib.request.Request(url("openai?dim=%d" % dim), body, {"Content-Type": "application/json"})
        answer = json.loads(urllib.request.urlopen(request).read())
        docs = ["[" + ",".join(map(str, one["embedding"])) + "]" for one in answer["data"]]
        assert len(docs) == min(64, n - i)
    return time.perf_counter() - start


def curl_loop(n):
    config = os.path.join(folder, "curl")
    with open(config, "w") as f:
        for i in range(n):
            f.write('%surl = "%s"\ndata = "{\\"model\\":\\"m\\",\\"input\\":[\\"a\\"]}"\noutput = "/dev/null"\nsilent\n'
                    % ("next\n" if i else "", url("openai?dim=32")))
    start = time.perf_counter()
    subprocess.run(["curl", "-K", config], check=True)
    return (time.perf_counter() - start) / n * 1000


psql("SET client_min_messages = error; CREATE EXTENSION IF NOT EXISTS jflow CASCADE")
print("| what | measured | bar |\n| --- | --- | --- |")

flow("wide", "openai?dim=32&delay=20&at_once=8", {"batch": 64, "concurrency": 4}, 2)
before = cpu(service.pid)
took = best(post, "wide", 20480, 256)
bound = 20480 / 64 / 8 * 0.020
print("| 20,480 texts × 32 dimensions in requests of 256, calls of 64 that take 20 ms, 8 at once, 2 replicas | %.3f s; the service allows %.3f s: %.2f of the best; "
      "the service's own processor time %.2f s a run | 0.9 |" % (took, bound, bound / took, (cpu(service.pid) - before) / RUNS))

flow("one", "openai?dim=32", {}, 0)
n = 500
took = best(lambda: timed_sql("DO $$ BEGIN FOR i IN 1..%d LOOP PERFORM jflow_post('/x', ARRAY['a'], 'one'); END LOOP; END $$" % n,
                              "SELECT jflow_post('/x', ARRAY['a'], 'one')")) / n * 1000
bare = best(curl_loop, n)
print("| a call of one text, above libcurl's own loop | %.3f ms - %.3f ms = %.3f ms | 0.3 ms |" % (took, bare, took - bare))

flow("python", "openai?dim=768", {"concurrency": 4}, 2)
took = best(post, "python", 5000, 256)
loop = best(python_loop, 5000, 768)
print("| 5,000 texts × 768 dimensions, 2 replicas, against a loop with urllib and json in Python, outside of the server | %.3f s, %.3f s: %.1f times as fast | 5 times |"
      % (took, loop, loop / took))
flow("python1", "openai?dim=768", {"concurrency": 4}, 0)
took = best(post, "python1", 5000, 256)
print("| the same in the caller's session | %.3f s: %.1f times as fast | |" % (took, loop / took))

for name, replicas, more in (("joined", 1, ", batch => '{\"size\": 64, \"wait\": \"3ms\"}'"), ("joined2", 2, ", batch => '{\"size\": 64, \"wait\": \"3ms\"}'"), ("single", 2, "")):
    flow(name, "openai?dim=32&delay=5", {}, replicas, more)
    rate, p99, us = max(clients(name, 64, 5) for _ in range(RUNS))
    print("| 64 clients, one text each, calls of 5 ms, %s | %.0f posts a second: %.2f of 64 / 8 ms; 99 of 100 within %.1f ms; %.0f us of processor time a post%s | 0.8, 15 ms |"
          % ("%d replica%s%s" % (replicas, "s" if replicas > 1 else "", ", batch 64/3 ms" if more else ", no batch"), rate, rate / 8000, p99, us,
             "; %s texts a call" % psql("SELECT round(batch_docs) FROM jflow_status WHERE flow = '%s'" % name) if more else ""))
