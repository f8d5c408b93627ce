# Is every acknowledged document there once after races, crashes and moves, and
# does a standby answer searches?
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', 'autovacuum = off');
$node->start;
$node->safe_psql(
	'postgres', q{
	SET client_min_messages = error;
	CREATE EXTENSION jflow CASCADE;
	SELECT jflow_create('f');
	SELECT jflow_add('f', 'store', uses => 'PQLiteIndexer', workspace => 'jflow_data', shards => 4, replicas => 0, uses_with => '{"dim": 1, "metric": "l2"}');
	CREATE FUNCTION put(first int, last int, text text) RETURNS int8 LANGUAGE sql AS
		$$ SELECT count(*) FROM jflow_post('/index', (SELECT array_agg(jflow_doc(id => i::text, text => text,
			embedding => ARRAY[i]::vector)) FROM generate_series(first, last) i), 'f') $$;
});

# racing posts of the same few ids under "any"
$node->pgbench(
	'--no-vacuum --client=6 --transactions=150',
	0,
	[qr{processed: 900/900}],
	[qr{^$}],
	'racing posts',
	{
		'001_race' => q{\set a random(1, 40)
\set b random(0, 5)
SET client_min_messages = error;
SELECT put(:a, :a + :b, :client_id::text);
},
		'002_delete' => q{\set a random(1, 40)
SET client_min_messages = error;
SELECT count(*) FROM jflow_post('/delete', ARRAY[jflow_doc(id => :a::text)], 'f');
}
	});
is( $node->safe_psql('postgres', 'SELECT count(*) - count(DISTINCT id), count(*) > 0 FROM jflow_data.f_store'),
	'0|t', 'no id is there twice');

# a crash in the middle of a post
$node->safe_psql('postgres', "SET client_min_messages = error; SELECT put(1, 500, 'acknowledged')");
my $session = $node->background_psql('postgres');
$session->query_safe('SET client_min_messages = error');
$session->query_safe('BEGIN');
$session->query_safe("SELECT put(300, 900, 'lost')");
$node->stop('immediate');
eval { $session->quit };
$node->start;
is( $node->safe_psql(
		'postgres', q{SELECT count(*), count(DISTINCT id), count(*) FILTER (WHERE text = 'acknowledged') FROM jflow_data.f_store}),
	'500|500|500',
	'what was acknowledged is there once, and nothing else');

# a crash between and within the batches of a change of shards
my $search = q{SELECT count(DISTINCT m.id), count(m.id) FROM jflow_post('/search', ARRAY[jflow_doc(embedding => '[1]')], 'f',
	parameters => '{"limit": 1000}') d, unnest(d.matches) m};
$node->safe_psql('postgres', q{
	UPDATE jflow.executor SET shards = 2 WHERE flow = 'f';
	UPDATE jflow.shard SET state = 'moving' WHERE flow = 'f';
	SELECT jflow.reshard_step('f', 'store', 50) FROM generate_series(1, 3);
});
$session = $node->background_psql('postgres');
$session->query_safe('BEGIN');
$session->query_safe(q{SELECT jflow.reshard_step('f', 'store', 50)});
$node->stop('immediate');
eval { $session->quit };
$node->start;
is($node->safe_psql('postgres', "SET client_min_messages = error; $search"), '500|500', 'all rows are found half-way');
is( $node->safe_psql(
		'postgres', "SET client_min_messages = error; SELECT put(400, 600, 'meanwhile')"),
	'201', 'posts go on half-way');
$node->poll_query_until('postgres', q{SELECT jflow.reshard_step('f', 'store', 50)})
  or die 'the change of shards does not end';
is( $node->safe_psql(
		'postgres', q{SELECT count(*), count(DISTINCT id), max(shard), count(*) FILTER (WHERE text = 'meanwhile') FROM jflow_data.f_store;
	SELECT shard, state FROM jflow.shard ORDER BY shard}),
	"600|600|1|201\n0|live\n1|live", 'the change ends with each row in a shard');
is($node->safe_psql('postgres', "SET client_min_messages = error; $search"), '600|600', 'all rows are found at the end');

# a standby
$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
is($standby->safe_psql('postgres', "SET client_min_messages = error; $search"), '600|600', 'a standby answers searches');
my ($ret, $out, $err) = $standby->psql('postgres', "\\set VERBOSITY sqlstate\nSELECT put(1, 1, 'x')");
like($err, qr/25006/, 'a standby stores nothing');

$standby->stop;
$node->stop;
done_testing();
