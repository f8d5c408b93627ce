-- Does a store that is filled anew take the old one's place at once, with all that hangs on it, and else leave everything as it was?
SET client_min_messages = warning;
\set SHOW_CONTEXT never
CREATE ROLE resync_owner LOGIN;
CREATE ROLE resync_reader;
CREATE SCHEMA anew AUTHORIZATION resync_owner;
GRANT USAGE ON SCHEMA anew TO resync_reader;
GRANT CREATE ON DATABASE :"DBNAME" TO resync_owner;
SET ROLE resync_owner;
SET search_path = anew, public;

-- a model that makes so many dimensions, of texts that it does not refuse
CREATE FUNCTION encode(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$
DECLARE
	options jsonb := (SELECT uses_with FROM jflow_context());
	dim int := coalesce((options->>'dim')::int, 2);
BEGIN
	FOR i IN 1..cardinality(docs) LOOP
		IF docs[i].text LIKE '%' || (options->>'refuses') || '%' THEN
			RAISE EXCEPTION 'refused: %', docs[i].id USING ERRCODE = 'P0001';
		END IF;
		docs[i].embedding := (SELECT array_agg(CASE d WHEN 1 THEN length(docs[i].text) ELSE dim END) FROM generate_series(1, dim) d)::vector;
	END LOOP;
	RETURN docs;
END $$;
CREATE TABLE ticket (id int PRIMARY KEY, title text);
INSERT INTO ticket SELECT i, repeat('x', i) FROM generate_series(1, 400) i;
SELECT jflow_create('tickets');
SELECT jflow_add('tickets', 'encoder', uses => 'anew.encode');
SELECT jflow_add('tickets', 'store', uses => 'PQLiteIndexer', workspace => 'anew', shards => 2, uses_with => '{"metric": "l2", "columns": {"lang": "text"}, "index": "pq"}');
SELECT jflow_sync('tickets', 'tickets', 'ticket', '{"text": "title"}', retries => 0);

-- what is refused leaves nothing behind
SELECT jflow_resync('tickets');
SELECT jflow_start('tickets');
SELECT jflow_sync_run('tickets');
SELECT jflow_resync('nope');
SELECT jflow_resync(NULL);
SELECT jflow_resync('tickets', '[]');
SELECT jflow_resync('tickets', '{"encodr": {}}');
SELECT jflow_resync('tickets', '{"encoder": 1}');
SELECT jflow_resync('tickets', '{"store": {"metrc": "ip"}}');
SELECT jflow_resync('tickets', '{"store": {"columns": {"lang": "int4"}}}');
SELECT jflow_resync('tickets', '{"store": {"columns": {}}}');
SELECT jflow_resync('tickets', '{"store": {"field": "sparse_embedding"}}');
SELECT jflow_resync('tickets', '{"store": {"table": "anew.ticket", "id": "id", "field": "title"}}');
SELECT jflow_sync_pause('tickets');
SELECT jflow_resync('tickets');
SELECT jflow_sync_resume('tickets');
SET ROLE resync_reader;
SELECT jflow_resync('tickets');
SET ROLE resync_owner;
SELECT name FROM jflow_sync_status; SELECT DISTINCT flow FROM jflow_status ORDER BY flow; SELECT count(*) FROM pg_trigger WHERE tgrelid = 'ticket'::regclass;

-- nor is a store that was changed filled anew
ALTER TABLE tickets_store ADD COLUMN mine int;
SELECT jflow_resync('tickets');
ALTER TABLE tickets_store DROP COLUMN mine, ADD CHECK (length(text) < 1000);
SELECT jflow_resync('tickets');
ALTER TABLE tickets_store DROP CONSTRAINT tickets_store_text_check, ALTER text SET NOT NULL;
SELECT jflow_resync('tickets');
ALTER TABLE tickets_store ALTER text DROP NOT NULL, ALTER weight TYPE float8;
SELECT jflow_resync('tickets');
ALTER TABLE tickets_store ALTER weight TYPE float4, ALTER lang TYPE text COLLATE "POSIX";
SELECT jflow_resync('tickets');
ALTER TABLE tickets_store ALTER lang TYPE text COLLATE "C";
ALTER TABLE tickets_store RENAME uri TO url;
SELECT jflow_resync('tickets');
ALTER TABLE tickets_store RENAME url TO uri;
SELECT name FROM jflow_sync_status; SELECT DISTINCT flow FROM jflow_status ORDER BY flow;

-- privileges, policies, views and numbers of what stays
GRANT SELECT ON tickets_store TO resync_reader;
ALTER TABLE tickets_store ENABLE ROW LEVEL SECURITY;
CREATE POLICY short ON tickets_store TO resync_reader USING (length(text) < 5);
CREATE VIEW texts AS SELECT id, text FROM tickets_store;
CREATE TABLE before AS SELECT oid FROM pg_class WHERE relname = 'tickets_store';

-- another model: of other dimensions, and under another metric
SELECT jflow_resync('tickets', '{"encoder": {"dim": 3}, "store": {"metric": "ip"}}');
SELECT jflow_resync('tickets');
SELECT jflow_resync('tickets_resync');
CREATE FUNCTION until(condition text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE good bool;
BEGIN
	FOR i IN 1..6000 LOOP
		EXECUTE 'SELECT ' || condition INTO good;
		IF good THEN RETURN 'yes'; END IF;
		PERFORM pg_sleep(0.01);
	END LOOP;
	RETURN (SELECT 'never: ' || string_agg(to_jsonb(s)::text, '; ') FROM jflow_sync_status s);
END $$;
SELECT until('NOT EXISTS (SELECT FROM jflow_sync_status WHERE name = ''tickets_resync'')');
SELECT jflow_wait('tickets');
SELECT count(*), min(vector_dims(embedding)), max(vector_dims(embedding)) FROM tickets_store;
SELECT id, text FROM tickets_store WHERE id = '3';
SELECT id, score FROM jflow_search('xxx', 2);
RESET ROLE;
SELECT uses_with FROM jflow.executor WHERE flow = 'tickets' ORDER BY "position";
SELECT flow, executor, shard, "table", metric FROM jflow.shard WHERE "schema" = 'anew' ORDER BY 1, 2, 3;
SELECT count(*) FROM jflow.sync_row WHERE sync IN (SELECT id FROM jflow.sync); SELECT flow FROM jflow.run_state WHERE flow LIKE 'tickets%';
SET ROLE resync_owner;
SELECT relname FROM pg_class WHERE relnamespace = 'anew'::regnamespace AND relname LIKE 'tickets%' ORDER BY relname COLLATE "C";
SELECT conname FROM pg_constraint WHERE conrelid = 'tickets_store_0'::regclass AND contype = 'c';
SELECT 'tickets_store'::regclass = (SELECT oid FROM before), (SELECT count(*) FROM texts);
SET ROLE resync_reader;
SELECT count(*) FROM anew.tickets_store;
SET ROLE resync_owner;
SELECT DISTINCT flow FROM jflow_status ORDER BY flow;
SELECT until('(SELECT state = ''following'' FROM jflow_sync_status)');
SELECT name, flow, mode, state, pending, failed FROM jflow_sync_status;

-- it goes on as the sync that it is
UPDATE ticket SET title = 'new' WHERE id = 1; DELETE FROM ticket WHERE id = 2; INSERT INTO ticket VALUES (500, 'inserted');
SELECT until('(SELECT pending = 0 FROM jflow_sync_status) AND EXISTS (SELECT FROM tickets_store WHERE id = ''500'')');
SELECT count(*), count(*) FILTER (WHERE id IN ('2')), string_agg(text, ',' ORDER BY text) FILTER (WHERE id IN ('1', '500')) FROM tickets_store;
CREATE TABLE stray AS SELECT id FROM tickets_store LIMIT 0;

-- a row that the new model alone refuses keeps the old store where it is
UPDATE ticket SET title = 'poison' WHERE id = 10;
SELECT until('EXISTS (SELECT FROM tickets_store WHERE text = ''poison'')');
SELECT jflow_resync('tickets', '{"encoder": {"refuses": "poison", "dim": 4}}');
SELECT until('EXISTS (SELECT FROM jflow_sync_status WHERE name = ''tickets_resync'' AND last_error LIKE ''%missing from%'')');
SELECT state, pending, failed, last_error FROM jflow_sync_status WHERE name = 'tickets_resync';
SELECT id, sqlstate, message FROM jflow_sync_errors;
SELECT count(*), max(vector_dims(embedding)) FROM tickets_store;
-- until it is mended, and nothing would be lost that was added meanwhile
ALTER TABLE tickets_store ADD COLUMN mine int;
UPDATE ticket SET title = 'antidote' WHERE id = 10;
SELECT until('EXISTS (SELECT FROM jflow_sync_status WHERE name = ''tickets_resync'' AND last_error LIKE ''%as it was made%'')');
ALTER TABLE tickets_store DROP COLUMN mine;
SELECT until('NOT EXISTS (SELECT FROM jflow_sync_status WHERE name = ''tickets_resync'')');
SELECT count(*), max(vector_dims(embedding)), max(text) FILTER (WHERE id = '10') FROM tickets_store;
SELECT count(*) FROM jflow_sync_errors;
-- rows that were set aside before hold up nothing, and are tried again
UPDATE ticket SET title = 'poison again' WHERE id IN (10, 11);
SELECT until('(SELECT count(*) = 2 FROM jflow_sync_errors)');
SELECT jflow_resync('tickets');
SELECT until('NOT EXISTS (SELECT FROM jflow_sync_status WHERE name = ''tickets_resync'')');
SELECT id, message FROM jflow_sync_errors ORDER BY id;
SELECT count(*) FROM tickets_store;
SELECT jflow_resync('tickets', '{"encoder": {"refuses": "antidote"}}');
SELECT until('NOT EXISTS (SELECT FROM jflow_sync_status WHERE name = ''tickets_resync'')');
SELECT count(*) FROM jflow_sync_errors;
-- and with skip_failed a new one does not, either
UPDATE ticket SET title = 'antidote' WHERE id = 12;
SELECT until('(SELECT count(*) = 1 FROM jflow_sync_errors)');
SELECT jflow_resync('tickets', '{"encoder": {"refuses": "poison again"}}', skip_failed => true);
SELECT until('NOT EXISTS (SELECT FROM jflow_sync_status WHERE name = ''tickets_resync'')');
SELECT id FROM jflow_sync_errors ORDER BY id;

-- given up: by name, with the sync, with the flow
UPDATE ticket SET title = 'venom' WHERE id = 13;
SELECT until('EXISTS (SELECT FROM tickets_store WHERE text = ''venom'')');
SELECT jflow_resync('tickets', '{"encoder": {"refuses": "venom"}}');
SELECT until('EXISTS (SELECT FROM jflow_sync_status WHERE name = ''tickets_resync'' AND last_error LIKE ''%missing from%'')');
SELECT jflow_unsync('tickets_resync');
SELECT DISTINCT flow FROM jflow_status ORDER BY flow; SELECT name FROM jflow_sync_status; SELECT count(*) FROM pg_trigger WHERE tgrelid = 'ticket'::regclass;
SELECT relname FROM pg_class WHERE relnamespace = 'anew'::regnamespace AND relname LIKE '%resync%';
-- a flow that was changed since
SELECT jflow_resync('tickets', '{"encoder": {"refuses": "venom"}}');
SELECT jflow_add('tickets', 'another', replicas => 0, needs => '{store}', floating => true);
UPDATE ticket SET title = 'mended' WHERE id = 13;
SELECT until('EXISTS (SELECT FROM jflow_sync_status WHERE name = ''tickets_resync'' AND last_error LIKE ''%other executors%'')');
SELECT jflow_remove('tickets', 'another');
SELECT until('NOT EXISTS (SELECT FROM jflow_sync_status WHERE name = ''tickets_resync'')');
SELECT count(*) FROM tickets_store WHERE text = 'mended';
-- something hangs on a leaf
CREATE VIEW leaf AS SELECT id FROM tickets_store_0;
SELECT jflow_resync('tickets');
SELECT until('EXISTS (SELECT FROM jflow_sync_status WHERE name = ''tickets_resync'' AND last_error LIKE ''%cannot drop table%'')');
SELECT count(*) FROM tickets_store;
DROP VIEW leaf;
SELECT until('NOT EXISTS (SELECT FROM jflow_sync_status WHERE name = ''tickets_resync'')');
SELECT count(*), (SELECT count(*) FROM ticket WHERE title <> 'poison again') FROM tickets_store;
SELECT jflow_resync('tickets', '{"encoder": {"refuses": "mended"}}');
SELECT jflow_unsync('tickets');
SELECT DISTINCT flow FROM jflow_status ORDER BY flow; SELECT name FROM jflow_sync_status; SELECT count(*) FROM pg_trigger WHERE tgrelid = 'ticket'::regclass;
SELECT jflow_stop('tickets');

-- within the statement: all at once, or nothing
SELECT jflow_create('inline');
SELECT jflow_add('inline', 'encoder', uses => 'anew.encode', replicas => 0);
SELECT jflow_add('inline', 'store', uses => 'PQLiteIndexer', workspace => 'anew', replicas => 0, uses_with => '{"metric": "l2"}');
SELECT jflow_sync('inline', 'inline', 'ticket', '{"text": "title"}', mode => 'immediate');
SELECT count(*), max(vector_dims(embedding)) FROM inline_store;
SELECT jflow_resync('inline', '{"encoder": {"dim": 5, "refuses": "mended"}}');
SELECT count(*), max(vector_dims(embedding)) FROM inline_store;
BEGIN; SELECT jflow_resync('inline', '{"encoder": {"dim": 5}}'); SELECT count(*), max(vector_dims(embedding)) FROM inline_store; ROLLBACK;
SELECT count(*), max(vector_dims(embedding)) FROM inline_store;
SELECT jflow_resync('inline', '{"encoder": {"dim": 6}}');
INSERT INTO ticket VALUES (600, 'at once');
SELECT count(*), min(vector_dims(embedding)), max(vector_dims(embedding)) FROM inline_store;
SELECT DISTINCT flow FROM jflow_status WHERE flow LIKE 'inline%'; SELECT count(*) FROM pg_trigger WHERE tgrelid = 'ticket'::regclass;
-- names that somebody else has taken stand in nobody's way
SET ROLE resync_reader; SELECT jflow_create('inline_resync'); SET ROLE resync_owner;
SELECT jflow_create('else'); SELECT jflow_add('else', 'store', uses => 'PQLiteIndexer', workspace => 'anew', uses_with => '{"dim": 2}');
SELECT jflow_sync('inline_resync', 'else', 'ticket', '{"text": "title"}', mode => 'manual');
SELECT jflow_resync('inline', '{"encoder": {"dim": 8}}');
SELECT count(*), min(vector_dims(embedding)), max(vector_dims(embedding)) FROM inline_store;
SELECT jflow_drop('else');
SET ROLE resync_reader; SELECT jflow_drop('inline_resync'); SET ROLE resync_owner;
BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT jflow_resync('inline'); ROLLBACK;
TRUNCATE ticket;
SELECT count(*) FROM inline_store;
-- a table without rows has a store without rows
SELECT jflow_resync('inline', '{"encoder": {"dim": 7}}');
INSERT INTO ticket VALUES (1, 'one');
SELECT vector_dims(embedding) FROM inline_store;
SELECT jflow_drop('inline', drop_data => true);

-- a user's table: into another of its columns
CREATE TABLE note (id text PRIMARY KEY, words text, embedding vector(2), second vector(3));
INSERT INTO note SELECT i::text, repeat('w', i) FROM generate_series(1, 20) i;
SELECT jflow_create('notes');
SELECT jflow_add('notes', 'encoder', uses => 'anew.encode');
SELECT jflow_add('notes', 'store', uses => 'PQLiteIndexer', uses_with => '{"table": "anew.note", "id": "id", "field": "embedding", "text": "words", "metric": "l2"}');
SELECT jflow_sync('notes', 'notes', 'note', '{"text": "words"}', mode => 'manual');
SELECT jflow_start('notes');
SELECT jflow_sync_run('notes');
SELECT jflow_resync('notes');
SELECT jflow_resync('notes', '{"encoder": {"dim": 3}}');
SELECT jflow_resync('notes', '{"encoder": {"dim": 3}, "store": {"field": "second"}}');
SELECT until('NOT EXISTS (SELECT FROM jflow_sync_status WHERE name = ''notes_resync'')');
SELECT count(*), count(embedding), count(second) FROM note;
SELECT mode FROM jflow_sync_status WHERE name = 'notes';
SELECT id FROM jflow_search('www', 1, 'notes');
UPDATE note SET words = 'wwwww longer' WHERE id = '3';
SELECT jflow_sync_run('notes');
SELECT (second::real[])[1], (embedding::real[])[1] FROM note WHERE id = '3';
SELECT jflow_drop('notes');

-- nothing to exchange, or nothing that is ours
SELECT jflow_create('bare');
SELECT jflow_add('bare', 'encoder', uses => 'anew.encode', replicas => 0);
SELECT jflow_sync('bare', 'bare', 'note', '{"text": "words"}', mode => 'immediate');
SELECT jflow_resync('bare');
SELECT jflow_add('bare', 'keeper', requests => '{"/index": {"function": "anew.encode", "writes": true}}', replicas => 0);
SELECT jflow_add('bare', 'store', uses => 'PQLiteIndexer', workspace => 'anew', replicas => 0);
SELECT jflow_resync('bare');
SELECT jflow_drop('bare', drop_data => true);
SELECT jflow_drop('tickets');
RESET ROLE;
SELECT count(*) FROM jflow.sync; SELECT count(*) FROM jflow.sync_row; SELECT flow FROM jflow.flow WHERE flow LIKE '%resync'; SELECT count(*) FROM jflow.codebook;
DROP SCHEMA anew CASCADE;
REVOKE CREATE ON DATABASE :"DBNAME" FROM resync_owner;
DROP ROLE resync_owner, resync_reader;
