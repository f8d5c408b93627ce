-- Is who posts told of a field that no document has, and only then?
SET client_min_messages = warning;
SELECT jflow_create('fields');
SELECT jflow_add('fields', 'store', uses => 'PQLiteIndexer', uses_with => '{"dim": 2, "metric": "l2", "columns": {"price": "int4", "named": "text"}}', shards => 2, replicas => 0);
CREATE FUNCTION docs(n int) RETURNS jflow_doc[] LANGUAGE sql RETURN (SELECT array_agg(jflow_doc(id => i::text, text => 't' || i, embedding => ARRAY[i, 1]::vector,
	tags => jsonb_build_object('price', i, 'brand', 'b' || i % 3, 'color', jsonb_build_object('main', 'red'), 'list', '[{"in": 1}]'::jsonb)) ORDER BY i) FROM generate_series(1, n) i);
CREATE FUNCTION found(filter jsonb, flow text DEFAULT 'fields') RETURNS int LANGUAGE sql AS $$
	SELECT count(*)::int FROM jflow_post('/filter', NULL::jflow_doc[], flow, parameters => jsonb_build_object('filter', filter)) $$;
RESET client_min_messages;

-- nothing is stored, so nobody can have anything
SELECT found('{"brnd": "b1"}');
SELECT count(*) FROM jflow_post('/index', docs(20), 'fields');
-- tags, paths into them, attributes
SELECT found('{"brnd": "b1"}');
SELECT found('{"tags.brnd": {"$ne": "b1"}}'), found('{"something else": 1}');
SELECT found('{"color.mian": "red"}'), found('{"colr.main": "red"}');
SELECT found('{"list.in": 1}');
SELECT found('{"txet": "t1"}'), found('{"prise": {"$lt": 5}}');
SELECT found('{"mime_type": "text/plain"}');
-- each once a post, whatever the shards, the requests and the places in the filter
SELECT found('{"$or": [{"brnd": "b1"}, {"$not": {"brnd": "b2"}}, {"brand": "b0", "pirce": 1}]}');
SELECT count(*) FROM jflow_post('/search', docs(20), 'fields', parameters => '{"filter": {"brnd": "b1"}, "limit": 1}', request_size => 5);
SELECT count(*) FROM jflow_search_json('x', 1, 'fields', '{"brnd": 1}');
-- no word where it is there, a column, or what the filter asks for
SELECT found('{"brand": "b1", "price": {"$gt": 3}, "named": "x", "color.main": "red", "text": "t4", "id": "4"}');
SELECT found('{"brnd": {"$exists": false}}'), found('{"brnd": {"$not": {"$exists": true}}}');
SELECT found('{}'), found('{"tags": {"$exists": true}}');
-- once there is one, the store knows it
SELECT count(*) FROM jflow_post('/index', ARRAY[jflow_doc(id => 'x', embedding => '[1,1]', tags => '{"brnd": null}')], 'fields');
SELECT found('{"brnd": null}');

-- of more documents than are looked at
SELECT count(*) FROM jflow_post('/index', docs(1500), 'fields');
SELECT found('{"brande": "b1"}');

-- an executor that may mean something else by the parameter
CREATE FUNCTION mine(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql AS $$ SELECT docs $$;
SELECT jflow_create('mixed');
SELECT jflow_add('mixed', 'mine', uses => 'mine', replicas => 0);
SELECT jflow_add('mixed', 'store', uses => 'PQLiteIndexer', uses_with => '{"dim": 2}', replicas => 0);
SELECT count(*) FROM jflow_post('/index', docs(3), 'mixed');
SELECT found('{"brnd": "b1"}', 'mixed');

-- a user's table: without a column for tags it is an error
CREATE TABLE fields_table (id text PRIMARY KEY, brand text, price int, e vector(2), extra jsonb);
INSERT INTO fields_table VALUES ('1', 'b1', 1, '[1,1]', '{"size": 1}');
SELECT jflow_create('table');
SELECT jflow_add('table', 'store', uses => 'PQLiteIndexer', uses_with => '{"table": "fields_table", "id": "id", "field": "e"}', replicas => 0);
SELECT found('{"brnd": "b1"}', 'table');
SELECT found('{"entirely different": "b1"}', 'table');
SELECT jflow_remove('table', 'store');
SELECT jflow_add('table', 'store', uses => 'PQLiteIndexer', uses_with => '{"table": "fields_table", "id": "id", "field": "e", "tags": "extra"}', replicas => 0);
SELECT found('{"sise": 1}', 'table'), found('{"brnd": 1}', 'table'), found('{"mime_type": "x"}', 'table'), found('{"size": 1, "brand": "b1"}', 'table');

-- a column that no document fills is none of its fault, unless one is nearly of that name
SELECT jflow_create('columns');
SELECT jflow_add('columns', 'store', uses => 'PQLiteIndexer', uses_with => '{"dim": 2, "columns": {"prise": "int4", "brand": "text", "weight_kg": "float8"}}', replicas => 0);
SELECT count(*) FROM jflow_post('/index', docs(5), 'columns', request_size => 2);
SELECT count(*) FROM jflow_post('/index', ARRAY[jflow_doc(id => '1', embedding => '[1,2]', tags => '{"prise": 1, "price": 2}')], 'columns');
SELECT count(*) FROM jflow_post('/index', ARRAY[jflow_doc(id => '1', embedding => '[1,2]')], 'columns');

SET client_min_messages = warning;
SELECT jflow_drop(f, drop_data => true) FROM unnest('{fields,mixed,table,columns}'::text[]) f;
DROP TABLE fields_table;
DROP FUNCTION docs, found, mine;
