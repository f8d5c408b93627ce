-- Do documents keep everything as JSON, and is wrong JSON refused?
SELECT (jflow_doc()).id IS NULL AS empty, jflow_doc() IS NOT DISTINCT FROM NULL::jflow_doc AS is_null;
SELECT jflow_doc(text => 'hello', tags => '{"lang": "en"}');
SELECT jflow_doc(text => 'hello', tags => '{"lang": "en"}')::jsonb;
SELECT jflow_doc()::jsonb;
WITH d AS (
	SELECT jflow_doc(id => 'ü"', text => E'a\nb', blob => '\x00ff', uri => 'u', mime_type => 'm', tags => '{"a": {"b": [1, null]}}',
		embedding => '[1,-0.1,3e38,1e-45]', sparse_embedding => '{1:0.5,3:-2}/5', parent_id => 'p', granularity => -3::int2,
		scores => '{"s": 0.1}', weight => 0.1, matches => ARRAY[
			('m', 0.1, 't', 'u', '{"k": 1}')::jflow_match, ('n', 1e300, NULL, NULL, NULL)::jflow_match]) AS doc)
SELECT doc::jsonb, (doc::jsonb)::jflow_doc = doc AS same FROM d;
SELECT ('m', 'NaN', NULL, NULL, NULL)::jflow_match::jsonb;
SELECT '{"id": "m", "score": 1.5}'::jsonb::jflow_match;
SELECT '{"id": 12345678901234567890, "parent_id": 1.50}'::jsonb::jflow_doc;
SELECT '{"id": null, "text": null}'::jsonb::jflow_doc;
SELECT array_length('[{"id": 1}, {"id": 2}]'::jsonb::jflow_doc[], 1), array_length('{"id": 1}'::jsonb::jflow_doc[], 1);

-- what to_jsonb() makes of a row: text forms of vectors and of bytea
CREATE TABLE doc_row (id int, text text, blob bytea, tags jsonb, embedding vector(3), sparse_embedding sparsevec(5), weight float4);
INSERT INTO doc_row VALUES (1, 'a', '\x00ff41', '{"k": 1}', '[1,-0.5,3e38]', '{2:1.5}/5', 0.25), (2, NULL, NULL, NULL, NULL, NULL, NULL);
SELECT unnest((SELECT jsonb_agg(to_jsonb(r) ORDER BY id) FROM doc_row r)::jflow_doc[]);
SELECT d = to_jsonb(d)::jflow_doc AS same FROM (SELECT jflow_doc(id => 'x', blob => '\x', embedding => '[1,2]', sparse_embedding => '{1:1}/2',
	matches => ARRAY[('m', 0.5, 't', 'u', '{"k": 1}')::jflow_match]) AS d) x;
SELECT to_jsonb('[1.5,2]'::halfvec) AS halfvec, (jsonb_build_object('embedding', '[1.5,2]'::halfvec)::jflow_doc).embedding;
DROP TABLE doc_row;

-- wrong
SELECT '[]'::jsonb::jflow_doc;
SELECT '1'::jsonb::jflow_doc;
SELECT '{"txt": 1}'::jsonb::jflow_doc;
SELECT '{"zzz": 1}'::jsonb::jflow_doc;
SELECT '[{"id": 1}, {"text": 7}]'::jsonb::jflow_doc[];
SELECT '[{"id": 1}, 7]'::jsonb::jflow_doc[];
SELECT '[{"id": 1}, {"id": true}]'::jsonb::jflow_doc[];
SELECT '{"tags": [1]}'::jsonb::jflow_doc;
SELECT '{"blob": "%%%"}'::jsonb::jflow_doc;
SELECT '{"blob": 1}'::jsonb::jflow_doc;
SELECT '{"embedding": [1, "x"]}'::jsonb::jflow_doc;
SELECT '{"embedding": []}'::jsonb::jflow_doc;
SELECT '{"embedding": [1e39]}'::jsonb::jflow_doc;
SELECT '{"embedding": "1,2"}'::jsonb::jflow_doc;
SELECT '[{"id": 1}, {"embedding": "[1,2"}]'::jsonb::jflow_doc[];
SELECT '[{"id": 1}, {"embedding": [1, 1e39]}]'::jsonb::jflow_doc[];
SELECT '{"blob": "\\x0g"}'::jsonb::jflow_doc;
SELECT jsonb_build_object('embedding', (SELECT array_agg(1) FROM generate_series(1, 16001)))::jflow_doc;
SELECT '{"sparse_embedding": [1]}'::jsonb::jflow_doc;
SELECT '{"sparse_embedding": "{0:1}/3"}'::jsonb::jflow_doc;
SELECT '{"granularity": 40000}'::jsonb::jflow_doc;
SELECT '{"granularity": "1"}'::jsonb::jflow_doc;
SELECT '{"weight": 1e39}'::jsonb::jflow_doc;
SELECT '{"matches": {}}'::jsonb::jflow_doc;
SELECT '{"matches": [1]}'::jsonb::jflow_doc;
SELECT '{"matches": [{"id": "a", "scor": 1}]}'::jsonb::jflow_doc;
SELECT '{"matches": [{"id": "a", "score": "1"}]}'::jsonb::jflow_doc;
