-- Do filters find keys with dots and elements of lists, do dates mean the same to
-- everybody, and can matches be had page by page and up to a distance?
SET client_min_messages = warning;
\set SHOW_CONTEXT never
CREATE SCHEMA filters;
SELECT jflow_create('filters');
SELECT jflow_add('filters', 's', uses => 'PQLiteIndexer', replicas => 0, shards => 2, polling => '{"/index": "hash"}', workspace => 'filters',
	uses_with => '{"metric": "l2", "columns": {"d": "date", "ts": "timestamp", "tz": "timestamptz", "x.y": "int"}}');
SELECT count(*) FROM jflow_post('/index', (SELECT array_agg(jflow_doc(id => i::text, embedding => ARRAY[i]::vector, tags => jsonb_build_object('a.b', i, 'a', jsonb_build_object('b', -i),
	'owners', CASE WHEN i % 2 = 0 THEN '["x", "y"]'::jsonb ELSE '"x"' END, '$k', i, 'back\slash', i, 'back\.slash', i, 'x.y', i, 'l', CASE i WHEN 9 THEN '[]'::jsonb ELSE jsonb_build_array(i, i + 1, NULL, '[77]'::jsonb, i::text) END,
	'd', '2024-02-0' || i, 'ts', '2024-02-01 0' || i || ':00', 'tz', '2024-02-01 0' || i || ':00'))) FROM generate_series(1, 9) i), 'filters');
CREATE FUNCTION filters.ids(f jsonb) RETURNS text LANGUAGE sql AS $$ SELECT string_agg(id, ' ' ORDER BY id) FROM jflow_post('/filter', NULL::jflow_doc[], 'filters', jsonb_build_object('filter', f)) $$;
SELECT f, filters.ids(f), filters.ids(f) IS NOT DISTINCT FROM (SELECT string_agg(id, ' ' ORDER BY id) FROM filters.filters_s s WHERE jflow_matches_filter(jflow_doc(id => s.id, tags => s.tags), f)) AS same FROM unnest(ARRAY[
	'{"a\\.b": 3}', '{"a.b": -3}', '{"tags.a\\.b": {"$lt": 3}}', '{"tags.$k": 1}', '{"x\\.y": 4}', '{"tags.x\\.y": {"$gte": 8}}', '{"back\\slash": 5}', '{"back\\\\slash": 5}', '{"back\\\\\\.slash": 5}', '{"tags__a__b": -4}', '{"a\\.c": {"$exists": true}}',
	'{"owners": {"$in": ["y"]}}', '{"owners": {"$in": ["x"]}}', '{"owners": {"$nin": ["y"]}}', '{"owners": {"$in": []}}', '{"l": {"$in": [3, 99]}}', '{"l": {"$in": [3.0]}}', '{"l": {"$in": ["3"]}}', '{"l": {"$in": [77]}}', '{"l": {"$in": [null]}}', '{"l": {"$nin": [3]}}',
	'{"a": {"$in": [-1]}}', '{"$not": {"l": {"$in": [1, 2, 3, 4]}}}', '{"tags": {"$in": [1]}}']::jsonb[]) f;

-- one meaning of a date, whatever the session says of it
SET datestyle = 'ISO, DMY';
SELECT filters.ids('{"d": "01/02/2024"}');
SELECT jflow_post('/index', ARRAY[jflow_doc(id => 'x', embedding => '[1]', tags => '{"d": "01/02/2024"}')], 'filters');
SELECT filters.ids('{"d": "03-02-01"}'), filters.ids('{"d": "24-02-01"}'), filters.ids('{"ts": {"$lte": "2024-02-01T02:00"}}');
SET datestyle = 'SQL, MDY';
SET timezone = 'Asia/Tokyo';
SELECT filters.ids('{"d": "03-02-01"}'), filters.ids('{"d": "24-02-01"}'), filters.ids('{"ts": {"$lte": "2024-02-01T02:00"}}');
SELECT filters.ids('{"d": "01/02/2024"}');
SELECT filters.ids('{"tz": "2024-02-01T03:00"}'), filters.ids('{"tz": "2024-02-01T03:00Z"}'), filters.ids('{"tz": "2024-02-01T03:00+01"}'), filters.ids('{"d": {"$regex": "^2024-02-0[34]$"}}'), filters.ids('{"ts": {"$regex": "T04"}}');
SELECT filters.ids('{"d": "someday"}');
SHOW datestyle;
SHOW timezone;
SELECT extract(hour FROM tz AT TIME ZONE 'UTC') FROM filters.filters_s WHERE id = '7';
RESET datestyle;
RESET timezone;

-- pages, and matches up to a distance
SELECT string_agg(m.id, ' ') FROM jflow_post('/search', ARRAY[jflow_doc(embedding => '[1]')], 'filters', '{"max_distance": 3}') d, unnest(d.matches) m;
SELECT string_agg(m.id, ' ') FROM jflow_post('/search', ARRAY[jflow_doc(embedding => '[1]')], 'filters', '{"max_distance": -1}') d, unnest(d.matches) m;
SELECT jflow_post('/search', ARRAY[jflow_doc(embedding => '[1]')], 'filters', '{"max_distance": "3"}');
SELECT o, string_agg(m.id, ' ' ORDER BY m.score) FROM generate_series(0, 10, 4) o, jflow_post('/search', ARRAY[jflow_doc(embedding => '[1]')], 'filters', jsonb_build_object('limit', 4, 'offset', o)) d, unnest(d.matches) m GROUP BY o ORDER BY o;
SELECT string_agg(m.id, ' ' ORDER BY m.score) FROM jflow_post('/search', ARRAY[jflow_doc(embedding => '[1]')], 'filters', '{"limit": 4, "offset": 2, "max_distance": 4}') d, unnest(d.matches) m;
SELECT jflow_scale('filters', 's', shards => 1);
SELECT o, string_agg(m.id, ' ' ORDER BY m.score) FROM generate_series(0, 10, 4) o, jflow_post('/search', ARRAY[jflow_doc(embedding => '[1]')], 'filters', jsonb_build_object('limit', 4, 'offset', o)) d, unnest(d.matches) m GROUP BY o ORDER BY o;
SELECT string_agg(m.id, ' ') FROM jflow_post('/search', ARRAY[jflow_doc(embedding => '[1]')], 'filters', '{"limit": 4, "offset": 2, "max_distance": 4, "filter": {"owners": {"$in": ["y"]}}}') d, unnest(d.matches) m;
SELECT string_agg(id, ' ') FROM jflow_post('/filter', NULL::jflow_doc[], 'filters', '{"limit": 3, "offset": 2}');
SELECT string_agg(id, ' ') FROM jflow_post('/filter', NULL::jflow_doc[], 'filters', '{"offset": 7}');
SELECT cardinality(matches) FROM jflow_post('/search', ARRAY[jflow_doc(embedding => '[1]')], 'filters', '{"limit": 0, "offset": 2}');
SELECT jflow_post('/search', ARRAY[jflow_doc(embedding => '[1]')], 'filters', '{"offset": -1}');
SELECT jflow_post('/search', ARRAY[jflow_doc(embedding => '[1]')], 'filters', '{"offset": 1000001}');
SELECT jflow_drop('filters', drop_data => true);
DROP SCHEMA filters CASCADE;
