-- Are the answers of branches and shards merged by id, the n-th of an id with the n-th, and in time that grows with their number only?
SET client_min_messages = warning;
CREATE FUNCTION same(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql RETURN docs;
-- the branch's name in a tag of its own, and as many copies of each document as the parameter says
CREATE FUNCTION copy_docs(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql AS $$
	SELECT array_agg(jflow_doc(id => d.id, text => (jflow_context()).executor || n,
		tags => jsonb_build_object((jflow_context()).executor, n)) ORDER BY d.ord, n)
	FROM unnest(docs) WITH ORDINALITY d(id, text, blob, uri, mime_type, tags, embedding, sparse_embedding, parent_id, granularity, scores, weight, matches, ord),
		generate_series(1, (parameters->'copies'->>(jflow_context()).executor)::int) n $$;
SELECT jflow_create('branches');
SELECT jflow_add('branches', 'a', uses => 'copy_docs', replicas => 0);
SELECT jflow_add('branches', 'b', uses => 'copy_docs', replicas => 0, needs => '{gateway}');
SELECT jflow_add('branches', 'c', uses => 'copy_docs', replicas => 0, needs => '{gateway}');
SELECT id, text, tags FROM jflow_post('/x', '[{"id": "1"}, {"id": "2"}]'::jsonb, 'branches', '{"copies": {"a": 1, "b": 3, "c": 2}}'::jsonb);
SELECT id, text, tags FROM jflow_post('/x', '[{"id": "1"}]'::jsonb, 'branches', '{"copies": {"a": 3, "b": 1, "c": 2}}'::jsonb);
SELECT id, text, tags FROM jflow_post('/x', '[{"id": "1"}, {"id": "1"}]'::jsonb, 'branches', '{"copies": {"a": 1, "b": 1, "c": 2}}'::jsonb);

-- very many of one id; the limit of time only keeps a wrong merge from going on for an hour
SELECT jflow_create('many');
SELECT jflow_add('many', 'a', uses => 'same', replicas => 0);
SELECT jflow_add('many', 'b', uses => 'same', replicas => 0, needs => '{gateway}');
SET statement_timeout = '60s';
SELECT count(*), count(DISTINCT id) FROM jflow_post('/x', (SELECT array_agg(jflow_doc(id => 'a')) FROM generate_series(1, 100000)), 'many', request_size => 100000);
-- and of many ids on many shards
SELECT jflow_create('shards');
SELECT jflow_add('shards', 'a', uses => 'same', replicas => 0, shards => 1024, polling => '"hash"');
SELECT count(*), bool_and(id = ord::text) FROM jflow_post('/x', (SELECT array_agg(jflow_doc(id => i::text) ORDER BY i) FROM generate_series(1, 20000) i), 'shards', request_size => 20000)
	WITH ORDINALITY d(id, text, blob, uri, mime_type, tags, embedding, sparse_embedding, parent_id, granularity, scores, weight, matches, ord);
RESET statement_timeout;
SELECT jflow_drop(flow) FROM jflow_flows ORDER BY flow;
DROP FUNCTION same, copy_docs;
