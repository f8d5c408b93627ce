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
CREATE CONSTRAINT TRIGGER deferred AFTER INSERT OR UPDATE OR DELETE ON stores.theirs_store DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION stores.deferred();
RESET ROLE;
SELECT jflow_scale('theirs', 'store', shards => 3);
SELECT * FROM stores.log;
SET ROLE regress_store_owner;
SELECT jflow_scale('theirs', 'store', shards => 3);
SELECT DISTINCT * FROM stores.log;
DROP TRIGGER deferred ON stores.theirs_store;
CREATE FUNCTION stores.sets() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('search_path', 'stores', false); RETURN NEW; END $$;
CREATE TRIGGER sets BEFORE INSERT OR UPDATE ON stores.theirs_store FOR EACH ROW EXECUTE FUNCTION stores.sets();
RESET ROLE;
SELECT jflow_scale('theirs', 'store', shards => 2);
SHOW search_path;

-- a trigger that keeps rows where they are is told of, rather than waited for
CREATE TRIGGER keeps BEFORE DELETE ON stores.theirs_store FOR EACH ROW EXECUTE FUNCTION stores.sets();
SELECT jflow_scale('theirs', 'store', shards => 1);
SELECT jflow_drop('theirs', drop_data => true);

-- a table that has come under a flow's name from somebody else is not used, nor
-- dropped by a superuser
SET ROLE regress_store_owner;
SELECT jflow_create('named');
SELECT jflow_add('named', 'store', uses => 'PQLiteIndexer', replicas => 0, workspace => 'stores', uses_with => '{"dim": 1, "metric": "l2"}');
SELECT id FROM jflow_post('/index', ARRAY[jflow_doc(id => 'a', embedding => '[1]')], 'named');
RESET ROLE;
ALTER TABLE stores.named_store OWNER TO regress_store_other;
SET ROLE regress_store_owner;
SELECT jflow_post('/index', ARRAY[jflow_doc(id => 'b', embedding => '[1]')], 'named');
SELECT jflow_post('/search', ARRAY[jflow_doc(embedding => '[1]')], 'named');
RESET ROLE;
SELECT jflow_drop('named', drop_data => true);
ALTER TABLE stores.named_store OWNER TO regress_store_owner;
SELECT jflow_drop('named', drop_data => true);

-- a partition of several shards, or of none, is refused by who reads the store's leaves
SET ROLE regress_store_owner;
SELECT jflow_create('parted');
SELECT jflow_add('parted', 'store', uses => 'PQLiteIndexer', replicas => 0, workspace => 'stores', uses_with => '{"dim": 1, "metric": "l2"}');
SELECT id FROM jflow_post('/index', ARRAY[jflow_doc(id => 'a', embedding => '[1]')], 'parted');
CREATE TABLE stores.many (LIKE stores.parted_store INCLUDING ALL);
DO $$ BEGIN
	EXECUTE 'ALTER TABLE stores.parted_store ATTACH PARTITION stores.many FOR VALUES IN (' || (SELECT string_agg(i::text, ',') FROM generate_series(1, 800) i) || ')';
END $$;
SELECT jflow_post('/search', ARRAY[jflow_doc(embedding => '[1]')], 'parted');
SELECT jflow_scale('parted', 'store', shards => 2);
ALTER TABLE stores.parted_store DETACH PARTITION stores.many;
ALTER TABLE stores.parted_store ATTACH PARTITION stores.many FOR VALUES IN (-5);
SELECT jflow_post('/index', ARRAY[jflow_doc(id => 'b', embedding => '[2]')], 'parted');
ALTER TABLE stores.parted_store DETACH PARTITION stores.many;
SELECT jflow_scale('parted', 'store', shards => 2);
SELECT jflow_drop('parted');
ALTER TABLE stores.parted_store ATTACH PARTITION stores.many FOR VALUES IN (7, 8);
SELECT jflow_create('parted');
SELECT jflow_add('parted', 'store', uses => 'PQLiteIndexer', replicas => 0, workspace => 'stores', uses_with => '{"dim": 1, "metric": "l2"}');
SELECT id FROM jflow_post('/index', ARRAY[jflow_doc(id => 'c', embedding => '[1]')], 'parted');
ALTER TABLE stores.parted_store DETACH PARTITION stores.many;
SELECT count(*) FROM jflow_post('/search', ARRAY[jflow_doc(embedding => '[1]')], 'parted');
SELECT jflow_drop('parted', drop_data => true);
DROP TABLE stores.many;
RESET ROLE;

-- a function that takes just the type of an array is not preferred to the server's
CREATE TABLE stores.ids (id text PRIMARY KEY, embedding vector(1));
ALTER TABLE stores.ids OWNER TO regress_store_owner;
CREATE FUNCTION public.unnest(text[]) RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
SET ROLE regress_store_owner;
SELECT jflow_create('ids');
SELECT jflow_add('ids', 'store', uses => 'PQLiteIndexer', replicas => 0, uses_with => '{"table": "stores.ids", "id": "id", "field": "embedding", "metric": "l2", "on_missing": "store"}');
SELECT id FROM jflow_post('/index', ARRAY[jflow_doc(id => 'a')], 'ids');
SELECT id FROM jflow_post('/update', ARRAY[jflow_doc(id => 'a')], 'ids');
SELECT jflow_drop('ids');
RESET ROLE;
DROP FUNCTION public.unnest(text[]);
DROP TABLE stores.ids;

-- operators and functions of others that fit the operands better are not taken
CREATE FUNCTION trap(anyelement, anyelement) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
CREATE FUNCTION trap(jsonb, jsonb) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
CREATE FUNCTION trap(varchar, text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
CREATE FUNCTION trap(varchar, varchar) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
CREATE FUNCTION trap(float8, numeric) RETURNS float8 LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
CREATE OPERATOR public.#>> (LEFTARG = jsonb, RIGHTARG = jsonb, FUNCTION = trap);
CREATE OPERATOR public.= (LEFTARG = varchar, RIGHTARG = text, FUNCTION = trap);
CREATE OPERATOR public.= (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = trap);
CREATE OPERATOR public.< (LEFTARG = varchar, RIGHTARG = text, FUNCTION = trap);
CREATE OPERATOR public.~ (LEFTARG = varchar, RIGHTARG = text, FUNCTION = trap);
CREATE OPERATOR public.+ (LEFTARG = float8, RIGHTARG = numeric, FUNCTION = trap);
CREATE FUNCTION public.jflow_train(text, text, text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
SET ROLE regress_store_owner;
CREATE TABLE stores.varied (id varchar(20) PRIMARY KEY, brand varchar(20), tags jsonb, e vector(2));
SELECT jflow_create('traps');
SELECT jflow_add('traps', 'own', uses => 'PQLiteIndexer', replicas => 0, workspace => 'stores',
	uses_with => '{"dim": 2, "metric": "l2", "columns": {"brand": "varchar(20)"}}');
SELECT jflow_add('traps', 'existing', uses => 'PQLiteIndexer', replicas => 0, needs => ARRAY['gateway'],
	uses_with => '{"table": "stores.varied", "id": "id", "field": "e", "tags": "tags", "metric": "l2"}');
SELECT executor, count(*) FROM unnest(ARRAY['own', 'existing']) executor, jflow_post('/index', (SELECT array_agg(jflow_doc(id => i::text, embedding => ARRAY[i, 1]::vector,
	tags => jsonb_build_object('brand', 'b' || i % 2, 'a', 'abc'))) FROM generate_series(1, 6000) i), 'traps', request_size => 6000, target_executor => executor) GROUP BY 1 ORDER BY 1;
SELECT executor, f, count(*) FROM unnest(ARRAY['own', 'existing']) executor, unnest(ARRAY['{"a": {"$regex": "b"}}', '{"a": {"$lt": "b"}}', '{"brand": "b1"}',
	'{"brand": {"$in": ["b1"]}}', '{"brand": {"$lt": "b1"}}', '{"brand": {"$regex": "1"}}', '{"id": "7"}']::jsonb[]) f,
	jflow_post('/filter', NULL::jflow_doc[], 'traps', jsonb_build_object('filter', f), target_executor => executor) GROUP BY 1, 2 ORDER BY 1, 2;
SELECT executor, endpoint, count(*) FROM unnest(ARRAY['own', 'existing']) executor, unnest(ARRAY['/fetch', '/update', '/delete']) endpoint,
	jflow_post(endpoint, ARRAY[jflow_doc(id => '1', uri => NULL, tags => '{"a": "d"}')], 'traps', target_executor => executor) GROUP BY 1, 2 ORDER BY 1, 2;
SELECT count(*) FROM jflow_post('/status', NULL::jflow_doc[], 'traps', '{"queries": 3}', target_executor => 'own');
SELECT jflow_drop('traps', drop_data => true);
RESET ROLE;
DROP FUNCTION trap(anyelement, anyelement), trap(jsonb, jsonb), trap(varchar, text), trap(varchar, varchar), trap(float8, numeric) CASCADE;
DROP FUNCTION public.jflow_train(text, text, text);

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
SELECT jflow_drop('keeps');

-- nor does he lock it, hear of it, or keep others from it, whatever he posts
CREATE FUNCTION stores.locks() RETURNS SETOF text LANGUAGE sql SECURITY DEFINER AS
	$$ SELECT locktype || ' ' || mode FROM pg_locks WHERE pid = pg_backend_pid() AND ((locktype = 'relation' AND relation::regclass::text LIKE 'stores.p%')
		OR (locktype = 'object' AND classid::regclass::text LIKE 'stores.p%')) $$;
ALTER FUNCTION stores.locks() OWNER TO CURRENT_USER;
CREATE PROCEDURE stores.try(flow text) LANGUAGE plpgsql AS $$ DECLARE e text; d jflow_doc[]; p jsonb; BEGIN
	FOR e, d, p IN SELECT e.e, CASE WHEN n = 1 THEN ARRAY[jflow_doc(id => 'a', embedding => '[1]')] WHEN n = 2 THEN '{}' END, CASE WHEN n = 1 THEN '{"limit": 0}' ELSE '{}' END::jsonb
		FROM unnest('{/index,/update,/delete,/search,/filter,/fetch,/status,/clear}'::text[]) WITH ORDINALITY e(e, o), generate_series(1, 3) n ORDER BY o, n LOOP
		BEGIN
			PERFORM jflow_post(e, d, flow, parameters => p);
			IF EXISTS (SELECT FROM stores.locks()) THEN RAISE NOTICE '% % holds %', e, d IS NULL, (SELECT array_agg(l) FROM stores.locks() l); END IF;
		EXCEPTION WHEN OTHERS THEN
			IF SQLERRM !~ 'permission denied for table p' THEN RAISE NOTICE '%: %', e, SQLERRM; END IF;
			IF EXISTS (SELECT FROM stores.locks()) THEN RAISE NOTICE '% holds % after an error', e, (SELECT array_agg(l) FROM stores.locks() l); END IF;
		END;
	END LOOP; END $$;
SET client_min_messages = notice;
SET ROLE regress_store_other;
CALL stores.try('grabs');
RESET ROLE;
-- nor after the right was taken away that he had, nor on the partitions of a table
SET ROLE regress_store_owner;
CREATE TABLE stores.parted (id text, e vector(1)) PARTITION BY LIST (id);
CREATE TABLE stores.parted_1 PARTITION OF stores.parted FOR VALUES IN ('a');
CREATE TABLE stores.parted_2 PARTITION OF stores.parted FOR VALUES IN ('b');
GRANT SELECT ON stores.parted, stores.parted_1, stores.parted_2 TO regress_store_other;
SET ROLE regress_store_other;
SELECT jflow_create('partitions');
SELECT jflow_add('partitions', 'e', uses => 'PQLiteIndexer', replicas => 0, shards => 2, uses_with => '{"table": "stores.parted", "id": "id", "field": "e", "metric": "l2"}');
SELECT cardinality(matches) FROM jflow_post('/search', ARRAY[jflow_doc(embedding => '[1]')], 'partitions');
SET ROLE regress_store_owner;
REVOKE SELECT ON stores.parted FROM regress_store_other;
SET ROLE regress_store_other;
CALL stores.try('partitions');
-- who may only read keeps no writers out
RESET ROLE;
GRANT SELECT ON stores.parted TO regress_store_other;
SET ROLE regress_store_other;
SELECT jflow_post('/delete', ARRAY[jflow_doc(id => 'a')], 'partitions');
BEGIN;
SAVEPOINT s;
SELECT jflow_post('/clear', NULL::jflow_doc[], 'partitions');
ROLLBACK TO s;
SELECT * FROM stores.locks();
ROLLBACK;
RESET ROLE;
SELECT jflow_drop('partitions');
SET client_min_messages = error;

-- rights on columns are enough
GRANT SELECT, UPDATE (e) ON stores.precious TO regress_store_other;
SET ROLE regress_store_other;
SELECT id FROM jflow_post('/update', ARRAY[jflow_doc(id => 'a', embedding => '[3]')], 'grabs');
RESET ROLE;
SELECT jflow_drop('grabs');
DROP SCHEMA stores CASCADE;
DROP ROLE regress_store_owner, regress_store_other;
