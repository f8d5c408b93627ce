# Does a store work whose planner has no plan without the values of parameters, as one of tables spread over servers has not, whoever made the table?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', "session_preload_libraries = '$ENV{JFLOW_SPREAD}'");
prepare_database($node);
owner_sql($node, q{
	CREATE TABLE spread (id text PRIMARY KEY, title text, tags jsonb, price int, embedding vector(2));
	CREATE INDEX ON spread USING pq (embedding vector_l2_ops, price);
	SELECT jflow_create('items');
	SELECT jflow_add('items', 'store', uses => 'PQLiteIndexer', replicas => 0,
		uses_with => '{"table": "spread", "id": "id", "field": "embedding", "text": "title", "tags": "tags", "metric": "l2"}');
	SELECT jflow_create('spread');
	SELECT jflow_add('spread', 'own', uses => 'PQLiteIndexer', replicas => 0, shards => 2, uses_with => '{"dim": 2, "metric": "l2"}')});

fails_with($node, q{SET plan_cache_mode = force_generic_plan; PREPARE p(text) AS SELECT title FROM spread WHERE id = $1; EXECUTE p('a')},
	'0A000', qr/could not create distributed plan/, 'the planner refuses');

# Each endpoint more often than plans are made for the values of their parameters alone.
sub all_endpoints
{
	my ($flow, $name) = @_;
	my $docs = sub { return "(SELECT array_agg(jflow_doc(id => 'd' || i, text => 't' || i, tags => jsonb_build_object('n', i % 5, 'price', i), embedding => ARRAY[i, $_[0]]::vector)) FROM generate_series(1, 300) i)" };
	my @each = (
		[ '/index', $docs->(0), '{}', 'count(*)', 300 ], [ '/index again', $docs->(1), '{}', 'count(*)', 300 ],
		[ '/update', q{ARRAY[jflow_doc(id => 'd7', text => 'new')]}, '{}', 'string_agg(id, $$,$$)', 'd7' ],
		[ '/fetch', q{ARRAY[jflow_doc(id => 'd7'), jflow_doc(id => 'none')]}, '{}', 'string_agg(text, $$,$$)', 'new' ],
		[ '/filter', 'NULL::jflow_doc[]', '{"filter": {"n": 3}, "limit": 100}', 'count(*)', 60 ],
		[ '/search', q{ARRAY[jflow_doc(embedding => '[10,1]'), jflow_doc(embedding => '[20,1]')]}, '{"limit": 2}', q{string_agg((matches[1]).id, ',')}, 'd10,d20' ],
		[ '/search filtered', q{ARRAY[jflow_doc(embedding => '[10,1]')]}, '{"limit": 2, "filter": {"n": {"$eq": 3}}}', q{string_agg((matches[1]).id, ',')}, 'd8' ],
		[ '/status', 'NULL::jflow_doc[]', '{}', q{sum((tags->>'rows')::int)}, 300 ],
		[ '/delete', q{ARRAY[jflow_doc(id => 'd299')]}, '{}', 'string_agg(id, $$,$$)', 'd299' ]);
	for my $case (@each)
	{
		my ($endpoint, $given, $parameters, $wanted, $expected) = @$case;
		my ($url) = split / /, $endpoint;
		my $times = $url eq '/delete' ? 1 : $url eq '/index' ? 7 : 9;
		my $query = "SELECT $wanted FROM jflow_post('$url', $given, '$flow', '$parameters');\n";
		is(ask($node, $query x $times), join("\n", ($expected) x $times), "$name: $endpoint");
	}
	return;
}
all_endpoints('items', q{a user's table});

# the index is used by each search, not by the first ones alone
my $scans = q{SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'spread_embedding_price_idx'};
$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = $$client backend$$');
my $before = $node->safe_psql('postgres', $scans);
ask($node, q{SELECT count(*) FROM jflow_post('/search', ARRAY[jflow_doc(embedding => '[10,1]')], 'items', '{"limit": 2}');} x 9);
ok($node->poll_query_until('postgres', $scans, $before + 9), 'by its index each time');

# a table of ours, where the extension is that can spread it
like(ask($node, q{SELECT count(*) FROM jflow_post('/index', ARRAY[jflow_doc(id => 'a', embedding => '[1,2]')], 'spread');
	SELECT count(*) FROM jflow_post('/index', ARRAY[jflow_doc(id => 'a', embedding => '[1,2]')], 'spread')}), qr/0A000/, 'a table of ours has plans for any values');
$node->safe_psql('postgres', q{SET allow_system_table_mods = on;
	INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion) VALUES (99999, 'citus', 10, 'public'::regnamespace, false, '0')});
all_endpoints('spread', 'a table of ours beside Citus');
$node->stop;
done_testing();
