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
	for my $post (qq{jflow_post('/x', 'a', '$flow')}, qq{jflow_call('/x', '[{}]', '$flow')}, qq{jflow_search('a', 1, '$flow')},
		qq{jflow_post_query('/x', 'SELECT 1 AS id', '$flow')})
	{
		fails_with($node, "SET jflow.timeout = '200ms'; SELECT * FROM $post", '57014', qr/post to flow "$flow"/, "jflow.timeout ends $post");
	}
	fails_with($node, "SET jflow.timeout = '1h'; SELECT * FROM jflow_post('/x', 'a', '$flow', timeout => '200ms')", '57014',
		qr/post to flow "$flow"/, "a post's own timeout goes before, flow $flow");
	fails_with($node, "SET jflow.timeout = '1ms'; SET statement_timeout = '200ms'; SELECT * FROM jflow_post('/x', 'a', '$flow', timeout => '0')", '57014',
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
	ask($node, qq{SELECT count(*) FROM jflow_post('/x', 'a', '$flow')});
	ok($node->wait_for_log(qr{LOG:  duration: [0-9.]+ ms  endpoint /x of flow "$flow": function public\.gate\n.*executor "e", shard 0, replica \d, request 1}, $offset),
		"a call is logged, flow $flow");
}
$node->safe_psql('postgres', q{ALTER SYSTEM SET jflow.log_min_duration = '1h'});
$node->reload;
owner_sql($node, q{SELECT jflow_restart('f', 'e')});
is(ask($node, q{SELECT jflow_wait('f')}), 't', 'the replicas know the setting');
my $offset = -s $node->logfile;
ask($node, qq{SELECT count(*) FROM jflow_post('/x', 'a', '$_')}) for ('f', 'inline');
unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile, $offset), qr/duration:/, 'a short one is not');
fails_with($node, q{SET ROLE flow_owner; SET jflow.log_min_duration = 0}, '42501', qr/permission denied/, 'only superusers set it');
is_at_rest($node, 'at the end');
$node->stop;
done_testing();
