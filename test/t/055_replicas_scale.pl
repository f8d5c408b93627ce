# Does a change of the numbers of replicas and shards, to none and back, ever fail
# a post, whatever moment of it is hit?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', 'max_worker_processes = 32');
prepare_database($node);
owner_sql($node, q{
	SELECT jflow_create('f');
	SELECT jflow_add('f', 'a', uses => 'shout', replicas => 2, retries => 0);
	SELECT jflow_add('f', 'b', uses => 'shout', shards => 2, polling => '"hash"', retries => 0)});
start_flow($node, 'f');
my $post = q{SELECT 1 / (count(*) = 30 AND bool_and(text = 'A'))::int FROM jflow_post('/x', array_fill('a'::text, ARRAY[30]), 'f', request_size => 2)};
$node->pgbench(
	'--no-vacuum --client=6 --transactions=250',
	0,
	[qr{processed: 1500/1500}],
	[qr{^$}],
	'posts while replicas and shards come and go',
	{
		'055_post@12' => "$post;",
		'055_replicas@1' => q{\set n random(0, 2)
SELECT jflow_scale('f', 'a', :n);},
		'055_shards@1' => q{\set n random(0, 1)
\set shards random(1, 3)
SELECT jflow_scale('f', 'b', :n, :shards);},
	});
is(ask($node, q{SELECT jflow_wait('f')}), 't', 'the flow comes to what is wanted');
is(ask($node, q{SELECT bool_and(wanted = running) FROM jflow_status}), 't', 'exactly');
is_at_rest($node, 'after it');

# a post that refers to no pool any more lets the last replica go, however it ends
for my $how ('pg_cancel_backend', 'pg_terminate_backend')
{
	my $flow = $how eq 'pg_cancel_backend' ? 'g' : 'h';
	add_flow($node, $flow, 'gate');
	start_flow($node, $flow);
	my $holder = $node->background_psql('postgres');
	$holder->query_safe('SELECT pg_advisory_lock(42)');
	my $poster = post_in_background($node, qq{SELECT count(*) FROM jflow_post('/x', 'a', '$flow')});
	wait_state($node, qq{SELECT count(*) = 1 FROM jflow_stat_replicas WHERE flow = '$flow' AND state = 'busy'}, "$how: a request runs");
	owner_sql($node, qq{SELECT jflow_scale('$flow', 'e', 0)});
	is(ask($node, qq{SELECT jflow_wait('$flow', '0s')}), 'f', "$how: its replica stays");
	$node->safe_psql('postgres', "SELECT $how($poster->{pid})");
	is(ask($node, qq{SELECT jflow_wait('$flow')}), 't', "$how: the replica leaves when the post has ended");
	eval { finish_background($poster) };
	$holder->quit;
}
is_at_rest($node, 'at the end');
$node->stop;
done_testing();
