# Can a request leave anything behind in a replica that the next one, perhaps
# of another caller, would find?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
prepare_database($node);
owner_sql($node, q{
	CREATE FUNCTION run(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
	LANGUAGE plpgsql AS $$
	DECLARE answer text;
	BEGIN
		IF parameters ? 'leave' THEN EXECUTE parameters->>'leave'; END IF;
		IF parameters ? 'leave2' THEN EXECUTE parameters->>'leave2'; END IF;
		IF parameters ? 'look' THEN
			EXECUTE parameters->>'look' INTO answer;
			docs[1].text := coalesce(answer, 'NULL');
		END IF;
		IF parameters ? 'fail' THEN RAISE EXCEPTION 'as asked'; END IF;
		RETURN docs;
	END $$;
	SELECT jflow_create('f'); SELECT jflow_add('f', 'e', uses => 'run')});
start_flow($node, 'f');
my ($pid) = running_pids($node);
sub run_as
{
	my ($role, %p) = @_;
	my $as = $role eq 'postgres' ? '' : "SET ROLE $role;";
	my $json = '{' . join(', ', map { my $value = $p{$_} =~ s/(["\\])/\\$1/gr =~ s/\s+/ /gr; qq{"$_": "$value"} } sort keys %p) . '}';
	return ask($node, "$as SELECT text FROM jflow_post('/x', ARRAY['a'], 'f', parameters => \$j\$$json\$j\$)");
}
sub run { return run_as('postgres', @_); }

my @leaks = (
	[ 'a setting', q{SET work_mem = '77MB'}, q{SELECT current_setting('work_mem')} ],
	[ 'a setting by set_config', q{SELECT set_config('work_mem', '77MB', false)}, q{SELECT current_setting('work_mem')} ],
	[ 'search_path', q{SET search_path = pg_catalog}, q{SELECT current_setting('search_path')} ],
	[ 'statement_timeout', q{SET statement_timeout = '1ms'}, q{SELECT current_setting('statement_timeout')} ],
	[ 'a custom setting', q{SELECT set_config('my.secret', 'x', false)}, q{SELECT coalesce(nullif(current_setting('my.secret', true), ''), 'none')} ],
	[ 'default_transaction_read_only', q{SET default_transaction_read_only = on}, q{SELECT current_setting('transaction_read_only')} ],
	[ 'session_replication_role-like TimeZone', q{SET TimeZone = 'Asia/Tokyo'}, q{SELECT current_setting('TimeZone')} ],
	[ 'application_name', q{SET application_name = 'leak'}, q{SELECT current_setting('application_name')} ],
	[ 'client_encoding', q{SET client_encoding = 'LATIN1'}, q{SELECT current_setting('client_encoding')} ],
	[ 'a temporary table', q{CREATE TEMP TABLE leak (a int)}, q{SELECT to_regclass('pg_temp.leak')} ],
	[ 'a temporary table with ON COMMIT', q{CREATE TEMP TABLE leak (a int) ON COMMIT DELETE ROWS}, q{SELECT to_regclass('pg_temp.leak')} ],
	[ 'a temporary function', q{CREATE FUNCTION pg_temp.leak() RETURNS int LANGUAGE sql RETURN 1}, q{SELECT to_regprocedure('pg_temp.leak()')} ],
	[ 'a temporary sequence', q{CREATE TEMP SEQUENCE leak}, q{SELECT to_regclass('pg_temp.leak')} ],
	[ 'an advisory lock', q{SELECT pg_advisory_lock(77)}, q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 77} ],
	[ 'a shared advisory lock', q{SELECT pg_advisory_lock_shared(77)}, q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 77} ],
	[ 'a prepared statement', q{PREPARE leak AS SELECT 1}, q{SELECT count(*) FROM pg_prepared_statements} ],
	[ 'LISTEN', q{LISTEN leak}, q{SELECT count(*) FROM pg_listening_channels()} ],
	[ 'a cursor WITH HOLD', q{DECLARE leak CURSOR WITH HOLD FOR SELECT 1}, q{SELECT count(*) FROM pg_cursors WHERE name = 'leak'} ],
	[ 'a temporary type', q{CREATE TYPE pg_temp.leak AS ENUM ('a')}, q{SELECT to_regtype('pg_temp.leak')} ],
	[ 'a temporary view', q{CREATE TEMP VIEW leak AS SELECT 1 AS a}, q{SELECT to_regclass('pg_temp.leak')} ],
	[ 'a temporary table that hides one of the server', q{CREATE TEMP TABLE pg_class (relname text)}, q{SELECT to_regclass('pg_temp.pg_class')} ],
	[ 'a setting for the transaction', q{SET LOCAL work_mem = '77MB'}, q{SELECT current_setting('work_mem')} ],
	[ 'a setting of ours', q{SET jflow.prefetch = 3}, q{SELECT current_setting('jflow.prefetch')} ],
	[ 'the descriptor of a large object', q{SELECT lo_open(lo_create(0), 262144)}, q{SELECT lo_tell(0)} ],
	[ 'a held cursor that is open', q{SELECT public.opens('leak')}, q{SELECT count(*) FROM pg_cursors WHERE name = 'leak'} ],
	[ 'currval', q{SELECT nextval('public.seq')}, q{SELECT currval('public.seq')} ],
	[ 'lastval', q{SELECT nextval('public.seq')}, q{SELECT lastval()} ],
);
owner_sql($node, q{CREATE SEQUENCE seq;
	CREATE FUNCTION opens(name refcursor) RETURNS void LANGUAGE plpgsql AS $$ BEGIN OPEN name NO SCROLL FOR SELECT 1; END $$;
	CREATE TABLE later (leave text);
	CREATE FUNCTION leave() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN EXECUTE new.leave; RETURN NULL; END $$;
	CREATE CONSTRAINT TRIGGER leave AFTER INSERT ON later DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION leave()});
for my $leak (@leaks)
{
	my ($name, $leave, $look) = @$leak;
	my $clean = run(look => $look);
	my $left = run(leave => $leave);
	is(run(look => $look), $clean, "$name does not reach the next request") or diag("leaving said: $left");
	# when the request is over, by a deferred trigger
	(my $quoted = $leave) =~ s/'/''/g;
	run(leave => "INSERT INTO public.later VALUES ('$quoted')");
	is(run(look => $look), $clean, "$name of a deferred trigger neither");
	# by way of a subtransaction, and by a request that fails afterwards
	run(leave => $leave, fail => 1);
	is(run(look => $look), $clean, "$name of a failed request neither") ;
}

# leaving was possible at all, so that the test can fail
like(run(leave => q{SET work_mem = '77MB'}, look => q{SELECT current_setting('work_mem')}), qr/^77MB$/, 'a setting holds within its request');
is(run(leave => q{CREATE TEMP TABLE leak AS SELECT 5 AS a}, look => q{SELECT a FROM pg_temp.leak}), '5', 'a temporary table as well');
is(run(leave => q{SELECT pg_advisory_lock(77)}, look => q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 77}), '1', 'and a lock');

# the role: not even the function can take another, nor climb back
$node->safe_psql('postgres', 'CREATE ROLE friend; GRANT friend TO flow_owner');
like(run(leave => 'SET ROLE friend'), qr/^(42501|0A000|25001|55000)|^a$/, 'SET ROLE within a request');
is(run(look => q{SELECT current_user || ' ' || session_user}), 'flow_owner flow_owner', 'leaves the role of the next one alone');
run(leave => 'RESET ROLE');
run(leave => 'RESET SESSION AUTHORIZATION');
is(run(look => q{SELECT current_user || ' ' || session_user || ' ' || (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)}),
	'flow_owner flow_owner false', 'and RESET reaches nobody else');
like(run(leave => 'SET SESSION AUTHORIZATION postgres'), qr/^42501/, 'no way to become another');

# transaction control is not for functions
for my $verb ('COMMIT', 'ROLLBACK')
{
	like(run(leave => $verb), qr/^(2D000|0A000|25\w{3})/, "$verb inside of a function is refused");
}
is(join(' ', running_pids($node)), $pid, 'all in one and the same replica');

# whatever else a function tries with its session: it stays up, tells clearly what it refuses, and is clean behind it
owner_sql($node, q{CREATE TABLE kept (a int); SELECT jflow_create('victim'); SELECT jflow_add('victim', 'e', uses => 'run', replicas => 0);
	CREATE FUNCTION closes(name refcursor) RETURNS void LANGUAGE plpgsql AS $$ BEGIN CLOSE name; END $$;
	CREATE FUNCTION fetches(name refcursor) RETURNS text LANGUAGE plpgsql AS $$ DECLARE row record; BEGIN FETCH name INTO row; RETURN row; END $$;
	CREATE FUNCTION deep(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN deep(n + 1); END $$;
	CREATE FUNCTION sets_all(which text) RETURNS bigint LANGUAGE plpgsql AS $$
	DECLARE s record; BEGIN
		FOR s IN SELECT name, CASE vartype WHEN 'bool' THEN CASE setting WHEN 'on' THEN 'off' ELSE 'on' END WHEN 'enum' THEN enumvals[cardinality(enumvals)]
				WHEN 'string' THEN 'x' WHEN 'real' THEN CASE which WHEN 'least' THEN min_val ELSE max_val END
				ELSE CASE which WHEN 'least' THEN min_val ELSE max_val END END AS value
			FROM pg_settings WHERE name NOT IN ('exit_on_error', 'transaction_timeout') ORDER BY name
		LOOP
			BEGIN PERFORM set_config(s.name, s.value, false); EXCEPTION WHEN OTHERS THEN NULL; END;
		END LOOP;
		RETURN (SELECT count(*) FROM pg_settings WHERE source = 'session');
	END $$});
$node->safe_psql('postgres', q{CREATE ROLE poster; CREATE SCHEMA foreign_schema; CREATE TABLE foreign_schema.secret (a int)});
owner_sql($node, q{SELECT jflow_grant('f', 'poster')});
my $state_of_session = q{SELECT concat_ws(' ', current_user, session_user, to_regclass('pg_temp.leak'), (SELECT count(*) FROM pg_prepared_statements),
	(SELECT count(*) FROM pg_listening_channels()), (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
	(SELECT count(*) FROM pg_cursors WHERE name IN ('open', 'held')), (SELECT md5(string_agg(name || setting, ',' ORDER BY name)) FROM pg_settings))} =~ s/\s+/ /gr;
my $clean = run(look => $state_of_session);
like($clean, qr/^flow_owner flow_owner 0 0 0 0 \w{32}$/, 'what a clean session looks like');
for my $hostile ('CLOSE ALL', 'DISCARD ALL', 'DISCARD PLANS', 'DISCARD SEQUENCES', 'DISCARD TEMP', 'DEALLOCATE ALL', 'RESET ALL', 'UNLISTEN *', 'NOTIFY trap',
	'SET ROLE NONE', 'SET SESSION AUTHORIZATION DEFAULT', q{SELECT set_config('role', 'none', false)}, q{SELECT set_config('session_authorization', 'default', false)},
	'SAVEPOINT s', 'BEGIN', q{PREPARE TRANSACTION 'hostile'}, q{DO 'BEGIN COMMIT; END'}, q{DO 'BEGIN BEGIN PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN NULL; END; END'},
	'SET TRANSACTION ISOLATION LEVEL SERIALIZABLE', 'SET TRANSACTION READ ONLY', 'SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY', 'SET CONSTRAINTS ALL DEFERRED',
	q{SELECT public.opens('open')}, q{SELECT public.closes('<unnamed portal 1>')}, 'DECLARE held CURSOR WITH HOLD FOR SELECT 1', 'MOVE ALL FROM held', 'CLOSE held',
	'PREPARE p AS SELECT 1', 'SELECT lo_open(lo_create(0), 262144)', 'SELECT pg_advisory_unlock_all()', 'SELECT pg_try_advisory_lock_shared(1, 2)',
	'LOCK TABLE public.kept IN ACCESS EXCLUSIVE MODE', 'ALTER TABLE public.kept ADD COLUMN b int', 'DROP TABLE public.kept', 'VACUUM', 'CHECKPOINT', 'CREATE DATABASE hostile',
	q{LOAD '$libdir/plugins/nothing'}, q{COPY (SELECT 1) TO PROGRAM 'true'}, 'SELECT pg_cancel_backend(pg_backend_pid())', 'SELECT pg_reload_conf()',
	q{SELECT jflow_drop('victim')}, q{SELECT jflow_remove('f', 'e')}, q{SELECT jflow_stop('f')}, q{SELECT jflow_restart('f', 'e')},
	q{SELECT count(*) FROM jflow_post('/x', ARRAY['a'], 'f', timeout => '100ms')}, q{SELECT jflow_post_query('/x', 'SELECT 1 / 0 AS id', 'victim')},
	q{SELECT sets_all('least')}, q{SELECT sets_all('greatest')}, 'SET LOCAL ROLE NONE', q{ALTER ROLE CURRENT_USER SET work_mem = '3MB'}, 'ALTER ROLE CURRENT_USER NOINHERIT',
	'DROP FUNCTION public.run', 'ALTER FUNCTION public.run RENAME TO ran', 'ALTER FUNCTION public.run COST 7',
	'CREATE OR REPLACE FUNCTION public.run(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql RETURN docs',
	'DROP OWNED BY CURRENT_USER CASCADE', 'TRUNCATE public.kept, public.later', 'ANALYZE public.kept', 'REINDEX TABLE public.kept',
	'DROP TABLE public.later CASCADE', 'CREATE INDEX ON public.kept (a)', 'CREATE TEMP TABLE leak (a int) ON COMMIT DROP',
	q{SELECT public.fetches('<unnamed portal 1>')}, 'SELECT pg_advisory_xact_lock(7)', 'SELECT pg_export_snapshot()', q{SELECT pg_notify('trap', 'x')},
	q{DO 'DECLARE c refcursor; BEGIN OPEN c FOR SELECT 1; PERFORM 1 / 0; END'},
	q{DO 'DECLARE i int; BEGIN FOR i IN 1..300 LOOP BEGIN PERFORM 1 / 0; EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP; END'},
	q{DO 'BEGIN PERFORM set_config(name, ''on'', false) FROM pg_settings WHERE name IN (''debug_parallel_query'', ''force_parallel_mode''); PERFORM count(*) FROM pg_class; END'},
	q{SELECT jflow_add('f', 'more', uses => 'run')}, q{SELECT jflow_scale('f', 'e', 3)}, q{SELECT jflow_grant('f', 'friend')}, q{SELECT jflow_wait('f', timeout => '10ms')},
	q{SELECT jflow_cancel((SELECT post FROM jflow_progress LIMIT 1))}, q{SELECT jflow_create('born'), jflow_add('born', 'e', uses => 'run'), jflow_start('born')},
	q{SELECT jflow_define('Born', '{"functions": {"*": "run"}}')}, q{SELECT jflow_context()}, q{SELECT count(*) FROM jflow_call('/x', '{}', 'victim')},
	q{SELECT count(*) FROM jflow_post('/x', ARRAY['a'], 'victim', parameters => '{"leave": "DISCARD ALL"}')}, 'SELECT pg_terminate_backend(pg_backend_pid())')
{
	# undone by an error of the request, and to a savepoint
	my $inner = $hostile =~ s/'/''''/gr;
	for my $how ([ leave => $hostile, fail => 1 ], [ leave => "DO 'BEGIN EXECUTE ''$inner''; RAISE division_by_zero; EXCEPTION WHEN OTHERS THEN NULL; END'" ])
	{
		unlike(run(@$how), qr/^XX/, "$hostile: no internal error");
	}
	is(ask($node, q{SELECT jflow_wait('f')}), 't', "$hostile: the pool serves");
	is(run(look => $state_of_session), $clean, "$hostile: and the session is clean");
}

# what is refused is refused clearly, whatever error it is, and so to whoever posts
for my $refused ([ 'SET ROLE poster', '42501' ], [ 'SET LOCAL SESSION AUTHORIZATION friend', '42501' ], [ q{SELECT set_config('role', 'poster', true)}, '42501' ],
	[ 'SET jflow.enabled = off', '55P02' ], [ 'ALTER SYSTEM SET work_mem = 64', '25001|42501' ], [ 'SELECT count(*) FROM foreign_schema.secret', '42501' ],
	[ q{SELECT pg_read_file('postgresql.conf')}, '42501' ], [ q{SELECT lo_import('/etc/hosts')}, '42501' ], [ q{COPY public.kept FROM PROGRAM 'true'}, '42501' ],
	[ q{COPY public.kept TO '/tmp/jflow_hostile'}, '42501' ], [ 'COPY public.kept TO STDOUT', '0A000' ], [ 'COPY public.kept FROM STDIN', '0A000' ],
	[ 'ALTER ROLE CURRENT_USER SUPERUSER', '42501' ], [ 'CREATE ROLE born', '42501' ], [ 'DROP ROLE CURRENT_USER', '42704|42501|42601|55006|0A000' ],
	[ 'GRANT pg_read_server_files TO CURRENT_USER', '42501' ], [ 'REASSIGN OWNED BY CURRENT_USER TO poster', '42501' ], [ 'ALTER FUNCTION public.run OWNER TO poster', '42501' ],
	[ 'DROP EXTENSION jflow CASCADE', '42501' ], [ 'DROP SCHEMA public CASCADE', '42501' ], [ 'DROP DATABASE postgres', '25001' ], [ 'CREATE INDEX CONCURRENTLY ON public.kept (a)', '25001' ],
	[ 'CREATE EVENT TRIGGER born ON ddl_command_end EXECUTE FUNCTION public.leave()', '42501|42P17' ], [ q{UPDATE jflow.flow SET owner = 'postgres'}, '42501' ],
	[ 'LOCK TABLE jflow.flow IN ACCESS EXCLUSIVE MODE', '42501' ], [ 'CREATE TRIGGER born BEFORE INSERT ON jflow.executor FOR EACH ROW EXECUTE FUNCTION public.leave()', '42501' ],
	[ 'SELECT public.deep(1)', '54001' ], [ q{SELECT repeat('x', 1073741824)}, '54000' ],
	[ q{SELECT jflow_sync('f', 'jflow.flow', text_column => 'flow')}, '\w{5}' ], [ 'CALL pg_catalog.nothing()', '42883' ], [ 'SELECT jflow_stat_reset()', '42501' ],
	map({ [ "DO 'BEGIN RAISE EXCEPTION ''raised'' USING ERRCODE = ''$_''; END'", $_ ] } '57014', '57P01', '57P02', '40001', '01000', '02000', '53200', '25P02', '08006'))
{
	my ($command, $state) = @$refused;
	like(run(leave => $command), qr/^(?:$state): \w/, "$command is refused");
	is(run_as('poster', look => $state_of_session), $clean, "$command: another finds the session clean");
}

# what it does to itself for good ends this post well or with a clear error, and nobody else's
owner_sql($node, q{SELECT jflow_create('self')});
for my $deed (q{SELECT jflow_drop('self'), jflow_create('self')}, q{SELECT jflow_remove('self', 'e')}, q{SELECT jflow_stop('self')}, q{SELECT jflow_restart('self', 'e')},
	q{SELECT jflow_scale('self', 'e', 2)}, q{SELECT jflow_scale('self', 'e', 0)}, q{SELECT jflow_add('self', 'more' || (SELECT count(*) FROM jflow_executors))}, q{SELECT jflow_revoke('self', 'poster')},
	'DROP FUNCTION public.run_self', 'CREATE OR REPLACE FUNCTION public.run_self(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql RETURN docs',
	'ALTER FUNCTION public.run_self STRICT', 'REVOKE EXECUTE ON FUNCTION public.run_self FROM PUBLIC, CURRENT_USER', 'SET exit_on_error = on; SELECT 1 / 0')
{
	owner_sql($node, q{SELECT jflow_drop('self'); DROP FUNCTION IF EXISTS run_self; CREATE OR REPLACE FUNCTION run_self(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
		LANGUAGE plpgsql AS $$ BEGIN EXECUTE parameters->>'do'; RETURN docs; END $$;
		SELECT jflow_create('self'), jflow_add('self', 'e', uses => 'run_self'), jflow_grant('self', 'poster'), jflow_start('self')});
	$node->safe_psql('postgres', q{SELECT jflow_wait('self')});
	my $quoted = $deed =~ s/'/''/gr;
	like(ask($node, qq{SET ROLE poster; SELECT text FROM jflow_post('/x', ARRAY['a', 'b'], 'self', request_size => 1, parameters => '{"do": "$quoted"}')}), qr/^(a\nb|(?!XX)\w{5}: \w)/, "$deed, for good");
	is(run_as('poster', look => $state_of_session), $clean, "$deed: others run on");
}
unlike(slurp_file($node->logfile), qr/terminated by signal|PANIC/, 'nothing has crashed');
($pid) = running_pids($node);

# what a caller has, does not reach the replica, but its read-only state
is(ask($node, q{SET search_path = pg_catalog, public; SET work_mem = '66MB'; SET TimeZone = 'Asia/Tokyo';
	SELECT text FROM jflow_post('/x', ARRAY['a'], 'f', parameters => '{"look": "SELECT current_setting(''work_mem'') || current_setting(''TimeZone'')"}')}),
	run(look => q{SELECT current_setting('work_mem') || current_setting('TimeZone')}), 'settings of the caller do not travel');

# what an administrator changes, does
$node->safe_psql('postgres', q{ALTER SYSTEM SET work_mem = '9MB'});
$node->reload;
ok($node->poll_query_until('postgres', q{SELECT text = '9MB' FROM jflow_post('/x', ARRAY['a'], 'f', parameters => '{"look": "SELECT current_setting(''work_mem'')"}')}),
	'a reload of the configuration reaches replicas');
is_at_rest($node, 'at the end');
$node->stop;
done_testing();
