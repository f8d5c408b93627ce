# Does a pq index that learns anew lose or double a row: with inserts, searches and
# VACUUM going on, after a crash at any of its steps, and on a standby?
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init(allows_streaming => 1, has_archiving => 1);
$node->append_conf('postgresql.conf', "autovacuum = off\nmax_parallel_workers_per_gather = 0\n");
$node->start;
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION jflow CASCADE;
	CREATE FUNCTION v(i int) RETURNS vector LANGUAGE sql IMMUTABLE AS
		'SELECT array_agg(sin(i * j * 0.37 + j) + cos(i * 0.11 * j))::vector FROM generate_series(1, 12) j';
	CREATE TABLE items (id serial PRIMARY KEY, kind int, v vector(12));
	CREATE INDEX items_v ON items USING pq (v vector_l2_ops, kind);
	-- rows that an ordered scan lacks, has twice, or should not have
	CREATE FUNCTION wrong(OUT lacking int8, OUT twice int8, OUT strange int8) LANGUAGE plpgsql
	SET enable_seqscan = off SET enable_sort = off SET enable_bitmapscan = off AS $$
	DECLARE
		found int[] := ARRAY(SELECT id FROM items ORDER BY v <-> v(7) LIMIT 10000000);
	BEGIN
		SELECT count(*) INTO lacking FROM items WHERE id <> ALL (found);
		SELECT count(*) - count(DISTINCT f) INTO twice FROM unnest(found) f;
		SELECT count(*) INTO strange FROM unnest(found) f WHERE f NOT IN (SELECT id FROM items);
	END $$;
});

sub generation
{
	return $node->safe_psql('postgres', q{SELECT generation FROM jflow_pq_info('items_v')});
}

# by a worker, asked for by inserts
$node->safe_psql('postgres', 'INSERT INTO items (kind, v) SELECT i % 10, v(i) FROM generate_series(1, 4000) i');
ok($node->poll_query_until('postgres', q{SELECT lists > 1 FROM jflow_pq_info('items_v')}), 'inserts have a worker learn');
is($node->safe_psql('postgres', 'SELECT * FROM wrong()'), '0|0|0', 'every row is there once');
ok($node->safe_psql('postgres', q{SELECT jflow_pq_check('items_v')}) == 4000, 'the index is sound');

# a learner that is at work keeps VACUUM of other tables from nothing
$node->safe_psql(
	'postgres', q{
	CREATE TABLE other (id int, v vector(12));
	INSERT INTO other SELECT i, v(i) FROM generate_series(1, 1500) i;
	CREATE INDEX other_v ON other USING pq (v vector_l2_ops);
	CREATE TABLE large (v vector(200));
	CREATE INDEX large_v ON large USING pq (v vector_l2_ops)});
my $writer = $node->background_psql('postgres', on_error_stop => 0);
my $watcher = $node->background_psql('postgres');
my $pid = '';
# it may have come to its end before we see or stop it
for my $try (1 .. 20)
{
	$writer->query_safe("INSERT INTO large SELECT array_agg(sin(i * j * 0.37 + $try))::vector FROM generate_series(1, 200) j, generate_series(1, 2500) i GROUP BY i");
	for my $look (1 .. 200)
	{
		$pid = $watcher->query_safe(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'jflow pq learner' AND backend_xmin IS NOT NULL LIMIT 1});
		last if $pid ne '';
	}
	next if $pid eq '';
	kill 'STOP', $pid;
	last if $watcher->query_safe("SELECT count(*) FROM pg_stat_activity WHERE pid = $pid AND backend_xmin IS NOT NULL") eq '1';
	kill 'CONT', $pid;
	$pid = '';
}
isnt($pid, '', 'a learner was met at its work');
$node->safe_psql('postgres', 'DELETE FROM other WHERE id % 2 = 0');
$node->safe_psql('postgres', 'VACUUM (FREEZE) other');
my $left = $node->safe_psql('postgres', q{SELECT jflow_pq_check('other_v')});
kill 'CONT', $pid if $pid ne '';
is($left, 750, 'VACUUM removes what was deleted meanwhile');
$_->quit for $writer, $watcher;
$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'jflow pq learner'}) or die;
$node->safe_psql('postgres', 'DROP TABLE other, large');

# A crash at any step is what replay up to any record leaves: all of it from here
# on is replayed in parts.
$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'jflow pq learner'}) or die;
$node->backup('base');
my $before = generation();
my $start = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
$node->append_conf('postgresql.conf', 'max_worker_processes = 0');
$node->restart;
$node->safe_psql('postgres', 'INSERT INTO items (kind, v) SELECT i % 10, v(i) FROM generate_series(5001, 18000) i');
# some unlike the others, which lie apart
$node->safe_psql('postgres', 'INSERT INTO items (kind, v) SELECT i % 10, v(i) + array_fill(100, ARRAY[12])::vector FROM generate_series(18001, 18600) i');
cmp_ok($node->safe_psql('postgres', q{SELECT outliers FROM jflow_pq_info('items_v')}), '>=', 600, 'there are outliers');
is($node->safe_psql('postgres', 'SELECT * FROM wrong()'), '0|0|0', 'and a scan meets them once');
my $filled = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
$node->safe_psql('postgres', 'VACUUM (FREEZE) items');
ok(generation() > $before, 'VACUUM learns where there is no worker');
my $end = $node->safe_psql('postgres', 'SELECT pg_switch_wal()');
my $last = generation();
my ($records) = run_command([ 'pg_waldump', '-p', $node->data_dir . '/pg_wal', '-s', $filled, '-e', $end ]);
my @lsns = map { /lsn: (\S+),/ ? $1 : () } grep { /Generic|FPI/ } split(/\n/, $records);
cmp_ok(scalar(@lsns), '>', 50, 'it writes WAL');
# some at even distances, and the last ones, among which the switch is
my %steps = map { $lsns[ int($_ * $#lsns / 4) ] => 1 } 1 .. 3;
$steps{$_} = 1 for @lsns[ -2 .. -1 ];
my %seen;
my $n = 0;
for my $lsn (sort { hex($a =~ s/.*\///r) <=> hex($b =~ s/.*\///r) } keys %steps)
{
	my $copy = PostgreSQL::Test::Cluster->new('copy' . ++$n);
	$copy->init_from_backup($node, 'base', has_restoring => 1, standby => 0);
	# a copy must neither leave its own history in the archive, nor follow another's
	$copy->append_conf('postgresql.conf',
		"recovery_target_lsn = '$lsn'\nrecovery_target_action = promote\nrecovery_target_timeline = 'current'\narchive_mode = off\n");
	$copy->start;
	$copy->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die 'no promotion';
	my $generation = $copy->safe_psql('postgres', q{SELECT generation FROM jflow_pq_info('items_v')});
	$seen{$generation} = 1;
	is($copy->safe_psql('postgres', 'SELECT * FROM wrong()'), '0|0|0', "replayed up to $lsn: every row once, generation $generation");
	$copy->safe_psql('postgres', q{SELECT jflow_pq_check('items_v'); INSERT INTO items (kind, v) SELECT 1, v(i) FROM generate_series(30001, 30100) i});
	# what was begun is begun again
	$copy->safe_psql('postgres', 'VACUUM (FREEZE) items');
	$copy->safe_psql('postgres', 'DELETE FROM items WHERE id % 50 = 0');
	$copy->safe_psql('postgres', 'VACUUM (FREEZE) items');
	my $pages = $copy->safe_psql('postgres', q{SELECT pages FROM jflow_pq_info('items_v')});
	is($copy->safe_psql('postgres', q{SELECT w.*, jflow_pq_check('items_v') = (SELECT count(*) FROM items) FROM wrong() w}), '0|0|0|t',
		'and after another VACUUM');
	$copy->stop;
}
ok($seen{$before}, 'the generation before was met: ' . join(' ', sort keys %seen));
ok($seen{$last}, 'and the new one, when the crash comes right after the switch');
is($node->safe_psql('postgres', q{SELECT outliers FROM jflow_pq_info('items_v')}), '0', 'which has put the outliers into lists');

# a standby follows, and answers from either side of the switch
$node->append_conf('postgresql.conf', 'max_worker_processes = 8');
$node->restart;
$node->backup('later');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'later', has_streaming => 1);
$standby->append_conf('postgresql.conf', "hot_standby_feedback = on\nwal_receiver_status_interval = 1\n");
$standby->start;
my $reader = $standby->background_psql('postgres');
$reader->query_safe($_)
  for 'SET enable_seqscan = off', 'SET enable_sort = off', 'BEGIN ISOLATION LEVEL REPEATABLE READ',
  'DECLARE c CURSOR FOR SELECT id FROM items ORDER BY v <-> v(7)', 'FETCH 5 FROM c';
my $count = $standby->safe_psql('postgres', 'SELECT count(*) FROM items');
$node->safe_psql('postgres', 'INSERT INTO items (kind, v) SELECT i % 10, v(i) FROM generate_series(40001, 100000) i');
$node->safe_psql('postgres', 'VACUUM (FREEZE) items');
$node->poll_query_until('postgres', "SELECT generation > $last FROM jflow_pq_info('items_v')") or die 'not learned';
$node->wait_for_catchup($standby);
is($standby->safe_psql('postgres', q{SELECT count(*) FROM items}), $node->safe_psql('postgres', 'SELECT count(*) FROM items'), 'the standby has the rows');
like($standby->safe_psql('postgres', q{SELECT jflow_pq_check('items_v')}), qr/^\d+$/, 'and a sound index');
my @rest = split(/\n/, $reader->query_safe('FETCH ALL FROM c'));
is(scalar(@rest) + 5, $count, 'a scan that began before goes on');
$reader->quit;
# Where the primary does not know of the standby's scans, these have their pages, too:
# replay waits with what takes them away.  The table is locked for a while, so that
# nobody learns before a scan has begun.
$standby->append_conf('postgresql.conf', "hot_standby_feedback = off\nmax_standby_streaming_delay = -1\nmax_standby_archive_delay = -1");
$standby->reload;
$node->poll_query_until('postgres', 'SELECT count(*) = 1 FROM pg_stat_replication WHERE backend_xmin IS NULL') or die 'feedback goes on';
$node->append_conf('postgresql.conf', 'log_min_messages = debug1');
$node->reload;
my $holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN; LOCK TABLE items IN SHARE UPDATE EXCLUSIVE MODE');
my $oid = $node->safe_psql('postgres', q{SELECT 'items_v'::regclass::oid});
my $seen = -s $node->logfile;
$last = generation();
$node->safe_psql('postgres', 'INSERT INTO items (kind, v) SELECT i % 10, v(i) + array_fill(1000, ARRAY[12])::vector FROM generate_series(100001, 106000) i');
unlike(slurp_file($node->logfile, $seen), qr/registering background worker "jflow pq learner for index $oid"/, 'no worker is started that could not learn');
$node->wait_for_catchup($standby);
$reader = $standby->background_psql('postgres');
$reader->query_safe($_)
  for 'SET enable_seqscan = off', 'SET enable_sort = off', "SET work_mem = '64kB'", 'BEGIN ISOLATION LEVEL REPEATABLE READ',
  'DECLARE c CURSOR FOR SELECT id FROM items ORDER BY v <-> v(7)', 'FETCH 5 FROM c';
$count = $standby->safe_psql('postgres', 'SELECT count(*) FROM items');
$holder->query_safe('COMMIT');
$holder->quit;
$node->safe_psql('postgres', $_) for 'VACUUM items', 'SELECT txid_current()', 'VACUUM items';
ok(generation() > $last, 'the primary learns, and gives pages back');
ok($standby->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'startup' AND wait_event = 'RecoveryConflictSnapshot'}),
	'replay waits for an older scan');
@rest = split(/\n/, $reader->query_safe('FETCH ALL FROM c'));
my %ids = map { $_ => 1 } @rest;
is(keys(%ids) . ' ' . (@rest + 5), ($count - 5) . " $count", 'which finds every row once');
$reader->query_safe('COMMIT');
$reader->quit;
$node->wait_for_catchup($standby);
is($standby->safe_psql('postgres', q{SELECT jflow_pq_check('items_v') = (SELECT count(*) FROM items)}), 't', 'and goes on after it');
unlike(slurp_file($standby->logfile), qr/inconsistent page|PANIC/, 'replayed pages are like the written ones');
$standby->stop;

# a codebook's index learns nothing, and says so once
$node->safe_psql('postgres', q{
	SELECT jflow_train('book', 'SELECT v FROM items WHERE id < 2000');
	CREATE TABLE shelf (v vector(12));
	INSERT INTO shelf SELECT v FROM items WHERE id < 1500;
	CREATE INDEX shelf_v ON shelf USING pq (v vector_l2_ops) WITH (codebook = 'book');
	INSERT INTO shelf SELECT v FROM items WHERE id < 12000});
my ($out, $err) = ('', '');
$node->psql('postgres', 'VACUUM shelf; VACUUM shelf', stderr => \$err);
$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'jflow pq learner'}) or die;
is(scalar(() = slurp_file($node->logfile) =~ /WARNING:  pq index "shelf_v" has/g), 1, 'drift of a codebook is told once');
is($node->safe_psql('postgres', q{SELECT generation, due FROM jflow_pq_info('shelf_v')}), '1|t', 'and shown');
$node->stop;
done_testing();
