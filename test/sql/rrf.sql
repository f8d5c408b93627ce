-- Does RRFRanker fuse the matches of branches by its formula, whatever page is asked for and whoever answers first?
SET client_min_messages = warning;
-- branches whose matches stand in the documents' tags: {"branch": [[id, score], ...]}
CREATE FUNCTION branch(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql AS $$
	SELECT array_agg(jflow_doc(id => d.id, text => d.text, tags => d.tags, matches => ARRAY(
		SELECT (m->>0, (m->>1)::float8, m->>2, NULL, jsonb_build_object('by', (jflow_context()).executor))::jflow_match
		FROM jsonb_array_elements(d.tags->(jflow_context()).executor) WITH ORDINALITY e(m, n) ORDER BY n
		LIMIT (parameters->>'limit')::int OFFSET (parameters->>'offset')::int)))
	FROM unnest(docs) d $$;
CREATE FUNCTION says(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql AS $$
	SELECT array_agg(jflow_doc(id => d.id, text => parameters::text, tags => d.tags, matches => d.matches)) FROM unnest(docs) d $$;
SELECT jflow_create('h');
SELECT jflow_add('h', 'words', uses => 'branch', replicas => 0);
SELECT jflow_add('h', 'meaning', uses => 'branch', replicas => 0, needs => '{gateway}');
SELECT jflow_add('h', 'fused', uses => 'RRFRanker', replicas => 0, needs => '{words,meaning}');
\set docs '''[{"id": "q", "tags": {"words": [["a", -9, "of words"], ["b", -5], ["c", -5], ["d", -1]], "meaning": [["c", 0.1, "of meaning"], ["e", 0.2], ["a", 0.3], ["b", 0.9]]}}]'''
CREATE FUNCTION show(docs jsonb, parameters jsonb DEFAULT '{}', flow text DEFAULT 'h') RETURNS TABLE (doc text, id text, score numeric, text text, tags jsonb) LANGUAGE sql AS $$
	SELECT d.id, m.id, round(m.score::numeric, 8), m.text, m.tags FROM jflow_post('/search', docs, flow, parameters) d LEFT JOIN unnest(d.matches) m ON true $$;
SELECT * FROM show(:docs);
-- 1/61 + 1/63 and so on
SELECT round(1/61.0 + 1/63.0, 8) AS a, round(1/63.0 + 1/61.0, 8) AS c, round(1/62.0 + 1/64.0, 8) AS b, round(1/62.0, 8) AS e, round(1/64.0, 8) AS d;
SELECT id, score FROM show(:docs, '{"k": 0, "weights": {"meaning": 3}}');
SELECT id, score FROM show(:docs, '{"weights": {"meaning": 0}}');
SELECT id, score, tags FROM show(:docs, '{"method": "weighted"}');
SELECT m.id, m.score FROM jflow_post('/search', :docs::jsonb, 'h', '{"weights": {"words": 0}, "method": "weighted"}') d, unnest(d.matches) m;
SELECT id, score FROM show(:docs, '{"window": 1, "limit": 1}');
-- pages, and how many the branches are asked for
SELECT id FROM show(:docs, '{"limit": 2, "offset": 1}');
SELECT id FROM show(:docs, '{"limit": 2, "offset": 4}');
SELECT id FROM show(:docs, '{"limit": 2, "offset": 5}');
SELECT id FROM show(:docs, '{"limit": 0}');
SELECT jflow_create('asked');
SELECT jflow_add('asked', 'before', uses => 'says', replicas => 0);
SELECT jflow_add('asked', 'beside', uses => 'says', replicas => 0, needs => '{gateway}');
SELECT jflow_add('asked', 'fused', uses => 'RRFRanker', replicas => 0, needs => '{before,beside}', uses_with => '{"window": 7}');
SELECT jflow_add('asked', 'behind', uses => 'says', replicas => 0);
SELECT p, text FROM unnest('{"{}","{\"limit\": 3, \"offset\": 2}","{\"limit\": 30, \"offset\": 2, \"x\": 1}","{\"window\": 900000, \"limit\": 200000, \"offset\": 900000}"}'::jsonb[]) p,
	jflow_post('/search', ARRAY['a'], 'asked', p, target_executor => 'before|fused');
SELECT text FROM jflow_post('/search', ARRAY['a'], 'asked', '{"limit": 3, "offset": 2}', target_executor => 'behind|fused');
SELECT text FROM jflow_post('/search', ARRAY['a'], 'asked', '{"limit": 3, "offset": 2}', target_executor => 'before');
SELECT text FROM jflow_post('/other', ARRAY['a'], 'asked', '{"limit": 3, "offset": 2}');
-- elsewhere it joins its branches as any executor does
SELECT jflow_create('other');
SELECT jflow_add('other', 'words', uses => 'says', replicas => 0);
SELECT jflow_add('other', 'meaning', uses => 'says', replicas => 0, needs => '{gateway}');
SELECT jflow_add('other', 'fused', uses => 'RRFRanker', replicas => 0, needs => '{words,meaning}');
SELECT id, text, matches FROM jflow_post('/index', '[{"id": "1"}, {"id": "2"}]'::jsonb, 'other');
-- an answer that is empty, NULL, has an id twice, or none, NaN, infinities; documents of one id; a branch that loses one
SELECT * FROM show('[{"id": "q", "tags": {"words": []}}]');
SELECT id, score, tags FROM show('[{"id": "q", "tags": {"words": [["a", "NaN"], ["a", 1], [null, 2], ["b", null]], "meaning": [["b", "-Infinity"], ["a", "Infinity"]]}}]');
SELECT id, score FROM show('[{"id": "q", "tags": {"words": [["a", "NaN"], ["a", 1], [null, 2], ["b", null]], "meaning": [["b", "-Infinity"], ["a", "Infinity"]]}}]', '{"method": "weighted"}');
SELECT id, score FROM show('[{"id": "q", "tags": {"words": [["a", 1], ["b", 1]], "meaning": [["b", 5]]}}]', '{"method": "weighted"}');
-- a branch that has not put them in order
SELECT id, score FROM show('[{"id": "q", "tags": {"words": [["a", 1], ["b", 2], ["c", 3], ["d", 1]], "meaning": [["b", 5]]}}]', '{"method": "weighted"}');
SELECT doc, id, score FROM show('[{"id": "q", "tags": {"words": [["a", 1]]}}, {"id": "q", "tags": {"meaning": [["b", 1]]}}, {"id": "r"}]');
SELECT count(*) FROM jflow_post('/search', NULL::jflow_doc[], 'h');
-- one branch, three, and a ranker behind a ranker
SELECT jflow_create('many');
SELECT jflow_add('many', 'words', uses => 'branch', replicas => 0);
SELECT jflow_add('many', 'alone', uses => 'RRFRanker', replicas => 0, uses_with => '{"limit": 2}');
SELECT jflow_add('many', 'meaning', uses => 'branch', replicas => 0, needs => '{gateway}');
SELECT jflow_add('many', 'again', uses => 'branch', replicas => 0, needs => '{gateway}');
SELECT jflow_add('many', 'all', uses => 'RRFRanker', replicas => 0, needs => '{alone,meaning,again}', uses_with => '{"weights": {"again": 0.5}, "k": 1, "limit": 3}');
SELECT * FROM show('[{"id": "q", "tags": {"words": [["a", 1], ["b", 2], ["c", 3]], "meaning": [["b", 1]], "again": [["c", 0], ["d", 0]]}}]', flow => 'many');

-- random lists against the formula
CREATE FUNCTION random_list(n int) RETURNS jsonb LANGUAGE sql VOLATILE AS $$
	SELECT coalesce(jsonb_agg(jsonb_build_array('id' || i, s) ORDER BY s), '[]') FROM (SELECT DISTINCT ON (i) floor(random() * 40)::int AS i, random() * 10 - 5 AS s FROM generate_series(1, n)) x $$;
SELECT setseed(0.5);
CREATE TABLE lists AS SELECT q, random_list(floor(random() * 30)::int) AS words, random_list(floor(random() * 30)::int) AS meaning FROM generate_series(1, 60) q;
CREATE FUNCTION expected(l lists, k float8, w1 float8, w2 float8, wnd int, skip int, most int) RETURNS text[] LANGUAGE sql AS $$
	WITH r AS (SELECT e->>0 AS id, w1 / (k + n) AS s FROM jsonb_array_elements((l).words) WITH ORDINALITY x(e, n) WHERE n <= greatest(wnd, skip + most)
		UNION ALL SELECT e->>0, w2 / (k + n) FROM jsonb_array_elements((l).meaning) WITH ORDINALITY x(e, n) WHERE n <= greatest(wnd, skip + most))
	SELECT ARRAY(SELECT id FROM r GROUP BY id ORDER BY round(sum(s)::numeric, 12) DESC, id COLLATE "C" OFFSET skip LIMIT most) $$;
SELECT p, count(*) FILTER (WHERE ARRAY(SELECT m.id FROM unnest(d.matches) WITH ORDINALITY m(id, score, text, uri, tags, n) ORDER BY n) IS DISTINCT FROM
		expected(l, coalesce((p->>'k')::float8, 60), coalesce((p->'weights'->>'words')::float8, 1), coalesce((p->'weights'->>'meaning')::float8, 1),
			coalesce((p->>'window')::int, 100), coalesce((p->>'offset')::int, 0), coalesce((p->>'limit')::int, 10))) AS wrong, count(*)
FROM unnest('{"{}","{\"limit\": 100, \"k\": 1}","{\"limit\": 3, \"offset\": 5, \"window\": 4}","{\"limit\": 7, \"weights\": {\"words\": 0.3, \"meaning\": 2}}"}'::jsonb[]) p, lists l,
	LATERAL jflow_post('/search', jsonb_build_array(jsonb_build_object('id', 'q' || q, 'tags', jsonb_build_object('words', l.words, 'meaning', l.meaning))), 'h', p) d
GROUP BY p ORDER BY p::text;

-- what is wrong
SELECT jflow_add('h', 'w', uses => 'RRFRanker', uses_with => '{"windw": 1}');
SELECT jflow_add('h', 'w', uses => 'RRFRanker', uses_with => '{"window": 0}');
SELECT jflow_add('h', 'w', uses => 'RRFRanker', uses_with => '{"k": -1}');
SELECT jflow_add('h', 'w', uses => 'RRFRanker', uses_with => '{"method": "sum"}');
SELECT jflow_add('h', 'w', uses => 'RRFRanker', uses_with => '{"weights": {"words": "2"}}');
SELECT jflow_add('h', 'w', uses => 'RRFRanker', needs => '{words,meaning}', uses_with => '{"weights": {"word": 2}}');
SELECT * FROM show(:docs, '{"weights": {"word": 2}}');
SELECT * FROM show(:docs, '{"limit": 1.5}');
SELECT jflow_scale('h', 'fused', shards => 2);
SELECT * FROM show(:docs);

-- the function that ranks, called by a function of the owner's with other documents than the branches', or with none
CREATE FUNCTION ranks(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql
	RETURN jflow.rrf_rank(CASE WHEN parameters ? 'same' THEN docs ELSE docs[1:(parameters->>'n')::int] END, parameters - 'n' - 'same');
CREATE FUNCTION same(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql RETURN docs;
SELECT jflow_create('called');
SELECT jflow_add('called', 'a', uses => 'same', needs => '{gateway}', replicas => 0);
SELECT jflow_add('called', 'b', uses => 'same', needs => '{gateway}', replicas => 0);
SELECT jflow_add('called', 'plain', uses => 'ranks', needs => '{a,b}', disable_reduce => true, replicas => 0);
SELECT jflow_add('called', 'ranked', uses => 'RRFRanker', requests => '{"/x": "ranks"}', needs => '{a,b}', replicas => 0);
SELECT count(*) FROM jflow_post('/x', array_fill('a'::text, ARRAY[1000]), 'called', '{"n": 0}', target_executor => 'a|b|plain');
SELECT count(*) FROM jflow_post('/x', array_fill('a'::text, ARRAY[1000]), 'called', '{"n": 0}', target_executor => 'a|b|ranked');
SELECT count(*) FROM jflow_post('/x', array_fill('a'::text, ARRAY[1000]), 'called', '{"n": 199}', target_executor => 'a|b|ranked');
SELECT count(*) FROM jflow_post('/x', array_fill('a'::text, ARRAY[1000]), 'called', '{"same": true}', target_executor => 'a|b|ranked');
SELECT jflow_drop(flow) FROM jflow_flows ORDER BY flow;
DROP FUNCTION branch, says, show, random_list, expected, ranks, same;
DROP TABLE lists;
