-- Are indexes made, and statements kept, whatever a store has been through?
SET client_min_messages = error;
CREATE FUNCTION docs(first int, last int, text text DEFAULT '') RETURNS jflow_doc[] LANGUAGE sql AS $$
	SELECT array_agg(jflow_doc(id => i::text, text => text, embedding => ARRAY[i, i % 7, 1]::vector,
		tags => jsonb_build_object('n', i)) ORDER BY i) FROM generate_series(first, last) i $$;
SELECT jflow_create('f');
SELECT jflow_add('f', 'store', uses => 'PQLiteIndexer', replicas => 0, shards => 3, workspace => 'made',
	uses_with => '{"dim": 3, "metric": "l2", "columns": {"n": "int4"}}');

-- while rows are moved a search has a statement for each leaf, one set for each
-- limit or filter: more than are kept, and the last is kept at any place in a call
SELECT count(*) FROM jflow_post('/index', docs(1, 100), 'f');
UPDATE jflow.shard SET state = 'moving';
CREATE PROCEDURE search(k int, filter jsonb) LANGUAGE plpgsql AS $$ BEGIN
	ASSERT (SELECT count(DISTINCT m.id) FROM jflow_post('/search', docs(1, 1), 'f', jsonb_build_object('limit', k, 'filter', filter)) d, unnest(d.matches) m) = k;
END $$;
\set ECHO errors
SELECT format('CALL search(%s, NULL)', k), format('CALL search(%s, ''{"n": {"$gte": 0}}'')', k) FROM generate_series(1, 100) k \gexec
\set ECHO all
DROP PROCEDURE search;
UPDATE jflow.shard SET state = 'live';

-- a table of many dead rows: it is not large, but is indexed once it has enough
-- that live
SELECT count(*) FROM generate_series(1, 60) i, jflow_post('/index', docs(1, 100, repeat(chr(32 + i), 500)), 'f');
SELECT sum(pg_relation_size(inhrelid)) > 64 * 8192 AS bloated FROM pg_inherits WHERE inhparent = 'made.f_store'::regclass;
SELECT count(*) AS indexes FROM pg_indexes WHERE schemaname = 'made' AND indexdef LIKE '%USING pq%';
SELECT count(*) FROM generate_series(1, 60) i, jflow_post('/index', docs(i * 100, i * 100 + 99), 'f');
SELECT count(*) AS indexes FROM pg_indexes WHERE schemaname = 'made' AND indexdef LIKE '%USING pq%';
SELECT count(*) FROM jflow.shard WHERE trained_pages > 0;

-- what is stored later is in the index too
SELECT count(*) FROM jflow_post('/index', docs(7001, 8000), 'f');
SELECT id, tags->'indexed' AS indexed FROM jflow_post('/status', NULL::jflow_doc[], 'f') ORDER BY id;

-- an index of the user's own is used, and left alone when jflow's is made anew or dropped
CREATE INDEX mine ON made.f_store_0 USING pq (embedding vector_l2_ops);
ALTER INDEX made.f_store_1_jflow_pq RENAME TO "mine too";
UPDATE jflow.shard SET trained_pages = 1;
SELECT count(*) FROM jflow_post('/index', docs(8001, 8001), 'f');
SELECT indexname FROM pg_indexes WHERE schemaname = 'made' AND indexdef LIKE '%USING pq%' ORDER BY indexname;
SELECT count(*) FROM jflow_post('/clear', NULL::jflow_doc[], 'f');
SELECT indexname FROM pg_indexes WHERE schemaname = 'made' AND indexdef LIKE '%USING pq%' ORDER BY indexname;
DROP INDEX made.mine, made."mine too";

-- typed columns of every kind are in the index, and filters find there what they find without
SELECT jflow_create('typed');
SELECT jflow_add('typed', 'store', uses => 'PQLiteIndexer', replicas => 0, workspace => 'made',
	uses_with => '{"dim": 3, "metric": "l2", "columns": {"brand": "text", "color": "varchar(20)", "price": "numeric", "code": "uuid", "day": "date", "flag": "bool"}}');
SELECT count(*) FROM jflow_post('/index', (SELECT array_agg(jflow_doc(id => i::text, embedding => ARRAY[i, i % 7, 1]::vector, tags => jsonb_build_object('brand', 'brand ' || i % 40, 'color', 'c' || i % 30,
	'price', i % 100 / 4.0, 'code', md5((i % 50)::text)::uuid, 'day', '2024-01-01'::date + i % 60, 'flag', i % 3 = 0))) FROM generate_series(1, 6000) i), 'typed');
SELECT substring(indexdef FROM ' USING .* WITH') AS indexed FROM pg_indexes WHERE schemaname = 'made' AND indexdef LIKE '%USING pq%' AND tablename LIKE 'typed%';
ANALYZE made.typed_store_0;
EXPLAIN (COSTS OFF) SELECT id FROM made.typed_store_0 WHERE brand COLLATE "C" = 'brand 3' AND color COLLATE "C" = ANY ('{c1,c3}') AND price < 5.5 AND flag ORDER BY embedding <-> '[1,1,1]' LIMIT 10;
CREATE FUNCTION matches(filter jsonb, use_index bool) RETURNS text[] LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('enable_indexscan', use_index::text, true), set_config('enable_seqscan', (NOT use_index)::text, true), set_config('jflow.pq_recall', '1', true);
	RETURN (SELECT array_agg(m.id ORDER BY m.score, m.id) FROM jflow_post('/search', ARRAY[jflow_doc(embedding => '[700,3,1]')], 'typed', jsonb_build_object('limit', 20, 'filter', filter)) d, unnest(d.matches) m);
END $$;
SELECT filter, cardinality(matches(filter, true)) AS found, matches(filter, true) = matches(filter, false) AS same FROM unnest(ARRAY['{"brand": "brand 3"}', '{"brand": {"$in": ["brand 3", "brand 7", 5, null]}, "color": "c3"}', '{"price": {"$lt": 1.3}, "flag": true}',
	'{"code": "c4ca4238-a0b9-2382-0dcc-509a6f75849b"}', '{"day": {"$gte": "2024-02-20"}, "flag": false}', '{"brand": {"$gt": "brand 5"}}', '{"brand": {"$exists": true}, "price": {"$in": [1.25, 2.5]}}']::jsonb[]) filter;
DROP FUNCTION matches;
SELECT jflow_drop('typed', drop_data => true);

-- names of any length, and a codebook that somebody else has under the same name
SELECT jflow_create(repeat('f', 63));
SELECT jflow_add(repeat('f', 63), repeat('e', 63), uses => 'PQLiteIndexer', replicas => 0, shards => 2, workspace => 'made',
	uses_with => '{"dim": 3, "metric": "l2"}');
SELECT count(*) FROM jflow_post('/index', docs(1, 3000), repeat('f', 63));
SELECT count(*) FROM jflow_post('/index', docs(3001, 6000), repeat('f', 63));
SELECT codebook AS name FROM jflow.codebook WHERE codebook LIKE 'fff%' \gset
DELETE FROM jflow.codebook;
CREATE ROLE squatter;
SET ROLE squatter;
SELECT jflow_train(:'name', 'SELECT ARRAY[i, i, i]::vector FROM generate_series(1, 100) i', lists => 2);
SELECT model FROM jflow.codebook;
RESET ROLE;
UPDATE jflow.shard SET trained_pages = 1;
SELECT count(*) FROM jflow_post('/index', docs(6001, 6001), repeat('f', 63));
SELECT length(codebook) < 64 AS fits, owner = current_user AS mine FROM jflow.codebook ORDER BY mine, codebook COLLATE "C";
SELECT count(*), bool_and(lists > 4) AS ours FROM pg_class c, jflow_pq_info(c.oid) WHERE relname LIKE 'fff%_jflow_pq';
SELECT jflow_drop(repeat('f', 63), drop_data => true);
SELECT jflow_drop('f', drop_data => true);
SELECT owner FROM jflow.codebook;
DELETE FROM jflow.codebook;
DROP SCHEMA made;
DROP ROLE squatter;
DROP FUNCTION docs;
