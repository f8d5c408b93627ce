# Do replicas of several shards store each document once, find all of them while
# the number of shards changes, and end with each row in its shard?
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf(
	'postgresql.conf', q{
shared_preload_libraries = 'jflow'
max_worker_processes = 20
jflow.allow_superuser_flows = on
});
$node->start;
$node->safe_psql(
	'postgres', q{
	SET client_min_messages = error;
	CREATE EXTENSION jflow CASCADE;
	SELECT jflow_create('f');
	SELECT jflow_add('f', 'store', uses => 'PQLiteIndexer', workspace => 'jflow_data', replicas => 2, shards => 2, uses_with => '{"dim": 1, "metric": "l2"}');
	SELECT jflow_start('f');
});
$node->safe_psql('postgres', "SELECT jflow_wait('f')");

is( $node->safe_psql(
		'postgres', q{SELECT docs, failed FROM jflow_post_query('/index',
	'SELECT i AS id, i::text AS text, ARRAY[i]::vector AS embedding FROM generate_series(1, 3000) i', 'f')}),
	'3000|0', 'replicas store');
is( $node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT id), count(DISTINCT shard) FROM jflow_data.f_store'),
	'3000|3000|2', 'each document once, in two shards');
is( $node->safe_psql(
		'postgres', q{SELECT string_agg(m.id, ',') FROM jflow_post('/search', ARRAY[jflow_doc(embedding => '[100]')], 'f',
	parameters => '{"limit": 5}') d, unnest(d.matches) m}),
	'100,101,99,102,98', 'replicas search');

# the index is made after the post, by a mover, and every row is found before and after
is( $node->safe_psql(
		'postgres', q{SELECT docs, failed FROM jflow_post_query('/index',
	'SELECT i AS id, i::text AS text, ARRAY[i]::vector AS embedding FROM generate_series(3001, 9000) i', 'f')}),
	'6000|0', 'a post makes the store large');
my $nearest = q{SELECT string_agg(m.id, ',') FROM jflow_post('/search', ARRAY[jflow_doc(embedding => '[8000.2]')], 'f',
	parameters => '{"limit": 5}') d, unnest(d.matches) m};
is($node->safe_psql('postgres', $nearest), '8000,8001,7999,8002,7998', 'a new row is found at once');
ok( $node->poll_query_until(
		'postgres', q{SELECT bool_and((tags->>'indexed')::float8 = 1) FROM jflow_post('/status', NULL::jflow_doc[], 'f')}),
	'a mover makes the indexes of all shards');
is($node->safe_psql('postgres', q{SELECT count(*) FROM jflow.shard WHERE due OR trained_pages IS NULL}), '0', 'and notes that they are made');
like($node->safe_psql('postgres', $nearest), qr/^8000,/, 'a search by the index finds the nearest');
$node->safe_psql('postgres', q{SELECT jflow_post('/delete', (SELECT array_agg(jflow_doc(id => i::text)) FROM generate_series(3001, 9000) i), 'f')});

# races in replicas
$node->pgbench(
	'--no-vacuum --client=4 --transactions=100',
	0,
	[qr{processed: 400/400}],
	[qr{^$}],
	'racing posts',
	{
		'001_race' => q{\set a random(1, 60)
\set b random(0, 5)
SELECT count(*) FROM jflow_post('/index', (SELECT array_agg(jflow_doc(id => 'r' || i, embedding => '[0]')) FROM generate_series(:a, :a + :b) i), 'f');
}
	});
is($node->safe_psql('postgres', 'SELECT count(*) - count(DISTINCT id) FROM jflow_data.f_store'), '0', 'no id is there twice');
$node->safe_psql('postgres', q{SELECT jflow_post('/delete', (SELECT array_agg(jflow_doc(id => id)) FROM jflow_data.f_store WHERE id LIKE 'r%'), 'f')});
is($node->safe_psql('postgres', 'SELECT count(*) FROM jflow_data.f_store'), '3000', 'deleted wherever they were');

# a change of shards while searches and posts go on
for my $shards (5, 1, 3)
{
	$node->safe_psql('postgres', "SELECT jflow_scale('f', 'store', shards => $shards)");
	my ($searches, $missed) = (0, 0);
	do
	{
		my $found = $node->safe_psql(
			'postgres', q{SELECT jflow_wait('f');
			SELECT count(*) FROM jflow_post('/index', ARRAY[jflow_doc(id => '7', text => 'again', embedding => '[7]')], 'f');
			SELECT count(DISTINCT m.id) FROM jflow_post('/search', ARRAY[jflow_doc(embedding => '[1]')], 'f', parameters => '{"limit": 10000}') d, unnest(d.matches) m});
		$missed++ unless $found eq "t\n1\n3000";
		$searches++;
	  } while ($node->safe_psql('postgres', q{SELECT count(*) > 0 FROM jflow.shard WHERE state <> 'live'}) eq 't'
		&& $searches < 500);
	is($missed, 0, "nothing missed in $searches searches while there come to be $shards shards");
	is( $node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT id), max(shard) FROM jflow_data.f_store'),
		"3000|3000|" . ($shards - 1), "each row is in one of $shards shards");
}

# a crash while posts are stored and the index is due: what was acknowledged is there
# once, and the index is made without help
$node->safe_psql('postgres', q{SELECT jflow_post('/clear', NULL::jflow_doc[], 'f')});
my $poster = $node->background_psql('postgres', on_error_stop => 0);
my $acknowledged = 0;
for my $first (map { $_ * 2000 } 0 .. 3)
{
	$acknowledged += $poster->query_safe(qq{SELECT docs FROM jflow_post_query('/index',
		'SELECT i AS id, ARRAY[i]::vector AS embedding FROM generate_series($first + 1, $first + 2000) i', 'f')});
}
is($acknowledged, 8000, 'posts are acknowledged');
$poster->{stdin} .= q{SELECT docs FROM jflow_post_query('/index',
	'SELECT i AS id, ARRAY[i]::vector AS embedding FROM generate_series(8001, 100000) i', 'f');} . "\n";
$poster->{run}->pump_nb;
$node->poll_query_until('postgres', 'SELECT count(*) > 8000 FROM jflow_data.f_store') or die 'the post does not begin';
$node->stop('immediate');
eval { $poster->quit };
$node->start;
is( $node->safe_psql('postgres', q{SELECT count(*) - count(DISTINCT id), count(*) FILTER (WHERE id::int <= 8000), count(*) >= 8000 FROM jflow_data.f_store}),
	'0|8000|t', 'after a crash every acknowledged document is there once');
ok( $node->poll_query_until('postgres', q{SELECT count(*) = 0 AND (SELECT count(*) > 0 FROM jflow.shard WHERE trained_pages > 0) FROM jflow.shard WHERE due}),
	'and the indexes are made, without help');
is($node->safe_psql('postgres', q{SELECT jflow_wait('f')}), 't', 'the flow runs again');

# among the first documents, which it was trained on whenever that was
is( $node->safe_psql('postgres', q{SELECT d.matches[1].id FROM jflow_post('/search', ARRAY[jflow_doc(embedding => '[777]')], 'f', '{"recall": 1}') d}),
	'777', 'and searches');

$node->stop;
done_testing();
