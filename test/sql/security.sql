-- Does nothing run with more rights than its owner has?
SET client_min_messages = warning;
CREATE ROLE jflow_owner;
CREATE ROLE jflow_caller;
CREATE ROLE jflow_other;
CREATE ROLE jflow_member IN ROLE jflow_owner;
GRANT CREATE ON SCHEMA public TO jflow_owner, jflow_caller, jflow_other;
CREATE SCHEMA jflow_evil AUTHORIZATION jflow_caller;

SET ROLE jflow_owner;
CREATE TABLE secret (t text);
INSERT INTO secret VALUES ('the secret');
CREATE FUNCTION read_secret(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
LANGUAGE plpgsql AS $$ BEGIN docs[1].text := (SELECT t FROM secret) || ' as ' || current_user; RETURN docs; END $$;
SELECT jflow_create('own');
SELECT jflow_add('own', 'e', uses => 'read_secret', uses_with => '{"key": "hidden"}', replicas => 0);
SELECT text FROM jflow_post('/x', ARRAY['a'], 'own');

-- another role sees and does nothing without a grant
SET ROLE jflow_caller;
SELECT text FROM jflow_post('/x', ARRAY['a'], 'own');
SELECT text FROM jflow_post('/x', ARRAY['a']);
SELECT text FROM jflow_post('/x', ARRAY['a'], 'owm');
SELECT jflow_add('own', 'f');
SELECT jflow_remove('own', 'e');
SELECT jflow_drop('own');
SELECT jflow_grant('own', 'jflow_caller');
SELECT jflow_save('own');
SELECT jflow_plot('own');
SELECT count(*) FROM jflow_flows;
SELECT count(*) FROM jflow_executors;
SELECT * FROM jflow.flow;
SELECT * FROM jflow.executor;
DELETE FROM jflow.class;
SELECT count(*) FROM jflow.class;
SELECT class, owner FROM jflow_classes WHERE NOT builtin;

-- with it, the executor runs as the owner and uses_with stays hidden
SET ROLE jflow_owner;
SELECT jflow_grant('own', 'jflow_caller');
SET ROLE jflow_caller;
SELECT text FROM jflow_post('/x', ARRAY['a'], 'own');
SELECT text FROM jflow_post('/x', ARRAY['a']);
SELECT current_user;
SELECT name, uses_with FROM jflow_executors;
SELECT * FROM secret;
SELECT jflow_save('own');
SELECT jflow_drop('own');

-- the caller's search_path and temporary tables do not reach the owner's function
CREATE TEMP TABLE secret (t text);
INSERT INTO pg_temp.secret VALUES ('forged');
CREATE TABLE jflow_evil.secret (t text);
INSERT INTO jflow_evil.secret VALUES ('forged');
SET search_path = jflow_evil, pg_temp, public;
SELECT text FROM jflow_post('/x', ARRAY['a'], 'own');
SHOW search_path;
RESET search_path;
DROP TABLE pg_temp.secret;

-- a member of the owning role may change the flow
SET ROLE jflow_member;
SELECT jflow_add('own', 'f', replicas => 0);
SELECT jflow_remove('own', 'f');
SET ROLE jflow_owner;
SELECT jflow_revoke('own', 'jflow_caller');
SET ROLE jflow_caller;
SELECT text FROM jflow_post('/x', ARRAY['a'], 'own');

-- functions of others are not trusted, and EXECUTE is needed
CREATE FUNCTION trap(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql RETURN docs;
SET ROLE jflow_owner;
SELECT jflow_add('own', 'trap', uses => 'trap', replicas => 0);
SELECT text FROM jflow_post('/x', ARRAY['a'], 'own');
SELECT jflow_remove('own', 'trap');
RESET ROLE;
CREATE FUNCTION trusted(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql RETURN docs;
REVOKE EXECUTE ON FUNCTION trusted(jflow_doc[], jsonb) FROM PUBLIC;
SET ROLE jflow_owner;
SELECT jflow_add('own', 'trusted', uses => 'trusted', replicas => 0);
SELECT text FROM jflow_post('/x', ARRAY['a'], 'own');
RESET ROLE;
GRANT EXECUTE ON FUNCTION trusted(jflow_doc[], jsonb) TO jflow_owner;
SELECT text FROM jflow_post('/x', ARRAY['a'], 'own');

-- an executor cannot climb out of its owner's rights
SET ROLE jflow_owner;
CREATE FUNCTION climb(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
LANGUAGE plpgsql AS $$ BEGIN RESET ROLE; RETURN NULL; END $$;
SELECT jflow_create('climb');
SELECT jflow_add('climb', 'e', uses => 'climb', replicas => 0);
RESET ROLE;
SELECT text FROM jflow_post('/x', ARRAY['a'], 'climb');

-- built-in functions do nothing outside of a flow
SELECT jflow.tfidf_transform('{}', '{}');
SELECT jflow.term_fit_finish('{}', '{}');

-- classes belong to who defined them
SET ROLE jflow_owner;
SELECT jflow_define('Owned', '{"/x": "read_secret"}');
SET ROLE jflow_other;
SELECT jflow_undefine('Owned');
RESET ROLE;
SELECT jflow_undefine('Owned');

-- a dropped owner fails his own flows only
SELECT jflow_drop('own');
SELECT jflow_create('orphan');
UPDATE jflow.flow SET owner = 'nobody_at_all' WHERE flow = 'orphan';
SELECT text FROM jflow_post('/x', ARRAY['a'], 'orphan');
SELECT text FROM jflow_post('/x', ARRAY['a'], 'climb', target_executor => 'x');
SELECT jflow_drop('orphan');
SELECT jflow_drop('climb');

DROP SCHEMA jflow_evil CASCADE;
DROP OWNED BY jflow_owner, jflow_caller, jflow_other, jflow_member CASCADE;
DROP FUNCTION trusted(jflow_doc[], jsonb);
DROP ROLE jflow_member, jflow_owner, jflow_caller, jflow_other;
