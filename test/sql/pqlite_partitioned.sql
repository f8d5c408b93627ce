-- Is a user's partitioned table that is one shard searched by its partitions' indexes, and a foreign table in place of a shard told of?
SET client_min_messages = warning;
CREATE TABLE parts_item (id text, part int, e vector(2)) PARTITION BY LIST (part);
CREATE TABLE parts_item_0 PARTITION OF parts_item FOR VALUES IN (0);
CREATE TABLE parts_item_1 PARTITION OF parts_item FOR VALUES IN (1) PARTITION BY LIST (part);
CREATE TABLE parts_item_1_0 PARTITION OF parts_item_1 FOR VALUES IN (1);
INSERT INTO parts_item SELECT i, i % 2, ARRAY[i, i % 7] FROM generate_series(1, 500) i;
SELECT jflow_create('parts');
SELECT jflow_add('parts', 'e', uses => 'PQLiteIndexer', replicas => 0, uses_with => '{"table": "parts_item", "id": "id", "field": "e", "metric": "l2"}');
CREATE FUNCTION parts_index() RETURNS text LANGUAGE sql AS $$ SELECT tags->>'index' FROM jflow_post('/status', NULL::jflow_doc[], 'parts') $$;
CREATE FUNCTION parts_search() RETURNS TABLE (id text, score float8) LANGUAGE sql AS $$
	SELECT m.id, m.score FROM jflow_post('/search', ARRAY[jflow_doc(id => 'q', embedding => '[250,5]')], 'parts', '{"limit": 3, "recall": 1}') d, unnest(d.matches) m $$;
SELECT parts_index();
SELECT * FROM parts_search();
CREATE INDEX ON parts_item_0 USING pq (e vector_l2_ops);
SELECT parts_index();
CREATE INDEX ON parts_item_1_0 USING pq (e vector_l2_ops);
SELECT parts_index();
SELECT * FROM parts_search();
CREATE TABLE parts_item_2 PARTITION OF parts_item FOR VALUES IN (2);
SELECT parts_index();
SELECT jflow_drop('parts');
DROP TABLE parts_item;
-- a store of our own
SELECT jflow_create('parts');
SELECT jflow_add('parts', 'e', uses => 'PQLiteIndexer', replicas => 0, shards => 2, workspace => 'parts_data', uses_with => '{"dim": 2, "metric": "l2"}');
SELECT count(*) FROM jflow_post('/index', ARRAY[jflow_doc(id => 'a', embedding => '[1,2]')], 'parts');
CREATE FOREIGN DATA WRAPPER parts_wrapper;
CREATE SERVER parts_server FOREIGN DATA WRAPPER parts_wrapper;
CREATE SCHEMA parts_elsewhere;
DO $$ DECLARE columns text := (SELECT string_agg(format('%I %s %s %s', attname, format_type(atttypid, atttypmod), CASE attcollation WHEN '"C"'::regcollation THEN 'COLLATE "C"' END, CASE WHEN attnotnull THEN 'NOT NULL' END), ', ' ORDER BY attnum)
	FROM pg_attribute WHERE attrelid = 'parts_data.parts_e'::regclass AND attnum > 0 AND NOT attisdropped);
BEGIN
	EXECUTE 'ALTER TABLE parts_data.parts_e DETACH PARTITION parts_data.parts_e_1';
	EXECUTE format('CREATE FOREIGN TABLE parts_elsewhere.leaf (%s) SERVER parts_server', columns);
END $$;
SELECT jflow_post('/search', ARRAY[jflow_doc(id => 'q', embedding => '[1,2]')], 'parts');
ALTER TABLE parts_data.parts_e ATTACH PARTITION parts_elsewhere.leaf FOR VALUES IN (1);
SELECT jflow_post('/search', ARRAY[jflow_doc(id => 'q', embedding => '[1,2]')], 'parts');
DROP SCHEMA parts_elsewhere CASCADE;
SELECT jflow_drop('parts');
DROP SCHEMA parts_data CASCADE;
DROP FOREIGN DATA WRAPPER parts_wrapper CASCADE;
DROP FUNCTION parts_index, parts_search;
