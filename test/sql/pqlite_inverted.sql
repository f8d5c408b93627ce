-- Do sparse stores answer exactly, whichever index they have, when they grow, are moved, switched and cleared?
SET client_min_messages = error;
SET jit = off;
SELECT setseed(0.3);
CREATE FUNCTION random_terms(most int) RETURNS sparsevec LANGUAGE sql VOLATILE AS $$
	SELECT ('{' || coalesce(string_agg(format('%s:%s', i, round((random() * 3)::numeric, 2) + 0.01), ','), '') || '}/1000')::sparsevec
	FROM (SELECT DISTINCT 1 + floor(999 * random() ^ 3)::int AS i FROM generate_series(1, 1 + floor(random() * most)::int)) t $$;
CREATE TABLE d AS SELECT i AS id, random_terms(12) AS v, i % 50 AS n FROM generate_series(1, 6000) i;
CREATE TABLE q AS SELECT i AS id, random_terms(6) AS v FROM generate_series(1, 12) i;
INSERT INTO q VALUES (41, '{}/1000'), (42, '{1000:1}/1000');
CREATE TABLE distances AS SELECT q.id AS query, d.id::text, d.id AS number, d.n, d.v <#> q.v AS ip, d.v <=> q.v AS cosine FROM q CROSS JOIN d;
CREATE FUNCTION store(flow text, first int, last int) RETURNS int8 LANGUAGE sql AS $$
	SELECT count(*) FROM generate_series(first, last, 2000) b, jflow_post('/index',
		(SELECT array_agg(jflow_doc(id => id::text, sparse_embedding => v, tags => jsonb_build_object('n', n))) FROM d WHERE id BETWEEN b AND least(b + 1999, last)), flow, request_size => 500) $$;
-- queries of which an answer differs from a scan of all rows in (distance, id), with what has nothing in common left out
CREATE FUNCTION wrong(flow text, metric text, last int, k int, skip int DEFAULT 0, bottom int DEFAULT NULL) RETURNS int8 LANGUAGE plpgsql AS $$
BEGIN
	RETURN (WITH found AS (SELECT p.id, array_agg(m.id ORDER BY m.n) AS ids
			FROM jflow_post('/search', (SELECT array_agg(jflow_doc(id => id::text, sparse_embedding => v)) FROM q WHERE metric = 'ip' OR id <> 41), flow,
				jsonb_strip_nulls(jsonb_build_object('limit', k, 'offset', skip, 'filter', '{"n": {"$gte": 0}}'::jsonb || coalesce(jsonb_build_object('n', jsonb_build_object('$gte', bottom)), '{}')) - CASE WHEN bottom IS NULL THEN 'filter' ELSE '' END)) p
			LEFT JOIN LATERAL unnest(p.matches) WITH ORDINALITY m(id, score, text, uri, tags, n) ON true GROUP BY 1),
		expected AS (SELECT q.id::text, array_agg(s.id ORDER BY s.dist, s.id COLLATE "C") AS ids FROM q
			LEFT JOIN LATERAL (SELECT d.id, CASE metric WHEN 'ip' THEN ip ELSE cosine END AS dist FROM distances d
				WHERE d.query = q.id AND d.number <= last AND d.n >= coalesce(bottom, 0) AND CASE metric WHEN 'ip' THEN ip < 0 ELSE cosine < 1 END
				ORDER BY 2, d.id COLLATE "C" OFFSET skip LIMIT k) s ON true
			WHERE metric = 'ip' OR q.id <> 41 GROUP BY q.id)
		SELECT count(*) FROM expected e JOIN found f USING (id) WHERE e.ids IS DISTINCT FROM f.ids);
END $$;
CREATE VIEW made AS SELECT amname, count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
	WHERE c.relname LIKE '%\_jflow\_%' GROUP BY 1;

SELECT jflow_create('ip');
SELECT jflow_add('ip', 'store', uses => 'PQLiteIndexer', replicas => 0, shards => 2, workspace => 'lex', polling => '{"/index": "hash"}',
	uses_with => '{"field": "sparse_embedding", "metric": "ip", "columns": {"n": "int4"}}');
SELECT store('ip', 1, 2000);
SELECT wrong('ip', 'ip', 2000, 10), wrong('ip', 'ip', 2000, 7, 5), wrong('ip', 'ip', 2000, 10000), wrong('ip', 'ip', 2000, 5, 0, 40);
TABLE made;
SELECT store('ip', 2001, 5400);
TABLE made;
SELECT wrong('ip', 'ip', 5400, 10), wrong('ip', 'ip', 5400, 7, 5), wrong('ip', 'ip', 5400, 10000), wrong('ip', 'ip', 5400, 5, 0, 40);
SELECT id, tags->'rows' AS rows, tags->'index' AS index, tags->'indexed' AS indexed, tags->'recall' AS recall
	FROM jflow_post('/status', '[{"id": "of an executor before"}]'::jsonb, 'ip', '{"queries": 20}') ORDER BY id;
-- it grows with its index, which need not be made anew
SELECT c.oid AS before FROM pg_class c WHERE relname = 'ip_store_0_jflow_inverted' \gset
UPDATE jflow.shard SET trained_pages = 1;
SELECT store('ip', 5401, 6000);
SELECT c.oid = :before AS same FROM pg_class c WHERE relname = 'ip_store_0_jflow_inverted';
SELECT wrong('ip', 'ip', 6000, 10);
EXPLAIN (COSTS OFF) SELECT id FROM lex.ip_store_0 ORDER BY sparse_embedding <#> '{1:1}/1000' LIMIT 10;
-- more shards, and fewer
SELECT jflow_scale('ip', 'store', shards => 3);
SELECT wrong('ip', 'ip', 6000, 10);
SELECT count(*) FROM jflow_post('/index', (SELECT array_agg(jflow_doc(id => id::text, sparse_embedding => v, tags => jsonb_build_object('n', n))) FROM d WHERE id < 3), 'ip');
TABLE made;
SELECT wrong('ip', 'ip', 6000, 10);
SELECT jflow_scale('ip', 'store', shards => 1);
SELECT wrong('ip', 'ip', 6000, 10);
TABLE made;
-- switched by one call, forth and back
SELECT jflow_reindex('ip', 'store', 'pq');
TABLE made;
SELECT uses_with->'index' AS index FROM jflow_executors WHERE flow = 'ip';
SELECT tags->'index' AS index FROM jflow_post('/status', NULL::jflow_doc[], 'ip');
SELECT jflow_reindex('ip', 'store', 'none');
TABLE made;
SELECT wrong('ip', 'ip', 6000, 10), wrong('ip', 'ip', 6000, 5, 0, 40);
SELECT store('ip', 1, 10);
TABLE made;
-- what a post under the old option has asked for
UPDATE jflow.shard SET due = true;
SELECT jflow.reshard_step('ip', 'store'), jflow.reshard_step('ip', 'store');
TABLE made;
SELECT jflow_reindex('ip', 'store', 'inverted');
TABLE made;
SELECT store('ip', 1, 100);
TABLE made;
SELECT wrong('ip', 'ip', 6000, 10), wrong('ip', 'ip', 6000, 5, 0, 40);
SELECT jflow_reindex('ip', 'store');
TABLE made;
SELECT count(*) FROM jflow_post('/clear', NULL::jflow_doc[], 'ip');
TABLE made;
SELECT store('ip', 1, 100);
SELECT wrong('ip', 'ip', 100, 10);
SELECT jflow_drop('ip', drop_data => true);

-- under cosine, and a store that has been made with pq
SELECT jflow_create('cos');
SELECT jflow_add('cos', 'store', uses => 'PQLiteIndexer', replicas => 0, workspace => 'lex',
	uses_with => '{"field": "sparse_embedding", "columns": {"n": "int4"}, "index": "pq"}');
SELECT store('cos', 1, 6000);
TABLE made;
SELECT jflow_reindex('cos', 'store', 'inverted');
TABLE made;
SELECT wrong('cos', 'cosine', 6000, 10), wrong('cos', 'cosine', 6000, 7, 5), wrong('cos', 'cosine', 6000, 5, 0, 40);
BEGIN;
SELECT jflow_reindex('cos', 'store', 'pq');
ROLLBACK;
TABLE made;
SELECT wrong('cos', 'cosine', 6000, 10);
SELECT jflow_drop('cos', drop_data => true);

-- what is chosen, and what cannot be
SELECT jflow_create('o');
SELECT jflow_add('o', 'l2', uses => 'PQLiteIndexer', replicas => 0, workspace => 'lex', uses_with => '{"field": "sparse_embedding", "metric": "l2"}');
SELECT store('o', 1, 5000);
TABLE made;
SELECT jflow_reindex('o', 'l2', 'inverted');
SELECT jflow_reindex('o', 'l2', 'btree');
SELECT jflow_reindex('o', 'none', 'pq');
SELECT jflow_reindex('none', 'l2', 'pq');
SELECT jflow_add('o', 'w', uses => 'PQLiteIndexer', uses_with => '{"index": "hnsw"}');
SELECT jflow_add('o', 'w', uses => 'PQLiteIndexer', uses_with => '{"field": "embedding", "index": "inverted"}');
SELECT jflow_add('o', 'w', uses => 'PQLiteIndexer', uses_with => '{"index": "inverted", "lists": 3}');
SELECT jflow_add('o', 'w', uses => 'PQLiteIndexer', uses_with => '{"table": "d", "id": "id", "field": "v", "index": "inverted"}');
SELECT jflow_add('o', 'sparse', uses => 'PQLiteIndexer', uses_with => '{"index": "inverted", "metric": "ip"}', replicas => 0, workspace => 'lex');
SELECT count(*) FROM jflow_post('/index', '[{"id": "a", "sparse_embedding": "{1:1}/9", "embedding": [1, 2]}]'::jsonb, 'o', target_executor => 'sparse');
SELECT field FROM jflow.shard WHERE executor = 'sparse';
-- a table of one's own: its index is used, and is left alone
ALTER TABLE d ADD PRIMARY KEY (id), ALTER v TYPE sparsevec(1000);
CREATE INDEX mine ON d USING inverted (v sparsevec_ip_ops);
SELECT jflow_create('ip');
SELECT jflow_add('ip', 'own', uses => 'PQLiteIndexer', uses_with => '{"table": "public.d", "id": "id", "field": "v", "metric": "ip"}', replicas => 0);
SELECT wrong('ip', 'ip', 6000, 10), wrong('ip', 'ip', 6000, 10000);
SELECT jflow_reindex('ip', 'own');
SET ROLE pg_monitor;
SELECT jflow_reindex('ip', 'own', 'none');
RESET ROLE;
SELECT jflow_drop('o', drop_data => true);
SELECT jflow_drop('ip', drop_data => true);
DROP SCHEMA lex;
DROP VIEW made;
DROP TABLE d, q, distances;
DROP FUNCTION random_terms, store(text, int, int), wrong;
