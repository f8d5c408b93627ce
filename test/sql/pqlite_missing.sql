-- What becomes of documents without an embedding, and of those with a zero vector?
SET client_min_messages = warning;
\set SHOW_CONTEXT never
CREATE SCHEMA missing;
CREATE TABLE missing.theirs (id text PRIMARY KEY, name text DEFAULT 'none', e vector(2));
CREATE FUNCTION missing.docs() RETURNS jflow_doc[] LANGUAGE sql RETURN ARRAY[
	jflow_doc(id => 'good', text => 'good', embedding => '[1,2]', tags => '{"n": 1}'),
	jflow_doc(id => 'null', text => 'null', tags => '{"n": 2}'),
	jflow_doc(id => 'zero', text => 'zero', embedding => '[0,0]', tags => '{"n": 3}'),
	jflow_doc(id => 'other', text => 'other', sparse_embedding => '{1:1}/2', tags => '{"n": 4}')];
CREATE PROCEDURE missing.try(metric text, on_missing text, their bool) LANGUAGE plpgsql AS $$
DECLARE p text; w jsonb := jsonb_build_object('metric', metric) || CASE WHEN on_missing IS NULL THEN '{}'::jsonb ELSE jsonb_build_object('on_missing', on_missing) END ||
	CASE WHEN their THEN '{"table": "missing.theirs", "id": "id", "field": "e", "text": "name"}'::jsonb ELSE '{}' END;
BEGIN
	PERFORM jflow_create('m'), jflow_add('m', 'm', uses => 'PQLiteIndexer', replicas => 0, workspace => 'missing', uses_with => w);
	FOR p IN SELECT id FROM unnest(missing.docs()) LOOP
		BEGIN
			PERFORM jflow_post('/index', (SELECT array_agg(jflow_doc(id => id, text => text, embedding => embedding, sparse_embedding => sparse_embedding)) FROM unnest(missing.docs()) WHERE id = p), 'm');
		EXCEPTION WHEN OTHERS THEN RAISE WARNING '% % %: % %', metric, on_missing, p, SQLSTATE, SQLERRM;
		END;
	END LOOP;
	RAISE WARNING '% % %: fetched %, filtered %, searched %, searched without %, answered %', metric, on_missing, CASE WHEN their THEN 'theirs' ELSE 'own' END,
		(SELECT string_agg(id, ' ') FROM jflow_post('/fetch', missing.docs(), 'm')),
		(SELECT string_agg(id || coalesce(embedding::text, '-'), ' ') FROM jflow_post('/filter', NULL::jflow_doc[], 'm')),
		(SELECT string_agg(x.id, ' ') FROM jflow_post('/search', ARRAY[jflow_doc(embedding => '[1,1]')], 'm') d, unnest(d.matches) x),
		CASE WHEN on_missing <> 'error' THEN (SELECT sum(cardinality(matches)) FROM jflow_post('/search', ARRAY[jflow_doc(text => 'x')], 'm')) END,
		(SELECT count(*) FROM jflow_post('/update', missing.docs(), 'm', '{"writes": "embedding"}', continue_on_error => true, request_size => 1));
	DELETE FROM missing.theirs;
	PERFORM jflow_drop('m', drop_data => true);
END $$;
CALL missing.try('cosine', NULL, false);
CALL missing.try('cosine', 'error', true);
CALL missing.try('cosine', 'skip', false);
CALL missing.try('cosine', 'skip', true);
CALL missing.try('cosine', 'store', false);
CALL missing.try('cosine', 'store', true);
CALL missing.try('l2', 'error', false);
CALL missing.try('l2', 'skip', false);
CALL missing.try('l2', 'store', false);
CALL missing.try('ip', 'store', true);

-- a text without a known word costs itself
SELECT jflow_create('words');
SELECT jflow_add('words', 'v', uses => 'TfidfVectorizer', uses_with => '{"vocabulary": ["cat", "dog"], "use_idf": false}', replicas => 0);
SELECT jflow_add('words', 's', uses => 'PQLiteIndexer', uses_with => '{"on_missing": "skip"}', workspace => 'missing', replicas => 0);
SELECT docs, failed FROM jflow_post_query('/index', $$SELECT i::text AS id, CASE WHEN i % 50 = 0 THEN '???' WHEN i % 50 = 1 THEN NULL ELSE 'cat' END AS text FROM generate_series(1, 200) i$$, 'words');
SELECT count(*) FROM missing.words_s;
SELECT count(*) FROM jflow_search('dog cat', 5, 'words');
SELECT count(*) FROM jflow_search('???', 5, 'words');
-- the id of one that is skipped keeps what it had
SELECT count(*) FROM jflow_post('/index', ARRAY[jflow_doc(id => '2', text => '???')], 'words');
SELECT text FROM missing.words_s WHERE id = '2';
SELECT jflow_drop('words', drop_data => true);

-- nothing that can be stored makes no store
SELECT jflow_create('none');
SELECT jflow_add('none', 's', uses => 'PQLiteIndexer', uses_with => '{"on_missing": "skip"}', workspace => 'missing', replicas => 0);
SELECT id FROM jflow_post('/index', ARRAY[jflow_doc(id => 'a', text => 'a')], 'none');
SELECT to_regclass('missing.none_s');
SELECT cardinality(matches) FROM jflow_post('/search', ARRAY[jflow_doc(embedding => '[1,1]')], 'none');
SELECT jflow_remove('none', 's');
SELECT jflow_add('none', 's', uses => 'PQLiteIndexer', uses_with => '{"on_missing": "store"}', workspace => 'missing', replicas => 0);
SELECT jflow_post('/index', ARRAY[jflow_doc(id => 'a', text => 'a')], 'none');
SELECT jflow_post('/index', ARRAY[jflow_doc(id => 'a', text => 'a'), jflow_doc(id => 'b', embedding => '[1,2,3]')], 'none');
SELECT jflow_post('/index', ARRAY[jflow_doc(id => 'c', embedding => '[1,2]')], 'none');
\d missing.none_s
-- a table that was made without room for them
SELECT jflow_drop('none', drop_data => true);
SELECT jflow_create('none');
SELECT jflow_add('none', 's', uses => 'PQLiteIndexer', uses_with => '{"dim": 2}', workspace => 'missing', replicas => 0);
SELECT id FROM jflow_post('/index', ARRAY[jflow_doc(id => 'a', embedding => '[1,2]')], 'none');
SELECT jflow_drop('none');
SELECT jflow_create('none');
SELECT jflow_add('none', 's', uses => 'PQLiteIndexer', uses_with => '{"on_missing": "store"}', workspace => 'missing', replicas => 0);
SELECT jflow_post('/index', ARRAY[jflow_doc(id => 'b')], 'none');
SELECT jflow_post('/index', ARRAY[jflow_doc(id => 'b', embedding => '[1,1]')], 'none');
SELECT jflow_post('/index', ARRAY[jflow_doc(id => 'c')], 'none');
ALTER TABLE missing.none_s ALTER embedding DROP NOT NULL;
SELECT id FROM jflow_post('/index', ARRAY[jflow_doc(id => 'c')], 'none');
SELECT id, embedding FROM missing.none_s ORDER BY id;
SELECT jflow_drop('none', drop_data => true);
SELECT jflow_create('none');
SELECT jflow_add('none', 's', uses => 'PQLiteIndexer', uses_with => '{"on_missing": "ignore"}');

-- many of them, in several shards and with indexes
SELECT jflow_add('none', 's', uses => 'PQLiteIndexer', uses_with => '{"on_missing": "store", "limit": 3}', workspace => 'missing', replicas => 0, shards => 2, polling => '{"/index": "hash"}');
SELECT docs FROM jflow_post_query('/index', $$SELECT i::text AS id, 'text' AS text, CASE WHEN i % 10 > 1 THEN ARRAY[i % 100, 50]::vector WHEN i % 10 = 1 THEN '[0,0]' END AS embedding FROM generate_series(1, 12000) i$$, 'none');
SELECT sum((tags->>'rows')::int) AS rows, min(tags->>'indexed') AS indexed FROM jflow_post('/status', NULL::jflow_doc[], 'none');
SELECT m.score::numeric(4,3) FROM jflow_post('/search', ARRAY[jflow_doc(embedding => '[50,50]')], 'none') d, unnest(d.matches) m;
SELECT count(*), bool_and((m.id::int) % 10 > 1) FROM jflow_post('/search', ARRAY[jflow_doc(embedding => '[50,50]')], 'none', '{"limit": 12000}') d, unnest(d.matches) m;
SELECT count(*) FROM jflow_post('/filter', NULL::jflow_doc[], 'none', '{"filter": {"text": "text"}}');
SELECT jflow_scale('none', 's', shards => 1);
SELECT count(*), count(DISTINCT id), count(embedding) FROM missing.none_s;
SELECT jflow_drop('none', drop_data => true);
DROP SCHEMA missing CASCADE;
