-- Is the inner product of BM25Vectorizer's vectors the score that its formula says, whatever the texts, and are wrong uses refused?
SET client_min_messages = warning;
SET extra_float_digits = 0;
CREATE TABLE corpus (id int PRIMARY KEY, text text);
INSERT INTO corpus VALUES (1, 'The quick brown foxes jump; a fox jumped.'), (2, 'Dogs and foxes.'), (3, 'The lazy dog sleeps, and sleeps.'), (4, ''), (5, NULL);
SELECT jflow_create('t');
SELECT jflow_add('t', 'v', uses => 'BM25Vectorizer', uses_with => '{"text_search": "english", "dim": 1000}', replicas => 0);
SELECT uses_with FROM jflow_executors;
SELECT text FROM jflow_post('/x', ARRAY['a fox'], 't');
SELECT * FROM jflow_fit('t', 'v', 'SELECT text FROM corpus ORDER BY id');
SELECT index, term, round(idf::numeric, 6) AS idf FROM jflow_terms('t', 'v');
-- a document's weights, a query's, and what the parameter says
SELECT id, sparse_embedding FROM jflow_post('/index', (SELECT array_agg(jflow_doc(id => id::text, text => text) ORDER BY id) FROM corpus), 't');
SELECT sparse_embedding FROM jflow_post('/search', ARRAY['foxes and a fox', 'unknown words', ''], 't');
SELECT e, a, sparse_embedding FROM unnest(ARRAY['/index', '/update', '/search', '/other']) e, unnest(ARRAY['document', 'query', NULL]) a,
	LATERAL jflow_post(e, ARRAY['dog dog'], 't', jsonb_build_object('as', a)) ORDER BY e, a;
SELECT jflow_post('/x', ARRAY['dog'], 't', '{"as": "queries"}');
-- the model over requests is the one of the query
CREATE TABLE kept AS SELECT model FROM jflow.model;
SELECT jflow_remove('t', 'v');
SELECT jflow_add('t', 'v', uses => 'BM25Vectorizer', uses_with => '{"text_search": "english", "dim": 1000}', replicas => 0);
SELECT docs, requests FROM jflow_post_query('/fit', 'SELECT id, text FROM corpus ORDER BY id', 't', request_size => 2);
SELECT m.model = k.model AS same, docs, terms FROM jflow.model m, kept k;

-- a fit that adds: the statistics are those of all, and terms keep their numbers
SELECT * FROM jflow_fit('t', 'v', $$SELECT 'aardvarks and foxes'$$, incremental => true);
SELECT index, term, round(idf::numeric, 6) AS idf FROM jflow_terms('t', 'v');
SELECT id, tags - 'fitted' - 'outdated_before' AS tags, tags->'fitted' = tags->'outdated_before' AS says_so FROM jflow_post('/status', NULL::text[], 't');
SELECT docs FROM jflow_post_query('/fit', $$SELECT 'zebra' AS text$$, 't', parameters => '{"incremental": true}');
SELECT docs, terms FROM jflow.model;
-- one that begins anew keeps the numbers, too
SELECT * FROM jflow_fit('t', 'v', $$SELECT unnest(ARRAY['a badger', 'dogs', 'a badger and a fox'])$$);
SELECT index, term, round(idf::numeric, 6) AS idf FROM jflow_terms('t', 'v');
SELECT docs FROM jflow_post_query('/fit', $$SELECT 'zebra' AS text$$, 't', parameters => '{"incremental": 1}');
SELECT jflow_add('t', 'cut', uses => 'BM25Vectorizer', uses_with => '{"max_features": 2}', replicas => 0);
SELECT jflow_fit('t', 'cut', 'SELECT text FROM corpus', incremental => true);
SELECT * FROM jflow_fit('t', 'cut', 'SELECT text FROM corpus');
SELECT * FROM jflow_fit('t', 'cut', $$SELECT 'new words words'$$);
SELECT term FROM jflow_terms('t', 'cut');
SELECT jflow_add('t', 'tfidf', uses => 'TfidfVectorizer', uses_with => '{"text_search": "german", "norm": null, "use_idf": false}', replicas => 0);
SELECT jflow_fit('t', 'tfidf', 'SELECT text FROM corpus', incremental => true);
SELECT * FROM jflow_fit('t', 'tfidf', $$SELECT 'Häuser und ein Haus'$$);
SELECT sparse_embedding FROM jflow_post('/x', ARRAY['Haus Häusern'], 't', target_executor => 'tfidf');
SELECT id FROM jflow_post('/status', '[{"id": "passes"}]'::jsonb, 't', target_executor => 'v|cut');

-- Scores against the formula, over random texts.
CREATE FUNCTION random_text(words int) RETURNS text LANGUAGE sql VOLATILE AS $$
	SELECT coalesce(string_agg(w, CASE WHEN random() < 0.1 THEN '. ' ELSE ' ' END), '')
	FROM (SELECT (ARRAY['house','houses','running','ran','the','and','tree','trees','gründe','Grund','laufen','läuft','cat','cats','database','databases','index','rare','x1','naïve'])[1 + floor(20 * random() ^ 2)] w
		FROM generate_series(1, words)) s $$;
CREATE FUNCTION lexemes(config text, t text) RETURNS TABLE (term text, tf int) LANGUAGE plpgsql STABLE AS $$
BEGIN
	IF config IS NULL THEN
		RETURN QUERY SELECT lower(w), count(*)::int FROM regexp_split_to_table(t, '[ .]+') w WHERE char_length(w) > 1 GROUP BY 1;
	ELSE
		RETURN QUERY SELECT lexeme, cardinality(positions) FROM unnest(to_tsvector(config::regconfig, t));
	END IF;
END $$;
CREATE FUNCTION worst(config text, k1 float8, b float8, docs int) RETURNS TABLE (pairs int8, scored bool, error float8) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
	DROP TABLE IF EXISTS d, q, dv, qv;
	PERFORM jflow_drop('p', if_exists => true);
	PERFORM jflow_create('p');
	PERFORM jflow_add('p', 'v', uses => 'BM25Vectorizer', replicas => 0, uses_with => jsonb_strip_nulls(jsonb_build_object('text_search', config, 'k1', k1, 'b', b)));
	CREATE TEMP TABLE d AS SELECT i AS id, CASE WHEN random() < 0.05 THEN NULL ELSE random_text(floor(30 * random())::int) END AS text FROM generate_series(1, docs) i;
	CREATE TEMP TABLE q AS SELECT i AS id, random_text(floor(6 * random())::int) || ' unknownword' AS text FROM generate_series(1, 30) i;
	PERFORM jflow_fit('p', 'v', 'SELECT text FROM d');
	CREATE TEMP TABLE dv AS SELECT id::int, text, coalesce(sparse_embedding, '{}/1000000000') AS v FROM jflow_post('/index', (SELECT array_agg(jflow_doc(id => id::text, text => text)) FROM d), 'p');
	CREATE TEMP TABLE qv AS SELECT id::int, text, sparse_embedding AS v FROM jflow_post('/search', (SELECT array_agg(jflow_doc(id => id::text, text => text)) FROM q), 'p');
	RETURN QUERY
	WITH tf AS MATERIALIZED (SELECT d.id, l.term, l.tf::float8 FROM d, lexemes(config, d.text) l),
		len AS MATERIALIZED (SELECT d.id, coalesce(sum(tf.tf), 0) AS len FROM d LEFT JOIN tf USING (id) GROUP BY d.id),
		df AS MATERIALIZED (SELECT term, count(*)::float8 AS df FROM tf GROUP BY term),
		qt AS MATERIALIZED (SELECT q.id, l.term, l.tf::float8 FROM q, lexemes(config, q.text) l),
		expected AS (
			SELECT qt.id AS q, tf.id AS d, sum(qt.tf * ln(1 + (docs - df.df + 0.5) / (df.df + 0.5)) * tf.tf * (k1 + 1) /
				(tf.tf + k1 * (1 - b + b * len.len / (SELECT avg(len) FROM len)))) AS score
			FROM qt JOIN tf USING (term) JOIN df USING (term) JOIN len ON len.id = tf.id GROUP BY 1, 2)
	SELECT count(*), count(*) FILTER (WHERE score > 0) > 0, max(abs(coalesce(score, 0) + (dv.v <#> qv.v)) / greatest(coalesce(score, 0), 1))
	FROM qv CROSS JOIN dv LEFT JOIN expected e ON e.q = qv.id AND e.d = dv.id;
END $$;
SET jit = off;
SELECT setseed(0.17);
SELECT config, k1, b, pairs, scored, error < 1e-5 AS exact
	FROM (VALUES (NULL, 1.2, 0.75, 100), ('english', 1.2, 0.75, 100), ('german', 2, 0.3, 60), ('simple', 0, 1, 60), ('simple', 1000, 0, 50), ('english', 1.2, 1, 1)) c(config, k1, b, docs),
	LATERAL worst(config, k1, b, docs) ORDER BY 1, 2, 3;

-- huge texts, and what configurations make of them
SELECT jflow_create('o');
SELECT jflow_add('o', 'v', uses => 'BM25Vectorizer', uses_with => '{"text_search": "pg_catalog.simple", "vocabulary": ["w1", "w9"], "dim": 7}', replicas => 0);
SELECT * FROM jflow_fit('o', 'v', $$SELECT string_agg('w' || i % 20000, ' ') FROM generate_series(1, 200000) i$$);
SELECT sparse_embedding FROM jflow_post('/index', ARRAY[(SELECT string_agg('w' || i % 20000, ' ') FROM generate_series(1, 200000) i), repeat('w9', 100000), repeat('w9 ', 100000)], 'o');
SELECT jflow_add('o', 'grams', uses => 'BM25Vectorizer', uses_with => '{"text_search": "english", "ngram_range": [1, 2]}', replicas => 0);
SELECT * FROM jflow_fit('o', 'grams', $$SELECT 'running dogs run'$$);
SELECT term FROM jflow_terms('o', 'grams');
-- synonyms and a thesaurus, as the server's own searches know them
CREATE TEXT SEARCH DICTIONARY same (TEMPLATE = synonym, SYNONYMS = synonym_sample);
CREATE TEXT SEARCH DICTIONARY phrases (TEMPLATE = thesaurus, DICTFILE = thesaurus_sample, DICTIONARY = english_stem);
CREATE TEXT SEARCH CONFIGURATION known (COPY = english);
ALTER TEXT SEARCH CONFIGURATION known ALTER MAPPING FOR asciiword WITH same, phrases, english_stem;
CREATE TABLE said AS SELECT unnest(ARRAY['postgres and its indices', 'one two three', 'two', 'supernovae stars', 'booking many tickets', 'stars']) AS text;
SELECT jflow_add('o', 'known', uses => 'BM25Vectorizer', uses_with => '{"text_search": "known"}', replicas => 0);
SELECT * FROM jflow_fit('o', 'known', 'SELECT text FROM said');
SELECT array_agg(term ORDER BY term COLLATE "C") AS terms, array_agg(term ORDER BY term COLLATE "C") = (SELECT array_agg(lexeme ORDER BY lexeme COLLATE "C") FROM (SELECT DISTINCT lexeme FROM said, unnest(to_tsvector('known', text))) s) AS alike FROM jflow_terms('o', 'known');
SELECT jflow_remove('o', 'known');
DROP TEXT SEARCH CONFIGURATION known;
DROP TEXT SEARCH DICTIONARY same, phrases;
DROP TABLE said;
-- a configuration of one's own, renamed and dropped
CREATE SCHEMA other;
CREATE TEXT SEARCH CONFIGURATION other.mine (COPY = english);
SET search_path = other, public;
SELECT jflow_add('o', 'mine', uses => 'BM25Vectorizer', uses_with => '{"text_search": "mine"}', replicas => 0);
RESET search_path;
SELECT uses_with FROM jflow_executors WHERE name = 'mine';
SELECT * FROM jflow_fit('o', 'mine', $$SELECT 'dogs'$$);
DROP SCHEMA other CASCADE;
SELECT * FROM jflow_post('/x', ARRAY['dogs'], 'o', target_executor => 'mine');

-- wrong options
SELECT jflow_add('o', 'w', uses => 'BM25Vectorizer', uses_with => '{"text_search": "klingon"}');
SELECT jflow_add('o', 'w', uses => 'BM25Vectorizer', uses_with => '{"text_search": 1}');
SELECT jflow_add('o', 'w', uses => 'BM25Vectorizer', uses_with => '{"text_search": "english", "stop_words": "english"}');
SELECT jflow_add('o', 'w', uses => 'BM25Vectorizer', uses_with => '{"k1": -1}');
SELECT jflow_add('o', 'w', uses => 'BM25Vectorizer', uses_with => '{"b": 1.5}');
SELECT jflow_add('o', 'w', uses => 'BM25Vectorizer', uses_with => '{"norm": "l2"}');
SELECT jflow_add('o', 'w', uses => 'BM25Vectorizer', uses_with => '{"text_serch": "english"}');
SELECT jflow_add('o', 'small', uses => 'BM25Vectorizer', uses_with => '{"dim": 1}', replicas => 0);
SELECT * FROM jflow_fit('o', 'small', $$SELECT 'two words'$$);
SELECT * FROM jflow_post('/x', ARRAY['words'], 'o', target_executor => 'small');
SELECT jflow_fit('o', 'small', 'SELECT NULL::text WHERE false', incremental => NULL);
SELECT jflow_drop('o');
SELECT jflow_drop('p');
SELECT jflow_drop('t');
DROP TABLE corpus, kept;
DROP FUNCTION random_text, lexemes, worst;
