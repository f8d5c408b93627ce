# Do stored documents, their shards and their flow survive a dump and restore?
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
my $dir = PostgreSQL::Test::Utils::tempdir();

$node->safe_psql(
	'postgres', q{
	SET client_min_messages = error;
	CREATE ROLE shop_owner;
	GRANT CREATE ON DATABASE postgres TO shop_owner;
	CREATE EXTENSION jflow CASCADE;
	SET ROLE shop_owner;
	SELECT jflow_create('shop');
	SELECT jflow_add('shop', 'store', uses => 'PQLiteIndexer', shards => 3, replicas => 0, workspace => 'my "shop"',
		uses_with => '{"dim": 4, "metric": "l2", "columns": {"price": "numeric(10,2)", "brand": "text"}}');
	SELECT docs FROM jflow_post_query('/index', $$SELECT i AS id, 'text ' || i AS text,
		ARRAY[i % 7, i % 11, i % 13, 1]::vector AS embedding, jsonb_build_object('price', i, 'brand', 'b' || i % 3) AS tags
		FROM generate_series(1, 500) i$$, 'shop');
});

my $answers = q{
	SELECT d.id, m.* FROM jflow_post('/search', ARRAY[jflow_doc(id => 'p', embedding => '[1,2,3,1]'),
		jflow_doc(id => 'q', embedding => '[6,0,12,1]')], 'shop',
		parameters => '{"limit": 20, "filter": {"brand": {"$ne": "b1"}, "price": {"$lt": 400}}}') d, unnest(d.matches) m;
	SELECT count(*) FROM jflow_post('/filter', NULL::jflow_doc[], 'shop');
	SELECT id, tags->'rows' FROM jflow_post('/status', NULL::jflow_doc[], 'shop');
};
my $catalog = q{
	SELECT * FROM jflow.shard ORDER BY shard;
	SELECT c.relname, c.relowner::regrole, pg_get_expr(c.relpartbound, c.oid) FROM pg_class c
	WHERE c.relnamespace = '"my ""shop"""'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1;
};
my $expected = $node->safe_psql('postgres', $answers);
my $expected_catalog = $node->safe_psql('postgres', $catalog);
like($expected, qr/text 1/, 'searches answer before the dump');

# plain, custom with several jobs, and a second round
$node->command_ok([ 'pg_dump', '-Fp', '-f', "$dir/plain.sql", $node->connstr('postgres') ], 'plain dump');
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/custom.dump", $node->connstr('postgres') ], 'custom dump');
$node->safe_psql('postgres', "CREATE DATABASE $_") for qw(plain custom again schema one);
$node->command_ok([ 'psql', '-X', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/plain.sql", $node->connstr('plain') ],
	'plain restore without errors');
$node->command_ok([ 'pg_restore', '-e', '-j', '3', '-d', $node->connstr('custom'), "$dir/custom.dump" ],
	'parallel restore without errors');
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/again.dump", $node->connstr('custom') ], 'dump of the restored');
$node->command_ok([ 'pg_restore', '-e', '-d', $node->connstr('again'), "$dir/again.dump" ], 'second restore');
for my $db (qw(plain custom again))
{
	is($node->safe_psql($db, $answers), $expected, "$db: same answers");
	is($node->safe_psql($db, $catalog), $expected_catalog, "$db: same shards");
}

# the restored flow goes on
is( $node->safe_psql(
		'again', q{
	SET client_min_messages = error;
	SELECT count(*) FROM jflow_post('/index', ARRAY[jflow_doc(id => '1', text => 'new', embedding => '[0,0,0,0]'), jflow_doc(id => '501', embedding => '[0,0,0,1]')], 'shop');
	SELECT jflow_scale('shop', 'store', shards => 2);
	SELECT count(*), count(DISTINCT id), count(*) FILTER (WHERE text = 'new') FROM "my ""shop""".shop_store;
}),
	"2\n0\n501|501|1",
	'a restored flow stores, replaces and moves');

# the schema alone: no flow, but its tables are adopted by a new one
$node->command_ok([ 'pg_dump', '-s', '-f', "$dir/schema.sql", $node->connstr('postgres') ], 'dump of the schema');
$node->command_ok([ 'psql', '-X', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/schema.sql", $node->connstr('schema') ],
	'restore of the schema');
my $flow = q{
	SET client_min_messages = error;
	SET ROLE shop_owner;
	SELECT jflow_create('shop');
	SELECT jflow_add('shop', 'store', uses => 'PQLiteIndexer', shards => 3, replicas => 0, workspace => 'my "shop"',
		uses_with => '{"dim": 4, "metric": "l2", "columns": {"price": "numeric(10,2)", "brand": "text"}}');
	SELECT count(*) FROM jflow_post('/index', ARRAY[jflow_doc(id => '7', text => 'text 7', embedding => '[0,7,7,1]', tags => '{"price": 7, "brand": "b1"}')], 'shop');
};
$node->safe_psql('schema', "SELECT jflow_drop('shop', if_exists => true)");
$node->safe_psql('schema', $flow);
is($node->safe_psql('schema', q{SELECT count(*) FROM "my ""shop""".shop_store}), '1', 'the empty tables were adopted');

# only the tables, into a database that has the extension
$node->command_ok(
	[ 'pg_dump', '-n', 'my*', '-f', "$dir/one.sql", $node->connstr('postgres') ], 'dump of the tables');
$node->safe_psql('one', 'SET client_min_messages = error; CREATE EXTENSION jflow CASCADE');
$node->command_ok([ 'psql', '-X', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/one.sql", $node->connstr('one') ],
	'restore of the tables');
$node->safe_psql('one', $flow);
is($node->safe_psql('one', $answers), $expected, 'a new flow finds what the old one stored');

$node->stop;
done_testing();
