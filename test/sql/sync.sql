-- Is a store what its table is, whatever was done to the table, and is refused what could not be kept so?
SET client_min_messages = warning;
\set SHOW_CONTEXT never
CREATE ROLE sync_owner LOGIN;
CREATE ROLE sync_other;
CREATE SCHEMA desk AUTHORIZATION sync_owner;
GRANT USAGE ON SCHEMA desk TO sync_other;
GRANT CREATE ON DATABASE :"DBNAME" TO sync_owner;
GRANT CREATE ON SCHEMA public TO sync_owner;
SET ROLE sync_owner;
SET search_path = desk, public;

-- a vector of each text; one that says "poison" fails, one that says "venom" with an error that is not a document's
CREATE FUNCTION encode(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$
BEGIN
	IF EXISTS (SELECT FROM desk.outage) THEN
		RAISE EXCEPTION 'the model is away' USING ERRCODE = '53000';
	END IF;
	FOR i IN 1..cardinality(docs) LOOP
		IF docs[i].text LIKE '%poison%' THEN
			RAISE EXCEPTION 'poisoned: %', docs[i].id USING ERRCODE = 'P0001';
		ELSIF docs[i].text LIKE '%venom%' THEN
			RAISE EXCEPTION 'venomous: %', docs[i].id USING ERRCODE = 'XX000';
		END IF;
		docs[i].embedding := ARRAY[length(docs[i].text), 1]::vector;
	END LOOP;
	RETURN docs;
END $$;
CREATE TABLE outage (since timestamptz);
CREATE TABLE ticket (id int PRIMARY KEY, title text, body text, lang text, stars int, at timestamptz DEFAULT '2026-01-01 00:00Z');
INSERT INTO ticket SELECT i, 'title ' || i, repeat('long body ', i), 'en', i % 5 FROM generate_series(1, 500) i;

SELECT jflow_create('tickets');
SELECT jflow_add('tickets', 'encoder', uses => 'desk.encode');
SELECT jflow_add('tickets', 'store', uses => 'PQLiteIndexer', workspace => 'desk', uses_with => '{"dim": 2, "metric": "l2", "include": ["text", "tags"]}');
SET client_min_messages = notice;
SELECT jflow_sync('tickets', 'tickets', 'ticket', '{"text": ["title", "body"], "tags": ["lang", "stars"]}', retries => 1);
SELECT name, flow, source, mode, state, pending, last_error FROM jflow_sync_status;
SELECT jflow_sync_run('tickets');
SET client_min_messages = warning;
SELECT jflow_start('tickets');
SELECT jflow_sync_run('tickets');
SELECT count(*) FROM tickets_store;
-- what the store would be if it were made of the table now, against what it is
CREATE VIEW difference AS
	WITH should AS (SELECT id::text, concat_ws(E'\n', title, body) AS text, jsonb_build_object('lang', lang, 'stars', stars) AS tags,
			ARRAY[length(concat_ws(E'\n', title, body)), 1]::vector::text AS embedding FROM ticket),
		is_now AS (SELECT id, text, tags, embedding::text FROM tickets_store)
	(SELECT 'missing' AS what, * FROM (TABLE should EXCEPT ALL TABLE is_now) a) UNION ALL (SELECT 'wrong', * FROM (TABLE is_now EXCEPT ALL TABLE should) b);
SELECT * FROM difference;
SELECT state, pending, failed, docs, rate > 0 AS rate, pid IS NOT NULL AS pid, last_error FROM jflow_sync_status;

-- every kind of change
INSERT INTO ticket (id, title) VALUES (501, 'inserted');
UPDATE ticket SET body = 'new body' WHERE id <= 20;
UPDATE ticket SET id = id + 1000 WHERE id BETWEEN 21 AND 30;
DELETE FROM ticket WHERE id BETWEEN 31 AND 40;
COPY ticket (id, title) FROM stdin;
600	copied
601	\N
\.
MERGE INTO ticket t USING (VALUES (41, 'merged'), (700, 'merged')) v(id, title) ON t.id = v.id
	WHEN MATCHED THEN UPDATE SET title = v.title WHEN NOT MATCHED THEN INSERT (id, title) VALUES (v.id, v.title);
BEGIN; DELETE FROM ticket WHERE id > 100; SAVEPOINT s; UPDATE ticket SET title = 'rolled back'; ROLLBACK TO s; UPDATE ticket SET title = 'kept' WHERE id = 50; COMMIT;
UPDATE ticket SET id = 51 + 9000 WHERE id = 51; UPDATE ticket SET id = 51 WHERE id = 52; UPDATE ticket SET id = 52 WHERE id = 9051;
SELECT jflow_sync_run('tickets');
SELECT * FROM difference;
SELECT count(*) FROM tickets_store;

-- what does not concern the documents is not queued, whatever a statement names
BEGIN;
UPDATE ticket SET at = now();
UPDATE ticket SET title = title, body = body, stars = stars;
RESET ROLE;
SELECT count(*) FROM jflow.sync_queue;
ROLLBACK;
SET ROLE sync_owner;
-- but what a trigger before it changes is
CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.title := upper(NEW.title); RETURN NEW; END $$;
CREATE TRIGGER shout BEFORE UPDATE ON ticket FOR EACH ROW EXECUTE FUNCTION shout();
UPDATE ticket SET at = now() WHERE id < 10;
SELECT jflow_sync_run('tickets');
SELECT * FROM difference;
DROP TRIGGER shout ON ticket;

-- bad rows cost themselves, and are set aside
UPDATE ticket SET body = 'poison' WHERE id IN (1, 3);
UPDATE ticket SET body = 'venom' WHERE id = 5;
UPDATE ticket SET body = 'good' WHERE id IN (2, 4, 6);
CREATE FUNCTION settled(n int) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
	FOR i IN 1..6000 LOOP
		IF (SELECT count(*) = n FROM jflow_sync_errors WHERE next_try IS NULL AND name = 'tickets') AND
			(SELECT pending = 0 FROM jflow_sync_status WHERE name = 'tickets') THEN RETURN 'settled'; END IF;
		PERFORM pg_sleep(0.01);
	END LOOP;
	RETURN 'never';
END $$;
SELECT settled(3);
SELECT name, id, attempts, sqlstate, message, at IS NOT NULL AS at, next_try FROM jflow_sync_errors ORDER BY id;
SELECT what, id, left(text, 20) AS text FROM difference WHERE id NOT IN ('1', '3', '5');
-- who may post sees that there are some, and nothing of the table
SELECT jflow_grant('tickets', 'sync_other');
RESET ROLE;
SET ROLE sync_other;
SELECT name, id, attempts, sqlstate, message FROM jflow_sync_errors ORDER BY sqlstate;
RESET ROLE;
SET ROLE sync_owner;
SELECT jflow_revoke('tickets', 'sync_other');
SELECT failed, pending FROM jflow_sync_status;
-- a row that is mended is posted, one that is asked for again fails again
UPDATE ticket SET body = 'mended' WHERE id IN (1, 5);
SELECT jflow_sync_run('tickets');
SELECT what, id FROM difference WHERE id <> '3';
SELECT jflow_sync_retry('tickets');
SELECT settled(1);
DELETE FROM ticket WHERE id = 3;
SELECT jflow_sync_run('tickets');
SELECT * FROM difference;
SELECT * FROM jflow_sync_errors;

-- paused: changes wait
SELECT jflow_sync_pause('tickets');
UPDATE ticket SET title = 'while paused' WHERE id = 7;
DELETE FROM ticket WHERE id = 8;
SELECT state, pending FROM jflow_sync_status;
SELECT jflow_sync_run('tickets');
SELECT jflow_sync_resume('tickets');
SELECT jflow_sync_run('tickets');
SELECT * FROM difference;
-- stopped as well
SELECT jflow_stop('tickets');
UPDATE ticket SET title = 'while stopped' WHERE id = 7;
SELECT state, pending, last_error FROM jflow_sync_status;
SELECT jflow_start('tickets');
SELECT jflow_sync_run('tickets');
SELECT * FROM difference;

-- who waits does not wait for what an outage put off, once it is over
INSERT INTO outage VALUES (now());
UPDATE ticket SET title = 'away' WHERE id IN (7, 9);
SELECT jflow_sync_run('tickets');
SELECT pending, failed, last_error FROM jflow_sync_status;
DELETE FROM outage;
SELECT jflow_sync_run('tickets');
SELECT * FROM difference;

-- renamed, and with a column more
ALTER TABLE ticket RENAME TO issue;
ALTER TABLE issue ADD COLUMN more text DEFAULT 'x';
UPDATE issue SET title = 'renamed' WHERE id = 9;
SELECT jflow_sync_run('tickets');
SELECT * FROM difference;
SELECT source FROM jflow_sync_status;
ALTER TABLE issue RENAME TO ticket;

-- triggers that are switched off in an ordinary way go on; ours are on always
ALTER TABLE ticket DISABLE TRIGGER USER;
UPDATE ticket SET title = 'disabled' WHERE id = 10;
ALTER TABLE ticket ENABLE TRIGGER USER;
RESET ROLE;
SET session_replication_role = replica;
UPDATE desk.ticket SET title = 'as a replica' WHERE id = 11;
RESET session_replication_role;
ALTER TABLE desk.ticket DISABLE TRIGGER ALL;
UPDATE desk.ticket SET title = 'unseen' WHERE id = 12;
ALTER TABLE desk.ticket ENABLE TRIGGER ALL;
SET ROLE sync_owner;
SELECT jflow_sync_run('tickets');
SELECT last_error FROM jflow_sync_status;
SELECT jflow_sync_resume('tickets');
SELECT jflow_sync_run('tickets');
SELECT * FROM difference;

-- truncated, and filled again in the same transaction
BEGIN; TRUNCATE ticket; INSERT INTO ticket (id, title) SELECT i, 'again' FROM generate_series(490, 510) i; COMMIT;
SELECT jflow_sync_run('tickets');
SELECT * FROM difference;
SELECT count(*) FROM tickets_store;

-- metrics and views for whom they are
SELECT name, labels, value FROM jflow_metrics WHERE name LIKE 'jflow_sync%' AND name NOT LIKE '%lag%' AND name NOT LIKE '%documents%' ORDER BY name;
RESET ROLE;
SET ROLE sync_other;
SELECT count(*) FROM jflow_sync_status;
SELECT count(*) FROM jflow_sync_errors;
SELECT jflow_sync_pause('tickets');
SELECT jflow_unsync('tickets');
SELECT jflow_sync('mine', 'tickets', 'desk.ticket', '{"text": "title"}');
RESET ROLE;
SET ROLE sync_owner;

-- what is refused
SELECT jflow_sync('second', 'tickets', 'ticket', '{"text": "title"}');
SELECT jflow_create('other');
SELECT jflow_add('other', 'encoder', uses => 'desk.encode', replicas => 0);
SELECT jflow_add('other', 'store', uses => 'PQLiteIndexer', workspace => 'desk', replicas => 0, uses_with => '{"dim": 2, "metric": "l2"}');
SELECT jflow_sync('tickets', 'other', 'ticket', '{"text": "title"}');
CREATE TABLE composite (a int, b int, c int UNIQUE, d int NOT NULL, e int NOT NULL UNIQUE DEFERRABLE, f float8 NOT NULL UNIQUE, t text, PRIMARY KEY (a, b));
CREATE UNIQUE INDEX ON composite (d) WHERE d > 0;
SELECT jflow_sync('s', 'other', 'composite', '{"text": "t"}');
SELECT jflow_sync('s', 'other', 'composite', '{"text": "t"}', id => 'a');
SELECT jflow_sync('s', 'other', 'composite', '{"text": "t"}', id => 'c');
SELECT jflow_sync('s', 'other', 'composite', '{"text": "t"}', id => 'd');
SELECT jflow_sync('s', 'other', 'composite', '{"text": "t"}', id => 'e');
SELECT jflow_sync('s', 'other', 'composite', '{"text": "t"}', id => 'f');
SELECT jflow_sync('s', 'other', 'composite', '{"text": "t"}', id => 'nope');
CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE alike (id text COLLATE blind NOT NULL, t text);
CREATE UNIQUE INDEX ON alike (id COLLATE "C");
SELECT jflow_sync('s', 'other', 'alike', '{"text": "t"}', id => 'id');
DROP TABLE alike;
DROP COLLATION blind;
CREATE TABLE parted (id int PRIMARY KEY, t text) PARTITION BY RANGE (id);
CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY, t text);
CREATE TABLE parent (id int PRIMARY KEY, t text);
CREATE TABLE child () INHERITS (parent);
CREATE VIEW view AS SELECT 1 AS id, 't' AS t;
SELECT jflow_sync('s', 'other', 'parted', '{"text": "t"}');
SELECT jflow_sync('s', 'other', 'unlogged', '{"text": "t"}');
SELECT jflow_sync('s', 'other', 'parent', '{"text": "t"}');
SELECT jflow_sync('s', 'other', 'view', '{"text": "t"}');
SELECT jflow_sync('s', 'other', 'pg_class', '{"text": "relname"}', id => 'oid');
SELECT jflow_sync('s', 'nope', 'ticket', '{"text": "title"}');
SELECT jflow_sync('s', 'other', 'ticket', '{"txt": "title"}');
SELECT jflow_sync('s', 'other', 'ticket', '{"text": "titel"}');
SELECT jflow_sync('s', 'other', 'ticket', '{"text": []}');
SELECT jflow_sync('s', 'other', 'ticket', '{"text": 1}');
SELECT jflow_sync('s', 'other', 'ticket', '{"uri": ["title", "body"]}');
SELECT jflow_sync('s', 'other', 'ticket', '{"id": "title"}');
SELECT jflow_sync('s', 'other', 'ticket', '{"embedding": "at"}');
SELECT jflow_sync('s', 'other', 'ticket', '{}');
SELECT jflow_sync('s', 'other', 'ticket', '[]');
SELECT jflow_sync('s', 'other', 'ticket', '{"text": "title"}', mode => 'sometimes');
SELECT jflow_sync('s', 'other', 'ticket', '{"text": "title"}', batch => 0);
SELECT jflow_sync('s', 'other', 'ticket', '{"text": "title"}', retries => -1);
SELECT jflow_sync('s', 'other', 'ticket', '{"text": "title"}', endpoint => 'index');
SELECT jflow_sync('', 'other', 'ticket', '{"text": "title"}');
SELECT jflow_sync(NULL, 'other', 'ticket', '{"text": "title"}');
SELECT jflow_sync('s', 'other', NULL, '{"text": "title"}');
SELECT jflow_unsync('nope');
SELECT jflow_sync_run('nope');
SELECT jflow.sync_changed();
-- of another owner: with the privilege TRIGGER alone, with SELECT, with row-level security
RESET ROLE;
CREATE TABLE desk.foreign_table (id int PRIMARY KEY, t text, hidden text);
SET ROLE sync_owner;
SELECT jflow_sync('s', 'other', 'foreign_table', '{"text": "t"}');
RESET ROLE;
GRANT TRIGGER ON desk.foreign_table TO sync_owner;
SET ROLE sync_owner;
SELECT jflow_sync('s', 'other', 'foreign_table', '{"text": "t"}');
RESET ROLE;
GRANT SELECT (id, t) ON desk.foreign_table TO sync_owner;
SET ROLE sync_owner;
SELECT jflow_sync('s', 'other', 'foreign_table', '{"text": ["t", "hidden"]}');
RESET ROLE;
ALTER TABLE desk.foreign_table ENABLE ROW LEVEL SECURITY;
SET ROLE sync_owner;
SELECT jflow_sync('s', 'other', 'foreign_table', '{"text": "t"}', mode => 'immediate');
RESET ROLE;
ALTER TABLE desk.foreign_table DISABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON desk.foreign_table TO sync_other;
SET ROLE sync_owner;
SELECT count(*) FROM jflow_sync_status WHERE name = 's';

-- its owner could have it run code of his as the flow's owner, now or later
RESET ROLE;
GRANT CREATE ON SCHEMA desk TO sync_other;
SET ROLE sync_other;
CREATE TABLE desk.trap (id int PRIMARY KEY, t text);
GRANT SELECT, TRIGGER ON desk.trap TO sync_owner;
RESET ROLE;
SET ROLE sync_owner;
SELECT jflow_sync('s', 'other', 'trap', '{"text": "t"}', mode => 'immediate');
RESET ROLE;
DROP TABLE desk.trap;
SET ROLE sync_owner;

-- within the writer's statement, with the rights of the flow's owner
INSERT INTO ticket (id, title) VALUES (1, 'one'), (2, 'two');
SELECT jflow_sync('s', 'tickets', 'foreign_table', '{"text": "t"}', mode => 'immediate');
SELECT jflow_sync('s', 'other', 'foreign_table', '{"text": "t"}', mode => 'immediate');
RESET ROLE;
SET ROLE sync_other;
INSERT INTO desk.foreign_table VALUES (1, 'one'), (2, 'two'), (3, 'three');
UPDATE desk.foreign_table SET t = 'two!', id = 22 WHERE id = 2;
DELETE FROM desk.foreign_table WHERE id = 3;
INSERT INTO desk.foreign_table VALUES (4, 'poison');
INSERT INTO desk.foreign_table VALUES (5, 'venom');
BEGIN; INSERT INTO desk.foreign_table VALUES (6, 'rolled back'); ROLLBACK;
BEGIN; SAVEPOINT s; INSERT INTO desk.foreign_table VALUES (7, 'rolled back'); ROLLBACK TO s; INSERT INTO desk.foreign_table VALUES (8, 'eight'); COMMIT;
WITH a AS (INSERT INTO desk.foreign_table VALUES (9, 'nine') RETURNING id) UPDATE desk.foreign_table SET t = 'eight!' WHERE id = 8;
RESET ROLE;
SET ROLE sync_owner;
SELECT id, text, embedding FROM other_store ORDER BY id;
SELECT id, t FROM foreign_table ORDER BY id;
SELECT jflow_sync_run('s');
SELECT state, pending, failed FROM jflow_sync_status WHERE name = 's';
SELECT jflow_sync_pause('s');
RESET ROLE;
UPDATE desk.foreign_table SET t = 'paused' WHERE id = 1;
DELETE FROM desk.foreign_table WHERE id = 9;
SET ROLE sync_owner;
SELECT id, text FROM other_store ORDER BY id;
SELECT jflow_sync_resume('s');
SELECT id, text FROM other_store ORDER BY id;
RESET ROLE;
TRUNCATE desk.foreign_table;
SET ROLE sync_owner;
SELECT count(*) FROM other_store;
SELECT jflow_unsync('s');
RESET ROLE;
INSERT INTO desk.foreign_table VALUES (1, 'poison');
SELECT tgname FROM pg_trigger WHERE tgrelid = 'desk.foreign_table'::regclass;
SET ROLE sync_owner;

-- a statement that fails within another takes nothing along that the other has changed
CREATE TABLE part (id int PRIMARY KEY, t text);
SELECT jflow_sync('s', 'other', 'part', '{"text": "t"}', mode => 'immediate');
CREATE FUNCTION try() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	IF NEW.id < 50 THEN
		BEGIN
			INSERT INTO part VALUES (NEW.id + 50, 'nested');
			IF NEW.id > 1 THEN PERFORM 1 / 0; END IF;
		EXCEPTION WHEN division_by_zero THEN NULL; END;
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER try AFTER INSERT ON part FOR EACH ROW EXECUTE FUNCTION try();
INSERT INTO part VALUES (1, 'one'), (2, 'two'), (3, 'three');
SELECT id, text FROM other_store ORDER BY id;
-- and what has another way to the table is an error
CREATE TABLE whole (id int NOT NULL, t text);
ALTER TABLE part INHERIT whole;
UPDATE whole SET t = 'unseen' WHERE id = 1;
UPDATE part SET t = 'unseen' WHERE id = 1;
ALTER TABLE part NO INHERIT whole;
CREATE TABLE partitioned (id int PRIMARY KEY, t text) PARTITION BY LIST (id);
CREATE TABLE partition PARTITION OF partitioned DEFAULT;
SELECT jflow_unsync('s');
SELECT jflow_sync('s', 'other', 'partition', '{"text": "t"}', mode => 'immediate');
-- nor is a column another one that bears its name
SELECT jflow_sync('s', 'other', 'part', '{"text": "t"}', mode => 'immediate');
ALTER TABLE part RENAME id TO old; ALTER TABLE part ADD COLUMN id int UNIQUE; UPDATE part SET id = old;
ALTER TABLE part ALTER id SET NOT NULL;
INSERT INTO part VALUES (80, 'missed', 80);
ALTER TABLE part DROP COLUMN old;
INSERT INTO part VALUES ('missed', 80);
UPDATE part SET t = 'missed, too';
SELECT jflow_sync_resume('s');
INSERT INTO part VALUES ('found', 80);
SELECT id, text FROM other_store ORDER BY id;
SELECT jflow_unsync('s');
-- and a transaction of many statements keeps the ids of none that has ended
CREATE TABLE wordy (id text PRIMARY KEY, t text);
INSERT INTO wordy VALUES (repeat('x', 1000), 'one');
SELECT jflow_sync('s', 'other', 'wordy', '{"text": "t"}', mode => 'immediate');
RESET ROLE;
BEGIN;
UPDATE desk.wordy SET t = 'once';
SELECT used_bytes AS before FROM pg_backend_memory_contexts WHERE name = 'TopTransactionContext' \gset
DO $$ BEGIN
	FOR i IN 1..400 LOOP
		UPDATE desk.wordy SET t = 'again ' || i;
		BEGIN UPDATE desk.wordy SET t = 'undone'; PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN NULL; END;
	END LOOP;
END $$;
SELECT used_bytes - :before < 200000 AS small FROM pg_backend_memory_contexts WHERE name = 'TopTransactionContext';
COMMIT;
SET ROLE sync_owner;
SELECT jflow_unsync('s');
-- nor is an id one that our index cannot have
CREATE TABLE long (id numeric PRIMARY KEY, t text);
SELECT jflow_sync('s', 'other', 'long', '{"text": "t"}', mode => 'manual');
INSERT INTO long VALUES (repeat('12345678', 250)::numeric, 'short enough');
INSERT INTO long VALUES (repeat('12345678', 500)::numeric, 'too long');
SELECT jflow_unsync('s');
INSERT INTO long VALUES (repeat('12345678', 500)::numeric, 'too long');
SELECT jflow_sync('s', 'other', 'long', '{"text": "t"}', mode => 'manual');
DELETE FROM long WHERE t = 'too long';
SELECT jflow_unsync('s');
CREATE TABLE changed (id int PRIMARY KEY, a text, b text);
INSERT INTO changed VALUES (1, 'a', 'b');
SELECT jflow_sync('s', 'other', 'changed', '{"text": "a"}', mode => 'manual');
SELECT jflow_start('other');
SELECT jflow_sync_run('s');
ALTER TABLE changed RENAME a TO c; ALTER TABLE changed RENAME b TO a;
UPDATE changed SET a = 'new';
SELECT jflow_sync_run('s');
SELECT last_error FROM jflow_sync_status WHERE name = 's';
SELECT jflow_sync_resume('s');
SELECT jflow_sync_run('s');
SELECT id, text FROM other_store WHERE id = '1';
SELECT jflow_unsync('s');

-- the table is its own store
CREATE TABLE note (id text PRIMARY KEY, words text, label text DEFAULT 'none', embedding vector(2));
INSERT INTO note SELECT i::text, repeat('w', i) FROM generate_series(1, 30) i;
SELECT jflow_create('notes');
SELECT jflow_add('notes', 'encoder', uses => 'desk.encode');
SELECT jflow_add('notes', 'store', uses => 'PQLiteIndexer', uses_with => '{"table": "desk.note", "id": "id", "field": "embedding", "text": "words", "metric": "l2"}');
SELECT jflow_sync('notes', 'notes', 'note', '{"text": "words"}', mode => 'manual');
SELECT jflow_start('notes');
SELECT jflow_sync_run('notes');
SELECT count(*), count(*) FILTER (WHERE embedding[1] IS NULL) FROM (SELECT embedding::real[] FROM note) n(embedding);
SELECT id FROM note WHERE (embedding::real[])[1] <> length(words) OR label <> 'none';
UPDATE note SET words = 'longer words', label = 'set' WHERE id = '5';
DELETE FROM note WHERE id = '6';
INSERT INTO note (id, words) VALUES ('x', 'xx');
SELECT pending FROM jflow_sync_status WHERE name = 'notes';
SELECT jflow_sync_run('notes');
SELECT pending FROM jflow_sync_status WHERE name = 'notes';
SELECT id FROM note WHERE embedding IS NULL OR (embedding::real[])[1] <> length(words);
SELECT count(*), count(*) FILTER (WHERE label = 'set') FROM note;
SELECT id FROM jflow_search('xx', 1, 'notes');

-- a column that is gone, then the table, then the flow
ALTER TABLE note RENAME words TO texts;
UPDATE note SET texts = 'renamed' WHERE id = '7';
SELECT jflow_sync_run('notes');
SELECT last_error FROM jflow_sync_status WHERE name = 'notes';
ALTER TABLE note RENAME texts TO words;
SELECT jflow_sync_run('notes');
SELECT last_error FROM jflow_sync_status WHERE name = 'notes';
DROP TABLE note;
SELECT jflow_sync_run('notes');
SELECT last_error FROM jflow_sync_status WHERE name = 'notes';
SELECT jflow_unsync('notes');
SELECT jflow_unsync('notes', if_exists => true);
DROP VIEW difference;
SELECT jflow_drop('tickets', drop_data => true);
SELECT name FROM jflow_sync_status;
UPDATE ticket SET title = 'free';
SELECT tgname FROM pg_trigger WHERE tgrelid = 'ticket'::regclass;
RESET ROLE;
SELECT count(*) FROM jflow.sync; SELECT count(*) FROM jflow.sync_row; SELECT count(*) FROM jflow.sync_queue; SELECT count(*) FROM jflow.sync_state; SELECT count(*) FROM jflow.sync_progress;
SET ROLE sync_owner;
SELECT jflow_drop('other', drop_data => true);
SELECT jflow_drop('notes');
RESET ROLE;
DROP SCHEMA desk CASCADE;
REVOKE CREATE ON DATABASE :"DBNAME" FROM sync_owner;
REVOKE CREATE ON SCHEMA public FROM sync_owner;
DROP ROLE sync_owner, sync_other;
