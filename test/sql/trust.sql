-- Whose code comes to run where a role works on another's flow, or a superuser's flow on another's table?
SET client_min_messages = warning;
CREATE ROLE trust_evil;
CREATE ROLE trust_stranger;
CREATE SCHEMA trust_evil AUTHORIZATION trust_evil;
GRANT USAGE ON SCHEMA trust_evil TO PUBLIC;

-- code of a flow's owner does not reach the cursors of whose session it runs in: a trigger where rows are moved
SET ROLE trust_evil;
CREATE FUNCTION trust_evil.become() RETURNS int LANGUAGE plpgsql AS $$
BEGIN RAISE WARNING 'runs as %', CASE current_user WHEN 'trust_evil' THEN 'owner' ELSE 'caller' END; RETURN 0; END $$;
CREATE FUNCTION trust_evil.swap() RETURNS void LANGUAGE plpgsql AS $$
DECLARE c refcursor := 'c1';
BEGIN
	CLOSE c;
	OPEN c NO SCROLL FOR EXECUTE 'SELECT trust_evil.become()';
EXCEPTION WHEN OTHERS THEN
	RAISE WARNING '% %', SQLSTATE, SQLERRM;
END $$;
CREATE FUNCTION trust_evil.trigger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM trust_evil.swap(); PERFORM set_config('work_mem', '99MB', false); RETURN coalesce(NEW, OLD); END $$;
SELECT jflow_create('evil');
SELECT jflow_add('evil', 'store', uses => 'PQLiteIndexer', replicas => 0);
SELECT count(*) FROM jflow_post('/index', ARRAY[jflow_doc(id => '1', embedding => '[1,2]'), jflow_doc(id => '2', embedding => '[1,2]')], 'evil');
CREATE TRIGGER swap BEFORE INSERT OR DELETE ON jflow_data_trust_evil.evil_store FOR EACH ROW EXECUTE FUNCTION trust_evil.trigger();
RESET ROLE;
BEGIN;
DECLARE c1 CURSOR FOR SELECT i FROM generate_series(1, 9) i;
FETCH 1 FROM c1;
SELECT jflow_scale('evil', 'store', shards => 2);
FETCH 1 FROM c1;
SELECT current_setting('work_mem') <> '99MB' AS clean;
ROLLBACK;

-- a cast where a table is read
SET ROLE trust_evil;
CREATE TYPE trust_evil.mood AS ENUM ('good');
CREATE FUNCTION trust_evil.to_text(trust_evil.mood) RETURNS text LANGUAGE plpgsql AS $$
BEGIN PERFORM trust_evil.swap(); RETURN 'a text'; END $$;
CREATE CAST (trust_evil.mood AS text) WITH FUNCTION trust_evil.to_text;
CREATE TABLE trust_evil.source (id int PRIMARY KEY, mood trust_evil.mood);
INSERT INTO trust_evil.source VALUES (1, 'good');
SELECT jflow_create('kept');
SELECT jflow_add('kept', 'e', replicas => 0);
RESET ROLE;
BEGIN;
DECLARE c1 CURSOR FOR SELECT i FROM generate_series(1, 9) i;
FETCH 1 FROM c1;
SELECT jflow_sync('kept', 'kept', 'trust_evil.source', '{"text": "mood"}', mode => 'immediate');
FETCH 1 FROM c1;
INSERT INTO trust_evil.source VALUES (2, 'good');
FETCH 1 FROM c1;
SELECT jflow_sync_resume('kept');
FETCH 1 FROM c1;
ROLLBACK;

-- a superuser's flow does not run what belongs to another, though he has that one's privileges
SET ROLE trust_evil;
CREATE FUNCTION trust_evil.pass(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$
BEGIN PERFORM trust_evil.become(); RETURN docs; END $$;
CREATE FUNCTION trust_evil.spring() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM trust_evil.become(); RETURN NEW; END $$;
CREATE TABLE trust_evil.items (id text PRIMARY KEY, e vector(2));
CREATE TRIGGER spring BEFORE INSERT ON trust_evil.items FOR EACH ROW EXECUTE FUNCTION trust_evil.spring();
SELECT jflow_define('TrustClass', '{"/x": "trust_evil.pass"}');
RESET ROLE;
\set VERBOSITY terse
SELECT jflow_create('super');
SELECT jflow_add('super', 'f', uses => 'trust_evil.pass', replicas => 0);
SELECT count(*) FROM jflow_post('/x', ARRAY['a'], 'super');
SELECT jflow_remove('super', 'f');
SELECT jflow_add('super', 'c', uses => 'TrustClass', replicas => 0);
\set VERBOSITY default
SELECT jflow_add('super', 'store', uses => 'PQLiteIndexer', uses_with => '{"table": "trust_evil.items", "id": "id", "field": "e"}', replicas => 0);
SELECT count(*) FROM jflow_post('/index', ARRAY[jflow_doc(id => '1', embedding => '[1,2]')], 'super');
SELECT count(*) FROM jflow_post('/search', ARRAY[jflow_doc(embedding => '[1,2]')], 'super');
SELECT jflow_sync('super', 'super', 'trust_evil.source', '{"text": "mood"}', mode => 'immediate');

-- nor a part of his own table that belongs to another, given away while it is known
CREATE TABLE trust_parts (id text NOT NULL, e vector(2), p int NOT NULL, PRIMARY KEY (p, id)) PARTITION BY LIST (p);
CREATE TABLE trust_part PARTITION OF trust_parts DEFAULT;
CREATE TABLE trust_whole (id text PRIMARY KEY, e vector(2));
SELECT jflow_remove('super', 'store');
SELECT jflow_add('super', 'store', uses => 'PQLiteIndexer', uses_with => '{"table": "public.trust_parts", "id": "id", "field": "e"}', replicas => 0);
SELECT count(*) FROM jflow_post('/search', ARRAY[jflow_doc(embedding => '[1,2]')], 'super');
ALTER TABLE trust_part OWNER TO trust_evil;
SELECT count(*) FROM jflow_post('/search', ARRAY[jflow_doc(embedding => '[1,2]')], 'super');
SELECT jflow_remove('super', 'store');
SELECT jflow_add('super', 'store', uses => 'PQLiteIndexer', uses_with => '{"table": "public.trust_whole", "id": "id", "field": "e"}', replicas => 0);
SELECT count(*) FROM jflow_post('/index', ARRAY[jflow_doc(id => '1', embedding => '[1,2]')], 'super');
SELECT jflow_sync('super', 'super', 'trust_whole', '{"embedding": "e"}', mode => 'immediate');
ALTER TABLE trust_whole OWNER TO trust_evil;
SELECT count(*) FROM jflow_post('/index', ARRAY[jflow_doc(id => '2', embedding => '[1,2]')], 'super');
INSERT INTO trust_whole VALUES ('3', '[1,2]');
SELECT jflow_sync_resume('super');
SELECT jflow_unsync('super');

-- nor asks a server that another can point to where he likes
CREATE FOREIGN DATA WRAPPER trust_wrapper;
CREATE SERVER trust_server FOREIGN DATA WRAPPER trust_wrapper;
ALTER FOREIGN DATA WRAPPER trust_wrapper OWNER TO CURRENT_USER;
GRANT USAGE ON FOREIGN DATA WRAPPER trust_wrapper TO trust_evil;
ALTER SERVER trust_server OWNER TO trust_evil;
SELECT jflow_remove('super', 'store');
SELECT jflow_add('super', 'far', uses => 'RemoteFlow', uses_with => '{"servers": ["trust_server"], "flow": "f"}', replicas => 0);
SELECT count(*) FROM jflow_post('/search', ARRAY['a'], 'super');
SELECT jflow_remove('super', 'far');
SELECT jflow_add('super', 'http', uses => 'HttpExecutor', uses_with => '{"server": "trust_server"}', replicas => 0);
SELECT count(*) FROM jflow_post('/x', ARRAY['a'], 'super');
SELECT jflow_drop('super');

-- the same things in a flow of their owner's run as him, whoever posts
SET ROLE trust_evil;
SELECT jflow_create('his');
SELECT jflow_add('his', 'f', uses => 'trust_evil.pass', replicas => 0);
SELECT jflow_add('his', 'c', uses => 'TrustClass', replicas => 0);
SELECT jflow_add('his', 'store', uses => 'PQLiteIndexer', uses_with => '{"table": "trust_evil.items", "id": "id", "field": "e"}', replicas => 0);
RESET ROLE;
SELECT count(*) FROM jflow_post('/index', ARRAY[jflow_doc(id => '1', embedding => '[1,2]')], 'his');

-- a sync is known to who may know of its flow
SELECT jflow_sync('kept', 'kept', 'trust_evil.source', '{"text": "mood"}', mode => 'immediate');
SET ROLE trust_stranger;
CREATE FUNCTION pg_temp.attempt(call text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE 'SELECT ' || call;
	RETURN 'allowed';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
SELECT f, pg_temp.attempt(format('jflow_%s(''kept'')', f)) AS of_another, pg_temp.attempt(format('jflow_%s(''none'')', f)) AS of_nobody
	FROM unnest('{unsync,sync_pause,sync_resume,sync_retry,sync_run}'::text[]) f;
SET client_min_messages = notice;
SELECT jflow_unsync('kept', if_exists => true);
SET client_min_messages = warning;
SELECT count(*) FROM jflow_sync_status WHERE name = 'kept';
SET ROLE trust_evil;
SELECT jflow_grant('kept', 'trust_stranger', '{/search}');
SET ROLE trust_stranger;
SELECT f, pg_temp.attempt(format('jflow_%s(''kept'')', f)) FROM unnest('{unsync,sync_pause,sync_resume,sync_retry,sync_run}'::text[]) f;
DROP FUNCTION pg_temp.attempt;

-- who has lost the right to the triggers of a table takes no lock on it
RESET ROLE;
CREATE TABLE trust_lent (id int PRIMARY KEY, t text);
GRANT SELECT, TRIGGER ON trust_lent TO trust_evil;
SET ROLE trust_evil;
SELECT jflow_create('lent');
SELECT jflow_add('lent', 'e', replicas => 0);
SELECT jflow_sync('lent', 'lent', 'trust_lent', '{"text": "t"}', mode => 'immediate');
RESET ROLE;
REVOKE TRIGGER ON trust_lent FROM trust_evil;
SET ROLE trust_evil;
BEGIN;
SAVEPOINT s;
SELECT jflow_unsync('lent');
ROLLBACK TO s;
SELECT jflow_drop('lent');
ROLLBACK TO s;
SELECT jflow_sync_resume('lent');
ROLLBACK TO s;
SELECT count(*) FROM pg_locks WHERE relation = 'trust_lent'::regclass;
COMMIT;
RESET ROLE;
-- the owner of the table can drop them
DO $$ DECLARE t name; BEGIN
	FOR t IN SELECT tgname FROM pg_trigger WHERE tgrelid = 'trust_lent'::regclass AND tgname ~ '^jflow' LOOP
		EXECUTE format('DROP TRIGGER %I ON trust_lent', t);
	END LOOP;
END $$;
INSERT INTO trust_lent VALUES (1, 'a');
SET ROLE trust_evil;
SELECT jflow_unsync('lent');
SELECT jflow_drop('lent');

-- a store that is filled anew: what its owner has put on the old one, and on the new one while it is filled
SET ROLE trust_evil;
CREATE TABLE trust_evil.seen (what text, as_owner bool, path text);
CREATE FUNCTION trust_evil.see(what text) RETURNS bool LANGUAGE plpgsql AS $$
DECLARE c refcursor := 'c1';
BEGIN
	PERFORM set_config('work_mem', '99MB', false);
	INSERT INTO trust_evil.seen VALUES (what, current_user = 'trust_evil', current_setting('search_path'));
	BEGIN
		CREATE TEMP TABLE trap (a int);
		DROP TABLE trap;
		INSERT INTO trust_evil.seen (what) VALUES ('not restricted');
	EXCEPTION WHEN insufficient_privilege THEN NULL;
	END;
	BEGIN
		CLOSE c;
	EXCEPTION WHEN invalid_cursor_state OR invalid_cursor_name THEN NULL;
	END;
	RETURN true;
END $$;
CREATE FUNCTION trust_evil.see() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM trust_evil.see(TG_NAME); RETURN coalesce(NEW, OLD); END $$;
CREATE FUNCTION trust_evil.seen(t text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN PERFORM trust_evil.see('index'); RETURN t; END $$;
CREATE FUNCTION trust_evil.encode(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1..cardinality(docs) LOOP docs[i].embedding := '[1,2]'; END LOOP;
	EXECUTE (SELECT uses_with->>'then' FROM jflow_context() WHERE to_regclass('jflow_data_trust_evil.anew_resync_store_0') IS NOT NULL);
	RETURN docs;
EXCEPTION WHEN duplicate_object OR duplicate_table OR null_value_not_allowed THEN RETURN docs;
END $$;
CREATE TABLE trust_evil.filled (id int PRIMARY KEY, t text);
INSERT INTO trust_evil.filled SELECT i, 'a' FROM generate_series(1, 150) i;
SELECT jflow_create('anew');
SELECT jflow_add('anew', 'encoder', uses => 'trust_evil.encode', replicas => 0);
SELECT jflow_add('anew', 'store', uses => 'PQLiteIndexer', replicas => 0);
SELECT jflow_sync('anew', 'anew', 'trust_evil.filled', '{"text": "t"}', batch => 5, mode => 'immediate');
CREATE INDEX ON jflow_data_trust_evil.anew_store (trust_evil.seen(text));
CREATE TRIGGER of_the_old BEFORE INSERT OR DELETE ON jflow_data_trust_evil.anew_store FOR EACH ROW EXECUTE FUNCTION trust_evil.see();
ALTER TABLE jflow_data_trust_evil.anew_store ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY p ON jflow_data_trust_evil.anew_store USING (trust_evil.see('policy'));
TRUNCATE trust_evil.seen;
RESET ROLE;
BEGIN;
DECLARE c1 CURSOR FOR SELECT i FROM generate_series(1, 9) i;
SELECT jflow_resync('anew', $${"encoder": {"then": "CREATE TRIGGER of_the_new BEFORE INSERT ON jflow_data_trust_evil.anew_resync_store_0 FOR EACH ROW EXECUTE FUNCTION trust_evil.see()"}}$$);
FETCH 1 FROM c1;
SELECT current_setting('work_mem') <> '99MB' AS clean;
COMMIT;
SELECT DISTINCT what, as_owner, path LIKE '%, pg_temp' AS our_path FROM trust_evil.seen ORDER BY what;
SELECT count(*) FROM jflow_data_trust_evil.anew_store;
\set SHOW_CONTEXT never
-- a trigger that would fire at the commit, as who resyncs
SELECT jflow_resync('anew', $${"encoder": {"then": "CREATE CONSTRAINT TRIGGER later AFTER INSERT ON jflow_data_trust_evil.anew_resync_store_0 INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION trust_evil.see()"}}$$);
SELECT jflow_resync('anew', $${"encoder": {"then": "ALTER TABLE jflow_data_trust_evil.anew_store_0 RENAME TO away; CREATE VIEW jflow_data_trust_evil.anew_store_0 AS SELECT trust_evil.see('view')"}}$$);
SELECT name FROM jflow_sync_status WHERE flow = 'anew'; SELECT count(*) FROM jflow_data_trust_evil.anew_store;
SELECT jflow_drop('anew', drop_data => true);

-- a class of another's is none to undefine
SET ROLE trust_stranger;
SELECT jflow_undefine('TrustClass');
SELECT jflow_undefine('TfidfVectorizer');

RESET ROLE;
SELECT jflow_unsync('kept');
SELECT jflow_drop(f) FROM unnest('{evil,kept,his}'::text[]) f;
DROP TABLE trust_parts, trust_whole, trust_lent;
SET ROLE trust_evil;
SELECT jflow_undefine('TrustClass');
RESET ROLE;
DROP FOREIGN DATA WRAPPER trust_wrapper CASCADE;
SET client_min_messages = error;
DROP OWNED BY trust_evil, trust_stranger CASCADE;
DROP ROLE trust_evil, trust_stranger;
