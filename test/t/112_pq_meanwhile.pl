# Does a pq index find rows unlike all others that are inserted while it learns anew?
#
# VACUUM is stopped while it learns a model: it has not written a page of it yet, and
# knows of no row that is inserted then.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "autovacuum = off\njit = off\nmax_parallel_workers_per_gather = 0\n");
$node->start;
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION jflow CASCADE;
	CREATE TABLE t (e vector(100));
	-- most of the time is spent on the model
	CREATE INDEX t_e ON t USING pq (e vector_l2_ops) WITH (lists = 200);
	-- those that come meanwhile lie on a way that leads far away
	CREATE FUNCTION point(i int, far float8) RETURNS vector LANGUAGE sql AS
		'SELECT array_agg(sin(i * j * 0.37 + j) + far * (i - 3000) * sin(j * j))::vector FROM generate_series(1, 100) j';
	CREATE FUNCTION nearest(q vector, exact bool) RETURNS float8[] LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM set_config('enable_seqscan', exact::text, true), set_config('enable_indexscan', (NOT exact)::text, true);
		RETURN (SELECT array_agg(d) FROM (SELECT e <-> q AS d FROM t ORDER BY e <-> q LIMIT 10) x);
	END $$;
});
my $vacuum = $node->background_psql('postgres', on_error_stop => 0);
my $writer = $node->background_psql('postgres', on_error_stop => 0);
my $watcher = $node->background_psql('postgres');
my $vacuum_pid = $vacuum->query_safe('SELECT pg_backend_pid()');
my $writer_pid = $writer->query_safe('SELECT pg_backend_pid()');
my $state = "SELECT state FROM pg_stat_activity WHERE pid = $vacuum_pid AND state_change > (SELECT state_change FROM pg_stat_activity WHERE pid = $writer_pid)";
my $met;
my $learned = '';
# it may have come to its end before we see or stop it
for my $try (1 .. 20)
{
	# no worker is to be faster
	$writer->query_safe($_)
	  for 'TRUNCATE t', 'BEGIN', 'LOCK TABLE t IN SHARE UPDATE EXCLUSIVE MODE', 'INSERT INTO t SELECT point(i, 0) FROM generate_series(1, 3000) i', 'COMMIT';
	my $size = $watcher->query_safe(q{SELECT pg_relation_size('t_e')});
	$vacuum->query_until(qr/begun/, "\\echo begun\nVACUUM t;\n");
	# until it is at the index, or through
	while (1)
	{
		my $now = $watcher->query_safe("SELECT coalesce((SELECT phase FROM pg_stat_progress_vacuum WHERE pid = $vacuum_pid), ($state))");
		last if $now eq 'cleaning up indexes' || $now eq 'idle';
	}
	kill 'STOP', $vacuum_pid;
	$met = $watcher->query_safe("SELECT pg_relation_size('t_e') = $size AND phase = 'cleaning up indexes' FROM pg_stat_progress_vacuum WHERE pid = $vacuum_pid") eq 't';
	if ($met)
	{
		$writer->query_until(qr/begun/, "\\echo begun\nINSERT INTO t SELECT point(i, 0.01) FROM generate_series(3001, 3400) i;\n");
		# it may have been stopped where it has a page locked, which is a wait for an LWLock or, since PostgreSQL 19, a
		# Buffer, or where it makes the file longer or reads a page
		$node->poll_query_until('postgres',
			"SELECT query LIKE 'INSERT%3400%' AND (state = 'idle' OR wait_event_type IN ('Lock', 'LWLock', 'Buffer', 'IPC')) FROM pg_stat_activity WHERE pid = $writer_pid") or die;
	}
	kill 'CONT', $vacuum_pid;
	$_->query_safe('SELECT 1') for $vacuum, $writer;
	# or it was stopped so early that it has learned from all
	$learned = $watcher->query_safe(q{SELECT lists > 1 AND built_tuples = 3000 FROM jflow_pq_info('t_e')}) if $met;
	last if $learned eq 't';
}
is($learned, 't', 'what comes while an index learns it has not learned from');
$_->quit for $vacuum, $writer, $watcher;
$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'jflow pq learner'}) or die;
my $recall = $node->safe_psql('postgres', q{
	SELECT avg((SELECT count(*) FROM unnest(nearest(q, false)) d WHERE d <= f[10] * (1 + 1e-6))) / 10
	FROM (SELECT q, nearest(q, true) AS f FROM (SELECT point(i, 0.01) AS q FROM generate_series(3001, 3400, 8) i) x) y});
cmp_ok($recall, '>=', 0.95, 'what has come meanwhile is found');
is($node->safe_psql('postgres', q{SELECT jflow_pq_check('t_e')}), '3400', 'every row is there once');
done_testing();
