-- Does a search find the best chunk of each parent, and are the query's words marked, whichever index and how many shards there are, and behind a ranker?
SET client_min_messages = warning;
SET jit = off;
SELECT setseed(0.7);
-- parents of 1 to 300 chunks; a document without a parent is its own
CREATE TABLE d AS SELECT 'p' || p || '#' || n AS id, CASE WHEN p > 5 THEN 'p' || p END AS parent,
		format('{%s:%s,%s:%s}/50', 1 + floor(25 * random())::int, round((0.5 + random())::numeric, 2), 26 + floor(25 * random())::int, round((0.5 + random())::numeric, 2))::sparsevec(50) AS v,
		ARRAY[random(), random(), 1]::vector(3) AS e
	FROM generate_series(1, 60) p, generate_series(1, CASE WHEN p > 5 THEN (p % 20) * (p % 20) ELSE 1 END) n;
CREATE TABLE q AS SELECT 'q' || i AS id, format('{%s:1,%s:2}/50', i, 25 + i)::sparsevec AS v, ARRAY[random(), random(), 1]::vector AS e FROM generate_series(1, 8) i;
CREATE FUNCTION store(flow text, uses_with jsonb, shards int, indexed bool) RETURNS int8 LANGUAGE plpgsql AS $$
BEGIN
	PERFORM jflow_create(flow);
	PERFORM jflow_add(flow, 'store', uses => 'PQLiteIndexer', replicas => 0, shards => shards, polling => '{"/index": "hash"}', workspace => 'groups', uses_with => uses_with);
	PERFORM jflow_post_query('/index', 'SELECT id, parent AS parent_id, v AS sparse_embedding, e AS embedding FROM d', flow, request_size => 1000);
	RETURN (SELECT count(*) FROM pg_class WHERE relname LIKE flow || '%\_jflow\_%');
END $$;
CREATE FUNCTION wrong(flow text, dist text, k int, skip int DEFAULT 0) RETURNS int8 LANGUAGE plpgsql AS $$
DECLARE
	result int8;
BEGIN
	EXECUTE format($q$
		WITH found AS (SELECT p.id, array_agg(m.id ORDER BY m.n) AS ids, bool_and(m.tags->>'parent_id' = split_part(m.id, '#', 1) OR m.tags->>'parent_id' = m.id) AS named
			FROM jflow_post('/search', (SELECT array_agg(jflow_doc(id => id, sparse_embedding => v, embedding => e)) FROM q), %L, jsonb_build_object('limit', %s, 'offset', %s, 'group_by', 'parent_id')) p
			LEFT JOIN LATERAL unnest(p.matches) WITH ORDINALITY m(id, score, text, uri, tags, n) ON true GROUP BY 1),
		expected AS (SELECT q.id, array_agg(s.id ORDER BY s.dist, s.id COLLATE "C") AS ids FROM q LEFT JOIN LATERAL (
			SELECT * FROM (SELECT DISTINCT ON (coalesce(parent, d.id)) d.id, (%s) AS dist FROM d ORDER BY coalesce(parent, d.id), 2, d.id COLLATE "C") g
				WHERE dist < CASE %L WHEN 'd.v <#> q.v' THEN 0 ELSE 'Infinity'::float8 END ORDER BY dist, g.id COLLATE "C" OFFSET %s LIMIT %s) s ON true GROUP BY q.id)
		SELECT count(*) FROM expected e JOIN found f USING (id) WHERE e.ids IS DISTINCT FROM f.ids OR NOT named $q$, flow, k, skip, dist, dist, skip, k) INTO result;
	RETURN result;
END $$;
SELECT store('exact', '{"field": "embedding", "dim": 3, "metric": "l2", "index": "none"}', 1, false) AS indexes, wrong('exact', 'd.e <-> q.e', 10), wrong('exact', 'd.e <-> q.e', 100), wrong('exact', 'd.e <-> q.e', 3, 5);
SELECT store('words', '{"field": "sparse_embedding", "metric": "ip"}', 1, true) AS indexes, wrong('words', 'd.v <#> q.v', 10), wrong('words', 'd.v <#> q.v', 100), wrong('words', 'd.v <#> q.v', 3, 5);
SELECT store('shards', '{"field": "sparse_embedding", "metric": "ip"}', 3, true) AS indexes, wrong('shards', 'd.v <#> q.v', 10), wrong('shards', 'd.v <#> q.v', 100), wrong('shards', 'd.v <#> q.v', 3, 5);
SELECT count(*) FROM d;
-- an approximate index: no parent twice, and those asked for
SELECT store('pq', '{"field": "embedding", "dim": 3, "metric": "l2", "lists": 4}', 1, true) AS indexes;
SELECT p.id, count(*), count(DISTINCT m.tags->'parent_id') FROM jflow_post('/search', (SELECT array_agg(jflow_doc(id => id, embedding => e)) FROM q), 'pq', '{"limit": 30, "group_by": "parent_id"}') p, unnest(p.matches) m GROUP BY 1 ORDER BY 1;
-- behind a ranker groups are fused, whichever chunk stands for them
SELECT jflow_create('fused');
SELECT jflow_add('fused', 'a', uses => 'PQLiteIndexer', replicas => 0, shards => 2, polling => '{"/index": "hash"}', workspace => 'groups', uses_with => '{"field": "sparse_embedding", "metric": "ip"}');
SELECT jflow_add('fused', 'b', uses => 'PQLiteIndexer', replicas => 0, workspace => 'groups', needs => '{gateway}', uses_with => '{"field": "embedding", "metric": "l2"}');
SELECT jflow_add('fused', 'both', uses => 'RRFRanker', replicas => 0, needs => '{a,b}');
SELECT docs FROM jflow_post_query('/index', 'SELECT id, parent AS parent_id, v AS sparse_embedding, e AS embedding FROM d', 'fused');
SELECT p.id, count(*), count(DISTINCT m.tags->'parent_id'), max((SELECT count(*) FROM jsonb_object_keys(m.tags->'ranks'))) AS branches
	FROM jflow_post('/search', (SELECT array_agg(jflow_doc(id => id, sparse_embedding => v, embedding => e)) FROM q), 'fused', '{"limit": 20, "group_by": "parent_id"}') p, unnest(p.matches) m GROUP BY 1 ORDER BY 1;
-- what is wrong, and a table of one's own
SELECT jflow_post('/search', '[{"embedding": [1, 2, 3]}]'::jsonb, 'pq', '{"group_by": "tags"}');
CREATE TABLE own (id text PRIMARY KEY, parent_id int, e vector(3));
INSERT INTO own SELECT id, nullif(substr(parent, 2), '')::int, e FROM d;
CREATE TABLE plain (id text PRIMARY KEY, e vector(3));
SELECT jflow_create('own');
SELECT jflow_add('own', 'own', uses => 'PQLiteIndexer', replicas => 0, uses_with => '{"table": "own", "id": "id", "field": "e", "metric": "l2"}');
SELECT jflow_add('own', 'plain', uses => 'PQLiteIndexer', replicas => 0, uses_with => '{"table": "plain", "id": "id", "field": "e", "metric": "l2"}');
SELECT p.id, count(*), count(DISTINCT m.tags->'parent_id') FROM jflow_post('/search', (SELECT array_agg(jflow_doc(id => id, embedding => e)) FROM q WHERE id < 'q3'), 'own', '{"limit": 30, "group_by": "parent_id"}', target_executor => 'own') p, unnest(p.matches) m GROUP BY 1 ORDER BY 1;
SELECT jflow_post('/search', '[{"embedding": [1, 2, 3]}]'::jsonb, 'own', '{"group_by": "parent_id"}', target_executor => 'plain');

-- highlights, by the encoder's configuration
SELECT jflow_create('marked');
SELECT jflow_add('marked', 'lexical', uses => 'BM25Vectorizer', replicas => 0, uses_with => '{"text_search": "english"}');
SELECT jflow_add('marked', 'words', uses => 'PQLiteIndexer', replicas => 0, shards => 2, polling => '{"/index": "hash"}', workspace => 'groups', uses_with => '{"field": "sparse_embedding", "metric": "ip"}');
CREATE TABLE texts AS SELECT * FROM (VALUES ('1', 'The dogs were running; a fox ran.'), ('2', 'It''s a dog''s life, \ & | ! says <b>the fox</b>.'), ('3', repeat('Nothing here. ', 50) || 'But foxes run at last.'), ('4', '')) t(id, text);
SELECT docs FROM jflow_fit('marked', 'lexical', 'SELECT text FROM texts');
SELECT docs FROM jflow_post_query('/index', 'SELECT id, text FROM texts', 'marked');
SELECT id, text IS NOT NULL AS text, tags->'highlight' AS highlight FROM jflow_search('foxes run with dogs', 10, 'marked', parameters => '{"highlight": true}');
SELECT id, tags->'highlight' AS highlight FROM jflow_search('foxes run with dogs', 10, 'marked', parameters => '{"highlight": "StartSel=<<, StopSel=>>, MaxFragments=1, MaxWords=5, MinWords=2"}');
SELECT id, tags FROM jflow_search('dog', 10, 'marked', parameters => '{"highlight": false}');
SELECT id, tags->'highlight' AS highlight FROM jflow_search('dog ' || (SELECT string_agg('w''\' || i, ' ') FROM generate_series(1, 3000) i), 1, 'marked', parameters => '{"highlight": "HighlightAll=true"}');
SELECT id FROM jflow_search('dog', 10, 'marked', parameters => '{"highlight": 1}');
-- no more of a text and of options than a reader could see
SELECT id FROM jflow_search('dog', 10, 'marked', parameters => jsonb_build_object('highlight', repeat(' ', 1001)));
SELECT count(*) FROM jflow_post('/index', ARRAY[jflow_doc(id => '5', text => repeat('dog ', 30000))], 'marked');
SELECT id, length(tags->>'highlight') FROM jflow_search('dog', 10, 'marked', parameters => '{"highlight": "HighlightAll=true, StartSel=<, StopSel=>"}') WHERE id = '5';
SELECT count(*) FROM jflow_post('/delete', ARRAY[jflow_doc(id => '5', text => 'dog')], 'marked');
-- the server's own error, whose words differ
\set VERBOSITY sqlstate
SELECT id FROM jflow_search('dog', 10, 'marked', parameters => '{"highlight": "MaxWords=-1"}');
\set VERBOSITY default
-- a store that gives no texts; a ranker, which marks its page alone
SELECT jflow_add('marked', 'silent', uses => 'PQLiteIndexer', replicas => 0, needs => '{lexical}', workspace => 'groups', uses_with => '{"field": "sparse_embedding", "metric": "ip", "include": []}');
SELECT docs FROM jflow_post_query('/index', 'SELECT id, text FROM texts', 'marked');
SELECT m.id, m.text, m.tags FROM jflow_post('/search', ARRAY['dog']::text[], 'marked', '{"highlight": true}', target_executor => 'lexical|silent') p, unnest(p.matches) m;
SELECT jflow_add('marked', 'ranker', uses => 'RRFRanker', replicas => 0, needs => '{words,silent}');
SELECT id, tags FROM jflow_search('fox', 1, 'marked', parameters => '{"highlight": true}');
SELECT jflow_drop(flow, drop_data => true) FROM jflow_flows ORDER BY flow;
DROP TABLE d, q, own, plain, texts;
DROP FUNCTION store(text, jsonb, int, bool), wrong(text, text, int, int);
DROP SCHEMA groups;
