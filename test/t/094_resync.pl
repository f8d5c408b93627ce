# Is every search answered by the whole old store or by the whole new one, and the end right, while
# rows change and the worker, its replicas and the server are killed during a resync?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', 'fsync = on', 'jflow.max_replicas = 12', 'max_worker_processes = 24');
prepare_database($node);
$node->safe_psql('postgres', 'GRANT CREATE ON DATABASE postgres TO flow_owner');
owner_sql($node, q{
	CREATE FUNCTION encode(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$
	DECLARE
		scale float4 := (SELECT coalesce((uses_with->>'scale')::float4, 1) FROM jflow_context());
	BEGIN
		FOR i IN 1..cardinality(docs) LOOP
			docs[i].embedding := ARRAY[length(docs[i].text) * scale, scale]::vector;
		END LOOP;
		RETURN docs;
	END $$;
	CREATE TABLE item (id int PRIMARY KEY, text text);
	CREATE TABLE done ();
	INSERT INTO item SELECT i, 'first ' || i FROM generate_series(1, 2000) i;
	SELECT jflow_create('f');
	SELECT jflow_add('f', 'encoder', uses => 'public.encode');
	SELECT jflow_add('f', 'store', uses => 'PQLiteIndexer', workspace => 'public', uses_with => '{"dim": 2, "metric": "l2"}');
	SELECT jflow_sync('s', 'f', 'item', '{"text": "text"}', batch => 20)});
start_flow($node, 'f');
wait_state($node, q{SELECT jflow_sync_run('s')}, 'the store is filled');

# rows of the store with another scale than the first of them, and how many there are
my $mixed = q{SELECT count(*) FILTER (WHERE (embedding::real[])[2] <> scale), count(*) < 1990 FROM f_store, (SELECT (embedding::real[])[2] FROM f_store LIMIT 1) s (scale)};
my $changes = PostgreSQL::Test::Utils::tempdir() . '/changes.sql';
append_to_file($changes, q{\set a random(1, 2000)
SET client_min_messages = error;
INSERT INTO done DEFAULT VALUES;
UPDATE item SET text = 'changed ' || :a || repeat('x', :a % 20) WHERE id = :a;
});

sub is_in_step
{
	my ($name, $scale) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	wait_state($node, q{SELECT NOT EXISTS (SELECT FROM jflow_sync_status WHERE name = 's_resync')}, "$name: the stores are exchanged");
	wait_state($node, "SELECT jflow_sync_run('s')", "$name: the sync comes to an end");
	is($node->safe_psql('postgres', qq{SELECT id::text, text, ARRAY[length(text) * $scale, $scale]::vector::text FROM item EXCEPT ALL SELECT id, text, embedding::text FROM f_store}),
		'', "$name: the store has what the table has");
	is($node->safe_psql('postgres', qq{SELECT id, text, embedding::text FROM f_store EXCEPT ALL SELECT id::text, text, ARRAY[length(text) * $scale, $scale]::vector::text FROM item}),
		'', "$name: and nothing else");
	is($node->safe_psql('postgres', q{SELECT count(*) FROM jflow.flow}), '1', "$name: one flow is left");
	return;
}

my $scale = 1;
for my $what ('nothing', 'worker', 'replica', 'crash', 'restart')
{
	$scale++;
	my ($out, $err) = ('', '');
	my $done = $node->safe_psql('postgres', 'SELECT count(*) FROM done');
	local $ENV{PGHOST} = $node->host;
	local $ENV{PGPORT} = $node->port;
	my $pgbench = IPC::Run::start([ 'pgbench', '-n', '-c', 2, '-t', 150, '-f', $changes, 'postgres' ], '<', \undef, '>', \$out, '2>', \$err);
	$node->poll_query_until('postgres', "SELECT count(*) > $done + 20 FROM done");
	owner_sql($node, qq{SELECT jflow_resync('s', '{"encoder": {"scale": $scale}}')});
	if ($what eq 'crash' || $what eq 'restart')
	{
		$node->poll_query_until('postgres', q{SELECT coalesce((SELECT docs > 0 FROM jflow_sync_status WHERE name = 's_resync'), true)});
		my $pid = $what eq 'crash' && worker_pid($node, 'jflow replica');
		kill_and_wait($node, $pid) if $pid;
		if ($what eq 'restart')
		{
			$node->stop('immediate');
			$node->start;
		}
	}
	elsif ($what ne 'nothing')
	{
		my $pid = worker_pid($node, "jflow $what" eq 'jflow worker' ? 'jflow sync' : 'jflow replica');
		kill 'TERM', $pid if $pid;
	}
	my $wrong = '';
	for (1 .. 6000)
	{
		$wrong = $node->safe_psql('postgres', $mixed);
		last if $wrong ne '0|f';
		last if $node->safe_psql('postgres', q{SELECT NOT EXISTS (SELECT FROM jflow_sync_status WHERE name = 's_resync')}) eq 't';
	}
	is($wrong, '0|f', "$what: no look finds two models in the store, or part of the rows");
	$pgbench->finish;
	is_in_step("after a resync with kill of $what", $scale);
}

# searches in other sessions go on through an exchange; one that holds the store's lock is waited for
my $reader = $node->background_psql('postgres');
$reader->query_safe('SET ROLE flow_owner; BEGIN; SELECT count(*) FROM f_store');
owner_sql($node, qq{SELECT jflow_resync('s', '{"encoder": {"scale": 9}}')});
wait_state($node, q{SELECT last_error LIKE '%lock timeout%' FROM jflow_sync_status WHERE name = 's_resync'}, 'the exchange waits for who reads');
my $found = owner_sql($node, q{SELECT count(*) FROM jflow_search('first 1', 5, 'f')});
is($found, '5', 'and is in nobody\'s way meanwhile');
$reader->query_safe('COMMIT');
$reader->quit;
is_in_step('after a reader', 9);

$node->stop;
done_testing();
