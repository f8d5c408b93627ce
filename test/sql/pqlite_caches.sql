-- Does a session forget stores and models of flows that were dropped, and does
-- /status measure what /search does?
SET client_min_messages = warning;
CREATE SCHEMA caches;
CREATE FUNCTION caches.contexts(OUT stores int8, OUT models int8, OUT plans int8) LANGUAGE sql AS $$
	SELECT count(*) FILTER (WHERE name = 'jflow store'), count(*) FILTER (WHERE name = 'jflow term model'), count(*) FILTER (WHERE name LIKE 'CachedPlan%') FROM pg_backend_memory_contexts $$;
CREATE PROCEDURE caches.use(flow text, tabled bool) LANGUAGE plpgsql AS $$ BEGIN
	PERFORM jflow_create(flow);
	PERFORM jflow_add(flow, 'v', uses => 'TfidfVectorizer', replicas => 0);
	PERFORM jflow_add(flow, 's', uses => 'PQLiteIndexer', workspace => 'caches', replicas => 0, uses_with => CASE WHEN tabled THEN '{"table": "caches.t", "id": "id", "field": "e"}' ELSE '{}' END::jsonb);
	PERFORM jflow_fit(flow, 'v', 'SELECT unnest(ARRAY[''the cat'', ''the dog''])');
	IF NOT tabled THEN PERFORM jflow_post('/index', ARRAY['the cat', 'a dog'], flow); END IF;
	PERFORM jflow_post('/search', ARRAY['the cat'], flow);
	PERFORM jflow_post('/filter', NULL::jflow_doc[], flow, '{"filter": {"id": "x"}}');
END $$;
CREATE TABLE caches.t (id int PRIMARY KEY, e sparsevec(3));
CALL caches.use('kept', false);
SELECT stores, models, plans AS before FROM caches.contexts() \gset
-- flows that are dropped with their data, without it, and over a table that nobody has claimed
DO $$ BEGIN FOR i IN 1..20 LOOP CALL caches.use('gone', i % 3 = 0); PERFORM jflow_drop('gone', drop_data => i % 3 = 1); END LOOP; END $$;
DO $$ BEGIN FOR i IN 1..20 LOOP CALL caches.use('gone' || i, i % 3 = 0); END LOOP; END $$;
SELECT models > 15 AS models FROM caches.contexts();
SELECT count(*) > 0 FROM (SELECT jflow_drop(flow, drop_data => true) FROM jflow_flows WHERE flow LIKE 'gone%') x;
SELECT count(*) FROM jflow_search('cat', 1, 'kept');
SELECT stores, models, plans <= :before + 2 AS plans FROM caches.contexts();
SELECT jflow_drop('kept', drop_data => true);

-- the recall that /status tells is that of searches: they use the index, also where
-- the planner would not
SELECT jflow_create('status');
SELECT jflow_add('status', 's', uses => 'PQLiteIndexer', workspace => 'caches', replicas => 0, uses_with => '{"metric": "l2", "lists": 70}');
SELECT docs FROM jflow_post_query('/index', 'SELECT i::text AS id, repeat(''x'', 200) AS text, ARRAY[i % 83, i % 73]::vector AS embedding FROM generate_series(1, 6000) i', 'status');
SELECT docs FROM jflow_post_query('/index', 'SELECT i::text AS id, repeat(''x'', 200) AS text, ARRAY[i % 83, i % 73]::vector AS embedding FROM generate_series(1, 100) i', 'status');
SELECT pg_stat_force_next_flush();
SELECT idx_scan AS before FROM pg_stat_user_indexes WHERE indexrelname LIKE '%jflow_pq%' \gset
SELECT tags ? 'recall' AS told FROM jflow_post('/status', NULL::jflow_doc[], 'status', '{"queries": 40}');
SELECT pg_stat_force_next_flush();
SELECT idx_scan - :before AS scans FROM pg_stat_user_indexes WHERE indexrelname LIKE '%jflow_pq%';
SELECT jflow_drop('status', drop_data => true);
DROP SCHEMA caches CASCADE;
