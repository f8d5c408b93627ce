# Does a launcher that is terminated come back and adopt the replicas that live?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
prepare_database($node);
add_flow($node, 'f', 'gate', 'replicas => 2');
start_flow($node, 'f');
my $before = join(' ', running_pids($node));
my $holder = $node->background_psql('postgres');
$holder->query_safe('SELECT pg_advisory_lock(42)');
my $poster = post_in_background($node, q{SELECT count(*) FROM jflow_post('/x', ARRAY['a'], 'f')});
wait_state($node, q{SELECT count(*) = 1 FROM jflow_stat_replicas WHERE state = 'busy'}, 'a request runs');

for my $signal ('TERM', 'INT')
{
	my $pid = worker_pid($node, 'jflow launcher');
	kill $signal, $pid;
	wait_state($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'jflow launcher' AND pid <> $pid",
		"another launcher comes after SIG$signal")
	  if $signal eq 'TERM';
	is(ask($node, q{SELECT jflow_wait('f')}), 't', "the flow runs after SIG$signal");
	is(join(' ', running_pids($node)), $before, 'with the same processes');
}
$holder->query_safe('SELECT pg_advisory_unlock(42)');
my ($out, $err) = finish_background($poster);
is("$out$err", '1', 'the request did not notice');

# the new one obeys: more, fewer, none, though it started none of them
owner_sql($node, q{SELECT jflow_scale('f', 'e', 3)});
is(ask($node, q{SELECT jflow_wait('f')}), 't', 'it scales up');
my @pids = running_pids($node);
is(scalar @pids, 3, 'to three');
my %is = map { $_ => 1 } @pids;
ok(!(grep { !$is{$_} } split / /, $before), 'the old ones are among them');
kill 'TERM', worker_pid($node, 'jflow launcher');
owner_sql($node, q{SELECT jflow_scale('f', 'e', 1)});
wait_state($node, q{SELECT count(*) = 1 FROM jflow_stat_replicas}, 'an adopted replica is stopped by scaling down');
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'jflow launcher'});
kill 'TERM', worker_pid($node, 'jflow launcher');
owner_sql($node, q{SELECT jflow_stop('f')});
wait_state($node, q{SELECT count(*) = 0 FROM jflow_stat_replicas}, 'and by stopping the flow');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'jflow replica'}), '0', 'no process is left');

# a replica that died while there was no launcher is replaced
owner_sql($node, q{SELECT jflow_start('f')});
is(ask($node, q{SELECT jflow_wait('f')}), 't', 'it runs again');
my ($replica) = running_pids($node);
kill 'TERM', worker_pid($node, 'jflow launcher'), $replica;
wait_state($node, "SELECT count(*) = 1 FROM jflow_stat_replicas WHERE state = 'idle' AND pid <> $replica", 'a replica lost meanwhile is replaced');

# a scout that is terminated at work is followed by another
my $locker = $node->background_psql('postgres');
$locker->query_safe('BEGIN; LOCK TABLE jflow.run_state IN ACCESS EXCLUSIVE MODE');
owner_sql($node, q{SELECT jflow_scale('f', 'e', 2)});
my $scouts = q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'jflow scout' AND wait_event_type = 'Lock'};
wait_state($node, $scouts, 'a scout waits for a lock');
my $scout = worker_pid($node, 'jflow scout');
kill 'TERM', $scout;
wait_state($node, "$scouts AND pid <> $scout", 'terminated, it is followed by another');
kill 'TERM', worker_pid($node, 'jflow launcher'), worker_pid($node, 'jflow scout');
wait_state($node, $scouts, 'also if the launcher is terminated with it');
is(ask($node, q{SELECT count(*) FROM jflow_stat_replicas WHERE state = 'idle'}), '1', 'the replica of before runs on');
$locker->query_safe('COMMIT');
is(ask($node, q{SELECT jflow_wait('f')}), 't', 'what is wanted runs at last');
$locker->quit;
$holder->quit;
is_at_rest($node, 'at the end');
$node->stop;
done_testing();
