# Can the owner of a database dump its flows, and does a restore bring them back to the roles of those names?
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
my $dir = PostgreSQL::Test::Utils::tempdir();

$node->safe_psql('postgres', q{
	CREATE ROLE dbo LOGIN; CREATE ROLE flow_owner LOGIN; CREATE ROLE flow_user LOGIN; CREATE ROLE stranger LOGIN;
	CREATE DATABASE app OWNER dbo;
	CREATE DATABASE copy OWNER dbo; CREATE DATABASE later OWNER dbo;
});
$node->safe_psql('app', q{
	SET client_min_messages = error;
	CREATE EXTENSION jflow CASCADE;
	CREATE SCHEMA data AUTHORIZATION flow_owner;
	GRANT USAGE ON SCHEMA data TO dbo;
	ALTER DEFAULT PRIVILEGES FOR ROLE flow_owner IN SCHEMA data GRANT SELECT ON TABLES TO dbo;
	SET ROLE flow_owner;
	CREATE FUNCTION data.shout(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
		LANGUAGE sql AS 'SELECT array_agg(jflow_doc(id => d.id, text => upper(d.text))) FROM unnest(docs) d';
	SELECT jflow_define('Shouter', '{"/shout": "data.shout"}');
	SELECT jflow_create('news');
	SELECT jflow_add('news', 'shouter', uses => 'Shouter', replicas => 0);
	SELECT jflow_add('news', 'words', uses => 'TfidfVectorizer', replicas => 0);
	SELECT jflow_add('news', 'store', uses => 'PQLiteIndexer', workspace => 'data', uses_with => '{"dim": 4}', replicas => 0);
	SELECT jflow_fit('news', 'words', $$VALUES ('the quick fox'), ('the lazy dog')$$);
	SELECT jflow_train('book', 'SELECT ARRAY[i, 1]::vector FROM generate_series(1, 50) i');
	SELECT jflow_grant('news', 'flow_user', '{/shout}');
});

# a renamed role is dumped by its new name
$node->safe_psql('postgres', 'ALTER ROLE flow_owner RENAME TO flow_owner2; CREATE ROLE flow_owner LOGIN');
is($node->safe_psql('app', 'SET ROLE flow_owner2; SELECT text FROM jflow_post(\'/shout\', ARRAY[\'dog\'], \'news\')'),
	'DOG', 'the renamed owner posts');

my @as_dbo = ('-U', 'dbo', $node->connstr('app'));
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/app.dump", @as_dbo ], 'the owner of the database dumps it');
$node->command_fails_like([ 'pg_dump', '-Fc', '-f', "$dir/no.dump", '-U', 'stranger', $node->connstr('app') ],
	qr/permission denied|may lack SELECT privilege/, 'another role does not');
my (undef, undef, $err) = $node->psql('app', 'SELECT * FROM jflow.executor', extra_params => [ '-U', 'stranger' ]);
like($err, qr/permission denied/, 'nor does it read definitions');

my $state = q{
	SELECT jflow_save('news');
	SELECT flow, owner FROM jflow.flow;
	SELECT * FROM jflow.flow_grant;
	SELECT class, owner FROM jflow.class WHERE NOT builtin;
	SELECT uses, class_owner FROM jflow.executor ORDER BY "position";
	SELECT codebook, owner, md5(model) FROM jflow.codebook;
	SELECT docs, terms, md5(model) FROM jflow.model;
};
my $expected = $node->safe_psql('app', $state);
unlike($expected, qr/flow_owner\b/, 'the old name is nowhere');
$node->command_ok([ 'pg_restore', '-e', '-d', $node->connstr('copy'), "$dir/app.dump" ], 'a superuser restores it');
is($node->safe_psql('copy', $state), $expected, 'everything is there');
is($node->safe_psql('copy', 'SELECT count(*) FROM jflow.role'), 0, 'but what the names meant elsewhere');
is($node->safe_psql('copy', 'SET ROLE flow_user; SELECT text FROM jflow_post(\'/shout\', ARRAY[\'dog\'], \'news\')'),
	'DOG', 'a grantee posts where he was granted');
(undef, undef, $err) = $node->psql('copy', 'SET ROLE flow_user; SELECT text FROM jflow_post(\'/other\', ARRAY[\'dog\'], \'news\')');
like($err, qr/permission denied for endpoint/, 'and nowhere else');

# that post has told what the names mean here
$node->safe_psql('postgres', 'ALTER ROLE flow_owner2 RENAME TO flow_owner3; CREATE ROLE flow_owner2 LOGIN');
is($node->safe_psql('copy', 'SET ROLE flow_owner3; SELECT text FROM jflow_post(\'/shout\', ARRAY[\'dog\'], \'news\')'),
	'DOG', 'the owner is followed after a restore');
(undef, undef, $err) = $node->psql('copy', 'SET ROLE flow_owner2; SELECT jflow_drop(\'news\')');
like($err, qr/must be owner of flow/, 'a role of his old name owns nothing');

# restored while the name belonged to another, or to nobody
$node->safe_psql('postgres', 'DROP ROLE flow_owner2');
$node->command_fails([ 'pg_restore', '-e', '-d', $node->connstr('later'), "$dir/app.dump" ],
	'a restore without the role stops');
$node->safe_psql('postgres', 'DROP DATABASE later; CREATE DATABASE later OWNER dbo');
$node->command_fails([ 'pg_restore', '-d', $node->connstr('later'), "$dir/app.dump" ], 'or goes on without it');
(undef, undef, $err) = $node->psql('later', 'SELECT text FROM jflow_post(\'/shout\', ARRAY[\'dog\'], \'news\')');
like($err, qr/role "flow_owner2", the owner of flow "news", does not exist/, 'then the flow is nobody\'s');
$node->safe_psql('later', 'SELECT jflow_adopt(\'flow_owner2\', \'flow_owner3\')');
is($node->safe_psql('later', 'SELECT flow, owner FROM jflow_flows'), 'news|flow_owner3', 'until it is given to somebody');

done_testing();
