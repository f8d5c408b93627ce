# shellcheck shell=bash
# What the scripts that install from Debian's packages share.  Sourced after
# lib.sh; expects $log, a file for the output, and uses $apt_config if set.
apt_config=

# apt_retry COMMAND…: mirrors and locks have bad moments
apt_retry() {
	local try
	for try in 1 2 3; do
		if as_root env DEBIAN_FRONTEND=noninteractive APT_CONFIG="$apt_config" \
			apt-get -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 \
			-o Acquire::Check-Valid-Until=false -qq "$@" >"$log" 2>&1; then
			return 0
		fi
		say "apt-get $1 failed (try $try of 3)"
		sleep $((try * 2))
	done
	tail -20 "$log" >&2
	return 1
}

# The mirror that this machine's apt uses for Debian itself.
debian_mirror() {
	apt-get indextargets --format '$(REPO_URI) $(ORIGIN)' 2>/dev/null |
		awk '$2 == "Debian" && $1 !~ /security/ { print $1; exit }'
}

# fetch_vector DIR: the source package of pgvector of the next release, not unpacked
fetch_vector() {
	local dir=$1 mirror
	mirror=$(debian_mirror)
	[ -n "$mirror" ] || die "cannot tell which Debian mirror this machine uses"
	mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
	say "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" \
		>"$dir/sources.list"
	cat >"$dir/apt.conf" <<-CONF
		Dir::Etc::sourcelist "$dir/sources.list";
		Dir::Etc::sourceparts "-";
		Dir::State::lists "$dir/lists";
		Dir::Cache "$dir/cache";
		APT::Sandbox::User "root";
	CONF
	apt_config=$dir/apt.conf
	apt_retry update || die "cannot read the package lists of the next Debian release"
	cd "$dir"
	apt_retry source --download-only pgvector || die "cannot fetch the source package of pgvector"
	apt_config=
}

# build_vector DIR [OPTFLAGS [DESTDIR]]: builds pgvector in DIR from the source
# package of the next release and installs it; with portable flags unless given.
build_vector() {
	local dir=$1 optflags=${2:-} destdir=${3:-}
	fetch_vector "$dir"
	mkdir "$dir/build"
	tar -xf "$dir"/pgvector_*.orig.tar.gz -C "$dir/build" --strip-components=1
	make -s -j2 -C "$dir/build" OPTFLAGS="$optflags" with_llvm=no PG_CONFIG="$PG_CONFIG" >"$log" 2>&1 ||
		{ cat "$log" >&2; die "pgvector did not build"; }
	as_root make -s -C "$dir/build" install OPTFLAGS="$optflags" with_llvm=no PG_CONFIG="$PG_CONFIG" \
		DESTDIR="$destdir" >"$log" 2>&1 || { cat "$log" >&2; die "pgvector did not install"; }
}
