"""What the parts of the benchmark ask of the server: build, choose, time."""
import json
import os
import subprocess
import time

from vectors import ServerError, psql


def client(folder, statement, vectors, truth=None, settings=(), seconds=2, warmups=200, lines=False, k=10):
    """Runs client.c; returns what it measured."""
    command = [os.path.join(folder, "client"), "-k", str(k), "-t", str(seconds), "-w", str(warmups)] + (["-l"] if lines else [])
    for setting in settings:
        command += ["-s", setting]
    run = subprocess.run(command + [statement, vectors] + ([truth] if truth else []),
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if run.returncode != 0:
        raise ServerError(run.stderr.decode().strip())
    return json.loads(run.stdout.decode())


def exists(relation):
    return psql("SELECT to_regclass('%s') IS NOT NULL" % relation) == "t"


def build(index, definition, settings=""):
    """Builds an index anew; returns seconds and bytes."""
    psql("SET client_min_messages = error; DROP INDEX IF EXISTS %s" % index)
    psql("CHECKPOINT")
    start = time.monotonic()
    psql("SET client_min_messages = error; %s CREATE INDEX %s ON %s" % (settings, index, definition))
    return {"build_s": round(time.monotonic() - start, 2), "bytes": index_bytes(index)}


def private_kb(pid):
    """Memory of a process that it shares with none, in kB; 0 when it is gone."""
    try:
        with open("/proc/%d/status" % pid) as f:
            return next((int(line.split()[1]) for line in f if line.startswith("RssAnon:")), 0)
    except (FileNotFoundError, ProcessLookupError):
        return 0


def workers_of(pid):
    """Parallel workers that a backend has now."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit():
                with open("/proc/%s/cmdline" % entry, "rb") as f:
                    if b"parallel worker for PID %d" % pid in f.read():
                        found.append(int(entry))
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


def watched(sql):
    """Runs SQL; returns how much private memory (MB) its backend and the workers
    took at most, beyond what the backend had before.  The server must be on this
    machine, and its processes ours to look into."""
    run = subprocess.Popen(["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"], stdin=subprocess.PIPE,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    run.stdin.write(b"SELECT pg_backend_pid();\n")
    run.stdin.flush()
    pid = int(run.stdout.readline())
    before, most, workers = private_kb(pid), 0, 0
    run.stdin.write(sql.encode() + b";\n")
    run.stdin.close()
    while run.poll() is None:
        there = workers_of(pid)
        workers = max(workers, len(there))
        most = max(most, sum(private_kb(p) for p in [pid] + there))
        time.sleep(0.01)
    if run.returncode != 0:
        raise ServerError(run.stderr.read().decode().strip())
    return {"mb": round((most - before) / 1024, 1), "workers": workers}


def index_bytes(index):
    return int(psql("SELECT pg_relation_size('%s')" % index))


def use_only(table, index):
    """Hides the table's other indexes from planner and executor; None hides all."""
    chosen = "'%s'::regclass" % index if index else "0"
    psql("UPDATE pg_index SET indisvalid = (indexrelid = %s), indisready = (indexrelid = %s)"
         " WHERE indrelid = '%s'::regclass" % (chosen, chosen, table))
    # which VACUUM clears when all are hidden, and then inserts forget them
    psql("UPDATE pg_class SET relhasindex = true WHERE oid = '%s'::regclass" % table)


def warm(table, index=None):
    psql("CREATE EXTENSION IF NOT EXISTS pg_prewarm")
    psql("SELECT pg_prewarm('%s')%s" % (table, ", pg_prewarm('%s')" % index if index else ""))


def check_plan(index, statement, sample, settings=()):
    """Raises unless the plan of the statement uses the index."""
    plan = psql("%s; EXPLAIN (COSTS OFF) %s" % ("; ".join(settings) or "SELECT", statement.replace("$1", "'%s'" % sample)))
    if "using %s on" % index not in plan:
        raise ServerError("index %s is not used:\n%s" % (index, plan))


def vector_text(x):
    return "[%s]" % ",".join("%.7g" % v for v in x)


def sparse_text(x):
    return "{%s}/%d" % (",".join("%d:%.7g" % (i + 1, v) for i, v in enumerate(x) if v != 0), len(x))
