# Does the client draw a flow, make one as a file says by the least changes, search,
# and say what the extension of this server does not have yet?
use strict;
use warnings;
use utf8;
use FindBin;
use lib $FindBin::RealBin;
use JflowCli;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
# the client's texts are UTF-8, whatever the environment says
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'jflow'\njflow.allow_superuser_flows = on\nmax_worker_processes = 20");
$node->start;
$node->safe_psql('postgres', q{SET client_min_messages = error; CREATE EXTENSION jflow CASCADE});
my $dir = PostgreSQL::Test::Utils::tempdir;
chdir $dir or die;

sub utf8_client
{
	my ($code, $out, $err) = client($node, @_);
	utf8::decode($out);
	return ($code, $out, $err);
}

# apply
my $yaml = q{
jtype: Flow
with: {name: shop}
executors:
  - name: a
  - {name: b, needs: gateway, replicas: 2, uses_with: {x: 1}}
  - {name: c, needs: gateway}
  - {name: d, needs: [a, b], shards: 3}
  - {name: side, floating: true}
  - {name: e, needs: [c, d], timeout_send: 5000}
};
write_file('flow.yaml', $yaml);
result_is([ client($node, '', 'apply', '--dry-run', 'flow.yaml') ], 0, qr/^flow "shop" is made\n  \+ a  BaseExecutor\n.*  \+ e  BaseExecutor\n$/s, qr/^$/, 'a new flow, shown');
is($node->safe_psql('postgres', 'SELECT count(*) FROM jflow_flows'), 0, 'is not made yet');
result_is([ client($node, '', 'apply', '--start', 'flow.yaml') ], 0, qr/\nstarted\n$/, qr/^$/, 'a new flow is made and started');
is($node->safe_psql('postgres', q{SELECT string_agg(name || needs::text || replicas || shards, ' ' ORDER BY position) FROM jflow_executors}),
	'a{gateway}11 b{gateway}21 c{gateway}11 d{a,b}13 side{d}11 e{c,d}11', 'as the file says');
result_is([ client($node, $yaml, 'apply', '-') ], 0, qr/^flow "shop": nothing to change\n$/, qr/^$/, 'again');
my $running = q{SELECT string_agg(pid::text, ',' ORDER BY pid) FROM jflow_stat_replicas WHERE executor IN ('a', 'c', 'e')};
my $pids = $node->safe_psql('postgres', $running);
$yaml =~ s/replicas: 2/replicas: 3/;
$yaml =~ s/  - \{name: side.*\n//;
$yaml .= "  - {name: f, needs: d, uses_with: {\"it's\": \"\\\"q\\\" \\\\ \xc3\xa4\"}, when: {tags.x: 1}, timeout_send: 250}\n";
write_file('flow.yaml', $yaml);
my $changes = qr/^flow "shop"\n  - side  BaseExecutor\n  ~ b  replicas: 2 -> 3\n  \+ f  BaseExecutor\n/;
result_is([ client($node, '', 'apply', '-n', 'flow.yaml') ], 0, $changes, qr/^$/, 'changes, shown');
result_is([ client($node, '', 'apply', 'flow.yaml') ], 0, $changes, qr/^$/, 'changes, made');
is($node->safe_psql('postgres', q{SELECT string_agg(name || replicas, ' ' ORDER BY position) FROM jflow_executors}), 'a1 b3 c1 d1 e1 f1', 'they are');
is($node->safe_psql('postgres', q{SELECT uses_with, "when", timeout, needs FROM jflow_executors WHERE name = 'f'}), qq({"it's": "\\"q\\" \\\\ \xc3\xa4"}|{"tags.x": 1}|00:00:00.25|{d}), 'with all attributes');
is($node->safe_psql('postgres', $running), $pids, 'replicas of what did not change are the same processes');
result_is([ client($node, '', 'apply', 'flow.yaml') ], 0, qr/nothing to change/, qr/^$/, 'then there is nothing to change');
write_file('flow.yaml', $yaml =~ s/x: 1\}\}/x: 2}, replicas: 4}/r =~ s/replicas: 3, //r);
result_is([ client($node, '', 'apply', 'flow.yaml') ], 3, qr/  ~ b  replicas: 3 -> 4\n  ~ b  uses_with: \{"x": 1\} -> \{"x": 2\}  \(not possible in place\)\n/, qr/nothing was changed.*^HINT/ms, 'what cannot be changed is refused');
is($node->safe_psql('postgres', q{SELECT replicas FROM jflow_executors WHERE name = 'b'}), 3, 'and nothing else is done');
write_file('flow.yaml', $yaml =~ s/.*name: d,.*\n//r);
result_is([ client($node, '', 'apply', 'flow.yaml') ], 3, undef, qr/ERROR:  42704/, 'a need that is none');
result_is([ client($node, "executors: [{nam: x}]\n", 'apply', '-') ], 3, qr/^$/, qr/ERROR:  22023: unknown key "nam".*^HINT:  Did you mean "name"/ms, 'an unknown key');
result_is([ client($node, "a: [\n", 'apply', '-') ], 3, qr/^$/, qr/ERROR:  22023: invalid YAML/, 'no YAML');
result_is([ client($node, "a: \xff\n", 'apply', '-') ], 1, qr/^$/, qr/not UTF-8/, 'no UTF-8');
result_is([ client($node, '', 'apply', 'missing.yaml') ], 1, qr/^$/, qr/could not open "missing.yaml": No such file/, 'no file');
result_is([ client($node, '', 'apply') ], 1, qr/^$/, qr/name one file/, 'no name');
is($node->safe_psql('postgres', q{SELECT count(*) FROM jflow_flows WHERE flow <> 'shop'}), 0, 'no trial is left');

# plot
my ($code, $out, $err) = utf8_client('', 'plot', 'shop', '--format', 'text');
is($out, <<'EOT', 'a flow in the terminal');
● shop
├─┬─┐
● │ │ a  BaseExecutor
│ ● │ b  BaseExecutor, 3 replicas
│ │ ● c  BaseExecutor
├─┘ │
●   │ d  BaseExecutor, 3 shards
├───┼─┐
├───┘ │
●     │ e  BaseExecutor
│     ● f  BaseExecutor
├─────┘
● answer
EOT
($code, $out, $err) = client($node, { LC_ALL => 'C' }, 'plot', 'shop', '--format=text');
is($out, <<'EOT', 'in ASCII');
* shop
+-+-+
* | | a  BaseExecutor
| * | b  BaseExecutor, 3 replicas
| | * c  BaseExecutor
+-+ |
*   | d  BaseExecutor, 3 shards
+---+-+
+---+ |
*     | e  BaseExecutor
|     * f  BaseExecutor
+-----+
* answer
EOT
result_is([ client($node, '', 'plot', 'shop') ], 0, qr/^flowchart LR\n/, qr/^$/, 'mermaid in a pipe');
result_is([ client($node, '', 'plot', '-f', 'shop', '-o', 'flow.dot') ], 0, qr/^$/, qr/^$/, 'a file');
like(read_file('flow.dot'), qr/^digraph .*"?b\b.*\}\n$/s, 'in the format that its name says');
if (system('command -v dot >/dev/null 2>&1') == 0)
{
	client($node, '', 'plot', '-o', 'flow.svg');
	like(read_file('flow.svg'), qr/<svg.*<\/svg>/s, 'SVG, of the only flow');
}
result_is([ client($node, '', 'plot', '--format', 'text', 'nix') ], 3, qr/^$/, qr/ERROR:  42704: flow "nix" does not exist/, 'a flow that is none');
result_is([ client($node, '', 'plot', '--format', 'png') ], 3, qr/^$/, qr/ERROR:  22023/, 'a format that is none');
result_is([ client($node, '', 'plot', '-o', '/nowhere/x.dot') ], 1, qr/^$/, qr/could not open/, 'a file that cannot be');
$node->safe_psql('postgres', q{SET client_min_messages = error; SELECT jflow_create('empty')});
is(join('|', client($node, { LC_ALL => 'C' }, 'plot', 'empty', '--format=text')), "0|* empty\n* answer\n|", 'a flow without executors');
result_is([ client($node, '', 'plot') ], 1, qr/^$/, qr/name one of the flows: empty, shop/, 'which flow');

# search, in a pipe
$node->safe_psql('postgres', q{
	SET client_min_messages = error;
	CREATE FUNCTION find(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$
	BEGIN
		docs[1].matches := ARRAY(SELECT ROW('id' || i, i, docs[1].text || E'\n' || i, NULL, jsonb_build_object('p', parameters))::jflow_match
			FROM generate_series(1, (parameters->>'limit')::int) i);
		RETURN docs;
	END $$;
	SELECT jflow_create('find');
	SELECT jflow_add('find', 'finder', uses => 'find', replicas => 0);
	SELECT jflow_create('nothing');
	SELECT jflow_add('nothing', 'e', replicas => 0);
});
($code, $out, $err) = utf8_client('', 'search', '-f', 'find', '-k', 2, 'two', 'words');
like($out, qr/^  │ distance │ id  │ text        │ tags\n─+┼.*\n1 │   1\.0000 │ id1 │ two words 1 │ .*\n2 │   2\.0000 │ id2 │ two words 2 │ .*\n$/, 'a table');
($code, $out, $err) = utf8_client('', 'search', '-f', 'find', '--json', '-k1', '--filter', '{"a": 1}', '--parameters', '{"b": 2}', 'x');
like($out, qr/^\{"id": "id1", .*"p": \{(?=.*"b": 2)(?=.*"filter": \{"a": 1\}).*"text": "x\\n1".*\}\n$/, 'JSON, with filter and parameters');
result_is([ client($node, '', 'search', '-f', 'nothing', 'x') ], 0, qr/^no matches$/, qr/^$/, 'nothing found');
result_is([ client($node, '', 'search', '-f', 'nothing', '--json', 'x') ], 0, qr/^$/, qr/^$/, 'as JSON');
$node->safe_psql('postgres', q{CREATE TABLE big AS SELECT repeat('long text ', 1000) AS t});
($code, $out, $err) = utf8_client({ COLUMNS => 60 }, 'search', '-f', 'find', '-k1', 'long text ' x 1000);
cmp_ok(length($_), '<=', 60, 'COLUMNS is the width of a pipe') for (split /\n/, $out)[0];

# explain: a line per call, and the plan of a search
result_is([ client($node, '', 'explain', '-f', 'find', '--parameters', '{"limit": 1}', '/search', 'apples', 'and', 'pears') ], 0,
	qr/^.*executor.*docs_in.*run_ms.*hop_ms *\n.*\n.*finder.*1.*1.*\n$/, qr/^$/, 'explain');
$node->safe_psql('postgres', q{
	SELECT jflow_create('stored');
	SELECT jflow_add('stored', 'store', 'PQLiteIndexer', uses_with => '{"dim": 2}', replicas => 0);
	SELECT count(*) FROM jflow_post('/index', '{"id": "a", "embedding": [1, 2]}'::jsonb, 'stored');
});
result_is([ client($node, '', 'explain', '-f', 'stored', '--docs', '{"embedding": [2, 1]}', '/search') ], 0,
	qr/\n.*store.*1.*1.*\n\nstore, shard 0:\nLimit .*\n  ->  Sort .*actual.*\n.*Seq Scan on/s, qr/^$/, 'explain with a plan');
like((client($node, '', 'explain', '-f', 'stored', '--json', '--docs', '{"embedding": [2, 1]}', '/search'))[1],
	qr/^\{.*"plan": "Limit .*"executor": "store".*\}\n$/, 'explain as JSON');
result_is([ client($node, '', 'explain', '-f', 'stored', '/search', 'x') ], 3, qr/^$/, qr/ERROR:  22004: /, 'explain what fails');

# top, in a pipe
result_is([ client($node, '', 'top', '-n1', '-f', 'shop') ], 0, qr/^jflow  memory.*^FLOW +EXECUTOR.*^shop +a +started +1\/1.*^ +PID FLOW.*^ +\d+ shop +a +0\.0 +idle/ms, qr/^$/, 'top in a pipe');

# sync: a table in step, shown and steered
$node->safe_psql('postgres', q{
	SET client_min_messages = error;
	CREATE TABLE ticket (id int PRIMARY KEY, title text);
	INSERT INTO ticket VALUES (1, 'one'), (2, 'two');
	CREATE FUNCTION refuse(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$
	BEGIN
		IF EXISTS (SELECT FROM unnest(docs) d WHERE d.text = 'bad') THEN RAISE EXCEPTION 'a bad ticket' USING ERRCODE = '22000'; END IF;
		RETURN NULL;
	END $$;
	SELECT jflow_create('desk');
	SELECT jflow_add('desk', 'check', 'refuse', replicas => 0);
	SELECT jflow_add('desk', 'store', 'PQLiteIndexer', uses_with => '{"field": "embedding", "dim": 2}', requests => '{"/index": "refuse"}', replicas => 0);
});
$node->safe_psql('postgres', q{SELECT jflow_sync('tickets', 'desk', 'ticket', '{"text": "title"}', retries => 1)});
$node->safe_psql('postgres', q{SELECT jflow_start('desk')});
$node->poll_query_until('postgres', q{SELECT state = 'following' FROM jflow_sync_status}) or die;
result_is([ utf8_client('', 'sync') ], 0, qr/^name +│ flow +│ .*^tickets │ desk +│ ticket.*following/ms, qr/^$/, 'the tables in step');
result_is([ client($node, '', 'sync', '--json') ], 0, qr/^\{.*"name": "tickets".*\}$/, qr/^$/, 'as JSON');
result_is([ client($node, '', 'sync', 'run', 'tickets') ], 0, qr/^$/, qr/^$/, 'sync run');
result_is([ client($node, '', 'sync', 'pause', 'tickets') ], 0, qr/^$/, qr/^$/, 'sync pause');
is($node->safe_psql('postgres', q{SELECT state FROM jflow_sync_status}), 'paused', 'it is');
result_is([ client($node, '', 'sync', 'run', 'tickets') ], 3, qr/^$/, qr/ERROR:  55000: /, 'and cannot be run');
$node->safe_psql('postgres', q{INSERT INTO ticket VALUES (3, 'bad')});
result_is([ client($node, '', 'sync', 'resume', 'tickets') ], 0, qr/^$/, qr/^$/, 'sync resume');
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM jflow_sync_errors WHERE next_try IS NULL}) or die;
result_is([ utf8_client('', 'sync', 'errors', 'tickets') ], 0, qr/^name .*^tickets │ 3 +│ +2 │ 22000 +│ a bad ticket/ms, qr/^$/, 'a row that failed');
$node->safe_psql('postgres', q{UPDATE ticket SET title = 'good' WHERE id = 3});
result_is([ client($node, '', 'sync', 'retry', 'tickets') ], 0, qr/^$/, qr/^$/, 'sync retry');
$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM jflow_sync_errors}) or die;
result_is([ client($node, '', 'sync', 'errors', 'tickets') ], 0, qr/^name.*\n.*\n$/, qr/^$/, 'no row that failed');
my $store = $node->safe_psql('postgres', q{SELECT id FROM jflow.sync WHERE name = 'tickets'});
result_is([ client($node, '', 'sync', 'resync', '--skip-failed', '--uses-with', '{"clerk": {"more": 1}}', 'tickets') ], 3, qr/^$/, qr/ERROR: .*"clerk"/, 'sync resync with an executor that is none');
result_is([ client($node, '', 'sync', 'resync', 'tickets') ], 0, qr/^$/, qr/^$/, 'sync resync');
$node->poll_query_until('postgres', qq{SELECT count(*) = 1 AND bool_and(id > $store AND name = 'tickets') FROM jflow.sync}) or die;
result_is([ client($node, '', 'sync', 'run', '--skip-failed', 'tickets') ], 1, undef, qr/are for resync/, 'its options are not for others');
result_is([ client($node, '', 'sync', 'pause', 'none') ], 3, qr/^$/, qr/ERROR:  42704: /, 'a sync that is none');
result_is([ client($node, '', 'sync', 'stop', 'x') ], 1, undef, qr/unknown action "stop"/, 'an action that is none');
result_is([ client($node, '', 'sync', 'run') ], 1, undef, qr/give nothing, or what to do and the name/, 'an action without a name');

# what is typed in another encoding than UTF-8 is what it says, also in the answer
SKIP:
{
	skip 'SKIPPED: the locale of another encoding, since it cannot be made here', 3
		if system("localedef -i de_DE -f ISO-8859-1 $dir/de_DE.ISO-8859-1 >/dev/null 2>&1") >> 8 > 1 || !-d "$dir/de_DE.ISO-8859-1";
	my $latin = { LC_ALL => 'de_DE.ISO-8859-1', LOCPATH => $dir };
	result_is([ client($node, $latin, 'search', '-f', 'find', '-k1', "\xe4pfel") ], 0, qr/^1 \| +1\.0000 \| id1 \| \xe4pfel 1 /m, qr/^$/, 'a search in Latin 1');
	result_is([ client($node, $latin, 'search', '-f', 'find', '--json', '-k1', "\xe4") ], 0, qr/"text": "\xc3\xa4\\n1"/, qr/^$/, 'JSON is UTF-8');
	result_is([ client($node, $latin, 'status', '-f', "f\xfcr") ], 3, undef, qr/flow "f\xc3\xbcr" does not exist/, 'the name of a flow');
}
result_is([ client($node, { LC_ALL => 'C' }, 'search', '-f', 'find', '--json', '-k1', "\xc3\xa4") ], 0, qr/"text": "\xc3\xa4\\n1"/, qr/^$/, 'UTF-8 in the locale C');

# an extension that is older than the client
$node->safe_psql('postgres', 'CREATE DATABASE older');
$node->safe_psql('older', q{
	SET client_min_messages = error;
	CREATE EXTENSION jflow CASCADE;
	DO $$
	DECLARE object text;
	BEGIN
		FOREACH object IN ARRAY '{VIEW jflow_metrics,VIEW jflow_sync_status,VIEW jflow_sync_errors,FUNCTION jflow_explain,FUNCTION jflow_sync_pause,FUNCTION jflow_resync,FUNCTION jflow_yaml}'::text[] LOOP
			EXECUTE 'ALTER EXTENSION jflow DROP ' || object;
			EXECUTE 'DROP ' || object || ' CASCADE';
		END LOOP;
	END $$});
for ([ 'jflow_explain', 'explain', '/search', 'x' ], [ 'jflow_metrics', 'metrics' ], [ 'jflow_sync_status', 'sync' ],
	[ 'jflow_sync_errors', 'sync', 'errors', 'x' ], [ 'jflow_sync_pause', 'sync', 'pause', 'x' ], [ 'jflow_resync', 'sync', 'resync', 'x' ], [ 'jflow_yaml', 'apply', 'flow.yaml' ])
{
	my ($object, @args) = @$_;
	result_is([ client($node, '', '-d', 'older', @args) ], 3, qr/^$/, qr/"jflow" 0\.1\.0 of this database has no $object\nHINT:  .*ALTER EXTENSION jflow UPDATE/, "@args");
}

# a row that is to be tried again
$node->safe_psql('older', q{
	ALTER EXTENSION jflow DROP FUNCTION jflow_sync_run;
	DROP FUNCTION jflow_sync_run;
	CREATE FUNCTION jflow_sync_run(name text, timeout interval DEFAULT NULL) RETURNS bool LANGUAGE sql AS 'SELECT false'});
result_is([ client($node, '', '-d', 'older', 'sync', 'run', 'tickets') ], 3, qr/^$/, qr/not all rows of "tickets" are in its store/, 'rows that failed are told of by sync run');

# the text form of metrics, quoted as it asks for
$node->safe_psql('older', q{CREATE VIEW jflow_metrics AS SELECT * FROM (VALUES
	('jflow_run_seconds_bucket', 'histogram', 'how long', '{"flow": "f", "le": "+Inf"}'::jsonb, 3::float8),
	('jflow_requests_total', 'counter', E'a "count"\nof \\\\all', '{"flow": "a\"b", "endpoint": "/x"}', 12),
	('jflow_run_seconds_count', 'histogram', 'how long', '{"flow": "f"}', 3),
	('jflow_run_seconds_bucket', 'histogram', 'how long', '{"flow": "f", "le": "0.5"}', 1),
	('jflow_run_seconds_bucket', 'histogram', 'how long', '{"flow": "f", "le": "10"}', 2),
	('jflow_run_seconds_sum', 'histogram', 'how long', '{"flow": "f"}', 1.5),
	('jflow_up', 'gauge', 'up', NULL, 1)) v (name, type, help, labels, value)});
is((client($node, '', '-d', 'older', 'metrics'))[1], <<'EOT', 'OpenMetrics');
# TYPE jflow_requests counter
# HELP jflow_requests a \"count\"\nof \\all
jflow_requests_total{endpoint="/x",flow="a\"b"} 12
# TYPE jflow_run_seconds histogram
# HELP jflow_run_seconds how long
jflow_run_seconds_bucket{flow="f",le="0.5"} 1
jflow_run_seconds_bucket{flow="f",le="10"} 2
jflow_run_seconds_bucket{flow="f",le="+Inf"} 3
jflow_run_seconds_count{flow="f"} 3
jflow_run_seconds_sum{flow="f"} 1.5
# TYPE jflow_up gauge
# HELP jflow_up up
jflow_up 1
# EOF
EOT

chdir '/';
$node->stop;
done_testing();
