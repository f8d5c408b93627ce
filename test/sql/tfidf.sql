-- Are TF-IDF vectors scikit-learn's, and are wrong options refused?
SET client_min_messages = warning;
CREATE TABLE corpus (id int PRIMARY KEY, text text);
INSERT INTO corpus VALUES
	(1, 'The quick brown fox jumps over the lazy dog.'),
	(2, 'A fox is quick; the dog is not.'),
	(3, 'Größe und ΣΊΣΥΦΟΣ: straße İstanbul naïve_x 42 a I'),
	(4, ''), (5, NULL);
SELECT jflow_create('t');
SELECT jflow_add('t', 'v', uses => 'TfidfVectorizer', replicas => 0);
SELECT text FROM jflow_post('/x', ARRAY['a fox'], 't');
SELECT * FROM jflow_fit('t', 'v', 'SELECT text FROM corpus ORDER BY id');
SELECT index, term, round(idf::numeric, 6) AS idf FROM jflow_terms('t', 'v');
SELECT id, sparse_embedding, embedding FROM jflow_post('/x', (SELECT array_agg(jflow_doc(id => id::text, text => text) ORDER BY id) FROM corpus), 't');
SELECT sparse_embedding FROM jflow_post('/x', ARRAY['no known word'], 't');

-- a fit over requests is the same as one over the query
CREATE TABLE kept AS SELECT model FROM jflow.model;
SELECT docs, requests FROM jflow_post_query('/fit', 'SELECT id, text FROM corpus ORDER BY id', 't', request_size => 2);
SELECT m.model = k.model AS same, docs, terms FROM jflow.model m, kept k;
SELECT count(*) FROM jflow.model_part;

-- a fit that is rolled back leaves the old model
BEGIN;
SELECT * FROM jflow_fit('t', 'v', $$SELECT 'other words here'$$);
SELECT sparse_embedding FROM jflow_post('/x', ARRAY['other fox'], 't');
ROLLBACK;
SELECT sparse_embedding FROM jflow_post('/x', ARRAY['other fox'], 't');
BEGIN;
SAVEPOINT s;
SELECT * FROM jflow_fit('t', 'v', $$SELECT 'other words here'$$);
SELECT sparse_embedding FROM jflow_post('/x', ARRAY['other fox'], 't');
ROLLBACK TO s;
SELECT sparse_embedding FROM jflow_post('/x', ARRAY['other fox'], 't');
COMMIT;

-- options; expected values are those of scikit-learn 1.2.1
CREATE FUNCTION try(options jsonb, fit text, query text) RETURNS TABLE (sparse sparsevec, dense vector)
LANGUAGE plpgsql AS $$
BEGIN
	PERFORM jflow_drop('o', if_exists => true);
	PERFORM jflow_create('o');
	PERFORM jflow_add('o', 'v', uses => 'TfidfVectorizer', uses_with => options, replicas => 0);
	PERFORM jflow_fit('o', 'v', fit);
	RETURN QUERY SELECT sparse_embedding, embedding FROM jflow_post('/x', ARRAY[query], 'o');
END $$;
\set fit '''SELECT unnest(ARRAY[''''the cat sat'''', ''''the cat ran ran'''', ''''a dog ran''''])'''
SELECT * FROM try('{"dense": true}', :fit, 'the cat ran ran');
SELECT * FROM try('{"norm": "l1", "smooth_idf": false}', :fit, 'the cat ran ran');
SELECT * FROM try('{"smooth_idf": false, "vocabulary": ["cat", "ran", "bird"]}', :fit, 'the cat, a bird');
SELECT * FROM try('{"smooth_idf": false, "norm": null, "vocabulary": ["cat", "ran", "bird"]}', :fit, 'a bird');
SELECT * FROM try('{"norm": null, "sublinear_tf": true}', :fit, 'the cat ran ran');
SELECT * FROM try('{"use_idf": false, "binary": true, "norm": null}', :fit, 'the cat ran ran');
SELECT * FROM try('{"ngram_range": [1, 2], "stop_words": "english", "norm": null, "use_idf": false}', :fit, 'the cat ran ran');
SELECT * FROM try('{"stop_words": ["cat"], "norm": null, "use_idf": false}', :fit, 'the cat ran ran');
SELECT * FROM try('{"min_df": 2, "norm": null, "use_idf": false}', :fit, 'the cat ran ran');
SELECT * FROM try('{"max_df": 0.5, "norm": null, "use_idf": false}', :fit, 'dog sat ran');
SELECT * FROM try('{"max_features": 2, "norm": null, "use_idf": false}', :fit, 'the cat ran ran');
SELECT * FROM try('{"vocabulary": ["ran", "cat", "unseen"]}', :fit, 'the cat ran ran unseen');
SELECT * FROM try('{"vocabulary": {"ran": 1, "cat": 0}, "lowercase": false, "norm": null}', :fit, 'CAT cat ran');
SELECT * FROM try('{"min_df": 1.0, "max_df": 1}', :fit, 'x');
SELECT * FROM try('{"min_df": 3}', :fit, 'x');

-- a vocabulary per request, and one without a fit
SELECT jflow_add('t', 'seed', uses => 'TfidfVectorizer', uses_with => '{"fit": "request"}', replicas => 0);
SELECT sparse_embedding FROM jflow_post('/x', ARRAY['aa bb', 'bb cc', 'dd'], 't', target_executor => 'seed', request_size => 2);
SELECT jflow_add('t', 'given', uses => 'TfidfVectorizer', uses_with => '{"vocabulary": ["fox", "dog"], "use_idf": false}', replicas => 0);
SELECT sparse_embedding FROM jflow_post('/x', ARRAY['fox fox dog'], 't', target_executor => 'given');

-- wrong options
SELECT jflow_add('t', 'w', uses => 'TfidfVectorizer', uses_with => '{"max_featurs": 1}');
SELECT jflow_add('t', 'w', uses => 'TfidfVectorizer', uses_with => '{"lowercase": 1}');
SELECT jflow_add('t', 'w', uses => 'TfidfVectorizer', uses_with => '{"max_df": 1.5}');
SELECT jflow_add('t', 'w', uses => 'TfidfVectorizer', uses_with => '{"min_df": 0}');
SELECT jflow_add('t', 'w', uses => 'TfidfVectorizer', uses_with => '{"max_features": 0}');
SELECT jflow_add('t', 'w', uses => 'TfidfVectorizer', uses_with => '{"ngram_range": [2, 1]}');
SELECT jflow_add('t', 'w', uses => 'TfidfVectorizer', uses_with => '{"norm": "l3"}');
SELECT jflow_add('t', 'w', uses => 'TfidfVectorizer', uses_with => '{"stop_words": "german"}');
SELECT jflow_add('t', 'w', uses => 'TfidfVectorizer', uses_with => '{"token_pattern": "x"}');
SELECT jflow_add('t', 'w', uses => 'TfidfVectorizer', uses_with => '{"vocabulary": []}');
SELECT jflow_add('t', 'w', uses => 'TfidfVectorizer', uses_with => '{"vocabulary": ["a", "a"]}');
SELECT jflow_add('t', 'w', uses => 'TfidfVectorizer', uses_with => '{"vocabulary": {"a": 1, "b": 2}}');
SELECT jflow_add('t', 'w', uses => 'TfidfVectorizer', uses_with => '{"fit": "always"}');

-- limits, and fits that cannot be
SELECT count(*) FROM try('{"use_idf": false}', $$SELECT string_agg('w' || i, ' ') FROM generate_series(1, 16000) i$$, (SELECT string_agg('w' || i, ' ') FROM generate_series(1, 16000) i));
SELECT jflow_fit('o', 'v', $$SELECT string_agg('w' || i, ' ') FROM generate_series(1, 17000) i$$);
SELECT count(*) FROM jflow_post('/x', ARRAY[jflow_doc(id => 'big', text => (SELECT string_agg('w' || i, ' ') FROM generate_series(1, 17000) i))], 'o');
SELECT jflow_fit('o', 'v', 'SELECT NULL::text WHERE false');
SELECT jflow_fit('o', 'v', 'SELECT 1');
SELECT jflow_fit('o', 'v', $$SELECT 1 AS a, 'x' AS b$$);
SELECT jflow_fit('o', 'v', 'CREATE TABLE y()');
SELECT jflow_fit('o', 'x', 'SELECT text FROM corpus');
SELECT jflow_fit('none', 'x', 'SELECT text FROM corpus');
SELECT jflow_drop('o');
SELECT jflow_drop('t');
SELECT count(*) FROM jflow.model;
DROP TABLE corpus, kept;
DROP FUNCTION try;
