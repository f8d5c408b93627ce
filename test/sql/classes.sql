-- Does a class stay what it was when the executor was added, whatever others define?
SET client_min_messages = warning;
CREATE ROLE jflow_group;
CREATE ROLE jflow_one IN ROLE jflow_group;
CREATE ROLE jflow_two;
CREATE ROLE jflow_boss SUPERUSER;
CREATE SCHEMA one AUTHORIZATION jflow_one;
GRANT USAGE ON SCHEMA one TO jflow_two;
GRANT CREATE ON SCHEMA public TO jflow_group;

SET ROLE jflow_one;
CREATE FUNCTION one.redact(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql AS $$
	SELECT array_agg(jflow_doc(id => d.id, text => '[redacted]')) FROM unnest(docs) d $$;
CREATE FUNCTION one.shout(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql AS $$
	SELECT array_agg(jflow_doc(id => d.id, text => upper(d.text))) FROM unnest(docs) d $$;
SET search_path = one, public;
SELECT jflow_create('guard');
SELECT jflow_add('guard', 'qualified', uses => 'one.redact', replicas => 0);
SELECT jflow_add('guard', 'bare', uses => 'redact', replicas => 0);

-- another role's class of a function's name is refused, or changes nothing
SET ROLE jflow_two;
SELECT jflow_define('one.redact', '{}');
SELECT jflow_define('"redact"', '{}');
SELECT jflow_define('hub://redact', '{}');
SELECT jflow_define('redact', '{}');
SELECT jflow_define('shout', '{"*": "one.shout"}');
SET ROLE jflow_one;
SELECT jflow_add('guard', 'late', uses => 'redact', replicas => 0);
SELECT name, uses, class_owner FROM jflow_executors WHERE flow = 'guard' ORDER BY position;
SELECT text FROM jflow_post('/x', ARRAY['top secret'], 'guard');

-- a class of one's own comes first when an executor is added, and not before
SELECT jflow_define('redact', '{"*": "one.shout"}');
SELECT text FROM jflow_post('/x', ARRAY['top secret'], 'guard');
SELECT jflow_create('own');
SELECT jflow_add('own', 'class', uses => 'redact', replicas => 0);
SELECT text FROM jflow_post('/x', ARRAY['top secret'], 'own');
SELECT jflow_undefine('redact');
SELECT jflow_save('own');
SELECT jflow_drop('own');

-- both owners keep theirs, and see their own alone; each removes his own
SET ROLE jflow_two;
SELECT class, owner, requests FROM jflow_classes WHERE NOT builtin ORDER BY class, owner;
SELECT jflow_undefine('redact');
SET ROLE jflow_one;
SELECT class, owner, requests FROM jflow_classes WHERE NOT builtin ORDER BY class, owner;
SELECT jflow_undefine('redact');
SELECT jflow_undefine('redact');
SELECT jflow_undefine('shout');

-- built-in names belong to nobody
SELECT jflow_define('BaseExecutor', '{}');
SELECT jflow_define('TfidfVectorizer', '{}');
CREATE FUNCTION one."BaseExecutor"(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql
	AS 'SELECT one.redact(docs, parameters)';
SELECT jflow_add('guard', 'base', uses => 'BaseExecutor', replicas => 0);
SELECT jflow_add('guard', 'function', uses => '"BaseExecutor"', replicas => 0);
SELECT name, uses, class_owner FROM jflow_executors WHERE flow = 'guard' AND name IN ('base', 'function') ORDER BY name;

-- a function is found though its name is near a class's
CREATE FUNCTION one.tfidfvectoriser(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql RETURN docs;
SELECT jflow_add('guard', 'near', uses => 'TfidfVectoriser', replicas => 0);
DROP FUNCTION one.tfidfvectoriser;

-- whose classes may be used: those of superusers and of roles of which one is a member
SET ROLE jflow_boss;
SELECT jflow_define('Common', '{"*": "one.shout"}');
SET ROLE jflow_group;
SELECT jflow_define('Ours', '{"*": "jflow.tfidf_transform"}');
SELECT jflow_create('group');
SET ROLE jflow_two;
SELECT jflow_define('Theirs', '{}');
SELECT jflow_create('two');
SELECT jflow_add('two', 'common', uses => 'Common', replicas => 0);
SELECT jflow_add('two', 'ours', uses => 'Ours', replicas => 0);
SET ROLE jflow_one;
SELECT jflow_create('one');
SELECT jflow_add('one', 'common', uses => 'jinahub://Common', replicas => 0);
SELECT jflow_add('one', 'ours', uses => 'Ours', replicas => 0);
SELECT jflow_add('one', 'theirs', uses => 'Theirs', replicas => 0);
-- who adds to another role's flow has no say in whose classes it uses
SELECT jflow_define('Private', '{}');
SELECT jflow_add('group', 'private', uses => 'Private', replicas => 0);
SELECT name, uses, class_owner = current_user AS own, class_owner = 'jflow_group' AS ours
FROM jflow_executors WHERE flow = 'one' ORDER BY position;

-- saving and loading keeps whose they are
SELECT jflow_define('Ours', '{"*": "one.redact"}');
SELECT jflow_save('one') #> '{executors,1}';
CREATE TEMP TABLE saved AS SELECT jflow_save('one') AS config;
SELECT jflow_drop('one');
SELECT jflow_load(config) FROM saved;
SELECT jflow_save('one') = config AS same FROM saved;
SELECT jflow_load('{"name": "thief", "executors": [{"name": "e", "uses": "Theirs", "class_owner": "jflow_two"}]}');
SELECT jflow_load('{"name": "thief", "executors": [{"name": "e", "uses": "Ours", "class_owner": "nobody"}]}');
SELECT jflow_load('{"name": "thief", "executors": [{"name": "e", "uses": "one.redact", "class_owner": ""}]}');

-- names of others' flows are not told
RESET ROLE;
SELECT jflow_undefine('Common');
SELECT jflow_undefine('Ours');
SET ROLE jflow_group;
SELECT jflow_undefine('Ours');
SET ROLE jflow_one;
SELECT jflow_undefine('Ours');

-- two that are trusted are ambiguous; the right to execute is needed
SET ROLE jflow_boss;
SELECT jflow_define('Twice', '{}');
SET ROLE jflow_group;
SELECT jflow_define('Twice', '{}');
SET ROLE jflow_one;
SELECT jflow_add('one', 'twice', uses => 'Twice', replicas => 0);
REVOKE EXECUTE ON FUNCTION one.redact(jflow_doc[], jsonb) FROM PUBLIC;
SET ROLE jflow_two;
SELECT jflow_define('Foreign', '{"*": "one.redact"}');
SELECT jflow_define('Foreign', '{"/x": {"function": "one.shout", "finish": "one.redact"}}');

-- a class that is gone is no function
RESET ROLE;
SET search_path = public;
DELETE FROM jflow.class WHERE class = 'Common';
CREATE FUNCTION common(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql AS 'SELECT NULL::jflow_doc[]';
SELECT * FROM jflow_post('/x', ARRAY['a'], 'one');

SELECT jflow_drop(f) FROM unnest('{guard,one,two,group}'::text[]) f;
DELETE FROM jflow.class WHERE NOT builtin;
DROP FUNCTION common;
DROP SCHEMA one CASCADE;
DROP OWNED BY jflow_group, jflow_one, jflow_two;
DROP ROLE jflow_group, jflow_one, jflow_two, jflow_boss;
