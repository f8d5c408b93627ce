# Does a step of a move that is undone leave nothing on other servers, also of flows with replicas, is what was written last the one that stays, whoever began before the move, does no step make an index, and is a flow that is stopped left alone?
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
for my $name (@names)
{
	prepare_database($far{$name});
	owner_sql($far{$name}, q{SELECT jflow_create(f), jflow_add(f, 'indexer', uses => 'PQLiteIndexer', replicas => n, uses_with => '{"dim": 2, "metric": "l2"}') FROM (VALUES ('busy', 2), ('late', 0)) x(f, n)});
	start_flow($far{$name}, 'busy');
	$front->safe_psql('postgres', qq{CREATE SERVER $name FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '@{[$far{$name}->host]}', port '@{[$far{$name}->port]}', dbname 'postgres');
		GRANT USAGE ON FOREIGN SERVER $name TO flow_owner;
		CREATE USER MAPPING FOR flow_owner SERVER $name OPTIONS (user 'flow_owner', password_required 'false')});
}
for my $flow (qw(busy late))
{
	owner_sql($front, qq{SELECT jflow_create('$flow'); SELECT jflow_add('$flow', 'far', uses => 'RemoteFlow', replicas => 0, uses_with => '{"servers": ["n1", "n2"], "flow": "$flow"}')});
}

sub docs { my ($id, $text, $n) = @_; $n ||= 15; return "(SELECT array_agg(jflow_doc(id => '$id' || i, text => '$text', embedding => ARRAY[i, i % 7]::vector)) FROM generate_series(1, $n) i)" }
sub index_sql { my ($flow, $id, $text, $n) = @_; return "SELECT count(*) FROM jflow_post('/index', @{[docs($id, $text, $n)]}, '$flow')" }
sub scale { my ($flow, $servers) = @_; return "SET ROLE flow_owner; SELECT jflow_scale('$flow', 'far', servers => '$servers')" }
sub step { my ($flow) = @_; return "SELECT jflow.reshard_step('$flow', 'far', 100)" }
sub stage { my ($flow) = @_; return $front->safe_psql('postgres', "SELECT stage FROM jflow.remote_move WHERE flow = '$flow'") }
sub count_at { my ($flow, $name) = @_; return $far{$name}->safe_psql('postgres', "SELECT count(*) FROM jflow_post('/filter', NULL::jflow_doc[], '$flow', '{\"limit\": 10000}')") }

# Which texts documents of a letter have, and how many each.
sub texts
{
	my ($flow, $id) = @_;
	return ask($front, "SELECT string_agg(text || ' ' || n, ', ' ORDER BY text) FROM (SELECT text, count(*) || ' ' || count(DISTINCT id) n FROM jflow_post('/filter', NULL::jflow_doc[], '$flow', '{\"limit\": 10000}') WHERE id LIKE '$id%' GROUP BY 1) x");
}

# Steps are made in one session, which remembers what it waits for.
my $stepper;
sub make_step
{
	my ($flow) = @_;
	unless ($stepper)
	{
		$stepper = $front->background_psql('postgres');
		$stepper->query_safe('SET ROLE flow_owner');
	}
	return $stepper->query_safe(step($flow));
}

# Make steps until a stage is reached, or with '' the end.
sub step_to
{
	my ($flow, $stage) = @_;
	for (1 .. 300)
	{
		my $done = make_step($flow);
		return $stage eq '' if $done eq 't';
		return 1 if $stage ne '' && stage($flow) eq $stage;
	}
	return 0;
}

# Wait until a server has somebody who waits for a lock, or a post has ended.
sub wait_blocked
{
	my ($name, @nodes) = @_;
	my $waits = 0;
	for (1 .. 1800)
	{
		$waits = grep { $_->safe_psql('postgres', 'SELECT count(*) FROM pg_locks WHERE NOT granted') > 0 } @nodes;
		last if $waits || $front->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%jflow_post%' AND pid <> pg_backend_pid()") == 0;
		select(undef, undef, undef, 0.1);
	}
	ok($waits, $name);
	return;
}

# steps that are undone, of flows with replicas
ask($front, index_sql('busy', 'd', 'a text'));
ask($front, scale('busy', '{n1,n2,n3}'));
ok(step_to('busy', 'copy'), 'documents are about to be copied');
for (1 .. 2)
{
	owner_sql($front, "BEGIN; @{[step('busy')]}; ROLLBACK");
	is(count_at('busy', 'n3'), 0, 'a step that is undone has stored nothing');
	make_step('busy');
	last if count_at('busy', 'n3') > 0;
}
isnt(count_at('busy', 'n3'), 0, 'one that is not has');
is(ask($front, q{SELECT count(*) FROM jflow_post('/delete', ARRAY[jflow_doc(id => 'd7')], 'busy')}), 1, 'a delete meanwhile');
ok(step_to('busy', 'delete'), 'documents are about to be deleted');
my $before = count_at('busy', 'n1') . ' ' . count_at('busy', 'n2');
owner_sql($front, "BEGIN; @{[step('busy')]}; ROLLBACK");
is(count_at('busy', 'n1') . ' ' . count_at('busy', 'n2'), $before, 'a step that is undone has deleted nothing');
ok(step_to('busy', ''), 'it comes to its end');
is(texts('busy', 'd'), 'a text 14 14', 'with all that was there');
is(count_at('busy', 'n1') + count_at('busy', 'n2') + count_at('busy', 'n3'), 14, 'once');

# a writer of new documents that began before the move, and a later one of the same
for my $name (@names)
{
	owner_sql($far{$name}, index_sql('late', 'x', 'so that there is a table'));
	owner_sql($far{$name}, "SELECT count(*) FROM jflow_post('/delete', @{[docs('x', '')]}, 'late')");
}
my $older = $front->background_psql('postgres');
$older->query_safe("BEGIN; @{[index_sql('late', 'e', 'older')]}");
ask($front, scale('late', '{n1,n2,n3}'));
make_step('late') for 1 .. 3;
is(stage('late'), 'lock', 'who began before is waited for');
my $newer = post_in_background($front, index_sql('late', 'e', 'newer'));
wait_blocked('who writes the same documents waits for the older one', @far{qw(n1 n2)});

# a writer that has planned where to write before that changes
my $first = $front->background_psql('postgres');
$first->query_safe("BEGIN; @{[index_sql('late', 'g', 'first')]}");
$older->query_safe('COMMIT');
$older->quit;
my (undef, $err) = finish_background($newer);
is($err, '', 'it goes on then');
is(texts('late', 'e'), 'newer 15 15', 'and what it has written stays');
my $second = post_in_background($front, index_sql('late', 'g', 'second'));
wait_blocked('who writes documents that another one has waits', $front);
ok(step_to('late', 'wait'), 'the stage goes on');
make_step('late') for 1 .. 3;
is(stage('late'), 'wait', 'and waits for both');
$first->query_safe(index_sql('late', 'g', 'first again'));
isnt(count_at('late', 'n3'), '', 'which now write to the new places');
$first->query_safe('COMMIT');
$first->quit;
(undef, $err) = finish_background($second);
is($err, '', 'it goes on');
is(texts('late', 'g'), 'second 15 15', 'and has written last, wherever that is now');
ok(step_to('late', ''), 'it comes to its end');
is(texts('late', 'e') . ', ' . texts('late', 'g'), 'newer 15 15, second 15 15', 'with what was written last');
is(count_at('late', 'n1') + count_at('late', 'n2') + count_at('late', 'n3'), 30, 'each once');

# back, and a crash, before anything has moved
$older = $front->background_psql('postgres');
$older->query_safe("BEGIN; @{[index_sql('late', 'h', 'older')]}");
like(($front->psql('postgres', scale('late', '{n1}')))[2], qr/NOTICE:  documents of executor "far" are moved while/, 'one server is wanted');
make_step('late') for 1 .. 2;
is(stage('late'), 'lock', 'writers are waited for');
is(($front->psql('postgres', scale('late', '{n3,n2,n1}')))[2], '', 'to go back is done at once');
is(ask($front, q{SELECT shards, uses_with ? 'move', uses_with->'servers' FROM jflow_executors WHERE flow = 'late'}), '3|f|["n1", "n2", "n3"]', 'as if nothing had been');
is(make_step('late'), 't', 'and nothing moves');
ask($front, scale('late', '{n1}'));
make_step('late') for 1 .. 2;
is(stage('late'), 'lock', 'again');
$front->stop('immediate');
eval { $_->quit } for $older, $stepper;
undef $stepper;
$front->start;
ok(step_to('late', ''), 'after a crash it comes to its end');
is(texts('late', 'e') . ', ' . texts('late', 'g'), 'newer 15 15, second 15 15', 'with all');
is(count_at('late', 'n1'), 30, 'on one server');

# so many documents that a post would train, where no mover does it
sub indexes_at { my ($name) = @_; return $far{$name}->safe_psql('postgres', q{SELECT count(*) FROM pg_class JOIN pg_am a ON a.oid = relam WHERE amname = 'pq' AND relkind = 'i'}) }
ask($front, index_sql('late', 'k', 'many ' x 20, 6000));
is(indexes_at('n1'), 1, 'a post makes an index');
ask($front, scale('late', '{n2}'));
ok(step_to('late', ''), 'many documents move');
is(count_at('late', 'n2'), 6030, 'all of them');
is(indexes_at('n2'), 0, 'no step has made an index');
is($far{n2}->safe_psql('postgres', q{SELECT bool_and(due) FROM jflow.shard WHERE flow = 'late'}), 't', 'it is due');
ask($front, index_sql('late', 'l', 'few', 1));
is(indexes_at('n2'), 1, 'the next post makes it');

# a flow that is stopped
sub stored { my ($id) = @_; return qq{SET ROLE flow_owner; SELECT count(*) FROM unnest(jflow.remote_post('/index', @{[docs($id, '', 1)]}, 'busy', '{}', '{"version": 1, "origin": [], "stored": true}'))} }
is(ask($far{n1}, stored('m')), 1, 'what a step stores is stored in a flow that is started');
$before = count_at('busy', 'n1');
$far{n1}->safe_psql('postgres', q{CREATE ROLE guest LOGIN; GRANT USAGE ON SCHEMA jflow TO guest; SET client_min_messages = error; SET ROLE flow_owner; SELECT jflow_grant('busy', 'guest', '{/index,/delete}')});
my $table = $far{n1}->safe_psql('postgres', q{SELECT format('%I.%I', "schema", parent) FROM jflow.shard WHERE flow = 'busy' LIMIT 1});
owner_sql($far{n1}, qq{CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
	CREATE CONSTRAINT TRIGGER later AFTER INSERT ON $table DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION nothing()});
(my $as_guest = stored('p')) =~ s/flow_owner/guest/;
fails_with($far{n1}, $as_guest, '42501', qr/security-restricted operation/, 'for another login triggers run restricted');
is($far{n1}->safe_psql('postgres', "SET ROLE guest; @{[index_sql('busy', 'm', '', 1)]}"), 1, 'as those of a post do not, which replicas fire');
is(ask($far{n1}, stored('m')), 1, 'nor for the owner');
$far{n1}->safe_psql('postgres', 'ALTER SYSTEM SET jflow.enabled = off');
$far{n1}->reload;
ok($far{n1}->poll_query_until('postgres', q{SELECT current_setting('jflow.enabled') = 'off'}), 'replicas are switched off');
fails_with($far{n1}, stored('n'), '55000', qr/flow "busy" is not started.*switched off/s, 'not where replicas are switched off');
$far{n1}->safe_psql('postgres', 'ALTER SYSTEM RESET jflow.enabled');
$far{n1}->reload;
ok($far{n1}->poll_query_until('postgres', q{SELECT current_setting('jflow.enabled') = 'on'}), 'and on again');
owner_sql($far{n1}, q{SELECT jflow_stop('busy')});
fails_with($far{n1}, stored('o'), '55000', qr/flow "busy" is not started/, 'nor in one that is stopped');
start_flow($far{n1}, 'busy');
is(count_at('busy', 'n1'), $before, 'nothing has come there');
$stepper->quit;
$front->stop;
$_->stop for values %far;
done_testing();
