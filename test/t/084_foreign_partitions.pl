# Is a table whose partitions are on other servers searched and written as one that is here, and a change of a row's key refused that would leave it where it is?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
my ($host, $port) = ($node->host, $node->port);
prepare_database($node);
$node->safe_psql('postgres', "SET client_min_messages = error; CREATE EXTENSION postgres_fdw");
owner_sql($node, q{CREATE TABLE item (id text NOT NULL, part int, title text, tags jsonb, embedding vector(2)) PARTITION BY LIST (part);
	CREATE TABLE item_2 PARTITION OF item FOR VALUES IN (2)});
for my $part (0, 1)
{
	$node->safe_psql('postgres', "CREATE DATABASE n$part");
	prepare_database($node, "n$part");
	owner_sql($node, 'CREATE TABLE item (id text PRIMARY KEY, part int, title text, tags jsonb, embedding vector(2)); CREATE INDEX ON item USING pq (embedding vector_l2_ops)', "n$part");
	$node->safe_psql('postgres', qq{CREATE SERVER n$part FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname 'n$part', extensions 'vector');
		GRANT USAGE ON FOREIGN SERVER n$part TO flow_owner;
		CREATE USER MAPPING FOR flow_owner SERVER n$part OPTIONS (user 'flow_owner', password_required 'false');
		SET ROLE flow_owner;
		CREATE FOREIGN TABLE item_$part PARTITION OF item FOR VALUES IN ($part) SERVER n$part OPTIONS (table_name 'item')});
}
my $options = '{"table": "item", "id": "id", "field": "embedding", "text": "title", "tags": "tags", "metric": "l2"}';
sub docs
{
	my ($ids, $part, $text) = @_;
	$part = $part eq '' ? q{'{}'} : "jsonb_build_object('part', $part)";
	return "(SELECT array_agg(jflow_doc(id => 'd' || i, text => '$text', tags => $part, embedding => ARRAY[i, i % 7]::vector)) FROM generate_series($ids) i)";
}
sub post
{
	my ($flow, $endpoint, $docs, $wanted, $parameters) = @_;
	$parameters = $parameters || '{}';
	return "SELECT $wanted FROM jflow_post('$endpoint', $docs, '$flow', parameters => '$parameters')";
}
sub rows { return join ' ', map { $node->safe_psql(@$_) } ['n0', 'SELECT count(*) FROM item'], ['n1', 'SELECT count(*) FROM item'], ['postgres', 'SELECT count(*) FROM item_2'] }

for my $case ([ 'whole', 1 ], [ 'shards', 3 ])
{
	my ($flow, $shards) = @$case;
	owner_sql($node, qq{SELECT jflow_create('$flow'); SELECT jflow_add('$flow', 'e', uses => 'PQLiteIndexer', replicas => 0, shards => $shards, uses_with => '$options')});
	$node->safe_psql("n$_", 'TRUNCATE item') for 0, 1;
	$node->safe_psql('postgres', 'TRUNCATE item_2');
	is(ask($node, post($flow, '/index', docs('1, 300', 'i % 3', 'first'), 'count(*)')), 300, "$flow: documents are stored");
	is(rows(), '100 100 100', "$flow: each in its partition");
	is(ask($node, post($flow, '/search', q{ARRAY[jflow_doc(embedding => '[40,5]')]}, q{(SELECT string_agg(m.id, ',') FROM unnest(matches) m)}, '{"limit": 3}')), 'd40,d39,d41', "$flow: and found");
	is(ask($node, post($flow, '/fetch', q{ARRAY[jflow_doc(id => 'd3'), jflow_doc(id => 'd4'), jflow_doc(id => 'd5')]}, q{string_agg(id, ',' ORDER BY id)})), 'd3,d4,d5', "$flow: and fetched");
	is(ask($node, post($flow, '/filter', 'NULL::jflow_doc[]', 'count(*)', '{"filter": {"part": 1}, "limit": 1000}')), 100, "$flow: and filtered");
	is(ask($node, post($flow, '/index', docs('1, 30', 'i % 3', 'again'), 'count(*)')), 30, "$flow: stored again under their keys");
	is(ask($node, post($flow, '/update', docs('1, 30', '', 'again'), 'count(*)')), 30, "$flow: and updated without");
	is(rows(), '100 100 100', "$flow: where they were");
	for my $endpoint ('/index', '/update')
	{
		fails_with($node, post($flow, $endpoint, docs('1, 9', '(i + (i % 3 = 0)::int) % 3', 'moved'), 'count(*)'), '0A000',
			qr/cannot change the partition key of document "d[369]".*item.*RemoteFlow/s, "$flow: $endpoint of a row that would stay where it is");
		is(ask($node, post($flow, '/fetch', docs('1, 9', '', ''), q{string_agg(DISTINCT text, ',')})), 'again', "$flow: and nothing of it is written");
	}
	is(ask($node, post($flow, '/delete', q{ARRAY[jflow_doc(id => 'd3')]}, 'count(*)')), 1, "$flow: who deletes it");
	is(ask($node, post($flow, '/index', docs('3, 3', '1', 'moved'), 'count(*)')), 1, "$flow: can store it under another");
	is(rows(), '99 101 100', "$flow: where that belongs");
	like(ask($node, post($flow, '/index', docs('2, 2', '0', 'moved'), 'count(*)')), qr/^0A000/, "$flow: a row that is here does not move there");
	is(rows(), '99 101 100', "$flow: but stays");
	is(ask($node, post($flow, '/clear', 'NULL::jflow_doc[]', 'count(*)')), 0, "$flow: cleared");
	is(rows(), '0 0 0', "$flow: everywhere");
	owner_sql($node, "SELECT jflow_drop('$flow')");
}
$node->stop;
done_testing();
