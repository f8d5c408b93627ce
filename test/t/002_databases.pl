# Do several databases, encodings and sessions keep apart what is theirs, and
# does everything work without shared_preload_libraries?
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;

my $define = q{
	SET client_min_messages = error;
	CREATE EXTENSION jflow CASCADE;
	SELECT jflow_create('f');
	SELECT jflow_add('f', 'v', uses => 'TfidfVectorizer');
};
$node->safe_psql('postgres', q{CREATE DATABASE other});
$node->safe_psql('postgres', q{CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0});
$node->safe_psql('postgres', q{CREATE DATABASE ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0});
$node->safe_psql($_, $define) for ('postgres', 'other', 'latin', 'ascii');

# two databases have a flow of the same name each
$node->safe_psql('postgres', q{SELECT jflow_fit('f', 'v', $$VALUES ('one two')$$)});
$node->safe_psql('other', q{SELECT jflow_fit('f', 'v', $$VALUES ('two three four')$$)});
my $post = q{SET client_min_messages = error; SELECT sparse_embedding FROM jflow_post('/x', ARRAY['two'], 'f')};
is($node->safe_psql('postgres', $post), '{2:1}/2', 'the first database has its own model');
is($node->safe_psql('other', $post), '{3:1}/3', 'the second one has its own');

# without preload: one warning in a session, and it works
my ($ret, $out, $err) = $node->psql('postgres',
	q{SELECT count(*) FROM jflow_post('/x', ARRAY['two'], 'f'); SELECT count(*) FROM jflow_post('/x', ARRAY['two'], 'f')});
is($out, "1\n1", 'a post works without preload');
my $warnings = () = $err =~ /WARNING:  executors run in this session/g;
is($warnings, 1, 'and says once what is missing');

# terms are the same whatever the encoding
for my $db ('latin', 'ascii')
{
	my $setup = q{SET client_encoding = 'UTF8';};
	$setup = '' if $db eq 'ascii';
	$node->safe_psql($db, $setup . qq{SELECT jflow_fit('f', 'v', \$\$VALUES ('Größe \xc3\x84rger')\$\$)});
	my $model = $node->safe_psql($db, q{SELECT encode(model, 'hex') FROM jflow.model});
	like($model, qr/c3b6/, "$db: terms are stored in UTF-8");
	is($node->safe_psql($db, $setup . qq{SET client_min_messages = error;
		SELECT sparse_embedding FROM jflow_post('/x', ARRAY['GR\xc3\x96\xc3\x9fE'], 'f')}),
		'{1:1}/2', "$db: capitals beyond ASCII are lowered");
	is($node->safe_psql($db, $setup . qq{SET client_min_messages = error;
		SELECT sparse_embedding FROM jflow_post('/x', ARRAY['\xc3\xa4rger'], 'f')}),
		'{2:1}/2', "$db: small letters are found");
}
# bytes that are no UTF-8 end words and break nothing
is($node->safe_psql('ascii', qq{SET client_encoding = 'SQL_ASCII'; SET client_min_messages = error;
	SELECT sparse_embedding FROM jflow_post('/x', ARRAY[E'\\xff\\xfe\\xc3' || '\xc3\xa4rger' || E'\\xe4'], 'f')}),
	'{2:1}/2', 'invalid bytes are no word characters');

# names, terms and whole flows in an encoding that is neither
$node->safe_psql('postgres', q{CREATE DATABASE eucjp ENCODING 'EUC_JP' LOCALE 'C' TEMPLATE template0});
is($node->safe_psql('eucjp', q{SET client_min_messages = error; SET client_encoding = 'UTF8';
	CREATE EXTENSION jflow CASCADE;
	SELECT jflow_create('日本');
	SELECT jflow_add('日本', '実行', uses => 'TfidfVectorizer', replicas => 0);
	SELECT jflow_fit('日本', '実行', $$VALUES ('日本語 テキスト ＡＢＣ'), ('日本語 Ωmega')$$);
	SELECT string_agg(term, ' ') FROM jflow_terms('日本', '実行');
	SELECT jflow_load_yaml(replace(jflow_save_yaml('日本'), '日本', '語'));
	SELECT jflow_save('語')::text = replace(jflow_save('日本')::text, '日本', '語');
}), "\n\n(2,4)\nωmega テキスト 日本語 ａｂｃ\n語\nt", 'EUC_JP: terms, names and YAML');

# a new fit reaches sessions that hold the old model
my $session = $node->background_psql('postgres');
$session->query_safe('SET client_min_messages = error');
is($session->query_safe(q{SELECT sparse_embedding FROM jflow_post('/x', ARRAY['two'], 'f')}), '{2:1}/2', 'the old model');
$node->safe_psql('postgres', q{SELECT jflow_fit('f', 'v', $$VALUES ('two zero')$$)});
is($session->query_safe(q{SELECT sparse_embedding FROM jflow_post('/x', ARRAY['two'], 'f')}), '{1:1}/2', 'the new model');

# an extension that is dropped and made again within a session
is($session->query_safe(q{DROP EXTENSION jflow CASCADE; CREATE EXTENSION jflow;
	SELECT jflow_create('f'); SELECT jflow_add('f', 'a', replicas => 0);
	SELECT text FROM jflow_post('/x', ARRAY['again'], 'f')}), "\n\nagain", 'the session follows a new extension');
$session->quit;

# the extension in a schema of its own
$node->safe_psql('postgres', q{CREATE DATABASE schemas});
$node->safe_psql('schemas', q{
	SET client_min_messages = error;
	CREATE SCHEMA ext; CREATE SCHEMA "Vector Types";
	CREATE EXTENSION vector SCHEMA "Vector Types";
	CREATE EXTENSION jflow SCHEMA ext;
	SELECT ext.jflow_create('f');
	SELECT ext.jflow_add('f', 'v', uses => 'TfidfVectorizer', replicas => 0);
	SELECT ext.jflow_fit('f', 'v', $$VALUES ('one two')$$);
});
is($node->safe_psql('schemas', q{SELECT (d).sparse_embedding FROM ext.jflow_post('/x', ARRAY['two'], 'f') d}),
	'{2:1}/2', 'any schema will do, with nothing on the search_path');

$node->stop;
done_testing();
