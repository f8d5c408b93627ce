# Is the store what the table is, after the sync's worker, its replicas and the server were killed
# while rows changed, and is nobody kept waiting by a batch that is out?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;

# how many rows there are, and how often each is killed: more for a run by hand
my $rows = $ENV{JFLOW_SYNC_ROWS} || 2000;
my $times = $ENV{JFLOW_SYNC_KILLS} || 2;

my $node = new_node('main', 'fsync = on', 'autovacuum_naptime = 1s');
prepare_database($node);
$node->safe_psql('postgres', 'GRANT CREATE ON DATABASE postgres TO flow_owner');
owner_sql($node, q{
	CREATE FUNCTION encode(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$ BEGIN
		FOR i IN 1..cardinality(docs) LOOP
			IF docs[i].text LIKE 'wait%' THEN PERFORM pg_advisory_xact_lock_shared(42); END IF;
			docs[i].embedding := ARRAY[length(docs[i].text), 1]::vector;
		END LOOP;
		RETURN docs;
	END $$;
	CREATE TABLE item (id int PRIMARY KEY, text text, other int);
	CREATE TABLE done ();
	INSERT INTO item SELECT i, 'first ' || i FROM generate_series(1, } . $rows . q{) i;
	SELECT jflow_create('f');
	SELECT jflow_add('f', 'encoder', uses => 'public.encode');
	SELECT jflow_add('f', 'store', uses => 'PQLiteIndexer', workspace => 'public', uses_with => '{"dim": 2, "metric": "l2"}');
	SELECT jflow_sync('s', 'f', 'item', '{"text": "text"}', batch => 20)});
start_flow($node, 'f');
my $difference = q{(SELECT id::text, text, ARRAY[length(text), 1]::vector::text FROM item EXCEPT ALL SELECT id, text, embedding::text FROM f_store)
	UNION ALL (SELECT id, text, embedding::text FROM f_store EXCEPT ALL SELECT id::text, text, ARRAY[length(text), 1]::vector::text FROM item)};

sub is_in_step
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	wait_state($node, "SELECT jflow_sync_run('s')", "$name: the sync comes to an end");
	is($node->safe_psql('postgres', $difference), '', "$name: the store is what the table is")
	  or diag($node->safe_psql('postgres', 'SELECT * FROM jflow_sync_status; SELECT * FROM jflow_sync_errors'));
	return;
}

my $changes = PostgreSQL::Test::Utils::tempdir() . '/changes.sql';
append_to_file($changes, "\\set a random(1, $rows)\n\\set b random(1, $rows + $rows / 2)" . q{
\set kind random(1, 10)
SET client_min_messages = error;
INSERT INTO done DEFAULT VALUES;
UPDATE item SET text = 'changed ' || :b || repeat('x', :a % 20) WHERE id = :a;
\if :kind = 1
DELETE FROM item WHERE id = :b;
\elif :kind = 2
UPDATE item SET id = :b WHERE id = :a AND NOT EXISTS (SELECT FROM item WHERE id = :b);
\elif :kind = 3
INSERT INTO item VALUES (:b, 'inserted') ON CONFLICT DO NOTHING;
\elif :kind = 4
BEGIN;
UPDATE item SET text = 'gone' WHERE id = :a;
ROLLBACK;
\endif
});
my %victims = (
	worker => 'jflow sync',
	replica => 'jflow replica',
	launcher => 'jflow launcher');
my $round = 0;
for my $what (('worker', 'replica', 'crash', 'worker', 'launcher', 'replica', 'restart') x $times)
{
	$round++;
	my ($out, $err) = ('', '');
	my $done = $node->safe_psql('postgres', 'SELECT count(*) FROM done');
	local $ENV{PGHOST} = $node->host;
	local $ENV{PGPORT} = $node->port;
	my $pgbench = IPC::Run::start([ 'pgbench', '-n', '-c', 3, '-t', 100, '-f', $changes, 'postgres' ], '<', \undef, '>', \$out, '2>', \$err);
	$node->poll_query_until('postgres', "SELECT count(*) > $done + 50 FROM done");
	if ($what eq 'crash')
	{
		my $pid = worker_pid($node, $round % 2 ? 'jflow sync' : 'jflow replica');
		kill_and_wait($node, $pid) if $pid;
	}
	elsif ($what eq 'restart')
	{
		$node->stop('immediate');
		$node->start;
	}
	else
	{
		my $pid = worker_pid($node, $victims{$what});
		kill 'TERM', $pid if $pid;
	}
	$pgbench->finish;
}
is_in_step('after kills');

# an embedding that is late must not overwrite a newer one
my $lock = $node->background_psql('postgres');
$lock->query_safe('SELECT pg_advisory_lock(42)');
owner_sql($node, q{INSERT INTO item VALUES (-1, 'wait 1') ON CONFLICT (id) DO UPDATE SET text = excluded.text});
wait_state($node, q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}, 'a batch is out');
is( $node->safe_psql('postgres', q{SELECT backend_xid, backend_xmin FROM pg_stat_activity WHERE backend_type = 'jflow sync'}),
	'|', 'meanwhile the worker holds neither snapshot nor transaction id');
is( $node->safe_psql('postgres', q{SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE a.backend_type = 'jflow sync' AND l.locktype = 'relation'}),
	'0', 'nor any lock of a table');
is($node->safe_psql('postgres', q{SELECT pending, oldest IS NOT NULL FROM jflow_sync_status WHERE name = 's'}), '1|t', 'what is on its way is pending');
owner_sql($node, q{ALTER TABLE item ADD COLUMN more int; UPDATE item SET text = 'second, longer' WHERE id = -1});
kill 'TERM', worker_pid($node, 'jflow sync');
wait_state($node, q{SELECT count(*) = 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}, 'a worker that leaves gives up its requests');
$lock->query_safe('SELECT pg_advisory_unlock(42)');
$lock->quit;
is_in_step('after a worker was killed with a batch out');

# a transaction that commits when later changes have been taken from the queue
my $late = $node->background_psql('postgres');
$late->query_safe('BEGIN; UPDATE item SET text = $$late$$ WHERE id = -1');
owner_sql($node, q{INSERT INTO item VALUES (-2, 'early')});
wait_state($node, q{SELECT count(*) = 1 FROM f_store WHERE id = '-2'}, 'a later change has arrived');
$late->query_safe('COMMIT');
wait_state($node, q{SELECT text = 'late' FROM f_store WHERE id = '-1'}, 'the earlier one arrives');
$late->quit;
is_in_step('after a transaction that lasted');

# what is done is not done again
my $posted = q{SELECT docs FROM jflow_stat_endpoints WHERE executor = 'store' AND endpoint = '/index'};
my $before = $node->safe_psql('postgres', $posted);
owner_sql($node, q{UPDATE item SET other = 1; UPDATE item SET text = text});
is_in_step('after updates of another column');
is($node->safe_psql('postgres', $posted), $before, 'nothing was posted for them');

# a prepared transaction wakes nobody, but is looked for
owner_sql($node, q{BEGIN; UPDATE item SET text = 'prepared' WHERE id < 10; PREPARE TRANSACTION 'p'});
$node->restart;
owner_sql($node, q{COMMIT PREPARED 'p'});
wait_state($node, q{SELECT count(*) = (SELECT count(*) FROM item WHERE text = 'prepared') AND count(*) > 0 FROM f_store WHERE text = 'prepared'}, 'a prepared transaction arrives');
is_in_step('after a prepared transaction');

# the queue is not larger for what has been done
$node->safe_psql('postgres', 'VACUUM (FREEZE) jflow.sync_queue');
is($node->safe_psql('postgres', q{SELECT count(*) FROM jflow.sync_queue}), '0', 'the queue is empty');
is($node->safe_psql('postgres', q{SELECT pg_relation_size('jflow.sync_queue')}), '0', 'and takes no room');

# what had arrived when the server went down, and was gone from the table when it came up again
owner_sql($node, q{
	CREATE TABLE kept (id text PRIMARY KEY);
	CREATE FUNCTION keep(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS
		$$ BEGIN INSERT INTO public.kept SELECT d.id FROM unnest(docs) d ON CONFLICT DO NOTHING; RETURN docs; END $$;
	CREATE FUNCTION lose(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS
		$$ BEGIN DELETE FROM public.kept USING unnest(docs) d WHERE kept.id = d.id; RETURN docs; END $$;
	CREATE FUNCTION linger(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS
		$$ BEGIN PERFORM pg_advisory_xact_lock_shared(43); RETURN docs; END $$;
	CREATE TABLE piece (id int PRIMARY KEY, text text);
	INSERT INTO piece SELECT i, 'text' FROM generate_series(1, 5) i;
	SELECT jflow_create('g');
	SELECT jflow_add('g', 'keeper', requests => '{"/index": "public.keep", "/delete": "public.lose"}');
	SELECT jflow_add('g', 'last', requests => '{"/index": "public.linger"}');
	BEGIN; SELECT pg_advisory_xact_lock(43); PREPARE TRANSACTION 'lock';
	SELECT jflow_sync('t', 'g', 'piece', '{"text": "text"}')});
start_flow($node, 'g');
wait_state($node, q{SELECT count(*) = 5 FROM kept}, 'rows have arrived in the store');
is($node->safe_psql('postgres', q{SELECT count(*) FROM jflow.sync_row r JOIN jflow.sync s ON s.id = r.sync WHERE s.name = 't'}), 0, 'and nobody has noted it');
$node->stop('immediate');
$node->append_conf('postgresql.conf', 'jflow.enabled = off');
$node->start;
owner_sql($node, q{ROLLBACK PREPARED 'lock'; TRUNCATE piece});
$node->append_conf('postgresql.conf', 'jflow.enabled = on');
$node->restart;
wait_state($node, q{SELECT count(*) = 0 FROM kept}, 'what is gone from the table is gone from the store');
wait_state($node, q{SELECT count(*) = 0 FROM jflow.sync_flight}, 'and nothing is on its way');
$node->stop;
done_testing();
