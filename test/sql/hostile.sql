-- Does hostile or unlucky input get a clear error, and nothing worse?
SET client_min_messages = warning;

-- names of functions, too
CREATE FUNCTION "my func ü"(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql RETURN docs;
SELECT jflow_create('f');
SELECT jflow_add('f', 'e', uses => '"my func ü"', replicas => 0);
SELECT text FROM jflow_post('/x', ARRAY['a'], 'f', timeout => '100000000 years');

-- a function that is dropped, or becomes none, while it is in use
CREATE FUNCTION drop_itself(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS
$$ BEGIN IF parameters ? 'drop' THEN DROP FUNCTION drop_itself(jflow_doc[], jsonb); END IF; RETURN NULL; END $$;
SELECT jflow_create('dropped');
SELECT jflow_add('dropped', 'e', uses => 'drop_itself', replicas => 0);
SELECT text FROM jflow_post('/x', ARRAY['a', 'b'], 'dropped', parameters => '{"drop": true}', request_size => 1);
SELECT text FROM jflow_post('/x', ARRAY['a', 'b'], 'dropped', request_size => 1);
DROP FUNCTION drop_itself;
CREATE FUNCTION step(jflow_doc[], jflow_doc[], jsonb) RETURNS jflow_doc[] LANGUAGE sql RETURN $1;
CREATE AGGREGATE drop_itself(jflow_doc[], jsonb) (SFUNC = step, STYPE = jflow_doc[]);
SELECT text FROM jflow_post('/x', ARRAY['a'], 'dropped');
DROP AGGREGATE drop_itself(jflow_doc[], jsonb);

-- misspelt endpoints and targets
SET client_min_messages = notice;
SELECT jflow_create('spelling');
SELECT jflow_add('spelling', 'encoder', requests => '{"/encode": "\"my func ü\""}', replicas => 0);
SELECT text FROM jflow_post('/encoed', ARRAY['a'], 'spelling');
SELECT text FROM jflow_post('/other', ARRAY['a'], 'spelling');
SELECT text FROM jflow_post('/encode', ARRAY['a'], 'spelling', target_executor => 'encodr');
SET client_min_messages = warning;

-- types in the extension's schema that pass for pgvector's
CREATE SCHEMA forged;
CREATE DOMAIN forged.vector AS int;
CREATE SCHEMA real_vector;
BEGIN;
DROP EXTENSION vector CASCADE;
CREATE EXTENSION vector SCHEMA real_vector;
\set VERBOSITY terse
CREATE EXTENSION jflow SCHEMA forged;
\set VERBOSITY default
ROLLBACK;
DROP SCHEMA forged CASCADE;
DROP SCHEMA real_vector;

-- catalog rows with nonsense
UPDATE jflow.executor SET requests = '{"/x": [1, 2], "/y": 7, "*": {"function": 1}}', polling = '{"/x": 1}' WHERE flow = 'f';
SELECT text FROM jflow_post('/x', ARRAY['a'], 'f');
SELECT text FROM jflow_post('/y', ARRAY['a'], 'f');
UPDATE jflow.executor SET needs = '{nobody}' WHERE flow = 'f';
SELECT text FROM jflow_post('/x', ARRAY['a'], 'f');
UPDATE jflow.executor SET needs = '{e}' WHERE flow = 'f';
SELECT text FROM jflow_post('/x', ARRAY['a'], 'f');
UPDATE jflow.executor SET needs = '{gateway}', "when" = '{"$foo": 1}', requests = NULL WHERE flow = 'f';
SELECT text FROM jflow_post('/x', ARRAY['a'], 'f');

-- damaged models stay damaged, and a new fit mends them
SELECT jflow_create('t');
SELECT jflow_add('t', 'v', uses => 'TfidfVectorizer', replicas => 0);
SELECT * FROM jflow_fit('t', 'v', $$VALUES ('one two')$$);
CREATE TABLE good AS SELECT model FROM jflow.model;
CREATE FUNCTION damage(new bytea) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	UPDATE jflow.model SET model = new, version = version + 1;
	RETURN (SELECT sparse_embedding FROM jflow_post('/x', ARRAY['two'], 't'));
EXCEPTION WHEN data_corrupted OR feature_not_supported THEN RETURN SQLERRM; END $$;
SELECT damage(''), damage('\x00'), damage(substr(model, 1, length(model) - 1)) FROM good;
SELECT damage(overlay(model PLACING '\xffffffff'::bytea FROM 17)), damage(overlay(model PLACING '\x09000000'::bytea FROM 5)) FROM good;
SELECT count(DISTINCT damage(set_byte(model, i, get_byte(model, i) # 255))) > 1 AS survived FROM good, generate_series(0, length(model) - 1) i;
UPDATE jflow.model SET model = '\x00', version = version + 1;
SELECT text FROM jflow_post('/x', ARRAY['two'], 't');
SELECT text FROM jflow_post('/x', ARRAY['two'], 't');
SELECT * FROM jflow_fit('t', 'v', $$VALUES ('one two')$$);
SELECT sparse_embedding FROM jflow_post('/x', ARRAY['two'], 't');

-- a fit whose flow becomes another role's meanwhile does not reach it
CREATE ROLE jflow_thief;
CREATE FUNCTION swap() RETURNS text LANGUAGE plpgsql AS $$
BEGIN UPDATE jflow.flow SET owner = 'jflow_thief' WHERE flow = 't'; RETURN 'poison'; END $$;
SELECT jflow_fit('t', 'v', 'SELECT swap()');
CREATE FUNCTION remove() RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM jflow_drop('t'); RETURN 'gone'; END $$;
SELECT jflow_fit('t', 'v', 'SELECT remove()');

-- the internal functions by themselves
SELECT jflow.tfidf_transform(ARRAY[jflow_doc()], '{}');
SELECT jflow.term_fit(ARRAY[jflow_doc()], '{}');
SELECT jflow.catalog_changed();
SELECT jflow.doc_to_jsonb(NULL), jflow.jsonb_to_docs(NULL), jflow.may_post('nothing'), jflow.is_owner('nothing');

SELECT jflow_drop(flow) FROM jflow_flows ORDER BY flow;
DROP TABLE good;
DROP FUNCTION damage, swap, remove, step, "my func ü";
DROP ROLE jflow_thief;
