# Does a step of a move that is undone leave nothing on other servers, also of flows with replicas, and is what was written last the one that stays, whoever began before the move?
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

sub docs { my ($id, $text) = @_; return "(SELECT array_agg(jflow_doc(id => '$id' || i, text => '$text', embedding => ARRAY[i, i % 7]::vector)) FROM generate_series(1, 15) i)" }
sub index_sql { my ($flow, $id, $text) = @_; return "SELECT count(*) FROM jflow_post('/index', @{[docs($id, $text)]}, '$flow')" }
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
$stepper->quit;
$front->stop;
$_->stop for values %far;
done_testing();
