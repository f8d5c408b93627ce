# shellcheck shell=bash
# script/bench runs this: builds revision $AGAINST beside the present tree, each on
# a private server, and measures both in turn.
: "${AGAINST:?name the revision to compare with, as in AGAINST=v0.1.0}"
mkdir -p "$work/other/tree"
git -C "$top" archive "$AGAINST" | tar -x -C "$work/other/tree"
settings=("shared_preload_libraries = 'jflow'" "max_worker_processes = 40" "shared_buffers = '1GB'" "autovacuum = off")
start_server present "${settings[@]}"
present=$PGHOST
[ "$(id -u)" -ne 0 ] || chown -R "$run_user" "$work/other"
other=$(
	. "$work/other/tree/script/lib.sh"
	work=$work/other
	build_jflow
	start_server server "${settings[@]}" >&2
	say "$PGHOST"
)
/usr/bin/python3 "$top/bench/against/run.py" "$present" "$other" "$(git -C "$top" rev-parse --short "$AGAINST")"
