-- Can flows be defined, and are wrong definitions refused?
\set VERBOSITY default
SELECT jflow_create('f', 'a flow');
SELECT jflow_create('f');
SELECT jflow_create('');
SELECT jflow_create(repeat('x', 64));
SELECT jflow_create(NULL);

-- names
SELECT jflow_create('my "quoted" flow''s näme');
SELECT jflow_add('my "quoted" flow''s näme', 'an "executor" ü', replicas => 0);
SELECT id, text FROM jflow_post('/x', ARRAY[jflow_doc(id => '1', text => 'a')], flow => 'my "quoted" flow''s näme');
SELECT jflow_drop('my "quoted" flow''s näme');

-- executors
SELECT jflow_add('f', 'a', replicas => 0);
SELECT jflow_add('f', 'a');
SELECT jflow_add('f', 'gateway');
SELECT jflow_add('f', 'executors');
SELECT jflow_add('f', '');
SELECT jflow_add('g', 'a');
SELECT jflow_add('F', 'a');
SELECT jflow_add('f', 'b', replicas => -1);
SELECT jflow_add('f', 'b', replicas => 100000);
SELECT jflow_add('f', 'b', shards => 0);
SELECT jflow_add('f', 'b', timeout => '-1 s');
SELECT jflow_add('f', 'b', retries => -1);
SELECT jflow_add('f', 'b', uses_with => '[1]');
SELECT jflow_add('f', 'b', polling => '"some"');
SELECT jflow_add('f', 'b', polling => '{"/index": "ANY", "/search": "every"}');
SELECT jflow_add('f', 'b', polling => '[]');
SELECT jflow_add('f', 'b', "when" => '{"a": {"$lte": 1, "$foo": 2}}');

-- topology
SELECT jflow_add('f', 'b', needs => '{b}');
SELECT jflow_add('f', 'b', needs => '{}');
SELECT jflow_add('f', 'b', needs => '{a,a}');
SELECT jflow_add('f', 'b', needs => '{a,NULL}');
SELECT jflow_add('f', 'b', needs => '{gatewy}');
SELECT jflow_add('f', 'b', floating => true, replicas => 0);
SELECT jflow_add('f', 'c', needs => '{b}');
SELECT jflow_add('f', 'c', replicas => 0);
SELECT jflow_add('f', 'd', needs => '{a,c}', replicas => 0);
SELECT name, needs FROM jflow_executors WHERE flow = 'f' ORDER BY position;
SELECT jflow_remove('f', 'a');
SELECT jflow_remove('f', 'x');
SELECT jflow_remove('f', 'd');
SELECT jflow_add('f', 'd', needs => '{gateway}', replicas => 0);

-- functions and classes
SELECT jflow_add('f', 'e', uses => 'no_such_function');
SELECT jflow_add('f', 'e', uses => 'TfidfVectoriser');
SELECT jflow_add('f', 'e', uses => 'jinahub://NoSuchClass');
SELECT jflow_add('f', 'e', uses => 'upper');
CREATE FUNCTION wrong_result(docs jflow_doc[], parameters jsonb) RETURNS int LANGUAGE sql RETURN 1;
CREATE FUNCTION wrong_set(docs jflow_doc[], parameters jsonb) RETURNS SETOF jflow_doc LANGUAGE sql AS 'SELECT unnest(docs)';
CREATE FUNCTION ok(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql RETURN docs;
SELECT jflow_add('f', 'e', uses => 'wrong_result');
SELECT jflow_add('f', 'e', uses => 'wrong_set');
SELECT jflow_add('f', 'e', requests => '{"index": "ok"}');
SELECT jflow_add('f', 'e', requests => '{"/index": 1}');
SELECT jflow_add('f', 'e', requests => '{"/index": {"function": "ok", "idempotant": true}}');
SELECT jflow_add('f', 'e', requests => '{"/index": {"idempotent": true}}');
SELECT jflow_add('f', 'e', requests => '{"/index": "nothing"}');
SELECT jflow_add('f', 'e', requests => '{"/index": {"function": "ok", "idempotent": true}, "/x": null, "*": "ok"}', replicas => 0);
SELECT requests FROM jflow_executors WHERE flow = 'f' AND name = 'e';

SELECT jflow_define('MyClass', '{"/index": "ok"}');
SELECT jflow_define('MyClass', '{"/index": "ok"}');
SELECT jflow_define('Other', '{"/index": "nothing"}');
SELECT jflow_define('BaseExecutor', '{}');
SELECT jflow_add('f', 'g', uses => 'jinahub://MyClass', replicas => 0);
SELECT uses FROM jflow_executors WHERE flow = 'f' AND name = 'g';
SELECT jflow_undefine('MyClass');
SELECT jflow_undefine('TfidfVectorizer');
SELECT jflow_undefine('Nothing');
SELECT jflow_remove('f', 'g');
SELECT jflow_undefine('MyClass');

SELECT jflow_drop('f');
SELECT jflow_drop('f');
SELECT jflow_drop('f', if_exists => true);
SELECT count(*) FROM jflow.executor;
DROP FUNCTION wrong_result, wrong_set, ok;
