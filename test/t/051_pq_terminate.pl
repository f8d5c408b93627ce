# Does a backend that is cancelled or terminated while it builds, inserts,
# vacuums or scans leave the pq index sound and nothing behind?
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use IPC::Run;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf(
	'postgresql.conf', q{
autovacuum = off
jit = off
min_parallel_table_scan_size = 0
log_min_messages = info
});
$node->start;
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION jflow CASCADE;
	CREATE FUNCTION v(i int) RETURNS vector LANGUAGE sql IMMUTABLE AS
		'SELECT array_agg(sin(i * j * 0.37 + j) + cos(i * 0.11 * j))::vector FROM generate_series(1, 32) j';
	CREATE TABLE seed AS SELECT i AS id, v(i)::vector(32) AS v FROM generate_series(1, 5000) i;
	CREATE TABLE items (id int, v vector(32));
	INSERT INTO items SELECT id + 5000 * n, v FROM seed, generate_series(0, 3) n;
	ALTER TABLE items SET (parallel_workers = 2);
	CREATE TABLE target (id int, v vector(32));
	INSERT INTO target SELECT id, v FROM seed WHERE id <= 2000;
	CREATE INDEX target_v ON target USING pq (v vector_l2_ops);
});

my $files = q{SELECT count(*) FROM pg_ls_dir((SELECT 'base/' || oid FROM pg_database WHERE datname = 'postgres')) f WHERE f ~ '^\d+$'};
$node->safe_psql('postgres', 'CHECKPOINT');
my $before = $node->safe_psql('postgres', $files);
my $seed = $ENV{INDEX_SEED} || time;
srand($seed);
note("seed $seed");

my $watch = $node->background_psql('postgres');
# a victim that is gone in the meantime is worth a warning, which is no error
$watch->query_safe('SET client_min_messages = error');

# run statements in a session of its own, and end them by a function as soon as
# a condition holds
my ($cancelled, $finished) = (0, 0);

sub interrupt
{
	my ($sql, $how, $condition) = @_;
	my $name = 'victim' . int(rand(1e9));
	my ($out, $err) = ('', '');
	my $run = IPC::Run::start(
		[ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres') . " application_name=$name",
			map { ('-c', $_) } split /;\s*/, $sql ],
		'>', \$out, '2>', \$err);
	# by a session that is there already, since some phases are short
	my $seen = 0;
	for (1 .. 5000)
	{
		my ($there, $hit) = split /\|/, $watch->query_safe(
			qq{SELECT count(*), count($how(pid)) FILTER (WHERE $condition) FROM pg_stat_activity a
			LEFT JOIN pg_stat_progress_create_index c USING (pid) LEFT JOIN pg_stat_progress_vacuum w USING (pid)
			WHERE application_name = '$name' AND backend_type = 'client backend'});
		last if $hit > 0 || ($seen && $there == 0);
		$seen ||= $there > 0;
	}
	$run->finish;
	$err =~ /canceling|terminating|terminated/ ? $cancelled++ : $finished++;
	unlike($err, qr/PANIC|corrupt/, "$how: nothing worse than that");
	return;
}

# build: in each phase, cancelled and terminated
for my $phase ('sampling table', 'training', 'coding table', 'sorting codes', 'writing lists', 'calibrating recall', 'writing WAL')
{
	for my $how ('pg_cancel_backend', 'pg_terminate_backend')
	{
		interrupt('CREATE INDEX items_v ON items USING pq (v vector_l2_ops)', $how, "c.phase = 'building index: $phase'");
		$node->safe_psql('postgres', 'DROP INDEX IF EXISTS items_v');
	}
}
cmp_ok($cancelled, '>=', 6, "builds were interrupted ($cancelled of " . ($cancelled + $finished) . ')');
# the first file of what was dropped goes at a checkpoint
$node->safe_psql('postgres', 'CHECKPOINT');
is($node->safe_psql('postgres', $files), $before, 'interrupted builds leave no file');
$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'parallel worker'");
pass('nor a worker');

# concurrently: an invalid index stays, writes go on, and REINDEX mends it
interrupt('CREATE INDEX CONCURRENTLY items_v ON items USING pq (v vector_l2_ops)', 'pg_terminate_backend', "c.phase ~ 'coding|writing'");
$node->safe_psql('postgres', "INSERT INTO items SELECT id + 100000, v FROM seed WHERE id <= 100");
$node->safe_psql('postgres', 'REINDEX INDEX items_v') if $node->safe_psql('postgres', "SELECT to_regclass('items_v') IS NOT NULL") eq 't';
$node->safe_psql('postgres', 'DROP INDEX IF EXISTS items_v');

# inserts, vacuum and scans, at moments by chance
my $rows = sub { $node->safe_psql('postgres', 'SELECT count(*) FROM target') };
for my $round (1 .. 4)
{
	my $n = 1 + int(rand(3000));
	for my $how ('pg_cancel_backend', 'pg_terminate_backend')
	{
		interrupt("INSERT INTO target SELECT id, v FROM seed", $how, "pg_relation_size('target') > $n * 200");
		interrupt('DELETE FROM target WHERE id % 5 = ' . $round . '; VACUUM (FREEZE) target', $how, "w.phase ~ 'vacuuming|cleaning' OR query ~ 'VACUUM'");
		interrupt('SET enable_seqscan = off; SET enable_sort = off; SELECT count(*) FROM (SELECT id FROM target ORDER BY v <-> v(3) LIMIT 1000000) x',
			$how, "state = 'active' AND query ~ 'SELECT count'");
		is( $node->safe_psql(
				'postgres', q{SET enable_seqscan = off; SET enable_sort = off;
			SELECT count(*) FROM (SELECT id FROM target ORDER BY v <-> v(3) LIMIT 1000000) x}),
			$rows->(), "round $round, $how: a scan returns all rows");
	}
	ok($node->safe_psql('postgres', "SELECT jflow_pq_check('target_v')") >= $rows->(), "round $round: the index is sound");
}
$watch->quit;
$node->safe_psql('postgres', 'VACUUM (FREEZE) target');
is($node->safe_psql('postgres', "SELECT jflow_pq_check('target_v')"), $rows->(), 'VACUUM ends what the others began');
unlike(slurp_file($node->logfile), qr/PANIC|terminated by signal|buffer refcount leak|snapshot .* still active/, 'nothing leaked, nobody crashed');

# killed, which takes the server down with it: what was done is there, the rest is not
$node->append_conf('postgresql.conf', "restart_after_crash = on\n");
$node->restart;

sub kill_at
{
	my ($sql, $condition, $name) = @_;
	my $watch = $node->background_psql('postgres');	# a new psql each time would look too seldom
	my ($pid, $run, $offset) = ('');
	# a phase can pass between two looks: then once more
	for (1 .. 10)
	{
		$run = IPC::Run::start(
			[ 'psql', '-XAtq', '-d', $node->connstr('postgres') . " application_name=doomed", map { ('-c', $_) } split /;\s*/, $sql ],
			'>', '/dev/null', '2>', '/dev/null');
		$offset = -s $node->logfile;
		while ($pid eq '' && $run->pumpable)
		{
			$pid = $watch->query_safe(qq{SELECT pid FROM pg_stat_activity a LEFT JOIN pg_stat_progress_create_index c USING (pid)
				LEFT JOIN pg_stat_progress_vacuum w USING (pid) WHERE application_name = 'doomed' AND backend_type = 'client backend' AND $condition});
		}
		last if $pid ne '' && kill('KILL', $pid);
		$pid = '';
		$run->finish;
	}
	isnt($pid, '', "$name: killed");
	$run->finish if $pid ne '';
	eval { $watch->quit };	# the server took it down
	$node->wait_for_log(qr/database system is ready to accept connections/, $offset) if $pid ne '';
	is( $node->safe_psql(
			'postgres', q{SET enable_seqscan = off; SET enable_sort = off;
		SELECT count(*) || ' ' || count(DISTINCT v::text) FROM (SELECT id, v FROM target ORDER BY v <-> v(3) LIMIT 1000000) x}),
		$node->safe_psql('postgres', q{SELECT count(*) || ' ' || count(DISTINCT v::text) FROM target}), "$name: a scan returns all rows");
	ok($node->safe_psql('postgres', "SELECT jflow_pq_check('target_v')") >= $rows->(), "$name: the index is sound");
	return;
}
my $size = $node->safe_psql('postgres', "SELECT pg_relation_size('target')");
kill_at('DROP INDEX IF EXISTS items_v; CREATE INDEX items_v ON items USING pq (v vector_l2_ops)', "c.phase ~ 'coding|sorting|writing|calibrating'", 'build');
is($node->safe_psql('postgres', q{SELECT to_regclass('items_v') IS NULL}), 't', 'build: no index is left');
kill_at('INSERT INTO target SELECT id, v FROM seed, generate_series(1, 20)', "pg_relation_size('target') > $size + 400000", 'insert');
kill_at('DELETE FROM target WHERE random() < 0.3; SET vacuum_cost_limit = 1; SET vacuum_cost_delay = 5; VACUUM target', "w.phase = 'vacuuming indexes'", 'vacuum');
$node->safe_psql('postgres', 'CREATE INDEX items_v ON items USING pq (v vector_l2_ops); VACUUM (FREEZE) target');
is($node->safe_psql('postgres', "SELECT jflow_pq_check('target_v')"), $rows->(), 'and all goes on');
$node->stop;
done_testing();
