-- Is the number of a request its own, whichever executors have replicas, and is a request run as it is declared to be?
SET client_min_messages = warning;
CREATE ROLE jflow_runner LOGIN;
GRANT CREATE ON SCHEMA public TO jflow_runner;
SET ROLE jflow_runner;
-- which request, of how many documents, each executor has seen
CREATE TABLE seen (executor text, request int8, id text);
CREATE FUNCTION see(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$
DECLARE c record := jflow_context();
BEGIN
	INSERT INTO seen SELECT c.executor, c.request, d.id FROM unnest(docs) d;
	IF docs[1].id = parameters->>'fail' THEN RAISE EXCEPTION 'no good' USING ERRCODE = '55000'; END IF;
	RETURN NULL;
END $$;
-- each flow: where are replicas, and where not
SELECT jflow_create(f), jflow_add(f, 'a', uses => 'see', replicas => a), jflow_add(f, 'b', uses => 'see', replicas => b),
	jflow_add(f, 'c', uses => 'see', replicas => c, needs => '{gateway}')
FROM (VALUES ('none', 0, 0, 0), ('first', 1, 0, 0), ('second', 0, 1, 0), ('branch', 0, 0, 1), ('all', 1, 1, 1)) v(f, a, b, c);
SELECT jflow_start(flow) FROM jflow_flows ORDER BY flow;
SELECT jflow_wait(flow) FROM jflow_flows WHERE flow <> 'none' ORDER BY flow;
CREATE FUNCTION requests_of(flow text, ordered bool) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM count(*) FROM jflow_post('/x', (SELECT array_agg(jflow_doc(id => i::text) ORDER BY i) FROM generate_series(0, 199) i), requests_of.flow, request_size => 10, ordered => requests_of.ordered);
	RETURN (SELECT string_agg(format('%s: %s in %s', executor, n, wrong), ', ' ORDER BY executor) FROM (
		SELECT executor, count(DISTINCT request) n, count(*) FILTER (WHERE request <> id::int / 10 + 1) wrong FROM seen GROUP BY 1) t);
END $$;
TRUNCATE seen; SELECT requests_of('none', true);
TRUNCATE seen; SELECT requests_of('first', true);
TRUNCATE seen; SELECT requests_of('first', false);
TRUNCATE seen; SELECT requests_of('second', true);
TRUNCATE seen; SELECT requests_of('second', false);
TRUNCATE seen; SELECT requests_of('branch', true);
TRUNCATE seen; SELECT requests_of('all', false);
-- the context of an error says the same
SET jflow.prefetch = 1;
SELECT count(*) FROM jflow_post('/x', (SELECT array_agg(jflow_doc(id => i::text) ORDER BY i) FROM generate_series(0, 199) i), 'first', '{"fail": "150"}', target_executor => 'b', request_size => 10);
SELECT count(*) FROM jflow_post('/x', (SELECT array_agg(jflow_doc(id => i::text) ORDER BY i) FROM generate_series(0, 199) i), 'second', '{"fail": "150"}', target_executor => 'b', request_size => 10);
RESET jflow.prefetch;
-- what was committed is only said where something was
CREATE FUNCTION fail_at(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$
BEGIN
	IF docs[1].id = parameters->>'fail' THEN RAISE EXCEPTION 'no good' USING ERRCODE = '55000'; END IF;
	RETURN NULL;
END $$;
SELECT jflow_create('quiet');
SELECT jflow_add('quiet', 'a', uses => 'fail_at');
SELECT jflow_add('quiet', 'b', uses => 'fail_at', replicas => 0);
SELECT jflow_start('quiet');
SELECT jflow_wait('quiet');
SELECT count(*) FROM jflow_post('/x', (SELECT array_agg(jflow_doc(id => i::text) ORDER BY i) FROM generate_series(0, 199) i), 'quiet', '{"fail": "150"}', target_executor => 'a', request_size => 10);
SELECT count(*) FROM jflow_post('/x', (SELECT array_agg(jflow_doc(id => i::text) ORDER BY i) FROM generate_series(0, 199) i), 'quiet', '{"fail": "150"}', target_executor => 'b', request_size => 10);

-- a fit beside replicas learns from every document
CREATE TABLE corpus AS SELECT i AS id, 'word' || i % 100 || ' only' || i AS text FROM generate_series(1, 300) i;
SELECT jflow_create('fit'), jflow_add('fit', 'v', uses => 'TfidfVectorizer', replicas => 0), jflow_add('fit', 'after', uses => 'fail_at');
SELECT jflow_create('fit2'), jflow_add('fit2', 'before', uses => 'fail_at'), jflow_add('fit2', 'v', uses => 'TfidfVectorizer', replicas => 0);
SELECT jflow_create('fit3'), jflow_add('fit3', 'v', uses => 'TfidfVectorizer', replicas => 2), jflow_add('fit3', 'after', uses => 'fail_at', replicas => 0);
SELECT jflow_start('fit'), jflow_start('fit2'), jflow_start('fit3');
SELECT jflow_wait('fit'), jflow_wait('fit2'), jflow_wait('fit3');
SELECT docs, requests FROM jflow_post_query('/fit', 'SELECT id, text FROM corpus', 'fit', request_size => 10);
SELECT docs, requests FROM jflow_post_query('/fit', 'SELECT id, text FROM corpus', 'fit2', request_size => 10);
SELECT docs, requests FROM jflow_post_query('/fit', 'SELECT id, text FROM corpus', 'fit3', request_size => 10);
SELECT count(*) FROM jflow_post('/fit', (SELECT array_agg(jflow_doc(id => id::text, text => text)) FROM corpus), 'fit', request_size => 10, ordered => false);
SELECT f, count(*) FROM (VALUES ('fit'), ('fit2'), ('fit3')) v(f), jflow_terms(f, 'v') GROUP BY f ORDER BY f;
-- also one that is posted from an executor
CREATE FUNCTION fit_inside(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$
BEGIN PERFORM jflow_post_query('/fit', 'SELECT id, text FROM public.corpus WHERE id <= 200', 'fit2', request_size => 10); RETURN NULL; END $$;
SELECT jflow_create('outside'), jflow_add('outside', 'e', uses => 'fit_inside', replicas => 0), jflow_add('outside', 'f', uses => 'fail_at', replicas => 1);
SELECT jflow_start('outside');
SELECT jflow_wait('outside');
SELECT count(*) FROM jflow_post('/x', ARRAY['1'], 'outside');
SELECT count(*) FROM jflow_terms('fit2', 'v');

-- "writes": what is declared to write is refused where it cannot; what is declared not to is kept from it
CREATE FUNCTION write_row(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$
BEGIN INSERT INTO public.seen VALUES ('write', 0, docs[1].id); RETURN NULL; END $$;
CREATE FUNCTION read_rows(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql AS $$
	SELECT array_agg(jflow_doc(id => d.id, matches => ARRAY[ROW((SELECT count(*) FROM seen)::text, 0.5, d.text, NULL, NULL)::jflow_match])) FROM unnest(docs) d $$;
TRUNCATE seen;
SELECT jflow_create(f), jflow_add(f, 'e', uses => 'fail_at', replicas => n, requests => '{"/writes": {"function": "write_row", "writes": true},
	"/reads": {"function": "write_row", "writes": false}, "/either": "write_row", "/search": "read_rows"}')
FROM (VALUES ('here', 0), ('there', 1)) v(f, n);
SELECT jflow_start('there');
SELECT jflow_wait('there');
SELECT id FROM jflow_post('/writes', ARRAY[jflow_doc(id => '1')], 'here');
SELECT id FROM jflow_post('/writes', ARRAY[jflow_doc(id => '2')], 'there');
SELECT id FROM jflow_post('/reads', ARRAY[jflow_doc(id => '3')], 'here');
SELECT id FROM jflow_post('/reads', ARRAY[jflow_doc(id => '4')], 'there');
SELECT id FROM jflow_post('/either', ARRAY[jflow_doc(id => '5')], 'here');
BEGIN READ ONLY;
SAVEPOINT s;
SELECT id FROM jflow_post('/writes', ARRAY[jflow_doc(id => '6')], 'here');
ROLLBACK TO s;
SELECT id FROM jflow_post('/writes', ARRAY[jflow_doc(id => '7')], 'there');
ROLLBACK TO s;
SELECT id FROM jflow_post('/either', ARRAY[jflow_doc(id => '8')], 'here');
ROLLBACK TO s;
SELECT id FROM jflow_post('/either', ARRAY[jflow_doc(id => '9')], 'there');
ROLLBACK;
SELECT executor, id FROM seen ORDER BY id;
-- a search for functions that must not write
SELECT jflow_search_json('words', 3, 'here');
SELECT jflow_search_json('words', flow => 'there');
SELECT jflow_search_json(text, flow => 'here') FROM (VALUES ('a'), ('b')) v(text);
SELECT provolatile, proparallel FROM pg_proc WHERE proname = 'jflow_search_json';
SELECT jflow_remove('here', 'e'), jflow_add('here', 'e', uses => 'write_row', replicas => 0);
SELECT jflow_search_json('words', flow => 'here');
SELECT jflow_search_json(NULL);
SELECT count(*) FROM seen;

-- values for the parameters of a query
SELECT docs FROM jflow_post_query('/x', 'SELECT id, text FROM corpus WHERE id <= $1', 'none', args => '[7]');
SELECT docs FROM jflow_post_query('/x', 'SELECT id, text FROM corpus WHERE id = ANY ($1) AND text <> $2 LIMIT $3', 'none', args => '[[1, 2, 3], "x", 2]');
SELECT docs FROM jflow_post_query('/x', 'SELECT $1 AS id, $2 AS text, $3::jsonb AS tags, $4 AS weight', 'none', args => '["a", null, {"a": [1]}, 1.5]');
SELECT docs FROM jflow_post_query('/x', 'SELECT i AS id FROM unnest($1::text[]) i', 'none', args => $$[["it's", "a \"b\"", "c\\d", "", null, "{}"]]$$);
SELECT docs FROM jflow_post_query('/x', 'UPDATE corpus SET text = $1 WHERE id = $2 RETURNING id, text', 'none', args => '["new", 1]');
SELECT docs FROM jflow_post_query('/x', 'SELECT $1::vector AS embedding, $1::real[]::text AS text, 1 AS id', 'none', args => '[[1, 2, 3]]');
SELECT docs FROM jflow_post_query('/x', 'SELECT $1::bool::text AS text, $2::int8 + 1 AS id', 'none', args => '[true, 9223372036854775806]');
SELECT docs FROM jflow_post_query('/x', 'SELECT $2 AS id', 'none', args => '["a"]');
SELECT docs FROM jflow_post_query('/x', 'SELECT $1 AS id', 'none');
SELECT docs FROM jflow_post_query('/x', 'SELECT 1 AS id', 'none', args => '{"a": 1}');
SELECT docs FROM jflow_post_query('/x', 'SELECT 1 AS id', 'none', args => '"a"');
SELECT docs FROM jflow_post_query('/x', 'SELECT $1::int AS id', 'none', args => '["a"]');
SELECT docs FROM jflow_post_query('/x', 'SELECT $1::int AS id, $1::text AS text', 'none', args => '[1]');

SELECT jflow_stop(flow), jflow_drop(flow, drop_data => true) FROM jflow_flows ORDER BY flow;
DROP TABLE seen, corpus;
DROP FUNCTION see, requests_of, fail_at, fit_inside, write_row, read_rows;
RESET ROLE;
DROP OWNED BY jflow_runner;
DROP ROLE jflow_runner;
