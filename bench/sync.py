#!/usr/bin/env python3
"""Benchmarks of tables in step.

SYNC_ROWS (100,000) rows are brought to a store by a sync and, for comparison, by
jflow_post_query; 1 of 1,000 rows of another table cannot be embedded; and
SYNC_CHANGES (200,000) changes of one table show how large the queue gets, and
SYNC_SIZES (10,000 and 100,000) changes at once what each costs the worker, while
another transaction keeps VACUUM from all that has been done.
Processor time is that of all processes of the server.
"""
import os
import time

from common import psql

ROWS = int(os.environ.get("SYNC_ROWS", "100000"))
CHANGES = int(os.environ.get("SYNC_CHANGES", "200000"))
SIZES = os.environ.get("SYNC_SIZES", "10000 100000").split()
PARTS = os.environ.get("SYNC_PARTS", "throughput errors queue changes").split()
TICK = os.sysconf("SC_CLK_TCK")

os.environ["PGOPTIONS"] = "-c client_min_messages=error -c jit=off"

SETUP = """
CREATE EXTENSION IF NOT EXISTS jflow CASCADE;
CREATE OR REPLACE FUNCTION words(n int) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg('w' || abs(hashint4(n * 31 + i)) %% 5000, ' ') FROM generate_series(1, 20) i $$;
CREATE TABLE IF NOT EXISTS sync_item (id int PRIMARY KEY, text text);
INSERT INTO sync_item SELECT i, words(i) FROM generate_series(1, %d) i ON CONFLICT DO NOTHING;
VACUUM ANALYZE sync_item;
""" % ROWS


def make_flow(name):
    psql("""SELECT jflow_create('%(f)s');
        SELECT jflow_add('%(f)s', 'encoder', 'TfidfVectorizer', replicas => 2);
        SELECT jflow_add('%(f)s', 'store', 'PQLiteIndexer', uses_with => '{"index": "none"}', replicas => 2);
        SELECT jflow_start('%(f)s')""" % {"f": name})
    psql("SELECT jflow_fit('%s', 'encoder', 'SELECT text FROM sync_item LIMIT 20000'); "
         "SELECT jflow_wait('%s')" % (name, name))


def server_seconds():
    """Processor time of all processes of the server, those that have ended included."""
    postmaster = int(psql("SELECT pg_read_file('postmaster.pid')").split()[0])
    total = 0
    for pid in os.listdir("/proc"):
        if not pid.isdigit():
            continue
        try:
            with open("/proc/%s/stat" % pid) as f:
                fields = f.read().rpartition(")")[2].split()
        except OSError:
            continue
        if int(pid) == postmaster:
            total += sum(int(x) for x in fields[11:15])
        elif int(fields[1]) == postmaster:
            total += int(fields[11]) + int(fields[12])
    return total / TICK


def scheduled(pid):
    with open("/proc/%s/schedstat" % pid) as f:
        return int(f.read().split()[0])


def measured(function):
    wall, cpu = time.time(), server_seconds()
    function()
    return time.time() - wall, server_seconds() - cpu


def wait_for(condition):
    while psql("SELECT " + condition) != "t":
        time.sleep(0.2)


def post(store):
    return measured(lambda: psql("SELECT docs FROM jflow_post_query('/index', 'SELECT id::text, text FROM sync_item', '%s')" % store))


def sync_all(store):
    def sync():
        psql("SELECT jflow_sync('%s', '%s', 'sync_item', '{\"text\": \"text\"}')" % (store, store))
        psql("SELECT jflow_sync_run('%s')" % store)
    return measured(sync)


def throughput():
    print("| %d rows | s | processor s | rows/s | of the post |" % ROWS)
    print("| --- | --- | --- | --- | --- |")
    make_flow("posted")
    make_flow("synced")
    for store in ("a new store", "a store that has them"):
        wall, cpu = post("posted")
        print("| `jflow_post_query`, %s | %.1f | %.1f | %.0f | 1 |" % (store, wall, cpu, ROWS / wall))
        psql("SELECT jflow_unsync('synced', if_exists => true)")
        sync_wall, sync_cpu = sync_all("synced")
        print("| `jflow_sync`, %s | %.1f | %.1f | %.0f | %.2f, by processor time %.2f |" %
              (store, sync_wall, sync_cpu, ROWS / sync_wall, wall / sync_wall, cpu / sync_cpu))
    docs = psql("SELECT count(*) FROM jflow_data_postgres.synced_store")
    assert int(docs) == ROWS, docs
    psql("SELECT jflow_unsync('synced'); SELECT jflow_drop('synced', drop_data => true); "
         "SELECT jflow_drop('posted', drop_data => true)")


def errors():
    psql("""CREATE FUNCTION refuse(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$ BEGIN
            IF EXISTS (SELECT FROM unnest(docs) d WHERE d.id::int %% 1000 = 0) THEN
                RAISE EXCEPTION 'poison' USING ERRCODE = 'P0001'; END IF;
            RETURN docs; END $$;
        SELECT jflow_create('poisoned');
        SELECT jflow_add('poisoned', 'refuser', 'public.refuse', replicas => 2);
        SELECT jflow_add('poisoned', 'store', 'PQLiteIndexer', uses_with => '{"dim": 2, "on_missing": "store"}', replicas => 2);
        SELECT jflow_start('poisoned')""".replace("%%", "%"))

    def sync():
        psql("SELECT jflow_sync('poisoned', 'poisoned', 'sync_item', '{\"text\": \"text\"}', retries => 2)")
        wait_for("state = 'following' AND pending = 0 FROM jflow_sync_status WHERE name = 'poisoned'")
    wall, _ = measured(sync)
    stored = int(psql("SELECT count(*) FROM jflow_data_postgres.poisoned_store"))
    aside = psql("SELECT count(*), min(attempts), max(attempts), bool_and(next_try IS NULL), bool_and(id::int % 1000 = 0) FROM jflow_sync_errors WHERE name = 'poisoned'")
    print("\n%d rows of which 1 in 1,000 is refused: %d stored, set aside %s (count, attempts from, to, all, only they), in %.0f s" %
          (ROWS, stored, aside, wall))
    assert stored == ROWS - ROWS // 1000 and aside == "%d|3|3|t|t" % (ROWS // 1000)
    psql("SELECT jflow_unsync('poisoned'); SELECT jflow_drop('poisoned', drop_data => true)")


def queue():
    psql("""CREATE TABLE sync_small (id int PRIMARY KEY, text text);
        INSERT INTO sync_small SELECT i, 'x' FROM generate_series(1, 1000) i;
        SELECT jflow_create('small');
        SELECT jflow_add('small', 'store', 'PQLiteIndexer', uses_with => '{"dim": 2, "on_missing": "store", "index": "none"}', replicas => 1);
        SELECT jflow_start('small');
        SELECT jflow_sync('small', 'small', 'sync_small', '{"text": "text"}')""")
    sizes = []
    done = 0
    wall, cpu = time.time(), server_seconds()
    while done < CHANGES:
        psql("UPDATE sync_small SET text = 'changed %d'" % done)
        done += 1000
        if done % (CHANGES // 20) < 1000:
            sizes.append(int(psql("SELECT pg_total_relation_size('jflow.sync_queue')")))
    wait_for("pending = 0 FROM jflow_sync_status WHERE name = 'small'")
    print("\n%d changes of 1,000 rows, in %.0f s (processor %.0f s): size of the queue in MB after each twentieth" %
          (done, time.time() - wall, server_seconds() - cpu))
    print(", ".join("%.1f" % (size / 1e6) for size in sizes))
    print("rows left: %s; size of jflow.sync_row %.1f MB" %
          (psql("SELECT count(*) FROM jflow.sync_queue"), int(psql("SELECT pg_total_relation_size('jflow.sync_row')")) / 1e6))
    assert psql("SELECT NOT EXISTS (SELECT id::text, text FROM sync_small EXCEPT SELECT id, text FROM jflow_data_postgres.small_store)") == "t"
    psql("SELECT jflow_unsync('small'); SELECT jflow_drop('small', drop_data => true); DROP TABLE sync_small")


def changes():
    psql("""CREATE FUNCTION nothing(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql AS 'SELECT NULL::jflow_doc[]';
        SELECT jflow_create('many'); SELECT jflow_add('many', 'nothing', 'public.nothing'); SELECT jflow_start('many');
        SELECT jflow_wait('many')""")
    for size in map(int, SIZES):
        psql("""CREATE TABLE sync_many (id int PRIMARY KEY, text text);
            INSERT INTO sync_many SELECT i, 'first' FROM generate_series(1, %d) i;
            SELECT jflow_sync('many', 'many', 'sync_many', '{"text": "text"}', mode => 'manual')""" % size)
        psql("SELECT jflow_sync_run('many')")
        psql("UPDATE sync_many SET text = 'second'")
        pid = psql("SELECT pid FROM jflow_sync_status WHERE name = 'many'")
        before = scheduled(pid)
        # its snapshot is that transaction's
        psql("SELECT jflow_sync_run('many')")
        print("\n%d changes, each %.1f us of the worker's processor time" % (size, (scheduled(pid) - before) / 1e3 / size))
        psql("SELECT jflow_unsync('many'); DROP TABLE sync_many")
    psql("SELECT jflow_drop('many')")


print("## Tables in step\n\nLoad of the machine at the start: %.1f on %d processors.\n" % (os.getloadavg()[0], os.cpu_count()))
psql(SETUP)
for part in PARTS:
    {"throughput": throughput, "errors": errors, "queue": queue, "changes": changes}[part]()
