# Does a flow whose shards are flows on other servers answer as one whose shards are here, all or nothing, and say clearly when a server is away?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes 'time';

my $front = new_node('front');
my $far = new_node('far');
my ($host, $port) = ($far->host, $far->port);
my @nodes = qw(n1 n2 n3);

prepare_database($front);
$far->safe_psql('postgres', q{CREATE ROLE flow_owner LOGIN; CREATE ROLE stranger LOGIN});
$far->safe_psql('postgres', "CREATE DATABASE $_") for @nodes;
for my $db (@nodes)
{
	prepare_database($far, $db);
	owner_sql($far, q{SELECT jflow_create('news'); SELECT jflow_add('news', 'indexer', uses => 'PQLiteIndexer', replicas => 0, uses_with => '{"dim": 3, "metric": "l2"}')}, $db);
	owner_sql($far, q{SELECT jflow_create('other'); SELECT jflow_add('other', 'e', uses => 'shout', replicas => 0)}, $db);
	owner_sql($far, q{SELECT jflow_create('broken'); SELECT jflow_add('broken', 'e', uses => 'fail', replicas => 0)}, $db);
	owner_sql($far, q{SELECT jflow_create('slow'); SELECT jflow_add('slow', 'e', uses => 'gate', replicas => 0)}, $db);
}
$front->safe_psql('postgres', "SET client_min_messages = error; CREATE EXTENSION postgres_fdw");
for my $db (@nodes)
{
	$front->safe_psql('postgres', qq{CREATE SERVER $db FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname '$db', connect_timeout '5');
		GRANT USAGE ON FOREIGN SERVER $db TO flow_owner;
		CREATE USER MAPPING FOR flow_owner SERVER $db OPTIONS (user 'flow_owner', password_required 'false')});
}

# A flow on the front of one RemoteFlow.
sub add_remote
{
	my ($flow, $options, $extra) = @_;
	$extra = $extra ? ", $extra" : ', replicas => 0';
	owner_sql($front, qq{SELECT jflow_create('$flow');
		SELECT jflow_add('$flow', 'far', uses => 'RemoteFlow', uses_with => '$options'$extra)});
	return;
}

sub far_count
{
	my ($like) = @_;
	$like = '%' unless defined $like;
	return join ' ', map { ask($far, "SELECT count(*) FROM jflow_post('/filter', NULL::jflow_doc[], 'news', '{\"limit\": 1000}') WHERE id LIKE '$like'", $_) } @nodes;
}

my $docs = q{(SELECT array_agg(jflow_doc(id => 'd' || i, text => 'text "' || i || '"', tags => jsonb_build_object('n', i % 7, 'q', E'\'"\\\\'),
	embedding => ARRAY[i * 0.1, (i * 37) % 11, 1.0 / (i + 1)]::vector)) FROM generate_series(1, 300) i)};

# equal answers
add_remote('news', '{"servers": ["n1", "n2"], "flow": "news"}');
owner_sql($front, q{SELECT jflow_create('local'); SELECT jflow_add('local', 'indexer', uses => 'PQLiteIndexer', replicas => 0, shards => 2, uses_with => '{"dim": 3, "metric": "l2"}')});
is(ask($front, "SELECT shards, uses_with->'nodes' FROM jflow_executors WHERE flow = 'news'"), '2|["n1", "n2"]', 'a server is a shard, and nodes have their names');
is(ask($front, "SELECT count(*) FROM jflow_post('/index', $docs, 'news')"), 300, 'documents are stored there');
ask($front, "SELECT count(*) FROM jflow_post('/index', $docs, 'local')");
my @counts = split / /, far_count();
is($counts[0] + $counts[1], 300, 'each once');
ok($counts[0] > 100 && $counts[1] > 100, "by halves: @counts");
for my $case (['', '{}'], ['limit', '{"limit": 25}'], ['page', '{"limit": 5, "offset": 7}'],
	['filter', '{"filter": {"n": {"$lt": 3}}, "limit": 20}'], ['recall', '{"recall": 0.99, "limit": 3}'])
{
	my ($name, $parameters) = @$case;
	my $query = sub {
		return ask($front, qq{SELECT string_agg(m.id || ' ' || m.score || coalesce(m.text, '') || coalesce(m.tags::text, ''), ',' ORDER BY n)
			FROM jflow_post('/search', ARRAY[jflow_doc(id => 'q', embedding => '[3,4,0]'), jflow_doc(id => 'r', embedding => '[20,1,0]')], '$_[0]', '$parameters') d, unnest(d.matches) WITH ORDINALITY u(id, score, text, uri, tags, n)});
	};
	is($query->('news'), $query->('local'), "a search answers as a local one: $name");
}
for my $case (['/fetch', q{ARRAY[jflow_doc(id => 'd7'), jflow_doc(id => 'd123'), jflow_doc(id => 'none')]}, '{}'],
	['/filter', 'NULL::jflow_doc[]', '{"filter": {"n": 4}, "limit": 1000}'])
{
	my ($endpoint, $given, $parameters) = @$case;
	is(ask($front, "SELECT string_agg(d::text, E'\\n' ORDER BY id) FROM jflow_post('$endpoint', $given, 'news', '$parameters') d"),
		ask($front, "SELECT string_agg(d::text, E'\\n' ORDER BY id) FROM jflow_post('$endpoint', $given, 'local', '$parameters') d"), "$endpoint, too");
}
is(ask($front, "SELECT string_agg(id || ' ' || (tags->>'rows'), ', ' ORDER BY id) FROM jflow_post('/status', NULL::jflow_doc[], 'news')"),
	"n1/indexer/0 $counts[0], n2/indexer/0 $counts[1]", '/status says which server');
ask($front, q{SELECT jflow_post('/update', ARRAY[jflow_doc(id => 'd5', text => 'new')], 'news')});
is(ask($front, q{SELECT text FROM jflow_post('/fetch', ARRAY[jflow_doc(id => 'd5')], 'news')}), 'new', '/update');
ask($front, q{SELECT jflow_post('/delete', ARRAY[jflow_doc(id => 'd5')], 'news')});
is(ask($front, q{SELECT count(*) FROM jflow_post('/fetch', ARRAY[jflow_doc(id => 'd5')], 'news')}), 0, '/delete');

# several fronts, servers in another order or by another name: the same place
owner_sql($front, q{SELECT jflow_create('again'); SELECT jflow_add('again', 'far', uses => 'RemoteFlow', replicas => 0, uses_with => '{"servers": ["n2", "n1"], "flow": "news"}')});
my $before = far_count();
ask($front, "SELECT count(*) FROM jflow_post('/index', $docs, 'again')");
ask($front, q{SELECT jflow_post('/delete', ARRAY[jflow_doc(id => 'd5')], 'news')});
is(far_count(), $before, 'the order of servers moves nothing');
$front->safe_psql('postgres', 'ALTER SERVER n2 RENAME TO elsewhere');
fails_with($front, q{SELECT jflow_post('/search', ARRAY[jflow_doc(id => 'q', embedding => '[3,4,0]')], 'news')}, '42704', qr/server "n2" does not exist.*server "n2".*executor "far", shard 1/s, 'a renamed server');
add_remote('renamed', '{"servers": ["n1", "elsewhere"], "nodes": ["n1", "n2"], "flow": "news"}');
ask($front, "SELECT count(*) FROM jflow_post('/index', $docs, 'renamed')");
ask($front, q{SELECT jflow_post('/delete', ARRAY[jflow_doc(id => 'd5')], 'renamed')});
is(far_count(), $before, 'a node keeps its documents under another name of its server');
$front->safe_psql('postgres', 'ALTER SERVER elsewhere RENAME TO n2');

# a third server takes a third
add_remote('three', '{"servers": ["n1", "n2", "n3"], "flow": "news"}');
my $ids = "SELECT string_agg(id, ',' ORDER BY id) FROM jflow_post('/filter', NULL::jflow_doc[], 'news', '{\"limit\": 1000}')";
my %old = map { $_ => ask($far, $ids, $_) } qw(n1 n2);
ask($front, "SELECT jflow_post('/clear', NULL::jflow_doc[], 'news')");
is(far_count(), '0 0 0', '/clear');
ask($front, "SELECT count(*) FROM jflow_post('/index', $docs, 'three')");
ask($front, q{SELECT jflow_post('/delete', ARRAY[jflow_doc(id => 'd5')], 'three')});
my %was = map { my $n = $_; map { $_ => $n } split /,/, $old{$n} } qw(n1 n2);
my %now = map { my $n = $_; map { $_ => $n } split /,/, ask($far, $ids, $n) } @nodes;
my @moved = grep { $was{$_} ne $now{$_} } keys %was;
is(scalar(keys %now), 299, 'three servers have them all');
ok(@moved > 60 && @moved < 140, 'about a third moves: ' . @moved);
is(scalar(grep { $now{$_} ne 'n3' } @moved), 0, 'and all of that to the third server');
ask($front, "SELECT jflow_post('/clear', NULL::jflow_doc[], 'three')");

# in the transaction of who posts
sub one { my ($id) = @_; return "ARRAY[jflow_doc(id => '$id', embedding => '[1,2,3]'), jflow_doc(id => '$id-', embedding => '[1,2,3]'), jflow_doc(id => '-$id', embedding => '[1,2,3]')]" }
is(ask($front, "BEGIN; SELECT count(*) FROM jflow_post('/index', @{[one('a')]}, 'news'); SELECT count(*) FROM jflow_post('/fetch', @{[one('a')]}, 'news'); ROLLBACK"), "3\n3", 'who posts sees it');
is(far_count('%a%'), '0 0 0', 'and rolls it back');
is(ask($front, qq{BEGIN; SELECT count(*) FROM jflow_post('/index', @{[one('b')]}, 'news');
	SAVEPOINT s; SELECT count(*) FROM jflow_post('/index', @{[one('c')]}, 'news'); ROLLBACK TO s;
	SAVEPOINT t; SELECT count(*) FROM jflow_post('/index', @{[one('d')]}, 'news'); RELEASE t; COMMIT;
	SELECT string_agg(id, ' ' ORDER BY id) FROM jflow_post('/filter', NULL::jflow_doc[], 'news')}), "3\n3\n3\n-b -d b b- d d-", 'savepoints');
fails_with($front, "BEGIN; SELECT count(*) FROM jflow_post('/index', @{[one('e')]}, 'news'); PREPARE TRANSACTION 'x'", '0A000', qr/cannot PREPARE a transaction that has posted to server/, 'prepared transactions');
is(far_count('%e%'), '0 0 0', 'which leaves nothing');
# what still may refuse the commit here does so before the others have committed
owner_sql($front, q{CREATE TABLE part (id int PRIMARY KEY, v vector(3)); INSERT INTO part VALUES (1, '[1,2,3]'); CREATE TABLE whole (id int NOT NULL, v vector(3));
	SELECT jflow_create('kept'); SELECT jflow_add('kept', 'store', uses => 'PQLiteIndexer', replicas => 0, uses_with => '{"dim": 3, "metric": "l2"}');
	SELECT jflow_sync('kept', 'kept', 'part', '{"embedding": "v"}', mode => 'immediate'); ALTER TABLE part INHERIT whole});
fails_with($front, "BEGIN; SELECT count(*) FROM jflow_post('/index', @{[one('x')]}, 'news'); UPDATE whole SET v = '[3,2,1]'; COMMIT", '0A000', qr/have not been posted/, 'a commit that is refused here');
is(far_count('%x%'), '0 0 0', 'leaves nothing there');
owner_sql($front, q{ALTER TABLE part NO INHERIT whole; SELECT jflow_unsync('kept'); SELECT jflow_drop('kept', drop_data => true)});
is(ask($front, qq{BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM jflow_post('/filter', NULL::jflow_doc[], 'news'); COMMIT}), 6, 'repeatable read');
is(ask($front, q{BEGIN READ ONLY; SELECT count(*) FROM jflow_post('/search', ARRAY[jflow_doc(id => 'q', embedding => '[1,2,3]')], 'news') d, unnest(d.matches);
	SELECT count(*) FROM jflow_post('/fetch', ARRAY[jflow_doc(id => 'b')], 'news'); SELECT count(*) FROM jflow_post('/filter', NULL::jflow_doc[], 'news')}), "6\n1\n6", 'reads in a read-only transaction');
fails_with($front, "BEGIN READ ONLY; SELECT jflow_post('/delete', ARRAY[jflow_doc(id => 'b')], 'news')", '25006', qr/read-only transaction/, 'no writes in one');

# any flow can be the far side, with its errors
add_remote('other', '{"servers": ["n1"], "flow": "other"}');
is(ask($front, "SELECT text FROM jflow_post('/shout', ARRAY['words'], 'other')"), 'WORDS', 'a flow without a store');
is(ask($front, "SELECT count(*) FROM jflow_post('/shout', (SELECT array_agg('w' || i) FROM generate_series(1, 3000) i), 'other', request_size => 1000)"), 3000, 'many documents');
add_remote('broken', '{"servers": ["n2"], "flow": "broken"}');
fails_with($front, "SELECT jflow_post('/x', ARRAY['words'], 'broken')", '22012', qr/no good: words.*the detail.*the hint.*PL\/pgSQL function.*server "n2".*executor "far", shard 0/s, 'an error of theirs');
add_remote('nothing', '{"servers": ["n2"], "flow": "nothing"}');
$far->safe_psql('postgres', 'CREATE DATABASE bare; GRANT CREATE ON DATABASE bare TO stranger');
$far->safe_psql('bare', q{SET ROLE stranger; CREATE SCHEMA jflow; GRANT USAGE ON SCHEMA jflow TO PUBLIC;
	CREATE FUNCTION jflow.remote_post(text, text, text, jsonb, jsonb) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'runs as %', current_user; END $$});
$front->safe_psql('postgres', qq{CREATE SERVER bare FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname 'bare');
	GRANT USAGE ON FOREIGN SERVER bare TO flow_owner;
	CREATE USER MAPPING FOR flow_owner SERVER bare OPTIONS (user 'flow_owner', password_required 'false')});
add_remote('bare', '{"servers": ["bare"], "flow": "news"}');
fails_with($front, "SELECT jflow_post('/x', ARRAY['words'], 'bare')", '55000', qr/server "bare" has no jflow/, 'a database where somebody else has made our function');
fails_with($front, "SELECT jflow_post('/x', ARRAY['words'], 'nothing')", '42704', qr/flow "nothing" does not exist.*server "n2"/s, 'no such flow');

# what a server says beside is said here, by the post that it belongs to
owner_sql($far, q{CREATE FUNCTION warn(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$ BEGIN
	RAISE WARNING 'first %', docs[1].text; RAISE WARNING 'second %', docs[1].text;
	IF docs[1].text = 'bad' THEN RAISE 'bad'; END IF; RETURN NULL; END $$;
	SELECT jflow_create('warn'); SELECT jflow_add('warn', 'e', uses => 'warn', replicas => 0)}, 'n1');
add_remote('warn', '{"servers": ["n1"], "flow": "warn"}');
my (undef, undef, $warnings) = $front->psql('postgres', "SELECT jflow_post('/x', ARRAY['bad'], 'warn'); SELECT jflow_post('/x', ARRAY['good'], 'warn')", on_error_stop => 0);
like($warnings, qr/WARNING:  first good.*WARNING:  second good/s, 'warnings');
unlike($warnings, qr/WARNING:  first bad/, 'none of a post that has failed');

# cycles
owner_sql($far, qq{SELECT jflow_create('ring'); SELECT jflow_add('ring', 'back', uses => 'RemoteFlow', replicas => 0, uses_with => '{"servers": ["front"], "flow": "ring"}')}, 'n1');
$far->safe_psql('n1', qq{SET client_min_messages = error; CREATE EXTENSION postgres_fdw; CREATE SERVER front FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '@{[$front->host]}', port '@{[$front->port]}', dbname 'postgres');
	GRANT USAGE ON FOREIGN SERVER front TO flow_owner; CREATE USER MAPPING FOR flow_owner SERVER front OPTIONS (user 'flow_owner', password_required 'false')});
add_remote('ring', '{"servers": ["n1"], "flow": "ring"}');
fails_with($front, "SELECT jflow_post('/x', ARRAY['words'], 'ring')", '42P19', qr/flow "ring" posts to itself through other servers/, 'a cycle');
add_remote('tree', '{"servers": ["n1"], "flow": "tree"}');
owner_sql($far, qq{SELECT jflow_create('tree'); SELECT jflow_add('tree', 'back', uses => 'RemoteFlow', replicas => 0, uses_with => '{"servers": ["front"], "flow": "leaf"}')}, 'n1');
add_flow($front, 'leaf', 'shout', 'replicas => 0');
is(ask($front, "SELECT text FROM jflow_post('/x', ARRAY['words'], 'tree')"), 'WORDS', 'a tree is none');

# rights
$front->safe_psql('postgres', "REVOKE USAGE ON FOREIGN SERVER n1 FROM flow_owner");
fails_with($front, "SELECT jflow_post('/x', ARRAY['words'], 'other')", '42501', qr/permission denied for foreign server n1/, 'without USAGE');
$front->safe_psql('postgres', "GRANT USAGE ON FOREIGN SERVER n1 TO flow_owner; ALTER USER MAPPING FOR flow_owner SERVER n1 OPTIONS (DROP password_required)");
fails_with($front, "SELECT jflow_post('/x', ARRAY['words'], 'other')", '2F003', qr/a password is required/, 'without a password');
$front->safe_psql('postgres', "ALTER USER MAPPING FOR flow_owner SERVER n1 OPTIONS (ADD password 'secret')");
fails_with($front, "SELECT jflow_post('/x', ARRAY['words'], 'other')", '2F003', qr/did not ask for the password/, 'with one that is not asked for');
$front->safe_psql('postgres', "DROP USER MAPPING FOR flow_owner SERVER n1");
fails_with($front, "SELECT jflow_post('/x', ARRAY['words'], 'other')", '42704', qr/user mapping not found/, 'without a mapping');
$front->safe_psql('postgres', "CREATE USER MAPPING FOR flow_owner SERVER n1 OPTIONS (user 'stranger', password_required 'false')");
fails_with($front, "SELECT jflow_post('/x', ARRAY['words'], 'other')", '42501', qr/permission denied for flow/, 'as a role that may not post there');
$front->safe_psql('postgres', "ALTER USER MAPPING FOR flow_owner SERVER n1 OPTIONS (SET user 'flow_owner')");
is(ask($front, "SELECT text FROM jflow_post('/x', ARRAY['words'], 'other')"), 'WORDS', 'a mapping that has changed is used anew');
$front->safe_psql('postgres', "CREATE SERVER http FOREIGN DATA WRAPPER jflow_http OPTIONS (url 'http://localhost', provider 'ollama'); GRANT USAGE ON FOREIGN SERVER http TO flow_owner; CREATE USER MAPPING FOR flow_owner SERVER http");
add_remote('http', '{"servers": ["http"], "flow": "other"}');
fails_with($front, "SELECT jflow_post('/x', ARRAY['words'], 'http')", '42809', qr/is not one of foreign data wrapper postgres_fdw/, 'another wrapper');

# limits of time and cancels reach the statement there
add_remote('slow', '{"servers": ["n1"], "flow": "slow"}');
my $blocker = $far->background_psql('n1');
$blocker->query_safe('SELECT pg_advisory_lock(42)');
my $running = q{SELECT count(*) FROM pg_stat_activity WHERE datname = 'n1' AND state = 'active' AND wait_event = 'advisory'};
fails_with($front, "SELECT jflow_post('/x', ARRAY['words'], 'slow', timeout => '300ms')", '57014', qr/canceling post to flow "slow" due to timeout/, 'a limit of time');
ok($far->poll_query_until('n1', $running, '0'), 'which ends the statement there');
fails_with($front, "SET statement_timeout = 300; SELECT jflow_post('/x', ARRAY['words'], 'slow')", '57014', qr/statement timeout/, 'a cancel');
is($far->safe_psql('n1', $running), 0, 'ends it, too');
is(ask($front, qq{BEGIN; SELECT count(*) FROM jflow_post('/index', @{[one('f')]}, 'news'); SAVEPOINT s;
	\\set ON_ERROR_STOP off
	SELECT jflow_post('/x', ARRAY['words'], 'slow', timeout => '300ms');
	\\set ON_ERROR_STOP on
	ROLLBACK TO s; COMMIT; SELECT count(*) FROM jflow_post('/fetch', @{[one('f')]}, 'news')}), "3\n3", 'and leaves the transaction there in order');
$blocker->quit;

# a server that is away, and comes back
my $session = $front->background_psql('postgres', on_error_stop => 0);
my $count = "SELECT count(*) FROM jflow_post('/filter', NULL::jflow_doc[], 'news', '{\"limit\": 1000}')";
my $all = $session->query_safe($count);
$far->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'flow_owner'");
is($session->query_safe($count), $all, 'a connection that was cut is made anew');
add_remote('partial', '{"servers": ["n1", "n2"], "flow": "news", "partial": true}');
$front->safe_psql('postgres', "ALTER SERVER n2 OPTIONS (SET port '1')");
my $search = q{SELECT count(*) FROM jflow_post('/search', ARRAY[jflow_doc(id => 'q', embedding => '[1,2,3]')], '%s') d, unnest(d.matches)};
fails_with($front, sprintf($search, 'news'), '08001', qr/could not connect to server "n2".*server "n2".*executor "far", shard 1/s, 'a server that is away');
my ($ret, $out, $err) = $front->psql('postgres', sprintf($search, 'partial'));
ok($out > 0 && $out < $all, 'partial answers');
like($err, qr/WARNING:  could not connect to server "n2"/, 'with a warning');
like(ask($front, "SELECT string_agg(id || ' ' || (tags->>'state'), ', ' ORDER BY id) FROM jflow_post('/status', NULL::jflow_doc[], 'partial')"), qr/n1\/indexer\/0 live, n2 away/, 'and /status marks it');
fails_with($front, "SELECT jflow_post('/index', $docs, 'partial')", '08001', qr/could not connect to server "n2"/, 'writes are never partial');
$front->safe_psql('postgres', "ALTER SERVER n2 OPTIONS (SET port '$port')");
is(ask($front, sprintf($search, 'partial')), $all, 'back again');

# lost in a transaction
$session->query_safe("BEGIN; SELECT count(*) FROM jflow_post('/index', @{[one('g')]}, 'news')");
$far->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'flow_owner'");
$session->query('COMMIT');
$session->query('ROLLBACK');
is(far_count('%g%'), '0 0 0', 'what is lost in a transaction is undone');
$session->{stderr} = '';
is($session->query_safe($count), $all, 'and the session goes on');
$session->quit;

# a server that hangs: its processes are stopped
add_remote('whoami', '{"servers": ["n1"], "flow": "whoami"}', 'replicas => 1');
owner_sql($far, q{SELECT jflow_create('whoami'); SELECT jflow_add('whoami', 'e', uses => 'whoami', replicas => 0)}, 'n1');
start_flow($front, 'whoami');
my $there = ask($front, "SELECT text FROM jflow_post('/x', ARRAY['words'], 'whoami')");
is(ask($front, "SELECT text FROM jflow_post('/x', ARRAY['words'], 'whoami')"), $there, 'a replica keeps its connection');
my $postmaster = (split /\n/, slurp_file($far->data_dir . '/postmaster.pid'))[0];
kill 'STOP', $there, $postmaster;
fails_with($front, "SELECT jflow_post('/x', ARRAY['words'], 'whoami', timeout => '500ms')", '57014', qr/due to timeout/, 'a server that hangs, with replicas');
fails_with($front, "SELECT jflow_post('/x', ARRAY['words'], 'other', timeout => '500ms')", '57014', qr/due to timeout/, 'and without');
kill 'CONT', $there, $postmaster;
ok($front->poll_query_until('postgres', "SELECT text IS NOT NULL FROM jflow_post('/x', ARRAY['words'], 'whoami')"), 'it serves again');

# a stopped server, and started again
$far->stop('immediate');
like(ask($front, "SELECT jflow_post('/x', ARRAY['words'], 'whoami')"), qr/^0800[16]: /, 'a stopped server');
$far->start;
like(ask($front, "SELECT text FROM jflow_post('/x', ARRAY['words'], 'whoami')"), qr/^\d+$/, 'a replica connects anew');

# where no file can be opened any more, what is undone there needs none
SKIP:
{
	skip 'no prlimit here', 3 if system('prlimit --version >/dev/null 2>&1') != 0;
	my $poor = $front->background_psql('postgres', on_error_stop => 0);
	my $pid = $poor->query_safe('SELECT pg_backend_pid()');
	$poor->query_safe("BEGIN; SELECT count(*) FROM jflow_post('/index', @{[one('p')]}, 'news'); SAVEPOINT a; SELECT count(*) FROM jflow_post('/index', @{[one('o')]}, 'news')");
	system("prlimit --pid $pid --nofile=3:") == 0 or die 'prlimit failed';
	my @told = map { ($poor->query($_))[1] } 'ROLLBACK TO a', 'ROLLBACK';
	system("prlimit --pid $pid --nofile=256:");
	is("@told", '0 0', 'an abort that can open no file raises nothing');
	is($poor->query("SELECT text FROM jflow_post('/x', ARRAY['again'], 'other')"), 'AGAIN', 'the session goes on');
	is($poor->query('SELECT pg_backend_pid()'), $pid, 'and is the one that it was');
	$poor->quit;
}

# the page's walk, with passwords that the servers ask for
my $page = slurp_file("$ENV{TESTDIR}/../src/docs/distributed.md");
my @snippets = $page =~ /^```sql\n(.*?)^```/msg;
my ($shown) = $page =~ /^```text\n(.*?)^```/ms;
for my $node ($far)
{
	my $hba = slurp_file($node->data_dir . '/pg_hba.conf');
	unlink $node->data_dir . '/pg_hba.conf';
	append_to_file($node->data_dir . '/pg_hba.conf', "local all front scram-sha-256\n$hba");
	$node->reload;
}
my %places = ('on n1 and n2' => [ [ $far, 'postgres' ] ], 'in the database app of n1 and n2' => [ [ $far, 'w1' ], [ $far, 'w2' ] ], 'on the front' => [ [ $front, 'walk' ] ]);
$far->safe_psql('postgres', "CREATE DATABASE $_") for qw(w1 w2);
$front->safe_psql('postgres', 'CREATE DATABASE walk');
my $answers = '';
for my $snippet (@snippets)
{
	my ($where) = $snippet =~ /^-- (.*)\n/;
	$snippet =~ s/host 'n(\d).example', dbname 'app'/host '$host', port '$port', dbname 'w$1'/g;
	for my $place (@{ $places{$where} })
	{
		my ($node, $db) = @$place;
		$snippet =~ s/DATABASE \w+/DATABASE $db/;
		my ($code, $said, $errors) = $node->psql($db, "SET client_min_messages = warning; $snippet", on_error_stop => 1);
		is($code, 0, "a snippet of the page runs $where") or diag($errors);
		$answers = $said;
	}
}
is("$answers\n", $shown, 'and the last one answers what is shown');

$front->stop;
$far->stop;
done_testing();
