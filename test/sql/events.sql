-- As whom do the statements run that jflow makes of its own, where event triggers look, and what if one refuses them?
SET client_min_messages = warning;
\set SHOW_CONTEXT never
CREATE ROLE event_owner LOGIN;
CREATE ROLE event_poster;
CREATE SCHEMA events AUTHORIZATION event_owner;
GRANT USAGE ON SCHEMA events TO PUBLIC;
GRANT CREATE ON DATABASE :"DBNAME" TO event_owner;
CREATE TABLE events.seen (event text, tag text, role text);
GRANT INSERT ON events.seen TO PUBLIC;
CREATE FUNCTION events.see() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO events.seen VALUES (tg_event, tg_tag, current_user); END $$;
CREATE EVENT TRIGGER see_start ON ddl_command_start EXECUTE FUNCTION events.see();
CREATE EVENT TRIGGER see_end ON ddl_command_end EXECUTE FUNCTION events.see();
CREATE EVENT TRIGGER see_drop ON sql_drop EXECUTE FUNCTION events.see();
CREATE EVENT TRIGGER see_rewrite ON table_rewrite EXECUTE FUNCTION events.see();
-- who ran what since the last time
CREATE FUNCTION events.roles() RETURNS TABLE (role text, statements text) LANGUAGE sql AS $$
	WITH s AS (DELETE FROM events.seen RETURNING *)
	SELECT role, string_agg(DISTINCT tag, ', ' ORDER BY tag) FROM s GROUP BY role ORDER BY role $$;

SET ROLE event_owner;
SET search_path = events, public;
CREATE FUNCTION encode(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$ BEGIN
	FOR i IN 1..cardinality(docs) LOOP docs[i].embedding := ARRAY[length(docs[i].text), 1]::vector; END LOOP;
	RETURN docs;
END $$;
SELECT jflow_create('inline');
SELECT jflow_add('inline', 'encoder', uses => 'events.encode', replicas => 0);
SELECT jflow_add('inline', 'store', uses => 'PQLiteIndexer', replicas => 0, uses_with => '{"dim": 2, "metric": "l2", "index": "pq"}');
SELECT jflow_grant('inline', 'event_poster');
SELECT jflow_create('apart');
SELECT jflow_add('apart', 'encoder', uses => 'events.encode');
SELECT jflow_add('apart', 'store', uses => 'PQLiteIndexer', uses_with => '{"dim": 2, "metric": "l2"}');
SELECT jflow_grant('apart', 'event_poster');
SELECT jflow_start('apart');
SELECT jflow_wait('apart');
CREATE TABLE item (id int PRIMARY KEY, text text);
INSERT INTO item VALUES (1, 'one');
RESET ROLE;
DELETE FROM events.seen;

-- whoever posts, the flow's owner makes its tables and indexes
SET ROLE event_poster;
SELECT count(*) FROM jflow_post('/index', ARRAY['a', 'bb'], 'inline');
SELECT count(*) FROM jflow_post('/index', ARRAY['a', 'bb'], 'apart');
RESET ROLE;
SELECT * FROM events.roles();
SELECT count(*) FROM jflow_post('/index', ARRAY(SELECT repeat('x', i % 100) FROM generate_series(1, 6000) i), 'inline');
SELECT jflow_reindex('inline', 'store');
SELECT jflow_scale('inline', 'store', shards => 2);
SELECT * FROM events.roles();

-- who makes a sync, or fills its store anew
SET ROLE event_owner;
SELECT jflow_create('kept');
SELECT jflow_add('kept', 'encoder', uses => 'events.encode', replicas => 0);
SELECT jflow_add('kept', 'store', uses => 'PQLiteIndexer', replicas => 0, uses_with => '{"dim": 2, "metric": "l2"}');
RESET ROLE;
SELECT jflow_sync('kept', 'kept', 'events.item', '{"text": "text"}', mode => 'immediate');
SELECT jflow_resync('kept');
SELECT * FROM events.roles();
SELECT count(*) FROM jflow_data_event_owner.kept_store;

-- one that refuses fails the statement, and leaves nothing
CREATE FUNCTION events.refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION '% is refused', tg_tag USING ERRCODE = 'insufficient_privilege'; END $$;
SET ROLE event_owner;
SELECT jflow_create('refused');
SELECT jflow_add('refused', 'encoder', uses => 'events.encode', replicas => 0);
SELECT jflow_add('refused', 'store', uses => 'PQLiteIndexer', replicas => 0, uses_with => '{"dim": 2, "metric": "l2"}');
RESET ROLE;
CREATE EVENT TRIGGER refuse ON ddl_command_end WHEN TAG IN ('CREATE TABLE', 'ALTER TABLE', 'DROP TABLE', 'CREATE INDEX') EXECUTE FUNCTION events.refuse();
SELECT count(*) FROM jflow_post('/index', ARRAY['a'], 'refused');
SELECT jflow_scale('inline', 'store', shards => 3);
SELECT jflow_resync('kept');
SELECT jflow_reindex('inline', 'store');
DROP EVENT TRIGGER refuse;
SELECT count(*) FROM jflow.shard WHERE flow = 'refused';
SELECT shards FROM jflow.executor WHERE flow = 'inline' AND name = 'store';
SELECT count(*) FROM jflow_data_event_owner.inline_store;
SELECT name FROM jflow_sync_status;
SELECT count(*) FROM jflow_post('/index', ARRAY['a'], 'refused');
TRUNCATE events.seen;

-- one that posts to the flow that makes its store, takes another role, or changes what it runs with
CREATE FUNCTION events.disturb() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
	BEGIN
		PERFORM public.jflow_post('/search', ARRAY['a'], 'disturbed');
	EXCEPTION WHEN OTHERS THEN
		INSERT INTO events.seen VALUES ('posts', SQLSTATE, current_user);
	END;
	BEGIN
		EXECUTE 'SET ROLE event_poster';
	EXCEPTION WHEN OTHERS THEN
		INSERT INTO events.seen VALUES ('role', SQLSTATE, current_user);
	END;
	BEGIN
		EXECUTE 'CLOSE ALL';
	EXCEPTION WHEN OTHERS THEN
		INSERT INTO events.seen VALUES ('cursors', SQLSTATE, current_user);
	END;
	PERFORM set_config('search_path', 'events', false);
END $$;
CREATE EVENT TRIGGER disturb ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION events.disturb();
SET ROLE event_owner;
SELECT jflow_create('disturbed');
SELECT jflow_add('disturbed', 'encoder', uses => 'events.encode', replicas => 0);
SELECT jflow_add('disturbed', 'store', uses => 'PQLiteIndexer', replicas => 0, uses_with => '{"dim": 2, "metric": "l2"}');
RESET ROLE;
SET search_path = public, events;
BEGIN;
DECLARE mine CURSOR FOR SELECT i FROM generate_series(1, 3) i;
SELECT count(*) FROM jflow_post('/index', ARRAY['a'], 'disturbed');
FETCH 1 FROM mine;
COMMIT;
SELECT current_setting('search_path'), current_user = session_user AS same_role;
SELECT DISTINCT event, tag, role = 'event_owner' AS as_owner FROM events.seen WHERE event IN ('posts', 'role', 'cursors') ORDER BY 1;
SELECT count(*) FROM jflow_post('/search', ARRAY['a'], 'disturbed'), unnest(matches);
DROP EVENT TRIGGER disturb;
DROP EVENT TRIGGER see_start;
DROP EVENT TRIGGER see_end;
DROP EVENT TRIGGER see_drop;
DROP EVENT TRIGGER see_rewrite;

SELECT jflow_unsync('kept');
SELECT jflow_drop(flow, drop_data => true) FROM jflow_flows ORDER BY flow;
SELECT count(*) FROM jflow.codebook c WHERE c.owner = 'event_owner';
DROP OWNED BY event_owner CASCADE;
DROP ROLE event_owner, event_poster;
