"""The file of figures: one JSON object, written after every measurement."""
import json
import os
import platform
import time

from vectors import psql


def machine():
    with open("/proc/cpuinfo") as f:
        model = next((line.split(":")[1].strip() for line in f if line.startswith("model name")), platform.machine())
    return {"cpu": model, "cores": os.cpu_count(),
            "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2 ** 30)}


def versions():
    found = {"postgresql": psql("SHOW server_version"), "system": platform.release()}
    for line in psql("SELECT extname, extversion FROM pg_extension WHERE extname IN ('vector', 'jflow')").split("\n"):
        name, _, version = line.partition("|")
        found[name] = version
    return found


def server_settings():
    names = ("shared_buffers", "maintenance_work_mem", "max_parallel_maintenance_workers", "fsync",
             "synchronous_commit", "jit", "autovacuum")
    return {name: psql("SHOW %s" % name) for name in names}


class Results:
    """data[set][index][part] = {"run": …, "load": …, "value": …}"""

    def __init__(self, path):
        self.path = path
        self.data = {}
        if os.path.exists(path):
            with open(path) as f:
                self.data = json.load(f)
        self.run = time.strftime("%Y-%m-%d %H:%M:%S")
        self.data["run"] = {"started": self.run, "machine": machine(), "versions": versions(),
                            "settings": server_settings()}

    def has(self, name, index, part):
        return part in self.data.get(name, {}).get(index, {})

    def get(self, name, index, part):
        return self.data[name][index][part]["value"] if self.has(name, index, part) else None

    def put(self, name, index, part, value):
        entry = {"run": self.run, "load": round(os.getloadavg()[0], 2), "value": value}
        self.data.setdefault(name, {}).setdefault(index, {})[part] = entry
        with open(self.path + ".new", "w") as f:
            json.dump(self.data, f, indent=1)
        os.replace(self.path + ".new", self.path)
