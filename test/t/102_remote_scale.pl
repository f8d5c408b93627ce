# Is every document there once and as it was last written, and does every search find all of them once, while they move to other servers, whatever crashes meanwhile?
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
my $nbase = 900;

prepare_database($front);
$front->safe_psql('postgres', "SET client_min_messages = error; CREATE EXTENSION postgres_fdw");
for my $name (@names)
{
	prepare_database($far{$name});
	owner_sql($far{$name}, qq{SELECT jflow_create(f), jflow_add(f, 'indexer', uses => 'PQLiteIndexer', replicas => 0, uses_with => '{"dim": 2, "metric": "l2"}') FROM unnest('{news,hand}'::text[]) f;
		SELECT jflow_create('split'); SELECT jflow_add('split', 's', uses => 'TextSplitter', replicas => 0); SELECT jflow_add('split', 'indexer', uses => 'PQLiteIndexer', replicas => 0, uses_with => '{"dim": 2}');
		SELECT jflow_create('two'); SELECT jflow_add('two', 'a', uses => 'shout', replicas => 0); SELECT jflow_add('two', 'b', uses => 'PQLiteIndexer', replicas => 0, uses_with => '{"dim": 2}')});
	$front->safe_psql('postgres', qq{CREATE SERVER $name FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '@{[$far{$name}->host]}', port '@{[$far{$name}->port]}', dbname 'postgres');
		GRANT USAGE ON FOREIGN SERVER $name TO flow_owner;
		CREATE USER MAPPING FOR flow_owner SERVER $name OPTIONS (user 'flow_owner', password_required 'false')});
}

sub add_remote
{
	my ($flow, $far, $extra) = @_;
	owner_sql($front, qq{SELECT jflow_create('$flow'); SELECT jflow_add('$flow', 'far', uses => 'RemoteFlow', uses_with => '{"servers": ["n1", "n2"], "flow": "$far"}', $extra)});
	return;
}

# What each server has of a flow: id => { text, how often, where }.
sub stored
{
	my ($flow) = @_;
	my %there;
	for my $name (@names)
	{
		for (split /\n/, $far{$name}->safe_psql('postgres', "SELECT id || ' ' || coalesce(text, '') FROM jflow_post('/filter', NULL::jflow_doc[], '$flow', '{\"limit\": 100000}')"))
		{
			my ($id, $text) = split / /, $_, 2;
			push @{ $there{$id}{at} }, $name;
			push @{ $there{$id}{texts} }, $text;
		}
	}
	return \%there;
}

sub is_moving { my ($flow) = @_; return "SELECT uses_with ? 'move' FROM jflow_executors WHERE flow = '$flow'" }

add_remote('news', 'news', 'replicas => 4');
add_remote('hand', 'hand', 'replicas => 0');
add_remote('split', 'split', 'replicas => 0');
add_remote('two', 'two', 'replicas => 0');
start_flow($front, 'news');

# what is refused, before anything changes
my $scale = q{SET ROLE flow_owner; SELECT jflow_scale('%s', 'far', servers => '%s')};
fails_with($front, sprintf($scale, 'news', '{n1,n2,n2}'), '22023', qr/server "n2" is named twice/, 'a server twice');
fails_with($front, sprintf($scale, 'news', '{}'), '22023', qr/servers must not be empty/, 'no server');
fails_with($front, sprintf($scale, 'news', '{n1,n2,n4}'), '42704', qr/server "n4" does not exist/, 'a server that is not there');
fails_with($front, sprintf($scale, 'split', '{n1,n2,n3}'), '0A000', qr/documents of flow "split" cannot be moved.*Executor "s" may store something else/s, 'a splitter there');
fails_with($front, sprintf($scale, 'two', '{n1,n2,n3}'), '0A000', qr/documents of flow "two" cannot be moved.*Executor "a"/s, 'a function there');
fails_with($front, q{SET ROLE flow_owner; SELECT jflow_scale('news', 'far', shards => 2, servers => '{n1,n2}')}, '22023', qr/cannot both be given/, 'shards, too');
$front->safe_psql('postgres', 'DROP USER MAPPING FOR flow_owner SERVER n3');
fails_with($front, sprintf($scale, 'news', '{n1,n2,n3}'), '42704', qr/user mapping not found/, 'without a user mapping');
$front->safe_psql('postgres', q{CREATE USER MAPPING FOR flow_owner SERVER n3 OPTIONS (user 'flow_owner', password_required 'false')});
is(ask($front, q{SELECT shards, uses_with->'servers', uses_with ? 'move' FROM jflow_executors WHERE flow = 'news'}), '2|["n1", "n2"]|f', 'nothing has changed');
is(ask($front, sprintf($scale, 'news', '{n2,n1}')), '8', 'the same servers');
is(ask($front, is_moving('news')), 'f', 'move nothing');

# by hand, in sessions
my $docs = q{(SELECT array_agg(jflow_doc(id => 'd' || i, text => 'text ' || i, tags => jsonb_build_object('n', i), embedding => ARRAY[i, i % 7]::vector)) FROM generate_series(1, 500) i)};
my $step = q{SELECT jflow.reshard_step('hand', 'far', 100)};
my $all = q{SELECT md5(string_agg(d::text, ' ' ORDER BY id)) FROM jflow_post('/filter', NULL::jflow_doc[], 'hand', '{"limit": 10000}') d};
my $best = q{SELECT md5(string_agg(m::text, ' ')) FROM jflow_post('/search', ARRAY[jflow_doc(id => 'q', embedding => '[200,3]')], 'hand', '{"limit": 300, "offset": 5, "recall": 1}') d, unnest(d.matches) m};
ask($front, "SELECT count(*) FROM jflow_post('/index', $docs, 'hand')");
my ($all_before, $best_before) = (ask($front, $all), ask($front, $best));
like(($front->psql('postgres', sprintf($scale, 'hand', '{n1,n2,n3}')))[2], qr/NOTICE:  documents of executor "far" are moved while flow "hand" is started/, 'a flow that is not started says so');
fails_with($front, sprintf($scale, 'hand', '{n1,n3}'), '55006', qr/are being moved already/, 'others meanwhile');
fails_with($front, "SET ROLE flow_owner; BEGIN; $step; $step; $step", '25001', qr/cannot be moved further in this transaction.*Commit it/s, 'steps of one transaction');
my ($steps, %stages) = (0);
while ($steps++ < 200 && owner_sql($front, $step) eq 'f')
{
	$stages{ $front->safe_psql('postgres', 'SELECT stage FROM jflow.remote_move') }++;
	is(ask($front, $all) . ask($front, $best), $all_before . $best_before, 'all is found, once, in the same order') if $steps % 5 == 0;
	ask($front, q{SELECT jflow_post('/update', ARRAY[jflow_doc(id => 'd7', text => 'text 7')], 'hand')});
}
is(join(' ', sort keys %stages), 'copy delete lock settle wait', 'in stages');
is(ask($front, q{SELECT shards, uses_with->'servers', uses_with ? 'move' FROM jflow_executors WHERE flow = 'hand'}), '3|["n1", "n2", "n3"]|f', 'three servers');
is(ask($front, $all) . ask($front, $best), $all_before . $best_before, 'with all that was there');
my $there = stored('hand');
my $third = grep { $_->{at}[0] eq 'n3' } values %$there;
is(scalar(grep { @{ $_->{at} } != 1 } values %$there), 0, 'each once');
ok($third > 110 && $third < 225, "a third is on the third: $third of 500");

# Under load.  A writer notes what it is going to write, and what was acknowledged;
# a searcher counts what was there from the beginning.
owner_sql($front, qq{
	CREATE TABLE word (id text PRIMARY KEY, tried int NOT NULL, acked int NOT NULL);
	CREATE TABLE seen (what text, total int, ids int, state text);
	CREATE TABLE rest (done bool);
	CREATE PROCEDURE write(who text) LANGUAGE plpgsql AS \$\$
	DECLARE n int := 0; it text; good bool;
	BEGIN
		LOOP
			n := n + 1;
			it := who || '.' || n % 60;
			INSERT INTO word VALUES (it, n, 0) ON CONFLICT (id) DO UPDATE SET tried = word.tried + 1;
			COMMIT;
			BEGIN
				IF (SELECT tried % 3 = 0 FROM word WHERE id = it) THEN
					PERFORM jflow_post('/delete', ARRAY[jflow_doc(id => it)], 'news');
				ELSE
					PERFORM jflow_post('/index', ARRAY[jflow_doc(id => it, text => (SELECT tried FROM word WHERE id = it)::text, embedding => '[1000,1000]')], 'news');
				END IF;
				UPDATE word SET acked = tried WHERE id = it;
			EXCEPTION WHEN QUERY_CANCELED OR OTHERS THEN
				INSERT INTO seen VALUES ('write', NULL, NULL, SQLSTATE);
			END;
			COMMIT;
			EXIT WHEN EXISTS (SELECT FROM rest);
		END LOOP;
	END \$\$;
	CREATE PROCEDURE look() LANGUAGE plpgsql AS \$\$
	BEGIN
		LOOP
			BEGIN
				INSERT INTO seen SELECT 'filter', count(*), count(DISTINCT id) FROM jflow_post('/filter', NULL::jflow_doc[], 'news', '{"limit": 100000}') WHERE id LIKE 'base.%';
				INSERT INTO seen SELECT 'search', count(*), count(DISTINCT m.id) FROM jflow_post('/search', ARRAY[jflow_doc(id => 'q', embedding => '[0,0]')], 'news', '{"limit": $nbase, "recall": 1}') d, unnest(d.matches) m WHERE m.id LIKE 'base.%';
			EXCEPTION WHEN QUERY_CANCELED OR OTHERS THEN
				INSERT INTO seen VALUES ('failed', NULL, NULL, SQLSTATE);
			END;
			COMMIT;
			EXIT WHEN EXISTS (SELECT FROM rest);
		END LOOP;
	END \$\$});
my $base = qq{(SELECT array_agg(jflow_doc(id => 'base.' || i, text => 'text ' || i, embedding => ARRAY[i % 30, i / 30]::vector)) FROM generate_series(1, $nbase) i)};
is(ask($front, "SELECT count(*) FROM jflow_post('/index', $base, 'news')"), $nbase, 'documents are there before');
my $quiet = $front->safe_psql('postgres', q{SELECT md5(string_agg(d::text, ' ' ORDER BY id)) FROM jflow_post('/filter', NULL::jflow_doc[], 'news', '{"limit": 100000}') d WHERE id LIKE 'base.%'});


# A gate at each server, through which only what moves goes: writers write other ids.
for my $name (@names)
{
	ask($far{$name}, q{SELECT jflow_post('/index', ARRAY[jflow_doc(id => 'x', embedding => '[0,0]')], 'news')});
	ask($far{$name}, q{SELECT jflow_post('/delete', ARRAY[jflow_doc(id => 'x')], 'news')});
	my $table = $far{$name}->safe_psql('postgres', q{SELECT format('%I.%I', "schema", parent) FROM jflow.shard WHERE flow = 'news' LIMIT 1});
	owner_sql($far{$name}, qq{
		CREATE FUNCTION gate_row() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN
			IF coalesce(NEW.id, OLD.id) LIKE 'base.%' THEN PERFORM pg_advisory_xact_lock_shared(7); END IF;
			RETURN coalesce(NEW, OLD);
		END \$\$;
		CREATE TRIGGER gate BEFORE INSERT OR DELETE ON $table FOR EACH ROW EXECUTE FUNCTION gate_row()});
}

my @sessions;
sub begin_load
{
	owner_sql($front, 'TRUNCATE rest');
	@sessions = map { post_in_background($front, "SET ROLE flow_owner; CALL $_") } "write('a')", "write('b')", 'look()';
	return;
}

sub end_load
{
	owner_sql($front, 'INSERT INTO rest VALUES (true)');
	eval { finish_background($_) } for @sessions;
	return;
}

# Wait until each kind of load has gone on.
sub wait_for_load
{
	my ($name) = @_;
	my ($words, $seen) = split / /, $front->safe_psql('postgres', q{SELECT (SELECT coalesce(sum(tried), 0) FROM word) || ' ' || (SELECT count(*) FROM seen WHERE what <> 'write')});
	return wait_state($front, "SELECT (SELECT sum(tried) FROM word) > $words + 4 AND (SELECT count(*) FROM seen WHERE what <> 'write') > $seen + 2", $name);
}

sub wait_stage
{
	my ($stage) = @_;
	return wait_state($front, "SELECT stage = '$stage' FROM jflow.remote_move WHERE flow = 'news'", "stage $stage");
}

# A transaction that has posted, so that a stage cannot end before it does.
sub hold_stage
{
	my $session = $front->background_psql('postgres');
	$session->query_safe(q{BEGIN; SELECT count(*) FROM jflow_post('/fetch', ARRAY[jflow_doc(id => 'base.1')], 'news')});
	return $session;
}

# The mover, which somebody holds up, is killed; its server starts all processes anew.
sub kill_mover
{
	my ($name) = @_;
	wait_state($front, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'jflow mover'}, "there is a mover: $name");
	kill_and_wait($front, worker_pid($front, 'jflow mover'));
	end_load();
	wait_state($front, q{SELECT jflow_wait('news')}, "replicas run again: $name");
	begin_load();
	return;
}

# Close the gate of a server.
sub close_gate
{
	my ($name) = @_;
	my $session = $far{$name}->background_psql('postgres', on_error_stop => 0);
	$session->query_safe('SELECT pg_advisory_lock(7)');
	return $session;
}

sub wait_at_gate
{
	my ($name) = @_;
	wait_state($far{$name}, q{SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND objid = 7 AND NOT granted}, "a step is at the gate of $name");
	return;
}

sub wait_moved
{
	my ($name) = @_;
	wait_state($front, "SELECT NOT (uses_with ? 'move') FROM jflow_executors WHERE flow = 'news'", $name);
	return;
}

# Is all there, once, and as it was written?
sub check_all
{
	my ($name) = @_;
	my $stored = stored('news');
	my $sum = $front->safe_psql('postgres', q{SELECT md5(string_agg(d::text, ' ' ORDER BY id)) FROM jflow_post('/filter', NULL::jflow_doc[], 'news', '{"limit": 100000}') d WHERE id LIKE 'base.%'});
	is($sum, $quiet, "$name: what was there from the beginning is as it was");
	is(join(' ', grep { @{ $stored->{$_}{at} } > 1 } sort keys %$stored), '', "$name: nothing is there twice");
	my @wrong;
	for (split /\n/, $front->safe_psql('postgres', 'SELECT id, tried, acked FROM word'))
	{
		my ($id, $tried, $acked) = split /\|/, $_;
		my $text = $stored->{$id} ? $stored->{$id}{texts}[0] : 'gone';
		push @wrong, "$id is $text, tried $tried, acknowledged $acked" unless grep { $text eq ($_ % 3 == 0 ? 'gone' : $_) } $acked .. $tried;
	}
	is(join(', ', @wrong), '', "$name: what was acknowledged is there, and nothing older");
	is($front->safe_psql('postgres', "SELECT string_agg(DISTINCT what || ' ' || total || ' ' || ids, ', ') FROM seen WHERE what IN ('filter', 'search') AND (total <> $nbase OR ids <> $nbase)"), '', "$name: every search found all, once");
	return;
}

begin_load();
wait_for_load('there is load');

# grow, whatever happens
my $holder = hold_stage();
my $gate = close_gate('n3');
is(owner_sql($front, q{SELECT jflow_scale('news', 'far', servers => '{n1,n2,n3}')}), 12, 'three servers are wanted');
wait_stage('lock');
my $port = $far{n3}->port;
$front->safe_psql('postgres', "ALTER SERVER n3 OPTIONS (SET port '1')");
$holder->query_safe('COMMIT');
$holder->quit;
wait_state($front, q{SELECT count(*) > 0 FROM jflow_status WHERE flow = 'news' AND last_error LIKE '%could not connect to server "n3"%'}, 'a server that is away is told of');
$front->safe_psql('postgres', "ALTER SERVER n3 OPTIONS (SET port '$port')");
wait_at_gate('n3');
wait_stage('copy');
kill_mover('copying');
wait_at_gate('n3');
$holder = hold_stage();
$gate->quit;
wait_stage('settle');
wait_for_load('posts go on, to both places');
$gate = close_gate('n1');
kill_mover('between');
wait_at_gate('n1');
wait_stage('delete');
$far{n1}->stop('immediate');
eval { $_->quit } for $gate, $holder;
$far{n1}->start;
wait_moved('all have moved');
end_load();
check_all('grown');
note('failed: ' . $front->safe_psql('postgres', q{SELECT string_agg(what || ' ' || state || ' ' || n, ', ') FROM (SELECT what, state, count(*) n FROM seen WHERE state IS NOT NULL GROUP BY 1, 2) x}));
is($front->safe_psql('postgres', q{SELECT string_agg(DISTINCT state, ' ') FROM seen WHERE state IS NOT NULL AND state !~ '^(08|57P|40003)'}), '', 'what has failed says that a server was away');
isnt($front->safe_psql('postgres', 'SELECT count(*) FROM seen WHERE total IS NOT NULL'), 0, 'and there were searches');

# shrink, to others, and nothing fails
owner_sql($front, 'TRUNCATE seen');
begin_load();
is(owner_sql($front, q{SELECT jflow_scale('news', 'far', servers => '{n3,n2}')}), 12, 'two servers are wanted');
wait_moved('all have moved away from the first');
wait_for_load('and there is still load');
end_load();
check_all('shrunk');
is($front->safe_psql('postgres', q{SELECT string_agg(DISTINCT what || ' ' || state, ' ') FROM seen WHERE state IS NOT NULL}), '', 'no post has failed');
is(scalar(grep { $_->{at}[0] eq 'n1' } values %{ stored('news') }), 0, 'nothing is left on the first');
is(ask($front, q{SELECT shards, uses_with->'servers', uses_with->'nodes' FROM jflow_executors WHERE flow = 'news'}), '2|["n3", "n2"]|["n3", "n2"]', 'two servers');
is_at_rest($front, 'at the end');
$front->stop;
$_->stop for values %far;
done_testing();
