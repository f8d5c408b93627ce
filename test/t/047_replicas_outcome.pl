# Is a replica that is lost while it commits reported as outcome unknown, run
# again only where the endpoint is idempotent, and otherwise never twice?  Is a
# request that met a deadlock or could not be serialized?
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

# Transactions in each other's way: a sequence counts the runs, since nothing undoes it.
owner_sql($node, q{
	CREATE SEQUENCE runs;
	CREATE FUNCTION unsteady(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
	LANGUAGE plpgsql AS $$ BEGIN
		RAISE WARNING 'run %', nextval('public.runs');
		EXECUTE 'PREPARE that_is_not_there AS SELECT 1';
		INSERT INTO public.written SELECT d.text FROM unnest(docs) d;
		IF currval('public.runs') <= (parameters->>'failing')::int THEN
			RAISE 'in the way' USING ERRCODE = parameters->>'state';
		END IF;
		RETURN docs;
	END $$;
	CREATE FUNCTION cancelled(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
	LANGUAGE plpgsql AS $$ BEGIN
		IF nextval('public.runs') = 1 THEN
			RAISE 'in the way' USING ERRCODE = CASE WHEN pg_cancel_backend(pg_backend_pid()) THEN '40001' END;
		END IF;
		RETURN docs;
	END $$;
	CREATE TABLE crossed (id int PRIMARY KEY, n int DEFAULT 0);
	INSERT INTO crossed VALUES (1), (2);
	CREATE FUNCTION cross(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
	LANGUAGE plpgsql AS $$ BEGIN
		UPDATE public.crossed SET n = n + 1 WHERE id = (parameters->>'first')::int;
		PERFORM pg_advisory_xact_lock_shared(42);
		UPDATE public.crossed SET n = n + 1 WHERE id = 3 - (parameters->>'first')::int;
		RETURN NULL;
	END $$;
	SELECT jflow_create('again');
	SELECT jflow_add('again', 'e', replicas => 2, retries => 3, requests => '{"/once": "unsteady",
		"/again": {"function": "unsteady", "idempotent": true}, "/cross": {"function": "cross", "idempotent": true},
		"/cancelled": {"function": "cancelled", "idempotent": true}}')});
start_flow($node, 'again');
for my $case ([ '/again', '40001', 3, 'done', 4 ], [ '/again', '40P01', 1, 'done', 2 ], [ '/again', '40001', 9, '40001', 4 ],
	[ '/again', '40P01', 9, '40P01', 4 ], [ '/once', '40001', 1, '40001', 1 ], [ '/again', '23505', 1, '23505', 1 ])
{
	my ($endpoint, $state, $failing, $end, $runs) = @$case;
	$node->safe_psql('postgres', 'TRUNCATE written; ALTER SEQUENCE runs RESTART');
	my (undef, $out, $err) = $node->psql('postgres', qq{\\set VERBOSITY verbose
		SELECT text FROM jflow_post('$endpoint', ARRAY['done'], 'again', parameters => '{"failing": $failing, "state": "$state"}')}, on_error_stop => 0);
	my $name = "$endpoint, $state in $failing runs";
	like("$out$err", qr/(^|ERROR:  )$end/m, "$name: ends as it should");
	like($err, qr/WARNING:.*run $runs/, "$name: runs $runs times");
	is(() = $err =~ /WARNING:/g, 1, "$name: and says what the last one does");
	is(ask($node, 'SELECT count(*) FROM written'), $end eq 'done' ? 1 : 0, "$name: nothing is left of those that failed");
}
# one who cancels while a request is in the way of others has cancelled it
$node->safe_psql('postgres', 'ALTER SEQUENCE runs RESTART');
fails_with($node, q{SELECT * FROM jflow_post('/cancelled', ARRAY['x'], 'again')}, '57014', qr/canceling statement/, 'a cancel before a second run');
is(ask($node, 'SELECT last_value FROM runs'), '1', 'which is none');
my $gate = $node->background_psql('postgres');
$gate->query_safe('SELECT pg_advisory_lock(42)');
my @posts = map { post_in_background($node, qq{SELECT count(*) FROM jflow_post('/cross', ARRAY['x'], 'again', parameters => '{"first": $_}')}) } 1, 2;
wait_state($node, q{SELECT count(*) = 2 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}, 'two requests hold what the other wants');
$gate->query_safe('SELECT pg_advisory_unlock(42)');
is(join(',', map { join '', finish_background($_) } @posts), '1,1', 'after the deadlock both succeed');
is(ask($node, 'SELECT string_agg(n::text, $$,$$) FROM crossed'), '2,2', 'each once');
like(slurp_file($node->logfile), qr/deadlock detected/, 'there was one');
$gate->quit;
is_at_rest($node, 'at the end');
$node->stop;
done_testing();
