# Do the server's time limits and jflow's own end a post that waits for a
# replica, stop the replica's work, and leave the replica alive?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', 'client_connection_check_interval = 100ms');
prepare_database($node);
add_flow($node, 'g', 'store_gate');
owner_sql($node, q{SELECT jflow_create('t'); SELECT jflow_add('t', 'slow', uses => 'store_gate', timeout => '300 ms')});
owner_sql($node, q{SELECT jflow_create('two'); SELECT jflow_add('two', 'a', uses => 'noop'); SELECT jflow_add('two', 'b', uses => 'store_gate')});
start_flow($node, $_) for ('g', 't', 'two');
my $pids = join(' ', running_pids($node));
my $holder = $node->background_psql('postgres');
$holder->query_safe('SELECT pg_advisory_lock(42)');
my $nobody_waits = q{SELECT count(*) = 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted};
my $somebody_waits = q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted};

my @cases = (
	[ 'statement_timeout', q{SET statement_timeout = '300ms'; SELECT * FROM jflow_post('/x', ARRAY['a'], 'g')}, '57014', qr/statement timeout/ ],
	[ 'timeout of the post', q{SELECT * FROM jflow_post('/x', ARRAY['a'], 'g', timeout => '300ms')}, '57014', qr/post to flow "g"/ ],
	[ 'timeout of the post in the second executor', q{SELECT * FROM jflow_post('/x', ARRAY['a'], 'two', timeout => '300ms')}, '57014', qr/post to flow "two"/ ],
	[ 'timeout of the executor', q{SELECT * FROM jflow_post('/x', ARRAY['a'], 't')}, '57014', qr/executor "slow" of flow "t"/ ],
	[ 'statement_timeout is the nearer one', q{SET statement_timeout = '300ms'; SELECT * FROM jflow_post('/x', ARRAY['a'], 'g', timeout => '1h')},
		'57014', qr/statement timeout/ ],
	[ 'timeout with continue_on_error', q{SELECT * FROM jflow_post('/x', ARRAY['a'], 'g', timeout => '300ms', continue_on_error => true)}, '57014', qr/post to flow "g"/ ],
);
for my $case (@cases)
{
	my ($name, $sql, $state, $like) = @$case;
	fails_with($node, $sql, $state, $like, $name);
	wait_state($node, $nobody_waits, "$name: the replica's work is stopped");
}
my ($ret, $out, $err) = $node->psql('postgres', q{SELECT count(*) FROM jflow_post('/x', ARRAY['a'], 't', continue_on_error => true)});
is($out, '0', 'an executor\'s timeout is continued after');
like($err, qr/executor "slow" of flow "t"/, 'and told of');

# lock_timeout is about the caller's locks: waiting for a replica is none
my $poster = post_in_background($node, q{SET lock_timeout = '50ms'; SET idle_in_transaction_session_timeout = '50ms';
	SELECT count(*) FROM jflow_post('/x', ARRAY['lock'], 'g', timeout => '400ms')});
($out, $err) = finish_background($poster);
like($err, qr/post to flow "g"/, 'lock_timeout and idle timeouts of the caller do not end a post that waits');

# the server's default limits do not hit replicas that do nothing
$node->append_conf('postgresql.conf', "idle_session_timeout = 200ms\nidle_in_transaction_session_timeout = 200ms\nstatement_timeout = 10s");
$node->reload;
my $sleeper = post_in_background($node, q{SET idle_session_timeout = 0; SELECT pg_sleep(0.6)});
finish_background($sleeper);
is(join(' ', running_pids($node)), $pids, 'all replicas are those of the start');
$holder->quit;
$holder = $node->background_psql('postgres');
$holder->query_safe('SET idle_session_timeout = 0; SELECT pg_advisory_lock(42)');
$node->append_conf('postgresql.conf', "idle_session_timeout = 0\nidle_in_transaction_session_timeout = 0\nstatement_timeout = 0");
$node->reload;

# cancelled, terminated, disconnected callers
for my $how ('pg_cancel_backend', 'pg_terminate_backend', 'jflow_cancel', 'disconnect')
{
	$poster = post_in_background($node, q{SELECT count(*) FROM jflow_post('/x', ARRAY['gone'], 'g')});
	wait_state($node, $somebody_waits, "$how: a replica runs the request");
	if ($how eq 'disconnect')
	{
		$poster->{run}->kill_kill;
	}
	elsif ($how eq 'jflow_cancel')
	{
		is($node->safe_psql('postgres', q{SELECT jflow_cancel(post) FROM jflow_progress WHERE flow = 'g'}), 't', "$how says that it did");
	}
	else
	{
		$node->safe_psql('postgres', "SELECT $how($poster->{pid})");
	}
	wait_state($node, $nobody_waits, "$how: the replica's work is stopped");
	wait_state($node, 'SELECT count(*) = 0 FROM jflow_progress', "$how: the post is gone");
	if ($how =~ /cancel/)
	{
		($out, $err) = finish_background($poster);
		like($err, qr/57014/, "$how: the caller is told");
	}
	else
	{
		eval { $poster->{run}->finish };
	}
}
is(ask($node, 'SELECT jflow_cancel(999999999)'), 'f', 'a post that is not there cannot be cancelled');
$holder->quit;
is(ask($node, q{SELECT count(*) FROM jflow_post('/x', ARRAY['good'], 'g')}), '1', 'the next request is served');
is(ask($node, q{SELECT count(*), min(text) FROM written}), '1|good', 'nothing of the others was committed');
is(join(' ', running_pids($node)), $pids, 'by the same replicas');
is_at_rest($node, 'at the end');
$node->stop;
done_testing();
