-- Can a flow's owner trap those who post to it?
SET client_min_messages = warning;
CREATE ROLE jflow_trapper;
GRANT CREATE ON SCHEMA public TO jflow_trapper;
SET ROLE jflow_trapper;

-- by settings that outlive the call
CREATE FUNCTION set_traps(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$
BEGIN SET search_path = evil; SET work_mem = '99MB'; PERFORM set_config('my.setting', 'evil', false); RETURN NULL; END $$;
SELECT jflow_create('settings');
SELECT jflow_add('settings', 'e', uses => 'set_traps', replicas => 0);
SELECT text FROM jflow_post('/x', ARRAY['a'], 'settings');
SHOW search_path;
RESET ROLE;
SELECT text FROM jflow_post('/x', ARRAY['a'], 'settings');
SHOW search_path;
SHOW work_mem;
SELECT current_setting('my.setting', true) IS DISTINCT FROM 'evil' AS clean;

-- by code of his that runs at commit, with the rights of the caller
SET ROLE jflow_trapper;
CREATE TABLE trap (i int);
CREATE FUNCTION spring() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE WARNING 'runs as %', CASE current_user WHEN 'jflow_trapper' THEN 'owner' ELSE 'caller' END; RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER trap AFTER INSERT ON trap DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION spring();
CREATE FUNCTION set_deferred(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$
BEGIN INSERT INTO public.trap VALUES (1); RETURN NULL; END $$;
SELECT jflow_create('deferred');
SELECT jflow_add('deferred', 'e', uses => 'set_deferred', replicas => 0);
SELECT text FROM jflow_post('/x', ARRAY['a'], 'deferred');
RESET ROLE;
SELECT text FROM jflow_post('/x', ARRAY['a'], 'deferred');

-- by a temporary table in front of the caller's
SET ROLE jflow_trapper;
CREATE FUNCTION shadow(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$
BEGIN CREATE TEMP TABLE pg_class (i int); RETURN NULL; END $$;
SELECT jflow_create('shadow');
SELECT jflow_add('shadow', 'e', uses => 'shadow', replicas => 0);
RESET ROLE;
SELECT text FROM jflow_post('/x', ARRAY['a'], 'shadow');

-- what a superuser owns is free to do so, and so is an owner who posts himself
CREATE FUNCTION make_temp(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$
BEGIN CREATE TEMP TABLE made (i int) ON COMMIT DROP; RETURN NULL; END $$;
SELECT jflow_create('temp');
SELECT jflow_add('temp', 'e', uses => 'make_temp', replicas => 0);
SELECT jflow_grant('temp', 'jflow_trapper');
SET ROLE jflow_trapper;
SELECT text FROM jflow_post('/x', ARRAY['a'], 'temp');
RESET ROLE;

-- by the cursors of the session: what a function that runs as somebody else tries is tried by one executor
SET ROLE jflow_trapper;
CREATE FUNCTION attempt(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE parameters->>'run';
	RETURN docs;
EXCEPTION WHEN OTHERS THEN
	RAISE NOTICE '% %', SQLSTATE, SQLERRM;
	RETURN docs;
END $$;
CREATE FUNCTION mine() RETURNS text LANGUAGE plpgsql AS $$
BEGIN RAISE WARNING 'runs as %', CASE current_user WHEN 'jflow_trapper' THEN 'owner' ELSE 'caller' END; RETURN 'trapped'; END $$;
CREATE FUNCTION close_cursor(c refcursor) RETURNS void LANGUAGE plpgsql AS $$ BEGIN CLOSE c; END $$;
CREATE FUNCTION fetch_cursor(c refcursor) RETURNS text LANGUAGE plpgsql AS $$
DECLARE row record; BEGIN FETCH c INTO row; RAISE NOTICE 'got %', row; RETURN row::text; END $$;
CREATE FUNCTION open_cursor(c refcursor) RETURNS void LANGUAGE plpgsql AS $$
BEGIN OPEN c NO SCROLL FOR EXECUTE 'SELECT public.mine()'; END $$;
CREATE FUNCTION count_cursors() RETURNS void LANGUAGE plpgsql AS $$
BEGIN RAISE NOTICE '% cursors', (SELECT count(*) FROM pg_cursors); END $$;
SELECT jflow_create('attempts');
SELECT jflow_add('attempts', 'e', uses => 'attempt', replicas => 0);
RESET ROLE;
CREATE FUNCTION attempt_it(run text) RETURNS text LANGUAGE sql AS $$
	SELECT text FROM jflow_post('/x', ARRAY['ran'], 'attempts', jsonb_build_object('run', run)) $$;
SET client_min_messages = notice;
BEGIN;
DECLARE c1 CURSOR FOR SELECT i FROM generate_series(1, 9) i;
FETCH 1 FROM c1;
SELECT attempt_it($$SELECT close_cursor('c1')$$);
SELECT attempt_it($$SELECT fetch_cursor('c1')$$);
SELECT attempt_it($$SELECT open_cursor('c1')$$);
SELECT attempt_it($$SELECT count_cursors()$$);
SELECT attempt_it($$MOVE 3 FROM c1$$);
SELECT attempt_it($$CLOSE c1$$);
SELECT attempt_it($$CLOSE ALL$$);
SELECT attempt_it($$DISCARD ALL$$);
-- what it leaves open is closed
SELECT attempt_it($$SELECT open_cursor('open')$$);
SELECT attempt_it($$DECLARE declared CURSOR FOR SELECT public.mine()$$);
SELECT attempt_it($$DECLARE held CURSOR WITH HOLD FOR SELECT public.mine()$$);
SELECT attempt_it($$DO 'DECLARE c refcursor; BEGIN OPEN c FOR SELECT 1; PERFORM 1 / 0; END'$$);
SELECT name FROM pg_cursors;
FETCH 2 FROM c1;
COMMIT;
-- the same where the poster is a function with a loop and a cursor of its own
DO $$
DECLARE row record; c refcursor; n int;
BEGIN
	OPEN c FOR SELECT i FROM generate_series(1, 9) i;
	FOR row IN SELECT i FROM generate_series(1, 3) i LOOP
		PERFORM attempt_it(format('SELECT close_cursor(%L)', c::text));
		FETCH c INTO n;
		RAISE NOTICE 'loop %, cursor %', row.i, n;
	END LOOP;
END $$;
-- a cursor that posts is not reached either, and posts on
BEGIN;
DECLARE c2 CURSOR FOR SELECT i, attempt_it($$SELECT close_cursor('c2')$$) FROM generate_series(1, 9) i;
FETCH 2 FROM c2;
COMMIT;

-- by what else a session keeps: locks, prepared statements, channels, the seed, descriptors
SELECT pg_advisory_lock(42);
SELECT attempt_it('SELECT pg_advisory_unlock_all()');
SELECT attempt_it('SELECT pg_advisory_unlock(42)');
SELECT attempt_it('SELECT pg_advisory_lock(43)');
SELECT attempt_it('SELECT pg_try_advisory_lock_shared(1, 2)');
SELECT attempt_it('SELECT pg_advisory_xact_lock(44)');
SELECT objid FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();
SELECT pg_advisory_unlock(42);
SELECT attempt_it('PREPARE p AS SELECT 1');
SELECT attempt_it('DEALLOCATE ALL');
SELECT attempt_it('LISTEN trap');
SELECT attempt_it('SELECT setseed(0.5)');
SELECT attempt_it('SELECT lo_open(1, 262144)');
SELECT attempt_it('SET ROLE NONE');
SELECT attempt_it('SET SESSION AUTHORIZATION DEFAULT');
SELECT attempt_it('COMMIT');
SELECT attempt_it('SAVEPOINT s');
SELECT attempt_it($$DO 'BEGIN COMMIT; END'$$);
SELECT attempt_it($$SET work_mem = '99MB'; SELECT set_config('my.setting', 'evil', false)$$);
SELECT current_setting('work_mem') = '99MB' OR current_setting('my.setting', true) = 'evil' AS changed;
-- who posts to his own flow may do with his session what he likes
SET ROLE jflow_trapper;
SELECT attempt_it('SELECT pg_advisory_lock(45)');
SELECT pg_advisory_unlock(45);
BEGIN;
DECLARE c1 CURSOR FOR SELECT i FROM generate_series(1, 9) i;
SELECT attempt_it('CLOSE ALL');
SELECT name FROM pg_cursors;
COMMIT;
RESET ROLE;

-- by the rows of the poster's query, which no cursor gives away
CREATE TABLE secret (id int, text text);
INSERT INTO secret SELECT i, 'secret ' || i FROM generate_series(1, 5) i;
CREATE FUNCTION attempt_query(run text, query text DEFAULT 'SELECT * FROM secret') RETURNS text LANGUAGE sql AS $$
	SELECT format('%s documents, %s requests', docs, requests)
	FROM jflow_post_query('/x', query, 'attempts', jsonb_build_object('run', run), request_size => 2) $$;
SELECT attempt_query('SELECT count_cursors()');
SELECT attempt_query('CLOSE ALL');
SELECT attempt_query($$SELECT close_cursor('<unnamed portal 1>')$$);
SET ROLE jflow_trapper;
SELECT attempt_query('CLOSE ALL', 'SELECT i AS id FROM generate_series(1, 5) i');
SELECT attempt_query('DISCARD PLANS', 'SELECT i AS id FROM generate_series(1, 5) i');
RESET ROLE;
-- nor do functions that the query itself calls, or a statement that is no plain query
CREATE FUNCTION closing(i int) RETURNS text LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'CLOSE ALL'; RETURN i; END $$;
SELECT attempt_query('SELECT 1', 'SELECT closing(i) AS text FROM generate_series(1, 5) i');
SELECT attempt_query('SELECT 1', 'SELECT attempt_query(''CLOSE ALL'') AS text FROM generate_series(1, 5) i');
SELECT attempt_query('SELECT count(*) FROM pg_class', 'DELETE FROM secret WHERE id = 5 RETURNING id, text');
SELECT attempt_query('SELECT 1', 'WITH d AS (UPDATE secret SET text = closing(id) RETURNING id, text) SELECT * FROM d');
PREPARE secrets(int) AS SELECT * FROM secret WHERE id <= $1;
SELECT attempt_query('CLOSE ALL', 'EXECUTE secrets(3)');
DEALLOCATE secrets;
BEGIN;
DECLARE rows CURSOR FOR SELECT * FROM secret;
SELECT attempt_query('CLOSE ALL', 'FETCH ALL FROM rows');
COMMIT;
SELECT attempt_query('SELECT 1', 'CREATE TABLE nothing ()');
SELECT attempt_query('SELECT 1', 'SELECT 1 AS id; SELECT 2 AS id');
SELECT attempt_query('SELECT 1', '');
SELECT attempt_query('SELECT 1', 'SELECT id / (id - 3) AS id FROM secret');

-- by changes of the very things that the post is about
SET ROLE jflow_trapper;
CREATE TABLE read_from (id int, text text);
INSERT INTO read_from SELECT i, 'row ' || i FROM generate_series(1, 5) i;
SELECT attempt_query('DROP TABLE public.read_from', 'SELECT * FROM read_from');
SELECT attempt_query('TRUNCATE public.read_from', 'SELECT * FROM read_from');
SELECT attempt_query('ALTER TABLE public.read_from ADD COLUMN uri int', 'SELECT * FROM read_from');
SELECT attempt_query('DELETE FROM public.read_from', 'SELECT * FROM read_from');
SELECT attempt_query($$SELECT jflow_remove('attempts', 'e')$$, 'SELECT i AS id FROM generate_series(1, 5) i');
SELECT jflow_add('attempts', 'e', uses => 'attempt', replicas => 0);
SELECT attempt_query($$SELECT jflow_drop('attempts')$$, 'SELECT i AS id FROM generate_series(1, 5) i');
SELECT jflow_create('attempts');
SELECT jflow_add('attempts', 'e', uses => 'attempt', replicas => 0);
SELECT attempt_query('DROP FUNCTION public.attempt', 'SELECT i AS id FROM generate_series(1, 5) i');
CREATE FUNCTION attempt_posts(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$
BEGIN
	BEGIN
		PERFORM jflow_post_query('/x', 'SELECT 1 / (i - 3) AS id FROM generate_series(1, 5) i', 'settings', request_size => 1);
	EXCEPTION WHEN division_by_zero THEN
		RAISE NOTICE 'the inner post failed';
	END;
	RETURN docs;
END $$;
SELECT jflow_create('outer');
SELECT jflow_add('outer', 'e', uses => 'attempt_posts', replicas => 0);
RESET ROLE;
SELECT docs, requests FROM jflow_post_query('/x', 'SELECT * FROM secret', 'outer', request_size => 2);
SELECT count(*) FROM pg_cursors WHERE name <> '';

SET client_min_messages = warning;
SELECT jflow_drop(flow) FROM jflow_flows ORDER BY flow;
DROP TABLE secret;
DROP FUNCTION make_temp, attempt_it, attempt_query, closing;
DROP OWNED BY jflow_trapper CASCADE;
DROP ROLE jflow_trapper;
