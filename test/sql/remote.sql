-- Are options of a RemoteFlow checked, are its numbers of shards and nodes kept, and does the other side refuse what it must?
SET client_min_messages = warning;
CREATE ROLE remote_owner;
CREATE ROLE remote_stranger;
GRANT CREATE ON SCHEMA public TO remote_owner;
SET ROLE remote_owner;
SELECT jflow_create('front');
\set VERBOSITY terse
SELECT jflow_add('front', 'e', uses => 'RemoteFlow');
SELECT jflow_add('front', 'e', uses => 'RemoteFlow', uses_with => '{"servers": ["a"]}');
SELECT jflow_add('front', 'e', uses => 'RemoteFlow', uses_with => '{"servers": [], "flow": "f"}');
SELECT jflow_add('front', 'e', uses => 'RemoteFlow', uses_with => '{"servers": ["a", "a"], "flow": "f"}');
SELECT jflow_add('front', 'e', uses => 'RemoteFlow', uses_with => '{"servers": "a", "flow": "f"}');
SELECT jflow_add('front', 'e', uses => 'RemoteFlow', uses_with => '{"servers": ["a", null], "flow": "f"}');
SELECT jflow_add('front', 'e', uses => 'RemoteFlow', uses_with => '{"servers": ["a", ""], "flow": "f"}');
SELECT jflow_add('front', 'e', uses => 'RemoteFlow', uses_with => '{"servers": ["a"], "flow": 1}');
SELECT jflow_add('front', 'e', uses => 'RemoteFlow', uses_with => '{"servers": ["a", "b"], "flow": "f", "nodes": ["x"]}');
SELECT jflow_add('front', 'e', uses => 'RemoteFlow', uses_with => '{"servers": ["a"], "flow": "f", "limit": 0}');
SELECT jflow_add('front', 'e', uses => 'RemoteFlow', uses_with => '{"servers": ["a"], "flow": "f", "partial": 1}');
SELECT jflow_add('front', 'e', uses => 'RemoteFlow', uses_with => '{"server": ["a"], "flow": "f"}');
SELECT jflow_add('front', 'e', uses => 'RemoteFlow', uses_with => '{"servers": ["a", "b"], "flow": "f"}', shards => 3);
-- a server is a shard, and a node keeps the name that its server has now
SELECT jflow_add('front', 'e', uses => 'RemoteFlow', uses_with => '{"servers": ["a", "b"], "flow": "f"}', replicas => 0);
SELECT jflow_add('front', 'named', uses => 'RemoteFlow', uses_with => '{"servers": ["a", "b"], "nodes": ["x", "y"], "flow": "f"}', shards => 2, replicas => 0);
SELECT name, shards, uses_with FROM jflow_executors WHERE flow = 'front' ORDER BY name;
SELECT jflow_scale('front', 'e', shards => 3);
SELECT jflow_create('front2');
SELECT jflow_drop('front2');
SELECT jflow_load(jsonb_set(jflow_save('front'), '{name}', '"front2"'));
SELECT uses_with FROM jflow_executors WHERE flow = 'front2' AND name = 'named';
SELECT jflow_drop('front2');
SELECT jflow_create('front2');
-- servers that are not there
\set VERBOSITY default
SELECT jflow_post('/search', ARRAY['x'], 'front');
SELECT jflow_post('/anything', ARRAY['x'], 'front');
-- the function serves its class alone
SELECT jflow_add('front2', 'e', uses => 'BaseExecutor', requests => '{"/x": "jflow.remote_call"}', replicas => 0);
SELECT jflow_post('/x', ARRAY['x'], 'front2');
SELECT jflow.remote_call('{}', '{}');
-- the other side
CREATE FUNCTION upper_case(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$ BEGIN
	FOR i IN 1..cardinality(docs) LOOP docs[i].text := upper(docs[i].text); END LOOP; RETURN docs; END $$;
SELECT jflow_create('f');
SELECT jflow_add('f', 'e', uses => 'upper_case', replicas => 0);
SELECT text FROM unnest(jflow.remote_post('/x', ARRAY[jflow_doc(id => 'a', text => 'word')], 'f', '{}', '{"version": 1, "origin": []}'));
SELECT jflow.remote_post('/x', '{}', 'f', '{}', '{"version": 1, "origin": []}');
SELECT jflow.remote_post('/x', '{}', 'f', '{}', '{"version": 2, "origin": []}');
SELECT jflow.remote_post('/x', '{}', 'f', '{}', '{}');
SELECT jflow.remote_post('/x', '{}', 'f', '{}', '{"version": 1}');
SELECT jflow.remote_post('/x', '{}', 'f', '{}', '{"version": 1, "origin": {}}');
SELECT jflow.remote_post('/x', '{}', 'f', '{}', (SELECT jsonb_build_object('version', 1, 'origin', jsonb_build_array(jsonb_build_array(system_identifier::text, current_database(), 'f'))) FROM pg_control_system()));
SELECT jflow.remote_post('/x', '{}', 'f', '{}', jsonb_build_object('version', 1, 'origin', (SELECT jsonb_agg(i) FROM generate_series(1, 16) i)));
SELECT jflow.remote_post('/x', '{}', 'nobody', '{}', '{"version": 1, "origin": []}');
SET ROLE remote_stranger;
SELECT jflow.remote_post('/x', '{}', 'f', '{}', '{"version": 1, "origin": []}');
RESET ROLE;
SELECT jflow_drop(name) FROM unnest('{front,front2,f}'::text[]) name;
DROP FUNCTION upper_case(jflow_doc[], jsonb);
REVOKE CREATE ON SCHEMA public FROM remote_owner;
DROP ROLE remote_owner, remote_stranger;
