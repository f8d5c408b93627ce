# Does a worker that learns a pq index anew make way for those who wait for its table, and for DROP DATABASE?
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "autovacuum = off\njit = off\ndeadlock_timeout = 100ms\n");
$node->start;

# A worker that has the lock of the table and waits for that of the index, which a session holds.
sub held_learner
{
	my ($database) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql(
		$database, q{
		CREATE EXTENSION jflow CASCADE;
		CREATE TABLE t (e vector(4));
		CREATE INDEX t_e ON t USING pq (e vector_l2_ops);
	});
	my $holder = $node->background_psql($database);

	# the level of an option's lock is known to who has loaded the library
	$holder->query_safe($_)
	  for q{LOAD 'jflow'}, 'BEGIN', 'ALTER INDEX t_e SET (lists = 20)', 'INSERT INTO t SELECT ARRAY[i, sin(i), i % 7, cos(i)]::vector FROM generate_series(1, 20000) i';
	my $pid = "SELECT pid FROM pg_stat_activity WHERE datname = '$database' AND backend_type = 'jflow pq learner' AND wait_event_type = 'Lock'";
	$node->poll_query_until('postgres', "SELECT EXISTS ($pid)") or die 'no worker';
	return ($holder, $node->safe_psql('postgres', $pid));
}

my ($holder, $pid) = held_learner('waited');
my ($ret) = $node->psql('waited', "SET lock_timeout = '60s'; BEGIN; LOCK TABLE t IN SHARE UPDATE EXCLUSIVE MODE; COMMIT;");
is($ret, 0, 'who waits for the lock of the table gets it');
ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid"), 'the worker is gone');
like(slurp_file($node->logfile), qr/canceled learning the pq index with OID \d+ anew/, 'the log tells that learning was canceled');
$holder->query_safe('COMMIT');
$holder->quit;
is($node->safe_psql('waited', q{VACUUM t; SELECT lists FROM jflow_pq_info('t_e')}), '20', 'VACUUM learns instead');

# whether it is told to go shows while it is stopped
($holder, $pid) = held_learner('dropped');
kill 'STOP', $pid;
$holder->query_safe('COMMIT');
$holder->quit;
my $dropping = $node->background_psql('postgres', on_error_stop => 0);
$dropping->query_until(qr/begun/, "\\echo begun\nDROP DATABASE dropped;\n");
my $active = q{SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DROP DATABASE%' AND state = 'active'};
$node->poll_query_until('postgres', $active, '1') or die 'no DROP DATABASE';
my $told = 0;
for (1 .. 1800)
{
	# pending signals, the first of them is the least bit
	$told = (hex($1) >> 14) & 1 if slurp_file("/proc/$pid/status") =~ /^ShdPnd:\s+([0-9a-f]+)/m;
	last if $told || $node->safe_psql('postgres', $active) eq '0';
}
kill 'CONT', $pid;
ok($told, 'DROP DATABASE tells the worker to go');
$dropping->quit;
$node->safe_psql('postgres', 'DROP DATABASE IF EXISTS dropped');
$node->stop;
done_testing();
