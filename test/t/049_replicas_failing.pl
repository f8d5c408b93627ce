# A replica that cannot start or keeps dying: is it restarted with growing
# delays, the reason shown, and do posts fail at once instead of hanging?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', 'jflow.restart_delay_max = 1h');
prepare_database($node);
add_flow($node, 'good', 'shout');
start_flow($node, 'good');

# an executor that ends its process
owner_sql($node, q{CREATE FUNCTION suicide(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
	LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(10); RETURN NULL; END $$});
$node->safe_psql('postgres', 'GRANT pg_signal_backend TO flow_owner');
add_flow($node, 's', 'suicide', 'retries => 2');
start_flow($node, 's');
my ($ret, $out, $err) = $node->psql('postgres', q{SELECT * FROM jflow_post('/x', ARRAY['a'], 's')});
isnt($ret, 0, 'an executor that ends its process fails the post');
like($err, qr/ERROR:.*(replica|terminat)/s, 'which says that the replica was lost');
is(ask($node, q{SELECT text FROM jflow_post('/x', ARRAY['a'], 'good')}), 'A', 'other flows go on');
wait_state($node, q{SELECT running = 1 FROM jflow_status WHERE flow = 's'}, 'a new replica comes');

# the library is gone for new processes: none can start
$node->safe_psql('postgres', q{ALTER ROLE flow_owner SET session_preload_libraries = 'no_such_library'});
my ($pid) = running_pids($node, 'good');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
my $started = $node->poll_query_until('postgres',
	q{SELECT running = 1 OR last_error IS NOT NULL FROM jflow_status WHERE flow = 'good'});
ok($started, 'a pool whose replicas may fail to start either runs or tells why');
$node->safe_psql('postgres', q{ALTER ROLE flow_owner RESET session_preload_libraries});
owner_sql($node, q{SELECT jflow_stop('good'); });
owner_sql($node, q{SELECT jflow_start('good'); });
is(ask($node, q{SELECT jflow_wait('good')}), 't', 'starting again does not wait for the delay');
is(ask($node, q{SELECT text FROM jflow_post('/x', ARRAY['a'], 'good')}), 'A', 'and it serves');
is(ask($node, q{SELECT last_error FROM jflow_status WHERE flow = 'good'}), '', 'with no reason left');

# a function that is not there yet does not keep replicas from running
owner_sql($node, q{CREATE FUNCTION f9(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql AS 'SELECT docs';
	SELECT jflow_create('m'); SELECT jflow_add('m', 'e', uses => 'f9'); DROP FUNCTION f9(jflow_doc[], jsonb); SELECT jflow_start('m')});
ok($node->poll_query_until('postgres', q{SELECT running = 1 OR last_error IS NOT NULL FROM jflow_status WHERE flow = 'm'}), 'a missing function');
fails_with($node, q{SELECT * FROM jflow_post('/x', ARRAY['a'], 'm')}, '42883', qr/f9/, 'a post says which function is missing');
owner_sql($node, q{SELECT jflow_drop('m')});

# a scout that is cancelled while it waits for a lock is no reason to close a flow
my @before = running_pids($node);
my ($starter, $locker) = map { $node->background_psql('postgres') } 1 .. 2;
$starter->query_safe(q{SET ROLE flow_owner; BEGIN; SELECT jflow_start('good'); SELECT count(*) FROM jflow_executors});
$locker->query_until(qr/go/, "BEGIN;\n\\echo go\nLOCK TABLE jflow.executor IN ACCESS EXCLUSIVE MODE;\n");
wait_state($node, q{SELECT count(*) = 1 FROM pg_locks WHERE relation = 'jflow.executor'::regclass AND NOT granted}, 'a lock is about to be got');
$starter->query_safe('COMMIT');
my $scout = q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'jflow scout' AND wait_event_type = 'Lock'};
ok($node->poll_query_until('postgres', "SELECT EXISTS ($scout)"), 'a scout waits for it');
my $offset = -s $node->logfile;
$node->safe_psql('postgres', "SELECT pg_cancel_backend(pid) FROM ($scout) s");
ok($node->wait_for_log(qr/canceling statement due to user request/, $offset), 'and is cancelled');
$locker->query_safe('ROLLBACK');
is(ask($node, q{SELECT bool_and(jflow_wait(flow)) FROM jflow_status}), 't', 'the flows are looked at again');
is(join(' ', running_pids($node)), join(' ', @before), 'all replicas have gone on');
$_->quit for ($starter, $locker);

# nor does one that comes when its database must be left alone keep the next from coming
my ($one, $two) = map { $node->background_psql('postgres') } 1 .. 2;
$one->query_safe('SET ROLE flow_owner');
$two->query_safe('SET client_min_messages = error; BEGIN');
kill 'STOP', $node->{_pid};
$one->query_safe(q{SELECT jflow_stop('s')});
$two->query_safe('SELECT count(*) FROM pg_stat_activity');
$two->query_safe('ALTER EXTENSION jflow UPDATE');
kill 'CONT', $node->{_pid};
$two->query_safe('ROLLBACK');
$one->query_safe(q{SELECT jflow_start('s')});
is($one->query_safe(q{SELECT jflow_wait('s', '20s')}), 't', 'the flow starts long before its scout is given up');
$_->quit for ($one, $two);
is_at_rest($node, 'at the end');
$node->stop;
done_testing();
