-- Do posts through replicas give the answers, errors and notices they should?
SET client_min_messages = warning;
CREATE ROLE jflow_runner LOGIN;
CREATE ROLE jflow_guest;
GRANT CREATE ON SCHEMA public TO jflow_runner;
SET ROLE jflow_runner;
CREATE FUNCTION r_tag(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
LANGUAGE plpgsql AS $$
DECLARE c record := jflow_context();
BEGIN
	FOR i IN 1..cardinality(docs) LOOP
		docs[i].text := concat_ws(' ', docs[i].text, c.executor || ':' || c.shard || coalesce(':' || (parameters->>'p'), ''));
	END LOOP;
	RETURN docs;
END $$;
CREATE FUNCTION r_slower(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
LANGUAGE plpgsql AS $$
BEGIN
	-- the first requests take longest
	PERFORM sum(j) FROM generate_series(1, 20000 / greatest(docs[1].id::int, 1)) j;
	RETURN docs;
END $$;
CREATE FUNCTION r_fail(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
LANGUAGE plpgsql AS $$
BEGIN
	IF docs[1].text = coalesce(parameters->>'on', docs[1].text) THEN
		RAISE EXCEPTION 'no good: %', docs[1].text
			USING ERRCODE = '22012', DETAIL = 'the detail', HINT = 'the hint', CONSTRAINT = 'c', TABLE = 't', COLUMN = 'k', SCHEMA = 's', DATATYPE = 'd';
	END IF;
	RETURN NULL;
END $$;
CREATE FUNCTION r_notice(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1..(parameters->>'n')::int LOOP
		RAISE NOTICE 'notice % of %', i, docs[1].text USING DETAIL = 'about it', HINT = 'do nothing', ERRCODE = '01ABC';
	END LOOP;
	RAISE DEBUG 'not for the caller';
	RETURN NULL;
END $$;
CREATE FUNCTION r_parts(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
LANGUAGE sql AS $$ SELECT array_agg(jflow_doc(id => d.id, text => d.text, uri => (jflow_context()).parts::text)) FROM unnest(docs) d $$;

-- starting, stopping, waiting
SELECT jflow_create('r');
SELECT jflow_add('r', 'a', uses => 'r_tag', replicas => 2);
SELECT jflow_add('r', 'b', uses => 'r_tag', replicas => 2);
SELECT text FROM jflow_post('/x', ARRAY['hello'], 'r');
SELECT jflow_start('r');
SELECT jflow_wait('r', '170000000 years');
SELECT jflow_start('r');
SELECT jflow_wait('r');
SELECT flow, executor, started, wanted, running, starting, failing, last_error FROM jflow_status ORDER BY flow, executor;
SELECT flow, executor, shard, replica, state FROM jflow_stat_replicas ORDER BY flow, executor, shard, replica;
BEGIN;
SELECT jflow_stop('r');
SELECT jflow_wait('r');
ROLLBACK;
SELECT jflow_start('no such flow');
SELECT jflow_stop('no such flow');
SELECT jflow_wait('no such flow');
SELECT jflow_restart('r', 'no such executor');
SELECT jflow_scale('r', 'no such executor', 1);
SELECT jflow_scale('r', 'a', -1);
SELECT jflow_scale('r', 'a', 1000000);
SELECT jflow_scale('r', 'a');
SELECT jflow_wait('r', '-1s');
SELECT jflow_start(NULL);
SELECT jflow_cancel(1);
SELECT jflow_cancel(NULL);
SET ROLE jflow_guest;
SELECT jflow_start('r');
SELECT jflow_stop('r');
SELECT jflow_scale('r', 'a', 3);
SELECT jflow_restart('r', 'a');
SELECT text FROM jflow_post('/x', ARRAY['hello'], 'r');
SELECT count(*) FROM jflow_status;
SELECT count(*) FROM jflow_stat_replicas;
SET ROLE jflow_runner;
SELECT jflow_grant('r', 'jflow_guest');
SET ROLE jflow_guest;
SELECT text FROM jflow_post('/x', ARRAY['hello'], 'r');
SELECT jflow_stop('r');
SET ROLE jflow_runner;

-- documents and parameters
SELECT text FROM jflow_post('/x', ARRAY['a', 'b', 'a'], 'r');
SELECT id, text FROM jflow_post('/x', ARRAY[jflow_doc(id => '1', text => 'a'), jflow_doc(id => '1', text => 'b')], 'r');
SELECT * FROM jflow_post('/x', ARRAY[jflow_doc(id => '1', blob => '\x0102', uri => 'u', mime_type => 'm', tags => '{"k": [1]}',
	embedding => '[1,2]', sparse_embedding => '{1:1}/3', parent_id => 'p', granularity => 1::int2, scores => '{"s": 1}', weight => 0.5)], 'r');
SELECT count(*) FROM jflow_post('/x', '{}'::jflow_doc[], 'r');
SELECT jflow_call('/x', '[{"id": "1", "text": "a", "tags": {"k": 1}}]', 'r');
SELECT text FROM jflow_post('/x', ARRAY['t'], 'r', parameters => '{"p": 1, "b": {"p": 2}}');
SELECT text FROM jflow_post('/x', ARRAY['t'], 'r', target_executor => 'b');
SELECT docs, requests, failed FROM jflow_post_query('/x', 'SELECT i AS id, i::varchar AS text FROM generate_series(1, 2500) i', 'r');
SELECT docs, requests, failed FROM jflow_post_query('/x', 'SELECT 1/0 AS id', 'r');

-- the order is kept, although the first requests take longest
SELECT jflow_create('o');
SELECT jflow_add('o', 'e', uses => 'r_slower', replicas => 3);
SELECT jflow_start('o');
SELECT jflow_wait('o');
SELECT bool_and(id::int = n), count(*) FROM (SELECT id, row_number() OVER () AS n FROM jflow_post('/x',
	(SELECT array_agg(jflow_doc(id => i::text)) FROM generate_series(1, 300) i), 'o', request_size => 1)) x;
SELECT count(DISTINCT id) FROM jflow_post('/x',
	(SELECT array_agg(jflow_doc(id => i::text)) FROM generate_series(1, 300) i), 'o', request_size => 1, ordered => false);

-- shards and polling, uses_before and uses_after
SELECT jflow_create('sh');
SELECT jflow_add('sh', 'e', uses => 'r_tag', shards => 3, polling => '{"/all": "ALL", "/hash": "hash", "/index": "hash", "*": "any"}');
SELECT jflow_start('sh');
SELECT jflow_wait('sh');
SELECT text FROM jflow_post('/all', ARRAY['a'], 'sh');
SELECT id, text FROM jflow_post('/hash', (SELECT array_agg(jflow_doc(id => i::text, text => '')) FROM generate_series(1, 8) i), 'sh');
SELECT count(*), bool_and(text ~ '^x e:[012]$') FROM jflow_post('/other', array_fill('x'::text, '{20}'), 'sh');
SELECT text FROM jflow_post('/search', ARRAY['a'], 'sh');
SELECT jflow_create('ba');
SELECT jflow_add('ba', 'e', uses => 'r_parts', shards => 3, polling => '"any"', uses_after => 'r_parts', uses_before => 'r_tag');
SELECT jflow_start('ba');
SELECT jflow_wait('ba');
SELECT text, uri FROM jflow_post('/search', ARRAY['a'], 'ba');

-- matches are merged, sorted and cut
CREATE FUNCTION r_find(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
LANGUAGE sql AS $$
	SELECT array_agg(jflow_doc(id => d.id, matches => ARRAY[
		('m' || (jflow_context()).shard, (jflow_context()).shard, 't', NULL, NULL)::jflow_match,
		('n' || (jflow_context()).shard, 10 - (jflow_context()).shard, NULL, NULL, NULL)::jflow_match,
		('same', 5 + (jflow_context()).shard, NULL, NULL, NULL)::jflow_match])) FROM unnest(docs) d $$;
SELECT jflow_create('m');
SELECT jflow_add('m', 'e', uses => 'r_find', shards => 3);
SELECT jflow_start('m');
SELECT jflow_wait('m');
SELECT m.* FROM jflow_post('/search', ARRAY['a'], 'm') d, unnest(d.matches) m;
SELECT id, score FROM jflow_search('a', 3, 'm');

-- branches and joins
SELECT jflow_create('dag');
CREATE FUNCTION r_left(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
LANGUAGE plpgsql AS $$ BEGIN
	-- the later of the two to finish
	PERFORM sum(j) FROM generate_series(1, 50000) j;
	RETURN ARRAY[jflow_doc(id => '1', text => 'left', tags => '{"l": 1, "both": "left"}')];
END $$;
CREATE FUNCTION r_right(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
LANGUAGE sql RETURN ARRAY[jflow_doc(id => '1', text => 'right', uri => 'r', tags => '{"r": 1, "both": "right"}'), jflow_doc(id => '2', text => 'new')];
SELECT jflow_add('dag', 'l', uses => 'r_left', needs => '{gateway}');
SELECT jflow_add('dag', 'r', uses => 'r_right', needs => '{gateway}');
SELECT jflow_add('dag', 'join_lr', needs => '{l,r}');
SELECT jflow_add('dag', 'mixed', uses => 'r_tag', replicas => 0);
SELECT jflow_add('dag', 'parts', uses => 'r_parts', needs => '{l,r}', disable_reduce => true);
SELECT jflow_start('dag');
SELECT jflow_wait('dag');
SELECT id, text, uri, tags FROM jflow_post('/x', ARRAY['a'], 'dag');

-- errors arrive with every field
SELECT jflow_create('e');
SELECT jflow_add('e', 'encoder', uses => 'r_fail');
SELECT jflow_start('e');
SELECT jflow_wait('e');
DO $$
DECLARE s text; m text; d text; h text; c text; co text; ta text; ty text; sc text; cx text;
BEGIN
	PERFORM jflow_post('/x', ARRAY['1', '2', '3'], 'e', parameters => '{"on": "2"}', request_size => 1);
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS s = RETURNED_SQLSTATE, m = MESSAGE_TEXT, d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT,
		c = CONSTRAINT_NAME, co = COLUMN_NAME, ta = TABLE_NAME, ty = PG_DATATYPE_NAME, sc = SCHEMA_NAME, cx = PG_EXCEPTION_CONTEXT;
	RAISE WARNING '% | % | % | % | % | % | % | % | %', s, m, split_part(d, chr(10), 1), h, c, co, ta, ty, sc;
	RAISE WARNING '%', substring(cx FROM 'executor .*request \d+');
END $$;
SELECT text FROM jflow_post('/x', '[{"id": "1", "text": "1"}, {"id": "2", "text": "2"}, {"id": "3", "text": "3"}]'::jsonb, 'e', parameters => '{"on": "2"}', request_size => 1, continue_on_error => true);
SELECT docs, requests, failed FROM jflow_post_query('/x', 'SELECT i AS id, i::text AS text FROM generate_series(1, 5) i', 'e', parameters => '{"on": "2"}', request_size => 1, continue_on_error => true);

-- notices too, a bounded number of them
SELECT jflow_create('n');
SELECT jflow_add('n', 'e', uses => 'r_notice');
SELECT jflow_start('n');
SELECT jflow_wait('n');
SET client_min_messages = notice;
SELECT count(*) FROM jflow_post('/x', ARRAY['a', 'b'], 'n', parameters => '{"n": 2}', request_size => 1);
SET client_min_messages = warning;
SELECT count(*) FROM jflow_post('/x', ARRAY['a'], 'n', parameters => '{"n": 100000}');

-- a broken answer is an error here as well
CREATE FUNCTION r_null_doc(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql RETURN ARRAY[docs[1], NULL];
CREATE FUNCTION r_none(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql RETURN '{}'::jflow_doc[];
SELECT jflow_create('b');
SELECT jflow_add('b', 'e', requests => '{"/null": "r_null_doc", "/none": "r_none"}');
SELECT jflow_start('b');
SELECT jflow_wait('b');
SELECT text FROM jflow_post('/null', ARRAY['a'], 'b');
SELECT count(*) FROM jflow_post('/none', ARRAY['a'], 'b');
SELECT text FROM jflow_post('/other', ARRAY['a'], 'b');

-- scaling: replicas to none and back, shards where nothing is stored
SELECT jflow_scale('b', 'e', 0);
SELECT text FROM jflow_post('/other', ARRAY['a'], 'b');
SELECT jflow_scale('b', 'e', 2);
SELECT jflow_wait('b');
SELECT wanted, running FROM jflow_status WHERE flow = 'b';
SELECT jflow_restart('b', 'e');
SELECT jflow_wait('b');
SELECT text FROM jflow_post('/other', ARRAY['a'], 'b');

-- what is counted
SELECT flow, executor, endpoint, count, errors, docs, mean_ms > 0 AS mean, p50_ms <= p95_ms AND p95_ms <= p99_ms AS percentiles
	FROM jflow_stat_endpoints WHERE flow = 'sh' AND endpoint <> '/hash' ORDER BY flow, executor, endpoint COLLATE "C";
SELECT DISTINCT name FROM jflow_config() WHERE value IS NOT NULL ORDER BY name;

-- a flow that was stopped takes no post, at once; what a transaction did last holds
SELECT jflow_stop('r');
SELECT text FROM jflow_post('/x', ARRAY['hello'], 'r');
SELECT jflow_start('r');
SELECT jflow_wait('r');
BEGIN;
SELECT jflow_stop('r');
SELECT jflow_start('r');
COMMIT;
SELECT text FROM jflow_post('/x', ARRAY['hello'], 'r');
BEGIN;
SAVEPOINT s;
SELECT jflow_stop('r');
ROLLBACK TO s;
COMMIT;
SELECT text FROM jflow_post('/x', ARRAY['hello'], 'r');
BEGIN;
SELECT jflow_stop('r');
SAVEPOINT s;
SELECT jflow_start('r');
ROLLBACK TO s;
COMMIT;
SELECT text FROM jflow_post('/x', ARRAY['hello'], 'r');
SELECT jflow_drop(flow) FROM jflow_flows WHERE owner = 'jflow_runner' ORDER BY flow;
RESET ROLE;
SELECT count(*) FROM jflow_status;
DROP OWNED BY jflow_runner CASCADE;
DROP ROLE jflow_runner;
DROP ROLE jflow_guest;
