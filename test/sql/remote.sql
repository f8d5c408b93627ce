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
SELECT jflow_add('front', 'e', uses => 'RemoteFlow', uses_with => '{"servers": ["a", "b"], "flow": "f", "move": 1}');
SELECT jflow_add('front', 'e', uses => 'RemoteFlow', uses_with => '{"servers": ["a", "b"], "flow": "f", "move": {"from": ["a"]}}');
SELECT jflow_add('front', 'e', uses => 'RemoteFlow', uses_with => '{"servers": ["a", "b"], "flow": "f", "move": {"from": ["a"], "to": ["c"]}}');
SELECT jflow_add('front', 'e', uses => 'RemoteFlow', uses_with => '{"servers": ["a", "b"], "flow": "f", "move": {"from": ["a"], "to": ["a"]}}');
SELECT jflow_add('front', 'e', uses => 'RemoteFlow', uses_with => '{"servers": ["a", "b"], "flow": "f", "move": {"from": ["a"], "to": ["b"], "x": 1}}');
-- a server is a shard, and a node keeps the name that its server has now
SELECT jflow_add('front', 'e', uses => 'RemoteFlow', uses_with => '{"servers": ["a", "b"], "flow": "f"}', replicas => 0);
SELECT jflow_add('front', 'named', uses => 'RemoteFlow', uses_with => '{"servers": ["a", "b"], "nodes": ["x", "y"], "flow": "f"}', shards => 2, replicas => 0);
SELECT name, shards, uses_with FROM jflow_executors WHERE flow = 'front' ORDER BY name;
SELECT jflow_scale('front', 'e', shards => 3);
SELECT jflow_scale('front', 'e', servers => '{}');
SELECT jflow_scale('front', 'e', servers => '{a,NULL}');
SELECT jflow_scale('front', 'e', servers => '{a,b,c,c}');
SELECT jflow_scale('front', 'e', shards => 2, servers => '{a,b}');
SELECT jflow_scale('front', 'e', servers => '{b,a}');
SELECT jflow_scale('front', 'named', servers => '{a,x}');
SELECT jflow_scale('front', 'e', servers => '{a,b,c}');
SELECT name, shards, uses_with FROM jflow_executors WHERE flow = 'front' ORDER BY name;
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
-- what moves documents asks the executor alone that stores them as they were posted
SELECT jflow.remote_post('/fetch', '{}', 'f', '{}', '{"version": 1, "origin": [], "stored": true}');
SELECT jflow_scale('f', 'e', servers => '{a}');
SELECT jflow_create('s');
SELECT jflow_add('s', 'v', uses => 'TfidfVectorizer', replicas => 0);
SELECT jflow.remote_post('/fetch', '{}', 's', '{}', '{"version": 1, "origin": [], "stored": true}');
SELECT jflow_add('s', 's.1', uses => 'PQLiteIndexer', replicas => 0, uses_with => '{"dim": 2}');
SELECT id, tags FROM unnest(jflow.remote_post('/fetch', '{}', 's', '{}', '{"version": 1, "origin": [], "definition": true}'));
SELECT unnest(jflow.remote_post('/index', ARRAY[jflow_doc(id => 'a', text => 'one', embedding => '[1,2]'), jflow_doc(id => 'a#0', text => 'two', embedding => '[1,2]', parent_id => 'a')], 's', '{}', '{"version": 1, "origin": [], "stored": true, "ids": true}'));
SELECT id, text FROM unnest(jflow.remote_post('/filter', '{}', 's', '{"filter": {"id": {"$gt": "a"}}, "limit": 5}', '{"version": 1, "origin": [], "stored": true, "read_only": true}'));
SELECT count(*) FROM jflow_post('/delete', ARRAY[jflow_doc(id => 'a')], 's', '{"chunks": false}', target_executor => 's.1');
SELECT id FROM jflow_post('/filter', NULL::jflow_doc[], 's');
SELECT jflow_post('/delete', ARRAY[jflow_doc(id => 'a')], 's', '{"chunks": 1}', target_executor => 's.1');
SET client_min_messages = error;
SELECT jflow_drop('s', drop_data => true);
DROP SCHEMA jflow_data_remote_owner;
SET client_min_messages = warning;
SET ROLE remote_stranger;
SELECT jflow.remote_post('/x', '{}', 'f', '{}', '{"version": 1, "origin": []}');
RESET ROLE;
SELECT jflow_drop(name) FROM unnest('{front,front2,f}'::text[]) name;
DROP FUNCTION upper_case(jflow_doc[], jsonb);
REVOKE CREATE ON SCHEMA public FROM remote_owner;
DROP ROLE remote_owner, remote_stranger;
