# shellcheck shell=bash
# What the scripts share.  Source it; it sets -eu and these variables:
#   PG_MAJOR    the PostgreSQL version to work with (15 unless set)
#   PG_CONFIG   its pg_config
#   top         the top of the source tree
set -eu
: "${PG_MAJOR:=15}"
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PG_CONFIG=${PG_CONFIG:-/usr/lib/postgresql/$PG_MAJOR/bin/pg_config}
export PG_MAJOR PG_CONFIG

say() { printf '%s\n' "$*"; }
die() { printf 'jflow: %s\n' "$*" >&2; exit 1; }

# as_root COMMAND…: as root, by sudo if need be
as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	else
		command -v sudo >/dev/null || die "this needs root or sudo: $*"
		sudo "$@"
	fi
}

# The user that servers run as: PostgreSQL refuses root.
if [ "$(id -u)" -eq 0 ]; then run_user=postgres; else run_user=$(id -un); fi

# as_user COMMAND…: as that user, with a clean environment
as_user() {
	if [ "$(id -u)" -eq 0 ]; then
		setpriv --reuid="$run_user" --regid="$(id -g "$run_user")" --clear-groups \
			env -u XDG_CACHE_HOME HOME="$work" LC_ALL=C.UTF-8 "$@"
	else
		LC_ALL=C.UTF-8 "$@"
	fi
}

# make_work NAME: a private directory in $work, gone at exit with all servers in it
make_work() {
	work=$(mktemp -d "${TMPDIR:-/tmp}/jflow-$1.XXXXXX")
	chmod 711 "$work"
	[ "$(id -u)" -ne 0 ] || chown "$run_user" "$work"
	trap clean_work EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
}

clean_work() {
	[ -z "${KEEP_WORK:-}" ] || { trap - EXIT; say "kept $work"; return 0; }
	local pidfile
	trap - EXIT
	[ -n "${work:-}" ] || return 0
	cd /
	while IFS= read -r pidfile; do
		as_user "$bindir/pg_ctl" -D "$(dirname "$pidfile")" -m immediate stop >/dev/null 2>&1 || :
	done < <(find -L "$work" -name postmaster.pid 2>/dev/null)
	[ ! -d "$work/small" ] || umount "$work/small" 2>/dev/null || :
	rm -rf --one-file-system "$work"
}

# mount_small: a disk of 16 MB on $work/small, gone with $work; fails where that needs rights
mount_small() {
	mkdir -p "$work/small"
	[ "$(id -u)" -eq 0 ] && mount -t tmpfs -o "size=16m,mode=711,uid=$(id -u "$run_user")" none "$work/small" 2>/dev/null
}

# A server can look for extensions elsewhere since version 18, or with a patch of
# Debian's.
looks_elsewhere() {
	[ "$PG_MAJOR" -ge 18 ] || grep -q extension_destdir "$bindir/postgres"
}

# copy_server: one of an own build that can not is copied to $work/pg whole, since
# it finds its files relative to where it is.
copy_server() {
	local prefix
	prefix=$(dirname "$bindir")
	case $("$PG_CONFIG" --sharedir) in
		"$prefix"/*) ;;
		*) die "this server can load an extension from its own directories only; run make install" ;;
	esac
	cp -r "$prefix" "$work/pg"
	[ "$(id -u)" -ne 0 ] || chown -R "$run_user" "$work/pg"
	export PG_CONFIG=$work/pg/bin/pg_config
	bindir=$work/pg/bin
	destdir=
}

# build_jflow: copy the tree to $work/src, build it there, install to $work/inst.
# Leaves the compiler's output in $work/build.log.
build_jflow() {
	bindir=$("$PG_CONFIG" --bindir)
	destdir=$work/inst
	looks_elsewhere || copy_server
	mkdir -p "$work/src"
	tar -C "$top" --exclude=./.git --exclude='*.o' --exclude='*.so' --exclude='*.bc' \
		--exclude=./jflow --exclude=./tmp_check -cf - . | tar -C "$work/src" -xf -
	[ "$(id -u)" -ne 0 ] || chown -R "$run_user" "$work/src"
	cd "$work/src"
	if ! as_user make -s -j2 PG_CONFIG="$PG_CONFIG" >"$work/build.log" 2>&1 ||
		! as_user make -s install PG_CONFIG="$PG_CONFIG" DESTDIR="$destdir" >>"$work/build.log" 2>&1; then
		cat "$work/build.log" >&2
		die "the build failed"
	fi
	write_conf
}

# use_work DIR: one that another script has made and built in, and cleans up
use_work() {
	work=$1
	bindir=$("$PG_CONFIG" --bindir)
	destdir=$work/inst
	[ ! -e "$work/pg" ] || destdir=
}

# Settings with which a private server finds what build_jflow installed.
write_conf() {
	local libdir sharedir
	libdir=$("$PG_CONFIG" --pkglibdir)
	sharedir=$("$PG_CONFIG" --sharedir)
	{
		if [ -z "$destdir" ]; then
			:
		elif [ "$PG_MAJOR" -ge 18 ]; then
			say "extension_control_path = '$destdir$sharedir:\$system'"
		else
			say "extension_destdir = '$destdir'"
		fi
		[ -z "$destdir" ] || say "dynamic_library_path = '$destdir$libdir:\$libdir'"
		say "fsync = off"
	} >"$work/test.conf"
	chmod 644 "$work/test.conf"
}

# start_server NAME [SETTING…]: a private server on a socket in $work/NAME, with
# the data directory that is there or a new one
start_server() {
	local name=$1 dir=$work/$1 setting
	shift
	as_user mkdir -p "$dir"
	if [ ! -e "$dir/data" ]; then
		as_user "$bindir/initdb" -D "$dir/data" -N -A trust -U postgres --locale=C.UTF-8 -E UTF8 \
			>"$dir.log" 2>&1 || { cat "$dir.log" >&2; die "initdb failed"; }
	fi
	{
		cat "$work/test.conf"
		say "listen_addresses = ''"
		say "unix_socket_directories = '$dir'"
		for setting in "$@"; do say "$setting"; done
	} | as_user tee -a "$dir/data/postgresql.conf" >/dev/null
	as_user "$bindir/pg_ctl" -D "$dir/data" -l "$dir/server.log" -w start >/dev/null ||
		{ cat "$dir/server.log" >&2; die "the server did not start"; }
	export PGHOST=$dir PGUSER=postgres PGDATABASE=postgres
	unset PGPORT PGSERVICE PGOPTIONS
}

# The folder of real data, or nothing.
find_data() {
	local d
	for d in "${JFLOW_DATA:-}" "$top/../shared/data"; do
		if [ -n "$d" ] && [ -d "$d" ]; then
			(cd "$d" && pwd)
			return
		fi
	done
}
