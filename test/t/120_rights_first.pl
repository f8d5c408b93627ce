# Is a right looked at before a lock is taken, and is nothing told to who has it not, by every function and view of the extension?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
$node->safe_psql('postgres', q{
	SET client_min_messages = error;
	CREATE EXTENSION jflow CASCADE;
	CREATE EXTENSION postgres_fdw;
	CREATE ROLE theirs_owner LOGIN;
	CREATE ROLE stranger LOGIN;
	GRANT CREATE ON DATABASE postgres TO theirs_owner, stranger;
	CREATE SCHEMA theirs AUTHORIZATION theirs_owner;
	CREATE SCHEMA mine AUTHORIZATION stranger;
	GRANT USAGE ON SCHEMA theirs TO PUBLIC;
	CREATE SERVER theirs_server FOREIGN DATA WRAPPER postgres_fdw OPTIONS (dbname 'postgres');
	CREATE SERVER theirs_http FOREIGN DATA WRAPPER jflow_http OPTIONS (url 'http://127.0.0.1:1/', provider 'ollama');
	GRANT USAGE ON FOREIGN SERVER theirs_server, theirs_http TO theirs_owner;
	CREATE USER MAPPING FOR theirs_owner SERVER theirs_server OPTIONS (user 'theirs_owner', password_required 'false')});

# What is somebody else's, of each kind; all of it is called so.
$node->safe_psql('postgres', q{
	SET client_min_messages = error;
	SET SESSION AUTHORIZATION theirs_owner;
	CREATE FUNCTION theirs.wait(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS
		$$ BEGIN PERFORM pg_advisory_xact_lock_shared(42); RETURN NULL; END $$;
	REVOKE ALL ON FUNCTION theirs.wait FROM PUBLIC;
	CREATE TABLE theirs.items (id text PRIMARY KEY, text text, e vector(2), s sparsevec(10));
	INSERT INTO theirs.items SELECT i, 'theirs', ARRAY[i, 1]::vector, '{1:1}/10' FROM generate_series(1, 100) i;
	CREATE INDEX items_pq ON theirs.items USING pq (e vector_l2_ops);
	CREATE INDEX items_inverted ON theirs.items USING inverted (s sparsevec_ip_ops);
	CREATE TABLE theirs.source (id int PRIMARY KEY, text text);
	INSERT INTO theirs.source VALUES (1, 'theirs');
	CREATE TABLE theirs.errors (id text, executor text, sqlstate text, message text, at timestamptz);
	SELECT jflow_define('TheirsClass', '{"/x": "theirs.wait"}');
	SELECT jflow_train('theirs_book', 'SELECT e FROM theirs.items', lists => 1, subvectors => 1);
	SELECT jflow_create('theirs');
	SELECT jflow_add('theirs', 'code', uses => 'TheirsClass');
	SELECT jflow_add('theirs', 'words', uses => 'BM25Vectorizer', replicas => 0);
	SELECT jflow_add('theirs', 'store', uses => 'PQLiteIndexer', replicas => 0, uses_with => '{"field": "sparse_embedding"}');
	SELECT jflow_fit('theirs', 'words', 'SELECT text FROM theirs.items');
	SELECT jflow_start('theirs');
	SELECT count(*) FROM jflow_post('/index', ARRAY[jflow_doc(id => '1', text => 'theirs')], 'theirs');
	SELECT jflow_sync('theirs_sync', 'theirs', 'theirs.source', '{"text": "text"}')});
is(ask($node, q{SET ROLE theirs_owner; SELECT jflow_wait('theirs')}), 't', 'the flow of somebody else runs');
is(ask($node, q{SET ROLE theirs_owner; SELECT jflow_sync_run('theirs_sync')}), 't', 'and its sync');

# What a call answers: the error, or what it says and its locks on what is theirs; nothing of it is kept.
$node->safe_psql('postgres', q{
	SET client_min_messages = error;
	CREATE FUNCTION attempt(call text) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		answer text;
		locks text;
		state text;
		message text;
		detail text;
		hint text;
	BEGIN
		BEGIN
			EXECUTE format('SELECT string_agg(x::text, E''\n'') FROM %s x', call) INTO answer;
			SELECT string_agg(DISTINCT concat_ws(' ', 'HOLDS', l.mode, c.oid::regclass), E'\n') INTO locks
			FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE l.pid = pg_backend_pid() AND n.nspname ~ '^(theirs|jflow_data_theirs)';
			RAISE EXCEPTION USING ERRCODE = 'ZZ000', MESSAGE = concat_ws(E'\n', coalesce(answer, 'NULL'), locks);
		EXCEPTION WHEN query_canceled OR OTHERS THEN
			GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
		END;
		RETURN concat_ws(E'\n', nullif(state, 'ZZ000') || ':', message, nullif(detail, ''), nullif(hint, ''));
	END $$});

# Somebody else posts, and works on all of it: tables, our catalog or its rows, the sync.
my $holder = $node->background_psql('postgres', on_error_stop => 1);
$holder->query('SELECT pg_advisory_lock(42)');
my $posting = post_in_background($node, q{SET ROLE theirs_owner;
	SELECT count(*) FROM jflow_post('/x', ARRAY['theirs'], 'theirs', target_executor => 'code')});
wait_state($node, q{SELECT count(*) = 1 FROM jflow_progress WHERE endpoint = '/x'}, 'and who posts to it waits');
my $post = $node->safe_psql('postgres', q{SELECT post FROM jflow_progress WHERE endpoint = '/x'});
my $number = $node->safe_psql('postgres', 'SELECT id FROM jflow.sync');
sub hold
{
	my ($catalog) = @_;
	$holder->query(qq{BEGIN; SET LOCAL ROLE theirs_owner; SELECT jflow_sync_resume('theirs_sync'); RESET ROLE;
		DO \$\$
		DECLARE
			r regclass;
		BEGIN
			FOR r IN SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
				WHERE c.relkind IN ('r', 'p') AND n.nspname ~ '^(theirs|jflow_data)'
			LOOP
				EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', r);
			END LOOP;
			FOR r IN SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace = 'jflow'::regnamespace LOOP
				EXECUTE format(\$catalog\$$catalog\$catalog\$, r);
			END LOOP;
		END \$\$});
	return;
}
hold('LOCK TABLE %s IN EXCLUSIVE MODE');

# An argument by its name and type: a value for what is somebody else's, and one for what is not there.
my %argument = (
	'flow text' => ["'theirs'", "'theirx'"],
	'executor text' => ["'store'"],
	'target_executor text' => ["'store'"],
	'sync text' => ["'theirs_sync'", "'theirx_sync'"],
	'sync integer' => [$number, $number + 1000],
	'name text' => ["'theirs_owner'", "'theirx_owner'"],
	'owner text' => ["'theirs_owner'", "'theirx_owner'"],
	'class text' => ["'TheirsClass'", "'TheirxClass'"],
	'codebook text' => ["'theirs_book'", "'theirx_book'"],
	'post bigint' => [$post, $post + 1000],
	'role regrole' => ["'stranger'"],
	'index regclass' => ["'theirs.items_pq'", '99999'],
	'inverted regclass' => ["'theirs.items_inverted'", '99999'],
	'source regclass' => ["'theirs.source'", '99999'],
	'errors_to regclass' => ["'theirs.errors'", '99999'],
	'continue_on_error boolean' => ['true'],
	'query text' => ["'SELECT ''a'' AS text'"],
	'endpoint text' => ["'/x'"],
	'requests jsonb' => [q{'{"/x": "theirs.wait"}'}],
	'columns jsonb' => [q{'{"text": "text"}'}],
	'config jsonb' => [q{'{"jtype": "Flow", "with": {"name": "theirs"}}'}, q{'{"jtype": "Flow", "with": {"name": "theirx"}}'}],
	'config text' => [q{E'jtype: Flow\nwith:\n  name: theirs'}, q{E'jtype: Flow\nwith:\n  name: theirx'}],
	'parameters jsonb' => [q{'{}'}],
	'options jsonb' => [q{'{"version": 1}'}],
	'filter jsonb' => [q{'{}'}],
	'docs jflow_doc[]' => [q{ARRAY[jflow_doc(id => '1')]}],
	'docs text[]' => [q{'{a}'}],
	'docs text' => [q{'a'}],
	'docs jsonb' => [q{'[]'}],
	'docs json' => [q{'[]'}],
	'doc jflow_doc' => ['jflow_doc()'],
	' jflow_doc' => ['jflow_doc()'],
	' jflow_match' => ['NULL'],
	' jsonb' => [q{'{}'}],
	'catalog oid' => ['0'],
	'options text[]' => [q{'{}'}]);

# Those that are given though they have a default.
my %given = map { $_ => 1 } 'flow', 'executor', 'target_executor', 'errors_to', 'continue_on_error', 'filter';

# Who makes something of his own, which is below.
my %makes = map { $_ => 1 } 'jflow_create', 'jflow_load', 'jflow_load_yaml', 'jflow_train', 'jflow_sync';

sub as_stranger
{
	my ($call) = @_;
	(my $quoted = $call) =~ s/'/''/g;
	return ask($node, "SET client_min_messages = error; SET SESSION AUTHORIZATION stranger; SET lock_timeout = '5s'; SET statement_timeout = '60s'; SELECT attempt('$quoted')");
}

# Does a call end without a wait, hold nothing, and tell no more than one of what is not there, or what all may know?
sub refuses
{
	my ($name, $theirs, $missing, $known) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $answer = as_stranger($theirs);
	my $of_missing = $missing eq $theirs ? $answer : as_stranger($missing);
	(my $same = $of_missing) =~ s/([Tt]heir)x/$1s/g;
	my $good = $answer !~ /^(?:55P03|57014):|HOLDS/ && $of_missing !~ /^(?:55P03|57014):|HOLDS/ && ($answer =~ /^42501:/ || $answer eq $same || $known && $answer =~ $known);
	$good &&= $answer !~ /theirs/i if $missing eq $theirs && $theirs !~ /theirs/i;
	ok($good, $name) or diag("$theirs\n$answer\n$missing\n$of_missing");
	return;
}

my $functions = $node->safe_psql('postgres', q{
	SELECT p.oid::regprocedure, n.nspname, p.proname, p.pronargs - p.pronargdefaults,
		(SELECT string_agg(concat(p.proargnames[i], ' ', format_type(p.proargtypes[i - 1], NULL)), ',' ORDER BY i) FROM generate_series(1, p.pronargs) i)
	FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
		JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
		JOIN pg_extension x ON x.oid = d.refobjid AND x.extname = 'jflow'
	WHERE p.prorettype <> 'trigger'::regtype AND NOT 'internal'::regtype = ANY (p.proargtypes)
	ORDER BY p.oid::regprocedure::text COLLATE "C"});
for my $line (split /\n/, $functions)
{
	my ($signature, $schema, $function, $required, $arguments) = split /\|/, $line;
	my @calls = ([], []);
	my $unknown;
	for my $argument (split /,/, $arguments)
	{
		my ($name, $type) = split / /, $argument;
		next unless $required-- > 0 || $given{$name};
		my $kind = $name eq 'name' && $function =~ /sync/ ? 'sync' : $name eq 'name' && $function eq 'jflow_remove' ? 'executor'
		  : $name eq 'index' && $function =~ /inverted/ ? 'inverted' : $name;
		my $values = $argument{"$kind $type"};
		$unknown = $argument unless $values;
		push @{$calls[$_]}, ($name ne '' ? "$name => " : '') . ($values ? $values->[$_] // $values->[0] : '') . "::$type" for 0, 1;
	}
	my @both = map { "$schema.$function(" . join(', ', @$_) . ')' } @calls;
	if ($unknown) { fail("nothing is known of the argument \"$unknown\" of $signature") }
	elsif (!$makes{$function}) { refuses($signature, @both) }
}


# Views tell nothing of it either, and tables nothing at all.
for my $relation (split /\n/, $node->safe_psql('postgres', q{
	SELECT c.oid::regclass FROM pg_class c
		JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
		JOIN pg_extension x ON x.oid = d.refobjid AND x.extname = 'jflow'
	WHERE c.relkind IN ('r', 'v', 'm', 'S') ORDER BY c.oid::regclass::text COLLATE "C"}))
{
	refuses($relation, $relation, $relation);
}
$holder->query('ROLLBACK');

# What somebody makes of his own, and names what is theirs in it.
$node->safe_psql('postgres', q{
	SET client_min_messages = error;
	CREATE FUNCTION run(VARIADIC statements text[]) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		statement text;
		answer text;
	BEGIN
		FOREACH statement IN ARRAY statements LOOP
			EXECUTE format('SELECT string_agg(x::text, E''\n'') FROM %s x', statement) INTO answer;
		END LOOP;
		RETURN answer;
	END $$;
	SET SESSION AUTHORIZATION stranger;
	CREATE TABLE mine.items (id text PRIMARY KEY, text text, e vector(2));
	INSERT INTO mine.items SELECT i, 'mine', ARRAY[i, 1]::vector FROM generate_series(1, 100) i;
	CREATE INDEX items_pq ON mine.items USING pq (e vector_l2_ops);
	SELECT jflow_create('mine');
	SELECT jflow_add('mine', 'e', replicas => 0)});
hold("SELECT FROM %s t WHERE t::text ~* 'theirs' OR to_jsonb(t)->>'sync' = '$number' FOR UPDATE");
my $taken = qr/^42710:\n\w+ "theirs(?:_sync)?" already exists\z/;
my @own = (
	[q{jflow_create('theirs')}, $taken],
	[q{jflow_load('{"jtype": "Flow", "with": {"name": "theirs"}}')}, $taken],
	[q{jflow_load_yaml(E'jtype: Flow\nwith:\n  name: theirs')}, $taken],
	[q{jflow_train('theirs_book', 'SELECT e FROM mine.items', lists => 1, subvectors => 1)}],
	[q{jflow_sync('theirs_sync', 'mine', 'mine.items', '{"text": "text"}', mode => 'immediate')}, $taken],
	[q{jflow_sync('mine', 'mine', 'theirs.source', '{"text": "text"}', mode => 'immediate')}],
	[q{jflow_sync('mine', 'mine', 'theirs.source', '{"text": "text"}')}],
	[q{jflow_sync('mine', 'theirs', 'mine.items', '{"text": "text"}')}],
	[q{jflow_define('TheirsClass', '{"/x": "theirs.wait"}')}],
	[q{jflow_undefine('TheirsClass')}],
	[q{jflow_add('mine', 'f', uses => 'TheirsClass')}],
	[q{run($$jflow_add('mine', 'f', uses => 'theirs.wait', replicas => 0)$$, $$jflow_post('/x', ARRAY['a'], 'mine')$$)}],
	[q{run($$jflow_add('mine', 'f', uses_before => 'theirs.wait', replicas => 0)$$, $$jflow_post('/x', ARRAY['a'], 'mine')$$)}],
	[q{jflow_post('/x', ARRAY['a'], 'mine', continue_on_error => true, errors_to => 'theirs.errors')}],
	[q{jflow_post('/x', ARRAY['a'], 'mine', target_executor => 'code')}],
	[q{jflow_resync('mine', '{"store": {"table": "theirs.items"}}')}]);
for my $uses ([q{'PQLiteIndexer', uses_with => '{"table": "theirs.items", "id": "id", "field": "e"}'}, qw(/index /update /delete /clear /search /filter /fetch /status)],
	[q{'PQLiteIndexer', workspace => 'theirs'}, '/index'],
	[q{'PQLiteIndexer', workspace => 'jflow_data_theirs_owner'}, '/index'],
	[q{'HttpExecutor', uses_with => '{"server": "theirs_http", "model": "m"}'}, '/x'],
	[q{'RemoteFlow', uses_with => '{"servers": ["theirs_server"], "flow": "f"}'}, '/x'])
{
	my ($options, @endpoints) = @$uses;
	for my $then ((map { qq{jflow_post('$_', ARRAY[jflow_doc(id => '1', embedding => '[1,2]')], 'mine')} } @endpoints),
		q{jflow_reindex('mine', 'x')}, q{jflow_scale('mine', 'x', shards => 2)}, q{jflow.reshard_step('mine', 'x')},
		q{jflow_remove('mine', 'x')}, q{jflow_drop('mine', drop_data => true)},
		q{jflow_sync('mine', 'mine', 'mine.items', '{"text": "text"}', mode => 'immediate')})
	{
		push @own, ["run(\$\$jflow_add('mine', 'x', uses => $options, replicas => 0)\$\$, \$\$$then\$\$)"];
	}
}
for my $call (@own)
{
	my ($theirs, $known) = @$call;
	(my $missing = $theirs) =~ s/([tT]heir)s/$1x/g;
	refuses($theirs, $theirs, $missing, $known);
}
is($node->safe_psql('postgres', q{SELECT post FROM jflow_progress WHERE endpoint = '/x'}), $post, 'the post has waited all the while');
done_testing();
