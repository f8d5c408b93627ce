# Is a replica that is lost while it commits reported as outcome unknown, run
# again only where the endpoint is idempotent, and otherwise never twice?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# A commit that waits for a standby that is not there is one that lasts.
my $node = new_node('main');
prepare_database($node);
owner_sql($node, q{
	SELECT jflow_create('f');
	SELECT jflow_add('f', 'e', requests => '{"/once": "store", "/again": {"function": "store", "idempotent": true}}', retries => 3)});
start_flow($node, 'f');
my $hold = sub {
	$node->safe_psql('postgres', q{ALTER SYSTEM SET synchronous_standby_names = 'nobody'});
	$node->reload;
	$node->poll_query_until('postgres', q{SELECT current_setting('synchronous_standby_names') = 'nobody'});
};
my $release = sub {
	$node->safe_psql('postgres', q{SET synchronous_commit = local; ALTER SYSTEM RESET synchronous_standby_names});
	$node->reload;
};
# the replica takes the new setting only between requests
my $committing = q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'jflow replica' AND wait_event = 'SyncRep'};

for my $case ([ '/once', 'x' ], [ '/again', 'y' ])
{
	my ($endpoint, $text) = @$case;
	$hold->();
	my $poster = post_in_background($node, "SELECT count(*) FROM jflow_post('$endpoint', ARRAY['$text'], 'f')");
	wait_state($node, $committing, "$endpoint: a request commits");
	is($node->safe_psql('postgres', q{SELECT state FROM jflow_requests}), 'committing', "$endpoint: the view says so");
	my ($pid) = running_pids($node, 'f');
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	wait_state($node, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)", "$endpoint: its replica is terminated");
	$release->();
	my ($out, $err) = finish_background($poster);
	my $rows = ask($node, "SELECT count(*) FROM written WHERE text = '$text'");
	if ($endpoint eq '/once')
	{
		# interrupts are held: the answer gets out before the replica leaves
		is($out, '1', 'a replica that is terminated while it commits answers first') or diag($err);
		is($rows, '1', 'and is never run twice');
	}
	else
	{
		is($out, '1', 'an idempotent endpoint succeeds') or diag($err);
		cmp_ok($rows, '>=', 1, 'having committed');
	}
	is(ask($node, q{SELECT jflow_wait('f')}), 't', 'the pool recovers');
}

# a caller that gives up on a commit gets its 57014, and the replica lives
$hold->();
my $poster = post_in_background($node, q{SELECT count(*) FROM jflow_post('/once', ARRAY['z'], 'f')});
wait_state($node, $committing, 'a request commits');
$node->safe_psql('postgres', "SELECT pg_cancel_backend($poster->{pid})");
wait_state($node, q{SELECT count(*) = 0 FROM jflow_progress}, 'its caller gives up');
$release->();
my ($out, $err) = finish_background($poster);
like($err, qr/57014/, 'and is told that it was cancelled');
is(ask($node, q{SELECT count(*) FROM jflow_post('/once', ARRAY['after'], 'f')}), '1', 'the next request is served');

# A post made by a request has committed when the request's replica goes: to run
# it again would store twice, unless that is said to be all right.
owner_sql($node, q{
	CREATE FUNCTION nest(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
	LANGUAGE plpgsql AS $$ BEGIN
		PERFORM jflow_post(parameters->>'post', docs, 'f');
		PERFORM pg_advisory_xact_lock_shared(42);
		RETURN NULL;
	END $$;
	SELECT jflow_create('outer');
	SELECT jflow_add('outer', 'e', requests => '{"/once": "nest", "/again": {"function": "nest", "idempotent": true}}', retries => 3)});
start_flow($node, 'outer');
for my $case ([ '/once', '/once', 1 ], [ '/again', '/once', 2 ], [ '/once', '/again', 2 ])
{
	my ($endpoint, $post, $rows) = @$case;
	my $holder = $node->background_psql('postgres');
	my $waits = q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted};
	$node->safe_psql('postgres', 'TRUNCATE written');
	$holder->query_safe('SELECT pg_advisory_lock(42)');
	my $poster = post_in_background($node, qq{SELECT count(*) FROM jflow_post('$endpoint', ARRAY['nested'], 'outer', parameters => '{"post": "$post"}')});
	wait_state($node, $waits, "$endpoint that posts to $post has posted");
	my ($pid) = running_pids($node, 'outer');
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	wait_state($node, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)", 'its replica goes');
	if ($rows == 2)
	{
		wait_state($node, $waits, 'the request runs again');
	}
	$holder->query_safe('SELECT pg_advisory_unlock(42)');
	my ($out, $err) = finish_background($poster);
	like("$out$err", $rows == 2 ? qr/^1$/ : qr/40003/, "$endpoint that posts to $post ends as it should");
	is(ask($node, q{SELECT count(*) FROM written WHERE text = 'nested'}), $rows, "and was stored as often as it ran");
	$holder->quit;
	is(ask($node, q{SELECT jflow_wait('outer')}), 't', 'another replica comes');
}
is_at_rest($node, 'at the end');
$node->stop;
done_testing();
