-- Is no row lost when the number of shards changes, whatever policies, triggers,
-- rules and foreign keys the owner has put on his store?
SET client_min_messages = error;
\set SHOW_CONTEXT never
CREATE ROLE regress_loss_owner;
CREATE SCHEMA loss AUTHORIZATION regress_loss_owner;
SET ROLE regress_loss_owner;
SELECT jflow_create('loss');
SELECT jflow_add('loss', 's', uses => 'PQLiteIndexer', replicas => 0, shards => 2, polling => '{"/index": "hash"}', workspace => 'loss', uses_with => '{"dim": 1, "metric": "l2"}');
SELECT count(*) FROM jflow_post('/index', (SELECT array_agg(jflow_doc(id => i::text, embedding => '[1]', tags => jsonb_build_object('tenant', i % 3))) FROM generate_series(1, 100) i), 'loss');
CREATE FUNCTION loss.total() RETURNS int8 LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN RETURN (SELECT count(DISTINCT id) FROM loss.loss_s); END $$;
RESET ROLE;
ALTER FUNCTION loss.total() OWNER TO CURRENT_USER;
SET ROLE regress_loss_owner;

-- a policy that hides rows from the owner: on the parent, on a leaf, on all of them
CREATE PROCEDURE loss.force(tables text[], verb text) LANGUAGE plpgsql AS $$ DECLARE t text; BEGIN
	FOREACH t IN ARRAY tables LOOP
		IF verb = 'FORCE' THEN EXECUTE format('CREATE POLICY tenant ON loss.%I USING (tags->>''tenant'' = current_setting(''app.tenant'', true))', t); END IF;
		EXECUTE format('ALTER TABLE loss.%I %s ROW LEVEL SECURITY', t, CASE verb WHEN 'FORCE' THEN 'ENABLE' ELSE 'DISABLE' END);
		EXECUTE format('ALTER TABLE loss.%I %s ROW LEVEL SECURITY', t, verb);
		IF verb = 'NO FORCE' THEN EXECUTE format('DROP POLICY tenant ON loss.%I', t); END IF;
	END LOOP; END $$;
CALL loss.force('{loss_s}', 'FORCE');
SELECT jflow_scale('loss', 's', shards => 1);
SELECT jflow_scale('loss', 's', shards => 3);
CALL loss.force('{loss_s}', 'NO FORCE');
CALL loss.force('{loss_s_1}', 'FORCE');
SELECT jflow_scale('loss', 's', shards => 1);
CALL loss.force('{loss_s_1}', 'NO FORCE');
CALL loss.force('{loss_s,loss_s_0,loss_s_1}', 'FORCE');
SET app.tenant = '1';
SELECT jflow_scale('loss', 's', shards => 1);
SET row_security = on;
SELECT loss.total();

-- one that comes when rows are being moved
CALL loss.force('{loss_s,loss_s_0,loss_s_1}', 'NO FORCE');
RESET ROLE;
UPDATE jflow.executor SET shards = 1 WHERE flow = 'loss';
UPDATE jflow.shard SET state = 'moving' WHERE flow = 'loss';
SET ROLE regress_loss_owner;
SELECT jflow.reshard_step('loss', 's', 10);
CALL loss.force('{loss_s_1}', 'FORCE');
DO $$ BEGIN FOR i IN 1..30 LOOP EXIT WHEN jflow.reshard_step('loss', 's', 10); END LOOP; RAISE EXCEPTION 'moved'; END $$;
CALL loss.force('{loss_s_1}', 'NO FORCE');
CALL loss.force('{loss_s}', 'FORCE');
DO $$ BEGIN FOR i IN 1..30 LOOP EXIT WHEN jflow.reshard_step('loss', 's', 10); END LOOP; RAISE EXCEPTION 'moved'; END $$;
SELECT loss.total();
CALL loss.force('{loss_s}', 'NO FORCE');
RESET ROLE;
UPDATE jflow.executor SET shards = 2 WHERE flow = 'loss';
UPDATE jflow.shard SET state = 'live', "position" = NULL WHERE flow = 'loss';
SET ROLE regress_loss_owner;

-- a row that a policy hides is not stored a second time, in another leaf
CALL loss.force('{loss_s,loss_s_0,loss_s_1}', 'FORCE');
RESET app.tenant;
SELECT id FROM jflow_post('/index', (SELECT array_agg(jflow_doc(id => i::text, embedding => '[1]')) FROM generate_series(1, 10) i), 'loss');
SELECT id FROM jflow_post('/index', (SELECT array_agg(jflow_doc(id => i::text, embedding => '[1]')) FROM generate_series(1, 10) i), 'loss', request_size => 1);
CALL loss.force('{loss_s,loss_s_0,loss_s_1}', 'NO FORCE');
SELECT count(*), count(DISTINCT id) FROM loss.loss_s;

-- triggers that keep a row where it is, lose it on its way, or raise
CREATE FUNCTION loss.none() RETURNS trigger LANGUAGE plpgsql AS $$ DECLARE r record; BEGIN r := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END; RETURN CASE WHEN r.id LIKE '%1' THEN NULL ELSE r END; END $$;
CREATE TRIGGER none BEFORE INSERT ON loss.loss_s_0 FOR EACH ROW EXECUTE FUNCTION loss.none();
SELECT jflow_scale('loss', 's', shards => 1);
DROP TRIGGER none ON loss.loss_s_0;
CREATE TRIGGER none BEFORE DELETE ON loss.loss_s_1 FOR EACH ROW EXECUTE FUNCTION loss.none();
SELECT jflow_scale('loss', 's', shards => 1);
DROP TRIGGER none ON loss.loss_s_1;
CREATE TRIGGER none BEFORE UPDATE ON loss.loss_s FOR EACH ROW EXECUTE FUNCTION loss.none();
SELECT jflow_scale('loss', 's', shards => 1);
DROP TRIGGER none ON loss.loss_s;
SELECT loss.total();

-- rules
CREATE RULE nothing AS ON UPDATE TO loss.loss_s DO INSTEAD NOTHING;
SELECT jflow_scale('loss', 's', shards => 1);
DROP RULE nothing ON loss.loss_s;
CREATE RULE other AS ON UPDATE TO loss.loss_s DO INSTEAD DELETE FROM loss.loss_s WHERE id = OLD.id AND false;
SELECT jflow_scale('loss', 's', shards => 1);
DROP RULE other ON loss.loss_s;
SELECT loss.total();

-- a foreign key that references a leaf: what it would do to the rows that reference
CREATE TABLE loss.notes (id text REFERENCES loss.loss_s_1 ON DELETE CASCADE, note text);
INSERT INTO loss.notes SELECT id, 'precious' FROM loss.loss_s_1;
SELECT jflow_scale('loss', 's', shards => 1);
SELECT jflow_scale('loss', 's', shards => 3);
SELECT count(*) > 20, count(DISTINCT note) FROM loss.notes;
RESET ROLE;
UPDATE jflow.executor SET shards = 1 WHERE flow = 'loss';
UPDATE jflow.shard SET state = 'moving' WHERE flow = 'loss';
SET ROLE regress_loss_owner;
DO $$ BEGIN FOR i IN 1..30 LOOP EXIT WHEN jflow.reshard_step('loss', 's', 10); END LOOP; RAISE EXCEPTION 'moved'; END $$;
SELECT count(*) > 20, count(DISTINCT note) FROM loss.notes;
DROP TABLE loss.notes;
RESET ROLE;
UPDATE jflow.executor SET shards = 2 WHERE flow = 'loss';
UPDATE jflow.shard SET state = 'live', "position" = NULL WHERE flow = 'loss';
SET ROLE regress_loss_owner;
-- keys of the store that reference others stand in no way
CREATE TABLE loss.parents (id text PRIMARY KEY);
INSERT INTO loss.parents VALUES ('p');
ALTER TABLE loss.loss_s ADD FOREIGN KEY (parent_id) REFERENCES loss.parents ON DELETE CASCADE;
-- nor do columns and constraints that the owner has added
ALTER TABLE loss.loss_s ADD long text GENERATED ALWAYS AS (id || '!') STORED, ADD n int DEFAULT 7, ADD CHECK (n > 0);
SELECT id FROM jflow_post('/update', ARRAY[jflow_doc(id => '4', parent_id => 'p')], 'loss');
UPDATE loss.loss_s SET n = 8 WHERE id = '4';

-- rights that were taken from the owner
REVOKE UPDATE ON loss.loss_s FROM regress_loss_owner;
SELECT jflow_scale('loss', 's', shards => 1);
GRANT UPDATE ON loss.loss_s TO regress_loss_owner;
REVOKE SELECT ON loss.loss_s_1 FROM regress_loss_owner;
SELECT jflow_scale('loss', 's', shards => 1);
GRANT SELECT ON loss.loss_s_1 TO regress_loss_owner;

-- a view on a leaf keeps it from being dropped
CREATE VIEW loss.v AS SELECT id FROM loss.loss_s_1;
SELECT jflow_scale('loss', 's', shards => 1);
DROP VIEW loss.v;

-- nothing of that is in the way any more
SELECT jflow_scale('loss', 's', shards => 1);
SELECT count(*), count(DISTINCT id), min(tableoid::regclass::text), min(long) FROM loss.loss_s;
SELECT id, n, long, parent_id FROM loss.loss_s WHERE id = '4';
SELECT jflow_scale('loss', 's', shards => 4);
SELECT count(*), count(DISTINCT id), count(DISTINCT tableoid) FROM loss.loss_s;
SELECT jflow_drop('loss', drop_data => true);
RESET ROLE;
DROP SCHEMA loss CASCADE;
DROP ROLE regress_loss_owner;
