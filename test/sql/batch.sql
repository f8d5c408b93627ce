-- Does jflow refuse what cannot be a batch, keep what can, and call functions so?
SET client_min_messages = warning;
CREATE ROLE jflow_batcher LOGIN;
GRANT CREATE ON SCHEMA public TO jflow_batcher;
SET ROLE jflow_batcher;
CREATE FUNCTION b_shout(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
LANGUAGE plpgsql AS $$ BEGIN
	FOR i IN 1..cardinality(docs) LOOP docs[i].text := upper(docs[i].text); END LOOP;
	RETURN docs;
END $$;
SELECT jflow_create('b');

-- what is no batch
\set VERBOSITY terse
SELECT jflow_add('b', 'e', uses => 'b_shout', batch => '[]');
SELECT jflow_add('b', 'e', uses => 'b_shout', batch => 'null');
SELECT jflow_add('b', 'e', uses => 'b_shout', batch => '{}');
SELECT jflow_add('b', 'e', uses => 'b_shout', batch => '{"wait": "3ms"}');
SELECT jflow_add('b', 'e', uses => 'b_shout', batch => '{"size": 0}');
SELECT jflow_add('b', 'e', uses => 'b_shout', batch => '{"size": -1}');
SELECT jflow_add('b', 'e', uses => 'b_shout', batch => '{"size": 1.5}');
SELECT jflow_add('b', 'e', uses => 'b_shout', batch => '{"size": 10001}');
SELECT jflow_add('b', 'e', uses => 'b_shout', batch => '{"size": 1e300}');
SELECT jflow_add('b', 'e', uses => 'b_shout', batch => '{"size": "64"}');
SELECT jflow_add('b', 'e', uses => 'b_shout', batch => '{"size": 64, "wait": 3}');
SELECT jflow_add('b', 'e', uses => 'b_shout', batch => '{"size": 64, "wait": null}');
SELECT jflow_add('b', 'e', uses => 'b_shout', batch => '{"size": 64, "wait": "soon"}');
SELECT jflow_add('b', 'e', uses => 'b_shout', batch => '{"size": 64, "wait": "-1us"}');
SELECT jflow_add('b', 'e', uses => 'b_shout', batch => '{"size": 64, "wait": "60001 ms"}');
SELECT jflow_add('b', 'e', uses => 'b_shout', batch => '{"size": 64, "wait": "1 month"}');
\set VERBOSITY default
SELECT jflow_add('b', 'e', uses => 'b_shout', batch => '{"size": 64, "wiat": "3ms"}');
-- where there is nothing to join, or what is together matters
SELECT jflow_add('b', 'e', uses => 'b_shout', batch => '{"size": 64}', replicas => 0);
SELECT jflow_add('b', 'e', uses => 'b_shout', batch => '{"size": 64}', disable_reduce => true);
\set VERBOSITY terse
SELECT jflow_add('b', 'e', uses => 'PQLiteIndexer', uses_with => '{"dim": 3}', batch => '{"size": 64}');
SELECT jflow_add('b', 'e', uses => 'TextSplitter', batch => '{"size": 64}');
SELECT jflow_add('b', 'e', uses => 'RRFRanker', batch => '{"size": 64}');
SELECT jflow_add('b', 'e', uses => 'RemoteFlow', uses_with => '{"servers": ["s"], "flow": "f"}', batch => '{"size": 64}');
\set VERBOSITY default

-- what is one
SELECT jflow_add('b', 'e', uses => 'b_shout', batch => '{"size": 64, "wait": "2.5 ms"}');
SELECT jflow_add('b', 'terms', uses => 'TfidfVectorizer', batch => '{"size": 10000, "wait": "1 minute"}');
SELECT jflow_add('b', 'bm25', uses => 'BM25Vectorizer', batch => '{"size": 1, "wait": "0"}');
SELECT jflow_add('b', 'pass', batch => '{"size": 2}');
SELECT name, batch FROM jflow_executors WHERE flow = 'b' ORDER BY position;
SELECT jflow_save('b') -> 'executors' -> 0 -> 'batch' AS saved;
SELECT jflow_plot('b') LIKE '%b_shout<br/>batches of 64"%' AS plotted;
SELECT jflow_scale('b', 'e', replicas => 0);
SELECT jflow_scale('b', 'e', replicas => 2);
SELECT jflow_load(jsonb_set(jflow_save('b'), '{name}', '"again"'));
SELECT count(*) AS differ FROM jsonb_array_elements(jflow_save('b') -> 'executors') WITH ORDINALITY a (x, n)
	FULL JOIN jsonb_array_elements(jflow_save('again') -> 'executors') WITH ORDINALITY b (x, n) USING (n)
	WHERE a.x IS DISTINCT FROM b.x;
SELECT jflow_drop('again');
SELECT jflow_load_yaml($$
jtype: Flow
name: yaml
executors:
  - name: e
    uses: b_shout
    batch: {size: 8, wait: 3ms}
$$);
SELECT batch FROM jflow_executors WHERE flow = 'yaml';
SELECT jflow_save_yaml('yaml');
SELECT jflow_drop('yaml');
SELECT jflow_drop('b');

-- how functions are called: neither post nor request is told, and each document
-- has to be answered by itself
CREATE FUNCTION b_context(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
LANGUAGE plpgsql AS $$ DECLARE c record := jflow_context(); BEGIN
	FOR i IN 1..cardinality(docs) LOOP docs[i].text := concat_ws(' ', c.post IS NULL, c.request IS NULL); END LOOP;
	RETURN docs;
END $$;
CREATE FUNCTION b_fewer(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
LANGUAGE sql AS $$ SELECT docs[2:] $$;
CREATE FUNCTION b_turn(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
LANGUAGE sql AS $$ SELECT array_agg(d ORDER BY n DESC) FROM unnest(docs) WITH ORDINALITY
	u (id, text, blob, uri, mime_type, tags, embedding, sparse_embedding, parent_id, granularity, scores, weight, matches, n),
	LATERAL (SELECT (u.id, u.text, u.blob, u.uri, u.mime_type, u.tags, u.embedding, u.sparse_embedding, u.parent_id,
		u.granularity, u.scores, u.weight, u.matches)::jflow_doc AS d) v $$;
CREATE FUNCTION b_fail(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
LANGUAGE plpgsql AS $$ BEGIN
	IF EXISTS (SELECT FROM unnest(docs) WHERE text = 'bad') THEN
		RAISE EXCEPTION 'bad is among % documents', cardinality(docs) USING ERRCODE = 'data_exception';
	END IF;
	RETURN NULL;
END $$;
SELECT jflow_create('r');
SELECT jflow_add('r', 'e', batch => '{"size": 4}',
	requests => '{"/context": "b_context", "/fewer": "b_fewer", "/turn": "b_turn", "/fail": "b_fail", "/fit": "b_context"}');
-- with replicas, and in a session
SELECT jflow_start('r');
SELECT jflow_wait('r');
SELECT text FROM jflow_post('/context', ARRAY['a', 'b'], 'r');
SELECT text FROM jflow_post('/context', ARRAY['a', 'b'], 'r', request_size => 1);
SELECT text FROM jflow_post('/fit', ARRAY['a'], 'r');
SELECT count(*) FROM jflow_post('/fewer', ARRAY['a', 'b'], 'r');
SELECT text FROM jflow_post('/turn', ARRAY['a', 'b'], 'r', request_size => 1);
SELECT count(*) FROM jflow_post('/turn', '[{"id": "1"}, {"id": "2"}]'::jsonb, 'r');
-- the document at fault is found, whatever was called together
SELECT id, text FROM jflow_post('/fail', '[{"id": "1", "text": "good"}, {"id": "2", "text": "bad"}, {"id": "3", "text": "good"}]'::jsonb,
	'r', request_size => 1, continue_on_error => true);
SELECT id, text FROM jflow_post('/fail', '[{"id": "1", "text": "good"}, {"id": "2", "text": "bad"}, {"id": "3", "text": "good"}]'::jsonb,
	'r', continue_on_error => true);
SELECT count(*) FROM jflow_post('/context', '[]'::jsonb, 'r');
-- what was called is counted
SELECT endpoint, batches > 0 AS called, batches_failed > 0 AS failed, batch_docs >= 1 AS mean
	FROM jflow_stat_endpoints WHERE flow = 'r' ORDER BY endpoint COLLATE "C";
SELECT batch_docs >= 1 AS mean FROM jflow_status WHERE flow = 'r';
SELECT name, labels->>'outcome' AS outcome, value > 0 AS counted FROM jflow_metrics
	WHERE name LIKE 'jflow_batch%' AND labels @> '{"flow": "r", "endpoint": "/context"}' ORDER BY name COLLATE "C", 2;
SELECT jflow_stop('r');
SELECT jflow_drop('r');
RESET ROLE;
DROP OWNED BY jflow_batcher CASCADE;
DROP ROLE jflow_batcher;
