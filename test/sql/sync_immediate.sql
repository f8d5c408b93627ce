-- Does mode "immediate" leave a writer's transaction as it was where it fails, and bring the newest row where
-- executors change the source themselves?
SET client_min_messages = warning;
\set SHOW_CONTEXT never
CREATE ROLE now_owner;
CREATE SCHEMA now_desk AUTHORIZATION now_owner;
SET search_path = now_desk, public;
SET ROLE now_owner;
\pset format unaligned
\pset tuples_only on
CREATE TABLE store (id text PRIMARY KEY, text text);
CREATE TABLE other (x text);
CREATE FUNCTION keep(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$ BEGIN
	INSERT INTO now_desk.store SELECT d.id, d.text FROM unnest(docs) d ON CONFLICT (id) DO UPDATE SET text = excluded.text;
	RETURN docs;
END $$;
CREATE FUNCTION lose(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$ BEGIN
	DELETE FROM now_desk.store s USING unnest(docs) d WHERE s.id = d.id;
	RETURN docs;
END $$;

-- a value that cannot be read: the error is raised in a subtransaction of ours, and leaves none behind
CREATE TYPE mood AS ENUM ('ok', 'raise', 'check');
CREATE DOMAIN fine AS text CHECK (VALUE <> 'check');
CREATE FUNCTION mood_text(m mood) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
	IF m = 'raise' THEN RAISE EXCEPTION 'bad mood'; END IF;
	RETURN pg_catalog.format('%s', m)::now_desk.fine;
END $$;
CREATE CAST (mood AS text) WITH FUNCTION mood_text(mood);
CREATE TABLE feeling (id int PRIMARY KEY, m mood);
SELECT jflow_create('now');
SELECT jflow_add('now', 'keeper', requests => '{"/index": "now_desk.keep", "/delete": "now_desk.lose"}', replicas => 0);
SELECT jflow_sync('now', 'now', 'feeling', '{"text": "m"}', mode => 'immediate');
INSERT INTO feeling VALUES (1, 'ok');
INSERT INTO feeling VALUES (2, 'raise');
INSERT INTO other VALUES ('kept, since no transaction is open');
ROLLBACK;
INSERT INTO feeling VALUES (3, 'ok'), (4, 'check');
BEGIN;
INSERT INTO other VALUES ('never');
INSERT INTO feeling VALUES (5, 'raise');
SELECT 1;
COMMIT;
DO $$
DECLARE bad text; said text; source_row text;
BEGIN
	FOREACH bad IN ARRAY ARRAY['raise', 'check'] LOOP
		BEGIN
			INSERT INTO other VALUES ('never');
			INSERT INTO feeling VALUES (6, 'ok');
			INSERT INTO feeling VALUES (7, bad::mood);
		EXCEPTION WHEN raise_exception OR check_violation THEN
			GET STACKED DIAGNOSTICS said = MESSAGE_TEXT, source_row = PG_EXCEPTION_DETAIL;
			INSERT INTO other VALUES (said || ' / ' || source_row);
		END;
	END LOOP;
END $$;
INSERT INTO other VALUES ('kept again');
BEGIN;
SAVEPOINT s;
UPDATE feeling SET m = 'raise';
ROLLBACK TO s;
INSERT INTO feeling VALUES (8, 'ok');
COMMIT;
SELECT x FROM other;
SELECT * FROM feeling ORDER BY id;
SELECT * FROM store ORDER BY id;
SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND relation = 'feeling'::regclass;
SELECT jflow_drop('now');
DELETE FROM store;

-- executors that change the rows that are posted, or others, before and behind the one that stores
CREATE TABLE item (id int PRIMARY KEY, v text);
INSERT INTO item SELECT i, 'a' FROM generate_series(1, 3) i;
CREATE TABLE how (what text);
CREATE FUNCTION change(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$
DECLARE what text := (SELECT h.what FROM now_desk.how h);
BEGIN
	IF what = 'mark' THEN
		UPDATE now_desk.item SET v = v || '!' WHERE id IN (SELECT d.id::int FROM unnest(docs) d) AND v NOT LIKE '%!!';
	ELSIF what = 'within' THEN
		BEGIN
			UPDATE now_desk.item SET v = 'undone' WHERE id IN (SELECT d.id::int FROM unnest(docs) d);
			RAISE EXCEPTION 'undone';
		EXCEPTION WHEN raise_exception THEN
			UPDATE now_desk.item SET v = 'within' WHERE id IN (SELECT d.id::int FROM unnest(docs) d) AND v <> 'within';
		END;
	ELSIF what = 'move' THEN
		UPDATE now_desk.item SET id = -id, v = 'moved' WHERE id IN (SELECT d.id::int FROM unnest(docs) d) AND id > 0;
	ELSIF what = 'delete' THEN
		DELETE FROM now_desk.item WHERE id IN (SELECT d.id::int FROM unnest(docs) d) AND id % 2 = 0;
	ELSIF what = 'others' THEN
		INSERT INTO now_desk.item SELECT id + 100, 'other' FROM now_desk.item WHERE id < 100 ON CONFLICT DO NOTHING;
	ELSIF what = 'always' THEN
		UPDATE now_desk.item SET v = v || '.' WHERE id IN (SELECT d.id::int FROM unnest(docs) d);
	ELSIF what = 'truncate' THEN
		TRUNCATE now_desk.item;
	END IF;
	RETURN docs;
END $$;
SELECT jflow_create('now');
SELECT jflow_add('now', 'before', requests => '{"/index": "now_desk.change"}', replicas => 0);
SELECT jflow_add('now', 'keeper', requests => '{"/index": "now_desk.keep", "/delete": "now_desk.lose"}', replicas => 0);
CREATE VIEW difference AS
	(SELECT 'missing', id::text, v FROM item EXCEPT ALL SELECT 'missing', id, text FROM store) UNION ALL
	(SELECT 'wrong', id, text FROM store EXCEPT ALL SELECT 'wrong', id::text, v FROM item);
INSERT INTO how VALUES ('mark');
SELECT jflow_sync('now', 'now', 'item', '{"text": "v"}', mode => 'immediate');
TABLE difference;
SELECT id, text FROM store ORDER BY id;
INSERT INTO item VALUES (4, 'b'), (5, 'b');
UPDATE item SET v = 'c' WHERE id < 3;
UPDATE how SET what = 'within';
INSERT INTO item VALUES (6, 'd');
UPDATE item SET v = 'd' WHERE id = 5;
UPDATE how SET what = 'move';
INSERT INTO item VALUES (8, 'e');
UPDATE how SET what = 'delete';
UPDATE item SET v = 'f' WHERE id IN (1, 2, 3, 4);
UPDATE how SET what = 'others';
INSERT INTO item VALUES (9, 'g');
TABLE difference;
SELECT id, text FROM store ORDER BY id;
UPDATE how SET what = 'always';
INSERT INTO item VALUES (10, 'h');
UPDATE how SET what = 'truncate';
INSERT INTO item VALUES (11, 'i');
SELECT jflow_unsync('now');
SELECT jflow_sync('now', 'now', 'item', '{"text": "v"}', mode => 'immediate');
-- what has failed has left no round behind
UPDATE how SET what = 'mark';
SELECT jflow_sync('now', 'now', 'item', '{"text": "v"}', mode => 'immediate');
TABLE difference;
BEGIN;
SAVEPOINT s;
UPDATE how SET what = 'always';
INSERT INTO item VALUES (12, 'j');
ROLLBACK TO s;
INSERT INTO item VALUES (13, 'k');
COMMIT;
TABLE difference;
SELECT v FROM item WHERE id > 10 AND id < 100;
SELECT jflow_drop('now');
RESET ROLE;
DROP SCHEMA now_desk CASCADE;
DROP ROLE now_owner;
