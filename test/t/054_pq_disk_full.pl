# Does a pq index live through a full disk: at build, insert, vacuum, rebuild,
# when rows or the sort's runs no longer fit?
# The disk is a small file system that script/check mounts, which needs root.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $disk = $ENV{JFLOW_SMALL_DISK};
plan skip_all => 'NOT RUN: JFLOW_SMALL_DISK names no small file system (script/check mounts one as root)'
  unless $disk && -w $disk;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "autovacuum = off\njit = off\nmin_parallel_table_scan_size = 0\n");
$node->start;
mkdir "$disk/space" or die "cannot make $disk/space: $!";
$node->safe_psql('postgres', "CREATE TABLESPACE small LOCATION '$disk/space'");
$node->safe_psql('postgres', q{
	SET client_min_messages = error;
	CREATE EXTENSION jflow CASCADE;
	CREATE TABLE items AS SELECT i AS id, i % 10 AS kind, (SELECT array_agg(sin(i * j * 0.37 + j) + cos(i * 0.11 * j)) FROM generate_series(1, 64) j)::vector(64) AS v
	FROM generate_series(1, 8000) i;
	ALTER TABLE items SET (parallel_workers = 1);
	CREATE FUNCTION whole(index regclass) RETURNS bool LANGUAGE sql
	SET enable_seqscan = off SET enable_sort = off SET enable_bitmapscan = off AS $$
		SELECT jflow_pq_check(index) >= count(*) AND (count(*), count(DISTINCT id)) = ROW ((SELECT count(*) FROM items), (SELECT count(DISTINCT id) FROM items))
		FROM (SELECT id FROM items ORDER BY v <-> (SELECT v FROM items WHERE id = 7) LIMIT 1000000) x
	$$;
});

# leave so many kB free on the disk
sub leave
{
	my ($kb) = @_;
	unlink "$disk/filler";
	my ($free) = (split /\n/, `df -kP $disk`)[1] =~ /^\S+\s+\d+\s+\d+\s+(\d+)/;
	open(my $fh, '>', "$disk/filler") or die;
	print $fh "\0" x 1024 for 1 .. $free - $kb;
	close $fh or die;
	return;
}

# does a statement fail for lack of room?
sub runs_full
{
	my ($sql, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($ret, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSET client_min_messages = error;\n$sql", on_error_stop => 1);
	like($err, qr/ERROR:  53100: could not (?:extend|write)[^\n]*(?:No space left on device|wrote only)/, $name);
	return;
}

sub files
{
	$node->safe_psql('postgres', 'CHECKPOINT');
	return join(' ', sort grep { !-d && !/filler/ && -s } glob("$disk/space/*/*/*"));
}

# the build, stopped early and late, alone and with a worker
for my $kb (0, 16, 100, 700)
{
	leave($kb);
	runs_full("SET max_parallel_maintenance_workers = " . ($kb % 3) . "; SET maintenance_work_mem = '64MB';
		CREATE INDEX items_v ON items USING pq (v vector_l2_ops, kind) TABLESPACE small", "a build with $kb kB to write in");
	is(files(), '', 'and leaves no file');
}
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_index WHERE indrelid = 'items'::regclass}), '0', 'nor an index');
leave(300);
runs_full(q{SET temp_tablespaces = small; SET maintenance_work_mem = '1MB'; SET max_parallel_maintenance_workers = 0;
	CREATE INDEX items_v ON items USING pq (v vector_l2_ops, kind)}, 'a build whose sort has no room');
is(files(), '', 'and leaves no temporary file');

# concurrently: what stays is invalid, does not stop writes that need no room, and can be rebuilt
leave(200);
runs_full(q{CREATE INDEX CONCURRENTLY items_v ON items USING pq (v vector_l2_ops, kind) TABLESPACE small}, 'a concurrent build');
is($node->safe_psql('postgres', q{SELECT indisvalid FROM pg_index WHERE indexrelid = 'items_v'::regclass}), 'f', 'it is invalid then');
unlink "$disk/filler";
$node->safe_psql('postgres', 'SET client_min_messages = error; REINDEX INDEX CONCURRENTLY items_v');
is($node->safe_psql('postgres', q{SELECT whole('items_v')}), 't', 'and REINDEX mends it');

# inserts until nothing fits, in one statement and in many
my $rows = $node->safe_psql('postgres', 'SELECT count(*) FROM items');
leave(64);
runs_full('INSERT INTO items SELECT 100000 + id, kind, v FROM items', 'an INSERT of many rows');
is($node->safe_psql('postgres', 'SELECT count(*) FROM items'), $rows, 'is taken back');
is($node->safe_psql('postgres', q{SELECT whole('items_v')}), 't', 'the index is whole');
leave(64);
my ($ret, $out, $err) = $node->psql('postgres', join("\n", map { "INSERT INTO items SELECT 200000 + $_ * 10 + id, kind, v + v FROM items WHERE id <= 10;" } 1 .. 300), on_error_stop => 0);
like($err, qr/No space left on device/, 'many small INSERTs, of which some fail');
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM items'), '>', $rows, 'and some do not');
is($node->safe_psql('postgres', q{SELECT whole('items_v')}), 't', 'the index has the rows of those');

# the rest still works: delete, vacuum, reuse of room, a rebuild that fails and leaves the index as it was
$node->safe_psql('postgres', 'DELETE FROM items WHERE id % 2 = 0');
$node->psql('postgres', 'VACUUM items');
is($node->safe_psql('postgres', q{SELECT whole('items_v')}), 't', 'vacuumed on a full disk');
# but for outliers, which have pages of their own
leave(64);
$node->safe_psql('postgres', 'INSERT INTO items SELECT 300000 + id, kind, v FROM items WHERE id <= 1000');
is($node->safe_psql('postgres', q{SELECT whole('items_v')}), 't', 'rows take the place of others');
runs_full('REINDEX INDEX items_v', 'a rebuild');
is($node->safe_psql('postgres', q{SELECT whole('items_v')}), 't', 'the old index serves on');
unlink "$disk/filler";
$node->safe_psql('postgres', q{SET client_min_messages = error; INSERT INTO items SELECT 400000 + id, kind, v FROM items WHERE id <= 4000; REINDEX INDEX items_v; VACUUM (FREEZE) items});
is($node->safe_psql('postgres', q{SELECT whole('items_v')}), 't', 'and with room again all goes on');
$node->stop('immediate');
$node->start;
is($node->safe_psql('postgres', q{SELECT whole('items_v')}), 't', 'after a crash as well');

# learning anew, for which there is no room
$node->append_conf('postgresql.conf', 'max_worker_processes = 0');
$node->restart;
$node->safe_psql('postgres', q{
	DROP INDEX items_v;
	CREATE TABLE grown (LIKE items);
	CREATE INDEX grown_v ON grown USING pq (v vector_l2_ops, kind) TABLESPACE small;
	INSERT INTO grown SELECT * FROM items LIMIT 3000});
leave(64);
runs_full('VACUUM grown', 'a VACUUM that learns');
is($node->safe_psql('postgres', q{SELECT generation, due, jflow_pq_check('grown_v') FROM jflow_pq_info('grown_v')}), '1|t|3000', 'the old generation serves on');
unlink "$disk/filler";
$node->safe_psql('postgres', 'VACUUM (FREEZE) grown');
is($node->safe_psql('postgres', q{SELECT generation > 1, due, jflow_pq_check('grown_v') FROM jflow_pq_info('grown_v')}), 't|f|3000', 'and it learns when there is room');
unlike(slurp_file($node->logfile), qr/terminated by signal|PANIC|TRAP/, 'no process died');
$node->safe_psql('postgres', 'DROP INDEX grown_v; DROP TABLESPACE small');
$node->stop;
done_testing();
