# Is a document whose post crashes the server found and set aside, are all others posted, and is no row set aside
# that was on its way when the server crashed for another reason, or was shut down?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
prepare_database($node);
# a function of the server that is told that a number is an address
$node->safe_psql('postgres', q{GRANT CREATE ON SCHEMA public TO flow_owner;
	CREATE FUNCTION crash(int8) RETURNS cstring LANGUAGE internal STRICT AS 'textout'});
owner_sql($node, q{
	CREATE TABLE kept (flow text, id text);
	CREATE FUNCTION keep(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$ BEGIN
		PERFORM pg_advisory_xact_lock_shared(44);
		PERFORM crash(1) FROM unnest(docs) d WHERE d.text = 'crash';
		INSERT INTO public.kept SELECT d.text, d.id FROM unnest(docs) d;
		RETURN docs;
	END $$;
	CREATE TABLE many (id int PRIMARY KEY, text text);
	INSERT INTO many SELECT i, CASE WHEN i = 17 THEN 'crash' ELSE 'many' END FROM generate_series(1, 40) i;
	CREATE TABLE one (id int PRIMARY KEY, text text);
	SELECT jflow_create('many'), jflow_create('one');
	SELECT jflow_add('many', 'e', uses => 'public.keep', replicas => 0), jflow_add('one', 'e', uses => 'public.keep');
	SELECT jflow_sync('one', 'one', 'one', '{"text": "text"}', retries => 0)});
start_flow($node, 'one');

# a row that is alone on its way when the server crashes, twice, or is shut down
my $close = q{BEGIN; SELECT pg_advisory_xact_lock(44); PREPARE TRANSACTION 'gate'};
my $waits = q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted};
my $arrived = q{SELECT count(*) = %d FROM kept WHERE flow = '%s'};
owner_sql($node, "$close; INSERT INTO one VALUES (1, 'one')");
wait_state($node, $waits, 'a row is on its way');
kill_and_wait($node, worker_pid($node, 'jflow replica'));
wait_state($node, q{SELECT attempts = 1 AND sqlstate = '57P02' AND next_try IS NOT NULL FROM jflow_sync_errors}, 'after a crash it has failed once');
wait_state($node, $waits, 'it is on its way again');
owner_sql($node, q{ROLLBACK PREPARED 'gate'});
wait_state($node, sprintf($arrived, 1, 'one'), 'and arrives');
wait_state($node, q{SELECT count(*) = 0 FROM jflow.sync_row WHERE due IS NOT NULL}, 'nothing is left of that');
owner_sql($node, "$close; INSERT INTO one VALUES (2, 'one')");
wait_state($node, $waits, 'another is on its way');
$node->restart;
wait_state($node, $waits, 'after a shutdown it is so again');
is($node->safe_psql('postgres', q{SELECT count(*) FROM jflow.sync_row WHERE sqlstate = '57P02'}), 0, 'and has not failed');

# several, of which none can be told from others
owner_sql($node, q{ROLLBACK PREPARED 'gate'});
wait_state($node, sprintf($arrived, 2, 'one'), 'it arrives');
owner_sql($node, "$close; INSERT INTO one SELECT i, 'one' FROM generate_series(3, 30) i");
wait_state($node, $waits, 'many are on their way');
kill_and_wait($node, worker_pid($node, 'jflow sync'));
wait_state($node, $waits, 'some of them are so again');
is($node->safe_psql('postgres', q{SELECT count(*) FROM jflow_sync_errors}), 0, 'and none has failed');
is($node->safe_psql('postgres', q{SELECT pending FROM jflow_sync_status}), 28, 'all are pending');
cmp_ok($node->safe_psql('postgres', q{SELECT cardinality(keys) + cardinality(due) FROM jflow.sync_flight}), '<', 10, 'a part of them is tried');
owner_sql($node, q{ROLLBACK PREPARED 'gate'; INSERT INTO one VALUES (31, 'one')});
wait_state($node, sprintf($arrived, 31, 'one'), 'all arrive, each once');
is(owner_sql($node, q{SELECT jflow_sync_run('one', '170 s')}), 't', 'and are waited for');

# a document that crashes the process in which it is posted: the worker, and then a replica
my $offset = -s $node->logfile;
for my $where ('worker', 'replica')
{
	if ($where eq 'worker')
	{
		owner_sql($node, q{SELECT jflow_sync('many', 'many', 'many', '{"text": "text"}', retries => 1); SELECT jflow_start('many')});
	}
	else
	{
		owner_sql($node, q{INSERT INTO one SELECT i, CASE WHEN i = 50 THEN 'crash' ELSE 'two' END FROM generate_series(40, 60) i});
	}
	my $id = $where eq 'worker' ? 17 : 50;
	wait_state($node, qq{SELECT count(*) = 1 FROM jflow_sync_errors WHERE id = '$id' AND attempts = 2 AND sqlstate = '57P02' AND next_try IS NULL},
		"$where: the document is set aside");
	wait_state($node, $where eq 'worker' ? sprintf($arrived, 39, 'many') : sprintf($arrived, 20, 'two'), "$where: all others arrive");
}
is($node->safe_psql('postgres', q{SELECT string_agg(id, ' ' ORDER BY id) FROM jflow_sync_errors}), '17 50', 'no other has failed');
my $crashes = () = slurp_file($node->logfile, $offset) =~ /all server processes terminated; reinitializing/g;
cmp_ok($crashes, '<=', 10, 'in a few crashes');
owner_sql($node, q{UPDATE many SET text = 'many' WHERE id = 17; UPDATE one SET text = 'two' WHERE id = 50});
wait_state($node, sprintf($arrived, 40, 'many'), 'what has been mended arrives');
wait_state($node, sprintf($arrived, 21, 'two'), 'in both');
is($node->safe_psql('postgres', q{SELECT count(*) FROM jflow_sync_errors}), 0, 'and nothing has failed');
$node->stop;
done_testing();
