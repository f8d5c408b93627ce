"""What the benchmarks share: running SQL and pgbench, the corpus, its peer."""
import gzip
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time

RUNS = int(os.environ.get("RUNS", "5"))
TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def psql(sql, stdin=None):
    command = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]
    run = subprocess.run(command, input=(stdin or sql).encode("utf-8"), stdout=subprocess.PIPE, check=True)
    return run.stdout.decode("utf-8").strip()


def timed_sql(sql, warm_up):
    """Seconds of one statement in a session that has run warm_up before."""
    out = psql(None, "SET client_min_messages = error;\n"
               "%s;\n"
               "SELECT extract(epoch FROM clock_timestamp()) AS t0 \\gset\n%s;\n"
               "SELECT extract(epoch FROM clock_timestamp()) - :t0;\n" % (warm_up, sql))
    return float(out.split("\n")[-1])


def corpus():
    for folder in (os.environ.get("JFLOW_DATA", ""), os.path.join(TOP, "..", "shared", "data")):
        path = os.path.join(folder, "20newsgroups", "train.jsonl.gz")
        if folder and os.path.exists(path):
            with gzip.open(path, "rt", encoding="utf-8") as f:
                return [json.loads(line)["text"] for line in f]
    with open(os.path.join(TOP, "demo", "corpus.jsonl"), encoding="utf-8") as f:
        return [json.loads(line)["text"] for line in f] * 280


def load(texts):
    psql("SET client_min_messages = error; CREATE EXTENSION IF NOT EXISTS jflow CASCADE;"
         "DROP TABLE IF EXISTS bench; CREATE TABLE bench (id int PRIMARY KEY, text text)")
    rows = "".join('%d,"%s"\n' % (i, t.replace('"', '""')) for i, t in enumerate(texts))
    psql(None, "COPY bench FROM STDIN WITH (FORMAT csv);\n" + rows + "\\.\n")
    psql("VACUUM ANALYZE bench")


def pgbench_times(sql, clients=1, seconds=5, check=True):
    """Latencies in ms of each transaction of pgbench, sorted, and those per second."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "script.sql")
        with open(path, "w") as f:
            f.write(sql)
        command = ["pgbench", "-n", "-M", "prepared", "-c", str(clients), "-j", str(min(clients, 2)),
                   "-T", str(seconds), "-l", "--log-prefix", os.path.join(folder, "log"), "-f", path]
        run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=check)
        times = []
        for name in os.listdir(folder):
            if name.startswith("log"):
                with open(os.path.join(folder, name)) as log:
                    times += [int(line.split()[2]) / 1000.0 for line in log]
        assert times, run.stderr
        return sorted(times), len(times) / seconds, run.stderr.decode()


def pgbench(sql, seconds=5):
    return statistics.median(pgbench_times(sql, seconds=seconds)[0])


def sklearn_times(texts):
    from sklearn.feature_extraction.text import TfidfVectorizer
    start = time.perf_counter()
    vectorizer = TfidfVectorizer().fit(texts)
    fit = time.perf_counter() - start
    start = time.perf_counter()
    for i in range(0, len(texts), 100):
        vectorizer.transform(texts[i:i + 100])
    return fit, time.perf_counter() - start


def machine(texts):
    return ("Machine: %s, %d cores; load %.2f; %d texts, %.1f MB; medians of %d runs"
            % (platform.machine(), os.cpu_count(), os.getloadavg()[0], len(texts),
               sum(len(t) for t in texts) / 1e6, RUNS))
