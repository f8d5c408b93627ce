# Do flows, grants, classes and fitted models survive a dump and restore?
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
	CREATE ROLE flow_owner; CREATE ROLE flow_user;
	GRANT CREATE ON SCHEMA public TO flow_owner;
	CREATE EXTENSION jflow CASCADE;
	SET ROLE flow_owner;
	CREATE FUNCTION shout(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
		LANGUAGE sql AS 'SELECT array_agg(jflow_doc(id => d.id, text => upper(d.text))) FROM unnest(docs) d';
	SELECT jflow_define('Shouter', '{"/shout": "shout"}');
	SELECT jflow_create('news', 'a flow with "quotes"');
	SELECT jflow_add('news', 'vectorizer', uses => 'TfidfVectorizer', uses_with => '{"min_df": 1}', replicas => 0);
	SELECT jflow_add('news', 'shouter', uses => 'Shouter', needs => '{gateway}', shards => 2, polling => '"all"',
		"when" => '{"lang": {"$ne": "de"}}', timeout => '5 s', retries => 3, replicas => 0);
	SELECT jflow_add('news', 'joined', needs => '{shouter,vectorizer}', replicas => 0);
	SELECT jflow_fit('news', 'vectorizer', $$VALUES ('the quick fox'), ('the lazy dog')$$);
	SELECT jflow_grant('news', 'flow_user');
});

my $answers = q{
	SELECT id, text, sparse_embedding FROM jflow_post('/x', ARRAY[jflow_doc(id => '1', text => 'quick dog')], 'news');
	SELECT id, text FROM jflow_post('/shout', ARRAY[jflow_doc(id => '1', text => 'quick dog')], 'news');
	SELECT jflow_save('news');
	SELECT flow, owner, description FROM jflow.flow;
	SELECT * FROM jflow.flow_grant;
	SELECT class, owner, requests FROM jflow.class ORDER BY class;
	SELECT flow, executor, version, docs, terms FROM jflow.model;
	SET ROLE flow_user;
	SELECT count(*) FROM jflow_post('/x', ARRAY['a'], 'news');
};
my $expected = $node->safe_psql('postgres', $answers);
like($expected, qr/QUICK DOG/, 'the flow answers before the dump');

# into a database of the same server, twice
$node->command_ok([ 'pg_dump', '-Fp', '-f', "$dir/plain.sql", $node->connstr('postgres') ], 'plain dump');
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/custom.dump", $node->connstr('postgres') ], 'custom dump');
$node->safe_psql('postgres', 'CREATE DATABASE plain; CREATE DATABASE custom; CREATE DATABASE again');
$node->command_ok(
	[ 'psql', '-X', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/plain.sql", $node->connstr('plain') ],
	'plain restore without errors');
$node->command_ok(
	[ 'pg_restore', '-e', '-j', '2', '-d', $node->connstr('custom'), "$dir/custom.dump" ],
	'parallel restore without errors');
is($node->safe_psql('plain', $answers), $expected, 'same answers after a plain restore');
is($node->safe_psql('custom', $answers), $expected, 'same answers after a parallel restore');

# a dump of the restored database
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/again.dump", $node->connstr('custom') ], 'dump of the restored');
$node->command_ok([ 'pg_restore', '-e', '-d', $node->connstr('again'), "$dir/again.dump" ], 'second restore');
is($node->safe_psql('again', $answers), $expected, 'same answers after the second restore');

# a session that has a flow in memory sees what a restore brings
my $session = $node->background_psql('postgres');
$session->query_safe(q{SELECT count(*) FROM jflow_post('/x', ARRAY['a'], 'news')});
$node->safe_psql('postgres', q{UPDATE jflow.executor SET uses_with = '{"min_df": 2}', shards = 3 WHERE name = 'shouter'});
is($session->query_safe(q{SELECT jflow_save('news')->'executors'->1->>'shards'}),
	'3', 'a change by hand reaches other sessions');
$session->quit;

$node->stop;
done_testing();
