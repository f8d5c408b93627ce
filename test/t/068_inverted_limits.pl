# Does an inverted index keep to its memory and its size, and leave no harm where a
# build or a merge cannot go on: disk full, cancelled, several at a time?
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "autovacuum = off\njit = off\nmax_parallel_workers = 8\n");
$node->start;
$node->safe_psql('postgres', q{
	SET client_min_messages = error;
	CREATE EXTENSION jflow CASCADE;
	CREATE FUNCTION v(i int) RETURNS sparsevec LANGUAGE sql IMMUTABLE AS
		$$SELECT format('{%s}/5000', string_agg(d || ':' || 1 + i % 7, ',' ORDER BY d))::sparsevec
		FROM (SELECT DISTINCT 1 + (i::int8 * j * 7919 + j * j * 31) % (50 * j) AS d FROM generate_series(1, 60) j) x$$;
	CREATE TABLE items AS SELECT i AS id, v(i)::sparsevec(5000) AS v FROM generate_series(1, 15000) i;
	ALTER TABLE items SET (parallel_workers = 2)});
my $right = q{SET enable_seqscan = off; SET enable_sort = off;
	SELECT count(*) || ' ' || count(DISTINCT id) FROM (SELECT id FROM items ORDER BY v <#> v(7) LIMIT 100000) x};

# the greatest private memory of a process that has run statements, in kB
sub memory_of
{
	my $psql = $node->background_psql('postgres');
	my $pid = $psql->query_safe('SELECT pg_backend_pid()');
	$psql->query_safe($_) for @_;
	my %status = slurp_file("/proc/$pid/status") =~ /^(\w+):\s+(\d+) kB$/mg;
	$psql->quit;
	# what is shared does not count: RssFile and RssShmem of now are at least those of then
	return $status{VmHWM} - $status{RssFile} - $status{RssShmem};
}
sub build_memory
{
	return memory_of('SET max_parallel_maintenance_workers = 0', "SET maintenance_work_mem = '$_[0]'",
		'CREATE INDEX memory_v ON items USING inverted (v sparsevec_ip_ops)', 'DROP INDEX memory_v');
}
SKIP:
{
	skip 'no /proc', 1 unless -e '/proc/self/status';
	my $little = build_memory('4MB');
	my $much = build_memory('256MB');
	cmp_ok($little, '<', $much / 2, "a build keeps to maintenance_work_mem ($little kB against $much kB)");
}

# builds at a time, with workers
my @builds = map {
	my $psql = $node->background_psql('postgres');
	$psql->query_safe("SET min_parallel_table_scan_size = 0");
	$psql->query_safe("SET maintenance_work_mem = '64MB'");
	$psql->query_until(qr/started/, "\\echo started\nCREATE INDEX build_$_ ON items USING inverted (v sparsevec_ip_ops);\n");
	$psql
} 1 .. 3;
$_->quit for @builds;
is($node->safe_psql('postgres', "SELECT count(*), min(jflow_inverted_check(oid)) FROM pg_class WHERE relname ~ '^build_'"), '3|15000', 'three builds at a time');
is($node->safe_psql('postgres', "SELECT count(DISTINCT pg_relation_size(oid)) FROM pg_class WHERE relname ~ '^build_'"), '1', 'made the same index');
$node->safe_psql('postgres', 'DROP INDEX build_2, build_3');
is($node->safe_psql('postgres', $right), '15000 15000', 'which gives all rows');

SKIP:
{
	skip 'no /proc', 2 unless -e '/proc/self/status';
	# searches of few rows, of all, and of thousands of terms
	my $search = q{DO $do$ BEGIN
		FOR i IN 1 .. %d LOOP
			PERFORM id FROM items ORDER BY v <#> v(i) LIMIT 10;
			PERFORM count(*) FROM (SELECT id FROM items ORDER BY v <#> v(i) LIMIT 3000) x;
			PERFORM id FROM items ORDER BY v <#> (SELECT format('{%%s}/5000', string_agg(d || ':1', ','))::sparsevec FROM generate_series(1, 5000) d) LIMIT 10;
		END LOOP; END $do$};
	my @settings = ('SET enable_seqscan = off', 'SET enable_sort = off', q{SET work_mem = '64kB'});
	my $once = memory_of(@settings, sprintf($search, 1));
	my $often = memory_of(@settings, sprintf($search, 40));
	cmp_ok($often, '<', $once + 4096, "searches leave no memory behind ($often kB against $once kB)");
	my $whole = memory_of(@settings, 'SELECT count(*) FROM (SELECT id FROM items ORDER BY v <#> v(7)) x');
	cmp_ok($whole, '<', $once + 8192, "nor does a scan to the end need much ($whole kB)");
}

# one row that is updated again and again, with VACUUM
my $updates = $ENV{INVERTED_UPDATES} || 20000;
$node->safe_psql('postgres', q{
	CREATE TABLE hot AS SELECT id, v FROM items WHERE id = 1;
	CREATE INDEX hot_v ON hot USING inverted (v sparsevec_ip_ops);
	CREATE PROCEDURE update_hot(n int) LANGUAGE plpgsql AS $$ BEGIN
		FOR i IN 1 .. n LOOP
			UPDATE hot SET v = format('{%s:1,%s:2}/5000', 1 + i % 7, 10 + i % 4900)::sparsevec;
			IF i % 100 = 0 THEN COMMIT; END IF;
		END LOOP; END $$});
my @pages;
for (1 .. 10)
{
	$node->safe_psql('postgres', 'CALL update_hot(' . int($updates / 10) . ')');
	$node->safe_psql('postgres', 'VACUUM (FREEZE) hot');
	push @pages, $node->safe_psql('postgres', q{SELECT pages FROM jflow_inverted_info('hot_v')});
}
cmp_ok($pages[9], '<=', $pages[2] * 1.5 + 50, "$updates updates of a row do not let its index grow (@pages pages)");
is($node->safe_psql('postgres', q{SELECT jflow_inverted_check('hot_v')}), '1', 'one row is in it');
is($node->safe_psql('postgres', q{SET enable_seqscan = off; SELECT count(*) FROM (SELECT id FROM hot ORDER BY v <#> v(1) LIMIT 10) x}), '1', 'and found once');

# a merge that is cancelled again and again does no harm
$node->safe_psql('postgres', 'DELETE FROM items WHERE id % 2 = 0');
my $cancelled = 0;
for my $ms (1, 2, 4, 8, 16, 32, 64)
{
	my ($code) = $node->psql('postgres', "SET statement_timeout = $ms; VACUUM items", on_error_stop => 1);
	$cancelled++ if $code;
}
cmp_ok($cancelled, '>', 0, "VACUUM was cancelled $cancelled times");
is($node->safe_psql('postgres', $right), '7500 7500', 'and all rows are there');
$node->safe_psql('postgres', 'VACUUM (FREEZE) items');
is($node->safe_psql('postgres', "SELECT jflow_inverted_check('build_1')"), '7500', 'the index is sound');

# nor do inserts that are cancelled while they append, and make segments of what they appended
$cancelled = 0;
for my $ms (5, 20, 80, 160, 320, 640)
{
	my ($code) = $node->psql('postgres', "SET statement_timeout = $ms; INSERT INTO items SELECT id, v FROM items LIMIT 7500", on_error_stop => 1);
	$cancelled++ if $code;
}
cmp_ok($cancelled, '>', 0, "INSERT was cancelled $cancelled times");
is($node->safe_psql('postgres', q{SET enable_seqscan = off; SET enable_sort = off;
	SELECT (SELECT count(*) FROM (SELECT id FROM items ORDER BY v <#> v(7)) x) = count(*) FROM items}), 't', 'and all rows are there');
$node->safe_psql('postgres', 'VACUUM (FREEZE) items');
is($node->safe_psql('postgres', q{SELECT jflow_inverted_check('build_1') = count(*) FROM items}), 't', 'and no others');

SKIP:
{
	my $small = $ENV{JFLOW_SMALL_DISK};
	skip 'no small disk', 4 unless $small;
	$node->safe_psql('postgres', "CREATE TABLESPACE small LOCATION '$small'");
	$node->safe_psql('postgres', 'CREATE TABLE grows (id int, v sparsevec(5000)); CREATE INDEX grows_v ON grows USING inverted (v sparsevec_ip_ops) TABLESPACE small');
	my $batches = 0;
	$batches++ while $batches < 200 && $node->psql('postgres', 'INSERT INTO grows SELECT id, v FROM items WHERE id < 2000') == 0;
	cmp_ok($batches, '<', 200, "the disk is full after $batches batches");
	is($node->safe_psql('postgres', q{SELECT jflow_inverted_check('grows_v') >= count(*) FROM grows}), 't', 'the index is sound');
	is($node->safe_psql('postgres', q{SET enable_seqscan = off; SET enable_sort = off;
		SELECT (SELECT count(*) FROM (SELECT id FROM grows ORDER BY v <#> v(7)) x) = count(*) FROM grows}), 't', 'and gives all rows');
	my ($code, $out, $err) = $node->psql('postgres', 'CREATE INDEX full_v ON items USING inverted (v sparsevec_ip_ops) TABLESPACE small');
	like($err, qr/No space left on device/, 'a build on a full disk fails');
}
$node->stop;
done_testing();
