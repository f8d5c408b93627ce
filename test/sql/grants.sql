-- May a role post to the endpoints that it was granted, and to no other, in whatever way it posts?
SET client_min_messages = warning;
CREATE ROLE jflow_own LOGIN;
CREATE ROLE jflow_reader LOGIN;
CREATE ROLE jflow_readers;
CREATE ROLE jflow_all;
CREATE SCHEMA jflow_hidden AUTHORIZATION jflow_own;
CREATE SCHEMA jflow_reading AUTHORIZATION jflow_reader;

SET ROLE jflow_own;
CREATE FUNCTION jflow_hidden.tell(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql
	AS $$ SELECT ARRAY[jflow_doc(text => current_user || ' at ' || (jflow_context()).endpoint,
		matches => ARRAY[ROW('m', 0, 'match', NULL, NULL)]::jflow_match[])] $$;
SELECT jflow_create('own');
SELECT jflow_add('own', 'tell', uses => 'jflow_hidden.tell', replicas => 0);
SELECT jflow_add('own', 'words', uses => 'TfidfVectorizer', requests => '{"*": null, "/words": "jflow.tfidf_transform"}', replicas => 0);
SELECT jflow_fit('own', 'words', 'SELECT ''one two'' AS text');

-- wrong
SELECT jflow_grant('own', 'jflow_reader', '{}');
SELECT jflow_grant('own', 'jflow_reader', '{search}');
SELECT jflow_grant('own', 'jflow_reader', '{NULL}');
SELECT jflow_grant('own', 'jflow_reader', ARRAY['/' || repeat('x', 63)]);
SELECT jflow_grant('own', 'jflow_reader', (SELECT array_agg('/' || i) FROM generate_series(1, 1001) i));
SELECT jflow_grant('own', NULL);

-- inline; the owner's schema is his, and needs no right of whoever posts
SELECT jflow_grant('own', 'jflow_readers', '{/search,/fetch,/search}');
SELECT jflow_grant('own', 'jflow_all');
RESET ROLE;
GRANT jflow_readers TO jflow_reader;
SET ROLE jflow_reader;
SELECT text FROM jflow_post('/search', ARRAY['a'], 'own');
SELECT text FROM jflow_post('/fetch', ARRAY['a'], 'own');
SELECT text FROM jflow_post('/index', ARRAY['a'], 'own');
SELECT text FROM jflow_post('/searchx', ARRAY['a'], 'own');
SELECT text FROM jflow_post('*', ARRAY['a'], 'own');
SELECT text FROM jflow_post('/Search', ARRAY['a'], 'own');
SELECT id FROM jflow_search('a', flow => 'own');
SELECT jflow_call('/fetch', '{"id": "1"}', 'own') #>> '{0,text}';
SELECT jflow_call('/index', '{"id": "1"}', 'own');
SELECT docs FROM jflow_post_query('/search', 'SELECT ''a'' AS text', 'own');
SELECT docs FROM jflow_post_query('/index', 'SELECT ''a'' AS text', 'own');
SELECT text FROM jflow_post('/index', ARRAY['a'], 'own', target_executor => 'tell');
SELECT jflow_fit('own', 'words', 'SELECT ''one'' AS text');
SELECT count(*) FROM jflow_terms('own', 'words');
SET ROLE jflow_all;
SELECT text FROM jflow_post('/index', ARRAY['a'], 'own');
SELECT count(*) FROM jflow_terms('own', 'words');

-- which flow is meant depends on the endpoint, too
SET ROLE jflow_own;
SELECT jflow_create('other');
SELECT jflow_add('other', 'tell', uses => 'jflow_hidden.tell', replicas => 0);
SELECT jflow_grant('other', 'jflow_reader', '{/index}');
SET ROLE jflow_reader;
SELECT text FROM jflow_post('/index', ARRAY['a']);
SELECT text FROM jflow_post('/search', ARRAY['a']);
SELECT text FROM jflow_post('/delete', ARRAY['a']);

-- nested: with the rights of the calling flow's owner
CREATE FUNCTION jflow_reading.nested(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql
	AS $$ SELECT array_agg(d) FROM jflow_post(parameters->>'endpoint', docs, 'own') d $$;
SELECT jflow_create('outer');
SELECT jflow_add('outer', 'e', uses => 'jflow_reading.nested', replicas => 0);
SELECT jflow_grant('outer', 'jflow_own');
SET ROLE jflow_own;
SELECT text FROM jflow_post('/x', ARRAY['a'], 'outer', '{"endpoint": "/search"}');
SELECT text FROM jflow_post('/x', ARRAY['a'], 'outer', '{"endpoint": "/index"}');

-- views, plots and documents
SELECT * FROM jflow_grants ORDER BY flow, role;
SELECT jflow_save('own') -> 'grants';
SELECT jflow_save('outer');
CREATE TEMP TABLE saved AS SELECT jflow_save('own') AS config;
-- beside a parallel plan, too
BEGIN; SET LOCAL parallel_setup_cost = 0; SET LOCAL parallel_tuple_cost = 0; SET LOCAL min_parallel_table_scan_size = 0;
CREATE TEMP TABLE beside AS SELECT jflow_save('own') AS config, count(*) FROM pg_class;
SELECT saved.config = beside.config AS same FROM saved, beside; ROLLBACK;
SET ROLE jflow_reader;
SELECT * FROM jflow_grants ORDER BY flow, role;
SELECT flow FROM jflow_flows ORDER BY flow;
SELECT jflow_plot('own') <> '';
SET ROLE jflow_all;
SELECT * FROM jflow_grants ORDER BY flow, role;

-- revoking
SET ROLE jflow_own;
SELECT jflow_revoke('own', 'jflow_readers', '{/fetch,/nothing}');
SET client_min_messages = notice;
SELECT jflow_revoke('own', 'jflow_all', '{/search}');
SET client_min_messages = warning;
SELECT * FROM jflow_grants WHERE flow = 'own' ORDER BY role;
SET ROLE jflow_reader;
SELECT text FROM jflow_post('/fetch', ARRAY['a'], 'own');
SELECT text FROM jflow_post('/search', ARRAY['a'], 'own');
SET ROLE jflow_own;
SELECT jflow_revoke('own', 'jflow_readers');
SELECT jflow_revoke('own', 'jflow_all');
SET ROLE jflow_reader;
SELECT text FROM jflow_post('/search', ARRAY['a'], 'own');
SELECT jflow_revoke('own', 'jflow_reader');
SELECT jflow_grant('own', 'jflow_reader');

-- loading brings the grants
SET ROLE jflow_own;
SELECT jflow_drop('own');
SELECT jflow_load(config) FROM saved;
SELECT jflow_save('own') = config AS same FROM saved;
SELECT * FROM jflow_grants WHERE flow = 'own' ORDER BY role;
SELECT jflow_load('{"name": "wrong", "grants": ["a"]}');
SELECT jflow_load('{"name": "wrong", "grants": {"jflow_no_such_role": null}}');
SELECT jflow_load('{"name": "wrong", "grants": {"jflow_all": "/x"}}');
SELECT jflow_load('{"name": "wrong", "grants": {"jflow_all": ["x"]}}');

-- through replicas, with errors that tell nobody else's data
CREATE FUNCTION jflow_hidden.parse(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql
	AS $$ BEGIN PERFORM docs[1].text::int; RETURN ARRAY[jflow_doc(text => current_user)]; END $$;
SELECT jflow_create('service');
SELECT jflow_add('service', 'parse', uses => 'jflow_hidden.parse');
SELECT jflow_grant('service', 'jflow_reader', '{/search}');
SELECT jflow_grant('service', 'jflow_all');
SELECT jflow_start('service');
SELECT jflow_wait('service');
SET ROLE jflow_reader;
SELECT text FROM jflow_post('/search', ARRAY['1'], 'service');
SELECT text FROM jflow_post('/index', ARRAY['1'], 'service');
SELECT docs FROM jflow_post_query('/index', 'SELECT ''1'' AS text', 'service');
SELECT text FROM jflow_post('/search', ARRAY['the reader''s secret'], 'service');
SELECT last_error FROM jflow_stat_replicas WHERE flow = 'service';
SET ROLE jflow_all;
SELECT last_error FROM jflow_stat_replicas WHERE flow = 'service';
SELECT DISTINCT last_error FROM jflow.replicas() WHERE flow = 'service';
SET ROLE jflow_own;
SELECT last_error FROM jflow_stat_replicas WHERE flow = 'service';
SELECT jflow_stop('service');

RESET ROLE;
SELECT jflow_drop(f) FROM unnest('{own,other,outer,service}'::text[]) f;
DROP TABLE saved;
DROP OWNED BY jflow_own, jflow_reader CASCADE;
DROP ROLE jflow_own, jflow_reader, jflow_readers, jflow_all;
