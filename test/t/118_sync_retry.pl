# Do jflow_sync_retry and a worker that notes what became of the same rows not wait for each other, is what was on its
# way tried again, too, and does jflow_sync_run wait for what is on its way?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
prepare_database($node);
$node->safe_psql('postgres', q{GRANT CREATE ON SCHEMA public TO flow_owner});
owner_sql($node, q{
	CREATE TABLE outage (id text);
	CREATE TABLE kept (id text PRIMARY KEY, text text);
	CREATE FUNCTION keep(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$ BEGIN
		PERFORM pg_advisory_xact_lock_shared(48);
		IF EXISTS (SELECT FROM public.outage o JOIN unnest(docs) d USING (id)) THEN RAISE EXCEPTION 'away'; END IF;
		INSERT INTO public.kept SELECT d.id, d.text FROM unnest(docs) d ON CONFLICT (id) DO UPDATE SET text = excluded.text;
		UPDATE public.item SET text = item.text || '+' FROM unnest(docs) d WHERE item.id = d.id AND item.text LIKE 'again%';
		RETURN docs;
	END $$;
	CREATE TABLE item (id text PRIMARY KEY, text text);
	INSERT INTO item VALUES ('a', 'first'), ('b', 'first'), ('m', 'first');
	SELECT jflow_create('f');
	SELECT jflow_add('f', 'e', uses => 'public.keep', replicas => 1);
	SELECT jflow_sync('s', 'f', 'item', '{"text": "text"}', mode => 'manual', retries => 20)});
start_flow($node, 'f');
is(owner_sql($node, q{SELECT jflow_sync_run('s', '170 s')}), 't', 'the store is filled');

# Rows that have failed: one is due, one will be, one is set aside and has changed since.
$node->safe_psql('postgres', sprintf(
	q{UPDATE jflow.sync_row SET hash = NULL, attempts = 10, failed = now(), sqlstate = 'P0001', message = 'away', due = %s WHERE key = '%s'}, @$_))
  for ([ 'now()', 'a' ], [ q{now() + '400 s'}, 'm' ], [ q{'infinity'}, 'b' ]);
owner_sql($node, q{INSERT INTO outage VALUES ('a'); UPDATE item SET text = 'second' WHERE id = 'b';
	BEGIN; SELECT pg_advisory_xact_lock(48); PREPARE TRANSACTION 'gate'});
my $run = post_in_background($node, q{SET ROLE flow_owner; SELECT jflow_sync_run('s', '170 s')});
wait_state($node, q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}, 'a round is out');
my $holder = $node->background_psql('postgres');
$holder->query_safe('SET ROLE flow_owner; BEGIN');
is($holder->query_safe(q{SELECT jflow_sync_retry('s')}), '3', 'all rows are to be tried again');
owner_sql($node, q{ROLLBACK PREPARED 'gate'});
my ($out, $err) = finish_background($run);
is("$out$err", 'f', 'the worker waits for nobody who has not committed that');
is(owner_sql($node, q{SELECT max(attempts) FROM jflow_sync_errors WHERE id = 'a'}), '11', 'and counts on');

# nor does he for the worker, when he waits for a round that is out
owner_sql($node, q{UPDATE item SET text = 'third' WHERE id = 'b'; BEGIN; SELECT pg_advisory_xact_lock(48); PREPARE TRANSACTION 'gate'});
$run = post_in_background($node, q{SET ROLE flow_owner; SELECT jflow_sync_run('s', '170 s')});
wait_state($node, q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}, 'another round is out');
$holder->query_until(qr/begun/, qq{\\echo begun\nSELECT jflow_sync_resume('s');\nCOMMIT;\n});
wait_state($node, q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'object' AND NOT granted}, 'he waits for it');
owner_sql($node, q{ROLLBACK PREPARED 'gate'});
$holder->quit;
($out, $err) = finish_background($run);
is($err, '', 'the worker goes on');
is(owner_sql($node, q{SELECT jflow_sync_run('s', '170 s')}), 'f', 'what is tried again may fail again');
is(owner_sql($node, q{SELECT id || ' ' || (attempts < 10) FROM jflow_sync_errors}), 'a true', 'as if it never had');
unlike(slurp_file($node->logfile), qr/deadlock/, 'nobody was in a deadlock');
owner_sql($node, q{TRUNCATE outage; SELECT jflow_sync_retry('s')});
is(owner_sql($node, q{SELECT jflow_sync_run('s', '170 s')}), 't', 'all arrive');
is($node->safe_psql('postgres', q{SELECT string_agg(text, ' ' ORDER BY id) FROM kept}), 'first third first', 'the newest of each');

# What is on its way has not arrived, says another round's entry; one that is left by nobody, for this test.
my $entry = q{INSERT INTO jflow.sync_flight (sync, claimed, changed, oldest, keys, due) SELECT id, 'epoch', 1, 'epoch', '{a}', '{}' FROM jflow.sync};
my $no_entry = q{DELETE FROM jflow.sync_flight WHERE claimed = 'epoch'};
$node->safe_psql('postgres', $entry);
is(owner_sql($node, q{SELECT jflow_sync_run('s', '170 s')}), 'f', 'what is on its way is left');
$node->safe_psql('postgres', $no_entry);
is(owner_sql($node, q{SELECT jflow_sync_run('s', '170 s')}), 't', 'then nothing is');

# nor is who asks told so where the worker always has something to do
my $rounds = q{SELECT requests FROM jflow_stat_replicas WHERE executor = 's'};
$node->safe_psql('postgres', $entry);
owner_sql($node, q{UPDATE item SET text = 'again' WHERE id = 'b'});
$run = post_in_background($node, q{SET ROLE flow_owner; SELECT jflow_sync_run('s', '170 s')});
my $before = $node->safe_psql('postgres', $rounds);
wait_state($node, "SELECT ($rounds) > $before + 20", 'rounds follow one another');
is($node->safe_psql('postgres', qq{SELECT state FROM pg_stat_activity WHERE pid = $run->{pid}}), 'active', 'who asks waits');
$node->safe_psql('postgres', $no_entry);
($out, $err) = finish_background($run);
is("$out$err", 't', 'until it has arrived');
owner_sql($node, q{UPDATE item SET text = 'done' WHERE id = 'b'});

# Who forgets the sync waits for who retries, and leaves nothing of that.
$node->safe_psql('postgres', q{UPDATE jflow.sync_row SET hash = NULL, attempts = 10, failed = now(), due = 'infinity' WHERE key = 'm'});
$holder = $node->background_psql('postgres');
$holder->query_safe('SET ROLE flow_owner; BEGIN');
is($holder->query_safe(q{SELECT jflow_sync_retry('s')}), '1', 'a row is to be tried again');
$run = post_in_background($node, q{SET ROLE flow_owner; SELECT jflow_unsync('s')});
wait_state($node, qq{SELECT count(*) = 1 FROM pg_locks WHERE pid = $run->{pid} AND NOT granted AND locktype = 'transactionid'}, 'who forgets waits');
$holder->query_safe('COMMIT');
$holder->quit;
($out, $err) = finish_background($run);
is($err, '', 'and forgets');
is($node->safe_psql('postgres', q{SELECT (SELECT count(*) FROM jflow.sync_queue) + (SELECT count(*) FROM jflow.sync_row)}), 0, 'all of it');
$node->stop;
done_testing();
