-- Which parameters does each executor get, and is a misspelt one told of?
CREATE FUNCTION show_parameters(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$
BEGIN RAISE NOTICE '%: %', (jflow_context()).executor, parameters; RETURN NULL; END $$;
CREATE FUNCTION got(flow text, parameters jsonb) RETURNS void LANGUAGE sql AS $$
	SELECT count(*) FROM jflow_post('/x', ARRAY['a'], got.flow, got.parameters) $$;
SELECT jflow_create('p');
SELECT jflow_add('p', 'one', uses => 'show_parameters', replicas => 0);
SELECT jflow_add('p', 'filter', uses => 'show_parameters', replicas => 0);
SELECT jflow_add('p', 'three', uses => 'show_parameters', replicas => 0);
SELECT got('p', '{"a": 1, "executors": {"one": {"a": 2, "b": 3}, "three": {"c": null}}}');
-- the old place: an object under the executor's own name
SELECT got('p', '{"a": 1, "one": {"a": 2}, "filter": {"a": 3}}');
SELECT got('p', '{"one": {"a": 2, "b": 2}, "executors": {"one": {"a": 3}}}');
SELECT got('p', '{"one": 1, "filter": [1], "executors": {}}');
SELECT got('p', '{"executors": {"oen": {"a": 1}}}');
SELECT got('p', '{"executors": 1}');
SELECT got('p', '{"executors": {"one": null}}');
SELECT got('p', '{"executors": {"one": 1}}');
SELECT got('p', '[]');

-- a class's parameter is not taken away by an executor of that name
SELECT jflow_create('s');
SELECT jflow_add('s', 'filter', uses => 'BaseExecutor', replicas => 0);
SELECT jflow_add('s', 'limit', uses => 'PQLiteIndexer', uses_with => '{"dim": 2, "columns": {"tenant": "int4"}}', replicas => 0);
SELECT count(*) FROM jflow_post('/index', ARRAY[jflow_doc(id => 'a', embedding => '[1,0]', tags => '{"tenant": 1}'), jflow_doc(id => 'b', embedding => '[1,0.1]', tags => '{"tenant": 2}')], 's');
SELECT m.id FROM jflow_post('/search', ARRAY[jflow_doc(embedding => '[1,0]')], 's', '{"filter": {"tenant": 2}}') d, unnest(d.matches) m;
SELECT m.id FROM jflow_post('/search', ARRAY[jflow_doc(embedding => '[1,0]')], 's', '{"executors": {"limit": {"filter": {"tenant": 1}}}}') d, unnest(d.matches) m;
-- unknown ones, where that can be known
SELECT m.id FROM jflow_post('/search', ARRAY[jflow_doc(embedding => '[1,0]')], 's', '{"fliter": {"tenant": 2}, "limit": 1}') d, unnest(d.matches) m;
SELECT m.id FROM jflow_post('/search', ARRAY[jflow_doc(embedding => '[1,0]')], 's', '{"executors": {"limit": {"limti": 1}}, "something": true}') d, unnest(d.matches) m;
SELECT got('p', '{"fliter": 1}');
-- endpoints nobody has
SELECT count(*) FROM jflow_post('/serach', ARRAY[jflow_doc(embedding => '[1,0]')], 's');
SELECT count(*) FROM jflow_post('/completely/else', ARRAY[jflow_doc(embedding => '[1,0]')], 's');
SELECT jflow_create('t');
SELECT jflow_add('t', 'v', uses => 'TfidfVectorizer', replicas => 0);
SELECT count(*) FROM jflow_fit('t', 'v', 'SELECT $$a word$$');
SELECT count(*) FROM jflow_post('/anything', ARRAY['word'], 't');
SELECT count(*) FROM jflow_post('/fti', ARRAY['word'], 't');
SELECT jflow_drop(flow, drop_data => true) FROM jflow_flows ORDER BY flow;
DROP FUNCTION show_parameters, got;
