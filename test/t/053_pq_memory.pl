# Does a build keep to maintenance_work_mem, a scan to a few megabytes, and a
# session that searches on and on to what it began with?
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "shared_buffers = 32MB\njit = off\nautovacuum = off\nmax_parallel_maintenance_workers = 0\n");
$node->start;
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION jflow CASCADE;
	CREATE TABLE seed AS SELECT i AS id, (SELECT array_agg(sin(i * j * 0.37 + j) + cos(i * 0.11 * j)) FROM generate_series(1, 64) j)::vector(64) AS v FROM generate_series(1, 4000) i;
	CREATE TABLE items (id int, v vector(64));
	INSERT INTO items SELECT a.id * 25 + b.id, a.v + b.v FROM seed a, seed b WHERE b.id <= 25;
	CREATE FUNCTION rss(what text) RETURNS int LANGUAGE sql VOLATILE AS
		$$ SELECT (regexp_match(pg_read_file('/proc/' || pg_backend_pid() || '/status'), what || ':\s*(\d+)'))[1]::int $$;
	CREATE FUNCTION own() RETURNS int8 LANGUAGE sql VOLATILE AS
		$$ SELECT sum(total_bytes)::int8 FROM pg_backend_memory_contexts $$;
});
is($node->safe_psql('postgres', 'SELECT count(*) FROM items'), 100000, 'a table of 26 MB');

SKIP:
{
	skip 'no /proc/self/status', 3 unless -r '/proc/self/status';
	for my $memory (8, 32)
	{
		# what a session needs without a build, shared buffers included
		my $peak = $node->safe_psql(
			'postgres', qq{SET maintenance_work_mem = '${memory}MB'; SET client_min_messages = error;
			SELECT count(*) FROM items; SELECT count(*) FROM (SELECT id FROM items ORDER BY v <-> (SELECT v FROM seed WHERE id = 1) OFFSET 0) x;
			SELECT rss('VmHWM');
			CREATE INDEX items_v ON items USING pq (v vector_l2_ops);
			SELECT rss('VmHWM')});
		my ($before, $after) = (split /\n/, $peak)[ 2, 3 ];
		# 32 MB for shared buffers that the build was first to touch, 6 MB for code and libraries
		cmp_ok($after - $before, '<', ($memory + 38) * 1024, "a build with $memory MB took " . int(($after - $before) / 1024) . ' MB');
		$node->safe_psql('postgres', 'DROP INDEX items_v') if $memory == 8;
	}
}

# memory of a scan, while it is open, near its start and far on
my $scan = $node->safe_psql(
	'postgres', q{
	SET enable_seqscan = off; SET enable_sort = off;
	SELECT count(*) FROM (SELECT id FROM items ORDER BY v <-> (SELECT v FROM seed WHERE id = 1) LIMIT 10) x;
	SELECT own() AS before \gset
	BEGIN;
	DECLARE c CURSOR FOR SELECT id FROM items ORDER BY v <-> (SELECT v FROM seed WHERE id = 7);
	MOVE 10 FROM c;
	SELECT own() - :before;
	MOVE 5000 FROM c;
	SELECT own() - :before;
	MOVE ALL FROM c;
	SELECT own() - :before;
	CLOSE c;
	COMMIT;
	SELECT own() - :before});
my (undef, $first, $far, $end, $closed) = split /\n/, $scan;
cmp_ok($first, '<', 4 * 1024 * 1024, "a scan of 10 rows has $first bytes");
cmp_ok($far, '<', 4 * 1024 * 1024, "of 5,000 rows $far");
cmp_ok($end, '<', 4 * 1024 * 1024, "of all rows $end");
cmp_ok($closed, '<', 512 * 1024, "and nothing when it is closed ($closed)");

# of vectors that are stored out of line, and of short ones, which are copied to be read
for my $dims (20, 3000)
{
	my $wide = $node->safe_psql(
		'postgres', qq{
		CREATE TABLE wide (id int, v vector($dims));
		INSERT INTO wide SELECT s.id, (SELECT array_agg(sin(s.id * j * 0.37)) FROM generate_series(1, $dims) j)::vector FROM seed s WHERE s.id <= 4000000 / $dims AND s.id <= 3000;
		SET client_min_messages = error;
		CREATE INDEX wide_v ON wide USING pq (v vector_l2_ops);
		SET enable_seqscan = off; SET enable_sort = off;
		SELECT count(*) FROM (SELECT id FROM wide ORDER BY v <-> (SELECT v FROM wide WHERE id = 1) LIMIT 10) x;
		SELECT own() AS before \\gset
		BEGIN;
		DECLARE c CURSOR FOR SELECT id FROM wide ORDER BY v <-> (SELECT v FROM wide WHERE id = 7);
		MOVE ALL FROM c;
		SELECT own() - :before;
		COMMIT;
		DROP TABLE wide});
	my $most = (split /\n/, $wide)[-1];
	cmp_ok($most, '<', 4 * 1024 * 1024, "a scan of vectors of $dims dimensions has $most bytes");
}

# many searches, inserts and failures in one session
my $many = $node->safe_psql(
	'postgres', q{
	SET enable_seqscan = off; SET client_min_messages = error;
	CREATE FUNCTION work(n int) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1 .. n LOOP
			PERFORM id FROM items ORDER BY v <-> (SELECT v FROM seed WHERE id = 1 + i % 4000) LIMIT 10;
			INSERT INTO items SELECT -i, v FROM seed WHERE id = 1 + i % 4000;
			BEGIN
				PERFORM id FROM items ORDER BY v <-> '[1,2]' LIMIT 10;
			EXCEPTION WHEN data_exception THEN
				NULL;
			END;
		END LOOP;
	END $$;
	SELECT work(100);
	SELECT own() - 0 AS before	-- of the same form as below, since that takes memory, too
		\gset
	SELECT work(1500);
	SELECT own() - :before});
cmp_ok((split /\n/, $many)[-1], '<', 256 * 1024, 'a session does not grow');
$node->stop;
done_testing();
