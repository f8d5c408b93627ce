-- Do documents go through a flow as they should, inline?
SET client_min_messages = warning;
CREATE FUNCTION tag(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
LANGUAGE plpgsql AS $$
DECLARE c record := jflow_context();
BEGIN
	FOR i IN 1..cardinality(docs) LOOP
		docs[i].text := concat_ws(' ', docs[i].text, c.executor || ':' || c.shard || coalesce(':' || (parameters->>'p'), ''));
	END LOOP;
	RETURN docs;
END $$;
CREATE FUNCTION nothing(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql RETURN NULL::jflow_doc[];

-- forms of docs
SELECT jflow_create('f');
SELECT jflow_add('f', 'a', uses => 'tag', replicas => 0);
SELECT id IS NOT NULL AS has_id, text FROM jflow_post('/x', ARRAY['hello']);
SELECT text FROM jflow_post('/x', '{"a","b"}');
SELECT text FROM jflow_post('/x', '[{"text": "a"}]', 'f');
SELECT text FROM jflow_post('/x', '{}');
SELECT text FROM jflow_post('/x', 'a'::text, 'f');
SELECT text FROM jflow_post('/x', 'a'::varchar, 'f');
SELECT text FROM jflow_post('/x', '{"a","b"}'::text[]);
SELECT text FROM jflow_post('/x', '{"text": "a"}'::jsonb);
SELECT text FROM jflow_post('/x', ARRAY['a', 'b', 'a']);
SELECT id, text FROM jflow_post('/x', ARRAY[jflow_doc(id => '1', text => 'a'), jflow_doc(id => '1', text => 'b')]);
SELECT id, text FROM jflow_post('/x', '[{"id": 7, "text": "a"}, {"text": "b", "id": "x"}]'::jsonb);
SELECT id, text FROM jflow_post('/x', '{"id": 7, "text": "a"}'::jsonb);
SELECT jflow_call('/x', '[{"id": "1", "text": "a", "tags": {"k": 1}}]');
SELECT count(*) FROM jflow_post('/x', '{}'::jflow_doc[]);
SELECT count(*) FROM jflow_post('/x', NULL::jflow_doc[]);
SELECT count(*) FROM jflow_post('/x', NULL);
SELECT * FROM jflow_post('/x', ARRAY[jflow_doc(id => '1'), NULL]);
SELECT * FROM jflow_post('/x', ARRAY['a', NULL]);
SELECT * FROM jflow_post('/x', '[{"id": "1"}, null]'::jsonb);
SELECT * FROM jflow_post('/x', '7'::jsonb);
SELECT text FROM jflow_post('/x', ARRAY(SELECT i::text FROM generate_series(1, 5) i), request_size => 2);
SELECT * FROM jflow_post('/x', ARRAY['a'], request_size => 0);
SELECT * FROM jflow_post('/x', ARRAY['a'], request_size => -1);
SELECT * FROM jflow_post('x', ARRAY['a']);
SELECT * FROM jflow_post(NULL, ARRAY['a']);
SELECT * FROM jflow_post('/x', ARRAY['a'], flow => 'g');
SELECT * FROM jflow_post('/x', ARRAY['a'], parameters => '[]');
SELECT * FROM jflow_post('/x', ARRAY['a'], timeout => '-1s');

-- queries
SELECT docs, requests, failed FROM jflow_post_query('/x', 'SELECT i AS id, i::varchar AS text FROM generate_series(1, 250) i');
SELECT docs, requests, failed FROM jflow_post_query('/x', 'SELECT 1 AS id WHERE false');
SELECT * FROM jflow_post_query('/x', 'SELECT 1 AS id, 2 AS txt');
SELECT * FROM jflow_post_query('/x', 'SELECT 1 AS id, 2 AS id');
SELECT * FROM jflow_post_query('/x', 'SELECT point(1,2) AS tags');
SELECT * FROM jflow_post_query('/x', 'CREATE TABLE x()');
SELECT docs, requests FROM jflow_post_query('/x', 'SELECT');
SELECT * FROM jflow_post_query('/x', NULL);
SELECT * FROM jflow_post_query('/x', 'SELECT 1/0 AS id');

-- which flow
SELECT jflow_create('g');
SELECT jflow_add('g', 'b', uses => 'nothing', replicas => 0);
SELECT text FROM jflow_post('/x', ARRAY['a']);
SET jflow.flow = 'g';
SELECT text FROM jflow_post('/x', ARRAY['a']);
RESET jflow.flow;

-- parameters, targets
SELECT jflow_add('f', 'b', uses => 'tag', replicas => 0);
SELECT text FROM jflow_post('/x', ARRAY['t'], 'f', parameters => '{"p": 1}');
SELECT text FROM jflow_post('/x', ARRAY['t'], 'f', parameters => '{"p": 1, "b": {"p": 2}}');
SELECT text FROM jflow_post('/x', ARRAY['t'], 'f', parameters => '{"b": 2}');
SELECT text FROM jflow_post('/x', ARRAY['t'], 'f', target_executor => 'b');
SELECT text FROM jflow_post('/x', ARRAY['t'], 'f', target_executor => 'a|b');
SELECT text FROM jflow_post('/x', ARRAY['t'], 'f', target_executor => 'c');
SELECT text FROM jflow_post('/x', ARRAY['t'], 'f', target_executor => '(');

-- branches and joins: the order of needs decides
SELECT jflow_create('dag');
CREATE FUNCTION left_branch(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
LANGUAGE sql RETURN ARRAY[jflow_doc(id => '1', text => 'left', tags => '{"l": 1, "both": "left"}')];
CREATE FUNCTION right_branch(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
LANGUAGE sql RETURN ARRAY[jflow_doc(id => '1', text => 'right', uri => 'r', tags => '{"r": 1, "both": "right"}'), jflow_doc(id => '2', text => 'new')];
CREATE FUNCTION show_parts(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
LANGUAGE sql AS $$ SELECT array_agg(jflow_doc(id => d.id, text => d.text, uri => (jflow_context()).parts::text)) FROM unnest(docs) d $$;
SELECT jflow_add('dag', 'l', uses => 'left_branch', needs => '{gateway}', replicas => 0);
SELECT jflow_add('dag', 'r', uses => 'right_branch', needs => '{gateway}', replicas => 0);
SELECT jflow_add('dag', 'join_lr', needs => '{l,r}', replicas => 0);
SELECT id, text, uri, tags FROM jflow_post('/x', ARRAY['a'], 'dag');
SELECT jflow_remove('dag', 'join_lr');
SELECT jflow_add('dag', 'join_rl', needs => '{r,l}', replicas => 0);
SELECT id, text, uri, tags FROM jflow_post('/x', ARRAY['a'], 'dag');
SELECT jflow_remove('dag', 'join_rl');
-- without a join, the loose ends are joined in the order of definition
SELECT id, text FROM jflow_post('/x', ARRAY['a'], 'dag');
SELECT jflow_add('dag', 'all_parts', uses => 'show_parts', needs => '{l,r}', disable_reduce => true, replicas => 0);
SELECT id, text, uri FROM jflow_post('/x', ARRAY['a'], 'dag');

-- shards and polling
SELECT jflow_create('s');
SELECT jflow_add('s', 'e', uses => 'tag', shards => 3, replicas => 0,
	polling => '{"/all": "ALL", "/hash": "hash", "/index": "hash", "*": "any"}');
SELECT text FROM jflow_post('/all', ARRAY['a'], 's');
SELECT id, text FROM jflow_post('/hash', (SELECT array_agg(jflow_doc(id => i::text, text => '')) FROM generate_series(1, 8) i), 's');
SELECT count(*), bool_and(text ~ '^x e:[012]$') FROM jflow_post('/other', array_fill('x'::text, '{20}'), 's');
SELECT text FROM jflow_post('/search', ARRAY['a'], 's');
SELECT jflow_create('s2');
SELECT jflow_add('s2', 'e', uses => 'show_parts', shards => 3, replicas => 0, polling => '"any"', uses_after => 'show_parts', uses_before => 'tag');
SELECT text, uri FROM jflow_post('/search', ARRAY['a'], 's2');

-- matches are merged, sorted and cut
CREATE FUNCTION find(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
LANGUAGE sql AS $$
	SELECT array_agg(jflow_doc(id => d.id, matches => ARRAY[
		('m' || (jflow_context()).shard, (jflow_context()).shard, 't', NULL, NULL)::jflow_match,
		('n' || (jflow_context()).shard, 10 - (jflow_context()).shard, NULL, NULL, NULL)::jflow_match,
		('same', 5 + (jflow_context()).shard, NULL, NULL, NULL)::jflow_match])) FROM unnest(docs) d $$;
SELECT jflow_create('m');
SELECT jflow_add('m', 'e', uses => 'find', shards => 3, replicas => 0);
SELECT m.* FROM jflow_post('/search', ARRAY['a'], 'm') d, unnest(d.matches) m;
SELECT id, score FROM jflow_search('a', 3, 'm');
SELECT id, score FROM jflow_search('a', 0, 'm');
SELECT id, score FROM jflow_search('a', -1, 'm');
-- numbers of drivers that know int8 alone
SELECT id, score FROM jflow_search('a', 3::int8, 'm');
SELECT jsonb_array_length(jflow_search_json('a', 3::int8, 'm'));
SELECT id, score FROM jflow_search('a', 9223372036854775807, 'm');
SELECT count(*) FROM jflow_post('/search', ARRAY['a', 'b'], 'm', request_size => 1::int8);
SELECT count(*) FROM jflow_post('/search', ARRAY['a', 'b'], 'm', request_size => 9223372036854775807);
SELECT requests FROM jflow_post_query('/search', $$SELECT i::text AS text FROM generate_series(1, 3) i$$, 'm', request_size => 2::int2);
-- json as well as jsonb
SELECT text FROM jflow_post('/search', '[{"text": "a"}, {"text": "b"}]'::json, 'm');
SELECT text FROM jflow_post('/search', '{"text": "a"}'::json, 'm');
SELECT count(*) FROM jflow_post('/search', NULL::json, 'm');
SELECT text FROM jflow_post('/search', '{"txt": "a"}'::json, 'm');
SELECT text FROM jflow_post('/search', '[{"text": "a"}]', 'm');

-- when: what does not match keeps its place
SELECT jflow_create('w');
SELECT jflow_add('w', 'e', uses => 'tag', "when" => '{"lang": "en"}', replicas => 0);
SELECT text FROM jflow_post('/x', '[{"text": "1", "tags": {"lang": "en"}}, {"text": "2"}, {"text": "3", "tags": {"lang": "en"}}, {"text": "4", "tags": {"lang": "de"}}]'::jsonb, 'w');

-- floating: it neither changes the documents nor fails the request
CREATE FUNCTION fail(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
LANGUAGE plpgsql AS $$
BEGIN
	IF docs[1].text = coalesce(parameters->>'on', docs[1].text) THEN
		RAISE EXCEPTION 'no good: %', docs[1].text USING ERRCODE = '22012', DETAIL = 'the detail', HINT = 'the hint';
	END IF;
	RETURN NULL;
END $$;
SELECT jflow_create('fl');
SELECT jflow_add('fl', 'e', uses => 'tag', replicas => 0);
SELECT jflow_add('fl', 'broken', uses => 'fail', floating => true, replicas => 0);
SELECT jflow_add('fl', 'last', uses => 'tag', replicas => 0);
SELECT text FROM jflow_post('/x', ARRAY['a'], 'fl');

-- nor does one that comes last keep the answer of the one before it
SELECT jflow_create('fll');
SELECT jflow_add('fll', 'e', uses => 'tag', replicas => 0);
SELECT jflow_add('fll', 'log', uses => 'tag', floating => true, replicas => 0);
SELECT text FROM jflow_post('/x', ARRAY['a'], 'fll');
SELECT jflow_drop('fll');

-- errors
SELECT jflow_create('e');
SELECT jflow_add('e', 'enc', uses => 'fail', replicas => 0);
SELECT text FROM jflow_post('/x', ARRAY['1', '2', '3'], 'e', parameters => '{"on": "2"}', request_size => 1);
SELECT text FROM jflow_post('/x', '[{"id": "1", "text": "1"}, {"id": "2", "text": "2"}, {"id": "3", "text": "3"}]'::jsonb, 'e', parameters => '{"on": "2"}', request_size => 1, continue_on_error => true);
SELECT docs, requests, failed FROM jflow_post_query('/x', 'SELECT i AS id, i::text AS text FROM generate_series(1, 5) i', 'e', parameters => '{"on": "2"}', request_size => 1, continue_on_error => true);
SET client_min_messages = notice;
DO $$ BEGIN PERFORM jflow_post('/x', ARRAY['a'], 'e'); EXCEPTION WHEN division_by_zero THEN RAISE NOTICE 'caught %', SQLSTATE; END $$;

SET client_min_messages = warning;

-- results of functions
CREATE FUNCTION null_doc(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql RETURN ARRAY[docs[1], NULL];
CREATE FUNCTION no_docs(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql RETURN '{}'::jflow_doc[];
CREATE FUNCTION more_docs(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql RETURN docs || jflow_doc(text => 'more');
CREATE FUNCTION reorder(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql AS 'SELECT array_agg(d ORDER BY d.text DESC) FROM unnest(docs) d';
SELECT jflow_create('r');
SELECT jflow_add('r', 'x', requests => '{"/null": "null_doc", "/none": "no_docs", "/more": "more_docs", "/reorder": "reorder"}', replicas => 0);
SELECT text FROM jflow_post('/null', ARRAY['a'], 'r');
SELECT text FROM jflow_post('/none', ARRAY['a'], 'r');
SELECT text, id IS NOT NULL AS has_id FROM jflow_post('/more', ARRAY['a'], 'r');
SELECT text FROM jflow_post('/reorder', ARRAY['1', '2', '3'], 'r');
SELECT text FROM jflow_post('/unknown', ARRAY['1', '2', '3'], 'r');
DROP FUNCTION null_doc(jflow_doc[], jsonb);
SELECT text FROM jflow_post('/null', ARRAY['a'], 'r');

-- transactions: all or nothing with the caller
CREATE TABLE written (t text);
CREATE FUNCTION store(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.written SELECT text FROM unnest(docs); RETURN NULL; END $$;
CREATE FUNCTION count_stable(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
LANGUAGE sql STABLE AS $$ SELECT array_agg(jflow_doc(text => (SELECT count(*) FROM public.written)::text)) FROM unnest(docs) $$;
SELECT jflow_create('t');
SELECT jflow_add('t', 'store', uses => 'store', replicas => 0);
SELECT jflow_add('t', 'count', uses => 'count_stable', replicas => 0);
SELECT text FROM jflow_post('/x', ARRAY['1', '2', '3'], 't', request_size => 1);
BEGIN; SELECT count(*) FROM jflow_post('/x', ARRAY['a'], 't'); ROLLBACK;
SELECT count(*) FROM written;
BEGIN READ ONLY; SELECT count(*) FROM jflow_post('/x', ARRAY['a'], 't'); ROLLBACK;
SELECT count(*) FROM written;

-- time limits
CREATE FUNCTION slow(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(30); RETURN NULL; END $$;
SELECT jflow_create('slow');
SELECT jflow_add('slow', 'e', uses => 'slow', timeout => '10 ms', replicas => 0);
SELECT text FROM jflow_post('/x', ARRAY['a'], 'slow');
SELECT text FROM jflow_post('/x', ARRAY['a'], 'slow', continue_on_error => true);
SELECT text FROM jflow_post('/x', ARRAY['a'], 'slow', timeout => '1 ms', continue_on_error => true);
SELECT jflow_create('slow2');
SELECT jflow_add('slow2', 'e', uses => 'slow', replicas => 0);
SET statement_timeout = '20 ms';
SELECT text FROM jflow_post('/x', ARRAY['a'], 'slow2', timeout => '1 h', continue_on_error => true);
RESET statement_timeout;
-- a limit that passes while a later one is in force ends its post, and nothing else
SELECT jflow_create('slow3');
SELECT jflow_add('slow3', 'e', uses => 'slow', timeout => '1 h', replicas => 0);
DO $$ BEGIN
	PERFORM jflow_post('/x', ARRAY['a'], 'slow3', timeout => '20 ms');
EXCEPTION WHEN query_canceled THEN
	RAISE WARNING 'caught: %', SQLERRM;
	PERFORM pg_sleep(0.05);
END $$;
SELECT jflow_drop('slow3');

-- a flow that posts to itself ends with an error, not with a crash
CREATE FUNCTION again(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
LANGUAGE plpgsql AS $$ BEGIN PERFORM jflow_post('/x', docs, 'again'); RETURN NULL; END $$;
SELECT jflow_create('again');
SELECT jflow_add('again', 'e', uses => 'again', replicas => 0);
SET client_min_messages = notice;
DO $$ BEGIN PERFORM jflow_post('/x', ARRAY['a'], 'again'); EXCEPTION WHEN statement_too_complex THEN RAISE NOTICE 'too deep'; END $$;
SELECT jflow_context();

-- documents without an id get random UUIDs, each another, more than are made at once
SELECT count(DISTINCT id), bool_and(id ~ '^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$') AS version_4
	FROM jflow_post('/x', ARRAY(SELECT i::text FROM generate_series(1, 1000) i), 'f');
SELECT jflow_drop(flow) FROM jflow_flows ORDER BY flow;
