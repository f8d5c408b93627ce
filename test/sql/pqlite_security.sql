-- Does a store do nothing with more rights than its owner has, and can nobody keep
-- others from their tables?
SET client_min_messages = error;
\set SHOW_CONTEXT never
CREATE ROLE regress_store_owner;
CREATE ROLE regress_store_other;
CREATE SCHEMA stores AUTHORIZATION regress_store_owner;
GRANT USAGE ON SCHEMA stores TO regress_store_other;

-- a superuser changes the number of shards of somebody's store: its triggers do not
-- run as the superuser at commit, and leave no settings behind
SET ROLE regress_store_owner;
CREATE TABLE stores.log (who name, what text);
SELECT jflow_create('theirs');
SELECT jflow_add('theirs', 'store', uses => 'PQLiteIndexer', replicas => 0, workspace => 'stores', uses_with => '{"dim": 1, "metric": "l2"}');
SELECT count(*) FROM jflow_post('/index', (SELECT array_agg(jflow_doc(id => i::text, embedding => '[1]')) FROM generate_series(1, 10) i), 'theirs');
CREATE FUNCTION stores.deferred() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO stores.log VALUES (current_user, 'deferred'); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER deferred AFTER INSERT OR UPDATE OR DELETE ON stores.store DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION stores.deferred();
RESET ROLE;
SELECT jflow_scale('theirs', 'store', shards => 3);
SELECT * FROM stores.log;
SET ROLE regress_store_owner;
SELECT jflow_scale('theirs', 'store', shards => 3);
SELECT DISTINCT * FROM stores.log;
DROP TRIGGER deferred ON stores.store;
CREATE FUNCTION stores.sets() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('search_path', 'stores', false); RETURN NEW; END $$;
CREATE TRIGGER sets BEFORE INSERT OR UPDATE ON stores.store FOR EACH ROW EXECUTE FUNCTION stores.sets();
RESET ROLE;
SELECT jflow_scale('theirs', 'store', shards => 2);
SHOW search_path;

-- a trigger that keeps rows where they are is told of, rather than waited for
CREATE TRIGGER keeps BEFORE DELETE ON stores.store FOR EACH ROW EXECUTE FUNCTION stores.sets();
SELECT jflow_scale('theirs', 'store', shards => 1);
SELECT jflow_drop('theirs', drop_data => true);

-- who has no rights on a table cannot make it his store
SET ROLE regress_store_owner;
CREATE TABLE stores.precious (id text PRIMARY KEY, e vector(1));
INSERT INTO stores.precious VALUES ('a', '[1]');
SET ROLE regress_store_other;
SELECT jflow_create('grabs');
SELECT jflow_add('grabs', 'e', uses => 'PQLiteIndexer', replicas => 0, uses_with => '{"table": "stores.precious", "id": "id", "field": "e"}');
SELECT jflow_post('/update', NULL::jflow_doc[], 'grabs');
SELECT jflow_post('/update', ARRAY[]::jflow_doc[], 'grabs');
SELECT jflow_post('/delete', ARRAY[]::jflow_doc[], 'grabs');
SELECT jflow_post('/update', ARRAY[jflow_doc(id => 'b', embedding => '[2]')], 'grabs');
SELECT jflow_post('/delete', ARRAY[jflow_doc(id => 'b')], 'grabs');
RESET ROLE;
SELECT count(*) FROM jflow.shard;
SET ROLE regress_store_owner;
SELECT jflow_create('keeps');
SELECT jflow_add('keeps', 'e', uses => 'PQLiteIndexer', replicas => 0, uses_with => '{"table": "stores.precious", "id": "id", "field": "e"}');
SELECT id FROM jflow_post('/index', ARRAY[jflow_doc(id => 'b', embedding => '[2]')], 'keeps');
RESET ROLE;
SELECT jflow_drop('grabs'), jflow_drop('keeps');
DROP SCHEMA stores CASCADE;
DROP ROLE regress_store_owner, regress_store_other;
