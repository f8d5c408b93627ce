-- Does jflow_explain tell a row per call, and the plans of searches to the flow's owner alone?
SET client_min_messages = warning;
CREATE ROLE jflow_explain_owner LOGIN;
CREATE ROLE jflow_explain_user;
GRANT CREATE ON SCHEMA public TO jflow_explain_owner;
CREATE SCHEMA told AUTHORIZATION jflow_explain_owner;
CREATE SCHEMA far AUTHORIZATION jflow_explain_owner;
CREATE FUNCTION explained(plan text) RETURNS text LANGUAGE sql AS
	$$SELECT regexp_replace(plan, '[ (]*(cost|actual|Memory|never|rows)[^\n]*|\n *(Sort Method|Disabled|Index Searches|Storage):? [^\n]*', '', 'g')$$;
SET ROLE jflow_explain_owner;
CREATE FUNCTION explain_vector(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql STABLE AS
	$$SELECT array_agg(jflow_doc(id => (d).id, text => (d).text, tags => (d).tags, embedding => ARRAY[length((d).text), 1]::vector)) FROM unnest(docs) d$$;
CREATE FUNCTION explain_double(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql AS
	$$SELECT docs || ARRAY[jflow_doc(text => 'more')]$$;
-- in the caller's session: a search of a table, of which the other document's plan would be the same
SELECT jflow_create('told');
SELECT jflow_add('told', 'vector', 'explain_vector', replicas => 0);
SELECT jflow_add('told', 'indexer', 'PQLiteIndexer', uses_with => '{"dim": 2, "columns": {"n": "int"}}', replicas => 0, workspace => 'told');
SELECT request, executor, shard, replica, docs_in, docs_out, queue_ms, run_ms > 0 AS ran, hop_ms, explained(plan) AS plan
	FROM jflow_explain('/search', '{"text": "nothing is stored"}');
SELECT count(*) FROM jflow_post('/index', ARRAY(SELECT jflow_doc(id => i::text, text => repeat('x', i), tags => jsonb_build_object('n', i)) FROM generate_series(1, 20) i));
SELECT request, executor, shard, replica, docs_in, docs_out, queue_ms, run_ms > 0 AS ran, hop_ms, explained(plan) AS plan
	FROM jflow_explain('/search', '[{"text": "xx"}, {"text": "xxxx"}]', parameters => '{"limit": 3}');
SELECT explained(plan) AS plan FROM jflow_explain('/search', '{"text": "xx"}', 'told', '{"limit": 3, "filter": {"n": {"$lt": 7}}}') WHERE executor = 'indexer';
-- it posts: the documents are stored, and rolled back with the statement
BEGIN;
SELECT executor, docs_in, docs_out, plan FROM jflow_explain('/index', '{"id": "new", "text": "new"}');
SELECT count(*) FROM told.told_indexer;
ROLLBACK;
SELECT count(*) FROM told.told_indexer;
-- a post without documents, and bad ones
SELECT executor, docs_in, docs_out FROM jflow_explain('/status', NULL);
SELECT * FROM jflow_explain(NULL, NULL);
SELECT * FROM jflow_explain('search', '[]');
SELECT * FROM jflow_explain('/search', '{"text": "x"}', 'nowhere');
SELECT * FROM jflow_explain('/search', '"x"');
-- who may only post sees no plan
SELECT jflow_grant('told', 'jflow_explain_user');
SET ROLE jflow_explain_user;
SELECT executor, docs_in, docs_out, plan FROM jflow_explain('/search', '{"text": "xx"}', 'told');
-- in replicas each call comes back, also where one pool hands its answers to the next
SET ROLE jflow_explain_owner;
SELECT jflow_create('far');
SELECT jflow_add('far', 'vector', 'explain_vector');
SELECT jflow_add('far', 'more', 'explain_double', "when" => '{"tags.more": true}');
SELECT jflow_add('far', 'here', replicas => 0, uses => 'explain_vector');
SELECT jflow_add('far', 'indexer', 'PQLiteIndexer', uses_with => '{"dim": 2}', shards => 2, workspace => 'far');
SELECT jflow_start('far');
SELECT jflow_wait('far', '60s');
SELECT count(*) FROM jflow_post('/index', ARRAY(SELECT jflow_doc(id => i::text, text => repeat('x', i)) FROM generate_series(1, 20) i), flow => 'far');
SELECT request, executor, shard, replica, docs_in, docs_out, queue_ms >= 0 AS queued, run_ms > 0 AS ran, hop_ms >= 0 AS hopped, explained(plan) AS plan
	FROM jflow_explain('/search', '[{"text": "xx", "tags": {"more": true}}, {"text": "xxxx"}]', 'far', '{"limit": 3}')
	ORDER BY executor COLLATE "C", shard;
SELECT jflow_grant('far', 'jflow_explain_user');
SET ROLE jflow_explain_user;
SELECT executor, shard, docs_in, docs_out, plan FROM jflow_explain('/search', '{"text": "xx"}', 'far', '{"limit": 3}') ORDER BY executor COLLATE "C", shard;
RESET ROLE;
-- of a scan of an index it says what that has done
CREATE TABLE indexed AS SELECT i::text AS id, ARRAY[sin(i), cos(i * i), sin(i * 3)]::vector(3) AS v FROM generate_series(1, 3000) i;
ALTER TABLE indexed ADD PRIMARY KEY (id);
CREATE INDEX indexed_pq ON indexed USING pq (v vector_l2_ops) WITH (lists = 16);
ALTER TABLE indexed OWNER TO jflow_explain_owner;
SET ROLE jflow_explain_owner;
SELECT jflow_create('indexed');
SELECT jflow_add('indexed', 'store', 'PQLiteIndexer', uses_with => '{"table": "public.indexed", "id": "id", "field": "v", "metric": "l2"}', replicas => 0);
SELECT plan ~ 'Index Scan using indexed_pq.*Lists Probed: [1-9][0-9]*.*Candidates: [1-9][0-9]+.*Rows Fetched: [1-9][0-9]*.*Rounds: [1-9].*Calibrated' AS told, plan ~ '\$1' AS short
	FROM jflow_explain('/search', '{"embedding": [0.5, 0.5, 0.5]}', 'indexed');
SELECT jflow_drop('indexed');
DROP TABLE indexed;
RESET ROLE;
SELECT jflow_drop('told', drop_data => true);
SELECT jflow_stop('far');
SELECT jflow_drop('far', drop_data => true);
DROP FUNCTION explained;
DROP OWNED BY jflow_explain_owner, jflow_explain_user CASCADE;
DROP ROLE jflow_explain_owner;
DROP ROLE jflow_explain_user;
