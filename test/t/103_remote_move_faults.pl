# Does moving documents to other servers stop before it loses one, where two servers are one database, executors store by a condition, transactions keep what they have seen, a server hangs, or who is moved changes?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;

my $front = new_node('front', 'autovacuum = off');
my @names = qw(n1 n2 n3);
my %far = map { $_ => new_node($_, 'autovacuum = off') } @names;

prepare_database($front);
$front->safe_psql('postgres', "SET client_min_messages = error; CREATE EXTENSION postgres_fdw");
for my $name (@names, 'again')
{
	my $node = $far{$name} || $far{n1};
	$front->safe_psql('postgres', qq{CREATE SERVER $name FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '@{[$node->host]}', port '@{[$node->port]}', dbname 'postgres');
		GRANT USAGE ON FOREIGN SERVER $name TO flow_owner;
		CREATE USER MAPPING FOR flow_owner SERVER $name OPTIONS (user 'flow_owner', password_required 'false')});
	next unless $far{$name};
	prepare_database($node);
	owner_sql($node, q{SELECT jflow_create(f) FROM unnest('{plain,never,floats,other}'::text[]) f;
		SELECT jflow_add('plain', 'indexer', uses => 'PQLiteIndexer', replicas => 0, uses_with => '{"dim": 2, "metric": "l2"}');
		SELECT jflow_add('never', 'indexer', uses => 'PQLiteIndexer', replicas => 0, uses_with => '{"dim": 2}', "when" => '{"modality": "text"}');
		SELECT jflow_add('floats', 'indexer', uses => 'PQLiteIndexer', replicas => 0, uses_with => '{"dim": 2}', floating => true);
		SELECT jflow_add('other', 'indexer', uses => 'PQLiteIndexer', replicas => 0, uses_with => '{"dim": 2}')});
}
for my $flow (qw(plain never floats other))
{
	owner_sql($front, qq{SELECT jflow_create('$flow'); SELECT jflow_add('$flow', 'far', uses => 'RemoteFlow', replicas => 0, uses_with => '{"servers": ["n1", "n2"], "flow": "$flow"}', timeout => '10 s')});
}

my $nbase = 300;
my $docs = qq{(SELECT array_agg(jflow_doc(id => 'd' || i, text => 'text ' || i, embedding => ARRAY[i, i % 7]::vector)) FROM generate_series(1, $nbase) i)};
my $all = q{SELECT count(*) || ' ' || count(DISTINCT id) FROM jflow_post('/filter', NULL::jflow_doc[], 'plain', '{"limit": 10000}')};
my $step = q{SELECT jflow.reshard_step('plain', 'far', 100)};

sub scale { my ($flow, $servers) = @_; return "SET client_min_messages = error; SET ROLE flow_owner; SELECT jflow_scale('$flow', 'far', servers => '$servers')" }
sub stage { return $front->safe_psql('postgres', 'SELECT stage FROM jflow.remote_move') }

# Make steps until a stage is reached, or the end.
sub step_to
{
	my ($stage) = @_;
	for (1 .. 300)
	{
		my $done = owner_sql($front, $step);
		return $done eq 't' if $stage eq '' && $done eq 't';
		return 1 if $stage ne '' && $done eq 'f' && stage() eq $stage;
	}
	return 0;
}

ask($front, "SELECT count(*) FROM jflow_post('/index', $docs, 'plain')");
is(ask($front, $all), "$nbase $nbase", 'documents are on two servers');

# servers that are one
fails_with($front, scale('plain', '{n1,n2,again}'), '55000', qr/servers "(n1" and "again|again" and "n1)" are the same database/, 'one that is there under another name');
fails_with($front, scale('plain', '{again,n2}'), '55000', qr/are the same database/, 'one instead of itself');
fails_with($front, scale('never', '{n1,n2,n3}'), '0A000', qr/documents of flow "never" cannot be moved/, 'an executor that stores by a condition');
fails_with($front, scale('floats', '{n1,n2,n3}'), '0A000', qr/documents of flow "floats" cannot be moved/, 'an executor that nobody waits for');
for (['{"dim": 3, "metric": "l2"}', 'dim'], ['{"dim": 2}', 'metric'], ['{"dim": 2, "metric": "l2", "columns": {"n": "int"}}', 'columns'])
{
	my ($uses_with, $option) = @$_;
	owner_sql($far{n3}, qq{SELECT jflow_remove('plain', 'indexer'); SELECT jflow_add('plain', 'indexer', uses => 'PQLiteIndexer', replicas => 0, uses_with => '$uses_with')});
	fails_with($front, scale('plain', '{n1,n2,n3}'), '55000', qr/servers "n3" and "n1" store documents of flow "plain" differently.*Option "$option" is/s, "a server with another $option");
}
owner_sql($far{n3}, q{SELECT jflow_remove('plain', 'indexer'); SELECT jflow_add('plain', 'indexer', uses => 'PQLiteIndexer', replicas => 0, uses_with => '{"metric": "euclidean", "columns": {}}')});
owner_sql($far{n3}, q{SELECT jflow_remove('other', 'indexer'); SELECT jflow_add('other', 'indexer', uses => 'PQLiteIndexer', replicas => 0)});
owner_sql($far{n2}, q{SELECT jflow_remove('other', 'indexer'); SELECT jflow_add('other', 'indexer', uses => 'PQLiteIndexer', replicas => 0, uses_with => '{"dim": 3}')});
fails_with($front, scale('other', '{n1,n2,n3}'), '55000', qr/servers "n1" and "n2" store documents of flow "other" differently.*Option "dim" is 2 on the first, and 3 on the second/s, 'two that differ, where the first does not say');
owner_sql($far{n2}, q{SELECT jflow_remove('other', 'indexer'); SELECT jflow_add('other', 'indexer', uses => 'PQLiteIndexer', replicas => 0, uses_with => '{"dim": 2}')});
fails_with($front, scale('plain', '{' . join(',', map { "s$_" } 1 .. 2000) . '}'), '54000', qr/at most \d+ servers/, 'more than there can be');
$far{n3}->safe_psql('postgres', q{CREATE ROLE guest LOGIN; GRANT USAGE ON SCHEMA jflow TO guest; SET client_min_messages = error; SET ROLE flow_owner; SELECT jflow_grant('plain', 'guest', '{/filter,/fetch,/index}')});
$front->safe_psql('postgres', q{ALTER USER MAPPING FOR flow_owner SERVER n3 OPTIONS (SET user 'guest')});
fails_with($front, scale('plain', '{n1,n2,n3}'), '42501', qr{permission denied for endpoint "/delete"|/delete}, 'a right that only the end of it needs');
$front->safe_psql('postgres', q{ALTER USER MAPPING FOR flow_owner SERVER n3 OPTIONS (SET user 'flow_owner')});
is($front->safe_psql('postgres', 'SELECT count(*) FROM jflow.remote_move'), 0, 'nothing has begun');

# the new server takes five documents at once
owner_sql($far{n3}, q{SELECT count(*) FROM jflow_post('/index', ARRAY[jflow_doc(id => 'x', embedding => '[0,0]')], 'plain'); SELECT count(*) FROM jflow_post('/delete', ARRAY[jflow_doc(id => 'x')], 'plain');
	CREATE FUNCTION not_many() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF (SELECT count(*) > 5 FROM written) THEN RAISE 'too many at once' USING ERRCODE = '54000'; END IF;
		RETURN NULL;
	END $$});
my $table = $far{n3}->safe_psql('postgres', q{SELECT format('%I.%I', "schema", parent) FROM jflow.shard WHERE flow = 'plain' LIMIT 1});
owner_sql($far{n3}, "CREATE TRIGGER not_many AFTER INSERT ON $table REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION not_many()");

$far{n3}->safe_psql('postgres', 'ALTER ROLE flow_owner SET default_transaction_read_only = on');
fails_with($front, scale('plain', '{n1,n2,n3}'), '25006', qr/server "n3" cannot be written to/, 'a server that nobody can write to');
$far{n3}->safe_psql('postgres', 'ALTER ROLE flow_owner RESET default_transaction_read_only');

# transactions that keep snapshots: through the executor, through another one, and behind a savepoint
is(ask($front, scale('plain', '{n1,n2,n3}')), 0, 'three servers are wanted');
my $session = $front->background_psql('postgres', on_error_stop => 0);
$session->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
$session->query_safe(q{SELECT count(*) FROM jflow_post('/fetch', ARRAY[jflow_doc(id => 'd1')], 'other')});
owner_sql($front, $step) for 1 .. 5;
is(stage(), 'lock', 'who keeps a snapshot of a server is waited for, whatever it was for');
$session->query('COMMIT');
ok(step_to('copy'), 'and no longer than it keeps it');
$session->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
$session->query_safe(q{SAVEPOINT s; SELECT count(*) FROM jflow_post('/fetch', ARRAY[jflow_doc(id => 'd1')], 'other'); ROLLBACK TO s});
ok(step_to('settle'), 'it does not keep from copying');
like(slurp_file($far{n3}->logfile), qr/too many at once/, 'and what is too much at once is copied in parts');
owner_sql($front, $step) for 1 .. 5;
is(stage(), 'settle', 'also behind a savepoint that was undone');
$session->query('COMMIT');
$session->query_safe(q{BEGIN; SAVEPOINT s; SELECT count(*) FROM jflow_post('/fetch', ARRAY[jflow_doc(id => 'd1')], 'plain'); ROLLBACK TO s});
owner_sql($front, $step) for 1 .. 5;
is(stage(), 'settle', 'as is a post');
$session->query('COMMIT');
$session->quit;
fails_with($front, q{SET default_transaction_isolation = 'repeatable read'; SELECT jflow_post('/index', ARRAY[jflow_doc(id => 'd1', embedding => '[0,0]')], 'plain')},
	'0A000', qr/cannot be written in a transaction of isolation level repeatable read now/, 'a write of an old snapshot');
fails_with($front, q{BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT jflow_post('/delete', ARRAY[jflow_doc(id => 'd1')], 'plain')},
	'0A000', qr/isolation level serializable now/, 'or of another');
is(ask($front, "SET default_transaction_isolation = 'repeatable read'; $all"), "$nbase $nbase", 'which may read');
is(ask($front, q{SELECT count(*) FROM jflow_post('/index', '{}'::jflow_doc[], 'plain')}), 0, 'nothing may be written, too');

# what a row tells of another move counts for nothing
ok(step_to('delete'), 'it goes on');
$front->safe_psql('postgres', q{UPDATE jflow.remote_move SET uses_with = '{}'});
is(owner_sql($front, $step), 'f', 'a step after another definition');
is(stage(), 'wait', 'begins anew');

# a server that becomes another before the deletion
ok(step_to('delete'), 'it comes to the deletion again');
my ($port, $first) = ($far{n3}->port, $far{n1}->port);
$front->safe_psql('postgres', "ALTER SERVER n3 OPTIONS (SET port '$first')");
my $failed = '';
for (1 .. 20)
{
	$failed = ask($front, "SET ROLE flow_owner; $step");
	last unless $failed eq 'f';
}
like($failed, qr/55000: servers "n[123]" and "n[123]" are the same database/, 'is seen before anything is deleted');
$front->safe_psql('postgres', "ALTER SERVER n3 OPTIONS (SET port '$port')");
is(ask($front, $all), "$nbase $nbase", 'all is there');

# a server that hangs: all of its sessions are stopped
my @stopped = split /\n/, $far{n1}->safe_psql('postgres', q{SELECT pg_backend_pid()});
$session = $front->background_psql('postgres', on_error_stop => 0);
$session->query_safe(q{SET ROLE flow_owner; SET client_min_messages = error});
$session->query_safe(q{SELECT count(*) FROM jflow_post('/filter', NULL::jflow_doc[], 'plain')});
@stopped = split /\n/, $far{n1}->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND usename = 'flow_owner'});
isnt(scalar(@stopped), 0, 'there are sessions on the server');
kill 'STOP', @stopped;
my $said = '';
{
	my ($out, $ok) = $session->query("\\set VERBOSITY verbose\n$step");
	$said = $session->{stderr};
	$session->{stderr} = '';
}
kill 'CONT', @stopped;
like($said, qr/57014|^$/, 'a server that does not answer is not waited for for ever: the step fails, or asks it anew');
is(is_held($front), 0, 'and nothing is held meanwhile');
$session->quit;

# dropped in the middle, and dumped
my $dump = $front->backup_dir . '/dump.sql';
$front->command_ok([ 'pg_dump', '-f', $dump, $front->connstr('postgres') ], 'a dump in the middle');
unlike(slurp_file($dump), qr/remote_move/, 'does not say how far it was');
ok(step_to(''), 'it comes to its end');
is(ask($front, $all), "$nbase $nbase", 'with all that was there');
is(join(' ', map { $far{$_}->safe_psql('postgres', q{SELECT count(*) > 60 FROM jflow_post('/filter', NULL::jflow_doc[], 'plain', '{"limit": 10000}')}) } @names), 't t t', 'on three servers');
ask($front, scale('plain', '{n1}'));
ok(step_to('copy'), 'and back');
owner_sql($front, q{SELECT jflow_remove('plain', 'far')});
is($front->safe_psql('postgres', 'SELECT count(*) FROM jflow.remote_move'), 0, 'an executor that is removed leaves nothing');
fails_with($front, "SET ROLE flow_owner; $step", '42704', qr/does not exist/, 'and nothing is moved');

# chunks: of documents that are stored themselves, too, and posted before without any
for my $name (@names)
{
	owner_sql($far{$name}, q{SELECT jflow_create('parts'); SELECT jflow_add('parts', 'indexer', uses => 'PQLiteIndexer', replicas => 0, uses_with => '{"dim": 2, "on_missing": "store"}')});
}
owner_sql($front, q{SELECT jflow_create('parts'); SELECT jflow_add('parts', 'split', uses => 'TextSplitter', replicas => 0, uses_with => '{"size": 10, "overlap": 0}');
	SELECT jflow_add('parts', 'far', uses => 'RemoteFlow', replicas => 0, uses_with => '{"servers": ["n1", "n2"], "flow": "parts"}')});
my $texts = sub { my ($text) = @_; return "SELECT count(*) FROM jflow_post('/index', (SELECT array_agg(jflow_doc(id => 'P' || i, text => '$text')) FROM generate_series(1, 60) i), 'parts')" };
my $parts = q{SELECT string_agg(id, ' ' ORDER BY id) FROM jflow_post('/filter', NULL::jflow_doc[], 'parts', '{"limit": 10000}')};
my $parts_step = q{SELECT jflow.reshard_step('parts', 'far')};
ask($front, $texts->($_)) for '', 'one two three four five six seven';
my $stored = ask($front, $parts);
like($stored, qr/P7#2/, 'there are chunks');
for my $servers ('{n1}', '{n3}', '{n1,n2,n3}')
{
	ask($front, scale('parts', $servers));
	my $left = 200;
	$left-- while $left > 0 && owner_sql($front, $parts_step) eq 'f';
	is(ask($front, $parts), $stored, "to $servers all move");
}
ask($front, $texts->('one'));
is(ask($front, $parts), join(' ', sort map { $_ == 0 ? () : ("P$_", "P$_#0") } 0 .. 60), 'and no chunk is left where the document has fewer');

# by the hash of polling a document is found while it moves; a step that takes too long takes less
owner_sql($front, q{SELECT jflow_create('slow'); SELECT jflow_add('slow', 'far', uses => 'RemoteFlow', replicas => 0, timeout => '2 s', polling => '{"/index": "hash", "/fetch": "hash", "*": "all"}', uses_with => '{"servers": ["n1", "n2"], "flow": "other"}')});
my $fetch = qq{SELECT count(*) FROM jflow_post('/fetch', (SELECT array_agg(jflow_doc(id => 'd' || i)) FROM generate_series(1, $nbase) i), 'slow')};
my $slow_step = q{SELECT jflow.reshard_step('slow', 'far')};
ask($front, "SELECT count(*) FROM jflow_post('/index', $docs, 'slow')");
owner_sql($far{n3}, q{SELECT count(*) FROM jflow_post('/index', ARRAY[jflow_doc(id => 'x', embedding => '[1,1]')], 'other'); SELECT count(*) FROM jflow_post('/delete', ARRAY[jflow_doc(id => 'x')], 'other')});
my $other = $far{n3}->safe_psql('postgres', q{SELECT format('%I.%I', "schema", parent) FROM jflow.shard WHERE flow = 'other' LIMIT 1});
owner_sql($far{n3}, qq{CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN PERFORM pg_sleep(0.1); RETURN NEW; END \$\$;
	CREATE TRIGGER slowly BEFORE INSERT ON $other FOR EACH ROW EXECUTE FUNCTION slowly()});
ask($front, scale('slow', '{n1,n2,n3}'));
is(ask($front, $fetch), $nbase, 'each is found by its id at once');
is(join(' ', map { ask($front, "SET ROLE flow_owner; $slow_step") } 1 .. 3), 'f f f', 'steps go on');
fails_with($front, "SET ROLE flow_owner; SET statement_timeout = '2300ms'; $slow_step", '57014', qr/canceling statement due to statement timeout/, 'a cancel is none that takes less, also behind the limit of time');
is(join(' ', map { ask($front, "SET ROLE flow_owner; $slow_step") } 1 .. 2), 'f f', 'steps go on again');
isnt($front->safe_psql('postgres', q{SELECT coalesce("position", node) FROM jflow.remote_move WHERE flow = 'slow' AND stage = 'copy'}), '', 'and something has been copied');
is(ask($front, $fetch), $nbase, 'and each is found');
owner_sql($far{n3}, "DROP TRIGGER slowly ON $other");

# an executor that is removed, and added again, while a step deletes
my $old = $far{n1}->safe_psql('postgres', q{SELECT format('%I.%I', "schema", parent) FROM jflow.shard WHERE flow = 'other' LIMIT 1});
owner_sql($far{n1}, qq{CREATE FUNCTION at_gate() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN OLD; END \$\$;
	CREATE TRIGGER at_gate BEFORE DELETE ON $old FOR EACH ROW EXECUTE FUNCTION at_gate()});
for (1 .. 200)
{
	last if $front->safe_psql('postgres', q{SELECT stage FROM jflow.remote_move WHERE flow = 'slow'}) eq 'delete';
	owner_sql($front, $slow_step);
}
my $gate = $far{n1}->background_psql('postgres', on_error_stop => 0);
$gate->query_safe('SELECT pg_advisory_lock(7)');
my $stepping = post_in_background($front, "SET ROLE flow_owner; $slow_step");
wait_state($far{n1}, q{SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}, 'a step deletes');
owner_sql($front, q{BEGIN; SELECT jflow_remove('slow', 'far');
	SELECT jflow_add('slow', 'far', uses => 'RemoteFlow', replicas => 0, uses_with => '{"servers": ["n1", "n2"], "flow": "other"}'); COMMIT});
$gate->quit;
my (undef, $err) = finish_background($stepping);
like($err, qr/was changed while its documents were moved|57014|canceling|not answered/, 'it fails');
is(ask($front, q{SELECT count(DISTINCT id) FROM jflow_post('/filter', NULL::jflow_doc[], 'slow', '{"limit": 10000}')}), $nbase, 'and nothing is deleted');

# a new server that is lost for good
owner_sql($front, q{SELECT jflow_add('plain', 'far', uses => 'RemoteFlow', replicas => 0, uses_with => '{"servers": ["n1", "n3"], "flow": "plain"}')});
my $left = ask($front, $all);
fails_with($front, scale('plain', '{n1,n3,n2}'), '55000', qr/server "n2" has documents of flow "plain" already/, 'a server that has old documents');
ask($far{n2}, q{SELECT jflow_post('/clear', NULL::jflow_doc[], 'plain')});
ask($front, scale('plain', '{n1,n3,n2}'));
ok(step_to('settle'), 'documents are on one server more');
$far{n2}->stop('immediate');
owner_sql($front, q{SELECT jflow_remove('plain', 'far'); SELECT jflow_add('plain', 'far', uses => 'RemoteFlow', replicas => 0, uses_with => '{"servers": ["n1", "n3"], "flow": "plain"}')});
is(ask($front, $all), $left, 'without it all is where it was');
$front->stop;
$far{$_}->stop for qw(n1 n3);
done_testing();

# How many locks of moves are held by others than running transactions.
sub is_held
{
	my ($node) = @_;
	return $node->safe_psql('postgres', q{SELECT count(*) FROM pg_locks l WHERE l.locktype = 'object' AND l.classid = 'jflow.remote_move'::regclass});
}
