-- Do random operations do what they do to a plain table, and random filters
-- what they mean?
SET client_min_messages = warning;
SELECT setseed(0.42);
SELECT jflow_create('p');
SELECT jflow_add('p', 'store', uses => 'PQLiteIndexer', replicas => 0, shards => 2, workspace => 'jflow_data',
	uses_with => '{"dim": 2, "metric": "l2", "columns": {"i": "int4", "f": "float8", "g": "float4", "b": "bool", "s": "text", "d": "date", "n": "numeric"}}');
CREATE TABLE model (id text PRIMARY KEY, doc jflow_doc);

CREATE FUNCTION pick(VARIADIC a text[]) RETURNS text LANGUAGE sql VOLATILE AS 'SELECT a[1 + floor(random() * cardinality(a))::int]';
CREATE FUNCTION random_tags() RETURNS jsonb LANGUAGE sql VOLATILE AS $$
	SELECT (pick('{}', '{"i": -3}', '{"i": 7}', '{"i": 8, "x": 1}', '{"i": null}')::jsonb ||
		pick('{}', '{"f": 0.1}', '{"f": -2.5e10}', '{"f": 8}')::jsonb || pick('{}', '{"g": 0.1}', '{"g": 3}')::jsonb ||
		pick('{}', '{"b": true}', '{"b": false}')::jsonb || pick('{}', '{"s": ""}', '{"s": "Ab"}', '{"s": "ab''c\\"}', '{"s": "é"}')::jsonb ||
		pick('{}', '{"d": "2024-01-31"}', '{"d": "2023-12-01"}')::jsonb || pick('{}', '{"n": 0.10}', '{"n": 1e30}')::jsonb ||
		pick('{}', '{"x": "1"}', '{"x": null}', '{"x": {"y": 5}}', '{"x": {"y": "five", "z": [1]}}', '{"x": [1, 2]}', '{"x": true}', '{"x": 2.50}')::jsonb) $$;
CREATE FUNCTION random_doc(id text) RETURNS jflow_doc LANGUAGE sql VOLATILE AS $$
	SELECT jflow_doc(id => id, text => pick(NULL, 'apple', 'Banana', ''), uri => pick(NULL, 'u'), weight => pick(NULL, '0.1', '2')::float4,
		granularity => pick(NULL, '0', '3')::int2, tags => random_tags(),
		embedding => format('[%s,%s]', floor(random() * 8), floor(random() * 8))::vector) $$;
CREATE FUNCTION random_filter(depth int) RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
BEGIN
	IF depth > 0 AND random() < 0.6 THEN
		RETURN CASE pick('and', 'or', 'not', 'two')
			WHEN 'and' THEN jsonb_build_object('$and', jsonb_build_array(random_filter(depth - 1), random_filter(depth - 1)))
			WHEN 'or' THEN jsonb_build_object('$or', jsonb_build_array(random_filter(depth - 1), random_filter(depth - 1), random_filter(depth - 1)))
			WHEN 'not' THEN jsonb_build_object('$not', random_filter(depth - 1))
			ELSE random_filter(depth - 1) || random_filter(0) END;
	END IF;
	RETURN jsonb_build_object(
		CASE pick('c', 'c', 't', 'a') WHEN 'c' THEN pick('i', 'f', 'g', 'b', 's', 'n', 'tags.i')
			WHEN 't' THEN pick('x', 'x.y', 'tags__x__z', 'x.y.z', 'none', 'tags')
			ELSE pick('id', 'text', 'uri', 'weight', 'granularity', 'mime_type') END,
		CASE pick('eq', 'ne', 'cmp', 'cmp', 'in', 'nin', 'exists', 'regex', 'bare', 'not')
			WHEN 'eq' THEN jsonb_build_object('$eq', random_scalar())
			WHEN 'ne' THEN jsonb_build_object('$ne', random_scalar())
			WHEN 'cmp' THEN jsonb_build_object(pick('$gt', '$gte', '$lt', '$lte'), random_ordered())
			WHEN 'in' THEN jsonb_build_object('$in', jsonb_build_array(random_scalar(), random_scalar(), random_scalar()))
			WHEN 'nin' THEN jsonb_build_object('$nin', jsonb_build_array(random_scalar(), random_scalar()))
			WHEN 'exists' THEN jsonb_build_object('$exists', random() < 0.5)
			WHEN 'regex' THEN jsonb_build_object('$regex', pick('^a', 'b', '(?i)B', '', 'é'))
			WHEN 'not' THEN jsonb_build_object('$not', jsonb_build_object('$gt', random_ordered()))
			ELSE random_scalar() END);
END $$;
CREATE FUNCTION random_ordered() RETURNS jsonb LANGUAGE sql VOLATILE AS $$
	SELECT pick('7', '7.5', '-3', '0.1', '0.10000000000000001', '0.1000000001', '1e400', '-1e30', '99999999999', '2.5', '5', '"Ab"', '"ab"', '"five"', '""', '"1"', '"apple"', '"3"')::jsonb $$;
CREATE FUNCTION random_scalar() RETURNS jsonb LANGUAGE sql VOLATILE AS $$
	SELECT CASE WHEN random() < 0.2 THEN pick('true', 'false', 'null')::jsonb ELSE random_ordered() END $$;

DO $$
DECLARE
	ids text[];
	batch jflow_doc[];
	filter jsonb;
	query vector;
	k int;
	want text[];
	got text[];
BEGIN
	FOR step IN 1..400 LOOP
		ids := ARRAY(SELECT 'id' || floor(random() * 60)::int FROM generate_series(1, 1 + floor(random() * 6)::int));
		CASE pick('index', 'index', 'update', 'delete', 'filter', 'filter', 'filter', 'search', 'fetch', 'rare')
		WHEN 'index' THEN
			batch := ARRAY(SELECT random_doc(i) FROM unnest(ids) i);
			PERFORM jflow_post('/index', batch, 'p', request_size => 2);
			FOR i IN 1..cardinality(batch) LOOP
				INSERT INTO model VALUES ((batch[i]).id, batch[i]) ON CONFLICT (id) DO UPDATE SET doc = excluded.doc;
			END LOOP;
		WHEN 'update' THEN
			batch := ARRAY(SELECT jflow_doc(id => i, text => pick(NULL, 'changed'), tags => CASE WHEN random() < 0.5 THEN random_tags() END) FROM unnest(ids) i);
			PERFORM jflow_post('/update', batch, 'p');
			FOR i IN 1..cardinality(batch) LOOP
				UPDATE model SET doc.text = coalesce((batch[i]).text, (doc).text), doc.tags = coalesce((doc).tags || (batch[i]).tags, (batch[i]).tags, (doc).tags)
				WHERE id = (batch[i]).id;
			END LOOP;
		WHEN 'delete' THEN
			got := ARRAY(SELECT id FROM jflow_post('/delete', ARRAY(SELECT jflow_doc(id => i) FROM unnest(ids) i), 'p') ORDER BY id COLLATE "C");
			want := ARRAY(SELECT i FROM unnest(ids) i JOIN model ON id = i ORDER BY i COLLATE "C");
			DELETE FROM model WHERE id = ANY (ids);
			IF got IS DISTINCT FROM want THEN RAISE 'delete of % answered %, not %', ids, got, want; END IF;
		WHEN 'fetch' THEN
			got := ARRAY(SELECT d::text FROM jflow_post('/fetch', ARRAY(SELECT jflow_doc(id => i) FROM unnest(ids) i), 'p') d);
			want := ARRAY(SELECT doc::text FROM unnest(ids) WITH ORDINALITY u(i, n) JOIN model ON id = i ORDER BY n);
			IF got IS DISTINCT FROM want THEN RAISE 'fetch of % answered %, not %', ids, got, want; END IF;
		WHEN 'rare' THEN
			IF random() < 0.8 THEN
				PERFORM jflow_scale('p', 'store', shards => 1 + floor(random() * 5)::int);
			ELSIF random() < 0.2 THEN
				PERFORM jflow_post('/clear', NULL::jflow_doc[], 'p');
				DELETE FROM model;
			END IF;
		WHEN 'filter' THEN
			filter := random_filter(3);
			got := ARRAY(SELECT id FROM jflow_post('/filter', NULL::jflow_doc[], 'p', parameters => jsonb_build_object('filter', filter)));
			want := ARRAY(SELECT id FROM model WHERE jflow_matches_filter(doc, filter) ORDER BY id COLLATE "C");
			IF got IS DISTINCT FROM want THEN RAISE 'filter % answered %, not %', filter, got, want; END IF;
		WHEN 'search' THEN
			query := format('[%s,%s]', floor(random() * 8), floor(random() * 8))::vector;
			k := floor(random() * 20)::int;
			filter := CASE WHEN random() < 0.5 THEN '{}' ELSE random_filter(1) END;
			got := ARRAY(SELECT m.id FROM jflow_post('/search', ARRAY[jflow_doc(embedding => query)], 'p',
				parameters => jsonb_build_object('limit', k, 'filter', filter)) d, unnest(d.matches) m);
			want := ARRAY(SELECT id FROM model WHERE jflow_matches_filter(doc, filter) ORDER BY (doc).embedding <-> query, id COLLATE "C" LIMIT k);
			IF got IS DISTINCT FROM want THEN RAISE 'search of % with % answered %, not %', query, filter, got, want; END IF;
		END CASE;
		IF (SELECT count(*) FROM model) IS DISTINCT FROM (SELECT sum((tags->>'rows')::int) FROM jflow_post('/status', NULL::jflow_doc[], 'p'))
			AND to_regclass('jflow_data.p_store') IS NOT NULL THEN
			RAISE 'different numbers of rows';
		END IF;
	END LOOP;
END $$;

-- filters once more, on more rows of all kinds
SELECT jflow_post('/clear', NULL::jflow_doc[], 'p');
TRUNCATE model;
INSERT INTO model SELECT i, random_doc(i::text) FROM generate_series(1, 500) i;
SELECT docs FROM jflow_post_query('/index', 'SELECT (doc).* FROM model', 'p');
DO $$
DECLARE
	filter jsonb;
	want text;
	got text;
	matched int := 0;
BEGIN
	FOR step IN 1..1500 LOOP
		filter := random_filter(2);
		SELECT string_agg(id, ',' ORDER BY id COLLATE "C") INTO got FROM jflow_post('/filter', NULL::jflow_doc[], 'p', parameters => jsonb_build_object('filter', filter));
		SELECT string_agg(id, ',' ORDER BY id COLLATE "C") INTO want FROM model WHERE jflow_matches_filter(doc, filter);
		IF got IS DISTINCT FROM want THEN RAISE 'filter % answered %, not %', filter, got, want; END IF;
		matched := matched + (want IS NOT NULL)::int;
	END LOOP;
	IF matched < 500 THEN RAISE 'filters match too little: %', matched; END IF;
END $$;

-- nothing of a filter is SQL
SELECT id FROM jflow_post('/filter', NULL::jflow_doc[], 'p', parameters => '{"filter": {"x''; DROP TABLE model; --": {"$eq": "''; DROP TABLE model; --"}, "s": "$1\\''"}}');
SELECT count(*) FROM model;
SELECT jflow_drop('p', drop_data => true);
DROP TABLE model;
DROP FUNCTION pick, random_tags, random_doc, random_filter, random_ordered, random_scalar;
