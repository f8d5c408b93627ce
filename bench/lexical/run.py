"""The lexical benchmark: inverted against GIN with ts_rank, and against pq, on the
same passages and queries, in one server, one client.

usage: run.py FOLDER (of prepare.py), in an environment that psql connects by
"""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from common import psql  # noqa: E402

folder = sys.argv[1]
WORDS = (1, 2, 4, 8)
with open(os.path.join(folder, "passages.tsv"), encoding="utf-8") as f:
    dims = int(f.readline().rsplit("/", 1)[1])
SETTINGS = "SET client_min_messages = error; SET jit = off; SET maintenance_work_mem = '256MB';"


def copy(table, name, where=""):
    subprocess.run(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c",
                    "\\copy %s FROM '%s' %s" % (table, os.path.join(folder, name), where)], check=True)


def seconds(statement):
    """Of a statement, and the processor's of its process."""
    out = psql(SETTINGS + "SELECT extract(epoch FROM clock_timestamp()) AS t \\gset\n%s;\n"
               "SELECT extract(epoch FROM clock_timestamp()) - :t;" % statement)
    return float(out.split("\n")[-1])


psql("SET client_min_messages = error; CREATE EXTENSION IF NOT EXISTS jflow CASCADE;"
     "DROP TABLE IF EXISTS passage, tenth, query;"
     "CREATE TABLE passage (id int, text text, v sparsevec(%d));"
     "CREATE TABLE query (words int, text text, query tsquery, v sparsevec(%d))" % (dims, dims))
copy("passage", "passages.tsv")
copy("query", "queries.tsv")
psql("ALTER TABLE passage ADD t tsvector; UPDATE passage SET t = to_tsvector('english', text);"
     "CREATE TABLE tenth AS SELECT * FROM passage WHERE id % 10 = 0")
psql("VACUUM FULL passage")
psql("VACUUM ANALYZE passage, tenth")
psql("""
CREATE OR REPLACE FUNCTION timed(statement text, n int, most int, OUT p50 float8, OUT p95 float8) LANGUAGE plpgsql AS $$
DECLARE
    r record;
    start timestamptz;
    times float8[];
BEGIN
    EXECUTE 'PREPARE timed(sparsevec, tsquery) AS ' || statement;
    FOR pass IN 1 .. 3 LOOP
        times := '{}';
        FOR r IN SELECT v, query FROM query WHERE words = n LIMIT most LOOP
            start := clock_timestamp();
            EXECUTE format('EXECUTE timed(%L, %L)', r.v, r.query);
            times := times || extract(epoch FROM clock_timestamp() - start)::float8 * 1000;
        END LOOP;
    END LOOP;
    DEALLOCATE timed;
    SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY x), percentile_cont(0.95) WITHIN GROUP (ORDER BY x)
        INTO p50, p95 FROM unnest(times) x;
END $$;
-- of ten results, how many are as near as those of a sort
CREATE OR REPLACE FUNCTION recall(most int) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE
    r record;
    found int := 0;
    all_of_them int := 0;
    nearest float8[];
    got float8[];
BEGIN
    FOR r IN SELECT v FROM query ORDER BY md5(text) LIMIT most LOOP
        SET LOCAL enable_indexscan = off;
        SELECT array_agg(d) INTO nearest FROM (SELECT v <#> r.v AS d FROM passage ORDER BY v <#> r.v LIMIT 10) x;
        SET LOCAL enable_indexscan = on;
        SELECT array_agg(d) INTO got FROM (SELECT v <#> r.v AS d FROM passage ORDER BY v <#> r.v LIMIT 10) x;
        found := found + (SELECT count(*) FROM unnest(got) g WHERE g <= nearest[10]);
        all_of_them := all_of_them + 10;
    END LOOP;
    RETURN found::float8 / all_of_them;
END $$""")

NEAREST = "SELECT id FROM %s ORDER BY v <#> $1 LIMIT 10"
RANKED = "SELECT id FROM passage WHERE t @@ $2 ORDER BY ts_rank(t, $2) DESC LIMIT 10"


def times(statement, most):
    out = {}
    for n in WORDS:
        p50, p95 = psql("%s SELECT * FROM timed('%s', %d, %d)" % (SETTINGS, statement, n, most)).split("\n")[-1].split("|")
        out[n] = float(p50)
    return out


methods = {
    "inverted": "CREATE INDEX the_index ON passage USING inverted (v sparsevec_ip_ops)",
    "gin": "CREATE INDEX the_index ON passage USING gin (t)",
    "pq": "CREATE INDEX the_index ON passage USING pq (v sparsevec_ip_ops)",
}
rows = int(psql("SELECT count(*) FROM passage"))
print("%d passages, %d words; LIMIT 10, one client, p50 in ms by words in the query" % (rows, dims))
print()
print("| index | build s | size MB | inserts/s | 1 | 2 | 4 | 8 | recall@10 |")
print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
for name, statement in methods.items():
    build = seconds(statement)
    size = int(psql("SELECT pg_relation_size('the_index')")) / 1e6
    found = times(RANKED if name == "gin" else NEAREST % "passage", 400 if name == "inverted" else 60)
    recall = "" if name == "gin" else "%.3f" % float(psql(SETTINGS + "SELECT recall(40)"))
    inserted = seconds("INSERT INTO passage SELECT id + 1000000, text, v, t FROM passage WHERE id < 20000")
    psql("DELETE FROM passage WHERE id >= 1000000")
    psql("DROP INDEX the_index")
    psql("VACUUM passage")
    print("| %s | %.1f | %.1f | %.0f | %s | %s |" % (
        name, build, size, 20000 / inserted, " | ".join("%.3f" % found[n] for n in WORDS), recall), flush=True)
psql(SETTINGS + "CREATE INDEX ON tenth USING inverted (v sparsevec_ip_ops);" + methods["inverted"])
small = times(NEAREST % "tenth", 400)
large = times(NEAREST % "passage", 400)
print()
print("Ten times the rows take %s times the time." % ", ".join("%.1f" % (large[n] / small[n]) for n in WORDS))
