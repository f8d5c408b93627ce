# shellcheck shell=bash disable=SC2154
# The benchmark of the pq index, sourced by script/bench after make_work and
# build_jflow: sets, client, pgvector for this machine, a server, run, report.
. "$top/script/apt.sh"
log=$work/log
results=$top/bench/pq/results.json
docs=${BENCH_DOCS:-$top/docs}
[ -z "${BENCH_KEEP:-}" ] || results=$BENCH_KEEP/results.json
JFLOW_DATA=$(find_data)
export JFLOW_DATA

# keep NAME: $work/NAME, which outlives the run in BENCH_KEEP if that is set
keep() {
	if [ -n "${BENCH_KEEP:-}" ]; then
		mkdir -p "$BENCH_KEEP/$1"
		ln -s "$(realpath "$BENCH_KEEP/$1")" "$work/$1"
	fi
	mkdir -p "$work/$1"
	[ "$(id -u)" -ne 0 ] || chown "$run_user" "$work/$1/"
}

if [ -z "$JFLOW_DATA" ]; then
	say "pq: no data, left out (JFLOW_DATA names its folder)"
	exit 0
fi
"$top/script/setup" python3-faiss python3-packaging libopenblas0-pthread zstd
keep vectors
keep pq
# --sets of BENCH_ARGS, or all
chosen=$(printf '%s' "${BENCH_ARGS:-}" | sed -n 's/.*--sets[ =]\([a-z0-9,]*\).*/\1/p')
/usr/bin/python3 "$top/bench/pq/prepare.py" "$JFLOW_DATA" "$work/vectors" ${chosen:+"$chosen"}
gcc -O2 -Wall -Wextra -I"$("$PG_CONFIG" --includedir)" "$top/bench/pq/client.c" -lpq -o "$work/vectors/client"
say "Building pgvector with -march=native"
(build_vector "$work/pgvector" -march=native "$work/inst")
[ "$(id -u)" -ne 0 ] || chown -R "$run_user" "$work/inst"
start_server pq "shared_preload_libraries = 'jflow'" "shared_buffers = '3GB'" \
	"maintenance_work_mem = '2GB'" "max_parallel_maintenance_workers = 1" \
	"synchronous_commit = off" "autovacuum = off" "jit = off" "max_wal_size = '8GB'"
[ -n "${BENCH_KEEP:-}" ] || rm -f "$results"
BENCH_RESTART="'$bindir/pg_ctl' -D '$work/pq/data' -l '$work/pq/server.log' -m fast -w restart"
[ "$(id -u)" -ne 0 ] || BENCH_RESTART="setpriv --reuid=$run_user --regid=$(id -g "$run_user") --clear-groups $BENCH_RESTART"
export BENCH_RESTART
# a build of jflow that is new to a kept server
"$bindir/psql" -Xqc "SET client_min_messages = error; DROP EXTENSION IF EXISTS jflow CASCADE;
	DROP SCHEMA IF EXISTS jflow CASCADE; CREATE EXTENSION jflow CASCADE"
# shellcheck disable=SC2086
/usr/bin/python3 "$top/bench/pq/run.py" "$work/vectors" "$results" ${BENCH_ARGS:-}
/usr/bin/python3 "$top/bench/pq/report.py" "$results" "$docs"
as_user "$bindir/pg_ctl" -D "$work/pq/data" -m fast stop >/dev/null
cat "$docs/benchmarks-pq.md"
