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
		'015_post@12' => "$post;",
		'015_replicas@1' => q{\set n random(0, 2)
SELECT jflow_scale('f', 'a', :n);},
		'015_shards@1' => q{\set n random(0, 1)
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
	my $poster = post_in_background($node, qq{SELECT count(*) FROM jflow_post('/x', ARRAY['a'], '$flow')});
	wait_state($node, qq{SELECT count(*) = 1 FROM jflow_stat_replicas WHERE flow = '$flow' AND state = 'busy'}, "$how: a request runs");
	owner_sql($node, qq{SELECT jflow_scale('$flow', 'e', 0)});
	is(ask($node, qq{SELECT jflow_wait('$flow', '0s')}), 'f', "$how: its replica stays");
	$node->safe_psql('postgres', "SELECT $how($poster->{pid})");
	is(ask($node, qq{SELECT jflow_wait('$flow')}), 't', "$how: the replica leaves when the post has ended");
	eval { finish_background($poster) };
	$holder->quit;
}

# rows are not moved in one transaction while a search may be between two shards
owner_sql($node, q{
	SELECT jflow_create('p');
	SELECT jflow_add('p', 'gate', requests => '{"/search": "gate"}');
	SELECT jflow_add('p', 'kept', uses => 'PQLiteIndexer', shards => 2, polling => '{"/index": "hash", "/search": "all"}', workspace => 'flow_owner_data',
		uses_with => '{"dim": 2, "metric": "l2"}')});
$node->safe_psql('postgres', 'CREATE SCHEMA flow_owner_data AUTHORIZATION flow_owner');
start_flow($node, 'p');
owner_sql($node, q{SELECT jflow_post('/index', (SELECT array_agg(jflow_doc(id => i::text, embedding => ARRAY[i, 1]::vector)) FROM generate_series(1, 50) i), 'p')});
my $holder = $node->background_psql('postgres');
$holder->query_safe('SELECT pg_advisory_lock(42)');
my $poster = post_in_background($node, q{SELECT count(*) FROM jflow_post('/search', ARRAY[jflow_doc(embedding => '[1,1]')], 'p', '{"limit": 100}') d, unnest(d.matches)});
wait_state($node, q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}, 'a search is under way');
my $none = q{SET ROLE flow_owner; SELECT jflow_scale('p', 'kept', replicas => 0, shards => 1)};
fails_with($node, $none, '55006', qr/executor "kept" of flow "p" has replicas/, 'no replicas and fewer shards at once');
owner_sql($node, q{SELECT jflow_scale('p', 'kept', replicas => 0)});
my $scaler = post_in_background($node, q{SET ROLE flow_owner; SELECT jflow_scale('p', 'kept', shards => 1)});
wait_state($node, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%shards => 1%' AND wait_event_type = 'Extension' AND pid <> pg_backend_pid()},
	'once there shall be none, one who moves rows waits for it');
$holder->query_safe('SELECT pg_advisory_unlock(42)');
my ($out, $err) = finish_background($poster);
is("$out$err", '50', 'the search finds all rows');
($out, $err) = finish_background($scaler);
is("$out$err", '0', 'and the rows are moved then');
is(ask($node, q{SELECT count(*) || ' in ' || (SELECT count(*) FROM jflow.shard WHERE flow = 'p') FROM flow_owner_data.p_kept}), '50 in 1', 'all of them, to one shard');
owner_sql($node, q{SELECT jflow_scale('p', 'kept', replicas => 1)});
is(ask($node, q{SELECT jflow_wait('p')}), 't', 'replicas come back');
fails_with($node, q{SET ROLE flow_owner; BEGIN; SELECT jflow_stop('p'); SELECT jflow_scale('p', 'kept', shards => 3)}, '55006',
	qr/has replicas/, 'a stop that has not committed does not do');
owner_sql($node, q{SELECT jflow_stop('p')});
owner_sql($node, q{SELECT jflow_scale('p', 'kept', shards => 3)});
is(ask($node, q{SELECT count(*) || ' in ' || (SELECT count(*) FROM jflow.shard WHERE flow = 'p') FROM flow_owner_data.p_kept}), '50 in 3', 'one that has does');
$holder->quit;
is_at_rest($node, 'at the end');
$node->stop;
done_testing();
