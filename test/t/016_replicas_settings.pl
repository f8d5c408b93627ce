# Do jflow.timeout and jflow.log_min_duration hold for posts in the caller's
# session and through replicas alike?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
prepare_database($node);
owner_sql($node, q{
	SELECT jflow_create('f'); SELECT jflow_add('f', 'e', uses => 'gate');
	SELECT jflow_create('inline'); SELECT jflow_add('inline', 'e', uses => 'gate', replicas => 0)});
start_flow($node, 'f');
my $holder = $node->background_psql('postgres');
$holder->query_safe('SELECT pg_advisory_lock(42)');
for my $flow ('f', 'inline')
{
	for my $post (qq{jflow_post('/x', ARRAY['a'], '$flow')}, qq{jflow_call('/x', '[{}]', '$flow')}, qq{jflow_search('a', 1, '$flow')},
		qq{jflow_post_query('/x', 'SELECT 1 AS id', '$flow')})
	{
		fails_with($node, "SET jflow.timeout = '200ms'; SELECT * FROM $post", '57014', qr/post to flow "$flow"/, "jflow.timeout ends $post");
	}
	fails_with($node, "SET jflow.timeout = '1h'; SELECT * FROM jflow_post('/x', ARRAY['a'], '$flow', timeout => '200ms')", '57014',
		qr/post to flow "$flow"/, "a post's own timeout goes before, flow $flow");
	fails_with($node, "SET jflow.timeout = '1ms'; SET statement_timeout = '200ms'; SELECT * FROM jflow_post('/x', ARRAY['a'], '$flow', timeout => '0')", '57014',
		qr/statement timeout/, "and 0 is none, flow $flow");
}
$holder->quit;

$node->safe_psql('postgres', q{ALTER SYSTEM SET jflow.log_min_duration = 0});
$node->reload;
owner_sql($node, q{SELECT jflow_restart('f', 'e')});
is(ask($node, q{SELECT jflow_wait('f')}), 't', 'the replicas know the setting');
for my $flow ('f', 'inline')
{
	my $offset = -s $node->logfile;
	ask($node, qq{SELECT count(*) FROM jflow_post('/x', ARRAY['a'], '$flow')});
	ok($node->wait_for_log(qr{LOG:  duration: [0-9.]+ ms  endpoint /x of flow "$flow": function public\.gate\n.*executor "e", shard 0, replica \d, request 1}, $offset),
		"a call is logged, flow $flow");
}
$node->safe_psql('postgres', q{ALTER SYSTEM SET jflow.log_min_duration = '1h'});
$node->reload;
owner_sql($node, q{SELECT jflow_restart('f', 'e')});
is(ask($node, q{SELECT jflow_wait('f')}), 't', 'the replicas know the setting');
my $offset = -s $node->logfile;
ask($node, qq{SELECT count(*) FROM jflow_post('/x', ARRAY['a'], '$_')}) for ('f', 'inline');
unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile, $offset), qr/duration:/, 'a short one is not');
fails_with($node, q{SET ROLE flow_owner; SET jflow.log_min_duration = 0}, '42501', qr/permission denied/, 'only superusers set it');

# jflow.enabled: off, nobody waits for replicas that do not come
$holder = $node->background_psql('postgres');
$holder->query_safe('SELECT pg_advisory_lock(42)');
my $poster = post_in_background($node, q{SELECT count(*) FROM jflow_post('/x', ARRAY['a', 'b', 'c'], 'f', request_size => 1)});
wait_state($node, q{SELECT count(*) = 3 FROM jflow_requests}, 'a post has one request that runs and two that wait');
$node->safe_psql('postgres', q{ALTER SYSTEM SET jflow.enabled = off});
$node->reload;
ok($node->poll_query_until('postgres', q{SELECT current_setting('jflow.enabled') = 'off'}), 'replicas are switched off');
fails_with($node, q{SELECT * FROM jflow_post('/x', ARRAY['a'], 'f')}, '55000', qr/switched off by jflow\.enabled/, 'a new post says so');
$holder->query_safe('SELECT pg_advisory_unlock(42)');
my ($out, $err) = finish_background($poster);
like($err, qr/55000: executor "e" of flow "f"/, 'one that was under way ends with an error');
is(ask($node, q{SELECT count(*) FROM jflow_post('/x', ARRAY['a'], 'inline')}), '1', 'executors without replicas run');
is_at_rest($node, 'switched off');
$node->safe_psql('postgres', q{ALTER SYSTEM RESET jflow.enabled});
$node->reload;
ok($node->poll_query_until('postgres', q{SELECT jflow_wait('f') AND running = 1 FROM jflow_status WHERE flow = 'f'}), 'switched on: the replica is back');
is(ask($node, q{SELECT count(*) FROM jflow_post('/x', ARRAY['a'], 'f')}), '1', 'and serves');

# the time limit of a post is about the wait for replicas, too
my $ddl = $node->background_psql('postgres');
$ddl->query_safe('SET client_min_messages = error; BEGIN; ALTER EXTENSION jflow UPDATE');
owner_sql($node, q{SELECT jflow_create('new'); SELECT jflow_add('new', 'e', uses => 'noop'); SELECT jflow_start('new')});
fails_with($node, q{SELECT * FROM jflow_post('/x', ARRAY['a'], 'new', timeout => '300ms')}, '57014', qr/post to flow "new"/, 'a flow whose replicas cannot start');
$poster = post_in_background($node, q{SELECT * FROM jflow_post('/x', ARRAY['a'], 'new')});
wait_state($node, q{SELECT count(*) = 1 FROM jflow_progress}, 'a post that waits for them is shown');
ok(ask($node, q{SELECT count(jflow_cancel(post)) FROM jflow_progress}) eq '1', 'and can be cancelled');
($out, $err) = finish_background($poster);
like($err, qr/57014/, 'it is');
$ddl->query_safe('ROLLBACK');
$ddl->quit;
is(ask($node, q{SELECT jflow_wait('new')}), 't', 'the flow starts once it can');
is_at_rest($node, 'at the end');
$node->stop;
done_testing();
