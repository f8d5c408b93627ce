-- Does a role keep what is its own when it is renamed, and does one of its old name get none of it?
SET client_min_messages = warning;
CREATE ROLE jflow_dbo;
CREATE ROLE jflow_ann;
CREATE ROLE jflow_ben;
CREATE ROLE jflow_guest;
GRANT CREATE ON SCHEMA public TO jflow_ann, jflow_ben;
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I OWNER TO jflow_dbo', current_database()); END $$;
CREATE FUNCTION who(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql
	AS 'SELECT ARRAY[jflow_doc(text => current_user)]';

SET ROLE jflow_ann;
SELECT jflow_define('Who', '{"*": "who"}');
SELECT jflow_create('ann');
SELECT jflow_add('ann', 'e', uses => 'Who', replicas => 0);
SELECT jflow_grant('ann', 'jflow_guest');
SELECT jflow_train('book', 'SELECT ARRAY[i, 1]::vector FROM generate_series(1, 50) i');
RESET ROLE;

-- renamed: flow, class, grant and codebook go along, before anything is written
ALTER ROLE jflow_ann RENAME TO jflow_ann2;
ALTER ROLE jflow_guest RENAME TO jflow_guest2;
SET ROLE jflow_guest2;
SELECT text FROM jflow_post('/x', ARRAY['a'], 'ann');
SELECT flow, owner FROM jflow_flows;
SELECT * FROM jflow_grants;
SET ROLE jflow_ann2;
SELECT flow, owner FROM jflow_flows;
SELECT jflow_save('ann') -> 'grants';
CREATE TABLE ann_items AS SELECT ARRAY[i, 1]::vector(2) AS e FROM generate_series(1, 50) i;
CREATE INDEX ON ann_items USING pq (e vector_l2_ops) WITH (codebook = 'book');

-- a new role of the old name has none of it, nor can it take the name in
RESET ROLE;
CREATE ROLE jflow_ann;
CREATE ROLE jflow_guest;
GRANT CREATE ON SCHEMA public TO jflow_ann;
SET ROLE jflow_guest;
SELECT text FROM jflow_post('/x', ARRAY['a'], 'ann');
SELECT count(*) FROM jflow_flows;
SET ROLE jflow_ann;
SELECT count(*) FROM jflow_flows;
SELECT jflow_drop('ann');
SELECT jflow_undefine('Who');
SELECT text FROM jflow_post('/x', ARRAY['a'], 'ann');
CREATE TABLE namesake AS SELECT ARRAY[i, 1]::vector(2) AS e FROM generate_series(1, 50) i;
SET client_min_messages = notice;
CREATE INDEX ON namesake USING pq (e vector_l2_ops) WITH (codebook = 'book');
SET client_min_messages = warning;

-- when it makes something of its own, the catalog gets the other's new name first
SELECT jflow_create('new ann');
SELECT jflow_define('Who', '{}');
SELECT flow, owner FROM jflow_flows;
RESET ROLE;
SELECT flow, owner FROM jflow.flow WHERE owner LIKE 'jflow_ann%' OR owner = 'jflow_ben' ORDER BY flow;
SELECT class, owner FROM jflow.class WHERE NOT builtin ORDER BY class, owner;
SELECT codebook, owner FROM jflow.codebook;
SELECT uses, class_owner FROM jflow.executor WHERE flow = 'ann';
SET ROLE jflow_ann2;
SELECT text FROM jflow_post('/x', ARRAY['a'], 'ann');

-- dropped and made again: what is left belongs to nobody until the database's owner says who it is
RESET ROLE;
DROP OWNED BY jflow_ann2;
DROP ROLE jflow_ann2, jflow_guest2;
CREATE ROLE jflow_ann2;
SET ROLE jflow_ann2;
SELECT count(*) FROM jflow_flows;
SELECT jflow_add('ann', 'f', replicas => 0);
SELECT jflow_create('mine');
DO $$ BEGIN PERFORM jflow_adopt('jflow_ann2', 'jflow_ann2'); EXCEPTION WHEN insufficient_privilege THEN RAISE WARNING 'refused'; END $$;
RESET ROLE;
SELECT text FROM jflow_post('/x', ARRAY['a'], 'ann');
SET ROLE jflow_dbo;
SELECT jflow_adopt('jflow_ann2', 'jflow_ben');
SELECT jflow_adopt('', 'jflow_ann2');
SELECT jflow_adopt('jflow_ann2', NULL);
SELECT jflow_adopt('jflow_ann2', 'jflow_ann2');
SET ROLE jflow_ann2;
SELECT text FROM jflow_post('/x', ARRAY['a'], 'ann');
SELECT jflow_create('mine');

-- the database's owner can give it to a role whose privileges he has, a superuser to any; never to a superuser by others
RESET ROLE;
CREATE ROLE jflow_boss SUPERUSER;
GRANT jflow_ben TO jflow_dbo;
SET ROLE jflow_dbo;
SELECT jflow_adopt('jflow_ann2', 'jflow_boss');
SELECT jflow_adopt('jflow_boss', 'jflow_boss');
SELECT jflow_adopt('jflow_ann2', 'jflow_ben');
SELECT jflow_adopt('jflow_ann2', 'jflow_ann2');
SET ROLE jflow_ben;
SELECT flow, owner FROM jflow_flows ORDER BY flow;
SELECT text FROM jflow_post('/x', ARRAY['a'], 'ann');
SET ROLE jflow_ann2;
SELECT count(*) FROM jflow_flows;
RESET ROLE;
SELECT jflow_adopt('jflow_ben', 'jflow_ann2');
SELECT flow, owner FROM jflow.flow WHERE owner LIKE 'jflow_ann%' OR owner = 'jflow_ben' ORDER BY flow;

-- names that were exchanged
ALTER ROLE jflow_ann RENAME TO jflow_tmp;
ALTER ROLE jflow_ann2 RENAME TO jflow_ann;
ALTER ROLE jflow_tmp RENAME TO jflow_ann2;
SET ROLE jflow_ann;
SELECT flow, owner FROM jflow_flows ORDER BY flow;
SELECT jflow_create('after');
SELECT flow, owner FROM jflow_flows ORDER BY flow;
SET ROLE jflow_ann2;
SELECT flow, owner FROM jflow_flows ORDER BY flow;
RESET ROLE;
SELECT flow, owner FROM jflow.flow WHERE owner LIKE 'jflow_ann%' OR owner = 'jflow_ben' ORDER BY flow;
SELECT name, r.rolname FROM jflow.role JOIN pg_roles r ON r.oid = role WHERE name LIKE 'jflow_ann%' ORDER BY name;

-- a role with nothing left frees its name
RESET ROLE;
CREATE ROLE jflow_short;
SET ROLE jflow_short;
SELECT jflow_create('short');
SELECT jflow_drop('short');
RESET ROLE;
DROP ROLE jflow_short;
CREATE ROLE jflow_short;
SET ROLE jflow_short;
SELECT jflow_create('short');
SELECT jflow_drop('short');
RESET ROLE;

-- where nothing is known, as after a restore, a name means who has it, and is remembered by the first post
CREATE ROLE jflow_restored;
INSERT INTO jflow.flow (flow, owner) VALUES ('restored', 'jflow_restored');
INSERT INTO jflow.executor (flow, name, "position", uses, needs, replicas) VALUES ('restored', 'e', 1, 'public.who', '{gateway}', 0);
SET ROLE jflow_restored;
SELECT text FROM jflow_post('/x', ARRAY['a'], 'restored');
RESET ROLE;
SELECT count(*) FROM jflow.role WHERE name = 'jflow_restored';
ALTER ROLE jflow_restored RENAME TO jflow_restored2;
CREATE ROLE jflow_restored;
SET ROLE jflow_restored;
SELECT text FROM jflow_post('/x', ARRAY['a'], 'restored');
SET ROLE jflow_restored2;
SELECT text FROM jflow_post('/x', ARRAY['a'], 'restored');

-- pg_monitor sees all, but neither options nor texts
RESET ROLE;
CREATE ROLE jflow_watch;
GRANT pg_monitor TO jflow_watch;
SET ROLE jflow_watch;
SELECT flow FROM jflow_flows WHERE flow IN ('after', 'ann', 'mine', 'new ann', 'restored') ORDER BY flow;
SELECT flow, name, uses_with FROM jflow_executors WHERE flow IN ('ann', 'restored') ORDER BY flow, "position";
SELECT text FROM jflow_post('/x', ARRAY['a'], 'ann');
SELECT jflow_save('ann');
SELECT count(*) FROM jflow_status WHERE flow IN ('ann', 'restored');

RESET ROLE;
SELECT jflow_drop(f) FROM unnest('{after,ann,mine,new ann,restored}'::text[]) f;
DELETE FROM jflow.class WHERE NOT builtin;
DROP TABLE namesake;
DROP TABLE IF EXISTS ann_items;
DROP FUNCTION who;
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I OWNER TO CURRENT_USER', current_database()); END $$;
DELETE FROM jflow.codebook WHERE codebook = 'book';
DROP OWNED BY jflow_dbo, jflow_ann, jflow_ann2, jflow_ben, jflow_guest;
DROP ROLE jflow_dbo, jflow_ann, jflow_ann2, jflow_ben, jflow_guest, jflow_boss, jflow_short, jflow_restored, jflow_restored2, jflow_watch;
