-- Does a text become chunks that are pieces of it and leave out no word, and do
-- those of a document that is indexed again replace the ones before?
SET client_min_messages = warning;

-- options
SELECT jflow_create('split');
DO $$
DECLARE
	o text;
	h text;
BEGIN
	FOREACH o IN ARRAY ARRAY['{"size": 0}', '{"size": "x"}', '{"overlap": -1}', '{"size": 10, "overlap": 6}', '{"unit": "lines"}',
		'{"separators": "x"}', '{"separators": [""]}', '{"separators": [1]}', '{"sice": 1}'] LOOP
		BEGIN
			PERFORM jflow_add('split', 'e', uses => 'TextSplitter', uses_with => o::jsonb);
			RAISE WARNING '% was taken', o;
		EXCEPTION WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS h = PG_EXCEPTION_HINT;
			RAISE WARNING '%: % % %', o, SQLSTATE, SQLERRM, h;
		END;
	END LOOP;
END $$;

-- what a chunk is
SELECT jflow_add('split', 'e', uses => 'TextSplitter', uses_with => '{"size": 20, "overlap": 6}', replicas => 0);
SELECT id, parent_id, granularity, text, uri, weight, tags, embedding FROM jflow_post('/index',
	'[{"id": "d", "text": "One sentence. Another one, longer.\n\nA paragraph.", "uri": "u", "weight": 2, "tags": {"lang": "en"}, "embedding": [1,2]},
	  {"id": "short", "text": "word"}, {"id": "empty", "text": " \n "}, {"id": "none", "tags": {"a": 1}}]'::jsonb, 'split');
SELECT id, text FROM jflow_post('/search', '[{"id": "q", "text": "a question that is longer than a chunk can be"}]'::jsonb, 'split');

-- every chunk is where it says, no longer than it may be, and all words are there
CREATE FUNCTION split_check(options jsonb, input text) RETURNS TABLE (chunks bigint, wrong bigint, long bigint, lost text) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM jflow_create('check');
	PERFORM jflow_add('check', 'e', uses => 'TextSplitter', uses_with => options, replicas => 0);
	RETURN QUERY
	WITH c AS (SELECT d.text AS t, (tags->>'offset')::int AS o, (tags->>'length')::int AS l, tags->>'chunks' AS n
		FROM jflow_post('/x', ARRAY[jflow_doc(id => 'p', text => input)], 'check') d)
	SELECT count(*), count(*) FILTER (WHERE t <> substr(input, o + 1, l) OR length(t) <> l OR t <> btrim(t, E' \n\t') OR t = '' OR n::int <> (SELECT count(*) FROM c)),
		count(*) FILTER (WHERE CASE options->>'unit' WHEN 'words' THEN cardinality(regexp_split_to_array(t, '\s+')) ELSE l END > coalesce((options->>'size')::int, 800)),
		(SELECT string_agg(substr(input, i, 1), '' ORDER BY i) FROM generate_series(1, length(input)) i
			WHERE substr(input, i, 1) !~ '\s' AND NOT EXISTS (SELECT FROM c WHERE i BETWEEN o + 1 AND o + l))
	FROM c;
	PERFORM jflow_drop('check');
END $$;
SELECT o, t.n, s.* FROM (VALUES ('{}'), ('{"size": 1, "overlap": 0}'), ('{"size": 2, "overlap": 1}'), ('{"size": 30}'), ('{"size": 30, "overlap": 15}'),
		('{"size": 5, "unit": "words"}'), ('{"size": 4, "overlap": 2, "unit": "words"}'), ('{"size": 40, "separators": []}'), ('{"size": 40, "separators": ["ü", ","]}')) AS x(o),
	(VALUES ('words', (SELECT string_agg('wörd' || i || CASE WHEN i % 7 = 0 THEN E'.\n\n' WHEN i % 3 = 0 THEN ', ' ELSE '  ' END, '' ORDER BY i) FROM generate_series(1, 60) i)),
		('one', repeat('äbcdefghij', 30)), ('spaces', 'a' || repeat(' ', 200) || 'b')) AS t(n, input),
	LATERAL split_check(o::jsonb, t.input) s;
DROP FUNCTION split_check;

-- chunks in a store, of one leaf and of three
CREATE FUNCTION split_dense(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1..cardinality(docs) LOOP
		docs[i].embedding := CASE WHEN docs[i].text ~ '\w' THEN ARRAY[1, length(docs[i].text)]::vector END;
	END LOOP;
	RETURN docs;
END $$;
CREATE PROCEDURE split_store(shards int) LANGUAGE plpgsql AS $$
DECLARE
	step record;
	stored text;
BEGIN
	PERFORM jflow_create('st');
	PERFORM jflow_add('st', 'split', uses => 'TextSplitter', uses_with => '{"size": 10, "overlap": 0}', replicas => 0);
	PERFORM jflow_add('st', 'enc', uses => 'split_dense', replicas => 0);
	PERFORM jflow_add('st', 'store', uses => 'PQLiteIndexer', uses_with => '{"dim": 2, "on_missing": "skip"}', shards => shards,
		polling => '{"/index": "hash"}', replicas => 0, workspace => 'split_data');
	FOR step IN SELECT * FROM (VALUES (1, '/index', 'p', repeat('word ', 100)), (2, '/index', 'q', 'other words are here'), (3, '/index', 'p', repeat('text ', 8)),
		(4, '/index', 'p', repeat('more ', 12)), (5, '/index', 'p', 'few'), (6, '/index', 'p', NULL), (7, '/index', 'p', repeat('word ', 90)),
		(8, '/delete', 'p', NULL), (9, '/delete', 'nothing', NULL), (10, '/delete', 'q#1', NULL)) AS x(n, endpoint, id, text) ORDER BY n LOOP
		PERFORM count(*) FROM jflow_post(step.endpoint, ARRAY[jflow_doc(id => step.id, text => step.text)], 'st');
		EXECUTE 'SELECT string_agg(x, '', '' ORDER BY x) FROM (SELECT parent_id || '' '' || count(*) || '' '' || min(left(text, 4)) AS x FROM split_data.st_store GROUP BY parent_id) x' INTO stored;
		RAISE WARNING '% % %: %', step.endpoint, step.id, length(step.text), stored;
	END LOOP;
	-- the best chunk of each document
	PERFORM count(*) FROM jflow_post('/index', ARRAY[jflow_doc(id => 'p', text => repeat('word ', 90))], 'st');
	EXECUTE $q$SELECT string_agg(split_part(m.id, '#', 1), ' ' ORDER BY split_part(m.id, '#', 1))
		FROM jflow_search('word', 5, 'st', parameters => '{"group_by": "parent_id"}') m$q$ INTO stored;
	RAISE WARNING 'grouped: %', stored;
	PERFORM count(*) FROM jflow_post('/delete', ARRAY[jflow_doc(id => 'p')], 'st');
	-- who has chunks of his own, of other names, keeps them
	PERFORM count(*) FROM jflow_post('/index', '[{"id": "a1", "parent_id": "a", "text": "one"}, {"id": "a#7", "parent_id": "b", "text": "two"}]'::jsonb, 'st', target_executor => 'enc|store');
	PERFORM count(*) FROM jflow_post('/index', '[{"id": "a", "text": "new"}]'::jsonb, 'st');
	EXECUTE 'SELECT string_agg(id, '' '' ORDER BY id) FROM split_data.st_store' INTO stored;
	RAISE WARNING '%', stored;
	PERFORM jflow_drop('st', drop_data => true);
END $$;
CREATE SCHEMA split_data;
CALL split_store(1);
CALL split_store(3);
DROP PROCEDURE split_store;
DROP FUNCTION split_dense;
DROP SCHEMA split_data CASCADE;
SELECT jflow_drop('split');

-- chunks that would be too large together, and separators that take long to look for
SELECT jflow_create('large');
SELECT jflow_add('large', 's', uses => 'TextSplitter', uses_with => '{"size": 1, "overlap": 0}', replicas => 0);
SELECT count(*) FROM jflow_post('/index', ARRAY[jflow_doc(id => 'a', text => repeat('x ', 100000), tags => jsonb_build_object('t', repeat('y', 20000)))], 'large');
SELECT count(*) FROM jflow_post('/index', ARRAY[jflow_doc(id => 'a', text => repeat('x ', 1000), tags => jsonb_build_object('t', repeat('y', 20000)))], 'large');
SELECT jflow_add('large', 'w', uses => 'TextSplitter', uses_with => jsonb_build_object('unit', 'words', 'size', 4, 'overlap', 0,
	'separators', (SELECT jsonb_agg(repeat('z', 15000) || i) FROM generate_series(1, 60) i)), replicas => 0);
SELECT count(*) FROM jflow_post('/index', ARRAY[jflow_doc(id => 'a', text => 'b c ' || repeat('z', 5000000) || ' d e f g h')], 'large', target_executor => 'w', timeout => '1 s');
SELECT jflow_drop('large');
