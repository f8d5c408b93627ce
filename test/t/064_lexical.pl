# Does the page on lexical search run as it stands?  Do replicas answer a hybrid search as the caller's session does, also while indexes are
# made and switched, and after a dump and restore?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $top = "$ENV{TESTDIR}/../src";
my $node = new_node('main');
my $dir = PostgreSQL::Test::Utils::tempdir();

# the page, after the tutorial's table
$node->safe_psql('postgres', 'CREATE DATABASE page');
my ($table) = slurp_file("$top/docs/tutorial.md") =~ /^(CREATE [^\n]*TABLE line.*?INSERT INTO post [^\n]*\n)/ms;
my @snippets = slurp_file("$top/docs/lexical.md") =~ /^```sql\n(.*?)^```/msg;
chdir $top or die "could not change to $top: $!";
append_to_file("$dir/page.sql", join("\n", 'SET client_min_messages = warning;', 'CREATE EXTENSION IF NOT EXISTS jflow CASCADE;', $table, @snippets));
my ($out, $err) = run_command([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('page'), '-f', "$dir/page.sql" ]);
is($err, '', 'the page runs');
like($out, qr{^space/1\|-[\d.]+\|.*<b>moon</b>}m, 'a search by words');
like($out, qr/^41\|\d+$/m, 'a fit that adds');
like($out, qr/^encoder\|41\|2\|\nwords\/0\|\|\|40$/m, 'the status of both executors');
like($out, qr{^space/4\|-[\d.]+\|\{"spelt": \d+, "words": 1\}}m, 'a hybrid search');

# the same documents in a flow of replicas and in one of the caller's session
$node->safe_psql('postgres', q{
	SET client_min_messages = error;
	CREATE EXTENSION jflow CASCADE;
	CREATE ROLE flow_owner LOGIN;
	GRANT CREATE ON DATABASE postgres TO flow_owner;
	GRANT CREATE ON SCHEMA public TO flow_owner;
	SET ROLE flow_owner;
	CREATE TABLE texts AS SELECT i AS id, (SELECT string_agg('word' || floor(400 * (abs(hashint4(i * 100 + j)) / 2147483648.0) ^ 3)::int, ' ') FROM generate_series(1, 3 + i % 20) j) AS text
		FROM generate_series(1, 5400) i;
	CREATE TABLE queries AS SELECT 'q' || i AS id, 'word' || i % 40 || ' word' || (i * 37) % 400 || ' word7' AS text FROM generate_series(1, 25) i;
	CREATE FUNCTION meaning(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql AS $$
		SELECT array_agg(jflow_doc(id => d.id, text => d.text, embedding => ARRAY[length(d.text), hashtext(d.text) & 15, 1]::vector)) FROM unnest(docs) d $$;
});
my $owner = $node->connstr('postgres') . ' user=flow_owner';
sub sql { return $node->safe_psql('postgres', $_[0], connstr => $owner) }
for my $flow (qw(here there))
{
	my $replicas = $flow eq 'here' ? 0 : 1;

	sql(qq{
		SELECT jflow_create('$flow');
		SELECT jflow_add('$flow', 'encoder', uses => 'BM25Vectorizer', replicas => $replicas);
		SELECT jflow_add('$flow', 'words', uses => 'PQLiteIndexer', replicas => $replicas, shards => 2, polling => '{"/index": "hash"}', uses_with => '{"field": "sparse_embedding", "metric": "ip"}');
		SELECT jflow_add('$flow', 'meaning', uses => 'meaning', replicas => $replicas, needs => '{gateway}');
		SELECT jflow_add('$flow', 'near', uses => 'PQLiteIndexer', replicas => $replicas, uses_with => '{"field": "embedding", "metric": "l2", "index": "none"}');
		SELECT jflow_add('$flow', 'fused', uses => 'RRFRanker', replicas => $replicas, needs => '{words,near}');
	});
}
sql(q{SELECT jflow_start('there')});
is(sql(q{SELECT jflow_wait('there')}), 't', 'the replicas run');
for my $flow (qw(here there))
{
	is(sql(qq{SELECT docs FROM jflow_post_query('/fit', 'SELECT id, text FROM texts', '$flow', target_executor => 'encoder')}), 5400, "$flow: fitted");
	is(sql(qq{SELECT docs FROM jflow_post_query('/index', 'SELECT id, text FROM texts WHERE id <= 5300', '$flow')}), 5300, "$flow: indexed");
}

# of each page, also beyond the window, highlighted, and of the words alone
sub answers
{
	my ($flow, $target) = @_;

	return join("\n", map { sql(qq{
		SELECT d.id, m.id, m.score, m.tags FROM jflow_post('/search', (SELECT array_agg(jflow_doc(id => id, text => text) ORDER BY id) FROM queries), '$flow', '$_', target_executor => '$target') d,
			unnest(d.matches) m}) } '{}', '{"limit": 7, "offset": 4, "highlight": true}', '{"limit": 60, "offset": 90, "window": 10}');
}
my $expected = answers('here', '.*');
my $words = answers('here', 'encoder|words');
is(() = $expected =~ /^q\d+\|/mg, 25 * (10 + 7 + 60), 'all pages are full');
like($expected, qr/"highlight": ".*<b>/, 'and highlighted');
is(answers('there', '.*'), $expected, 'replicas answer the same');

sub made_by { return "SELECT count(*) FROM pg_class c JOIN pg_am a ON a.oid = c.relam WHERE relname LIKE 'there\\_words%\\_jflow\\_%' AND amname = '$_[0]' AND relkind = 'i'" }
ok($node->poll_query_until('postgres', made_by('inverted'), '2'), 'the mover makes indexes');
is(answers('there', 'encoder|words'), $words, 'answers with them are the same');
sql(q{SELECT jflow_reindex('there', 'words', 'pq')});
ok($node->poll_query_until('postgres', made_by('pq'), '2'), 'another index by one call');
sql(q{SELECT jflow_reindex('there', 'words', 'inverted')});
ok($node->poll_query_until('postgres', made_by('inverted'), '2'), 'and back');
is(sql(made_by('pq')), 0, 'the old ones are gone');
is(answers('there', 'encoder|words'), $words, 'answers are the same again');
my $oids = sql(made_by('inverted') =~ s/count\(\*\)/string_agg(c.oid::text, ',' ORDER BY c.oid)/r);
sql(q{SELECT jflow_reindex('there', 'words')});
my $rounds = 0;
my $differ = 0;
do { $differ++ if answers('there', 'encoder|words') ne $words } while (++$rounds < 100
	&& sql(made_by('inverted') . " AND c.oid IN ($oids)") > 0);
is($differ, 0, 'nor do they change while indexes are made in place of others');
# the mover lets posts go first for a while, which can be longer than these took
ok($node->poll_query_until('postgres', made_by('inverted') . " AND c.oid IN ($oids)", '0'), 'which are gone then');

# more shards, and documents that come later
sql(q{SELECT jflow_scale('there', 'words', shards => 3)});
is(answers('there', 'encoder|words'), $words, 'answers while rows are moved are the same');
ok($node->poll_query_until('postgres', made_by('inverted'), '3'), 'the new shard gets its index without a post that writes');
is(answers('there', 'encoder|words'), $words, 'and afterwards');
sql(qq{SELECT docs FROM jflow_post_query('/index', 'SELECT id, text FROM texts WHERE id > 5300', '$_')}) for qw(here there);
$expected = answers('here', '.*');
is(answers('there', '.*'), $expected, 'with documents that came later');

# a dump and restore
my $models = $node->safe_psql('postgres', 'SELECT flow, docs, terms FROM jflow.model ORDER BY flow');
my $status = q{SELECT id, tags->'rows', tags->'index', tags->'docs', tags->'mean_length', tags->'fitted' FROM jflow_post('/status', NULL::jflow_doc[], 'here') ORDER BY 1};
my $before = sql($status);
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/dump", $node->connstr('postgres') ], 'dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'pg_restore', '-e', '-j', '2', '-d', $node->connstr('restored'), "$dir/dump" ], 'restore');
$owner = $node->connstr('restored') . ' user=flow_owner';
is($node->safe_psql('restored', 'SELECT flow, docs, terms FROM jflow.model ORDER BY flow'), $models, 'models are restored');
is(sql($status), $before, 'status is the same');
is(answers('here', '.*'), $expected, 'answers are the same');
sql(q{SELECT docs FROM jflow_fit('here', 'encoder', 'SELECT ''neverseen''', incremental => true)});
is(sql(q{SELECT max(index) = count(*), count(*) FILTER (WHERE term = 'neverseen' AND index > 300) FROM jflow_terms('here', 'encoder')}),
	't|1', 'terms go on with new numbers');

$node->stop;
done_testing();
