# shellcheck shell=bash disable=SC2154
# The benchmark of lexical search, sourced by script/bench after make_work and
# build_jflow: client, server, run, report.
docs=${BENCH_DOCS:-$top/docs}
JFLOW_DATA=$(find_data)
export JFLOW_DATA
folder=$work/lexical-sets
results=${BENCH_KEEP:-$folder}/results.json
mkdir -p "$folder" "$docs" "${BENCH_KEEP:-$folder}"
gcc -O2 -Wall -Wextra -I"$("$PG_CONFIG" --includedir)" "$top/bench/pq/client.c" -lpq -o "$folder/client"
start_server lexical "shared_preload_libraries = 'jflow'" "shared_buffers = '3GB'" "max_worker_processes = 40" \
	"maintenance_work_mem = '256MB'" "synchronous_commit = off" "autovacuum = off" "jit = off" "max_wal_size = '8GB'" \
	"jflow.allow_superuser_flows = on"
# shellcheck disable=SC2086
/usr/bin/python3 "$top/bench/lexical/run.py" "$folder" "$results" ${BENCH_ARGS:-}
/usr/bin/python3 "$top/bench/lexical/report.py" "$results" "$docs"
as_user "$bindir/pg_ctl" -D "$work/lexical/data" -m fast stop >/dev/null
cat "$docs/benchmarks-lexical.md"
