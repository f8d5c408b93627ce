-- Are documents of json those that jsonb has, and is what is wrong with them the same?
CREATE FUNCTION echo(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql AS 'SELECT docs';
SELECT jflow_create('scan');
SELECT jflow_add('scan', 'echo', uses => 'echo', replicas => 0);

-- what a post of it returns, or the error
CREATE FUNCTION posted(doc text, kind text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	IF kind = 'json' THEN
		SELECT string_agg(d::text, '|') INTO result FROM jflow_post('/x', doc::json, 'scan') d;
	ELSE
		SELECT string_agg(d::text, '|') INTO result FROM jflow_post('/x', doc::jsonb, 'scan') d;
	END IF;
	-- an id that was made up is another each time
	RETURN coalesce(regexp_replace(result, '\m[0-9a-f]{8}-[-0-9a-f]{27}\M', 'new', 'g'), 'none');
EXCEPTION WHEN others THEN
	RETURN SQLSTATE || ' ' || SQLERRM;
END $$;

CREATE TEMP TABLE scanned (n int GENERATED ALWAYS AS IDENTITY, doc text);
INSERT INTO scanned (doc) VALUES
	('[]'), (' [ ] '), ('[{}]'), ('{}'), ('{"id": "a"}'), ('[{"id": "a"}, {"id": "b"}]'), ('[{"id": "a"},]'), ('[,]'), ('[{"id": "a"}'),
	('[{"id": "a"}]]'), ('[{"id": "a"}] x'), ('null'), ('[null]'), ('[1]'), ('"a"'), (''), ('['), ('[{'), ('[{"'), ('[{"id'), ('[{"id"'), ('[{"id":'),
	('[{"id": 1}]'), ('[{"id": -1}]'), ('[{"id": 0}]'), ('[{"id": -0}]'), ('[{"id": 01}]'), ('[{"id": 1.0}]'), ('[{"id": 1.50}]'), ('[{"id": 1e2}]'),
	('[{"id": 123456789012345678901234567890}]'), ('[{"id": true}]'), ('[{"id": null}]'), ('[{"id": ""}]'), ('[{"id": [1]}]'), ('[{"id": -}]'),
	('[{"id": "a", "id": "b"}]'), ('[{"i\u0064": "a"}]'), ('[{"idd": "a"}]'), ('[{"id": "a" "text": "b"}]'), ('[{"id", "a"}]'), ('[{id: 1}]'),
	('[{"text": "a\"b\\c\/d\be\ff\ng\rh\ti"}]'), ('[{"text": "a\x"}]'), ('[{"text": "a\'), ('[{"text": "\u00e4\u6f22\ud83d\ude00"}]'), ('[{"text": "\u0000"}]'),
	('[{"text": "\ud83d"}]'), ('[{"text": "\ude00"}]'), ('[{"text": "\ud83dx"}]'), ('[{"text": "\ud83d\u0041"}]'), ('[{"text": "\u00g0"}]'), ('[{"text": "\u12"}]'),
	(E'[{"text": "a\nb"}]'), (E'[{"text": "a\tb"}]'), (E'[{"text": "01234567\n"}]'), (E'[{"text": "ä漢😀 of many bytes\x7f"}]'), ('[{"text": 1}]'), ('[{"text": {}}]'),
	('[{"uri": "u", "mime_type": "m", "parent_id": 7, "text": "t"}]'), ('[{"tags": {}}]'), ('[{"tags": {"a": [1, {"b": "}]\"{"}], "c": null}}]'),
	('[{"tags": []}]'), ('[{"tags": "x"}]'), ('[{"tags": {"a": 1, "a": 2}}]'), ('[{"tags": {"a": [1}]}]'), ('[{"tags": {"a": "\u0000"}}]'), ('[{"tags": {"a": 1}, "text": "b"}]'),
	('[{"tags": {a: 1}}]'), ('[{"tags": {"a": "b\'), ('[{"tags": {"a": "b\\"}}]'),
	('[{"embedding": [1, -2.5, 3e2, 0.1, 1E-3]}]'), ('[{"embedding": []}]'), ('[{"embedding": [1,]}]'), ('[{"embedding": [01]}]'), ('[{"embedding": [.5]}]'), ('[{"embedding": [1.]}]'),
	('[{"embedding": [+1]}]'), ('[{"embedding": [1e]}]'), ('[{"embedding": [1e40]}]'), ('[{"embedding": [-1e40]}]'), ('[{"embedding": [1e-50]}]'), ('[{"embedding": [1e-40]}]'),
	('[{"embedding": [0e999999]}]'), ('[{"embedding": [NaN]}]'), ('[{"embedding": [Infinity]}]'), ('[{"embedding": [0x10]}]'), ('[{"embedding": ["1"]}]'), ('[{"embedding": [null]}]'),
	('[{"embedding": [[1]]}]'), ('[{"embedding": "[1,2]"}]'), ('[{"embedding": [1'), ('[{"embedding": [16777217, 0.30000001192092896, 3.4028235e38, 1.17549435e-38]}]'),
	('[{"embedding": [1,2]}, {"embedding": [1,x]}]'), ('[{"weight": 0.5, "granularity": 2, "scores": {"a": 1}, "blob": "YWJj"}]'), ('[{"sparse_embedding": "{1:2}/3"}]'),
	('[{"matches": [{"id": "m", "score": 1}]}]'), ('[{"id": "a"}, {"id": "b", "weight": 1}]'), ('[{"id": "a"}, {"id": "b", "wight": 1}]'), ('[{"id": "a"}, 1]');
INSERT INTO scanned (doc) SELECT format('[{"embedding": [%s]}]', (SELECT string_agg('1', ',') FROM generate_series(1, n))) FROM unnest(ARRAY[16000, 16001]) n;
INSERT INTO scanned (doc) SELECT format('[%s]', (SELECT string_agg(format('{"id": %s, "text": "%s"}', i, repeat('x', i % 20)), ', ') FROM generate_series(1, 300) i));

SELECT n, left(doc, 60) AS doc, left(posted(doc, 'json'), 80) AS json, left(posted(doc, 'jsonb'), 80) AS jsonb
	FROM scanned WHERE posted(doc, 'json') <> posted(doc, 'jsonb') ORDER BY n;

-- and of texts with a byte that is another, is gone, or is there twice; where two
-- things are wrong, either may be told
SELECT setseed(0.5);
CREATE TEMP TABLE changed AS
	SELECT left(doc, at - 1) || CASE what WHEN 0 THEN '' WHEN 1 THEN repeat(substr(doc, at, 1), 2)
			ELSE substr(E'{}[]",:\\0919eE.-+ utn\t\n', 1 + (random() * 21)::int, 1) END || substr(doc, at + 1) AS doc
	FROM (SELECT doc, 1 + floor(random() * length(doc))::int AS at, floor(random() * 3)::int AS what FROM scanned, generate_series(1, 40) WHERE length(doc) < 1000) x;
SELECT doc, posted(doc, 'json') AS json, posted(doc, 'jsonb') AS jsonb FROM changed
	WHERE replace(posted(doc, 'json'), '22P05 unsupported Unicode escape sequence', '22P02 invalid input syntax for type json') <>
		replace(posted(doc, 'jsonb'), '22P05 unsupported Unicode escape sequence', '22P02 invalid input syntax for type json');
SELECT count(*) > 1000 AS many, count(*) FILTER (WHERE posted(doc, 'json') ~ '^[0-9A-Z]{5} ') BETWEEN 200 AND count(*) - 200 AS both_kinds FROM changed;

DROP FUNCTION posted;
SELECT jflow_drop('scan');
DROP FUNCTION echo;
