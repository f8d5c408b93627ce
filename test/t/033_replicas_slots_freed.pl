# When replicas hold all worker slots, so that no scout can start, does what a commit takes away free some?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;

# one slot for the launcher and three for replicas, which scouts need for a moment, too
my $node = new_node('main', 'max_parallel_workers = 0', 'max_logical_replication_workers = 0', 'max_worker_processes = 4', 'jflow.restart_delay_max = 1', 'autovacuum = off');
prepare_database($node);
$node->safe_psql('postgres', 'GRANT CREATE ON DATABASE postgres TO flow_owner');
$node->safe_psql('postgres', 'CREATE DATABASE other');
prepare_database($node, 'other');

# Workers that serve or keep tables in step, of all databases.
my $workers = q{(SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('jflow replica', 'jflow sync'))};

sub workers_become
{
	my ($n, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return wait_state($node, "SELECT $workers = $n", $name);
}

# A flow that holds all three slots.
sub hold_all
{
	my ($extra) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	add_flow($node, 'f', 'whoami', $extra || 'replicas => 3');
	owner_sql($node, q{SELECT jflow_start('f')});
	return workers_become(3, 'all slots are taken');
}

# Does another flow start, for which a scout must come?
sub others_start
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	owner_sql($node, q{SELECT jflow_create('g'); SELECT jflow_add('g', 'e', uses => 'shout'); SELECT jflow_start('g')});
	is(ask($node, q{SELECT jflow_wait('g', timeout => '180s')}), 't', "$name: another flow starts");
	owner_sql($node, q{SELECT jflow_stop('g'); SELECT jflow_drop('g')});
	return;
}

# a flow that is dropped
hold_all();
owner_sql($node, q{SELECT jflow_drop('f')});
workers_become(0, 'jflow_drop');
others_start('jflow_drop');

# fewer replicas, and what is rolled back before, wholly or to a savepoint
hold_all();
my @before = running_pids($node, 'f');
owner_sql($node, q{BEGIN; SELECT jflow_drop('f'); ROLLBACK});
owner_sql($node, q{BEGIN; SAVEPOINT a; SELECT jflow_stop('f'); SELECT jflow_scale('f', 'e', 1); ROLLBACK TO a; SELECT jflow_scale('f', 'e', 2); COMMIT});
workers_become(2, 'jflow_scale after a savepoint: two are left');
is(scalar(grep { my $pid = $_; grep { $_ == $pid } @before } running_pids($node, 'f')), 2, 'of those that were there');
is(ask($node, q{SELECT jflow_wait('f', timeout => '180s')}), 't', 'as is wanted');

# the last word of a transaction holds
owner_sql($node, q{BEGIN; SELECT jflow_scale('f', 'e', 1); SELECT jflow_scale('f', 'e', 3); COMMIT});
workers_become(3, 'less and then more in one transaction');
is(scalar(grep { my $pid = $_; grep { $_ == $pid } @before } running_pids($node, 'f')), 2, 'takes nobody away');
fails_with($node, q{SET ROLE flow_owner; BEGIN; SELECT jflow_scale('f', 'e', 1); PREPARE TRANSACTION 'p'}, '0A000', qr/PREPARE/, 'a prepared transaction');

# none at all, while a post has still to do with those that are there
my $lock = $node->background_psql('postgres');
$lock->query_safe('SELECT pg_advisory_lock(42)');
owner_sql($node, q{SELECT jflow_drop('f')});
workers_become(0, 'all have left');
add_flow($node, 'f', 'gate', 'replicas => 3');
owner_sql($node, q{SELECT jflow_start('f')});
workers_become(3, 'all slots are taken');
my $post = post_in_background($node, q{SELECT count(*) FROM jflow_post('/x', ARRAY(SELECT 'd' || i FROM generate_series(1, 6) i), 'f', request_size => 1)});
wait_state($node, q{SELECT count(*) = 3 FROM jflow_stat_replicas WHERE state = 'busy'}, 'a post keeps all busy');
owner_sql($node, q{SELECT jflow_scale('f', 'e', 0)});
$lock->query_safe('SELECT pg_advisory_unlock(42)');
my ($out, $err) = finish_background($post);
is($out, '6', 'the post that was under way is served') or diag($err);
workers_become(0, 'and no replica is left');
owner_sql($node, q{SELECT jflow_drop('f')});

# fewer shards
hold_all('shards => 3');
owner_sql($node, q{SELECT jflow_scale('f', 'e', NULL, 1)});
workers_become(1, 'fewer shards');
is(ask($node, q{SELECT count(*) FROM jflow_post('/x', ARRAY['a', 'b'], 'f')}), '2', 'the one that is left serves');
owner_sql($node, q{SELECT jflow_drop('f')});
workers_become(0, 'none is left');

# one executor of two, by a transaction that adds another of that name
add_flow($node, 'f', 'whoami', 'replicas => 2');
owner_sql($node, q{SELECT jflow_add('f', 'second', uses => 'shout')});
owner_sql($node, q{SELECT jflow_start('f')});
workers_become(3, 'all slots are taken');
owner_sql($node, q{SELECT jflow_remove('f', 'second')});
workers_become(2, 'an executor that is removed');
owner_sql($node, q{SELECT jflow_drop('f')});
workers_become(0, 'none is left');

# the worker of a sync
owner_sql($node, q{CREATE TABLE item (id int PRIMARY KEY, text text);
	INSERT INTO item SELECT i, 'text ' || i FROM generate_series(1, 10) i;
	CREATE FUNCTION encode(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$ BEGIN
		FOR i IN 1..cardinality(docs) LOOP docs[i].embedding := ARRAY[length(docs[i].text), 1]::vector; END LOOP;
		RETURN docs;
	END $$;
	SELECT jflow_create('s');
	SELECT jflow_add('s', 'encoder', uses => 'public.encode', replicas => 0);
	SELECT jflow_add('s', 'store', uses => 'PQLiteIndexer', replicas => 0, workspace => 'public', uses_with => '{"dim": 2, "metric": "l2"}')});
for my $case (['jflow_sync_pause', q{SELECT jflow_sync_pause('s')}, q{SELECT jflow_sync_resume('s')}],
	['jflow_unsync', q{SELECT jflow_unsync('s')}, q{SELECT jflow_sync('s', 's', 'item', '{"text": "text"}')}])
{
	my ($name, $end, $begin) = @$case;
	if ($name eq 'jflow_sync_pause')
	{
		owner_sql($node, q{SELECT jflow_sync('s', 's', 'item', '{"text": "text"}'); SELECT jflow_start('s')});
		workers_become(1, 'the worker of a sync');
		add_flow($node, 'f', 'shout', 'replicas => 2');
		owner_sql($node, q{SELECT jflow_start('f')});
		workers_become(3, 'all slots are taken');
	}
	owner_sql($node, "BEGIN; $end; ROLLBACK");
	owner_sql($node, $end);
	wait_state($node, q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'jflow sync'}, "$name: its worker leaves");
	others_start($name);
	owner_sql($node, $begin);
	workers_become(3, 'and comes again');
}
owner_sql($node, q{SELECT jflow_drop('f'); SELECT jflow_unsync('s'); SELECT jflow_drop('s')});
workers_become(0, 'none is left');

# the extension, of another database, by its name and with what it is made of
$node->safe_psql('other', q{SET client_min_messages = error; DROP EXTENSION jflow CASCADE; ALTER DATABASE other SET search_path = public, ext});
for my $sql ('DROP EXTENSION jflow CASCADE', 'DROP SCHEMA ext CASCADE', 'DROP EXTENSION vector CASCADE')
{
	$node->safe_psql('other', q{SET client_min_messages = error; CREATE SCHEMA IF NOT EXISTS ext; GRANT USAGE ON SCHEMA ext TO flow_owner;
		CREATE EXTENSION IF NOT EXISTS vector SCHEMA public; CREATE EXTENSION jflow SCHEMA ext});
	owner_sql($node, q{CREATE OR REPLACE FUNCTION shout2(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql AS 'SELECT docs'}, 'other');
	add_flow($node, 'o', 'shout2', 'replicas => 3', 'other');
	owner_sql($node, q{SELECT jflow_start('o')}, 'other');
	workers_become(3, 'all slots are taken');
	$node->safe_psql('other', "SET client_min_messages = error; BEGIN; SAVEPOINT a; $sql; ROLLBACK TO a; COMMIT");
	workers_become(3, "$sql, and rolled back: they come again");
	$node->safe_psql('other', "SET client_min_messages = error; $sql");
	workers_become(0, $sql);
	others_start($sql);
	is($node->safe_psql('postgres', $workers =~ s/^\(|\)$//gr), '0', 'and none of the other database comes back');
}
# who takes workers away all the time does not keep others from theirs: a scout that was overtaken reads again itself
add_flow($node, 'f', 'shout', 'replicas => 1');
start_flow($node, 'f');
add_flow($node, 'g', 'shout', 'replicas => 2');
my ($locker, $next) = map { $node->background_psql('postgres') } 1, 2;
my $scouts = q{SELECT l.pid FROM pg_locks l JOIN pg_stat_activity a USING (pid)
	WHERE l.relation = 'jflow.run_state'::regclass AND NOT l.granted AND a.backend_type = 'jflow scout'};
$locker->query_safe('BEGIN; LOCK TABLE jflow.run_state');
$node->safe_psql('postgres', q{UPDATE jflow.executor SET replicas = 2 WHERE flow = 'f'});
wait_state($node, "SELECT EXISTS ($scouts)", 'a scout waits');
my $scout = $node->safe_psql('postgres', $scouts);
$node->safe_psql('postgres', q{UPDATE jflow.executor SET replicas = 1 WHERE flow = 'g'});
$next->query_until(qr/go/, "\\echo go\nBEGIN; LOCK TABLE jflow.run_state;\n");
wait_state($node, q{SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'jflow.run_state'::regclass AND NOT granted AND mode = 'AccessExclusiveLock')}, 'another lock is asked for');
$locker->query_safe('COMMIT');
$next->query_safe('SELECT 1');
wait_state($node, "SELECT EXISTS ($scouts)", 'a scout waits again');
is($node->safe_psql('postgres', $scouts), $scout, 'it is the same');
$next->query_safe('COMMIT');
$_->quit for $locker, $next;
workers_become(2, 'what is wanted has come');
owner_sql($node, q{SELECT jflow_drop('f'); SELECT jflow_drop('g')});
workers_become(0, 'none is left');
is_at_rest($node, 'at the end');
$node->stop;
done_testing();
