# Do replicas serve posts, and does nothing hang, leak or get lost when requests
# fail, are cancelled, or lose their replica or their gateway?
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'jflow'
jflow.allow_superuser_flows = on
max_worker_processes = 40
max_prepared_transactions = 5
deadlock_timeout = 200ms
restart_after_crash = on
});
$node->start;

sub sql { return $node->safe_psql('postgres', $_[0]); }

# the error of a statement, with all its fields
sub error
{
	my ($ret, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$_[0]");
	return $err;
}
sub wait_for
{
	my ($query, $what) = @_;
	ok($node->poll_query_until('postgres', $query), $what);
}
sub at_rest
{
	wait_for('SELECT used = 0 AND requests = 0 AND waiting = 0 FROM jflow_memory',
		"after $_[0]: payload memory and slots are free");
}

sql(q{
	SET client_min_messages = error;
	CREATE EXTENSION jflow CASCADE;
	CREATE TABLE key (id text PRIMARY KEY);
	CREATE TABLE written (id text, ref text CONSTRAINT written_ref REFERENCES key DEFERRABLE INITIALLY DEFERRED);
	CREATE FUNCTION work(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$
	DECLARE c record := jflow_context();
	BEGIN
		RAISE NOTICE 'working on %', docs[1].text;
		IF parameters ? 'sleep' THEN PERFORM pg_sleep((parameters->>'sleep')::float8); END IF;
		IF parameters ? 'lock' THEN PERFORM pg_advisory_xact_lock((parameters->>'lock')::int8); END IF;
		IF parameters ? 'write' THEN INSERT INTO written SELECT text, parameters->>'ref' FROM unnest(docs); END IF;
		IF parameters->>'fail' = docs[1].text THEN
			RAISE EXCEPTION 'no good: äöü' USING ERRCODE = '22012', DETAIL = 'the detail', HINT = 'the hint', CONSTRAINT = 'a_constraint', TABLE = 'a_table';
		END IF;
		IF parameters ? 'leak' THEN
			PERFORM set_config('work_mem', '12345kB', false), pg_advisory_lock(4711);
			CREATE TEMP TABLE leaked (a int);
			EXECUTE 'PREPARE leaked AS SELECT 1';
			EXECUTE 'DECLARE leaked CURSOR WITH HOLD FOR SELECT 1';
		END IF;
		IF parameters ? 'find' THEN
			docs[1].text := concat_ws(',', current_setting('work_mem'), (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'),
				to_regclass('pg_temp.leaked'), (SELECT count(*) FROM pg_prepared_statements), (SELECT count(*) FROM pg_cursors WHERE name = 'leaked'));
			RETURN docs;
		END IF;
		IF parameters ? 'big' THEN docs[1].text := repeat('x', (parameters->>'big')::int); RETURN docs; END IF;
		IF parameters ? 'who' THEN docs[1].text := concat_ws(' ', session_user, current_user, current_setting('application_name')); RETURN docs; END IF;
		FOR i IN 1..cardinality(docs) LOOP docs[i].text := docs[i].text || ' ' || c.executor || c.shard; END LOOP;
		RETURN docs;
	END $$;
	SELECT jflow_create('f');
	SELECT jflow_add('f', 'a', uses => 'work');
	SELECT jflow_add('f', 'b', uses => 'work', replicas => 2);
	SELECT jflow_create('one');
	SELECT jflow_add('one', 'e', uses => 'work');
});
like(error(q{SELECT * FROM jflow_post('/x', ARRAY['a'], 'f')}), qr/55000: +flow "f" is not started\nHINT: .*jflow_start/, 'a flow that is not started');
is(sql(q{SELECT jflow_start('f') + jflow_start('one')}), '4', 'jflow_start counts');
is(sql(q{SELECT text FROM jflow_post('/x', ARRAY['now'], 'f')}), 'now a0 b0', 'a post right after the start waits for the replicas');
is(sql(q{SELECT jflow_wait('f') AND jflow_wait('one')}), 't', 'jflow_wait');
is(sql(q{SELECT string_agg(text, ',') FROM jflow_post('/x', ARRAY(SELECT i::text FROM generate_series(1, 50) i), 'f', request_size => 1)}),
	join(',', map { "$_ a0 b0" } 1 .. 50), 'answers come in order');
is(sql(q{SELECT count(*) FROM jflow_post('/x', ARRAY(SELECT i::text FROM generate_series(1, 50) i), 'f', request_size => 1, ordered => false)}), '50', 'or not');
is(sql(q{SELECT docs, requests, failed FROM jflow_post_query('/x', 'SELECT i AS id, i::text AS text FROM generate_series(1, 10000) i', 'f')}), '10000|100|0', 'a query');
is(sql(q{SELECT text FROM jflow_post('/x', ARRAY['a'], 'one', parameters => '{"who": 1}')}),
	sql("SELECT current_user || ' ' || current_user || ' jflow: one/e/0/0'"), 'a replica connects as the owner');
like(sql(q{SELECT string_agg(DISTINCT backend_type, ',' ORDER BY backend_type) FROM pg_stat_activity WHERE backend_type LIKE 'jflow%'}), qr/jflow launcher,jflow replica/, 'processes have types');
is(sql(q{SELECT flow, executor, wanted, running, last_error FROM jflow_status ORDER BY 1, 2}), "f|a|1|1|\nf|b|2|2|\none|e|1|1|", 'jflow_status');
at_rest('posts');

# the graph: branches side by side, joins, shards, when
sql(q{
	SELECT jflow_create('g');
	SELECT jflow_add('g', 'l', uses => 'work', needs => '{gateway}');
	SELECT jflow_add('g', 'r', uses => 'work', needs => '{gateway}', shards => 2, polling => '"all"');
	SELECT jflow_add('g', 'j', uses => 'work', needs => '{l,r}', replicas => 0);
	SELECT jflow_add('g', 'h', uses => 'work', shards => 3, polling => '"hash"');
	SELECT jflow_add('g', 'w', uses => 'work', "when" => '{"tags": {"$exists": true}}');
	SELECT jflow_start('g');
});
sql(q{SELECT jflow_wait('g')});
my $graph = q{SELECT string_agg(text, ',') FROM jflow_post('/x', (SELECT array_agg(jflow_doc(id => i::text, text => i::text, tags => CASE WHEN i % 2 = 0 THEN '{"t": 1}' END::jsonb)) FROM generate_series(1, 6) i), 'g', request_size => 3)};
my $through = sql($graph);
sql(q{UPDATE jflow.executor SET replicas = 0 WHERE flow = 'g'});
is(sql($graph), $through, 'a graph gives through replicas what it gives inline');
at_rest('a graph');

# errors
like(error(q{SELECT text FROM jflow_post('/x', ARRAY['1', '2', '3'], 'f', parameters => '{"fail": "2", "write": 1}', request_size => 1)}),
	qr/ERROR:  22012: no good: äöü\nDETAIL:  the detail\n\d requests of the post had been committed.*\nHINT:  the hint\n.*executor "a", shard 0, replica 0, request 2.*TABLE NAME:  a_table\nCONSTRAINT NAME:  a_constraint/s, 'an error has all its fields');
like(error(q{SELECT text FROM jflow_post('/x', ARRAY['a'], 'one')}), qr/NOTICE:  00000: working on a/, 'notices travel');
like(error(q{SELECT count(*) FROM jflow_post('/x', ARRAY['1', '2', '3'], 'f', parameters => '{"fail": "2"}', request_size => 1, continue_on_error => true)}),
	qr/WARNING:  22012: document ".*" of request 2 failed: no good/, 'continue_on_error reports');
like(error(q{SELECT text FROM jflow_post('/x', ARRAY['a'], 'one', parameters => '{"write": 1, "ref": "none"}')}), qr/23503.*written_ref/s, 'a deferred constraint');
is(sql(q{DO $$ BEGIN PERFORM jflow_post('/x', ARRAY['a'], 'one', parameters => '{"fail": "a"}'); EXCEPTION WHEN division_by_zero THEN NULL; END $$; SELECT text FROM jflow_post('/x', ARRAY['b'], 'one')}), 'b e0', 'a subtransaction around a post that failed');
like(error(q{BEGIN READ ONLY; SELECT text FROM jflow_post('/x', ARRAY['a'], 'one', parameters => '{"write": 1}')}), qr/25006/, 'a write in a read-only transaction');
is(sql(q{BEGIN READ ONLY; SELECT text FROM jflow_post('/x', ARRAY['a'], 'one'); COMMIT}), 'a e0', 'a read in one');
at_rest('errors');

# transactions
sql(q{TRUNCATE written; BEGIN; SELECT count(*) FROM jflow_post('/x', ARRAY['kept'], 'one', parameters => '{"write": 1}'); ROLLBACK});
is(sql(q{SELECT id FROM written}), 'kept', 'what a replica has committed stays');
like(error(q{BEGIN; SELECT jflow_start('f'); PREPARE TRANSACTION 'x'}), qr/0A000/, 'a start cannot be prepared');
like(error(q{BEGIN; SELECT jflow_stop('f'); SELECT jflow_wait('f')}), qr/55000/, 'nor waited for in its own transaction');
is(sql(q{BEGIN; SELECT jflow_stop('f'); ROLLBACK; SELECT text FROM jflow_post('/x', ARRAY['a'], 'f')}), "\na a0 b0", 'a stop that is rolled back does nothing');

# leaks between requests
sql(q{SELECT count(*) FROM jflow_post('/x', ARRAY['a'], 'one', parameters => '{"leak": 1}')});
is(sql(q{SELECT text FROM jflow_post('/x', ARRAY['a'], 'one', parameters => '{"find": 1}')}), '4MB,0,0,0', 'nothing is left of the request before');

# limits of time, cancels
like(error(q{SELECT * FROM jflow_post('/x', ARRAY['a'], 'one', timeout => '50ms', parameters => '{"sleep": 60}')}), qr/57014: canceling post to flow "one" due to timeout/, 'timeout');
like(error(q{SET statement_timeout = 100; SELECT * FROM jflow_post('/x', ARRAY['a'], 'one', parameters => '{"sleep": 60}')}), qr/57014: canceling statement due to statement timeout/, 'statement_timeout');
my $pid = sql(q{SELECT pid FROM jflow_stat_replicas WHERE flow = 'one'});
is(sql(q{SELECT text FROM jflow_post('/x', ARRAY['a'], 'one')}), 'a e0', 'the replica lives on');
sub start_post
{
	my ($flow, $more) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	$session->query_until(qr/go/, "\\echo go\nSELECT text FROM jflow_post('/x', ARRAY['a'], '$flow', parameters => '$more');\n");
	return $session;
}
my $busy = q{SELECT count(*) > 0 FROM jflow_stat_replicas WHERE flow = 'one' AND state = 'busy'};
my $session = start_post('one', '{"sleep": 600}');
wait_for($busy, 'busy');
is(sql(q{SELECT jflow_cancel(post) FROM jflow_progress}), 't', 'jflow_cancel');
at_rest('jflow_cancel');
$session->quit;
$session = start_post('one', '{"sleep": 600}');
wait_for($busy, 'busy');
sql(q{SELECT pg_terminate_backend(pid) FROM jflow_progress});
at_rest('the end of a gateway');
$session->{run}->finish;
$session = start_post('one', '{"sleep": 600}');
wait_for($busy, 'busy');
sql(q{SELECT pg_cancel_backend(pid) FROM jflow_stat_replicas WHERE state = 'busy'});
at_rest('a cancel of the replica');
$session->quit;
is(sql(q{SELECT pid FROM jflow_stat_replicas WHERE flow = 'one'}), $pid, 'it was the same replica all along');

# a replica that is terminated: its request goes to another
my $holder = $node->background_psql('postgres');
$holder->query_safe('SELECT pg_advisory_lock(1)');
$session = start_post('one', '{"lock": 1}');
wait_for(q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'advisory' AND application_name LIKE 'jflow%'}, 'blocked');
sql(qq{SELECT pg_terminate_backend($pid)});
wait_for(qq{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'advisory' AND application_name LIKE 'jflow%' AND pid <> $pid}, 'another replica has taken the request');
$holder->query_safe('SELECT pg_advisory_unlock(1)');
at_rest('a terminated replica');
$session->quit;

# a lock that the gateway itself holds
like(error(q{BEGIN; SELECT pg_advisory_xact_lock(1); SELECT * FROM jflow_post('/x', ARRAY['a'], 'one', parameters => '{"lock": 1}')}), qr/40P01: deadlock detected/, 'a cycle through the gateway');
at_rest('a deadlock');

# sizes
like(error(q{SELECT * FROM jflow_post('/x', ARRAY[repeat('x', 40000000)], 'one')}), qr/54000: a request of \d+ bytes is too large for jflow.memory_limit/, 'a request that cannot fit');
like(error(q{SELECT * FROM jflow_post('/x', ARRAY['a'], 'one', parameters => '{"big": 40000000}')}), qr/54000: the answer of \d+ bytes is too large/, 'an answer that cannot fit');
is(sql(q{SELECT sum(length(text)) FROM jflow_post('/x', array_fill('a'::text, '{40}'), 'f', request_size => 1, parameters => '{"big": 10000000}')}), '400000000', 'more than fits at a time waits');
at_rest('large documents');

# functions that change or go
sql(q{CREATE FUNCTION other(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql AS $$ SELECT ARRAY[jflow_doc(text => 'old')] $$;
	SELECT jflow_create('o'); SELECT jflow_add('o', 'e', uses => 'other'); SELECT jflow_start('o');});
is(sql(q{SELECT text FROM jflow_post('/x', ARRAY['a'], 'o')}), 'old', 'a function');
sql(q{CREATE OR REPLACE FUNCTION other(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql AS $$ SELECT ARRAY[jflow_doc(text => 'new')] $$});
is(sql(q{SELECT text FROM jflow_post('/x', ARRAY['a'], 'o')}), 'new', 'is replaced');
sql(q{DROP FUNCTION other(jflow_doc[], jsonb)});
like(error(q{SELECT text FROM jflow_post('/x', ARRAY['a'], 'o')}), qr/42883/, 'is dropped');

# nested posts
sql(q{CREATE FUNCTION nest(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$ BEGIN
		IF (parameters->>'n')::int = 0 THEN RETURN NULL; END IF;
		RETURN (SELECT array_agg(p) FROM jflow_post('/x', docs, 'n', parameters => jsonb_build_object('n', (parameters->>'n')::int - 1)) p); END $$;
	SELECT jflow_create('n'); SELECT jflow_add('n', 'e', uses => 'nest'); SELECT jflow_start('n');});
is(sql(q{SELECT text FROM jflow_post('/x', ARRAY['deep'], 'n', parameters => '{"n": 5}')}), 'deep', 'a post to its own pool runs in the replica');

# scale, restart, stop
is(sql(q{SELECT jflow_scale('one', 'e', 3)}), '3', 'jflow_scale');
sql(q{SELECT jflow_wait('one')});
is(sql(q{SELECT running FROM jflow_status WHERE flow = 'one'}), '3', 'three replicas');
my $before = sql(q{SELECT string_agg(pid::text, ',' ORDER BY replica) FROM jflow_stat_replicas WHERE flow = 'one'});
sql(q{SELECT jflow_restart('one', 'e')});
is(sql(q{SELECT jflow_wait('one')}), 't', 'jflow_restart');
is(sql(qq{SELECT count(*) FROM jflow_stat_replicas WHERE flow = 'one' AND pid NOT IN ($before)}), '3', 'three new ones');
sql(q{SELECT jflow_stop('one')});
is(sql(q{SELECT jflow_wait('one')}), 't', 'jflow_stop');
is(sql(q{SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'jflow: one%'}), '0', 'no replica is left');
sql(q{SELECT jflow_start('one'), jflow_drop('o')});
is(sql(q{SELECT jflow_wait('one')}), 't', 'started again');

# the launcher
my $launcher = sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'jflow launcher'});
$before = sql(q{SELECT string_agg(pid::text, ',' ORDER BY pid) FROM jflow_stat_replicas});
sql(qq{SELECT pg_terminate_backend($launcher)});
wait_for(qq{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'jflow launcher' AND pid <> $launcher}, 'the launcher comes back');
is(sql(q{SELECT string_agg(pid::text, ',' ORDER BY pid) FROM jflow_stat_replicas}), $before, 'and adopts the replicas');

# restart, crash
$node->restart;
is(sql(q{SELECT text FROM jflow_post('/x', ARRAY['again'], 'one')}), 'again e0', 'a started flow starts with the server');
$pid = sql(q{SELECT pid FROM jflow_stat_replicas WHERE flow = 'one' LIMIT 1});
kill 'KILL', $pid;
$node->poll_query_until('postgres', 'SELECT true');
is(sql(q{SELECT jflow_wait('one')}), 't', 'replicas run after a crash');
is(sql(q{SELECT text FROM jflow_post('/x', ARRAY['again'], 'one')}), 'again e0', 'and serve');
at_rest('a crash');

# who may have replicas
sql(q{CREATE ROLE nologin; GRANT CREATE ON SCHEMA public TO nologin; ALTER SYSTEM SET jflow.allow_superuser_flows = off; SELECT pg_reload_conf()});
like(error(q{SELECT jflow_start('f')}), qr/55000.*superuser/s, 'not a superuser');
SKIP: {
	skip 'from version 17 on workers may log in as any role', 1 if sql('SHOW server_version_num') >= 170000;
	like(error(q{SET ROLE nologin; SELECT jflow_create('nl'); SELECT jflow_add('nl', 'e'); SELECT jflow_start('nl')}), qr/55000.*not permitted to log in/s, 'nor a role without LOGIN');
}

$node->stop;
done_testing();
