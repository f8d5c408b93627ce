-- With continue_on_error, does a bad document cost itself and nothing else, and is it told of once?
SET client_min_messages = warning;
CREATE ROLE jflow_runner LOGIN;
CREATE ROLE jflow_poster;
SET jflow.prefetch = 1;
GRANT CREATE ON SCHEMA public TO jflow_runner;
SET ROLE jflow_runner;
CREATE TABLE kept (executor text, id text, part int, CHECK (id <> 'check'));
CREATE TABLE calls (executor text, n int, part int);
-- keeps documents; fails on those whose text says how
CREATE FUNCTION keep(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$
DECLARE c record := jflow_context(); d jflow_doc;
BEGIN
	IF c.executor = coalesce(parameters->>'at', c.executor) THEN
		FOREACH d IN ARRAY docs LOOP
			IF d.text ~ '^[0-9A-Z]{5}$' THEN RAISE EXCEPTION 'bad document %', d.id USING ERRCODE = d.text; END IF;
		END LOOP;
	END IF;
	INSERT INTO kept SELECT c.executor, k.id, c.part FROM unnest(docs) k;
	RETURN docs;
END $$;
CREATE FUNCTION docs(n int, bad text) RETURNS jflow_doc[] LANGUAGE sql AS $$
	SELECT array_agg(jflow_doc(id => i::text, text => coalesce(bad::jsonb->>i::text, 'good')) ORDER BY i) FROM generate_series(1, n) i $$;
-- what a post answers and keeps; the number of warnings is their number
CREATE FUNCTION try_docs(flow text, n int, bad text, parameters jsonb DEFAULT '{}', request_size int DEFAULT 8) RETURNS text LANGUAGE plpgsql AS $$
DECLARE answered text; stored text;
BEGIN
	answered := (SELECT string_agg(id, ',') FROM jflow_post('/x', docs(n, bad), flow, parameters, request_size => request_size, continue_on_error => true));
	RETURN answered;
END $$;
CREATE FUNCTION kept() RETURNS TABLE (executor text, ids text) LANGUAGE sql AS $$
	SELECT executor, string_agg(id, ',' ORDER BY id::int) FROM kept GROUP BY 1 ORDER BY 1 $$;
SELECT jflow_create(f), jflow_add(f, 'a', uses => 'keep', replicas => a), jflow_add(f, 'b', uses => 'keep', replicas => b)
FROM (VALUES ('here', 0, 0), ('there', 1, 1), ('first', 1, 0), ('second', 0, 1)) v(f, a, b);
SELECT jflow_start(flow) FROM jflow_flows WHERE flow <> 'here' ORDER BY flow;
SELECT jflow_wait(flow) FROM jflow_flows WHERE flow <> 'here' ORDER BY flow;

-- here: of a document that fails behind, nothing in front is left
SELECT try_docs('here', 10, '{"3": "22012"}', '{"at": "b"}');
SELECT * FROM kept(); TRUNCATE kept;
SELECT try_docs('here', 10, '{"3": "23505", "4": "P0001", "10": "21000"}');
SELECT * FROM kept(); TRUNCATE kept;
-- in replicas: the executor alone gets the halves; what came before is committed
SELECT try_docs('there', 10, '{"3": "22012"}', '{"at": "b"}');
SELECT * FROM kept(); TRUNCATE kept;
SELECT try_docs('there', 10, '{"3": "23505", "4": "P0001", "10": "21000"}', '{"at": "a"}');
SELECT * FROM kept(); TRUNCATE kept;
-- and where only some have them
SELECT try_docs('first', 10, '{"3": "22012"}', '{"at": "b"}');
SELECT * FROM kept(); TRUNCATE kept;
SELECT try_docs('first', 10, '{"3": "22012"}', '{"at": "a"}');
SELECT * FROM kept(); TRUNCATE kept;
SELECT try_docs('second', 10, '{"3": "22012"}', '{"at": "b"}');
SELECT * FROM kept(); TRUNCATE kept;
SELECT try_docs('second', 10, '{"3": "22012"}', '{"at": "a"}');
SELECT * FROM kept(); TRUNCATE kept;
-- other errors are not of a document: the request fails as a whole, once
SELECT try_docs('here', 10, '{"3": "42501"}'), try_docs('there', 10, '{"3": "42501"}', '{"at": "a"}');
SELECT try_docs('here', 10, '{"3": "53200"}'), try_docs('there', 10, '{"3": "XX000"}', '{"at": "a"}');
SELECT * FROM kept(); TRUNCATE kept;
-- all of a request, or a request of one
SELECT try_docs('here', 4, '{"1": "22012", "2": "22012"}', request_size => 2), try_docs('there', 4, '{"1": "22012", "2": "22012"}', request_size => 2);
SELECT try_docs('here', 3, '{"2": "22012"}', request_size => 1), try_docs('there', 3, '{"2": "22012"}', request_size => 1);
SELECT * FROM kept(); TRUNCATE kept;
-- the parts that a request was run in have numbers of their own
SELECT count(*) FROM jflow_post('/x', docs(8, '{"3": "22012"}'), 'here', '{"at": "a"}', continue_on_error => true);
SELECT executor, part, string_agg(id, ',' ORDER BY id::int) FROM kept GROUP BY 1, 2 ORDER BY 1, 2;
TRUNCATE kept;
-- at most 20 warnings
SELECT count(*) FROM jflow_post('/x', docs(40, (SELECT jsonb_object_agg(i, '22012') FROM generate_series(1, 39) i)::text), 'here', continue_on_error => true, request_size => 4);
TRUNCATE kept;

-- a document that fails at one shard, or in one branch, has failed
SELECT jflow_create('shards'), jflow_add('shards', 's', uses => 'keep', shards => 3, polling => '"all"', replicas => 1);
CREATE FUNCTION keep_one(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$
BEGIN RETURN CASE WHEN (jflow_context()).shard = 1 THEN keep(docs, parameters) ELSE docs END; END $$;
SELECT jflow_remove('shards', 's'), jflow_add('shards', 's', uses => 'keep_one', shards => 3, polling => '"all"', replicas => 1);
SELECT jflow_create('branches'), jflow_add('branches', 'a', uses => 'keep'), jflow_add('branches', 'b', uses => 'keep', needs => '{gateway}');
SELECT jflow_start('shards'), jflow_start('branches');
SELECT jflow_wait('shards'), jflow_wait('branches');
SELECT try_docs('shards', 5, '{"3": "22012"}'), try_docs('branches', 5, '{"3": "22012"}', '{"at": "b"}');
TRUNCATE kept;
-- a function with "finish" gets each request once, and is not finished after a failure
CREATE FUNCTION count_call(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$
BEGIN
	IF docs[1].id = '1' THEN RAISE EXCEPTION 'bad' USING ERRCODE = '22012'; END IF;
	INSERT INTO calls VALUES ((jflow_context()).executor, cardinality(docs), (jflow_context()).part); RETURN NULL;
END $$;
SELECT jflow_create('finish'), jflow_add('finish', 'e', uses => 'keep', replicas => 0, requests => '{"/x": {"function": "count_call", "finish": "count_call"}}');
SELECT id FROM jflow_post('/x', docs(6, '{}'), 'finish', request_size => 4, continue_on_error => true);
SELECT * FROM calls;

-- a table for the errors, in the caller's transaction and with his rights
SELECT jflow_grant(flow, 'jflow_poster') FROM jflow_flows WHERE flow IN ('here', 'there');
RESET ROLE;
CREATE SCHEMA errors;
GRANT USAGE ON SCHEMA errors TO jflow_poster;
CREATE TABLE errors.log (at timestamptz, id text, executor text, sqlstate text, message varchar, extra int DEFAULT 1);
CREATE TABLE errors.narrow (id text, message text);
CREATE SEQUENCE errors.seq;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO jflow_poster;
SET ROLE jflow_poster;
SELECT count(*) FROM jflow_post('/x', docs(3, '{}'), 'here', continue_on_error => true, errors_to => 'errors.log');
RESET ROLE;
GRANT INSERT (id, executor, sqlstate, message, at), SELECT ON errors.log TO jflow_poster;
GRANT INSERT ON errors.narrow TO jflow_poster;
SET ROLE jflow_poster;
SELECT string_agg(id, ',') FROM jflow_post('/x', docs(10, '{"3": "22012", "7": "23505"}'), 'here', '{"at": "b"}', continue_on_error => true, errors_to => 'errors.log');
SELECT string_agg(id, ',') FROM jflow_post('/x', docs(10, '{"3": "22012", "7": "23505"}'), 'there', '{"at": "b"}', continue_on_error => true, errors_to => 'errors.log');
SELECT string_agg(id, ',') FROM jflow_post('/x', docs(4, '{"2": "42501"}'), 'there', '{"at": "a"}', continue_on_error => true, errors_to => 'errors.log', request_size => 2);
SELECT docs, requests, failed, failed_docs FROM jflow_post_query('/x', $$SELECT i AS id, CASE i WHEN 5 THEN '22012' ELSE 'good' END AS text FROM generate_series(1, 20) i$$, 'here', continue_on_error => true, errors_to => 'errors.log', request_size => 5);
SELECT id, executor, sqlstate, message, at <= clock_timestamp() AS at, extra FROM errors.log ORDER BY executor, sqlstate, id::int, at;
SELECT count(*) FROM jflow_post('/x', docs(3, '{}'), 'here', errors_to => 'errors.log');
SELECT count(*) FROM jflow_post('/x', docs(3, '{}'), 'here', continue_on_error => true, errors_to => 'errors.narrow');
SELECT count(*) FROM jflow_post('/x', docs(3, '{}'), 'here', continue_on_error => true, errors_to => 'errors.seq');
SELECT count(*) FROM jflow_post('/x', docs(3, '{}'), 'here', continue_on_error => true, errors_to => 0);
SELECT count(*) FROM jflow_post('/x', docs(3, '{}'), 'here', continue_on_error => true, errors_to => 4294967295);
BEGIN READ ONLY;
SELECT count(*) FROM jflow_post('/x', docs(3, '{}'), 'here', continue_on_error => true, errors_to => 'errors.log');
ROLLBACK;
BEGIN;
SELECT string_agg(id, ',') FROM jflow_post('/x', docs(3, '{"1": "22012"}'), 'there', '{"at": "a"}', continue_on_error => true, errors_to => 'errors.log');
ROLLBACK;
SELECT count(*) FROM errors.log;

RESET ROLE;
SET ROLE jflow_runner;
SELECT jflow_stop(flow), jflow_drop(flow) FROM jflow_flows ORDER BY flow;
RESET ROLE;
DROP SCHEMA errors CASCADE;
DROP OWNED BY jflow_runner, jflow_poster;
DROP ROLE jflow_runner, jflow_poster;
